// Command bench measures chatdm beside slack-go, go-retryablehttp alone and a
// client written by hand, all in one run, and prints tables with the ratios and
// with the goals that are met.
//
//	go run ./bench -o docs/performance.md -plot docs/performance.svg
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/chatdm/chatdm/bench/internal/report"
)

// effort is how much is measured.
type effort struct {
	rounds        int
	batch         time.Duration
	loopbackCalls int // by each contender in each of twice as many rounds
	connCalls     int
	held          int
}

var (
	full  = effort{rounds: 12, batch: 50 * time.Millisecond, loopbackCalls: 3000, connCalls: 10000, held: 10000}
	quick = effort{rounds: 2, batch: 4 * time.Millisecond, loopbackCalls: 500, connCalls: 1000, held: 1000}
)

func main() {
	rounds := flag.Int("rounds", full.rounds, "how many rounds to measure")
	isQuick := flag.Bool("quick", false, "measure for some seconds only, to see that it runs")
	file := flag.String("o", "", "write the page to this `file`, as Markdown")
	plotFile := flag.String("plot", "", "write the plot to this `file`, as SVG")
	flag.Parse()
	if flag.NArg() > 0 || *rounds < 1 {
		flag.Usage()
		os.Exit(2)
	}
	e := full
	e.rounds = *rounds
	if *isQuick {
		e = quick
	}
	if err := run(e, *file, *plotFile, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures, prints what it has measured, and writes the files whose names
// are not empty.
func run(e effort, file, plotFile string, out, progress io.Writer) error {
	r, err := measureAll(e, progress)
	if err != nil {
		return err
	}
	return report.Write(pageTemplate, "measured", r, file, plotFile, &r.PlotFile, r.plot, out)
}

func measureAll(e effort, progress io.Writer) (*results, error) {
	start := time.Now()
	r := &results{Rounds: e.rounds, connCalls: e.connCalls, heldCalls: e.held, Load: report.Load()}
	say := func(what string) { fmt.Fprintf(progress, "%5.1fs  %s\n", time.Since(start).Seconds(), what) }
	for _, op := range operations() {
		say(op.name)
		t, err := measure(op, e.rounds, e.batch)
		if err != nil {
			return nil, err
		}
		r.tables = append(r.tables, t)
	}
	for _, goroutines := range []int{1, 16, 256} {
		say(fmt.Sprintf("over loopback, goroutines: %d", goroutines))
		calls := e.loopbackCalls
		if goroutines > 64 {
			calls *= 2 // the first call of a goroutine costs more, and should be one of many
		}
		t, err := overLoopback(goroutines, calls, 2*e.rounds)
		if err != nil {
			return nil, err
		}
		r.throughputs = append(r.throughputs, t)
	}
	say("connections")
	var err error
	if r.connections, err = countConnections(64, e.connCalls); err != nil {
		return nil, err
	}
	say("calls in flight")
	if r.held, err = inFlight(e.held); err != nil {
		return nil, err
	}
	say("a huge answer")
	r.huge = hugeAnswers()
	say("done")
	return r, nil
}
