package rocketchat_test

import (
	"context"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/rocketchat"
)

var (
	admin  = rocketchat.Credentials{UserID: chatdmtest.RocketChatAdminID, AuthToken: chatdmtest.RocketChatAdminToken}
	member = rocketchat.Credentials{UserID: chatdmtest.RocketChatMemberID, AuthToken: chatdmtest.RocketChatMemberToken}
)

var generations = []chatdmtest.RocketChatGeneration{chatdmtest.RocketChat3, chatdmtest.RocketChat4, chatdmtest.RocketChat7, chatdmtest.RocketChat8}

// TestGenerations drives the methods through the same situations on servers of each
// generation, and wants the same sentinel from all.
func TestGenerations(t *testing.T) {
	type (
		generation = chatdmtest.RocketChatGeneration
		callFunc   = func(context.Context, *rocketchat.Client) error
	)
	// oldest is what the oldest generation means by its response.
	oldest := func(err error) map[generation]error { return map[generation]error{chatdmtest.RocketChat3: err} }

	const foreign = "foreignRoom1" // between alice and bob
	failed := func(_ any, err error) error { return err }
	create := func(names ...string) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) error {
			return failed(c.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: names}))
		}
	}
	open := func(id string) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) error { return failed(c.IM.Open(ctx, id)) }
	}
	closes := func(id string) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) error { return failed(c.IM.Close(ctx, id)) }
	}
	del := func(target rocketchat.Target) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) error { return failed(c.IM.Delete(ctx, target)) }
	}
	call := func(verb, path string) callFunc {
		return func(ctx context.Context, c *rocketchat.Client) error {
			return failed(c.Call(ctx, verb, path, nil, nil))
		}
	}
	// noBypass is an admin whose calls the server limits.
	noBypass := rocketchat.Credentials{UserID: "limitedAdmin1", AuthToken: "limited-admin-token"}
	nobody := rocketchat.Credentials{UserID: chatdmtest.RocketChatMemberID, AuthToken: "a-wrong-token"}
	noRights := rocketchat.Credentials{UserID: "noRights1", AuthToken: "no-rights-token"}

	tests := []struct {
		name  string
		as    rocketchat.Credentials
		call  callFunc
		want  error  // nil if the call succeeds
		limit string // the method that the server allows once
		again bool   // make the call twice
		but   map[generation]error
	}{
		{name: "create", as: member, call: create("alice")},
		{name: "create: again", as: member, call: create("alice"), again: true},
		{name: "create: several", as: member, call: create("alice", "bob")},
		{name: "create: unknown user", as: member, call: create("nobody"), want: rocketchat.ErrInvalidUser},
		{name: "create: missing permission", as: noRights, call: create("alice"), want: rocketchat.ErrNotAllowed},
		{name: "create: too many", as: member, call: create("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"),
			want: rocketchat.ErrDirectMessageMaxUserExceeded},
		{name: "create: bad token", as: nobody, call: create("alice"), want: rocketchat.ErrUnauthorized},
		{name: "create: rate limit", as: member, call: create("alice"), limit: "im.create", want: rocketchat.ErrTooManyRequests},
		{name: "create: bad body", as: member, call: call("POST", "im.create"), want: rocketchat.ErrInvalidParams, but: oldest(rocketchat.ErrRoomNotFound)},

		{name: "open", as: member, call: open("ownRoom1")},
		{name: "open: again", as: member, call: open("ownRoom1"), again: true},
		// Only the oldest generation distinguishes a room that does not exist from one that the
		// caller may not see.
		{name: "open: unknown room", as: member, call: open("nowhere"), want: rocketchat.ErrForbidden, but: oldest(rocketchat.ErrInvalidChannel)},
		{name: "open: foreign room", as: member, call: open(foreign), want: rocketchat.ErrForbidden, but: oldest(rocketchat.ErrRoomNotFound)},
		{name: "open: bad token", as: nobody, call: open("ownRoom1"), want: rocketchat.ErrUnauthorized},
		{name: "open: rate limit", as: member, call: open("ownRoom1"), limit: "im.open", want: rocketchat.ErrTooManyRequests},
		{name: "open: bad body", as: member, call: call("POST", "im.open"), want: chatdm.KindInvalidRequest},

		{name: "close: again", as: member, call: func(ctx context.Context, c *rocketchat.Client) error {
			for _, already := range []bool{false, true} {
				res, err := c.IM.Close(ctx, "ownRoom1")
				if err != nil {
					return err
				}
				if res.AlreadyClosed != already || res.NoOp != already {
					t.Errorf("got %+v, want already closed %t", res, already)
				}
			}
			return nil
		}},
		{name: "close: unknown room", as: member, call: closes("nowhere"), want: chatdm.KindNotFound},
		{name: "close: foreign room", as: member, call: closes(foreign), want: rocketchat.ErrForbidden, but: oldest(rocketchat.ErrRoomNotFound)},
		{name: "close: bad token", as: nobody, call: closes("ownRoom1"), want: rocketchat.ErrUnauthorized},
		{name: "close: rate limit", as: member, call: closes("ownRoom1"), limit: "im.close", want: rocketchat.ErrTooManyRequests},
		{name: "close: bad body", as: member, call: call("POST", "im.close"), want: chatdm.KindInvalidRequest},

		{name: "delete", as: admin, call: del(rocketchat.RoomID(foreign))},
		{name: "delete: by username", as: admin, call: del(rocketchat.Username("alice"))},
		{name: "delete: again", as: admin, call: del(rocketchat.RoomID(foreign)), again: true, want: rocketchat.ErrInvalidChannel},
		{name: "delete: unknown room", as: admin, call: del(rocketchat.RoomID("nowhere")), want: rocketchat.ErrInvalidChannel},
		{name: "delete: unknown user", as: admin, call: del(rocketchat.Username("nobody")), want: chatdm.KindNotFound},
		{name: "delete: a channel", as: admin, call: del(rocketchat.RoomID("GENERAL")), want: rocketchat.ErrInvalidChannel},
		// The oldest generation checks the permission before it looks at the room.
		{name: "delete: foreign room", as: member, call: del(rocketchat.RoomID(foreign)), want: rocketchat.ErrNotAllowed, but: oldest(rocketchat.ErrForbidden)},
		{name: "delete: missing permission", as: member, call: del(rocketchat.RoomID("ownRoom1")), want: rocketchat.ErrNotAllowed, but: oldest(rocketchat.ErrForbidden)},
		{name: "delete: missing permission by kind", as: member, call: del(rocketchat.RoomID("ownRoom1")), want: chatdm.KindPermissionDenied},
		{name: "delete: bad token", as: nobody, call: del(rocketchat.RoomID("ownRoom1")), want: rocketchat.ErrUnauthorized},
		{name: "delete: rate limit", as: noBypass, call: del(rocketchat.RoomID("ownRoom1")), limit: "im.delete", want: rocketchat.ErrTooManyRequests},
		{name: "delete: bad body", as: admin, call: call("POST", "im.delete"), want: rocketchat.ErrInvalidParams, but: oldest(rocketchat.ErrRoomParamNotProvided)},

		{name: "any other endpoint", as: member, call: call("GET", "im.list")},
		{name: "unknown endpoint", as: member, call: call("POST", "im.nothing"), want: chatdm.KindUnsupported},
	}
	logins := []struct {
		name, user, password string
		opts                 []chatdm.Option
		want                 error
	}{
		{"login", "alice", chatdmtest.RocketChatPassword, nil, nil},
		{"login: wrong password", "alice", "wrong-password", nil, rocketchat.ErrUnauthorized},
		{"login: second factor", "careful@example.org", "careful-password", []chatdm.Option{rocketchat.WithTOTP("123456")}, nil},
		{"login: second factor missing", "careful", "careful-password", nil, rocketchat.ErrTOTPRequired},
		{"login: second factor wrong", "careful", "careful-password", []chatdm.Option{rocketchat.WithTOTP("000000")}, rocketchat.ErrTOTPInvalid},
	}
	start := func(t *testing.T, g generation) *chatdmtest.RocketChat {
		t.Parallel()
		server := chatdmtest.NewRocketChat(chatdmtest.Generation(g))
		t.Cleanup(server.Close)
		server.AddUser(chatdmtest.RocketChatUser{ID: noBypass.UserID, Username: "limited", AuthToken: noBypass.AuthToken, Admin: true,
			Permissions: []string{"delete-d", "view-room-administration"}})
		server.AddUser(chatdmtest.RocketChatUser{ID: noRights.UserID, Username: "norights", AuthToken: noRights.AuthToken, Permissions: []string{}})
		server.AddUser(chatdmtest.RocketChatUser{ID: "careful1", Username: "careful", Email: "careful@example.org", Password: "careful-password", TOTP: "123456"})
		server.AddRoom(chatdmtest.RocketChatRoom{ID: foreign, Type: "d", Members: []string{chatdmtest.Alice, chatdmtest.Bob}})
		server.AddRoom(chatdmtest.RocketChatRoom{ID: "ownRoom1", Type: "d", Members: []string{chatdmtest.RocketChatMemberID, chatdmtest.Alice}})
		server.AddRoom(chatdmtest.RocketChatRoom{ID: "GENERAL", Name: "general"})
		return server
	}
	check := func(t *testing.T, err, want error) *chatdm.Error {
		t.Helper()
		if want != nil {
			return wantError(t, err, want)
		}
		if err != nil {
			t.Errorf("got %v, want a success", err)
		}
		return nil
	}
	client := func(t *testing.T, server *chatdmtest.RocketChat, creds rocketchat.Credentials) *rocketchat.Client {
		t.Helper()
		c, err := rocketchat.NewClient(server.URL, creds, once)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, g := range generations {
		for _, tt := range tests {
			t.Run(string(g)+"/"+tt.name, func(t *testing.T) {
				server := start(t, g)
				c := client(t, server, tt.as)
				if tt.limit != "" {
					server.Limit(tt.limit, 1, time.Minute)
				}
				if tt.again || tt.limit != "" {
					check(t, tt.call(t.Context(), c), nil)
				}
				want := tt.want
				if other, ok := tt.but[g]; ok {
					want = other
				}
				e := check(t, tt.call(t.Context(), c), want)
				if tt.limit != "" && (e.RetryAfter < 58*time.Second || e.RetryAfter > time.Minute) {
					t.Errorf("got RetryAfter %v, want the rest of the minute", e.RetryAfter)
				}
			})
		}
		for _, tt := range logins {
			t.Run(string(g)+"/"+tt.name, func(t *testing.T) {
				server := start(t, g)
				creds, err := rocketchat.Login(t.Context(), server.URL, tt.user, tt.password, tt.opts...)
				if check(t, err, tt.want); err != nil {
					return
				}
				creds, err = rocketchat.Resume(t.Context(), server.URL, creds.AuthToken)
				if check(t, err, nil); err == nil {
					check(t, create("bob")(t.Context(), client(t, server, creds)), nil)
				}
			})
		}
	}
	t.Run("before 3.18 there is no im.delete", func(t *testing.T) {
		c := client(t, start(t, chatdmtest.RocketChatOld), admin)
		check(t, del(rocketchat.Username("alice"))(t.Context(), c), chatdm.KindUnsupported)
		check(t, create("alice")(t.Context(), c), nil)
	})
}
