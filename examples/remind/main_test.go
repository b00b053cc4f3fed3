package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

// bench is a fake server in a bubble, where time passes instantly, and a directory with the
// files of the program.
type bench struct {
	t      *testing.T
	dir    string
	env    map[string]string
	client *http.Client
	slack  *chatdmtest.Slack
	chat   *chatdmtest.RocketChat
}

func onSlack(t *testing.T, test func(t *testing.T, b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		slack := chatdmtest.NewSlack(chatdmtest.InMemory())
		defer slack.Close()
		b := &bench{t: t, dir: t.TempDir(), slack: slack, client: slack.Client()}
		b.env = map[string]string{"SLACK_TOKEN": chatdmtest.BotToken, "SLACK_API_URL": slack.URL}
		test(t, b)
	})
}

func onRocketChat(t *testing.T, test func(t *testing.T, b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		chat := chatdmtest.NewRocketChat(chatdmtest.InMemory())
		defer chat.Close()
		b := &bench{t: t, dir: t.TempDir(), chat: chat, client: chat.Client()}
		b.env = map[string]string{
			"ROCKETCHAT_URL": chat.URL, "ROCKETCHAT_USER_ID": chatdmtest.RocketChatMemberID, "ROCKETCHAT_AUTH_TOKEN": chatdmtest.RocketChatMemberToken,
		}
		test(t, b)
	})
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) write(name, content string) {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// run runs the program. It returns the exit code and everything that it printed.
func (b *bench) run(ctx context.Context, out io.Writer, flags ...string) (int, string) {
	var text bytes.Buffer
	out = io.MultiWriter(cmp.Or(out, io.Discard), &text)
	p := &program{
		env: func(name string) string { return b.env[name] }, stdout: out, stderr: out, settle: 90 * time.Second,
		options: []chatdm.Option{chatdm.WithHTTPClient(b.client)},
	}
	args := []string{"-people", b.path("people.csv"), "-text", b.path("text"), "-run", "test"}
	code := p.run(ctx, append(args, flags...))
	return code, text.String()
}

// must runs the program and checks the exit code and parts of the output.
func (b *bench) must(code int, wants []string, flags ...string) {
	b.t.Helper()
	got, out := b.run(b.t.Context(), nil, flags...)
	if got != code {
		b.t.Errorf("got exit code %d, want %d:\n%s", got, code, out)
	}
	for _, want := range wants {
		if !strings.Contains(out, want) {
			b.t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

// messages returns the texts that a user of Slack received.
func (b *bench) messages(user string) string {
	b.t.Helper()
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(b.slack.URL), chatdm.WithHTTPClient(b.client))
	if err != nil {
		b.t.Fatal(err)
	}
	lists, err := fakeslack.Messages(b.t.Context(), b.slack, client, user)
	if err != nil {
		b.t.Fatal(err)
	}
	var texts []string
	for _, m := range lists[0] {
		texts = append(texts, m.Text)
	}
	return strings.Join(texts, "|")
}

// count counts the requests that called a method.
func (b *bench) count(method string) (n int) {
	for _, r := range append(b.requests(), chatdmtest.Request{}) {
		if r.Method == method {
			n++
		}
	}
	return n
}

func (b *bench) requests() []chatdmtest.Request {
	if b.slack != nil {
		return b.slack.Requests()
	}
	return b.chat.Requests()
}

// lost loses the response to a request that takes effect.
var lost = chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}

func TestSlack(t *testing.T) {
	onSlack(t, func(t *testing.T, b *bench) {
		b.write("people.csv", "\ufeffname;Email;full team\r\n Alice <3 ; Alice@example.com ;\"R&D; 1\"\r\nBob;bob@example.com;Sales\r\n\r\n")
		b.write("text", "Hi {{.name}} ({{index . \"full team\"}}),\n{{if eq .name \"Alice <3\"}}see <#C1>{{end}}{{.email | printf \"%.3s\"}}\n")
		b.slack.Fail("chat.postMessage", 1, lost)
		b.must(exitOK, []string{"as chatdmtest in the workspace chatdmtest", "/2  bob@example.com: reminded\n", "2 people: 2 reminded.\n"})
		if got := b.messages(chatdmtest.Alice); got != "Hi Alice &lt;3 (R&amp;D; 1),\nsee <#C1>Ali" {
			t.Errorf("got %q", got)
		}
		// A run with this name goes on. One with another name starts over.
		b.must(exitOK, []string{"New posts start in 1m30s", "2 people: 2 reminded by an earlier run.\n"})
		b.must(exitOK, []string{"2 people: 2 reminded.\n"}, "-run", "another")
		if got := b.messages(chatdmtest.Bob); got != "Hi Bob (Sales),\nbob|Hi Bob (Sales),\nbob" {
			t.Errorf("got %q", got)
		}
	})
}

// TestOutcomes checks how each error counts, and that a later run reminds those who were
// not reminded.
func TestOutcomes(t *testing.T) {
	onSlack(t, func(t *testing.T, b *bench) {
		b.slack.AddUser(chatdmtest.User{ID: "UROBOT", Email: "robot@example.com", Bot: true})
		b.write("people.csv", "alice@example.com\nbob@example.com\nnobody@example.com\nrobot@example.com\n")
		b.write("text", "Hello")
		b.slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader}) // never takes effect
		b.slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Code: "brand_new"})
		b.must(exitIncomplete, []string{
			"nobody@example.com: not reached: users_not_found\n", ": failed: brand_new\n", ": outcome unknown: unavailable\n",
			"4 people: 2 not reached, 1 outcome unknown, 1 failed.\n",
			"Not reached:\n", "  line 3, nobody@example.com: slack users.lookupByEmail: users_not_found: ",
			"  line 4, robot@example.com: slack conversations.open: cannot_dm_bot: ",
			"May have been reminded; run the same command again to find out:\n  line ", "did not find the message", "\nFailed; ",
		})
		start := time.Now()
		b.must(exitIncomplete, []string{"4 people: 2 reminded, 2 not reached.\n"})
		if waited := time.Since(start); waited < 90*time.Second || waited > 95*time.Second {
			t.Errorf("waited %v, want the settle time once", waited)
		}
		b.must(exitIncomplete, []string{"4 people: 2 reminded by an earlier run, 2 not reached.\n"})
		if alice, bob := b.messages(chatdmtest.Alice), b.messages(chatdmtest.Bob); alice+bob != "HelloHello" {
			t.Errorf("got %q and %q", alice, bob)
		}
	})
}

