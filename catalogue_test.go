package chatdm

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestCatalogueIsComplete(t *testing.T) {
	for code, e := range catalogue {
		if e.kind == "" || e.kind == KindUnknown || e.meaning == "" || strings.HasSuffix(e.meaning, ".") {
			t.Errorf("%s: got %+v, want a known kind and a meaning without a period", code, e)
		}
	}
}

func TestCatalogueHasEveryConstant(t *testing.T) {
	names := Constants(t, "errors.go")
	maps.Copy(names, Constants(t, "rocketchat/errors.go"))
	for code, name := range names {
		if _, ok := catalogue[code]; !ok {
			t.Errorf("got no %s (%s) in the catalogue, want each constant", name, code)
		}
	}
	for code := range catalogue {
		if names[code] == "" {
			t.Errorf("got %s in the catalogue, want a constant of it", code)
		}
	}
}

// Constants returns the names of the Err constants in a source file, by code.
func Constants(t testing.TB, name string) map[Code]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[Code]string{}
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			if v := spec.(*ast.ValueSpec); strings.HasPrefix(v.Names[0].Name, "Err") {
				code, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				names[Code(code)] = v.Names[0].Name
			}
		}
	}
	return names
}

// Documented returns the codes in a documented_errors.json, by method.
func Documented(t testing.TB, name string) map[string][]Code {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var codes map[string][]Code
	if err := json.Unmarshal(text, &codes); err != nil {
		t.Fatal(err)
	}
	return codes
}
