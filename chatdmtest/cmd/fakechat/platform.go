package main

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// fake is what the fake servers of both platforms have in common.
type fake interface {
	http.Handler
	Changed() <-chan struct{}
	ClearFaults()
	Close()
	Conversations() []chatdmtest.Conversation
	Fail(method string, times int, f chatdmtest.Fault)
	Limit(method string, calls int, window time.Duration)
	PendingFaults() []chatdmtest.PendingFault
	RequestCount() int
	Requests() []chatdmtest.Request
	ResetRequests()
}

// platform serves the current fake of a platform. A reset replaces the fake.
type platform struct {
	key, name string // such as "rocketchat" and "Rocket.Chat"
	url       string
	version   string   // Rocket.Chat only
	self      []string // IDs of the users whose tokens fakechat prints
	start     func() fake

	mu     sync.Mutex // guards the fields below
	fake   fake
	limits []limit // sorted by method
}

// limit is a rate limit.
type limit struct {
	method string
	calls  int
	window time.Duration
}

func newPlatform(key, name, url string, start func() fake) *platform {
	return &platform{key: key, name: name, url: url, start: start, fake: start()}
}

// ServeHTTP implements http.Handler.
func (p *platform) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.current().ServeHTTP(w, r) }

func (p *platform) current() fake {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fake
}

// reset replaces the fake with a new one. It aborts the requests to the old one.
func (p *platform) reset() {
	p.mu.Lock()
	old := p.fake
	p.fake, p.limits = p.start(), nil
	p.mu.Unlock()
	old.Close()
}

// setLimit sets or removes a rate limit.
func (p *platform) setLimit(l limit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits = slices.DeleteFunc(p.limits, func(old limit) bool { return old.method == l.method })
	if l.calls > 0 {
		p.limits = append(p.limits, l)
		slices.SortFunc(p.limits, func(a, b limit) int { return strings.Compare(a.method, b.method) })
	}
	p.fake.Limit(l.method, l.calls, l.window)
}

func (p *platform) currentLimits() []limit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.limits)
}
