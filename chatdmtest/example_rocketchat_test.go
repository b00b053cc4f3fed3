package chatdmtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// callRocketChat posts JSON and prints the response.
func callRocketChat(s *chatdmtest.RocketChat, userID, token, endpoint, body string) {
	r, err := http.NewRequest("POST", s.URL+"/api/v1/"+endpoint, strings.NewReader(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-User-Id", userID)
	r.Header.Set("X-Auth-Token", token)
	resp, err := s.Client().Do(r)
	if err != nil {
		fmt.Println("no response")
		return
	}
	defer resp.Body.Close()
	responseBody, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(responseBody))
}

func callAsAdmin(s *chatdmtest.RocketChat, endpoint, body string) {
	callRocketChat(s, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken, endpoint, body)
}

func callAsMember(s *chatdmtest.RocketChat, endpoint, body string) {
	callRocketChat(s, chatdmtest.RocketChatMemberID, chatdmtest.RocketChatMemberToken, endpoint, body)
}

func ExampleNewRocketChat() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()

	callAsMember(chat, "im.create", `{"username":"alice"}`)
	callAsMember(chat, "im.close", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	callAsMember(chat, "im.close", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	callAsMember(chat, "im.delete", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	callAsAdmin(chat, "im.delete", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	callAsAdmin(chat, "im.delete", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	// Output:
	// 200 {"room":{"t":"d","rid":"U0ALICE01chatdmtestMember1","usernames":["alice","member"],"_id":"U0ALICE01chatdmtestMember1"},"success":true}
	// 200 {"success":true}
	// 400 {"success":false,"error":"The direct message room, is already closed to the sender"}
	// 400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed","details":{"method":"eraseRoom"}}
	// 200 {"success":true}
	// 400 {"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}
}

// Four generations respond differently to the same request.
func ExampleGeneration() {
	for _, generation := range []chatdmtest.RocketChatGeneration{
		chatdmtest.RocketChat3, chatdmtest.RocketChat4, chatdmtest.RocketChat7, chatdmtest.RocketChat8,
	} {
		chat := chatdmtest.NewRocketChat(chatdmtest.Generation(generation))
		callAsMember(chat, "im.delete", `{"roomId":"a","username":"b"}`)
		chat.Close()
	}
	// Output:
	// 403 {"success":false,"error":"unauthorized"}
	// 400 {"success":false,"error":"must NOT have additional properties\n must NOT have additional properties\n must match exactly one schema in oneOf [invalid-params]","errorType":"invalid-params"}
	// 400 {"success":false,"error":"must NOT have additional properties\n must NOT have additional properties\n must match exactly one schema in oneOf","errorType":"invalid-params"}
	// 400 {"success":false,"error":"must NOT have additional properties\n must NOT have additional properties\n must match exactly one schema in oneOf","errorType":"invalid-params"}
}

// The user has two-factor authentication and can delete DMs, but is not an admin.
func ExampleRocketChat_AddUser() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.AddUser(chatdmtest.RocketChatUser{
		ID:          "rbAXPnMktTFbNpwtJ",
		Username:    "zoe",
		Password:    "chatdmtest-zoe",
		TOTP:        "123456",
		Permissions: []string{"create-d", "delete-d"},
	})

	callRocketChat(chat, "", "", "login", `{"user":"zoe","password":"chatdmtest-zoe"}`)
	callRocketChat(chat, "", "", "login", `{"user":"zoe","password":"chatdmtest-zoe","code":"123456"}`)
	callRocketChat(chat, "rbAXPnMktTFbNpwtJ", "chatdmtest-login-1", "im.delete", `{"username":"alice"}`)
	// Output:
	// 401 {"status":"error","error":"totp-required","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]},"message":"TOTP Required"}
	// 200 {"status":"success","data":{"userId":"rbAXPnMktTFbNpwtJ","authToken":"chatdmtest-login-1","me":{"_id":"rbAXPnMktTFbNpwtJ","username":"zoe","name":"zoe"}},"success":true}
	// 200 {"success":true}
}

// im.delete can delete neither a channel nor a federated DM.
func ExampleRocketChat_AddRoom() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.AddRoom(chatdmtest.RocketChatRoom{ID: "GENERAL", Name: "general", Members: []string{chatdmtest.RocketChatAdminID}})
	chat.AddRoom(chatdmtest.RocketChatRoom{
		ID:        "hdy9972092873h8s7",
		Type:      "d",
		Members:   []string{chatdmtest.RocketChatAdminID, chatdmtest.Alice},
		Federated: true,
	})

	callAsAdmin(chat, "im.delete", `{"roomId":"GENERAL"}`)
	callAsAdmin(chat, "im.delete", `{"roomId":"hdy9972092873h8s7"}`)
	// Output:
	// 400 {"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}
	// 400 {"success":false,"error":"Cannot delete federated room [error-cannot-delete-federated-room]","errorType":"error-cannot-delete-federated-room","details":{"method":"eraseRoom"}}
}

func ExampleRocketChat_Limit() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.Limit("im.open", 1, time.Minute)
	chat.AddRoom(chatdmtest.RocketChatRoom{ID: "hdy9972092873h8s7", Type: "d", Members: []string{chatdmtest.RocketChatMemberID}})

	callAsMember(chat, "im.open", `{"roomId":"hdy9972092873h8s7"}`)
	callAsMember(chat, "im.open", `{"roomId":"hdy9972092873h8s7"}`)
	// Output:
	// 200 {"success":true}
	// 429 {"success":false,"error":"Error, too many requests. Please slow down. You must wait 60 seconds before trying this endpoint again. [error-too-many-requests]"}
}

// An app prevents the first call, and the token is invalid for the second. The third
// call deletes the room, but its response is lost, so the fourth does not find the
// room.
func ExampleRocketChat_Fail() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.AddRoom(chatdmtest.RocketChatRoom{ID: "hdy9972092873h8s7", Type: "d", Members: []string{chatdmtest.Alice, chatdmtest.Bob}})
	chat.Fail("im.delete", 1, chatdmtest.Fault{Code: "error-app-prevented-deleting"})
	chat.Fail("im.delete", 1, chatdmtest.Fault{Code: "unauthorized"})
	chat.Fail("im.delete", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})

	for range 4 {
		callAsAdmin(chat, "im.delete", `{"roomId":"hdy9972092873h8s7"}`)
	}
	// Output:
	// 400 {"success":false,"error":"A Rocket.Chat App prevented the room erasing. [error-app-prevented-deleting]","errorType":"error-app-prevented-deleting"}
	// 401 {"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}
	// no response
	// 400 {"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}
}

