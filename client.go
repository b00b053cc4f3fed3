package chatdm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

const service = "slack"

// Client calls Slack's Web API with one token. It is safe for concurrent use by
// multiple goroutines. A 429 pauses the method, or the conversation, for all of them.
type Client struct {
	IM            *IMService // im.open and im.close, which Slack has retired
	Conversations *ConversationsService
	Chat          *ChatService
	Users         *UsersService
	Auth          *AuthService

	services struct { // in one allocation
		im            IMService
		conversations ConversationsService
		chat          ChatService
		users         UsersService
		auth          AuthService
	}
	engine    *engine.Engine
	strictIM  bool
	imRetired atomic.Bool // a response has shown that the im.* methods are retired

	// For messages with a key.
	created    time.Time
	settleTime time.Duration
	self       atomic.Pointer[identity] // nil until the first search
	lost       lostMessages
}

// NewClient returns a client that sends token in the Authorization header. It does
// not contact the server. If the token or an option is invalid, it returns an
// *[Error] of [KindInvalidRequest]. A valid token is printable ASCII without spaces. With
// [WithTokenSource], token must be empty.
func NewClient(token string, opts ...Option) (*Client, error) {
	cfg := engine.NewConfig("https://slack.com/api", opts)
	c := &Client{strictIM: cfg.StrictIM, settleTime: cfg.SettleTime}
	var err error
	c.engine, err = newEngine(token, cfg)
	if err != nil {
		return nil, &Error{Service: service, Method: "NewClient", Kind: KindInvalidRequest, Err: err}
	}
	c.init()
	return c, nil
}

var platform = engine.Platform{
	Service: service, URLName: "WithBaseURL", RequestIDHeader: "X-Slack-Req-Id", NewError: newError,
	ContentType: "application/x-www-form-urlencoded", // without a charset, because Slack would warn with superfluous_charset
}

func newEngine(token string, cfg engine.Config) (*engine.Engine, error) {
	var credential *engine.Credential
	switch _, ours := cfg.Source.(interface{ forSlack() }); {
	case cfg.TOTP != "":
		return nil, errors.New("WithTOTP: only rocketchat.Login accepts it")
	case cfg.TOTPFunc != nil:
		return nil, errors.New("WithTOTPFunc: only rocketchat.NewLoginSource accepts it")
	case cfg.Source != nil && !ours:
		return nil, errors.New("WithCredentialSource: only rocketchat.NewClient accepts it; use WithTokenSource")
	case cfg.Source != nil && token != "":
		return nil, errors.New("token: must be empty, because WithTokenSource is set")
	case cfg.Source == nil:
		if err := input.CheckCredential("token", token); err != nil {
			return nil, err
		}
		credential = bearer(token)
	}
	return engine.New(cfg, &platform, credential)
}

// init sets the fields that clients do not share.
func (c *Client) init() {
	c.created = time.Now()
	c.services.im.client, c.services.conversations.client, c.services.chat.client = c, c, c
	c.services.users.client, c.services.auth.client = c, c
	c.IM, c.Conversations, c.Chat = &c.services.im, &c.services.conversations, &c.services.chat
	c.Users, c.Auth = &c.services.users, &c.services.auth
}

// WithToken returns a client that uses another token, for example that of another workspace.
// It shares the transport, the options, and the limiter with c, but not the pauses after
// a 429. It costs much less than a new client. If the token is invalid, WithToken returns an
// *[Error] of [KindInvalidRequest]. The new client has no [TokenSource], even if c has one.
//
// Slack limits each workspace separately, so pass another limiter for another workspace.
// [WithLimiter] is the only option that has an effect.
func (c *Client) WithToken(token string, opts ...Option) (*Client, error) {
	if err := input.CheckCredential("token", token); err != nil {
		return nil, &Error{Service: service, Method: "WithToken", Kind: KindInvalidRequest, Err: err}
	}
	var limiter engine.Limiter
	if opts != nil {
		limiter = engine.NewConfig("", opts).Limiter
	}
	other := &Client{strictIM: c.strictIM, settleTime: c.settleTime}
	other.imRetired.Store(c.imRetired.Load())
	other.engine = c.engine.WithCredential(bearer(token), limiter)
	other.init()
	return other, nil
}

// bearer returns a credential whose header authenticates with a token.
func bearer(token string) *engine.Credential {
	return engine.NewCredential("", token, "Authorization", "Bearer "+token)
}

// String returns the client's type and base URL, but no secret.
func (c *Client) String() string {
	if c == nil || c.engine == nil {
		return "chatdm.Client(none)"
	}
	return "chatdm.Client(" + c.engine.BaseURL() + ")"
}

// GoString returns the same text as String.
func (c *Client) GoString() string { return c.String() }

