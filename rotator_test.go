package chatdm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// memoryStore is a TokenStore. Tests make it fail.
type memoryStore struct {
	mu              sync.Mutex
	tokens          chatdm.Tokens
	loadErr, setErr error
	updates         int
}

func (s *memoryStore) Load(context.Context) (chatdm.Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens, s.loadErr
}

func (s *memoryStore) Update(ctx context.Context, fn func(context.Context, chatdm.Tokens) (chatdm.Tokens, error)) (chatdm.Tokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.updates++
	if s.loadErr != nil {
		return chatdm.Tokens{}, s.loadErr
	}
	tokens, err := fn(ctx, s.tokens)
	if err != nil {
		return chatdm.Tokens{}, err
	}
	if s.setErr == nil {
		s.tokens = tokens
	}
	return tokens, s.setErr
}

const (
	clientID     = "1234.5678"
	clientSecret = "golden-client-secret"
	halfDay      = 12 * time.Hour
)

func pair(n int, lifetime time.Duration) chatdm.Tokens {
	t := chatdm.Tokens{AccessToken: fmt.Sprint("xoxe.xoxb-1-access", n), RefreshToken: fmt.Sprint("xoxe-1-refresh", n)}
	if lifetime != 0 {
		t.Expiry = time.Now().Add(lifetime)
	}
	return t
}

// granted is the response to the refresh that returns pair n.
func granted(n int) wiretest.Responder {
	return answer(200, fmt.Sprintf(`{"ok":true,"access_token":"xoxe.xoxb-1-access%d","expires_in":43200,"refresh_token":"xoxe-1-refresh%[1]d","token_type":"bot"}`, n))
}

func newRotator(t testing.TB, store chatdm.TokenStore, transport http.RoundTripper, opts ...chatdm.Option) *chatdm.Rotator {
	t.Helper()
	opts = append([]chatdm.Option{chatdm.WithHTTPClient(&http.Client{Transport: transport}), chatdm.WithUserAgent("golden")}, opts...)
	r, err := chatdm.NewRotator(chatdm.OAuthApp{ClientID: clientID, ClientSecret: clientSecret}, store, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantToken(t *testing.T, r *chatdm.Rotator, want int) {
	t.Helper()
	token, err := r.Token(t.Context())
	if err != nil || token != fmt.Sprint("xoxe.xoxb-1-access", want) {
		t.Errorf("got token %q, %v, want that of pair %d", token, err, want)
	}
}

// TestRotator: a token is refreshed before it expires, and stored before it is used.
func TestRotator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{tokens: pair(1, halfDay)}
		s := newScript(granted(2), granted(3))
		r := newRotator(t, store, s)
		wantToken(t, r, 1)
		time.Sleep(halfDay - 41*time.Minute)
		wantToken(t, r, 1)
		if store.updates != 0 || s.Sent() != 0 {
			t.Errorf("got %d updates and %d requests, want none", store.updates, s.Sent())
		}
		time.Sleep(21 * time.Minute) // 20 minutes before the expiry
		start := time.Now()
		wantToken(t, r, 2)
		wantToken(t, r, 2)
		if want := pair(2, halfDay); store.tokens != want || store.updates != 1 {
			t.Errorf("got %d updates, tokens until %v, want 1 and until %v", store.updates, store.tokens.Expiry, want.Expiry)
		}
		want := `POST /api/oauth.v2.access HTTP/1.1
Host: slack.com
Accept: application/json
Authorization: Basic MTIzNC41Njc4OmdvbGRlbi1jbGllbnQtc2VjcmV0
Content-Length: 54
Content-Type: application/x-www-form-urlencoded
User-Agent: golden

grant_type=refresh_token&refresh_token=xoxe-1-refresh1`
		if diff := cmp.Diff([]string{want}, s.Requests); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}

		// Another process refreshes the token: no request.
		store.tokens = pair(7, halfDay+halfDay)
		time.Sleep(halfDay - time.Since(start) - time.Minute)
		wantToken(t, r, 7)
		if s.Sent() != 1 {
			t.Errorf("got %d requests, want none for tokens that another process has stored", s.Sent())
		}
	})
}

