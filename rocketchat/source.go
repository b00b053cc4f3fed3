package rocketchat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/renew"
)

// A CredentialSource supplies the credentials for the next attempt; see
// [WithCredentialSource]. Implementations must be safe for concurrent use, and must be
// fast while the credentials are valid. If Credentials returns a *[chatdm.Error], the call
// fails with its kind; if it returns another error, with [chatdm.KindUnavailable].
type CredentialSource interface {
	Credentials(ctx context.Context) (Credentials, error)
}

// A CredentialRefresher is a CredentialSource that can replace credentials that the server
// rejected. The client calls Refresh at most once per call. If several calls refresh the
// same stale credentials, Refresh should replace them only once.
type CredentialRefresher interface {
	CredentialSource
	Refresh(ctx context.Context, stale Credentials) (Credentials, error)
}

// WithCredentialSource sets where the client gets its credentials, for example a
// [LoginSource]. The creds argument of [NewClient] must then be empty. If the server
// rejects them with a 401 and source is a [CredentialRefresher], the client refreshes them
// and retries the call, once per call and even if the call is not idempotent, because the
// server checks them before it does anything. If source is nil, the option has no effect.
func WithCredentialSource(source CredentialSource) chatdm.Option {
	return func(c *engine.Config) {
		adapter := &credentialSource{source: source}
		switch refresher, ok := source.(CredentialRefresher); {
		case source == nil:
			c.Source = nil
		case ok:
			c.Source = &credentialRefresher{adapter, refresher}
		default:
			c.Source = adapter
		}
	}
}

// credentialSource adapts a CredentialSource to the engine.
type credentialSource struct {
	source CredentialSource
	last   atomic.Pointer[engine.Credential]
}

// forRocketChat distinguishes s from a source of Slack tokens.
func (s *credentialSource) forRocketChat() {}

func (s *credentialSource) Credential(ctx context.Context) (*engine.Credential, error) {
	creds, err := s.source.Credentials(ctx)
	return s.credential(creds, err)
}

func (s *credentialSource) credential(creds Credentials, err error) (*engine.Credential, error) {
	if e, ok := errors.AsType[*chatdm.Error](err); ok {
		return nil, engine.SourceFailure(string(e.Kind), string(e.Code), e.RetryAfter, e.Service+" "+e.Method, e.Err)
	}
	if err != nil {
		return nil, err
	}
	last := s.last.Load()
	if last != nil && last.Owner == creds.UserID && last.Secret == creds.AuthToken {
		return last, nil
	}
	last, err = creds.credential()
	if err != nil {
		return nil, &engine.Failure{Kind: engine.Unauthenticated, Err: fmt.Errorf("credential source: %w", err)}
	}
	s.last.Store(last)
	return last, nil
}

// credentialRefresher adapts a CredentialRefresher.
type credentialRefresher struct {
	*credentialSource
	refresher CredentialRefresher
}

// CanRefresh returns true, because a 401 says that the server does not know the token.
func (r *credentialRefresher) CanRefresh(string) bool { return true }

func (r *credentialRefresher) Refresh(ctx context.Context, stale *engine.Credential, _ string) (*engine.Credential, error) {
	creds, err := r.refresher.Refresh(ctx, Credentials{UserID: stale.Owner, AuthToken: stale.Secret})
	return r.credential(creds, err)
}

// WithTOTPFunc sets a function that returns a current two-factor code for a [LoginSource].
// The LoginSource calls it only if the server requires a code. If fn is nil, the option has
// no effect. [NewClient] and [Login] reject it.
func WithTOTPFunc(fn func(context.Context) (string, error)) chatdm.Option {
	return func(c *engine.Config) { c.TOTPFunc = fn }
}

// LoginSource is a [CredentialRefresher] that logs in with a password when a call first
// needs credentials, and again after the server has dropped them, by default after 90 days.
// It is safe for concurrent use by multiple goroutines. All calls share one login. A
// LoginSource never logs out.
//
// After a failed login, it waits before it tries again: from 5 seconds to 5 minutes after a
// temporary failure, and from 1 minute to 1 hour after a permanent one such as a wrong
// password, because the server may block the account. In the meantime, calls fail with the
// error of that login.
type LoginSource struct {
	engine   *engine.Engine
	params   func() loginParams // a function, because fmt prints all fields of a struct
	totp     func(context.Context) (string, error)
	logger   *slog.Logger
	mu       sync.Mutex
	creds    *Credentials // nil before the first login
	loggedIn time.Time
	renewal  renew.Renewal
}

