package chatdm

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
	"github.com/chatdm/chatdm/internal/renew"
)

// Rotator is a [TokenRefresher] that keeps the tokens of one installation fresh. It is safe
// for concurrent use by multiple goroutines. Several processes can each have a Rotator with
// the same [TokenStore]; they refresh the tokens only once.
//
// The first call in the last 20 to 40 minutes before a token expires refreshes it. If that
// fails, calls continue to use the token until it expires. After a failure, the Rotator
// waits before it asks Slack again: from 5 seconds to 5 minutes after a temporary one, and
// from 1 minute to 1 hour after a permanent one such as [ErrInvalidRefreshToken]. In
// the meantime, Token returns the error immediately if there is no valid token.
//
// The Rotator stores new tokens before it uses them. If it cannot store them, it logs the
// error, keeps them in memory, and tries to store them again. It uses them only if the
// stored token is no longer valid.
type Rotator struct {
	store    TokenStore
	oauth    *Client                       // authenticates as the app
	exchange func(token string) input.Form // the arguments of oauth.v2.exchange
	logger   *slog.Logger

	mu      sync.Mutex
	tokens  Tokens    // the zero value if they have not been loaded
	unsaved Tokens    // newer tokens that could not be stored, or the zero value
	fetched time.Time // when the tokens came from Slack; zero if they came from the store
	renewal renew.Renewal
}

// A token is refreshed between these two times before it expires. The exact time is the
// same in all processes, so another one refreshes it soon if one of them dies.
const (
	earliestRefresh = 40 * time.Minute
	latestRefresh   = 20 * time.Minute
)

// NewRotator returns a Rotator that uses oauth.v2.access. Put the tokens of an installation
// into the store first, with [TokenStore].Update or [Rotator.Exchange]. NewRotator does not
// contact the server or the store. If an argument or an option is invalid, it returns an
// *[Error] of [KindInvalidRequest]. It does not accept [WithTokenSource].
//
// Documented at https://docs.slack.dev/authentication/using-token-rotation.
func NewRotator(app OAuthApp, store TokenStore, opts ...Option) (*Rotator, error) {
	cfg := engine.NewConfig("https://slack.com/api", opts)
	r := &Rotator{store: store, oauth: new(Client), logger: cfg.Logger}
	err := cmp.Or(input.CheckCredential("app.ClientID", app.ClientID), input.CheckCredential("app.ClientSecret", app.ClientSecret))
	switch {
	case err != nil:
	case store == nil:
		err = errors.New("store: must not be nil")
	case cfg.Source != nil:
		err = errors.New("WithTokenSource: only NewClient accepts it")
	case cfg.TOTP != "":
		err = errors.New("WithTOTP: only rocketchat.Login accepts it")
	default:
		basic := base64.StdEncoding.EncodeToString([]byte(app.ClientID + ":" + app.ClientSecret))
		r.oauth.engine, err = engine.New(cfg, &platform, engine.NewCredential("", basic, "Authorization", "Basic "+basic), app.ClientSecret)
	}
	if err != nil {
		return nil, &Error{Service: service, Method: "NewRotator", Kind: KindInvalidRequest, Err: err}
	}
	r.exchange = func(token string) input.Form {
		return input.Form{}.Add("client_id", app.ClientID).Add("client_secret", app.ClientSecret).Add("token", token)
	}
	return r, nil
}

// String returns the type, but no secret.
func (r *Rotator) String() string { return "chatdm.Rotator" }

// GoString returns the same text as String.
func (r *Rotator) GoString() string { return r.String() }

// Format writes the same text as String for every verb.
func (r *Rotator) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// Token implements [TokenSource]. It contacts the store only for the first call and for a
// refresh. The error is an *[Error] of [KindUnauthenticated] if the store has no tokens or
// Slack rejects the refresh token.
func (r *Rotator) Token(ctx context.Context) (string, error) {
	for {
		r.mu.Lock()
		current, paused := r.current(), r.renewal.Paused()
		due := !time.Now().Before(r.refreshAt(current)) || r.unsaved.AccessToken != ""
		valid := r.valid(current)
		if valid && (!due || paused != nil || r.renewal.Running()) {
			r.mu.Unlock()
			return current.AccessToken, nil
		}
		if paused != nil {
			r.mu.Unlock()
			return "", paused
		}
		done, _ := r.begin(ctx, &update{rotator: r})
		r.mu.Unlock()
		if err := renew.Await(ctx, done); err != nil {
			return "", err
		}
	}
}

// Refresh implements [TokenRefresher]. It returns a token other than stale: the current one,
// one that another process has stored, or a new one.
func (r *Rotator) Refresh(ctx context.Context, stale string) (string, error) {
	return r.replace(ctx, stale, true)
}