// TestRotatorRefreshTime: the time of a refresh depends on the token, not on the process.
func TestRotatorRefreshTime(t *testing.T) {
	var first, last time.Duration
	for n := range 100 {
		synctest.Test(t, func(t *testing.T) {
			var times []time.Duration
			for range 2 {
				s := newScript(granted(1000))
				r := newRotator(t, &memoryStore{tokens: pair(n, halfDay)}, s)
				start := time.Now()
				for s.Sent() == 0 {
					time.Sleep(time.Minute)
					if _, err := r.Token(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				times = append(times, halfDay-time.Since(start))
			}
			if times[0] != times[1] || times[0] < 19*time.Minute || times[0] > 40*time.Minute {
				t.Errorf("got refreshes %v before the expiry, want the same time, from 20 to 40 minutes", times)
			}
			if first == 0 || times[0] > first {
				first = times[0]
			}
			if last == 0 || times[0] < last {
				last = times[0]
			}
		})
	}
	if first < 37*time.Minute || last > 23*time.Minute {
		t.Errorf("got refreshes from %v to %v before the expiry, want them spread over 20 to 40 minutes", first, last)
	}
}

// TestRotatorIsShared: while one call refreshes the token, the others use the old one or, if
// that has expired, wait.
func TestRotatorIsShared(t *testing.T) {
	for name, left := range map[string]time.Duration{"old token is valid": 10 * time.Minute, "old token has expired": -time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := func(req *http.Request) (*http.Response, error) {
					time.Sleep(5 * time.Second)
					return granted(2)(req)
				}
				s := newScript(slow)
				r := newRotator(t, &memoryStore{tokens: pair(1, left)}, s)
				var mu sync.Mutex
				got := map[string]int{}
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						token, err := r.Token(t.Context())
						mu.Lock()
						defer mu.Unlock()
						got[fmt.Sprint(token, " ", err, " ", time.Since(startTime))]++
					})
					synctest.Wait()
				}
				all.Wait()
				want := map[string]int{"xoxe.xoxb-1-access2 <nil> 5s": 50}
				if left > 0 {
					want = map[string]int{"xoxe.xoxb-1-access2 <nil> 5s": 1, "xoxe.xoxb-1-access1 <nil> 0s": 49}
				}
				if diff := cmp.Diff(want, got); diff != "" || s.Sent() != 1 {
					t.Errorf("got %d requests, want 1; tokens (-want +got):\n%s", s.Sent(), diff)
				}
			})
		})
	}
}

