//go:build unix

package chatdmredis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

var _ chatdm.Limiter = (*Limiter)(nil)

func TestNewLimiterValidatesArguments(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	for _, name := range []string{"T012AB3C4/A0KRD7HC3", "prod:acme", "büro", strings.Repeat("x", 200)} {
		if _, err := NewLimiter(client, name, nil, WithTimeout(time.Hour)); err != nil {
			t.Errorf("NewLimiter(%q): got %v, want nil", name, err)
		}
	}
	reject := func(want string, client redis.UniversalClient, name string, opts ...Option) {
		t.Helper()
		l, err := NewLimiter(client, name, opts...)
		if l != nil || !errors.Is(err, chatdm.KindInvalidRequest) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("NewLimiter(%q): got %v, %v, want KindInvalidRequest that contains %q", name, l, err, want)
		}
	}
	reject("chatdmredis NewLimiter", nil, "T1")
	reject("client: must not be nil", nil, "T1")
	reject("name: got 0 bytes, want 1 to 200", client, "")
	reject("name: got 201 bytes, want 1 to 200", client, strings.Repeat("x", 201))
	reject("name: must be valid UTF-8", client, "a\xff")
	for _, name := range []string{"a b", "a\nb", "a\x00b", "{a", "a}"} {
		reject("want no white space, control characters, or braces", client, name)
	}
	for _, timeout := range []time.Duration{0, -1, time.Hour + 1, math.MaxInt64} {
		reject("WithTimeout: got", client, "T1", WithTimeout(timeout))
	}
	for _, key := range []string{"conversations.close", "", "Slack.im.open"} {
		reject(`must start with "slack." or "rocketchat."`, client, "T1", WithTier(key, chatdm.Tier{PerMinute: 20}))
	}
	for _, n := range []int{-1, math.MinInt, 1_000_001, math.MaxInt32, math.MaxInt} {
		reject(fmt.Sprintf("slack.conversations.close: PerMinute: got %d, want 0 to 1000000", n), client, "T1",
			WithTier(closeKey, chatdm.Tier{PerMinute: n}), WithLocalFallback(1))
	}
	reject("rocketchat.im.close: Burst: got -1, want 0 or more", client, "T1",
		WithTier("rocketchat.im.close", chatdm.Tier{PerMinute: 10, Burst: -1}))
	for _, prefix := range []string{"{}", "{}:", "a{}b", "{}{chatdm}:"} {
		reject("WithPrefix: got \""+prefix+"\", want no empty hash tag", client, "T1", WithPrefix(prefix))
	}
	for _, prefix := range []string{"", "{a}:", "{", "}", "}{", "a{b", "{a}{}"} {
		if _, err := NewLimiter(client, "T1", WithPrefix(prefix)); err != nil {
			t.Errorf("WithPrefix(%q): got %v, want nil", prefix, err)
		}
	}
	for _, share := range []float64{0, -0.1, 1.1, math.NaN(), math.Inf(1)} {
		reject("WithLocalFallback: share must be", client, "T1", WithLocalFallback(share))
	}
}

func TestKeysWithoutTierDoNotUseRedis(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	l, err := NewLimiter(client, "T1", WithTier(closeKey, chatdm.Tier{}), WithTier("slack.x", chatdm.Tier{}), WithLocalFallback(1))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, key := range []string{closeKey, "slack.x", "rocketchat.im.delete"} {
		l.Limited(ctx, key, time.Hour)
		if err := l.Wait(ctx, key); err != nil {
			t.Errorf("%s: got %v, want nil", key, err)
		}
	}
	cancel()
	if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a canceled context: got %v, want context.Canceled", err)
	}
}

