package chatdm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Update syncs the new file before it replaces the old one, and the directory afterward.
func TestTokenFileSync(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens")
	store := NewFileTokenStore(path)
	var synced []string
	fail := map[string]error{}
	store.sync = func(file *os.File) error {
		name := filepath.Base(file.Name())
		stored, err := store.Load(t.Context())
		if err != nil {
			t.Error(err)
		}
		text := name + " while the store has " + stored.AccessToken
		if name != filepath.Base(dir) {
			var tokens Tokens
			data, err := os.ReadFile(file.Name())
			if err == nil {
				err = tokens.UnmarshalBinary(data)
			}
			if err != nil {
				t.Errorf("%s: got error %v, want the complete file", name, err)
			}
			text += ", with " + tokens.AccessToken
		}
		synced = append(synced, text)
		return fail[name]
	}
	update := func(token string) (Tokens, error) {
		synced = nil
		return store.Update(t.Context(), func(context.Context, Tokens) (Tokens, error) { return Tokens{AccessToken: token}, nil })
	}
	check := func(want ...string) {
		t.Helper()
		if runtime.GOOS == "windows" && len(want) > 1 {
			want = want[:1]
		}
		if strings.Join(synced, "; ") != strings.Join(want, "; ") {
			t.Errorf("synced: got %q, want %q", synced, want)
		}
	}
	if _, err := update("a"); err != nil {
		t.Fatal(err)
	}
	check("tokens.tmp while the store has , with a", filepath.Base(dir)+" while the store has a")
	if _, err := update("a"); err != nil {
		t.Fatal(err)
	}
	check() // unchanged
	fail["tokens.tmp"] = errors.New("disk full")
	tokens, err := update("b")
	if want := "chatdm.FileTokenStore: cannot store the new tokens: disk full"; err == nil || err.Error() != want || tokens.AccessToken != "b" {
		t.Errorf("got token %q, error %v, want b, %v", tokens.AccessToken, err, want)
	}
	check("tokens.tmp while the store has a, with b")
	if _, err := os.Stat(path + ".tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("temporary file: got error %v, want it to be removed", err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	delete(fail, "tokens.tmp")
	fail[filepath.Base(dir)] = errors.New("disk broken")
	if tokens, err := update("c"); !errors.Is(err, fail[filepath.Base(dir)]) || tokens.AccessToken != "c" {
		t.Errorf("got token %q, error %v, want c, %v", tokens.AccessToken, err, fail)
	}
	for _, err := range []error{syscall.EINVAL, syscall.ENOTSUP} { // this file system cannot sync directories
		fail[filepath.Base(dir)] = &os.PathError{Op: "sync", Path: dir, Err: err}
		if tokens, err := update("d" + err.Error()); err != nil {
			t.Errorf("got token %q, error %v, want no error", tokens.AccessToken, err)
		}
	}
}