// TestRotatorFailures: what a caller gets, and when the rotator asks again.
func TestRotatorFailures(t *testing.T) {
	tests := []struct {
		name      string
		left      time.Duration // until the stored token expires
		responses []wiretest.Responder
		requests  []time.Duration // within six hours of calls every second
		kind      chatdm.Kind     // of the first error, or "" if there is none
		code      error
	}{
		{"lost once", -time.Minute, []wiretest.Responder{lost, granted(2)}, []time.Duration{0, time.Second}, "", nil},
		{"lost twice", -time.Minute, []wiretest.Responder{lost, lost, granted(2)}, []time.Duration{0, time.Second, 6 * time.Second}, chatdm.KindUnavailable, chatdm.ErrEffectUnknown},
		{"down, but the token is valid", 10 * time.Minute, []wiretest.Responder{answer(503, ""), answer(503, ""), answer(503, ""), answer(503, ""), granted(2)},
			[]time.Duration{0, time.Second, 6 * time.Second, 7 * time.Second, 17 * time.Second}, "", nil},
		{"rate limited", -time.Minute, []wiretest.Responder{answer(429, "", "Retry-After", "120"), granted(2)},
			[]time.Duration{0, 2 * time.Minute}, chatdm.KindRateLimited, chatdm.ErrRateLimited},
		{"rejected", -time.Minute, []wiretest.Responder{coded("invalid_refresh_token")},
			[]time.Duration{0, time.Minute, 3 * time.Minute, 7 * time.Minute, 15 * time.Minute, 31 * time.Minute, 63 * time.Minute, 123 * time.Minute, 183 * time.Minute, 243 * time.Minute, 303 * time.Minute},
			chatdm.KindUnauthenticated, chatdm.ErrInvalidRefreshToken},
		{"not JSON", -time.Minute, []wiretest.Responder{answer(200, "<html>xoxe-1-refresh9"), answer(200, "<html>"), granted(2)},
			[]time.Duration{0, time.Second, 6 * time.Second}, chatdm.KindUnexpectedResponse, chatdm.ErrEffectUnknown},
		{"no refresh token in it", -time.Minute, []wiretest.Responder{answer(200, `{"ok":true,"access_token":"xoxe.xoxb-1-a","expires_in":43200}`), granted(2)},
			[]time.Duration{0, time.Second}, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(tt.responses...)
				r := newRotator(t, &memoryStore{tokens: pair(1, tt.left)}, s, once)
				var first error
				last := ""
				for range 6 * 60 * 60 {
					token, err := r.Token(t.Context())
					if err != nil {
						if first = err; strings.Contains(err.Error(), "xoxe") {
							t.Fatalf("got %v, want an error without a token", err)
						}
						if tt.kind != "" && first == nil {
							first = err
						}
						e := wantError(t, err)
						if e.Kind != tt.kind {
							t.Fatalf("got %v, want %s", err, tt.kind)
						}
					}
					last = token
					time.Sleep(time.Second)
				}
				if (first == nil) != (tt.kind == "") || tt.code != nil && !errors.Is(first, tt.code) {
					t.Errorf("got %v, want kind %q and %v", first, tt.kind, tt.code)
				}
				if want := fmt.Sprint("xoxe.xoxb-1-access", 2); tt.kind != chatdm.KindUnauthenticated && last != want {
					t.Errorf("got %q in the end, want %q", last, want)
				}
				if diff := cmp.Diff(tt.requests, s.At); diff != "" {
					t.Errorf("times of the requests (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestRotatorAnotherProcessWon: if the refresh token is rejected, the tokens that another
// process has stored count.
func TestRotatorAnotherProcessWon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{tokens: pair(1, -time.Minute)}
		s := newScript(func(req *http.Request) (*http.Response, error) {
			go func() { // stored as soon as the update has ended
				store.mu.Lock()
				defer store.mu.Unlock()
				store.tokens = pair(5, halfDay)
			}()
			return coded("invalid_refresh_token")(req)
		})
		r := newRotator(t, &slowLoad{store}, s)
		wantToken(t, r, 5)
	})
}

// slowLoad loads a little later.
type slowLoad struct{ *memoryStore }

func (s *slowLoad) Load(ctx context.Context) (chatdm.Tokens, error) {
	time.Sleep(time.Second)
	return s.memoryStore.Load(ctx)
}

// TestRotatorStoreFails: calls continue as long as a token is valid, and no tokens are lost.
func TestRotatorStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := errors.New("disk full")
		store := &memoryStore{tokens: pair(1, 10*time.Minute), setErr: disk}
		var log bytes.Buffer
		s := newScript(granted(2))
		r := newRotator(t, store, s, chatdm.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		wantToken(t, r, 1) // not stored, and the old one is valid
		if !strings.Contains(log.String(), "tokens not refreshed") || !strings.Contains(log.String(), "token store: disk full") || strings.Contains(log.String(), "xoxe") {
			t.Errorf("got log %q, want the error of the store and no token", log.String())
		}
		time.Sleep(9 * time.Minute)
		wantToken(t, r, 1)
		time.Sleep(2 * time.Minute)
		wantToken(t, r, 2) // not stored, but the old one has expired
		store.setErr = nil
		time.Sleep(5 * time.Minute)
		wantToken(t, r, 2)
		if store.tokens.AccessToken != "xoxe.xoxb-1-access2" || s.Sent() != 1 {
			t.Errorf("got %d requests and %v in the store, want 1 and the second pair", s.Sent(), store.tokens.AccessToken)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{tokens: pair(1, halfDay), setErr: errors.New("disk full")}
		r := newRotator(t, store, newScript(granted(2)))
		wantToken(t, r, 1)
		token, err := r.Refresh(t.Context(), "xoxe.xoxb-1-access1")
		if err != nil || token != "xoxe.xoxb-1-access2" {
			t.Errorf("got %q, %v, want the unsaved token in place of a rejected one", token, err)
		}
		wantToken(t, r, 2)
	})
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{tokens: pair(1, halfDay), loadErr: errors.New("no such host")}
		r := newRotator(t, store, newScript())
		for range 3 {
			_, err := r.Token(t.Context())
			e := wantError(t, err, chatdm.KindUnavailable)
			if !strings.Contains(e.Error(), "token store: no such host") {
				t.Errorf("got %v, want the error of the store", err)
			}
		}
		store.loadErr = nil
		time.Sleep(5 * time.Second)
		wantToken(t, r, 1)
		store.loadErr = errors.New("no such host")
		time.Sleep(halfDay - 10*time.Minute)
		wantToken(t, r, 1)
	})
}