// replace returns a token other than stale. Unless refresh is set, it only looks for one in
// the store.
func (r *Rotator) replace(ctx context.Context, stale string, refresh bool) (string, error) {
	for refreshed := false; ; {
		r.mu.Lock()
		if current := r.current(); current.AccessToken != "" && current.AccessToken != stale {
			r.mu.Unlock()
			return current.AccessToken, nil
		}
		err := r.renewal.Paused()
		switch token := r.unsaved.AccessToken; {
		case err != nil && token != "" && token != stale:
			r.tokens.Expiry = time.Now() // so that Token also returns the unsaved one
			r.mu.Unlock()
			return token, nil
		case err != nil || r.renewal.Running():
		case refreshed, time.Since(r.fetched) < time.Minute:
			err = r.newError(KindUnauthenticated, errors.New("the server rejected a new token"))
		}
		if err != nil {
			r.mu.Unlock()
			return "", err
		}
		var done <-chan struct{}
		done, refreshed = r.begin(ctx, &update{rotator: r, stale: stale, lookOnly: !refresh})
		r.mu.Unlock()
		if err := renew.Await(ctx, done); err != nil {
			return "", err
		}
	}
}

// Exchange calls oauth.v2.exchange to replace a long-lived token with rotating tokens, and
// stores them. If the store already has tokens, it does nothing. The long-lived token works
// until the first refresh. If the response is lost, the error matches [ErrEffectUnknown]; if
// a second call then fails with [ErrTokenAlreadyExchanged], install the app again. Exchange
// takes at most a minute. It ignores the cancellation of ctx, because the tokens could be
// lost. The call is not idempotent.
//
// Documented at https://docs.slack.dev/reference/methods/oauth.v2.exchange.
func (r *Rotator) Exchange(ctx context.Context, token string) error {
	if err := input.CheckCredential("token", token); err != nil {
		return &Error{Service: service, Method: "oauth.v2.exchange", Kind: KindInvalidRequest, Err: err}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renew.Timeout)
	defer cancel()
	var failure error
	tokens, err := r.store.Update(ctx, func(ctx context.Context, stored Tokens) (Tokens, error) {
		if stored.AccessToken != "" {
			return stored, nil
		}
		oauth := &Client{}
		oauth.engine = r.oauth.engine.WithCredential(engine.NewCredential("", token), nil)
		next, err := fetch(ctx, oauth, "oauth.v2.exchange", r.exchange(token))
		failure = err
		return next, err
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.tokens, r.unsaved = tokens, Tokens{}
		r.renewal.Succeed()
	case failure != nil:
		return failure
	default:
		r.unsaved = tokens
		return r.storeError(err)
	}
	return nil
}

// current returns the stored tokens. If they are no longer valid, it returns newer ones
// that could not be stored.
func (r *Rotator) current() Tokens {
	if r.unsaved.AccessToken != "" && !r.valid(r.tokens) {
		return r.unsaved
	}
	return r.tokens
}

func (r *Rotator) valid(t Tokens) bool {
	return t.AccessToken != "" && (t.Expiry.IsZero() || time.Now().Before(t.Expiry))
}

// refreshAt returns when to refresh the tokens: if they come from Slack, not before half of
// their lifetime has passed.
func (r *Rotator) refreshAt(t Tokens) time.Time {
	if t.Expiry.IsZero() {
		return time.Now().Add(time.Hour) // never
	}
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, t.AccessToken)
	jitter := time.Duration(hash.Sum32()%1000) * (earliestRefresh - latestRefresh) / 1000
	at := t.Expiry.Add(jitter - earliestRefresh)
	if half := r.fetched.Add(t.Expiry.Sub(r.fetched) / 2); !r.fetched.IsZero() && half.After(at) {
		return half
	}
	return at
}

// begin begins an update, unless one is running; see [renew.Renewal.Begin].
func (r *Rotator) begin(ctx context.Context, u *update) (done <-chan struct{}, began bool) {
	u.unsaved = r.unsaved
	u.load = r.tokens.AccessToken == "" && u.stale == "" && r.unsaved.AccessToken == ""
	return r.renewal.Begin(ctx, &r.mu, u.run, func() { r.finish(u) })
}

// update is one attempt to get fresh tokens.
type update struct {
	rotator  *Rotator
	stale    string // the token that the server rejected, or empty
	unsaved  Tokens // newer tokens than those in the store, or the zero value
	load     bool   // nothing has been loaded yet
	lookOnly bool   // do not ask Slack for new tokens

	tokens   Tokens
	used     string    // the refresh token that was sent to Slack, or empty
	fetched  time.Time // when the tokens came from Slack, or the zero Time
	err      error     // why there are no fresh tokens
	storeErr error     // why the tokens could not be loaded or stored
}

