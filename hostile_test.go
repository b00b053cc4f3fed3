package chatdm_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jarcoal/httpmock"
	"go.uber.org/goleak"

	"github.com/chatdm/chatdm"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // where net/http remarks on bytes after an answer
	goleak.VerifyTestMain(m)
}

// serve starts a real server and a client of it that tries once.
func serve(t testing.TB, handler http.HandlerFunc, opts ...chatdm.Option) (*chatdm.Client, *httptest.Server) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	opts = append([]chatdm.Option{
		chatdm.WithBaseURL(server.URL), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}),
	}, opts...)
	return newClient(t, server.Client().Transport, opts...), server
}

// hijack answers with these bytes and closes the connection.
func hijack(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.Close()
	}
}

// reset ends the connection with a TCP reset after these bytes.
func reset(raw string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, raw)
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
}

func write(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func bomb(size int) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte(" "), size))
	_ = z.Close()
	return b.String()
}

// TestHostileAnswers: whatever comes back, a typed error and never a panic, a
// hang, or a success that is none.
func TestHostileAnswers(t *testing.T) {
	type want struct {
		kind   chatdm.Kind
		status int
		text   string // in the error's text
	}
	unexpected := func(status int, text string) want { return want{chatdm.KindUnexpectedResponse, status, text} }
	const channelOK = `{"ok":true,"channel":{"id":"D1"}}`
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    want // kind "" where the call succeeds
	}{
		{"HTML with 200", write(200, "<!DOCTYPE html><title>Sign in</title>"), unexpected(200, "<title>Sign in")},
		{"HTML with 404", write(404, "<html>no such page</html>"), unexpected(404, "no such page")},
		{"text with 401", write(401, "Unauthorized"), unexpected(401, "Unauthorized")},
		{"empty", write(200, ""), unexpected(200, "not a JSON object")},
		{"204", write(204, ""), unexpected(204, "not a JSON object")},
		{"JSON null", write(200, "null"), unexpected(200, "not a JSON object")},
		{"JSON array", write(200, `[{"ok":true}]`), unexpected(200, "not a JSON object")},
		{"JSON string", write(200, `"ok"`), unexpected(200, "not a JSON object")},
		{"trailing garbage", write(200, channelOK+"x"), unexpected(200, "invalid character")},
		{"two objects", write(200, channelOK+channelOK), unexpected(200, "invalid character")},
		{"deep nesting", write(200, `{"ok":true,"x":`+strings.Repeat("[", 20000)), unexpected(200, "exceeded max depth")},
		{"truncated JSON", write(200, `{"ok":true,"channel":{"id"`), unexpected(200, "cut off after 26 bytes")},
		{"truncated literal", write(200, `{"ok":tr`), unexpected(200, "cut off")},
		{"empty object", write(200, "{}"), unexpected(200, "neither ok nor an error code")},
		{"ok without a channel", write(200, `{"ok":true}`), unexpected(200, "without a channel")},
		{"ok with a null channel", write(200, `{"ok":true,"channel":null}`), unexpected(200, "without a channel")},
		{"ok with an empty channel", write(200, `{"ok":true,"channel":{}}`), unexpected(200, "without a channel")},
		{"ok with a string for a channel", write(200, `{"ok":true,"channel":"D1"}`), unexpected(200, "without a channel")},
		{"ok with a number for an id", write(200, `{"ok":true,"channel":{"id":1}}`), unexpected(200, "without a channel")},
		{"not ok without a code", write(200, `{"ok":false}`), unexpected(200, "neither ok nor an error code")},
		{"ok is null", write(200, `{"ok":null,"channel":{"id":"D1"}}`), unexpected(200, "neither ok nor an error code")},
		{"ok is a string", write(200, `{"ok":"true","channel":{"id":"D1"}}`), unexpected(200, "neither ok nor an error code")},
		{"ok with status 404", write(404, channelOK), unexpected(404, "neither ok nor an error code")},
		{"a code with status 404", write(404, `{"ok":false,"error":"channel_not_found"}`), want{chatdm.KindNotFound, 404, "channel_not_found"}},
		{"a code without ok", write(200, `{"error":"channel_not_found"}`), want{chatdm.KindNotFound, 200, "channel_not_found"}},
		{"a code that is a number", write(200, `{"ok":false,"error":7}`), unexpected(200, "neither ok nor an error code")},
		{"a code of two lines", write(200, `{"ok":false,"error":"a\nb"}`), want{chatdm.KindUnknown, 200, "a b"}},
		{"a code of a megabyte", write(200, `{"ok":false,"error":"`+strings.Repeat("a", 1<<20)+`"}`), want{chatdm.KindUnknown, 200, "aaa…"}},
		{"scopes of a megabyte", write(200, `{"ok":false,"error":"missing_scope","needed":"`+strings.Repeat("a,", 1<<19)+`"}`, "X-Slack-Req-Id", strings.Repeat("r", 1<<12)),
			want{chatdm.KindPermissionDenied, 200, "a,…; status 200; request rrr"}},
		{"errors as an object", write(200, `{"ok":false,"error":"channel_not_found","errors":{}}`), want{chatdm.KindNotFound, 200, ""}},
		{"errors as an array", write(200, `{"ok":false,"error":"channel_not_found","errors":[{"ok":false}]}`), want{chatdm.KindNotFound, 200, ""}},
		{"an object longer than the limit", write(200, `{"ok":true,"x":"`+strings.Repeat("x", 5<<20)+`"}`), unexpected(200, "larger than the limit of 4194304 bytes")},
		{"gzip bomb", write(200, bomb(64<<20), "Content-Encoding", "gzip"), unexpected(200, "larger than the limit")},
		{"gzip that is none", write(200, channelOK, "Content-Encoding", "gzip"), unexpected(200, "gzip")},
		{"redirect to another host", write(302, "", "Location", "https://evil.example/take?token=1#x"), unexpected(302, "redirected to https://evil.example/take;")},
		{"redirect that repeats the body", write(307, "", "Location", "https://user:pw@evil.example/"), unexpected(307, "redirected to https://evil.example/;")},
		{"redirect to nowhere", write(301, ""), unexpected(301, "redirected to nowhere")},
		{"redirect to no URL", write(308, "", "Location", "http://[::1"), unexpected(308, "redirected to nowhere")},
		{"not modified", write(304, ""), unexpected(304, "redirected to nowhere")},
		{"404 to 429 without a body", write(429, ""), want{chatdm.KindRateLimited, 429, "ratelimited"}},
		{"429 with HTML", write(429, "<html>"), want{chatdm.KindRateLimited, 429, "ratelimited"}},
		{"429 larger than the limit", write(429, strings.Repeat("x", 5<<20)), want{chatdm.KindRateLimited, 429, "ratelimited"}},
		{"500 cut off", hijack("HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\n{"), want{chatdm.KindUnavailable, 500, ""}},
		{"closed before the answer", hijack(""), want{chatdm.KindUnavailable, 0, "EOF"}},
		{"closed in the header", hijack("HTTP/1.1 200 OK\r\nContent-Ty"), want{chatdm.KindUnavailable, 0, "malformed"}},
		{"not HTTP", hijack("SSH-2.0-OpenSSH\r\n"), want{chatdm.KindUnavailable, 0, "malformed"}},
		{"fewer bytes than announced", hijack("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + channelOK), unexpected(200, "unexpected EOF")},
		{"chunks without an end", hijack("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ok\"\r\n"), unexpected(200, "unexpected EOF")},
		{"reset before the answer", reset(""), want{chatdm.KindUnavailable, 0, "reset"}},
		{"reset in the body", reset("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), want{chatdm.KindUnavailable, 200, "reset"}},

		{"no Content-Type", hijack("HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n" + channelOK), want{}},
		{"another Content-Type", write(200, channelOK, "Content-Type", "text/html"), want{}},
		{"white space around", write(200, "\r\n\t "+channelOK+"\n"), want{}},
		{"unknown and null members", write(200, `{"ok":true,"app_home":{},"warning":null,"response_metadata":null,"no_op":null,"channel":{"id":"D1","latest":null,"x":[1]}}`), want{}},
		{"every member of another type", write(200, `{"ok":true,"error":1,"warning":{},"response_metadata":[],"no_op":"yes","already_open":7,"needed":[],
			"channel":{"id":"D1","created":"1","is_im":"x","last_read":1,"latest":"x","unread_count":1.5,"priority":"high","user":{}}}`), want{}},
		{"early hints before the answer", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, channelOK)
		}, want{}},
		{"duplicate members", write(200, `{"ok":false,"ok":true,"channel":{"id":"D0"},"channel":{"id":"D1"}}`), want{}},
		{"invalid UTF-8", write(200, "{\"ok\":true,\"channel\":{\"id\":\"D1\",\"name\":\"\xff\"}}"), want{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			client, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				tt.handler(w, r)
			})
			res, err := open(t.Context(), client)
			if requests.Load() != 1 {
				t.Errorf("%d requests, want 1", requests.Load())
			}
			if tt.want.kind == "" {
				if err != nil {
					t.Fatal(err)
				}
				if res.Channel.ID != "D1" || res.NoOp || res.AlreadyOpen {
					t.Errorf("got %+v", res)
				}
				return
			}
			e := wantError(t, err, tt.want.kind)
			if res != nil || e.StatusCode != tt.want.status || e.Attempts != 1 || e.Method != "conversations.open" {
				t.Errorf("got %+v, %+v", res, e)
			}
			if !strings.Contains(err.Error(), tt.want.text) || strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 900 {
				t.Errorf("text %q, want %q in it, on one line", err, tt.want.text)
			}
		})
	}
}

