package rocketchat_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jarcoal/httpmock"
	"go.uber.org/goleak"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/rocketchat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const serverURL = "https://chat.example.org"

var credentials = rocketchat.Credentials{UserID: "aobEdbYhXfu5hkeqG", AuthToken: "golden-auth-token"}

func golden(t testing.TB, endpoint, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "rocketchat", endpoint, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func goldenResponse(t testing.TB, endpoint, name string) httpmock.Responder {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(golden(t, endpoint, name+".response.http"))), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return func(*http.Request) (*http.Response, error) {
		fresh := *resp
		fresh.Body = io.NopCloser(bytes.NewReader(body))
		return &fresh, nil
	}
}

// dump writes a request the way the golden ones are written.
func dump(req *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\nHost: %s\n", req.Method, req.URL.RequestURI(), req.URL.Host)
	header := req.Header.Clone()
	if req.ContentLength > 0 {
		header.Set("Content-Length", fmt.Sprint(req.ContentLength))
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(header[name], ", "))
	}
	b.WriteString("\n")
	if req.Body != nil {
		body, _ := io.ReadAll(req.Body)
		b.Write(body)
	}
	return b.String()
}

// script answers in order, the last answer for good, and keeps what was sent.
type script struct {
	*httpmock.MockTransport
	sent []string
}

func newScript(answers ...httpmock.Responder) *script {
	s := &script{MockTransport: httpmock.NewMockTransport()}
	s.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
		s.sent = append(s.sent, dump(req))
		return answers[min(len(s.sent), len(answers))-1](req)
	})
	return s
}

func options(transport http.RoundTripper, opts ...chatdm.Option) []chatdm.Option {
	return append([]chatdm.Option{
		chatdm.WithHTTPClient(&http.Client{Transport: transport}), chatdm.WithUserAgent("golden"),
	}, opts...)
}

func newClient(t testing.TB, transport http.RoundTripper, opts ...chatdm.Option) *rocketchat.Client {
	t.Helper()
	client, err := rocketchat.NewClient(serverURL, credentials, options(transport, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func wantError(t testing.TB, err error, targets ...error) *chatdm.Error {
	t.Helper()
	e, ok := errors.AsType[*chatdm.Error](err)
	if !ok {
		t.Fatalf("error is %T %v, want a *chatdm.Error", err, err)
	}
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("errors.Is(err, %v) is false: %v", target, err)
		}
	}
	return e
}

var once = chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1})

type callFunc = func(context.Context, *rocketchat.Client) (any, error)

// methods are the four calls in one shape.
var methods = map[string]callFunc{
	"im.create": func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"bob"}})
	},
	"im.open":  func(ctx context.Context, c *rocketchat.Client) (any, error) { return c.IM.Open(ctx, "u_adminu_bob") },
	"im.close": func(ctx context.Context, c *rocketchat.Client) (any, error) { return c.IM.Close(ctx, "u_adminu_bob") },
	"im.delete": func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.IM.Delete(ctx, rocketchat.RoomID("hdy9972092873h8s7s0"))
	},
}

