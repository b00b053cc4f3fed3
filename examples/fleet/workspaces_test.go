//go:build unix

package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmredis"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

// city is a fake Slack with several workspaces. Each has a token of its own.
type city struct {
	workspaces []*bench // named T1, T2, …; the field name is that of the queue
	name, addr string
	env        map[string]string
}

func newCity(t *testing.T, dms ...int) *city {
	t.Helper()
	c := &city{env: make(map[string]string)}
	fakes := make(fakeslack.Workspaces)
	var tokens []string
	for i, n := range dms {
		b, workspace := newBench(t, n), fmt.Sprint("T", i+1)
		if c.name == "" {
			c.name, c.addr = b.name, b.addr
		}
		b.name = workspace + "/" + c.name
		token := "xoxb-" + workspace
		b.slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser})
		c.workspaces, tokens, fakes[token] = append(c.workspaces, b), append(tokens, workspace+"="+token), b.slack
	}
	server := httptest.NewServer(fakes)
	t.Cleanup(server.Close)
	c.env = map[string]string{"SLACK_TOKENS": strings.Join(tokens, " "), "SLACK_API_URL": server.URL + "/api"}
	return c
}

// enqueue enqueues all direct messages of a workspace.
func (c *city) enqueue(t *testing.T, i int) {
	t.Helper()
	b := c.workspaces[i]
	code, stdout, stderr := b.run(t.Context(), strings.Join(b.ids, "\n"), "enqueue", "-redis", c.addr, "-name", c.name, "-workspace", fmt.Sprint("T", i+1), "-ids", "-")
	if want := fmt.Sprintf("%d enqueued, 0 already known\n", len(b.ids)); code != 0 || stdout != want {
		t.Fatalf("got exit code %d, %q, want %q: %s", code, stdout, want, stderr)
	}
}

// work starts a worker. The returned function stops it and returns its exit code and log.
func (c *city) work(t *testing.T, args ...string) (stop func() (code int, stderr string)) {
	b := &bench{env: c.env}
	ctx, cancel := context.WithCancel(t.Context())
	var code int
	var stderr string
	done := make(chan struct{})
	go func() {
		defer close(done)
		code, _, stderr = b.run(ctx, "", append([]string{"work", "-redis", c.addr, "-name", c.name, "-worker", "w", "-per-minute", "6000"}, args...)...)
	}()
	return func() (int, string) {
		cancel()
		<-done
		return code, stderr
	}
}

// setAside waits until the worker has set the workspace aside.
func (b *bench) setAside(t *testing.T) {
	t.Helper()
	b.waitFor(t, b.name+" is set aside", func(q *asynq.QueueInfo) bool { return q.Retry > 0 && q.Active == 0 })
}

// TestOneWorkspaceRejected checks that a worker finishes the tasks of two workspaces while
// the token of a third is revoked, and then those of the third when the token works again.
func TestOneWorkspaceRejected(t *testing.T) {
	t.Parallel()
	c := newCity(t, 20, 30, 20)
	good, other, revoked := c.workspaces[0], c.workspaces[1], c.workspaces[2]
	revoked.slack.Fail(taskType, 5, chatdmtest.Fault{})
	revoked.slack.Fail(taskType, -1, chatdmtest.Fault{Code: "token_revoked"})
	c.enqueue(t, 2)
	c.enqueue(t, 0)
	stop := c.work(t, "-set-aside", "5s")
	good.drained(t)()
	revoked.setAside(t)
	c.enqueue(t, 1) // after one is set aside, the worker begins to serve another
	other.drained(t)()
	code, status, _ := other.run(t.Context(), "", "status", "-redis", c.addr, "-name", c.name)
	for _, want := range []string{
		good.name + ": 0 waiting, 0 postponed, 0 running, 20 finished, 0 dead letters; 0 retries\n",
		other.name + ": 0 waiting, 0 postponed, 0 running, 30 finished, 0 dead letters; 0 retries\n",
		"  postponed: slack conversations.close: token_revoked",
	} {
		if code != 0 || !strings.Contains(status, want) {
			t.Errorf("the status lacks %q:\n%s", want, status)
		}
	}
	// No task is lost or has lost a retry, and there were few calls.
	r := revoked.report(t)
	if n := revoked.closes(); r.outcomes()[closed] != 5 || r.queue.Pending+r.queue.Retry != 15 || len(r.dead) > 0 || r.retries != 0 || n > 5+2*2 {
		t.Errorf("got %d calls, %v, %+v", n, r.outcomes(), r.queue)
	}
	revoked.slack.ClearFaults()
	revoked.waitFor(t, "the worker has tried again", func(q *asynq.QueueInfo) bool { return q.Pending == 0 && q.Active == 0 })
	if _, err := revoked.inspector.RunAllRetryTasks(revoked.name); err != nil { // instead of waiting for a minute
		t.Fatal(err)
	}
	revoked.drained(t)()
	exit, log := stop()
	if n := strings.Count(log, "workspace set aside"); exit != 0 || n < 1 || n > 2 || strings.Contains(log, "xoxb-") {
		t.Errorf("got exit code %d and %d lines that T3 is set aside, want 0 and 1 or 2: %s", exit, n, log)
	}
	if !strings.Contains(log, "level=ERROR msg=\"workspace set aside\" worker=w workspace=T3") {
		t.Error(log)
	}
	for _, b := range c.workspaces {
		b.mustBeClosed(t)
	}
}

