package chatdmtest_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

const clientForm = "client_id=" + chatdmtest.ClientID + "&client_secret=" + chatdmtest.ClientSecret

// botScopes are the scopes of a token that has all of them.
const botScopes = "channels:write,groups:write,mpim:write,im:write,channels:manage,chat:write," +
	"channels:read,groups:read,mpim:read,im:read,channels:history,groups:history,mpim:history,im:history,users:read,users:read.email"

// botTokens returns the response that contains the n-th pair of tokens, which is for BotUser.
func botTokens(n int) string {
	return fmt.Sprintf(`{"ok":true,"access_token":"xoxe.xoxb-1-chatdmtest-%d","expires_in":43200,"refresh_token":"xoxe-1-chatdmtest-%d","token_type":"bot","scope":"%s","bot_user_id":"UBOT","app_id":"A00000BOT","team":{"name":"chatdmtest","id":"T0CHATDM1"},"enterprise":null,"is_enterprise_install":false}`, n, n, botScopes)
}

// callWithoutToken posts a form without a token.
func callWithoutToken(t *testing.T, s *chatdmtest.Slack, method, form string) string {
	t.Helper()
	return send(t, s, newSlackRequest(t, s, "", method, formType, form)).body
}

// refresh calls oauth.v2.access.
func refresh(t *testing.T, s *chatdmtest.Slack, refreshToken string) string {
	t.Helper()
	return callWithoutToken(t, s, "oauth.v2.access", clientForm+"&grant_type=refresh_token&refresh_token="+refreshToken)
}

// checkToken checks the error code with which auth.test fails, or "" if it succeeds.
func checkToken(t *testing.T, s *chatdmtest.Slack, token, want string) {
	t.Helper()
	got := postFormAs(t, s, token, "auth.test", "")
	if want == "" && !strings.HasPrefix(got, `{"ok":true,`) || want != "" && got != slackError(want) {
		t.Errorf("auth.test with %s: got %s, want %q", token, got, want)
	}
}

// checkNewest checks the number of refreshes of BotUser's tokens, the newest access token,
// and whether the newest refresh token works.
func checkNewest(t *testing.T, s *chatdmtest.Slack, refreshes int, access string, refreshable bool) {
	t.Helper()
	tokens, ok := s.NewestTokens(chatdmtest.BotUser)
	if n := s.Refreshes(chatdmtest.BotUser); n != refreshes || tokens.AccessToken != access || ok != refreshable {
		t.Errorf("got %d refreshes, %s, refreshable %t, want %d, %s, %t", n, tokens.AccessToken, ok, refreshes, access, refreshable)
	}
}