func ExampleRocketChat_Requests() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	callAsMember(chat, "dm.create", `{"username":"alice"}`)

	for _, r := range chat.Requests() {
		fmt.Println(r.HTTPMethod, r.Path, r.Method, r.Status, string(r.Body))
	}
	// Output:
	// 200 {"room":{"t":"d","rid":"U0ALICE01chatdmtestMember1","usernames":["alice","member"],"_id":"U0ALICE01chatdmtestMember1"},"success":true}
	// POST /api/v1/dm.create dm.create 200 {"username":"alice"}
}

func ExampleRocketChat_Messages() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	callAsMember(chat, "im.create", `{"username":"alice"}`)

	// The message is posted, but the response is lost.
	chat.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	callAsMember(chat, "chat.postMessage", `{"roomId":"U0ALICE01chatdmtestMember1","text":"Hello."}`)
	for _, m := range chat.Messages("U0ALICE01chatdmtestMember1") {
		fmt.Println(m.User, m.Text)
	}
	// Output:
	// 200 {"room":{"t":"d","rid":"U0ALICE01chatdmtestMember1","usernames":["alice","member"],"_id":"U0ALICE01chatdmtestMember1"},"success":true}
	// no response
	// chatdmtestMember1 Hello.
}

func ExampleRocketChat_SetMaxMessageSize() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.SetMaxMessageSize(5)
	callAsMember(chat, "chat.sendMessage", `{"message":{"rid":"U0ALICE01chatdmtestMember1","msg":"Hello."}}`)
	// Output:
	// 400 {"success":false,"error":"Message size exceeds Message_MaxAllowedSize [error-message-size-exceeded]","errorType":"error-message-size-exceeded","details":{"method":"sendMessage"}}
}

