//go:build unix

package chatdm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
)

func TestTokenFileAccess(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens")
	store := chatdm.NewFileTokenStore(path)
	if _, err := store.Update(t.Context(), returning(secretTokens, nil)); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o604, 0o640, 0o601, 0o610, 0o602, 0o620, 0o644, 0o660, 0o666, 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(": %s: got mode %#o, which gives other users access, want 0600; run chmod 600 %s", path, mode, path)
		checkUnusable(t, mode.String(), store, dir, want)
	}
	for _, mode := range []os.FileMode{0o400, 0o600, 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Load(t.Context()); err != nil || got != secretTokens {
			t.Errorf("mode %v: got %v, %v, want the tokens", mode, got, err)
		}
	}
	// An update replaces a read-only file.
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(t.Context(), returning(chatdm.Tokens{}, nil)); err != nil {
		t.Error(err)
	}
	checkFiles(t, dir, "tokens", "tokens.lock")
}

func TestTokenFileOfAnotherUser(t *testing.T) {
	if os.Geteuid() == 0 {
		dir := t.TempDir()
		path := filepath.Join(dir, "tokens")
		store := chatdm.NewFileTokenStore(path)
		if _, err := store.Update(t.Context(), returning(secretTokens, nil)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 12345, 0); err != nil {
			t.Fatal(err)
		}
		checkUnusable(t, "chown", store, dir, "got a file of the user with ID 12345, want one of the current user (0); run chown 0 on it")
		return
	}
	_, err := chatdm.NewFileTokenStore("/etc/passwd").Load(t.Context())
	checkTokenError(t, "/etc/passwd", err, "got a file of the user with ID 0, want one of the current user")
}

func TestUnreadableTokenFile(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can read every file")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens")
	if err := os.WriteFile(path, nil, 0); err != nil {
		t.Fatal(err)
	}
	checkUnusable(t, "mode 0", chatdm.NewFileTokenStore(path), dir, "permission denied; want a file that the current user can read")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700) // so that the cleanup can remove it
	for _, what := range []string{"temporary", "lock"} {
		_, err := chatdm.NewFileTokenStore(path).Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
			t.Error("Update called fn")
			return secretTokens, nil
		})
		checkTokenError(t, "read-only directory", err, what+" file: ")
		checkTokenError(t, "read-only directory", err, "permission denied; want a directory that the current user can write to")
		if err := errors.Join(os.Chmod(dir, 0o700), os.Remove(path+".lock"), os.Chmod(dir, 0o500)); err != nil && what == "temporary" {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	_, err := chatdm.NewFileTokenStore(path).Load(t.Context())
	checkTokenError(t, "closed directory", err, "permission denied")
}

// A named pipe does not block.
func TestTokenFileIsPipe(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip("cannot make a named pipe:", err)
	}
	checkUnusable(t, "pipe", chatdm.NewFileTokenStore(path), dir, path+": got a file with mode prw-------, want a regular file")
}

// tokenWorkerEnv makes TestTokenFileWorker do something in its own process.
const tokenWorkerEnv = "CHATDM_TEST_TOKEN_FILE"

func tokenWorker(task, path string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^TestTokenFileWorker$")
	cmd.Env = append(os.Environ(), tokenWorkerEnv+"="+task+" "+path, "GORACE=atexit_sleep_ms=0")
	return cmd
}

func TestTokenFileWorker(t *testing.T) {
	task, path, _ := strings.Cut(os.Getenv(tokenWorkerEnv), " ")
	switch task {
	case "":
		return
	case "small":
		updateFullDisk(t, path)
	case "count":
		for {
			countUpdate(t, path)
		}
	}
}

// updateFullDisk tries to store tokens while the process can write only 20 bytes to a file.
func updateFullDisk(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 20
	tokens, err := chatdm.NewFileTokenStore(path).Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		return secretTokens, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small)
	})
	checkFiles(t, filepath.Dir(path), "tokens", "tokens.lock")
	// If there is no space at the start, fn is not called.
	_, err2 := chatdm.NewFileTokenStore(path).Update(t.Context(), func(context.Context, chatdm.Tokens) (chatdm.Tokens, error) {
		t.Error("Update called fn")
		return secretTokens, nil
	})
	checkFiles(t, filepath.Dir(path), "tokens", "tokens.lock")
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	checkTokenError(t, "full disk at the start", err2, "cannot write the temporary file: write "+path+".tmp: file too large; want enough space on the disk")
	if tokens != secretTokens {
		t.Error("Update lost the tokens")
	}
	checkTokenError(t, "full disk", err, "cannot store the new tokens: write "+path+".tmp: file too large")
}

func TestTokenFileFullDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tokens")
	old := chatdm.Tokens{AccessToken: "old"}
	if _, err := chatdm.NewFileTokenStore(path).Update(t.Context(), returning(old, nil)); err != nil {
		t.Fatal(err)
	}
	if output, err := tokenWorker("small", path).CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, output)
	}
	checkFiles(t, dir, "tokens", "tokens.lock")
	if got, err := chatdm.NewFileTokenStore(path).Load(t.Context()); err != nil || got != old {
		t.Errorf("Load: got %v, %v, want the old tokens", got, err)
	}
}

// numbered returns tokens that take several writes of the file system.
func numbered(n int) chatdm.Tokens {
	text := strconv.Itoa(n)
	return chatdm.Tokens{AccessToken: text, RefreshToken: strings.Repeat(text+" ", 10_000), Expiry: time.Unix(int64(n), 0).UTC()}
}

// countUpdate adds 1 to the number in the tokens, and prints it after it is stored.
func countUpdate(t *testing.T, path string) {
	witness, err := os.OpenFile(path+".witness", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer witness.Close()
	tokens, err := chatdm.NewFileTokenStore(path).Update(context.Background(), func(_ context.Context, stored chatdm.Tokens) (chatdm.Tokens, error) {
		if err := syscall.Flock(int(witness.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			t.Fatal("two updates at the same time: ", err)
		}
		defer syscall.Flock(int(witness.Fd()), syscall.LOCK_UN)
		time.Sleep(rand.N(2 * time.Millisecond))
		n, _ := strconv.Atoi(stored.AccessToken)
		if stored != numbered(n) && n > 0 {
			t.Fatal("the stored tokens are incomplete")
		}
		return numbered(n + 1), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("stored", tokens.AccessToken)
}

// Processes update the same tokens and are killed at random moments. Updates never run
// concurrently, the file is always complete, no stored tokens are lost, and the lock is
// always free again.
func TestTokenFileKilled(t *testing.T) {
	kills, workers := 50, 3
	if testing.Short() {
		kills = 10
	}
	path := filepath.Join(t.TempDir(), "tokens")
	store := chatdm.NewFileTokenStore(path)
	var mu sync.Mutex
	stored := map[int]bool{}
	load := func() int {
		t.Helper()
		tokens, err := store.Load(t.Context())
		n, _ := strconv.Atoi(tokens.AccessToken)
		if err != nil || n > 0 && tokens != numbered(n) {
			t.Fatalf("got number %d, error %v, want complete tokens", n, err)
		}
		return n
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				kills--
				done := kills < 0
				mu.Unlock()
				if done || t.Failed() {
					return
				}
				cmd := tokenWorker("count", path)
				output, err := cmd.StdoutPipe()
				if err == nil {
					err = cmd.Start()
				}
				if err != nil {
					t.Error(err)
					return
				}
				lines := bufio.NewScanner(output)
				updates := rand.IntN(10)
				for lines.Scan() {
					n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "stored "))
					if err != nil {
						t.Errorf("worker: %s", lines.Text())
						continue
					}
					mu.Lock()
					if stored[n] {
						t.Errorf("two processes stored number %d", n)
					}
					stored[n] = true
					mu.Unlock()
					if updates--; updates == -1 {
						time.AfterFunc(rand.N(5*time.Millisecond), func() { _ = cmd.Process.Kill() })
					}
				}
				_ = cmd.Wait()
				if cmd.ProcessState.Exited() {
					t.Error("a worker failed")
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { wg.Wait(); close(finished) }()
	last := 0
	for running := true; running; {
		select {
		case <-finished:
			running = false
		default:
			time.Sleep(time.Millisecond)
		}
		n := load()
		if n < last {
			t.Fatalf("got number %d after %d", n, last)
		}
		last = n
	}
	for n := range stored {
		if n > last {
			t.Errorf("number %d was stored, but the store has %d", n, last)
		}
	}
	t.Logf("%d updates, of which %d were reported", last, len(stored))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := store.Update(ctx, returning(numbered(last+1), nil)); err != nil {
		t.Errorf("after the kills: got error %v, want a free lock", err)
	}
	checkFiles(t, filepath.Dir(path), "tokens", "tokens.lock", "tokens.witness")
}
