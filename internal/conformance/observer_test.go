package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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

// recorder is an Observer that writes one line per event. It checks that an End gets the
// context of its Start.
type recorder struct {
	t     *testing.T
	mu    sync.Mutex
	lines []string
}

type startedKey struct{}

func (r *recorder) start(ctx context.Context, format string, args ...any) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	r.lines = append(r.lines, line)
	return context.WithValue(ctx, startedKey{}, strings.Fields(line)[0])
}

func (r *recorder) end(ctx context.Context, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf(format, args...)
	r.lines = append(r.lines, line)
	if want := strings.TrimPrefix(strings.Fields(line)[0], "/"); ctx.Value(startedKey{}) != want {
		r.t.Errorf("%s: got the context of %v, want that of its start", line, ctx.Value(startedKey{}))
	}
}

func (r *recorder) CallStart(ctx context.Context, c chatdm.CallInfo) context.Context {
	return r.start(ctx, "call %s.%s", c.Service, c.Method)
}

func (r *recorder) CallEnd(ctx context.Context, c chatdm.CallInfo, end chatdm.CallEnd) {
	kind := ""
	if e, ok := errors.AsType[*chatdm.Error](end.Err); ok {
		kind = string(e.Kind)
	}
	r.end(ctx, "/call %s.%s %d attempts, status %d, %s %v, %v", c.Service, c.Method, end.Attempts, end.StatusCode, end.RequestID, kind, end.Duration)
}

func (r *recorder) AttemptStart(ctx context.Context, a chatdm.AttemptInfo) context.Context {
	return r.start(ctx, "attempt %d %s %s", a.Attempt, a.HTTPMethod, a.URL)
}

func (r *recorder) AttemptEnd(ctx context.Context, a chatdm.AttemptInfo, end chatdm.AttemptEnd) {
	r.end(ctx, "/attempt %d %d %s %s %s %v %v", a.Attempt, end.StatusCode, end.RequestID, end.Code, end.Kind, end.Err, end.Duration)
}

func (r *recorder) WaitStart(ctx context.Context, w chatdm.WaitInfo) context.Context {
	return r.start(ctx, "wait %s %v after %d %s", w.Reason, w.Duration, w.Attempt, w.Failed.Kind)
}

func (r *recorder) WaitEnd(ctx context.Context, w chatdm.WaitInfo, end chatdm.WaitEnd) {
	r.end(ctx, "/wait %s %v %v", w.Reason, end.Duration, end.Err)
}

// slowLimiter delays the first call by three seconds.
type slowLimiter struct{ used bool }

func (l *slowLimiter) Wait(ctx context.Context, _ string) error {
	if l.used {
		return nil
	}
	l.used = true
	time.Sleep(3 * time.Second)
	return ctx.Err()
}

func (*slowLimiter) Limited(context.Context, string, time.Duration) {}

// twoTokens is a TokenRefresher.
type twoTokens struct{}

func (twoTokens) Token(context.Context) (string, error) { return secretToken, nil }

func (twoTokens) Refresh(context.Context, string) (string, error) {
	time.Sleep(2 * time.Second)
	return secretToken + "2", nil
}

