package chatdmredis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/chatdm/chatdm"
)

// queue holds the callers of one limiter key in this process, in order of arrival.
// Only the caller at the head talks to Redis.
type queue struct {
	limiter    *Limiter
	key        string
	tier       chatdm.Tier   // Burst is set
	interval   time.Duration // between two tokens of the bucket
	redisKeys  []string
	operations chan struct{} // semaphore for running operations on Redis, including those that timed out
	head       chan struct{} // semaphore for the head; the runtime serves goroutines that block on it in order

	mu       sync.Mutex
	waiting  int  // callers in the queue, including the head
	reserved bool // Redis holds a slot for this queue that no call has used yet
	// The result of the last operation, as times on the local clock.
	slotAt, fullAt, pausedUntil time.Time
	generation                  string
	// When Redis last let a call pass, and when the local limiter last did.
	lastRedisPass, lastLocalPass time.Time
	unreportedPause              time.Time // end of a pause that Redis does not know about; zero if there is none
	outage                       *outage   // the next outage, which the current callers watch for
	fallbackUntil                time.Time // zero while the queue uses Redis

	slotID int // number of the next slot; only the head uses it
}

// outage signals to the callers in a queue that Redis is unavailable.
type outage struct {
	done chan struct{} // closed after err is set
	err  error
}

func newQueue(l *Limiter, key string, tier chatdm.Tier) *queue {
	if tier.Burst <= 0 {
		tier.Burst = max(1, tier.PerMinute/5)
	}
	tier.Burst = min(tier.Burst, tier.PerMinute)
	prefix := l.prefix + "{" + l.name + ":" + key + "}:"
	return &queue{
		limiter: l, key: key, tier: tier, interval: l.timing.minute / time.Duration(tier.PerMinute),
		redisKeys:  []string{prefix + "state", prefix + "slots"},
		operations: make(chan struct{}, 4),
		head:       make(chan struct{}, 1),
		outage:     &outage{done: make(chan struct{})},
	}
}

// wait blocks until a call may be sent.
func (q *queue) wait(ctx context.Context) error {
	outage, err := q.join(ctx)
	if err != nil {
		return err
	}
	defer q.leave()
	select {
	case q.head <- struct{}{}:
		defer func() { <-q.head }()
	case <-outage.done:
		return outage.err
	case <-ctx.Done():
		return ctx.Err()
	}
	// The previous head may report an outage and free the head at the same time. Then
	// select chooses at random, but the outage takes precedence.
	select {
	case <-outage.done:
		return outage.err
	default:
	}
	for {
		if d := q.untilRetry(); d > 0 {
			passed, err := q.waitLocally(ctx, d)
			if passed || err != nil {
				return err
			}
			continue
		}
		r, err := q.reserve(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return err // the contexts of other callers may not be done, so do not fail them
		case err != nil && q.limiter.local != nil:
			q.startFallback(err)
			continue
		case err != nil:
			q.failAll(err)
			return err
		}
		if !r.reserved {
			return q.deadlineError(r.wait)
		}
		if r.wait <= 0 {
			q.useSlot()
			return nil
		}
		if err := q.checkDeadline(ctx, r.wait); err != nil {
			return err // the next caller gets the slot
		}
		timer := time.NewTimer(min(r.wait, q.limiter.timing.checkInterval))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// join adds a caller to the queue and returns the outage to watch for. It returns an
// error if even the shortest possible wait would exceed the caller's deadline.
func (q *queue) join(ctx context.Context) (*outage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ahead := q.waiting
	if q.reserved {
		ahead-- // fullAt includes the slot of the head
	}
	now := time.Now()
	least := max(0, q.fullAt.Sub(now)) + time.Duration(ahead-q.tier.Burst+1)*q.interval
	if err := q.checkDeadline(ctx, max(least, q.slotAt.Sub(now), q.pausedUntil.Sub(now))); err != nil {
		return nil, err
	}
	q.waiting++
	return q.outage, nil
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
}

// reserve reserves a slot for the caller at the head of the queue, or checks the
// slot that is already reserved.
//
// A slot keeps its ID until a call uses it. If the head gives up, or an operation
// runs twice, the next operation finds the same slot.
func (q *queue) reserve(ctx context.Context) (scriptResult, error) {
	maxWaitArg := "-1"
	if deadline, ok := ctx.Deadline(); ok {
		maxWaitArg = formatMicros(max(0, min(time.Until(deadline), maxWait)))
	}
	start := time.Now()
	r, err := q.runScript(ctx, q.limiter.id+":"+strconv.Itoa(q.slotID), maxWaitArg)
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.reserved, q.slotAt = r.reserved, start.Add(r.wait)
	}
	return r, err
}

// runScript runs reserve.lua and updates the queue from its result. If slotID is
// empty, the script reserves nothing.
func (q *queue) runScript(ctx context.Context, slotID, maxWaitArg string) (scriptResult, error) {
	t := q.limiter.timing
	q.mu.Lock()
	start, knownGeneration, lastLocalPass, pause := time.Now(), "", "0", time.Duration(0)
	windowStart := start.Add(-t.window)
	if q.lastRedisPass.After(windowStart) {
		knownGeneration = q.generation
	}
	if q.lastLocalPass.After(windowStart) {
		lastLocalPass = "1"
	}
	reportedPause, reportedLocal := q.unreportedPause, q.lastLocalPass
	if !reportedPause.IsZero() {
		pause = max(0, reportedPause.Sub(start))
	}
	q.mu.Unlock()
	r, err := q.limiter.runScript(ctx, q, []any{
		slotID, q.tier.PerMinute, q.tier.Burst, formatMicros(t.minute), formatMicros(t.window), formatMicros(t.grace),
		reducedLimit, formatMicros(t.recovery), q.limiter.id + strconv.FormatInt(start.UnixNano(), 36), knownGeneration,
		lastLocalPass, formatMicros(pause), maxWaitArg,
	})
	if err != nil {
		return scriptResult{}, err
	}
	q.mu.Lock()
	q.generation, q.fullAt = r.generation, start.Add(r.untilFull)
	if until := time.Now().Add(r.pause); until.After(q.pausedUntil) {
		q.pausedUntil = until
	}
	// If one of these changed while the script ran, the next operation reports it.
	if q.unreportedPause.Equal(reportedPause) {
		q.unreportedPause = time.Time{}
	}
	if q.lastLocalPass.Equal(reportedLocal) {
		q.lastLocalPass = time.Time{}
	}
	wasFallback := !q.fallbackUntil.IsZero()
	q.fallbackUntil = time.Time{}
	q.mu.Unlock()
	if wasFallback && q.limiter.onFallback != nil {
		q.limiter.onFallback(q.key, nil)
	}
	return r, nil
}

// useSlot records that the caller at the head of the queue uses its slot.
func (q *queue) useSlot() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.slotID++
	q.reserved = false
	q.lastRedisPass = time.Now()
}

