package rocketchat_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// TestInfoIsOfTheTarget: servers also find users by what is not the argument. The
// client never returns another user.
func TestInfoIsOfTheTarget(t *testing.T) {
	const address = `"emails":[{"address":"x@example.org"},{"address":"Alice@Example.org"}]`
	for _, tt := range []struct {
		target rocketchat.UserTarget
		user   string
		kind   chatdm.Kind // of the error, or "" for a success
	}{
		{rocketchat.UserID("u1"), `"_id":"u1","username":"x"`, ""},
		{rocketchat.UserID("u1"), `"_id":"U1","username":"u1"`, chatdm.KindNotFound},
		{rocketchat.Username("alice"), `"_id":"u1","username":"Alice"`, ""},
		{rocketchat.Username("alice"), `"_id":"alice","username":"bob"`, chatdm.KindNotFound},
		{rocketchat.Username("alice"), `"_id":"u1"`, chatdm.KindNotFound},
		{rocketchat.Email("alice@example.org"), `"_id":"u1",` + address, ""},
		{rocketchat.Email("al@example.org"), `"_id":"u1",` + address, chatdm.KindUnsupported},
		{rocketchat.Email("alice@example.org"), `"_id":"u1","username":"alice@example.org"`, chatdm.KindUnsupported},
		{rocketchat.Email("alice@example.org"), `"username":"alice",` + address, chatdm.KindUnexpectedResponse},
	} {
		s := newScript(wiretest.Respond(200, `{"success":true,"user":{`+tt.user+`}}`))
		res, err := newClient(t, s).Users.Info(t.Context(), tt.target)
		if tt.kind == "" {
			if err != nil || res.User.ID != "u1" {
				t.Errorf("%q: got %+v, %v, want user u1", tt.target, res, err)
			}
			continue
		}
		if e := wantError(t, err, tt.kind); res != nil || e.StatusCode != 200 || e.Attempts != 1 || errors.Is(err, chatdm.ErrEffectUnknown) {
			t.Errorf("%q: got %+v, %v, want an error of kind %s after 1 attempt", tt.target, res, err, tt.kind)
		}
	}
}

// TestInfoByEmail: a server that is too old for the argument email refuses it, ignores it,
// or does not find the user. In the last case, a request without an argument shows
// whether the server checks them.
func TestInfoByEmail(t *testing.T) {
	email := rocketchat.Email("nobody@example.org")
	notFound, invalid := goldenResponse(t, "users.info", "not_found"), goldenResponse(t, "users.info", "invalid_params_6")
	anyone := goldenResponse(t, "users.info", "limited")
	for name, tt := range map[string]struct {
		responses []wiretest.Responder
		kind      chatdm.Kind
		code      chatdm.Code
		text      string
		attempts  int
	}{
		"before 4.7":            {[]wiretest.Responder{notFound, notFound}, chatdm.KindUnsupported, "", "needs version 8.4", 2},
		"before 4.7, any user":  {[]wiretest.Responder{notFound, anyone}, chatdm.KindUnsupported, "", "needs version 8.4", 2},
		"ignored":               {[]wiretest.Responder{anyone}, chatdm.KindUnsupported, "", "needs version 8.4", 1},
		"4.7":                   {[]wiretest.Responder{goldenResponse(t, "users.info", "invalid_filter_4.7")}, chatdm.KindUnsupported, "", "needs version 8.4", 1},
		"6.0":                   {[]wiretest.Responder{invalid}, chatdm.KindUnsupported, "", "needs version 8.4", 1},
		"7.0":                   {[]wiretest.Responder{goldenResponse(t, "users.info", "invalid_search_7")}, chatdm.KindUnsupported, "", "needs version 8.4", 1},
		"8.4":                   {[]wiretest.Responder{notFound, invalid}, chatdm.KindNotFound, rocketchat.ErrInvalidUser, "User not found.", 1},
		"8.4, another text":     {[]wiretest.Responder{notFound, goldenResponse(t, "users.info", "invalid_search_7")}, chatdm.KindNotFound, rocketchat.ErrInvalidUser, "", 1},
		"4.7, by the second":    {[]wiretest.Responder{notFound, goldenResponse(t, "users.info", "invalid_filter_4.7")}, chatdm.KindNotFound, rocketchat.ErrInvalidUser, "", 1},
		"limited in between":    {[]wiretest.Responder{notFound, wiretest.Respond(429, "", "Retry-After", "1000")}, chatdm.KindRateLimited, rocketchat.ErrTooManyRequests, "", 2},
		"without a valid token": {[]wiretest.Responder{wiretest.Respond(401, `{"status":"error"}`)}, chatdm.KindUnauthenticated, rocketchat.ErrUnauthorized, "", 1},
	} {
		s := newScript(tt.responses...)
		client := newClient(t, s)
		res, err := client.Users.Info(t.Context(), email)
		e := wantError(t, err, tt.kind)
		if res != nil || e.Method != "users.info" || e.Code != tt.code || e.Attempts != tt.attempts || !strings.Contains(err.Error(), tt.text) || s.Sent() != len(tt.responses) {
			t.Errorf("%s: got %+v, %v after %d requests, want code %q, %d attempts, and %q", name, res, err, s.Sent(), tt.code, tt.attempts, tt.text)
		}
		if len(tt.responses) > 1 && !strings.HasPrefix(s.Requests[1], "GET /api/v1/users.info HTTP/1.1\n") {
			t.Errorf("%s: got request %q, want one without arguments", name, s.Requests[1])
		}
	}

	t.Run("a server that has found one", func(t *testing.T) {
		s := newScript(goldenResponse(t, "users.info", "ok"), notFound, notFound)
		client := newClient(t, s)
		if _, err := client.Users.Info(t.Context(), rocketchat.Email("al@example.org")); err != nil {
			t.Fatal(err)
		}
		_, err := client.Users.Info(t.Context(), email)
		if wantError(t, err, rocketchat.ErrInvalidUser); s.Sent() != 2 {
			t.Errorf("got %d requests, want none to find out what is known", s.Sent())
		}
	})
	t.Run("a server that has shown it", func(t *testing.T) {
		s := newScript(notFound, invalid, notFound)
		client := newClient(t, s)
		for range 3 {
			_, err := client.Users.Info(t.Context(), email)
			wantError(t, err, rocketchat.ErrInvalidUser)
		}
		if s.Sent() != 4 {
			t.Errorf("got %d requests, want 1 for each call and another one", s.Sent())
		}
	})
}

