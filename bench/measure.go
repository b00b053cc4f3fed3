package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatdm/chatdm/bench/internal/report"
)

// entry is one contender's way through an operation.
type entry struct {
	name string
	run  func() error
}

// operation is what all entries do.
type operation struct {
	name    string
	entries []entry
}

const (
	opOpenShort = "conversations.open, short answer"
	opOpenFull  = "conversations.open, whole channel"
	opClose     = "conversations.close"
	opRefused   = "an error answer"
	opList      = "conversations.list, 1,000 channels in 5 pages"
	opDelete    = "Rocket.Chat im.delete"
	opConstruct = "making a client"
)

// operations are those through the in-memory transport.
func operations() []operation {
	const base, server = "https://slack.com/api", "https://chat.example.org"
	ctx := context.Background()
	ops := []operation{{name: opOpenFull}, {name: opOpenShort}, {name: opClose}, {name: opRefused}, {name: opList}, {name: opDelete}, {name: opConstruct}}
	byName := map[string]*operation{}
	for i := range ops {
		byName[ops[i].name] = &ops[i]
	}
	add := func(op, contender string, run func() error) {
		o := byName[op]
		o.entries = append(o.entries, entry{contender, run})
	}
	for _, c := range contenders {
		client := c.new(base, memory{})
		add(opOpenShort, c.name, func() error { return client.open(ctx, false) })
		add(opOpenFull, c.name, func() error { return client.open(ctx, true) })
		add(opClose, c.name, func() error { return client.close(ctx) })
		add(opRefused, c.name, func() error { return client.refused(ctx) })
		add(opList, c.name, func() error { return client.list(ctx) })
		if c.name == nameFloor || c.name == nameRetryable || c.name == nameSlackGo || c.name == nameChatdm {
			add(opConstruct, c.name, func() error {
				runtime.KeepAlive(c.new(base, memory{}))
				return nil
			})
		}
	}
	for _, c := range rocketContenders {
		del := c.new(server, memory{})
		add(opDelete, c.name, func() error { return del(ctx) })
	}
	return ops
}

// cost is what one call takes.
type cost struct {
	name           string
	min, median    float64 // nanoseconds
	bytes, mallocs float64 // medians of the rounds

	ns []float64 // by round
}

// table is what an operation costs each contender.
type table struct {
	Name string
	rows []cost
}

func (t *table) row(name string) *cost {
	return find(t.rows, func(c cost) bool { return c.name == name })
}

func find[T any](rows []T, match func(T) bool) *T {
	if i := slices.IndexFunc(rows, match); i >= 0 {
		return &rows[i]
	}
	return nil
}

// order is that of the entries in a round: another in each, as what ran before
// can help or harm, and the same in each run.
func order(round, entries int) []int {
	return rand.New(rand.NewPCG(0, uint64(round))).Perm(entries)
}

// measure runs an operation: in every round each entry the same number of
// times.
func measure(op operation, rounds int, batch time.Duration) (table, error) {
	n, err := calibrate(op.entries[0].run, batch)
	if err != nil {
		return table{}, fmt.Errorf("%s: %s: %w", op.name, op.entries[0].name, err)
	}
	type samples struct{ ns, bytes, mallocs []float64 }
	all := make([]samples, len(op.entries))
	for round := range rounds {
		for _, i := range order(round, len(op.entries)) {
			e, s := op.entries[i], &all[i]
			ns, bytes, mallocs, err := batchOf(e.run, n)
			if err != nil {
				return table{}, fmt.Errorf("%s: %s: %w", op.name, e.name, err)
			}
			s.ns, s.bytes, s.mallocs = append(s.ns, ns), append(s.bytes, bytes), append(s.mallocs, mallocs)
		}
	}
	t := table{Name: op.name}
	for i, e := range op.entries {
		s := all[i]
		t.rows = append(t.rows, cost{
			name: e.name, ns: s.ns, min: slices.Min(s.ns), median: median(s.ns),
			bytes: median(s.bytes), mallocs: median(s.mallocs),
		})
	}
	return t, nil
}

// calibrate finds how often run fits into a batch.
func calibrate(run func() error, batch time.Duration) (int, error) {
	for n := 1; ; n *= 2 {
		start := time.Now()
		for range n {
			if err := run(); err != nil {
				return 0, err
			}
		}
		if took := time.Since(start); took > batch/4 {
			return max(1, int(float64(n)*float64(batch)/float64(took))), nil
		}
	}
}

