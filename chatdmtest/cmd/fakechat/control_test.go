package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/chatdm/chatdm/chatdmtest"
)

const jsonType = "application/json"

func TestControlErrors(t *testing.T) {
	p := start(t)
	const faultParameters = "platform, method, times, code, status, header, body, delay, stall, cut, or apply"
	for _, tt := range []struct{ path, contentType, body, want string }{
		{"fail", form, "platform=teams&code=x", `400 platform: got "teams", want slack or rocketchat`},
		{"fail", form, "", "400 got no fault, want at least one of code, status, header, body, delay, stall, or cut"},
		{"fail", form, "code=x&code=y", "400 code: got 2 values, want one"},
		{"fail", form, "code=x&times=many", `400 times: got "many", want a number`},
		{"fail", form, "code=x&times=0", `400 times: got "0", want 1 or more, or -1 for all requests until the fault is cleared`},
		{"fail", form, "code=x&times=-2", `400 times: got "-2", want 1 or more, or -1 for all requests until the fault is cleared`},
		{"fail", form, "status=oops", `400 status: got "oops", want a number`},
		{"fail", form, "status=199", `400 status: got "199", want 200 to 599`},
		{"fail", form, "status=600", `400 status: got "600", want 200 to 599`},
		{"fail", form, "delay=10", `400 delay: got "10", want a duration such as 10s or 500ms`},
		{"fail", form, "delay=-1s", `400 delay: got "-1s", want a duration such as 10s or 500ms`},
		{"fail", form, "cut=middle", `400 cut: got "middle", want before header, in header, or in body`},
		{"fail", form, "stall=end", `400 stall: got "end", want before header, in header, or in body`},
		{"fail", form, "code=x&apply=yes", `400 apply: got "yes", want true or false`},
		{"fail", form, "header=Retry-After", `400 header: got "Retry-After", want a field such as "Retry-After: 30"`},
		{"fail", form, "header=a+b:+c", `400 header: got "a b: c", want a field such as "Retry-After: 30"`},
		{"fail", form, "code=x&tims=2", `400 unknown parameter "tims", want ` + faultParameters},
		{"fail?tims=2", form, "code=x", `400 unknown parameter "tims", want ` + faultParameters},
		{"fail", form, "%zz", `400 body: invalid URL escape "%zz"`},
		{"fail", jsonType, "[]", `400 body: want a JSON object such as {"method": "chat.postMessage", "times": 1}`},
		{"fail", jsonType, "null", `400 body: want a JSON object such as {"method": "chat.postMessage", "times": 1}`},
		{"fail", jsonType, `{"code":{}}`, "400 body: code: got an object, want a string, a number, true, false, or a list"},
		{"fail", jsonType, `{"code":[[]]}`, "400 body: code: got []interface {}, want a string, a number, true, or false"},
		{"fail", jsonType, `{"status":503.5}`, `400 status: got "503.5", want a number`},
		{"fail", "text/plain", "code=x", `415 Content-Type: got "text/plain", want application/x-www-form-urlencoded or application/json`},
		{"fail", form, "body=" + strings.Repeat("x", maxBodySize), "413 body: want at most 1048576 bytes"},
		{"limit", form, "calls=1", "400 method: got none, want an API method such as chat.postMessage"},
		{"limit", form, "method=x", "400 calls: got none, want a number of calls, or 0 to remove the limit"},
		{"limit", form, "method=x&calls=-1", `400 calls: got "-1", want 0 or more`},
		{"limit", form, "method=x&calls=1&window=0s", `400 window: got "0s", want more than 0`},
		{"limit", form, "method=x&calls=1&per=1m", `400 unknown parameter "per", want platform, method, window, or calls`},
		{"clear", form, "what=all", `400 what: got "all", want faults, limits, or requests`},
		{"clear", form, "platform=x", `400 platform: got "x", want slack or rocketchat`},
		{"reset", form, "what=faults", `400 unknown parameter "what", want platform`},
		{"user", form, "name=zoe", "400 id: got none, want a user ID such as U012AB3CD"},
		{"channel", form, "id=C1&type=c", `400 unknown parameter "type", want id, platform, name, private, archived, or members`},
		{"token", form, "value=x", "400 user: got none, want the ID of the owner"},
		{"token", form, "value=x&user=U1&state=gone", `400 state: got "gone", want revoked, expired, or inactive`},
		{"token", form, "platform=rocketchat&value=x&user=U1", `400 platform: got "rocketchat", want slack; on Rocket.Chat, set auth_token of a user`},
		{"channel", form, "name=x", "400 id: got none, want the ID of a channel or room"},
		{"channel", form, "platform=rocketchat&id=x&type=x", `400 type: got "x", want c, p, or d`},
		{"nothing", form, "", "404 404 page not found"},
		{"state", form, "", "405 Method Not Allowed"},
	} {
		name := tt.path + " " + tt.body[:min(len(tt.body), 60)]
		got := p.send("POST", p.page+"/fake/"+tt.path, tt.contentType, tt.body)
		if strings.HasPrefix(tt.want, `400 unknown parameter "tims"`) {
			got = strings.Replace(got, "cut, apply, or apply_after", "cut, or apply", 1) // depends on the fields of Fault
		}
		check(t, name, got, tt.want)
	}
	check(t, "GET", p.send("GET", p.page+"/fake/requests?metod=x", "", ""), `400 unknown parameter "metod", want platform or method`)
	check(t, "state", p.send("GET", p.page+"/fake/state?platform=slack", "", ""),
		`200 {"slack":{"url":"`+p.slack+`","request_count":0,"faults":[],"limits":[],"conversations":[]}}`)
}

