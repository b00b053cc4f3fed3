package chatdm_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chatdm/chatdm"
)

// exampleStore returns a store in a new directory, which remove removes.
func exampleStore() (store *chatdm.FileTokenStore, dir string, remove func()) {
	dir, err := os.MkdirTemp("", "chatdm")
	if err != nil {
		panic(err)
	}
	return chatdm.NewFileTokenStore(filepath.Join(dir, "tokens")), dir, func() { os.RemoveAll(dir) }
}

func ExampleNewFileTokenStore() {
	dir, err := os.MkdirTemp("", "chatdm")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	store := chatdm.NewFileTokenStore(filepath.Join(dir, "tokens")) // such as /var/lib/mybot/tokens

	// Store the tokens of the installation.
	_, err = store.Update(context.Background(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		return exampleTokens, nil
	})
	fmt.Println(err)

	// Another process reads them.
	tokens, err := chatdm.NewFileTokenStore(filepath.Join(dir, "tokens")).Load(context.Background())
	fmt.Println(tokens, err)
	// Output:
	// <nil>
	// chatdm.Tokens(expiry 2026-11-21T09:30:00Z, secrets [redacted]) <nil>
}

func ExampleFileTokenStore_Load() {
	store, dir, remove := exampleStore()
	defer remove()

	tokens, err := store.Load(context.Background()) // there is no file
	fmt.Println(tokens == chatdm.Tokens{}, err)

	if err := os.WriteFile(filepath.Join(dir, "tokens"), nil, 0o600); err != nil {
		fmt.Println(err)
		return
	}
	_, err = store.Load(context.Background())
	fmt.Println(strings.ReplaceAll(err.Error(), dir, "/var/lib/mybot"))
	// Output:
	// true <nil>
	// chatdm.FileTokenStore: /var/lib/mybot/tokens: the file is empty; restore it from a backup, or delete it and install the app again
}

func ExampleFileTokenStore_Update() {
	store, _, remove := exampleStore()
	defer remove()

	for _, token := range []string{"xoxe.xoxb-1-first", "xoxe.xoxb-1-second"} {
		tokens, err := store.Update(context.Background(), func(_ context.Context, stored chatdm.Tokens) (chatdm.Tokens, error) {
			fmt.Printf("replacing a token of %d bytes\n", len(stored.AccessToken))
			return chatdm.Tokens{AccessToken: token}, nil
		})
		fmt.Println(tokens, err)
	}
	// Output:
	// replacing a token of 0 bytes
	// chatdm.Tokens(no expiry, secrets [redacted]) <nil>
	// replacing a token of 17 bytes
	// chatdm.Tokens(no expiry, secrets [redacted]) <nil>
}