func TestOAuthErrors(t *testing.T) {
	const (
		grant = "grant_type=refresh_token&refresh_token=xoxe-1-chatdmtest-1"
		id    = chatdmtest.ClientID
		pass  = chatdmtest.ClientSecret
	)
	basic := func(id, secret string) string { return "Basic " + base64Text(id+":"+secret) }
	tests := []struct {
		method, authorization, contentType, body, want string
	}{
		{"oauth.v2.access", "", formType, "client_id=1&client_secret=" + pass + "&" + grant, "invalid_client_id"},
		{"oauth.v2.access", "", formType, "client_id=" + id + "&client_secret=1&" + grant, "bad_client_secret"},
		{"oauth.v2.access", "", formType, "client_id=" + id + "&" + grant, "bad_client_secret"},
		{"oauth.v2.access", "", formType, grant, "invalid_client_id"},
		{"oauth.v2.access", "", "", "", "invalid_client_id"},
		{"oauth.v2.access?" + clientForm + "&" + grant, "", formType, "", "invalid_client_id"},
		{"oauth.v2.access", "Bearer " + chatdmtest.BotToken, formType, grant, "invalid_client_id"},
		{"oauth.v2.access", "Basic wrong", formType, grant, "invalid_client_id"},
		{"oauth.v2.access", basic("1", pass), formType, grant, "invalid_client_id"},
		{"oauth.v2.access", basic("%zz", pass), formType, grant, "invalid_client_id"},
		{"oauth.v2.access", basic(id, "1"), formType, grant, "bad_client_secret"},
		{"oauth.v2.access", basic(id, pass), formType, clientForm + "&" + grant, "bad_client_secret"},
		{"oauth.v2.access", basic(id, pass), formType, "client_id=" + id + "&" + grant, "bad_client_secret"},
		{"oauth.v2.access", "", slackJSONType, `{"client_id":"` + id + `"}`, "invalid_post_type"},
		{"oauth.v2.access", "", "", clientForm + "&" + grant, "missing_post_type"},
		{"oauth.v2.access", "", formType, clientForm, "invalid_code"},
		{"oauth.v2.access", "", formType, clientForm + "&grant_type=authorization_code&code=1", "invalid_code"},
		{"oauth.v2.access", "", formType, clientForm + "&grant_type=password", "invalid_grant_type"},
		{"oauth.v2.access", "", formType, clientForm + "&grant_type=refresh_token", "invalid_refresh_token"},
		{"oauth.v2.access", "", formType, clientForm + "&grant_type=refresh_token&refresh_token=xoxe-1-chatdmtest-9", "invalid_refresh_token"},
		{"oauth.v2.access", "", formType, clientForm + "&grant_type=refresh_token&refresh_token=xoxe.xoxb-1-chatdmtest-1", "invalid_refresh_token"},
		{"oauth.v2.access", "", formType, clientForm + "&grant_type=refresh_token&refresh_token=xoxe-1-chatdmtest-2", "account_inactive"},
		{"oauth.v2.access", "", formType, clientForm + "&grant_type=refresh_token&refresh_token=xoxe-1-chatdmtest-3", "account_inactive"},

		{"oauth.v2.exchange", "", formType, "client_id=1&client_secret=" + pass + "&token=xoxp-alice", "invalid_client_id"},
		{"oauth.v2.exchange", "", formType, "client_id=" + id + "&client_secret=1&token=xoxp-alice", "bad_client_secret"},
		{"oauth.v2.exchange", basic(id, pass), formType, "token=xoxp-alice", "invalid_client_id"},
		{"oauth.v2.exchange", "", slackJSONType, `{"client_id":"` + id + `"}`, "invalid_post_type"},
		{"oauth.v2.exchange?token=xoxp-alice", "Bearer xoxp-alice", formType, clientForm, `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: token"]}}`},
		{"oauth.v2.exchange", "", formType, clientForm + "&token=xoxp-unknown", "invalid_token"},
		{"oauth.v2.exchange", "", formType, clientForm + "&token=xoxe.xoxb-1-chatdmtest-1", "invalid_token"},
		{"oauth.v2.exchange", "", formType, clientForm + "&token=xoxe-1-chatdmtest-1", "invalid_token"},
		{"oauth.v2.exchange", "", formType, clientForm + "&token=xoxp-revoked", "authorization_not_found"},
		{"oauth.v2.exchange", "", formType, clientForm + "&token=xoxp-disabled", "authorization_not_found"},
		{"oauth.v2.exchange", "", formType, clientForm + "&token=xoxp-nobody", "authorization_not_found"},

		{"auth.revoke", "", formType, "", "not_authed"},
		{"auth.revoke", "Bearer xoxp-revoked", formType, "", "token_revoked"},
		{"auth.revoke", "Bearer xoxe-1-chatdmtest-9", formType, "", "invalid_auth"},
		{"auth.test", "Bearer xoxe-1-chatdmtest-1", formType, "", "invalid_auth"},
	}
	s := newSlack(t)
	for _, user := range []string{chatdmtest.BotUser, chatdmtest.DisabledUser, "U0NOBODY01"} {
		s.InstallRotating(user)
	}
	s.AddToken(chatdmtest.Token{Value: "xoxp-alice", User: chatdmtest.Alice})
	s.AddToken(chatdmtest.Token{Value: "xoxp-revoked", User: chatdmtest.Alice, State: chatdmtest.Revoked})
	s.AddToken(chatdmtest.Token{Value: "xoxp-disabled", User: chatdmtest.DisabledUser})
	s.AddToken(chatdmtest.Token{Value: "xoxp-nobody", User: "U0NOBODY02"})
	for _, tt := range tests {
		r := newSlackRequest(t, s, "", tt.method, tt.contentType, tt.body)
		if tt.authorization != "" {
			r.Header.Set("Authorization", tt.authorization)
		}
		want := tt.want
		if want[0] != '{' {
			want = slackError(want)
		}
		checkBody(t, tt.method+" "+tt.authorization+" "+tt.body, send(t, s, r).body, want)
	}
	checkNewest(t, s, 0, "xoxe.xoxb-1-chatdmtest-1", true)
}

