package chatdmredis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/chatdm/chatdm"
)

// line is the callers of one key in this process. They wait in the order in
// which they came, and the first of them holds the turn and talks to Redis.
type line struct {
	l       *Limiter
	key     string
	tier    chatdm.Tier // with its burst
	step    time.Duration
	keys    []string
	running chan struct{} // operations on Redis, those given up included
	turn    chan struct{} // held by who is first; the runtime serves those who wait for it in order

	mu      sync.Mutex
	waiting int  // for the turn, and the one who has it
	booked  bool // Redis has given a turn that is not used yet
	// What Redis said last, on our clock.
	next, tat, until time.Time // of the turn that was asked for, and as in reply
	gen              string
	passed           time.Time // when the last call was let pass by Redis
	refusal          time.Time // an end of a refusal that Redis has not been told of
	broken           *outage   // closed when Redis fails, for all who wait
	probeAt          time.Time // fallen back until then; zero while on Redis
	apart            time.Time // when the last call was let pass while fallen back

	id int // of the turn of who is first; only that one touches it
}

// outage tells those in the line that Redis has failed.
type outage struct {
	begun chan struct{}
	err   error
}

func newLine(l *Limiter, key string, tier chatdm.Tier) *line {
	if tier.Burst <= 0 {
		tier.Burst = max(1, tier.PerMinute/5)
	}
	tier.Burst = min(tier.Burst, tier.PerMinute)
	tag := l.prefix + "{" + l.name + ":" + key + "}:"
	return &line{
		l: l, key: key, tier: tier, step: l.times.minute / time.Duration(tier.PerMinute),
		keys:    []string{tag + "state", tag + "turns"},
		running: make(chan struct{}, 4),
		turn:    make(chan struct{}, 1),
		broken:  &outage{begun: make(chan struct{})},
	}
}

func (q *line) wait(ctx context.Context) error {
	broken, err := q.enter(ctx)
	if err != nil {
		return err
	}
	defer q.leave()
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-broken.begun:
		return broken.err
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-broken.begun: // by who was first before
		return broken.err
	default:
	}
	for {
		if left := q.fallenBack(); left > 0 {
			passed, err := q.waitLocally(ctx, left)
			if passed || err != nil {
				return err
			}
			continue
		}
		r, err := q.ask(ctx)
		switch {
		case err != nil && errors.Is(ctx.Err(), context.Canceled):
			return ctx.Err()
		case err != nil && ctx.Err() != nil:
			return err // others may have more time
		case err != nil && q.l.local != nil:
			q.fallBack(err)
			continue
		case err != nil:
			q.fail(err)
			return err
		}
		if r.granted && r.at <= 0 {
			q.pass()
			return nil
		}
		if !r.granted {
			return q.late(r.at)
		}
		if err := q.pastDeadline(ctx, r.at); err != nil {
			return err // its turn remains, for the next one
		}
		timer := time.NewTimer(min(r.at, q.l.times.look))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// enter joins the line, unless even without any further hindrance its end is
// past the deadline. It returns where to hear that Redis has failed.
func (q *line) enter(ctx context.Context) (*outage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	ahead := q.waiting
	if q.booked {
		ahead-- // is in tat
	}
	now := time.Now()
	least := max(0, q.tat.Sub(now)) + time.Duration(ahead-q.tier.Burst+1)*q.step
	if err := q.pastDeadline(ctx, max(least, q.next.Sub(now), q.until.Sub(now))); err != nil {
		return nil, err
	}
	q.waiting++
	return q.broken, nil
}

func (q *line) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
}

// ask runs the script for the turn of who is first.
//
// A turn has an id, which stays until a call has used it: whoever is first
// next, and an operation that comes twice, finds the same turn again.
func (q *line) ask(ctx context.Context) (reply, error) {
	patience := "-1"
	if deadline, ok := ctx.Deadline(); ok {
		patience = micros(max(0, min(time.Until(deadline), maxWait)))
	}
	asked := time.Now()
	r, err := q.run(ctx, q.l.id+":"+strconv.Itoa(q.id), patience)
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.booked, q.next = r.granted, asked.Add(r.at)
	}
	return r, err
}

