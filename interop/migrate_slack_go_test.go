// The code of docs/migrate-slack-go.md: each block on that page is part of this
// file.

package interop_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// workspace returns a fake Slack and a client of each library. The clients share
// nothing.
func workspace() (*chatdmtest.Slack, *slack.Client, *chatdm.Client) {
	server := chatdmtest.NewSlack()
	api := slack.New(chatdmtest.BotToken, slack.OptionAPIURL(server.URL+"/"))
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(server.URL),
		chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: time.Millisecond}))
	check(err)
	return server, api, client
}

// check panics if err is not nil. Examples have no other way to report it.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func lifeBefore(ctx context.Context, api *slack.Client, user string) error {
	channel, noOp, alreadyOpen, err := api.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{user}})
	if err != nil {
		return err
	}
	fmt.Println("opened", channel.ID, noOp, alreadyOpen)
	noOp, alreadyClosed, err := api.CloseConversationContext(ctx, channel.ID)
	if err != nil {
		return err
	}
	fmt.Println("closed", channel.ID, noOp, alreadyClosed)
	return nil
}

func lifeAfter(ctx context.Context, client *chatdm.Client, user string) error {
	opened, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user}})
	if err != nil {
		return err
	}
	fmt.Println("opened", opened.Channel.ID, opened.NoOp, opened.AlreadyOpen)
	closed, err := client.Conversations.Close(ctx, opened.Channel.ID)
	if err != nil {
		return err
	}
	fmt.Println("closed", opened.Channel.ID, closed.NoOp, closed.AlreadyClosed)
	return nil
}

func Example_slackGoLife() {
	ctx := context.Background()
	server, api, client := workspace()
	defer server.Close()

	check(lifeBefore(ctx, api, chatdmtest.Alice))
	check(lifeAfter(ctx, client, chatdmtest.Alice))

	// Output:
	// opened D000000001 false false
	// closed D000000001 false false
	// opened D000000001 false false
	// closed D000000001 false false
}

func listBefore(ctx context.Context, api *slack.Client, limit int) error {
	params := &slack.GetConversationsParameters{Types: []string{"im", "mpim"}, Limit: limit}
	for {
		channels, next, err := api.GetConversationsContext(ctx, params)
		if err != nil {
			return err
		}
		for _, channel := range channels {
			fmt.Println(channel.ID, channel.IsMpIM)
		}
		if next == "" {
			return nil
		}
		params.Cursor = next
	}
}

func listAfter(ctx context.Context, client *chatdm.Client, limit int) error {
	params := chatdm.ConversationsListParams{Types: []string{"im", "mpim"}, Limit: limit}
	for channel, err := range client.Conversations.List(ctx, params) {
		if err != nil {
			return err
		}
		fmt.Println(channel.ID, channel.IsMPIM)
	}
	return nil
}

func Example_slackGoList() {
	ctx := context.Background()
	server, api, client := workspace()
	defer server.Close()
	for _, users := range [][]string{{chatdmtest.Alice}, {chatdmtest.Alice, chatdmtest.Bob}, {chatdmtest.Bob}} {
		_, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: users})
		check(err)
	}
	server.ResetRequests()

	check(listBefore(ctx, api, 2))
	check(listAfter(ctx, client, 2))
	fmt.Println(len(server.Requests()), "requests")

	// Output:
	// D000000001 false
	// C000000001 true
	// D000000002 false
	// D000000001 false
	// C000000001 true
	// D000000002 false
	// 4 requests
}

func outcomeBefore(err error) string {
	var limited *slack.RateLimitedError
	var status slack.StatusCodeError
	var response slack.SlackErrorResponse
	switch {
	case err == nil:
		return "done"
	case err.Error() == "channel_not_found", err.Error() == "user_disabled":
		return "remove it from the list"
	case errors.As(err, &limited):
		return "try again in " + limited.RetryAfter.String()
	case errors.As(err, &status) && status.Code >= 500, err.Error() == "internal_error":
		return "try again later"
	case errors.As(err, &response) && response.Err == "missing_scope":
		return "alert the operator: missing_scope [" + response.Needed + "]"
	}
	return "report a bug"
}

