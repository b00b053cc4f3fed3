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
)

// demo sweeps a Slack in this process, on which not everything goes well, and
// says what that Slack has seen.
func (p *program) demo(ctx context.Context) (int, error) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	dir, err := os.MkdirTemp("", "sweep")
	if err != nil {
		return exitSetup, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	client, err := chatdm.NewClient(chatdmtest.UserToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		return exitSetup, err
	}

	// Forty direct messages, of which the last is closed already.
	var dms []string
	for i := range 40 {
		user := chatdmtest.User{ID: fmt.Sprintf("U%08d", i+1)}
		slack.AddUser(user)
		dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user.ID}})
		if err != nil {
			return exitCode(err), err
		}
		if dms = append(dms, dm.Channel.ID); i == 39 {
			if _, err := client.Conversations.Close(ctx, dm.Channel.ID); err != nil {
				return exitCode(err), err
			}
		}
	}
	ids := strings.Join(append(dms, "D0UNKNOWN", "C0GENERAL"), "\n")
	slack.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general"})
	// One answer gets lost, one is a failure, and the limit is low.
	slack.Fail("conversations.close", 1, chatdmtest.Fault{})
	slack.Fail("conversations.close", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	slack.Fail("conversations.close", 1, chatdmtest.Fault{Status: http.StatusServiceUnavailable})
	slack.Limit("conversations.close", 15, 2*time.Second)
	slack.ResetRequests()

	out := p.stdout
	if p.json == "-" || p.dryRun { // which have standard output for themselves
		out = p.stderr
	}
	fmt.Fprintf(out, "A Slack of our own listens on %s. On it are 40 direct messages; a channel\nand an id that nobody knows are among the ids as well.\n\n", slack.URL)
	d := *p
	d.stdin, d.ids, d.journal = strings.NewReader(ids), "-", filepath.Join(dir, "sweep.journal")
	if !p.paced {
		d.perMinute = 500 // to run into the limit, and to be done in a few seconds
	}
	code, err := d.sweep(ctx, chatdmtest.UserToken, slack.URL)
	switch {
	case code == exitInterrupted:
		return code, errors.New("interrupted; the journal of the demonstration is not kept")
	case err != nil || d.dryRun:
		return code, err
	}

	seen := make(map[int]int)
	for _, r := range slack.Requests() {
		if r.Method == "conversations.close" {
			seen[r.Status]++
		}
	}
	// Slack does not list which are open: whatever was, another close tells.
	slack.Limit("conversations.close", 0, 0)
	open := 0
	for _, id := range dms {
		closed, err := client.Conversations.Close(ctx, id)
		if err != nil {
			return exitCode(err), err
		}
		if !closed.AlreadyClosed {
			open++
		}
	}
	fmt.Fprintf(out, "\nThe server saw %d calls that it answered, %d above the limit, %d that it failed with 503,\nand %d whose answer it lost. %d direct messages were open in the end.\n",
		seen[200], seen[429], seen[503], seen[0], open)
	fmt.Fprintf(out, "A sweep that ends like this one exits with %d, as two ids could not be closed.\n", code)
	return 0, nil
}
