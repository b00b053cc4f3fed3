package chatdmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
)

// TestTokenStore tests whether a [chatdm.TokenStore] behaves as documented. It runs several
// subtests of t, which take a few seconds in total, and stops after the first one that fails.
//
// The store must be empty. If it is not, TestTokenStore fails and changes nothing, so that it
// cannot overwrite real tokens. The subtests store made-up tokens. The last one stores the
// zero Tokens, so that the store is empty again.
//
// The stores in more must share the tokens of store, for example through a second
// connection. With them, the subtests check that updates through different stores do not run
// concurrently either, and that each store sees what the others have stored.
//
// TestTokenStore cannot check what happens if a process dies or a server fails. Test that
// yourself.
func TestTokenStore(t *testing.T, store chatdm.TokenStore, more ...chatdm.TokenStore) {
	t.Helper()
	s := tokenStoreSuite{stores: append([]chatdm.TokenStore{store}, more...), timeout: 20 * time.Second}
	s.run(t)
}

// tokenStoreSuite tests stores of the same tokens.
type tokenStoreSuite struct {
	stores  []chatdm.TokenStore
	timeout time.Duration // of an operation that nothing blocks
}

func (s *tokenStoreSuite) run(t *testing.T) {
	t.Helper()
	for i, store := range s.stores {
		tokens, err := store.Load(t.Context())
		if err != nil {
			t.Fatalf("store %d: Load of an empty store: got error %v, want nil", i+1, err)
		}
		if tokens != (chatdm.Tokens{}) {
			t.Fatalf("store %d: Load: got tokens, want the zero Tokens, because the store must be empty", i+1)
		}
	}
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"RoundTrip", s.testRoundTrip},
		{"ErrorOfFn", s.testErrorOfFn},
		{"ContextOfFn", s.testContextOfFn},
		{"CanceledInFn", s.testCanceledInFn},
		{"CanceledBefore", s.testCanceledBefore},
		{"ConcurrentUpdates", s.testConcurrentUpdates},
		{"CanceledWhileWaiting", s.testCanceledWhileWaiting},
		{"LoadDuringUpdates", s.testLoadDuringUpdates},
		{"ZeroTokens", func(t *testing.T) { s.update(t, 0, chatdm.Tokens{}) }},
	} {
		if !t.Run(test.name, test.run) {
			return // a store that fails one subtest often blocks the next one
		}
	}
}

// at returns store i modulo the number of stores.
func (s *tokenStoreSuite) at(i int) chatdm.TokenStore { return s.stores[i%len(s.stores)] }

// testTokens returns made-up tokens that contain a name.
func testTokens(name string) chatdm.Tokens {
	return chatdm.Tokens{
		AccessToken: "xoxe.xoxb-1-" + name, RefreshToken: "xoxe-1-" + name,
		Expiry: time.Date(2026, time.November, 21, 9, 30, 0, 0, time.UTC),
	}
}

// show formats made-up tokens. Package fmt would not print the secrets.
func show(t chatdm.Tokens) string {
	short := func(text string) string {
		if len(text) > 40 {
			return fmt.Sprintf("%.40q… (%d bytes)", text, len(text))
		}
		return strconv.Quote(text)
	}
	return fmt.Sprintf("{%s %s %s}", short(t.AccessToken), short(t.RefreshToken), t.Expiry.Format(time.RFC3339Nano))
}

func sameTokens(a, b chatdm.Tokens) bool {
	return a.AccessToken == b.AccessToken && a.RefreshToken == b.RefreshToken && a.Expiry.Equal(b.Expiry)
}

// check checks what store i contains.
func (s *tokenStoreSuite) check(t *testing.T, i int, want chatdm.Tokens) {
	t.Helper()
	got, err := s.at(i).Load(t.Context())
	if err != nil || !sameTokens(got, want) {
		t.Errorf("Load: got %s, error %v, want %s", show(got), err, show(want))
	}
}

// update stores tokens through store i and checks that all stores see them.
func (s *tokenStoreSuite) update(t *testing.T, i int, tokens chatdm.Tokens) {
	t.Helper()
	got, err := s.updateWith(t, i, func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) { return tokens, nil })
	if err != nil {
		t.Fatalf("Update: got error %v, want nil", err)
	}
	if !sameTokens(got, tokens) {
		t.Errorf("Update: got %s, want the stored tokens %s", show(got), show(tokens))
	}
	for i := range s.stores {
		s.check(t, i, tokens)
	}
}