func (u *update) run(ctx context.Context) {
	r := u.rotator
	if u.load || u.lookOnly {
		tokens, err := r.store.Load(ctx)
		switch {
		case err != nil:
			u.storeErr = err
			return
		case u.lookOnly && (tokens.AccessToken == u.stale || !r.valid(tokens)):
			u.err = r.newError(KindUnauthenticated, errors.New("the store has no other token"))
			return
		case r.valid(tokens): // if it is time to refresh them, that is another update
			u.tokens = tokens
			return
		}
	}
	tokens, err := r.store.Update(ctx, u.next)
	if u.err == nil {
		u.tokens, u.storeErr = tokens, err
		return
	}
	if !errors.Is(u.err, ErrInvalidRefreshToken) {
		return
	}
	// Another process may have used the refresh token and stored its successor.
	if tokens, err := r.store.Load(ctx); err == nil && tokens.RefreshToken != u.used && r.valid(tokens) {
		u.tokens, u.err = tokens, nil
	}
}

// next returns the tokens that the store should have: those that it has, newer ones that
// could not be stored, or new ones from Slack.
func (u *update) next(ctx context.Context, stored Tokens) (Tokens, error) {
	r, now := u.rotator, time.Now()
	tokens := stored
	if u.unsaved.AccessToken != "" && stored.Expiry.Before(u.unsaved.Expiry) {
		tokens = u.unsaved
	}
	switch {
	case tokens.AccessToken != "" && tokens.AccessToken != u.stale && now.Before(r.refreshAt(tokens)):
		return tokens, nil
	case tokens.AccessToken == "":
		u.err = r.newError(KindUnauthenticated, errors.New("the store has no tokens; install the app"))
	case tokens.RefreshToken == "":
		u.err = r.newError(KindUnauthenticated, errors.New("the stored token cannot be refreshed; install the app again"))
	default:
		u.used = tokens.RefreshToken
		tokens, u.err = r.refresh(ctx, tokens.RefreshToken)
		u.fetched = now
	}
	return tokens, u.err
}

// refresh exchanges a refresh token. If the response is lost, it tries once more: for a
// short time, Slack accepts a refresh token again.
func (r *Rotator) refresh(ctx context.Context, token string) (Tokens, error) {
	form := input.Form{}.Add("grant_type", "refresh_token").Add("refresh_token", token)
	r.oauth.engine.Redact(token)
	tokens, err := fetch(ctx, r.oauth, "oauth.v2.access", form)
	if errors.Is(err, ErrEffectUnknown) && r.oauth.engine.Sleep(ctx, "oauth.v2.access", engine.WaitBackoff, time.Second) == nil {
		tokens, err = fetch(ctx, r.oauth, "oauth.v2.access", form)
	}
	return tokens, err
}

// fetch calls a method that returns tokens.
func fetch(ctx context.Context, c *Client, method string, form input.Form) (Tokens, error) {
	var tokens Tokens
	start := time.Now() // so that the expiry is not too late
	body, err := form.Encode()
	_, err = c.do(ctx, request{
		Request: engine.Request{Method: method, Body: body, Confidential: true}, invalid: err, meta: new(Meta),
		decode: func(raw *engine.Response) (response, error) {
			var resp struct {
				response
				AccessToken  string `json:"access_token"`
				RefreshToken string `json:"refresh_token"`
				ExpiresIn    int64  `json:"expires_in"`
			}
			err := raw.Decode(&resp)
			c.engine.Redact(resp.AccessToken)
			c.engine.Redact(resp.RefreshToken)
			if err == nil && resp.OK && (resp.AccessToken == "" || resp.RefreshToken == "" || resp.ExpiresIn <= 0 || resp.ExpiresIn > maxLifetime) {
				err = errors.New("a success without access_token, refresh_token, or a valid expires_in")
			}
			tokens = Tokens{resp.AccessToken, resp.RefreshToken, start.Add(time.Duration(resp.ExpiresIn) * time.Second)}
			return resp.response, err
		},
	})
	if err != nil {
		return Tokens{}, err
	}
	return tokens, nil
}

// maxLifetime is the longest plausible lifetime of a token, in seconds.
const maxLifetime = 10 * 365 * 24 * 60 * 60

// finish applies the result of an update.
func (r *Rotator) finish(u *update) {
	if u.err == nil && u.storeErr == nil {
		r.tokens, r.unsaved, r.fetched = u.tokens, Tokens{}, u.fetched
		r.renewal.Succeed()
		return
	}
	err := u.err
	if err == nil {
		err = r.storeError(u.storeErr)
		if u.tokens.AccessToken != "" {
			r.unsaved, r.fetched = u.tokens, u.fetched
		}
	}
	var requested time.Duration
	if e, ok := errors.AsType[*Error](err); ok {
		requested = e.RetryAfter
	}
	wait := r.renewal.Fail(err, (u.used != "" || u.lookOnly) && u.err != nil && !isTemporary(u.err), requested)
	if r.logger != nil {
		r.logger.Warn("chatdm: tokens not refreshed", slog.Duration("wait", wait), slog.Any("error", err))
	}
}

func (r *Rotator) storeError(err error) error {
	return r.newError(KindUnavailable, fmt.Errorf("token store: %w", err))
}

func (r *Rotator) newError(kind Kind, err error) error {
	return r.oauth.engine.Fail("oauth.v2.access", string(kind), 0, err)
}
