package chatdm_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// The stores have separate locks within the process, as in two processes.
func TestFileTokenStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	chatdmtest.TestTokenStore(t, chatdm.NewFileTokenStore(path), chatdm.NewFileTokenStore(path))
	checkFiles(t, filepath.Dir(path), "tokens", "tokens.lock")
}

// checkFiles checks which files a directory contains, and that only their owner has access.
func checkFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().IsRegular() && info.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
			t.Errorf("%s: got mode %v, want 0600", e.Name(), info.Mode())
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("files: got %q, want %q", got, want)
	}
}

// returning returns a function for Update.
func returning(tokens chatdm.Tokens, err error) func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
	return func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) { return tokens, err }
}

const (
	secretAccess  = "xoxe.xoxb-1-SECRETACCESS"
	secretRefresh = "xoxe-1-SECRETREFRESH"
)

var secretTokens = chatdm.Tokens{AccessToken: secretAccess, RefreshToken: secretRefresh, Expiry: time.Unix(1_800_000_000, 0).UTC()}

// checkTokenError checks that an error is one line that contains text and no secret.
func checkTokenError(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), "chatdm.FileTokenStore: ") || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: got error %v, want one that contains %q", what, err, text)
		return
	}
	if _, ok := errors.AsType[*chatdm.Error](err); ok {
		t.Errorf("%s: got a *chatdm.Error: %v", what, err)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		for _, format := range []string{"%v", "%+v", "%#v", "%q"} {
			if text := fmt.Sprintf(format, err); strings.Contains(text, "SECRET") || strings.Contains(text, "U0VDUkVU") || strings.Contains(text, "\n") {
				t.Errorf("%s: got %s, want one line without secrets", what, text)
			}
		}
	}
}

// checkUnusable checks that Load and Update return an error, that Update does not call fn,
// and that the files do not change.
func checkUnusable(t *testing.T, name string, store chatdm.TokenStore, dir, text string) {
	t.Helper()
	before := snapshot(t, dir)
	tokens, err := store.Load(t.Context())
	checkTokenError(t, name+": Load", err, text)
	if tokens != (chatdm.Tokens{}) {
		t.Errorf("%s: Load: got tokens, want none", name)
	}
	tokens, err = store.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		t.Errorf("%s: Update called fn", name)
		return chatdm.Tokens{}, nil
	})
	checkTokenError(t, name+": Update", err, text)
	if tokens != (chatdm.Tokens{}) {
		t.Errorf("%s: Update: got tokens, want none", name)
	}
	if after := snapshot(t, dir); after != before {
		t.Errorf("%s: got files\n%s, want\n%s", name, after, before)
	}
}

// snapshot lists the files in a directory with their contents, except lock files.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".lock") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		data := []byte(nil)
		if info.Mode().IsRegular() {
			data, _ = os.ReadFile(filepath.Join(dir, e.Name()))
		}
		fmt.Fprintf(&b, "%s %v %q\n", e.Name(), info.Mode(), data)
	}
	return b.String()
}

func TestUnusableTokenFile(t *testing.T) {
	valid, err := secretTokens.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	huge, err := chatdm.Tokens{AccessToken: strings.Repeat("SECRET", 200_000)}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, data, want string }{
		{"empty", "", ": the file is empty; restore it from a backup, or delete it and install the app again"},
		{"token only", secretAccess, ": the file is corrupt: chatdm.Tokens: the data is not from MarshalBinary; restore it"},
		{"cut", string(valid[:len(valid)-1]), "the file is corrupt"},
		{"first byte", string(valid[:1]), "the file is corrupt"},
		{"trailing data", string(valid) + "\n", "the file is corrupt"},
		{"twice", string(valid) + string(valid), "the file is corrupt"},
		{"null", "null", "the file is corrupt"},
		{"zero bytes", strings.Repeat("\x00", len(valid)), "the file is corrupt"},
		{"other JSON", `{"AccessToken":"` + secretAccess + `"}`, "the file is corrupt"},
		{"without expiry", strings.Replace(string(valid), `,"Expiry":"2027-01-15T08:00:00Z"`, "", 1), "the file is corrupt"},
		{"huge", string(huge), "got more than 1048576 bytes, want a file of tokens; restore it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "tokens")
			if err := os.WriteFile(path, []byte(tt.data), 0o600); err != nil {
				t.Fatal(err)
			}
			checkUnusable(t, tt.name, chatdm.NewFileTokenStore(path), dir, tt.want)
			_, err := chatdm.NewFileTokenStore(path).Load(t.Context())
			checkTokenError(t, tt.name, err, path+": ")
		})
	}
}

func TestUnusableTokenPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing", "tokens")
	checkUnusable(t, "empty path", chatdm.NewFileTokenStore(""), dir, "chatdm.FileTokenStore: the path must not be empty")
	checkUnusable(t, "NUL in path", chatdm.NewFileTokenStore(dir+"/a\x00b"), dir, "invalid argument")
	_, err := chatdm.NewFileTokenStore(missing).Load(t.Context())
	checkTokenError(t, "missing directory", err, missing+": cannot open the directory: ")
	checkTokenError(t, "missing directory", err, "; create it, or mount its volume")
	_, err = chatdm.NewFileTokenStore(missing).Update(t.Context(), returning(secretTokens, nil))
	checkTokenError(t, "missing directory", err, "cannot open the lock file: ")
	checkTokenError(t, "missing directory", err, "want a directory that the current user can write to")
	if err := os.Mkdir(filepath.Join(dir, "subdir"), 0o700); err != nil {
		t.Fatal(err)
	}
	checkUnusable(t, "directory", chatdm.NewFileTokenStore(filepath.Join(dir, "subdir")), dir, "got a directory, want a regular file")
}

// A store uses the directory that was current when it was created.
func TestTokenFileRelativePath(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	store := chatdm.NewFileTokenStore("tokens")
	t.Chdir(t.TempDir())
	if _, err := store.Update(t.Context(), returning(secretTokens, nil)); err != nil {
		t.Fatal(err)
	}
	got, err := chatdm.NewFileTokenStore(filepath.Join(dir, "tokens")).Load(t.Context())
	if err != nil || got != secretTokens {
		t.Errorf("got %v, %v, want the stored tokens", got, err)
	}
}

// A store follows symbolic links and does not replace them.
func TestTokenFileSymlink(t *testing.T) {
	dir, linkDir := t.TempDir(), t.TempDir()
	path, link := filepath.Join(dir, "tokens"), filepath.Join(linkDir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Skip("cannot make symbolic links:", err)
	}
	checkUnusable(t, "dangling link", chatdm.NewFileTokenStore(link), linkDir, link+": cannot follow the symbolic link: ")
	first := chatdm.NewFileTokenStore(path)
	if _, err := first.Update(t.Context(), returning(chatdm.Tokens{}, nil)); err != nil {
		t.Fatal(err)
	}
	checkFiles(t, dir, "tokens.lock") // the tokens did not change
	if _, err := first.Update(t.Context(), returning(secretTokens, nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Update(t.Context(), returning(chatdm.Tokens{}, nil)); err != nil {
		t.Fatal(err)
	}
	chatdmtest.TestTokenStore(t, first, chatdm.NewFileTokenStore(link))
	checkFiles(t, dir, "tokens", "tokens.lock")
	checkFiles(t, linkDir, "link")
	if target, err := os.Readlink(link); err != nil || target != path {
		t.Errorf("link: got %q, %v, want %q", target, err, path)
	}
}

// Update does not rewrite the file if the tokens do not change, even if the expiry is in
// another time zone.
func TestTokenFileUnchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	store := chatdm.NewFileTokenStore(path)
	tokens, err := store.Update(t.Context(), returning(secretTokens, nil))
	if err != nil || tokens != secretTokens {
		t.Fatalf("got %v, %v, want the tokens", tokens, err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	same := secretTokens
	same.Expiry = same.Expiry.In(time.FixedZone("", 3600))
	if tokens, err = store.Update(t.Context(), returning(same, nil)); err != nil || tokens != secretTokens {
		t.Errorf("got %v, %v, want the tokens with the expiry in UTC", tokens, err)
	}
	after, err := os.Stat(path)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced, or error %v, want the same file", err)
	}
	same.Expiry = same.Expiry.Add(1)
	if _, err = store.Update(t.Context(), returning(same, nil)); err != nil {
		t.Fatal(err)
	}
	if after, err = os.Stat(path); err != nil || os.SameFile(before, after) {
		t.Errorf("the file was not replaced, or error %v, want a new file", err)
	}
}

// If Update cannot store the tokens, it returns them with the error, and the file has the
// old ones.
func TestTokenFileNotStored(t *testing.T) {
	const notStored = "chatdm.FileTokenStore: cannot store the new tokens: "
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens")
	store := chatdm.NewFileTokenStore(path)
	update := func(name string, tokens chatdm.Tokens, want string, before func()) {
		t.Helper()
		got, err := store.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
			before()
			return tokens, nil
		})
		checkTokenError(t, name, err, notStored)
		checkTokenError(t, name, err, want)
		if got.AccessToken != tokens.AccessToken || !got.Expiry.Equal(tokens.Expiry) {
			t.Errorf("%s: got %v, want the tokens of fn", name, got)
		}
	}
	update("rename", secretTokens, "rename", func() {
		if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	})
	checkFiles(t, dir, "tokens", "tokens.lock")
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	temp := path + ".tmp"
	if err := os.MkdirAll(filepath.Join(temp, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := store.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		t.Error("Update called fn, but it cannot store tokens")
		return secretTokens, nil
	})
	checkTokenError(t, "temporary file", err, "cannot remove the temporary file: remove "+temp)
	if err := os.RemoveAll(temp); err != nil {
		t.Fatal(err)
	}
	old := chatdm.Tokens{AccessToken: "old"}
	if _, err := store.Update(t.Context(), returning(old, nil)); err != nil {
		t.Fatal(err)
	}
	late := secretTokens
	late.Expiry = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	update("year", late, "year outside of range", func() {})
	huge := secretTokens
	huge.AccessToken = strings.Repeat("SECRET", 200_000)
	update("huge", huge, path+": got 16", func() {})
	if got, err := store.Load(t.Context()); err != nil || got != old {
		t.Errorf("Load: got %v, %v, want the old tokens", got, err)
	}
	// The rest of an update that did not finish does not matter.
	if err := os.WriteFile(temp, []byte(strings.Repeat("x", 100_000)), 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(t.Context(), returning(secretTokens, nil)); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Load(t.Context()); err != nil || got != secretTokens {
		t.Errorf("Load: got %v, %v, want the new tokens", got, err)
	}
	checkFiles(t, dir, "tokens", "tokens.lock")
}

// The largest file that can be stored can be loaded.
func TestTokenFileSize(t *testing.T) {
	empty, err := chatdm.Tokens{}.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tokens")
	store := chatdm.NewFileTokenStore(path)
	largest := chatdm.Tokens{AccessToken: strings.Repeat("x", (1<<20-len(empty))/4*3)}
	if _, err := store.Update(t.Context(), returning(largest, nil)); err != nil {
		t.Fatal(err)
	}
	if got, err := store.Load(t.Context()); err != nil || got != largest {
		t.Errorf("Load of the largest file: got error %v, want the tokens", err)
	}
}

// A panic in fn frees the lock.
func TestTokenFilePanic(t *testing.T) {
	store := chatdm.NewFileTokenStore(filepath.Join(t.TempDir(), "tokens"))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("got no panic")
			}
		}()
		_, _ = store.Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) { panic("x") })
	}()
	if _, err := store.Update(t.Context(), returning(secretTokens, nil)); err != nil {
		t.Fatal(err)
	}
}

