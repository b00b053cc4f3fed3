package chatdmredis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

//go:embed tokens.lua
var tokensScript string

// TokenStore is a [chatdm.TokenStore] that shares tokens with other processes through
// Redis. Create it with [NewTokenStore]. The zero value is not usable.
//
// A TokenStore is safe for concurrent use by multiple goroutines. It does not need to be
// closed, and it does not close the Redis client.
//
// # Locking
//
// An update holds a lock in Redis, which it renews while it runs. If its process dies, the
// lock expires after 15 seconds.
//
// An update can lose its lock, for example if its process is suspended, or if Redis loses
// data. The lock is also a fence: if another update has taken the lock in the meantime and
// still runs, or has stored tokens, the first update stores nothing. It returns its tokens
// with an error, and both updates may have used the same refresh token. Redis checks the
// fence in the same step in which it stores the tokens.
//
// # Requirements on Redis
//
// If the tokens are lost, you have to install the app again. Therefore, use a Redis that
//
//   - writes its data to disk (appendonly yes, with appendfsync everysec or always),
//   - never evicts keys without an expiry (maxmemory-policy noeviction or volatile-*), and
//   - is reachable only by programs that may use the tokens. The tokens are not encrypted,
//     and MONITOR and SLOWLOG show them.
//
// If Redis has lost the tokens, Load returns the zero Tokens. Replication is asynchronous, so
// a failover can lose the newest tokens or the lock. If it loses the tokens, the store has
// the previous refresh token, which may be used up. If it loses the lock, two updates may run
// at the same time, but the fence still lets only one of them store its tokens. To make both
// less likely, set min-replicas-to-write.
//
// Hooks of the Redis client that print commands see redacted tokens. Hooks that print
// responses see the tokens.
type TokenStore struct {
	client   redis.UniversalClient
	name     string
	prefix   string
	timeout  time.Duration
	keys     []string // of the tokens and of the lock
	script   *redis.Script
	timing   tokenTiming
	updating chan struct{} // semaphore for the update that runs or polls Redis
}

var _ chatdm.TokenStore = (*TokenStore)(nil)

// tokenTiming holds the durations that tests shorten.
type tokenTiming struct {
	lockTTL     time.Duration // how long a lock outlives its holder
	renew       time.Duration // the interval between renewals of the lock
	minPoll     time.Duration // the first wait for the lock
	maxPoll     time.Duration // the longest wait for the lock
	storePeriod time.Duration // how long an update tries to store its tokens
}

// TokenStoreOption configures a [TokenStore].
type TokenStoreOption func(*TokenStore)

// WithTokenStoreTimeout sets the timeout of one operation on Redis, regardless of the
// timeouts of the Redis client. The default is 500 milliseconds. [NewTokenStore] rejects a
// timeout that is not positive or that exceeds 5 seconds.
func WithTokenStoreTimeout(d time.Duration) TokenStoreOption {
	return func(s *TokenStore) { s.timeout = d }
}

// WithTokenStorePrefix sets the prefix of all Redis keys. The default is "chatdm:".
func WithTokenStorePrefix(prefix string) TokenStoreOption {
	return func(s *TokenStore) { s.prefix = prefix }
}

// maxTokenTimeout leaves time to renew a lock before it expires.
const maxTokenTimeout = 5 * time.Second

// NewTokenStore returns a store that shares tokens with all stores that have the same name
// and prefix on the same Redis. The name should identify the app and the installation: the
// workspace, and the user if the tokens are those of a user. It becomes part of each Redis
// key. It must be 1 to 200 bytes of valid UTF-8, without white space, control characters, or
// braces.
//
// The keys of a store are in the same hash slot of Redis Cluster. With the name
// "A0KRD7HC3/T012AB3C4", the tokens have the key "chatdm:{A0KRD7HC3/T012AB3C4}:tokens",
// which does not expire. The keys "chatdm:{A0KRD7HC3/T012AB3C4}:lock" and
// "chatdm:{A0KRD7HC3/T012AB3C4}:stored:" plus the ID of an update expire within a minute.
// Reads always use the primary.
//
// A nil option is ignored. NewTokenStore does not connect to Redis. If an argument is
// invalid, it returns a *[chatdm.Error] of [chatdm.KindInvalidRequest].
func NewTokenStore(client redis.UniversalClient, name string, opts ...TokenStoreOption) (*TokenStore, error) {
	s := &TokenStore{
		client: client, name: name, prefix: "chatdm:", timeout: 500 * time.Millisecond,
		script: redis.NewScript(tokensScript), updating: make(chan struct{}, 1),
		timing: tokenTiming{
			lockTTL: 15 * time.Second, renew: 5 * time.Second,
			minPoll: 10 * time.Millisecond, maxPoll: 250 * time.Millisecond, storePeriod: 5 * time.Second,
		},
	}
	for _, opt := range opts {
		if opt != nil {
			opt(s)
		}
	}
	if err := s.validate(); err != nil {
		return nil, &chatdm.Error{Service: "chatdmredis", Method: "NewTokenStore", Kind: chatdm.KindInvalidRequest, Err: err}
	}
	s.keys = []string{s.prefix + "{" + name + "}:tokens", s.prefix + "{" + name + "}:lock"}
	return s, nil
}

