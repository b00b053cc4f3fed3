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

// pauses records which methods are paused for all goroutines.
type pauses struct {
	mu       sync.Mutex
	byMethod map[string]*pause
}

type pause struct {
	until time.Time
	next  time.Time // when the next waiting call may resume
}

// start pauses a method, or extends its pause.
func (p *pauses) start(method string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	active := p.active(method)
	if active == nil {
		active = new(pause)
		if p.byMethod == nil {
			p.byMethod = make(map[string]*pause)
		}
		p.byMethod[method] = active
	}
	if until := time.Now().Add(d); until.After(active.until) {
		active.until = until
	}
}

// enqueue adds a caller to the queue of a paused method. It returns the rest of
// the pause and the delay after it until the caller may resume, or 0 and 0.
func (p *pauses) enqueue(method string) (rest, delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	active := p.active(method)
	if active == nil {
		return 0, 0
	}
	if active.next.Before(active.until) {
		active.next = active.until
	}
	delay = active.next.Sub(active.until)
	active.next = active.next.Add(resumeInterval)
	return time.Until(active.until), delay
}

// dequeue removes a caller that stops waiting.
func (p *pauses) dequeue(method string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if active := p.active(method); active != nil {
		active.next = active.next.Add(-resumeInterval)
	}
}

// active returns the pause of a method, or nil. It deletes a pause that is over.
func (p *pauses) active(method string) *pause {
	active := p.byMethod[method]
	if active != nil && !active.until.After(time.Now()) {
		delete(p.byMethod, method)
		return nil
	}
	return active
}

// wait blocks until the next attempt may be sent: for at least d, until the method is not
// paused, until the limiter allows the call, and until there is a credential.
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
			continue // the method may have been paused again
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

// waitForPause waits for at least d, and until the method's pause is over. It
// reports whether it waited.
func (c *call) waitForPause(d time.Duration) (bool, *Failure) {
	e := c.engine
	rest, delay := e.pauses.enqueue(c.request.Method)
	d = max(d, rest+delay)
	if d <= 0 {
		return false, nil
	}
	deadline, hasDeadline := c.Deadline()
	var err error
	switch {
	case rest > e.retry.MaxRetryAfter:
		err = errors.New("the method is paused because of an earlier 429")
	case rest > 0 && hasDeadline && time.Until(deadline) < d:
		err = fmt.Errorf("the method is paused because of an earlier 429; wait would exceed the context deadline: %w", context.DeadlineExceeded)
	}
	if err != nil {
		e.pauses.dequeue(c.request.Method)
		return false, &Failure{Kind: RateLimited, RetryAfter: rest, Err: err}
	}
	reason := WaitBackoff
	if rest > 0 && d == rest+delay {
		reason = WaitPause
	}
	end := c.observeWait(reason, d)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.Done():
		e.pauses.dequeue(c.request.Method)
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

func (c *call) limiterKey() string { return c.engine.platform.Service + "." + c.request.Method }

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
