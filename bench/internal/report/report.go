// Package report is what the programs that measure have in common: what they read
// of the machine, and how they write a page and its plot.
package report

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"text/template"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Settled is the memory in use, without what could be collected or pools keep.
func Settled() *runtime.MemStats {
	for range 3 {
		runtime.GC()
	}
	m := new(runtime.MemStats)
	runtime.ReadMemStats(m)
	return m
}

// Load is the load average of the last minute.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) == 0 {
		return "unknown"
	}
	return fields[0]
}

// Write prints the part of a page that was measured, and writes the files whose
// names are not empty: the plot, and the page around its figures. The template
// finds the name of the plot, which lies beside the page, in plotName.
func Write(t *template.Template, figures string, data any, file, plotFile string, plotName *string, plot func(draw.Canvas), out io.Writer) error {
	render := func(name string) (string, error) {
		var b strings.Builder
		err := t.ExecuteTemplate(&b, name, data)
		return strings.TrimSpace(b.String()) + "\n", err
	}
	text, err := render(figures)
	if err != nil {
		return err
	}
	fmt.Fprint(out, text)
	if plotFile != "" {
		if err := writePlot(plotFile, plot); err != nil {
			return err
		}
		*plotName = filepath.Base(plotFile)
	}
	if file == "" {
		return nil
	}
	if text, err = render("page"); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(text), 0o644)
}

// The size of every plot, in points.
const (
	PlotWidth  = 860
	PlotHeight = 640
)

// The SVG names a family whose letters are as wide everywhere as those that
// the layout was computed with.
const families = "font-family:Arial, Helvetica, Liberation Sans, sans-serif"

var familyPattern = regexp.MustCompile(`font-family:[^;"]*`)

// Sans is the font of a plot.
func Sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
}

// Rectangle fills a part of a plot.
func Rectangle(c draw.Canvas, colour color.Color, r vg.Rectangle) {
	c.FillPolygon(colour, []vg.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}})
}

// writePlot writes as SVG what is drawn on white.
func writePlot(file string, plot func(draw.Canvas)) error {
	canvas := vgsvg.New(vg.Points(PlotWidth), vg.Points(PlotHeight))
	c := draw.New(canvas)
	Rectangle(c, color.White, c.Rectangle)
	plot(c)
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	return os.WriteFile(file, familyPattern.ReplaceAll(svg.Bytes(), []byte(families)), 0o644)
}
