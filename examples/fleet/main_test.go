//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmredis"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

// asProgram is an environment variable that makes the test binary run main.
const asProgram = "FLEET_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Setenv(asProgram, "1") // for the processes that the tests start
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	_ = flag.Set("test.parallel", "20") // most tests only wait; the command line overrides this
	logging.Disable()
	code := m.Run()
	if shared.stop != nil {
		shared.stop()
	}
	os.Exit(code)
}

// shared is the Redis of all tests. Each test has its own queue.
var shared struct {
	once   sync.Once
	client *redis.Client
	stop   func()
	err    error
}

// redisForTest starts the shared Redis. Without redis-server, it skips the test, or
// fails it in CI.
func redisForTest(t *testing.T) *redis.Client {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		const text = "redis-server is not installed (on Debian: apt-get install redis-server)"
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	shared.once.Do(func() { shared.client, shared.stop, shared.err = startRedis(context.Background()) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.client
}

// bench is a fake Slack with direct messages, and a queue.
type bench struct {
	redis     *redis.Client
	addr      string
	inspector *asynq.Inspector
	name      string
	slack     *chatdmtest.Slack
	client    *chatdm.Client
	ids       []string
	env       map[string]string
}

// newBench opens n direct messages.
func newBench(t *testing.T, n int) *bench {
	t.Helper()
	b := &bench{redis: redisForTest(t), name: t.Name() + "-" + rand.Text()[:6], slack: chatdmtest.NewSlack()}
	t.Cleanup(b.slack.Close)
	b.addr, b.inspector = b.redis.Options().Addr, asynq.NewInspectorFromRedisClient(b.redis)
	b.env = map[string]string{"SLACK_TOKEN": chatdmtest.BotToken, "SLACK_API_URL": b.slack.URL}
	var err error
	if b.client, err = chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(b.slack.URL)); err != nil {
		t.Fatal(err)
	}
	if b.ids, err = fakeslack.OpenDMs(t.Context(), b.slack, b.client, n); err != nil {
		t.Fatal(err)
	}
	b.slack.ResetRequests()
	return b
}

// run runs the program in this process.
func (b *bench) run(ctx context.Context, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, err buffer
	p := &program{env: func(name string) string { return b.env[name] }, stdin: strings.NewReader(stdin), stdout: &out, stderr: &err}
	code = p.run(ctx, args)
	return code, out.String(), err.String()
}

// queue runs a command on the queue of the bench.
func (b *bench) queue(ctx context.Context, stdin, command string, args ...string) (code int, stdout, stderr string) {
	return b.run(ctx, stdin, append([]string{command, "-redis", b.addr, "-name", b.name}, args...)...)
}

// enqueue enqueues IDs and checks the output.
func (b *bench) enqueue(t *testing.T, want string, ids ...string) {
	t.Helper()
	code, stdout, stderr := b.queue(t.Context(), strings.Join(ids, "\n"), "enqueue", "-ids", "-")
	if code != 0 || stdout != want+"\n" {
		t.Fatalf("got exit code %d, want 0 and %q in:\n%s%s", code, want, stdout, stderr)
	}
}

// work runs a worker until the function until returns. It returns the exit code and
// the log of the worker.
func (b *bench) work(t *testing.T, until func(), args ...string) (code int, stderr string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, _, stderr = b.queue(ctx, "", "work", append([]string{"-per-minute", "6000", "-worker", "w"}, args...)...)
	}()
	until()
	stop()
	<-done
	return code, stderr
}

// waitFor waits until the queue meets a condition.
func (b *bench) waitFor(t *testing.T, what string, condition func(*asynq.QueueInfo) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := poll(ctx, func() (bool, error) {
		q, err := b.inspector.GetQueueInfo(b.name)
		return err == nil && condition(q), err
	}); err != nil {
		q, _ := b.inspector.GetQueueInfo(b.name)
		t.Fatalf("waiting until %s: %v; the queue is %+v", what, err, q)
	}
}

func (b *bench) drained(t *testing.T) func() {
	return func() {
		t.Helper()
		b.waitFor(t, "no task is left", func(q *asynq.QueueInfo) bool { return q.Pending+q.Scheduled+q.Retry+q.Active == 0 })
	}
}

