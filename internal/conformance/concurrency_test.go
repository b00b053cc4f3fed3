package conformance_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// swarm makes calls from many goroutines at once, and checks that each call gets its
// own response.
func swarm(t *testing.T, goroutines, calls int, opts ...chatdm.Option) {
	t.Helper()
	client, err := chatdm.NewClient(secretToken, opts...)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for j := range calls {
				user := fmt.Sprintf("U%d-%d", i, j)
				res, err := client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{user}})
				if err != nil || res.Channel.ID != "D-"+user {
					t.Errorf("%s: got %+v, %v, want its own channel", user, res, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestConcurrentCalls: hundreds of calls on one client and real sockets, with a server that
// fails at random. The connections grow with the concurrency, not with the calls.
func TestConcurrentCalls(t *testing.T) {
	const goroutines, calls = 50, 10
	server, _, peak := counting(t, func(w http.ResponseWriter, r *http.Request) {
		switch user := r.FormValue("users"); rand.IntN(10) {
		case 0:
			w.WriteHeader(503)
		case 1:
			fmt.Fprint(w, `{"ok":false,"error":"internal_error"}`)
		case 2:
			hijack("")(w, r)
		default:
			fmt.Fprintf(w, `{"ok":true,"channel":{"id":"D-%s"}}`, user)
		}
	})
	swarm(t, goroutines, calls, chatdm.WithBaseURL(server.URL), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 50, BaseWait: 1}))
	// net/http dials if no connection is idle, even if one is by the time that the dial
	// has finished. So there are some more connections than goroutines.
	if n := peak.Load(); n > goroutines*3 {
		t.Errorf("got %d connections for %d goroutines, want at most %d", n, goroutines, goroutines*3)
	}
}

// window is a server that allows so many calls in a fixed window, takes a while
// for each, and fails at random.
type window struct {
	calls            int
	length, latency  time.Duration
	mu               sync.Mutex
	end              time.Time
	used, rejections int
	arrivals         []time.Time
}

func (w *window) RoundTrip(req *http.Request) (*http.Response, error) {
	_, body, _ := strings.Cut(wiretest.Dump(req), "\n\n")
	values, _ := url.ParseQuery(body)

	w.mu.Lock()
	now := time.Now()
	w.arrivals = append(w.arrivals, now)
	if !now.Before(w.end) {
		w.end, w.used = now.Add(w.length), 0
	}
	w.used++
	left := w.end.Sub(now)
	over := w.used > w.calls
	if over {
		w.rejections++
	}
	w.mu.Unlock()

	time.Sleep(w.latency/2 + rand.N(w.latency))
	switch {
	case over:
		return wiretest.Respond(429, "", "Retry-After", fmt.Sprint(int((left+time.Second-1)/time.Second)))(req)
	case rand.IntN(20) == 0:
		return wiretest.Respond(200, `{"ok":false,"error":"internal_error"}`)(req)
	}
	return wiretest.Respond(200, fmt.Sprintf(`{"ok":true,"channel":{"id":"D-%s"}}`, values.Get("users")))(req)
}

// TestNoThunderingHerd: a 429 pauses the method for hundreds of goroutines, which
// resume one after another, so that the server rejects few of them again.
func TestNoThunderingHerd(t *testing.T) {
	const goroutines, calls = 200, 10
	synctest.Test(t, func(t *testing.T) {
		server := &window{calls: 50, length: 30 * time.Second, latency: 50 * time.Millisecond}
		swarm(t, goroutines, calls, through(server), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 100}))

		// The first 200 know of no limit. After that, each window costs the calls that
		// were on their way when the server rejected its first one.
		windows := len(server.arrivals)/server.calls + 1
		if most := goroutines - server.calls + 15*windows; server.rejections > most {
			t.Errorf("got %d of %d requests rejected in %d windows, want at most %d", server.rejections, len(server.arrivals), windows, most)
		}
		together := map[time.Time]int{}
		for _, at := range server.arrivals[goroutines:] {
			if together[at]++; together[at] > 1 {
				t.Errorf("got calls in the same instant, %v after the start, want them one after another", at.Sub(server.arrivals[0]))
			}
		}
	})
}

// TestMemoryInFlight: what a call holds while it waits for its response, with its
// goroutine.
func TestMemoryInFlight(t *testing.T) {
	const calls = 2000
	m := methods["chatdm.ConversationsService.Open"]
	var arrived sync.WaitGroup
	arrived.Add(calls)
	door := make(chan struct{})
	call := m.on(t, roundTripper(func(req *http.Request) (*http.Response, error) {
		arrived.Done()
		<-door
		return wiretest.Respond(200, m.success)(req)
	}))
	held := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := held()
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() {
			if _, err := call(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	arrived.Wait()
	perCall := (held() - before) / calls
	close(door)
	wg.Wait()
	if perCall > 32<<10 {
		t.Errorf("got %d bytes per call in flight, want at most 32 KiB", perCall)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
