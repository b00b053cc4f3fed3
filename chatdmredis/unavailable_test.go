//go:build unix

package chatdmredis

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

// checkUnavailable checks that Wait and a client return ErrUnavailable in time, and
// that Limited does not block longer. It returns the error of Wait.
func checkUnavailable(t *testing.T, l *Limiter) error {
	t.Helper()
	start := time.Now()
	err := l.Wait(t.Context(), closeKey)
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("Wait: got %v, want ErrUnavailable and no context error", err)
	}
	if got, want := time.Since(start), l.timeout+time.Second; got > want {
		t.Errorf("time of Wait: got %v, want at most %v", got, want)
	}
	client, clientErr := chatdm.NewClient("xoxb-1", chatdm.WithBaseURL("http://127.0.0.1:1"), chatdm.WithLimiter(l))
	if clientErr != nil {
		t.Fatal(clientErr)
	}
	_, clientErr = client.Conversations.Close(t.Context(), "D1")
	if !errors.Is(clientErr, chatdm.KindUnavailable) || !errors.Is(clientErr, ErrUnavailable) {
		t.Errorf("client: got %v, want KindUnavailable and ErrUnavailable", clientErr)
	}
	start = time.Now()
	l.Limited(t.Context(), closeKey, time.Millisecond)
	if got, want := time.Since(start), l.timeout+time.Second; got > want {
		t.Errorf("time of Limited: got %v, want at most %v", got, want)
	}
	return err
}

func TestNoRedis(t *testing.T) {
	t.Parallel()
	// The retries of the Redis client take longer than the timeout of the limiter.
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	err := checkUnavailable(t, newLimiter(t, client, t.Name(), time.Second, WithTimeout(300*time.Millisecond)))
	if want := "chatdmredis: Redis is unavailable: no response within 300ms"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}

	// A client that does not retry reports the cause.
	noRetries := newClient("127.0.0.1:1")
	defer noRetries.Close()
	err = checkUnavailable(t, newLimiter(t, noRetries, t.Name(), time.Second))
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want ECONNREFUSED", err)
	}
}

// If the error of the Redis client matches a context error, the error of Wait does not,
// because the caller's context is not done.
func TestRedisClientReturnsContextError(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{context.DeadlineExceeded, context.Canceled} {
		client := redis.NewClient(&redis.Options{
			Dialer:     func(context.Context, string, string) (net.Conn, error) { return nil, cause },
			MaxRetries: -1, DialerRetries: 1,
		})
		err := checkUnavailable(t, newLimiter(t, client, t.Name(), time.Second))
		if want := "chatdmredis: Redis is unavailable: " + cause.Error(); err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
		client.Close()
	}
}

func TestRedisDoesNotRespond(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client := newClient(listener.Addr().String())
	defer client.Close()
	l := newLimiter(t, client, t.Name(), time.Second, WithTimeout(200*time.Millisecond))
	checkUnavailable(t, l)

	// The caller's context ends before the timeout.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := l.Wait(ctx, closeKey); !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: got %v, want ErrUnavailable and no context error", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
		t.Errorf("cancellation: got %v, want context.Canceled", err)
	}
}

// Redis stops while many callers wait, and continues later.
func TestRedisStops(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	const minute = 8 * time.Second
	l := newLimiter(t, s.client(t), t.Name(), minute, WithTimeout(500*time.Millisecond))
	passCalls(t, l, 4)
	s.signal(t, syscall.SIGSTOP)
	start := time.Now()
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := l.Wait(t.Context(), closeKey); !errors.Is(err, ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
	wg.Wait()
	// This takes at most the rest of one operation and the whole next operation.
	if got, want := time.Since(start), 3*time.Second; got > want {
		t.Errorf("time until 50 callers failed: got %v, want at most %v", got, want)
	}
	for range 3 { // Redis runs these scripts when it continues
		checkUnavailable(t, l)
	}
	s.signal(t, syscall.SIGCONT)
	eventuallyPass(t, l)
	// The operations that timed out have used no slots.
	start = time.Now()
	passCalls(t, l, 4)
	if got, want := time.Since(start), minute/5; got > want {
		t.Errorf("time of 4 calls after the outage: got %v, want at most %v", got, want)
	}
}

// If a caller gives up while Redis does not respond, only that caller fails.
func TestRedisStopsUntilCallerGivesUp(t *testing.T) {
	t.Parallel()
	s := ownServer(t)
	l := newLimiter(t, s.client(t), t.Name(), time.Second)
	q := l.queue(closeKey)
	check := func(ctx context.Context, want error) {
		t.Helper()
		s.signal(t, syscall.SIGSTOP)
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := l.Wait(ctx, closeKey); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			s.signal(t, syscall.SIGCONT)
		})
		await(t, q, func() bool { return len(q.head) == 1 })
		if err := l.Wait(t.Context(), closeKey); err != nil {
			t.Errorf("the next caller: got %v, want nil", err)
		}
		wg.Wait()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	check(ctx, ErrUnavailable)
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(500*time.Millisecond, cancel)
	check(ctx, context.Canceled)
}

