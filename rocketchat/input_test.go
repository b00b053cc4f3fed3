package rocketchat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/jarcoal/httpmock"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/rocketchat"
)

func serve(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func TestBadInput(t *testing.T) {
	del := func(target rocketchat.Target) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) (any, error) { return c.IM.Delete(ctx, target) }
	}
	create := func(names ...string) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) (any, error) {
			return c.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: names})
		}
	}
	open := func(id string) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) (any, error) { return c.IM.Open(ctx, id) }
	}
	closes := func(id string) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) (any, error) { return c.IM.Close(ctx, id) }
	}
	callWith := func(verb, path string, params, result any) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) (any, error) {
			return c.Call(ctx, verb, path, params, result)
		}
	}
	tests := []struct {
		name, field string
		call        callFunc
	}{
		{"no target", "target", del(nil)},
		{"empty room", "roomId", del(rocketchat.RoomID(""))},
		{"empty username", "username", del(rocketchat.Username(""))},
		{"line break", "roomId", del(rocketchat.RoomID("r1\n"))},
		{"space", "username", del(rocketchat.Username("al ice"))},
		{"comma", "username", del(rocketchat.Username("alice,bob"))},
		{"empty", "roomId", open("")},
		{"NUL", "roomId", open("r\x00")},
		{"empty", "roomId", closes("")},
		{"tab", "roomId", closes("\tr")},
		{"nobody", "usernames", create()},
		{"empty name", "usernames[1]", create("bob", "")},
		{"two in one", "usernames[0]", create("bob,carol")},
		{"verb", "method", callWith("get", "info", nil, nil)},
		{"verb with a line break", "method", callWith("GET\r\n", "info", nil, nil)},
		{"no path", "path", callWith("GET", "", nil, nil)},
		{"leading slash", "path", callWith("GET", "/info", nil, nil)},
		{"out of the root", "path", callWith("GET", "../../admin", nil, nil)},
		{"out of the root later", "path", callWith("GET", "rooms.upload/../../x", nil, nil)},
		{"single dot", "path", callWith("GET", "./info", nil, nil)},
		{"escaped", "path", callWith("GET", "%2e%2e/x", nil, nil)},
		{"backslash", "path", callWith("GET", `..\x`, nil, nil)},
		{"query", "path", callWith("GET", "info?x=1", nil, nil)},
		{"host", "path", callWith("GET", "//evil.example/x", nil, nil)},
		{"query of a map", "params", callWith("GET", "info", map[string]string{"a": "b"}, nil)},
		{"body that does not marshal", "params", callWith("POST", "x", make(chan int), nil)},
		{"token in the query", "params", callWith("GET", "x", url.Values{"token": {"x"}}, nil)},
		{"result", "result", callWith("GET", "info", nil, struct{}{})},
	}
	for _, tt := range tests {
		t.Run(tt.field+" "+tt.name, func(t *testing.T) {
			s := newScript(httpmock.NewStringResponder(200, `{"success":true}`))
			_, err := tt.call(t.Context(), newClient(t, s))
			e := wantError(t, err, chatdm.KindInvalidRequest)
			if e.Err == nil || !strings.HasPrefix(e.Err.Error(), tt.field+": ") || len(s.sent) != 0 {
				t.Errorf("%d requests, %v: does not name %s", len(s.sent), err, tt.field)
			}
		})
	}
	t.Run("nil context", func(t *testing.T) {
		var none context.Context
		for method, call := range methods {
			_, err := call(none, newClient(t, newScript()))
			if wantError(t, err, chatdm.KindInvalidRequest); !strings.Contains(err.Error(), "ctx: ") {
				t.Errorf("%s: %v", method, err)
			}
		}
		_, err := rocketchat.Login(none, serverURL, "alice", "secret-password")
		wantError(t, err, chatdm.KindInvalidRequest)
	})
}

