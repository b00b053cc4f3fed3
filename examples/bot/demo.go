package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/show"
)

// workspace simulates Slack's side of slash commands: it signs the commands, and
// receives the outcomes that the bot posts to their response URLs.
type workspace struct {
	bot, secret string
	hooks       *httptest.Server
	later       chan string
}

func newWorkspace() *workspace {
	w := &workspace{secret: rand.Text(), later: make(chan string, 100)}
	w.hooks = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var message struct{ Text string }
		_ = json.NewDecoder(r.Body).Decode(&message)
		w.later <- message.Text
	}))
	return w
}

// command returns the form that Slack sends when user types text in channel.
func (w *workspace) command(user, channel, text string) url.Values {
	return url.Values{
		"command": {"/dm"}, "text": {text}, "user_id": {user}, "channel_id": {channel}, "team_id": {"T0CHATDM1"},
		"trigger_id": {rand.Text()}, "response_url": {w.hooks.URL + "/commands/" + rand.Text()},
	}
}

// send signs a form with a secret and a time, and returns the immediate response.
func (w *workspace) send(ctx context.Context, form url.Values, secret string, at time.Time) (status int, text string, err error) {
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.bot+"/slack/commands", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Slack-Request-Timestamp", strconv.FormatInt(at.Unix(), 10))
	req.Header.Set("X-Slack-Signature", sign(secret, at, body))
	resp, err := w.hooks.Client().Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	var message struct{ Text string }
	if json.Unmarshal(content, &message) != nil {
		message.Text = strings.TrimSpace(string(content))
	}
	return resp.StatusCode, message.Text, err
}

// sign returns the signature of a body.
func sign(secret string, at time.Time, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "v0:%d:%s", at.Unix(), body)
	return fmt.Sprintf("v0=%x", mac.Sum(nil))
}

// demo runs the bot on a fake Slack, sends it commands, and shows what users see.
func demo(ctx context.Context, stdout, stderr io.Writer) error {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	w := newWorkspace()
	defer w.hooks.Close()
	dir, err := os.MkdirTemp("", "bot")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	creds := credentials{
		token: chatdmtest.BotToken, file: filepath.Join(dir, "tokens"),
		app: chatdm.OAuthApp{ClientID: chatdmtest.ClientID, ClientSecret: chatdmtest.ClientSecret},
	}
	var log bytes.Buffer // printed at the end
	b, err := newBot(ctx, settings{credentials: creds, secret: w.secret, apiURL: slack.URL, hooksURL: w.hooks.URL},
		slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.bot = "http://" + listener.Addr().String()
	fmt.Fprintf(stdout, "A fake Slack listens on %s, the bot on %s.\n", slack.URL, w.bot)
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- b.serve(serving, listener) }()
	err = w.talk(ctx, show.New(stdout), slack)
	if err == nil {
		err = w.printMetrics(stdout)
	}
	stop()
	err = cmp.Or(err, <-served)
	fmt.Fprintln(stdout, "\nThe bot has stopped. Its log is on standard error:")
	_, _ = stderr.Write(log.Bytes())
	return err
}

// talk sends the commands of the demo.
func (w *workspace) talk(ctx context.Context, s *show.Show, slack *chatdmtest.Slack) error {
	const alice = "<@" + chatdmtest.Alice + "|alice>"
	form, now := url.Values{}, time.Now()
	for _, step := range []struct {
		title, text string
		inDM, again bool
		secret      string
		late        time.Duration
		before      func(*chatdmtest.Slack)
	}{
		{title: "Bob opens a direct message with Alice", text: alice},
		{title: "Bob opens a group message with a text", text: alice + " <@" + chatdmtest.Carol + "|carol> Lunch at noon?"},
		{title: "Bob opens the direct message again", text: alice},
		{title: "A proxy delivers the same request twice", text: alice, again: true},
		{title: "Alice closes the direct message", text: "close", inDM: true},
		{title: "Alice closes it again", text: "close", inDM: true},
		{title: "Bob closes a conversation without the bot", text: "close"},
		{title: "Bob names someone whose account is deactivated", text: "<@" + chatdmtest.DisabledUser + ">"},
		{title: "Bob names nobody", text: "hello"},
		{title: "An attacker signs with a wrong secret", text: alice, secret: "guessed"},
		{title: "An attacker replays a signed request after ten minutes", text: alice, late: 10 * time.Minute},
		{title: "The access token expires, so the bot refreshes it", text: alice, before: expireToken},
		{title: "An administrator removes the app", text: alice, before: func(s *chatdmtest.Slack) { s.RevokeTokens(chatdmtest.BotUser) }},
	} {
		s.Step(step.title)
		if step.before != nil {
			step.before(slack)
		}
		s.Say("> /dm %s", step.text)
		if !step.again {
			form = w.command(chatdmtest.Bob, "D0ANOTHER1", step.text)
			if step.inDM {
				form = w.command(chatdmtest.Alice, greetings(slack)[0].Get("channel"), step.text)
			}
		}
		status, text, err := w.send(ctx, form, cmp.Or(step.secret, w.secret), now.Add(-step.late))
		if err != nil {
			return err
		}
		s.Say("< %d %s", status, cmp.Or(strings.ReplaceAll(text, "\n", "\n         "), "(nothing)"))
		if text == accepted {
			select {
			case text := <-w.later:
				s.Say("< later: %s", text)
			case <-time.After(10 * time.Second):
				return errors.New("no outcome was posted to the response_url")
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	s.Step("The fake Slack received these messages")
	for _, greeting := range greetings(slack) {
		s.Say("%s: %s", greeting.Get("channel"), greeting.Get("text"))
	}
	return nil
}

// expireToken makes the newest access token of the bot expire.
func expireToken(slack *chatdmtest.Slack) {
	tokens, _ := slack.NewestTokens(chatdmtest.BotUser)
	slack.AddToken(chatdmtest.Token{Value: tokens.AccessToken, User: chatdmtest.BotUser, State: chatdmtest.Expired})
}

// greetings returns the arguments of each chat.postMessage that slack received.
func greetings(slack *chatdmtest.Slack) (calls []url.Values) {
	for _, r := range slack.Requests() {
		if r.Method == "chat.postMessage" {
			form, _ := url.ParseQuery(string(r.Body))
			calls = append(calls, form)
		}
	}
	return calls
}

// printMetrics prints metrics that Prometheus would read.
func (w *workspace) printMetrics(out io.Writer) error {
	resp, err := w.hooks.Client().Get(w.bot + "/metrics") //nolint:noctx // loopback
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	fmt.Fprint(out, "\nSome metrics of the bot:\n")
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "dmbot_") && strings.Contains(line, "_total{") || strings.HasPrefix(line, "dmbot_credential") ||
			strings.HasPrefix(line, "chatdm_call_attempts_sum") {
			fmt.Fprint(out, "   ", line)
		}
	}
	return err
}