func TestWire(t *testing.T) {
	meta := func(method string) chatdm.Meta {
		return chatdm.Meta{Method: method, StatusCode: 200, Attempts: 1}
	}
	room := rocketchat.Room{ID: "u_adminu_bob", Type: "d", Usernames: []string{"admin", "bob"}}
	tests := []struct {
		method, request, response string
		call                      callFunc
		want                      any
	}{
		{"im.delete", "by_room", "ok", methods["im.delete"], &rocketchat.DeleteResult{Success: true, Meta: meta("im.delete")}},
		{"im.delete", "by_username", "ok", func(ctx context.Context, c *rocketchat.Client) (any, error) {
			return c.IM.Delete(ctx, rocketchat.Username("alice"))
		}, &rocketchat.DeleteResult{Success: true, Meta: meta("im.delete")}},
		{"im.create", "one", "ok", methods["im.create"], &rocketchat.CreateResult{Room: room, Meta: meta("im.create")}},
		{"im.create", "one", "without_rid", methods["im.create"], &rocketchat.CreateResult{Room: room, Meta: meta("im.create")}},
		{"im.create", "several", "ok", func(ctx context.Context, c *rocketchat.Client) (any, error) {
			return c.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"bob", "carol"}, ExcludeSelf: true})
		}, &rocketchat.CreateResult{Room: room, Meta: meta("im.create")}},
		{"im.open", "open", "ok", methods["im.open"], &rocketchat.OpenResult{Meta: meta("im.open")}},
		{"im.close", "close", "ok", methods["im.close"], &rocketchat.CloseResult{Meta: meta("im.close")}},
		{"im.close", "close", "again", methods["im.close"], &rocketchat.CloseResult{
			NoOp: true, AlreadyClosed: true, Meta: chatdm.Meta{Method: "im.close", StatusCode: 400, Attempts: 1}}},
		{"im.close", "close", "again_3.18", methods["im.close"], &rocketchat.CloseResult{
			NoOp: true, AlreadyClosed: true, Meta: chatdm.Meta{Method: "im.close", StatusCode: 400, Attempts: 1}}},
	}
	for _, tt := range tests {
		t.Run(tt.method+"/"+tt.request+"/"+tt.response, func(t *testing.T) {
			s := newScript(goldenResponse(t, tt.method, tt.response))
			res, err := tt.call(t.Context(), newClient(t, s, once))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{golden(t, tt.method, tt.request+".request.http")}, s.sent); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, res); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnswers decodes every answer that is known of, to its code, kind and
// status.
func TestAnswers(t *testing.T) {
	const unknown, unsupported, unavailable, unexpected = chatdm.KindUnknown, chatdm.KindUnsupported, chatdm.KindUnavailable, chatdm.KindUnexpectedResponse
	type want struct {
		code   chatdm.Code
		kind   chatdm.Kind // of the code where it is empty
		status int
		text   string // in the Message, or in the error's text
	}
	tests := map[string]map[string]want{
		"im.delete": {
			"ok":                      {},
			"invalid_params_4.8":      {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, "must have required property 'roomId' must have"},
			"invalid_params_both_4.8": {rocketchat.ErrInvalidParams, "", 400, "must NOT have additional properties"},
			"invalid_params_8":        {rocketchat.ErrInvalidParams, "", 400, "oneOf"},
			"invalid_params_7":        {rocketchat.ErrInvalidParams, "", 400, "oneOf"},
			"invalid_channel":         {rocketchat.ErrInvalidChannel, chatdm.KindNotFound, 400, ""},
			"not_allowed":             {rocketchat.ErrNotAllowed, chatdm.KindPermissionDenied, 400, "Not allowed"},
			"no_delete_d":             {rocketchat.ErrNotAllowed, "", 400, ""},
			"federated":               {rocketchat.ErrCannotDeleteFederatedRoom, chatdm.KindUnreachable, 400, ""},
			"app_prevented":           {rocketchat.ErrAppPreventedDeleting, chatdm.KindPermissionDenied, 400, ""},
			"team_channel":            {rocketchat.ErrCannotDeleteTeamChannel, chatdm.KindUnreachable, 400, ""},
			"invalid_room":            {rocketchat.ErrInvalidRoom, chatdm.KindNotFound, 400, ""},
			"invalid_user":            {rocketchat.ErrInvalidUser, chatdm.KindNotFound, 400, ""},
			"room_param":              {rocketchat.ErrRoomParamNotProvided, chatdm.KindInvalidRequest, 400, ""},
			"room_not_found":          {rocketchat.ErrRoomNotFound, chatdm.KindNotFound, 400, ""},
			"code_only_in_the_text":   {rocketchat.ErrNotAllowed, "", 400, ""},
			"numeric_error_type":      {"500", unknown, 400, "Something"},
			"new_code":                {"error-brand-new", unknown, 400, "What is this"},
			"free_text":               {"", unknown, 400, "MongoServerSelectionError: connect ECONNREFUSED 10.0.0.7:27017"},
			"match_error":             {"", unknown, 400, "Match error"},
			"unauthorized_3.18":       {rocketchat.ErrUnauthorized, chatdm.KindUnauthenticated, 401, "You must be logged in"},
			"unauthorized_7":          {rocketchat.ErrUnauthorized, "", 401, "You must be logged in"},
			"unauthorized_9":          {rocketchat.ErrUnauthorized, "", 401, "You must be logged in"},
			"no_username":             {rocketchat.ErrUnauthorized, "", 403, "username"},
			"forbidden_3.18":          {rocketchat.ErrForbidden, chatdm.KindPermissionDenied, 403, ""},
			"forbidden_9":             {rocketchat.ErrForbidden, "", 403, ""},
			"limited":                 {rocketchat.ErrTooManyRequests, chatdm.KindRateLimited, 429, "wait 50 seconds"},
			"limited_without_headers": {rocketchat.ErrTooManyRequests, "", 429, ""},
			"limited_0.74":            {rocketchat.ErrTooManyRequests, "", 429, ""},
			"limited_without_a_body":  {rocketchat.ErrTooManyRequests, "", 429, ""},
			"wrong_method":            {"", unsupported, 405, "3.18.0"},
			"absent_text":             {"", unsupported, 404, "3.18.0"},
			"absent_json":             {"", unsupported, 404, "3.18.0"},
			"absent_html_200":         {"", unsupported, 200, "3.18.0"},
			"absent_html_404":         {"", unsupported, 404, "3.18.0"},
			"malformed_json":          {"", unexpected, 400, "Bad Request"},
			"server_error_restivus":   {"", unavailable, 500, ""},
			"server_error_hono":       {"", unavailable, 500, ""},
			"proxy_502":               {"", unavailable, 502, ""},
			"proxy_503":               {"", unavailable, 503, ""},
			"proxy_504":               {"", unavailable, 504, ""},
		},
		"im.create": {
			"ok": {}, "without_rid": {},
			"too_many_users": {rocketchat.ErrDirectMessageMaxUserExceeded, chatdm.KindInvalidRequest, 400, ""},
			"creator":        {rocketchat.ErrCreatorNotInRoom, chatdm.KindInvalidRequest, 400, ""},
			"app_prevented":  {rocketchat.ErrAppPrevented, chatdm.KindPermissionDenied, 400, ""},
			"premium":        {rocketchat.ErrThisIsAPremiumFeature, unsupported, 400, ""},
			"federation":     {"Federation is down on example.org", unknown, 400, ""},
		},
		"im.open":  {"ok": {}, "forbidden": {rocketchat.ErrForbidden, "", 403, ""}},
		"im.close": {"ok": {}, "again": {}, "again_3.18": {}, "not_subscribed": {rocketchat.ErrRoomNotFound, chatdm.KindNotFound, 400, "not subscribed"}},
	}
	for method, answers := range tests {
		for name, want := range answers {
			t.Run(method+"/"+name, func(t *testing.T) {
				s := newScript(goldenResponse(t, method, name))
				_, err := methods[method](t.Context(), newClient(t, s, once))
				if want.status == 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				e := wantError(t, err)
				if want.kind == "" {
					want.kind = want.code.Kind()
				}
				if e.Service != "rocketchat" || e.Method != method || e.Code != want.code || e.Kind != want.kind || e.StatusCode != want.status || e.Attempts != 1 {
					t.Errorf("got %+v, want %+v", e, want)
				}
				if !strings.Contains(e.Error(), want.text) || strings.ContainsAny(e.Error(), "\r\n") {
					t.Errorf("text %q, want %q in it", e, want.text)
				}
			})
		}
		// An answer that no test decodes would rot.
		files, _ := filepath.Glob("../testdata/rocketchat/" + method + "/*.response.http")
		for _, file := range files {
			if _, ok := answers[strings.TrimSuffix(filepath.Base(file), ".response.http")]; !ok {
				t.Errorf("%s is of no test", file)
			}
		}
	}
}

// TestHostileAnswers: what is no answer of Rocket.Chat at all.
func TestHostileAnswers(t *testing.T) {
	const unexpected = chatdm.KindUnexpectedResponse
	tests := []struct {
		name   string
		status int
		body   string
		kind   chatdm.Kind
		text   string
	}{
		{"empty", 200, "", unexpected, "not a JSON object"},
		{"text", 200, "hello", unexpected, "hello"},
		{"null", 200, "null", unexpected, "not a JSON object"},
		{"array", 200, `[{"success":true}]`, unexpected, "not a JSON object"},
		{"empty object", 200, "{}", unexpected, "neither success nor an error"},
		{"success is a string", 200, `{"success":"true"}`, unexpected, "neither success nor an error"},
		{"success with status 400", 400, `{"success":true}`, unexpected, "neither success nor an error"},
		{"no success and no text", 400, `{"success":false}`, unexpected, "neither success nor an error"},
		{"texts of other types", 400, `{"success":false,"error":{},"errorType":[],"message":true}`, unexpected, "neither"},
		{"cut off", 200, `{"success":tr`, unexpected, "cut off after 13 bytes"},
		{"401 HTML", 401, "<html>proxy", unexpected, "proxy"},
		{"502 JSON", 502, `{"message":"upstream"}`, chatdm.KindUnavailable, "upstream"},
		{"501", 501, ``, chatdm.KindUnavailable, ""},
		{"500 with a code", 500, `{"success":false,"errorType":"invalid-channel"}`, chatdm.KindNotFound, "invalid-channel"},
		{"too many requests with 400", 400, `{"success":false,"errorType":"error-too-many-requests"}`, chatdm.KindRateLimited, ""},
		{"redirect", 302, "", unexpected, "redirected to https://evil.example/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := httpmock.NewStringResponder(tt.status, tt.body).HeaderSet(http.Header{"Location": {"https://evil.example/"}})
			for method, call := range methods {
				_, err := call(t.Context(), newClient(t, newScript(resp), once))
				e := wantError(t, err, tt.kind)
				if e.StatusCode != tt.status || !strings.Contains(e.Error(), tt.text) {
					t.Errorf("%s: got %v, want status %d and %q", method, err, tt.status, tt.text)
				}
			}
		})
	}
	t.Run("a success without a room", func(t *testing.T) {
		for _, body := range []string{`{"success":true}`, `{"success":true,"room":null}`, `{"success":true,"room":"x"}`, `{"success":true,"room":{"rid":7}}`} {
			_, err := methods["im.create"](t.Context(), newClient(t, newScript(httpmock.NewStringResponder(200, body)), once))
			wantError(t, err, unexpected)
		}
	})
}

