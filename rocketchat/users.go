package rocketchat

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// UsersService provides the users.* endpoints.
type UsersService struct{ client *Client }

// User is a user of the server.
type User struct {
	ID       string
	Username string
	Name     string
	Email    string // the first address; empty unless the caller may see it
	Active   bool   // false if the account is deactivated
	Bot      bool   // whether the account belongs to a bot or an app
	Roles    []string
}

// UserResult is the result of getting a user.
type UserResult struct {
	User User
	Meta chatdm.Meta
}

// UserTarget identifies the user to get. It is a [UserID], a [Username], or an
// [Email].
type UserTarget interface {
	param() (name, value string)
	check() error
	// matches reports whether the user with these email addresses is the target.
	matches(user User, emails []string) bool
}

// UserID is a [UserTarget]: the user with this ID.
type UserID string

// Email is a [UserTarget]: the user with this email address. It needs version 8.4
// of the server.
type Email string

func (id UserID) param() (name, value string)      { return "userId", string(id) }
func (name Username) param() (param, value string) { return "username", string(name) }
func (email Email) param() (name, value string)    { return "email", string(email) }

func (id UserID) check() error   { return input.CheckID("userId", string(id)) }
func (email Email) check() error { return input.CheckID("email", string(email)) }

func (id UserID) matches(user User, _ []string) bool { return user.ID == string(id) }
func (name Username) matches(user User, _ []string) bool {
	return strings.EqualFold(user.Username, string(name))
}
func (email Email) matches(_ User, emails []string) bool {
	for _, address := range emails {
		if strings.EqualFold(address, string(email)) {
			return true
		}
	}
	return false
}

// Info gets a user. The call is idempotent. To see the email address and the roles of
// another user, or to find one by [Email], the caller needs the permission
// view-full-other-user-info.
//
// The typical error is [ErrInvalidUser] of [chatdm.KindNotFound] if there is no such
// user, or if the target is an [Email] and the caller lacks the permission. If the
// target is an [Email] and the server is older than 8.4, the error is of
// [chatdm.KindUnsupported]. Info never returns a user other than the target, although
// servers also accept a username as a user ID and ignore unknown arguments.
//
// Documented at https://developer.rocket.chat/apidocs/get-users-info.
func (s *UsersService) Info(ctx context.Context, target UserTarget) (*UserResult, error) {
	if target == nil {
		return nil, s.client.engine.Fail("users.info", engine.InvalidRequest, 0, errors.New("target: must not be nil"))
	}
	result := new(UserResult)
	name, value := target.param()
	_, byEmail := target.(Email)
	var emails []string
	resp, err := do(ctx, s.client.engine, request{
		Request: engine.Request{Method: "users.info", Verb: http.MethodGet, Idempotent: true},
		params:  url.Values{name: {value}}, invalid: target.check(),
		decode: func(raw *engine.Response) (response, error) {
			var body struct {
				response
				User wireUser `json:"user"`
			}
			err := raw.Decode(&body)
			result.User, emails = body.User.user()
			return body.response, err
		},
		verify: func(*response) *engine.Failure {
			switch f := required(result.User.ID != ""); {
			case f != nil || target.matches(result.User, emails):
				return f
			case byEmail:
				return &engine.Failure{Kind: string(chatdm.KindUnsupported), Err: errNoEmails}
			}
			return &engine.Failure{Kind: string(chatdm.KindNotFound), Err: errors.New("there is no such user; the server returned another one")}
		},
		refine: func(_ int, f *engine.Failure) {
			if code := chatdm.Code(f.Code); byEmail && (code == ErrInvalidParams || code == ErrInvalidFilter) {
				f.Kind, f.Code, f.Err = string(chatdm.KindUnsupported), "", errNoEmails
			}
		},
	})
	switch {
	case err == nil:
		if byEmail {
			s.client.findsEmails.Store(true)
		}
		result.Meta = resp.meta
		return result, nil
	case byEmail && errors.Is(err, ErrInvalidUser) && !s.client.findsEmails.Load():
		return nil, s.explainNotFound(ctx, err)
	}
	return nil, err
}

var errNoEmails = errors.New("the server cannot find users by email address; that needs version 8.4")

// explainNotFound finds out why a search by email found nobody. Servers before 4.7 ignore
// the argument and respond the same way. They also do so, or return an arbitrary user, if
// there is no argument at all, which newer servers reject.
func (s *UsersService) explainNotFound(ctx context.Context, notFound error) error {
	e, _ := errors.AsType[*chatdm.Error](notFound)
	_, err := do(ctx, s.client.engine, request{
		Request: engine.Request{Method: "users.info", Verb: http.MethodGet, Idempotent: true, EarlierAttempts: int32(e.Attempts)},
		params:  url.Values{},
	})
	switch {
	case errors.Is(err, ErrInvalidParams), errors.Is(err, ErrInvalidFilter):
		s.client.findsEmails.Store(true)
		return notFound
	case err == nil, errors.Is(err, ErrInvalidUser):
		return s.client.engine.Fail("users.info", string(chatdm.KindUnsupported), e.Attempts+1, errNoEmails)
	}
	return err
}

// wireUser is a user as the server sends it.
type wireUser struct {
	ID       string `json:"_id"`
	Username string `json:"username"`
	Name     string `json:"name"`
	Type     string `json:"type"`
	Active   *bool  `json:"active"`
	Emails   []struct {
		Address string `json:"address"`
	} `json:"emails"`
	Roles engine.Strings `json:"roles"`
}

func (u *wireUser) user() (user User, emails []string) {
	user = User{ID: u.ID, Username: u.Username, Name: u.Name, Active: u.Active == nil || *u.Active, Roles: u.Roles}
	user.Bot = u.Type == "bot" || u.Type == "app"
	for _, role := range u.Roles {
		user.Bot = user.Bot || role == "bot"
	}
	for _, email := range u.Emails {
		emails = append(emails, email.Address)
	}
	if emails != nil {
		user.Email = emails[0]
	}
	return user, emails
}
