package main

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/chatdm/chatdm/bench/internal/report"
)

// plotted are the contenders and operations in the plot, with colours that
// people who see few of them can tell apart.
var plotted = []struct {
	name   string
	colour color.Color
}{
	{nameFloor, color.RGBA{0xbb, 0xbb, 0xbb, 0xff}},
	{nameFloorTimeout, color.RGBA{0x77, 0x77, 0x77, 0xff}},
	{nameRetryable, color.RGBA{0xe6, 0x9f, 0x00, 0xff}},
	{nameSlackGo, color.RGBA{0x56, 0xb4, 0xe9, 0xff}},
	{nameChatdm, color.RGBA{0x00, 0x72, 0xb2, 0xff}},
}

var plottedOps = []struct{ name, label string }{
	{opOpenFull, "open, whole channel"},
	{opOpenShort, "open, short"},
	{opClose, "close"},
	{opRefused, "error answer"},
	{opDelete, "Rocket.Chat delete"},
}

const (
	legendTop = 34 // the height of the legend's line
	barWidth  = 25
)

// plot draws bytes and time of a call.
func (r *results) plot(dc draw.Canvas) {
	legend(draw.Crop(dc, 0, 0, report.PlotHeight-legendTop, 0))
	panels := [][]*plot.Plot{
		{panel(r, "Bytes allocated by a call", 1000, func(c *cost) float64 { return c.bytes }, number)},
		{panel(r, "Microseconds of a call through the in-memory transport, best round", 2,
			func(c *cost) float64 { return c.min / 1e3 }, func(v float64) string { return fmt.Sprintf("%.1f", v) })},
	}
	tiles := plot.Align(panels, draw.Tiles{Rows: 2, Cols: 1, PadTop: 6, PadBottom: 8, PadLeft: 10, PadRight: 10, PadY: 18},
		draw.Crop(dc, 0, 0, 0, -legendTop))
	for i := range panels {
		panels[i][0].Draw(tiles[i][0])
	}
}

// legend names the contenders' colours on one line.
func legend(c draw.Canvas) {
	const box = 12
	style := text.Style{Color: color.Black, Font: report.Sans(13), XAlign: text.XLeft, YAlign: text.YCenter, Handler: plot.DefaultTextHandler}
	y := (c.Min.Y + c.Max.Y) / 2
	x := c.Min.X + 44
	for _, contender := range plotted {
		report.Rectangle(c, contender.colour, vg.Rectangle{Min: vg.Point{X: x, Y: y - box/2}, Max: vg.Point{X: x + box, Y: y + box/2}})
		c.FillText(style, vg.Point{X: x + box + 6, Y: y}, contender.name)
		x += box + 6 + style.Width(contender.name) + 28
	}
}

// panel is one row of bars, with their figures above them.
func panel(r *results, title string, step float64, of func(*cost) float64, figure func(float64) string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.TextStyle.Font = report.Sans(14)
	p.Title.Padding = 8
	p.X.Tick.Label.Font = report.Sans(13)
	p.X.Tick.Length, p.X.LineStyle.Width, p.Y.LineStyle.Width = 0, 0, 0
	p.Y.Tick.Label.Font = report.Sans(11)
	p.Y.Tick.Length = 0
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{0xd8}
	p.Add(grid)
	highest := 0.0
	for i, c := range plotted {
		values := make(plotter.Values, len(plottedOps))
		var tops plotter.XYLabels
		offset := vg.Length(barWidth) * (vg.Length(i) - vg.Length(len(plotted)-1)/2)
		for j, op := range plottedOps {
			t := find(r.tables, func(t table) bool { return t.Name == op.name })
			row := t.row(c.name)
			if row == nil {
				continue // slack-go and Rocket.Chat
			}
			values[j] = of(row)
			highest = max(highest, values[j])
			tops.XYs = append(tops.XYs, plotter.XY{X: float64(j), Y: values[j]})
			tops.Labels = append(tops.Labels, figure(values[j]))
		}
		bars, err := plotter.NewBarChart(values, barWidth-1)
		if err != nil {
			panic(err) // there are no values
		}
		bars.Color, bars.LineStyle.Width, bars.Offset = c.colour, 0, offset
		figures, err := plotter.NewLabels(tops)
		if err != nil {
			panic(err)
		}
		figures.Offset = vg.Point{X: offset, Y: 3}
		for k := range figures.TextStyle {
			figures.TextStyle[k].Font = report.Sans(9)
			figures.TextStyle[k].XAlign = text.XCenter
		}
		p.Add(bars, figures)
	}
	var labels []string
	for _, op := range plottedOps {
		labels = append(labels, op.label)
	}
	p.NominalX(labels...)
	p.X.Min, p.X.Max = -0.5, float64(len(plottedOps))-0.5
	var ticks plot.ConstantTicks
	for v := 0.0; v <= highest; v += step {
		ticks = append(ticks, plot.Tick{Value: v, Label: number(v)})
	}
	p.Y.Tick.Marker = ticks
	p.Y.Min, p.Y.Max = 0, highest*1.06
	return p
}
