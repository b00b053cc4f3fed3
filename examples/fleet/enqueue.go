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

// closeTask is the payload of such a task.
type closeTask struct {
	Channel string `json:"channel"`
}

// taskTimeout bounds a delivery, most of which is the wait for its turn: of 20
// calls a minute, the last of 50 machines that hold two tasks each gets its turn
// after five minutes. It may be long. A call has a timeout of its own, and the
// tasks of a dead worker come back with its leases, however long they may run.
const taskTimeout = 10 * time.Minute

// enqueue needs no care for signals: whatever it was doing, it can be run again.
func (p *program) enqueue(ctx context.Context, rdb *redis.Client) error {
	given, err := p.readIDs()
	if err != nil {
		return fmt.Errorf("-ids: %w", err)
	}
	client := asynq.NewClientFromRedisClient(rdb)
	added, known := 0, 0
	for _, id := range given {
		payload, err := json.Marshal(closeTask{Channel: id})
		if err != nil {
			return err
		}
		// With the id of the conversation as its own a task is there once, whether
		// it waits, is done, or is a dead letter.
		_, err = client.EnqueueContext(ctx, asynq.NewTask(taskType, payload),
			asynq.Queue(p.name), asynq.TaskID(id), asynq.Timeout(taskTimeout), asynq.Retention(p.keep))
		switch {
		case err == nil:
			added++
		case errors.Is(err, asynq.ErrTaskIDConflict):
			known++
		default:
			return fmt.Errorf("%s, after %d others: %w", id, added+known, err)
		}
	}
	fmt.Fprintf(p.stdout, "%d enqueued, %d already known\n", added, known)
	return nil
}

// readIDs reads the file of ids, or standard input.
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
