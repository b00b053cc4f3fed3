package chatdm_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/chatdm/chatdm"
)

const (
	secretToken = "xoxb-77777-S3CRET+TOKEN/=&%"
	secretPart  = "S3CRET"
)

// everyFormat is what fmt, encoding/json and slog make of a value.
func everyFormat(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%p"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	data, err := json.Marshal(v)
	fmt.Fprintln(&b, string(data), err)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
		slog.New(handler).Info("value", "v", v)
	}
	return b.String()
}

func lookFor(t *testing.T, where, text string) {
	t.Helper()
	hex := fmt.Sprintf("%x", secretPart)
	if strings.Contains(text, secretPart) || strings.Contains(text, hex) {
		t.Errorf("%s shows the token:\n%s", where, text)
	}
}

// TestNoSecretInTypes prints a client, its services and what they point to.
func TestNoSecretInTypes(t *testing.T) {
	client, err := chatdm.NewClient(secretToken, chatdm.WithHeader("Cookie", "d=xoxd-"+secretPart))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"Client": client, "IM": client.IM, "Conversations": client.Conversations, "IM value": *client.IM,
		"in a struct": struct{ C *chatdm.Client }{client}, "in a slice": []any{client}, "in a map": map[string]any{"c": client},
	} {
		lookFor(t, name, everyFormat(v))
	}
}

// TestNoSecretOnTheWay drives a client into every kind of failure with servers
// and transports that echo all they have seen, and reads everything that comes
// back, is logged, or is sent.
func TestNoSecretOnTheWay(t *testing.T) {
	echo := secretToken
	quoted, _ := json.Marshal(echo)
	tests := map[string]func(*http.Request) (*http.Response, error){
		"code":                           answer(200, `{"ok":false,"error":`+string(quoted)+`}`, "X-Slack-Req-Id", echo),
		"known code":                     answer(200, `{"ok":false,"error":"invalid_auth"}`, "X-Slack-Req-Id", "r "+echo),
		"scopes":                         answer(200, `{"ok":false,"error":"missing_scope","needed":`+string(quoted)+`,"provided":`+string(quoted)+`}`),
		"messages":                       answer(200, `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":[`+string(quoted)+`],"warnings":[`+string(quoted)+`]}}`),
		"HTML":                           answer(200, "<html>"+echo),
		"HTML at the cut of the excerpt": answer(200, strings.Repeat("x", 110)+echo),
		"error page":                     answer(403, "Authorization: Bearer "+echo),
		"redirect":                       answer(302, "", "Location", "https://evil.example/"+echo+"?t="+echo, "X-Slack-Req-Id", echo),
		"429":                            answer(429, echo, "X-Slack-Req-Id", echo),
		"500":                            answer(500, echo, "X-Slack-Req-Id", echo),
		"cut off":                        answer(200, `{"ok":false,"error":`+string(quoted)),
		"no channel":                     answer(200, `{"ok":true,"x":`+string(quoted)+`}`),
		"success":                        answer(200, `{"ok":true,"channel":{"id":"D1"},"warning":`+string(quoted)+`,"response_metadata":{"messages":[`+string(quoted)+`]}}`, "X-Oauth-Scopes", echo, "X-Slack-Req-Id", echo),
		"transport":                      failure(fmt.Errorf("cannot send %s: %w", echo, io.ErrUnexpectedEOF)),
		"dump":                           func(req *http.Request) (*http.Response, error) { return nil, fmt.Errorf("failed: %v", req.Header) },
		"late reader": func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(brokenReader{errors.New("read " + echo)})}, nil
		},
	}
	for name, respond := range tests {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 10}))
			transport := roundTripper(func(req *http.Request) (*http.Response, error) {
				lookFor(t, "the URL", req.URL.String())
				body, _ := io.ReadAll(req.Body)
				lookFor(t, "the body", string(body))
				if req.Header.Get("Authorization") != "Bearer "+secretToken {
					t.Errorf("Authorization %q", req.Header.Get("Authorization"))
				}
				return respond(req)
			})
			client, err := chatdm.NewClient(secretToken, chatdm.WithHTTPClient(&http.Client{Transport: transport}), chatdm.WithLogger(logger),
				chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 2, BaseWait: 1, MaxRetryAfter: 1}))
			if err != nil {
				t.Fatal(err)
			}
			res, err := open(t.Context(), client)
			if name == "success" {
				if err != nil {
					t.Fatal(err)
				}
				lookFor(t, "the result", everyFormat(res))
			} else {
				e := wantError(t, err)
				lookFor(t, "the error", everyFormat(err)+everyFormat(*e))
				for cause := error(e); cause != nil; cause = errors.Unwrap(cause) {
					lookFor(t, "the cause", everyFormat(cause))
				}
			}
			if name == "transport" && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error("the cause is lost")
			}
			if log.Len() == 0 {
				t.Error("nothing was logged")
			}
			lookFor(t, "the log", log.String())
		})
	}
	t.Run("as an id", func(t *testing.T) {
		client, err := chatdm.NewClient(secretToken)
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.IM.Close(context.Background(), secretToken+" ")
		wantError(t, err, chatdm.KindInvalidRequest)
		lookFor(t, "the error", everyFormat(err))
	})
	t.Run("a known code is never scrubbed", func(t *testing.T) {
		client, err := chatdm.NewClient("channel_not_found", chatdm.WithHTTPClient(&http.Client{Transport: newScript(coded("channel_not_found"))}))
		if err != nil {
			t.Fatal(err)
		}
		_, err = open(t.Context(), client)
		wantError(t, err, chatdm.ErrChannelNotFound)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// TestLogLines: one line for each call, one for each retry, at their levels.
func TestLogLines(t *testing.T) {
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "duration", "wait":
				return slog.Attr{}
			}
			return a
		},
	}))
	policy := chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 2, BaseWait: 1})
	client := newClient(t, newScript(coded("internal_error"),
		answer(200, `{"ok":true,"channel":{"id":"D1"}}`, "X-Slack-Req-Id", "req-1"), coded("user_not_found")), chatdm.WithLogger(logger), policy)
	for range 2 {
		_, _ = open(t.Context(), client)
	}
	want := `level=INFO msg="chatdm: retrying" service=slack method=conversations.open attempt=1 error.service=slack error.method=conversations.open error.kind=unavailable error.attempts=1 error.code=internal_error error.status=200
level=DEBUG msg="chatdm: call succeeded" service=slack method=conversations.open attempts=2 status=200 request_id=req-1
level=WARN msg="chatdm: call failed" service=slack method=conversations.open attempts=1 error.service=slack error.method=conversations.open error.kind=not_found error.attempts=1 error.code=user_not_found error.status=200
`
	if log.String() != want {
		t.Errorf("got\n%swant\n%s", log.String(), want)
	}
}
