package chatdm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

// newExample starts a fake Slack server and a client of it.
func newExample(opts ...chatdm.Option) (*chatdmtest.Slack, *chatdm.Client) {
	slack := chatdmtest.NewSlack()
	client, err := chatdm.NewClient(chatdmtest.BotToken, append(opts, chatdm.WithBaseURL(slack.URL))...)
	if err != nil {
		panic(err)
	}
	return slack, client
}

func Example() {
	slack := chatdmtest.NewSlack() // in place of slack.com
	defer slack.Close()
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("opened", dm.Channel.ID, "already open:", dm.AlreadyOpen)
	closed, err := client.Conversations.Close(ctx, dm.Channel.ID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("closed, already closed:", closed.AlreadyClosed)
	// Output:
	// opened D000000001 already open: false
	// closed, already closed: false
}

func ExampleNewClient() {
	client, err := chatdm.NewClient("xoxb-2345-secret",
		chatdm.WithBaseURL("https://slack-gov.com/api"),
		chatdm.WithTimeout(10*time.Second))
	fmt.Println(client, err)

	_, err = chatdm.NewClient("xoxb-2345-secret", chatdm.WithBaseURL("slack.com/api"))
	fmt.Println(err)
	// Output:
	// chatdm.Client(https://slack-gov.com/api) <nil>
	// slack NewClient: invalid_request: WithBaseURL: must start with https:// or http://
}

func ExampleConversationsService_Open() {
	slack, client := newExample()
	defer slack.Close()
	ctx := context.Background()

	group := chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice, chatdmtest.Bob}, ReturnIM: true}
	res, err := client.Conversations.Open(ctx, group)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Channel.ID, res.Channel.Name, res.Channel.IsMPIM)

	_, err = client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.DisabledUser}})
	fmt.Println(errors.Is(err, chatdm.ErrUserDisabled))
	// Output:
	// C000000001 mpdm-chatdmtest--alice--bob-1 true
	// true
}

func ExampleConversationsService_Close() {
	slack, client := newExample()
	defer slack.Close()
	ctx := context.Background()

	dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		res, err := client.Conversations.Close(ctx, dm.Channel.ID)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("no-op:", res.NoOp, "already closed:", res.AlreadyClosed)
	}
	// Output:
	// no-op: false already closed: false
	// no-op: true already closed: true
}

func ExampleConversationsService_List() {
	slack, client := newExample()
	defer slack.Close()
	ctx := context.Background()

	for _, user := range []string{chatdmtest.Alice, chatdmtest.Bob, chatdmtest.Carol} {
		if _, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{user}}); err != nil {
			fmt.Println(err)
			return
		}
	}
	// Pages of two. The client requests the next page when it is needed.
	for channel, err := range client.Conversations.List(ctx, chatdm.ConversationsListParams{Types: []string{"im"}, Limit: 2}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(channel.ID, channel.User)
	}
	// Output:
	// D000000001 U0ALICE01
	// D000000002 U0BOB0001
	// D000000003 U0CAROL01
}

// Slack has retired im.open, so the client falls back to conversations.open.
func ExampleIMService_Open() {
	slack, client := newExample()
	defer slack.Close()
	slack.RetireIM(true)

	for range 2 {
		res, err := client.IM.Open(context.Background(), chatdm.IMOpenParams{User: chatdmtest.Alice})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(res.Channel.ID, "by", res.Meta.Method, "after", res.Meta.Attempts, "requests; already open:", res.AlreadyOpen)
	}
	// Output:
	// D000000001 by conversations.open after 2 requests; already open: false
	// D000000001 by conversations.open after 1 requests; already open: true
}

func ExampleIMService_Close() {
	slack, client := newExample(chatdm.WithStrictIM())
	defer slack.Close()
	slack.RetireIM(true)

	_, err := client.IM.Close(context.Background(), "D000000001")
	fmt.Println(errors.Is(err, chatdm.ErrMethodDeprecated), errors.Is(err, chatdm.KindUnsupported))
	// Output:
	// true true
}

func ExampleClient_Call() {
	slack, client := newExample()
	defer slack.Close()
	ctx := context.Background()

	dm, err := client.IM.Open(ctx, chatdm.IMOpenParams{User: chatdmtest.Alice})
	if err != nil {
		fmt.Println(err)
		return
	}
	params := struct {
		Channel string `url:"channel"`
		Text    string `url:"text"`
	}{dm.Channel.ID, "The build is green."}
	var result struct {
		Message chatdm.Message `json:"message"`
	}
	meta, err := client.Call(ctx, "chat.postMessage", params, &result)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(meta.StatusCode, result.Message.Text)
	// Output:
	// 200 The build is green.
}

