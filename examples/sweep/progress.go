package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows the progress of a sweep: on a terminal as a bar, elsewhere as a
// line every few seconds.
type progress struct {
	ctx      context.Context
	out      io.Writer
	terminal int                      // the file descriptor of the terminal
	bar      *progressbar.ProgressBar // nil if out is not a terminal
	sweep    *sweep
	total    int
	samples  []sample // of the last 30 seconds, for the rate
}

type sample struct {
	at   time.Time
	done int
}

const (
	rateWindow   = 30 * time.Second
	lineInterval = 5 * time.Second
)

// showProgress shows the progress of a sweep until end is called.
func showProgress(ctx context.Context, s *sweep, out io.Writer) (end func()) {
	p := &progress{ctx: ctx, out: out, sweep: s, total: len(s.journal.list.IDs)}
	interval := lineInterval
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		interval = 200 * time.Millisecond
		p.terminal = int(file.Fd())
		p.bar = progressbar.NewOptions(p.total,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetWidth(30),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetPredictTime(false), // it would ignore the rate limit and pauses
			progressbar.OptionShowDescriptionAtLineEnd(),
		)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		p.sample(time.Now())
		p.show()
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				p.sample(now)
				p.show()
			case <-stop:
				p.sample(time.Now())
				p.show()
				if p.bar != nil {
					fmt.Fprint(p.out, "\n\n")
				}
				return
			}
		}
	}()
	return func() {
		close(stop)
		<-stopped
	}
}

func (p *progress) show() {
	done, text := p.samples[len(p.samples)-1].done, p.text(p.sweep.pace.paused())
	if p.bar == nil {
		fmt.Fprintf(p.out, "sweep: %s\n", text)
		return
	}
	if width, _, err := term.GetSize(p.terminal); err == nil {
		text = text[:min(len(text), max(0, width-len(" 100% ||   ")-1))] // the bar cannot redraw a line that wraps
	}
	if done < p.total {
		_ = p.bar.Set(done)
		p.bar.Describe(text)
	} else { // a full bar does not change any more
		p.bar.Describe(text)
		_ = p.bar.Set(done)
	}
}

// sample records how many IDs have a result, and drops old samples.
func (p *progress) sample(now time.Time) {
	p.samples = append(p.samples, sample{now, p.sweep.journal.done()})
	for len(p.samples) > 2 && now.Sub(p.samples[1].at) > rateWindow {
		p.samples = p.samples[1:]
	}
}

// text returns a text like "15 of 40, 20/min, paused 31s, 1m15s left".
func (p *progress) text(paused time.Duration) string {
	first, now := p.samples[0], p.samples[len(p.samples)-1]
	parts := []string{fmt.Sprintf("%d of %d", now.done, p.total)}
	measured := 0.0 // calls per minute
	if over := now.at.Sub(first.at); over >= time.Second {
		measured = float64(now.done-first.done) / over.Minutes()
		parts = append(parts, fmt.Sprintf("%.0f/min", measured))
	}
	if paused > 0 {
		parts = append(parts, "paused "+seconds(paused))
	}
	if p.ctx.Err() != nil {
		return strings.Join(append(parts, "stopping"), ", ")
	}
	if pace := p.pace(measured, now.at.Sub(first.at)); pace > 0 && now.done < p.total {
		left := time.Duration(float64(p.total-now.done) / pace * float64(time.Minute))
		parts = append(parts, seconds(left+paused)+" left")
	}
	return strings.Join(parts, ", ")
}

// pace returns the expected calls per minute: the limit, or the measured rate if there
// is no limit or if the rate stays lower for a whole window. A rate over a shorter
// time may show only the burst, or the wait for the first response.
func (p *progress) pace(measured float64, over time.Duration) float64 {
	limit := float64(p.sweep.pace.perMinute)
	switch {
	case limit == 0:
		return measured
	case over >= rateWindow && measured > 0:
		return min(measured, limit)
	}
	return limit
}

// seconds formats a duration in whole seconds, rounded up: "1m15s".
func seconds(d time.Duration) string {
	return (d + time.Second - 1).Truncate(time.Second).String()
}
