//go:build unix

package chatdmredis

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

// passKeys calls Wait for each key in a row and returns how long after the first call
// each one returned.
func passKeys(t *testing.T, l *Limiter, keys ...string) []time.Duration {
	t.Helper()
	start := time.Now()
	var at []time.Duration
	for _, key := range keys {
		if err := l.Wait(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		at = append(at, time.Since(start))
	}
	return at
}

func repeat(key string, n int) []string { return slices.Repeat([]string{key}, n) }

// A key that names a conversation has the limit of the conversation, or of all
// conversations, in addition to that of the method.
func TestConversationLimits(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	const minute = 6 * time.Second // of the default 60 calls: one every 100 ms
	d1 := postKey + "/D1"
	for i, tt := range []struct {
		opts  []Option
		keys  []string
		least time.Duration
	}{
		{nil, repeat(d1, 8), 500 * time.Millisecond}, // in a burst of 3
		{nil, []string{d1, d1, d1, postKey + "/D2", postKey + "/D2", postKey + "/D2", postKey}, 0},
		{[]Option{WithTier(postKey, chatdm.Tier{PerMinute: 20, Burst: 1})}, []string{d1, postKey + "/D2", postKey}, 600 * time.Millisecond},
		{[]Option{WithTier(postKey, chatdm.Tier{})}, append(repeat(postKey, 50), repeat(d1, 8)...), 500 * time.Millisecond},
		{[]Option{WithTier(postKey+"/*", chatdm.Tier{})}, repeat(d1, 8), 0},
		{[]Option{WithTier(postKey, chatdm.Tier{}), WithTier(postKey+"/*", chatdm.Tier{})}, repeat(d1, 8), 0},
		{[]Option{WithTiers(map[string]chatdm.Tier{d1: {PerMinute: 20, Burst: 1}})}, []string{postKey + "/D2", postKey + "/D2", d1, d1}, 300 * time.Millisecond},
		{nil, repeat(postKey+"/"+strings.Repeat("x", 1000), 8), 500 * time.Millisecond},
		{nil, repeat(postKey+"/a}b{c", 8), 500 * time.Millisecond},
	} {
		l := newLimiter(t, client, fmt.Sprint(t.Name(), "-", i), minute, tt.opts...)
		at := passKeys(t, l, tt.keys...)
		if got := at[len(at)-1]; got < tt.least || got > tt.least+400*time.Millisecond {
			t.Errorf("%d: got the last call after %v, want about %v", i, got, tt.least)
		}
	}
}

// Callers that wait for one conversation hold neither the queue of the process nor a
// place or a slot in Redis that other conversations could use. The limiters share the
// limit of the conversation, and serve its callers in order.
func TestConversationsDoNotBlockOthers(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 6 * time.Second
	opts := WithTier(postKey, chatdm.Tier{PerMinute: 300, Burst: 10}) // one call every 20 ms
	limiters := []*Limiter{newLimiter(t, s.client(t), t.Name(), minute, opts), newLimiter(t, s.client(t), t.Name(), minute, opts)}
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var at []time.Time
	orders := make([][]int, len(limiters))
	var wg sync.WaitGroup
	for i, l := range limiters {
		for caller := range 100 {
			wg.Go(func() {
				err := l.Wait(ctx, postKey+"/D1")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					at = append(at, time.Now())
					orders[i] = append(orders[i], caller)
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
			q, c := l.acquire(postKey + "/D1")
			await(t, q, func() bool {
				mu.Lock()
				defer mu.Unlock()
				return c.limit.waiting+len(orders[i]) > caller
			})
			q.release(c)
		}
	}
	var others []string
	for i := range 100 {
		others = append(others, fmt.Sprint(postKey, "/E", i))
	}
	start := time.Now()
	passed := passKeys(t, limiters[0], others...)
	// D1 uses one of five calls, so the others get 40 per second.
	if got := passed[99]; got > 4*time.Second {
		t.Errorf("time of 100 calls of other conversations: got %v, want about 2.5s", got)
	}
	time.Sleep(time.Until(start.Add(3 * time.Second)))
	cancel()
	wg.Wait()
	slices.SortFunc(at, time.Time.Compare)
	for i := 3; i+20 < len(at); i++ {
		if got, want := at[i+20].Sub(at[i]), 17*minute/60; got < want {
			t.Errorf("time from call %d to %d of the conversation: got %v, want at least %v", i, i+20, got, want)
		}
	}
	if least := 25; len(at) < least {
		t.Errorf("calls of the conversation: got %d, want at least %d", len(at), least)
	}
	for i, order := range orders {
		if 4*len(order) < len(at) || !slices.IsSorted(order) {
			t.Errorf("limiter %d: got callers %v of the conversation, want a quarter of %d in order", i, order, len(at))
		}
	}
}

// A caller that waits for its conversation gives up the place of its process in the
// queue of the method.
func TestConversationGivesUpPlace(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 10 * time.Second
	opts := []Option{
		WithTier(postKey, chatdm.Tier{PerMinute: 20, Burst: 1}), WithTier(postKey+"/*", chatdm.Tier{PerMinute: 2, Burst: 1}),
	}
	a, b := newLimiter(t, s.client(t), t.Name(), minute, opts...), newLimiter(t, s.client(t), t.Name(), minute, opts...)
	b.timing.lateness = time.Minute
	passKeys(t, a, postKey+"/D1")
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() { _ = b.Wait(ctx, postKey+"/D2") }) // its turn is in 500 ms
	q := b.queue(postKey)
	await(t, q, func() bool { return q.limit.placed })
	a.Limited(t.Context(), postKey+"/D2", time.Minute)
	start := time.Now()
	passKeys(t, a, postKey+"/D3", postKey+"/D4", postKey+"/D5")
	if got := time.Since(start); got > 3*time.Second {
		t.Errorf("time of 3 calls at one every 500 ms: got %v, want at most 3s", got)
	}
	cancel()
	wg.Wait()
}

// A 429 for a conversation pauses it in all processes. A 429 for another conversation
// during that pause pauses the method.
func TestLimitedPausesConversation(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 2 * time.Second
	a, b := newLimiter(t, s.client(t), t.Name(), minute), newLimiter(t, s.client(t), t.Name(), minute)
	start := time.Now()
	a.Limited(t.Context(), postKey+"/D1", 2*time.Second)
	a.Limited(t.Context(), postKey+"/D1", 2*time.Second)
	passKeys(t, b, postKey+"/D2", postKey)
	if got, want := time.Since(start), time.Second; got > want {
		t.Errorf("calls of another conversation: got them after %v, want at most %v", got, want)
	}
	b.Limited(t.Context(), postKey+"/D2", time.Second)
	for _, tt := range []struct {
		key  string
		want time.Duration
	}{{postKey + "/D3", time.Second}, {postKey + "/D1", 2 * time.Second}} {
		key, want := tt.key, tt.want
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if err := a.Wait(ctx, key); !errors.Is(err, chatdm.KindRateLimited) {
			t.Errorf("%s during the pause: got %v, want KindRateLimited", key, err)
		}
		cancel()
		passKeys(t, a, key)
		if got := time.Since(start); got < want {
			t.Errorf("%s: got a call after %v, want at least %v", key, got, want)
		}
	}
}

func TestConversationScripts(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	newLimiter(t, client, t.Name()+"-0", time.Second).Limited(t.Context(), closeKey, time.Microsecond) // loads the script
	var scripts scriptCounter
	client.AddHook(&scripts)
	opts := WithTier(postKey, chatdm.Tier{PerMinute: 60, Burst: 60})
	a, b := newLimiter(t, client, t.Name(), 6*time.Second, opts), newLimiter(t, client, t.Name(), 6*time.Second, opts)
	passKeys(t, a, postKey+"/D1", postKey+"/D1", postKey+"/D1")
	passKeys(t, b, postKey+"/D1", postKey+"/D2")
	passKeys(t, a, postKey+"/D2", postKey+"/D2", postKey+"/D2", postKey+"/D2")
	// The first call of b, and one of a for D2, find out that they have to wait. The others
	// need one script each, although most have to wait: the limiter knows for how long.
	if got := scripts.n.Load(); got < 9 || got > 12 {
		t.Errorf("scripts for 9 calls: got %d, want 9 to 12", got)
	}
}

// If Redis is unavailable, the local fallback enforces the limit per conversation, too,
// and a caller that waits for a conversation does not block others.
func TestConversationLocalFallback(t *testing.T) {
	t.Parallel()
	client := newClient("127.0.0.1:1")
	defer client.Close()
	const minute = 6 * time.Second
	l := newLimiter(t, client, t.Name(), minute, WithLocalFallback(0.5), WithTier(postKey, chatdm.Tier{PerMinute: 600}))
	passKeys(t, l, postKey+"/D1")
	wait := make(chan time.Duration, 1)
	go func() { wait <- passKeys(t, l, repeat(postKey+"/D1", 5)...)[4] }()
	at := passKeys(t, l, postKey+"/D2", postKey+"/D3", postKey+"/D4", postKey+"/D5", postKey, postKey+"/D6")
	if got := at[5]; got > 500*time.Millisecond {
		t.Errorf("time of 6 calls at one every 20 ms: got %v, want at most 500ms", got)
	}
	if got := <-wait; got < 900*time.Millisecond || got > 2*time.Second {
		t.Errorf("time of 5 calls of a conversation at one every 200 ms: got %v, want about 1s", got)
	}
}

// After many conversations, all keys in Redis expire, and the limiter forgets them.
func TestConversationsAreForgotten(t *testing.T) {
	t.Parallel()
	client := ownServer(t).client(t)
	const minute, conversations = time.Second, 2000
	l := newLimiter(t, client, t.Name(), minute, WithTier(postKey, chatdm.Tier{PerMinute: 100_000}))
	q := l.findOrCreateQueue(postKey)
	count := func() int {
		q.mu.Lock()
		defer q.mu.Unlock()
		return len(q.conversations)
	}
	var most int
	for i := range conversations {
		passKeys(t, l, fmt.Sprint(postKey, "/D", i))
		most = max(most, count())
		if i%500 == 0 {
			checkExpiry(t, client, 2*minute)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() { _ = l.Wait(ctx, postKey+"/D1") })
	}
	time.Sleep(50 * time.Millisecond)
	checkExpiry(t, client, 2*minute)
	cancel()
	wg.Wait()
	time.Sleep(3 * minute)
	if n := client.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("got %d keys in Redis after 3 minutes, want 0", n)
	}
	if n := count(); n != 0 {
		t.Errorf("got %d conversations after 3 minutes, want 0 (there were %d)", n, most)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sweeping {
		t.Error("got a scheduled sweep, want none")
	}
}

// checkExpiry checks that each key expires in time.
func checkExpiry(t *testing.T, client *redis.Client, most time.Duration) {
	t.Helper()
	for _, key := range client.Keys(t.Context(), "*").Val() {
		if ttl := client.PTTL(t.Context(), key).Val(); ttl == -1 || ttl > most {
			t.Errorf("%s: got a TTL of %v, want at most %v", key, ttl, most)
		}
	}
}