func outcomeAfter(err error) string {
	e, _ := errors.AsType[*chatdm.Error](err)
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, chatdm.ErrEffectUnknown):
		return "check what happened"
	case errors.Is(err, chatdm.KindNotFound), errors.Is(err, chatdm.KindUnreachable):
		return "remove it from the list"
	case errors.Is(err, chatdm.KindRateLimited):
		return "try again in " + e.RetryAfter.String()
	case errors.Is(err, chatdm.KindUnavailable):
		return "try again later"
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied):
		return fmt.Sprint("alert the operator: ", e.Code, " ", e.Needed)
	case errors.Is(err, chatdm.KindCanceled):
		return "stop: your context ended"
	}
	return "report a bug"
}

// code returns the Slack error code of an error of either client.
func code(err error) string {
	if e, ok := errors.AsType[*chatdm.Error](err); ok {
		return string(e.Code)
	}
	if e, ok := errors.AsType[slack.SlackErrorResponse](err); ok {
		return e.Err
	}
	return ""
}

func Example_slackGoErrors() {
	ctx := context.Background()
	server, api, client := workspace()
	defer server.Close()
	compare := func(name string, f chatdmtest.Fault) {
		server.Fail("conversations.close", -1, f)
		defer server.ClearFaults()
		_, _, before := api.CloseConversationContext(ctx, "D404")
		_, after := client.Conversations.Close(ctx, "D404")
		fmt.Printf("%s: %s | %s\n", name, outcomeBefore(before), outcomeAfter(after))
		if a, b := code(before), code(after); a != b {
			fmt.Printf("\tcodes: %q | %q\n", a, b)
		}
	}
	compare("unknown channel", chatdmtest.Fault{Code: "channel_not_found"})
	compare("disabled user", chatdmtest.Fault{Code: "user_disabled"})
	compare("no scope", chatdmtest.Fault{Body: `{"ok":false,"error":"missing_scope","needed":"im:write","provided":"chat:write"}`})
	compare("internal error", chatdmtest.Fault{Code: "internal_error"})
	compare("503", chatdmtest.Fault{Status: http.StatusServiceUnavailable})
	compare("lost connection", chatdmtest.Fault{Cut: chatdmtest.BeforeHeader})
	compare("limited", chatdmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"3600"}}}) // last, because it pauses the method

	// Output:
	// unknown channel: remove it from the list | remove it from the list
	// disabled user: remove it from the list | remove it from the list
	// no scope: alert the operator: missing_scope [im:write] | alert the operator: missing_scope [im:write]
	// internal error: try again later | try again later
	// 503: try again later | try again later
	// lost connection: report a bug | try again later
	// limited: try again in 1h0m0s | try again in 1h0m0s
	// 	codes: "" | "ratelimited"
}

// paced makes slack-go wait for the limiter of chatdm.
type paced struct {
	client  *http.Client
	limiter chatdm.Limiter
}

func (p paced) Do(req *http.Request) (*http.Response, error) {
	method, ok := strings.CutPrefix(req.URL.Path, "/api/")
	if !ok { // a file upload; rate limits apply to methods
		return p.client.Do(req)
	}
	key := "slack." + method
	if err := p.limiter.Wait(req.Context(), key); err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		seconds = min(max(seconds, 1), 3600) // the header may be invalid
		p.limiter.Limited(req.Context(), key, time.Duration(seconds)*time.Second)
	}
	return resp, err
}

func bothClients(root, token string, shared *http.Client, limiter chatdm.Limiter) (*slack.Client, *chatdm.Client, error) {
	api := slack.New(token, slack.OptionAPIURL(root+"/"), slack.OptionHTTPClient(paced{shared, limiter}),
		slack.OptionRetry(3)) // after OptionHTTPClient, so that each attempt waits for the limiter
	client, err := chatdm.NewClient(token, chatdm.WithBaseURL(root), chatdm.WithHTTPClient(shared), chatdm.WithLimiter(limiter))
	return api, client, err
}

