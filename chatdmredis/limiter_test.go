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
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

var _ chatdm.Limiter = (*Limiter)(nil)

func TestNewLimiter(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	for _, name := range []string{"T012AB3C4/A0KRD7HC3", "prod:acme", "büro", strings.Repeat("x", 200)} {
		if _, err := NewLimiter(client, name, nil); err != nil {
			t.Errorf("NewLimiter(%q): %v", name, err)
		}
	}
	bad := func(want string, client redis.UniversalClient, name string, opts ...Option) {
		t.Helper()
		l, err := NewLimiter(client, name, opts...)
		if l != nil || !errors.Is(err, chatdm.KindInvalidRequest) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("NewLimiter(%q) = %v, %v; want an error with %q", name, l, err, want)
		}
	}
	bad("redis client", nil, "T1")
	for _, name := range []string{"", strings.Repeat("x", 201), "a\xff"} {
		bad("1 to 200 bytes", client, name)
	}
	for _, name := range []string{"a b", "a\nb", "{a", "a}"} {
		bad("white space", client, name)
	}
	bad("WithTimeout", client, "T1", WithTimeout(0))
	for key, tier := range map[string]chatdm.Tier{
		"conversations.close": {PerMinute: 20}, "": {}, closeKey: {PerMinute: -1}, "rocketchat.im.close": {PerMinute: 10, Burst: -1},
	} {
		bad("WithTier", client, "T1", WithTier(key, tier))
	}
	for _, share := range []float64{0, -0.1, 1.1, math.NaN()} {
		bad("WithLocalFallback", client, "T1", WithLocalFallback(share))
	}
}

