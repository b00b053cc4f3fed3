// Fleet closes many direct messages from many machines: the work of the sweep
// example on a job engine, asynq, with the pace on the same Redis.
//
// A producer enqueues one task for each conversation, and workers on any number
// of machines take them. asynq delivers a task at least once: it delivers again
// what failed, and what a killed worker had, a minute or two later. So one
// conversation may be closed twice. That does no harm, as the second answer is a
// success that says AlreadyClosed: a task needs no lock and no check before it.
//
// Slack counts the calls of all machines together. All workers ask one
// redislimit before each call, and a refusal that one of them meets pauses all.
//
// A delivery sends one request. Whether there is another one is left to asynq:
// what is wrong with one conversation goes to its archive, the dead letters, at
// once; what will pass is tried again, by asynq's backoff, 25 times in three
// weeks; a refusal for the rate is put off for as long as Slack says, and does
// not count as a try. A worker whose token is refused stops, so that not every
// task is tried with it in vain. The token never gets into Redis.
//
// The queue is as safe as its Redis: let it write to disk (appendonly yes) and
// evict nothing (maxmemory-policy noeviction).
//
// Without a command, fleet shows all that on a Redis and a Slack of its own, and
// kills a worker in the middle of a call.
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

const usage = `Usage: fleet enqueue -redis ADDR -name NAME -ids FILE   enqueues conversations to be closed
       fleet work    -redis ADDR -name NAME             closes them, on as many machines as you like
       fleet status  -redis ADDR -name NAME             says what has become of them
       fleet                                            shows it on a Redis and a Slack of its own

NAME is the workspace and the app, T012AB3C4/A0KRD7HC3 say, whose limits at Slack
the workers share; it names the queue as well. ADDR is host:port or a URL,
redis://user:password@host:port/0, rediss:// with TLS; without -redis it is
REDIS_URL, which does not show in a list of processes. Workers take the token from
SLACK_TOKEN (scopes im:write and mpim:write), and from SLACK_API_URL another root
of the API than https://slack.com/api.

To enqueue a list twice adds nothing; the sweep example makes one:
sweep -list -dry-run | fleet enqueue -ids - …

A worker runs until it is told to stop, and logs what fails only: status says how
far it is. The first SIGINT or SIGTERM lets a worker
finish what it can in eight seconds and give back the rest, the second ends it. It
exits with 3 where its token is refused, and with 1 after any other error.
Dead letters are run again or deleted with the asynq command (asynq task runall
--queue NAME --state archived) or its web UI; asynq keeps the last 10,000, for 90
days. A Redis that has lost its data has lost the tasks: enqueue the list again, and
what was done is closed already.
`

func main() {
	logging.Disable() // of the Redis client; its errors come back, and are told once
	p := &program{env: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}

// program is one run of it.
type program struct {
	env            func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer

	redis, name string
	// of enqueue
	ids  string
	keep time.Duration
	// of work
	worker      string
	perMinute   int
	concurrency int
	// of the demonstration
	wait bool
}

// run returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.command(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(p.stderr, "fleet:", err)
	if errors.Is(err, errRefused) {
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
		flags.BoolVar(&p.wait, "wait", false, "wait the minute or two until asynq finds the tasks of the killed worker by itself")
	case "enqueue":
		run = p.enqueue
		flags.StringVar(&p.ids, "ids", "", "enqueue the ids in `FILE`, one a line; - is standard input")
		flags.DurationVar(&p.keep, "keep", 24*time.Hour, "remember for a `TIME` that an id is done, and do not enqueue it again")
	case "work":
		run = p.work
		host, _ := os.Hostname()
		flags.StringVar(&p.worker, "worker", fmt.Sprint(host, "-", os.Getpid()), "go by `NAME` in the results")
		flags.IntVar(&p.perMinute, "per-minute", 20, "send at most `N` calls a minute, all workers together; tell all of them the same")
		flags.IntVar(&p.concurrency, "concurrency", 2, "hold at most `N` tasks")
	case "status":
		run = p.status
	default:
		return fmt.Errorf("%.100q is no command; -help lists them", name)
	}
	if run != nil {
		flags.StringVar(&p.redis, "redis", "", "the `ADDR` of Redis")
		flags.StringVar(&p.name, "name", "", "the `NAME` of the queue and of the limits")
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
		return fmt.Errorf("%.100q is no flag; -help lists them", flags.Arg(0))
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

func (p *program) check(command string) error {
	const want = "want 1 to 100 letters, digits and any of / . _ -"
	if !isName(p.name) {
		return errors.New("-name: " + want + ", the ids of the workspace and the app say")
	}
	switch command {
	case "enqueue":
		if p.ids == "" {
			return errors.New("-ids is missing: a file, or - for standard input")
		}
		if p.keep < time.Second {
			return fmt.Errorf("-keep: %v is less than a second", p.keep)
		}
	case "work":
		if p.env("SLACK_TOKEN") == "" {
			return errors.New("SLACK_TOKEN is not set")
		}
		if !isName(p.worker) {
			return errors.New("-worker: " + want)
		}
		if p.perMinute < 1 || p.perMinute > 100_000 {
			return fmt.Errorf("-per-minute: %d is not between 1 and 100,000", p.perMinute)
		}
		if p.concurrency < 1 || p.concurrency > 1000 {
			return fmt.Errorf("-concurrency: %d is not between 1 and 1,000", p.concurrency)
		}
	}
	return nil
}

func isName(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-", r))
	})
}

// connect opens the connections that asynq and the limiter share.
func (p *program) connect(ctx context.Context) (*redis.Client, error) {
	addr := cmp.Or(p.redis, p.env("REDIS_URL"))
	if addr == "" {
		return nil, errors.New("neither -redis nor REDIS_URL is set")
	}
	if !strings.Contains(addr, "://") {
		addr = "redis://" + addr
	}
	opts, err := redis.ParseURL(addr)
	if err != nil {
		// Its text may have a part of the password.
		return nil, errors.New("the address of Redis is neither host:port nor redis[s]://user:password@host:port/0")
	}
	// What fails asynq repeats, and the limiter reports. To take the next task off
	// the queue is not to be repeated blindly: it would take two.
	opts.MaxRetries, opts.DialerRetries = -1, 1
	rdb := redis.NewClient(opts)
	if err := rdb.Ping(ctx).Err(); err != nil {
		rdb.Close()
		return nil, fmt.Errorf("redis at %s: %w", opts.Addr, err)
	}
	return rdb, nil
}
