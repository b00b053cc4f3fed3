package chatdm

import (
	"encoding/json"
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

var update = flag.Bool("update", false, "write docs/errors.md and docs/methods.md anew")

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

# Errors

Each failing call returns a *chatdm.Error, which matches its code and its kind
with errors.Is.

## Kinds

The kind tells what to do.

| kind | constant | what it is, and what to do |
|---|---|---|
`)
	for _, k := range kinds(t) {
		fmt.Fprintf(&b, "| `%s` | `chatdm.%s` | %s |\n", k.value, k.name, k.text)
	}
	b.WriteString(`
## Codes

Each is a constant of package chatdm or rocketchat. A code that is not here is of
the kind ` + "`unknown`" + ` and works the same way: ` + "`chatdm.Code(\"brand_new\")`" + `. So
does one that another method answers to Call.

"Sent again" is what the client does before you see the error: *always* means
after the wait that the server asks for, *where harmless* that it does so for
calls that may be repeated.
`)
	again := map[engine.Outcome]string{engine.Definite: "no", engine.Unknown: "where harmless", engine.Refused: "always"}
	for _, platform := range []struct{ title, pkg, file, documented string }{
		{"Slack", "chatdm", "errors.go", "testdata/slack/documented_errors.json"},
		{"Rocket.Chat", "rocketchat", "rocketchat/errors.go", "testdata/rocketchat/documented_errors.json"},
	} {
		fmt.Fprintf(&b, "\n### %s\n\n| code | constant | kind | what it means | of | sent again |\n|---|---|---|---|---|---|\n", platform.title)
		names, documented := Constants(t, platform.file), Documented(t, platform.documented)
		for _, code := range slices.Sorted(maps.Keys(names)) {
			e := catalogue[code]
			fmt.Fprintf(&b, "| `%s` | `%s.%s` | `%s` | %s | %s | %s |\n",
				code, platform.pkg, names[code], e.kind, e.meaning, methodsOf(t, code, documented), again[e.outcome])
		}
	}
	return b.String()
}

// methodsOf is which methods answer with a code.
func methodsOf(t *testing.T, code Code, documented map[string][]Code) string {
	// Those of another page than that of a method of ours, and of none.
	elsewhere := map[Code]string{
		"cannot_dm_bot": "im.open, conversations.open",
		"is_archived":   "chat.postMessage", "not_in_channel": "chat.postMessage", "messages_tab_disabled": "chat.postMessage",
	}
	var methods []string
	for _, method := range slices.Sorted(maps.Keys(documented)) {
		if slices.Contains(documented[method], code) {
			methods = append(methods, method)
		}
	}
	switch {
	case elsewhere[code] != "":
		return elsewhere[code]
	case len(methods) == 0:
		t.Errorf("%s: no method answers with it", code)
	case len(methods) == len(documented):
		return "all"
	}
	return strings.Join(methods, ", ")
}

// Documented are the codes in a file of testdata, method by method.
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

type kindDoc struct{ value, name, text string }

// kinds are the constants of type Kind with what their comments say, in the
// order of the source.
func kinds(t *testing.T) (all []kindDoc) {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]Kind{
		"KindInvalidRequest": KindInvalidRequest, "KindUnauthenticated": KindUnauthenticated, "KindPermissionDenied": KindPermissionDenied,
		"KindNotFound": KindNotFound, "KindUnreachable": KindUnreachable, "KindUnsupported": KindUnsupported, "KindRateLimited": KindRateLimited, "KindUnavailable": KindUnavailable,
		"KindUnexpectedResponse": KindUnexpectedResponse, "KindCanceled": KindCanceled, "KindUnknown": KindUnknown,
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Kind") {
			return true
		}
		name := spec.Names[0].Name
		text := strings.Join(strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(spec.Doc.Text())), " ")
		rest, ok := strings.CutPrefix(text, name+" ")
		rest = strings.TrimPrefix(rest, "is ")
		if !ok || values[name] == "" {
			t.Errorf("%s: %q", name, text)
			return true
		}
		all = append(all, kindDoc{string(values[name]), name, rest})
		return true
	})
	return all
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
