package chatdm_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/rocketchat"
)

// canned is a transport that gives one answer to everything.
type canned struct {
	status           int
	body, hint, date string
}

func (c *canned) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: c.status, Request: req, ContentLength: -1,
		Header: http.Header{"Retry-After": {c.hint}, "X-Ratelimit-Reset": {c.hint}, "Date": {c.date}, "Location": {c.hint}, "X-Slack-Req-Id": {c.hint}},
		Body:   io.NopCloser(strings.NewReader(c.body)),
	}, nil
}

// FuzzAnswers feeds any answer to every function of both clients: a success has
// what it should, an error is typed, on one line, and shows no credential.
func FuzzAnswers(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*/*.response.http")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, body, _ := strings.Cut(string(data), "\n\n")
		f.Add(200, body, "30", "")
		f.Add(429, body, "Sat, 01 Jan 2000 00:00:40 GMT", "Sat, 01 Jan 2000 00:00:00 GMT")
		f.Add(503, body+secretToken, secretToken, "")
	}
	f.Add(302, "", "https://evil.example/"+secretToken, "")
	f.Fuzz(func(t *testing.T, status int, body, hint, date string) {
		if status < 200 || status > 599 {
			return // net/http reads no such answer
		}
		transport := &http.Client{Transport: &canned{status, body, hint, date}}
		opts := []chatdm.Option{chatdm.WithHTTPClient(transport), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1})}
		for name, m := range conforming {
			res, err := m.call(t.Context(), "https://example.org", opts...)
			if err == nil {
				checkSuccess(t, name, res)
				continue
			}
			e := wantError(t, err)
			if res != nil || e.Kind == "" || e.Attempts != 1 || e.RetryAfter < 0 {
				t.Errorf("%s: %v, %+v", name, res, e)
			}
			if text := err.Error(); strings.ContainsAny(text, "\r\n") || strings.Contains(text, secretToken) {
				t.Errorf("%s: %q", name, text)
			}
		}
	})
}

func checkSuccess(t *testing.T, name string, res any) {
	t.Helper()
	good := true
	switch res := res.(type) {
	case nil: // an empty list
		good = name == "chatdm.ConversationsService.List"
	case *chatdm.OpenResult:
		good = res.Channel.ID != ""
	case *chatdm.Channel:
		good = res.ID != ""
	case *rocketchat.CreateResult:
		good = res.Room.ID != ""
	case rocketchat.Credentials:
		good = res.UserID != "" && res.AuthToken != ""
	case *rocketchat.DeleteResult:
		good = res.Success
	}
	if !good {
		t.Errorf("%s succeeded with %+v", name, res)
	}
}
