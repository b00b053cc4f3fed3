package chatdm_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jarcoal/httpmock"

	"github.com/chatdm/chatdm"
)

const goldenToken = "xoxb-12345-golden"

// golden reads one side of an exchange from testdata/slack, raw.
func golden(t testing.TB, method, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "slack", method, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// goldenResponse is the response of a case as net/http reads it.
func goldenResponse(t testing.TB, method, name string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(golden(t, method, name+".response.http"))), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// dump writes a request the way the golden ones are written.
func dump(req *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\nHost: %s\n", req.Method, req.URL.RequestURI(), req.URL.Host)
	header := req.Header.Clone()
	if req.ContentLength > 0 {
		header.Set("Content-Length", fmt.Sprint(req.ContentLength))
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range header {
			if !yield(name) {
				return
			}
		}
	}) {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(header[name], ", "))
	}
	b.WriteString("\n")
	if req.Body != nil {
		body, _ := io.ReadAll(req.Body)
		b.Write(body)
	}
	return b.String()
}

func newClient(t testing.TB, transport http.RoundTripper, opts ...chatdm.Option) *chatdm.Client {
	t.Helper()
	opts = append([]chatdm.Option{
		chatdm.WithHTTPClient(&http.Client{Transport: transport}), chatdm.WithUserAgent("golden"),
	}, opts...)
	client, err := chatdm.NewClient(goldenToken, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// methods are the four calls in one shape, for tests that every one must pass.
var methods = map[string]func(context.Context, *chatdm.Client) (any, error){
	"im.open": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.IM.Open(ctx, chatdm.IMOpenParams{User: "U024BE7LH"})
	},
	"im.close": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.IM.Close(ctx, "D024BFF1M")
	},
	"conversations.open": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U069C7QF3"}})
	},
	"conversations.close": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Conversations.Close(ctx, "D069C7QFK")
	},
	"conversations.list": func(ctx context.Context, c *chatdm.Client) (any, error) {
		for _, err := range c.Conversations.List(ctx, chatdm.ConversationsListParams{}) {
			return nil, err
		}
		return nil, nil
	},
}

