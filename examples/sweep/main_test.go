package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

// bench is a fake Slack and a directory with the files of the program.
type bench struct {
	slack  *chatdmtest.Slack
	client *chatdm.Client
	dir    string
	env    map[string]string
	stdin  io.Reader
	grace  time.Duration
}

func newBench(t *testing.T) *bench {
	b := &bench{slack: chatdmtest.NewSlack(), dir: t.TempDir(), stdin: strings.NewReader("")}
	t.Cleanup(b.slack.Close)
	b.env = map[string]string{"SLACK_TOKEN": chatdmtest.UserToken, "SLACK_API_URL": b.slack.URL}
	var err error
	if b.client, err = chatdm.NewClient(chatdmtest.UserToken, chatdm.WithBaseURL(b.slack.URL)); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// open opens n direct messages, writes their IDs and the extra lines to the file
// "ids", and resets the recorded requests.
func (b *bench) open(t *testing.T, n int, extra ...string) []string {
	t.Helper()
	ids := openDMs(t, b.slack, b.client, n)
	write(t, b.path("ids"), strings.Join(append(slices.Clone(ids), extra...), "\n")+"\n")
	b.slack.ResetRequests()
	return ids
}

// run runs the program with a journal in the directory. The argument @name is the
// path of a file there.
func (b *bench) run(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	if !slices.Contains(args, "-journal") && b.env["SLACK_TOKEN"] != "" {
		args = append(args, "-journal", "@journal")
	}
	if !slices.Contains(args, "-per-minute") {
		args = append(args, "-per-minute", "0")
	}
	for i, arg := range args {
		if name, ok := strings.CutPrefix(arg, "@"); ok {
			args[i] = b.path(name)
		}
	}
	var out, err bytes.Buffer
	p := &program{env: func(name string) string { return b.env[name] }, stdin: b.stdin, stdout: &out, stderr: &err, grace: b.grace}
	code = p.run(ctx, args)
	return code, out.String(), err.String()
}

// must runs the program and checks its exit code and that it prints a text.
func (b *bench) must(t *testing.T, code int, want string, args ...string) (stdout string) {
	t.Helper()
	got, stdout, stderr := b.run(t.Context(), args...)
	if got != code || !strings.Contains(stdout+stderr, want) {
		t.Errorf("%q: got exit code %d, want %d and %q in:\n%s%s", args, got, code, want, stdout, stderr)
	}
	return stdout
}

// summary runs the program and returns its summary.
func (b *bench) summary(t *testing.T, code int, args ...string) summary {
	t.Helper()
	stdout := b.must(t, code, "", append(args, "-json", "-")...)
	var sum summary
	if err := json.Unmarshal([]byte(stdout), &sum); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if sum.ExitCode != code {
		t.Errorf("got exit code %d in the summary, want %d", sum.ExitCode, code)
	}
	return sum
}

func (b *bench) closes() (n int) {
	for _, r := range b.slack.Requests() {
		if r.Method == "conversations.close" {
			n++
		}
	}
	return n
}

func TestFile(t *testing.T) {
	b := newBench(t)
	ids := b.open(t, 5)
	write(t, b.path("ids"), "\ufeff"+ids[0]+" # the first\r\n\r\n# last year\n"+strings.Join(ids, "\r\n"))
	stdout := b.must(t, 0, "5 of 5", "-ids", "@ids")
	if want := "5  closed\n5  in total\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
	if n := b.closes(); n != 5 {
		t.Errorf("%d calls", n)
	}
	if open := stillOpen(t, b.client, ids); open != nil {
		t.Errorf("still open: %v", open)
	}
	b.slack.ResetRequests()
	b.must(t, 1, "is complete: remove the journal", "-ids", "@ids")
	b.must(t, 0, "5  closed", "-resume")
	b.must(t, 0, "5  closed", "-resume", "-ids", "@ids")
	if n := b.closes(); n != 0 {
		t.Errorf("got %d calls of a complete sweep, want 0", n)
	}
	b.must(t, 0, "5  already closed", "-resume", "-ids", "@ids", "-journal", "@other")
}

func TestStandardInput(t *testing.T) {
	b := newBench(t)
	b.stdin = strings.NewReader(strings.Join(b.open(t, 3), "\n"))
	b.must(t, 0, "3  closed", "-ids", "-")

	// An interrupt ends the wait for input.
	b = newBench(t)
	b.stdin, _ = io.Pipe()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	cause, stop := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, stop)
	if code, _, stderr := b.run(cause, "-ids", "-"); code != 130 || !strings.Contains(stderr, "canceled") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestList(t *testing.T) {
	b := newBench(t)
	b.must(t, 0, "found no direct messages", "-list")
	ids := b.open(t, 3)
	for _, with := range []string{chatdmtest.Alice, chatdmtest.Bob} {
		group, err := b.client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{with, chatdmtest.Carol}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, group.Channel.ID)
	}
	b.slack.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general"})
	for _, id := range []string{ids[0], ids[4]} {
		if _, err := b.client.Conversations.Close(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	b.slack.ResetRequests()
	want := strings.Join(ids[:4], "\n") + "\n" // without the closed group message
	if stdout := b.must(t, 0, "would close 4 IDs", "-list", "-dry-run"); stdout != want {
		t.Errorf("dry run: got %q, want %q", stdout, want)
	}
	if content := read(t, b.path("journal")); content != "" || b.closes() > 0 {
		t.Error("the dry run wrote to the journal or closed a conversation")
	}
	sum := b.summary(t, 0, "-list")
	if want := map[string]int{closed: 3, alreadyClosed: 1}; !maps.Equal(sum.Outcomes, want) {
		t.Errorf("got %v, want %v", sum.Outcomes, want)
	}
	if open := stillOpen(t, b.client, ids); open != nil {
		t.Errorf("still open: %v", open)
	}
}

func TestOutcomes(t *testing.T) {
	b := newBench(t)
	ids := b.open(t, 6)
	foreign, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(b.slack.URL))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := foreign.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		t.Fatal(err)
	}
	b.slack.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general"})
	if _, err := b.client.Conversations.Close(t.Context(), ids[5]); err != nil {
		t.Fatal(err)
	}
	b.stdin = strings.NewReader(strings.Join(append(slices.Clone(ids), "D0UNKNOWN", "C0GENERAL", theirs.Channel.ID), "\n"))
	b.slack.Fail("conversations.close", 1, chatdmtest.Fault{Cut: chatdmtest.InHeader, Apply: true})
	b.slack.Fail("conversations.close", 1, chatdmtest.Fault{})
	b.slack.Fail("conversations.close", 1, chatdmtest.Fault{Status: http.StatusServiceUnavailable})
	b.slack.Fail("conversations.close", 1, chatdmtest.Fault{})
	b.slack.Fail("conversations.close", 1, chatdmtest.Fault{Code: "brand_new"})
	sum := b.summary(t, 2, "-ids", "-", "-concurrency", "1")
	want := map[string]int{closed: 3, closedEarlier: 1, alreadyClosed: 1, "not_found": 1, "unreachable": 2}
	if sum.Total != 9 || sum.Pending != 1 || sum.Status != "incomplete" || !maps.Equal(sum.Outcomes, want) {
		t.Errorf("got %+v, want %v", sum, want)
	}
	if len(sum.Failures) != 4 || sum.Failures[0].ID != ids[2] || sum.Failures[0].Outcome != outcomePending || !strings.Contains(sum.Failures[0].Error, "brand_new") {
		t.Errorf("failures: %+v", sum.Failures)
	}

	// -resume closes only the pending ID.
	b.slack.ResetRequests()
	sum = b.summary(t, 2, "-resume")
	if sum.Pending != 0 || sum.Status != "complete" || sum.Outcomes[closedEarlier] != 1 || sum.Outcomes[closed] != 4 {
		t.Errorf("resumed: %+v", sum)
	}
	if n := b.closes(); n != 1 {
		t.Errorf("got %d calls, want 1", n)
	}
	b.must(t, 2, "1  not found\n", "-resume", "-json", "@sum.json")
	if !strings.Contains(read(t, b.path("sum.json")), `"exit_code": 2`) {
		t.Error(read(t, b.path("sum.json")))
	}
	b.must(t, 1, "-json: ", "-resume", "-json", "@none/sum.json") // before any call
}