// TestBoundedRead: a body of 64 MiB costs the limit, not its size, and a small
// one does not cost the limit.
func TestBoundedRead(t *testing.T) {
	const limit = 1 << 20
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	allocated := func(handler http.HandlerFunc) uint64 {
		client, _ := serve(t, handler, chatdm.WithMaxResponseBytes(limit))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := open(t.Context(), client)
		runtime.ReadMemStats(&after)
		wantError(t, err, chatdm.KindUnexpectedResponse)
		return after.TotalAlloc - before.TotalAlloc
	}
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for range 64 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	announced := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(64<<20))
		endless(w, r)
	}
	if n := allocated(endless); n > limit+limit/2 {
		t.Errorf("an endless body allocated %d bytes, limit %d", n, limit)
	}
	if n := allocated(announced); n > limit {
		t.Errorf("a body announced as too large allocated %d bytes", n)
	}
	if n := allocated(write(200, "<html>")); n > 256<<10 {
		t.Errorf("a body of 6 bytes allocated %d bytes", n)
	}
}

// TestBadCertificate: a definite failure of the handshake is not tried again.
func TestBadCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(ok200)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	var dials atomic.Int32
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	defer transport.CloseIdleConnections()
	client := newClient(t, transport, chatdm.WithBaseURL(server.URL))
	_, err := open(t.Context(), client)
	wantError(t, err, chatdm.KindUnavailable)
	if dials.Load() != 1 || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%d dials, %v", dials.Load(), err)
	}
}