// TestHints: where the wait after a 429 comes from.
func TestHints(t *testing.T) {
	tests := []struct {
		name string
		resp httpmock.Responder
		wait time.Duration
	}{
		{"X-RateLimit-Reset against the response's Date", goldenResponse(t, "im.delete", "limited"), 41 * time.Second},
		{"the text", goldenResponse(t, "im.delete", "limited_without_headers"), 50 * time.Second},
		{"the text, where the reset is a fraction of a second longer", goldenWithReset(t, "946684850900"), 50 * time.Second},
		{"the reset, where it is longer than that", goldenWithReset(t, "946684851000"), 51 * time.Second},
		{"backoff", goldenResponse(t, "im.delete", "limited_without_a_body"), time.Second},
		{"a proxy's Retry-After", httpmock.NewStringResponder(429, "").HeaderSet(http.Header{"Retry-After": {"7"}}), 7 * time.Second},
		{"a reset that is past, then the text", goldenWithReset(t, "946684000000"), 50 * time.Second},
	}
	for _, tt := range tests {
		for method, call := range methods { // im.delete, too: a refusal has no effect
			t.Run(tt.name+"/"+method, func(t *testing.T) {
				ok := goldenResponse(t, method, "ok")
				synctest.Test(t, func(t *testing.T) {
					s := newScript(tt.resp, ok)
					start := time.Now()
					if _, err := call(t.Context(), newClient(t, s)); err != nil {
						t.Fatal(err)
					}
					if took := time.Since(start); took != tt.wait || len(s.sent) != 2 {
						t.Errorf("sent %d requests in %v, want 2 in %v", len(s.sent), took, tt.wait)
					}
				})
			})
		}
	}
	t.Run("beyond the bound", func(t *testing.T) {
		for _, seconds := range []string{"61", strings.Repeat("9", 30), strings.Repeat("9", 400)} {
			s := newScript(httpmock.NewStringResponder(429, `{"success":false,"error":"You must wait `+seconds+` seconds. [error-too-many-requests]"}`))
			_, err := methods["im.delete"](t.Context(), newClient(t, s))
			if e := wantError(t, err, rocketchat.ErrTooManyRequests); e.RetryAfter < 61*time.Second || len(s.sent) != 1 {
				t.Errorf("RetryAfter %v after %d requests", e.RetryAfter, len(s.sent))
			}
		}
	})
}

