package main

import (
	"bytes"
	"cmp"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	user      = "U069C7QF3"
	channel   = "D069C7QFK"
	room      = "hdy9972092873h8s7s0"
	otherRoom = "9GkW2jYdQ7xTfLm4R"

	invalidChannel = "invalid-channel" // the error code for otherRoom
	messageText    = "Build 1284 is done: https://ci.example.com/1284"

	// A list of 1,000 channels has pages of 200, as Slack recommends.
	listed   = 1000
	pageSize = 200
)

// document is a response. The bodies are those in the documentation of Slack and
// Rocket.Chat, on one line as the servers send them.
type document struct {
	header http.Header
	body   string
	status int // 0 means 200
}

// failure is an error response of conversations.open.
type failure struct {
	user string // causes it
	code string // empty if the status alone says what is wrong
	document
}

var (
	slackHeader = http.Header{
		"Content-Type":            {"application/json; charset=utf-8"},
		"X-Slack-Req-Id":          {"5f1f8e3c0d7b4a6e9f2b1c8d7e6a5b4c"},
		"X-Oauth-Scopes":          {"im:write,mpim:write,im:read"},
		"X-Accepted-Oauth-Scopes": {"im:write"},
	}
	rocketHeader = http.Header{
		"Content-Type":          {"application/json"},
		"X-Ratelimit-Limit":     {"10"},
		"X-Ratelimit-Remaining": {"6"},
		"X-Ratelimit-Reset":     {"1795227046515"},
	}

	openShort = document{header: slackHeader, body: `{"ok":true,"channel":{"id":"D069C7QFK"}}`}
	openFull  = document{header: slackHeader, body: `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D069C7QFK","created":1460147748,"is_im":true,"is_org_shared":false,"user":"U069C7QF3","last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0}}`}
	closed    = document{header: slackHeader, body: `{"ok":true,"no_op":true,"already_closed":true}`}
	sent      = document{header: slackHeader, body: `{"ok":true,"channel":"D069C7QFK","ts":"1503435956.000247","message":{"type":"message","subtype":"bot_message","text":"` + messageText + `","ts":"1503435956.000247","username":"ecto1","user":"U19LU7CSY","bot_id":"B19LU7CSY","app_id":"A19LU7CSY","team":"T1H9RESGL"}}`}
	deleted   = document{header: rocketHeader, body: `{"success":true}`}
	notRoom   = document{rocketHeader, `{"success":false,"error":"[` + invalidChannel + `]","errorType":"` + invalidChannel + `"}`, http.StatusBadRequest}
	pages     = makePages()

	userDisabled = failure{"U0DISABLED", "user_disabled", document{header: slackHeader, body: `{"ok":false,"error":"user_disabled"}`}}
	missingScope = failure{"U0SCOPE", "missing_scope", document{header: slackHeader, body: `{"ok":false,"error":"missing_scope","needed":"im:write","provided":"chat:write,users:read,users:read.email"}`}}
	limited      = failure{"U0LIMITED", "", document{with("Retry-After", "30"), `{"ok":false,"error":"ratelimited"}`, http.StatusTooManyRequests}}
	broken       = failure{"U0BROKEN", "", document{with("Content-Type", "text/html"), "<html><body><h1>500 Internal Server Error</h1></body></html>", http.StatusInternalServerError}}
	failures     = []*failure{&userDisabled, &missingScope, &limited, &broken}
)

// with returns the header of Slack with another field.
func with(name, value string) http.Header {
	h := slackHeader.Clone()
	h.Set(name, value)
	return h
}

func (d *document) statusText() string {
	switch d.status { // without an allocation
	case http.StatusBadRequest:
		return "400 Bad Request"
	case http.StatusTooManyRequests:
		return "429 Too Many Requests"
	case http.StatusInternalServerError:
		return "500 Internal Server Error"
	}
	return "200 OK"
}

func makePages() []document {
	var all []document
	for first := 0; first < listed; first += pageSize {
		var channels []string
		for i := first; i < first+pageSize; i++ {
			n := strconv.Itoa(10000 + i)
			channels = append(channels, `{"id":"D0690`+n+`","created":1460147748,"is_im":true,"is_org_shared":false,"user":"U0690`+n+
				`","last_read":"1460147748.000002","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"is_user_deleted":false,"priority":0.018}`)
		}
		cursor := ""
		if first+pageSize < listed {
			cursor = "page" + strconv.Itoa(len(all)+1)
		}
		all = append(all, document{header: slackHeader, body: `{"ok":true,"channels":[` + strings.Join(channels, ",") + `],"response_metadata":{"next_cursor":"` + cursor + `"}}`})
	}
	return all
}

// respond chooses the response to a request. It allocates nothing, so the
// benchmarks count only what the clients allocate.
func respond(path string, form []byte) *document {
	switch {
	case strings.HasSuffix(path, "/conversations.close"):
		return &closed
	case strings.HasSuffix(path, "/conversations.list"):
		_, cursor, _ := bytes.Cut(form, []byte("cursor=page"))
		if len(cursor) == 0 {
			return &pages[0]
		}
		return &pages[cursor[0]-'0']
	case strings.HasSuffix(path, "/chat.postMessage"):
		return &sent
	case strings.HasSuffix(path, "/im.delete"):
		if bytes.Contains(form, []byte(room)) {
			return &deleted
		}
		return &notRoom
	case bytes.Contains(form, []byte("return_im=true")):
		return &openFull
	}
	for _, f := range failures {
		if bytes.Contains(form, []byte(f.user)) {
			return &f.document
		}
	}
	return &openShort
}