func TestRocketChat(t *testing.T) {
	onRocketChat(t, func(t *testing.T, b *bench) {
		b.chat.AddUser(chatdmtest.RocketChatUser{ID: "gone", Username: "gone", Deactivated: true})
		people := "username,team\ngone,Sales\nnobody,Sales\n"
		for i := range 30 {
			name := fmt.Sprint("user", i)
			b.chat.AddUser(chatdmtest.RocketChatUser{ID: name, Username: name})
			people += name + ",R&D\n"
		}
		b.write("people.csv", people)
		b.write("text", "Hello {{.username}} of {{.team}}")
		for _, endpoint := range []string{"users.info", "im.create", "chat.sendMessage", "chat.getMessage"} {
			b.chat.Limit(endpoint, 10, time.Minute)
		}
		b.chat.Fail("chat.sendMessage", 1, lost)
		b.must(exitIncomplete, []string{
			"as member on " + b.chat.URL, "32 people: 30 reminded, 2 not reached.\n",
			"line 2, gone: the user's account is deactivated (unreachable)\n", "line 3, nobody: rocketchat users.info: error-invalid-user: ",
		})
		for _, r := range b.requests() {
			if r.Status == http.StatusTooManyRequests {
				t.Errorf("%s exceeded the rate limit", r.Method)
			}
		}
		b.must(exitIncomplete, []string{"Continuing the run of ", "32 people: 30 reminded by an earlier run, 2 not reached.\n"})
		sent := make(map[string]int)
		for i := range 30 {
			for _, m := range b.chat.Messages(room(b.t, b.chat, b.client, fmt.Sprint("user", i))) {
				sent[m.Text]++
			}
		}
		if len(sent) != 30 || sent["Hello user7 of R&D"] != 1 {
			t.Errorf("got the messages %v", sent)
		}
	})
}

