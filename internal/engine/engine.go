// Package engine is the one request path of chatdm's clients: it builds an
// attempt, sends it, reads the answer within bounds, repeats it where the
// retry contract allows, and remembers the pauses that a server asked for.
//
// It knows HTTP and time, and no platform: what an answer means is for the
// [Exchange] that comes with each request.
package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// The kinds of failure that the engine tells apart by itself. They are the
// strings of the root package's Kind constants.
const (
	InvalidRequest     = "invalid_request"
	RateLimited        = "rate_limited"
	Unavailable        = "unavailable"
	UnexpectedResponse = "unexpected_response"
	Canceled           = "canceled"
)

// Request is one API call, ready to be sent as often as it takes.
type Request struct {
	Method     string // the API's name of it, "conversations.open", which is also its path below the base URL
	Verb       string // the HTTP method
	Query      string // encoded, "" for none
	Body       []byte // nil for none
	Repeatable bool   // a second run does no harm where the first may have had its effect
	Exchange   Exchange
}

// Exchange is what a platform knows about one call.
type Exchange interface {
	// Judge decodes one complete answer and says what it means. The body is
	// only lent: it is overwritten after Judge returns.
	Judge(Answer) Verdict
	// Fail makes the platform's error of a call without an answer to judge.
	Fail(*Failure) error
	// Seal adds to an error of Judge what kept the engine from trying again.
	Seal(err, cause error) error
}

// Answer is one HTTP response, read to its end.
type Answer struct {
	Status  int
	Header  http.Header
	Body    []byte
	Attempt int // how many requests this call has sent so far, this one included
	Lost    int // how many of those before it may have had their effect
}

