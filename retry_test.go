package chatdm_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jarcoal/httpmock"

	"github.com/chatdm/chatdm"
)

// script answers the requests of any method in order, the last answer for
// good, and notes when each came.
type script struct {
	*httpmock.MockTransport
	mu      sync.Mutex
	answers []httpmock.Responder
	at      []time.Duration // since the first request
	methods []string
	start   time.Time
}

func newScript(answers ...httpmock.Responder) *script {
	s := &script{MockTransport: httpmock.NewMockTransport(), answers: answers}
	s.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
		s.mu.Lock()
		if s.start.IsZero() {
			s.start = time.Now()
		}
		s.at = append(s.at, time.Since(s.start))
		s.methods = append(s.methods, strings.TrimPrefix(req.URL.Path, "/api/"))
		answer := s.answers[min(len(s.at), len(s.answers))-1]
		s.mu.Unlock()
		return answer(req)
	})
	return s
}

func (s *script) sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

func answer(status int, body string, header ...string) httpmock.Responder {
	resp := httpmock.NewStringResponder(status, body)
	for i := 0; i < len(header); i += 2 {
		resp = resp.HeaderSet(http.Header{http.CanonicalHeaderKey(header[i]): {header[i+1]}})
	}
	return resp
}

func failure(err error) httpmock.Responder { return httpmock.NewErrorResponder(err) }

var (
	ok        = answer(200, `{"ok":true,"channel":{"id":"D1"}}`)
	limited30 = answer(429, "", "Retry-After", "30")
	coded     = func(code string) httpmock.Responder { return answer(200, `{"ok":false,"error":"`+code+`"}`) }
	dialErr   = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
)

func open(ctx context.Context, c *chatdm.Client) (*chatdm.OpenResult, error) {
	return c.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U1"}})
}

func wantError(t testing.TB, err error, target ...error) *chatdm.Error {
	t.Helper()
	e, ok := errors.AsType[*chatdm.Error](err)
	if !ok {
		t.Fatalf("error is %T %v, want a *chatdm.Error", err, err)
	}
	for _, target := range target {
		if !errors.Is(err, target) {
			t.Errorf("errors.Is(err, %v) is false: %v", target, err)
		}
	}
	return e
}

func TestRateLimitIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(limited30, ok)
		res, err := open(t.Context(), newClient(t, s))
		if err != nil {
			t.Fatal(err)
		}
		if res.Meta.Attempts != 2 || res.Meta.LostAnswers != 0 || res.Meta.StatusCode != 200 {
			t.Errorf("Meta = %+v, want 2 attempts and status 200", res.Meta)
		}
		if want := []time.Duration{0, 30 * time.Second}; !slices.Equal(s.at, want) {
			t.Errorf("requests at %v, want %v", s.at, want)
		}
	})
}

func TestRateLimitBeyondTheDeadlineIsNotWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(limited30, ok)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		res, err := open(ctx, newClient(t, s))
		e := wantError(t, err, chatdm.ErrRateLimited, chatdm.KindRateLimited)
		if res != nil || e.RetryAfter != 30*time.Second || e.Attempts != 1 || e.StatusCode != 429 {
			t.Errorf("got %v, %+v; want nil, RetryAfter 30s, 1 attempt, status 429", res, e)
		}
		if slept := time.Since(start); slept != 0 {
			t.Errorf("slept %v", slept)
		}
	})
}

