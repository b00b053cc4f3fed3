package rocketchat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
)

// Credentials are what a client proves its user with: of [Login], or a personal
// access token. No verb of fmt and no line of slog shows the token; JSON does,
// for callers who store it.
type Credentials struct {
	// UserID is the id of the user, not the username.
	UserID string `json:"userId"`
	// AuthToken is secret. One of Login ends after 90 days, unless the server
	// says otherwise; a personal access token does not end.
	AuthToken string `json:"authToken"`
}

// String names the user and not the token.
func (c Credentials) String() string {
	return fmt.Sprintf("rocketchat.Credentials(user %q, token [redacted])", c.UserID)
}

// GoString is the same as String.
func (c Credentials) GoString() string { return c.String() }

// Format writes String whatever the verb: without it %d would show the fields.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue keeps the token out of slog's lines.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// WithTOTP gives [Login] the code of a second factor, for a user who has one:
// six digits from an app, or from an e-mail. [NewClient] refuses it.
func WithTOTP(code string) chatdm.Option {
	return func(c *engine.Config) { c.TOTP = code }
}

const loginPath = "login"

// Login asks a server for credentials of a user, who is named by username or
// by e-mail address. The URL and the options are those of [NewClient].
//
// A wrong user or password is [ErrUnauthorized]. A user with a second factor
// gets [ErrTOTPRequired] until the call has [WithTOTP], and [ErrTOTPInvalid]
// for a wrong code. It is not repeated when the answer is lost.
//
// Documented at https://developer.rocket.chat/apidocs/login-with-username-and-password.
func Login(ctx context.Context, serverURL, user, password string, opts ...chatdm.Option) (Credentials, error) {
	var err error
	switch {
	case user == "":
		err = errors.New("user: empty")
	case password == "":
		err = errors.New("password: empty")
	}
	return login(ctx, serverURL, loginParams{User: user, Password: password}, err, opts)
}

// Resume asks a server for credentials with the token of an earlier [Login]
// that has not ended. A token that has is [ErrUnauthorized]. It is not repeated
// when the answer is lost.
//
// Documented at https://developer.rocket.chat/apidocs/login-with-username-and-password.
func Resume(ctx context.Context, serverURL, authToken string, opts ...chatdm.Option) (Credentials, error) {
	return login(ctx, serverURL, loginParams{Resume: authToken}, engine.CheckCredential("authToken", authToken), opts)
}

type loginParams struct {
	User     string `json:"user,omitempty"` // the server tells an address by its @
	Password string `json:"password,omitempty"`
	Code     string `json:"code,omitempty"`
	Resume   string `json:"resume,omitempty"`
}

func login(ctx context.Context, serverURL string, params loginParams, invalid error, opts []chatdm.Option) (Credentials, error) {
	refuse := func(err error) (Credentials, error) {
		return Credentials{}, &chatdm.Error{Service: service, Method: loginPath, Kind: chatdm.KindInvalidRequest, Err: err}
	}
	if invalid != nil {
		return refuse(invalid)
	}
	e, cfg, err := newEngine(serverURL, Credentials{}, opts, params.Password, params.Resume)
	if err != nil {
		return refuse(err)
	}
	params.Code = cfg.TOTP
	r, err := do(ctx, e, call{verb: http.MethodPost, path: loginPath, params: params, check: hasCredentials})
	if err != nil {
		return Credentials{}, err
	}
	return r.Data, nil
}

// hasCredentials shows nothing of the answer: it may hold a token.
func hasCredentials(r *reply) string {
	if r.Data.UserID == "" || r.Data.AuthToken == "" {
		return "a success without credentials"
	}
	return ""
}
