package chatdmtest_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// inBubble runs a test against a workspace in a synctest bubble, where the time starts
// at 946684800 and every timestamp is known. The bot's DM with Alice, D000000001, exists.
func inBubble(t *testing.T, test func(t *testing.T, s *chatdmtest.Slack), opts ...chatdmtest.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, append(opts, chatdmtest.InMemory())...)
		postForm(t, s, "conversations.open", "users=U0ALICE01")
		test(t, s)
	})
}

// posted returns the response to chat.postMessage for a message of the bot.
func posted(channel, ts, text, more string) string {
	return `{"ok":true,"channel":"` + channel + `","ts":"` + ts + `","message":` + botMessage(ts, text, more) + `}`
}

// botMessage returns a message of the bot.
func botMessage(ts, text, more string) string {
	return `{"type":"message","user":"UBOT","text":"` + text + `","ts":"` + ts + `","bot_id":"B00000BOT","app_id":"A00000BOT","team":"T0CHATDM1"` + more + `}`
}

const slackJSONType = "application/json; charset=utf-8"

func postSlackJSON(t *testing.T, s *chatdmtest.Slack, method, body string) string {
	t.Helper()
	return send(t, s, newSlackRequest(t, s, chatdmtest.BotToken, method, slackJSONType, body)).body
}

