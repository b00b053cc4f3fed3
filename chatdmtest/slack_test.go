package chatdmtest_test

import (
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

// answer is what came over the wire.
type answer struct {
	status int
	header http.Header
	body   string
}

func newSlack(t *testing.T, opts ...chatdmtest.Option) *chatdmtest.Slack {
	t.Helper()
	s := chatdmtest.NewSlack(opts...)
	t.Cleanup(s.Close)
	return s
}

func send(t *testing.T, s interface{ Client() *http.Client }, r *http.Request) answer {
	t.Helper()
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func request(t *testing.T, s *chatdmtest.Slack, token, method, contentType, body string) *http.Request {
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

const form = "application/x-www-form-urlencoded"

// post sends a form as BotToken and returns the body of the answer.
func post(t *testing.T, s *chatdmtest.Slack, method, body string) string {
	t.Helper()
	return send(t, s, request(t, s, chatdmtest.BotToken, method, form, body)).body
}

// postAs is post with another token.
func postAs(t *testing.T, s *chatdmtest.Slack, token, method, body string) string {
	t.Helper()
	return send(t, s, request(t, s, token, method, form, body)).body
}

func errorOf(code string) string { return `{"ok":false,"error":"` + code + `"}` }

func checkBody(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s\n got %s\nwant %s", what, got, want)
	}
}

// A step is one call of a session with a server that remembers.
type step struct {
	token  string // "": BotToken
	method string
	form   string
	want   string
}

func play(t *testing.T, s *chatdmtest.Slack, steps []step) {
	t.Helper()
	for i, st := range steps {
		token := st.token
		if token == "" {
			token = chatdmtest.BotToken
		}
		got := postAs(t, s, token, st.method, st.form)
		checkBody(t, fmt.Sprintf("step %d: %s %s", i+1, st.method, st.form), got, st.want)
	}
}

func TestIM(t *testing.T) {
	const user = chatdmtest.UserToken
	play(t, newSlack(t), []step{
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
		{"", "im.open", "user=", errorOf("user_not_found")},
		{"", "im.open", "user=U0NOBODY1", errorOf("user_not_found")},
		{"", "im.open", "user=U0DISABLED", errorOf("user_disabled")},
		{"", "im.open", "user=U0HIDDEN01", errorOf("user_not_visible")},
		{"", "im.open", "user=U0OTHERBOT", errorOf("cannot_dm_bot")},
		{"", "im.open", "user=UBOT", errorOf("cannot_dm_bot")},
		{user, "im.open", "user=U0OTHERBOT", `{"ok":true,"channel":{"id":"D000000005"}}`},

		{"", "im.close", "", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`},
		{"", "im.close", "channel=", errorOf("channel_not_found")},
		{"", "im.close", "channel=D999999999", errorOf("channel_not_found")},
		{user, "im.close", "channel=D000000001", errorOf("user_does_not_own_channel")},
	})
}

func TestConversations(t *testing.T) {
	const user = chatdmtest.UserToken
	s := newSlack(t)
	s.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general", Members: []string{chatdmtest.BotUser}})
	s.AddChannel(chatdmtest.Channel{ID: "C0SECRET1", Name: "secret", Private: true, Members: []string{chatdmtest.AdminUser}})
	play(t, s, []step{
		{"", "conversations.open", "users=U0ALICE01", `{"ok":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "users=UBOT,U0ALICE01", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "channel=D000000001", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.close", "channel=D000000001", `{"ok":true}`},
		{"", "conversations.close", "channel=D000000001", `{"ok":true,"no_op":true,"already_closed":true}`},
		{"", "conversations.open", "channel=D000000001", `{"ok":true,"channel":{"id":"D000000001"}}`},

		// A group: one for each set of people, and no flags when it was open.
		{"", "conversations.open", "users=U0BOB0001,U0ALICE01", `{"ok":true,"channel":{"id":"C000000001"}}`},
		{"", "conversations.open", "users=U0ALICE01,%20U0BOB0001,U0ALICE01,UBOT", `{"ok":true,"channel":{"id":"C000000001"}}`},
		{"", "conversations.close", "channel=C000000001", `{"ok":true}`},
		{"", "conversations.close", "channel=C000000001", `{"ok":true,"no_op":true,"already_closed":true}`},
		{"", "conversations.open", "channel=C000000001", `{"ok":true,"channel":{"id":"C000000001"}}`},
		{"", "conversations.open", "users=U0BOB0001,U0ALICE01,U0CAROL01", `{"ok":true,"channel":{"id":"C000000002"}}`},

		// prevent_creation
		{"", "conversations.open", "users=U0CAROL01&prevent_creation=true", errorOf("channel_not_found")},
		{"", "conversations.open", "users=U0ALICE01&prevent_creation=1", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "users=U0CAROL01&prevent_creation=perhaps", `{"ok":true,"channel":{"id":"D000000002"}}`},

		// users or channel
		{"", "conversations.open", "", errorOf("users_list_not_supplied")},
		{"", "conversations.open", "users=", errorOf("users_list_not_supplied")},
		{"", "conversations.open", "users=,", errorOf("not_enough_users")},
		{"", "conversations.open", "users=U1,U2,U3,U4,U5,U6,U7,U8,U9", errorOf("too_many_users")},
		{"", "conversations.open", "users=U1,U2,U3,U4,U5,U6,U7,U8", errorOf("user_not_found")},
		{"", "conversations.open", "users=U0ALICE01,U0BOB0001,U0CAROL01,U0DAVE001,U0ERIN001,U0FRANK01,U0GRACE01,U0HEIDI01,UBOT", `{"ok":true,"channel":{"id":"C000000003"}}`},
		{"", "conversations.open", "users=U0ALICE01,U0DISABLED", errorOf("user_disabled")},
		{"", "conversations.open", "users=U0ALICE01,U0HIDDEN01", errorOf("user_not_visible")},
		{"", "conversations.open", "users=U0ALICE01,U0OTHERBOT", errorOf("cannot_dm_bot")},
		{"", "conversations.open", "users=U0DAVE001&channel=D000000001", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "users=U0ALICE01&channel=", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`},

		// What is no direct message of the caller's.
		{"", "conversations.open", "channel=", errorOf("channel_not_found")},
		{"", "conversations.open", "channel=D999999999", errorOf("channel_not_found")},
		{user, "conversations.open", "channel=D000000001", errorOf("channel_not_found")},
		{"", "conversations.open", "channel=C0GENERAL", errorOf("method_not_supported_for_channel_type")},
		{"", "conversations.open", "channel=C0SECRET1", errorOf("channel_not_found")},
		{"", "conversations.close", "", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`},
		{"", "conversations.close", "channel=", errorOf("channel_not_found")},
		{"", "conversations.close", "channel=D999999999", errorOf("channel_not_found")},
		{user, "conversations.close", "channel=D000000001", errorOf("user_does_not_own_channel")},
		{user, "conversations.close", "channel=C000000001", errorOf("user_does_not_own_channel")},
		{user, "conversations.close", "channel=C0GENERAL", errorOf("method_not_supported_for_channel_type")},
		{user, "conversations.close", "channel=C0SECRET1", errorOf("method_not_supported_for_channel_type")},
		{"", "conversations.close", "channel=C0SECRET1", errorOf("channel_not_found")},
		{"", "im.close", "channel=C000000001", errorOf("channel_not_found")},

		{"", "conversations.knock", "", `{"ok":false,"error":"unknown_method","req_method":"conversations.knock"}`},
	})
}

// The full objects, in a bubble whose clock begins with the year 2000.
func TestReturnIM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		play(t, s, []step{
			{"", "im.open", "user=U0ALICE01&return_im=true&include_locale=true", `{"ok":true,"channel":{` +
				`"id":"D000000001","created":946684800,"is_archived":false,"is_im":true,"is_org_shared":false,"user":"U0ALICE01",` +
				`"last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0,` +
				`"updated":946684800000,"locale":"en-US"}}`},
			{"", "conversations.open", "users=U0ALICE01,U0BOB0001&return_im=t", `{"ok":true,"channel":{` +
				`"id":"C000000001","name":"mpdm-chatdmtest--alice--bob-1","name_normalized":"mpdm-chatdmtest--alice--bob-1",` +
				`"is_channel":true,"is_group":false,"is_im":false,"is_mpim":true,"is_private":true,"is_archived":false,"is_general":false,` +
				`"is_member":true,"is_shared":false,"is_org_shared":false,"is_ext_shared":false,"is_pending_ext_shared":false,` +
				`"pending_shared":[],"unlinked":0,"created":946684800,` +
				`"creator":"UBOT","updated":946684800000,"members":["UBOT","U0ALICE01","U0BOB0001"],"num_members":3,"shared_team_ids":["T0CHATDM1"],` +
				`"last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0,` +
				`"topic":{"value":"","creator":"","last_set":0},` +
				`"purpose":{"value":"Group messaging with: @chatdmtest @alice @bob","creator":"UBOT","last_set":946684800}}}`},
			// A message opens the conversation for both and is unread for one.
			{"", "conversations.open", "users=UADMIN", `{"ok":true,"channel":{"id":"D000000002"}}`},
			{"", "conversations.close", "channel=D000000002", `{"ok":true}`},
			{"", "chat.postMessage", "channel=D000000002&text=hello", `{"ok":true,"channel":"D000000002","ts":"946684800.000001",` +
				`"message":{"type":"message","user":"UBOT","text":"hello","ts":"946684800.000001"}}`},
			{chatdmtest.UserToken, "conversations.open", "users=UBOT&return_im=1&include_locale=1", `{"ok":true,"no_op":true,"already_open":true,"channel":{` +
				`"id":"D000000002","created":946684800,"is_archived":false,"is_im":true,"is_org_shared":false,"user":"UBOT",` +
				`"last_read":"0000000000.000000","latest":{"type":"message","user":"UBOT","text":"hello","ts":"946684800.000001"},` +
				`"unread_count":1,"unread_count_display":1,"is_open":true,"priority":0,"updated":946684800000}}`},
			{"", "im.open", "user=UADMIN&return_im=1", `{"ok":true,"no_op":true,"already_open":true,"channel":{` +
				`"id":"D000000002","created":946684800,"is_archived":false,"is_im":true,"is_org_shared":false,"user":"UADMIN",` +
				`"last_read":"946684800.000001","latest":{"type":"message","user":"UBOT","text":"hello","ts":"946684800.000001"},` +
				`"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0,"updated":946684800000}}`},
		})
	})
}

func TestOtherMethods(t *testing.T) {
	s := newSlack(t)
	s.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general", Members: []string{chatdmtest.BotUser}})
	s.AddChannel(chatdmtest.Channel{ID: "C0ATTIC01", Name: "attic", Archived: true, Members: []string{chatdmtest.BotUser}})
	play(t, s, []step{
		{"", "auth.test", "", `{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"chatdmtest","team_id":"T0CHATDM1","user_id":"UBOT","bot_id":"BBOT"}`},
		{chatdmtest.UserToken, "auth.test", "", `{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"admin","team_id":"T0CHATDM1","user_id":"UADMIN"}`},
		{"", "api.test", "foo=bar", `{"ok":true,"args":{"foo":"bar"}}`},
		{"", "api.test", "error=my_error", `{"ok":false,"error":"my_error","args":{"error":"my_error"}}`},
		{"", "chat.postMessage", "text=hello", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: channel"]}}`},
		{"", "chat.postMessage", "channel=D000000009&text=hello", errorOf("channel_not_found")},
		{"", "chat.postMessage", "channel=C0GENERAL", errorOf("no_text")},
		{"", "chat.postMessage", "channel=C0ATTIC01&text=hello", errorOf("is_archived")},
		{chatdmtest.UserToken, "chat.postMessage", "channel=C0GENERAL&text=hello", errorOf("not_in_channel")},
	})
}

func TestForm(t *testing.T) {
	const (
		superfluous = `,"warning":"superfluous_charset","response_metadata":{"warnings":["superfluous_charset"]}}`
		missing     = `,"warning":"missing_charset","response_metadata":{"warnings":["missing_charset"]}}`
	)
	tests := []struct {
		name, method, contentType, body, want string
	}{
		{"empty", "auth.test", "", "", ""},
		{"empty form", "auth.test", form, "", ""},
		{"empty json", "auth.test", "application/json; charset=utf-8", "", ""},
		{"no type", "im.open", "", "user=U0ALICE01", "missing_post_type"},
		{"xml", "im.open", "application/xml", "<user/>", "invalid_post_type"},
		{"no type at all", "im.open", ";", "user=U0ALICE01", "invalid_post_type"},
		{"json to im.open", "im.open", "application/json; charset=utf-8", `{"user":"U0ALICE01"}`, "invalid_post_type"},
		{"json to im.close", "im.close", "application/json; charset=utf-8", `{"channel":"D1"}`, "channel_not_found"},
		{"text", "im.close", "text/plain; charset=utf-8", "channel=D1", "channel_not_found"},
		{"text without charset", "im.close", "text/plain", "channel=D1", `{"ok":false,"error":"channel_not_found"` + missing},
		{"bad charset", "im.close", "text/plain; charset=utf-16", "channel=D1", "invalid_charset"},
		{"bad charset in a form", "im.close", form + "; charset=latin1", "channel=D1", `{"ok":false,"error":"invalid_charset"` + superfluous},
		{"quoted charset", "im.close", `application/json; Charset="UTF-8"`, `{"channel":"D1"}`, "channel_not_found"},
		{"latin1", "api.test", "application/json; charset=ISO-8859-1", "{\"a\":\"caf\xe9\"}", `{"ok":true,"args":{"a":"café"}}`},
		{"form with charset", "im.close", form + "; charset=utf-8", "channel=D1", `{"ok":false,"error":"channel_not_found"` + superfluous},
		{"form of a wide type", "im.close", "Application/X-WWW-Form-URLEncoded", "channel=D1", "channel_not_found"},
		{"bad escape", "im.close", form, "channel=%zz", "invalid_form_data"},
		{"multipart", "im.close", "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"channel\"\r\n\r\nD1\r\n--x--\r\n", "channel_not_found"},
		{"multipart, broken", "im.close", "multipart/form-data; boundary=x", "--y--", "invalid_form_data"},
		{"multipart, empty", "im.close", "multipart/form-data; boundary=x", "", "invalid_form_data"},
		{"multipart, no boundary", "im.close", "multipart/form-data", "--x--", "invalid_form_data"},
		{"json without charset", "conversations.close", "application/json", `{"channel":"D1"}`, `{"ok":false,"error":"channel_not_found"` + missing},
		{"json, broken", "conversations.close", "application/json; charset=utf-8", `{"channel":`, "invalid_json"},
		{"json, two values", "conversations.close", "application/json; charset=utf-8", `{} {}`, "invalid_json"},
		{"json, broken and without charset", "conversations.close", "application/json", `{`, `{"ok":false,"error":"invalid_json"` + missing},
		{"json array", "conversations.close", "application/json; charset=utf-8", `["D1"]`, "json_not_object"},
		{"json null", "conversations.close", "application/json; charset=utf-8", `null`, "json_not_object"},
		{"json with an array", "conversations.open", "application/json; charset=utf-8", `{"users":["U1"]}`, "invalid_array_arg"},
		{"json with null", "conversations.open", "application/json; charset=utf-8", `{"users":null}`, "users_list_not_supplied"},
		{"json with a number", "conversations.close", "application/json; charset=utf-8", `{"channel": 12 }`, "channel_not_found"},
		{"json, nested", "api.test", "application/json; charset=utf-8", `{"blocks": [{"type":"divider"}], "yes": true}`, `{"ok":true,"args":{"blocks":"[{\"type\":\"divider\"}]","yes":"true"}}`},
		{"array", "im.close", form, "foo[7]=D1", "invalid_array_arg"},
		{"array without index", "conversations.open", form, "users[]=U1", "invalid_array_arg"},
		{"odd name", "im.close", form, "foo-bar=D1", "invalid_arg_name"},
		{"no name", "im.close", form, "=D1", "invalid_arg_name"},
		{"name outside ASCII", "im.close", form, "%C3%A9=D1", "invalid_arg_name"},
		{"long name", "im.close", form, strings.Repeat("a", 101) + "=D1", "invalid_arg_name"},
		{"repeated", "api.test", form, "a=1&a=2", `{"ok":true,"args":{"a":"2"}}`},
		{"query too", "api.test?a=1&b=1&token=x", form, "b=2&token=y", `{"ok":true,"args":{"a":"1","b":"2"}}`},
		{"array in the query", "api.test?a[0]=1", form, "", "invalid_array_arg"},
	}
	s := newSlack(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, s, request(t, s, chatdmtest.BotToken, tt.method, tt.contentType, tt.body))
			want := tt.want
			switch {
			case want == "":
				want = `{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"chatdmtest","team_id":"T0CHATDM1","user_id":"UBOT","bot_id":"BBOT"}`
			case want[0] != '{':
				want = errorOf(want)
			}
			checkBody(t, tt.method, got.body, want)
			if got.status != 200 || got.header.Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("answered with %d %v", got.status, got.header)
			}
		})
	}
}

