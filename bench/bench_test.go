package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/bench/internal/report"
)

const (
	base   = "https://slack.com/api"
	server = "https://chat.example.org"
)

// operation is what the contenders do in memory.
type operation struct {
	name string
	// call returns one call of a contender, or nil if the contender does not support it.
	call func(contender) func(context.Context) error
	only []string // contenders; nil means all
	rare bool     // the buffers for such a response are not in a pool
	// Every client can make one call, and call returns a function that has that many.
	clients int
}

var (
	careful    = []string{nameFloorTimeout, nameFloorBoth, nameSlackGo, nameChatdm} // without those that differ little
	operations = []operation{
		{name: opOpenFull, call: func(c contender) func(context.Context) error {
			client := c.slack(base, memory{})
			return func(ctx context.Context) error { return client.open(ctx, true) }
		}},
		{name: opOpenShort, call: func(c contender) func(context.Context) error {
			client := c.slack(base, memory{})
			return func(ctx context.Context) error { return client.open(ctx, false) }
		}},
		{name: opClose, call: func(c contender) func(context.Context) error { return c.slack(base, memory{}).close }},
		{name: opPost, call: func(c contender) func(context.Context) error { return c.slack(base, memory{}).post }},
		{name: opList, call: func(c contender) func(context.Context) error { return c.slack(base, memory{}).list }},
		{name: opDisabled, call: failing(&userDisabled)},
		{name: opScope, call: failing(&missingScope), only: careful},
		{name: opBroken, call: failing(&broken), only: careful},
		{name: opLimited, only: careful, clients: 256, call: func(c contender) func(context.Context) error {
			// After a 429, chatdm does not send the next call of the method.
			var clients []slackClient
			for range 256 {
				clients = append(clients, c.withoutRetries(memory{}))
			}
			i := 0
			return func(ctx context.Context) error {
				i++
				return clients[i-1].fail(ctx, &limited)
			}
		}},
		{name: opDelete, call: deleting(false)},
		{name: opDeleteFailed, call: deleting(true), only: careful},
		{name: opNewOptions, call: func(c contender) func(context.Context) error {
			return func(context.Context) error {
				runtime.KeepAlive(c.slack(base, memory{}))
				return nil
			}
		}},
		{name: opHuge, rare: true, call: func(c contender) func(context.Context) error {
			client := c.slack(base, huge)
			return func(ctx context.Context) error {
				// Only slack-go accepts the response.
				if err := client.open(ctx, false); (err == nil) != (c.name == nameSlackGo) {
					return fmt.Errorf("got %w", err)
				}
				return nil
			}
		}},
		{name: opNoJSON, call: receiving(noJSON, false), only: careful, rare: true},
		{name: opTruncated, call: receiving(truncated, false), only: careful, rare: true},
		{name: opMessages, call: receiving(messages, true), only: careful, rare: true},
		{name: opFields, call: receiving(fields, true), only: careful, rare: true},
		{name: opChannels, only: careful, rare: true, call: func(c contender) func(context.Context) error {
			client := c.withoutRetries(channels)
			return func(ctx context.Context) error {
				if client.list(ctx) == nil {
					return errWrong
				}
				return nil
			}
		}},
	}
)

func failing(f *failure) func(contender) func(context.Context) error {
	return func(c contender) func(context.Context) error {
		client := c.withoutRetries(memory{})
		return func(ctx context.Context) error { return client.fail(ctx, f) }
	}
}

func deleting(fails bool) func(contender) func(context.Context) error {
	return func(c contender) func(context.Context) error {
		if c.rocket == nil {
			return nil
		}
		remove := c.rocket(server, memory{})
		return func(ctx context.Context) error { return remove(ctx, fails) }
	}
}

// receiving opens a conversation. The response is long, and a success only if ok.
func receiving(b body, ok bool) func(contender) func(context.Context) error {
	return func(c contender) func(context.Context) error {
		client := c.withoutRetries(b)
		return func(ctx context.Context) error {
			if err := client.open(ctx, false); (err == nil) != ok {
				return fmt.Errorf("got %w", err)
			}
			return nil
		}
	}
}

// creators make clients without options.
var creators = map[string]func() any{
	nameFloor:   func() any { return contenders[0].slack(base, nil) },
	nameSlackGo: func() any { return slack.New(slackToken) },
	nameChatdm:  func() any { return must(chatdm.NewClient(slackToken)) },
	nameWithToken: func() any {
		return must(shared.WithToken(slackToken))
	},
}

var shared = must(chatdm.NewClient(slackToken))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // of constants
	}
	return v
}

