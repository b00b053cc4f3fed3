package main

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/chatdm/chatdm"
)

// metrics are what the bot counts. Every label has few values: methods,
// outcomes and kinds of errors, and never what a user or a server can choose.
type metrics struct {
	*prometheus.Registry
	commands, replies, calls, requests *prometheus.CounterVec
	seconds                            *prometheus.HistogramVec
	working                            prometheus.Gauge
}

func newMetrics(queued func() float64) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		Registry: prometheus.NewRegistry(),
		commands: counter("dmbot_commands_total", "Commands by what became of them.", "outcome"),
		replies:  counter("dmbot_replies_total", "Outcomes posted to a response_url.", "outcome"),
		calls:    counter("dmbot_slack_calls_total", "Calls of Slack's methods; the outcome is ok or the kind of the error.", "method", "outcome"),
		requests: counter("dmbot_slack_requests_total", "HTTP requests of these calls: what is more than the calls are retries.", "method"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dmbot_slack_call_seconds", Help: "How long the calls took, with waits and retries.",
			Buckets: prometheus.ExponentialBuckets(0.05, 2, 10), // to 26 seconds
		}, []string{"method"}),
		working: prometheus.NewGauge(prometheus.GaugeOpts{Name: "dmbot_commands_working", Help: "Commands that are worked on."}),
	}
	m.MustRegister(m.commands, m.replies, m.calls, m.requests, m.seconds, m.working,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dmbot_commands_queued", Help: "Commands that wait for a worker."}, queued),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// succeeded counts a call by what its result tells.
func (m *metrics) succeeded(start time.Time, meta chatdm.Meta) {
	m.called(start, meta.Method, "ok", meta.Attempts)
}

// failed counts a call by what its error tells.
func (m *metrics) failed(start time.Time, err error) {
	if e, ok := errors.AsType[*chatdm.Error](err); ok {
		m.called(start, e.Method, outcome(err), e.Attempts)
	}
}

func (m *metrics) called(start time.Time, method, outcome string, requests int) {
	m.calls.WithLabelValues(method, outcome).Inc()
	m.requests.WithLabelValues(method).Add(float64(requests))
	m.seconds.WithLabelValues(method).Observe(time.Since(start).Seconds())
}

// outcome is an error as a label.
func outcome(err error) string {
	if errors.Is(err, chatdm.ErrEffectUnknown) {
		return "effect_unknown"
	}
	if e, ok := errors.AsType[*chatdm.Error](err); ok {
		return string(e.Kind)
	}
	return string(chatdm.KindUnknown)
}
