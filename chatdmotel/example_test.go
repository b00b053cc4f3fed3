package chatdmotel_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmotel"
	"github.com/chatdm/chatdm/chatdmtest"
)

// open opens a direct message on a fake Slack that first responds with a 503. It returns the
// spans of the attempts and the call.
func open(newObserver func(provider *sdktrace.TracerProvider) chatdm.Observer) tracetest.SpanStubs {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.Fail("conversations.open", 1, chatdmtest.Fault{Status: 503, Header: http.Header{"X-Slack-Req-Id": {"r1"}}})
	exporter := tracetest.NewInMemoryExporter() // replaces an exporter to a collector
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL), chatdm.WithObserver(newObserver(provider)),
		chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 2 * time.Millisecond}))
	if err != nil {
		panic(err)
	}
	users := []string{chatdmtest.Alice}
	if _, err := client.Conversations.Open(context.Background(), chatdm.ConversationsOpenParams{Users: users}); err != nil {
		panic(err)
	}
	return exporter.GetSpans()
}

// value returns an attribute of a span.
func value(attrs []attribute.KeyValue, key attribute.Key) string {
	for _, a := range attrs {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

// Each attempt is a child of the call.
func ExampleNewObserver() {
	spans := open(func(provider *sdktrace.TracerProvider) chatdm.Observer {
		return chatdmotel.NewObserver(chatdmotel.WithTracerProvider(provider))
	})
	call := spans[2]
	for _, span := range spans {
		fmt.Println(span.Name, value(span.Attributes, "http.response.status_code"), span.Parent.SpanID() == call.SpanContext.SpanID())
	}
	// Output:
	// POST /api/conversations.open 503 true
	// POST /api/conversations.open 200 true
	// conversations.open  false
}

func ExampleWithTracerProvider() {
	spans := open(func(provider *sdktrace.TracerProvider) chatdm.Observer {
		return chatdmotel.NewObserver(chatdmotel.WithTracerProvider(provider))
	})
	for _, event := range spans[2].Events {
		fmt.Println(event.Name, value(event.Attributes, "chatdm.wait.reason"))
	}
	// Output:
	// chatdm.wait backoff
}

func ExampleWithMeterProvider() {
	reader := metric.NewManualReader() // replaces an exporter to Prometheus or a collector
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	open(func(*sdktrace.TracerProvider) chatdm.Observer {
		return chatdmotel.NewObserver(chatdmotel.WithMeterProvider(provider))
	})
	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &metrics); err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		if data, ok := m.Data.(metricdata.Histogram[int64]); ok {
			fmt.Println(m.Name, data.DataPoints[0].Sum)
		}
	}
	// Output:
	// chatdm.call.attempts 2
}

// tenantObserver adds the tenant of the context to the spans of calls.
type tenantObserver struct{ *chatdmotel.Observer }

type tenantKey struct{}

func (o tenantObserver) CallStart(ctx context.Context, call chatdm.CallInfo) context.Context {
	ctx = o.Observer.CallStart(ctx, call)
	if tenant, ok := ctx.Value(tenantKey{}).(string); ok {
		trace.SpanFromContext(ctx).SetAttributes(attribute.String("tenant", tenant))
	}
	return ctx
}

// This Observer adds an attribute of the program to the span of a call.
func ExampleObserver_CallStart() {
	exporter := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	observer := tenantObserver{chatdmotel.NewObserver(chatdmotel.WithTracerProvider(provider))}

	call := chatdm.CallInfo{Service: "slack", Method: "conversations.open"} // the client does this
	ctx := observer.CallStart(context.WithValue(context.Background(), tenantKey{}, "acme"), call)
	observer.CallEnd(ctx, call, chatdm.CallEnd{Attempts: 1})

	span := exporter.GetSpans()[0]
	fmt.Println(span.Name, value(span.Attributes, "tenant"))
	// Output:
	// conversations.open acme
}

// requestIDObserver adds the ID that Slack gave the last response to the span of a call.
type requestIDObserver struct{ *chatdmotel.Observer }

