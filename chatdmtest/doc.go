// Package chatdmtest runs a chat platform inside a test: a real HTTP server,
// with users, tokens and conversations that it remembers from call to call.
//
// [NewSlack] starts a Slack workspace. It answers the methods that open, close
// and list direct messages the way Slack documents them: the flags of a call
// that changed nothing, the scopes a token lacks, the warnings about charsets,
// and every error by the cause it is documented for.
//
// [NewRocketChat] starts a Rocket.Chat server, of one of the generations that
// answer differently: with users, their permissions, login, and the endpoints that
// create, open, close and delete direct messages.
//
// Both can be made to fail. What has no cause that a test could bring about is
// scripted with Fail: error codes, statuses, broken bodies, delays, stalls and lost
// connections. Limit sets a rate budget, and Requests shows what the program under
// test has sent.
//
// Any HTTP client can talk to them; all it needs is the server's URL and one of
// its tokens. A test of a program that opens a direct message:
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
//		if n := len(slack.Requests()); n != 2 {
//			t.Errorf("sent %d requests, want one and its repetition", n)
//		}
//	}
//
// They serve programs that are tried by hand as well: a main of three lines that
// starts one and prints its URL and a token, on a port that is free, or with
// ServeHTTP behind a listener of your own.
//
// # Time
//
// Budgets and delays follow package time. A test that has to wait for them
// starts the server with [InMemory] inside a testing/synctest bubble, where the
// wait takes no time. The server, the client and Close all belong in the bubble.
package chatdmtest