func TestFail(t *testing.T) {
	p := start(t)
	for _, tt := range []struct{ contentType, body, fault, response string }{
		{form, "code=fatal_error", `"method":"","times":1,"fault":{"code":"fatal_error"}`, `200 {"ok":false,"error":"fatal_error"}`},
		{form, "method=api.test&times=2&code=ratelimited&status=429&header=Retry-After:+30&header=X-Test:1",
			`"method":"api.test","times":2,"fault":{"code":"ratelimited","header":{"Retry-After":["30"],"X-Test":["1"]},"status":429}`,
			`429 {"ok":false,"error":"ratelimited"}`},
		{form, "times=-1&body=%3Chtml%3E&delay=1ms", `"method":"","times":-1,"fault":{"body":"<html>","delay":"1ms"}`, "200 <html>"},
		{form, "cut=in body&apply=true", `"method":"","times":1,"fault":{"apply":true,"cut":"in body"}`, "incomplete response"},
		{form, "header=Content-Type:", `"method":"","times":1,"fault":{"header":{"Content-Type":[""]}}`, `200 {"ok":true}`},
		{jsonType, `{"platform":"slack","method":"api.test","times":1,"status":503,"apply":false,"body":null,"header":{"Retry-After":30}}`,
			`"method":"api.test","times":1,"fault":{"header":{"Retry-After":["30"]},"status":503}`, "503 "},
		{jsonType + "; charset=utf-8", `{"cut":"before header","header":["A: 1","B: 2"]}`,
			`"method":"","times":1,"fault":{"cut":"before header","header":{"A":["1"],"B":["2"]}}`, "no response"},
	} {
		check(t, tt.body, p.send("POST", p.page+"/fake/fail", tt.contentType, tt.body), `200 {"faults":[{`+tt.fault+`}]}`)
		check(t, tt.body, p.call("api.test", ""), tt.response)
		check(t, "clear", p.fake("clear", "what=faults"), `200 {"cleared":["faults"]}`)
	}

	check(t, "Rocket.Chat", p.fake("fail?platform=rocketchat", "code=error-not-allowed"),
		`200 {"faults":[{"method":"","times":1,"fault":{"code":"error-not-allowed"}}]}`)
	check(t, "Slack", p.call("api.test", ""), `200 {"ok":true}`)
	check(t, "Rocket.Chat", p.send("GET", p.rocketchat+"/api/v1/me", "", ""), `400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}`)
}

