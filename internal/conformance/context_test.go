package conformance_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// TestConformanceStalls: if the server stops sending, the attempt ends when its timeout
// expires, or when the caller's deadline passes.
func TestConformanceStalls(t *testing.T) {
	for _, at := range []chatdmtest.Point{chatdmtest.BeforeHeader, chatdmtest.InHeader, chatdmtest.InBody} {
		t.Run(string(at), func(t *testing.T) {
			eachMethod(t, func(t *testing.T, m method) {
				url, client, requests := fake(t, m, chatdmtest.Fault{Stall: at})
				var logged strings.Builder
				want := outcome{unknown, chatdm.KindUnavailable, 0}
				switch { // the status of the fake server's plain error
				case at != chatdmtest.InBody:
				case m.api == "login":
					want.status = 401
				default:
					want.status = map[string]int{"slack": 200, "rocketchat": 400}[m.service]
				}
				call := m.at(t, url, chatdm.WithHTTPClient(client), logTo(&logged), fast)
				start := time.Now()
				res, err := call(t.Context())
				took := time.Since(start)
				inspect(t, m, want, res, err, requests(), logged.String())
				// The waits between the attempts are a few nanoseconds.
				if least := time.Duration(m.attempts(unknown)) * 30 * time.Second; took < least || took > least+time.Microsecond {
					t.Errorf("got an error after %v, want it after %v", took, least)
				}
				if timeout, ok := errors.AsType[net.Error](errors.Unwrap(err)); errors.Is(err, context.DeadlineExceeded) || !ok || !timeout.Timeout() {
					t.Errorf("got %v, want a timeout that is not the caller's deadline", err)
				}

				before := requests()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start = time.Now()
				res, err = call(ctx)
				e := wiretest.WantError(t, err, chatdm.KindCanceled, context.DeadlineExceeded)
				if n := requests() - before; res != nil || n != 1 || e.Attempts != 1 || time.Since(start) != time.Second || errors.Is(err, chatdm.ErrEffectUnknown) == m.idempotent {
					t.Errorf("got %v after %v and %d requests, want the deadline's error after 1s and 1 request", err, time.Since(start), n)
				}
			})
		})
	}
}

// fake starts a fake server of the method's platform, with these faults.
func fake(t *testing.T, m method, faults ...chatdmtest.Fault) (url string, client *http.Client, requests func() int) {
	t.Helper()
	if m.service == "slack" {
		s := chatdmtest.NewSlack(chatdmtest.InMemory())
		t.Cleanup(s.Close)
		for _, fault := range faults {
			s.Fail("", -1, fault)
		}
		return s.URL, s.Client(), func() int { return len(s.Requests()) }
	}
	s := chatdmtest.NewRocketChat(chatdmtest.InMemory())
	t.Cleanup(s.Close)
	for _, fault := range faults {
		s.Fail("", -1, fault)
	}
	return s.URL, s.Client(), func() int { return len(s.Requests()) }
}

// TestStalledDial: nothing has been sent during a dial, so no call may have taken
// effect.
func TestStalledDial(t *testing.T) {
	eachMethod(t, func(t *testing.T, m method) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		release := make(chan struct{})
		defer close(release) // net/http does not end a dial that nobody waits for
		_, err := m.on(t, &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			<-release
			return nil, net.ErrClosed
		}})(ctx)
		if e := wiretest.WantError(t, err, chatdm.KindCanceled, context.DeadlineExceeded); e.Attempts != 1 || errors.Is(err, chatdm.ErrEffectUnknown) {
			t.Errorf("got %v, want 1 attempt without effect", err)
		}
	})
}

// TestBadContexts: a call with a nil context, or one that has ended, sends nothing.
func TestBadContexts(t *testing.T) {
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("shutting down"))
	eachMethod(t, func(t *testing.T, m method) {
		s := wiretest.NewScript(wiretest.Respond(200, m.success))
		call := m.on(t, s)
		var missing context.Context
		res, err := call(missing)
		if wiretest.WantError(t, err, chatdm.KindInvalidRequest); res != nil || !strings.Contains(err.Error(), "ctx: ") {
			t.Errorf("got %v, %v, want an error that names ctx", res, err)
		}
		res, err = call(ended)
		e := wiretest.WantError(t, err, chatdm.KindCanceled, context.Canceled, context.Cause(ended))
		if res != nil || s.Sent() != 0 || e.Attempts != 0 || errors.Is(err, chatdm.ErrEffectUnknown) {
			t.Errorf("got %v, %v after %d requests, want none", res, err, s.Sent())
		}
	})
}