func (s *TokenStore) validate() error {
	if s.client == nil {
		return errors.New("client: must not be nil")
	}
	if err := validateName(s.name); err != nil {
		return err
	}
	if s.timeout <= 0 || s.timeout > maxTokenTimeout {
		return fmt.Errorf("WithTokenStoreTimeout: got %v, want more than 0 and at most %v", s.timeout, maxTokenTimeout)
	}
	return nil
}

// Load implements [chatdm.TokenStore]. It does not wait for an update. It returns one of
// these errors:
//
//   - the error of ctx, if ctx is done
//   - an error that matches [ErrUnavailable], if Redis is unavailable
//   - an error that names the key, if its value is corrupt
func (s *TokenStore) Load(ctx context.Context) (chatdm.Tokens, error) {
	value, err := s.run(ctx, "load", "")
	if err != nil {
		return chatdm.Tokens{}, err
	}
	return s.decode(value)
}

// Update implements [chatdm.TokenStore]. It waits until no other update is running, or
// returns the error of ctx if ctx is done first. The function fn must not call Update for
// the same tokens.
//
// Update returns the same errors as Load. If Redis becomes unavailable before Update has the
// lock, it returns the error within the timeout and does not call fn. After fn has returned
// tokens, Update tries for 5 seconds to store them, or until ctx is done. It tries at least
// once. If that fails, it returns the tokens with the error. They may have been stored
// anyway, if only the response was lost.
func (s *TokenStore) Update(ctx context.Context, fn func(context.Context, chatdm.Tokens) (chatdm.Tokens, error)) (chatdm.Tokens, error) {
	if err := ctx.Err(); err != nil {
		return chatdm.Tokens{}, err
	}
	select {
	case s.updating <- struct{}{}:
		defer func() { <-s.updating }()
	case <-ctx.Done():
		return chatdm.Tokens{}, ctx.Err()
	}
	id := rand.Text()
	stored, writer, err := s.lock(ctx, id)
	if err != nil {
		return chatdm.Tokens{}, err
	}
	unlock := true
	defer func() {
		if unlock {
			s.unlock(ctx, id)
		}
	}()
	defer s.keepLock(ctx, id)()

	old, err := s.decode(stored)
	if err != nil {
		return chatdm.Tokens{}, err
	}
	tokens, err := fn(ctx, old)
	if err != nil {
		return chatdm.Tokens{}, err
	}
	tokens.Expiry = tokens.Expiry.UTC() // as Load returns it
	if tokens == old {
		return tokens, nil
	}
	if err := s.store(ctx, id, writer, tokens); err != nil {
		return tokens, fmt.Errorf("chatdmredis: cannot store the new tokens: %w", err)
	}
	unlock = false
	return tokens, nil
}

