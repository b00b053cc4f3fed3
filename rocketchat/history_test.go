package rocketchat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// collect returns the IDs and the error of a history, which must end with it. It
// calls each, unless it is nil, after each message.
func collect(t *testing.T, history iter.Seq2[rocketchat.Message, error], each func(n int)) (ids []string, last error) {
	t.Helper()
	for m, err := range history {
		if last != nil {
			t.Errorf("got %v, %v after the error, want the end", m, err)
		}
		if last = err; err != nil {
			if m != (rocketchat.Message{}) {
				t.Errorf("got %+v with the error, want none", m)
			}
			continue
		}
		if ids = append(ids, m.ID); each != nil {
			each(len(ids))
		}
	}
	return ids, last
}

func TestHistoryPages(t *testing.T) {
	s := newScript(goldenResponse(t, "im.history", "ok"), goldenResponse(t, "im.history", "last"))
	params := rocketchat.IMHistoryParams{
		RoomID: "u_botu_alice", Limit: 2,
		// The client rounds to the milliseconds of the server, and drops what is out of the limits.
		Oldest: time.Date(2026, 11, 21, 1, 0, 0, 999, time.FixedZone("CET", 3600)), Latest: time.Date(2026, 11, 21, 11, 59, 59, 999_000_001, time.UTC),
	}
	ids, err := collect(t, newClient(t, s).IM.History(t.Context(), params), nil)
	if diff := cmp.Diff([]string{"reply", "hmQ3v8PzTKUoH2aXy"}, ids); diff != "" || err != nil {
		t.Errorf("got %v, messages (-want +got):\n%s", err, diff)
	}
	want := []string{golden(t, "im.history", "first_page.request.http"), golden(t, "im.history", "second_page.request.http")}
	if diff := cmp.Diff(want, s.Requests); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}

	// Ranging again starts over; a break ends the requests.
	s = newScript(goldenResponse(t, "im.history", "ok"))
	history := newClient(t, s).IM.History(t.Context(), rocketchat.IMHistoryParams{RoomID: "u_botu_alice"})
	for range 2 {
		for range history {
			break
		}
	}
	if s.Sent() != 2 || s.Requests[0] != s.Requests[1] {
		t.Errorf("got requests %q, want the first page twice", s.Requests)
	}
}

// room is a transport that serves im.history as real servers do.
type room struct {
	messages []roomMessage // newest first
	most     int           // the server's limit of count, or 0
	requests int
	before   func(request int) // runs before each request
}

type roomMessage struct {
	ID   string `json:"_id"`
	Time string `json:"ts"`
}

const roomTime = "2006-01-02T15:04:05.000Z"

func (r *room) RoundTrip(req *http.Request) (*http.Response, error) {
	r.requests++
	if r.before != nil {
		r.before(r.requests)
	}
	query := req.URL.Query()
	number := func(name string) int { n, _ := strconv.Atoi(query.Get(name)); return n }
	within := func(m roomMessage) bool {
		oldest, latest := query.Get("oldest"), query.Get("latest")
		return (oldest == "" || m.Time >= oldest) && (latest == "" || m.Time <= latest)
	}
	page := []roomMessage{}
	for _, m := range r.messages {
		if within(m) {
			page = append(page, m)
		}
	}
	page = page[min(number("offset"), len(page)):]
	count := number("count")
	if r.most > 0 {
		count = min(count, r.most)
	}
	page = page[:min(count, len(page))]
	body, err := json.Marshal(map[string]any{"success": true, "messages": page})
	if err != nil {
		return nil, err
	}
	if query.Get("inclusive") != "true" || query.Get("roomId") != "r1" || count == 0 {
		return nil, fmt.Errorf("got query %v", query)
	}
	return wiretest.Respond(200, string(body))(req)
}

// at returns a time n milliseconds after the start of 2026.
func at(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, n*1e6, time.UTC) }

