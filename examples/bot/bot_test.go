package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// token is one that a leak of would be seen.
const token = "xoxb-77777-S3CRET"

// bench is a bot that serves on loopback, the Slack that it calls, and the
// workspace that sends it commands.
type bench struct {
	*workspace
	t     *testing.T
	slack *chatdmtest.Slack
	api   *httptest.Server // what the bot calls: that Slack, behind a gate
	gate  sync.RWMutex
	bot   *bot
	log   *text
	stop  func()
	ended chan struct{} // closed when the bot has, with err
	err   error

	mu      sync.Mutex
	private []string // what no log, metric or answer may show
	shown   []string
}

// newBench starts a bot; this is what to take over for the tests of your own.
// When the test ends, the bot is stopped, and whatever it has written and
// answered is searched for secrets.
func newBench(t *testing.T, set settings) *bench {
	t.Helper()
	b := &bench{workspace: newWorkspace(), t: t, slack: chatdmtest.NewSlack(), log: new(text), ended: make(chan struct{})}
	b.api = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.gate.RLock()
		defer b.gate.RUnlock()
		b.slack.ServeHTTP(w, r)
	}))
	t.Cleanup(b.hooks.Close)
	t.Cleanup(b.api.Close)
	t.Cleanup(b.slack.Close)
	b.slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser})
	b.slack.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general"})
	set.token, set.secret = token, b.workspace.secret
	set.apiURL, set.hooksURL = b.api.URL+"/api", b.hooks.URL
	set.retry = chatdm.RetryPolicy{BaseWait: time.Millisecond}
	var err error
	if b.bot, err = newBot(set, slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.workspace.bot = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = func() {
		b.hooks.Client().CloseIdleConnections() // for one that was never used, the bot would wait
		cancel()
	}
	go func() {
		b.err = b.bot.serve(ctx, listener)
		close(b.ended)
	}()
	b.private = []string{token, b.workspace.secret, "Lunch"} // and what people write to each other
	t.Cleanup(func() {
		metrics := b.get("/metrics")
		b.stop()
		if <-b.ended; b.err != nil {
			t.Error(b.err)
		}
		for _, private := range b.private {
			for where, text := range map[string]string{"the log": b.log.String(), "the metrics": metrics, "an answer": strings.Join(b.shown, "\n")} {
				if strings.Contains(text, private) {
					t.Errorf("%s shows %q:\n%s", where, private, text)
				}
			}
		}
	})
	return b
}

