//go:build unix

package chatdmredis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

// A Retry-After in epoch milliseconds, or one that overflows a time.Duration,
// pauses for an hour. It must not let calls pass.
func TestLimitedPausesForAtMostAnHour(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	for i, retryAfter := range []time.Duration{
		time.Hour + 1, 1_700_000_000_000 * time.Millisecond, math.MaxInt64 - 1, math.MaxInt64,
	} {
		name := t.Name() + "-" + strconv.Itoa(i)
		reporter, other := newLimiter(t, s.client(t), name, time.Minute), newLimiter(t, s.client(t), name, time.Minute)
		reporter.Limited(t.Context(), closeKey, retryAfter)
		for range 2 {
			for _, l := range []*Limiter{reporter, other} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				err := l.Wait(ctx, closeKey)
				cancel()
				e, ok := errors.AsType[*chatdm.Error](err)
				if !ok || e.Kind != chatdm.KindRateLimited || e.RetryAfter <= 59*time.Minute || e.RetryAfter > time.Hour {
					t.Errorf("Wait after Limited(%v): got %v, want KindRateLimited with a RetryAfter of about an hour", retryAfter, err)
				}
			}
		}
		// Without a deadline, calls wait: a burst until the pause ends, and the others longer.
		for i := range 8 {
			l := newLimiter(t, s.client(t), name, time.Minute)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
			if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
				t.Errorf("Wait %d without a deadline after Limited(%v): got %v, want context.Canceled", i+1, retryAfter, err)
			}
		}
	}
}

func TestLimitedIgnoresNonPositiveRetryAfter(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	var scripts scriptCounter
	client.AddHook(&scripts)
	l := newLimiter(t, client, t.Name(), time.Minute)
	for _, retryAfter := range []time.Duration{0, -1, math.MinInt64} {
		l.Limited(t.Context(), closeKey, retryAfter)
	}
	if got := scripts.n.Load(); got != 0 {
		t.Errorf("scripts: got %d, want 0", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := l.Wait(ctx, closeKey); err != nil {
		t.Errorf("got %v, want nil", err)
	}
}

// If the hash or the sorted set contains impossible values, the limiter starts over.
// It neither pauses for years nor lets every call pass.
func TestImpossibleStateStartsOver(t *testing.T) {
	t.Parallel()
	const calls, minute = 20, 2 * time.Second
	check := func(name string, corrupt func(client *redis.Client, state, log string)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := sharedServer(t).client(t)
			l := newLimiter(t, client, t.Name(), minute)
			passCalls(t, l, 1)
			corrupt(client, l.queue(closeKey).limit.redisKeys[0], l.queue(closeKey).limit.redisKeys[1])
			ctx, cancel := context.WithTimeout(t.Context(), 2*minute)
			defer cancel()
			start := time.Now()
			for i := range 5 {
				if err := l.Wait(ctx, closeKey); err != nil {
					t.Errorf("call %d: got %v, want nil", i+1, err)
				}
			}
			// The limiter knows that Redis has lost its first call, so there is no burst.
			if took := time.Since(start); took < 4*minute/calls {
				t.Errorf("5 calls took %v, want at least %v", took, 4*minute/calls)
			}
		})
	}
	for _, field := range []string{"tat", "pause", "limited_at", "seen"} {
		for _, value := range []string{"nan", "inf", "-inf", "-1", "1e300", "x"} {
			check(field+" "+value, func(client *redis.Client, state, _ string) {
				client.HSet(t.Context(), state, field, value)
			})
		}
	}
	for _, score := range []float64{math.Inf(1), 1e300} {
		check(fmt.Sprint("score ", score), func(client *redis.Client, _, log string) {
			client.ZAdd(t.Context(), log, redis.Z{Score: score, Member: "x"})
		})
	}
}

