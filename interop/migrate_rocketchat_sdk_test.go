// The code of docs/migrate-rocketchat-sdk.md: each block on that page is part of
// this file.

package interop_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/RocketChat/Rocket.Chat.Go.SDK/models"
	"github.com/RocketChat/Rocket.Chat.Go.SDK/rest"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/rocketchat"
)

// sdkLog redirects the log of the SDK, which cannot be disabled, until restore is
// called.
func sdkLog(out io.Writer) (restore func()) {
	before := log.Writer()
	log.SetOutput(out)
	return func() { log.SetOutput(before) }
}

func loginBefore(serverURL *url.URL, user, password string) (*rest.Client, error) {
	client := rest.NewClient(serverURL, false)
	credentials := &models.UserCredentials{Email: user, Password: password}
	if err := client.Login(credentials); err != nil {
		return nil, err
	}
	return client, nil // credentials.ID and credentials.Token are set now
}

func loginAfter(ctx context.Context, serverURL, user, password string) (*rocketchat.Client, error) {
	credentials, err := rocketchat.Login(ctx, serverURL, user, password)
	if err != nil {
		return nil, err
	}
	return rocketchat.NewClient(serverURL, credentials)
}

func lifeWithSDK(client *rest.Client, username string) error {
	room, err := client.CreateDirectMessage(username)
	if err != nil {
		return err
	}
	if _, err := client.PostMessage(&models.PostMessage{RoomID: room.Rid, Text: "The build is green."}); err != nil {
		return err
	}
	// The SDK has no function for these two.
	for _, endpoint := range []string{"im.close", "im.delete"} {
		body := strings.NewReader(fmt.Sprintf(`{"roomId":%q}`, room.Rid))
		if err := client.Post(endpoint, body, new(rest.Status)); err != nil {
			return err
		}
	}
	return nil
}

func lifeWithChatdm(ctx context.Context, client *rocketchat.Client, username string) error {
	created, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{username}})
	if err != nil {
		return err
	}
	message := map[string]string{"roomId": created.Room.ID, "text": "The build is green."}
	if _, err := client.Call(ctx, http.MethodPost, "chat.postMessage", message, nil); err != nil {
		return err
	}
	if _, err := client.IM.Close(ctx, created.Room.ID); err != nil {
		return err
	}
	_, err = client.IM.Delete(ctx, rocketchat.RoomID(created.Room.ID))
	return err
}

func Example_rocketChatSDKLife() {
	ctx := context.Background()
	defer sdkLog(io.Discard)()
	server := chatdmtest.NewRocketChat()
	defer server.Close()

	serverURL, err := url.Parse(server.URL)
	check(err)
	before, err := loginBefore(serverURL, "admin", chatdmtest.RocketChatPassword)
	check(err)
	check(lifeWithSDK(before, "alice"))

	after, err := loginAfter(ctx, server.URL, "admin", chatdmtest.RocketChatPassword)
	check(err)
	check(lifeWithChatdm(ctx, after, "alice"))

	for _, r := range server.Requests() {
		fmt.Println(r.Method, r.Status)
	}

	// Output:
	// login 200
	// im.create 200
	// chat.postMessage 200
	// im.close 200
	// im.delete 200
	// login 200
	// im.create 200
	// chat.postMessage 200
	// im.close 200
	// im.delete 200
}

func storedBefore(serverURL *url.URL, userID, token string) (*rest.Client, error) {
	client := rest.NewClient(serverURL, false)
	err := client.Login(&models.UserCredentials{ID: userID, Token: token}) // sends nothing
	return client, err
}

func storedAfter(serverURL, userID, token string) (*rocketchat.Client, error) {
	return rocketchat.NewClient(serverURL, rocketchat.Credentials{UserID: userID, AuthToken: token})
}

func loginWithCode(ctx context.Context, serverURL, user, password string, ask func() string) (rocketchat.Credentials, error) {
	credentials, err := rocketchat.Login(ctx, serverURL, user, password)
	if errors.Is(err, rocketchat.ErrTOTPRequired) {
		credentials, err = rocketchat.Login(ctx, serverURL, user, password, rocketchat.WithTOTP(ask()))
	}
	return credentials, err
}

