package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"slices"

	"golang.org/x/perf/benchmath"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"

	"github.com/chatdm/chatdm/bench/internal/report"
)

const (
	nameFloor         = "hand-written"
	nameFloorAll      = "hand-written+ReadAll"
	nameFloorTimeout  = "hand-written+timeout"
	nameFloorBoth     = "hand-written+ReadAll+timeout"
	nameRetryable     = "go-retryablehttp"
	nameRetryablePool = "go-retryablehttp+pool"
	nameSlackGo       = "slack-go"
	nameSlackGoPool   = "slack-go+pool"
	nameUntimed       = "chatdm+WithTimeout(0)"
	nameChatdm        = "chatdm"

	opOpenFull    = "open,return_im"
	opOpenShort   = "open"
	opClose       = "close"
	opRefused     = "error"
	opPost        = "post"
	opList        = "list"
	opDelete      = "rocketchat"
	opNew         = "new"
	opHuge        = "64MiB"
	opConnections = "connections"
	opHeader      = "header"
	opBody        = "body"

	// Units as benchfmt reports them.
	unitTime        = "sec/op"
	unitBytes       = "B/op"
	unitAllocs      = "allocs/op"
	unitRate        = "calls/s"
	unitP99         = "p99-sec"
	unitConnections = "connections"
	unitHeap        = "heap-B"
	unitStack       = "stack-B"
	unitHeld        = "held-B"
)

var (
	goroutineCounts = []int{1, 16, 256}
	busiest         = opLoopback(goroutineCounts[len(goroutineCounts)-1])

	inMemory = []string{nameFloor, nameFloorAll, nameFloorTimeout, nameFloorBoth, nameRetryable, nameSlackGo, nameUntimed, nameChatdm}
	onSocket = []string{nameFloor, nameFloorTimeout, nameRetryable, nameRetryablePool, nameSlackGo, nameSlackGoPool, nameChatdm}

	titles = map[string]string{
		opOpenFull: "open, with return_im", opOpenShort: "open, without return_im", opClose: "close", opPost: "post a message", opRefused: "error response", opList: "list 1,000 channels",
		opDelete: "Rocket.Chat im.delete", opNew: "create a client", opHuge: "response of 64 MiB",
		opHeader: "held while waiting, header", opBody: "held while waiting, body",
	}
)

func opLoopback(goroutines int) string { return fmt.Sprintf("loopback,goroutines:%d", goroutines) }

// sample names the measurements of one unit, one for each round.
type sample struct{ op, client, unit string }

type results struct {
	Rounds                            int
	Benchtime, Machine, CPU, Versions string
	Met, Missed, Unclear              int // goals

	samples map[sample][]float64
}

const confidence = 0.95

// summarize returns the median and its confidence interval, or NaN if the
// contender does not support the operation.
func summarize(values []float64) benchmath.Summary {
	if len(values) == 0 {
		return benchmath.Summary{Center: math.NaN(), Lo: math.NaN(), Hi: math.NaN()}
	}
	return benchmath.AssumeNothing.Summary(benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds), confidence)
}

func (r *results) median(op, client, unit string) float64 {
	return summarize(r.samples[sample{op, client, unit}]).Center
}

// ratio divides the contenders round by round, so that a slow round affects
// neither.
func (r *results) ratio(op, client, peer, unit string) benchmath.Summary {
	var all []float64
	peers := r.samples[sample{op, peer, unit}]
	for i := range peers {
		all = append(all, r.samples[sample{op, client, unit}][i]/peers[i])
	}
	return summarize(all)
}

// Ratio returns a ratio of chatdm to another contender.
func (r *results) Ratio(op, unit, peer string) string {
	return fmt.Sprintf("%.2f", r.ratio(op, nameChatdm, peer, unit).Center)
}

// compare formats a goal: "a ≤ b" if it is met, "a ≈ b" if the confidence interval
// contains b, and bold if it is missed.
func (r *results) compare(found benchmath.Summary, bound float64, atLeast bool, format string) string {
	met, missed, good, bad := found.Hi <= bound, found.Lo > bound, "≤", ">"
	if atLeast {
		met, missed, good, bad = found.Lo >= bound, found.Hi < bound, "≥", "<"
	}
	pair := func(sign string) string { return fmt.Sprintf(format+" %s "+format, found.Center, sign, bound) }
	switch {
	case met:
		r.Met++
		return pair(good)
	case missed:
		r.Missed++
		return "**" + pair(bad) + "**"
	}
	r.Unclear++
	return pair("≈")
}

