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

// token is a token that a test can find in a leak.
const token = "xoxb-77777-S3CRET"

// bench is a running bot, the fake Slack that it calls, and the workspace that
// sends it commands.
type bench struct {
	*workspace
	t     *testing.T
	slack *chatdmtest.Slack
	api   *httptest.Server // what the bot calls: the fake Slack, behind a gate
	gate  sync.RWMutex
	bot   *bot
	log   *text
	stop  func()
	ended chan struct{} // closed when the bot has stopped with err
	err   error

	mu      sync.Mutex
	private []string // secrets that no log, metric, or response may contain
	shown   []string
}

// newBench starts a bot, after it has called the functions in prepare. Reuse it for the
// tests of your own bot. When the test ends, newBench stops the bot and searches its output
// for secrets.
func newBench(t *testing.T, set settings, prepare ...func(*chatdmtest.Slack)) *bench {
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
	if set.file == "" {
		set.token = token
	}
	for _, f := range prepare {
		f(b.slack)
	}
	set.secret = b.workspace.secret
	set.apiURL, set.hooksURL = b.api.URL+"/api", b.hooks.URL
	set.retry, set.settle = chatdm.RetryPolicy{BaseWait: time.Millisecond}, 50*time.Millisecond
	var err error
	if b.bot, err = newBot(t.Context(), set, slog.New(slog.NewJSONHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b.workspace.bot = "http://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = func() {
		b.hooks.Client().CloseIdleConnections() // the bot would wait for unused ones
		cancel()
	}
	go func() {
		b.err = b.bot.serve(ctx, listener)
		close(b.ended)
	}()
	// "xoxe" is in all rotating tokens, and "Lunch" is the text of a message.
	b.private = []string{token, b.workspace.secret, "xoxe", chatdmtest.ClientSecret, "Lunch"}
	t.Cleanup(func() {
		metrics := b.get("/metrics")
		b.stop()
		if <-b.ended; b.err != nil {
			t.Error(b.err)
		}
		for _, private := range b.private {
			for where, text := range map[string]string{"the log": b.log.String(), "the metrics": metrics, "a response": strings.Join(b.shown, "\n")} {
				if strings.Contains(text, private) {
					t.Errorf("%s contains %q:\n%s", where, private, text)
				}
			}
		}
	})
	return b
}

// text is a buffer that is safe for concurrent use.
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

// get returns a page of the bot, or "" if the bot has stopped.
func (b *bench) get(path string) string {
	resp, err := b.hooks.Client().Get(b.workspace.bot + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	return string(page)
}

// deliver signs and sends a form, and returns the immediate response.
func (b *bench) deliver(form url.Values) string {
	b.t.Helper()
	status, response, err := b.send(b.t.Context(), form, b.workspace.secret, time.Now())
	if err != nil || status != http.StatusOK {
		b.t.Errorf("got %d %q, %v, want 200", status, response, err)
	}
	to, _ := url.Parse(form.Get("response_url"))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.private = append(b.private, form.Get("trigger_id"), to.Path)
	b.shown = append(b.shown, response)
	return response
}

// outcome waits for a post to a response_url.
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

// typed returns the outcome of a command that Bob types in a channel.
func (b *bench) typed(channel, text string) string {
	b.t.Helper()
	if response := b.deliver(b.command(chatdmtest.Bob, channel, text)); response != accepted {
		return response
	}
	return b.outcome()
}

// sent returns the requests that the fake Slack received, one per line, without the
// metadata that each post must have, which holds the key.
func (b *bench) sent() string {
	var lines []string
	for _, r := range b.slack.Requests() {
		form, err := url.ParseQuery(string(r.Body))
		if err != nil || r.Header.Get("Authorization") != "Bearer "+token || form.Has("metadata") != (r.Method == "chat.postMessage") {
			b.t.Errorf("got the request %q with the header %q", r.Body, r.Header)
		}
		form.Del("metadata")
		text, _ := url.QueryUnescape(form.Encode())
		lines = append(lines, r.Method+" "+text)
	}
	return strings.Join(lines, "\n")
}

// count returns the value of a metric.
func (b *bench) count(metric string) string {
	for line := range strings.Lines(b.get("/metrics")) {
		if value, ok := strings.CutPrefix(line, metric+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// expect compares two texts.
func (b *bench) expect(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// until waits for another goroutine.
func (b *bench) until(what string, done func() bool) {
	b.t.Helper()
	for range 2000 {
		if done() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.t.Fatalf("timed out waiting until %s; the log:\n%s", what, b.log)
}

// shut keeps the fake Slack from responding until open is called.
func (b *bench) shut() (open func()) {
	b.gate.Lock()
	open = sync.OnceFunc(b.gate.Unlock)
	b.t.Cleanup(open)
	return open
}

func mentions(users ...string) string { return "<@" + strings.Join(users, "> <@") + ">" }

var everybody = []string{chatdmtest.Alice, chatdmtest.Bob, chatdmtest.Carol, chatdmtest.Dave, chatdmtest.Erin, chatdmtest.Frank, chatdmtest.Grace, chatdmtest.Heidi}

// The responses for targets that the bot cannot reach.
const (
	cannot = "I cannot message everyone you named: an account may be unknown, deactivated, hidden from me, or a bot."
	only   = "I can close only direct messages and group messages that I am in."
)

// TestCommands checks what the user reads and what the fake Slack receives.
func TestCommands(t *testing.T) {
	usage := help(command{SlashCommand: slack.SlashCommand{Command: "/dm"}})
	for _, tt := range []struct{ name, text, channel, want, sent string }{
		{name: "one person", text: "<@U0ALICE01|alice>",
			want: "The conversation with <@U0ALICE01> is open. I posted the greeting.",
			sent: "conversations.open users=U0ALICE01\nchat.postMessage channel=D000000001&text=Hello. <@U0BOB0001> asked me to open this conversation."},
		{name: "a group and a text", text: " <@U0ALICE01>,<@U0CAROL01|carol>\u00a0<@U0ALICE01|alice> Lunch & <@U0CAROL01>  too? ",
			want: "The conversation with <@U0ALICE01>, <@U0CAROL01> is open. I posted the greeting.",
			sent: "conversations.open users=U0ALICE01,U0CAROL01\nchat.postMessage channel=C000000001&text=<@U0BOB0001> asked me to say: Lunch & <@U0CAROL01>  too?"},
		{name: "no notification of everyone", text: "<@U0ALICE01> <!channel> <!subteam^S1>",
			want: "The conversation with <@U0ALICE01> is open. I posted the greeting.",
			sent: "conversations.open users=U0ALICE01\nchat.postMessage channel=D000000001&text=<@U0BOB0001> asked me to say: &lt;!channel> &lt;!subteam^S1>"},
		{name: "eight people", text: mentions(everybody...),
			want: "The conversation with <@" + strings.Join(everybody, ">, <@") + "> is open. I posted the greeting.",
			sent: "conversations.open users=" + strings.Join(everybody, ",") + "\nchat.postMessage channel=C000000001&text=Hello. <@U0BOB0001> asked me to open this conversation."},
		{name: "nine people", text: mentions(append(everybody, "U0NINTH")...),
			want: "You named 9 people, but a group message can have at most 8 besides me."},
		{name: "a long text", text: "<@U0ALICE01> " + strings.Repeat("x", 4000),
			want: "The conversation is open, but there was a problem with the greeting. I cannot post this text. Slack allows at most 4,000 characters.",
			sent: "conversations.open users=U0ALICE01"},
		{name: "unknown", text: "<@U404>", want: cannot, sent: "conversations.open users=U404"},
		{name: "disabled", text: mentions(chatdmtest.Alice, chatdmtest.DisabledUser),
			want: cannot, sent: "conversations.open users=U0ALICE01,U0DISABLED"},
		{name: "hidden", text: mentions(chatdmtest.HiddenUser), want: cannot, sent: "conversations.open users=U0HIDDEN01"},
		{name: "another bot", text: mentions(chatdmtest.OtherBot), want: cannot, sent: "conversations.open users=U0OTHERBOT"},
		{name: "close a channel", text: "close", channel: "C0GENERAL",
			want: only, sent: "conversations.close channel=C0GENERAL"},
		{name: "close an unknown conversation", text: " Close ", channel: "D404",
			want: only, sent: "conversations.close channel=D404"},
		{name: "nothing", text: "", want: usage},
		{name: "help", text: "help", want: usage},
		{name: "close and more", text: "close <@U0ALICE01>", want: usage},
		{name: "incomplete mention", text: "<@U0ALICE01", want: usage},
		{name: "unescaped mention", text: "@alice", want: usage + "\nI cannot tell who that is. My operator must enable \"Escape channels, users, and links\" for this command in the settings of the app."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, settings{})
			b.expect("response", b.typed(tt.channel, tt.text), tt.want)
			b.expect("sent", b.sent(), tt.sent)
		})
	}
}

// TestConversation opens and closes a conversation twice.
func TestConversation(t *testing.T) {
	b := newBench(t, settings{})
	b.expect("open", b.typed("C0GENERAL", "<@U0ALICE01>"), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	b.expect("open again", b.typed("C0GENERAL", "<@U0ALICE01>"), "The conversation with <@U0ALICE01> was already open. I posted the greeting.")
	b.expect("close", b.typed("D000000001", "close"), "I closed this conversation on my side. The next message opens it again.")
	b.expect("close again", b.typed("D000000001", "close"), "This conversation was already closed.")
	b.slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.AdminUser})
	b.expect("not a member", b.typed("D000000001", "close"), only)
	b.until("the last outcome is counted", func() bool { return b.count(`dmbot_replies_total{outcome="ok"}`) == "5" })
	for metric, want := range map[string]string{
		`dmbot_commands_total{outcome="opened"}`:                                                         "1",
		`dmbot_commands_total{outcome="already_open"}`:                                                   "1",
		`dmbot_commands_total{outcome="closed"}`:                                                         "1",
		`dmbot_commands_total{outcome="already_closed"}`:                                                 "1",
		`dmbot_commands_total{outcome="unreachable"}`:                                                    "1",
		`chatdm_call_duration_seconds_count{chatdm_method="conversations.open",chatdm_service="slack"}`:  "2",
		`chatdm_call_duration_seconds_count{chatdm_method="chat.postMessage",chatdm_service="slack"}`:    "2",
		`chatdm_call_duration_seconds_count{chatdm_method="conversations.close",chatdm_service="slack"}`: "2",
		`chatdm_call_duration_seconds_count{chatdm_code="user_does_not_own_channel",chatdm_kind="unreachable",` +
			`chatdm_method="conversations.close",chatdm_service="slack",error_type="user_does_not_own_channel"}`: "1",
		`chatdm_call_attempts_sum{chatdm_method="conversations.close",chatdm_service="slack"}`: "3",
		`chatdm_calls_active{chatdm_method="conversations.open",chatdm_service="slack"}`:       "0",
		`dmbot_commands_queued`:  "0",
		`dmbot_commands_working`: "0",
	} {
		b.expect(metric, b.count(metric), want)
	}
	b.expect("health", b.get("/healthz"), "ok\n")
}

// TestSlackFails checks what the user reads if a call fails, the log level, and
// the number of requests.
func TestSlackFails(t *testing.T) {
	const open, post = "conversations.open", "chat.postMessage"
	const perhaps = "The conversation is open, but there was a problem with the greeting. Slack's response was lost, so please check what happened before you ask again."
	lost := chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}
	for _, tt := range []struct {
		name, method string
		times        int
		fault        chatdmtest.Fault
		want, level  string
		opens, posts int // requests
	}{
		{"two 500s", open, 2, chatdmtest.Fault{Status: 500}, opened, "INFO", 3, 1},
		{"only 500s", open, -1, chatdmtest.Fault{Status: 500}, "Slack is not working properly. Please try again in a few minutes.", "WARN", 4, 0},
		{"a response is lost", open, 1, lost, opened, "INFO", 2, 1},
		{"a short limit", open, 1, limited("1"), opened, "INFO", 2, 1},
		{"a long limit", open, 1, limited("120"), "Slack wants me to slow down. Please try again in 120 seconds.", "WARN", 1, 0},
		{"the response to the greeting is lost", post, 1, lost, opened, "INFO", 1, 1},
		{"the greeting is late", post, 1, chatdmtest.Fault{Status: 500, ApplyAfter: 10 * time.Millisecond}, opened, "INFO", 1, 1},
		{"the greeting is lost", post, 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader}, perhaps, "WARN", 1, 1},
		{"the greeting fails with 503", post, 1, chatdmtest.Fault{Status: 503}, perhaps, "WARN", 1, 1},
		{"the greeting is limited", post, 1, limited("1"), opened, "INFO", 1, 2},
		{"the greeting is limited for long", post, 1, limited("90"), "The conversation is open, but there was a problem with the greeting. Slack wants me to slow down. Please try again in 90 seconds.", "WARN", 1, 1},
		{"the token is revoked", open, 1, chatdmtest.Fault{Code: "token_revoked"}, "Slack does not allow me to do that. My operator can find the reason in my log.", "WARN", 1, 0},
		{"strangers", open, 1, chatdmtest.Fault{Code: "invalid_user_combination"}, cannot, "WARN", 1, 0},
		{"a new code", open, 1, chatdmtest.Fault{Code: "brand_new"}, "Something went wrong that I did not expect. My operator can find it in my log.", "ERROR", 1, 0},
		{"no JSON", open, 1, chatdmtest.Fault{Body: "<html>"}, "Something went wrong that I did not expect. My operator can find it in my log.", "ERROR", 1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, settings{})
			b.slack.Fail(tt.method, tt.times, tt.fault)
			b.expect("response", b.typed("C0GENERAL", "<@U0ALICE01>"), tt.want)
			b.expect("opens", strconv.Itoa(strings.Count(b.sent(), open)), strconv.Itoa(tt.opens))
			b.expect("posts", strconv.Itoa(strings.Count(b.sent(), post)), strconv.Itoa(tt.posts))
			b.expect("counted opens", b.count(`chatdm_call_attempts_sum{chatdm_method="conversations.open",chatdm_service="slack"}`), strconv.Itoa(tt.opens))
			if !strings.Contains(b.log.String(), `"level":"`+tt.level+`","msg":"command"`) {
				t.Errorf("got no line with the level %s:\n%s", tt.level, b.log)
			}
		})
	}
}

