package chatdmtest

import (
	"bytes"
	"net/http"
	"slices"
	"time"
)

// A Request describes an HTTP request that a fake server received.
type Request struct {
	Method     string      // API method, such as "conversations.open" or "im.delete"; empty if the path is outside the API
	HTTPMethod string      // such as "POST"
	Path       string      // such as "/api/conversations.open"
	RawQuery   string      // encoded query values, without "?"
	Header     http.Header // request header; as in net/http, it does not include Host
	Body       []byte      // the first 1 MiB of the body
	Time       time.Time   // when the server finished reading the request
	Status     int         // HTTP status of the response; 0 if there is none yet, or if a Fault cut or stalled it
	Code       string      // error code in the body of the response; empty if there is none, or if Status is 0
	Fault      *Fault      // what Fail did to the request; nil if nothing
	End        time.Time   // when the server finished handling the request; zero before that
	Number     int         // 1 for the first request that the server received; ResetRequests does not restart it
}

// defaultKeptRequests is how many requests a server keeps without KeepRequests.
const defaultKeptRequests = 10_000

// requestLog keeps the last requests in a ring buffer.
type requestLog struct {
	limit  int        // maximum number of requests to keep; negative means no limit
	kept   []*Request // grows up to limit, then each new request overwrites the oldest
	oldest int        // index in kept
	total  int        // all requests since the last reset
	number int        // of the last request; a reset does not change it
}

func (l *requestLog) add(r *Request) {
	l.total++
	l.number++
	r.Number = l.number
	switch {
	case l.limit < 0 || len(l.kept) < l.limit:
		l.kept = append(l.kept, r)
	case l.limit > 0:
		l.kept[l.oldest] = r
		l.oldest = (l.oldest + 1) % l.limit
	}
}

func (l *requestLog) reset() { l.kept, l.oldest, l.total = nil, 0, 0 }

// copies returns deep copies of the kept requests, oldest first.
func (l *requestLog) copies() []Request {
	requests := make([]Request, 0, len(l.kept))
	for _, r := range slices.Concat(l.kept[l.oldest:], l.kept[:l.oldest]) {
		c := *r
		c.Header = r.Header.Clone()
		c.Body = bytes.Clone(r.Body)
		if r.Fault != nil {
			c.Fault = new(*r.Fault)
			c.Fault.Header = r.Fault.Header.Clone()
		}
		requests = append(requests, c)
	}
	return requests
}

// Requests returns copies of the requests that the server received since it
// started or since the last call to ResetRequests, in the order in which it
// finished reading them. It returns at most the last 10,000 requests, or the
// number set with [KeepRequests]. To count more requests than that, use
// RequestCount.
func (s *server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests.copies()
}

// RequestCount returns the number of requests that the server received since it
// started or since the last call to ResetRequests. It includes requests that the
// server no longer keeps.
func (s *server) RequestCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests.total
}

// ResetRequests discards all kept requests and sets RequestCount to 0.
func (s *server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests.reset()
	s.changes.notify()
}