// Goals returns the table of the goals that are ratios.
func (r *results) Goals() string {
	rows := [][]string{{"chatdm ÷ contender", "time", "bytes", "allocations"}}
	for _, g := range []struct {
		op, peer            string
		time, bytes, allocs float64
	}{
		{opOpenFull, nameSlackGo, 1, 0.8, 1},
		{opClose, nameSlackGo, 1, 0.85, 1},
		{opRefused, nameSlackGo, 1, 1, 1},
		{opNew, nameSlackGo, 1, 1, 1},
		{opPost, nameSlackGo, 1, 1, 1},
		{opList, nameSlackGo, 1, 1, 1},
		{opOpenFull, nameFloor, 1.2, 1, 0},
		{opClose, nameFloor, 1.2, 1, 0},
		{opOpenFull, nameFloorTimeout, 1.2, 1, 0},
		{opClose, nameFloorTimeout, 1.2, 1, 0},
		{opRefused, nameFloorTimeout, 1.2, 1, 0},
		{opList, nameFloorTimeout, 1.2, 1, 0},
		{opDelete, nameFloorTimeout, 1.2, 1, 0},
		{opHeader, nameSlackGo, 0, 1, 0},
		{opBody, nameSlackGo, 0, 1, 0},
	} {
		cell := func(unit string, bound float64) string {
			if bound == 0 {
				return ""
			}
			return r.compare(r.ratio(g.op, nameChatdm, g.peer, unit), bound, false, "%.2f")
		}
		bytes := unitBytes
		if g.op == opHeader || g.op == opBody {
			bytes = unitHeld
		}
		rows = append(rows, []string{titles[g.op] + " ÷ " + g.peer, cell(unitTime, g.time), cell(bytes, g.bytes), cell(unitAllocs, g.allocs)})
	}
	return report.Table(rows...)
}

// LoadGoals returns the table of the other goals.
func (r *results) LoadGoals() string {
	rows := [][]string{{"chatdm", "result and goal"}}
	for _, g := range []struct {
		peer  string
		bound float64
	}{{nameSlackGo, 1}, {nameSlackGoPool, 1}, {nameFloor, 0.95}, {nameFloorTimeout, 0.95}} {
		rows = append(rows, []string{"calls/s from 256 goroutines ÷ " + g.peer, r.compare(r.ratio(busiest, nameChatdm, g.peer, unitRate), g.bound, true, "%.2f")})
	}
	huge := summarize(r.samples[sample{opHuge, nameChatdm, unitBytes}])
	for _, v := range []*float64{&huge.Center, &huge.Lo, &huge.Hi} {
		*v /= 1 << 20
	}
	return report.Table(append(rows,
		[]string{"connections for 2,000 calls from 64 goroutines", r.compare(summarize(r.samples[sample{opConnections, nameChatdm, unitConnections}]), 128, false, "%.0f")},
		[]string{"MiB allocated for a response of 64 MiB", r.compare(huge, 4.25, false, "%.2f")},
	)...)
}

// Operation is the table of one operation in memory.
type Operation struct{ Title, Table string }

// Operations returns the tables of the operations in memory.
func (r *results) Operations() []Operation {
	var all []Operation
	for _, op := range []string{opOpenFull, opOpenShort, opClose, opPost, opRefused, opList, opDelete, opNew, opHuge} {
		rows := [][]string{{"", "ns", "÷ hand-written", "÷ slack-go", "B", "÷ hand-written", "÷ slack-go", "allocs"}}
		for _, name := range inMemory {
			if len(r.samples[sample{op, name, unitTime}]) == 0 {
				continue // slack-go does not support Rocket.Chat
			}
			row := []string{name}
			for _, unit := range []string{unitTime, unitBytes} {
				v := r.median(op, name, unit)
				if unit == unitTime {
					v *= 1e9
				}
				row = append(row, report.Integer(v), r.cell(op, name, nameFloor, unit), r.cell(op, name, nameSlackGo, unit))
			}
			rows = append(rows, append(row, report.Integer(r.median(op, name, unitAllocs))))
		}
		all = append(all, Operation{titles[op], report.Table(rows...)})
	}
	return all
}

// cell formats a ratio with its confidence interval, if that is wider than the
// digits shown.
func (r *results) cell(op, name, peer, unit string) string {
	s := r.ratio(op, name, peer, unit)
	if math.IsNaN(s.Center) {
		return ""
	}
	if spread := s.PctRangeString(); spread != "0%" {
		return fmt.Sprintf("%.2f ± %s", s.Center, spread)
	}
	return fmt.Sprintf("%.2f", s.Center)
}

// Loopback returns the table of the calls over loopback.
func (r *results) Loopback() string {
	head := []string{"goroutines"}
	for _, n := range goroutineCounts {
		head = append(head, fmt.Sprintf("%d: calls/s", n), "p99 µs")
	}
	rows := [][]string{append(head, "connections")}
	for _, name := range onSocket {
		row := []string{name}
		for _, n := range goroutineCounts {
			row = append(row, report.Integer(r.median(opLoopback(n), name, unitRate)), report.Integer(1e6*r.median(opLoopback(n), name, unitP99)))
		}
		rows = append(rows, append(row, report.Integer(r.median(opConnections, name, unitConnections))))
	}
	return report.Table(rows...)
}

