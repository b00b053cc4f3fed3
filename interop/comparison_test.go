package interop_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/RocketChat/Rocket.Chat.Go.SDK/rest"
	"github.com/slack-go/slack"
	"github.com/slack-go/slack/socketmode"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/rocketchat"
)

// TestComparison proves the rows of README.md about what the clients offer. The
// other rows link to the tests of the migration guides.
func TestComparison(t *testing.T) {
	if n := reflect.TypeFor[*slack.Client]().NumMethod(); n < 300 {
		t.Errorf("slack-go has %d methods, want hundreds", n)
	}
	api := slack.New("xoxb-1", slack.OptionAppLevelToken("xapp-1"))
	if socketmode.New(api) == nil || slack.NewDividerBlock() == nil {
		t.Error("slack-go has no Socket Mode or no blocks")
	}

	ours := methods(reflect.TypeFor[*rocketchat.IMService]()) + ", " + methods(reflect.TypeFor[*rocketchat.ChatService]())
	if want := "Close Create Delete History Open, GetMessage SendMessage"; ours != want {
		t.Errorf("chatdm has the methods %s, want %s", ours, want)
	}
	for name := range strings.FieldsSeq(methods(reflect.TypeFor[*rest.Client]())) {
		if strings.Contains(name, "DirectMessage") && name != "CreateDirectMessage" {
			t.Errorf("Rocket.Chat.Go.SDK has %s, too", name)
		}
	}
	count := 0
	client := reflect.TypeFor[chatdm.Client]()
	for _, field := range reflect.VisibleFields(client) {
		if field.IsExported() {
			count += field.Type.NumMethod()
		}
	}
	if count != 11 {
		t.Errorf("chatdm has %d methods, want 11", count)
	}

	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"TestComparison", "TestMigrateSlackGoRetries", "TestMigrateRocketChatSDKFacts"} {
		if !strings.Contains(string(page), name) {
			t.Errorf("README.md does not mention %s", name)
		}
	}
}

// TestComparisonPause checks what a client does after a 429: chatdm sends nothing,
// and the others send the next call at once.
func TestComparisonPause(t *testing.T) {
	defer sdkLog(io.Discard)()
	workspace, server := chatdmtest.NewSlack(), chatdmtest.NewRocketChat()
	defer workspace.Close()
	defer server.Close()
	workspace.Limit("conversations.close", 1, time.Hour)
	server.Limit("im.create", 1, time.Hour)
	serverURL, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	sdk, err := storedBefore(serverURL, chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken)
	if err != nil {
		t.Fatal(err)
	}
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(workspace.URL))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		call     func() error
		requests func() int
		want     int
	}{
		{"slack-go", func() error {
			_, _, err := slack.New(chatdmtest.BotToken, slack.OptionAPIURL(workspace.URL+"/")).CloseConversationContext(t.Context(), "D404")
			return err
		}, workspace.RequestCount, 3},
		{"chatdm", func() error {
			_, err := client.Conversations.Close(t.Context(), "D404")
			return err
		}, workspace.RequestCount, 1}, // the limit is used up
		{"Rocket.Chat.Go.SDK", func() error {
			_, err := sdk.CreateDirectMessage("alice")
			return err
		}, server.RequestCount, 3},
	} {
		before := tt.requests()
		for range 3 {
			_ = tt.call()
		}
		if got := tt.requests() - before; got != tt.want {
			t.Errorf("%s: got %d requests for 3 calls, want %d", tt.name, got, tt.want)
		}
	}
}

// TestComparisonSecrets checks where slack-go shows the token: it sends the form with
// the token to the target of a redirect, but does not log it.
func TestComparisonSecrets(t *testing.T) {
	reached := make(chan string, 2)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached <- r.FormValue("token") + r.Header.Get("Authorization")
	}))
	defer elsewhere.Close()
	// Another name of the loopback interface is another host.
	moved := httptest.NewServer(http.RedirectHandler(strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1), http.StatusTemporaryRedirect))
	defer moved.Close()
	const token = "xoxb-comparison"
	var lines bytes.Buffer
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	for _, target := range []string{moved.URL, broken.URL} {
		api := slack.New(token, slack.OptionAPIURL(target+"/"), slack.OptionDebug(true), slack.OptionLog(log.New(&lines, "", 0)))
		_, _, _ = api.CloseConversationContext(t.Context(), "D404")
	}
	client, err := chatdm.NewClient(token, chatdm.WithBaseURL(moved.URL))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Conversations.Close(t.Context(), "D404")
	if !errors.Is(err, chatdm.KindUnexpectedResponse) {
		t.Errorf("got error %v, want a redirect that is not followed", err)
	}
	if got := <-reached; got != token || len(reached) > 0 {
		t.Errorf("got the token %q and %d more, want slack-go's only", got, len(reached))
	}
	if strings.Contains(lines.String(), token) || lines.Len() == 0 {
		t.Errorf("got the debug log %q, want one without the token", lines.String())
	}
}

func methods(t reflect.Type) string {
	var names []string
	for m := range t.Methods() {
		names = append(names, m.Name)
	}
	return strings.Join(names, " ")
}
