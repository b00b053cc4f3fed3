package chatdmtest_test

import (
	"testing"
	"testing/synctest"

	"github.com/chatdm/chatdm/chatdmtest"
)

// slackUserResponse returns the response to users.info for an active user. The parameter
// after is what follows the email address.
func slackUserResponse(id, name, realName, email, after string) string {
	if email != "" {
		email = `"email":"` + email + `",`
	}
	return `{"ok":true,"user":{"id":"` + id + `","team_id":"T0CHATDM1","name":"` + name + `","deleted":false,"real_name":"` + realName + `",` +
		`"tz":"Etc/UTC","tz_offset":0,"profile":{"real_name":"` + realName + `","real_name_normalized":"` + realName + `",` +
		`"display_name":"` + name + `","display_name_normalized":"` + name + `",` + email + after
}

func TestUsersInfo(t *testing.T) {
	const member = `"team":"T0CHATDM1"},"is_restricted":false,"is_ultra_restricted":false,"is_bot":false,"is_app_user":false}}`
	s := newSlack(t)
	s.AddUser(chatdmtest.User{ID: "U0ZOE0001", Name: "zoe", Email: "z@example.org", RealName: "Zoë Z.", DisplayName: "zz", TZ: "Asia/Tokyo", UltraRestricted: true, Stranger: true})
	s.AddUser(chatdmtest.User{ID: "U0HIDDEN02", Name: "shy", Hidden: true})
	s.AddToken(chatdmtest.Token{Value: "xoxp-shy", User: "U0HIDDEN02"})
	s.AddToken(chatdmtest.Token{Value: "xoxb-no-email", User: chatdmtest.BotUser, Scopes: []string{"users:read"}})
	runSlackSteps(t, s, []slackStep{
		{"", "users.info", "user=U0ALICE01", slackUserResponse("U0ALICE01", "alice", "Alice", "alice@example.com", member)},
		{"xoxb-no-email", "users.info", "user=U0ALICE01", slackUserResponse("U0ALICE01", "alice", "Alice", "", member)},
		{"", "users.info", "user=U0ALICE01&include_locale=true", slackUserResponse("U0ALICE01", "alice", "Alice", "alice@example.com",
			`"team":"T0CHATDM1"},"is_restricted":false,"is_ultra_restricted":false,"is_bot":false,"is_app_user":false,"locale":"en-US"}}`)},
		{"", "users.info", "user=U0ZOE0001", `{"ok":true,"user":{"id":"U0ZOE0001","team_id":"T0CHATDM1","name":"zoe","deleted":false,"real_name":"Zoë Z.",` +
			`"tz":"Asia/Tokyo","tz_offset":32400,"profile":{"real_name":"Zoë Z.","real_name_normalized":"Zoë Z.","display_name":"zz","display_name_normalized":"zz",` +
			`"email":"z@example.org","team":"T0CHATDM1"},"is_restricted":true,"is_ultra_restricted":true,"is_bot":false,"is_stranger":true,"is_app_user":false}}`},
		{"", "users.info", "user=U0DISABLED", `{"ok":true,"user":{"id":"U0DISABLED","team_id":"T0CHATDM1","name":"disabled","deleted":true,` +
			`"profile":{"real_name":"Disabled","real_name_normalized":"Disabled","display_name":"disabled","display_name_normalized":"disabled",` +
			`"email":"disabled@example.com","team":"T0CHATDM1"},"is_bot":false,"is_app_user":false}}`},
		{"", "users.info", "user=UBOT", slackUserResponse("UBOT", "chatdmtest", "Chatdmtest", "",
			`"bot_id":"B00000BOT","api_app_id":"A00000BOT","team":"T0CHATDM1"},"is_restricted":false,"is_ultra_restricted":false,"is_bot":true,"is_app_user":false}}`)},
		{"", "users.info", "user=U0HIDDEN02", slackError("user_not_visible")},
		{"xoxp-shy", "users.info", "user=U0HIDDEN02", slackUserResponse("U0HIDDEN02", "shy", "Shy", "shy@example.com", member)},
		{"", "users.info", "user=U0NOBODY1", slackError("user_not_found")},
		{"", "users.info", "user=", slackError("user_not_found")},
		{"", "users.info", "", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: user"]}}`},

		{"", "users.lookupByEmail", "email=alice@example.com", slackUserResponse("U0ALICE01", "alice", "Alice", "alice@example.com", member)},
		{"", "users.lookupByEmail", "email=Alice@Example.COM", slackUserResponse("U0ALICE01", "alice", "Alice", "alice@example.com", member)},
		{"xoxp-shy", "users.lookupByEmail", "email=shy@example.com", slackUserResponse("U0HIDDEN02", "shy", "Shy", "shy@example.com", member)},
		{"", "users.lookupByEmail", "email=shy@example.com", slackError("users_not_found")},
		{"", "users.lookupByEmail", "email=disabled@example.com", slackError("users_not_found")},
		{"", "users.lookupByEmail", "email=chatdmtest@example.com", slackError("users_not_found")},
		{"", "users.lookupByEmail", "email=", slackError("users_not_found")},
		{"", "users.lookupByEmail", "", `{"ok":false,"error":"invalid_arguments","response_metadata":{"messages":["[ERROR] missing required field: email"]}}`},
	})
}

// The ID of a bot has the same shape as on Slack.
func TestBotID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		s.AddToken(chatdmtest.Token{Value: "xoxb-other", User: chatdmtest.OtherBot})
		s.AddUser(chatdmtest.User{ID: "w_é-7x", Name: "seven", Bot: true})
		s.AddToken(chatdmtest.Token{Value: "xoxb-seven", User: "w_é-7x"})
		runSlackSteps(t, s, []slackStep{
			{"xoxb-other", "auth.test", "", `{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"otherbot","team_id":"T0CHATDM1","user_id":"U0OTHERBOT","bot_id":"B0OTHERBOT"}`},
			{"xoxb-seven", "auth.test", "", `{"ok":true,"url":"https://chatdmtest.slack.com/","team":"chatdmtest","user":"seven","team_id":"T0CHATDM1","user_id":"w_é-7x","bot_id":"B00000W7X"}`},
			{"xoxb-other", "chat.postMessage", "channel=U0ALICE01&text=hi", `{"ok":true,"channel":"D000000001","ts":"946684800.000000",` +
				`"message":{"type":"message","user":"U0OTHERBOT","text":"hi","ts":"946684800.000000","bot_id":"B0OTHERBOT","app_id":"A0OTHERBOT","team":"T0CHATDM1"}}`},
			{chatdmtest.UserToken, "chat.postMessage", "channel=U0ALICE01&text=hi", `{"ok":true,"channel":"D000000002","ts":"946684800.000001",` +
				`"message":{"type":"message","user":"UADMIN","text":"hi","ts":"946684800.000001","team":"T0CHATDM1"}}`},
		})
	})
}
