package rocketchat_test

import (
	"context"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const serverURL = "https://chat.example.org"

var (
	credentials = rocketchat.Credentials{UserID: "aobEdbYhXfu5hkeqG", AuthToken: "golden-auth-token"}

	newScript = wiretest.NewScript
	wantError = wiretest.WantError
	once      = chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1})
)

func golden(t testing.TB, endpoint, name string) string {
	t.Helper()
	return wiretest.Golden(t, "..", "testdata", "rocketchat", endpoint, name)
}

func goldenResponse(t testing.TB, endpoint, name string) wiretest.Responder {
	t.Helper()
	return wiretest.GoldenResponse(t, "..", "testdata", "rocketchat", endpoint, name+".response.http")
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

type callFunc = func(context.Context, *rocketchat.Client) (any, error)

// methods are the calls of the golden files, in one shape.
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
			if diff := cmp.Diff([]string{golden(t, tt.method, tt.request+".request.http")}, s.Requests); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, res); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAnswers decodes every known response to its code, kind, and status.
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
			"match_error":             {rocketchat.ErrInvalidParams, "", 400, "Match error"},
			"unauthorized_3.18":       {rocketchat.ErrUnauthorized, chatdm.KindUnauthenticated, 401, "You must be logged in"},
			"unauthorized_7":          {rocketchat.ErrUnauthorized, "", 401, "You must be logged in"},
			"unauthorized_9":          {rocketchat.ErrUnauthorized, "", 401, "You must be logged in"},
			"no_username":             {rocketchat.ErrForbidden, "", 403, "username"},
			"forbidden_3.18":          {rocketchat.ErrForbidden, chatdm.KindPermissionDenied, 403, ""},
			"forbidden_9":             {rocketchat.ErrForbidden, "", 403, ""},
			"limited":                 {rocketchat.ErrTooManyRequests, chatdm.KindRateLimited, 429, "wait 50 seconds"},
			"limited_without_headers": {rocketchat.ErrTooManyRequests, "", 429, ""},
			"limited_0.74":            {rocketchat.ErrTooManyRequests, "", 429, ""},
			"limited_without_a_body":  {rocketchat.ErrTooManyRequests, "", 429, ""},
			"wrong_method":            {"", unsupported, 405, "too old"},
			"absent_text":             {"", unsupported, 404, "too old"},
			"absent_json":             {"", unsupported, 404, "too old"},
			"absent_html_200":         {"", unsupported, 200, "too old"},
			"absent_html_404":         {"", unsupported, 404, "too old"},
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
					t.Errorf("got text %q, want %q in it on one line", e, want.text)
				}
			})
		}
		// A golden file that no test uses would go stale.
		files, _ := filepath.Glob("../testdata/rocketchat/" + method + "/*.response.http")
		for _, file := range files {
			if _, ok := answers[strings.TrimSuffix(filepath.Base(file), ".response.http")]; !ok {
				t.Errorf("got no test of %s, want one", file)
			}
		}
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
			if diff := cmp.Diff([]string{golden(t, "login", tt.request+".request.http")}, s.Requests); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			if tt.want != "" {
				e := wantError(t, err, tt.want, chatdm.KindUnauthenticated)
				if creds != (rocketchat.Credentials{}) || e.Method != "login" {
					t.Errorf("got %v, %+v, want no credentials", creds, e)
				}
				return
			}
			if want := (rocketchat.Credentials{UserID: "u_alice", AuthToken: "tok-alice"}); err != nil || creds != want {
				t.Errorf("got %v, %v, want %v", creds, err, want)
			}
		})
	}
	t.Run("success without a token", func(t *testing.T) {
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
	ok := wiretest.Respond(200, `{"success":true,"version":"8.0.0","ims":[{"_id":"r1"}]}`)
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
		{"POST", "im.setTopic", struct {
			RoomID string `json:"roomId"`
			Blocks []any  `json:"blocks"`
		}{"r1", []any{1}}, "POST /api/v1/im.setTopic HTTP/1.1", `{"roomId":"r1","blocks":[1]}`},
		{"POST", "logout", nil, "POST /api/v1/logout HTTP/1.1", "{}"},
		{"POST", "logout", map[string]any(nil), "POST /api/v1/logout HTTP/1.1", "{}"},
		{"POST", "logout", (*struct{ X int })(nil), "POST /api/v1/logout HTTP/1.1", "{}"},
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
		header, sent, _ := strings.Cut(s.Requests[0], "\n\n")
		if line, _, _ := strings.Cut(header, "\n"); line != tt.line || sent != tt.body {
			t.Errorf("got %q with %q, want %q with %q", line, sent, tt.line, tt.body)
		}
		if strings.Contains(header, "Content-Type") != (tt.verb != "GET") {
			t.Errorf("%s: got header\n%s\nwant a Content-Type only with a body", tt.verb, header)
		}
		want := &chatdm.Meta{Method: tt.path, StatusCode: 200, Attempts: 1}
		if diff := cmp.Diff(want, meta, cmpopts.EquateEmpty()); diff != "" || result.Version != "8.0.0" || result.IMs[0].ID != "r1" {
			t.Errorf("meta (-want +got):\n%s\nresult %+v", diff, result)
		}
	}
	t.Run("response that does not fit the result", func(t *testing.T) {
		var result struct{ Version int }
		_, err := newClient(t, newScript(ok)).Call(t.Context(), "GET", "info", nil, &result)
		wantError(t, err, chatdm.KindUnexpectedResponse, chatdm.ErrEffectUnknown)
	})
	t.Run("absent", func(t *testing.T) {
		_, err := newClient(t, newScript(goldenResponse(t, "im.delete", "absent_json"))).Call(t.Context(), "GET", "im.nothing", nil, nil)
		if wantError(t, err, chatdm.KindUnsupported); !strings.Contains(err.Error(), "no endpoint GET im.nothing") {
			t.Errorf("got text %q, want the endpoint in it", err)
		}
	})
	t.Run("absent im.open", func(t *testing.T) {
		_, err := newClient(t, newScript(goldenResponse(t, "im.delete", "absent_text"))).IM.Open(t.Context(), "r1")
		if wantError(t, err, chatdm.KindUnsupported); !strings.Contains(err.Error(), "URL is wrong") {
			t.Errorf("got text %q, want the likely cause in it", err)
		}
	})
	t.Run("already closed", func(t *testing.T) { // only IM.Close turns this error into a flag
		_, err := newClient(t, newScript(goldenResponse(t, "im.close", "again"))).Call(t.Context(), "POST", "im.close", map[string]string{"roomId": "r1"}, nil)
		if e := wantError(t, err, chatdm.KindUnknown); e.StatusCode != 400 || !strings.Contains(e.Message, "already closed") {
			t.Errorf("got %+v, want status 400 and the server's message", e)
		}
	})
}

