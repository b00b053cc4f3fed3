// Package chatdmredis provides a rate limiter and a token store that any number of
// processes share through Redis. For the token store, see [TokenStore].
//
// # Rate limiter
//
// Create one [Limiter] per workspace and app with [NewLimiter], and pass it to all
// clients for that workspace and app:
//
//	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379", MaxRetries: -1, DialerRetries: 1})
//	limiter, err := chatdmredis.NewLimiter(rdb, "T012AB3C4/A0KRD7HC3") // workspace and app
//	…
//	client, err := chatdm.NewClient(token, chatdm.WithLimiter(limiter))
//
// Limiters with the same name on the same Redis share one rate limit per method, and one
// per conversation for calls of chat.postMessage. If one of them gets a 429, they all
// pause. Adding processes does not raise the limit, because Slack counts the calls of all
// processes of an app together.
//
// A Limiter paces calls like a [chatdm.TierLimiter]. It combines a token bucket,
// which sets the rate and the burst, with a sliding window of one minute, which
// never holds more calls than the tier allows. After a 429, the limit of the window
// drops by a fifth, and recovers over the next five minutes. A 429 for a conversation
// pauses only that conversation, unless another one is already paused because of a 429.
// Then it pauses the method.
//
// # Waiting
//
// A process that has to wait takes a place in a queue in Redis. Its callers queue up for
// that place, so processes take turns. A caller that waits for its conversation has no
// place in the queue of the method, so it delays nobody else.
//
//   - If a caller gives up, the next caller of its process gets the place. If there is none,
//     the Limiter gives up the place at once, in the background.
//   - A process that waits asks Redis again at least every five seconds. A process that was
//     killed loses its place at most one second after it should have asked. The
//     calls that this delays catch up, as far as the burst allows.
//
// # Cost
//
// Each operation on Redis runs one script in one round trip, which checks both limits of a
// call:
//
//   - A call that does not have to wait needs one operation.
//   - A call that has to wait needs two: one takes a place, and one lets the call pass.
//   - A long wait needs one more operation every five seconds.
//
// Only the first of the callers that wait for a method talks to Redis. Ten
// thousand waiting goroutines therefore cost no more than one. For example, three
// busy processes that share 20 calls per minute run about 60 scripts per minute.
//
// Each limit uses four keys: a hash, a sorted set with one entry for each call of the
// last minute, and two sorted sets with one entry for each waiting process. All keys
// expire: those of an idle conversation after a minute. The Limiter forgets an idle
// conversation after a minute, too.
//
// # Clocks
//
// All times are on the clock of the Redis server, so the clocks of the processes do not
// matter. If the clock of Redis jumps forward, for example after a failover to a
// machine whose clock is ahead, the limiters compare it with their own elapsed time. Each
// limiter that used Redis for a method before the jump notices it, lets no call pass because
// of it, and starts over as if Redis had lost its data. Only a process that first uses Redis
// for the method after the jump can let calls pass that exceed the tier: up to one burst,
// until another process reports the jump. If the clock is set back by less than a minute,
// calls wait for that long. If it is set back further, the limiters start over.
//
// # Redis failures
//
// No call bypasses the limit. If Redis cannot be reached, does not respond in
// time, or returns an error, the waiting calls fail with an error that matches
// [ErrUnavailable]. The client returns it as [chatdm.KindUnavailable]. A call that
// needs Redis at that moment fails within the timeout (see [WithTimeout]). A call
// that is already waiting for its turn fails when its process next needs Redis, up to five
// seconds later. With [WithLocalFallback], the calls continue at a fraction
// of the tier instead.
//
// The retries of the Redis client count toward the timeout. Set its MaxRetries to
// -1 and its DialerRetries to 1 to get the error and its cause immediately. The
// error has no RetryAfter, so wait before you retry, or failed calls will flood your
// log. The Redis client itself logs to standard error. To disable that, call
// logging.Disable from github.com/redis/go-redis/v9/logging.
//
// If Redis loses its data, the limiters that made calls in the last minute detect
// the loss. All processes then pause for as long as the token bucket takes to fill,
// which is about 12 seconds by default. Together, the calls before and after
// the loss therefore stay within the tier.
//
// If Redis has no memory left, the limiter continues to work. Do not let Redis evict keys:
// if it evicts the calls of the last minute, up to one burst more can pass. The same is
// true for calls that a replica had not received before a failover.
//
// # Redis Cluster
//
// The limiter requires Redis 5 or later, or a server that supports the same
// protocol and scripts, such as Valkey. It works with Redis Cluster: all keys of a method,
// including those of its conversations, share a hash tag, so they are in the same hash
// slot. Different methods have different hash tags. To use one hash tag for all keys, see
// [WithPrefix].
package chatdmredis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

