package main

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// What the documentation of conversations.open, conversations.close and
// conversations.list shows, and of Rocket.Chat's im.delete, on one line each as
// the servers send it.
const (
	bodyOpenShort = `{"ok":true,"channel":{"id":"D069C7QFK"}}`
	bodyOpenFull  = `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D069C7QFK","created":1460147748,"is_im":true,"is_org_shared":false,"user":"U069C7QF3","last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0}}`
	bodyClose     = `{"ok":true,"no_op":true,"already_closed":true}`
	bodyRefused   = `{"ok":false,"error":"user_disabled"}`
	bodyDelete    = `{"success":true}`

	user         = "U069C7QF3"
	disabledUser = "U0DISABLED"
	channel      = "D069C7QFK"
	room         = "hdy9972092873h8s7s0"
)

// A list of 1,000 channels comes in pages of 200, as many as Slack recommends.
const (
	listed   = 1000
	pageSize = 200
)

// answer is what a server sends.
type answer struct {
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

	openShort = answer{slackHeader, bodyOpenShort}
	openFull  = answer{slackHeader, bodyOpenFull}
	closed    = answer{slackHeader, bodyClose}
	refused   = answer{slackHeader, bodyRefused}
	deleted   = answer{rocketHeader, bodyDelete}
	pages     = makePages()
)

func makePages() []answer {
	var all []answer
	for first := 0; first < listed; first += pageSize {
		var b strings.Builder
		b.WriteString(`{"ok":true,"channels":[`)
		for i := first; i < first+pageSize; i++ {
			if i > first {
				b.WriteByte(',')
			}
			n := strconv.Itoa(10000 + i)
			b.WriteString(`{"id":"D0690` + n + `","created":1460147748,"is_im":true,"is_org_shared":false,"user":"U0690` + n +
				`","last_read":"1460147748.000002","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"is_user_deleted":false,"priority":0.018}`)
		}
		b.WriteString(`],"response_metadata":{"next_cursor":"`)
		if next := len(all) + 1; first+pageSize < listed {
			b.WriteString("page" + strconv.Itoa(next))
		}
		b.WriteString(`"}}`)
		all = append(all, answer{slackHeader, b.String()})
	}
	return all
}

// serve chooses the answer to a request. It allocates nothing, so that what is
// counted is the client's.
func serve(path string, form []byte) *answer {
	switch {
	case strings.HasSuffix(path, "/conversations.close"):
		return &closed
	case strings.HasSuffix(path, "/conversations.list"):
		_, cursor, _ := bytes.Cut(form, []byte("cursor=page"))
		if len(cursor) == 0 {
			return &pages[0]
		}
		return &pages[cursor[0]-'0']
	case strings.HasSuffix(path, "/im.delete"):
		return &deleted
	case bytes.Contains(form, []byte(disabledUser)):
		return &refused
	case bytes.Contains(form, []byte("return_im=true")):
		return &openFull
	}
	return &openShort
}

var buffers = sync.Pool{New: func() any { return new([1024]byte) }}

// receive reads a request's body to its end and chooses the answer.
func receive(path string, body io.Reader) *answer {
	buf := buffers.Get().(*[1024]byte)
	defer buffers.Put(buf)
	n := 0
	for body != nil {
		m, err := body.Read(buf[n:])
		if n += m; err != nil {
			break
		}
	}
	return serve(path, buf[:n])
}

// memory is the RoundTripper that all contenders share: a server without a
// network. What it allocates for a call is the same for all of them.
type memory struct{}

// response is all of an answer in one allocation.
type response struct {
	http.Response
	reader strings.Reader
}

func (r *response) Read(p []byte) (int, error) { return r.reader.Read(p) }
func (r *response) Close() error               { return nil }

func (memory) RoundTrip(req *http.Request) (*http.Response, error) {
	a := receive(req.URL.Path, req.Body)
	if req.Body != nil {
		req.Body.Close()
	}
	r := new(response)
	r.reader.Reset(a.body)
	r.Response = http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: r, ContentLength: int64(len(a.body)), Request: req,
	}
	return &r.Response, nil
}

// ServeHTTP is the same server on a network.
func (memory) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	a := receive(req.URL.Path, req.Body)
	header := w.Header()
	maps.Copy(header, a.header)
	header["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	_, _ = io.WriteString(w, a.body)
}
