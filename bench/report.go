package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/template"
	"unicode/utf8"
)

// results are all that one run has found.
type results struct {
	Rounds      int
	tables      []table
	throughputs []throughput
	connCalls   int
	connections []connections
	heldCalls   int
	held        []held
	huge        []big
	Load        string // of the machine, at the beginning
	PlotFile    string
}

//go:embed performance.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// markdown is a table whose columns line up in a terminal, too; all but the
// first are numbers.
func markdown(head []string, rows [][]string) string {
	width := make([]int, len(head))
	for _, row := range append(rows, head) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString("| " + cell + pad)
			} else {
				b.WriteString(" | " + pad + cell)
			}
		}
		b.WriteString(" |\n")
	}
	line(head)
	for i, w := range width {
		if i == 0 {
			b.WriteString("|" + strings.Repeat("-", w+2))
		} else {
			b.WriteString("|" + strings.Repeat("-", w+1) + ":")
		}
	}
	b.WriteString("|\n")
	for _, row := range rows {
		line(row)
	}
	return strings.TrimRight(b.String(), "\n")
}

// number is with thousands set apart.
func number(v float64) string {
	s := fmt.Sprintf("%.0f", math.Abs(v))
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if v <= -0.5 {
		s = "-" + s
	}
	return s
}

func ratio(a, b float64) string { return fmt.Sprintf("%.2f", a/b) }

// Operation is one operation's table in Markdown.
type Operation struct{ Name, Table string }

// Operations are the tables of the calls through the in-memory transport.
func (r *results) Operations() []Operation {
	var all []Operation
	for _, t := range r.tables {
		head := []string{"", "ns, least", "ns, median", "B", "allocs"}
		var references []*cost
		if t.Name != opConstruct { // which is nothing at all in the hand-written client
			for _, name := range []string{nameFloor, nameSlackGo} {
				if ref := t.row(name); ref != nil {
					references = append(references, ref)
					head = append(head, "time ÷ "+name, "B ÷ "+name)
				}
			}
		}
		var rows [][]string
		for _, c := range t.rows {
			row := []string{c.name, number(c.min), number(c.median), number(c.bytes), number(c.mallocs)}
			for _, ref := range references {
				row = append(row, ratio(c.min, ref.min)+" / "+fmt.Sprintf("%.2f", median(ratios(c.ns, ref.ns))), ratio(c.bytes, ref.bytes))
			}
			rows = append(rows, row)
		}
		all = append(all, Operation{t.Name, markdown(head, rows)})
	}
	return all
}

// Throughputs is the table of the calls over loopback.
func (r *results) Throughputs() string {
	head := []string{""}
	for _, t := range r.throughputs {
		head = append(head, fmt.Sprintf("%d: calls/s", t.Goroutines), "p50 µs", "p99 µs")
	}
	var rows [][]string
	for i, c := range networked {
		row := []string{c.name}
		for _, t := range r.throughputs {
			v := t.rows[i]
			row = append(row, number(v.median), number(float64(v.p50.Nanoseconds())/1e3), number(float64(v.p99.Nanoseconds())/1e3))
		}
		rows = append(rows, row)
	}
	return markdown(head, rows)
}

// Connections is the table of the connections that were opened.
func (r *results) Connections() string {
	var rows [][]string
	for _, c := range r.connections {
		rows = append(rows, []string{c.name, number(float64(c.opened)), fmt.Sprintf("%.0f", c.writes)})
	}
	return markdown([]string{"", "connections", "writes for a call"}, rows)
}

// ConnCalls and HeldCalls are how many calls the two tables are about.
func (r *results) ConnCalls() string { return number(float64(r.connCalls)) }
func (r *results) HeldCalls() string { return number(float64(r.heldCalls)) }

// Held is the table of what a call in flight holds.
func (r *results) Held() string {
	var rows [][]string
	for _, h := range r.held {
		rows = append(rows, []string{
			h.name, number(h.header.heap), number(h.header.stack), number(h.header.total()),
			number(h.body.heap), number(h.body.stack), number(h.body.total()),
		})
	}
	return markdown([]string{"", "before the header: heap", "stack", "sum", "in the body: heap", "stack", "sum"}, rows)
}

// Huge is the table of what an answer of 64 MiB costs.
func (r *results) Huge() string {
	var rows [][]string
	for _, b := range r.huge {
		rows = append(rows, []string{b.name, fmt.Sprintf("%.1f", float64(b.allocated)/(1<<20)), number(float64(b.took.Milliseconds())), b.outcome})
	}
	return markdown([]string{"", "MiB allocated", "ms", "outcome"}, rows)
}

// Goal is something that chatdm wants to be.
type Goal struct{ what, bound, found, verdict string }