func ExampleRocketChat_PreventMessages() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.PreventMessages(func(_, _, text string) bool { return strings.Contains(text, "secret") })
	callAsMember(chat, "im.create", `{"username":"alice"}`)
	callAsMember(chat, "chat.sendMessage", `{"message":{"rid":"U0ALICE01chatdmtestMember1","msg":"The secret."}}`)
	fmt.Println(len(chat.Messages("U0ALICE01chatdmtestMember1")), "messages")
	// Output:
	// 200 {"room":{"t":"d","rid":"U0ALICE01chatdmtestMember1","usernames":["alice","member"],"_id":"U0ALICE01chatdmtestMember1"},"success":true}
	// 400 {"success":false,"error":"Cannot read properties of undefined (reading 'starred')"}
	// 0 messages
}

func ExampleRocketChat_RewriteMessages() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.RewriteMessages(func(text string) string { return strings.ReplaceAll(text, "darn", "****") })
	callAsMember(chat, "im.create", `{"username":"alice"}`)
	chat.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	callAsMember(chat, "chat.postMessage", `{"roomId":"U0ALICE01chatdmtestMember1","text":"darn it"}`)
	fmt.Println(chat.Messages("U0ALICE01chatdmtestMember1")[0].Text)
	// Output:
	// 200 {"room":{"t":"d","rid":"U0ALICE01chatdmtestMember1","usernames":["alice","member"],"_id":"U0ALICE01chatdmtestMember1"},"success":true}
	// no response
	// **** it
}

func ExampleRocketChat_DeleteMessage() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	callAsMember(chat, "im.create", `{"username":"alice"}`)
	chat.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	callAsMember(chat, "chat.postMessage", `{"roomId":"U0ALICE01chatdmtestMember1","text":"Hello."}`)
	id := chat.Messages("U0ALICE01chatdmtestMember1")[0].ID
	fmt.Println(chat.DeleteMessage(id), chat.DeleteMessage(id))
	// Output:
	// 200 {"room":{"t":"d","rid":"U0ALICE01chatdmtestMember1","usernames":["alice","member"],"_id":"U0ALICE01chatdmtestMember1"},"success":true}
	// no response
	// true false
}

// The token has expired when the bot uses it.
func ExampleRocketChat_SetLoginExpiration() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.SetLoginExpiration(time.Nanosecond)

	callRocketChat(chat, "", "", "login", `{"user":"alice","password":"`+chatdmtest.RocketChatPassword+`"}`)
	callRocketChat(chat, chatdmtest.Alice, "chatdmtest-login-1", "im.create", `{"username":"bob"}`)
	callRocketChat(chat, "", "", "login", `{"resume":"chatdmtest-login-1"}`)
	// Output:
	// 200 {"status":"success","data":{"userId":"U0ALICE01","authToken":"chatdmtest-login-1","me":{"_id":"U0ALICE01","username":"alice","name":"alice"}},"success":true}
	// 401 {"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}
	// 401 {"status":"error","error":403,"message":"You've been logged out by the server. Please log in again."}
}

func ExampleRocketChat_RevokeLoginTokens() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()

	callRocketChat(chat, "", "", "login", `{"user":"alice","password":"`+chatdmtest.RocketChatPassword+`"}`)
	chat.RevokeLoginTokens(chatdmtest.Alice)
	callRocketChat(chat, chatdmtest.Alice, "chatdmtest-login-1", "im.create", `{"username":"bob"}`)
	// Output:
	// 200 {"status":"success","data":{"userId":"U0ALICE01","authToken":"chatdmtest-login-1","me":{"_id":"U0ALICE01","username":"alice","name":"alice"}},"success":true}
	// 401 {"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}
}
