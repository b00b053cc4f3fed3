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

// Limiter limits the rate of the calls of one or more clients; see
// [WithLimiter]. Implementations must be safe for concurrent use by multiple
// goroutines.
//
// Without a Limiter, a client pauses a method for all its goroutines after a
// 429. A Limiter prevents 429s, or shares the pause among clients or processes.
type Limiter interface {
	// Wait blocks until the client may send an attempt; the client calls it
	// before each one. The key is the service and the method, such as
	// "slack.conversations.close".
	//
	// If Wait returns an error, the client sends nothing and the call fails:
	//   - with [KindRateLimited] if the error matches KindRateLimited or
	//     context.DeadlineExceeded: the wait would exceed the deadline of ctx.
	//     If the error is an *[Error], the call returns its RetryAfter.
	//   - with [KindCanceled] if ctx is canceled.
	//   - with [KindUnavailable] and the error as its cause if the error is any
	//     other: the limiter does not work.
	Wait(ctx context.Context, key string) error
	// Limited tells the limiter that the server responded to key with a 429 and
	// requested a wait of retryAfter. The client passes 1 second if the server
	// requested none, and at most 1 hour.
	Limited(ctx context.Context, key string, retryAfter time.Duration)
}

// limiterService is the Service of the errors of limiters, chatdmredis's too.
const limiterService = "limiter"

// limiter tells the engine which of a Limiter's errors are refusals, as it
// does not know the package's sentinels.
type limiter struct{ Limiter }

func (l limiter) Wait(ctx context.Context, key string) error {
	err := l.Limiter.Wait(ctx, key)
	if !errors.Is(err, KindRateLimited) {
		return err
	}
	f := &engine.Failure{Kind: engine.RateLimited, Err: err}
	if e, ok := errors.AsType[*Error](err); ok {
		f.RetryAfter = e.RetryAfter
		if e.Service == limiterService && e.Err != nil {
			f.Err = e.Err // the rest of it the client says again
		}
	}
	return f
}

// Tier is the rate limit of a method.
type Tier struct {
	// PerMinute is the maximum number of calls in any minute. If it is 0 or
	// negative, the method is not limited.
	//
	// A [TierLimiter] keeps one timestamp per call, but at most 10,000 (240 kB)
	// per method. Above that, a timestamp stands for several calls, and the
	// limit is up to 0.03 % lower than PerMinute.
	PerMinute int
	// Burst is how many of these calls may be sent at once after an idle time.
	// If it is 0 or negative, it is a fifth of PerMinute, but at least 1. It is
	// never more than PerMinute.
	Burst int
}

// SlackTiers returns the rate limits that Slack publishes, by the key of a
// [Limiter]. The caller may modify the map.
//
// Documented at https://docs.slack.dev/apis/web-api/rate-limits.
func SlackTiers() map[string]Tier {
	return map[string]Tier{
		"slack.im.open":             {PerMinute: 100},
		"slack.im.close":            {PerMinute: 20},
		"slack.conversations.open":  {PerMinute: 50},
		"slack.conversations.close": {PerMinute: 20},
		"slack.conversations.list":  {PerMinute: 20},
	}
}

// TierLimiter is a [Limiter] that keeps each method within its [Tier]. It
// serves callers in the order in which they called Wait. A TierLimiter is safe
// for concurrent use by multiple goroutines. The zero value limits no method.
//
// Slack applies its limits per method, workspace, and app. Share one
// TierLimiter among all clients of one app in one workspace, and use another
// one for each other workspace. A TierLimiter does not know about other
// processes: divide the tiers among them, or use a limiter that they share.
//
// After a 429, the method pauses for as long as the server requested, and its
// limit drops to 80 % of the tier. The limit returns to the full tier over the
// next 5 minutes.
type TierLimiter struct {
	tiers map[string]Tier
	mu    sync.Mutex
	keys  map[string]*keyLimiter
}

// TierOption configures a [TierLimiter].
type TierOption func(*TierLimiter)

// WithTier sets the tier of a key, such as "slack.conversations.close", in place
// of the published one. A key that omits the service never matches a call. The
// zero Tier removes the limit.
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

// Wait implements [Limiter]. It returns the error of ctx if ctx is done. If the
// wait would exceed the deadline of ctx, it immediately returns an *[Error] of
// [KindRateLimited] with the shortest possible wait in RetryAfter.
func (l *TierLimiter) Wait(ctx context.Context, key string) error {
	if k := l.limiterFor(key); k != nil {
		return k.wait(ctx, key)
	}
	return ctx.Err()
}

// Limited implements [Limiter]. It pauses the key for retryAfter, but at most 1
// hour, and lowers its limit. If retryAfter is 0 or negative, it only does the
// latter. It never shortens a pause.
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
	// window is the server's minute plus a margin for requests that travel for
	// different times.
	window       = time.Minute + 500*time.Millisecond
	reducedLimit = 0.8 // part of the tier that remains after a 429
	recoveryTime = 5 * time.Minute
	maxPause     = time.Hour
	maxBatches   = 10_000 // bounds the memory of a key: 24 bytes per batch
)

// keyLimiter limits the calls of one key.
//
// A token bucket sets the rate and the burst. A burst plus a minute at the full
// rate would exceed the tier, so keyLimiter also counts the calls of the last
// window: in batches, which are single calls up to maxBatches per minute.
type keyLimiter struct {
	head    chan struct{} // held by the caller at the head of the queue; the runtime keeps the others in order
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

// earliest returns the first time, from at on, when the pause and the window
// allow the next call.
func (k *keyLimiter) earliest(at time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.pausedUntil.After(at) {
		at = k.pausedUntil
	}
	recovered := min(1, float64(time.Since(k.limitedAt))/float64(recoveryTime))
	limit := max(1, int64(float64(k.batches)*(reducedLimit+(1-reducedLimit)*recovered)))
	last := k.calls/k.batch - limit // batch that must be out of the window
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
