package rocketchat_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

// TestTiers: every typed method has the server's default limit.
func TestTiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var documented map[string][]string
		if err := json.Unmarshal([]byte(wiretest.Golden(t, "../testdata/rocketchat/documented_errors.json")), &documented); err != nil {
			t.Fatal(err)
		}
		l := chatdm.NewTierLimiter(chatdm.WithTiers(rocketchat.Tiers()))
		for method := range documented {
			start := time.Now()
			for i := range 11 {
				if err := l.Wait(t.Context(), "rocketchat."+method); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); (took >= time.Minute) != (i == 10) {
					t.Errorf("%s: got call %d after %v, want 10 calls at once, and the next a minute later", method, i+1, took)
				}
			}
		}
	})
}