func Example_slackGoBoth() {
	ctx := context.Background()
	server := chatdmtest.NewSlack()
	defer server.Close()

	root, token := server.URL, chatdmtest.BotToken
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 100 // all calls go to one host, and the default is 2
	shared := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	limiter := chatdm.NewTierLimiter(chatdm.WithTier("slack.chat.postMessage", chatdm.Tier{PerMinute: 60}))
	api, client, err := bothClients(root, token, shared, limiter)
	check(err)

	opened, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	check(err)
	channel, _, err := api.PostMessageContext(ctx, opened.Channel.ID, slack.MsgOptionText("The build is green.", false))
	check(err)
	fmt.Println("posted to", channel)

	// Output:
	// posted to D000000001
}

// dms is what the bot needs for direct messages.
type dms interface {
	Open(ctx context.Context, user string) (channel string, err error)
	Close(ctx context.Context, channel string) error
}

type chatdmDMs struct{ client *chatdm.Client }

func (d chatdmDMs) Open(ctx context.Context, user string) (string, error) {
	opened, err := d.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user}})
	if err != nil {
		return "", err
	}
	return opened.Channel.ID, nil
}

func (d chatdmDMs) Close(ctx context.Context, channel string) error {
	_, err := d.client.Conversations.Close(ctx, channel)
	return err
}

type slackGoDMs struct{ api *slack.Client }

func (d slackGoDMs) Open(ctx context.Context, user string) (string, error) {
	channel, _, _, err := d.api.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{user}})
	if err != nil {
		return "", err
	}
	return channel.ID, nil
}

func (d slackGoDMs) Close(ctx context.Context, channel string) error {
	_, _, err := d.api.CloseConversationContext(ctx, channel)
	return err
}

func Example_slackGoAdapter() {
	ctx := context.Background()
	server, api, client := workspace()
	defer server.Close()
	for _, bot := range []dms{slackGoDMs{api}, chatdmDMs{client}} {
		channel, err := bot.Open(ctx, chatdmtest.Alice)
		fmt.Println(channel, err)
		_, err = bot.Open(ctx, chatdmtest.DisabledUser)
		fmt.Println(code(err))
		fmt.Println(code(bot.Close(ctx, "D404")))
	}

	// Output:
	// D000000001 <nil>
	// user_disabled
	// channel_not_found
	// D000000001 <nil>
	// user_disabled
	// channel_not_found
}