func limited(seconds string) chatdmtest.Fault {
	return chatdmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {seconds}}}
}

// TestMissingScope checks that the log names the missing scope.
func TestMissingScope(t *testing.T) {
	b := newBench(t, settings{})
	b.slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser, Scopes: []string{"im:write"}})
	b.expect("group", b.typed("C0GENERAL", mentions(chatdmtest.Alice, chatdmtest.Carol)), "Slack does not allow me to do that. My operator can find the reason in my log.")
	b.expect("person", b.typed("C0GENERAL", mentions(chatdmtest.Alice)), "The conversation is open, but there was a problem with the greeting. Slack does not allow me to do that. My operator can find the reason in my log.")
	for _, want := range []string{`"level":"ERROR","msg":"command"`, `"code":"missing_scope"`, `mpim:write`, `"needed":"chat:write"`} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("the log lacks %s:\n%s", want, b.log)
		}
	}
	b.expect("counted", b.count(`dmbot_commands_total{outcome="permission_denied"}`), "2")
}

// TestRejected sends requests that are not commands of Slack.
func TestRejected(t *testing.T) {
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
		{"in the future", "POST", "", body, header(now.Add(6*time.Minute), body), 401},
		{"no signature", "POST", "", body, changed("X-Slack-Signature", ""), 401},
		{"no timestamp", "POST", "", body, changed("X-Slack-Request-Timestamp", ""), 401},
		{"no headers", "POST", "", body, nil, 401},
		{"an empty signature", "POST", "", body, changed("X-Slack-Signature", "v0="), 401},
		{"a signature that is not hexadecimal", "POST", "", body, changed("X-Slack-Signature", "v0="+strings.Repeat("x", 64)), 401},
		{"another version", "POST", "", body, changed("X-Slack-Signature", strings.Replace(sign(b.workspace.secret, now, body), "v0", "v1", 1)), 401},
		{"a timestamp that is not a number", "POST", "", body, changed("X-Slack-Request-Timestamp", "now"), 401},
		{"a timestamp that is too large", "POST", "", body, changed("X-Slack-Request-Timestamp", "9223372036854775807"), 401},
		{"GET", "GET", "", "", header(now, ""), 405},
		{"PUT", "PUT", "", body, header(now, body), 405},
		{"another path", "POST", "/slack/events", body, header(now, body), 404},
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
	rejected := 0
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
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tt.status || !strings.HasPrefix(string(body), http.StatusText(tt.status)) && tt.status != 404 {
			t.Errorf("%s: got %d %q, want %d", tt.name, resp.StatusCode, body, tt.status)
		}
		if tt.status != 404 && tt.status != 405 {
			rejected++
		}
	}
	b.expect("counted", b.count(`dmbot_commands_total{outcome="rejected"}`), strconv.Itoa(rejected))
	b.expect("logged", strconv.Itoa(strings.Count(b.log.String(), "request rejected")), strconv.Itoa(rejected))
	b.private = append(b.private, "evil.example", "169.254", good.Get("trigger_id"))
	// The bot does not remember rejected requests, so it accepts the real one.
	b.expect("the real one", b.deliver(good), accepted)
	b.expect("its outcome", b.outcome(), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	if n := len(b.slack.Requests()); n != 2 {
		t.Errorf("got %d requests, want 2", n)
	}
}

