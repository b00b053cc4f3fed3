package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

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

// errCredential is the reason why a worker stops if its credential is rejected.
var errCredential = errors.New("the credential was rejected")

// maxDenied is after how many calls in a row that fail with KindPermissionDenied a
// worker stops. A single failure may concern only one conversation.
const maxDenied = 5

// worker processes tasks.
type worker struct {
	name   string
	client *chatdm.Client
	log    *slog.Logger
	stop   context.CancelCauseFunc
	denied atomic.Int64 // calls in a row
}

func (p *program) work(parent context.Context, rdb *redis.Client) error {
	signals, unregister := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	defer unregister()
	context.AfterFunc(signals, unregister) // a second signal ends the process
	ctx, stop := context.WithCancelCause(signals)
	defer stop(nil)

	log := slog.New(slog.NewTextHandler(p.stderr, nil)).With("worker", p.worker)
	limiter, err := chatdmredis.NewLimiter(rdb, p.name, chatdmredis.WithTier(closeKey, chatdm.Tier{PerMinute: p.perMinute}))
	if err != nil {
		return err
	}
	client, err := chatdm.NewClient(p.env("SLACK_TOKEN"),
		chatdm.WithBaseURL(cmp.Or(p.env("SLACK_API_URL"), "https://slack.com/api")), chatdm.WithLimiter(limiter),
		chatdm.WithUserAgent("fleet/"+p.worker), chatdm.WithTimeout(15*time.Second),
		// asynq does the retries. A call waits for a pause if the task has the time.
		chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1, MaxRetryAfter: taskTimeout}))
	if err != nil {
		return err
	}
	w := &worker{name: p.worker, client: client, log: log, stop: stop}
	mux := asynq.NewServeMux()
	mux.HandleFunc(taskType, w.close)
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Queues: map[string]int{p.name: 1},
		// The rate limit sets the pace, so more tasks at once would not speed it up.
		// With two, a worker misses no slot while it waits for a response.
		Concurrency:              p.concurrency,
		DelayedTaskCheckInterval: time.Second,
		IsFailure:                isFailure,
		RetryDelayFunc:           retryDelay,
		ErrorHandler:             asynq.ErrorHandlerFunc(w.logFailure),
		Logger:                   asynqLog{log},
		LogLevel:                 asynq.WarnLevel,
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	log.Info("working", "queue", p.name, "per_minute", p.perMinute)
	<-ctx.Done()
	log.Info("stopping")
	server.Shutdown() // tasks that take longer than eight seconds return to the queue
	if err := context.Cause(ctx); errors.Is(err, errCredential) {
		return err
	}
	return nil
}

// close processes one delivery of a task. If it returns an error, asynq delivers
// the task again, unless the error is asynq.SkipRetry.
func (w *worker) close(ctx context.Context, t *asynq.Task) error {
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
func (w *worker) finish(ctx context.Context, t *asynq.Task, res *chatdm.CloseResult) error {
	outcome := closed
	if res.AlreadyClosed {
		outcome = alreadyClosed
		if failures, _ := asynq.GetRetryCount(ctx); failures > 0 {
			outcome = closedEarlier
		}
	}
	text, err := json.Marshal(result{outcome, w.name})
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

// credentialRejected reports whether the cause of err may be the worker's token
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
func (w *worker) logFailure(ctx context.Context, _ *asynq.Task, err error) {
	id, _ := asynq.GetTaskID(ctx)
	failures, _ := asynq.GetRetryCount(ctx)
	w.log.Warn("delivery failed", "channel", id, "failed_before", failures, "error", err.Error())
}

// asynqLog adapts a slog.Logger to asynq's interface.
type asynqLog struct{ *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.Logger.Debug(fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.Logger.Info(fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.Logger.Warn(fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.Logger.Error(fmt.Sprint(args...)); os.Exit(1) }
