package chatdm

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// UsersService provides the users.* methods that find a person.
type UsersService struct{ client *Client }

// User is a person or a bot. Fields that the token cannot access are zero.
//
// Documented at https://docs.slack.dev/reference/objects/user-object.
type User struct {
	ID          string
	TeamID      string // ID of the user's workspace
	Name        string // the username, which need not be unique
	RealName    string
	DisplayName string // empty if the user chose none
	Email       string // needs the scope users:read.email
	TZ          string // time zone, such as "America/Los_Angeles"

	Deleted           bool // the account is deactivated, so nobody reads its messages
	IsBot             bool
	IsRestricted      bool // a guest
	IsUltraRestricted bool // a guest in only one channel
	IsStranger        bool // belongs to another workspace and shares no channel with the caller
}

// UserResult is the result of finding a user.
type UserResult struct {
	User User
	Meta Meta
}

// LookupByEmail returns the user with an email address. The call is idempotent. It needs
// the scope users:read.email.
//
// The typical error is [ErrUsersNotFound]. It does not prove that nobody has this address:
// Slack also returns it if the account is deactivated or not visible to the caller.
//
// Documented at https://docs.slack.dev/reference/methods/users.lookupByEmail.
func (s *UsersService) LookupByEmail(ctx context.Context, email string) (*UserResult, error) {
	return s.find(ctx, "users.lookupByEmail", input.Form{}.AddID("email", email))
}

// Info returns the user with an ID. The call is idempotent. It needs the scope users:read.
//
// Typical errors are [ErrUserNotFound] and [ErrUserNotVisible]. For a deactivated account,
// there is no error, and User.Deleted is true.
//
// Documented at https://docs.slack.dev/reference/methods/users.info.
func (s *UsersService) Info(ctx context.Context, userID string) (*UserResult, error) {
	return s.find(ctx, "users.info", input.Form{}.AddID("user", userID))
}

func (s *UsersService) find(ctx context.Context, method string, form input.Form) (*UserResult, error) {
	result := new(UserResult)
	body, err := form.Encode()
	_, err = s.client.do(ctx, request{
		Request: engine.Request{Method: method, Body: body, Idempotent: true},
		invalid: err, meta: &result.Meta,
		decode: func(raw *engine.Response) (response, error) {
			var resp struct {
				response
				User struct {
					ID       string `json:"id"`
					TeamID   string `json:"team_id"`
					Name     string `json:"name"`
					RealName string `json:"real_name"`
					TZ       string `json:"tz"`
					Profile  struct {
						RealName    string `json:"real_name"`
						DisplayName string `json:"display_name"`
						Email       string `json:"email"`
					} `json:"profile"`
					Deleted           bool `json:"deleted"`
					IsBot             bool `json:"is_bot"`
					IsRestricted      bool `json:"is_restricted"`
					IsUltraRestricted bool `json:"is_ultra_restricted"`
					IsStranger        bool `json:"is_stranger"`
				} `json:"user"`
			}
			err := raw.Decode(&resp)
			u := &resp.User
			if err == nil && resp.OK && u.ID == "" {
				err = errors.New("a success without a user ID")
			}
			result.User = User{
				ID: u.ID, TeamID: u.TeamID, Name: u.Name, RealName: cmp.Or(u.RealName, u.Profile.RealName), DisplayName: u.Profile.DisplayName,
				Email: u.Profile.Email, TZ: u.TZ, Deleted: u.Deleted, IsBot: u.IsBot, IsRestricted: u.IsRestricted,
				IsUltraRestricted: u.IsUltraRestricted, IsStranger: u.IsStranger,
			}
			return resp.response, err
		},
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// AuthService provides auth.test.
type AuthService struct{ client *Client }

// AuthTestResult describes the owner of a token. Fields that Slack does not send are empty.
type AuthTestResult struct {
	URL    string // of the workspace
	Team   string // name of the workspace
	TeamID string
	User   string // name of the user
	UserID string
	BotID  string // set if the token belongs to a bot

	EnterpriseID        string // set if the workspace belongs to an organization
	IsEnterpriseInstall bool   // the app is installed for the whole organization
	AppID               string

	// Meta.Scopes lists the token's scopes.
	Meta Meta
}

// Test checks the token and returns its owner. The call is idempotent. It needs no scope.
//
// Typical errors are [ErrInvalidAuth], [ErrTokenRevoked], [ErrTokenExpired], and
// [ErrAccountInactive].
//
// Documented at https://docs.slack.dev/reference/methods/auth.test.
func (s *AuthService) Test(ctx context.Context) (*AuthTestResult, error) {
	self, err := s.client.authTest(ctx)
	if err != nil {
		return nil, err
	}
	return &self.AuthTestResult, nil
}

// identity is the owner of the client's token.
type identity struct {
	AuthTestResult
	clockOffset time.Duration // how far the server's clock is ahead of the local one
}

func (c *Client) authTest(ctx context.Context) (*identity, error) {
	self := new(identity)
	_, err := c.do(ctx, request{
		Request: engine.Request{Method: "auth.test", Idempotent: true}, meta: &self.Meta,
		decode: func(raw *engine.Response) (response, error) {
			var resp struct {
				response
				URL                 string `json:"url"`
				Team                string `json:"team"`
				TeamID              string `json:"team_id"`
				User                string `json:"user"`
				UserID              string `json:"user_id"`
				BotID               string `json:"bot_id"`
				EnterpriseID        string `json:"enterprise_id"`
				IsEnterpriseInstall bool   `json:"is_enterprise_install"`
				AppID               string `json:"app_id"`
			}
			err := raw.Decode(&resp)
			if err == nil && resp.OK && resp.UserID == "" {
				err = errors.New("a success without a user ID")
			}
			self.AuthTestResult = AuthTestResult{
				URL: resp.URL, Team: resp.Team, TeamID: resp.TeamID, User: resp.User, UserID: resp.UserID, BotID: resp.BotID,
				EnterpriseID: resp.EnterpriseID, IsEnterpriseInstall: resp.IsEnterpriseInstall, AppID: resp.AppID,
			}
			if date, err := http.ParseTime(raw.Header.Get("Date")); err == nil {
				self.clockOffset = time.Until(date)
			}
			return resp.response, err
		},
	})
	if err != nil {
		return nil, err
	}
	return self, nil
}
