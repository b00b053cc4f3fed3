// Package show prints the steps of an example, with their HTTP requests and
// responses.
package show

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Show prints to a writer. It is not safe for concurrent use.
type Show struct {
	out   io.Writer
	steps int
}

// New returns a Show that prints to out.
func New(out io.Writer) *Show { return &Show{out: out} }

// Step prints the number and the title of the next step.
func (s *Show) Step(title string) {
	s.steps++
	fmt.Fprintf(s.out, "\n%d. %s\n", s.steps, title)
}

// Say prints a line of the current step.
func (s *Show) Say(format string, args ...any) {
	fmt.Fprintf(s.out, "   "+format+"\n", args...)
}

// HTTPClient returns a client that prints each request and response.
func (s *Show) HTTPClient() *http.Client {
	return &http.Client{Transport: wiretap{s.out}}
}

// wiretap prints no headers, because they contain credentials.
type wiretap struct{ out io.Writer }

func (t wiretap) RoundTrip(req *http.Request) (*http.Response, error) {
	var sent []byte
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		sent, _ = io.ReadAll(body)
	}
	fmt.Fprintf(t.out, "   > %s %s  %s\n", req.Method, req.URL.Path, sent)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		fmt.Fprintf(t.out, "   < %v\n", err)
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if hint := resp.Header.Get("Retry-After"); hint != "" {
		fmt.Fprintf(t.out, "   < %s, Retry-After: %s\n", resp.Status, hint)
	} else {
		fmt.Fprintf(t.out, "   < %s  %s\n", resp.Status, excerpt(body))
	}
	return resp, err
}

// excerpt shortens the long responses of a real server.
func excerpt(body []byte) string {
	const limit = 200
	if len(body) <= limit {
		return string(body)
	}
	return strings.ToValidUTF8(string(body[:limit]), "") + "…"
}
