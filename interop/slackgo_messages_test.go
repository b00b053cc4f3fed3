package interop

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm/chatdmtest"
)

// aliceDM is the ID of the first DM of a new workspace.
const aliceDM = "D000000001"

// postWithSlackGo posts a message and returns its timestamp.
func postWithSlackGo(t *testing.T, client *slack.Client, channel string, options ...slack.MsgOption) string {
	t.Helper()
	_, ts, err := client.PostMessageContext(t.Context(), channel, options...)
	if err != nil {
		t.Fatal(err)
	}
	return ts
}

func messageTexts(messages []slack.Message) []string {
	var texts []string
	for _, m := range messages {
		texts = append(texts, m.Text)
	}
	return texts
}

// TestSlackGoPost compares everything that slack-go decodes of a message, in the response
// to the post and in the history.
func TestSlackGoPost(t *testing.T) {
	section := slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, "*green*", false, false), nil, nil,
		slack.SectionBlockOptionBlockID("build"))
	payload := map[string]any{"build": 7.0, "branch": "main", "green": true}
	text := slack.MsgOptionText("The build is green.", false)
	tests := []struct {
		name    string
		options []slack.MsgOption
		want    slack.Msg
	}{
		{"text", []slack.MsgOption{text}, slack.Msg{Text: "The build is green."}},
		{
			"blocks",
			[]slack.MsgOption{text, slack.MsgOptionBlocks(section, slack.NewDividerBlock())},
			slack.Msg{Text: "The build is green.", Blocks: slack.Blocks{BlockSet: []slack.Block{section, slack.NewDividerBlock()}}},
		},
		{
			"attachment",
			[]slack.MsgOption{slack.MsgOptionAttachments(slack.Attachment{Color: "good", Text: "Green"})},
			slack.Msg{Attachments: []slack.Attachment{{Color: "good", Text: "Green"}}},
		},
		{
			"metadata",
			[]slack.MsgOption{text, slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "build_done", EventPayload: payload})},
			slack.Msg{Text: "The build is green.", Metadata: slack.SlackMetadata{EventType: "build_done", EventPayload: payload}},
		},
		{
			"metadata whose event type has a dot",
			[]slack.MsgOption{text, slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "build.done", EventPayload: payload})},
			slack.Msg{Text: "The build is green."},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, client := slackGo(t)
			identity, err := client.AuthTestContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			channel, ts, posted, err := client.PostMessageWithResponseContext(t.Context(), chatdmtest.Alice, test.options...)
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			want.Type, want.Timestamp = "message", ts
			want.User, want.BotID, want.Team = identity.UserID, identity.BotID, identity.TeamID
			if channel != aliceDM || !reflect.DeepEqual(posted, slack.Message{Msg: want}) {
				t.Errorf("posted to %s\n got %+v\nwant %+v", channel, posted.Msg, want)
			}
			page, err := client.GetConversationHistoryContext(t.Context(),
				&slack.GetConversationHistoryParameters{ChannelID: channel, IncludeAllMetadata: true})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(page.Messages, []slack.Message{{Msg: want}}) {
				t.Errorf("history\n got %+v\nwant %+v", page.Messages, want)
			}
			page, err = client.GetConversationHistoryContext(t.Context(), &slack.GetConversationHistoryParameters{ChannelID: channel})
			if err != nil {
				t.Fatal(err)
			}
			onlyType := slack.SlackMetadata{EventType: want.Metadata.EventType}
			if got := page.Messages[0].Metadata; !reflect.DeepEqual(got, onlyType) {
				t.Errorf("without IncludeAllMetadata: got metadata %+v, want %+v", got, onlyType)
			}
		})
	}
}

