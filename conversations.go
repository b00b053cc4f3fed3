package chatdm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// ConversationsService provides the conversations.* methods for direct messages
// with one person or a group.
type ConversationsService struct{ client *Client }

// ConversationsOpenParams holds the arguments of [ConversationsService.Open].
// Set exactly one of Users and Channel.
type ConversationsOpenParams struct {
	// Users are the IDs of one to eight other people. One ID opens a direct message,
	// and several open a group message. The same IDs always open the same conversation.
	Users    []string `url:"users,comma,omitempty"`
	Channel  string   `url:"channel,omitempty"`   // ID of a conversation to reopen
	ReturnIM bool     `url:"return_im,omitempty"` // request all fields of the channel
	// If PreventCreation is set, Open opens only an existing conversation. Slack does
	// not document the response if there is no such conversation.
	PreventCreation bool `url:"prevent_creation,omitempty"`
}

// OpenResult is the result of opening a conversation.
type OpenResult struct {
	// Channel has only an ID unless ReturnIM was set.
	Channel Channel
	// NoOp reports whether the call changed nothing, and AlreadyOpen reports whether the
	// conversation was already open. Slack sends neither for a group message.
	NoOp, AlreadyOpen bool
	Meta              Meta
}

// CloseResult is the result of closing a conversation.
type CloseResult struct {
	// NoOp reports whether the call changed nothing, and AlreadyClosed reports whether
	// the conversation was already closed.
	NoOp, AlreadyClosed bool
	Meta                Meta
}

// Open opens a direct message or a group message, or reopens one by its ID.
// AlreadyOpen reports whether it was already open. The call is idempotent. It
// needs the scope im:write for one user, or mpim:write for several.
//
// Typical errors are [ErrUserNotFound], [ErrUserNotVisible],
// [ErrUserDisabled], [ErrCannotDMBot], [ErrInvalidUserCombination],
// [ErrChannelNotFound], [ErrMethodNotSupportedForChannelType], and
// [ErrMissingScope].
//
// Documented at https://docs.slack.dev/reference/methods/conversations.open.
func (s *ConversationsService) Open(ctx context.Context, params ConversationsOpenParams) (*OpenResult, error) {
	result := new(OpenResult)
	return result.fill(s.client.do(ctx, openRequest(params, result)))
}

// openRequest returns a request whose response is decoded into result.
func openRequest(params ConversationsOpenParams, result *OpenResult) request {
	var form input.Form
	switch {
	case len(params.Users) > 0 && params.Channel != "":
		form = form.Fail(errors.New("users, channel: must not both be set"))
	case len(params.Users) > 8:
		form = form.Fail(fmt.Errorf("users: got %d IDs, want at most 8", len(params.Users)))
	case params.Channel != "":
		form = form.AddID("channel", params.Channel)
	case len(params.Users) == 0:
		form = form.Fail(errors.New("users: must not be empty unless channel is set"))
	}
	form = form.AddTrue("prevent_creation", params.PreventCreation).AddTrue("return_im", params.ReturnIM)
	if len(params.Users) > 0 {
		form = form.Fail(input.CheckIDs("users", params.Users)).Add("users", strings.Join(params.Users, ","))
	}
	body, err := form.Encode()
	return request{
		Request: engine.Request{Method: "conversations.open", Body: body, Idempotent: true},
		invalid: err, meta: &result.Meta, channel: &result.Channel,
	}
}

// fill copies the flags of the response to the result, or returns err.
func (result *OpenResult) fill(resp *response, err error) (*OpenResult, error) {
	if err != nil {
		return nil, err
	}
	result.NoOp, result.AlreadyOpen = resp.NoOp, resp.AlreadyOpen
	return result, nil
}

// Close closes a direct message or a group message for the caller. The
// conversation leaves the sidebar, and its messages are kept. AlreadyClosed
// reports whether it was already closed. The call is idempotent. It needs the
// scope im:write, or mpim:write for a group.
//
// Typical errors are [ErrChannelNotFound], [ErrUserDoesNotOwnChannel],
// [ErrMethodNotSupportedForChannelType], and [ErrMissingScope].
//
// Documented at https://docs.slack.dev/reference/methods/conversations.close.
func (s *ConversationsService) Close(ctx context.Context, channel string) (*CloseResult, error) {
	result := new(CloseResult)
	body, err := input.Form{}.AddID("channel", channel).Encode()
	return result.fill(s.client.do(ctx, request{
		Request: engine.Request{Method: "conversations.close", Body: body, Idempotent: true},
		invalid: err, meta: &result.Meta,
	}))
}

