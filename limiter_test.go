package chatdm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

const closeKey = "slack.conversations.close"

// admissions calls Wait n times one after the other and returns when each was
// let pass.
func admissions(t *testing.T, l chatdm.Limiter, key string, n int) []time.Duration {
	t.Helper()
	start := time.Now()
	var at []time.Duration
	for range n {
		if err := l.Wait(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		at = append(at, time.Since(start))
	}
	return at
}

func TestTiers(t *testing.T) {
	for key, perMinute := range map[string]int{
		"slack.im.open": 100, "slack.im.close": 20, "slack.conversations.open": 50, closeKey: 20, "slack.conversations.list": 20,
	} {
		synctest.Test(t, func(t *testing.T) {
			at := admissions(t, chatdm.NewTierLimiter(nil), key, 3*perMinute+1)
			if burst := perMinute / 5; at[burst-1] != 0 || at[burst] == 0 {
				t.Errorf("%s: the burst is not %d: %v", key, burst, at[:burst+1])
			}
			// No window of a minute, wherever it begins, has more than the tier.
			for i := range at[perMinute:] {
				if apart := at[i+perMinute] - at[i]; apart <= time.Minute {
					t.Errorf("%s: calls %d and %d are %v apart", key, i, i+perMinute, apart)
				}
			}
			// Who keeps it busy gets an even pace after the first burst, not one in
			// each minute.
			step := time.Minute / time.Duration(perMinute)
			for i := perMinute / 5; i+2 < len(at); i++ {
				if apart := at[i+2] - at[i]; apart < step {
					t.Errorf("%s: calls %d to %d within %v", key, i, i+2, apart)
				}
			}
			if last, least := at[len(at)-1], 3*time.Minute; last < least || last > least*103/100 {
				t.Errorf("%s: %d calls took %v, want %v", key, len(at), last, least)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter(chatdm.WithTier("slack.im.open", chatdm.Tier{}), chatdm.WithTier("slack.x", chatdm.Tier{PerMinute: 1, Burst: 5}), chatdm.WithTier("slack.y", chatdm.Tier{PerMinute: -1}))
		for _, free := range []string{"slack.im.open", "slack.chat.postMessage", "rocketchat.im.delete", "slack.y"} {
			if at := admissions(t, l, free, 1000); at[999] != 0 {
				t.Errorf("%s is paced", free)
			}
			l.Limited(t.Context(), free, time.Hour) // of no consequence
		}
		if at := admissions(t, l, "slack.x", 2); at[1] < time.Minute {
			t.Errorf("two calls at one a minute: %v", at)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, key := range []string{"slack.im.open", closeKey} {
			if err := l.Wait(ctx, key); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: a canceled context passed: %v", key, err)
			}
		}
	})
}

func TestTierLimiterServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter()
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				if err := l.Wait(t.Context(), closeKey); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
			})
			synctest.Wait()
		}
		wg.Wait()
		if !slices.IsSorted(order) {
			t.Errorf("served in the order %v", order)
		}
	})
}

func TestTierLimiterDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter()
		admissions(t, l, closeKey, 4) // the burst
		refuse := func(d time.Duration) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			start := time.Now()
			e := wantError(t, l.Wait(ctx, closeKey), chatdm.KindRateLimited, context.DeadlineExceeded)
			if e.RetryAfter <= d || time.Since(start) != 0 {
				t.Errorf("refused after %v with RetryAfter %v, want at once and more than %v", time.Since(start), e.RetryAfter, d)
			}
		}
		refuse(time.Second) // the next token comes in three seconds

		// Behind ten others it takes half a minute.
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _ = l.Wait(ctx, closeKey) })
		}
		synctest.Wait()
		refuse(20 * time.Second)
		cancel()
		wg.Wait()

		// Those who left hold nobody up.
		start := time.Now()
		admissions(t, l, closeKey, 1)
		if waited := time.Since(start); waited > 3*time.Second {
			t.Errorf("waited %v behind nobody", waited)
		}

		// The one who has the turn is not counted twice: behind him it takes six
		// seconds, of which nearly three are over.
		time.Sleep(10 * time.Minute)
		admissions(t, l, closeKey, 4) // the burst
		wg.Go(func() { _ = l.Wait(t.Context(), closeKey) })
		time.Sleep(2900 * time.Millisecond)
		inTime, cancelInTime := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancelInTime()
		if err := l.Wait(inTime, closeKey); err != nil {
			t.Errorf("due in 3.1 s, with 5 s left: %v", err)
		}
		wg.Wait()
		time.Sleep(10 * time.Minute)
		admissions(t, l, closeKey, 5)

		// The window, and not only the bucket, can be past a deadline.
		admissions(t, l, closeKey, 15)
		refuse(5 * time.Second)
	})
}

func TestTierLimiterLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter()
		admissions(t, l, closeKey, 1)
		l.Limited(t.Context(), closeKey, 30*time.Second)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if e := wantError(t, l.Wait(ctx, closeKey), chatdm.KindRateLimited); e.RetryAfter != 30*time.Second {
			t.Errorf("RetryAfter %v, want 30s", e.RetryAfter)
		}
		admissions(t, l, closeKey, 1)
		if paused := time.Since(start); paused != 30*time.Second {
			t.Errorf("paused for %v, want 30s", paused)
		}
		rateOf := func() int {
			t.Helper()
			start, n := time.Now(), 0
			for time.Since(start) < time.Minute {
				admissions(t, l, closeKey, 1)
				n++
			}
			return n
		}
		if n := rateOf(); n > 18 {
			t.Errorf("%d calls in the minute after a refusal, want fewer", n)
		}
		time.Sleep(10 * time.Minute)
		rateOf() // the burst
		if n := rateOf(); n < 20 {
			t.Errorf("%d calls a minute after a long rest, want 20", n)
		}

		// A refusal during a wait prolongs it.
		admissions(t, l, closeKey, 5) // more than the burst
		var wg sync.WaitGroup
		start = time.Now()
		wg.Go(func() { admissions(t, l, closeKey, 1) })
		synctest.Wait()
		l.Limited(t.Context(), closeKey, time.Minute)
		wg.Wait()
		if waited := time.Since(start); waited < time.Minute {
			t.Errorf("waited %v, want the minute of the refusal", waited)
		}
	})
}

// TestSweepWithTierLimiter: closing 2,000 direct messages from 50 goroutines on
// a server that enforces the tier takes hardly longer than the tier allows, and
// nearly nothing is refused.
func TestSweepWithTierLimiter(t *testing.T) {
	const total, goroutines, perMinute = 2000, 50, 20
	sweep := func(t *testing.T, opts ...chatdm.Option) (took time.Duration, refused int) {
		slack := chatdmtest.NewSlack(chatdmtest.InMemory())
		defer slack.Close()
		slack.Limit("conversations.close", perMinute, time.Minute)
		opts = append(opts, chatdm.WithBaseURL(slack.URL), chatdm.WithHTTPClient(slack.Client()), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 100}))
		client, err := chatdm.NewClient(chatdmtest.BotToken, opts...)
		if err != nil {
			t.Fatal(err)
		}
		ids := make(chan string)
		start := time.Now()
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for id := range ids {
					// There is no such channel: what counts is the call.
					if _, err := client.Conversations.Close(t.Context(), id); !errors.Is(err, chatdm.ErrChannelNotFound) {
						t.Error(err)
					}
				}
			})
		}
		for i := range total {
			ids <- fmt.Sprint("D", i)
		}
		close(ids)
		wg.Wait()
		took = time.Since(start)
		for _, r := range slack.Requests() {
			if r.Status == 429 {
				refused++
			}
		}
		return took, refused
	}
	const allowed = (total/perMinute - 1) * time.Minute // the last window need not end
	synctest.Test(t, func(t *testing.T) {
		took, refused := sweep(t, chatdm.WithLimiter(chatdm.NewTierLimiter()))
		t.Logf("TierLimiter: %v, %d refused; the tier allows %v", took, refused, allowed)
		if took > allowed*103/100 || refused > 2 {
			t.Errorf("took %v with %d refusals, want at most %v and 2", took, refused, allowed*103/100)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		took, refused := sweep(t)
		t.Logf("no limiter: %v, %d refused", took, refused)
	})
}

// TestLimiterErrorText: what the limiter says, the client does not say again.
func TestLimiterErrorText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter()
		admissions(t, l, closeKey, 4) // the burst
		client := newClient(t, newScript(), chatdm.WithLimiter(l))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.Conversations.Close(ctx, "D1")
		e := wantError(t, err, chatdm.KindRateLimited, context.DeadlineExceeded)
		if n := strings.Count(err.Error(), "too many calls"); n != 1 || e.RetryAfter != 3*time.Second || e.Attempts != 0 {
			t.Errorf("%+v, and says it %d times: %v", e, n, err)
		}
	})
}

func ExampleWithLimiter() {
	const token = "xoxb-2345-secret"
	client, err := chatdm.NewClient(token, chatdm.WithLimiter(chatdm.NewTierLimiter()))
	fmt.Println(client, err)
	// Output:
	// chatdm.Client(https://slack.com/api) <nil>
}

func ExampleNewTierLimiter() {
	// One for all clients of an app in a workspace.
	limiter := chatdm.NewTierLimiter(chatdm.WithTier("slack.chat.postMessage", chatdm.Tier{PerMinute: 60, Burst: 1}))
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	for _, token := range []string{chatdmtest.BotToken, chatdmtest.UserToken} {
		client, err := chatdm.NewClient(token, chatdm.WithBaseURL(slack.URL), chatdm.WithLimiter(limiter))
		if err != nil {
			fmt.Println(err)
			return
		}
		res, err := client.Conversations.Open(context.Background(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
		fmt.Println(err == nil && res.Channel.ID != "")
	}
	// Output:
	// true
	// true
}

// The client asks before each attempt; other users of a limiter do it themselves.
func ExampleTierLimiter_Wait() {
	limiter := chatdm.NewTierLimiter(chatdm.WithTier("slack.im.close", chatdm.Tier{PerMinute: 1}))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println(limiter.Wait(ctx, "slack.im.close"))
	err := limiter.Wait(ctx, "slack.im.close")
	fmt.Println(errors.Is(err, chatdm.KindRateLimited))
	// Output:
	// <nil>
	// true
}

func ExampleTierLimiter_Limited() {
	limiter := chatdm.NewTierLimiter()
	limiter.Limited(context.Background(), "slack.im.close", time.Minute)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := limiter.Wait(ctx, "slack.im.close")
	e, _ := errors.AsType[*chatdm.Error](err)
	fmt.Println(e.RetryAfter.Round(time.Second))
	// Output:
	// 1m0s
}