func TestRefresh(t *testing.T) {
	s := newSlack(t)
	s.InstallRotating(chatdmtest.BotUser)
	checkBody(t, "form", refresh(t, s, "xoxe-1-chatdmtest-1"), botTokens(2))
	checkNewest(t, s, 1, "xoxe.xoxb-1-chatdmtest-2", true)

	r := newSlackRequest(t, s, "", "oauth.v2.access", formType, "grant_type=refresh_token&refresh_token=xoxe-1-chatdmtest-2")
	r.SetBasicAuth(url.QueryEscape(chatdmtest.ClientID), url.QueryEscape(chatdmtest.ClientSecret))
	resp := send(t, s, r)
	checkBody(t, "HTTP Basic", resp.body, botTokens(3))
	if _, sent := resp.header["X-Oauth-Scopes"]; sent {
		t.Error("got X-OAuth-Scopes, want none")
	}

	r = newSlackRequest(t, s, "", "oauth.v2.access", formType+"; charset=utf-8", clientForm+"&grant_type=refresh_token&refresh_token=xoxe-1-chatdmtest-3")
	checkBody(t, "warning", send(t, s, r).body, strings.TrimSuffix(botTokens(4), "}")+`,"warning":"superfluous_charset","response_metadata":{"warnings":["superfluous_charset"]}}`)

	if tokens := s.InstallRotating(chatdmtest.Alice, "im:write", "chat:write"); tokens.AccessToken != "xoxe.xoxp-1-chatdmtest-5" || tokens.RefreshToken != "xoxe-1-chatdmtest-5" {
		t.Errorf("got %s, %s, want the fifth pair", tokens.AccessToken, tokens.RefreshToken)
	}
	checkBody(t, "user token", refresh(t, s, "xoxe-1-chatdmtest-5"),
		`{"ok":true,"access_token":"xoxe.xoxp-1-chatdmtest-6","expires_in":43200,"refresh_token":"xoxe-1-chatdmtest-6","token_type":"user","scope":"im:write,chat:write","user_id":"U0ALICE01","app_id":"A00000BOT","team":{"name":"chatdmtest","id":"T0CHATDM1"},"enterprise":null,"is_enterprise_install":false}`)
	runSlackSteps(t, s, []slackStep{
		{"xoxe.xoxp-1-chatdmtest-6", "im.open", "user=U0BOB0001", `{"ok":true,"channel":{"id":"D000000001"}}`},
		{"xoxe.xoxp-1-chatdmtest-6", "users.info", "user=U0BOB0001", `{"ok":false,"error":"missing_scope","needed":"users:read","provided":"im:write,chat:write"}`},
	})
	if n := s.Refreshes(chatdmtest.Alice); n != 1 {
		t.Errorf("got %d refreshes, want 1", n)
	}
	if tokens, ok := s.NewestTokens(chatdmtest.Bob); ok || tokens != (chatdm.Tokens{}) || s.Refreshes(chatdmtest.Bob) != 0 {
		t.Errorf("not installed: got %s, refreshable %t, %d refreshes, want none", tokens.AccessToken, ok, s.Refreshes(chatdmtest.Bob))
	}
}

func TestTokenExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		tokens := s.InstallRotating(chatdmtest.BotUser)
		if left := time.Until(tokens.Expiry); left != 12*time.Hour {
			t.Errorf("got an expiry in %v, want 12h", left)
		}
		time.Sleep(12*time.Hour - time.Nanosecond)
		checkToken(t, s, tokens.AccessToken, "")
		time.Sleep(time.Nanosecond)
		checkToken(t, s, tokens.AccessToken, "token_expired")
		checkToken(t, s, chatdmtest.BotToken, "")

		// The refresh token does not expire.
		time.Sleep(1000 * time.Hour)
		s.SetTokenLifetime(90*time.Second - time.Millisecond)
		checkBody(t, "refresh", refresh(t, s, tokens.RefreshToken), strings.Replace(botTokens(2), "43200", "90", 1))
		time.Sleep(90*time.Second - 2*time.Millisecond)
		checkToken(t, s, "xoxe.xoxb-1-chatdmtest-2", "")
		time.Sleep(time.Millisecond)
		checkToken(t, s, "xoxe.xoxb-1-chatdmtest-2", "token_expired")

		for i, lifetime := range []time.Duration{0, -time.Hour} {
			s.SetTokenLifetime(lifetime)
			expired := s.InstallRotating(chatdmtest.BotUser)
			checkToken(t, s, expired.AccessToken, "token_expired")
			checkBody(t, "no lifetime", refresh(t, s, expired.RefreshToken), strings.Replace(botTokens(4+2*i), "43200", "0", 1))
		}
	})
}

func TestRefreshGrace(t *testing.T) {
	tests := []struct {
		name  string
		grace time.Duration // 0 means the default
		want  time.Duration
	}{
		{"default", 0, time.Minute},
		{"short", time.Second, time.Second},
		{"none", -1, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
				if tt.grace != 0 {
					s.SetRefreshGrace(tt.grace)
				}
				tokens := s.InstallRotating(chatdmtest.BotUser)
				time.Sleep(time.Hour)
				checkBody(t, "first use", refresh(t, s, tokens.RefreshToken), botTokens(2))
				want := 1
				if tt.want > 0 {
					time.Sleep(tt.want - time.Nanosecond)
					checkBody(t, "second use", refresh(t, s, tokens.RefreshToken), botTokens(3))
					checkToken(t, s, "xoxe.xoxb-1-chatdmtest-2", "")
					time.Sleep(time.Nanosecond)
					want = 2
				}
				checkBody(t, "late use", refresh(t, s, tokens.RefreshToken), slackError("invalid_refresh_token"))
				checkNewest(t, s, want, fmt.Sprintf("xoxe.xoxb-1-chatdmtest-%d", want+1), true)
			})
		})
	}
}

func TestTwoActiveTokens(t *testing.T) {
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		check := func(want ...string) {
			t.Helper()
			for i, code := range want {
				checkToken(t, s, fmt.Sprintf("xoxe.xoxb-1-chatdmtest-%d", i+1), code)
			}
		}
		s.InstallRotating(chatdmtest.BotUser)
		time.Sleep(time.Hour)
		refresh(t, s, "xoxe-1-chatdmtest-1")
		check("", "")
		time.Sleep(time.Hour)
		refresh(t, s, "xoxe-1-chatdmtest-2")
		check("token_revoked", "", "")

		// Revoked and expired tokens do not count.
		checkBody(t, "auth.revoke", postFormAs(t, s, "xoxe.xoxb-1-chatdmtest-3", "auth.revoke", ""), `{"ok":true,"revoked":true}`)
		refresh(t, s, "xoxe-1-chatdmtest-3")
		check("token_revoked", "", "token_revoked", "")
		time.Sleep(11 * time.Hour)
		refresh(t, s, "xoxe-1-chatdmtest-4")
		check("token_revoked", "token_expired", "token_revoked", "", "")

		// Each installation has its own limit.
		s.InstallRotating(chatdmtest.Alice)
		check("token_revoked", "token_expired", "token_revoked", "", "")
		checkToken(t, s, "xoxe.xoxp-1-chatdmtest-6", "")
		if n := s.Refreshes(chatdmtest.BotUser); n != 4 {
			t.Errorf("got %d refreshes, want 4", n)
		}
	})
}

