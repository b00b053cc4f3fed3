//go:build unix

package chatdmredis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

// waitAndDie makes a limiter take a place in the queue that it never gives up, like a
// process that is killed while it waits.
func waitAndDie(t *testing.T, addr, name string, minute time.Duration, opts ...Option) {
	t.Helper()
	client := newClient(addr)
	defer client.Close()
	l := newLimiter(t, client, name, minute, opts...)
	r, err := l.queue(closeKey).ask(context.Background(), nil)
	if err != nil || r.status == statusRefused {
		t.Errorf("got %+v, %v, want a place in the queue", r, err)
	}
}

// If a caller gives up, its place is free at once.
func TestCallersThatGiveUp(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 3 * time.Second
	tier := WithTier(closeKey, chatdm.Tier{PerMinute: 3, Burst: 1})
	rdb := s.client(t)
	passCalls(t, newLimiter(t, rdb, t.Name(), minute, tier), 1)
	start := time.Now()
	for range 100 {
		l := newLimiter(t, rdb, t.Name(), minute, tier)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want context.Canceled", err)
		}
	}
	l := newLimiter(t, rdb, t.Name(), minute, tier)
	passCalls(t, l, 1)
	if got, want := time.Since(start), 1500*time.Millisecond; got > want {
		t.Errorf("time of the next call after 100 callers that gave up: got %v, want at most %v", got, want)
	}
	// The others in the process keep the place.
	other := newLimiter(t, rdb, t.Name(), minute, tier)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = l.Wait(ctx, closeKey) })
	q := l.queue(closeKey)
	await(t, q, func() bool { return q.limit.placed })
	order := make(chan string, 2)
	wg.Go(func() { passCalls(t, l, 1); order <- "l" })
	await(t, q, func() bool { return q.limit.waiting == 2 })
	wg.Go(func() { passCalls(t, other, 1); order <- "other" })
	await(t, other.queue(closeKey), func() bool { return other.queue(closeKey).limit.placed })
	cancel()
	if first := <-order; first != "l" {
		t.Errorf("got the call of %s first, want that of the process that waited longer", first)
	}
	wg.Wait()
}

// After 300 processes that were killed while they waited, the next call passes as soon as
// they have failed to ask again.
func TestDeadProcesses(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 12 * time.Second // a dead process loses its place after 1 s, plus 0.6 s
	l := newLimiter(t, s.client(t), t.Name(), minute)
	passCalls(t, l, 4)
	for range 300 {
		waitAndDie(t, s.addr, t.Name(), minute)
	}
	start := time.Now()
	if e := checkWaitExceedsDeadline(t, newLimiter(t, s.client(t), t.Name(), minute), time.Second); e.RetryAfter < minute {
		t.Errorf("RetryAfter behind 300 processes: got %v, want at least %v", e.RetryAfter, minute)
	}
	passCalls(t, l, 4) // there is one call every 0.6 s
	if got, want := time.Since(start), 4*time.Second; got > want {
		t.Errorf("time of 4 calls after 300 dead processes: got %v, want at most %v", got, want)
	}
}

// Two workers keep at least 90% of the tier although a third one is killed, and restarts,
// once per step of the tier.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const calls, minute, minutes = 60, 6 * time.Second, 2
	opts := WithTier(closeKey, chatdm.Tier{PerMinute: calls})
	for try := 1; ; try++ {
		name := fmt.Sprint(t.Name(), "-", try)
		ctx, cancel := context.WithTimeout(t.Context(), minutes*minute)
		var wg sync.WaitGroup
		var mu sync.Mutex
		passed := 0
		for range 2 {
			l := newLimiter(t, s.client(t), name, minute, opts)
			for range 3 {
				wg.Go(func() {
					for l.Wait(ctx, closeKey) == nil {
						mu.Lock()
						passed++
						mu.Unlock()
					}
				})
			}
		}
		for ctx.Err() == nil {
			waitAndDie(t, s.addr, name, minute, opts)
			time.Sleep(minute / calls)
		}
		wg.Wait()
		cancel()
		t.Logf("got %d of %d calls", passed, minutes*calls)
		if passed >= minutes*calls*9/10 {
			return
		}
		if try == 3 {
			t.Fatalf("calls: got %d, want at least 90%% of %d", passed, minutes*calls)
		}
	}
}

// A pause takes precedence over a call that has passed but whose caller has not got the
// result.
func TestPauseAfterLostResult(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 2 * time.Second
	a, b := newLimiter(t, s.client(t), t.Name(), minute), newLimiter(t, s.client(t), t.Name(), minute)
	for range 3 { // lost results
		if r, err := a.queue(closeKey).ask(t.Context(), nil); err != nil || r.status != statusPass {
			t.Fatalf("got %+v, %v, want a pass", r, err)
		}
	}
	if n := s.client(t).ZCard(t.Context(), a.queue(closeKey).limit.redisKeys[1]).Val(); n != 1 {
		t.Errorf("got %d calls for three lost results of the same call, want 1", n)
	}
	start := time.Now()
	b.Limited(t.Context(), closeKey, minute/2)
	passCalls(t, a, 1)
	if got, want := time.Since(start), minute/2; got < want {
		t.Errorf("wait during a pause: got %v, want at least %v", got, want)
	}
}

// addClock makes the script read the time from a clock that the test can set forward.
func addClock(l *Limiter, key string) {
	l.script = redis.NewScript(strings.Replace(passScript, "local time = redis.call('TIME')",
		"local time = redis.call('TIME'); time[1] = time[1] + (redis.call('GET', '"+key+"') or 0)", 1))
}

// If the clock of Redis jumps forward, the limiters that talked to Redis in the last
// minute stay within the tier.
func TestClockJumpsForward(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const calls, minute = 40, 2 * time.Second
	opts := WithTier(closeKey, chatdm.Tier{PerMinute: calls})
	for _, jump := range []time.Duration{time.Second, 2 * time.Second, 10 * time.Minute} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			rdb := s.client(t)
			clock := "clock {" + t.Name() + "-}"
			var mu sync.Mutex
			var at []time.Time
			ctx, cancel := context.WithTimeout(t.Context(), 5*minute)
			defer cancel()
			var wg sync.WaitGroup
			for range 3 {
				l := newLimiter(t, s.client(t), t.Name(), minute, opts)
				addClock(l, clock)
				for range 3 {
					wg.Go(func() {
						for l.Wait(ctx, closeKey) == nil {
							mu.Lock()
							at = append(at, time.Now())
							mu.Unlock()
						}
					})
				}
			}
			for i := range 3 {
				time.Sleep(minute * 13 / 10)
				if err := rdb.Set(t.Context(), clock, (time.Duration(i+1) * jump).Seconds(), time.Minute).Err(); err != nil {
					t.Error(err)
				}
			}
			wg.Wait()
			checkTier(t, at, calls, minute)
			t.Logf("%d calls in %v", len(at), 5*minute)
			if len(at) < calls*2 {
				t.Errorf("got %d calls in 5 minutes, want at least %d", len(at), calls*2)
			}
		})
	}
}
