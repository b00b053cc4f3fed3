//go:build unix

package main

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm/chatdmtest"
)

var (
	record   = flag.String("record", "", "write the measurements to this `file`, as JSON")
	length   = flag.Duration("for", 4*time.Second, "how long to measure in real time")
	many     = flag.Int("many", 100, "how many goroutines, limiters, and keys to measure")
	measured results
)

// quiet discards what the Redis client logs.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if job := os.Getenv(workerEnv); job != "" {
		if err := work(job); err != nil {
			panic(err)
		}
		return
	}
	code := m.Run()
	if *record != "" {
		text, err := json.Marshal(&measured)
		if err == nil {
			err = os.WriteFile(*record, text, 0o644)
		}
		if err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

// TestSweep checks that with a TierLimiter, closing 2,000 direct messages from 50
// goroutines takes hardly longer than the tier allows, and causes hardly any 429s.
// With -v, it measures the other contenders, too.
func TestSweep(t *testing.T) {
	selected := contenders
	if !testing.Verbose() {
		selected = contenders[:1] // TierLimiter
	}
	for _, c := range selected {
		synctest.Test(t, func(t *testing.T) {
			s, err := sweep(t.Context(), c, sweepTotal, chatdmtest.InMemory())
			if err != nil || s.Closed+s.GivenUp != sweepTotal {
				t.Errorf("%s: got %d closed and %d given up, %v", c.name, s.Closed, s.GivenUp, err)
			}
			if most := least(sweepTotal) * 103 / 100; c.name == nameTier && (s.GivenUp > 0 || s.Refused > 2 || s.Took > most) {
				t.Errorf("%s: got %+v, want at most %v and 2 refusals", c.name, s, most)
			}
			measured.Swept = append(measured.Swept, s)
		})
	}
	t.Logf("%d direct messages, %d goroutines; the limit of the server makes it take at least %v\n%s", sweepTotal, sweepGoroutines, least(sweepTotal), measured.Sweeps())
}

// TestSimulation checks that the clients of many workspaces keep the limit of each, and
// use it.
func TestSimulation(t *testing.T) {
	for _, n := range []int{1, *many / 10, *many} {
		synctest.Test(t, func(t *testing.T) {
			s, err := simulate(t.Context(), n, simulatedMinutes)
			if allowed := n * simulatedMinutes * perMinute; err != nil || s.Refused > 0 || s.Done < allowed*95/100 || s.Done > allowed {
				t.Errorf("got %+v, %v, want no refusals and nearly %d calls", s, err, allowed)
			}
			measured.Simulated = append(measured.Simulated, s)
		})
	}
}

// TestMeasure measures in real time, with Redis. By default it takes seconds.
func TestMeasure(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" || *record != "" {
			t.Fatal(err)
		}
		t.Skip("redis-server is not installed (on Debian: apt-get install redis-server)")
	}
	r := &measured
	r.Length, r.Many = *length, *many
	if err := r.measureCosts(t.Context()); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.Clock, err = onTheClock(t.Context(), r.Length); err != nil {
		t.Fatal(err)
	}
	for _, run := range r.Clock {
		// In the first seconds, the limiters allow a burst of 4 and one call every 3 s.
		most := 4 + int(r.Length/(3*time.Second)) + 3
		if run.Name == nameNone || run.Name == nameRetry {
			most = allowed(r.Length + time.Second)
		}
		if n := len(run.Done); n == 0 || n > most {
			t.Errorf("%s: got %d calls done, want 1 to %d", run.Name, n, most)
		}
	}
	if len(r.Swept) < len(contenders) {
		return // the page needs TestSweep with -v
	}
	var page strings.Builder
	if err := pageTemplate.Execute(&page, r); err != nil || !strings.Contains(page.String(), "347 days") {
		t.Errorf("got %v and the page %q, want one with durations", err, page.String())
	}
}
