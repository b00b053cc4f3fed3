package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// connect returns the Redis client that asynq and the limiter share.
func (p *program) connect(ctx context.Context) (*redis.Client, error) {
	addr := cmp.Or(p.redis, p.env("REDIS_URL"))
	if addr == "" {
		return nil, errors.New("-redis or REDIS_URL must be set")
	}
	if !strings.Contains(addr, "://") {
		addr = "redis://" + addr
	}
	opts, err := redis.ParseURL(addr)
	if err != nil {
		// The text of err may contain a part of the password.
		return nil, errors.New("the address of Redis must be host:port or redis[s]://user:password@host:port/0")
	}
	// The Redis client must not retry: taking a task from the queue twice would take
	// two tasks. asynq has its own retries, and the limiter reports failures.
	opts.MaxRetries, opts.DialerRetries = -1, 1
	rdb := redis.NewClient(opts)
	if err := rdb.Ping(ctx).Err(); err != nil {
		rdb.Close()
		return nil, fmt.Errorf("redis at %s: %w", opts.Addr, err)
	}
	return rdb, nil
}

// queueOf returns the name of a workspace's queue, rate limit, and token store. The workspace
// "" is the one that SLACK_TOKEN belongs to.
func (p *program) queueOf(workspace string) string {
	if workspace == "" {
		return p.name
	}
	return workspace + "/" + p.name
}

// workspaces returns the workspaces that have a queue, in alphabetical order.
func (p *program) workspaces(rdb *redis.Client) (list []string, err error) {
	queues, err := asynq.NewInspectorFromRedisClient(rdb).Queues()
	for _, queue := range queues {
		workspace, ok := strings.CutSuffix(queue, "/"+p.name)
		switch {
		case queue == p.name:
			list = append(list, "")
		case ok && isWorkspace(workspace):
			list = append(list, workspace)
		}
	}
	slices.Sort(list)
	return list, err
}
