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

// Limiter paces the calls of one or many clients; see [WithLimiter]. It must
// be safe for concurrent use.
//
// A client needs none to respect a refusal: one call's 429 pauses its method
// for all goroutines of that client. A Limiter keeps refusals from happening,
// or shares them between clients and processes.
type Limiter interface {
	// Wait blocks until the call may be sent; the client asks before every
	// attempt. The key is service and method: "slack.conversations.close".
	//
	// An error ends the call, it never lets it pass. One that matches
	// [KindRateLimited] or context.DeadlineExceeded says that the call cannot be
	// admitted before the deadline of ctx, and comes back as KindRateLimited,
	// with the RetryAfter of an *[Error] in it; any other says that the limiter
	// does not work, and comes back as [KindUnavailable] with it as the cause.
	Wait(ctx context.Context, key string) error
	// Limited reports that the server has refused key, and for how long: what
	// the server asked for, or a second where it did not say.
	Limited(ctx context.Context, key string, retryAfter time.Duration)
}

// limiterService is the Service of the errors of limiters, redislimit's too.
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

// Tier is how many calls of a method are allowed.
type Tier struct {
	// PerMinute is how many calls fit into a minute. Zero means that the method
	// is not paced.
	PerMinute int
	// Burst is how many of these may come at once after a time of rest: a fifth of
	// PerMinute where it is zero, and never more than PerMinute.
	Burst int
}

// SlackTiers returns the tiers that Slack publishes, by the keys of a
// [Limiter]; other methods are not in it. The map is the caller's own.
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

// TierLimiter is a [Limiter] that paces each method at its tier, so that Slack
// has nothing to refuse. It serves callers in the order in which they came.
//
// Slack counts by method, workspace and app: share one TierLimiter among all
// clients of one app in one workspace, and give each workspace its own. It
// knows of one process; for several, divide the tiers among them, or use a
// limiter that they share.
//
// It learns: a refusal holds the method back for as long as the server says,
// and lowers its pace by a fifth, which it wins back in five minutes without
// another one.
type TierLimiter struct {
	tiers map[string]Tier
	mu    sync.Mutex
	paces map[string]*pace
}

// TierOption sets one thing of a [TierLimiter].
type TierOption func(*TierLimiter)

// WithTier sets the tier of a key, "slack.conversations.close" or
// "slack.chat.postMessage", in place of the published one: an internal app may
// have more than one from the marketplace. A key without the service, like
// "chat.postMessage", is that of no call. The zero Tier lets the method pass.
func WithTier(key string, tier Tier) TierOption {
	return func(l *TierLimiter) { l.tiers[key] = tier }
}

// NewTierLimiter returns a limiter with the [SlackTiers]: 100 calls a minute of
// im.open, 50 of conversations.open, 20 of im.close, conversations.close and
// conversations.list. Other keys are not paced, unless [WithTier] names them. A
// nil option is skipped, and a negative number counts as zero.
func NewTierLimiter(opts ...TierOption) *TierLimiter {
	l := &TierLimiter{tiers: SlackTiers(), paces: make(map[string]*pace)}
	for _, opt := range opts {
		if opt != nil {
			opt(l)
		}
	}
	return l
}

// Wait implements [Limiter]. Its error is the context's, or an *[Error] of
// [KindRateLimited] with the time until the call could be sent in RetryAfter,
// where that is past the deadline of ctx; it comes at once.
func (l *TierLimiter) Wait(ctx context.Context, key string) error {
	if p := l.pace(key); p != nil {
		return p.wait(ctx, key)
	}
	return ctx.Err()
}

// Limited implements [Limiter].
func (l *TierLimiter) Limited(_ context.Context, key string, retryAfter time.Duration) {
	if p := l.pace(key); p != nil {
		p.refused(retryAfter)
	}
}

// pace is that of a key, nil for one without a tier.
func (l *TierLimiter) pace(key string) *pace {
	tier := l.tiers[key]
	if tier.PerMinute <= 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.paces[key]
	if p == nil {
		p = newPace(tier)
		l.paces[key] = p
	}
	return p
}

// window is the minute that the server counts in, and as much as two answers
// may differ in how long they are on their way.
const window = time.Minute + 500*time.Millisecond