func goldenWithReset(t *testing.T, reset string) httpmock.Responder {
	t.Helper()
	base := goldenResponse(t, "im.delete", "limited_without_headers")
	return func(req *http.Request) (*http.Response, error) {
		resp, err := base(req)
		resp.Header = http.Header{"X-Ratelimit-Reset": {reset}}
		return resp, err
	}
}

// TestRepeats: an answer that is lost is asked for again, but never that of a
// deletion.
func TestRepeats(t *testing.T) {
	lost := map[string]httpmock.Responder{
		"connection": httpmock.NewErrorResponder(io.ErrUnexpectedEOF),
		"503":        httpmock.NewStringResponder(503, "<html>"),
		"500 JSON":   httpmock.NewStringResponder(500, `{"success":false}`),
		"500 code":   httpmock.NewStringResponder(500, `{"success":false,"errorType":"new"}`),
		"cut off":    httpmock.NewStringResponder(200, `{"succ`),
	}
	for name, resp := range lost {
		for method, call := range methods {
			t.Run(name+"/"+method, func(t *testing.T) {
				ok := goldenResponse(t, method, "ok")
				synctest.Test(t, func(t *testing.T) {
					s := newScript(resp, ok)
					_, err := call(t.Context(), newClient(t, s))
					if method != "im.delete" {
						if err != nil || len(s.sent) != 2 {
							t.Errorf("%d requests, %v, want 2 and a success", len(s.sent), err)
						}
						return
					}
					e := wantError(t, err, chatdm.ErrEffectUnknown)
					if len(s.sent) != 1 || e.Attempts != 1 || !strings.Contains(err.Error(), "may have had its effect") {
						t.Errorf("%d requests, %v, want 1", len(s.sent), err)
					}
				})
			})
		}
	}
}

