package chatdm_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-querystring/query"
	"github.com/jarcoal/httpmock"

	"github.com/chatdm/chatdm"
)

// TestBadInput: what cannot be right is refused before anything is sent, and
// the error names the field.
func TestBadInput(t *testing.T) {
	im := func(p chatdm.IMOpenParams) func(context.Context, *chatdm.Client) error {
		return func(ctx context.Context, c *chatdm.Client) error { _, err := c.IM.Open(ctx, p); return err }
	}
	open := func(p chatdm.ConversationsOpenParams) func(context.Context, *chatdm.Client) error {
		return func(ctx context.Context, c *chatdm.Client) error { _, err := c.Conversations.Open(ctx, p); return err }
	}
	imClose := func(id string) func(context.Context, *chatdm.Client) error {
		return func(ctx context.Context, c *chatdm.Client) error { _, err := c.IM.Close(ctx, id); return err }
	}
	convClose := func(id string) func(context.Context, *chatdm.Client) error {
		return func(ctx context.Context, c *chatdm.Client) error {
			_, err := c.Conversations.Close(ctx, id)
			return err
		}
	}
	list := func(p chatdm.ConversationsListParams) func(context.Context, *chatdm.Client) error {
		return func(ctx context.Context, c *chatdm.Client) error {
			for _, err := range c.Conversations.List(ctx, p) {
				return err
			}
			return nil
		}
	}
	callWith := func(method string, params, result any) func(context.Context, *chatdm.Client) error {
		return func(ctx context.Context, c *chatdm.Client) error {
			_, err := c.Call(ctx, method, params, result)
			return err
		}
	}
	users := func(ids ...string) func(context.Context, *chatdm.Client) error {
		return open(chatdm.ConversationsOpenParams{Users: ids})
	}
	nine := strings.Split("U1 U2 U3 U4 U5 U6 U7 U8 U9", " ")
	type secret struct {
		Token string `url:"token"`
	}
	tests := []struct {
		name, field string
		call        func(context.Context, *chatdm.Client) error
	}{
		{"no user", "user", im(chatdm.IMOpenParams{})},
		{"space", "user", im(chatdm.IMOpenParams{User: " U1"})},
		{"line break", "user", im(chatdm.IMOpenParams{User: "U1\n"})},
		{"NUL", "user", im(chatdm.IMOpenParams{User: "U\x001"})},
		{"comma", "user", im(chatdm.IMOpenParams{User: "U1,U2"})},
		{"no-break space", "user", im(chatdm.IMOpenParams{User: "U1\u00a0"})},
		{"zero-width space", "user", im(chatdm.IMOpenParams{User: "U1\u200b"})},
		{"not UTF-8", "user", im(chatdm.IMOpenParams{User: "U1\xff"})},
		{"no channel", "channel", imClose("")},
		{"tab", "channel", imClose("D1\t")},
		{"no channel", "channel", convClose("")},
		{"comma", "channel", convClose("D1,D2")},
		{"nothing", "users", open(chatdm.ConversationsOpenParams{})},
		{"empty slice", "users", users()},
		{"empty id", "users[1]", users("U1", "")},
		{"comma in an id", "users[0]", users("U1,U2")},
		{"nine", "users", users(nine...)},
		{"both", "users, channel", open(chatdm.ConversationsOpenParams{Users: []string{"U1"}, Channel: "D1"})},
		{"bad channel", "channel", open(chatdm.ConversationsOpenParams{Channel: "D 1"})},
		{"limit below", "limit", list(chatdm.ConversationsListParams{Limit: -1})},
		{"limit above", "limit", list(chatdm.ConversationsListParams{Limit: 1001})},
		{"empty type", "types[0]", list(chatdm.ConversationsListParams{Types: []string{""}})},
		{"types in one", "types[0]", list(chatdm.ConversationsListParams{Types: []string{"im,mpim"}})},
		{"team", "team_id", list(chatdm.ConversationsListParams{TeamID: "T 1"})},
		{"no method", "method", callWith("", nil, nil)},
		{"leaves the root", "method", callWith("../oauth", nil, nil)},
		{"leaves the root, escaped", "method", callWith("%2e%2e", nil, nil)},
		{"dots", "method", callWith("..", nil, nil)},
		{"slash", "method", callWith("chat/postMessage", nil, nil)},
		{"backslash", "method", callWith(`chat\postMessage`, nil, nil)},
		{"query", "method", callWith("chat.postMessage?token=x", nil, nil)},
		{"host", "method", callWith("//example.com", nil, nil)},
		{"params are no struct", "params", callWith("auth.test", 7, nil)},
		{"params are a map", "params", callWith("auth.test", map[string]string{}, nil)},
		{"token in a struct", "params", callWith("auth.test", secret{"x"}, nil)},
		{"token in values", "params", callWith("auth.test", url.Values{"token": nil}, nil)},
		{"result is no pointer", "result", callWith("auth.test", nil, struct{}{})},
		{"result is a nil pointer", "result", callWith("auth.test", nil, (*struct{})(nil))},
	}
	for _, tt := range tests {
		t.Run(tt.field+" "+tt.name, func(t *testing.T) {
			s := newScript(ok)
			err := tt.call(t.Context(), newClient(t, s))
			e := wantError(t, err, chatdm.KindInvalidRequest)
			if e.Err == nil || !strings.HasPrefix(e.Err.Error(), tt.field+": ") {
				t.Errorf("the error does not name %s: %v", tt.field, err)
			}
			if s.sent() != 0 || e.Attempts != 0 || e.StatusCode != 0 {
				t.Errorf("%d requests were sent", s.sent())
			}
		})
	}
	t.Run("eight users are fine", func(t *testing.T) {
		if err := users(nine[:8]...)(t.Context(), newClient(t, newScript(ok))); err != nil {
			t.Error(err)
		}
	})
}

