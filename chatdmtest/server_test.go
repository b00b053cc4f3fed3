package chatdmtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/chatdm/chatdm/chatdmtest"
)

// TestMain checks that closed servers leak no goroutines.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		s.Limit("im.close", 2, time.Minute)
		closeIM := func(token string, wantRetryAfter string) {
			t.Helper()
			got := send(t, s, newSlackRequest(t, s, token, "im.close", formType, "channel=D1"))
			wantStatus, wantBody := 200, slackError("channel_not_found")
			if wantRetryAfter != "" {
				wantStatus, wantBody = 429, slackError("ratelimited")
			}
			if got.status != wantStatus || got.body != wantBody || got.header.Get("Retry-After") != wantRetryAfter {
				t.Errorf("got status %d, Retry-After %q, body %s, want %d, %q, %s",
					got.status, got.header.Get("Retry-After"), got.body, wantStatus, wantRetryAfter, wantBody)
			}
		}

		time.Sleep(time.Hour) // the window starts with the first call, not with Limit
		closeIM(chatdmtest.BotToken, "")
		time.Sleep(10500 * time.Millisecond)
		closeIM(chatdmtest.UserToken, "")
		closeIM(chatdmtest.BotToken, "50")
		if got := postForm(t, s, "conversations.close", "channel=D1"); got != slackError("channel_not_found") {
			t.Errorf("method without a limit: got %s, want channel_not_found", got)
		}
		time.Sleep(49499 * time.Millisecond)
		closeIM(chatdmtest.BotToken, "1")
		time.Sleep(time.Millisecond)
		closeIM(chatdmtest.BotToken, "")
		closeIM(chatdmtest.UserToken, "")
		closeIM(chatdmtest.BotToken, "60")

		s.Limit("im.close", 1, time.Second)
		closeIM(chatdmtest.BotToken, "")
		closeIM(chatdmtest.BotToken, "1")
		s.Limit("im.close", 0, time.Second)
		closeIM(chatdmtest.BotToken, "")
		closeIM(chatdmtest.BotToken, "")
	})
}

