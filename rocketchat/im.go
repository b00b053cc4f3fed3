package rocketchat

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// IMService provides the im.* endpoints for direct messages with one or more
// people.
type IMService struct{ client *Client }

// Room is a direct message.
type Room struct {
	ID        string   // pass it to Open and Close, or as a [RoomID] to Delete
	Type      string   // "d" for a direct message
	Usernames []string // the members, including the caller
}

// IMCreateParams holds the arguments of [IMService.Create].
type IMCreateParams struct {
	// Usernames lists the other members by username, not by ID. At least one is
	// required. By default, a server allows at most eight members, including the caller.
	Usernames   []string
	ExcludeSelf bool // do not add the caller to the room
}

// CreateResult is the result of creating a direct message.
type CreateResult struct {
	// Room is the direct message. The server does not say whether it is new.
	Room Room
	Meta chatdm.Meta
}

// OpenResult is the result of opening a direct message. The server does not say
// whether it was already open.
type OpenResult struct{ Meta chatdm.Meta }

// CloseResult is the result of closing a direct message.
type CloseResult struct {
	// NoOp reports whether nothing changed, and AlreadyClosed whether that is
	// because the direct message was already closed.
	NoOp, AlreadyClosed bool
	Meta                chatdm.Meta // its StatusCode is 400 if the room was already closed
}

// DeleteResult is the result of deleting a direct message.
type DeleteResult struct {
	Success bool // always true
	Meta    chatdm.Meta
}

// Create creates a direct message with one or more people, or returns the
// existing one. The call is idempotent. The caller needs the permission create-d.
//
// Typical errors are [ErrInvalidUser] if a username does not exist,
// [ErrNotAllowed], [ErrDirectMessageMaxUserExceeded], and [ErrAppPrevented].
//
// Documented at https://developer.rocket.chat/apidocs/create-direct-message-1.
func (s *IMService) Create(ctx context.Context, params IMCreateParams) (*CreateResult, error) {
	body := struct {
		Username    string `json:"username,omitempty"`
		Usernames   string `json:"usernames,omitempty"`
		ExcludeSelf bool   `json:"excludeSelf,omitempty"`
	}{ExcludeSelf: params.ExcludeSelf}
	if names := strings.Join(params.Usernames, ","); len(params.Usernames) == 1 {
		body.Username = names
	} else {
		body.Usernames = names // the server expects one string
	}
	err := input.CheckIDs("usernames", params.Usernames)
	if len(params.Usernames) == 0 {
		err = errors.New("usernames: must not be empty")
	}
	resp, err := do(ctx, s.client.engine, request{
		Request: engine.Request{Method: "im.create", Verb: http.MethodPost, Idempotent: true},
		params:  body, invalid: err, verify: func(r *response) *engine.Failure { return required(r.roomID() != "") },
	})
	if err != nil {
		return nil, err
	}
	return &CreateResult{Room: Room{ID: resp.roomID(), Type: resp.Room.Type, Usernames: resp.Room.Usernames}, Meta: resp.meta}, nil
}

// Open adds a direct message to the caller's list of rooms. The call is
// idempotent. The caller needs to be a member of the room.
//
// The typical error is [ErrForbidden] if the room does not exist or the caller is
// not a member of it. Servers before 4.8 return [ErrRoomNotFound] or
// [ErrInvalidChannel] instead.
//
// Documented at https://developer.rocket.chat/apidocs/open-dm.
func (s *IMService) Open(ctx context.Context, roomID string) (*OpenResult, error) {
	resp, err := do(ctx, s.client.engine, roomRequest("im.open", roomID))
	if err != nil {
		return nil, err
	}
	return &OpenResult{Meta: resp.meta}, nil
}

// Close removes a direct message from the caller's list of rooms and keeps its
// messages. AlreadyClosed reports whether it was already off the list. The call is
// idempotent. The caller needs to be a member of the room.
//
// Typical errors are [ErrForbidden] if the caller is not a member of the room,
// and [ErrRoomNotFound] or [ErrInvalidChannel] if it does not exist.
//
// Documented at https://developer.rocket.chat/apidocs/close-dm.
func (s *IMService) Close(ctx context.Context, roomID string) (*CloseResult, error) {
	r := roomRequest("im.close", roomID)
	r.acceptAlreadyClosed = true
	resp, err := do(ctx, s.client.engine, r)
	if err != nil {
		return nil, err
	}
	return &CloseResult{NoOp: resp.alreadyClosed, AlreadyClosed: resp.alreadyClosed, Meta: resp.meta}, nil
}

func roomRequest(path, roomID string) request {
	return request{
		Request: engine.Request{Method: path, Verb: http.MethodPost, Idempotent: true},
		params:  RoomID(roomID).body(), invalid: RoomID(roomID).check(),
	}
}

