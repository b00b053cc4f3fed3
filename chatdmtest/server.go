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
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxBody bounds what is read and kept of a request's body.
const maxBody = 1 << 20

// An Option changes how a server is started. A nil Option changes nothing.
type Option func(*config)

type config struct {
	inMemory     bool
	keptRequests int                  // negative: all
	retiredIM    bool                 // of Slack
	generation   RocketChatGeneration // of Rocket.Chat; "" is the newest
}

func newConfig(opts []Option) config {
	c := config{keptRequests: defaultKeptRequests}
	for _, opt := range opts {
		if opt != nil {
			opt(&c)
		}
	}
	return c
}

// InMemory starts the server on a network inside the process instead of a
// loopback socket. It is still HTTP/1.1 between an http.Server and an
// http.Transport, but over [net.Pipe], so that it works inside a testing/synctest
// bubble, where a socket would keep time from passing. Only the server's Client
// reaches it, under any host name: give that to what is tested. Its URL names
// port 0 of localhost, where no other client finds anything.
func InMemory() Option {
	return func(c *config) { c.inMemory = true }
}

// A Point is a place in an answer at which a [Fault] stops sending it.
type Point string

// The points of an answer.
const (
	BeforeHeader Point = "before header" // the request was read, no byte is sent
	InHeader     Point = "in header"     // after half of the status line and header
	InBody       Point = "in body"       // after the header, with the length of the whole body, and half of the body
)

// A Fault is an answer that a test scripts. Its fields combine freely.
//
// A Fault without Code, Status and Body sends the method's own answer, so that
// Fault{Delay: time.Minute} is a slow server and nothing else. The exception is
// a Cut or a Stall without Apply: the method is not run, and the part that is
// sent is of an unspecific error.
type Fault struct {
	// Code is an error code, sent in the platform's shape of an error, whether
	// or not the platform knows it. Slack sends every code with status 200,
	// Rocket.Chat with 400 unless its [RocketChat] says otherwise.
	Code string

	// Status is the HTTP status of the answer, 200 to 599. Zero is the one that
	// goes with Code, or 200 where there is only a Body. A Status with neither
	// Code nor Body has an empty body.
	Status int

	// Header is set over the header of the server's own answer. A name with no
	// value, or with an empty one, is removed: http.Header{"Content-Type": nil}.
	Header http.Header

	// Body is sent as it is, in place of the JSON for Code. The Content-Type
	// stays application/json unless Header says otherwise.
	Body string

	// Delay passes between the request and the answer, Cut or Stall. The wait
	// ends early, without an answer, when the client leaves or the server is
	// closed.
	Delay time.Duration

	// Stall stops sending at a point of the answer and holds the connection
	// until the client leaves or the server is closed. It wins over Cut.
	Stall Point

	// Cut stops sending at a point of the answer and closes the connection. An
	// http.Transport repeats a GET by itself if it loses a connection that it had
	// used before; it does not repeat a POST.
	Cut Point

	// Apply lets the method run first, under its budget and with all its checks,
	// and then sends the Fault in place of its answer: the call took effect, the
	// answer got lost.
	Apply bool
}

// server is the part that test servers of different platforms share: the
// network, scripted faults, budgets, the log of requests, and the end of it all.
type server struct {
	platform platform
	root     string // path of the API, "/api/" or "/api/v1/"

	http      *http.Server
	transport *http.Transport
	closing   context.Context
	close     context.CancelFunc
	running   sync.WaitGroup // the accept loop, connections, and requests once they are read

	mu       sync.Mutex
	closed   bool
	requests requestLog
	faults   []*script
	budgets  map[string]*budget
}

// platform is what a server has to know about the API that it plays.
type platform interface {
	respond(call) answer               // runs the method, within the budget that spend keeps
	refuse(c call, code string) answer // an error; of a code of its choice where code is ""
}

