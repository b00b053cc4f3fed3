package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestExtract(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	const (
		program = "package main\n\nfunc main() {}\n"
		test    = "package bot_test\n"
	)
	pages := map[string]string{
		"README.md":       "```go\nx := 1\n```\n\n```go\n" + program + "```\n\n```sh\npackage main\n```\n",
		"docs/testing.md": "```go\n" + test + "```\n```go\n" + program + "```\n",
	}
	for name, text := range pages {
		name = filepath.Join(from, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := extract(from, to)
	if want := []string{"README_1", "docs_testing_1", "docs_testing_2"}; err != nil || !slices.Equal(written, want) {
		t.Errorf("got %q, %v, want %q", written, err, want)
	}
	for name, want := range map[string]string{
		"README_1/main.go": program, "docs_testing_1/docs_test.go": test, "docs_testing_2/main.go": program,
	} {
		if got, err := os.ReadFile(filepath.Join(to, filepath.FromSlash(name))); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}