func Example_rocketChatSDKCredentials() {
	ctx := context.Background()
	defer sdkLog(io.Discard)()
	server := chatdmtest.NewRocketChat()
	defer server.Close()
	serverURL, err := url.Parse(server.URL)
	check(err)

	before, err := storedBefore(serverURL, chatdmtest.RocketChatMemberID, chatdmtest.RocketChatMemberToken)
	check(err)
	room, err := before.CreateDirectMessage("alice")
	check(err)
	after, err := storedAfter(server.URL, chatdmtest.RocketChatMemberID, chatdmtest.RocketChatMemberToken)
	check(err)
	created, err := after.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	check(err)
	fmt.Println("the same room:", room.Rid == created.Room.ID)

	server.AddUser(chatdmtest.RocketChatUser{ID: "tess1", Username: "tess", Password: "secret", TOTP: "123456"})
	_, err = loginBefore(serverURL, "tess", "secret")
	fmt.Println("the SDK:", err)
	credentials, err := loginWithCode(ctx, server.URL, "tess", "secret", func() string { return "123456" })
	fmt.Println("chatdm:", credentials, err)
	resumed, err := rocketchat.Resume(ctx, server.URL, credentials.AuthToken)
	fmt.Println("resumed:", resumed, err)
	client, err := rocketchat.NewClient(server.URL, resumed)
	check(err)
	_, err = client.Call(ctx, http.MethodPost, "logout", nil, nil)
	check(err)
	_, err = client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"alice"}})
	fmt.Println("logged out:", errors.Is(err, rocketchat.ErrUnauthorized))

	// Output:
	// the same room: true
	// the SDK: totp-required
	// chatdm: rocketchat.Credentials(user "tess1", token [redacted]) <nil>
	// resumed: rocketchat.Credentials(user "tess1", token [redacted]) <nil>
	// logged out: true
}

func deletedBefore(err error) string {
	switch {
	case err == nil, strings.Contains(err.Error(), "[invalid-channel]"):
		return "it is deleted"
	case strings.Contains(err.Error(), "[error-too-many-requests]"), strings.HasPrefix(err.Error(), "Request error: 503"):
		return "try again later"
	case strings.Contains(err.Error(), "You must be logged in"), strings.Contains(err.Error(), "[error-not-allowed]"):
		return "alert the operator"
	}
	return "report a bug"
}

func deletedAfter(err error) string {
	switch {
	case errors.Is(err, chatdm.ErrEffectUnknown):
		return "check: delete the same room ID again"
	case err == nil, errors.Is(err, chatdm.KindNotFound):
		return "it is deleted"
	case errors.Is(err, chatdm.KindUnreachable):
		return "it cannot be deleted"
	case errors.Is(err, chatdm.KindRateLimited), errors.Is(err, chatdm.KindUnavailable):
		return "try again later"
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied):
		return "alert the operator"
	case errors.Is(err, chatdm.KindCanceled):
		return "stop: your context ended"
	}
	return "report a bug"
}

func Example_rocketChatSDKErrors() {
	ctx := context.Background()
	defer sdkLog(io.Discard)()
	compare := func(name string, fault chatdmtest.Fault, options ...chatdmtest.Option) {
		server := chatdmtest.NewRocketChat(options...)
		defer server.Close()
		server.Fail("im.delete", -1, fault)
		serverURL, err := url.Parse(server.URL)
		check(err)
		before, err := storedBefore(serverURL, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken)
		check(err)
		after, err := storedAfter(server.URL, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken)
		check(err)
		beforeErr := before.Post("im.delete", strings.NewReader(`{"roomId":"r404"}`), new(rest.Status))
		_, afterErr := after.IM.Delete(ctx, rocketchat.RoomID("r404"))
		fmt.Printf("%s: %s | %s\n", name, deletedBefore(beforeErr), deletedAfter(afterErr))
	}
	none := chatdmtest.Fault{}
	compare("no such room", none)
	compare("not allowed", chatdmtest.Fault{Code: "error-not-allowed"})
	compare("not logged in", chatdmtest.Fault{Code: "unauthorized"})
	compare("not logged in, 6.x", chatdmtest.Fault{Code: "unauthorized"}, chatdmtest.Generation(chatdmtest.RocketChat4))
	compare("503", chatdmtest.Fault{Status: http.StatusServiceUnavailable})
	compare("lost connection", chatdmtest.Fault{Cut: chatdmtest.BeforeHeader})
	compare("a server without im.delete", none, chatdmtest.Generation(chatdmtest.RocketChatOld))

	// Output:
	// no such room: it is deleted | it is deleted
	// not allowed: alert the operator | alert the operator
	// not logged in: alert the operator | alert the operator
	// not logged in, 6.x: alert the operator | alert the operator
	// 503: try again later | check: delete the same room ID again
	// lost connection: report a bug | check: delete the same room ID again
	// a server without im.delete: report a bug | report a bug
}