// TestMigrateSlackGoRetries compares the table of retries on the page with what the
// clients send.
func TestMigrateSlackGoRetries(t *testing.T) {
	page := readPage(t, "migrate-slack-go.md")
	type setup func(shared *http.Client, root string) func(context.Context) error
	open := func(options ...slack.Option) setup {
		return func(shared *http.Client, root string) func(context.Context) error {
			options := append([]slack.Option{slack.OptionAPIURL(root + "/"), slack.OptionHTTPClient(shared)}, options...)
			api := slack.New(chatdmtest.BotToken, options...)
			return func(ctx context.Context) error {
				_, _, _, err := api.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{chatdmtest.Alice}})
				return err
			}
		}
	}
	builtin := slack.DefaultRetryConfig()
	builtin.Handlers = slack.AllBuiltinRetryHandlers(builtin)
	after := func(call func(context.Context, *chatdm.Client) error) setup {
		return func(shared *http.Client, root string) func(context.Context) error {
			client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(root), chatdm.WithHTTPClient(shared))
			if err != nil {
				t.Fatal(err)
			}
			return func(ctx context.Context) error { return call(ctx, client) }
		}
	}
	columns := []setup{
		open(),
		open(slack.OptionRetry(3)),
		open(slack.OptionRetryConfig(builtin)),
		after(func(ctx context.Context, c *chatdm.Client) error {
			_, err := c.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
			return err
		}),
		after(func(ctx context.Context, c *chatdm.Client) error {
			_, err := c.Call(ctx, "conversations.open", url.Values{"users": {chatdmtest.Alice}}, nil)
			return err
		}),
	}
	tests := []struct {
		row     string // on the page; empty means the same as the previous test
		fault   chatdmtest.Fault
		dialErr error
		want    string // whether the client retries, by column
	}{
		{"429", chatdmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"5"}}}, nil, "no yes yes yes yes"},
		{"`ratelimited` with status 200", chatdmtest.Fault{Code: "ratelimited", Status: 200}, nil, "no no no yes yes"},
		{"refused connection", chatdmtest.Fault{}, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "no no yes yes yes"},
		{"name that does not resolve", chatdmtest.Fault{}, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "slack.com"}}, "no no no yes yes"},
		{"connection lost before the response", chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}, nil, "no no yes yes no"},
		{"incomplete or late response; 500, 502, 503, 504; `internal_error` and similar", chatdmtest.Fault{Cut: chatdmtest.InBody, Apply: true}, nil, "no no no yes no"},
		{"", chatdmtest.Fault{Stall: chatdmtest.BeforeHeader}, nil, "no no no yes no"},
		{"", chatdmtest.Fault{Status: 500}, nil, "no no no yes no"},
		{"", chatdmtest.Fault{Status: 502}, nil, "no no no yes no"},
		{"", chatdmtest.Fault{Status: 503}, nil, "no no no yes no"},
		{"", chatdmtest.Fault{Status: 504}, nil, "no no no yes no"},
		{"", chatdmtest.Fault{Code: "internal_error"}, nil, "no no no yes no"},
		{"any other error", chatdmtest.Fault{Code: "user_disabled"}, nil, "no no no no no"},
	}
	for _, test := range tests {
		want := strings.Fields(test.want)
		if line := "| " + test.row + " | " + strings.Join(want, " | ") + " |"; test.row != "" && !strings.Contains(page, line) {
			t.Errorf("the page lacks the line\n%s", line)
		}
		for i, start := range columns {
			synctest.Test(t, func(t *testing.T) {
				server := chatdmtest.NewSlack(chatdmtest.InMemory())
				defer server.Close()
				shared := server.Client()
				wire := &firstFails{next: shared.Transport, err: test.dialErr}
				shared.Transport = wire
				if test.dialErr == nil {
					server.Fail("conversations.open", 1, test.fault)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				err := start(shared, server.URL)(ctx)
				// The second request succeeds.
				retried := wire.sent.Load() == 2 && err == nil
				if retried != (want[i] == "yes") || !retried && (wire.sent.Load() != 1 || err == nil) {
					t.Errorf("%s %+v, column %d: got %d requests, %v", test.row, test.fault, i, wire.sent.Load(), err)
				}
			})
		}
	}
}

// firstFails counts the attempts. If err is not nil, the first attempt fails with it.
type firstFails struct {
	next http.RoundTripper
	err  error
	sent atomic.Int64
}

func (f *firstFails) RoundTrip(req *http.Request) (*http.Response, error) {
	if f.sent.Add(1) == 1 && f.err != nil {
		return nil, f.err
	}
	return f.next.RoundTrip(req)
}

// counted counts the slots that a limiter grants.
type counted struct {
	chatdm.Limiter
	slots atomic.Int64
}

func (c *counted) Wait(ctx context.Context, key string) error {
	err := c.Limiter.Wait(ctx, key)
	if err == nil {
		c.slots.Add(1)
	}
	return err
}