// ErrUnavailable is returned by [Limiter.Wait], [TokenStore.Load], and
// [TokenStore.Update] if Redis cannot be reached, does not respond in time, or returns
// an error or an unexpected result. Use [errors.Is] to test for it.
var ErrUnavailable = errors.New("chatdmredis: Redis is unavailable")

//go:embed pass.lua
var passScript string

// Limiter is a [chatdm.Limiter] that shares its limits with other processes
// through Redis. Create it with [NewLimiter]. The zero value is not usable.
//
// A Limiter is safe for concurrent use by multiple goroutines. It does not need
// to be closed, and it does not close the Redis client. It starts goroutines only
// for operations on Redis. They end at the latest when the Redis client times out.
type Limiter struct {
	client        redis.UniversalClient
	name          string
	prefix        string
	tiers         map[string]chatdm.Tier
	timeout       time.Duration
	fallbackShare float64 // 0 if there is no local fallback
	onFallback    func(key string, err error)

	timing timing
	script *redis.Script
	local  *chatdm.TierLimiter // nil if there is no local fallback
	id     string              // unique among the limiters of all processes

	mu       sync.Mutex
	queues   map[string]*queue // by the limiter key of the method
	sweeping bool              // sweep is scheduled
}

// timing holds the durations that tests shorten.
type timing struct {
	minute        time.Duration // the period over which the server counts calls
	window        time.Duration // the period over which the limiter counts calls; see NewLimiter
	lateness      time.Duration // how late a process may ask again before it loses its place
	recovery      time.Duration // how long the full limit takes to return after a 429
	checkInterval time.Duration // the longest time between two operations of a process that waits
	retryInterval time.Duration // how long the local fallback lasts before Redis is tried again
}

// reducedLimit is the fraction of the limit that remains after a 429.
const reducedLimit = 0.8

// These bounds must match those in pass.lua.
const (
	maxPerMinute  = 1_000_000
	maxRetryAfter = time.Hour
	maxTimeout    = time.Hour
	maxWait       = 365 * 24 * time.Hour // the script never returns a longer wait
)

// Option configures a [Limiter].
type Option func(*Limiter)

// WithTier sets the tier of a limiter key. It replaces the key's tier in
// [chatdm.SlackTiers], if there is one. The key must start with "slack." or
// "rocketchat.".
//
//   - "slack.conversations.close" sets the limit of the method.
//   - "slack.chat.postMessage/*" sets the limit of each conversation, which applies in
//     addition to the limit of the method.
//   - "slack.chat.postMessage/D024BFF1M" sets the limit of one conversation instead.
//
// PerMinute must be from 0 to 1,000,000. If it is 0, there is no limit. The limiter does
// not use Redis for a call that has no limit. Burst must not be negative. If it is 0, the
// burst is a fifth of PerMinute, but at least 1. A Burst above PerMinute counts as
// PerMinute. [NewLimiter] rejects other values.
//
// Use the same tiers in all processes, because each process applies its own tiers
// to the calls of all processes.
func WithTier(key string, tier chatdm.Tier) Option {
	return func(l *Limiter) { l.tiers[key] = tier }
}

