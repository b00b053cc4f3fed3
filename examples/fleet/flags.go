package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chatdm/chatdm"
)

const usage = `Usage: fleet enqueue -redis ADDR -name NAME -ids FILE   enqueue conversations to close
       fleet work    -redis ADDR -name NAME             close them; run it on any number of machines
       fleet status  -redis ADDR -name NAME             show the state of the tasks
       fleet                                            run a demo on its own Redis and a fake Slack

NAME names the queue and the rate limit. Use one name per workspace and app, such as
T012AB3C4/A0KRD7HC3. For several workspaces, let NAME be the app, and enqueue the
conversations of each workspace with -workspace T012AB3C4. Its queue and its rate limit
are then named T012AB3C4/A0KRD7HC3, too.

ADDR is host:port or a URL: redis://user:password@host:port/0, or rediss:// for TLS.
Without -redis, ADDR is REDIS_URL, which keeps the password out of the process list.

Workers need tokens with the scopes im:write and mpim:write. SLACK_TOKEN is for tasks that
were enqueued without -workspace. SLACK_TOKENS is for several workspaces, such as
"T012AB3C4=xoxb-… T0DEF5678=xoxb-…". A worker leaves the tasks of other workspaces alone.
If the tokens rotate, also set SLACK_CLIENT_ID and SLACK_CLIENT_SECRET. The workers then
exchange these tokens once, and share the new ones through Redis, which stores them
without encryption. SLACK_API_URL replaces https://slack.com/api.

Enqueuing a list twice has no effect. The sweep example can make one:
sweep -list -dry-run | fleet enqueue -ids - …

A worker runs until it is stopped, and logs only failures. After the first SIGINT or
SIGTERM, it finishes what it can in eight seconds and returns its other tasks to the
queue. The second ends it. If Slack rejects the token of a workspace, or denies it a
permission, the worker sets the workspace aside: it logs the reason, leaves the tasks in
their queue, and tries again after the time -set-aside, with the tokens that Redis has
then. The tasks lose no retries. A worker with only one token, which does not rotate,
exits with 3 instead. It exits with 1 after any other error.

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
		if p.workspace != "" && !isWorkspace(p.workspace) {
			return errors.New("-workspace: want 1 to 50 capital letters or digits, such as T012AB3C4")
		}
		if p.ids == "" {
			return errors.New("-ids: must be a file, or - for standard input")
		}
		if p.keep < time.Second {
			return fmt.Errorf("-keep: got %v, want at least 1s", p.keep)
		}
	case "work":
		if _, err := p.readTokens(); err != nil {
			return err
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
		if p.setAside < time.Second {
			return fmt.Errorf("-set-aside: got %v, want at least 1s", p.setAside)
		}
	}
	return nil
}

// readTokens reads the tokens that do not expire, by workspace.
func (p *program) readTokens() (map[string]string, error) {
	tokens := make(map[string]string)
	if token := p.env("SLACK_TOKEN"); token != "" {
		tokens[""] = token
	}
	for i, word := range strings.Fields(p.env("SLACK_TOKENS")) {
		workspace, token, _ := strings.Cut(word, "=")
		if !isWorkspace(workspace) || token == "" {
			return nil, fmt.Errorf("SLACK_TOKENS: word %d: want WORKSPACE=TOKEN, such as T012AB3C4=xoxb-…", i+1)
		}
		tokens[workspace] = token
	}
	switch app := p.app(); {
	case (app.ClientID == "") != (app.ClientSecret == ""):
		return nil, errors.New("SLACK_CLIENT_ID and SLACK_CLIENT_SECRET must be set together, or not at all")
	case len(tokens) == 0 && app.ClientID == "":
		return nil, errors.New("SLACK_TOKEN is not set, and neither is SLACK_TOKENS or SLACK_CLIENT_ID")
	}
	return tokens, nil
}

// app returns the app whose tokens rotate, or the zero value.
func (p *program) app() chatdm.OAuthApp {
	return chatdm.OAuthApp{ClientID: p.env("SLACK_CLIENT_ID"), ClientSecret: p.env("SLACK_CLIENT_SECRET")}
}

func isWorkspace(s string) bool {
	return s != "" && len(s) <= 50 && !strings.ContainsFunc(s, func(r rune) bool { return !('A' <= r && r <= 'Z' || '0' <= r && r <= '9') })
}

func isName(s string) bool {
	return s != "" && len(s) <= 100 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('A' <= r && r <= 'Z' || 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-", r))
	})
}