// A Limiter has the same tiers and bursts as a chatdm.TierLimiter.
func TestDefaultTiers(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	l, err := NewLimiter(client, "T1")
	if err != nil {
		t.Fatal(err)
	}
	for key, published := range chatdm.SlackTiers() {
		method, _, isConversation := strings.Cut(key, "/")
		tier := l.findOrCreateQueue(method).newLimit(published, "").tier
		if isConversation {
			key = method + "/D1"
			_, c := l.acquire(key)
			tier = c.limit.tier
		}
		local := chatdm.NewTierLimiter()
		// The timeout is shorter than the interval of the fastest method.
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Millisecond)
		for i := range tier.Burst + 1 {
			if err := local.Wait(ctx, key); (err != nil) != (i == tier.Burst) {
				t.Errorf("%s: TierLimiter, call %d: got %v, want a burst of %d", key, i+1, err, tier.Burst)
			}
		}
		cancel()
		want := published
		if want.Burst == 0 {
			want.Burst = max(1, published.PerMinute/5)
		}
		if tier != want {
			t.Errorf("%s: got %+v, want %+v", key, tier, want)
		}
	}
}

func TestDefaultTiming(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	check := func(window time.Duration, opts ...Option) {
		t.Helper()
		l, err := NewLimiter(client, "T1", opts...)
		if err != nil {
			t.Fatal(err)
		}
		want := timing{
			minute: time.Minute, window: window, lateness: time.Second,
			recovery: 5 * time.Minute, checkInterval: 5 * time.Second, retryInterval: 3 * time.Second,
		}
		if l.timing != want {
			t.Errorf("got %+v, want %+v", l.timing, want)
		}
	}
	check(61 * time.Second)
	check(62500*time.Millisecond, WithTimeout(2*time.Second))
}

// passCalls calls Wait n times in a row and returns the times when it returned.
func passCalls(t *testing.T, l *Limiter, n int) []time.Time {
	t.Helper()
	var at []time.Time
	for range n {
		if err := l.Wait(t.Context(), closeKey); err != nil {
			t.Fatal(err)
		}
		at = append(at, time.Now())
	}
	return at
}

