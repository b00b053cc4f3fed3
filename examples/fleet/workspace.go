package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmredis"
)

// closeKey is the limiter key of conversations.close.
const closeKey = "slack.conversations.close"

// The outcomes of finished tasks.
const (
	closed        = "closed"
	alreadyClosed = "already closed"
	// The conversation was closed already, and an earlier delivery that failed may
	// have closed it. A delivery that a stopping worker returned to the queue does not
	// count as failed, so the fleet may also have closed an "already closed" one.
	closedEarlier = "closed by an earlier attempt"
)

// result is what a worker stores with a finished task.
type result struct {
	Outcome string `json:"outcome"`
	Worker  string `json:"worker"`
}

// maxDenied is after how many calls in a row that fail with KindPermissionDenied a worker
// sets a workspace aside. A single failure may concern only one conversation.
const maxDenied = 5

// workspace processes the tasks of one workspace.
type workspace struct {
	worker string
	client *chatdm.Client
	log    *slog.Logger
	stop   context.CancelCauseFunc
	denied atomic.Int64 // calls in a row
}

// serveWorkspace processes the tasks of a workspace until ctx ends or Slack rejects its
// credential. The workspace has its own asynq server, because the tasks of one workspace
// wait for its rate limit and must not occupy the goroutines of another.
func (w *worker) serveWorkspace(ctx context.Context, name string) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	log := w.log
	if name != "" {
		log = log.With("workspace", name)
	}
	client, err := w.newClient(ctx, name, log)
	if err != nil {
		return err
	}
	ws := &workspace{worker: w.program.worker, client: client, log: log, stop: stop}
	mux := asynq.NewServeMux()
	mux.HandleFunc(taskType, ws.close)
	server := asynq.NewServerFromRedisClient(w.rdb, asynq.Config{
		Queues: map[string]int{w.queueOf(name): 1},
		// The rate limit sets the pace, so more tasks at once would not speed it up.
		// With two, a worker misses no slot while it waits for a response.
		Concurrency:              w.concurrency,
		DelayedTaskCheckInterval: time.Second,
		IsFailure:                isFailure,
		RetryDelayFunc:           retryDelay,
		ErrorHandler:             asynq.ErrorHandlerFunc(ws.logFailure),
		Logger:                   asynqLog{log},
		LogLevel:                 asynq.WarnLevel,
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	log.Info("serving", "queue", w.queueOf(name))
	<-ctx.Done()
	server.Shutdown() // tasks that take longer than eight seconds return to the queue
	if err := context.Cause(ctx); errors.Is(err, errCredential) {
		return err
	}
	return nil
}

// newClient returns a client with the token and the limiter of a workspace. If the tokens
// rotate, all workers share them through Redis.
func (w *worker) newClient(ctx context.Context, name string, log *slog.Logger) (*chatdm.Client, error) {
	queue, token := w.queueOf(name), w.tokens[name]
	limiter, err := chatdmredis.NewLimiter(w.rdb, queue, chatdmredis.WithTier(closeKey, chatdm.Tier{PerMinute: w.perMinute}))
	if err != nil {
		return nil, err
	}
	opts := []chatdm.Option{
		chatdm.WithBaseURL(cmp.Or(w.env("SLACK_API_URL"), "https://slack.com/api")),
		chatdm.WithUserAgent("fleet/" + w.program.worker), chatdm.WithTimeout(15 * time.Second),
	}
	var rotator *chatdm.Rotator
	if w.app != (chatdm.OAuthApp{}) {
		store, err := chatdmredis.NewTokenStore(w.rdb, queue)
		if err != nil {
			return nil, err
		}
		rotator, err = chatdm.NewRotator(w.app, store, append(opts, chatdm.WithLogger(log))...)
		if err != nil {
			return nil, err
		}
		if token != "" { // Exchange does nothing if the store has tokens
			if err := rotator.Exchange(ctx, token); err != nil {
				return nil, err
			}
		}
		token, opts = "", append(opts, chatdm.WithTokenSource(rotator))
	}
	// asynq does the retries. A call waits for a pause if the task has the time.
	retry := chatdm.RetryPolicy{MaxAttempts: 1, MaxRetryAfter: taskTimeout}
	return chatdm.NewClient(token, append(opts, chatdm.WithLimiter(limiter), chatdm.WithRetry(retry))...)
}

// close processes one delivery of a task. If it returns an error, asynq delivers
// the task again, unless the error is asynq.SkipRetry.
func (w *workspace) close(ctx context.Context, t *asynq.Task) error {
	var task closeTask
	if err := json.Unmarshal(t.Payload(), &task); err != nil {
		return fmt.Errorf("invalid payload: %w: %w", err, asynq.SkipRetry)
	}
	res, err := w.client.Conversations.Close(ctx, task.Channel)
	if !errors.Is(err, chatdm.KindPermissionDenied) {
		w.denied.Store(0)
	}
	switch {
	case err == nil:
		return w.finish(ctx, t, res)
	case errors.Is(err, chatdm.KindNotFound), errors.Is(err, chatdm.KindUnreachable), errors.Is(err, chatdm.KindInvalidRequest):
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry) // a retry would not help
	case errors.Is(err, chatdm.KindRateLimited):
		// Hold the task for a while. Otherwise the worker would take and postpone the
		// whole queue during a long pause.
		hold(ctx, min(rateDelay(err), 5*time.Second))
		return err
	case errors.Is(err, chatdm.KindUnauthenticated),
		errors.Is(err, chatdm.KindPermissionDenied) && w.denied.Add(1) >= maxDenied:
		w.stop(fmt.Errorf("%w: %w", errCredential, err))
		hold(ctx, 2*time.Second) // take no other task before asynq has stopped
		return err
	default:
		return err
	}
}

