package chatdm_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

const (
	closeKey = "slack.conversations.close" // 20 calls per minute, in bursts of 4
	postKey  = "slack.chat.postMessage"    // 300 calls per minute, and 60 in each conversation, in bursts of 3
	minute   = time.Minute + 500*time.Millisecond
)

// waits calls Wait n times and returns how long after the first call each one
// returned.
func waits(t *testing.T, l chatdm.Limiter, key string, n int) []time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour) // instead of for ever
	defer cancel()
	start := time.Now()
	at := make([]time.Duration, n)
	for i := range at {
		if err := l.Wait(ctx, key); err != nil {
			t.Fatal(err)
		}
		at[i] = time.Since(start)
	}
	return at
}

// wantAt compares the times of calls, which the token bucket rounds.
func wantAt(t *testing.T, what string, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b time.Duration) bool { return (a - b).Abs() < time.Microsecond }) {
		t.Errorf("%s: got calls at %v, want %v", what, got, want)
	}
}

// wantTooLong expects Wait to fail at once with RetryAfter, because the timeout
// is shorter.
func wantTooLong(t *testing.T, l chatdm.Limiter, timeout, retryAfter time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	start := time.Now()
	e := wantError(t, l.Wait(ctx, closeKey), chatdm.KindRateLimited, context.DeadlineExceeded)
	if took := time.Since(start); took != 0 || (e.RetryAfter-retryAfter).Abs() > time.Microsecond {
		t.Errorf("got RetryAfter %v after %v, want %v at once", e.RetryAfter, took, retryAfter)
	}
}

// TestTiers: with each tier, a busy caller gets the burst, then one call per
// step, not a burst in every minute, and never more calls in a minute than the
// tier.
func TestTiers(t *testing.T) {
	with := func(perMinute, burst int) chatdm.TierOption {
		return chatdm.WithTier("slack.x", chatdm.Tier{PerMinute: perMinute, Burst: burst})
	}
	for _, test := range []struct {
		key          string
		limit, burst int
		opt          chatdm.TierOption
	}{
		{"slack.im.open", 100, 20, nil},
		{"slack.im.close", 20, 4, nil},
		{"slack.conversations.open", 50, 10, nil},
		{closeKey, 20, 4, nil},
		{"slack.conversations.list", 20, 4, nil},
		{"slack.x", 1, 1, with(1, -1)},
		{"slack.x", 4, 4, with(4, 10)},
		{"slack.x", 60, 1, with(60, 1)},
		{"slack.x", 10_000, 2000, with(10_000, 0)},
	} {
		synctest.Test(t, func(t *testing.T) {
			at := waits(t, chatdm.NewTierLimiter(test.opt), test.key, 3*test.limit+1)
			step := time.Minute / time.Duration(test.limit)
			want := make([]time.Duration, test.limit, test.limit+1)
			for i := test.burst; i < len(want); i++ {
				want[i] = want[i-1] + step
			}
			wantAt(t, test.key, at[:test.limit+1], append(want, minute)...)
			for i := test.limit; i < len(at); i++ {
				if got := at[i] - at[i-test.limit]; got < minute {
					t.Errorf("%s: got calls %d and %d %v apart, want %v", test.key, i-test.limit, i, got, minute)
				}
				if got := at[i] - at[max(0, i-2)]; got < step {
					t.Errorf("%s: got calls %d to %d within %v, want %v", test.key, i-2, i, got, step)
				}
			}
			if got, want := at[3*test.limit], 3*minute; got > want {
				t.Errorf("%s: got call %d after %v, want %v", test.key, 3*test.limit, got, want)
			}
		})
	}
}

