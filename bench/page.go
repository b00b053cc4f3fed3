package main

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

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
	nameSlackGoTuned  = "slack-go+pool+timeout"
	nameUntimed       = "chatdm+WithTimeout(0)"
	nameChatdm        = "chatdm"
	nameWithToken     = "chatdm.WithToken"
	nameRate          = "rate.Limiter"
	nameNoLimiter     = "no-limiter"
	nameUnmarshal     = "json.Unmarshal"
	nameScript        = "empty-script"
	nameRedis         = "chatdmredis"

	opOpenFull     = "open,return_im"
	opOpenShort    = "open"
	opClose        = "close"
	opDisabled     = "error"
	opScope        = "missing_scope"
	opBroken       = "500"
	opLimited      = "429"
	opPost         = "post"
	opList         = "list"
	opDelete       = "rocketchat"
	opDeleteFailed = "rocketchat,error"
	opNew          = "new"
	opNewOptions   = "new,options"
	opHuge         = "64MiB"
	opNoJSON       = "no-json"
	opTruncated    = "truncated"
	opMessages     = "million,messages"
	opFields       = "million,fields"
	opChannels     = "million,channels"
	opConnections  = "connections"
	opHeader       = "header"
	opBody         = "body"
	opAdmission    = "admission"
	opLimitedCall  = "limited-call"
	opLate         = "late"
	opRedisWaiting = "redis,waiting"

	// Units as benchfmt reports them.
	unitTime        = "sec/op"
	unitBytes       = "B/op"
	unitAllocs      = "allocs/op"
	unitRate        = "calls/s"
	unitP50         = "p50-sec"
	unitP99         = "p99-sec"
	unitCPU         = "cpu-sec/call"
	unitCallBytes   = "B/call"
	unitCallAllocs  = "allocs/call"
	unitRetained    = "retained-B"
	unitAdmitted    = "admitted"
	unitScripts     = "scripts"
	unitConnections = "connections"
	unitBuffer      = "buffer-B"
	unitHeap        = "heap-B"
	unitStack       = "stack-B"
	unitHeld        = "held-B"
)

var (
	goroutineCounts = []int{1, 16, 256}
	tlsGoroutines   = []int{1, 16, 64, 256}
	waitGoroutines  = []int{1, 1000}
	redisGoroutines = []int{1, 64}
	httpVersions    = []string{"HTTP-1.1", "HTTP-2"}
	busiest         = opLoopback(goroutineCounts[len(goroutineCounts)-1])

	inMemory = []string{nameFloor, nameFloorAll, nameFloorTimeout, nameFloorBoth, nameRetryable, nameSlackGo, nameUntimed, nameChatdm, nameWithToken, nameUnmarshal}
	onSocket = []string{nameFloor, nameFloorTimeout, nameRetryable, nameRetryablePool, nameSlackGo, nameSlackGoPool, nameChatdm}

	onTLS = []string{nameFloorTimeout, nameSlackGo, nameSlackGoTuned, nameChatdm}

	titles = map[string]string{
		opOpenFull: "open, with return_im", opOpenShort: "open, without return_im", opClose: "close", opPost: "post a message", opList: "list 1,000 channels",
		opDisabled: "user_disabled", opScope: "missing_scope", opBroken: "a server's 500", opLimited: "a 429",
		opDelete: "Rocket.Chat im.delete", opDeleteFailed: "Rocket.Chat im.delete, an error", opNew: "create a client", opNewOptions: "create a client, with options",
		opHuge: "response of 64 MiB", opNoJSON: "4 MiB without JSON", opTruncated: "4 MiB of truncated JSON",
		opMessages: "a million messages", opFields: "800,000 unknown fields", opChannels: "a page of a million channels",
		opHeader: "held while waiting, header", opBody: "held while waiting, body",
		opWait(1): "Wait, 1 goroutine", opWait(1000): "Wait, 1,000 goroutines", opLimitedCall: "call with a limiter, 1,000 goroutines", opAdmission: "calls admitted of 1,000 per second",
		opRedis(1): "1 goroutine", opRedis(64): "64 goroutines", opRedisWaiting: "64 goroutines, 1,000 calls/s allowed", opLate: "the end of the context, while decoding",
	}
)

// opTLS names an operation from several goroutines over TLS.
func opTLS(version, op string, goroutines int) string {
	return fmt.Sprintf("%s,%s,goroutines:%d", version, op, goroutines)
}

// opHeldTLS names the memory that a call holds over TLS.
func opHeldTLS(version, op string) string { return version + "," + op }

func opWait(goroutines int) string { return fmt.Sprintf("wait,goroutines:%d", goroutines) }

func opRedis(goroutines int) string { return fmt.Sprintf("redis,goroutines:%d", goroutines) }

