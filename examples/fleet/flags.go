package main

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const usage = `Usage: fleet enqueue -redis ADDR -name NAME -ids FILE   enqueue conversations to close
       fleet work    -redis ADDR -name NAME             close them; run it on any number of machines
       fleet status  -redis ADDR -name NAME             show the state of the tasks
       fleet                                            run a demo on its own Redis and a fake Slack

NAME names the queue and the rate limit. Use one name per workspace and app, such as
T012AB3C4/A0KRD7HC3. ADDR is host:port or a URL: redis://user:password@host:port/0, or
rediss:// for TLS. Without -redis, ADDR is REDIS_URL, which keeps the password out of
the process list. Workers need SLACK_TOKEN, with the scopes im:write and mpim:write.
SLACK_API_URL replaces https://slack.com/api.

Enqueuing a list twice has no effect. The sweep example can make one:
sweep -list -dry-run | fleet enqueue -ids - …

A worker runs until it is stopped, and logs only failures. After the first SIGINT or
SIGTERM, it finishes what it can in eight seconds and returns its other tasks to the
queue. The second ends it. It exits with 3 if Slack rejects its token or denies it a
permission, and with 1 after any other error.

The asynq command (asynq task runall --queue NAME --state archived) and its web UI can
retry or delete dead letters. asynq keeps the last 10,000 for 90 days. If Redis loses
its data, enqueue the list again: closing a closed conversation is safe.
`

func (p *program) check(command string) error {
	const want = "want 1 to 100 letters, digits, or / . _ -"
	if !isName(p.name) {
		return errors.New("-name: " + want + ", such as the IDs of the workspace and the app")
	}
	switch command {
	case "enqueue":
		if p.ids == "" {
			return errors.New("-ids: must be a file, or - for standard input")
		}
		if p.keep < time.Second {
			return fmt.Errorf("-keep: got %v, want at least 1s", p.keep)
		}
	case "work":
		if p.env("SLACK_TOKEN") == "" {
			return errors.New("SLACK_TOKEN is not set")
		}
		if !isName(p.worker) {
			return errors.New("-worker: " + want)
		}
		if p.perMinute < 1 || p.perMinute > 100_000 {
			return fmt.Errorf("-per-minute: got %d, want 1 to 100,000", p.perMinute)
		}
		if p.concurrency < 1 || p.concurrency > 1000 {
			return fmt.Errorf("-concurrency: got %d, want 1 to 1,000", p.concurrency)
		}
	}
	return nil
}

func isName(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-", r))
	})
}
