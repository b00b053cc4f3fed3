package rocketchat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// Credentials identify and authenticate a user. They come from [Login], or contain
// a personal access token. Packages fmt and log/slog print them without the token,
// and encoding/json returns an error. To store them, use MarshalBinary.
type Credentials struct {
	UserID    string // the user's ID, not the username
	AuthToken string // a token from Login expires after 90 days by default; a personal access token does not expire
}

// String returns the user ID but not the token.
func (c Credentials) String() string {
	return fmt.Sprintf("rocketchat.Credentials(user %q, token [redacted])", c.UserID)
}

// GoString returns the same text as String.
func (c Credentials) GoString() string { return c.String() }

// Format writes the same text as String for every verb.
func (c Credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue returns the same text as String.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// credential returns what the engine needs, or an error that names what is invalid.
func (c Credentials) credential() (*engine.Credential, error) {
	if err := input.CheckCredential("UserID", c.UserID); err != nil {
		return nil, err
	}
	if err := input.CheckCredential("AuthToken", c.AuthToken); err != nil {
		return nil, err
	}
	return engine.NewCredential(c.UserID, c.AuthToken, "X-User-Id", c.UserID, "X-Auth-Token", c.AuthToken), nil
}

var errNoJSON = errors.New("rocketchat.Credentials: cannot be encoded as JSON because they contain a secret; use MarshalBinary and UnmarshalBinary")

// MarshalJSON always returns an error, because loggers marshal nested values.
// Use MarshalBinary instead.
func (c Credentials) MarshalJSON() ([]byte, error) { return nil, errNoJSON }

// UnmarshalJSON always returns an error. Use UnmarshalBinary instead.
func (c *Credentials) UnmarshalJSON([]byte) error { return errNoJSON }

// storedCredentials is what MarshalBinary encodes as JSON. Its fields are []byte
// because a JSON string cannot contain invalid UTF-8.
type storedCredentials struct{ UserID, AuthToken []byte }

// MarshalBinary implements [encoding.BinaryMarshaler]. The result contains the
// token and is not encrypted.
func (c Credentials) MarshalBinary() ([]byte, error) {
	return json.Marshal(storedCredentials{[]byte(c.UserID), []byte(c.AuthToken)})
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]. It accepts only what
// MarshalBinary returned. The error does not show the data.
func (c *Credentials) UnmarshalBinary(data []byte) error {
	var stored storedCredentials
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if dec.Decode(&stored) != nil || dec.InputOffset() != int64(len(data)) || stored.UserID == nil || stored.AuthToken == nil {
		return errors.New("rocketchat.Credentials: the data is not from MarshalBinary")
	}
	*c = Credentials{string(stored.UserID), string(stored.AuthToken)}
	return nil
}

// WithTOTP passes a two-factor code, six digits from an app or an email, to
// [Login]. [NewClient] rejects this option.
func WithTOTP(code string) chatdm.Option {
	return func(c *engine.Config) { c.TOTP = code }
}

const loginPath = "login"

// Login logs in with a password and returns credentials. The user is a username or
// an email address. The URL and the options are those of [NewClient] plus
// [WithTOTP]. The error of a failed login shows no part of the response.
//
// The error is [ErrUnauthorized] if the user or the password is wrong,
// [ErrTOTPRequired] if the account requires [WithTOTP], and [ErrTOTPInvalid] if
// the two-factor code is wrong. The call is not idempotent, but you may repeat it.
//
// Documented at https://developer.rocket.chat/apidocs/login-with-username-and-password.
func Login(ctx context.Context, serverURL, user, password string, opts ...chatdm.Option) (Credentials, error) {
	return login(ctx, serverURL, loginParams{User: user, Password: password}, checkLogin(user, password), opts)
}

func checkLogin(user, password string) error {
	switch {
	case user == "":
		return errors.New("user: must not be empty")
	case password == "":
		return errors.New("password: must not be empty")
	}
	return nil
}

// Resume logs in with the token of an earlier [Login] and returns credentials. If the
// token has expired, the error is [ErrUnauthorized]. The call is not idempotent.
//
// Documented at https://developer.rocket.chat/apidocs/login-with-username-and-password.
func Resume(ctx context.Context, serverURL, authToken string, opts ...chatdm.Option) (Credentials, error) {
	return login(ctx, serverURL, loginParams{Resume: authToken}, input.CheckCredential("authToken", authToken), opts)
}

type loginParams struct {
	User     string `json:"user,omitempty"` // the server recognizes an email address by its @
	Password string `json:"password,omitempty"`
	Code     string `json:"code,omitempty"`
	Resume   string `json:"resume,omitempty"`
}

func login(ctx context.Context, serverURL string, params loginParams, invalid error, opts []chatdm.Option) (Credentials, error) {
	cfg := engine.NewConfig("", opts)
	params.Code = cfg.TOTP
	var e *engine.Engine
	switch {
	case invalid != nil:
	case cfg.Source != nil:
		invalid = errors.New("WithCredentialSource: only NewClient accepts it")
	case cfg.TOTPFunc != nil:
		invalid = errors.New("WithTOTPFunc: only NewLoginSource accepts it")
	default:
		e, invalid = newEngine(serverURL, cfg, nil, params.Password, params.Resume, cfg.TOTP)
	}
	if invalid != nil {
		return Credentials{}, &chatdm.Error{Service: service, Method: loginPath, Kind: chatdm.KindInvalidRequest, Err: invalid}
	}
	return sendLogin(ctx, e, params)
}

func sendLogin(ctx context.Context, e *engine.Engine, params loginParams) (Credentials, error) {
	var creds Credentials
	_, err := do(ctx, e, request{
		Request: engine.Request{Method: loginPath, Verb: http.MethodPost, Confidential: true},
		params:  params,
		decode: func(raw *engine.Response) (response, error) {
			var resp struct {
				response
				Data struct {
					UserID    string `json:"userId"`
					AuthToken string `json:"authToken"`
				} `json:"data"`
			}
			err := raw.Decode(&resp)
			creds = Credentials(resp.Data)
			return resp.response, err
		},
		verify: func(*response) *engine.Failure { return required(creds.UserID != "" && creds.AuthToken != "") },
	})
	if err != nil {
		return Credentials{}, err
	}
	return creds, nil
}