// TestDenied checks that a sweep stops at once if the token is rejected, and after
// some calls if it lacks a permission.
func TestDenied(t *testing.T) {
	for code, most := range map[string]int{
		"invalid_auth": 2, "token_revoked": 2, // the concurrency
		"missing_scope": maxFailures, "not_allowed_token_type": maxFailures, "not_permitted": maxFailures,
	} {
		concurrency := "2"
		if most == maxFailures { // a late success of another call would reset the count
			concurrency = "1"
		}
		b := newBench(t)
		ids := b.open(t, 20)
		b.slack.Fail("conversations.close", 5, chatdmtest.Fault{})
		b.slack.Fail("conversations.close", -1, chatdmtest.Fault{Code: code})
		sum := b.summary(t, 3, "-ids", "@ids", "-concurrency", concurrency)
		if n := b.closes(); sum.Outcomes[closed] != 5 || sum.Pending != 15 || sum.Status != "incomplete" || n > 5+most {
			t.Errorf("%s: got %+v after %d calls, want 5 closed, 15 pending, and at most %d calls", code, sum, n, 5+most)
		}
		b.slack.ClearFaults()
		if sum := b.summary(t, 0, "-resume"); sum.Outcomes[closed] != len(ids) {
			t.Errorf("%s: resumed: got %+v, want %d closed", code, sum, len(ids))
		}
	}
	b := newBench(t)
	b.open(t, 1)
	b.env["SLACK_TOKEN"] = "xoxb-wrong"
	b.must(t, 3, "invalid_auth", "-ids", "@ids")
	b.env["SLACK_TOKEN"] = "xoxp-narrow"
	b.slack.AddToken(chatdmtest.Token{Value: "xoxp-narrow", User: chatdmtest.AdminUser, Scopes: []string{"im:write"}})
	b.must(t, 3, "missing_scope", "-list")
	b.must(t, 0, "1  closed", "-ids", "@ids")
}