// TestRetryContract goes through the rows of the contract, for a call that may
// be repeated and for one that may not.
func TestRetryContract(t *testing.T) {
	cut := answer(200, `{"ok":tr`)
	tests := []struct {
		name             string
		answer           httpmock.Responder
		repeated, called bool // sent again: conversations.open, Call
		doubtful         bool // not sent again by either, and perhaps done
		want             []error
	}{
		{"dial", failure(dialErr), true, true, false, []error{chatdm.KindUnavailable, dialErr}},
		{"dns", failure(&net.DNSError{Err: "no such host", Name: "slack.com"}), true, true, false, []error{chatdm.KindUnavailable}},
		{"connection lost", failure(io.ErrUnexpectedEOF), true, false, false, []error{chatdm.KindUnavailable, io.ErrUnexpectedEOF}},
		{"429", answer(429, "", "Retry-After", "1"), true, true, false, []error{chatdm.KindRateLimited, chatdm.ErrRateLimited}},
		{"rate_limited", coded("rate_limited"), true, true, false, []error{chatdm.KindRateLimited, chatdm.ErrRateLimited}},
		{"ratelimited with 200", coded("ratelimited"), true, true, false, []error{chatdm.KindRateLimited, chatdm.ErrRateLimited}},
		{"429 with another code", answer(429, `{"ok":false,"error":"invalid_auth"}`), true, true, false, []error{chatdm.ErrRateLimited}},
		{"500", answer(500, ""), true, false, false, []error{chatdm.KindUnavailable}},
		{"501", answer(501, ""), false, false, true, []error{chatdm.KindUnavailable}},
		{"502", answer(502, "<html>"), true, false, false, []error{chatdm.KindUnavailable}},
		{"503", answer(503, "{}"), true, false, false, []error{chatdm.KindUnavailable}},
		{"504", answer(504, `{"ok":true}`), true, false, false, []error{chatdm.KindUnavailable}},
		{"503 with a code", answer(503, `{"ok":false,"error":"invalid_auth"}`), false, false, false, []error{chatdm.ErrInvalidAuth}},
		{"503 with a new code", answer(503, `{"ok":false,"error":"new"}`), true, false, false, []error{chatdm.Code("new"), chatdm.KindUnknown}},
		{"524 with a new code", answer(524, `{"ok":false,"error":"new"}`), false, false, true, []error{chatdm.Code("new"), chatdm.KindUnknown}},
		{"JSON cut off", cut, true, false, false, []error{chatdm.KindUnexpectedResponse}},
		{"internal_error", coded("internal_error"), true, false, false, []error{chatdm.ErrInternalError, chatdm.KindUnavailable}},
		{"fatal_error", coded("fatal_error"), true, false, false, []error{chatdm.ErrFatalError, chatdm.KindUnavailable}},
		{"service_unavailable", coded("service_unavailable"), true, false, false, []error{chatdm.ErrServiceUnavailable, chatdm.KindUnavailable}},
		{"request_timeout", coded("request_timeout"), true, false, false, []error{chatdm.ErrRequestTimeout, chatdm.KindUnavailable}},
		{"channel_not_found", coded("channel_not_found"), false, false, false, []error{chatdm.ErrChannelNotFound, chatdm.KindNotFound}},
		{"team_added_to_org", coded("team_added_to_org"), false, false, false, []error{chatdm.ErrTeamAddedToOrg, chatdm.KindUnavailable}},
		{"brand_new", coded("brand_new"), false, false, false, []error{chatdm.Code("brand_new"), chatdm.KindUnknown}},
		{"HTML", answer(200, "<html>"), false, false, true, []error{chatdm.KindUnexpectedResponse}},
		{"redirect", answer(302, "", "Location", "https://example.com/"), false, false, false, []error{chatdm.KindUnexpectedResponse}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			check := func(t *testing.T, method string, again bool, do func(context.Context, *chatdm.Client) (any, error)) {
				synctest.Test(t, func(t *testing.T) {
					s := newScript(tt.answer, tt.answer, ok)
					_, err := do(t.Context(), newClient(t, s))
					want := 1
					if again {
						want = 3
						if err != nil {
							t.Errorf("not repeated until it succeeded: %v", err)
						}
					} else {
						wantError(t, err, tt.want...)
					}
					if s.sent() != want {
						t.Errorf("%d requests, want %d", s.sent(), want)
					}

					s = newScript(tt.answer)
					_, err = do(t.Context(), newClient(t, s))
					if want == 3 {
						want = 4
					}
					e := wantError(t, err, tt.want...)
					if e.Attempts != want || s.sent() != want {
						t.Errorf("%d requests, Attempts %d, want %d", s.sent(), e.Attempts, want)
					}
					// The row is of Call; for open it would be repeated, or not be an error that
					// matters twice.
					unknown := !again && method == "call" && (tt.repeated || tt.doubtful)
					if errors.Is(err, chatdm.ErrEffectUnknown) != unknown {
						t.Errorf("ErrEffectUnknown is %t, want %t: %v", !unknown, unknown, err)
					}
				})
			}
			t.Run("open", func(t *testing.T) {
				check(t, "open", tt.repeated, func(ctx context.Context, c *chatdm.Client) (any, error) { return open(ctx, c) })
			})
			t.Run("call", func(t *testing.T) {
				check(t, "call", tt.called, func(ctx context.Context, c *chatdm.Client) (any, error) {
					return c.Call(ctx, "chat.postMessage", nil, nil)
				})
			})
		})
	}
}

