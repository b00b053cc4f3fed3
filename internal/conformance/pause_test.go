package conformance_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

var limited30 = wiretest.Respond(429, "", "Retry-After", "30")

// TestHints covers every form of the wait that a server may request. A wait of
// 0 means that the call fails immediately.
func TestHints(t *testing.T) {
	const none, most = time.Second, time.Duration(1<<63 - 1)
	text := func(seconds string) string {
		return `{"success":false,"error":"Error, too many requests. Please slow down. You must wait ` + seconds + ` seconds before trying this endpoint again. [error-too-many-requests]"}`
	}
	// Fake time begins at midnight UTC of 2000-01-01.
	tests := []struct {
		name       string
		body       string // of Rocket.Chat; "" for both services
		header     []string
		wait       time.Duration
		retryAfter time.Duration // in the error
	}{
		{"none", "", nil, none, 0},
		{"empty", "", []string{"Retry-After", ""}, none, 0},
		{"zero", "", []string{"Retry-After", "0"}, none, 0},
		{"negative", "", []string{"Retry-After", "-5"}, none, 0},
		{"garbage", "", []string{"Retry-After", "soon"}, none, 0},
		{"word that ParseFloat knows", "", []string{"Retry-After", "Inf"}, none, 0},
		{"two dots", "", []string{"Retry-After", "1.2.3"}, none, 0},
		{"past date", "", []string{"Retry-After", "Fri, 31 Dec 1999 23:59:00 GMT"}, none, 0},
		{"past reset", "", []string{"X-RateLimit-Reset", "946684700000"}, none, 0},
		{"reset out of range", "", []string{"X-RateLimit-Reset", "99999999999999999999"}, none, 0},
		{"seconds", "", []string{"Retry-After", "30"}, 30 * time.Second, 30 * time.Second},
		{"fraction", "", []string{"Retry-After", "1.5"}, 1500 * time.Millisecond, 1500 * time.Millisecond},
		{"RFC 1123", "", []string{"Retry-After", "Sat, 01 Jan 2000 00:00:40 GMT"}, 40 * time.Second, 40 * time.Second},
		{"RFC 850", "", []string{"Retry-After", "Saturday, 01-Jan-00 00:00:40 GMT"}, 40 * time.Second, 40 * time.Second},
		{"asctime", "", []string{"Retry-After", "Sat Jan  1 00:00:40 2000"}, 40 * time.Second, 40 * time.Second},
		{"date by a clock that is an hour ahead", "",
			[]string{"Retry-After", "Sat, 01 Jan 2000 01:00:40 GMT", "Date", "Sat, 01 Jan 2000 01:00:00 GMT"}, 40 * time.Second, 40 * time.Second},
		{"reset in milliseconds", "", []string{"X-RateLimit-Reset", "946684840000"}, 40 * time.Second, 40 * time.Second},
		{"reset by a clock that is an hour ahead", "",
			[]string{"X-RateLimit-Reset", "946688440000", "Date", "Sat, 01 Jan 2000 01:00:00 GMT"}, 40 * time.Second, 40 * time.Second},
		{"exactly the most", "", []string{"Retry-After", "60"}, time.Minute, time.Minute},
		{"more than the most", "", []string{"Retry-After", "61"}, 0, 61 * time.Second},
		{"a year", "", []string{"Retry-After", "31536000"}, 0, 365 * 24 * time.Hour},
		{"just more than a Duration holds", "", []string{"Retry-After", "9223372036.854775807"}, 0, most},
		{"more than a Duration holds", "", []string{"Retry-After", "9300000000"}, 0, most},
		{"more than a float64 holds", "", []string{"Retry-After", strings.Repeat("9", 400)}, 0, most},

		{"text", text("50"), nil, 50 * time.Second, 50 * time.Second},
		{"text, and a past reset", text("50"), []string{"X-RateLimit-Reset", "946684000000"}, 50 * time.Second, 50 * time.Second},
		{"text, and a reset less than a second later", text("50"), []string{"X-RateLimit-Reset", "946684850900"}, 50 * time.Second, 50 * time.Second},
		{"text, and a reset a second later", text("50"), []string{"X-RateLimit-Reset", "946684851000"}, 51 * time.Second, 51 * time.Second},
		{"text of 0 seconds, and a reset", text("0"), []string{"X-RateLimit-Reset", "946684800900"}, 900 * time.Millisecond, 900 * time.Millisecond},
		{"text, and a proxy's Retry-After", text("50"), []string{"Retry-After", "7"}, 7 * time.Second, 7 * time.Second},
		{"text with more than the most", text("61"), nil, 0, 61 * time.Second},
		{"text with more than a Duration holds", text(strings.Repeat("9", 30)), nil, 0, most},
		{"text with more than a float64 holds", text(strings.Repeat("9", 400)), nil, 0, most},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachMethod(t, func(t *testing.T, m method) {
				if tt.body != "" && m.service != "rocketchat" {
					return
				}
				refused := wiretest.Respond(429, tt.body, tt.header...)
				l := &limiterFunc{wait: func(context.Context, string) error { return nil }}
				_, err := m.on(t, wiretest.NewScript(refused), once, chatdm.WithLimiter(l))(t.Context())
				if e := wiretest.WantError(t, err, chatdm.KindRateLimited); e.RetryAfter != tt.retryAfter {
					t.Errorf("got RetryAfter %v, want %v", e.RetryAfter, tt.retryAfter)
				}
				pause := min(max(tt.retryAfter, tt.wait), time.Hour) // no server stops a fleet for years
				if want := m.limiterKey() + " " + pause.String(); !slices.Equal(l.limited, []string{want}) {
					t.Errorf("got Limited for %q, want %q", l.limited, want)
				}
				s := wiretest.NewScript(refused, wiretest.Respond(200, m.success))
				start := time.Now()
				_, err = m.on(t, s)(t.Context())
				switch took := time.Since(start); {
				case tt.wait == 0:
					if wiretest.WantError(t, err, chatdm.KindRateLimited); s.Sent() != 1 || took != 0 {
						t.Errorf("got %d requests in %v, want 1 immediately", s.Sent(), took)
					}
				case err != nil || s.Sent() != 2 || took != tt.wait:
					t.Errorf("got %d requests in %v, %v, want a retry after %v", s.Sent(), took, err, tt.wait)
				}
			})
		})
	}
}

