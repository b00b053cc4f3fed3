package chatdmredis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/chatdm/chatdm"
)

// queue holds the callers of one method in this process.
//
// The callers of a conversation queue up for the head of the conversation. That caller
// waits until the conversation allows a call, as far as this process knows, and then
// queues up for the head of the method. Only the head of the method talks to Redis.
type queue struct {
	limiter    *Limiter
	method     string
	limit      *limit        // of the method; nil if it has none
	operations chan struct{} // semaphore for running operations on Redis, including those that timed out
	head       chan struct{} // semaphore for the head; the runtime serves goroutines that block on it in order

	mu            sync.Mutex // also guards the limits
	conversations map[string]*conversation
	outage        *outage   // the next outage, which the current callers watch for
	fallbackUntil time.Time // zero while the queue uses Redis
	// The time on the clock of Redis during an operation, and when that operation began.
	redisTime, redisTimeAt time.Time
	jumped                 bool // the clock of Redis has jumped forward, which Redis does not know yet

	callID       int           // number of the next call; only the head uses it
	callIDTarget *conversation // of the last call that used this number
}

// conversation holds the callers of one conversation in this process.
type conversation struct {
	limit   *limit
	head    chan struct{} // like queue.head
	users   int           // calls of Wait and Limited that use it
	readyAt time.Time     // when the conversation may allow a call
}

// limit is what this process knows about the limit of a method or of a conversation. The
// queue's mutex guards it.
type limit struct {
	tier      chatdm.Tier   // Burst is set
	interval  time.Duration // between two tokens of the bucket
	redisKeys []string      // in the order of the script's KEYS

	waiting int  // callers that wait for this limit, including the head
	placed  bool // this process has a place in the queue in Redis
	// The result of the last operation, as times on the local clock: when a call may pass
	// if no other process waits, when the bucket is full, and when the pause ends.
	leastAt, fullAt, pausedUntil time.Time
	generation                   string
	// When Redis last let a call pass, and when the local limiter last did.
	lastRedisPass, lastLocalPass time.Time
	unreportedPause              time.Time // end of a pause that Redis does not know about; zero if there is none
}

// outage signals to the callers in a queue that Redis is unavailable.
type outage struct {
	done chan struct{} // closed after err is set
	err  error
}

func newQueue(l *Limiter, method string) *queue {
	q := &queue{
		limiter: l, method: method, conversations: make(map[string]*conversation),
		operations: make(chan struct{}, 4),
		head:       make(chan struct{}, 1),
		outage:     &outage{done: make(chan struct{})},
	}
	if tier := l.tiers[method]; tier.PerMinute > 0 {
		q.limit = q.newLimit(tier, "")
	}
	return q
}

// newLimit returns the limit of a conversation, or, if name is empty, of the method.
func (q *queue) newLimit(tier chatdm.Tier, name string) *limit {
	if tier.Burst <= 0 {
		tier.Burst = max(1, tier.PerMinute/5)
	}
	tier.Burst = min(tier.Burst, tier.PerMinute)
	// All keys of a method have the same hash tag, so that one script can use them.
	prefix := q.limiter.prefix + "{" + q.limiter.name + ":" + q.method + "}:" + name
	return &limit{
		tier: tier, interval: q.limiter.timing.minute / time.Duration(tier.PerMinute),
		redisKeys: []string{prefix + "state", prefix + "calls", prefix + "queue", prefix + "due"},
	}
}

// acquire returns the conversation with this name, and creates it if necessary. It
// returns nil if conversations have no limit. The queue keeps it until release.
func (q *queue) acquire(name string) *conversation {
	tier := q.limiter.conversationTier(q.method, name)
	if tier.PerMinute <= 0 {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.conversations[name]
	if c == nil {
		keyName := name
		if len(keyName) > 100 {
			hash := sha256.Sum256([]byte(name))
			keyName = hex.EncodeToString(hash[:])
		}
		c = &conversation{limit: q.newLimit(tier, keyName+":"), head: make(chan struct{}, 1)}
		q.conversations[name] = c
	}
	c.users++
	return c
}

func (q *queue) release(c *conversation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.users--
}

// sweep forgets the idle conversations. It reports whether there are others.
func (q *queue) sweep() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	kept := make(map[string]*conversation) // because a map does not shrink
	for name, c := range q.conversations {
		l := c.limit
		recent := now.Sub(l.lastRedisPass) < q.limiter.timing.window || now.Sub(l.lastLocalPass) < q.limiter.timing.window
		if c.users > 0 || recent || now.Before(l.pausedUntil) || now.Before(c.readyAt) {
			kept[name] = c
		}
	}
	q.conversations = kept
	return len(kept) > 0
}

