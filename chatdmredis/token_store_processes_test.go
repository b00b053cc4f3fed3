//go:build unix

package chatdmredis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
)

// tokenWorkerEnv makes TestTokenStoreWorker update tokens until it is killed: the address of
// Redis, the name of the store, the file that detects concurrent updates, and the lock's TTL.
const tokenWorkerEnv = "CHATDMREDIS_TEST_TOKENS"

func TestTokenStoreWorker(t *testing.T) {
	args := strings.Split(os.Getenv(tokenWorkerEnv), " ")
	if len(args) != 4 {
		return
	}
	ttl, err := time.ParseDuration(args[3])
	if err != nil {
		t.Fatal(err)
	}
	client := newClient(args[0])
	s := newTokenStore(t, client, args[1])
	s.timing.lockTTL, s.timing.renew, s.timing.storePeriod = ttl, ttl/5, 20*time.Second
	for {
		number, err := count(s, args[2])
		switch {
		case err == nil:
			fmt.Println("stored", number)
		case errors.Is(err, ErrUnavailable) && number == "":
			time.Sleep(20 * time.Millisecond)
		default:
			fmt.Println("error:", err)
		}
	}
}

// count adds 1 to the number in the tokens.
func count(s *TokenStore, witness string) (string, error) {
	// The system unlocks the file if the process is killed.
	file, err := os.OpenFile(witness, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	tokens, err := s.Update(context.Background(), func(_ context.Context, stored chatdm.Tokens) (chatdm.Tokens, error) {
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return stored, fmt.Errorf("two updates at the same time: %w", err)
		}
		defer func() { _ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) }()
		time.Sleep(rand.N(4 * time.Millisecond))
		n, _ := strconv.Atoi(stored.AccessToken)
		return named(strconv.Itoa(n + 1)), nil
	})
	return tokens.AccessToken, err
}

// tokenWorkers are processes that update the same tokens.
type tokenWorkers struct {
	env  string
	wg   sync.WaitGroup
	mu   sync.Mutex
	seen map[int]bool // the numbers that were stored
	last time.Time    // when a number was last stored
	cmds []*exec.Cmd
}

// start starts a worker. It checks that no two workers store the same number.
func (w *tokenWorkers) start(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestTokenStoreWorker$")
	cmd.Env = append(os.Environ(), tokenWorkerEnv+"="+w.env, "GORACE=atexit_sleep_ms=0")
	output, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.cmds = append(w.cmds, cmd)
	w.wg.Go(func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			n, err := strconv.Atoi(strings.TrimPrefix(lines.Text(), "stored "))
			w.mu.Lock()
			if err != nil || w.seen[n] {
				t.Errorf("worker: got %q, want a new number", lines.Text())
			}
			w.seen[n], w.last = true, time.Now()
			w.mu.Unlock()
		}
	})
	return cmd
}

// awaitProgress waits until a worker stores something.
func (w *tokenWorkers) awaitProgress(t *testing.T) {
	t.Helper()
	start := time.Now()
	for {
		w.mu.Lock()
		progress := w.last.After(start)
		w.mu.Unlock()
		if progress {
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal("no worker stored anything for 20 seconds")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop kills all workers and checks the stored number.
func (w *tokenWorkers) stop(t *testing.T, s *TokenStore) {
	t.Helper()
	for _, cmd := range w.cmds {
		_ = cmd.Process.Kill()
	}
	w.wg.Wait()
	for _, cmd := range w.cmds {
		_ = cmd.Wait()
	}
	tokens, err := s.Load(t.Context())
	last, _ := strconv.Atoi(tokens.AccessToken)
	if err != nil || tokens != named(strconv.Itoa(last)) {
		t.Errorf("got the access token %q, %v, want complete tokens", tokens.AccessToken, err)
	}
	for n := range w.seen {
		if n > last {
			t.Errorf("number %d was stored, but the store has %d", n, last)
		}
	}
	t.Logf("%d updates, of which %d were reported", last, len(w.seen))
}

func newTokenWorkers(t *testing.T, server *server, ttl time.Duration) *tokenWorkers {
	return &tokenWorkers{
		env:  fmt.Sprintf("%s T1 %s %v", server.addr, filepath.Join(t.TempDir(), "witness"), ttl),
		seen: make(map[int]bool),
	}
}

// Redis is killed and restarted while three processes update tokens. Updates never run
// concurrently, and no stored tokens are lost.
func TestTokenStoreSurvivesKilledRedis(t *testing.T) {
	t.Parallel()
	server := ownServer(t, "--appendonly", "yes", "--appendfsync", "always")
	w := newTokenWorkers(t, server, 10*time.Second)
	for range 3 {
		w.start(t)
	}
	for range 8 {
		w.awaitProgress(t)
		time.Sleep(rand.N(20 * time.Millisecond))
		server.kill()
		time.Sleep(rand.N(100 * time.Millisecond))
		server.start(t)
	}
	w.awaitProgress(t)
	w.stop(t, newTokenStore(t, server.client(t), "T1"))
}

// Processes are killed while they update tokens. The lock of a dead process expires.
func TestTokenStoreSurvivesKilledProcesses(t *testing.T) {
	t.Parallel()
	server := ownServer(t)
	w := newTokenWorkers(t, server, 400*time.Millisecond)
	workers := []*exec.Cmd{w.start(t), w.start(t)}
	for i := range 15 {
		w.awaitProgress(t)
		time.Sleep(rand.N(5 * time.Millisecond))
		_ = workers[i%2].Process.Kill()
		workers[i%2] = w.start(t)
	}
	w.awaitProgress(t)
	w.stop(t, newTokenStore(t, server.client(t), "T1"))
}