func TestReadOnlyReplica(t *testing.T) {
	t.Parallel()
	client := ownServer(t).client(t)
	l := newLimiter(t, client, t.Name(), time.Second)
	passCalls(t, l, 1)
	if err := client.Do(t.Context(), "replicaof", "127.0.0.1", 1).Err(); err != nil {
		t.Fatal(err)
	}
	checkUnavailable(t, l)
	if err := client.Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	passCalls(t, l, 1)
}

// If Redis has no memory left and evicts no keys, the limits hold and calls pass: Redis
// lets a script add data after it has removed some.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	const calls, minute = 20, 2 * time.Second
	client := ownServer(t).client(t)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.Set(t.Context(), "x", "x", 0).Err(); err == nil {
		t.Fatal("SET: got nil, want an error")
	}
	l := newLimiter(t, client, t.Name(), minute)
	checkTier(t, passCalls(t, l, calls+5), calls, minute)
	passKeys(t, l, postKey+"/D1", postKey+"/D2")
}

// delay is a hook that delays each operation.
type delay struct {
	scriptCounter
	d time.Duration
}

func (h *delay) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		time.Sleep(h.d)
		err := next(ctx, cmd)
		time.Sleep(h.d)
		return err
	}
}

// A slow Redis slows the calls down if there is only one limiter, but the limit holds.
func TestSlowRedis(t *testing.T) {
	t.Parallel()
	const calls, minute = 20, 2 * time.Second
	client := sharedServer(t).client(t)
	client.AddHook(&delay{d: 20 * time.Millisecond})
	l := newLimiter(t, client, t.Name(), minute)
	start := time.Now()
	at := passCalls(t, l, 3*calls)
	checkTier(t, at, calls, minute)
	if got, want := time.Since(start), 4*minute; got > want {
		t.Errorf("time of %d calls: got %v, want at most %v", 3*calls, got, want)
	}
}

// Redis is flushed, scripts and clients included, killed, and stopped, again and again,
// while three limiters make calls.
func TestRepeatedLoss(t *testing.T) {
	t.Parallel()
	const calls, minute = 20, 2 * time.Second
	s := ownServer(t)
	client := s.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 6*minute)
	defer cancel()
	var mu sync.Mutex
	var at []time.Time
	var wg sync.WaitGroup
	for range 3 {
		l := newLimiter(t, s.client(t), t.Name(), minute, WithTimeout(200*time.Millisecond))
		for range 3 {
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := l.Wait(ctx, closeKey); err == nil {
						mu.Lock()
						at = append(at, time.Now())
						mu.Unlock()
					} else if ctx.Err() == nil && !errors.Is(err, ErrUnavailable) && !errors.Is(err, chatdm.KindRateLimited) {
						t.Errorf("got %v, want ErrUnavailable", err)
					} else {
						time.Sleep(10 * time.Millisecond)
					}
				}
			})
		}
	}
	for i := range 9 {
		time.Sleep(minute / 2)
		switch i % 3 {
		case 0:
			client.FlushAll(t.Context())
			client.ScriptFlush(t.Context())
			client.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "yes")
		case 1:
			s.kill()
			s.start(t)
		case 2:
			s.signal(t, syscall.SIGSTOP)
			time.Sleep(300 * time.Millisecond)
			s.signal(t, syscall.SIGCONT)
		}
	}
	wg.Wait()
	slices.SortFunc(at, time.Time.Compare)
	checkTier(t, at, calls, minute)
	if len(at) < calls {
		t.Errorf("got %d calls in 6 minutes, want at least %d", len(at), calls)
	}
}

func TestErrorsContainNoCredentials(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "--requirepass", "correct-horse")
	options, err := redis.ParseURL("redis://:battery-staple@" + s.addr + "/0")
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	text := checkUnavailable(t, newLimiter(t, client, t.Name(), time.Second)).Error()
	for _, secret := range []string{"staple", "horse", "redis://"} {
		if strings.Contains(text, secret) {
			t.Errorf("got %q, want no %q", text, secret)
		}
	}
}

