// Package conformance_test drives every method of both clients through every
// failure. A method that sends requests must be in the table below.
package conformance_test

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"iter"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

func TestMain(m *testing.M) {
	if os.Getenv("CHATDM_ONCE_URL") != "" {
		os.Exit(runProgram())
	}
	log.SetOutput(io.Discard) // net/http logs bytes that follow a response
	goleak.VerifyTestMain(m)
}

// method is one function of the SDK that sends requests, in a shape that the
// suite can drive.
type method struct {
	service    string // "slack" or "rocketchat"
	api        string // its name in errors and limiter keys
	idempotent bool   // retried if an attempt may have taken effect
	success    string // the body of a successful response
	client     func(url string, opts ...chatdm.Option) (callFunc, error)
}

const posted = `{"ok":true,"channel":"D1","ts":"1.000000","message":{"text":"hi"}}`

// limiterKey returns the key that a limiter gets for the method's calls.
func (m method) limiterKey() string {
	key := m.service + "." + m.api
	if m.success == posted {
		key += "/D1"
	}
	return key
}

// callFunc makes a call with a client that it keeps. The result is nil if it
// is the zero value.
type callFunc func(context.Context) (any, error)

// methods holds every function of the SDK that sends requests.
var methods = map[string]method{
	"chatdm.IMService.Open": {"slack", "im.open", true, channelOK, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.IM.Open(ctx, chatdm.IMOpenParams{User: "U1"})
	})},
	"chatdm.IMService.Close": {"slack", "im.close", true, `{"ok":true}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.IM.Close(ctx, "D1")
	})},
	"chatdm.ConversationsService.Open": {"slack", "conversations.open", true, channelOK, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U1"}})
	})},
	"chatdm.ConversationsService.Close": {"slack", "conversations.close", true, `{"ok":true}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Conversations.Close(ctx, "D1")
	})},
	"chatdm.ConversationsService.List": {"slack", "conversations.list", true, `{"ok":true,"channels":[{"id":"D1"}]}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return first(c.Conversations.List(ctx, chatdm.ConversationsListParams{}))
	})},
	"chatdm.ConversationsService.History": {"slack", "conversations.history", true, `{"ok":true,"messages":[{"ts":"1.000000"}]}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return first(c.Conversations.History(ctx, chatdm.ConversationsHistoryParams{Channel: "D1"}))
	})},
	"chatdm.ConversationsService.Replies": {"slack", "conversations.replies", true, `{"ok":true,"messages":[{"ts":"1.000000"}]}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return first(c.Conversations.Replies(ctx, chatdm.ConversationsRepliesParams{Channel: "D1", TS: "1.000000"}))
	})},
	"chatdm.ChatService.PostMessage": {"slack", "chat.postMessage", false, posted, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{Channel: "D1", Text: "hi"})
	})},
	"chatdm.UsersService.LookupByEmail": {"slack", "users.lookupByEmail", true, `{"ok":true,"user":{"id":"U1"}}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Users.LookupByEmail(ctx, "alice@example.com")
	})},
	"chatdm.UsersService.Info": {"slack", "users.info", true, `{"ok":true,"user":{"id":"U1"}}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Users.Info(ctx, "U1")
	})},
	"chatdm.AuthService.Test": {"slack", "auth.test", true, `{"ok":true,"user_id":"U1"}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Auth.Test(ctx)
	})},
	"chatdm.Client.Call": {"slack", "chat.postMessage", false, `{"ok":true}`, slack(func(ctx context.Context, c *chatdm.Client) (any, error) {
		return c.Call(ctx, "chat.postMessage", nil, &struct{ TS string }{})
	})},
	"rocketchat.IMService.Create": {"rocketchat", "im.create", true, `{"success":true,"room":{"rid":"r1"}}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{"bob"}})
	})},
	"rocketchat.IMService.Open": {"rocketchat", "im.open", true, `{"success":true}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.IM.Open(ctx, "r1")
	})},
	"rocketchat.IMService.Close": {"rocketchat", "im.close", true, `{"success":true}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.IM.Close(ctx, "r1")
	})},
	"rocketchat.IMService.Delete": {"rocketchat", "im.delete", false, `{"success":true}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.IM.Delete(ctx, rocketchat.RoomID("r1"))
	})},
	"rocketchat.IMService.History": {"rocketchat", "im.history", true, `{"success":true,"messages":[` + messageOK + `]}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return first(c.IM.History(ctx, rocketchat.IMHistoryParams{RoomID: "r1"}))
	})},
	"rocketchat.ChatService.SendMessage": {"rocketchat", "chat.sendMessage", false, `{"success":true,"message":` + messageOK + `}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.Chat.SendMessage(ctx, rocketchat.ChatSendMessageParams{RoomID: "r1", Text: "hello"})
	})},
	"rocketchat.ChatService.GetMessage": {"rocketchat", "chat.getMessage", true, `{"success":true,"message":` + messageOK + `}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.Chat.GetMessage(ctx, "m1")
	})},
	"rocketchat.UsersService.Info": {"rocketchat", "users.info", true, `{"success":true,"user":{"_id":"u2","username":"bob"}}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.Users.Info(ctx, rocketchat.Username("bob"))
	})},
	"rocketchat.Client.Call": {"rocketchat", "im.list", false, `{"success":true}`, rocket(func(ctx context.Context, c *rocketchat.Client) (any, error) {
		return c.Call(ctx, http.MethodPost, "im.list", nil, &struct{ Count int }{})
	})},
	"rocketchat.Login": {"rocketchat", "login", false, loginOK, login(func(ctx context.Context, url string, opts ...chatdm.Option) (any, error) {
		return rocketchat.Login(ctx, url, "alice", secretPassword, opts...)
	})},
	"rocketchat.Resume": {"rocketchat", "login", false, loginOK, login(func(ctx context.Context, url string, opts ...chatdm.Option) (any, error) {
		return rocketchat.Resume(ctx, url, secretToken, opts...)
	})},
}