func (b *bench) report(t *testing.T) *report {
	t.Helper()
	r, err := read(b.inspector, b.name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) closes() (n int) {
	for _, r := range b.slack.Requests() {
		if r.Method == taskType {
			n++
		}
	}
	return n
}

// mustBeClosed checks that all direct messages are closed.
func (b *bench) mustBeClosed(t *testing.T) {
	t.Helper()
	open, err := fakeslack.StillOpen(t.Context(), b.client, b.ids)
	if err != nil || open != nil {
		t.Errorf("still open: %v, %v", open, err)
	}
}

// outcomes returns the number of tasks by outcome.
func (r *report) outcomes() map[string]int {
	sum := make(map[string]int)
	for done, n := range r.done {
		sum[done.Outcome] += n
	}
	return sum
}

func (r *report) deadIDs() (ids []string) {
	for _, task := range r.dead {
		ids = append(ids, task.ID)
	}
	slices.Sort(ids)
	return ids
}

// buffer is a buffer that is safe for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// listen records what is sent to Redis until the returned function is called.
func listen(t *testing.T, addr string) func() string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
		t.Fatal(line, err)
	}
	var sent buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&sent, in)
	}()
	return func() string {
		conn.Close()
		<-done
		return sent.String()
	}
}

// tokenless checks that id was sent to Redis, and that no token was.
func tokenless(t *testing.T, sent, id string) {
	t.Helper()
	if !strings.Contains(sent, id) {
		t.Errorf("%s was not sent to Redis", id)
	}
	for _, token := range []string{chatdmtest.BotToken, chatdmtest.UserToken, "xoxb-", "xoxp-"} {
		if strings.Contains(sent, token) {
			t.Errorf("%s was sent to Redis", token)
		}
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	redisForTest(t)
	b := new(bench)
	code, stdout, stderr := b.run(t.Context(), "")
	for _, want := range []string{
		"61 enqueued, 0 already known\n31 enqueued, 0 already known\n11 enqueued, 0 already known\n0 enqueued, 61 already known\n",
		"is killed with SIGKILL", "60 finished, 1 dead letters", "30 finished, 1 dead letters", "postponed: slack conversations.close: token_revoked",
		"dead letter D0UNKNOWN: slack conversations.close: channel_not_found", "0 above the rate limit (429),\n1 that failed with 500",
		"\n0 direct messages are still open.\n", "\n10 direct messages are still open.\n",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if code != 0 || strings.Contains(stdout+stderr, "xoxb-") || t.Failed() {
		t.Errorf("exit code %d:\n%s%s", code, stdout, stderr)
	}
}

// TestOutcomes processes every type of ID, enqueued twice before and once after.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	b := newBench(t, 6)
	sent := listen(t, b.addr)
	other, err := chatdm.NewClient(chatdmtest.UserToken, chatdm.WithBaseURL(b.slack.URL))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := other.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		t.Fatal(err)
	}
	b.slack.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general"})
	if _, err := b.client.Conversations.Close(t.Context(), b.ids[5]); err != nil {
		t.Fatal(err)
	}
	bad := []string{"C0GENERAL", unknown, theirs.Channel.ID}
	all := append(slices.Clone(bad), b.ids...)
	b.enqueue(t, "9 enqueued, 0 already known", all...)
	b.enqueue(t, "0 enqueued, 9 already known", all...)
	// A failure, a lost response, and a server that reveals the token.
	b.slack.Fail(taskType, 3, chatdmtest.Fault{})
	b.slack.Fail(taskType, 1, chatdmtest.Fault{Status: http.StatusServiceUnavailable})
	b.slack.Fail(taskType, 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	b.slack.Fail(taskType, 1, chatdmtest.Fault{Code: "bad_" + chatdmtest.BotToken})
	code, stderr := b.work(t, b.drained(t), "-concurrency", "1")
	if code != 0 {
		t.Errorf("got exit code %d: %s", code, stderr)
	}

	r := b.report(t)
	want := map[string]int{closed: 4, closedEarlier: 1, alreadyClosed: 1}
	if !maps.Equal(r.outcomes(), want) || r.done[result{closed, "w"}] != 4 || r.retries != 3 {
		t.Errorf("got %v and %d retries, want %v and 3", r.done, r.retries, want)
	}
	if slices.Sort(bad); !slices.Equal(r.deadIDs(), bad) {
		t.Errorf("dead letters %v, want %v", r.deadIDs(), bad)
	}
	b.enqueue(t, "0 enqueued, 9 already known", all...)
	code, stdout, _ := b.queue(t.Context(), "", "status")
	for _, want := range []string{
		b.name + ": 0 waiting, 0 postponed, 0 running, 6 finished, 3 dead letters; 3 retries\n",
		"dead letter D0UNKNOWN: slack conversations.close: channel_not_found", "dead letter C0GENERAL: slack conversations.close: method_not_supported",
		"dead letter " + theirs.Channel.ID + ": slack conversations.close: user_does_not_own_channel",
	} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("got exit code %d, want 0 and %q in:\n%s", code, want, stdout)
		}
	}
	b.mustBeClosed(t)
	tokenless(t, sent(), b.ids[0])
	if strings.Contains(stderr+stdout, "xoxb-") || !strings.Contains(stderr, "bad_") { // the code, without the token in it
		t.Error(stderr)
	}
}

