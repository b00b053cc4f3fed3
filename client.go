package chatdm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/chatdm/chatdm/internal/engine"
)

const (
	service        = "slack"
	defaultBaseURL = "https://slack.com/api"
)

// Client is a client of Slack's Web API for one token. Make it with
// [NewClient], once, and share it: it is safe for concurrent use, and what it
// learns of the server's limits is worth most where all calls pass through it.
type Client struct {
	// IM has im.open and im.close, which Slack has retired.
	IM *IMService
	// Conversations has conversations.open, conversations.close and
	// conversations.list.
	Conversations *ConversationsService

	engine    *engine.Engine
	strictIM  bool
	imRetired atomic.Bool // learned from an answer, for the life of the client
}

// NewClient returns a client that sends token with each call, in the
// Authorization header and nowhere else. The token is not checked with the
// server. A token that is empty or has white space or control characters in
// it, and an option with an impossible value, are an *[Error] of
// [KindInvalidRequest].
func NewClient(token string, opts ...Option) (*Client, error) {
	cfg := engine.DefaultConfig()
	cfg.BaseURL = defaultBaseURL
	for _, opt := range opts {
		if opt != nil {
			opt(&cfg)
		}
	}
	if err := engine.CheckCredential("token", token); err != nil {
		return nil, constructorError(err)
	}
	if cfg.TOTP != "" {
		return nil, constructorError(errors.New("WithTOTP: is for a login at Rocket.Chat"))
	}
	e, err := engine.New(cfg, engine.Service{
		Name: service,
		URL:  "WithBaseURL",
		Header: map[string]string{
			"Authorization": "Bearer " + token,
			// Without a charset: Slack answers superfluous_charset to one.
			"Content-Type": "application/x-www-form-urlencoded",
		},
		Secrets: []string{token},
	})
	if err != nil {
		return nil, constructorError(err)
	}
	c := &Client{engine: e, strictIM: cfg.StrictIM}
	c.IM = &IMService{client: c}
	c.Conversations = &ConversationsService{client: c}
	return c, nil
}

func constructorError(err error) error {
	return &Error{Service: service, Method: "NewClient", Kind: KindInvalidRequest, Err: err}
}

// String names the service and the base URL, and no secret.
func (c *Client) String() string {
	if c == nil || c.engine == nil {
		return "chatdm.Client(none)"
	}
	return "chatdm.Client(" + c.engine.BaseURL() + ")"
}

// GoString is the same as String.
func (c *Client) GoString() string { return c.String() }

// Call sends any other Slack method, "chat.postMessage" for example, with the
// same kind of errors, the same limits and the same options as the methods that
// have a Go function. Codes that only that method has are not in the catalogue;
// they are [KindUnknown], and match by their name: Code("msg_too_long").
//
// Params is nil, a url.Values, or a struct that
// github.com/google/go-querystring encodes; it must not have an argument
// called token. Result is nil, or a pointer that the answer's JSON object is
// unmarshaled into, only when the call has succeeded; if it does not fit, the
// error is [KindUnexpectedResponse] and [ErrEffectUnknown], and the call has had
// its effect.
//
// As nobody knows whether the method may be repeated, it is repeated only when
// the first request was refused for its rate or never reached the server. Where
// it may have had its effect the error matches [ErrEffectUnknown].
func (c *Client) Call(ctx context.Context, method string, params, result any) (*Meta, error) {
	meta := new(Meta)
	form, err := engine.Form(params)
	_, err = c.do(ctx, call{
		Request: engine.Request{Method: method, Body: form}, invalid: cmp.Or(checkCall(method, result), err), result: result, meta: meta,
	})
	if err != nil {
		return nil, err
	}
	return meta, nil
}

func checkCall(method string, result any) error {
	for name := range strings.SplitSeq(method, ".") {
		if name == "" || strings.ContainsFunc(name, notNameChar) {
			return fmt.Errorf("method: %q is not the name of a method", method)
		}
	}
	return engine.CheckResult(result)
}

func notNameChar(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_')
}

// call is one call of a method.
type call struct {
	engine.Request
	invalid error // why the arguments may not be sent
	twin    *call // what replaces it where it is retired

	// Where a success goes; nil for what the method does not have. A success
	// without a channel is none where there is a place for one.
	meta    *Meta
	channel *Channel
	result  any // of Call
}

