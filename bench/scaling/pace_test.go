//go:build unix

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
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/bench/internal/report"
	"github.com/chatdm/chatdm/chatdmredis"
	"github.com/chatdm/chatdm/chatdmtest"
)

const (
	closeKey = "slack.conversations.close"
	openKey  = "slack.conversations.open"
)

// closer closes a direct message. It is safe for concurrent use.
type closer func(ctx context.Context, channel string) error

// contender is one way to get calls through the limit.
type contender struct {
	name string
	new  func(slackURL string, client *http.Client) closer
}

// contenders have their defaults. Three retries are the default of slack-go.
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
		// The documented use of the error: wait as long as it says, and repeat the call.
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

// gaveUp reports whether a call failed because of the limit.
func gaveUp(err error) bool {
	_, ok := errors.AsType[*slack.RateLimitedError](err)
	return ok || errors.Is(err, chatdm.KindRateLimited)
}

// enforcing starts a fake server that rejects the 21st close of a minute, and
// opens n direct messages on it.
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

// sweep closes all direct messages, each with one call of a closer.
func sweep(ctx context.Context, c contender, total int, opts ...chatdmtest.Option) (sweepResult, error) {
	s, channels, err := enforcing(total, opts...)
	if err != nil {
		return sweepResult{}, err
	}
	defer s.Close()
	one := c.new(s.URL, s.Client())
	result := sweepResult{Name: c.name}
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

// onTheClock runs the contenders at the same time in real time, each against its
// own fake server.
func onTheClock(ctx context.Context, length time.Duration) ([]*clockRun, error) {
	start := time.Now().Add(time.Second)
	end := start.Add(length)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	var all []*clockRun
	measure := func(name string, do func(t *clockRun, s *chatdmtest.Slack, j job) error) {
		t := &clockRun{Name: name}
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
					t.Done = append(t.Done, since)
				case http.StatusTooManyRequests:
					t.Refused = append(t.Refused, since)
				}
			}
		})
	}
	for _, c := range contenders[:3] { // not the loop, which resembles OptionRetry
		measure(c.name, func(t *clockRun, s *chatdmtest.Slack, j job) (err error) {
			t.GivenUp, err = closeUntil(ctx, c.new(s.URL, s.Client()), j)
			return err
		})
	}
	for _, shared := range []struct {
		name      string
		processes int
	}{{nameRedis, 3}, {nameAlone, 1}} {
		measure(shared.name, func(t *clockRun, _ *chatdmtest.Slack, j job) error {
			rdb, err := report.StartRedis(ctx)
			if err != nil {
				return err
			}
			defer rdb.Stop()
			j.Redis = rdb.Socket
			j.Goroutines /= shared.processes
			if t.GivenUp, err = j.in(ctx, shared.processes); err != nil {
				return err
			}
			load, err := rdb.Load(ctx)
			t.Scripts = load.Scripts
			return err
		})
	}
	wg.Wait()
	return all, context.Cause(ctx)
}

// job is the work of one chatdmredis process.
type job struct {
	Redis, Slack, Channel string
	Goroutines            int
	Start, End            time.Time
}

const workerEnv = "CHATDM_SCALING_WORKER"

// in runs the job in several processes, and returns how many calls they gave up.
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

// work does the job in a process of its own.
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

// closeUntil repeatedly closes the same direct message, and returns how many calls
// were given up.
func closeUntil(ctx context.Context, one closer, j job) (givenUp int, err error) {
	time.Sleep(time.Until(j.Start))
	// Cancel instead of setting a deadline, which would change what the limiters do.
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
