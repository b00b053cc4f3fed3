package engine

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"sync/atomic"
)

// attempt is the http.RoundTripper below go-retryablehttp. Each round trip is
// one whole attempt: the timeout covers the body, and the library sees only the
// final result. It has no CloseIdleConnections method, because the library would
// call it whenever it gives up, and the connections belong to the caller.
type attempt struct{ transport http.RoundTripper }

// RoundTrip sends one attempt, reads the response, and lets the platform
// classify it. It stores the result in the call.
func (a *attempt) RoundTrip(req *http.Request) (_ *http.Response, err error) {
	c := callFromContext(req.Context())
	defer c.cancel()
	e, r := c.engine, c.request
	c.response = Response{Attempts: c.response.Attempts + 1, LostAnswers: c.response.LostAnswers}
	c.responded, c.retrying, c.announced = false, false, false

	ctx := req.Context()
	if e.observer != nil {
		var end func()
		ctx, end = c.observeAttempt(req)
		defer end()
		req = req.WithContext(ctx)
	}

	// Set the header and the body here, because http.Client would copy them. The request
	// is not shared: newRequest has made it for this attempt.
	req.Host = req.URL.Host
	req.Header = maps.Clone(*e.header)
	c.credential.set(req.Header)
	if e.jar != nil { // http.Client would send a second Cookie header
		for _, cookie := range e.jar.Cookies(req.URL) {
			req.AddCookie(cookie)
		}
	}
	if r.Body == nil || r.Verb == http.MethodGet {
		req.Header.Del("Content-Type")
	} else {
		req.ContentLength = int64(len(r.Body))
		// net/http needs GetBody to resend the request if the server has closed an idle
		// connection. It sends this type of body together with the header.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
		req.Body, _ = req.GetBody()
	}

	c.inTransport = true
	defer func() {
		if !c.inTransport {
			return // do not hide a panic in the caller's UnmarshalJSON
		}
		c.inTransport = false
		if p := recover(); p != nil {
			err = fmt.Errorf("transport panicked: %v", p)
			c.record(c.transportFailure(ctx, err))
		}
	}()
	resp, err := a.transport.RoundTrip(req)
	if err == nil && resp == nil {
		err = errors.New("transport returned neither a response nor an error")
	}
	if err != nil {
		f := c.transportFailure(ctx, err)
		if f.Effect == EffectUnknown && (neverSent(err) || c.connecting.failed()) {
			f.Effect = NeverSent
		}
		c.record(f)
		return nil, err
	}
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	if e.jar != nil {
		e.jar.SetCookies(req.URL, resp.Cookies())
	}
	defer resp.Body.Close()
	c.record(c.receive(ctx, resp))
	resp.Body = http.NoBody
	return resp, nil
}

// receive reads a response and classifies it.
func (c *call) receive(ctx context.Context, resp *http.Response) *Failure {
	e, r := c.engine, c.request
	c.response.Status, c.response.Header = resp.StatusCode, resp.Header
	if !r.Confidential {
		c.response.RequestID = e.Line(c.response.Header.Get(e.platform.RequestIDHeader))
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		f := &Failure{Kind: UnexpectedResponse, Err: errors.New("the client does not follow redirects"), Quote: "redirected to an invalid URL"}
		if u, err := resp.Location(); err == nil && u.Host != "" {
			f.Quote = "redirected to " + u.Scheme + "://" + u.Host // the rest may contain a secret
		}
		return c.quote(f)
	}
	var buf buffer
	defer buf.release()
	body, err := buf.read(resp, e.maxBytes)
	// For a 429 or a server error, the status is enough.
	if err != nil && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < 500 {
		f := c.transportFailure(ctx, err)
		if errors.Is(f.Err, io.ErrUnexpectedEOF) { // the body was truncated, but the connection was not lost
			f.Kind = UnexpectedResponse
		}
		if f.Effect == Final {
			f.Effect = EffectForStatus(resp.StatusCode)
		}
		return f
	}
	c.responded, c.inTransport = true, false
	c.response.Body = body
	f := r.Classify(&c.response)
	c.response.Body = nil
	return c.quote(f)
}

