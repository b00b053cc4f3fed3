//go:build unix

package chatdmredis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// closeUntil closes direct messages through a client with the limiter.
func closeUntil(l chatdm.Limiter, slack string, start, end time.Time, goroutines int) done {
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack), chatdm.WithLimiter(l))
	if err != nil {
		panic(err)
	}
	time.Sleep(time.Until(start))
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	var mu sync.Mutex
	var d done
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				// There is no such channel: what counts is the call.
				_, err := client.Conversations.Close(ctx, "D0")
				mu.Lock()
				switch {
				case errors.Is(err, chatdm.ErrChannelNotFound):
					d.Passed++
				case time.Until(end) < 100*time.Millisecond || errors.Is(err, context.DeadlineExceeded):
					// over
				case errors.Is(err, chatdm.KindUnavailable) && errors.Is(err, ErrUnavailable):
					d.Unavailable++
					d.Slowest = max(d.Slowest, time.Since(began))
				default:
					d.Others++
					d.Other = fmt.Sprint(err)
				}
				mu.Unlock()
				if err != nil && !errors.Is(err, chatdm.ErrChannelNotFound) {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	return d
}

// enforcing is a Slack that refuses what is above the limit.
func enforcing(t *testing.T, calls int, minute time.Duration) *chatdmtest.Slack {
	slack := chatdmtest.NewSlack()
	t.Cleanup(slack.Close)
	slack.Limit("conversations.close", calls, minute)
	return slack
}

func refusals(slack *chatdmtest.Slack) (refused int) {
	for _, r := range slack.Requests() {
		if r.Status == 429 {
			refused++
		}
	}
	return refused
}

// together has three processes close direct messages at once, and during runs
// meanwhile.
func together(t *testing.T, j job, during func()) (passed int, each []done) {
	var answers []func() done
	for range 3 {
		answers = append(answers, j.start(t))
	}
	if during != nil {
		during()
	}
	for i, answer := range answers {
		d := answer()
		t.Logf("process %d: %+v", i+1, d)
		if d.Others > 0 || d.Other != "" {
			t.Errorf("process %d: %d other errors: %s", i+1, d.Others, d.Other)
		}
		passed += d.Passed
		each = append(each, d)
	}
	for i, d := range each {
		if 4*d.Passed < passed {
			t.Errorf("process %d did %d of %d calls, want at least a quarter", i+1, d.Passed, passed)
		}
	}
	return passed, each
}

// TestThreeProcesses: together they get what the limit allows, all but 5 %, and
// nearly nothing is refused.
func TestThreeProcesses(t *testing.T) {
	t.Parallel()
	const calls, minute, minutes = 60, 3 * time.Second, 3
	rdb := sharedServer(t)
	// A machine that stands still for a while takes calls away that nobody can
	// make up for: the best of three tries counts. Refusals count in all.
	for try := 1; ; try++ {
		slack := enforcing(t, calls, minute)
		passed, _ := together(t, job{
			Redis: rdb.addr, Slack: slack.URL, Name: fmt.Sprint(t.Name(), try), Calls: calls, Goroutines: 5,
			Minute: minute, For: minutes * minute, Start: time.Now().Add(time.Second),
		}, nil)
		refused := refusals(slack)
		t.Logf("%d calls, the limit allows %d; %d refused", passed, minutes*calls, refused)
		if refused > 3 {
			t.Errorf("%d refusals, want at most 3", refused)
		}
		if passed >= minutes*calls*95/100 {
			return
		}
		if try == 3 {
			t.Fatalf("%d calls, want at least %d", passed, minutes*calls*95/100)
		}
	}
}

// TestThreeProcessesLoseRedis: Redis is killed and comes back empty. While it
// is gone no call passes, each fails in time, and it begins anew without a
// refusal.
func TestThreeProcessesLoseRedis(t *testing.T) {
	t.Parallel()
	const calls, minute = 60, 3 * time.Second
	rdb := ownServer(t)
	slack := enforcing(t, calls, minute)
	start := time.Now().Add(time.Second)
	var gone, back int
	passed, each := together(t, job{
		Redis: rdb.addr, Slack: slack.URL, Name: t.Name(), Calls: calls, Goroutines: 5,
		Minute: minute, For: 9 * time.Second, Start: start,
	}, func() {
		time.Sleep(time.Until(start.Add(2500 * time.Millisecond)))
		rdb.kill()
		time.Sleep(200 * time.Millisecond) // what Redis had let pass is on its way
		gone = len(slack.Requests())
		time.Sleep(650 * time.Millisecond)
		back = len(slack.Requests())
		rdb.start(t)
	})
	refused := refusals(slack)
	t.Logf("%d calls, %d refused", passed, refused)
	if refused > 3 || gone < calls/2 || back != gone || passed < gone+calls/2 {
		t.Errorf("%d calls before, %d while Redis was gone, %d in all, %d refusals", gone, back-gone, passed, refused)
	}
	for i, d := range each {
		if d.Unavailable == 0 || d.Slowest > 3*time.Second {
			t.Errorf("process %d: %d calls failed because of Redis, the slowest after %v", i+1, d.Unavailable, d.Slowest)
		}
	}
}