// TestLargeTiers: the memory of a limiter does not grow with the tier, and the
// limit holds.
func TestLargeTiers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perMinute, least = 20_005, 20_002 // three calls per timestamp
		at := waits(t, chatdm.NewTierLimiter(chatdm.WithTier("slack.x", chatdm.Tier{PerMinute: perMinute})), "slack.x", 2*perMinute)
		for i := range at[perMinute:] {
			if apart := at[i+perMinute] - at[i]; apart <= time.Minute {
				t.Fatalf("calls %d and %d are %v apart, want more than a minute", i, i+perMinute, apart)
			}
		}
		if last := at[2*least-1]; last > 121*time.Second {
			t.Errorf("got %d calls in %v, want two windows", 2*least, last)
		}
	})
	for _, perMinute := range []int{10_000_000, math.MaxInt} {
		l := chatdm.NewTierLimiter(chatdm.WithTier("slack.x", chatdm.Tier{PerMinute: perMinute}))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		waits(t, l, "slack.x", 50_000)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 2<<20 {
			t.Errorf("%d calls per minute: got %d bytes allocated, want at most 2 MB", perMinute, got)
		}
	}
}

func TestUnlimitedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l := chatdm.NewTierLimiter(chatdm.WithTier("slack.im.open", chatdm.Tier{}), chatdm.WithTier("slack.x", chatdm.Tier{PerMinute: -1}))
		for _, key := range []string{"slack.im.open", "slack.chat.update", "rocketchat.im.delete", "slack.x"} {
			l.Limited(t.Context(), key, time.Hour) // no-op
			if at := waits(t, l, key, 1000); at[999] != 0 {
				t.Errorf("%s: got a wait of %v, want none", key, at[999])
			}
			if err := l.Wait(ctx, key); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v, want context.Canceled", key, err)
			}
		}
		waits(t, new(chatdm.TierLimiter), closeKey, 1000)
		waits(t, new(chatdm.TierLimiter), postKey+"/D1", 1000)
		if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

func TestTierLimiterServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter()
		order := make(chan int, 60)
		for i := range cap(order) {
			go func() {
				waits(t, l, closeKey, 1)
				order <- i
			}()
			synctest.Wait()
		}
		for i := range cap(order) {
			if got := <-order; got != i {
				t.Fatalf("got caller %d, want %d", got, i)
			}
		}
	})
}

func TestTierLimiterDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter()
		waits(t, l, closeKey, 4)
		wantTooLong(t, l, time.Second, 3*time.Second)

		// A call that is due exactly at the deadline may wait for it.
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		if err := l.Wait(ctx, closeKey); time.Since(start) != 3*time.Second {
			t.Errorf("got %v after %v, want 3s", err, time.Since(start))
		}

		// Callers in the queue count, with the one at its head, until they give up.
		time.Sleep(10 * time.Minute)
		waits(t, l, closeKey, 4)
		ctx, cancel = context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { _ = l.Wait(ctx, closeKey) })
		}
		synctest.Wait()
		wantTooLong(t, l, 20*time.Second, 33*time.Second)
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
		wantTooLong(t, l, time.Second, 2*time.Second)
		wantAt(t, "after the queue gave up", waits(t, l, closeKey, 2), 2*time.Second, 5*time.Second)

		// A pause and the window delay calls, too. Those that fail return their token.
		time.Sleep(10 * time.Minute)
		waits(t, l, closeKey, 20)
		time.Sleep(10 * time.Second) // the window ends 2.5 s later
		for range 10 {
			wantTooLong(t, l, 2*time.Second, 2500*time.Millisecond)
		}
		wantAt(t, "after the window", waits(t, l, closeKey, 1), 2500*time.Millisecond)
		l.Limited(t.Context(), closeKey, 30*time.Second)
		wantTooLong(t, l, 29*time.Second, 30*time.Second)
		go func() { _ = l.Wait(t.Context(), closeKey) }() // now the head of the queue
		synctest.Wait()
		wantTooLong(t, l, 29*time.Second, 30*time.Second)
	})
}

func TestTierLimiterPauses(t *testing.T) {
	for _, test := range []struct {
		limited []time.Duration
		want    time.Duration
	}{
		{[]time.Duration{30 * time.Second}, 30 * time.Second},
		{[]time.Duration{30 * time.Second, time.Second}, 30 * time.Second},
		{[]time.Duration{time.Second, 30 * time.Second}, 30 * time.Second},
		{[]time.Duration{0, -time.Second, math.MinInt64}, 0},
		{[]time.Duration{math.MaxInt64}, time.Hour},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := chatdm.NewTierLimiter()
			waits(t, l, closeKey, 2)
			for _, d := range test.limited {
				l.Limited(t.Context(), closeKey, d)
			}
			// Two calls of the burst remain; the pause adds none.
			wantAt(t, fmt.Sprint("Limited for ", test.limited), waits(t, l, closeKey, 3), test.want, test.want, test.want+3*time.Second)
		})
	}
	// A pause that begins during a wait prolongs it, and does not lead to a burst.
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter()
		waits(t, l, closeKey, 4)
		time.AfterFunc(time.Second, func() { l.Limited(t.Context(), closeKey, 30*time.Second) })
		wantAt(t, "paused", waits(t, l, closeKey, 3), 31*time.Second, 34*time.Second, 37*time.Second)
	})
}