// TestLostDeletion: a real server that drops the connection after it has read
// an im.delete sees exactly one request.
func TestLostDeletion(t *testing.T) {
	var requests atomic.Int32
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		requests.Add(1)
		panic(http.ErrAbortHandler)
	})
	client, err := rocketchat.NewClient(server.URL, credentials)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.IM.Delete(t.Context(), rocketchat.RoomID("r1"))
	if e := wantError(t, err, chatdm.KindUnavailable, chatdm.ErrEffectUnknown); requests.Load() != 1 || e.Attempts != 1 {
		t.Errorf("%d requests, Attempts %d, want 1", requests.Load(), e.Attempts)
	}
}

func TestLogin(t *testing.T) {
	tests := []struct {
		name, request, response string
		call                    func(context.Context, ...chatdm.Option) (rocketchat.Credentials, error)
		want                    chatdm.Code
	}{
		{"3.18", "password", "ok", login(), ""},
		{"7", "password", "ok_7", login(), ""},
		{"totp", "totp", "ok", login(rocketchat.WithTOTP("123456")), ""},
		{"resume", "resume", "ok", func(ctx context.Context, opts ...chatdm.Option) (rocketchat.Credentials, error) {
			return rocketchat.Resume(ctx, serverURL, "golden-auth-token", opts...)
		}, ""},
		{"wrong password", "password", "wrong_password", login(), rocketchat.ErrUnauthorized},
		{"unknown user", "password", "unknown_user", login(), rocketchat.ErrUnauthorized},
		{"totp required", "password", "totp_required", login(), rocketchat.ErrTOTPRequired},
		{"totp invalid", "password", "totp_invalid", login(), rocketchat.ErrTOTPInvalid},
		{"totp attempts", "password", "totp_max_attempts", login(), rocketchat.ErrTOTPMaxAttempts},
		{"totp user", "password", "totp_user_not_found", login(), rocketchat.ErrTOTPUserNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newScript(goldenResponse(t, "login", tt.response))
			creds, err := tt.call(t.Context(), options(s)...)
			if diff := cmp.Diff([]string{golden(t, "login", tt.request+".request.http")}, s.sent); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			if tt.want != "" {
				e := wantError(t, err, tt.want, chatdm.KindUnauthenticated)
				if creds != (rocketchat.Credentials{}) || e.Method != "login" || e.Message == "" {
					t.Errorf("got %v, %+v", creds, e)
				}
				return
			}
			if want := (rocketchat.Credentials{UserID: "u_alice", AuthToken: "tok-alice"}); err != nil || creds != want {
				t.Errorf("got %v, %v, want %v", creds, err, want)
			}
		})
	}
	t.Run("a success without a token", func(t *testing.T) {
		_, err := login()(t.Context(), options(newScript(goldenResponse(t, "login", "without_a_token")))...)
		wantError(t, err, chatdm.KindUnexpectedResponse)
	})
}

