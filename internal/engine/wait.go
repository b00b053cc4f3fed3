package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

const (
	defaultPause = time.Second // after a 429 that does not say how long to wait
	// maxPause is the longest pause that one response can cause.
	maxPause = time.Hour
	// resumeInterval separates the calls that resume after a pause, so that they do
	// not all get another 429.
	resumeInterval = 20 * time.Millisecond
)

// pauses records what is paused for all goroutines: methods, and the conversations of
// methods that have a limit per conversation.
type pauses struct {
	mu    sync.Mutex
	byKey map[pauseKey]*pause
}

// pauseKey identifies a method, or one of its conversations.
type pauseKey struct{ method, conversation string }

type pause struct {
	scope string // "method" or "conversation"
	until time.Time
	next  time.Time // when the next waiting call may resume
}

// start pauses a method, or extends its pause. If the call is limited per conversation,
// start pauses only the conversation, because the response does not say which limit
// was exceeded. But if another conversation of the method is paused too, the limit is
// probably that of the method, so start also pauses the method.
func (p *pauses) start(r *Request, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := pauseKey{r.Method, r.Conversation}
	if key.conversation != "" {
		others := false
		for other := range p.byKey {
			// This also deletes the pauses that are over.
			others = p.active(other) != nil && other.method == key.method && other.conversation != "" && other != key || others
		}
		if others {
			p.extend(pauseKey{method: r.Method}, d)
		}
	}
	p.extend(key, d)
}

func (p *pauses) extend(key pauseKey, d time.Duration) {
	active := p.active(key)
	if active == nil {
		active = &pause{scope: "method"}
		if key.conversation != "" {
			active.scope = "conversation"
		}
		if p.byKey == nil {
			p.byKey = make(map[pauseKey]*pause)
		}
		p.byKey[key] = active
	}
	if until := time.Now().Add(d); until.After(active.until) {
		active.until = until
	}
}

// enqueue adds a caller to the queue of a pause that applies to its call. It returns the
// pause, its remaining time, and the delay after it until the caller may resume. If there
// is no pause, it returns nil, 0, and 0.
func (p *pauses) enqueue(r *Request) (active *pause, remaining, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	active = p.active(pauseKey{method: r.Method})
	if r.Conversation != "" {
		own := p.active(pauseKey{r.Method, r.Conversation})
		if active == nil || own != nil && own.until.After(active.until) {
			active = own
		}
	}
	if active == nil {
		return nil, 0, 0
	}
	if active.next.Before(active.until) {
		active.next = active.until
	}
	delay = active.next.Sub(active.until)
	active.next = active.next.Add(resumeInterval)
	return active, time.Until(active.until), delay
}

// dequeue removes a caller that stops waiting. The pause is nil if there was none.
func (p *pauses) dequeue(active *pause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if active != nil {
		active.next = active.next.Add(-resumeInterval)
	}
}

// active returns a pause, or nil. It deletes a pause that is over.
func (p *pauses) active(key pauseKey) *pause {
	active := p.byKey[key]
	if active != nil && !active.until.After(time.Now()) {
		delete(p.byKey, key)
		return nil
	}
	return active
}

// wait blocks until the next attempt may be sent: for at least d, until neither the method
// nor the conversation is paused, until the limiter allows the call, and until there is a
// credential.
func (c *call) wait(d time.Duration) *Failure {
	early, start := c.response.Attempts == 0 || c.rejected, time.Now()
	if early { // a call without a credential must neither wait nor use up the limit
		if f := c.authenticate(); f != nil {
			return f
		}
	}
	limiter := c.engine.limiter
	for {
		if err := c.contextErr(); err != nil {
			return canceled(err)
		}
		waited, f := c.waitForPause(d)
		if f != nil {
			return f
		}
		if d = 0; waited {
			continue // another pause may have begun
		}
		if limiter == nil {
			break
		}
		if f := c.waitForLimiter(limiter); f != nil {
			return f
		}
		limiter = nil // only a pause that began in the meantime can still delay the call
	}
	if early && (c.engine.source == nil || time.Since(start) < time.Minute) {
		return nil
	}
	return c.authenticate() // the credential may have expired in the meantime
}