func TestNewClientRefuses(t *testing.T) {
	tests := []struct {
		name, token, field string
		opt                chatdm.Option
	}{
		{"empty token", "", "token", nil},
		{"line break in the token", "xoxb-secret\r\nX: y", "token", nil},
		{"space in the token", "xoxb-secret x", "token", nil},
		{"token outside ASCII", "xoxb-secrét", "token", nil},
		{"empty URL", "t", "WithBaseURL", chatdm.WithBaseURL("")},
		{"no scheme", "t", "WithBaseURL", chatdm.WithBaseURL("slack.com/api")},
		{"other scheme", "t", "WithBaseURL", chatdm.WithBaseURL("ftp://slack.com")},
		{"no host", "t", "WithBaseURL", chatdm.WithBaseURL("https:///api")},
		{"opaque", "t", "WithBaseURL", chatdm.WithBaseURL("https:slack.com")},
		{"password", "t", "WithBaseURL", chatdm.WithBaseURL("https://user:hunter22@slack.com/api")},
		{"query", "t", "WithBaseURL", chatdm.WithBaseURL("https://slack.com/api?x=1")},
		{"empty query", "t", "WithBaseURL", chatdm.WithBaseURL("https://slack.com/api?")},
		{"fragment", "t", "WithBaseURL", chatdm.WithBaseURL("https://slack.com/api#x")},
		{"empty fragment", "t", "WithBaseURL", chatdm.WithBaseURL("https://slack.com/api#")},
		{"dots", "t", "WithBaseURL", chatdm.WithBaseURL("https://slack.com/api/../x")},
		{"escaped slash", "t", "WithBaseURL", chatdm.WithBaseURL("https://slack.com/a%2fb")},
		{"control character", "t", "WithBaseURL", chatdm.WithBaseURL("https://slack.com/\x7f")},
		{"plain http", "t", "WithBaseURL", chatdm.WithBaseURL("http://slack.com/api")},
		{"plain http to what looks like loopback", "t", "WithBaseURL", chatdm.WithBaseURL("http://127.0.0.1.example.com")},
		{"timeout", "t", "WithTimeout", chatdm.WithTimeout(-1)},
		{"attempts", "t", "WithRetry", chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: -1})},
		{"base wait", "t", "WithRetry", chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: -1})},
		{"max wait", "t", "WithRetry", chatdm.WithRetry(chatdm.RetryPolicy{MaxWait: -1})},
		{"max retry after", "t", "WithRetry", chatdm.WithRetry(chatdm.RetryPolicy{MaxRetryAfter: -1})},
		{"no bytes", "t", "WithMaxResponseBytes", chatdm.WithMaxResponseBytes(0)},
		{"negative bytes", "t", "WithMaxResponseBytes", chatdm.WithMaxResponseBytes(-1)},
		{"user agent", "t", "WithUserAgent", chatdm.WithUserAgent("x\r\ny")},
		{"header name", "t", "WithHeader", chatdm.WithHeader("a b", "x")},
		{"empty header name", "t", "WithHeader", chatdm.WithHeader("", "x")},
		{"header value", "t", "WithHeader", chatdm.WithHeader("Cookie", "d=hunter22\n")},
		{"authorization", "t", "WithHeader", chatdm.WithHeader("authorization", "Bearer hunter22")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client, err := chatdm.NewClient(tt.token, tt.opt)
			if client != nil {
				t.Error("got a client with the error")
			}
			e := wantError(t, err, chatdm.KindInvalidRequest)
			if e.Service != "slack" || e.Method != "NewClient" || !strings.HasPrefix(e.Err.Error(), tt.field+": ") {
				t.Errorf("the error does not name %s: %v", tt.field, err)
			}
			for _, secret := range []string{"secr", "hunter22"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows a secret: %v", err)
				}
			}
		})
	}
}