// TestDuplicates checks that a command that is delivered many times runs once.
func TestDuplicates(t *testing.T) {
	b := newBench(t, settings{})
	form := b.command(chatdmtest.Bob, "C0GENERAL", "<@U0ALICE01> Lunch?")
	responses := make(chan string, 50)
	var wg sync.WaitGroup
	for range cap(responses) {
		wg.Go(func() { responses <- b.deliver(form) })
	}
	wg.Wait()
	close(responses)
	seen := make(map[string]int)
	for response := range responses {
		seen[response]++
	}
	if seen[accepted] != 1 || seen[""] != 49 {
		t.Errorf("got the responses %v, want 1 of %q and 49 empty ones", seen, accepted)
	}
	b.outcome()
	b.expect("after the outcome", b.deliver(form), "")
	b.expect("another command", b.typed("C0GENERAL", "<@U0ALICE01> Lunch?"), "The conversation with <@U0ALICE01> was already open. I posted the greeting.")
	b.expect("counted", b.count(`dmbot_commands_total{outcome="duplicate"}`), "50")
	b.stop()
	<-b.ended // all commands have run
	if n := len(greetings(b.slack)); n != 2 || len(b.later) != 0 {
		t.Errorf("got %d greetings and %d extra outcomes, want 2 and 0", n, len(b.later))
	}
}

