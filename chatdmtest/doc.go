// Package chatdmtest provides fake Slack and Rocket.Chat servers for tests, and a test of
// token stores.
//
// A fake server is a real HTTP server that keeps users, tokens, conversations,
// and messages in memory. Any HTTP client can talk to it. The client needs only
// the URL of the server and one of its tokens.
//
//   - [NewSlack] starts a Slack workspace with the Web API methods for direct
//     messages. It returns the flags, warnings, scopes, and error codes that
//     Slack documents.
//   - [NewRocketChat] starts a Rocket.Chat server with the REST API endpoints
//     for direct messages. [Generation] selects which versions of Rocket.Chat it
//     imitates.
//
// [TestTokenStore] tests your own [chatdm.TokenStore].
//
// # Usage
//
// Start a server, pass its URL and a token to the program under test, and close
// the server when the test ends:
//
//	func TestGreet(t *testing.T) {
//		slack := chatdmtest.NewSlack()
//		defer slack.Close()
//		slack.Limit("conversations.open", 50, time.Minute)
//		slack.Fail("conversations.open", 1, chatdmtest.Fault{Status: 503})
//
//		bot := NewBot(slack.URL, chatdmtest.BotToken)
//		if err := bot.Greet(chatdmtest.Alice); err != nil {
//			t.Fatal(err)
//		}
//		if got := len(slack.Requests()); got != 2 {
//			t.Errorf("got %d requests, want 2: the first attempt and a retry", got)
//		}
//	}
//
// Both servers have these methods:
//
//   - Fail makes the next requests fail. A [Fault] can set an error code, an HTTP
//     status, a header, or a body. It can delay, stall, or cut the response, and it
//     can make the call take effect after the client has given up.
//   - Limit sets the rate limit of an API method; on Slack, also one per conversation.
//   - Requests returns the requests that the server received.
//   - Messages returns the messages in a conversation.
//   - Conversations returns all conversations with their members and messages.
//   - Changed reports that something has changed, such as a request that arrives.
//
// You can also run the servers outside a test, for programs in any language. The
// command chatdmtest/cmd/fakechat serves both on fixed ports, with a live page and
// an HTTP API for faults; see
// https://github.com/chatdm/chatdm/blob/main/docs/fakechat.md. To serve one in your
// own program, start it in a main function, and print its URL and a token. It listens
// on a free port of the loopback interface. To choose the address yourself, pass the
// server to [http.ListenAndServe] as the handler.
//
// # Time
//
// Rate limits and delays use the time package. To test them without really waiting,
// run the test in a [testing/synctest] bubble and start the server with [InMemory].
// Start the server, use it, and call Close inside the bubble:
//
//	synctest.Test(t, func(t *testing.T) {
//		slack := chatdmtest.NewSlack(chatdmtest.InMemory())
//		defer slack.Close()
//		client, err := chatdm.NewClient(chatdmtest.BotToken,
//			chatdm.WithBaseURL(slack.URL), chatdm.WithHTTPClient(slack.Client()))
//		…
//	})
//
// # Limits
//
//   - A server keeps only the last 10,000 requests. To change this number, use
//     [KeepRequests].
//   - A server keeps all conversations and messages in memory, without a limit.
//   - A request body can be at most 1 MiB. The server responds to a larger one
//     with HTTP 413.
//
// # What the servers do not imitate
//
//   - API methods that have nothing to do with direct messages or users, with a few
//     exceptions. The types [Slack] and [RocketChat] list the methods they implement,
//     and say how they behave in cases that the platform does not document.
//   - WebSockets and events. HTTPS is available from fakechat, or from a server of
//     your own that has the fake server as the handler.
//   - The platforms' rate limits: a server has none until you call Limit.
//   - Separate rate limits for each token.
//   - Edits, reactions, files, and link previews.
//   - On Rocket.Chat, most changes that the platform makes to the text of a message. A
//     [Slack] escapes and rewrites it.
//   - Latency: a server responds immediately unless a [Fault] has a Delay or ApplyAfter.
package chatdmtest
