package chatdm

import (
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
// error is [KindUnexpectedResponse], and the call has had its effect.
//
// As nobody knows whether the method may be repeated, it is repeated only when
// the first request was refused for its rate or never reached the server. Where
// it may have had its effect the error matches [ErrEffectUnknown].
func (c *Client) Call(ctx context.Context, method string, params, result any) (*Meta, error) {
	r, err := c.do(ctx, call{method: method, params: params, result: result, invalid: checkCall(method, params, result)})
	if err != nil {
		return nil, err
	}
	return &r.meta, nil
}

func checkCall(method string, params, result any) error {
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

// call is one call of a method, before it is encoded.
type call struct {
	method     string
	params     any   // a struct or url.Values for the form
	invalid    error // why the params may not be sent
	repeatable bool  // may run twice without harm
	opens      bool  // brings a channel where it succeeds
	result     any   // of Call
	twin       *call // what replaces it where it is retired
}

// do is a call from its parameters to its decoded answer. The reply of a
// retired method is that of its twin.
func (c *Client) do(ctx context.Context, next call) (*reply, error) {
	refuse := func(err error) (*reply, error) {
		return nil, c.failure(next.method, 0, &engine.Failure{Kind: engine.InvalidRequest, Err: err})
	}
	if next.invalid != nil {
		return refuse(next.invalid)
	}
	for sent := 0; ; {
		if next.twin != nil && c.imRetired.Load() {
			next = *next.twin
		}
		form, err := engine.Form(next.params)
		if err != nil {
			return refuse(err)
		}
		x := &exchange{client: c, call: next, before: sent}
		n, err := c.engine.Send(ctx, &engine.Request{
			Method: next.method, Path: next.method, Verb: http.MethodPost,
			Body: []byte(form), Repeatable: next.repeatable, Exchange: x,
		})
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

// reply is the answer of any Slack method, as far as this package reads it.
type reply struct {
	OK       bool   `json:"ok"`
	Error    string `json:"error"`
	Needed   string `json:"needed"`
	Provided string `json:"provided"`
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

	meta Meta
}

// exchange is a call as the engine sees it: what Slack's answers mean.
type exchange struct {
	client *Client
	call   call
	before int // requests already sent, to the retired method that this one replaces
	reply  reply
}

// Judge implements [engine.Exchange].
func (x *exchange) Judge(a *engine.Answer) engine.Verdict {
	x.reply = reply{}
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
	v := engine.Verdict{}
	kind, problem := KindUnexpectedResponse, ""
	switch {
	case a.Status >= 500:
		kind = KindUnavailable
		v.Hint = engine.RetryAfter(a.Header)
		if engine.Transient(a.Status) {
			v.Outcome = engine.Unknown
		}
	case errors.Is(malformed, io.ErrUnexpectedEOF):
		problem = fmt.Sprintf("the JSON is cut off after %d bytes", len(a.Body))
		v.Outcome = engine.Unknown
	case malformed != nil:
		problem = malformed.Error() + ": " + x.client.engine.Excerpt(a.Body)
	case !r.OK || a.Status >= 300:
		problem = "neither ok nor an error code: " + x.client.engine.Excerpt(a.Body)
	case x.call.opens && (r.Channel == nil || r.Channel.ID == ""):
		problem = "a success without a channel: " + x.client.engine.Excerpt(a.Body)
	case x.call.result != nil:
		if err := json.Unmarshal(a.Body, x.call.result); err != nil {
			problem = "the call has succeeded, but its answer does not fit the result: " + err.Error()
		}
	}
	if problem != "" || kind == KindUnavailable {
		e := x.answered(a, kind)
		if problem != "" {
			e.Err = x.client.engine.Cause(errors.New(problem))
		}
		v.Err = e
	}
	return v
}

// coded is the verdict on an answer with an error code.
func (x *exchange) coded(a *engine.Answer, code Code) engine.Verdict {
	known, ok := catalogue[code]
	if !ok {
		known.kind = KindUnknown
		if engine.Transient(a.Status) {
			known.outcome = engine.Unknown
		}
		code = Code(x.client.engine.Scrub(string(code)))
	}
	v := engine.Verdict{Outcome: known.outcome, Hint: engine.RetryAfter(a.Header)}
	if v.Outcome == engine.Refused && v.Hint == 0 {
		v.Hint = engine.ResetAfter(a.Header)
	}
	e := x.answered(a, known.kind)
	e.Code, e.RetryAfter = code, v.Hint
	e.Needed, e.Provided = x.list(x.reply.Needed), x.list(x.reply.Provided)
	v.Err = e
	return v
}

// answered is the error that an answer brings, without its code.
func (x *exchange) answered(a *engine.Answer, kind Kind) *Error {
	m := &x.reply.meta
	return &Error{
		Service: service, Method: m.Method, Kind: kind,
		Message:    x.client.engine.Line(strings.Join(m.Messages, "; ")),
		StatusCode: m.StatusCode, RequestID: m.RequestID, Attempts: m.Attempts,
		RetryAfter: engine.RetryAfter(a.Header),
		Warnings:   m.Warnings, Messages: m.Messages,
	}
}

// describe fills in what the answer tells beside its content.
func (x *exchange) describe(a *engine.Answer) {
	r := &x.reply
	r.meta = Meta{
		Method:         x.call.method,
		StatusCode:     a.Status,
		RequestID:      x.client.requestID(a),
		Scopes:         x.list(a.Header.Get("X-Oauth-Scopes")),
		AcceptedScopes: x.list(a.Header.Get("X-Accepted-Oauth-Scopes")),
		Attempts:       x.before + a.Attempt,
		LostAnswers:    a.Lost,
	}
	warnings := x.list(r.Warning)
	if r.Metadata != nil {
		warnings = append(warnings, r.Metadata.Warnings...)
		for _, text := range r.Metadata.Messages {
			r.meta.Messages = append(r.meta.Messages, x.client.engine.Scrub(text))
		}
	}
	for _, text := range warnings {
		if w := Warning(x.client.engine.Scrub(text)); !slices.Contains(r.meta.Warnings, w) {
			r.meta.Warnings = append(r.meta.Warnings, w)
		}
	}
	// conversations.open is documented to send its flags as warnings, too.
	r.NoOp = r.NoOp || slices.Contains(r.meta.Warnings, "no_op")
	r.AlreadyOpen = r.AlreadyOpen || slices.Contains(r.meta.Warnings, "already_open")
}

// list splits what Slack joins with commas.
func (x *exchange) list(text string) []string {
	var items []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, x.client.engine.Scrub(item))
		}
	}
	return items
}

func (c *Client) requestID(a *engine.Answer) string {
	return c.engine.Scrub(a.Header.Get("X-Slack-Req-Id"))
}

// Fail implements [engine.Exchange].
func (x *exchange) Fail(f *engine.Failure) error {
	return x.client.failure(x.call.method, x.before, f)
}

// failure is the error of a call without an answer that could be judged.
func (c *Client) failure(method string, before int, f *engine.Failure) error {
	e := &Error{
		Service: service, Method: method, Kind: Kind(f.Kind),
		RetryAfter: f.RetryAfter, Attempts: before + f.Attempts, Err: c.engine.Cause(f.Err),
	}
	if f.Answer != nil {
		e.StatusCode, e.RequestID = f.Answer.Status, c.requestID(f.Answer)
	}
	return e
}

// Seal implements [engine.Exchange].
func (x *exchange) Seal(err, cause error) error {
	e := err.(*Error)
	if e.Err != nil {
		cause = fmt.Errorf("%w; %w", e.Err, cause)
	}
	e.Err = cause
	return e
}
