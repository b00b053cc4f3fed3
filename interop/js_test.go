package interop

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// runScript runs a script of the folder js and returns what it has printed.
func runScript(t *testing.T, script string, config map[string]any) []string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		unavailable(t, "node is not installed")
	}
	if _, err := os.Stat("js/node_modules"); err != nil {
		unavailable(t, "the clients are not installed: run npm ci in interop/js")
	}
	argument, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a script that goes on forever is a fault
	defer cancel()
	run := exec.CommandContext(ctx, node, script, string(argument))
	run.Dir = "js"
	run.WaitDelay = time.Second
	out, err := run.Output()
	if failure, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%s: %v\n%s%s", script, err, out, failure.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// unavailable skips a test that lacks something, except in CI.
func unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

func compareLines(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		var g, w string
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("line %d\n got %s\nwant %s", i+1, g, w)
		}
	}
}

// slackWebAPILines is what slack.mjs prints.
var slackWebAPILines = []string{
	`{"step":"open","result":{"ok":true,"channel":{"id":"D000000001"},"response_metadata":{}}}`,
	`{"step":"open again","result":{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"},"response_metadata":{}}}`,
	`{"step":"open with return_im","result":{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001",` +
		`"created":"number","is_archived":false,"is_im":true,"is_org_shared":false,"user":"U0ALICE01","last_read":"0000000000.000000",` +
		`"latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0,"updated":"number"},"response_metadata":{}}}`,
	`{"step":"open by channel","result":{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"},"response_metadata":{}}}`,
	`{"step":"open without creation",` + slackCode("channel_not_found") + `,"response_metadata":{}}}`,
	// Slack sends no flags when it opens a group.
	`{"step":"open a group","result":{"ok":true,"channel":{"id":"C000000001"},"response_metadata":{}}}`,
	`{"step":"open a group again","result":{"ok":true,"channel":{"id":"C000000001","name":"mpdm-chatdmtest--alice--bob-1",` +
		`"name_normalized":"mpdm-chatdmtest--alice--bob-1","is_channel":true,"is_group":false,"is_im":false,"is_mpim":true,` +
		`"is_private":true,"is_archived":false,"is_general":false,"is_member":true,"is_shared":false,"is_org_shared":false,` +
		`"is_ext_shared":false,"is_pending_ext_shared":false,"pending_shared":[],"unlinked":0,"created":"number","creator":"UBOT",` +
		`"updated":"number","members":["UBOT","U0ALICE01","U0BOB0001"],"num_members":3,"shared_team_ids":["T0CHATDM1"],` +
		`"last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0,` +
		`"topic":{"value":"","creator":"","last_set":0},` +
		`"purpose":{"value":"Group messaging with: @chatdmtest @alice @bob","creator":"UBOT","last_set":"number"}},"response_metadata":{}}}`,
	`{"step":"close","result":{"ok":true,"response_metadata":{}}}`,
	`{"step":"close again","result":{"ok":true,"no_op":true,"already_closed":true,"response_metadata":{}}}`,
	`{"step":"close the group","result":{"ok":true,"response_metadata":{}}}`,
	`{"step":"close the group again","result":{"ok":true,"no_op":true,"already_closed":true,"response_metadata":{}}}`,

	`{"step":"disabled user",` + slackCode("user_disabled") + `,"response_metadata":{}}}`,
	`{"step":"unknown channel",` + slackCode("channel_not_found") + `,"response_metadata":{}}}`,
	`{"step":"no channel",` + slackCode("invalid_arguments") + `,"response_metadata":{"messages":["[ERROR] missing required field: channel"]}}}`,
	`{"step":"no users",` + slackCode("users_list_not_supplied") + `,"response_metadata":{}}}`,
	`{"step":"no scope",` + slackCode("missing_scope") + `,"needed":"channels:write,groups:write,mpim:write,im:write","provided":"chat:write,im:read",` +
		`"response_metadata":{"scopes":"chat:write,im:read","acceptedScopes":"channels:write,groups:write,mpim:write,im:write"}}}`,
	`{"step":"unknown token",` + slackCode("invalid_auth") + `,"response_metadata":{}}}`,
	`{"step":"retired method",` + slackCode("method_deprecated") + `,"response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. ` +
		`Please use conversations.open instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}}`,
	`{"step":"server down","code":"slack_webapi_http_error","status":503,"body":"<html>down</html>"}`,

	`{"step":"page 1","ids":["D000000001","C000000001"],"more":true}`,
	`{"step":"page 2","ids":["D000000002"],"more":false}`,

	`{"step":"limited","code":"slack_webapi_rate_limited_error","retryAfter":3600}`,
	`{"step":"waited","waits":[1],"ok":true,"user_id":"UBOT"}`,
}

