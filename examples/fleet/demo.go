package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

const (
	demoDMs       = 60
	demoPerMinute = 180 // the demo would take three minutes at Slack's 20
	demoName      = "demo"
)

// unknown is an ID that the fake Slack does not know.
const unknown = "D0UNKNOWN"

// demo closes direct messages with worker processes, kills one of them, and prints
// what happened.
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
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		return err
	}
	ids, err := fakeslack.OpenDMs(ctx, slack, client, demoDMs)
	if err != nil {
		return err
	}
	// One call fails. One takes effect, but its response is lost. And one takes effect
	// but gets no response until its worker is killed.
	const stalled = 40
	slack.Fail(taskType, 4, chatdmtest.Fault{})
	slack.Fail(taskType, 1, chatdmtest.Fault{Status: http.StatusInternalServerError})
	slack.Fail(taskType, 4, chatdmtest.Fault{})
	slack.Fail(taskType, 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	slack.Fail(taskType, stalled-11, chatdmtest.Fault{})
	slack.Fail(taskType, 1, chatdmtest.Fault{Stall: chatdmtest.BeforeHeader, Apply: true})
	slack.Limit(taskType, demoPerMinute, time.Minute)
	slack.ResetRequests()
	start := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(p.stdout, "%5.1fs  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(p.stdout, "A Redis listens on %s, and a fake Slack on %s.\n", rdb.Options().Addr, slack.URL)
	fmt.Fprintf(p.stdout, "The fake Slack has %d open direct messages, and allows %d calls of\n%s per minute to keep the demo short. Slack allows 20.\n\n", len(ids), demoPerMinute, taskType)

	f := &fleet{redis: rdb.Options().Addr, name: demoName, slack: slack.URL, token: chatdmtest.BotToken, perMinute: demoPerMinute, stderr: p.stderr}
	defer f.wait()
	defer cancel()
	say("A producer enqueues their IDs and the unknown ID %s, twice.", unknown)
	for range 2 {
		producer := f.command(ctx, "enqueue", "-ids", "-")
		producer.Stdin, producer.Stdout = strings.NewReader(strings.Join(ids, "\n")+"\n"+unknown), p.stdout
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
	say("Three workers close them.")

	victim := ""
	if err := poll(ctx, func() (bool, error) {
		calls := slices.DeleteFunc(slack.Requests(), func(r chatdmtest.Request) bool { return r.Method != taskType })
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
	orphans, err := orphaned(ctx, inspector, demoName)
	if err != nil {
		return err
	}
	say("The other workers have finished. The tasks of the killed one remain: %s.", strings.Join(orphans, ", "))
	say("asynq recovers them a minute or two after the kill, when their leases have expired.")
	if !p.wait {
		say("To save time, the demo makes their leases expire (-wait waits instead).")
		if err := age(ctx, rdb, demoName, orphans); err != nil {
			return err
		}
	}
	if workers[victim], err = f.start(ctx, victim); err != nil {
		return err
	}
	say("Worker %s is started again.", victim)
	if err := drained(ctx, inspector, demoName); err != nil {
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
	say("The queue is empty, and the workers have stopped.\n")

	r, err := read(inspector, demoName)
	if err != nil {
		return err
	}
	r.print(p.stdout)
	byStatus := fakeslack.Statuses(slack, taskType)
	slack.Limit(taskType, 0, 0)
	open, err := fakeslack.StillOpen(ctx, client, ids)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.stdout, "The fake Slack received %d requests that succeeded or named a bad ID, %d above the rate limit (429),\n%d that failed with 500, and %d whose response was lost.\n",
		byStatus[200], byStatus[429], byStatus[500], byStatus[0])
	fmt.Fprintf(p.stdout, "%d direct messages are still open.\n", len(open))
	if len(open) > 0 {
		return errors.New("direct messages were left open")
	}
	return nil
}

// startRedis starts a redis-server on loopback that keeps nothing on disk.
func startRedis(ctx context.Context) (rdb *redis.Client, stop func(), err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil, errors.New("redis-server is not installed (on Debian: apt-get install redis-server)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // finds a free port
	if err != nil {
		return nil, nil, err
	}
	addr := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	server := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no") //nolint:noctx // stop ends it after its clients
	if err := server.Start(); err != nil {
		return nil, nil, err
	}
	rdb = redis.NewClient(&redis.Options{Addr: addr})
	stop = func() {
		rdb.Close()
		_ = server.Process.Kill()
		_ = server.Wait()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err = poll(ctx, func() (bool, error) { return rdb.Ping(ctx).Err() == nil, nil })
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("redis-server does not respond on %s: %w", addr, err)
	}
	return rdb, stop, nil
}

// fleet starts processes of this program.
type fleet struct {
	redis, name, slack, token string
	perMinute                 int
	stderr                    io.Writer
	started                   []*exec.Cmd
}

func (f *fleet) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	self, _ := os.Executable() // Start fails if the path is empty
	cmd := exec.CommandContext(ctx, self, append([]string{name, "-redis", f.redis, "-name", f.name}, args...)...)
	cmd.Env = append(os.Environ(), "SLACK_TOKEN="+f.token, "SLACK_API_URL="+f.slack)
	cmd.Stderr = f.stderr
	return cmd
}

func (f *fleet) start(ctx context.Context, worker string) (*exec.Cmd, error) {
	cmd := f.command(ctx, "work", "-worker", worker, "-per-minute", fmt.Sprint(f.perMinute))
	err := cmd.Start()
	if err == nil {
		f.started = append(f.started, cmd)
	}
	return cmd, err
}

// wait waits for all started processes.
func (f *fleet) wait() {
	for _, cmd := range f.started {
		_ = cmd.Wait()
	}
}

// poll calls done until it reports true or an error.
func poll(ctx context.Context, done func() (bool, error)) error {
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// drained waits until all tasks are finished or archived.
func drained(ctx context.Context, inspector *asynq.Inspector, queue string) error {
	return poll(ctx, func() (bool, error) {
		q, err := inspector.GetQueueInfo(queue)
		return err == nil && q.Pending+q.Scheduled+q.Retry+q.Active == 0, err
	})
}

// orphaned waits until only tasks of killed workers remain, and returns their IDs.
// Those tasks have been running for two seconds, longer than any call in the demo.
func orphaned(ctx context.Context, inspector *asynq.Inspector, queue string) (ids []string, err error) {
	active, since := 0, time.Now()
	err = poll(ctx, func() (bool, error) {
		q, err := inspector.GetQueueInfo(queue)
		if err == nil && (q.Pending+q.Scheduled+q.Retry > 0 || q.Active != active) {
			active, since = q.Active, time.Now()
		}
		return time.Since(since) > 2*time.Second, err
	})
	if err != nil {
		return nil, err
	}
	tasks, err := inspector.ListActiveTasks(queue, asynq.PageSize(1000))
	for _, task := range tasks {
		ids = append(ids, task.ID)
	}
	return ids, err
}

// age makes the leases of tasks a minute older. asynq has no setting for that.
func age(ctx context.Context, rdb *redis.Client, queue string, ids []string) error {
	for _, id := range ids {
		err := rdb.ZAddArgsIncr(ctx, "asynq:{"+queue+"}:lease", redis.ZAddArgs{
			XX: true, Members: []redis.Z{{Score: -60, Member: id}},
		}).Err()
		if err != nil && !errors.Is(err, redis.Nil) { // Nil: the task is finished
			return err
		}
	}
	return nil
}
