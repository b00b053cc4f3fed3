// Command coverage runs the tests of the root module and fails if they cover too few
// statements of the clients and the engine.
//
//	go -C internal/tools run ./coverage
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/tools/cover"
)

// threshold is the minimum percentage of statements that the tests must cover.
const threshold = 95

func main() {
	if err := run("../.."); err != nil {
		fmt.Fprintln(os.Stderr, "coverage:", err)
		os.Exit(1)
	}
}

func run(root string) (err error) {
	dir, err := os.MkdirTemp("", "coverage")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	profile := filepath.Join(dir, "cover.out")
	cmd := exec.CommandContext(context.Background(), "go", "test", "-coverpkg=.,./rocketchat,./internal/...", "-coverprofile="+profile, ".", "./rocketchat", "./internal/...")
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	profiles, err := cover.ParseProfiles(profile)
	if err != nil {
		return err
	}
	got := percentage(profiles)
	fmt.Printf("%.1f%% of the statements\n", got)
	if got <= threshold {
		return fmt.Errorf("got %.1f%%, want more than %d%%", got, threshold)
	}
	return nil
}

// percentage returns the share of statements that at least one test ran.
func percentage(profiles []*cover.Profile) float64 {
	var covered, total int
	for _, p := range profiles {
		for _, block := range p.Blocks {
			total += block.NumStmt
			if block.Count > 0 {
				covered += block.NumStmt
			}
		}
	}
	return 100 * float64(covered) / float64(max(total, 1))
}