// WithTiers sets the tier of each key in the map, like [WithTier]. Use it with
// [chatdm.NonMarketplaceTiers] or the Tiers of package rocketchat.
func WithTiers(tiers map[string]chatdm.Tier) Option {
	return func(l *Limiter) { maps.Copy(l.tiers, tiers) }
}

// WithTimeout sets the timeout of one operation on Redis, regardless of the
// timeouts of the Redis client. The default is 500 milliseconds. [NewLimiter]
// rejects a timeout that is not positive or that exceeds one hour.
//
// A longer timeout lowers the rate slightly. An operation can delay a call by up to
// the timeout, so the limiter spreads the calls of one minute over 60.5 seconds plus
// the timeout.
func WithTimeout(d time.Duration) Option {
	return func(l *Limiter) { l.timeout = d }
}

// WithPrefix sets the prefix of all Redis keys. The default is "chatdm:". If the
// prefix contains a Redis Cluster hash tag, such as "{chatdm}:", all keys are in
// the same hash slot. [NewLimiter] rejects a prefix whose first hash tag is empty ("{}"),
// because the keys of a method would be in different hash slots.
func WithPrefix(prefix string) Option {
	return func(l *Limiter) { l.prefix = prefix }
}

// WithLocalFallback lets calls continue while Redis is unavailable. Each process
// then paces its own calls at the given share of the tier, without a burst. The
// result is rounded down to whole calls per minute, but is at least one. With four
// processes, for example, use a share of at most 0.25. The share must be greater
// than 0 and at most 1, or [NewLimiter] returns an error. Without this option, calls
// fail while Redis is unavailable. The share also applies to the limit of each
// conversation.
//
// The limiter tries Redis again every three seconds. In the minute after a switch
// to or from the fallback, the processes together may make up to a fifth more calls
// than the tier allows. The server may reject some of these calls with a 429, which
// the client handles as usual.
func WithLocalFallback(share float64) Option {
	return func(l *Limiter) {
		if l.fallbackShare = share; share == 0 {
			l.fallbackShare = -1 // so that validate rejects it
		}
	}
}

// WithOnFallback sets a function that the limiter calls when a method switches
// to the local fallback or back to Redis. The argument key is the method's limiter key,
// which names no conversation. The argument err is the reason for the
// fallback, or nil for the switch back. The function must not block, and must be
// safe for concurrent use. A nil fn has no effect. Without [WithLocalFallback], this
// option has no effect.
func WithOnFallback(fn func(key string, err error)) Option {
	return func(l *Limiter) { l.onFallback = fn }
}

// NewLimiter returns a limiter that shares its limits with all limiters that have
// the same name and prefix on the same Redis. Slack counts calls per workspace,
// app, and method, so the name should identify the workspace and the app. The name
// becomes part of each Redis key. It must be 1 to 200 bytes of valid UTF-8,
// without white space, control characters, or braces.
//
// The limiter starts with the tiers of [chatdm.SlackTiers]. It does not limit
// methods that have no tier. A nil option is ignored. If several options set the tier of a
// key, the last one applies.
//
// NewLimiter does not connect to Redis. If an argument is invalid, it returns a
// *[chatdm.Error] of [chatdm.KindInvalidRequest].
func NewLimiter(client redis.UniversalClient, name string, opts ...Option) (*Limiter, error) {
	l := &Limiter{
		client: client, name: name, prefix: "chatdm:", timeout: 500 * time.Millisecond, tiers: chatdm.SlackTiers(),
		script: redis.NewScript(passScript), id: rand.Text()[:10], queues: make(map[string]*queue),
	}
	for _, opt := range opts {
		if opt != nil {
			opt(l)
		}
	}
	if err := l.validate(); err != nil {
		return nil, &chatdm.Error{Service: "chatdmredis", Method: "NewLimiter", Kind: chatdm.KindInvalidRequest, Err: err}
	}
	// The server may receive two calls closer together than Redis let them pass, by up to
	// the time that Redis takes to respond and the difference in network latency.
	const latency = 500 * time.Millisecond
	l.timing = timing{
		minute: time.Minute, window: time.Minute + l.timeout + latency, lateness: time.Second,
		recovery: 5 * time.Minute, checkInterval: 5 * time.Second, retryInterval: 3 * time.Second,
	}
	l.initFallback()
	return l, nil
}

