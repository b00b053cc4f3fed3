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
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

const (
	secretAccess  = "xoxe.xoxb-1-SECRETACCESS"
	secretRefresh = "xoxe-1-SECRETREFRESH"
)

var secretTokens = chatdm.Tokens{AccessToken: secretAccess, RefreshToken: secretRefresh, Expiry: time.Unix(1_800_000_000, 0).UTC()}

// newTokenStore returns a store with a short lock, which is renewed only if the caller
// changes the timing.
func newTokenStore(t testing.TB, client redis.UniversalClient, name string, opts ...TokenStoreOption) *TokenStore {
	t.Helper()
	s, err := NewTokenStore(client, name, append([]TokenStoreOption{WithTokenStoreTimeout(3 * time.Second)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	s.timing.lockTTL, s.timing.renew, s.timing.storePeriod = 200*time.Millisecond, time.Hour, 0
	return s
}

func returning(tokens chatdm.Tokens, err error) func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
	return func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) { return tokens, err }
}

// named returns tokens that contain a name.
func named(name string) chatdm.Tokens {
	return chatdm.Tokens{AccessToken: name, RefreshToken: "of " + name}
}

func mustStore(t *testing.T, s *TokenStore, tokens chatdm.Tokens) {
	t.Helper()
	if got, err := s.Update(t.Context(), returning(tokens, nil)); err != nil || got != tokens {
		t.Fatalf("Update: got %v, %v, want the tokens", got, err)
	}
}

func checkStored(t *testing.T, s *TokenStore, want chatdm.Tokens) {
	t.Helper()
	if got, err := s.Load(t.Context()); err != nil || got != want {
		t.Errorf("Load: got the access token %q, error %v, want %q", got.AccessToken, err, want.AccessToken)
	}
}

// checkNoSecret checks that an error and its causes are one line each and show no token.
func checkNoSecret(t *testing.T, err error) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, format := range []string{"%v", "%+v", "%#v"} {
			if text := fmt.Sprintf(format, err); strings.Contains(text, "SECRET") || strings.Contains(text, "U0VDUkVU") || strings.Contains(text, "\n") {
				t.Errorf("got %s, want one line without secrets", text)
			}
		}
	}
}

