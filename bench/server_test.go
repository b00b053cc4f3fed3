package main

import (
	"bytes"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

const (
	user         = "U069C7QF3"
	disabledUser = "U0DISABLED"
	channel      = "D069C7QFK"
	room         = "hdy9972092873h8s7s0"
	messageText  = "Build 1284 is done: https://ci.example.com/1284"

	// A list of 1,000 channels has pages of 200, as Slack recommends.
	listed   = 1000
	pageSize = 200
)

// document is a response. The bodies are those in the documentation of Slack and
// Rocket.Chat, on one line as the servers send them.
type document struct {
	header http.Header
	body   string
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

	openShort = document{slackHeader, `{"ok":true,"channel":{"id":"D069C7QFK"}}`}
	openFull  = document{slackHeader, `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D069C7QFK","created":1460147748,"is_im":true,"is_org_shared":false,"user":"U069C7QF3","last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0}}`}
	closed    = document{slackHeader, `{"ok":true,"no_op":true,"already_closed":true}`}
	sent      = document{slackHeader, `{"ok":true,"channel":"D069C7QFK","ts":"1503435956.000247","message":{"type":"message","subtype":"bot_message","text":"` + messageText + `","ts":"1503435956.000247","username":"ecto1","user":"U19LU7CSY","bot_id":"B19LU7CSY","app_id":"A19LU7CSY","team":"T1H9RESGL"}}`}
	disabled  = document{slackHeader, `{"ok":false,"error":"user_disabled"}`}
	deleted   = document{rocketHeader, `{"success":true}`}
	pages     = makePages()
)

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
		all = append(all, document{slackHeader, `{"ok":true,"channels":[` + strings.Join(channels, ",") + `],"response_metadata":{"next_cursor":"` + cursor + `"}}`})
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
		return &deleted
	case bytes.Contains(form, []byte(disabledUser)):
		return &disabled
	case bytes.Contains(form, []byte("return_im=true")):
		return &openFull
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
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: d.header, Body: r, ContentLength: int64(len(d.body)), Request: req,
	}
	return &r.Response, nil
}

func (memory) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	d := receive(req.URL.Path, req.Body)
	header := w.Header()
	maps.Copy(header, d.header)
	header["Content-Length"] = []string{strconv.Itoa(len(d.body))}
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

// huge responds with a valid JSON object of 64 MiB, and does not announce the
// length.
type huge struct{}

type repeated byte

func (r repeated) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

func (huge) RoundTrip(req *http.Request) (*http.Response, error) {
	req.Body.Close()
	body := io.MultiReader(strings.NewReader(`{"ok":true,"channel":{"id":"D069C7QFK","name":"`), io.LimitReader(repeated('x'), 64<<20), strings.NewReader(`"}}`))
	return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Header: slackHeader, Body: io.NopCloser(body), ContentLength: -1, Request: req}, nil
}
