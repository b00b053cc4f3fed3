package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// dashboard holds what matters of Grafana's JSON.
type dashboard struct {
	Panels []panel
}

type panel struct {
	Title       string
	FieldConfig struct{ Defaults struct{ Unit string } }
	Targets     []target
}

type target struct{ Expr, LegendFormat string }

func readDashboard(file string) (*dashboard, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := new(dashboard)
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

// query replaces Grafana's variables.
func (t target) query(window time.Duration) string {
	return strings.NewReplacer("$__rate_interval", model.Duration(window).String(), "$service", ".*").Replace(t.Expr)
}

var placeholder = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// legend returns the name of a series.
func (t target) legend(series labels.Labels) string {
	return strings.TrimSpace(placeholder.ReplaceAllStringFunc(t.LegendFormat, func(s string) string {
		return series.Get(placeholder.FindStringSubmatch(s)[1])
	}))
}

// scrapes holds scraped samples. It is a storage.Queryable.
type scrapes struct {
	start, end time.Time
	series     map[string]*series // by labels
}

type series struct {
	labels  labels.Labels
	samples []chunks.Sample
}

// sample is a chunks.Sample of a float.
type sample struct {
	at    int64 // Unix time in milliseconds
	value float64
}

func (s sample) T() int64                      { return s.at }
func (s sample) ST() int64                     { return 0 }
func (s sample) F() float64                    { return s.value }
func (s sample) H() *histogram.Histogram       { return nil }
func (s sample) FH() *histogram.FloatHistogram { return nil }
func (s sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample           { return s }

// add adds a scrape in Prometheus's text format.
func (s *scrapes) add(at time.Time, text string) error {
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		return err
	}
	options := &expfmt.DecodeOptions{Timestamp: model.TimeFromUnixNano(at.UnixNano())}
	samples, err := expfmt.ExtractSamples(options, slices.Collect(maps.Values(families))...)
	if err != nil {
		return err
	}
	if s.series == nil {
		s.series, s.start = make(map[string]*series), at
	}
	s.end = at
	for _, v := range samples {
		key := v.Metric.String()
		if s.series[key] == nil {
			b := labels.NewScratchBuilder(len(v.Metric))
			for name, value := range v.Metric {
				b.Add(string(name), string(value))
			}
			b.Sort()
			s.series[key] = &series{labels: b.Labels()}
		}
		s.series[key].samples = append(s.series[key].samples, sample{int64(v.Timestamp), float64(v.Value)})
	}
	return nil
}

// Querier implements storage.Queryable.
func (s *scrapes) Querier(_, _ int64) (storage.Querier, error) { return querier{s}, nil }

type querier struct{ *scrapes }

func (q querier) Select(_ context.Context, _ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
	found := &seriesSet{next: -1}
	for _, key := range slices.Sorted(maps.Keys(q.series)) {
		s := q.series[key]
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.labels.Get(m.Name)) }) {
			found.series = append(found.series, storage.NewListSeries(s.labels, s.samples))
		}
	}
	return found
}

func (querier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (querier) LabelNames(context.Context, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
}

func (querier) Close() error { return nil }

type seriesSet struct {
	series []storage.Series
	next   int
}

func (s *seriesSet) Next() bool                        { s.next++; return s.next < len(s.series) }
func (s *seriesSet) At() storage.Series                { return s.series[s.next] }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// result is an evaluated panel.
type result struct {
	panel
	lines []line
}

type line struct {
	name   string
	points []promql.FPoint
}

// evaluate runs the queries of all panels, with a window for rates.
func (s *scrapes) evaluate(ctx context.Context, d *dashboard, window time.Duration) ([]result, error) {
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 10_000_000, Timeout: time.Minute, LookbackDelta: window,
	})
	defer func() { _ = engine.Close() }()
	var results []result
	for _, p := range d.Panels {
		r := result{panel: p}
		for _, t := range p.Targets {
			query, err := engine.NewRangeQuery(ctx, s, nil, t.query(window), s.start, s.end, s.end.Sub(s.start)/300)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Title, err)
			}
			matrix, err := query.Exec(ctx).Matrix()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.Title, err)
			}
			for _, series := range matrix {
				r.lines = append(r.lines, line{t.legend(series.Metric), slices.Clone(series.Floats)})
			}
			query.Close()
		}
		results = append(results, r)
	}
	return results, nil
}
