//go:build unix

package chatdmredis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// job describes what a worker process does: it closes direct messages from several
// goroutines.
type job struct {
	Redis, Slack, Name string
	Calls, Goroutines  int
	Messages           int // if not 0, post so many messages, each to another conversation
	Minute, Duration   time.Duration
	Start              time.Time
}

// report is what a worker process prints.
type report struct {
	Passed, Unavailable, OtherErrors int
	SlowestUnavailable               time.Duration // of the calls that failed with ErrUnavailable
	LastOtherError                   string
	End                              time.Time // of a broadcast
}

// workerEnv is the environment variable that makes the test binary run a job.
const workerEnv = "CHATDMREDIS_TEST_JOB"

func runWorker(text string) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		panic(err)
	}
	rdb := newClient(j.Redis)
	l, err := NewLimiter(rdb, j.Name, longTimeout, WithTier(closeKey, chatdm.Tier{PerMinute: j.Calls}), WithTier(postKey, chatdm.Tier{PerMinute: j.Calls}))
	if err != nil {
		panic(err)
	}
	shortenMinute(l, j.Minute)
	var r report
	if j.Messages > 0 {
		r = broadcast(l, j)
	} else {
		r = closeMessages(l, j)
	}
	rdb.Close()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}

// closeMessages closes direct messages through a client that uses the limiter.
func closeMessages(l chatdm.Limiter, j job) report {
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(j.Slack), chatdm.WithLimiter(l))
	if err != nil {
		panic(err)
	}
	time.Sleep(time.Until(j.Start))
	end := j.Start.Add(j.Duration)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	var mu sync.Mutex
	var r report
	var wg sync.WaitGroup
	for range j.Goroutines {
		wg.Go(func() {
			for ctx.Err() == nil {
				start := time.Now()
				// The channel does not exist, but the call counts.
				_, err := client.Conversations.Close(ctx, "D0")
				mu.Lock()
				switch {
				case errors.Is(err, chatdm.ErrChannelNotFound):
					r.Passed++
				case time.Until(end) < 100*time.Millisecond || errors.Is(err, context.DeadlineExceeded):
					// The job ends.
				case errors.Is(err, chatdm.KindUnavailable) && errors.Is(err, ErrUnavailable):
					r.Unavailable++
					r.SlowestUnavailable = max(r.SlowestUnavailable, time.Since(start))
				default:
					r.OtherErrors++
					r.LastOtherError = fmt.Sprint(err)
				}
				mu.Unlock()
				if err != nil && !errors.Is(err, chatdm.ErrChannelNotFound) {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	return r
}

// broadcast posts messages through a client that uses the limiter.
func broadcast(l chatdm.Limiter, j job) report {
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(j.Slack), chatdm.WithLimiter(l))
	if err != nil {
		panic(err)
	}
	time.Sleep(time.Until(j.Start))
	var mu sync.Mutex
	var r report
	var wg sync.WaitGroup
	for g := range j.Goroutines {
		wg.Go(func() {
			for i := g; i < j.Messages; i += j.Goroutines {
				// The channel does not exist, but the call counts.
				params := chatdm.ChatPostMessageParams{Channel: fmt.Sprintf("D%d-%d", os.Getpid(), i), Text: "hi"}
				_, err := client.Chat.PostMessage(context.Background(), params)
				mu.Lock()
				if errors.Is(err, chatdm.ErrChannelNotFound) {
					r.Passed++
				} else {
					r.OtherErrors++
					r.LastOtherError = fmt.Sprint(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r.End = time.Now()
	return r
}

// start starts a worker process. It returns a function that waits for its report.
func (j job) start(t *testing.T) (wait func() report) {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return sync.OnceValue(func() report {
		defer cancel()
		var r report
		err := json.NewDecoder(out).Decode(&r)
		if waitErr := cmd.Wait(); err == nil {
			err = waitErr
		}
		if err != nil {
			r.LastOtherError = fmt.Sprint("the process failed: ", err)
		}
		return r
	})
}

// runProcesses runs the job in three processes at the same time, and during while
// they run.
func runProcesses(t *testing.T, j job, during func()) (passed int, reports []report) {
	var waits []func() report
	for range 3 {
		waits = append(waits, j.start(t))
	}
	if during != nil {
		during()
	}
	for i, wait := range waits {
		r := wait()
		t.Logf("process %d: %+v", i+1, r)
		if r.OtherErrors > 0 || r.LastOtherError != "" {
			t.Errorf("process %d: got %d other errors, want 0: %s", i+1, r.OtherErrors, r.LastOtherError)
		}
		passed += r.Passed
		reports = append(reports, r)
	}
	for i, r := range reports {
		if 4*r.Passed < passed {
			t.Errorf("process %d: got %d of %d calls, want at least a quarter", i+1, r.Passed, passed)
		}
	}
	return passed, reports
}

// newLimitedSlack returns a fake Slack that responds with a 429 to calls above the
// limit.
func newLimitedSlack(t *testing.T, calls int, minute time.Duration) *chatdmtest.Slack {
	slack := chatdmtest.NewSlack()
	t.Cleanup(slack.Close)
	slack.Limit("conversations.close", calls, minute)
	return slack
}

func count429s(slack *chatdmtest.Slack) (n int) {
	for _, r := range slack.Requests() {
		if r.Status == 429 {
			n++
		}
	}
	return n
}

// Three processes together make at least 95 % of the calls that the limit allows,
// and get almost no 429s.
func TestProcessesShareLimit(t *testing.T) {
	t.Parallel()
	const calls, minute, minutes = 60, 3 * time.Second, 3
	const want = minutes * calls * 95 / 100
	rdb := sharedServer(t)
	// A slow machine misses slots, so the best of three attempts counts. The maximum
	// number of 429s applies to each attempt.
	for try := 1; ; try++ {
		slack := newLimitedSlack(t, calls, minute)
		passed, _ := runProcesses(t, job{
			Redis: rdb.addr, Slack: slack.URL, Name: fmt.Sprint(t.Name(), try), Calls: calls, Goroutines: 5,
			Minute: minute, Duration: minutes * minute, Start: time.Now().Add(time.Second),
		}, nil)
		rejected := count429s(slack)
		t.Logf("%d of at most %d calls, %d responses with a 429", passed, minutes*calls, rejected)
		if rejected > 3 {
			t.Errorf("responses with a 429: got %d, want at most 3", rejected)
		}
		if passed >= want {
			return
		}
		if try == 3 {
			t.Fatalf("calls: got %d, want at least %d", passed, want)
		}
	}
}

// Three processes that post to many people, each in another conversation, need at most 5%
// longer than the limit of the workspace requires.
func TestProcessesBroadcast(t *testing.T) {
	t.Parallel()
	const calls, minute = 300, 2 * time.Second
	people := 1500
	if text := os.Getenv("CHATDMREDIS_TEST_PEOPLE"); text != "" {
		people, _ = strconv.Atoi(text)
	}
	allowed := time.Duration(people) * minute / calls
	rdb := sharedServer(t)
	// A slow machine cannot keep up, so the best of three attempts counts.
	for try := 1; ; try++ {
		slack := chatdmtest.NewSlack(chatdmtest.KeepRequests(2 * people))
		t.Cleanup(slack.Close)
		slack.Limit("chat.postMessage", calls, minute)
		start := time.Now().Add(time.Second)
		_, reports := runProcesses(t, job{
			Redis: rdb.addr, Slack: slack.URL, Name: fmt.Sprint(t.Name(), try), Calls: calls, Goroutines: 50,
			Messages: people / 3, Minute: minute, Start: start,
		}, nil)
		var took time.Duration
		for _, r := range reports {
			took = max(took, r.End.Sub(start))
		}
		rejected := count429s(slack)
		t.Logf("%d messages in %v, want %v; %d responses with a 429", people, took, allowed, rejected)
		if rejected > 3 {
			t.Errorf("responses with a 429: got %d, want at most 3", rejected)
		}
		if took <= allowed*105/100 {
			return
		}
		if try == 3 {
			t.Fatalf("got %v, want at most 5%% more than %v", took, allowed)
		}
	}
}

// Redis is killed and restarted without data. While it is down, all calls fail in
// time. Afterwards, calls continue within the limit.
func TestProcessesSurviveLossOfRedis(t *testing.T) {
	t.Parallel()
	const calls, minute = 60, 3 * time.Second
	rdb := ownServer(t)
	slack := newLimitedSlack(t, calls, minute)
	start := time.Now().Add(time.Second)
	var before, during int
	passed, reports := runProcesses(t, job{
		Redis: rdb.addr, Slack: slack.URL, Name: t.Name(), Calls: calls, Goroutines: 5,
		Minute: minute, Duration: 9 * time.Second, Start: start,
	}, func() {
		time.Sleep(time.Until(start.Add(2500 * time.Millisecond)))
		rdb.kill()
		time.Sleep(200 * time.Millisecond) // calls that have passed reach the server
		before = len(slack.Requests())
		time.Sleep(650 * time.Millisecond)
		during = len(slack.Requests()) - before
		rdb.start(t)
	})
	if before < calls/2 {
		t.Errorf("calls before the outage: got %d, want at least %d", before, calls/2)
	}
	if during != 0 {
		t.Errorf("calls during the outage: got %d, want 0", during)
	}
	if want := before + calls/2; passed < want {
		t.Errorf("calls in total: got %d, want at least %d", passed, want)
	}
	if got := count429s(slack); got > 3 {
		t.Errorf("responses with a 429: got %d, want at most 3", got)
	}
	for i, r := range reports {
		if r.Unavailable == 0 || r.SlowestUnavailable > 3*time.Second {
			t.Errorf("process %d: got %d calls with ErrUnavailable, the slowest after %v, want at least 1, each within 3s",
				i+1, r.Unavailable, r.SlowestUnavailable)
		}
	}
}
