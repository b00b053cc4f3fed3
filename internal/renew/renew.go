// Package renew runs one renewal of a credential at a time, and limits how often failed
// renewals are repeated.
package renew

import (
	"context"
	"sync"
	"time"
)

// Timeout limits a renewal. A renewal does not end with the context of the call that began
// it, because the server may already have replaced the credential.
const Timeout = time.Minute

// Renewal is the state of the renewals of one credential. The caller of a method must hold
// a lock. The zero value is ready to use.
type Renewal struct {
	running  chan struct{} // closed when the renewal ends; nil if none is running
	err      error
	failures int // in a row
	retryAt  time.Time
}

// Running reports whether a renewal is running.
func (r *Renewal) Running() bool { return r.running != nil }

// Paused returns the error of the last renewal if it failed and it is too early for
// another one, or nil.
func (r *Renewal) Paused() error {
	if r.running == nil && time.Now().Before(r.retryAt) {
		return r.err
	}
	return nil
}

// Begin begins a renewal, unless one is running. It calls renew without holding mu, and
// then finish while holding mu. Finish must call Succeed or Fail. Begin returns a channel
// that is closed when the renewal ends, and whether it has begun one.
func (r *Renewal) Begin(ctx context.Context, mu *sync.Mutex, renew func(context.Context), finish func()) (done <-chan struct{}, began bool) {
	if r.running != nil {
		return r.running, false
	}
	running := make(chan struct{})
	r.running = running
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), Timeout)
		defer cancel()
		renew(ctx)
		mu.Lock()
		defer mu.Unlock()
		r.running = nil
		finish()
		close(running)
	}()
	return running, true
}

// Succeed records that a renewal succeeded.
func (r *Renewal) Succeed() { r.err, r.failures, r.retryAt = nil, 0, time.Time{} }

// Fail records that a renewal failed, and returns how long to wait before the next one: at
// first 5 seconds and at most 5 minutes or, if the failure is permanent, at first 1 minute
// and at most 1 hour. Up to that maximum, the wait is at least what the server requested.
func (r *Renewal) Fail(err error, permanent bool, requested time.Duration) time.Duration {
	wait, longest := 5*time.Second, 5*time.Minute
	if permanent {
		wait, longest = time.Minute, time.Hour
	}
	wait = min(wait<<min(r.failures, 10), longest)
	wait = max(wait, min(requested, longest))
	r.err, r.retryAt = err, time.Now().Add(wait)
	r.failures++
	return wait
}

// Await waits until a renewal has ended or ctx is done.
func Await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