// TestSlackGoPostTo checks which IDs a bot can post to. No other method translates the ID
// of a user.
func TestSlackGoPostTo(t *testing.T) {
	server, bot := slackGo(t)
	admin := slackGoClient(server, chatdmtest.UserToken)
	othersDM, _, _, err := admin.OpenConversationContext(t.Context(), &slack.OpenConversationParameters{Users: []string{chatdmtest.Bob}})
	if err != nil {
		t.Fatal(err)
	}
	own, _, _, err := bot.OpenConversationContext(t.Context(), &slack.OpenConversationParameters{Users: []string{chatdmtest.Alice}})
	if err != nil {
		t.Fatal(err)
	}
	left, _, _, err := bot.OpenConversationContext(t.Context(), &slack.OpenConversationParameters{Users: []string{chatdmtest.Carol}})
	if err != nil {
		t.Fatal(err)
	}
	server.AddUser(chatdmtest.User{ID: chatdmtest.Carol, Name: "carol", Disabled: true})
	server.AddChannel(chatdmtest.Channel{ID: "C0NOTMEMBER", Name: "elsewhere"})
	server.AddChannel(chatdmtest.Channel{ID: "C0ARCHIVED1", Name: "old", Archived: true, Members: []string{chatdmtest.BotUser}})
	tests := []struct {
		name, channel  string
		wantChannel    string
		wantErr        string
		wantHistoryErr string
	}{
		{"user", chatdmtest.Alice, own.ID, "", "channel_not_found"},
		{"DM", own.ID, own.ID, "", ""},
		{"DM of a disabled user", left.ID, left.ID, "", ""},
		{"DM of others", othersDM.ID, "", "channel_not_found", "channel_not_found"},
		{"hidden user", chatdmtest.HiddenUser, "", "channel_not_found", "channel_not_found"},
		{"other bot", chatdmtest.OtherBot, "", "channel_not_found", "channel_not_found"},
		{"unknown ID", "D404", "", "channel_not_found", "channel_not_found"},
		{"channel of others", "C0NOTMEMBER", "", "not_in_channel", "not_in_channel"},
		{"archived channel", "C0ARCHIVED1", "", "is_archived", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			channel, _, err := bot.PostMessageContext(t.Context(), test.channel, slack.MsgOptionText("Hi", false))
			if channel != test.wantChannel || slackGoCode(err) != test.wantErr {
				t.Errorf("post: got %q, %v, want %q, %q", channel, err, test.wantChannel, test.wantErr)
			}
			_, err = bot.GetConversationHistoryContext(t.Context(), &slack.GetConversationHistoryParameters{ChannelID: test.channel})
			if slackGoCode(err) != test.wantHistoryErr {
				t.Errorf("history: got %v, want %q", err, test.wantHistoryErr)
			}
		})
	}
}

// slackGoCode returns Slack's code of an error, or "" if err is nil.
func slackGoCode(err error) string {
	if err == nil {
		return ""
	}
	if failure, ok := errors.AsType[slack.SlackErrorResponse](err); ok {
		return failure.Err
	}
	return "not from Slack: " + err.Error()
}