func ExampleClient_String() {
	client, err := chatdm.NewClient("xoxb-2345-secret")
	fmt.Printf("%v %+v %v\n", client, client, err)
	// Output:
	// chatdm.Client(https://slack.com/api) chatdm.Client(https://slack.com/api) <nil>
}

func ExampleClient_GoString() {
	client, err := chatdm.NewClient("xoxb-2345-secret")
	fmt.Printf("%#v %v\n", client, err)
	// Output:
	// chatdm.Client(https://slack.com/api) <nil>
}

// A bot first asks for ErrEffectUnknown, and then decides by kind alone.
func ExampleError() {
	slack, client := newExample(chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1}))
	defer slack.Close()

	advice := func(err error) string {
		e, _ := errors.AsType[*chatdm.Error](err)
		switch {
		case errors.Is(err, chatdm.ErrEffectUnknown):
			return "find out what happened before you call again"
		case errors.Is(err, chatdm.KindNotFound), errors.Is(err, chatdm.KindUnreachable):
			return "drop this user or conversation"
		case errors.Is(err, chatdm.KindRateLimited), errors.Is(err, chatdm.KindUnavailable):
			return fmt.Sprint("try again, but wait at least ", e.RetryAfter)
		case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied):
			return fmt.Sprint("alert the operator: ", e.Code, " ", e.Needed)
		case errors.Is(err, chatdm.KindCanceled):
			return "stop: your own context ended"
		default:
			return "report a bug: " + err.Error()
		}
	}

	open := func(user string) error {
		_, err := client.Conversations.Open(context.Background(), chatdm.ConversationsOpenParams{Users: []string{user}})
		return err
	}
	fmt.Println(advice(open(chatdmtest.DisabledUser)))
	fmt.Println(advice(open("U404")))
	slack.Fail("conversations.open", 1, chatdmtest.Fault{Status: 503})
	fmt.Println(advice(open(chatdmtest.Alice)))
	slack.Limit("conversations.open", 1, time.Minute)
	_ = open(chatdmtest.Alice)
	fmt.Println(advice(open(chatdmtest.Alice)))
	// Output:
	// drop this user or conversation
	// drop this user or conversation
	// try again, but wait at least 0s
	// try again, but wait at least 1m0s
}

// The response is lost after the call has taken effect.
func Example_lostResponse() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	client, err := chatdm.NewClient(chatdmtest.BotToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		panic(err)
	}

	lost := chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}
	slack.Fail("conversations.open", 1, lost)
	params := chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}}
	res, err := client.Conversations.Open(context.Background(), params)
	fmt.Println(res.AlreadyOpen, res.Meta.LostAnswers, err)
	// Output:
	// true 1 <nil>
}

func ExampleError_Error() {
	slack, client := newExample()
	defer slack.Close()
	slack.AddToken(chatdmtest.Token{Value: chatdmtest.BotToken, User: chatdmtest.BotUser, Scopes: []string{"chat:write"}})

	_, err := client.IM.Open(context.Background(), chatdm.IMOpenParams{User: chatdmtest.Alice})
	fmt.Println(err)
	// Output:
	// slack im.open: missing_scope: the token lacks a required scope; add it and reinstall the app (needed im:write; provided chat:write; status 200; request 00000000000000000000000000000001; 1 attempt)
}

func ExampleError_Is() {
	err := &chatdm.Error{Code: "brand_new", Kind: chatdm.KindUnknown}
	fmt.Println(errors.Is(err, chatdm.Code("brand_new")), errors.Is(err, chatdm.KindUnknown), errors.Is(err, chatdm.ErrInvalidAuth))
	// Output:
	// true true false
}

func ExampleError_Unwrap() {
	slack, client := newExample()
	defer slack.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	_, err := client.IM.Close(ctx, "D000000001")
	fmt.Println(errors.Is(err, chatdm.KindCanceled), errors.Is(err, context.Canceled))
	// Output:
	// true true
}

func ExampleError_LogValue() {
	slack, client := newExample()
	defer slack.Close()
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))

	_, err := client.IM.Close(context.Background(), "D404")
	logger.Warn("cannot close", "error", err)
	// Output:
	// level=WARN msg="cannot close" error.service=slack error.method=im.close error.kind=not_found error.attempts=1 error.code=channel_not_found error.request_id=00000000000000000000000000000001 error.status=200
}

func ExampleCode_Kind() {
	fmt.Println(chatdm.ErrUserNotFound.Kind(), chatdm.ErrTokenExpired.Kind(), chatdm.Code("brand_new").Kind())
	// Output:
	// not_found unauthenticated unknown
}