// TestFree: what has no tier needs no Redis.
func TestFree(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	l, err := NewLimiter(client, "T1", WithTier(closeKey, chatdm.Tier{}), WithTier("slack.x", chatdm.Tier{}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	for _, key := range []string{closeKey, "slack.x", "rocketchat.im.delete"} {
		l.Limited(ctx, key, time.Hour) // of no consequence
		if err := l.Wait(ctx, key); err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled context passed: %v", err)
	}
}

// TestTiers: the published ones, as chatdm.TierLimiter has them.
func TestTiers(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	l, err := NewLimiter(client, "T1")
	if err != nil {
		t.Fatal(err)
	}
	for key, published := range chatdm.SlackTiers() {
		tier := l.line(key).tier
		local := chatdm.NewTierLimiter()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // less than a call of the fastest
		for i := range tier.Burst + 1 {
			if err := local.Wait(ctx, key); (err != nil) != (i == tier.Burst) {
				t.Errorf("%s, call %d: %v", key, i+1, err)
			}
		}
		cancel()
		if tier.PerMinute != published.PerMinute || tier.PerMinute != 5*tier.Burst {
			t.Errorf("%s: %+v, want %+v and a fifth of it at once", key, tier, published)
		}
	}
}

// pass calls Wait n times one after the other and returns when each was let
// pass.
func pass(t *testing.T, l *Limiter, n int) []time.Time {
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

// inOrder fails where more calls than the tier were let pass within a minute,
// less a tenth, as a busy machine may tell of a call too late.
func inOrder(t *testing.T, at []time.Time, calls int, minute time.Duration) {
	t.Helper()
	for i := calls; i < len(at); i++ {
		if apart := at[i].Sub(at[i-calls]); apart < minute*9/10 {
			t.Errorf("calls %d and %d are %v apart, at a tier of %d in %v", i-calls, i, apart, calls, minute)
		}
	}
}

func TestPace(t *testing.T) {
	t.Parallel()
	const calls, minute = 20, 2 * time.Second
	l := newLimiter(t, sharedServer(t).client(t), t.Name(), minute)
	start := time.Now()
	at := pass(t, l, 3*calls+1)
	inOrder(t, at, calls, minute)
	// After the first burst the pace is even, and not a burst in each minute.
	for i := calls; i+4 < len(at); i++ {
		if apart := at[i+4].Sub(at[i]); apart < 2*minute/calls {
			t.Errorf("calls %d to %d within %v", i, i+4, apart)
		}
	}
	if n := l.client.ZCard(t.Context(), l.line(closeKey).keys[1]).Val(); n > calls {
		t.Errorf("Redis keeps %d calls, want those of the last minute", n)
	}
	if took := time.Since(start); took > 3*minute*13/10 {
		t.Errorf("%d calls took %v, want %v", len(at), took, 3*minute)
	}

	// One call a minute, by several who all want it.
	const other = "slack.other"
	slow := newLimiter(t, sharedServer(t).client(t), t.Name(), time.Second, WithTier(other, chatdm.Tier{PerMinute: 1, Burst: 5}))
	start = time.Now()
	for range 3 {
		if err := slow.Wait(t.Context(), other); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 2*time.Second || took > 4*time.Second {
		t.Errorf("three calls at one a second took %v", took)
	}
}

// book has l take a turn that nobody uses.
func book(t *testing.T, l *Limiter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v, want the context's error", err)
	}
}

// TestStaleTurn: one that was not used in time is void.
func TestStaleTurn(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = time.Second
	const calls = 2
	tier := WithTier(closeKey, chatdm.Tier{PerMinute: calls, Burst: calls})
	a, b := newLimiter(t, s.client(t), t.Name(), minute, tier), newLimiter(t, s.client(t), t.Name(), minute, tier)
	at := pass(t, a, calls)
	book(t, a)
	at = append(at, pass(t, b, 1)...)
	time.Sleep(minute / 2)
	at = append(at, pass(t, a, 1)...)
	at = append(at, pass(t, b, calls)...)
	inOrder(t, at, calls, minute)

	// A refusal is stronger than a turn that is not used yet.
	pass(t, a, 1)
	book(t, a)
	a.times.grace = minute
	time.Sleep(time.Until(a.line(closeKey).next) + minute/10)
	start := time.Now()
	b.Limited(t.Context(), closeKey, minute/2)
	pass(t, a, 1)
	if waited := time.Since(start); waited < minute/2 {
		t.Errorf("a refusal held for %v", waited)
	}
}

// inLine has n goroutines come to l one after the other, and returns later in
// which order they were let pass. None may pass before the last has come.
func inLine(t *testing.T, l *Limiter, n int) func() []int {
	t.Helper()
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	q := l.line(closeKey)
	for i := range n {
		wg.Go(func() {
			if err := l.Wait(t.Context(), closeKey); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			order = append(order, i)
		})
		for waiting := 0; waiting < i+1; time.Sleep(5 * time.Millisecond) {
			q.mu.Lock()
			waiting = q.waiting
			q.mu.Unlock()
		}
	}
	return func() []int {
		wg.Wait()
		return order
	}
}

// TestFirstComeFirstServed: inside a process, in the order in which they came.
func TestFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, sharedServer(t).client(t), t.Name(), 2*time.Second, WithTier(closeKey, chatdm.Tier{PerMinute: 20, Burst: 1}))
	l.Limited(t.Context(), closeKey, 2*time.Second)
	if order := inLine(t, l, 20)(); !slices.IsSorted(order) {
		t.Errorf("served in the order %v", order)
	}
}

// TestRefusal: one that a process meets pauses all, and slows all down.
func TestRefusal(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	const minute = 2 * time.Second
	a, b := newLimiter(t, s.client(t), t.Name(), minute), newLimiter(t, s.client(t), t.Name(), minute)
	elsewhere := newLimiter(t, s.client(t), t.Name()+"-2", minute)
	pass(t, b, 5) // more than the burst, so that the next one has to wait
	passed := make(chan time.Time, 1)
	go func() {
		if err := b.Wait(t.Context(), closeKey); err != nil {
			t.Error(err)
		}
		passed <- time.Now()
	}()
	time.Sleep(20 * time.Millisecond) // it has its turn, which the refusal takes away
	start := time.Now()
	a.Limited(t.Context(), closeKey, 2*time.Second)
	pass(t, elsewhere, 1)
	if err := elsewhere.Wait(t.Context(), "slack.im.open"); err != nil {
		t.Error(err)
	}
	if waited := time.Since(start); waited > 1500*time.Millisecond {
		t.Errorf("another name was held for %v", waited)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	c := newLimiter(t, s.client(t), t.Name(), minute) // which has not heard of it
	c.times.recovery = time.Hour
	if err := c.Wait(ctx, closeKey); !errors.Is(err, chatdm.KindRateLimited) || ctx.Err() != nil {
		t.Errorf("want a refusal at once: %v", err)
	}
	if waited := (<-passed).Sub(start); waited < 2*time.Second || waited > 4*time.Second {
		t.Errorf("a turn that was given before the refusal came after %v, want two seconds", waited)
	}
	// 16 of 20 in the minute after it.
	time.Sleep(minute)
	at := pass(t, c, 18)
	if fast := at[17].Sub(at[0]); fast < minute*9/10 {
		t.Errorf("18 calls in %v: the refusal has not slowed the pace", fast)
	}
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	l := newLimiter(t, sharedServer(t).client(t), t.Name(), time.Minute)
	pass(t, l, 4) // the burst
	refuse := func(d time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		start := time.Now()
		err := l.Wait(ctx, closeKey)
		e, ok := errors.AsType[*chatdm.Error](err)
		if !ok || !errors.Is(err, chatdm.KindRateLimited) || !errors.Is(err, context.DeadlineExceeded) || e.RetryAfter <= d {
			t.Errorf("%v, want a KindRateLimited with more than %v", err, d)
		} else if e.Service != "limiter" { // by which a client knows not to say it twice
			t.Errorf("the Service is %q", e.Service)
		}
		if took := time.Since(start); took > d {
			t.Errorf("refused after %v, want at once", took)
		}
	}
	refuse(time.Second) // the next turn is in three

	// Who is refused takes no turn from another process, and asks Redis once.
	client := sharedServer(t).client(t)
	var c counting
	client.AddHook(&c)
	soon, end := context.WithTimeout(t.Context(), 2*time.Second)
	defer end()
	for range 2 {
		other := newLimiter(t, client, t.Name(), time.Minute)
		for range 10 {
			if e, ok := errors.AsType[*chatdm.Error](other.Wait(soon, closeKey)); !ok || e.RetryAfter > 3*time.Second {
				t.Errorf("%v, want the next turn in three seconds", e)
			}
		}
	}
	if n := c.n.Load(); n != 2 {
		t.Errorf("%d operations, want one for each limiter", n)
	}
	full := newLimiter(t, client, t.Name()+"-full", time.Minute, WithTier(closeKey, chatdm.Tier{PerMinute: 4, Burst: 4}))
	pass(t, full, 4)
	c.n.Store(0)
	later, end := context.WithTimeout(t.Context(), 30*time.Second) // there is a token by then, but the minute is full
	defer end()
	for range 10 {
		if err := full.Wait(later, closeKey); !errors.Is(err, chatdm.KindRateLimited) {
			t.Errorf("%v, want a refusal", err)
		}
	}
	if n := c.n.Load(); n != 1 {
		t.Errorf("%d operations, want one", n)
	}

	// Behind ten others it takes half a minute.
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	refuse(20 * time.Second)
	refuse(time.Second)
	start := time.Now()
	cancel()
	wg.Wait()
	if took := time.Since(start); took > time.Second {
		t.Errorf("they left after %v", took)
	}

	// The turn of who left is the next one's; it is not lost, and needs no other.
	soon, end = context.WithTimeout(t.Context(), 3500*time.Millisecond)
	defer end()
	if err := l.Wait(soon, closeKey); err != nil {
		t.Error(err)
	}
	l.Limited(t.Context(), closeKey, time.Hour)
	refuse(time.Minute)
}

// counting counts the scripts that are run.
type counting struct{ n atomic.Int64 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if strings.HasPrefix(cmd.Name(), "eval") {
			c.n.Add(1)
		}
		return next(ctx, cmd)
	}
}
func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestOperationsPerCall(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	newLimiter(t, client, t.Name()+"-0", time.Second).Limited(t.Context(), closeKey, 1) // the script is known
	var c counting
	client.AddHook(&c)
	l := newLimiter(t, client, t.Name(), 2*time.Second)
	pass(t, l, 4)
	if n := c.n.Load(); n != 4 {
		t.Errorf("%d operations for the 4 calls of the burst, want one each", n)
	}
	// Many who wait cost no more than one.
	const calls = 26
	c.n.Store(0)
	var wg sync.WaitGroup
	for range calls {
		wg.Go(func() { pass(t, l, 1) })
	}
	wg.Wait()
	// The end of a window is a wait of several looks.
	if n := c.n.Load(); n > 4*calls {
		t.Errorf("%d operations for %d calls that waited, want two each and a few", n, calls)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	client := ownServer(t).client(t)
	l := newLimiter(t, client, "T1/A1", time.Minute, WithPrefix("acme:"))
	pass(t, l, 3)
	if err := l.Wait(t.Context(), "slack.im.open"); err != nil {
		t.Fatal(err)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	want := []string{
		"acme:{T1/A1:slack.conversations.close}:state", "acme:{T1/A1:slack.conversations.close}:turns",
		"acme:{T1/A1:slack.im.open}:state", "acme:{T1/A1:slack.im.open}:turns",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("keys %q, want %q", keys, want)
	}
	expire := func(least, most time.Duration) {
		t.Helper()
		for _, key := range want[:2] {
			if ttl := client.PTTL(t.Context(), key).Val(); ttl < least || ttl > most {
				t.Errorf("%s expires in %v, want %v to %v", key, ttl, least, most)
			}
		}
	}
	expire(time.Minute, 8*time.Minute)
	l.Limited(t.Context(), closeKey, time.Hour)
	expire(time.Hour, time.Hour+8*time.Minute)
}

// TestLostState: who was let pass before knows that Redis has forgotten it.
func TestLostState(t *testing.T) {
	t.Parallel()
	const calls, minute = 20, 2 * time.Second
	client := ownServer(t).client(t)
	a, b := newLimiter(t, client, t.Name(), minute), newLimiter(t, client, t.Name(), minute)
	for _, lose := range []func(){
		func() { client.FlushAll(t.Context()); client.ScriptFlush(t.Context()) },
		func() { // the clock was set back by an hour
			seen := time.Now().Add(time.Hour).UnixMicro()
			client.HSet(t.Context(), a.line(closeKey).keys[0], "seen", seen, "tat", seen)
			client.ZAdd(t.Context(), a.line(closeKey).keys[1], redis.Z{Score: float64(seen), Member: "x"})
		},
	} {
		time.Sleep(minute)
		var mu sync.Mutex
		var at []time.Time
		record := func(l *Limiter, n int) {
			for range n {
				got := pass(t, l, 1)
				mu.Lock()
				at = append(at, got...)
				mu.Unlock()
			}
		}
		record(a, 7)
		record(b, 7)
		lose()
		var wg sync.WaitGroup
		wg.Go(func() { record(a, 10) })
		wg.Go(func() { record(b, 10) })
		wg.Wait()
		slices.SortFunc(at, time.Time.Compare)
		inOrder(t, at, calls, minute)
		if took := at[len(at)-1].Sub(at[0]); took > 3*minute {
			t.Errorf("%d calls took %v", len(at), took)
		}
	}
}

func TestCluster(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "--cluster-enabled", "yes")
	node := s.client(t)
	if err := node.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err(); err != nil {
		t.Skip("no cluster: ", err)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{s.addr}})
	defer client.Close()
	l := newLimiter(t, client, t.Name(), time.Second)
	deadline := time.Now().Add(5 * time.Second)
	for l.Wait(t.Context(), closeKey) != nil { // CLUSTERDOWN at first
		if time.Now().After(deadline) {
			t.Fatal(l.Wait(t.Context(), closeKey))
		}
	}
	pass(t, l, 10)
}

// unavailable checks the error of a Redis that does not work, also as the
// client has it.
func unavailable(t *testing.T, l *Limiter) error {
	t.Helper()
	start := time.Now()
	err := l.Wait(t.Context(), closeKey)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	if took := time.Since(start); took > l.timeout+time.Second {
		t.Errorf("failed after %v, want %v", took, l.timeout)
	}
	client, e := chatdm.NewClient("xoxb-1", chatdm.WithBaseURL("http://127.0.0.1:1"), chatdm.WithLimiter(l))
	if e != nil {
		t.Fatal(e)
	}
	_, e = client.Conversations.Close(t.Context(), "D1")
	if !errors.Is(e, chatdm.KindUnavailable) || !errors.Is(e, ErrUnavailable) {
		t.Errorf("%v, want KindUnavailable", e)
	}
	l.Limited(t.Context(), closeKey, time.Millisecond) // must not hang either
	return err
}

func TestRedisGone(t *testing.T) {
	t.Parallel()
	// The Redis client's own way takes longer.
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	t.Log(unavailable(t, newLimiter(t, client, t.Name(), time.Second, WithTimeout(300*time.Millisecond))))

	// One that does not try again by itself has time to say why.
	once := newClient("127.0.0.1:1")
	defer once.Close()
	err := unavailable(t, newLimiter(t, once, t.Name(), time.Second))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, want the reason", err)
	}
}