func (l *Limiter) validate() error {
	if l.client == nil {
		return errors.New("client: must not be nil")
	}
	if err := validateName(l.name); err != nil {
		return err
	}
	if _, tag, _ := strings.Cut(l.prefix, "{"); strings.HasPrefix(tag, "}") {
		// Redis Cluster would spread the keys of a method over several hash slots.
		return fmt.Errorf("WithPrefix: got %.100q, want no empty hash tag", l.prefix)
	}
	for key, tier := range l.tiers {
		if !strings.HasPrefix(key, "slack.") && !strings.HasPrefix(key, "rocketchat.") {
			return fmt.Errorf("WithTier: key %q must start with \"slack.\" or \"rocketchat.\"", key)
		}
		if tier.PerMinute < 0 || tier.PerMinute > maxPerMinute {
			return fmt.Errorf("WithTier: %s: PerMinute: got %d, want 0 to %d", key, tier.PerMinute, maxPerMinute)
		}
		if tier.Burst < 0 {
			return fmt.Errorf("WithTier: %s: Burst: got %d, want 0 or more", key, tier.Burst)
		}
	}
	if l.timeout <= 0 || l.timeout > maxTimeout {
		return fmt.Errorf("WithTimeout: got %v, want more than 0 and at most %v", l.timeout, maxTimeout)
	}
	if !(l.fallbackShare >= 0 && l.fallbackShare <= 1) { // also rejects NaN
		return errors.New("WithLocalFallback: share must be greater than 0 and at most 1")
	}
	return nil
}

// validateName checks a name that becomes part of a Redis key, inside a hash tag.
func validateName(name string) error {
	if n := len(name); n == 0 || n > 200 {
		return fmt.Errorf("name: got %d bytes, want 1 to 200", n)
	}
	if !utf8.ValidString(name) {
		return errors.New("name: must be valid UTF-8")
	}
	for _, r := range name {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == '{' || r == '}' {
			return fmt.Errorf("name: got %q, want no white space, control characters, or braces", r)
		}
	}
	return nil
}

// initFallback creates the local limiter if there is a fallback.
func (l *Limiter) initFallback() {
	if l.fallbackShare == 0 {
		return
	}
	var opts []chatdm.TierOption
	for key, tier := range l.tiers { // the queues pace the calls of each conversation
		if tier.PerMinute > 0 {
			tier = l.localTier(tier)
		}
		opts = append(opts, chatdm.WithTier(key, tier))
	}
	l.local = chatdm.NewTierLimiter(opts...)
}

// localTier returns the share of the tier for the local fallback.
func (l *Limiter) localTier(tier chatdm.Tier) chatdm.Tier {
	// At least 1, because 0 would disable the limit. The small term compensates for
	// floating-point errors before rounding down.
	n := float64(tier.PerMinute) * l.fallbackShare * float64(time.Minute) / float64(l.timing.minute)
	return chatdm.Tier{PerMinute: max(1, int(n+1e-9)), Burst: 1}
}

// Wait implements [chatdm.Limiter]. It blocks until the limits of key allow a call.
// If key has no tier, it returns nil immediately. A Limiter serves callers with the
// same key in the order in which they call Wait, and processes that share a limit take
// turns. Wait returns one of these errors:
//
//   - the error of ctx, if ctx is done
//   - a *[chatdm.Error] of [chatdm.KindRateLimited], as soon as Wait detects that the
//     wait would exceed the deadline of ctx; its RetryAfter is the length of the wait if
//     no caller ahead gives up
//   - an error that matches [ErrUnavailable], if Redis is unavailable and there is
//     no local fallback
func (l *Limiter) Wait(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	q, c := l.acquire(key)
	if q == nil {
		return nil
	}
	if c != nil {
		defer q.release(c)
	}
	return q.wait(ctx, c)
}

