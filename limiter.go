package chatdm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
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
	// service and the method, such as "slack.conversations.close". If the method also has
	// a limit per conversation, the key ends with a slash and the conversation:
	// "slack.chat.postMessage/D024BFF1M". The part before the slash is then the key of
	// the method. Any other slash in a key is part of a Rocket.Chat endpoint.
	//
	// If Wait returns an error, the client sends nothing and the call fails:
	//   - with [KindRateLimited] if the error matches KindRateLimited (the client keeps
	//     the RetryAfter of an *[Error]) or context.DeadlineExceeded
	//   - with [KindCanceled] if ctx is canceled
	//   - with [KindUnavailable] otherwise
	Wait(ctx context.Context, key string) error
	// The client calls Limited after a 429, with the key of the call. The argument
	// retryAfter is the wait that the server requested, but at most 1 hour, or 1 second
	// if the server requested none. The server does not say whether the call exceeded the
	// limit of the conversation or that of the method.
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

// Tier is the rate limit of a method, or of each conversation of a method.
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

// SlackTiers returns a new map from [Limiter] keys to Slack's published limits. It has a
// tier for every typed method. A key that ends in "/*" holds the limit of each
// conversation. Slack does not say how large a short burst in a conversation may be;
// SlackTiers assumes three messages.
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
		"slack.chat.postMessage":      {PerMinute: 300},          // "several hundred" in a workspace
		"slack.chat.postMessage/*":    {PerMinute: 60, Burst: 3}, // "1 per second", with "short bursts"
		"slack.users.lookupByEmail":   {PerMinute: 50},
		"slack.users.info":            {PerMinute: 100},
		"slack.auth.test":             {PerMinute: 300}, // "hundreds"
		"slack.oauth.v2.access":       {PerMinute: 600},
		"slack.oauth.v2.exchange":     {PerMinute: 50},
	}
}

// NonMarketplaceTiers returns a new map with the tiers that differ from [SlackTiers] for
// some apps: one call each of conversations.history and conversations.replies per minute.
// They apply to apps that are distributed commercially outside the Slack Marketplace and
// were created or installed after May 29, 2025. They do not apply to apps that a
// customer builds for its own workspace. Pass the map to [WithTiers].
//
// Documented at https://docs.slack.dev/apis/web-api/rate-limits.
func NonMarketplaceTiers() map[string]Tier {
	return map[string]Tier{
		"slack.conversations.history": {PerMinute: 1},
		"slack.conversations.replies": {PerMinute: 1},
	}
}

// TierLimiter is a [Limiter] that keeps each method, and each conversation of a method,
// within its [Tier]. It is safe for concurrent use by multiple goroutines. The zero value
// limits no method.
//
// Callers with the same key get their turns in the order in which they called Wait. A
// caller that waits for its conversation does not delay the callers of other
// conversations: it joins the queue of the method when its conversation allows the call.
// A caller whose context ends leaves no gap.
//
// Slack applies its limits per method, workspace, and app. Share one TierLimiter
// among all clients of one app in one workspace. If the app has several processes,
// divide the tiers among them, or use a limiter that they share.
//
// After a 429, the key of the call pauses for as long as the server requested, and its
// limit drops to 80% of the tier. The limit returns to the full tier over the next 5
// minutes. A 429 for a conversation pauses only that conversation. But if another
// conversation of the same method gets a 429 during that pause, the limit of the
// method is probably exceeded, so the method pauses as well.
//
// A TierLimiter forgets a key that had no call in the last minute and has neither a pause
// nor a lowered limit. Its memory is therefore proportional to the number of
// conversations that were active in the last few minutes.
type TierLimiter struct {
	tiers map[string]Tier

	mu       sync.Mutex
	keys     map[string]*keyLimiter
	sweeping bool // sweep is scheduled
}

// TierOption configures a [TierLimiter].
type TierOption func(*TierLimiter)