func newRoom(times ...int) *room {
	r := &room{}
	for i, n := range times {
		r.messages = append(r.messages, roomMessage{ID: fmt.Sprint("m", i), Time: at(n).Format(roomTime)})
	}
	return r
}

func (r *room) ids() (ids []string) {
	for _, m := range r.messages {
		ids = append(ids, m.ID)
	}
	return ids
}

func TestHistoryRequests(t *testing.T) {
	for _, tt := range []struct {
		name     string
		room     *room
		most     int
		limit    int
		requests int
	}{
		{"none", newRoom(), 0, 0, 1},
		{"one", newRoom(5), 0, 0, 2},
		{"one with a limit", newRoom(5), 0, 1, 2},
		{"several", newRoom(5, 4, 3), 0, 0, 2},
		{"full page", newRoom(5, 4, 3), 0, 3, 2},
		{"one by one", newRoom(5, 4, 3), 0, 1, 4},
		{"two pages", newRoom(5, 4, 3, 2), 0, 3, 2},
		{"same time", newRoom(5, 5, 5), 0, 0, 3},
		{"same time in the middle", newRoom(9, 5, 5, 5, 2), 0, 2, 4},
		{"small limit of the server", newRoom(9, 8, 7, 6, 5, 4), 2, 0, 6},
		{"same time and a small limit of the server", newRoom(9, 5, 5, 5, 5, 2, 1), 2, 0, 5},
	} {
		tt.room.most = tt.most
		history := newClient(t, tt.room).IM.History(t.Context(), rocketchat.IMHistoryParams{RoomID: "r1", Limit: tt.limit})
		ids, err := collect(t, history, nil)
		if diff := cmp.Diff(tt.room.ids(), ids); diff != "" || err != nil || tt.room.requests != tt.requests {
			t.Errorf("%s: got %d requests, %v, want %d; messages (-want +got):\n%s", tt.name, tt.room.requests, err, tt.requests, diff)
		}
	}
}

// TestHistoryIsExact: whatever the times of the messages and the size of the pages, the
// history has each message within the limits once, newest first, while other messages
// arrive and are deleted.
func TestHistoryIsExact(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		times := make([]int, r.IntN(30))
		for i := range times {
			times[i] = r.IntN(20)
		}
		slices.SortFunc(times, func(a, b int) int { return b - a })
		server := newRoom(times...)
		if r.IntN(2) == 0 {
			server.most = 2 + r.IntN(5)
		}
		params := rocketchat.IMHistoryParams{RoomID: "r1", Limit: 1 + r.IntN(6), Inclusive: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			params.Oldest = at(r.IntN(20)).Add(time.Duration(r.IntN(3) * 1e5))
		}
		if r.IntN(2) == 0 {
			params.Latest = at(r.IntN(20)).Add(time.Duration(r.IntN(3) * 1e5))
		}
		within := func(text string) bool {
			ts, err := time.Parse(time.RFC3339, text)
			return err == nil &&
				(params.Oldest.IsZero() || ts.After(params.Oldest) || params.Inclusive && ts.Equal(params.Oldest)) &&
				(params.Latest.IsZero() || ts.Before(params.Latest) || params.Inclusive && ts.Equal(params.Latest))
		}
		deleted := map[string]bool{}
		server.before = func(request int) {
			if request > 1 {
				server.messages = slices.Insert(server.messages, 0, roomMessage{ID: fmt.Sprint("new", request), Time: at(1000 + request).Format(roomTime)})
				// Messages with equal times that fill a page need an offset, which a deletion would shift.
				if i := r.IntN(len(server.messages)); server.most == 0 && request%2 == 0 {
					deleted[server.messages[i].ID] = true
					server.messages = slices.Delete(server.messages, i, i+1)
				}
			}
		}
		before := slices.Clone(server.messages)
		got, order := map[string]bool{}, []time.Time{}
		for m, err := range newClient(t, server).IM.History(t.Context(), params) {
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if got[m.ID] || strings.HasPrefix(m.ID, "new") {
				t.Errorf("seed %d: got %s again or too late", seed, m.ID)
			}
			got[m.ID], order = true, append(order, m.Time)
		}
		for _, m := range before {
			if !deleted[m.ID] && got[m.ID] != within(m.Time) || got[m.ID] && !within(m.Time) {
				t.Errorf("seed %d: got %s at %s %t, want %t for %+v", seed, m.ID, m.Time, got[m.ID], within(m.Time), params)
			}
		}
		if !slices.IsSortedFunc(order, func(a, b time.Time) int { return b.Compare(a) }) {
			t.Errorf("seed %d: got times %v, want the newest first", seed, order)
		}
		if t.Failed() {
			t.Fatalf("times %v, limit %d, server's limit %d", times, params.Limit, server.most)
		}
	}
}