// TestMemory checks that the bot forgets the oldest trigger IDs.
func TestMemory(t *testing.T) {
	b, err := newBot(t.Context(), settings{credentials: credentials{token: token}, apiURL: "http://127.0.0.1:1", hooksURL: "http://127.0.0.1:1"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	say := func(i int) string {
		response := b.accept(command{close: true, SlashCommand: slack.SlashCommand{TriggerID: strconv.Itoa(i)}})
		if response == accepted {
			<-b.closes
		}
		return response
	}
	for i := range maxSeen + 10 {
		if response := say(i); response != accepted {
			t.Fatalf("%d: got %q, want %q", i, response, accepted)
		}
	}
	if latest, oldest, older := say(maxSeen+9), say(10), say(9); latest != "" || oldest != "" || older != accepted {
		t.Errorf("got %q for the latest ID, %q for the oldest, %q for a forgotten one", latest, oldest, older)
	}
	if len(b.seen) != maxSeen {
		t.Errorf("got %d IDs, want %d", len(b.seen), maxSeen)
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
		t.Errorf("got %d of 1000 IDs accepted by eight goroutines", first.Load())
	}
}

// TestBusy checks that the bot responds while Slack does not, and that its queue
// is bounded.
func TestBusy(t *testing.T) {
	b := newBench(t, settings{workers: 1, queue: 1})
	open := b.shut()
	b.expect("first", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
	b.until("the worker is busy", func() bool { return b.count("dmbot_commands_working") == "1" })
	b.expect("second", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Carol))), accepted)
	b.expect("queued", b.count("dmbot_commands_queued"), "1")
	third := b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Dave))
	b.expect("third", b.deliver(third), "I am too busy right now. Please try again in a minute.")
	b.expect("help", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", "")), help(command{SlashCommand: slack.SlashCommand{Command: "/dm"}}))
	open()
	b.expect("first", b.outcome(), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	b.expect("second", b.outcome(), "The conversation with <@U0CAROL01> is open. I posted the greeting.")
	b.expect("counted", b.count(`dmbot_commands_total{outcome="busy"}`), "1")
	b.expect("third again", b.deliver(third), accepted)
	b.expect("third", b.outcome(), "The conversation with <@U0DAVE001> is open. I posted the greeting.")
}

// TestSeparateLimits checks that close commands that wait for their rate limit do not
// delay open commands.
func TestSeparateLimits(t *testing.T) {
	b := newBench(t, settings{workers: 1, grace: 50 * time.Millisecond})
	for range 12 { // four are executed at once, and then one every three seconds
		b.expect("close", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", "close")), accepted)
	}
	b.until("the closes wait", func() bool { return b.count("dmbot_commands_queued") == "7" })
	for range 4 {
		b.outcome()
	}
	start := time.Now()
	b.expect("open", b.typed("C0GENERAL", mentions(chatdmtest.Alice)), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("got the outcome after %v, want it at once", took)
	}
	b.stop()
	for range 8 {
		b.expect("close", b.outcome(), "I ran out of time. Please try again.")
	}
	<-b.ended
}

// TestTimeout checks that a command ends after its timeout.
func TestTimeout(t *testing.T) {
	b := newBench(t, settings{timeout: 50 * time.Millisecond})
	b.slack.Fail("conversations.open", 1, chatdmtest.Fault{Stall: chatdmtest.BeforeHeader})
	b.expect("open", b.typed("C0GENERAL", mentions(chatdmtest.Alice)), "I ran out of time. Please try again.")
	b.slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Stall: chatdmtest.BeforeHeader, Apply: true})
	b.expect("post", b.typed("C0GENERAL", mentions(chatdmtest.Alice)),
		"The conversation is open, but there was a problem with the greeting. Slack's response was lost, so please check what happened before you ask again.")
	b.expect("counted", b.count(`dmbot_commands_total{outcome="effect_unknown"}`), "1")
}

