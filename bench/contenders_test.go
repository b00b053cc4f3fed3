package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/rocketchat"
)

const (
	slackToken  = "xoxb-2345678901-bench"
	rocketUser  = "aobEdbYhXfu5hkeqG"
	rocketToken = "bench-auth-token"
	userAgent   = "chatdm/0.1.0 (+https://github.com/chatdm/chatdm)"

	timeout = 30 * time.Second // the default of chatdm
	limit   = 4 << 20          // likewise
)

// slackClient is one way to call Slack. Each method checks the result, so that no
// client gains by decoding less.
type slackClient interface {
	open(ctx context.Context, full bool) error
	close(ctx context.Context) error
	post(ctx context.Context) error
	fail(ctx context.Context, f *failure) error
	list(ctx context.Context) error
}

// contender makes clients. If the transport is nil, they use their default.
type contender struct {
	name  string
	slack func(base string, t http.RoundTripper) slackClient
	// rocket returns a function that deletes a direct message. The server
	// reports an error if it has to fail. It is nil if the contender does not support Rocket.Chat.
	rocket func(server string, t http.RoundTripper) func(ctx context.Context, fails bool) error
	// once is slack, without retries. It is nil if slack makes none.
	once func(base string, t http.RoundTripper) slackClient
}

// withoutRetries makes a client that makes one attempt for each call.
func (c contender) withoutRetries(t http.RoundTripper) slackClient {
	if c.once != nil {
		return c.once(base, t)
	}
	return c.slack(base, t)
}

var contenders = []contender{
	viaPoster(nameFloor, handWritten(false, 0)),
	viaPoster(nameFloorAll, handWritten(true, 0)),
	viaPoster(nameFloorTimeout, handWritten(false, timeout)),
	viaPoster(nameFloorBoth, handWritten(true, timeout)),
	viaPoster(nameRetryable, retryable),
	{name: nameSlackGo, slack: newSlackGo(0)},
	{name: nameUntimed, slack: newChatdm(chatdm.WithTimeout(0)), rocket: newRocket(chatdm.WithTimeout(0))},
	{nameChatdm, newChatdm(), newRocket(), newChatdm(chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))},
}

// networked are the contenders on loopback, each with its own connections.
var networked = []contender{
	pooled(nameFloor, contenders[0]),
	pooled(nameFloorTimeout, contenders[2]),
	contenders[4],
	pooled(nameRetryablePool, contenders[4]),
	contenders[5],
	pooled(nameSlackGoPool, contenders[5]),
	contenders[7],
}

// overTLS are the contenders on TLS.
var overTLS = []contender{
	pooled(nameFloorTimeout, contenders[2]),
	contenders[5],
	pooled(nameSlackGoTuned, contender{slack: newSlackGo(timeout)}),
	contenders[7],
}

// pooled gives a contender the transport of net/http, without its limit of two
// idle connections per host.
func pooled(name string, c contender) contender {
	return contender{name: name, slack: func(base string, _ http.RoundTripper) slackClient { return c.slack(base, newPool()) }}
}

func newPool() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 1<<20
	return t
}

var errWrong = errors.New("got another response than the server sent")

func check(err error, ok bool) error {
	if err == nil && !ok {
		return errWrong
	}
	return err
}

// poster sends the body of one call and decodes the response. The hand-written
// clients and those on go-retryablehttp differ in nothing else.
type poster func(ctx context.Context, method, body string, into result) error

type result interface {
	failure(method string, resp *http.Response) error
}

// handWritten is a careful client on net/http and encoding/json: a context, a
// bounded read, errors with their code, and the request ID in the result.
func handWritten(readAll bool, timeout time.Duration) func(string, http.RoundTripper, func(http.Header)) poster {
	return func(base string, t http.RoundTripper, header func(http.Header)) poster {
		client := &http.Client{Transport: t}
		return func(ctx context.Context, method, body string, into result) error {
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/"+method, strings.NewReader(body))
			if err != nil {
				return err
			}
			header(req.Header)
			resp, err := client.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			return decode(resp, method, readAll, into)
		}
	}
}

// retryable is the hand-written client on go-retryablehttp.
func retryable(base string, t http.RoundTripper, header func(http.Header)) poster {
	client := retryablehttp.NewClient()
	client.Logger = nil
	if t != nil {
		client.HTTPClient = &http.Client{Transport: t}
	}
	return func(ctx context.Context, method, body string, into result) error {
		req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, base+"/"+method, []byte(body))
		if err != nil {
			return err
		}
		header(req.Header)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return decode(resp, method, false, into)
	}
}