// TestHints has every form of a wait that a server may ask for. The call is
// refused once; wait is when it is sent again, 0 where it is not.
func TestHints(t *testing.T) {
	// Fake time begins at midnight UTC of 2000-01-01.
	tests := []struct {
		name       string
		header     []string
		wait       time.Duration
		retryAfter time.Duration
	}{
		{"none", nil, time.Second, 0},
		{"zero", []string{"Retry-After", "0"}, time.Second, 0},
		{"negative", []string{"Retry-After", "-5"}, time.Second, 0},
		{"garbage", []string{"Retry-After", "soon"}, time.Second, 0},
		{"a word that ParseFloat knows", []string{"Retry-After", "Inf"}, time.Second, 0},
		{"two dots", []string{"Retry-After", "1.2.3"}, time.Second, 0},
		{"fraction", []string{"Retry-After", "1.5"}, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{"seconds", []string{"Retry-After", "30"}, 30 * time.Second, 30 * time.Second},
		{"RFC 1123", []string{"Retry-After", "Sat, 01 Jan 2000 00:00:40 GMT"}, 40 * time.Second, 40 * time.Second},
		{"RFC 850", []string{"Retry-After", "Saturday, 01-Jan-00 00:00:40 GMT"}, 40 * time.Second, 40 * time.Second},
		{"asctime", []string{"Retry-After", "Sat Jan  1 00:00:40 2000"}, 40 * time.Second, 40 * time.Second},
		{"the server's clock is an hour ahead",
			[]string{"Retry-After", "Sat, 01 Jan 2000 01:00:40 GMT", "Date", "Sat, 01 Jan 2000 01:00:00 GMT"}, 40 * time.Second, 40 * time.Second},
		{"a date that is past", []string{"Retry-After", "Fri, 31 Dec 1999 23:59:00 GMT"}, time.Second, 0},
		{"reset in milliseconds", []string{"X-RateLimit-Reset", "946684840000"}, 40 * time.Second, 40 * time.Second},
		{"reset that is past", []string{"X-RateLimit-Reset", "946684700000"}, time.Second, 0},
		{"exactly the most", []string{"Retry-After", "60"}, time.Minute, time.Minute},
		{"more than the most", []string{"Retry-After", "61"}, 0, 61 * time.Second},
		{"a year", []string{"Retry-After", "31536000"}, 0, 365 * 24 * time.Hour},
		{"more than a Duration holds", []string{"Retry-After", "9300000000"}, 0, 1<<63 - 1},
		{"more than a float64 holds", []string{"Retry-After", strings.Repeat("9", 400)}, 0, 1<<63 - 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				refusal := answer(429, "", tt.header...)
				s := newScript(refusal, ok)
				_, err := open(t.Context(), newClient(t, s))
				if tt.wait == 0 {
					e := wantError(t, err, chatdm.ErrRateLimited)
					if e.RetryAfter != tt.retryAfter || s.sent() != 1 || time.Since(s.start) != 0 {
						t.Errorf("RetryAfter %v after %d requests, want %v at once", e.RetryAfter, s.sent(), tt.retryAfter)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := s.at[1]; got != tt.wait {
					t.Errorf("sent again after %v, want %v", got, tt.wait)
				}
				_, err = open(t.Context(), newClient(t, newScript(refusal), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1})))
				if tt.name == "none" || len(tt.header) > 0 && tt.header[0] == "Retry-After" && !strings.Contains(tt.header[1], ":") {
					if e := wantError(t, err, chatdm.ErrRateLimited); e.RetryAfter != tt.retryAfter {
						t.Errorf("RetryAfter %v, want %v", e.RetryAfter, tt.retryAfter)
					}
				}
			})
		})
	}
}

