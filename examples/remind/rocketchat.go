package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/rocketchat"
)

// rocketChat is a [platform].
type rocketChat struct {
	client *rocketchat.Client
	url    string
}

func newRocketChat(p *program) (platform, error) {
	var tiers []chatdm.TierOption
	for _, endpoint := range []string{"me", "users.info", "im.create", "chat.sendMessage", "chat.getMessage"} {
		tier := chatdm.Tier{PerMinute: p.perMinute, Burst: p.perMinute}
		tiers = append(tiers, chatdm.WithTier("rocketchat."+endpoint, tier))
	}
	opts := []chatdm.Option{
		chatdm.WithLimiter(chatdm.NewTierLimiter(tiers...)),
		// A reminder can wait, even through a long pause.
		chatdm.WithRetry(chatdm.RetryPolicy{MaxRetryAfter: time.Hour}),
	}
	creds := rocketchat.Credentials{UserID: p.env("ROCKETCHAT_USER_ID"), AuthToken: p.env("ROCKETCHAT_AUTH_TOKEN")}
	client, err := rocketchat.NewClient(p.env("ROCKETCHAT_URL"), creds, append(opts, p.options...)...)
	if err != nil {
		return nil, err
	}
	return &rocketChat{client, p.env("ROCKETCHAT_URL")}, nil
}

func (r *rocketChat) check(ctx context.Context) (owner string, err error) {
	var me struct{ Username string }
	if _, err := r.client.Call(ctx, http.MethodGet, "me", nil, &me); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s on %s", me.Username, r.url), nil
}

func (r *rocketChat) find(ctx context.Context, username string) (id, name string, err error) {
	found, err := r.client.Users.Info(ctx, rocketchat.Username(username))
	switch {
	case err != nil:
		return "", "", err
	case !found.User.Active:
		return "", "", fmt.Errorf("the user's account is deactivated (%w)", chatdm.KindUnreachable)
	}
	return found.User.Username, found.User.Name, nil
}

func (r *rocketChat) open(ctx context.Context, username string) (conversation string, err error) {
	dm, err := r.client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{username}})
	if err != nil {
		return "", err
	}
	return dm.Room.ID, nil
}

func (r *rocketChat) post(ctx context.Context, conversation, text, key string) (alreadyPosted bool, err error) {
	// The key determines the ID of the message. The server rejects a second message with
	// the same ID, so the client can always repeat the call.
	sent, err := r.client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{
		RoomID: conversation, Text: text, Key: key,
	})
	if err != nil {
		return false, err
	}
	return sent.AlreadySent, nil
}

var rocketChatRules = &rules{
	column: "username",
	valid:  func(person string) bool { return person != "" && !strings.ContainsAny(person, "@ <>,;") },
	value:  func(text string) any { return text },
	size:   utf8.RuneCountInString, maxSize: 5000, // the default of Rocket.Chat
	restarted: func(since time.Time, _ time.Duration) string {
		return fmt.Sprintf("Continuing the run of %s.", since.Local().Format(time.DateTime))
	},
}