// run runs the script and takes in what it answers.
func (q *line) run(ctx context.Context, id, patience string) (reply, error) {
	t := q.l.times
	q.mu.Lock()
	asked, known, apart, refused, refusal := time.Now(), "", "0", time.Duration(0), q.refusal
	if within(q.passed, t.window) {
		known = q.gen
	}
	if within(q.apart, t.window) {
		apart = "1"
	}
	if !refusal.IsZero() {
		refused = max(0, refusal.Sub(asked))
	}
	lastApart := q.apart
	q.mu.Unlock()
	r, err := q.l.run(ctx, q, []any{
		id, q.tier.PerMinute, q.tier.Burst, micros(t.minute), micros(t.window), micros(t.grace), slowdown, micros(t.recovery),
		q.l.id + strconv.FormatInt(asked.UnixNano(), 36), known, apart, micros(refused), patience,
	})
	if err != nil {
		return reply{}, err
	}
	q.mu.Lock()
	now := time.Now()
	q.gen, q.tat = r.gen, asked.Add(r.tat)
	if until := now.Add(r.pause); until.After(q.until) {
		q.until = until
	}
	if q.refusal.Equal(refusal) {
		q.refusal = time.Time{} // told
	}
	if q.apart.Equal(lastApart) {
		q.apart = time.Time{}
	}
	back := !q.probeAt.IsZero()
	q.probeAt = time.Time{}
	q.mu.Unlock()
	if back && q.l.onFallback != nil {
		q.l.onFallback(q.key, nil)
	}
	return r, nil
}

// within tells whether t is less than d ago.
func within(t time.Time, d time.Duration) bool { return !t.IsZero() && time.Since(t) < d }

// pass lets who is first pass.
func (q *line) pass() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.id++
	q.booked = false
	q.passed = time.Now()
}

// fail tells all who are in the line at this moment that Redis has failed:
// else each of them would wait for the same timeout, one after the other.
func (q *line) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.broken.err = err
	close(q.broken.begun)
	q.broken = &outage{begun: make(chan struct{})}
}

func (q *line) fallBack(err error) {
	q.mu.Lock()
	first := q.probeAt.IsZero()
	q.probeAt = time.Now().Add(q.l.times.probe)
	q.mu.Unlock()
	if first && q.l.onFallback != nil {
		q.l.onFallback(q.key, err)
	}
}

// fallenBack is how long it is until Redis is tried again.
func (q *line) fallenBack() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.probeAt.IsZero() {
		return 0
	}
	return time.Until(q.probeAt)
}

// waitLocally has the local limiter pace who is first, for that long.
func (q *line) waitLocally(ctx context.Context, left time.Duration) (passed bool, err error) {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.AfterFunc(left, cancel)
	defer timer.Stop()
	err = q.l.local.Wait(bounded, q.key)
	if err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.apart = time.Now()
		return true, nil
	}
	if ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return false, nil // look at Redis again
	}
	return false, err
}

func (q *line) refused(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	if q.l.local != nil {
		q.l.local.Limited(ctx, q.key, d)
	}
	q.mu.Lock()
	until := time.Now().Add(d)
	if until.After(q.until) {
		q.until = until
	}
	if until.After(q.refusal) {
		q.refusal = until
	}
	q.mu.Unlock()
	if q.fallenBack() > 0 {
		return // Redis is told when it is back
	}
	// Where it fails, the refusal waits for the next operation.
	_, _ = q.run(ctx, "", "-1")
}

// pastDeadline refuses a wait that the context would not see the end of.
func (q *line) pastDeadline(ctx context.Context, wait time.Duration) error {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) >= wait {
		return nil
	}
	return q.late(wait)
}

func (q *line) late(wait time.Duration) error {
	return &chatdm.Error{
		Service: "limiter", Method: q.key, Kind: chatdm.KindRateLimited, RetryAfter: wait,
		Err: fmt.Errorf("its turn is past the context's deadline: %w", context.DeadlineExceeded),
	}
}