// fill copies the flags of the response to the result, or returns err.
func (result *CloseResult) fill(resp *response, err error) (*CloseResult, error) {
	if err != nil {
		return nil, err
	}
	result.NoOp, result.AlreadyClosed = resp.NoOp, resp.AlreadyClosed
	return result, nil
}

// ConversationsListParams holds the arguments of [ConversationsService.List].
// The zero value lists public channels.
type ConversationsListParams struct {
	Types           []string `url:"types,comma,omitempty"`      // im, mpim, public_channel, private_channel; nil means public_channel
	ExcludeArchived bool     `url:"exclude_archived,omitempty"` // omit archived channels
	Limit           int      `url:"limit,omitempty"`            // channels per page, at most 999; 0 means Slack's default, 100
	TeamID          string   `url:"team_id,omitempty"`          // workspace ID, required if the app is installed for a whole organization
	Cursor          string   `url:"cursor,omitempty"`           // where to start; empty means the first page
}

// List returns an iterator over the conversations that the caller can see. It
// requests each page when the loop gets to it. If a call fails or ctx is done, the
// iterator yields the error once, with a zero Channel, and stops. Each range
// loop starts over at params.Cursor. The call is idempotent. It needs
// im:read, mpim:read, channels:read, or groups:read, depending on the types.
//
// The error is of [KindUnexpectedResponse] if a page has more than 10,000 channels
// or the cursors form a cycle. Typical errors are [ErrInvalidTypes],
// [ErrInvalidCursor], and [ErrMissingScope].
//
// Documented at https://docs.slack.dev/reference/methods/conversations.list.
func (s *ConversationsService) List(ctx context.Context, params ConversationsListParams) iter.Seq2[Channel, error] {
	encode := func(cursor string) input.Form {
		page := params
		page.Cursor = cursor
		form := input.Params(page).Fail(input.CheckIDs("types", page.Types)).Fail(checkLimit(page.Limit))
		if page.TeamID != "" {
			form = form.Fail(input.CheckID("team_id", page.TeamID))
		}
		return form
	}
	return pages(ctx, s.client, "conversations.list", params.Cursor, nil, encode, func(raw *engine.Response) (response, []Channel, error) {
		var page struct {
			response
			Channels []Channel `json:"channels"`
		}
		err := raw.DecodePage(&page)
		// Drop elements that are null, are not objects, or have no ID.
		return page.response, slices.DeleteFunc(page.Channels, func(c Channel) bool { return c.ID == "" }), err
	})
}

// ConversationsHistoryParams holds the arguments of [ConversationsService.History].
type ConversationsHistoryParams struct {
	Channel string // ID of the conversation
	// Oldest and Latest limit the time of the messages. Empty means no limit. The
	// limits themselves are excluded unless Inclusive is set.
	Oldest, Latest  Timestamp
	Inclusive       bool
	IncludeMetadata bool   // request the payload of each message's Metadata, not only its type
	Limit           int    // messages per page, at most 999; 0 means Slack's default, 100
	Cursor          string // where to start; empty means the first page
}

// History returns an iterator over the messages of a conversation, newest first. It does
// not return replies in threads, except those that were also sent to the conversation; see
// [ConversationsService.Replies]. It
// requests each page when the loop gets to it. If a call fails or ctx is done, the
// iterator yields the error once, with a zero Message, and stops. Each range loop starts
// over at params.Cursor. The call is idempotent. It needs im:history, mpim:history,
// channels:history, or groups:history, depending on the conversation.
//
// For an app that is distributed commercially outside of the Slack Marketplace, Slack
// allows one call per minute, and a page has at most 15 messages. A message that was
// just posted can be missing.
//
// Typical errors are [ErrChannelNotFound], [ErrNotInChannel], [ErrInvalidCursor], and
// [ErrMissingScope]. The error is of [KindUnexpectedResponse] if a page has more than
// 10,000 messages or the cursors form a cycle.
//
// Documented at https://docs.slack.dev/reference/methods/conversations.history.
func (s *ConversationsService) History(ctx context.Context, params ConversationsHistoryParams) iter.Seq2[Message, error] {
	return s.client.history(ctx, historyRequest{ConversationsHistoryParams: params}, nil)
}

// ConversationsRepliesParams holds the arguments of [ConversationsService.Replies].
type ConversationsRepliesParams struct {
	Channel string    // ID of the conversation
	TS      Timestamp // the first message of the thread
	// Oldest and Latest limit the time of the replies. Empty means no limit. The limits
	// themselves are excluded unless Inclusive is set.
	Oldest, Latest  Timestamp
	Inclusive       bool
	IncludeMetadata bool   // request the payload of each message's Metadata, not only its type
	Limit           int    // messages per page, at most 999; 0 means Slack's default, 1,000
	Cursor          string // where to start; empty means the first page
}