// TestHistoryEnds: after an error, a history yields nothing more.
func TestHistoryEnds(t *testing.T) {
	params := rocketchat.IMHistoryParams{RoomID: "r1", Limit: 2}
	t.Run("context between two messages", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ids, err := collect(t, newClient(t, newRoom(5, 4, 3)).IM.History(ctx, params), func(n int) {
			if n == 1 {
				cancel()
			}
		})
		if e := wantError(t, err, chatdm.KindCanceled, context.Canceled); e.Attempts != 1 || e.Method != "im.history" || len(ids) != 1 {
			t.Errorf("got %v, %v, want 1 message and an error of im.history with 1 attempt", ids, e)
		}
	})
	t.Run("error on the second page", func(t *testing.T) {
		server := newRoom(5, 4, 3)
		s := newScript(server.RoundTrip, goldenResponse(t, "im.history", "forbidden"))
		ids, err := collect(t, newClient(t, s).IM.History(t.Context(), params), nil)
		wantError(t, err, rocketchat.ErrForbidden)
		if len(ids) != 2 {
			t.Errorf("got %v before the error, want the first page", ids)
		}
	})
	for name, page := range map[string]string{
		"the server ignores latest":     `{"_id":"m1","ts":"2026-01-01T00:00:02Z"},{"_id":"m2","ts":"2026-01-01T00:00:01Z"}`,
		"the server ignores the offset": `{"_id":"m1","ts":"2026-01-01T00:00:01Z"},{"_id":"m2","ts":"2026-01-01T00:00:01Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(wiretest.Respond(200, `{"success":true,"messages":[`+page+`]}`))
			ids, err := collect(t, newClient(t, s).IM.History(t.Context(), params), nil)
			if e := wantError(t, err, chatdm.KindUnexpectedResponse); !strings.Contains(err.Error(), "repeated a page") || e.Method != "im.history" || len(ids) != 2 || s.Sent() > 3 {
				t.Errorf("got %v, %v after %d requests, want both messages once and an error", ids, err, s.Sent())
			}
		})
	}
	t.Run("too many messages", func(t *testing.T) {
		page := strings.Repeat(`{"_id":"m1","ts":"2026-01-01T00:00:02Z"},`, 10_000)
		s := newScript(wiretest.Respond(200, `{"success":true,"messages":[`+page+`{}]}`))
		ids, err := collect(t, newClient(t, s).IM.History(t.Context(), params), nil)
		if wantError(t, err, chatdm.KindUnexpectedResponse); ids != nil {
			t.Errorf("got %d messages, want none", len(ids))
		}
	})
}

// TestHistoryGenerations reads the same history from every generation of the server.
func TestHistoryGenerations(t *testing.T) {
	for _, g := range generations {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			server := chatdmtest.NewRocketChat(chatdmtest.Generation(g))
			defer server.Close()
			server.AddRoom(chatdmtest.RocketChatRoom{ID: "room1", Type: "d", Members: []string{chatdmtest.RocketChatMemberID, chatdmtest.Alice}})
			client, err := rocketchat.NewClient(server.URL, member)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			var sent []rocketchat.Message
			for i := range 130 {
				params := rocketchat.ChatSendMessageParams{RoomID: "room1", Text: fmt.Sprint("message ", i)}
				if i > 0 && i%10 == 0 {
					params.ThreadID = sent[0].ID
				}
				res, err := client.Chat.SendMessage(t.Context(), params)
				if err != nil {
					t.Fatal(err)
				}
				sent, want = append(sent, res.Message), append(want, res.Message.ID)
			}
			slices.Reverse(want)
			for _, limit := range []int{0, 7, 1000} {
				ids, err := collect(t, client.IM.History(t.Context(), rocketchat.IMHistoryParams{RoomID: "room1", Limit: limit}), nil)
				if diff := cmp.Diff(want, ids); diff != "" || err != nil {
					t.Errorf("limit %d: got %v, messages (-want +got):\n%s", limit, err, diff)
				}
			}
			from, to := sent[40].Time, sent[90].Time
			for _, inclusive := range []bool{false, true} {
				params := rocketchat.IMHistoryParams{RoomID: "room1", Oldest: from, Latest: to, Inclusive: inclusive, Limit: 9}
				var want []string
				for _, m := range slices.Backward(sent) {
					if m.Time.After(from) && m.Time.Before(to) || inclusive && (m.Time.Equal(from) || m.Time.Equal(to)) {
						want = append(want, m.ID)
					}
				}
				ids, err := collect(t, client.IM.History(t.Context(), params), nil)
				if diff := cmp.Diff(want, ids); diff != "" || err != nil {
					t.Errorf("inclusive %t: got %v, messages (-want +got):\n%s", inclusive, err, diff)
				}
			}
			for m, err := range client.IM.History(t.Context(), rocketchat.IMHistoryParams{RoomID: "room1", Limit: 1}) {
				if diff := cmp.Diff(sent[129], m); diff != "" || err != nil {
					t.Errorf("got %v, the newest message (-want +got):\n%s", err, diff)
				}
				break
			}
			for _, roomID := range []string{"nowhere", "foreign"} {
				server.AddRoom(chatdmtest.RocketChatRoom{ID: "foreign", Type: "d", Members: []string{chatdmtest.Alice, chatdmtest.Bob}})
				_, err := collect(t, client.IM.History(t.Context(), rocketchat.IMHistoryParams{RoomID: roomID}), nil)
				if wantError(t, err); !errors.Is(err, chatdm.KindNotFound) && !errors.Is(err, chatdm.KindPermissionDenied) {
					t.Errorf("%s: got %v, want it to be missing", roomID, err)
				}
			}
		})
	}
}

// FuzzHistory reads any page twice: it ends, and has no message twice.
func FuzzHistory(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `7`, `{"_id":"a","ts":"2026-01-01T00:00:02Z"}`, `{"_id":"a","ts":"2026-01-01T00:00:02Z"},{"_id":"b","ts":"2026-01-01T00:00:02.0001Z"}`,
		`{"_id":"a","ts":"2026-01-01T00:00:02Z"},{"_id":"b","ts":"2025-01-01T00:00:02Z"},{"_id":"c","ts":"2027-01-01T00:00:02Z"}`, `{"_id":"a","ts":"9999-12-31T23:59:59.9999Z"}`,
	} {
		f.Add(seed, 1)
		f.Add(seed, 100)
	}
	f.Fuzz(func(t *testing.T, page string, limit int) {
		s := newScript(wiretest.Respond(200, `{"success":true,"messages":[`+page+`]}`))
		seen := map[string]int{}
		for m, err := range newClient(t, s, once).IM.History(t.Context(), rocketchat.IMHistoryParams{RoomID: "r1", Limit: limit}) {
			if err != nil {
				wantError(t, err)
				break
			}
			if seen[m.ID]++; m.ID == "" || m.Time.IsZero() || seen[m.ID] > 1 && strings.Count(page, "_id") < 2 {
				t.Errorf("%s: got %+v, want an ID and a time, and each message once", page, m)
			}
		}
		if s.Sent() > 3 {
			t.Errorf("%s: got %d requests, want at most 3", page, s.Sent())
		}
	})
}
