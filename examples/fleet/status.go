package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

func (p *program) status(_ context.Context, rdb *redis.Client) error {
	r, err := read(asynq.NewInspectorFromRedisClient(rdb), p.name)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return fmt.Errorf("there is no queue %s: nothing was enqueued, or Redis lost its data", p.name)
	}
	if err == nil {
		r.print(p.stdout)
	}
	return err
}

// report is the state of the tasks of a queue. It may miss a task that changes its
// state in the meantime, or count it twice.
type report struct {
	queue   *asynq.QueueInfo
	done    map[result]int
	retries int
	dead    []*asynq.TaskInfo
}

func read(inspector *asynq.Inspector, queue string) (*report, error) {
	r := &report{done: make(map[result]int)}
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		inspector.ListPendingTasks, inspector.ListActiveTasks, inspector.ListRetryTasks, inspector.ListArchivedTasks, inspector.ListCompletedTasks,
	} {
		const size = 1000
		for page := 1; ; page++ {
			tasks, err := list(queue, asynq.PageSize(size), asynq.Page(page))
			if err != nil {
				return nil, err
			}
			for _, task := range tasks {
				r.add(task)
			}
			if len(tasks) < size {
				break
			}
		}
	}
	var err error
	r.queue, err = inspector.GetQueueInfo(queue)
	return r, err
}

func (r *report) add(task *asynq.TaskInfo) {
	r.retries += task.Retried
	switch task.State {
	case asynq.TaskStateArchived:
		r.dead = append(r.dead, task)
	case asynq.TaskStateCompleted:
		var done result
		if err := json.Unmarshal(task.Result, &done); err != nil {
			done = result{Outcome: "finished by another program"}
		}
		r.done[done]++
	}
}

// maxShown limits the dead letters that print prints.
const maxShown = 20

func (r *report) print(out io.Writer) {
	q := r.queue
	fmt.Fprintf(out, "%s: %d waiting, %d postponed, %d running, %d finished, %d dead letters; %d retries\n",
		q.Queue, q.Pending, q.Retry, q.Active, q.Completed, q.Archived, r.retries)
	for _, done := range slices.SortedFunc(maps.Keys(r.done), func(a, b result) int {
		return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Outcome, b.Outcome))
	}) {
		fmt.Fprintf(out, "%6d  %s (worker %s)\n", r.done[done], done.Outcome, done.Worker)
	}
	for i, task := range r.dead {
		if i == maxShown {
			fmt.Fprintf(out, "… and %d more\n", len(r.dead)-i)
			break
		}
		fmt.Fprintf(out, "dead letter %s: %s\n", task.ID, strings.TrimSuffix(task.LastErr, ": "+asynq.SkipRetry.Error()))
	}
}
