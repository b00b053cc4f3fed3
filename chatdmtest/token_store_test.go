package chatdmtest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
)

// flawedStore keeps tokens in memory. It has the flaw with the given name.
type flawedStore struct {
	flaw   string
	lock   chan struct{} // semaphore of Update
	mu     sync.Mutex
	tokens chatdm.Tokens
}

func newFlawedStore(flaw string) *flawedStore {
	return &flawedStore{flaw: flaw, lock: make(chan struct{}, 1)}
}

func (s *flawedStore) Load(context.Context) (chatdm.Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.flaw == "not empty" && s.tokens == chatdm.Tokens{}:
		return testTokens("real"), nil
	case s.flaw == "error if empty" && s.tokens == chatdm.Tokens{}:
		return s.tokens, errors.New("no tokens")
	case s.flaw == "Load fails later" && s.tokens != chatdm.Tokens{}:
		return s.tokens, errors.New("cannot load")
	}
	return s.tokens, nil
}

func (s *flawedStore) Update(ctx context.Context, fn func(context.Context, chatdm.Tokens) (chatdm.Tokens, error)) (chatdm.Tokens, error) {
	if s.flaw != "ignores a done context" && ctx.Err() != nil {
		return chatdm.Tokens{}, ctx.Err()
	}
	switch s.flaw {
	case "no lock":
	case "lock that a wait breaks":
		select {
		case s.lock <- struct{}{}:
			defer func() { <-s.lock }()
		case <-time.After(150 * time.Millisecond):
		}
	case "waits too long":
		s.lock <- struct{}{}
		defer func() { <-s.lock }()
	case "wrong error of a wait":
		select {
		case s.lock <- struct{}{}:
			defer func() { <-s.lock }()
		case <-ctx.Done():
			return chatdm.Tokens{}, errors.New("timeout")
		}
	default:
		select {
		case s.lock <- struct{}{}:
		case <-ctx.Done():
			return chatdm.Tokens{}, ctx.Err()
		}
		defer func(lock chan struct{}) { <-lock }(s.lock)
	}
	old, _ := s.Load(ctx)
	fnCtx := ctx
	switch s.flaw {
	case "fn gets nothing":
		old = chatdm.Tokens{}
	case "context without values":
		var cancel context.CancelFunc
		fnCtx, cancel = context.WithCancel(context.Background())
		defer context.AfterFunc(ctx, cancel)()
	case "context that does not end":
		fnCtx = context.WithoutCancel(ctx)
	case "canceled context":
		var cancel context.CancelFunc
		fnCtx, cancel = context.WithCancel(ctx)
		cancel()
	}
	tokens, err := fn(fnCtx, old)
	switch {
	case err != nil && s.flaw == "stores in spite of an error":
	case err != nil && s.flaw == "keeps the lock after an error":
		s.lock = make(chan struct{}) // nobody can send to it
		return chatdm.Tokens{}, err
	case err != nil && s.flaw == "hides the error":
		return chatdm.Tokens{}, errors.New("failed")
	case err != nil:
		return chatdm.Tokens{}, err
	}
	if ctx.Err() != nil && s.flaw == "loses tokens" {
		return chatdm.Tokens{}, ctx.Err()
	}
	if ctx.Err() != nil && s.flaw == "does not store after a cancellation" {
		return tokens, nil
	}
	switch s.flaw {
	case "seconds":
		tokens.Expiry = tokens.Expiry.Truncate(time.Second)
	case "UTF-8":
		tokens.AccessToken = strings.ToValidUTF8(tokens.AccessToken, "?")
	case "no refresh token":
		tokens.RefreshToken = ""
	case "Update fails":
		return tokens, errors.New("disk full")
	case "Update fails later":
		if strings.HasPrefix(tokens.AccessToken, "1 1 ") || tokens.AccessToken == "1" {
			return tokens, errors.New("disk full")
		}
	}
	s.mu.Lock()
	if s.flaw == "partial" {
		s.tokens.Expiry = tokens.Expiry
		s.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		s.mu.Lock()
	}
	s.tokens = tokens
	s.mu.Unlock()
	switch s.flaw {
	case "returns the old tokens":
		return old, err
	case "stores in spite of an error":
		return tokens, err
	}
	return tokens, nil
}

