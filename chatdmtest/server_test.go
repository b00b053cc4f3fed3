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

// No test, and so no server that was closed, leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		s.Limit("im.close", 2, time.Minute)
		call := func(token string, wantRetry string) {
			t.Helper()
			got := send(t, s, request(t, s, token, "im.close", form, "channel=D1"))
			wantStatus, wantBody := 200, errorOf("channel_not_found")
			if wantRetry != "" {
				wantStatus, wantBody = 429, errorOf("ratelimited")
			}
			if got.status != wantStatus || got.body != wantBody || got.header.Get("Retry-After") != wantRetry {
				t.Errorf("status %d, Retry-After %q, body %s; want %d, %q, %s",
					got.status, got.header.Get("Retry-After"), got.body, wantStatus, wantRetry, wantBody)
			}
		}

		time.Sleep(time.Hour) // the window starts with the first call, not with the limit
		call(chatdmtest.BotToken, "")
		time.Sleep(10500 * time.Millisecond)
		call(chatdmtest.UserToken, "")
		call(chatdmtest.BotToken, "50")
		if got := post(t, s, "conversations.close", "channel=D1"); got != errorOf("channel_not_found") {
			t.Errorf("another method: %s", got)
		}
		time.Sleep(49499 * time.Millisecond)
		call(chatdmtest.BotToken, "1")
		time.Sleep(time.Millisecond)
		call(chatdmtest.BotToken, "")
		call(chatdmtest.UserToken, "")
		call(chatdmtest.BotToken, "60")

		s.Limit("im.close", 1, time.Second)
		call(chatdmtest.BotToken, "")
		call(chatdmtest.BotToken, "1")
		s.Limit("im.close", 0, time.Second)
		call(chatdmtest.BotToken, "")
		call(chatdmtest.BotToken, "")
	})
}

func TestFault(t *testing.T) {
	type want struct {
		status int
		header http.Header // these, where nil is absent
		body   string
	}
	json := []string{"application/json; charset=utf-8"}
	tests := []struct {
		name  string
		fault chatdmtest.Fault
		want  want
	}{
		{"nothing", chatdmtest.Fault{}, want{200, http.Header{"Content-Type": json}, `{"ok":true,"channel":{"id":"D000000001"}}`}},
		{"code", chatdmtest.Fault{Code: "team_added_to_org"}, want{200, http.Header{"Content-Type": json}, errorOf("team_added_to_org")}},
		{"code and status", chatdmtest.Fault{Code: "fatal_error", Status: 500}, want{500, http.Header{"Content-Type": json}, errorOf("fatal_error")}},
		{"ratelimited", chatdmtest.Fault{Code: "ratelimited"}, want{200, http.Header{"Retry-After": nil}, errorOf("ratelimited")}},
		{"missing_scope", chatdmtest.Fault{Code: "missing_scope"}, want{200, nil, `{"ok":false,"error":"missing_scope","needed":"im:write","provided":"identify"}`}},
		{"unknown_method", chatdmtest.Fault{Code: "unknown_method"}, want{200, nil, `{"ok":false,"error":"unknown_method","req_method":"im.open"}`}},
		{"method_deprecated", chatdmtest.Fault{Code: "method_deprecated"}, want{200, nil, `{"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. ` +
			`Please use conversations.open instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}`}},
		{"status", chatdmtest.Fault{Status: 503}, want{503, http.Header{"Content-Type": json}, ""}},
		{"body", chatdmtest.Fault{Body: `{"ok":tr`}, want{200, http.Header{"Content-Type": json}, `{"ok":tr`}},
		{"html", chatdmtest.Fault{Status: 502, Body: "<h1>Bad gateway</h1>", Header: http.Header{"Content-Type": {"text/html"}}}, want{502, http.Header{"Content-Type": {"text/html"}}, "<h1>Bad gateway</h1>"}},
		{"no type", chatdmtest.Fault{Code: "fatal_error", Header: http.Header{"content-type": nil, "X-Slack-Req-Id": {""}}}, want{200, http.Header{"Content-Type": nil, "X-Slack-Req-Id": nil}, errorOf("fatal_error")}},
		{"redirect", chatdmtest.Fault{Status: 307, Body: "moved", Header: http.Header{"Location": {"https://example.com/"}}}, want{307, http.Header{"Location": {"https://example.com/"}}, "moved"}},
		{"own answer, other header", chatdmtest.Fault{Header: http.Header{"X-Test": {"a", "b"}}}, want{200, http.Header{"X-Test": {"a", "b"}, "Content-Type": json}, `{"ok":true,"channel":{"id":"D000000001"}}`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSlack(t)
			s.Fail("im.open", 1, tt.fault)
			client := s.Client()
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			resp, err := client.Do(request(t, s, chatdmtest.BotToken, "im.open", form, "user=U0ALICE01"))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			checkBody(t, "im.open", string(body), tt.want.body)
			if resp.StatusCode != tt.want.status {
				t.Errorf("status %d, want %d", resp.StatusCode, tt.want.status)
			}
			for name, values := range tt.want.header {
				if got := resp.Header[name]; !slices.Equal(got, values) {
					t.Errorf("%s: %q, want %q", name, got, values)
				}
			}
			if got := s.Requests()[0].Status; got != tt.want.status {
				t.Errorf("logged status %d", got)
			}
		})
	}
}

