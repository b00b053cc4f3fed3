package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// effect is what a failed attempt has done. It decides which calls are retried.
type effect int

const (
	none     effect = iota // never sent, or rejected: all calls are retried
	unknown                // the attempt may have taken effect: idempotent calls are retried
	final                  // as unknown, but a retry would get the same response: no call is retried
	definite               // no call is retried
)

const maxAttempts = 4

// attempts returns how many attempts a call makes if all have this effect.
func (m method) attempts(e effect) int {
	if e == none || e == unknown && m.idempotent {
		return maxAttempts
	}
	return 1
}

// outcome is what a failure amounts to.
type outcome struct {
	effect effect
	kind   chatdm.Kind
	status int
}

// inspect checks what must hold for every failed call. It does not check the
// number of requests if that is negative.
func inspect(t *testing.T, m method, want outcome, res any, err error, requests int, logged string) {
	t.Helper()
	e := wiretest.WantError(t, err, want.kind)
	if res != nil {
		t.Errorf("got result %+v with the error, want none", res)
	}
	if e.Service != m.service || e.Method != m.api || e.StatusCode != want.status {
		t.Errorf("got %s %s with status %d, want %s %s with %d: %v", e.Service, e.Method, e.StatusCode, m.service, m.api, want.status, err)
	}
	if n := m.attempts(want.effect); requests >= 0 && requests != n || e.Attempts != n {
		t.Errorf("got %d requests and Attempts %d, want %d: %v", requests, e.Attempts, n, err)
	}
	if lost := !m.idempotent && (want.effect == unknown || want.effect == final); errors.Is(err, chatdm.ErrEffectUnknown) != lost {
		t.Errorf("got ErrEffectUnknown %t, want %t: %v", !lost, lost, err)
	}
	if text := err.Error(); strings.ContainsAny(text, "\r\n") || len(text) > 1000 {
		t.Errorf("got text %q, want one line of at most 1000 bytes", text)
	}
	lookFor(t, "the error", everyFormat(err)+everyFormat(*e))
	lookFor(t, "the log", logged)
	if !strings.Contains(logged, "chatdm: call failed") {
		t.Errorf("got log %s, want the failure in it", logged)
	}
}

