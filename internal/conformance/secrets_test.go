package conformance_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// The credentials of the tests. JSON and URLs escape parts of them, but never
// secret.
const (
	secretToken    = "xoxb-77777-\"" + secret + "\\TOKEN+/=&%"
	secretPassword = `pw"` + secret + `\word`

	secret = "S3CRET"
)

// lookFor fails the test if text shows a credential.
func lookFor(t testing.TB, where, text string) {
	t.Helper()
	if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
		t.Errorf("%s shows the secret:\n%s", where, text)
	}
}

// everyFormat returns what fmt, encoding/json, and log/slog make of a value.
func everyFormat(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%p"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	data, err := json.Marshal(v)
	fmt.Fprintln(&b, string(data), err)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(handler).Info("value", "v", v)
	}
	return b.String()
}

// TestNoSecretInTypes prints clients and their services in every format.
func TestNoSecretInTypes(t *testing.T) {
	slack, err := chatdm.NewClient(secretToken, chatdm.WithHeader("Cookie", "d="+secretToken))
	if err != nil {
		t.Fatal(err)
	}
	rocket, err := rocketchat.NewClient("https://chat.example.org", rocketchat.Credentials{UserID: "u1", AuthToken: secretToken})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"Client": slack, "IM": slack.IM, "Conversations": slack.Conversations, "IM value": *slack.IM,
		"zero value": new(chatdm.Client), "in a struct": struct{ C *chatdm.Client }{slack}, "in a slice": []any{slack}, "in a map": map[string]any{"c": slack},
		"rocketchat.Client": rocket, "rocketchat zero value": new(rocketchat.Client), "rocketchat IM": rocket.IM, "rocketchat IM value": *rocket.IM,
		"rocketchat Chat": rocket.Chat, "rocketchat Users value": *rocket.Users,
	} {
		lookFor(t, name, everyFormat(v))
	}
	for _, v := range []fmt.GoStringer{new(chatdm.Client), (*chatdm.Client)(nil), new(rocketchat.Client), (*rocketchat.Client)(nil)} {
		if text := v.GoString(); !strings.HasSuffix(text, "chat.Client(none)") && text != "chatdm.Client(none)" { // fmt would hide a panic
			t.Errorf("got %q, want the name of the type", text)
		}
	}
}

// lookInError fails the test if an error or one of its causes shows a credential.
func lookInError(t *testing.T, name string, err error) {
	t.Helper()
	e := wiretest.WantError(t, err)
	lookFor(t, name+": the error", everyFormat(*e))
	lookInCauses(t, name+": the cause", errors.Join(err, e.Err))
}

func lookInCauses(t *testing.T, where string, cause error) {
	t.Helper()
	if cause == nil {
		return
	}
	lookFor(t, where, everyFormat(cause))
	switch cause := cause.(type) { //nolint:errorlint // it walks the chain
	case interface{ Unwrap() error }:
		lookInCauses(t, where, cause.Unwrap())
	case interface{ Unwrap() []error }:
		for _, cause := range cause.Unwrap() {
			lookInCauses(t, where, cause)
		}
	}
}

// discreet is an error with a harmless text and a cause that may have another.
type discreet struct{ error }

func (discreet) Error() string   { return "something failed" }
func (d discreet) Unwrap() error { return d.error }

// discreetJoin is the same with several causes.
type discreetJoin []error

func (discreetJoin) Error() string     { return "something failed" }
func (d discreetJoin) Unwrap() []error { return d }

