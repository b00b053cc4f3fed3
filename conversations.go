package chatdm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
)

// ConversationsService has the methods for the life of a direct message, with
// one person or with a group.
type ConversationsService struct{ client *Client }

// ConversationsOpenParams are the arguments of [ConversationsService.Open]:
// Users or Channel, never both.
type ConversationsOpenParams struct {
	// Users are the ids of one to eight people, without the caller. One gives a
	// direct message, more give a group message; the same people always give the
	// same conversation, and their order is kept.
	Users []string `url:"users,comma,omitempty"`
	// Channel is the id of a conversation to open again.
	Channel string `url:"channel,omitempty"`
	// ReturnIM asks for the whole channel; without it only its ID is set.
	ReturnIM bool `url:"return_im,omitempty"`
	// PreventCreation only looks for a conversation that exists. What Slack
	// answers where there is none is not documented.
	PreventCreation bool `url:"prevent_creation,omitempty"`
}

// OpenResult is the result of opening a conversation.
type OpenResult struct {
	// Channel is what was opened. Only its ID is certain to be set, unless the
	// whole channel was asked for.
	Channel Channel
	// NoOp says that nothing happened, AlreadyOpen that this is because the
	// conversation was open. Slack sends neither for several users.
	NoOp, AlreadyOpen bool
	// Meta tells of the answer.
	Meta Meta
}

// CloseResult is the result of closing a conversation.
type CloseResult struct {
	// NoOp says that nothing happened, AlreadyClosed that this is because the
	// conversation was closed.
	NoOp, AlreadyClosed bool
	// Meta tells of the answer.
	Meta Meta
}

// Open opens a direct message or a group message, or opens one again by its
// id, and says with AlreadyOpen where it was open before. It is safe to
// repeat, and is repeated when an answer is lost. It needs the scope im:write
// for one user and mpim:write for several.
//
// Errors to expect are [ErrUserNotFound], [ErrUserNotVisible],
// [ErrUserDisabled], [ErrCannotDMBot], [ErrInvalidUserCombination],
// [ErrChannelNotFound], [ErrMethodNotSupportedForChannelType] and
// [ErrMissingScope].
//
// Documented at https://docs.slack.dev/reference/methods/conversations.open.
func (s *ConversationsService) Open(ctx context.Context, params ConversationsOpenParams) (*OpenResult, error) {
	res := new(OpenResult)
	return res.of(s.client.do(ctx, res.call(params)))
}

// Close closes a direct message or a group message for the caller: it leaves
// the sidebar, and nothing of it is lost. AlreadyClosed says where it was
// closed before. It is safe to repeat, and is repeated when an answer is lost.
// It needs the scope im:write, or mpim:write for a group.
//
// Errors to expect are [ErrChannelNotFound], [ErrUserDoesNotOwnChannel],
// [ErrMethodNotSupportedForChannelType] and [ErrMissingScope].
//
// Documented at https://docs.slack.dev/reference/methods/conversations.close.
func (s *ConversationsService) Close(ctx context.Context, channel string) (*CloseResult, error) {
	res := new(CloseResult)
	return res.of(s.client.do(ctx, res.call(channel)))
}

// ConversationsListParams are the arguments of [ConversationsService.List].
// The zero value lists public channels.
type ConversationsListParams struct {
	// Types are some of im, mpim, public_channel and private_channel; none
	// means public_channel.
	Types []string `url:"types,comma,omitempty"`
	// ExcludeArchived leaves archived channels out.
	ExcludeArchived bool `url:"exclude_archived,omitempty"`
	// Limit is the size of a page, at most 1,000; 0 leaves it to Slack, which
	// takes 100. It does not bound how many channels List yields.
	Limit int `url:"limit,omitempty"`
	// TeamID is the workspace to list, for a token of a whole organization.
	TeamID string `url:"team_id,omitempty"`
	// Cursor is where to begin; empty means at the beginning.
	Cursor string `url:"cursor,omitempty"`
}