// Get is a header's value, "" where there is none. The name is as canonical as
// the ones that net/http has read, which saves looking at each letter.
func (a Answer) Get(name string) string {
	if values := a.Header[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// Verdict is what an attempt came to.
type Verdict struct {
	Err       error // nil: the call has succeeded
	Outcome   Outcome
	Hint      time.Duration // how long the server asked to wait; 0 where it did not say
	RequestID string        // of a success, for the log; errors have their own
}

// Outcome is a row of the retry contract: what a failed attempt may have done.
type Outcome int

// The rows, from never repeated to always.
const (
	Definite Outcome = iota // decided; a repeat would get the same answer
	Doubtful                // may have had its effect, but a repeat would get the same answer
	Unknown                 // may have had its effect: repeated for repeatable calls
	Unsent                  // never left this machine: repeated for every call
	Refused                 // refused for its rate, without effect: repeated after the server's wait
)

// Failure is an attempt, or a call before its first attempt, that brought no
// answer a platform could judge.
type Failure struct {
	Kind       string
	Err        error
	Answer     *Answer       // status and headers, where the failure came after them
	RetryAfter time.Duration // with RateLimited: how long until a call may be sent
	Attempts   int
}

func (f *Failure) Error() string { return f.Err.Error() }

// ErrEffectUnknown is the root package's.
var ErrEffectUnknown = errors.New("the call may have had its effect, and was not repeated")

// Service is what a platform's client fixes for all its calls.
type Service struct {
	Name    string            // "slack": the first part of a limiter's key
	URL     string            // what the user calls the base URL, in errors about it
	Header  map[string]string // sent with every request, credentials among them
	Secrets []string          // what no text may show
}

// Engine sends requests for one client. It is safe for concurrent use.
type Engine struct {
	service  string
	base     *url.URL
	timeout  time.Duration
	retry    RetryPolicy
	limit    int64
	limiter  Limiter
	logger   *slog.Logger
	template *http.Request
	retries  *retryablehttp.Client
	pauses   pauses

	// Closures, because fmt prints what a struct holds, unexported fields and
	// all, but never what a function has captured.
	header func() http.Header
	scrub  func(string) string
}

// New checks the configuration and builds the engine. Its error names the
// setting at fault.
func New(cfg Config, service Service) (*Engine, error) {
	base, err := cfg.validate(service.URL)
	if err != nil {
		return nil, err
	}
	header := make(http.Header, len(service.Header)+len(cfg.Header)+2)
	header.Set("Accept", "application/json")
	header.Set("User-Agent", cfg.UserAgent)
	for name, value := range service.Header {
		header.Set(name, value)
	}
	maps.Copy(header, cfg.Header)

	e := &Engine{
		service:  service.Name,
		base:     base,
		timeout:  cfg.attemptTimeout(),
		retry:    cfg.Retry.withDefaults(),
		limit:    cfg.MaxResponseBytes,
		limiter:  cfg.Limiter,
		logger:   cfg.Logger,
		template: &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1},
		header:   func() http.Header { return maps.Clone(header) },
		scrub:    newScrubber(service.Secrets),
	}

	client := cfg.HTTPClient
	if client == nil {
		client = &http.Client{}
	}
	own := *client
	next := own.Transport
	if next == nil {
		next = defaultTransport()
	}
	own.Transport = &attempts{engine: e, next: next}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	own.Timeout = 0 // an attempt has its own; the client's would start a goroutine per call

	e.retries = &retryablehttp.Client{
		HTTPClient: &own,
		RetryMax:   math.MaxInt32, // checkRetry counts
		CheckRetry: checkRetry,
		// The library's wait ignores deadlines and other goroutines' pauses, so
		// that it is none, and prepareRetry waits instead.
		Backoff:      func(_, _ time.Duration, _ int, _ *http.Response) time.Duration { return 0 },
		PrepareRetry: prepareRetry,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	return e, nil
}

// BaseURL is where the API lives, without a trailing slash.
func (e *Engine) BaseURL() string { return e.base.String() }

// Scrub replaces every credential in a text that somebody else wrote.
func (e *Engine) Scrub(text string) string { return e.scrub(text) }

// Send runs a call to its end: the attempts, the waits between them, and the
// limiter before each. It returns how many requests were sent; the error is
// the Exchange's.
func (e *Engine) Send(ctx context.Context, r *Request) (int, error) {
	if ctx == nil {
		return 0, r.Exchange.Fail(invalid(errors.New("ctx: nil context")))
	}
	var start time.Time
	if e.logger != nil {
		start = time.Now()
	}
	c := &call{Context: ctx, engine: e, request: r}
	err := c.run()
	if e.logger != nil {
		c.log(err, time.Since(start))
	}
	return c.sent, err
}

// call is the state of one Send. It travels as the request's context, because
// that is all that go-retryablehttp hands to each of its hooks.
type call struct {
	context.Context
	engine  *Engine
	request *Request

	sent     int
	lost     int           // attempts before the last that may have had their effect
	verdict  Verdict       // of the last attempt
	answered bool          // that attempt got an answer, and Judge made the verdict
	status   int           // of that answer
	wait     time.Duration // before the next attempt
	waiting  bool          // the next attempt is decided, and not begun
}

type callKey struct{}

func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

func (c *call) run() error {
	if f := c.admit(0); f != nil {
		return c.stop(f)
	}
	e, r := c.engine, c.request
	u := *e.base
	u.Path += "/" + r.Method
	u.RawQuery = r.Query
	req := e.template.WithContext(c)
	req.Method, req.URL, req.Header = r.Verb, &u, e.outerHeader()

	// The response is of no interest: the attempt has read and judged it.
	_, err := e.retries.Do(&retryablehttp.Request{Request: req})
	switch {
	case c.waiting:
		// prepareRetry, or the library itself when the context ended first.
		f, ok := errors.AsType[*Failure](err)
		if !ok {
			f = canceled(c.ended())
		}
		return c.stop(f)
	case c.sent == 0:
		return c.stop(invalid(err)) // net/http would not send it
	}
	return c.verdict.Err
}

// outerHeader is what http.Client sees of a request's header: nothing, and a
// place for the cookies of a Jar. Without a Jar nobody writes to it.
func (e *Engine) outerHeader() http.Header {
	if e.retries.HTTPClient.Jar == nil {
		return noHeader
	}
	return make(http.Header)
}

var noHeader = http.Header{}

// stop gives the error of a call that was ended before its next attempt. What
// the server said last is never lost: a call that its context ended keeps it,
// any other reason carries it as its cause.
func (c *call) stop(f *Failure) error {
	f.Attempts = c.sent
	last := c.verdict.Err
	if last == nil {
		return c.request.Exchange.Fail(f)
	}
	if f.Kind == Canceled && c.answered {
		return c.request.Exchange.Seal(last, f.Err)
	}
	f.Err = fmt.Errorf("%w (before that: %w)", f.Err, last)
	return c.request.Exchange.Fail(f)
}

// ended is the error of the caller's context. A deadline that has passed counts
// from that instant: a dial or a read that it ends may return before the
// context says so.
func (c *call) ended() error {
	if err := c.Context.Err(); err != nil {
		if cause := context.Cause(c.Context); cause != err { //nolint:errorlint // is it the very same?
			return fmt.Errorf("%w: %w", err, cause)
		}
		return err
	}
	if deadline, ok := c.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

func canceled(err error) *Failure { return &Failure{Kind: Canceled, Err: err} }

func invalid(err error) *Failure { return &Failure{Kind: InvalidRequest, Err: err} }

// attempts is the RoundTripper below go-retryablehttp. Each round trip is one
// attempt as one unit, so that the library decides on finished verdicts. It
// has no CloseIdleConnections: the library would call it on every give-up, and
// the connections are the caller's.
type attempts struct {
	engine *Engine
	next   http.RoundTripper
}

var errAttemptTimeout error = attemptTimeout{}

// attemptTimeout is not context.DeadlineExceeded, so that a caller who asks
// errors.Is for that learns of the own deadline and of nothing else.
type attemptTimeout struct{}

func (attemptTimeout) Error() string   { return "no complete answer within the timeout of one attempt" }
func (attemptTimeout) Timeout() bool   { return true }
func (attemptTimeout) Temporary() bool { return true }

func (t *attempts) RoundTrip(outer *http.Request) (*http.Response, error) {
	c := callOf(outer.Context())
	c.sent++
	c.waiting = false

	var ctx context.Context = c
	if t.engine.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(c, t.engine.timeout, errAttemptTimeout)
		defer cancel()
	}
	var connecting *connecting
	if !c.request.Repeatable { // for the others the difference is none
		ctx, connecting = traceConnect(ctx)
	}

	resp, err := t.next.RoundTrip(t.build(ctx, c, outer))
	if err != nil {
		f, outcome := c.broken(ctx, err)
		if outcome == Unknown && (neverSent(err) || connecting.failed()) {
			outcome = Unsent
		}
		c.fail(f, outcome)
		return nil, err
	}
	defer resp.Body.Close()
	c.judge(ctx, resp)
	resp.Body = http.NoBody
	return resp, nil
}

// build makes the request of one attempt. The headers are set here and not on
// the outer request, which http.Client would copy value by value.
func (t *attempts) build(ctx context.Context, c *call, outer *http.Request) *http.Request {
	req := outer.WithContext(ctx)
	req.Host = req.URL.Host // not on the outer request, for which http.Client would copy the URL
	req.Header = t.engine.header()
	for name, values := range outer.Header { // the cookies of the caller's Jar
		req.Header[name] = append(slices.Clip(req.Header[name]), values...)
	}
	body := c.request.Body
	if body == nil {
		req.Header.Del("Content-Type")
	}
	if len(body) == 0 {
		return req
	}
	req.ContentLength = int64(len(body))
	// GetBody too: net/http needs it to replace a kept connection that the
	// server has closed meanwhile.
	// A type of our own in place of these two would cost an allocation less and a
	// packet more: net/http sends the header alone before a body it does not know.
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	return req
}

// judge reads the answer and lets the platform decide what it means.
func (c *call) judge(ctx context.Context, resp *http.Response) {
	a := Answer{Status: resp.StatusCode, Header: resp.Header, Attempt: c.sent, Lost: c.lost}
	if a.Status >= 300 && a.Status < 400 {
		err := fmt.Errorf("redirected to %s; redirects are not followed", target(resp))
		c.fail(&Failure{Kind: UnexpectedResponse, Err: err, Answer: &Answer{Status: a.Status, Header: a.Header}}, Definite)
		return
	}
	var buf buffer
	defer buf.release()
	body, err := buf.read(resp, c.engine.limit)
	// A refusal and a server error are decided by the status: how their body
	// ends changes nothing.
	if err != nil && a.Status != http.StatusTooManyRequests && a.Status < 500 {
		f, outcome := c.broken(ctx, err)
		if errors.Is(f.Err, io.ErrUnexpectedEOF) { // it ended early, the connection did not break
			f.Kind = UnexpectedResponse
		}
		f.Answer = &Answer{Status: a.Status, Header: a.Header}
		if outcome == Definite {
			outcome = Unreadable(a.Status)
		}
		c.fail(f, outcome)
		return
	}
	a.Body = body
	c.verdict = c.request.Exchange.Judge(a)
	c.answered, c.status = true, a.Status
}

// fail records an attempt that brought nothing to judge.
func (c *call) fail(f *Failure, outcome Outcome) {
	if f.Kind == Canceled && c.verdict.Err != nil {
		f.Err = fmt.Errorf("%w (before that: %w)", f.Err, c.verdict.Err)
	}
	f.Attempts = c.sent
	c.verdict = Verdict{Err: c.request.Exchange.Fail(f), Outcome: outcome}
	c.answered = false
}

// target is where a redirect points, without what may be secret in it.
func target(resp *http.Response) string {
	u, err := resp.Location()
	if err != nil {
		return "nowhere"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

var errTooLarge = errors.New("the answer is larger than the limit")

// chunk is as much as nearly every answer needs.
type chunk [4 << 10]byte

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// buffer holds one answer while it is judged, in pooled chunks: a long answer
// costs its length and not the sizes that a growing slice goes through, and one
// that passes the limit costs no new memory.
type buffer struct {
	first *chunk
	rest  []*chunk
}

// read returns what the answer is after decompression, or its beginning and an
// error. It reads hardly more than limit bytes.
func (b *buffer) read(resp *http.Response, limit int64) ([]byte, error) {
	b.first = chunks.Get().(*chunk)
	if resp.ContentLength > limit {
		return nil, fmt.Errorf("%w of %d bytes", errTooLarge, limit)
	}
	free := b.first[:]
	for size := 0; ; {
		if len(free) == 0 {
			next := chunks.Get().(*chunk)
			b.rest = append(b.rest, next)
			free = next[:]
		}
		n, err := resp.Body.Read(free)
		free = free[n:]
		size += n
		switch {
		case int64(size) > limit:
			return nil, fmt.Errorf("%w of %d bytes", errTooLarge, limit)
		case err == io.EOF:
			return b.join(size), nil
		case err != nil:
			return b.join(size), err
		}
	}
}

func (b *buffer) join(size int) []byte {
	if b.rest == nil {
		return b.first[:size]
	}
	whole := make([]byte, 0, (1+len(b.rest))*len(chunk{}))
	whole = append(whole, b.first[:]...)
	for _, c := range b.rest {
		whole = append(whole, c[:]...)
	}
	return whole[:size]
}

func (b *buffer) release() {
	chunks.Put(b.first)
	for _, c := range b.rest {
		chunks.Put(c)
	}
}

func (c *call) log(err error, took time.Duration) {
	level, text := slog.LevelDebug, "chatdm: call succeeded"
	if err != nil {
		level, text = slog.LevelWarn, "chatdm: call failed"
	}
	attrs := []slog.Attr{
		slog.String("service", c.engine.service),
		slog.String("method", c.request.Method),
		slog.Int("attempts", c.sent),
		slog.Duration("duration", took),
	}
	if err != nil {
		attrs = append(attrs, slog.Any("error", err)) // which has the rest
	} else {
		attrs = append(attrs, slog.Int("status", c.status))
		if id := c.verdict.RequestID; id != "" {
			attrs = append(attrs, slog.String("request_id", id))
		}
	}
	c.engine.logger.LogAttrs(c.Context, level, text, attrs...)
}
