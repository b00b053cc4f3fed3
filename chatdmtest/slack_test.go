package chatdmtest_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/chatdm/chatdm/chatdmtest"
)

func newSlack(t *testing.T, opts ...chatdmtest.Option) *chatdmtest.Slack {
	t.Helper()
	s := chatdmtest.NewSlack(opts...)
	t.Cleanup(s.Close)
	return s
}

func newSlackRequest(t *testing.T, s *chatdmtest.Slack, token, method, contentType, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+"/"+method, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// postForm posts a form with BotToken and returns the body of the response.
func postForm(t *testing.T, s *chatdmtest.Slack, method, body string) string {
	t.Helper()
	return send(t, s, newSlackRequest(t, s, chatdmtest.BotToken, method, formType, body)).body
}

// postFormAs is postForm with a different token.
func postFormAs(t *testing.T, s *chatdmtest.Slack, token, method, body string) string {
	t.Helper()
	return send(t, s, newSlackRequest(t, s, token, method, formType, body)).body
}

func slackError(code string) string { return `{"ok":false,"error":"` + code + `"}` }

// slackStep is a call to a server that keeps state between calls.
type slackStep struct {
	token  string // empty means BotToken
	method string
	form   string
	want   string
}

func runSlackSteps(t *testing.T, s *chatdmtest.Slack, steps []slackStep) {
	t.Helper()
	for i, step := range steps {
		got := postFormAs(t, s, cmp.Or(step.token, chatdmtest.BotToken), step.method, step.form)
		checkBody(t, fmt.Sprintf("step %d: %s %s", i+1, step.method, step.form), got, step.want)
	}
}

func TestIM(t *testing.T) {
	const user = chatdmtest.UserToken
	runSlackSteps(t, newSlack(t), []slackStep{
		{"", "im.open", "user=U0ALICE01", `{"ok":true,"channel":{"id":"D000000001"}}`},
		{"", "im.open", "user=U0ALICE01", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "im.open", "user=U0BOB0001", `{"ok":true,"channel":{"id":"D000000002"}}`},
		{"", "im.close", "channel=D000000001", `{"ok":true}`},
		{"", "im.close", "channel=D000000001", `{"ok":true,"no_op":true,"already_closed":true}`},
		{"", "im.open", "user=U0ALICE01", `{"ok":true,"channel":{"id":"D000000001"}}`},

		{user, "im.open", "user=UBOT", `{"ok":true,"channel":{"id":"D000000003"}}`},
		{"", "im.open", "user=UADMIN", `{"ok":true,"channel":{"id":"D000000003"}}`},
		{"", "im.close", "channel=D000000003", `{"ok":true}`},
		{user, "im.open", "user=UBOT", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000003"}}`},
		{user, "im.open", "user=UADMIN", `{"ok":true,"channel":{"id":"D000000004"}}`},

		{"", "im.open", "", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: user"]}}`},
		{"", "im.open", "user=", slackError("user_not_found")},
		{"", "im.open", "user=U0NOBODY1", slackError("user_not_found")},
		{"", "im.open", "user=U0DISABLED", slackError("user_disabled")},
		{"", "im.open", "user=U0HIDDEN01", slackError("user_not_visible")},
		{"", "im.open", "user=U0OTHERBOT", slackError("cannot_dm_bot")},
		{"", "im.open", "user=UBOT", slackError("cannot_dm_bot")},
		{user, "im.open", "user=U0OTHERBOT", `{"ok":true,"channel":{"id":"D000000005"}}`},

		{"", "im.close", "", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`},
		{"", "im.close", "channel=", slackError("channel_not_found")},
		{"", "im.close", "channel=D999999999", slackError("channel_not_found")},
		{user, "im.close", "channel=D000000001", slackError("user_does_not_own_channel")},
	})
}

func TestConversations(t *testing.T) {
	const user = chatdmtest.UserToken
	s := newSlack(t)
	s.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general", Members: []string{chatdmtest.BotUser}})
	s.AddChannel(chatdmtest.Channel{ID: "C0SECRET1", Name: "secret", Private: true, Members: []string{chatdmtest.AdminUser}})
	runSlackSteps(t, s, []slackStep{
		{"", "conversations.open", "users=U0ALICE01", `{"ok":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "users=UBOT,U0ALICE01", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "channel=D000000001", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.close", "channel=D000000001", `{"ok":true}`},
		{"", "conversations.close", "channel=D000000001", `{"ok":true,"no_op":true,"already_closed":true}`},
		{"", "conversations.open", "channel=D000000001", `{"ok":true,"channel":{"id":"D000000001"}}`},

		// A set of users has only one group DM. Opening an open group DM returns no flags.
		{"", "conversations.open", "users=U0BOB0001,U0ALICE01", `{"ok":true,"channel":{"id":"C000000001"}}`},
		{"", "conversations.open", "users=U0ALICE01,%20U0BOB0001,U0ALICE01,UBOT", `{"ok":true,"channel":{"id":"C000000001"}}`},
		{"", "conversations.close", "channel=C000000001", `{"ok":true}`},
		{"", "conversations.close", "channel=C000000001", `{"ok":true,"no_op":true,"already_closed":true}`},
		{"", "conversations.open", "channel=C000000001", `{"ok":true,"channel":{"id":"C000000001"}}`},
		{"", "conversations.open", "users=U0BOB0001,U0ALICE01,U0CAROL01", `{"ok":true,"channel":{"id":"C000000002"}}`},

		// prevent_creation
		{"", "conversations.open", "users=U0CAROL01&prevent_creation=true", slackError("channel_not_found")},
		{"", "conversations.open", "users=U0ALICE01&prevent_creation=1", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "users=U0CAROL01&prevent_creation=perhaps", `{"ok":true,"channel":{"id":"D000000002"}}`},

		// users or channel
		{"", "conversations.open", "", slackError("users_list_not_supplied")},
		{"", "conversations.open", "users=", slackError("users_list_not_supplied")},
		{"", "conversations.open", "users=,", slackError("not_enough_users")},
		{"", "conversations.open", "users=U1,U2,U3,U4,U5,U6,U7,U8,U9", slackError("too_many_users")},
		{"", "conversations.open", "users=U1,U2,U3,U4,U5,U6,U7,U8", slackError("user_not_found")},
		{"", "conversations.open", "users=U0ALICE01,U0BOB0001,U0CAROL01,U0DAVE001,U0ERIN001,U0FRANK01,U0GRACE01,U0HEIDI01,UBOT", `{"ok":true,"channel":{"id":"C000000003"}}`},
		{"", "conversations.open", "users=U0ALICE01,U0DISABLED", slackError("user_disabled")},
		{"", "conversations.open", "users=U0ALICE01,U0HIDDEN01", slackError("user_not_visible")},
		{"", "conversations.open", "users=U0ALICE01,U0OTHERBOT", slackError("cannot_dm_bot")},
		{"", "conversations.open", "users=U0DAVE001&channel=D000000001", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "users=U0ALICE01&channel=", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},

		// The channel is not a DM of the caller.
		{"", "conversations.open", "channel=", slackError("channel_not_found")},
		{"", "conversations.open", "channel=D999999999", slackError("channel_not_found")},
		{user, "conversations.open", "channel=D000000001", slackError("channel_not_found")},
		{"", "conversations.open", "channel=C0GENERAL", slackError("method_not_supported_for_channel_type")},
		{"", "conversations.open", "channel=C0SECRET1", slackError("channel_not_found")},
		{"", "conversations.close", "", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`},
		{"", "conversations.close", "channel=", slackError("channel_not_found")},
		{"", "conversations.close", "channel=D999999999", slackError("channel_not_found")},
		{user, "conversations.close", "channel=D000000001", slackError("user_does_not_own_channel")},
		{user, "conversations.close", "channel=C000000001", slackError("user_does_not_own_channel")},
		{user, "conversations.close", "channel=C0GENERAL", slackError("method_not_supported_for_channel_type")},
		{user, "conversations.close", "channel=C0SECRET1", slackError("method_not_supported_for_channel_type")},
		{"", "conversations.close", "channel=C0SECRET1", slackError("channel_not_found")},
		{"", "im.close", "channel=C000000001", slackError("channel_not_found")},

		{"", "conversations.knock", "", `{"ok":false,"error":"unknown_method","req_method":"conversations.knock"}`},
	})
}

// In a synctest bubble, time starts in 2000, so created and updated are known.
func TestReturnIM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		runSlackSteps(t, s, []slackStep{
			{"", "im.open", "user=U0ALICE01&return_im=true&include_locale=true", `{"ok":true,"channel":{` +
				`"id":"D000000001","is_im":true,"user":"U0ALICE01","created":946684800,` +
				`"last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"locale":"en-US"}}`},
			{"", "conversations.open", "users=U0ALICE01,U0BOB0001&return_im=t", `{"ok":true,"channel":{` +
				`"id":"C000000001","name":"mpdm-chatdmtest--alice--bob-1","name_normalized":"mpdm-chatdmtest--alice--bob-1",` +
				`"is_channel":true,"is_group":false,"is_im":false,"is_mpim":true,"is_private":true,"is_archived":false,"is_general":false,` +
				`"is_member":true,"is_shared":false,"is_org_shared":false,"is_ext_shared":false,"is_pending_ext_shared":false,` +
				`"pending_shared":[],"unlinked":0,"created":946684800,` +
				`"creator":"UBOT","updated":946684800000,"members":["UBOT","U0ALICE01","U0BOB0001"],"num_members":3,"shared_team_ids":["T0CHATDM1"],` +
				`"last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0,` +
				`"topic":{"value":"","creator":"","last_set":0},` +
				`"purpose":{"value":"Group messaging with: @chatdmtest @alice @bob","creator":"UBOT","last_set":946684800}}}`},
			// A message opens the DM for both members and is unread for the recipient.
			{"", "conversations.open", "users=UADMIN", `{"ok":true,"channel":{"id":"D000000002"}}`},
			{"", "conversations.close", "channel=D000000002", `{"ok":true}`},
			{"", "chat.postMessage", "channel=D000000002&text=hello", `{"ok":true,"channel":"D000000002","ts":"946684800.000000",` +
				`"message":{"type":"message","user":"UBOT","text":"hello","ts":"946684800.000000","bot_id":"B00000BOT","app_id":"A00000BOT","team":"T0CHATDM1"}}`},
			{chatdmtest.UserToken, "conversations.open", "users=UBOT&return_im=1&include_locale=1", `{"ok":true,"no_op":true,"already_open":true,"channel":{` +
				`"id":"D000000002","created":946684800,"is_archived":false,"is_im":true,"is_org_shared":false,"user":"UBOT",` +
				`"last_read":"0000000000.000000","latest":{"type":"message","user":"UBOT","text":"hello","ts":"946684800.000000","bot_id":"B00000BOT","app_id":"A00000BOT","team":"T0CHATDM1"},` +
				`"unread_count":1,"unread_count_display":1,"is_open":true,"priority":0,"updated":946684800000}}`},
			{"", "im.open", "user=UADMIN&return_im=1", `{"ok":true,"no_op":true,"already_open":true,"channel":{` +
				`"id":"D000000002","is_im":true,"user":"UADMIN","created":946684800,` +
				`"last_read":"946684800.000000","latest":{"type":"message","user":"UBOT","text":"hello","ts":"946684800.000000","bot_id":"B00000BOT","app_id":"A00000BOT","team":"T0CHATDM1"},` +
				`"unread_count":0,"unread_count_display":0,"is_open":true}}`},
		})
	})
}

func TestOtherMethods(t *testing.T) {
	s := newSlack(t)
	s.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general", Members: []string{chatdmtest.BotUser}})
	s.AddChannel(chatdmtest.Channel{ID: "C0ATTIC01", Name: "attic", Archived: true, Members: []string{chatdmtest.BotUser}})
	runSlackSteps(t, s, []slackStep{
		{"", "auth.test", "", `{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"chatdmtest","team_id":"T0CHATDM1","user_id":"UBOT","bot_id":"B00000BOT"}`},
		{chatdmtest.UserToken, "auth.test", "", `{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"admin","team_id":"T0CHATDM1","user_id":"UADMIN"}`},
		{"", "api.test", "foo=bar", `{"ok":true,"args":{"foo":"bar"}}`},
		{"", "api.test", "error=my_error", `{"ok":false,"error":"my_error","args":{"error":"my_error"}}`},
		{"", "chat.postMessage", "text=hello", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`},
		{"", "chat.postMessage", "channel=D000000009&text=hello", slackError("channel_not_found")},
		{"", "chat.postMessage", "channel=C0GENERAL", slackError("no_text")},
		{"", "chat.postMessage", "channel=C0ATTIC01&text=hello", slackError("is_archived")},
		{chatdmtest.UserToken, "chat.postMessage", "channel=C0GENERAL&text=hello", slackError("not_in_channel")},
	})
}

func TestRequestFormat(t *testing.T) {
	const (
		superfluous = `,"warning":"superfluous_charset","response_metadata":{"warnings":["superfluous_charset"]}}`
		missing     = `,"warning":"missing_charset","response_metadata":{"warnings":["missing_charset"]}}`
	)
	tests := []struct {
		name, method, contentType, body, want string
	}{
		{"no content type, empty body", "auth.test", "", "", ""},
		{"empty form", "auth.test", formType, "", ""},
		{"empty json", "auth.test", "application/json; charset=utf-8", "", ""},
		{"no content type", "im.open", "", "user=U0ALICE01", "missing_post_type"},
		{"xml", "im.open", "application/xml", "<user/>", "invalid_post_type"},
		{"invalid content type", "im.open", ";", "user=U0ALICE01", "invalid_post_type"},
		{"json to im.open", "im.open", "application/json; charset=utf-8", `{"user":"U0ALICE01"}`, "invalid_post_type"},
		{"json to im.close", "im.close", "application/json; charset=utf-8", `{"channel":"D1"}`, "channel_not_found"},
		{"text/plain", "im.close", "text/plain; charset=utf-8", "channel=D1", "channel_not_found"},
		{"text/plain without charset", "im.close", "text/plain", "channel=D1", `{"ok":false,"error":"channel_not_found"` + missing},
		{"invalid charset", "im.close", "text/plain; charset=utf-16", "channel=D1", "invalid_charset"},
		{"invalid charset in a form", "im.close", formType + "; charset=latin1", "channel=D1", `{"ok":false,"error":"invalid_charset"` + superfluous},
		{"quoted charset", "im.close", `application/json; Charset="UTF-8"`, `{"channel":"D1"}`, "channel_not_found"},
		{"latin1", "api.test", "application/json; charset=ISO-8859-1", "{\"a\":\"caf\xe9\"}", `{"ok":true,"args":{"a":"café"}}`},
		{"form with charset", "im.close", formType + "; charset=utf-8", "channel=D1", `{"ok":false,"error":"channel_not_found"` + superfluous},
		{"form type in mixed case", "im.close", "Application/X-WWW-Form-URLEncoded", "channel=D1", "channel_not_found"},
		{"invalid escape", "im.close", formType, "channel=%zz", "invalid_form_data"},
		{"multipart", "im.close", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"channel\"\r\n\r\nD1\r\n--x--\r\n", "channel_not_found"},
		{"invalid multipart", "im.close", "multipart/form-data; boundary=x", "--y--", "invalid_form_data"},
		{"empty multipart", "im.close", "multipart/form-data; boundary=x", "", "invalid_form_data"},
		{"multipart without boundary", "im.close", "multipart/form-data", "--x--", "invalid_form_data"},
		{"json without charset", "conversations.close", "application/json", `{"channel":"D1"}`, `{"ok":false,"error":"channel_not_found"` + missing},
		{"invalid json", "conversations.close", "application/json; charset=utf-8", `{"channel":`, "invalid_json"},
		{"two json values", "conversations.close", "application/json; charset=utf-8", `{} {}`, "invalid_json"},
		{"invalid json without charset", "conversations.close", "application/json", `{`, `{"ok":false,"error":"invalid_json"` + missing},
		{"json array", "conversations.close", "application/json; charset=utf-8", `["D1"]`, "json_not_object"},
		{"json null", "conversations.close", "application/json; charset=utf-8", `null`, "json_not_object"},
		{"json with an array", "conversations.open", "application/json; charset=utf-8", `{"users":["U1"]}`, "invalid_array_arg"},
		{"json with null", "conversations.open", "application/json; charset=utf-8", `{"users":null}`, "users_list_not_supplied"},
		{"json with a number", "conversations.close", "application/json; charset=utf-8", `{"channel": 12 }`, "channel_not_found"},
		{"nested json", "api.test", "application/json; charset=utf-8", `{"blocks": [{"type":"divider"}], "yes": true}`, `{"ok":true,"args":{"blocks":"[{\"type\":\"divider\"}]","yes":"true"}}`},
		{"array", "im.close", formType, "foo[7]=D1", "invalid_array_arg"},
		{"array without index", "conversations.open", formType, "users[]=U1", "invalid_array_arg"},
		{"invalid character in a name", "im.close", formType, "foo-bar=D1", "invalid_arg_name"},
		{"empty name", "im.close", formType, "=D1", "invalid_arg_name"},
		{"name outside ASCII", "im.close", formType, "%C3%A9=D1", "invalid_arg_name"},
		{"long name", "im.close", formType, strings.Repeat("a", 101) + "=D1", "invalid_arg_name"},
		{"repeated argument", "api.test", formType, "a=1&a=2", `{"ok":true,"args":{"a":"2"}}`},
		{"body overrides query", "api.test?a=1&b=1&token=x", formType, "b=2&token=y", `{"ok":true,"args":{"a":"1","b":"2"}}`},
		{"array in the query", "api.test?a[0]=1", formType, "", "invalid_array_arg"},
	}
	s := newSlack(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, s, newSlackRequest(t, s, chatdmtest.BotToken, tt.method, tt.contentType, tt.body))
			want := tt.want
			switch {
			case want == "":
				want = `{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"chatdmtest","team_id":"T0CHATDM1","user_id":"UBOT","bot_id":"B00000BOT"}`
			case want[0] != '{':
				want = slackError(want)
			}
			checkBody(t, tt.method, got.body, want)
			if got.status != 200 || got.header.Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("got status %d, header %v, want 200 and JSON", got.status, got.header)
			}
		})
	}
}

func TestWarningOnSuccess(t *testing.T) {
	s := newSlack(t)
	got := send(t, s, newSlackRequest(t, s, chatdmtest.BotToken, "conversations.open", "application/json", `{"users":"U0ALICE01","return_im":false}`))
	checkBody(t, "open", got.body, `{"ok":true,"channel":{"id":"D000000001"},"warning":"missing_charset","response_metadata":{"warnings":["missing_charset"]}}`)
}

// An http.Client cannot send a body that is shorter than its Content-Length.
func TestTruncatedRequest(t *testing.T) {
	s := newSlack(t)
	base, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"", "channel=D1"} {
		conn, err := net.Dial("tcp", base.Host)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /api/im.close HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n%s", base.Host, formType, body)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(got), "\r\n\r\n"+slackError("request_timeout")) {
			t.Errorf("body %q: got response %q, want request_timeout", body, got)
		}
	}
}

func TestTokens(t *testing.T) {
	s := newSlack(t)
	for _, token := range []chatdmtest.Token{
		{Value: "xoxp-revoked", User: chatdmtest.Alice, State: chatdmtest.Revoked},
		{Value: "xoxp-expired", User: chatdmtest.Alice, State: chatdmtest.Expired},
		{Value: "xoxp-inactive", User: chatdmtest.Alice, State: chatdmtest.Inactive},
		{Value: "xoxp-disabled", User: chatdmtest.DisabledUser},
		{Value: "xoxp-nobody"},
		{Value: "xoxp-none", User: chatdmtest.Alice, Scopes: []string{}},
	} {
		s.AddToken(token)
	}
	tests := []struct {
		authorization, method, body, want string
	}{
		{"", "im.close", "channel=D1", "not_authed"},
		{"", "im.close?token=" + chatdmtest.BotToken, "channel=D1", "not_authed"},
		{"Basic abc", "im.close", "channel=D1", "not_authed"},
		{"Bearer ", "im.close", "channel=D1", "not_authed"},
		{"", "im.close", "channel=D1&token=" + chatdmtest.BotToken, "channel_not_found"},
		{"bearer " + chatdmtest.BotToken, "im.close", "channel=D1", "channel_not_found"},
		{"Bearer " + chatdmtest.BotToken, "im.close", "channel=D1&token=xoxb-wrong", "channel_not_found"},
		{"Bearer xoxb-wrong", "im.close", "channel=D1", "invalid_auth"},
		{"Bearer xoxp-revoked", "im.close", "channel=D1", "token_revoked"},
		{"Bearer xoxp-expired", "im.close", "channel=D1", "token_expired"},
		{"Bearer xoxp-inactive", "im.close", "channel=D1", "account_inactive"},
		{"Bearer xoxp-disabled", "im.close", "channel=D1", "account_inactive"},
		{"Bearer xoxp-nobody", "im.close", "channel=D1", "account_inactive"},
		{"Bearer xoxp-none", "im.close", "channel=D1", `{"ok":false,"error":"missing_scope","needed":"im:write","provided":""}`},
	}
	for _, tt := range tests {
		r := newSlackRequest(t, s, "", tt.method, formType, tt.body)
		if tt.authorization != "" {
			r.Header.Set("Authorization", tt.authorization)
		}
		got := send(t, s, r)
		want := tt.want
		if want[0] != '{' {
			want = slackError(want)
		}
		checkBody(t, tt.authorization+" "+tt.method, got.body, want)
		authenticated := tt.want == "channel_not_found" || tt.want[0] == '{'
		if _, sent := got.header["X-Oauth-Scopes"]; sent != authenticated {
			t.Errorf("%s: got X-OAuth-Scopes sent %t, want %t", tt.want, sent, authenticated)
		}
		if _, sent := got.header["X-Accepted-Oauth-Scopes"]; sent != authenticated {
			t.Errorf("%s: got X-Accepted-OAuth-Scopes sent %t, want %t", tt.want, sent, authenticated)
		}
		if id := got.header.Get("X-Slack-Req-Id"); len(id) != 32 {
			t.Errorf("%s: got request ID %q, want 32 digits", tt.want, id)
		}
	}
}

func TestScopes(t *testing.T) {
	s := newSlack(t)
	s.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general", Members: []string{chatdmtest.BotUser}})
	s.AddChannel(chatdmtest.Channel{ID: "C0SECRET1", Name: "secret", Private: true, Members: []string{chatdmtest.BotUser}})
	postForm(t, s, "conversations.open", "users=U0ALICE01")
	postForm(t, s, "conversations.open", "users=U0ALICE01,U0BOB0001")
	const all = "channels:write,groups:write,mpim:write,im:write"
	tests := []struct {
		scopes, method, body string
		needed               string // empty means that scopes is enough
	}{
		{"im:write", "im.open", "user=U0ALICE01", ""},
		{"im:read", "im.open", "user=U0ALICE01", "im:write"},
		{"mpim:write", "im.close", "channel=D000000001", "im:write"},
		{"im:write", "conversations.open", "users=U0ALICE01", ""},
		{"im:write", "conversations.open", "users=U0ALICE01,U0BOB0001", all},
		{"mpim:write", "conversations.open", "users=U0ALICE01,U0BOB0001", ""},
		{"mpim:write", "conversations.open", "users=U0ALICE01", all},
		{"mpim:write", "conversations.open", "channel=D000000001", all},
		{"im:write", "conversations.open", "channel=C000000001", all},
		{"chat:write", "conversations.open", "", all},
		{"im:write", "conversations.open", "", ""},
		{"im:write", "conversations.close", "channel=D000000001", ""},
		{"im:write", "conversations.close", "channel=C000000001", "mpim:write"},
		{"im:write", "conversations.close", "channel=C0SECRET1", "groups:write"},
		{"im:write", "conversations.close", "channel=C0GENERAL", "channels:write,channels:manage"},
		{"channels:manage", "conversations.close", "channel=C0GENERAL", ""},
		{"chat:write", "conversations.close", "channel=D999999999", all},
		{"im:read", "conversations.list", "types=im", ""},
		{"im:read", "conversations.list", "types=im,mpim,private_channel", "mpim:read,groups:read"},
		{"im:read", "conversations.list", "", "channels:read"},
		{"im:read", "chat.postMessage", "", "chat:write"},
		{"im:history", "conversations.history", "channel=D000000001", ""},
		{"mpim:history", "conversations.history", "channel=D000000001", "im:history"},
		{"im:history", "conversations.history", "channel=C000000001", "mpim:history"},
		{"im:history", "conversations.replies", "channel=C0SECRET1&ts=1.0", "groups:history"},
		{"chat:write", "conversations.history", "channel=D999999999", "channels:history,groups:history,mpim:history,im:history"},
		{"users:read.email", "users.info", "user=U0ALICE01", "users:read"},
		{"users:read", "users.lookupByEmail", "email=alice@example.com", "users:read.email"},
		{"", "auth.test", "", ""},
		{"", "api.test", "", ""},
	}
	for _, tt := range tests {
		scopes := strings.Split(tt.scopes, ",")
		s.AddToken(chatdmtest.Token{Value: "xoxb-some", User: chatdmtest.BotUser, Scopes: scopes})
		got := send(t, s, newSlackRequest(t, s, "xoxb-some", tt.method, formType, tt.body))
		name := tt.scopes + " " + tt.method + " " + tt.body
		if tt.needed != "" {
			checkBody(t, name, got.body, `{"ok":false,"error":"missing_scope","needed":"`+tt.needed+`","provided":"`+tt.scopes+`"}`)
		} else if strings.Contains(got.body, "missing_scope") {
			t.Errorf("%s: got %s, want no missing_scope", name, got.body)
		}
		if granted := got.header.Get("X-OAuth-Scopes"); tt.method != "api.test" && granted != tt.scopes {
			t.Errorf("%s: got X-OAuth-Scopes %q, want %q", name, granted, tt.scopes)
		}
	}
	got := send(t, s, newSlackRequest(t, s, chatdmtest.BotToken, "conversations.close", formType, "channel=D1"))
	if accepted := got.header.Get("X-Accepted-OAuth-Scopes"); accepted != all {
		t.Errorf("got X-Accepted-OAuth-Scopes %q, want %q", accepted, all)
	}
}

func TestRetiredIM(t *testing.T) {
	s := newSlack(t, chatdmtest.RetiredIM())
	const message = `{"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. ` +
		`Please use conversations.%s instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}`
	runSlackSteps(t, s, []slackStep{
		{"", "im.open", "user=U0ALICE01", fmt.Sprintf(message, "open")},
		{"", "im.close", "", fmt.Sprintf(message, "close")},
		{"xoxb-wrong", "im.open", "user=U0ALICE01", slackError("invalid_auth")},
		{"", "conversations.open", "users=U0ALICE01", `{"ok":true,"channel":{"id":"D000000001"}}`},
	})
	s.RetireIM(false)
	checkBody(t, "restored", postForm(t, s, "im.close", "channel=D000000001"), `{"ok":true}`)
	s.RetireIM(true)
	checkBody(t, "retired again", postForm(t, s, "im.close", "channel=D000000001"), fmt.Sprintf(message, "close"))
}

func TestConversationsList(t *testing.T) {
	s := newSlack(t)
	for i := range 150 {
		s.AddChannel(chatdmtest.Channel{ID: fmt.Sprintf("C0PUBLIC%03d", i), Name: fmt.Sprint("public-", i), Archived: i%2 == 1})
	}
	s.AddChannel(chatdmtest.Channel{ID: "C0OURS001", Name: "ours", Private: true, Members: []string{chatdmtest.BotUser}})
	s.AddChannel(chatdmtest.Channel{ID: "C0THEIRS1", Name: "theirs", Private: true, Members: []string{chatdmtest.Alice}})
	postForm(t, s, "conversations.open", "users=U0ALICE01")
	postForm(t, s, "conversations.open", "users=U0ALICE01,U0BOB0001")
	postForm(t, s, "conversations.open", "users=U0BOB0001")
	postForm(t, s, "conversations.close", "channel=D000000002")
	postFormAs(t, s, chatdmtest.UserToken, "conversations.open", "users=U0ALICE01")

	type page struct {
		OK       bool   `json:"ok"`
		Error    string `json:"error"`
		Channels []struct {
			ID            string `json:"id"`
			IsIM          bool   `json:"is_im"`
			IsOpen        bool   `json:"is_open"`
			IsUserDeleted bool   `json:"is_user_deleted"`
		} `json:"channels"`
		Metadata struct {
			NextCursor *string `json:"next_cursor"`
		} `json:"response_metadata"`
	}
	list := func(args string) page {
		t.Helper()
		var p page
		if err := json.Unmarshal([]byte(postForm(t, s, "conversations.list", args)), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	ids := func(p page) string {
		var ids []string
		for _, c := range p.Channels {
			ids = append(ids, c.ID)
		}
		return strings.Join(ids, " ")
	}

	for args, want := range map[string]string{
		"types=im,mpim":               "D000000001 C000000001 D000000002",
		"types=private_channel,%20im": "C0OURS001 D000000001 D000000002",
	} {
		if got := ids(list(args)); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
	for args, want := range map[string]int{
		"":                                 100,
		"limit=1000&exclude_archived=true": 75,
	} {
		if got := len(list(args).Channels); got != want {
			t.Errorf("%q: got %d channels, want %d", args, got, want)
		}
	}
	// As in Slack's examples, group DMs have is_open and DMs do not.
	if p := list("types=im,mpim"); len(p.Channels) != 3 || p.Channels[0].IsOpen || !p.Channels[1].IsOpen || p.Channels[2].IsOpen {
		t.Errorf("got channels %+v, want is_open only for the second", p.Channels)
	}
	// Archived channels count toward the limit of a page.
	p := list("limit=4&exclude_archived=true")
	if got := ids(p); got != "C0PUBLIC000 C0PUBLIC002" || *p.Metadata.NextCursor == "" {
		t.Errorf("got channels %s, cursor %q, want C0PUBLIC000 C0PUBLIC002 and a cursor", got, *p.Metadata.NextCursor)
	}
	s.AddUser(chatdmtest.User{ID: chatdmtest.Bob, Disabled: true})
	if p := list("types=im"); len(p.Channels) != 2 || p.Channels[0].IsUserDeleted || !p.Channels[1].IsUserDeleted {
		t.Errorf("got DMs %+v, want is_user_deleted only for the second", p.Channels)
	}

	// Read all pages.
	var listed []string
	args := url.Values{"types": {"public_channel,im"}, "limit": {"60"}}
	for pages := 0; ; pages++ {
		p := list(args.Encode())
		listed = append(listed, ids(p))
		if p.Metadata.NextCursor == nil {
			t.Fatal("got no next_cursor, want one on every page")
		}
		if *p.Metadata.NextCursor == "" {
			if pages != 2 {
				t.Errorf("got %d pages before the last, want 2", pages)
			}
			break
		}
		args.Set("cursor", *p.Metadata.NextCursor)
	}
	all := strings.Fields(strings.Join(listed, " "))
	if len(all) != 152 || all[0] != "C0PUBLIC000" || all[60] != "C0PUBLIC060" || all[151] != "D000000002" {
		t.Errorf("got %d conversations on all pages, want 152: %v", len(all), all)
	}

	checkBody(t, "empty page", postFormAs(t, s, chatdmtest.UserToken, "conversations.list", "types=mpim"),
		`{"ok":true,"channels":[],"response_metadata":{"next_cursor":""}}`)
	for args, code := range map[string]string{
		"types=dm":                    "invalid_types",
		"types=im,":                   "invalid_types",
		"limit=0":                     "invalid_limit",
		"limit=1001":                  "invalid_limit",
		"limit=many":                  "invalid_limit",
		"cursor=!":                    "invalid_cursor",
		"cursor=RDAwMDAwMDAwMQ%3D%3D": "invalid_cursor",
	} {
		checkBody(t, args, postForm(t, s, "conversations.list", args), slackError(code))
	}
}

func TestHTTPMethods(t *testing.T) {
	s := newSlack(t)
	s.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general"})
	tests := []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/api/conversations.open?users=U0ALICE01", 200, `{"ok":true,"channel":{"id":"D000000001"}}`},
		{"GET", "/api/im.close?channel=D000000001", 200, `{"ok":true}`},
		{"GET", "/api/conversations.list?types=mpim", 200, `{"ok":true,"channels":[],"response_metadata":{"next_cursor":""}}`},
		{"GET", "/api/", 200, `{"ok":false,"error":"unknown_method"}`},
		{"PUT", "/api/im.close", 405, "Method Not Allowed\n"},
		{"GET", "/", 404, "Not Found\n"},
		{"HEAD", "/", 404, ""},
		{"POST", "/im.open", 404, "Not Found\n"},
	}
	for _, tt := range tests {
		r := newSlackRequest(t, s, chatdmtest.BotToken, "", "", "")
		r.Method = tt.method
		var err error
		if r.URL, err = r.URL.Parse(tt.path); err != nil {
			t.Fatal(err)
		}
		got := send(t, s, r)
		checkBody(t, tt.method+" "+tt.path, got.body, tt.body)
		if got.status != tt.status {
			t.Errorf("%s %s: got status %d, want %d", tt.method, tt.path, got.status, tt.status)
		}
	}
}

// Replacing a user or a channel does not change anything else.
func TestReplace(t *testing.T) {
	s := newSlack(t)
	s.AddUser(chatdmtest.User{ID: "U0NEW0001"})
	runSlackSteps(t, s, []slackStep{
		{"", "conversations.open", "users=U0NEW0001", `{"ok":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "users=U0ALICE01", `{"ok":true,"channel":{"id":"D000000002"}}`},
	})
	s.AddUser(chatdmtest.User{ID: "U0NEW0001", Disabled: true})
	s.AddUser(chatdmtest.User{ID: chatdmtest.HiddenUser})
	for range 2 {
		s.AddChannel(chatdmtest.Channel{ID: "C000000001", Members: []string{chatdmtest.BotUser, chatdmtest.Alice}})
	}
	s.AddChannel(chatdmtest.Channel{ID: "D000000001", Name: "replacement"})
	runSlackSteps(t, s, []slackStep{
		{"", "conversations.open", "users=U0NEW0001", slackError("user_disabled")},
		{"", "conversations.open", "channel=D000000001", slackError("method_not_supported_for_channel_type")},
		{"", "conversations.open", "users=U0HIDDEN01", `{"ok":true,"channel":{"id":"D000000003"}}`},
		{"", "conversations.open", "users=U0ALICE01", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000002"}}`},
		{"", "conversations.open", "users=U0ALICE01,U0HIDDEN01", `{"ok":true,"channel":{"id":"C000000002"}}`},
	})
}