// TestMigrateSharedLimit checks that both clients together stay within a rate limit,
// and that each request takes one slot and contains the token once.
func TestMigrateSharedLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := chatdmtest.NewSlack(chatdmtest.InMemory())
		defer server.Close()
		server.Limit("conversations.close", 20, time.Minute)
		limiter := &counted{Limiter: chatdm.NewTierLimiter()}
		api, client, err := bothClients(server.URL, chatdmtest.BotToken, server.Client(), limiter)
		if err != nil {
			t.Fatal(err)
		}

		start := time.Now()
		var work sync.WaitGroup
		for range 5 {
			work.Go(func() {
				for range 6 {
					_, _, err := api.CloseConversationContext(t.Context(), "D404")
					if code(err) != "channel_not_found" {
						t.Errorf("slack-go: %v", err)
					}
				}
			})
			work.Go(func() {
				for range 6 {
					_, err := client.Conversations.Close(t.Context(), "D404")
					if code(err) != "channel_not_found" {
						t.Errorf("chatdm: %v", err)
					}
				}
			})
		}
		work.Wait()

		if took := time.Since(start); took > 4*time.Minute {
			t.Errorf("60 calls at 20 per minute took %v, want at most 4m", took)
		}
		requests := server.Requests()
		if n, slots := len(requests), limiter.slots.Load(); n != 60 || slots != 60 {
			t.Errorf("got %d requests and %d slots, want 60 of each", n, slots)
		}
		for _, r := range requests {
			if r.Status != http.StatusOK {
				t.Errorf("got status %d, want 200", r.Status)
			}
			// slack-go sends its token in the form, chatdm in the header.
			authorization := strings.Join(r.Header["Authorization"], " ")
			if n := strings.Count(authorization+string(r.Body)+r.RawQuery, chatdmtest.BotToken); n != 1 {
				t.Errorf("got the token %d times in a request, want 1", n)
			}
		}
	})
}

// TestMigrateSharedPause checks that a 429 for one client pauses the other, and that
// a wait beyond the deadline fails with an error without the token.
func TestMigrateSharedPause(t *testing.T) {
	for _, hint := range []struct {
		retryAfter string
		wait       time.Duration
	}{
		{"30", 30 * time.Second}, {"", time.Second}, {"soon", time.Second}, {"-7", time.Second}, {"99999999999999999999", time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := chatdmtest.NewSlack(chatdmtest.InMemory())
			defer server.Close()
			server.Fail("conversations.close", 1, chatdmtest.Fault{Status: 429, Header: http.Header{"Retry-After": {hint.retryAfter}}})
			limiter := chatdm.NewTierLimiter()
			api := slack.New(chatdmtest.BotToken, slack.OptionAPIURL(server.URL+"/"), slack.OptionHTTPClient(paced{server.Client(), limiter}))
			client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(server.URL), chatdm.WithHTTPClient(server.Client()), chatdm.WithLimiter(limiter))
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := api.CloseConversationContext(t.Context(), "D404"); err == nil || code(err) != "" {
				t.Errorf("Retry-After %q: slack-go: got %v, want a 429", hint.retryAfter, err)
			}

			ctx, cancel := context.WithTimeout(t.Context(), hint.wait/2)
			defer cancel()
			_, _, err = api.CloseConversationContext(ctx, "D404")
			if !errors.Is(err, chatdm.KindRateLimited) || strings.Contains(err.Error(), chatdmtest.BotToken) {
				t.Errorf("Retry-After %q: beyond the deadline: got %v", hint.retryAfter, err)
			}

			start := time.Now()
			_, err = client.Conversations.Close(t.Context(), "D404")
			if waited := time.Since(start); waited != hint.wait || code(err) != "channel_not_found" {
				t.Errorf("Retry-After %q: chatdm waited %v, want %v: %v", hint.retryAfter, waited, hint.wait, err)
			}
		})
	}
}

// TestMigrateOneConnection checks that sequential calls of both clients share one
// connection.
func TestMigrateOneConnection(t *testing.T) {
	workspace := chatdmtest.NewSlack()
	defer workspace.Close()
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(workspace)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	shared := server.Client()
	api, client, err := bothClients(server.URL+"/api", chatdmtest.BotToken, shared, chatdm.NewTierLimiter())
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for range 2 {
		_, _, err := api.CloseConversationContext(t.Context(), "D404")
		codes = append(codes, code(err))
		_, err = client.Conversations.Close(t.Context(), "D404")
		codes = append(codes, code(err))
	}
	if want := slices.Repeat([]string{"channel_not_found"}, 4); !slices.Equal(codes, want) {
		t.Errorf("got %q", codes)
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("got %d connections, want 1", n)
	}
}