// failAll fails all callers that are currently in the queue. Otherwise, they would
// time out one after another.
func (q *queue) failAll(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.outage.err = err
	close(q.outage.done)
	q.outage = &outage{done: make(chan struct{})}
}

// startFallback starts or extends the local fallback.
func (q *queue) startFallback(err error) {
	q.mu.Lock()
	isFirst := q.fallbackUntil.IsZero()
	q.fallbackUntil = time.Now().Add(q.limiter.timing.retryInterval)
	q.mu.Unlock()
	if isFirst && q.limiter.onFallback != nil {
		q.limiter.onFallback(q.key, err)
	}
}

// untilRetry returns how long the local fallback lasts before Redis is tried again.
// It returns 0 or less if Redis can be used now.
func (q *queue) untilRetry() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fallbackUntil.IsZero() {
		return 0
	}
	return time.Until(q.fallbackUntil)
}

// waitLocally waits for the local limiter, for at most d. It returns false and a nil
// error if d passes first.
func (q *queue) waitLocally(ctx context.Context, d time.Duration) (passed bool, err error) {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	// Do not use a context with a timeout: if its deadline were too early, the local
	// limiter would return an error immediately.
	timer := time.AfterFunc(d, cancel)
	defer timer.Stop()
	err = q.limiter.local.Wait(bounded, q.key)
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.lastLocalPass = time.Now()
		return true, nil
	}
	if ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return false, nil
	}
	return false, err
}

// limited pauses the queue for d and reports the pause to Redis.
func (q *queue) limited(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	if q.limiter.local != nil {
		q.limiter.local.Limited(ctx, q.key, d)
	}
	q.mu.Lock()
	until := time.Now().Add(d)
	if until.After(q.pausedUntil) {
		q.pausedUntil = until
	}
	if until.After(q.unreportedPause) {
		q.unreportedPause = until
	}
	q.mu.Unlock()
	if q.untilRetry() > 0 {
		return // the first operation after the fallback reports the pause
	}
	// If this fails, the next operation reports the pause.
	_, _ = q.runScript(ctx, "", "-1")
}

// checkDeadline returns an error if ctx ends before wait has passed.
func (q *queue) checkDeadline(ctx context.Context, wait time.Duration) error {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) >= wait {
		return nil
	}
	return q.deadlineError(wait)
}

func (q *queue) deadlineError(wait time.Duration) error {
	// A client takes only RetryAfter and Err from an error whose Service is "limiter",
	// because its own error contains the rest.
	return &chatdm.Error{
		Service: "limiter", Method: q.key, Kind: chatdm.KindRateLimited, RetryAfter: wait,
		Err: fmt.Errorf("wait would exceed the context deadline: %w", context.DeadlineExceeded),
	}
}
