//go:build unix

package chatdmredis

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
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

	"github.com/chatdm/chatdm"
)

// quiet keeps the Redis client from printing that it cannot connect.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	if job := os.Getenv(workerEnv); job != "" {
		work(job)
		return
	}
	_ = flag.Set("test.parallel", "20") // most of them sleep; the command line has the last word
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if shared.server != nil {
			shared.server.kill()
			_ = os.RemoveAll(shared.server.dir)
		}
		os.Exit(code)
	}))
}

// server is a redis-server on loopback that keeps nothing on disk.
type server struct {
	path, dir, addr string
	args            []string
	cmd             *exec.Cmd
}

// redisServer finds redis-server. Without it the tests are skipped, but in CI
// they fail.
func redisServer(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		text := "redis-server is not installed (on Debian: apt-get install redis-server): chatdmredis is not tested"
		if os.Getenv("CI") == "true" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	return path
}

// shared is the server of the tests that do it no harm.
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
		// Run again, the test would meet its own counts.
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

// ownServer is a server that the test may kill.
func ownServer(t *testing.T, args ...string) *server {
	t.Helper()
	s := newServer(t, redisServer(t), t.TempDir(), args...)
	t.Cleanup(s.kill)
	return s
}

func newServer(t *testing.T, path, dir string, args ...string) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{path: path, dir: dir, addr: l.Addr().String(), args: args}
	l.Close()
	s.start(t)
	return s
}

// start starts the server, empty, on the address that it had before.
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
	t.Fatal("redis-server does not answer; see ", filepath.Join(s.dir, "log"))
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

const closeKey = "slack.conversations.close"

// patient is for a machine that is busy with other tests.
var patient = WithTimeout(3 * time.Second)

// newLimiter is a limiter with shorter times.
func newLimiter(t testing.TB, client redis.UniversalClient, name string, minute time.Duration, opts ...Option) *Limiter {
	t.Helper()
	l, err := NewLimiter(client, name, append([]Option{patient}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	shorten(l, minute)
	return l
}

func shorten(l *Limiter, minute time.Duration) {
	l.times = times{
		minute: minute, window: minute + minute/40, grace: minute / 100,
		recovery: 5 * minute, look: minute / 12, probe: minute / 20,
	}
	l.fallBackTo()
}

// job is what a process of its own has to do: close direct messages from some
// goroutines, from start on and for so long.
type job struct {
	Redis, Slack, Name string
	Calls, Goroutines  int
	Minute, For        time.Duration
	Start              time.Time
}

// done is what it says of it.
type done struct {
	Passed, Unavailable, Others int
	Slowest                     time.Duration // of the calls that failed because of Redis
	Other                       string
}

const workerEnv = "CHATDMREDIS_TEST_JOB"

func work(text string) {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		panic(err)
	}
	rdb := newClient(j.Redis)
	opts := []Option{patient, WithTier(closeKey, chatdm.Tier{PerMinute: j.Calls})}
	l, err := NewLimiter(rdb, j.Name, opts...)
	if err != nil {
		panic(err)
	}
	shorten(l, j.Minute)
	d := closeUntil(l, j.Slack, j.Start, j.Start.Add(j.For), j.Goroutines)
	rdb.Close()
	if err := json.NewEncoder(os.Stdout).Encode(d); err != nil {
		panic(err)
	}
}

// start starts a process for the job and returns its answer later.
func (j job) start(t *testing.T) func() done {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	return sync.OnceValue(func() done {
		defer cancel()
		var d done
		err := json.NewDecoder(out).Decode(&d)
		if e := cmd.Wait(); err == nil {
			err = e
		}
		if err != nil {
			d.Other = fmt.Sprint("the process failed: ", err)
		}
		return d
	})
}
