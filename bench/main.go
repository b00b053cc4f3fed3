// Command bench compares chatdm with slack-go, go-retryablehttp, and hand-written
// clients. It runs the benchmarks of this directory and prints a page with their
// medians and ratios.
//
//	go run ./bench -o docs/performance.md
//
// It takes about twenty minutes, and needs redis-server in the PATH.
package main

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchproc"

	"github.com/chatdm/chatdm/bench/internal/report"
)

//go:embed performance.md.tmpl
var pageText string

func main() {
	rounds := flag.Int("rounds", 20, "how many times to run each benchmark")
	benchtime := flag.String("benchtime", "30ms", "how long to run each benchmark in a round")
	quick := flag.Bool("quick", false, "only check that it runs: one round of 1ms")
	file := flag.String("o", "", "write the page to this `file`, and its plots next to it")
	flag.Parse()
	if *quick {
		*rounds, *benchtime = 1, "1ms"
	}
	if err := run(*rounds, *benchtime, *file); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int, benchtime, file string) error {
	r := &results{Rounds: rounds, Benchtime: benchtime, Machine: report.Machine(), samples: map[sample][]float64{}}
	var err error
	if r.Versions, err = report.Versions("github.com/slack-go/slack", "github.com/hashicorp/go-retryablehttp"); err != nil {
		return err
	}
	if err := r.measure(); err != nil {
		return err
	}
	page, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	if err := report.WritePage(page, r, file); err != nil || file == "" {
		return err
	}
	return r.plot(strings.TrimSuffix(file, filepath.Ext(file)))
}

// measure runs all benchmarks once in each round, so that a slow phase of the
// machine affects all contenders.
func (r *results) measure() error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	test := filepath.Join(dir, "bench.test")
	build := exec.Command("go", "test", "-c", "-o", test, "github.com/chatdm/chatdm/bench") //nolint:noctx // Ctrl+C ends it
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	for round := range r.Rounds {
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round+1, r.Rounds)
		cmd := exec.Command(test, "-test.run=^$", "-test.bench=.", "-test.benchmem", "-test.benchtime="+r.Benchtime, fmt.Sprintf("-test.short=%t", r.Rounds == 1)) //nolint:noctx // Ctrl+C ends it
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		if err := r.parse(out); err != nil {
			return err
		}
	}
	return nil
}

func (r *results) parse(output []byte) error {
	var parser benchproc.ProjectionParser
	op, err := parser.Parse("/op", nil)
	if err != nil {
		return err
	}
	client, err := parser.Parse("/client", nil)
	if err != nil {
		return err
	}
	reader := benchfmt.NewReader(bytes.NewReader(output), "benchmarks")
	for reader.Scan() {
		res, ok := reader.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		r.CPU = res.GetConfig("cpu")
		for _, v := range res.Values {
			s := sample{op.Project(res).StringValues(), client.Project(res).StringValues(), v.Unit}
			r.samples[s] = append(r.samples[s], v.Value)
		}
	}
	return reader.Err()
}
