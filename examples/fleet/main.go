// Fleet closes many direct messages from many machines. It does the work of the
// sweep example with a task queue, asynq, and a rate limit in the same Redis.
//
// A producer enqueues one task per conversation, and workers on any number of
// machines process them. They can serve several workspaces:
//
//   - Workspaces: each workspace has its own queue, token, and rate limit, so it neither
//     delays nor stops the others. The queue of a task names its workspace, such as
//     T012AB3C4/A0KRD7HC3. A worker begins to serve a workspace when its queue appears.
//   - Delivery: asynq delivers a task at least once. It delivers a task again if it
//     failed, or a minute or two after its worker was killed. A conversation may
//     therefore be closed twice, which is safe: the second call succeeds and reports
//     AlreadyClosed. A task needs no lock, and no check before the call.
//   - Rate limit: Slack counts the calls of all machines together, and those of each
//     workspace separately. All workers share one limiter per workspace in Redis, and
//     if one of them gets a 429, they all pause that workspace.
//   - Retries: a delivery makes one attempt, and asynq does the retries. A task that
//     cannot succeed is archived immediately (a dead letter). A temporary failure is
//     retried with asynq's backoff, 25 times in three weeks. A 429 postpones the
//     task for as long as Slack requests, and does not count as a retry.
//   - Credentials: if Slack rejects the token of a workspace, a worker sets its tasks
//     aside: it leaves them in their queue, reports the reason, and tries again ten
//     minutes later. Otherwise, it would fail every task. A worker that has only one
//     token stops instead. Redis stores tokens only if they rotate.
//
// The tasks are only as durable as Redis. Configure Redis to write to disk
// (appendonly yes) and never evict keys (maxmemory-policy noeviction).
//
// Without a command, fleet runs a demo with its own Redis and a fake Slack, and
// kills a worker in the middle of a call.
//
// This file chooses the command, and enqueue.go is the producer. A worker is in
// work.go, and what it does for one workspace is in workspace.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

func main() {
	logging.Disable() // the Redis client also returns the errors that it logs
	p := &program{env: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}

// program is one run of the program.
type program struct {
	env            func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer

	redis, name string
	// The flags of enqueue.
	workspace string
	ids       string
	keep      time.Duration
	// The flags of work.
	worker      string
	perMinute   int
	concurrency int
	setAside    time.Duration
	// The flag of the demo.
	wait bool
}

// run returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.command(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(p.stderr, "fleet:", err)
	if errors.Is(err, errCredential) {
		return 3
	}
	return 1
}

func (p *program) command(ctx context.Context, args []string) error {
	name := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var run func(context.Context, *redis.Client) error
	switch name {
	case "":
		flags.BoolVar(&p.wait, "wait", false, "wait a minute or two until asynq recovers the tasks of the killed worker")
	case "enqueue":
		run = p.enqueue
		flags.StringVar(&p.workspace, "workspace", "", "enqueue for the workspace with this `ID`; without it, the worker uses SLACK_TOKEN")
		flags.StringVar(&p.ids, "ids", "", "enqueue the IDs in `FILE`, one per line; - is standard input")
		flags.DurationVar(&p.keep, "keep", 24*time.Hour, "keep finished tasks for `TIME`; until then, their IDs cannot be enqueued again")
	case "work":
		run = p.work
		host, _ := os.Hostname()
		flags.StringVar(&p.worker, "worker", fmt.Sprint(host, "-", os.Getpid()), "record `NAME` in the results")
		flags.IntVar(&p.perMinute, "per-minute", 20, "send at most `N` calls per minute to a workspace, all workers together; must be the same for all of them")
		flags.IntVar(&p.concurrency, "concurrency", 2, "process at most `N` tasks of a workspace at once")
		flags.DurationVar(&p.setAside, "set-aside", 10*time.Minute, "try a workspace again `TIME` after Slack rejected its token")
	case "status":
		run = p.status
	default:
		return fmt.Errorf("unknown command %.100q; -help lists the commands", name)
	}
	if run != nil {
		flags.StringVar(&p.redis, "redis", "", "the `ADDR` of Redis")
		flags.StringVar(&p.name, "name", "", "the `NAME` of the queues and the rate limits")
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprintf(p.stdout, "%s\nFlags of %s:\n", usage, strings.TrimSpace("fleet "+name))
		flags.SetOutput(p.stdout)
		flags.PrintDefaults()
		return nil
	} else if err != nil {
		return fmt.Errorf("%w; -help lists the flags", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %.100q; -help lists the flags", flags.Arg(0))
	}
	if run == nil {
		return p.demo(ctx)
	}
	if err := p.check(name); err != nil {
		return err
	}
	rdb, err := p.connect(ctx)
	if err != nil {
		return err
	}
	defer rdb.Close()
	return run(ctx, rdb)
}