// TestNeverSent: what did not reach the server is sent again even by Call.
func TestNeverSent(t *testing.T) {
	fast := chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1})
	t.Run("refused connection", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := listener.Addr().String()
		_ = listener.Close()
		_, err = newClient(t, nil, chatdm.WithBaseURL("http://"+addr), fast).Call(t.Context(), "chat.postMessage", nil, nil)
		if e := wantError(t, err, chatdm.KindUnavailable); e.Attempts != 4 || e.StatusCode != 0 {
			t.Errorf("got %+v, want 4 attempts", e)
		}
	})
	t.Run("handshake cut off", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		var conns atomic.Int32
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conns.Add(1)
				_, _ = conn.Read(make([]byte, 1))
				_ = conn.Close()
			}
		}()
		_, err = newClient(t, nil, chatdm.WithBaseURL("https://"+listener.Addr().String()), fast).Call(t.Context(), "chat.postMessage", nil, nil)
		if e := wantError(t, err, chatdm.KindUnavailable); e.Attempts != 4 || conns.Load() != 4 {
			t.Errorf("%d connections, %+v, want 4", conns.Load(), e)
		}
	})
	t.Run("lost after it was sent", func(t *testing.T) {
		var requests atomic.Int32
		client, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			hijack("")(w, r)
		}, chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1}))
		_, err := client.Call(t.Context(), "chat.postMessage", nil, nil)
		if e := wantError(t, err, chatdm.KindUnavailable); e.Attempts != 1 || requests.Load() != 1 {
			t.Errorf("%d requests, %+v, want 1", requests.Load(), e)
		}
	})
}

