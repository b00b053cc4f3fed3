// Command scaling measures what pacing does and what it costs: how no limiter,
// chatdm.TierLimiter, chatdmredis and slack-go's retries get calls through
// Slack's limit, on the clock and in fake time; the memory of those who wait;
// and the load on Redis. It computes from that what a plan needs.
//
//	go run ./bench/scaling -o docs/scaling.md -plot docs/scaling.svg
//
// It takes eleven minutes, as the limiters' minute is a real one, and needs
// redis-server and go in the PATH.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm/bench/internal/report"
)

// effort is how much is measured.
type effort struct {
	length time.Duration // of the measurement on the clock
	many   int           // goroutines that wait, limiters, Redis keys
}

var (
	full  = effort{length: 10 * time.Minute, many: 10000}
	quick = effort{length: 5 * time.Second, many: 500}
)

func main() {
	redis.SetLogger(quiet{})
	if job := os.Getenv(workerEnv); job != "" {
		if err := work(job); err != nil {
			fmt.Fprintln(os.Stderr, "scaling: in a process of its own:", err)
			os.Exit(1)
		}
		return
	}
	e := full
	flag.DurationVar(&e.length, "for", full.length, "how long to measure on the clock")
	isQuick := flag.Bool("quick", false, "measure for some seconds only, to see that it runs")
	file := flag.String("o", "", "write the page to this `file`, as Markdown")
	plotFile := flag.String("plot", "", "write the plot to this `file`, as SVG")
	flag.Parse()
	if flag.NArg() > 0 || e.length < time.Second {
		flag.Usage()
		os.Exit(2)
	}
	if *isQuick {
		e = quick
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	r, err := measure(ctx, e, recordSweeps, os.Stderr)
	stop()
	if err == nil {
		err = write(r, *file, *plotFile, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

// quiet keeps the Redis client from printing what its errors say.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// measure measures everything. The sweeps are measured in fake time, which only
// a test has.
func measure(ctx context.Context, e effort, sweeps func(context.Context) ([]swept, error), progress io.Writer) (*results, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, fmt.Errorf("redis-server is needed (on Debian: apt-get install redis-server): %w", err)
	}
	start := time.Now()
	say := func(what string) { fmt.Fprintf(progress, "%6.1fs  %s\n", time.Since(start).Seconds(), what) }
	r := &results{Length: e.length, many: e.many, load: report.Load()}
	say("memory, and operations on Redis")
	err := r.measureCosts(ctx)
	if err != nil {
		return nil, err
	}
	say("2,000 closes in fake time")
	if r.sweeps, err = sweeps(ctx); err != nil {
		return nil, err
	}
	say(fmt.Sprintf("on the clock, for %v", e.length))
	if r.runs, err = onTheClock(ctx, e.length); err != nil {
		return nil, err
	}
	say("done")
	return r, nil
}

// write prints what was measured, and writes the files whose names are not empty.
func write(r *results, file, plotFile string, out io.Writer) error {
	return report.Write(pageTemplate, "figures", r, file, plotFile, &r.PlotFile, r.plot, out)
}