func TestTokenStore(t *testing.T) {
	t.Parallel()
	s := sharedServer(t)
	name := t.Name() + "-1"
	for range 2 {
		a, err := NewTokenStore(s.client(t), name, nil, WithTokenStoreTimeout(3*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		b, err := NewTokenStore(s.client(t), name, WithTokenStoreTimeout(3*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		chatdmtest.TestTokenStore(t, a, b)
	}
	other := newTokenStore(t, s.client(t), name+"0")
	mustStore(t, newTokenStore(t, s.client(t), name), named("one"))
	checkStored(t, other, chatdm.Tokens{})
}

func TestTokenStoreCluster(t *testing.T) {
	t.Parallel()
	server := ownServer(t, "--cluster-enabled", "yes")
	if err := server.client(t).Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err(); err != nil {
		t.Skip("cannot create a cluster: ", err)
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.addr}})
	defer client.Close()
	s := newTokenStore(t, client, "T1/A1")
	for deadline := time.Now().Add(5 * time.Second); ; { // CLUSTERDOWN at first
		_, err := s.Load(t.Context())
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	mustStore(t, s, named("a"))
	checkStored(t, s, named("a"))
}

func TestNewTokenStoreValidatesArguments(t *testing.T) {
	client := newClient("127.0.0.1:1")
	defer client.Close()
	for _, timeout := range []time.Duration{1, 5 * time.Second} {
		if _, err := NewTokenStore(client, strings.Repeat("x", 200), WithTokenStoreTimeout(timeout)); err != nil {
			t.Errorf("timeout %v: got %v, want nil", timeout, err)
		}
	}
	reject := func(want string, client redis.UniversalClient, name string, opts ...TokenStoreOption) {
		t.Helper()
		s, err := NewTokenStore(client, name, opts...)
		if s != nil || !errors.Is(err, chatdm.KindInvalidRequest) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("NewTokenStore(%q): got %v, %v, want KindInvalidRequest that contains %q", name, s, err, want)
		}
	}
	reject("chatdmredis NewTokenStore", nil, "T1")
	reject("client: must not be nil", nil, "T1")
	reject("name: got 0 bytes, want 1 to 200", client, "")
	reject("want no white space, control characters, or braces", client, "a}b")
	for _, timeout := range []time.Duration{0, -1, 5*time.Second + 1, math.MaxInt64} {
		reject("WithTokenStoreTimeout: got", client, "T1", WithTokenStoreTimeout(timeout))
	}
}

func TestTokenStoreKeys(t *testing.T) {
	t.Parallel()
	client := ownServer(t).client(t)
	check := func(want ...string) {
		t.Helper()
		got, err := client.Keys(t.Context(), "*").Result()
		if err != nil || len(got) != len(want) || client.Exists(t.Context(), want...).Val() != int64(len(want)) {
			t.Errorf("keys: got %q, %v, want %q", got, err, want)
		}
	}
	s, err := NewTokenStore(client, "T1/A1", WithTokenStorePrefix("bot:"))
	if err != nil {
		t.Fatal(err)
	}
	checkStored(t, s, chatdm.Tokens{})
	check()
	if _, err := s.Update(t.Context(), returning(chatdm.Tokens{}, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Update(t.Context(), returning(named("a"), errors.New("failed"))); err == nil {
		t.Fatal("got nil, want the error of fn")
	}
	check() // an update that stores nothing leaves nothing
	_, err = s.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		check("bot:{T1/A1}:tokens", "bot:{T1/A1}:lock")
		if ttl := client.PTTL(t.Context(), "bot:{T1/A1}:lock").Val(); ttl <= 10*time.Second || ttl > 15*time.Second {
			t.Errorf("the lock expires in %v, want 15s", ttl)
		}
		return named("a"), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	writer := client.HGet(t.Context(), "bot:{T1/A1}:tokens", "writer").Val()
	check("bot:{T1/A1}:tokens", "bot:{T1/A1}:stored:"+writer)
	if ttl := client.TTL(t.Context(), "bot:{T1/A1}:stored:"+writer).Val(); ttl < 50*time.Second || ttl > time.Minute {
		t.Errorf("the record of the update expires in %v, want a minute", ttl)
	}
	if ttl := client.TTL(t.Context(), "bot:{T1/A1}:tokens").Val(); ttl != -1 {
		t.Errorf("the tokens expire in %v, want never", ttl)
	}
	if fields := client.HKeys(t.Context(), "bot:{T1/A1}:tokens").Val(); len(fields) != 2 {
		t.Errorf("fields after an update: got %q, want tokens and writer", fields)
	}
	if s.timing.renew > s.timing.lockTTL/3 || s.timing.lockTTL > time.Minute || s.timing.storePeriod != 5*time.Second {
		t.Errorf("got %+v, want a lock that is renewed twice before it expires, and expires within a minute", s.timing)
	}
}

// If the tokens do not change, even in another time zone, Update stores nothing.
func TestTokenStoreUnchanged(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	s := newTokenStore(t, client, t.Name()+"-1")
	mustStore(t, s, secretTokens)
	writer := client.HGet(t.Context(), s.keys[0], "writer").Val()
	same := secretTokens
	same.Expiry = same.Expiry.In(time.FixedZone("", 3600))
	if got, err := s.Update(t.Context(), returning(same, nil)); err != nil || got != secretTokens {
		t.Errorf("got %v, %v, want the tokens with the expiry in UTC", got, err)
	}
	if got := client.HGet(t.Context(), s.keys[0], "writer").Val(); got != writer || writer == "" {
		t.Errorf("writer: got %q, want %q", got, writer)
	}
}

func TestTokenStoreCorrupt(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	s := newTokenStore(t, client, t.Name()+"-1")
	data, err := secretTokens.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"", secretAccess, string(data[1:]), string(data) + " ", "null"} {
		if err := client.HSet(t.Context(), s.keys[0], "tokens", value).Err(); err != nil {
			t.Fatal(err)
		}
		checkCorrupt(t, s, "field tokens: chatdm.Tokens: the data is not from MarshalBinary")
		if got := client.HGet(t.Context(), s.keys[0], "tokens").Val(); got != value {
			t.Errorf("got %q afterward, want %q", got, value)
		}
	}
	client.Del(t.Context(), s.keys[0])
	client.Set(t.Context(), s.keys[0], secretAccess, 0)
	checkCorrupt(t, s, "want a hash")
	client.Del(t.Context(), s.keys[0])
	mustStore(t, s, secretTokens) // the lock is free
	client.SAdd(t.Context(), s.keys[1], "x")
	if _, err := s.Update(t.Context(), returning(named("a"), nil)); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("lock of the wrong type: got %v, want ErrUnavailable that contains WRONGTYPE", err)
	}
}

func checkCorrupt(t *testing.T, s *TokenStore, want string) {
	t.Helper()
	want = fmt.Sprintf("chatdmredis: the Redis key %q is corrupt: %s; restore it from a backup, or delete the key and install the app again", s.keys[0], want)
	_, loadErr := s.Load(t.Context())
	_, updateErr := s.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		t.Error("Update called fn")
		return chatdm.Tokens{}, nil
	})
	for _, err := range []error{loadErr, updateErr} {
		if fmt.Sprint(err) != want || errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want %q, which does not match ErrUnavailable", err, want)
		}
		checkNoSecret(t, err)
	}
}

