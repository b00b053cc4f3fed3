package interop

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// byBot is the end of each message of the bot that has no more than a text.
const byBot = `"bot_id":"B00000BOT","app_id":"A00000BOT","team":"T0CHATDM1"`

// message returns the start of a message of the bot as the scripts print it.
func message(text, ts string) string {
	return `{"type":"message","user":"UBOT","text":"` + text + `","ts":"` + ts + `",` + byBot
}

// postedBy returns what a script prints if a step has posted a message to Alice.
func postedBy(step, text, ts, rest string) string {
	return `{"step":"` + step + `","result":{"ok":true,"channel":"D000000001","ts":"` + ts + `","message":` +
		message(text, ts) + rest + `},"response_metadata":{}}}`
}

// failedBy returns what a script prints if a step got an error code from Slack.
func failedBy(step, code string) string {
	return `{"step":"` + step + `",` + slackCode(code) + `,"response_metadata":{}}}`
}

const (
	buildBlocks   = `,"blocks":[{"type":"section","block_id":"build","text":{"type":"mrkdwn","text":"*green*"}},{"type":"divider"}]`
	buildMetadata = `,"metadata":{"event_type":"build_done","event_payload":{"build":7,"branch":"main","steps":["test","lint"]}}`
	inThread      = `,"thread_ts":"ts1","parent_user_id":"UBOT"`
	broadcast     = `{"type":"message","subtype":"thread_broadcast","user":"UBOT","text":"broadcast","ts":"ts6",` + byBot + inThread + `}`

	slackAlice = `{"ok":true,"user":{"id":"U0ALICE01","team_id":"T0CHATDM1","name":"alice","deleted":false,"real_name":"Alice","tz":"Etc/UTC",` +
		`"tz_offset":0,"profile":{"real_name":"Alice","real_name_normalized":"Alice","display_name":"alice","display_name_normalized":"alice",` +
		`"email":"alice@example.com","team":"T0CHATDM1"},"is_restricted":false,"is_ultra_restricted":false,"is_bot":false,"is_app_user":false},` +
		`"response_metadata":{}}`
)

// slackMessagesLines is what slack_messages.mjs prints.
var slackMessagesLines = []string{
	`{"step":"identity","result":{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"chatdmtest",` +
		`"team_id":"T0CHATDM1","user_id":"UBOT","bot_id":"B00000BOT","response_metadata":{}}}`,

	postedBy("post", "The build is green.", "ts1", ""),
	postedBy("post blocks and metadata", "Green", "ts2", buildBlocks+buildMetadata),
	postedBy("post Markdown", "**bold**", "ts3", ""),
	postedBy("post metadata with a dot", "dot", "ts4", ""),
	postedBy("reply", "reply", "ts5", inThread),
	`{"step":"broadcast","result":{"ok":true,"channel":"D000000001","ts":"ts6","message":` + broadcast + `,"response_metadata":{}}}`,

	`{"step":"history","result":{"ok":true,"messages":[` + message("Green", "ts2") + buildBlocks + buildMetadata + `}],"has_more":false,"response_metadata":{}}}`,
	`{"step":"history without metadata","result":{"ok":true,"messages":[` + message("Green", "ts2") + buildBlocks +
		`,"metadata":{"event_type":"build_done"}}],"has_more":false,"response_metadata":{}}}`,
	`{"step":"history of nothing","result":{"ok":true,"messages":[],"has_more":false,"response_metadata":{}}}`,
	`{"step":"replies","result":{"ok":true,"messages":[` + message("The build is green.", "ts1") +
		`,"thread_ts":"ts1","reply_count":2,"reply_users_count":1,"latest_reply":"ts6","reply_users":["UBOT"]},` +
		message("reply", "ts5") + inThread + `},` + broadcast + `],"has_more":false,"response_metadata":{}}}`,
	`{"step":"pages of the history","pages":[["broadcast","dot"],["**bold**","Green"],["The build is green."]]}`,
	`{"step":"pages of a range","pages":[["broadcast","dot","**bold**"],["Green"]]}`,
	`{"step":"pages of the thread","pages":[["The build is green.","reply"],["broadcast"]]}`,

	`{"step":"rewritten","texts":["R&amp;D &lt;b&gt; 1 &gt; 0","R&amp;D","<@U0ALICE01> <!here>","See <https://example.com/?a=1&amp;b=2>.",` +
		`"Ask <mailto:a@example.com|a@example.com> or <http://example.com|example.com>","Done :tada: :+1::skin-tone-4:","日本語"]}`,
	`{"step":"long text","result":{"ok":true,"channel":"D000000002","ts":"ts7","warnings":["message_truncated"]}}`,
	`{"step":"parts of the long text","result":[4000,4000,4000,4000,4000,4000,4000,4000,4000,4000]}`,

	`{"step":"user by email","result":` + slackAlice + `}`,
	`{"step":"user by ID","result":` + slackAlice + `}`,
	failedBy("unknown email", "users_not_found"),
	failedBy("unknown user", "user_not_found"),

	failedBy("nothing to post", "no_text"),
	`{"step":"too many blocks",` + slackCode("invalid_blocks") + `,"errors":["no more than 50 items allowed [json-pointer:/blocks]"],` +
		`"response_metadata":{"messages":["[ERROR] no more than 50 items allowed [json-pointer:/blocks]"]}}}`,
	failedBy("invalid metadata", "invalid_metadata_schema"),
	failedBy("post to an unknown channel", "channel_not_found"),
	failedBy("history of a user", "channel_not_found"),
	failedBy("replies to an unknown message", "thread_not_found"),
	failedBy("invalid cursor", "invalid_cursor"),
}