// Arguments with nested JSON mean the same in a form and in a JSON body.
func TestPostMessageContent(t *testing.T) {
	invalidBlocks := func(problems ...string) string {
		return `{"ok":false,"error":"invalid_blocks","errors":["` + strings.Join(problems, `","`) + `"],` +
			`"response_metadata":{"messages":["[ERROR] ` + strings.Join(problems, `","[ERROR] `) + `"]}}`
	}
	list := func(n int, element string) string { return "[" + strings.Repeat(element+",", n-1) + element + "]" }
	section := func(n int) string {
		return `{"type":"section","text":{"type":"mrkdwn","text":"` + strings.Repeat("é", n) + `"}}`
	}
	metadata := func(size int) string { // size of the whole object
		const empty = `{"event_type":"e","event_payload":{"k":""}}`
		return strings.Replace(empty, `""`, `"`+strings.Repeat("x", size-len(empty))+`"`, 1)
	}
	tests := []struct {
		name, args string // args is a JSON object without channel
		want       string // error code, response if it starts with {, or what follows the team of the message
	}{
		{"text", `{"text":"hi"}`, ""},
		{"ignored arguments", `{"text":"hi","unfurl_links":false,"unfurl_media":true,"mrkdwn":false,"client_msg_id":"1","something":[1]}`, ""},
		{"as_user", `{"text":"hi","as_user":true}`, "as_user_not_supported"},
		{"not as_user", `{"text":"hi","as_user":false}`, ""},
		{"null", `{"text":"hi","blocks":null,"metadata":null,"thread_ts":null}`, ""},
		{"no text", `{}`, "no_text"},
		{"empty lists", `{"text":"","blocks":[],"attachments":[]}`, "no_text"},
		{"only metadata", `{"metadata":{"event_type":"e","event_payload":{}}}`, "no_text"},

		{"blocks", `{"text":"hi","blocks":[ {"type":"divider"} ]}`, `,"blocks":[{"type":"divider"}]`},
		{"only blocks", `{"blocks":[{"type":"context","text":7}]}`, `,"blocks":[{"type":"context","text":7}]`},
		{"50 blocks", `{"text":"hi","blocks":` + list(50, `{"type":"divider"}`) + `}`, `,"blocks":` + list(50, `{"type":"divider"}`)},
		{"51 blocks", `{"blocks":` + list(51, `{"type":"divider"}`) + `}`, invalidBlocks("no more than 50 items allowed [json-pointer:/blocks]")},
		{"long section", `{"text":"hi","blocks":[` + section(3000) + `]}`, `,"blocks":[` + section(3000) + `]`},
		{"too long section", `{"blocks":[{"type":"divider"},` + section(3001) + `]}`, invalidBlocks("must be less than 3001 characters [json-pointer:/blocks/1/text/text]")},
		{"blocks without type", `{"blocks":[{},{"type":7},"divider"]}`, invalidBlocks("missing required field: type [json-pointer:/blocks/0]",
			"missing required field: type [json-pointer:/blocks/1]", "missing required field: type [json-pointer:/blocks/2]")},
		{"blocks are no list", `{"blocks":{"type":"divider"}}`, "invalid_blocks_format"},
		{"blocks are no JSON", `{"blocks":"[{"}`, "invalid_blocks_format"},
		{"too many bytes in blocks", `{"blocks":[{"type":"` + strings.Repeat("x", 100_000) + `"}]}`, "msg_blocks_too_long"},

		{"attachments", `{"text":"hi","attachments":[{"text": "a<b"}]}`, `,"attachments":[{"text":"a<b"}]`},
		{"only attachments", `{"attachments":[{"text":"a"}]}`, `,"attachments":[{"text":"a"}]`},
		{"101 attachments", `{"attachments":` + list(101, `{}`) + `}`, "too_many_attachments"},
		{"too many bytes in attachments", `{"attachments":[{"text":"` + strings.Repeat("x", 100_000) + `"}]}`, "attachment_payload_limit_exceeded"},
		{"attachments are no list", `{"attachments":{}}`, "invalid_attachments"},
		{"attachment is no object", `{"attachments":[null]}`, "invalid_attachments"},
		{"attachments are no JSON", `{"attachments":"["}`, "invalid_attachments"},

		{"markdown", `{"markdown_text":"hi"}`, ""},
		{"markdown and text", `{"markdown_text":"hi","text":"hi"}`, "markdown_text_conflict"},
		{"markdown and blocks", `{"markdown_text":"hi","blocks":[{"type":"divider"}]}`, "markdown_text_conflict"},

		{"metadata", `{"text":"hi","metadata":{"event_type":"e-1","event_payload":{"a": [1, {"b":"<"}]},"extra":1}}`, `,"metadata":{"event_type":"e-1","event_payload":{"a":[1,{"b":"<"}]}}`},
		{"metadata is no object", `{"text":"hi","metadata":[1]}`, "invalid_metadata_format"},
		{"metadata is no JSON", `{"text":"hi","metadata":"e"}`, "invalid_metadata_format"},
		{"metadata is the string null", `{"text":"hi","metadata":"null"}`, "invalid_metadata_format"},
		{"empty metadata", `{"text":"hi","metadata":{}}`, "invalid_metadata_schema"},
		{"no event_payload", `{"text":"hi","metadata":{"event_type":"e"}}`, "invalid_metadata_schema"},
		{"no event_type", `{"text":"hi","metadata":{"event_payload":{}}}`, "invalid_metadata_schema"},
		{"event_type is a number", `{"text":"hi","metadata":{"event_type":1,"event_payload":{}}}`, "invalid_metadata_schema"},
		{"event_payload is a list", `{"text":"hi","metadata":{"event_type":"e","event_payload":[]}}`, "invalid_metadata_schema"},
		{"large metadata", `{"text":"hi","metadata":` + metadata(16_384) + `}`, `,"metadata":` + metadata(16_384)},
		{"too large metadata", `{"text":"hi","metadata":` + metadata(16_385) + `}`, "metadata_too_large"},
		{"dot in event_type", `{"text":"hi","metadata":{"event_type":"a.b","event_payload":{}}}`, ""},
		{"dropped metadata", `{"text":"hi","metadata":{"event_type":"strict","event_payload":{}}}`,
			`{"ok":true,"channel":"D000000001","ts":"946684800.000000","message":` + botMessage("946684800.000000", "hi", "") +
				`,"warning":"invalid_metadata_schema","response_metadata":{"warnings":["invalid_metadata_schema"],` +
				`"messages":["[WARN] The metadata does not match the schema of its event_type and was dropped."]}}`},

		{"invalid thread_ts", `{"text":"hi","thread_ts":"0"}`, `{"ok":false,"error":"invalid_thread_ts","response_metadata":{"messages":["[ERROR] 0 is not a valid thread_ts"]}}`},
		{"broadcast without a thread", `{"text":"hi","reply_broadcast":true}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var args map[string]json.RawMessage
			if err := json.Unmarshal([]byte(tt.args), &args); err != nil {
				t.Fatal(err)
			}
			text := ""
			if string(args["text"]) == `"hi"` || string(args["markdown_text"]) == `"hi"` {
				text = "hi"
			}
			want := tt.want
			switch {
			case strings.HasPrefix(want, "{"):
			case want == "" || want[0] == ',':
				want = posted("D000000001", "946684800.000000", text, want)
			default:
				want = slackError(want)
			}
			args["channel"] = json.RawMessage(`"D000000001"`)
			form := make(url.Values)
			for name, value := range args {
				var text string
				switch {
				case string(value) == "null":
				case json.Unmarshal(value, &text) == nil:
					form.Set(name, text)
				default:
					form.Set(name, string(value))
				}
			}
			body := strings.TrimSuffix(tt.args, "}") + `,"channel":"D000000001"}`
			if tt.args == "{}" {
				body = `{"channel":"D000000001"}`
			}
			inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
				s.DropMetadata("strict")
				checkBody(t, "form", postForm(t, s, "chat.postMessage", form.Encode()), want)
			})
			inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
				s.DropMetadata("strict")
				checkBody(t, "JSON", postSlackJSON(t, s, "chat.postMessage", body), want)
			})
		})
	}
}

// The channel can be a user ID.
func TestPostMessageToUser(t *testing.T) {
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		runSlackSteps(t, s, []slackStep{
			{"", "chat.postMessage", "channel=U0ALICE01&text=1", posted("D000000001", "946684800.000000", "1", "")},
			{"", "chat.postMessage", "channel=U0BOB0001&text=2", posted("D000000002", "946684800.000001", "2", "")},
			{"", "conversations.open", "users=U0BOB0001", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000002"}}`},
			{"", "chat.postMessage", "channel=U0DISABLED&text=3", slackError("channel_not_found")},
			{"", "chat.postMessage", "channel=U0HIDDEN01&text=3", slackError("channel_not_found")},
			{"", "chat.postMessage", "channel=U0OTHERBOT&text=3", slackError("channel_not_found")},
			{"", "chat.postMessage", "channel=UBOT&text=3", slackError("channel_not_found")},
			{"", "chat.postMessage", "channel=U0NOBODY1&text=3", slackError("channel_not_found")},
			{"", "chat.postMessage", "channel=&text=3", slackError("channel_not_found")},
			{"", "conversations.history", "channel=U0ALICE01", slackError("channel_not_found")},
		})
		// A DM with a user whose account is disabled later still accepts messages.
		s.AddUser(chatdmtest.User{ID: chatdmtest.Bob, Disabled: true})
		runSlackSteps(t, s, []slackStep{
			{"", "chat.postMessage", "channel=U0BOB0001&text=3", posted("D000000002", "946684800.000002", "3", "")},
			{"", "chat.postMessage", "channel=D000000002&text=4", posted("D000000002", "946684800.000003", "4", "")},
		})
		want := []chatdmtest.Message{
			{User: "UBOT", Text: "2", ID: "946684800.000001"},
			{User: "UBOT", Text: "3", ID: "946684800.000002"},
			{User: "UBOT", Text: "4", ID: "946684800.000003"},
		}
		if got := s.Messages("D000000002"); !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