// TestTierLimiterRecovers: a 429 lowers the limit by a fifth, and five minutes
// later it is the full one again.
func TestTierLimiterRecovers(t *testing.T) {
	for _, test := range []struct {
		perMinute int
		idle      time.Duration // from the 429 to the first call
		want      int           // calls in the next minute
	}{{20, 0, 16}, {20, 254 * time.Second, 19}, {20, 256 * time.Second, 20}, {1, 0, 1}} {
		synctest.Test(t, func(t *testing.T) {
			l := chatdm.NewTierLimiter(chatdm.WithTier(closeKey, chatdm.Tier{PerMinute: test.perMinute}))
			l.Limited(t.Context(), closeKey, 0)
			time.Sleep(test.idle)
			if at := waits(t, l, closeKey, test.want+1); at[test.want-1] >= minute || at[test.want] != minute {
				t.Errorf("after %v: got calls at %v, want %d in the first minute", test.idle, at, test.want)
			}
		})
	}
}

// TestConversationTiers: a key that names a conversation has the limit of the
// conversation, or of all conversations, in addition to that of the method.
func TestConversationTiers(t *testing.T) {
	const s = time.Second
	none := chatdm.Tier{}
	for _, test := range []struct {
		name string
		opts []chatdm.TierOption
		keys []string
		want []time.Duration
	}{
		{"one conversation", nil, []string{"/D1", "/D1", "/D1", "/D1", "/D1"}, []time.Duration{0, 0, 0, s, 2 * s}},
		{"several conversations", nil, []string{"/D1", "/D1", "/D1", "/D2", "/D2", "/D2", "/D3"}, make([]time.Duration, 7)},
		{"calls without a conversation", nil, []string{"", "", "", "", "/D1"}, make([]time.Duration, 5)},
		{"the method's limit", []chatdm.TierOption{chatdm.WithTier(postKey, chatdm.Tier{PerMinute: 20, Burst: 2})},
			[]string{"/D1", "/D2", "/D3", "", "/D1"}, []time.Duration{0, 0, 3 * s, 6 * s, 9 * s}},
		{"no limit of the method", []chatdm.TierOption{chatdm.WithTier(postKey, none)},
			[]string{"/D1", "/D1", "/D1", "/D1", "", "/D2"}, []time.Duration{0, 0, 0, s, s, s}},
		{"no limit of conversations", []chatdm.TierOption{chatdm.WithTier(postKey+"/*", none)}, []string{"/D1", "/D1", "/D1", "/D1"}, make([]time.Duration, 4)},
		{"another limit of conversations", []chatdm.TierOption{chatdm.WithTiers(map[string]chatdm.Tier{postKey + "/*": {PerMinute: 30, Burst: 1}})},
			[]string{"/D1", "/D2", "/D1"}, []time.Duration{0, 0, 2 * s}},
		{"the limit of one conversation", []chatdm.TierOption{chatdm.WithTier(postKey+"/D1", chatdm.Tier{PerMinute: 6, Burst: 1}), chatdm.WithTier(postKey+"/D2", none)},
			[]string{"/D3", "/D3", "/D2", "/D2", "/D2", "/D2", "/D1", "/D1"}, []time.Duration{0, 0, 0, 0, 0, 0, 0, 10 * s}},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := chatdm.NewTierLimiter(test.opts...)
			start := time.Now()
			var at []time.Duration
			for _, key := range test.keys {
				waits(t, l, postKey+key, 1)
				at = append(at, time.Since(start))
			}
			wantAt(t, test.name, at, test.want...)
		})
	}
}