func TestSlackWebAPIMessages(t *testing.T) {
	t.Parallel()
	server := chatdmtest.NewSlack()
	t.Cleanup(server.Close)
	compareLines(t, runScript(t, "slack_messages.mjs", map[string]any{
		"url":   server.URL,
		"token": chatdmtest.BotToken,
		"alice": chatdmtest.Alice,
		"bob":   chatdmtest.Bob,
	}), slackMessagesLines)
}

var tooManyRequests = chatdmtest.Fault{Code: "ratelimited", Status: 429, Header: http.Header{"Retry-After": {"1"}}}

// TestSlackWebAPILostResponse shows what web-api does if a message was posted and the
// response is lost. With its default options, it posts the message again and reports
// success, unless the response is lost in the body: then it reports an error. Without
// retries, it does not retry after a 429 either.
func TestSlackWebAPILostResponse(t *testing.T) {
	const (
		posted       = `{"step":"post","result":{"ok":true}}`
		requestError = `{"step":"post","code":"slack_webapi_request_error"}`
	)
	noRetries := map[string]any{"retryConfig": map[string]any{"retries": 0}}
	tests := []struct {
		name         string
		fault        chatdmtest.Fault
		options      map[string]any // nil means the defaults
		want         string
		wantMessages int
	}{
		{"connection lost before the response", chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}, nil, posted, 2},
		{"connection lost in the header", chatdmtest.Fault{Cut: chatdmtest.InHeader, Apply: true}, nil, posted, 2},
		{"connection lost in the body", chatdmtest.Fault{Cut: chatdmtest.InBody, Apply: true}, nil, `{"step":"post","code":"TypeError"}`, 1},
		{"503", chatdmtest.Fault{Status: 503, Apply: true}, nil, posted, 2},
		{"timeout", chatdmtest.Fault{Stall: chatdmtest.BeforeHeader, Apply: true}, map[string]any{"timeout": 1000}, posted, 2},
		{"internal_error", chatdmtest.Fault{Code: "internal_error", Apply: true}, nil, failedBy("post", "internal_error"), 1},
		{"no retries", chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true}, noRetries, requestError, 1},
		{"no retries, 429", tooManyRequests, noRetries, requestError, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			server := chatdmtest.NewSlack()
			t.Cleanup(server.Close)
			server.Fail("chat.postMessage", 1, test.fault)
			lines := runScript(t, "slack_retries.mjs", map[string]any{
				"url":     server.URL,
				"token":   chatdmtest.BotToken,
				"channel": chatdmtest.Alice,
				"options": test.options,
			})
			compareLines(t, lines, []string{test.want})
			if got := len(server.Messages(aliceDM)); got != test.wantMessages {
				t.Errorf("got %d messages, want %d", got, test.wantMessages)
			}
		})
	}
}

// TestSlackWebAPIConversationRateLimit shows that a 429 makes web-api hold back all calls.
// With rejectRateLimitedCalls, the 429 of one conversation does not concern the others.
func TestSlackWebAPIConversationRateLimit(t *testing.T) {
	t.Parallel()
	server := chatdmtest.NewSlack()
	t.Cleanup(server.Close)
	server.Limit("chat.postMessage/*", 1, time.Hour)
	server.Fail("chat.postMessage", 1, tooManyRequests)
	compareLines(t, runScript(t, "slack_limits.mjs", map[string]any{
		"url":   server.URL,
		"token": chatdmtest.BotToken,
		"alice": chatdmtest.Alice,
		"bob":   chatdmtest.Bob,
		"carol": chatdmtest.Carol,
		"dave":  chatdmtest.Dave,
	}), []string{
		`{"step":"wait","result":true}`,
		`{"step":"other conversation meanwhile","seconds":1,"after":"held"}`,
		`{"step":"first","result":true}`,
		`{"step":"second","code":"slack_webapi_rate_limited_error","retryAfter":3600}`,
		`{"step":"other conversation","result":true}`,
	})
}