// TestOneDenied checks that if closing one conversation is denied, the sweep closes
// the others.
func TestOneDenied(t *testing.T) {
	b := newBench(t)
	b.open(t, 20)
	for range 2 {
		b.slack.ClearFaults()
		b.slack.Fail("conversations.close", 1, chatdmtest.Fault{Code: "not_permitted"})
		sum := b.summary(t, 3, "-ids", "@ids", "-resume", "-concurrency", "1")
		if sum.Outcomes[closed] != 19 || sum.Pending != 1 || len(sum.Failures) != 1 || !strings.Contains(sum.Failures[0].Error, "not_permitted") {
			t.Errorf("got %+v, want 19 closed and 1 pending", sum)
		}
	}
}

// TestServerDown checks that a sweep stops after many failures in a row.
func TestServerDown(t *testing.T) {
	b := newBench(t)
	b.open(t, 30)
	b.slack.Fail("conversations.close", -1, chatdmtest.Fault{Code: "brand_new"})
	sum := b.summary(t, 2, "-ids", "@ids")
	if n := b.closes(); sum.Pending != 30 || sum.Status != "incomplete" || n < maxFailures || n > maxFailures+4 || len(sum.Failures) != n {
		t.Errorf("got %+v after %d calls, want 30 pending after %d calls", sum, n, maxFailures)
	}
	stdout := b.must(t, 2, "in a row", "-resume")
	if !strings.Contains(stdout, "30  pending\n30  in total\n") {
		t.Error(stdout)
	}
	b.env["SLACK_API_URL"] = "http://127.0.0.1:1"
	b.must(t, 1, "auth.test", "-ids", "@ids", "-journal", "@other")
}

// TestInterrupted checks that a sweep waits for its running calls.
func TestInterrupted(t *testing.T) {
	b := newBench(t)
	b.open(t, 30)
	b.slack.Fail("conversations.close", -1, chatdmtest.Fault{Delay: 100 * time.Millisecond})
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(250*time.Millisecond, stop)
	start := time.Now()
	code, stdout, stderr := b.run(ctx, "-ids", "@ids", "-concurrency", "3")
	if code != 130 || !strings.Contains(stderr, "sweep: interrupted; ") || !strings.Contains(stdout, "in total") || time.Since(start) > 5*time.Second {
		t.Errorf("%d after %v: %s%s", code, time.Since(start), stdout, stderr)
	}
	j, err := openJournal(b.path("journal"), true)
	if err != nil {
		t.Fatal(err)
	}
	j.close()
	if len(j.results) == 0 || len(j.results) != b.closes() || len(j.started) != len(j.results) {
		t.Errorf("got %d calls, %d started, and %d results, want the same number of each", b.closes(), len(j.started), len(j.results))
	}
	b.slack.ClearFaults()
	if sum := b.summary(t, 0, "-resume"); sum.Outcomes[closed] != 30 {
		t.Errorf("resumed: %+v", sum)
	}

	// An ID that waits for a slot is not started, and does not delay the end.
	b = newBench(t)
	b.open(t, 10)
	ctx, stop = context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, stop)
	code, stdout, _ = b.run(ctx, "-ids", "@ids", "-per-minute", "5")
	if code != 130 || !strings.Contains(stdout, " 1  closed\n 9  pending\n10  in total") {
		t.Errorf("%d: %s", code, stdout)
	}
}

