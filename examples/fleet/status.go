package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

func (p *program) status(_ context.Context, rdb *redis.Client) error {
	list, err := p.workspaces(rdb)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("there is no queue %s: nothing was enqueued, or Redis lost its data", p.name)
	}
	for _, workspace := range list {
		r, err := read(asynq.NewInspectorFromRedisClient(rdb), p.queueOf(workspace))
		if err != nil {
			return err
		}
		r.print(p.stdout)
	}
	return nil
}

// report is the state of the tasks of a queue. It may miss a task that changes its
// state in the meantime, or count it twice.
type report struct {
	queue     *asynq.QueueInfo
	done      map[result]int
	postponed map[string]int // by the last error
	retries   int
	dead      []*asynq.TaskInfo
}

func read(inspector *asynq.Inspector, queue string) (*report, error) {
	r := &report{done: make(map[result]int), postponed: make(map[string]int)}
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
	case asynq.TaskStateRetry:
		text, _, _ := strings.Cut(task.LastErr, " (") // omit the request ID
		r.postponed[text]++
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

// maxShown limits the errors, and the dead letters, that print prints.
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
	texts := slices.SortedFunc(maps.Keys(r.postponed), func(a, b string) int { return cmp.Compare(r.postponed[b], r.postponed[a]) })
	for _, text := range texts[:min(len(texts), maxShown)] {
		fmt.Fprintf(out, "%6d  postponed: %s\n", r.postponed[text], text)
	}
	for i, task := range r.dead {
		if i == maxShown {
			fmt.Fprintf(out, "… and %d more\n", len(r.dead)-i)
			break
		}
		fmt.Fprintf(out, "dead letter %s: %s\n", task.ID, strings.TrimSuffix(task.LastErr, ": "+asynq.SkipRetry.Error()))
	}
}