// TestSlackGoTexts shows that a text comes back changed, and that escaping it with
// slack-go does not change that.
func TestSlackGoTexts(t *testing.T) {
	_, client := slackGo(t)
	tests := []struct {
		text   string
		escape bool
		want   string
	}{
		{"Ship it", false, "Ship it"},
		{"R&D <b> 1 > 0", false, "R&amp;D &lt;b&gt; 1 &gt; 0"},
		{"R&D <b> 1 > 0", true, "R&amp;D &lt;b&gt; 1 &gt; 0"},
		{"R&amp;D", false, "R&amp;D"},
		{"R&amp;D", true, "R&amp;amp;D"},
		{"<@U0ALICE01> <!here>", false, "<@U0ALICE01> <!here>"},
		{"<@U0ALICE01>", true, "&lt;@U0ALICE01&gt;"},
		{"See https://example.com/?a=1&b=2.", false, "See <https://example.com/?a=1&amp;b=2>."},
		{"See https://example.com/?a=1&b=2.", true, "See <https://example.com/?a=1&amp;b=2>."},
		{"See <https://example.com|here>", false, "See <https://example.com|here>"},
		{"Ask a@example.com or example.com", true, "Ask <mailto:a@example.com|a@example.com> or <http://example.com|example.com>"},
		{"Done 🎉 👍🏽 :tada:", true, "Done :tada: :+1::skin-tone-4: :tada:"},
		{"*bold* _it_ 日本語", true, "*bold* _it_ 日本語"},
	}
	for _, test := range tests {
		_, ts, posted, err := client.PostMessageWithResponseContext(t.Context(), chatdmtest.Alice, slack.MsgOptionText(test.text, test.escape))
		if err != nil {
			t.Fatal(err)
		}
		page, err := client.GetConversationHistoryContext(t.Context(), &slack.GetConversationHistoryParameters{
			ChannelID: aliceDM, Oldest: ts, Latest: ts, Inclusive: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := messageTexts(page.Messages); posted.Text != test.want || !slices.Equal(got, []string{test.want}) {
			t.Errorf("%q, escape %t: got %q and %q, want %q", test.text, test.escape, posted.Text, got, test.want)
		}
	}
}

// TestSlackGoLongTexts shows that one call can post several messages, and that slack-go
// learns the timestamp of only the first one.
func TestSlackGoLongTexts(t *testing.T) {
	tests := []struct {
		length int
		want   []int // lengths of the messages
	}{
		{4000, []int{4000}},
		{4001, []int{4000, 1}},
		{40_001, slices.Repeat([]int{4000}, 10)},
	}
	for _, test := range tests {
		server, client := slackGo(t)
		ts := postWithSlackGo(t, client, chatdmtest.Alice, slack.MsgOptionText(strings.Repeat("a", test.length), false))
		messages := server.Messages(aliceDM)
		var got []int
		for _, m := range messages {
			got = append(got, len(m.Text))
		}
		if !slices.Equal(got, test.want) || ts != messages[0].ID {
			t.Errorf("%d characters: got messages of %v and timestamp %s, want %v and %s", test.length, got, ts, test.want, messages[0].ID)
		}
	}
}

// TestSlackGoHistory reads ranges and pages of a conversation with the messages 0 to 4.
// A thread hangs on message 1; one of its replies is a broadcast.
func TestSlackGoHistory(t *testing.T) {
	_, client := slackGo(t)
	var ts []string
	for _, text := range []string{"0", "1", "2", "3", "4"} {
		ts = append(ts, postWithSlackGo(t, client, chatdmtest.Alice, slack.MsgOptionText(text, false)))
	}
	postWithSlackGo(t, client, aliceDM, slack.MsgOptionText("reply", false), slack.MsgOptionTS(ts[1]))
	postWithSlackGo(t, client, aliceDM, slack.MsgOptionText("broadcast", false), slack.MsgOptionTS(ts[1]), slack.MsgOptionBroadcast())

	tests := []struct {
		name   string
		params slack.GetConversationHistoryParameters
		pages  [][]string
	}{
		{"everything", slack.GetConversationHistoryParameters{}, [][]string{{"broadcast", "4", "3", "2", "1", "0"}}},
		{"exclusive", slack.GetConversationHistoryParameters{Oldest: ts[1], Latest: ts[3]}, [][]string{{"2"}}},
		{"inclusive", slack.GetConversationHistoryParameters{Oldest: ts[1], Latest: ts[3], Inclusive: true}, [][]string{{"3", "2", "1"}}},
		{"after", slack.GetConversationHistoryParameters{Oldest: ts[3]}, [][]string{{"broadcast", "4"}}},
		{"before", slack.GetConversationHistoryParameters{Latest: ts[1]}, [][]string{{"0"}}},
		{"one message", slack.GetConversationHistoryParameters{Latest: ts[2], Inclusive: true, Limit: 1}, [][]string{{"2"}, {"1"}, {"0"}}},
		{"pages", slack.GetConversationHistoryParameters{Limit: 4}, [][]string{{"broadcast", "4", "3", "2"}, {"1", "0"}}},
		{"full pages", slack.GetConversationHistoryParameters{Limit: 3}, [][]string{{"broadcast", "4", "3"}, {"2", "1", "0"}}},
		{
			"pages of a range",
			slack.GetConversationHistoryParameters{Oldest: ts[0], Latest: ts[4], Limit: 2},
			[][]string{{"3", "2"}, {"1"}},
		},
		{"nothing", slack.GetConversationHistoryParameters{Oldest: ts[1], Latest: ts[1]}, [][]string{nil}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			params := test.params
			params.ChannelID = aliceDM
			var pages [][]string
			for {
				page, err := client.GetConversationHistoryContext(t.Context(), &params)
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, messageTexts(page.Messages))
				params.Cursor = page.ResponseMetaData.NextCursor
				if page.HasMore != (params.Cursor != "") {
					t.Errorf("got HasMore %t with the cursor %q", page.HasMore, params.Cursor)
				}
				if !page.HasMore {
					break
				}
			}
			if !slices.EqualFunc(pages, test.pages, slices.Equal) {
				t.Errorf("got pages %q, want %q", pages, test.pages)
			}
		})
	}
}

