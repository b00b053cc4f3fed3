package chatdm_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/rocketchat"
)

// method is one function of the SDK that sends a request, in a shape that the
// suite can drive. The suite fails where an exported one is not among them.
type method struct {
	service    string // "slack" or "rocketchat"
	api        string // what errors call it
	repeatable bool   // sent again where it may have had its effect
	success    string // an answer that is one
	call       func(ctx context.Context, url string, opts ...chatdm.Option) (any, error)
}

const channelOK, successOK = `{"ok":true,"channel":{"id":"D1"}}`, `{"success":true}`

// slackCall makes a client of a Slack at url for each call.
func slackCall[T any](call func(context.Context, *chatdm.Client) (*T, error)) func(context.Context, string, ...chatdm.Option) (any, error) {
	return func(ctx context.Context, url string, opts ...chatdm.Option) (any, error) {
		client, err := chatdm.NewClient(secretToken, append(opts, chatdm.WithBaseURL(url), chatdm.WithStrictIM())...)
		if err != nil {
			return nil, err
		}
		res, err := call(ctx, client)
		if res == nil {
			return nil, err
		}
		return res, err
	}
}

func rocketCall[T any](call func(context.Context, *rocketchat.Client) (*T, error)) func(context.Context, string, ...chatdm.Option) (any, error) {
	return func(ctx context.Context, url string, opts ...chatdm.Option) (any, error) {
		client, err := rocketchat.NewClient(url, rocketchat.Credentials{UserID: "u1", AuthToken: secretToken}, opts...)
		if err != nil {
			return nil, err
		}
		res, err := call(ctx, client)
		if res == nil {
			return nil, err
		}
		return res, err
	}
}

func loginCall(login func(ctx context.Context, url string, opts ...chatdm.Option) (rocketchat.Credentials, error)) func(context.Context, string, ...chatdm.Option) (any, error) {
	return func(ctx context.Context, url string, opts ...chatdm.Option) (any, error) {
		creds, err := login(ctx, url, opts...)
		if creds == (rocketchat.Credentials{}) {
			return nil, err
		}
		return creds, err
	}
}

