package rocketchat

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
)

const (
	createPath = "im.create"
	openPath   = "im.open"
	closePath  = "im.close"
	deletePath = "im.delete"
)

// IMService has the endpoints for the life of a direct message, with one person
// or with several.
type IMService struct{ client *Client }

// Room is a direct message.
type Room struct {
	// ID names the room to Open, Close, and Delete by [RoomID].
	ID string
	// Type is "d", for a direct message.
	Type string
	// Usernames are the members, the caller among them.
	Usernames []string
}

// IMCreateParams are the arguments of [IMService.Create].
type IMCreateParams struct {
	// Usernames are the people to create a direct message with, without the
	// caller; at least one. Servers allow eight members, the caller among them,
	// unless they are set up otherwise.
	Usernames []string
	// ExcludeSelf leaves the caller out of the room.
	ExcludeSelf bool
}

// CreateResult is the result of creating a direct message.
type CreateResult struct {
	// Room is what was created, or was there before: the server does not say
	// which.
	Room Room
	// Meta tells of the answer.
	Meta chatdm.Meta
}

// OpenResult is the result of opening a direct message. The server does not say
// whether it was open before.
type OpenResult struct {
	// Meta tells of the answer.
	Meta chatdm.Meta
}

// CloseResult is the result of closing a direct message.
type CloseResult struct {
	// NoOp says that nothing happened, AlreadyClosed that this is because the
	// direct message was closed.
	NoOp, AlreadyClosed bool
	// Meta tells of the answer. A room that was closed is answered with status
	// 400, which is no error here.
	Meta chatdm.Meta
}

// DeleteResult is the result of deleting a direct message.
type DeleteResult struct {
	// Success is what the server says, and true.
	Success bool
	// Meta tells of the answer.
	Meta chatdm.Meta
}

// Create creates a direct message with one or more people, or finds the one
// that there is. It is safe to repeat, and is repeated when an answer is lost.
// The user needs the permission create-d.
//
// Errors to expect are [ErrInvalidUser] for a username that does not exist,
// [ErrNotAllowed], [ErrDirectMessageMaxUserExceeded] and [ErrAppPrevented].
//
// Documented at https://developer.rocket.chat/apidocs/create-direct-message-1.
func (s *IMService) Create(ctx context.Context, params IMCreateParams) (*CreateResult, error) {
	r, err := do(ctx, s.client.engine, call{
		verb: http.MethodPost, path: createPath, params: createBody(params), invalid: params.validate(), repeatable: true, check: hasRoom,
	})
	if err != nil {
		return nil, err
	}
	return &CreateResult{Room: Room{ID: r.roomID(), Type: r.Room.Type, Usernames: r.Room.Usernames}, Meta: r.meta}, nil
}

// Open puts a direct message back into the caller's list of rooms. It is safe
// to repeat, and is repeated when an answer is lost. The user needs to be a
// member of the room.
//
// Errors to expect are [ErrForbidden], which servers from 4.8 on answer for a
// room that the caller is no member of and for one that does not exist, and
// [ErrRoomNotFound] or [ErrInvalidChannel] of older ones.
//
// Documented at https://developer.rocket.chat/apidocs/open-dm.
func (s *IMService) Open(ctx context.Context, roomID string) (*OpenResult, error) {
	r, err := do(ctx, s.client.engine, roomCall(openPath, roomID))
	if err != nil {
		return nil, err
	}
	return &OpenResult{Meta: r.meta}, nil
}

// Close takes a direct message out of the caller's list of rooms; nothing of it
// is lost. AlreadyClosed says where it was not in the list. It is safe to
// repeat, and is repeated when an answer is lost. The user needs to be a member
// of the room.
//
// Errors to expect are [ErrForbidden] for a room of others, and
// [ErrRoomNotFound] or [ErrInvalidChannel] for one that does not exist.
//
// Documented at https://developer.rocket.chat/apidocs/close-dm.
func (s *IMService) Close(ctx context.Context, roomID string) (*CloseResult, error) {
	r, err := do(ctx, s.client.engine, roomCall(closePath, roomID))
	if err != nil {
		return nil, err
	}
	return &CloseResult{NoOp: r.closed, AlreadyClosed: r.closed, Meta: r.meta}, nil
}