// slackCode is how the client reports an answer with an error.
func slackCode(code string) string {
	return `"code":"slack_webapi_platform_error","data":{"ok":false,"error":"` + code + `"`
}

func TestSlackWebAPI(t *testing.T) {
	t.Parallel()
	server := chatdmtest.NewSlack(chatdmtest.RetiredIM())
	t.Cleanup(server.Close)
	const narrow = "xoxb-narrow"
	server.AddToken(chatdmtest.Token{Value: narrow, User: chatdmtest.BotUser, Scopes: []string{"chat:write", "im:read"}})
	server.Limit("api.test", 1, time.Hour)
	server.Limit("auth.test", 1, time.Second)
	server.Fail("users.info", 1, chatdmtest.Fault{Status: 503, Body: "<html>down</html>", Header: http.Header{"Content-Type": {"text/html"}}})

	compareLines(t, runScript(t, "slack.mjs", map[string]any{
		"url":         server.URL,
		"token":       chatdmtest.BotToken,
		"narrowToken": narrow,
		"alice":       chatdmtest.Alice,
		"bob":         chatdmtest.Bob,
		"disabled":    chatdmtest.DisabledUser,
	}), slackWebAPILines)
}

// rocketChatGenerations are all of them, from the oldest to the newest.
var rocketChatGenerations = []chatdmtest.RocketChatGeneration{
	chatdmtest.RocketChatOld, chatdmtest.RocketChat3, chatdmtest.RocketChat4, chatdmtest.RocketChat7, chatdmtest.RocketChat8,
}

// rocketChatSeen is what rocketchat.mjs prints of a step, from one generation of
// servers on.
type rocketChatSeen struct {
	since chatdmtest.RocketChatGeneration
	seen  string
}

const (
	rocketChatFirst = chatdmtest.RocketChatOld

	roomOfTwo   = `{"t":"d","rid":"U0ALICE01careful","usernames":["alice","careful"],"_id":"U0ALICE01careful"}`
	roomOfThree = `{"t":"d","rid":"chatdmtestDM00001","usernames":["alice","bob","careful"],"_id":"chatdmtestDM00001"}`
	careful     = `"_id":"careful","username":"careful","name":"careful"`
	challenge   = `{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}`
)

