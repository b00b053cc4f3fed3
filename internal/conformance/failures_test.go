package conformance_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// wireFailure is something that goes wrong on the wire.
type wireFailure struct {
	name   string
	handle func(success string) http.HandlerFunc
	want   outcome
	text   string // in the error
}

func wireFailures() []wireFailure {
	const unavailable, unexpected = chatdm.KindUnavailable, chatdm.KindUnexpectedResponse
	always := func(h http.HandlerFunc) func(string) http.HandlerFunc {
		return func(string) http.HandlerFunc { return h }
	}
	failures := []wireFailure{
		// The connection ends early.
		{"closed before the response", always(hijack("")), outcome{unknown, unavailable, 0}, "EOF"},
		{"reset before the response", always(reset("")), outcome{unknown, unavailable, 0}, "reset"},
		{"closed in the header", always(hijack("HTTP/1.1 200 OK\r\nContent-Ty")), outcome{unknown, unavailable, 0}, ""},
		{"reset in the header", always(reset("HTTP/1.1 200 OK\r\nContent-Ty")), outcome{unknown, unavailable, 0}, ""},
		{"not HTTP", always(hijack("220 smtp.example.org ESMTP\r\n")), outcome{unknown, unavailable, 0}, "malformed"},
		{"closed in the body", func(ok string) http.HandlerFunc {
			return hijack(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(ok)+1, ok))
		}, outcome{unknown, unexpected, 200}, "unexpected EOF"},
		{"reset in the body", func(ok string) http.HandlerFunc {
			return reset(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(ok)+1, ok[:4]))
		}, outcome{unknown, unavailable, 200}, "reset"},
		{"closed in the body of a 500", always(hijack("HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\n{")), outcome{unknown, unavailable, 500}, ""},
		{"chunks without an end", func(ok string) http.HandlerFunc {
			return hijack(fmt.Sprintf("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(ok), ok))
		}, outcome{unknown, unexpected, 200}, "unexpected EOF"},
		{"truncated JSON", func(ok string) http.HandlerFunc { return write(200, ok[:len(ok)-1]) }, outcome{unknown, unexpected, 200}, " bytes"},
		{"truncated gzip", always(write(200, bomb(9999)[:20], "Content-Encoding", "gzip")), outcome{unknown, unexpected, 200}, ""},

		// The body cannot be read.
		{"not gzip", func(ok string) http.HandlerFunc { return write(200, ok, "Content-Encoding", "gzip") }, outcome{final, unexpected, 200}, "gzip"},
		{"gzip bomb", always(write(200, bomb(8<<20), "Content-Encoding", "gzip")), outcome{final, unexpected, 200}, "4194304 bytes"},
		{"larger than the limit", always(write(200, `{"x":"`+strings.Repeat("x", 4<<20)+`"}`)), outcome{final, unexpected, 200}, "4194304 bytes"},
		{"announced as larger than the limit", always(hijack("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{")), outcome{final, unexpected, 200}, "4194304 bytes"},

		// The body is not a JSON object, or not the API's.
		{"empty", always(write(200, "")), outcome{final, unexpected, 200}, "not a JSON object"},
		{"204", always(write(204, "")), outcome{final, unexpected, 204}, "not a JSON object"},
		{"text", always(write(200, "hello\r\nworld")), outcome{final, unexpected, 200}, "hello world"},
		{"JSON array", always(write(200, `[{"ok":true,"success":true}]`)), outcome{final, unexpected, 200}, "not a JSON object"},
		{"JSON string", always(write(200, `"ok"`)), outcome{final, unexpected, 200}, "not a JSON object"},
		{"JSON null", always(write(200, "null")), outcome{final, unexpected, 200}, "not a JSON object"},
		{"empty object", always(write(200, "{}")), outcome{final, unexpected, 200}, "neither"},
		{"neither success nor error", always(write(200, `{"ok":false,"success":false}`)), outcome{final, unexpected, 200}, "neither"},
		{"success of another type", always(write(200, `{"ok":"true","success":"true"}`)), outcome{final, unexpected, 200}, "neither"},
		{"trailing garbage", func(ok string) http.HandlerFunc { return write(200, ok+"}") }, outcome{final, unexpected, 200}, "invalid character"},
		{"space in a literal", always(write(200, `{"ok":tr ue}`)), outcome{final, unexpected, 200}, "the response is malformed"},
		{"two objects", func(ok string) http.HandlerFunc { return write(200, ok+ok) }, outcome{final, unexpected, 200}, "invalid character"},
		{"deep nesting", always(write(200, `{"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}`)), outcome{final, unexpected, 200}, "exceeded max depth"},
		{"success with 400", func(ok string) http.HandlerFunc { return write(400, ok) }, outcome{definite, unexpected, 400}, "neither"},
		{"304", always(write(304, "")), outcome{definite, unexpected, 304}, "redirected to "},
	}
	for target, text := range map[string]string{
		"/elsewhere": "redirected to http://127.0.0.1:", "http://evil.example/": "redirected to http://evil.example", "http://[::1": "redirected to ",
		"https://user:pw@evil.example/take?token=1#x": "redirected to https://evil.example",
	} {
		failures = append(failures, wireFailure{"302 to " + target, always(write(302, "", "Location", target)), outcome{definite, unexpected, 302}, text})
	}
	for _, status := range []int{300, 301, 303, 307, 308, 399} {
		failures = append(failures, wireFailure{fmt.Sprint(status), always(write(status, "", "Location", "/elsewhere")), outcome{definite, unexpected, status}, "redirected to http://127.0.0.1:"})
	}
	return failures
}

