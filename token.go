package chatdm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// A TokenSource supplies the token for the next attempt; see [WithTokenSource].
// Implementations must be safe for concurrent use, and must be fast while the token is
// fresh. If Token returns an *[Error], the call fails with its kind; if it returns another
// error, with [KindUnavailable].
type TokenSource interface {
	Token(ctx context.Context) (string, error)
}

// A TokenRefresher is a TokenSource that can replace a token that the server rejected as
// expired or revoked. The client calls Refresh at most once per call. If several calls
// refresh the same stale token, Refresh should replace it only once.
type TokenRefresher interface {
	TokenSource
	Refresh(ctx context.Context, stale string) (string, error)
}

// tokenSource adapts a TokenSource to the engine, which does not know this package's types.
type tokenSource struct {
	source TokenSource
	last   atomic.Pointer[engine.Credential]
}

// forSlack distinguishes s from a source of Rocket.Chat credentials.
func (s *tokenSource) forSlack() {}

func (s *tokenSource) Credential(ctx context.Context) (*engine.Credential, error) {
	token, err := s.source.Token(ctx)
	return s.credential(token, err)
}

// tokenRefresher adapts a TokenRefresher.
type tokenRefresher struct {
	*tokenSource
	refresher TokenRefresher
}

// CanRefresh reports whether code says that the token has expired or was revoked. For a
// Rotator, it always returns true: after a reinstallation, Slack also sends other codes,
// and the store has other tokens.
func (r *tokenRefresher) CanRefresh(code string) bool {
	_, ok := r.refresher.(*Rotator)
	return expiredOrRevoked(code) || ok
}

func expiredOrRevoked(code string) bool {
	return code == string(ErrTokenExpired) || code == string(ErrTokenRevoked)
}

func (r *tokenRefresher) Refresh(ctx context.Context, stale *engine.Credential, code string) (*engine.Credential, error) {
	if rotator, ok := r.refresher.(*Rotator); ok && !expiredOrRevoked(code) {
		token, err := rotator.replace(ctx, stale.Secret, false)
		if err != nil {
			return nil, nil // the server's error says more
		}
		return r.credential(token, nil)
	}
	token, err := r.refresher.Refresh(ctx, stale.Secret)
	return r.credential(token, err)
}

func (s *tokenSource) credential(token string, err error) (*engine.Credential, error) {
	if err != nil {
		return nil, sourceError(err)
	}
	last := s.last.Load()
	if last == nil || last.Secret != token {
		if err := input.CheckCredential("token source: token", token); err != nil {
			return nil, &engine.Failure{Kind: engine.Unauthenticated, Err: err}
		}
		last = bearer(token)
		s.last.Store(last)
	}
	return last, nil
}

// sourceError gives the engine the kind and the code of a source's error.
func sourceError(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	return engine.SourceFailure(string(e.Kind), string(e.Code), e.RetryAfter, e.Service+" "+e.Method, e.Err)
}

// Tokens are a pair of rotating tokens. Packages fmt and log/slog print them without the
// secrets, and encoding/json returns an error. To store them, use MarshalBinary.
//
// Documented at https://docs.slack.dev/authentication/using-token-rotation.
type Tokens struct {
	AccessToken  string    // authorizes calls until Expiry
	RefreshToken string    // can be exchanged once for new Tokens; empty for a token that does not expire
	Expiry       time.Time // the zero Time means that AccessToken does not expire
}

// String returns the expiry but no secret.
func (t Tokens) String() string {
	expiry := "no expiry"
	if !t.Expiry.IsZero() {
		expiry = "expiry " + t.Expiry.UTC().Format(time.RFC3339)
	}
	return "chatdm.Tokens(" + expiry + ", secrets [redacted])"
}

// GoString returns the same text as String.
func (t Tokens) GoString() string { return t.String() }

// Format writes the same text as String for every verb.
func (t Tokens) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue returns the same text as String.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(t.String()) }

var errTokensJSON = errors.New("chatdm.Tokens: cannot be encoded as JSON because they contain secrets; use MarshalBinary and UnmarshalBinary")

// MarshalJSON always returns an error, because loggers marshal nested values.
// Use MarshalBinary instead.
func (t Tokens) MarshalJSON() ([]byte, error) { return nil, errTokensJSON }

// UnmarshalJSON always returns an error. Use UnmarshalBinary instead.
func (t *Tokens) UnmarshalJSON([]byte) error { return errTokensJSON }

// storedTokens is what MarshalBinary encodes as JSON. Its fields are []byte because a JSON
// string cannot contain invalid UTF-8.
type storedTokens struct {
	AccessToken, RefreshToken []byte
	Expiry                    time.Time
}

// MarshalBinary implements [encoding.BinaryMarshaler]. The result contains the secrets
// and is not encrypted.
func (t Tokens) MarshalBinary() ([]byte, error) {
	return json.Marshal(storedTokens{[]byte(t.AccessToken), []byte(t.RefreshToken), t.Expiry.UTC()})
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]. It accepts only what
// MarshalBinary returned. The error does not show the data.
func (t *Tokens) UnmarshalBinary(data []byte) error {
	var stored storedTokens
	err := json.Unmarshal(data, &stored)
	tokens := Tokens{string(stored.AccessToken), string(stored.RefreshToken), stored.Expiry}
	// Without this, data without an expiry would become tokens that do not expire.
	if again, marshalErr := tokens.MarshalBinary(); err != nil || marshalErr != nil || !bytes.Equal(again, data) {
		return errors.New("chatdm.Tokens: the data is not from MarshalBinary")
	}
	*t = tokens
	return nil
}

// A TokenStore stores the tokens of one installation of an app: those of a bot or of one
// user in one workspace. Implementations must be safe for concurrent use. To test your own,
// use chatdmtest.TestTokenStore.
type TokenStore interface {
	// Load returns the stored tokens. If none are stored, it returns the zero Tokens
	// and a nil error.
	Load(ctx context.Context) (Tokens, error)
	// Update calls fn with the stored tokens and stores the tokens that fn returns.
	// It returns them after it has stored them. If fn returns an error, Update stores
	// nothing and returns that error. If fn succeeds but Update cannot store the tokens,
	// it returns them together with the error, so that the caller does not lose them.
	//
	// Updates of the same tokens never run concurrently, in this process or any other. A
	// process that dies during an update must not block the others for more than a minute.
	Update(ctx context.Context, fn func(context.Context, Tokens) (Tokens, error)) (Tokens, error)
}

// OAuthApp identifies a Slack app to Slack. Packages fmt and log/slog print it without
// the secret, and encoding/json returns an error.
type OAuthApp struct {
	ClientID     string // such as "1234567890.1234567890"
	ClientSecret string
}

// String returns the client ID but not the secret.
func (a OAuthApp) String() string {
	return fmt.Sprintf("chatdm.OAuthApp(client ID %q, secret [redacted])", a.ClientID)
}

// GoString returns the same text as String.
func (a OAuthApp) GoString() string { return a.String() }

// Format writes the same text as String for every verb.
func (a OAuthApp) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// LogValue returns the same text as String.
func (a OAuthApp) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalJSON always returns an error, because loggers marshal nested values. Store the
// client secret as a string instead.
func (a OAuthApp) MarshalJSON() ([]byte, error) {
	return nil, errors.New("chatdm.OAuthApp: cannot be encoded as JSON because it contains a secret; store ClientSecret as a string")
}
