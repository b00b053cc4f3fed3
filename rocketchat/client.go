package rocketchat

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

const (
	service = "rocketchat"
	apiRoot = "/api/v1"
)

// Client calls one Rocket.Chat server as one user. It is safe for concurrent use
// by multiple goroutines. A 429 pauses the endpoint for all of them.
type Client struct {
	Chat  *ChatService
	IM    *IMService
	Users *UsersService

	engine      *engine.Engine
	findsEmails atomic.Bool // users.info is known to support the argument email
}

// NewClient returns a client for the server at serverURL. It does not contact the
// server. The URL may have a path; a trailing slash or /api/v1 is ignored. It must
// not have a user, a query, or a fragment, and it must use https unless the host
// is loopback; see [chatdm.WithInsecureHTTP].
//
// If the URL, a credential, or an option is invalid, NewClient returns a
// *[chatdm.Error] of [chatdm.KindInvalidRequest]. It does not accept
// [chatdm.WithBaseURL], [chatdm.WithStrictIM], [chatdm.WithTokenSource], [WithTOTP], or
// [WithTOTPFunc]. With [WithCredentialSource], creds must be empty.
func NewClient(serverURL string, creds Credentials, opts ...chatdm.Option) (*Client, error) {
	cfg := engine.NewConfig("", opts)
	e, err := newClientEngine(serverURL, creds, cfg)
	if err != nil {
		return nil, &chatdm.Error{Service: service, Method: "NewClient", Kind: chatdm.KindInvalidRequest, Err: err}
	}
	c := &Client{engine: e}
	c.Chat, c.IM, c.Users = &ChatService{client: c}, &IMService{client: c}, &UsersService{client: c}
	return c, nil
}

func newClientEngine(serverURL string, creds Credentials, cfg engine.Config) (*engine.Engine, error) {
	switch _, ours := cfg.Source.(interface{ forRocketChat() }); {
	case cfg.TOTP != "":
		return nil, errors.New("WithTOTP: only Login accepts it")
	case cfg.TOTPFunc != nil:
		return nil, errors.New("WithTOTPFunc: only NewLoginSource accepts it")
	case cfg.Source != nil && !ours:
		return nil, errors.New("WithTokenSource: only chatdm.NewClient accepts it; use WithCredentialSource")
	case cfg.Source != nil && creds != Credentials{}:
		return nil, errors.New("creds: must be empty, because WithCredentialSource is set")
	case cfg.Source != nil:
		return newEngine(serverURL, cfg, nil)
	}
	credential, err := creds.credential()
	if err != nil {
		return nil, err
	}
	return newEngine(serverURL, cfg, credential)
}

// newEngine returns the engine of a client or of a login.
func newEngine(serverURL string, cfg engine.Config, credential *engine.Credential, secrets ...string) (*engine.Engine, error) {
	switch {
	case cfg.BaseURL != "":
		return nil, errors.New("WithBaseURL: pass the server's URL as serverURL instead")
	case cfg.StrictIM:
		return nil, errors.New("WithStrictIM: only chatdm.NewClient accepts it")
	}
	cfg.BaseURL = strings.TrimSuffix(strings.TrimRight(serverURL, "/"), apiRoot) + apiRoot
	return engine.New(cfg, &platform, credential, secrets...)
}

var platform = engine.Platform{
	Service: service, URLName: "serverURL", NewError: newError,
	ContentType:     "application/json", // without it the server does not parse the body
	RequestIDHeader: "X-Request-Id",     // set by a proxy; Rocket.Chat sends none
}

// String returns the client's type and the server's URL, but no secret.
func (c *Client) String() string {
	if c == nil || c.engine == nil {
		return "rocketchat.Client(none)"
	}
	return "rocketchat.Client(" + strings.TrimSuffix(c.engine.BaseURL(), apiRoot) + ")"
}

// GoString returns the same text as String.
func (c *Client) GoString() string { return c.String() }