// write writes one response. The header alternates names and values.
func write(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hijack writes raw bytes instead of a response and closes the connection.
func hijack(raw string) http.HandlerFunc {
	return takeOver(raw, func(*net.TCPConn) {})
}

// reset does the same, but ends the connection with a TCP reset.
func reset(raw string) http.HandlerFunc {
	return takeOver(raw, func(conn *net.TCPConn) { _ = conn.SetLinger(0) })
}

func takeOver(raw string, closing func(*net.TCPConn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, raw)
		closing(conn.(*net.TCPConn))
		_ = conn.Close()
	}
}

// bomb returns gzip of so many spaces.
func bomb(size int) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte(" "), size))
	_ = z.Close()
	return b.String()
}

// bodies is a transport that counts the responses whose body is still open.
type bodies struct {
	next http.RoundTripper
	open atomic.Int32
}

func (b *bodies) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(req)
	if err == nil {
		b.open.Add(1)
		resp.Body = &countedBody{ReadCloser: resp.Body, closed: sync.OnceFunc(func() { b.open.Add(-1) })}
	}
	return resp, err
}

type countedBody struct {
	io.ReadCloser
	closed func()
}

func (c *countedBody) Close() error {
	c.closed()
	return c.ReadCloser.Close()
}

// TestConformance drives every method into every failure of the wire, on real
// sockets.
func TestConformance(t *testing.T) {
	failures := wireFailures()
	for name, m := range methods {
		t.Run(name, func(t *testing.T) {
			for _, f := range failures {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					var requests atomic.Int32
					handle := f.handle(m.success)
					server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						requests.Add(1)
						lookFor(t, "the URL", r.URL.String())
						handle(w, r)
					}))
					defer server.Close()
					transport := &bodies{next: server.Client().Transport}
					var logged strings.Builder
					res, err := m.at(t, server.URL, through(transport), logTo(&logged), fast)(t.Context())
					inspect(t, m, f.want, res, err, int(requests.Load()), logged.String())
					if !strings.Contains(err.Error(), f.text) && !m.returnsCredentials() {
						t.Errorf("got text %q, want %q in it", err, f.text)
					}
					if n := transport.open.Load(); n != 0 {
						t.Errorf("got %d open bodies, want none", n)
					}
				})
			}
		})
	}
}