func TestBackoff(t *testing.T) {
	policy := chatdm.RetryPolicy{MaxAttempts: 8, BaseWait: time.Second, MaxWait: 10 * time.Second}
	var ceilings []time.Duration
	for n := range 7 {
		ceilings = append(ceilings, min(time.Second<<n, 10*time.Second))
	}
	distinct := map[time.Duration]bool{}
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(answer(503, ""))
			_, err := open(t.Context(), newClient(t, s, chatdm.WithRetry(policy)))
			if e := wantError(t, err, chatdm.KindUnavailable); e.Attempts != 8 {
				t.Errorf("Attempts %d, want 8", e.Attempts)
			}
			for n, ceiling := range ceilings {
				wait := s.at[n+1] - s.at[n]
				if wait < ceiling/2 || wait > ceiling {
					t.Errorf("wait %d is %v, want %v to %v", n+1, wait, ceiling/2, ceiling)
				}
				distinct[wait] = true
			}
		})
	}
	if len(distinct) < 100 {
		t.Errorf("only %d different waits: they are not random", len(distinct))
	}

	t.Run("never below the server's hint", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(answer(503, "", "Retry-After", "20"), ok)
			if _, err := open(t.Context(), newClient(t, s, chatdm.WithRetry(policy))); err != nil {
				t.Fatal(err)
			}
			if s.at[1] != 20*time.Second {
				t.Errorf("sent again after %v, want 20s", s.at[1])
			}
		})
	})
}

// TestContext ends a call's context at each of its stages.
func TestContext(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		s := newScript(ok)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("shutting down"))
		res, err := open(ctx, newClient(t, s))
		e := wantError(t, err, chatdm.KindCanceled, context.Canceled, context.Cause(ctx))
		if res != nil || s.sent() != 0 || e.Attempts != 0 {
			t.Errorf("%d requests, Attempts %d, want none", s.sent(), e.Attempts)
		}
	})
	t.Run("in flight", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(ok.Delay(time.Minute))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := open(ctx, newClient(t, s, chatdm.WithTimeout(0)))
			if e := wantError(t, err, chatdm.KindCanceled, context.DeadlineExceeded); e.Attempts != 1 || e.Code != "" {
				t.Errorf("got %+v, want 1 attempt and no code", e)
			}
			time.Sleep(time.Minute) // the responder's goroutine ends
		})
	})
	t.Run("in flight after a refusal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(coded("internal_error"), ok.Delay(time.Minute))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := open(ctx, newClient(t, s, chatdm.WithTimeout(0)))
			wantError(t, err, chatdm.KindCanceled, context.DeadlineExceeded, chatdm.ErrInternalError)
			time.Sleep(time.Minute)
		})
	})
	t.Run("in the wait after an answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(limited30)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Second, cancel)
			_, err := open(ctx, newClient(t, s))
			e := wantError(t, err, chatdm.KindRateLimited, chatdm.ErrRateLimited, context.Canceled)
			if e.RetryAfter != 30*time.Second || e.StatusCode != 429 || time.Since(s.start) != 10*time.Second || s.sent() != 1 {
				t.Errorf("got %+v after %v and %d requests", e, time.Since(s.start), s.sent())
			}
			if errors.Is(err, chatdm.KindCanceled) {
				t.Error("the server's answer was at hand, yet the kind is KindCanceled")
			}
		})
	})
	t.Run("in the wait after an answer that was cut off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(answer(200, `{"ok"`))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			_, err := open(ctx, newClient(t, s))
			wantError(t, err, chatdm.KindUnexpectedResponse, context.Canceled)
			if text := err.Error(); !strings.Contains(text, "cut off after 5 bytes; context canceled") {
				t.Errorf("text %q", text)
			}
		})
	})
	t.Run("in flight, of a call that is not repeated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(ok.Delay(time.Minute))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := newClient(t, s).Call(ctx, "chat.postMessage", nil, nil)
			if e := wantError(t, err, chatdm.KindCanceled, context.DeadlineExceeded, chatdm.ErrEffectUnknown); e.Attempts != 1 {
				t.Errorf("got %+v, want 1 attempt", e)
			}
			time.Sleep(time.Minute)
		})
	})
	t.Run("in the wait after a lost connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(failure(io.ErrUnexpectedEOF))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			_, err := open(ctx, newClient(t, s))
			wantError(t, err, chatdm.KindCanceled, context.Canceled, io.ErrUnexpectedEOF)
		})
	})
	t.Run("nil", func(t *testing.T) {
		s := newScript(ok)
		client := newClient(t, s)
		var none context.Context
		for method, call := range methods {
			if _, err := call(none, client); !errors.Is(err, chatdm.KindInvalidRequest) {
				t.Errorf("%s: %v, want KindInvalidRequest", method, err)
			}
		}
		for _, err := range client.Conversations.List(none, chatdm.ConversationsListParams{}) {
			wantError(t, err, chatdm.KindInvalidRequest)
		}
		_, err := client.Call(none, "auth.test", nil, nil)
		wantError(t, err, chatdm.KindInvalidRequest)
		if s.sent() != 0 {
			t.Errorf("%d requests were sent", s.sent())
		}
	})
}

