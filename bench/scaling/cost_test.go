//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/bench/internal/report"
	"github.com/chatdm/chatdm/chatdmredis"
	"github.com/chatdm/chatdm/chatdmtest"
)

// measureCosts measures the memory of waiting calls, limiters, and keys in Redis,
// and the scripts that a call needs.
func (r *results) measureCosts(ctx context.Context) error {
	rdb, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer rdb.stop()
	r.RedisVersion = rdb.version
	for _, measure := range []func(context.Context, *redisServer) error{r.measureRedis, r.measureLimiters, r.measureWaiting} {
		if err := measure(ctx, rdb); err != nil {
			return err
		}
	}
	return nil
}

// measureRedis sends the first call of many workspaces, and a full minute of calls
// of others.
func (r *results) measureRedis(ctx context.Context, rdb *redisServer) error {
	// fill sends calls for several workspaces, and returns the size of the keys of
	// one workspace and the load on Redis.
	fill := func(workspaces, first int, key string, calls int, opts ...chatdmredis.Option) (bytes float64, l load, err error) {
		before, err := rdb.load(ctx)
		for i := 0; i < workspaces && err == nil; i++ {
			var limiter *chatdmredis.Limiter
			limiter, err = chatdmredis.NewLimiter(rdb.client, workspace(first+i), opts...)
			for n := 0; n < calls && err == nil; n++ {
				err = limiter.Wait(ctx, key)
			}
		}
		if err != nil {
			return 0, load{}, err
		}
		after, err := rdb.load(ctx)
		return float64(after.memory-before.memory) / float64(workspaces),
			load{scripts: after.scripts - before.scripts, spent: after.spent - before.spent}, err
	}
	// Redis allocates memory first, and loads the script.
	if _, _, err := fill(10, 0, closeKey, 1); err != nil {
		return err
	}
	var l load
	var err error
	if r.KeyRest, l, err = fill(r.Many, 1e6, closeKey, 1); err != nil {
		return err
	}
	r.ScriptsPerFreeCall, r.ScriptTime = float64(l.scripts)/float64(r.Many), l.spent/time.Duration(l.scripts)
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
func (r *results) measureLimiters(ctx context.Context, rdb *redisServer) error {
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
		l, err := chatdmredis.NewLimiter(rdb.client, workspace(4e6+i))
		if err != nil {
			failed = errors.Join(failed, err)
			return nil
		}
		both(l)
		return l
	}
	r.TierBytes, r.ClientBytes, r.SharedBytes = each(r.Many, tier), each(r.Many, client), each(r.Many, shared)
	return failed
}

// each returns the size on the heap of each of n things.
func each(n int, newThing func(int) any) float64 {
	all := make([]any, n)
	before := report.Settled()
	for i := range all {
		all[i] = newThing(i)
	}
	after := report.Settled()
	runtime.KeepAlive(all)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n)
}

// measureWaiting measures the memory of goroutines that wait in different ways.
func (r *results) measureWaiting(ctx context.Context, rdb *redisServer) error {
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
		l, err := chatdmredis.NewLimiter(rdb.client, workspace(5e6+i))
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
		// The first ten calls are a burst, and do not wait.
		return report.Hold(r.Many, r.Many-10, func() error {
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

// redisServer is a Redis process on a socket in a temporary directory. It writes
// nothing to disk.
type redisServer struct {
	socket, version string
	client          *redis.Client
	stop            func()
}

func startRedis(ctx context.Context) (*redisServer, error) {
	dir, err := os.MkdirTemp("", "scaling")
	if err != nil {
		return nil, err
	}
	s := &redisServer{socket: filepath.Join(dir, "redis.sock")}
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no",
		"--dir", dir, "--logfile", filepath.Join(dir, "log"), "--daemonize", "no")
	if err := cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	s.client = redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket})
	s.stop = func() {
		s.client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		info, err := s.client.InfoMap(ctx, "server").Result()
		if err == nil {
			s.version = info["Server"]["redis_version"]
			return s, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("redis-server does not respond: %w", err)
		}
	}
}

// load is the work of a Redis process so far.
type load struct {
	scripts int
	spent   time.Duration // processor time
	memory  int
}

func (s *redisServer) load(ctx context.Context) (load, error) {
	info, err := s.client.InfoMap(ctx, "commandstats", "memory", "cpu").Result()
	if err != nil {
		return load{}, err
	}
	var l load
	for name, value := range info["Commandstats"] {
		if strings.HasPrefix(name, "cmdstat_eval") { // eval, and evalsha
			var n int
			if _, err := fmt.Sscanf(value, "calls=%d", &n); err != nil {
				return load{}, fmt.Errorf("%s:%s: %w", name, value, err)
			}
			l.scripts += n
		}
	}
	var user, system float64
	_, err = fmt.Sscan(info["Memory"]["used_memory"]+" "+info["CPU"]["used_cpu_user"]+" "+info["CPU"]["used_cpu_sys"], &l.memory, &user, &system)
	l.spent = time.Duration((user + system) * float64(time.Second))
	return l, err
}
