package conformance_test

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

var (
	workspaces = flag.Int("workspaces", 3, "how many workspaces TestRotationYear simulates")
	days       = flag.Int("days", 60, "how many days TestRotationYear simulates")
)

// sharedStore is where the processes of a fleet keep the tokens of a workspace. Its lock
// outlives a process that dies with it, and it is down at times.
type sharedStore struct {
	mu     sync.Mutex
	tokens chatdm.Tokens
	holder *process
	until  time.Time // when the lock of a dead holder ends
	down   time.Time // until when every access fails
}

const lockTTL = 15 * time.Second

var errDown = errors.New("connection refused")

// process is one process of the fleet. Its clock differs from the others'.
type process struct {
	store *sharedStore
	skew  time.Duration
	ctx   context.Context // ends when the process is killed
	kill  context.CancelFunc
	dies  bool // in the middle of the next update, before it stores anything
}

// Load implements [chatdm.TokenStore]. Instead of the clock, it shifts the expiry.
func (p *process) Load(context.Context) (chatdm.Tokens, error) {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	if time.Now().Before(p.store.down) {
		return chatdm.Tokens{}, errDown
	}
	t := p.store.tokens
	t.Expiry = t.Expiry.Add(-p.skew)
	return t, nil
}

func (p *process) Update(ctx context.Context, fn func(context.Context, chatdm.Tokens) (chatdm.Tokens, error)) (chatdm.Tokens, error) {
	s := p.store
	for locked := false; !locked; {
		s.mu.Lock()
		if time.Now().Before(s.down) {
			s.mu.Unlock()
			return chatdm.Tokens{}, errDown
		}
		if locked = s.holder == nil || s.holder.ctx.Err() != nil && time.Now().After(s.until); locked {
			s.holder = p
		}
		s.mu.Unlock()
		if !locked {
			select {
			case <-ctx.Done():
				return chatdm.Tokens{}, ctx.Err()
			case <-p.ctx.Done():
				return chatdm.Tokens{}, p.ctx.Err()
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	stored, err := p.Load(ctx)
	var next chatdm.Tokens
	if err == nil {
		next, err = fn(ctx, stored)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.dies || p.ctx.Err() != nil { // the lock stays
		p.kill()
		s.until = time.Now().Add(lockTTL)
		return chatdm.Tokens{}, context.Canceled
	}
	s.holder = nil
	switch {
	case err != nil:
		return chatdm.Tokens{}, err
	case time.Now().Before(s.down):
		return next, errDown
	}
	s.tokens = next
	s.tokens.Expiry = next.Expiry.Add(p.skew)
	return next, nil
}

// yearly counts what happened in all workspaces.
type yearly struct {
	calls, failed, refreshes, kills, lost, outages, uninstalled int
}

// TestRotationYear simulates five processes that share the tokens of a workspace, which
// last twelve hours. Processes are killed, also between Slack's response and the store.
// Responses are lost, the store is down at times, and clocks differ by two minutes. Slack
// allows two active tokens, and accepts a used refresh token again for one minute.
//
// The workspace is busy: after a refresh, each process makes a call every few seconds.
// Calls that cannot change anything are left out.
func TestRotationYear(t *testing.T) {
	var sum yearly
	for range *workspaces {
		synctest.Test(t, func(t *testing.T) { simulateWorkspace(t, &sum) })
	}
	minimum := *workspaces * *days * 2
	t.Logf("%d workspaces, %d days: %d calls, %d failed because of their credential; %d refreshes, %.1f%% above the minimum of %d; "+
		"%d processes killed, %d responses lost, %d outages of the store; %d workspaces lost their installation",
		*workspaces, *days, sum.calls, sum.failed, sum.refreshes, 100*float64(sum.refreshes-minimum)/float64(minimum), minimum,
		sum.kills, sum.lost, sum.outages, sum.uninstalled)
	if sum.failed > 0 || sum.uninstalled > 0 {
		t.Errorf("got %d failed calls and %d lost installations, want none", sum.failed, sum.uninstalled)
	}
	if sum.refreshes > minimum*11/10 {
		t.Errorf("got %d refreshes, want at most 10%% above %d", sum.refreshes, minimum)
	}
}

func simulateWorkspace(t *testing.T, sum *yearly) {
	slack := chatdmtest.NewSlack(chatdmtest.InMemory(), chatdmtest.KeepRequests(0))
	defer slack.Close()
	store := &sharedStore{tokens: slack.InstallRotating(chatdmtest.BotUser)}
	end := time.Now().Add(time.Duration(*days) * 24 * time.Hour)
	var mu sync.Mutex
	count := func(n *int) {
		mu.Lock()
		defer mu.Unlock()
		*n++
	}
	var lastRefresh time.Time // of any process
	refreshes := 0
	transport := roundTripper(func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		if n := slack.Refreshes(chatdmtest.BotUser); n != refreshes {
			refreshes, lastRefresh = n, time.Now()
		}
		mu.Unlock()
		return slack.Client().Transport.RoundTrip(req)
	})
	recently := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if n := slack.Refreshes(chatdmtest.BotUser); n != refreshes {
			refreshes, lastRefresh = n, time.Now()
		}
		return time.Since(lastRefresh) < 2*time.Minute
	}

	var fleet sync.WaitGroup
	fleet.Go(func() { // the world: lost responses and outages of the store
		for time.Now().Before(end) {
			time.Sleep(rand.N(20 * 24 * time.Hour))
			if len(slack.PendingFaults()) > 0 { // a second response in a row would make calls fail
				continue
			}
			switch rand.IntN(4) {
			case 0:
				slack.Fail("oauth.v2.access", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
				count(&sum.lost)
			case 1:
				slack.Fail("oauth.v2.access", 1, chatdmtest.Fault{Status: 503, ApplyAfter: rand.N(10 * time.Second)})
				count(&sum.lost)
			case 2:
				slack.Fail("oauth.v2.access", 3, chatdmtest.Fault{Status: 500})
			case 3:
				store.mu.Lock()
				store.down = time.Now().Add(rand.N(10 * time.Minute))
				store.mu.Unlock()
				count(&sum.outages)
			}
		}
	})
	for range 5 {
		skew := rand.N(4*time.Minute) - 2*time.Minute
		fleet.Go(func() {
			for time.Now().Before(end) {
				ctx, kill := context.WithCancel(context.Background())
				p := &process{store: store, skew: skew, ctx: ctx, kill: kill, dies: rand.IntN(20) == 0}
				killer := time.AfterFunc(rand.N(10*24*time.Hour), p.kill)
				app := chatdm.OAuthApp{ClientID: chatdmtest.ClientID, ClientSecret: chatdmtest.ClientSecret}
				through := chatdm.WithHTTPClient(&http.Client{Transport: dying{p, transport}})
				rotator, err := chatdm.NewRotator(app, p, chatdm.WithBaseURL(slack.URL), through)
				if err != nil {
					t.Error(err)
					return
				}
				client, err := chatdm.NewClient("", chatdm.WithBaseURL(slack.URL), through, chatdm.WithTokenSource(rotator))
				if err != nil {
					t.Error(err)
					return
				}
				for loaded := false; p.ctx.Err() == nil && time.Now().Before(end); {
					_, err := client.Auth.Test(p.ctx)
					switch {
					case p.ctx.Err() != nil:
					case err == nil:
						loaded = true
						count(&sum.calls)
					case loaded: // a new process cannot work while the store is down
						count(&sum.failed)
						t.Errorf("%v: %v", time.Now(), err)
					}
					wait := rand.N(40 * time.Minute)
					if recently() {
						wait = rand.N(10 * time.Second)
					} else if left := time.Until(store.expiry()); left < 45*time.Minute {
						wait = rand.N(4 * time.Minute)
					} else {
						wait = min(wait, left-44*time.Minute)
					}
					select {
					case <-p.ctx.Done():
					case <-time.After(wait):
					}
				}
				killer.Stop()
				p.kill()
				count(&sum.kills)
				time.Sleep(rand.N(10 * time.Second)) // until the process is started again
			}
		})
	}
	fleet.Wait()
	sum.refreshes += slack.Refreshes(chatdmtest.BotUser)
	if _, works := slack.NewestTokens(chatdmtest.BotUser); !works {
		sum.uninstalled++
	}
}

func (s *sharedStore) expiry() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens.Expiry
}

// dying is the transport of a process, which ends with it.
type dying struct {
	process *process
	next    http.RoundTripper
}

func (d dying) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := d.process.ctx.Err(); err != nil {
		return nil, err
	}
	return d.next.RoundTrip(req)
}