// conforming is every function of the SDK that sends a request.
var conforming = map[string]method{
	"chatdm.IMService.Open": {"slack", "im.open", true, channelOK, slackCall(func(ctx context.Context, c *chatdm.Client) (*chatdm.OpenResult, error) {
		return c.IM.Open(ctx, chatdm.IMOpenParams{User: "U1"})
	})},
	"chatdm.IMService.Close": {"slack", "im.close", true, `{"ok":true}`, slackCall(func(ctx context.Context, c *chatdm.Client) (*chatdm.CloseResult, error) {
		return c.IM.Close(ctx, "D1")
	})},
	"chatdm.ConversationsService.Open": {"slack", "conversations.open", true, channelOK, slackCall(func(ctx context.Context, c *chatdm.Client) (*chatdm.OpenResult, error) {
		return c.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U1"}})
	})},
	"chatdm.ConversationsService.Close": {"slack", "conversations.close", true, `{"ok":true}`, slackCall(func(ctx context.Context, c *chatdm.Client) (*chatdm.CloseResult, error) {
		return c.Conversations.Close(ctx, "D1")
	})},
	"chatdm.ConversationsService.List": {"slack", "conversations.list", true, `{"ok":true,"channels":[{"id":"D1"}]}`, slackCall(func(ctx context.Context, c *chatdm.Client) (*chatdm.Channel, error) {
		for channel, err := range c.Conversations.List(ctx, chatdm.ConversationsListParams{}) {
			if err != nil {
				return nil, err
			}
			return &channel, nil
		}
		return nil, nil
	})},
	"chatdm.Client.Call": {"slack", "chat.postMessage", false, `{"ok":true}`, slackCall(func(ctx context.Context, c *chatdm.Client) (*chatdm.Meta, error) {
		return c.Call(ctx, "chat.postMessage", nil, &struct{ TS string }{})
	})},
	"rocketchat.IMService.Create": {"rocketchat", "im.create", true, `{"success":true,"room":{"rid":"r1"}}`, rocketCall(func(ctx context.Context, c *rocketchat.Client) (*rocketchat.CreateResult, error) {
		return c.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"bob"}})
	})},
	"rocketchat.IMService.Open": {"rocketchat", "im.open", true, successOK, rocketCall(func(ctx context.Context, c *rocketchat.Client) (*rocketchat.OpenResult, error) {
		return c.IM.Open(ctx, "r1")
	})},
	"rocketchat.IMService.Close": {"rocketchat", "im.close", true, successOK, rocketCall(func(ctx context.Context, c *rocketchat.Client) (*rocketchat.CloseResult, error) {
		return c.IM.Close(ctx, "r1")
	})},
	"rocketchat.IMService.Delete": {"rocketchat", "im.delete", false, successOK, rocketCall(func(ctx context.Context, c *rocketchat.Client) (*rocketchat.DeleteResult, error) {
		return c.IM.Delete(ctx, rocketchat.RoomID("r1"))
	})},
	"rocketchat.Client.Call": {"rocketchat", "im.list", false, successOK, rocketCall(func(ctx context.Context, c *rocketchat.Client) (*chatdm.Meta, error) {
		return c.Call(ctx, http.MethodPost, "im.list", nil, &struct{ Count int }{})
	})},
	"rocketchat.Login": {"rocketchat", "login", false, `{"status":"success","data":{"userId":"u1","authToken":"new-token"}}`, loginCall(func(ctx context.Context, url string, opts ...chatdm.Option) (rocketchat.Credentials, error) {
		return rocketchat.Login(ctx, url, "alice", secretToken, opts...)
	})},
	"rocketchat.Resume": {"rocketchat", "login", false, `{"status":"success","data":{"userId":"u1","authToken":"new-token"}}`, loginCall(func(ctx context.Context, url string, opts ...chatdm.Option) (rocketchat.Credentials, error) {
		return rocketchat.Resume(ctx, url, secretToken, opts...)
	})},
}

// TestSuiteIsComplete: what takes a context sends a request, and is in the
// suite.
func TestSuiteIsComplete(t *testing.T) {
	seen := 0
	for _, dir := range []string{".", "rocketchat"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || !fn.Name.IsExported() || len(fn.Type.Params.List) == 0 {
					continue
				}
				if sel, ok := fn.Type.Params.List[0].Type.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Context" {
					continue
				}
				full := file.Name.Name + "."
				if fn.Recv != nil {
					recv := fn.Recv.List[0].Type
					if star, ok := recv.(*ast.StarExpr); ok {
						recv = star.X
					}
					name := recv.(*ast.Ident).Name
					if !ast.IsExported(name) || name == "TierLimiter" { // which talks to nobody
						continue
					}
					full += name + "."
				}
				seen++
				if _, ok := conforming[full+fn.Name.Name]; !ok {
					t.Errorf("%s%s sends a request and is not in the suite", full, fn.Name.Name)
				}
			}
		}
	}
	if seen != len(conforming) {
		t.Errorf("the suite has %d functions, the packages %d", len(conforming), seen)
	}
}

// eff is what an attempt may have done, as the retry contract has it.
type eff int

const (
	definite eff = iota // one request
	doubtful            // one request, or ErrEffectUnknown
	unknown             // sent again, or ErrEffectUnknown
	unsent              // sent again by every call
)

// expectation is what a failure comes to.
type expectation struct {
	effect eff
	kind   chatdm.Kind
	status int
}

// wireFailure is something that goes wrong between the SDK and the server.
type wireFailure struct {
	name   string
	answer func(success string) http.HandlerFunc
	want   expectation
	rocket *expectation // where Rocket.Chat's meaning differs
}

func same(h http.HandlerFunc) func(string) http.HandlerFunc {
	return func(string) http.HandlerFunc { return h }
}

