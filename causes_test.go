package chatdm_test

import (
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// TestCauses brings errors about by their documented causes, on a fake server.
func TestCauses(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.AddChannel(chatdmtest.Channel{ID: "C0GENERAL1", Name: "general"})
	client := func(token string) *chatdm.Client {
		c, err := chatdm.NewClient(token, chatdm.WithBaseURL(slack.URL))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	with := func(state chatdmtest.TokenState, scopes ...string) *chatdm.Client {
		token := "xoxb-" + string(state) + "-token"
		slack.AddToken(chatdmtest.Token{Value: token, User: chatdmtest.BotUser, State: state, Scopes: scopes})
		return client(token)
	}
	bot, ctx := client(chatdmtest.BotToken), t.Context()
	im := func(user string) chatdm.IMOpenParams { return chatdm.IMOpenParams{User: user} }
	users := func(ids ...string) chatdm.ConversationsOpenParams { return chatdm.ConversationsOpenParams{Users: ids} }
	channel := func(id string) chatdm.ConversationsOpenParams { return chatdm.ConversationsOpenParams{Channel: id} }
	foreign, err := client(chatdmtest.UserToken).IM.Open(ctx, im(chatdmtest.Alice))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want chatdm.Code
		err  error
	}{
		{chatdm.ErrUserDisabled, failed(bot.IM.Open(ctx, im(chatdmtest.DisabledUser)))},
		{chatdm.ErrUserDisabled, failed(bot.Conversations.Open(ctx, users(chatdmtest.Alice, chatdmtest.DisabledUser)))},
		{chatdm.ErrUserNotFound, failed(bot.IM.Open(ctx, im("U404")))},
		{chatdm.ErrUserNotFound, failed(bot.Conversations.Open(ctx, users("U404")))},
		{chatdm.ErrUserNotVisible, failed(bot.IM.Open(ctx, im(chatdmtest.HiddenUser)))},
		{chatdm.ErrCannotDMBot, failed(bot.Conversations.Open(ctx, users(chatdmtest.OtherBot)))},
		{chatdm.ErrChannelNotFound, failed(bot.IM.Close(ctx, "D404"))},
		{chatdm.ErrChannelNotFound, failed(bot.Conversations.Open(ctx, channel("D404")))},
		{chatdm.ErrUserDoesNotOwnChannel, failed(bot.Conversations.Close(ctx, foreign.Channel.ID))},
		{chatdm.ErrMethodNotSupportedForChannelType, failed(bot.Conversations.Close(ctx, "C0GENERAL1"))},
		{chatdm.ErrMethodNotSupportedForChannelType, failed(bot.Conversations.Open(ctx, channel("C0GENERAL1")))},
		{chatdm.ErrMissingScope, failed(with("", "chat:write").Conversations.Open(ctx, users(chatdmtest.Alice)))},
		{chatdm.ErrInvalidAuth, failed(client("xoxb-nobody").IM.Open(ctx, im(chatdmtest.Alice)))},
		{chatdm.ErrTokenRevoked, failed(with(chatdmtest.Revoked).IM.Open(ctx, im(chatdmtest.Alice)))},
		{chatdm.ErrTokenExpired, failed(with(chatdmtest.Expired).Conversations.Close(ctx, "D1"))},
		{chatdm.ErrAccountInactive, failed(with(chatdmtest.Inactive).IM.Close(ctx, "D1"))},
		{chatdm.ErrUnknownMethod, failed(bot.Call(ctx, "foo.bar", nil, nil))},
		{chatdm.ErrInvalidTypes, listError(bot.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"dm"}}))},
	} {
		e := wantError(t, tt.err, tt.want, tt.want.Kind())
		if e.RequestID == "" || e.StatusCode != 200 || e.Attempts != 1 {
			t.Errorf("got %+v, want a request ID, status 200, and 1 attempt", e)
		}
		if tt.want == chatdm.ErrMissingScope && (len(e.Needed) == 0 || e.Provided[0] != "chat:write") {
			t.Errorf("got scopes %v needed, %v provided, want both", e.Needed, e.Provided)
		}
	}
}

// TestLifecycle follows a direct message from open to close, with a fault on the way.
func TestLifecycle(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	client, err := chatdm.NewClient(chatdmtest.UserToken, chatdm.WithBaseURL(slack.URL), chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1}))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	alice := chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}, ReturnIM: true}

	// The first attempt takes effect, but its response is lost. The retry finds the
	// conversation open.
	slack.Fail("conversations.open", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	first, err := client.Conversations.Open(ctx, alice)
	if err != nil {
		t.Fatal(err)
	}
	if !first.AlreadyOpen || first.Meta.Attempts != 2 || first.Meta.LostAnswers != 1 || !first.Channel.IsIM || first.Channel.User != chatdmtest.Alice || !first.Channel.IsOpen {
		t.Errorf("got %+v, want Alice's conversation, already open, after a lost answer", first)
	}
	if age := time.Since(time.Unix(first.Channel.Created, 0)); age < 0 || age > time.Minute {
		t.Errorf("got a conversation created %v ago, want it to be new", age)
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
			t.Errorf("got %+v, want Alice's conversation", channel)
		}
	}
	whole, err := client.Conversations.Open(ctx, alice)
	if err != nil {
		t.Fatal(err)
	}
	if c := whole.Channel; c.Latest == nil || c.Latest.Text != "hi" || c.Latest.TS != c.LastRead {
		t.Errorf("got %+v, want it with its message", c)
	}
	for _, already := range []bool{false, true} {
		res, err := client.Conversations.Close(ctx, first.Channel.ID)
		if err != nil || res.AlreadyClosed != already || res.NoOp != already {
			t.Errorf("got %+v, %v, want already closed %t", res, err, already)
		}
	}
	again, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Channel: first.Channel.ID})
	if err != nil || again.AlreadyOpen || again.Channel.ID != first.Channel.ID {
		t.Errorf("got %+v, %v, want the conversation to open by its ID", again, err)
	}
	for _, r := range slack.Requests() {
		if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.RawQuery != "" {
			t.Errorf("got %+v, want a form and no query", r)
		}
	}
}