func TestListEnds(t *testing.T) {
	page := func(cursor string) httpmock.Responder {
		return answer(200, `{"ok":true,"channels":[{"id":"D1"},null,{"id":7},{"id":"D2"}],"response_metadata":{"next_cursor":"`+cursor+`"}}`)
	}
	collect := func(t *testing.T, ctx context.Context, s *script, each func(n int)) (ids []string, last error) {
		t.Helper()
		for channel, err := range newClient(t, s).Conversations.List(ctx, chatdm.ConversationsListParams{}) {
			if last != nil {
				t.Error("something was yielded after the error")
			}
			if last = err; err != nil {
				if channel != (chatdm.Channel{}) {
					t.Errorf("with the error came %+v", channel)
				}
				continue
			}
			ids = append(ids, channel.ID)
			if each != nil {
				each(len(ids))
			}
		}
		return ids, last
	}
	t.Run("context between two channels", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ids, err := collect(t, ctx, newScript(page("more")), func(n int) {
			if n == 3 {
				cancel()
			}
		})
		wantError(t, err, chatdm.KindCanceled, context.Canceled)
		if diff := cmp.Diff([]string{"D1", "D2", "D1"}, ids); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("error on the second page", func(t *testing.T) {
		ids, err := collect(t, t.Context(), newScript(page("more"), coded("invalid_cursor")), nil)
		wantError(t, err, chatdm.ErrInvalidCursor, chatdm.KindInvalidRequest)
		if len(ids) != 2 {
			t.Errorf("got %v before the error", ids)
		}
	})
	t.Run("the same cursor for ever", func(t *testing.T) {
		s := newScript(page("same"))
		_, err := collect(t, t.Context(), s, nil)
		wantError(t, err, chatdm.KindUnexpectedResponse)
		if s.sent() != 2 {
			t.Errorf("%d requests, want 2", s.sent())
		}
	})
}

// TestSharedPause: one call's refusal holds all the others of its method, and
// they do not leave in one instant when it ends.
func TestSharedPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(limited30, ok)
		client := newClient(t, s)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = open(t.Context(), client) })
		synctest.Wait()
		for range 50 {
			wg.Go(func() {
				if res, err := open(t.Context(), client); err != nil || res.Meta.Attempts != 1 {
					t.Errorf("a call that met the pause: %+v, %v", res, err)
				}
			})
		}
		wg.Go(func() { // another method is not held
			if _, err := client.Conversations.Close(t.Context(), "D1"); err != nil || time.Since(s.start) != 0 {
				t.Errorf("close was held until %v: %v", time.Since(s.start), err)
			}
		})
		wg.Wait()

		opens := slices.DeleteFunc(slices.Clone(s.at), func(d time.Duration) bool { return d == 0 })
		if len(opens) != 51 || opens[0] != 30*time.Second {
			t.Fatalf("%d calls after the pause, the first at %v; want 51 from 30s", len(opens), opens[0])
		}
		slices.Sort(opens)
		for i := 1; i < len(opens); i++ {
			if opens[i] == opens[i-1] {
				t.Fatalf("two calls at %v", opens[i])
			}
		}
		if last := opens[50]; last > 32*time.Second {
			t.Errorf("the last call left at %v", last)
		}
	})
}