// updateWith calls Update of store i with a timeout, so that a store that never frees its
// lock does not block the test.
func (s *tokenStoreSuite) updateWith(t *testing.T, i int, fn func(context.Context, chatdm.Tokens) (chatdm.Tokens, error)) (chatdm.Tokens, error) {
	ctx, cancel := context.WithTimeout(t.Context(), s.timeout)
	defer cancel()
	return s.at(i).Update(ctx, fn)
}

func (s *tokenStoreSuite) testRoundTrip(t *testing.T) {
	allBytes := make([]byte, 256)
	for i := range allBytes {
		allBytes[i] = byte(i)
	}
	zone := time.FixedZone("", -(9*3600 + 30*60))
	for i, tokens := range []chatdm.Tokens{
		testTokens("first"),
		testTokens("second"),
		testTokens("second"), // unchanged
		{AccessToken: "xoxb-does-not-expire"},
		{AccessToken: string(allBytes), RefreshToken: string(bytes.ToUpper(allBytes)), Expiry: time.Unix(1, 0)},
		{AccessToken: " a\r\nb ", RefreshToken: "\xff\"\\\x00", Expiry: time.Date(2026, 11, 21, 23, 59, 59, 123456789, zone)},
		{AccessToken: strings.Repeat("x", 10_000), RefreshToken: strings.Repeat("y", 10_000), Expiry: time.Now().Add(12 * time.Hour)},
		{RefreshToken: "xoxe-1-only"},
		{},
		testTokens("last"),
	} {
		s.update(t, i, tokens)
		// The next update gets what the last one stored.
		_, err := s.updateWith(t, i+1, func(_ context.Context, got chatdm.Tokens) (chatdm.Tokens, error) {
			if !sameTokens(got, tokens) {
				t.Errorf("argument of fn: got %s, want %s", show(got), show(tokens))
			}
			return got, nil
		})
		if err != nil {
			t.Fatalf("Update that changes nothing: got error %v, want nil", err)
		}
		s.check(t, i, tokens)
	}
}

func (s *tokenStoreSuite) testErrorOfFn(t *testing.T) {
	tokens := testTokens("before the error")
	s.update(t, 0, tokens)
	failure := errors.New("the refresh failed")
	for i := range len(s.stores) + 1 {
		_, err := s.updateWith(t, i, func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
			return testTokens("with the error"), failure
		})
		if !errors.Is(err, failure) {
			t.Errorf("Update: got error %v, want fn's error: %v", err, failure)
		}
		s.check(t, i, tokens)
	}
	s.update(t, 0, testTokens("after the error"))
}

// The context of fn has the values of the caller's context and ends with it.
func (s *tokenStoreSuite) testContextOfFn(t *testing.T) {
	type key struct{}
	failure := errors.New("the context ended")
	for i := range s.stores {
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), s.timeout)
		_, err := s.at(i).Update(ctx, func(fnCtx context.Context, _ chatdm.Tokens) (chatdm.Tokens, error) {
			if got := fnCtx.Value(key{}); got != "value" {
				t.Errorf("value in the context of fn: got %v, want the caller's", got)
			}
			if err := fnCtx.Err(); err != nil {
				t.Errorf("context of fn: got %v, want nil, because the caller's context is not done", err)
			}
			cancel()
			select {
			case <-fnCtx.Done():
			case <-time.After(s.timeout):
				t.Error("context of fn: it did not end, want it to end with the caller's")
			}
			return chatdm.Tokens{}, failure
		})
		cancel()
		if !errors.Is(err, failure) {
			t.Errorf("Update: got error %v, want fn's error: %v", err, failure)
		}
	}
}

// If the context ends after fn has used up the refresh token, Update stores the new tokens or
// returns them with an error.
func (s *tokenStoreSuite) testCanceledInFn(t *testing.T) {
	for i := range s.stores {
		s.update(t, i, testTokens("before the cancellation"))
		tokens := testTokens("after the cancellation")
		ctx, cancel := context.WithTimeout(t.Context(), s.timeout)
		got, err := s.at(i).Update(ctx, func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
			cancel()
			return tokens, nil
		})
		cancel()
		if !sameTokens(got, tokens) {
			t.Errorf("Update: got %s, error %v, want the tokens of fn: %s", show(got), err, show(tokens))
		}
		if err == nil {
			s.check(t, i, tokens)
		}
	}
}

func (s *tokenStoreSuite) testCanceledBefore(t *testing.T) {
	tokens := testTokens("before")
	s.update(t, 0, tokens)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	// A select statement in the store would choose at random between the context and the lock.
	for i := range 10 * len(s.stores) {
		for _, ctx := range []context.Context{canceled, expired} {
			_, err := s.at(i).Update(ctx, func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
				t.Error("Update called fn, want no call, because the context is done")
				return testTokens("canceled"), nil
			})
			if !errors.Is(err, ctx.Err()) {
				t.Errorf("Update: got error %v, want %v", err, ctx.Err())
			}
		}
	}
	s.check(t, 0, tokens)
}