// Target identifies the direct message to delete. It is either a [RoomID] or a
// [Username].
type Target interface {
	body() targetBody
	check() error
}

// RoomID is a [Target]: the direct message with this room ID.
//
// If the value is a user's ID or username instead, the server deletes the direct
// message between the caller and that user.
type RoomID string

// Username is a [Target]: the direct message between the caller and the user with
// this username.
//
// If there is none, the server creates one, deletes it, and reports success.
// Therefore Delete can also return the errors of [IMService.Create]. Use a
// [RoomID] to find out whether there was anything to delete.
type Username string

// targetBody has exactly one field set, because the server rejects a body with both.
type targetBody struct {
	RoomID   string `json:"roomId,omitempty"`
	Username string `json:"username,omitempty"`
}

func (id RoomID) body() targetBody     { return targetBody{RoomID: string(id)} }
func (name Username) body() targetBody { return targetBody{Username: string(name)} }
func (id RoomID) check() error         { return input.CheckID("roomId", string(id)) }
func (name Username) check() error     { return input.CheckID("username", string(name)) }

// Delete permanently deletes a direct message and its messages for all members.
// The caller needs the permission delete-d. By default, only administrators have
// it. The caller must also be a member of the room or have the permission
// view-room-administration; servers before 4.8 always require the latter.
//
// The call is not idempotent: after a success, a repeated call would fail. The
// client retries it only if it never reached the server, or was rejected because of
// a rate limit or credentials that a [CredentialRefresher] replaces. If the response
// is lost, the error matches [chatdm.ErrEffectUnknown]. To make sure that the room is
// gone, delete the same [RoomID] again: the room no longer exists if that call
// succeeds or returns [ErrInvalidChannel].
//
// Typical errors are [ErrInvalidChannel] if the room does not exist or is not a
// direct message, [ErrNotAllowed], [ErrCannotDeleteFederatedRoom],
// [ErrAppPreventedDeleting], and [chatdm.KindUnsupported] from a server older than
// 3.18.0.
//
// Documented at https://developer.rocket.chat/apidocs/delete-dm.
func (s *IMService) Delete(ctx context.Context, target Target) (*DeleteResult, error) {
	r := request{Request: engine.Request{Method: "im.delete", Verb: http.MethodPost}}
	if target == nil {
		r.invalid = errors.New("target: must not be nil")
	} else {
		r.params, r.invalid = target.body(), target.check()
	}
	resp, err := do(ctx, s.client.engine, r)
	if err != nil {
		return nil, err
	}
	return &DeleteResult{Success: resp.Success, Meta: resp.meta}, nil
}

// roomID returns the room's ID. The documented responses lack _id, and the
// responses of old servers lack rid.
func (r *response) roomID() string { return cmp.Or(r.Room.RID, r.Room.ID) }

// IMHistoryParams holds the arguments of [IMService.History].
type IMHistoryParams struct {
	RoomID string // ID of the direct message
	// Oldest and Latest limit the times of the messages, both exclusively unless
	// Inclusive is set. The zero Time means no limit.
	Oldest, Latest time.Time
	Inclusive      bool
	Limit          int // messages per page, at most 1,000; 0 means 100, which is the most that a server sends by default
}

// History returns an iterator over the messages in a direct message, newest first,
// including the replies in threads. It requests each page when the loop gets to it.
// Messages that arrive in the meantime do not make it repeat or omit others. If a call
// fails or ctx is done, the iterator yields the error once, with a zero Message, and
// stops. Each range loop starts over at the newest message. The call is idempotent.
// The caller needs to be a member of the room.
//
// The error is of [chatdm.KindUnexpectedResponse] if a page has more than 10,000
// messages, or if a page has the same messages as an earlier one. Typical errors are
// [ErrInvalidChannel], [ErrRoomNotFound], and [ErrForbidden] if the room does not
// exist, is not a direct message, or does not have the caller as a member.
//
// Documented at https://developer.rocket.chat/apidocs/dm-history-1.
func (s *IMService) History(ctx context.Context, params IMHistoryParams) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		p := newPager(params)
		for {
			var page []Message
			resp, err := do(ctx, s.client.engine, p.request(params, &page))
			if err == nil && !p.add(page) {
				err = s.client.engine.Fail("im.history", engine.UnexpectedResponse, resp.meta.Attempts, errors.New("the server repeated a page"))
			}
			if err != nil {
				yield(Message{}, err)
				return
			}
			for _, m := range p.fresh {
				if err := ctx.Err(); err != nil {
					yield(Message{}, s.client.engine.Fail("im.history", engine.Canceled, resp.meta.Attempts, err))
					return
				}
				if params.includes(m.Time) && !yield(m, nil) {
					return
				}
			}
			if p.done {
				return
			}
		}
	}
}