func ExampleCode_Error() {
	fmt.Println(chatdm.ErrCannotDMBot.Error())
	// Output:
	// cannot_dm_bot
}

func ExampleKind_Error() {
	fmt.Println(chatdm.KindRateLimited.Error())
	// Output:
	// rate_limited
}

func ExampleTimestamp_Time() {
	fmt.Println(chatdm.Timestamp("1442525627.000002").Time())
	fmt.Println(chatdm.Timestamp("0000000000.000000").Time().IsZero())
	// Output:
	// 2015-09-17 21:33:47.000002 +0000 UTC
	// true
}

func ExampleChatService_PostMessage() {
	slack, client := newExample()
	defer slack.Close()
	ctx := context.Background()
	dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		fmt.Println(err)
		return
	}

	// The message is posted, but the connection breaks before the response arrives.
	slack.Fail("chat.postMessage", 1, chatdmtest.Fault{Apply: true, Cut: chatdmtest.BeforeHeader})
	res, err := client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{
		Channel: dm.Channel.ID, Text: "The build is done.", Key: "build-1284",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Message.Text, "found by", res.Meta.Method)

	// After a restart, Since makes PostMessage look for the message first.
	res, err = client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{
		Channel: dm.Channel.ID, Text: "The build is done.", Key: "build-1284", Since: time.Now().Add(-time.Hour),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("already posted:", res.AlreadyPosted)
	fmt.Println(len(slack.Messages(dm.Channel.ID)), "message in the conversation")
	// Output:
	// The build is done. found by conversations.history
	// already posted: true
	// 1 message in the conversation
}

func ExampleConversationsService_History() {
	slack, client := newExample()
	defer slack.Close()
	ctx := context.Background()
	dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"one", "two", "three"} {
		if _, err := client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{Channel: dm.Channel.ID, Text: text}); err != nil {
			fmt.Println(err)
			return
		}
	}
	params := chatdm.ConversationsHistoryParams{Channel: dm.Channel.ID, Oldest: chatdm.NewTimestamp(time.Now().Add(-time.Hour)), Limit: 2}
	for m, err := range client.Conversations.History(ctx, params) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.Text)
	}
	// Output:
	// three
	// two
	// one
}

func ExampleConversationsService_Replies() {
	slack, client := newExample()
	defer slack.Close()
	ctx := context.Background()
	dm, err := client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		fmt.Println(err)
		return
	}
	first, err := client.Chat.PostMessage(ctx, chatdm.ChatPostMessageParams{Channel: dm.Channel.ID, Text: "Lunch?"})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Alice replies in the thread.
	slack.AddToken(chatdmtest.Token{Value: "xoxp-alice", User: chatdmtest.Alice})
	alice, err := client.WithToken("xoxp-alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	reply := chatdm.ChatPostMessageParams{Channel: dm.Channel.ID, Text: "Yes.", ThreadTS: first.TS}
	if _, err := alice.Chat.PostMessage(ctx, reply); err != nil {
		fmt.Println(err)
		return
	}

	for m, err := range client.Conversations.Replies(ctx, chatdm.ConversationsRepliesParams{Channel: dm.Channel.ID, TS: first.TS}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(m.User, m.Text)
	}
	// Output:
	// UBOT Lunch?
	// U0ALICE01 Yes.
}

func ExampleUsersService_LookupByEmail() {
	slack, client := newExample()
	defer slack.Close()
	ctx := context.Background()
	res, err := client.Users.LookupByEmail(ctx, "alice@example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.User.ID, res.User.Name)

	_, err = client.Users.LookupByEmail(ctx, "nobody@example.com")
	fmt.Println(errors.Is(err, chatdm.KindNotFound))
	// Output:
	// U0ALICE01 alice
	// true
}

func ExampleUsersService_Info() {
	slack, client := newExample()
	defer slack.Close()
	res, err := client.Users.Info(context.Background(), chatdmtest.DisabledUser)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.User.Name, "deactivated:", res.User.Deleted)
	// Output:
	// disabled deactivated: true
}

func ExampleAuthService_Test() {
	slack, client := newExample()
	defer slack.Close()
	res, err := client.Auth.Test(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.User, res.UserID, "is a bot:", res.BotID != "")
	// Output:
	// chatdmtest UBOT is a bot: true
}

func ExampleClient_WithToken() {
	client, err := chatdm.NewClient("xoxb-1111-first", chatdm.WithTimeout(10*time.Second), chatdm.WithLimiter(chatdm.NewTierLimiter()))
	if err != nil {
		fmt.Println(err)
		return
	}
	other, err := client.WithToken("xoxb-2222-second") // of another workspace
	fmt.Println(other, err)
	// Output:
	// chatdm.Client(https://slack.com/api) <nil>
}