func login(more ...chatdm.Option) func(context.Context, ...chatdm.Option) (rocketchat.Credentials, error) {
	return func(ctx context.Context, opts ...chatdm.Option) (rocketchat.Credentials, error) {
		return rocketchat.Login(ctx, serverURL, "alice", "pw-of-alice", append(opts, more...)...)
	}
}

func TestCall(t *testing.T) {
	ok := httpmock.NewStringResponder(200, `{"success":true,"version":"8.0.0","ims":[{"_id":"r1"}]}`)
	query := struct {
		Count int `url:"count"`
	}{5}
	body := map[string]any{"roomId": "r1", "limit": 3}
	tests := []struct {
		verb, path string
		params     any
		line, body string
	}{
		{"GET", "im.list", query, "GET /api/v1/im.list?count=5 HTTP/1.1", ""},
		{"GET", "info", nil, "GET /api/v1/info HTTP/1.1", ""},
		{"POST", "im.setTopic", body, "POST /api/v1/im.setTopic HTTP/1.1", `{"limit":3,"roomId":"r1"}`},
		{"POST", "logout", nil, "POST /api/v1/logout HTTP/1.1", "{}"},
		{"PUT", "livechat/config/x_1", nil, "PUT /api/v1/livechat/config/x_1 HTTP/1.1", "{}"},
	}
	for _, tt := range tests {
		s := newScript(ok)
		var result struct {
			Version string
			IMs     []struct {
				ID string `json:"_id"`
			}
		}
		meta, err := newClient(t, s).Call(t.Context(), tt.verb, tt.path, tt.params, &result)
		if err != nil {
			t.Fatal(err)
		}
		header, sent, _ := strings.Cut(s.sent[0], "\n\n")
		if line, _, _ := strings.Cut(header, "\n"); line != tt.line || sent != tt.body {
			t.Errorf("sent %q with %q, want %q with %q", line, sent, tt.line, tt.body)
		}
		if strings.Contains(header, "Content-Type") != (tt.verb != "GET") {
			t.Errorf("Content-Type of a %s:\n%s", tt.verb, header)
		}
		want := &chatdm.Meta{Method: tt.path, StatusCode: 200, Attempts: 1}
		if diff := cmp.Diff(want, meta, cmpopts.EquateEmpty()); diff != "" || result.Version != "8.0.0" || result.IMs[0].ID != "r1" {
			t.Errorf("meta (-want +got):\n%s\nresult %+v", diff, result)
		}
	}
	t.Run("an answer that does not fit", func(t *testing.T) {
		var result struct{ Version int }
		_, err := newClient(t, newScript(ok)).Call(t.Context(), "GET", "info", nil, &result)
		wantError(t, err, chatdm.KindUnexpectedResponse, chatdm.ErrEffectUnknown)
	})
	t.Run("absent", func(t *testing.T) {
		_, err := newClient(t, newScript(goldenResponse(t, "im.delete", "absent_json"))).Call(t.Context(), "GET", "im.nothing", nil, nil)
		if wantError(t, err, chatdm.KindUnsupported); !strings.Contains(err.Error(), "no GET im.nothing") {
			t.Errorf("text %q", err)
		}
	})
	t.Run("absent im.open", func(t *testing.T) {
		_, err := newClient(t, newScript(goldenResponse(t, "im.delete", "absent_text"))).IM.Open(t.Context(), "r1")
		if wantError(t, err, chatdm.KindUnsupported); !strings.Contains(err.Error(), "URL is wrong") {
			t.Errorf("text %q", err)
		}
	})
}
