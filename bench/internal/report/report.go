// Package report is what the two benchmark programs share: the measurement of
// memory, the description of the machine, tables, plots, and pages.
package report

import (
	"errors"
	"fmt"
	"image/color"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"text/tabwriter"
	"text/template"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Settled returns the memory in use, without garbage and pools.
func Settled() *runtime.MemStats {
	for range 3 {
		runtime.GC()
	}
	m := new(runtime.MemStats)
	runtime.ReadMemStats(m)
	return m
}

// Retained returns the bytes on the heap of each of n values.
func Retained(n int, newValue func(int) any) float64 {
	all := make([]any, n)
	before := Settled()
	for i := range all {
		all[i] = newValue(i)
	}
	after := Settled()
	runtime.KeepAlive(all)
	return (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / float64(n)
}

// Waiting returns a function that reports whether n more goroutines wait than now.
func Waiting(n int) func() bool {
	n += waiting()
	return func() bool { return waiting() >= n }
}

// Hold starts n goroutines that call wait, and returns the bytes that each of them
// holds as soon as ready returns true. Then it calls release and joins them.
func Hold(n int, ready func() bool, wait func() error, release func()) (heap, stack float64, err error) {
	before := Settled()
	errs := make(chan error, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { errs <- wait() })
	}
	for deadline := time.Now().Add(time.Minute); err == nil && !ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			err = errors.New("not all calls wait after a minute")
		}
	}
	after := Settled()
	release()
	wg.Wait()
	close(errs)
	for e := range errs {
		if err == nil {
			err = e
		}
	}
	per := func(after, before uint64) float64 { return (float64(after) - float64(before)) / float64(n) }
	return per(after.HeapAlloc, before.HeapAlloc), per(after.StackInuse, before.StackInuse), err
}

func waiting() int {
	sample := []metrics.Sample{{Name: "/sched/goroutines/waiting:goroutines"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

// English formats numbers with separators between thousands.
var English = message.NewPrinter(language.English)

// Integer rounds a number.
func Integer(v float64) string { return English.Sprintf("%.0f", v) }

// Table returns a Markdown table whose columns also line up in a terminal. The
// first row is the head.
func Table(rows ...[]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for i, row := range rows {
		fmt.Fprintf(w, "| %s\t|\n", strings.Join(row, "\t| "))
		if i == 0 {
			fmt.Fprintf(w, "|---%s\t|\n", strings.Repeat("\t|---:", len(row)-1))
		}
	}
	_ = w.Flush() // to memory
	return strings.TrimSpace(b.String())
}

// Machine describes the machine.
func Machine() string {
	load, err := os.ReadFile("/proc/loadavg")
	average, _, _ := strings.Cut(string(load), " ")
	if err != nil {
		average = "unknown"
	}
	return fmt.Sprintf("%s, %s/%s, %d cores, load average %s at the beginning", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), average)
}

// Versions returns the versions of modules that this module requires.
func Versions(paths ...string) (string, error) {
	args := append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"}, paths...)
	out, err := exec.Command("go", args...).Output() //nolint:noctx // it takes milliseconds
	return strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", ", "), err
}

// WritePage executes the template, and writes the result to a file, or to the
// standard output if file is empty.
func WritePage(t *template.Template, data any, file string) error {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	if file == "" {
		_, err := os.Stdout.WriteString(b.String())
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// Sans returns the font of the plots.
func Sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// NewPlot returns an empty plot with labeled axes that start at zero.
func NewPlot(title, x, y string, maxX, maxY float64) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font, p.Title.Padding = Sans(15), 8
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font, axis.Tick.Label.Font = Sans(13), Sans(12)
	}
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal.Color = 0, color.Gray{0xe0}
	p.Add(grid)
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, maxX, 0, maxY
	return p
}

// Entry is a color of the legend.
type Entry struct {
	Name  string
	Color color.Color
}

// WritePlots writes an SVG file with a legend and rows of plots, on white so that
// it is readable on any background. It writes nothing if file is empty.
func WritePlots(file string, width, height vg.Length, legend []Entry, plots [][]*plot.Plot) error {
	if file == "" {
		return nil
	}
	const top, box = 34, 12
	canvas := vgsvg.New(width, height)
	c := draw.New(canvas)
	c.FillPolygon(color.White, []vg.Point{{}, {X: width}, {X: width, Y: height}, {Y: height}})
	style := text.Style{Color: color.Black, Font: Sans(13), YAlign: text.YCenter, Handler: plot.DefaultTextHandler}
	x, y := vg.Length(50), height-top/2
	for _, e := range legend {
		c.FillPolygon(e.Color, []vg.Point{{X: x, Y: y - box/2}, {X: x + box, Y: y - box/2}, {X: x + box, Y: y + box/2}, {X: x, Y: y + box/2}})
		c.FillText(style, vg.Point{X: x + box + 6, Y: y}, e.Name)
		x += box + 6 + style.Width(e.Name) + 26
	}
	tiles := plot.Align(plots, draw.Tiles{Rows: len(plots), Cols: len(plots[0]), PadTop: 6, PadBottom: 8, PadLeft: 10, PadRight: 16, PadX: 24, PadY: 20}, draw.Crop(c, 0, 0, 0, -top))
	for i, row := range plots {
		for j, p := range row {
			p.Draw(tiles[i][j])
		}
	}
	var svg strings.Builder
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// Browsers know the font by other names.
	return os.WriteFile(file, []byte(strings.ReplaceAll(svg.String(), "font-family:Liberation Sans", "font-family:Arial, Helvetica, Liberation Sans, sans-serif")), 0o644)
}
