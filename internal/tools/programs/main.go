// Command programs vets the complete Go programs in the Markdown files of this
// repository, and runs the tests there. TestCodeInDocs checks all other Go code in
// these files.
//
//	go -C internal/tools run ./programs
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/modfile"
)

func main() {
	if err := run("../.."); err != nil {
		fmt.Fprintln(os.Stderr, "programs:", err)
		os.Exit(1)
	}
}

// run puts the programs into a module of a temporary workspace, which holds the
// modules of this repository too.
func run(root string) (err error) {
	dir, err := os.MkdirTemp("", "programs")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	written, err := extract(root, dir)
	if err == nil && len(written) < 4 {
		err = fmt.Errorf("found %d programs, want at least 4", len(written))
	}
	if err != nil {
		return err
	}
	if err := workspace(root, dir); err != nil {
		return err
	}
	for _, args := range [][]string{{"vet", "./..."}, {"test", "./..."}} {
		cmd := exec.CommandContext(context.Background(), "go", args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), "GOWORK="+filepath.Join(dir, "go.work"))
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
		}
	}
	return nil
}

// workspace makes dir a module, and adds it to a copy of the workspace in root.
func workspace(root, dir string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	name := filepath.Join(root, "go.work")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	work, err := modfile.ParseWork(name, text, nil)
	if err != nil {
		return err
	}
	copied := []byte("go " + work.Go.Version + "\n\nuse .\n")
	for _, use := range work.Use {
		copied = fmt.Appendf(copied, "use %q\n", filepath.ToSlash(filepath.Join(root, use.Path)))
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.work.sum"))
	return errors.Join(err,
		os.WriteFile(filepath.Join(dir, "go.work"), copied, 0o644),
		os.WriteFile(filepath.Join(dir, "go.work.sum"), sums, 0o644),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module example.org/docs\n\ngo "+work.Go.Version+"\n"), 0o644))
}

var (
	block       = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	packageLine = regexp.MustCompile(`^package (\w+)\n`)
)

// extract writes each program to a folder below to, and returns the names of the
// folders. For example, README_1 holds the first program in README.md.
func extract(from, to string) (written []string, err error) {
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != from && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		page, err := filepath.Rel(from, strings.TrimSuffix(path, ".md"))
		if err != nil {
			return err
		}
		page = strings.ReplaceAll(filepath.ToSlash(page), "/", "_")
		n := 0
		for _, code := range block.FindAllSubmatch(text, -1) {
			name := packageLine.FindSubmatch(code[1])
			if name == nil {
				continue
			}
			n++
			dir := fmt.Sprintf("%s_%d", page, n)
			file := "docs_test.go"
			if string(name[1]) == "main" {
				file = "main.go"
			}
			if err := os.MkdirAll(filepath.Join(to, dir), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(to, dir, file), code[1], 0o644); err != nil {
				return err
			}
			written = append(written, dir)
		}
		return nil
	})
	return written, err
}
