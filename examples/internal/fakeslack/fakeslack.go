// Package fakeslack opens direct messages on a fake Slack, and checks what became of
// them.
package fakeslack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// OpenDMs adds n users, opens a direct message with each, and returns the IDs of the
// conversations.
func OpenDMs(ctx context.Context, slack *chatdmtest.Slack, client *chatdm.Client, n int) (ids []string, err error) {
	for i := range n {
		user := chatdmtest.User{ID: fmt.Sprintf("U%08d", i+1)}
		slack.AddUser(user)
		dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user.ID}})
		if err != nil {
			return nil, err
		}
		ids = append(ids, dm.Channel.ID)
	}
	return ids, nil
}

// StillOpen closes the conversations, and returns the IDs of those that were open.
// Slack does not list which are open.
func StillOpen(ctx context.Context, client *chatdm.Client, ids []string) (open []string, err error) {
	for _, id := range ids {
		res, err := client.Conversations.Close(ctx, id)
		if err != nil {
			return nil, err
		}
		if !res.AlreadyClosed {
			open = append(open, id)
		}
	}
	return open, nil
}

// Messages returns the messages in the direct message with each user.
func Messages(ctx context.Context, slack *chatdmtest.Slack, client *chatdm.Client, users ...string) (messages [][]chatdmtest.Message, err error) {
	for _, user := range users {
		dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user}})
		if err != nil {
			return nil, err
		}
		messages = append(messages, slack.Messages(dm.Channel.ID))
	}
	return messages, nil
}

// Statuses counts the requests that called a method, by the status of the response. A
// response that was lost has the status 0.
func Statuses(slack *chatdmtest.Slack, method string) map[int]int {
	byStatus := make(map[int]int)
	for _, r := range slack.Requests() {
		if r.Method == method {
			byStatus[r.Status]++
		}
	}
	return byStatus
}

// Workspaces serves several fake workspaces at one URL, as Slack does. It passes a request
// to the workspace that its token belongs to. The keys are the tokens.
type Workspaces map[string]*chatdmtest.Slack

// ServeHTTP implements [http.Handler].
func (w Workspaces) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	if slack := w[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]; slack != nil {
		slack.ServeHTTP(out, r)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(out, `{"ok":false,"error":"invalid_auth"}`)
}