// finish stores the result of a task.
func (w *workspace) finish(ctx context.Context, t *asynq.Task, res *chatdm.CloseResult) error {
	outcome := closed
	if res.AlreadyClosed {
		outcome = alreadyClosed
		if failures, _ := asynq.GetRetryCount(ctx); failures > 0 {
			outcome = closedEarlier
		}
	}
	text, err := json.Marshal(result{outcome, w.worker})
	if err != nil {
		return err
	}
	_, err = t.ResultWriter().Write(text)
	return err
}

// hold keeps a task for a while.
func hold(ctx context.Context, d time.Duration) {
	if deadline, ok := ctx.Deadline(); ok { // after it, the delivery would count as failed
		d = min(d, time.Until(deadline)/2)
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// credentialRejected reports whether the cause of err may be the token
// rather than the task.
func credentialRejected(err error) bool {
	return errors.Is(err, chatdm.KindUnauthenticated) || errors.Is(err, chatdm.KindPermissionDenied)
}

// isFailure reports whether a delivery counts as a retry. asynq archives a task
// that has none left, even if err does not count.
func isFailure(err error) bool {
	return !credentialRejected(err) && !errors.Is(err, chatdm.KindRateLimited)
}

// retryDelay returns the time until the next delivery of a task that has failed n
// times before.
func retryDelay(n int, err error, t *asynq.Task) time.Duration {
	switch {
	case credentialRejected(err):
		// Another worker may have a valid token. If the cause is this conversation, the
		// delay lets other tasks run first.
		return time.Minute
	case errors.Is(err, chatdm.KindRateLimited):
		return rateDelay(err)
	case n == 0:
		// Most causes of a first failure, such as a lost connection or a killed worker,
		// are gone quickly. asynq would wait at least 15 seconds.
		return time.Second + rand.N(2*time.Second)
	}
	return asynq.DefaultRetryDelayFunc(n, err, t)
}

// rateDelay returns how long Slack asked to wait, or a second if it did not say.
func rateDelay(err error) time.Duration {
	if e, ok := errors.AsType[*chatdm.Error](err); ok {
		return max(e.RetryAfter, time.Second)
	}
	return time.Second
}

// logFailure logs a delivery that failed.
func (w *workspace) logFailure(ctx context.Context, _ *asynq.Task, err error) {
	id, _ := asynq.GetTaskID(ctx)
	failures, _ := asynq.GetRetryCount(ctx)
	w.log.Warn("delivery failed", "channel", id, "failed_before", failures, "error", err.Error())
}