func TestConstructorsRefuse(t *testing.T) {
	good := rocketchat.Credentials{UserID: "u1", AuthToken: "hunter22-token"}
	tests := []struct {
		name, url string
		creds     rocketchat.Credentials
		opt       chatdm.Option
		field     string
	}{
		{"no URL", "", good, nil, "serverURL"},
		{"no scheme", "chat.example.org", good, nil, "serverURL"},
		{"password", "https://u:hunter22@chat.example.org", good, nil, "serverURL"},
		{"query", "https://chat.example.org?x=1", good, nil, "serverURL"},
		{"fragment", "https://chat.example.org/#x", good, nil, "serverURL"},
		{"plain http", "http://chat.example.org", good, nil, "serverURL"},
		{"no user", serverURL, rocketchat.Credentials{AuthToken: "hunter22-token"}, nil, "UserID"},
		{"no token", serverURL, rocketchat.Credentials{UserID: "u1"}, nil, "AuthToken"},
		{"line break in the token", serverURL, rocketchat.Credentials{UserID: "u1", AuthToken: "hunter22\n"}, nil, "AuthToken"},
		{"line break in the user", serverURL, rocketchat.Credentials{UserID: "u1\r\nX: y", AuthToken: "hunter22"}, nil, "UserID"},
		{"base URL", serverURL, good, chatdm.WithBaseURL("https://chat.example.org"), "WithBaseURL"},
		{"strict IM", serverURL, good, chatdm.WithStrictIM(), "WithStrictIM"},
		{"TOTP", serverURL, good, rocketchat.WithTOTP("123456"), "WithTOTP"},
		{"timeout", serverURL, good, chatdm.WithTimeout(-1), "WithTimeout"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, err := rocketchat.NewClient(tt.url, tt.creds, tt.opt)
			e := wantError(t, err, chatdm.KindInvalidRequest)
			if client != nil || e.Service != "rocketchat" || e.Method != "NewClient" || !strings.HasPrefix(e.Err.Error(), tt.field+": ") {
				t.Errorf("got %v, %v: does not name %s", client, err, tt.field)
			}
			if strings.Contains(err.Error(), "hunter22") {
				t.Errorf("the error shows a secret: %v", err)
			}
			if strings.HasSuffix(tt.field, "ID") || tt.field == "AuthToken" || tt.field == "WithTOTP" {
				return
			}
			_, err = rocketchat.Login(t.Context(), tt.url, "alice", "hunter22-password", tt.opt)
			if e := wantError(t, err, chatdm.KindInvalidRequest); e.Method != "login" || !strings.HasPrefix(e.Err.Error(), tt.field+": ") {
				t.Errorf("Login: %v", err)
			}
		})
	}
	for name, field := range map[string]string{"": "user", "alice": "password"} {
		_, err := rocketchat.Login(t.Context(), serverURL, name, "")
		if e := wantError(t, err, chatdm.KindInvalidRequest); !strings.HasPrefix(e.Err.Error(), field+": ") {
			t.Errorf("Login: %v", err)
		}
	}
	_, err := rocketchat.Resume(t.Context(), serverURL, "a b")
	wantError(t, err, chatdm.KindInvalidRequest)
	_, err = chatdm.NewClient("xoxb-1", rocketchat.WithTOTP("123456"))
	if e := wantError(t, err, chatdm.KindInvalidRequest); !strings.HasPrefix(e.Err.Error(), "WithTOTP: ") {
		t.Errorf("Slack's constructor: %v", err)
	}
}

// TestServerURL: what the URL of a server may look like.
func TestServerURL(t *testing.T) {
	for given, want := range map[string]string{
		"https://chat.example.org":               "https://chat.example.org/api/v1/im.open",
		"https://chat.example.org/":              "https://chat.example.org/api/v1/im.open",
		"https://chat.example.org/api/v1":        "https://chat.example.org/api/v1/im.open",
		"https://chat.example.org/api/v1/":       "https://chat.example.org/api/v1/im.open",
		"https://example.org/chat":               "https://example.org/chat/api/v1/im.open",
		"https://example.org/chat/api/v1/":       "https://example.org/chat/api/v1/im.open",
		"http://localhost:3000":                  "http://localhost:3000/api/v1/im.open",
		"http://[::1]:3000/":                     "http://[::1]:3000/api/v1/im.open",
		"https://api.example.org:8443/x/api/v11": "https://api.example.org:8443/x/api/v11/api/v1/im.open",
	} {
		var got string
		transport := httpmock.NewMockTransport()
		transport.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
			got = req.URL.String()
			return httpmock.NewStringResponse(200, `{"success":true}`), nil
		})
		client, err := rocketchat.NewClient(given, credentials, options(transport)...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.IM.Open(t.Context(), "r1"); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%q sends to %s, want %s", given, got, want)
		}
	}
}