func TestOptions(t *testing.T) {
	// nil in every place where a nil can be given
	client, err := chatdm.NewClient("t", nil, chatdm.WithHTTPClient(nil), chatdm.WithLogger(nil), chatdm.WithLimiter(nil))
	if err != nil || client == nil {
		t.Fatal(err)
	}

	bases := map[string]string{
		"https://slack-gov.com/api/": "https://slack-gov.com/api/conversations.close",
		"http://localhost:8080":      "http://localhost:8080/conversations.close",
		"http://127.0.0.9/x/":        "http://127.0.0.9/x/conversations.close",
		"http://[::1]:80/api":        "http://[::1]:80/api/conversations.close",
	}
	for base, want := range bases {
		var got string
		transport := httpmock.NewMockTransport()
		transport.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
			got = req.URL.String()
			return ok(req)
		})
		if _, err := newClient(t, transport, chatdm.WithBaseURL(base)).Conversations.Close(t.Context(), "D1"); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("WithBaseURL(%q) sends to %s, want %s", base, got, want)
		}
	}

	t.Run("order does not matter", func(t *testing.T) {
		for _, opts := range [][]chatdm.Option{
			{chatdm.WithInsecureHTTP(), chatdm.WithBaseURL("http://chat.example.org")},
			{chatdm.WithBaseURL("http://chat.example.org"), chatdm.WithInsecureHTTP()},
		} {
			if _, err := chatdm.NewClient("t", opts...); err != nil {
				t.Error(err)
			}
		}
	})

	t.Run("headers", func(t *testing.T) {
		var got http.Header
		transport := httpmock.NewMockTransport()
		transport.RegisterNoResponder(func(req *http.Request) (*http.Response, error) { got = req.Header; return ok(req) })
		client := newClient(t, transport, chatdm.WithUserAgent("mybot/2"), chatdm.WithUserAgent(""),
			chatdm.WithHeader("cookie", "d=1"), chatdm.WithHeader("X-Trace", "a"), chatdm.WithHeader("X-Trace", "b"))
		if _, err := client.Conversations.Close(t.Context(), "D1"); err != nil {
			t.Fatal(err)
		}
		if got.Get("User-Agent") != "mybot/2" || got.Get("Cookie") != "d=1" || len(got["X-Trace"]) != 1 || got.Get("X-Trace") != "b" {
			t.Errorf("sent %v", got)
		}
	})
}