// TestRotatorEmptyStore: without tokens, the error says what to do.
func TestRotatorEmptyStore(t *testing.T) {
	for want, tokens := range map[string]chatdm.Tokens{
		"the store has no tokens; install the app":                    {},
		"the stored token cannot be refreshed; install the app again": {AccessToken: "xoxb-1-old", Expiry: time.Unix(1, 0)},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, err := newRotator(t, &memoryStore{tokens: tokens}, newScript()).Token(t.Context())
			if e := wantError(t, err, chatdm.KindUnauthenticated); !strings.Contains(e.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
	r := newRotator(t, &memoryStore{tokens: chatdm.Tokens{AccessToken: "xoxb-static"}}, newScript())
	if token, err := r.Token(t.Context()); err != nil || token != "xoxb-static" {
		t.Errorf("got %q, %v, want the token that does not expire", token, err)
	}
}

// TestRotatorCanceledCaller: a refresh goes on if the context of its caller ends.
func TestRotatorCanceledCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{tokens: pair(1, -time.Minute)}
		r := newRotator(t, store, newScript(func(req *http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			if err := req.Context().Err(); err != nil {
				return nil, err
			}
			return granted(2)(req)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the error of the context", err)
		}
		time.Sleep(5 * time.Second)
		if tokens, _ := store.Load(t.Context()); tokens.AccessToken != "xoxe.xoxb-1-access2" {
			t.Error("got the old tokens in the store, want the new ones")
		}
	})
}

// TestTokenSource: the client refreshes a rejected token and retries the call once.
func TestTokenSource(t *testing.T) {
	post := func(t *testing.T, c *chatdm.Client) (*chatdm.Meta, error) {
		res, err := c.Chat.PostMessage(t.Context(), chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi"})
		if err != nil {
			return nil, err
		}
		return &res.Meta, nil
	}
	expired, revoked := coded("token_expired"), coded("token_revoked")
	for name, tt := range map[string]struct {
		responses []wiretest.Responder // to posts and refreshes
		requests  string               // the tokens of the posts; R for a refresh
		kind      chatdm.Kind
		attempts  int
	}{
		"expired":           {[]wiretest.Responder{expired, granted(2), postOK}, "1R2", "", 2},
		"revoked":           {[]wiretest.Responder{revoked, granted(2), postOK}, "1R2", "", 2},
		"rejected again":    {[]wiretest.Responder{expired, granted(2), expired}, "1R2", chatdm.KindUnauthenticated, 2},
		"refresh fails":     {[]wiretest.Responder{expired, coded("invalid_refresh_token")}, "1R", chatdm.KindUnauthenticated, 1},
		"refresh is down":   {[]wiretest.Responder{expired, coded("team_added_to_org")}, "1R", chatdm.KindUnavailable, 1},
		"invalid":           {[]wiretest.Responder{coded("invalid_auth")}, "1", chatdm.KindUnauthenticated, 1},
		"app was removed":   {[]wiretest.Responder{coded("account_inactive")}, "1", chatdm.KindUnauthenticated, 1},
		"lost, not retried": {[]wiretest.Responder{lost}, "1", chatdm.KindUnavailable, 1},
		"then rate limited": {[]wiretest.Responder{expired, granted(2), answer(429, "", "Retry-After", "1"), postOK}, "1R22", "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(tt.responses...)
				r := newRotator(t, &memoryStore{tokens: pair(1, halfDay)}, s)
				client, err := chatdm.NewClient("", chatdm.WithHTTPClient(&http.Client{Transport: s}), chatdm.WithTokenSource(r))
				if err != nil {
					t.Fatal(err)
				}
				meta, err := post(t, client)
				requests := ""
				for _, request := range s.Requests {
					if strings.Contains(request, "oauth.v2.access") {
						requests += "R"
						continue
					}
					_, token, _ := strings.Cut(request, "Authorization: Bearer xoxe.xoxb-1-access")
					requests += token[:1]
				}
				if requests != tt.requests {
					t.Errorf("got requests %s, want %s", requests, tt.requests)
				}
				if tt.kind == "" {
					if err != nil || meta.Attempts != tt.attempts {
						t.Errorf("got %+v, %v, want a success after %d attempts", meta, err, tt.attempts)
					}
					return
				}
				if name == "refresh fails" && !errors.Is(err, chatdm.ErrInvalidRefreshToken) {
					t.Errorf("got %v, want the code of the refresh", err)
				}
				e := wantError(t, err, tt.kind)
				if e.Method != "chat.postMessage" || e.Attempts != tt.attempts || strings.Contains(err.Error(), "xoxe") {
					t.Errorf("got %v, want an error of chat.postMessage after %d attempts and without a token", err, tt.attempts)
				}
			})
		})
	}
}

