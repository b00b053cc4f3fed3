// Package chatdmotel traces and measures the calls of a chatdm client with OpenTelemetry.
// Create one [Observer] with [NewObserver], and pass it to all clients:
//
//	client, err := chatdm.NewClient(token, chatdm.WithObserver(chatdmotel.NewObserver()))
//
// Names follow OpenTelemetry's semantic conventions for HTTP clients, version 1.43, where
// these have one. All other names start with chatdm.
//
// # Spans
//
// Each call has a span of kind internal, named after the method, such as
// conversations.open. Each attempt is a child span of kind client, named after its HTTP
// method and path, such as POST /api/conversations.open. Each wait that takes a millisecond
// or more adds the event chatdm.wait to the span of the call. The searches for a message
// with a key are calls of their own, so their spans are children of the call's span.
//
// The attributes of a call:
//
//   - chatdm.service: slack or rocketchat
//   - chatdm.method: the API method
//   - chatdm.attempts: the number of attempts
//   - chatdm.kind: the [chatdm.Kind] of a failed call
//   - chatdm.code: the [chatdm.Code] of a failed call, if the server sent one
//   - chatdm.effect_unknown: true if the error matches [chatdm.ErrEffectUnknown]
//   - error.type: the code of a failed call, or else its kind
//
// The attributes of an attempt are chatdm.service, chatdm.method, chatdm.kind, chatdm.code,
// http.request.method, http.request.resend_count, http.response.status_code,
// server.address, server.port, url.full, url.template, and error.type, which is the HTTP
// status if it is 400 or more. The attributes of the event are chatdm.wait.reason, which is
// a [chatdm.WaitReason], and chatdm.wait.duration in seconds.
//
// The status of a failed call or attempt is Error. The description is the code and its
// meaning, or the kind.
//
// # Metrics
//
//   - chatdm.call.duration: a histogram of the seconds that calls take with their waits,
//     with the attributes of the call's span except chatdm.attempts
//   - chatdm.call.attempts: a histogram of the attempts per call, by service and method
//   - chatdm.wait.duration: a histogram of the seconds that calls wait, by service, method,
//     and chatdm.wait.reason; it includes waits that are over at once
//   - chatdm.calls.active: the number of calls in flight, by service and method
//   - http.client.request.duration: a histogram of the seconds that attempts take, with the
//     attributes of the attempt's span except http.request.resend_count and url.full
//
// # Cardinality and privacy
//
// Except for numbers, every attribute has a bounded set of values:
//
//   - A code or kind that is not a constant of package chatdm or rocketchat becomes _OTHER.
//   - The rest of a Rocket.Chat path after a slash becomes _OTHER, because it can contain an ID.
//   - An Observer keeps the first 500 methods. All further ones become _OTHER. Slack has
//     about 300 methods, so this happens only if a program makes up names.
//
// No span or metric contains a credential, an argument, the text of a server, or a request
// ID. To add request IDs to spans, embed the Observer in a type of your own; see the
// example of [Observer.CallEnd].
//
// Do not use otelhttp as the transport of the same client, because it would create a second
// span and a second http.client.request.duration for each attempt.
package chatdmotel

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/chatdm/chatdm"
)

const (
	scopeName = "github.com/chatdm/chatdm/chatdmotel"

	maxMethods = 500
	other      = "_OTHER" // as in the semantic conventions

	// A shorter wait gets no event. A limiter and a source of tokens often respond at once.
	minWait = time.Millisecond
)

// The attributes without a semantic convention.
const (
	serviceKey       = attribute.Key("chatdm.service")
	methodKey        = attribute.Key("chatdm.method")
	attemptsKey      = attribute.Key("chatdm.attempts")
	kindKey          = attribute.Key("chatdm.kind")
	codeKey          = attribute.Key("chatdm.code")
	effectUnknownKey = attribute.Key("chatdm.effect_unknown")
	waitReasonKey    = attribute.Key("chatdm.wait.reason")
	waitDurationKey  = attribute.Key("chatdm.wait.duration")
)

// Observer is a [chatdm.Observer] that creates spans and metrics. Create it with
// [NewObserver]. The zero value is not usable.
//
// An Observer is safe for concurrent use by multiple goroutines and clients.
type Observer struct {
	tracer   trace.Tracer
	duration metric.Float64Histogram
	attempts metric.Int64Histogram
	waits    metric.Float64Histogram
	active   metric.Int64UpDownCounter
	requests httpconv.ClientRequestDuration

	mu      sync.RWMutex
	methods map[string]bool // at most maxMethods
}

var _ chatdm.Observer = (*Observer)(nil)

// Option configures an [Observer].
type Option func(*config)

type config struct {
	tracers trace.TracerProvider
	meters  metric.MeterProvider
}

// WithTracerProvider sets the provider of the tracer that creates the spans. If tp is nil,
// which is the default, the Observer uses the global provider.
func WithTracerProvider(tp trace.TracerProvider) Option {
	return func(c *config) { c.tracers = tp }
}

