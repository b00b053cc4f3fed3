package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chatdm/chatdm"
)

// The outcomes of IDs that are closed. The outcome of any other ID is the kind
// of its error.
const (
	closed        = "closed"
	alreadyClosed = "already_closed"
	// The conversation was closed already, and an earlier attempt may have closed
	// it, because its response was lost or did not reach the journal.
	closedEarlier = "closed_by_earlier_attempt"
)

// closeKey is the limiter key of conversations.close.
const closeKey = "slack.conversations.close"

// defaultGrace is how long calls may continue after an interrupt.
const defaultGrace = 10 * time.Second

// maxFailures is how many calls in a row may fail for reasons that do not concern
// the ID. Then the sweep stops, because the next thousand would fail too.
const maxFailures = 10

// sweep closes the IDs of a journal.
type sweep struct {
	client  *chatdm.Client
	journal *journal
	pace    *pacer
	grace   time.Duration

	mu       sync.Mutex
	failures map[string]error // of the IDs that stay pending
	inARow   int
	denied   bool // a call failed with KindUnauthenticated or KindPermissionDenied
}

// errCredential stops a sweep whose token Slack rejects.
var errCredential = errors.New("the server rejected the token")

// run makes a call for every pending ID. It returns nil at the end of the list,
// even if calls failed, and otherwise why it stopped before the end.
func (s *sweep) run(ctx context.Context, workers int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// When ctx ends, no call starts, but the running ones get a grace period.
	calls, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.grace, end) })()

	queue := make(chan string)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for id := range queue {
				if err := s.close(ctx, calls, id); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, id := range s.journal.pending() {
		select {
		case queue <- id:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	running.Wait()
	return context.Cause(ctx)
}

// close closes one ID and writes the start and the result to the journal. An
// error stops the sweep.
func (s *sweep) close(ctx, calls context.Context, id string) error {
	// Take a slot of the rate limit first: an ID that waits for one is not started
	// yet, and an interrupt ends the wait.
	if s.pace.Wait(ctx, closeKey) != nil || ctx.Err() != nil {
		return nil
	}
	startedBefore := s.journal.wasStarted(id)
	if err := s.journal.add(entry{Event: eventStart, ID: id}); err != nil {
		return err
	}
	res, err := s.client.Conversations.Close(s.pace.withSlot(calls), id)
	if err == nil {
		s.succeeded()
		return s.journal.add(entry{
			Event: eventResult, ID: id, Outcome: outcome(res, startedBefore),
			Request: res.Meta.RequestID, Attempts: res.Meta.Attempts,
		})
	}
	switch {
	case errors.Is(err, chatdm.ErrEffectUnknown):
		// Closing twice is safe, so -resume finds out what happened.
		return s.failed(ctx, id, err)
	case errors.Is(err, chatdm.KindNotFound), errors.Is(err, chatdm.KindUnreachable), errors.Is(err, chatdm.KindInvalidRequest):
		// The error concerns this ID only, and a retry would not help.
		s.succeeded()
		e, _ := errors.AsType[*chatdm.Error](err)
		return s.journal.add(entry{
			Event: eventResult, ID: id, Outcome: string(e.Kind), Error: err.Error(),
			Request: e.RequestID, Attempts: e.Attempts,
		})
	case errors.Is(err, chatdm.KindUnauthenticated):
		_ = s.failed(ctx, id, err)
		return fmt.Errorf("%w: %w", errCredential, err)
	default:
		// The ID stays pending. That includes KindPermissionDenied, which may concern
		// only one conversation, or only group messages.
		return s.failed(ctx, id, err)
	}
}

// outcome returns the outcome of a call that succeeded.
func outcome(res *chatdm.CloseResult, startedBefore bool) string {
	switch {
	case !res.AlreadyClosed:
		return closed
	case startedBefore || res.Meta.LostAnswers > 0:
		return closedEarlier
	}
	return alreadyClosed
}

// succeeded records that Slack serves calls.
func (s *sweep) succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inARow = 0
}

// failed records a call whose ID stays pending. It returns an error after too
// many of them in a row.
func (s *sweep) failed(ctx context.Context, id string, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures[id] = err
	s.inARow++
	s.denied = s.denied || errors.Is(err, chatdm.KindUnauthenticated) || errors.Is(err, chatdm.KindPermissionDenied)
	if s.inARow >= maxFailures && ctx.Err() == nil {
		return fmt.Errorf("%d calls in a row failed; the last: %w", s.inARow, err)
	}
	return nil
}

// pacer is the limiter of the client. The sweep itself waits for it too, before
// it writes the start of a call to the journal.
type pacer struct {
	*chatdm.TierLimiter
	perMinute int // 0 means no limit

	mu    sync.Mutex
	until time.Time // the end of the pause after a 429
}

func newPacer(perMinute int) *pacer {
	return &pacer{
		TierLimiter: chatdm.NewTierLimiter(chatdm.WithTier(closeKey, chatdm.Tier{PerMinute: perMinute})),
		perMinute:   perMinute,
	}
}

// slotKey is the context key of an *atomic.Bool that reports whether the slot
// is used.
type slotKey struct{}

// withSlot returns a context for a call whose slot the sweep has taken. The
// first attempt uses the slot; retries wait for their own.
func (p *pacer) withSlot(ctx context.Context) context.Context {
	return context.WithValue(ctx, slotKey{}, new(atomic.Bool))
}

// Wait implements [chatdm.Limiter].
func (p *pacer) Wait(ctx context.Context, key string) error {
	if used, ok := ctx.Value(slotKey{}).(*atomic.Bool); ok && used.CompareAndSwap(false, true) {
		return ctx.Err()
	}
	return p.TierLimiter.Wait(ctx, key)
}

// Limited implements [chatdm.Limiter].
func (p *pacer) Limited(ctx context.Context, key string, retryAfter time.Duration) {
	p.TierLimiter.Limited(ctx, key, retryAfter)
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(retryAfter); until.After(p.until) {
		p.until = until
	}
}

// paused returns the rest of the pause after a 429.
func (p *pacer) paused() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, time.Until(p.until))
}
