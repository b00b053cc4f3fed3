package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/chatdm/chatdm/examples/internal/ids"
)

// checkFiles returns an error if two flags name the same file, so that the sweep
// never overwrites its journal or the list of IDs. It runs before any file is
// created.
func (p *program) checkFiles() error {
	files := []struct{ flag, path string }{{"-ids", p.ids}, {"-journal", p.journal}, {"-json", p.json}}
	for i, a := range files {
		for _, b := range files[i+1:] {
			if a.path != "" && b.path != "" && b.path != "-" && p.sameFile(a.path, b.path) {
				return fmt.Errorf("%s and %s name the same file, %s; they must be different files", a.flag, b.flag, b.path)
			}
		}
	}
	return nil
}

// sameFile reports whether two paths lead to the same file, also through links
// and if the file does not exist yet. The path a may be "-", standard input.
func (p *program) sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	if a == "-" {
		file, ok := p.stdin.(*os.File)
		if !ok {
			return false
		}
		infoA, errA = file.Stat()
	}
	infoB, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return infoA.Mode().IsRegular() && os.SameFile(infoA, infoB)
	}
	a, b = resolve(a), resolve(b)
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" { // file names ignore case
		return strings.EqualFold(a, b)
	}
	return a == b
}

// resolve returns the absolute path, without links, of a file that need not
// exist.
func resolve(path string) string {
	for range 40 { // a loop of links fails when the file is opened
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			// Not filepath.Join, which drops ".." before links are followed.
			dir, _ := filepath.Split(path)
			target = dir + target
		}
		path = target
	}
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target
	}
	if abs, err := filepath.Abs(filepath.Join(dir, name)); err == nil {
		return abs
	}
	return path
}

// readIDs reads the IDs from the file that -ids names, or from standard input.
func (p *program) readIDs() ([]string, error) {
	name, in := "standard input", p.stdin
	if p.ids != "-" {
		file, err := os.Open(p.ids)
		if err != nil {
			return nil, fmt.Errorf("-ids: %w", err)
		}
		defer file.Close()
		name, in = p.ids, io.Reader(file)
	}
	list, err := ids.Read(in)
	if err != nil {
		return nil, fmt.Errorf("-ids: %s: %w", name, err)
	}
	return list, nil
}

// interruptible returns the results of read, or the error of ctx if ctx ends first.
// A read from a terminal cannot be interrupted.
func interruptible(ctx context.Context, read func() ([]string, error)) ([]string, error) {
	type result struct {
		ids []string
		err error
	}
	done := make(chan result, 1)
	go func() {
		ids, err := read()
		done <- result{ids, err}
	}()
	select {
	case r := <-done:
		return r.ids, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