// WithMeterProvider sets the provider of the meter that creates the metrics. If mp is nil,
// which is the default, the Observer uses the global provider.
func WithMeterProvider(mp metric.MeterProvider) Option {
	return func(c *config) { c.meters = mp }
}

// NewObserver returns an Observer for [chatdm.WithObserver]. It ignores nil options. If the
// meter rejects an instrument, NewObserver reports that to [otel.Handle], and the Observer
// works without the instrument.
func NewObserver(opts ...Option) *Observer {
	var cfg config
	for _, opt := range opts {
		if opt != nil {
			opt(&cfg)
		}
	}
	if cfg.tracers == nil {
		cfg.tracers = otel.GetTracerProvider()
	}
	if cfg.meters == nil {
		cfg.meters = otel.GetMeterProvider()
	}
	meter := cfg.meters.Meter(scopeName, metric.WithSchemaURL(semconv.SchemaURL))
	o := &Observer{
		tracer:  cfg.tracers.Tracer(scopeName, trace.WithSchemaURL(semconv.SchemaURL)),
		methods: make(map[string]bool),
	}
	// An instrument that is returned with an error works as a no-op.
	var errs [5]error
	o.duration, errs[0] = meter.Float64Histogram("chatdm.call.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of calls, with their waits."),
		metric.WithExplicitBucketBoundaries(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300))
	o.attempts, errs[1] = meter.Int64Histogram("chatdm.call.attempts", metric.WithUnit("{attempt}"),
		metric.WithDescription("Number of attempts per call."), metric.WithExplicitBucketBoundaries(0, 1, 2, 3, 4, 5, 10))
	o.waits, errs[2] = meter.Float64Histogram("chatdm.wait.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of the waits of calls."),
		metric.WithExplicitBucketBoundaries(0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300))
	o.active, errs[3] = meter.Int64UpDownCounter("chatdm.calls.active", metric.WithUnit("{call}"),
		metric.WithDescription("Number of calls in flight."))
	o.requests, errs[4] = httpconv.NewClientRequestDuration(meter)
	if err := errors.Join(errs[:]...); err != nil {
		otel.Handle(err)
	}
	return o
}

// call is the state of a call, in its context.
type call struct {
	span  trace.Span
	attrs []attribute.KeyValue // service and method
}

// attempt is the state of an attempt, in its context.
type attempt struct {
	span  trace.Span
	attrs []attribute.KeyValue // of the metric
}

type (
	callKey    struct{}
	attemptKey struct{}
)

// CallStart starts the span of a call. [trace.SpanFromContext] returns it for the new
// context.
func (o *Observer) CallStart(ctx context.Context, c chatdm.CallInfo) context.Context {
	method := o.method(c.Method)
	attrs := identity(c.Service, method)
	ctx, span := o.tracer.Start(ctx, method, trace.WithAttributes(attrs...))
	if o.active.Enabled(ctx) {
		o.active.Add(ctx, 1, metric.WithAttributes(attrs...))
	}
	return context.WithValue(ctx, callKey{}, &call{span, attrs})
}

// CallEnd ends the span of a call and records its metrics.
func (o *Observer) CallEnd(ctx context.Context, _ chatdm.CallInfo, end chatdm.CallEnd) {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return
	}
	defer c.span.End()
	var failure []attribute.KeyValue
	if end.Err != nil {
		code, kind := chatdm.Code(""), chatdm.KindUnknown
		if e, ok := errors.AsType[*chatdm.Error](end.Err); ok {
			code, kind = e.Code, e.Kind
		}
		failure = describe(code, kind, 0)
		if errors.Is(end.Err, chatdm.ErrEffectUnknown) {
			failure = append(failure, effectUnknownKey.Bool(true))
		}
		c.span.SetStatus(codes.Error, meaning(code, kind))
	}
	c.span.SetAttributes(attemptsKey.Int(end.Attempts))
	c.span.SetAttributes(failure...)
	if o.active.Enabled(ctx) {
		o.active.Add(ctx, -1, metric.WithAttributes(c.attrs...))
	}
	if o.attempts.Enabled(ctx) {
		o.attempts.Record(ctx, int64(end.Attempts), metric.WithAttributes(c.attrs...))
	}
	if o.duration.Enabled(ctx) {
		o.duration.Record(ctx, end.Duration.Seconds(), metric.WithAttributes(append(failure, c.attrs...)...))
	}
}

