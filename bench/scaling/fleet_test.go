//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/bench/internal/report"
	"github.com/chatdm/chatdm/chatdmredis"
	"github.com/chatdm/chatdm/chatdmtest"
)

// simulate lets one goroutine per workspace close direct messages without a break, for
// some minutes of fake time. It runs in a testing/synctest bubble.
func simulate(ctx context.Context, workspaces, minutes int) (simulation, error) {
	s := simulation{Workspaces: workspaces, Minutes: minutes}
	slack := &tieredServer{calls: make(map[string]int)}
	first, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithHTTPClient(&http.Client{Transport: slack}))
	if err != nil {
		return s, err
	}
	if _, err := first.Conversations.Close(ctx, "D0"); err != nil { // fills caches
		return s, err
	}
	slack.done = 0
	clients := make([]*chatdm.Client, workspaces)
	one := func(i int) error {
		_, err := clients[i].Conversations.Close(ctx, "D0")
		return err
	}
	var failed error
	s.Retained = report.Retained(workspaces, func(i int) any {
		if clients[i], err = first.WithToken("xoxb-"+strconv.Itoa(i), chatdm.WithLimiter(chatdm.NewTierLimiter())); err == nil {
			err = one(i)
		}
		if err != nil {
			failed = err
		}
		return clients[i]
	})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before := report.Settled()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = one(i) // the server counts the calls
			}
		})
	}
	time.Sleep(time.Duration(minutes)*time.Minute - time.Second)
	after := report.Settled()
	s.Waiting = float64(after.HeapAlloc+after.StackInuse-before.HeapAlloc-before.StackInuse) / float64(workspaces)
	cancel()
	wg.Wait()
	runtime.KeepAlive(clients)
	s.Done, s.Refused = slack.done, slack.refused
	return s, failed
}

// tieredServer is a RoundTripper that rejects the 21st call of a workspace in a minute.
type tieredServer struct {
	mu            sync.Mutex
	calls         map[string]int // of a workspace in a minute
	done, refused int
}

func (s *tieredServer) RoundTrip(req *http.Request) (*http.Response, error) {
	_ = req.Body.Close()
	minute := req.Header.Get("Authorization") + time.Now().Format(" 15:04")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[minute]++
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Request: req, ContentLength: -1}
	resp.Body = io.NopCloser(strings.NewReader(`{"ok":true}`))
	if s.calls[minute] <= perMinute {
		s.done++
		return resp, nil
	}
	s.refused++
	resp.StatusCode = http.StatusTooManyRequests
	resp.Header.Set("Retry-After", "30")
	return resp, nil
}

// measureFleet counts the commands that workers send to Redis. Each of them has an
// asynq server, as in examples/fleet, and its own chatdmredis limiter.
func (r *results) measureFleet(ctx context.Context, rdb *report.Redis) error {
	counter := new(commandCounter)
	newClient := func() *redis.Client {
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: rdb.Socket})
		client.AddHook(counter)
		return client
	}
	length := max(2*time.Second, min(30*time.Second, r.Length/20))
	tasks := make(chan struct{}, fleetTasks)
	var servers sync.WaitGroup
	defer servers.Wait()
	stop := make(chan struct{})
	defer close(stop)
	for range fleetWorkers {
		client := newClient()
		server := asynq.NewServerFromRedisClient(client, asynq.Config{
			Concurrency: 2, Queues: map[string]int{"fleet": 1}, DelayedTaskCheckInterval: time.Second, LogLevel: asynq.FatalLevel,
		})
		err := server.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			tasks <- struct{}{}
			return nil
		}))
		if err != nil {
			return err
		}
		servers.Go(func() {
			<-stop
			server.Shutdown()
			_ = client.Close()
		})
	}
	perSecond := func(n int64, start time.Time) float64 { return float64(n) / time.Since(start).Seconds() }
	time.Sleep(time.Second) // the workers start
	start, before := time.Now(), counter.Load()
	time.Sleep(length)
	r.FleetIdle = perSecond(counter.Load()-before, start)

	client := newClient()
	defer client.Close()
	queue := asynq.NewClientFromRedisClient(client)
	start, before = time.Now(), counter.Load()
	for i := range fleetTasks {
		if _, err := queue.EnqueueContext(ctx, asynq.NewTask("close", nil), asynq.Queue("fleet"), asynq.TaskID(strconv.Itoa(i)), asynq.Retention(time.Hour)); err != nil {
			return err
		}
	}
	for range fleetTasks {
		select {
		case <-tasks:
		case <-time.After(time.Minute):
			return fmt.Errorf("not all of %d tasks were done", fleetTasks)
		}
	}
	r.FleetTask = (float64(counter.Load()-before) - r.FleetIdle*time.Since(start).Seconds()) / fleetTasks
	return r.measureFleetLimiter(ctx, rdb, length)
}

// measureFleetLimiter counts the scripts that limiters run while all of them wait for
// the same workspace.
func (r *results) measureFleetLimiter(ctx context.Context, rdb *report.Redis, length time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for range fleetWorkers {
		limiter, err := chatdmredis.NewLimiter(rdb.Client, "fleet")
		if err != nil {
			return err
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				_ = limiter.Wait(ctx, closeKey)
			}
		})
	}
	time.Sleep(length / 5) // the burst ends
	start := time.Now()
	before, err := rdb.Load(ctx)
	if err != nil {
		return err
	}
	time.Sleep(length)
	after, err := rdb.Load(ctx)
	if err != nil {
		return err
	}
	r.FleetScripts = float64(after.Scripts-before.Scripts) / time.Since(start).Seconds()
	cancel()
	wg.Wait()
	return nil
}

// commandCounter counts the commands of a Redis client.
type commandCounter struct{ atomic.Int64 }

func (c *commandCounter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *commandCounter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.Add(1)
		return next(ctx, cmd)
	}
}

func (c *commandCounter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}