var buffers = sync.Pool{New: func() any { return new([1024]byte) }}

// receive reads the body of a request and chooses the response.
func receive(path string, body io.Reader) *document {
	buf := buffers.Get().(*[1024]byte)
	defer buffers.Put(buf)
	n := 0
	for body != nil {
		m, err := body.Read(buf[n:])
		if n += m; err != nil {
			break
		}
	}
	return respond(path, buf[:n])
}

// memory is the server, as a RoundTripper without a network and as a Handler. As
// a RoundTripper, it makes one allocation per request.
type memory struct{}

type response struct {
	http.Response
	reader strings.Reader
}

func (r *response) Read(p []byte) (int, error) { return r.reader.Read(p) }
func (r *response) Close() error               { return nil }

func (memory) RoundTrip(req *http.Request) (*http.Response, error) {
	d := receive(req.URL.Path, req.Body)
	if req.Body != nil {
		req.Body.Close()
	}
	r := new(response)
	r.reader.Reset(d.body)
	r.Response = http.Response{
		Status: d.statusText(), StatusCode: cmp.Or(d.status, http.StatusOK), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: d.header, Body: r, ContentLength: int64(len(d.body)), Request: req,
	}
	return &r.Response, nil
}

func (memory) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	d := receive(req.URL.Path, req.Body)
	header := w.Header()
	maps.Copy(header, d.header)
	header["Content-Length"] = []string{strconv.Itoa(len(d.body))}
	w.WriteHeader(cmp.Or(d.status, http.StatusOK))
	_, _ = io.WriteString(w, d.body)
}

// listen starts the server on loopback. It counts the connections.
func listen(tb testing.TB) (url string, connections *atomic.Int64) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	connections = new(atomic.Int64)
	s := &http.Server{Handler: memory{}, ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}}
	go s.Serve(l)
	tb.Cleanup(func() { s.Close() })
	return "http://" + l.Addr().String(), connections
}

// stalled is memory, but each response stops before its header or in the middle
// of its body until resume is closed.
type stalled struct {
	inBody bool
	resume chan struct{}
}

func (s *stalled) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := memory{}.RoundTrip(req)
	if s.inBody {
		first := io.LimitReader(resp.Body, 100)
		resp.Body = io.NopCloser(io.MultiReader(first, waiter(s.resume), resp.Body))
	} else {
		<-s.resume
	}
	return resp, err
}

// waiter is an empty reader that blocks until the channel is closed.
type waiter chan struct{}

func (w waiter) Read([]byte) (int, error) { <-w; return 0, io.EOF }

// body responds to each request with a long body, and does not announce the length.
// The parts are repeated to n bytes, in the middle.
type body struct {
	start, part string
	n           int
	end         string
}

const mebibyte = 1 << 20

var (
	huge      = body{`{"ok":true,"channel":{"id":"D069C7QFK","name":"`, "x", 64 * mebibyte, `"}}`}
	noJSON    = body{"<html>", "x", limit - 6, ""}
	truncated = body{`{"ok":true,"channel":{"id":"D069C7QFK","name":"`, "x", limit - 47, ""}
	messages  = body{`{"ok":true,"channel":{"id":"D069C7QFK"},"response_metadata":{"messages":[`, `"",`, 3e6, `""]}}`}
	fields    = body{`{"ok":true,"channel":{"id":"D069C7QFK"}`, `,"":0`, 4e6, `}`} // 800,000 of them
	channels  = body{`{"ok":true,"channels":[`, `{},`, 3e6, `{}]}`}
)

func (b body) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Body.Close()
	middle := &repeated{strings.Repeat(b.part, 4096), b.n, 0}
	reader := io.MultiReader(strings.NewReader(b.start), middle, strings.NewReader(b.end))
	return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Header: slackHeader, Body: io.NopCloser(reader), ContentLength: -1, Request: req}, nil
}

// ending responds with a long body, at whose end it ends a context.
type ending struct {
	end func() // nil if there is no context
	at  time.Time
}

func (e *ending) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := messages.RoundTrip(req)
	resp.Body = io.NopCloser(io.MultiReader(resp.Body, e))
	return resp, err
}

func (e *ending) Read([]byte) (int, error) {
	if e.at = time.Now(); e.end != nil {
		e.end()
	}
	return 0, io.EOF
}

// repeated reads text again and again.
type repeated struct {
	text     string
	left, at int
}

func (r *repeated) Read(p []byte) (n int, err error) {
	for n < len(p) && r.left > 0 {
		m := copy(p[n:min(len(p), n+r.left)], r.text[r.at:])
		n, r.left, r.at = n+m, r.left-m, (r.at+m)%len(r.text)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}
