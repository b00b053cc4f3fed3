package chatdmtest

import "time"

// rateLimit counts the calls of one API method in fixed windows.
type rateLimit struct {
	calls     int // most calls in a window
	window    time.Duration
	used      int       // calls in the current window
	windowEnd time.Time // of the current window
}

// rateLimitStatus describes a method's rate limit after a call. The zero value
// means that the method has no rate limit.
type rateLimitStatus struct {
	calls, remaining int
	reset            time.Time     // when the window ends
	wait             time.Duration // until reset if the call exceeds the limit, otherwise 0
}

// Limit sets the rate limit of an API method: at most calls calls per window.
// The server responds to more calls with HTTP 429. A window starts with the first
// call after the previous window has ended.
//
//   - All tokens share the limit.
//   - A call counts only if the method runs or could have run: requests that a
//     [Fault] answers without Apply do not count.
//   - Limit replaces the method's previous limit and starts counting at 0.
//   - If calls or window is not positive, Limit removes the limit.
//
// Slack sends the seconds until the window ends, rounded up, in the Retry-After
// header. Rocket.Chat sends them in the error text; see [RocketChat] for its
// headers.
func (s *server) Limit(method string, calls int, window time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if calls <= 0 || window <= 0 {
		delete(s.rateLimits, method)
		return
	}
	s.rateLimits[method] = &rateLimit{calls: calls, window: window}
}

// takeSlot counts a call of method if its rate limit allows the call.
func (s *server) takeSlot(method string) rateLimitStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.rateLimits[method]
	if limit == nil {
		return rateLimitStatus{}
	}
	now := time.Now()
	if !now.Before(limit.windowEnd) {
		limit.used, limit.windowEnd = 0, now.Add(limit.window)
	}
	if limit.used == limit.calls {
		return rateLimitStatus{calls: limit.calls, reset: limit.windowEnd, wait: limit.windowEnd.Sub(now)}
	}
	limit.used++
	return rateLimitStatus{calls: limit.calls, remaining: limit.calls - limit.used, reset: limit.windowEnd}
}

// ceilSeconds returns wait in seconds, rounded up, which is how both platforms
// report a wait.
func ceilSeconds(wait time.Duration) int64 {
	return int64((wait + time.Second - 1) / time.Second)
}