// An update that waits for another one returns as soon as its context is done.
func (s *tokenStoreSuite) testCanceledWhileWaiting(t *testing.T) {
	s.update(t, 0, testTokens("before"))
	tokens := testTokens("of the first update")
	running, finish := make(chan struct{}), make(chan struct{})
	var first sync.WaitGroup
	first.Go(func() {
		_, err := s.at(0).Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
			close(running)
			<-finish
			return tokens, nil
		})
		if err != nil {
			t.Errorf("first update: got error %v, want nil", err)
		}
	})
	select {
	case <-running:
		for i := range s.stores {
			for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
				s.checkCanceledWait(t, i, want)
			}
		}
	case <-time.After(s.timeout):
		t.Errorf("first update: fn was not called within %v", s.timeout)
	}
	close(finish)
	first.Wait()
	s.check(t, 0, tokens)
	s.update(t, 0, testTokens("after the waiting"))
}

// checkCanceledWait starts an update while another one runs, and ends its context.
func (s *tokenStoreSuite) checkCanceledWait(t *testing.T, i int, want error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if errors.Is(want, context.Canceled) {
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(200*time.Millisecond, cancel)
	}
	done := make(chan error, 1)
	go func() { // may outlive the test, so it does not use t
		overlap := false
		_, err := s.at(i).Update(ctx, func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
			overlap = true
			return chatdm.Tokens{}, errors.New("unexpected call of fn")
		})
		if overlap {
			err = errors.New("fn was called during the first update")
		}
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, want) {
			t.Errorf("second update: got error %v, want %v", err, want)
		}
	case <-time.After(s.timeout):
		t.Errorf("second update: still waiting %v after its context was done", s.timeout)
	}
}

// Updates never run concurrently, and none is lost.
func (s *tokenStoreSuite) testConcurrentUpdates(t *testing.T) {
	const goroutines, updates = 8, 5
	s.update(t, 0, chatdm.Tokens{AccessToken: "0", Expiry: testTokens("").Expiry})
	var running atomic.Int32
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			for range updates {
				_, err := s.updateWith(t, i, func(_ context.Context, stored chatdm.Tokens) (chatdm.Tokens, error) {
					if n := running.Add(1); n != 1 {
						t.Errorf("got %d updates at the same time, want 1", n)
					}
					defer running.Add(-1)
					time.Sleep(time.Millisecond)
					n, err := strconv.Atoi(stored.AccessToken)
					stored.AccessToken = strconv.Itoa(n + 1)
					return stored, err
				})
				if err != nil {
					t.Errorf("Update: got error %v, want nil", err)
				}
			}
		})
	}
	wg.Wait()
	want := strconv.Itoa(goroutines * updates)
	for i := range s.stores {
		got, err := s.at(i).Load(t.Context())
		if err != nil || got.AccessToken != want {
			t.Errorf("after %s updates that add 1: got %q, error %v", want, got.AccessToken, err)
		}
	}
}

// Load returns the tokens of one update, never parts of two.
func (s *tokenStoreSuite) testLoadDuringUpdates(t *testing.T) {
	const updates = 30
	numbered := func(n int) chatdm.Tokens {
		text := strings.Repeat(strconv.Itoa(n)+" ", 1000)
		return chatdm.Tokens{AccessToken: text, RefreshToken: text, Expiry: time.Unix(int64(n), 0)}
	}
	s.update(t, 0, numbered(0))
	done := make(chan struct{})
	var wg sync.WaitGroup
	for i := range len(s.stores) + 1 {
		wg.Go(func() {
			last := 0
			for finished := false; !finished; {
				select {
				case <-done:
					finished = true
				default:
				}
				got, err := s.at(i).Load(t.Context())
				n := int(got.Expiry.Unix())
				if err != nil || n < last || n > updates || !sameTokens(got, numbered(n)) {
					t.Errorf("Load: got %s, error %v, want the tokens of update %d to %d", show(got), err, last, updates)
					return
				}
				last = n
			}
			if last != updates {
				t.Errorf("Load after all updates: got the tokens of update %d, want %d", last, updates)
			}
		})
	}
	for n := range updates {
		_, err := s.updateWith(t, n, func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) { return numbered(n + 1), nil })
		if err != nil {
			t.Errorf("Update: got error %v, want nil", err)
		}
	}
	close(done)
	wg.Wait()
}
