package interop

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm/chatdmtest"
)

// slackGo starts a Slack, and has github.com/slack-go/slack talk to it.
func slackGo(t *testing.T) (*chatdmtest.Slack, *slack.Client) {
	t.Helper()
	server := chatdmtest.NewSlack()
	t.Cleanup(server.Close)
	return server, slackGoClient(server, chatdmtest.BotToken)
}

func slackGoClient(server *chatdmtest.Slack, token string) *slack.Client {
	return slack.New(token, slack.OptionAPIURL(server.URL+"/"), slack.OptionHTTPClient(server.Client()))
}

// slackGoStep is a call to open a conversation, or to close that with an id.
type slackGoStep struct {
	open          *slack.OpenConversationParameters
	close         string
	noOp, already bool
}

func TestSlackGoLife(t *testing.T) {
	one := []string{chatdmtest.Alice}
	group := []string{chatdmtest.Alice, chatdmtest.Bob}
	tests := []struct {
		name  string
		id    string
		steps []slackGoStep
	}{
		{"direct message", "D000000001", []slackGoStep{
			{open: &slack.OpenConversationParameters{Users: one}},
			{open: &slack.OpenConversationParameters{Users: one}, noOp: true, already: true},
			{open: &slack.OpenConversationParameters{ChannelID: "D000000001"}, noOp: true, already: true},
			{close: "D000000001"},
			{close: "D000000001", noOp: true, already: true},
			{open: &slack.OpenConversationParameters{ChannelID: "D000000001"}},
		}},
		// Slack sends no flags when it opens a group.
		{"group", "C000000001", []slackGoStep{
			{open: &slack.OpenConversationParameters{Users: group}},
			{open: &slack.OpenConversationParameters{Users: group}},
			{open: &slack.OpenConversationParameters{ChannelID: "C000000001"}},
			{close: "C000000001"},
			{close: "C000000001", noOp: true, already: true},
			{open: &slack.OpenConversationParameters{ChannelID: "C000000001"}},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, client := slackGo(t)
			for i, step := range test.steps {
				var channel *slack.Channel
				var noOp, already bool
				var err error
				if step.open != nil {
					channel, noOp, already, err = client.OpenConversationContext(t.Context(), step.open)
				} else {
					noOp, already, err = client.CloseConversationContext(t.Context(), step.close)
				}
				if err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
				if noOp != step.noOp || already != step.already {
					t.Errorf("step %d: no_op %t and already %t, want %t and %t", i, noOp, already, step.noOp, step.already)
				}
				if step.open == nil {
					continue
				}
				var want slack.Channel // without return_im, there is an id and nothing else
				want.ID = test.id
				if !reflect.DeepEqual(*channel, want) {
					t.Errorf("step %d: channel %+v, want %+v", i, *channel, want)
				}
			}
		})
	}
}

// TestSlackGoDetails compares all that the client makes of a conversation.
func TestSlackGoDetails(t *testing.T) {
	_, client := slackGo(t)
	var direct slack.Channel
	direct.ID = "D000000001"
	direct.IsIM = true
	direct.IsOpen = true
	direct.User = chatdmtest.Alice
	direct.LastRead = "0000000000.000000"

	var group slack.Channel
	group.ID = "C000000001"
	group.Name = "mpdm-chatdmtest--alice--bob-1"
	group.NameNormalized = group.Name
	group.Creator = chatdmtest.BotUser
	group.Members = []string{chatdmtest.BotUser, chatdmtest.Alice, chatdmtest.Bob}
	group.NumMembers = 3
	group.IsChannel = true
	group.IsMpIM = true
	group.IsPrivate = true
	group.IsMember = true
	group.IsOpen = true
	group.LastRead = direct.LastRead
	group.PendingShared = []string{}
	group.Purpose = slack.Purpose{Value: "Group messaging with: @chatdmtest @alice @bob", Creator: chatdmtest.BotUser}

	tests := []struct {
		users []string
		want  slack.Channel
	}{
		{[]string{chatdmtest.Alice}, direct},
		{[]string{chatdmtest.Alice, chatdmtest.Bob}, group},
	}
	for _, test := range tests {
		before := time.Now().Truncate(time.Second)
		got, _, _, err := client.OpenConversationContext(t.Context(), &slack.OpenConversationParameters{Users: test.users, ReturnIM: true})
		if err != nil {
			t.Fatal(err)
		}
		if created := got.Created.Time(); created.Before(before) || created.After(time.Now()) {
			t.Errorf("%s was created at %v, not now", got.ID, created)
		}
		got.Created, got.Purpose.LastSet = 0, 0
		got.SharedTeamIDs = nil // the id of a workspace is the server's to choose
		if !reflect.DeepEqual(*got, test.want) {
			t.Errorf("got  %+v\nwant %+v", *got, test.want)
		}
	}
}

