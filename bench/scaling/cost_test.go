//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/bench/internal/report"
	"github.com/chatdm/chatdm/chatdmredis"
	"github.com/chatdm/chatdm/chatdmtest"
)

// measureCosts measures the memory of waiting calls, limiters, and keys in Redis,
// and the scripts that a call needs.
func (r *results) measureCosts(ctx context.Context) error {
	rdb, err := report.StartRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.Stop()
	r.RedisVersion = rdb.Version
	for _, measure := range []func(context.Context, *report.Redis) error{r.measureRedis, r.measureLimiters, r.measureWaiting, r.measureFleet} {
		if err := measure(ctx, rdb); err != nil {
			return err
		}
	}
	return nil
}

// measureRedis sends the first call of many workspaces, and a full minute of calls
// of others.
func (r *results) measureRedis(ctx context.Context, rdb *report.Redis) error {
	// fill sends calls for several workspaces, and returns the size of the keys of
	// one workspace and the load on Redis.
	fill := func(workspaces, first int, key string, calls int, opts ...chatdmredis.Option) (bytes float64, l report.Load, err error) {
		before, err := rdb.Load(ctx)
		for i := 0; i < workspaces && err == nil; i++ {
			var limiter *chatdmredis.Limiter
			limiter, err = chatdmredis.NewLimiter(rdb.Client, workspace(first+i), opts...)
			for n := 0; n < calls && err == nil; n++ {
				err = limiter.Wait(ctx, key)
			}
		}
		if err != nil {
			return 0, report.Load{}, err
		}
		after, err := rdb.Load(ctx)
		return float64(after.Memory-before.Memory) / float64(workspaces),
			report.Load{Scripts: after.Scripts - before.Scripts, Spent: after.Spent - before.Spent}, err
	}
	// Redis allocates memory first, and loads the script.
	if _, _, err := fill(10, 0, closeKey, 1); err != nil {
		return err
	}
	var l report.Load
	var err error
	if r.KeyRest, l, err = fill(r.Many, 1e6, closeKey, 1); err != nil {
		return err
	}
	r.ScriptsPerFreeCall, r.ScriptTime = float64(l.Scripts)/float64(r.Many), l.Spent/time.Duration(l.Scripts)
	all := func(key string, n int) chatdmredis.Option {
		return chatdmredis.WithTier(key, chatdm.Tier{PerMinute: n, Burst: n})
	}
	if r.KeyClose, _, err = fill(r.Many/10, 2e6, closeKey, perMinute, all(closeKey, perMinute)); err != nil {
		return err
	}
	r.KeyOpen, _, err = fill(r.Many/10, 3e6, openKey, perOpen, all(openKey, perOpen))
	return err
}

// measureLimiters creates many limiters and clients, each of which limits closes
// and opens.
func (r *results) measureLimiters(ctx context.Context, rdb *report.Redis) error {
	var failed error
	both := func(l chatdm.Limiter) {
		for _, key := range []string{closeKey, openKey} {
			failed = errors.Join(failed, l.Wait(ctx, key))
		}
	}
	tier := func(int) any {
		l := chatdm.NewTierLimiter()
		both(l)
		return l
	}
	client := func(int) any {
		l := chatdm.NewTierLimiter()
		both(l)
		c, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithLimiter(l))
		failed = errors.Join(failed, err)
		return c
	}
	shared := func(i int) any {
		l, err := chatdmredis.NewLimiter(rdb.Client, workspace(4e6+i))
		if err != nil {
			failed = errors.Join(failed, err)
			return nil
		}
		both(l)
		return l
	}
	r.TierBytes, r.ClientBytes, r.SharedBytes = report.Retained(r.Many, tier), report.Retained(r.Many, client), report.Retained(r.Many, shared)
	return failed
}

// measureWaiting measures the memory of goroutines that wait in different ways.
func (r *results) measureWaiting(ctx context.Context, rdb *report.Redis) error {
	s := chatdmtest.NewSlack()
	defer s.Close()
	limiter := func(l chatdm.Limiter) func(context.Context) error {
		return func(ctx context.Context) error { return l.Wait(ctx, closeKey) }
	}
	call := func(opts ...chatdm.Option) func(context.Context) error {
		one := newChatdm(s.URL, opts...)
		return func(ctx context.Context) error { return one(ctx, "D0") }
	}
	shared := func(i int) *chatdmredis.Limiter {
		l, err := chatdmredis.NewLimiter(rdb.Client, workspace(5e6+i))
		if err != nil {
			panic(err) // of constants
		}
		return l
	}
	paused := call(chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))
	s.Fail("conversations.close", 1, chatdmtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"60"}}})
	if err := paused(ctx); !gaveUp(err) {
		return fmt.Errorf("got %w, want a 429", err)
	}
	nothing := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	hold := func(wait func(context.Context) error) (heap, stack float64, err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// The first ten calls are a burst, and do not wait. On a slow machine, a few more
		// pass before the last one begins.
		return report.Hold(r.Many, report.Waiting(r.Many-60), func() error {
			if err := wait(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, chatdm.ErrChannelNotFound) {
				return err
			}
			return nil
		}, cancel)
	}
	// The first goroutines of a program cost more than the later ones.
	if _, _, err := hold(nothing); err != nil {
		return err
	}
	for _, w := range []struct {
		name string
		wait func(context.Context) error
	}{
		{"a goroutine that waits for its context", nothing},
		{"TierLimiter.Wait", limiter(chatdm.NewTierLimiter())},
		{"chatdmredis's Wait", limiter(shared(0))},
		{"a call, no limiter, during a pause", paused},
		{"a call, TierLimiter", call(chatdm.WithLimiter(chatdm.NewTierLimiter()))},
		{"a call, chatdmredis", call(chatdm.WithLimiter(shared(1)))},
	} {
		heap, stack, err := hold(w.wait)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		r.Held = append(r.Held, heldBytes{w.name, heap, stack})
	}
	return nil
}
