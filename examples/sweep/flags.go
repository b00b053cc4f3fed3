package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
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