// echoes returns responses and errors that show a credential, and nil for a success that does.
func echoes(secret string) map[string]wiretest.Responder {
	data, _ := json.Marshal(secret)
	quoted := string(data)
	respond := wiretest.Respond
	return map[string]wiretest.Responder{
		"code":                           respond(400, `{"ok":false,"error":`+quoted+`,"errorType":`+quoted+`}`, "X-Slack-Req-Id", secret),
		"known code":                     respond(400, `{"ok":false,"error":"invalid_auth","errorType":"invalid-channel"}`, "X-Slack-Req-Id", "r "+secret),
		"scopes":                         respond(200, `{"ok":false,"error":"missing_scope","needed":`+quoted+`,"provided":`+quoted+`}`),
		"text":                           respond(400, `{"success":false,"error":`+quoted+`}`),
		"message":                        respond(401, `{"status":"error","message":`+quoted+`}`),
		"messages":                       respond(200, `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":[`+quoted+`],"warnings":[`+quoted+`]}}`),
		"HTML":                           respond(200, "<html>"+secret),
		"HTML at the cut of the excerpt": respond(200, strings.Repeat("x", 110)+secret),
		"escaped for a query":            respond(200, "<a href=/?t="+url.QueryEscape(secret)+">"),
		"escaped for a path":             respond(200, "<a href=/"+url.PathEscape(secret)+">"),
		"error page":                     respond(403, "Authorization: Bearer "+secret),
		"redirect":                       respond(302, "", "Location", "https://evil.example/"+url.PathEscape(secret)+"?t="+secret, "X-Slack-Req-Id", secret),
		"429":                            respond(429, secret, "X-Slack-Req-Id", secret),
		"429 with JSON":                  respond(429, `{"success":false,"error":`+quoted+`}`),
		"500":                            respond(500, secret, "X-Slack-Req-Id", secret, "X-Request-Id", secret),
		"truncated":                      respond(200, `{"ok":false,"error":`+quoted),
		"garbage after JSON":             respond(200, `{"a":`+quoted+`}x`),
		"empty success":                  respond(200, `{"ok":true,"success":true,"x":`+quoted+`}`),
		"transport":                      fail(fmt.Errorf("cannot send %s: %w", secret, io.ErrUnexpectedEOF)),
		"transport, in a cause":          fail(discreet{fmt.Errorf("%s: %w", secret, io.ErrUnexpectedEOF)}),
		"transport, in several causes":   fail(discreetJoin{errors.New("harmless"), nil, discreet{discreetJoin{io.ErrUnexpectedEOF, errors.New(secret)}}}),
		"dump":                           func(req *http.Request) (*http.Response, error) { return nil, fmt.Errorf("failed: %v", req.Header) },
		"broken body":                    brokenBody(errors.New("read " + secret)),
		"success":                        nil,
	}
}

// TestNoSecretOnTheWay drives every method into them, and looks for the credential in everything
// that is returned, logged, or sent.
func TestNoSecretOnTheWay(t *testing.T) {
	eachMethod(t, func(t *testing.T, m method) {
		secret := secretToken
		if strings.HasSuffix(t.Name(), ".Login") {
			secret = secretPassword
		}
		for name, echo := range echoes(secret) {
			var log strings.Builder
			s := wiretest.NewScript(func(req *http.Request) (*http.Response, error) {
				if got := req.Header.Get("Authorization") + req.Header.Get("X-Auth-Token"); !m.returnsCredentials() && strings.TrimPrefix(got, "Bearer ") != secret {
					t.Errorf("got credential %q in the header, want %q", got, secret)
				}
				if echo != nil {
					return echo(req)
				}
				quoted, _ := json.Marshal(secret)
				body := strings.Replace(m.success, "{", fmt.Sprintf(`{"warning":%s,"response_metadata":{"messages":[%s]},`, quoted, quoted), 1)
				return wiretest.Respond(200, body, "X-Oauth-Scopes", secret, "X-Slack-Req-Id", secret, "X-Request-Id", secret)(req)
			})
			res, err := m.on(t, s, logTo(&log), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 2, BaseWait: 1, MaxRetryAfter: 1}))(t.Context())
			lookFor(t, name+": the result", everyFormat(res))
			if err != nil {
				lookInError(t, name, err)
			}
			if echo == nil && err != nil || strings.HasPrefix(name, "transport") && (!errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, discreetJoin{})) {
				t.Errorf("%s: got %v, want a success, or io.ErrUnexpectedEOF from the transport", name, err)
			}
			if log.Len() == 0 {
				t.Errorf("%s: got an empty log, want lines", name)
			}
			lookFor(t, name+": the log", log.String())
			for _, request := range s.Requests {
				header, body, _ := strings.Cut(request, "\n\n")
				line, _, _ := strings.Cut(header, "\n")
				lookFor(t, name+": the URL", line)
				if !m.returnsCredentials() { // it may be in the body
					lookFor(t, name+": the body", body)
				}
			}
		}
	})
	t.Run("as an ID", func(t *testing.T) {
		client, err := chatdm.NewClient(secretToken)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.IM.Close(t.Context(), secretToken+" ")
		wiretest.WantError(t, err, chatdm.KindInvalidRequest)
		lookFor(t, "the error", everyFormat(err))
	})
	t.Run("known code that equals the token", func(t *testing.T) {
		client, err := chatdm.NewClient("channel_not_found", through(wiretest.NewScript(wiretest.Respond(200, `{"ok":false,"error":"channel_not_found"}`))))
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.IM.Close(t.Context(), "D1")
		wiretest.WantError(t, err, chatdm.ErrChannelNotFound)
	})
}

