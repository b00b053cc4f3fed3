package conformance_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// limiterFunc is a Limiter with this Wait. It records the calls of Limited.
type limiterFunc struct {
	wait    func(context.Context, string) error
	limited []string
}

func (l *limiterFunc) Wait(ctx context.Context, key string) error { return l.wait(ctx, key) }

func (l *limiterFunc) Limited(_ context.Context, key string, d time.Duration) {
	l.limited = append(l.limited, key+" "+d.String())
}

// TestLimiter: the client asks the limiter before each attempt, and tells it of
// each 429.
func TestLimiter(t *testing.T) {
	eachMethod(t, func(t *testing.T, m method) {
		var keys []string
		l := &limiterFunc{wait: func(_ context.Context, key string) error {
			if keys = append(keys, key); len(keys) > 3 {
				return errors.New("asked too often")
			}
			return nil
		}}
		s := wiretest.NewScript(limited30, wiretest.Respond(429, ""), wiretest.Respond(200, m.success))
		if _, err := m.on(t, s, chatdm.WithLimiter(l))(t.Context()); err != nil {
			t.Fatal(err)
		}
		key := m.limiterKey()
		if want := []string{key, key, key}; !slices.Equal(keys, want) {
			t.Errorf("got Wait for %v, want %v", keys, want)
		}
		if want := []string{key + " 30s", key + " 1s"}; !slices.Equal(l.limited, want) {
			t.Errorf("got Limited for %v, want %v", l.limited, want)
		}
	})
}

// TestLimiterFails: what a call returns if its limiter does not let it pass.
func TestLimiterFails(t *testing.T) {
	broken := errors.New("connection to the limiter refused")
	tests := []struct {
		name       string
		wait       func(context.Context, context.CancelFunc) error
		want       []error
		retryAfter time.Duration
	}{
		{"broken", func(context.Context, context.CancelFunc) error { return broken }, []error{chatdm.KindUnavailable, broken}, 0},
		{"returns a kind", func(context.Context, context.CancelFunc) error { return chatdm.KindRateLimited }, []error{chatdm.KindRateLimited}, 0},
		{"returns an Error", func(context.Context, context.CancelFunc) error {
			return &chatdm.Error{Kind: chatdm.KindRateLimited, RetryAfter: 7 * time.Second}
		}, []error{chatdm.KindRateLimited}, 7 * time.Second},
		{"returns the error of x/time/rate", func(context.Context, context.CancelFunc) error {
			return errors.New("rate: Wait(n=1) would exceed context deadline")
		},
			[]error{chatdm.KindRateLimited}, 0},
		{"waits until the deadline", func(ctx context.Context, _ context.CancelFunc) error { <-ctx.Done(); return ctx.Err() },
			[]error{chatdm.KindRateLimited, context.DeadlineExceeded}, 0},
		{"returns the error of a canceled context", func(ctx context.Context, cancel context.CancelFunc) error { cancel(); return ctx.Err() }, []error{chatdm.KindCanceled, context.Canceled}, 0},
		{"ignores a canceled context", func(_ context.Context, cancel context.CancelFunc) error { cancel(); return nil }, []error{chatdm.KindCanceled, context.Canceled}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachPausing(t, func(t *testing.T, m method) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s := wiretest.NewScript(wiretest.Respond(200, m.success))
				_, err := m.on(t, s, chatdm.WithLimiter(&limiterFunc{wait: func(ctx context.Context, _ string) error { return tt.wait(ctx, cancel) }}))(ctx)
				if e := wiretest.WantError(t, err, tt.want...); s.Sent() != 0 || e.Attempts != 0 || e.RetryAfter != tt.retryAfter {
					t.Errorf("got %v after %d requests, want none, and RetryAfter %v", err, s.Sent(), tt.retryAfter)
				}
			})
		})
	}
	t.Run("between two attempts", func(t *testing.T) {
		asked := 0
		l := &limiterFunc{wait: func(context.Context, string) error {
			if asked++; asked > 1 {
				return broken
			}
			return nil
		}}
		_, err := methods[pausing[0]].on(t, wiretest.NewScript(wiretest.Respond(200, `{"ok":false,"error":"internal_error"}`)), chatdm.WithLimiter(l), fast)(t.Context())
		if e := wiretest.WantError(t, err, chatdm.KindUnavailable, broken); e.Attempts != 1 || !strings.Contains(err.Error(), "internal_error") {
			t.Errorf("got %v, want 1 attempt and internal_error in the text", err)
		}
	})
	t.Run("while a pause begins", func(t *testing.T) {
		eachPausing(t, func(t *testing.T, m method) {
			s := wiretest.NewScript(limited30, wiretest.Respond(200, m.success))
			held := make(chan struct{})
			first := true
			call := m.on(t, s, once, chatdm.WithLimiter(&limiterFunc{wait: func(context.Context, string) error {
				if first {
					first = false
					<-held
				}
				return nil
			}}))
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := call(t.Context()); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			_, err := call(t.Context())
			wiretest.WantError(t, err, chatdm.KindRateLimited)
			close(held)
			wg.Wait()
			if s.At[1] != 30*time.Second {
				t.Errorf("got the held request at %v, want it at 30s", s.At[1])
			}
		})
	})
}