// Call calls any Slack method, for example "chat.postMessage", with the errors,
// limits, and options of the typed methods. An error code without a constant is
// of [KindUnknown].
//
// Params is nil, a url.Values, a map[string]any, or a struct with the tags of
// github.com/google/go-querystring. Nested structs, maps, and slices of them are
// sent as JSON, as Slack expects for blocks. In a map, every value except a string is
// sent as JSON, and nil values are omitted. An argument named token is an error, and
// so is a top-level field with a json tag but no url tag.
//
// Result is nil or a non-nil pointer into which Call decodes the JSON of a
// successful response. If that fails, the error is of [KindUnexpectedResponse] and
// matches [ErrEffectUnknown], because the call has taken effect.
//
// The call is not idempotent. The client retries it only if it never reached the
// server, or was rejected because of a rate limit or a token that a [TokenRefresher]
// replaces.
func (c *Client) Call(ctx context.Context, method string, params, result any) (*Meta, error) {
	meta := new(Meta)
	body, err := input.Params(params).Encode()
	if !methodPattern.MatchString(method) {
		method, err = "Call", fmt.Errorf("method: %.100q is not a valid method name", method)
	}
	_, err = c.do(ctx, request{
		Request: engine.Request{Method: method, Body: body, Confidential: returnsCredentials(method)},
		invalid: cmp.Or(err, input.CheckResult(result)), meta: meta, result: result,
	})
	if err != nil {
		return nil, err
	}
	return meta, nil
}

