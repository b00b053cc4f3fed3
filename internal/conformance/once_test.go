package conformance_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
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
	"github.com/chatdm/chatdm/rocketchat"
)

var (
	kills = flag.Int("kills", 20, "how many processes TestOnceKilled kills on each platform")
	scale = flag.Int("scale", 100, "by how much TestOnceKilled shortens the real durations")
)

// messages is how many messages a run posts.
const messages = 10

// poster posts message number i, and returns nil if it has been posted.
type poster func(ctx context.Context, i int) error

// fakeServer is a fake server with a direct message.
type fakeServer struct {
	platform, method, url, room string
	fail                        func(method string, times int, f chatdmtest.Fault)
	stored                      func(room string) []chatdmtest.Message
	client                      func() *http.Client
	close                       func()
}

func startSlack(t *testing.T, opts ...chatdmtest.Option) *fakeServer {
	t.Helper()
	s := chatdmtest.NewSlack(opts...)
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(s.URL), chatdm.WithHTTPClient(s.Client()))
	if err != nil {
		t.Fatal(err)
	}
	dm, err := client.Conversations.Open(t.Context(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		t.Fatal(err)
	}
	return &fakeServer{"slack", "chat.postMessage", s.URL, dm.Channel.ID, s.Fail, s.Messages, s.Client, s.Close}
}

func startRocketChat(t *testing.T, opts ...chatdmtest.Option) *fakeServer {
	t.Helper()
	s := chatdmtest.NewRocketChat(opts...)
	s.RewriteMessages(func(text string) string { return strings.ReplaceAll(text, "bob", "***") })
	client, err := rocketchat.NewClient(s.URL, member, chatdm.WithHTTPClient(s.Client()))
	if err != nil {
		t.Fatal(err)
	}
	dm, err := client.IM.Create(t.Context(), rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	if err != nil {
		t.Fatal(err)
	}
	return &fakeServer{"rocketchat", "chat.sendMessage", s.URL, dm.Room.ID, s.Fail, s.Messages, s.Client, s.Close}
}

var member = rocketchat.Credentials{UserID: chatdmtest.RocketChatMemberID, AuthToken: chatdmtest.RocketChatMemberToken}

// newPoster returns a poster for one run of a program. Since is when its first run began,
// or zero.
func newPoster(platform, url, room string, since time.Time, opts ...chatdm.Option) (poster, error) {
	key := func(i int) string { return fmt.Sprint("message ", i) }
	if platform == "slack" {
		client, err := chatdm.NewClient(chatdmtest.BotToken, append(opts, chatdm.WithBaseURL(url))...)
		return func(ctx context.Context, i int) error {
			_, err := client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{Channel: room, Text: text(i), Key: key(i), Since: since})
			return err
		}, err
	}
	client, err := rocketchat.NewClient(url, member, opts...)
	return func(ctx context.Context, i int) error {
		_, err := client.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: room, Text: text(i), Key: key(i)})
		return err
	}, err
}

// text is rewritten by the servers, and never the same twice.
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
	for name, start := range map[string]func(*testing.T, ...chatdmtest.Option) *fakeServer{"slack": startSlack, "rocketchat": startRocketChat} {
		t.Run(name, func(t *testing.T) {
			var count tally
			for count.kills < 200 {
				synctest.Test(t, func(t *testing.T) { runRestarted(t, start(t, chatdmtest.InMemory()), &count) })
			}
			count.report(t)
		})
	}
}

func runRestarted(t *testing.T, s *fakeServer, count *tally) {
	defer s.close()
	faults(s.fail, s.method, 20*time.Second)
	started := time.Now()
	var since time.Time
	for {
		http := s.client()
		post, err := newPoster(s.platform, s.url, s.room, since, chatdm.WithHTTPClient(http), chatdm.WithTimeout(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		ctx, kill := context.WithCancel(t.Context())
		killer := time.AfterFunc(rand.N(5*time.Minute), kill)
		err = postAll(ctx, post)
		killed := !killer.Stop()
		kill()
		http.CloseIdleConnections()
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
	count.add(t, s.stored(s.room))
}

// TestOnceKilled kills real processes with SIGKILL at random moments and starts them
// again, until each has posted its messages.
func TestOnceKilled(t *testing.T) {
	for name, startServer := range map[string]func(*testing.T, ...chatdmtest.Option) *fakeServer{"slack": startSlack, "rocketchat": startRocketChat} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var count tally
			start := time.Now()
			var running sync.WaitGroup
			for range max(8, *kills/5) {
				running.Go(func() {
					for {
						count.mu.Lock()
						enough := count.kills >= *kills
						count.mu.Unlock()
						if enough {
							return
						}
						runKilled(t, startServer(t), &count)
					}
				})
			}
			running.Wait()
			count.took = time.Since(start)
			count.report(t)
		})
	}
}

func runKilled(t *testing.T, s *fakeServer, count *tally) {
	defer s.close()
	short := time.Duration(*scale)
	faults(s.fail, s.method, 20*time.Second/short)
	since := ""
	for {
		program := exec.Command(os.Args[0])
		program.Env = append(os.Environ(), "CHATDM_ONCE_PLATFORM="+s.platform, "CHATDM_ONCE_URL="+s.url, "CHATDM_ONCE_ROOM="+s.room, "CHATDM_ONCE_SINCE="+since, fmt.Sprint("CHATDM_ONCE_SCALE=", *scale))
		if since == "" {
			since = strconv.FormatInt(time.Now().UnixNano(), 10)
		}
		if err := program.Start(); err != nil {
			t.Error(err)
			return
		}
		killer := time.AfterFunc(rand.N(5*time.Minute/short), func() { _ = program.Process.Kill() })
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
	time.Sleep(20 * time.Second / short) // so that late effects show
	count.add(t, s.stored(s.room))
}

const exitUnknown = 3

// runProgram is the program that TestOnceKilled runs, in this test binary.
func runProgram() int {
	scale, err := strconv.Atoi(os.Getenv("CHATDM_ONCE_SCALE"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	short := time.Duration(scale)
	var since time.Time
	if nanos, err := strconv.ParseInt(os.Getenv("CHATDM_ONCE_SINCE"), 10, 64); err == nil {
		since = time.Unix(0, nanos)
	}
	post, err := newPoster(os.Getenv("CHATDM_ONCE_PLATFORM"), os.Getenv("CHATDM_ONCE_URL"), os.Getenv("CHATDM_ONCE_ROOM"), since,
		chatdm.WithSettleTime(90*time.Second/short), chatdm.WithTimeout(10*time.Second/short),
		chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: time.Second / 2 / short, MaxWait: 10 * time.Second / short}))
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
