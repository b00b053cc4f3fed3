package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Benchmark has every operation with every contender.
func Benchmark(b *testing.B) {
	for _, op := range operations() {
		for _, e := range op.entries {
			b.Run(strings.ReplaceAll(op.name, " ", "_")+"/"+strings.ReplaceAll(e.name, " ", "_"), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := e.run(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestContenders: everybody understands every answer.
func TestContenders(t *testing.T) {
	for _, op := range operations() {
		for _, e := range op.entries {
			if err := e.run(); err != nil {
				t.Errorf("%s: %s: %v", op.name, e.name, err)
			}
		}
	}
}

// TestAllocations keeps the most frequent calls from allocating more. A budget is
// what the call needed when it was last lowered.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, too")
	}
	budgets := map[string]struct{ allocations, bytes uint64 }{
		opOpenFull: {34, 3029}, opClose: {28, 2699}, opRefused: {30, 3250}, opDelete: {32, 3150},
	}
	for _, op := range operations() {
		budget, ok := budgets[op.name]
		if !ok {
			continue
		}
		ours := find(op.entries, func(e entry) bool { return e.name == nameChatdm })
		const runs = 5000
		var before, after runtime.MemStats
		for i := range runs + 100 { // the first calls fill the pools
			if i == 100 {
				runtime.ReadMemStats(&before)
			}
			if err := ours.run(); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		allocations, bytes := (after.Mallocs-before.Mallocs)/runs, (after.TotalAlloc-before.TotalAlloc)/runs
		t.Logf("%s: %d allocations, %d bytes", op.name, allocations, bytes)
		if allocations > budget.allocations || bytes > budget.bytes {
			t.Errorf("%s: got %d allocations and %d bytes, want at most %d and %d", op.name, allocations, bytes, budget.allocations, budget.bytes)
		}
	}
}

// TestWrites: a request is written at once, header and body, as net/http does
// with a body that it knows to be in memory.
func TestWrites(t *testing.T) {
	const budget = 1
	if got, err := countWrites(nameChatdm); err != nil || got > budget {
		t.Errorf("%.2f writes for a call, %v", got, err)
	}
}

// TestRun: the program finds, prints and writes something of everything.
func TestRun(t *testing.T) {
	page, plot := filepath.Join(t.TempDir(), "page.md"), filepath.Join(t.TempDir(), "plot.svg")
	e := quick
	e.rounds, e.loopbackCalls, e.connCalls, e.held = 1, 256, 200, 100
	if raceEnabled {
		hugeSize = 8 << 20 // which takes long enough
	}
	var out strings.Builder
	if err := run(e, page, plot, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		nameFloor, nameFloorTimeout, nameRetryable, nameSlackGo, nameChatdm, opOpenFull, opList, opDelete, "github.com/slack-go/slack v",
		"connections for 200 calls", "answer of 64 MiB",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables lack %q", want)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "# Performance") || !strings.Contains(string(text), "(plot.svg)") {
		t.Errorf("the page is %q, %v", text, err)
	}
	if text, err := os.ReadFile(plot); err != nil || !strings.Contains(string(text), "<svg") {
		t.Errorf("the plot is %.100q, %v", text, err)
	}
}