// checkTier fails the test if more calls passed within a minute than the tier
// allows. It tolerates a minute that is a tenth too short, because a busy machine
// may record a call late.
func checkTier(t *testing.T, at []time.Time, calls int, minute time.Duration) {
	t.Helper()
	for i := calls; i < len(at); i++ {
		if got, want := at[i].Sub(at[i-calls]), minute*9/10; got < want {
			t.Errorf("time from call %d to %d: got %v, want at least %v", i-calls, i, got, want)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	const calls, minute = 20, 2 * time.Second
	client := sharedServer(t).client(t)
	// On a slow machine, calls are late and then catch up in a burst, so one good
	// attempt out of three is enough. The tier applies to each attempt.
	for try := 1; ; try++ {
		l := newLimiter(t, client, fmt.Sprint(t.Name(), "-", try), minute)
		at := passCalls(t, l, 3*calls+1)
		checkTier(t, at, calls, minute)
		if n := client.ZCard(t.Context(), l.queue(closeKey).limit.redisKeys[1]).Val(); n > calls {
			t.Errorf("calls in Redis: got %d, want at most %d", n, calls)
		}
		var problem string
		// After the first burst, the pace is even. There is no burst in each minute.
		for i := calls; i+4 < len(at); i++ {
			if got, want := at[i+4].Sub(at[i]), 2*minute/calls; got < want {
				problem = fmt.Sprintf("time from call %d to %d: got %v, want at least %v", i, i+4, got, want)
			}
		}
		if got, want := at[len(at)-1].Sub(at[0]), 3*minute*13/10; got > want {
			problem = fmt.Sprintf("time of %d calls: got %v, want at most %v", len(at), got, want)
		}
		if problem == "" {
			return
		}
		if try == 3 {
			t.Fatal(problem)
		}
		t.Log(problem)
	}
}

func TestPaceOfOneCallPerMinute(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, sharedServer(t).client(t), t.Name(), time.Second,
		WithTier(closeKey, chatdm.Tier{PerMinute: 1, Burst: 5}))
	start := time.Now()
	passCalls(t, l, 3)
	if got := time.Since(start); got < 2*time.Second || got > 4*time.Second {
		t.Errorf("time of 3 calls at 1 per second: got %v, want 2s to 4s", got)
	}
}

// enqueue starts n goroutines that call Wait one after the other, before the first
// call passes. It returns a function that waits for them and returns the order in
// which their calls passed.
func enqueue(t *testing.T, l *Limiter, n int) (order func() []int) {
	t.Helper()
	var mu sync.Mutex
	var passed []int
	var wg sync.WaitGroup
	q := l.queue(closeKey)
	for i := range n {
		wg.Go(func() {
			if err := l.Wait(t.Context(), closeKey); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			passed = append(passed, i)
		})
		await(t, q, func() bool { return q.limit.waiting > i })
	}
	return func() []int {
		wg.Wait()
		return passed
	}
}

// await waits until condition is true, for at most ten seconds. It holds q.mu while it
// calls condition.
func await(t *testing.T, q *queue, condition func() bool) {
	t.Helper()
	for range 2000 {
		q.mu.Lock()
		done := condition()
		q.mu.Unlock()
		if done {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the condition is false after 10 seconds")
}

func TestWaitServesCallersInOrder(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, sharedServer(t).client(t), t.Name(), 2*time.Second,
		WithTier(closeKey, chatdm.Tier{PerMinute: 20, Burst: 1}))
	l.Limited(t.Context(), closeKey, 2*time.Second)
	if order := enqueue(t, l, 20)(); !slices.IsSorted(order) {
		t.Errorf("order: got %v, want sorted", order)
	}
}

func TestLimitedPausesAndSlowsAllLimiters(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 2 * time.Second
	a, b := newLimiter(t, s.client(t), t.Name(), minute), newLimiter(t, s.client(t), t.Name(), minute)
	passCalls(t, b, 1)
	start := time.Now()
	a.Limited(t.Context(), closeKey, 2*time.Second)

	// Limiters with other names, and other keys, are not paused.
	otherName := newLimiter(t, s.client(t), t.Name()+"-2", minute)
	passCalls(t, otherName, 1)
	if err := a.Wait(t.Context(), "slack.im.open"); err != nil {
		t.Error(err)
	}
	if got, want := time.Since(start), 1500*time.Millisecond; got > want {
		t.Errorf("wait of another name and another key: got %v, want at most %v", got, want)
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c := newLimiter(t, s.client(t), t.Name(), minute) // learns about the pause only from Redis
	c.timing.recovery = time.Hour
	if err := c.Wait(ctx, closeKey); !errors.Is(err, chatdm.KindRateLimited) || ctx.Err() != nil {
		t.Errorf("Wait with a deadline before the end of the pause: got %v, want KindRateLimited immediately", err)
	}
	passCalls(t, b, 1)
	if got := time.Since(start); got < 2*time.Second || got > 4*time.Second {
		t.Errorf("wait during the pause: got %v, want 2s to 4s", got)
	}

	// In the next minute, 16 of 20 calls pass.
	time.Sleep(minute)
	at := passCalls(t, c, 18)
	if got, want := at[17].Sub(at[0]), minute*9/10; got < want {
		t.Errorf("time of 18 calls after a 429: got %v, want at least %v", got, want)
	}
}

func TestLimitedDelaysCallThatHasSlot(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 4 * time.Second
	tier := WithTier(closeKey, chatdm.Tier{PerMinute: 4, Burst: 1})
	a, b := newLimiter(t, s.client(t), t.Name(), minute, tier), newLimiter(t, s.client(t), t.Name(), minute, tier)
	passCalls(t, b, 1)
	wait := enqueue(t, b, 1) // its slot is in a second
	time.Sleep(200 * time.Millisecond)
	start := time.Now()
	a.Limited(t.Context(), closeKey, 2*time.Second)
	wait()
	if got := time.Since(start); got < 2*time.Second || got > 4*time.Second {
		t.Errorf("wait of a call that has a slot: got %v, want 2s to 4s", got)
	}
}

// checkWaitExceedsDeadline checks that Wait fails immediately if its deadline is in d, because the
// wait would be longer than d.
func checkWaitExceedsDeadline(t *testing.T, l *Limiter, d time.Duration) *chatdm.Error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	start := time.Now()
	err := l.Wait(ctx, closeKey)
	if got := time.Since(start); got > d {
		t.Errorf("Wait took %v, want an error immediately", got)
	}
	e, ok := errors.AsType[*chatdm.Error](err)
	if !ok || e.Kind != chatdm.KindRateLimited || !errors.Is(err, context.DeadlineExceeded) || e.RetryAfter <= d {
		t.Fatalf("got %v, want KindRateLimited with a RetryAfter of more than %v", err, d)
	}
	if e.Service != "limiter" { // a client depends on this name
		t.Errorf("Service: got %q, want %q", e.Service, "limiter")
	}
	return e
}

func TestWaitThatWouldExceedDeadlineFailsImmediately(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, sharedServer(t).client(t), t.Name(), time.Minute)
	passCalls(t, l, 4) // the burst
	checkWaitExceedsDeadline(t, l, time.Second)

	// Behind ten waiting callers, the wait is 33 seconds: one call every 3 seconds. Their
	// own deadlines are late enough.
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want context.Canceled", err)
			}
		})
	}
	q := l.queue(closeKey)
	await(t, q, func() bool { return q.limit.waiting == 10 && q.limit.placed })
	if e := checkWaitExceedsDeadline(t, l, 20*time.Second); e.RetryAfter <= 30*time.Second || e.RetryAfter > 33*time.Second {
		t.Errorf("RetryAfter behind 10 callers: got %v, want 30s to 33s", e.RetryAfter)
	}
	start := time.Now()
	cancel()
	wg.Wait()
	if got, want := time.Since(start), time.Second; got > want {
		t.Errorf("time until all callers returned after the cancellation: got %v, want at most %v", got, want)
	}

	// The next caller gets the turn of a caller that gave up.
	soon, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
	defer cancel()
	if err := l.Wait(soon, closeKey); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	l.Limited(t.Context(), closeKey, time.Hour)
	checkWaitExceedsDeadline(t, l, time.Minute)
}

