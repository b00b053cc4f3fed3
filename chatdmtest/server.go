package chatdmtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// maxBodySize is the maximum size of a request body in bytes.
const maxBodySize = 1 << 20

// server implements what the fake servers of both platforms have in common: the
// network, faults, rate limits, and the request log.
type server struct {
	platform platform
	apiRoot  string // path of the API: "/api/" or "/api/v1/"

	httpServer *http.Server
	transport  *http.Transport
	ctx        context.Context // canceled by Close
	cancel     context.CancelFunc
	running    sync.WaitGroup // the accept loop, connections, requests that have been read, and late calls

	changes changes // for Changed

	mu         sync.Mutex // guards the fields below
	closed     bool
	requests   requestLog
	faults     []*queuedFault // oldest first
	rateLimits map[string]*rateLimit
}

// platform is the API of a chat platform.
type platform interface {
	// respond runs the API method that req names. It calls server.countCall.
	respond(req apiRequest) response

	// errorResponse returns the response for an error code without running the
	// method. If code is empty, the platform chooses one.
	errorResponse(req apiRequest, code string) response
}

// apiRequest is a request to a path of the API.
type apiRequest struct {
	method      string        // API method
	httpRequest *http.Request // its Body has been read
	body        []byte
	readErr     error // set if the body is shorter than its Content-Length
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// start starts the server with p's API at apiRoot. It returns the URL of the
// host, such as "http://127.0.0.1:1234".
func (s *server) start(p platform, apiRoot string, c config) string {
	if _, ok := p.(*RocketChat); ok && c.pageSize != 0 {
		panic("chatdmtest: NewRocketChat does not support the HistoryPageSize option; use NewSlack")
	}
	s.platform, s.apiRoot = watchedPlatform{p, &s.changes}, apiRoot
	s.requests.limit = c.keptRequests
	s.rateLimits = make(map[string]*rateLimit)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	// Keep enough idle connections for a test with many goroutines. Otherwise, the
	// transport would close some of them, and a test that counts connections could
	// not tell those from the connections that its client lost.
	s.transport = &http.Transport{MaxIdleConnsPerHost: 1000}

	var listener net.Listener
	var hostURL string
	if c.inMemory {
		pipes := newPipeListener()
		s.transport.DialContext = pipes.dial
		listener, hostURL = pipes, "http://localhost:0"
	} else {
		var err error
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(fmt.Sprintf("chatdmtest: cannot listen on the loopback interface: %v", err))
		}
		hostURL = "http://" + listener.Addr().String()
	}
	s.httpServer = &http.Server{Handler: s, ConnState: s.trackConn}
	s.running.Go(func() { s.httpServer.Serve(listener) })
	return hostURL
}

// trackConn counts open connections so that Close can wait for them.
func (s *server) trackConn(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.running.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed { // http.Server.Close misses connections that are accepted this late
			conn.Close()
		}
	case http.StateHijacked, http.StateClosed:
		s.running.Done()
	}
}

// Close closes all connections, including those with stalled responses, drops the
// calls that a [Fault] has delayed with ApplyAfter, and waits until the server has
// stopped. Calling Close again has no effect. If you use the fake server as the
// handler of another server, it aborts all later requests.
func (s *server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.httpServer.Close()
	s.transport.CloseIdleConnections()
	s.running.Wait()
	s.changes.notify()
}

// Client returns a new HTTP client that can reach the server. The caller may modify
// the client. It has no timeout, and shares its connections with all other clients
// that Client has returned.
func (s *server) Client() *http.Client {
	return &http.Client{Transport: s.transport}
}

// ServeHTTP implements [http.Handler], so that you can use the fake server as the
// handler of another server. The Cut and Stall fields of a [Fault] need a connection
// that can be hijacked, such as an HTTP/1 connection. On an HTTP/2 connection, the
// server aborts the request without sending any part of the response.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, readErr := io.ReadAll(io.LimitReader(r.Body, maxBodySize+1))
	tooLarge := len(body) > maxBodySize
	body = body[:min(len(body), maxBodySize)]

	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.running.Add(1)
	defer s.running.Done()
	method, inAPI := strings.CutPrefix(r.URL.Path, s.apiRoot)
	if !inAPI {
		method = ""
	}
	logged := &Request{
		Method:     method,
		HTTPMethod: r.Method,
		Path:       r.URL.Path,
		RawQuery:   r.URL.RawQuery,
		Header:     r.Header.Clone(),
		Body:       bytes.Clone(body), // a copy, because ReadAll allocates spare capacity
		Time:       time.Now(),
	}
	s.requests.add(logged)
	var fault Fault
	if inAPI && !tooLarge {
		if logged.Fault = s.nextFault(method); logged.Fault != nil {
			fault = *logged.Fault
		}
	}
	s.mu.Unlock()
	s.changes.notify()
	defer s.endRequest(logged, nil) // if the request does not get a complete response

	var resp response
	switch {
	case !inAPI:
		resp = plainTextResponse(http.StatusNotFound)
	case tooLarge:
		resp = plainTextResponse(http.StatusRequestEntityTooLarge)
	default:
		var ok bool
		resp, ok = s.respondWithFault(apiRequest{method: method, httpRequest: r, body: body, readErr: readErr}, fault)
		if !ok {
			panic(http.ErrAbortHandler)
		}
	}

	if fault.Delay > 0 && !s.sleep(r.Context(), fault.Delay) {
		panic(http.ErrAbortHandler)
	}
	if point := cmp.Or(fault.Stall, fault.Cut); point != "" {
		s.sendPartial(w, r, resp, point, fault.Stall != "")
		return
	}
	s.endRequest(logged, &resp) // before sending, so that a client that has the response sees it
	maps.Copy(w.Header(), resp.header)
	w.WriteHeader(resp.status)
	w.Write(resp.body)
}

// mustMarshal encodes a response body. Encoding a response type never fails.
// Like the platforms, it does not escape characters that are special in HTML.
func mustMarshal(v any) []byte {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(fmt.Sprintf("chatdmtest: cannot encode the response: %v", err))
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n"))
}

// plainTextResponse returns the response of a web server to a request that does not
// reach the API.
func plainTextResponse(status int) response {
	return response{
		status: status,
		header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
		body:   []byte(http.StatusText(status) + "\n"),
	}
}
