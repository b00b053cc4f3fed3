package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"
)

const usage = `Usage: remind -people FILE -text FILE -run NAME [flags]
       remind                   run a demo on a fake Slack

For Slack, set SLACK_TOKEN to the bot token of an app with the scopes chat:write,
im:write, im:history, and users:read.email. SLACK_API_URL replaces
https://slack.com/api. For Rocket.Chat, set ROCKETCHAT_URL, ROCKETCHAT_USER_ID,
and ROCKETCHAT_AUTH_TOKEN.

`

const moreUsage = `
The CSV has one person per line: an email address, or on Rocket.Chat a username.
If the first line is a header, the person is in the column "email" (or "username"),
and the text can use every column: {{.name}}, or {{index . "first name"}}. On Slack,
the text can have links and mentions such as <@U012AB3CD>, but the values of columns
are escaped. See https://pkg.go.dev/text/template.

To continue after Ctrl-C, a crash, or an error, run the same command again. Nobody
is reminded twice. Run only one process at a time, and keep the state file, which
records when the first run with each name began.

Exit codes:
  0    everyone has been reminded
  1    some people could not be reached, or the outcome is unknown
  2    a flag, a setting, a file, or the token is invalid, or a permission is missing
  130  interrupted
`

// keyPrefix precedes the name of the run in the key of each message.
const keyPrefix = "reminder/"

// parse parses the flags. It reports whether it printed the help text.
func (p *program) parse(args []string) (help bool, err error) {
	flags := flag.NewFlagSet("remind", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&p.people, "people", "", "remind the people in the CSV `FILE`")
	flags.StringVar(&p.text, "text", "", "send each of them the text in the template `FILE`")
	flags.StringVar(&p.name, "run", "", "the `NAME` of this reminder, for example 2026-11-21; later runs with this name continue it")
	flags.StringVar(&p.state, "state", "", "remember in `FILE` when the first run began (default: the name of the CSV plus .state)")
	flags.BoolVar(&p.dryRun, "dry-run", false, "find the people and print the texts, but post nothing")
	flags.IntVar(&p.perMinute, "per-minute", 10, "on Rocket.Chat, call each endpoint at most `N` times per minute; 0 means no limit")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(p.stdout, usage)
		flags.SetOutput(p.stdout)
		flags.PrintDefaults()
		fmt.Fprint(p.stdout, moreUsage)
		return true, nil
	} else if err != nil {
		return false, fmt.Errorf("%w; -help lists the flags", err)
	}
	p.state = cmp.Or(p.state, p.people+".state")
	const maxName = 128 - len(keyPrefix)
	missing := p.missing()
	switch {
	case flags.NArg() > 0:
		return false, fmt.Errorf("unexpected argument %q; -help lists the flags", flags.Arg(0))
	case p.configured() == nil && flags.NFlag() > 0:
		return false, errors.New("neither SLACK_TOKEN nor ROCKETCHAT_URL is set; the demo, which needs neither, takes no flags")
	case p.configured() == nil:
		return false, nil
	case p.env("SLACK_TOKEN") != "" && p.onRocketChat():
		return false, fmt.Errorf("both SLACK_TOKEN and %s are set; set only those of one platform", p.configured()[1])
	case missing != "":
		return false, fmt.Errorf("%s is set, but %s is not", p.configured()[0], missing)
	case p.people == "":
		return false, errors.New("-people: must name a CSV file; -help shows the usage")
	case p.text == "":
		return false, errors.New("-text: must name a file with a template; -help shows the usage")
	case strings.TrimSpace(p.name) == "":
		return false, errors.New("-run: must not be empty; choose a name for this reminder, such as 2026-11-21, and use it again to continue")
	case len(p.name) > maxName:
		return false, fmt.Errorf("-run: got %d bytes, want at most %d", len(p.name), maxName)
	case p.perMinute < 0:
		return false, fmt.Errorf("-per-minute: got %d, must not be negative", p.perMinute)
	}
	return false, nil
}

var rocketChatSettings = []string{"ROCKETCHAT_URL", "ROCKETCHAT_USER_ID", "ROCKETCHAT_AUTH_TOKEN"}

// configured returns the settings that are set.
func (p *program) configured() (set []string) {
	for _, name := range append([]string{"SLACK_TOKEN"}, rocketChatSettings...) {
		if p.env(name) != "" {
			set = append(set, name)
		}
	}
	return set
}

// missing returns a setting of Rocket.Chat that is not set although others are.
func (p *program) missing() string {
	for _, name := range rocketChatSettings {
		if p.onRocketChat() && p.env(name) == "" {
			return name
		}
	}
	return ""
}

func (p *program) onRocketChat() bool {
	for _, name := range rocketChatSettings {
		if p.env(name) != "" {
			return true
		}
	}
	return false
}

// connect returns the platform of the settings.
func (p *program) connect(since time.Time) (platform, error) {
	if p.onRocketChat() {
		return newRocketChat(p)
	}
	return newSlack(p, since)
}
