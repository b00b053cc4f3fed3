package chatdm

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/chatdm/chatdm/internal/engine"
)

var update = flag.Bool("update", false, "write docs/errors.md anew")

// TestErrorsPage keeps docs/errors.md what the catalogue says.
func TestErrorsPage(t *testing.T) {
	page := errorsPage()
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

func errorsPage() string {
	var b strings.Builder
	b.WriteString(`<!-- Made from the catalogue in errors.go by: go test -run TestErrorsPage -update . -->

# Error codes

Each is a constant, ` + "`chatdm.ErrUserDisabled`" + ` or ` + "`rocketchat.ErrInvalidChannel`" + `, whose name is
the code in CamelCase, without Rocket.Chat's ` + "`error-`" + `. A code that is not here is of
the kind ` + "`unknown`" + ` and works the same way: ` + "`chatdm.Code(\"brand_new\")`" + `.

"Sent again" is what the client does before you see the error: *always* means
after the wait that the server asks for, *where harmless* that it does so for
calls that may be repeated.
`)
	for _, service := range []string{"Slack", "Rocket.Chat"} {
		fmt.Fprintf(&b, "\n## %s\n\n| code | kind | what it means | sent again |\n|---|---|---|---|\n", service)
		for _, code := range slices.Sorted(maps.Keys(catalogue)) {
			// Slack's codes have no hyphen, and one of Rocket.Chat's has none either.
			ofSlack := !strings.Contains(string(code), "-") && code != "forbidden"
			if ofSlack != (service == "Slack") {
				continue
			}
			again := map[engine.Outcome]string{engine.Definite: "no", engine.Unknown: "where harmless", engine.Refused: "always"}
			e := catalogue[code]
			fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", code, e.kind, e.meaning, again[e.outcome])
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