// TestShutdown checks that the bot finishes the accepted commands.
func TestShutdown(t *testing.T) {
	b := newBench(t, settings{workers: 1})
	open := b.shut()
	for range 3 {
		b.expect("response", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
	}
	late := b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))
	b.stop()
	b.until("the bot is stopping", func() bool {
		b.bot.mu.Lock()
		defer b.bot.mu.Unlock()
		return b.bot.stopping
	})
	if status, _, err := b.send(t.Context(), late, b.workspace.secret, time.Now()); err == nil {
		t.Errorf("got status %d after the stop, want an error", status)
	}
	select {
	case <-b.ended:
		t.Fatalf("the bot ended before its commands: %v", b.err)
	default:
	}
	open()
	b.expect("first", b.outcome(), "The conversation with <@U0ALICE01> is open. I posted the greeting.")
	for range 2 {
		b.expect("queued", b.outcome(), "The conversation with <@U0ALICE01> was already open. I posted the greeting.")
	}
	<-b.ended
	if n := len(greetings(b.slack)); n != 3 {
		t.Errorf("got %d greetings, want 3", n)
	}
	// A request that the server read just before it stopped.
	b.expect("afterwards", b.bot.accept(command{close: true, SlashCommand: slack.SlashCommand{TriggerID: "1"}}), "I am restarting. Please try again in a minute.")
}

