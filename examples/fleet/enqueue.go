package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm/examples/internal/ids"
)

// taskType names the tasks that close a conversation.
const taskType = "conversations.close"

// closeTask is the payload of a task. The name of its queue is that of its workspace.
type closeTask struct {
	Channel string `json:"channel"`
}

// taskTimeout limits a delivery, which mostly waits for a slot of the rate limit: at
// 20 calls per minute, the last of 50 machines with two tasks each waits five
// minutes. A long timeout is safe: a call has its own timeout, and asynq recovers the
// tasks of a killed worker when its leases expire.
const taskTimeout = 10 * time.Minute

// enqueue adds a task for each ID. If it is interrupted, run it again.
func (p *program) enqueue(ctx context.Context, rdb *redis.Client) error {
	list, err := p.readIDs()
	if err != nil {
		return fmt.Errorf("-ids: %w", err)
	}
	client := asynq.NewClientFromRedisClient(rdb)
	added, known := 0, 0
	for _, id := range list {
		payload, err := json.Marshal(closeTask{Channel: id})
		if err != nil {
			return err
		}
		// The conversation's ID is the task's ID in the queue of its workspace, so a
		// conversation never has two tasks, even if the first is finished or a dead letter.
		_, err = client.EnqueueContext(ctx, asynq.NewTask(taskType, payload),
			asynq.Queue(p.queueOf(p.workspace)), asynq.TaskID(id), asynq.Timeout(taskTimeout), asynq.Retention(p.keep))
		switch {
		case err == nil:
			added++
		case errors.Is(err, asynq.ErrTaskIDConflict):
			known++
		default:
			return fmt.Errorf("cannot enqueue %s, after %d others: %w", id, added+known, err)
		}
	}
	fmt.Fprintf(p.stdout, "%d enqueued, %d already known\n", added, known)
	return nil
}

// readIDs reads the IDs from the file that -ids names, or from standard input.
func (p *program) readIDs() ([]string, error) {
	if p.ids == "-" {
		return ids.Read(p.stdin)
	}
	file, err := os.Open(p.ids)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return ids.Read(file)
}