// pausing are two methods to test pauses with: one that is idempotent, and one
// that is not.
var pausing = []string{"chatdm.ConversationsService.Open", "rocketchat.IMService.Delete"}

// once turns retries off.
var once = chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1})

// eachPausing runs a test for each of them in a bubble of fake time.
func eachPausing(t *testing.T, test func(*testing.T, method)) {
	t.Helper()
	for _, name := range pausing {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, methods[name]) })
		})
	}
}

// TestSharedPause: a 429 pauses the method for all calls, for as long as the
// server requests and at most an hour. The backoff of the call that got the 429
// does not count. When the pause ends, the calls resume one after another.
func TestSharedPause(t *testing.T) {
	for _, tt := range []struct {
		hint  []string
		pause time.Duration
	}{
		{[]string{"Retry-After", "3"}, 3 * time.Second},
		{[]string{"Retry-After", "45"}, 45 * time.Second},
		{nil, time.Second},
		{[]string{"Retry-After", "9300000000"}, time.Hour},
	} {
		for _, attempts := range []int{1, 2} {
			eachPausing(t, func(t *testing.T, m method) {
				s := wiretest.NewScript(wiretest.Respond(429, "", tt.hint...), wiretest.Respond(200, m.success))
				call := m.on(t, s, chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: attempts, BaseWait: 20 * time.Minute, MaxWait: 20 * time.Minute, MaxRetryAfter: time.Hour}))
				retried := make(chan error, 1)
				go func() {
					_, err := call(t.Context())
					retried <- err
				}()
				synctest.Wait()
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						res, err := call(t.Context())
						if meta, _ := meta(res); err != nil || meta.Attempts != 1 {
							t.Errorf("got %+v, %v, want 1 attempt after the pause", res, err)
						}
					})
				}
				wg.Wait()
				retries := attempts > 1 && tt.pause < time.Hour // that call is the first in the queue
				if err := <-retried; (err == nil) != retries {
					t.Errorf("got %v from the call that got the 429 in %d attempts", err, attempts)
				}
				for i, at := range s.At[1:51] {
					want := tt.pause + time.Duration(i)*20*time.Millisecond
					if retries {
						want += 20 * time.Millisecond
					}
					if at != want {
						t.Errorf("got request %d at %v, want it at %v", i, at, want)
					}
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		client, err := chatdm.NewClient(secretToken, through(wiretest.NewScript(limited30, wiretest.Respond(200, `{"ok":true}`))), once)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{"U1"}})
		start := time.Now()
		if _, err := client.Conversations.Close(t.Context(), "D1"); err != nil || time.Since(start) != 0 {
			t.Errorf("got %v after %v, want another method not to be paused", err, time.Since(start))
		}
	})
}

