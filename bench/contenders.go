package main

import (
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

	timeout = 30 * time.Second // of chatdm by default
	limit   = 4 << 20          // likewise
)

// slackClient is one way to call Slack. Each method checks what a caller would
// look at, so that nobody wins by not decoding.
type slackClient interface {
	open(ctx context.Context, full bool) error
	close(ctx context.Context) error
	refused(ctx context.Context) error
	list(ctx context.Context) error
}

// contender makes clients. A nil transport means its default one.
type contender struct {
	name string
	new  func(base string, transport http.RoundTripper) slackClient
}

const (
	nameFloor        = "hand-written"
	nameFloorAll     = "hand-written, ReadAll"
	nameFloorTimeout = "hand-written, timeout"
	nameFloorBoth    = "hand-written, ReadAll, timeout"
	nameRetryable    = "go-retryablehttp"
	nameSlackGo      = "slack-go"
	nameUntimed      = "chatdm, WithTimeout(0)"
	nameChatdm       = "chatdm"
)

var contenders = []contender{
	{nameFloor, handWrittenSlack(false, 0)},
	{nameFloorAll, handWrittenSlack(true, 0)},
	{nameFloorTimeout, handWrittenSlack(false, timeout)},
	{nameFloorBoth, handWrittenSlack(true, timeout)},
	{nameRetryable, newRetryableSlack},
	{nameSlackGo, newSlackGo},
	{nameUntimed, func(base string, t http.RoundTripper) slackClient { return newChatdm(base, t, chatdm.WithTimeout(0)) }},
	{nameChatdm, func(base string, t http.RoundTripper) slackClient { return newChatdm(base, t) }},
}

var errWrong = errors.New("not the answer that was sent")

// right is nil where err is and what was decoded is as it should be.
func right(err error, ok bool) error {
	if err == nil && !ok {
		return errWrong
	}
	return err
}

// The hand-written client: what one writes for three methods with net/http and
// encoding/json, with the care that any client owes its callers: a context, a
// bounded read, the token in a header, errors with their code, and the flags
// and the request id in the result. It has no retries, and no timeout unless
// there is one.

type handWritten struct {
	http    *http.Client
	base    string
	header  func(http.Header) // sets the request's
	timeout time.Duration     // of one call; 0: none
	readAll bool              // io.ReadAll and json.Unmarshal, not json.NewDecoder
}

// status is what every answer has.
type status struct {
	OK            bool   `json:"ok"`
	Error         string `json:"error"`
	NoOp          bool   `json:"no_op"`
	AlreadyOpen   bool   `json:"already_open"`
	AlreadyClosed bool   `json:"already_closed"`
	RequestID     string `json:"-"`
}

func (s *status) verdict(method string, resp *http.Response) error {
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

type page struct {
	status
	Channels []chatdm.Channel `json:"channels"`
	Metadata struct {
		NextCursor string `json:"next_cursor"`
	} `json:"response_metadata"`
}

type apiError struct {
	Method, Code string
	StatusCode   int
	RequestID    string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s: %s (status %d, request %s)", e.Method, e.Code, e.StatusCode, e.RequestID)
}

// document is an answer that can be decoded.
type document interface {
	verdict(method string, resp *http.Response) error
}

func newHandWritten(base string, t http.RoundTripper, readAll bool, timeout time.Duration, header func(http.Header)) *handWritten {
	if t == nil {
		t = newPool()
	}
	return &handWritten{http: &http.Client{Transport: t}, base: base, header: header, timeout: timeout, readAll: readAll}
}

func handWrittenSlack(readAll bool, timeout time.Duration) func(string, http.RoundTripper) slackClient {
	return func(base string, t http.RoundTripper) slackClient {
		return newHandWritten(base, t, readAll, timeout, slackHeaders)
	}
}

func slackHeaders(h http.Header) {
	h.Set("Accept", "application/json")
	h.Set("Authorization", "Bearer "+slackToken)
	h.Set("Content-Type", "application/x-www-form-urlencoded")
	h.Set("User-Agent", userAgent)
}

// newPool is net/http's transport, keeping as many idle connections as there
// were calls at once. http.DefaultTransport keeps two for a host.
func newPool() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, 1<<20
	return t
}