func TestWire(t *testing.T) {
	meta := func(method, name string) chatdm.Meta {
		return chatdm.Meta{
			Method: method, StatusCode: 200, RequestID: method + "." + name, Attempts: 1,
			Scopes: []string{"im:write", "mpim:write", "im:read"}, AcceptedScopes: []string{"im:write"},
		}
	}
	flagged := meta("conversations.open", "flags_as_warnings")
	flagged.Warnings = []chatdm.Warning{"no_op", "already_open", chatdm.WarningSuperfluousCharset}
	flagged.Messages = []string{"[WARN] A Content-Type HTTP header was presented with a charset."}

	open := func(params chatdm.ConversationsOpenParams) func(context.Context, *chatdm.Client) (any, error) {
		return func(ctx context.Context, c *chatdm.Client) (any, error) { return c.Conversations.Open(ctx, params) }
	}
	im := func(params chatdm.IMOpenParams) func(context.Context, *chatdm.Client) (any, error) {
		return func(ctx context.Context, c *chatdm.Client) (any, error) { return c.IM.Open(ctx, params) }
	}
	tests := []struct {
		method, name string
		call         func(context.Context, *chatdm.Client) (any, error)
		want         any
	}{
		{"im.open", "plain", methods["im.open"],
			&chatdm.OpenResult{Channel: chatdm.Channel{ID: "D024BFF1M"}}},
		{"im.open", "no_op", methods["im.open"],
			&chatdm.OpenResult{Channel: chatdm.Channel{ID: "D024BFF1M"}, NoOp: true, AlreadyOpen: true}},
		{"im.open", "return_im", im(chatdm.IMOpenParams{User: "U024BE7LH", ReturnIM: true, IncludeLocale: true}),
			&chatdm.OpenResult{Channel: chatdm.Channel{
				ID: "D024BE91L", IsIM: true, User: "U024BE7LH", Created: 1434412652, IsOpen: true,
				LastRead: "1442525627.000002",
				Latest:   &chatdm.Message{Type: "message", User: "U024BE7LH", Text: "hello", TS: "1442525627.000002"},
			}}},
		{"im.close", "plain", methods["im.close"], &chatdm.CloseResult{}},
		{"im.close", "no_op", methods["im.close"], &chatdm.CloseResult{NoOp: true, AlreadyClosed: true}},
		{"conversations.open", "plain", methods["conversations.open"],
			&chatdm.OpenResult{Channel: chatdm.Channel{ID: "D069C7QFK"}}},
		{"conversations.open", "no_op", open(chatdm.ConversationsOpenParams{Users: []string{"U069C7QF3"}, ReturnIM: true}),
			&chatdm.OpenResult{NoOp: true, AlreadyOpen: true, Channel: chatdm.Channel{
				ID: "D069C7QFK", Created: 1460147748, IsIM: true, User: "U069C7QF3", LastRead: "0000000000.000000", IsOpen: true,
			}}},
		{"conversations.open", "return_im", open(chatdm.ConversationsOpenParams{Users: []string{"U1", "U2"}, ReturnIM: true}),
			&chatdm.OpenResult{Channel: chatdm.Channel{
				ID: "C012AB3CD", Name: "mpdm-ann--ben--cy-1", IsChannel: true, IsMPIM: true, IsPrivate: true, IsOpen: true,
				Created: 1558176716, Creator: "U1", Updated: 1558176716111, ContextTeamID: "T1", Priority: 0.229,
			}}},
		{"conversations.open", "channel", open(chatdm.ConversationsOpenParams{Channel: "G024BE91L"}),
			&chatdm.OpenResult{Channel: chatdm.Channel{ID: "G024BE91L"}}},
		{"conversations.open", "prevent_creation", open(chatdm.ConversationsOpenParams{Users: []string{"U069C7QF3"}, PreventCreation: true}),
			&chatdm.OpenResult{Channel: chatdm.Channel{ID: "D069C7QFK"}, NoOp: true, AlreadyOpen: true}},
		{"conversations.open", "flags_as_warnings", methods["conversations.open"],
			&chatdm.OpenResult{Channel: chatdm.Channel{ID: "D069C7QFK"}, NoOp: true, AlreadyOpen: true, Meta: flagged}},
		{"conversations.close", "plain", methods["conversations.close"], &chatdm.CloseResult{}},
		{"conversations.close", "no_op", methods["conversations.close"], &chatdm.CloseResult{NoOp: true, AlreadyClosed: true}},

		{"conversations.open", "missing_scope", methods["conversations.open"], &chatdm.Error{
			Code: chatdm.ErrMissingScope, Kind: chatdm.KindPermissionDenied, StatusCode: 200,
			Needed:   []string{"channels:write", "groups:write", "mpim:write", "im:write"},
			Provided: []string{"identify", "bot"},
			Warnings: []chatdm.Warning{chatdm.WarningMissingCharset},
		}},
		{"conversations.close", "invalid_arguments", methods["conversations.close"], &chatdm.Error{
			Code: chatdm.ErrInvalidArguments, Kind: chatdm.KindInvalidRequest, StatusCode: 200,
			Message:  "[ERROR] missing required field: channel",
			Messages: []string{"[ERROR] missing required field: channel"},
		}},
		{"conversations.close", "html", methods["conversations.close"], &chatdm.Error{
			Kind: chatdm.KindUnavailable, StatusCode: 503,
		}},
		{"im.open", "method_deprecated", methods["im.open"], &chatdm.Error{
			Code: chatdm.ErrMethodDeprecated, Kind: chatdm.KindUnsupported, StatusCode: 200,
			Message:  "[ERROR] This method is retired and can no longer be used. Please use conversations.open instead.",
			Messages: []string{"[ERROR] This method is retired and can no longer be used. Please use conversations.open instead."},
		}},
	}
	covered := map[string]bool{}
	for _, tt := range tests {
		covered[tt.method+"/"+tt.name] = true
		t.Run(tt.method+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			var got string
			transport := httpmock.NewMockTransport()
			transport.RegisterResponder("POST", "https://slack.com/api/"+tt.method, func(req *http.Request) (*http.Response, error) {
				got = dump(req)
				return goldenResponse(t, tt.method, tt.name), nil
			})
			client := newClient(t, transport, chatdm.WithStrictIM(), chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))
			res, err := tt.call(t.Context(), client)
			if diff := cmp.Diff(golden(t, tt.method, tt.name+".request.http"), got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			switch want := tt.want.(type) {
			case *chatdm.OpenResult:
				if want.Meta.Method == "" {
					want.Meta = meta(tt.method, tt.name)
				}
			case *chatdm.CloseResult:
				want.Meta = meta(tt.method, tt.name)
			case *chatdm.Error:
				want.Service, want.Method, want.RequestID, want.Attempts = "slack", tt.method, tt.method+"."+tt.name, 1
				if diff := cmp.Diff(tt.want, err); diff != "" {
					t.Errorf("error (-want +got):\n%s", diff)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, res); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
	// A golden exchange that no test sends would rot.
	files, _ := filepath.Glob("testdata/slack/*/*.request.http")
	for _, file := range files {
		dir, name := filepath.Split(strings.TrimSuffix(file, ".request.http"))
		method := filepath.Base(dir)
		if !covered[method+"/"+name] && method != "conversations.list" && name != "ratelimited" {
			t.Errorf("%s is of no test", file)
		}
	}
}

func TestListPages(t *testing.T) {
	pages := []string{"first_page", "last_page"}
	var sent []string
	transport := httpmock.NewMockTransport()
	transport.RegisterResponder("POST", "https://slack.com/api/conversations.list", func(req *http.Request) (*http.Response, error) {
		sent = append(sent, dump(req))
		return goldenResponse(t, "conversations.list", pages[len(sent)-1]), nil
	})
	client := newClient(t, transport)
	list := client.Conversations.List(t.Context(), chatdm.ConversationsListParams{Types: []string{"im", "mpim"}, Limit: 2})
	var ids []string
	for channel, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, channel.ID)
	}
	if diff := cmp.Diff([]string{"D069C7QFK", "C012AB3CD", "D000000003"}, ids); diff != "" {
		t.Errorf("channels (-want +got):\n%s", diff)
	}
	want := []string{
		golden(t, "conversations.list", "first_page.request.http"),
		golden(t, "conversations.list", "last_page.request.http"),
	}
	if diff := cmp.Diff(want, sent); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}

	// Ranging again begins again; breaking out asks for no further page.
	sent = nil
	for range list {
		break
	}
	if len(sent) != 1 {
		t.Errorf("after a break %d requests were sent, want 1", len(sent))
	}
}

func TestDefaultUserAgent(t *testing.T) {
	var got string
	transport := httpmock.NewMockTransport()
	transport.RegisterResponder("POST", "https://slack.com/api/conversations.close", func(req *http.Request) (*http.Response, error) {
		got = req.UserAgent()
		return httpmock.NewStringResponse(200, `{"ok":true}`), nil
	})
	client, err := chatdm.NewClient(goldenToken, chatdm.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Conversations.Close(t.Context(), "D1"); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, "chatdm/") {
		t.Errorf("User-Agent %q does not name the package", got)
	}
}
