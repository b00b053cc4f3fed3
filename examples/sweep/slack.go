package main

import (
	"context"
	"strings"

	"github.com/chatdm/chatdm"
)

// whoami returns the account of the token.
func whoami(ctx context.Context, client *chatdm.Client, root string) (account, error) {
	var me account
	_, err := client.Call(ctx, "auth.test", nil, &me)
	me.Server = strings.TrimRight(root, "/")
	return me, err
}

// directMessages returns the IDs of the conversations that may be open. Slack
// reports that only for group messages.
func directMessages(ctx context.Context, client *chatdm.Client) (ids []string, err error) {
	for channel, err := range client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im", "mpim"}, Limit: 200}) {
		if err != nil {
			return nil, err
		}
		if channel.IsIM || channel.IsOpen {
			ids = append(ids, channel.ID)
		}
	}
	return ids, nil
}
