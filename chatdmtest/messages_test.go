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

// TestSlackHistory: what was posted is there, the newest first, for members with
// the scope.
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
	look := func(client *chatdm.Client, channel, limit string) (h history, err error) {
		_, err = client.Call(t.Context(), "conversations.history", url.Values{"channel": {channel}, "limit": {limit}}, &h)
		return h, err
	}
	if h, err := look(client, dm.Channel.ID, "5"); err != nil || h.Messages == nil || len(h.Messages) != 0 || h.HasMore {
		t.Errorf("nothing is posted: %+v, %v", h, err)
	}
	for i := range 3 {
		if _, err := client.Call(t.Context(), "chat.postMessage", url.Values{"channel": {dm.Channel.ID}, "text": {strconv.Itoa(i)}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	h, err := look(client, dm.Channel.ID, "2")
	if err != nil || len(h.Messages) != 2 || h.Messages[0].Text != "2" || h.Messages[1].Text != "1" || !h.HasMore {
		t.Errorf("got %+v, %v", h, err)
	}
	posted := slack.Messages(dm.Channel.ID)
	if len(posted) != 3 || posted[2] != (chatdmtest.Message{User: chatdmtest.BotUser, Text: "2", ID: h.Messages[0].TS}) {
		t.Errorf("Messages: %+v", posted)
	}
	for _, tt := range []struct {
		channel, limit string
		want           error
	}{{"D404", "", chatdm.ErrChannelNotFound}, {dm.Channel.ID, "1000", chatdm.ErrInvalidLimit}, {dm.Channel.ID, "x", chatdm.ErrInvalidLimit}} {
		if _, err := look(client, tt.channel, tt.limit); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	slack.AddToken(chatdmtest.Token{Value: chatdmtest.BotToken, User: chatdmtest.BotUser, Scopes: []string{"chat:write"}})
	if _, err := look(client, dm.Channel.ID, ""); !errors.Is(err, chatdm.ErrMissingScope) {
		t.Errorf("without the scope: %v", err)
	}
}

// TestRocketChatHistory: likewise.
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
	post := func(body map[string]string) error {
		_, err := client.Call(t.Context(), http.MethodPost, "chat.postMessage", body, &posted)
		return err
	}
	if err := post(map[string]string{"channel": "@alice", "text": "one"}); err != nil { // which makes the room
		t.Fatal(err)
	}
	room := posted.Channel
	if err := post(map[string]string{"roomId": room, "text": "two"}); err != nil {
		t.Fatal(err)
	}
	var history struct {
		Messages []struct{ Msg string }
	}
	if _, err := client.Call(t.Context(), http.MethodGet, "im.history", url.Values{"roomId": {room}, "count": {"1"}}, &history); err != nil ||
		len(history.Messages) != 1 || history.Messages[0].Msg != "two" {
		t.Errorf("got %+v, %v", history, err)
	}
	if all := server.Messages(room); len(all) != 2 || all[1] != (chatdmtest.Message{User: chatdmtest.RocketChatMemberID, Text: "two", ID: posted.Message.ID}) {
		t.Errorf("Messages: %+v", all)
	}
	server.AddRoom(chatdmtest.RocketChatRoom{ID: "foreignRoom1", Type: "d", Members: []string{chatdmtest.Alice, chatdmtest.Bob}})
	if err := post(map[string]string{"roomId": "foreignRoom1", "text": "three"}); !errors.Is(err, rocketchat.ErrNotAllowed) {
		t.Errorf("to a room of others: %v", err)
	}
	if err := post(map[string]string{"roomId": "nowhere", "text": "four"}); !errors.Is(err, rocketchat.ErrInvalidChannel) {
		t.Errorf("to no room: %v", err)
	}
	if _, err := client.Call(t.Context(), http.MethodGet, "im.history", url.Values{"roomId": {"foreignRoom1"}}, nil); !errors.Is(err, rocketchat.ErrInvalidChannel) {
		t.Errorf("the history of others: %v", err)
	}
	if server.Messages("nowhere") != nil {
		t.Error("messages nowhere")
	}
}
