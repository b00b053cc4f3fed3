package rocketchat_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

const (
	sourceURL      = "https://chat.example.org"
	sourcePassword = "golden-password"
)

// loggedIn is the response to the login that returns token n.
func loggedIn(n int) wiretest.Responder {
	return wiretest.Respond(200, fmt.Sprintf(`{"status":"success","data":{"userId":"u1","authToken":"golden-token-%d"}}`, n))
}

var (
	dropped     = wiretest.Respond(401, `{"status":"error","message":"You must be logged in to do this."}`)
	wrong       = wiretest.Respond(401, `{"status":"error","error":"Unauthorized","message":"Unauthorized"}`)
	needsCode   = wiretest.Respond(401, `{"status":"error","error":"totp-required","message":"TOTP Required [totp-required]"}`)
	opened      = wiretest.Respond(200, `{"success":true}`)
	unreachable = wiretest.Respond(503, "")
)

// newSource returns a LoginSource and a client that uses it.
func newSource(t testing.TB, s http.RoundTripper, opts ...chatdm.Option) (*rocketchat.LoginSource, *rocketchat.Client) {
	t.Helper()
	transport := chatdm.WithHTTPClient(&http.Client{Transport: s})
	source, err := rocketchat.NewLoginSource(sourceURL, "alice", sourcePassword, append(opts, transport)...)
	if err != nil {
		t.Fatal(err)
	}
	client, err := rocketchat.NewClient(sourceURL, rocketchat.Credentials{}, transport, rocketchat.WithCredentialSource(source))
	if err != nil {
		t.Fatal(err)
	}
	return source, client
}

// steps shortens the requests to L for a login and the token's number for a call.
func steps(s *wiretest.Script) string {
	var b strings.Builder
	for _, request := range s.Requests {
		_, token, ok := strings.Cut(request, "X-Auth-Token: golden-token-")
		if !ok || !strings.Contains(request, "X-User-Id: u1\n") {
			token = "L"
		}
		b.WriteString(token[:1])
	}
	return b.String()
}

// TestLoginSource: the client logs in when needed, and once more if the server has
// dropped the token.
func TestLoginSource(t *testing.T) {
	code := rocketchat.WithTOTPFunc(func(context.Context) (string, error) { return "123456", nil })
	for name, tt := range map[string]struct {
		opts      []chatdm.Option
		responses []wiretest.Responder
		steps     string
		kind      chatdm.Kind
	}{
		"first call":                 {nil, []wiretest.Responder{loggedIn(1), opened}, "L1", ""},
		"dropped":                    {nil, []wiretest.Responder{loggedIn(1), opened, dropped, loggedIn(2), opened}, "L11L2", ""},
		"dropped again":              {nil, []wiretest.Responder{loggedIn(1), opened, dropped, loggedIn(2), dropped}, "L11L2", chatdm.KindUnauthenticated},
		"wrong password":             {nil, []wiretest.Responder{wrong}, "L", chatdm.KindUnauthenticated},
		"response is lost":           {nil, []wiretest.Responder{unreachable, loggedIn(1), opened}, "LL1", ""},
		"server is down":             {nil, []wiretest.Responder{unreachable}, "LL", chatdm.KindUnavailable},
		"code":                       {[]chatdm.Option{code}, []wiretest.Responder{needsCode, loggedIn(1), opened}, "LL1", ""},
		"no code":                    {nil, []wiretest.Responder{needsCode}, "L", chatdm.KindUnauthenticated},
		"new token, dropped at once": {nil, []wiretest.Responder{loggedIn(1), dropped}, "L1", chatdm.KindUnauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := wiretest.NewScript(tt.responses...)
				_, client := newSource(t, s, tt.opts...)
				_, err := client.IM.Open(t.Context(), "r1")
				if strings.HasPrefix(name, "dropped") {
					if err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Hour)
					_, err = client.IM.Delete(t.Context(), rocketchat.RoomID("r1")) // not idempotent, but retried
				}
				if got := steps(s); got != tt.steps {
					t.Errorf("got requests %s, want %s", got, tt.steps)
				}
				if tt.kind == "" {
					if err != nil {
						t.Error(err)
					}
					return
				}
				wiretest.WantError(t, err, tt.kind)
				if text := err.Error(); strings.Contains(text, "golden") {
					t.Errorf("got %q, want no credential", text)
				}
			})
		})
	}
}

