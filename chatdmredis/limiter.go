// Package chatdmredis paces the calls of any number of processes together: it
// is a [chatdm.Limiter] that keeps its counts in Redis.
//
//	limiter, err := chatdmredis.NewLimiter(redisClient, "T012AB3C4/A0KRD7HC3")
//	…
//	client, err := chatdm.NewClient(token, chatdm.WithLimiter(limiter))
//
// Every process that names the same workspace and app on the same Redis shares
// one budget for each method, and a refusal that one of them meets pauses all.
// It paces as [chatdm.TierLimiter] does: a token bucket at the method's tier,
// no more calls than the tier in any minute, and a fifth fewer for a while after
// a refusal. More processes do not make it faster: what Slack allows is for all
// of them together.
//
// # What it costs
//
// A call that may go at once takes one round trip to Redis, one script. A call
// that has to wait takes two, one to be given a turn and one at that turn, and
// one more for each five seconds of the wait. Callers of one process wait in
// line, and only the first of them talks to Redis: ten thousand waiting
// goroutines cost no more than one. Three busy processes that share 20 calls a
// minute have nine seconds between the calls of each, and make three round
// trips for each call, 60 a minute in all.
//
// A turn is a time on Redis's clock: the clocks of the machines do not matter,
// and busy processes come one after the other. The turn of a caller who leaves
// goes to the next one of its process; if none comes in time, some calls fewer are
// sent, a burst at most.
//
// A method has two keys, one of them with an entry for each call of the last
// minute. Both have one hash tag, for Redis Cluster, and both expire. It needs
// Redis 5 or later, or what speaks its protocol and runs its scripts.
//
// # When Redis fails
//
// No call passes unpaced. Where Redis is gone, does not answer in time or
// answers with an error, the calls that wait for it fail with [ErrUnavailable],
// which a client returns as [chatdm.KindUnavailable]: within [WithTimeout], or
// for those that have to wait anyway, when their turn comes or five seconds
// pass. [WithLocalFallback] paces them at a share of the budget instead. The
// retries of the Redis client happen within that time; with its MaxRetries -1
// and DialerRetries 1, an error comes at once, and says what was wrong. It has no
// RetryAfter, as nobody knows: let all callers pause together before they try
// again, or the log fills. (The Redis client writes to standard error of its own
// accord; its package logging turns that off.)
//
// A Redis that comes back empty has forgotten the calls of the last minute. The
// processes that made them tell it so, and it then holds all of them for
// as long as a burst takes, a fifth of a minute, so that there are not too many.
package chatdmredis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

// ErrUnavailable is in the chain of every error of a Redis that cannot be
// reached, is too slow, or answers with an error.
var ErrUnavailable = errors.New("chatdmredis: redis is not available")

//go:embed reserve.lua
var turnScript string

// Limiter is a [chatdm.Limiter] on Redis. It starts no goroutine that outlives
// its calls by more than the timeouts of the Redis client, and needs no Close;
// the Redis client remains its owner's.
type Limiter struct {
	client     redis.UniversalClient
	name       string
	prefix     string
	tiers      map[string]chatdm.Tier
	timeout    time.Duration
	share      float64 // of the local fallback; zero for none
	onFallback func(key string, err error)

	times  times
	script *redis.Script
	local  *chatdm.TierLimiter // nil without fallback
	id     string              // of this Limiter among all processes

	mu    sync.Mutex
	lines map[string]*line
}

// times is what the tests shorten.
type times struct {
	minute   time.Duration // that the server counts in
	window   time.Duration // that the limiter counts in; see NewLimiter
	grace    time.Duration // how long after its time a turn holds
	recovery time.Duration // to win back the pace after a refusal
	look     time.Duration // between two looks at Redis of who waits
	probe    time.Duration // between two looks at Redis of who has fallen back
}

// slowdown is how much of its pace a refused method keeps.
const slowdown = 0.8

// The script has the same bounds.
const (
	maxPerMinute  = 1_000_000
	maxRetryAfter = time.Hour
	maxTimeout    = time.Hour
	maxWait       = 365 * 24 * time.Hour // no result of the script is longer
)

// Option sets one thing of a [Limiter].
type Option func(*Limiter)

