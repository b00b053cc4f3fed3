package main

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/chatdm/chatdm"
)

// metrics holds the Prometheus metrics of the bot. Every label has few values: outcomes and
// kinds of errors. Users and servers cannot add values. The metrics of calls are in telemetry.
type metrics struct {
	*prometheus.Registry
	commands, replies *prometheus.CounterVec
	working           prometheus.Gauge
}

func newMetrics(queued func() float64, rejected func() bool) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		Registry: prometheus.NewRegistry(),
		commands: counter("dmbot_commands_total", "Commands by outcome.", "outcome"),
		replies:  counter("dmbot_replies_total", "Outcomes posted to a response_url, by success.", "outcome"),
		working:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "dmbot_commands_working", Help: "Commands that are running."}),
	}
	m.MustRegister(m.commands, m.replies, m.working,
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
