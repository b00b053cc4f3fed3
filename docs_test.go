package chatdm_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestEveryMethodHasAnExample holds for the methods of every exported type of
// the packages that users import; the test files of a package hold its examples.
func TestEveryMethodHasAnExample(t *testing.T) {
	for _, dir := range []string{".", "rocketchat", "chatdmtest"} {
		names, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		examples := map[string]bool{}
		var files []*ast.File
		for _, name := range names {
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(name, "_test.go") {
				files = append(files, file)
				continue
			}
			for _, e := range doc.Examples(file) {
				if e.Output == "" {
					t.Errorf("%s: Example%s has no output to check", dir, e.Name)
				}
				examples[e.Name] = true
			}
		}
		for _, file := range files {
			for _, decl := range file.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Recv == nil || !fn.Name.IsExported() {
					continue
				}
				recv := fn.Recv.List[0].Type
				if star, ok := recv.(*ast.StarExpr); ok {
					recv = star.X
				}
				if name := recv.(*ast.Ident).Name; ast.IsExported(name) && !examples[name+"_"+fn.Name.Name] {
					t.Errorf("%s: %s.%s has no Example%s_%s", dir, name, fn.Name.Name, name, fn.Name.Name)
				}
			}
		}
	}
}

// TestSecurityClaims: every test that SECURITY.md names is there.
func TestSecurityClaims(t *testing.T) {
	page := read(t, "SECURITY.md")
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "rocketchat/*_test.go", "internal/engine/*_test.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			tests.WriteString(read(t, name))
		}
	}
	claimed := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(page, -1)
	if len(claimed) < 20 {
		t.Errorf("only %d tests are named", len(claimed))
	}
	for _, name := range claimed {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// TestCodeInDocs: Go in the documentation is a whole file, which .ci/run builds,
// or a piece of a Go file of this repository; and .ci/run runs each command.
func TestCodeInDocs(t *testing.T) {
	var pages, sources []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "node_modules", d.Name() == ".git":
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			pages = append(pages, path)
		case strings.HasSuffix(path, ".go"):
			sources = append(sources, flat(read(t, path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ci := read(t, ".ci/run")
	code, commands := 0, 0
	fence := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	inline := regexp.MustCompile("`(go run \\./[\\w/]+)")
	for _, page := range pages {
		text := read(t, page)
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			switch block[1] {
			case "go":
				code++
				piece := flat(block[2])
				if !strings.HasPrefix(piece, "package ") && !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, piece) }) {
					t.Errorf("%s: no Go file has this:\n%s", page, block[2])
				}
			case "sh":
				for command := range strings.Lines(block[2]) {
					commands++
					if command = strings.TrimSpace(command); !strings.Contains(ci, command) {
						t.Errorf("%s: .ci/run does not run %q", page, command)
					}
				}
			}
		}
		for _, command := range inline.FindAllStringSubmatch(text, -1) {
			commands++
			if !strings.Contains(ci, command[1]) {
				t.Errorf("%s: .ci/run does not run %q", page, command[1])
			}
		}
	}
	if code < 5 || commands < 5 {
		t.Errorf("only %d pieces of code and %d commands were found", code, commands)
	}
}

// flat is Go source without its indentation.
func flat(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
