package conformance_test

import (
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// TestNewClientRejects: every constructor rejects values that cannot be right. The
// error names the argument or option, and shows no secret.
func TestNewClientRejects(t *testing.T) {
	constructors := []struct {
		service, name, url, token string // as errors call them
		construct                 func(url, token string, opts ...chatdm.Option) (any, error)
	}{
		{"slack", "NewClient", "WithBaseURL", "token", func(url, token string, opts ...chatdm.Option) (any, error) {
			return result(chatdm.NewClient(token, append(opts, chatdm.WithBaseURL(url))...))
		}},
		{"rocketchat", "NewClient", "serverURL", "AuthToken", func(url, token string, opts ...chatdm.Option) (any, error) {
			return result(rocketchat.NewClient(url, rocketchat.Credentials{UserID: "u1", AuthToken: token}, opts...))
		}},
		{"rocketchat", "NewClient", "serverURL", "UserID", func(url, user string, opts ...chatdm.Option) (any, error) {
			return result(rocketchat.NewClient(url, rocketchat.Credentials{UserID: user, AuthToken: "t"}, opts...))
		}},
		{"rocketchat", "login", "serverURL", "authToken", func(url, token string, opts ...chatdm.Option) (any, error) {
			return result(rocketchat.Resume(t.Context(), url, token, opts...))
		}},
		{"rocketchat", "login", "serverURL", "", func(url, _ string, opts ...chatdm.Option) (any, error) {
			return result(rocketchat.Login(t.Context(), url, "alice", "hunter22", opts...))
		}},
	}
	const good = "https://chat.example.org/api"
	type bad struct {
		url, token string
		opt        chatdm.Option
		field      string // "url" and "token" have a name of their own in each constructor
	}
	var tests []bad
	for _, url := range []string{
		"", "chat.example.org/api", "ftp://chat.example.org", "https:///api", "https:chat.example.org", "https://user:hunter22@chat.example.org/api",
		"https://chat.example.org/api?x=1", "https://chat.example.org/api#x", "https://chat.example.org/#", "https://chat.example.org/api/../x",
		"https://chat.example.org/a%2fb", "https://chat.example.org/\x7f", "http://chat.example.org/api", "http://127.0.0.1.example.com",
	} {
		tests = append(tests, bad{url, "t", nil, "url"})
	}
	for _, token := range []string{"", "hunter22\r\nX: y", "hunter22\n", "hunter22 x", "hunter22\x7f", "hunter22é"} {
		tests = append(tests, bad{good, token, nil, "token"})
	}
	for field, opts := range map[string][]chatdm.Option{
		"WithTimeout":          {chatdm.WithTimeout(-1)},
		"WithRetry":            {chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: -1}), chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: -1}), chatdm.WithRetry(chatdm.RetryPolicy{MaxWait: -1}), chatdm.WithRetry(chatdm.RetryPolicy{MaxRetryAfter: -1})},
		"WithMaxResponseBytes": {chatdm.WithMaxResponseBytes(0), chatdm.WithMaxResponseBytes(-1)},
		"WithUserAgent":        {chatdm.WithUserAgent("x\r\ny")},
		"WithHeader":           {chatdm.WithHeader("a b", "x"), chatdm.WithHeader("", "x"), chatdm.WithHeader("a:b", "x"), chatdm.WithHeader("a\x7f", "x"), chatdm.WithHeader("Cookie", "d=hunter22\n"), chatdm.WithHeader("authorization", "Bearer hunter22"), chatdm.WithHeader("idempotency-key", "x"), chatdm.WithHeader("X-Idempotency-Key", "x")},
	} {
		for _, opt := range opts {
			tests = append(tests, bad{good, "t", opt, field})
		}
	}
	for _, tt := range tests {
		for _, c := range constructors {
			field := tt.field
			switch {
			case field == "url":
				field = c.url
			case field == "token" && c.token == "":
				continue
			case field == "token":
				field = c.token
			}
			res, err := c.construct(tt.url, tt.token, tt.opt)
			e := wiretest.WantError(t, err, chatdm.KindInvalidRequest)
			if res != nil || e.Service != c.service || e.Method != c.name || !strings.HasPrefix(e.Err.Error(), field+": ") || strings.Contains(err.Error(), "hunter22") {
				t.Errorf("%s %s(%q, %q): got %v, %v, want an error that names %s and shows no secret", c.service, c.name, tt.url, tt.token, res, err, field)
			}
		}
	}

	// Values that only one of the two clients rejects.
	slack, rocket := constructors[0].construct, constructors[1].construct
	for _, tt := range []struct {
		field     string
		construct func() (any, error)
	}{
		{"WithBaseURL", func() (any, error) { return slack(good+"?", "t") }},
		{"WithBaseURL", func() (any, error) { return rocket(good, "t", chatdm.WithBaseURL(good)) }},
		{"WithTOTP", func() (any, error) { return slack(good, "t", rocketchat.WithTOTP("123456")) }},
		{"WithTOTP", func() (any, error) { return rocket(good, "t", rocketchat.WithTOTP("123456")) }},
		{"WithStrictIM", func() (any, error) { return rocket(good, "t", chatdm.WithStrictIM()) }},
		{"user", func() (any, error) { return result(rocketchat.Login(t.Context(), good, "", "hunter22")) }},
		{"password", func() (any, error) { return result(rocketchat.Login(t.Context(), good, "alice", "")) }},
	} {
		res, err := tt.construct()
		if e := wiretest.WantError(t, err, chatdm.KindInvalidRequest); res != nil || !strings.HasPrefix(e.Err.Error(), tt.field+": ") {
			t.Errorf("got %v, %v, want an error that names %s", res, err, tt.field)
		}
	}
}

