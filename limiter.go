package chatdm

import (
	"context"
	"errors"
	"time"

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
	}
	return f
}