// TestMigrateRocketChatSDKTexts compares the table of errors on the page with the
// errors of both clients.
func TestMigrateRocketChatSDKTexts(t *testing.T) {
	defer sdkLog(io.Discard)()
	page := readPage(t, "migrate-rocketchat-sdk.md")
	server := chatdmtest.NewRocketChat()
	defer server.Close()
	server.AddUser(chatdmtest.RocketChatUser{ID: "tess1", Username: "tess", Password: "secret", TOTP: "123456"})
	serverURL, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	create := func(name string) func() (error, error) {
		return func() (error, error) {
			before, err := storedBefore(serverURL, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken)
			if err != nil {
				t.Fatal(err)
			}
			after, err := rocketchat.NewClient(server.URL,
				rocketchat.Credentials{UserID: chatdmtest.RocketChatAdminID, AuthToken: chatdmtest.RocketChatAdminToken},
				chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))
			if err != nil {
				t.Fatal(err)
			}
			_, b := before.CreateDirectMessage(name)
			_, a := after.IM.Create(t.Context(), rocketchat.IMCreateParams{Usernames: []string{name}})
			return b, a
		}
	}
	login := func(user, password string) func() (error, error) {
		return func() (error, error) {
			_, b := loginBefore(serverURL, user, password)
			_, a := rocketchat.Login(t.Context(), server.URL, user, password)
			return b, a
		}
	}
	broken := func(f chatdmtest.Fault) func() (error, error) {
		return func() (error, error) {
			server.Fail("im.create", 2, f)
			return create("alice")()
		}
	}
	tests := []struct {
		text   string // of the SDK, as on the page
		want   error
		onPage string
		call   func() (error, error)
	}{
		{"Invalid user [error-invalid-user]", rocketchat.ErrInvalidUser, "rocketchat.ErrInvalidUser", create("nobody")},
		{"Not allowed [error-not-allowed]", rocketchat.ErrNotAllowed, "rocketchat.ErrNotAllowed", broken(chatdmtest.Fault{Code: "error-not-allowed"})},
		{"You must be logged in to do this.", rocketchat.ErrUnauthorized, "rocketchat.ErrUnauthorized", broken(chatdmtest.Fault{Code: "unauthorized"})},
		{"unauthorized", rocketchat.ErrForbidden, "rocketchat.ErrForbidden", broken(chatdmtest.Fault{Code: "forbidden"})},
		{"… [error-too-many-requests]", rocketchat.ErrTooManyRequests, "chatdm.KindRateLimited", broken(chatdmtest.Fault{Code: "error-too-many-requests"})},
		{"Request error: 503 Service Unavailable", chatdm.KindUnavailable, "chatdm.KindUnavailable", broken(chatdmtest.Fault{Status: 503})},
		{"Unauthorized", rocketchat.ErrUnauthorized, "rocketchat.ErrUnauthorized", login("nobody", "wrong")},
		{"Request error: 401 Unauthorized", rocketchat.ErrUnauthorized, "rocketchat.ErrUnauthorized", login("admin", "wrong")},
		{"totp-required", rocketchat.ErrTOTPRequired, "rocketchat.ErrTOTPRequired", login("tess", "secret")},
		{"got false response", chatdm.KindUnsupported, "chatdm.KindUnsupported", broken(chatdmtest.Fault{Body: "<html>", Header: http.Header{"Content-Type": {"text/html"}}})},
	}
	for _, test := range tests {
		b, a := test.call()
		if b == nil || !strings.HasSuffix(b.Error(), strings.TrimPrefix(test.text, "… ")) {
			t.Errorf("the SDK: got %v, want %s", b, test.text)
		}
		if !errors.Is(a, test.want) {
			t.Errorf("chatdm: got %v, want %v", a, test.want)
		}
		if line := "| `" + test.text + "` | `" + test.onPage + "`"; !strings.Contains(page, line) {
			t.Errorf("the page lacks a line that starts with\n%s", line)
		}
	}
}