func TestFault(t *testing.T) {
	type want struct {
		status int
		header http.Header // nil means that the field is absent
		body   string
	}
	jsonType := []string{"application/json; charset=utf-8"}
	tests := []struct {
		name  string
		fault chatdmtest.Fault
		want  want
	}{
		{"zero", chatdmtest.Fault{}, want{200, http.Header{"Content-Type": jsonType}, `{"ok":true,"channel":{"id":"D000000001"}}`}},
		{"code", chatdmtest.Fault{Code: "team_added_to_org"}, want{200, http.Header{"Content-Type": jsonType}, slackError("team_added_to_org")}},
		{"code and status", chatdmtest.Fault{Code: "fatal_error", Status: 500}, want{500, http.Header{"Content-Type": jsonType}, slackError("fatal_error")}},
		{"ratelimited", chatdmtest.Fault{Code: "ratelimited"}, want{200, http.Header{"Retry-After": nil}, slackError("ratelimited")}},
		{"missing_scope", chatdmtest.Fault{Code: "missing_scope"}, want{200, nil, `{"ok":false,"error":"missing_scope","needed":"im:write","provided":"identify"}`}},
		{"unknown_method", chatdmtest.Fault{Code: "unknown_method"}, want{200, nil, `{"ok":false,"error":"unknown_method","req_method":"im.open"}`}},
		{"method_deprecated", chatdmtest.Fault{Code: "method_deprecated"}, want{200, nil, `{"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. ` +
			`Please use conversations.open instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}`}},
		{"status", chatdmtest.Fault{Status: 503}, want{503, http.Header{"Content-Type": jsonType}, ""}},
		{"body", chatdmtest.Fault{Body: `{"ok":tr`}, want{200, http.Header{"Content-Type": jsonType}, `{"ok":tr`}},
		{"html", chatdmtest.Fault{Status: 502, Body: "<h1>Bad gateway</h1>", Header: http.Header{"Content-Type": {"text/html"}}}, want{502, http.Header{"Content-Type": {"text/html"}}, "<h1>Bad gateway</h1>"}},
		{"no content type", chatdmtest.Fault{Code: "fatal_error", Header: http.Header{"content-type": nil, "X-Slack-Req-Id": {""}}}, want{200, http.Header{"Content-Type": nil, "X-Slack-Req-Id": nil}, slackError("fatal_error")}},
		{"redirect", chatdmtest.Fault{Status: 307, Body: "moved", Header: http.Header{"Location": {"https://example.com/"}}}, want{307, http.Header{"Location": {"https://example.com/"}}, "moved"}},
		{"only header", chatdmtest.Fault{Header: http.Header{"X-Test": {"a", "b"}}}, want{200, http.Header{"X-Test": {"a", "b"}, "Content-Type": jsonType}, `{"ok":true,"channel":{"id":"D000000001"}}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSlack(t)
			s.Fail("im.open", 1, tt.fault)
			client := s.Client()
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			resp, err := client.Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0ALICE01"))
			if err != nil {
				t.Fatal(err)
			}
			got := readResponse(t, resp)
			checkBody(t, "im.open", got.body, tt.want.body)
			if got.status != tt.want.status {
				t.Errorf("got status %d, want %d", got.status, tt.want.status)
			}
			for name, values := range tt.want.header {
				if got := got.header[name]; !slices.Equal(got, values) {
					t.Errorf("got header %s %q, want %q", name, got, values)
				}
			}
			if got := s.Requests()[0].Status; got != tt.want.status {
				t.Errorf("got logged status %d, want %d", got, tt.want.status)
			}
		})
	}
}

// Without Apply, the method does not run. With Apply, it runs and its response is
// replaced.
func TestFaultApply(t *testing.T) {
	s := newSlack(t)
	s.Fail("im.open", 1, chatdmtest.Fault{Code: "internal_error"})
	s.Fail("im.open", 1, chatdmtest.Fault{Code: "internal_error", Apply: true})
	s.Limit("im.open", 2, time.Hour)
	runSlackSteps(t, s, []slackStep{
		{"", "im.open", "user=U0ALICE01", slackError("internal_error")},
		{"", "conversations.open", "users=U0ALICE01&prevent_creation=true", slackError("channel_not_found")},
		{"", "im.open", "user=U0ALICE01", slackError("internal_error")},
		{"", "im.open", "user=U0ALICE01", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "im.open", "user=U0ALICE01", slackError("ratelimited")}, // steps 3 and 4 used up the limit
	})
}

func TestFaultOrder(t *testing.T) {
	s := newSlack(t)
	s.Fail("im.close", 2, chatdmtest.Fault{Code: "first"})
	s.Fail("im.open", 0, chatdmtest.Fault{Code: "never"})
	s.Fail("", -1, chatdmtest.Fault{Code: "always"})
	s.Fail("im.close", 1, chatdmtest.Fault{Code: "never_used"})
	runSlackSteps(t, s, []slackStep{
		{"", "im.open", "user=U0ALICE01", slackError("always")},
		{"", "im.close", "", slackError("first")},
		{"xoxb-wrong", "im.close", "", slackError("first")},
		{"", "im.close", "", slackError("always")},
		{"", "no.such", "", slackError("always")},
	})
	s.ClearFaults()
	checkBody(t, "after ClearFaults", postForm(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"channel":{"id":"D000000001"}}`)
}

func TestCut(t *testing.T) {
	for _, inMemory := range []bool{false, true} {
		for _, tt := range []struct {
			cut  chatdmtest.Point
			body string // the part that the client receives; "-" means that it receives no header
		}{
			{chatdmtest.BeforeHeader, "-"},
			{chatdmtest.InHeader, "-"},
			{chatdmtest.InBody, `{"ok":true,"channel"`},
		} {
			t.Run(fmt.Sprint(tt.cut, " in memory ", inMemory), func(t *testing.T) {
				var opts []chatdmtest.Option
				if inMemory {
					opts = append(opts, chatdmtest.InMemory())
				}
				s := newSlack(t, opts...)
				s.Fail("im.open", 1, chatdmtest.Fault{Cut: tt.cut, Apply: true})
				resp, err := s.Client().Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0ALICE01"))
				if tt.body == "-" {
					if err == nil {
						t.Errorf("got %v, want an error", resp)
					}
				} else {
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != tt.body {
						t.Errorf("got body %q, error %v, want %q, %v", body, err, tt.body, io.ErrUnexpectedEOF)
					}
				}
				if got := s.Requests()[0].Status; got != 0 {
					t.Errorf("got logged status %d, want 0", got)
				}
				checkBody(t, "next request", postForm(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`)
			})
		}
	}
}

func TestCutEmptyBody(t *testing.T) {
	s := newSlack(t)
	s.Fail("im.open", 1, chatdmtest.Fault{Status: 503, Cut: chatdmtest.InBody})
	resp, err := s.Client().Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0ALICE01"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); resp.StatusCode != 503 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got status %d, error %v, want 503, %v", resp.StatusCode, err, io.ErrUnexpectedEOF)
	}
	checkBody(t, "next request", postForm(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"channel":{"id":"D000000001"}}`)
}

// A stall lasts until the client times out.
func TestStall(t *testing.T) {
	for _, stall := range []chatdmtest.Point{chatdmtest.BeforeHeader, chatdmtest.InHeader, chatdmtest.InBody} {
		t.Run(string(stall), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlack(t, chatdmtest.InMemory())
				s.Fail("im.open", 1, chatdmtest.Fault{Stall: stall, Cut: chatdmtest.BeforeHeader})
				client := s.Client()
				client.Timeout = time.Hour
				start := time.Now()
				resp, err := client.Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0ALICE01"))
				if stall == chatdmtest.InBody {
					if err != nil {
						t.Fatal(err)
					}
					var body []byte
					body, err = io.ReadAll(resp.Body)
					resp.Body.Close()
					if string(body) != `{"ok":false,"error` {
						t.Errorf("got body %q, want half of the body", body)
					}
				}
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour {
					t.Errorf("got error %v after %v, want %v after 1h", err, time.Since(start), context.DeadlineExceeded)
				}
				checkBody(t, "next request", postForm(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"channel":{"id":"D000000001"}}`)
			})
		})
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		s.Fail("im.open", -1, chatdmtest.Fault{Delay: time.Minute})
		start := time.Now()
		checkBody(t, "delayed", postForm(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"channel":{"id":"D000000001"}}`)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("got a response after %v, want 1m", d)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Client().Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0BOB0001").WithContext(ctx))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("client with a timeout: got %v, want %v", err, context.DeadlineExceeded)
		}
		time.Sleep(time.Hour)
		for i, want := range []int{200, 0} {
			if got := s.Requests()[i].Status; got != want {
				t.Errorf("request %d: got logged status %d, want %d", i, got, want)
			}
		}
	})
}

// Close ends stalled and delayed responses. In the bubble, a leaked goroutine fails
// the test.
func TestClose(t *testing.T) {
	tests := []struct {
		name string
		opts []chatdmtest.Option
	}{
		{"loopback", nil},
		{"in memory", []chatdmtest.Option{chatdmtest.InMemory()}},
	}
	for _, tt := range tests {
		testClose := func(t *testing.T) {
			s := chatdmtest.NewSlack(tt.opts...)
			postForm(t, s, "auth.test", "") // leaves an idle connection
			faults := []chatdmtest.Fault{
				{Stall: chatdmtest.BeforeHeader},
				{Stall: chatdmtest.InHeader},
				{Delay: time.Hour},
			}
			var clients sync.WaitGroup
			for _, fault := range faults {
				s.Fail("im.open", 1, fault)
				clients.Go(func() {
					resp, err := s.Client().Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0ALICE01"))
					if err == nil {
						resp.Body.Close()
						t.Error("stalled or delayed request: got a response, want an error")
					}
				})
			}
			for len(s.Requests()) < 1+len(faults) {
				runtime.Gosched()
			}
			s.Close()
			clients.Wait()
			s.Close()
			if _, err := s.Client().Do(newSlackRequest(t, s, chatdmtest.BotToken, "auth.test", formType, "")); err == nil {
				t.Error("after Close: got a response, want an error")
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			if tt.opts != nil {
				synctest.Test(t, testClose)
			} else {
				testClose(t)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		start := time.Now()
		s.Fail("im.open", 1, chatdmtest.Fault{Status: 503})
		postForm(t, s, "im.open?x=1", "user=U0ALICE01")
		time.Sleep(time.Second)
		outsideAPI := newSlackRequest(t, s, "", "", "", "")
		outsideAPI.URL.Path = "/elsewhere"
		send(t, s, outsideAPI)

		requests := s.Requests()
		if len(requests) != 2 {
			t.Fatalf("got %d requests, want 2", len(requests))
		}
		r := requests[0]
		if r.Method != "im.open" || r.HTTPMethod != "POST" || r.Path != "/api/im.open" || r.RawQuery != "x=1" ||
			string(r.Body) != "user=U0ALICE01" || r.Header.Get("Authorization") != "Bearer "+chatdmtest.BotToken ||
			!r.Time.Equal(start) || r.Status != 503 {
			t.Errorf("got first request %+v, want im.open with status 503", r)
		}
		if r := requests[1]; r.Method != "" || r.Status != 404 || !r.Time.Equal(start.Add(time.Second)) {
			t.Errorf("got second request %+v, want status 404 outside the API", r)
		}
		r.Header.Set("Authorization", "changed")
		r.Body[0] = 'X'
		if again := s.Requests()[0]; again.Header.Get("Authorization") == "changed" || again.Body[0] == 'X' {
			t.Errorf("after changing the returned request: got %+v, want it unchanged", again)
		}
		s.ResetRequests()
		if n := len(s.Requests()); n != 0 {
			t.Errorf("after ResetRequests: got %d requests, want 0", n)
		}
	})
}

func TestLargeBody(t *testing.T) {
	s := newSlack(t)
	s.Fail("", 1, chatdmtest.Fault{Code: "unused"})
	if got := send(t, s, newSlackRequest(t, s, chatdmtest.BotToken, "api.test", formType, "a="+strings.Repeat("x", 1<<20))); got.status != 413 {
		t.Errorf("got status %d, want 413", got.status)
	}
	if n := len(s.Requests()[0].Body); n != 1<<20 {
		t.Errorf("got a logged body of %d bytes, want %d", n, 1<<20)
	}
	checkBody(t, "next request", postForm(t, s, "api.test", ""), slackError("unused"))
}

func TestServeHTTP(t *testing.T) {
	s := newSlack(t)
	server := httptest.NewServer(s)
	defer server.Close()
	getStatus := func(path string) (int, error) {
		resp, err := server.Client().Get(server.URL + path)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	if status, err := getStatus("/api/api.test"); status != 200 {
		t.Errorf("got status %d, error %v, want 200", status, err)
	}

	// If the connection cannot be hijacked, the server aborts the request. It aborts a
	// cut immediately, and a stall after the client has disconnected.
	aborts := func(r *http.Request) (aborted bool) {
		defer func() { aborted = recover() == http.ErrAbortHandler }()
		s.ServeHTTP(httptest.NewRecorder(), r)
		return false
	}
	s.Fail("api.test", 1, chatdmtest.Fault{Cut: chatdmtest.InBody})
	if !aborts(httptest.NewRequest("GET", "/api/api.test", nil)) {
		t.Error("Cut: got a response, want an abort")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Fail("api.test", 1, chatdmtest.Fault{Stall: chatdmtest.InBody})
	if !aborts(httptest.NewRequestWithContext(ctx, "GET", "/api/api.test", nil)) {
		t.Error("Stall: got a response, want an abort")
	}
	s.Close()
	if _, err := getStatus("/api/api.test"); err == nil {
		t.Error("after Close: got a response, want an error")
	}
}

func TestInMemory(t *testing.T) {
	s := chatdmtest.NewSlack(chatdmtest.InMemory())
	if s.URL != "http://localhost:0/api" {
		t.Errorf("got URL %s, want http://localhost:0/api", s.URL)
	}
	s.Close()
	if _, err := s.Client().Get(s.URL + "/api.test"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: got %v, want %v", err, net.ErrClosed)
	}
}

// Run this test with -race to find data races.
func TestSlackConcurrency(t *testing.T) {
	s := newSlack(t)
	people := []string{chatdmtest.Alice, chatdmtest.Bob, chatdmtest.Carol, chatdmtest.Dave}
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			token := []string{chatdmtest.BotToken, chatdmtest.UserToken}[i%2]
			for j := range 10 {
				person := people[(i+j)%len(people)]
				postFormAs(t, s, token, "conversations.open", "return_im=1&users="+person)
				postFormAs(t, s, token, "im.close", "channel=D000000001")
				postFormAs(t, s, token, "conversations.list", "types=im")
				s.Fail("im.close", 1, chatdmtest.Fault{Code: "fatal_error"})
				s.Limit("im.open", j, time.Minute)
				s.RetireIM(j%2 == 0)
				s.AddUser(chatdmtest.User{ID: chatdmtest.HiddenUser})
				s.AddChannel(chatdmtest.Channel{ID: fmt.Sprint("C0", i), Name: "a"})
				s.AddToken(chatdmtest.Token{Value: fmt.Sprint("xoxb-", i), User: person})
				s.Requests()
			}
		})
	}
	callers.Wait()
	if n := len(s.Requests()); n != 16*10*3 {
		t.Errorf("got %d requests, want %d", n, 16*10*3)
	}
	page := postForm(t, s, "conversations.list", "types=im")
	if n := strings.Count(page, `"is_im":true`); n != len(people) {
		t.Errorf("got %d DMs, want %d: %s", n, len(people), page)
	}
}

// The method runs ApplyAfter after the request, regardless of the client.
func TestFaultApplyAfter(t *testing.T) {
	const applyAfter = 10 * time.Second
	opened := `{"ok":true,"channel":{"id":"D000000001"}}`
	tests := []struct {
		name    string
		fault   chatdmtest.Fault
		timeout time.Duration // of the client; 0 means none
		after   time.Duration // when the client has a response or an error
		want    string        // body; empty means an error
		status  int           // logged
	}{
		{"own response", chatdmtest.Fault{}, 0, applyAfter, opened, 200},
		{"header", chatdmtest.Fault{Header: http.Header{"X-Test": {"a"}}}, 0, applyAfter, opened, 200},
		{"apply", chatdmtest.Fault{Apply: true}, 0, applyAfter, opened, 200},
		{"delay", chatdmtest.Fault{Delay: time.Second}, 0, applyAfter + time.Second, opened, 200},
		{"client gives up", chatdmtest.Fault{}, time.Second, time.Second, "", 0},
		{"client gives up during the delay", chatdmtest.Fault{Delay: time.Minute}, 20 * time.Second, 20 * time.Second, "", 0},
		{"code", chatdmtest.Fault{Code: "internal_error"}, 0, 0, slackError("internal_error"), 200},
		{"apply and code", chatdmtest.Fault{Apply: true, Code: "internal_error"}, 0, 0, slackError("internal_error"), 200},
		{"code and delay", chatdmtest.Fault{Code: "internal_error", Delay: time.Second}, 0, time.Second, slackError("internal_error"), 200},
		{"status and body", chatdmtest.Fault{Status: 502, Body: "bad gateway"}, 0, 0, "bad gateway", 502},
		{"cut", chatdmtest.Fault{Cut: chatdmtest.BeforeHeader}, 0, 0, "", 0},
		{"cut after a delay", chatdmtest.Fault{Cut: chatdmtest.InHeader, Delay: time.Second}, 0, time.Second, "", 0},
		{"stall", chatdmtest.Fault{Stall: chatdmtest.BeforeHeader}, time.Second, time.Second, "", 0},
		{"stall past the effect", chatdmtest.Fault{Stall: chatdmtest.BeforeHeader}, time.Minute, time.Minute, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlack(t, chatdmtest.InMemory())
				tt.fault.ApplyAfter = applyAfter
				s.Fail("im.open", 1, tt.fault)
				start := time.Now()
				applied := func() bool {
					got := postForm(t, s, "conversations.open", "users=U0ALICE01&prevent_creation=true")
					return got != slackError("channel_not_found")
				}
				var watcher sync.WaitGroup
				watcher.Go(func() {
					time.Sleep(applyAfter - time.Nanosecond)
					if applied() {
						t.Error("before ApplyAfter: the call has taken effect")
					}
					time.Sleep(2 * time.Nanosecond)
					if !applied() {
						t.Error("after ApplyAfter: the call has not taken effect")
					}
				})
				client := s.Client()
				client.Timeout = tt.timeout
				resp, err := client.Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0ALICE01"))
				var body string
				if err == nil {
					body = readResponse(t, resp).body
				}
				if d := time.Since(start); d != tt.after || body != tt.want || (err != nil) != (tt.want == "") {
					t.Errorf("got %q, %v after %v, want %q after %v", body, err, d, tt.want, tt.after)
				}
				watcher.Wait()
				synctest.Wait()
				if got := s.Requests()[0].Status; got != tt.status {
					t.Errorf("got logged status %d, want %d", got, tt.status)
				}
			})
		})
	}
}

// Close drops late calls and the responses that wait for them.
func TestCloseDropsLateCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := chatdmtest.NewSlack(chatdmtest.InMemory())
		s.Fail("chat.postMessage", 1, chatdmtest.Fault{ApplyAfter: time.Hour, Code: "internal_error"})
		s.Fail("chat.postMessage", 1, chatdmtest.Fault{ApplyAfter: time.Hour})
		postForm(t, s, "im.open", "user=U0ALICE01")
		checkBody(t, "replaced response", postForm(t, s, "chat.postMessage", "channel=D000000001&text=1"), slackError("internal_error"))
		var client sync.WaitGroup
		client.Go(func() {
			resp, err := s.Client().Do(newSlackRequest(t, s, chatdmtest.BotToken, "chat.postMessage", formType, "channel=D000000001&text=2"))
			if err == nil {
				resp.Body.Close()
				t.Error("waiting response: got a response, want an error")
			}
		})
		synctest.Wait()
		start := time.Now()
		s.Close()
		client.Wait()
		if d := time.Since(start); d != 0 {
			t.Errorf("Close took %v, want 0", d)
		}
		time.Sleep(2 * time.Hour)
		if got := s.Messages("D000000001"); got != nil {
			t.Errorf("got %+v, want no messages", got)
		}
	})
}

// A late call works on Rocket.Chat too. Its rate limit counts when the method runs.
func TestRocketChatApplyAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := chatdmtest.NewRocketChat(chatdmtest.InMemory())
		defer s.Close()
		s.Limit("im.create", 1, time.Minute)
		s.Fail("im.create", 1, chatdmtest.Fault{ApplyAfter: time.Minute, Cut: chatdmtest.BeforeHeader})
		create := func() (httpResponse, error) {
			r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/api/v1/im.create", strings.NewReader(`{"username":"alice"}`))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-User-Id", chatdmtest.RocketChatMemberID)
			r.Header.Set("X-Auth-Token", chatdmtest.RocketChatMemberToken)
			resp, err := s.Client().Do(r)
			if err != nil {
				return httpResponse{}, err
			}
			return readResponse(t, resp), nil
		}
		if got, err := create(); err == nil {
			t.Errorf("got %+v, want an error", got)
		}
		time.Sleep(time.Minute + time.Second)
		if got, err := create(); err != nil || got.status != 429 {
			t.Errorf("after the late call: got %+v, %v, want status 429", got, err)
		}
	})
}

// TestMemoryStore runs the test that the example of TestTokenStore shows.
func TestMemoryStore(t *testing.T) { testMemoryStore(t) }
