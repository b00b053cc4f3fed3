package chatdm

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
)

// An Observer is told what a client does: each call, its attempts, and its waits. Its
// methods must be safe for concurrent use and must not block. A Start method returns the
// context for what it starts, which can carry a span; the corresponding End method gets
// that context. A call with invalid arguments is not observed.
//
// No value contains a credential or an argument. An error can quote the server's text. The
// searches for a message with a key are calls of their own within the call.
type Observer interface {
	CallStart(ctx context.Context, call CallInfo) context.Context
	CallEnd(ctx context.Context, call CallInfo, end CallEnd)
	AttemptStart(ctx context.Context, attempt AttemptInfo) context.Context
	AttemptEnd(ctx context.Context, attempt AttemptInfo, end AttemptEnd)
	WaitStart(ctx context.Context, wait WaitInfo) context.Context
	WaitEnd(ctx context.Context, wait WaitInfo, end WaitEnd)
}

// CallInfo identifies a call.
type CallInfo struct {
	Service string // "slack" or "rocketchat"
	Method  string // the API method, such as "conversations.open"
}

// CallEnd is the outcome of a call.
type CallEnd struct {
	Attempts   int           // 0 if none was made
	StatusCode int           // the HTTP status of the last response, or 0
	RequestID  string        // of the last response; see [Meta]
	Duration   time.Duration // of the whole call, with its waits
	Err        error         // an *[Error], or nil if the call succeeded
}

// AttemptInfo identifies an attempt of a call.
type AttemptInfo struct {
	CallInfo
	Attempt    int // the first attempt is 1
	HTTPMethod string
	URL        string // without a query
}

// AttemptEnd is the outcome of an attempt.
type AttemptEnd struct {
	StatusCode int // the HTTP status, or 0 if there was no response
	RequestID  string
	Code       Code // the server's error code, or empty
	Kind       Kind // empty if the attempt succeeded
	Duration   time.Duration
	Err        error // the cause of a failure; nil if the code alone explains it
}

// A WaitReason says what a call waits for.
type WaitReason string

// The reasons for a wait.
const (
	WaitBackoff WaitReason = engine.WaitBackoff // the wait between two attempts
	WaitPause   WaitReason = engine.WaitPause   // the server asked to wait after a 429 of this call or another
	WaitLimiter WaitReason = engine.WaitLimiter // the [Limiter]; often passes at once
	WaitRefresh WaitReason = engine.WaitRefresh // the [TokenSource]; often passes at once
	// WaitSettle is a wait for a message with a key: until an earlier attempt can no longer
	// take effect, or until the next search for a lost message.
	WaitSettle WaitReason = engine.WaitSettle
)

// WaitInfo describes a wait.
type WaitInfo struct {
	CallInfo
	Reason   WaitReason
	Duration time.Duration // the planned length, or 0 if it is not known
	// If the client is about to retry a failed attempt, Attempt is its number and Failed is
	// its outcome. Otherwise, both are zero.
	Attempt int
	Failed  AttemptEnd
}

// WaitEnd is the outcome of a wait.
type WaitEnd struct {
	Duration time.Duration
	Err      error // why the wait ended early, or nil
}

// engineObserver adapts an Observer to the engine.
type engineObserver struct{ observer Observer }

func (o *engineObserver) CallStart(ctx context.Context, c engine.CallInfo) context.Context {
	return o.observer.CallStart(ctx, CallInfo(c))
}

func (o *engineObserver) CallEnd(ctx context.Context, c engine.CallInfo, end engine.CallEnd) {
	o.observer.CallEnd(ctx, CallInfo(c), CallEnd(end))
}

func (o *engineObserver) AttemptStart(ctx context.Context, a engine.AttemptInfo) context.Context {
	return o.observer.AttemptStart(ctx, attemptInfo(a))
}

func (o *engineObserver) AttemptEnd(ctx context.Context, a engine.AttemptInfo, end engine.AttemptEnd) {
	o.observer.AttemptEnd(ctx, attemptInfo(a), attemptEnd(end))
}

func (o *engineObserver) WaitStart(ctx context.Context, w engine.WaitInfo) context.Context {
	return o.observer.WaitStart(ctx, waitInfo(w))
}