// text is what a bot writes while a test reads it.
type text struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// get reads a page of the bot's, nothing where it has stopped.
func (b *bench) get(path string) string {
	resp, err := b.hooks.Client().Get(b.workspace.bot + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	return string(page)
}

// deliver sends a form that is signed now, and returns what is answered at once.
func (b *bench) deliver(form url.Values) string {
	b.t.Helper()
	status, answer, err := b.send(b.t.Context(), form, b.workspace.secret, time.Now())
	if err != nil || status != http.StatusOK {
		b.t.Errorf("got %d %q, %v", status, answer, err)
	}
	to, _ := url.Parse(form.Get("response_url"))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.private = append(b.private, form.Get("trigger_id"), to.Path)
	b.shown = append(b.shown, answer)
	return answer
}

// outcome waits for what is posted to a response_url.
func (b *bench) outcome() string {
	b.t.Helper()
	select {
	case text := <-b.later:
		b.mu.Lock()
		defer b.mu.Unlock()
		b.shown = append(b.shown, text)
		return text
	case <-time.After(10 * time.Second):
		b.t.Fatalf("no outcome was posted; the log:\n%s", b.log)
		return ""
	}
}

// typed is what comes of a command that Bob types in a channel.
func (b *bench) typed(channel, text string) string {
	b.t.Helper()
	if answer := b.deliver(b.command(chatdmtest.Bob, channel, text)); answer != accepted {
		return answer
	}
	return b.outcome()
}

// sent is what Slack has seen of the bot, a line for each request.
func (b *bench) sent() string {
	var lines []string
	for _, r := range b.slack.Requests() {
		form, err := url.QueryUnescape(string(r.Body))
		if err != nil || r.Header.Get("Authorization") != "Bearer "+token {
			b.t.Errorf("sent %q with %q", r.Body, r.Header)
		}
		lines = append(lines, r.Method+" "+form)
	}
	return strings.Join(lines, "\n")
}

// count is a value among the metrics.
func (b *bench) count(metric string) string {
	for line := range strings.Lines(b.get("/metrics")) {
		if value, ok := strings.CutPrefix(line, metric+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// expect compares what came of something with what should have.
func (b *bench) expect(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// until waits for something that another goroutine brings about.
func (b *bench) until(what string, done func() bool) {
	b.t.Helper()
	for range 2000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.t.Fatalf("waited in vain until %s; the log:\n%s", what, b.log)
}

// shut keeps Slack from answering until it is opened again.
func (b *bench) shut() (open func()) {
	b.gate.Lock()
	open = sync.OnceFunc(b.gate.Unlock)
	b.t.Cleanup(open)
	return open
}

func mentions(users ...string) string { return "<@" + strings.Join(users, "> <@") + ">" }

var everybody = []string{chatdmtest.Alice, chatdmtest.Bob, chatdmtest.Carol, chatdmtest.Dave, chatdmtest.Erin, chatdmtest.Frank, chatdmtest.Grace, chatdmtest.Heidi}

// TestCommands is one command each, what the user reads, and what Slack sees.
func TestCommands(t *testing.T) {
	usage := help(command{SlashCommand: slack.SlashCommand{Command: "/dm"}})
	for _, tt := range []struct{ name, text, channel, want, sent string }{
		{name: "one person", text: "<@U0ALICE01|alice>",
			want: "The conversation with <@U0ALICE01> is open. I posted the greeting.",
			sent: "conversations.open users=U0ALICE01\nchat.postMessage channel=D000000001&text=Hello. <@U0BOB0001> asked me to open this conversation."},
		{name: "a group and a text", text: " <@U0ALICE01>,<@U0CAROL01|carol>\u00a0<@U0ALICE01|alice> Lunch & <@U0CAROL01>  too? ",
			want: "The conversation with <@U0ALICE01>, <@U0CAROL01> is open. I posted the greeting.",
			sent: "conversations.open users=U0ALICE01,U0CAROL01\nchat.postMessage channel=C000000001&text=<@U0BOB0001> asked me to say: Lunch & <@U0CAROL01>  too?"},
		{name: "no call of everybody", text: "<@U0ALICE01> <!channel> <!subteam^S1>",
			want: "The conversation with <@U0ALICE01> is open. I posted the greeting.",
			sent: "conversations.open users=U0ALICE01\nchat.postMessage channel=D000000001&text=<@U0BOB0001> asked me to say: &lt;!channel> &lt;!subteam^S1>"},
		{name: "eight people", text: mentions(everybody...),
			want: "The conversation with <@" + strings.Join(everybody, ">, <@") + "> is open. I posted the greeting.",
			sent: "conversations.open users=" + strings.Join(everybody, ",") + "\nchat.postMessage channel=C000000001&text=Hello. <@U0BOB0001> asked me to open this conversation."},
		{name: "nine people", text: mentions(append(everybody, "U0NINTH")...),
			want: "That will not do: users: 9 ids, and at most eight may be named."},
		{name: "nobody knows them", text: "<@U404>", want: "Slack knows no such person here.", sent: "conversations.open users=U404"},
		{name: "disabled", text: mentions(chatdmtest.Alice, chatdmtest.DisabledUser),
			want: "An account among these is deactivated.", sent: "conversations.open users=U0ALICE01,U0DISABLED"},
		{name: "hidden", text: mentions(chatdmtest.HiddenUser), want: "I may not see everybody among these people.", sent: "conversations.open users=U0HIDDEN01"},
		{name: "another bot", text: mentions(chatdmtest.OtherBot), want: "Slack does not let me write to other bots.", sent: "conversations.open users=U0OTHERBOT"},
		{name: "close a channel", text: "close", channel: "C0GENERAL",
			want: "This is a channel. I can close direct messages and group messages only.", sent: "conversations.close channel=C0GENERAL"},
		{name: "close what the bot does not see", text: " Close ", channel: "D404",
			want: "I am not in this conversation, so I cannot close it.", sent: "conversations.close channel=D404"},
		{name: "nothing", text: "", want: usage},
		{name: "help", text: "help", want: usage},
		{name: "close and more", text: "close <@U0ALICE01>", want: usage},
		{name: "the end of a mention", text: "<@U0ALICE01", want: usage},
		{name: "Slack does not escape", text: "@alice", want: usage + "\nI cannot tell who that is. Whoever set me up finds the option \"Escape channels, users, and links\" in Slack's settings of the command."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, settings{})
			b.expect("answer", b.typed(tt.channel, tt.text), tt.want)
			b.expect("sent", b.sent(), tt.sent)
		})
	}
}

// TestConversation opens and closes, and both once more.
func TestConversation(t *testing.T) {
	b := newBench(t, settings{})
	b.expect("open", b.typed("C0GENERAL", "<@U0ALICE01>"), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	b.expect("open again", b.typed("C0GENERAL", "<@U0ALICE01>"), "The conversation with <@U0ALICE01> was open already. I posted the greeting.")
	b.expect("close", b.typed("D000000001", "close"), "This conversation is closed for me, until the next message in it.")
	b.expect("close again", b.typed("D000000001", "close"), "This conversation was closed already.")
	b.slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.AdminUser})
	b.expect("somebody else's", b.typed("D000000001", "close"), "I am not in this conversation, so I cannot close it.")
	b.until("the last outcome is counted", func() bool { return b.count(`dmbot_replies_total{outcome="ok"}`) == "5" })
	for metric, want := range map[string]string{
		`dmbot_commands_total{outcome="opened"}`:                                      "1",
		`dmbot_commands_total{outcome="already_open"}`:                                "1",
		`dmbot_commands_total{outcome="closed"}`:                                      "1",
		`dmbot_commands_total{outcome="already_closed"}`:                              "1",
		`dmbot_commands_total{outcome="unreachable"}`:                                 "1",
		`dmbot_slack_calls_total{method="conversations.open",outcome="ok"}`:           "2",
		`dmbot_slack_calls_total{method="chat.postMessage",outcome="ok"}`:             "2",
		`dmbot_slack_calls_total{method="conversations.close",outcome="ok"}`:          "2",
		`dmbot_slack_calls_total{method="conversations.close",outcome="unreachable"}`: "1",
		`dmbot_slack_requests_total{method="conversations.close"}`:                    "3",
		`dmbot_slack_call_seconds_count{method="conversations.open"}`:                 "2",
		`dmbot_commands_queued`:                                                       "0",
		`dmbot_commands_working`:                                                      "0",
	} {
		b.expect(metric, b.count(metric), want)
	}
	b.expect("health", b.get("/healthz"), "ok\n")
}

// TestSlackFails is what a user reads when Slack does not do what it is asked,
// and how often it was asked.
func TestSlackFails(t *testing.T) {
	const open, post = "conversations.open", "chat.postMessage"
	const opened = "The conversation with <@U0ALICE01> is open. I posted the greeting."
	const perhaps = "The conversation is open, but something went wrong with the greeting. Slack's answer was lost, so it may or may not be there. Please look before you ask again."
	lost := chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}
	for _, tt := range []struct {
		name, method string
		times        int
		fault        chatdmtest.Fault
		want, level  string
		opens, posts int // requests
	}{
		{"two 500s", open, 2, chatdmtest.Fault{Status: 500}, opened, "INFO", 3, 1},
		{"nothing but 500s", open, -1, chatdmtest.Fault{Status: 500}, "Slack does not answer me properly. Please try again in a few minutes.", "WARN", 4, 0},
		{"an answer is lost, and it was not open before", open, 1, lost, opened, "INFO", 2, 1},
		{"a short limit", open, 1, limited("1"), opened, "INFO", 2, 1},
		{"a long limit", open, 1, limited("120"), "Slack wants me to slow down. Please try again in 120 seconds.", "WARN", 1, 0},
		{"the greeting's answer is lost", post, 1, lost, perhaps, "WARN", 1, 1},
		{"the greeting fails with 503", post, 1, chatdmtest.Fault{Status: 503}, perhaps, "WARN", 1, 1},
		{"the greeting is limited", post, 1, limited("1"), opened, "INFO", 1, 2},
		{"the greeting is limited for long", post, 1, limited("90"), "The conversation is open, but something went wrong with the greeting. Slack wants me to slow down. Please try again in 90 seconds.", "WARN", 1, 1},
		{"the token is revoked", open, 1, chatdmtest.Fault{Code: "token_revoked"}, "Slack does not let me do that. Whoever runs me finds the reason in my log.", "ERROR", 1, 0},
		{"strangers", open, 1, chatdmtest.Fault{Code: "invalid_user_combination"}, "People of other organizations must share a channel with each other first.", "WARN", 1, 0},
		{"a new code", open, 1, chatdmtest.Fault{Code: "brand_new"}, "Something went wrong that I was not made for. Whoever runs me finds it in my log.", "ERROR", 1, 0},
		{"no JSON", open, 1, chatdmtest.Fault{Body: "<html>"}, "Something went wrong that I was not made for. Whoever runs me finds it in my log.", "ERROR", 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, settings{})
			b.slack.Fail(tt.method, tt.times, tt.fault)
			b.expect("answer", b.typed("C0GENERAL", "<@U0ALICE01>"), tt.want)
			b.expect("opens", strconv.Itoa(strings.Count(b.sent(), open)), strconv.Itoa(tt.opens))
			b.expect("posts", strconv.Itoa(strings.Count(b.sent(), post)), strconv.Itoa(tt.posts))
			b.expect("counted opens", b.count(`dmbot_slack_requests_total{method="conversations.open"}`), strconv.Itoa(tt.opens))
			if !strings.Contains(b.log.String(), `"level":"`+tt.level+`","msg":"command"`) {
				t.Errorf("no line at the level %s:\n%s", tt.level, b.log)
			}
		})
	}
}

