package chatdm

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/chatdm/chatdm/internal/engine"
)

// Limiter limits the call rate of one or more clients; see [WithLimiter]. It can
// prevent 429s, or share the pauses after them among clients and processes. It
// must be safe for concurrent use by multiple goroutines.
type Limiter interface {
	// Wait blocks until the client may make an attempt. The key consists of the
	// service and the method, such as "slack.conversations.close".
	//
	// If Wait returns an error, the client sends nothing and the call fails:
	//   - with [KindRateLimited] if the error matches KindRateLimited (the client keeps
	//     the RetryAfter of an *[Error]) or context.DeadlineExceeded
	//   - with [KindCanceled] if ctx is canceled
	//   - with [KindUnavailable] otherwise
	Wait(ctx context.Context, key string) error
	// The client calls Limited after a 429. The argument retryAfter is the wait that the
	// server requested, but at most 1 hour, or 1 second if the server requested none.
	Limited(ctx context.Context, key string, retryAfter time.Duration)
}

// limiterService is the Service of a limiter's errors, also in chatdmredis.
const limiterService = "limiter"

// engineLimiter adapts a Limiter to the engine, which does not know KindRateLimited.
type engineLimiter struct{ Limiter }

func (l engineLimiter) Wait(ctx context.Context, key string) error {
	err := l.Limiter.Wait(ctx, key)
	if !errors.Is(err, KindRateLimited) {
		return err
	}
	f := &engine.Failure{Kind: engine.RateLimited, Err: err}
	if e, ok := errors.AsType[*Error](err); ok {
		f.RetryAfter = e.RetryAfter
		if e.Service == limiterService && e.Err != nil {
			f.Err = e.Err // the client's own error already contains the rest
		}
	}
	return f
}

// Tier is the rate limit of a method.
type Tier struct {
	// PerMinute is the maximum number of calls in any minute. If it is 0 or negative,
	// the method is not limited. A [TierLimiter] uses up to 240 kB of memory per method.
	// If PerMinute exceeds 10,000, it enforces a limit that is up to 0.03% lower.
	PerMinute int
	// Burst is how many of these calls may be sent at once after an idle period.
	// 0 or a negative value means a fifth of PerMinute, but at least 1. A value
	// above PerMinute means PerMinute.
	Burst int
}

// SlackTiers returns a new map from [Limiter] keys to Slack's published limits. Slack also
// limits chat.postMessage to about one call per second and conversation, which a [Tier] of
// the method does not enforce.
//
// Documented at https://docs.slack.dev/apis/web-api/rate-limits.
func SlackTiers() map[string]Tier {
	return map[string]Tier{
		"slack.im.open":               {PerMinute: 100},
		"slack.im.close":              {PerMinute: 20},
		"slack.conversations.open":    {PerMinute: 50},
		"slack.conversations.close":   {PerMinute: 20},
		"slack.conversations.list":    {PerMinute: 20},
		"slack.conversations.history": {PerMinute: 50},
		"slack.conversations.replies": {PerMinute: 50},
		"slack.chat.postMessage":      {PerMinute: 300}, // "several hundred" in a workspace
		"slack.users.lookupByEmail":   {PerMinute: 50},
		"slack.users.info":            {PerMinute: 100},
		"slack.auth.test":             {PerMinute: 300}, // "hundreds"
	}
}

// TierLimiter is a [Limiter] that keeps each method within its [Tier] and serves
// callers in the order in which they called Wait. It is safe for concurrent use
// by multiple goroutines. The zero value limits no method.
//
// Slack applies its limits per method, workspace, and app. Share one TierLimiter
// among all clients of one app in one workspace. If the app has several processes,
// divide the tiers among them, or use a limiter that they share.
//
// After a 429, the method pauses for as long as the server requested, and its
// limit drops to 80% of the tier. The limit returns to the full tier over the
// next 5 minutes.
type TierLimiter struct {
	tiers map[string]Tier
	mu    sync.Mutex
	keys  map[string]*keyLimiter
}

// TierOption configures a [TierLimiter].
type TierOption func(*TierLimiter)

// WithTier sets the tier of a key, such as "slack.conversations.close". A key that
// omits the service never matches a call. The zero Tier removes the limit.
func WithTier(key string, tier Tier) TierOption {
	return func(l *TierLimiter) { l.tiers[key] = tier }
}

// NewTierLimiter returns a TierLimiter with the tiers of [SlackTiers]. It does
// not limit other keys unless [WithTier] adds them. Nil options are ignored.
func NewTierLimiter(opts ...TierOption) *TierLimiter {
	l := &TierLimiter{tiers: SlackTiers(), keys: make(map[string]*keyLimiter)}
	for _, opt := range opts {
		if opt != nil {
			opt(l)
		}
	}
	return l
}

// Wait implements [Limiter]. If the wait would exceed the deadline of ctx, it
// immediately returns an *[Error] of [KindRateLimited] with RetryAfter.
func (l *TierLimiter) Wait(ctx context.Context, key string) error {
	if k := l.limiterFor(key); k != nil {
		return k.wait(ctx, key)
	}
	return ctx.Err()
}

// Limited implements [Limiter]. It pauses the key for retryAfter, but for at
// most 1 hour, and lowers its limit.
func (l *TierLimiter) Limited(_ context.Context, key string, retryAfter time.Duration) {
	if k := l.limiterFor(key); k != nil {
		k.pause(min(retryAfter, maxPause))
	}
}