// checkTokensUnavailable checks that Load and Update return ErrUnavailable in time, and that
// Update does not call fn.
func checkTokensUnavailable(t *testing.T, s *TokenStore, want string) {
	t.Helper()
	for name, call := range map[string]func() (chatdm.Tokens, error){
		"Load": func() (chatdm.Tokens, error) { return s.Load(t.Context()) },
		"Update": func() (chatdm.Tokens, error) {
			return s.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
				t.Error("Update called fn")
				return chatdm.Tokens{}, nil
			})
		},
	} {
		start := time.Now()
		tokens, err := call()
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(fmt.Sprint(err), want) || tokens != (chatdm.Tokens{}) {
			t.Errorf("%s: got %v, %v, want ErrUnavailable that contains %q", name, tokens, err, want)
		}
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want no context error", name, err)
		}
		if took := time.Since(start); took > s.timeout+time.Second {
			t.Errorf("%s: took %v, want at most %v", name, took, s.timeout)
		}
		checkNoSecret(t, err)
	}
}

func TestTokenStoreWithoutRedis(t *testing.T) {
	t.Parallel()
	noRetries := newClient("127.0.0.1:1")
	defer noRetries.Close()
	checkTokensUnavailable(t, newTokenStore(t, noRetries, "T1"), "connection refused")

	// The retries of the Redis client take longer than the timeout of the store.
	retries := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer retries.Close()
	checkTokensUnavailable(t, newTokenStore(t, retries, "T1", WithTokenStoreTimeout(300*time.Millisecond)), "no response within 300ms")

	// An error of the network that matches a context error.
	for _, cause := range []error{context.DeadlineExceeded, context.Canceled} {
		client := redis.NewClient(&redis.Options{
			Dialer:     func(context.Context, string, string) (net.Conn, error) { return nil, cause },
			MaxRetries: -1, DialerRetries: 1,
		})
		defer client.Close()
		checkTokensUnavailable(t, newTokenStore(t, client, "T1"), "Redis is unavailable: "+cause.Error())
	}

	server := ownServer(t, "--requirepass", "SECRETPASSWORD")
	checkTokensUnavailable(t, newTokenStore(t, server.client(t), "T1"), "NOAUTH")
}

func TestTokenStoreRedisDoesNotRespond(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	s := newTokenStore(t, server.client(t), "T1", WithTokenStoreTimeout(200*time.Millisecond))
	mustStore(t, newTokenStore(t, server.client(t), "T1"), named("a"))
	server.signal(t, syscall.SIGSTOP)
	defer server.signal(t, syscall.SIGCONT)
	checkTokensUnavailable(t, s, "no response within 200ms")

	// The caller's context ends first.
	s = newTokenStore(t, server.client(t), "T1")
	for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if errors.Is(want, context.Canceled) {
			ctx, cancel = context.WithCancel(t.Context())
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		start := time.Now()
		if _, err := s.Load(ctx); !errors.Is(err, want) {
			t.Errorf("Load: got %v, want %v", err, want)
		}
		if _, err := s.Load(ctx); !errors.Is(err, want) {
			t.Errorf("Load with a done context: got %v, want %v", err, want)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("Load took %v, want 50ms", took)
		}
		cancel()
	}
}

// during runs an update and something else while its fn runs.
func during(t *testing.T, s *TokenStore, tokens chatdm.Tokens, do func()) (chatdm.Tokens, error) {
	t.Helper()
	return s.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		do()
		return tokens, nil
	})
}

// loseLock waits until the lock has expired.
func loseLock(t *testing.T, client redis.UniversalClient, s *TokenStore) {
	t.Helper()
	for client.Exists(t.Context(), s.keys[1]).Val() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
}

