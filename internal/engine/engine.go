// Package engine implements the request path of both clients. It sends the
// attempts of a call, waits between them, and applies the retry contract.
//
// Apart from a few settings in Config, it contains nothing specific to a platform. A
// platform supplies data and two functions: Classify says what a response means, and
// NewError builds the error of a failed call.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Platform describes a platform.
type Platform struct {
	Service         string                       // "slack"; the first part of a limiter key
	URLName         string                       // the name of the base URL in errors
	ContentType     string                       // of requests with a body
	RequestIDHeader string                       // in canonical form
	NewError        func(*Engine, Outcome) error // builds the error of a failed call; called once
}

// Engine sends the calls of one client. It is safe for concurrent use.
type Engine struct {
	*settings
	credential *Credential             // nil if there is none, or if a source supplies it
	recent     atomic.Pointer[secrets] // the last credentials of a source, and secrets passed to Redact
	pauses     pauses
}

// settings are what clients with different credentials can share.
type settings struct {
	platform *Platform
	base     *url.URL
	timeout  time.Duration
	retry    RetryPolicy
	maxBytes int64
	jar      http.CookieJar
	limiter  Limiter
	source   CredentialSource
	observer Observer // nil if there is none
	retries  *retryablehttp.Client
	header   *http.Header // without credentials; a pointer, because fmt does not print what a nested pointer points to
	fixed    *secrets     // in the caller's headers, and others that do not change
}

// New returns an engine, or an error that names the invalid setting. The secrets are
// redacted in all texts, in addition to the credential and the caller's headers. Credential
// is nil if there is none, or if cfg has a source.
func New(cfg Config, platform *Platform, credential *Credential, secrets ...string) (*Engine, error) {
	base, err := cfg.validate(platform.URLName)
	if err != nil {
		return nil, err
	}
	s := &settings{
		platform: platform,
		base:     base,
		timeout:  cfg.attemptTimeout(),
		retry:    cfg.Retry.withDefaults(),
		maxBytes: cfg.MaxResponseBytes,
		limiter:  cfg.Limiter,
		source:   cfg.Source,
		header:   cfg.header(platform.ContentType),
	}
	if secrets = append(secrets, cfg.headerSecrets()...); len(secrets) > 0 {
		s.fixed = newSecrets(secrets...)
	}
	if cfg.Observer != nil || cfg.LogObserver != nil {
		s.observer = observers(slices.DeleteFunc([]Observer{cfg.Observer, cfg.LogObserver}, func(o Observer) bool { return o == nil }))
	}
	client := cmp.Or(cfg.HTTPClient, new(http.Client))
	s.jar = client.Jar
	s.retries = retriesFor(client.Transport)
	return &Engine{settings: s, credential: credential}, nil
}

// retriesFor returns the retry loop that uses a transport, or the default one if it is nil.
func retriesFor(transport http.RoundTripper) *retryablehttp.Client {
	if transport == nil {
		if transport = defaultTransport(); transport == http.RoundTripper(sharedTransport()) {
			return sharedRetries()
		}
	}
	return newRetries(transport)
}

var sharedRetries = sync.OnceValue(func() *retryablehttp.Client { return newRetries(sharedTransport()) })

func newRetries(transport http.RoundTripper) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     &attempt{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			// There is no Timeout. Each attempt has its own, and http.Client would start a
			// goroutine per call.
		},
		RetryMax:   math.MaxInt32, // checkRetry counts the attempts
		CheckRetry: checkRetry,
		// The library's wait would ignore the deadline and the pauses, so
		// prepareRetry waits instead.
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 },
		PrepareRetry: prepareRetry,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// WithCredential returns an engine with another credential and, unless it is nil, another
// limiter. It shares everything else but the pauses.
func (e *Engine) WithCredential(credential *Credential, limiter Limiter) *Engine {
	s := e.settings
	if s.source != nil || limiter != nil {
		other := *s
		other.source, other.limiter = nil, cmp.Or(limiter, s.limiter)
		s = &other
	}
	return &Engine{settings: s, credential: credential}
}

// NewError builds an error of the platform.
func (e *Engine) NewError(o Outcome) error { return e.platform.NewError(e, o) }

// BaseURL returns the base URL without a trailing slash.
func (e *Engine) BaseURL() string { return e.base.String() }

// Send makes a call: it waits, sends an attempt, and repeats both while the
// retry contract allows it. The error comes from Platform.NewError.
func (e *Engine) Send(ctx context.Context, r *Request) (err error) {
	if ctx == nil {
		return e.Fail(r.Method, InvalidRequest, 0, errors.New("ctx: must not be nil"))
	}
	c := &call{Context: ctx, engine: e, request: r}
	if e.observer != nil {
		start := time.Now()
		c.Context = e.observer.CallStart(ctx, c.info())
		err = e.Fail(r.Method, UnexpectedResponse, 0, errors.New("a function of the program panicked")) // unless it returns
		defer func() {
			resp := &c.response
			e.observer.CallEnd(c.Context, c.info(), CallEnd{resp.Attempts, resp.Status, resp.RequestID, time.Since(start), err})
		}()
	}
	if c.record(c.wait(0)); c.failure == nil {
		c.next.Request = c.newRequest()
		// Ignore the response: the attempt has read and classified it.
		_, err := e.retries.Do(&c.next)
		if c.retrying || c.response.Attempts == 0 {
			c.abort(err)
		}
		c.resolve()
	}
	if err = nil; c.failure != nil {
		err = e.NewError(c.outcome())
	}
	return err
}

