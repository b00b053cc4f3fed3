package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/chatdm/chatdm"
)

// errCredential is the reason why a worker no longer serves a workspace whose credential
// Slack rejects.
var errCredential = errors.New("the credential was rejected")

// worker serves workspaces.
type worker struct {
	*program
	rdb    *redis.Client
	log    *slog.Logger
	tokens map[string]string // by workspace; tokens that do not expire
	app    chatdm.OAuthApp   // if it is set, the tokens rotate
}

func (p *program) work(parent context.Context, rdb *redis.Client) error {
	signals, unregister := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	defer unregister()
	context.AfterFunc(signals, unregister) // a second signal ends the process
	tokens, err := p.readTokens()
	if err != nil {
		return err
	}
	w := &worker{program: p, rdb: rdb, tokens: tokens, app: p.app(), log: slog.New(slog.NewTextHandler(p.stderr, nil)).With("worker", p.worker)}
	w.log.Info("working", "name", p.name, "per_minute", p.perMinute)
	return w.serve(signals)
}

// serve serves each workspace that has a queue and a token, until ctx ends.
func (w *worker) serve(ctx context.Context) error {
	type failure struct {
		workspace string
		err       error
	}
	ctx, cancel := context.WithCancel(ctx)
	var serving sync.WaitGroup
	defer serving.Wait()
	defer cancel()
	defer w.log.Info("stopping")
	failures := make(chan failure)
	beginAt := make(map[string]time.Time) // when to begin to serve a workspace
	begin := func(workspace string) {
		if time.Now().Before(beginAt[workspace]) {
			return
		}
		beginAt[workspace] = time.Now().AddDate(100, 0, 0)
		if w.tokens[workspace] == "" && w.app == (chatdm.OAuthApp{}) {
			w.log.Warn("this worker has no token for a workspace", "workspace", workspace)
			return
		}
		serving.Go(func() {
			err := w.serveWorkspace(ctx, workspace)
			if err == nil { // ctx has ended
				return
			}
			select {
			case failures <- failure{workspace, err}:
			case <-ctx.Done():
			}
		})
	}
	for {
		if w.tokens[""] != "" { // it may have no queue yet
			begin("")
		}
		list, _ := w.workspaces(w.rdb) // the client of a workspace reports that Redis is unavailable
		for _, workspace := range list {
			begin(workspace)
		}
		select {
		case f := <-failures:
			if len(w.tokens) == 1 && w.app == (chatdm.OAuthApp{}) { // there is nothing else to do
				return f.err
			}
			wait := w.setAside
			if errors.Is(f.err, chatdm.KindUnavailable) { // the token could not be exchanged yet
				wait = min(wait, 10*time.Second)
			}
			beginAt[f.workspace] = time.Now().Add(wait)
			w.log.Error("workspace set aside", "workspace", f.workspace, "for", wait, "error", f.err)
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil
		}
	}
}

// asynqLog adapts a slog.Logger to asynq's interface.
type asynqLog struct{ *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.Logger.Debug(fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.Logger.Info(fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.Logger.Warn(fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.Logger.Error(fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.Logger.Error(fmt.Sprint(args...)); os.Exit(1) }