func TestLimitAndClear(t *testing.T) {
	p := start(t)
	const ok, limited = `200 {"ok":true}`, `429 {"ok":false,"error":"ratelimited"}`
	check(t, "limit", p.fake("limit", "method=b.test&calls=5"), `200 {"limits":[{"method":"b.test","calls":5,"window":"1m0s"}]}`)
	check(t, "limit", p.fake("limit", "method=api.test&calls=1&window=1h"),
		`200 {"limits":[{"method":"api.test","calls":1,"window":"1h0m0s"},{"method":"b.test","calls":5,"window":"1m0s"}]}`)
	check(t, "call 1", p.call("api.test", ""), ok)
	check(t, "call 2", p.call("api.test", ""), limited)
	check(t, "raise", p.fake("limit", "method=api.test&calls=1&window=1h"),
		`200 {"limits":[{"method":"api.test","calls":1,"window":"1h0m0s"},{"method":"b.test","calls":5,"window":"1m0s"}]}`)
	check(t, "call 3", p.call("api.test", ""), ok)
	check(t, "remove", p.fake("limit", "method=api.test&calls=0"), `200 {"limits":[{"method":"b.test","calls":5,"window":"1m0s"}]}`)
	check(t, "call 4", p.call("api.test", ""), ok)

	p.fake("limit", "method=api.test&calls=1")
	p.fake("fail", "code=fatal_error")
	check(t, "clear the other platform", p.fake("clear", "platform=rocketchat"), `200 {"cleared":["faults","limits","requests"]}`)
	check(t, "clear requests", p.fake("clear", "what=requests"), `200 {"cleared":["requests"]}`)
	check(t, "state", p.send("GET", p.page+"/fake/state?platform=slack", "", ""), `200 {"slack":{"url":"`+p.slack+`","request_count":0,`+
		`"faults":[{"method":"","times":1,"fault":{"code":"fatal_error"}}],`+
		`"limits":[{"method":"api.test","calls":1,"window":"1m0s"},{"method":"b.test","calls":5,"window":"1m0s"}],"conversations":[]}}`)
	check(t, "clear all", p.send("POST", p.page+"/fake/clear", "", ""), `200 {"cleared":["faults","limits","requests"]}`)
	for range 3 {
		check(t, "call", p.call("api.test", ""), ok)
	}
}

func TestAddAndReset(t *testing.T) {
	p := start(t)
	check(t, "user", p.fake("user", "id=U1&name=zoe&disabled=false"), `200 {"added":"U1"}`)
	check(t, "token", p.fake("token", "value=xoxp-zoe&user=U1&scopes=im:write,im:read&scopes=chat:write"), `200 {"added":"U1"}`)
	check(t, "token", p.send("POST", p.page+"/fake/token", jsonType, `{"value":"xoxp-none","user":"U1","scopes":[]}`), `200 {"added":"U1"}`)
	check(t, "channel", p.fake("channel", "id=C1&name=general&members=U1,UBOT"), `200 {"added":"C1"}`)
	asZoe := func(method, body string) string {
		return p.send("POST", p.slack+"/"+method, form, body, "Authorization", "Bearer xoxp-zoe")
	}
	check(t, "im.open", asZoe("im.open", "user=U0ALICE01"), `200 {"ok":true,"channel":{"id":"D000000001"}}`)
	if got := asZoe("chat.postMessage", "channel=C1&text=<b>hi</b>"); !strings.HasPrefix(got, `200 {"ok":true,"channel":"C1"`) {
		t.Errorf("chat.postMessage: got %s, want success", got)
	}
	if got := p.send("POST", p.slack+"/im.open", form, "user=U0ALICE01", "Authorization", "Bearer xoxp-none"); !strings.Contains(got, "missing_scope") {
		t.Errorf("with an empty list of scopes: got %s, want missing_scope", got)
	}

	var state struct {
		Slack struct{ Conversations []map[string]any }
	}
	readState := func() {
		t.Helper()
		state.Slack.Conversations = nil
		if err := json.Unmarshal([]byte(strings.TrimPrefix(p.send("GET", p.page+"/fake/state", "", ""), "200 ")), &state); err != nil {
			t.Fatal(err)
		}
	}
	readState()
	message := state.Slack.Conversations[0]["messages"].([]any)[0].(map[string]any)
	for name, want := range map[string]string{"user": "U1", "name": "zoe", "id": `^\d+\.\d{6}$`, "time": `^\d{4}-\d\d-\d\dT`} {
		if got, _ := message[name].(string); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("got %s %q, want %s", name, got, want)
		}
	}
	delete(state.Slack.Conversations[0], "messages")
	got, _ := json.Marshal(state.Slack.Conversations)
	check(t, "conversations", string(got), `[{"id":"C1","members":[{"id":"U1","name":"zoe","open":true},{"id":"UBOT","name":"chatdmtest","open":true}],`+
		`"message_count":1,"name":"general","type":"public_channel"},`+
		`{"id":"D000000001","members":[{"id":"U1","name":"zoe","open":true},{"id":"U0ALICE01","name":"alice","open":false}],`+
		`"message_count":0,"messages":[],"name":"","type":"im"}]`)

	check(t, "user", p.fake("user", "platform=rocketchat&id=zoe&auth_token=zoes&admin=true"), `200 {"added":"zoe"}`)
	check(t, "room", p.fake("channel", "platform=rocketchat&id=R1&type=d&members=zoe&members=U0ALICE01"), `200 {"added":"R1"}`)
	history := func() string {
		return p.send("GET", p.rocketchat+"/api/v1/im.history?roomId=R1", "", "", "X-User-Id", "zoe", "X-Auth-Token", "zoes")
	}
	check(t, "im.history", history(), `200 {"messages":[],"success":true}`)

	check(t, "reset", p.fake("reset", "platform=slack"), `200 {"reset":["slack"]}`)
	readState()
	if len(state.Slack.Conversations) != 0 {
		t.Errorf("got %v after a reset, want no conversations", state.Slack.Conversations)
	}
	check(t, "im.open", asZoe("im.open", "user=U0ALICE01"), `200 {"ok":false,"error":"invalid_auth"}`)
	check(t, "im.history", history(), `200 {"messages":[],"success":true}`) // not reset
}