func decode(resp *http.Response, method string, readAll bool, into result) error {
	// Rocket.Chat sends its error codes with status 400.
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadRequest {
		return &apiError{method, resp.Status, resp.StatusCode, resp.Header.Get("X-Slack-Req-Id")}
	}
	bounded := io.LimitReader(resp.Body, limit)
	if readAll {
		body, err := io.ReadAll(bounded)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(body, into); err != nil {
			return err
		}
	} else if err := json.NewDecoder(bounded).Decode(into); err != nil {
		return err
	}
	return into.failure(method, resp)
}

type apiError struct {
	Method, Code string
	StatusCode   int
	RequestID    string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s: %s (status %d, request %s)", e.Method, e.Code, e.StatusCode, e.RequestID)
}

type status struct {
	OK            bool   `json:"ok"`
	Error         string `json:"error"`
	NoOp          bool   `json:"no_op"`
	AlreadyOpen   bool   `json:"already_open"`
	AlreadyClosed bool   `json:"already_closed"`
	RequestID     string `json:"-"`
}

func (s *status) failure(method string, resp *http.Response) error {
	s.RequestID = resp.Header.Get("X-Slack-Req-Id")
	if !s.OK {
		return &apiError{method, s.Error, resp.StatusCode, s.RequestID}
	}
	return nil
}

type opened struct {
	status
	Channel chatdm.Channel `json:"channel"`
}

type posted struct {
	status
	Channel string           `json:"channel"`
	TS      chatdm.Timestamp `json:"ts"`
	Message chatdm.Message   `json:"message"`
}

type page struct {
	status
	Channels []chatdm.Channel `json:"channels"`
	Metadata struct {
		NextCursor string `json:"next_cursor"`
	} `json:"response_metadata"`
}

type deletion struct {
	Success   bool   `json:"success"`
	Error     string `json:"error"`
	ErrorType string `json:"errorType"`
}

func (d *deletion) failure(method string, resp *http.Response) error {
	if !d.Success {
		return &apiError{method, d.ErrorType, resp.StatusCode, resp.Header.Get("X-Request-Id")}
	}
	return nil
}

func slackHeaders(h http.Header) {
	h.Set("Accept", "application/json")
	h.Set("Authorization", "Bearer "+slackToken)
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	h.Set("User-Agent", userAgent)
}

func rocketHeaders(h http.Header) {
	h.Set("Accept", "application/json")
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", userAgent)
	h.Set("X-Auth-Token", rocketToken)
	h.Set("X-User-Id", rocketUser)
}

func viaPoster(name string, newPoster func(string, http.RoundTripper, func(http.Header)) poster) contender {
	return contender{
		name:  name,
		slack: func(base string, t http.RoundTripper) slackClient { return newPoster(base, t, slackHeaders) },
		rocket: func(server string, t http.RoundTripper) func(context.Context, bool) error {
			post := newPoster(server+"/api/v1", t, rocketHeaders)
			return func(ctx context.Context, fails bool) error {
				id := room
				if fails {
					id = otherRoom
				}
				body, err := json.Marshal(struct {
					RoomID string `json:"roomId"`
				}{id})
				if err != nil {
					return err
				}
				res := new(deletion)
				err = post(ctx, "im.delete", string(body), res)
				if e, ok := errors.AsType[*apiError](err); ok && fails {
					return check(nil, e.Code == invalidChannel)
				}
				return check(err, res.Success)
			}
		},
	}
}

func (post poster) openFor(ctx context.Context, user string, full bool) (*opened, error) {
	form := url.Values{"users": {user}}
	if full {
		form.Set("return_im", "true")
	}
	res := new(opened)
	return res, post(ctx, "conversations.open", form.Encode(), res)
}

func (post poster) open(ctx context.Context, full bool) error {
	res, err := post.openFor(ctx, user, full)
	return check(err, res.Channel.ID == channel && res.AlreadyOpen == full)
}

func (post poster) close(ctx context.Context) error {
	res := new(status)
	err := post(ctx, "conversations.close", url.Values{"channel": {channel}}.Encode(), res)
	return check(err, res.AlreadyClosed)
}

func (post poster) post(ctx context.Context) error {
	res := new(posted)
	err := post(ctx, "chat.postMessage", url.Values{"channel": {channel}, "text": {messageText}}.Encode(), res)
	return check(err, res.TS != "" && res.Channel == channel && res.Message.Text == messageText)
}

func (post poster) fail(ctx context.Context, f *failure) error {
	_, err := post.openFor(ctx, f.user, false)
	e, ok := errors.AsType[*apiError](err)
	return check(nil, ok && (e.Code == f.code || f.code == "" && e.StatusCode == f.status))
}

func (post poster) list(ctx context.Context) error {
	n := 0
	form := url.Values{"types": {"im,mpim"}, "limit": {"200"}}
	for {
		res := new(page)
		if err := post(ctx, "conversations.list", form.Encode(), res); err != nil {
			return err
		}
		for i := range res.Channels {
			if res.Channels[i].IsIM {
				n++
			}
		}
		if res.Metadata.NextCursor == "" {
			return check(nil, n == listed)
		}
		form.Set("cursor", res.Metadata.NextCursor)
	}
}

