// Lifecycle goes through the life of a direct message on real HTTP: it opens
// one, opens it again, lists it, closes it and closes it again, and shows what
// an error, a retired method and a rate limit look like. For each step it
// prints what was sent, what came back, and what the client made of it.
//
// Without settings it runs against a Slack of its own. With SLACK_TOKEN and
// SLACK_USER (the id of a person to open a direct message with) it does the
// harmless part against slack.com, and leaves the direct message as it was;
// SLACK_API_URL names another root of the API, https://slack-gov.com/api say.
package main

import (
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

// run chooses between the Slack of its own and a real one.
func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("takes no arguments, got %q; its settings are SLACK_TOKEN and SLACK_USER", args[0])
	}
	token, user := env("SLACK_TOKEN"), env("SLACK_USER")
	switch {
	case token == "" && user == "":
		return embedded(ctx, out)
	case token == "":
		return errors.New("SLACK_USER is set, but SLACK_TOKEN is not")
	case user == "":
		return errors.New("SLACK_TOKEN is set, but SLACK_USER, the id of a person to open a direct message with, is not")
	}
	var opts []chatdm.Option
	if root := env("SLACK_API_URL"); root != "" {
		opts = append(opts, chatdm.WithBaseURL(root))
	}
	d, err := newDemo(token, out, opts...)
	if err != nil {
		return err
	}
	return d.harmless(ctx, user)
}

// embedded runs every step against a Slack in this process.
func embedded(ctx context.Context, out io.Writer) error {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	fmt.Fprintf(out, "A Slack of our own listens on %s.\n", slack.URL)
	d, err := newDemo(chatdmtest.BotToken, out, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		return err
	}
	if err := d.harmless(ctx, chatdmtest.Alice); err != nil {
		return err
	}

	d.Step("Open a direct message with someone whose account is deactivated")
	_, err = d.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.DisabledUser}})
	if !errors.Is(err, chatdm.ErrUserDisabled) {
		return fmt.Errorf("expected user_disabled, got %w", err)
	}
	d.Say("errors.Is(err, chatdm.ErrUserDisabled): %v", err)

	slack.RetireIM(true)
	d.Step("Call im.open, which Slack has retired")
	opened, err := d.client.IM.Open(ctx, chatdm.IMOpenParams{User: chatdmtest.Bob})
	if err != nil {
		return err
	}
	d.Say("%s answered instead, for channel %s, after %d requests in all.", opened.Meta.Method, opened.Channel.ID, opened.Meta.Attempts)

	d.Step("Run into the rate limit: one close in two seconds is allowed")
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

// demo is a client whose traffic is shown.
type demo struct {
	*show.Show
	client *chatdm.Client
}

func newDemo(token string, out io.Writer, opts ...chatdm.Option) (*demo, error) {
	d := &demo{Show: show.New(out)}
	client, err := chatdm.NewClient(token, append(opts, chatdm.WithHTTPClient(d.HTTPClient()))...)
	d.client = client
	return d, err
}

// harmless are the steps that do nobody any harm. If the direct message was
// open before, it is open again in the end.
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
			break // which asks for no further page
		}
	}
	if !found {
		return fmt.Errorf("the channel %s is not in the list", channel)
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
		d.Step("Leave it open, as it was")
		if _, err := d.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Channel: channel}); err != nil {
			return err
		}
	}
	return nil
}