// newExampleRotator returns a fake Slack server with a rotating installation, and a
// Rotator for it.
func newExampleRotator(store chatdm.TokenStore) (*chatdmtest.Slack, *chatdm.Rotator) {
	slack := chatdmtest.NewSlack()
	app := chatdm.OAuthApp{ClientID: chatdmtest.ClientID, ClientSecret: chatdmtest.ClientSecret}
	rotator, err := chatdm.NewRotator(app, store, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		panic(err)
	}
	return slack, rotator
}

func ExampleNewRotator() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	store := &memoryStore{tokens: slack.InstallRotating(chatdmtest.BotUser)} // a FileTokenStore keeps them after a restart

	app := chatdm.OAuthApp{ClientID: chatdmtest.ClientID, ClientSecret: chatdmtest.ClientSecret}
	rotator, err := chatdm.NewRotator(app, store, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := chatdm.NewClient("", chatdm.WithTokenSource(rotator), chatdm.WithBaseURL(slack.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := client.Auth.Test(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.User)
	// Output:
	// chatdmtest
}

func ExampleRotator_Token() {
	store := new(memoryStore)
	slack, rotator := newExampleRotator(store)
	defer slack.Close()
	ctx := context.Background()

	_, err := rotator.Token(ctx)
	fmt.Println(errors.Is(err, chatdm.KindUnauthenticated), err)
	// Output:
	// true slack oauth.v2.access: unauthenticated: the server does not accept the credential: the store has no tokens; install the app (nothing sent)
}

func ExampleRotator_Refresh() {
	store := new(memoryStore)
	slack, rotator := newExampleRotator(store)
	defer slack.Close()
	store.tokens = slack.InstallRotating(chatdmtest.BotUser)
	ctx := context.Background()

	stale, err := rotator.Token(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fresh, err := rotator.Refresh(ctx, stale)
	fmt.Println(fresh != stale, store.tokens.AccessToken == fresh, err)
	// Output:
	// true true <nil>
}

func ExampleRotator_Exchange() {
	store := new(memoryStore)
	slack, rotator := newExampleRotator(store)
	defer slack.Close()

	err := rotator.Exchange(context.Background(), chatdmtest.BotToken) // a token that does not expire
	fmt.Println(store.tokens.RefreshToken != "", err)
	// Output:
	// true <nil>
}

func ExampleRotator_String() {
	slack, rotator := newExampleRotator(new(memoryStore))
	defer slack.Close()
	fmt.Println(rotator.String())
	// Output:
	// chatdm.Rotator
}

func ExampleRotator_GoString() {
	slack, rotator := newExampleRotator(new(memoryStore))
	defer slack.Close()
	fmt.Printf("%#v\n", rotator)
	// Output:
	// chatdm.Rotator
}

func ExampleRotator_Format() {
	slack, rotator := newExampleRotator(new(memoryStore))
	defer slack.Close()
	fmt.Printf("%+v %d\n", rotator, rotator)
	// Output:
	// chatdm.Rotator chatdm.Rotator
}

func ExampleCode_Meaning() {
	fmt.Println(chatdm.ErrUserDisabled.Meaning())
	fmt.Printf("%q\n", chatdm.Code("brand_new").Meaning())
	// Output:
	// the user's account is deactivated
	// ""
}

// printer is an Observer that prints each attempt.
type printer struct{}

func (printer) CallStart(ctx context.Context, _ chatdm.CallInfo) context.Context { return ctx }
func (printer) CallEnd(context.Context, chatdm.CallInfo, chatdm.CallEnd)         {}
func (printer) WaitStart(ctx context.Context, _ chatdm.WaitInfo) context.Context { return ctx }
func (printer) WaitEnd(context.Context, chatdm.WaitInfo, chatdm.WaitEnd)         {}
func (printer) AttemptStart(ctx context.Context, _ chatdm.AttemptInfo) context.Context {
	return ctx
}

func (printer) AttemptEnd(_ context.Context, a chatdm.AttemptInfo, end chatdm.AttemptEnd) {
	fmt.Println(a.Method, "attempt", a.Attempt, "status", end.StatusCode, end.Kind)
}

func ExampleWithObserver() {
	slack, client := newExample(chatdm.WithObserver(printer{}), chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1}))
	defer slack.Close()
	slack.Fail("conversations.open", 1, chatdmtest.Fault{Status: 503})
	_, err := client.Conversations.Open(context.Background(), chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Alice}})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// conversations.open attempt 1 status 503 unavailable
	// conversations.open attempt 2 status 200
}