const (
	hello    = "Hello alice, R&amp;D is ready :tada:"
	oneReply = `,"thread_ts":"ts1","reply_count":1,"reply_users_count":1,"latest_reply":"ts2","reply_users":["UBOT"]`
	deployed = `,"metadata":{"event_type":"deploy","event_payload":{"build":7}}`
)

// boltLines is what bolt.mjs prints.
var boltLines = []string{
	`{"step":"context","botUserId":"UBOT","botId":"B00000BOT","teamId":"T0CHATDM1"}`,
	postedBy("say", hello, "ts1", deployed),
	postedBy("say in the thread", "Step 1", "ts2", inThread),
	postedBy("say text", "Bye", "ts3", ""),
	`{"step":"history","result":{"ok":true,"messages":[` + message("Bye", "ts3") + `},` + message(hello, "ts1") + oneReply + deployed +
		`}],"has_more":false,"response_metadata":{}}}`,
	`{"step":"replies","result":{"ok":true,"messages":[` + message(hello, "ts1") + oneReply + `,"metadata":{"event_type":"deploy"}},` +
		message("Step 1", "ts2") + inThread + `}],"has_more":false,"response_metadata":{}}}`,
	`{"step":"deliver","acks":1}`,
	`{"step":"own message","calls":1}`,
	`{"step":"say, response lost","result":true}`,
	`{"step":"lost","posted":2}`,
	failedBy("error", "channel_not_found"),
}

// TestSlackBolt runs a bot on Bolt. Bolt calls Slack with web-api, so it posts a message
// again if the response is lost.
func TestSlackBolt(t *testing.T) {
	t.Parallel()
	server := chatdmtest.NewSlack()
	t.Cleanup(server.Close)
	server.Fail("chat.postMessage", 4, chatdmtest.Fault{}) // these succeed
	server.Fail("chat.postMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	compareLines(t, runScript(t, "bolt.mjs", map[string]any{
		"url":   server.URL,
		"token": chatdmtest.BotToken,
		"team":  "T0CHATDM1",
		"alice": chatdmtest.Alice,
	}), boltLines)
}

// stored returns a message of the user careful as Rocket.Chat's responses contain it.
func stored(id, text, rest string) string {
	return `"message":{"_id":"` + id + `","rid":"U0ALICE01careful","msg":"` + text + `","ts":"string",` +
		`"u":{` + careful + `},` + rest + `"mentions":[],"channels":[],"_updatedAt":"string"},"success":true}`
}

const (
	// No generation changes this text.
	rawText = ` R&D <b> https://example.com 🎉 `

	duplicateOnNode14 = `"status":400,"body":{"success":false,"error":"Cannot read property 'starred' of undefined"}`
	duplicateOnNode20 = `"status":400,"body":{"success":false,"error":"Cannot read properties of undefined (reading 'starred')"}`
	noUserIn4         = `"status":400,"body":{"success":false,"error":"must have required property 'userId'\n must have required property 'username'\n ` +
		`must match a schema in anyOf [invalid-params]","errorType":"invalid-params"}`
)