const (
	secretToken    = "rc-S3CRET+token/="
	secretPassword = `pw"S3CRET\word`
	secretPart     = "S3CRET"
)

// everyFormat is what fmt and slog make of a value.
func everyFormat(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(handler).Info("value", "v", v)
	}
	return b.String()
}

func lookFor(t *testing.T, where, text string) {
	t.Helper()
	if strings.Contains(text, secretPart) || strings.Contains(text, fmt.Sprintf("%x", secretPart)) {
		t.Errorf("%s shows the secret:\n%s", where, text)
	}
}

func TestNoSecretInTypes(t *testing.T) {
	creds := rocketchat.Credentials{UserID: "u1", AuthToken: secretToken}
	client, err := rocketchat.NewClient(serverURL, creds)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"Client": client, "IM": client.IM, "IM value": *client.IM, "Credentials": creds, "*Credentials": &creds,
		"in a slice": []rocketchat.Credentials{creds}, "in a struct": struct{ C rocketchat.Credentials }{creds},
	} {
		if name == "in a slice" || name == "in a struct" { // slog's JSON of them is encoding/json's, which is the caller's wish
			lookFor(t, name, fmt.Sprintf("%v %+v %#v %s %d %x", v, v, v, v, v, v))
			continue
		}
		lookFor(t, name, everyFormat(v))
	}
	data, err := json.Marshal(creds)
	if err != nil {
		t.Fatal(err)
	}
	var back rocketchat.Credentials
	if err := json.Unmarshal(data, &back); err != nil || back != creds {
		t.Errorf("stored as %s, read back as %v, %v", data, back, err)
	}
	data, _ = json.Marshal(client)
	lookFor(t, "the client's JSON", string(data))
}

func TestNoSecretOnTheWay(t *testing.T) {
	echoes := func(secret string) map[string]httpmock.Responder {
		quoted, _ := json.Marshal(secret)
		return map[string]httpmock.Responder{
			"text":      httpmock.NewStringResponder(400, `{"success":false,"error":`+string(quoted)+`}`),
			"code":      httpmock.NewStringResponder(400, `{"success":false,"errorType":`+string(quoted)+`}`),
			"message":   httpmock.NewStringResponder(401, `{"status":"error","message":`+string(quoted)+`}`),
			"limit":     httpmock.NewStringResponder(429, `{"success":false,"error":`+string(quoted)+`}`),
			"page":      httpmock.NewStringResponder(400, "no JSON: "+secret),
			"raw JSON":  httpmock.NewStringResponder(200, `{"a":`+string(quoted)+`}x`),
			"server":    httpmock.NewStringResponder(500, secret).HeaderSet(http.Header{"X-Request-Id": {secret}}),
			"redirect":  httpmock.NewStringResponder(302, "").HeaderSet(http.Header{"Location": {"https://evil.example/" + url.PathEscape(secret)}}),
			"transport": httpmock.NewErrorResponder(fmt.Errorf("cannot send %s: %w", secret, io.ErrUnexpectedEOF)),
		}
	}
	var log strings.Builder
	logger := chatdm.WithLogger(slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	for name, resp := range echoes(secretToken) {
		client, err := rocketchat.NewClient(serverURL, rocketchat.Credentials{UserID: "u1", AuthToken: secretToken}, options(newScript(resp), once, logger)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range methods {
			_, err := call(t.Context(), client)
			lookFor(t, name, everyFormat(err)+everyFormat(*wantError(t, err)))
		}
	}
	for name, resp := range echoes(secretPassword) {
		_, err := rocketchat.Login(t.Context(), serverURL, "alice", secretPassword, options(newScript(resp), once, logger)...)
		lookFor(t, "login "+name, everyFormat(err)+everyFormat(*wantError(t, err)))
	}
	if log.Len() == 0 {
		t.Error("nothing was logged")
	}
	lookFor(t, "the log", log.String())
}