// limits returns the limits that apply to a call, in the order of the script.
func (q *queue) limits(c *conversation) []*limit {
	var limits []*limit
	if c != nil {
		limits = append(limits, c.limit)
	}
	if q.limit != nil {
		limits = append(limits, q.limit)
	}
	return limits
}

// wait blocks until a call may be sent. If the call has no limit per conversation, c is nil.
func (q *queue) wait(ctx context.Context, c *conversation) error {
	outage, err := q.join(ctx, c)
	if err != nil {
		return err
	}
	defer q.leaveUnused(c)
	if c == nil {
		_, err := q.pass(ctx, nil, outage)
		return err
	}
	passed := false
	defer func() { q.leave(c.limit, passed) }()
	if err := acquire(ctx, c.head, outage); err != nil {
		return err
	}
	defer func() { <-c.head }()
	for {
		q.mu.Lock()
		readyAt := c.readyAt
		q.mu.Unlock()
		if d := time.Until(readyAt); d > 0 {
			if err := q.checkDeadline(ctx, d); err != nil {
				return err
			}
			if err := sleep(ctx, d, outage); err != nil {
				return err
			}
			continue // a pause may have begun
		}
		if passed, err = q.pass(ctx, c, outage); passed || err != nil {
			return err
		}
		q.leaveUnused(c) // the place for the method, so that this caller does not delay others
	}
}

// join checks that the caller can be served, and counts it as a caller of its
// conversation. It returns the outage to watch for, or an error if even the shortest
// possible wait would exceed the caller's deadline.
func (q *queue) join(ctx context.Context, c *conversation) (*outage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var least time.Duration
	for _, l := range q.limits(c) {
		least = max(least, l.leastWait())
	}
	if err := q.checkDeadline(ctx, least); err != nil {
		return nil, err
	}
	if c != nil {
		c.limit.waiting++
	}
	return q.outage, nil
}

// leastWait returns the shortest possible wait of a new caller.
func (l *limit) leastWait() time.Duration {
	now := time.Now()
	tokens := max(0, l.fullAt.Sub(now)) + time.Duration(l.waiting-l.tier.Burst+1)*l.interval
	return max(tokens, l.leastAt.Sub(now), l.pausedUntil.Sub(now))
}