const (
	channelOK = `{"ok":true,"channel":{"id":"D1"}}`
	messageOK = `{"_id":"m1","rid":"r1","msg":"hello","ts":"2026-11-21T10:00:00.000Z","u":{"_id":"u1","username":"alice"}}`
	loginOK   = `{"status":"success","data":{"userId":"u1","authToken":"new-token"}}`
)

// slack adapts a call of a Slack client to the suite.
func slack(call func(context.Context, *chatdm.Client) (any, error)) func(string, ...chatdm.Option) (callFunc, error) {
	return func(url string, opts ...chatdm.Option) (callFunc, error) {
		c, err := chatdm.NewClient(secretToken, append(slices.Clip(opts), chatdm.WithBaseURL(url), chatdm.WithStrictIM())...)
		return func(ctx context.Context) (any, error) { return result(call(ctx, c)) }, err
	}
}

// rocket adapts a call of a Rocket.Chat client to the suite.
func rocket(call func(context.Context, *rocketchat.Client) (any, error)) func(string, ...chatdm.Option) (callFunc, error) {
	return func(url string, opts ...chatdm.Option) (callFunc, error) {
		c, err := rocketchat.NewClient(url, rocketchat.Credentials{UserID: "u1", AuthToken: secretToken}, opts...)
		return func(ctx context.Context) (any, error) { return result(call(ctx, c)) }, err
	}
}

// login adapts a function without a client to the suite.
func login(call func(context.Context, string, ...chatdm.Option) (any, error)) func(string, ...chatdm.Option) (callFunc, error) {
	return func(url string, opts ...chatdm.Option) (callFunc, error) {
		return func(ctx context.Context) (any, error) { return result(call(ctx, url, opts...)) }, nil
	}
}

// result returns nil in place of a zero value.
func result(res any, err error) (any, error) {
	if v := reflect.ValueOf(res); !v.IsValid() || v.IsZero() {
		return nil, err
	}
	return res, err
}

// first returns the first element of a list, or nil.
func first[T any](list iter.Seq2[T, error]) (*T, error) {
	for v, err := range list {
		if err != nil {
			return nil, err
		}
		return &v, nil
	}
	return nil, nil
}

// on returns a call whose client sends its requests through transport.
func (m method) on(t testing.TB, transport http.RoundTripper, opts ...chatdm.Option) callFunc {
	t.Helper()
	return m.at(t, "https://example.org", append(opts, through(transport))...)
}

// at returns a call whose client sends its requests to url.
func (m method) at(t testing.TB, url string, opts ...chatdm.Option) callFunc {
	t.Helper()
	call, err := m.client(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return call
}

// returnsCredentials reports whether a response may contain credentials, so that
// errors need not show any part of it.
func (m method) returnsCredentials() bool { return m.api == "login" }

// eachMethod runs a test for every method, each in a bubble of fake time.
func eachMethod(t *testing.T, test func(*testing.T, method)) {
	t.Helper()
	for name, m := range methods {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, m) })
		})
	}
}

// meta returns the Meta of a result. The results of list and login have none.
func meta(res any) (chatdm.Meta, bool) {
	if m, ok := res.(*chatdm.Meta); ok {
		return *m, true
	}
	if v := reflect.Indirect(reflect.ValueOf(res)); v.Kind() == reflect.Struct {
		if field := v.FieldByName("Meta"); field.IsValid() {
			return reflect.TypeAssert[chatdm.Meta](field)
		}
	}
	return chatdm.Meta{}, false
}

// through sends the requests through transport.
func through(transport http.RoundTripper) chatdm.Option {
	return chatdm.WithHTTPClient(&http.Client{Transport: transport})
}