// Replies returns an iterator over the messages of a thread: first the message that started
// it, and then the replies, oldest first. In all other respects, it is like
// [ConversationsService.History]. The call is idempotent. It needs im:history,
// mpim:history, channels:history, or groups:history, depending on the conversation.
//
// Typical errors are [ErrThreadNotFound], [ErrChannelNotFound], [ErrInvalidCursor], and
// [ErrMissingScope].
//
// Documented at https://docs.slack.dev/reference/methods/conversations.replies.
func (s *ConversationsService) Replies(ctx context.Context, params ConversationsRepliesParams) iter.Seq2[Message, error] {
	return s.client.history(ctx, historyRequest{ConversationsHistoryParams: ConversationsHistoryParams{
		Channel: params.Channel, Oldest: params.Oldest, Latest: params.Latest, Inclusive: params.Inclusive,
		IncludeMetadata: params.IncludeMetadata, Limit: params.Limit, Cursor: params.Cursor,
	}, replies: true, thread: params.TS}, nil)
}

// historyRequest holds the arguments of conversations.history or, for a thread, of
// conversations.replies, which lists the oldest reply first.
type historyRequest struct {
	ConversationsHistoryParams
	replies bool
	thread  Timestamp
}

func (r historyRequest) encode(cursor string) input.Form {
	form := input.Form{}
	if r.replies && r.thread.Time().IsZero() {
		form = form.Fail(fmt.Errorf("ts: got %.100q, want the timestamp of a message", r.thread))
	}
	return form.AddID("channel", r.Channel).AddText("cursor", cursor).AddTrue("include_all_metadata", r.IncludeMetadata).AddTrue("inclusive", r.Inclusive).
		Fail(checkTimestamp("latest", r.Latest)).AddText("latest", string(r.Latest)).
		Fail(checkLimit(r.Limit)).AddInt("limit", r.Limit).
		Fail(checkTimestamp("oldest", r.Oldest)).AddText("oldest", string(r.Oldest)).
		AddText("ts", string(r.thread))
}

// history returns an iterator over messages. If meta is not nil, it receives the metadata
// of the last page.
func (c *Client) history(ctx context.Context, r historyRequest, meta *Meta) iter.Seq2[Message, error] {
	method := "conversations.history"
	if r.replies {
		method = "conversations.replies"
	}
	return pages(ctx, c, method, r.Cursor, meta, r.encode, func(raw *engine.Response) (response, []Message, error) {
		var page struct {
			response
			Messages []Message `json:"messages"`
		}
		err := raw.DecodePage(&page)
		return page.response, slices.DeleteFunc(page.Messages, func(m Message) bool { return m.TS == "" }), err
	})
}

func checkLimit(limit int) error {
	if limit < 0 || limit > 999 {
		return fmt.Errorf("limit: got %d, want 0 to 999", limit)
	}
	return nil
}

// pages returns an iterator over the elements of a method's pages. If meta is not nil, it
// receives the metadata of the last page.
func pages[T any](ctx context.Context, c *Client, method, start string, meta *Meta,
	encode func(cursor string) input.Form, decode func(*engine.Response) (response, []T, error),
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		meta := cmp.Or(meta, new(Meta))
		cursor, earlier := start, ""
		for n := 1; ; n++ {
			var elements []T
			body, err := encode(cursor).Encode()
			resp, err := c.do(ctx, request{
				Request: engine.Request{Method: method, Body: body, Idempotent: true},
				invalid: err, meta: meta,
				decode: func(raw *engine.Response) (resp response, err error) {
					resp, elements, err = decode(raw)
					return resp, err
				},
			})
			if err != nil {
				yield(none, err)
				return
			}
			for _, element := range elements {
				if err := ctx.Err(); err != nil {
					yield(none, c.engine.Fail(method, engine.Canceled, meta.Attempts, err))
					return
				}
				if !yield(element, nil) {
					return
				}
			}
			if resp.Metadata == nil || resp.Metadata.NextCursor == "" {
				return
			}
			// Brent's algorithm detects a cycle and stores only one cursor.
			if n&(n-1) == 0 {
				earlier = cursor
			}
			cursor = resp.Metadata.NextCursor
			if cursor == earlier {
				yield(none, c.engine.Fail(method, engine.UnexpectedResponse, meta.Attempts, errors.New("the server repeated a cursor")))
				return
			}
		}
	}
}

