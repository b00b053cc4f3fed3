package chatdm_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
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
	page, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "rocketchat/*_test.go", "internal/engine/*_test.go"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(source)
		}
	}
	claimed := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(page), -1)
	if len(claimed) < 20 {
		t.Errorf("only %d tests are named", len(claimed))
	}
	for _, name := range claimed {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("there is no %s", name[1])
		}
	}
}