func (o requestIDObserver) CallEnd(ctx context.Context, call chatdm.CallInfo, end chatdm.CallEnd) {
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("slack.request_id", end.RequestID))
	o.Observer.CallEnd(ctx, call, end) // ends the span
}

// This Observer adds request IDs to the spans of calls. Slack's support asks for them.
func ExampleObserver_CallEnd() {
	spans := open(func(provider *sdktrace.TracerProvider) chatdm.Observer {
		return requestIDObserver{chatdmotel.NewObserver(chatdmotel.WithTracerProvider(provider))}
	})
	fmt.Println(spans[2].Name, value(spans[2].Attributes, "slack.request_id") != "")
	// Output:
	// conversations.open true
}

// retryObserver marks retries.
type retryObserver struct{ *chatdmotel.Observer }

func (o retryObserver) AttemptStart(ctx context.Context, attempt chatdm.AttemptInfo) context.Context {
	ctx = o.Observer.AttemptStart(ctx, attempt)
	trace.SpanFromContext(ctx).SetAttributes(attribute.Bool("retry", attempt.Attempt > 1))
	return ctx
}

// This Observer adds an attribute to the span of an attempt.
func ExampleObserver_AttemptStart() {
	spans := open(func(provider *sdktrace.TracerProvider) chatdm.Observer {
		return retryObserver{chatdmotel.NewObserver(chatdmotel.WithTracerProvider(provider))}
	})
	fmt.Println(value(spans[0].Attributes, "retry"), value(spans[1].Attributes, "retry"))
	// Output:
	// false true
}

// attemptIDObserver adds the ID of each response to the span of the attempt.
type attemptIDObserver struct{ *chatdmotel.Observer }

func (o attemptIDObserver) AttemptEnd(ctx context.Context, attempt chatdm.AttemptInfo, end chatdm.AttemptEnd) {
	trace.SpanFromContext(ctx).SetAttributes(attribute.String("slack.request_id", end.RequestID))
	o.Observer.AttemptEnd(ctx, attempt, end) // ends the span
}

// This Observer adds request IDs to the spans of attempts.
func ExampleObserver_AttemptEnd() {
	spans := open(func(provider *sdktrace.TracerProvider) chatdm.Observer {
		return attemptIDObserver{chatdmotel.NewObserver(chatdmotel.WithTracerProvider(provider))}
	})
	fmt.Println(value(spans[0].Attributes, "slack.request_id"))
	// Output:
	// r1
}

// waitObserver prints the waits before retries.
type waitObserver struct{ *chatdmotel.Observer }

func (o waitObserver) WaitStart(ctx context.Context, wait chatdm.WaitInfo) context.Context {
	if wait.Attempt > 0 {
		fmt.Println("attempt", wait.Attempt, "failed with", wait.Failed.StatusCode)
	}
	return o.Observer.WaitStart(ctx, wait)
}

func (o waitObserver) WaitEnd(ctx context.Context, wait chatdm.WaitInfo, end chatdm.WaitEnd) {
	fmt.Println("waited because of", wait.Reason, end.Err)
	o.Observer.WaitEnd(ctx, wait, end)
}

// This Observer also prints the failures that the client retries.
func ExampleObserver_WaitStart() {
	open(func(provider *sdktrace.TracerProvider) chatdm.Observer {
		return waitObserver{chatdmotel.NewObserver(chatdmotel.WithTracerProvider(provider))}
	})
	// Output:
	// attempt 1 failed with 503
	// waited because of backoff <nil>
}

// This Observer also prints a wait that another context ended.
func ExampleObserver_WaitEnd() {
	observer := waitObserver{chatdmotel.NewObserver()}
	wait := chatdm.WaitInfo{CallInfo: chatdm.CallInfo{Service: "slack", Method: "auth.test"}, Reason: chatdm.WaitLimiter}
	ctx := observer.WaitStart(context.Background(), wait) // the client does this
	observer.WaitEnd(ctx, wait, chatdm.WaitEnd{Duration: time.Second, Err: context.Canceled})
	// Output:
	// waited because of limiter context canceled
}