func TestTokenFileDoneContext(t *testing.T) {
	store := chatdm.NewFileTokenStore(filepath.Join(t.TempDir(), "tokens"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Load(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Load: got %v, want context.Canceled", err)
	}
}

// FuzzTokens reads any data as a file of tokens. The data is either exactly what MarshalBinary
// returns for the tokens, or it is corrupt and the error does not show it.
func FuzzTokens(f *testing.F) {
	for _, tokens := range []chatdm.Tokens{{}, secretTokens, {AccessToken: "\xff\x00"}} {
		data, err := tokens.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(append(data, '\n'))
	}
	f.Add([]byte(`{"AccessToken":"","RefreshToken":"","Expiry":"9999-12-31T23:59:59.999999999-23:59"}`))
	f.Add([]byte(`{"accesstoken":"","RefreshToken":"","Expiry":"2026-11-21T09:30:00.120Z"}`))
	f.Add([]byte(`{"AccessToken":"","RefreshToken":"","Expiry":null}`))
	path := filepath.Join(f.TempDir(), "tokens")
	store := chatdm.NewFileTokenStore(path)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		tokens, err := store.Load(t.Context())
		if err != nil {
			// Every part of the data that is long enough to be a secret.
			for i := 0; i+12 <= len(data); i += 4 {
				if part := string(data[i : i+12]); strings.Contains(err.Error(), part) {
					t.Errorf("the error %q shows %q", err, part)
				}
			}
			if tokens != (chatdm.Tokens{}) {
				t.Errorf("got %v, want no tokens with an error", tokens)
			}
			return
		}
		again, err := tokens.MarshalBinary()
		if err != nil || string(again) != string(data) {
			t.Errorf("got tokens from %q, want an error, because MarshalBinary returns %q, %v", data, again, err)
		}
	})
}
