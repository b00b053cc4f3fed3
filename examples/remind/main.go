// Remind sends a reminder to many people as direct messages, on Slack or Rocket.Chat.
// You can stop or kill it at any time and run it again, and nobody is reminded twice.
//
//	remind -people people.csv -text reminder.txt -run 2026-11-21
//
// The CSV has one person per line: an email address (on Rocket.Chat, a username). If its
// first line is a header, the text can use the other columns, as in this reminder.txt:
//
//	Hi {{.name}}, your laptop is due on {{.day}}. Please bring it to <#C024BE91L>.
//
// It needs no list of the people that it has reminded, because each message has a key
// that contains the name of the run. chatdm posts one message per key and conversation.
//
// Without configuration, it runs a demo on a fake Slack. -help lists the settings.
//
// This file prepares a run, worker.go makes the calls, and slack.go and rocketchat.go hold
// what differs between the platforms.
package main

import (
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
	p := &program{env: os.Getenv, stdout: os.Stdout, stderr: os.Stderr, settle: 90 * time.Second, grace: 5 * time.Second}
	os.Exit(p.run(ctx, os.Args[1:]))
}

// program is one run of the program.
type program struct {
	env            func(string) string
	stdout, stderr io.Writer
	settle         time.Duration   // see chatdm.WithSettleTime
	grace          time.Duration   // for calls in flight after an interrupt
	options        []chatdm.Option // for the tests

	// The flags.
	people, text, name, state string
	dryRun                    bool
	perMinute                 int
}

// The exit codes.
const (
	exitOK          = 0
	exitIncomplete  = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// platform is Slack or Rocket.Chat, as the owner of a token.
type platform interface {
	// check checks the token, and returns the name of its owner.
	check(ctx context.Context) (owner string, err error)
	// find returns the ID of a person, and a name to show.
	find(ctx context.Context, person string) (id, name string, err error)
	// open opens the direct message with a person.
	open(ctx context.Context, id string) (conversation string, err error)
	// post posts a text, unless the conversation already has a message with the key.
	post(ctx context.Context, conversation, text, key string) (alreadyPosted bool, err error)
}

// run returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	help, err := p.parse(args)
	code := exitUsage
	switch {
	case err != nil:
	case help:
		code = exitOK
	case p.configured() == nil:
		code, err = p.demo(ctx)
	default:
		code, err = p.remind(ctx)
	}
	if err != nil {
		fmt.Fprintln(p.stderr, "remind:", err)
	}
	return code
}

// remind reminds all people in the CSV, and returns the exit code.
func (p *program) remind(ctx context.Context) (int, error) {
	// Find mistakes in the input before anyone gets a message.
	rules := slackRules
	if p.onRocketChat() {
		rules = rocketChatRules
	}
	people, err := readPeople(p.people, rules)
	if err != nil {
		return exitUsage, err
	}
	if people, err = compose(p.text, people, rules); err != nil {
		return exitUsage, err
	}

	// Lock the state before creating the client. Once another process has released it,
	// only calls that it has already sent can take effect, and the client waits for those.
	var since time.Time // when the first run with this name began
	var state *state
	if !p.dryRun {
		if state, err = openState(p.state); err != nil {
			return exitUsage, err
		}
		defer state.close()
		since = state.runs[p.name]
	}
	platform, err := p.connect(since)
	if err != nil {
		return exitUsage, err
	}
	owner, err := platform.check(ctx)
	if err != nil {
		return exitCode(err), err
	}
	switch {
	case p.dryRun:
		fmt.Fprintf(p.stderr, "Looking for %s as %s. A dry run posts nothing.\n", count(len(people)), owner)
	case since.IsZero():
		fmt.Fprintf(p.stderr, "Reminding %s as %s.\n", count(len(people)), owner)
		if err := state.begin(p.name, time.Now()); err != nil {
			return exitUsage, err
		}
	default:
		fmt.Fprintf(p.stderr, "Reminding %s as %s.\n%s\n", count(len(people)), owner, rules.restarted(since, p.settle))
	}

	j := &job{platform: platform, people: people, key: keyPrefix + p.name, dryRun: p.dryRun, grace: p.grace, out: p.stdout}
	err = j.run(ctx)
	return p.report(j, err)
}