// TestSlackGoReplies posts a thread and reads it back, whole and in pages.
func TestSlackGoReplies(t *testing.T) {
	_, client := slackGo(t)
	parent := postWithSlackGo(t, client, chatdmtest.Alice, slack.MsgOptionText("parent", false))
	var last string
	for _, text := range []string{"1", "2", "3"} {
		metadata := slack.SlackMetadata{EventType: "reply", EventPayload: map[string]any{"n": text}}
		last = postWithSlackGo(t, client, aliceDM, slack.MsgOptionText(text, false), slack.MsgOptionTS(parent), slack.MsgOptionMetadata(metadata))
	}

	messages, _, _, err := client.GetConversationRepliesContext(t.Context(),
		&slack.GetConversationRepliesParameters{ChannelID: aliceDM, Timestamp: parent, IncludeAllMetadata: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := messageTexts(messages), []string{"parent", "1", "2", "3"}; !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
	first := messages[0]
	if first.ReplyCount != 3 || first.LatestReply != last || first.ThreadTimestamp != parent || !slices.Equal(first.ReplyUsers, []string{chatdmtest.BotUser}) {
		t.Errorf("got the parent %+v, want 3 replies, the latest of them %s", first.Msg, last)
	}
	reply := messages[3]
	wantMetadata := slack.SlackMetadata{EventType: "reply", EventPayload: map[string]any{"n": "3"}}
	if reply.ThreadTimestamp != parent || reply.ParentUserId != chatdmtest.BotUser || !reflect.DeepEqual(reply.Metadata, wantMetadata) {
		t.Errorf("got the reply %+v, want one to %s with its metadata", reply.Msg, parent)
	}

	params := &slack.GetConversationRepliesParameters{ChannelID: aliceDM, Timestamp: parent, Limit: 3}
	var pages [][]string
	for hasMore := true; hasMore; {
		messages, hasMore, params.Cursor, err = client.GetConversationRepliesContext(t.Context(), params)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, messageTexts(messages))
	}
	if want := [][]string{{"parent", "1", "2"}, {"3"}}; !slices.EqualFunc(pages, want, slices.Equal) {
		t.Errorf("got pages %q, want %q", pages, want)
	}

	params = &slack.GetConversationRepliesParameters{ChannelID: aliceDM, Timestamp: "1000000000.000001"}
	if _, _, _, err := client.GetConversationRepliesContext(t.Context(), params); slackGoCode(err) != "thread_not_found" {
		t.Errorf("unknown parent: got %v, want thread_not_found", err)
	}
}

// TestSlackGoUsers looks up users by email and by ID.
func TestSlackGoUsers(t *testing.T) {
	server, client := slackGo(t)
	const narrow = "xoxb-narrow"
	server.AddToken(chatdmtest.Token{Value: narrow, User: chatdmtest.BotUser, Scopes: []string{"users:read"}})
	server.AddUser(chatdmtest.User{ID: "U0GUEST001", Name: "gus", RealName: "Gus Guest", TZ: "Asia/Tokyo", UltraRestricted: true})
	identity, err := client.AuthTestContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if identity.UserID != chatdmtest.BotUser || identity.User != "chatdmtest" || identity.BotID == "" || identity.TeamID == "" || identity.URL == "" {
		t.Errorf("got the identity %+v", identity)
	}

	guest, err := client.GetUserByEmailContext(t.Context(), "GUS@example.com")
	if err != nil {
		t.Fatal(err)
	}
	want := slack.User{
		ID: "U0GUEST001", TeamID: identity.TeamID, Name: "gus", RealName: "Gus Guest",
		TZ: "Asia/Tokyo", TZOffset: 9 * 3600, IsRestricted: true, IsUltraRestricted: true,
		Profile: slack.UserProfile{
			RealName: "Gus Guest", RealNameNormalized: "Gus Guest", DisplayName: "gus", DisplayNameNormalized: "gus",
			Email: "gus@example.com", Team: identity.TeamID,
		},
	}
	if !reflect.DeepEqual(*guest, want) {
		t.Errorf("by email\n got %+v\nwant %+v", *guest, want)
	}
	byID, err := client.GetUserInfoContext(t.Context(), guest.ID)
	want.Locale = "en-US" // slack-go requests it here, but not by email
	if err != nil || !reflect.DeepEqual(*byID, want) {
		t.Errorf("by ID\n got %+v, %v\nwant %+v", byID, err, want)
	}
	withoutEmail, err := slackGoClient(server, narrow).GetUserInfoContext(t.Context(), guest.ID)
	want.Profile.Email = ""
	if err != nil || !reflect.DeepEqual(*withoutEmail, want) {
		t.Errorf("without the scope users:read.email\n got %+v, %v\nwant %+v", withoutEmail, err, want)
	}
	disabled, err := client.GetUserInfoContext(t.Context(), chatdmtest.DisabledUser)
	if err != nil || !disabled.Deleted {
		t.Errorf("got %+v, %v, want a deleted user", disabled, err)
	}

	byEmail := func(email string) error {
		_, err := client.GetUserByEmailContext(t.Context(), email)
		return err
	}
	info := func(id string) error {
		_, err := client.GetUserInfoContext(t.Context(), id)
		return err
	}
	_, scopeErr := slackGoClient(server, narrow).GetUserByEmailContext(t.Context(), "alice@example.com")
	for _, test := range []struct {
		name string
		err  error
		want string
	}{
		{"unknown email", byEmail("nobody@example.com"), "users_not_found"},
		{"email of a disabled user", byEmail("disabled@example.com"), "users_not_found"},
		{"unknown ID", info("U404"), "user_not_found"},
		{"hidden user", info(chatdmtest.HiddenUser), "user_not_visible"},
		{"no scope", scopeErr, "missing_scope"},
	} {
		if slackGoCode(test.err) != test.want {
			t.Errorf("%s: got %v, want %s", test.name, test.err, test.want)
		}
	}
}

// TestSlackGoPostErrors checks what slack-go makes of the errors of chat.postMessage.
func TestSlackGoPostErrors(t *testing.T) {
	server, client := slackGo(t)
	const narrow = "xoxb-narrow"
	server.AddToken(chatdmtest.Token{Value: narrow, User: chatdmtest.BotUser, Scopes: []string{"im:write"}})
	text := slack.MsgOptionText("Hi", false)
	problem := "no more than 50 items allowed [json-pointer:/blocks]"
	tests := []struct {
		name    string
		token   string
		options []slack.MsgOption
		want    slack.SlackErrorResponse
	}{
		{"nothing to post", chatdmtest.BotToken, nil, slack.SlackErrorResponse{Err: "no_text"}},
		{
			"as a user",
			chatdmtest.BotToken,
			[]slack.MsgOption{text, slack.MsgOptionAsUser(true)},
			slack.SlackErrorResponse{Err: "as_user_not_supported"},
		},
		{
			"too many blocks",
			chatdmtest.BotToken,
			[]slack.MsgOption{slack.MsgOptionBlocks(slices.Repeat([]slack.Block{slack.NewDividerBlock()}, 51)...)},
			slack.SlackErrorResponse{
				Err:              "invalid_blocks",
				Errors:           []slack.SlackResponseErrors{{Message: &problem}},
				ResponseMetadata: slack.ResponseMetadata{Messages: []string{"[ERROR] " + problem}},
			},
		},
		{
			"too many attachments",
			chatdmtest.BotToken,
			[]slack.MsgOption{slack.MsgOptionAttachments(slices.Repeat([]slack.Attachment{{Text: "a"}}, 101)...)},
			slack.SlackErrorResponse{Err: "too_many_attachments"},
		},
		{
			"Markdown and text",
			chatdmtest.BotToken,
			[]slack.MsgOption{text, slack.MsgOptionMarkdownText("**Hi**")},
			slack.SlackErrorResponse{Err: "markdown_text_conflict"},
		},
		{
			"metadata without a payload",
			chatdmtest.BotToken,
			[]slack.MsgOption{text, slack.MsgOptionMetadata(slack.SlackMetadata{EventType: "build_done"})},
			slack.SlackErrorResponse{Err: "invalid_metadata_schema"},
		},
		{"no scope", narrow, []slack.MsgOption{text}, slack.SlackErrorResponse{Err: "missing_scope", Needed: "chat:write", Provided: "im:write"}},
		{"unknown token", "xoxb-unknown", []slack.MsgOption{text}, slack.SlackErrorResponse{Err: "invalid_auth"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := slackGoClient(server, test.token).PostMessageContext(t.Context(), chatdmtest.Alice, test.options...)
			if got, ok := errors.AsType[slack.SlackErrorResponse](err); !ok || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %#v, want %#v", err, test.want)
			}
		})
	}
	if got := server.Messages(aliceDM); got != nil {
		t.Errorf("got messages %v, want none", got)
	}
	if _, _, err := client.PostMessageContext(t.Context(), chatdmtest.Alice, text); err != nil {
		t.Error(err)
	}
}

