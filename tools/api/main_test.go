package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestRun(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const changelog = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- `chatdm.Code.Kind` in bold.\n\n"
	write("CHANGELOG.md", changelog)
	write("go.mod", "module github.com/chatdm/chatdm\n\ngo 1.26.0\n")
	write("redislimit/go.mod", "module github.com/chatdm/chatdm/redislimit\n\ngo 1.26.0\n")
	for _, name := range []string{"chatdmtest", "rocketchat", "redislimit"} {
		write(name+"/x.go", "package "+name+"\n\nfunc New() int { return 1 }\n")
	}
	write("x.go", "package chatdm\n\ntype Code string\n\nfunc (Code) Kind() string { return \"\" }\n")
	write("api/x", "")
	expect := func(want ...string) {
		t.Helper()
		breaks, err := run(root, false)
		slices.Sort(breaks)
		if err != nil || !slices.Equal(breaks, want) {
			t.Errorf("got %q, %v, want %q", breaks, err, want)
		}
	}

	if _, err := run(root, false); err == nil {
		t.Error("nothing is recorded, and it is no error")
	}
	if _, err := run(root, true); err != nil {
		t.Fatal(err)
	}
	expect()
	write("x.go", "package chatdm\n\ntype Code string\n\nfunc (Code) Kind() string { return \"\" }\n\nfunc More() {}\n")
	expect() // an addition

	const removed, changed = "github.com/chatdm/chatdm: Code.Kind: removed", "github.com/chatdm/chatdm/redislimit: New: changed from func() int to func() string"
	write("x.go", "package chatdm\n\ntype Code string\n")
	write("redislimit/x.go", "package redislimit\n\nfunc New() string { return \"\" }\n")
	expect(changed, removed)
	write("CHANGELOG.md", changelog+"### Breaking\n\n- `chatdm.Code.Kind` is gone.\n\n### Fixed\n\n- `redislimit.New`\n\n## 0.1.0\n\n### Breaking\n\n- `redislimit.New`\n")
	expect(changed)
	write("CHANGELOG.md", changelog+"### Breaking\n\n- `chatdm.Code.Kind` is gone, `redislimit.New` returns a name.\n")
	expect()

	write("x.go", "package chatdm\n\ntype Code strin\n")
	if _, err := run(root, false); err == nil {
		t.Error("what does not compile is no error")
	}
}