// TestPauseIsProlonged: of two refusals at once the longer one counts.
func TestPauseIsProlonged(t *testing.T) {
	for _, hints := range [][2]string{{"10", "30"}, {"30", "10"}} {
		synctest.Test(t, func(t *testing.T) {
			slow := func(hint string) httpmock.Responder {
				return answer(429, "", "Retry-After", hint).Delay(time.Second)
			}
			s := newScript(slow(hints[0]), slow(hints[1]), ok)
			client := newClient(t, s, chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { _, _ = open(t.Context(), client) })
			}
			wg.Wait()
			if _, err := open(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if s.at[2] != 31*time.Second {
				t.Errorf("sent at %v, want 31s", s.at[2])
			}
		})
	}
}

func TestPauseThatMayNotBeWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(answer(429, "", "Retry-After", "3600"), ok)
		client := newClient(t, s)
		_, err := open(t.Context(), client)
		if e := wantError(t, err, chatdm.ErrRateLimited); e.RetryAfter != time.Hour {
			t.Errorf("RetryAfter %v, want an hour", e.RetryAfter)
		}
		time.Sleep(10 * time.Minute)
		res, err := open(t.Context(), client)
		e := wantError(t, err, chatdm.KindRateLimited)
		if res != nil || e.RetryAfter != 50*time.Minute || e.Attempts != 0 || s.sent() != 1 {
			t.Errorf("got %+v after %d requests, want 50m left and nothing sent", e, s.sent())
		}

		// Near its end the pause is waited out, but not past a deadline.
		time.Sleep(49*time.Minute + 30*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = open(ctx, client)
		if e := wantError(t, err, chatdm.KindRateLimited, context.DeadlineExceeded); e.RetryAfter != 30*time.Second {
			t.Errorf("RetryAfter %v, want 30s", e.RetryAfter)
		}
		if _, err := open(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		if s.at[1] != time.Hour {
			t.Errorf("sent at %v, want an hour", s.at[1])
		}
	})
}

// TestLongestPause: no answer keeps a client from ever asking again.
func TestLongestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(answer(429, "", "Retry-After", "9300000000"), ok)
		client := newClient(t, s)
		_, _ = open(t.Context(), client)
		time.Sleep(time.Hour)
		if _, err := open(t.Context(), client); err != nil {
			t.Error(err)
		}
	})
}