// The requests have no credentials, wherever the client put them.
func TestRequests(t *testing.T) {
	p := start(t)
	p.fake("fail", "method=chat.postMessage&code=no_text")
	p.send("POST", p.slack+"/chat.postMessage?token=secret1&x=1", form, "channel=D1&text=hello+xoxb-secret2&token=xoxb-secret3", "Authorization", "Bearer xoxb-secret4")
	p.send("POST", p.slack+"/auth.test", jsonType, `{"token":"secret5","blocks":[{"text":"t","password":"secret6"}],"n":1}`, "Authorization", "Bearer "+chatdmtest.BotToken)
	p.send("POST", p.slack+"/auth.test", jsonType, `{"token":"secret7"`)
	p.send("POST", p.rocketchat+"/api/v1/login", jsonType, `{"user":"alice","password":"`+chatdmtest.RocketChatPassword+`"}`)
	p.send("POST", p.rocketchat+"/api/v1/login", jsonType, `{"resume":"chatdmtest-login-1"}`, "X-Auth-Token", chatdmtest.RocketChatMemberToken)
	p.send("GET", p.rocketchat+"/api/v1/im.list?count="+chatdmtest.RocketChatAdminToken+"%0A"+chatdmtest.UserToken, "", "")

	got := p.send("GET", p.page+"/fake/requests", "", "")
	got = regexp.MustCompile(`"time":"[^"]+"`).ReplaceAllString(got, `"time":"T"`)
	got = regexp.MustCompile(`"duration_ms":[\d.e-]+`).ReplaceAllString(got, `"duration_ms":0`)
	request := func(platform, number, method, path, httpMethod, args, status, code, fault string) string {
		return `{"platform":"` + platform + `","number":` + number + `,"method":"` + method + `","http_method":"` + httpMethod + `","path":"` + path + method +
			`","args":{` + args + `},"time":"T","ended":true,"duration_ms":0,"status":` + status + `,"code":"` + code + `","fault":` + fault + `}`
	}
	want := []string{
		request("slack", "1", "chat.postMessage", "/api/", "POST", `"channel":"D1","text":"hello (hidden)","token":"(hidden)","x":"1"`, "200", "no_text", `{"code":"no_text"}`),
		request("slack", "2", "auth.test", "/api/", "POST", `"blocks":"[{\"password\":\"(hidden)\",\"text\":\"t\"}]","n":"1","token":"(hidden)"`, "200", "invalid_array_arg", "null"),
		request("slack", "3", "auth.test", "/api/", "POST", "", "200", "invalid_json", "null"),
		request("rocketchat", "1", "login", "/api/v1/", "POST", `"password":"(hidden)","user":"alice"`, "200", "", "null"),
		request("rocketchat", "2", "login", "/api/v1/", "POST", `"resume":"(hidden)"`, "200", "", "null"),
		request("rocketchat", "3", "im.list", "/api/v1/", "GET", `"count":"(hidden)\n(hidden)"`, "401", "", "null"),
	}
	check(t, "requests", got, `200 {"requests":[`+strings.Join(want, ",")+`]}`)

	if got := p.send("GET", p.page+"/fake/requests?platform=slack&method=auth.test", "", ""); strings.Count(got, `"number":`) != 2 {
		t.Errorf("got %s, want two requests", got)
	}
	all := p.send("GET", p.page+"/fake/requests", "", "") + p.send("GET", p.page+"/fake/state", "", "")
	if leaked := regexp.MustCompile(`secret\d|xox[bp]-|chatdmtest-[a-z]+-?\w*`).FindAllString(all, -1); leaked != nil {
		t.Errorf("got %q, want no credentials", leaked)
	}
}

