package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmredis"
	"github.com/chatdm/chatdm/chatdmtest"
)

const (
	closeKey  = "slack.conversations.close"
	openKey   = "slack.conversations.open"
	perMinute = 20 // closes, as Slack publishes it
	perOpen   = 50
)

// closer closes a direct message. It is for any number of goroutines.
type closer func(ctx context.Context, channel string) error

// contender is one way to get calls through the limit.
type contender struct {
	name string
	new  func(slackURL string, client *http.Client) closer
}

const (
	nameNone  = "chatdm, no limiter"
	nameTier  = "chatdm, TierLimiter"
	nameRetry = "slack-go, OptionRetry(3)"
	nameLoop  = "slack-go, a loop around it"
	nameRedis = "chatdm, chatdmredis, 3 processes"
	nameAlone = "chatdm, chatdmredis, 1 process"
)

// contenders all have their defaults; three retries are slack-go's own.
var contenders = []contender{
	{nameTier, func(url string, client *http.Client) closer {
		return newChatdm(url, chatdm.WithHTTPClient(client), chatdm.WithLimiter(chatdm.NewTierLimiter()))
	}},
	{nameNone, func(url string, client *http.Client) closer {
		return newChatdm(url, chatdm.WithHTTPClient(client))
	}},
	{nameRetry, func(url string, client *http.Client) closer {
		return newSlackGo(url, slack.OptionHTTPClient(client), slack.OptionRetry(3))
	}},
	{nameLoop, func(url string, client *http.Client) closer {
		// What its error is made for: wait as long as it says, and try again.
		once := newSlackGo(url, slack.OptionHTTPClient(client))
		return func(ctx context.Context, channel string) error {
			for {
				err := once(ctx, channel)
				limited, ok := errors.AsType[*slack.RateLimitedError](err)
				if !ok {
					return err
				}
				select {
				case <-time.After(limited.RetryAfter):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
	}},
}

func newChatdm(url string, opts ...chatdm.Option) closer {
	c, err := chatdm.NewClient(chatdmtest.BotToken, append(opts, chatdm.WithBaseURL(url))...)
	if err != nil {
		panic(err) // of constants
	}
	return func(ctx context.Context, channel string) error {
		_, err := c.Conversations.Close(ctx, channel)
		return err
	}
}

func newSlackGo(url string, opts ...slack.Option) closer {
	c := slack.New(chatdmtest.BotToken, append(opts, slack.OptionAPIURL(url+"/"))...)
	return func(ctx context.Context, channel string) error {
		_, _, err := c.CloseConversationContext(ctx, channel)
		return err
	}
}

// gaveUp tells whether a call ended because of the limit, for its caller to
// see to it.
func gaveUp(err error) bool {
	_, ok := errors.AsType[*slack.RateLimitedError](err)
	return ok || errors.Is(err, chatdm.KindRateLimited)
}

// enforcing is a Slack that refuses the 21st close of a minute, and the ids of
// open direct messages on it.
func enforcing(n int, opts ...chatdmtest.Option) (*chatdmtest.Slack, []string, error) {
	s := chatdmtest.NewSlack(opts...)
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(s.URL), chatdm.WithHTTPClient(s.Client()))
	var channels []string
	for i := range n {
		if err != nil {
			break
		}
		user := chatdmtest.User{ID: fmt.Sprintf("U%08d", i)}
		s.AddUser(user)
		var dm *chatdm.OpenResult
		if dm, err = client.Conversations.Open(context.Background(), chatdm.ConversationsOpenParams{Users: []string{user.ID}}); err == nil {
			channels = append(channels, dm.Channel.ID)
		}
	}
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	s.ResetRequests()
	s.Limit("conversations.close", perMinute, time.Minute)
	return s, channels, nil
}

// swept is what became of a number of direct messages.
type swept struct {
	Name                     string
	Closed, GivenUp, Refused int
	Took                     time.Duration
}

const sweepTotal, sweepGoroutines = 2000, 50

// sweep closes direct messages, each with one call of a closer.
func sweep(ctx context.Context, c contender, total int, opts ...chatdmtest.Option) (swept, error) {
	s, channels, err := enforcing(total, opts...)
	if err != nil {
		return swept{}, err
	}
	defer s.Close()
	one := c.new(s.URL, s.Client())
	result := swept{Name: c.name}
	var mu sync.Mutex
	work := make(chan string)
	var wg sync.WaitGroup
	start := time.Now()
	for range sweepGoroutines {
		wg.Go(func() {
			for channel := range work {
				e := one(ctx, channel)
				mu.Lock()
				switch {
				case e == nil:
					result.Closed++
				case gaveUp(e):
					result.GivenUp++
				default:
					err = cmp.Or(err, e)
				}
				mu.Unlock()
			}
		})
	}
	for _, channel := range channels {
		work <- channel
	}
	close(work)
	wg.Wait()
	result.Took = time.Since(start)
	for _, r := range s.Requests() {
		if r.Status == http.StatusTooManyRequests {
			result.Refused++
		}
	}
	return result, err
}

// recordSweeps has go test measure the sweeps: testing/synctest needs a test.
func recordSweeps(ctx context.Context) ([]swept, error) {
	dir, err := os.MkdirTemp("", "scaling")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "sweeps.json")
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-v", "-run", "^TestSweep$", "github.com/chatdm/chatdm/bench/scaling", "-record", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go test: %w\n%s", err, out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []swept
	return all, json.Unmarshal(text, &all)
}

// timed is what a contender did on the clock.
type timed struct {
	name          string
	done, refused []time.Duration // since the start, as the server saw them
	givenUp       int
	scripts       int // run on Redis
}

const clockGoroutines = 48 // in all processes of a contender

// onTheClock runs no limiter, TierLimiter, slack-go and chatdmredis at the same
// time, each against a Slack of its own.
func onTheClock(ctx context.Context, length time.Duration) ([]*timed, error) {
	start := time.Now().Add(time.Second)
	end := start.Add(length)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var all []*timed
	measure := func(name string, do func(t *timed, s *chatdmtest.Slack, j job) error) {
		t := &timed{name: name}
		all = append(all, t)
		wg.Go(func() {
			s, channels, err := enforcing(1)
			if err != nil {
				cancel(err)
				return
			}
			defer s.Close()
			if err := do(t, s, job{Slack: s.URL, Channel: channels[0], Goroutines: clockGoroutines, Start: start, End: end}); err != nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
			for _, r := range s.Requests() {
				switch since := r.Time.Sub(start); r.Status {
				case http.StatusOK:
					t.done = append(t.done, since)
				case http.StatusTooManyRequests:
					t.refused = append(t.refused, since)
				}
			}
		})
	}
	for _, c := range contenders[:3] { // the loop is as good as the retries
		measure(c.name, func(t *timed, s *chatdmtest.Slack, j job) (err error) {
			t.givenUp, err = closeUntil(ctx, c.new(s.URL, s.Client()), j)
			return err
		})
	}
	for _, shared := range []struct {
		name      string
		processes int
	}{{nameRedis, 3}, {nameAlone, 1}} {
		measure(shared.name, func(t *timed, _ *chatdmtest.Slack, j job) error {
			rdb, err := startRedis(ctx)
			if err != nil {
				return err
			}
			defer rdb.stop()
			j.Redis = rdb.socket
			j.Goroutines /= shared.processes
			if t.givenUp, err = j.in(ctx, shared.processes); err != nil {
				return err
			}
			load, err := rdb.load(ctx)
			t.scripts = load.scripts
			return err
		})
	}
	wg.Wait()
	return all, context.Cause(ctx)
}

// job is what a process of its own has to do.
type job struct {
	Redis, Slack, Channel string
	Goroutines            int
	Start, End            time.Time
}

const workerEnv = "CHATDM_SCALING_WORKER"

// in has processes of their own do the job, and returns how many calls they
// gave up.
func (j job) in(ctx context.Context, processes int) (givenUp int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return 0, err
	}
	outputs, errs := make([]int, processes), make([]error, processes)
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(ctx, self)
			cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			errs[i] = cmp.Or(err, json.Unmarshal(out, &outputs[i]))
		})
	}
	wg.Wait()
	for _, n := range outputs {
		givenUp += n
	}
	return givenUp, errors.Join(errs...)
}

// work is what a process does for a job.
func work(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: j.Redis})
	defer client.Close()
	limiter, err := chatdmredis.NewLimiter(client, "T012AB3C4/A0KRD7HC3")
	if err != nil {
		return err
	}
	n, err := closeUntil(context.Background(), newChatdm(j.Slack, chatdm.WithLimiter(limiter)), j)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(n)
}

// closeUntil closes the same direct message again and again, which counts like
// any other call, and returns how many calls were given up.
func closeUntil(ctx context.Context, one closer, j job) (givenUp int, err error) {
	time.Sleep(time.Until(j.Start))
	// Not a deadline, which the limiters would see: it is as if nobody knew when
	// it ends.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(time.Until(j.End), cancel).Stop()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range j.Goroutines {
		wg.Go(func() {
			for {
				e := one(ctx, j.Channel)
				switch {
				case e == nil:
				case ctx.Err() != nil:
					return
				case gaveUp(e):
					mu.Lock()
					givenUp++
					mu.Unlock()
				default:
					mu.Lock()
					err = cmp.Or(err, e)
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return givenUp, err
}