func opLoopback(goroutines int) string { return fmt.Sprintf("loopback,goroutines:%d", goroutines) }

// sample names the measurements of one unit, one for each round.
type sample struct{ op, client, unit string }

type results struct {
	Rounds                            int
	Benchtime, Machine, CPU, Versions string
	Met, Missed, Unclear              int // goals

	samples map[sample][]float64
}

// bodySize is the size of the response to open, with return_im.
const bodySize = 278

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

// TLSRatio returns the ratio of the processor time of chatdm to that of another
// contender, for opens over TLS.
func (r *results) TLSRatio(version string, goroutines int, peer string) string {
	return r.Ratio(opTLS(version, opOpenFull, goroutines), unitCPU, peer)
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
		{opDisabled, nameSlackGo, 1, 1, 1},
		{opPost, nameSlackGo, 1, 1, 1},
		{opList, nameSlackGo, 1, 1, 1},
		{opOpenFull, nameFloor, 1.2, 1, 0},
		{opClose, nameFloor, 1.2, 1, 0},
		{opOpenFull, nameFloorTimeout, 1.2, 1, 0},
		{opClose, nameFloorTimeout, 1.2, 1, 0},
		{opList, nameFloorTimeout, 1.2, 1, 0},
		{opDisabled, nameFloorTimeout, 1.05, 1, 0},
		{opScope, nameFloorTimeout, 1.05, 1, 0},
		{opBroken, nameFloorTimeout, 1.05, 1, 0},
		{opLimited, nameFloorTimeout, 1.05, 1, 0},
		{opDelete, nameFloorTimeout, 1.05, 1, 0},
		{opDeleteFailed, nameFloorTimeout, 1.05, 1, 0},
		{opNoJSON, nameFloorTimeout, 3, 3, 0},
		{opTruncated, nameFloorTimeout, 3, 3, 0},
		{opMessages, nameFloorTimeout, 3, 3, 0},
		{opFields, nameFloorTimeout, 3, 3, 0},
		{opChannels, nameFloorTimeout, 3, 3, 0},
		{opLate, nameUnmarshal, 1.1, 0, 0},
		{opWait(1), nameRate, 2, 0, 0},
		{opWait(1000), nameRate, 2, 0, 0},
		{opLimitedCall, nameRate, 2, 0, 0},
	} {
		cell := func(unit string, bound float64) string {
			if bound == 0 {
				return ""
			}
			return r.compare(r.ratio(g.op, nameChatdm, g.peer, unit), bound, false, "%.2f")
		}
		rows = append(rows, []string{titles[g.op] + " ÷ " + g.peer, cell(unitTime, g.time), cell(unitBytes, g.bytes), cell(unitAllocs, g.allocs)})
	}
	return report.Table(rows...)
}

// TLSGoals returns the table of the goals over TLS.
func (r *results) TLSGoals() string {
	head := []string{"chatdm ÷ " + nameSlackGoTuned}
	for _, n := range tlsGoroutines {
		head = append(head, fmt.Sprintf("%d goroutines", n))
	}
	head[1] = "1 goroutine"
	rows := [][]string{head}
	for _, m := range []struct {
		name, unit string
		bound      float64
	}{{"processor time", unitCPU, 1}, {"bytes", unitCallBytes, 0.8}} {
		for _, version := range httpVersions {
			for _, op := range []string{opOpenFull, opClose} {
				row := []string{tlsTitle(version, op) + ": " + m.name}
				for _, n := range tlsGoroutines {
					row = append(row, r.compare(r.ratio(opTLS(version, op, n), nameChatdm, nameSlackGoTuned, m.unit), m.bound, false, "%.2f"))
				}
				rows = append(rows, row)
			}
		}
	}
	return report.Table(rows...)
}

// tlsTitle is for example "HTTP/1.1, close".
func tlsTitle(version, op string) string {
	if op == opOpenFull {
		op = "open"
	}
	return strings.Replace(version, "-", "/", 1) + ", " + op
}