// List yields the caller's conversations, and asks for the next page when it
// comes to the end of one. An error is yielded once, as the last pair, with an
// empty Channel; so is that of a context that ends between two channels. A
// caller who breaks out of the loop causes no further request. Ranging over it
// again starts again. It needs im:read, mpim:read, channels:read or
// groups:read, by the types asked for.
//
// Errors to expect are [ErrInvalidTypes], [ErrInvalidCursor] and
// [ErrMissingScope].
//
// Documented at https://docs.slack.dev/reference/methods/conversations.list.
func (s *ConversationsService) List(ctx context.Context, params ConversationsListParams) iter.Seq2[Channel, error] {
	const method = "conversations.list"
	return func(yield func(Channel, error) bool) {
		fail := func(kind string, err error) {
			yield(Channel{}, s.client.failure(method, 0, &engine.Failure{Kind: kind, Err: err}))
		}
		for page := params; ; {
			form, err := engine.Form(page)
			r, err := s.client.do(ctx, call{
				Request: engine.Request{Method: method, Body: form, Repeatable: true},
				invalid: cmp.Or(page.check(), err), meta: new(Meta),
			})
			if err != nil {
				yield(Channel{}, err)
				return
			}
			for _, channel := range r.Channels {
				if err := ctx.Err(); err != nil {
					fail(engine.Canceled, err)
					return
				}
				if channel.ID == "" {
					continue // null, or no object: there is nothing to do with it
				}
				if !yield(channel, nil) {
					return
				}
			}
			if r.Metadata == nil || r.Metadata.NextCursor == "" {
				return
			}
			if r.Metadata.NextCursor == page.Cursor {
				fail(engine.UnexpectedResponse, errors.New("the next page has the cursor of this one"))
				return
			}
			page.Cursor = r.Metadata.NextCursor
		}
	}
}

// call is a conversations.open that is decoded into the result.
func (res *OpenResult) call(params ConversationsOpenParams) call {
	return call{
		Request: engine.Request{Method: "conversations.open", Body: params.form(), Repeatable: true},
		invalid: params.check(), meta: &res.Meta, channel: &res.Channel,
	}
}

// of is the result of a call that was decoded into it.
func (res *OpenResult) of(r *reply, err error) (*OpenResult, error) {
	if err != nil {
		return nil, err
	}
	res.NoOp, res.AlreadyOpen = r.NoOp, r.AlreadyOpen
	return res, nil
}

// call is a conversations.close that is decoded into the result.
func (res *CloseResult) call(channel string) call {
	return call{
		Request: engine.Request{Method: "conversations.close", Body: form(nil).add("channel", channel), Repeatable: true},
		invalid: engine.CheckID("channel", channel), meta: &res.Meta,
	}
}

// of is the result of a call that was decoded into it.
func (res *CloseResult) of(r *reply, err error) (*CloseResult, error) {
	if err != nil {
		return nil, err
	}
	res.NoOp, res.AlreadyClosed = r.NoOp, r.AlreadyClosed
	return res, nil
}

// form is a form in the making. Names come in the order of the alphabet, as
// go-querystring sends them, whose reflection costs more than the rest of the
// request on the hot methods; the tests hold it to the same bytes.
type form []byte

func (f form) add(name, value string) form {
	if len(f) > 0 {
		f = append(f, '&')
	}
	return append(append(append(f, name...), '='), url.QueryEscape(value)...)
}

// flag adds a boolean that is set.
func (f form) flag(name string, set bool) form {
	if !set {
		return f
	}
	return f.add(name, "true")
}

func (p ConversationsOpenParams) form() form {
	var f form
	if p.Channel != "" {
		f = f.add("channel", p.Channel)
	}
	f = f.flag("prevent_creation", p.PreventCreation).flag("return_im", p.ReturnIM)
	if len(p.Users) > 0 {
		f = f.add("users", strings.Join(p.Users, ","))
	}
	return f
}