// slackGo is slack-go as its documentation shows it.
type slackGo struct{ client *slack.Client }

func newSlackGo(timeout time.Duration) func(string, http.RoundTripper) slackClient {
	return func(base string, t http.RoundTripper) slackClient {
		options := []slack.Option{slack.OptionAPIURL(base + "/")}
		if t != nil {
			options = append(options, slack.OptionHTTPClient(&http.Client{Transport: t, Timeout: timeout}))
		}
		return &slackGo{slack.New(slackToken, options...)}
	}
}

func (s *slackGo) open(ctx context.Context, full bool) error {
	c, _, already, err := s.client.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{user}, ReturnIM: full})
	return check(err, err == nil && c.ID == channel && already == full)
}

func (s *slackGo) close(ctx context.Context) error {
	_, already, err := s.client.CloseConversationContext(ctx, channel)
	return check(err, already)
}

func (s *slackGo) post(ctx context.Context) error {
	in, ts, err := s.client.PostMessageContext(ctx, channel, slack.MsgOptionText(messageText, false))
	return check(err, ts != "" && in == channel)
}

func (s *slackGo) fail(ctx context.Context, f *failure) error {
	_, _, _, err := s.client.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{f.user}})
	switch e := err.(type) { //nolint:errorlint // slack-go does not wrap its errors
	case slack.SlackErrorResponse:
		return check(nil, e.Err == f.code)
	case slack.StatusCodeError:
		return check(nil, e.Code == f.status)
	case *slack.RateLimitedError:
		return check(nil, f.status == http.StatusTooManyRequests)
	}
	return errWrong
}

func (s *slackGo) list(ctx context.Context) error {
	n := 0
	params := slack.GetConversationsParameters{Types: []string{"im", "mpim"}, Limit: pageSize}
	for {
		channels, next, err := s.client.GetConversationsContext(ctx, &params)
		if err != nil {
			return err
		}
		for i := range channels {
			if channels[i].IsIM {
				n++
			}
		}
		if next == "" {
			return check(nil, n == listed)
		}
		params.Cursor = next
	}
}

type chatdmClient struct{ client *chatdm.Client }

func newChatdm(options ...chatdm.Option) func(string, http.RoundTripper) slackClient {
	return func(base string, t http.RoundTripper) slackClient {
		options := append(options, chatdm.WithBaseURL(base))
		if t != nil {
			options = append(options, chatdm.WithHTTPClient(&http.Client{Transport: t}))
		}
		c, err := chatdm.NewClient(slackToken, options...)
		if err != nil {
			panic(err)
		}
		return &chatdmClient{c}
	}
}

func (c *chatdmClient) open(ctx context.Context, full bool) error {
	res, err := c.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user}, ReturnIM: full})
	return check(err, err == nil && res.Channel.ID == channel && res.AlreadyOpen == full)
}

func (c *chatdmClient) close(ctx context.Context) error {
	res, err := c.client.Conversations.Close(ctx, channel)
	return check(err, err == nil && res.AlreadyClosed)
}

func (c *chatdmClient) post(ctx context.Context) error {
	res, err := c.client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{Channel: channel, Text: messageText})
	return check(err, err == nil && res.TS != "" && res.Channel == channel && res.Message.Text == messageText)
}

func (c *chatdmClient) fail(ctx context.Context, f *failure) error {
	_, err := c.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{f.user}})
	e, ok := errors.AsType[*chatdm.Error](err)
	return check(nil, ok && e.StatusCode == cmp.Or(f.status, http.StatusOK) && (f.code == "" || string(e.Code) == f.code))
}

func (c *chatdmClient) list(ctx context.Context) error {
	n := 0
	for channel, err := range c.client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im", "mpim"}, Limit: pageSize}) {
		if err != nil {
			return err
		}
		if channel.IsIM {
			n++
		}
	}
	return check(nil, n == listed)
}

func newRocket(options ...chatdm.Option) func(string, http.RoundTripper) func(context.Context, bool) error {
	return func(server string, t http.RoundTripper) func(context.Context, bool) error {
		c, err := rocketchat.NewClient(server, rocketchat.Credentials{UserID: rocketUser, AuthToken: rocketToken}, append(options, chatdm.WithHTTPClient(&http.Client{Transport: t}))...)
		if err != nil {
			panic(err)
		}
		return func(ctx context.Context, fails bool) error {
			if fails {
				_, err := c.IM.Delete(ctx, rocketchat.RoomID(otherRoom))
				return check(nil, errors.Is(err, chatdm.Code(invalidChannel)))
			}
			res, err := c.IM.Delete(ctx, rocketchat.RoomID(room))
			return check(err, err == nil && res.Success)
		}
	}
}