// TestConversationsDoNotBlockOthers: callers that wait for one conversation hold neither
// the budget nor the queue of the method, and callers of one conversation stay in order.
func TestConversationsDoNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter(chatdm.WithTier(postKey, chatdm.Tier{PerMinute: 300, Burst: 1}))
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				err := l.Wait(ctx, postKey+"/D1")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					order = append(order, i)
				case !errors.Is(err, context.Canceled):
					t.Errorf("caller %d: got %v, want context.Canceled", i, err)
				}
			})
			synctest.Wait()
		}
		// The method allows five calls per second, and D1 uses at most one of them, apart from its burst.
		time.Sleep(time.Second)
		for i := range 40 {
			if err := l.Wait(t.Context(), fmt.Sprint(postKey, "/E", i)); err != nil {
				t.Error(err)
			}
		}
		if got := time.Since(start); got > 11100*time.Millisecond {
			t.Errorf("40 calls of other conversations took until %v, want at most 11.1s", got)
		}
		cancel()
		wg.Wait()
		if len(order) < 11 || len(order) > 14 || !slices.IsSorted(order) {
			t.Errorf("got callers %v of D1, want 11 to 14 in order", order)
		}
	})
}

// TestConversationGivesUp: a caller that gives up leaves no gap, wherever it waits.
func TestConversationGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter(chatdm.WithTier(postKey, chatdm.Tier{PerMinute: 20, Burst: 2}), chatdm.WithTier(postKey+"/*", chatdm.Tier{PerMinute: 10, Burst: 1}))
		waits(t, l, postKey+"/D1", 1)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, key := range []string{"/D1", "/D1", "/D2", "/D3", "/D4"} { // at 6s, 12s, 0s, 3s, and 6s
			wg.Go(func() { _ = l.Wait(ctx, postKey+key) })
			synctest.Wait()
		}
		tooLong := func(key string, timeout, want time.Duration) {
			t.Helper()
			bounded, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			e := wantError(t, l.Wait(bounded, postKey+key), chatdm.KindRateLimited, context.DeadlineExceeded)
			if (e.RetryAfter - want).Abs() > time.Microsecond {
				t.Errorf("%s: got RetryAfter %v, want %v", key, e.RetryAfter, want)
			}
		}
		tooLong("/D5", time.Second, 9*time.Second)
		tooLong("/D1", time.Second, 9*time.Second) // when the method allows it; the conversation needs longer
		tooLong("/D1", 15*time.Second, 18*time.Second)
		cancel()
		wg.Wait()
		wantAt(t, "another conversation", waits(t, l, postKey+"/D5", 1), 3*time.Second)
		wantAt(t, "the same conversation", waits(t, l, postKey+"/D1", 1), 3*time.Second)
	})
}

// TestConversationPauses: a 429 pauses the conversation, also for a caller that already
// waits for the method. A 429 for another conversation in that time pauses the method.
func TestConversationPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter(chatdm.WithTier(postKey, chatdm.Tier{PerMinute: 20, Burst: 1}))
		start := time.Now()
		at := make(map[string]time.Duration)
		var mu sync.Mutex
		var wg sync.WaitGroup
		wait := func(key string) {
			wg.Go(func() {
				waits(t, l, postKey+key, 1)
				mu.Lock()
				defer mu.Unlock()
				at[key] = time.Since(start)
			})
			synctest.Wait()
		}
		for _, key := range []string{"/D1", "/D2", "/D3"} {
			wait(key)
		}
		time.Sleep(time.Second)
		l.Limited(t.Context(), postKey+"/D2", 10*time.Second)
		l.Limited(t.Context(), postKey+"/D2", 10*time.Second)
		time.Sleep(3 * time.Second)
		wait("/D4")
		wg.Wait()
		wantAt(t, "a paused conversation", []time.Duration{at["/D1"], at["/D3"], at["/D4"], at["/D2"]}, 0, 3*time.Second, 6*time.Second, 11*time.Second)

		time.Sleep(time.Minute)
		start = time.Now()
		l.Limited(t.Context(), postKey+"/D1", 30*time.Second)
		wait("/D2")
		l.Limited(t.Context(), postKey+"/D3", 10*time.Second)
		wait("/D4")
		wait("/D1")
		wg.Wait()
		wantAt(t, "two paused conversations", []time.Duration{at["/D2"], at["/D4"], at["/D1"]}, 0, 10*time.Second, 30*time.Second)

		// Without a limit per conversation, the method pauses.
		l = chatdm.NewTierLimiter(chatdm.WithTier(postKey+"/*", chatdm.Tier{}))
		l.Limited(t.Context(), postKey+"/D1", 10*time.Second)
		wantAt(t, "no limit per conversation", waits(t, l, postKey+"/D2", 1), 10*time.Second)
	})
}