// TestGrace checks that a sweep does not wait for a long pause.
func TestGrace(t *testing.T) {
	b := newBench(t)
	b.grace = 100 * time.Millisecond
	b.open(t, 3)
	b.slack.Limit("conversations.close", 1, time.Minute)
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(300*time.Millisecond, stop)
	start := time.Now()
	code, stdout, stderr := b.run(ctx, "-ids", "@ids", "-per-minute", "20")
	if took := time.Since(start); code != 130 || took > 10*time.Second || !strings.Contains(stdout, "1  closed\n2  pending\n") || !strings.Contains(stderr, "paused") {
		t.Errorf("%d after %v: %s%s", code, took, stdout, stderr)
	}
	b.slack.Limit("conversations.close", 0, 0)
	b.must(t, 0, "3  closed\n", "-resume")
}

// TestPaced checks that a sweep keeps to its pace, and waits after a 429.
func TestPaced(t *testing.T) {
	b := newBench(t)
	b.open(t, 12)
	b.slack.Limit("conversations.close", 8, time.Second)
	start := time.Now()
	b.must(t, 0, "12  closed", "-ids", "@ids", "-per-minute", "600")
	if took := time.Since(start); took < time.Second {
		t.Errorf("took %v", took)
	}
	byStatus := fakeslack.Statuses(b.slack, "conversations.close")
	if byStatus[200] != 12 || byStatus[429] < 1 || byStatus[429] > 4 {
		t.Errorf("got %v responses by status", byStatus)
	}
}

func TestBadInput(t *testing.T) {
	b := newBench(t)
	b.open(t, 1)
	write(t, b.path("empty"), "# none\n\n")
	write(t, b.path("bad"), "D000000001\n\nD 1\n")
	write(t, b.path("long"), strings.Repeat("D", 70_000))
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"nothing to close", nil},
		{"cannot be combined", []string{"-ids", "@ids", "-list"}},
		{`unexpected argument "D1"`, []string{"-list", "D1"}},
		{"-nonsense", []string{"-nonsense"}},
		{"-concurrency: got 0", []string{"-list", "-concurrency", "0"}},
		{"-per-minute: got -1", []string{"-list", "-per-minute", "-1"}},
		{"-per-minute", []string{"-list", "-per-minute", "many"}},
		{"-dry-run and -json", []string{"-list", "-dry-run", "-json", "-"}},
		{"-journal: must not be empty", []string{"-list", "-journal", ""}},
		{"-ids: open ", []string{"-ids", "@missing"}},
		{"is a directory", []string{"-ids", b.dir}},
		{"contains no ID", []string{"-ids", "@empty"}},
		{"standard input: contains no ID", []string{"-ids", "-"}},
		{`line 3: "D 1" is not a conversation ID`, []string{"-ids", "@bad"}},
		{"token too long", []string{"-ids", "@long"}},
		{"cannot open the journal", []string{"-ids", "@ids", "-journal", "@none/journal"}},
		{"cannot open the journal", []string{"-ids", "@ids", "-journal", b.dir}},
		{"is not a journal", []string{"-list", "-journal", "@ids"}},
		{"is missing or empty", []string{"-resume"}},
	} {
		code, stdout, stderr := b.run(t.Context(), tt.args...)
		if code != 1 || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 || stdout != "" {
			t.Errorf("%q: got exit code %d, want 1 and one line with %q in:\n%s%s", tt.args, code, tt.want, stdout, stderr)
		}
	}
	if n := b.closes(); n != 0 {
		t.Errorf("%d calls", n)
	}
	b.env["SLACK_API_URL"] = "slack.com"
	b.must(t, 1, "WithBaseURL", "-ids", "@ids")
	b.env["SLACK_TOKEN"] = ""
	b.must(t, 1, "SLACK_TOKEN is not set", "-list")
	help := b.must(t, 0, "Exit codes:\n  0 ", "-help")
	if !strings.Contains(help, "-dry-run") || !strings.Contains(help, "-ids FILE") {
		t.Error(help)
	}
}