// waitForPause waits for at least d, and until the pause of the method or the
// conversation is over. It reports whether it waited.
func (c *call) waitForPause(d time.Duration) (bool, *Failure) {
	e := c.engine
	active, remaining, delay := e.pauses.enqueue(c.request)
	d = max(d, remaining+delay)
	if d <= 0 {
		return false, nil
	}
	deadline, hasDeadline := c.Deadline()
	var err error
	switch {
	case remaining > e.retry.MaxRetryAfter:
		err = fmt.Errorf("the %s is paused because of an earlier 429", active.scope)
	case remaining > 0 && hasDeadline && time.Until(deadline) < d:
		err = fmt.Errorf("the %s is paused because of an earlier 429; wait would exceed the context deadline: %w", active.scope, context.DeadlineExceeded)
	}
	if err != nil {
		e.pauses.dequeue(active)
		return false, &Failure{Kind: RateLimited, RetryAfter: remaining, Err: err}
	}
	reason := WaitBackoff
	if remaining > 0 && d == remaining+delay {
		reason = WaitPause
	}
	end := c.observeWait(reason, d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.Done():
		e.pauses.dequeue(active)
		err := c.contextErr()
		end(err)
		return false, canceled(err)
	case <-timer.C:
		end(nil)
		return true, nil
	}
}

// errNotRefreshed ends a call with the failure that it has.
var errNotRefreshed = new(Failure)

// authenticate gets the credential for the next attempt.
func (c *call) authenticate() *Failure {
	e := c.engine
	if e.source == nil {
		c.credential = e.credential
		return nil
	}
	if err := c.contextErr(); err != nil {
		return canceled(err)
	}
	var err error
	rejected := c.credential
	end := c.observeWait(WaitRefresh, 0)
	if c.rejected {
		c.credential, err = e.source.(CredentialRefresher).Refresh(c.Context, rejected, c.failure.Code)
		if err == nil && c.credential == nil {
			end(nil)
			return errNotRefreshed
		}
	} else {
		c.credential, err = e.source.Credential(c.Context)
	}
	c.rejected = false
	end(err)
	if err == nil {
		e.Redact(c.credential.Secret)
		return nil
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return &Failure{Kind: f.Kind, Code: f.Code, RetryAfter: f.RetryAfter, Err: f.Err}
	}
	if c.Context.Err() != nil {
		return canceled(c.contextErr())
	}
	return &Failure{Kind: Unavailable, Err: fmt.Errorf("credential source: %w", err)}
}

// limiterKey returns the key for the limiter: the service, the method, and, if the call is
// limited per conversation, the conversation.
func (c *call) limiterKey() string {
	key := c.engine.platform.Service + "." + c.request.Method
	if c.request.Conversation != "" {
		key += "/" + c.request.Conversation
	}
	return key
}

// Sleep waits for d and reports that to the observer. It returns an error if ctx is done
// first, or immediately if the wait would exceed the deadline of ctx.
func (e *Engine) Sleep(ctx context.Context, method, reason string, d time.Duration) error {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return fmt.Errorf("wait of %v would exceed the context deadline: %w", d.Round(time.Millisecond), context.DeadlineExceeded)
	}
	c := &call{Context: ctx, engine: e, request: &Request{Method: method}}
	end := c.observeWait(reason, d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
	}
	end(err)
	return err
}

// waitForLimiter waits for the limiter. If the limiter fails, so does the call.
func (c *call) waitForLimiter(limiter Limiter) *Failure {
	end := c.observeWait(WaitLimiter, 0)
	err := limiter.Wait(c.Context, c.limiterKey())
	end(err)
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return &Failure{Kind: f.Kind, RetryAfter: f.RetryAfter, Err: f.Err}
	}
	if errors.Is(c.Context.Err(), context.Canceled) {
		return canceled(c.contextErr())
	}
	kind := Unavailable
	// x/time/rate has no sentinel for a wait that would exceed the deadline.
	if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "would exceed context deadline") {
		kind = RateLimited
	}
	return &Failure{Kind: kind, Err: fmt.Errorf("limiter: %w", err)}
}

// contextErr returns the error of the caller's context. A deadline counts as soon as it
// has passed, because a dial or a read may notice it before the context does.
func (c *call) contextErr() error {
	if err := c.Context.Err(); err != nil {
		if cause := context.Cause(c.Context); cause != err { //nolint:errorlint // Cause returns Err itself if there is no other cause
			return fmt.Errorf("%w: %w", err, cause)
		}
		return err
	}
	if deadline, ok := c.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

func canceled(err error) *Failure { return &Failure{Kind: Canceled, Err: err} }