func TestWarningOnSuccess(t *testing.T) {
	s := newSlack(t)
	got := send(t, s, request(t, s, chatdmtest.BotToken, "conversations.open", "application/json", `{"users":"U0ALICE01","return_im":false}`))
	checkBody(t, "open", got.body, `{"ok":true,"channel":{"id":"D000000001"},"warning":"missing_charset","response_metadata":{"warnings":["missing_charset"]}}`)
}

// Bodies that end before their announced length, which no http.Client sends.
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
		fmt.Fprintf(conn, "POST /api/im.close HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n%s", base.Host, form, body)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		conn.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(string(got), "\r\n\r\n"+errorOf("request_timeout")) {
			t.Errorf("body %q: answered\n%s", body, got)
		}
	}
}

func TestToken(t *testing.T) {
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
		r := request(t, s, "", tt.method, form, tt.body)
		if tt.authorization != "" {
			r.Header.Set("Authorization", tt.authorization)
		}
		got := send(t, s, r)
		want := tt.want
		if want[0] != '{' {
			want = errorOf(want)
		}
		checkBody(t, tt.authorization+" "+tt.method, got.body, want)
		authenticated := tt.want == "channel_not_found" || tt.want[0] == '{'
		if _, sent := got.header["X-Oauth-Scopes"]; sent != authenticated {
			t.Errorf("%s: X-OAuth-Scopes sent: %t", tt.want, sent)
		}
		if _, sent := got.header["X-Accepted-Oauth-Scopes"]; sent != authenticated {
			t.Errorf("%s: X-Accepted-OAuth-Scopes sent: %t", tt.want, sent)
		}
		if id := got.header.Get("X-Slack-Req-Id"); len(id) != 32 {
			t.Errorf("%s: request id %q", tt.want, id)
		}
	}
}