// LoadGoals returns the table of the other goals.
func (r *results) LoadGoals() string {
	rows := [][]string{{"chatdm", "result and goal"}}
	add := func(label string, found benchmath.Summary, bound float64, atLeast bool, format string) {
		rows = append(rows, []string{label, r.compare(found, bound, atLeast, format)})
	}
	absolute := func(label, op, client, unit string, bound float64, atLeast bool, format string) {
		add(label, summarize(r.samples[sample{op, client, unit}]), bound, atLeast, format)
	}
	for _, g := range []struct {
		peer  string
		bound float64
	}{{nameSlackGo, 1}, {nameSlackGoPool, 1}, {nameFloor, 0.95}, {nameFloorTimeout, 0.95}} {
		add("calls/s from 256 goroutines ÷ "+g.peer, r.ratio(busiest, nameChatdm, g.peer, unitRate), g.bound, true, "%.2f")
	}
	absolute("connections for 2,000 calls from 64 goroutines", opConnections, nameChatdm, unitConnections, 128, false, "%.0f")
	for _, client := range []struct{ title, name string }{{"NewClient", nameChatdm}, {"Client.WithToken", nameWithToken}} {
		absolute(client.title+": allocations", opNew, client.name, unitAllocs, 12, false, "%.0f")
		absolute(client.title+": bytes that the client retains", opNew, client.name, unitRetained, 700, false, "%.0f")
	}
	for _, op := range []string{opHeader, opBody} {
		add(titles[op]+" ÷ "+nameSlackGo+", in memory", r.ratio(op, nameChatdm, nameSlackGo, unitHeld), 1, false, "%.2f")
		for _, version := range httpVersions {
			add(fmt.Sprintf("%s ÷ %s, %s", titles[op], nameSlackGoTuned, strings.Replace(version, "-", "/", 1)),
				r.ratio(opHeldTLS(version, op), nameChatdm, nameSlackGoTuned, unitHeld), 1, false, "%.2f")
		}
	}
	absolute("bytes of the buffer while a call reads a body of "+strconv.Itoa(bodySize)+" bytes", opBody, nameChatdm, unitBuffer, float64(bodySize+1024), false, "%.0f")
	huge := summarize(r.samples[sample{opHuge, nameChatdm, unitBytes}])
	for _, v := range []*float64{&huge.Center, &huge.Lo, &huge.Hi} {
		*v /= 1 << 20
	}
	add("MiB allocated for a response of 64 MiB", huge, 4.25, false, "%.2f")
	absolute("part of 1,000 calls per second that a TierLimiter admits", opAdmission, nameChatdm, unitAdmitted, 0.99, true, "%.3f")
	absolute("Redis: scripts for a call that may go at once", opRedis(64), nameRedis, unitScripts, 1, false, "%.2f")
	absolute("Redis: scripts for a call that waits", opRedisWaiting, nameRedis, unitScripts, 2, false, "%.2f")
	absolute("Redis: calls/s from 64 goroutines of one process", opRedis(64), nameRedis, unitRate, 15000, true, "%.0f")
	return report.Table(rows...)
}

// Operation is the table of one operation in memory.
type Operation struct{ Title, Table string }

// Operations returns the tables of the operations in memory that succeed.
func (r *results) Operations() []Operation {
	return r.operations(nameFloor, opOpenFull, opOpenShort, opClose, opPost, opList, opDelete)
}

// Clients returns the tables of creating a client.
func (r *results) Clients() []Operation { return r.operations(nameFloor, opNew, opNewOptions) }

// Errors returns the tables of the error responses.
func (r *results) Errors() []Operation {
	return r.operations(nameFloorTimeout, opDisabled, opScope, opBroken, opLimited, opDeleteFailed)
}

// Bad returns the tables of the bad responses.
func (r *results) Bad() []Operation {
	return r.operations(nameFloorTimeout, opHuge, opNoJSON, opTruncated, opMessages, opFields, opChannels, opLate)
}

