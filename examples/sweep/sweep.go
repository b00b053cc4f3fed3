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

// The outcomes of an id that is closed in the end. The others are the kinds of
// the errors.
const (
	closed        = "closed"
	alreadyClosed = "already_closed"
	// The id was closed already, and a request for it had gone out before whose
	// answer never came, or did not reach the journal.
	closedEarlier = "closed_by_earlier_try"
)

// closeKey is what limiters know conversations.close by.
const closeKey = "slack.conversations.close"

// defaultGrace is what the calls under way get when the sweep is to stop.
const defaultGrace = 10 * time.Second

// tooMany calls in a row without any answer about the id end the sweep: the
// server is down, and the next thousand would only say so again.
const tooMany = 10

// sweep closes the ids of a journal.
type sweep struct {
	client  *chatdm.Client
	journal *journal
	pace    *pacer
	grace   time.Duration

	mu         sync.Mutex
	unanswered map[string]error // of this run
	inARow     int
}

// errRefused ends a sweep whose token will not do for any id.
var errRefused = errors.New("the credential is refused")

// run asks every id that has no answer. It returns why it stopped before the
// end: the error of ctx where that was the reason, and otherwise what went
// wrong; what is wrong with single ids is none of it.
func (s *sweep) run(ctx context.Context, workers int) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	calls, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(s.grace, end) })()

	queue := make(chan string)
	var work sync.WaitGroup
	for range workers {
		work.Go(func() {
			for id := range queue {
				if err := s.ask(ctx, calls, id); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, id := range s.journal.left() {
		select {
		case queue <- id:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	work.Wait()
	return context.Cause(ctx)
}

// ask closes one id, between its two lines in the journal. Its error ends the
// sweep.
func (s *sweep) ask(ctx, calls context.Context, id string) error {
	// The turn comes first: what waits for it is not asked yet, and a Ctrl-C
	// need not wait with it.
	if s.pace.Wait(ctx, closeKey) != nil || ctx.Err() != nil {
		return nil
	}
	before := s.journal.wasAsked(id)
	if err := s.journal.add(entry{Event: asked, ID: id}); err != nil {
		return err
	}
	res, err := s.client.Conversations.Close(s.pace.admitted(calls), id)
	if answer := judge(res, err, before); answer.Outcome != "" {
		s.mu.Lock()
		s.inARow = 0
		s.mu.Unlock()
		answer.Event, answer.ID = answered, id
		return s.journal.add(answer)
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.unanswered[id] = err
	s.inARow++
	switch {
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.ErrMissingScope), errors.Is(err, chatdm.ErrNotAllowedTokenType):
		return fmt.Errorf("%w: %w", errRefused, err)
	case s.inARow >= tooMany && ctx.Err() == nil:
		return fmt.Errorf("%d calls in a row had no answer; the last: %w", s.inARow, err)
	}
	return nil
}

// judge says what an answer means for the id. Without an Outcome it is none: the
// call failed for a reason that has nothing to do with the id, which is asked
// again when the sweep goes on.
func judge(res *chatdm.CloseResult, err error, before bool) entry {
	if err == nil {
		e := entry{Outcome: closed, Request: res.Meta.RequestID, Attempts: res.Meta.Attempts}
		if res.AlreadyClosed {
			e.Outcome = alreadyClosed
			if before || res.Meta.LostAnswers > 0 {
				e.Outcome = closedEarlier
			}
		}
		return e
	}
	e, ok := errors.AsType[*chatdm.Error](err)
	if !ok {
		return entry{}
	}
	switch {
	case errors.Is(err, chatdm.KindNotFound), errors.Is(err, chatdm.KindInvalidRequest),
		errors.Is(err, chatdm.ErrUserDoesNotOwnChannel), errors.Is(err, chatdm.ErrMethodNotSupportedForChannelType):
		return entry{Outcome: string(e.Kind), Error: err.Error(), Request: e.RequestID, Attempts: e.Attempts}
	}
	return entry{}
}

// pacer is the limiter of the client, which the sweep asks as well: before it
// writes to the journal that it asks for an id.
type pacer struct {
	*chatdm.TierLimiter
	perMinute int // 0 for no pace

	mu       sync.Mutex
	until    time.Time // refused by the server until then
	refusals int
}

func newPacer(perMinute int) *pacer {
	return &pacer{
		TierLimiter: chatdm.NewTierLimiter(chatdm.WithTier(closeKey, chatdm.Tier{PerMinute: perMinute})),
		perMinute:   perMinute,
	}
}

// turn is in the context of a call that had its turn: a *atomic.Bool that says
// whether the first attempt has used it.
type turn struct{}

func (p *pacer) admitted(ctx context.Context) context.Context {
	return context.WithValue(ctx, turn{}, new(atomic.Bool))
}

// Wait implements [chatdm.Limiter].
func (p *pacer) Wait(ctx context.Context, key string) error {
	if used, ok := ctx.Value(turn{}).(*atomic.Bool); ok && used.CompareAndSwap(false, true) {
		return ctx.Err()
	}
	return p.TierLimiter.Wait(ctx, key)
}

// Limited implements [chatdm.Limiter].
func (p *pacer) Limited(ctx context.Context, key string, retryAfter time.Duration) {
	p.TierLimiter.Limited(ctx, key, retryAfter)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusals++
	if until := time.Now().Add(retryAfter); until.After(p.until) {
		p.until = until
	}
}

// paused is what is left of the server's refusals.
func (p *pacer) paused() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, time.Until(p.until))
}
