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
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/redislimit"
)

// closeKey is what limiters know conversations.close by.
const closeKey = "slack.conversations.close"

// The outcomes of a task that is done.
const (
	closed        = "closed"
	alreadyClosed = "already closed"
	// It was closed already, and an earlier delivery had failed, which may have
	// closed it. (Where a call has more than one attempt, Meta.LostAnswers says that
	// of those.) A delivery that was given back when its worker stopped does not
	// count: after one, "already closed" may be the fleet's own doing.
	closedEarlier = "closed by an earlier try"
)

// result is what a worker writes to a task that is done.
type result struct {
	Outcome string `json:"outcome"`
	Worker  string `json:"worker"`
}

// errRefused stops a worker.
var errRefused = errors.New("the token is refused")

// worker closes the conversations of the tasks that asynq gives it.
type worker struct {
	name   string
	client *chatdm.Client
	log    *slog.Logger
	stop   context.CancelCauseFunc
}

func (p *program) work(parent context.Context, rdb *redis.Client) error {
	signals, ignore := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	defer ignore()
	context.AfterFunc(signals, ignore) // so that the second signal ends the process
	ctx, stop := context.WithCancelCause(signals)
	defer stop(nil)

	log := slog.New(slog.NewTextHandler(p.stderr, nil)).With("worker", p.worker)
	limiter, err := redislimit.New(rdb, p.name, redislimit.WithTier(closeKey, chatdm.Tier{PerMinute: p.perMinute}))
	if err != nil {
		return err
	}
	client, err := chatdm.NewClient(p.env("SLACK_TOKEN"),
		chatdm.WithBaseURL(cmp.Or(p.env("SLACK_API_URL"), "https://slack.com/api")), chatdm.WithLimiter(limiter),
		chatdm.WithUserAgent("fleet/"+p.worker), chatdm.WithTimeout(15*time.Second),
		// The tries are asynq's. A pause is waited out where the task has the time.
		chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1, MaxRetryAfter: taskTimeout}))
	if err != nil {
		return err
	}
	w := &worker{name: p.worker, client: client, log: log, stop: stop}
	mux := asynq.NewServeMux()
	mux.HandleFunc(taskType, w.close)
	server := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Queues: map[string]int{p.name: 1},
		// The pace is that of all workers together, and more tasks at once do not
		// quicken it: they wait for their turn. Two let it pass no turn while an
		// answer is slow.
		Concurrency:              p.concurrency,
		DelayedTaskCheckInterval: time.Second,
		IsFailure:                isFailure,
		RetryDelayFunc:           retryDelay,
		ErrorHandler:             asynq.ErrorHandlerFunc(w.failed),
		Logger:                   asynqLog{log},
		LogLevel:                 asynq.WarnLevel,
	})
	if err := server.Start(mux); err != nil {
		return err
	}
	log.Info("working", "queue", p.name, "per_minute", p.perMinute)
	<-ctx.Done()
	log.Info("stopping")
	server.Shutdown() // what is not done in eight seconds goes back into the queue
	if err := context.Cause(ctx); errors.Is(err, errRefused) {
		return err
	}
	return nil
}

// close handles one delivery of a task.
func (w *worker) close(ctx context.Context, t *asynq.Task) error {
	var task closeTask
	if err := json.Unmarshal(t.Payload(), &task); err != nil {
		return fmt.Errorf("the payload: %w: %w", err, asynq.SkipRetry)
	}
	res, err := w.client.Conversations.Close(ctx, task.Channel)
	switch {
	case err == nil:
	case errors.Is(err, chatdm.KindNotFound), errors.Is(err, chatdm.KindInvalidRequest),
		errors.Is(err, chatdm.ErrUserDoesNotOwnChannel), errors.Is(err, chatdm.ErrMethodNotSupportedForChannelType),
		errors.Is(err, chatdm.ErrAccessDenied), errors.Is(err, chatdm.ErrNotPermitted):
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry) // this conversation only
	case refused(err):
		w.stop(fmt.Errorf("%w: %w", errRefused, err))
		hold(ctx, 2*time.Second) // not to take another task before asynq has stopped
		return err
	case errors.Is(err, chatdm.KindRateLimited):
		// Were it given back at once, so would be the next, and a long pause would
		// send the worker through the whole queue.
		hold(ctx, min(rateDelay(err), 5*time.Second))
		return err
	default:
		return err
	}
	done := result{Outcome: closed, Worker: w.name}
	if res.AlreadyClosed {
		done.Outcome = alreadyClosed
		if tries, _ := asynq.GetRetryCount(ctx); tries > 0 {
			done.Outcome = closedEarlier
		}
	}
	text, err := json.Marshal(done)
	if err == nil {
		_, err = t.ResultWriter().Write(text)
	}
	return err // which has the task delivered once more, and no harm done
}

// hold keeps a task for some time before it is given back.
func hold(ctx context.Context, d time.Duration) {
	if deadline, ok := ctx.Deadline(); ok { // past which it would count as a failure
		d = min(d, time.Until(deadline)/2)
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// refused tells of the errors that another task will meet as well, as they are
// about the token: what is about one conversation has been sorted out before.
func refused(err error) bool {
	return errors.Is(err, chatdm.KindUnauthenticated) || errors.Is(err, chatdm.KindPermissionDenied)
}

// isFailure says what counts as a try. After the last one asynq archives what
// comes back, whether it counts or not.
func isFailure(err error) bool {
	return !refused(err) && !errors.Is(err, chatdm.KindRateLimited)
}

// retryDelay says when a task is delivered again that has failed n times before.
func retryDelay(n int, err error, t *asynq.Task) time.Duration {
	switch {
	case refused(err):
		// Another worker may have a better token. Should it be this conversation
		// after all that is not permitted, the others come first.
		return time.Minute
	case errors.Is(err, chatdm.KindRateLimited):
		return rateDelay(err)
	case n == 0:
		// Most of what fails once, a lost connection or a killed worker, does not
		// fail again. asynq would wait for a quarter of a minute at least.
		return time.Second + rand.N(2*time.Second)
	}
	return asynq.DefaultRetryDelayFunc(n, err, t)
}

// rateDelay is how long a refusal lasts.
func rateDelay(err error) time.Duration {
	if e, ok := errors.AsType[*chatdm.Error](err); ok && e.RetryAfter > time.Second {
		return e.RetryAfter
	}
	return time.Second // it did not say
}

// failed logs a delivery that failed.
func (w *worker) failed(ctx context.Context, _ *asynq.Task, err error) {
	id, _ := asynq.GetTaskID(ctx)
	tries, _ := asynq.GetRetryCount(ctx)
	w.log.Warn("delivery failed", "channel", id, "failed_before", tries, "error", err.Error())
}

// asynqLog takes asynq's own log, which names tasks and queues.
type asynqLog struct{ *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.Logger.Debug(fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.Logger.Info(fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.Logger.Warn(fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.Logger.Error(fmt.Sprint(args...)); os.Exit(1) }