func wireFailures() []wireFailure {
	const (
		unavailable  = chatdm.KindUnavailable
		unexpected   = chatdm.KindUnexpectedResponse
		unsupported  = chatdm.KindUnsupported
		unauthorized = chatdm.KindUnauthenticated
		denied       = chatdm.KindPermissionDenied
	)
	failures := []wireFailure{
		{"closed before the answer", same(hijack("")), expectation{unknown, unavailable, 0}, nil},
		{"reset before the answer", same(reset("")), expectation{unknown, unavailable, 0}, nil},
		{"closed in the header", same(hijack("HTTP/1.1 200 OK\r\nContent-Ty")), expectation{unknown, unavailable, 0}, nil},
		{"reset in the header", same(reset("HTTP/1.1 200 OK\r\nContent-Ty")), expectation{unknown, unavailable, 0}, nil},
		{"not HTTP", same(hijack("220 smtp.example.org ESMTP\r\n")), expectation{unknown, unavailable, 0}, nil},
		{"closed in the body", func(ok string) http.HandlerFunc {
			return hijack(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(ok)+1, ok))
		}, expectation{unknown, unexpected, 200}, nil},
		{"reset in the body", func(ok string) http.HandlerFunc {
			return reset(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(ok)+1, ok[:4]))
		}, expectation{unknown, unavailable, 200}, nil},
		{"chunks without an end", func(ok string) http.HandlerFunc {
			return hijack(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(ok), ok))
		}, expectation{unknown, unexpected, 200}, nil},
		{"JSON that is cut off", func(ok string) http.HandlerFunc { return write(200, ok[:len(ok)-1]) }, expectation{unknown, unexpected, 200}, nil},
		{"gzip that is cut off", func(string) http.HandlerFunc { return write(200, bomb(9999)[:20], "Content-Encoding", "gzip") }, expectation{unknown, unexpected, 200}, nil},
		{"gzip that is none", func(ok string) http.HandlerFunc { return write(200, ok, "Content-Encoding", "gzip") }, expectation{doubtful, unexpected, 200}, nil},
		{"gzip bomb", same(write(200, bomb(8<<20), "Content-Encoding", "gzip")), expectation{doubtful, unexpected, 200}, nil},
		{"longer than the limit", same(write(200, `{"x":"`+strings.Repeat("x", 4<<20)+`"}`)), expectation{doubtful, unexpected, 200}, nil},
		{"announced as longer than the limit", same(hijack("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{")), expectation{doubtful, unexpected, 200}, nil},
		{"HTML with 200", same(write(200, "<!DOCTYPE html><title>Sign in</title>")), expectation{doubtful, unexpected, 200}, &expectation{definite, unsupported, 200}},
		{"empty with 200", same(write(200, "")), expectation{doubtful, unexpected, 200}, nil},
		{"204", same(write(204, "")), expectation{doubtful, unexpected, 204}, nil},
		{"JSON array", same(write(200, "[]")), expectation{doubtful, unexpected, 200}, nil},
		{"JSON null", same(write(200, "null")), expectation{doubtful, unexpected, 200}, nil},
		{"empty object", same(write(200, "{}")), expectation{doubtful, unexpected, 200}, nil},
		{"trailing garbage", func(ok string) http.HandlerFunc { return write(200, ok+"}") }, expectation{doubtful, unexpected, 200}, nil},
		{"deep nesting", same(write(200, `{"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}`)), expectation{doubtful, unexpected, 200}, nil},
		{"200 that is not ok", same(write(200, `{"ok":false,"success":false}`)), expectation{doubtful, unexpected, 200}, nil},
		{"401 without a body", same(write(401, "")), expectation{definite, unexpected, 401}, nil},
		{"401 with JSON", same(write(401, `{"ok":false,"error":"invalid_auth","message":"You must be logged in to do this."}`)), expectation{definite, unauthorized, 401}, nil},
		{"403 without a body", same(write(403, "")), expectation{definite, unexpected, 403}, nil},
		{"403 with JSON", same(write(403, `{"ok":false,"success":false,"error":"access_denied"}`)), expectation{definite, denied, 403}, nil},
		{"404 without a body", same(write(404, "")), expectation{definite, unexpected, 404}, &expectation{definite, unsupported, 404}},
		{"405 with text", same(write(405, "Method Not Allowed")), expectation{definite, unexpected, 405}, &expectation{definite, unsupported, 405}},
		{"418 with text", same(write(418, "teapot")), expectation{definite, unexpected, 418}, nil},
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for name, target := range map[string]string{"the same host": "/elsewhere", "another host": "https://evil.example/", "plain http": "http://evil.example/"} {
			failures = append(failures, wireFailure{fmt.Sprintf("%d to %s", status, name), same(write(status, "", "Location", target)), expectation{definite, unexpected, status}, nil})
		}
	}
	for _, status := range []int{500, 502, 503, 504} {
		failures = append(failures,
			wireFailure{fmt.Sprintf("%d without a body", status), same(write(status, "")), expectation{unknown, unavailable, status}, nil},
			wireFailure{fmt.Sprintf("%d with HTML", status), same(write(status, "<html>")), expectation{unknown, unavailable, status}, nil},
			wireFailure{fmt.Sprintf("%d with JSON", status), same(write(status, `{"ok":false,"success":false}`)), expectation{unknown, unavailable, status}, nil})
	}
	return append(failures,
		wireFailure{"408", same(write(408, "")), expectation{doubtful, unexpected, 408}, nil},
		wireFailure{"501", same(write(501, "")), expectation{doubtful, unavailable, 501}, nil},
		wireFailure{"524 of a proxy", same(write(524, "<html>")), expectation{doubtful, unavailable, 524}, nil})
}