// Owner returns the user whose credential the next attempt of a method uses.
func (e *Engine) Owner(ctx context.Context, method string) (string, error) {
	if ctx == nil {
		return "", e.Fail(method, InvalidRequest, 0, errors.New("ctx: must not be nil"))
	}
	c := &call{Context: ctx, engine: e, request: &Request{Method: method}}
	if c.record(c.authenticate()); c.failure != nil {
		return "", e.NewError(c.outcome())
	}
	return c.credential.Owner, nil
}

// Fail returns the error of a call that fails outside Send.
func (e *Engine) Fail(method, kind string, attempts int, cause error) error {
	return e.NewError(Outcome{Method: method, Failure: Failure{Kind: kind, Err: e.Cause(cause)}, Attempts: attempts})
}

// call is the state of one Send. It is also in the context of the requests, because
// go-retryablehttp passes nothing else to its hooks.
type call struct {
	context.Context
	engine  *Engine
	request *Request
	next    retryablehttp.Request // for the next attempt

	cancel     context.CancelFunc // ends the timeout of the last request
	connecting *connecting        // whether it got a connection; nil if that does not matter

	response    Response    // to the last attempt; its counters cover the whole call
	failure     *Failure    // of the last attempt; nil if there was none or it succeeded
	credential  *Credential // of the last attempt; nil if there is none
	refreshed   bool        // the credential has been refreshed, which happens only once
	rejected    bool        // the next attempt needs another credential
	responded   bool        // Classify has received the response to the last attempt
	retrying    bool        // another attempt is due, but has not begun
	announced   bool        // the observer has been told about that attempt
	inTransport bool        // the caller's transport or body is being used
}

type callKey struct{}

func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func callFromContext(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// newRequest returns the request of an attempt, without a header or a body. It starts
// the timeout of the attempt.
func (c *call) newRequest() *http.Request {
	var ctx context.Context = c
	c.cancel = func() {}
	if timeout := c.engine.timeout; timeout > 0 {
		ctx, c.cancel = context.WithTimeoutCause(c, timeout, errAttemptTimeout)
	}
	if !c.request.Idempotent || c.request.Resolve != nil { // any other call is retried anyway
		ctx, c.connecting = traceConnect(ctx)
	}
	u := *c.engine.base
	u.Path += "/" + c.request.Method
	if c.request.Verb == http.MethodGet {
		u.RawQuery = string(c.request.Body)
	}
	req := template.WithContext(ctx)
	req.Method, req.URL, req.Header = c.request.Verb, &u, noHeader
	return req
}

// checkRetry is the CheckRetry hook: it decides whether to make another attempt.
func checkRetry(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	c := callFromContext(ctx)
	e, f := c.engine, c.failure
	if f == nil {
		return false, nil
	}
	requested := f.RetryAfter
	if f.Kind == RateLimited && f.Retry == Always {
		requested = cmp.Or(requested, defaultPause)
		pause := min(requested, maxPause)
		e.pauses.start(c.request, pause)
		if e.limiter != nil {
			e.limiter.Limited(c.Context, c.limiterKey(), pause)
		}
	}
	attempts := c.response.Attempts
	switch f.Retry {
	case Never:
		return false, nil
	case IfIdempotent:
		if !c.request.Idempotent {
			return false, nil
		}
	case AfterRefresh:
		if refresher, ok := e.source.(CredentialRefresher); !ok || c.refreshed || !refresher.CanRefresh(f.Code) {
			return false, nil
		}
		c.refreshed, c.rejected = true, true
	}
	if c.refreshed {
		attempts-- // the attempt after a refresh is an additional one
	}
	if attempts >= e.retry.MaxAttempts || requested > e.retry.MaxRetryAfter {
		return false, nil
	}
	if ctxErr := c.contextErr(); ctxErr != nil {
		if c.responded {
			c.failure = f.WithCause(e.Cause(ctxErr))
		}
		return false, nil
	}
	wait := max(e.retry.backoff(max(1, attempts)), requested)
	if c.rejected {
		wait = 0
	}
	if deadline, ok := c.Deadline(); ok && time.Until(deadline) < wait {
		c.failure = f.WithCause(fmt.Errorf("wait of %v would exceed the context deadline: %w", wait, context.DeadlineExceeded))
		return false, nil
	}
	c.failure.backoff, c.retrying = wait, true
	c.next.Request = template.WithContext(c) // the context of the attempt has ended
	if f.Unknown {
		c.response.LostAnswers++
	}
	return true, nil
}

// backoff returns the random wait after attempt n. The first attempt is 1.
func (p RetryPolicy) backoff(n int) time.Duration {
	ceiling := p.MaxWait
	if p.BaseWait <= p.MaxWait>>(n-1) { // then it does not overflow
		ceiling = p.BaseWait << (n - 1)
	}
	return ceiling/2 + rand.N(ceiling-ceiling/2+1)
}

// prepareRetry is the PrepareRetry hook: it waits before the next attempt.
func prepareRetry(req *http.Request) error {
	c := callFromContext(req.Context())
	if f := c.wait(c.failure.backoff); f != nil {
		return f
	}
	*req = *c.newRequest()
	return nil
}

// template is copied for each request.
var template = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}