func limited(seconds string) chatdmtest.Fault {
	return chatdmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {seconds}}}
}

// TestMissingScope tells the operator which, and the user only that.
func TestMissingScope(t *testing.T) {
	b := newBench(t, settings{})
	b.slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser, Scopes: []string{"im:write"}})
	b.expect("group", b.typed("C0GENERAL", mentions(chatdmtest.Alice, chatdmtest.Carol)), "Slack does not let me do that. Whoever runs me finds the reason in my log.")
	b.expect("person", b.typed("C0GENERAL", mentions(chatdmtest.Alice)), "The conversation is open, but something went wrong with the greeting. Slack does not let me do that. Whoever runs me finds the reason in my log.")
	for _, want := range []string{`"level":"ERROR","msg":"command"`, `"code":"missing_scope"`, `mpim:write`, `"needed":"chat:write"`} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, b.log)
		}
	}
	b.expect("counted", b.count(`dmbot_commands_total{outcome="permission_denied"}`), "2")
}

// TestRefused is what is no command of Slack's. Nothing is done about it.
func TestRefused(t *testing.T) {
	b := newBench(t, settings{})
	good := b.command(chatdmtest.Bob, "C0GENERAL", "<@U0ALICE01>")
	body := good.Encode()
	with := func(name, value string) string {
		form := b.command(chatdmtest.Bob, "C0GENERAL", "<@U0ALICE01> Lunch?")
		form.Set(name, value)
		return form.Encode()
	}
	header := func(at time.Time, body string) map[string]string {
		return map[string]string{
			"X-Slack-Request-Timestamp": strconv.FormatInt(at.Unix(), 10), "X-Slack-Signature": sign(b.workspace.secret, at, body),
			"Content-Type": "application/x-www-form-urlencoded",
		}
	}
	now := time.Now()
	changed := func(name, value string) map[string]string {
		h := header(now, body)
		if h[name] = value; value == "" {
			delete(h, name)
		}
		return h
	}
	type request struct {
		name, method, path, body string
		header                   map[string]string
		status                   int
	}
	tests := []request{
		{"other secret", "POST", "", body, changed("X-Slack-Signature", sign("guessed", now, body)), 401},
		{"other body", "POST", "", body + "&text=close", header(now, body), 401},
		{"other timestamp", "POST", "", body, changed("X-Slack-Request-Timestamp", strconv.FormatInt(now.Unix()-1, 10)), 401},
		{"old", "POST", "", body, header(now.Add(-6*time.Minute), body), 401},
		{"of the future", "POST", "", body, header(now.Add(6*time.Minute), body), 401},
		{"no signature", "POST", "", body, changed("X-Slack-Signature", ""), 401},
		{"no timestamp", "POST", "", body, changed("X-Slack-Request-Timestamp", ""), 401},
		{"no header at all", "POST", "", body, nil, 401},
		{"a signature of nothing", "POST", "", body, changed("X-Slack-Signature", "v0="), 401},
		{"a signature that is no hex", "POST", "", body, changed("X-Slack-Signature", "v0="+strings.Repeat("x", 64)), 401},
		{"another version", "POST", "", body, changed("X-Slack-Signature", strings.Replace(sign(b.workspace.secret, now, body), "v0", "v1", 1)), 401},
		{"a timestamp that is no number", "POST", "", body, changed("X-Slack-Request-Timestamp", "now"), 401},
		{"a timestamp that is too large", "POST", "", body, changed("X-Slack-Request-Timestamp", "9223372036854775807"), 401},
		{"GET", "GET", "", "", header(now, ""), 405},
		{"PUT", "PUT", "", body, header(now, body), 405},
		{"elsewhere", "POST", "/slack/events", body, header(now, body), 404},
	}
	large := with("text", strings.Repeat("x", maxBody))
	tests = append(tests, request{"too large", "POST", "", large, header(now, large), 413})
	for name, body := range map[string]string{
		"empty": "", "JSON": `{"command":"/dm"}`, "no form": "%zz", "an interaction": url.Values{"payload": {`{"type":"block_actions"}`}}.Encode(),
		"no trigger":             with("trigger_id", ""),
		"no user":                with("user_id", ""),
		"no response_url":        with("response_url", ""),
		"another host":           with("response_url", "https://169.254.169.254/latest"),
		"another port":           with("response_url", "http://127.0.0.1:1/commands/x"),
		"another scheme":         with("response_url", strings.Replace(b.hooks.URL, "http", "https", 1)+"/x"),
		"a host in the userinfo": with("response_url", b.hooks.URL+"@evil.example/x"),
		"a userinfo":             with("response_url", strings.Replace(b.hooks.URL, "//", "//u:p@", 1)+"/x"),
		"a longer host":          with("response_url", strings.Replace(b.hooks.URL, "127.0.0.1", "127.0.0.1.evil.example", 1)+"/x"),
		"no URL":                 with("response_url", "http://[::1"),
	} {
		tests = append(tests, request{name, "POST", "", body, header(now, body), 400})
	}
	refused := 0
	for _, tt := range tests {
		req, err := http.NewRequestWithContext(t.Context(), tt.method, b.workspace.bot+cmp.Or(tt.path, "/slack/commands"), strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range tt.header {
			req.Header.Set(name, value)
		}
		resp, err := b.hooks.Client().Do(req)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || !strings.HasPrefix(string(answer), http.StatusText(tt.status)) && tt.status != 404 {
			t.Errorf("%s: %d %q, want %d", tt.name, resp.StatusCode, answer, tt.status)
		}
		if tt.status != 404 && tt.status != 405 {
			refused++
		}
	}
	b.expect("counted", b.count(`dmbot_commands_total{outcome="refused"}`), strconv.Itoa(refused))
	b.expect("logged", strconv.Itoa(strings.Count(b.log.String(), "request refused")), strconv.Itoa(refused))
	b.private = append(b.private, "evil.example", "169.254", good.Get("trigger_id"))
	// What was refused is not remembered: the real one comes through.
	b.expect("the real one", b.deliver(good), accepted)
	b.expect("its outcome", b.outcome(), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	if n := len(b.slack.Requests()); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestDuplicates greets once, however often a command is delivered.
func TestDuplicates(t *testing.T) {
	b := newBench(t, settings{})
	form := b.command(chatdmtest.Bob, "C0GENERAL", "<@U0ALICE01> Lunch?")
	answers := make(chan string, 50)
	var wg sync.WaitGroup
	for range cap(answers) {
		wg.Go(func() { answers <- b.deliver(form) })
	}
	wg.Wait()
	close(answers)
	seen := make(map[string]int)
	for answer := range answers {
		seen[answer]++
	}
	if seen[accepted] != 1 || seen[""] != 49 {
		t.Errorf("answered %v", seen)
	}
	b.outcome()
	b.expect("after the outcome", b.deliver(form), "")
	b.expect("another one", b.typed("C0GENERAL", "<@U0ALICE01> Lunch?"), "The conversation with <@U0ALICE01> was open already. I posted the greeting.")
	b.expect("counted", b.count(`dmbot_commands_total{outcome="duplicate"}`), "50")
	b.stop()
	<-b.ended // all work is done
	if n := len(greetings(b.slack)); n != 2 || len(b.later) != 0 {
		t.Errorf("%d greetings, and %d outcomes too many", n, len(b.later))
	}
}

// TestMemory is bounded, and forgets the oldest first.
func TestMemory(t *testing.T) {
	b, err := newBot(settings{token: token, apiURL: "http://127.0.0.1:1", hooksURL: "http://127.0.0.1:1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	say := func(i int) string {
		answer := b.accept(command{close: true, SlashCommand: slack.SlashCommand{TriggerID: strconv.Itoa(i)}})
		if answer == accepted {
			<-b.queue
		}
		return answer
	}
	for i := range maxSeen + 10 {
		if answer := say(i); answer != accepted {
			t.Fatalf("%d: %q", i, answer)
		}
	}
	if latest, oldest, older := say(maxSeen+9), say(10), say(9); latest != "" || oldest != "" || older != accepted {
		t.Errorf("answers %q to the latest, %q to the oldest, %q to one that is older", latest, oldest, older)
	}
	if len(b.seen) != maxSeen {
		t.Errorf("remembers %d", len(b.seen))
	}
	var first atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 1000 {
				if say(-1-i) == accepted {
					first.Add(1)
				}
			}
		})
	}
	if wg.Wait(); first.Load() != 1000 {
		t.Errorf("%d of 1000 accepted by eight at once", first.Load())
	}
}

// TestBusy answers while Slack does not, at once, and has no more in its queue
// than fits.
func TestBusy(t *testing.T) {
	b := newBench(t, settings{workers: 1, queue: 1})
	open := b.shut()
	b.expect("first", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
	b.until("the worker is busy", func() bool { return b.count("dmbot_commands_working") == "1" })
	b.expect("second", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Carol))), accepted)
	b.expect("queued", b.count("dmbot_commands_queued"), "1")
	third := b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Dave))
	b.expect("third", b.deliver(third), "I have too much to do at the moment. Please try again in a minute.")
	b.expect("help", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", "")), help(command{SlashCommand: slack.SlashCommand{Command: "/dm"}}))
	open()
	b.expect("first", b.outcome(), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	b.expect("second", b.outcome(), "The conversation with <@U0CAROL01> is open. I posted the greeting.")
	b.expect("counted", b.count(`dmbot_commands_total{outcome="busy"}`), "1")
	b.expect("third again", b.deliver(third), accepted)
	b.expect("third", b.outcome(), "The conversation with <@U0DAVE001> is open. I posted the greeting.")
}

// TestTimeout ends the work on a command, and says so.
func TestTimeout(t *testing.T) {
	b := newBench(t, settings{timeout: 50 * time.Millisecond})
	b.slack.Fail("conversations.open", 1, chatdmtest.Fault{Stall: chatdmtest.BeforeHeader})
	b.expect("open", b.typed("C0GENERAL", mentions(chatdmtest.Alice)), "I ran out of time. Please try again.")
	b.slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Stall: chatdmtest.BeforeHeader, Apply: true})
	b.expect("post", b.typed("C0GENERAL", mentions(chatdmtest.Alice)),
		"The conversation is open, but something went wrong with the greeting. Slack's answer was lost, so it may or may not be there. Please look before you ask again.")
	b.expect("counted", b.count(`dmbot_commands_total{outcome="effect_unknown"}`), "1")
}

