// Sweep closes many direct messages: those in a file, on standard input, or in
// conversations.list. It stays under Slack's rate limit and shows its progress.
// It also writes a journal, so that it can resume after a Ctrl-C or a crash at
// any time without skipping an ID.
//
// Without SLACK_TOKEN, it runs a demo on a fake Slack.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/chatdm/chatdm"
)

// The exit codes.
const (
	exitOK          = 0
	exitUsage       = 1
	exitIncomplete  = 2
	exitDenied      = 3
	exitInterrupted = 130
)

// slackTier is how many calls of conversations.close Slack allows per minute.
const slackTier = 20

const usage = `Usage: sweep -ids FILE | -list  [flags]     close direct messages
       sweep -resume            [flags]     continue an earlier sweep
       sweep                                run a demo on a fake Slack

Set SLACK_TOKEN to a token with the scopes im:write and mpim:write. -list also
needs im:read and mpim:read. SLACK_API_URL replaces https://slack.com/api. The
summary goes to standard output, everything else to standard error.

`

const exitCodes = `
Exit codes:
  0    every ID is closed
  1    a flag, a setting, the IDs, or the journal is invalid
  2    some IDs could not be closed, or are still pending
  3    IDs are pending because Slack rejected the token or denied it a permission
  130  interrupted; a second Ctrl-C does not wait for running calls
After 2, 3, 130, or a crash, -resume closes the pending IDs. A 429 in the first
minute is normal: Slack still counts the calls of the earlier sweep.

The summary counts the IDs by outcome. "Closed by earlier attempt" means that the
conversation was closed already, and that an attempt whose response was lost may
have closed it. The outcome of an ID that is not closed is the kind of its error.
`

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

// parse parses the flags. It reports whether it printed the help text.
func (p *program) parse(args []string) (help bool, err error) {
	flags := flag.NewFlagSet("sweep", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&p.ids, "ids", "", "close the IDs in `FILE`, one per line; - is standard input, and # starts a comment")
	flags.BoolVar(&p.list, "list", false, "close the direct messages and open group messages in conversations.list")
	flags.StringVar(&p.journal, "journal", "sweep.journal", "write the journal to `FILE`")
	flags.BoolVar(&p.resume, "resume", false, "continue the sweep of the journal; with -ids or -list, begin one if there is no journal")
	flags.BoolVar(&p.dryRun, "dry-run", false, "only print the IDs that would be closed")
	flags.IntVar(&p.concurrency, "concurrency", 4, "run at most `N` calls at once")
	flags.IntVar(&p.perMinute, "per-minute", slackTier, "send at most `N` calls per minute; 0 means no limit but the server's")
	flags.StringVar(&p.json, "json", "", "write the summary as JSON to `FILE`; - is standard output, instead of the table")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.stdout, usage)
		flags.SetOutput(p.stdout)
		flags.PrintDefaults()
		fmt.Fprint(p.stdout, exitCodes)
		return true, nil
	} else if err != nil {
		return false, fmt.Errorf("%w; -help lists the flags", err)
	}
	flags.Visit(func(f *flag.Flag) { p.perMinuteSet = p.perMinuteSet || f.Name == "per-minute" })
	return false, p.check(flags.Args())
}