// TestObserver: the observer learns of each call, attempt, and wait, in order, and the log
// has a line for each wait of more than a second.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{t: t}
		var log strings.Builder
		logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		s := wiretest.NewScript(
			wiretest.Respond(200, `{"ok":false,"error":"token_expired"}`, "X-Slack-Req-Id", "r1"),
			wiretest.Respond(429, "", "Retry-After", "30"),
			wiretest.Respond(503, "", "Retry-After", "2"),
			wiretest.Respond(200, `{"ok":true}`, "X-Slack-Req-Id", "r4"),
			fail(errors.New("broken pipe "+secretToken)),
		)
		client, err := chatdm.NewClient("", chatdm.WithObserver(r), chatdm.WithLogger(logger), chatdm.WithLimiter(new(slowLimiter)),
			chatdm.WithTokenSource(twoTokens{}), through(s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Conversations.Close(t.Context(), "D1"); err != nil {
			t.Fatal(err)
		}
		_, err = client.Chat.PostMessage(t.Context(), chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi"})
		wiretest.WantError(t, err, chatdm.ErrEffectUnknown)
		_, _ = client.Conversations.Close(t.Context(), "") // invalid, so nobody learns of it

		const closing, posting = "https://slack.com/api/conversations.close", "https://slack.com/api/chat.postMessage"
		lost := "no complete response: broken pipe [redacted]; the call may have taken effect"
		want := []string{
			"call slack.conversations.close",
			"wait token_refresh 0s after 0 ", "/wait token_refresh 0s <nil>", "wait limiter 0s after 0 ", "/wait limiter 3s <nil>",
			"attempt 1 POST " + closing, "/attempt 1 200 r1 token_expired unauthenticated <nil> 0s",
			"wait token_refresh 0s after 1 unauthenticated", "/wait token_refresh 2s <nil>", "wait limiter 0s after 0 ", "/wait limiter 0s <nil>",
			"attempt 2 POST " + closing, "/attempt 2 429  ratelimited rate_limited earlier attempt: token_expired 0s",
			"wait server_pause 30s after 2 rate_limited", "/wait server_pause 30s <nil>", "wait limiter 0s after 0 ", "/wait limiter 0s <nil>", "wait token_refresh 0s after 0 ", "/wait token_refresh 0s <nil>",
			"attempt 3 POST " + closing, "/attempt 3 503   unavailable earlier attempt: ratelimited 0s",
			"wait backoff 2s after 3 unavailable", "/wait backoff 2s <nil>",
		}
		got := r.lines[:min(len(want), len(r.lines))]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		end := []string{
			"call slack.chat.postMessage",
			"wait token_refresh 0s after 0 ", "/wait token_refresh 0s <nil>", "wait limiter 0s after 0 ", "/wait limiter 0s <nil>",
			"attempt 1 POST " + posting, "/attempt 1 0   unavailable " + lost + " 0s", "/call slack.chat.postMessage 1 attempts, status 0,  unavailable, 0s",
		}
		if diff := cmp.Diff(end, r.lines[max(0, len(r.lines)-len(end)):]); diff != "" {
			t.Errorf("last events (-want +got):\n%s", diff)
		}
		lookFor(t, "the events", strings.Join(r.lines, "\n"))
		lookFor(t, "the log", log.String())
		for _, line := range []string{
			`level=INFO msg="chatdm: waiting" service=slack method=conversations.close reason=limiter` + "\n",
			`level=INFO msg="chatdm: retrying" service=slack method=conversations.close attempt=1 error.kind=unauthenticated error.code=token_expired error.status=200 error.request_id=r1` + "\n",
			`level=INFO msg="chatdm: waiting" service=slack method=conversations.close reason=token_refresh` + "\n",
			`level=INFO msg="chatdm: retrying" service=slack method=conversations.close attempt=2 wait=30s error.kind=rate_limited error.code=ratelimited error.status=429 error.cause="earlier attempt: token_expired"` + "\n",
		} {
			if !strings.Contains(log.String(), line) {
				t.Errorf("got log\n%swant %s", log.String(), line)
			}
		}
	})
}

// TestObserverSpans: the transport gets the attempt's context, within that of the call.
func TestObserverSpans(t *testing.T) {
	eachMethod(t, func(t *testing.T, m method) {
		r := &recorder{t: t}
		var seen []any
		transport := roundTripper(func(req *http.Request) (*http.Response, error) {
			seen = append(seen, req.Context().Value(startedKey{}))
			return wiretest.Respond(200, m.success)(req)
		})
		if _, err := m.on(t, transport, chatdm.WithObserver(r), chatdm.WithTimeout(0))(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(seen, []any{"attempt"}) || len(r.lines) != 4 || !strings.HasPrefix(r.lines[0], "call "+m.service+"."+m.api) {
			t.Errorf("got contexts %v and events %q, want that of the attempt and four events", seen, r.lines)
		}
	})
}

// TestObserverPanic: a call ends for the observer even if a function of the program panics.
func TestObserverPanic(t *testing.T) {
	r := &recorder{t: t}
	client, err := chatdm.NewClient(secretToken, chatdm.WithObserver(r), through(wiretest.NewScript(wiretest.Respond(200, `{"ok":true}`))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil || !strings.HasPrefix(r.lines[len(r.lines)-1], "/call slack.auth.test 1 attempts, status 200,  unexpected_response") {
			t.Errorf("got events %q, want a panic and the end of the call", r.lines)
		}
	}()
	_, _ = client.Call(t.Context(), "auth.test", nil, new(panicDecoder))
}