// TestShutdown lets the bot finish what it has accepted.
func TestShutdown(t *testing.T) {
	b := newBench(t, settings{workers: 1})
	open := b.shut()
	for range 3 {
		b.expect("answer", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
	}
	late := b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))
	b.stop()
	b.until("the bot has stopped to listen", func() bool {
		b.bot.mu.Lock()
		defer b.bot.mu.Unlock()
		return b.bot.stopping
	})
	if status, _, err := b.send(t.Context(), late, b.workspace.secret, time.Now()); err == nil {
		t.Errorf("answered with %d", status)
	}
	select {
	case <-b.ended:
		t.Fatalf("ended with work in flight: %v", b.err)
	default:
	}
	open()
	b.expect("first", b.outcome(), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	for range 2 {
		b.expect("queued", b.outcome(), "The conversation with <@U0ALICE01> was open already. I posted the greeting.")
	}
	<-b.ended
	if n := len(greetings(b.slack)); n != 3 {
		t.Errorf("%d greetings", n)
	}
	// A request that the server had read just before.
	b.expect("afterwards", b.bot.accept(command{close: true, SlashCommand: slack.SlashCommand{TriggerID: "1"}}), "I am being restarted. Please try again in a minute.")
}

// TestGrace ends what takes too long, tells the users, and begins nothing more.
func TestGrace(t *testing.T) {
	b := newBench(t, settings{workers: 1, grace: 50 * time.Millisecond})
	open := b.shut()
	for range 3 {
		b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice)))
	}
	b.until("the worker is busy", func() bool { return b.count("dmbot_commands_working") == "1" })
	b.stop()
	for range 3 {
		b.expect("outcome", b.outcome(), "I ran out of time. Please try again.")
	}
	<-b.ended
	open()
	b.api.Close() // which waits for the requests at the gate
	if sent := b.sent(); sent != "conversations.open users=U0ALICE01" {
		t.Errorf("sent %s", sent)
	}
}

