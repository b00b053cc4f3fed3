// Fleet closes many direct messages from many machines. It does the work of the
// sweep example with a task queue, asynq, and a rate limit in the same Redis.
//
// A producer enqueues one task per conversation, and workers on any number of
// machines process them:
//
//   - Delivery: asynq delivers a task at least once. It delivers a task again if it
//     failed, or a minute or two after its worker was killed. A conversation may
//     therefore be closed twice, which is safe: the second call succeeds and reports
//     AlreadyClosed. A task needs no lock, and no check before the call.
//   - Rate limit: Slack counts the calls of all machines together. All workers
//     share one limiter in Redis, and if one of them gets a 429, they all pause.
//   - Retries: a delivery makes one attempt, and asynq does the retries. A task that
//     cannot succeed is archived immediately (a dead letter). A temporary failure is
//     retried with asynq's backoff, 25 times in three weeks. A 429 postpones the
//     task for as long as Slack requests, and does not count as a retry.
//   - Credentials: a worker stops if Slack rejects its token. Otherwise, it would
//     fail every task. The token is never stored in Redis.
//
// The tasks are only as durable as Redis. Configure Redis to write to disk
// (appendonly yes) and never evict keys (maxmemory-policy noeviction).
//
// Without a command, fleet runs a demo with its own Redis and a fake Slack, and
// kills a worker in the middle of a call.
//
// This file chooses the command, enqueue.go is the producer, and work.go is the
// worker.
package main

import (
	"cmp"
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
	ids  string
	keep time.Duration
	// The flags of work.
	worker      string
	perMinute   int
	concurrency int
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
		flags.StringVar(&p.ids, "ids", "", "enqueue the IDs in `FILE`, one per line; - is standard input")
		flags.DurationVar(&p.keep, "keep", 24*time.Hour, "keep finished tasks for `TIME`; until then, their IDs cannot be enqueued again")
	case "work":
		run = p.work
		host, _ := os.Hostname()
		flags.StringVar(&p.worker, "worker", fmt.Sprint(host, "-", os.Getpid()), "record `NAME` in the results")
		flags.IntVar(&p.perMinute, "per-minute", 20, "send at most `N` calls per minute, all workers together; must be the same for all of them")
		flags.IntVar(&p.concurrency, "concurrency", 2, "process at most `N` tasks at once")
	case "status":
		run = p.status
	default:
		return fmt.Errorf("unknown command %.100q; -help lists the commands", name)
	}
	if run != nil {
		flags.StringVar(&p.redis, "redis", "", "the `ADDR` of Redis")
		flags.StringVar(&p.name, "name", "", "the `NAME` of the queue and the rate limit")
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

// connect returns the Redis client that asynq and the limiter share.
func (p *program) connect(ctx context.Context) (*redis.Client, error) {
	addr := cmp.Or(p.redis, p.env("REDIS_URL"))
	if addr == "" {
		return nil, errors.New("-redis or REDIS_URL must be set")
	}
	if !strings.Contains(addr, "://") {
		addr = "redis://" + addr
	}
	opts, err := redis.ParseURL(addr)
	if err != nil {
		// The text of err may contain a part of the password.
		return nil, errors.New("the address of Redis must be host:port or redis[s]://user:password@host:port/0")
	}
	// The Redis client must not retry: taking a task from the queue twice would take
	// two tasks. asynq has its own retries, and the limiter reports failures.
	opts.MaxRetries, opts.DialerRetries = -1, 1
	rdb := redis.NewClient(opts)
	if err := rdb.Ping(ctx).Err(); err != nil {
		rdb.Close()
		return nil, fmt.Errorf("redis at %s: %w", opts.Addr, err)
	}
	return rdb, nil
}
