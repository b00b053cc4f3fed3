package chatdmtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Point is a position in a response at which a [Fault] makes the server stop sending.
type Point string

// The points at which a response can stop.
const (
	BeforeHeader Point = "before header" // after reading the request, before sending any byte
	InHeader     Point = "in header"     // after half of the status line and header
	InBody       Point = "in body"       // after the header, which has the full Content-Length, and half of the body
)

// A Fault describes how a request fails. Pass it to the Fail method of a server.
// You can combine its fields.
//
// By default, the server sends the Fault as its response, and does not run the API
// method. There are two exceptions:
//
//   - If Apply is set, the method runs first. If ApplyAfter is set, it runs later.
//   - If Code, Status, Body, Cut, and Stall are all zero, the method runs and the
//     server sends its response. For example, Fault{Delay: time.Minute} only makes
//     the server slow.
//
// If only Cut or Stall is set, the server sends the first part of an internal error
// response.
type Fault struct {
	// Code is an error code. The server sends it in the platform's format for
	// errors, even if the platform does not define the code. On Slack, the default
	// status is 200, and there is no Retry-After header. To simulate a 429, use
	// Limit. On Rocket.Chat, the default status is 400. [RocketChat] lists the
	// exceptions.
	Code string

	// Status is the HTTP status of the response, from 200 to 599. If Status is 0,
	// the status is the one for Code, or 200 if Code is empty. If Code and Body
	// are empty, the body of the response is empty.
	Status int

	// Header overrides fields of the response header. A field with no value or an
	// empty value is removed, for example http.Header{"Content-Type": nil}.
	Header http.Header

	// Body replaces the body of the response. The Content-Type remains
	// application/json unless Header changes it.
	Body string

	// Delay is how long the server waits before it sends the response. If the API
	// method runs, it runs before the delay. If the client disconnects or the server
	// is closed during the delay, the server sends nothing.
	Delay time.Duration

	// Stall is the point at which the server stops sending. It then keeps the
	// connection open until the client disconnects or the server is closed. If both
	// Stall and Cut are set, Cut is ignored.
	Stall Point

	// Cut is the point at which the server stops sending and closes the connection.
	// If Cut is BeforeHeader and the connection was used before, an http.Transport
	// automatically retries a GET, but not a POST.
	Cut Point

	// Apply makes the server run the API method first, including its rate limit and
	// all checks. Code, Status, and Body then replace the method's response, and Cut
	// and Stall interrupt it. Use Apply to simulate a call that takes effect but
	// whose response is lost.
	Apply bool

	// ApplyAfter makes the server run the API method that long after it received the
	// request. The method runs even if the client has disconnected by then or the
	// response was cut, unless the server is closed first. ApplyAfter implies Apply.
	//
	// If Code, Status, Body, Cut, or Stall is set, the response does not wait for the
	// method. For example, Fault{ApplyAfter: 10 * time.Second, Cut: BeforeHeader} loses
	// the response at once, and the call takes effect 10 seconds later. Otherwise, the
	// server sends the method's own response after the method has run. A Delay starts
	// when the response is ready.
	ApplyAfter time.Duration
}

// replacesResponse reports whether f replaces the status or body of the API
// method's response.
func (f Fault) replacesResponse() bool {
	return f.Code != "" || f.Status != 0 || f.Body != ""
}

// interruptsResponse reports whether the server sends only a part of the response.
func (f Fault) interruptsResponse() bool { return f.Cut != "" || f.Stall != "" }

// runsMethod reports whether the server runs the API method before it responds.
func (f Fault) runsMethod() bool {
	if !f.replacesResponse() && !f.interruptsResponse() {
		return true
	}
	return f.Apply && f.ApplyAfter <= 0
}

// queuedFault is a Fault for the next requests for a method.
type queuedFault struct {
	method    string // empty means any
	remaining int    // requests; negative means no limit
	fault     Fault
}

// Fail makes the server apply f to the next requests for an API method, such as
// "conversations.open" or "im.delete". If method is empty, the server applies f to
// requests for any method. The parameter times is the number of requests. If it is
// negative, the server applies f until ClearFaults is called. If it is 0, Fail does
// nothing.
//
// The server applies at most one fault to each request. If several match, it uses
// the one that was added first.
func (s *server) Fail(method string, times int, f Fault) {
	if times == 0 {
		return
	}
	f.Header = f.Header.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &queuedFault{method: method, remaining: times, fault: f})
	s.changes.notify()
}