// TestPauseForgetsThoseWhoLeave: callers who give up do not push back the turn
// of those who wait.
func TestPauseForgetsThoseWhoLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(limited30, ok)
		client := newClient(t, s, chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))
		_, _ = open(t.Context(), client)
		for range 1000 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := open(ctx, client) // refused for its deadline
			cancel()
			wantError(t, err, chatdm.KindRateLimited)
		}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 1000 {
			wg.Go(func() { _, _ = open(ctx, client) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if _, err := open(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		if s.at[1] != 30*time.Second {
			t.Errorf("sent at %v, want 30s", s.at[1])
		}
	})
}

// limiterFunc is a Limiter of its Wait, and notes what it is told.
type limiterFunc struct {
	wait    func(context.Context, string) error
	mu      sync.Mutex
	limited []string
}

func (l *limiterFunc) Wait(ctx context.Context, key string) error { return l.wait(ctx, key) }

func (l *limiterFunc) Limited(_ context.Context, key string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limited = append(l.limited, key+" "+d.String())
}

func TestLimiter(t *testing.T) {
	t.Run("asked before each attempt and told of each refusal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var keys []string
			l := &limiterFunc{wait: func(_ context.Context, key string) error { keys = append(keys, key); return nil }}
			s := newScript(limited30, answer(429, ""), ok)
			if _, err := open(t.Context(), newClient(t, s, chatdm.WithLimiter(l))); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"slack.conversations.open", "slack.conversations.open", "slack.conversations.open"}, keys); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"slack.conversations.open 30s", "slack.conversations.open 1s"}, l.limited); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	})

	broken := errors.New("connection to the limiter refused")
	tests := []struct {
		name string
		wait func(context.Context, string) error
		want []error
	}{
		{"broken", func(context.Context, string) error { return broken }, []error{chatdm.KindUnavailable, broken}},
		{"says so itself", func(context.Context, string) error { return chatdm.KindRateLimited }, []error{chatdm.KindRateLimited}},
		{"would pass the deadline, as x/time/rate says", func(context.Context, string) error {
			return errors.New("rate: Wait(n=1) would exceed context deadline")
		}, []error{chatdm.KindRateLimited}},
		{"slept to the deadline", func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() },
			[]error{chatdm.KindRateLimited, context.DeadlineExceeded}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(ok)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				_, err := open(ctx, newClient(t, s, chatdm.WithLimiter(&limiterFunc{wait: tt.wait})))
				wantError(t, err, tt.want...)
				if s.sent() != 0 {
					t.Error("the call passed")
				}
			})
		})
	}
	t.Run("how long is its own", func(t *testing.T) {
		l := &limiterFunc{wait: func(context.Context, string) error {
			return &chatdm.Error{Kind: chatdm.KindRateLimited, RetryAfter: 7 * time.Second}
		}}
		_, err := open(t.Context(), newClient(t, newScript(ok), chatdm.WithLimiter(l)))
		if e := wantError(t, err, chatdm.KindRateLimited); e.RetryAfter != 7*time.Second {
			t.Errorf("RetryAfter %v, want 7s", e.RetryAfter)
		}
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := &limiterFunc{wait: func(ctx context.Context, _ string) error { cancel(); return ctx.Err() }}
		_, err := open(ctx, newClient(t, newScript(ok), chatdm.WithLimiter(l)))
		wantError(t, err, chatdm.KindCanceled, context.Canceled)
	})
	t.Run("passes a call whose context it has seen end", func(t *testing.T) {
		s := newScript(ok)
		ctx, cancel := context.WithCancel(t.Context())
		l := &limiterFunc{wait: func(context.Context, string) error { cancel(); return nil }}
		_, err := open(ctx, newClient(t, s, chatdm.WithLimiter(l)))
		wantError(t, err, chatdm.KindCanceled)
		if s.sent() != 0 {
			t.Error("a canceled call was sent")
		}
	})
	t.Run("breaks between two attempts", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			asked := 0
			l := &limiterFunc{wait: func(context.Context, string) error {
				if asked++; asked > 1 {
					return broken
				}
				return nil
			}}
			_, err := open(t.Context(), newClient(t, newScript(coded("internal_error")), chatdm.WithLimiter(l)))
			if e := wantError(t, err, chatdm.KindUnavailable, broken, chatdm.ErrInternalError); e.Attempts != 1 {
				t.Errorf("Attempts %d, want 1", e.Attempts)
			}
		})
	})
	t.Run("a pause begins while it holds the call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(limited30, ok)
			held := make(chan struct{})
			first := true
			l := &limiterFunc{wait: func(context.Context, string) error {
				if first {
					first = false
					<-held
				}
				return nil
			}}
			client := newClient(t, s, chatdm.WithLimiter(l), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := open(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			_, err := open(t.Context(), client)
			wantError(t, err, chatdm.ErrRateLimited)
			close(held)
			wg.Wait()
			if s.at[1] != 30*time.Second {
				t.Errorf("the held call left at %v, want 30s", s.at[1])
			}
		})
	})
}
