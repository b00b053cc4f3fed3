package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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
)

// asProgram makes the test binary the program itself.
const asProgram = "SWEEP_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestKilled kills sweeps at random instants and goes on with them: every id
// is closed, the server saw each change state exactly once, no id with an
// answer in the journal was asked again, and the journal is whole every time.
func TestKilled(t *testing.T) {
	kills := 100
	if testing.Short() {
		kills = 20
	}
	done := new(tally)
	for round := 0; done.kills < kills; round++ {
		sweepKilled(t, done, kills)
	}
	t.Logf("%d kills of %d sweeps: %d before the journal had a list, %d with calls under way; of those %d calls, the server had carried out %d; "+
		"%d lines were torn, %d more answers lost", done.kills, done.sweeps, done.early, done.busy, done.underWay, done.effective, done.torn, done.lost)
}

type tally struct{ kills, sweeps, early, busy, underWay, effective, torn, lost int }

// sweepKilled sweeps one list, and kills the program until it is through or
// there were enough kills.
func sweepKilled(t *testing.T, done *tally, kills int) {
	t.Helper()
	w := newWitness(t)
	ids := openDMs(t, w.slack, w.client, 50)
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")
	write(t, filepath.Join(dir, "ids"), strings.Join(ids, "\n"))

	// What the journal had answers for, and how many requests there had been.
	type snapshot struct {
		answers  map[string]entry
		requests int
	}
	var snapshots []snapshot
	done.sweeps++
	for finished := false; !finished; {
		cmd := exec.Command(os.Args[0], "-ids", filepath.Join(dir, "ids"), "-resume", "-journal", path, "-per-minute", "0")
		cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0", "SLACK_TOKEN="+chatdmtest.UserToken, "SLACK_API_URL="+w.server.URL+"/api")
		var output bytes.Buffer
		cmd.Stdout, cmd.Stderr = &output, &output
		seen := w.count()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()

		var end error
		if done.kills < kills {
			select {
			case <-w.instant(seen, len(snapshots) == 0):
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
		case cmd.ProcessState.Exited(): // with a code of its own
			t.Fatalf("%v:\n%s", end, &output)
		default:
			done.kills++
		}

		j, err := openJournal(path)
		if err != nil {
			t.Fatalf("after kill %d: %v", done.kills, err)
		}
		j.close()
		requests, changed := w.seen()
		snapshots = append(snapshots, snapshot{j.answers, len(requests)})
		for _, id := range requests {
			if !j.asked[id] {
				t.Fatalf("%s was asked without a line in the journal", id)
			}
		}
		if j.torn {
			done.torn++
		}
		if finished {
			break
		}
		if j.list == nil {
			done.early++
		}
		if len(j.asked) > len(j.answers) {
			done.busy++
		}
		for id := range j.asked {
			if _, ok := j.answers[id]; !ok {
				done.underWay++
				done.effective += changed[id]
			}
		}
	}
	w.server.Close() // waits for requests of the killed that are still there

	requests, changed := w.seen()
	done.lost += w.lost
	for _, s := range snapshots {
		for _, id := range requests[s.requests:] {
			if _, ok := s.answers[id]; ok {
				t.Errorf("%s was asked again, after its answer was in the journal", id)
			}
		}
	}
	for _, id := range ids {
		if changed[id] != 1 {
			t.Errorf("%s was closed %d times", id, changed[id])
		}
	}
	lines := strings.Split(strings.TrimSpace(read(t, path)), "\n")
	answers := make(map[string]int)
	for _, line := range lines {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Event == answered {
			answers[e.ID]++
			if e.Outcome != closed && e.Outcome != closedEarlier {
				t.Errorf("%s: %s", e.ID, e.Outcome)
			}
		}
	}
	for _, id := range ids {
		if answers[id] != 1 {
			t.Errorf("%s has %d answers in the journal", id, answers[id])
		}
	}
	if open := stillOpen(t, w.client, ids); open != nil {
		t.Errorf("still open: %v", open)
	}
}

// witness is a Slack that takes down what changes on it, takes its time, and
// loses answers.
type witness struct {
	slack  *chatdmtest.Slack
	server *httptest.Server
	client *chatdm.Client // past the witness

	mu       sync.Mutex
	requests []string // the ids of conversations.close, as they came
	changed  map[string]int
	lost     int
	arrived  chan struct{} // replaced with each request
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
	// A client that is killed does not take its request with it.
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
	answer := httptest.NewRecorder()
	w.slack.ServeHTTP(answer, r)
	if id != "" {
		lose := rand.N(30) == 0
		w.mu.Lock()
		if strings.Contains(answer.Body.String(), `"ok":true`) && !strings.Contains(answer.Body.String(), "already_closed") {
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
	maps.Copy(out.Header(), answer.Header())
	out.WriteHeader(answer.Code)
	out.Write(answer.Body.Bytes())
}

func (w *witness) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.requests)
}

func (w *witness) seen() (requests []string, changed map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.requests), maps.Clone(w.changed)
}

// instant is when to kill: at any time since the start, the first time at
// least, which is often before the first call; or around one of the next calls.
func (w *witness) instant(seen int, first bool) <-chan time.Time {
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
			if now >= seen+calls {
				break
			}
			select {
			case <-next:
			case <-time.After(10 * time.Second): // the program is through
				return
			}
		}
		time.Sleep(rand.N(8 * time.Millisecond))
		at <- time.Now()
	}()
	return at
}

// openDMs opens that many direct messages.
func openDMs(t *testing.T, slack *chatdmtest.Slack, client *chatdm.Client, n int) (ids []string) {
	t.Helper()
	for i := range n {
		user := chatdmtest.User{ID: fmt.Sprintf("U%08d", i+1)}
		slack.AddUser(user)
		dm, err := client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{user.ID}})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, dm.Channel.ID)
	}
	return ids
}

// stillOpen are those that it closes now.
func stillOpen(t *testing.T, client *chatdm.Client, ids []string) (open []string) {
	t.Helper()
	for _, id := range ids {
		res, err := client.Conversations.Close(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if !res.AlreadyClosed {
			open = append(open, id)
		}
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
