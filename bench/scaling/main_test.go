//go:build unix

package main

import (
	"context"
	"encoding/json"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm/chatdmtest"
)

var record = flag.String("record", "", "write what the sweeps find to this `file`, as JSON")

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if job := os.Getenv(workerEnv); job != "" {
		if err := work(job); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// sweeps has contenders sweep, in fake time.
func sweeps(t *testing.T, contenders []contender, total int) (all []swept) {
	for _, c := range contenders {
		synctest.Test(t, func(t *testing.T) {
			s, err := sweep(t.Context(), c, total, chatdmtest.InMemory())
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			all = append(all, s)
		})
	}
	return all
}

// TestSweep: with a TierLimiter, closing 2,000 direct messages from 50
// goroutines takes hardly longer than the tier allows, and nearly nothing is
// refused. The others are measured beside it where somebody looks: with -v.
func TestSweep(t *testing.T) {
	if contenders[0].name != nameTier {
		t.Fatal("the first one is not TierLimiter")
	}
	n := 1
	if testing.Verbose() {
		n = len(contenders)
	}
	r := &results{sweeps: sweeps(t, contenders[:n], sweepTotal)}
	t.Logf("%d direct messages, %d goroutines; the server's windows make it %v at least\n%s", sweepTotal, sweepGoroutines, least(sweepTotal), r.Sweeps())
	for _, s := range r.sweeps {
		if s.Closed+s.GivenUp != sweepTotal {
			t.Errorf("%s: %d closed and %d given up", s.Name, s.Closed, s.GivenUp)
		}
		if s.Name == nameTier && (s.GivenUp > 0 || s.Refused > 2 || s.Took > least(sweepTotal)*103/100) {
			t.Errorf("%s: %+v, want at most %v and 2 refusals", s.Name, s, least(sweepTotal)*103/100)
		}
	}
	if *record != "" {
		text, err := json.Marshal(r.sweeps)
		if err == nil {
			err = os.WriteFile(*record, text, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// TestRun: the program finds, prints and writes something of everything.
func TestRun(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("redis-server is not installed (on Debian: apt-get install redis-server): the program is not tested")
	}
	page, plot := filepath.Join(t.TempDir(), "page.md"), filepath.Join(t.TempDir(), "plot.svg")
	e := effort{length: 4 * time.Second, many: 100}
	var out strings.Builder
	r, err := measure(t.Context(), e, func(context.Context) ([]swept, error) { return sweeps(t, contenders, 40), nil }, io.Discard)
	if err == nil {
		err = write(r, page, plot, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	// Four seconds: the tier at once, or a burst and one each three seconds.
	for _, run := range r.runs {
		most := 8 // if the end comes late
		if run.name == nameNone || run.name == nameRetry {
			most = perMinute
		}
		if n := len(run.done); n == 0 || n > most || (most < perMinute) != (len(run.refused) == 0) || run.givenUp > 0 {
			t.Errorf("%s: %d done, %d refused, %d given up", run.name, n, len(run.refused), run.givenUp)
		}
	}
	for _, want := range []string{
		nameNone, nameTier, nameRetry, nameLoop, nameRedis, nameAlone, "TierLimiter.Wait", "a minute's 20 closes", "slack-go v", "347 days",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the tables lack %q", want)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "# Scaling") || !strings.Contains(string(text), "(plot.svg)") || !strings.HasSuffix(string(text), ".\n") {
		t.Errorf("the page is %q, %v", text, err)
	}
	if text, err := os.ReadFile(plot); err != nil || !strings.Contains(string(text), "<svg") || !strings.Contains(string(text), nameRedis) {
		t.Errorf("the plot is %.100q, %v", text, err)
	}
}