// TestCredentialRejected checks that a worker whose token is revoked stops, and that
// no task loses a retry.
func TestCredentialRejected(t *testing.T) {
	t.Parallel()
	b := newBench(t, 30)
	b.enqueue(t, "30 enqueued, 0 already known", b.ids...)
	b.slack.Fail(taskType, 10, chatdmtest.Fault{})
	b.slack.Fail(taskType, -1, chatdmtest.Fault{Code: "token_revoked"})
	ended := make(chan int, 1)
	var stderr string
	go func() {
		var code int
		code, _, stderr = b.queue(t.Context(), "", "work", "-per-minute", "6000")
		ended <- code
	}()
	select {
	case code := <-ended:
		if code != 3 || !strings.Contains(stderr, "fleet: the credential was rejected: slack conversations.close: token_revoked") {
			t.Errorf("got exit code %d: %s", code, stderr)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the worker did not stop")
	}
	b.slack.ClearFaults()

	// A worker with an invalid token, and one whose token lacks a scope.
	b.env["SLACK_TOKEN"] = "xoxb-wrong"
	if code, _, stderr := b.queue(t.Context(), "", "work"); code != 3 || !strings.Contains(stderr, "invalid_auth") || strings.Contains(stderr, "xoxb-wrong") {
		t.Errorf("got exit code %d: %s", code, stderr)
	}
	b.env["SLACK_TOKEN"] = "xoxb-narrow"
	b.slack.AddToken(chatdmtest.Token{Value: "xoxb-narrow", User: chatdmtest.BotUser, Scopes: []string{"chat:write"}})
	if code, _, stderr := b.queue(t.Context(), "", "work"); code != 3 || !strings.Contains(stderr, "missing_scope") {
		t.Errorf("got exit code %d: %s", code, stderr)
	}

	r := b.report(t)
	if n := b.closes(); r.outcomes()[closed] != 10 || r.retries != 0 || len(r.dead) > 0 || r.queue.Pending+r.queue.Retry != 20 || n > 16+maxDenied {
		t.Errorf("got %d calls, %+v, %d retries, %+v, want 10 closed and 20 tasks left", n, r.outcomes(), r.retries, r.queue)
	}
	if _, err := b.inspector.RunAllRetryTasks(b.name); err != nil { // instead of waiting for a minute
		t.Fatal(err)
	}
	b.env["SLACK_TOKEN"] = chatdmtest.BotToken
	b.work(t, b.drained(t))
	b.mustBeClosed(t)
	if r := b.report(t); r.outcomes()[closed] != 30 {
		t.Errorf("got %v, want 30 closed", r.outcomes())
	}
}

// TestOneDenied checks that if closing one conversation is denied, the worker goes on
// with the other tasks.
func TestOneDenied(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10)
	b.enqueue(t, "10 enqueued, 0 already known", b.ids...)
	b.slack.Fail(taskType, 1, chatdmtest.Fault{Code: "not_permitted"})
	code, stderr := b.work(t, func() {
		b.waitFor(t, "one task is postponed", func(q *asynq.QueueInfo) bool { return q.Completed == 9 && q.Retry == 1 })
	})
	if r := b.report(t); code != 0 || r.retries != 0 || len(r.dead) > 0 {
		t.Errorf("got exit code %d, %d retries, %d dead letters, want 0 of each: %s", code, r.retries, len(r.dead), stderr)
	}
}

// TestRateLimited checks that a task is postponed after a 429.
func TestRateLimited(t *testing.T) {
	t.Parallel()
	b := newBench(t, 12)
	b.enqueue(t, "12 enqueued, 0 already known", b.ids...)
	b.slack.Limit(taskType, 7, 2*time.Second)
	code, stderr := b.work(t, b.drained(t))
	r := b.report(t)
	if code != 0 || r.outcomes()[closed] != 12 || r.retries != 0 {
		t.Errorf("got exit code %d, %v, %d retries, want 0, 12 closed, no retries: %s", code, r.outcomes(), r.retries, stderr)
	}
	if n := b.closes(); n < 13 || n > 14 { // two goroutines, each limited at most once
		t.Errorf("got %d calls, want 13 or 14", n)
	}
	b.mustBeClosed(t)
}