func (h *handWritten) post(ctx context.Context, method, body string, into document) error {
	if h.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.base+"/"+method, strings.NewReader(body))
	if err != nil {
		return err
	}
	h.header(req.Header)
	resp, err := h.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return decode(resp, method, h.readAll, into)
}

func decode(resp *http.Response, method string, readAll bool, into document) error {
	if resp.StatusCode != http.StatusOK {
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
	return into.verdict(method, resp)
}

// poster sends one form. The hand-written client and the one on
// go-retryablehttp differ in nothing else.
type poster func(ctx context.Context, method, body string, into document) error

func openBy(ctx context.Context, post poster, user string, full bool) (*opened, error) {
	form := url.Values{"users": {user}}
	if full {
		form.Set("return_im", "true")
	}
	res := new(opened)
	if err := post(ctx, "conversations.open", form.Encode(), res); err != nil {
		return nil, err
	}
	return res, nil
}

func closeBy(ctx context.Context, post poster) error {
	res := new(status)
	err := post(ctx, "conversations.close", url.Values{"channel": {channel}}.Encode(), res)
	return right(err, res.AlreadyClosed)
}

func listBy(ctx context.Context, post poster) error {
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
			return right(nil, n == listed)
		}
		form.Set("cursor", res.Metadata.NextCursor)
	}
}

func refusedBy(ctx context.Context, post poster) error {
	_, err := openBy(ctx, post, disabledUser, false)
	e, ok := errors.AsType[*apiError](err)
	return right(nil, ok && e.Code == "user_disabled")
}

func (h *handWritten) open(ctx context.Context, full bool) error {
	res, err := openBy(ctx, h.post, user, full)
	return right(err, err == nil && res.Channel.ID == channel && res.AlreadyOpen == full)
}

func (h *handWritten) close(ctx context.Context) error   { return closeBy(ctx, h.post) }
func (h *handWritten) refused(ctx context.Context) error { return refusedBy(ctx, h.post) }
func (h *handWritten) list(ctx context.Context) error    { return listBy(ctx, h.post) }

// go-retryablehttp alone: the hand-written client on top of it.

type retryable struct {
	http   *retryablehttp.Client
	base   string
	header func(http.Header)
}

func newRetryable(base string, t http.RoundTripper, header func(http.Header)) *retryable {
	c := retryablehttp.NewClient()
	c.Logger = nil
	if t != nil {
		c.HTTPClient = &http.Client{Transport: t}
	}
	return &retryable{http: c, base: base, header: header}
}

func newRetryableSlack(base string, t http.RoundTripper) slackClient {
	return newRetryable(base, t, slackHeaders)
}

func (r *retryable) post(ctx context.Context, method, body string, into document) error {
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, r.base+"/"+method, []byte(body))
	if err != nil {
		return err
	}
	r.header(req.Header)
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return decode(resp, method, false, into)
}

func (r *retryable) open(ctx context.Context, full bool) error {
	res, err := openBy(ctx, r.post, user, full)
	return right(err, err == nil && res.Channel.ID == channel && res.AlreadyOpen == full)
}

func (r *retryable) close(ctx context.Context) error   { return closeBy(ctx, r.post) }
func (r *retryable) refused(ctx context.Context) error { return refusedBy(ctx, r.post) }
func (r *retryable) list(ctx context.Context) error    { return listBy(ctx, r.post) }

// slack-go as its documentation shows it: no option but where to send.

type slackGo struct{ client *slack.Client }

func newSlackGo(base string, t http.RoundTripper) slackClient {
	options := []slack.Option{slack.OptionAPIURL(base + "/")}
	if t != nil {
		options = append(options, slack.OptionHTTPClient(&http.Client{Transport: t}))
	}
	return &slackGo{slack.New(slackToken, options...)}
}

func (s *slackGo) open(ctx context.Context, full bool) error {
	c, _, already, err := s.client.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{user}, ReturnIM: full})
	return right(err, err == nil && c.ID == channel && already == full)
}

func (s *slackGo) close(ctx context.Context) error {
	_, already, err := s.client.CloseConversationContext(ctx, channel)
	return right(err, already)
}