// check returns an error if the flags are invalid.
func (p *program) check(args []string) error {
	demo := p.env("SLACK_TOKEN") == ""
	switch {
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q; -help lists the flags", args[0])
	case p.ids != "" && p.list:
		return errors.New("-ids and -list cannot be combined")
	case demo && (p.ids != "" || p.list || p.resume):
		return errors.New("SLACK_TOKEN is not set; the demo, which needs no token, takes no -ids, -list, or -resume")
	case !demo && p.ids == "" && !p.list && !p.resume:
		return errors.New("nothing to close: use -ids, -list, or -resume; -help shows the usage")
	case p.concurrency < 1:
		return fmt.Errorf("-concurrency: got %d, must be positive", p.concurrency)
	case p.perMinute < 0 || p.perMinute > 100_000:
		return fmt.Errorf("-per-minute: got %d, want 0 to 100,000", p.perMinute)
	case p.dryRun && p.json != "":
		return errors.New("-dry-run and -json cannot be combined: a dry run has no summary")
	case p.journal == "":
		return errors.New("-journal: must not be empty")
	}
	return p.checkFiles()
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

// checkJournal returns an error if this run cannot use the journal.
func (p *program) checkJournal(j *journal, given []string) error {
	sameIDs := func(a, b []string) bool {
		return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
	}
	switch {
	case j.list == nil && given == nil && !p.list:
		return fmt.Errorf("the journal %s is missing or empty: begin with -ids or -list", p.journal)
	case j.list != nil && !p.resume && len(j.pending()) == 0:
		return fmt.Errorf("the sweep of the journal %s is complete: remove the journal, or use another", p.journal)
	case j.list != nil && !p.resume:
		return fmt.Errorf("the sweep of the journal %s is not complete: use -resume, or another journal", p.journal)
	case j.list != nil && given != nil && !sameIDs(given, j.list.IDs):
		return fmt.Errorf("the journal %s has a different list of IDs: omit -ids, or use another journal", p.journal)
	}
	return nil
}

// close runs the sweep, prints the summary, and returns the exit code.
func (p *program) close(ctx context.Context, s *sweep) (int, error) {
	endProgress := showProgress(ctx, s, p.stderr)
	err := s.run(ctx, p.concurrency)
	endProgress()

	sum := s.summary()
	switch {
	case sum.Pending == 0: // complete, even if something stopped the sweep at the end
		err = nil
		if len(sum.Failures) > 0 {
			sum.ExitCode = exitIncomplete
		}
	case ctx.Err() != nil:
		sum.Status, sum.ExitCode = "interrupted", exitInterrupted
		err = errors.New("interrupted")
	case s.journal.err != nil:
		sum.Status, sum.ExitCode = "journal_failed", exitUsage
	default:
		sum.Status, sum.ExitCode = "incomplete", exitIncomplete
		if s.denied {
			sum.ExitCode = exitDenied
		}
		if err == nil {
			err = errors.New("incomplete")
		}
	}
	if err != nil {
		err = fmt.Errorf("%w; %d IDs are pending: continue with -resume -journal %s", err, sum.Pending, p.journal)
	}
	if p.json != "-" {
		sum.table(p.stdout)
	}
	if jsonErr := p.writeJSON(sum); jsonErr != nil {
		return exitUsage, fmt.Errorf("cannot write the summary: %w", jsonErr)
	}
	return sum.ExitCode, err
}

// createJSON creates the file of -json, so that a bad path fails before the
// sweep rather than after it.
func (p *program) createJSON() error {
	if p.json == "" || p.json == "-" {
		return nil
	}
	file, err := os.OpenFile(p.json, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	return file.Close()
}

func (p *program) writeJSON(sum *summary) error {
	switch p.json {
	case "":
		return nil
	case "-":
		return sum.json(p.stdout)
	}
	var text bytes.Buffer
	if err := sum.json(&text); err != nil {
		return err
	}
	return os.WriteFile(p.json, text.Bytes(), 0o600)
}

// interruptible returns the results of read, or the error of ctx if ctx ends first.
// A read from a terminal cannot be interrupted.
func interruptible(ctx context.Context, read func() ([]string, error)) ([]string, error) {
	type result struct {
		ids []string
		err error
	}
	done := make(chan result, 1)
	go func() {
		ids, err := read()
		done <- result{ids, err}
	}()
	select {
	case r := <-done:
		return r.ids, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// whoami returns the account of the token.
func whoami(ctx context.Context, client *chatdm.Client, root string) (account, error) {
	var me account
	_, err := client.Call(ctx, "auth.test", nil, &me)
	me.Server = strings.TrimRight(root, "/")
	return me, err
}

// directMessages returns the IDs of the conversations that may be open. Slack
// reports that only for group messages.
func directMessages(ctx context.Context, client *chatdm.Client) (ids []string, err error) {
	for channel, err := range client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im", "mpim"}, Limit: 200}) {
		if err != nil {
			return nil, err
		}
		if channel.IsIM || channel.IsOpen {
			ids = append(ids, channel.ID)
		}
	}
	return ids, nil
}

// exitCode returns the exit code for an error that precedes the first close.
func exitCode(err error) int {
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied):
		return exitDenied
	}
	return exitUsage
}
