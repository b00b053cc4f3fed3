// Lifecycle takes a direct message through its life cycle. It opens a direct message,
// opens it again, lists it, closes it, and closes it again. Then it shows an error, a
// retired method, and a rate limit. For each step, it prints the requests, the
// responses, and the result of the call.
//
// Without configuration, it runs on a fake Slack. With SLACK_TOKEN and SLACK_USER
// (the ID of a person), it runs on slack.com. There, it runs only the safe steps, and
// leaves the direct message as it was. SLACK_API_URL replaces https://slack.com/api.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/show"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lifecycle:", err)
		os.Exit(1)
	}
}

// run chooses between the fake Slack and a real one.
func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("got argument %q, want none; set SLACK_TOKEN and SLACK_USER instead", args[0])
	}
	token, user := env("SLACK_TOKEN"), env("SLACK_USER")
	switch {
	case token == "" && user == "":
		return fake(ctx, out)
	case token == "":
		return errors.New("SLACK_USER is set, but SLACK_TOKEN is not")
	case user == "":
		return errors.New("SLACK_TOKEN is set, but SLACK_USER, the ID of a person to open a direct message with, is not")
	}
	d, err := newDemo(token, cmp.Or(env("SLACK_API_URL"), "https://slack.com/api"), out)
	if err != nil {
		return err
	}
	return d.harmless(ctx, user)
}

// fake runs all steps on a fake Slack.
func fake(ctx context.Context, out io.Writer) error {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	fmt.Fprintf(out, "A fake Slack listens on %s.\n", slack.URL)
	d, err := newDemo(chatdmtest.BotToken, slack.URL, out)
	if err != nil {
		return err
	}
	if err := d.harmless(ctx, chatdmtest.Alice); err != nil {
		return err
	}

	d.Step("Open a direct message with someone whose account is deactivated")
	_, err = d.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.DisabledUser}})
	if !errors.Is(err, chatdm.KindUnreachable) {
		return fmt.Errorf("got %w, want chatdm.KindUnreachable", err)
	}
	d.Say("errors.Is(err, chatdm.KindUnreachable): %v", err)

	slack.RetireIM(true)
	d.Step("Call im.open, which Slack has retired")
	opened, err := d.client.IM.Open(ctx, chatdm.IMOpenParams{User: chatdmtest.Bob})
	if err != nil {
		return err
	}
	d.Say("The client called %s instead: channel %s, %d requests in total.", opened.Meta.Method, opened.Channel.ID, opened.Meta.Attempts)

	d.Step("Exceed the rate limit, which is one close in two seconds")
	slack.Limit("conversations.close", 1, 2*time.Second)
	for range 2 {
		start := time.Now()
		closed, err := d.client.Conversations.Close(ctx, opened.Channel.ID)
		if err != nil {
			return err
		}
		d.Say("Already closed: %t. Attempts: %d, in %v.", closed.AlreadyClosed, closed.Meta.Attempts, time.Since(start).Round(time.Second))
	}
	return nil
}

// demo is a client whose requests and responses are printed.
type demo struct {
	*show.Show
	client *chatdm.Client
}

func newDemo(token, root string, out io.Writer) (*demo, error) {
	d := &demo{Show: show.New(out)}
	client, err := chatdm.NewClient(token, chatdm.WithBaseURL(root), chatdm.WithHTTPClient(d.HTTPClient()))
	d.client = client
	return d, err
}

// harmless runs the steps that are safe on a real Slack. If the direct message was
// open before, it is open again afterwards.
func (d *demo) harmless(ctx context.Context, user string) error {
	d.Step("Open the direct message with " + user)
	params := chatdm.ConversationsOpenParams{Users: []string{user}, ReturnIM: true}
	first, err := d.client.Conversations.Open(ctx, params)
	if err != nil {
		return err
	}
	channel := first.Channel.ID
	d.Say("Channel %s. Already open: %t.", channel, first.AlreadyOpen)

	d.Step("Open it again")
	again, err := d.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user}})
	if err != nil {
		return err
	}
	d.Say("Channel %s. Already open: %t.", again.Channel.ID, again.AlreadyOpen)

	d.Step("Find it in the list of direct messages")
	found := false
	for listed, err := range d.client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im"}}) {
		if err != nil {
			return err
		}
		if found = listed.ID == channel; found {
			d.Say("Found %s with %s.", listed.ID, listed.User)
			break // fetches no more pages
		}
	}
	if !found {
		return fmt.Errorf("channel %s is not in the list", channel)
	}

	for _, title := range []string{"Close it", "Close it again"} {
		d.Step(title)
		closed, err := d.client.Conversations.Close(ctx, channel)
		if err != nil {
			return err
		}
		d.Say("Already closed: %t.", closed.AlreadyClosed)
	}

	if first.AlreadyOpen {
		d.Step("Open it again, as it was before")
		if _, err := d.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Channel: channel}); err != nil {
			return err
		}
	}
	return nil
}
