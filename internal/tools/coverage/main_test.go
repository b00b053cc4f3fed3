package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/tools/cover"
)

func TestPercentage(t *testing.T) {
	// Two packages ran the tests, so each block appears twice.
	const profile = `mode: set
a.go:1.1,2.1 3 1
a.go:3.1,4.1 1 0
b.go:1.1,2.1 4 0
a.go:1.1,2.1 3 0
a.go:3.1,4.1 1 0
b.go:1.1,2.1 4 1
`
	name := filepath.Join(t.TempDir(), "cover.out")
	if err := os.WriteFile(name, []byte(profile), 0o644); err != nil {
		t.Fatal(err)
	}
	profiles, err := cover.ParseProfiles(name)
	if got := percentage(profiles); err != nil || got != 87.5 {
		t.Errorf("got %v, %v, want 87.5", got, err)
	}
	if got := percentage(nil); got != 0 {
		t.Errorf("without statements: got %v, want 0", got)
	}
}