// TestMigrateRocketChatSDKFacts checks what else the page says about both clients.
func TestMigrateRocketChatSDKFacts(t *testing.T) {
	server := chatdmtest.NewRocketChat()
	defer server.Close()
	serverURL, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("debug mode logs secrets", func(t *testing.T) {
		var lines bytes.Buffer
		defer sdkLog(&lines)()
		client := rest.NewClient(serverURL, true)
		credentials := &models.UserCredentials{Email: "admin", Password: chatdmtest.RocketChatPassword}
		if err := client.Login(credentials); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{chatdmtest.RocketChatPassword, credentials.Token} {
			if !strings.Contains(lines.String(), secret) {
				t.Errorf("the log lacks %q", secret)
			}
		}
	})
	t.Run("CreateDirectMessage logs without debug mode", func(t *testing.T) {
		var lines bytes.Buffer
		defer sdkLog(&lines)()
		client, err := storedBefore(serverURL, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken)
		if err != nil {
			t.Fatal(err)
		}
		room, err := client.CreateDirectMessage("alice")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(lines.String(), room.Rid) || strings.Contains(lines.String(), chatdmtest.RocketChatAdminToken) {
			t.Errorf("got the log\n%s", lines.String())
		}
	})
	t.Run("a name is not escaped", func(t *testing.T) {
		defer sdkLog(io.Discard)()
		const name = `alice", "excludeSelf": "true`
		client, err := storedBefore(serverURL, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken)
		if err != nil {
			t.Fatal(err)
		}
		server.ResetRequests()
		_, _ = client.CreateDirectMessage(name)
		if body := string(server.Requests()[0].Body); body != `{ "username": "alice", "excludeSelf": "true" }` {
			t.Errorf("the SDK sent %s", body)
		}
		after, err := storedAfter(server.URL, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := after.IM.Create(t.Context(), rocketchat.IMCreateParams{Usernames: []string{name}}); err == nil {
			t.Error("chatdm created a direct message with nobody")
		}
	})
	t.Run("a redirect gets the token", func(t *testing.T) {
		defer sdkLog(io.Discard)()
		reached := make(chan string, 1)
		elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reached <- r.Header.Get("X-Auth-Token") }))
		defer elsewhere.Close()
		// Another name of the loopback interface is another host.
		moved := httptest.NewServer(http.RedirectHandler(strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), http.StatusTemporaryRedirect))
		defer moved.Close()
		movedURL, err := url.Parse(moved.URL)
		if err != nil {
			t.Fatal(err)
		}
		before, err := storedBefore(movedURL, "u1", "secret-token")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = before.CreateDirectMessage("alice")
		select {
		case token := <-reached:
			if token != "secret-token" {
				t.Errorf("the SDK sent the token %q, want secret-token", token)
			}
		default:
			t.Error("the SDK did not follow the redirect")
		}
		after, err := storedAfter(moved.URL, "u1", "secret-token")
		if err != nil {
			t.Fatal(err)
		}
		_, err = after.IM.Create(t.Context(), rocketchat.IMCreateParams{Usernames: []string{"alice"}})
		if !errors.Is(err, chatdm.KindUnexpectedResponse) || len(reached) > 0 {
			t.Errorf("chatdm: got %v, followed: %t", err, len(reached) > 0)
		}
	})
	t.Run("plain http", func(t *testing.T) {
		for _, host := range []string{"http://chat.example.org", "chat.example.org"} {
			_, err := storedAfter(host, "u1", "secret-token")
			if !errors.Is(err, chatdm.KindInvalidRequest) {
				t.Errorf("%s: got %v", host, err)
			}
		}
		if _, err := rocketchat.NewClient("http://chat.example.org", rocketchat.Credentials{UserID: "u1", AuthToken: "t1"}, chatdm.WithInsecureHTTP()); err != nil {
			t.Error(err)
		}
		// The SDK uses http for every scheme but https.
		if c := rest.NewClient(&url.URL{Host: "chat.example.org"}, false); c.Protocol != "http" {
			t.Errorf("the SDK chose %s", c.Protocol)
		}
	})
}