// TestRetryContract drives every method through every outcome of an attempt.
func TestRetryContract(t *testing.T) {
	const (
		limited      = chatdm.KindRateLimited
		unavailable  = chatdm.KindUnavailable
		unexpected   = chatdm.KindUnexpectedResponse
		unsupported  = chatdm.KindUnsupported
		unauthorized = chatdm.KindUnauthenticated
		denied       = chatdm.KindPermissionDenied
		notFound     = chatdm.KindNotFound
		newCode      = chatdm.KindUnknown
	)
	respond := wiretest.Respond
	code := func(code string) wiretest.Responder { return respond(200, `{"ok":false,"error":"`+code+`"}`) }
	const brandNew = `{"ok":false,"success":false,"error":"brand-new","errorType":"brand-new"}`
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	hiccup := errors.New("proxy hiccup")
	bare := func(status int) wiretest.Responder {
		return func(*http.Request) (*http.Response, error) { return &http.Response{StatusCode: status}, nil }
	}
	panics := func(*http.Request) (*http.Response, error) { panic("out of order") }

	tests := []struct {
		name    string
		service string // "" for both
		respond wiretest.Responder
		want    outcome
		match   error // what else the error matches, or nil
	}{
		// Never sent: all calls are retried.
		{"dial fails", "", fail(dial), outcome{none, unavailable, 0}, dial},
		{"DNS fails", "", fail(&net.DNSError{Err: "no such host", Name: "slack.com"}), outcome{none, unavailable, 0}, nil},
		{"proxy fails", "", fail(&net.OpError{Op: "proxyconnect", Net: "tcp", Err: dial}), outcome{none, unavailable, 0}, dial},

		// Rejected without effect: all calls are retried, after a wait.
		{"429", "", respond(429, "", "Retry-After", "30"), outcome{none, limited, 429}, nil},
		{"429 without a hint", "", respond(429, ""), outcome{none, limited, 429}, nil},
		{"429 with HTML", "", respond(429, "<html>"), outcome{none, limited, 429}, nil},
		{"429 larger than the limit", "", respond(429, strings.Repeat("x", 5<<20)), outcome{none, limited, 429}, nil},
		{"429 without a header and a body", "", bare(429), outcome{none, limited, 429}, nil},
		{"429", "slack", respond(429, `{"ok":false,"error":"invalid_auth"}`), outcome{none, limited, 429}, chatdm.ErrRateLimited},
		{"429", "rocketchat", respond(429, `{"success":false,"errorType":"invalid-channel"}`), outcome{none, limited, 429}, rocketchat.ErrTooManyRequests},
		{"ratelimited", "slack", code("ratelimited"), outcome{none, limited, 200}, chatdm.ErrRateLimited},
		{"rate_limited", "slack", code("rate_limited"), outcome{none, limited, 200}, chatdm.ErrRateLimited},
		{"error-too-many-requests", "rocketchat", respond(400, `{"success":false,"errorType":"error-too-many-requests"}`),
			outcome{none, limited, 400}, rocketchat.ErrTooManyRequests},

		// Effect unknown: idempotent calls are retried.
		{"connection lost", "", fail(io.ErrUnexpectedEOF), outcome{unknown, unavailable, 0}, io.ErrUnexpectedEOF},
		{"error of the caller's transport", "", fail(hiccup), outcome{unknown, unavailable, 0}, hiccup},
		{"no response and no error", "", func(*http.Request) (*http.Response, error) { return nil, nil }, outcome{unknown, unavailable, 0}, nil}, //nolint:nilnil // the fault
		{"transport panics", "", panics, outcome{unknown, unavailable, 0}, nil},
		{"body panics", "", func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(panicReader{})}, nil
		}, outcome{unknown, unavailable, 200}, nil},
		{"attempt timeout", "", stall, outcome{unknown, unavailable, 0}, nil},
		{"500", "", respond(500, ""), outcome{unknown, unavailable, 500}, nil},
		{"500 without a header and a body", "", bare(500), outcome{unknown, unavailable, 500}, nil},
		{"502", "", respond(502, "<html>"), outcome{unknown, unavailable, 502}, nil},
		{"503", "", respond(503, `{"ok":false,"success":false}`), outcome{unknown, unavailable, 503}, nil},
		{"504", "", respond(504, `{"ok":true,"success":true}`), outcome{unknown, unavailable, 504}, nil},
		{"500 with a new code", "", respond(500, brandNew), outcome{unknown, newCode, 500}, chatdm.Code("brand-new")},
		{"503 with a new code", "", respond(503, brandNew), outcome{unknown, newCode, 503}, chatdm.Code("brand-new")},
		{"truncated response", "", respond(200, `{"ok":tr`), outcome{unknown, unexpected, 200}, nil},
		{"internal_error", "slack", code("internal_error"), outcome{unknown, unavailable, 200}, chatdm.ErrInternalError},
		{"fatal_error", "slack", code("fatal_error"), outcome{unknown, unavailable, 200}, chatdm.ErrFatalError},
		{"service_unavailable", "slack", code("service_unavailable"), outcome{unknown, unavailable, 200}, chatdm.ErrServiceUnavailable},
		{"request_timeout", "slack", code("request_timeout"), outcome{unknown, unavailable, 200}, chatdm.ErrRequestTimeout},

		// Effect unknown, but a retry would get the same response: no call is retried.
		{"HTML", "slack", respond(200, "<html>"), outcome{final, unexpected, 200}, nil},
		{"200 without a header and a body", "", bare(200), outcome{final, unexpected, 200}, nil},
		{"status 0", "", bare(0), outcome{final, unexpected, 0}, nil},
		{"408", "", respond(408, ""), outcome{final, unexpected, 408}, nil},
		{"501", "", respond(501, ""), outcome{final, unavailable, 501}, nil},
		{"524 of a proxy", "", respond(524, "<html>"), outcome{final, unavailable, 524}, nil},
		{"524 with a new code", "", respond(524, brandNew), outcome{final, newCode, 524}, chatdm.Code("brand-new")},

		// Definite: no call is retried.
		{"known code", "slack", code("channel_not_found"), outcome{definite, notFound, 200}, chatdm.ErrChannelNotFound},
		{"known code", "rocketchat", respond(400, `{"success":false,"errorType":"invalid-channel"}`), outcome{definite, notFound, 400}, rocketchat.ErrInvalidChannel},
		{"503 with a known code", "slack", respond(503, `{"ok":false,"error":"invalid_auth"}`), outcome{definite, unauthorized, 503}, chatdm.ErrInvalidAuth},
		{"team_added_to_org", "slack", code("team_added_to_org"), outcome{definite, unavailable, 200}, chatdm.ErrTeamAddedToOrg},
		{"new code", "", respond(400, brandNew), outcome{definite, newCode, 400}, chatdm.Code("brand-new")},
		{"HTML", "rocketchat", respond(200, "<html>"), outcome{definite, unsupported, 200}, nil},
		{"302", "", respond(302, "", "Location", "https://evil.example/"), outcome{definite, unexpected, 302}, nil},
		{"302 without a header and a body", "", bare(302), outcome{definite, unexpected, 302}, nil},
		{"401 without a body", "", respond(401, ""), outcome{definite, unexpected, 401}, nil},
		{"401", "", respond(401, `{"ok":false,"error":"invalid_auth","message":"You must be logged in to do this."}`), outcome{definite, unauthorized, 401}, nil},
		{"403 without a body", "", respond(403, ""), outcome{definite, unexpected, 403}, nil},
		{"403", "slack", respond(403, `{"ok":false,"error":"access_denied"}`), outcome{definite, denied, 403}, chatdm.ErrAccessDenied},
		{"403", "rocketchat", respond(403, `{"success":false,"error":"access_denied"}`), outcome{definite, denied, 403}, nil},
		{"404", "slack", respond(404, ""), outcome{definite, unexpected, 404}, nil},
		{"404", "rocketchat", respond(404, ""), outcome{definite, unsupported, 404}, nil},
		{"405", "slack", respond(405, "Method Not Allowed"), outcome{definite, unexpected, 405}, nil},
		{"405", "rocketchat", respond(405, "Method Not Allowed"), outcome{definite, unsupported, 405}, nil},
		{"418", "", respond(418, "teapot"), outcome{definite, unexpected, 418}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name+tt.service, func(t *testing.T) {
			eachMethod(t, func(t *testing.T, m method) {
				if tt.service != "" && tt.service != m.service {
					return
				}
				// For good: the call gives up.
				var logged strings.Builder
				s := wiretest.NewScript(tt.respond)
				res, err := m.on(t, s, logTo(&logged))(t.Context())
				inspect(t, m, tt.want, res, err, s.Sent(), logged.String())
				if tt.match != nil && !m.returnsCredentials() {
					wiretest.WantError(t, err, tt.match)
				}
				if m.attempts(tt.want.effect) == 1 {
					return
				}
				// Twice: the call succeeds.
				s = wiretest.NewScript(tt.respond, tt.respond, wiretest.Respond(200, m.success))
				res, err = m.on(t, s)(t.Context())
				if err != nil || res == nil || s.Sent() != 3 {
					t.Fatalf("got %v, %v after %d requests, want a success after 3", res, err, s.Sent())
				}
				lost := 0
				if tt.want.effect == unknown {
					lost = 2
				}
				if meta, ok := meta(res); ok && (meta.Attempts != 3 || meta.LostAnswers != lost || meta.StatusCode != 200) {
					t.Errorf("got %+v, want 3 attempts, %d lost answers, and status 200", meta, lost)
				}
			})
		})
	}
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("out of order") }