// slowdown is how much of its pace a refused method keeps, recovery how long
// it takes to win the rest back.
const (
	slowdown = 0.8
	recovery = 5 * time.Minute
)

// pace admits the calls of one method.
//
// A token bucket gives the rate and the burst. Its burst on top of its rate
// could be more than the tier within one minute, so that the calls of the last
// minute are counted as well.
type pace struct {
	turn   chan struct{} // held by who is next; the runtime serves those who wait for it in order
	bucket *rate.Limiter

	mu      sync.Mutex
	waiting int         // for the turn
	recent  []time.Time // when the last calls were admitted, the oldest at next
	next    int
	until   time.Time // refused by the server until then
	slowed  time.Time // the last refusal
}

func newPace(tier Tier) *pace {
	burst := tier.Burst
	if burst <= 0 {
		burst = max(1, tier.PerMinute/5)
	}
	return &pace{
		turn:   make(chan struct{}, 1),
		bucket: rate.NewLimiter(rate.Limit(float64(tier.PerMinute)/time.Minute.Seconds()), min(burst, tier.PerMinute)),
		recent: make([]time.Time, tier.PerMinute),
	}
}

func (p *pace) wait(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := p.enter(ctx, key); err != nil {
		return err
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		p.leave()
		return ctx.Err()
	}
	start := time.Now()
	token := p.reserve(start)
	free := start.Add(token.DelayFrom(start)) // of the bucket
	left := p.bucket.TokensAt(free)
	for {
		now := time.Now()
		at := p.earliest(free)
		if !at.After(now) {
			// While something else holds the call back, the bucket stands still: else
			// there would be a burst in every minute, and a gap before it.
			if more := int(p.bucket.TokensAt(now) - left); more > 0 {
				p.bucket.AllowN(now, more)
			}
			p.admitted(now)
			return nil
		}
		if err := pastDeadline(ctx, key, at.Sub(now)); err != nil {
			token.Cancel()
			return err
		}
		timer := time.NewTimer(at.Sub(now))
		select {
		case <-timer.C: // a refusal may have come meanwhile: look again
		case <-ctx.Done():
			timer.Stop()
			token.Cancel()
			return ctx.Err()
		}
	}
}

// enter joins the queue, unless even without any further hindrance its end is
// past the deadline.
func (p *pace) enter(ctx context.Context, key string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	ahead := float64(p.waiting+1) - p.bucket.Tokens() // which has gone below zero for who has the turn
	least := time.Duration(ahead / float64(p.bucket.Limit()) * float64(time.Second))
	if err := pastDeadline(ctx, key, max(least, time.Until(p.until))); err != nil {
		return err
	}
	p.waiting++
	return nil
}

func (p *pace) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
}

// reserve is for who has the turn: a token, in place of one in the queue.
func (p *pace) reserve(now time.Time) *rate.Reservation {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting--
	return p.bucket.ReserveN(now, 1)
}

// earliest is when a call may be sent that its token allows at that time.
func (p *pace) earliest(at time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.until.After(at) {
		at = p.until
	}
	// The call that leaves the window last of as many as the pace allows in it.
	allowed := p.allowed()
	last := p.recent[(p.next+len(p.recent)-allowed)%len(p.recent)]
	if !last.IsZero() && last.Add(window).After(at) {
		at = last.Add(window)
	}
	return at
}

// allowed is how many calls fit into a window now; p.mu is held.
func (p *pace) allowed() int {
	if p.slowed.IsZero() {
		return len(p.recent)
	}
	won := min(1, float64(time.Since(p.slowed))/float64(recovery))
	return max(1, int(float64(len(p.recent))*(slowdown+(1-slowdown)*won)))
}

func (p *pace) admitted(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent[p.next] = now
	p.next = (p.next + 1) % len(p.recent)
}

func (p *pace) refused(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.slowed = now
	if until := now.Add(d); until.After(p.until) {
		p.until = until
	}
}

// pastDeadline refuses a wait that the context would not see the end of.
func pastDeadline(ctx context.Context, key string, wait time.Duration) error {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) >= wait {
		return nil
	}
	return &Error{
		Service: limiterService, Method: key, Kind: KindRateLimited, RetryAfter: wait,
		Err: fmt.Errorf("its turn is past the context's deadline: %w", context.DeadlineExceeded),
	}
}