// fast makes the waits between attempts negligible on real sockets.
var fast = chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1})

// logTo logs everything to w.
func logTo(w io.Writer) chatdm.Option {
	return chatdm.WithLogger(slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug - 4})))
}

// fail returns a Responder that returns an error.
func fail(err error) wiretest.Responder {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

// stall is a Responder that waits until the request's context ends.
func stall(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// TestSuiteIsComplete: every exported function that takes a context sends
// requests, and the suite drives it.
func TestSuiteIsComplete(t *testing.T) {
	seen := 0
	for _, dir := range []string{"../..", "../../rocketchat"} {
		for full := range exportedCalls(t, dir) {
			seen++
			if _, ok := methods[full]; !ok {
				t.Errorf("%s takes a context, but the suite does not drive it", full)
			}
		}
	}
	if seen != len(methods) {
		t.Errorf("got %d functions in the suite, want the %d of the packages", len(methods), seen)
	}
}

// exportedCalls returns the exported functions of a package that take a context,
// by names like those in methods.
func exportedCalls(t *testing.T, dir string) map[string]*ast.FuncDecl {
	t.Helper()
	calls := map[string]*ast.FuncDecl{}
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || len(fn.Type.Params.List) == 0 {
				continue
			}
			if sel, ok := fn.Type.Params.List[0].Type.(*ast.SelectorExpr); !ok || sel.Sel.Name != "Context" {
				continue
			}
			full := file.Name.Name + "."
			if fn.Recv != nil {
				recv := fn.Recv.List[0].Type
				if star, ok := recv.(*ast.StarExpr); ok {
					recv = star.X
				}
				name := recv.(*ast.Ident).Name
				if !ast.IsExported(name) || slices.Contains([]string{"TierLimiter", "Rotator", "FileTokenStore", "LoginSource"}, name) { // part of a call
					continue
				}
				full += name + "."
			}
			calls[full+fn.Name.Name] = fn
		}
	}
	return calls
}

// TestIdempotenceIsDocumented: the doc comment of each method says whether the call is
// idempotent.
func TestIdempotenceIsDocumented(t *testing.T) {
	for _, dir := range []string{"../..", "../../rocketchat"} {
		for name, fn := range exportedCalls(t, dir) {
			doc := strings.Join(strings.Fields(fn.Doc.Text()), " ")
			idempotent, not := strings.Contains(doc, "The call is idempotent"), strings.Contains(doc, "The call is not idempotent")
			if idempotent == not || idempotent != methods[name].idempotent {
				t.Errorf("%s: got a doc comment that says idempotent %t, not idempotent %t, want idempotent %t", name, idempotent, not, methods[name].idempotent)
			}
		}
	}
}

// goName turns a name in methods into what users type.
func goName(name string) string {
	pkg, name, _ := strings.Cut(name, ".")
	receiver, method, ok := strings.Cut(name, ".")
	if !ok {
		return pkg + "." + name
	}
	if service, ok := strings.CutSuffix(receiver, "Service"); ok {
		return "client." + service + "." + method
	}
	return "client." + method
}

// TestMethodsAreComplete checks what every method needs in addition to its code.
func TestMethodsAreComplete(t *testing.T) {
	pages := map[string]string{}
	pages["slack"], pages["rocketchat"], _ = strings.Cut(wiretest.Golden(t, "../../docs/methods.md"), "## Rocket.Chat")
	for name, m := range methods {
		idempotent := map[bool]string{true: "yes", false: "no"}[m.idempotent]
		if !regexp.MustCompile("(?m)`" + regexp.QuoteMeta(goName(name)) + "`.* \\| " + idempotent + " \\|$").MatchString(pages[m.service]) {
			t.Errorf("docs/methods.md: got no %s with %q in the last column, want it as in the suite", name, idempotent)
		}
		if strings.HasSuffix(name, ".Call") {
			continue
		}
		url, client, _ := fake(t, m)
		url += map[string]string{"slack": "/", "rocketchat": "/api/v1/"}[m.service] + m.api
		resp, err := client.Post(url, "application/json", strings.NewReader("{}"))
		if err == nil && resp.StatusCode == 404 {
			resp.Body.Close()
			resp, err = client.Get(url)
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode == 404 || strings.Contains(string(body), string(chatdm.ErrUnknownMethod)) {
			t.Errorf("chatdmtest: got status %d, body %s, %v, want it to have %s", resp.StatusCode, body, err, name)
		}
		if m.service != "slack" {
			continue
		}
		if chatdm.SlackTiers()["slack."+m.api].PerMinute == 0 {
			t.Errorf("SlackTiers: got no tier of %s", m.api)
		}
		if responses, _ := filepath.Glob("../../testdata/slack/" + m.api + "/*.response.http"); len(responses) == 0 {
			t.Errorf("testdata: got no responses of %s", m.api)
		}
	}
}