var methodPattern = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$`)

// returnsCredentials reports whether a method's response can contain tokens.
func returnsCredentials(method string) bool {
	return slices.ContainsFunc([]string{"oauth.", "openid.", "tooling.tokens.", "apps.manifest.", "apps.connections.", "rtm."},
		func(prefix string) bool { return strings.HasPrefix(method, prefix) })
}

// request describes a call for do, which decodes the response into it.
type request struct {
	engine.Request
	invalid  error    // why the arguments cannot be sent
	fallback *request // replaces this request if Slack has retired its method
	meta     *Meta    // receives the metadata
	channel  *Channel // if not nil, receives the channel, which is then required
	result   any      // the result argument of Call
	// decode decodes a response with fields that type response lacks. If it is nil,
	// there are none.
	decode func(*engine.Response) (response, error)

	response
}

// response has the fields that this package reads from any method's response.
type response struct {
	OK       bool   `json:"ok"`
	Error    string `json:"error"`
	Needed   string `json:"needed"`
	Provided string `json:"provided"`
	Warning  string `json:"warning"`
	Metadata *struct {
		Warnings   engine.Strings `json:"warnings"`
		Messages   engine.Strings `json:"messages"`
		NextCursor string         `json:"next_cursor"`
	} `json:"response_metadata"`
	NoOp          bool     `json:"no_op"`
	AlreadyOpen   bool     `json:"already_open"`
	AlreadyClosed bool     `json:"already_closed"`
	Channel       *Channel `json:"channel"`
}

// do makes a call and returns its decoded response. If Slack has retired the
// method, do makes the fallback call instead.
func (c *Client) do(ctx context.Context, r request) (*response, error) {
	if r.invalid != nil {
		return nil, c.engine.Fail(r.Method, engine.InvalidRequest, 0, r.invalid)
	}
	if r.fallback != nil && c.imRetired.Load() {
		return c.do(ctx, *r.fallback)
	}
	r.Verb = http.MethodPost
	r.Classify = func(raw *engine.Response) *engine.Failure { return c.classify(&r, raw) }
	err := c.engine.Send(ctx, &r.Request)
	if err == nil {
		return &r.response, nil
	}
	if r.fallback == nil || c.strictIM || !retired(err) {
		return nil, err
	}
	c.imRetired.Store(true)
	if e, ok := errors.AsType[*Error](err); ok {
		r.fallback.EarlierAttempts = int32(e.Attempts)
	}
	return c.do(ctx, *r.fallback)
}

// retired reports whether err means that Slack has retired the method.
func retired(err error) bool {
	return errors.Is(err, ErrMethodDeprecated) || errors.Is(err, ErrDeprecatedEndpoint) || errors.Is(err, ErrUnknownMethod)
}

// classify decodes a response from Slack. It returns nil for a success.
func (c *Client) classify(r *request, raw *engine.Response) *engine.Failure {
	// Discard what an earlier attempt decoded.
	r.response = response{Channel: r.channel}
	resp := &r.response
	if r.channel != nil {
		*r.channel = Channel{}
	}
	if raw.Status == http.StatusTooManyRequests { // regardless of the body
		return c.rejected(r, raw, ErrRateLimited)
	}
	var malformed error
	if r.decode != nil {
		*resp, malformed = r.decode(raw)
	} else {
		malformed = raw.Decode(resp)
	}

	switch {
	case resp.Error != "" && !resp.OK:
		return c.rejected(r, raw, Code(resp.Error))
	case raw.Status >= 500:
		return &engine.Failure{
			Kind: engine.Unavailable, RetryAfter: engine.RetryAfter(raw.Header),
			Details: resp, Effect: engine.EffectForStatus(raw.Status),
		}
	case errors.Is(malformed, io.ErrUnexpectedEOF):
		f := c.unexpected(raw, resp, fmt.Sprintf("the JSON is truncated after %d bytes", len(raw.Body)), "")
		f.Effect = engine.EffectUnknown
		return f
	case malformed != nil:
		return c.unexpected(raw, resp, "the response is malformed", malformed.Error()+": "+c.engine.Excerpt(raw.Body))
	case !resp.OK || raw.Status >= 300:
		return c.unexpected(raw, resp, "neither a success nor an error", c.engine.Excerpt(raw.Body))
	case r.channel != nil && (resp.Channel == nil || resp.Channel.ID == ""):
		return c.unexpected(raw, resp, "the call succeeded, but the response has no channel", c.engine.Excerpt(raw.Body))
	case r.result != nil:
		if err := json.Unmarshal(raw.Body, r.result); err != nil {
			return c.unexpected(raw, resp, "the call succeeded, but the response cannot be decoded into result", err.Error())
		}
	}
	*r.meta = Meta{
		Method: r.Method, StatusCode: raw.Status, RequestID: raw.RequestID,
		Scopes: c.engine.List(raw.Header.Get("X-Oauth-Scopes")), AcceptedScopes: c.engine.List(raw.Header.Get("X-Accepted-Oauth-Scopes")),
		Attempts: int(r.EarlierAttempts) + raw.Attempts, LostAnswers: raw.LostAnswers,
	}
	r.meta.Warnings, r.meta.Messages = warningsAndMessages(c.engine, resp)
	// According to its documentation, conversations.open can also send the flags as warnings.
	warns := func(flag string) bool {
		return slices.Contains(r.meta.Warnings, Warning(flag)) || resp.Metadata != nil && slices.Contains(resp.Metadata.Warnings, flag)
	}
	resp.NoOp, resp.AlreadyOpen = resp.NoOp || warns("no_op"), resp.AlreadyOpen || warns("already_open")
	return nil
}

// rejected classifies a response with an error code.
func (c *Client) rejected(r *request, raw *engine.Response, code Code) *engine.Failure {
	code = code.canonical()
	entry, ok := catalogue[code]
	if !ok {
		entry.kind = KindUnknown
		if raw.Status >= 500 { // the code may come from a gateway
			entry.effect = engine.EffectForStatus(raw.Status)
		}
		code = Code(c.engine.Code(string(code), r.Confidential))
	}
	f := &engine.Failure{
		Kind: string(entry.kind), Code: string(code), RetryAfter: engine.RetryAfter(raw.Header), Details: &r.response, Effect: entry.effect,
	}
	if entry.kind == KindRateLimited && f.RetryAfter == 0 {
		f.RetryAfter = engine.ResetAfter(raw.Header)
	}
	return f
}

// unexpected classifies a response that the API does not document.
func (c *Client) unexpected(raw *engine.Response, resp *response, problem, quote string) *engine.Failure {
	return &engine.Failure{
		Kind: engine.UnexpectedResponse, Err: errors.New(problem), Quote: quote, RetryAfter: engine.RetryAfter(raw.Header),
		Details: resp, Effect: engine.EffectForStatus(raw.Status),
	}
}

// warningsAndMessages returns the distinct warnings and the messages of a response.
func warningsAndMessages(from *engine.Engine, resp *response) (warnings []Warning, messages []string) {
	texts := from.List(resp.Warning)
	if resp.Metadata != nil {
		texts = append(texts, from.Lines(resp.Metadata.Warnings)...)
		messages = from.Lines(resp.Metadata.Messages)
	}
	for _, text := range texts {
		if w := Warning(text); len(warnings) < maxWarnings && !slices.Contains(warnings, w) {
			warnings = append(warnings, w)
		}
	}
	return warnings, messages[:min(len(messages), maxWarnings)]
}

// maxWarnings is the maximum number of warnings, and of messages, in a result or error.
const maxWarnings = 20

// newError builds the error of a failed call.
func newError(from *engine.Engine, o engine.Outcome) error {
	e := &Error{
		Service: service, Method: o.Method, Code: Code(o.Code), Kind: Kind(o.Kind),
		StatusCode: o.Status, RequestID: o.RequestID, RetryAfter: o.RetryAfter, Attempts: o.Attempts, Err: o.Err,
	}
	if resp, ok := o.Details.(*response); ok {
		e.Needed, e.Provided = from.List(resp.Needed), from.List(resp.Provided)
		e.Warnings, e.Messages = warningsAndMessages(from, resp)
		e.Message = engine.Shorten(strings.Join(e.Messages, "; "), engine.MaxText)
	}
	return e
}

// Meta holds metadata about a response.
type Meta struct {
	Method     string // the API method that responded: "conversations.open" if IM.Open fell back to it
	StatusCode int    // the HTTP status
	RequestID  string // identifies the request in Slack's logs (X-Slack-Req-Id)
	// Scopes are the token's scopes. AcceptedScopes are the scopes that the method
	// accepts; it needs only one. Both are nil if the server did not list them.
	Scopes, AcceptedScopes []string
	Warnings               []Warning // distinct warnings about the request, at most 20
	Messages               []string  // the server's messages for developers, at most 20
	Attempts               int       // including attempts that could not connect
	// LostAnswers is the number of earlier attempts that may have taken effect. If it
	// is not 0, one of them may be the reason for AlreadyOpen or AlreadyClosed.
	LostAnswers int
}
