package chatdmtest_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// callRocketChat sends JSON the way any client of Rocket.Chat does, and prints the answer.
func callRocketChat(s *chatdmtest.RocketChat, id, token, endpoint, body string) {
	r, err := http.NewRequest("POST", s.URL+"/api/v1/"+endpoint, strings.NewReader(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-User-Id", id)
	r.Header.Set("X-Auth-Token", token)
	resp, err := s.Client().Do(r)
	if err != nil {
		fmt.Println("no answer")
		return
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	fmt.Println(resp.StatusCode, string(answer))
}

func asAdmin(s *chatdmtest.RocketChat, endpoint, body string) {
	callRocketChat(s, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken, endpoint, body)
}

func asMember(s *chatdmtest.RocketChat, endpoint, body string) {
	callRocketChat(s, chatdmtest.RocketChatMemberID, chatdmtest.RocketChatMemberToken, endpoint, body)
}

func ExampleNewRocketChat() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()

	asMember(chat, "im.create", `{"username":"alice"}`)
	asMember(chat, "im.close", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	asMember(chat, "im.close", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	asMember(chat, "im.delete", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	asAdmin(chat, "im.delete", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	asAdmin(chat, "im.delete", `{"roomId":"U0ALICE01chatdmtestMember1"}`)
	// Output:
	// 200 {"room":{"t":"d","rid":"U0ALICE01chatdmtestMember1","usernames":["alice","member"],"_id":"U0ALICE01chatdmtestMember1"},"success":true}
	// 200 {"success":true}
	// 400 {"success":false,"error":"The direct message room, is already closed to the sender"}
	// 400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed","details":{"method":"eraseRoom"}}
	// 200 {"success":true}
	// 400 {"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}
}

// The same call, to servers of four ages.
func ExampleGeneration() {
	for _, generation := range []chatdmtest.RocketChatGeneration{
		chatdmtest.RocketChat3, chatdmtest.RocketChat4, chatdmtest.RocketChat7, chatdmtest.RocketChat8,
	} {
		chat := chatdmtest.NewRocketChat(chatdmtest.Generation(generation))
		asMember(chat, "im.delete", `{"roomId":"a","username":"b"}`)
		chat.Close()
	}
	// Output:
	// 403 {"success":false,"error":"unauthorized"}
	// 400 {"success":false,"error":"must NOT have additional properties\n must NOT have additional properties\n must match exactly one schema in oneOf [invalid-params]","errorType":"invalid-params"}
	// 400 {"success":false,"error":"must NOT have additional properties\n must NOT have additional properties\n must match exactly one schema in oneOf","errorType":"invalid-params"}
	// 400 {"success":false,"error":"must NOT have additional properties\n must NOT have additional properties\n must match exactly one schema in oneOf","errorType":"invalid-params"}
}

// A user with a second factor, who may delete direct messages but is no admin.
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

// A channel to be met by mistake, and a direct message that cannot be deleted.
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

	asAdmin(chat, "im.delete", `{"roomId":"GENERAL"}`)
	asAdmin(chat, "im.delete", `{"roomId":"hdy9972092873h8s7"}`)
	// Output:
	// 400 {"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}
	// 400 {"success":false,"error":"Cannot delete federated room [error-cannot-delete-federated-room]","errorType":"error-cannot-delete-federated-room","details":{"method":"eraseRoom"}}
}

func ExampleRocketChat_Limit() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.Limit("im.open", 1, time.Minute)
	chat.AddRoom(chatdmtest.RocketChatRoom{ID: "hdy9972092873h8s7", Type: "d", Members: []string{chatdmtest.RocketChatMemberID}})

	asMember(chat, "im.open", `{"roomId":"hdy9972092873h8s7"}`)
	asMember(chat, "im.open", `{"roomId":"hdy9972092873h8s7"}`)
	// Output:
	// 200 {"success":true}
	// 429 {"success":false,"error":"Error, too many requests. Please slow down. You must wait 60 seconds before trying this endpoint again. [error-too-many-requests]"}
}

// An app vetoes a delete, a token is revoked in the middle of it all, and the
// answer to a delete gets lost, so that its repetition finds nothing.
func ExampleRocketChat_Fail() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	chat.AddRoom(chatdmtest.RocketChatRoom{ID: "hdy9972092873h8s7", Type: "d", Members: []string{chatdmtest.Alice, chatdmtest.Bob}})
	chat.Fail("im.delete", 1, chatdmtest.Fault{Code: "error-app-prevented-deleting"})
	chat.Fail("im.delete", 1, chatdmtest.Fault{Code: "unauthorized"})
	chat.Fail("im.delete", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})

	for range 4 {
		asAdmin(chat, "im.delete", `{"roomId":"hdy9972092873h8s7"}`)
	}
	// Output:
	// 400 {"success":false,"error":"A Rocket.Chat App prevented the room erasing. [error-app-prevented-deleting]","errorType":"error-app-prevented-deleting"}
	// 401 {"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}
	// no answer
	// 400 {"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}
}

func ExampleRocketChat_Requests() {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	asMember(chat, "dm.create", `{"username":"alice"}`)

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
	asMember(chat, "im.create", `{"username":"alice"}`)

	// The answer gets lost, and the message does not.
	chat.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	asMember(chat, "chat.postMessage", `{"roomId":"U0ALICE01chatdmtestMember1","text":"Hello."}`)
	for _, m := range chat.Messages("U0ALICE01chatdmtestMember1") {
		fmt.Println(m.User, m.Text)
	}
	// Output:
	// 200 {"room":{"t":"d","rid":"U0ALICE01chatdmtestMember1","usernames":["alice","member"],"_id":"U0ALICE01chatdmtestMember1"},"success":true}
	// no answer
	// chatdmtestMember1 Hello.
}
