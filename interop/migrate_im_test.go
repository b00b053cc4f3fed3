// The code of docs/migrate-im.md: each block on that page is part of this file.

package interop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

type response struct {
	OK            bool   `json:"ok"`
	Error         string `json:"error"`
	AlreadyOpen   bool   `json:"already_open"`
	AlreadyClosed bool   `json:"already_closed"`
	Channel       struct {
		ID string `json:"id"`
	} `json:"channel"`
}

func post(root, method string, form url.Values) (*response, error) {
	resp, err := http.PostForm(root+"/"+method, form)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	r := new(response)
	if err := json.NewDecoder(resp.Body).Decode(r); err != nil {
		return nil, err
	}
	if !r.OK {
		return nil, errors.New(r.Error)
	}
	return r, nil
}

func rawLife(root, token, user string) error {
	opened, err := post(root, "im.open", url.Values{"token": {token}, "user": {user}})
	if err != nil {
		return err
	}
	fmt.Println("opened", opened.Channel.ID, opened.AlreadyOpen)

	closed, err := post(root, "im.close", url.Values{"token": {token}, "channel": {opened.Channel.ID}})
	if err != nil {
		return err
	}
	fmt.Println("closed", opened.Channel.ID, closed.AlreadyClosed)
	return nil
}

func Example_imRaw() {
	server := chatdmtest.NewSlack()
	defer server.Close()
	fmt.Println(rawLife(server.URL, chatdmtest.BotToken, chatdmtest.Alice))

	server.RetireIM(true) // as Slack did on 2021-02-24
	fmt.Println(rawLife(server.URL, chatdmtest.BotToken, chatdmtest.Alice))

	// Output:
	// opened D000000001 false
	// closed D000000001 false
	// <nil>
	// method_deprecated
}

func imLife(ctx context.Context, client *chatdm.Client, user string) error {
	opened, err := client.IM.Open(ctx, chatdm.IMOpenParams{User: user})
	if err != nil {
		return err
	}
	fmt.Println("opened", opened.Channel.ID, opened.AlreadyOpen, opened.Meta.Method, opened.Meta.Attempts)

	closed, err := client.IM.Close(ctx, opened.Channel.ID)
	if err != nil {
		return err
	}
	fmt.Println("closed", opened.Channel.ID, closed.AlreadyClosed, closed.Meta.Method, closed.Meta.Attempts)
	return nil
}

func Example_imFallback() {
	ctx := context.Background()
	server := chatdmtest.NewSlack(chatdmtest.RetiredIM())
	defer server.Close()

	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(server.URL))
	check(err)
	check(imLife(ctx, client, chatdmtest.Alice))

	// Output:
	// opened D000000001 false conversations.open 2
	// closed D000000001 false conversations.close 1
}

func conversationsLife(ctx context.Context, client *chatdm.Client, user string) error {
	opened, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user}})
	if err != nil {
		return err
	}
	fmt.Println("opened", opened.Channel.ID, opened.AlreadyOpen, opened.Meta.Method, opened.Meta.Attempts)

	closed, err := client.Conversations.Close(ctx, opened.Channel.ID)
	if err != nil {
		return err
	}
	fmt.Println("closed", opened.Channel.ID, closed.AlreadyClosed, closed.Meta.Method, closed.Meta.Attempts)
	return nil
}

func Example_imConversations() {
	ctx := context.Background()
	server := chatdmtest.NewSlack(chatdmtest.RetiredIM())
	defer server.Close()

	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(server.URL))
	check(err)
	check(conversationsLife(ctx, client, chatdmtest.Alice))

	// Output:
	// opened D000000001 false conversations.open 1
	// closed D000000001 false conversations.close 1
}

func strictLife(ctx context.Context, root, token, user string) error {
	client, err := chatdm.NewClient(token, chatdm.WithBaseURL(root), chatdm.WithStrictIM())
	if err != nil {
		return err
	}
	return imLife(ctx, client, user)
}

func Example_imStrict() {
	server := chatdmtest.NewSlack(chatdmtest.RetiredIM())
	defer server.Close()
	err := strictLife(context.Background(), server.URL, chatdmtest.BotToken, chatdmtest.Alice)
	fmt.Println(errors.Is(err, chatdm.ErrMethodDeprecated))

	// Output:
	// true
}

func listIMs(ctx context.Context, client *chatdm.Client) error {
	for channel, err := range client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im"}}) {
		if err != nil {
			return err
		}
		fmt.Println(channel.ID, channel.User)
	}
	return nil
}

func Example_imList() {
	ctx := context.Background()
	server := chatdmtest.NewSlack(chatdmtest.RetiredIM())
	defer server.Close()
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(server.URL))
	check(err)
	_, err = client.IM.Open(ctx, chatdm.IMOpenParams{User: chatdmtest.Alice})
	check(err)
	check(listIMs(ctx, client))

	// Output:
	// D000000001 U0ALICE01
}

// TestMigrateIMLog checks that the log shows that a program still calls im.*.
func TestMigrateIMLog(t *testing.T) {
	server := chatdmtest.NewSlack(chatdmtest.RetiredIM())
	defer server.Close()
	var lines bytes.Buffer
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(server.URL), chatdm.WithLogger(slog.New(slog.NewTextHandler(&lines, nil))))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := client.IM.Open(t.Context(), chatdm.IMOpenParams{User: chatdmtest.Alice}); err != nil {
			t.Fatal(err)
		}
	}
	log := lines.String()
	if strings.Count(log, "\n") != 1 || !strings.Contains(log, "level=WARN") || !strings.Contains(log, "method=im.open") || !strings.Contains(log, "error.code=method_deprecated") {
		t.Errorf("got the log\n%s", log)
	}
}

// TestMigrateIMCodes checks that conversations.* has every code of im.*, and that
// the page names every new code.
func TestMigrateIMCodes(t *testing.T) {
	page := readPage(t, "migrate-im.md")
	text, err := os.ReadFile("../testdata/slack/documented_errors.json")
	if err != nil {
		t.Fatal(err)
	}
	var codes map[string][]string
	if err := json.Unmarshal(text, &codes); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"open", "close"} {
		before, after := codes["im."+name], codes["conversations."+name]
		if len(before) == 0 || len(after) == 0 {
			t.Fatalf("found no documented codes for %s", name)
		}
		for _, code := range before {
			if !slices.Contains(after, code) {
				t.Errorf("conversations.%s lacks %s", name, code)
			}
		}
		for _, code := range after {
			if !slices.Contains(before, code) && !strings.Contains(page, "`"+code+"`") {
				t.Errorf("the page lacks %s, which is new in conversations.%s", code, name)
			}
		}
	}
}