// lock waits for the lock. It returns the stored tokens as Redis returns them, and the ID of
// the update that stored them.
func (s *TokenStore) lock(ctx context.Context, id string) (stored any, writer string, err error) {
	for wait := s.timing.minPoll; ; wait = min(2*wait, s.timing.maxPoll) {
		result, err := s.run(ctx, "lock", id, s.timing.lockTTL.Milliseconds())
		if err != nil {
			// Redis may have granted the lock. If unlock fails, the lock expires.
			go s.unlock(ctx, id)
			return nil, "", err
		}
		values, _ := result.([]any)
		switch {
		case len(values) == 3 && values[0] == int64(1):
			writer, _ := values[2].(string)
			return values[1], writer, nil
		case len(values) != 1 || values[0] != int64(0):
			return nil, "", fmt.Errorf("%w: the script returned an unexpected result", ErrUnavailable)
		}
		timer := time.NewTimer(wait/2 + mathrand.N(wait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, "", ctx.Err()
		}
	}
}

// keepLock renews the lock until stop is called. It ignores errors and a lost lock. The
// update continues, because fn may already have used up the refresh token.
func (s *TokenStore) keepLock(ctx context.Context, id string) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(s.timing.renew)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_, _ = s.run(ctx, "renew", id, s.timing.lockTTL.Milliseconds())
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// unlock ends an update that stored nothing. If it fails, the lock expires.
func (s *TokenStore) unlock(ctx context.Context, id string) {
	_, _ = s.run(context.WithoutCancel(ctx), "unlock", id)
}

// store stores the tokens and ends the update.
func (s *TokenStore) store(ctx context.Context, id, writer string, tokens chatdm.Tokens) error {
	if _, err := tokens.MarshalBinary(); err != nil {
		return err
	}
	end := time.Now().Add(s.timing.storePeriod)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		// The client calls MarshalBinary. Hooks that print the arguments see redacted tokens.
		result, err := s.run(context.WithoutCancel(ctx), "store", id, writer, tokens)
		switch {
		case err == nil && result == int64(1):
			return nil
		case err == nil:
			return errors.New("this update has lost its lock, and another update has begun; load the tokens again")
		case time.Until(end) < wait:
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// decode converts the tokens that Redis returned.
func (s *TokenStore) decode(value any) (chatdm.Tokens, error) {
	if value == nil {
		return chatdm.Tokens{}, nil
	}
	var tokens chatdm.Tokens
	text, _ := value.(string)
	if err := tokens.UnmarshalBinary([]byte(text)); err != nil {
		return chatdm.Tokens{}, fmt.Errorf("chatdmredis: the Redis key %q is corrupt: field tokens: %w; %s", s.keys[0], err, restoreTokens)
	}
	return tokens, nil
}

const restoreTokens = "restore it from a backup, or delete the key and install the app again"

// run runs tokens.lua. It returns after the timeout even if the Redis client is still busy.
// That client has its own timeouts and may ignore the context.
func (s *TokenStore) run(ctx context.Context, operation, id string, args ...any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	type response struct {
		value any
		err   error
	}
	done := make(chan response, 1)
	keys := []string{s.keys[0], s.keys[1], s.prefix + "{" + s.name + "}:stored:" + id}
	go func() {
		value, err := s.script.Run(bounded, s.client, keys, append([]any{operation, id}, args...)...).Result()
		done <- response{value, err}
	}()
	select {
	case r := <-done:
		if bounded.Err() == nil || r.err == nil || errors.Is(r.err, redis.Nil) {
			return r.value, s.responseError(operation, r.err)
		}
	case <-bounded.Done():
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("%w: no response within %v", ErrUnavailable, s.timeout)
}

// responseError converts an error of the Redis client.
func (s *TokenStore) responseError(operation string, err error) error {
	var reply redis.Error
	switch {
	case err == nil, errors.Is(err, redis.Nil):
		return nil
	case redis.HasErrorPrefix(err, "CORRUPT"):
		return fmt.Errorf("chatdmredis: the Redis key %q is corrupt: want a hash; %s", s.keys[0], restoreTokens)
	case errors.As(err, &reply) && operation == "store":
		// The error may quote the arguments, which contain the tokens.
		return fmt.Errorf("%w: Redis returned an error%s", ErrUnavailable, errorCode(err.Error()))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		// The network timed out, not the caller, so the error must not match a context error.
		return fmt.Errorf("%w: %v", ErrUnavailable, err) //nolint:errorlint // see above
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// errorCode returns the code at the start of a Redis error, such as " (OOM)", or "".
func errorCode(text string) string {
	n := 0
	for n < len(text) && text[n] >= 'A' && text[n] <= 'Z' {
		n++
	}
	if n == 0 || n > 16 || n < len(text) && text[n] != ' ' {
		return ""
	}
	return " (" + text[:n] + ")"
}
