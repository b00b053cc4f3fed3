package rocketchat

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

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
		params:  body, invalid: err, missingData: func(r *response) bool { return r.roomID() == "" },
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
// client retries it only if it never reached the server or was rejected because
// of a rate limit. If the response is lost, the error matches
// [chatdm.ErrEffectUnknown]. To make sure that the room is gone, delete the same
// [RoomID] again: the room no longer exists if that call succeeds or returns
// [ErrInvalidChannel].
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
