package main

import (
	"context"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/bench/internal/report"
	"github.com/chatdm/chatdm/chatdmredis"
)

const openKey = "slack.conversations.open"

// rateLimiter is x/time/rate as a chatdm.Limiter. It does not pause after a 429.
type rateLimiter struct{ *rate.Limiter }

func (l rateLimiter) Wait(ctx context.Context, _ string) error     { return l.Limiter.Wait(ctx) }
func (rateLimiter) Limited(context.Context, string, time.Duration) {}

// limiters allow n calls per second, of which burst may be made at once.
var limiters = map[string]func(n, burst int) chatdm.Limiter{
	nameRate: func(n, burst int) chatdm.Limiter { return rateLimiter{rate.NewLimiter(rate.Limit(n), burst)} },
	nameChatdm: func(n, burst int) chatdm.Limiter {
		return chatdm.NewTierLimiter(chatdm.WithTier(openKey, chatdm.Tier{PerMinute: 60 * n, Burst: burst}))
	},
}

// BenchmarkWait measures a Wait that passes at once.
func BenchmarkWait(b *testing.B) {
	for _, goroutines := range waitGoroutines {
		shuffled(b, opWait(goroutines), named(nameRate, nameChatdm), func(b *testing.B, c contender) {
			const unlimited = 1e9
			l := limiters[c.name](unlimited, unlimited)
			b.ReportAllocs()
			b.SetParallelism(max(1, goroutines/runtime.GOMAXPROCS(0)))
			wait := func() {
				if err := l.Wait(context.Background(), openKey); err != nil {
					b.Error(err)
				}
			}
			if goroutines == 1 {
				for b.Loop() {
					wait()
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					wait()
				}
			})
		})
	}
}

// BenchmarkLimitedCall measures a call in memory whose limiter lets it pass at once.
func BenchmarkLimitedCall(b *testing.B) {
	const goroutines, unlimited = 1000, 1e9
	shuffled(b, opLimitedCall, named(nameNoLimiter, nameRate, nameChatdm), func(b *testing.B, c contender) {
		var options []chatdm.Option
		if c.name != nameNoLimiter {
			options = append(options, chatdm.WithLimiter(limiters[c.name](unlimited, unlimited)))
		}
		client := newChatdm(options...)(base, memory{})
		b.ReportAllocs()
		b.SetParallelism(goroutines / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := client.open(context.Background(), true); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkAdmission measures which part of 1,000 calls per second a limiter admits
// if more goroutines wait all the time.
func BenchmarkAdmission(b *testing.B) {
	const perSecond, length = 1000, time.Second
	shuffled(b, opAdmission, named(nameRate, nameChatdm), func(b *testing.B, c contender) {
		calls := 0
		for b.Loop() {
			calls += admitted(b, limiters[c.name](perSecond, 1), length)
		}
		b.ReportMetric(float64(calls)/float64(b.N)/perSecond/length.Seconds(), unitAdmitted)
	})
}

// admitted returns how many of the calls from 64 goroutines a limiter admits.
func admitted(tb testing.TB, l chatdm.Limiter, length time.Duration) int {
	ctx, cancel := context.WithCancel(tb.Context())
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for {
				err := l.Wait(ctx, openKey)
				if ctx.Err() != nil {
					return
				}
				if err != nil {
					tb.Error(err)
					return
				}
				calls.Add(1)
			}
		})
	}
	time.Sleep(length)
	n := calls.Load()
	cancel()
	wg.Wait()
	return int(n)
}

// BenchmarkRedis measures the calls that chatdmredis lets pass at once, and the empty
// script that Redis can run in the same time.
func BenchmarkRedis(b *testing.B) {
	rdb := startRedis(b)
	// The pool of the client has a connection for each goroutine.
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: rdb.Socket, PoolSize: 64})
	defer client.Close()
	script := redis.NewScript("return 0")
	n := 0
	for _, goroutines := range redisGoroutines {
		shuffled(b, opRedis(goroutines), named(nameScript, nameRedis), func(b *testing.B, c contender) {
			call := func(ctx context.Context) error { return script.Run(ctx, client, nil).Err() }
			if c.name == nameRedis {
				n++
				l, err := chatdmredis.NewLimiter(client, strconv.Itoa(n), chatdmredis.WithTier(openKey, chatdm.Tier{PerMinute: 1e6, Burst: 1e6}))
				if err != nil {
					b.Fatal(err)
				}
				call = func(ctx context.Context) error { return l.Wait(ctx, openKey) }
			}
			storm(b, call, goroutines, 4*goroutines) // open the connections
			before := must(rdb.Load(b.Context()))
			var latencies []time.Duration
			for b.Loop() {
				latencies = append(latencies, storm(b, call, goroutines, 1000)...)
			}
			reportLatencies(b, latencies)
			b.ReportMetric(float64(must(rdb.Load(b.Context())).Scripts-before.Scripts)/float64(len(latencies)), unitScripts)
		})
	}
	shuffled(b, opRedisWaiting, named(nameRedis), func(b *testing.B, _ contender) {
		const perSecond, length = 1000, time.Second
		calls, scripts := 0, 0
		for b.Loop() {
			n++
			l, err := chatdmredis.NewLimiter(client, strconv.Itoa(n), chatdmredis.WithTier(openKey, chatdm.Tier{PerMinute: 60 * perSecond, Burst: 1}))
			if err != nil {
				b.Fatal(err)
			}
			before := must(rdb.Load(b.Context()))
			calls += admitted(b, l, length)
			scripts += must(rdb.Load(b.Context())).Scripts - before.Scripts
		}
		b.ReportMetric(float64(calls)/float64(b.N)/perSecond/length.Seconds(), unitAdmitted)
		b.ReportMetric(float64(scripts)/math.Max(1, float64(calls)), unitScripts)
	})
}

func startRedis(tb testing.TB) *report.Redis {
	if _, err := exec.LookPath("redis-server"); err != nil && os.Getenv("CI") != "true" {
		tb.Skip("redis-server is not installed (on Debian: apt-get install redis-server)")
	}
	rdb, err := report.StartRedis(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(rdb.Stop)
	return rdb
}