// bodies is a transport that counts the answers whose body is still open.
type bodies struct {
	next http.RoundTripper
	open atomic.Int32
}

func (b *bodies) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err == nil {
		b.open.Add(1)
		resp.Body = &countedBody{ReadCloser: resp.Body, open: &b.open}
	}
	return resp, err
}

type countedBody struct {
	io.ReadCloser
	open *atomic.Int32
	once sync.Once
}

func (c *countedBody) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.ReadCloser.Close()
}

const conformanceAttempts = 3

// inspect is what every failing call has to pass.
func inspect(t *testing.T, m method, want expectation, res any, err error, requests int, logged string) {
	t.Helper()
	e := wantError(t, err, want.kind)
	if res != nil {
		t.Errorf("a result came with the error: %+v", res)
	}
	if e.Service != m.service || e.Method != m.api || e.StatusCode != want.status {
		t.Errorf("got %s %s with status %d, want %s %s with %d: %v", e.Service, e.Method, e.StatusCode, m.service, m.api, want.status, err)
	}
	sent := 1
	if want.effect == unsent || want.effect == unknown && m.repeatable {
		sent = conformanceAttempts
	}
	if requests >= 0 && requests != sent || e.Attempts != sent {
		t.Errorf("the server saw %d requests, Attempts is %d, want %d: %v", requests, e.Attempts, sent, err)
	}
	if lost := (want.effect == unknown || want.effect == doubtful) && !m.repeatable; errors.Is(err, chatdm.ErrEffectUnknown) != lost {
		t.Errorf("ErrEffectUnknown is %t, want %t: %v", !lost, lost, err)
	}
	lookFor(t, "the error", everyFormat(err)+everyFormat(*e))
	lookFor(t, "the log", logged)
	if !strings.Contains(logged, "chatdm: call failed") {
		t.Errorf("the failure was not logged: %s", logged)
	}
}

// lines is a log that several goroutines may write to.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func conformanceOptions(transport http.RoundTripper, log io.Writer) []chatdm.Option {
	return []chatdm.Option{
		chatdm.WithHTTPClient(&http.Client{Transport: transport}),
		chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: conformanceAttempts, BaseWait: 1}),
		chatdm.WithLogger(slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 4}))),
	}
}