// Target names the direct message to delete: a [RoomID] or a [Username].
type Target interface {
	// body is the request's, with exactly one key: the server refuses more.
	body() map[string]string
	validate() error
}

// RoomID is a [Target]: the room with this id.
//
// The server takes an id that is the id or the name of a user for that user's
// direct message with the caller.
type RoomID string

// Username is a [Target]: the direct message between the caller and this user.
//
// Where there is none, the server creates it, deletes it and reports success,
// so that a success does not mean that there was anything to delete; the errors
// of [IMService.Create] are errors of this, too. Delete by [RoomID] to be told.
type Username string

func (id RoomID) body() map[string]string     { return map[string]string{"roomId": string(id)} }
func (name Username) body() map[string]string { return map[string]string{"username": string(name)} }
func (id RoomID) validate() error             { return engine.CheckID("roomId", string(id)) }
func (name Username) validate() error         { return engine.CheckID("username", string(name)) }

// Delete deletes a direct message and all its messages, for all its members and
// for good. The user needs the permission delete-d, which only administrators
// have unless the server is set up otherwise, and must be a member of the room
// or have view-room-administration; servers before 4.8 want both permissions.
//
// It is the one method that does harm when repeated, or reports a failure where
// the first try had succeeded. It is therefore sent again only when the first
// request never reached the server or was refused for its rate. Where an answer
// was lost the error matches [chatdm.ErrEffectUnknown]: delete the same [RoomID]
// again yourself to find out, at once or later. A success and [ErrInvalidChannel]
// both say that it is gone now.
//
// Errors to expect are [ErrInvalidChannel] for a room that does not exist or is
// no direct message, [ErrNotAllowed], [ErrCannotDeleteFederatedRoom],
// [ErrAppPreventedDeleting], and [chatdm.KindUnsupported] from a server before
// 3.18.0.
//
// Documented at https://developer.rocket.chat/apidocs/delete-dm.
func (s *IMService) Delete(ctx context.Context, target Target) (*DeleteResult, error) {
	k := call{verb: http.MethodPost, path: deletePath, check: saysSuccess}
	if target == nil {
		k.invalid = errors.New("target: nil")
	} else {
		k.params, k.invalid = target.body(), target.validate()
	}
	r, err := do(ctx, s.client.engine, k)
	if err != nil {
		return nil, err
	}
	return &DeleteResult{Success: r.Success, Meta: r.meta}, nil
}

func roomCall(path, roomID string) call {
	return call{
		verb: http.MethodPost, path: path, params: RoomID(roomID).body(), invalid: RoomID(roomID).validate(), repeatable: true,
		check: saysSuccess,
	}
}

// createBody joins several names, as the server wants them.
func createBody(p IMCreateParams) any {
	body := struct {
		Username    string `json:"username,omitempty"`
		Usernames   string `json:"usernames,omitempty"`
		ExcludeSelf bool   `json:"excludeSelf,omitempty"`
	}{ExcludeSelf: p.ExcludeSelf}
	if names := strings.Join(p.Usernames, ","); len(p.Usernames) == 1 {
		body.Username = names
	} else {
		body.Usernames = names
	}
	return body
}

func (p IMCreateParams) validate() error {
	if len(p.Usernames) == 0 {
		return errors.New("usernames: empty")
	}
	return engine.CheckIDs("usernames", p.Usernames)
}

// roomID is the room's: documents leave _id out, and old servers rid.
func (r *reply) roomID() string {
	if r.Room.RID != "" {
		return r.Room.RID
	}
	return r.Room.ID
}

func hasRoom(r *reply) string {
	if r.roomID() == "" {
		return "a success without a room"
	}
	return saysSuccess(r)
}

// saysSuccess refuses the other form of a success, which login and logout have
// and no im.* endpoint.
func saysSuccess(r *reply) string {
	if !r.Success {
		return "a status without success: true"
	}
	return ""
}