type panicDecoder struct{}

func (*panicDecoder) UnmarshalJSON([]byte) error { panic("not mine") }

// TestBrokenTransport: the error says what the transport did. A panic of the
// caller's own decoder reaches the caller.
func TestBrokenTransport(t *testing.T) {
	for want, broken := range map[string]wiretest.Responder{
		"redirected to an invalid URL": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"/elsewhere"}}}, nil
		},
		"transport panicked: out of order":                   func(*http.Request) (*http.Response, error) { panic("out of order") },
		"transport returned neither a response nor an error": func(*http.Request) (*http.Response, error) { return nil, nil }, //nolint:nilnil // the fault
	} {
		for _, name := range pausing {
			_, err := methods[name].on(t, wiretest.NewScript(broken), once)(t.Context())
			if wiretest.WantError(t, err); !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q in it", name, err, want)
			}
		}
	}
	defer func() {
		if value := recover(); value != "not mine" {
			t.Errorf("got panic %v, want the decoder's", value)
		}
	}()
	client, err := chatdm.NewClient(secretToken, through(wiretest.NewScript(wiretest.Respond(200, `{"ok":true}`))))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Call(t.Context(), "x", nil, new(panicDecoder))
	t.Errorf("got %v, want a panic", err)
}

// TestOneKind runs calls that fail, and calls that fail again. The error has the
// kind and the code of one failure, and its text names both. The code or the
// kind of a foreign cause does not count.
func TestOneKind(t *testing.T) {
	foreign := &chatdm.Error{Service: "limiter", Method: "x", Code: chatdm.ErrUserNotFound, Kind: chatdm.KindNotFound}
	firsts := []struct {
		respond wiretest.Responder // nil: the second failure is the only one
		effect  effect
		text    string
	}{
		{nil, none, ""},
		{wiretest.Respond(429, "", "Retry-After", "2"), none, "429"},
		{wiretest.Respond(503, `{"ok":false,"success":false,"error":"brand-new","errorType":"brand-new"}`), unknown, "brand-new"},
		{wiretest.Respond(503, "<html>"), unknown, "503"},
		{fail(syscall.ECONNRESET), unknown, "connection reset"},
		{fail(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}), none, "no route"},
		{stall, unknown, "timed out"},
	}
	const timeout = 5 * time.Second
	// A second attempt starts half a second to two seconds after the first has failed.
	const inWait, inFlight = 250 * time.Millisecond, 3 * time.Second
	seconds := []struct {
		name    string
		limiter error              // of the second attempt
		end     time.Duration      // of the context, or 0
		cause   error              // nil: the context ends by its deadline
		respond wiretest.Responder // nil: the response does not come

		kind   chatdm.Kind // "" if the test does not care
		is     error
		server bool // there is a second response, so the error need not name the first
	}{
		{name: "limiter", limiter: net.ErrClosed, kind: chatdm.KindUnavailable, is: net.ErrClosed},
		{name: "limiter with a kind", limiter: fmt.Errorf("limiter: %w", chatdm.KindNotFound)},
		{name: "limiter with a code", limiter: chatdm.ErrInvalidAuth},
		{name: "limiter with an Error", limiter: foreign},
		{name: "limiter with several", limiter: errors.Join(chatdm.ErrInvalidAuth, foreign)},
		{name: "limiter past the deadline", limiter: context.DeadlineExceeded, kind: chatdm.KindRateLimited, is: context.DeadlineExceeded},
		{name: "deadline in the wait", end: inWait, is: context.DeadlineExceeded},
		{name: "canceled in the wait", end: inWait, cause: errors.Join(chatdm.KindNotFound, foreign), is: context.Canceled},
		{name: "deadline in flight", end: inFlight, kind: chatdm.KindCanceled, is: context.DeadlineExceeded},
		{name: "canceled in flight", end: inFlight, cause: context.Canceled, kind: chatdm.KindCanceled, is: context.Canceled},
		{name: "canceled in flight with a cause", end: inFlight, cause: errors.Join(chatdm.KindNotFound, foreign), kind: chatdm.KindCanceled, is: context.Canceled},
		{name: "code", respond: wiretest.Respond(400, `{"error":"invalid_auth","errorType":"error-unauthorized"}`), server: true},
		{name: "429", respond: wiretest.Respond(429, "", "Retry-After", "7200"), server: true, kind: chatdm.KindRateLimited},
		{name: "text", respond: wiretest.Respond(200, "hello"), server: true, kind: chatdm.KindUnexpectedResponse},
		{name: "redirect", respond: wiretest.Respond(302, ""), server: true, kind: chatdm.KindUnexpectedResponse},
		{name: "transport", respond: fail(errors.Join(chatdm.KindNotFound, foreign)), server: true, kind: chatdm.KindUnavailable},
	}
	for _, first := range firsts {
		for _, second := range seconds {
			t.Run(first.text+", "+second.name, func(t *testing.T) {
				eachPausing(t, func(t *testing.T, m method) {
					if m.attempts(first.effect) == 1 {
						return // there is no second attempt: TestRetryContract
					}
					respond := second.respond
					if respond == nil {
						respond = stall
					}
					s := wiretest.NewScript(respond)
					attempts, end := 1, second.end
					if first.respond != nil {
						s = wiretest.NewScript(first.respond, respond)
						attempts = 2
						if first.text == "timed out" {
							end += timeout
						}
					}
					asked := 0
					l := &limiterFunc{wait: func(context.Context, string) error {
						if asked++; asked == attempts {
							return second.limiter
						}
						return nil
					}}
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					switch {
					case second.end != 0 && second.cause == nil:
						var stop context.CancelFunc
						ctx, stop = context.WithTimeoutCause(ctx, end, foreign)
						defer stop()
					case second.end != 0:
						time.AfterFunc(end, func() { cancel(second.cause) })
					}
					call := m.on(t, s, chatdm.WithTimeout(timeout), chatdm.WithLimiter(l),
						chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: attempts, BaseWait: time.Second, MaxWait: time.Second}))
					_, err := call(ctx)
					e := wiretest.WantError(t, err)
					if second.kind != "" && e.Kind != second.kind || second.is != nil && !errors.Is(err, second.is) {
						t.Errorf("got %v of kind %s, want kind %s that matches %v", err, e.Kind, second.kind, second.is)
					}
					for _, code := range []chatdm.Code{chatdm.ErrUserNotFound, chatdm.ErrInvalidAuth, chatdm.ErrRateLimited, "brand-new"} {
						if errors.Is(err, code) != (e.Code == code) {
							t.Errorf("got %v with code %q, want it not to match %s", err, e.Code, code)
						}
					}
					reported := first.text
					if reported == "429" {
						reported = map[string]string{"slack": "ratelimited", "rocketchat": "error-too-many-requests"}[m.service]
					}
					if !second.server && !strings.Contains(err.Error(), reported) {
						t.Errorf("got %v, want %q of the first attempt in it", err, reported)
					}
					if second.end == inFlight && errors.Is(err, chatdm.ErrEffectUnknown) == m.idempotent {
						t.Errorf("got %v, want ErrEffectUnknown %t", err, !m.idempotent)
					}
				})
			})
		}
	}
}