// stall is a transport that answers only when its context ends.
type stall struct{ sent int }

func (s *stall) RoundTrip(req *http.Request) (*http.Response, error) {
	s.sent++
	<-req.Context().Done()
	return nil, context.Cause(req.Context())
}

// TestTimeout: which bound an attempt has, and what its end is.
func TestTimeout(t *testing.T) {
	tests := []struct {
		name string
		opts func(http.RoundTripper) []chatdm.Option
		want time.Duration
	}{
		{"default", func(rt http.RoundTripper) []chatdm.Option {
			return []chatdm.Option{chatdm.WithHTTPClient(&http.Client{Transport: rt})}
		}, 30 * time.Second},
		{"of the http.Client", func(rt http.RoundTripper) []chatdm.Option {
			return []chatdm.Option{chatdm.WithHTTPClient(&http.Client{Transport: rt, Timeout: 7 * time.Second})}
		}, 7 * time.Second},
		{"WithTimeout wins, whatever the order", func(rt http.RoundTripper) []chatdm.Option {
			return []chatdm.Option{chatdm.WithTimeout(3 * time.Second), chatdm.WithHTTPClient(&http.Client{Transport: rt, Timeout: 7 * time.Second})}
		}, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stall{}
				client, err := chatdm.NewClient("t", append(tt.opts(s), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))...)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				_, err = open(t.Context(), client)
				wantError(t, err, chatdm.KindUnavailable)
				if took := time.Since(start); took != tt.want {
					t.Errorf("took %v, want %v", took, tt.want)
				}
				if errors.Is(err, context.DeadlineExceeded) {
					t.Error("the attempt's timeout passes for a deadline of the caller's")
				}
				if timeout, ok := errors.AsType[net.Error](errors.Unwrap(err)); !ok || !timeout.Timeout() {
					t.Error("the cause is no timeout")
				}
			})
		})
	}
	t.Run("repeated like a lost connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &stall{}
			client := newClient(t, s, chatdm.WithTimeout(time.Second))
			_, err := open(t.Context(), client)
			if e := wantError(t, err, chatdm.KindUnavailable); e.Attempts != 4 || s.sent != 4 {
				t.Errorf("open: %d requests, want 4", s.sent)
			}
			s.sent = 0
			_, err = client.Call(t.Context(), "chat.postMessage", nil, nil)
			if e := wantError(t, err, chatdm.KindUnavailable); e.Attempts != 1 || s.sent != 1 {
				t.Errorf("Call: %d requests, want 1", s.sent)
			}
		})
	})
}