// Call calls any endpoint below /api/v1, with the errors, limits, and options of
// the typed methods. Method is GET, POST, PUT, PATCH, or DELETE, and path is the
// endpoint without a leading slash: "im.list", "livechat/rooms".
//
// For GET, params becomes the query, encoded as in [chatdm.Client.Call]. For the
// other methods, params is anything that encoding/json can marshal and becomes the
// body; nil means an empty object.
//
// Result is nil or a non-nil pointer into which Call decodes the JSON of a
// successful response. If that fails, the error is of
// [chatdm.KindUnexpectedResponse] and matches [chatdm.ErrEffectUnknown], because
// the call has taken effect.
//
// The call is not idempotent. The client retries it only if it never reached the
// server, or was rejected because of a rate limit or credentials that a
// [CredentialRefresher] replaces.
func (c *Client) Call(ctx context.Context, method, path string, params, result any) (*chatdm.Meta, error) {
	invalid := checkCall(method, path, result)
	if invalid != nil {
		path = "Call" // the path may contain anything
	}
	resp, err := do(ctx, c.engine, request{
		Request: engine.Request{Method: path, Verb: method, Confidential: returnsCredentials(path)},
		params:  params, invalid: invalid, result: result,
	})
	if err != nil {
		return nil, err
	}
	return &resp.meta, nil
}

var pathPattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$`)

func checkCall(method, path string, result any) error {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return fmt.Errorf("method: got %.100q, want GET, POST, PUT, PATCH, or DELETE", method)
	}
	if !pathPattern.MatchString(path) {
		return fmt.Errorf("path: %.100q is not a valid endpoint path", path)
	}
	return input.CheckResult(result)
}

// returnsCredentials reports whether an endpoint's response can contain a token.
func returnsCredentials(path string) bool {
	return path == loginPath || strings.HasPrefix(path, "oauth-apps.") || strings.HasPrefix(path, "integrations.") ||
		strings.HasPrefix(path, "users.") && strings.HasSuffix(path, "Token")
}

// request describes a call for do, which decodes the response into it.
type request struct {
	engine.Request
	params              any
	invalid             error // why the params cannot be sent
	acceptAlreadyClosed bool  // a 400 that says "already closed" is a success
	result              any   // the result argument of Call
	// decode decodes a response with fields that type response lacks. If it is nil,
	// there are none.
	decode func(*engine.Response) (response, error)
	// verify returns a failure if a success lacks required data. If verify is nil, no
	// data is required.
	verify func(*response) *engine.Failure
	// refine changes the failure of an error response whose meaning depends on the
	// endpoint. If refine is nil, no failure changes.
	refine func(status int, f *engine.Failure)

	response
}

// required returns a failure unless ok, which says whether a success has all
// required data.
func required(ok bool) *engine.Failure {
	if ok {
		return nil
	}
	return &engine.Failure{Kind: engine.UnexpectedResponse, Err: errors.New("the call succeeded, but the response lacks required data")}
}

// response has the fields that this package reads from any endpoint's response.
type response struct {
	Success bool   `json:"success"`
	Status  string `json:"status"` // login before 7.0 sends it instead of success
	Room    struct {
		RID       string   `json:"rid"`
		ID        string   `json:"_id"`
		Type      string   `json:"t"`
		Usernames []string `json:"usernames"`
	} `json:"room"`
	report

	alreadyClosed bool
	meta          chatdm.Meta
}

// do makes a call and returns its decoded response.
func do(ctx context.Context, e *engine.Engine, r request) (*response, error) {
	if err := r.encode(); err != nil {
		return nil, e.Fail(r.Method, engine.InvalidRequest, 0, err)
	}
	r.Classify = func(raw *engine.Response) *engine.Failure { return r.classify(e, raw) }
	if err := e.Send(ctx, &r.Request); err != nil {
		return nil, err
	}
	return &r.response, nil
}

func (r *request) encode() (err error) {
	switch {
	case r.invalid != nil:
		return r.invalid
	case r.Verb == http.MethodGet:
		r.Body, err = input.Params(r.params).Encode()
		return err
	}
	if r.Body, err = json.Marshal(r.params); err != nil {
		return fmt.Errorf("params: %w", err)
	}
	if string(r.Body) == "null" {
		r.Body = []byte("{}")
	}
	return nil
}

// classify decodes a response from Rocket.Chat. It returns nil for a success.
func (r *request) classify(e *engine.Engine, raw *engine.Response) *engine.Failure {
	r.response = response{} // discard what an earlier attempt decoded
	resp := &r.response
	var malformed error
	if r.decode != nil {
		*resp, malformed = r.decode(raw)
	} else {
		malformed = raw.Decode(resp)
	}
	ok := malformed == nil && raw.Status < 300 && (resp.Success || resp.Status == "success" && !strings.HasPrefix(r.Method, "im."))
	if r.acceptAlreadyClosed && raw.Status == http.StatusBadRequest && resp.saysAlreadyClosed() {
		ok, resp.alreadyClosed = true, true
	}
	if ok {
		f := r.check(raw)
		if f == nil {
			resp.meta = chatdm.Meta{
				Method: r.Method, StatusCode: raw.Status, RequestID: raw.RequestID,
				Attempts: int(r.EarlierAttempts) + raw.Attempts, LostAnswers: raw.LostAnswers,
			}
			return nil
		}
		f.Message, f.RetryAfter, f.Effect = resp.text(), engine.RetryAfter(raw.Header), engine.EffectForStatus(raw.Status)
		return f
	}

	f := &engine.Failure{
		Kind: engine.UnexpectedResponse, Message: resp.text(), RetryAfter: engine.RetryAfter(raw.Header), Effect: engine.EffectForStatus(raw.Status),
	}
	switch code := resp.code(raw.Status, r.Method == loginPath); {
	case raw.Status == http.StatusTooManyRequests, code == ErrTooManyRequests: // a proxy may have changed the status
		f.Kind, f.Code, f.Effect = engine.RateLimited, string(ErrTooManyRequests), engine.Rejected
		f.RetryAfter = requestedWait(raw, f)
	case malformed == nil && code != "":
		f.Kind, f.Code = string(code.Kind()), string(code)
		switch {
		case raw.Status == http.StatusUnauthorized && code == ErrUnauthorized && r.Method != loginPath:
			f.Effect = engine.Expired
		case raw.Status < 500: // the code of a 5xx may come from a gateway
			f.Effect = engine.Final
		}
		if !isKnownCode(code) {
			f.Code = e.Code(f.Code, r.Confidential)
		}
	case raw.Status >= 500:
		f.Kind = engine.Unavailable
	case raw.Status == http.StatusNotFound, raw.Status == http.StatusMethodNotAllowed, raw.Status == http.StatusOK && malformed != nil && isHTML(raw):
		// A server without this endpoint may respond with its web page.
		f.Kind, f.Effect = string(chatdm.KindUnsupported), engine.Final
		f.Err = fmt.Errorf("the server has no endpoint %s %s: it is too old, or the URL is wrong", r.Verb, r.Method)
	case errors.Is(malformed, io.ErrUnexpectedEOF):
		f.Err, f.Effect = fmt.Errorf("the JSON is truncated after %d bytes", len(raw.Body)), engine.EffectUnknown
	case malformed != nil:
		f.Err, f.Quote = errors.New("the response is malformed"), malformed.Error()+": "+e.Excerpt(raw.Body)
	case raw.Status >= 400 && resp.text() != "":
		f.Kind, f.Effect = string(chatdm.KindUnknown), engine.Final
	default:
		f.Err = errors.New("neither a success nor an error")
	}
	if r.refine != nil && malformed == nil && !resp.Success {
		r.refine(raw.Status, f)
	}
	return f
}

// check returns nil if a success has everything that the caller needs.
func (r *request) check(raw *engine.Response) *engine.Failure {
	if r.verify != nil {
		return r.verify(&r.response)
	}
	if r.result != nil {
		if err := json.Unmarshal(raw.Body, r.result); err != nil {
			return &engine.Failure{
				Kind: engine.UnexpectedResponse, Err: errors.New("the call succeeded, but the response cannot be decoded into result"), Quote: err.Error(),
			}
		}
	}
	return nil
}

var waitPattern = regexp.MustCompile(`wait (\d+) seconds?`)

// requestedWait returns the wait that a 429 requests. Rocket.Chat sends no
// Retry-After, but a proxy may.
func requestedWait(raw *engine.Response, f *engine.Failure) time.Duration {
	wait := cmp.Or(f.RetryAfter, engine.ResetAfter(raw.Header))
	if m := waitPattern.FindStringSubmatch(f.Message); m != nil {
		seconds, _ := strconv.ParseFloat(m[1], 64) // out of range means +Inf
		// X-RateLimit-Reset can yield up to a second too much, because the Date header
		// has whole seconds. The text does not depend on the header.
		if text := engine.Seconds(seconds); text > 0 && (wait == 0 || text < wait && wait-text < time.Second) {
			return text
		}
	}
	return wait
}

func isHTML(raw *engine.Response) bool {
	return strings.HasPrefix(raw.Header.Get("Content-Type"), "text/html") || strings.HasPrefix(http.DetectContentType(raw.Body), "text/html")
}

// newError builds the error of a failed call.
func newError(_ *engine.Engine, o engine.Outcome) error {
	return &chatdm.Error{
		Service: service, Method: o.Method, Code: chatdm.Code(o.Code), Kind: chatdm.Kind(o.Kind), Message: o.Message,
		StatusCode: o.Status, RequestID: o.RequestID, RetryAfter: o.RetryAfter, Attempts: o.Attempts, Err: o.Err,
	}
}
