package conformance_test

import (
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// canned is a transport that gives one response to everything.
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

// FuzzAnswers feeds any response to every method: a success has what it should
// have, and an error is typed, on one line, and shows no credential.
func FuzzAnswers(f *testing.F) {
	files, err := filepath.Glob("../../testdata/*/*/*.response.http")
	if err != nil || len(files) == 0 {
		f.Fatal("got no seeds", err)
	}
	for _, file := range files {
		_, body, _ := strings.Cut(wiretest.Golden(f, file), "\n\n")
		f.Add(200, body, "30", "")
		f.Add(429, body, "Sat, 01 Jan 2000 00:00:40 GMT", "Sat, 01 Jan 2000 00:00:00 GMT")
		f.Add(503, body+secretToken, secretToken, "")
	}
	f.Add(302, "", "https://evil.example/"+secretToken, "")
	f.Fuzz(func(t *testing.T, status int, body, hint, date string) {
		if status < 200 || status > 599 {
			return // net/http reads no such response
		}
		for name, m := range methods {
			res, err := m.on(t, &canned{status, body, hint, date}, once)(t.Context())
			if err == nil {
				checkSuccess(t, name, res)
				continue
			}
			e := wiretest.WantError(t, err)
			if res != nil || e.Kind == "" || e.Attempts != 1 || e.RetryAfter < 0 {
				t.Errorf("%s: got %v, %+v, want no result and 1 attempt", name, res, e)
			}
			if text := err.Error(); strings.ContainsAny(text, "\r\n") || strings.Contains(text, secretToken) {
				t.Errorf("%s: got %q, want one line without the credential", name, text)
			}
		}
	})
}

// checkSuccess checks that a result has what a success must have.
func checkSuccess(t *testing.T, name string, res any) {
	t.Helper()
	good := true
	switch res := res.(type) {
	case nil: // an empty list
		good = slices.Contains([]string{"chatdm.ConversationsService.List", "chatdm.ConversationsService.History", "chatdm.ConversationsService.Replies", "rocketchat.IMService.History"}, name)
	case *chatdm.OpenResult:
		good = res.Channel.ID != ""
	case *chatdm.Channel:
		good = res.ID != ""
	case *chatdm.Message:
		good = res.TS != ""
	case *chatdm.ChatPostMessageResult:
		good = res.TS != "" && !res.NoOp
	case *chatdm.UserResult:
		good = res.User.ID != ""
	case *chatdm.AuthTestResult:
		good = res.UserID != ""
	case *rocketchat.Message:
		good = res.ID != "" && !res.Time.IsZero()
	case *rocketchat.ChatSendMessageResult:
		good = res.Message.ID != "" && !res.NoOp && !res.AlreadySent
	case *rocketchat.MessageResult:
		good = res.Message.ID == "m1"
	case *rocketchat.UserResult:
		good = strings.EqualFold(res.User.Username, "bob")
	case *rocketchat.CreateResult:
		good = res.Room.ID != ""
	case rocketchat.Credentials:
		good = res.UserID != "" && res.AuthToken != ""
	case *rocketchat.DeleteResult:
		good = res.Success
	}
	if !good {
		t.Errorf("%s: got success %+v, want what the method promises in it", name, res)
	}
}