// limiterFor returns the limiter of a key, or nil if the key has no limit.
func (l *TierLimiter) limiterFor(key string) *keyLimiter {
	tier := l.tiers[key]
	if tier.PerMinute <= 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.keys[key]
	if k == nil {
		k = newKeyLimiter(tier)
		l.keys[key] = k
	}
	return k
}

const (
	// window is the server's minute plus a margin for the network's latency.
	window       = time.Minute + 500*time.Millisecond
	reducedLimit = 0.8 // fraction of the tier that remains after a 429
	recoveryTime = 5 * time.Minute
	maxPause     = time.Hour
	maxBatches   = 10_000 // bounds the memory of a key: 24 bytes per batch
)

// keyLimiter limits the calls of one key. A token bucket sets the rate and the
// burst. A burst plus a minute at the full rate would exceed the tier, so
// keyLimiter also counts the calls of the last window, in batches.
type keyLimiter struct {
	head    chan struct{} // held by the caller at the head of the queue; the runtime queues the others in order
	bucket  *rate.Limiter
	batch   int64 // calls per batch
	batches int64 // maximum number of batches per window

	mu          sync.Mutex
	waiting     int         // callers in the queue, except the head
	calls       int64       // all calls so far
	sent        []time.Time // ring of batches+1 entries: when the last call of each batch was sent
	pausedUntil time.Time
	limitedAt   time.Time // when the server last responded with a 429
}

func newKeyLimiter(tier Tier) *keyLimiter {
	burst := tier.Burst
	if burst <= 0 {
		burst = max(1, tier.PerMinute/5)
	}
	batch := (int64(tier.PerMinute)-1)/maxBatches + 1
	return &keyLimiter{
		head:    make(chan struct{}, 1),
		bucket:  rate.NewLimiter(rate.Limit(float64(tier.PerMinute)/time.Minute.Seconds()), min(burst, tier.PerMinute)),
		batch:   batch,
		batches: int64(tier.PerMinute) / batch,
	}
}

func (k *keyLimiter) wait(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := k.enqueue(ctx, key); err != nil {
		return err
	}
	select {
	case k.head <- struct{}{}:
		defer func() { <-k.head }()
	case <-ctx.Done():
		k.mu.Lock()
		k.waiting--
		k.mu.Unlock()
		return ctx.Err()
	}
	start := time.Now()
	k.mu.Lock()
	k.waiting--
	token := k.bucket.ReserveN(start, 1)
	k.mu.Unlock()
	ready := start.Add(token.DelayFrom(start)) // when the bucket has the token
	tokens := k.bucket.TokensAt(ready)
	for {
		now := time.Now()
		at := k.earliest(ready)
		if !at.After(now) {
			// Drop the tokens that the bucket gained while a pause or the window delayed
			// the call: they would allow a burst, and then a gap, in every window.
			k.bucket.AllowN(now, int(k.bucket.TokensAt(now)-tokens))
			k.record(now)
			return nil
		}
		if err := checkDeadline(ctx, key, at.Sub(now)); err != nil {
			token.Cancel()
			return err
		}
		timer := time.NewTimer(at.Sub(now))
		select {
		case <-timer.C: // check again: a new pause may have begun
		case <-ctx.Done():
			timer.Stop()
			token.Cancel()
			return ctx.Err()
		}
	}
}

// enqueue adds a caller to the queue. It returns an error if the shortest
// possible wait would exceed the deadline of ctx.
func (k *keyLimiter) enqueue(ctx context.Context, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	missing := float64(k.waiting+1) - k.bucket.Tokens() // the head has already taken its token
	wait := time.Duration(missing / float64(k.bucket.Limit()) * float64(time.Second))
	if err := checkDeadline(ctx, key, max(wait, time.Until(k.pausedUntil))); err != nil {
		return err
	}
	k.waiting++
	return nil
}

// earliest returns the first time, starting from at, at which the pause and the
// window allow the next call.
func (k *keyLimiter) earliest(at time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pausedUntil.After(at) {
		at = k.pausedUntil
	}
	recovered := min(1, float64(time.Since(k.limitedAt))/float64(recoveryTime))
	limit := max(1, int64(float64(k.batches)*(reducedLimit+(1-reducedLimit)*recovered)))
	last := k.calls/k.batch - limit // batch that must have left the window
	if last < 0 {
		return at
	}
	if end := k.sent[last%int64(len(k.sent))].Add(window); end.After(at) {
		at = end
	}
	return at
}

func (k *keyLimiter) record(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	i := int(k.calls / k.batch % (k.batches + 1))
	if i == len(k.sent) {
		k.sent = append(k.sent, now)
	}
	k.sent[i] = now
	k.calls++
}

func (k *keyLimiter) pause(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.limitedAt = time.Now()
	if until := k.limitedAt.Add(d); until.After(k.pausedUntil) {
		k.pausedUntil = until
	}
}

// checkDeadline returns an error if the wait would exceed the deadline of ctx.
func checkDeadline(ctx context.Context, key string, wait time.Duration) error {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) >= wait {
		return nil
	}
	return &Error{
		Service: limiterService, Method: key, Kind: KindRateLimited, RetryAfter: wait,
		Err: fmt.Errorf("wait would exceed the context deadline: %w", context.DeadlineExceeded),
	}
}
