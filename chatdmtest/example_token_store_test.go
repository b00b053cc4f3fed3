package chatdmtest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// memoryStore is a chatdm.TokenStore for the goroutines of one process. It loses the
// tokens when the process ends.
type memoryStore struct {
	updating chan struct{} // has room for one value: that of the running update
	mu       sync.Mutex
	tokens   chatdm.Tokens
}

func newMemoryStore() *memoryStore { return &memoryStore{updating: make(chan struct{}, 1)} }

func (s *memoryStore) Load(context.Context) (chatdm.Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens, nil
}

func (s *memoryStore) Update(ctx context.Context, fn func(context.Context, chatdm.Tokens) (chatdm.Tokens, error)) (chatdm.Tokens, error) {
	if err := ctx.Err(); err != nil {
		return chatdm.Tokens{}, err
	}
	select {
	case s.updating <- struct{}{}:
		defer func() { <-s.updating }()
	case <-ctx.Done():
		return chatdm.Tokens{}, ctx.Err()
	}
	stored, err := s.Load(ctx)
	if err != nil {
		return chatdm.Tokens{}, err
	}
	tokens, err := fn(ctx, stored)
	if err != nil {
		return chatdm.Tokens{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = tokens
	return tokens, nil
}

// testMemoryStore is the whole test of a store. In your own package, its name starts with
// Test, and go test runs it.
func testMemoryStore(t *testing.T) {
	chatdmtest.TestTokenStore(t, newMemoryStore())
}

func ExampleTestTokenStore() {
	var store chatdm.TokenStore = newMemoryStore()
	tokens, err := store.Update(context.Background(), func(_ context.Context, stored chatdm.Tokens) (chatdm.Tokens, error) {
		fmt.Println("stored:", stored)
		return chatdm.Tokens{AccessToken: "xoxe.xoxb-1-secret"}, nil
	})
	fmt.Println("now:", tokens, err)

	fmt.Printf("its test: %T\n", testMemoryStore)
	// Output:
	// stored: chatdm.Tokens(no expiry, secrets [redacted])
	// now: chatdm.Tokens(no expiry, secrets [redacted]) <nil>
	// its test: func(*testing.T)
}