// noHeader stands in for the header, which http.Client would copy.
var noHeader = http.Header{}

// abort ends the call before its next attempt. If the caller's context ended, the
// call keeps the last failure that the server reported.
func (c *call) abort(err error) {
	c.cancel()
	f, ok := errors.AsType[*Failure](err)
	switch {
	case f == errNotRefreshed:
		return
	case !c.retrying:
		f = &Failure{Kind: InvalidRequest, Err: err} // net/http rejected the request before it was sent
	case !ok:
		f = canceled(c.contextErr()) // go-retryablehttp saw that the context was done
	}
	if f.Kind == Canceled && c.responded {
		c.failure = c.failure.WithCause(c.engine.Cause(f.Err))
		return
	}
	c.responded, c.response.Status, c.response.RequestID = false, 0, ""
	c.record(f)
}

// resolve asks the request what happened if the call has failed but an attempt may
// have taken effect. If the caller's context has ended, the effect stays unknown.
func (c *call) resolve() {
	r := c.request
	if c.failure == nil || r.Resolve == nil || !c.failure.Unknown && c.response.LostAnswers == 0 {
		return
	}
	if c.failure.Unknown {
		c.response.LostAnswers++
	}
	f := *c.failure
	f.Unknown = true
	if c.failure = &f; c.contextErr() != nil {
		return
	}
	if c.failure = r.Resolve(c.Context, &c.response, &f); c.failure == nil {
		c.response.Status, c.response.RequestID = 0, "" // of the lost response
	}
}

// record stores the failure of an attempt. If f is nil, the attempt succeeded.
func (c *call) record(f *Failure) {
	if f != nil {
		f.status, f.previous = c.response.Status, c.failure
		if f.Err != nil {
			f.Err = c.engine.Cause(f.Err)
		}
	}
	c.failure = f
}

// outcome describes the failure for the error or the log. Only the last failure is
// in the error chain.
func (c *call) outcome() Outcome {
	f := c.failure
	if f.Unknown && (!c.request.Idempotent || c.request.Resolve != nil) {
		f = f.WithCause(ErrEffectUnknown)
	}
	if f.previous != nil && f.previous.Error() != c.failure.Error() {
		f = f.WithCause(errors.New("earlier attempt: " + f.previous.Error()))
	}
	o := Outcome{
		Method: c.request.Method, Failure: *f, Status: c.response.Status, RequestID: c.response.RequestID,
		Attempts: int(c.request.EarlierAttempts) + c.response.Attempts,
	}
	o.Message = c.engine.Line(o.Message)
	return o
}

func (c *call) info() CallInfo { return CallInfo{c.engine.platform.Service, c.request.Method} }

// observeAttempt reports the start of an attempt. It returns the attempt's context and a
// function that reports the end.
func (c *call) observeAttempt(req *http.Request) (context.Context, func()) {
	o, start := c.engine.observer, time.Now()
	u := *req.URL
	u.RawQuery = "" // it contains the arguments of a GET
	info := AttemptInfo{CallInfo: c.info(), Attempt: c.response.Attempts, HTTPMethod: req.Method, URL: u.String()}
	ctx := o.AttemptStart(req.Context(), info)
	return ctx, func() { o.AttemptEnd(ctx, info, c.attemptEnd(time.Since(start))) }
}

func (c *call) attemptEnd(took time.Duration) AttemptEnd {
	end := AttemptEnd{StatusCode: c.response.Status, RequestID: c.response.RequestID, Duration: took}
	if c.failure != nil {
		o := c.outcome()
		end.Kind, end.Code, end.Err = o.Kind, o.Code, o.Err
	}
	return end
}

// observeWait reports the start of a wait. It returns a function that reports the end.
func (c *call) observeWait(reason string, d time.Duration) func(error) {
	o := c.engine.observer
	if o == nil {
		return func(error) {}
	}
	start := time.Now()
	info := WaitInfo{CallInfo: c.info(), Reason: reason, Duration: d}
	if c.retrying && !c.announced {
		c.announced = true
		info.Attempt, info.Failed = c.response.Attempts, c.attemptEnd(0)
	}
	ctx := o.WaitStart(c.Context, info)
	return func(err error) {
		if f, ok := errors.AsType[*Failure](err); ok {
			err = f.Err
		}
		if err != nil {
			err = c.engine.Cause(err)
		}
		o.WaitEnd(ctx, info, WaitEnd{time.Since(start), err})
	}
}