// call is one request for a method of the API.
type call struct {
	method string
	http   *http.Request // its Body has been read
	body   []byte
	err    error // why body is shorter than announced
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

type script struct {
	method string
	times  int
	fault  Fault
}

type budget struct {
	calls, used int
	per         time.Duration
	end         time.Time // of the current window
}

// quota is what a call has found of its budget. The zero quota is of a method
// without one.
type quota struct {
	calls, left int
	end         time.Time     // of the window
	wait        time.Duration // until then, if nothing was left
}

// start serves p below root and returns the address of the host, "http://127.0.0.1:1234".
func (s *server) start(p platform, root string, c config) string {
	s.platform, s.root = p, root
	s.requests.limit = c.keptRequests
	s.budgets = make(map[string]*budget)
	s.closing, s.close = context.WithCancel(context.Background())
	// As many idle connections as a test has goroutines: a test that counts
	// connections should count those that its client lost.
	s.transport = &http.Transport{MaxIdleConnsPerHost: 1000}

	var listener net.Listener
	var base string
	if c.inMemory {
		pipes := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		s.transport.DialContext = pipes.dial
		listener, base = pipes, "http://localhost:0"
	} else {
		var err error
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(fmt.Sprintf("chatdmtest: cannot listen on loopback: %v", err))
		}
		base = "http://" + listener.Addr().String()
	}
	s.http = &http.Server{Handler: s, ConnState: s.connState}
	s.running.Go(func() { s.http.Serve(listener) })
	return base
}

// connState counts connections, so that Close can wait for them.
func (s *server) connState(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.running.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed { // accepted too late for http.Server.Close to have seen it
			conn.Close()
		}
	case http.StateHijacked, http.StateClosed:
		s.running.Done()
	}
}

// Close ends every connection, those of stalled answers included, and waits
// until they are gone. It may be called more than once. A server that is mounted
// elsewhere aborts the requests that reach it later.
func (s *server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close()
	s.http.Close()
	s.transport.CloseIdleConnections()
	s.running.Wait()
}

// Client returns a new client that reaches the server, without a timeout. All of
// them share one pool of connections. It may be copied and changed.
func (s *server) Client() *http.Client {
	return &http.Client{Transport: s.transport}
}

// Limit gives a method a budget of that many calls in a window of that length.
// A window starts with the first call that is counted in it. Calls of all tokens
// count together; those that a [Fault] keeps from the method do not count. Above
// the budget, the answer is HTTP 429. A new limit for the same method starts
// afresh. Zero calls, or no window, takes the limit away.
//
// Slack says how long to wait in Retry-After: the seconds until the window ends,
// rounded up. Rocket.Chat says it in the text of the error and in headers; see
// [RocketChat].
func (s *server) Limit(method string, calls int, per time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if calls <= 0 || per <= 0 {
		delete(s.budgets, method)
		return
	}
	s.budgets[method] = &budget{calls: calls, per: per}
}

// Fail answers the next requests for a method with f: as many of them as times
// says, or all until ClearFaults if it is negative. The method "" stands for
// any. Faults for the same request are used in the order in which they were
// scripted, one for each request.
func (s *server) Fail(method string, times int, f Fault) {
	if times == 0 {
		return
	}
	f.Header = f.Header.Clone()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &script{method: method, times: times, fault: f})
}

// ClearFaults forgets every [Fault] that has not been used. Answers that are
// delayed or stalled at the moment stay so.
func (s *server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// ServeHTTP answers one request, so that the server can be mounted in another
// one. Cut and Stall need a connection that can be hijacked, which is HTTP/1;
// elsewhere they abort the request without any part of the answer.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	tooLarge := len(body) > maxBody
	body = body[:min(len(body), maxBody)]

	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.running.Add(1)
	defer s.running.Done()
	method, inAPI := strings.CutPrefix(r.URL.Path, s.root)
	if !inAPI {
		method = ""
	}
	seen := &Request{
		Method:     method,
		HTTPMethod: r.Method,
		Path:       r.URL.Path,
		RawQuery:   r.URL.RawQuery,
		Header:     r.Header.Clone(),
		Body:       bytes.Clone(body), // without the spare capacity of ReadAll
		Time:       time.Now(),
	}
	s.requests.add(seen)
	var fault Fault
	if inAPI && !tooLarge {
		fault = s.nextFault(method)
	}
	s.mu.Unlock()

	var a answer
	switch {
	case !inAPI:
		a = plainAnswer(http.StatusNotFound)
	case tooLarge:
		a = plainAnswer(http.StatusRequestEntityTooLarge)
	default:
		a = s.faulty(call{method: method, http: r, body: body, err: err}, fault)
	}

	if fault.Delay > 0 && !s.wait(r.Context(), fault.Delay) {
		panic(http.ErrAbortHandler)
	}
	if at := cmp.Or(fault.Stall, fault.Cut); at != "" {
		s.breakOff(w, r, a, at, fault.Stall != "")
		return
	}
	s.mu.Lock()
	seen.Status = a.status // before it is sent: a client with an answer finds it in the log
	s.mu.Unlock()
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	w.Write(a.body)
}