const (
	met     = "met"
	notMet  = "**not met**"
	unclear = "within the noise"
)

func verdict(ok bool) string {
	if ok {
		return met
	}
	return notMet
}

// hugeMargin is the "little" that a huge answer may cost beyond the limit.
const hugeMargin = 256 << 10

// Goals checks what was promised against what was found.
func (r *results) Goals() string {
	var goals []Goal
	add := func(what, bound, found, verdict string) { goals = append(goals, Goal{what, bound, found, verdict}) }
	against := func(op, other string, time, bytes float64, allocs bool) {
		t := find(r.tables, func(t table) bool { return t.Name == op })
		ours, theirs := t.row(nameChatdm), t.row(other)
		what := func(of string) string { return op + ": " + of + " ÷ " + other }
		add(what("bytes"), fmt.Sprintf("≤ %.2f", bytes), ratio(ours.bytes, theirs.bytes), verdict(math.Round(ours.bytes) <= bytes*math.Round(theirs.bytes)))
		if allocs {
			add(what("allocations"), "no more", number(ours.mallocs)+" ÷ "+number(theirs.mallocs), verdict(math.Round(ours.mallocs) <= math.Round(theirs.mallocs)))
		}
		least, middle := ours.min/theirs.min, median(ratios(ours.ns, theirs.ns))
		v := unclear
		if (least <= time) == (middle <= time) {
			v = verdict(least <= time)
		}
		add(what("time"), fmt.Sprintf("≤ %.2f", time), fmt.Sprintf("%.2f / %.2f", least, middle), v)
	}
	against(opOpenFull, nameSlackGo, 1, 0.8, true)
	against(opClose, nameSlackGo, 1, 0.85, true)
	for _, op := range []string{opOpenFull, opClose} {
		for _, floor := range []string{nameFloor, nameFloorTimeout} {
			against(op, floor, 1.2, 1, false)
		}
	}

	busiest := r.throughputs[len(r.throughputs)-1]
	ours := busiest.row(nameChatdm)
	for _, c := range []struct {
		name  string
		bound float64
	}{{nameSlackGo, 1}, {nameSlackGoPool, 1}, {nameFloor, 0.95}, {nameFloorTimeout, 0.95}} {
		rounds := ratios(ours.rounds, busiest.row(c.name).rounds)
		low, high := interval(rounds)
		v := unclear
		if low >= c.bound || high < c.bound {
			v = verdict(low >= c.bound)
		}
		add(fmt.Sprintf("calls/s over loopback, %d goroutines ÷ %s", busiest.Goroutines, c.name),
			fmt.Sprintf("≥ %.2f", c.bound), fmt.Sprintf("%.2f (%.2f to %.2f)", median(rounds), low, high), v)
	}

	conns := func(name string) *connections {
		return find(r.connections, func(c connections) bool { return c.name == name })
	}
	opened, theirs := conns(nameChatdm).opened, conns(nameSlackGo).opened
	add(fmt.Sprintf("connections for %s calls by 64 goroutines", r.ConnCalls()), "≤ 128",
		fmt.Sprintf("%d (slack-go %s)", opened, number(float64(theirs))), verdict(opened <= 128))
	writes, floor := conns(nameChatdm).writes, conns(nameFloor).writes
	add("writes to the connection for a call ÷ "+nameFloor, "no more", fmt.Sprintf("%.0f ÷ %.0f", writes, floor), verdict(writes <= floor))

	allocated := find(r.huge, func(b big) bool { return b.name == nameChatdm }).allocated
	add("MiB allocated for an answer of 64 MiB", fmt.Sprintf("≤ %.2f", float64(limit+hugeMargin)/(1<<20)),
		fmt.Sprintf("%.2f", float64(allocated)/(1<<20)), verdict(allocated <= limit+hugeMargin))

	var rows [][]string
	for _, g := range goals {
		rows = append(rows, []string{g.what, g.bound, g.found, g.verdict})
	}
	return markdown([]string{"", "goal", "found", ""}, rows)
}

// Machine is where it was measured.
func (r *results) Machine() string {
	return fmt.Sprintf("%s, %d cores for Go, %s/%s, %s, load average %s at the beginning",
		cpu(), runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, runtime.Version(), r.Load)
}

func cpu() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "a processor that does not say its name"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "a processor that does not say its name"
}

// Versions are those of the modules that are measured.
func (r *results) Versions() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	names := []string{"github.com/slack-go/slack", "github.com/hashicorp/go-retryablehttp", "github.com/hashicorp/go-cleanhttp"}
	all := []string{"chatdm of this checkout"}
	for _, m := range info.Deps {
		if slices.Contains(names, m.Path) {
			all = append(all, m.Path+" "+m.Version)
		}
	}
	return strings.Join(all, ", ")
}