// TestGrace checks that the bot cancels calls after the grace period, tells the
// users, and starts no more calls.
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
	b.api.Close() // waits for the requests at the gate
	if sent := b.sent(); sent != "conversations.open users=U0ALICE01" {
		t.Errorf("got the requests %s, want one", sent)
	}
}

// TestOutcomeIsLost checks the retries of a post to a response_url.
func TestOutcomeIsLost(t *testing.T) {
	for _, tt := range []struct {
		name, outcome string
		statuses      []int
	}{
		{"temporary failures", "ok", []int{500, 429, 200}},
		{"permanent failures", "failed", []int{500, 503, 502}},
		{"the URL has expired", "failed", []int{404}},
		{"a redirect", "failed", []int{307}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // the bot waits a second before a retry
			b := newBench(t, settings{})
			attempts := make(chan string, 10)
			b.hooks.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				status := 200
				if n := len(attempts); n < len(tt.statuses) {
					status = tt.statuses[n]
				}
				w.Header().Set("Location", b.hooks.URL+"/elsewhere")
				w.WriteHeader(status)
				attempts <- r.Method + r.Header.Get("Content-Type") + string(body)
			})
			b.expect("response", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
			b.until("the bot gives up or succeeds", func() bool { return b.count(`dmbot_replies_total{outcome="`+tt.outcome+`"}`) == "1" })
			if len(attempts) != len(tt.statuses) {
				t.Errorf("got %d attempts, want %d", len(attempts), len(tt.statuses))
			}
			b.expect("body", <-attempts, `POSTapplication/json{"text":"The conversation with \u003c@U0ALICE01\u003e is open. I posted the greeting.","response_type":"ephemeral","replace_original":false,"delete_original":false}`)
			if lost := strings.Contains(b.log.String(), "outcome not delivered"); lost != (tt.outcome == "failed") {
				t.Errorf("the log:\n%s", b.log)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		b := newBench(t, settings{})
		b.hooks.Listener.Close() // the URL in the error is secret
		b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice)))
		b.until("the bot gives up", func() bool { return strings.Contains(b.log.String(), "outcome not delivered") })
		if !strings.Contains(b.log.String(), "refused") {
			t.Errorf("the log lacks the reason:\n%s", b.log)
		}
	})
}