// TestSlackGoConversationRateLimit shows that a 429 of one conversation does not concern
// the others. slack-go does not retry unless OptionRetry is set.
func TestSlackGoConversationRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := chatdmtest.NewSlack(chatdmtest.InMemory())
		defer server.Close()
		server.Limit("chat.postMessage/*", 1, 30*time.Second)
		client := slackGoClient(server, chatdmtest.BotToken)
		text := slack.MsgOptionText("Hi", false)

		postWithSlackGo(t, client, chatdmtest.Alice, text)
		for _, channel := range []string{chatdmtest.Alice, aliceDM} {
			_, _, err := client.PostMessageContext(t.Context(), channel, text)
			if limited, ok := errors.AsType[*slack.RateLimitedError](err); !ok || limited.RetryAfter != 30*time.Second {
				t.Errorf("%s: got %v, want a RateLimitedError of 30 s", channel, err)
			}
		}
		postWithSlackGo(t, client, chatdmtest.Bob, text)

		retrying := slack.New(chatdmtest.BotToken, slack.OptionAPIURL(server.URL+"/"), slack.OptionHTTPClient(server.Client()), slack.OptionRetry(1))
		start := time.Now()
		postWithSlackGo(t, retrying, chatdmtest.Alice, text)
		if waited := time.Since(start); waited < 30*time.Second {
			t.Errorf("OptionRetry waited %v, want at least 30 s", waited)
		}
		if got := len(server.Messages(aliceDM)); got != 2 {
			t.Errorf("got %d messages for Alice, want 2", got)
		}
	})
}