// do is a call from its arguments to its decoded answer. The reply of a
// retired method is that of its twin.
func (c *Client) do(ctx context.Context, next call) (*reply, error) {
	if next.invalid != nil {
		return nil, c.failure(next.Method, 0, &engine.Failure{Kind: engine.InvalidRequest, Err: next.invalid})
	}
	for sent := 0; ; {
		if next.twin != nil && c.imRetired.Load() {
			next = *next.twin
		}
		x := &exchange{client: c, call: next, before: sent}
		x.call.Verb, x.call.Exchange = http.MethodPost, x
		n, err := c.engine.Send(ctx, &x.call.Request)
		if err == nil {
			return &x.reply, nil
		}
		if next.twin == nil || c.strictIM || !retired(err) {
			return nil, err
		}
		c.imRetired.Store(true)
		sent = n
	}
}

// retired tells of the answers that a method gets that is no longer served.
func retired(err error) bool {
	return errors.Is(err, ErrMethodDeprecated) || errors.Is(err, ErrDeprecatedEndpoint) || errors.Is(err, ErrUnknownMethod)
}

// Meta is what an answer tells beside its content.
type Meta struct {
	// Method is the API method that answered: "conversations.open" where
	// IM.Open fell back to it.
	Method string
	// StatusCode is the HTTP status.
	StatusCode int
	// RequestID names the request in Slack's logs (X-Slack-Req-Id).
	RequestID string
	// Scopes are those of the token, AcceptedScopes those of which the method
	// needs one; both are nil where the server did not list them.
	Scopes, AcceptedScopes []string
	// Warnings are remarks on the request, each once.
	Warnings []Warning
	// Messages are texts for the developer, as the server wrote them.
	Messages []string
	// Attempts counts the HTTP requests of this call, retries and those that
	// found no connection included.
	Attempts int
	// LostAnswers counts the earlier attempts of this call that may have had
	// their effect, although no usable answer came back. Where it is above zero,
	// an AlreadyOpen or AlreadyClosed may be this call's own doing.
	LostAnswers int
}

// reply is the answer of any Slack method, as far as this package reads it
// where the call has succeeded or not.
type reply struct {
	OK       bool   `json:"ok"`
	Error    string `json:"error"`
	Warning  string `json:"warning"`
	Metadata *struct {
		Warnings   []string `json:"warnings"`
		Messages   []string `json:"messages"`
		NextCursor string   `json:"next_cursor"`
	} `json:"response_metadata"`
	NoOp          bool      `json:"no_op"`
	AlreadyOpen   bool      `json:"already_open"`
	AlreadyClosed bool      `json:"already_closed"`
	Channel       *Channel  `json:"channel"`
	Channels      []Channel `json:"channels"`
}

// exchange is a call as the engine sees it: what Slack's answers mean.
type exchange struct {
	client *Client
	call   call
	before int // requests already sent, to the retired method that this one replaces
	reply  reply
}

// Judge implements [engine.Exchange].
func (x *exchange) Judge(a engine.Answer) engine.Verdict {
	// Nothing of an earlier attempt may be left. The channel is decoded where
	// the result has it.
	x.reply = reply{Channel: x.call.channel}
	if x.call.channel != nil {
		*x.call.channel = Channel{}
	}
	r := &x.reply
	malformed := engine.Decode(a.Body, r)
	x.describe(a)

	if a.Status == http.StatusTooManyRequests {
		return x.coded(a, ErrRateLimited) // whatever the body says, if anything
	}
	if r.Error != "" && !r.OK {
		code := Code(r.Error)
		if code == "rate_limited" { // as chat.postMessage spells it
			code = ErrRateLimited
		}
		return x.coded(a, code)
	}
	if a.Status >= 500 {
		return engine.Verdict{Err: x.answered(a, KindUnavailable), Outcome: engine.Unreadable(a.Status), Hint: engine.RetryAfter(a.Header)}
	}
	switch {
	case errors.Is(malformed, io.ErrUnexpectedEOF):
		v := x.unexpected(a, fmt.Sprintf("the JSON is cut off after %d bytes", len(a.Body)))
		v.Outcome = engine.Unknown
		return v
	case malformed != nil:
		return x.unexpected(a, malformed.Error()+": "+x.client.engine.Excerpt(a.Body))
	case !r.OK || a.Status >= 300:
		return x.unexpected(a, "neither ok nor an error code: "+x.client.engine.Excerpt(a.Body))
	case x.call.channel != nil && (r.Channel == nil || r.Channel.ID == ""):
		return x.unexpected(a, "a success without a channel: "+x.client.engine.Excerpt(a.Body))
	case x.call.result != nil:
		if err := json.Unmarshal(a.Body, x.call.result); err != nil {
			return x.unexpected(a, "the call has succeeded, but its answer does not fit the result: "+err.Error())
		}
	}
	return engine.Verdict{RequestID: x.call.meta.RequestID}
}

