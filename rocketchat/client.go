package rocketchat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
)

const (
	service = "rocketchat"
	apiRoot = "/api/v1"
)

// Client is a client of one Rocket.Chat server for one user. Make it with
// [NewClient], once, and share it: it is safe for concurrent use.
type Client struct {
	// IM has im.create, im.open, im.close and im.delete.
	IM *IMService

	engine *engine.Engine
}

// NewClient returns a client of the server at serverURL, which may live under
// a path; a trailing slash or /api/v1 is of no matter. The URL has no user,
// query or fragment, and is https unless its host is loopback; see
// [chatdm.WithInsecureHTTP]. Neither the URL nor the credentials are checked
// with the server. A bad URL, credentials that are empty or hold white space
// or control characters, and an option with an impossible value or none of a
// Rocket.Chat client's ([chatdm.WithBaseURL], [chatdm.WithStrictIM],
// [WithTOTP]) are a *[chatdm.Error] of [chatdm.KindInvalidRequest].
func NewClient(serverURL string, creds Credentials, opts ...chatdm.Option) (*Client, error) {
	e, cfg, err := newEngine(serverURL, creds, opts)
	if err == nil && cfg.TOTP != "" {
		err = errors.New("WithTOTP: is for Login")
	}
	if err != nil {
		return nil, &chatdm.Error{Service: service, Method: "NewClient", Kind: chatdm.KindInvalidRequest, Err: err}
	}
	c := &Client{engine: e}
	c.IM = &IMService{client: c}
	return c, nil
}

// newEngine serves NewClient and Login, which has secrets of its own in place
// of credentials.
func newEngine(serverURL string, creds Credentials, opts []chatdm.Option, secrets ...string) (*engine.Engine, *engine.Config, error) {
	cfg := engine.DefaultConfig()
	for _, opt := range opts {
		if opt != nil {
			opt(&cfg)
		}
	}
	switch {
	case cfg.BaseURL != "":
		return nil, nil, errors.New("WithBaseURL: the server's URL is an argument of its own here")
	case cfg.StrictIM:
		return nil, nil, errors.New("WithStrictIM: no method of Rocket.Chat has a twin")
	}
	cfg.BaseURL = strings.TrimSuffix(strings.TrimRight(serverURL, "/"), apiRoot) + apiRoot

	// Without the type the server does not parse the body.
	header := map[string]string{"Content-Type": "application/json"}
	if secrets == nil {
		for _, field := range []struct{ name, value string }{{"UserID", creds.UserID}, {"AuthToken", creds.AuthToken}} {
			if err := engine.CheckCredential(field.name, field.value); err != nil {
				return nil, nil, err
			}
		}
		header["X-User-Id"], header["X-Auth-Token"] = creds.UserID, creds.AuthToken
		secrets = []string{creds.AuthToken}
	}
	secrets = append(secrets, cfg.TOTP)
	e, err := engine.New(cfg, engine.Service{Name: service, URL: "serverURL", Header: header, Secrets: secrets})
	return e, &cfg, err
}

// String names the server, and no secret.
func (c *Client) String() string {
	if c == nil || c.engine == nil {
		return "rocketchat.Client(none)"
	}
	return "rocketchat.Client(" + strings.TrimSuffix(c.engine.BaseURL(), apiRoot) + ")"
}

// GoString is the same as String.
func (c *Client) GoString() string { return c.String() }

// Call sends any other request below /api/v1, with the same kind of errors, the
// same limits and the same options as the methods that have a Go function. The path is that of the
// endpoint without a leading slash: "im.list", "rooms.upload/GENERAL".
//
// With GET, params is nil, a url.Values, or a struct that
// github.com/google/go-querystring encodes, and becomes the query; with POST,
// PUT, PATCH and DELETE it is anything that encoding/json marshals, and becomes
// the body; nil is an empty object. Result is nil, or a pointer that the
// answer's JSON object is unmarshaled into, only when the call has succeeded;
// if it does not fit, the error is [chatdm.KindUnexpectedResponse] and
// [chatdm.ErrEffectUnknown], and the call has had its effect.
//
// It is repeated only when the first request was refused for its rate or never
// reached the server. Where it may have had its effect the error matches
// [chatdm.ErrEffectUnknown].
func (c *Client) Call(ctx context.Context, method, path string, params, result any) (*chatdm.Meta, error) {
	k := call{verb: method, path: path, params: params, result: result, invalid: checkCall(method, path, result)}
	r, err := do(ctx, c.engine, k)
	if err != nil {
		return nil, err
	}
	return &r.meta, nil
}

