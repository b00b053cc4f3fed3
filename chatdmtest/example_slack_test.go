package chatdmtest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// callSlack posts a form and prints the response.
func callSlack(s *chatdmtest.Slack, token, method string, args url.Values) {
	args.Set("token", token)
	resp, err := s.Client().PostForm(s.URL+"/"+method, args)
	if err != nil {
		fmt.Println("no response")
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
	callSlack(slack, chatdmtest.BotToken, "conversations.open", alice)
	callSlack(slack, chatdmtest.BotToken, "conversations.open", alice)
	callSlack(slack, chatdmtest.BotToken, "conversations.open", url.Values{"users": {chatdmtest.DisabledUser}})
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":false,"error":"user_disabled"}
}

// InMemory also works outside a testing/synctest bubble.
func ExampleInMemory() {
	slack := chatdmtest.NewSlack(chatdmtest.InMemory())
	defer slack.Close()

	fmt.Println(slack.URL)
	callSlack(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	// Output:
	// http://localhost:0/api
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
}

func ExampleKeepRequests() {
	slack := chatdmtest.NewSlack(chatdmtest.KeepRequests(2))
	defer slack.Close()

	for _, user := range []string{chatdmtest.Alice, chatdmtest.Bob, chatdmtest.Carol} {
		callSlack(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {user}})
	}
	fmt.Println(len(slack.Requests()), "of", slack.RequestCount(), "requests")
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":true,"channel":{"id":"D000000002"}}
	// 200 {"ok":true,"channel":{"id":"D000000003"}}
	// 2 of 3 requests
}

func ExampleRetiredIM() {
	slack := chatdmtest.NewSlack(chatdmtest.RetiredIM())
	defer slack.Close()

	callSlack(slack, chatdmtest.BotToken, "im.close", url.Values{"channel": {"D000000001"}})
	// Output:
	// 200 {"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. Please use conversations.close instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}
}

func ExampleSlack_RetireIM() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()

	bob := url.Values{"user": {chatdmtest.Bob}}
	callSlack(slack, chatdmtest.BotToken, "im.open", bob)
	slack.RetireIM(true)
	callSlack(slack, chatdmtest.BotToken, "im.open", bob)
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. Please use conversations.open instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}
}

func ExampleSlack_AddUser() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddUser(chatdmtest.User{ID: "U012AB3CD", Name: "zoe"})

	zoe := url.Values{"user": {"U012AB3CD"}}
	callSlack(slack, chatdmtest.BotToken, "im.open", zoe)
	slack.AddUser(chatdmtest.User{ID: "U012AB3CD", Name: "zoe", Disabled: true})
	callSlack(slack, chatdmtest.BotToken, "im.open", zoe)
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":false,"error":"user_disabled"}
}

func ExampleSlack_AddToken() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddToken(chatdmtest.Token{Value: "xoxp-alice", User: chatdmtest.Alice, Scopes: []string{"im:read", "im:write"}})
	slack.AddToken(chatdmtest.Token{Value: "xoxp-old", User: chatdmtest.Alice, State: chatdmtest.Expired})

	bobAndCarol := url.Values{"users": {chatdmtest.Bob + "," + chatdmtest.Carol}}
	callSlack(slack, "xoxp-alice", "conversations.open", bobAndCarol)
	callSlack(slack, "xoxp-old", "conversations.open", bobAndCarol)
	// Output:
	// 200 {"ok":false,"error":"missing_scope","needed":"channels:write,groups:write,mpim:write,im:write","provided":"im:read,im:write"}
	// 200 {"ok":false,"error":"token_expired"}
}

func ExampleSlack_AddChannel() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddChannel(chatdmtest.Channel{ID: "C012AB3CD", Name: "general", Members: []string{chatdmtest.BotUser}})

	callSlack(slack, chatdmtest.BotToken, "conversations.close", url.Values{"channel": {"C012AB3CD"}})
	// Output:
	// 200 {"ok":false,"error":"method_not_supported_for_channel_type"}
}

func ExampleSlack_Limit() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.Limit("im.open", 1, time.Minute)

	bob := url.Values{"user": {chatdmtest.Bob}}
	callSlack(slack, chatdmtest.BotToken, "im.open", bob)
	callSlack(slack, chatdmtest.BotToken, "im.open", bob)
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 429 {"ok":false,"error":"ratelimited"}
}

// The first call fails with an error code, and the second with a status and a body
// that are not from the API. The third call takes effect, but its response is lost.
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
		callSlack(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	}
	// Output:
	// 200 {"ok":false,"error":"internal_error"}
	// 502 <h1>Bad gateway</h1>
	// no response
	// 200 {"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}
}

func ExampleSlack_Requests() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	callSlack(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	callSlack(slack, chatdmtest.BotToken, "im.clsoe", url.Values{"channel": {"D000000001"}})

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
	callSlack(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})

	// The message is posted, but the response is lost.
	slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	callSlack(slack, chatdmtest.BotToken, "chat.postMessage", url.Values{"channel": {"D000000001"}, "text": {"Hello."}})
	for _, m := range slack.Messages("D000000001") {
		fmt.Println(m.User, m.Text)
	}
	fmt.Println(slack.Messages("D404"))
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// no response
	// UBOT Hello.
	// []
}

func ExampleSlack_DropMetadata() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.DropMetadata("task_created")

	callSlack(slack, chatdmtest.BotToken, "conversations.open", url.Values{"users": {chatdmtest.Alice}})
	slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}) // print no timestamp
	callSlack(slack, chatdmtest.BotToken, "chat.postMessage", url.Values{
		"channel": {"D000000001"}, "text": {"Hello."}, "metadata": {`{"event_type":"task_created","event_payload":{}}`},
	})
	m := slack.Messages("D000000001")[0]
	fmt.Printf("%s %q\n", m.Text, m.Metadata)
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// no response
	// Hello. ""
}