// TestHeadersAreNotShown: the values of headers that hold credentials do not appear,
// nor do the cookies of a Cookie header. Other headers may.
func TestHeadersAreNotShown(t *testing.T) {
	const value, other = "xoxd-S3CRET+cookie/of=alice", "second-S3CRET-cookie"
	for _, tt := range [][2]string{
		{"cookie", "d=" + value}, {"Cookie", "d=" + url.QueryEscape(value)}, {"Cookie", `d="` + value + `"`},
		{"Cookie", "d=" + value + "; lc=1; b=" + other}, {"Cookie", "b=" + other + ";d=" + value},
		{"Proxy-Authorization", value}, {"X-Csrf-Token", value}, {"Cf-Access-Client-Secret", value}, {"X-Api-Key", value},
		{"X-2fa-Code", value}, {"X-Password", value}, {"x-session-id", value},
	} {
		header, shown := tt[1], []string{tt[1]}
		if strings.EqualFold(tt[0], "Cookie") {
			shown = append(shown, value, url.QueryEscape(value))
		}
		if strings.Contains(header, other) {
			shown = append(shown, other)
		}
		for _, text := range shown {
			for name, echo := range echoes(text) {
				if echo == nil {
					continue
				}
				for _, method := range pausing {
					var log strings.Builder
					_, err := methods[method].on(t, wiretest.NewScript(echo), once, logTo(&log), chatdm.WithHeader(tt[0], header), chatdm.WithHeader("X-Trace", "gateway-7"))(t.Context())
					if name != "empty success" {
						lookInError(t, header+", "+name, err)
					}
					lookFor(t, header+", "+name+": the log", log.String())
				}
			}
		}
	}
	_, err := methods[pausing[0]].on(t, wiretest.NewScript(wiretest.Respond(403, "blocked by gateway-7")), once, chatdm.WithHeader("X-Trace", "gateway-7"))(t.Context())
	if !strings.Contains(err.Error(), "gateway-7") {
		t.Errorf("got %v, want the value of a harmless header in it", err)
	}
}

// newToken is a credential in a response. Every part of it that could be of use
// contains secret.
var newToken = strings.Repeat(secret, 6)

// confidential are the calls whose responses contain credentials.
func confidential() map[string]method {
	calls := map[string]method{}
	for _, name := range []string{"oauth.v2.access", "openid.connect.token", "tooling.tokens.rotate", "apps.manifest.create", "apps.connections.open", "rtm.connect"} {
		calls[name] = method{service: "slack", api: name, client: slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
			return nil, failed(c.Call(ctx, name, nil, nil))
		})}
	}
	for _, name := range []string{"login", "users.createToken", "users.regeneratePersonalAccessToken", "oauth-apps.get", "integrations.create"} {
		calls[name] = method{service: "rocketchat", api: name, client: rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
			return nil, failed(c.Call(ctx, http.MethodPost, name, nil, nil))
		})}
	}
	for name, m := range methods {
		if m.returnsCredentials() {
			calls[name] = m
		}
	}
	return calls
}

// failed returns the error of a call.
func failed(_ any, err error) error { return err }

// TestLoginShowsNothingOfTheResponse: any response to a login may contain new
// credentials, so errors and logs show no part of it.
func TestLoginShowsNothingOfTheResponse(t *testing.T) {
	data := `{"userId":"` + newToken + `","authToken":"` + newToken + `"}`
	success := `{"status":"success","access_token":"` + newToken + `","data":` + data + `}`
	html := "<html>" + newToken
	responses := []wiretest.Responder{
		wiretest.Respond(200, html, "Content-Type", "text/html"),
		wiretest.Respond(200, success+strings.Repeat(" ", 5<<20)),
		wiretest.Respond(302, success, "Location", "https://"+newToken+"/"),
		wiretest.Respond(200, success+"x", "Content-Encoding", "gzip", "X-Slack-Req-Id", newToken, "X-Request-Id", newToken),
		brokenBody(errors.New(newToken)),
	}
	for _, body := range []string{
		success + "x", success + success, strings.TrimSuffix(success, "}"), "x" + success, "[" + success + "]", `"` + newToken + `"`, newToken,
		success[:strings.Index(success, newToken)+12], strings.Replace(success, `","data`, `" "data`, 1), strings.Replace(success, newToken, newToken+"\x01", 1),
		`{"status":1,"data":` + data + `}`, `{"data":` + data + `}`, `{"status":"error","message":"` + newToken + `","data":` + data + `}`,
		`{"status":"success","data":{"authToken":"` + newToken + `"}}`, `{"status":"success","data":{"userId":"u","authToken":["` + newToken + `"]}}`,
		`{"status":"success","data":"` + newToken + `"}`, `{"status":"success","authToken":"` + newToken + `"}`,
	} {
		responses = append(responses, wiretest.Respond(200, body))
	}
	for _, status := range []int{304, 400, 401, 403, 404, 408, 429, 500, 503} {
		for _, body := range []string{
			html, success, success + "x", `{"success":false,"error":"` + newToken + `"}`, `{"ok":false,"error":"` + newToken + `","errorType":"` + newToken + `"}`,
			`{"success":false,"error":"it failed [` + newToken + `]"}`, `{"status":"error","message":"` + newToken + `","error":401}`,
			`{"ok":false,"error":"invalid_arguments","needed":"` + newToken + `","warning":"` + newToken + `","response_metadata":{"messages":["` + newToken + `"]}}`,
		} {
			responses = append(responses, wiretest.Respond(status, body, "X-Slack-Req-Id", newToken))
		}
	}
	for name, m := range confidential() {
		for _, respond := range responses {
			var log strings.Builder
			res, err := m.on(t, wiretest.NewScript(respond), once, logTo(&log))(t.Context())
			if res != nil || err == nil && m.success != "" {
				t.Errorf("%s: got %v, %v, want an error", name, res, err)
			}
			if err != nil {
				lookInError(t, name, err)
			}
			lookFor(t, name+": the log", log.String())
		}
	}
}

