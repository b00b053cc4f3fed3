package chatdmtest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// logIn calls login with a password and returns the token.
func logIn(t *testing.T, s *chatdmtest.RocketChat, username string) (token string) {
	t.Helper()
	got := postJSON(t, s, "none", "login", `{"user":"`+username+`","password":"pw-`+username+`"}`)
	_, after, ok := strings.Cut(got, `"authToken":"`)
	token, _, _ = strings.Cut(after, `"`)
	if !ok {
		t.Fatalf("login: got %s, want a token", got)
	}
	return token
}

// callWithToken calls an endpoint without parameters and returns the status and body of
// the response.
func callWithToken(t *testing.T, s *chatdmtest.RocketChat, username, token, httpMethod, endpoint string) string {
	t.Helper()
	r := newRocketChatRequest(t, s, username, httpMethod, endpoint, "", "")
	r.Header.Set("X-Auth-Token", token)
	return statusAndBody(send(t, s, r))
}

// checkLoginTokens checks whether tokens work. The key is a username and a token. A token
// that does not work gets the 401 of the generation, and login rejects it.
func checkLoginTokens(t *testing.T, s *chatdmtest.RocketChat, g chatdmtest.RocketChatGeneration, tokens map[string]bool) {
	t.Helper()
	want := unauthorized
	if g == chatdmtest.RocketChat7 || g == chatdmtest.RocketChat8 {
		want = unauthorized7
	}
	for key, works := range tokens {
		username, token, _ := strings.Cut(key, " ")
		me := callWithToken(t, s, username, token, "GET", "me")
		resumed := postJSON(t, s, "none", "login", `{"resume":"`+token+`"}`)
		if works {
			if !strings.HasPrefix(me, "200 ") || !strings.HasPrefix(resumed, "200 ") {
				t.Errorf("%s: got %s, resumed %s, want success", key, me, resumed)
			}
			continue
		}
		checkBody(t, key, me, want)
		checkBody(t, key+": resume", resumed, `401 {"status":"error","error":403,"message":"You've been logged out by the server. Please log in again."}`)
	}
}

func TestRocketChatLoginExpiration(t *testing.T) {
	tests := []struct {
		name       string
		expiration time.Duration // 0 means the default
		want       time.Duration
	}{
		{"default", 0, 90 * 24 * time.Hour},
		{"one hour", time.Hour, time.Hour},
	}
	for _, tt := range tests {
		for _, g := range generations {
			t.Run(tt.name+", "+string(g), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newRocketChat(t, chatdmtest.InMemory(), chatdmtest.Generation(g))
					if tt.expiration != 0 {
						s.SetLoginExpiration(tt.expiration)
					}
					first := logIn(t, s, "alice")
					time.Sleep(time.Minute)
					second := logIn(t, s, "alice")
					time.Sleep(tt.want - time.Minute - time.Nanosecond)
					checkLoginTokens(t, s, g, map[string]bool{"alice " + first: true, "alice " + second: true})

					// The calls above do not extend the life of a token.
					time.Sleep(time.Nanosecond)
					checkLoginTokens(t, s, g, map[string]bool{"alice " + first: false, "alice " + second: true, "alice tok-alice": true})
					time.Sleep(time.Minute)
					checkLoginTokens(t, s, g, map[string]bool{"alice " + second: false, "alice tok-alice": true, "alice " + logIn(t, s, "alice"): true})

					// The setting also applies to old tokens.
					s.SetLoginExpiration(-1)
					checkLoginTokens(t, s, g, map[string]bool{"alice " + first: true, "alice " + second: true})
					s.SetLoginExpiration(time.Nanosecond)
					checkLoginTokens(t, s, g, map[string]bool{"alice " + first: false, "alice tok-alice": true})
				})
			})
		}
	}
}

func TestRocketChatRevokeLoginTokens(t *testing.T) {
	for _, g := range generations {
		t.Run(string(g), func(t *testing.T) {
			s := newRocketChat(t, chatdmtest.Generation(g))
			first, second, bob := logIn(t, s, "alice"), logIn(t, s, "alice"), logIn(t, s, "bob")
			s.RevokeLoginTokens("u_alice")
			s.RevokeLoginTokens("u_nobody")
			checkLoginTokens(t, s, g, map[string]bool{
				"alice " + first:  false,
				"alice " + second: false,
				"bob " + bob:      true,
				"alice tok-alice": true,
			})
			checkLoginTokens(t, s, g, map[string]bool{"alice " + logIn(t, s, "alice"): true})

			// logout revokes the token of the request, also a personal access token.
			const loggedOut = `200 {"status":"success","data":{"message":"You've been logged out!"}}`
			checkBody(t, "logout", callWithToken(t, s, "alice", "tok-alice", "POST", "logout"), loggedOut)
			checkBody(t, "logout", callWithToken(t, s, "bob", bob, "POST", "logout"), loggedOut)
			checkLoginTokens(t, s, g, map[string]bool{"alice tok-alice": false, "bob " + bob: false, "bob tok-bob": true})
		})
	}
}
