package chatdmtest_test

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/rocketchat"
)

// conversations.history returns the newest messages to members whose token has the
// scope.
func TestSlackHistory(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		t.Fatal(err)
	}
	dm, err := client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		t.Fatal(err)
	}
	type history struct {
		Messages []struct{ User, Text, TS string }
		HasMore  bool `json:"has_more"`
	}
	readHistory := func(channel, limit string) (h history, err error) {
		_, err = client.Call(t.Context(), "conversations.history", url.Values{"channel": {channel}, "limit": {limit}}, &h)
		return h, err
	}
	if h, err := readHistory(dm.Channel.ID, "5"); err != nil || h.Messages == nil || len(h.Messages) != 0 || h.HasMore {
		t.Errorf("before the first message: got %+v, %v, want an empty list", h, err)
	}
	for i := range 3 {
		if _, err := client.Call(t.Context(), "chat.postMessage", url.Values{"channel": {dm.Channel.ID}, "text": {strconv.Itoa(i)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	h, err := readHistory(dm.Channel.ID, "2")
	if err != nil || len(h.Messages) != 2 || h.Messages[0].Text != "2" || h.Messages[1].Text != "1" || !h.HasMore {
		t.Errorf("got %+v, %v, want messages 2 and 1, and has_more", h, err)
	}
	want := chatdmtest.Message{User: chatdmtest.BotUser, Text: "2", ID: h.Messages[0].TS}
	if got := slack.Messages(dm.Channel.ID); len(got) != 3 || got[2] != want {
		t.Errorf("got Messages %+v, want 3 with %+v as the last", got, want)
	}
	for _, tt := range []struct {
		channel, limit string
		want           error
	}{
		{"D404", "", chatdm.ErrChannelNotFound},
		{dm.Channel.ID, "1000", chatdm.ErrInvalidLimit},
		{dm.Channel.ID, "x", chatdm.ErrInvalidLimit},
	} {
		if _, err := readHistory(tt.channel, tt.limit); !errors.Is(err, tt.want) {
			t.Errorf("channel %q, limit %q: got %v, want %v", tt.channel, tt.limit, err, tt.want)
		}
	}
	slack.AddToken(chatdmtest.Token{Value: chatdmtest.BotToken, User: chatdmtest.BotUser, Scopes: []string{"chat:write"}})
	if _, err := readHistory(dm.Channel.ID, ""); !errors.Is(err, chatdm.ErrMissingScope) {
		t.Errorf("without the scope: got %v, want %v", err, chatdm.ErrMissingScope)
	}
}

// im.history returns the newest messages to members.
func TestRocketChatHistory(t *testing.T) {
	server := chatdmtest.NewRocketChat()
	defer server.Close()
	client, err := rocketchat.NewClient(server.URL, rocketchat.Credentials{UserID: chatdmtest.RocketChatMemberID, AuthToken: chatdmtest.RocketChatMemberToken})
	if err != nil {
		t.Fatal(err)
	}
	var posted struct {
		Channel string
		Message struct {
			ID string `json:"_id"`
		}
	}
	postMessage := func(body map[string]string) error {
		_, err := client.Call(t.Context(), http.MethodPost, "chat.postMessage", body, &posted)
		return err
	}
	if err := postMessage(map[string]string{"channel": "@alice", "text": "one"}); err != nil { // creates the room
		t.Fatal(err)
	}
	room := posted.Channel
	if err := postMessage(map[string]string{"roomId": room, "text": "two"}); err != nil {
		t.Fatal(err)
	}
	var history struct {
		Messages []struct{ Msg string }
	}
	if _, err := client.Call(t.Context(), http.MethodGet, "im.history", url.Values{"roomId": {room}, "count": {"1"}}, &history); err != nil ||
		len(history.Messages) != 1 || history.Messages[0].Msg != "two" {
		t.Errorf("got %+v, %v, want message two", history, err)
	}
	want := chatdmtest.Message{User: chatdmtest.RocketChatMemberID, Text: "two", ID: posted.Message.ID}
	if got := server.Messages(room); len(got) != 2 || got[1] != want {
		t.Errorf("got Messages %+v, want 2 with %+v as the last", got, want)
	}
	server.AddRoom(chatdmtest.RocketChatRoom{ID: "othersRoom01", Type: "d", Members: []string{chatdmtest.Alice, chatdmtest.Bob}})
	if err := postMessage(map[string]string{"roomId": "othersRoom01", "text": "three"}); !errors.Is(err, rocketchat.ErrNotAllowed) {
		t.Errorf("message to a room of other users: got %v, want %v", err, rocketchat.ErrNotAllowed)
	}
	if err := postMessage(map[string]string{"roomId": "nowhere", "text": "four"}); !errors.Is(err, rocketchat.ErrInvalidChannel) {
		t.Errorf("message to an unknown room: got %v, want %v", err, rocketchat.ErrInvalidChannel)
	}
	if _, err := client.Call(t.Context(), http.MethodGet, "im.history", url.Values{"roomId": {"othersRoom01"}}, nil); !errors.Is(err, rocketchat.ErrForbidden) {
		t.Errorf("history of other users: got %v, want %v", err, rocketchat.ErrForbidden)
	}
	if got := server.Messages("nowhere"); got != nil {
		t.Errorf("unknown room: got Messages %+v, want nil", got)
	}
}