// TestWorkspaceLimits checks that the workspaces have separate rate limits, and that a long
// queue of one does not delay another.
func TestWorkspaceLimits(t *testing.T) {
	t.Parallel()
	c := newCity(t, 40, 10)
	busy, quick := c.workspaces[0], c.workspaces[1]
	busy.slack.Limit(taskType, 50, time.Minute)
	quick.slack.Limit(taskType, 50, time.Minute)
	c.enqueue(t, 0)
	stop1, stop2 := c.work(t, "-per-minute", "50"), c.work(t, "-per-minute", "50")
	busy.waitFor(t, "the burst is used", func(q *asynq.QueueInfo) bool { return q.Completed >= 10 })
	c.enqueue(t, 1)
	start := time.Now()
	quick.drained(t)()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v for the burst of a workspace", took)
	}
	if r := busy.report(t); r.queue.Pending == 0 {
		t.Error("the other workspace was not busy")
	}
	stop1()
	stop2()
	for _, b := range c.workspaces {
		if n := fakeslack.Statuses(b.slack, taskType)[429]; n > 0 {
			t.Errorf("%s: got %d responses with status 429", b.name, n)
		}
	}
}

// TestWorkspaceWithoutToken checks that the tasks of a workspace for which a worker has no
// token remain in their queue, and that the queue of a program with one workspace works.
func TestWorkspaceWithoutToken(t *testing.T) {
	t.Parallel()
	c := newCity(t, 5, 5)
	c.env["SLACK_TOKENS"] = "T1=xoxb-T1 T9=xoxb-T9"
	c.enqueue(t, 1)
	old := c.workspaces[0]
	old.enqueue(t, "5 enqueued, 0 already known", old.ids...) // with -name T1/NAME
	stop := c.work(t)
	old.drained(t)()
	code, log := stop()
	if n := strings.Count(log, "no token for a workspace\" worker=w workspace=T2"); code != 0 || n != 1 {
		t.Errorf("got exit code %d and %d warnings, want 0 and 1: %s", code, n, log)
	}
	if r := c.workspaces[1].report(t); r.queue.Pending != 5 || c.workspaces[1].closes() > 0 {
		t.Errorf("got %+v", r.queue)
	}
	old.mustBeClosed(t)
}

// TestOnlyWorkspaceRejected checks that a worker with only one token stops.
func TestOnlyWorkspaceRejected(t *testing.T) {
	t.Parallel()
	c := newCity(t, 5)
	c.workspaces[0].slack.AddToken(chatdmtest.Token{Value: "xoxb-T1", User: chatdmtest.BotUser, State: chatdmtest.Revoked})
	c.enqueue(t, 0)
	b := &bench{env: c.env}
	code, _, stderr := b.run(t.Context(), "", "work", "-redis", c.addr, "-name", c.name)
	if code != 3 || !strings.Contains(stderr, "fleet: the credential was rejected: slack conversations.close: token_revoked") {
		t.Errorf("got exit code %d, want 3: %s", code, stderr)
	}
}