// named returns contenders that only have a name.
func named(names ...string) []contender {
	var all []contender
	for _, name := range names {
		all = append(all, contender{name: name})
	}
	return all
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
			if op.only != nil && !slices.Contains(op.only, c.name) {
				b.SkipNow()
			}
			call := op.call(c)
			if call == nil {
				b.SkipNow()
			}
			if err := call(b.Context()); err != nil { // the first call fills caches
				b.Fatal(err)
			}
			runtime.GC() // do not collect the garbage of another contender
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				if op.rare || op.clients > 0 && i%op.clients == 0 {
					b.StopTimer()
					if op.rare {
						report.Settled()
					} else {
						call = op.call(c)
					}
					b.StartTimer()
				}
				if err := call(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkNew creates clients, and measures what each of them retains.
func BenchmarkNew(b *testing.B) {
	shuffled(b, opNew, named(slices.Sorted(maps.Keys(creators))...), func(b *testing.B, c contender) {
		create := creators[c.name]
		retained := report.Retained(1000, func(int) any { return create() })
		b.ReportAllocs()
		for b.Loop() {
			runtime.KeepAlive(create())
		}
		b.ReportMetric(retained, unitRetained)
	})
}

// BenchmarkInFlight measures the memory that a call holds while it waits for the
// response.
func BenchmarkInFlight(b *testing.B) {
	const calls = 2000
	for _, op := range []string{opHeader, opBody} {
		shuffled(b, op, contenders, func(b *testing.B, c contender) {
			hold := func(inBody bool) (heap, stack float64) {
				s := &stalled{inBody, make(chan struct{})}
				client := c.slack(base, s)
				heap, stack, err := report.Hold(calls, report.Waiting(calls), func() error { return client.open(context.Background(), true) }, func() { close(s.resume) })
				if err != nil {
					b.Fatal(err)
				}
				return heap, stack
			}
			var heap, stack, header float64
			for b.Loop() {
				if op == opBody {
					h, _ := hold(false)
					header += h
				}
				h, st := hold(op == opBody)
				heap, stack = heap+h, stack+st
			}
			b.ReportMetric(heap/float64(b.N), unitHeap)
			b.ReportMetric(stack/float64(b.N), unitStack)
			b.ReportMetric((heap+stack)/float64(b.N), unitHeld)
			if op == opBody {
				b.ReportMetric((heap-header)/float64(b.N), unitBuffer)
			}
		})
	}
}

// BenchmarkLate measures how long a call takes after its context has ended, if that
// happens when a long response is complete but not decoded yet.
func BenchmarkLate(b *testing.B) {
	shuffled(b, opLate, named(nameUnmarshal, nameChatdm), func(b *testing.B, c contender) {
		var late time.Duration
		for b.Loop() {
			report.Settled()
			l := &ending{}
			if c.name == nameUnmarshal {
				resp := must(l.RoundTrip(must(http.NewRequest(http.MethodPost, base, http.NoBody))))
				text := must(io.ReadAll(resp.Body))
				l.at = time.Now()
				if err := json.Unmarshal(text, new(opened)); err != nil {
					b.Fatal(err)
				}
			} else {
				var ctx context.Context
				ctx, l.end = context.WithCancel(b.Context())
				_ = newChatdm()(base, l).open(ctx, false) // it may succeed, because the response is complete
			}
			late += time.Since(l.at)
		}
		b.ReportMetric(float64(late.Nanoseconds())/float64(b.N), "ns/op")
	})
}

// opening returns a call of conversations.open.
func opening(client slackClient) func(context.Context) error {
	return func(ctx context.Context) error { return client.open(ctx, true) }
}

// BenchmarkLoopback makes calls from several goroutines to a server in the same
// process.
func BenchmarkLoopback(b *testing.B) {
	for _, goroutines := range goroutineCounts {
		url, _ := listen(b)
		calls := map[string]func(context.Context) error{}
		for _, c := range networked {
			calls[c.name] = opening(c.slack(url, nil))
			storm(b, calls[c.name], goroutines, 4*goroutines) // open the connections
		}
		shuffled(b, opLoopback(goroutines), networked, func(b *testing.B, c contender) {
			runtime.GC()
			var latencies []time.Duration
			for b.Loop() {
				latencies = append(latencies, storm(b, calls[c.name], goroutines, 2000)...)
			}
			reportLatencies(b, latencies)
		})
	}
}

// BenchmarkConnections counts the connections that a new client opens.
func BenchmarkConnections(b *testing.B) {
	shuffled(b, opConnections, networked, func(b *testing.B, c contender) {
		var opened int64
		for b.Loop() {
			url, connections := listen(b)
			storm(b, opening(c.slack(url, nil)), 64, 2000)
			opened += connections.Load()
		}
		b.ReportMetric(float64(opened)/float64(b.N), unitConnections)
	})
}

// reportLatencies reports the rate of calls and percentiles of how long each took.
func reportLatencies(b *testing.B, latencies []time.Duration) {
	slices.Sort(latencies)
	b.ReportMetric(float64(len(latencies))/b.Elapsed().Seconds(), unitRate)
	b.ReportMetric(float64(latencies[len(latencies)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(latencies[len(latencies)*99/100].Nanoseconds()), "p99-ns")
}

// storm makes calls from several goroutines and returns how long each took.
func storm(tb testing.TB, call func(context.Context) error, goroutines, calls int) []time.Duration {
	latencies := make([]time.Duration, calls)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(calls); i = next.Add(1) - 1 {
				start := time.Now()
				if err := call(tb.Context()); err != nil {
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
			if op.only != nil && !slices.Contains(op.only, c.name) {
				continue
			}
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
	type budget struct{ allocations, bytes uint64 }
	measure := func(name string, most budget, call func(context.Context) error) {
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
		got := budget{(after.Mallocs - before.Mallocs) / runs, (after.TotalAlloc - before.TotalAlloc) / runs}
		t.Logf("%s: %d allocations, %d bytes", name, got.allocations, got.bytes)
		if got.allocations > most.allocations || got.bytes > most.bytes {
			t.Errorf("%s: got %d allocations and %d bytes, want at most %d and %d", name, got.allocations, got.bytes, most.allocations, most.bytes)
		}
	}
	budgets := map[string]budget{
		opOpenFull: {33, 2750}, opClose: {27, 2430}, opPost: {49, 3740}, opDisabled: {29, 2970}, opScope: {33, 3090},
		opDelete: {31, 2800}, opDeleteFailed: {35, 3100},
	}
	for _, op := range operations {
		if most, ok := budgets[op.name]; ok {
			measure(op.name, most, op.call(contenders[len(contenders)-1]))
		}
	}
	for name, most := range map[string]budget{nameChatdm: {8, 820}, nameWithToken: {6, 440}} {
		measure(name, most, func(context.Context) error {
			runtime.KeepAlive(creators[name]())
			return nil
		})
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
	storm(t, opening(newChatdm()(url, transport)), 1, calls)
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
