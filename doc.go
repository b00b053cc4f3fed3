// Package chatdm provides a client for direct messages on Slack: it finds the person,
// opens the conversation, posts a message once, reads the history, and closes the
// conversation. Package github.com/chatdm/chatdm/rocketchat is its counterpart for
// Rocket.Chat, with the same errors and options.
//
// Create one [Client] per token and share it. A method returns a result, or nil
// and an *[Error]; List and History return an iterator:
//
//	client, err := chatdm.NewClient(token)
//	user, err := client.Users.LookupByEmail(ctx, "alice@example.com")
//	dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user.User.ID}})
//	res, err := client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{
//		Channel: dm.Channel.ID, Text: "The build is done.", Key: "build-1284"})
//
// A message with a Key is posted at most once, even if a response is lost and, with Since,
// even if the program restarts; see [ChatPostMessageParams].
//
// A no-op is a flag on the result (NoOp, AlreadyOpen, AlreadyClosed, AlreadyPosted), not
// an error.
//
// # Errors
//
// Every error code that Slack documents for these methods is a constant of type
// [Code], and every error has exactly one [Kind], which says what to do. Match both
// with [errors.Is]. If an argument is invalid, the client sends nothing and returns
// an error of [KindInvalidRequest] that names the argument.
//
// # Retries
//
// By default, a call makes at most four attempts; see [WithRetry]. Whether the
// client retries a call depends on why the attempt failed:
//
//   - The request never reached the server (a failed DNS lookup, dial, or TLS
//     handshake): the client retries every call.
//   - The server rejected the call because of a rate limit: the client retries
//     every call after the wait that the server requested.
//   - The call may have taken effect (a lost connection, a timeout, a 500, 502,
//     503, or 504, a truncated response, or a code such as internal_error): the
//     client retries only idempotent calls. The error of any other call matches
//     [ErrEffectUnknown].
//   - The server rejected the token: the client retries every call once if a
//     [TokenRefresher] replaces the token.
//   - Any other failure, such as an invalid certificate: the client does not retry.
//
// The call fails immediately if the server requests a wait of more than a minute
// (see [RetryPolicy]), or if a wait would exceed the context's deadline. A 429
// pauses the method for all goroutines that use the client. For chat.postMessage, it
// pauses only the conversation; see [ChatService.PostMessage].
//
// By default, a client only reacts to 429s. To stay below Slack's published
// limits, use [WithLimiter] and [NewTierLimiter], or, for several processes, the
// module github.com/chatdm/chatdm/chatdmredis.
//
// # Tests and secrets
//
// Package github.com/chatdm/chatdm/chatdmtest provides fake Slack and Rocket.Chat
// servers that can return every documented error.
//
// The client sends the token only in the Authorization header and does not follow
// redirects. Errors, log lines, and printed values never show the token.
package chatdm