// batchOf runs n calls and returns what one of them took.
func batchOf(run func() error, n int) (ns, bytes, mallocs float64, err error) {
	runtime.GC() // what the one before has left behind is not for this one to collect
	if err := run(); err != nil {
		return 0, 0, 0, err // the collection has emptied the pools; they are not what is measured
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	for range n {
		if err := run(); err != nil {
			return 0, 0, 0, err
		}
	}
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	per := func(total uint64) float64 { return float64(total) / float64(n) }
	return float64(took.Nanoseconds()) / float64(n), per(after.TotalAlloc - before.TotalAlloc), per(after.Mallocs - before.Mallocs), nil
}

func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// interval is where the median of all possible rounds lies, with a confidence
// of some 95 percent: between two of the values, by the binomial distribution.
func interval(values []float64) (low, high float64) {
	s := slices.Sorted(slices.Values(values))
	n := float64(len(s))
	i := max(0, int(n/2-0.98*math.Sqrt(n)))
	return s[i], s[len(s)-1-i]
}

// ratios are a ÷ b, round by round: what slows a whole round down, another
// program for example, is in neither.
func ratios(a, b []float64) []float64 {
	all := make([]float64, len(a))
	for i := range a {
		all[i] = a[i] / b[i]
	}
	return all
}

// Over loopback.

// server is the same server on a real socket, with a count of the connections
// that were opened to it.
type server struct {
	http        http.Server
	url         string
	connections atomic.Int64
}

func listen() (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + l.Addr().String()}
	s.http.Handler = memory{}
	s.http.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	go s.http.Serve(l)
	return s, nil
}

// networked are the contenders over loopback, each with connections of its own.
var networked = []struct {
	name string
	new  func(base string) slackClient
}{
	{nameFloor, func(base string) slackClient { return handWrittenSlack(false, 0)(base, newPool()) }},
	{nameFloorTimeout, func(base string) slackClient { return handWrittenSlack(false, timeout)(base, newPool()) }},
	{nameRetryable, func(base string) slackClient { return newRetryableSlack(base, nil) }},
	{nameSlackGo, func(base string) slackClient { return newSlackGo(base, nil) }},
	{nameSlackGoPool, func(base string) slackClient { return newSlackGo(base, newPool()) }},
	{nameChatdm, func(base string) slackClient { return newChatdm(base, nil) }},
}

const nameSlackGoPool = "slack-go, with a larger pool"

// throughput is conversations.open over loopback by so many goroutines.
type throughput struct {
	Goroutines int
	rows       []rate
}

func (t *throughput) row(name string) *rate {
	return find(t.rows, func(r rate) bool { return r.name == name })
}

type rate struct {
	name     string
	median   float64 // calls a second
	p50, p99 time.Duration

	rounds    []float64 // calls a second
	latencies []time.Duration
}

func overLoopback(goroutines, calls, rounds int) (throughput, error) {
	t := throughput{Goroutines: goroutines, rows: make([]rate, len(networked))}
	clients := make([]slackClient, len(networked))
	s, err := listen()
	if err != nil {
		return t, err
	}
	defer s.http.Close()
	for i, c := range networked {
		t.rows[i].name = c.name
		clients[i] = c.new(s.url)
		if _, _, err := storm(clients[i], goroutines, goroutines*4); err != nil { // the connections
			return t, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	for round := range rounds {
		for _, i := range order(round, len(clients)) {
			took, latencies, err := storm(clients[i], goroutines, calls)
			if err != nil {
				return t, fmt.Errorf("%s: %w", t.rows[i].name, err)
			}
			r := &t.rows[i]
			r.latencies = append(r.latencies, latencies...)
			r.rounds = append(r.rounds, float64(len(latencies))/took.Seconds())
		}
	}
	for i := range t.rows {
		r := &t.rows[i]
		r.median = median(r.rounds)
		slices.Sort(r.latencies)
		r.p50, r.p99 = r.latencies[len(r.latencies)/2], r.latencies[len(r.latencies)*99/100]
		r.latencies = nil
	}
	return t, nil
}

// storm makes so many calls from so many goroutines, which share the work.
func storm(c slackClient, goroutines, calls int) (time.Duration, []time.Duration, error) {
	runtime.GC()
	latencies := make([]time.Duration, calls)
	errs := make([]error, goroutines)
	var next atomic.Int64
	var wg sync.WaitGroup
	ctx := context.Background()
	start := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(calls); i = next.Add(1) - 1 {
				begin := time.Now()
				if err := c.open(ctx, true); err != nil {
					errs[g] = err
					return
				}
				latencies[i] = time.Since(begin)
			}
		})
	}
	wg.Wait()
	return time.Since(start), latencies, cmp.Or(errs...)
}

// connections are what a contender opens from a cold start, and how often it
// writes to one for a call: each time is a system call and a packet.
type connections struct {
	name   string
	opened int64
	writes float64
}

func countConnections(goroutines, calls int) ([]connections, error) {
	var all []connections
	for _, c := range networked {
		s, err := listen()
		if err != nil {
			return nil, err
		}
		_, _, err = storm(c.new(s.url), goroutines, calls)
		s.http.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		writes, err := countWrites(c.name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		all = append(all, connections{c.name, s.connections.Load(), writes})
	}
	return all, nil
}

func countWrites(name string) (float64, error) {
	s, err := listen()
	if err != nil {
		return 0, err
	}
	defer s.http.Close()
	if name == nameSlackGoPool {
		name = nameSlackGo
	}
	var writes atomic.Int64
	transport := newPool()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &countingConn{conn, &writes}, err
	}
	defer transport.CloseIdleConnections()
	client := find(contenders, func(c contender) bool { return c.name == name }).new(s.url, transport)
	const calls = 100
	for range calls {
		if err := client.open(context.Background(), true); err != nil {
			return 0, err
		}
	}
	return float64(writes.Load()) / calls, nil
}

type countingConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Calls in flight.

// held is what a call that waits for its server holds.
type held struct {
	name         string
	header, body memoryUse // while waiting for the header, and in the middle of the body
}

type memoryUse struct{ heap, stack float64 }

func (u memoryUse) total() float64 { return u.heap + u.stack }

// stalled is the in-memory server, holding every answer back at its header or
// in the middle of its body.
type stalled struct {
	atBody  bool
	arrived *sync.WaitGroup
	resume  chan struct{}
}

func (s *stalled) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := memory{}.RoundTrip(req)
	if s.atBody {
		r := resp.Body.(*response)
		resp.Body = &stalledBody{response: r, stalled: s}
		return resp, err
	}
	s.arrived.Done()
	<-s.resume
	return resp, err
}

type stalledBody struct {
	*response
	stalled *stalled
	begun   bool
	waited  bool
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		return b.response.Read(p[:min(len(p), 100)])
	}
	if !b.waited {
		b.waited = true
		b.stalled.arrived.Done()
		<-b.stalled.resume
	}
	return b.response.Read(p)
}

func inFlight(calls int) ([]held, error) {
	// The first goroutines of a program cost more than the later ones.
	if _, err := hold(func(http.RoundTripper) slackClient { return nil }, calls, false); err != nil {
		return nil, err
	}
	var all []held
	for _, c := range contenders {
		of := func(t http.RoundTripper) slackClient { return c.new("https://slack.com/api", t) }
		h := held{name: c.name}
		var err error
		if h.header, err = hold(of, calls, false); err == nil {
			h.body, err = hold(of, calls, true)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		all = append(all, h)
	}
	return all, nil
}

func hold(of func(http.RoundTripper) slackClient, calls int, atBody bool) (memoryUse, error) {
	var arrived, done sync.WaitGroup
	arrived.Add(calls)
	s := &stalled{atBody: atBody, arrived: &arrived, resume: newGate()}
	c := of(s)
	var failed atomic.Pointer[error]
	before := report.Settled()
	for range calls {
		done.Go(func() {
			if c == nil {
				arrived.Done()
				<-s.resume
			} else if err := c.open(context.Background(), true); err != nil {
				failed.Store(&err)
			}
		})
	}
	arrived.Wait()
	after := report.Settled()
	close(s.resume)
	done.Wait()
	if err := failed.Load(); err != nil {
		return memoryUse{}, *err
	}
	per := func(after, before uint64) float64 { return (float64(after) - float64(before)) / float64(calls) }
	return memoryUse{heap: per(after.HeapAlloc, before.HeapAlloc), stack: per(after.StackInuse, before.StackInuse)}, nil
}

func newGate() chan struct{} { return make(chan struct{}) }

// A huge answer.

var hugeSize = 64 << 20

// huge answers with one valid JSON object of 64 MiB. It does not announce the
// length, as a server that compresses its answers does not either.
type huge struct{}

const (
	hugeHead = `{"ok":true,"channel":{"id":"D069C7QFK","name":"`
	hugeTail = `"}}`
)

type hugeBody struct{ at int }

func (huge) RoundTrip(req *http.Request) (*http.Response, error) {
	receive(req.URL.Path, req.Body)
	req.Body.Close()
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Header: slackHeader, Body: new(hugeBody), ContentLength: -1, Request: req,
	}, nil
}

func (b *hugeBody) Read(p []byte) (int, error) {
	if b.at == 0 {
		b.at = copy(p, hugeHead)
		return b.at, nil
	}
	if left := hugeSize - len(hugeTail) - b.at; left > 0 {
		p = p[:min(left, len(p))]
		for i := range p {
			p[i] = 'x'
		}
		b.at += len(p)
		return len(p), nil
	}
	n := copy(p, hugeTail[b.at-(hugeSize-len(hugeTail)):])
	if b.at += n; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (*hugeBody) Close() error { return nil }

// big is what a huge answer costs.
type big struct {
	name      string
	allocated uint64
	took      time.Duration
	outcome   string
}

func hugeAnswers() []big {
	var all []big
	for _, c := range contenders {
		if c.name == nameFloorTimeout || c.name == nameFloorBoth || c.name == nameUntimed {
			continue // a timeout changes nothing here
		}
		client := c.new("https://slack.com/api", huge{})
		before := report.Settled()
		start := time.Now()
		err := client.open(context.Background(), false)
		b := big{name: c.name, took: time.Since(start), outcome: "decoded"}
		var after runtime.MemStats
		runtime.ReadMemStats(&after)
		if b.allocated = after.TotalAlloc - before.TotalAlloc; err != nil {
			for cause := err; cause != nil; cause = errors.Unwrap(cause) {
				b.outcome = "error: " + cause.Error() // the innermost
			}
		}
		all = append(all, b)
	}
	return all
}