// TestOutcomeIsLost is what becomes of an outcome that the response_url does
// not take.
func TestOutcomeIsLost(t *testing.T) {
	for _, tt := range []struct {
		name, outcome string
		statuses      []int
	}{
		{"failures that pass", "ok", []int{500, 429, 200}},
		{"failures that do not", "failed", []int{500, 503, 502}},
		{"the URL has expired", "failed", []int{404}},
		{"a redirect", "failed", []int{307}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // the bot waits a second between two tries
			b := newBench(t, settings{})
			tries := make(chan string, 10)
			b.hooks.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				status := 200
				if n := len(tries); n < len(tt.statuses) {
					status = tt.statuses[n]
				}
				w.Header().Set("Location", b.hooks.URL+"/elsewhere")
				w.WriteHeader(status)
				tries <- r.Method + r.Header.Get("Content-Type") + string(body)
			})
			b.expect("answer", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
			b.until("it gives up or succeeds", func() bool { return b.count(`dmbot_replies_total{outcome="`+tt.outcome+`"}`) == "1" })
			if len(tries) != len(tt.statuses) {
				t.Errorf("%d tries, want %d", len(tries), len(tt.statuses))
			}
			b.expect("body", <-tries, `POSTapplication/json{"text":"The conversation with \u003c@U0ALICE01\u003e is open. I posted the greeting.","response_type":"ephemeral","replace_original":false,"delete_original":false}`)
			if lost := strings.Contains(b.log.String(), "the outcome did not reach the user"); lost != (tt.outcome == "failed") {
				t.Errorf("the log:\n%s", b.log)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, settings{})
		b.hooks.Listener.Close() // the URL in the error of the connection is secret, too
		b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice)))
		b.until("it gives up", func() bool { return strings.Contains(b.log.String(), "the outcome did not reach the user") })
		if !strings.Contains(b.log.String(), "refused") {
			t.Errorf("the log lacks the reason:\n%s", b.log)
		}
	})
}