// TestStops checks that an error that concerns everyone stops the run.
func TestStops(t *testing.T) {
	for _, tt := range []struct {
		method, want string
		fault        chatdmtest.Fault
		code, posts  int // at most
	}{
		{"auth.test", "remind: slack auth.test: invalid_auth: ", chatdmtest.Fault{Code: "invalid_auth"}, exitUsage, 0},
		{"auth.test", "unavailable", chatdmtest.Fault{Status: 503}, exitIncomplete, 0},
		{"auth.test", "unexpected_response", chatdmtest.Fault{Body: "<html>"}, exitUsage, 0},
		{"users.lookupByEmail", "remind: stopped: slack users.lookupByEmail: token_revoked: ", chatdmtest.Fault{Code: "token_revoked"}, exitUsage, 0},
		{"conversations.open", "remind: stopped: slack conversations.open: missing_scope: ", chatdmtest.Fault{Code: "missing_scope"}, exitUsage, 0},
		{"chat.postMessage", "remind: stopped: slack chat.postMessage: account_inactive: ", chatdmtest.Fault{Code: "account_inactive"}, exitUsage, workers},
		{"conversations.open", "remind: stopped: 10 people in a row failed; the last: slack conversations.open: unavailable: ", chatdmtest.Fault{Status: 503}, exitIncomplete, 0},
	} {
		onSlack(t, func(t *testing.T, b *bench) {
			var people strings.Builder
			for i := range 40 {
				user := chatdmtest.User{ID: fmt.Sprint("U", i), Email: fmt.Sprintf("%d@example.com", i)}
				b.slack.AddUser(user)
				fmt.Fprintln(&people, user.Email)
			}
			b.write("people.csv", people.String())
			b.write("text", "Hello")
			b.slack.Fail(tt.method, -1, tt.fault)
			b.must(tt.code, []string{tt.want})
			if n := b.count("chat.postMessage"); n > tt.posts {
				t.Errorf("%s: got %d posts, want at most %d", tt.want, n, tt.posts)
			}
			b.slack.ClearFaults()
			b.must(exitOK, []string{"40 people: 40 reminded.\n"})
		})
	}
	onSlack(t, func(_ *testing.T, b *bench) {
		b.write("people.csv", "alice@example.com")
		b.write("text", "Hello")
		b.slack.AddToken(chatdmtest.Token{Value: chatdmtest.BotToken, User: chatdmtest.BotUser, Scopes: []string{"chat:write", "im:write"}})
		b.must(exitUsage, []string{"remind: SLACK_TOKEN lacks the scope im:history: permission_denied\n"})
	})
}

// TestInterrupt stops runs after some messages and continues them.
func TestInterrupt(t *testing.T) {
	interrupt := func(t *testing.T, b *bench) {
		b.write("text", "Hello")
		ctx, cancel := context.WithCancel(t.Context())
		code, out := b.run(ctx, &countdown{Writer: io.Discard, lines: 3, end: cancel}) // the first line is on stderr
		if want := "remind: interrupted; run the same command again to continue\n"; code != exitInterrupted || !strings.HasSuffix(out, want) {
			t.Errorf("got exit code %d, want %d and %q in:\n%s", code, exitInterrupted, want, out)
		}
		b.must(exitOK, []string{"reminded by an earlier run"})
	}
	names := []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"}
	onSlack(t, func(t *testing.T, b *bench) {
		b.write("people.csv", strings.Join(names, "@example.com\n")+"@example.com\n")
		b.slack.Fail("chat.postMessage", 1, lost)
		interrupt(t, b)
		if got := b.messages(chatdmtest.Alice) + b.messages(chatdmtest.Heidi); got != "HelloHello" {
			t.Errorf("got %q", got)
		}
	})
	onRocketChat(t, func(t *testing.T, b *bench) {
		b.write("people.csv", strings.Join(names, "\n"))
		b.chat.Fail("chat.sendMessage", 1, lost)
		interrupt(t, b)
	})
}