// TestConformance drives every function into every failure of the wire, on
// real sockets.
func TestConformance(t *testing.T) {
	for name, m := range conforming {
		t.Run(name, func(t *testing.T) {
			for _, f := range wireFailures() {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					var requests atomic.Int32
					answer := f.answer(m.success)
					server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						requests.Add(1)
						lookFor(t, "the URL", r.URL.String())
						answer(w, r)
					}))
					defer server.Close()
					transport := &bodies{next: server.Client().Transport}
					var logged lines
					res, err := m.call(t.Context(), server.URL, conformanceOptions(transport, &logged)...)
					want := f.want
					if m.service == "rocketchat" && f.rocket != nil {
						want = *f.rocket
					}
					inspect(t, m, want, res, err, int(requests.Load()), logged.String())
					if n := transport.open.Load(); n != 0 {
						t.Errorf("%d bodies were left open", n)
					}
				})
			}
			t.Run("success", func(t *testing.T) {
				for about, answer := range map[string]http.HandlerFunc{
					"plain":            write(200, m.success),
					"invalid UTF-8":    write(200, strings.Replace(m.success, "{", "{\"x\":\"\xff\",", 1)),
					"duplicate keys":   write(200, strings.Replace(m.success, "{", `{"ok":false,"success":false,`, 1)),
					"early hints":      func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(103); write(200, m.success)(w, r) },
					"no Content-Type":  hijack(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.success), m.success)),
					"over-long body":   hijack(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sgarbage", len(m.success), m.success)),
					"members of types": write(200, strings.Replace(m.success, "{", `{"warning":1,"response_metadata":"x","needed":{},"errorType":{},"message":[],`, 1)),
				} {
					server := httptest.NewServer(answer)
					var logged lines
					res, err := m.call(t.Context(), server.URL, conformanceOptions(server.Client().Transport, &logged)...)
					server.Close()
					if err != nil || res == nil {
						t.Errorf("%s: %v, %v", about, res, err)
					}
				}
			})
		})
	}
}

// TestConformanceWithoutAnAnswer has the failures before a request is sent.
func TestConformanceWithoutAnAnswer(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := free.Addr().String()
	_ = free.Close()

	tlsServer := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a request went through") }))
	tlsServer.Config.ErrorLog = log.New(io.Discard, "", 0)
	tlsServer.StartTLS()
	defer tlsServer.Close()

	cutting, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer cutting.Close()
	go func() {
		for {
			conn, err := cutting.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()

	unresolved := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "slack.invalid", IsNotFound: true}}
	}
	tests := []struct {
		name, url string
		transport *http.Transport
		effect    eff
		text      string
	}{
		{"refused connection", "http://" + refusing, &http.Transport{}, unsent, "refused"},
		{"no such host", "https://slack.invalid", &http.Transport{DialContext: unresolved}, unsent, "no such host"},
		{"certificate of nobody", tlsServer.URL, &http.Transport{}, definite, "certificate"},
		{"handshake that is cut", "https://" + cutting.Addr().String(), &http.Transport{}, unsent, ""},
		{"proxy that refuses", "https://slack.invalid", &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return &url.URL{Scheme: "http", Host: refusing}, nil }}, unsent, "proxyconnect"},
	}
	for _, tt := range tests {
		for name, m := range conforming {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				var logged lines
				res, err := m.call(t.Context(), tt.url, conformanceOptions(tt.transport, &logged)...)
				want := expectation{tt.effect, chatdm.KindUnavailable, 0}
				if tt.effect == definite {
					want.effect = definite
				}
				inspect(t, m, want, res, err, -1, logged.String())
				if !strings.Contains(err.Error(), tt.text) {
					t.Errorf("text %q, want %q in it", err, tt.text)
				}
			})
		}
	}
}