// TestRedisSilent: something listens, and never answers.
func TestRedisSilent(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	client := newClient(silent.Addr().String())
	defer client.Close()
	l := newLimiter(t, client, t.Name(), time.Second, WithTimeout(200*time.Millisecond))
	t.Log(unavailable(t, l))

	// The caller's own end comes first.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx, closeKey); !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's", err)
	}
}

// TestRedisStops: it is frozen while many wait, and goes on after some time.
func TestRedisStops(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	const minute = 8 * time.Second
	l := newLimiter(t, s.client(t), t.Name(), minute, WithTimeout(500*time.Millisecond))
	pass(t, l, 4)
	s.signal(t, syscall.SIGSTOP)
	start := time.Now()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := l.Wait(t.Context(), closeKey); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	// At most the end of the operation of who was before, and its own.
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("50 callers failed within %v, want half a second", took)
	}
	for range 3 { // these operations are still on their way to Redis
		unavailable(t, l)
	}
	s.signal(t, syscall.SIGCONT)
	deadline := time.Now().Add(5 * time.Second)
	for l.Wait(t.Context(), closeKey) != nil {
		if time.Now().After(deadline) {
			t.Fatal("does not come back")
		}
	}
	// What was given up has taken no turns away.
	start = time.Now()
	pass(t, l, 4)
	if took := time.Since(start); took > minute/5 {
		t.Errorf("4 calls after a rest took %v", took)
	}
}

