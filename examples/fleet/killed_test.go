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

// TestKilled runs three worker processes and kills one of them at a random time. It
// checks that every ID is closed exactly once, within the rate limit.
func TestKilled(t *testing.T) {
	t.Parallel()
	sent := listen(t, redisForTest(t).Options().Addr)
	var orphans, limited atomic.Int64
	t.Run("rounds", func(t *testing.T) {
		for round := range 3 {
			t.Run(fmt.Sprint(round), func(t *testing.T) {
				t.Parallel()
				had, tooMany := killOne(t)
				orphans.Add(int64(had))
				limited.Add(int64(tooMany))
			})
		}
	})
	if orphans.Load() == 0 && !t.Failed() {
		t.Error("none of the killed workers had a task")
	}
	if limited.Load() > 2 {
		t.Errorf("got %d responses with status 429, want at most 2", limited.Load())
	}
	tokenless(t, sent(), unknown)
}

// killOne returns how many tasks the killed worker had, and how many responses had
// status 429.
func killOne(t *testing.T) (had, limited int) {
	// 60 calls at once, then five per second. The fake Slack allows little more, so
	// workers that did not share the limit would exceed it.
	const perMinute, window = 300, 2 * time.Second
	b := newBench(t, 90)
	b.slack.Limit(taskType, perMinute/5+10+1, window)
	w := &witness{slack: b.slack, changed: make(map[string]int), arrived: make(chan string, 1000)}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)

	var log buffer
	f := &fleet{redis: b.addr, name: b.name, env: []string{"SLACK_TOKEN=" + chatdmtest.BotToken, "SLACK_API_URL=" + w.server.URL + "/api"}, perMinute: perMinute, stderr: &log}
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

	if err := poll(ctx, func() (bool, error) { // until all workers are registered
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

	// The victim is the worker of a random call, and is killed around that call.
	victim := ""
	for range 1 + rand.N(60) {
		select {
		case victim = <-w.arrived:
		case <-ctx.Done():
			t.Fatalf("got no calls: %s", &log)
		}
	}
	time.Sleep(rand.N(20 * time.Millisecond))
	if err := workers[victim].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = workers[victim].Wait()

	orphans, err := orphaned(ctx, b.inspector, b.name)
	if err == nil {
		err = age(ctx, b.redis, orphans)
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
	w.server.Close() // waits for the requests of killed processes

	for _, id := range b.ids {
		if w.changed[id] != 1 {
			t.Errorf("%s: closed %d times, want 1", id, w.changed[id])
		}
	}
	r := b.report(t)
	if sum := r.outcomes(); sum[closed]+sum[closedEarlier] != len(b.ids) {
		t.Errorf("got the outcomes %v, want %d closed", r.done, len(b.ids))
	}
	for name := range workers {
		if name != victim && r.done[result{closed, name}] == 0 {
			t.Errorf("%s closed nothing: %v", name, r.done)
		}
	}
	if got, want := r.deadIDs(), []string{unknown, "D1"}; !slices.Equal(got, want) {
		t.Errorf("got dead letters %v, want %v", got, want)
	}
	b.slack.Limit(taskType, 0, 0)
	b.mustBeClosed(t)
	t.Logf("killed %s with %d tasks; %d conversations were closed by a call whose response was lost; %d responses had status 429", victim, len(orphans[b.name]), r.outcomes()[closedEarlier], w.limited)
	if t.Failed() {
		t.Log(log.String())
	}
	return len(orphans[b.name]), w.limited
}

// witness is a slow fake Slack that records what changes.
type witness struct {
	slack   *chatdmtest.Slack
	server  *httptest.Server
	arrived chan string // the worker of each call

	mu      sync.Mutex
	changed map[string]int
	limited int
}

func (w *witness) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	form, _ := url.ParseQuery(string(body))
	// A request continues when its client is killed.
	r = r.WithContext(context.WithoutCancel(r.Context()))
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.arrived <- strings.TrimPrefix(r.UserAgent(), "fleet/")
	time.Sleep(rand.N(10 * time.Millisecond))
	resp := httptest.NewRecorder()
	w.slack.ServeHTTP(resp, r)
	w.mu.Lock()
	if strings.Contains(resp.Body.String(), `"ok":true`) && !strings.Contains(resp.Body.String(), "already_closed") {
		w.changed[form.Get("channel")]++
	}
	if resp.Code == http.StatusTooManyRequests {
		w.limited++
	}
	w.mu.Unlock()
	time.Sleep(rand.N(10 * time.Millisecond))
	maps.Copy(out.Header(), resp.Header())
	out.WriteHeader(resp.Code)
	_, _ = out.Write(resp.Body.Bytes())
}