// A call whose deadline is too early takes no slot from other limiters, and each
// limiter runs only one script for ten such calls.
func TestWaitThatWouldExceedDeadlineReservesNothing(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	passCalls(t, newLimiter(t, client, t.Name(), time.Minute), 4) // the burst
	var scripts scriptCounter
	client.AddHook(&scripts)
	for range 2 {
		l := newLimiter(t, client, t.Name(), time.Minute)
		for range 10 {
			if e := checkWaitExceedsDeadline(t, l, 2*time.Second); e.RetryAfter > 3*time.Second {
				t.Errorf("RetryAfter: got %v, want at most 3s", e.RetryAfter)
			}
		}
	}
	if got := scripts.n.Load(); got != 2 {
		t.Errorf("scripts: got %d, want 2 for 2 limiters", got)
	}

	// The bucket has a token within 30 seconds, but the window is full.
	full := newLimiter(t, client, t.Name()+"-full", time.Minute, WithTier(closeKey, chatdm.Tier{PerMinute: 4, Burst: 4}))
	passCalls(t, full, 4)
	scripts.n.Store(0)
	for range 10 {
		checkWaitExceedsDeadline(t, full, 30*time.Second)
	}
	if got := scripts.n.Load(); got > 1 {
		t.Errorf("scripts: got %d, want at most 1", got)
	}
}

// scriptCounter counts the scripts that a Redis client runs.
type scriptCounter struct{ n atomic.Int64 }

func (c *scriptCounter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *scriptCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			c.n.Add(1)
		}
		return next(ctx, cmd)
	}
}
func (c *scriptCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestScriptsPerCall(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	// Load the script, so that the first EVALSHA succeeds.
	newLimiter(t, client, t.Name()+"-0", time.Second).Limited(t.Context(), closeKey, time.Microsecond)
	var scripts scriptCounter
	client.AddHook(&scripts)
	l := newLimiter(t, client, t.Name(), 2*time.Second)
	passCalls(t, l, 4)
	if got := scripts.n.Load(); got != 4 {
		t.Errorf("scripts for the 4 calls of the burst: got %d, want 4", got)
	}
	// Many waiting goroutines need no more scripts than one.
	const calls = 26
	scripts.n.Store(0)
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() { passCalls(t, l, 1) })
	}
	wg.Wait()
	// Two per call, and more for the long wait when the window is full.
	if got := scripts.n.Load(); got > 4*calls {
		t.Errorf("scripts for %d waiting calls: got %d, want at most %d", calls, got, 4*calls)
	}
}

