// Package otel_test shows how to trace a client with OpenTelemetry. Each attempt
// gets a span, which is a child of the caller's span.
package otel_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// newClient returns a client that records a span for each attempt.
func newClient(root, token string, provider *trace.TracerProvider) (*chatdm.Client, error) {
	pool := http.DefaultTransport.(*http.Transport).Clone()
	pool.MaxIdleConnsPerHost = 64 // the default is 2
	transport := otelhttp.NewTransport(pool,
		otelhttp.WithTracerProvider(provider),
		otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
			return strings.TrimPrefix(r.URL.Path, "/api/") // conversations.open
		}))
	return chatdm.NewClient(token, chatdm.WithBaseURL(root), chatdm.WithHTTPClient(&http.Client{Transport: transport}))
}

func Example() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	spans := tracetest.NewInMemoryExporter() // replaces an exporter to a collector
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	client, err := newClient(slack.URL, chatdmtest.BotToken, provider)
	if err != nil {
		fmt.Println(err)
		return
	}

	slack.Fail("conversations.open", 1, chatdmtest.Fault{Status: 503})
	ctx, greeting := provider.Tracer("bot").Start(context.Background(), "greet")
	_, err = client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	greeting.End()
	if err != nil {
		fmt.Println(err)
		return
	}

	for _, span := range spans.GetSpans() {
		fmt.Print(span.Name)
		for _, a := range span.Attributes {
			if a.Key == "http.response.status_code" {
				fmt.Print(" ", a.Value.AsInt64())
			}
		}
		fmt.Println(", part of a greeting:", span.Parent.SpanID() == greeting.SpanContext().SpanID())
	}
	// Output:
	// conversations.open 503, part of a greeting: true
	// conversations.open 200, part of a greeting: true
	// greet, part of a greeting: false
}

// TestNoSecretInSpans checks that no span contains the token. It is in a header,
// which otelhttp does not record.
func TestNoSecretInSpans(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	spans := tracetest.NewInMemoryExporter()
	client, err := newClient(slack.URL, chatdmtest.BotToken, trace.NewTracerProvider(trace.WithSyncer(spans)))
	if err != nil {
		t.Fatal(err)
	}
	slack.Fail("conversations.close", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader})
	_, _ = client.Conversations.Close(t.Context(), "D404")
	all := spans.GetSpans()
	if text := fmt.Sprintf("%+v", all); len(all) != 2 || strings.Contains(text, chatdmtest.BotToken) {
		t.Errorf("got %d spans, want 2 without the token: %s", len(all), text)
	}
}