// leave removes a caller that no longer waits for l. If its call has passed, this
// has already happened.
func (q *queue) leave(l *limit, passed bool) {
	if l == nil || passed {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	l.waiting--
}

// acquire acquires a semaphore. The outage takes precedence.
func acquire(ctx context.Context, semaphore chan struct{}, outage *outage) error {
	select {
	case semaphore <- struct{}{}:
	case <-outage.done:
		return outage.err
	case <-ctx.Done():
		return ctx.Err()
	}
	// The previous head may report an outage and free the head at the same time. Then
	// select chooses at random.
	select {
	case <-outage.done:
		<-semaphore
		return outage.err
	default:
		return nil
	}
}

// sleep waits for d. It returns an error if ctx ends or Redis becomes unavailable.
func sleep(ctx context.Context, d time.Duration, outage *outage) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-outage.done:
		return outage.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass waits until the caller is the head of the method and the method allows its call. It
// returns false and a nil error if the conversation does not allow the call.
func (q *queue) pass(ctx context.Context, c *conversation, outage *outage) (passed bool, err error) {
	if q.limit != nil {
		q.mu.Lock()
		q.limit.waiting++
		q.mu.Unlock()
		defer func() { q.leave(q.limit, passed) }()
	}
	if err := acquire(ctx, q.head, outage); err != nil {
		return false, err
	}
	defer func() { <-q.head }()
	for {
		if !q.isReady(c) {
			return false, nil // a pause has begun
		}
		if d := q.untilRetry(); d > 0 {
			passed, err := q.waitLocally(ctx, c, d)
			if passed || err != nil {
				return passed, err
			}
			continue
		}
		start := time.Now()
		r, err := q.ask(ctx, c)
		switch {
		case err != nil && ctx.Err() != nil:
			return false, err // only this caller's context is done, so do not fail the others
		case err != nil && q.limiter.local != nil:
			q.startFallback(err)
			continue
		case err != nil:
			q.failAll(err)
			return false, err
		case r.jumped:
			q.callID++ // ignore the result, which may let too many calls pass
			continue
		case r.status == statusPass:
			q.recordPass(c)
			return true, nil
		case r.status == statusRefused:
			return false, q.deadlineError(r.wait)
		}
		if err := q.checkDeadline(ctx, r.wait); err != nil {
			return false, err // the next caller gets the place
		}
		if c != nil && r.waitingFor == 1 {
			q.mu.Lock()
			defer q.mu.Unlock()
			c.readyAt = start.Add(r.again)
			return false, nil
		}
		if err := sleep(ctx, r.again, outage); err != nil {
			return false, err
		}
	}
}

// isReady reports whether the conversation, if there is one, may allow a call now.
func (q *queue) isReady(c *conversation) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return c == nil || !time.Now().Before(c.readyAt)
}

// ask asks Redis whether the call of the caller at the head of the queue may pass.
//
// A call keeps its ID until it passes. If the head gives up, or an operation runs
// twice, the next operation asks for the same call.
func (q *queue) ask(ctx context.Context, c *conversation) (scriptResult, error) {
	if c != q.callIDTarget {
		q.callID++
		q.callIDTarget = c
	}
	maxWaitArg := "-1"
	if deadline, ok := ctx.Deadline(); ok {
		maxWaitArg = formatMicros(max(0, min(time.Until(deadline), maxWait)))
	}
	return q.runScript(ctx, c, q.limiter.id+":"+strconv.Itoa(q.callID), maxWaitArg)
}

// runScript runs the script and updates the queue from its result. If callID is
// empty, the script lets no call pass.
func (q *queue) runScript(ctx context.Context, c *conversation, callID, maxWaitArg string) (scriptResult, error) {
	t := q.limiter.timing
	limits := q.limits(c)
	reported := make([]struct{ pause, localPass time.Time }, len(limits))
	q.mu.Lock()
	start, jumped := time.Now(), q.jumped
	args := q.limiter.commonArgs(callID, false, maxWaitArg, jumped)
	var keys []string
	windowStart := start.Add(-t.window)
	for i, l := range limits {
		knownGeneration, passedLocally, pause := "", "0", time.Duration(0)
		if jumped || l.lastRedisPass.After(windowStart) {
			knownGeneration = l.generation
		}
		if l.lastLocalPass.After(windowStart) {
			passedLocally = "1"
		}
		if !l.unreportedPause.IsZero() {
			pause = max(0, l.unreportedPause.Sub(start))
		}
		reported[i].pause, reported[i].localPass = l.unreportedPause, l.lastLocalPass
		args = append(args, l.tier.PerMinute, l.tier.Burst, knownGeneration, passedLocally, formatMicros(pause))
		keys = append(keys, l.redisKeys...)
	}
	q.mu.Unlock()
	values, err := q.limiter.runScript(ctx, q, keys, args)
	if err != nil {
		return scriptResult{}, err
	}
	r, err := parseResult(values, len(limits))
	if err != nil {
		return scriptResult{}, err
	}
	end := time.Now()

	q.mu.Lock()
	q.jumped = q.jumped && !jumped
	if !q.redisTimeAt.IsZero() {
		// Redis ran the previous operation after redisTimeAt, and this one before end.
		most := end.Sub(q.redisTimeAt)
		if r.now.Sub(q.redisTime) > most+clockTolerance+most/500 {
			q.jumped, r.jumped = true, true
		}
	}
	q.redisTime, q.redisTimeAt = r.now, start
	for i, l := range limits {
		s := r.states[i]
		l.generation, l.leastAt, l.fullAt = s.generation, start.Add(s.least), start.Add(s.untilFull)
		if until := end.Add(s.pause); s.pause > 0 && until.After(l.pausedUntil) {
			l.pausedUntil = until
		}
		// If one of these changed while the script ran, the next operation reports it.
		if l.unreportedPause.Equal(reported[i].pause) {
			l.unreportedPause = time.Time{}
		}
		if l.lastLocalPass.Equal(reported[i].localPass) {
			l.lastLocalPass = time.Time{}
		}
		if callID != "" {
			switch {
			case r.status == statusPass, i+1 < r.waitingFor:
				l.placed = false
			case r.status == statusWait && i+1 == r.waitingFor:
				l.placed = true
			}
		}
	}
	wasFallback := !q.fallbackUntil.IsZero()
	q.fallbackUntil = time.Time{}
	q.mu.Unlock()
	if wasFallback && q.limiter.onFallback != nil {
		q.limiter.onFallback(q.method, nil)
	}
	return r, nil
}