func TestSlackGoList(t *testing.T) {
	_, client := slackGo(t)
	for _, users := range [][]string{{chatdmtest.Alice}, {chatdmtest.Alice, chatdmtest.Bob}, {chatdmtest.Bob}} {
		if _, _, _, err := client.OpenConversationContext(t.Context(), &slack.OpenConversationParameters{Users: users}); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		types []string
		pages [][]string
	}{
		{"both kinds", []string{"im", "mpim"}, [][]string{{"D000000001", "C000000001"}, {"D000000002"}}},
		{"a page that is just full", []string{"im"}, [][]string{{"D000000001", "D000000002"}}},
		{"nothing", []string{"private_channel"}, [][]string{nil}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var pages [][]string
			page := client.GetConversationsPaginated(slack.GetConversationsOptionLimit(2), slack.GetConversationsOptionTypes(test.types))
			for {
				var err error
				page, err = page.Next(t.Context())
				if page.Done(err) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for _, channel := range page.Conversations {
					ids = append(ids, channel.ID)
				}
				pages = append(pages, ids)
			}
			if !slices.EqualFunc(pages, test.pages, slices.Equal) {
				t.Errorf("got pages %v, want %v", pages, test.pages)
			}
		})
	}
}

func TestSlackGoErrors(t *testing.T) {
	server, bot := slackGo(t)
	const narrow = "xoxb-narrow"
	server.AddToken(chatdmtest.Token{Value: narrow, User: chatdmtest.BotUser, Scopes: []string{"chat:write", "im:read"}})
	open := func(client *slack.Client, user string) func(*testing.T) error {
		return func(t *testing.T) error {
			_, _, _, err := client.OpenConversationContext(t.Context(), &slack.OpenConversationParameters{Users: []string{user}})
			return err
		}
	}
	tests := []struct {
		name string
		call func(*testing.T) error
		want slack.SlackErrorResponse
	}{
		{"disabled user", open(bot, chatdmtest.DisabledUser), slack.SlackErrorResponse{Err: "user_disabled"}},
		{"unknown channel", func(t *testing.T) error {
			_, _, err := bot.CloseConversationContext(t.Context(), "D404")
			return err
		}, slack.SlackErrorResponse{Err: "channel_not_found"}},
		{"no scope", open(slackGoClient(server, narrow), chatdmtest.Alice), slack.SlackErrorResponse{
			Err:      "missing_scope",
			Needed:   "channels:write,groups:write,mpim:write,im:write",
			Provided: "chat:write,im:read",
		}},
		{"unknown token", open(slackGoClient(server, "xoxb-unknown"), chatdmtest.Alice), slack.SlackErrorResponse{Err: "invalid_auth"}},
		{"no token", open(slackGoClient(server, ""), chatdmtest.Alice), slack.SlackErrorResponse{Err: "not_authed"}},
		{"retired method", func(t *testing.T) error {
			server.Fail("conversations.open", 1, chatdmtest.Fault{Code: "method_deprecated"})
			return open(bot, chatdmtest.Alice)(t)
		}, slack.SlackErrorResponse{Err: "method_deprecated"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.call(t)
			got, ok := errors.AsType[slack.SlackErrorResponse](err)
			if !ok || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %#v, want %#v", err, test.want)
			}
		})
	}

	t.Run("not Slack's", func(t *testing.T) {
		server.Fail("conversations.open", 1, chatdmtest.Fault{Status: 503})
		err := open(bot, chatdmtest.Alice)(t)
		if got, ok := errors.AsType[slack.StatusCodeError](err); !ok || got.Code != 503 {
			t.Errorf("got %#v, want a StatusCodeError of 503", err)
		}
	})
}

func TestSlackGoRateLimit(t *testing.T) {
	server, client := slackGo(t)
	server.Limit("conversations.close", 1, time.Hour)
	_, _, err := client.CloseConversationContext(t.Context(), "D404")
	if err == nil || err.Error() != "channel_not_found" {
		t.Errorf("within the budget: got %v, want channel_not_found", err)
	}
	_, _, err = client.CloseConversationContext(t.Context(), "D404")
	limited, ok := errors.AsType[*slack.RateLimitedError](err)
	if !ok || limited.RetryAfter != time.Hour {
		t.Errorf("above it: got %#v, want a RateLimitedError of an hour", err)
	}
}