// The timestamp of a message is the time of the post, unless another message has it.
func TestTimestamps(t *testing.T) {
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		for _, step := range []struct {
			sleep time.Duration
			want  string
		}{
			{0, "946684800.000000"},
			{0, "946684800.000001"},
			{time.Microsecond, "946684800.000002"},
			{1500 * time.Millisecond, "946684801.500001"},
		} {
			time.Sleep(step.sleep)
			checkBody(t, "post", postForm(t, s, "chat.postMessage", "channel=D000000001&text=x"), posted("D000000001", step.want, "x", ""))
		}
	})
}

func TestLongText(t *testing.T) {
	line := strings.Repeat("x", 3999)
	tests := []struct {
		name, text string
		blocks     string
		want       []string
		truncated  bool
	}{
		{"4,000 characters", line + "y", "", []string{line + "y"}, false},
		{"4,001 characters", line + "yz", "", []string{line + "y", "z"}, false},
		{"emoji count twice", strings.Repeat("😀", 2000) + "😎", "", []string{strings.Repeat(":grinning:", 2000), "😎"}, false},
		{"emoji at the end of a part", line + "😎", "", []string{line, "😎"}, false},
		{"escape at the end of a part", line + "&amp;", "", []string{line, "&amp;"}, false},
		{"control sequence at the end of a part", line[:3990] + "<https://example.com|label>", "", []string{line[:3990], "<https://example.com|label>"}, false},
		{"control sequence longer than a part", "<https://example.com|" + line + ">", "", []string{"&lt;<https://example.com>|" + line[:4000-21], line[:20] + "&gt;"}, false},
		{"40,000 characters", strings.Repeat("x", 40_000), "", slices.Repeat([]string{line + "x"}, 10), false},
		{"40,001 characters", strings.Repeat("x", 40_000) + "y", "", slices.Repeat([]string{line + "x"}, 10), true},
		{"with blocks", line + "yz", `[{"type":"divider"}]`, []string{line + "yz"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
				form := url.Values{"channel": {"D000000001"}, "text": {tt.text}, "blocks": {tt.blocks}, "metadata": {`{"event_type":"e","event_payload":{}}`}}
				more := `,"metadata":{"event_type":"e","event_payload":{}}`
				if tt.blocks != "" {
					more = `,"blocks":` + tt.blocks + more
				}
				want := posted("D000000001", "946684800.000000", tt.want[0], more)
				if tt.truncated {
					want = strings.TrimSuffix(want, "}") + `,"warning":"message_truncated","response_metadata":{"warnings":["message_truncated"]}}`
				}
				checkBody(t, "post", postForm(t, s, "chat.postMessage", form.Encode()), want)
				got := s.Messages("D000000001")
				if len(got) != len(tt.want) {
					t.Fatalf("got %d messages, want %d", len(got), len(tt.want))
				}
				for i, text := range tt.want {
					want := chatdmtest.Message{User: "UBOT", Text: text, ID: fmt.Sprintf("946684800.%06d", i)}
					if i == 0 {
						want.Metadata = `{"event_type":"e","event_payload":{}}`
					}
					if got[i] != want {
						t.Errorf("message %d: got %+v, want %+v", i, got[i], want)
					}
				}
			})
		})
	}
	// A warning about the format comes last.
	s := newSlack(t)
	got := send(t, s, newSlackRequest(t, s, chatdmtest.BotToken, "chat.postMessage", "application/json", `{"channel":"U0ALICE01","text":"`+strings.Repeat("x", 40_001)+`"}`)).body
	if want := `,"warning":"message_truncated,missing_charset","response_metadata":{"warnings":["message_truncated","missing_charset"]}}`; !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want it to end with %s", got, want)
	}
}