// TestLongPause checks that a worker postpones few tasks during a pause of an hour.
func TestLongPause(t *testing.T) {
	t.Parallel()
	b := newBench(t, 100)
	b.enqueue(t, "100 enqueued, 0 already known", b.ids...)
	b.slack.Fail(taskType, 1, chatdmtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"3600"}}})
	code, stderr := b.work(t, func() {
		b.waitFor(t, "a task is postponed", func(q *asynq.QueueInfo) bool { return q.Retry > 0 })
		time.Sleep(time.Second) // in which it might postpone more
	})
	tasks, err := b.inspector.ListRetryTasks(b.name)
	if err != nil {
		t.Fatal(err)
	}
	r := b.report(t)
	if code != 0 || len(tasks) < 1 || len(tasks) > 6 || r.retries != 0 || len(r.dead) > 0 {
		t.Errorf("got exit code %d, %d postponed tasks, %d retries, %d dead letters: %s", code, len(tasks), r.retries, len(r.dead), stderr)
	}
	for _, task := range tasks {
		if wait := time.Until(task.NextProcessAt); wait < 55*time.Minute || wait > 61*time.Minute {
			t.Errorf("%s: postponed for %v, want an hour", task.ID, wait)
		}
	}
	if n := b.closes(); n > 2 {
		t.Errorf("got %d calls, want at most 2", n)
	}
}