func TestDryRun(t *testing.T) {
	onSlack(t, func(t *testing.T, b *bench) {
		b.write("people.csv", "email,name\nalice@example.com,A&B\nnobody@example.com,N\n")
		b.write("text", "Hello\n{{.name}}")
		b.must(exitIncomplete, []string{
			"Looking for 2 people as chatdmtest in the workspace chatdmtest. A dry run posts nothing.\n",
			"alice@example.com: found Alice\n\n    Hello\n    A&amp;B\n\n", "2 people: 1 found, 1 not reached.\n",
		}, "-dry-run")
		if n := b.count("conversations.open") + b.count("chat.postMessage"); n > 0 {
			t.Errorf("got %d calls that change something, want none", n)
		}
		if files, err := os.ReadDir(b.dir); err != nil || len(files) != 2 {
			t.Errorf("got %v, %v, want no new file", files, err)
		}
	})
}

func TestInput(t *testing.T) {
	long := "email,x\nalice@example.com," + strings.Repeat("<", 1001)
	for _, tt := range []struct{ people, text, want string }{
		{"", "Hello", "people.csv: contains no people"},
		{"email,name\n", "Hello", "people.csv: contains no people"},
		{"alice", "Hello", `people.csv: line 1: got "alice", want an email address, or a header with the column "email"`},
		{"mail\nalice@example.com", "Hello", `line 1: got "mail", want an email address, or a header`},
		{"alice@example.com\n\nBob <bob@example.com>", "Hello", `line 3: got "Bob <bob@example.com>", want an email address`},
		{"email,name\nalice@example.com", "Hello", "people.csv: record on line 2: wrong number of fields"},
		{"email,a,a\nalice@example.com,1,2", "Hello", `two columns are named "a"`},
		{"email\nalice@example.com,\xe9", "Hello", "people.csv: must be UTF-8"},
		{"email,x\nalice@example.com,1\nALICE@example.com,2", "{{.x}}", "line 3, ALICE@example.com: differs from the text for line 2, the same person"},
		{"email,name\nalice@example.com,A", "Hi {{.name2}}", `<.name2>: map has no entry for key "name2"; the columns are email, name`},
		{"email,name\nalice@example.com,A", `Hi {{index . "name2"}}`, `there is no column "name2"; the columns are email, name`},
		{"alice@example.com", "Hi {{.name}", "template: text:1: "},
		{"alice@example.com", " \n", "the text for line 1, alice@example.com: must not be empty"},
		{long, "{{.x}}", "the text for line 2, alice@example.com: got 4004 characters, want at most 4000"},
		{"alice@example.com", strings.Repeat("😀", 2001), "got 4002 characters, want at most 4000"},
	} {
		onSlack(t, func(t *testing.T, b *bench) {
			b.write("people.csv", tt.people)
			b.write("text", tt.text)
			b.must(exitUsage, []string{tt.want})
			if n := len(b.requests()); n > 0 {
				t.Errorf("%s: got %d requests, want none", tt.want, n)
			}
		})
	}
	onSlack(t, func(_ *testing.T, b *bench) { // a repeated line
		b.write("people.csv", "alice@example.com\nAlice@example.com\n")
		b.write("text", "Hello")
		b.must(exitOK, []string{"1 person: 1 reminded."})
	})
	onRocketChat(t, func(_ *testing.T, b *bench) {
		b.write("text", strings.Repeat("😀", 5001))
		b.write("people.csv", "alice@example.com")
		b.must(exitUsage, []string{`got "alice@example.com", want a username, or a header with the column "username"`})
		b.write("people.csv", "alice")
		b.must(exitUsage, []string{"got 5001 characters, want at most 5000"})
		b.write("text", strings.Repeat("&", 5000))
		b.must(exitOK, []string{"1 reminded"})
	})
}