// TestConversationPause: a 429 of a call that is limited per conversation pauses only the
// conversation. If another conversation gets a 429 during that pause, the method pauses.
func TestConversationPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wiretest.NewScript(limited30, wiretest.Respond(200, posted), wiretest.Respond(429, "", "Retry-After", "10"), wiretest.Respond(200, posted))
		client, err := chatdm.NewClient(secretToken, through(s), once)
		if err != nil {
			t.Fatal(err)
		}
		post := func(channel string, timeout time.Duration) (time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			start := time.Now()
			_, err := client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{Channel: channel, Text: "hi"})
			return time.Since(start), err
		}
		begin := time.Now()
		_, err = post("D1", time.Hour)
		wiretest.WantError(t, err, chatdm.KindRateLimited)
		if took, err := post("D2", time.Hour); err != nil || took != 0 {
			t.Errorf("another conversation: got %v after %v, want a success immediately", err, took)
		}
		took, err := post("D1", 29*time.Second)
		if e := wiretest.WantError(t, err, chatdm.KindRateLimited, context.DeadlineExceeded); took != 0 || e.RetryAfter != 30*time.Second || !strings.Contains(e.Error(), "the conversation is paused") {
			t.Errorf("the paused conversation: got %v after %v, want RetryAfter 30s immediately", err, took)
		}
		_, err = post("D2", time.Hour)
		wiretest.WantError(t, err, chatdm.KindRateLimited)
		if _, err := client.Call(t.Context(), "chat.postMessage", nil, nil); err != nil || time.Since(begin) != 10*time.Second {
			t.Errorf("after 429s for two conversations: got %v after %v, want the method to pause for 10s", err, time.Since(begin))
		}
		for channel, want := range map[string]time.Duration{"D1": 30 * time.Second, "D3": 10 * time.Second} {
			if _, err := post(channel, time.Hour); err != nil || time.Since(begin) < want {
				t.Errorf("%s: got %v after %v, want a success after %v", channel, err, time.Since(begin), want)
			}
		}
	})
}