// Concurrent refreshes with the same token each return new tokens.
func TestConcurrentRefreshes(t *testing.T) {
	s := newSlack(t)
	tokens := s.InstallRotating(chatdmtest.BotUser)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if got := refresh(t, s, tokens.RefreshToken); !strings.HasPrefix(got, `{"ok":true,`) {
				t.Errorf("got %s, want tokens", got)
			}
			s.NewestTokens(chatdmtest.BotUser)
		})
	}
	callers.Wait()
	checkNewest(t, s, 8, "xoxe.xoxb-1-chatdmtest-9", true)
	for i, want := range []string{"token_revoked", "token_revoked", "", ""} {
		checkToken(t, s, []string{tokens.AccessToken, "xoxe.xoxb-1-chatdmtest-7", "xoxe.xoxb-1-chatdmtest-8", "xoxe.xoxb-1-chatdmtest-9"}[i], want)
	}
}

func TestExchange(t *testing.T) {
	s := newSlack(t)
	exchange := func(token string) string {
		t.Helper()
		return callWithoutToken(t, s, "oauth.v2.exchange", clientForm+"&token="+token)
	}
	checkBody(t, "exchange", exchange(chatdmtest.BotToken), botTokens(1))
	checkBody(t, "again", exchange(chatdmtest.BotToken), slackError("token_already_exchanged"))
	checkToken(t, s, chatdmtest.BotToken, "")
	checkToken(t, s, "xoxe.xoxb-1-chatdmtest-1", "")
	checkNewest(t, s, 0, "xoxe.xoxb-1-chatdmtest-1", true)

	// The first refresh revokes the old token, which does not count as one of two.
	checkBody(t, "refresh", refresh(t, s, "xoxe-1-chatdmtest-1"), botTokens(2))
	checkToken(t, s, chatdmtest.BotToken, "token_revoked")
	checkToken(t, s, "xoxe.xoxb-1-chatdmtest-1", "")
	checkToken(t, s, "xoxe.xoxb-1-chatdmtest-2", "")
	checkBody(t, "after the refresh", exchange(chatdmtest.BotToken), slackError("token_already_exchanged"))

	// The new tokens have the scopes of the old token.
	s.AddToken(chatdmtest.Token{Value: "xoxp-alice", User: chatdmtest.Alice, Scopes: []string{"im:write"}})
	checkBody(t, "user token", exchange("xoxp-alice"),
		`{"ok":true,"access_token":"xoxe.xoxp-1-chatdmtest-3","expires_in":43200,"refresh_token":"xoxe-1-chatdmtest-3","token_type":"user","scope":"im:write","user_id":"U0ALICE01","app_id":"A00000BOT","team":{"name":"chatdmtest","id":"T0CHATDM1"},"enterprise":null,"is_enterprise_install":false}`)

	// A token that AddToken replaces is a different one.
	s.AddToken(chatdmtest.Token{Value: "xoxp-alice", User: chatdmtest.Alice})
	refresh(t, s, "xoxe-1-chatdmtest-3")
	checkToken(t, s, "xoxp-alice", "")

	s.AddToken(chatdmtest.Token{Value: "xoxb-second", User: chatdmtest.BotUser})
	checkBody(t, "second token", exchange("xoxb-second"), botTokens(5))
	checkNewest(t, s, 1, "xoxe.xoxb-1-chatdmtest-5", true)
}

