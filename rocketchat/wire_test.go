package rocketchat_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	"im.history": func(ctx context.Context, c *rocketchat.Client) (any, error) {
		for m, err := range c.IM.History(ctx, rocketchat.IMHistoryParams{RoomID: "u_botu_alice"}) {
			return m, err
		}
		return nil, nil
	},
	"chat.sendMessage": func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "u_botu_alice", Text: "Standup in five minutes."})
	},
	"chat.getMessage": func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.Chat.GetMessage(ctx, "hmQ3v8PzTKUoH2aXy")
	},
	"users.info": func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.Users.Info(ctx, rocketchat.Username("alice"))
	},
}

// standup is a message with a key, and standupID the ID that belongs to it.
var standup = rocketchat.ChatSendMessageParams{RoomID: "u_botu_alice", Text: "Standup in five minutes.", Key: "standup/2026-11-21"}

const standupID = "21j8jMBhdCpTjqwZuqyr7m"

func info(target rocketchat.UserTarget) callFunc {
	return func(ctx context.Context, c *rocketchat.Client) (any, error) { return c.Users.Info(ctx, target) }
}

func TestWire(t *testing.T) {
	meta := func(method string) chatdm.Meta {
		return chatdm.Meta{Method: method, StatusCode: 200, Attempts: 1}
	}
	room := rocketchat.Room{ID: "u_adminu_bob", Type: "d", Usernames: []string{"admin", "bob"}}
	message := rocketchat.Message{
		ID: "hmQ3v8PzTKUoH2aXy", RoomID: "u_botu_alice", Text: "Standup in five minutes.", UserID: "aobEdbYhXfu5hkeqG", Username: "bot",
		Time: time.Date(2026, 11, 21, 9, 25, 0, 125e6, time.UTC),
	}
	with := func(change func(*rocketchat.Message)) rocketchat.Message {
		m := message
		change(&m)
		return m
	}
	sent := func(m rocketchat.Message) *rocketchat.ChatSendMessageResult {
		return &rocketchat.ChatSendMessageResult{Message: m, Meta: meta("chat.sendMessage")}
	}
	got := func(m rocketchat.Message) *rocketchat.MessageResult {
		return &rocketchat.MessageResult{Message: m, Meta: meta("chat.getMessage")}
	}
	user := func(u rocketchat.User) *rocketchat.UserResult {
		return &rocketchat.UserResult{User: u, Meta: meta("users.info")}
	}
	alice := rocketchat.User{ID: "u_alice", Username: "alice", Name: "Alice Liddell", Email: "alice@example.org", Active: true, Roles: []string{"user"}}
	tests := []struct {
		method, request, response string
		call                      callFunc
		want                      any
	}{
		{"chat.sendMessage", "text", "ok", methods["chat.sendMessage"], sent(message)},
		{"chat.sendMessage", "keyed", "ok_keyed", func(ctx context.Context, c *rocketchat.Client) (any, error) { return c.Chat.SendMessage(ctx, standup) },
			sent(with(func(m *rocketchat.Message) { m.ID = standupID }))},
		{"chat.sendMessage", "reply", "ok_reply", func(ctx context.Context, c *rocketchat.Client) (any, error) {
			attachment := struct {
				Text  string `json:"text"`
				Color string `json:"color"`
			}{"3 > 2", "#00ff00"}
			return c.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "u_botu_alice", ThreadID: "aThreadID", Attachments: []any{attachment}})
		}, sent(with(func(m *rocketchat.Message) { m.Text, m.ThreadID = "", "aThreadID" }))},
		{"chat.getMessage", "by_id", "ok", methods["chat.getMessage"], got(message)},
		{"chat.getMessage", "by_id", "edited", methods["chat.getMessage"], got(with(func(m *rocketchat.Message) {
			m.Text, m.ThreadID, m.Edited = "Standup now.", "aThreadID", time.Date(2026, 11, 21, 9, 26, 0, 0, time.UTC)
		}))},
		{"chat.getMessage", "by_id", "removed", methods["chat.getMessage"], got(with(func(m *rocketchat.Message) { m.Text = "" }))},
		{"im.history", "newest", "last", methods["im.history"], message},
		{"im.history", "newest", "empty", methods["im.history"], nil},
		{"users.info", "by_username", "ok", methods["users.info"], user(alice)},
		{"users.info", "by_id", "ok", info(rocketchat.UserID("u_alice")), user(alice)},
		{"users.info", "by_email", "ok", info(rocketchat.Email("alice@example.org")), user(alice)},
		{"users.info", "by_username", "limited", methods["users.info"], user(rocketchat.User{ID: "u_alice", Username: "alice", Name: "Alice Liddell"})},
		{"users.info", "by_username", "bot", methods["users.info"], user(rocketchat.User{ID: "u_alice", Username: "alice", Active: true, Bot: true})},
		{"users.info", "by_username", "bot_role", methods["users.info"], user(rocketchat.User{ID: "u_alice", Username: "Alice", Active: true, Bot: true, Roles: []string{"admin", "bot"}})},
		{"users.info", "by_username", "app", methods["users.info"], user(rocketchat.User{ID: "u_alice", Username: "alice", Active: true, Bot: true})},
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
		"chat.sendMessage": {
			"ok": {}, "ok_keyed": {}, "ok_reply": {},
			"invalid_room":          {rocketchat.ErrInvalidRoom, chatdm.KindNotFound, 400, ""},
			"no_access":             {rocketchat.ErrNotAllowed, chatdm.KindUnreachable, 400, ""},
			"encrypted":             {rocketchat.ErrNotAllowed, chatdm.KindUnreachable, 400, "encrypted room"},
			"no_threads":            {rocketchat.ErrNotAllowed, chatdm.KindUnreachable, 400, ""},
			"blocked":               {rocketchat.ErrRoomIsBlocked, chatdm.KindUnreachable, 400, ""},
			"read_only":             {rocketchat.ErrRoomIsReadOnly, chatdm.KindUnreachable, 400, "readonly"},
			"muted":                 {rocketchat.ErrYouHaveBeenMuted, chatdm.KindUnreachable, 400, ""},
			"archived":              {rocketchat.ErrRoomIsArchived, chatdm.KindUnreachable, 400, ""},
			"abac":                  {rocketchat.ErrABACRoomLocked, chatdm.KindUnreachable, 400, ""},
			"impersonation":         {rocketchat.ErrNotAuthorized, chatdm.KindPermissionDenied, 400, ""},
			"mention_all":           {rocketchat.ErrActionNotAllowed, chatdm.KindPermissionDenied, 400, "Notify all"},
			"no_username":           {rocketchat.ErrInvalidUser, chatdm.KindPermissionDenied, 400, ""},
			"no_rid":                {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, "rid"},
			"no_message":            {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, ""},
			"invalid_params_8":      {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, ""},
			"system_message":        {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, "system messages"},
			"no_custom_fields":      {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, ""},
			"invalid_custom_fields": {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, ""},
			"custom_fields_config":  {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, ""},
			"match_error":           {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, "Expected string"},
			"too_long":              {rocketchat.ErrMessageSizeExceeded, chatdm.KindInvalidRequest, 400, ""},
			"empty":                 {rocketchat.ErrInvalidMessage, chatdm.KindInvalidRequest, 400, ""},
			"out_of_sync":           {rocketchat.ErrMessageTSOutOfSync, chatdm.KindInvalidRequest, 400, ""},
			"restricted":            {rocketchat.ErrRestrictedWorkspace, unsupported, 400, ""},
			"duplicate_3.18":        {"", unavailable, 400, "'starred'"},
			"duplicate_7":           {"", unavailable, 400, "'starred'"},
			"race":                  {"", unavailable, 400, "E11000"},
			"failed":                {"", unavailable, 400, "MongoServerSelectionError"},
			"new_code":              {"error-brand-new", unknown, 400, "What is this"},
			"without_a_message":     {"", unexpected, 200, "lacks required data"},
		},
		"chat.getMessage": {
			"ok": {}, "edited": {}, "removed": {},
			"another_id":        {"", unexpected, 200, "lacks required data"},
			"absent":            {"", chatdm.KindNotFound, 400, "the message does not exist"},
			"not_allowed":       {rocketchat.ErrNotAllowed, chatdm.KindPermissionDenied, 400, ""},
			"no_id":             {rocketchat.ErrInvalidParams, "", 400, "msgId"},
			"invalid_params_8":  {rocketchat.ErrInvalidParams, "", 400, ""},
			"unauthorized_3.18": {rocketchat.ErrUnauthorized, "", 401, "You must be logged in"},
		},
		"im.history": {
			"ok": {}, "last": {}, "empty": {},
			"without_messages":    {"", unexpected, 200, "lacks required data"},
			"without_a_time":      {"", unexpected, 200, "lacks required data"},
			"room_not_found_3.18": {rocketchat.ErrRoomNotFound, chatdm.KindNotFound, 400, ""},
			"no_room":             {rocketchat.ErrRoomParamNotProvided, "", 400, ""},
			"invalid_channel":     {rocketchat.ErrInvalidChannel, chatdm.KindNotFound, 400, ""},
			"forbidden":           {rocketchat.ErrForbidden, chatdm.KindPermissionDenied, 403, ""},
			"invalid_params_4.8":  {rocketchat.ErrInvalidParams, "", 400, ""},
		},
		"users.info": {
			"ok": {}, "limited": {}, "bot": {}, "bot_role": {}, "app": {},
			"another":            {"", chatdm.KindNotFound, 200, "returned another one"},
			"without_a_user":     {"", unexpected, 200, "lacks required data"},
			"not_found":          {rocketchat.ErrInvalidUser, chatdm.KindNotFound, 400, "User not found."},
			"invalid_search_7":   {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, ""},
			"invalid_filter_4.7": {rocketchat.ErrInvalidFilter, chatdm.KindInvalidRequest, 400, ""},
			"invalid_params_6":   {rocketchat.ErrInvalidParams, chatdm.KindInvalidRequest, 400, ""},
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

// TestDocumentedErrors: every documented code of every method becomes its sentinel.
func TestDocumentedErrors(t *testing.T) {
	var documented map[string][]chatdm.Code
	if err := json.Unmarshal([]byte(wiretest.Golden(t, "../testdata/rocketchat/documented_errors.json")), &documented); err != nil {
		t.Fatal(err)
	}
	for method, codes := range documented {
		if method == "login" {
			continue // TestLogin
		}
		if methods[method] == nil {
			t.Errorf("got no call of %s in methods, want one", method)
			continue
		}
		for _, code := range codes {
			if code.Kind() == chatdm.KindUnknown {
				t.Errorf("%s: got %s, which is not in the catalogue", method, code)
				continue
			}
			status := map[chatdm.Code]int{rocketchat.ErrForbidden: 403, rocketchat.ErrUnauthorized: 401, rocketchat.ErrTooManyRequests: 429}[code]
			if status == 0 {
				status = http.StatusBadRequest
			}
			s := newScript(wiretest.Respond(status, `{"success":false,"status":"error","error":"Reason [`+string(code)+`]","errorType":"`+string(code)+`"}`))
			_, err := methods[method](t.Context(), newClient(t, s, once))
			if e := wantError(t, err, code); e.Method != method || e.Code != code || e.StatusCode != status || errors.Is(err, chatdm.ErrEffectUnknown) {
				t.Errorf("%s: got %v, want %s", method, err, code)
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
