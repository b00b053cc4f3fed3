package chatdm_test

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const goldenToken = "xoxb-12345-golden"

var (
	newScript = wiretest.NewScript
	answer    = wiretest.Respond
	wantError = wiretest.WantError

	ok    = answer(200, `{"ok":true,"channel":{"id":"D1"}}`)
	coded = func(code string) wiretest.Responder { return answer(200, `{"ok":false,"error":"`+code+`"}`) }
	once  = chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1})
)

func golden(t testing.TB, method, name string) string {
	t.Helper()
	return wiretest.Golden(t, "testdata", "slack", method, name)
}

func goldenResponse(t testing.TB, method, name string) wiretest.Responder {
	t.Helper()
	return wiretest.GoldenResponse(t, "testdata", "slack", method, name+".response.http")
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

// methods are the calls of the golden files, in one shape.
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
		return nil, listError(c.Conversations.List(ctx, chatdm.ConversationsListParams{}))
	},
	"conversations.history": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return nil, listError(c.Conversations.History(ctx, chatdm.ConversationsHistoryParams{Channel: "D024BFF1M"}))
	},
	"conversations.replies": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return nil, listError(c.Conversations.Replies(ctx, chatdm.ConversationsRepliesParams{Channel: "D024BFF1M", TS: "1482960137.003543"}))
	},
	"chat.postMessage": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{Channel: "C123456", Text: "Here's a message for you"})
	},
	"users.lookupByEmail": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Users.LookupByEmail(ctx, "spengler@ghostbusters.example.com")
	},
	"users.info": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Users.Info(ctx, "U0DISABLED")
	},
	"auth.test": func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Auth.Test(ctx)
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

	post := func(params chatdm.ChatPostMessageParams) func(context.Context, *chatdm.Client) (any, error) {
		return func(ctx context.Context, c *chatdm.Client) (any, error) { return c.Chat.PostMessage(ctx, params) }
	}
	message := chatdm.Message{Type: "message", Subtype: "bot_message", User: "U19LU7CSY", BotID: "B19LU7CSY", Text: "Here's a message for you", TS: "1503435956.000247"}
	keyed := message
	keyed.Text, keyed.Metadata = "Build 1284 &lt;3", &chatdm.MessageMetadata{
		EventType: "chatdm_message_key", EventPayload: map[string]any{"key": "d37d7267b371dca9ef03e176da8c3219"},
	}
	reply := message
	reply.TS, reply.ThreadTS, reply.Blocks = "1503435957.000300", "1503435956.000247", json.RawMessage("[\n      {\n        \"type\": \"divider\"\n      }\n    ]")
	reply.Metadata = &chatdm.MessageMetadata{EventType: "task_created", EventPayload: map[string]any{"id": "TK-1"}}
	reply.Edited = &chatdm.MessageEdit{User: "U19LU7CSY", TS: "1503435958.000000"}
	notStored := meta("chat.postMessage", "key_not_stored")
	notStored.Warnings = []chatdm.Warning{"metadata_missing_required_property", chatdm.WarningKeyNotStored}
	notStored.Messages = []string{"[WARN] missing required property: title"}

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

		{"chat.postMessage", "plain", methods["chat.postMessage"],
			&chatdm.ChatPostMessageResult{Channel: "C123456", TS: "1503435956.000247", Message: message}},
		{"chat.postMessage", "key", post(chatdm.ChatPostMessageParams{Channel: "D024BFF1M", Text: "Build 1284 &lt;3", Key: "build-1284"}),
			&chatdm.ChatPostMessageResult{Channel: "D024BFF1M", TS: "1503435956.000247", Message: keyed}},
		{"chat.postMessage", "key_not_stored", post(chatdm.ChatPostMessageParams{Channel: "D024BFF1M", Text: "Here's a message for you", Key: "build-1284"}),
			&chatdm.ChatPostMessageResult{Channel: "D024BFF1M", TS: "1503435956.000247", Message: message, Meta: notStored}},
		{"chat.postMessage", "everything", post(chatdm.ChatPostMessageParams{
			Channel: "D024BFF1M", Text: "a", Blocks: []any{map[string]string{"type": "divider"}}, Attachments: json.RawMessage(`[{"text":"b"}]`),
			ThreadTS: "1503435956.000247", ReplyBroadcast: true, UnfurlLinks: new(false), UnfurlMedia: new(true),
			Metadata: &chatdm.MessageMetadata{EventType: "task_created", EventPayload: map[string]string{"id": "TK-1"}},
		}), &chatdm.ChatPostMessageResult{Channel: "D024BFF1M", TS: "1503435957.000300", Message: reply}},
		{"users.lookupByEmail", "plain", methods["users.lookupByEmail"], &chatdm.UserResult{User: chatdm.User{
			ID: "W012A3CDE", TeamID: "T012AB3C4", Name: "spengler", RealName: "Egon Spengler", DisplayName: "spengler",
			Email: "spengler@ghostbusters.example.com", TZ: "America/Los_Angeles",
		}}},
		{"users.info", "flags", methods["users.info"], &chatdm.UserResult{User: chatdm.User{
			ID: "U0DISABLED", TeamID: "T012AB3C4", Name: "gone", RealName: "Gone Guest",
			Deleted: true, IsBot: true, IsRestricted: true, IsUltraRestricted: true, IsStranger: true,
		}}},
		{"auth.test", "bot", methods["auth.test"], &chatdm.AuthTestResult{
			URL: "https://subarachnoid.slack.com/", Team: "Subarachnoid Workspace", TeamID: "T0G9PQBBK", User: "bot", UserID: "W23456789",
			BotID: "BZYBOTHED", EnterpriseID: "E0123", IsEnterpriseInstall: true, AppID: "A0123",
		}},

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
			s := newScript(goldenResponse(t, tt.method, tt.name))
			res, err := tt.call(t.Context(), newClient(t, s, chatdm.WithStrictIM(), once))
			if diff := cmp.Diff([]string{golden(t, tt.method, tt.name+".request.http")}, s.Requests); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
			switch want := tt.want.(type) {
			case *chatdm.OpenResult:
				if want.Meta.Method == "" {
					want.Meta = meta(tt.method, tt.name)
				}
			case *chatdm.CloseResult:
				want.Meta = meta(tt.method, tt.name)
			case *chatdm.ChatPostMessageResult:
				if want.Meta.Method == "" {
					want.Meta = meta(tt.method, tt.name)
				}
			case *chatdm.UserResult:
				want.Meta = meta(tt.method, tt.name)
			case *chatdm.AuthTestResult:
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
	// A golden file that no test uses would go stale.
	files, _ := filepath.Glob("testdata/slack/*/*.request.http")
	for _, file := range files {
		dir, name := filepath.Split(strings.TrimSuffix(file, ".request.http"))
		method := filepath.Base(dir)
		if !covered[method+"/"+name] && method != "conversations.list" && method != "conversations.history" && method != "conversations.replies" && name != "ratelimited" {
			t.Errorf("got no test of %s, want one", file)
		}
	}
}