// TestRotatingWorkspaces checks that two workers share the rotating tokens of two
// workspaces: each is exchanged or refreshed once. Here, the fake Slack is one workspace in
// which two bots have their own tokens.
func TestRotatingWorkspaces(t *testing.T) {
	t.Parallel()
	b := newBench(t, 0)
	b.env = map[string]string{
		"SLACK_API_URL": b.slack.URL, "SLACK_TOKENS": "T1=" + chatdmtest.BotToken,
		"SLACK_CLIENT_ID": chatdmtest.ClientID, "SLACK_CLIENT_SECRET": chatdmtest.ClientSecret,
	}
	c := &city{name: b.name, addr: b.addr, env: b.env}
	tokens := b.slack.InstallRotating(chatdmtest.OtherBot)
	b.slack.AddToken(chatdmtest.Token{Value: "xoxb-other", User: chatdmtest.OtherBot}) // for opening them
	for i, token := range []string{chatdmtest.BotToken, "xoxb-other"} {
		w := &bench{redis: b.redis, addr: b.addr, inspector: b.inspector, name: fmt.Sprint("T", i+1, "/", c.name), slack: b.slack}
		var err error
		if w.client, err = chatdm.NewClient(token, chatdm.WithBaseURL(b.slack.URL)); err != nil {
			t.Fatal(err)
		}
		if w.ids, err = fakeslack.OpenDMs(t.Context(), b.slack, w.client, 20); err != nil {
			t.Fatal(err)
		}
		c.workspaces = append(c.workspaces, w)
	}
	one, two := c.workspaces[0], c.workspaces[1]
	store := func(change func(chatdm.Tokens) chatdm.Tokens) {
		t.Helper()
		s, err := chatdmredis.NewTokenStore(b.redis, two.name)
		if err == nil {
			_, err = s.Update(t.Context(), func(_ context.Context, old chatdm.Tokens) (chatdm.Tokens, error) { return change(old), nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	store(func(chatdm.Tokens) chatdm.Tokens {
		tokens.Expiry = time.Now().Add(-time.Minute) // T2's token has expired
		return tokens
	})
	b.slack.ResetRequests()
	c.enqueue(t, 0)
	c.enqueue(t, 1)
	stop1, stop2 := c.work(t), c.work(t)
	one.drained(t)()
	two.drained(t)()
	if n := fakeslack.Statuses(b.slack, "oauth.v2.exchange")[200]; n != 1 {
		t.Errorf("got %d exchanges, want 1", n)
	}
	if n := b.slack.Refreshes(chatdmtest.OtherBot); n != 1 {
		t.Errorf("got %d refreshes, want 1", n)
	}
	_, log1 := stop1()
	_, log2 := stop2()
	one.mustBeClosed(t)

	// The app is removed from T2, and its token expires.
	b.slack.RevokeTokens(chatdmtest.OtherBot)
	store(func(old chatdm.Tokens) chatdm.Tokens {
		old.Expiry = time.Now().Add(-time.Minute)
		return old
	})
	b.slack.ResetRequests()
	one.ids, two.ids = []string{"D0MORE0001"}, []string{"D0MORE0002"}
	c.enqueue(t, 1)
	c.enqueue(t, 0)
	stop := c.work(t)
	two.setAside(t)
	one.drained(t)()
	code, log3 := stop()
	if code != 0 || strings.Count(log3, "workspace set aside") != 1 || !strings.Contains(log3, "invalid_refresh_token") || b.slack.RequestCount() != 2 {
		t.Errorf("got exit code %d and %d requests, want 0 and 2: %s", code, b.slack.RequestCount(), log3)
	}
	if r := two.report(t); r.queue.Retry != 1 || len(one.report(t).dead) != 1 { // D0MORE0001 does not exist
		t.Errorf("got %+v", r.queue)
	}
	for _, secret := range []string{"xoxe", "xoxb-", chatdmtest.ClientSecret} {
		if strings.Contains(log1+log2+log3, secret) {
			t.Errorf("a log contains %q", secret)
		}
	}
}

// TestBadTokens checks that a worker does not start with an invalid list of tokens.
func TestBadTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		want string
		env  map[string]string
	}{
		{"SLACK_TOKENS: word 1: want WORKSPACE=TOKEN", map[string]string{"SLACK_TOKENS": "xoxb-s3cret"}},
		{"SLACK_TOKENS: word 2: want WORKSPACE=TOKEN", map[string]string{"SLACK_TOKENS": "T1=xoxb-s3cret t2=xoxb-s3cret"}},
		{"SLACK_TOKENS: word 1: want WORKSPACE=TOKEN", map[string]string{"SLACK_TOKENS": "T1="}},
		{"must be set together", map[string]string{"SLACK_TOKEN": "xoxb-s3cret", "SLACK_CLIENT_ID": "1.2"}},
		{"SLACK_TOKEN is not set", map[string]string{}},
	} {
		b := &bench{env: tt.env}
		code, _, stderr := b.run(t.Context(), "", "work", "-redis", "127.0.0.1:1", "-name", "a")
		if code != 1 || !strings.Contains(stderr, tt.want) || strings.Contains(stderr, "s3cret") {
			t.Errorf("%v: got exit code %d, want 1 and %q in: %s", tt.env, code, tt.want, stderr)
		}
	}
	b := &bench{env: map[string]string{}}
	if code, _, stderr := b.run(t.Context(), "D1", "enqueue", "-redis", "127.0.0.1:1", "-name", "a", "-ids", "-", "-workspace", "T1/x"); code != 1 || !strings.Contains(stderr, "-workspace: want") {
		t.Errorf("got exit code %d: %s", code, stderr)
	}
}

// TestQueueNames checks which queues a worker serves.
func TestQueueNames(t *testing.T) {
	t.Parallel()
	b := newBench(t, 0)
	for _, queue := range []string{b.name, "T1/" + b.name, "T2/X/" + b.name, "t3/" + b.name, "T4/other" + b.name, "T5" + b.name, "/" + b.name} {
		b.name, queue = queue, b.name
		b.enqueue(t, "1 enqueued, 0 already known", "D1")
		b.name = queue
	}
	p := &program{name: b.name}
	if got, err := p.workspaces(b.redis); err != nil || !slices.Equal(got, []string{"", "T1"}) {
		t.Errorf("got %q, %v", got, err)
	}
}
