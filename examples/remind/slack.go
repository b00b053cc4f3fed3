package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/chatdm/chatdm"
)

// slack is a [platform].
type slack struct {
	client *chatdm.Client
	since  time.Time
}

func newSlack(p *program, since time.Time) (platform, error) {
	opts := []chatdm.Option{
		chatdm.WithBaseURL(cmp.Or(p.env("SLACK_API_URL"), "https://slack.com/api")),
		chatdm.WithLimiter(chatdm.NewTierLimiter()),
		chatdm.WithSettleTime(p.settle),
		// A reminder can wait, even through a long pause.
		chatdm.WithRetry(chatdm.RetryPolicy{MaxRetryAfter: time.Hour}),
	}
	client, err := chatdm.NewClient(p.env("SLACK_TOKEN"), append(opts, p.options...)...)
	if err != nil {
		return nil, err
	}
	return &slack{client, since}, nil
}

func (s *slack) check(ctx context.Context) (owner string, err error) {
	me, err := s.client.Auth.Test(ctx)
	if err != nil {
		return "", err
	}
	// Without im:history, the client could not search for a lost message.
	for _, scope := range []string{"chat:write", "im:write", "im:history", "users:read.email"} {
		if me.Meta.Scopes != nil && !slices.Contains(me.Meta.Scopes, scope) {
			return "", fmt.Errorf("SLACK_TOKEN lacks the scope %s: %w", scope, chatdm.KindPermissionDenied)
		}
	}
	return fmt.Sprintf("%s in the workspace %s", me.User, me.Team), nil
}

func (s *slack) find(ctx context.Context, email string) (id, name string, err error) {
	found, err := s.client.Users.LookupByEmail(ctx, email)
	if err != nil {
		return "", "", err
	}
	return found.User.ID, found.User.RealName, nil
}

func (s *slack) open(ctx context.Context, id string) (conversation string, err error) {
	dm, err := s.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{id}})
	if err != nil {
		return "", err
	}
	return dm.Channel.ID, nil
}

func (s *slack) post(ctx context.Context, conversation, text, key string) (alreadyPosted bool, err error) {
	// If the response is lost, PostMessage searches for the message. After a restart,
	// Since makes it search before it posts.
	posted, err := s.client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{
		Channel: conversation, Text: text, Key: key, Since: s.since,
	})
	if err != nil {
		return false, err
	}
	return posted.AlreadyPosted, nil
}

var slackRules = &rules{
	column: "email",
	valid: func(person string) bool {
		return strings.Contains(person, "@") && !strings.ContainsAny(person, " <>,;")
	},
	value: func(text string) any { return slackText(text) },
	// Slack splits a longer text into several messages.
	size: func(text string) int { return len(utf16.Encode([]rune(text))) }, maxSize: 4000,
	restarted: func(since time.Time, settle time.Duration) string {
		return fmt.Sprintf("Continuing the run of %s. New posts start in %v, in case an earlier one is still on its way.",
			since.Local().Format(time.DateTime), settle)
	},
}

// slackText is a value that templates compare unescaped, but print escaped, because Slack
// would read some characters as a link or a mention.
type slackText string

func (t slackText) String() string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(string(t))
}
