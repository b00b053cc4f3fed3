//go:build unix

//go:debug x509usefallbackroots=1

package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chatdm/chatdm/bench/internal/report"
)

// BenchmarkTLS makes calls over TLS from several goroutines to a server in another
// process, so it measures the processor time and the memory of the client alone.
func BenchmarkTLS(b *testing.B) {
	server := startServer(b)
	for _, version := range httpVersions {
		for _, name := range []string{opOpenFull, opClose} {
			for _, goroutines := range tlsGoroutines {
				shuffled(b, opTLS(version, name, goroutines), overTLS, func(b *testing.B, c contender) {
					calls := max(2000, 16*goroutines)
					switch {
					case testing.Short():
						calls = goroutines
					case c.name == nameSlackGo && goroutines > 1:
						calls = max(500, 4*goroutines) // a call opens a connection, and takes much longer
					}
					url := server.listen(b, version)
					defer server.do(b, "close", url)
					client := c.slack(url, nil)
					call := client.close
					if name == opOpenFull {
						call = opening(client)
					}
					// Open the connections. The untuned client always opens new ones.
					for before := -1; before != server.count(b, "connections", url) && (before < 0 || c.name != nameSlackGo); {
						before = server.count(b, "connections", url)
						storm(b, call, goroutines, 4*goroutines)
					}
					runtime.GC()
					var latencies []time.Duration
					var before, after runtime.MemStats
					runtime.ReadMemStats(&before)
					start := processorTime(b)
					for b.Loop() {
						latencies = append(latencies, storm(b, call, goroutines, calls)...)
					}
					spent := processorTime(b) - start
					runtime.ReadMemStats(&after)
					n := float64(len(latencies))
					reportLatencies(b, latencies)
					b.ReportMetric(float64(spent.Nanoseconds())/n, "cpu-ns/call")
					b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/n, unitCallBytes)
					b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, unitCallAllocs)
					b.ReportMetric(float64(server.count(b, "connections", url)), unitConnections)
				})
			}
		}
	}
}

// BenchmarkInFlightTLS measures the memory that a call holds while it waits for the
// response, including its connection.
func BenchmarkInFlightTLS(b *testing.B) {
	const calls = 300
	server := startServer(b)
	for _, version := range httpVersions {
		for _, op := range []string{opHeader, opBody} {
			shuffled(b, opHeldTLS(version, op), overTLS, func(b *testing.B, c contender) {
				var held float64
				for b.Loop() {
					url := server.listen(b, version)
					call := opening(c.slack(url, nil))
					storm(b, call, 1, 1) // with HTTP/2, all calls use its connection
					server.do(b, op, url)
					heap, stack, err := report.Hold(calls, func() bool { return server.count(b, "waiting", url) == calls },
						func() error { return call(b.Context()) }, func() { server.do(b, "release", url) })
					if err != nil {
						b.Fatal(err)
					}
					held += heap + stack
					server.do(b, "close", url)
				}
				b.ReportMetric(held/float64(b.N), unitHeld)
			})
		}
	}
}

// processorTime returns the processor time that this process has used.
func processorTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

const serverEnv = "CHATDM_BENCH_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) != "" {
		serve()
		return
	}
	m.Run()
}

// endpoint is memory as a TLS server. It counts its connections and the calls that wait.
type endpoint struct {
	*httptest.Server
	connections, waiting       atomic.Int64
	beforeHeader, beforeTheEnd atomic.Bool   // where calls wait for resume
	resume                     chan struct{} // closed to resume
}

// serve runs endpoints in a process of their own until the standard input ends. It
// prints the URL that controls them.
func serve() {
	var mu sync.Mutex
	endpoints := map[string]*endpoint{}
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		argument := req.FormValue("argument")
		e := endpoints[argument]
		switch req.URL.Path {
		case "/listen":
			e := newEndpoint(argument == httpVersions[1])
			endpoints[e.URL] = e
			fmt.Fprint(w, e.URL)
		case "/connections":
			fmt.Fprint(w, e.connections.Load())
		case "/waiting":
			fmt.Fprint(w, e.waiting.Load())
		case "/" + opHeader:
			e.beforeHeader.Store(true)
		case "/" + opBody:
			e.beforeTheEnd.Store(true)
		case "/release":
			close(e.resume)
		case "/close":
			e.CloseClientConnections()
			e.Close()
			delete(endpoints, argument)
		}
	}))
	fmt.Println(control.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func newEndpoint(http2 bool) *endpoint {
	e := &endpoint{resume: make(chan struct{})}
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if e.beforeHeader.Load() {
			e.wait()
		}
		if e.beforeTheEnd.Load() {
			w = &pausing{w, e}
		}
		memory{}.ServeHTTP(w, req)
	}))
	e.EnableHTTP2 = http2
	e.Config.ErrorLog = log.New(io.Discard, "", 0) // a client may close a connection that it does not need
	e.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			e.connections.Add(1)
		}
	}
	e.StartTLS()
	return e
}

func (e *endpoint) wait() {
	e.waiting.Add(1)
	<-e.resume
}

// pausing waits after the first 100 bytes of the body.
type pausing struct {
	http.ResponseWriter
	endpoint *endpoint
}

func (p *pausing) WriteString(s string) (int, error) {
	_, _ = io.WriteString(p.ResponseWriter, s[:100])
	p.ResponseWriter.(http.Flusher).Flush()
	p.endpoint.wait()
	return io.WriteString(p.ResponseWriter, s[100:])
}

// remote is the process of serve.
type remote struct {
	control string
	client  *http.Client
}

// trust makes this process accept the certificate of httptest, whatever the transport.
var trust = sync.OnceFunc(func() {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	x509.SetFallbackRoots(roots)
})

func startServer(tb testing.TB) *remote {
	trust()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), serverEnv+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatal(err)
	}
	return &remote{strings.TrimSpace(line), &http.Client{Transport: newPool()}}
}

// do sends a command to the process, and returns what it prints.
func (r *remote) do(tb testing.TB, command, argument string) string {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.control+"/"+command+"?argument="+url.QueryEscape(argument), nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func (r *remote) count(tb testing.TB, command, argument string) int {
	n, err := strconv.Atoi(r.do(tb, command, argument))
	if err != nil {
		tb.Fatal(err)
	}
	return n
}

// listen starts a new endpoint, so that no contender uses the connections of another.
func (r *remote) listen(tb testing.TB, version string) string { return r.do(tb, "listen", version) }
