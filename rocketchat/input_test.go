package rocketchat_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// TestBadInput: the client rejects what cannot be right before it sends anything. The
// error names the argument.
func TestBadInput(t *testing.T) {
	s := newScript(wiretest.Respond(200, `{"success":true}`))
	client, ctx := newClient(t, s), t.Context()
	failed := func(_ any, err error) error { return err }
	history := func(params rocketchat.IMHistoryParams) error {
		_, err := collect(t, client.IM.History(ctx, params), nil)
		return err
	}
	for _, tt := range []struct {
		name, field string
		err         error
	}{
		{"no target", "target", failed(client.IM.Delete(ctx, nil))},
		{"empty room", "roomId", failed(client.IM.Delete(ctx, rocketchat.RoomID("")))},
		{"empty username", "username", failed(client.IM.Delete(ctx, rocketchat.Username("")))},
		{"line break", "roomId", failed(client.IM.Delete(ctx, rocketchat.RoomID("r1\n")))},
		{"space", "username", failed(client.IM.Delete(ctx, rocketchat.Username("al ice")))},
		{"comma", "username", failed(client.IM.Delete(ctx, rocketchat.Username("alice,bob")))},
		{"empty", "roomId", failed(client.IM.Open(ctx, ""))},
		{"NUL", "roomId", failed(client.IM.Open(ctx, "r\x00"))},
		{"empty", "roomId", failed(client.IM.Close(ctx, ""))},
		{"tab", "roomId", failed(client.IM.Close(ctx, "\tr"))},
		{"nobody", "usernames", failed(client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{}}))},
		{"empty name", "usernames[1]", failed(client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"bob", ""}}))},
		{"two in one", "usernames[0]", failed(client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"bob,carol"}}))},
		{"no room", "roomId", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{Text: "x"}))},
		{"no text", "text", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1"}))},
		{"no text and no attachments", "text", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Attachments: []int{}}))},
		{"no text and nil attachments", "text", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Attachments: []int(nil)}))},
		{"text that is not UTF-8", "text", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Text: "a\xff"}))},
		{"one attachment", "attachments", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Text: "x", Attachments: map[string]int{"a": 1}}))},
		{"attachments that do not marshal", "attachments", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Attachments: []any{make(chan int)}}))},
		{"thread", "threadId", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Text: "x", ThreadID: "a b"}))},
		{"key", "key", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Text: "x", Key: strings.Repeat("k", 129)}))},
		{"room of a key", "roomId", failed(client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r 1", Text: "x", Key: "k"}))},
		{"no message", "messageId", failed(client.Chat.GetMessage(ctx, ""))},
		{"message", "messageId", failed(client.Chat.GetMessage(ctx, "m1\n"))},
		{"no room", "roomId", history(rocketchat.IMHistoryParams{})},
		{"negative limit", "limit", history(rocketchat.IMHistoryParams{RoomID: "r1", Limit: -1})},
		{"large limit", "limit", history(rocketchat.IMHistoryParams{RoomID: "r1", Limit: 1001})},
		{"year", "oldest", history(rocketchat.IMHistoryParams{RoomID: "r1", Oldest: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)})},
		{"year", "latest", history(rocketchat.IMHistoryParams{RoomID: "r1", Latest: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)})},
		{"no target", "target", failed(client.Users.Info(ctx, nil))},
		{"no user", "userId", failed(client.Users.Info(ctx, rocketchat.UserID("")))},
		{"username", "username", failed(client.Users.Info(ctx, rocketchat.Username("a b")))},
		{"email", "email", failed(client.Users.Info(ctx, rocketchat.Email("a@example.org,b@example.org")))},
		{"verb", "method", failed(client.Call(ctx, "get", "info", nil, nil))},
		{"verb with a line break", "method", failed(client.Call(ctx, "GET\r\n", "info", nil, nil))},
		{"token as the verb", "method", failed(client.Call(ctx, credentials.AuthToken, "info", nil, nil))},
		{"token as the path", "path", failed(client.Call(ctx, "GET", credentials.AuthToken+strings.Repeat("/", 1<<20), nil, nil))},
		{"no path", "path", failed(client.Call(ctx, "GET", "", nil, nil))},
		{"leading slash", "path", failed(client.Call(ctx, "GET", "/info", nil, nil))},
		{"out of the root", "path", failed(client.Call(ctx, "GET", "../../admin", nil, nil))},
		{"out of the root later", "path", failed(client.Call(ctx, "GET", "rooms.upload/../../x", nil, nil))},
		{"single dot", "path", failed(client.Call(ctx, "GET", "./info", nil, nil))},
		{"escaped", "path", failed(client.Call(ctx, "GET", "%2e%2e/x", nil, nil))},
		{"backslash", "path", failed(client.Call(ctx, "GET", `..\x`, nil, nil))},
		{"query", "path", failed(client.Call(ctx, "GET", "info?x=1", nil, nil))},
		{"host", "path", failed(client.Call(ctx, "GET", "//evil.example/x", nil, nil))},
		{"query of a map", "params", failed(client.Call(ctx, "GET", "info", map[int]string{1: "b"}, nil))},
		{"body that does not marshal", "params", failed(client.Call(ctx, "POST", "x", make(chan int), nil))},
		{"token in the query", "params", failed(client.Call(ctx, "GET", "x", url.Values{"token": {"x"}}, nil))},
		{"result", "result", failed(client.Call(ctx, "GET", "info", nil, struct{}{}))},
	} {
		e := wantError(t, tt.err, chatdm.KindInvalidRequest)
		if e.Err == nil || !strings.HasPrefix(e.Err.Error(), tt.field+": ") || e.Attempts != 0 {
			t.Errorf("%s: got %v, want an error that names %s, and no attempt", tt.name, tt.err, tt.field)
		}
		if text := tt.err.Error(); (tt.field == "method" || tt.field == "path") && e.Method != "Call" || strings.Contains(text, credentials.AuthToken) || len(text) > 500 {
			t.Errorf("%s: got %.1000q of method %.100q, want a short text without the token", tt.name, text, e.Method)
		}
	}
	if s.Sent() != 0 {
		t.Errorf("got %d requests, want none", s.Sent())
	}
}