// checkFenced checks the result of an update that has lost its lock.
func checkFenced(t *testing.T, got, want chatdm.Tokens, err error) {
	t.Helper()
	const text = "chatdmredis: cannot store the new tokens: this update has lost its lock, and another update has begun; load the tokens again"
	if fmt.Sprint(err) != text || got != want {
		t.Errorf("got the access token %q, error %v, want %q, %s", got.AccessToken, err, want.AccessToken, text)
	}
}

// An update that stalls loses its lock. What it stores depends on what happens meanwhile.
func TestTokenStoreFence(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	failure := errors.New("failed")
	setUp := func(t *testing.T) (stalled, other *TokenStore) {
		stalled, other = newTokenStore(t, client, t.Name()+"-1"), newTokenStore(t, client, t.Name()+"-1")
		other.timing.lockTTL = time.Minute
		mustStore(t, other, named("old"))
		t.Cleanup(func() { client.Del(context.Background(), stalled.keys...) })
		return stalled, other
	}
	t.Run("nothing", func(t *testing.T) {
		stalled, other := setUp(t)
		got, err := during(t, stalled, named("stalled"), func() { loseLock(t, client, stalled) })
		if err != nil || got != named("stalled") {
			t.Errorf("got %v, %v, want no error, because no other update has begun", got, err)
		}
		checkStored(t, other, named("stalled"))
	})
	t.Run("another update stores", func(t *testing.T) {
		stalled, other := setUp(t)
		got, err := during(t, stalled, named("stalled"), func() {
			loseLock(t, client, stalled)
			mustStore(t, other, named("other"))
		})
		checkFenced(t, got, named("stalled"), err)
		checkStored(t, other, named("other"))
	})
	t.Run("another update runs", func(t *testing.T) {
		stalled, other := setUp(t)
		other.timing.lockTTL = 200 * time.Millisecond // it stalls too
		finish := make(chan struct{})
		var wg sync.WaitGroup
		got, err := during(t, stalled, named("stalled"), func() {
			loseLock(t, client, stalled)
			started := make(chan struct{})
			wg.Go(func() {
				got, err := during(t, other, named("other"), func() { close(started); <-finish })
				if err != nil || got != named("other") {
					t.Errorf("other update: got %v, %v, want no error", got, err)
				}
			})
			<-started
			loseLock(t, client, other)
		})
		checkFenced(t, got, named("stalled"), err)
		checkStored(t, other, named("old"))
		close(finish)
		wg.Wait()
		checkStored(t, other, named("other"))
	})
	t.Run("another update does not store", func(t *testing.T) {
		stalled, other := setUp(t)
		got, err := during(t, stalled, named("stalled"), func() {
			loseLock(t, client, stalled)
			if _, err := other.Update(t.Context(), returning(chatdm.Tokens{}, failure)); !errors.Is(err, failure) {
				t.Errorf("got %v, want %v", err, failure)
			}
		})
		if err != nil || got != named("stalled") {
			t.Errorf("got %v, %v, want no error, because the other update stored nothing", got, err)
		}
		checkStored(t, other, named("stalled"))
	})
	t.Run("one stores, one does not", func(t *testing.T) {
		stalled, other := setUp(t)
		got, err := during(t, stalled, named("stalled"), func() {
			loseLock(t, client, stalled)
			mustStore(t, other, named("other"))
			_, _ = other.Update(t.Context(), returning(chatdm.Tokens{}, failure))
		})
		checkFenced(t, got, named("stalled"), err)
		checkStored(t, other, named("other"))
	})
	t.Run("one stores and one starts", func(t *testing.T) {
		stalled, other := setUp(t)
		got, err := during(t, stalled, named("stalled"), func() {
			loseLock(t, client, stalled)
			mustStore(t, other, named("other"))
			mustStore(t, other, named("old")) // the same tokens as at the start
		})
		checkFenced(t, got, named("stalled"), err)
		checkStored(t, other, named("old"))
	})
	t.Run("its end does not free the lock of another update", func(t *testing.T) {
		stalled, other := setUp(t)
		finish, started := make(chan struct{}), make(chan struct{})
		var wg sync.WaitGroup
		_, err := stalled.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
			loseLock(t, client, stalled)
			wg.Go(func() {
				if _, err := during(t, other, named("other"), func() { close(started); <-finish }); err != nil {
					t.Error(err)
				}
			})
			<-started
			return chatdm.Tokens{}, failure
		})
		if !errors.Is(err, failure) || client.Exists(t.Context(), other.keys[1]).Val() != 1 {
			t.Errorf("got %v and no lock, want the lock of the other update", err)
		}
		if !client.HExists(t.Context(), other.keys[0], "holder").Val() {
			t.Error("got no fence, want that of the other update")
		}
		close(finish)
		wg.Wait()
		checkStored(t, other, named("other"))
	})
}