func TestScopes(t *testing.T) {
	s := newSlack(t)
	s.AddChannel(chatdmtest.Channel{ID: "C0GENERAL", Name: "general", Members: []string{chatdmtest.BotUser}})
	s.AddChannel(chatdmtest.Channel{ID: "C0SECRET1", Name: "secret", Private: true, Members: []string{chatdmtest.BotUser}})
	post(t, s, "conversations.open", "users=U0ALICE01")
	post(t, s, "conversations.open", "users=U0ALICE01,U0BOB0001")
	const all = "channels:write,groups:write,mpim:write,im:write"
	tests := []struct {
		scopes, method, body string
		needed               string // "": the scopes suffice
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
		{"", "auth.test", "", ""},
		{"", "api.test", "", ""},
	}
	for _, tt := range tests {
		scopes := strings.Split(tt.scopes, ",")
		s.AddToken(chatdmtest.Token{Value: "xoxb-some", User: chatdmtest.BotUser, Scopes: scopes})
		got := send(t, s, request(t, s, "xoxb-some", tt.method, form, tt.body))
		what := tt.scopes + " " + tt.method + " " + tt.body
		if tt.needed != "" {
			checkBody(t, what, got.body, `{"ok":false,"error":"missing_scope","needed":"`+tt.needed+`","provided":"`+tt.scopes+`"}`)
		} else if strings.Contains(got.body, "missing_scope") {
			t.Errorf("%s: answered %s", what, got.body)
		}
		if granted := got.header.Get("X-OAuth-Scopes"); tt.method != "api.test" && granted != tt.scopes {
			t.Errorf("%s: X-OAuth-Scopes: %q", what, granted)
		}
	}
	got := send(t, s, request(t, s, chatdmtest.BotToken, "conversations.close", form, "channel=D1"))
	if accepted := got.header.Get("X-Accepted-OAuth-Scopes"); accepted != all {
		t.Errorf("X-Accepted-OAuth-Scopes: %q, want %q", accepted, all)
	}
}

