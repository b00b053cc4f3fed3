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

// TestGenerations drives the four methods through the same situations on
// servers of each generation, and looks for the same sentinel everywhere.
func TestGenerations(t *testing.T) {
	type generation = chatdmtest.RocketChatGeneration
	all := []generation{chatdmtest.RocketChat3, chatdmtest.RocketChat4, chatdmtest.RocketChat7, chatdmtest.RocketChat8}

	const foreign = "foreignRoom1" // between alice and bob
	as := func(creds rocketchat.Credentials, call func(context.Context, *rocketchat.Client) error) func(*testing.T, *chatdmtest.RocketChat) error {
		return func(t *testing.T, server *chatdmtest.RocketChat) error {
			client, err := rocketchat.NewClient(server.URL, creds, once)
			if err != nil {
				t.Fatal(err)
			}
			return call(t.Context(), client)
		}
	}
	create := func(names ...string) func(context.Context, *rocketchat.Client) error {
		return func(ctx context.Context, c *rocketchat.Client) error {
			_, err := c.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: names})
			return err
		}
	}
	open := func(id string) func(context.Context, *rocketchat.Client) error {
		return func(ctx context.Context, c *rocketchat.Client) error { _, err := c.IM.Open(ctx, id); return err }
	}
	closes := func(id string) func(context.Context, *rocketchat.Client) error {
		return func(ctx context.Context, c *rocketchat.Client) error { _, err := c.IM.Close(ctx, id); return err }
	}
	del := func(target rocketchat.Target) func(context.Context, *rocketchat.Client) error {
		return func(ctx context.Context, c *rocketchat.Client) error { _, err := c.IM.Delete(ctx, target); return err }
	}
	empty := func(path string) func(context.Context, *rocketchat.Client) error {
		return func(ctx context.Context, c *rocketchat.Client) error {
			_, err := c.Call(ctx, "POST", path, nil, nil)
			return err
		}
	}
	limited := func(creds rocketchat.Credentials, path string, call func(context.Context, *rocketchat.Client) error) func(*testing.T, *chatdmtest.RocketChat) error {
		return func(t *testing.T, server *chatdmtest.RocketChat) error {
			server.Limit(path, 1, time.Minute)
			_ = as(creds, call)(t, server)
			return as(creds, call)(t, server)
		}
	}
	// noBypass is an admin who is limited like everybody else.
	noBypass := rocketchat.Credentials{UserID: "limitedAdmin1", AuthToken: "limited-admin-token"}
	nobody := rocketchat.Credentials{UserID: chatdmtest.RocketChatMemberID, AuthToken: "a-wrong-token"}
	noRights := rocketchat.Credentials{UserID: "noRights1", AuthToken: "no-rights-token"}

	tests := []struct {
		name string
		call func(*testing.T, *chatdmtest.RocketChat) error
		want error // nil: a success
		// but are generations that mean something else by their answer.
		but map[generation]error
	}{
		{name: "create: success", call: as(member, create("alice"))},
		{name: "create: repeat", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			_ = as(member, create("alice"))(t, s)
			return as(member, create("alice"))(t, s)
		}},
		{name: "create: several", call: as(member, create("alice", "bob"))},
		{name: "create: unknown user", call: as(member, create("nobody")), want: rocketchat.ErrInvalidUser},
		{name: "create: missing permission", call: as(noRights, create("alice")), want: rocketchat.ErrNotAllowed},
		{name: "create: too many", call: as(member, create("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")),
			want: rocketchat.ErrDirectMessageMaxUserExceeded},
		{name: "create: bad token", call: as(nobody, create("alice")), want: rocketchat.ErrUnauthorized},
		{name: "create: rate limit", call: limited(member, "im.create", create("alice")), want: rocketchat.ErrTooManyRequests},
		{name: "create: bad body", call: as(member, empty("im.create")), want: rocketchat.ErrInvalidParams,
			but: map[generation]error{chatdmtest.RocketChat3: rocketchat.ErrRoomNotFound}},

		{name: "open: success", call: as(member, open("ownRoom1"))},
		{name: "open: repeat", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			_ = as(member, open("ownRoom1"))(t, s)
			return as(member, open("ownRoom1"))(t, s)
		}},
		// Only the oldest generation tells a room that does not exist from one
		// that the caller may not see.
		{name: "open: unknown room", call: as(member, open("nowhere")), want: rocketchat.ErrForbidden,
			but: map[generation]error{chatdmtest.RocketChat3: rocketchat.ErrInvalidChannel}},
		{name: "open: foreign room", call: as(member, open(foreign)), want: rocketchat.ErrForbidden,
			but: map[generation]error{chatdmtest.RocketChat3: rocketchat.ErrRoomNotFound}},
		{name: "open: bad token", call: as(nobody, open("ownRoom1")), want: rocketchat.ErrUnauthorized},
		{name: "open: rate limit", call: limited(member, "im.open", open("ownRoom1")), want: rocketchat.ErrTooManyRequests},
		{name: "open: bad body", call: as(member, empty("im.open")), want: chatdm.KindInvalidRequest},

		{name: "close: success", call: as(member, closes("ownRoom1"))},
		{name: "close: repeat", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			client, err := rocketchat.NewClient(s.URL, member)
			if err != nil {
				t.Fatal(err)
			}
			for _, already := range []bool{false, true} {
				res, err := client.IM.Close(t.Context(), "ownRoom1")
				if err != nil {
					return err
				}
				if res.AlreadyClosed != already || res.NoOp != already {
					t.Errorf("got %+v, want already closed %t", res, already)
				}
			}
			return nil
		}},
		{name: "close: unknown room", call: as(member, closes("nowhere")), want: chatdm.KindNotFound},
		{name: "close: foreign room", call: as(member, closes(foreign)), want: rocketchat.ErrForbidden,
			but: map[generation]error{chatdmtest.RocketChat3: rocketchat.ErrRoomNotFound}},
		{name: "close: bad token", call: as(nobody, closes("ownRoom1")), want: rocketchat.ErrUnauthorized},
		{name: "close: rate limit", call: limited(member, "im.close", closes("ownRoom1")), want: rocketchat.ErrTooManyRequests},
		{name: "close: bad body", call: as(member, empty("im.close")), want: chatdm.KindInvalidRequest},

		{name: "delete: success", call: as(admin, del(rocketchat.RoomID(foreign)))},
		{name: "delete: by username", call: as(admin, del(rocketchat.Username("alice")))},
		{name: "delete: repeat", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			if err := as(admin, del(rocketchat.RoomID(foreign)))(t, s); err != nil {
				t.Fatal(err)
			}
			return as(admin, del(rocketchat.RoomID(foreign)))(t, s)
		}, want: rocketchat.ErrInvalidChannel},
		{name: "delete: unknown room", call: as(admin, del(rocketchat.RoomID("nowhere"))), want: rocketchat.ErrInvalidChannel},
		{name: "delete: unknown user", call: as(admin, del(rocketchat.Username("nobody"))), want: chatdm.KindNotFound},
		{name: "delete: a channel", call: as(admin, del(rocketchat.RoomID("GENERAL"))), want: rocketchat.ErrInvalidChannel},
		// The oldest generation asks for a permission before it looks at the room.
		{name: "delete: foreign room", call: as(member, del(rocketchat.RoomID(foreign))), want: rocketchat.ErrNotAllowed,
			but: map[generation]error{chatdmtest.RocketChat3: rocketchat.ErrForbidden}},
		{name: "delete: missing permission", call: as(member, del(rocketchat.RoomID("ownRoom1"))), want: rocketchat.ErrNotAllowed,
			but: map[generation]error{chatdmtest.RocketChat3: rocketchat.ErrForbidden}},
		{name: "delete: no permission, whatever the code", call: as(member, del(rocketchat.RoomID("ownRoom1"))), want: chatdm.KindPermissionDenied},
		{name: "delete: bad token", call: as(nobody, del(rocketchat.RoomID("ownRoom1"))), want: rocketchat.ErrUnauthorized},
		{name: "delete: rate limit", call: limited(noBypass, "im.delete", del(rocketchat.RoomID("ownRoom1"))), want: rocketchat.ErrTooManyRequests},
		{name: "delete: bad body", call: as(admin, empty("im.delete")), want: rocketchat.ErrInvalidParams,
			but: map[generation]error{chatdmtest.RocketChat3: rocketchat.ErrRoomParamNotProvided}},

		{name: "login", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			creds, err := rocketchat.Login(t.Context(), s.URL, "alice", chatdmtest.RocketChatPassword)
			if err != nil {
				return err
			}
			if creds, err = rocketchat.Resume(t.Context(), s.URL, creds.AuthToken); err != nil {
				return err
			}
			return as(creds, create("bob"))(t, s)
		}},
		{name: "login: wrong password", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			_, err := rocketchat.Login(t.Context(), s.URL, "alice", "wrong-password")
			return err
		}, want: rocketchat.ErrUnauthorized},
		{name: "login: second factor", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			_, err := rocketchat.Login(t.Context(), s.URL, "careful@example.org", "careful-password", rocketchat.WithTOTP("123456"))
			return err
		}},
		{name: "login: second factor missing", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			_, err := rocketchat.Login(t.Context(), s.URL, "careful", "careful-password")
			return err
		}, want: rocketchat.ErrTOTPRequired},
		{name: "login: second factor wrong", call: func(t *testing.T, s *chatdmtest.RocketChat) error {
			_, err := rocketchat.Login(t.Context(), s.URL, "careful", "careful-password", rocketchat.WithTOTP("000000"))
			return err
		}, want: rocketchat.ErrTOTPInvalid},
		{name: "any other endpoint", call: as(member, func(ctx context.Context, c *rocketchat.Client) error {
			_, err := c.Call(ctx, "GET", "im.list", nil, nil)
			return err
		})},
		{name: "an endpoint that is not", call: as(member, empty("im.nothing")), want: chatdm.KindUnsupported},
	}
	for _, g := range all {
		for _, tt := range tests {
			t.Run(string(g)+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				server := chatdmtest.NewRocketChat(chatdmtest.Generation(g))
				defer server.Close()
				server.AddUser(chatdmtest.RocketChatUser{ID: noBypass.UserID, Username: "limited", AuthToken: noBypass.AuthToken, Admin: true,
					Permissions: []string{"delete-d", "view-room-administration"}})
				server.AddUser(chatdmtest.RocketChatUser{ID: noRights.UserID, Username: "norights", AuthToken: noRights.AuthToken, Permissions: []string{}})
				server.AddUser(chatdmtest.RocketChatUser{ID: "careful1", Username: "careful", Email: "careful@example.org", Password: "careful-password", TOTP: "123456"})
				server.AddRoom(chatdmtest.RocketChatRoom{ID: foreign, Type: "d", Members: []string{chatdmtest.Alice, chatdmtest.Bob}})
				server.AddRoom(chatdmtest.RocketChatRoom{ID: "ownRoom1", Type: "d", Members: []string{chatdmtest.RocketChatMemberID, chatdmtest.Alice}})
				server.AddRoom(chatdmtest.RocketChatRoom{ID: "GENERAL", Name: "general"})

				want := tt.want
				if other, ok := tt.but[g]; ok {
					want = other
				}
				err := tt.call(t, server)
				if want == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				e := wantError(t, err, want)
				if tt.name[len(tt.name)-10:] == "rate limit" && (e.RetryAfter < 58*time.Second || e.RetryAfter > time.Minute) {
					t.Errorf("RetryAfter %v, want what is left of a minute", e.RetryAfter)
				}
			})
		}
	}
	t.Run("before 3.18 there is no im.delete", func(t *testing.T) {
		server := chatdmtest.NewRocketChat(chatdmtest.Generation(chatdmtest.RocketChatOld))
		defer server.Close()
		err := as(admin, del(rocketchat.Username("alice")))(t, server)
		wantError(t, err, chatdm.KindUnsupported)
		if err := as(admin, create("alice"))(t, server); err != nil {
			t.Error(err)
		}
	})
}
