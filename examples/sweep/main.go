// Sweep closes many direct messages: those in a file, on standard input, or in
// conversations.list. It stays under Slack's rate limit and shows its progress.
// It also writes a journal, so that it can resume after a Ctrl-C or a crash at
// any time without skipping an ID.
//
// Without SLACK_TOKEN, it runs a demo on a fake Slack.
//
// This file prepares a sweep, sweep.go makes the calls, and journal.go keeps the
// journal.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/chatdm/chatdm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process
	p := &program{env: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is one run of the program.
type program struct {
	env            func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	grace          time.Duration // 0 means defaultGrace

	// The flags.
	ids          string
	list         bool
	journal      string
	resume       bool
	dryRun       bool
	concurrency  int
	perMinute    int
	perMinuteSet bool
	json         string
}

// run returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	code := exitUsage
	help, err := p.parse(args)
	switch token := p.env("SLACK_TOKEN"); {
	case err != nil:
	case help:
		code = exitOK
	case token == "":
		code, err = p.demo(ctx)
	default:
		code, err = p.sweep(ctx, token, cmp.Or(p.env("SLACK_API_URL"), "https://slack.com/api"))
	}
	if err != nil {
		fmt.Fprintln(p.stderr, "sweep:", err)
	}
	return code
}

// sweep closes the direct messages on one server, and returns the exit code.
func (p *program) sweep(ctx context.Context, token, root string) (int, error) {
	if err := p.createJSON(); err != nil {
		return exitUsage, err
	}
	var given []string // the IDs of -ids
	if p.ids != "" {
		var err error
		if given, err = interruptible(ctx, p.readIDs); err != nil {
			return exitCode(err), err
		}
	}
	pace := newPacer(p.perMinute)
	client, err := chatdm.NewClient(token, chatdm.WithBaseURL(root), chatdm.WithLimiter(pace),
		// A sweep is not urgent, so it waits even through a long pause.
		chatdm.WithRetry(chatdm.RetryPolicy{MaxRetryAfter: time.Hour}))
	if err != nil {
		return exitUsage, err
	}

	j := new(journal)
	if p.resume || !p.dryRun {
		create := !p.dryRun && (given != nil || p.list)
		if j, err = openJournal(p.journal, create); err != nil {
			return exitUsage, err
		}
		defer j.close()
		if err := p.checkJournal(j, given); err != nil {
			return exitUsage, err
		}
	}
	me, err := whoami(ctx, client, root)
	if err != nil {
		return exitCode(err), err
	}
	if j.list != nil && j.list.account != me {
		return exitUsage, fmt.Errorf("the journal %s belongs to user %s of %s at %s, but the token belongs to %s of %s at %s", p.journal,
			j.list.UserID, j.list.TeamID, j.list.Server, me.UserID, me.TeamID, me.Server)
	}
	pending := given
	switch {
	case j.list != nil:
		pending = j.pending()
	case p.list:
		if pending, err = directMessages(ctx, client); err != nil {
			return exitCode(err), err
		}
		if len(pending) == 0 {
			fmt.Fprintln(p.stderr, "sweep: found no direct messages to close")
			return exitOK, nil
		}
	}

	if p.dryRun {
		fmt.Fprintf(p.stderr, "sweep: would close %d IDs as %s\n", len(pending), me.UserID)
		for _, id := range pending {
			fmt.Fprintln(p.stdout, id)
		}
		return exitOK, nil
	}
	if j.dropped {
		fmt.Fprintln(p.stderr, "sweep: dropped the last line of the journal, which is incomplete")
	}
	if j.list == nil {
		err = j.begin(list{me, pending})
	} else {
		fmt.Fprintf(p.stderr, "sweep: resuming with %d of %d IDs\n", len(pending), len(j.list.IDs))
		err = j.resume()
	}
	if err != nil {
		return exitUsage, err
	}
	return p.close(ctx, &sweep{
		client: client, journal: j, pace: pace, grace: cmp.Or(p.grace, defaultGrace), failures: make(map[string]error),
	})
}

// close runs the sweep, prints the summary, and returns the exit code.
func (p *program) close(ctx context.Context, s *sweep) (int, error) {
	endProgress := showProgress(ctx, s, p.stderr)
	err := s.run(ctx, p.concurrency)
	endProgress()
	return p.report(ctx, s, err)
}
