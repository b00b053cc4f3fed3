package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

const (
	opened   = "The conversation with <@U0ALICE01> is open. I posted the greeting."
	again    = "The conversation with <@U0ALICE01> was already open. I posted the greeting."
	rejected = "Slack does not allow me to do that. My operator can find the reason in my log."
)

// rotating returns the settings of a bot whose tokens rotate, in an empty token file.
func rotating(t *testing.T) settings {
	return settings{credentials: credentials{
		file: filepath.Join(t.TempDir(), "tokens"),
		app:  chatdm.OAuthApp{ClientID: chatdmtest.ClientID, ClientSecret: chatdmtest.ClientSecret},
	}}
}

// install installs the app and puts the tokens into the token file. It returns a function
// for newBench.
func install(t *testing.T, set settings, change func(*chatdm.Tokens)) func(*chatdmtest.Slack) {
	return func(s *chatdmtest.Slack) {
		t.Helper()
		tokens := s.InstallRotating(chatdmtest.BotUser)
		if change != nil {
			change(&tokens)
		}
		_, err := chatdm.NewFileTokenStore(set.file).Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) { return tokens, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
}

// expired makes the access token in the file expire.
func expired(tokens *chatdm.Tokens) { tokens.Expiry = time.Now().Add(-time.Minute) }

// requests returns how many requests for a method the fake Slack received.
func (b *bench) requests(method string) (n int) {
	for _, r := range b.slack.Requests() {
		if r.Method == method {
			n++
		}
	}
	return n
}

// TestTokenExpires checks that a command works right after the token has expired.
func TestTokenExpires(t *testing.T) {
	t.Run("before the bot starts", func(t *testing.T) {
		set := rotating(t)
		b := newBench(t, set, install(t, set, expired))
		b.expect("response", b.typed("C0GENERAL", "<@U0ALICE01>"), opened)
		b.expect("opens", strconv.Itoa(b.requests("conversations.open")), "1")
	})
	t.Run("between two commands", func(t *testing.T) {
		set := rotating(t)
		b := newBench(t, set, func(s *chatdmtest.Slack) { s.SetTokenLifetime(2 * time.Second) }, install(t, set, expired))
		b.expect("first", b.typed("C0GENERAL", "<@U0ALICE01>"), opened)
		tokens, _ := b.slack.NewestTokens(chatdmtest.BotUser)
		time.Sleep(time.Until(tokens.Expiry))
		b.expect("second", b.typed("C0GENERAL", "<@U0ALICE01>"), again)
		if n := b.slack.Refreshes(chatdmtest.BotUser); n < 2 {
			t.Errorf("got %d refreshes, want at least 2", n)
		}
	})
	t.Run("only according to Slack", func(t *testing.T) {
		set := rotating(t)
		b := newBench(t, set, install(t, set, nil))
		b.expect("first", b.typed("C0GENERAL", "<@U0ALICE01>"), opened)
		expireToken(b.slack)
		b.expect("second", b.typed("C0GENERAL", "<@U0ALICE01>"), again)
		b.expect("opens", strconv.Itoa(b.requests("conversations.open")), "3")
		b.expect("refreshes", strconv.Itoa(b.slack.Refreshes(chatdmtest.BotUser)), "1")
		b.expect("health", b.get("/healthz"), "ok\n")
		if strings.Contains(b.log.String(), `"level":"ERROR"`) {
			t.Errorf("got an alert:\n%s", b.log)
		}
	})
}

// TestRefreshTokenRejected checks that many commands cause one alert and one request.
func TestRefreshTokenRejected(t *testing.T) {
	set := rotating(t)
	b := newBench(t, set, install(t, set, expired), func(s *chatdmtest.Slack) { s.RevokeTokens(chatdmtest.BotUser) })
	const commands = 10 // more would wait for the limiter, even though they send no request
	for range commands {
		b.expect("response", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
	}
	for range commands {
		b.expect("outcome", b.outcome(), rejected)
	}
	if n := b.slack.RequestCount(); n != 1 || b.requests("oauth.v2.access") != 1 {
		t.Errorf("got %d requests, want 1", n)
	}
	var alerts []string
	for line := range strings.Lines(b.log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			alerts = append(alerts, line)
		}
	}
	if len(alerts) != 1 || !strings.Contains(alerts[0], "Slack rejects the credential") || !strings.Contains(alerts[0], "invalid_refresh_token") {
		t.Errorf("got the alerts %q, want one", alerts)
	}
	b.expect("metric", b.count("dmbot_credential_rejected"), "1")
	b.expect("calls", b.count(`chatdm_call_duration_seconds_count{chatdm_code="invalid_refresh_token",chatdm_kind="unauthenticated",`+
		`chatdm_method="conversations.open",chatdm_service="slack",error_type="invalid_refresh_token"}`), strconv.Itoa(commands))
	b.expect("health", b.get("/healthz"), "Slack rejects the credential\n")
}

// TestCredentialReturns checks that the alert ends, and that a second one is possible.
func TestCredentialReturns(t *testing.T) {
	b := newBench(t, settings{})
	b.expect("metric", b.count("dmbot_credential_rejected"), "0")
	for _, state := range []chatdmtest.TokenState{chatdmtest.Revoked, chatdmtest.Inactive} {
		b.slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser, State: state})
		for range 3 {
			b.expect("rejected", b.typed("C0GENERAL", "<@U0ALICE01>"), rejected)
		}
		b.expect("health", b.get("/healthz"), "Slack rejects the credential\n")
		b.slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser})
		b.typed("C0GENERAL", "<@U0ALICE01>")
		b.expect("health", b.get("/healthz"), "ok\n")
	}
	for text, want := range map[string]int{`"level":"ERROR"`: 2, "Slack accepts the credential again": 2} {
		if n := strings.Count(b.log.String(), text); n != want {
			t.Errorf("got %d lines with %s, want %d:\n%s", n, text, want, b.log)
		}
	}
}