// TestTierLimiterForgets: after 100,000 conversations, a TierLimiter holds only what the
// last minutes need. It forgets neither the calls of the last minute nor a pause.
func TestTierLimiterForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const conversations = 100_000
		l := chatdm.NewTierLimiter(chatdm.WithTier(postKey, chatdm.Tier{PerMinute: 10_000}))
		heap := func() int64 {
			runtime.GC()
			var stats runtime.MemStats
			runtime.ReadMemStats(&stats)
			return int64(stats.HeapAlloc)
		}
		waits(t, l, postKey+"/D0", 1)
		before := heap()
		for i := range conversations {
			waits(t, l, fmt.Sprint(postKey, "/D", i), 1)
			time.Sleep(time.Hour / conversations)
		}
		during := heap() - before
		l.Limited(t.Context(), postKey+"/D1", time.Hour)
		time.Sleep(10 * time.Minute)
		after := heap() - before
		t.Logf("%d kB at the end of the hour, %d kB ten minutes later", during>>10, after>>10)
		if during > 5<<20 || after > 500<<10 {
			t.Errorf("got %d and %d bytes, want at most 5 MB and 500 kB", during, after)
		}
		wantAt(t, "a paused conversation", waits(t, l, postKey+"/D1", 1), 50*time.Minute)
		for range 5 {
			waits(t, l, postKey+"/D2", 12)
			time.Sleep(5 * time.Second) // a sweep between any two calls loses nothing
		}
		runtime.KeepAlive(l)
	})
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter(chatdm.WithTier(postKey+"/*", chatdm.Tier{PerMinute: 2, Burst: 2}))
		time.Sleep(30 * time.Second)
		wantAt(t, "calls around a sweep", waits(t, l, postKey+"/D1", 5), 0, 0, minute, minute+30*time.Second, 2*minute)
	})
}

// TestSlackTiers: every typed method has a tier.
func TestSlackTiers(t *testing.T) {
	tiers := chatdm.SlackTiers()
	for method := range documented(t) {
		if tiers["slack."+method].PerMinute == 0 {
			t.Errorf("got no tier for %s", method)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		l := chatdm.NewTierLimiter(nil, chatdm.WithTiers(chatdm.NonMarketplaceTiers()))
		wantAt(t, "history", waits(t, l, "slack.conversations.history", 3), 0, minute, 2*minute)
		wantAt(t, "replies", waits(t, l, "slack.conversations.replies", 2), 0, minute)
		wantAt(t, "the others", waits(t, l, closeKey, 5), 0, 0, 0, 0, 3*time.Second)
	})
}

// TestBroadcast: messages to 10,000 people take little longer than the limit of the
// workspace requires, while others post to a busy conversation.
func TestBroadcast(t *testing.T) {
	const people, goroutines, perMinute = 10_000, 100, 300
	const allowed = people * time.Minute / perMinute
	synctest.Test(t, func(t *testing.T) {
		slack := chatdmtest.NewSlack(chatdmtest.InMemory(), chatdmtest.KeepRequests(people+1000))
		defer slack.Close()
		slack.Limit("chat.postMessage", perMinute, time.Minute)
		slack.Limit("chat.postMessage/*", 60, time.Minute)
		client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL), chatdm.WithHTTPClient(slack.Client()),
			chatdm.WithLimiter(chatdm.NewTierLimiter()))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range people / goroutines {
					// The DMs do not exist, but the calls count.
					_, err := client.Chat.PostMessage(t.Context(), chatdm.ChatPostMessageParams{Channel: fmt.Sprint("D", g, "-", i), Text: "hi"})
					if !errors.Is(err, chatdm.ErrChannelNotFound) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		took, limited := time.Since(start), 0
		for _, r := range slack.Requests() {
			if r.Status == 429 {
				limited++
			}
		}
		t.Logf("%v, %d responses with 429; the limit allows %v", took, limited, allowed)
		if took > allowed*103/100 || limited > 2 {
			t.Errorf("got %v and %d responses with 429, want at most %v and 2", took, limited, allowed*103/100)
		}
	})
}

