package chatdmtest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// call sends a form the way any client of Slack does, and prints the answer.
func call(s *chatdmtest.Slack, token, method string, args url.Values) {
	args.Set("token", token)
	resp, err := s.Client().PostForm(s.URL+"/"+method, args)
	if err != nil {
		fmt.Println("no answer")
		return
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(body))
}

func ExampleNewSlack() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()

	alice := url.Values{"users": {chatdmtest.Alice}}
	call(slack, chatdmtest.BotToken, "conversations.open", alice)
	call(slack, chatdmtest.BotToken, "conversations.open", alice)
	call(slack, chatdmtest.BotToken, "conversations.open", url.Values{"users": {chatdmtest.DisabledUser}})
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":false,"error":"user_disabled"}
}

// Outside a bubble of testing/synctest, the only difference is that no port is
// in use.
func ExampleInMemory() {
	slack := chatdmtest.NewSlack(chatdmtest.InMemory())
	defer slack.Close()

	fmt.Println(slack.URL)
	call(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	// Output:
	// http://localhost:0/api
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
}

func ExampleRetiredIM() {
	slack := chatdmtest.NewSlack(chatdmtest.RetiredIM())
	defer slack.Close()

	call(slack, chatdmtest.BotToken, "im.close", url.Values{"channel": {"D000000001"}})
	// Output:
	// 200 {"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. Please use conversations.close instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}
}

func ExampleSlack_RetireIM() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()

	bob := url.Values{"user": {chatdmtest.Bob}}
	call(slack, chatdmtest.BotToken, "im.open", bob)
	slack.RetireIM(true)
	call(slack, chatdmtest.BotToken, "im.open", bob)
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. Please use conversations.open instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}
}

func ExampleSlack_AddUser() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddUser(chatdmtest.User{ID: "U012AB3CD", Name: "zoe"})

	zoe := url.Values{"user": {"U012AB3CD"}}
	call(slack, chatdmtest.BotToken, "im.open", zoe)
	slack.AddUser(chatdmtest.User{ID: "U012AB3CD", Name: "zoe", Disabled: true})
	call(slack, chatdmtest.BotToken, "im.open", zoe)
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":false,"error":"user_disabled"}
}

func ExampleSlack_AddToken() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddToken(chatdmtest.Token{Value: "xoxp-alice", User: chatdmtest.Alice, Scopes: []string{"im:read", "im:write"}})
	slack.AddToken(chatdmtest.Token{Value: "xoxp-old", User: chatdmtest.Alice, State: chatdmtest.Expired})

	two := url.Values{"users": {chatdmtest.Bob + "," + chatdmtest.Carol}}
	call(slack, "xoxp-alice", "conversations.open", two)
	call(slack, "xoxp-old", "conversations.open", two)
	// Output:
	// 200 {"ok":false,"error":"missing_scope","needed":"channels:write,groups:write,mpim:write,im:write","provided":"im:read,im:write"}
	// 200 {"ok":false,"error":"token_expired"}
}

func ExampleSlack_AddChannel() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddChannel(chatdmtest.Channel{ID: "C012AB3CD", Name: "general", Members: []string{chatdmtest.BotUser}})

	call(slack, chatdmtest.BotToken, "conversations.close", url.Values{"channel": {"C012AB3CD"}})
	// Output:
	// 200 {"ok":false,"error":"method_not_supported_for_channel_type"}
}

func ExampleSlack_Limit() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.Limit("im.open", 1, time.Minute)

	bob := url.Values{"user": {chatdmtest.Bob}}
	call(slack, chatdmtest.BotToken, "im.open", bob)
	call(slack, chatdmtest.BotToken, "im.open", bob)
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 429 {"ok":false,"error":"ratelimited"}
}

// Three bad moments: Slack says that it failed, its front end does, and an answer
// is lost on the way although the call took effect.
func ExampleSlack_Fail() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.Fail("im.open", 1, chatdmtest.Fault{Code: "internal_error"})
	slack.Fail("im.open", 1, chatdmtest.Fault{
		Status: http.StatusBadGateway,
		Header: http.Header{"Content-Type": {"text/html"}},
		Body:   "<h1>Bad gateway</h1>",
	})
	slack.Fail("im.open", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})

	for range 4 {
		call(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	}
	// Output:
	// 200 {"ok":false,"error":"internal_error"}
	// 502 <h1>Bad gateway</h1>
	// no answer
	// 200 {"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}
}

func ExampleSlack_Requests() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	call(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	call(slack, chatdmtest.BotToken, "im.clsoe", url.Values{"channel": {"D000000001"}})

	for _, r := range slack.Requests() {
		args, _ := url.ParseQuery(string(r.Body))
		fmt.Println(r.HTTPMethod, r.Method, r.Status, args["user"])
	}
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":false,"error":"unknown_method","req_method":"im.clsoe"}
	// POST im.open 200 [U0BOB0001]
	// POST im.clsoe 200 []
}

func ExampleSlack_Messages() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	call(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})

	// The answer gets lost, and the message does not.
	slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	call(slack, chatdmtest.BotToken, "chat.postMessage", url.Values{"channel": {"D000000001"}, "text": {"Hello."}})
	for _, m := range slack.Messages("D000000001") {
		fmt.Println(m.User, m.Text)
	}
	fmt.Println(slack.Messages("D404"))
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// no answer
	// UBOT Hello.
	// []
}