// Limited implements [chatdm.Limiter]. It pauses key for retryAfter in all
// processes, and lowers the limit of key for five minutes. A retryAfter of more than
// one hour counts as one hour. If retryAfter is 0 or negative, Limited does nothing.
//
// Limited blocks for at most the timeout of an operation on Redis. If Redis is
// unavailable, the limiter remembers the pause, and the next call that reaches
// Redis reports it to the other processes.
func (l *Limiter) Limited(ctx context.Context, key string, retryAfter time.Duration) {
	q, c := l.acquire(key)
	if q == nil {
		return
	}
	if c != nil {
		defer q.release(c)
	}
	q.limited(context.WithoutCancel(ctx), c, min(retryAfter, maxRetryAfter))
}

// acquire returns the queue and the conversation of a call. The queue is nil if the call
// has no limit. If the conversation is not nil, the caller must release it.
func (l *Limiter) acquire(key string) (*queue, *conversation) {
	method, name, _ := strings.Cut(key, "/")
	q := l.queue(method)
	if method == key {
		return q, nil
	}
	if q == nil && l.conversationTier(method, name).PerMinute > 0 {
		q = l.findOrCreateQueue(method)
	}
	if q == nil {
		return nil, nil
	}
	c := q.acquire(name)
	if c == nil && q.limit == nil {
		return nil, nil
	}
	if c != nil {
		l.scheduleSweep()
	}
	return q, c
}

// conversationTier returns the tier of a conversation.
func (l *Limiter) conversationTier(method, name string) chatdm.Tier {
	if tier, ok := l.tiers[method+"/"+name]; ok {
		return tier
	}
	return l.tiers[method+"/*"]
}

// queue returns the queue of a method, or nil if the method has no tier.
func (l *Limiter) queue(method string) *queue {
	if l.tiers[method].PerMinute <= 0 {
		return nil
	}
	return l.findOrCreateQueue(method)
}

func (l *Limiter) findOrCreateQueue(method string) *queue {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.queues[method]
	if q == nil {
		q = newQueue(l, method)
		l.queues[method] = q
	}
	return q
}

// scheduleSweep makes the queues forget idle conversations every minute while there are
// conversations.
func (l *Limiter) scheduleSweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.sweeping {
		l.sweeping = true
		time.AfterFunc(l.timing.minute, l.sweep)
	}
}

func (l *Limiter) sweep() {
	l.mu.Lock()
	l.sweeping = false
	queues := slices.Collect(maps.Values(l.queues))
	l.mu.Unlock()
	again := false
	for _, q := range queues {
		again = q.sweep() || again
	}
	if again {
		l.scheduleSweep()
	}
}

// scriptResult is the result of pass.lua. The durations are measured from the time
// when the script ran.
type scriptResult struct {
	status     int64
	wait       time.Duration
	waitingFor int           // number of the limit that the call waits for, or 0
	now        time.Time     // on the clock of Redis
	again      time.Duration // when this process must ask again to keep its place
	states     []limitState
	jumped     bool // the clock of Redis has jumped forward since the previous operation; not from the script
}

// limitState is the state of a limit.
type limitState struct {
	least      time.Duration // until a call may pass if no process is ahead of it
	untilFull  time.Duration // until the token bucket is full
	pause      time.Duration // until the pause after a 429 ends
	generation string        // identifies the state; changes if Redis loses it
}

// The values of scriptResult.status.
const (
	statusRefused = iota // the call would have to wait past the caller's deadline
	statusPass
	statusWait // this process has a place in the queue
)

// clockTolerance is how much more time may pass on the clock of Redis than on the local
// clock between two operations without counting as a jump.
const clockTolerance = 100 * time.Millisecond

