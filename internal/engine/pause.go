package engine

import (
	"sync"
	"time"
)

// longestPause bounds what one answer can do: a server (or a proxy that
// answers for it) that asks for a year is asked again after an hour.
const longestPause = time.Hour

// turn is the distance between two calls at the end of a pause. It keeps
// those that waited from arriving in one instant, only to be refused again.
const turn = 20 * time.Millisecond

// pauses remembers until when a server refuses a method, for all goroutines.
// The zero value remembers nothing.
type pauses struct {
	mu       sync.Mutex
	byMethod map[string]*pause
}

type pause struct {
	until  time.Time
	queued int // how many wait for its end
}

// begin starts a pause, or prolongs the one that is on.
func (p *pauses) begin(method string, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	until := time.Now().Add(min(d, longestPause))
	if on := p.on(method); on != nil {
		if until.After(on.until) {
			on.until = until
		}
		return
	}
	if p.byMethod == nil {
		p.byMethod = make(map[string]*pause)
	}
	p.byMethod[method] = &pause{until: until}
}

// enter queues for the end of a pause and returns how long it lasts and how
// long after that the caller's turn comes; without a pause both are zero.
func (p *pauses) enter(method string) (left, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	on := p.on(method)
	if on == nil {
		return 0, 0
	}
	on.queued++
	return time.Until(on.until), time.Duration(on.queued-1) * turn
}

// leave gives up the place of a caller who will not wait.
func (p *pauses) leave(method string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if on := p.on(method); on != nil {
		on.queued = max(0, on.queued-1)
	}
}

// on is the pause of a method that has not ended; one that has is forgotten.
func (p *pauses) on(method string) *pause {
	on := p.byMethod[method]
	if on != nil && !on.until.After(time.Now()) {
		delete(p.byMethod, method)
		return nil
	}
	return on
}
