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

// A Point is a place in a response where a [Fault] can stop sending.
type Point string

// The points at which a response can stop.
const (
	BeforeHeader Point = "before header" // after reading the request, before sending any byte
	InHeader     Point = "in header"     // after half of the status line and header
	InBody       Point = "in body"       // after the header, with the full Content-Length, and half of the body
)

// A Fault describes how a request fails. Pass it to the Fail method of a server.
// You can combine its fields.
//
// By default, the response to the request is the Fault, and the API method does
// not run. There are two exceptions:
//
//   - If Apply is set, the method runs first.
//   - If Code, Status, Body, Cut, and Stall are all zero, the method runs and the
//     server sends its response. For example, Fault{Delay: time.Minute} only makes
//     the server slow.
//
// If only Cut or Stall is set, the part of the response that the server sends is
// from an internal error.
type Fault struct {
	// Code is an error code. The server sends it in the platform's format for
	// errors, even if the platform does not define the code. On Slack, the status
	// is 200. On Rocket.Chat, it is 400, except for the codes in the documentation
	// of RocketChat.
	Code string

	// Status is the HTTP status of the response, from 200 to 599. If Status is 0,
	// the status is the one for Code, or 200 if Code is empty. If Code and Body
	// are empty, the body of the response is empty.
	Status int

	// Header overrides fields of the response header. A field without a value, or
	// with an empty value, is removed: http.Header{"Content-Type": nil}.
	Header http.Header

	// Body replaces the body of the response. The Content-Type remains
	// application/json unless Header changes it.
	Body string

	// Delay is how long the server waits before it sends the response. If the
	// client disconnects or the server is closed during the delay, the server
	// sends nothing.
	Delay time.Duration

	// Stall is where the server stops sending. It then keeps the connection open
	// until the client disconnects or the server is closed. If both Stall and Cut
	// are set, Cut is ignored.
	Stall Point

	// Cut is where the server stops sending and closes the connection. If this
	// happens before the response on a reused connection, an http.Transport retries
	// a GET on its own, but not a POST.
	Cut Point

	// Apply runs the API method, including its rate limit and all checks, and then
	// sends the Fault instead of the method's response. Use it to simulate a call
	// that takes effect although its response is lost.
	Apply bool
}

// replacesResponse reports whether f replaces the status or body of the API
// method's response.
func (f Fault) replacesResponse() bool {
	return f.Code != "" || f.Status != 0 || f.Body != ""
}

// runsMethod reports whether the server runs the API method despite f.
func (f Fault) runsMethod() bool {
	interrupts := f.Cut != "" || f.Stall != ""
	return f.Apply || !f.replacesResponse() && !interrupts
}

// scriptedFault is a Fault that waits for requests for a method.
type scriptedFault struct {
	method    string // empty means any
	remaining int    // requests; negative means no limit
	fault     Fault
}

// Fail applies f to the next requests for an API method. If method is empty, it
// applies f to requests for any method. The parameter times is the number of
// requests. If it is negative, Fail applies f until ClearFaults is called. If it
// is 0, Fail does nothing.
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
	s.faults = append(s.faults, &scriptedFault{method: method, remaining: times, fault: f})
}

// ClearFaults removes all unused faults. It does not affect responses that are
// being delayed or stalled.
func (s *server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault uses up the next fault for method, or returns the zero Fault. The
// caller must hold s.mu.
func (s *server) takeFault(method string) Fault {
	i := slices.IndexFunc(s.faults, func(f *scriptedFault) bool { return f.method == "" || f.method == method })
	if i < 0 {
		return Fault{}
	}
	next := s.faults[i]
	if next.remaining > 0 {
		next.remaining--
	}
	if next.remaining == 0 {
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	return next.fault
}

// respondWithFault returns the response to a request under f. It applies the
// fields of f that change what the response contains, not when or how much of it
// is sent.
func (s *server) respondWithFault(req apiRequest, f Fault) response {
	var resp response
	if f.runsMethod() {
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
			values = nil // not deleted: net/http would guess a Content-Type
		}
		resp.header[name] = values
	}
	return resp
}

// sleep waits for d. It reports false if the client disconnects or the server is
// closed first.
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
// If stall is set, it first waits until the client disconnects or the server is
// closed.
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

// bytesUntil returns what HTTP/1.1 sends of the response up to the given point.
func (r response) bytesUntil(point Point) []byte {
	var sent bytes.Buffer
	fmt.Fprintf(&sent, "HTTP/1.1 %d %s\r\n", r.status, http.StatusText(r.status))
	header := r.header.Clone()
	if header.Get("Content-Length") == "" {
		// Announce at least one byte. Otherwise, an empty body would be complete.
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
