package chatdmotel_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmotel"
)

type okTransport struct{}

func (okTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Request: req, Body: io.NopCloser(strings.NewReader(`{"ok":true}`))}, nil
}

// BenchmarkCall measures a call without a network.
func BenchmarkCall(b *testing.B) {
	sdkMetrics := chatdmotel.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(metric.NewManualReader())))
	sdkTraces := chatdmotel.WithTracerProvider(trace.NewTracerProvider())
	noMetrics := chatdmotel.WithMeterProvider(metricnoop.NewMeterProvider())
	noTraces := chatdmotel.WithTracerProvider(tracenoop.NewTracerProvider())
	for _, bb := range []struct {
		name     string
		observer chatdm.Observer
	}{
		{"no observer", nil},
		{"no-op providers", chatdmotel.NewObserver(noTraces, noMetrics)},
		{"metrics", chatdmotel.NewObserver(noTraces, sdkMetrics)},
		{"spans", chatdmotel.NewObserver(sdkTraces, noMetrics)},
		{"spans and metrics", chatdmotel.NewObserver(sdkTraces, sdkMetrics)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			client, err := chatdm.NewClient("xoxb-1", chatdm.WithHTTPClient(&http.Client{Transport: okTransport{}}), chatdm.WithObserver(bb.observer))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := client.Conversations.Close(b.Context(), "D1"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
