package main

import (
	"fmt"
	"image/color"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/chatdm/chatdm/bench/internal/report"
)

// plotted are the runs in the plot, a panel for each. What is drawn differs in
// shape and brightness, so that colour is not needed.
var plotted = []string{nameNone, nameTier, nameRedis, nameRetry}

var (
	allowedStyle = draw.LineStyle{Color: color.Gray{0xc0}, Width: 5}
	doneStyle    = draw.LineStyle{Color: color.RGBA{0x00, 0x48, 0x80, 0xff}, Width: 1.6}
	refusedStyle = draw.GlyphStyle{Color: color.RGBA{0xb0, 0x3a, 0x00, 0xff}, Radius: 4, Shape: draw.PyramidGlyph{}}
)

const (
	legendTop = 34 // the height of the legend's line
)

// plot draws calls against time.
func (r *results) plot(dc draw.Canvas) {
	legend(draw.Crop(dc, 0, 0, report.PlotHeight-legendTop, 0))
	var panels [][]*plot.Plot
	for i, name := range plotted {
		if i%2 == 0 {
			panels = append(panels, nil)
		}
		panels[i/2] = append(panels[i/2], panel(r.run(name), r.Length))
	}
	tiles := plot.Align(panels, draw.Tiles{Rows: 2, Cols: 2, PadTop: 6, PadBottom: 8, PadLeft: 8, PadRight: 14, PadX: 24, PadY: 20},
		draw.Crop(dc, 0, 0, 0, -legendTop))
	for i := range panels {
		for j := range panels[i] {
			panels[i][j].Draw(tiles[i][j])
		}
	}
}

// legend says on one line what the panels have in common.
func legend(c draw.Canvas) {
	style := text.Style{Color: color.Black, Font: report.Sans(13), YAlign: text.YCenter, Handler: plot.DefaultTextHandler}
	y := (c.Min.Y + c.Max.Y) / 2
	x := c.Min.X + 50
	for _, entry := range []struct {
		name string
		draw func(middle vg.Point)
	}{
		{"what the tier allows", func(m vg.Point) { c.StrokeLine2(allowedStyle, m.X-14, m.Y, m.X+14, m.Y) }},
		{"calls done", func(m vg.Point) { c.StrokeLine2(doneStyle, m.X-14, m.Y, m.X+14, m.Y) }},
		{"refusals (429), and how many", func(m vg.Point) { c.DrawGlyph(refusedStyle, m) }},
	} {
		entry.draw(vg.Point{X: x + 14, Y: y})
		c.FillText(style, vg.Point{X: x + 36, Y: y}, entry.name)
		x += 36 + style.Width(entry.name) + 40
	}
}

// panel is the calls of one run: done, as a line, and refused, as marks on it.
func panel(t *timed, length time.Duration) *plot.Plot {
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: %d done, %d refused", t.name, len(t.done), len(t.refused))
	p.Title.TextStyle.Font = report.Sans(13)
	p.Title.Padding = 8
	p.X.Label.Text, p.Y.Label.Text = "minutes", "closes"
	p.X.Label.TextStyle.Font, p.Y.Label.TextStyle.Font = report.Sans(11), report.Sans(11)
	p.X.Tick.Label.Font, p.Y.Tick.Label.Font = report.Sans(11), report.Sans(11)
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{0xe4}
	p.Add(grid)

	points := func(at time.Duration, n int) plotter.XY { return plotter.XY{X: at.Minutes(), Y: float64(n)} }
	limit := plotter.XYs{}
	for at := time.Duration(0); at < length; at += time.Minute {
		limit = append(limit, points(at, allowed(at+1)))
	}
	limit = append(limit, points(length, allowed(length)))
	done := plotter.XYs{points(0, 0)}
	for i, at := range t.done {
		done = append(done, points(at, i+1))
	}
	done = append(done, points(length, len(t.done)))
	for _, line := range []struct {
		points plotter.XYs
		style  draw.LineStyle
	}{{limit, allowedStyle}, {done, doneStyle}} {
		l, err := plotter.NewLine(line.points)
		if err != nil {
			panic(err) // there are points, and they are numbers
		}
		l.LineStyle, l.StepStyle = line.style, plotter.PostStep
		p.Add(l)
	}
	if len(t.refused) > 0 {
		addRefusals(p, t)
	}
	p.X.Min, p.X.Max = 0, length.Minutes()
	p.Y.Min, p.Y.Max = 0, float64(allowed(length))*1.05
	return p
}

// addRefusals draws one mark with a number for all refusals between two calls
// that were done.
func addRefusals(p *plot.Plot, t *timed) {
	var at plotter.XYs
	var numbers []int
	n, last := 0, -1
	for _, refused := range t.refused {
		for n < len(t.done) && t.done[n] <= refused {
			n++
		}
		if n != last {
			at, numbers = append(at, plotter.XY{X: refused.Minutes(), Y: float64(n)}), append(numbers, 0)
			last = n
		}
		numbers[len(numbers)-1]++
	}
	marks, err := plotter.NewScatter(at)
	if err != nil {
		panic(err)
	}
	marks.GlyphStyle = refusedStyle
	var texts []string
	for _, n := range numbers {
		texts = append(texts, fmt.Sprint(n))
	}
	labels, err := plotter.NewLabels(plotter.XYLabels{XYs: at, Labels: texts})
	if err != nil {
		panic(err)
	}
	labels.Offset = vg.Point{X: 6, Y: -14}
	for i := range labels.TextStyle {
		labels.TextStyle[i].Font = report.Sans(10)
	}
	p.Add(marks, labels)
}
