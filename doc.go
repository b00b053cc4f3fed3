// Package chatdm is a client for the life of a direct message on Slack: it
// opens, lists and closes it. Its sibling
// github.com/chatdm/chatdm/rocketchat does the same for Rocket.Chat, with the
// same errors and options.
//
// # Calls
//
// A [Client] is made once and shared. Each method sends one API call and
// returns a result, or a nil result and an *[Error]:
//
//	client, err := chatdm.NewClient(token)
//	res, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U024BE7LH"}})
//	if err == nil && res.AlreadyOpen { … }
//
// That nothing happened is no error but a flag on the result: NoOp,
// AlreadyOpen, AlreadyClosed. [Meta] tells which method answered, with what
// status, warnings and scopes, and after how many attempts.
//
// # Errors
//
// Every documented error of the methods is a constant, and every error has a
// [Kind], which is what to do about it; both are for [errors.Is]. Input that
// cannot be right is refused before anything is sent, as [KindInvalidRequest],
// and the error names the field.
//
// # Retries
//
// Calls are repeated up to four times in all, by this rule:
//
//   - what never reached the server (a name that does not resolve, a refused
//     connection, a broken TLS handshake) is repeated for every call;
//   - what the server refused for its rate, likewise, after the wait that it
//     asked for;
//   - what may have had its effect (a lost connection, a timeout, a 500, 502,
//     503 or 504, an answer that ends early, internal_error, fatal_error,
//     service_unavailable, request_timeout) is repeated for open, close and
//     list, which do no harm twice, and not for [Client.Call];
//   - anything else is final.
//
// A server that asks for more than a minute, or for more time than the context
// has left, is not waited for: the error comes at once, with RetryAfter. One
// call's refusal pauses the same method for all goroutines of the client.
// [WithRetry] has the numbers.
//
// # Limits
//
// Nothing is paced unless [WithLimiter] says so. [NewTierLimiter] keeps to the
// tiers that Slack publishes, so that nothing is refused; the module
// github.com/chatdm/chatdm/chatdmredis does so for many processes together.
//
// # Tests and logs
//
// Package github.com/chatdm/chatdm/chatdmtest has a Slack and a Rocket.Chat to
// test against, which answer with every documented error. [WithLogger] writes
// one line for each call and each retry.
//
// # Secrets
//
// The token travels in the Authorization header and nowhere else. No error, no
// log line and no verb of fmt shows it, and no redirect is followed with it.
package chatdm
