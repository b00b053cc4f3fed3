package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRun(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(name, want string) {
		t.Helper()
		if err := run(root, root); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(root, "api", name))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %v\n%s\nwant\n%s", name, err, got, want)
		}
	}
	write("go.mod", "module example.org/root\n\ngo 1.26.0\n")
	write("nested/go.mod", "module example.org/root/nested\n\ngo 1.26.0\n")
	write("examples/go.mod", "module example.org/root/examples\n\ngo 1.26.0\n")
	write("examples/main.go", "package examples\n\nfunc Exported() {}\n")
	write("internal/hidden/hidden.go", "package hidden\n\nfunc Exported() {}\n")
	write("cmd/main.go", "package main\n\nfunc main() {}\n")
	write("api/old.txt", "func Old()\n")
	write("nested/nested.go", "package nested\n\nfunc New(opts ...int) (*error, error) { return nil, nil }\n")
	const source = `package root

import "time"

const Wait = 2 * time.Second

var Default Code

type Code string

func (Code) Kind() string { return "" }

type base struct{}

func (*base) Close() {}

type Client struct {
	base
	Name string ` + "`json:\"name\"`" + `
	name string
}

type Clock interface {
	Now() time.Time
	secret()
}

type Func = func(t time.Time)

func hidden(Client) {}
`
	write("root.go", source)
	const want = `const Wait time.Duration = 2000000000
method (*Client) Close()
method (Code) Kind() string
type Client struct
type Client struct, Name string ` + "`json:\"name\"`" + `
type Clock interface
type Clock interface, Now() time.Time
type Clock interface, secret()
type Code string
type Func = func(t time.Time)
var Default Code
`
	expect("root.txt", want)
	expect("nested.txt", "func New(opts ...int) (*error, error)\n")
	if files, _ := os.ReadDir(filepath.Join(root, "api")); len(files) != 2 {
		t.Errorf("got files %v, want root.txt and nested.txt", files)
	}

	write("nested/nested.go", "package nested\n\nfunc New(opts ...string) (*error, error) { return nil, nil }\n")
	expect("nested.txt", "func New(opts ...string) (*error, error)\n")

	write("nested/nested.go", "package nested\n\nfunc New() undefined { return nil }\n")
	if err := run(root, root); err == nil {
		t.Error("got nil, want an error for a package that does not compile")
	}
	if files, _ := os.ReadDir(filepath.Join(root, "api")); len(files) != 2 {
		t.Errorf("got files %v after an error, want root.txt and nested.txt", files)
	}
}