// TestLoginSourcePauses: after a failed login, calls fail without another one until the
// pause ends.
func TestLoginSourcePauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := wiretest.NewScript(wrong, wrong, loggedIn(1), opened)
		_, client := newSource(t, s, chatdm.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		failures := 0
		for range 10 * 60 {
			if _, err := client.IM.Open(t.Context(), "r1"); err != nil {
				wiretest.WantError(t, err, chatdm.KindUnauthenticated)
				failures++
			}
			time.Sleep(time.Second)
		}
		if failures != 180 || s.At[1] != time.Minute || s.At[2] != 3*time.Minute {
			t.Errorf("got %d failures and logins at %v, want 180 and logins after 1 and 3 minutes", failures, s.At[:3])
		}
		if !strings.Contains(log.String(), "chatdm: not logged in") || strings.Contains(log.String(), "golden") {
			t.Errorf("got log %s, want the failures and no credential", log.String())
		}
	})
}

// TestLoginSourceIsShared: many calls share one login.
func TestLoginSourceIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wiretest.NewScript(func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return loggedIn(1)(req)
		}, opened)
		_, client := newSource(t, s)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if _, err := client.IM.Open(t.Context(), "r1"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := steps(s); got != "L"+strings.Repeat("1", 50) {
			t.Errorf("got requests %s, want one login and 50 calls", got)
		}
	})
}

// TestLoginSourceWire: the exact requests, and the code only if the server wants one.
func TestLoginSourceWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wiretest.NewScript(needsCode, loggedIn(1))
		source, _ := newSource(t, s, chatdm.WithUserAgent("golden"), rocketchat.WithTOTPFunc(func(context.Context) (string, error) { return "123456", nil }))
		creds, err := source.Credentials(t.Context())
		if err != nil || creds.UserID != "u1" || creds.AuthToken != "golden-token-1" {
			t.Errorf("got %v, %v, want the credentials of the login", creds, err)
		}
		request := func(body string) string {
			return fmt.Sprintf("POST /api/v1/login HTTP/1.1\nHost: chat.example.org\nAccept: application/json\nContent-Length: %d\nContent-Type: application/json\nUser-Agent: golden\n\n%s", len(body), body)
		}
		want := []string{
			request(`{"user":"alice","password":"golden-password"}`),
			request(`{"user":"alice","password":"golden-password","code":"123456"}`),
		}
		if diff := cmp.Diff(want, s.Requests); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(time.Hour)
		if _, err := source.Refresh(ctx, creds); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