// WithTier sets the tier of a key, "slack.conversations.close" or
// "slack.chat.postMessage", in place of the published one, as
// [chatdm.WithTier] does. The zero Tier lets the method pass, without Redis. A
// Burst above PerMinute is PerMinute. [NewLimiter] refuses negative numbers, and a key
// that does not begin with slack. or rocketchat., which is that of no call.
//
// All processes should name the same: each holds its own calls to the numbers
// that it was given, counting those of all.
func WithTier(key string, tier chatdm.Tier) Option {
	return func(l *Limiter) { l.tiers[key] = tier }
}

// WithTimeout bounds one operation on Redis, half a second by default, whatever
// the timeouts of the Redis client. A call may be that late, which the limiter
// allows for: it spreads a minute's calls over 60.5 seconds and the timeout.
func WithTimeout(d time.Duration) Option {
	return func(l *Limiter) { l.timeout = d }
}

// WithPrefix begins the keys, in place of "chatdm:". It may have a hash tag of
// its own, which then decides on the slot of all keys.
func WithPrefix(prefix string) Option {
	return func(l *Limiter) { l.prefix = prefix }
}

// WithLocalFallback keeps calls going while Redis fails, each process for
// itself at that share of the tier and without a burst: with four processes, a
// quarter or less. One call a minute is the least. Without it such calls fail.
//
// Redis is tried again every three seconds. In the minute of a change between
// the two the processes together may send up to a fifth more than the tier, so
// that a few calls may be refused, which the client waits out.
func WithLocalFallback(share float64) Option {
	return func(l *Limiter) {
		if l.share = share; share == 0 {
			l.share = -1 // not the same as none
		}
	}
}

// WithOnFallback has fn called when the pacing of a key falls back, with the
// reason, and with nil when it is back on Redis. It must not block.
func WithOnFallback(fn func(key string, err error)) Option {
	return func(l *Limiter) { l.onFallback = fn }
}

// NewLimiter returns a limiter for the budgets of name: Slack counts by workspace, app
// and method, so let it name the workspace and the app. It is part of every
// key: up to 200 characters without white space, control characters and braces.
//
// It knows the tiers that Slack publishes, as [chatdm.NewTierLimiter] does.
// Nothing is sent to Redis yet. A nil option is skipped. The error is a
// *[chatdm.Error] of [chatdm.KindInvalidRequest].
func NewLimiter(client redis.UniversalClient, name string, opts ...Option) (*Limiter, error) {
	l := &Limiter{
		client: client, name: name, prefix: "chatdm:", timeout: 500 * time.Millisecond, tiers: chatdm.SlackTiers(),
		script: redis.NewScript(turnScript), id: rand.Text()[:10], lines: make(map[string]*line),
	}
	for _, opt := range opts {
		if opt != nil {
			opt(l)
		}
	}
	if err := l.check(); err != nil {
		return nil, &chatdm.Error{Service: "chatdmredis", Method: "NewLimiter", Kind: chatdm.KindInvalidRequest, Err: err}
	}
	// A call may be sent as late after its turn as a turn holds and an answer of
	// Redis takes; and two requests may differ by the rest in how long they are
	// on their way.
	const grace, way = 250 * time.Millisecond, 250 * time.Millisecond
	l.times = times{
		minute: time.Minute, window: time.Minute + grace + l.timeout + way, grace: grace,
		recovery: 5 * time.Minute, look: 5 * time.Second, probe: 3 * time.Second,
	}
	l.fallBackTo()
	return l, nil
}