// WithTier sets the tier of a key. A key that omits the service never matches a call.
// The zero Tier removes the limit.
//
//   - "slack.conversations.close" sets the limit of the method.
//   - "slack.chat.postMessage/*" sets the limit of each conversation, which applies in
//     addition to the limit of the method.
//   - "slack.chat.postMessage/D024BFF1M" sets the limit of one conversation instead.
func WithTier(key string, tier Tier) TierOption {
	return func(l *TierLimiter) { l.tiers[key] = tier }
}

// WithTiers sets the tier of each key in the map, like [WithTier]. Use it with
// [NonMarketplaceTiers] or the Tiers of package rocketchat.
func WithTiers(tiers map[string]Tier) TierOption {
	return func(l *TierLimiter) { maps.Copy(l.tiers, tiers) }
}

// NewTierLimiter returns a TierLimiter with the tiers of [SlackTiers]. It does
// not limit other keys unless [WithTier] or [WithTiers] adds them. Nil options are
// ignored. If several options set the tier of a key, the last one applies.
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
	if err := ctx.Err(); err != nil {
		return err
	}
	k, method := l.acquire(key)
	defer l.release(k, method)
	switch {
	case k == nil, sendNow(k, method):
		return nil
	case method == nil:
		return k.wait(ctx, key)
	}
	return k.waitWith(ctx, key, method)
}

// sendNow records a call if both limiters allow it now and nobody waits for either. It
// reports whether it did. The method may be nil.
func sendNow(k, method *keyLimiter) bool {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.allowsNow(now) {
		return false
	}
	if method != nil {
		method.mu.Lock() // nothing locks these two in another order
		defer method.mu.Unlock()
		if !method.allowsNow(now) {
			return false
		}
		method.record(now)
	}
	k.record(now)
	return true
}

// Limited implements [Limiter]. It pauses the key for retryAfter, but for at
// most 1 hour, and lowers its limit.
func (l *TierLimiter) Limited(_ context.Context, key string, retryAfter time.Duration) {
	k, method := l.acquire(key)
	defer l.release(k, method)
	if k == nil {
		return
	}
	retryAfter = min(retryAfter, maxPause)
	k.pause(retryAfter)
	if method != nil && method.conversationLimited(key, retryAfter) {
		method.pause(retryAfter)
	}
}

// methodOf returns the part of a key that names the method. It is the key itself if the
// key names no conversation.
func methodOf(key string) string {
	method, _, _ := strings.Cut(key, "/")
	return method
}

// tier returns the tier of a key, which may name a conversation.
func (l *TierLimiter) tier(key, method string) Tier {
	if tier, ok := l.tiers[key]; ok || key == method {
		return tier
	}
	return l.tiers[method+"/*"]
}

// acquire returns the limiters that apply to a call: that of its key, and, if the key
// names a conversation and both have a limit, that of the method. If only one of them has
// a limit, it is the first result. The TierLimiter keeps them until release.
func (l *TierLimiter) acquire(key string) (first, method *keyLimiter) {
	name := methodOf(key)
	tier, methodTier := l.tier(key, name), Tier{}
	if name != key {
		methodTier = l.tier(name, name)
	}
	if tier.PerMinute <= 0 && methodTier.PerMinute <= 0 {
		return nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if methodTier.PerMinute > 0 {
		method = l.get(name, methodTier)
	}
	if tier.PerMinute <= 0 {
		return method, nil
	}
	return l.get(key, tier), method
}

func (l *TierLimiter) get(key string, tier Tier) *keyLimiter {
	k := l.keys[key]
	if k == nil {
		k = newKeyLimiter(tier)
		l.keys[key] = k
	}
	k.users++
	if !l.sweeping {
		l.sweeping = true
		time.AfterFunc(sweepInterval, l.sweep)
	}
	return k
}

func (l *TierLimiter) release(limiters ...*keyLimiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range limiters {
		if k != nil {
			k.users--
		}
	}
}

// sweep forgets the idle keys.
func (l *TierLimiter) sweep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make(map[string]*keyLimiter) // because a map does not shrink
	for key, k := range l.keys {
		if k.users > 0 || !k.idle() {
			kept[key] = k
		}
	}
	l.keys = kept
	if l.sweeping = len(kept) > 0; l.sweeping {
		time.AfterFunc(sweepInterval, l.sweep)
	}
}