// includes reports whether t is within the limits.
func (p *IMHistoryParams) includes(t time.Time) bool {
	within := func(order int) bool { return order > 0 || order == 0 && p.Inclusive }
	return (p.Oldest.IsZero() || within(t.Compare(p.Oldest))) && (p.Latest.IsZero() || within(p.Latest.Compare(t)))
}

// pager requests the pages of im.history by time. An offset would repeat a message
// for each one that arrives in the meantime, and omit one for each that is deleted.
//
// Several messages can have the same time. Therefore each page begins at the time at
// which the page before it ended, and the pager drops what it has already seen. It uses
// an offset only if the messages with this time do not fit on the largest page.
type pager struct {
	latest  time.Time       // the next page begins here; zero means at the newest message
	seen    map[string]bool // the IDs of the messages at this time that were on a page
	offset  int             // the number of messages at this time to skip
	limit   int             // messages per page
	count   int             // messages requested for the page
	largest int             // the number of messages on the largest page so far: the server may limit it

	fresh []Message // the messages of the last page that were on no earlier page
	done  bool      // there is no next page
}

func newPager(params IMHistoryParams) *pager {
	return &pager{latest: params.Latest, limit: cmp.Or(params.Limit, 100)}
}

// request returns the request for the next page. It always includes the messages at the
// limits, because servers before 4.8 ignore the value of inclusive.
func (p *pager) request(params IMHistoryParams, page *[]Message) request {
	p.count = p.limit + len(p.seen)
	query := url.Values{
		"roomId": {params.RoomID}, "count": {strconv.Itoa(p.count)}, "inclusive": {"true"}, "showThreadMessages": {"true"},
	}
	if !params.Oldest.IsZero() {
		query.Set("oldest", params.Oldest.UTC().Format(wireTime))
	}
	if !p.latest.IsZero() {
		// Servers count milliseconds. Round up, and let History drop what is too new.
		query.Set("latest", p.latest.Add(time.Millisecond-1).UTC().Format(wireTime))
	}
	if p.offset > 0 {
		query.Set("offset", strconv.Itoa(p.offset))
	}
	return request{
		Request: engine.Request{Method: "im.history", Verb: http.MethodGet, Idempotent: true},
		params:  query, invalid: params.check(),
		decode: func(raw *engine.Response) (response, error) {
			var body struct {
				response
				Messages []wireMessage `json:"messages"`
			}
			err := raw.DecodePage(&body)
			*page = nil
			if body.Messages != nil {
				*page = make([]Message, len(body.Messages))
			}
			for i, m := range body.Messages {
				(*page)[i] = m.message()
			}
			return body.response, err
		},
		verify: func(*response) *engine.Failure {
			withoutTime := func(m Message) bool { return m.ID == "" || m.Time.IsZero() }
			return required(*page != nil && !slices.ContainsFunc(*page, withoutTime))
		},
	}
}

// wireTime is JavaScript's format for times. It has no digits after the milliseconds.
const wireTime = "2006-01-02T15:04:05.000Z"

// add adds a page. It returns false if the server repeats what it has sent.
func (p *pager) add(page []Message) bool {
	n, first, end := len(page), p.seen == nil, p.latest
	for i, m := range page {
		switch at := m.Time.Truncate(time.Millisecond); {
		case !first && at.After(p.latest):
			return false
		case first && i == 0, at.Before(end):
			end = at
		}
	}
	p.fresh = slices.DeleteFunc(slices.Clone(page), func(m Message) bool { return p.seen[m.ID] })
	// A page with fewer messages than requested is the last one if the server has shown
	// that it sends larger pages. No server limits its pages to one message.
	p.done = n == 0 || n < min(p.count, p.largest) || n == 1 && len(p.fresh) == 0
	p.largest = max(p.largest, n)
	switch {
	case p.done:
		return true
	case len(p.fresh) == 0:
		repeated := p.offset > 0
		p.offset += n
		return !repeated
	case first || end.Before(p.latest):
		p.latest, p.offset, p.seen = end, 0, make(map[string]bool)
	case n < p.count: // all have the same time, and the server limits its pages
		p.offset += n
	}
	for _, m := range page {
		if m.Time.Truncate(time.Millisecond).Equal(end) {
			p.seen[m.ID] = true
		}
	}
	return true
}

func (p *IMHistoryParams) check() error {
	for _, limit := range []struct {
		name string
		time time.Time
	}{{"oldest", p.Oldest}, {"latest", p.Latest}} {
		if year := limit.time.UTC().Year(); year < 0 || year > 9999 {
			return fmt.Errorf("%s: got the year %d, want 0 to 9999", limit.name, year)
		}
	}
	if p.Limit < 0 || p.Limit > 1000 {
		return fmt.Errorf("limit: got %d, want 0 to 1000", p.Limit)
	}
	return input.CheckID("roomId", p.RoomID)
}
