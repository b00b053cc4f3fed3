package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatdm/chatdm/bench/internal/report"
)

const (
	base   = "https://slack.com/api"
	server = "https://chat.example.org"
)

// operations are what the contenders do in memory. Each function returns one call
// of a contender, or nil if the contender does not support the operation.
var operations = []struct {
	name string
	call func(contender) func(context.Context) error
}{
	{opOpenFull, func(c contender) func(context.Context) error {
		client := c.slack(base, memory{})
		return func(ctx context.Context) error { return client.open(ctx, true) }
	}},
	{opOpenShort, func(c contender) func(context.Context) error {
		client := c.slack(base, memory{})
		return func(ctx context.Context) error { return client.open(ctx, false) }
	}},
	{opClose, func(c contender) func(context.Context) error { return c.slack(base, memory{}).close }},
	{opPost, func(c contender) func(context.Context) error { return c.slack(base, memory{}).post }},
	{opRefused, func(c contender) func(context.Context) error { return c.slack(base, memory{}).refused }},
	{opList, func(c contender) func(context.Context) error { return c.slack(base, memory{}).list }},
	{opDelete, func(c contender) func(context.Context) error {
		if c.rocket == nil {
			return nil
		}
		return c.rocket(server, memory{})
	}},
	{opNew, func(c contender) func(context.Context) error {
		return func(context.Context) error {
			runtime.KeepAlive(c.slack(base, memory{}))
			return nil
		}
	}},
	{opHuge, func(c contender) func(context.Context) error {
		client := c.slack(base, huge{})
		return func(ctx context.Context) error {
			// Only slack-go accepts the response.
			if err := client.open(ctx, false); (err == nil) != (c.name == nameSlackGo) {
				return fmt.Errorf("got %w", err)
			}
			return nil
		}
	}},
}

// shuffled runs a benchmark for each contender. The order differs each time,
// because one contender can help or harm the next.
func shuffled(b *testing.B, op string, all []contender, run func(*testing.B, contender)) {
	b.Run("op="+op, func(b *testing.B) {
		for _, i := range rand.Perm(len(all)) {
			b.Run("client="+all[i].name, func(b *testing.B) { run(b, all[i]) })
		}
	})
}

func BenchmarkCall(b *testing.B) {
	for _, op := range operations {
		shuffled(b, op.name, contenders, func(b *testing.B, c contender) {
			call := op.call(c)
			if call == nil {
				b.SkipNow()
			}
			if err := call(b.Context()); err != nil { // the first call fills caches
				b.Fatal(err)
			}
			runtime.GC() // do not collect the garbage of another contender
			b.ReportAllocs()
			for b.Loop() {
				if op.name == opHuge { // such a response is rare, so its buffers are not in a pool
					b.StopTimer()
					report.Settled()
					b.StartTimer()
				}
				if err := call(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkInFlight measures the memory that a call holds while it waits for the
// response.
func BenchmarkInFlight(b *testing.B) {
	const calls = 2000
	for _, op := range []string{opHeader, opBody} {
		shuffled(b, op, contenders, func(b *testing.B, c contender) {
			var heap, stack float64
			for b.Loop() {
				s := &stalled{op == opBody, make(chan struct{})}
				client := c.slack(base, s)
				h, st, err := report.Hold(calls, calls, func() error { return client.open(context.Background(), true) }, func() { close(s.resume) })
				if err != nil {
					b.Fatal(err)
				}
				heap, stack = heap+h, stack+st
			}
			b.ReportMetric(heap/float64(b.N), unitHeap)
			b.ReportMetric(stack/float64(b.N), unitStack)
			b.ReportMetric((heap+stack)/float64(b.N), unitHeld)
		})
	}
}

// BenchmarkLoopback makes calls from several goroutines to a server in the same
// process.
func BenchmarkLoopback(b *testing.B) {
	for _, goroutines := range goroutineCounts {
		url, _ := listen(b)
		clients := map[string]slackClient{}
		for _, c := range networked {
			clients[c.name] = c.slack(url, nil)
			storm(b, clients[c.name], goroutines, 4*goroutines) // open the connections
		}
		shuffled(b, opLoopback(goroutines), networked, func(b *testing.B, c contender) {
			runtime.GC()
			var latencies []time.Duration
			for b.Loop() {
				latencies = append(latencies, storm(b, clients[c.name], goroutines, 2000)...)
			}
			slices.Sort(latencies)
			b.ReportMetric(float64(len(latencies))/b.Elapsed().Seconds(), unitRate)
			b.ReportMetric(float64(latencies[len(latencies)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}

// BenchmarkConnections counts the connections that a new client opens.
func BenchmarkConnections(b *testing.B) {
	shuffled(b, opConnections, networked, func(b *testing.B, c contender) {
		var opened int64
		for b.Loop() {
			url, connections := listen(b)
			storm(b, c.slack(url, nil), 64, 2000)
			opened += connections.Load()
		}
		b.ReportMetric(float64(opened)/float64(b.N), unitConnections)
	})
}

// storm makes calls from several goroutines and returns how long each took.
func storm(tb testing.TB, client slackClient, goroutines, calls int) []time.Duration {
	latencies := make([]time.Duration, calls)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(calls); i = next.Add(1) - 1 {
				start := time.Now()
				if err := client.open(context.Background(), true); err != nil {
					tb.Error(err)
					return
				}
				latencies[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	return latencies
}

// TestContenders checks that each contender understands each response.
func TestContenders(t *testing.T) {
	for _, op := range operations {
		for _, c := range contenders {
			if call := op.call(c); call != nil {
				if err := call(t.Context()); err != nil {
					t.Errorf("%s: %s: %v", op.name, c.name, err)
				}
			}
		}
	}
}

// TestAllocations keeps the most frequent calls from allocating more. A budget is
// what the call needed when the budget was last lowered.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, too")
	}
	budgets := map[string]struct{ allocations, bytes uint64 }{
		opOpenFull: {34, 3029}, opClose: {28, 2699}, opRefused: {30, 3250}, opDelete: {32, 3150},
	}
	for _, op := range operations {
		budget, ok := budgets[op.name]
		if !ok {
			continue
		}
		call := op.call(contenders[len(contenders)-1])
		const runs = 5000
		var before, after runtime.MemStats
		for i := range runs + 100 { // the first calls fill the pools
			if i == 100 {
				runtime.ReadMemStats(&before)
			}
			if err := call(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		allocations, bytes := (after.Mallocs-before.Mallocs)/runs, (after.TotalAlloc-before.TotalAlloc)/runs
		t.Logf("%s: %d allocations, %d bytes", op.name, allocations, bytes)
		if allocations > budget.allocations || bytes > budget.bytes {
			t.Errorf("%s: got %d allocations and %d bytes, want at most %d and %d", op.name, allocations, bytes, budget.allocations, budget.bytes)
		}
	}
}

// TestWrites checks that chatdm sends a request with one write, header and body
// together, as net/http does if it knows that the body is in memory.
func TestWrites(t *testing.T) {
	url, _ := listen(t)
	var writes atomic.Int64
	transport := newPool()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &countingConn{conn, &writes}, err
	}
	defer transport.CloseIdleConnections()
	const calls = 100
	storm(t, newChatdm()(url, transport), 1, calls)
	if got := writes.Load(); got > calls {
		t.Errorf("got %d writes for %d calls, want one for each", got, calls)
	}
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}