// If Redis loses its state, limiters that made calls before stay within the tier.
func TestLostState(t *testing.T) {
	t.Parallel()
	const calls, minute = 20, 2 * time.Second
	client := ownServer(t).client(t)
	a, b := newLimiter(t, client, t.Name(), minute), newLimiter(t, client, t.Name(), minute)
	keys := a.queue(closeKey).limit.redisKeys
	for _, loss := range []struct {
		name string
		lose func()
	}{
		{"flush", func() {
			client.FlushAll(t.Context())
			client.ScriptFlush(t.Context())
		}},
		{"clock set back by an hour", func() {
			seen := time.Now().Add(time.Hour).UnixMicro()
			client.HSet(t.Context(), keys[0], "seen", seen, "tat", seen)
			client.ZAdd(t.Context(), keys[1], redis.Z{Score: float64(seen), Member: "x"})
		}},
	} {
		time.Sleep(minute)
		var mu sync.Mutex
		var at []time.Time
		record := func(l *Limiter, n int) {
			for range n {
				passed := passCalls(t, l, 1)
				mu.Lock()
				at = append(at, passed...)
				mu.Unlock()
			}
		}
		record(a, 7)
		record(b, 7)
		loss.lose()
		var wg sync.WaitGroup
		wg.Go(func() { record(a, 10) })
		wg.Go(func() { record(b, 10) })
		wg.Wait()
		slices.SortFunc(at, time.Time.Compare)
		checkTier(t, at, calls, minute)
		if got, want := at[len(at)-1].Sub(at[0]), 3*minute; got > want {
			t.Errorf("%s: time of %d calls: got %v, want at most %v", loss.name, len(at), got, want)
		}
	}
}

func TestLocalFallback(t *testing.T) {
	t.Parallel()
	const minute = 2 * time.Second
	s := ownServer(t)
	var mu sync.Mutex
	var changes []error
	l := newLimiter(t, s.client(t), t.Name(), minute, WithLocalFallback(0.25),
		WithOnFallback(func(key string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if key != closeKey {
				t.Errorf("WithOnFallback: got key %q, want %q", key, closeKey)
			}
			changes = append(changes, err)
		}))
	passCalls(t, l, 5)
	s.kill()
	passCalls(t, l, 1)
	// A quarter of 20 calls in 2 seconds is one call every 400 milliseconds.
	start := time.Now()
	order := enqueue(t, l, 7)()
	if got := time.Since(start); got < 6*400*time.Millisecond || got > 6*time.Second {
		t.Errorf("time of 7 local calls: got %v, want 2.4s to 6s", got)
	}
	if !slices.IsSorted(order) {
		t.Errorf("order of local calls: got %v, want sorted", order)
	}
	checkWaitExceedsDeadline(t, l, 100*time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if err := l.Wait(ctx, closeKey); !errors.Is(err, context.Canceled) {
		t.Errorf("cancellation: got %v, want context.Canceled", err)
	}
	start = time.Now()
	l.Limited(t.Context(), closeKey, 700*time.Millisecond)
	passCalls(t, l, 1)
	if got, want := time.Since(start), 700*time.Millisecond; got < want {
		t.Errorf("wait during a pause: got %v, want at least %v", got, want)
	}

	s.start(t)
	for deadline := time.Now().Add(5 * time.Second); ; {
		start = time.Now()
		passCalls(t, l, 1)
		mu.Lock()
		n := len(changes)
		mu.Unlock()
		if n > 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("5 seconds after Redis started: got the fallback, want Redis")
		}
	}
	// No burst after the local calls: one call every 100 milliseconds.
	passCalls(t, l, 5)
	if got := time.Since(start); got < 6*minute/20 || got > 3*time.Second {
		t.Errorf("time of 6 calls after the fallback: got %v, want 600ms to 3s", got)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(changes) != 2 || !errors.Is(changes[0], ErrUnavailable) || changes[1] != nil {
		t.Errorf("WithOnFallback: got %v, want ErrUnavailable and nil", changes)
	}
}

// The share is rounded down to whole calls per minute, but is at least one.
func TestLocalFallbackShare(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	for _, tt := range []struct {
		share    float64
		interval time.Duration
	}{
		{0.01, time.Minute}, {0.05, time.Minute / 2},
		{0.58, time.Minute / 29}, // as a float64, 50 * 0.58 is less than 29
	} {
		l, err := NewLimiter(client, "T1", WithTier(closeKey, chatdm.Tier{PerMinute: 50}), WithLocalFallback(tt.share))
		if err != nil {
			t.Fatal(err)
		}
		passCalls(t, l, 1)
		e := checkWaitExceedsDeadline(t, l, time.Second)
		if least := tt.interval * 3 / 4; e.RetryAfter < least || e.RetryAfter > tt.interval {
			t.Errorf("share %v: RetryAfter: got %v, want %v to %v", tt.share, e.RetryAfter, least, tt.interval)
		}
	}
}