// TestSlackGoLostResponse shows what slack-go does if a message was posted and the response
// is lost. By default, and with OptionRetry, it reports a transport error. The handlers
// that retry after connection errors post the message again, without an error.
func TestSlackGoLostResponse(t *testing.T) {
	retrying := slack.DefaultRetryConfig()
	retrying.Handlers = slack.AllBuiltinRetryHandlers(retrying)
	retrying.BackoffInitial, retrying.BackoffMax, retrying.BackoffJitter = time.Millisecond, time.Millisecond, 0
	tests := []struct {
		name         string
		options      []slack.Option
		wantErr      bool
		wantMessages int
	}{
		{"default", nil, true, 1},
		{"OptionRetry", []slack.Option{slack.OptionRetry(3)}, true, 1},
		{"AllBuiltinRetryHandlers", []slack.Option{slack.OptionRetryConfig(retrying)}, false, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server, _ := slackGo(t)
			server.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
			client := slack.New(chatdmtest.BotToken, append(test.options, slack.OptionAPIURL(server.URL+"/"))...)
			_, _, err := client.PostMessageContext(t.Context(), chatdmtest.Alice, slack.MsgOptionText("Hi", false))
			if (err != nil) != test.wantErr {
				t.Errorf("got error %v, want one: %t", err, test.wantErr)
			}
			if got := len(server.Messages(aliceDM)); got != test.wantMessages {
				t.Errorf("got %d messages, want %d", got, test.wantMessages)
			}
		})
	}
}
