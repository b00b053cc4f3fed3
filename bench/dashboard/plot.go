package main

import (
	"cmp"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/chatdm/chatdm/bench/internal/report"
)

// The colors are easy to tell apart, also for people who are color-blind.
var colors = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff}, color.RGBA{0xd5, 0x5e, 0x00, 0xff}, color.RGBA{0x00, 0x9e, 0x73, 0xff},
	color.RGBA{0xcc, 0x79, 0xa7, 0xff}, color.RGBA{0xe6, 0x9f, 0x00, 0xff}, color.RGBA{0x56, 0xb4, 0xe9, 0xff},
	color.Gray{0x60}, color.RGBA{0x66, 0x44, 0x99, 0xff}, color.RGBA{0x88, 0x66, 0x33, 0xff},
}

// plotPanels draws each panel, two in a row.
func plotPanels(file string, results []result, s *scrapes) error {
	var rows [][]*plot.Plot
	for i, r := range results {
		highest := 0.0
		for _, l := range r.lines {
			for _, point := range l.points {
				if !math.IsNaN(point.F) {
					highest = max(highest, point.F)
				}
			}
		}
		unit := map[string]string{"ops": "per second", "percentunit": "share", "s": "seconds"}[r.FieldConfig.Defaults.Unit]
		// The space above the lines is for the legend.
		p := report.NewPlot(r.Title, "minutes", cmp.Or(unit, "number"), s.end.Sub(s.start).Minutes(), max(1e-3, highest)*(1.15+0.12*float64(len(r.lines))))
		p.Legend.Top, p.Legend.Left, p.Legend.TextStyle.Font = true, true, report.Sans(11)
		p.Legend.XOffs, p.Legend.Padding = 6, 1
		for k, l := range r.lines {
			drawn, err := plotLine(l, s, colors[k%len(colors)])
			if err != nil {
				return err
			}
			for n, part := range drawn {
				p.Add(part)
				if n == 0 {
					p.Legend.Add(cmp.Or(l.name, "(none)"), part)
				}
			}
		}
		if i%2 == 0 {
			rows = append(rows, nil)
		}
		rows[i/2] = append(rows[i/2], p)
	}
	return report.WritePlots(file, 960, vg.Length(290*len(rows)), nil, rows)
}

// plotLine returns the parts of a line, which has gaps.
func plotLine(l line, s *scrapes, c color.Color) ([]*plotter.Line, error) {
	var parts []plotter.XYs
	step := s.end.Sub(s.start).Milliseconds() / 300
	last := int64(math.MinInt64)
	for _, point := range l.points {
		if math.IsNaN(point.F) {
			continue
		}
		if point.T-last > 2*step || len(parts) == 0 {
			parts = append(parts, nil)
		}
		last = point.T
		at := float64(point.T-s.start.UnixMilli()) / 60_000
		parts[len(parts)-1] = append(parts[len(parts)-1], plotter.XY{X: at, Y: point.F})
	}
	var drawn []*plotter.Line
	for _, xys := range parts {
		part, err := plotter.NewLine(xys)
		if err != nil {
			return nil, err
		}
		part.Color, part.Width = c, 1.5
		drawn = append(drawn, part)
	}
	return drawn, nil
}