// TestSweepWithTierLimiter: 50 goroutines close 2,000 DMs on a server that
// enforces the tier. That takes little longer than the tier allows, and the
// server responds with hardly any 429. Without a limiter, it responds with many.
func TestSweepWithTierLimiter(t *testing.T) {
	const total, goroutines, perMinute = 2000, 50, 20
	const allowed = (total/perMinute - 1) * time.Minute // the last window need not end
	for _, opts := range [][]chatdm.Option{nil, {chatdm.WithLimiter(chatdm.NewTierLimiter())}} {
		synctest.Test(t, func(t *testing.T) {
			slack := chatdmtest.NewSlack(chatdmtest.InMemory())
			defer slack.Close()
			slack.Limit("conversations.close", perMinute, time.Minute)
			client, err := chatdm.NewClient(chatdmtest.BotToken, append(opts, chatdm.WithBaseURL(slack.URL),
				chatdm.WithHTTPClient(slack.Client()), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 100}))...)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					for range total / goroutines {
						// The DM does not exist, but the call counts.
						if _, err := client.Conversations.Close(t.Context(), "D0"); !errors.Is(err, chatdm.ErrChannelNotFound) {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			took := time.Since(start)
			limited := 0
			for _, r := range slack.Requests() {
				if r.Status == 429 {
					limited++
				}
			}
			t.Logf("with limiter: %t: %v, %d responses with 429; the tier allows %v", opts != nil, took, limited, allowed)
			if opts != nil && (took > allowed*103/100 || limited > 2) {
				t.Errorf("got %v and %d responses with 429, want at most %v and 2", took, limited, allowed*103/100)
			}
		})
	}
}

// TestLimiterErrorText: the client repeats no part of the TierLimiter's error,
// and omits no part of another limiter's.
func TestLimiterErrorText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tiers := chatdm.NewTierLimiter()
		waits(t, tiers, closeKey, 4)
		fails := func(service string, cause error) chatdm.Limiter {
			return failingLimiter{err: &chatdm.Error{Service: service, Kind: chatdm.KindRateLimited, RetryAfter: 3 * time.Second, Err: cause}}
		}
		for want, l := range map[string]chatdm.Limiter{
			"wait would exceed the context deadline": tiers,
			"mine":                                   fails("mine", errors.New("busy")),
			"limiter":                                fails("limiter", nil),
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := newClient(t, nil, chatdm.WithLimiter(l)).Conversations.Close(ctx, "D1")
			e := wantError(t, err, chatdm.KindRateLimited)
			for _, text := range []string{want, "conversations.close"} {
				if n := strings.Count(e.Error(), text); n != 1 {
					t.Errorf("got %d of %q in %q, want 1", n, text, e)
				}
			}
			if e.RetryAfter != 3*time.Second || e.Attempts != 0 {
				t.Errorf("got RetryAfter %v and %d attempts, want 3s and none", e.RetryAfter, e.Attempts)
			}
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
	// All clients of an app in a workspace share one limiter.
	limiter := chatdm.NewTierLimiter(
		chatdm.WithTiers(chatdm.NonMarketplaceTiers()),
		chatdm.WithTier("slack.chat.postMessage/*", chatdm.Tier{PerMinute: 30, Burst: 1}), // in each conversation
	)
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

// The client calls Wait before each attempt. Other users of a limiter call it themselves.
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

// failingLimiter is a Limiter whose Wait returns an error.
type failingLimiter struct{ err error }

func (l failingLimiter) Wait(context.Context, string) error { return l.err }

func (failingLimiter) Limited(context.Context, string, time.Duration) {}
