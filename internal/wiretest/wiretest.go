// Package wiretest has what the tests of several packages need: scripted
// responses, golden files, and a check of errors.
package wiretest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
)

// Responder is one round trip of an [http.RoundTripper].
type Responder = func(*http.Request) (*http.Response, error)

// Script is an [http.RoundTripper] that gives its responses in order, repeats
// the last one, and records the requests.
type Script struct {
	Requests []string        // as Dump writes them
	At       []time.Duration // when each request arrived, counted from the first

	mu        sync.Mutex
	start     time.Time
	responses []Responder
}

// NewScript returns a Script.
func NewScript(responses ...Responder) *Script { return &Script{responses: responses} }

// RoundTrip implements [http.RoundTripper].
func (s *Script) RoundTrip(req *http.Request) (*http.Response, error) {
	dump := Dump(req)
	s.mu.Lock()
	if s.start.IsZero() {
		s.start = time.Now()
	}
	s.Requests = append(s.Requests, dump)
	s.At = append(s.At, time.Since(s.start))
	sent := len(s.At)
	s.mu.Unlock()
	if sent > 10_000 { // the client would turn a panic into an error
		log.Fatal("wiretest: got 10,000 requests, want the client to stop")
	}
	return s.responses[min(sent, len(s.responses))-1](req)
}

// Sent returns the number of requests so far.
func (s *Script) Sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.At)
}

// Respond returns a Responder of one response. The header alternates names and
// values.
func Respond(status int, body string, header ...string) Responder {
	return func(req *http.Request) (*http.Response, error) {
		resp := &http.Response{
			StatusCode: status, Header: http.Header{}, Request: req,
			Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
		}
		for i := 0; i < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		return resp, nil
	}
}

// Dump writes a request in the form of the golden files.
func Dump(req *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\nHost: %s\n", req.Method, req.URL.RequestURI(), req.URL.Host)
	header := req.Header.Clone()
	if req.ContentLength > 0 {
		header.Set("Content-Length", fmt.Sprint(req.ContentLength))
	}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(header[name], ", "))
	}
	b.WriteString("\n")
	if req.Body != nil {
		_, _ = io.Copy(&b, req.Body)
	}
	return b.String()
}

// Golden returns a golden file.
func Golden(t testing.TB, path ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// GoldenResponse returns a Responder of a golden file's response.
func GoldenResponse(t testing.TB, path ...string) Responder {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(Golden(t, path...))), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return func(req *http.Request) (*http.Response, error) {
		fresh := *resp
		fresh.Request, fresh.Body = req, io.NopCloser(bytes.NewReader(body))
		return &fresh, nil
	}
}

var kinds = []chatdm.Kind{
	chatdm.KindInvalidRequest, chatdm.KindUnauthenticated, chatdm.KindPermissionDenied, chatdm.KindNotFound, chatdm.KindUnreachable, chatdm.KindUnsupported,
	chatdm.KindRateLimited, chatdm.KindUnavailable, chatdm.KindUnexpectedResponse, chatdm.KindCanceled, chatdm.KindUnknown,
}

// WantError fails the test unless err is a *chatdm.Error of exactly one kind that
// matches all targets.
func WantError(t testing.TB, err error, targets ...error) *chatdm.Error {
	t.Helper()
	e, ok := errors.AsType[*chatdm.Error](err)
	if !ok {
		t.Fatalf("got error %T %v, want a *chatdm.Error", err, err)
	}
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("got error %v, want one that matches %v", err, target)
		}
	}
	for _, kind := range kinds {
		if errors.Is(err, kind) != (kind == e.Kind) {
			t.Errorf("got error %v of the kinds %s and %s, want one", err, e.Kind, kind)
		}
	}
	return e
}