// unexpected is the verdict on an answer that the API does not give.
func (x *exchange) unexpected(a engine.Answer, problem string) engine.Verdict {
	e := x.answered(a, KindUnexpectedResponse)
	e.Err = x.client.engine.Cause(errors.New(problem))
	return engine.Verdict{Err: e, Outcome: engine.Unreadable(a.Status)}
}

// coded is the verdict on an answer with an error code.
func (x *exchange) coded(a engine.Answer, code Code) engine.Verdict {
	known, ok := catalogue[code]
	if !ok {
		known.kind = KindUnknown
		if a.Status >= 500 { // a gateway may have codes of its own
			known.outcome = engine.Unreadable(a.Status)
		}
		code = Code(x.client.engine.Scrub(string(code)))
	}
	v := engine.Verdict{Outcome: known.outcome, Hint: engine.RetryAfter(a.Header)}
	if v.Outcome == engine.Refused && v.Hint == 0 {
		v.Hint = engine.ResetAfter(a.Header)
	}
	e := x.answered(a, known.kind)
	e.Code, e.RetryAfter = code, v.Hint
	var scopes struct{ Needed, Provided string }
	_ = engine.Decode(a.Body, &scopes) // not with every answer: only a failure has them
	e.Needed, e.Provided = x.client.engine.List(scopes.Needed), x.client.engine.List(scopes.Provided)
	v.Err = e
	return v
}

// answered is the error that an answer brings, without its code.
func (x *exchange) answered(a engine.Answer, kind Kind) *Error {
	m := x.call.meta
	return &Error{
		Service: service, Method: m.Method, Kind: kind,
		Message:    x.client.engine.Line(strings.Join(m.Messages, "; ")),
		StatusCode: m.StatusCode, RequestID: m.RequestID, Attempts: m.Attempts,
		RetryAfter: engine.RetryAfter(a.Header),
		Warnings:   m.Warnings, Messages: m.Messages,
	}
}

// describe fills in what the answer tells beside its content.
func (x *exchange) describe(a engine.Answer) {
	e, r := x.client.engine, &x.reply
	m := x.call.meta
	*m = Meta{
		Method:         x.call.Method,
		StatusCode:     a.Status,
		RequestID:      x.client.requestID(a),
		Scopes:         e.List(a.Get("X-Oauth-Scopes")),
		AcceptedScopes: e.List(a.Get("X-Accepted-Oauth-Scopes")),
		Attempts:       x.before + a.Attempt,
		LostAnswers:    a.Lost,
	}
	warnings := e.List(r.Warning)
	if r.Metadata != nil {
		warnings = append(warnings, r.Metadata.Warnings...)
		for _, text := range r.Metadata.Messages {
			m.Messages = append(m.Messages, e.Scrub(text))
		}
	}
	for _, text := range warnings {
		if w := Warning(e.Scrub(text)); !slices.Contains(m.Warnings, w) {
			m.Warnings = append(m.Warnings, w)
		}
	}
	// conversations.open is documented to send its flags as warnings, too.
	r.NoOp = r.NoOp || slices.Contains(m.Warnings, "no_op")
	r.AlreadyOpen = r.AlreadyOpen || slices.Contains(m.Warnings, "already_open")
}

func (c *Client) requestID(a engine.Answer) string {
	return c.engine.Scrub(a.Get("X-Slack-Req-Id"))
}

// Fail implements [engine.Exchange].
func (x *exchange) Fail(f *engine.Failure) error {
	return x.client.failure(x.call.Method, x.before, f)
}

// failure is the error of a call without an answer that could be judged.
func (c *Client) failure(method string, before int, f *engine.Failure) error {
	e := &Error{
		Service: service, Method: method, Kind: Kind(f.Kind),
		RetryAfter: f.RetryAfter, Attempts: before + f.Attempts, Err: c.engine.Cause(f.Err),
	}
	if f.Answer != nil {
		e.StatusCode, e.RequestID = f.Answer.Status, c.requestID(*f.Answer)
	}
	return e
}

// Seal implements [engine.Exchange].
func (x *exchange) Seal(err, cause error) error {
	e := err.(*Error) //nolint:errorlint // it is what Judge and Fail return
	if e.Err != nil {
		cause = fmt.Errorf("%w; %w", e.Err, cause)
	}
	e.Err = cause
	return e
}