// inMemoryFake starts the test server of a method's platform in a bubble.
func inMemoryFake(m method) (url string, client *http.Client, fail func(chatdmtest.Fault), requests func() int, stop func()) {
	if m.service == "slack" {
		s := chatdmtest.NewSlack(chatdmtest.InMemory())
		return s.URL, s.Client(), func(f chatdmtest.Fault) { s.Fail("", -1, f) }, func() int { return len(s.Requests()) }, s.Close
	}
	s := chatdmtest.NewRocketChat(chatdmtest.InMemory())
	return s.URL, s.Client(), func(f chatdmtest.Fault) { s.Fail("", -1, f) }, func() int { return len(s.Requests()) }, s.Close
}

// TestConformanceStalls: a server that stops sending ends an attempt by its
// timeout, to the nanosecond of fake time.
func TestConformanceStalls(t *testing.T) {
	for _, at := range []chatdmtest.Point{chatdmtest.BeforeHeader, chatdmtest.InHeader, chatdmtest.InBody} {
		for name, m := range conforming {
			t.Run(string(at)+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					url, client, fail, requests, stop := inMemoryFake(m)
					defer stop()
					fail(chatdmtest.Fault{Stall: at})
					var logged lines
					start := time.Now()
					res, err := m.call(t.Context(), url, conformanceOptions(client.Transport, &logged)...)
					took := time.Since(start)
					want := expectation{unknown, chatdm.KindUnavailable, 0}
					if at == chatdmtest.InBody {
						// The status of the fakes' plain error is the platform's.
						want.status = map[string]int{"slack": 200, "rocketchat": 400}[m.service]
						if m.api == "login" {
							want.status = 401
						}
					}
					inspect(t, m, want, res, err, requests(), logged.String())
					n := 1
					if m.repeatable {
						n = conformanceAttempts
					}
					// The waits between the attempts are a few nanoseconds.
					if least := time.Duration(n) * 30 * time.Second; took < least || took > least+time.Microsecond {
						t.Errorf("took %v, want %v", took, least)
					}
				})
			})
		}
	}
}

// TestConformanceRefusals: a 429 with each kind of hint, for every function.
func TestConformanceRefusals(t *testing.T) {
	for hint, wait := range map[string]time.Duration{
		"": time.Second, "0": time.Second, "-5": time.Second, "soon": time.Second,
		"1.5": 1500 * time.Millisecond, "30": 30 * time.Second,
		"Sat, 01 Jan 2000 00:00:40 GMT": 40 * time.Second, "Saturday, 01-Jan-00 00:00:40 GMT": 40 * time.Second, "Sat Jan  1 00:00:40 2000": 40 * time.Second,
		"Fri, 31 Dec 1999 23:00:00 GMT": time.Second, "31536000": 0, "9300000000": 0,
	} {
		for name, m := range conforming {
			t.Run(hint+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					url, client, fail, requests, stop := inMemoryFake(m)
					defer stop()
					fail(chatdmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {hint}}})
					var logged lines
					opts := append(conformanceOptions(client.Transport, &logged), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 2, BaseWait: 1}))
					start := time.Now()
					res, err := m.call(t.Context(), url, opts...)
					took := time.Since(start)
					e := wantError(t, err, chatdm.KindRateLimited)
					if res != nil || e.StatusCode != 429 || errors.Is(err, chatdm.ErrEffectUnknown) {
						t.Errorf("got %v, %+v", res, e)
					}
					if n := requests(); wait == 0 && (n != 1 || took != 0 || e.RetryAfter < 365*24*time.Hour) || wait > 0 && (n != 2 || took != wait) {
						t.Errorf("%d requests in %v, RetryAfter %v, want a wait of %v", n, took, e.RetryAfter, wait)
					}
					lookFor(t, "the log", logged.String())
				})
			})
		}
	}
}