// asProgram makes the test binary the bot itself.
const asProgram = "BOT_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestSignals is SIGINT at the real program: once, it finishes what it has
// accepted and exits with 0; twice, it does not.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cannot send an interrupt to a process")
	}
	for _, signals := range []int{1, 2} {
		b := newBench(t, settings{}) // for its Slack and its workspace; its own bot has nothing to do
		open := b.shut()
		cmd := exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), asProgram+"=1", "SLACK_TOKEN="+token, "SLACK_SIGNING_SECRET="+b.workspace.secret, "SLACK_API_URL="+b.api.URL+"/api", "SLACK_HOOKS_URL="+b.hooks.URL)
		var out text
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
		b.until("it listens", func() bool { return strings.Contains(out.String(), `"address":"`) })
		_, address, _ := strings.Cut(out.String(), `"address":"`)
		address, _, _ = strings.Cut(address, `"`)
		b.workspace.bot = "http://" + address
		b.expect("answer", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
		b.until("the worker is busy", func() bool { return b.count("dmbot_commands_working") == "1" })
		cmd.Process.Signal(os.Interrupt)
		b.until("it stops", func() bool { return strings.Contains(out.String(), "stopping") })
		if signals == 2 {
			cmd.Process.Signal(os.Interrupt)
			cmd.Wait()
			open()
		} else {
			open()
			b.expect("outcome", b.outcome(), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
			cmd.Wait()
		}
		if code := cmd.ProcessState.ExitCode(); signals == 1 && code != 0 || signals == 2 && code != -1 || strings.Contains(out.String(), `"stopped"`) != (signals == 1) {
			t.Errorf("%d signals: exit code %d\n%s", signals, code, &out)
		}
		b.log.Write([]byte(out.String())) // to be searched for secrets
	}
}

