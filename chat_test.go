package chatdm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// workspace answers each API method with its responses in order, repeats the last one,
// and records the requests. It fails the test if a method has no response.
type workspace struct {
	t         *testing.T
	mu        sync.Mutex
	start     time.Time
	responses map[string][]wiretest.Responder
	log       []string     // "2s conversations.history"
	forms     []url.Values // of the same requests
}

func newWorkspace(t *testing.T, responses map[string][]wiretest.Responder) *workspace {
	if responses["auth.test"] == nil {
		responses["auth.test"] = []wiretest.Responder{answer(200, `{"ok":true,"user_id":"UBOT","bot_id":"B1"}`)}
	}
	return &workspace{t: t, start: time.Now(), responses: responses}
}

func (w *workspace) RoundTrip(req *http.Request) (*http.Response, error) {
	method := strings.TrimPrefix(req.URL.Path, "/api/")
	_, body, _ := strings.Cut(wiretest.Dump(req), "\n\n")
	form, err := url.ParseQuery(body)
	if err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	w.log = append(w.log, fmt.Sprintf("%v %s", time.Since(w.start), method))
	w.forms = append(w.forms, form)
	responses := w.responses[method]
	if len(responses) == 0 {
		w.t.Errorf("got a call of %s, want none", method)
		responses = []wiretest.Responder{coded("unknown_method")}
	}
	if len(responses) > 1 {
		w.responses[method] = responses[1:]
	}
	w.mu.Unlock()
	return responses[0](req)
}

