package interop_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/RocketChat/Rocket.Chat.Go.SDK/models"
	"github.com/RocketChat/Rocket.Chat.Go.SDK/rest"

	"github.com/chatdm/chatdm/chatdmtest"
)

// sdkSend calls chat.sendMessage, for which the SDK has no function.
func sdkSend(client *rest.Client, message map[string]string) (models.Message, error) {
	body, err := json.Marshal(map[string]any{"message": message})
	if err != nil {
		return models.Message{}, err
	}
	response := new(rest.MessageResponse)
	err = client.Post("chat.sendMessage", bytes.NewReader(body), response)
	return response.Message, err
}

// sdkUser calls users.info, for which the SDK has no function.
func sdkUser(client *rest.Client, username string) (models.User, error) {
	var response struct {
		rest.Status
		User models.User `json:"user"`
	}
	err := client.Get("users.info", url.Values{"username": {username}}, &response)
	return response.User, err
}

// TestRocketChatSDKMessages sends, reads, and looks up with the REST part of
// Rocket.Chat.Go.SDK, in two generations of servers.
func TestRocketChatSDKMessages(t *testing.T) {
	defer sdkLog(io.Discard)()
	tests := []struct {
		generation    chatdmtest.RocketChatGeneration
		wantDuplicate string // error of a duplicate _id
		wantTooLong   string // error of chat.postMessage; empty if it has no limit
	}{
		{chatdmtest.RocketChat4, "Cannot read property 'starred' of undefined", ""},
		{chatdmtest.RocketChat8, "Cannot read properties of undefined (reading 'starred')", "error-message-size-exceeded"},
	}
	for _, test := range tests {
		t.Run(string(test.generation), func(t *testing.T) {
			server := chatdmtest.NewRocketChat(chatdmtest.Generation(test.generation))
			defer server.Close()
			server.AddUser(chatdmtest.RocketChatUser{ID: "sdkUser0000000001", Username: "sdk", Password: chatdmtest.RocketChatPassword})
			serverURL, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			client, err := loginBefore(serverURL, "sdk", chatdmtest.RocketChatPassword)
			if err != nil {
				t.Fatal(err)
			}
			room, err := client.CreateDirectMessage("alice")
			if err != nil {
				t.Fatal(err)
			}

			// A message with its own ID.
			start := time.Now().Truncate(time.Millisecond)
			message := map[string]string{"_id": "message1", "rid": room.ID, "msg": "R&D <b> 🎉"}
			sent, err := sdkSend(client, message)
			if err != nil {
				t.Fatal(err)
			}
			if sent.ID != "message1" || sent.RoomID != room.ID || sent.Msg != message["msg"] || sent.User.UserName != "sdk" ||
				sent.Timestamp.Before(start) || sent.Timestamp.After(time.Now()) {
				t.Errorf("sent %+v by %+v", sent, sent.User)
			}
			_, err = sdkSend(client, message)
			checkText(t, "duplicate", err, test.wantDuplicate)
			got, err := client.GetMessage("message1")
			if err != nil || got.Msg != message["msg"] || got.User.ID != "sdkUser0000000001" {
				t.Errorf("got the message %+v, %v", got, err)
			}
			_, err = client.GetMessage("unknown")
			checkText(t, "unknown message", err, rest.ResponseErr.Error())

			// Messages whose ID the server chooses. The SDK escapes the text of Send.
			posted, err := client.PostMessage(&models.PostMessage{RoomID: room.ID, Text: " R&D <b> "})
			if err != nil || posted.Message.Msg != "R&D <b>" || posted.Message.ID == "" {
				t.Errorf("posted %+v, %v", posted.Message, err)
			}
			if err := client.Send(&models.Channel{Name: "@alice"}, "R&D <b>"); err != nil {
				t.Error(err)
			}
			elsewhere, err := client.PostMessage(&models.PostMessage{Channel: "@bob", Text: "Hi", Attachments: []models.Attachment{{Title: "Build", Text: "green"}}})
			if err != nil || elsewhere.Message.RoomID == room.ID || elsewhere.Message.Attachments[0].Title != "Build" {
				t.Errorf("posted %+v, %v", elsewhere.Message, err)
			}

			// The response is lost, and the SDK does not retry.
			server.Fail("chat.sendMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
			lost := map[string]string{"_id": "lost1", "rid": room.ID, "msg": "lost"}
			if _, err := sdkSend(client, lost); err == nil {
				t.Error("got no error, want one of the transport")
			}
			if got, err := client.GetMessage("lost1"); err != nil || got.Msg != "lost" {
				t.Errorf("got the message %+v, %v, want the one whose response was lost", got, err)
			}

			_, err = sdkSend(client, map[string]string{"rid": room.ID, "msg": "reply", "tmid": "message1"})
			checkText(t, "reply", err, "")
			history := func(page *models.Pagination, before time.Time) []string {
				messages, err := client.DMHistory(&models.Channel{ID: room.ID}, true, before, page)
				if err != nil {
					t.Error(err)
				}
				var texts []string
				for _, m := range messages {
					texts = append(texts, m.Msg)
				}
				return texts
			}
			soon := time.Now().Add(time.Minute)
			if got, want := history(nil, soon), []string{"lost", "R&amp;D &lt;b&gt;", "R&D <b>", "R&D <b> 🎉"}; !slices.Equal(got, want) {
				t.Errorf("got the history %q, want %q", got, want)
			}
			if got, want := history(&models.Pagination{Count: 1}, soon), []string{"lost"}; !slices.Equal(got, want) {
				t.Errorf("got the history %q, want %q", got, want)
			}
			if got := history(nil, start.Add(-time.Minute)); got != nil {
				t.Errorf("got the history %q, want none", got)
			}

			user, err := sdkUser(client, "alice")
			if err != nil || user.ID != chatdmtest.Alice || user.UserName != "alice" {
				t.Errorf("got the user %+v, %v", user, err)
			}
			_, err = sdkUser(client, "nobody")
			checkText(t, "unknown user", err, "User not found.")

			_, err = sdkSend(client, map[string]string{"rid": "unknown", "msg": "Hi"})
			checkText(t, "unknown room", err, "error-invalid-room")
			long := string(bytes.Repeat([]byte("a"), 5001))
			_, err = sdkSend(client, map[string]string{"rid": room.ID, "msg": long})
			checkText(t, "long message", err, "Message size exceeds Message_MaxAllowedSize [error-message-size-exceeded]")
			_, err = client.PostMessage(&models.PostMessage{RoomID: room.ID, Text: long})
			checkText(t, "long message to chat.postMessage", err, test.wantTooLong)
			server.Fail("chat.getMessage", 1, chatdmtest.Fault{Code: "error-too-many-requests"})
			_, err = client.GetMessage("message1")
			checkText(t, "429", err, "Error, too many requests. Please slow down. "+
				"You must wait 60 seconds before trying this endpoint again. [error-too-many-requests]")

			if text, err := client.Logout(); err != nil || text != "You've been logged out!" {
				t.Errorf("logout: got %q, %v", text, err)
			}
			_, err = client.GetMessage("message1")
			// The SDK cannot decode the body of a 401: its message is a text.
			checkText(t, "after logout", err, "Request error: 401 Unauthorized")
		})
	}
}

// checkText compares the text of an error, which is all that the SDK keeps of a response.
// An empty want means no error.
func checkText(t *testing.T, name string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("%s: got error %q, want %q", name, got, want)
	}
}