func (p ConversationsOpenParams) check() error {
	switch {
	case len(p.Users) > 0 && p.Channel != "":
		return errors.New("users, channel: only one of them may be set")
	case len(p.Users) > 8:
		return fmt.Errorf("users: %d ids, and at most eight may be named", len(p.Users))
	case p.Channel != "":
		return engine.CheckID("channel", p.Channel)
	case len(p.Users) == 0:
		return errors.New("users: empty, and no channel either")
	}
	return engine.CheckIDs("users", p.Users)
}

func (p ConversationsListParams) check() error {
	if err := engine.CheckIDs("types", p.Types); err != nil {
		return err
	}
	if p.Limit < 0 || p.Limit > 1000 {
		return fmt.Errorf("limit: %d is not between 0 and 1,000", p.Limit)
	}
	if p.TeamID != "" {
		return engine.CheckID("team_id", p.TeamID)
	}
	return nil
}

// Channel is a conversation. Slack sends the fields that fit its type, and
// only the ID unless the whole channel was asked for; the others are zero.
//
// Documented at https://docs.slack.dev/reference/objects/conversation-object.
type Channel struct {
	// ID names the conversation. Its first letter tells nothing of the type: a
	// group message has G or C.
	ID string `json:"id"`
	// Name is that of a channel, or "mpdm-…" for a group message.
	Name string `json:"name,omitempty"`
	// Created is in seconds since 1970.
	Created int64 `json:"created,omitempty"`
	// Updated is in milliseconds since 1970, unlike Created.
	Updated int64 `json:"updated,omitempty"`
	// Creator is the user who made a channel or a group message.
	Creator string `json:"creator,omitempty"`

	// IsIM is a direct message with one person, IsMPIM one with a group.
	IsIM      bool `json:"is_im,omitempty"`
	IsMPIM    bool `json:"is_mpim,omitempty"`
	IsChannel bool `json:"is_channel,omitempty"`
	IsGroup   bool `json:"is_group,omitempty"`
	IsPrivate bool `json:"is_private,omitempty"`
	// IsOpen says that the caller sees the direct message in the sidebar.
	// conversations.list sends it for groups, and not for one person.
	IsOpen        bool `json:"is_open,omitempty"`
	IsArchived    bool `json:"is_archived,omitempty"`
	IsMember      bool `json:"is_member,omitempty"`
	IsOrgShared   bool `json:"is_org_shared,omitempty"`
	IsUserDeleted bool `json:"is_user_deleted,omitempty"`

	// User is the other person of a direct message.
	User string `json:"user,omitempty"`
	// Locale is set where [IMOpenParams] asked for it.
	Locale string `json:"locale,omitempty"`
	// ContextTeamID is the workspace that the conversation is seen from.
	ContextTeamID string `json:"context_team_id,omitempty"`

	// LastRead is the last message that the caller has read.
	LastRead Timestamp `json:"last_read,omitempty"`
	// Latest is the last message, nil where there is none.
	Latest *Message `json:"latest,omitempty"`
	// UnreadCount counts the messages since LastRead, UnreadCountDisplay those
	// of them that people wrote.
	UnreadCount        int `json:"unread_count,omitempty"`
	UnreadCountDisplay int `json:"unread_count_display,omitempty"`
	// Priority is Slack's measure of how close the caller is to it.
	Priority float64 `json:"priority,omitempty"`
}

// Message is a message as it comes with a [Channel].
type Message struct {
	Type    string    `json:"type,omitempty"`
	Subtype string    `json:"subtype,omitempty"`
	User    string    `json:"user,omitempty"`
	BotID   string    `json:"bot_id,omitempty"`
	Text    string    `json:"text,omitempty"`
	TS      Timestamp `json:"ts,omitempty"`
}

// Timestamp is a message's time and id: seconds since 1970, a dot and six
// digits. Keep it as it is to name the message again.
type Timestamp string

// Time returns the instant, in UTC and with its microseconds. It is the zero
// Time for an empty or malformed timestamp and for "0000000000.000000", with
// which Slack says never.
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