// The lock is renewed while fn runs, and again after it expired unnoticed.
func TestTokenStoreRenewsLock(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	s, other := newTokenStore(t, client, t.Name()+"-1"), newTokenStore(t, client, t.Name()+"-1")
	s.timing.lockTTL, s.timing.renew = time.Second, 20*time.Millisecond
	_, err := during(t, s, named("a"), func() {
		value := client.Get(t.Context(), s.keys[1]).Val()
		client.PExpire(t.Context(), s.keys[1], 300*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		if ttl := client.PTTL(t.Context(), s.keys[1]).Val(); ttl < 400*time.Millisecond {
			t.Errorf("the lock expires in %v, want about 1s", ttl)
		}
		client.Del(t.Context(), s.keys[1])
		time.Sleep(200 * time.Millisecond)
		if got := client.Get(t.Context(), s.keys[1]).Val(); got != value {
			t.Errorf("lock after it was lost: got %q, want %q", got, value)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := other.Update(ctx, returning(named("b"), nil)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("other update: got %v, want context.DeadlineExceeded", err)
		}
		// The lock of another update is not renewed.
		client.Set(t.Context(), s.keys[1], "another", 150*time.Millisecond)
		client.HSet(t.Context(), s.keys[0], "holder", "another")
		loseLock(t, client, s)
		time.Sleep(100 * time.Millisecond)
		if n := client.Exists(t.Context(), s.keys[1]).Val(); n != 0 {
			t.Error("after another update, the lock was taken again, want no lock")
		}
		client.HSet(t.Context(), s.keys[0], "holder", value)
	})
	if err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	if n := client.Exists(t.Context(), s.keys[1]).Val(); n != 0 {
		t.Error("after the update: got a lock, want none")
	}
	// If the caller's context ends, fn may still be working with the refresh token.
	ctx, cancel := context.WithCancel(t.Context())
	_, err = s.Update(ctx, func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		cancel()
		client.PExpire(t.Context(), s.keys[1], 300*time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		if ttl := client.PTTL(t.Context(), s.keys[1]).Val(); ttl < 400*time.Millisecond {
			t.Errorf("after the cancellation, the lock expires in %v, want about 1s", ttl)
		}
		return named("c"), nil
	})
	if err != nil {
		t.Error(err)
	}
}

// An update that does not wait needs two operations on Redis.
func TestTokenStoreScripts(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	s := newTokenStore(t, client, t.Name()+"-1")
	mustStore(t, s, named("a")) // loads the script
	var scripts scriptCounter
	client.AddHook(&scripts)
	mustStore(t, s, named("b"))
	if got := scripts.n.Load(); got != 2 {
		t.Errorf("scripts: got %d, want 2", got)
	}
	checkStored(t, s, named("b"))
	if got := scripts.n.Load(); got != 3 {
		t.Errorf("scripts with Load: got %d, want 3", got)
	}
}

// Redis loses its data during an update.
func TestTokenStoreFlush(t *testing.T) {
	t.Parallel()
	client := ownServer(t).client(t)
	s, other := newTokenStore(t, client, "T1"), newTokenStore(t, client, "T1")
	flush := func() {
		client.FlushAll(t.Context())
		client.ScriptFlush(t.Context())
	}
	mustStore(t, s, named("old"))
	flush()
	checkStored(t, s, chatdm.Tokens{})
	mustStore(t, s, named("old"))
	if got, err := during(t, s, named("new"), flush); err != nil || got != named("new") {
		t.Errorf("got %v, %v, want no error", got, err)
	}
	checkStored(t, s, named("new"))
	got, err := during(t, s, named("newer"), func() {
		flush()
		mustStore(t, other, named("other"))
	})
	checkFenced(t, got, named("newer"), err)
	checkStored(t, s, named("other"))
}

// Redis fails after fn has returned tokens.
func TestTokenStoreNotStored(t *testing.T) {
	t.Parallel()
	server := ownServer(t, "--appendonly", "yes", "--appendfsync", "always")
	client := server.client(t)
	s := newTokenStore(t, client, "T1")
	s.timing.lockTTL = time.Minute
	mustStore(t, s, named("old"))
	const notStored = "chatdmredis: cannot store the new tokens: "
	check := func(got chatdm.Tokens, err error, want string) {
		t.Helper()
		if !errors.Is(err, ErrUnavailable) || !strings.HasPrefix(fmt.Sprint(err), notStored+"chatdmredis: Redis is unavailable: "+want) || got != secretTokens {
			t.Errorf("got %v, %v, want the tokens and an error with %q", got, err, want)
		}
		checkNoSecret(t, err)
	}
	got, err := during(t, s, secretTokens, func() { client.ConfigSet(t.Context(), "maxmemory", "1") })
	check(got, err, "Redis returned an error (OOM)")
	_, err = s.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		t.Error("Update called fn, but it cannot store tokens")
		return chatdm.Tokens{}, nil
	})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("got %v, want ErrUnavailable that contains OOM", err)
	}
	client.ConfigSet(t.Context(), "maxmemory", "0")
	checkStored(t, s, named("old"))

	got, err = during(t, s, secretTokens, server.kill)
	check(got, err, "dial tcp")
	server.start(t)
	eventuallyLoad(t, s, named("old"))
	client.Del(t.Context(), s.keys[1]) // the lock of the update before

	// A canceled caller does not wait.
	s.timing.storePeriod = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	start := time.Now()
	got, err = s.Update(ctx, func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		server.kill()
		cancel()
		return secretTokens, nil
	})
	check(got, err, "dial tcp")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("canceled update: took %v", took)
	}
	server.start(t)
	eventuallyLoad(t, s, named("old"))
	client.Del(t.Context(), s.keys[1])

	// The period ends.
	s.timing.storePeriod = 300 * time.Millisecond
	start = time.Now()
	got, err = during(t, s, secretTokens, server.kill)
	check(got, err, "dial tcp")
	if took := time.Since(start); took < 100*time.Millisecond || took > 10*time.Second {
		t.Errorf("update without Redis: took %v, want about 300ms", took)
	}
	server.start(t)
	eventuallyLoad(t, s, named("old"))
	client.Del(t.Context(), s.keys[1])

	// Redis returns in time.
	s.timing.storePeriod = 20 * time.Second
	var restart sync.WaitGroup
	got, err = during(t, s, secretTokens, func() {
		server.kill()
		restart.Go(func() {
			time.Sleep(300 * time.Millisecond)
			server.start(t)
		})
	})
	restart.Wait()
	if err != nil || got != secretTokens {
		t.Errorf("got %v, %v, want no error, because Redis returned", got, err)
	}
	checkStored(t, s, secretTokens)

	// A time that cannot be stored.
	late := secretTokens
	late.Expiry = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	got, err = s.Update(t.Context(), returning(late, nil))
	if got != late || errors.Is(err, ErrUnavailable) || !strings.HasPrefix(fmt.Sprint(err), notStored+"json: ") {
		t.Errorf("year 10000: got %v, %v, want the tokens and the error of MarshalBinary", got, err)
	}
	checkNoSecret(t, err)
	checkStored(t, s, secretTokens)
}