// quote adds what the response said to the failure, unless the call is
// confidential.
func (c *call) quote(f *Failure) *Failure {
	switch {
	case f == nil:
	case c.request.Confidential:
		f.Message, f.Details = "", nil
	case f.Quote != "":
		f.Err = fmt.Errorf("%w: %s", f.Err, f.Quote)
	}
	return f
}

// transportFailure classifies an error from the transport or from reading the body.
func (c *call) transportFailure(ctx context.Context, err error) *Failure {
	f := &Failure{Kind: Unavailable, Err: err, Effect: EffectUnknown}
	_, badCertificate := errors.AsType[*tls.CertificateVerificationError](err)
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	switch ctxErr := c.contextErr(); {
	case ctxErr != nil:
		f.Kind, f.Err = Canceled, ctxErr
	case ctx.Err() != nil:
		f.Err = errAttemptTimeout
	case errors.Is(err, errTooLarge), corrupt, errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		f.Kind, f.Effect = UnexpectedResponse, Final
	case badCertificate:
		f.Effect = Final
	case c.request.Confidential && !neverSent(err): // errors from net/http quote malformed responses
		f.Err = newSafeError("no complete response: connection lost", err)
	default:
		f.Err = fmt.Errorf("no complete response: %w", err)
	}
	return f
}

// errAttemptTimeout does not match context.DeadlineExceeded, which stands for the caller's deadline.
var errAttemptTimeout = fmt.Errorf("attempt timed out before the response was complete: %w", os.ErrDeadlineExceeded)

// neverSent reports whether err shows that no connection was established.
func neverSent(err error) bool {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "proxyconnect")
}

// connecting detects failures to connect that the error does not show, such as an
// interrupted TLS handshake. It needs a transport that supports httptrace.
type connecting struct{ started, done atomic.Bool }

func traceConnect(ctx context.Context) (context.Context, *connecting) {
	var t connecting
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { t.started.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { t.done.Store(true) },
	}), &t
}

func (t *connecting) failed() bool { return t != nil && t.started.Load() && !t.done.Load() }

var errTooLarge = errors.New("the response is too large")

// chunk can hold nearly every response. Its size is 1 KiB.
type chunk struct {
	data [1<<10 - 8]byte
	next *chunk
}

// maxOther is how much of a body is read if it is not a JSON object: enough for an
// excerpt, and for nearly every error page.
const maxOther = 4 << 10

var chunks = sync.Pool{New: func() any { return new(chunk) }}

// buffer holds a body in pooled chunks, which use less memory than a growing slice.
type buffer struct{ first, last *chunk }

// read returns the body after decompression, or its beginning and an error. If the body
// is not a JSON object, read may return only its beginning.
func (b *buffer) read(resp *http.Response, limit int64) ([]byte, error) {
	b.first = chunks.Get().(*chunk)
	b.last = b.first
	free, size := b.first.data[:], 0
	var err error
	for err == nil && int64(size) <= limit && resp.ContentLength <= limit {
		if len(free) == 0 {
			b.last.next = chunks.Get().(*chunk)
			b.last = b.last.next
			free = b.last.data[:]
		}
		var n int
		n, err = resp.Body.Read(free)
		free, size = free[n:], size+n
		if size >= maxOther && !mayBeObject(b.first.data[:]) {
			return b.join(size), nil
		}
	}
	if int64(size) > limit || resp.ContentLength > limit {
		return nil, fmt.Errorf("%w: the limit is %d bytes", errTooLarge, limit)
	}
	if err == io.EOF {
		err = nil
	}
	return b.join(size), err
}

// mayBeObject reports whether a body with this beginning may be a JSON object.
func mayBeObject(head []byte) bool {
	head = bytes.TrimLeft(head, space)
	return len(head) == 0 || head[0] == '{'
}

func (b *buffer) join(size int) []byte {
	if b.first == b.last {
		return b.first.data[:size]
	}
	body := make([]byte, 0, size)
	for c := b.first; c != nil; c = c.next {
		body = append(body, c.data[:min(len(c.data), size-len(body))]...)
	}
	return body
}

func (b *buffer) release() {
	for c := b.first; c != nil; {
		next := c.next
		c.next = nil
		chunks.Put(c)
		c = next
	}
}
