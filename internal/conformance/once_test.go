package conformance_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

var kills = flag.Int("kills", 20, "how many processes TestOnceKilled kills on each platform")

// messages is how many messages a run posts.
const messages = 10

// poster posts message number i, and returns nil if it has been posted.
type poster func(ctx context.Context, i int) error

// newSlackPoster returns a poster for one run of a program. Since is when its first run
// began, or zero.
func newSlackPoster(url, channel string, since time.Time, opts ...chatdm.Option) (poster, error) {
	client, err := chatdm.NewClient(chatdmtest.BotToken, append(opts, chatdm.WithBaseURL(url))...)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, i int) error {
		_, err := client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{
			Channel: channel, Text: text(i), Key: fmt.Sprint("message ", i), Since: since,
		})
		return err
	}, nil
}

// text is rewritten by Slack, and never the same twice.
func text(i int) string {
	return fmt.Sprintf("#%d: see https://example.com/%d & mail bob@example.com", i, rand.IntN(1e6))
}

// postAll posts all messages. If the outcome of one is unknown, it goes on and returns
// that error at the end, as a program does that runs again later.
func postAll(ctx context.Context, post poster) error {
	var unknown error
	for i := range messages {
		if err := post(ctx, i); errors.Is(err, chatdm.ErrEffectUnknown) && ctx.Err() == nil {
			unknown = err
		} else if err != nil {
			return err
		}
	}
	return unknown
}

// faults makes the server lose most responses. Some calls take effect up to late
// afterward, and some never do.
func faults(fail func(string, int, chatdmtest.Fault), method string, late time.Duration) {
	for range 100 {
		f := chatdmtest.Fault{}
		switch rand.IntN(8) {
		case 0, 1: // no fault
		case 2:
			f = chatdmtest.Fault{Cut: chatdmtest.BeforeHeader}
		case 3:
			f = chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}
		case 4:
			f = chatdmtest.Fault{Cut: chatdmtest.InBody, ApplyAfter: rand.N(late)}
		case 5:
			f = chatdmtest.Fault{Status: 503, ApplyAfter: rand.N(late)}
		case 6: // longer than the timeout of an attempt
			f = chatdmtest.Fault{ApplyAfter: rand.N(late)}
		case 7:
			f = chatdmtest.Fault{Stall: chatdmtest.InHeader, Apply: true}
		}
		fail(method, 1, f)
	}
}

// tally counts what became of the messages of all runs.
type tally struct {
	mu                                          sync.Mutex
	programs, kills, unknown, posted, duplicate int
	took                                        time.Duration
}

func (c *tally) add(t *testing.T, stored []chatdmtest.Message) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.programs++
	for i := range messages {
		n := 0
		for _, m := range stored {
			if strings.HasPrefix(m.Text, fmt.Sprintf("#%d:", i)) {
				n++
			}
		}
		if c.posted++; n != 1 {
			c.duplicate++
			t.Errorf("got message %d %d times, want it once", i, n)
		}
	}
}

func (c *tally) report(t *testing.T) {
	t.Logf("%d programs posted %d messages and were killed %d times in %v; %d runs ended with an unknown outcome; %d messages were missing or posted twice",
		c.programs, c.posted, c.kills, c.took.Round(time.Second), c.unknown, c.duplicate)
}

// TestOnceRestarted stops a program at random moments and starts it again, in fake time
// and with real durations: a settle time of 90 seconds and effects that are up to 20
// seconds late.
func TestOnceRestarted(t *testing.T) {
	var count tally
	for count.kills < 200 {
		synctest.Test(t, func(t *testing.T) {
			slack := chatdmtest.NewSlack(chatdmtest.InMemory())
			defer slack.Close()
			faults(slack.Fail, "chat.postMessage", 20*time.Second)
			channel, started := openDM(t, slack), time.Now()
			var since time.Time
			for {
				post, err := newSlackPoster(slack.URL, channel, since,
					chatdm.WithHTTPClient(slack.Client()), chatdm.WithTimeout(10*time.Second))
				if err != nil {
					t.Fatal(err)
				}
				ctx, kill := context.WithCancel(t.Context())
				killer := time.AfterFunc(rand.N(5*time.Minute), kill)
				err = postAll(ctx, post)
				killed := !killer.Stop()
				kill()
				slack.Client().CloseIdleConnections()
				since = started
				if err == nil {
					break
				} else if killed {
					count.kills++
				} else if errors.Is(err, chatdm.ErrEffectUnknown) {
					count.unknown++
				} else {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Hour) // so that late effects show
			count.took += time.Since(started) - time.Hour
			count.add(t, slack.Messages(channel))
		})
	}
	count.report(t)
}

func openDM(t *testing.T, slack *chatdmtest.Slack) string {
	t.Helper()
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL), chatdm.WithHTTPClient(slack.Client()))
	if err != nil {
		t.Fatal(err)
	}
	dm, err := client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		t.Fatal(err)
	}
	return dm.Channel.ID
}

// The durations of TestOnceKilled, a hundredth of the real ones.
const (
	settle  = 900 * time.Millisecond
	late    = 200 * time.Millisecond
	attempt = 100 * time.Millisecond
)

// TestOnceKilled kills real processes with SIGKILL at random moments and starts them
// again, until each has posted its messages.
func TestOnceKilled(t *testing.T) {
	var count tally
	start := time.Now()
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for {
				count.mu.Lock()
				enough := count.kills >= *kills
				count.mu.Unlock()
				if enough {
					return
				}
				runKilled(t, &count)
			}
		})
	}
	running.Wait()
	count.took = time.Since(start)
	count.report(t)
}

func runKilled(t *testing.T, count *tally) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	faults(slack.Fail, "chat.postMessage", late)
	channel, since := openDM(t, slack), ""
	for {
		program := exec.Command(os.Args[0])
		program.Env = append(os.Environ(), "CHATDM_ONCE_URL="+slack.URL, "CHATDM_ONCE_CHANNEL="+channel, "CHATDM_ONCE_SINCE="+since)
		if since == "" {
			since = strconv.FormatInt(time.Now().UnixNano(), 10)
		}
		if err := program.Start(); err != nil {
			t.Error(err)
			return
		}
		killer := time.AfterFunc(rand.N(3*time.Second), func() { _ = program.Process.Kill() })
		err := program.Wait()
		killed := !killer.Stop()
		code := program.ProcessState.ExitCode()
		count.mu.Lock()
		switch {
		case killed && err != nil:
			count.kills++
		case code == exitUnknown:
			count.unknown++
		}
		count.mu.Unlock()
		if err == nil {
			break
		}
		if !killed && code != exitUnknown {
			t.Errorf("got %v from the program, want a success or an unknown outcome", err)
			return
		}
	}
	time.Sleep(late) // so that late effects show
	count.add(t, slack.Messages(channel))
}

const exitUnknown = 3

// runProgram is the program that TestOnceKilled runs, in this test binary.
func runProgram() int {
	var since time.Time
	if nanos, err := strconv.ParseInt(os.Getenv("CHATDM_ONCE_SINCE"), 10, 64); err == nil {
		since = time.Unix(0, nanos)
	}
	post, err := newSlackPoster(os.Getenv("CHATDM_ONCE_URL"), os.Getenv("CHATDM_ONCE_CHANNEL"), since, chatdm.WithSettleTime(settle), chatdm.WithTimeout(attempt))
	if err == nil {
		err = postAll(context.Background(), post)
	}
	switch {
	case errors.Is(err, chatdm.ErrEffectUnknown):
		return exitUnknown
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