func TestRedisKeys(t *testing.T) {
	t.Parallel()
	client := ownServer(t).client(t)
	l := newLimiter(t, client, "T1/A1", time.Minute, WithPrefix("acme:"))
	passCalls(t, l, 3)
	if err := l.Wait(t.Context(), "slack.im.open"); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	want := []string{
		"acme:{T1/A1:slack.conversations.close}:calls", "acme:{T1/A1:slack.conversations.close}:state",
		"acme:{T1/A1:slack.im.open}:calls", "acme:{T1/A1:slack.im.open}:state",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("keys: got %q, want %q", keys, want)
	}
	calls := client.ZRange(t.Context(), want[0], 0, -1).Val()
	if want := []string{l.id + ":0", l.id + ":1", l.id + ":2"}; !slices.Equal(calls, want) {
		t.Errorf("calls: got %q, want %q", calls, want)
	}
	checkTTL := func(least, most time.Duration) {
		t.Helper()
		for _, key := range want[:2] {
			if got := client.PTTL(t.Context(), key).Val(); got < least || got > most {
				t.Errorf("TTL of %s: got %v, want %v to %v", key, got, least, most)
			}
		}
	}
	checkTTL(time.Minute, 8*time.Minute)
	l.Limited(t.Context(), closeKey, time.Hour)
	checkTTL(time.Hour, time.Hour+8*time.Minute)
}

// On a cluster of three nodes, each method has its keys on one node. If a node is killed,
// the methods on the others continue.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	var servers []*server
	var nodes []*redis.Client
	var addrs []string
	for i := range 3 {
		s := ownServer(t, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no")
		servers, nodes, addrs = append(servers, s), append(nodes, s.client(t)), append(addrs, s.addr)
		first, last := i*5462, min(i*5462+5461, 16383)
		if err := nodes[i].ClusterAddSlotsRange(t.Context(), first, last).Err(); err != nil {
			t.Skip("cannot create a cluster: ", err)
		}
		if err := nodes[i].Do(t.Context(), "cluster", "set-config-epoch", i+1).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range servers[1:] {
		host, port, _ := net.SplitHostPort(s.addr)
		if err := nodes[0].ClusterMeet(t.Context(), host, port).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ready := 0
		for _, node := range nodes {
			info := node.ClusterInfo(t.Context()).Val()
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_assigned:16384") {
				ready++
			}
		}
		if ready == len(nodes) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the cluster is not ready after 20 seconds: ", nodes[0].ClusterInfo(t.Context()).Val())
		}
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, MaxRedirects: -1, ReadTimeout: time.Second})
	defer client.Close()
	l := newLimiter(t, client, t.Name(), time.Second)
	tagged := newLimiter(t, client, t.Name(), time.Second, WithPrefix("{chatdm}:"))
	unclosed := newLimiter(t, client, t.Name(), time.Second, WithPrefix("a{b:"))
	passAll := func(l *Limiter) (failed int) {
		for key := range chatdm.SlackTiers() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := l.Wait(ctx, strings.Replace(key, "*", "D1", 1)); err != nil {
				if failed++; !errors.Is(err, ErrUnavailable) {
					t.Errorf("%s: got %v, want ErrUnavailable or nil", key, err)
				}
			}
			cancel()
		}
		return failed
	}
	for range 3 {
		if failed := passAll(l) + passAll(tagged) + passAll(unclosed); failed > 0 {
			t.Errorf("got %d failed calls, want 0", failed)
		}
	}
	for _, node := range nodes {
		if n := node.DBSize(t.Context()).Val(); n == 0 {
			t.Error("got a node without keys, want keys on each of three nodes")
		}
	}
	start := time.Now()
	passCalls(t, l, 30) // 20 calls per second
	if got := time.Since(start); got < 400*time.Millisecond {
		t.Errorf("time of 30 calls: got %v, want at least 400ms", got)
	}
	servers[0].kill()
	if failed, all := passAll(l), len(chatdm.SlackTiers()); failed == 0 || failed >= all {
		t.Errorf("without one of three nodes: got %d of %d failed calls, want some", failed, all)
	}
}

// eventuallyPass calls Wait until it succeeds, for at most five seconds.
func eventuallyPass(t *testing.T, l *Limiter) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		err := l.Wait(t.Context(), closeKey)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 5 seconds: got %v, want nil", err)
		}
	}
}
