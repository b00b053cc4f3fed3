package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

const demoPeople = `email,name,day,team
alice@example.com,Alice,Monday,R&D
bob@example.com,Bob,Monday,R&D
carol@example.com,Carol,Tuesday,Sales
dave@example.com,Dave,Tuesday,Sales
nobody@example.com,Nobody,Tuesday,Sales
erin@example.com,Erin,Tuesday,R&D
frank@example.com,Frank,Wednesday,R&D
grace@example.com,Grace,Wednesday,Sales
heidi@example.com,Heidi,Wednesday,Sales
`

const demoText = `Hi {{.name}}, your laptop is due on {{.day}}.{{if eq .team "R&D"}} {{.team}}: please bring the dock, too.{{end}}
`

// demo reminds people on a fake Slack that loses responses. It interrupts the run, runs it
// again, and prints what the fake Slack received.
func (p *program) demo(ctx context.Context) (int, error) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	dir, err := os.MkdirTemp("", "remind")
	if err != nil {
		return exitUsage, err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	d := *p
	d.env = func(name string) string {
		return map[string]string{"SLACK_TOKEN": chatdmtest.BotToken, "SLACK_API_URL": slack.URL}[name]
	}
	d.stderr = p.stdout // in order
	d.people, d.text, d.name = filepath.Join(dir, "people.csv"), filepath.Join(dir, "reminder.txt"), "laptops"
	d.state, d.settle, d.grace = d.people+".state", 3*time.Second, time.Second
	for path, content := range map[string]string{d.people: demoPeople, d.text: demoText} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return exitUsage, err
		}
	}
	// The responses to two posts are lost. One of the posts takes effect a second later.
	lost := chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}
	late := chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, ApplyAfter: time.Second}
	slack.Fail("chat.postMessage", 1, lost)
	slack.Fail("chat.postMessage", 3, chatdmtest.Fault{})
	slack.Fail("chat.postMessage", 1, late)

	fmt.Fprintf(p.stdout, "A fake Slack listens on %s. It loses some responses.\n\n$ remind -people people.csv -text reminder.txt -run laptops\n", slack.URL)
	first := d
	interrupted, interrupt := context.WithCancel(ctx)
	defer interrupt()
	first.stdout = &countdown{Writer: p.stdout, lines: 3, end: func() {
		fmt.Fprintln(p.stdout, "^C")
		interrupt()
	}}
	_, err = first.remind(interrupted)
	if ctx.Err() != nil {
		return exitInterrupted, ctx.Err()
	}
	fmt.Fprintf(p.stdout, "remind: %v\n\n$ remind -people people.csv -text reminder.txt -run laptops\n", err)
	code, err := d.remind(ctx)
	if err != nil {
		return code, err
	}

	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		return exitUsage, err
	}
	people := []string{
		chatdmtest.Alice, chatdmtest.Bob, chatdmtest.Carol, chatdmtest.Dave,
		chatdmtest.Erin, chatdmtest.Frank, chatdmtest.Grace, chatdmtest.Heidi,
	}
	messages, err := fakeslack.Messages(ctx, slack, client, people...)
	if err != nil {
		return exitCode(err), err
	}
	byStatus := fakeslack.Statuses(slack, "chat.postMessage")
	fmt.Fprintf(p.stdout, "\nThe exit code is %d, because one person could not be reached. The fake Slack received\n%d posts, and lost the responses to %d. It has these messages:\n",
		code, byStatus[200]+byStatus[0], byStatus[0])
	for i, list := range messages {
		if len(list) != 1 {
			return exitIncomplete, fmt.Errorf("got %d messages for %s, want 1", len(list), people[i])
		}
		fmt.Fprintln(p.stdout, "  "+list[0].Text)
	}
	return exitOK, nil
}

// countdown calls end after a number of lines.
type countdown struct {
	io.Writer
	lines int
	end   func()
}

func (c *countdown) Write(text []byte) (int, error) {
	n, err := c.Writer.Write(text)
	before := c.lines
	if c.lines -= bytes.Count(text, []byte("\n")); before > 0 && c.lines <= 0 {
		c.end()
	}
	return n, err
}