// eventuallyLoad waits until Redis responds.
func eventuallyLoad(t *testing.T, s *TokenStore, want chatdm.Tokens) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err := s.Load(t.Context()); err == nil {
			break
		}
	}
	checkStored(t, s, want)
}

// The response to an operation is lost, and the Redis client repeats the operation.
func TestTokenStoreRepeatedOperations(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	client.AddHook(commandHook(func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		_ = next(ctx, cmd)
		return next(ctx, cmd)
	}))
	s := newTokenStore(t, client, t.Name()+"-1")
	mustStore(t, s, named("a"))
	mustStore(t, s, named("b"))
	checkStored(t, s, named("b"))
}

// While an update waits for a lost response, others store tokens.
func TestTokenStoreLostResponse(t *testing.T) {
	t.Parallel()
	server := sharedServer(t)
	client := server.client(t)
	other := newTokenStore(t, server.client(t), t.Name()+"-1")
	lost := false
	client.AddHook(commandHook(func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		err := next(ctx, cmd)
		if slices.Contains(cmd.Args(), "store") && err == nil && !lost {
			lost = true
			mustStore(t, other, named("b"))
			mustStore(t, other, named("c"))
			return errors.New("connection lost")
		}
		return err
	}))
	s := newTokenStore(t, client, t.Name()+"-1")
	s.timing.storePeriod = 20 * time.Second
	mustStore(t, s, named("a"))
	if !lost {
		t.Error("no response was lost")
	}
	checkStored(t, s, named("c"))
}