// rocketChatMessagesSteps is what rocketchat_messages.mjs prints.
var rocketChatMessagesSteps = []struct {
	step string
	in4  string // in RocketChat4
	in8  string // in RocketChat8; if empty, the same as in4
}{
	{"login", `"result":"careful"`, ""},
	{"create", `"result":{"room":` + roomOfTwo + `,"success":true}`, ""},
	{"send", `"result":{` + stored("message1", rawText, ""), ""},
	{"send again", duplicateOnNode14, duplicateOnNode20},
	{"get", `"result":{` + stored("message1", rawText, ""), ""},
	{"get an unknown message", `"status":400,"body":{"success":false}`, ""},
	{"post", `"result":{"ts":"number","channel":"U0ALICE01careful",` + stored("chatdmtestMsg0001", "posted", ""), ""},
	{"reply", `"result":{` + stored("reply1", "reply", `"tmid":"message1",`), ""},
	{"post to a user", `"result":{"channel":"U0BOB0001careful","text":"Hi Bob"}`, ""},

	{"send, response lost", `"thrown":"TypeError"`, ""},
	{"look for it", `"result":"lost"`, ""},
	{"send it again", duplicateOnNode14, duplicateOnNode20},

	{"history", `"result":["lost","posted","` + rawText + `"]`, ""},
	{"history with threads", `"result":["lost","reply","posted","` + rawText + `"]`, ""},
	{"history, two messages", `"result":["lost","posted"]`, ""},
	{"history, the next two", `"result":["` + rawText + `"]`, ""},
	{"history, exclusive", `"result":[]`, ""},
	{"history, inclusive", `"result":["posted","` + rawText + `"]`, ""},
	{"history of an unknown room", `"status":400,"body":{"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}`, ""},

	{"send to an unknown room", `"status":400,"body":{"success":false,"error":"error-invalid-room"}`, ""},
	{"send without a room", `"status":400,"body":{"success":false,"error":"The 'rid' property on the message object is missing."}`, ""},
	{"send a long text", `"status":400,"body":{"success":false,"error":"Message size exceeds Message_MaxAllowedSize [error-message-size-exceeded]",` +
		`"errorType":"error-message-size-exceeded","details":{"method":"sendMessage"}}`, ""},
	{"post a long text", `"result":5001`, `"status":400,"body":{"success":false,"error":"error-message-size-exceeded"}`},
	{"send an empty text", `"result":{` + stored("chatdmtestMsg0004", "", ""),
		`"status":400,"body":{"success":false,"error":"Message cannot be empty [error-invalid-message]",` +
			`"errorType":"error-invalid-message","details":{"method":"sendMessage"}}`},
	{"send no message", `"status":400,"body":{"success":false,"error":"The \"message\" parameter must be provided. [error-invalid-params]",` +
		`"errorType":"error-invalid-params"}`, `"status":400,"body":{"success":false,"error":"must have required property 'message'","errorType":"invalid-params"}`},

	{"user by name", `"result":{"user":{"_id":"U0ALICE01","username":"alice","name":"alice","type":"user","status":"offline","active":true,` +
		`"utcOffset":0,"canViewAllInfo":false},"success":true}`, ""},
	{"user by ID", `"result":"alice"`, ""},
	{"user by own email", noUserIn4, `"result":{"user":{` + careful + `,"type":"user","status":"offline","active":true,"roles":["user"],` +
		`"emails":[{"address":"careful@example.com","verified":false}],"utcOffset":0,"canViewAllInfo":true},"success":true}`},
	{"unknown user", `"status":400,"body":{"success":false,"error":"User not found."}`, ""},
	{"user without parameters", noUserIn4, `"status":400,"body":{"success":false,"error":"must have required property 'userId'\n ` +
		`must have required property 'username'\n must have required property 'importId'\n must have required property 'email'\n ` +
		`must have required property 'freeSwitchExtension'\n must match a schema in anyOf","errorType":"invalid-params"}`},

	{"logout", `"result":{"status":"success","data":{"message":"You've been logged out!"}}`, ""},
	{"get after logout", `"status":401,"body":{"status":"error","message":"You must be logged in to do this."}`,
		`"status":401,"body":{"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}`},
}

// TestRocketChatAPIClientMessages also shows that the client does not retry after a lost
// response, and that sending the same _id again does not store a second message.
func TestRocketChatAPIClientMessages(t *testing.T) {
	for _, generation := range []chatdmtest.RocketChatGeneration{chatdmtest.RocketChat4, chatdmtest.RocketChat8} {
		t.Run(string(generation), func(t *testing.T) {
			t.Parallel()
			server := chatdmtest.NewRocketChat(chatdmtest.Generation(generation))
			t.Cleanup(server.Close)
			server.AddUser(chatdmtest.RocketChatUser{ID: "careful", Email: "careful@example.com", Password: chatdmtest.RocketChatPassword})
			server.Fail("chat.sendMessage", 3, chatdmtest.Fault{}) // these succeed
			server.Fail("chat.sendMessage", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})

			var want []string
			for _, s := range rocketChatMessagesSteps {
				seen := s.in4
				if generation == chatdmtest.RocketChat8 && s.in8 != "" {
					seen = s.in8
				}
				want = append(want, `{"step":"`+s.step+`",`+seen+`}`)
			}
			compareLines(t, runScript(t, "rocketchat_messages.mjs", map[string]any{
				"url":      server.URL,
				"username": "careful",
				"password": chatdmtest.RocketChatPassword,
				"alice":    chatdmtest.Alice,
			}), want)
			messages := server.Messages("U0ALICE01careful")
			var ids []string
			for _, m := range messages[:min(4, len(messages))] { // tests of limits follow
				ids = append(ids, m.ID)
			}
			if want := []string{"message1", "chatdmtestMsg0001", "reply1", "lost1"}; !slices.Equal(ids, want) {
				t.Errorf("got messages %v, want %v", ids, want)
			}
		})
	}
}
