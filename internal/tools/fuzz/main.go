// Command fuzz runs every fuzz target of the root module for a number of inputs. A
// number gives the same result on a busy machine, unlike a time limit.
//
//	go -C internal/tools run ./fuzz -n 10000
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

func main() {
	n := flag.Int("n", 10_000, "the `number` of inputs for each target")
	flag.Parse()
	if err := run("../..", *n); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

func run(root string, n int) error {
	list, err := test(root, "-list", "^Fuzz", "./...")
	if err != nil {
		return fmt.Errorf("%w\n%s", err, list)
	}
	all := targets(list)
	if len(all) == 0 {
		return fmt.Errorf("got no fuzz target in:\n%s", list)
	}
	for _, t := range all {
		text, err := test(root, "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", fmt.Sprintf("%dx", n), t.pkg)
		if err != nil {
			return fmt.Errorf("%s: %w\n%s", t.name, err, text)
		}
		lines := strings.Split(strings.TrimSpace(text), "\n")
		fmt.Printf("%s: %s\n", t.name, lines[len(lines)-1])
	}
	return nil
}

// target is a fuzz target and its package.
type target struct{ name, pkg string }

var packageLine = regexp.MustCompile(`^ok\s+(\S+)`)

// targets parses the output of go test -list, which names the targets of a package
// before the package.
func targets(list string) (all []target) {
	var names []string
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "Fuzz") {
			names = append(names, line)
		} else if match := packageLine.FindStringSubmatch(line); match != nil {
			for _, name := range names {
				all = append(all, target{name, match[1]})
			}
			names = nil
		}
	}
	return all
}

// test runs go test in dir and returns all that it prints.
func test(dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "go", append([]string{"test"}, args...)...)
	cmd.Dir = dir
	text, err := cmd.CombinedOutput()
	return string(text), err
}