// rocketChatSteps is what rocketchat.mjs prints. Where an answer is not of JSON,
// which the client does not look for, it throws a SyntaxError.
var rocketChatSteps = []struct {
	step string
	seen []rocketChatSeen
}{
	{"without login", []rocketChatSeen{
		{rocketChatFirst, `"status":401,"body":{"status":"error","message":"You must be logged in to do this."}`},
		{chatdmtest.RocketChat7, `"status":401,"body":{"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}`},
	}},
	{"wrong password", []rocketChatSeen{{rocketChatFirst, `"status":401,"body":{"status":"error","error":403,"message":"Incorrect password"}`}}},
	{"unknown user", []rocketChatSeen{{rocketChatFirst, `"status":401,"body":{"status":"error","error":"Unauthorized","message":"Unauthorized"}`}}},
	{"login wants a code", []rocketChatSeen{{rocketChatFirst, `"status":401,"body":{"status":"error","error":"totp-required","details":` + challenge + `,"message":"TOTP Required"}`}}},
	{"wrong code", []rocketChatSeen{{rocketChatFirst, `"status":401,"body":{"status":"error","error":"totp-invalid","details":` + challenge + `,"message":"TOTP Invalid"}`}}},
	{"login", []rocketChatSeen{
		{rocketChatFirst, `"result":{"status":"success","data":{"userId":"careful","authToken":"chatdmtest-login-1","me":{` + careful + `}}}`},
		{chatdmtest.RocketChat7, `"result":{"status":"success","data":{"userId":"careful","authToken":"chatdmtest-login-1","me":{` + careful + `}},"success":true}`},
	}},
	{"me", []rocketChatSeen{{rocketChatFirst, `"result":{` + careful + `,"success":true}`}}},
	{"second factor", []rocketChatSeen{{rocketChatFirst, `"result":{"total":0,"challenges":[{"method":"totp","invalidAttempt":false}]}`}}},

	{"create", []rocketChatSeen{{rocketChatFirst, `"result":{"room":` + roomOfTwo + `,"success":true}`}}},
	{"create again", []rocketChatSeen{{rocketChatFirst, `"result":{"room":` + roomOfTwo + `,"success":true}`}}},
	{"create a group", []rocketChatSeen{{rocketChatFirst, `"result":{"room":` + roomOfThree + `,"success":true}`}}},
	{"create with nobody", []rocketChatSeen{{rocketChatFirst, `"status":400,"body":{"success":false,"error":"Invalid user [error-invalid-user]",` +
		`"errorType":"error-invalid-user","details":{"method":"createDirectMessage"}}`}}},
	{"create with both", []rocketChatSeen{
		{rocketChatFirst, `"result":{"room":` + roomOfTwo + `,"success":true}`},
		{chatdmtest.RocketChat4, `"status":400,"body":{"success":false,"error":"must NOT have additional properties\n must NOT have additional properties\n ` +
			`must match exactly one schema in oneOf [invalid-params]","errorType":"invalid-params"}`},
		{chatdmtest.RocketChat7, `"status":400,"body":{"success":false,"error":"must NOT have additional properties\n must NOT have additional properties\n ` +
			`must match exactly one schema in oneOf","errorType":"invalid-params"}`},
	}},

	{"open", []rocketChatSeen{{rocketChatFirst, `"result":{"success":true}`}}},
	{"open again", []rocketChatSeen{{rocketChatFirst, `"result":{"success":true}`}}},
	{"open unknown", []rocketChatSeen{
		{rocketChatFirst, `"status":400,"body":{"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}`},
		{chatdmtest.RocketChat4, `"status":403,"body":{"success":false,"error":"unauthorized"}`},
	}},
	{"close", []rocketChatSeen{{rocketChatFirst, `"result":{"success":true}`}}},
	{"close again", []rocketChatSeen{
		{rocketChatFirst, `"status":400,"body":{"success":false,"error":"The direct message room, undefined, is already closed to the sender"}`},
		{chatdmtest.RocketChat4, `"status":400,"body":{"success":false,"error":"The direct message room, is already closed to the sender"}`},
	}},
	{"close unknown", []rocketChatSeen{
		{rocketChatFirst, `"status":400,"body":{"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}`},
		{chatdmtest.RocketChat4, `"status":400,"body":{"success":false,"error":"The user is not subscribed to the room"}`},
	}},
	{"list", []rocketChatSeen{{rocketChatFirst, `"result":{"ims":[{"_id":"U0ALICE01careful","t":"d","usernames":["alice","careful"],"usersCount":2,"msgs":0,` +
		`"ts":"string","uids":["U0ALICE01","careful"]}],"offset":0,"count":1,"total":2,"success":true}`}}},
	{"limited", []rocketChatSeen{{rocketChatFirst, `"status":429,"body":{"success":false,"error":"Error, too many requests. Please slow down. ` +
		`You must wait N seconds before trying this endpoint again. [error-too-many-requests]"}`}}},

	{"delete as a member", []rocketChatSeen{
		{rocketChatFirst, `"thrown":"SyntaxError"`},
		{chatdmtest.RocketChat3, `"status":403,"body":{"success":false,"error":"unauthorized"}`},
		{chatdmtest.RocketChat4, `"status":400,"body":{"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed","details":{"method":"eraseRoom"}}`},
	}},
	{"delete", []rocketChatSeen{
		{rocketChatFirst, `"thrown":"SyntaxError"`},
		{chatdmtest.RocketChat3, `"result":{"success":true}`},
	}},
	{"delete again", []rocketChatSeen{
		{rocketChatFirst, `"thrown":"SyntaxError"`},
		{chatdmtest.RocketChat3, `"status":400,"body":{"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}`},
	}},
	{"delete nothing", []rocketChatSeen{
		{rocketChatFirst, `"thrown":"SyntaxError"`},
		{chatdmtest.RocketChat3, `"status":400,"body":{"success":false,"error":"Body param \"roomId\" or \"username\" is required [error-room-param-not-provided]",` +
			`"errorType":"error-room-param-not-provided"}`},
		{chatdmtest.RocketChat4, `"status":400,"body":{"success":false,"error":"must have required property 'roomId'\n must have required property 'username'\n ` +
			`must match exactly one schema in oneOf [invalid-params]","errorType":"invalid-params"}`},
		{chatdmtest.RocketChat7, `"status":400,"body":{"success":false,"error":"must have required property 'roomId'\n must have required property 'username'\n ` +
			`must match exactly one schema in oneOf","errorType":"invalid-params"}`},
	}},
	{"logout", []rocketChatSeen{{rocketChatFirst, `"result":{"status":"success","data":{"message":"You've been logged out!"}}`}}},
	{"after logout", []rocketChatSeen{
		{rocketChatFirst, `"status":401,"body":{"status":"error","message":"You must be logged in to do this."}`},
		{chatdmtest.RocketChat7, `"status":401,"body":{"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}`},
	}},
}

