package main

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

const signingSecret = "dashboard-secret"

// plan says how to run the bot.
type plan struct {
	length         time.Duration
	scrapeInterval time.Duration
	sendInterval   time.Duration // between commands, on average
	failInterval   time.Duration // between failures of Slack
}

// record runs the bot and scrapes its metrics.
func record(ctx context.Context, p plan) (s *scrapes, err error) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(60*time.Millisecond + time.Duration(mathrand.ExpFloat64()*float64(60*time.Millisecond)))
		slack.ServeHTTP(w, r)
	}))
	defer api.Close()
	hooks := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer hooks.Close()
	b, err := startBot(ctx, api.URL+"/api", hooks.URL)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.stop()) }()

	ctx, cancel := context.WithTimeout(ctx, p.length)
	defer cancel()
	var traffic sync.WaitGroup
	traffic.Go(func() { sendCommands(ctx, b, hooks.URL, p.sendInterval) })
	traffic.Go(func() { fail(ctx, slack, p.failInterval) })
	defer traffic.Wait()
	s = new(scrapes)
	for tick := time.Tick(p.scrapeInterval); ctx.Err() == nil; {
		text, err := b.metrics()
		if err != nil {
			return nil, err
		}
		if err := s.add(time.Now(), text); err != nil {
			return nil, err
		}
		select {
		case <-tick:
		case <-ctx.Done():
		}
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, ctx.Err()
	}
	return s, nil
}

// fail makes Slack fail in different ways, which take turns.
func fail(ctx context.Context, slack *chatdmtest.Slack, interval time.Duration) {
	for i := 0; ; i++ {
		switch i % 4 {
		case 0: // other processes of the app use up the limit
			slack.Fail("conversations.open", 2, chatdmtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"2"}}})
		case 1:
			slack.Fail("conversations.open", 5, chatdmtest.Fault{Status: http.StatusServiceUnavailable})
		case 2:
			slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
			slack.Fail("conversations.open", 1, chatdmtest.Fault{Code: "not_permitted"})
		case 3:
			slack.Fail("conversations.open", 1, chatdmtest.Fault{Code: "brand_new"})
			slack.Fail("chat.postMessage", 2, chatdmtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}})
		}
		select {
		case <-time.After(interval):
		case <-ctx.Done():
			return
		}
	}
}

// sendCommands sends slash commands. One in ten names a deactivated user.
func sendCommands(ctx context.Context, b *bot, hooksURL string, interval time.Duration) {
	users := []string{chatdmtest.Alice, chatdmtest.Bob, chatdmtest.Carol, chatdmtest.Dave, chatdmtest.Erin, chatdmtest.DisabledUser}
	for i := 0; ; i++ {
		user := users[i%5]
		if i%10 == 9 {
			user = users[5]
		}
		b.send(ctx, url.Values{
			"command": {"/dm"}, "text": {"<@" + user + "> Lunch?"}, "user_id": {chatdmtest.Frank}, "channel_id": {"D0ANOTHER1"},
			"team_id": {"T0CHATDM1"}, "trigger_id": {rand.Text()}, "response_url": {hooksURL + "/commands/" + rand.Text()},
		})
		select {
		case <-time.After(time.Duration(mathrand.ExpFloat64() * float64(interval))):
		case <-ctx.Done():
			return
		}
	}
}

// bot is a process of examples/bot.
type bot struct {
	cmd  *exec.Cmd
	dir  string
	root string // the URL
}

func startBot(ctx context.Context, apiURL, hooksURL string) (*bot, error) {
	dir, err := os.MkdirTemp("", "dashboard")
	if err != nil {
		return nil, err
	}
	b := &bot{dir: dir}
	program := filepath.Join(dir, "bot.exe") // Windows needs the extension
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/chatdm/chatdm/examples/bot")
	if text, err := build.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("go build: %w\n%s", err, text), os.RemoveAll(dir))
	}
	b.cmd = exec.Command(program, "-listen", "127.0.0.1:0") //nolint:noctx // stop ends it
	b.cmd.Env = append(os.Environ(), "SLACK_TOKEN="+chatdmtest.BotToken, "SLACK_SIGNING_SECRET="+signingSecret,
		"SLACK_API_URL="+apiURL, "SLACK_HOOKS_URL="+hooksURL, "OTEL_EXPORTER_OTLP_ENDPOINT=")
	log, err := b.cmd.StderrPipe()
	if err == nil {
		err = b.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	lines := bufio.NewScanner(log)
	var listening struct{ Address string }
	for listening.Address == "" && lines.Scan() {
		_ = json.Unmarshal(lines.Bytes(), &listening)
	}
	if listening.Address == "" {
		return nil, errors.Join(errors.New("the bot did not log its address"), b.stop())
	}
	go func() { _, _ = io.Copy(io.Discard, log) }()
	b.root = "http://" + listening.Address
	return b, nil
}

func (b *bot) stop() error {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
	return os.RemoveAll(b.dir)
}

func (b *bot) metrics() (string, error) {
	resp, err := http.Get(b.root + "/metrics") //nolint:noctx // loopback
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}

// send sends a command, as Slack signs it.
func (b *bot) send(ctx context.Context, form url.Values) {
	body, now := form.Encode(), strconv.FormatInt(time.Now().Unix(), 10)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.root+"/slack/commands", strings.NewReader(body))
	if err != nil {
		return
	}
	mac := hmac.New(sha256.New, []byte(signingSecret))
	fmt.Fprintf(mac, "v0:%s:%s", now, body)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Slack-Request-Timestamp", now)
	req.Header.Set("X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil)))
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
	}
}