// TestKeyWithSource: the ID of a message with a key depends on the user of the source.
func TestKeyWithSource(t *testing.T) {
	var ids []string
	echo := func(s **wiretest.Script) wiretest.Responder {
		return func(req *http.Request) (*http.Response, error) {
			_, body, _ := strings.Cut((*s).Requests[len((*s).Requests)-1], `"_id":"`)
			id, _, _ := strings.Cut(body, `"`)
			ids = append(ids, id)
			return wiretest.Respond(200, `{"success":true,"message":{"_id":"`+id+`","rid":"r1","u":{"_id":"u1"}}}`)(req)
		}
	}
	var first, second *wiretest.Script
	first, second = wiretest.NewScript(loggedIn(1), echo(&first)), wiretest.NewScript(echo(&second))
	_, client := newSource(t, first)
	static, err := rocketchat.NewClient(sourceURL, rocketchat.Credentials{UserID: "u1", AuthToken: "golden-token-2"}, chatdm.WithHTTPClient(&http.Client{Transport: second}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*rocketchat.Client{client, static} {
		if _, err := c.Chat.SendMessage(t.Context(), rocketchat.ChatSendMessageParams{RoomID: "r1", Text: "hi", Key: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	if len(ids) != 2 || ids[0] == "" || ids[0] != ids[1] {
		t.Errorf("got IDs %q, want one ID for one user", ids)
	}
	_, client = newSource(t, wiretest.NewScript(wrong))
	_, err = client.Chat.SendMessage(t.Context(), rocketchat.ChatSendMessageParams{RoomID: "r1", Text: "hi", Key: "k"})
	if e := wiretest.WantError(t, err, chatdm.KindUnauthenticated); e.Method != "chat.sendMessage" || errors.Is(err, chatdm.ErrEffectUnknown) {
		t.Errorf("got %v, want an error of chat.sendMessage that nothing was sent", err)
	}
}

// sourceFunc is a CredentialSource that cannot refresh.
type sourceFunc func(context.Context) (rocketchat.Credentials, error)

func (f sourceFunc) Credentials(ctx context.Context) (rocketchat.Credentials, error) { return f(ctx) }

func TestCredentialSourceErrors(t *testing.T) {
	s := wiretest.NewScript(dropped)
	transport := chatdm.WithHTTPClient(&http.Client{Transport: s})
	try := func(creds rocketchat.Credentials, err error) error {
		source := sourceFunc(func(context.Context) (rocketchat.Credentials, error) { return creds, err })
		client, cerr := rocketchat.NewClient(sourceURL, rocketchat.Credentials{}, transport, rocketchat.WithCredentialSource(source))
		if cerr != nil {
			t.Fatal(cerr)
		}
		_, err = client.IM.Open(t.Context(), "r1")
		return err
	}
	vault := errors.New("vault is sealed")
	wiretest.WantError(t, try(rocketchat.Credentials{}, vault), chatdm.KindUnavailable, vault)
	wiretest.WantError(t, try(rocketchat.Credentials{}, &chatdm.Error{Kind: chatdm.KindUnauthenticated}), chatdm.KindUnauthenticated)
	wiretest.WantError(t, try(rocketchat.Credentials{UserID: "u1"}, nil), chatdm.KindUnauthenticated)
	if s.Sent() != 0 {
		t.Errorf("got %d requests, want none without credentials", s.Sent())
	}
	wiretest.WantError(t, try(rocketchat.Credentials{UserID: "u1", AuthToken: "golden"}, nil), rocketchat.ErrUnauthorized)
	if s.Sent() != 1 {
		t.Errorf("got %d requests, want one of a source that cannot refresh", s.Sent())
	}

	source := rocketchat.WithCredentialSource(sourceFunc(nil))
	tokens := chatdm.WithTokenSource(new(chatdm.Rotator))
	code := rocketchat.WithTOTPFunc(func(context.Context) (string, error) { return "", nil })
	fails := func(_ any, err error) {
		t.Helper()
		wiretest.WantError(t, err, chatdm.KindInvalidRequest)
	}
	creds := rocketchat.Credentials{UserID: "u1", AuthToken: "golden"}
	fails(rocketchat.NewClient(sourceURL, creds, source))
	fails(rocketchat.NewClient(sourceURL, rocketchat.Credentials{}, rocketchat.WithCredentialSource(nil)))
	fails(rocketchat.NewClient(sourceURL, rocketchat.Credentials{}, tokens))
	fails(rocketchat.NewClient(sourceURL, creds, code))
	fails(chatdm.NewClient("", source))
	fails(chatdm.NewClient("xoxb-1", code))
	fails(rocketchat.Login(t.Context(), sourceURL, "alice", "x", source))
	fails(rocketchat.Login(t.Context(), sourceURL, "alice", "x", code))
	fails(rocketchat.NewLoginSource(sourceURL, "", "x"))
	fails(rocketchat.NewLoginSource(sourceURL, "alice", ""))
	fails(rocketchat.NewLoginSource("chat.example.org", "alice", "x"))
	fails(rocketchat.NewLoginSource(sourceURL, "alice", "x", source))
	fails(rocketchat.NewLoginSource(sourceURL, "alice", "x", rocketchat.WithTOTP("1")))
}

// TestLoginSourcePauseLengths: a temporary failure causes a short pause, and a success ends
// the growth of the pauses.
func TestLoginSourcePauseLengths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wiretest.NewScript(unreachable, unreachable, wrong, loggedIn(1), wrong, loggedIn(2))
		source, _ := newSource(t, s)
		var creds rocketchat.Credentials
		login := func(want ...time.Duration) {
			t.Helper()
			from := s.Sent()
			for {
				next, err := source.Refresh(t.Context(), creds)
				if err == nil {
					creds = next
					break
				}
				time.Sleep(time.Second)
			}
			if diff := cmp.Diff(want, s.At[from:]); diff != "" {
				t.Errorf("times of the logins (-want +got):\n%s", diff)
			}
		}
		login(0, 0, 5*time.Second, 125*time.Second)
		time.Sleep(2 * time.Minute)
		login(245*time.Second, 305*time.Second)
	})
}

// TestLoginSourceHidesCode: not even an error of the transport shows the two-factor code.
func TestLoginSourceHidesCode(t *testing.T) {
	refused := func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused 123456")}
	}
	source, _ := newSource(t, wiretest.NewScript(needsCode, refused), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}),
		rocketchat.WithTOTPFunc(func(context.Context) (string, error) { return "123456", nil }))
	_, err := source.Credentials(t.Context())
	if e := wiretest.WantError(t, err, chatdm.KindUnavailable); strings.Contains(e.Error(), "123456") {
		t.Errorf("got %v, want no code", err)
	}
}