// AttemptStart starts the span of an attempt. [trace.SpanFromContext] returns it for the
// new context.
func (o *Observer) AttemptStart(ctx context.Context, a chatdm.AttemptInfo) context.Context {
	method := o.method(a.Method)
	full := strings.TrimSuffix(a.URL, a.Method) + method
	u, err := url.Parse(full)
	if err != nil { // impossible, because the client parsed it
		u = new(url.URL)
	}
	attrs := append(identity(a.Service, method), semconv.HTTPRequestMethodKey.String(a.HTTPMethod),
		semconv.ServerAddress(u.Hostname()), semconv.ServerPort(port(u)), semconv.URLTemplate(u.Path))
	forSpan := append(attrs, semconv.URLFull(full))
	if a.Attempt > 1 {
		forSpan = append(forSpan, semconv.HTTPRequestResendCount(a.Attempt-1))
	}
	ctx, span := o.tracer.Start(ctx, a.HTTPMethod+" "+u.Path, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(forSpan...))
	return context.WithValue(ctx, attemptKey{}, &attempt{span, attrs})
}

// AttemptEnd ends the span of an attempt and records its metric.
func (o *Observer) AttemptEnd(ctx context.Context, _ chatdm.AttemptInfo, end chatdm.AttemptEnd) {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	if !ok {
		return
	}
	defer a.span.End()
	var attrs []attribute.KeyValue
	if end.StatusCode != 0 {
		attrs = append(attrs, semconv.HTTPResponseStatusCode(end.StatusCode))
	}
	if end.Kind != "" {
		attrs = append(attrs, describe(end.Code, end.Kind, end.StatusCode)...)
		description := "" // if the status code says everything, according to the conventions
		if end.StatusCode < http.StatusBadRequest || end.Code != "" {
			description = meaning(end.Code, end.Kind)
		}
		a.span.SetStatus(codes.Error, description)
	}
	a.span.SetAttributes(attrs...)
	if o.requests.Enabled(ctx) {
		o.requests.Inst().Record(ctx, end.Duration.Seconds(), metric.WithAttributes(append(attrs, a.attrs...)...))
	}
}

// WaitStart returns ctx.
func (*Observer) WaitStart(ctx context.Context, _ chatdm.WaitInfo) context.Context { return ctx }

// WaitEnd adds the event of a wait to the span of its call and records its metric.
func (o *Observer) WaitEnd(ctx context.Context, w chatdm.WaitInfo, end chatdm.WaitEnd) {
	reason := waitReasonKey.String(string(w.Reason))
	if c, ok := ctx.Value(callKey{}).(*call); ok && end.Duration >= minWait && c.span.IsRecording() {
		c.span.AddEvent("chatdm.wait", trace.WithAttributes(reason, waitDurationKey.Float64(end.Duration.Seconds())))
	}
	if o.waits.Enabled(ctx) {
		attrs := append(identity(w.Service, o.method(w.Method)), reason)
		o.waits.Record(ctx, end.Duration.Seconds(), metric.WithAttributes(attrs...))
	}
}

func identity(service, method string) []attribute.KeyValue {
	attrs := make([]attribute.KeyValue, 0, 8)
	return append(attrs, serviceKey.String(service), methodKey.String(method))
}

// method returns the attribute value for a method. The set of values is bounded.
func (o *Observer) method(name string) string {
	if first, _, ok := strings.Cut(name, "/"); ok {
		name = first + "/" + other
	}
	o.mu.RLock()
	known := o.methods[name]
	o.mu.RUnlock()
	if known {
		return name
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.methods) >= maxMethods {
		return other
	}
	o.methods[name] = true
	return name
}

// describe returns the attributes of a failure.
func describe(code chatdm.Code, kind chatdm.Kind, status int) []attribute.KeyValue {
	kind = boundedKind(kind)
	attrs := []attribute.KeyValue{kindKey.String(string(kind))}
	errorType := string(kind)
	if code != "" {
		errorType = string(boundedCode(code))
		attrs = append(attrs, codeKey.String(errorType))
	}
	if status >= http.StatusBadRequest {
		errorType = strconv.Itoa(status)
	}
	return append(attrs, semconv.ErrorTypeKey.String(errorType))
}

// meaning returns the description of a failure, without any text of the server.
func meaning(code chatdm.Code, kind chatdm.Kind) string {
	if code = boundedCode(code); code == "" || code == other {
		return string(boundedKind(kind))
	}
	return string(code) + ": " + code.Meaning()
}

func boundedCode(code chatdm.Code) chatdm.Code {
	if code == "" || code.Kind() != chatdm.KindUnknown {
		return code
	}
	return other
}

// boundedKind returns a constant. The error of a custom source of tokens can have any kind.
func boundedKind(kind chatdm.Kind) chatdm.Kind {
	switch kind {
	case chatdm.KindInvalidRequest, chatdm.KindUnauthenticated, chatdm.KindPermissionDenied, chatdm.KindNotFound,
		chatdm.KindUnreachable, chatdm.KindUnsupported, chatdm.KindRateLimited, chatdm.KindUnavailable,
		chatdm.KindUnexpectedResponse, chatdm.KindCanceled, chatdm.KindUnknown:
		return kind
	default:
		return other
	}
}

// port returns the port of a URL, or the default port of its scheme.
func port(u *url.URL) int {
	if n, err := strconv.Atoi(u.Port()); err == nil {
		return n
	}
	if u.Scheme == "http" {
		return 80
	}
	return 443
}