// sourceFunc is a TokenSource that cannot refresh.
type sourceFunc func(context.Context) (string, error)

func (f sourceFunc) Token(ctx context.Context) (string, error) { return f(ctx) }

func TestTokenSourceErrors(t *testing.T) {
	s := newScript(coded("token_expired"))
	try := func(token string, err error) error {
		client, cerr := chatdm.NewClient("", chatdm.WithHTTPClient(&http.Client{Transport: s}),
			chatdm.WithTokenSource(sourceFunc(func(context.Context) (string, error) { return token, err })))
		if cerr != nil {
			t.Fatal(cerr)
		}
		return failed(client.Auth.Test(t.Context()))
	}
	vault := errors.New("vault is sealed")
	wantError(t, try("", vault), chatdm.KindUnavailable, vault)
	wantError(t, try("", &chatdm.Error{Kind: chatdm.KindUnauthenticated, Err: vault}), chatdm.KindUnauthenticated, vault)
	wantError(t, try("", nil), chatdm.KindUnauthenticated)
	wantError(t, try("a b", nil), chatdm.KindUnauthenticated)
	if s.Sent() != 0 {
		t.Errorf("got %d requests, want none without a token", s.Sent())
	}
	wantError(t, try("xoxb-1", nil), chatdm.ErrTokenExpired)
	if s.Sent() != 1 {
		t.Errorf("got %d requests, want one of a source that cannot refresh", s.Sent())
	}

	source := chatdm.WithTokenSource(sourceFunc(nil))
	for _, err := range []error{
		failed(chatdm.NewClient("xoxb-1", source)), failed(chatdm.NewClient("", chatdm.WithTokenSource(nil))),
		failed(chatdm.NewRotator(chatdm.OAuthApp{ClientID: "1", ClientSecret: "2"}, nil)),
		failed(chatdm.NewRotator(chatdm.OAuthApp{ClientID: "1"}, &memoryStore{})),
		failed(chatdm.NewRotator(chatdm.OAuthApp{ClientSecret: "1"}, &memoryStore{})),
		failed(chatdm.NewRotator(chatdm.OAuthApp{ClientID: "1", ClientSecret: "2"}, &memoryStore{}, source)),
		failed(newClient(t, s).WithToken("a b")),
	} {
		wantError(t, err, chatdm.KindInvalidRequest)
	}
}

// TestExchange: a long-lived token fills an empty store, once.
func TestExchange(t *testing.T) {
	store := new(memoryStore)
	s := newScript(granted(1))
	r := newRotator(t, store, s)
	for range 2 {
		if err := r.Exchange(t.Context(), "xoxb-long-lived"); err != nil {
			t.Fatal(err)
		}
	}
	wantToken(t, r, 1)
	want := `POST /api/oauth.v2.exchange HTTP/1.1
Host: slack.com
Accept: application/json
Content-Length: 76
Content-Type: application/x-www-form-urlencoded
User-Agent: golden

client_id=1234.5678&client_secret=golden-client-secret&token=xoxb-long-lived`
	if diff := cmp.Diff([]string{want}, s.Requests); diff != "" || store.tokens.AccessToken != "xoxe.xoxb-1-access1" {
		t.Errorf("got %v in the store; requests (-want +got):\n%s", store.tokens, diff)
	}

	err := newRotator(t, new(memoryStore), newScript(coded("token_already_exchanged"))).Exchange(t.Context(), "xoxb-long-lived")
	wantError(t, err, chatdm.ErrTokenAlreadyExchanged)
	full := &memoryStore{setErr: errors.New("disk full")}
	r = newRotator(t, full, newScript(granted(1)))
	if e := wantError(t, r.Exchange(t.Context(), "xoxb-long-lived"), chatdm.KindUnavailable); !strings.Contains(e.Error(), "disk full") {
		t.Errorf("got %v, want the error of the store", e)
	}
	wantToken(t, r, 1) // not lost
	wantError(t, r.Exchange(t.Context(), ""), chatdm.KindInvalidRequest)
}