func TestCall(t *testing.T) {
	var got string
	transport := httpmock.NewMockTransport()
	transport.RegisterResponder("POST", "https://slack.com/api/chat.postMessage", func(req *http.Request) (*http.Response, error) {
		got = dump(req)
		return answer(200, `{"ok":true,"ts":"1503435956.000247","message":{"text":"hi"}}`, "X-Slack-Req-Id", "r1")(req)
	})
	client := newClient(t, transport)
	var result struct {
		TS      chatdm.Timestamp `json:"ts"`
		Message chatdm.Message   `json:"message"`
	}
	params := struct {
		Channel string `url:"channel"`
		Text    string `url:"text"`
	}{"D1", "hi & bye"}
	meta, err := client.Call(t.Context(), "chat.postMessage", params, &result)
	if err != nil {
		t.Fatal(err)
	}
	if meta.Method != "chat.postMessage" || meta.RequestID != "r1" || meta.Attempts != 1 {
		t.Errorf("meta = %+v", meta)
	}
	if result.TS != "1503435956.000247" || result.Message.Text != "hi" {
		t.Errorf("result = %+v", result)
	}
	if _, form, _ := strings.Cut(got, "\n\n"); form != "channel=D1&text=hi+%26+bye" {
		t.Errorf("form %q", form)
	}
	for _, params := range []any{nil, url.Values{}, struct{}{}, (*struct{ X string })(nil)} {
		if _, err := client.Call(t.Context(), "chat.postMessage", params, nil); err != nil {
			t.Errorf("params %#v: %v", params, err)
		}
		if _, form, _ := strings.Cut(got, "\n\n"); form != "" || !strings.Contains(got, "Content-Type: application/x-www-form-urlencoded\n") {
			t.Errorf("params %#v sent %q", params, got)
		}
	}

	t.Run("nothing of a failed attempt is left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(answer(429, `{"ok":false,"error":"ratelimited","text":"stale","warning":"stale"}`), answer(200, `{"ok":true}`))
			var result struct{ Text string }
			meta, err := newClient(t, s).Call(t.Context(), "x", nil, &result)
			if err != nil || result.Text != "" || meta.Warnings != nil || meta.Attempts != 2 {
				t.Errorf("got %+v, %+v, %v", result, meta, err)
			}
		})
	})
	t.Run("an answer that does not fit", func(t *testing.T) {
		var result struct{ TS int }
		meta, err := newClient(t, newScript(answer(200, `{"ok":true,"ts":"x"}`))).Call(t.Context(), "x", nil, &result)
		wantError(t, err, chatdm.KindUnexpectedResponse, chatdm.ErrEffectUnknown)
		if meta != nil || !strings.Contains(err.Error(), "has succeeded") {
			t.Errorf("got %+v, %v", meta, err)
		}
	})
}

// TestForms: the forms that the hot methods write by hand are, byte by byte,
// what go-querystring makes of the same params.
func TestForms(t *testing.T) {
	var sent string
	transport := httpmock.NewMockTransport()
	transport.RegisterNoResponder(func(req *http.Request) (*http.Response, error) {
		_, sent, _ = strings.Cut(dump(req), "\n\n")
		return ok(req)
	})
	client := newClient(t, transport)
	check := func(params any, call func() error) {
		t.Helper()
		values, err := query.Values(params)
		if err != nil {
			t.Fatal(err)
		}
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if want := values.Encode(); sent != want {
			t.Errorf("%+v: sent %q, want %q", params, sent, want)
		}
	}
	flags := []bool{false, true}
	for _, id := range []string{"U1", "a&b=c", "ü%+/?#", "'\"<>~*()!"} {
		for _, one := range flags {
			for _, other := range flags {
				im := chatdm.IMOpenParams{User: id, ReturnIM: one, IncludeLocale: other}
				check(im, func() error { _, err := client.IM.Open(t.Context(), im); return err })
				for _, p := range []chatdm.ConversationsOpenParams{
					{Users: []string{id}, ReturnIM: one, PreventCreation: other},
					{Users: []string{id, "U2", id}, ReturnIM: one, PreventCreation: other},
					{Channel: id, ReturnIM: one, PreventCreation: other},
				} {
					check(p, func() error { _, err := client.Conversations.Open(t.Context(), p); return err })
				}
			}
		}
		check(struct {
			Channel string `url:"channel"`
		}{id}, func() error { _, err := client.Conversations.Close(t.Context(), id); return err })
	}
}

func TestTimestamp(t *testing.T) {
	tests := map[chatdm.Timestamp]time.Time{
		"1442525627.000002":           time.Unix(1442525627, 2000).UTC(),
		"1442525627.000020":           time.Unix(1442525627, 20000).UTC(),
		"1442525627.5":                time.Unix(1442525627, 500000000).UTC(),
		"1442525627":                  time.Unix(1442525627, 0).UTC(),
		"0000000000.000000":           {},
		"":                            {},
		"abc":                         {},
		"-1.000000":                   {},
		"1442525627.0000021":          {},
		"1442525627.+00001":           {},
		"99999999999999999999.000000": {},
	}
	for ts, want := range tests {
		if got := ts.Time(); got != want {
			t.Errorf("Timestamp(%q).Time() = %v, want %v", ts, got, want)
		}
	}
}