// TestSettings is what does not fit together.
func TestSettings(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	both := map[string]string{"SLACK_TOKEN": token, "SLACK_SIGNING_SECRET": "S3CRET-too"}
	for _, tt := range []struct {
		want string
		env  map[string]string
		args []string
	}{
		{"SLACK_TOKEN is not set", nil, []string{"-listen", ":0"}},
		{"SLACK_TOKEN is not set", map[string]string{"SLACK_SIGNING_SECRET": "S3CRET-too"}, nil},
		{"SLACK_SIGNING_SECRET is not", map[string]string{"SLACK_TOKEN": token}, nil},
		{"-nonsense", both, []string{"-nonsense"}},
		{`"8080" is no flag`, both, []string{"8080"}},
		{"listen tcp", both, []string{"-listen", taken.Addr().String()}},
		{"token", map[string]string{"SLACK_TOKEN": token + " ", "SLACK_SIGNING_SECRET": "S3CRET-too"}, nil},
		{"WithBaseURL", map[string]string{"SLACK_TOKEN": token, "SLACK_SIGNING_SECRET": "S3CRET-too", "SLACK_API_URL": "slack.com"}, nil},
		{"SLACK_HOOKS_URL", map[string]string{"SLACK_TOKEN": token, "SLACK_SIGNING_SECRET": "S3CRET-too", "SLACK_HOOKS_URL": "slack.com"}, nil},
	} {
		var out bytes.Buffer
		err := run(t.Context(), tt.args, func(name string) string { return tt.env[name] }, &out, &out)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "S3CRET") || out.Len() > 0 {
			t.Errorf("%v %q: got %v, want %q; printed %s", tt.env, tt.args, err, tt.want, &out)
		}
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-help"}, os.Getenv, &out, &out); err != nil || !strings.Contains(out.String(), "-listen ADDRESS") {
		t.Errorf("%v: %s", err, &out)
	}
}