var pathPattern = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$`)

func checkCall(method, path string, result any) error {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return fmt.Errorf("method: %q is not GET, POST, PUT, PATCH or DELETE", method)
	}
	if !pathPattern.MatchString(path) {
		return fmt.Errorf("path: %q is not the path of an endpoint", path)
	}
	return engine.CheckResult(result)
}

// call is one call of an endpoint, before it is encoded.
type call struct {
	verb       string
	path       string
	params     any
	invalid    error                         // why the params may not be sent
	repeatable bool                          // may run twice without harm
	result     any                           // of Call
	check      func(*reply) (problem string) // what a success must hold; nil: nothing
}

// do is a call from its parameters to its decoded answer.
func do(ctx context.Context, e *engine.Engine, k call) (*reply, error) {
	x := &exchange{engine: e, call: k}
	r := &engine.Request{Method: k.path, Verb: k.verb, Repeatable: k.repeatable, Exchange: x}
	if err := encode(k, r); err != nil {
		return nil, x.Fail(&engine.Failure{Kind: engine.InvalidRequest, Err: err})
	}
	if _, err := e.Send(ctx, r); err != nil {
		return nil, err
	}
	return &x.reply, nil
}

func encode(k call, r *engine.Request) (err error) {
	if k.invalid != nil {
		return k.invalid
	}
	if k.verb == http.MethodGet {
		form, err := engine.Form(k.params)
		r.Query = string(form)
		return err
	}
	if k.params == nil {
		k.params = struct{}{}
	}
	if r.Body, err = json.Marshal(k.params); err != nil {
		return fmt.Errorf("params: %w", err)
	}
	return nil
}

// reply is the answer of any endpoint, as far as this package reads it.
type reply struct {
	Success bool   `json:"success"`
	Status  string `json:"status"` // in place of success, of login before 7.0
	Room    struct {
		RID       string   `json:"rid"`
		ID        string   `json:"_id"`
		Type      string   `json:"t"`
		Usernames []string `json:"usernames"`
	} `json:"room"`
	Data Credentials `json:"data"`
	report

	closed bool // im.close of a closed room
	meta   chatdm.Meta
}

// exchange is a call as the engine sees it: what Rocket.Chat's answers mean.
type exchange struct {
	engine *engine.Engine
	call   call
	reply  reply
}

// Judge implements [engine.Exchange].
func (x *exchange) Judge(a engine.Answer) engine.Verdict {
	x.reply = reply{}
	r := &x.reply
	malformed := engine.Decode(a.Body, r)
	r.meta = chatdm.Meta{Method: x.call.path, StatusCode: a.Status, RequestID: x.requestID(a), Attempts: a.Attempt, LostAnswers: a.Lost}

	if a.Status == http.StatusTooManyRequests {
		return x.limited(a)
	}
	if malformed != nil {
		return x.garbled(a, malformed)
	}
	if a.Status < 300 && (r.Success || r.Status == "success") {
		return x.succeeded(a)
	}
	if x.call.path == closePath && a.Status == http.StatusBadRequest && r.alreadyClosed() {
		r.closed = true
		return engine.Verdict{RequestID: x.reply.meta.RequestID}
	}
	code := r.code(a.Status)
	switch {
	case code != "":
		e := x.answered(a, code.Kind())
		if code.Kind() == chatdm.KindUnknown {
			code = chatdm.Code(x.engine.Scrub(string(code)))
		}
		e.Code = code
		v := engine.Verdict{Err: e, Hint: e.RetryAfter}
		switch {
		case code == ErrTooManyRequests: // with another status, behind a proxy
			v.Outcome = engine.Refused
		case a.Status >= 500: // a gateway may have codes of its own
			v.Outcome = engine.Unreadable(a.Status)
		}
		return v
	case a.Status >= 500:
		return x.unavailable(a)
	case a.Status == http.StatusNotFound || a.Status == http.StatusMethodNotAllowed:
		return x.absent(a)
	case a.Status >= 400 && r.text() != "":
		return engine.Verdict{Err: x.answered(a, chatdm.KindUnknown)}
	}
	return x.unexpected(a, "neither success nor an error")
}

// succeeded checks that a success brings what it should.
func (x *exchange) succeeded(a engine.Answer) engine.Verdict {
	if x.call.check != nil {
		if problem := x.call.check(&x.reply); problem != "" {
			return x.unexpected(a, problem)
		}
	}
	if x.call.result != nil {
		if err := json.Unmarshal(a.Body, x.call.result); err != nil {
			return x.unexpected(a, "the call has succeeded, but its answer does not fit the result: "+err.Error())
		}
	}
	return engine.Verdict{RequestID: x.reply.meta.RequestID}
}

// limited is the verdict on a 429. Rocket.Chat sends no Retry-After; a proxy
// before it may.
func (x *exchange) limited(a engine.Answer) engine.Verdict {
	e := x.answered(a, chatdm.KindRateLimited)
	e.Code = ErrTooManyRequests
	if e.RetryAfter == 0 {
		e.RetryAfter = engine.ResetAfter(a.Header)
	}
	// The Date that a reset is compared with is in whole seconds, so that the
	// result can be a second too long; the text has the server's own seconds.
	if wait := textWait(e.Message); wait > 0 && (e.RetryAfter == 0 || wait < e.RetryAfter && e.RetryAfter-wait < time.Second) {
		e.RetryAfter = wait
	}
	return engine.Verdict{Err: e, Outcome: engine.Refused, Hint: e.RetryAfter}
}

var waitPattern = regexp.MustCompile(`wait (\d+) seconds?`)

// textWait is the wait that a refusal's text asks for.
func textWait(text string) time.Duration {
	m := waitPattern.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	seconds, _ := strconv.ParseFloat(m[1], 64) // digits; too many of them are an infinity
	return engine.Seconds(seconds)
}

// garbled is the verdict on an answer that is no JSON object.
func (x *exchange) garbled(a engine.Answer, malformed error) engine.Verdict {
	cut := errors.Is(malformed, io.ErrUnexpectedEOF)
	switch {
	case a.Status >= 500:
		return x.unavailable(a)
	case a.Status == http.StatusNotFound, a.Status == http.StatusMethodNotAllowed, a.Status == http.StatusOK && isHTML(a):
		// The last is how servers that do not know a path send their web page.
		return x.absent(a)
	case cut:
		v := x.unexpected(a, fmt.Sprintf("the JSON is cut off after %d bytes", len(a.Body)))
		v.Outcome = engine.Unknown
		return v
	}
	return x.unexpected(a, malformed.Error()+": "+x.engine.Excerpt(a.Body))
}

func isHTML(a engine.Answer) bool {
	return strings.HasPrefix(a.Get("Content-Type"), "text/html") || strings.HasPrefix(http.DetectContentType(a.Body), "text/html")
}

func (x *exchange) unavailable(a engine.Answer) engine.Verdict {
	e := x.answered(a, chatdm.KindUnavailable)
	return engine.Verdict{Err: e, Outcome: engine.Unreadable(a.Status), Hint: e.RetryAfter}
}

// absent is the verdict on an endpoint that the server does not have.
func (x *exchange) absent(a engine.Answer) engine.Verdict {
	e := x.answered(a, chatdm.KindUnsupported)
	switch {
	case x.call.path == deletePath:
		e.Err = errors.New("the server has no im.delete, which Rocket.Chat has from version 3.18.0 on, or its URL is wrong")
	case slices.Contains([]string{createPath, openPath, closePath, loginPath}, x.call.path):
		e.Err = fmt.Errorf("there is no %s, which every version of Rocket.Chat from 3.18.0 on has: the server's URL is wrong", x.call.path)
	default:
		e.Err = fmt.Errorf("the server has no %s %s", x.call.verb, x.call.path)
	}
	return engine.Verdict{Err: e}
}

func (x *exchange) unexpected(a engine.Answer, problem string) engine.Verdict {
	e := x.answered(a, chatdm.KindUnexpectedResponse)
	e.Err = x.engine.Cause(errors.New(problem))
	return engine.Verdict{Err: e, Outcome: engine.Unreadable(a.Status)}
}

// answered is the error that an answer brings, without its code.
func (x *exchange) answered(a engine.Answer, kind chatdm.Kind) *chatdm.Error {
	m := &x.reply.meta
	return &chatdm.Error{
		Service: service, Method: m.Method, Kind: kind,
		Message:    x.engine.Line(x.reply.text()),
		StatusCode: m.StatusCode, RequestID: m.RequestID, Attempts: m.Attempts,
		RetryAfter: engine.RetryAfter(a.Header),
	}
}

// requestID is a proxy's, if anybody's: Rocket.Chat numbers no requests.
func (x *exchange) requestID(a engine.Answer) string {
	return x.engine.Scrub(a.Get("X-Request-Id"))
}

// Fail implements [engine.Exchange].
func (x *exchange) Fail(f *engine.Failure) error {
	e := &chatdm.Error{
		Service: service, Method: x.call.path, Kind: chatdm.Kind(f.Kind),
		RetryAfter: f.RetryAfter, Attempts: f.Attempts, Err: x.engine.Cause(f.Err),
	}
	if f.Answer != nil {
		e.StatusCode, e.RequestID = f.Answer.Status, x.requestID(*f.Answer)
	}
	return e
}

// Seal implements [engine.Exchange].
func (x *exchange) Seal(err, cause error) error {
	e := err.(*chatdm.Error) //nolint:errorlint // it is what Judge and Fail return
	if e.Err != nil {
		cause = fmt.Errorf("%w; %w", e.Err, cause)
	}
	e.Err = cause
	return e
}
