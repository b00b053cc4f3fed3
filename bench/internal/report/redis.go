package report

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is a Redis process on a socket in a temporary directory. It writes
// nothing to disk.
type Redis struct {
	Socket, Version string
	Client          *redis.Client
	Stop            func()
}

// StartRedis starts redis-server, which must be in the PATH.
func StartRedis(ctx context.Context) (*Redis, error) {
	dir, err := os.MkdirTemp("", "redis")
	if err != nil {
		return nil, err
	}
	s := &Redis{Socket: filepath.Join(dir, "redis.sock")}
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", s.Socket, "--save", "", "--appendonly", "no", //nolint:noctx // Stop ends it
		"--dir", dir, "--logfile", filepath.Join(dir, "log"), "--daemonize", "no")
	if err := cmd.Start(); err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	s.Client = redis.NewClient(&redis.Options{Network: "unix", Addr: s.Socket})
	s.Stop = func() {
		_ = s.Client.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		info, err := s.Client.InfoMap(ctx, "server").Result()
		if err == nil {
			s.Version = info["Server"]["redis_version"]
			return s, nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			s.Stop()
			return nil, fmt.Errorf("redis-server does not respond: %w", err)
		}
	}
}

// Load is the work of a Redis process so far.
type Load struct {
	Scripts int
	Spent   time.Duration // processor time
	Memory  int
}

// Load returns the work so far.
func (s *Redis) Load(ctx context.Context) (Load, error) {
	info, err := s.Client.InfoMap(ctx, "commandstats", "memory", "cpu").Result()
	if err != nil {
		return Load{}, err
	}
	var l Load
	for name, value := range info["Commandstats"] {
		if strings.HasPrefix(name, "cmdstat_eval") { // eval, and evalsha
			var n int
			if _, err := fmt.Sscanf(value, "calls=%d", &n); err != nil {
				return Load{}, fmt.Errorf("%s:%s: %w", name, value, err)
			}
			l.Scripts += n
		}
	}
	var user, system float64
	_, err = fmt.Sscan(info["Memory"]["used_memory"]+" "+info["CPU"]["used_cpu_user"]+" "+info["CPU"]["used_cpu_sys"], &l.Memory, &user, &system)
	l.Spent = time.Duration((user + system) * float64(time.Second))
	return l, err
}