// ClearFaults removes all faults that Fail has added. It does not affect responses
// that are already delayed or stalled.
func (s *server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	s.changes.notify()
}

// nextFault returns the fault for a request for method and counts the request. If
// there is no fault, nextFault returns nil. The caller must hold s.mu.
func (s *server) nextFault(method string) *Fault {
	i := slices.IndexFunc(s.faults, func(f *queuedFault) bool { return f.method == "" || f.method == method })
	if i < 0 {
		return nil
	}
	next := s.faults[i]
	if next.remaining > 0 {
		next.remaining--
	}
	if next.remaining == 0 {
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	return new(next.fault)
}

// respondWithFault returns the response to req after applying f. It applies only
// ApplyAfter and the fields that change the content of the response, not Delay,
// Stall, or Cut. It returns false if it waits for the method, and the client
// disconnects or the server is closed before the method has run.
func (s *server) respondWithFault(req apiRequest, f Fault) (resp response, ok bool) {
	switch {
	case f.ApplyAfter > 0:
		late := s.respondLater(req, f.ApplyAfter)
		if !f.runsMethod() {
			break
		}
		select {
		case resp = <-late:
		case <-req.httpRequest.Context().Done():
			return response{}, false
		case <-s.ctx.Done():
			return response{}, false
		}
	case f.runsMethod():
		resp = s.platform.respond(req)
	}
	if f.replacesResponse() || !f.runsMethod() {
		resp = s.platform.errorResponse(req, f.Code)
	}
	if f.replacesResponse() {
		if f.Code == "" {
			resp.status = http.StatusOK
			resp.body = nil
		}
		if f.Body != "" {
			resp.body = []byte(f.Body)
		}
		resp.status = cmp.Or(f.Status, resp.status)
	}
	for name, values := range f.Header {
		name = http.CanonicalHeaderKey(name)
		if strings.Join(values, "") == "" {
			values = nil // if it were deleted, net/http would detect a Content-Type
		}
		resp.header[name] = values
	}
	return resp, true
}

// respondLater runs the API method after d, unless the server is closed before that.
// The method runs even if the handler of the request has returned by then.
func (s *server) respondLater(req apiRequest, d time.Duration) <-chan response {
	late := make(chan response, 1)
	req.httpRequest = req.httpRequest.Clone(s.ctx) // a handler must not use its request after it has returned
	timer := time.NewTimer(d)
	s.running.Go(func() {
		defer timer.Stop()
		select {
		case <-timer.C:
			late <- s.platform.respond(req)
		case <-s.ctx.Done():
		}
	})
	return late
}

// sleep waits for d. It returns false if the client disconnects or the server is
// closed before that.
func (s *server) sleep(client context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-client.Done():
	case <-s.ctx.Done():
	}
	return false
}

// sendPartial sends the response up to the given point and closes the connection.
// If stall is set, it does not close the connection until the client disconnects or
// the server is closed.
func (s *server) sendPartial(w http.ResponseWriter, r *http.Request, resp response, point Point, stall bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		if stall {
			select {
			case <-r.Context().Done():
			case <-s.ctx.Done():
			}
		}
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	defer context.AfterFunc(s.ctx, func() { conn.Close() })()
	if _, err := conn.Write(resp.bytesUntil(point)); err == nil && stall {
		_, _ = io.Copy(io.Discard, conn) // blocks until the connection is closed
	}
}

// bytesUntil returns the bytes of the HTTP/1.1 response up to the given point.
func (r response) bytesUntil(point Point) []byte {
	var sent bytes.Buffer
	fmt.Fprintf(&sent, "HTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status))
	header := r.header.Clone()
	if header.Get("Content-Length") == "" {
		// Announce at least one byte, so that an empty body is incomplete.
		header.Set("Content-Length", strconv.Itoa(max(len(r.body), 1)))
	}
	header.Write(&sent)
	sent.WriteString("\r\n")
	switch point {
	case BeforeHeader:
		return nil
	case InHeader:
		return sent.Bytes()[:sent.Len()/2]
	default:
		sent.Write(r.body[:len(r.body)/2])
		return sent.Bytes()
	}
}
