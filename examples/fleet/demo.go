package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hibiken/asynq"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

const (
	demoPerMinute = 180 // the demo would take three minutes at Slack's 20
	demoName      = "demo"
)

// unknown is an ID that the fake Slack does not know.
const unknown = "D0UNKNOWN"

// demoWorkspace is a workspace of the demo.
type demoWorkspace struct {
	*chatdmtest.Slack
	name   string
	client *chatdm.Client
	ids    []string // of its direct messages
}

func (w *demoWorkspace) queue() string { return w.name + "/" + demoName }

// openWorkspace opens n direct messages in a new workspace.
func openWorkspace(ctx context.Context, name string, n int) (*demoWorkspace, error) {
	w := &demoWorkspace{Slack: chatdmtest.NewSlack(), name: name}
	var err error
	w.client, err = chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(w.URL))
	if err == nil {
		w.ids, err = fakeslack.OpenDMs(ctx, w.Slack, w.client, n)
	}
	w.Limit(taskType, demoPerMinute, time.Minute)
	w.ResetRequests()
	return w, err
}

// demo closes direct messages in three workspaces with worker processes, kills one of them,
// and prints what happened.
func (p *program) demo(ctx context.Context) error {
	ctx, unregister := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer unregister()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()

	rdb, stop, err := startRedis(ctx)
	if err != nil {
		return err
	}
	defer stop()
	var workspaces []*demoWorkspace
	var tokens []string
	fakes := make(fakeslack.Workspaces)
	for i, dms := range []int{60, 30, 10} {
		w, err := openWorkspace(ctx, fmt.Sprint("T", i+1), dms)
		if err != nil {
			return err
		}
		defer w.Close()
		token := "xoxb-demo-" + w.name
		w.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser})
		workspaces, tokens, fakes[token] = append(workspaces, w), append(tokens, w.name+"="+token), w.Slack
	}
	// In T1, one call fails. One takes effect, but its response is lost. And one takes
	// effect but gets no response until its worker is killed. The token of T3 is revoked.
	const stalled = 40
	t1, t2, t3 := workspaces[0], workspaces[1], workspaces[2]
	t1.Fail(taskType, 4, chatdmtest.Fault{})
	t1.Fail(taskType, 1, chatdmtest.Fault{Status: http.StatusInternalServerError})
	t1.Fail(taskType, 4, chatdmtest.Fault{})
	t1.Fail(taskType, 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	t1.Fail(taskType, stalled-11, chatdmtest.Fault{})
	t1.Fail(taskType, 1, chatdmtest.Fault{Stall: chatdmtest.BeforeHeader, Apply: true})
	t3.AddToken(chatdmtest.Token{Value: "xoxb-demo-T3", User: chatdmtest.BotUser, State: chatdmtest.Revoked})
	slack := httptest.NewServer(fakes)
	defer slack.Close()
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(p.stdout, "%5.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(p.stdout, "A Redis listens on %s, and a fake Slack with three workspaces on %s.\n", rdb.Options().Addr, slack.URL)
	fmt.Fprintf(p.stdout, "In each, it allows %d calls of %s per minute to keep the demo short.\nSlack allows 20. The token of workspace T3 is revoked.\n\n", demoPerMinute, taskType)

	f := &fleet{redis: rdb.Options().Addr, name: demoName, perMinute: demoPerMinute, stderr: p.stderr}
	f.env = []string{"SLACK_TOKEN=", "SLACK_CLIENT_ID=", "SLACK_CLIENT_SECRET=", "SLACK_TOKENS=" + strings.Join(tokens, " "), "SLACK_API_URL=" + slack.URL + "/api"}
	defer f.wait()
	defer cancel()
	say("For each workspace, a producer enqueues its direct messages and the unknown ID %s, twice.", unknown)
	for _, w := range slices.Concat(workspaces, workspaces) {
		producer := f.command(ctx, "enqueue", "-workspace", w.name, "-ids", "-")
		producer.Stdin, producer.Stdout = strings.NewReader(strings.Join(w.ids, "\n")+"\n"+unknown), p.stdout
		if err := producer.Run(); err != nil {
			return fmt.Errorf("the producer: %w", err)
		}
	}
	workers := make(map[string]*exec.Cmd)
	for _, name := range []string{"one", "two", "three"} {
		if workers[name], err = f.start(ctx, name); err != nil {
			return err
		}
	}
	say("Three workers close them. Each worker serves all workspaces.")

	victim := ""
	if err := poll(ctx, func() (bool, error) {
		calls := slices.DeleteFunc(t1.Requests(), func(r chatdmtest.Request) bool { return r.Method != taskType })
		if len(calls) >= stalled {
			victim = strings.TrimPrefix(calls[stalled-1].Header.Get("User-Agent"), "fleet/")
		}
		return victim != "", nil
	}); err != nil {
		return err
	}
	if err := workers[victim].Process.Kill(); err != nil {
		return err
	}
	_ = workers[victim].Wait()
	say("Worker %s is killed with SIGKILL while it waits for a response.", victim)

	inspector := asynq.NewInspectorFromRedisClient(rdb)
	orphans, err := orphaned(ctx, inspector, t1.queue(), t2.queue())
	if err != nil {
		return err
	}
	var list []string
	for queue, ids := range orphans {
		for _, id := range ids {
			list = append(list, id+" of "+queue)
		}
	}
	say("The other workers have finished T1 and T2. The tasks of the killed one remain: %s.", strings.Join(list, ", "))
	say("asynq recovers them a minute or two after the kill, when their leases have expired.")
	if !p.wait {
		say("To save time, the demo makes their leases expire (-wait waits instead).")
		if err := age(ctx, rdb, orphans); err != nil {
			return err
		}
	}
	if workers[victim], err = f.start(ctx, victim); err != nil {
		return err
	}
	say("Worker %s is started again.", victim)
	if err := drained(ctx, inspector, t1.queue(), t2.queue()); err != nil {
		return err
	}
	for name, worker := range workers {
		if err := worker.Process.Signal(os.Interrupt); err != nil {
			return fmt.Errorf("worker %s: %w", name, err)
		}
	}
	for name, worker := range workers {
		if err := worker.Wait(); err != nil {
			return fmt.Errorf("worker %s: %w", name, err)
		}
	}
	say("The queues of T1 and T2 are empty, and the workers have stopped.")

	for _, w := range workspaces {
		if err := w.print(ctx, p, inspector); err != nil {
			return err
		}
	}
	return nil
}

// print prints what happened to the tasks of a workspace.
func (w *demoWorkspace) print(ctx context.Context, p *program, inspector *asynq.Inspector) error {
	r, err := read(inspector, w.queue())
	if err != nil {
		return err
	}
	fmt.Fprintln(p.stdout)
	r.print(p.stdout)
	byStatus := fakeslack.Statuses(w.Slack, taskType)
	w.Limit(taskType, 0, 0)
	open, err := fakeslack.StillOpen(ctx, w.client, w.ids)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "The fake Slack received %d requests that got 200, %d above the rate limit (429),\n%d that failed with 500, and %d whose response was lost.\n%d direct messages are still open.\n",
		byStatus[200], byStatus[429], byStatus[500], byStatus[0], len(open))
	if left := r.queue.Pending + r.queue.Retry + r.queue.Active; len(open) > left {
		return errors.New("direct messages were left open")
	}
	return nil
}