// Without Apply, a fault takes the place of the call; with it, of the answer.
func TestFaultApply(t *testing.T) {
	s := newSlack(t)
	s.Fail("im.open", 1, chatdmtest.Fault{Code: "internal_error"})
	s.Fail("im.open", 1, chatdmtest.Fault{Code: "internal_error", Apply: true})
	s.Limit("im.open", 2, time.Hour)
	play(t, s, []step{
		{"", "im.open", "user=U0ALICE01", errorOf("internal_error")},
		{"", "conversations.open", "users=U0ALICE01&prevent_creation=true", errorOf("channel_not_found")},
		{"", "im.open", "user=U0ALICE01", errorOf("internal_error")},
		{"", "im.open", "user=U0ALICE01", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "im.open", "user=U0ALICE01", errorOf("ratelimited")}, // the second and the third call counted
	})
}

func TestFaultOrder(t *testing.T) {
	s := newSlack(t)
	s.Fail("im.close", 2, chatdmtest.Fault{Code: "first"})
	s.Fail("im.open", 0, chatdmtest.Fault{Code: "never"})
	s.Fail("", -1, chatdmtest.Fault{Code: "always"})
	s.Fail("im.close", 1, chatdmtest.Fault{Code: "hidden_by_always"})
	play(t, s, []step{
		{"", "im.open", "user=U0ALICE01", errorOf("always")},
		{"", "im.close", "", errorOf("first")},
		{"xoxb-wrong", "im.close", "", errorOf("first")},
		{"", "im.close", "", errorOf("always")},
		{"", "no.such", "", errorOf("always")},
	})
	s.ClearFaults()
	checkBody(t, "cleared", post(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"channel":{"id":"D000000001"}}`)
}

func TestCut(t *testing.T) {
	for _, inMemory := range []bool{false, true} {
		for _, tt := range []struct {
			at   chatdmtest.Point
			body string // what arrives; "-" if not even the header does
		}{
			{chatdmtest.BeforeHeader, "-"},
			{chatdmtest.InHeader, "-"},
			{chatdmtest.InBody, `{"ok":true,"channel"`},
		} {
			t.Run(fmt.Sprint(tt.at, " in memory ", inMemory), func(t *testing.T) {
				var opts []chatdmtest.Option
				if inMemory {
					opts = append(opts, chatdmtest.InMemory())
				}
				s := newSlack(t, opts...)
				s.Fail("im.open", 1, chatdmtest.Fault{Cut: tt.at, Apply: true})
				resp, err := s.Client().Do(request(t, s, chatdmtest.BotToken, "im.open", form, "user=U0ALICE01"))
				if tt.body == "-" {
					if err == nil {
						t.Errorf("got %v, want an error", resp)
					}
				} else {
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != tt.body {
						t.Errorf("body %q, %v, want %q", body, err, tt.body)
					}
				}
				if got := s.Requests()[0].Status; got != 0 {
					t.Errorf("logged status %d", got)
				}
				checkBody(t, "afterwards", post(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`)
			})
		}
	}
}