// commandHook is a hook for the commands of a Redis client.
type commandHook func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error

func (h commandHook) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h commandHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (h commandHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return h(ctx, cmd, next) }
}

// replyError is an error that Redis returns.
type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// Neither the commands that a hook prints nor an error that quotes them show the tokens.
func TestTokenStoreHidesTokens(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	var mu sync.Mutex
	var commands []string
	reply := ""
	client.AddHook(commandHook(func(ctx context.Context, cmd redis.Cmder, next redis.ProcessHook) error {
		mu.Lock()
		commands = append(commands, fmt.Sprint(cmd.Args()...))
		mu.Unlock()
		if reply != "" && slices.Contains(cmd.Args(), "store") {
			return replyError(reply + " with args beginning with: '" + secretAccess + "'")
		}
		return next(ctx, cmd)
	}))
	s := newTokenStore(t, client, t.Name()+"-1")
	mustStore(t, s, secretTokens)
	checkStored(t, s, secretTokens)
	mustStore(t, s, chatdm.Tokens{})
	text := strings.Join(commands, "\n")
	if len(commands) < 5 || strings.Contains(text, "SECRET") || strings.Contains(text, "U0VDUkVU") {
		t.Errorf("commands: got %s, want at least 5 without secrets", text)
	}
	for reply, want := range map[string]string{
		"ERR unknown command": " (ERR)", "NOPERM": " (NOPERM)", "OOM": " (OOM)", "A": " (A)",
		secretAccess: "", "SECRET2 x": "", "XOXBSECRETSECRETSECRET": "", "": "", " ERR": "", "ERRz": "", "ERR1": "",
	} {
		err := s.responseError("store", replyError(reply+" '"+secretAccess+"'"))
		if got := fmt.Sprint(err); got != "chatdmredis: Redis is unavailable: Redis returned an error"+want || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%q: got %q, want it to end with %q", reply, got, want)
		}
		checkNoSecret(t, err)
	}
	if got := s.responseError("store", replyError("ERR")).Error(); !strings.HasSuffix(got, " (ERR)") {
		t.Errorf("got %q, want the code ERR", got)
	}
	reply = "ERR unknown command"
	got, err := s.Update(t.Context(), returning(secretTokens, nil))
	if got != secretTokens || !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v, %v, want the tokens and ErrUnavailable", got, err)
	}
	checkNoSecret(t, err)
	if text := fmt.Sprintf("%v %+v %#v", s, *s, s); strings.Contains(text, "SECRET") {
		t.Errorf("got %s, want no secrets", text)
	}
}

// Results that the script cannot return are errors.
func TestTokenStoreUnexpectedResults(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	s := newTokenStore(t, client, t.Name()+"-1")
	for _, script := range []string{
		"return nil", "return 1", "return {}", "return {1}", "return {2}", "return {0, 1}", "return {1, 'x'}", "return {2, 'x', 'y'}", "return 'x'",
	} {
		s.script = redis.NewScript(script)
		_, err := s.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
			t.Errorf("%s: Update called fn", script)
			return chatdm.Tokens{}, nil
		})
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable", script, err)
		}
	}
	s.script = redis.NewScript("return 5")
	if _, err := s.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "is corrupt") {
		t.Errorf("Load: got %v, want an error", err)
	}
	s.script = redis.NewScript(tokensScript)
	if _, err := s.run(t.Context(), "other", "x"); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "unknown operation") {
		t.Errorf("unknown operation: got %v, want ErrUnavailable", err)
	}
}

// A panic in fn frees the lock.
func TestTokenStorePanic(t *testing.T) {
	t.Parallel()
	client := sharedServer(t).client(t)
	s := newTokenStore(t, client, t.Name()+"-1")
	s.timing.lockTTL = time.Minute
	func() {
		defer func() {
			if recover() == nil {
				t.Error("got no panic")
			}
		}()
		_, _ = s.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) { panic("x") })
	}()
	mustStore(t, s, named("a"))
}
