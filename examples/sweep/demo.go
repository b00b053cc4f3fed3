package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

// demo sweeps a fake Slack that sometimes fails, and prints which requests the fake
// Slack received.
func (p *program) demo(ctx context.Context) (int, error) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	dir, err := os.MkdirTemp("", "sweep")
	if err != nil {
		return exitUsage, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	client, err := chatdm.NewClient(chatdmtest.UserToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		return exitUsage, err
	}

	// 40 direct messages, the last of which is closed already.
	dms, err := fakeslack.OpenDMs(ctx, slack, client, 40)
	if err != nil {
		return exitCode(err), err
	}
	if _, err := client.Conversations.Close(ctx, dms[39]); err != nil {
		return exitCode(err), err
	}
	ids := strings.Join(append(dms, "D0UNKNOWN", "C0GENERAL"), "\n")
	slack.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general"})
	// One call takes effect but its response is lost, one fails, and the rate limit
	// is low.
	slack.Fail("conversations.close", 1, chatdmtest.Fault{})
	slack.Fail("conversations.close", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	slack.Fail("conversations.close", 1, chatdmtest.Fault{Status: http.StatusServiceUnavailable})
	slack.Limit("conversations.close", 15, 2*time.Second)
	slack.ResetRequests()

	out := p.stdout
	if p.json == "-" || p.dryRun { // nothing else may go to standard output
		out = p.stderr
	}
	fmt.Fprintf(out, "A fake Slack listens on %s. It has 40 direct messages. The list of IDs\nalso contains a channel and an unknown ID.\n\n", slack.URL)
	d := *p
	d.stdin, d.ids, d.journal = strings.NewReader(ids), "-", filepath.Join(dir, "sweep.journal")
	if !p.perMinuteSet {
		d.perMinute = 500 // takes a few seconds and exceeds the limit
	}
	code, err := d.sweep(ctx, chatdmtest.UserToken, slack.URL)
	switch {
	case code == exitInterrupted:
		return code, errors.New("interrupted; the demo does not keep its journal")
	case err != nil || d.dryRun:
		return code, err
	}

	byStatus := fakeslack.Statuses(slack, "conversations.close")
	// Slack does not list which direct messages are open, but a second close shows
	// which were.
	slack.Limit("conversations.close", 0, 0)
	open, err := fakeslack.StillOpen(ctx, client, dms)
	if err != nil {
		return exitCode(err), err
	}
	fmt.Fprintf(out, "\nThe server received %d requests that succeeded or named a bad ID, %d above the rate limit (429),\n%d that failed with 503, and %d whose response was lost. %d direct messages are still open.\n",
		byStatus[200], byStatus[429], byStatus[503], byStatus[0], len(open))
	fmt.Fprintf(out, "Outside of the demo, the exit code would be %d, because two IDs could not be closed.\n", code)
	return exitOK, nil
}
