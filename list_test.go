package chatdm_test

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

func TestListPages(t *testing.T) {
	s := newScript(goldenResponse(t, "conversations.list", "first_page"), goldenResponse(t, "conversations.list", "last_page"))
	list := newClient(t, s).Conversations.List(t.Context(), chatdm.ConversationsListParams{Types: []string{"im", "mpim"}, Limit: 2})
	var ids []string
	for channel, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, channel.ID)
	}
	if diff := cmp.Diff([]string{"D069C7QFK", "C012AB3CD", "D000000003"}, ids); diff != "" {
		t.Errorf("channels (-want +got):\n%s", diff)
	}
	want := []string{
		golden(t, "conversations.list", "first_page.request.http"),
		golden(t, "conversations.list", "last_page.request.http"),
	}
	if diff := cmp.Diff(want, s.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}

	// Ranging again starts over; a break ends the requests.
	s = newScript(goldenResponse(t, "conversations.list", "first_page"))
	list = newClient(t, s).Conversations.List(t.Context(), chatdm.ConversationsListParams{})
	for range 2 {
		for range list {
			break
		}
	}
	if s.Sent() != 2 || s.Requests[0] != s.Requests[1] {
		t.Errorf("got requests %q, want the first page twice", s.Requests)
	}
}

func TestHistoryPages(t *testing.T) {
	s := newScript(goldenResponse(t, "conversations.history", "first_page"), goldenResponse(t, "conversations.history", "last_page"))
	history := newClient(t, s).Conversations.History(t.Context(), chatdm.ConversationsHistoryParams{
		Channel: "D024BFF1M", Oldest: "1512085861.000543", Latest: "1512104435.000000", Inclusive: true, IncludeMetadata: true, Limit: 2,
	})
	var messages []chatdm.Message
	for m, err := range history {
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	want := []chatdm.Message{
		{Type: "message", User: "U123ABC456", Text: "I find you punny", TS: "1512085950.000216"},
		{Type: "message", User: "U222BBB222", Text: "What?", TS: "1512085940.000100", ThreadTS: "1512085940.000100",
			Metadata: &chatdm.MessageMetadata{EventType: "task_created", EventPayload: map[string]any{"id": "TK-1"}}},
		{Type: "message", User: "U123ABC456", Text: "What, you want to smell my shoes better?", TS: "1512104434.000490"},
	}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	requests := []string{
		golden(t, "conversations.history", "first_page.request.http"),
		golden(t, "conversations.history", "last_page.request.http"),
	}
	if diff := cmp.Diff(requests, s.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestReplies(t *testing.T) {
	s := newScript(goldenResponse(t, "conversations.replies", "thread"))
	replies := newClient(t, s).Conversations.Replies(t.Context(), chatdm.ConversationsRepliesParams{
		Channel: "C0123", TS: "1482960137.003543", Oldest: "1482960137.003543", Limit: 200,
	})
	var messages []chatdm.Message
	for m, err := range replies {
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	want := []chatdm.Message{
		{Type: "message", User: "U061F7AUR", Text: "island", TS: "1482960137.003543", ThreadTS: "1482960137.003543"},
		{Type: "message", User: "U061F7AUR", Text: "one island", TS: "1483037603.017503", ThreadTS: "1482960137.003543"},
	}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{golden(t, "conversations.replies", "thread.request.http")}, s.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// page returns a page of two channels, and two elements that are none.
func page(cursor string) wiretest.Responder {
	return answer(200, `{"ok":true,"channels":[{"id":"D1"},null,{"id":7},{"id":"D2"}],"response_metadata":{"next_cursor":"`+cursor+`"}}`)
}

// collect returns the IDs and the error of a list, which must end with it. It
// calls each after each channel.
func collect(t *testing.T, list iter.Seq2[chatdm.Channel, error], each func(n int)) (ids []string, last error) {
	t.Helper()
	for channel, err := range list {
		if last != nil {
			t.Errorf("got %v, %v after the error, want the end", channel, err)
		}
		if last = err; err != nil {
			if channel != (chatdm.Channel{}) {
				t.Errorf("got %+v with the error, want none", channel)
			}
			continue
		}
		if ids = append(ids, channel.ID); each != nil {
			each(len(ids))
		}
	}
	return ids, last
}

// TestListEnds: after an error, a list yields nothing more.
func TestListEnds(t *testing.T) {
	t.Run("context between two channels", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ids, err := collect(t, newClient(t, newScript(page("more"))).Conversations.List(ctx, chatdm.ConversationsListParams{}), func(n int) {
			if n == 3 {
				cancel()
			}
		})
		if e := wantError(t, err, chatdm.KindCanceled, context.Canceled); e.Attempts != 1 {
			t.Errorf("got %v, want 1 attempt", e)
		}
		if diff := cmp.Diff([]string{"D1", "D2", "D1"}, ids); diff != "" {
			t.Errorf("channels (-want +got):\n%s", diff)
		}
	})
	t.Run("error on the second page", func(t *testing.T) {
		client := newClient(t, newScript(page("more"), coded("invalid_cursor")))
		ids, err := collect(t, client.Conversations.List(t.Context(), chatdm.ConversationsListParams{}), nil)
		wantError(t, err, chatdm.ErrInvalidCursor, chatdm.KindInvalidRequest)
		if len(ids) != 2 {
			t.Errorf("got %v before the error, want the first page", ids)
		}
	})
}

// TestListStopsInACycle: if the server repeats a sequence of cursors, the list
// yields each page at least once and ends with one error.
func TestListStopsInACycle(t *testing.T) {
	for _, tt := range []struct {
		start         string // the caller's cursor
		before, cycle string // one cursor per letter
	}{
		{"", "", "A"}, {"", "", "AB"}, {"", "", "ABC"}, {"", "", "ABCDEFG"}, {"", "XYZ", "AB"}, {"", "XYZ", "A"}, {"A", "B", "AB"}, {"A", "", "A"},
		{"", "", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvw"},
	} {
		var pages []wiretest.Responder
		for _, cursor := range tt.before + strings.Repeat(tt.cycle, 10) {
			pages = append(pages, page(string(cursor)))
		}
		s := newScript(append(pages, page(""))...) // the end, for a client that never notices
		list := newClient(t, s).Conversations.List(t.Context(), chatdm.ConversationsListParams{Cursor: tt.start})
		ids, err := collect(t, list, nil)
		if e := wantError(t, err, chatdm.KindUnexpectedResponse); e.Method != "conversations.list" || !strings.Contains(e.Error(), "cursor") || e.Attempts != 1 {
			t.Errorf("%+v: got %v, want an error of conversations.list that names the cursor and 1 attempt", tt, e)
		}
		whole := len(tt.before) + len(tt.cycle)
		if tt.start == tt.cycle { // the first response closes the cycle
			whole = 1
		}
		if n := s.Sent(); n > 3*whole+5 || len(ids) < 2*whole {
			t.Errorf("%+v: got %d requests and %d channels, want at most %d and at least %d", tt, n, len(ids), 3*whole+5, 2*whole)
		}
	}
}

// TestLongListIsNoCycle: a long list of distinct cursors does not end early,
// and the client does not keep all the cursors.
func TestLongListIsNoCycle(t *testing.T) {
	const pages, long = 300, 8 << 10
	sent := 0
	transport := roundTripper(func(req *http.Request) (*http.Response, error) {
		if sent++; req.ContentLength > long != (sent > 1) {
			t.Errorf("got a body of %d bytes in request %d, want the last cursor", req.ContentLength, sent)
		}
		cursor := ""
		if sent < pages {
			cursor = fmt.Sprint(strings.Repeat("c", long), sent)
		}
		return page(cursor)(req)
	})
	live := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var early, late uint64
	ids, err := collect(t, newClient(t, transport).Conversations.List(t.Context(), chatdm.ConversationsListParams{}), func(n int) {
		switch n {
		case 40:
			early = live()
		case 2*pages - 1:
			late = live()
		}
	})
	if err != nil || len(ids) != 2*pages {
		t.Errorf("got %d channels, %v, want %d", len(ids), err, 2*pages)
	}
	if grown := int64(late) - int64(early); grown > pages*long/3 {
		t.Errorf("got %d more bytes in memory after %d pages, want at most %d", grown, pages, pages*long/3)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
