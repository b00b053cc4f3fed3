package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/fakeslack"
	"github.com/chatdm/chatdm/rocketchat"
)

// asProgram is an environment variable that makes the test binary run the program, with a
// short settle time and no limiter.
const asProgram = "REMIND_AS_PROGRAM"

// settle is the settle time of killed programs. Calls take effect within a tenth of it.
const settle = time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		p := &program{env: os.Getenv, stdout: os.Stdout, stderr: os.Stderr, settle: settle}
		p.options = []chatdm.Option{chatdm.WithLimiter(nil), chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: time.Millisecond})}
		os.Exit(p.run(context.Background(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

// TestKilledSlack kills runs at random times and runs the program again until everyone has
// been reminded. It checks that each person has one message from each round.
func TestKilledSlack(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	var users []string
	people := "email,name\n"
	for i := range 40 {
		u := chatdmtest.User{ID: fmt.Sprintf("U%08d", i), Email: fmt.Sprintf("user%d@example.com", i)}
		slack.AddUser(u)
		users = append(users, u.ID)
		people += fmt.Sprintf("%s,User %d\n", u.Email, i)
	}
	w := newWitness(t, "/chat.postMessage", slack.Fail, slack)
	rounds := w.kill(t, 5, people, "SLACK_TOKEN="+chatdmtest.BotToken, "SLACK_API_URL="+w.server.URL+"/api")

	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		t.Fatal(err)
	}
	messages, err := fakeslack.Messages(t.Context(), slack, client, users...)
	if err != nil {
		t.Fatal(err)
	}
	for i, list := range messages {
		if len(list) != rounds || list[0].Text != fmt.Sprintf("Hello User %d", i) {
			t.Errorf("user%d: got the messages %v, want %d", i, list, rounds)
		}
	}
}

// TestKilledRocketChat does the same on Rocket.Chat.
func TestKilledRocketChat(t *testing.T) {
	chat := chatdmtest.NewRocketChat()
	defer chat.Close()
	var users []string
	people := "username,name\n"
	for i := range 40 {
		u := chatdmtest.RocketChatUser{ID: fmt.Sprintf("user%08d", i), Username: fmt.Sprint("user", i)}
		chat.AddUser(u)
		users = append(users, u.Username)
		people += fmt.Sprintf("%s,User %d\n", u.Username, i)
	}
	w := newWitness(t, "/chat.sendMessage", chat.Fail, chat)
	rounds := w.kill(t, 15, people, "ROCKETCHAT_URL="+w.server.URL,
		"ROCKETCHAT_USER_ID="+chatdmtest.RocketChatMemberID, "ROCKETCHAT_AUTH_TOKEN="+chatdmtest.RocketChatMemberToken)

	for i, user := range users {
		list := chat.Messages(room(t, chat, nil, user))
		if len(list) != rounds || list[0].Text != fmt.Sprintf("Hello User %d", i) {
			t.Errorf("user%d: got the messages %v, want %d", i, list, rounds)
		}
	}
}

// room returns the ID of the direct message with a user.
func room(t *testing.T, chat *chatdmtest.RocketChat, httpClient *http.Client, username string) string {
	t.Helper()
	creds := rocketchat.Credentials{UserID: chatdmtest.RocketChatMemberID, AuthToken: chatdmtest.RocketChatMemberToken}
	client, err := rocketchat.NewClient(chat.URL, creds, chatdm.WithHTTPClient(httpClient))
	if err != nil {
		t.Fatal(err)
	}
	dm, err := client.IM.Create(t.Context(), rocketchat.IMCreateParams{Usernames: []string{username}})
	if err != nil {
		t.Fatal(err)
	}
	return dm.Room.ID
}

// witness is a fake server that loses the responses to some posts.
type witness struct {
	server *httptest.Server

	mu      sync.Mutex
	posts   int
	arrived chan struct{} // closed and replaced by each post
}

// newWitness returns a witness in front of a fake server, whose method Fail is fail.
func newWitness(t *testing.T, post string, fail func(string, int, chatdmtest.Fault), next http.Handler) *witness {
	w := &witness{arrived: make(chan struct{})}
	w.server = httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		// A request continues when its client is killed.
		r = r.WithContext(context.WithoutCancel(r.Context()))
		if strings.HasSuffix(r.URL.Path, post) {
			f := chatdmtest.Fault{Delay: rand.N(5 * time.Millisecond)}
			switch rand.IntN(8) {
			case 0:
				f = chatdmtest.Fault{Cut: chatdmtest.BeforeHeader} // never takes effect
			case 1:
				f = chatdmtest.Fault{Cut: chatdmtest.InBody, Apply: true}
			case 2:
				f = chatdmtest.Fault{Status: http.StatusBadGateway, ApplyAfter: rand.N(settle / 10)}
			}
			fail(strings.TrimPrefix(post, "/"), 1, f)
			w.mu.Lock()
			w.posts++
			close(w.arrived)
			w.arrived = make(chan struct{})
			w.mu.Unlock()
		}
		next.ServeHTTP(out, r)
	}))
	t.Cleanup(w.server.Close)
	return w
}

// kill runs the program until there were enough kills and everyone has been reminded. It
// returns how often: in each round, the run has another name.
func (w *witness) kill(t *testing.T, kills int, people string, env ...string) (rounds int) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"people.csv": people, "text": "Hello {{.name}}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	killed, incomplete := 0, 0
	for code := -1; code != exitOK || killed < kills; {
		cmd := exec.Command(os.Args[0], "-people", "people.csv", "-text", "text", "-run", fmt.Sprint("round ", rounds))
		cmd.Dir = dir
		cmd.Env = append(append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0"), env...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		exited := make(chan error, 1)
		go func() { exited <- cmd.Wait() }()
		if killed < kills {
			select {
			case <-w.killTime():
				cmd.Process.Kill()
				<-exited
			case <-exited:
			}
		} else {
			<-exited
		}
		switch code = cmd.ProcessState.ExitCode(); code {
		case exitOK:
			rounds++
		case exitIncomplete:
			incomplete++
		case -1: // killed
			killed++
		default:
			t.Fatalf("got exit code %d:\n%s", code, &out)
		}
	}
	w.server.Close()
	t.Logf("in %d rounds, %d runs were killed and %d were incomplete; %d posts", rounds, killed, incomplete, w.posts)
	return rounds
}

// killTime returns a channel that receives when to kill: usually around one of the next
// posts, and sometimes at any time after the start.
func (w *witness) killTime() <-chan time.Time {
	if rand.IntN(5) == 0 {
		return time.After(rand.N(100 * time.Millisecond))
	}
	at := make(chan time.Time, 1)
	w.mu.Lock()
	posts, next := w.posts, w.arrived
	w.mu.Unlock()
	enough := posts + 1 + rand.N(8)
	go func() {
		for posts < enough {
			select {
			case <-next:
			case <-time.After(10 * time.Second): // the run is complete
				return
			}
			w.mu.Lock()
			posts, next = w.posts, w.arrived
			w.mu.Unlock()
		}
		at <- <-time.After(rand.N(8 * time.Millisecond))
	}()
	return at
}
