package main

import (
	"fmt"
	"image/color"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/chatdm/chatdm/bench/internal/report"
)

// legend names the lines of each panel.
var legend = []report.Entry{
	{Name: "closes that the limit allows", Color: color.Gray{0xc0}},
	{Name: "closes done", Color: color.RGBA{0x00, 0x48, 0x80, 0xff}},
	{Name: "429s", Color: color.RGBA{0xd5, 0x5e, 0x00, 0xff}},
}

// plot draws a panel for each contender with the same axes.
func (r *results) plot(file string) error {
	highest := allowed(r.Length)
	for _, t := range r.Clock {
		highest = max(highest, len(t.Refused))
	}
	var rows [][]*plot.Plot
	for i, name := range []string{nameNone, nameTier, nameRetry, nameRedis} {
		t := r.run(name)
		title := fmt.Sprintf("%s: %d done, 429s: %d", t.Name, len(t.Done), len(t.Refused))
		p := report.NewPlot(title, "minutes", "calls", r.Length.Minutes(), 1.05*float64(highest))
		p.Title.TextStyle.Font = report.Sans(13)
		var windows []time.Duration
		for at := time.Duration(0); at < r.Length; at += time.Minute {
			for range perMinute {
				windows = append(windows, at)
			}
		}
		for k, calls := range [][]time.Duration{windows, t.Done, t.Refused} {
			points := plotter.XYs{{}}
			for n, at := range calls {
				points = append(points, plotter.XY{X: min(at, r.Length).Minutes(), Y: float64(n + 1)})
			}
			line, err := plotter.NewLine(append(points, plotter.XY{X: r.Length.Minutes(), Y: float64(len(calls))}))
			if err != nil {
				return err
			}
			line.StepStyle, line.Color, line.Width = plotter.PostStep, legend[k].Color, []vg.Length{5, 2, 2}[k]
			p.Add(line)
		}
		if i%2 == 0 {
			rows = append(rows, nil)
		}
		rows[i/2] = append(rows[i/2], p)
	}
	return report.WritePlots(file, 860, 600, legend, rows)
}
