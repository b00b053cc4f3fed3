package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/chatdm/chatdm/chatdmotel"
)

// telemetry exports the metrics and spans of calls.
type telemetry struct {
	observer *chatdmotel.Observer
	tracer   trace.Tracer // for the spans of commands
	stop     []func(context.Context) error
}

// newTelemetry returns a telemetry that adds metrics to a Prometheus registry. With otlp,
// it also sends metrics and spans to a collector. The standard variables OTEL_… say where.
func newTelemetry(ctx context.Context, registry *prometheus.Registry, otlp bool, log *slog.Logger) (*telemetry, error) {
	exporter, err := otelprometheus.New(
		otelprometheus.WithRegisterer(registry),
		otelprometheus.WithoutScopeInfo(),
	)
	if err != nil {
		return nil, err
	}
	service, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("dmbot")), resource.WithFromEnv())
	if err != nil {
		return nil, err
	}
	metrics := []metric.Option{metric.WithReader(exporter), metric.WithResource(service)}
	var tracers trace.TracerProvider = noop.NewTracerProvider()
	t := new(telemetry)
	if otlp {
		// Otherwise, failures to export go to the standard logger.
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry", "error", err) }))
		toMetrics, err := otlpmetrichttp.New(ctx)
		if err != nil {
			return nil, err
		}
		toTraces, err := otlptracehttp.New(ctx)
		if err != nil {
			return nil, errors.Join(err, toMetrics.Shutdown(ctx))
		}
		provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(toTraces), sdktrace.WithResource(service))
		metrics = append(metrics, metric.WithReader(metric.NewPeriodicReader(toMetrics)))
		tracers, t.stop = provider, append(t.stop, provider.Shutdown)
	}
	meters := metric.NewMeterProvider(metrics...)
	t.stop = append(t.stop, meters.Shutdown)
	t.observer = chatdmotel.NewObserver(
		chatdmotel.WithTracerProvider(tracers),
		chatdmotel.WithMeterProvider(meters),
	)
	t.tracer = tracers.Tracer("github.com/chatdm/chatdm/examples/bot")
	return t, nil
}

// shutdown sends what has not been sent.
func (t *telemetry) shutdown(ctx context.Context) error {
	var err error
	for _, stop := range t.stop {
		err = errors.Join(err, stop(ctx))
	}
	return err
}