// asProgram is an environment variable that makes the test binary run main.
const asProgram = "BOT_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestSignals sends SIGINT to a process, which finishes the accepted commands after
// the first signal, and ends after the second.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cannot send an interrupt to a process")
	}
	for _, signals := range []int{1, 2} {
		b := newBench(t, settings{}) // only for its fake Slack and workspace
		open := b.shut()
		cmd := exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
		cmd.Env = append(os.Environ(), asProgram+"=1", "SLACK_TOKEN="+token, "SLACK_SIGNING_SECRET="+b.workspace.secret, "SLACK_API_URL="+b.api.URL+"/api", "SLACK_HOOKS_URL="+b.hooks.URL)
		var out text
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Process.Kill()
		b.until("the bot listens", func() bool { return strings.Contains(out.String(), `"address":"`) })
		_, address, _ := strings.Cut(out.String(), `"address":"`)
		address, _, _ = strings.Cut(address, `"`)
		b.workspace.bot = "http://" + address
		b.expect("response", b.deliver(b.command(chatdmtest.Bob, "C0GENERAL", mentions(chatdmtest.Alice))), accepted)
		b.until("the worker is busy", func() bool { return b.count("dmbot_commands_working") == "1" })
		cmd.Process.Signal(os.Interrupt)
		b.until("the bot is stopping", func() bool { return strings.Contains(out.String(), "stopping") })
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
		b.log.Write([]byte(out.String())) // newBench searches it for secrets
	}
}