// wantLog fails the test unless the requests were these.
func (w *workspace) wantLog(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.log); diff != "" {
		w.t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// The metadata of the key "k".
const keyK = `"metadata":{"event_type":"chatdm_message_key","event_payload":{"key":"7a1a7600e70b8e19c50e44fca53f27a3"}}`

var (
	postOK    = answer(200, `{"ok":true,"channel":"D1","ts":"946684800.000100","message":{"user":"UBOT","bot_id":"B1","text":"hi","ts":"946684800.000100",`+keyK+`}}`)
	lost      = func(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") }
	none      = answer(200, `{"ok":true,"messages":[]}`)
	others    = answer(200, `{"ok":true,"messages":[{"user":"UBOT","text":"hi","ts":"3.000000"},{"user":"U1","ts":"2.000000",`+keyK+`},{"user":"U1","bot_id":"B2","ts":"1.000000",`+keyK+`},{"user":"UBOT","ts":"1.000000","metadata":{"event_type":"chatdm_message_key","event_payload":{"key":"x"}}},{"user":"UBOT","ts":"1.000000","metadata":{"event_type":"other","event_payload":{"key":"7a1a7600e70b8e19c50e44fca53f27a3"}}},{"user":"UBOT","ts":"1.000000","metadata":{"event_type":"chatdm_message_key","event_payload":7}}]}`)
	twice     = answer(200, `{"ok":true,"messages":[{"bot_id":"B1","text":"second","ts":"946684805.000000",`+keyK+`},{"user":"UBOT","bot_id":"B1","text":"first","ts":"946684801.000000",`+keyK+`}]}`)
	message   = chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", Key: "k"}
	threaded  = chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", Key: "k", ThreadTS: "946684700.000000"}
	startTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of a synctest bubble
)

// TestKeyLost: after a lost response, the client searches for the message and never
// posts again.
func TestKeyLost(t *testing.T) {
	post, history, replies := "chat.postMessage", "conversations.history", "conversations.replies"
	type responders = map[string][]wiretest.Responder
	tests := []struct {
		name      string
		params    chatdm.ChatPostMessageParams
		responses responders
		want      []string // the requests
		ts        chatdm.Timestamp
		attempts  int
		err       string // part of the text if the outcome is unknown
		kind      chatdm.Kind
	}{
		{name: "found at once", params: message, responses: responders{post: {lost}, history: {twice}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.history"}, ts: "946684801.000000", attempts: 2},
		{name: "found late", params: message, responses: responders{post: {lost}, history: {none, others, none, twice}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.history", "6s conversations.history", "14s conversations.history", "30s conversations.history"},
			ts:   "946684801.000000", attempts: 2},
		{name: "found at the end", params: message, responses: responders{post: {answer(503, "")}, history: {none, none, none, none, none, twice}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.history", "6s conversations.history", "14s conversations.history", "30s conversations.history", "1m2s conversations.history", "1m30s conversations.history"},
			ts:   "946684801.000000", attempts: 2},
		{name: "thread", params: threaded, responses: responders{post: {coded("internal_error")}, replies: {none, twice}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.replies", "6s conversations.replies"}, ts: "946684801.000000", attempts: 2},
		{name: "never found", params: message, responses: responders{post: {lost}, history: {others}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.history", "6s conversations.history", "14s conversations.history", "30s conversations.history", "1m2s conversations.history", "1m30s conversations.history"},
			err:  "did not find the message in conversations.history since 1999-12-31T23:59:00Z (6 searches in 1m30s); the call may have taken effect", kind: chatdm.KindUnavailable},
		{name: "HTML", params: message, responses: responders{post: {answer(200, "<html>")}, history: {twice}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.history"}, ts: "946684801.000000", attempts: 2},
		{name: "no scope", params: message, responses: responders{post: {lost}, history: {coded("missing_scope")}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.history"},
			err:  "did not find the message in conversations.history since 1999-12-31T23:59:00Z (1 search in 2s); the last search failed: slack conversations.history: missing_scope", kind: chatdm.KindUnavailable},
		{name: "search fails for a while", params: message, responses: responders{post: {lost}, history: {answer(429, "", "Retry-After", "1000"), answer(200, "<html>"), twice}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.history"},
			err:  "the last search failed: slack conversations.history: rate_limited", kind: chatdm.KindUnavailable},
		{name: "search works again", params: message, responses: responders{post: {lost}, history: {answer(200, "<html>"), twice}},
			want: []string{"0s chat.postMessage", "2s auth.test", "2s conversations.history", "6s conversations.history"}, ts: "946684801.000000", attempts: 2},
		{name: "refused", params: message, responses: responders{post: {coded("is_archived")}}, want: []string{"0s chat.postMessage"}, kind: chatdm.KindUnreachable},
		{name: "never sent", params: message, responses: responders{post: {answer(429, "", "Retry-After", "3"), postOK}},
			want: []string{"0s chat.postMessage", "3s chat.postMessage"}, ts: "946684800.000100", attempts: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorkspace(t, tt.responses)
				res, err := newClient(t, w).Chat.PostMessage(t.Context(), tt.params)
				w.wantLog(tt.want...)
				if tt.kind != "" {
					e := wantError(t, err, tt.kind)
					if res != nil || e.Method != post || !strings.Contains(err.Error(), tt.err) || errors.Is(err, chatdm.ErrEffectUnknown) != (tt.err != "") || errors.Is(err, chatdm.ErrMissingScope) {
						t.Errorf("got %+v, %v, want no result and %q", res, err, tt.err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				lostAnswers := 0
				if len(tt.want) > 2 {
					lostAnswers = 1
				}
				if res.TS != tt.ts || res.Message.TS != tt.ts || res.Channel != "D1" || res.NoOp || res.AlreadyPosted || res.Meta.LostAnswers != lostAnswers || res.Meta.Attempts != tt.attempts || res.Meta.Warnings != nil {
					t.Errorf("got %+v, want the message %s after %d attempts, no no-op, and %d lost answers", res, tt.ts, tt.attempts, lostAnswers)
				}
			})
		})
	}
}

// TestKeySearch: a search is bounded by time, and follows the server's clock.
func TestKeySearch(t *testing.T) {
	for _, ahead := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			date := startTime.Add(2*time.Second + ahead).Format(http.TimeFormat)
			w := newWorkspace(t, map[string][]wiretest.Responder{
				"chat.postMessage": {lost}, "conversations.replies": {twice},
				"auth.test": {answer(200, `{"ok":true,"user_id":"UBOT"}`, "Date", date)},
			})
			if _, err := newClient(t, w).Chat.PostMessage(t.Context(), threaded); err != nil {
				t.Fatal(err)
			}
			want := url.Values{
				"channel": {"D1"}, "ts": {"946684700.000000"}, "inclusive": {"true"}, "include_all_metadata": {"true"}, "limit": {"200"},
				"oldest": {string(chatdm.NewTimestamp(startTime.Add(ahead - time.Minute)))},
				"latest": {string(chatdm.NewTimestamp(startTime.Add(ahead + 2*time.Second + time.Minute)))},
			}
			if diff := cmp.Diff(want, w.forms[2]); diff != "" {
				t.Errorf("clock ahead by %v: search (-want +got):\n%s", ahead, diff)
			}
		})
	}
}

// TestKeyContext: if the context ends before the outcome is known, the call ends
// immediately.
func TestKeyContext(t *testing.T) {
	hang := func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	for name, tt := range map[string]struct {
		post, history wiretest.Responder
		deadline      time.Duration
		ends          time.Duration
		kind          chatdm.Kind
		cause         error
	}{
		"while posting":   {hang, none, time.Second, time.Second, chatdm.KindCanceled, context.DeadlineExceeded},
		"while searching": {lost, hang, 5 * time.Second, 5 * time.Second, chatdm.KindUnavailable, nil},
		"between two":     {lost, none, 5 * time.Second, 2 * time.Second, chatdm.KindUnavailable, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorkspace(t, map[string][]wiretest.Responder{"chat.postMessage": {tt.post}, "conversations.history": {tt.history}})
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				_, err := newClient(t, w).Chat.PostMessage(ctx, message)
				wantError(t, err, tt.kind, chatdm.ErrEffectUnknown)
				if tt.cause != nil && !errors.Is(err, tt.cause) {
					t.Errorf("got %v, want it to match %v", err, tt.cause)
				}
				if took := time.Since(startTime); took != tt.ends {
					t.Errorf("got an error after %v, want %v: %v", took, tt.ends, err)
				}
			})
		})
	}
}

// TestKeySince: with Since, the client searches before it posts. It posts only when no
// earlier attempt can still be in flight.
func TestKeySince(t *testing.T) {
	const post, search = "chat.postMessage", "conversations.history"
	hang := func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	since := message
	since.Since = startTime.Add(-time.Hour)
	// repeated makes the same call with a timeout, after a while.
	type repeated struct {
		after, timeout time.Duration
		kind           chatdm.Kind // of the error, or "" for a success
		noOp           bool
		want           []string // the requests, if Identify was called before
	}
	for name, tt := range map[string]struct {
		posts, searches []wiretest.Responder
		calls           []repeated
	}{
		"posted before": {nil, []wiretest.Responder{twice}, []repeated{
			{0, time.Hour, "", true, []string{"0s auth.test", "0s " + search}},
			{0, time.Hour, "", true, []string{"0s " + search}},
		}},
		"the wait happens once": {[]wiretest.Responder{postOK}, []wiretest.Responder{none}, []repeated{
			{0, time.Hour, "", false, []string{"0s auth.test", "0s " + search, "1m0s " + search, "1m0s " + post}},
			{0, time.Hour, "", false, []string{"1m0s " + search, "1m0s " + post}},
		}},
		"appears in the wait": {nil, []wiretest.Responder{none, twice}, []repeated{
			{10 * time.Second, time.Hour, "", true, []string{"10s auth.test", "10s " + search, "1m0s " + search}},
		}},
		"the search fails": {[]wiretest.Responder{postOK}, []wiretest.Responder{coded("missing_scope"), none}, []repeated{
			{time.Hour, time.Hour, chatdm.KindPermissionDenied, false, []string{"1h0m0s auth.test", "1h0m0s " + search}},
			{0, time.Hour, "", false, []string{"1h0m0s " + search, "1h0m0s " + post}},
		}},
		"the deadline is too early": {[]wiretest.Responder{postOK}, []wiretest.Responder{none}, []repeated{
			{0, 30 * time.Second, chatdm.KindUnavailable, false, []string{"0s auth.test", "0s " + search}},
		}},
		"lost by this client": {[]wiretest.Responder{hang, postOK}, []wiretest.Responder{none}, []repeated{
			{time.Hour, time.Second, chatdm.KindCanceled, false, []string{"1h0m0s auth.test", "1h0m0s " + search, "1h0m0s " + post}},
			{0, time.Hour, "", false, []string{"1h0m1s " + search, "1h1m1s " + search, "1h1m1s " + post}},
		}},
		"no Since": {[]wiretest.Responder{lost, lost, postOK}, append(slices.Repeat([]wiretest.Responder{none}, 11), twice, none), []repeated{
			{0, time.Hour, chatdm.KindUnavailable, false, []string{
				"0s " + post, "2s auth.test", "2s " + search, "6s " + search, "14s " + search, "30s " + search, "1m0s " + search,
			}},
			{0, time.Hour, chatdm.KindUnavailable, false, []string{
				"1m0s " + search, "1m0s " + post, "1m2s " + search, "1m6s " + search, "1m14s " + search, "1m30s " + search, "2m0s " + search,
			}},
			{0, time.Hour, "", true, []string{"2m0s " + search}},
			{0, time.Hour, "", false, []string{"2m0s " + post}}, // no longer lost
		}},
		"searched for by this client": {[]wiretest.Responder{lost, postOK}, []wiretest.Responder{none}, []repeated{
			{time.Hour, time.Hour, chatdm.KindUnavailable, false, []string{
				"1h0m0s auth.test", "1h0m0s " + search, "1h0m0s " + post,
				"1h0m2s " + search, "1h0m6s " + search, "1h0m14s " + search, "1h0m30s " + search, "1h1m0s " + search,
			}},
			{0, time.Hour, "", false, []string{"1h1m0s " + search, "1h1m0s " + post}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				since := since
				if name == "no Since" {
					since.Since = time.Time{}
				}
				w := newWorkspace(t, map[string][]wiretest.Responder{post: tt.posts, search: tt.searches})
				client := newClient(t, w, chatdm.WithSettleTime(time.Minute))
				for _, call := range tt.calls {
					time.Sleep(call.after)
					w.log = nil
					ctx, cancel := context.WithTimeout(t.Context(), call.timeout)
					res, err := client.Chat.PostMessage(ctx, since)
					cancel()
					w.wantLog(call.want...)
					switch {
					case call.kind != "":
						wantError(t, err, call.kind)
						if sent := strings.HasSuffix(strings.Join(call.want, " "), post) || len(call.want) > 4; errors.Is(err, chatdm.ErrEffectUnknown) != sent {
							t.Errorf("got %v, want ErrEffectUnknown %t", err, sent)
						}
					case err != nil || res.NoOp != call.noOp || res.AlreadyPosted != call.noOp || res.Meta.LostAnswers != 0 || res.Channel != "D1" || res.Message.TS != res.TS:
						t.Errorf("got %+v, %v, want a success and no-op %t", res, err, call.noOp)
					}
				}
			})
		})
	}
}

// TestKeySinceErrors: if nothing was posted, the error says so.
func TestKeySinceErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorkspace(t, map[string][]wiretest.Responder{"conversations.history": {none}})
		var log strings.Builder
		client := newClient(t, w, chatdm.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		future := message
		future.Since = startTime.Add(time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := client.Chat.PostMessage(ctx, future)
		e := wantError(t, err, chatdm.KindUnavailable, context.DeadlineExceeded)
		want := "posted nothing, because an earlier attempt may still take effect: wait of 1m30s would exceed the context deadline"
		if e.Method != "chat.postMessage" || e.RetryAfter != 90*time.Second || e.Attempts != 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q and RetryAfter 90s", err, want)
		}
		if got, want := w.forms[1].Get("oldest"), string(chatdm.NewTimestamp(startTime.Add(-time.Minute))); got != want {
			t.Errorf("got a search from %s for a Since in the future, want one from %s", got, want)
		}

		canceled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = client.Chat.PostMessage(canceled, future)
		wantError(t, err, chatdm.KindCanceled, context.Canceled)
		if errors.Is(err, chatdm.ErrEffectUnknown) {
			t.Errorf("got %v, want an error that does not match ErrEffectUnknown", err)
		}
		if want := `msg="chatdm: waiting" service=slack method=chat.postMessage reason=settle wait=1m30s`; !strings.Contains(log.String(), want) {
			t.Errorf("got log\n%swant %s", log.String(), want)
		}
	})
}

// TestNewTimestamp: it is the inverse of Timestamp.Time.
func TestNewTimestamp(t *testing.T) {
	for want, at := range map[chatdm.Timestamp]time.Time{
		"":                  {},
		"1503435956.000247": time.Date(2017, 8, 22, 21, 5, 56, 247_999, time.UTC),
		"0000000001.000000": time.Unix(1, 0),
		"9999999999.999999": time.Unix(9999999999, 999_999_999).In(time.FixedZone("", 3600)),
	} {
		got := chatdm.NewTimestamp(at)
		if got != want || !got.Time().Equal(at.Truncate(time.Microsecond)) {
			t.Errorf("%v: got %q, which is %v, want %q", at, got, got.Time(), want)
		}
	}
	if got := chatdm.NewTimestamp(time.Unix(-1, 0)); got != "" {
		t.Errorf("got %q for a time before 1970, want none", got)
	}
}