const (
	// window is the server's minute plus a margin for the network's latency.
	window        = time.Minute + 500*time.Millisecond
	reducedLimit  = 0.8 // fraction of the tier that remains after a 429
	recoveryTime  = 5 * time.Minute
	maxPause      = time.Hour
	sweepInterval = time.Minute
	maxBatches    = 10_000 // bounds the memory of a key: 24 bytes per batch
)

// keyLimiter limits the calls of one key. A token bucket sets the rate and the
// burst. A burst plus a minute at the full rate would exceed the tier, so
// keyLimiter also counts the calls of the last window, in batches.
type keyLimiter struct {
	head    chan struct{} // held by the caller at the head of the queue; the runtime queues the others in order
	bucket  *rate.Limiter // only the caller at the head takes tokens
	batch   int64         // calls per batch
	batches int64         // maximum number of batches per window
	users   int           // calls of Wait and Limited that use this limiter; guarded by TierLimiter.mu

	mu          sync.Mutex
	waiting     int         // callers in the queue, including the head
	calls       int64       // all calls so far
	sent        []time.Time // ring of batches+1 entries: when the last call of each batch was sent
	pausedUntil time.Time
	limitedAt   time.Time // when the server last responded with a 429

	// Of a method: the conversation that last got a 429, and the end of its pause.
	limitedKey   string
	limitedUntil time.Time
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

// wait blocks until the key allows a call.
func (k *keyLimiter) wait(ctx context.Context, key string) error {
	if err := k.enqueue(ctx, key); err != nil {
		return err
	}
	sent := false
	defer func() { k.dequeue(sent) }()
	if err := k.awaitTurn(ctx, key); err != nil {
		return err
	}
	k.send(time.Now())
	sent = true
	return nil
}

// waitWith blocks until the key, which names a conversation, and its method allow a call.
// The caller is in the queue of the method only while the conversation allows the call.
func (k *keyLimiter) waitWith(ctx context.Context, key string, method *keyLimiter) error {
	if err := method.checkQueue(ctx, key); err != nil {
		return err
	}
	if err := k.enqueue(ctx, key); err != nil {
		return err
	}
	sent := false
	defer func() { k.dequeue(sent) }()
	for !sent {
		if err := k.awaitTurn(ctx, key); err != nil {
			return err
		}
		var err error
		if sent, err = method.sendWith(ctx, key, k); err != nil {
			return err
		}
	}
	return nil
}

// sendWith blocks until the method allows a call. It returns false if the
// conversation does not allow the call then, because it has been paused.
func (k *keyLimiter) sendWith(ctx context.Context, key string, conversation *keyLimiter) (sent bool, err error) {
	if err := k.enqueue(ctx, key); err != nil {
		return false, err
	}
	defer func() { k.dequeue(sent) }()
	if err := k.awaitTurn(ctx, key); err != nil {
		return false, err
	}
	now := time.Now()
	if conversation.earliest(now).After(now) {
		return false, nil
	}
	k.send(now)
	conversation.send(now)
	return true, nil
}

// enqueue adds a caller to the queue and waits until it is the head. It returns an error
// if the shortest possible wait would exceed the deadline of ctx. If the error is nil, the
// caller must call dequeue.
func (k *keyLimiter) enqueue(ctx context.Context, key string) error {
	k.mu.Lock()
	err := k.checkDeadline(ctx, key)
	if err == nil {
		k.waiting++
	}
	k.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case k.head <- struct{}{}:
		return nil
	case <-ctx.Done():
		k.mu.Lock()
		k.waiting--
		k.mu.Unlock()
		return ctx.Err()
	}
}