var ok200 = write(200, `{"ok":true,"channel":{"id":"D1"}}`)

// TestCallersHTTPClient: it is copied, its transport and jar are used, and its
// connections stay open, failures or not.
func TestCallersHTTPClient(t *testing.T) {
	var conns, requests atomic.Int32
	var cookie atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			cookie.Store(fmt.Sprint(r.Cookies()))
		}
		http.SetCookie(w, &http.Cookie{Name: "d", Value: "crumb"})
		if requests.Add(1)%2 == 0 {
			w.WriteHeader(503)
			return
		}
		ok200(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	jar, _ := cookiejar.New(nil)
	mine := &http.Client{Transport: server.Client().Transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	client, err := chatdm.NewClient(goldenToken, chatdm.WithBaseURL(server.URL), chatdm.WithHTTPClient(mine), chatdm.WithHeader("Cookie", "own=1"),
		chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 2, BaseWait: 1}))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		_, _ = open(t.Context(), client)
	}
	failing := newClient(t, server.Client().Transport, chatdm.WithBaseURL(server.URL), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))
	for range 20 {
		_, _ = open(t.Context(), failing)
	}
	if conns.Load() != 1 {
		t.Errorf("40 calls one after the other, half of them failures, took %d connections", conns.Load())
	}
	if cookie.Load() != "[own=1 d=crumb]" {
		t.Errorf("cookies %v: the jar or the header is not used", cookie.Load())
	}
	if mine.Transport != server.Client().Transport || mine.Jar != jar || mine.Timeout != 0 || mine.CheckRedirect(nil, nil) != nil {
		t.Error("the caller's http.Client was changed")
	}
}

// TestStaleConnection: a kept connection that the server has closed meanwhile
// is replaced, or the call repeated; the caller does not notice.
func TestStaleConnection(t *testing.T) {
	client, server := serve(t, ok200, chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1}))
	for range 5 {
		if _, err := open(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		server.CloseClientConnections()
	}
}

// TestDefaultTransport: without a transport of the caller's, as many
// connections are kept as there were calls at once.
func TestDefaultTransport(t *testing.T) {
	const parallel = 16
	var conns atomic.Int32
	var gate sync.WaitGroup
	gate.Add(parallel)
	var once atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if once.Add(1) <= parallel { // hold the first round, so that it is all at once
			gate.Done()
			gate.Wait()
		}
		ok200(w, r)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	for round := range 5 {
		client, err := chatdm.NewClient("t", chatdm.WithBaseURL(server.URL))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range parallel {
			wg.Go(func() {
				if _, err := open(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if round == 0 && conns.Load() != parallel {
			t.Fatalf("%d connections in the first round, want %d", conns.Load(), parallel)
		}
	}
	if n := conns.Load(); n > parallel+2 {
		t.Errorf("%d connections for 5 rounds of %d calls", n, parallel)
	}
}

// TestReplacedDefaultTransport: a program that has put its own transport in
// the place of net/http's sees the calls.
func TestReplacedDefaultTransport(t *testing.T) {
	mock := httpmock.NewMockTransport()
	mock.RegisterNoResponder(ok)
	std := http.DefaultTransport
	http.DefaultTransport = mock
	defer func() { http.DefaultTransport = std }()
	client, err := chatdm.NewClient("t")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t.Context(), client); err != nil {
		t.Error(err)
	}
}

// TestCustomTransport: an error that only somebody else's transport knows may
// have come after the request was sent.
func TestCustomTransport(t *testing.T) {
	s := newScript(failure(errors.New("proxy hiccup")))
	_, err := newClient(t, s).Call(t.Context(), "chat.postMessage", nil, nil)
	if e := wantError(t, err, chatdm.KindUnavailable); e.Attempts != 1 {
		t.Errorf("Attempts %d, want 1", e.Attempts)
	}
}
