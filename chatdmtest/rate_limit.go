package chatdmtest

import "time"

// rateLimit counts the calls of one API method in fixed windows.
type rateLimit struct {
	calls     int // maximum number of calls in a window
	window    time.Duration
	used      int       // calls in the current window
	windowEnd time.Time // of the current window

	byConversation map[string]*rateLimit // counts of a limit whose name ends in perConversation
}

// perConversation is the end of the name of a limit that applies to each conversation
// separately.
const perConversation = "/*"

// rateLimitStatus describes a method's rate limit after a call. The zero value
// means that the method has no rate limit.
type rateLimitStatus struct {
	calls, remaining int
	resetAt          time.Time     // when the window ends
	wait             time.Duration // until resetAt if the call exceeds the limit, otherwise 0
}

// Limit sets the rate limit of an API method. It allows the given number of calls
// in each window. The response to any further call is HTTP 429. A window starts
// with the first call after the previous window has ended.
//
//   - All tokens share the limit.
//   - A call does not count if a [Fault] prevents the method from running.
//   - On Rocket.Chat, calls by an admin do not count by default. See [RocketChat],
//     and use [RocketChatMemberToken].
//   - Limit replaces the previous limit of the method and starts a new count.
//   - If calls or window is not positive, Limit removes the limit.
//
// On Slack, Limit("chat.postMessage/*", 1, time.Second) limits each conversation
// separately. It applies in addition to the limit of "chat.postMessage". A user ID
// counts as the DM with that user. Calls that fail with channel_not_found or
// not_in_channel do not count. No other method has a limit for each conversation.
//
// The 429 response contains the number of seconds until the window ends, rounded
// up: on Slack in the Retry-After header, on Rocket.Chat in the error text.
func (s *server) Limit(method string, calls int, window time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changes.notify()
	if calls <= 0 || window <= 0 {
		delete(s.rateLimits, method)
		return
	}
	s.rateLimits[method] = &rateLimit{calls: calls, window: window}
}

// countCall counts a call to method, unless the call exceeds the rate limit. It
// returns the state of the limit after the call.
func (s *server) countCall(method string) rateLimitStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limit := s.rateLimits[method]; limit != nil {
		return limit.count(time.Now())
	}
	return rateLimitStatus{}
}

// countCallIn is countCall for the limit that applies to each conversation separately.
func (s *server) countCallIn(method, conversation string) rateLimitStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.rateLimits[method+perConversation]
	if limit == nil {
		return rateLimitStatus{}
	}
	if limit.byConversation == nil {
		limit.byConversation = make(map[string]*rateLimit)
	}
	own := limit.byConversation[conversation]
	if own == nil {
		own = &rateLimit{calls: limit.calls, window: limit.window}
		limit.byConversation[conversation] = own
	}
	return own.count(time.Now())
}

// count counts a call, unless the call exceeds the limit.
func (limit *rateLimit) count(now time.Time) rateLimitStatus {
	if !now.Before(limit.windowEnd) {
		limit.used, limit.windowEnd = 0, now.Add(limit.window)
	}
	if limit.used == limit.calls {
		return rateLimitStatus{calls: limit.calls, resetAt: limit.windowEnd, wait: limit.windowEnd.Sub(now)}
	}
	limit.used++
	return rateLimitStatus{calls: limit.calls, remaining: limit.calls - limit.used, resetAt: limit.windowEnd}
}

// ceilSeconds returns wait in whole seconds, rounded up. Both platforms report a
// wait in this way.
func ceilSeconds(wait time.Duration) int64 {
	return int64((wait + time.Second - 1) / time.Second)
}