// InFlight returns the table of the memory that a call in flight holds.
func (r *results) InFlight() string {
	rows := [][]string{{"bytes", "header: heap", "stack", "sum", "body: heap", "stack", "sum"}}
	for _, name := range inMemory {
		row := []string{name}
		for _, op := range []string{opHeader, opBody} {
			for _, unit := range []string{unitHeap, unitStack, unitHeld} {
				row = append(row, report.Integer(r.median(op, name, unit)))
			}
		}
		rows = append(rows, row)
	}
	return report.Table(rows...)
}

// plotted are the contenders in the plots, in colors that differ in brightness.
var plotted = []report.Entry{
	{Name: nameFloor, Color: color.RGBA{0xc4, 0xc4, 0xc4, 0xff}},
	{Name: nameFloorTimeout, Color: color.RGBA{0x80, 0x80, 0x80, 0xff}},
	{Name: nameRetryable, Color: color.RGBA{0xe6, 0x9f, 0x00, 0xff}},
	{Name: nameSlackGo, Color: color.RGBA{0x56, 0xb4, 0xe9, 0xff}},
	{Name: nameChatdm, Color: color.RGBA{0x00, 0x48, 0x80, 0xff}},
}

// bar is a group of bars, whose values are multiplied by scale.
type bar struct {
	label, op, unit string
	scale           float64
}

// plot writes one file per question: how long, how much, and how much at once.
func (r *results) plot(prefix string) error {
	calls := func(unit string, scale float64) []bar {
		return []bar{{"open, return_im", opOpenFull, unit, scale}, {"open without it", opOpenShort, unit, scale}, {"close", opClose, unit, scale},
			{"post", opPost, unit, scale},
			{"error response", opRefused, unit, scale}, {"list, per channel", opList, unit, scale / 1000},
			{"Rocket.Chat delete", opDelete, unit, scale}, {"create a client", opNew, unit, scale}}
	}
	const kib = 1.0 / 1024
	return errors.Join(
		r.bars(prefix+"-time.svg", "Time per call, in memory (median)", "operation", "µs", calls(unitTime, 1e6)),
		r.bars(prefix+"-memory.svg", "Memory allocated per call", "operation", "KiB", calls(unitBytes, kib)),
		r.bars(prefix+"-held.svg", "Memory held by a call that waits for its response", "where the call waits", "KiB",
			[]bar{{"before the header", opHeader, unitHeld, kib}, {"in the body", opBody, unitHeld, kib}}),
	)
}

func (r *results) bars(file, title, x, unit string, groups []bar) error {
	const width, height = 860, 340
	barWidth := vg.Length(width-90) / vg.Length(len(groups)*(len(plotted)+1))
	highest := 0.0
	var parts []plot.Plotter
	for i, c := range plotted {
		values := make(plotter.Values, len(groups))
		tops := plotter.XYLabels{XYs: make(plotter.XYs, len(groups)), Labels: make([]string, len(groups))}
		for j, g := range groups {
			if values[j] = g.scale * r.median(g.op, c.Name, g.unit); math.IsNaN(values[j]) {
				values[j] = 0 // slack-go does not support Rocket.Chat
			} else {
				tops.Labels[j] = fmt.Sprintf("%.1f", values[j])
			}
			tops.XYs[j] = plotter.XY{X: float64(j), Y: values[j]}
			highest = max(highest, values[j])
		}
		bars, err := plotter.NewBarChart(values, barWidth-1)
		if err != nil {
			return err
		}
		labels, err := plotter.NewLabels(tops)
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width, bars.Offset = c.Color, 0, barWidth*(vg.Length(i)-vg.Length(len(plotted)-1)/2)
		labels.Offset = vg.Point{X: bars.Offset, Y: 3}
		for k := range labels.TextStyle {
			labels.TextStyle[k].Font, labels.TextStyle[k].XAlign = report.Sans(9), text.XCenter
		}
		parts = append(parts, bars, labels)
	}
	p := report.NewPlot(title, x, unit, 0, highest*1.08)
	p.Add(parts...)
	var names []string
	for _, g := range groups {
		names = append(names, g.label)
	}
	p.NominalX(names...)
	p.X.Tick.Label.Font, p.X.Min, p.X.Max, p.Y.Min = report.Sans(11), -0.5, float64(len(groups))-0.5, 0
	return report.WritePlots(file, width, height, plotted, [][]*plot.Plot{{p}})
}