func (l *Limiter) check() error {
	if l.client == nil {
		return errors.New("the redis client is nil")
	}
	if l.name == "" || len(l.name) > 200 || !utf8.ValidString(l.name) {
		return errors.New("the name must have 1 to 200 bytes of UTF-8")
	}
	for _, r := range l.name {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == '{' || r == '}' {
			return errors.New("the name must not have white space, control characters or braces")
		}
	}
	for key, tier := range l.tiers {
		if !strings.HasPrefix(key, "slack.") && !strings.HasPrefix(key, "rocketchat.") {
			return fmt.Errorf("WithTier: the key %q does not begin with slack. or rocketchat", key)
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
	if l.share != 0 && !(l.share > 0 && l.share <= 1) {
		return errors.New("WithLocalFallback: the share must be above 0 and at most 1")
	}
	return nil
}

// fallBackTo makes the local limiter.
func (l *Limiter) fallBackTo() {
	if l.share == 0 {
		return
	}
	var opts []chatdm.TierOption
	for key, tier := range l.tiers {
		if tier.PerMinute > 0 {
			// Rounded down, but not to zero, which would not pace at all.
			n := float64(tier.PerMinute) * l.share * float64(time.Minute) / float64(l.times.minute)
			tier = chatdm.Tier{PerMinute: max(1, int(n+1e-9)), Burst: 1}
		}
		opts = append(opts, chatdm.WithTier(key, tier))
	}
	l.local = chatdm.NewTierLimiter(opts...)
}

// Wait implements [chatdm.Limiter]. Its error is the context's; a
// *[chatdm.Error] of [chatdm.KindRateLimited], at once, where the call's turn is
// past the deadline of ctx, with the time until then in RetryAfter; or one that
// matches [ErrUnavailable].
func (l *Limiter) Wait(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if q := l.line(key); q != nil {
		return q.wait(ctx)
	}
	return nil
}

// Limited implements [chatdm.Limiter]. Where Redis fails, it learns of the
// refusal with the next call.
func (l *Limiter) Limited(ctx context.Context, key string, retryAfter time.Duration) {
	if q := l.line(key); q != nil {
		q.refused(context.WithoutCancel(ctx), min(retryAfter, maxRetryAfter))
	}
}

// line is that of a key, nil for one without a tier.
func (l *Limiter) line(key string) *line {
	tier := l.tiers[key]
	if tier.PerMinute <= 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.lines[key]
	if q == nil {
		q = newLine(l, key, tier)
		l.lines[key] = q
	}
	return q
}

// reply is what the script answers. The spans are from now on.
type reply struct {
	granted        bool          // the turn is taken; otherwise it would be too late
	at, tat, pause time.Duration // until the turn, until the bucket is full, until the refusal ends
	gen            string
}

// run runs the script, for no longer than the timeout: of itself the Redis
// client would go on for as long as its own timeouts say, whatever the context.
func (l *Limiter) run(ctx context.Context, q *line, args []any) (reply, error) {
	bounded, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	select {
	case q.running <- struct{}{}:
	case <-bounded.Done():
		return reply{}, l.tooSlow(ctx)
	}
	type result struct {
		values []any
		err    error
	}
	done := make(chan result, 1)
	go func() {
		defer func() { <-q.running }()
		values, err := l.script.Run(bounded, l.client, q.keys, args...).Slice()
		done <- result{values, err}
	}()
	select {
	case r := <-done:
		if r.err == nil {
			return parse(r.values)
		}
		if bounded.Err() != nil {
			return reply{}, l.tooSlow(ctx)
		}
		if errors.Is(r.err, context.DeadlineExceeded) || errors.Is(r.err, context.Canceled) {
			// A timeout of the network, not of the caller, who is told otherwise by
			// these.
			return reply{}, fmt.Errorf("%w: %v", ErrUnavailable, r.err) //nolint:errorlint // not to match them
		}
		return reply{}, fmt.Errorf("%w: %w", ErrUnavailable, r.err)
	case <-bounded.Done():
		return reply{}, l.tooSlow(ctx)
	}
}

// tooSlow is the error of an operation that was given up.
func (l *Limiter) tooSlow(ctx context.Context) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case ctx.Err() != nil:
		return fmt.Errorf("%w: no answer before the deadline of the call", ErrUnavailable)
	}
	return fmt.Errorf("%w: no answer within %v", ErrUnavailable, l.timeout)
}

// parse checks everything: a value that the script cannot return must not let a
// call pass.
func parse(values []any) (reply, error) {
	if len(values) != 5 {
		return reply{}, fmt.Errorf("%w: the script returned %d values, want 5", ErrUnavailable, len(values))
	}
	var n [4]int64
	for i, most := range [4]int64{1, maxWait.Microseconds(), maxWait.Microseconds(), maxWait.Microseconds()} {
		var ok bool
		if n[i], ok = values[i].(int64); !ok || n[i] < 0 || n[i] > most {
			return reply{}, fmt.Errorf("%w: value %d of the script: got %v, want an integer from 0 to %d", ErrUnavailable, i+1, values[i], most)
		}
	}
	gen, ok := values[4].(string)
	if !ok || gen == "" {
		return reply{}, fmt.Errorf("%w: value 5 of the script: got %v, want a name", ErrUnavailable, values[4])
	}
	us := func(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
	return reply{granted: n[0] == 1, at: us(n[1]), tat: us(n[2]), pause: us(n[3]), gen: gen}, nil
}

func micros(d time.Duration) string { return strconv.FormatInt(d.Microseconds(), 10) }