func TestCutEmptyBody(t *testing.T) {
	s := newSlack(t)
	s.Fail("im.open", 1, chatdmtest.Fault{Status: 503, Cut: chatdmtest.InBody})
	resp, err := s.Client().Do(request(t, s, chatdmtest.BotToken, "im.open", form, "user=U0ALICE01"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); resp.StatusCode != 503 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("status %d, body ends with %v", resp.StatusCode, err)
	}
	checkBody(t, "afterwards", post(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"channel":{"id":"D000000001"}}`)
}

// A stall lasts as long as the client has patience.
func TestStall(t *testing.T) {
	for _, at := range []chatdmtest.Point{chatdmtest.BeforeHeader, chatdmtest.InHeader, chatdmtest.InBody} {
		t.Run(string(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlack(t, chatdmtest.InMemory())
				s.Fail("im.open", 1, chatdmtest.Fault{Stall: at, Cut: chatdmtest.BeforeHeader})
				client := s.Client()
				client.Timeout = time.Hour
				start := time.Now()
				resp, err := client.Do(request(t, s, chatdmtest.BotToken, "im.open", form, "user=U0ALICE01"))
				if at == chatdmtest.InBody {
					if err != nil {
						t.Fatal(err)
					}
					var body []byte
					body, err = io.ReadAll(resp.Body)
					resp.Body.Close()
					if string(body) != `{"ok":false,"error` {
						t.Errorf("body %q", body)
					}
				}
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Hour {
					t.Errorf("%v after %v", err, time.Since(start))
				}
				checkBody(t, "afterwards", post(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"channel":{"id":"D000000001"}}`)
			})
		})
	}
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		s.Fail("im.open", -1, chatdmtest.Fault{Delay: time.Minute})
		start := time.Now()
		checkBody(t, "late", post(t, s, "im.open", "user=U0ALICE01"), `{"ok":true,"channel":{"id":"D000000001"}}`)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("answered after %v", d)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Client().Do(request(t, s, chatdmtest.BotToken, "im.open", form, "user=U0BOB0001").WithContext(ctx))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("impatient client: %v", err)
		}
		time.Sleep(time.Hour)
		for i, want := range []int{200, 0} {
			if got := s.Requests()[i].Status; got != want {
				t.Errorf("request %d: logged status %d, want %d", i, got, want)
			}
		}
	})
}

// Close ends what hangs. In the bubble, a goroutine that it left behind would
// fail the test.
func TestClose(t *testing.T) {
	tests := []struct {
		name string
		opts []chatdmtest.Option
	}{
		{"loopback", nil},
		{"in memory", []chatdmtest.Option{chatdmtest.InMemory()}},
	}
	for _, tt := range tests {
		body := func(t *testing.T) {
			s := chatdmtest.NewSlack(tt.opts...)
			post(t, s, "auth.test", "") // leaves an idle connection
			faults := []chatdmtest.Fault{
				{Stall: chatdmtest.BeforeHeader},
				{Stall: chatdmtest.InHeader},
				{Delay: time.Hour},
			}
			var clients sync.WaitGroup
			for _, fault := range faults {
				s.Fail("im.open", 1, fault)
				clients.Go(func() {
					resp, err := s.Client().Do(request(t, s, chatdmtest.BotToken, "im.open", form, "user=U0ALICE01"))
					if err == nil {
						resp.Body.Close()
						t.Error("a hanging request was answered")
					}
				})
			}
			for len(s.Requests()) < 1+len(faults) {
				runtime.Gosched()
			}
			s.Close()
			clients.Wait()
			s.Close()
			if _, err := s.Client().Do(request(t, s, chatdmtest.BotToken, "auth.test", form, "")); err == nil {
				t.Error("a closed server answered")
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			if tt.opts != nil {
				synctest.Test(t, body)
			} else {
				body(t)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		start := time.Now()
		s.Fail("im.open", 1, chatdmtest.Fault{Status: 503})
		post(t, s, "im.open?x=1", "user=U0ALICE01")
		time.Sleep(time.Second)
		elsewhere := request(t, s, "", "", "", "")
		elsewhere.URL.Path = "/elsewhere"
		send(t, s, elsewhere)

		log := s.Requests()
		if len(log) != 2 {
			t.Fatalf("%d requests", len(log))
		}
		r := log[0]
		if r.Method != "im.open" || r.HTTPMethod != "POST" || r.Path != "/api/im.open" || r.RawQuery != "x=1" ||
			string(r.Body) != "user=U0ALICE01" || r.Header.Get("Authorization") != "Bearer "+chatdmtest.BotToken ||
			!r.Time.Equal(start) || r.Status != 503 {
			t.Errorf("logged %+v", r)
		}
		if r := log[1]; r.Method != "" || r.Status != 404 || !r.Time.Equal(start.Add(time.Second)) {
			t.Errorf("logged %+v", r)
		}
		r.Header.Set("Authorization", "changed")
		r.Body[0] = 'X'
		if again := s.Requests()[0]; again.Header.Get("Authorization") == "changed" || again.Body[0] == 'X' {
			t.Error("the log was changed through a copy")
		}
		s.ResetRequests()
		if n := len(s.Requests()); n != 0 {
			t.Errorf("%d requests after reset", n)
		}
	})
}

func TestLargeBody(t *testing.T) {
	s := newSlack(t)
	s.Fail("", 1, chatdmtest.Fault{Code: "for_the_next"})
	if got := send(t, s, request(t, s, chatdmtest.BotToken, "api.test", form, "a="+strings.Repeat("x", 1<<20))); got.status != 413 {
		t.Errorf("status %d", got.status)
	}
	if n := len(s.Requests()[0].Body); n != 1<<20 {
		t.Errorf("kept %d bytes", n)
	}
	checkBody(t, "next", post(t, s, "api.test", ""), errorOf("for_the_next"))
}

func TestMounted(t *testing.T) {
	s := newSlack(t)
	outer := httptest.NewServer(s)
	defer outer.Close()
	get := func(path string) (int, error) {
		resp, err := outer.Client().Get(outer.URL + path)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	if status, err := get("/api/api.test"); status != 200 {
		t.Errorf("mounted: %d, %v", status, err)
	}

	// Without a connection to take over, a cut is an abort, and so is a stall
	// once it ends.
	aborted := func(r *http.Request) (abort bool) {
		defer func() { abort = recover() == http.ErrAbortHandler }()
		s.ServeHTTP(httptest.NewRecorder(), r)
		return false
	}
	s.Fail("api.test", 1, chatdmtest.Fault{Cut: chatdmtest.InBody})
	if !aborted(httptest.NewRequest("GET", "/api/api.test", nil)) {
		t.Error("a cut was answered")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Fail("api.test", 1, chatdmtest.Fault{Stall: chatdmtest.InBody})
	if !aborted(httptest.NewRequestWithContext(ctx, "GET", "/api/api.test", nil)) {
		t.Error("a stall was answered")
	}
	s.Close()
	if _, err := get("/api/api.test"); err == nil {
		t.Error("answered after Close")
	}
}

func TestInMemoryDial(t *testing.T) {
	s := chatdmtest.NewSlack(chatdmtest.InMemory())
	if s.URL != "http://localhost:0/api" {
		t.Errorf("URL %s", s.URL)
	}
	s.Close()
	if _, err := s.Client().Get(s.URL + "/api.test"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Everything at once, for the race detector.
func TestConcurrent(t *testing.T) {
	s := newSlack(t)
	people := []string{chatdmtest.Alice, chatdmtest.Bob, chatdmtest.Carol, chatdmtest.Dave}
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			token := []string{chatdmtest.BotToken, chatdmtest.UserToken}[i%2]
			for j := range 10 {
				person := people[(i+j)%len(people)]
				postAs(t, s, token, "conversations.open", "return_im=1&users="+person)
				postAs(t, s, token, "im.close", "channel=D000000001")
				postAs(t, s, token, "conversations.list", "types=im")
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
		t.Errorf("logged %d requests", n)
	}
	page := post(t, s, "conversations.list", "types=im")
	if n := strings.Count(page, `"is_im":true`); n != len(people) {
		t.Errorf("%d conversations with %d people: %s", n, len(people), page)
	}
}