func TestRocketChatAPIClient(t *testing.T) {
	for age, generation := range rocketChatGenerations {
		t.Run(string(generation), func(t *testing.T) {
			t.Parallel()
			server := chatdmtest.NewRocketChat(chatdmtest.Generation(generation))
			t.Cleanup(server.Close)
			const code = "123456"
			server.AddUser(chatdmtest.RocketChatUser{ID: "careful", Password: chatdmtest.RocketChatPassword, TOTP: code})
			server.Limit("im.list", 1, time.Hour)
			server.Fail("dm.list", 1, chatdmtest.Fault{Code: "totp-required"})

			var want []string
			for _, s := range rocketChatSteps {
				var seen string
				for _, since := range s.seen {
					if slices.Index(rocketChatGenerations, since.since) <= age {
						seen = since.seen
					}
				}
				want = append(want, `{"step":"`+s.step+`",`+seen+`}`)
			}
			compareLines(t, runScript(t, "rocketchat.mjs", map[string]any{
				"url":      server.URL,
				"username": "careful",
				"password": chatdmtest.RocketChatPassword,
				"totp":     code,
				"admin":    map[string]string{"id": chatdmtest.RocketChatAdminID, "token": chatdmtest.RocketChatAdminToken},
			}), want)

			// The client has met the challenge with a header.
			requests := server.Requests()
			i := slices.IndexFunc(requests, func(r chatdmtest.Request) bool { return r.Method == "dm.list" && r.Status == http.StatusOK })
			if i < 0 || requests[i].Header.Get("X-2fa-Code") != code || requests[i].Header.Get("X-2fa-Method") != "totp" {
				t.Errorf("no dm.list came with the code: %d requests", len(requests))
			}
		})
	}
}