// nextFault takes the next fault scripted for method; s.mu is held.
func (s *server) nextFault(method string) Fault {
	i := slices.IndexFunc(s.faults, func(f *script) bool { return f.method == "" || f.method == method })
	if i < 0 {
		return Fault{}
	}
	next := s.faults[i]
	if next.times > 0 {
		next.times--
	}
	if next.times == 0 {
		s.faults = slices.Delete(s.faults, i, i+1)
	}
	return next.fault
}

// faulty is the answer to c under a fault, as far as it is a matter of content.
// The zero Fault leaves the method's own answer alone.
func (s *server) faulty(c call, f Fault) answer {
	var a answer
	own := f.Code == "" && f.Status == 0 && f.Body == ""
	broken := f.Cut != "" || f.Stall != ""
	run := f.Apply || own && !broken
	if run {
		a = s.platform.respond(c)
	}
	if !own || !run {
		a = s.platform.refuse(c, f.Code)
	}
	if !own {
		if f.Code == "" {
			a.status = http.StatusOK
			a.body = nil
		}
		if f.Body != "" {
			a.body = []byte(f.Body)
		}
		a.status = cmp.Or(f.Status, a.status)
	}
	for name, values := range f.Header {
		name = http.CanonicalHeaderKey(name)
		if strings.Join(values, "") == "" {
			values = nil // not deleted: net/http would guess a Content-Type
		}
		a.header[name] = values
	}
	return a
}

// spend counts a call of method, unless nothing is left of its budget.
func (s *server) spend(method string) quota {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgets[method]
	if b == nil {
		return quota{}
	}
	now := time.Now()
	if !now.Before(b.end) {
		b.used, b.end = 0, now.Add(b.per)
	}
	if b.used == b.calls {
		return quota{calls: b.calls, end: b.end, wait: b.end.Sub(now)}
	}
	b.used++
	return quota{calls: b.calls, left: b.calls - b.used, end: b.end}
}

// wait reports whether d went by before the client left or the server was closed.
func (s *server) wait(client context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-client.Done():
	case <-s.closing.Done():
	}
	return false
}

// breakOff sends the answer up to a point and ends the connection there, at once
// or, with hold, when the client or the server does.
func (s *server) breakOff(w http.ResponseWriter, r *http.Request, a answer, at Point, hold bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		if hold {
			select {
			case <-r.Context().Done():
			case <-s.closing.Done():
			}
		}
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	defer context.AfterFunc(s.closing, func() { conn.Close() })()
	if _, err := conn.Write(a.until(at)); err == nil && hold {
		_, _ = io.Copy(io.Discard, conn) // which ends with the connection
	}
}

// until returns the bytes of the answer on the wire, up to a point.
func (a answer) until(at Point) []byte {
	var wire bytes.Buffer
	fmt.Fprintf(&wire, "HTTP/1.1 %d %s\r\n", a.status, http.StatusText(a.status))
	header := a.header.Clone()
	if header.Get("Content-Length") == "" {
		// At least one byte, or an empty body could not be cut.
		header.Set("Content-Length", strconv.Itoa(max(len(a.body), 1)))
	}
	header.Write(&wire)
	wire.WriteString("\r\n")
	switch at {
	case BeforeHeader:
		return nil
	case InHeader:
		return wire.Bytes()[:wire.Len()/2]
	default:
		wire.Write(a.body[:len(a.body)/2])
		return wire.Bytes()
	}
}

// seconds is a wait as the platforms count it, rounded up.
func seconds(wait time.Duration) int64 {
	return int64((wait + time.Second - 1) / time.Second)
}

// marshal is for what the platforms answer, which holds nothing that JSON cannot.
func marshal(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return body
}

// plainAnswer is what a web server says about a request that is not for the API.
func plainAnswer(status int) answer {
	return answer{
		status: status,
		header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}},
		body:   []byte(http.StatusText(status) + "\n"),
	}
}