// TestPastDeadline checks that a task is postponed if its slot comes after its
// deadline.
func TestPastDeadline(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	limiter, err := chatdmredis.NewLimiter(b.redis, b.name)
	if err != nil {
		t.Fatal(err)
	}
	limiter.Limited(t.Context(), closeKey, 30*time.Second)
	_, err = asynq.NewClientFromRedisClient(b.redis).EnqueueContext(t.Context(),
		asynq.NewTask(taskType, []byte(`{"channel":"`+b.ids[0]+`"}`)), asynq.Queue(b.name), asynq.TaskID(b.ids[0]), asynq.Timeout(3*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	b.work(t, func() { b.waitFor(t, "it is postponed", func(q *asynq.QueueInfo) bool { return q.Retry > 0 }) })
	task, err := b.inspector.GetTaskInfo(b.name, b.ids[0])
	if err != nil {
		t.Fatal(err)
	}
	if wait := time.Until(task.NextProcessAt); task.Retried != 0 || wait < 20*time.Second || wait > 40*time.Second || b.closes() > 0 {
		t.Errorf("postponed for %v after %d retries and %d calls: %s", wait, task.Retried, b.closes(), task.LastErr)
	}
}

// TestStopped sends SIGTERM to a worker that waits for a response and for a slot.
func TestStopped(t *testing.T) {
	t.Parallel()
	b := newBench(t, 5)
	b.enqueue(t, "5 enqueued, 0 already known", b.ids...)
	b.slack.Fail(taskType, 1, chatdmtest.Fault{Delay: time.Second})
	var log buffer
	f := &fleet{redis: b.addr, name: b.name, env: []string{"SLACK_TOKEN=" + chatdmtest.BotToken, "SLACK_API_URL=" + b.slack.URL}, perMinute: 3, stderr: &log}
	worker, err := f.start(t.Context(), "w")
	if err != nil {
		t.Fatal(err)
	}
	b.waitFor(t, "it has two tasks", func(q *asynq.QueueInfo) bool { return q.Active == 2 && b.closes() == 1 })
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("%v: %s", err, &log)
	}
	r := b.report(t)
	if r.outcomes()[closed] != 1 || r.queue.Pending != 4 || r.queue.Active+r.queue.Retry+r.queue.Archived != 0 || r.retries != 0 || b.closes() != 1 {
		t.Errorf("%v, %d retries, %d calls, %+v: %s", r.outcomes(), r.retries, b.closes(), r.queue, &log)
	}
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	b := newBench(t, 0)
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	at := func(args ...string) []string { return append(args, "-redis", b.addr, "-name", b.name) }
	for _, tt := range []struct {
		want string
		args []string
	}{
		{`unknown command "sweep"`, []string{"sweep"}},
		{"-nonsense", []string{"work", "-nonsense"}},
		{`unexpected argument "D1"`, []string{"enqueue", "-ids", "-", "D1"}},
		{"-name: want", []string{"status", "-redis", b.addr}},
		{"-name: want", []string{"status", "-redis", b.addr, "-name", "a{b}"}},
		{"-redis or REDIS_URL must be set", []string{"status", "-name", "a"}},
		{"the address of Redis", []string{"status", "-name", "a", "-redis", "redis://u:s3cret#@127.0.0.1:1"}},
		{"redis at 127.0.0.1:1: ", []string{"status", "-name", "a", "-redis", "redis://u:s3cret@127.0.0.1:1/0"}},
		{"there is no queue Nobody", []string{"status", "-redis", b.addr, "-name", "Nobody"}},
		{"-ids: must be", at("enqueue")},
		{"-keep: got 1ms", at("enqueue", "-ids", "-", "-keep", "1ms")},
		{"-ids: open ", at("enqueue", "-ids", dir+"/none")},
		{"-ids: contains no ID", at("enqueue", "-ids", "-")},
		{`line 2: "D 1" is not`, at("enqueue", "-ids", write("bad", "D000000001\nD 1"))},
		{"-per-minute: got 0", at("work", "-per-minute", "0")},
		{"-worker: want", at("work", "-worker", "a b")},
		{"-concurrency: got 0", at("work", "-concurrency", "0")},
	} {
		code, stdout, stderr := b.run(t.Context(), "", tt.args...)
		if code != 1 || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 || stdout != "" || strings.Contains(stderr, "s3cret") {
			t.Errorf("%q: got exit code %d, want 1 and one line with %q in:\n%s%s", tt.args, code, tt.want, stdout, stderr)
		}
	}
	b.env["SLACK_API_URL"] = "slack.com"
	if code, _, stderr := b.queue(t.Context(), "", "work"); code != 1 || !strings.Contains(stderr, "WithBaseURL") {
		t.Errorf("%d %s", code, stderr)
	}
	b.env["SLACK_TOKEN"] = ""
	if code, _, stderr := b.queue(t.Context(), "", "work"); code != 1 || !strings.Contains(stderr, "SLACK_TOKEN is not set") {
		t.Errorf("%d %s", code, stderr)
	}
	if code, stdout, _ := b.run(t.Context(), "", "work", "-help"); code != 0 || !strings.Contains(stdout, "Usage: fleet") || !strings.Contains(stdout, "-per-minute") {
		t.Errorf("%d %s", code, stdout)
	}

	// A file with a byte order mark, comments, and a duplicate. The address is in the
	// environment.
	b.env["REDIS_URL"] = "redis://" + b.addr + "/0"
	code, stdout, stderr := b.run(t.Context(), "", "enqueue", "-name", b.name, "-ids", write("good", "\ufeffD1 # one\r\n\r\n# two\nD2\nD1\n"))
	if code != 0 || stdout != "2 enqueued, 0 already known\n" {
		t.Errorf("%d %s%s", code, stdout, stderr)
	}
}

func TestWithoutRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	b := new(bench)
	if code, stdout, stderr := b.run(t.Context(), ""); code != 1 || stdout != "" || !strings.Contains(stderr, "apt-get install redis-server") {
		t.Error(code, stdout, stderr)
	}
}

// TestDelays checks when a failed task is delivered again.
func TestDelays(t *testing.T) {
	limited := &chatdm.Error{Kind: chatdm.KindRateLimited, RetryAfter: 42 * time.Second}
	vague := &chatdm.Error{Kind: chatdm.KindRateLimited}
	token := &chatdm.Error{Kind: chatdm.KindUnauthenticated}
	down := &chatdm.Error{Kind: chatdm.KindUnavailable, Err: chatdmredis.ErrUnavailable}
	for _, tt := range []struct {
		err         error
		n           int
		failure     bool
		least, most time.Duration
	}{
		{limited, 3, false, 42 * time.Second, 42 * time.Second},
		{vague, 3, false, time.Second, time.Second},
		{token, 0, false, time.Minute, time.Minute},
		{down, 0, true, time.Second, 3 * time.Second},
		{asynq.ErrLeaseExpired, 0, true, time.Second, 3 * time.Second},
		{down, 10, true, 10_000 * time.Second, 11_000 * time.Second},
		{fmt.Errorf("as asynq may wrap it: %w", limited), 0, false, 42 * time.Second, 42 * time.Second},
	} {
		if d := retryDelay(tt.n, tt.err, nil); isFailure(tt.err) != tt.failure || d < tt.least || d > tt.most {
			t.Errorf("%v after %d failures: got failure %v, delay %v", tt.err, tt.n, isFailure(tt.err), d)
		}
	}
}
