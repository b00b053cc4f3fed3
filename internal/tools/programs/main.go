// Command programs extracts the complete Go programs and tests from the Markdown
// files of this repository, so that .ci/run can build them. TestCodeInDocs checks
// all other Go code in these files.
//
//	go -C internal/tools run ./programs -to DIR
package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	from := flag.String("from", "../..", "the root `folder` of the clone")
	to := flag.String("to", "", "the `folder` to write the programs to, one folder each")
	flag.Parse()
	if *to == "" {
		flag.Usage()
		os.Exit(2)
	}
	written, err := run(*from, *to)
	if err == nil && len(written) < 4 {
		err = fmt.Errorf("found %d programs, want at least 4", len(written))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "programs:", err)
		os.Exit(1)
	}
	fmt.Println(strings.Join(written, "\n"))
}

var (
	block       = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	packageLine = regexp.MustCompile(`^package (\w+)\n`)
)

// run writes each program to a folder below to, and returns the names of the
// folders. For example, README_1 holds the first program in README.md.
func run(from, to string) (written []string, err error) {
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
