package main

import "testing"

// TestGoals checks how goals are counted: met or missed only if the whole
// confidence interval is on one side.
func TestGoals(t *testing.T) {
	r := &results{samples: map[sample][]float64{}}
	for i := range 9 {
		peer := float64(100 + i)
		r.samples[sample{opClose, nameSlackGo, unitTime}] = append(r.samples[sample{opClose, nameSlackGo, unitTime}], peer)
		r.samples[sample{opClose, nameChatdm, unitTime}] = append(r.samples[sample{opClose, nameChatdm, unitTime}], peer*(0.86+0.01*float64(i)))
	}
	found := r.ratio(opClose, nameChatdm, nameSlackGo, unitTime) // 0.86 to 0.94
	for _, c := range []struct {
		bound   float64
		atLeast bool
		want    string
	}{
		{1, false, "0.90 ≤ 1.00"}, {0.9, false, "0.90 ≈ 0.90"}, {0.8, false, "**0.90 > 0.80**"},
		{0.8, true, "0.90 ≥ 0.80"}, {0.9, true, "0.90 ≈ 0.90"}, {1, true, "**0.90 < 1.00**"},
	} {
		if got := r.compare(found, c.bound, c.atLeast, "%.2f"); got != c.want {
			t.Errorf("bound %v, at least %v: got %q, want %q", c.bound, c.atLeast, got, c.want)
		}
	}
	if r.Met != 2 || r.Missed != 2 || r.Unclear != 2 {
		t.Errorf("got %d met, %d missed, %d unclear, want 2 of each", r.Met, r.Missed, r.Unclear)
	}
}
