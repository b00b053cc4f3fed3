package chatdm_test

import (
	"encoding/json"
	"iter"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-querystring/query"

	"github.com/chatdm/chatdm"
)

// TestBadInput: the client rejects what cannot be right before it sends anything. The
// error names the field.
func TestBadInput(t *testing.T) {
	s := newScript(ok)
	client, ctx := newClient(t, s), t.Context()
	post := func(params chatdm.ChatPostMessageParams) (any, error) { return client.Chat.PostMessage(ctx, params) }
	nine := strings.Split("U1 U2 U3 U4 U5 U6 U7 U8 U9", " ")
	for _, tt := range []struct {
		name, field string
		err         error
	}{
		{"no user", "user", failed(client.IM.Open(ctx, chatdm.IMOpenParams{}))},
		{"space", "user", failed(client.IM.Open(ctx, chatdm.IMOpenParams{User: " U1"}))},
		{"line break", "user", failed(client.IM.Open(ctx, chatdm.IMOpenParams{User: "U1\n"}))},
		{"NUL", "user", failed(client.IM.Open(ctx, chatdm.IMOpenParams{User: "U\x001"}))},
		{"comma", "user", failed(client.IM.Open(ctx, chatdm.IMOpenParams{User: "U1,U2"}))},
		{"no-break space", "user", failed(client.IM.Open(ctx, chatdm.IMOpenParams{User: "U1\u00a0"}))},
		{"zero-width space", "user", failed(client.IM.Open(ctx, chatdm.IMOpenParams{User: "U1\u200b"}))},
		{"not UTF-8", "user", failed(client.IM.Open(ctx, chatdm.IMOpenParams{User: "U1\xff"}))},
		{"no channel", "channel", failed(client.IM.Close(ctx, ""))},
		{"tab", "channel", failed(client.IM.Close(ctx, "D1\t"))},
		{"no channel", "channel", failed(client.Conversations.Close(ctx, ""))},
		{"comma", "channel", failed(client.Conversations.Close(ctx, "D1,D2"))},
		{"nothing", "users", failed(client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{}))},
		{"empty slice", "users", failed(client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{}}))},
		{"empty id", "users[1]", failed(client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U1", ""}}))},
		{"comma in an id", "users[0]", failed(client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U1,U2"}}))},
		{"nine", "users", failed(client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: nine}))},
		{"both", "users, channel", failed(client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U1"}, Channel: "D1"}))},
		{"bad channel", "channel", failed(client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Channel: "D 1"}))},
		{"limit below", "limit", listError(client.Conversations.List(ctx, chatdm.ConversationsListParams{Limit: -1}))},
		{"limit above", "limit", listError(client.Conversations.List(ctx, chatdm.ConversationsListParams{Limit: 1000}))},
		{"empty type", "types[0]", listError(client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{""}}))},
		{"types in one", "types[0]", listError(client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im,mpim"}}))},
		{"team", "team_id", listError(client.Conversations.List(ctx, chatdm.ConversationsListParams{TeamID: "T 1"}))},
		{"no channel", "channel", failed(post(chatdm.ChatPostMessageParams{Text: "hi"}))},
		{"no content", "text", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Blocks: json.RawMessage("null")}))},
		{"blocks are text", "blocks", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Blocks: "[]"}))},
		{"blocks are an object", "blocks", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Blocks: struct{}{}}))},
		{"blocks are no JSON", "blocks", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Blocks: func() {}}))},
		{"attachments", "attachments", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Attachments: 7}))},
		{"thread", "thread_ts", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", ThreadTS: "now"}))},
		{"broadcast", "reply_broadcast", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", ReplyBroadcast: true}))},
		{"no event type", "metadata", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", Metadata: &chatdm.MessageMetadata{}}))},
		{"dot in an event type", "metadata", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", Metadata: &chatdm.MessageMetadata{EventType: "a.b"}}))},
		{"metadata with a key", "metadata", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", Key: "k", Metadata: &chatdm.MessageMetadata{EventType: "a"}}))},
		{"long key", "key", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", Key: strings.Repeat("k", 129)}))},
		{"long text with a key", "text", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Text: strings.Repeat("😀", 2000) + "x", Key: "k"}))},
		{"user with a key", "channel", failed(post(chatdm.ChatPostMessageParams{Channel: "U1", Text: "hi", Key: "k"}))},
		{"user with a key", "channel", failed(post(chatdm.ChatPostMessageParams{Channel: "W1", Text: "hi", Key: "k"}))},
		{"since without a key", "since", failed(post(chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", Since: time.Now()}))},
		{"no channel", "channel", listError(client.Conversations.History(ctx, chatdm.ConversationsHistoryParams{}))},
		{"oldest", "oldest", listError(client.Conversations.History(ctx, chatdm.ConversationsHistoryParams{Channel: "D1", Oldest: "1503435956.0002471"}))},
		{"latest", "latest", listError(client.Conversations.History(ctx, chatdm.ConversationsHistoryParams{Channel: "D1", Latest: "2026-01-01"}))},
		{"limit above", "limit", listError(client.Conversations.History(ctx, chatdm.ConversationsHistoryParams{Channel: "D1", Limit: 1000}))},
		{"no thread", "ts", listError(client.Conversations.Replies(ctx, chatdm.ConversationsRepliesParams{Channel: "D1"}))},
		{"thread", "ts", listError(client.Conversations.Replies(ctx, chatdm.ConversationsRepliesParams{Channel: "D1", TS: "now"}))},
		{"no email", "email", failed(client.Users.LookupByEmail(ctx, ""))},
		{"no user", "user", failed(client.Users.Info(ctx, ""))},
		{"no method", "method", failed(client.Call(ctx, "", nil, nil))},
		{"leaves the root", "method", failed(client.Call(ctx, "../oauth", nil, nil))},
		{"leaves the root, escaped", "method", failed(client.Call(ctx, "%2e%2e", nil, nil))},
		{"slash", "method", failed(client.Call(ctx, "chat/postMessage", nil, nil))},
		{"backslash", "method", failed(client.Call(ctx, `chat\postMessage`, nil, nil))},
		{"query", "method", failed(client.Call(ctx, "chat.postMessage?token=x", nil, nil))},
		{"host", "method", failed(client.Call(ctx, "//example.com", nil, nil))},
		{"token", "method", failed(client.Call(ctx, goldenToken+strings.Repeat("x", 1<<20), nil, nil))},
		{"params are no struct", "params", failed(client.Call(ctx, "auth.test", 7, nil))},
		{"token in values", "params", failed(client.Call(ctx, "auth.test", url.Values{"token": nil}, nil))},
		{"result is no pointer", "result", failed(client.Call(ctx, "auth.test", nil, struct{}{}))},
		{"result is a nil pointer", "result", failed(client.Call(ctx, "auth.test", nil, (*struct{})(nil)))},
	} {
		e := wantError(t, tt.err, chatdm.KindInvalidRequest)
		if e.Err == nil || !strings.HasPrefix(e.Err.Error(), tt.field+": ") || e.Attempts != 0 || e.StatusCode != 0 {
			t.Errorf("%s: got %v, want an error that names %s, and no attempt", tt.name, tt.err, tt.field)
		}
		if text := tt.err.Error(); tt.field == "method" && e.Method != "Call" || strings.Contains(text, goldenToken) || len(text) > 500 {
			t.Errorf("%s: got %.1000q of method %.100q, want a short text without the token", tt.name, text, e.Method)
		}
	}
	if s.Sent() != 0 {
		t.Errorf("got %d requests, want none", s.Sent())
	}
	if _, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: nine[:8]}); err != nil {
		t.Errorf("got %v with 8 users, want a success", err)
	}
	if err := listError(client.Conversations.List(ctx, chatdm.ConversationsListParams{Limit: 999})); err != nil {
		t.Errorf("got %v with limit 999, want a success", err)
	}
	posting := newClient(t, newScript(postOK))
	for _, params := range []chatdm.ChatPostMessageParams{
		{Channel: "U1", Blocks: []int{}}, {Channel: "D1", Text: strings.Repeat("é", 4000), Key: strings.Repeat("k", 128)},
		{Channel: "D1", Text: strings.Repeat("x", 4001)}, {Channel: "D1", Attachments: json.RawMessage("[]")},
	} {
		if _, err := posting.Chat.PostMessage(ctx, params); err != nil {
			t.Errorf("got %v, want a success of %.100v", err, params)
		}
	}
	if err := listError(client.Conversations.History(ctx, chatdm.ConversationsHistoryParams{Channel: "D1", Oldest: "0", Latest: "1.5", Limit: 999})); err != nil {
		t.Errorf("got %v with odd bounds, want a success", err)
	}
}

// failed returns the error of a call.
func failed(_ any, err error) error { return err }

// listError returns the first error of a list.
func listError[T any](list iter.Seq2[T, error]) error {
	for _, err := range list {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestCall(t *testing.T) {
	s := newScript(answer(200, `{"ok":true,"ts":"1503435956.000247","message":{"text":"hi"}}`, "X-Slack-Req-Id", "r1"))
	client := newClient(t, s)
	sent := func() (header, form string) {
		header, form, _ = strings.Cut(s.Requests[s.Sent()-1], "\n\n")
		return header, form
	}
	var result struct {
		TS      chatdm.Timestamp `json:"ts"`
		Message chatdm.Message   `json:"message"`
	}
	params := struct {
		Channel string `url:"channel"`
		Text    string `url:"text"`
	}{"D1", "hi & bye"}
	meta, err := client.Call(t.Context(), "chat.postMessage", params, &result)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Method != "chat.postMessage" || meta.RequestID != "r1" || meta.Attempts != 1 {
		t.Errorf("got %+v, want request r1 of chat.postMessage", meta)
	}
	if result.TS != "1503435956.000247" || result.Message.Text != "hi" {
		t.Errorf("got %+v, want the message", result)
	}
	if header, form := sent(); !strings.HasPrefix(header, "POST /api/chat.postMessage ") || form != "channel=D1&text=hi+%26+bye" {
		t.Errorf("got %q with form %q, want chat.postMessage with both arguments", header, form)
	}
	for _, params := range []any{nil, url.Values{}, struct{}{}, (*struct{ X string })(nil)} {
		if _, err := client.Call(t.Context(), "chat.postMessage", params, nil); err != nil {
			t.Errorf("params %#v: %v", params, err)
		}
		if header, form := sent(); form != "" || !strings.Contains(header, "Content-Type: application/x-www-form-urlencoded\n") {
			t.Errorf("params %#v: got %q with form %q, want an empty form", params, header, form)
		}
	}

	t.Run("after a failed attempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(answer(429, `{"ok":false,"error":"ratelimited","text":"stale","warning":"stale"}`), answer(200, `{"ok":true}`))
			var result struct{ Text string }
			meta, err := newClient(t, s).Call(t.Context(), "x", nil, &result)
			if err != nil || result.Text != "" || meta.Warnings != nil || meta.Attempts != 2 {
				t.Errorf("got %+v, %+v, %v, want nothing of the first attempt", result, meta, err)
			}
		})
	})
	t.Run("response that does not fit the result", func(t *testing.T) {
		var result struct{ TS int }
		meta, err := newClient(t, newScript(answer(200, `{"ok":true,"ts":"x"}`))).Call(t.Context(), "x", nil, &result)
		wantError(t, err, chatdm.KindUnexpectedResponse, chatdm.ErrEffectUnknown)
		if meta != nil || !strings.Contains(err.Error(), "succeeded") {
			t.Errorf("got %+v, %v, want an error that says that the call succeeded", meta, err)
		}
	})
}

// TestForms: the hand-written forms equal those of go-querystring byte for byte.
func TestForms(t *testing.T) {
	s := newScript(ok)
	client := newClient(t, s)
	check := func(params any, call func() error) {
		t.Helper()
		values, err := query.Values(params)
		if err != nil {
			t.Fatal(err)
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(s.Requests[s.Sent()-1], "\n\n")
		if want := values.Encode(); got != want {
			t.Errorf("%+v: got %q, want %q", params, got, want)
		}
	}
	flags := []bool{false, true}
	for _, id := range []string{"U1", "a&b=c", "ü%+/?#", "'\"<>~*()!"} {
		for _, one := range flags {
			for _, other := range flags {
				im := chatdm.IMOpenParams{User: id, ReturnIM: one, IncludeLocale: other}
				check(im, func() error { _, err := client.IM.Open(t.Context(), im); return err })
				for _, p := range []chatdm.ConversationsOpenParams{
					{Users: []string{id}, ReturnIM: one, PreventCreation: other},
					{Users: []string{id, "U2", id}, ReturnIM: one, PreventCreation: other},
					{Channel: id, ReturnIM: one, PreventCreation: other},
				} {
					check(p, func() error { _, err := client.Conversations.Open(t.Context(), p); return err })
				}
			}
		}
		check(struct {
			Channel string `url:"channel"`
		}{id}, func() error { _, err := client.Conversations.Close(t.Context(), id); return err })
	}
}

func TestTimestamp(t *testing.T) {
	tests := map[chatdm.Timestamp]time.Time{
		"1442525627.000002":           time.Unix(1442525627, 2000).UTC(),
		"1442525627.000020":           time.Unix(1442525627, 20000).UTC(),
		"1442525627.5":                time.Unix(1442525627, 500000000).UTC(),
		"1442525627":                  time.Unix(1442525627, 0).UTC(),
		"0000000000.000000":           {},
		"0000000000.000001":           time.Unix(0, 1000).UTC(),
		"":                            {},
		"abc":                         {},
		"-1.000000":                   {},
		"1442525627.0000021":          {},
		"1442525627.+00001":           {},
		"99999999999999999999.000000": {},
	}
	for ts, want := range tests {
		if got := ts.Time(); got != want {
			t.Errorf("Timestamp(%q): got %v, want %v", ts, got, want)
		}
	}
}
