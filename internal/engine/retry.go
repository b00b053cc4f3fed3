package engine

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"time"
)

// checkRetry decides on a finished attempt whether there is another, and how
// long to wait before it. go-retryablehttp calls it after each.
func checkRetry(ctx context.Context, _ *http.Response, _ error) (bool, error) {
	c := callOf(ctx)
	e, v := c.engine, c.verdict
	if v.Err == nil || v.Outcome == Definite {
		return false, nil
	}
	wait := e.retry.wait(c.sent, v)
	if v.Outcome == Refused {
		e.pauses.begin(c.request.Method, wait)
		if e.limiter != nil {
			e.limiter.Limited(c.Context, c.key(), max(v.Hint, leastPause))
		}
	}
	if (v.Outcome == Unknown || v.Outcome == Doubtful) && !c.request.Repeatable {
		c.verdict.Err = c.request.Exchange.Seal(v.Err, ErrEffectUnknown)
		return false, nil
	}
	if v.Outcome == Doubtful {
		return false, nil
	}
	ended := c.ended() != nil
	if !c.answered && ended || // the attempt's error is already the context's
		c.sent >= e.retry.MaxAttempts ||
		v.Hint > e.retry.MaxRetryAfter {
		return false, nil
	}
	if deadline, ok := ctx.Deadline(); ok && !ended && time.Until(deadline) < wait {
		err := fmt.Errorf("a wait of %v would pass the context's deadline: %w", wait, context.DeadlineExceeded)
		c.verdict.Err = c.request.Exchange.Seal(v.Err, err)
		return false, nil
	}
	c.wait, c.waiting = wait, true
	if v.Outcome == Unknown {
		c.lost++
	}
	if e.logger != nil {
		e.logger.LogAttrs(c.Context, slog.LevelInfo, "chatdm: retrying",
			slog.String("service", e.service), slog.String("method", c.request.Method),
			slog.Int("attempt", c.sent), slog.Duration("wait", wait), slog.Any("error", v.Err))
	}
	return true, nil
}

// prepareRetry waits before the next attempt; its error ends the call.
func prepareRetry(req *http.Request) error {
	c := callOf(req.Context())
	if f := c.admit(c.wait); f != nil {
		return f
	}
	req.Header = c.engine.outerHeader() // or http.Client would add the Jar's cookies a second time
	return nil
}

// leastPause is how long a refusal without a usable hint lasts.
const leastPause = time.Second

// wait is the time between the attempt of that number, from 1, and the next.
func (p RetryPolicy) wait(attempt int, v Verdict) time.Duration {
	ceiling := p.BaseWait
	for range attempt - 1 {
		if ceiling > p.MaxWait/2 {
			ceiling = p.MaxWait // which doubling could pass, and overflow
			break
		}
		ceiling *= 2
	}
	ceiling = min(ceiling, p.MaxWait)
	wait := ceiling/2 + rand.N(ceiling-ceiling/2+1)
	if v.Outcome == Refused && v.Hint <= 0 {
		wait = max(wait, leastPause)
	}
	return max(wait, v.Hint)
}

// key is what a limiter knows the method by.
func (c *call) key() string { return c.engine.service + "." + c.request.Method }

// admit holds the call until it may be sent: for at least wait, then until no
// pause of its method is on, then until the limiter lets it pass.
func (c *call) admit(wait time.Duration) *Failure {
	limiter := c.engine.limiter
	for {
		if err := c.ended(); err != nil {
			return canceled(err)
		}
		paused, f := c.pause(wait)
		if f != nil {
			return f
		}
		if wait = 0; paused {
			continue // another may have begun meanwhile
		}
		if limiter == nil {
			return nil
		}
		if f := c.pace(limiter); f != nil {
			return f
		}
		limiter = nil // asked once; what is left is a pause that began while it held the call
	}
}

// pause sleeps for at least wait and to the end of a pause of the method, and
// tells whether it slept at all.
func (c *call) pause(wait time.Duration) (bool, *Failure) {
	e := c.engine
	left, turn := e.pauses.enter(c.request.Method)
	wait = max(wait, left+turn)
	if wait <= 0 {
		return false, nil
	}
	if err := c.forbidden(left, wait); err != nil {
		e.pauses.leave(c.request.Method)
		return false, &Failure{Kind: RateLimited, RetryAfter: left, Err: err}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.Done():
		e.pauses.leave(c.request.Method)
		return false, canceled(c.ended())
	case <-timer.C:
		return true, nil
	}
}

// forbidden tells why a pause of the method may not be waited out, if so.
func (c *call) forbidden(left, wait time.Duration) error {
	if left <= 0 {
		return nil
	}
	if left > c.engine.retry.MaxRetryAfter {
		return errors.New("an earlier refusal has paused this method")
	}
	if deadline, ok := c.Deadline(); ok && time.Until(deadline) < wait {
		return fmt.Errorf("an earlier refusal has paused this method for longer than the context's deadline: %w", context.DeadlineExceeded)
	}
	return nil
}

// pace asks the limiter. An error of it never lets the call pass.
func (c *call) pace(limiter Limiter) *Failure {
	err := limiter.Wait(c.Context, c.key())
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Failure](err); ok {
		return &Failure{Kind: f.Kind, RetryAfter: f.RetryAfter, Err: f.Err}
	}
	if errors.Is(c.Context.Err(), context.Canceled) {
		return canceled(c.ended())
	}
	// x/time/rate has no sentinel for a wait that it refuses to begin, and a
	// Limiter of three lines hands its error through.
	if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "would exceed context deadline") {
		return &Failure{Kind: RateLimited, Err: fmt.Errorf("limiter: %w", err)}
	}
	return &Failure{Kind: Unavailable, Err: fmt.Errorf("limiter: %w", err)}
}

// Unreadable is the outcome of an answer that is not the API's own word, by its
// status: something between the client and the API may have put it in place of
// a success.
func Unreadable(status int) Outcome {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return Unknown // of a server in trouble, which a repeat may find better
	case http.StatusRequestTimeout:
		return Doubtful
	}
	if status < 300 || status >= 500 {
		return Doubtful
	}
	return Definite
}

// broken tells what a round trip or a read that failed means.
func (c *call) broken(ctx context.Context, err error) (*Failure, Outcome) {
	ended := c.ended()
	switch {
	case ended != nil:
		return canceled(ended), Unknown
	case ctx.Err() != nil:
		return &Failure{Kind: Unavailable, Err: errAttemptTimeout}, Unknown
	case errors.Is(err, errTooLarge), corrupt(err):
		return &Failure{Kind: UnexpectedResponse, Err: err}, Definite
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Failure{Kind: Unavailable, Err: err}, Definite
	}
	return &Failure{Kind: Unavailable, Err: fmt.Errorf("no answer: %w", err)}, Unknown
}

// corrupt tells of a compressed answer that cannot be unpacked.
func corrupt(err error) bool {
	_, flateErr := errors.AsType[flate.CorruptInputError](err)
	return flateErr || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum)
}

// neverSent tells from the error alone that no connection was made.
func neverSent(err error) bool {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && (op.Op == "dial" || op.Op == "proxyconnect")
}

// connecting watches an attempt until it has a connection. It catches what
// the error does not tell: a TLS handshake that was cut, a timeout in the
// dial. A transport that reports nothing leaves it without an opinion.
type connecting struct{ began, done atomic.Bool }

func traceConnect(ctx context.Context) (context.Context, *connecting) {
	var t connecting
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { t.began.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { t.done.Store(true) },
	}), &t
}

func (t *connecting) failed() bool { return t != nil && t.began.Load() && !t.done.Load() }