func TestDemo(t *testing.T) {
	var out, log bytes.Buffer
	if err := run(t.Context(), nil, func(string) string { return "" }, &out, &log); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &log)
	}
	for _, want := range []string{
		"1. Bob opens a direct message with Alice\n   > /dm <@U0ALICE01|alice>\n   < 200 One moment…\n   < later: The conversation with <@U0ALICE01> is open. I posted the greeting.\n",
		"   < later: The conversation with <@U0ALICE01>, <@U0CAROL01> is open. I posted the greeting.\n",
		"   < later: The conversation with <@U0ALICE01> was open already. I posted the greeting.\n",
		"   > /dm <@U0ALICE01|alice>\n   < 200 (nothing)\n",
		"   < later: This conversation is closed for me, until the next message in it.\n",
		"   < later: This conversation was closed already.\n",
		"   < later: An account among these is deactivated.\n",
		"A stranger signs with another secret\n   > /dm <@U0ALICE01|alice>\n   < 401 Unauthorized\n",
		"after ten minutes\n   > /dm <@U0ALICE01|alice>\n   < 401 Unauthorized\n",
		"12. Slack has seen these greetings\n" +
			"   D000000001: Hello. <@U0BOB0001> asked me to open this conversation.\n" +
			"   C000000001: <@U0BOB0001> asked me to say: Lunch at noon?\n" +
			"   D000000001: Hello. <@U0BOB0001> asked me to open this conversation.\n\n",
		"   dmbot_commands_total{outcome=\"duplicate\"} 1\n",
		"   dmbot_slack_requests_total{method=\"conversations.open\"} 4\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String()+log.String(), chatdmtest.BotToken) || !strings.HasSuffix(log.String(), `"msg":"stopped"}`+"\n") {
		t.Errorf("the log:\n%s", &log)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := run(ctx, nil, func(string) string { return "" }, io.Discard, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