// TestLenientDecoding: what differs from the documentation, but is clearly a
// success.
func TestLenientDecoding(t *testing.T) {
	for name, m := range methods {
		add := func(members string) http.HandlerFunc {
			return write(200, strings.Replace(m.success, "{", "{"+members+",", 1))
		}
		for about, handle := range map[string]http.HandlerFunc{
			"plain":                    write(200, m.success),
			"white space":              write(200, "\r\n\t "+m.success+"\n"),
			"another Content-Type":     write(200, m.success, "Content-Type", "text/html"),
			"no Content-Type":          hijack(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(m.success), m.success)),
			"bytes after the body":     hijack(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%sgarbage", len(m.success), m.success)),
			"early hints":              func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(103); write(200, m.success)(w, r) },
			"invalid UTF-8":            add("\"x\":\"\xff\""),
			"duplicate members":        add(`"ok":false,"success":false,"channel":{"id":"D0"}`),
			"unknown and null members": add(`"app_home":{},"warning":null,"response_metadata":null,"no_op":null,"x":[1]`),
			"members of other types":   add(`"warning":1,"response_metadata":"x","no_op":"yes","already_open":7,"needed":{},"errorType":{},"message":[],"error":1`),
			"a channel of other types": write(200, strings.Replace(m.success, `"id":"D1"`, `"id":"D1","created":"1","is_im":"x","last_read":1,"latest":"x","unread_count":1.5,"priority":"high","user":{}`, 1)),
		} {
			server := httptest.NewServer(handle)
			res, err := m.at(t, server.URL, chatdm.WithHTTPClient(server.Client()))(t.Context())
			server.Close()
			if err != nil || res == nil || strings.Contains(fmt.Sprintf("%+v", res), "NoOp:true") {
				t.Errorf("%s, %s: got %+v, %v, want a success", name, about, res, err)
				continue
			}
			checkSuccess(t, name, res)
		}
	}
}