func TestState(t *testing.T) {
	onSlack(t, func(t *testing.T, b *bench) {
		b.write("people.csv", "alice@example.com")
		b.write("text", "Hello")
		b.must(exitUsage, []string{"remind: -state: "}, "-state", b.path("no/file"))
		b.must(exitUsage, []string{"people.csv: not a state file of remind\n"}, "-state", b.path("people.csv"))
		other, err := openState(b.path("people.csv.state"))
		if err != nil {
			t.Fatal(err)
		}
		b.must(exitUsage, []string{"people.csv.state: another process is using it"})
		other.close()
		// A process was killed while it wrote the second line.
		b.write("people.csv.state", `{"run":"another","began":"2026-11-21T09:00:00Z"}`+"\n"+`{"run":"te`)
		b.must(exitOK, []string{"1 reminded"})
		b.must(exitOK, []string{"1 reminded by an earlier run"})
		state, err := openState(b.path("people.csv.state"))
		if err != nil {
			t.Fatal(err)
		}
		defer state.close()
		if len(state.runs) != 2 || state.runs["another"].Year() != 2026 || state.runs["test"].IsZero() {
			t.Errorf("got the runs %v", state.runs)
		}
	})
}

func TestSettings(t *testing.T) {
	slack := map[string]string{"SLACK_TOKEN": "xoxb-1", "SLACK_API_URL": "http://127.0.0.1:1"}
	chat := map[string]string{"ROCKETCHAT_URL": "http://127.0.0.1:1", "ROCKETCHAT_USER_ID": "me", "ROCKETCHAT_AUTH_TOKEN": "token"}
	both := maps.Clone(slack)
	maps.Copy(both, chat)
	files := []string{"-people", "people.csv", "-text", "text"}
	for _, tt := range []struct {
		want string
		env  map[string]string
		args []string
	}{
		{"-nonsense", slack, []string{"-nonsense"}},
		{`unexpected argument "x"`, slack, []string{"x"}},
		{"neither SLACK_TOKEN nor ROCKETCHAT_URL is set", nil, files},
		{"both SLACK_TOKEN and ROCKETCHAT_URL are set", both, files},
		{"ROCKETCHAT_URL is set, but ROCKETCHAT_USER_ID is not", map[string]string{"ROCKETCHAT_URL": "x"}, files},
		{"-people: must name", slack, nil},
		{"-text: must name", slack, files[:2]},
		{"-run: must not be empty", slack, files},
		{"-run: got 120 bytes, want at most 119", slack, append(files, "-run", strings.Repeat("x", 120))},
		{"-per-minute: got -1", chat, append(files, "-run", "x", "-per-minute", "-1")},
		{"open people.csv", slack, append(files, "-run", "x")},
	} {
		var out bytes.Buffer
		p := &program{env: func(name string) string { return tt.env[name] }, stdout: &out, stderr: &out}
		if code := p.run(t.Context(), tt.args); code != exitUsage || !strings.Contains(out.String(), tt.want) {
			t.Errorf("%q: got exit code %d, want %d and %q in:\n%s", tt.args, code, exitUsage, tt.want, &out)
		}
	}
	var out bytes.Buffer
	p := &program{env: func(string) string { return "" }, stdout: &out, stderr: io.Discard}
	if code := p.run(t.Context(), []string{"-help"}); code != exitOK || !strings.Contains(out.String(), "Usage: remind") || !strings.Contains(out.String(), "Exit codes") {
		t.Errorf("got exit code %d:\n%s", code, &out)
	}
}

func TestDemo(t *testing.T) {
	var out, errs bytes.Buffer
	p := &program{env: func(string) string { return "" }, stdout: &out, stderr: &errs}
	if code := p.run(t.Context(), nil); code != exitOK || errs.Len() > 0 {
		t.Fatalf("got exit code %d:\n%s%s", code, &out, &errs)
	}
	for _, want := range []string{
		"^C\n", "remind: interrupted; run the same command again to continue\n", "New posts start in 3s", ": reminded by an earlier run\n",
		"The exit code is 1, ", "lost the responses to 2.", "  Hi Heidi, your laptop is due on Wednesday.\n",
		"  Hi Frank, your laptop is due on Wednesday. R&amp;D: please bring the dock, too.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := p.run(ctx, nil); code != exitInterrupted {
		t.Errorf("interrupted: got exit code %d, want %d", code, exitInterrupted)
	}
}