// TestContextEnds: the context ends during an attempt, or in the wait after it.
// The client logs a retry only if the context had not ended when the response arrived.
func TestContextEnds(t *testing.T) {
	late := func(respond wiretest.Responder) wiretest.Responder {
		return func(req *http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return respond(req)
		}
	}
	limited := wiretest.Respond(429, "", "Retry-After", "30")
	lost := fail(io.ErrUnexpectedEOF)
	tests := []struct {
		name      string
		responses []wiretest.Responder
		after     time.Duration
		deadline  bool          // the context ends by its deadline
		took      time.Duration // until the call returns
		want      []error
		status    int
		text      string
		requests  int
	}{
		{"in the wait after a 429", []wiretest.Responder{limited}, 10 * time.Second, false, 10 * time.Second,
			[]error{chatdm.KindRateLimited, context.Canceled}, 429, "", 1},
		{"wait would exceed the deadline", []wiretest.Responder{limited}, 10 * time.Second, true, 0,
			[]error{chatdm.KindRateLimited, context.DeadlineExceeded}, 429, "", 1},
		{"in the wait after a truncated response", []wiretest.Responder{wiretest.Respond(200, `{"ok"`)}, 100 * time.Millisecond, false, 100 * time.Millisecond,
			[]error{chatdm.KindUnexpectedResponse, context.Canceled}, 200, "after 5 bytes; context canceled", 1},
		{"in the wait after a lost connection", []wiretest.Responder{lost}, 100 * time.Millisecond, false, 100 * time.Millisecond,
			[]error{chatdm.KindCanceled, context.Canceled}, 0, "earlier attempt: unavailable: no complete response: unexpected EOF", 1},
		{"in the second attempt", []wiretest.Responder{wiretest.Respond(503, ""), stall}, 5 * time.Second, true, 5 * time.Second,
			[]error{chatdm.KindCanceled, context.DeadlineExceeded}, 0, "earlier attempt: unavailable (status 503)", 2},
		{"while a 429 arrives", []wiretest.Responder{late(limited)}, time.Second, false, 5 * time.Second,
			[]error{chatdm.KindRateLimited, context.Canceled}, 429, "context canceled", 1},
		{"while a 503 arrives", []wiretest.Responder{late(wiretest.Respond(503, ""))}, time.Second, true, 5 * time.Second,
			[]error{chatdm.KindUnavailable, context.DeadlineExceeded}, 503, "context deadline exceeded", 1},
		{"while the connection is lost", []wiretest.Responder{late(lost)}, time.Second, false, 5 * time.Second,
			[]error{chatdm.KindCanceled, context.Canceled}, 0, "context canceled", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachMethod(t, func(t *testing.T, m method) {
				if !m.idempotent && tt.status != 429 {
					return // fails without a wait
				}
				s := wiretest.NewScript(tt.responses...)
				ctx, cancel := context.WithCancel(t.Context())
				if tt.deadline {
					ctx, cancel = context.WithTimeout(t.Context(), tt.after)
				} else {
					time.AfterFunc(tt.after, cancel)
				}
				defer cancel()
				start := time.Now()
				var logged strings.Builder
				res, err := m.on(t, s, chatdm.WithTimeout(0), logTo(&logged))(ctx)
				e := wiretest.WantError(t, err, tt.want...)
				if retrying := strings.HasPrefix(tt.name, "in the "); strings.Contains(logged.String(), "retrying") != retrying {
					t.Errorf("got log %s, want a retry in it: %t", logged.String(), retrying)
				}
				if took := time.Since(start); res != nil || took != tt.took || s.Sent() != tt.requests || e.Attempts != tt.requests {
					t.Errorf("got %v, %v after %v and %d requests, want an error after %v and %d", res, err, took, s.Sent(), tt.took, tt.requests)
				}
				if e.StatusCode != tt.status || tt.status == 429 && e.RetryAfter != 30*time.Second || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v, want status %d and %q", err, tt.status, tt.text)
				}
			})
		})
	}
}