func TestTokenStoreAcceptsCorrectStore(t *testing.T) {
	TestTokenStore(t, newFlawedStore(""))
	TestTokenStore(t, newFlawedStore("")) // the first one is empty again, so this starts from the same state
	store := newFlawedStore("")
	for range 2 { // the suite leaves the store empty
		TestTokenStore(t, store, store, store)
	}
}

const flawEnv = "CHATDMTEST_FLAW"

// TestFlawedTokenStores runs the suite in another process, because it fails.
func TestFlawedTokenStores(t *testing.T) {
	if flaw := os.Getenv(flawEnv); flaw != "" {
		s := tokenStoreSuite{stores: []chatdm.TokenStore{newFlawedStore(flaw)}, timeout: time.Second}
		if flaw == "not shared" {
			s.stores = append(s.stores, newFlawedStore(""))
		}
		s.run(t)
		return
	}
	for flaw, want := range map[string]string{
		"not empty":                           "because the store must be empty",
		"error if empty":                      "store 1: Load of an empty store: got error no tokens, want nil",
		"Load fails later":                    "Load: got {\"xoxe.xoxb-1-first\" \"xoxe-1-first\" 2026-11-21T09:30:00Z}, error cannot load, want {",
		"ignores a done context":              "CanceledBefore",
		"no lock":                             "ConcurrentUpdates",
		"lock that a wait breaks":             "second update: got error fn was called during the first update, want context",
		"waits too long":                      "second update: still waiting 1s after its context was done",
		"wrong error of a wait":               "second update: got error timeout, want context",
		"fn gets nothing":                     "argument of fn: got {\"\" \"\" 0001-01-01T00:00:00Z}, want {\"xoxe.xoxb-1-first\"",
		"context without values":              "value in the context of fn: got <nil>, want the caller's",
		"context that does not end":           "context of fn: it did not end",
		"canceled context":                    "context of fn: got context canceled, want nil",
		"stores in spite of an error":         "ErrorOfFn",
		"keeps the lock after an error":       "ErrorOfFn",
		"hides the error":                     "Update: got error failed, want fn's error",
		"loses tokens":                        "CanceledInFn",
		"does not store after a cancellation": "CanceledInFn",
		"seconds":                             "RoundTrip",
		"UTF-8":                               "RoundTrip",
		"no refresh token":                    "RoundTrip",
		"Update fails":                        "Update: got error disk full, want nil",
		"Update fails later":                  "ConcurrentUpdates",
		"partial":                             "LoadDuringUpdates",
		"returns the old tokens":              "want the stored tokens",
		"not shared":                          "RoundTrip",
	} {
		t.Run(flaw, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestFlawedTokenStores$", "-test.timeout=20s", "-test.v")
			cmd.Env = append(os.Environ(), flawEnv+"="+flaw, "GORACE=atexit_sleep_ms=0")
			output, err := cmd.CombinedOutput()
			text := string(output)
			if err == nil {
				t.Fatalf("the suite passed, want it to fail:\n%s", text)
			}
			subtest := "--- FAIL: TestFlawedTokenStores/" + want + " "
			if !strings.Contains(text, want) || (!strings.Contains(want, " ") && !strings.Contains(text, subtest)) {
				t.Errorf("got this output, want it to contain %q:\n%s", want, text)
			}
			if strings.Contains(text, "panic:") {
				t.Errorf("the suite panicked:\n%s", text)
			}
		})
	}
}

// The suite changes nothing in a store that is not empty, and does not show its tokens.
func TestTokenStoreKeepsRealTokens(t *testing.T) {
	if os.Getenv(flawEnv) != "" {
		store := newFlawedStore("")
		store.tokens = testTokens("real")
		t.Cleanup(func() {
			if store.tokens != testTokens("real") {
				t.Error("the tokens changed")
			}
		})
		TestTokenStore(t, store)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestTokenStoreKeepsRealTokens$")
	cmd.Env = append(os.Environ(), flawEnv+"=none", "GORACE=atexit_sleep_ms=0")
	output, err := cmd.CombinedOutput()
	text := string(output)
	if err == nil || !strings.Contains(text, "the store must be empty") || strings.Contains(text, "the tokens changed") || strings.Contains(text, "xoxe") {
		t.Errorf("got this output, want a failure that shows and changes no tokens:\n%s", text)
	}
}
