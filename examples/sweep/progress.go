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

// progress tells how far the sweep is: with a bar on a terminal, and elsewhere
// with a line every few seconds.
type progress struct {
	ctx      context.Context
	out      io.Writer
	terminal int                      // the descriptor of out, if it is one
	bar      *progressbar.ProgressBar // nil where it is none
	sweep    *sweep
	total    int
	marks    []mark // of the last seconds, for the rate
}

type mark struct {
	at   time.Time
	done int
}

// The time that the rate is taken over, and the time between two lines.
const (
	rateOver  = 30 * time.Second
	lineEvery = 5 * time.Second
)

// follow shows the progress of a sweep until the function that it returns is
// called.
func follow(ctx context.Context, s *sweep, out io.Writer) (end func()) {
	p := &progress{ctx: ctx, out: out, sweep: s, total: len(s.journal.list.IDs)}
	every := lineEvery
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		every = 200 * time.Millisecond
		p.terminal = int(file.Fd())
		p.bar = progressbar.NewOptions(p.total,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetWidth(30),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetPredictTime(false), // the bar does not know of tiers and pauses
			progressbar.OptionShowDescriptionAtLineEnd(),
		)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		p.mark(time.Now())
		p.show()
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case now := <-ticker.C:
				p.mark(now)
				p.show()
			case <-stop:
				p.mark(time.Now())
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
	done, text := p.marks[len(p.marks)-1].done, p.text(p.sweep.pace.paused())
	if p.bar == nil {
		fmt.Fprintf(p.out, "sweep: %s\n", text)
		return
	}
	if width, _, err := term.GetSize(p.terminal); err == nil {
		text = text[:min(len(text), max(0, width-len(" 100% ||   ")-1))] // a line that wraps cannot be drawn over
	}
	if done < p.total {
		_ = p.bar.Set(done)
		p.bar.Describe(text)
	} else { // the bar does not change any more when it is full
		p.bar.Describe(text)
		_ = p.bar.Set(done)
	}
}

// mark takes down how many ids have their answer, and forgets what is too old.
func (p *progress) mark(now time.Time) {
	p.sweep.journal.mu.Lock()
	done := len(p.sweep.journal.answers)
	p.sweep.journal.mu.Unlock()
	p.marks = append(p.marks, mark{now, done})
	for len(p.marks) > 2 && now.Sub(p.marks[1].at) > rateOver {
		p.marks = p.marks[1:]
	}
}

// text is "15 of 40, 20/min, paused 31s, 1m15s left".
func (p *progress) text(paused time.Duration) string {
	first, now := p.marks[0], p.marks[len(p.marks)-1]
	parts := []string{fmt.Sprintf("%d of %d", now.done, p.total)}
	measured := 0.0 // a minute
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

// pace is what the time left is reckoned with: the tier's. What was measured
// counts where there is no tier, and where it is less for long enough: at
// first it shows the burst, or the wait for the first answer.
func (p *progress) pace(measured float64, over time.Duration) float64 {
	tier := float64(p.sweep.pace.perMinute)
	if tier == 0 || over >= rateOver && measured > 0 {
		return min(measured, max(tier, measured))
	}
	return tier
}

// seconds is a time in whole seconds, rounded up: "1m15s".
func seconds(d time.Duration) string {
	return (d + time.Second - 1).Truncate(time.Second).String()
}
