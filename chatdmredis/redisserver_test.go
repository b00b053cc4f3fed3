//go:build unix

package chatdmredis

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// discardLogger discards what the Redis client logs about failed connections.
type discardLogger struct{}

func (discardLogger) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(discardLogger{})
	if job := os.Getenv(workerEnv); job != "" {
		runWorker(job)
		return
	}
	_ = flag.Set("test.parallel", "20") // most tests sleep; a flag on the command line overrides this
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if shared.server != nil {
			shared.server.kill()
			_ = os.RemoveAll(shared.server.dir)
		}
		os.Exit(code)
	}))
}

// server is a redis-server process on loopback that stores nothing on disk.
type server struct {
	path, dir, addr string
	args            []string
	cmd             *exec.Cmd
}

// redisServer returns the path of redis-server. If it is not installed, the test
// fails in CI and is skipped elsewhere.
func redisServer(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		const text = "cannot test chatdmredis: redis-server is not installed (on Debian: apt-get install redis-server)"
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	return path
}

// shared is the server for tests that do not affect other tests.
var shared struct {
	once   sync.Once
	server *server
}

func sharedServer(t *testing.T) *server {
	t.Helper()
	path := redisServer(t)
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "chatdmredis")
		if err != nil {
			t.Fatal(err)
		}
		shared.server = newServer(t, path, dir)
	})
	t.Cleanup(func() {
		// With -count, the next run of the test must not find the keys of this run.
		client := newClient(shared.server.addr)
		defer client.Close()
		keys, err := client.Keys(context.Background(), "*{"+t.Name()+"[-:0-9]*").Result()
		if err == nil && len(keys) > 0 {
			err = client.Del(context.Background(), keys...).Err()
		}
		if err != nil {
			t.Error(err)
		}
	})
	return shared.server
}

// ownServer returns a server that only this test uses. The test may stop it.
func ownServer(t *testing.T, args ...string) *server {
	t.Helper()
	s := newServer(t, redisServer(t), t.TempDir(), args...)
	t.Cleanup(s.kill)
	return s
}

// usedPorts holds the ports of all servers, so that no two servers share one.
var usedPorts sync.Map

func newServer(t *testing.T, path, dir string, args ...string) *server {
	t.Helper()
	s := &server{path: path, dir: dir, args: args}
	for s.addr == "" {
		// Not port 0: the system would offer a port that outgoing connections use too,
		// and one of them could take it before redis-server does.
		port := 20_000 + rand.IntN(10_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		if _, used := usedPorts.LoadOrStore(port, true); !used {
			s.addr = l.Addr().String()
		}
		l.Close()
	}
	s.start(t)
	return s
}

// start starts the server without data. A restarted server has the same address.
func (s *server) start(t *testing.T) {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	s.cmd = exec.Command(s.path, append([]string{
		"--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", s.dir,
		"--logfile", filepath.Join(s.dir, "log"), "--daemonize", "no",
	}, s.args...)...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if conn, err := net.Dial("tcp", s.addr); err == nil {
			conn.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("redis-server does not accept connections; see ", filepath.Join(s.dir, "log"))
}

func (s *server) kill() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

func (s *server) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func (s *server) client(t *testing.T) *redis.Client {
	c := newClient(s.addr)
	t.Cleanup(func() { c.Close() })
	return c
}

func newClient(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: addr, ReadTimeout: time.Second, MaxRetries: -1, DialerRetries: 1})
}

const (
	closeKey = "slack.conversations.close"
	postKey  = "slack.chat.postMessage"
)

// longTimeout keeps operations from failing on a busy machine.
var longTimeout = WithTimeout(3 * time.Second)

// newLimiter returns a limiter with a shorter minute.
func newLimiter(t testing.TB, client redis.UniversalClient, name string, minute time.Duration, opts ...Option) *Limiter {
	t.Helper()
	l, err := NewLimiter(client, name, append([]Option{longTimeout}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	shortenMinute(l, minute)
	return l
}

func shortenMinute(l *Limiter, minute time.Duration) {
	l.timing = timing{
		minute: minute, window: minute + minute/40, lateness: minute / 20,
		recovery: 5 * minute, checkInterval: minute / 12, retryInterval: minute / 20,
	}
	l.initFallback()
}