// TestConfidentialErrors: the error of a confidential call has the client's own
// words, and the server's code if it looks like one.
func TestConfidentialErrors(t *testing.T) {
	codes := map[string]bool{ // whether the error shows it
		"invalid_code": true, "error-login-blocked-for-ip": true, strings.Repeat("a", 32): true, "a-b_c-d_e-f_g-h": true, "totp-required": true,
		"code7": false, "Code": false, "": false, "a b": false, "a--b": false, "_a": false, "a.b": false,
		strings.Repeat("a", 33): false, "a_" + strings.Repeat("b", 33): false, "a_b_c_d_e_f_g_h_i": false,
	}
	words := []struct {
		service string // "" for both
		respond wiretest.Responder
		text    string
	}{
		{"", wiretest.Respond(302, "", "Location", "https://evil.example/"), "the client does not follow redirects"},
		{"", wiretest.Respond(200, `{"ok":tr`), "the JSON is truncated after 8 bytes"},
		{"", wiretest.Respond(200, "evil"), "the response is malformed"},
		{"", wiretest.Respond(200, `{"evil":1}`), "neither a success nor an error"},
		{"rocketchat", wiretest.Respond(404, "evil"), "the server has no endpoint"},
		{"", brokenBody(errors.New("evil")), "no complete response: connection lost"},
		{"", fail(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}), "dial tcp: connection refused"},
	}
	for name, m := range confidential() {
		for code, shown := range codes {
			want := ""
			if shown {
				want = code
			}
			_, err := m.on(t, wiretest.NewScript(errorBody(m.service, fmt.Sprintf(`"error":%q,"errorType":%[1]q,"message":"evil"`, code))), once)(t.Context())
			if e := wiretest.WantError(t, err); string(e.Code) != want || strings.Contains(err.Error(), "evil") {
				t.Errorf("%s: got %v with code %q, want %q", name, err, e.Code, want)
			}
		}
		for _, tt := range words {
			if tt.service != "" && tt.service != m.service {
				continue
			}
			_, err := m.on(t, wiretest.NewScript(tt.respond), once)(t.Context())
			if e := wiretest.WantError(t, err); e.Method != m.api || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "evil") {
				t.Errorf("%s: got %v, want %q and nothing of the response in it", name, err, tt.text)
			}
		}
	}
	client, err := rocketchat.NewClient("https://example.org", rocketchat.Credentials{UserID: "u1", AuthToken: secretToken}, through(wiretest.NewScript(wiretest.Respond(400, `{"error":"No such user"}`))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Call(t.Context(), http.MethodGet, "users.info", nil, nil); !strings.Contains(err.Error(), "No such user") {
		t.Errorf("users.info: got %v, want the server's text, because the call is not confidential", err)
	}
}

// TestLoginShowsNothingOfBrokenHTTP: net/http quotes malformed HTTP in its
// errors, and that text may be the response.
func TestLoginShowsNothingOfBrokenHTTP(t *testing.T) {
	for _, raw := range []string{
		newToken + "\r\n\r\n", "HTTP/1.1 " + newToken + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + newToken + "\r\n\r\n", newToken + " 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX " + newToken + ": 1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: " + newToken + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + newToken + "\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + newToken + "\r\n\r\n",
		"HTTP/1.1 500 " + newToken + "\r\nContent-Length: 0\r\n\r\n",
	} {
		server := httptest.NewServer(hijack(raw))
		for name, m := range confidential() {
			var log strings.Builder
			_, err := m.at(t, server.URL, through(server.Client().Transport), once, logTo(&log))(t.Context())
			lookInError(t, name, err)
			lookFor(t, name+": the log", log.String())
		}
		server.Close()
	}
}