// TestExchange checks that the bot exchanges its token once, even if it is restarted.
func TestExchange(t *testing.T) {
	set := rotating(t)
	set.token = token
	b := newBench(t, set)
	b.expect("first", b.typed("C0GENERAL", "<@U0ALICE01>"), opened)
	set.apiURL, set.hooksURL = b.api.URL+"/api", b.hooks.URL
	if _, err := newBot(t.Context(), set, slog.New(slog.DiscardHandler)); err != nil { // as after a restart
		t.Fatal(err)
	}
	b.expect("exchanges", strconv.Itoa(b.requests("oauth.v2.exchange")), "1")
	expireToken(b.slack)
	b.expect("second", b.typed("C0GENERAL", "<@U0ALICE01>"), again)
	for _, r := range b.slack.Requests() {
		if r.Method != "oauth.v2.exchange" && strings.Contains(r.Header.Get("Authorization"), token) {
			t.Errorf("%s used the token that was exchanged", r.Method)
		}
	}
}

// TestBadCredentials checks that the bot does not start without usable tokens.
func TestBadCredentials(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser, State: chatdmtest.Revoked})
	for want, change := range map[string]func(*settings){
		"set SLACK_TOKEN too":     func(*settings) {},
		"cannot be exchanged":     func(s *settings) { s.token = token },
		"bad_client_secret":       func(s *settings) { s.token, s.app.ClientSecret = chatdmtest.BotToken, "S3CRET" },
		"app.ClientID":            func(s *settings) { s.app.ClientID = "1 2" },
		"create it, or mount its": func(s *settings) { s.file = filepath.Join(s.file, "none", "tokens") },
		"the file is corrupt": func(s *settings) {
			if err := os.WriteFile(s.file, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		set := rotating(t)
		set.apiURL, set.hooksURL = slack.URL, slack.URL
		change(&set)
		_, err := newBot(t.Context(), set, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "S3CRET") {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