// TestGoodOptions: what options and URLs make of a request.
func TestGoodOptions(t *testing.T) {
	nothing := []chatdm.Option{nil, chatdm.WithLogger(nil), chatdm.WithLimiter(nil), chatdm.WithUserAgent(""), chatdm.WithMaxResponseBytes(math.MaxInt64)}
	for _, tt := range []struct {
		method, url, want string
		opts              []chatdm.Option
	}{
		{"chatdm.ConversationsService.Close", "https://slack-gov.com/api/", "https://slack-gov.com/api/conversations.close", nothing},
		{"chatdm.ConversationsService.Close", "http://localhost:8080", "http://localhost:8080/conversations.close", nil},
		{"chatdm.ConversationsService.Close", "http://127.0.0.9/x/", "http://127.0.0.9/x/conversations.close", nil},
		{"chatdm.ConversationsService.Close", "http://[::1]:80/api", "http://[::1]:80/api/conversations.close", nil},
		{"chatdm.ConversationsService.Close", "http://chat.example.org", "http://chat.example.org/conversations.close", []chatdm.Option{chatdm.WithInsecureHTTP()}},
		{"rocketchat.IMService.Open", "https://chat.example.org", "https://chat.example.org/api/v1/im.open", nothing},
		{"rocketchat.IMService.Open", "https://chat.example.org/", "https://chat.example.org/api/v1/im.open", nil},
		{"rocketchat.IMService.Open", "https://chat.example.org/api/v1", "https://chat.example.org/api/v1/im.open", nil},
		{"rocketchat.IMService.Open", "https://chat.example.org/api/v1/", "https://chat.example.org/api/v1/im.open", nil},
		{"rocketchat.IMService.Open", "https://example.org/chat/api/v1/", "https://example.org/chat/api/v1/im.open", nil},
		{"rocketchat.IMService.Open", "http://[::1]:3000/", "http://[::1]:3000/api/v1/im.open", nil},
		{"rocketchat.IMService.Open", "https://api.example.org:8443/x/api/v11", "https://api.example.org:8443/x/api/v11/api/v1/im.open", nil},
		{"rocketchat.IMService.Open", "http://chat.example.org", "http://chat.example.org/api/v1/im.open", []chatdm.Option{chatdm.WithInsecureHTTP()}},
		{"rocketchat.Login", "https://chat.example.org/api/v1/", "https://chat.example.org/api/v1/login", nil},
	} {
		m := methods[tt.method]
		var got *http.Request
		record := func(req *http.Request) (*http.Response, error) {
			got = req.Clone(t.Context())
			return wiretest.Respond(200, m.success)(req)
		}
		opts := append(tt.opts, through(wiretest.NewScript(record)), chatdm.WithHeader("cookie", "d=1"), chatdm.WithHeader("X-Trace", "a"), chatdm.WithHeader("X-Trace", "b"))
		slices.Reverse(opts[len(opts)-3:]) // X-Trace "a" wins now
		if _, err := m.at(t, tt.url, opts...)(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got.URL.String() != tt.want || !strings.HasPrefix(got.UserAgent(), "chatdm/") || got.Header.Get("Cookie") != "d=1" || !slices.Equal(got.Header["X-Trace"], []string{"a"}) {
			t.Errorf("%q: got a request to %s with %v, want it to %s", tt.url, got.URL, got.Header, tt.want)
		}
		if _, err := m.at(t, tt.url, append(opts, chatdm.WithUserAgent("mybot/2"), chatdm.WithUserAgent(""))...)(t.Context()); err != nil || got.UserAgent() != "mybot/2" {
			t.Errorf("%q: got User-Agent %q, %v, want mybot/2", tt.url, got.UserAgent(), err)
		}
	}
}

// TestTimeout: which timeout an attempt has.
func TestTimeout(t *testing.T) {
	stalled := &http.Client{Transport: wiretest.NewScript(stall), Timeout: 7 * time.Second}
	for want, opts := range map[time.Duration][]chatdm.Option{
		30 * time.Second: {through(wiretest.NewScript(stall))},
		7 * time.Second:  {chatdm.WithHTTPClient(stalled)},
		3 * time.Second:  {chatdm.WithTimeout(3 * time.Second), chatdm.WithHTTPClient(stalled)}, // in any order
	} {
		eachPausing(t, func(t *testing.T, m method) {
			start := time.Now()
			_, err := m.at(t, "https://example.org", append(opts, once)...)(t.Context())
			if wiretest.WantError(t, err, chatdm.KindUnavailable); time.Since(start) != want {
				t.Errorf("got %v after %v, want it after %v", err, time.Since(start), want)
			}
		})
	}
}
