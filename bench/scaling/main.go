// Command scaling measures how different limiters get calls through the rate limit
// of Slack, and what they cost. It runs the tests of this directory, and prints a
// page with their measurements.
//
//	go run ./bench/scaling -o docs/scaling.md -plot docs/scaling.svg
//
// It takes thirteen minutes, and needs redis-server in the PATH.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/chatdm/chatdm/bench/internal/report"
)

func main() {
	length := flag.Duration("for", 10*time.Minute, "how long to measure in real time")
	quick := flag.Bool("quick", false, "only check that it runs: a few seconds")
	file := flag.String("o", "", "write the page to this `file`")
	plotFile := flag.String("plot", "", "write the plot to this `file`")
	flag.Parse()
	many := 10000
	if *quick {
		*length, many = 5*time.Second, 500
	}
	if err := run(*length, many, *file, *plotFile); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

func run(length time.Duration, many int, file, plotFile string) error {
	dir, err := os.MkdirTemp("", "scaling")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	record := filepath.Join(dir, "measured.json")
	machine := report.Machine()                                                                                                                                   // with the load before the measurements
	cmd := exec.Command("go", "test", "-count=1", "-v", "-timeout=1h", "-run=^(TestSweep|TestSimulation|TestMeasure)$", "github.com/chatdm/chatdm/bench/scaling", //nolint:noctx // Ctrl+C ends it
		"-record="+record, "-for="+length.String(), "-many="+strconv.Itoa(many))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	text, err := os.ReadFile(record)
	if err != nil {
		return err
	}
	r := new(results)
	if err := json.Unmarshal(text, r); err != nil {
		return err
	}
	r.Machine = machine
	if r.Version, err = report.Versions("github.com/slack-go/slack"); err != nil {
		return err
	}
	if plotFile != "" {
		r.PlotFile = filepath.Base(plotFile)
		if err := r.plot(plotFile); err != nil {
			return err
		}
	}
	return report.WritePage(pageTemplate, r, file)
}