// TestOtherJournal checks that a sweep rejects the journal of another list, user,
// or server.
func TestOtherJournal(t *testing.T) {
	b := newBench(t)
	ids := b.open(t, 3)
	b.slack.Fail("conversations.close", -1, chatdmtest.Fault{Code: "missing_scope"})
	b.must(t, 3, "3  pending", "-ids", "@ids")
	b.slack.ClearFaults()
	b.must(t, 1, "use -resume", "-ids", "@ids")
	b.must(t, 1, "use -resume", "-list")
	write(t, b.path("ids"), ids[0]+"\n"+ids[1])
	b.must(t, 1, "a different list of IDs", "-resume", "-ids", "@ids")
	b.env["SLACK_TOKEN"] = chatdmtest.BotToken
	b.must(t, 1, "belongs to user UADMIN", "-resume")
	other := newBench(t)
	b.env = other.env
	b.must(t, 1, "belongs to user UADMIN", "-resume")
	b.env = map[string]string{"SLACK_TOKEN": chatdmtest.UserToken, "SLACK_API_URL": b.slack.URL + "/"}
	if stdout := b.must(t, 0, "would close 3 IDs", "-resume", "-dry-run"); stdout != strings.Join(ids, "\n")+"\n" {
		t.Error(stdout)
	}
	write(t, b.path("ids"), strings.Join([]string{ids[2], ids[0], ids[1]}, "\n")) // in another order
	b.must(t, 0, "3  closed", "-resume", "-ids", "@ids")
}

// TestSignals sends SIGINT to a process, which waits for its running calls after
// the first signal, and ends after the second.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cannot send an interrupt to a process")
	}
	b := newBench(t)
	b.open(t, 5)
	b.slack.Fail("conversations.close", -1, chatdmtest.Fault{Delay: 500 * time.Millisecond})
	for _, signals := range []int{1, 2} {
		b.slack.ResetRequests()
		cmd := exec.Command(os.Args[0], "-ids", b.path("ids"), "-resume", "-journal", b.path("journal"), "-per-minute", "0", "-concurrency", "2")
		cmd.Env = append(os.Environ(), asProgram+"=1", "SLACK_TOKEN="+chatdmtest.UserToken, "SLACK_API_URL="+b.slack.URL)
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if time.Sleep(5 * time.Millisecond); b.closes() == 2 {
				break
			}
		}
		for range signals {
			cmd.Process.Signal(os.Interrupt)
			time.Sleep(50 * time.Millisecond)
		}
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); signals == 1 && (code != 130 || !strings.Contains(output.String(), "2  closed\n3  pending\n")) ||
			signals == 2 && (code != -1 || strings.Contains(output.String(), "in total")) {
			t.Errorf("%d signals: exit code %d\n%s", signals, code, &output)
		}
	}
	b.slack.ClearFaults()
	sum := b.summary(t, 0, "-resume")
	if sum.Outcomes[closed]+sum.Outcomes[closedEarlier] != 5 {
		t.Errorf("resumed: %+v", sum)
	}
}

// TestFullDisk checks that a sweep stops if it cannot write the journal.
func TestFullDisk(t *testing.T) {
	b := newBench(t)
	b.open(t, 5)
	j, err := openJournal(b.path("journal"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if err := j.begin(list{account{"s", "t", "u"}, []string{"D1", "D2"}}); err != nil {
		t.Fatal(err)
	}
	j.file.Close()
	s := &sweep{client: b.client, journal: j, pace: newPacer(0), failures: make(map[string]error)}
	p := &program{stdout: io.Discard, stderr: io.Discard, concurrency: 4}
	code, err := p.close(t.Context(), s)
	if code != 1 || err == nil || !strings.Contains(err.Error(), "cannot write the journal") || b.closes() != 0 {
		t.Errorf("%d, %v after %d calls", code, err, b.closes())
	}
}

func TestDemo(t *testing.T) {
	b := newBench(t)
	b.env = nil
	var out, err bytes.Buffer
	p := &program{env: func(string) string { return "" }, stdout: &out, stderr: &err}
	if code := p.run(t.Context(), nil); code != 0 {
		t.Fatalf("%d: %s%s", code, &out, &err)
	}
	for _, want := range []string{"38  closed\n", " 1  closed by earlier attempt\n", " 1  not found\n", "\n1 that failed with 503, and 1 whose response was lost. 0 direct messages are still open."} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String()+err.String(), chatdmtest.UserToken) {
		t.Error("the output shows the token")
	}
	if stdout := b.must(t, 0, "would close 42 IDs", "-dry-run"); strings.Count(stdout, "\n") != 42 {
		t.Error(stdout)
	}
}