// TestConformanceContexts ends the context of every function at each stage. No
// request is sent after that.
func TestConformanceContexts(t *testing.T) {
	for name, m := range conforming {
		run := func(stage string, fault chatdmtest.Fault, end time.Duration, deadline bool, check func(t *testing.T, e *chatdm.Error, err error, requests int, took time.Duration)) {
			t.Run(stage+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					url, client, fail, requests, stop := inMemoryFake(m)
					defer stop()
					fail(fault)
					ctx, cancel := context.WithCancel(t.Context())
					if deadline {
						ctx, cancel = context.WithTimeout(t.Context(), end)
					} else if end == 0 {
						cancel()
					} else {
						time.AfterFunc(end, cancel)
					}
					defer cancel()
					start := time.Now()
					res, err := m.call(ctx, url, chatdm.WithHTTPClient(client))
					if res != nil {
						t.Errorf("a result came with the error: %+v", res)
					}
					check(t, wantError(t, err), err, requests(), time.Since(start))
				})
			})
		}
		limited := chatdmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"30"}}}
		run("before", chatdmtest.Fault{}, 0, false, func(t *testing.T, e *chatdm.Error, err error, requests int, _ time.Duration) {
			wantError(t, err, chatdm.KindCanceled, context.Canceled)
			if requests != 0 || e.Attempts != 0 || errors.Is(err, chatdm.ErrEffectUnknown) {
				t.Errorf("%d requests, %v", requests, err)
			}
		})
		for _, at := range []chatdmtest.Point{chatdmtest.BeforeHeader, chatdmtest.InBody} {
			run("in flight, "+string(at), chatdmtest.Fault{Stall: at}, time.Second, true, func(t *testing.T, e *chatdm.Error, err error, requests int, took time.Duration) {
				wantError(t, err, chatdm.KindCanceled, context.DeadlineExceeded)
				if requests != 1 || e.Attempts != 1 || took != time.Second || errors.Is(err, chatdm.ErrEffectUnknown) == m.repeatable {
					t.Errorf("%d requests in %v, %v", requests, took, err)
				}
			})
		}
		run("in a wait", limited, 10*time.Second, false, func(t *testing.T, e *chatdm.Error, err error, requests int, took time.Duration) {
			wantError(t, err, chatdm.KindRateLimited, context.Canceled)
			if requests != 1 || took != 10*time.Second || e.RetryAfter != 30*time.Second || e.StatusCode != 429 {
				t.Errorf("%d requests in %v, %v", requests, took, err)
			}
		})
		run("deadline shorter than the hint", limited, 10*time.Second, true, func(t *testing.T, e *chatdm.Error, err error, requests int, took time.Duration) {
			wantError(t, err, chatdm.KindRateLimited, context.DeadlineExceeded)
			if requests != 1 || took != 0 || e.RetryAfter != 30*time.Second {
				t.Errorf("%d requests in %v, %v", requests, took, err)
			}
		})
	}
	// During a dial nothing has been sent yet, whatever the call.
	for name, m := range conforming {
		t.Run("dial/"+name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				release := make(chan struct{})
				defer close(release) // net/http lets a dial go on that nobody waits for
				transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
					<-release
					return nil, net.ErrClosed
				}}
				_, err := m.call(ctx, "http://localhost:1", chatdm.WithHTTPClient(&http.Client{Transport: transport}))
				if e := wantError(t, err, chatdm.KindCanceled, context.DeadlineExceeded); e.Attempts != 1 || errors.Is(err, chatdm.ErrEffectUnknown) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// TestNoExportedTypeIsForgotten: the suite's results are of all result types.
func TestNoExportedTypeIsForgotten(t *testing.T) {
	types := map[reflect.Type]bool{}
	for name, m := range conforming {
		server := httptest.NewServer(write(200, m.success))
		var logged lines
		res, err := m.call(t.Context(), server.URL, conformanceOptions(server.Client().Transport, &logged)...)
		server.Close()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		types[reflect.TypeOf(res)] = true
		lookFor(t, name, everyFormat(res))
	}
	if len(types) != 9 {
		t.Errorf("%d types of results, want 9: %v", len(types), types)
	}
}
