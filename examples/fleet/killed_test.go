//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// TestKilled has three worker processes close a list, and kills one of them at a
// random instant: every id is closed, the server saw each change state exactly
// once, and refused next to nothing.
func TestKilled(t *testing.T) {
	t.Parallel()
	sent := listen(t, redisForTest(t).Options().Addr)
	var orphans, refused atomic.Int64
	t.Run("rounds", func(t *testing.T) {
		for round := range 3 {
			t.Run(fmt.Sprint(round), func(t *testing.T) {
				t.Parallel()
				had, late := killOne(t)
				orphans.Add(int64(had))
				refused.Add(int64(late))
			})
		}
	})
	if orphans.Load() == 0 && !t.Failed() {
		t.Error("none of the killed workers had a task")
	}
	if refused.Load() > 2 {
		t.Errorf("%d calls were refused for their rate", refused.Load())
	}
	tokenless(t, sent(), unknown)
}

// killOne returns how many tasks the worker had when it was killed, and how many
// calls were refused for their rate.
func killOne(t *testing.T) (had, refused int) {
	// 60 at once, then five a second. A Slack that allows little more than that
	// tells whether all workers share the limit: each for itself, they would send
	// all at once.
	const perMinute, window = 300, 2 * time.Second
	b := newBench(t, 90)
	b.slack.Limit(taskType, perMinute/5+10+1, window)
	w := &witness{slack: b.slack, changed: make(map[string]int), arrived: make(chan string, 1000)}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)

	var log buffer
	f := &fleet{redis: b.addr, name: b.name, slack: w.server.URL + "/api", token: chatdmtest.BotToken, perMinute: perMinute, stderr: &log}
	workers := make(map[string]*exec.Cmd)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer f.wait()
	defer cancel()
	var err error
	for _, name := range []string{"one", "two", "three"} {
		if workers[name], err = f.start(ctx, name); err != nil {
			t.Fatal(err)
		}
	}

	if err := poll(ctx, func() (bool, error) { // until all of them are there
		servers, err := b.inspector.Servers()
		ready := 0
		for _, server := range servers {
			ready += server.Queues[b.name]
		}
		return ready == len(workers), err
	}); err != nil {
		t.Fatalf("%v: %s", err, &log)
	}
	ids := append(slices.Clone(b.ids), unknown, "D1")
	b.enqueue(t, "92 enqueued, 0 already known", ids...)
	b.enqueue(t, "0 enqueued, 92 already known", ids...)

	// It is the one that makes a certain call, killed around that.
	victim := ""
	for range 1 + rand.N(60) {
		select {
		case victim = <-w.arrived:
		case <-ctx.Done():
			t.Fatalf("no calls: %s", &log)
		}
	}
	time.Sleep(rand.N(20 * time.Millisecond))
	if err := workers[victim].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = workers[victim].Wait()

	orphans, err := orphaned(ctx, b.inspector, b.name)
	if err == nil {
		err = age(ctx, b.redis, b.name, orphans)
	}
	if err == nil {
		workers[victim], err = f.start(ctx, victim)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, &log)
	}
	b.drained(t)()
	for name, worker := range workers {
		if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := worker.Wait(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.server.Close() // waits for the requests of the killed that are still there

	for _, id := range b.ids {
		if w.changed[id] != 1 {
			t.Errorf("%s was closed %d times", id, w.changed[id])
		}
	}
	r := b.report(t)
	if sum := r.outcomes(); sum[closed]+sum[closedEarlier] != len(b.ids) {
		t.Errorf("the outcomes are %v", r.done)
	}
	for name := range workers {
		if name != victim && r.done[result{closed, name}] == 0 {
			t.Errorf("%s has closed nothing: %v", name, r.done)
		}
	}
	if got, want := r.deadIDs(), []string{unknown, "D1"}; !slices.Equal(got, want) {
		t.Errorf("dead letters %v, want %v", got, want)
	}
	b.slack.Limit(taskType, 0, 0)
	b.mustBeClosed(t)
	t.Logf("killed %s with %d tasks; %d conversations were closed by a call whose answer nobody got; %d calls were refused", victim, len(orphans), r.outcomes()[closedEarlier], w.refused)
	if t.Failed() {
		t.Log(log.String())
	}
	return len(orphans), w.refused
}

// witness is a Slack that takes down what changes on it, and takes its time.
type witness struct {
	slack   *chatdmtest.Slack
	server  *httptest.Server
	arrived chan string // the worker of each call

	mu      sync.Mutex
	changed map[string]int
	refused int
}

func (w *witness) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	// A client that is killed does not take its request with it.
	r = r.WithContext(context.WithoutCancel(r.Context()))
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.arrived <- strings.TrimPrefix(r.UserAgent(), "fleet/")
	time.Sleep(rand.N(10 * time.Millisecond))
	answer := httptest.NewRecorder()
	w.slack.ServeHTTP(answer, r)
	w.mu.Lock()
	if strings.Contains(answer.Body.String(), `"ok":true`) && !strings.Contains(answer.Body.String(), "already_closed") {
		w.changed[form.Get("channel")]++
	}
	if answer.Code == http.StatusTooManyRequests {
		w.refused++
	}
	w.mu.Unlock()
	time.Sleep(rand.N(10 * time.Millisecond))
	maps.Copy(out.Header(), answer.Header())
	out.WriteHeader(answer.Code)
	_, _ = out.Write(answer.Body.Bytes())
}