func TestBackoff(t *testing.T) {
	policy := chatdm.RetryPolicy{MaxAttempts: 8, BaseWait: time.Second, MaxWait: 10 * time.Second}
	m := methods["chatdm.ConversationsService.Open"]
	distinct := map[time.Duration]bool{}
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := wiretest.NewScript(wiretest.Respond(503, ""))
			_, err := m.on(t, s, chatdm.WithRetry(policy))(t.Context())
			if e := wiretest.WantError(t, err, chatdm.KindUnavailable); e.Attempts != 8 {
				t.Errorf("got %d attempts, want 8", e.Attempts)
			}
			for n := range 7 {
				most := min(time.Second<<n, policy.MaxWait)
				wait := s.At[n+1] - s.At[n]
				if wait < most/2 || wait > most {
					t.Errorf("got wait %d of %v, want %v to %v", n+1, wait, most/2, most)
				}
				distinct[wait] = true
			}
		})
	}
	if len(distinct) < 100 {
		t.Errorf("got %d different waits, want random ones", len(distinct))
	}
	synctest.Test(t, func(t *testing.T) {
		s := wiretest.NewScript(wiretest.Respond(503, "", "Retry-After", "20"), wiretest.Respond(200, m.success))
		if _, err := m.on(t, s, chatdm.WithRetry(policy))(t.Context()); err != nil || s.At[1] != 20*time.Second {
			t.Errorf("got a retry after %v, %v, want the 20s that the server requested", s.At[1], err)
		}
	})
}
