package chatdm_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
)

// TestConcurrentCalls: thousands of calls over one client and real sockets,
// with a server that fails at random. Each call gets its own answer, and the
// connections grow with the concurrency and not with the calls.
func TestConcurrentCalls(t *testing.T) {
	const goroutines, calls = 200, 20
	var open, peak atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			if n := open.Add(1); n > peak.Load() {
				peak.Store(n)
			}
		case http.StateHijacked, http.StateClosed:
			open.Add(-1)
		}
	}
	server.Start()
	defer server.Close()
	client, err := chatdm.NewClient(goldenToken, chatdm.WithBaseURL(server.URL), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 50, BaseWait: 1}))
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
					t.Errorf("%s: %+v, %v", user, res, err)
				}
			}
		})
	}
	wg.Wait()
	// net/http dials when no connection is idle, also where one is by the time
	// the dial is done, so that there are some more than goroutines; a client that
	// did not keep them would open thousands.
	if n := peak.Load(); n > goroutines*3 {
		t.Errorf("%d connections for %d goroutines", n, goroutines)
	}
}

// limited is a server that allows so many calls in a fixed window, takes a
// while for each, fails at random, and notes who came when.
type limited struct {
	calls    int
	window   time.Duration
	latency  time.Duration
	mu       sync.Mutex
	end      time.Time
	used     int
	arrivals []time.Time
	refused  int
}

func (l *limited) RoundTrip(req *http.Request) (*http.Response, error) {
	body, _ := req.GetBody()
	form := make([]byte, req.ContentLength)
	_, _ = body.Read(form)
	values, _ := url.ParseQuery(string(form))

	l.mu.Lock()
	now := time.Now()
	l.arrivals = append(l.arrivals, now)
	if !now.Before(l.end) {
		l.end, l.used = now.Add(l.window), 0
	}
	l.used++
	left := l.end.Sub(now)
	over := l.used > l.calls
	if over {
		l.refused++
	}
	l.mu.Unlock()

	time.Sleep(l.latency/2 + rand.N(l.latency))
	switch {
	case over:
		return answer(429, "", "Retry-After", fmt.Sprint(int((left+time.Second-1)/time.Second)))(req)
	case rand.IntN(20) == 0:
		return coded("internal_error")(req)
	}
	return answer(200, fmt.Sprintf(`{"ok":true,"channel":{"id":"D-%s"}}`, values.Get("users")))(req)
}

// TestNoThunderingHerd: one 429 pauses the method for hundreds of goroutines,
// and at the end of the pause they come one after the other, so that few are
// refused again.
func TestNoThunderingHerd(t *testing.T) {
	const goroutines, calls = 200, 10
	synctest.Test(t, func(t *testing.T) {
		server := &limited{calls: 50, window: 30 * time.Second, latency: 50 * time.Millisecond}
		client := newClient(t, server, chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 100}))
		var wg sync.WaitGroup
		for i := range goroutines {
			wg.Go(func() {
				for j := range calls {
					user := fmt.Sprintf("U%d-%d", i, j)
					res, err := client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{user}})
					if err != nil || res.Channel.ID != "D-"+user {
						t.Errorf("%s: %+v, %v", user, res, err)
					}
				}
			})
		}
		wg.Wait()

		// The first 200 know of no limit yet. From then on a window costs those
		// that were on their way when its first refusal came back.
		windows := len(server.arrivals)/server.calls + 1
		first := goroutines - server.calls
		if most := first + 15*windows; server.refused > most {
			t.Errorf("%d of %d requests were refused in %d windows, want at most %d", server.refused, len(server.arrivals), windows, most)
		}
		t.Logf("%d calls: %d requests, %d refused, %d windows", goroutines*calls, len(server.arrivals), server.refused, windows)
		together := map[time.Time]int{}
		for _, at := range server.arrivals[goroutines:] {
			together[at]++
		}
		for at, n := range together {
			if n > 1 {
				t.Errorf("%d calls came together %v after the start", n, at.Sub(server.arrivals[0]))
			}
		}
	})
}

// waitingRoom is a transport that holds everybody until the door opens.
type waitingRoom struct {
	in   sync.WaitGroup
	door chan struct{}
}

func (w *waitingRoom) RoundTrip(req *http.Request) (*http.Response, error) {
	w.in.Done()
	<-w.door
	return ok(req)
}

// TestMemoryInFlight: what a call holds while it waits for its answer, its
// goroutine included.
func TestMemoryInFlight(t *testing.T) {
	const calls = 2000
	room := &waitingRoom{door: make(chan struct{})}
	room.in.Add(calls)
	client := newClient(t, room)
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
			if _, err := open(t.Context(), client); err != nil {
				t.Error(err)
			}
		})
	}
	room.in.Wait()
	perCall := (held() - before) / calls
	close(room.door)
	wg.Wait()
	t.Logf("%d bytes for a call in flight", perCall)
	if perCall > 32<<10 {
		t.Errorf("%d bytes for a call in flight, want at most 32 KiB", perCall)
	}
}
