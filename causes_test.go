package chatdm_test

import (
	"context"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// TestCauses brings errors about by their documented causes, on a Slack that
// keeps state.
func TestCauses(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddChannel(chatdmtest.Channel{ID: "C0GENERAL1", Name: "general"})
	const narrow, revoked, expired, inactive = "xoxb-narrow-token", "xoxb-revoked-token", "xoxb-expired-token", "xoxb-inactive-token"
	slack.AddToken(chatdmtest.Token{Value: narrow, User: chatdmtest.BotUser, Scopes: []string{"chat:write"}})
	slack.AddToken(chatdmtest.Token{Value: revoked, User: chatdmtest.BotUser, State: chatdmtest.Revoked})
	slack.AddToken(chatdmtest.Token{Value: expired, User: chatdmtest.BotUser, State: chatdmtest.Expired})
	slack.AddToken(chatdmtest.Token{Value: inactive, User: chatdmtest.BotUser, State: chatdmtest.Inactive})
	client := func(token string) *chatdm.Client {
		c, err := chatdm.NewClient(token, chatdm.WithBaseURL(slack.URL))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	bot := client(chatdmtest.BotToken)
	foreign, err := client(chatdmtest.UserToken).IM.Open(t.Context(), chatdm.IMOpenParams{User: chatdmtest.Alice})
	if err != nil {
		t.Fatal(err)
	}

	imOpen := func(c *chatdm.Client, user string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := c.IM.Open(ctx, chatdm.IMOpenParams{User: user}); return err }
	}
	open := func(c *chatdm.Client, p chatdm.ConversationsOpenParams) func(context.Context) error {
		return func(ctx context.Context) error { _, err := c.Conversations.Open(ctx, p); return err }
	}
	imClose := func(c *chatdm.Client, id string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := c.IM.Close(ctx, id); return err }
	}
	convClose := func(c *chatdm.Client, id string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := c.Conversations.Close(ctx, id); return err }
	}
	users := func(ids ...string) chatdm.ConversationsOpenParams { return chatdm.ConversationsOpenParams{Users: ids} }
	tests := []struct {
		name string
		call func(context.Context) error
		want chatdm.Code
	}{
		{"disabled user", imOpen(bot, chatdmtest.DisabledUser), chatdm.ErrUserDisabled},
		{"disabled user", open(bot, users(chatdmtest.Alice, chatdmtest.DisabledUser)), chatdm.ErrUserDisabled},
		{"unknown user", imOpen(bot, "U404"), chatdm.ErrUserNotFound},
		{"unknown user", open(bot, users("U404")), chatdm.ErrUserNotFound},
		{"hidden user", imOpen(bot, chatdmtest.HiddenUser), chatdm.ErrUserNotVisible},
		{"bot to bot", open(bot, users(chatdmtest.OtherBot)), chatdm.ErrCannotDMBot},
		{"unknown channel", imClose(bot, "D404"), chatdm.ErrChannelNotFound},
		{"unknown channel", open(bot, chatdm.ConversationsOpenParams{Channel: "D404"}), chatdm.ErrChannelNotFound},
		{"somebody else's", convClose(bot, foreign.Channel.ID), chatdm.ErrUserDoesNotOwnChannel},
		{"a public channel", convClose(bot, "C0GENERAL1"), chatdm.ErrMethodNotSupportedForChannelType},
		{"a public channel", open(bot, chatdm.ConversationsOpenParams{Channel: "C0GENERAL1"}), chatdm.ErrMethodNotSupportedForChannelType},
		{"scope", open(client(narrow), users(chatdmtest.Alice)), chatdm.ErrMissingScope},
		{"unknown token", imOpen(client("xoxb-nobody"), chatdmtest.Alice), chatdm.ErrInvalidAuth},
		{"revoked token", imOpen(client(revoked), chatdmtest.Alice), chatdm.ErrTokenRevoked},
		{"expired token", convClose(client(expired), "D1"), chatdm.ErrTokenExpired},
		{"inactive account", imClose(client(inactive), "D1"), chatdm.ErrAccountInactive},
		{"unknown method", func(ctx context.Context) error { _, err := bot.Call(ctx, "foo.bar", nil, nil); return err }, chatdm.ErrUnknownMethod},
		{"type", func(ctx context.Context) error {
			for _, err := range bot.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"dm"}}) {
				return err
			}
			return nil
		}, chatdm.ErrInvalidTypes},
	}
	for _, tt := range tests {
		t.Run(string(tt.want)+" "+tt.name, func(t *testing.T) {
			e := wantError(t, tt.call(t.Context()), tt.want, tt.want.Kind())
			if e.RequestID == "" || e.StatusCode != 200 || e.Attempts != 1 {
				t.Errorf("got %+v", e)
			}
			if tt.want == chatdm.ErrMissingScope && (len(e.Needed) == 0 || e.Provided[0] != "chat:write") {
				t.Errorf("scopes: needed %v, provided %v", e.Needed, e.Provided)
			}
		})
	}
}

// TestLifecycle goes through a direct message's life, faults on the way
// included, and looks at the flags.
func TestLifecycle(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	client, err := chatdm.NewClient(chatdmtest.UserToken, chatdm.WithBaseURL(slack.URL), chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1}))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	alice := chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}, ReturnIM: true}

	// The answer to the first request is lost after it had its effect: the
	// repetition finds the conversation open.
	slack.Fail("conversations.open", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	first, err := client.Conversations.Open(ctx, alice)
	if err != nil {
		t.Fatal(err)
	}
	if !first.AlreadyOpen || first.Meta.Attempts != 2 || first.Meta.LostAnswers != 1 || !first.Channel.IsIM || first.Channel.User != chatdmtest.Alice || !first.Channel.IsOpen {
		t.Errorf("got %+v", first)
	}
	if age := time.Since(time.Unix(first.Channel.Created, 0)); age < 0 || age > time.Minute {
		t.Errorf("created %v ago", age)
	}
	if _, err := client.Call(ctx, "chat.postMessage", struct {
		Channel string `url:"channel"`
		Text    string `url:"text"`
	}{first.Channel.ID, "hi"}, nil); err != nil {
		t.Fatal(err)
	}
	for channel, err := range client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im", "mpim"}}) {
		if err != nil {
			t.Fatal(err)
		}
		if channel.ID != first.Channel.ID || !channel.IsIM || channel.User != chatdmtest.Alice {
			t.Errorf("listed %+v", channel)
		}
	}
	whole, err := client.Conversations.Open(ctx, alice)
	if err != nil {
		t.Fatal(err)
	}
	if c := whole.Channel; c.Latest == nil || c.Latest.Text != "hi" || c.Latest.TS != c.LastRead {
		t.Errorf("with its message: %+v", c)
	}
	for _, already := range []bool{false, true} {
		res, err := client.Conversations.Close(ctx, first.Channel.ID)
		if err != nil || res.AlreadyClosed != already || res.NoOp != already {
			t.Errorf("close: %+v, %v, want already closed %t", res, err, already)
		}
	}
	again, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Channel: first.Channel.ID})
	if err != nil || again.AlreadyOpen || again.Channel.ID != first.Channel.ID {
		t.Errorf("open by id: %+v, %v", again, err)
	}
	for _, r := range slack.Requests() {
		if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.RawQuery != "" {
			t.Errorf("sent %+v", r)
		}
	}
}