// TestHostileResponses: what only one of the platforms can get wrong.
func TestHostileResponses(t *testing.T) {
	const unexpected, newCode = chatdm.KindUnexpectedResponse, chatdm.KindUnknown
	for _, tt := range []struct {
		name, api string // api is a service, or a method
		status    int
		body      string
		kind      chatdm.Kind
		text      string
	}{
		{"no channel", "conversations.open", 200, `{"ok":true}`, unexpected, "has no channel"},
		{"null channel", "im.open", 200, `{"ok":true,"channel":null}`, unexpected, "has no channel"},
		{"empty channel", "conversations.open", 200, `{"ok":true,"channel":{}}`, unexpected, "has no channel"},
		{"channel is a string", "conversations.open", 200, `{"ok":true,"channel":"D1"}`, unexpected, "has no channel"},
		{"channel ID is a number", "conversations.open", 200, `{"ok":true,"channel":{"id":1}}`, unexpected, "has no channel"},
		{"ok is null", "slack", 200, `{"ok":null,"channel":{"id":"D1"}}`, unexpected, "neither"},
		{"HTML with 200", "slack", 200, "<!DOCTYPE html><title>Sign in</title>", unexpected, "<title>Sign in"},
		{"HTML with 404", "slack", 404, "<html>no such page</html>", unexpected, "no such page"},
		{"code with 404", "slack", 404, `{"ok":false,"error":"channel_not_found"}`, chatdm.KindNotFound, "channel_not_found"},
		{"code without ok", "slack", 200, `{"error":"channel_not_found"}`, chatdm.KindNotFound, "channel_not_found"},
		{"code and an errors object", "slack", 200, `{"ok":false,"error":"channel_not_found","errors":{}}`, chatdm.KindNotFound, "channel_not_found"},
		{"code and an errors array", "slack", 200, `{"ok":false,"error":"channel_not_found","errors":[{"ok":false}]}`, chatdm.KindNotFound, "channel_not_found"},
		{"code is a number", "slack", 200, `{"ok":false,"error":7}`, unexpected, "neither"},
		{"code of two lines", "slack", 200, `{"ok":false,"error":"a\nb"}`, newCode, "a b"},
		{"code of a megabyte", "conversations.open", 200, `{"ok":false,"error":"` + strings.Repeat("a", 1<<20) + `"}`, newCode, "aaa…"},
		{"scopes of a megabyte", "conversations.open", 200, `{"ok":false,"error":"missing_scope","needed":"` + strings.Repeat("a,", 1<<19) + `"}`, chatdm.KindPermissionDenied, "; status 200; request rrr"},

		{"no room", "im.create", 200, `{"success":true}`, unexpected, ""},
		{"null room", "im.create", 200, `{"success":true,"room":null}`, unexpected, ""},
		{"room is a string", "im.create", 200, `{"success":true,"room":"x"}`, unexpected, ""},
		{"room ID is a number", "im.create", 200, `{"success":true,"room":{"rid":7}}`, unexpected, ""},
		{"no success and no text", "rocketchat", 400, `{"success":false}`, unexpected, "neither"},
		{"texts of other types", "rocketchat", 400, `{"success":false,"error":{},"errorType":[],"message":true}`, unexpected, "neither"},
		{"no such message", "chat.getMessage", 400, `{"success":false}`, chatdm.KindNotFound, "does not exist"},
		{"no code", "chat.sendMessage", 400, `{"success":false}`, chatdm.KindUnavailable, "may have taken effect"},
		{"HTML with 401", "rocketchat", 401, "<html>proxy", unexpected, "proxy"},
		{"message with 502", "rocketchat", 502, `{"message":"upstream"}`, chatdm.KindUnavailable, "upstream"},
		{"known code with 500", "rocketchat", 500, `{"success":false,"errorType":"invalid-channel"}`, chatdm.KindNotFound, "invalid-channel"},
	} {
		t.Run(tt.api+" "+tt.name, func(t *testing.T) {
			for _, m := range methods {
				if tt.api == "rocketchat" && tt.text == "neither" && strings.HasPrefix(m.api, "chat.") {
					continue // "no such message" and "no code"
				}
				if tt.api != m.service && (tt.api != m.api || tt.api == "im.open" && m.service != "slack") {
					continue
				}
				s := wiretest.NewScript(wiretest.Respond(tt.status, tt.body, "X-Slack-Req-Id", strings.Repeat("r", 1<<12)))
				res, err := m.on(t, s, once)(t.Context())
				e := wiretest.WantError(t, err, tt.kind)
				if text := err.Error(); res != nil || e.StatusCode != tt.status || !strings.Contains(text, tt.text) && !m.returnsCredentials() || strings.ContainsAny(text, "\r\n") || len(text) > 1000 {
					t.Errorf("%s: got %v, %v, want status %d and %q on a short line", m.api, res, err, tt.status, tt.text)
				}
			}
		})
	}
}

// TestBeforeTheRequest: failures before a request is sent.
func TestBeforeTheRequest(t *testing.T) {
	const refusing = "127.0.0.1:1" // a privileged port that nobody uses

	tlsServer := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("got a request, want none") }))
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
		effect    effect
		text      string
	}{
		{"connection refused", "http://" + refusing, &http.Transport{}, none, "refused"},
		{"no such host", "https://slack.invalid", &http.Transport{DialContext: unresolved}, none, "no such host"},
		{"unknown certificate authority", tlsServer.URL, &http.Transport{}, definite, "certificate"},
		{"handshake interrupted", "https://" + cutting.Addr().String(), &http.Transport{}, none, ""},
		{"connection to the proxy refused", "https://slack.invalid", &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: refusing})}, none, "proxyconnect"},
	}
	withKeys := maps.Clone(methods)
	withKeys["chatdm.ChatService.PostMessage, key"] = method{"slack", "chat.postMessage", false, "", slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi", Key: "k"})
	})}
	withKeys["rocketchat.ChatService.SendMessage, key"] = method{"rocketchat", "chat.sendMessage", true, "", rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Text: "hi", Key: "k"})
	})}
	for _, tt := range tests {
		for name, m := range withKeys {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				var logged strings.Builder
				res, err := m.at(t, tt.url, through(tt.transport), logTo(&logged), fast)(t.Context())
				inspect(t, m, outcome{tt.effect, chatdm.KindUnavailable, 0}, res, err, -1, logged.String())
				if !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got text %q, want %q in it", err, tt.text)
				}
			})
		}
	}
}