// NewLoginSource returns a LoginSource. The arguments and options are those of [Login],
// except that [WithTOTPFunc] replaces [WithTOTP]. NewLoginSource does not contact
// the server. If an argument or an option is invalid, it returns a *[chatdm.Error] of
// [chatdm.KindInvalidRequest].
//
// A personal access token needs no LoginSource, because it does not expire.
func NewLoginSource(serverURL, user, password string, opts ...chatdm.Option) (*LoginSource, error) {
	cfg := engine.NewConfig("", opts)
	var e *engine.Engine
	err := checkLogin(user, password)
	switch {
	case err != nil:
	case cfg.Source != nil:
		err = errors.New("WithCredentialSource: only NewClient accepts it")
	case cfg.TOTP != "":
		err = errors.New("WithTOTP: a code works only once; use WithTOTPFunc")
	default:
		e, err = newEngine(serverURL, cfg, nil, password)
	}
	if err != nil {
		return nil, &chatdm.Error{Service: service, Method: "NewLoginSource", Kind: chatdm.KindInvalidRequest, Err: err}
	}
	params := func() loginParams { return loginParams{User: user, Password: password} }
	return &LoginSource{engine: e, params: params, totp: cfg.TOTPFunc, logger: cfg.Logger}, nil
}

// Credentials implements [CredentialSource].
func (s *LoginSource) Credentials(ctx context.Context) (Credentials, error) {
	return s.Refresh(ctx, Credentials{})
}

// Refresh implements [CredentialRefresher]. It returns credentials other than stale: those
// of a login that has happened in the meantime, or of a new one.
func (s *LoginSource) Refresh(ctx context.Context, stale Credentials) (Credentials, error) {
	for loggedIn := false; ; {
		s.mu.Lock()
		if s.creds != nil && *s.creds != stale {
			creds := *s.creds
			s.mu.Unlock()
			return creds, nil
		}
		err := s.renewal.Paused()
		if err == nil && !s.renewal.Running() && (loggedIn || time.Since(s.loggedIn) < time.Minute) {
			err = s.engine.Fail(loginPath, engine.Unauthenticated, 0, errors.New("the server rejected a new token"))
		}
		if err != nil {
			s.mu.Unlock()
			return Credentials{}, err
		}
		l := &passwordLogin{source: s}
		var done <-chan struct{}
		done, loggedIn = s.renewal.Begin(ctx, &s.mu, l.run, l.finish)
		s.mu.Unlock()
		if err := renew.Await(ctx, done); err != nil {
			return Credentials{}, err
		}
	}
}

// String returns the type, but no secret.
func (s *LoginSource) String() string { return "rocketchat.LoginSource" }

// GoString returns the same text as String.
func (s *LoginSource) GoString() string { return s.String() }

// Format writes the same text as String for every verb.
func (s *LoginSource) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// passwordLogin is one login of a LoginSource.
type passwordLogin struct {
	source *LoginSource
	creds  Credentials
	err    error
}

func (l *passwordLogin) run(ctx context.Context) {
	s := l.source
	params := s.params()
	l.creds, l.err = sendLogin(ctx, s.engine, params)
	if errors.Is(l.err, chatdm.ErrEffectUnknown) { // a second token does no harm
		l.creds, l.err = sendLogin(ctx, s.engine, params)
	}
	if errors.Is(l.err, ErrTOTPRequired) && s.totp != nil {
		if params.Code, l.err = s.totp(ctx); l.err != nil {
			l.err = s.engine.Fail(loginPath, engine.Unavailable, 0, fmt.Errorf("WithTOTPFunc: %w", l.err))
			return
		}
		s.engine.Redact(params.Code)
		l.creds, l.err = sendLogin(ctx, s.engine, params)
	}
}

// finish applies the result of the login.
func (l *passwordLogin) finish() {
	s := l.source
	if l.err == nil {
		s.creds, s.loggedIn = &l.creds, time.Now()
		s.renewal.Succeed()
		return
	}
	e, _ := errors.AsType[*chatdm.Error](l.err)
	permanent := e.Kind != chatdm.KindUnavailable && e.Kind != chatdm.KindRateLimited && e.Kind != chatdm.KindUnexpectedResponse
	wait := s.renewal.Fail(l.err, permanent, e.RetryAfter)
	if s.logger != nil {
		s.logger.Warn("chatdm: not logged in", slog.Duration("wait", wait), slog.Any("error", l.err))
	}
}
