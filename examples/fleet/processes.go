package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

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
	redis, name string
	env         []string // SLACK_API_URL and the tokens
	perMinute   int
	stderr      io.Writer
	started     []*exec.Cmd
}

func (f *fleet) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	self, _ := os.Executable() // Start fails if the path is empty
	cmd := exec.CommandContext(ctx, self, append([]string{name, "-redis", f.redis, "-name", f.name}, args...)...)
	cmd.Env = append(os.Environ(), f.env...)
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

// drained waits until all tasks of some queues are finished or archived.
func drained(ctx context.Context, inspector *asynq.Inspector, queues ...string) error {
	return poll(ctx, func() (bool, error) {
		waiting, active, err := unfinished(inspector, queues)
		return err == nil && waiting+active == 0, err
	})
}

// unfinished counts the tasks that wait and those that are running.
func unfinished(inspector *asynq.Inspector, queues []string) (waiting, active int, err error) {
	for _, queue := range queues {
		q, err := inspector.GetQueueInfo(queue)
		if err != nil {
			return 0, 0, err
		}
		waiting += q.Pending + q.Scheduled + q.Retry
		active += q.Active
	}
	return waiting, active, nil
}

// orphaned waits until only tasks of killed workers remain, and returns their IDs by queue.
// Those tasks have been running for two seconds, longer than any call in the demo.
func orphaned(ctx context.Context, inspector *asynq.Inspector, queues ...string) (ids map[string][]string, err error) {
	active, since := 0, time.Now()
	err = poll(ctx, func() (bool, error) {
		waiting, running, err := unfinished(inspector, queues)
		if err == nil && (waiting > 0 || running != active) {
			active, since = running, time.Now()
		}
		return time.Since(since) > 2*time.Second, err
	})
	ids = make(map[string][]string)
	for _, queue := range queues {
		tasks, listErr := inspector.ListActiveTasks(queue, asynq.PageSize(1000))
		err = errors.Join(err, listErr)
		for _, task := range tasks {
			ids[queue] = append(ids[queue], task.ID)
		}
	}
	return ids, err
}

// age makes the leases of tasks a minute older. asynq has no setting for that.
func age(ctx context.Context, rdb *redis.Client, ids map[string][]string) error {
	for queue, list := range ids {
		for _, id := range list {
			err := rdb.ZAddArgsIncr(ctx, "asynq:{"+queue+"}:lease", redis.ZAddArgs{
				XX: true, Members: []redis.Z{{Score: -60, Member: id}},
			}).Err()
			if err != nil && !errors.Is(err, redis.Nil) { // Nil: the task is finished
				return err
			}
		}
	}
	return nil
}