func (o *engineObserver) WaitEnd(ctx context.Context, w engine.WaitInfo, end engine.WaitEnd) {
	o.observer.WaitEnd(ctx, waitInfo(w), WaitEnd(end))
}

func attemptInfo(a engine.AttemptInfo) AttemptInfo {
	return AttemptInfo{CallInfo(a.CallInfo), a.Attempt, a.HTTPMethod, a.URL}
}

func attemptEnd(end engine.AttemptEnd) AttemptEnd {
	return AttemptEnd{end.StatusCode, end.RequestID, Code(end.Code), Kind(end.Kind), end.Duration, end.Err}
}

func waitInfo(w engine.WaitInfo) WaitInfo {
	return WaitInfo{CallInfo(w.CallInfo), WaitReason(w.Reason), w.Duration, w.Attempt, attemptEnd(w.Failed)}
}

// logObserver is the Observer of WithLogger.
type logObserver struct{ logger *slog.Logger }

// longWait is the longest wait that is not logged.
const longWait = time.Second

func (l *logObserver) CallStart(ctx context.Context, _ CallInfo) context.Context { return ctx }

func (l *logObserver) CallEnd(ctx context.Context, c CallInfo, end CallEnd) {
	attempts, duration := slog.Int("attempts", end.Attempts), slog.Duration("duration", end.Duration)
	if end.Err != nil {
		l.log(ctx, slog.LevelWarn, "chatdm: call failed", c, attempts, duration, slog.Any("error", end.Err))
		return
	}
	l.log(ctx, slog.LevelDebug, "chatdm: call succeeded", c, attempts, duration, slog.Int("status", end.StatusCode), slog.String("request_id", end.RequestID))
}

func (l *logObserver) AttemptStart(ctx context.Context, _ AttemptInfo) context.Context { return ctx }
func (l *logObserver) AttemptEnd(context.Context, AttemptInfo, AttemptEnd)             {}

// loggedWait is the context of a wait whose length is not known.
type loggedWait struct {
	context.Context
	timer *time.Timer
}

func (l *logObserver) WaitStart(ctx context.Context, w WaitInfo) context.Context {
	waiting := func() {
		l.log(ctx, slog.LevelInfo, "chatdm: waiting", w.CallInfo, slog.String("reason", string(w.Reason)), slog.Duration("wait", w.Duration))
	}
	if w.Attempt > 0 {
		f := w.Failed
		attrs := []slog.Attr{slog.String("kind", string(f.Kind)), slog.String("code", string(f.Code)), slog.Int("status", f.StatusCode), slog.String("request_id", f.RequestID)}
		if f.Err != nil {
			attrs = append(attrs, slog.String("cause", f.Err.Error()))
		}
		attrs = slices.DeleteFunc(attrs, isEmpty)
		l.log(ctx, slog.LevelInfo, "chatdm: retrying", w.CallInfo, slog.Int("attempt", w.Attempt),
			slog.Duration("wait", w.Duration), slog.GroupAttrs("error", attrs...))
	}
	switch {
	case w.Duration > longWait && w.Attempt == 0:
		waiting()
	case w.Duration == 0:
		return &loggedWait{ctx, time.AfterFunc(longWait, waiting)}
	}
	return ctx
}

func (l *logObserver) WaitEnd(ctx context.Context, _ WaitInfo, _ WaitEnd) {
	if w, ok := ctx.(*loggedWait); ok {
		w.timer.Stop()
	}
}

func (l *logObserver) log(ctx context.Context, level slog.Level, text string, c CallInfo, attrs ...slog.Attr) {
	attrs = append([]slog.Attr{slog.String("service", c.Service), slog.String("method", c.Method)}, attrs...)
	l.logger.LogAttrs(ctx, level, text, slices.DeleteFunc(attrs, isEmpty)...)
}

func isEmpty(a slog.Attr) bool {
	return a.Value.Equal(slog.StringValue("")) || a.Value.Equal(slog.IntValue(0)) && a.Key == "status" || a.Value.Equal(slog.DurationValue(0)) && a.Key == "wait"
}
