package main

import (
	"slices"
	"testing"
)

func TestTargets(t *testing.T) {
	const list = `FuzzA
FuzzB
ok  	example.org/a	0.012s
ok  	example.org/none	0.003s
?   	example.org/b	[no test files]
FuzzC
ok  	example.org/c	(cached)
`
	want := []target{{"FuzzA", "example.org/a"}, {"FuzzB", "example.org/a"}, {"FuzzC", "example.org/c"}}
	if got := targets(list); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
