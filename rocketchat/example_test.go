package rocketchat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/rocketchat"
)

// newExample starts a Rocket.Chat for an example and a client of its admin.
func newExample(opts ...chatdm.Option) (*chatdmtest.RocketChat, *rocketchat.Client) {
	server := chatdmtest.NewRocketChat()
	client, err := rocketchat.NewClient(server.URL, rocketchat.Credentials{
		UserID: chatdmtest.RocketChatAdminID, AuthToken: chatdmtest.RocketChatAdminToken,
	}, opts...)
	if err != nil {
		panic(err)
	}
	return server, client
}

func Example() {
	server := chatdmtest.NewRocketChat() // instead of https://chat.example.org
	defer server.Close()
	ctx, url := context.Background(), server.URL
	creds := rocketchat.Credentials{UserID: chatdmtest.RocketChatAdminID, AuthToken: chatdmtest.RocketChatAdminToken}

	client, err := rocketchat.NewClient(url, creds)
	if err != nil {
		fmt.Println(err)
		return
	}
	dm, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.IM.Delete(ctx, rocketchat.RoomID(dm.Room.ID))
	fmt.Println("deleted:", err == nil)
	_, err = client.IM.Delete(ctx, rocketchat.RoomID(dm.Room.ID))
	fmt.Println("deleted again:", err == nil, "not found:", errors.Is(err, chatdm.KindNotFound))
	// Output:
	// deleted: true
	// deleted again: false not found: true
}

func ExampleNewClient() {
	creds := rocketchat.Credentials{UserID: "rbAXPnMktTFbNpwtJ", AuthToken: "a personal access token"}
	_, err := rocketchat.NewClient("https://chat.example.org", creds)
	fmt.Println(err)

	creds.AuthToken = "aPersonalAccessToken"
	client, err := rocketchat.NewClient("https://chat.example.org/api/v1/", creds)
	fmt.Println(client, err)
	// Output:
	// rocketchat NewClient: invalid_request: AuthToken: must contain only printable ASCII characters and no spaces
	// rocketchat.Client(https://chat.example.org) <nil>
}

func ExampleLogin() {
	server := chatdmtest.NewRocketChat()
	defer server.Close()
	server.AddUser(chatdmtest.RocketChatUser{ID: "zoe1", Username: "zoe", Password: "zoe-password", TOTP: "123456"})
	ctx := context.Background()

	_, err := rocketchat.Login(ctx, server.URL, "zoe", "zoe-password")
	fmt.Println(errors.Is(err, rocketchat.ErrTOTPRequired))
	creds, err := rocketchat.Login(ctx, server.URL, "zoe", "zoe-password", rocketchat.WithTOTP("123456"))
	fmt.Println(creds, err)
	// Output:
	// true
	// rocketchat.Credentials(user "zoe1", token [redacted]) <nil>
}

func ExampleResume() {
	server := chatdmtest.NewRocketChat()
	defer server.Close()
	ctx := context.Background()

	creds, err := rocketchat.Login(ctx, server.URL, "alice", chatdmtest.RocketChatPassword)
	if err != nil {
		fmt.Println(err)
		return
	}
	creds, err = rocketchat.Resume(ctx, server.URL, creds.AuthToken)
	fmt.Println(creds.UserID, err)
	// Output:
	// U0ALICE01 <nil>
}