func TestRetiredIM(t *testing.T) {
	s := newSlack(t, chatdmtest.RetiredIM())
	const message = `{"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. ` +
		`Please use conversations.%s instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}`
	play(t, s, []step{
		{"", "im.open", "user=U0ALICE01", fmt.Sprintf(message, "open")},
		{"", "im.close", "", fmt.Sprintf(message, "close")},
		{"xoxb-wrong", "im.open", "user=U0ALICE01", errorOf("invalid_auth")},
		{"", "conversations.open", "users=U0ALICE01", `{"ok":true,"channel":{"id":"D000000001"}}`},
	})
	s.RetireIM(false)
	checkBody(t, "back again", post(t, s, "im.close", "channel=D000000001"), `{"ok":true}`)
	s.RetireIM(true)
	checkBody(t, "retired again", post(t, s, "im.close", "channel=D000000001"), fmt.Sprintf(message, "close"))
}

func TestList(t *testing.T) {
	s := newSlack(t)
	for i := range 150 {
		s.AddChannel(chatdmtest.Channel{ID: fmt.Sprintf("C0PUBLIC%03d", i), Name: fmt.Sprint("public-", i), Archived: i%2 == 1})
	}
	s.AddChannel(chatdmtest.Channel{ID: "C0OURS001", Name: "ours", Private: true, Members: []string{chatdmtest.BotUser}})
	s.AddChannel(chatdmtest.Channel{ID: "C0THEIRS1", Name: "theirs", Private: true, Members: []string{chatdmtest.Alice}})
	post(t, s, "conversations.open", "users=U0ALICE01")
	post(t, s, "conversations.open", "users=U0ALICE01,U0BOB0001")
	post(t, s, "conversations.open", "users=U0BOB0001")
	post(t, s, "conversations.close", "channel=D000000002")
	postAs(t, s, chatdmtest.UserToken, "conversations.open", "users=U0ALICE01")

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
		if err := json.Unmarshal([]byte(post(t, s, "conversations.list", args)), &p); err != nil {
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

	if got := ids(list("types=im,mpim")); got != "D000000001 C000000001 D000000002" {
		t.Errorf("direct messages: %s", got)
	}
	// As in Slack's examples, a group says that it is open, and a 1:1 does not.
	if p := list("types=im,mpim"); len(p.Channels) != 3 || p.Channels[0].IsOpen || !p.Channels[1].IsOpen || p.Channels[2].IsOpen {
		t.Errorf("open: %+v", p.Channels)
	}
	if got := ids(list("types=private_channel,%20im")); got != "C0OURS001 D000000001 D000000002" {
		t.Errorf("private: %s", got)
	}
	if got := len(list("").Channels); got != 100 {
		t.Errorf("%d on the default page", got)
	}
	if got := len(list("limit=1000&exclude_archived=true").Channels); got != 75 {
		t.Errorf("%d not archived", got)
	}
	// Those that are left out count.
	p := list("limit=4&exclude_archived=true")
	if got := ids(p); got != "C0PUBLIC000 C0PUBLIC002" || *p.Metadata.NextCursor == "" {
		t.Errorf("on a page without the archived ones: %s, and then cursor %q", got, *p.Metadata.NextCursor)
	}
	s.AddUser(chatdmtest.User{ID: chatdmtest.Bob, Disabled: true})
	if p := list("types=im"); len(p.Channels) != 2 || p.Channels[0].IsUserDeleted || !p.Channels[1].IsUserDeleted {
		t.Errorf("when Bob is gone: %+v", p.Channels)
	}

	// All pages.
	var seen []string
	args := url.Values{"types": {"public_channel,im"}, "limit": {"60"}}
	for pages := 0; ; pages++ {
		p := list(args.Encode())
		seen = append(seen, ids(p))
		if p.Metadata.NextCursor == nil {
			t.Fatal("no next_cursor")
		}
		if *p.Metadata.NextCursor == "" {
			if pages != 2 {
				t.Errorf("%d pages before the last", pages)
			}
			break
		}
		args.Set("cursor", *p.Metadata.NextCursor)
	}
	all := strings.Fields(strings.Join(seen, " "))
	if len(all) != 152 || all[0] != "C0PUBLIC000" || all[60] != "C0PUBLIC060" || all[151] != "D000000002" {
		t.Errorf("%d in pages: %v", len(all), all)
	}

	checkBody(t, "an empty page", postAs(t, s, chatdmtest.UserToken, "conversations.list", "types=mpim"),
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
		checkBody(t, args, post(t, s, "conversations.list", args), errorOf(code))
	}
}

func TestGet(t *testing.T) {
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
		r := request(t, s, chatdmtest.BotToken, "", "", "")
		r.Method = tt.method
		var err error
		if r.URL, err = r.URL.Parse(tt.path); err != nil {
			t.Fatal(err)
		}
		got := send(t, s, r)
		checkBody(t, tt.method+" "+tt.path, got.body, tt.body)
		if got.status != tt.status {
			t.Errorf("%s %s: status %d", tt.method, tt.path, got.status)
		}
	}
}

