package main

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// TestDashboard evaluates each query of the dashboard with metrics that the bot exports, and
// checks that they have each metric and label that the query names.
func TestDashboard(t *testing.T) {
	d, err := readDashboard("../../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	const window = 5 * time.Second
	scraped, err := record(t.Context(), plan{
		length: 15 * time.Second, scrapeInterval: 100 * time.Millisecond, sendInterval: 400 * time.Millisecond, failInterval: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	results, err := scraped.evaluate(t.Context(), d, window)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 8 {
		t.Errorf("got %d panels, want 8", len(results))
	}
	exported := make(map[string]map[string]bool) // the labels of each metric
	for _, s := range scraped.series {
		name := s.labels.Get(model.MetricNameLabel)
		if exported[name] == nil {
			exported[name] = make(map[string]bool)
		}
		s.labels.Range(func(l labels.Label) { exported[name][l.Name] = true })
	}
	for _, r := range results {
		for _, target := range r.Targets {
			checkNames(t, r.Title, target, window, exported)
		}
		seen := make(map[string]bool)
		for _, l := range r.lines {
			for _, point := range l.points {
				if !math.IsNaN(point.F) {
					seen[l.name] = true
				}
			}
		}
		if len(seen) == 0 {
			t.Errorf("%s: got no points", r.Title)
		}
		t.Logf("%s: %q", r.Title, slices.Sorted(maps.Keys(seen)))
	}
	file := filepath.Join(t.TempDir(), "dashboard.svg")
	if err := plotPanels(file, results, scraped); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(svg), "conversations.open") {
		t.Errorf("got %v and an SVG of %d bytes, want one with a legend", err, len(svg))
	}
}

// checkNames checks the metrics and labels in a query and in the legend.
func checkNames(t *testing.T, title string, target target, window time.Duration, exported map[string]map[string]bool) {
	t.Helper()
	expr, err := parser.ParseExpr(target.query(window))
	if err != nil {
		t.Errorf("%s: %v", title, err)
		return
	}
	named := make(map[string]bool) // the labels of groups and legends
	for _, match := range placeholder.FindAllStringSubmatch(target.LegendFormat, -1) {
		named[match[1]] = true
	}
	has := make(map[string]bool) // the labels of all metrics in the query
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.AggregateExpr:
			for _, label := range node.Grouping {
				named[label] = true
			}
		case *parser.VectorSelector:
			labelsOfMetric, ok := exported[node.Name]
			if !ok {
				t.Errorf("%s: the bot exports no metric %q", title, node.Name)
			}
			maps.Copy(has, labelsOfMetric)
			for _, m := range node.LabelMatchers {
				if !labelsOfMetric[m.Name] {
					t.Errorf("%s: metric %s has no label %q", title, node.Name, m.Name)
				}
			}
		}
		return nil
	})
	for label := range named {
		if !has[label] {
			t.Errorf("%s: no metric in the query has the label %q", title, label)
		}
	}
}

// TestVariables: a Grafana variable in a query that this program does not replace would not
// be tested.
func TestVariables(t *testing.T) {
	d, err := readDashboard("../../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			if variable := regexp.MustCompile(`\$\w+`).FindString(target.query(time.Minute)); variable != "" {
				t.Errorf("%s: got the variable %s", p.Title, variable)
			}
		}
	}
}