// commonArgs returns the arguments of the script that do not belong to a limit.
func (l *Limiter) commonArgs(callID string, leave bool, maxWaitArg string, jumped bool) []any {
	t := l.timing
	flag := map[bool]string{false: "0", true: "1"}
	return []any{
		callID, l.id, flag[leave], formatMicros(t.minute), formatMicros(t.window), formatMicros(t.checkInterval), formatMicros(t.lateness),
		reducedLimit, formatMicros(t.recovery), rand.Text()[:10], maxWaitArg, flag[jumped],
	}
}

// runScript runs pass.lua. It returns after the timeout even if the Redis client
// is still busy. That client has its own timeouts and may ignore the context.
func (l *Limiter) runScript(ctx context.Context, q *queue, keys []string, args []any) ([]any, error) {
	bounded, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	select {
	case q.operations <- struct{}{}:
	case <-bounded.Done():
		return nil, l.timeoutError(ctx)
	}
	type response struct {
		values []any
		err    error
	}
	done := make(chan response, 1)
	go func() {
		defer func() { <-q.operations }()
		values, err := l.script.Run(bounded, l.client, keys, args...).Slice()
		done <- response{values, err}
	}()
	select {
	case r := <-done:
		if r.err == nil {
			return r.values, nil
		}
		if bounded.Err() != nil {
			return nil, l.timeoutError(ctx)
		}
		if errors.Is(r.err, context.DeadlineExceeded) || errors.Is(r.err, context.Canceled) {
			// The network timed out, not the caller. The error must not match a context
			// error, or the client would report that the caller's context is done.
			return nil, fmt.Errorf("%w: %v", ErrUnavailable, r.err) //nolint:errorlint // see above
		}
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, r.err)
	case <-bounded.Done():
		return nil, l.timeoutError(ctx)
	}
}

// timeoutError returns the error of an operation that took too long. ctx is the
// context of the caller.
func (l *Limiter) timeoutError(ctx context.Context) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("%w: no response before the context deadline", ErrUnavailable)
	}
	return fmt.Errorf("%w: no response within %v", ErrUnavailable, l.timeout)
}

// parseResult converts the result of pass.lua for a number of limits. It rejects values
// that the script cannot return, because a wrong value could let too many calls pass.
func parseResult(values []any, limits int) (scriptResult, error) {
	if want := 5 + 4*limits; len(values) != want {
		return scriptResult{}, fmt.Errorf("%w: script result: got %d values, want %d", ErrUnavailable, len(values), want)
	}
	var err error
	integer := func(i int, most int64) int64 {
		n, ok := values[i].(int64)
		if (!ok || n < 0 || n > most) && err == nil {
			err = fmt.Errorf("%w: script result: value %d: got %v, want an integer from 0 to %d", ErrUnavailable, i+1, values[i], most)
		}
		return n
	}
	duration := func(i int) time.Duration {
		return time.Duration(integer(i, maxWait.Microseconds())) * time.Microsecond
	}
	r := scriptResult{
		status: integer(0, statusWait), wait: duration(1), waitingFor: int(integer(2, int64(limits))), now: time.UnixMicro(integer(3, 1<<53)),
		again: duration(4),
	}
	if r.status == statusWait && r.waitingFor == 0 && err == nil {
		err = fmt.Errorf("%w: script result: value 3: got 0, want the number of a limit", ErrUnavailable)
	}
	for i := 5; i < len(values); i += 4 {
		generation, ok := values[i+3].(string)
		if (!ok || generation == "") && err == nil {
			err = fmt.Errorf("%w: script result: value %d: got %v, want a non-empty string", ErrUnavailable, i+4, values[i+3])
		}
		r.states = append(r.states, limitState{least: duration(i), untilFull: duration(i + 1), pause: duration(i + 2), generation: generation})
	}
	if err != nil {
		return scriptResult{}, err
	}
	return r, nil
}

func formatMicros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
