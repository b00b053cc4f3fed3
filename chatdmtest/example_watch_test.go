package chatdmtest_test

import (
	"fmt"
	"net/url"

	"github.com/chatdm/chatdm/chatdmtest"
)

func ExampleSlack_Changed() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()

	go callAPITest(slack) // the program under test
	for {
		changed := slack.Changed()
		if requests := slack.Requests(); len(requests) == 1 && !requests[0].End.IsZero() {
			fmt.Println(requests[0].Method, requests[0].Code)
			break
		}
		<-changed
	}
	// Output:
	// api.test my_error
}

// callAPITest makes a call that fails.
func callAPITest(slack *chatdmtest.Slack) {
	resp, err := slack.Client().PostForm(slack.URL+"/api.test", url.Values{"error": {"my_error"}})
	if err == nil {
		resp.Body.Close()
	}
}

func ExampleSlack_PendingFaults() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()

	slack.Fail("im.open", 2, chatdmtest.Fault{Code: "fatal_error"})
	callSlack(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Alice}})
	for _, pending := range slack.PendingFaults() {
		fmt.Println(pending.Method, pending.Times, pending.Fault.Code)
	}
	// Output:
	// 200 {"ok":false,"error":"fatal_error"}
	// im.open 1 fatal_error
}

func ExampleSlack_Conversations() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()

	callSlack(slack, chatdmtest.BotToken, "conversations.open", url.Values{"users": {chatdmtest.Alice}})
	for _, conv := range slack.Conversations() {
		for _, member := range conv.Members {
			fmt.Println(conv.ID, conv.Type, member.Name, member.Open)
		}
	}
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// D000000001 im chatdmtest true
	// D000000001 im alice false
}

func ExampleRocketChat_Conversations() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()

	chat.AddRoom(chatdmtest.RocketChatRoom{ID: "GENERAL", Name: "general", Members: []string{chatdmtest.Alice}})
	for _, room := range chat.Conversations() {
		fmt.Println(room.ID, room.Type, room.Name, room.Members[0].Name)
	}
	// Output:
	// GENERAL c general alice
}