// TestPauseIsProlonged: of two pauses the one that ends later counts, also for the
// calls that already wait. They resume right after its end.
func TestPauseIsProlonged(t *testing.T) {
	const waiters = 500
	for _, tt := range []struct {
		hints [2]string
		end   time.Duration
	}{{[2]string{"10", "30"}, 32010 * time.Millisecond}, {[2]string{"30", "10"}, 31 * time.Second}} {
		eachPausing(t, func(t *testing.T, m method) {
			slow := func(hint string, d time.Duration) wiretest.Responder {
				return func(req *http.Request) (*http.Response, error) {
					time.Sleep(d)
					return wiretest.Respond(429, "", "Retry-After", hint)(req)
				}
			}
			s := wiretest.NewScript(slow(tt.hints[0], time.Second), slow(tt.hints[1], 2010*time.Millisecond), wiretest.Respond(200, m.success))
			call := m.on(t, s, once)
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() { _, _ = call(t.Context()) })
				synctest.Wait()
			}
			time.Sleep(1500 * time.Millisecond) // the waiters queue before the second 429
			wait := func(ctx context.Context, n int) {
				for range n {
					wg.Go(func() { _, _ = call(ctx) })
				}
				synctest.Wait()
			}
			wait(t.Context(), waiters-1)
			ctx, cancel := context.WithCancel(t.Context())
			wait(ctx, waiters)
			time.Sleep(time.Second) // after it
			cancel()
			synctest.Wait()
			wait(t.Context(), 1) // takes the place of one that has left
			wg.Wait()
			for i, at := range s.At[2:] {
				if want := tt.end + time.Duration(i)*20*time.Millisecond; at != want {
					t.Fatalf("got request %d at %v, want it at %v", i, at, want)
				}
			}
			if s.Sent() != 2+waiters {
				t.Errorf("got %d requests, want %d", s.Sent(), 2+waiters)
			}
		})
	}
}

// TestPauseThatIsTooLong: a call does not wait for the end of a pause that is
// longer than MaxRetryAfter, or ends after the deadline.
func TestPauseThatIsTooLong(t *testing.T) {
	eachPausing(t, func(t *testing.T, m method) {
		s := wiretest.NewScript(wiretest.Respond(429, "", "Retry-After", "3600"), wiretest.Respond(200, m.success))
		call := m.on(t, s)
		_, err := call(t.Context())
		if e := wiretest.WantError(t, err, chatdm.KindRateLimited); e.RetryAfter != time.Hour {
			t.Errorf("got RetryAfter %v, want 1h", e.RetryAfter)
		}
		time.Sleep(10 * time.Minute)
		res, err := call(t.Context())
		if e := wiretest.WantError(t, err, chatdm.KindRateLimited); res != nil || e.RetryAfter != 50*time.Minute || e.Attempts != 0 || s.Sent() != 1 {
			t.Errorf("got %v after %d requests, want RetryAfter 50m and no further request", err, s.Sent())
		}
		time.Sleep(49*time.Minute + 30*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err = call(ctx)
		if e := wiretest.WantError(t, err, chatdm.KindRateLimited, context.DeadlineExceeded); e.RetryAfter != 30*time.Second {
			t.Errorf("got RetryAfter %v, want 30s", e.RetryAfter)
		}
		if _, err := call(t.Context()); err != nil || s.At[1] != time.Hour {
			t.Errorf("got a request at %v, %v, want it at 1h", s.At[1], err)
		}

		// The call that gets a 429 without a hint reports it, even if the pause of one
		// second is too long.
		call = m.on(t, wiretest.NewScript(wiretest.Respond(429, "")), chatdm.WithRetry(chatdm.RetryPolicy{MaxRetryAfter: time.Second - 1}))
		_, err = call(t.Context())
		if e := wiretest.WantError(t, err, chatdm.KindRateLimited); e.StatusCode != 429 || e.Code.Kind() != chatdm.KindRateLimited || e.Attempts != 1 {
			t.Errorf("got %v, want the error of the 429", err)
		}
	})
}

// TestPauseForgetsThoseWhoLeave: calls that give up do not delay those that wait.
func TestPauseForgetsThoseWhoLeave(t *testing.T) {
	eachPausing(t, func(t *testing.T, m method) {
		s := wiretest.NewScript(limited30, wiretest.Respond(200, m.success))
		call := m.on(t, s, once)
		_, _ = call(t.Context())
		for range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := call(ctx) // fails immediately
			cancel()
			wiretest.WantError(t, err, chatdm.KindRateLimited)
		}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for range 200 {
			wg.Go(func() { _, _ = call(ctx) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		if _, err := call(t.Context()); err != nil || s.At[1] != 30*time.Second {
			t.Errorf("got a request at %v, %v, want it at 30s", s.At[1], err)
		}
	})
}