func TestScriptRejectsImpossibleArguments(t *testing.T) {
	t.Parallel()
	client := ownServer(t).client(t)
	l := newLimiter(t, client, t.Name(), time.Minute)
	keys := l.queue(closeKey).limit.redisKeys
	run := func(i int, value any) ([]any, error) {
		args := []any{"call", "process", "0", 60e6, 61e6, 5e6, 1e6, 0.8, 300e6, "fresh", -1, "0", 20, 4, "", "0", 0}
		args[i-1] = value
		return l.script.Run(t.Context(), client, keys, args...).Slice()
	}
	for i, values := range map[int][]any{
		4: {0, -1, 1e300}, 5: {0, -1, 1e300}, 6: {0, -1, 1e300}, 7: {-1, 1e300}, 8: {-1, 2}, 9: {0, -1, 1e300}, 11: {-2, 1e300},
		13: {0, -1, 1.1e6, math.MaxInt},
		14: {0, -1, 21, math.MaxInt},
		17: nil,
	} {
		for _, value := range append(values, "nan", "-nan", "", "x") {
			if got, err := run(i, value); err == nil {
				t.Errorf("argument %d is %v: got %v, want an error", i, value, got)
			}
		}
	}
	if n := client.Exists(t.Context(), keys...).Val(); n != 0 {
		t.Errorf("got %d keys after rejected arguments, want 0", n)
	}
	// The Retry-After is bounded instead, so that no pause is lost.
	for _, tt := range []struct {
		retryAfter any
		want       time.Duration
	}{{-1, 0}, {"-inf", 0}, {1e300, time.Hour}, {"inf", time.Hour}, {math.MaxInt64, time.Hour}} {
		client.Del(t.Context(), keys...)
		values, err := run(17, tt.retryAfter)
		if err != nil {
			t.Errorf("Retry-After %v: got %v, want nil", tt.retryAfter, err)
			continue
		}
		if r, err := parseResult(values, 1); err != nil || r.states[0].pause != tt.want || r.wait != tt.want {
			t.Errorf("Retry-After %v: got %+v, %v, want a pause of %v", tt.retryAfter, r, err, tt.want)
		}
	}
}

func TestParseResultRejectsImpossibleValues(t *testing.T) {
	const year = int64(365 * 24 * time.Hour / time.Microsecond)
	valid := []any{int64(2), int64(0), int64(1), int64(0), int64(0), int64(0), int64(0), year, "x", int64(0), int64(0), int64(0), "y"}
	if r, err := parseResult(valid, 2); err != nil || r.status != statusWait || r.states[0].pause != 365*24*time.Hour || r.states[1].generation != "y" {
		t.Fatalf("got %+v, %v, want a wait and a pause of a year", r, err)
	}
	bad := [][]any{nil, {}, valid[:12], valid[:9], append(valid[:13:13], int64(0))}
	for i := range valid {
		for _, value := range []any{
			nil, int64(-1), int64(math.MinInt64), int64(math.MaxInt64),
			1, 0.5, math.NaN(), math.Inf(1), "", true, []any{int64(1)}, errors.New("x"),
		} {
			values := append([]any(nil), valid...)
			values[i] = value
			bad = append(bad, values)
		}
		if _, ok := valid[i].(int64); ok && i != 3 {
			bad = append(bad, append(append(append([]any(nil), valid[:i]...), year+1), valid[i+1:]...))
		}
	}
	bad = append(bad, append(append(append([]any(nil), valid[:2]...), int64(0)), valid[3:]...)) // it waits for no limit
	for _, values := range bad {
		if r, err := parseResult(values, 2); !errors.Is(err, ErrUnavailable) || r.states != nil {
			t.Errorf("%v: got %+v, %v, want ErrUnavailable", values, r, err)
		}
	}
	_, err := parseResult(append([]any{int64(1), int64(-1)}, valid[2:9]...), 1)
	if want := "value 2: got -1, want an integer from 0 to 31536000000000"; !strings.Contains(fmt.Sprint(err), want) {
		t.Errorf("got %v, want an error that contains %q", err, want)
	}
}

// The largest tiers and bursts work.
func TestLargeTiers(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	for _, tier := range []chatdm.Tier{
		{PerMinute: 1_000_000}, {PerMinute: 1_000_000, Burst: math.MaxInt}, {PerMinute: 5, Burst: math.MaxInt},
	} {
		l := newLimiter(t, client, t.Name()+"-"+strconv.Itoa(tier.PerMinute)+strconv.FormatBool(tier.Burst > 0), time.Minute,
			WithTier(closeKey, tier), WithLocalFallback(1))
		passCalls(t, l, 5)
		// Only the window can delay the sixth call.
		if tier.PerMinute == 5 {
			checkWaitExceedsDeadline(t, l, 5*time.Second)
		} else {
			passCalls(t, l, 1)
		}
	}
}
