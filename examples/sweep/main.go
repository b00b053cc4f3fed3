// Sweep closes many direct messages: those that a file, standard input or
// conversations.list names. It keeps to Slack's pace, shows how far it is, and
// writes a journal, with which it goes on after a Ctrl-C or a crash at any
// instant and skips none.
//
// Without SLACK_TOKEN it shows all that on a Slack of its own.
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
	"github.com/chatdm/chatdm/examples/internal/ids"
)

// The exit codes.
const (
	exitClosed      = 0
	exitSetup       = 1
	exitNotAll      = 2
	exitCredential  = 3
	exitInterrupted = 130
)

// slackTier is how many calls of conversations.close a minute Slack allows.
const slackTier = 20

const usage = `Usage: sweep -ids FILE | -list  [flags]     closes direct messages
       sweep -resume            [flags]     goes on where a sweep ended
       sweep                                shows it on a Slack of its own

The settings are SLACK_TOKEN, with the scopes im:write and mpim:write (for -list
im:read and mpim:read as well), and SLACK_API_URL for another root of the API
than https://slack.com/api. The summary goes to standard output, everything else
to standard error.

`

const exits = `
Exit codes:
  0    every id is closed, or was closed already
  1    the flags, the settings, the ids or the journal will not do
  2    some ids could not be closed, or have no answer yet
  3    the token was refused, or lacks a scope
  130  interrupted; a second Ctrl-C does not wait for the calls under way
After 2, 3 and 130, and after a crash, -resume asks the ids without an answer.
A refusal in its first minute is no harm: the calls before it count at Slack.

The summary counts by outcome. "Closed by earlier try" is an id whose first answer
was lost: it was closed already when it was asked again. What is not closed is there
by the kind of its error.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that the second signal ends the process
	p := &program{env: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is one run of it.
type program struct {
	env            func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	grace          time.Duration // 0 is defaultGrace

	ids         string
	list        bool
	journal     string
	resume      bool
	dryRun      bool
	concurrency int
	perMinute   int
	paced       bool // perMinute was given
	json        string
}

// run returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	code := exitSetup
	help, err := p.parse(args)
	switch token := p.env("SLACK_TOKEN"); {
	case err != nil:
	case help:
		code = 0
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

// parse reads the flags. Where they ask for help, it has been given.
func (p *program) parse(args []string) (help bool, err error) {
	flags := flag.NewFlagSet("sweep", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&p.ids, "ids", "", "close the ids in `FILE`, one a line; - is standard input; what follows a # and what comes twice does not count")
	flags.BoolVar(&p.list, "list", false, "close the direct messages that conversations.list names, groups if they are open")
	flags.StringVar(&p.journal, "journal", "sweep.journal", "write the journal to `FILE`; beside it is FILE.lock, which stays")
	flags.BoolVar(&p.resume, "resume", false, "go on with the journal; with -ids or -list, begin where there is none yet")
	flags.BoolVar(&p.dryRun, "dry-run", false, "close nothing: print the ids that would be asked")
	flags.IntVar(&p.concurrency, "concurrency", 4, "have at most `N` calls under way")
	flags.IntVar(&p.perMinute, "per-minute", slackTier, "send at most `N` calls a minute; 0 leaves it to the server's refusals")
	flags.StringVar(&p.json, "json", "", "write the summary as JSON to `FILE`; - is standard output, in place of the table")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.stdout, usage)
		flags.SetOutput(p.stdout)
		flags.PrintDefaults()
		fmt.Fprint(p.stdout, exits)
		return true, nil
	} else if err != nil {
		return false, fmt.Errorf("%w; -help lists the flags", err)
	}
	flags.Visit(func(f *flag.Flag) { p.paced = p.paced || f.Name == "per-minute" })
	return false, p.check(flags.Args())
}

func (p *program) check(args []string) error {
	demo := p.env("SLACK_TOKEN") == ""
	switch {
	case len(args) > 0:
		return fmt.Errorf("%q is no flag; -help lists them", args[0])
	case p.ids != "" && p.list:
		return errors.New("-ids and -list: only one of them")
	case demo && (p.ids != "" || p.list || p.resume):
		return errors.New("SLACK_TOKEN is not set; without it, only the demonstration runs, which has ids of its own")
	case !demo && p.ids == "" && !p.list && !p.resume:
		return errors.New("nothing to close: give -ids, -list or -resume; -help says more")
	case p.concurrency < 1:
		return fmt.Errorf("-concurrency: %d is less than one", p.concurrency)
	case p.perMinute < 0 || p.perMinute > 100_000:
		return fmt.Errorf("-per-minute: %d is not between 0 and 100,000", p.perMinute)
	case p.dryRun && p.json != "":
		return errors.New("-dry-run and -json: there is no summary of what was not done")
	case p.journal == "":
		return errors.New("-journal: empty")
	}
	return nil
}

// sweep is the whole of it against one server.
func (p *program) sweep(ctx context.Context, token, root string) (int, error) {
	if p.json != "" && p.json != "-" { // to find out at the end would be late
		file, err := os.OpenFile(p.json, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return exitSetup, fmt.Errorf("-json: %w", err)
		}
		file.Close()
	}
	var given []string
	if p.ids != "" {
		var err error
		if given, err = p.readIDs(ctx); err != nil {
			return exitCode(err), err
		}
	}
	pace := newPacer(p.perMinute)
	client, err := chatdm.NewClient(token, chatdm.WithBaseURL(root), chatdm.WithLimiter(pace),
		// Nobody waits for a sweep: it sits out what a bot would not.
		chatdm.WithRetry(chatdm.RetryPolicy{MaxRetryAfter: time.Hour}))
	if err != nil {
		return exitSetup, err
	}

	j := new(journal)
	if p.resume || !p.dryRun {
		if j, err = openJournal(p.journal); err != nil {
			return exitSetup, err
		}
		defer j.close()
		if err := p.fits(j, given); err != nil {
			return exitSetup, err
		}
	}
	me, err := whoami(ctx, client, root)
	if err != nil {
		return exitCode(err), err
	}
	if j.list != nil && j.list.account != me {
		return exitSetup, fmt.Errorf("the journal %s is of the user %s of %s at %s, and the token is of %s of %s at %s", p.journal,
			j.list.UserID, j.list.TeamID, j.list.Server, me.UserID, me.TeamID, me.Server)
	}
	left := given
	switch {
	case j.list != nil:
		left = j.left()
	case p.list:
		if left, err = directMessages(ctx, client); err != nil {
			return exitCode(err), err
		}
		if len(left) == 0 {
			fmt.Fprintln(p.stderr, "sweep: there is no direct message to close")
			return exitClosed, nil
		}
	}

	if p.dryRun {
		fmt.Fprintf(p.stderr, "sweep: would ask %d ids as %s\n", len(left), me.UserID)
		for _, id := range left {
			fmt.Fprintln(p.stdout, id)
		}
		return exitClosed, nil
	}
	if j.torn {
		fmt.Fprintf(p.stderr, "sweep: the last line of the journal was cut off in the middle of a write, and is left out\n")
	}
	if j.list == nil {
		err = j.begin(list{me, left})
	} else {
		fmt.Fprintf(p.stderr, "sweep: goes on with %d of %d ids\n", len(left), len(j.list.IDs))
		err = j.goOn()
	}
	if err != nil {
		return exitSetup, err
	}
	return p.close(ctx, &sweep{
		client: client, journal: j, pace: pace, grace: cmp.Or(p.grace, defaultGrace), unanswered: make(map[string]error),
	})
}

// fits says why this run may not use the journal, if so.
func (p *program) fits(j *journal, given []string) error {
	switch {
	case j.list == nil && given == nil && !p.list:
		return fmt.Errorf("the journal %s is not there, or has no list of ids: begin with -ids or -list", p.journal)
	case j.list != nil && !p.resume && len(j.left()) == 0:
		return fmt.Errorf("the journal %s is of a sweep that is complete: remove it, or name another", p.journal)
	case j.list != nil && !p.resume:
		return fmt.Errorf("the journal %s is of a sweep that is not complete: go on with -resume, or name another", p.journal)
	case j.list != nil && given != nil && !slices.Equal(slices.Sorted(slices.Values(given)), slices.Sorted(slices.Values(j.list.IDs))):
		return fmt.Errorf("the journal %s is of another list of ids: leave -ids out, or name another journal", p.journal)
	}
	return nil
}

// close runs the sweep and sums it up.
func (p *program) close(ctx context.Context, s *sweep) (int, error) {
	end := follow(ctx, s, p.stderr)
	err := s.run(ctx, p.concurrency)
	end()

	sum := s.summary()
	sum.ExitCode = exitClosed
	if sum.Left > 0 || len(sum.Failures) > 0 {
		sum.ExitCode = exitNotAll
	}
	switch {
	case sum.Left == 0: // whatever stopped it came too late
		err = nil
	case err == nil:
		sum.Ended, err = "incomplete", errors.New("incomplete")
	case ctx.Err() != nil:
		sum.Ended, sum.ExitCode = "interrupted", exitInterrupted
		err = errors.New("interrupted")
	case errors.Is(err, errRefused):
		sum.Ended, sum.ExitCode = "credential_refused", exitCredential
	case s.journal.err != nil:
		sum.Ended, sum.ExitCode = "journal_failed", exitSetup
	default:
		sum.Ended = "no_answers"
	}
	if err != nil {
		err = fmt.Errorf("%w; %d ids have no answer: go on with -resume -journal %s", err, sum.Left, p.journal)
	}
	if p.json != "-" {
		sum.table(p.stdout)
	}
	if jsonErr := p.writeJSON(sum); jsonErr != nil {
		return exitSetup, fmt.Errorf("the summary cannot be written: %w", jsonErr)
	}
	return sum.ExitCode, err
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

// readIDs reads the file of ids, or standard input.
func (p *program) readIDs(ctx context.Context) ([]string, error) {
	name, in := p.ids, p.stdin
	if name == "-" {
		name = "standard input"
	} else {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("-ids: %w", err)
		}
		defer file.Close()
		in = file
	}
	type result struct {
		ids []string
		err error
	}
	read := make(chan result, 1)
	go func() { // who types the ids in can still interrupt
		given, err := ids.Read(in)
		read <- result{given, err}
	}()
	select {
	case r := <-read:
		if r.err != nil {
			return nil, fmt.Errorf("-ids: %s: %w", name, r.err)
		}
		return r.ids, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// whoami finds out whose the token is, and that it is good.
func whoami(ctx context.Context, client *chatdm.Client, root string) (account, error) {
	var me account
	_, err := client.Call(ctx, "auth.test", nil, &me)
	me.Server = strings.TrimRight(root, "/")
	return me, err
}

// directMessages are those that may be open.
func directMessages(ctx context.Context, client *chatdm.Client) (ids []string, err error) {
	for channel, err := range client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im", "mpim"}, Limit: 200}) {
		if err != nil {
			return nil, err
		}
		if channel.IsIM || channel.IsOpen { // Slack says of groups only whether they are open
			ids = append(ids, channel.ID)
		}
	}
	return ids, nil
}

// exitCode is that of an error before the first id.
func exitCode(err error) int {
	switch {
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied):
		return exitCredential
	}
	return exitSetup
}