func TestAuthRevoke(t *testing.T) {
	const (
		revoked    = `{"ok":true,"revoked":true}`
		notRevoked = `{"ok":true,"revoked":false}`
	)
	s := newSlack(t)
	s.InstallRotating(chatdmtest.BotUser)
	refresh(t, s, "xoxe-1-chatdmtest-1")
	runSlackSteps(t, s, []slackStep{
		{"xoxe.xoxb-1-chatdmtest-1", "auth.revoke", "test=1", notRevoked},
		{"xoxe-1-chatdmtest-2", "auth.revoke", "test=true", notRevoked},
		{"xoxe.xoxb-1-chatdmtest-1", "auth.revoke", "test=0", revoked},
		{"xoxe.xoxb-1-chatdmtest-1", "auth.revoke", "", slackError("token_revoked")},
	})
	checkToken(t, s, "xoxe.xoxb-1-chatdmtest-2", "")
	checkNewest(t, s, 1, "xoxe.xoxb-1-chatdmtest-2", true)

	r := newSlackRequest(t, s, "xoxe-1-chatdmtest-2", "auth.revoke", "", "")
	r.Method = http.MethodGet
	resp := send(t, s, r)
	checkBody(t, "refresh token", resp.body, revoked)
	if got := resp.header.Get("X-OAuth-Scopes"); got != botScopes {
		t.Errorf("got X-OAuth-Scopes %q, want all", got)
	}
	checkBody(t, "revoked refresh token", refresh(t, s, "xoxe-1-chatdmtest-2"), slackError("invalid_refresh_token"))
	checkToken(t, s, "xoxe.xoxb-1-chatdmtest-2", "")
	checkNewest(t, s, 1, "xoxe.xoxb-1-chatdmtest-2", false)

	// Revoking a token after its exchange revokes the installation.
	checkBody(t, "long-lived token", postFormAs(t, s, chatdmtest.UserToken, "auth.revoke", ""), revoked)
	checkToken(t, s, chatdmtest.UserToken, "token_revoked")
	checkBody(t, "exchange", callWithoutToken(t, s, "oauth.v2.exchange", clientForm+"&token="+chatdmtest.BotToken), botTokens(3))
	checkBody(t, "exchanged token", postForm(t, s, "auth.revoke", ""), revoked)
	checkToken(t, s, "xoxe.xoxb-1-chatdmtest-3", "token_revoked")
	checkBody(t, "after", refresh(t, s, "xoxe-1-chatdmtest-3"), slackError("invalid_refresh_token"))
}

func TestRevokeTokens(t *testing.T) {
	s := newSlack(t)
	s.RevokeTokens("U0NOBODY01")
	s.InstallRotating(chatdmtest.BotUser)
	s.InstallRotating(chatdmtest.Alice)
	s.RevokeTokens(chatdmtest.BotUser)
	checkToken(t, s, chatdmtest.BotToken, "account_inactive")
	checkToken(t, s, "xoxe.xoxb-1-chatdmtest-1", "account_inactive")
	checkBody(t, "bot", refresh(t, s, "xoxe-1-chatdmtest-1"), slackError("invalid_refresh_token"))
	checkBody(t, "exchange", callWithoutToken(t, s, "oauth.v2.exchange", clientForm+"&token="+chatdmtest.BotToken), slackError("authorization_not_found"))
	checkNewest(t, s, 0, "xoxe.xoxb-1-chatdmtest-1", false)
	checkToken(t, s, chatdmtest.UserToken, "")
	checkToken(t, s, "xoxe.xoxp-1-chatdmtest-2", "")
	s.RevokeTokens(chatdmtest.Alice)
	checkToken(t, s, "xoxe.xoxp-1-chatdmtest-2", "token_revoked")

	// A reinstallation starts anew, and revokes the tokens of the previous one.
	s.InstallRotating(chatdmtest.BotUser)
	refresh(t, s, "xoxe-1-chatdmtest-3")
	s.InstallRotating(chatdmtest.BotUser)
	for i, want := range []string{"account_inactive", "token_revoked", "token_revoked", ""} {
		checkToken(t, s, []string{"xoxe.xoxb-1-chatdmtest-1", "xoxe.xoxb-1-chatdmtest-3", "xoxe.xoxb-1-chatdmtest-4", "xoxe.xoxb-1-chatdmtest-5"}[i], want)
	}
	for _, token := range []string{"xoxe-1-chatdmtest-3", "xoxe-1-chatdmtest-4"} {
		checkBody(t, token, refresh(t, s, token), slackError("invalid_refresh_token"))
	}
	checkNewest(t, s, 1, "xoxe.xoxb-1-chatdmtest-5", true)
}