func TestThreads(t *testing.T) {
	const payload = `,"metadata":{"event_type":"e","event_payload":{"k":1}}`
	const eventType = `,"metadata":{"event_type":"e"}`
	reply := func(more string) string {
		return `,"thread_ts":"946684800.000000","parent_user_id":"UBOT"` + more
	}
	broadcast := strings.Replace(botMessage("946684800.000002", "two", reply("")), `"type":"message"`, `"type":"message","subtype":"thread_broadcast"`, 1)
	orphan := botMessage("946684800.000004", "orphan", `,"thread_ts":"1.000000"`)
	parent := botMessage("946684800.000000", "parent", `,"thread_ts":"946684800.000000",`+
		`"reply_count":3,"reply_users_count":2,"latest_reply":"946684800.000003","reply_users":["UBOT","UADMIN"]`)
	three := `{"type":"message","user":"UADMIN","text":"three","ts":"946684800.000003","team":"T0CHATDM1"` + reply("") + `}`
	one := botMessage("946684800.000001", "one", reply(eventType))
	page := func(more string, messages ...string) string {
		return `{"ok":true,"messages":[` + strings.Join(messages, ",") + `],"has_more":` + more + `}`
	}
	next := func(ts string) string { return `true,"response_metadata":{"next_cursor":"` + messageCursor(ts) + `"}` }

	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		s.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Members: []string{chatdmtest.BotUser, chatdmtest.AdminUser}})
		s.AddToken(chatdmtest.Token{Value: "xoxp-alice", User: chatdmtest.Alice})
		const channel, replies = "channel=C0GENERAL", "channel=C0GENERAL&ts=946684800.000000"
		runSlackSteps(t, s, []slackStep{
			{"", "chat.postMessage", channel + "&text=parent", posted("C0GENERAL", "946684800.000000", "parent", "")},
			{"", "conversations.replies", replies, page("false", botMessage("946684800.000000", "parent", ""))},
			{"", "chat.postMessage", channel + "&text=one&thread_ts=946684800.000000&metadata=" + url.QueryEscape(`{"event_type":"e","event_payload":{"k":1}}`),
				posted("C0GENERAL", "946684800.000001", "one", reply(payload))},
			// The parent can be named by a reply.
			{"", "chat.postMessage", channel + "&text=two&thread_ts=946684800.000001&reply_broadcast=true", `{"ok":true,"channel":"C0GENERAL","ts":"946684800.000002","message":` + broadcast + `}`},
			{chatdmtest.UserToken, "chat.postMessage", channel + "&text=three&thread_ts=946684800.000000", `{"ok":true,"channel":"C0GENERAL","ts":"946684800.000003","message":` + three + `}`},
			// A reply to a parent that does not exist is not in the history.
			{"", "chat.postMessage", channel + "&text=orphan&thread_ts=1.000000", `{"ok":true,"channel":"C0GENERAL","ts":"946684800.000004","message":` + orphan + `}`},

			{"", "conversations.replies", replies, page("false", parent, one, broadcast, three)},
			{"", "conversations.replies", replies + "&include_all_metadata=true", page("false", parent, botMessage("946684800.000001", "one", reply(payload)), broadcast, three)},
			{"", "conversations.replies", replies + "&limit=2", page(next("946684800.000002"), parent, one)},
			{"", "conversations.replies", replies + "&limit=2&cursor=" + url.QueryEscape(messageCursor("946684800.000002")), page("false", broadcast, three)},
			{"", "conversations.replies", replies + "&limit=1", page(next("946684800.000001"), parent)},
			{"", "conversations.replies", replies + "&oldest=946684800.000001&latest=946684800.000003", page("false", parent, broadcast)},
			{"", "conversations.replies", replies + "&oldest=946684800.000001&latest=946684800.000002&inclusive=1", page("false", parent, one, broadcast)},
			{"", "conversations.replies", "channel=C0GENERAL&ts=946684800.000001", page("false", one)},
			{"", "conversations.history", channel, page("false", broadcast, parent)},

			{"", "conversations.replies", channel, `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: ts"]}}`},
			{"", "conversations.replies", "ts=1.0", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`},
			{"", "conversations.replies", channel + "&ts=1.000000", slackError("thread_not_found")},
			{"", "conversations.replies", channel + "&ts=946684800", slackError("thread_not_found")},
			{"", "conversations.replies", channel + "&ts=x", slackError("thread_not_found")},
			{"", "conversations.replies", replies + "&limit=1001", slackError("invalid_limit")},
			{"", "conversations.replies", replies + "&cursor=x", slackError("invalid_cursor")},
			{"", "conversations.replies", replies + "&oldest=x", slackError("invalid_ts_oldest")},
			{"", "conversations.replies", "channel=D404&ts=1.0", slackError("channel_not_found")},
			{"xoxp-alice", "conversations.replies", replies, slackError("channel_not_found")},
			{"xoxp-alice", "conversations.history", channel, slackError("not_in_channel")},
		})
		got := s.Messages("C0GENERAL")
		want := []chatdmtest.Message{
			{User: "UBOT", Text: "parent", ID: "946684800.000000"},
			{User: "UBOT", Text: "one", ID: "946684800.000001", ThreadID: "946684800.000000", Metadata: `{"event_type":"e","event_payload":{"k":1}}`},
			{User: "UBOT", Text: "two", ID: "946684800.000002", ThreadID: "946684800.000000"},
			{User: "UADMIN", Text: "three", ID: "946684800.000003", ThreadID: "946684800.000000"},
			{User: "UBOT", Text: "orphan", ID: "946684800.000004", ThreadID: "1.000000"},
		}
		if !slices.Equal(got, want) {
			t.Errorf("got Messages %+v, want %+v", got, want)
		}
	})
}

// messageCursor returns the cursor of a page whose first message has the timestamp ts.
func messageCursor(ts string) string {
	return base64Text("next_ts:" + strings.Replace(ts, ".", "", 1))
}

func TestHistoryPages(t *testing.T) {
	fill := func(t *testing.T, s *chatdmtest.Slack) { // one message per second, with texts 0 to 4
		for i := range 5 {
			postForm(t, s, "chat.postMessage", "channel=D000000001&text="+strconv.Itoa(i)+"&metadata="+url.QueryEscape(`{"event_type":"e","event_payload":{"i":`+strconv.Itoa(i)+`}}`))
			time.Sleep(time.Second)
		}
	}
	ts := func(i int) string { return fmt.Sprintf("94668480%d.000000", i) }
	page := func(next int, texts ...int) string { // next is the first message of the next page, or -1
		var messages []string
		for _, i := range texts {
			messages = append(messages, botMessage(ts(i), strconv.Itoa(i), `,"metadata":{"event_type":"e"}`))
		}
		more := `"has_more":false}`
		if next >= 0 {
			more = `"has_more":true,"response_metadata":{"next_cursor":"` + messageCursor(ts(next)) + `"}}`
		}
		return `{"ok":true,"messages":[` + strings.Join(messages, ",") + `],` + more
	}
	cursor := func(i int) string { return "&cursor=" + url.QueryEscape(messageCursor(ts(i))) }
	tests := []struct {
		args string
		want string // error code if it does not start with {
	}{
		{"", page(-1, 4, 3, 2, 1, 0)},
		{"&limit=2", page(2, 4, 3)},
		{"&limit=2" + cursor(2), page(0, 2, 1)},
		{"&limit=2" + cursor(0), page(-1, 0)},
		{"&limit=5", page(-1, 4, 3, 2, 1, 0)},
		{"&limit=999&cursor=", page(-1, 4, 3, 2, 1, 0)},
		{"&inclusive=true", page(-1, 4, 3, 2, 1, 0)},
		{"&oldest=" + ts(3), page(-1, 4)},
		{"&oldest=" + ts(3) + "&inclusive=true", page(-1, 4, 3)},
		{"&oldest=946684803", page(-1, 4)},
		{"&oldest=946684802.9", page(-1, 4, 3)},
		{"&oldest=946684802.999999&latest=946684803.000001", page(-1, 3)},
		{"&latest=" + ts(1), page(-1, 0)},
		{"&latest=" + ts(1) + "&inclusive=1", page(-1, 1, 0)},
		{"&oldest=" + ts(0) + "&latest=" + ts(4), page(-1, 3, 2, 1)},
		{"&oldest=" + ts(0) + "&latest=" + ts(4) + "&limit=2", page(1, 3, 2)},
		{"&oldest=" + ts(0) + "&latest=" + ts(4) + "&limit=2" + cursor(1), page(-1, 1)},
		{"&oldest=" + ts(4) + "&latest=" + ts(0), page(-1)},
		{"&oldest=0&latest=999999999999.999999", page(-1, 4, 3, 2, 1, 0)},
		{"&latest=0", page(-1)},
		{"&latest=0&inclusive=true", page(-1)},

		{"&oldest=now", "invalid_ts_oldest"},
		{"&oldest=-1", "invalid_ts_oldest"},
		{"&oldest=1.0000000", "invalid_ts_oldest"},
		{"&oldest=1.-1", "invalid_ts_oldest"},
		{"&oldest=.5", "invalid_ts_oldest"},
		{"&oldest=1e9", "invalid_ts_oldest"},
		{"&oldest=9466848000000000000", "invalid_ts_oldest"},
		{"&latest=2000-01-01", "invalid_ts_latest"},
		{"&limit=0", "invalid_limit"},
		{"&limit=1000", "invalid_limit"},
		{"&limit=x", "invalid_limit"},
		{"&cursor=x", "invalid_cursor"},
		{"&cursor=" + base64Text("conversation:D000000001"), "invalid_cursor"},
		{"&cursor=" + base64Text("next_ts:x"), "invalid_cursor"},
		{"&cursor=" + base64Text("next_ts:-1"), "invalid_cursor"},
	}
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		fill(t, s)
		for _, tt := range tests {
			want := tt.want
			if want[0] != '{' {
				want = slackError(want)
			}
			checkBody(t, tt.args, postForm(t, s, "conversations.history", "channel=D000000001"+tt.args), want)
		}
		checkBody(t, "metadata", postForm(t, s, "conversations.history", "channel=D000000001&limit=1&include_all_metadata=true"),
			`{"ok":true,"messages":[`+botMessage(ts(4), "4", `,"metadata":{"event_type":"e","event_payload":{"i":4}}`)+`],"has_more":true,"response_metadata":{"next_cursor":"`+messageCursor(ts(3))+`"}}`)
		checkBody(t, "JSON", postSlackJSON(t, s, "conversations.history", `{"channel":"D000000001","limit":1,"oldest":"`+ts(3)+`","inclusive":true}`), page(3, 4))
		checkBody(t, "no channel", postForm(t, s, "conversations.history", ""), `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`)
	})
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		fill(t, s)
		runSlackSteps(t, s, []slackStep{
			{"", "conversations.history", "channel=D000000001", page(1, 4, 3, 2)},
			{"", "conversations.history", "channel=D000000001&limit=999" + cursor(1), page(-1, 1, 0)},
			{"", "conversations.history", "channel=D000000001&limit=2", page(2, 4, 3)},
		})
		for range 3 {
			postForm(t, s, "chat.postMessage", "channel=D000000001&text=reply&thread_ts="+ts(0))
		}
		if got := postForm(t, s, "conversations.replies", "channel=D000000001&ts="+ts(0)); strings.Count(got, `"type":"message"`) != 3 || !strings.Contains(got, `"has_more":true`) {
			t.Errorf("replies: got %s, want 3 messages and has_more", got)
		}
	}, chatdmtest.HistoryPageSize(3))

	defer func() {
		if recover() == nil {
			t.Error("NewRocketChat with HistoryPageSize: got no panic")
		}
	}()
	chatdmtest.NewRocketChat(chatdmtest.HistoryPageSize(1))
}

// The limit per conversation applies in addition to the limit of the method.
func TestLimitPerConversation(t *testing.T) {
	inBubble(t, func(t *testing.T, s *chatdmtest.Slack) {
		s.Limit("chat.postMessage/*", 1, 2*time.Second)
		s.Limit("chat.postMessage", 5, time.Minute)
		post := func(args, wantRetryAfter string) {
			t.Helper()
			got := send(t, s, newSlackRequest(t, s, chatdmtest.BotToken, "chat.postMessage", formType, args))
			wantStatus, wantBody := 200, `"ok":true`
			if wantRetryAfter != "" {
				wantStatus, wantBody = 429, slackError("ratelimited")
			}
			if got.status != wantStatus || !strings.Contains(got.body, wantBody) || got.header.Get("Retry-After") != wantRetryAfter {
				t.Errorf("%s: got status %d, Retry-After %q, body %s, want %d, %q, %s", args, got.status, got.header.Get("Retry-After"), got.body, wantStatus, wantRetryAfter, wantBody)
			}
		}
		post("channel=D000000001&text=1", "")
		post("channel=U0ALICE01&text=2", "2") // the same conversation
		post("channel=U0BOB0001&text=3", "")
		time.Sleep(1500 * time.Millisecond)
		post("channel=D000000001&text=4", "1")
		time.Sleep(500 * time.Millisecond)
		post("channel=D000000001&text=5", "")
		post("channel=U0CAROL01&text=6", "58") // the limit of the method, which includes calls over the other limit
		var texts []string
		for _, m := range s.Messages("D000000001") {
			texts = append(texts, m.Text)
		}
		if got := strings.Join(texts, " "); got != "1 5" {
			t.Errorf("got messages %s, want 1 5", got)
		}
		s.Limit("chat.postMessage", 0, 0)
		s.Limit("chat.postMessage/*", 0, 0)
		post("channel=D000000001&text=7", "")
		post("channel=D000000001&text=8", "")
	})
}

func TestRewriteText(t *testing.T) {
	tests := []struct{ sent, want string }{
		{"*b* _i_ `c` 日本語", "*b* _i_ `c` 日本語"},
		{"a & b < c > d", "a &amp; b &lt; c &gt; d"},
		{"a &amp; b &lt; c &gt; d", "a &amp; b &lt; c &gt; d"},
		{"&amp;amp; &quot; &", "&amp;amp; &amp;quot; &amp;"},
		{"<b>bold</b>", "&lt;b&gt;bold&lt;/b&gt;"},
		{"<@U1> <#C1> <#C1|general> <!here> <!subteam^S1> <!date^1^{date}|then>", "<@U1> <#C1> <#C1|general> <!here> <!subteam^S1> <!date^1^{date}|then>"},
		{"<https://x.y|label> <https://x.y/?a=1&b=2|a & b> <mailto:a@x.com|A> <tel:+1|call>", "<https://x.y|label> <https://x.y/?a=1&amp;b=2|a &amp; b> <mailto:a@x.com|A> <tel:+1|call>"},
		{"<@U1 <@U2>", "&lt;@U1 <@U2>"},
		{"<> <@> <foo> <https://>", "&lt;&gt; &lt;@&gt; &lt;foo&gt; &lt;https://&gt;"},
		{"https://x.y", "<https://x.y>"},
		{"see http://x.y/a_(b)?c=1&d=2, or https://x.y.", "see <http://x.y/a_(b)?c=1&amp;d=2>, or <https://x.y>."},
		{"https://x.y/?a&amp;b&amp;", "<https://x.y/?a&amp;b&amp;>"},
		{"(https://x.y) \"https://x.y\" https://x.y&gt;", "(<https://x.y>) \"<https://x.y>\" <https://x.y>&gt;"},
		{"ahttps://x.y https:// https://...", "ahttps://x.y https:// https://..."},
		{"example.com", "<http://example.com|example.com>"},
		{"www.Example.COM, sub.x-y.io:8080/a?b&c=d.", "<http://www.Example.COM|www.Example.COM>, <http://sub.x-y.io:8080/a?b&amp;c=d|sub.x-y.io:8080/a?b&amp;c=d>."},
		{"main.go e.g. 1.5 .com -a.com a..com x.com_ x.comé example.com: example.com:x", "main.go e.g. 1.5 .com -a.com a..com x.com_ x.comé <http://example.com|example.com>: <http://example.com|example.com>:x"},
		{"alice@example.com", "<mailto:alice@example.com|alice@example.com>"},
		{"(a.b+c@x-y.example, @x.com a@b a@x.com@y)", "(<mailto:a.b+c@x-y.example|a.b+c@x-y.example>, @x.com a@b a@x.com@y)"},
		{"🎉 👍🏽 ❤️ ☕ :tada: 🦀", ":tada: :+1::skin-tone-4: :heart: :coffee: :tada: 🦀"},
		{"👋🏻👋🏿", ":wave::skin-tone-2::wave::skin-tone-6:"},
		{"a\xffb", "a\uFFFDb"},
		{" a\r\nb ", " a\r\nb "},
	}
	s := newSlack(t)
	for _, tt := range tests {
		for _, sent := range []string{tt.sent, tt.want} {
			postForm(t, s, "chat.postMessage", url.Values{"channel": {chatdmtest.Alice}, "text": {sent}}.Encode())
			messages := s.Messages("D000000001")
			if got := messages[len(messages)-1].Text; got != tt.want {
				t.Errorf("%q: got %q, want %q", sent, got, tt.want)
			}
		}
	}
}

// Posting never panics, and rewriting a rewritten text does not change it. This includes
// that it does not escape &amp; again.
func FuzzPostMessage(f *testing.F) {
	for _, text := range []string{"a & b &amp; <@U1|x> <https://x.y|z&>", "https://x.y/?a&amp. x.com:80/a a@x.com", "👍🏽.com &lt;👋x.io", "<", "🎉https://🎉|x.com"} {
		f.Add(text, `[{"type":"section","text":{"type":"mrkdwn","text":"a"}}]`, `[{}]`, `{"event_type":"e","event_payload":{}}`, "946684800.000000", "next_ts:1")
	}
	f.Add(strings.Repeat("&amp;<@U1>", 900), `[1,null,{"type":1}]`, `[null]`, `{"event_type":1}`, "..", "")
	f.Fuzz(func(t *testing.T, text, blocks, attachments, metadata, ts, cursor string) {
		s := newSlack(t, chatdmtest.InMemory())
		call := func(method, contentType, body string) (ok bool) {
			r := httptest.NewRequest("POST", "/api/"+method, strings.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("Authorization", "Bearer "+chatdmtest.BotToken)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			var resp struct {
				OK    bool   `json:"ok"`
				Error string `json:"error"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &resp); w.Code != 413 && (err != nil || resp.OK != (resp.Error == "")) {
				t.Fatalf("got %q, %v, want a response", w.Body, err)
			}
			return resp.OK
		}
		form := url.Values{"channel": {chatdmtest.Alice}, "text": {text}}
		if call("chat.postMessage", formType, form.Encode()) {
			for _, m := range s.Messages("D000000001") {
				if m.Text == "" {
					continue
				}
				if len(m.Text) > 4000 { // might be split
					return
				}
				call("chat.postMessage", formType, url.Values{"channel": {chatdmtest.Alice}, "text": {m.Text}}.Encode())
				messages := s.Messages("D000000001")
				if again := messages[len(messages)-1].Text; again != m.Text {
					t.Fatalf("%q: got %q, and rewritten again %q", text, m.Text, again)
				}
			}
		}
		form = url.Values{"channel": {chatdmtest.Alice}, "text": {text}, "blocks": {blocks}, "attachments": {attachments}, "metadata": {metadata}, "thread_ts": {ts}, "reply_broadcast": {"1"}}
		call("chat.postMessage", formType, form.Encode())
		call("chat.postMessage", formType, text)
		call("chat.postMessage", slackJSONType, metadata)
		call("chat.postMessage", slackJSONType, `{"channel":"U0ALICE01","blocks":`+blocks+`,"attachments":`+attachments+`,"metadata":`+metadata+`}`)
		form = url.Values{"channel": {"D000000001"}, "ts": {ts}, "oldest": {ts}, "latest": {metadata}, "cursor": {base64Text(cursor)}}
		for range 2 {
			call("conversations.history", formType, form.Encode())
			call("conversations.replies", formType, form.Encode())
			form.Del("latest")
		}
	})
}