// TestFailover: a replica takes no writes until it is promoted.
func TestFailover(t *testing.T) {
	t.Parallel()
	client := ownServer(t).client(t)
	l := newLimiter(t, client, t.Name(), time.Second)
	pass(t, l, 1)
	if err := client.Do(t.Context(), "replicaof", "127.0.0.1", 1).Err(); err != nil {
		t.Fatal(err)
	}
	t.Log(unavailable(t, l))
	if err := client.Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	pass(t, l, 1)
}

// TestSecrets: neither the password nor the URL is in an error.
func TestSecrets(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "--requirepass", "correct-horse")
	options, err := redis.ParseURL("redis://:battery-staple@" + s.addr + "/0")
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	text := unavailable(t, newLimiter(t, client, t.Name(), time.Second)).Error()
	t.Log(text)
	for _, secret := range []string{"staple", "horse", "redis://"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q has %q", text, secret)
		}
	}
}

// TestReply: what is no answer of the script is an error.
func TestReply(t *testing.T) {
	for _, values := range [][]any{nil, {1, 2, 3, 4, "x"}, {int64(1), int64(0), int64(0), int64(0), int64(0)}} {
		if _, err := parse(values); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v: %v", values, err)
		}
	}
}

func TestLocalFallback(t *testing.T) {
	t.Parallel()
	const minute = 2 * time.Second
	s := ownServer(t)
	var mu sync.Mutex
	var changes []error
	l := newLimiter(t, s.client(t), t.Name(), minute, WithLocalFallback(0.25), WithTimeout(200*time.Millisecond),
		WithOnFallback(func(key string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if key != closeKey {
				t.Errorf("key %q", key)
			}
			changes = append(changes, err)
		}))
	pass(t, l, 5)
	s.kill()
	pass(t, l, 1) // the next has to wait 400ms
	start := time.Now()
	order := inLine(t, l, 7)()
	// A quarter of 20 in two seconds is one each 400ms.
	if took := time.Since(start); took < 6*400*time.Millisecond || took > 6*time.Second || !slices.IsSorted(order) {
		t.Errorf("7 calls at a quarter of the tier took %v, want 2.8s; order %v", took, order)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	if err := l.Wait(ctx, closeKey); !errors.Is(err, chatdm.KindRateLimited) {
		t.Errorf("%v, want a refusal: its turn is later", err)
	}
	cancel()
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's", err)
	}
	start = time.Now()
	l.Limited(t.Context(), closeKey, 700*time.Millisecond)
	pass(t, l, 1)
	if waited := time.Since(start); waited < 700*time.Millisecond {
		t.Errorf("a refusal held the local limiter for %v", waited)
	}

	s.start(t)
	deadline := time.Now().Add(5 * time.Second)
	for {
		start = time.Now()
		pass(t, l, 1)
		mu.Lock()
		n := len(changes)
		mu.Unlock()
		if n > 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("does not come back")
		}
	}
	// Without a burst on top of the local calls: one each 100ms.
	pass(t, l, 5)
	if took := time.Since(start); took < 6*minute/20 || took > 3*time.Second {
		t.Errorf("6 calls after the return took %v", took)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(changes) != 2 || !errors.Is(changes[0], ErrUnavailable) || changes[1] != nil {
		t.Errorf("changes: %v", changes)
	}
}

// TestLocalShare: rounded down, but never to nothing, which would not pace.
func TestLocalShare(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	for share, burst := range map[float64]int{0.01: 1, 0.1: 1} {
		l, err := NewLimiter(client, "T1", WithLocalFallback(share), WithTimeout(50*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		for i := range burst + 1 {
			if err := l.Wait(ctx, closeKey); (err != nil) != (i == burst) {
				t.Errorf("share %v, call %d: %v", share, i+1, err)
			}
		}
		cancel()
	}
}