// recordPass records that the call of the caller at the head of the queue passes.
func (q *queue) recordPass(c *conversation) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.callID++
	for _, l := range q.limits(c) {
		l.waiting--
		l.lastRedisPass = time.Now()
	}
	if c != nil {
		c.readyAt = c.limit.leastAt
	}
}

// leaveUnused gives up the places of this process in Redis that no caller waits for.
func (q *queue) leaveUnused(c *conversation) {
	var keys []string
	var limitArgs []any
	q.mu.Lock()
	for _, l := range q.limits(c) {
		if l.placed && l.waiting == 0 {
			l.placed = false
			keys = append(keys, l.redisKeys...)
			limitArgs = append(limitArgs, 1, 1, "", "0", "0")
		}
	}
	q.mu.Unlock()
	if keys == nil || q.untilRetry() > 0 {
		return
	}
	args := append(q.limiter.commonArgs("", true, "-1", false), limitArgs...)
	// The caller does not wait for this. If it fails, Redis frees the places in a few seconds.
	go func() { _, _ = q.limiter.runScript(context.Background(), q, keys, args) }()
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
		q.limiter.onFallback(q.method, err)
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
func (q *queue) waitLocally(ctx context.Context, c *conversation, d time.Duration) (passed bool, err error) {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	// Do not use a context with a timeout: if its deadline were too early, the local
	// limiter would return an error immediately.
	timer := time.AfterFunc(d, cancel)
	defer timer.Stop()
	err = q.limiter.local.Wait(bounded, q.method)
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		now := time.Now()
		for _, l := range q.limits(c) {
			l.waiting--
			l.lastLocalPass = now
		}
		if c != nil {
			// There is no burst.
			c.readyAt = now.Add(time.Minute / time.Duration(q.limiter.localTier(c.limit.tier).PerMinute))
		}
		return true, nil
	}
	if ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return false, nil
	}
	return false, err
}

// limited pauses the conversation or, if c is nil, the method for d, and reports the
// pause to Redis.
func (q *queue) limited(ctx context.Context, c *conversation, d time.Duration) {
	if d <= 0 {
		return
	}
	l := q.limit
	if c != nil {
		l = c.limit
	} else if q.limiter.local != nil {
		q.limiter.local.Limited(ctx, q.method, d)
	}
	q.mu.Lock()
	until := time.Now().Add(d)
	if until.After(l.pausedUntil) {
		l.pausedUntil = until
	}
	if until.After(l.unreportedPause) {
		l.unreportedPause = until
	}
	if c != nil && until.After(c.readyAt) {
		c.readyAt = until
	}
	q.mu.Unlock()
	if q.untilRetry() > 0 {
		return // the first operation after the fallback reports the pause
	}
	// If this fails, the next operation reports the pause.
	_, _ = q.runScript(ctx, c, "", "-1")
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
		Service: "limiter", Method: q.method, Kind: chatdm.KindRateLimited, RetryAfter: wait,
		Err: fmt.Errorf("wait would exceed the context deadline: %w", context.DeadlineExceeded),
	}
}
