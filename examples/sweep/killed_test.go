package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
)

// asProgram is an environment variable that makes the test binary run main.
const asProgram = "SWEEP_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestKilled kills sweeps at random times and resumes them. It checks that every
// ID is closed exactly once, that no ID with a result is closed again, and that
// the journal is readable after each kill.
func TestKilled(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 20
	}
	done := new(tally)
	for round := 0; done.kills < kills; round++ {
		sweepKilled(t, done, kills)
	}
	t.Logf("%d kills of %d sweeps: %d before the journal had a list, %d during calls; of those %d calls, %d took effect; "+
		"%d lines were incomplete, and %d more responses were lost", done.kills, done.sweeps, done.early, done.busy, done.running, done.effective, done.dropped, done.lost)
}

type tally struct{ kills, sweeps, early, busy, running, effective, dropped, lost int }

// sweepKilled sweeps one list, and kills the program until the sweep is complete
// or there were enough kills.
func sweepKilled(t *testing.T, done *tally, kills int) {
	t.Helper()
	w := newWitness(t)
	ids := openDMs(t, w.slack, w.client, 50)
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	write(t, filepath.Join(dir, "ids"), strings.Join(ids, "\n"))

	// The results in the journal and the number of requests after each kill.
	type snapshot struct {
		results  map[string]entry
		requests int
	}
	var snapshots []snapshot
	done.sweeps++
	for finished := false; !finished; {
		cmd := exec.Command(os.Args[0], "-ids", filepath.Join(dir, "ids"), "-resume", "-journal", path, "-per-minute", "0")
		cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0", "SLACK_TOKEN="+chatdmtest.UserToken, "SLACK_API_URL="+w.server.URL+"/api")
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		received := w.count()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()

		var end error
		if done.kills < kills {
			select {
			case <-w.killTime(received, len(snapshots) == 0):
				cmd.Process.Kill()
				end = <-exited
			case end = <-exited:
			}
		} else {
			end = <-exited
		}
		switch {
		case end == nil:
			finished = true
		case cmd.ProcessState.Exited(): // it was not killed
			t.Fatalf("%v:\n%s", end, &output)
		default:
			done.kills++
		}

		j, err := openJournal(path, false)
		if err != nil {
			t.Fatalf("after kill %d: %v", done.kills, err)
		}
		j.close()
		requests, changed := w.received()
		snapshots = append(snapshots, snapshot{j.results, len(requests)})
		for _, id := range requests {
			if !j.started[id] {
				t.Fatalf("%s was closed without a start in the journal", id)
			}
		}
		if j.dropped {
			done.dropped++
		}
		if finished {
			break
		}
		if j.list == nil {
			done.early++
		}
		if len(j.started) > len(j.results) {
			done.busy++
		}
		for id := range j.started {
			if _, ok := j.results[id]; !ok {
				done.running++
				done.effective += changed[id]
			}
		}
	}
	w.server.Close() // waits for the requests of killed processes

	requests, changed := w.received()
	done.lost += w.lost
	for _, s := range snapshots {
		for _, id := range requests[s.requests:] {
			if _, ok := s.results[id]; ok {
				t.Errorf("%s was closed again, after its result was in the journal", id)
			}
		}
	}
	for _, id := range ids {
		if changed[id] != 1 {
			t.Errorf("%s: closed %d times, want 1", id, changed[id])
		}
	}
	lines := strings.Split(strings.TrimSpace(read(t, path)), "\n")
	results := make(map[string]int)
	for _, line := range lines {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Event == eventResult {
			results[e.ID]++
			if e.Outcome != closed && e.Outcome != closedEarlier {
				t.Errorf("%s: got outcome %s, want %s", e.ID, e.Outcome, closed)
			}
		}
	}
	for _, id := range ids {
		if results[id] != 1 {
			t.Errorf("%s: got %d results in the journal, want 1", id, results[id])
		}
	}
	if open := stillOpen(t, w.client, ids); open != nil {
		t.Errorf("still open: %v", open)
	}
}

// witness is a slow fake Slack that records what changes, and loses some
// responses.
type witness struct {
	slack  *chatdmtest.Slack
	server *httptest.Server
	client *chatdm.Client // not through the witness

	mu       sync.Mutex
	requests []string // the IDs of conversations.close, in order
	changed  map[string]int
	lost     int
	arrived  chan struct{} // closed and replaced by each request
}

func newWitness(t *testing.T) *witness {
	w := &witness{slack: chatdmtest.NewSlack(), changed: make(map[string]int), arrived: make(chan struct{})}
	t.Cleanup(w.slack.Close)
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	var err error
	if w.client, err = chatdm.NewClient(chatdmtest.UserToken, chatdm.WithBaseURL(w.slack.URL)); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *witness) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	// A request continues when its client is killed.
	r = r.WithContext(context.WithoutCancel(r.Context()))
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, _ := url.ParseQuery(string(body))
	id := form.Get("channel")
	if id != "" {
		w.mu.Lock()
		w.requests = append(w.requests, id)
		close(w.arrived)
		w.arrived = make(chan struct{})
		w.mu.Unlock()
		time.Sleep(rand.N(3 * time.Millisecond))
	}
	resp := httptest.NewRecorder()
	w.slack.ServeHTTP(resp, r)
	if id != "" {
		lose := rand.N(30) == 0
		w.mu.Lock()
		if strings.Contains(resp.Body.String(), `"ok":true`) && !strings.Contains(resp.Body.String(), "already_closed") {
			w.changed[id]++
		}
		if lose {
			w.lost++
		}
		w.mu.Unlock()
		time.Sleep(rand.N(3 * time.Millisecond))
		if lose {
			panic(http.ErrAbortHandler)
		}
	}
	maps.Copy(out.Header(), resp.Header())
	out.WriteHeader(resp.Code)
	out.Write(resp.Body.Bytes())
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.requests)
}

func (w *witness) received() (requests []string, changed map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.requests), maps.Clone(w.changed)
}

// killTime returns a channel that receives when to kill: at a random time after
// the start, always for the first kill, or around one of the next calls.
func (w *witness) killTime(received int, first bool) <-chan time.Time {
	if first || rand.N(4) == 0 {
		return time.After(rand.N(1 + rand.N(60*time.Millisecond)))
	}
	at := make(chan time.Time, 1)
	calls := 1 + rand.N(8)
	go func() {
		for {
			w.mu.Lock()
			now, next := len(w.requests), w.arrived
			w.mu.Unlock()
			if now >= received+calls {
				break
			}
			select {
			case <-next:
			case <-time.After(10 * time.Second): // the sweep is complete
				return
			}
		}
		time.Sleep(rand.N(8 * time.Millisecond))
		at <- time.Now()
	}()
	return at
}

// openDMs opens n direct messages.
func openDMs(t *testing.T, slack *chatdmtest.Slack, client *chatdm.Client, n int) []string {
	t.Helper()
	ids, err := fakeslack.OpenDMs(t.Context(), slack, client, n)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// stillOpen closes the conversations, and returns the IDs of those that were open.
func stillOpen(t *testing.T, client *chatdm.Client, ids []string) []string {
	t.Helper()
	open, err := fakeslack.StillOpen(t.Context(), client, ids)
	if err != nil {
		t.Fatal(err)
	}
	return open
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