// dequeue removes the head of the queue. If it sent a call, send has already updated waiting.
func (k *keyLimiter) dequeue(sent bool) {
	if !sent {
		k.mu.Lock()
		k.waiting--
		k.mu.Unlock()
	}
	<-k.head
}

// checkQueue returns an error if the shortest possible wait of a new caller would
// exceed the deadline of ctx.
func (k *keyLimiter) checkQueue(ctx context.Context, key string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.checkDeadline(ctx, key)
}

func (k *keyLimiter) checkDeadline(ctx context.Context, key string) error {
	wait := k.untilTokens(float64(k.waiting+1), time.Now())
	return checkDeadline(ctx, key, max(wait, time.Until(k.pausedUntil)))
}

// untilTokens returns how long it takes from now until the bucket has gained n tokens,
// including those that it holds. It may be negative.
func (k *keyLimiter) untilTokens(n float64, now time.Time) time.Duration {
	return time.Duration((n - k.bucket.TokensAt(now)) / float64(k.bucket.Limit()) * float64(time.Second))
}

// allowsNow reports whether nobody waits and the key allows a call. The caller must hold
// the lock.
func (k *keyLimiter) allowsNow(now time.Time) bool {
	return k.waiting == 0 && k.bucket.TokensAt(now) >= 1 && !k.earliestFrom(now, now).After(now)
}

// awaitTurn blocks until the key allows the call of the caller at the head of the queue.
func (k *keyLimiter) awaitTurn(ctx context.Context, key string) error {
	ready := time.Now()
	ready = ready.Add(max(0, k.untilTokens(1, ready))) // when the bucket has the token
	for {
		now := time.Now()
		at := k.earliest(ready)
		if !at.After(now) {
			// Drop the tokens that the bucket gained while a pause or the window delayed
			// the call: they would allow a burst, and then a gap, in every window. Keep
			// those that it gained because the timer was late.
			k.bucket.AllowN(now, int(k.bucket.TokensAt(at)-k.bucket.TokensAt(ready)))
			return nil
		}
		if err := checkDeadline(ctx, key, at.Sub(now)); err != nil {
			return err
		}
		timer := time.NewTimer(at.Sub(now))
		select {
		case <-timer.C: // check again: a new pause may have begun
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// earliest returns the first time, starting from at, at which the pause and the
// window allow the next call.
func (k *keyLimiter) earliest(at time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.earliestFrom(at, time.Now())
}

func (k *keyLimiter) earliestFrom(at, now time.Time) time.Time {
	if k.pausedUntil.After(at) {
		at = k.pausedUntil
	}
	recovered := min(1, float64(now.Sub(k.limitedAt))/float64(recoveryTime))
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

// send takes a token and records the call of the caller at the head of the queue.
func (k *keyLimiter) send(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.record(now)
	k.waiting--
}

// record takes a token and records a call. The caller must hold the lock.
func (k *keyLimiter) record(now time.Time) {
	if !k.bucket.AllowN(now, 1) {
		k.bucket.ReserveN(now, 1) // rounding: the caller has waited for this token
	}
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

// conversationLimited records that a conversation of this method is paused for d. It
// reports whether another one is paused, too.
func (k *keyLimiter) conversationLimited(key string, d time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	another := key != k.limitedKey && now.Before(k.limitedUntil)
	k.limitedKey, k.limitedUntil = key, now.Add(d)
	return another
}

// idle reports whether a new keyLimiter would allow the same calls from now on.
func (k *keyLimiter) idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	// After a window, the bucket is full again.
	recent := k.calls > 0 && now.Sub(k.sent[(k.calls-1)/k.batch%(k.batches+1)]) < window
	return !recent && !now.Before(k.pausedUntil) && !now.Before(k.limitedUntil) && now.Sub(k.limitedAt) >= recoveryTime
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