func (r *results) operations(floor string, ops ...string) []Operation {
	var all []Operation
	for _, op := range ops {
		rows := [][]string{{"", "ns", "÷ floor", "÷ slack-go", "B", "÷ floor", "÷ slack-go", "allocs"}}
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
				row = append(row, number(v), r.cell(op, name, floor, unit), r.cell(op, name, nameSlackGo, unit))
			}
			rows = append(rows, append(row, number(r.median(op, name, unitAllocs))))
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

// TLS returns the tables of the calls over TLS.
func (r *results) TLS() []Operation {
	var all []Operation
	for _, version := range httpVersions {
		for _, op := range []string{opOpenFull, opClose} {
			rows := [][]string{{"goroutines", "", "CPU µs", "B", "allocs", "calls/s", "p50 µs", "p99 µs", "connections"}}
			for _, n := range tlsGoroutines {
				for _, name := range onTLS {
					row := []string{strconv.Itoa(n), name}
					for _, c := range []struct {
						unit  string
						scale float64
					}{{unitCPU, 1e6}, {unitCallBytes, 1}, {unitCallAllocs, 1}, {unitRate, 1}, {unitP50, 1e6}, {unitP99, 1e6}, {unitConnections, 1}} {
						row = append(row, report.Integer(c.scale*r.median(opTLS(version, op, n), name, c.unit)))
					}
					rows = append(rows, row)
				}
			}
			all = append(all, Operation{tlsTitle(version, op), report.Table(rows...)})
		}
	}
	return all
}

// Retained returns the table of what a client retains.
func (r *results) Retained() string {
	rows := [][]string{{"bytes", "retained"}}
	for _, name := range []string{nameFloor, nameSlackGo, nameChatdm, nameWithToken} {
		rows = append(rows, []string{name, report.Integer(r.median(opNew, name, unitRetained))})
	}
	return report.Table(rows...)
}

// HeldTLS returns the table of the memory that a call in flight holds over TLS.
func (r *results) HeldTLS() string {
	rows := [][]string{{"bytes", "HTTP/1.1: header", "body", "HTTP/2: header", "body"}}
	for _, name := range onTLS {
		row := []string{name}
		for _, version := range httpVersions {
			for _, op := range []string{opHeader, opBody} {
				row = append(row, report.Integer(r.median(opHeldTLS(version, op), name, unitHeld)))
			}
		}
		rows = append(rows, row)
	}
	return report.Table(rows...)
}

// Limiters returns the table of the limiters.
func (r *results) Limiters() string {
	rows := [][]string{{"", nameNoLimiter, nameRate, nameChatdm, "÷ " + nameRate}}
	for _, op := range []string{opWait(1), opWait(1000), opLimitedCall} {
		row := []string{titles[op] + ", ns"}
		for _, name := range []string{nameNoLimiter, nameRate, nameChatdm} {
			row = append(row, number(1e9*r.median(op, name, unitTime)))
		}
		rows = append(rows, append(row, r.cell(op, nameChatdm, nameRate, unitTime)))
	}
	admitted := []string{titles[opAdmission], ""}
	for _, name := range []string{nameRate, nameChatdm} {
		admitted = append(admitted, fmt.Sprintf("%.1f %%", 100*r.median(opAdmission, name, unitAdmitted)))
	}
	return report.Table(append(rows, append(admitted, r.cell(opAdmission, nameChatdm, nameRate, unitAdmitted)))...)
}

// Redis returns the table of chatdmredis.
func (r *results) Redis() string {
	rows := [][]string{{"", nameScript + ": calls/s", nameRedis + ": calls/s", "p50 µs", "p99 µs", "scripts per call"}}
	for _, op := range []string{opRedis(1), opRedis(64)} {
		rows = append(rows, []string{
			titles[op], number(r.median(op, nameScript, unitRate)), number(r.median(op, nameRedis, unitRate)),
			number(1e6 * r.median(op, nameRedis, unitP50)), number(1e6 * r.median(op, nameRedis, unitP99)), fmt.Sprintf("%.2f", r.median(op, nameRedis, unitScripts)),
		})
	}
	return report.Table(append(rows, []string{
		titles[opRedisWaiting], "", number(1000 * r.median(opRedisWaiting, nameRedis, unitAdmitted)), "", "", fmt.Sprintf("%.2f", r.median(opRedisWaiting, nameRedis, unitScripts)),
	})...)
}

// number is like report.Integer, but empty if nothing was measured.
func number(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return report.Integer(v)
}

// InFlight returns the table of the memory that a call in flight holds.
func (r *results) InFlight() string {
	rows := [][]string{{"bytes", "header: heap", "stack", "sum", "body: heap", "stack", "sum"}}
	for _, name := range inMemory[:8] {
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

var plottedTLS = []report.Entry{plotted[1], plotted[3], {Name: nameSlackGoTuned, Color: color.RGBA{0xe6, 0x9f, 0x00, 0xff}}, plotted[4]}

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
			{"user_disabled", opDisabled, unit, scale}, {"list, per channel", opList, unit, scale / 1000},
			{"Rocket.Chat delete", opDelete, unit, scale}, {"create a client", opNewOptions, unit, scale}}
	}
	const kib = 1.0 / 1024
	var tls []bar
	for _, version := range httpVersions {
		for _, n := range tlsGoroutines {
			tls = append(tls, bar{fmt.Sprintf("%s, %d", strings.Replace(version, "-", "/", 1), n), opTLS(version, opOpenFull, n), unitRate, 1e-3})
		}
	}
	return errors.Join(
		r.bars(prefix+"-time.svg", "Time per call, in memory (median)", "operation", "µs", plotted, calls(unitTime, 1e6)),
		r.bars(prefix+"-memory.svg", "Memory allocated per call", "operation", "KiB", plotted, calls(unitBytes, kib)),
		r.bars(prefix+"-tls.svg", "Opens per second over TLS, client and server on one machine (median)", "HTTP version, goroutines", "thousands per second", plottedTLS, tls),
		r.bars(prefix+"-held.svg", "Memory held by a call that waits for its response, in memory", "where the call waits", "KiB", plotted,
			[]bar{{"before the header", opHeader, unitHeld, kib}, {"in the body", opBody, unitHeld, kib}}),
	)
}

func (r *results) bars(file, title, x, unit string, plotted []report.Entry, groups []bar) error {
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