// TestInfoGenerations gets users from every generation of the server.
func TestInfoGenerations(t *testing.T) {
	for _, g := range generations {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			server := chatdmtest.NewRocketChat(chatdmtest.Generation(g))
			defer server.Close()
			server.AddUser(chatdmtest.RocketChatUser{ID: "zoe1", Username: "zoe", Name: "Zoe Z", Email: "zoe@example.org", Deactivated: true})
			server.AddUser(chatdmtest.RocketChatUser{ID: "robot1", Username: "robot", Bot: true})
			// by returns a client of a user.
			by := func(creds rocketchat.Credentials) *rocketchat.Client {
				client, err := rocketchat.NewClient(server.URL, creds)
				if err != nil {
					t.Fatal(err)
				}
				return client
			}
			newest := g == chatdmtest.RocketChat8
			full := rocketchat.User{ID: "zoe1", Username: "zoe", Name: "Zoe Z", Email: "zoe@example.org", Roles: []string{"user"}}
			limited := rocketchat.User{ID: "zoe1", Username: "zoe", Name: "Zoe Z"}
			for _, tt := range []struct {
				as     rocketchat.Credentials
				target rocketchat.UserTarget
				want   rocketchat.User
				err    error // if the call fails
			}{
				{admin, rocketchat.Username("zoe"), full, nil},
				{admin, rocketchat.UserID("zoe1"), full, nil},
				{member, rocketchat.UserID("zoe1"), limited, nil},
				{member, rocketchat.Username("zoe"), limited, nil},
				{member, rocketchat.Username("robot"), rocketchat.User{ID: "robot1", Username: "robot", Name: "robot", Active: true, Bot: true}, nil},
				{member, rocketchat.UserID("zoe"), rocketchat.User{}, chatdm.KindNotFound},
				{member, rocketchat.Username("zoe1"), rocketchat.User{}, chatdm.KindNotFound},
				{member, rocketchat.Username("nobody"), rocketchat.User{}, rocketchat.ErrInvalidUser},
				{admin, rocketchat.Email("ZOE@example.org"), full, map[bool]error{false: chatdm.KindUnsupported}[newest]},
				{admin, rocketchat.Email("nobody@example.org"), rocketchat.User{}, map[bool]error{true: rocketchat.ErrInvalidUser, false: chatdm.KindUnsupported}[newest]},
				{member, rocketchat.Email("zoe@example.org"), rocketchat.User{}, map[bool]error{true: chatdm.KindNotFound, false: chatdm.KindUnsupported}[newest]},
			} {
				res, err := by(tt.as).Users.Info(t.Context(), tt.target)
				if tt.err != nil {
					if wantError(t, err, tt.err); res != nil {
						t.Errorf("%q: got %+v with an error", tt.target, res)
					}
					continue
				}
				if err != nil {
					t.Errorf("%q: %v", tt.target, err)
				} else if diff := cmp.Diff(tt.want, res.User); diff != "" {
					t.Errorf("%q: user (-want +got):\n%s", tt.target, diff)
				}
			}
		})
	}
}

// FuzzUser decodes any user: a success is the user that the call asked for.
func FuzzUser(f *testing.F) {
	for _, seed := range []string{
		`{"_id":"u1","username":"alice","emails":[{"address":"alice@example.org"}],"active":false,"roles":["bot"]}`, `{"_id":"u1","emails":["x"],"roles":[7],"active":null}`,
		`{"_id":7}`, `null`, `[]`, `"u1"`, `{"_id":"u1","emails":{},"username":[]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, user string) {
		transport := wiretest.Respond(200, `{"success":true,"user":`+user+`}`)
		for _, target := range []rocketchat.UserTarget{rocketchat.UserID("u1"), rocketchat.Username("alice"), rocketchat.Email("alice@example.org")} {
			res, err := newClient(t, newScript(transport), once).Users.Info(t.Context(), target)
			if err != nil {
				wantError(t, err)
				continue
			}
			u := res.User
			if u.ID == "" || target == rocketchat.UserID("u1") && u.ID != "u1" || target == rocketchat.Username("alice") && !strings.EqualFold(u.Username, "alice") ||
				slices.Contains(u.Roles, "bot") && !u.Bot {
				t.Errorf("%s: got %+v, want %q", user, u, target)
			}
		}
	})
}
