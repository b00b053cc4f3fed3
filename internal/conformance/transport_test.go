package conformance_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// counting starts a server that counts its connections: those so far, and the most
// at one time.
func counting(t *testing.T, handler http.HandlerFunc) (server *httptest.Server, total, peak *atomic.Int32) {
	t.Helper()
	var open atomic.Int32
	total, peak = new(atomic.Int32), new(atomic.Int32)
	server = httptest.NewUnstartedServer(handler)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			total.Add(1)
			if n := open.Add(1); n > peak.Load() {
				peak.Store(n)
			}
		case http.StateHijacked, http.StateClosed:
			open.Add(-1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server, total, peak
}

// TestCallersHTTPClient: the client copies it, uses its transport and its jar, and keeps
// its connections open, even after failures.
func TestCallersHTTPClient(t *testing.T) {
	for _, name := range pausing {
		m := methods[name]
		var requests atomic.Int32
		var cookies atomic.Value
		server, conns, _ := counting(t, func(w http.ResponseWriter, r *http.Request) {
			cookies.Store(fmt.Sprintf("%q", r.Header["Cookie"]))
			http.SetCookie(w, &http.Cookie{Name: "d", Value: "crumb"})
			if requests.Add(1)%2 == 0 {
				w.WriteHeader(503)
				return
			}
			write(200, m.success)(w, r)
		})
		jar, _ := cookiejar.New(nil)
		mine := &http.Client{Transport: server.Client().Transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		for _, attempts := range []int{1, 2} {
			call := m.at(t, server.URL, chatdm.WithHTTPClient(mine), chatdm.WithHeader("Cookie", "own=1"), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: attempts, BaseWait: 1}))
			for range 20 {
				_, _ = call(t.Context())
			}
		}
		if conns.Load() != 1 {
			t.Errorf("got %d connections for 40 calls in sequence, want 1", conns.Load())
		}
		if cookies.Load() != `["own=1; d=crumb"]` { // RFC 6265 allows one header
			t.Errorf("got Cookie headers %v, want one with the cookies of the header and the jar", cookies.Load())
		}
		if mine.Transport != server.Client().Transport || mine.Jar != jar || mine.Timeout != 0 || mine.CheckRedirect(nil, nil) != nil {
			t.Error("got a modified http.Client, want the caller's as it was")
		}
	}
}

// TestLateReaderOfTheRequest: a transport may read a request body after it has
// returned. It gets that body, and later attempts and calls send their own.
func TestLateReaderOfTheRequest(t *testing.T) {
	for name, want := range map[string]string{"chatdm.ConversationsService.Open": "users=U1", "rocketchat.IMService.Open": `{"roomId":"r1"}`} {
		m := methods[name]
		var wg sync.WaitGroup
		ended := make(chan struct{})
		requests := 0
		call := m.on(t, roundTripper(func(req *http.Request) (*http.Response, error) {
			read := func(head []byte) {
				rest, err := io.ReadAll(req.Body)
				if got := string(head) + string(rest); got != want || err != nil {
					t.Errorf("%s: got body %q, %v, want %q", name, got, err, want)
				}
			}
			if requests++; requests%2 == 0 {
				read(nil)
				return wiretest.Respond(200, m.success)(req)
			}
			head := make([]byte, 4)
			if _, err := io.ReadFull(req.Body, head); err != nil {
				t.Error(err)
			}
			late := requests%4 == 1
			wg.Go(func() {
				if late {
					<-ended
				}
				read(head)
			})
			return nil, io.ErrUnexpectedEOF
		}), fast)
		for range 8 {
			if _, err := call(t.Context()); err != nil {
				t.Error(err)
			}
		}
		close(ended)
		wg.Wait()
	}
}

// TestStaleConnection: a call succeeds although the server has closed the idle
// connection.
func TestStaleConnection(t *testing.T) {
	for _, m := range methods {
		if !m.idempotent {
			continue
		}
		server := httptest.NewServer(write(200, m.success))
		call := m.at(t, server.URL, through(server.Client().Transport), fast)
		for range 5 {
			if _, err := call(t.Context()); err != nil {
				t.Errorf("%s: got %v, want a success", m.api, err)
			}
			server.CloseClientConnections()
		}
		server.Close()
	}
}

// TestDefaultTransport: all clients without a transport share one, which keeps as
// many idle connections as there were concurrent calls.
func TestDefaultTransport(t *testing.T) {
	const parallel = 16
	m := methods["chatdm.ConversationsService.Open"]
	var gate sync.WaitGroup
	gate.Add(parallel)
	var requests atomic.Int32
	server, conns, _ := counting(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) <= parallel { // hold the first round until all of it is here
			gate.Done()
			gate.Wait()
		}
		write(200, m.success)(w, r)
	})
	for range 5 {
		call := m.at(t, server.URL)
		var wg sync.WaitGroup
		for range parallel {
			wg.Go(func() {
				if _, err := call(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := conns.Load(); n < parallel || n > parallel+2 {
		t.Errorf("got %d connections for 5 rounds of %d calls, want %d", n, parallel, parallel)
	}
}

// TestReplacedDefaultTransport: if a program replaces http.DefaultTransport, the
// client uses the replacement.
func TestReplacedDefaultTransport(t *testing.T) {
	for name, m := range methods {
		s := wiretest.NewScript(wiretest.Respond(200, m.success))
		std := http.DefaultTransport
		http.DefaultTransport = s
		_, err := m.at(t, "https://example.org")(t.Context())
		http.DefaultTransport = std
		if err != nil || s.Sent() != 1 {
			t.Errorf("%s: got %v after %d requests, want a success after 1", name, err, s.Sent())
		}
	}
}

// TestBoundedRead: reading a large response costs no more memory than the limit, and a small
// one less than that.
func TestBoundedRead(t *testing.T) {
	const limit = 1 << 20
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	for _, tt := range []struct {
		name   string
		handle http.HandlerFunc
		most   uint64
	}{
		{"endless", endless, limit + limit/2},
		{"announced", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(64<<20))
			endless(w, r)
		}, limit},
		{"small", write(200, "hello"), 256 << 10},
	} {
		for _, name := range pausing {
			server := httptest.NewServer(tt.handle)
			call := methods[name].at(t, server.URL, through(server.Client().Transport), chatdm.WithMaxResponseBytes(limit))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := call(t.Context())
			runtime.ReadMemStats(&after)
			server.Close()
			wiretest.WantError(t, err, chatdm.KindUnexpectedResponse)
			if n := after.TotalAlloc - before.TotalAlloc; n > tt.most {
				t.Errorf("%s, %s: got %d bytes allocated, want at most %d", name, tt.name, n, tt.most)
			}
		}
	}
	for _, name := range pausing { // a response may be as large as the limit, whether or not the server announces its size
		m := methods[name]
		for _, transport := range []http.RoundTripper{&canned{status: 200, body: m.success}, wiretest.NewScript(wiretest.Respond(200, m.success))} {
			for limit, fits := range map[int]bool{len(m.success): true, len(m.success) - 1: false} {
				if _, err := m.on(t, transport, chatdm.WithMaxResponseBytes(int64(limit)))(t.Context()); (err == nil) != fits {
					t.Errorf("%s: got %v for %d bytes with a limit of %d", name, err, len(m.success), limit)
				}
			}
		}
	}
}