// TestWithToken: the new client shares the transport and the options, but not a pause.
func TestWithToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(answer(429, "", "Retry-After", "30"), ok)
		client := newClient(t, s, once)
		other, err := client.WithToken("xoxb-other")
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, failed(client.Conversations.Close(t.Context(), "D1")), chatdm.ErrRateLimited)
		if _, err := other.Conversations.Close(t.Context(), "D1"); err != nil {
			t.Fatal(err)
		}
		if time.Since(startTime) != 0 || !strings.Contains(s.Requests[1], "Authorization: Bearer xoxb-other\n") || !strings.Contains(s.Requests[1], "User-Agent: golden\n") {
			t.Errorf("got %q after %v, want the other token, the same options, and no pause", s.Requests[1], time.Since(startTime))
		}
		if text := fmt.Sprintf("%v %+v %#v", other, other, other); strings.Contains(text, "xoxb") {
			t.Errorf("got %q, want no token", text)
		}
	})
	client := newClient(t, newScript(ok), chatdm.WithLimiter(deny{}))
	other, err := client.WithToken("xoxb-other")
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, failed(other.Auth.Test(t.Context())), errDenied)
	if other, err = client.WithToken("xoxb-other", chatdm.WithLimiter(chatdm.NewTierLimiter())); err != nil {
		t.Fatal(err)
	}
	if err := failed(other.IM.Close(t.Context(), "D1")); err != nil {
		t.Errorf("got %v, want a success with another limiter", err)
	}
	if got := testing.AllocsPerRun(100, func() {
		if _, err := client.WithToken("xoxb-other"); err != nil {
			t.Fatal(err)
		}
	}); got > 16 {
		t.Errorf("got %v allocations, want at most 16", got)
	}
}

// TestReinstalled: if the app was installed again, the client finds the new tokens in the
// store. If not, it keeps the server's error and does not look again for a minute.
func TestReinstalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memoryStore{tokens: pair(1, halfDay)}
		s := newScript(ok, coded("account_inactive"), ok)
		client, err := chatdm.NewClient("", chatdm.WithHTTPClient(&http.Client{Transport: s}), chatdm.WithTokenSource(newRotator(t, store, s)))
		if err != nil {
			t.Fatal(err)
		}
		closeDM := func() error { return failed(client.Conversations.Close(t.Context(), "D1")) }
		if err := closeDM(); err != nil {
			t.Fatal(err)
		}
		store.tokens = pair(5, halfDay)
		if err := closeDM(); err != nil || s.Sent() != 3 || !strings.Contains(s.Requests[2], "xoxe.xoxb-1-access5") || store.updates != 0 {
			t.Errorf("got %v after %d requests, want a retry with the token of the store", err, s.Sent())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newScript(coded("invalid_auth"))
		store := &memoryStore{tokens: pair(1, halfDay)}
		client, err := chatdm.NewClient("", chatdm.WithHTTPClient(&http.Client{Transport: s}), chatdm.WithTokenSource(newRotator(t, store, s)))
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			err := failed(client.Conversations.Close(t.Context(), "D1"))
			if e := wantError(t, err, chatdm.ErrInvalidAuth, chatdm.KindUnauthenticated); e.StatusCode != 200 || e.Attempts != 1 {
				t.Errorf("got %v, want the server's error after 1 attempt", err)
			}
		}
	})
}

var errDenied = errors.New("denied")

// deny is a Limiter that allows nothing.
type deny struct{}

func (deny) Wait(context.Context, string) error             { return errDenied }
func (deny) Limited(context.Context, string, time.Duration) {}