// TestPermissions: a user without a permission has valid credentials. Only a
// 401 means that they are invalid.
func TestPermissions(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   chatdm.Kind
	}{
		{403, `{"success":false,"error":"User does not have the permissions required for this action [error-unauthorized]"}`, chatdm.KindPermissionDenied},
		{403, `{"success":false,"error":"Not allowed [error-unauthorized]","errorType":"error-unauthorized"}`, chatdm.KindPermissionDenied},
		{400, `{"success":false,"error":"Not allowed [error-unauthorized]","errorType":"error-unauthorized"}`, chatdm.KindPermissionDenied},
		{403, `{"success":false,"message":"Not allowed [error-unauthorized]"}`, chatdm.KindPermissionDenied},
		{400, `{"success":false,"errorType":"error-not-authorized","error":"Not authorized"}`, chatdm.KindPermissionDenied},
		{404, `{"success":false,"error":"Not authorized [error-not-authorized]"}`, chatdm.KindPermissionDenied},
		{400, `{"success":false,"errorType":"error-forbidden","error":"Forbidden"}`, chatdm.KindPermissionDenied},
		{422, `{"success":false,"error":"Forbidden [error-forbidden]"}`, chatdm.KindPermissionDenied},
		{403, `{"success":false,"error":"unauthorized"}`, chatdm.KindPermissionDenied},
		{401, `{"status":"error","message":"You must be logged in to do this."}`, chatdm.KindUnauthenticated},
		{401, `{"success":false,"errorType":"error-unauthorized","error":"Unauthorized"}`, chatdm.KindUnauthenticated},
	} {
		_, err := newClient(t, newScript(wiretest.Respond(tt.status, tt.body))).IM.Open(t.Context(), "r1")
		if e := wantError(t, err, tt.want); e.StatusCode != tt.status {
			t.Errorf("%s: got status %d, want %d", tt.body, e.StatusCode, tt.status)
		}
	}
}

// TestCodes: where the code of an error can be.
func TestCodes(t *testing.T) {
	for members, want := range map[string]chatdm.Code{
		`"error":"[error-invalid-room]"`:                      rocketchat.ErrInvalidRoom,
		`"message":"Failed [error-invalid-room] \n"`:          rocketchat.ErrInvalidRoom,
		`"error":"Failed [1] [error-invalid-room]"`:           rocketchat.ErrInvalidRoom,
		`"error":"Failed [error-invalid-room"`:                "",
		`"error":"Failed error-invalid-room]"`:                "",
		`"error":"Failed [error-invalid-room]]"`:              "",
		`"error":"Failed [error-invalid-room]."`:              "",
		`"errorType":0.5`:                                     "0.5",
		`"errorType":9`:                                       "9",
		`"errorType":-1`:                                      "-1",
		`"errorType":true,"error":"Failed"`:                   "",
		`"error":"The direct message room, x, is not here"`:   "",
		`"error":"Another room is already closed"`:            "",
		`"errorType":"x","error":"The room, already closed"`:  "x",
		`"message":"The direct message room, already closed"`: "",
	} {
		_, err := newClient(t, newScript(wiretest.Respond(400, `{"success":false,`+members+`}`))).IM.Close(t.Context(), "r1")
		if e := wantError(t, err, want.Kind()); e.Code != want {
			t.Errorf("%s: got code %q, want %q", members, e.Code, want)
		}
	}
}