// A website cannot use the control API.
func TestProtection(t *testing.T) {
	p := start(t, "-host", "fakechat.example")
	port := p.page[strings.LastIndex(p.page, ":"):]
	const foreign = "403 Host: got "
	for _, tt := range []struct{ host, want string }{
		{"127.0.0.1" + port, "200 "}, {"localhost" + port, "200 "}, {"[::1]" + port, "200 "}, {"10.1.2.3", "200 "},
		{"fakechat" + port, "200 "}, {"page.localhost", "200 "}, {"FAKECHAT.example" + port, "200 "},
		{"evil.example" + port, foreign}, {"127.0.0.1.evil.example", foreign}, {"localhost.evil.example" + port, foreign}, {"fakechat.example.evil", foreign},
	} {
		if got := p.send("GET", p.page+"/fake/state", "", "", "Host", tt.host); !strings.HasPrefix(got, tt.want) {
			t.Errorf("Host %s: got %s, want %s", tt.host, got, tt.want)
		}
	}
	check(t, "foreign Host", p.send("GET", p.page+"/", "", "", "Host", "evil.example"),
		`403 Host: got "evil.example", want an IP address, localhost, or a name without a dot; allow others with -host`)
	for _, tt := range []struct{ name, value, want string }{
		{"Sec-Fetch-Site", "same-origin", "200"}, {"Sec-Fetch-Site", "none", "200"}, {"Origin", p.page, "200"},
		{"Sec-Fetch-Site", "cross-site", "403"}, {"Sec-Fetch-Site", "same-site", "403"}, {"Origin", "https://evil.example", "403"}, {"Origin", "null", "403"},
	} {
		if got := p.send("POST", p.page+"/fake/clear", form, "", tt.name, tt.value); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s %s: got %s, want %s", tt.name, tt.value, got, tt.want)
		}
	}
	resp, err := http.Get(p.page)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for name, want := range map[string]string{
		"Content-Security-Policy": `^default-src 'none'; style-src 'sha256-[^']+'; script-src 'sha256-[^']+'; img-src data:; connect-src 'self'; .*frame-ancestors 'none'; require-trusted-types-for 'script'`,
		"X-Content-Type-Options":  "^nosniff$",
		"Referrer-Policy":         "^no-referrer$",
	} {
		if got := resp.Header.Get(name); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("got %s %q, want %s", name, got, want)
		}
	}
}

func TestSnakeCase(t *testing.T) {
	for name, want := range map[string]string{"Code": "code", "ApplyAfter": "apply_after", "ID": "id", "ThreadID": "thread_id", "TOTP": "totp"} {
		check(t, name, snakeCase(name), want)
	}
}