func (s *slackGo) refused(ctx context.Context) error {
	_, _, _, err := s.client.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{disabledUser}})
	e, ok := errors.AsType[slack.SlackErrorResponse](err)
	return right(nil, ok && e.Err == "user_disabled")
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
			return right(nil, n == listed)
		}
		params.Cursor = next
	}
}

// chatdm.

type chatdmClient struct{ client *chatdm.Client }

func newChatdm(base string, t http.RoundTripper, options ...chatdm.Option) slackClient {
	options = append(options, chatdm.WithBaseURL(base))
	if t != nil {
		options = append(options, chatdm.WithHTTPClient(&http.Client{Transport: t}))
	}
	c, err := chatdm.NewClient(slackToken, options...)
	if err != nil {
		panic(err)
	}
	return &chatdmClient{c}
}

func (c *chatdmClient) open(ctx context.Context, full bool) error {
	res, err := c.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user}, ReturnIM: full})
	return right(err, err == nil && res.Channel.ID == channel && res.AlreadyOpen == full)
}

func (c *chatdmClient) close(ctx context.Context) error {
	res, err := c.client.Conversations.Close(ctx, channel)
	return right(err, err == nil && res.AlreadyClosed)
}

func (c *chatdmClient) refused(ctx context.Context) error {
	_, err := c.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{disabledUser}})
	return right(nil, errors.Is(err, chatdm.ErrUserDisabled))
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
	return right(nil, n == listed)
}

// Rocket.Chat's im.delete, the same way.

type rocketContender struct {
	name string
	new  func(server string, transport http.RoundTripper) func(context.Context) error
}

var rocketContenders = []rocketContender{
	{nameFloor, handWrittenRocket(false, 0)},
	{nameFloorAll, handWrittenRocket(true, 0)},
	{nameFloorTimeout, handWrittenRocket(false, timeout)},
	{nameFloorBoth, handWrittenRocket(true, timeout)},
	{nameRetryable, func(server string, t http.RoundTripper) func(context.Context) error {
		return deleteBy(newRetryable(server+"/api/v1", t, rocketHeaders).post)
	}},
	{nameUntimed, chatdmRocket(chatdm.WithTimeout(0))},
	{nameChatdm, chatdmRocket()},
}

func rocketHeaders(h http.Header) {
	h.Set("Accept", "application/json")
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", userAgent)
	h.Set("X-Auth-Token", rocketToken)
	h.Set("X-User-Id", rocketUser)
}

func handWrittenRocket(readAll bool, timeout time.Duration) func(string, http.RoundTripper) func(context.Context) error {
	return func(server string, t http.RoundTripper) func(context.Context) error {
		return deleteBy(newHandWritten(server+"/api/v1", t, readAll, timeout, rocketHeaders).post)
	}
}

type deletion struct {
	Success   bool   `json:"success"`
	Error     string `json:"error"`
	ErrorType string `json:"errorType"`
}

func (d *deletion) verdict(method string, resp *http.Response) error {
	if !d.Success {
		return &apiError{method, d.ErrorType, resp.StatusCode, resp.Header.Get("X-Request-Id")}
	}
	return nil
}

func deleteBy(post poster) func(context.Context) error {
	return func(ctx context.Context) error {
		body, err := json.Marshal(struct {
			RoomID string `json:"roomId"`
		}{room})
		if err != nil {
			return err
		}
		res := new(deletion)
		return right(post(ctx, "im.delete", string(body), res), res.Success)
	}
}

func chatdmRocket(options ...chatdm.Option) func(string, http.RoundTripper) func(context.Context) error {
	return func(server string, t http.RoundTripper) func(context.Context) error {
		options := append(options, chatdm.WithHTTPClient(&http.Client{Transport: t}))
		c, err := rocketchat.NewClient(server, rocketchat.Credentials{UserID: rocketUser, AuthToken: rocketToken}, options...)
		if err != nil {
			panic(err)
		}
		return func(ctx context.Context) error {
			res, err := c.IM.Delete(ctx, rocketchat.RoomID(room))
			return right(err, err == nil && res.Success)
		}
	}
}