// Replacing things keeps what is not replaced.
func TestReplace(t *testing.T) {
	s := newSlack(t)
	s.AddUser(chatdmtest.User{ID: "U0NEW0001"})
	play(t, s, []step{
		{"", "conversations.open", "users=U0NEW0001", `{"ok":true,"channel":{"id":"D000000001"}}`},
		{"", "conversations.open", "users=U0ALICE01", `{"ok":true,"channel":{"id":"D000000002"}}`},
	})
	s.AddUser(chatdmtest.User{ID: "U0NEW0001", Disabled: true})
	s.AddUser(chatdmtest.User{ID: chatdmtest.HiddenUser})
	for range 2 {
		s.AddChannel(chatdmtest.Channel{ID: "C000000001", Members: []string{chatdmtest.BotUser, chatdmtest.Alice}})
	}
	s.AddChannel(chatdmtest.Channel{ID: "D000000001", Name: "in its place"})
	play(t, s, []step{
		{"", "conversations.open", "users=U0NEW0001", errorOf("user_disabled")},
		{"", "conversations.open", "channel=D000000001", errorOf("method_not_supported_for_channel_type")},
		{"", "conversations.open", "users=U0HIDDEN01", `{"ok":true,"channel":{"id":"D000000003"}}`},
		{"", "conversations.open", "users=U0ALICE01", `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000002"}}`},
		{"", "conversations.open", "users=U0ALICE01,U0HIDDEN01", `{"ok":true,"channel":{"id":"C000000002"}}`},
	})
}
