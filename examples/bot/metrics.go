package main

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/chatdm/chatdm"
)

// metrics holds the Prometheus metrics of the bot. Every label has few values:
// methods, outcomes, and kinds of errors. Users and servers cannot add values.
type metrics struct {
	*prometheus.Registry
	commands, replies, calls, requests *prometheus.CounterVec
	seconds                            *prometheus.HistogramVec
	working                            prometheus.Gauge
}

func newMetrics(queued func() float64, rejected func() bool) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		Registry: prometheus.NewRegistry(),
		commands: counter("dmbot_commands_total", "Commands by outcome.", "outcome"),
		replies:  counter("dmbot_replies_total", "Outcomes posted to a response_url, by success.", "outcome"),
		calls:    counter("dmbot_slack_calls_total", "Calls of Slack's methods; the outcome is ok, effect_unknown, or the kind of the error.", "method", "outcome"),
		requests: counter("dmbot_slack_requests_total", "HTTP requests of these calls, including retries.", "method"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dmbot_slack_call_seconds", Help: "Duration of the calls, including waits and retries.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 10), // up to 26 seconds
		}, []string{"method"}),
		working: prometheus.NewGauge(prometheus.GaugeOpts{Name: "dmbot_commands_working", Help: "Commands that are running."}),
	}
	m.MustRegister(m.commands, m.replies, m.calls, m.requests, m.seconds, m.working,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dmbot_commands_queued", Help: "Commands that wait for a worker."}, queued),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dmbot_credential_rejected", Help: "1 if Slack rejects the credential, otherwise 0."}, func() float64 {
			if rejected() {
				return 1
			}
			return 0
		}),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// succeeded counts a call that succeeded.
func (m *metrics) succeeded(start time.Time, meta chatdm.Meta) {
	m.called(start, meta.Method, "ok", meta.Attempts)
}

// failed counts a call that failed, and returns err.
func (m *metrics) failed(start time.Time, err error) error {
	if e, ok := errors.AsType[*chatdm.Error](err); ok {
		m.called(start, e.Method, outcome(err), e.Attempts)
	}
	return err
}

func (m *metrics) called(start time.Time, method, outcome string, requests int) {
	m.calls.WithLabelValues(method, outcome).Inc()
	m.requests.WithLabelValues(method).Add(float64(requests))
	m.seconds.WithLabelValues(method).Observe(time.Since(start).Seconds())
}

// outcome returns the label for an error.
func outcome(err error) string {
	if errors.Is(err, chatdm.ErrEffectUnknown) {
		return "effect_unknown"
	}
	if e, ok := errors.AsType[*chatdm.Error](err); ok {
		return string(e.Kind)
	}
	return string(chatdm.KindUnknown)
}
