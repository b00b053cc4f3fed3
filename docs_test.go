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

// TestEveryMethodHasAnExample checks the exported methods of every exported type.
func TestEveryMethodHasAnExample(t *testing.T) {
	for _, dir := range []string{".", "rocketchat", "chatdmtest", "chatdmotel"} {
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
					t.Errorf("%s: got Example%s without output", dir, e.Name)
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
					t.Errorf("%s: got no Example%s_%s, want one for each method", dir, name, fn.Name.Name)
				}
			}
		}
	}
}

// TestSecurityClaims checks that every test that SECURITY.md names exists.
func TestSecurityClaims(t *testing.T) {
	page := read(t, "SECURITY.md")
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "rocketchat/*_test.go", "chatdmotel/*_test.go", "internal/*/*_test.go"} {
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
		t.Errorf("SECURITY.md: got %d tests, want at least 20", len(claimed))
	}
	for _, name := range claimed {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("SECURITY.md: got %s, want the name of a test", name[1])
		}
	}
}

// TestCodeInDocs checks the code in the Markdown files. Go code must be a complete
// file, which .ci/run builds, or a part of a Go file in this repository. Commands
// must also appear in .ci/run.
func TestCodeInDocs(t *testing.T) {
	var pages, sources []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
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
	// A command in a comment of .ci/run does not count.
	ci := regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(read(t, ".ci/run"), "")
	ciRuns := func(command string) bool {
		args := strings.Fields(command)
		if args[0] != ".ci/run" {
			return strings.Contains(ci, strings.TrimSpace(command))
		}
		return !slices.ContainsFunc(args[1:], func(step string) bool { return !strings.Contains(ci, "\nstep_"+step+"() {") })
	}
	code, commands := 0, 0
	fence := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	inline := regexp.MustCompile("`(go run \\./[\\w/]+|go (?:-C|test) [^`]+)")
	for _, page := range pages {
		text := read(t, page)
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			switch block[1] {
			case "go":
				code++
				piece := flat(block[2])
				if !strings.HasPrefix(piece, "package ") && !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, piece) }) {
					t.Errorf("%s: no Go file contains this code:\n%s", page, block[2])
				}
			case "sh":
				for command := range strings.Lines(block[2]) {
					commands++
					if !ciRuns(command) {
						t.Errorf("%s: .ci/run does not run %q", page, command)
					}
				}
			}
		}
		for _, command := range inline.FindAllStringSubmatch(text, -1) {
			commands++
			if !ciRuns(command[1]) {
				t.Errorf("%s: .ci/run does not run %q", page, command[1])
			}
		}
	}
	if code < 5 || commands < 5 {
		t.Errorf("got %d blocks of code and %d commands, want at least 5 of each", code, commands)
	}
}

// flat removes the indentation from Go source.
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
