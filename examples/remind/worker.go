package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/chatdm/chatdm"
)

const (
	// workers is how many people are reminded at once. That is safe because no two
	// workers use the same conversation.
	workers = 4
	// maxFailures is the number of failures in a row that are not about the person. Then
	// the job stops, because the others would fail too.
	maxFailures = 10
)

// job reminds people.
type job struct {
	platform platform
	people   []person
	key      string // of each message; it identifies one message in each conversation
	dryRun   bool
	grace    time.Duration // for calls in flight after an interrupt
	out      io.Writer

	mu             sync.Mutex
	results        []result          // of the people processed so far
	owners         map[string]string // of the conversations
	failuresInARow int
}

// result says how the reminder of one person ended.
type result struct {
	person
	outcome outcome
	name    string // the person's full name, in a dry run
	err     error
}

type outcome string

const (
	reminded    outcome = "reminded"
	before      outcome = "reminded by an earlier run"
	found       outcome = "found" // in a dry run
	unreachable outcome = "not reached"
	unknown     outcome = "outcome unknown"
	failed      outcome = "failed"
)

// run reminds the people. It returns nil after the last one, even if some could not be
// reminded. Otherwise, it returns the reason why it stopped early.
func (j *job) run(parent context.Context) error {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	// When ctx ends, no other reminder begins, but calls in flight may finish.
	calls, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(j.grace, end) })()

	queue := make(chan person)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for p := range queue {
				if err := j.record(j.remind(calls, p)); err != nil {
					stop(err)
				}
			}
		})
	}
	for _, p := range j.people {
		select {
		case queue <- p:
			continue
		case <-ctx.Done():
		}
		j.mu.Lock()
		fmt.Fprintf(j.out, "Stopping; calls in flight have %v to finish.\n", j.grace)
		j.mu.Unlock()
		break
	}
	close(queue)
	running.Wait()
	if err := parent.Err(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// remind reminds one person.
func (j *job) remind(ctx context.Context, p person) result {
	id, name, err := j.platform.find(ctx, p.id)
	if err != nil {
		return result{person: p, err: err}
	}
	if j.dryRun {
		return result{person: p, outcome: found, name: name}
	}
	conversation, err := j.platform.open(ctx, id)
	if err != nil {
		return result{person: p, err: err}
	}
	if err := j.claim(conversation, p.id); err != nil {
		return result{person: p, err: err}
	}
	already, err := j.platform.post(ctx, conversation, p.text, j.key)
	switch {
	case err != nil:
		return result{person: p, err: err}
	case already:
		return result{person: p, outcome: before}
	}
	return result{person: p, outcome: reminded}
}

// claim returns an error if another person has the same conversation. On Slack, only one
// worker at a time may use a key in a conversation.
func (j *job) claim(conversation, id string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if owner, ok := j.owners[conversation]; ok {
		return fmt.Errorf("is the same person as %s", owner)
	}
	if j.owners == nil {
		j.owners = make(map[string]string)
	}
	j.owners[conversation] = id
	return nil
}

// record records and prints a result. It returns an error if the job must stop.
func (j *job) record(r result) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var stop error
	switch err := r.err; {
	case err == nil:
		j.failuresInARow = 0
	case errors.Is(err, chatdm.ErrEffectUnknown):
		r.outcome = unknown
	case errors.Is(err, chatdm.KindNotFound), errors.Is(err, chatdm.KindUnreachable):
		r.outcome = unreachable
		j.failuresInARow = 0
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied):
		return err
	case errors.Is(err, chatdm.KindCanceled):
		return nil // the person was not reminded, and is not in the results
	default:
		r.outcome = failed
		if j.failuresInARow++; j.failuresInARow == maxFailures {
			stop = fmt.Errorf("%d people in a row failed; the last: %w", maxFailures, err)
		}
	}
	j.results = append(j.results, r)
	fmt.Fprintf(j.out, "%d/%d  %s: %s\n", len(j.results), len(j.people), r.id, r.describe())
	return stop
}

// describe returns a short text. The report has the whole error.
func (r *result) describe() string {
	if r.outcome == found {
		return "found " + r.name + "\n\n    " + strings.ReplaceAll(r.text, "\n", "\n    ") + "\n"
	}
	e, ok := errors.AsType[*chatdm.Error](r.err)
	switch {
	case r.err == nil:
		return string(r.outcome)
	case ok:
		return fmt.Sprintf("%s: %s", r.outcome, cmp.Or(string(e.Code), string(e.Kind)))
	}
	return fmt.Sprintf("%s: %v", r.outcome, r.err)
}