// Channel is a conversation. List sets the fields that apply to the conversation's
// type. Open sets only the ID unless ReturnIM was set. Fields that are not set are zero.
//
// Documented at https://docs.slack.dev/reference/objects/conversation-object.
type Channel struct {
	ID      string `json:"id"`                // the first letter does not determine the type
	Name    string `json:"name,omitempty"`    // "mpdm-…" for a group message
	Created int64  `json:"created,omitempty"` // Unix time in seconds
	Updated int64  `json:"updated,omitempty"` // Unix time in milliseconds
	Creator string `json:"creator,omitempty"` // ID of a user

	IsIM          bool `json:"is_im,omitempty"`   // a direct message with one person
	IsMPIM        bool `json:"is_mpim,omitempty"` // a direct message with a group
	IsChannel     bool `json:"is_channel,omitempty"`
	IsGroup       bool `json:"is_group,omitempty"`
	IsPrivate     bool `json:"is_private,omitempty"`
	IsOpen        bool `json:"is_open,omitempty"` // in the caller's sidebar; conversations.list sends it only for group messages
	IsArchived    bool `json:"is_archived,omitempty"`
	IsMember      bool `json:"is_member,omitempty"`
	IsOrgShared   bool `json:"is_org_shared,omitempty"`
	IsUserDeleted bool `json:"is_user_deleted,omitempty"`

	User          string `json:"user,omitempty"`            // ID of the other person in a direct message
	Locale        string `json:"locale,omitempty"`          // only if IncludeLocale was set
	ContextTeamID string `json:"context_team_id,omitempty"` // the workspace from which the caller sees the conversation

	LastRead           Timestamp `json:"last_read,omitempty"`            // the last message that the caller has read
	Latest             *Message  `json:"latest,omitempty"`               // the last message, or nil if there is none
	UnreadCount        int       `json:"unread_count,omitempty"`         // number of messages after LastRead
	UnreadCountDisplay int       `json:"unread_count_display,omitempty"` // UnreadCount without join, leave, and similar messages
	Priority           float64   `json:"priority,omitempty"`             // Slack does not document its meaning
}

// Message is a message in a conversation.
//
// Documented at https://docs.slack.dev/reference/events/message.
type Message struct {
	Type     string           `json:"type,omitempty"`
	Subtype  string           `json:"subtype,omitempty"`
	User     string           `json:"user,omitempty"`      // ID of the author
	BotID    string           `json:"bot_id,omitempty"`    // set if a bot is the author
	Text     string           `json:"text,omitempty"`      // as Slack stored it, for example with links in <…>
	TS       Timestamp        `json:"ts,omitempty"`        // identifies the message in its conversation
	ThreadTS Timestamp        `json:"thread_ts,omitempty"` // the first message of the thread, see Replies; empty if there is no thread
	Metadata *MessageMetadata `json:"metadata,omitempty"`  // nil if there is none
	Blocks   json.RawMessage  `json:"blocks,omitempty"`    // a JSON array; nil if there are none
	Edited   *MessageEdit     `json:"edited,omitempty"`    // nil if the message was never edited
}

// MessageEdit says who last edited a message, and when.
type MessageEdit struct {
	User string    `json:"user"` // ID of the editor
	TS   Timestamp `json:"ts"`
}

// Timestamp identifies a message within its conversation and says when it was
// posted: the Unix time in seconds, a dot, and six digits.
type Timestamp string

// NewTimestamp returns the timestamp for a time, which it truncates to microseconds. It
// returns an empty timestamp for a time before 1970, such as the zero Time.
func NewTimestamp(t time.Time) Timestamp {
	if t.UnixMicro() < 0 {
		return ""
	}
	return Timestamp(fmt.Sprintf("%010d.%06d", t.Unix(), t.Nanosecond()/1000))
}

// checkTimestamp returns an error if t is neither empty nor a timestamp. Slack accepts 0.
func checkTimestamp(field string, t Timestamp) error {
	if t == "" || strings.Trim(string(t), "0.") == "" || !t.Time().IsZero() {
		return nil
	}
	return fmt.Errorf("%s: got %.100q, want seconds and six digits, such as \"1503435956.000247\"; see NewTimestamp", field, t)
}

// Time returns the time in UTC, with microsecond precision. It returns the zero
// Time if the timestamp is empty, malformed, or "0000000000.000000", which Slack
// uses to mean never.
func (t Timestamp) Time() time.Time {
	seconds, fraction, _ := strings.Cut(string(t), ".")
	s, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || s < 0 || len(fraction) > 6 || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}
	}
	micros, _ := strconv.ParseInt((fraction + "000000")[:6], 10, 64)
	if s == 0 && micros == 0 {
		return time.Time{}
	}
	return time.Unix(s, micros*1000).UTC()
}
