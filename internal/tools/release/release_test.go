package release

import (
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

func TestModules(t *testing.T) {
	modules, err := Modules(root)
	got := slices.Sorted(maps.Keys(modules))
	if want := []string{"github.com/chatdm/chatdm", "github.com/chatdm/chatdm/chatdmotel", "github.com/chatdm/chatdm/chatdmredis"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

// TestDependencies checks which modules a user's go.mod gets from the root module.
// Modules that only its tests import do not count.
func TestDependencies(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./...")
	cmd.Dir, cmd.Env, cmd.Stderr = root, append(os.Environ(), "GOWORK=off"), os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(string(text))
	slices.Sort(got)
	want := []string{
		"github.com/chatdm/chatdm", "github.com/google/go-querystring",
		"github.com/hashicorp/go-cleanhttp", "github.com/hashicorp/go-retryablehttp", "golang.org/x/time",
	}
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
