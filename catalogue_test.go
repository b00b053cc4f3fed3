package chatdm

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chatdm/chatdm/internal/engine"
)

var update = flag.Bool("update", false, "write docs/errors.md anew")

// TestErrorsPage keeps docs/errors.md what the catalogue says.
func TestErrorsPage(t *testing.T) {
	page := errorsPage(t)
	if *update {
		if err := os.WriteFile("docs/errors.md", []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page {
		t.Error("docs/errors.md is not what the catalogue says; run: go test -run TestErrorsPage -update .")
	}
}

func errorsPage(t *testing.T) string {
	var b strings.Builder
	b.WriteString(`<!-- Made from the catalogue in errors.go by: go test -run TestErrorsPage -update . -->

# Error codes

Each is a constant of package chatdm or rocketchat. A code that is not here is of
the kind ` + "`unknown`" + ` and works the same way: ` + "`chatdm.Code(\"brand_new\")`" + `.

"Sent again" is what the client does before you see the error: *always* means
after the wait that the server asks for, *where harmless* that it does so for
calls that may be repeated.
`)
	again := map[engine.Outcome]string{engine.Definite: "no", engine.Unknown: "where harmless", engine.Refused: "always"}
	for _, platform := range []struct{ title, pkg, file string }{
		{"Slack", "chatdm", "errors.go"}, {"Rocket.Chat", "rocketchat", "rocketchat/errors.go"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| code | constant | kind | what it means | sent again |\n|---|---|---|---|---|\n", platform.title)
		names := Constants(t, platform.file)
		for _, code := range slices.Sorted(maps.Keys(names)) {
			e := catalogue[code]
			fmt.Fprintf(&b, "| `%s` | `%s.%s` | `%s` | %s | %s |\n", code, platform.pkg, names[code], e.kind, e.meaning, again[e.outcome])
		}
	}
	return b.String()
}

func TestCatalogueIsComplete(t *testing.T) {
	for code, e := range catalogue {
		if e.kind == "" || e.kind == KindUnknown || e.meaning == "" || strings.HasSuffix(e.meaning, ".") {
			t.Errorf("%s: %+v", code, e)
		}
	}
}

// Constants are the Err constants in a source file, by their codes.
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

// TestCatalogueIsOfConstants: every constant has an entry, and every entry a
// constant.
func TestCatalogueIsOfConstants(t *testing.T) {
	names := Constants(t, "errors.go")
	maps.Copy(names, Constants(t, "rocketchat/errors.go"))
	for code, name := range names {
		if _, ok := catalogue[code]; !ok {
			t.Errorf("%s (%s) is not in the catalogue", name, code)
		}
	}
	for code := range catalogue {
		if names[code] == "" {
			t.Errorf("%s has no constant", code)
		}
	}
}