// Faults and rate limits work on oauth.v2.access as on other methods.
func TestRefreshFaults(t *testing.T) {
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		tokens := s.InstallRotating(chatdmtest.BotUser)
		lostRefresh := func() {
			t.Helper()
			r := newSlackRequest(t, s, "", "oauth.v2.access", formType, clientForm+"&grant_type=refresh_token&refresh_token="+tokens.RefreshToken)
			resp, err := s.Client().Do(r)
			if err == nil {
				resp.Body.Close()
				t.Errorf("got status %d, want no response", resp.StatusCode)
			}
		}
		s.Fail("oauth.v2.access", 1, chatdmtest.Fault{Code: "internal_error"})
		s.Fail("oauth.v2.access", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader})
		s.Fail("oauth.v2.access", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
		s.Fail("oauth.v2.access", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, ApplyAfter: 10 * time.Second})
		checkBody(t, "internal error", refresh(t, s, tokens.RefreshToken), slackError("internal_error"))
		lostRefresh()
		checkNewest(t, s, 0, "xoxe.xoxb-1-chatdmtest-1", true)
		lostRefresh()
		checkNewest(t, s, 1, "xoxe.xoxb-1-chatdmtest-2", true)
		lostRefresh()
		checkNewest(t, s, 1, "xoxe.xoxb-1-chatdmtest-2", true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		checkNewest(t, s, 2, "xoxe.xoxb-1-chatdmtest-3", true)

		// Within the grace, a retry gets new tokens, even with the limit of the method.
		s.Limit("oauth.v2.access", 1, 30*time.Second)
		checkBody(t, "retry", refresh(t, s, tokens.RefreshToken), botTokens(4))
		r := newSlackRequest(t, s, "", "oauth.v2.access", formType, clientForm)
		if resp := send(t, s, r); resp.status != 429 || resp.header.Get("Retry-After") != "30" {
			t.Errorf("got status %d, Retry-After %q, want 429, 30", resp.status, resp.header.Get("Retry-After"))
		}
		time.Sleep(50 * time.Second)
		checkBody(t, "after the grace", refresh(t, s, tokens.RefreshToken), slackError("invalid_refresh_token"))
		checkNewest(t, s, 3, "xoxe.xoxb-1-chatdmtest-4", true)
	})
}

// A refresh that runs after the grace has no effect.
func TestLateRefresh(t *testing.T) {
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		s.InstallRotating(chatdmtest.BotUser)
		refresh(t, s, "xoxe-1-chatdmtest-1")
		s.Fail("oauth.v2.access", 1, chatdmtest.Fault{ApplyAfter: time.Minute})
		checkBody(t, "late", refresh(t, s, "xoxe-1-chatdmtest-1"), slackError("invalid_refresh_token"))
		checkNewest(t, s, 1, "xoxe.xoxb-1-chatdmtest-2", true)
	})
}

// The SDK accepts a rotating token, and reports when it has expired.
func TestSDKWithRotatingToken(t *testing.T) {
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		tokens := s.InstallRotating(chatdmtest.BotUser)
		client, err := chatdm.NewClient(tokens.AccessToken, chatdm.WithBaseURL(s.URL), chatdm.WithHTTPClient(s.Client()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Call(t.Context(), "auth.test", nil, nil); err != nil {
			t.Error(err)
		}
		time.Sleep(12 * time.Hour)
		_, err = client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Bob}})
		if !errors.Is(err, chatdm.ErrTokenExpired) {
			t.Errorf("got %v, want token_expired", err)
		}
	})
}