func ExampleIMService_Create() {
	server, client := newExample()
	defer server.Close()

	res, err := client.IM.Create(context.Background(), rocketchat.IMCreateParams{Usernames: []string{"alice", "bob"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Room.Type, res.Room.Usernames)

	_, err = client.IM.Create(context.Background(), rocketchat.IMCreateParams{Usernames: []string{"nobody"}})
	fmt.Println(errors.Is(err, rocketchat.ErrInvalidUser), errors.Is(err, chatdm.KindNotFound))
	// Output:
	// d [admin alice bob]
	// true true
}

func ExampleIMService_Open() {
	server, client := newExample()
	defer server.Close()

	_, err := client.IM.Open(context.Background(), "nowhere")
	fmt.Println(errors.Is(err, rocketchat.ErrForbidden), errors.Is(err, chatdm.KindPermissionDenied))
	// Output:
	// true true
}

func ExampleIMService_Close() {
	server, client := newExample()
	defer server.Close()
	ctx := context.Background()

	dm, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		res, err := client.IM.Close(ctx, dm.Room.ID)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("already closed:", res.AlreadyClosed)
	}
	// Output:
	// already closed: false
	// already closed: true
}

// A deletion whose answer was lost is not repeated. Delete the same room once
// more to find out what became of it.
func ExampleIMService_Delete() {
	server, client := newExample()
	defer server.Close()
	ctx := context.Background()

	dm, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server.Fail("im.delete", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	_, err = client.IM.Delete(ctx, rocketchat.RoomID(dm.Room.ID))
	if errors.Is(err, chatdm.ErrEffectUnknown) {
		_, err = client.IM.Delete(ctx, rocketchat.RoomID(dm.Room.ID))
		fmt.Println("it was deleted:", errors.Is(err, rocketchat.ErrInvalidChannel))
	}
	// Output:
	// it was deleted: true
}

func ExampleClient_Call() {
	server, client := newExample()
	defer server.Close()

	ctx := context.Background()
	created, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	message := map[string]string{"roomId": created.Room.ID, "text": "The build is green."}
	if _, err := client.Call(ctx, http.MethodPost, "chat.postMessage", message, nil); err != nil {
		fmt.Println(err)
		return
	}
	var history struct {
		Messages []struct{ Msg string }
	}
	meta, err := client.Call(ctx, http.MethodGet, "im.history", url.Values{"roomId": {created.Room.ID}}, &history)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(meta.StatusCode, history.Messages[0].Msg)
	// Output:
	// 200 The build is green.
}

func ExampleClient_String() {
	server, client := newExample()
	server.Close()
	fmt.Println(client.String() == "rocketchat.Client("+server.URL+")")
	// Output:
	// true
}

func ExampleClient_GoString() {
	server, client := newExample()
	server.Close()
	fmt.Println(fmt.Sprintf("%#v", client) == client.String())
	// Output:
	// true
}

func ExampleCredentials_String() {
	fmt.Println(rocketchat.Credentials{UserID: "u1", AuthToken: "secret"}.String())
	// Output:
	// rocketchat.Credentials(user "u1", token [redacted])
}

func ExampleCredentials_GoString() {
	fmt.Printf("%#v\n", rocketchat.Credentials{UserID: "u1", AuthToken: "secret"})
	// Output:
	// rocketchat.Credentials(user "u1", token [redacted])
}

func ExampleCredentials_Format() {
	fmt.Printf("%v %d\n", rocketchat.Credentials{UserID: "u1"}, rocketchat.Credentials{UserID: "u2", AuthToken: "secret"})
	// Output:
	// rocketchat.Credentials(user "u1", token [redacted]) rocketchat.Credentials(user "u2", token [redacted])
}

func ExampleCredentials_LogValue() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	logger.Info("logged in", "creds", rocketchat.Credentials{UserID: "u1", AuthToken: "secret"})
	// Output:
	// level=INFO msg="logged in" creds="rocketchat.Credentials(user \"u1\", token [redacted])"
}

func ExampleCredentials_MarshalJSON() {
	_, err := json.Marshal(rocketchat.Credentials{UserID: "u1", AuthToken: "secret"})
	fmt.Println(err != nil)
	// Output:
	// true
}

func ExampleCredentials_UnmarshalJSON() {
	var creds rocketchat.Credentials
	err := json.Unmarshal([]byte(`{"userId":"u1","authToken":"secret"}`), &creds)
	fmt.Println(err != nil)
	// Output:
	// true
}

func ExampleCredentials_MarshalBinary() {
	data, err := rocketchat.Credentials{UserID: "u1", AuthToken: "secret"}.MarshalBinary()
	fmt.Println(len(data) > 0, err) // store data where only you can read it
	// Output:
	// true <nil>
}

func ExampleCredentials_UnmarshalBinary() {
	data, err := rocketchat.Credentials{UserID: "u1", AuthToken: "secret"}.MarshalBinary()
	if err != nil {
		fmt.Println(err)
		return
	}
	var creds rocketchat.Credentials
	err = creds.UnmarshalBinary(data)
	fmt.Println(creds.UserID, err)
	// Output:
	// u1 <nil>
}

func ExampleChatService_SendMessage() {
	server, client := newExample()
	defer server.Close()
	ctx := context.Background()

	dm, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	reminder := rocketchat.ChatSendMessageParams{RoomID: dm.Room.ID, Text: "Standup in five minutes.", Key: "standup/2026-11-21"}
	for range 2 { // as if the program was restarted
		res, err := client.Chat.SendMessage(ctx, reminder)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(res.Message.Username, res.Message.Text, res.AlreadySent)
	}
	fmt.Println("messages:", len(server.Messages(dm.Room.ID)))
	// Output:
	// admin Standup in five minutes. false
	// admin Standup in five minutes. true
	// messages: 1
}

// The server stores the message, but the response is lost. Because of the Key,
// the client can find out.
func ExampleChatSendMessageParams() {
	server, client := newExample(chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1}))
	defer server.Close()
	ctx := context.Background()

	dm, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	server.Fail("chat.sendMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	res, err := client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: dm.Room.ID, Text: "The build is green.", Key: "build-1284"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("found by", res.Meta.Method, "after", res.Meta.LostAnswers, "lost response")
	fmt.Println("messages:", len(server.Messages(dm.Room.ID)))
	// Output:
	// found by chat.getMessage after 1 lost response
	// messages: 1
}

func ExampleChatService_GetMessage() {
	server, client := newExample()
	defer server.Close()
	ctx := context.Background()

	dm, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	sent, err := client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: dm.Room.ID, Text: "Hello"})
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := client.Chat.GetMessage(ctx, sent.Message.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Message.Text)
	_, err = client.Chat.GetMessage(ctx, "nothing")
	fmt.Println(errors.Is(err, chatdm.KindNotFound))
	// Output:
	// Hello
	// true
}

func ExampleIMService_History() {
	server, client := newExample()
	defer server.Close()
	ctx := context.Background()

	dm, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"one", "two", "three"} {
		if _, err := client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: dm.Room.ID, Text: text}); err != nil {
			fmt.Println(err)
			return
		}
	}
	for m, err := range client.IM.History(ctx, rocketchat.IMHistoryParams{RoomID: dm.Room.ID}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.Username, m.Text)
	}
	// Output:
	// admin three
	// admin two
	// admin one
}

func ExampleUsersService_Info() {
	server, client := newExample()
	defer server.Close()
	server.AddUser(chatdmtest.RocketChatUser{ID: "zoe1", Username: "zoe", Email: "zoe@example.org"})
	ctx := context.Background()

	for _, target := range []rocketchat.UserTarget{rocketchat.Username("zoe"), rocketchat.UserID("zoe1"), rocketchat.Email("zoe@example.org")} {
		res, err := client.Users.Info(ctx, target)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(res.User.ID, res.User.Username, res.User.Active)
	}
	_, err := client.Users.Info(ctx, rocketchat.Username("nobody"))
	fmt.Println(errors.Is(err, chatdm.KindNotFound))
	// Output:
	// zoe1 zoe true
	// zoe1 zoe true
	// zoe1 zoe true
	// true
}
