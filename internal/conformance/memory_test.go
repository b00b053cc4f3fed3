//go:build !race

// The race detector makes a sync.Pool drop items at random, which adds to what
// a call allocates.

package conformance_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// wantAllocated fails the test if a call of f allocates more than budget after
// a first one. The least of three counts, because other goroutines and emptied
// pools can only add to it.
func wantAllocated(t *testing.T, about string, budget int, f func()) {
	t.Helper()
	f()
	least := ^uint64(0)
	for range 3 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.TotalAlloc-before.TotalAlloc); least <= uint64(budget) {
			return
		}
	}
	t.Errorf("%s: got %d bytes allocated, want at most %d", about, least, budget)
}

// TestMemoryOfUnusableResponses: an unusable response allocates at most three
// times its size, although the client searches it for credentials.
func TestMemoryOfUnusableResponses(t *testing.T) {
	const size = 256 << 10
	filled := func(before, fill, after string) string { return before + strings.Repeat(fill, size/len(fill)) + after }
	for name, body := range map[string]string{
		"text":               filled("", "x", ""),
		"HTML":               filled("<html>", "<p>Bad gateway</p>\n", "</html>"),
		"spaces":             filled("", " ", ""),
		"words":              filled("", "a ", ""),
		"escapes":            filled("", `\u0078`, ""),
		"control characters": filled("", "\x01", ""),
		"invalid UTF-8":      filled("", "\xff", ""),
		"wide characters":    filled("", "💬", ""),
		"percent-encoded":    filled("", "%78", ""),
		"object of a string": filled(`{"x":"`, "x", `"}`),
		"object of escapes":  filled(`{"x":"`, `\u0078`, `"}`),
		"object of objects":  filled(`{"x":[0`, ",{}", `]}`),
		"array":              filled(`[0`, ",1", `]`),
		"truncated":          filled(`{"x":"`, "x", ""),
		"trailing bytes":     filled(`{}`, "x", ""),
	} {
		for _, method := range pausing {
			// The body costs no memory, because the response reads from the string.
			call := methods[method].on(t, &canned{status: 200, body: body}, once)
			wantAllocated(t, method+", "+name, 3*len(body), func() {
				_, err := call(t.Context())
				wiretest.WantError(t, err)
			})
		}
	}
}

// TestPageOfTooManyChannels: Slack documents pages of fewer than 1,000 channels.
// The client rejects a page of many more before it allocates the channels.
func TestPageOfTooManyChannels(t *testing.T) {
	const size, budget = 1 << 20, 24 << 20
	page := func(item string, n int) string {
		return `{"ok":true,"channel":{"id":"D1"},"channels":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
	}
	client := func(body string) *chatdm.Client {
		c, err := chatdm.NewClient(secretToken, through(&canned{status: 200, body: body}), once)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	list := func(c *chatdm.Client) (n int, err error) {
		for _, err := range c.Conversations.List(t.Context(), chatdm.ConversationsListParams{}) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	for _, item := range []string{`{}`, `1`, `{"id":"D1"}`} {
		c := client(page(item, size/(len(item)+1)))
		wantAllocated(t, "a page of "+item, budget, func() {
			n, err := list(c)
			if e := wiretest.WantError(t, err, chatdm.KindUnexpectedResponse); n != 0 || e.Method != "conversations.list" || e.Attempts != 1 {
				t.Errorf("%s: got %d channels, %v, want none and an error of conversations.list with 1 attempt", item, n, err)
			}
		})
	}
	if n, err := list(client(page(`{"id":"D1"}`, 10_000))); n != 10_000 || err != nil {
		t.Errorf("got %d channels, %v, want 10,000", n, err)
	}
	c := client(page(`{}`, size/3))
	wantAllocated(t, "a page in the response to another method", budget, func() {
		if _, err := c.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{"U1"}}); err != nil {
			t.Error(err)
		}
	})
}