// TestSettings checks the errors for invalid settings.
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
		{"SLACK_SIGNING_SECRET is not", map[string]string{"SLACK_CLIENT_ID": "1.2", "SLACK_CLIENT_SECRET": "S3CRET", "SLACK_TOKEN_FILE": "tokens"}, nil},
		{"SLACK_TOKEN_FILE must be set together", map[string]string{"SLACK_TOKEN": token, "SLACK_CLIENT_ID": "1.2", "SLACK_CLIENT_SECRET": "S3CRET"}, nil},
		{"SLACK_CLIENT_ID, SLACK_CLIENT_SECRET", map[string]string{"SLACK_TOKEN_FILE": "tokens"}, nil},
		{"-nonsense", both, []string{"-nonsense"}},
		{`unexpected argument "8080"`, both, []string{"8080"}},
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
		"   < later: The conversation with <@U0ALICE01> was already open. I posted the greeting.\n",
		"   > /dm <@U0ALICE01|alice>\n   < 200 (nothing)\n",
		"   < later: I closed this conversation on my side. The next message opens it again.\n",
		"   < later: This conversation was already closed.\n",
		"   < later: " + cannot + "\n",
		"An attacker signs with a wrong secret\n   > /dm <@U0ALICE01|alice>\n   < 401 Unauthorized\n",
		"after ten minutes\n   > /dm <@U0ALICE01|alice>\n   < 401 Unauthorized\n",
		"12. The access token expires, so the bot refreshes it\n   > /dm <@U0ALICE01|alice>\n   < 200 One moment…\n   < later: The conversation with <@U0ALICE01> is open. I posted the greeting.\n",
		"13. An administrator removes the app\n   > /dm <@U0ALICE01|alice>\n   < 200 One moment…\n   < later: Slack does not allow me to do that. My operator can find the reason in my log.\n",
		"14. The fake Slack received these messages\n" +
			"   D000000001: Hello. <@U0BOB0001> asked me to open this conversation.\n" +
			"   C000000001: <@U0BOB0001> asked me to say: Lunch at noon?\n" +
			"   D000000001: Hello. <@U0BOB0001> asked me to open this conversation.\n" +
			"   D000000001: Hello. <@U0BOB0001> asked me to open this conversation.\n\n",
		"   dmbot_commands_total{outcome=\"duplicate\"} 1\n",
		"   chatdm_call_attempts_sum{chatdm_method=\"conversations.open\",chatdm_service=\"slack\"} 7\n",
		"   dmbot_credential_rejected 1\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
	if output := out.String() + log.String(); strings.Contains(output, chatdmtest.BotToken) || strings.Contains(output, "xoxe") || strings.Contains(output, chatdmtest.ClientSecret) ||
		strings.Count(output, `"level":"ERROR"`) != 1 || !strings.HasSuffix(log.String(), `"msg":"stopped"}`+"\n") {
		t.Errorf("the log:\n%s", &log)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := run(ctx, nil, func(string) string { return "" }, io.Discard, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
