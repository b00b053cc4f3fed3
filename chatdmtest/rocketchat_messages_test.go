package chatdmtest_test

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// perGeneration holds the responses of RocketChatOld and RocketChat3, RocketChat4,
// RocketChat7, and RocketChat8. An empty one is the same as the previous one.
type perGeneration [4]string

func (p perGeneration) of(g chatdmtest.RocketChatGeneration) string {
	want := ""
	for i := range max(slices.Index(generations, g), 1) {
		if p[i] != "" {
			want = p[i]
		}
	}
	return want
}

// always is a response that is the same in all generations.
func always(want string) perGeneration { return perGeneration{want} }

// messageStep is a call like that of a rocketChatStep. If its body starts with "?",
// it is the query of a GET.
type messageStep struct {
	call string
	want perGeneration
}

func call(t *testing.T, s *chatdmtest.RocketChat, step string) string {
	t.Helper()
	part := strings.SplitN(step, " ", 3)
	if query, isGet := strings.CutPrefix(part[2], "?"); isGet {
		return statusAndBody(send(t, s, newRocketChatRequest(t, s, part[0], "GET", part[1]+"?"+query, "", "")))
	}
	return postJSON(t, s, part[0], part[1], part[2])
}

// testMessageSteps makes the calls in each generation. The clock stands still at
// messageTime, unless a call is a duration.
func testMessageSteps(t *testing.T, prepare func(*chatdmtest.RocketChat), steps []messageStep) {
	t.Helper()
	for _, g := range generations {
		t.Run(string(g), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRocketChat(t, chatdmtest.InMemory(), chatdmtest.Generation(g))
				s.AddRoom(chatdmtest.RocketChatRoom{ID: "dm", Type: "d", Members: []string{"u_alice", "u_bob"}})
				if prepare != nil {
					prepare(s)
				}
				for i, step := range steps {
					if pause, err := time.ParseDuration(step.call); err == nil {
						time.Sleep(pause)
						continue
					}
					checkBody(t, fmt.Sprintf("step %d: %.200s", i+1, step.call), call(t, s, step.call), step.want.of(g))
				}
			})
		})
	}
}

const messageTime = "2000-01-01T00:00:00.000Z"

// storedMessage returns a message of alice as servers send it. The argument extra
// holds the optional fields, each with a comma at the end.
func storedMessage(id, roomID, text, extra string) string {
	return storedMessageAt(messageTime, id, roomID, text, extra)
}

func storedMessageAt(ts, id, roomID, text, extra string) string {
	return fmt.Sprintf(`{"_id":%q,"rid":%q,"msg":%q,"ts":%q,"u":{"_id":"u_alice","username":"alice","name":"alice"},%s"mentions":[],"channels":[],"_updatedAt":%q}`, id, roomID, text, ts, extra, ts)
}

func sent(message string) string { return `200 {"message":` + message + `,"success":true}` }

// failed returns a response with status 400 and an error that has no type.
func failed(text string) string { return `400 {"success":false,"error":"` + text + `"}` }

func failedWithType(text, code, details string) string {
	if details != "" {
		details = `,"details":{` + details + `}`
	}
	return `400 {"success":false,"error":"` + text + ` [` + code + `]","errorType":"` + code + `"` + details + `}`
}

var (
	duplicate    = perGeneration{failed("Cannot read property 'starred' of undefined"), "", failed("Cannot read properties of undefined (reading 'starred')"), ""}
	noMessage    = always(`400 {"success":false}`)
	sizeExceeded = failedWithType("Message size exceeds Message_MaxAllowedSize", "error-message-size-exceeded", `"method":"sendMessage"`)
)

// An ID is unique on the whole server. The first message keeps its text.
func TestRocketChatDuplicate(t *testing.T) {
	testMessageSteps(t, func(s *chatdmtest.RocketChat) {
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "dm2", Type: "d", Members: []string{"u_carol", "u_bob"}})
	}, []messageStep{
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":" one "}}`, always(sent(storedMessage("m1", "dm", " one ", "")))},
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":" one "}}`, duplicate},
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"two"},"previewUrls":[]}`, duplicate},
		{`carol chat.sendMessage {"message":{"_id":"m1","rid":"dm2","msg":"three"}}`, duplicate},
		{`alice im.messages ?roomId=dm`, always(`200 {"messages":[` + storedMessage("m1", "dm", " one ", "") + `],"count":1,"offset":0,"total":1,"success":true}`)},
		{`carol im.messages ?roomId=dm2`, always(`200 {"messages":[],"count":0,"offset":0,"total":0,"success":true}`)},

		// A server chooses an ID if there is none, but not one that is in use.
		{`alice chat.sendMessage {"message":{"_id":"chatdmtestMsg0002","rid":"dm","msg":"x"}}`, always(sent(storedMessage("chatdmtestMsg0002", "dm", "x", "")))},
		{`alice chat.sendMessage {"message":{"rid":"dm","msg":"x"}}`, always(sent(storedMessage("chatdmtestMsg0001", "dm", "x", "")))},
		{`alice chat.sendMessage {"message":{"_id":"","rid":"dm","msg":"x"}}`, always(sent(storedMessage("chatdmtestMsg0003", "dm", "x", "")))},
		{`alice chat.sendMessage {"message":{"_id":null,"rid":"dm","msg":"x"}}`, always(sent(storedMessage("chatdmtestMsg0004", "dm", "x", "")))},
	})
}

func TestRocketChatSendMessage(t *testing.T) {
	noRoomID := failed("The 'rid' property on the message object is missing.")
	paramMissing := failedWithType(`The \"message\" parameter must be provided.`, "error-invalid-params", "")
	schemaError := func(old, violation string) perGeneration {
		return perGeneration{old, "", invalidParams(violation), invalidParams7(violation)}
	}
	const readOnly = "You can't send messages because the room is readonly."
	long := strings.Repeat("x", 5000)
	faces := strings.Repeat("😀", 2501)
	smiles := strings.Repeat(":smile:", 5000)
	attachments := `"attachments":[{"text":"a"}],`
	testMessageSteps(t, func(s *chatdmtest.RocketChat) {
		s.AddUser(chatdmtest.RocketChatUser{ID: "u_robot", Username: "robot", AuthToken: "tok-robot", Bot: true})
		s.AddUser(chatdmtest.RocketChatUser{ID: "u_gone", Username: "gone", Deactivated: true})
		members := []string{"u_alice", "u_bob", "u_admin", "u_robot"}
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "blocked", Type: "d", Members: []string{"u_alice", "u_bob"}, Blocked: true})
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "readonly", Type: "p", Members: members, ReadOnly: true})
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "muted", Type: "p", Members: members, Muted: []string{"u_alice"}})
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "dmgone", Type: "d", Members: []string{"u_gone", "u_alice"}})
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "dmgone3", Type: "d", Members: []string{"u_gone", "u_alice", "u_bob"}})
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "dmgoneadmin", Type: "d", Members: []string{"u_gone", "u_admin"}})
	}, []messageStep{
		// The body.
		{`none chat.sendMessage {}`, perGeneration{unauthorized, "", unauthorized7, ""}},
		{`alice chat.sendMessage {}`, schemaError(paramMissing, missingProperty("message"))},
		{`alice chat.sendMessage {"message":null}`, schemaError(paramMissing, "must be object")},
		{`alice chat.sendMessage {"message":"x"}`, schemaError(noRoomID, "must be object")},
		{`alice chat.sendMessage {"message":{"rid":"dm","msg":"x"},"text":"x"}`, schemaError(sent(storedMessage("chatdmtestMsg0001", "dm", "x", "")), additionalProperties)},
		{`alice chat.sendMessage {"message":{"rid":"404","attachments":"x"}}`, schemaError(failed("error-invalid-room"), "must be array")},
		{`alice chat.sendMessage {"message":{"rid":"404","blocks":["x"]}}`, schemaError(failed("error-invalid-room"), "must be object")},
		{`alice chat.sendMessage {"message":{"rid":"404","tshow":"yes"}}`, schemaError(failed("error-invalid-room"), "must be boolean")},
		{`alice chat.sendMessage {"message":{"rid":"404"},"previewUrls":"x"}`, schemaError(failed("error-invalid-room"), "must be array")},
		{`alice chat.sendMessage {"message":{"rid":"404"},"previewUrls":[{}]}`, schemaError(failed("error-invalid-room"), "must be string")},
		{`alice chat.sendMessage {"message":{"_id":{},"rid":"dm","msg":"x"}}`, schemaError(failed("Match error: Expected string, got object in field _id"), "must be string")},
		{`alice chat.sendMessage {"message":{"_id":5,"rid":"dm","msg":"x"}}`, perGeneration{failed("Match error: Expected string, got number in field _id"), "", sent(storedMessage("5", "dm", "x", ""))}},
		{`alice chat.sendMessage {"message":{"_id":"i1","rid":"dm","msg":true}}`, perGeneration{failed("Match error: Expected string, got boolean in field msg"), "", sent(storedMessage("i1", "dm", "true", ""))}},
		{`alice chat.sendMessage {"message":{"rid":5,"msg":"x"}}`, perGeneration{failed("Match error: Expected string, got number"), "", failed("error-invalid-room")}},

		// The fields.
		{`alice chat.sendMessage {"message":{"msg":"x"}}`, always(noRoomID)},
		{`alice chat.sendMessage {"message":{"_id":"t1","rid":"dm","msg":"x","t":"uj"}}`, perGeneration{sent(storedMessage("t1", "dm", "x", "")), failed("Cannot send system messages using 'chat.sendMessage'")}},
		{`alice chat.sendMessage {"message":{"rid":"dm","msg":"x","tshow":true}}`, always(failedWithType("tshow provided but missing tmid", "invalid-params", `"method":"sendMessage"`))},
		{`alice chat.sendMessage {"message":{"rid":"dm","msg":"x","ts":"1999-12-31T23:58:59Z"}}`, always(failedWithType("Message timestamp is out of sync", "error-message-ts-out-of-sync",
			`"method":"sendMessage","message_ts":"1999-12-31T23:58:59Z","server_ts":946684800000`))},
		{`alice chat.sendMessage {"message":{"_id":"ts1","rid":"dm","msg":"x","ts":946684859000}}`, always(sent(storedMessage("ts1", "dm", "x", "")))},
		{`alice chat.sendMessage {"message":{"_id":"ts2","rid":"dm","msg":"x","ts":"now"}}`, always(sent(storedMessage("ts2", "dm", "x", "")))},
		{`alice chat.sendMessage {"message":{"rid":"dm","msg":"x","alias":"Boss"}}`, always(failed("Not enough permission"))},
		{`robot chat.sendMessage {"message":{"rid":"muted","msg":"x","alias":"Boss","customFields":{"a":1}}}`, perGeneration{strings.ReplaceAll(
			sent(storedMessage("chatdmtestMsg0002", "muted", "x", `"alias":"Boss","customFields":{"a":1},`)), "alice", "robot"), failed("Custom fields not enabled")}},
		{`alice chat.sendMessage {"message":{"_id":"a1","rid":"dm","msg":"x","emoji":":x:","attachments":[{"text":"a"}],"blocks":null}}`,
			always(sent(storedMessage("a1", "dm", "x", `"emoji":":x:",`+attachments)))},

		// The text.
		{`alice chat.sendMessage {"message":{"_id":"e1","rid":"dm","msg":" \n"}}`, perGeneration{sent(storedMessage("e1", "dm", " \n", "")), "", "",
			failedWithType("Message cannot be empty", "error-invalid-message", `"method":"sendMessage"`)}},
		{`alice chat.sendMessage {"message":{"_id":"e2","rid":"dm","attachments":[{"text":"a"}]}}`, always(sent(storedMessage("e2", "dm", "", attachments)))},
		{`alice chat.sendMessage {"message":{"_id":"n1","rid":"dm","msg":"a\u0000b"}}`, perGeneration{
			strings.Replace(sent(storedMessage("n1", "dm", "aNULb", "")), "NUL", `\u0000`, 1), "", "", sent(storedMessage("n1", "dm", "ab", ""))}},
		{`alice chat.sendMessage {"message":{"_id":"l1","rid":"dm","msg":"` + long + `"}}`, always(sent(storedMessage("l1", "dm", long, "")))},
		{`alice chat.sendMessage {"message":{"_id":"l2","rid":"dm","msg":"` + long + `y"}}`, always(sizeExceeded)},
		{`alice chat.sendMessage {"message":{"_id":"l3","rid":"dm","msg":"` + faces + `"}}`, perGeneration{sent(storedMessage("l3", "dm", faces, "")), sizeExceeded}},
		{`alice chat.sendMessage {"message":{"_id":"l4","rid":"dm","msg":"` + smiles + `"}}`, perGeneration{sent(storedMessage("l4", "dm", smiles, "")), sizeExceeded}},

		// The room.
		{`alice chat.sendMessage {"message":{"rid":"404","msg":"x"}}`, always(failed("error-invalid-room"))},
		{`carol chat.sendMessage {"message":{"rid":"dm","msg":"x"}}`, always(failed("error-not-allowed"))},
		{`admin chat.sendMessage {"message":{"rid":"dm","msg":"x"}}`, always(failed("error-not-allowed"))},
		{`alice chat.sendMessage {"message":{"rid":"blocked","msg":"x"}}`, always(failed("room_is_blocked"))},
		{`alice chat.sendMessage {"message":{"rid":"readonly","msg":"x"}}`, always(failed(readOnly))},
		{`alice chat.sendMessage {"message":{"rid":"muted","msg":"x"}}`, always(failed("You_have_been_muted"))},
		{`alice chat.sendMessage {"message":{"rid":"dmgone","msg":"x"}}`, always(failed(readOnly))},
		{`admin chat.sendMessage {"message":{"_id":"r1","rid":"dmgoneadmin","msg":"x"}}`, always(strings.ReplaceAll(sent(storedMessage("r1", "dmgoneadmin", "x", "")), "alice", "admin"))},
		{`admin chat.sendMessage {"message":{"_id":"r2","rid":"readonly","msg":"x"}}`, always(strings.ReplaceAll(sent(storedMessage("r2", "readonly", "x", "")), "alice", "admin"))},
		{`alice chat.sendMessage {"message":{"_id":"r3","rid":"dmgone3","msg":"x"}}`, always(sent(storedMessage("r3", "dmgone3", "x", "")))},
		{`bob chat.sendMessage {"message":{"_id":"r4","rid":"GENERAL","msg":"x"}}`, always(strings.ReplaceAll(sent(storedMessage("r4", "GENERAL", "x", "")), "alice", "bob"))},
	})
}

func TestRocketChatPostMessage(t *testing.T) {
	posted := func(message string) string {
		return `200 {"ts":946684800000,"channel":"dm","message":` + message + `,"success":true}`
	}
	long := strings.Repeat("x", 5001)
	testMessageSteps(t, func(s *chatdmtest.RocketChat) {
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "blocked", Type: "d", Members: []string{"u_alice", "u_carol"}, Blocked: true})
	}, []messageStep{
		{`alice chat.postMessage {"roomId":"dm","text":" a\n"}`, always(posted(storedMessage("chatdmtestMsg0001", "dm", "a", "")))},
		{`alice chat.postMessage {"channel":"@bob","tmid":"chatdmtestMsg0001","emoji":":x:"}`, always(posted(storedMessage("chatdmtestMsg0002", "dm", "", `"tmid":"chatdmtestMsg0001","emoji":":x:",`)))},
		{`alice chat.postMessage {"roomId":"dm","text":"` + long + `"}`, perGeneration{posted(storedMessage("chatdmtestMsg0003", "dm", long, "")), "", failed("error-message-size-exceeded")}},
		{`alice chat.postMessage {"roomId":"blocked","text":"a"}`, always(failed("room_is_blocked"))},
		{`carol chat.postMessage {"roomId":"dm","text":"a"}`, always(failed("error-not-allowed"))},
		{`alice chat.postMessage {"roomId":"dm","text":"a","alias":"b"}`, always(failed("Not enough permission"))},
		{`alice chat.postMessage {"roomId":"404","text":"a"}`, always(invalidChannel)},
		{`alice chat.postMessage {"text":"a"}`, always(invalidChannel)},
	})
}

// A prevented message looks like a duplicate, but is not stored.
func TestRocketChatPreventMessages(t *testing.T) {
	const unknownError = `400 {"success":false,"error":"unknown-error"}`
	testMessageSteps(t, func(s *chatdmtest.RocketChat) {
		s.PreventMessages(func(roomID, userID, text string) bool { return roomID == "dm" && userID == "u_alice" && text == "spam" })
		s.RewriteMessages(strings.ToUpper)
		s.SetMaxMessageSize(4)
	}, []messageStep{
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"spam"}}`, duplicate},
		{`alice chat.getMessage ?msgId=m1`, noMessage},
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"ham"}}`, always(sent(storedMessage("m1", "dm", "HAM", "")))},
		{`alice chat.sendMessage {"message":{"_id":"m2","rid":"dm","msg":"spams"}}`, always(sizeExceeded)},
		{`alice chat.postMessage {"roomId":"dm","text":"spam"}`, perGeneration{duplicate[0], "", duplicate[2], unknownError}},
		{`bob chat.sendMessage {"message":{"_id":"m3","rid":"dm","msg":"spam"}}`, always(strings.ReplaceAll(sent(storedMessage("m3", "dm", "SPAM", "")), "alice", "bob"))},
	})
}

func TestRocketChatGetMessage(t *testing.T) {
	const missing = `400 {"success":false,"error":"The \"msgId\" query parameter must be provided."}`
	testMessageSteps(t, nil, []messageStep{
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"x"}}`, always(sent(storedMessage("m1", "dm", "x", "")))},
		{`alice chat.sendMessage {"message":{"_id":"m2","rid":"GENERAL","msg":"x"}}`, always(sent(storedMessage("m2", "GENERAL", "x", "")))},
		{`bob chat.getMessage ?msgId=m1`, always(sent(storedMessage("m1", "dm", "x", "")))},
		{`carol chat.getMessage ?msgId=m2`, always(sent(storedMessage("m2", "GENERAL", "x", "")))},
		{`carol chat.getMessage ?msgId=m1`, always(failedWithType("Not allowed", "error-not-allowed", `"method":"getSingleMessage"`))},
		{`alice chat.getMessage ?msgId=m3`, noMessage},
		{`alice chat.getMessage ?`, perGeneration{missing, "", "", invalidParams7(missingProperty("msgId"))}},
		{`alice chat.getMessage ?msgId=`, perGeneration{missing, "", "", invalidParams7("must NOT have fewer than 1 characters")}},
		{`none chat.getMessage ?`, perGeneration{unauthorized, "", unauthorized7, ""}},
		{`alice chat.getMessage ?msgId=m1&x=1`, perGeneration{sent(storedMessage("m1", "dm", "x", "")), "", "", invalidParams7(additionalProperties)}},
	})

	// im.delete also deletes the messages.
	s := newRocketChat(t)
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "dm", Type: "d", Members: []string{"u_alice", "u_admin"}})
	for range 2 {
		checkBody(t, "new", call(t, s, `alice chat.getMessage ?msgId=m1`), `400 {"success":false}`)
		call(t, s, `alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"x"}}`)
		if got := s.Messages("dm"); len(got) != 1 || got[0].ID != "m1" {
			t.Errorf("got Messages %+v, want m1", got)
		}
		checkBody(t, "im.delete", call(t, s, `admin im.delete {"roomId":"dm"}`), success)
		s.AddRoom(chatdmtest.RocketChatRoom{ID: "dm", Type: "d", Members: []string{"u_alice", "u_admin"}})
	}
}

// A deleted message can be sent again.
func TestRocketChatDeleteMessage(t *testing.T) {
	notAllowed := failedWithType("Not allowed", "error-action-not-allowed", `"method":"deleteMessage","action":"Delete_message"`)
	deleted := func(id, ts string) string {
		return `200 {"_id":"` + id + `","ts":` + ts + `,"message":{"_id":"` + id + `","rid":"dm","u":{"_id":"u_alice","username":"alice","name":"alice"}},"success":true}`
	}
	deletedMessages := func(ids ...string) string {
		var messages []string
		for _, id := range ids {
			messages = append(messages, `{"_id":"`+id+`"}`)
		}
		return fmt.Sprintf(`200 {"messages":[%s],"count":%d,"offset":0,"total":%[2]d,"success":true}`, strings.Join(messages, ","), len(ids))
	}
	sentence := func(text string) string {
		return `400 {"success":false,"error":"[` + text + `]","errorType":"` + text + `"}`
	}
	m1 := sent(storedMessage("m1", "dm", "x", ""))
	testMessageSteps(t, nil, []messageStep{
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"x"}}`, always(m1)},
		{`alice chat.delete {"msgId":"m2","roomId":"dm"}`, always(failed(`No message found with the id of \"m2\".`))},
		{`alice chat.delete {"msgId":"m1","roomId":"GENERAL"}`, always(failed("The room id provided does not match where the message is from."))},
		{`bob chat.delete {"msgId":"m1","roomId":"dm","asUser":true}`, always(failed(`Unauthorized. You must have the permission \"force-delete-message\" to delete other's message as them.`))},
		{`bob chat.delete {"msgId":"m1","roomId":"dm"}`, always(notAllowed)},
		{`alice chat.delete {"msgId":"m1"}`, perGeneration{failed("Match error: Missing key 'roomId'"), invalidParams(missingProperty("roomId")), "", invalidParams7(missingProperty("roomId"))}},
		{`alice chat.delete {"msgId":"m1","roomId":"dm"}`, perGeneration{deleted("m1", "946684800000"), deleted("m1", `"946684800000"`)}},
		{`alice chat.getMessage ?msgId=m1`, noMessage},
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"x"}}`, always(m1)},
		{`admin chat.delete {"msgId":"m1","roomId":"dm","asUser":true}`, perGeneration{deleted("m1", "946684800000"), deleted("m1", `"946684800000"`)}},

		{`carol chat.getDeletedMessages ?roomId=dm&since=1999-12-31T23:59:59Z`, always(deletedMessages("m1", "m1"))},
		{`carol chat.getDeletedMessages ?roomId=dm&since=2000-01-01T00:00:00Z`, always(deletedMessages())},
		{`carol chat.getDeletedMessages ?roomId=GENERAL&since=1999-12-31T23:59:59Z`, always(deletedMessages())},
		{`carol chat.getDeletedMessages ?since=x`, perGeneration{sentence(`The required \"roomId\" query param is missing.`), "", "", invalidParams7(missingProperty("roomId"))}},
		{`carol chat.getDeletedMessages ?roomId=dm`, perGeneration{sentence(`The required \"since\" query param is missing.`), "", "", invalidParams7(missingProperty("since"))}},
		{`carol chat.getDeletedMessages ?roomId=dm&since=x`, perGeneration{sentence(`The \"since\" query parameter must be a valid date.`), "", "", invalidParams7(`must match format \"iso-date-time\"`)}},
	})

	s := newRocketChat(t)
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "dm", Type: "d", Members: []string{"u_alice", "u_bob"}})
	for range 2 {
		call(t, s, `alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"x"}}`)
		if !s.DeleteMessage("m1") || s.DeleteMessage("m1") || len(s.Messages("dm")) > 0 {
			t.Errorf("DeleteMessage did not delete the message exactly once")
		}
	}
}

func TestRocketChatHistoryBounds(t *testing.T) {
	at := func(second int) string { return fmt.Sprintf("2000-01-01T00:00:%02d.000Z", second) }
	var stored []string // m0 to m4, one second apart; m2 and m3 are replies to m0
	extras := []string{"", "", `"tmid":"m0",`, `"tmid":"m0","tshow":true,`, ""}
	var steps []messageStep
	for i, extra := range extras {
		id := fmt.Sprint("m", i)
		stored = append(stored, storedMessageAt(at(i), id, "dm", "x", extra))
		fields := strings.TrimSuffix(","+extra, ",")
		steps = append(steps,
			messageStep{`alice chat.sendMessage {"message":{"_id":"` + id + `","rid":"dm","msg":"x"` + fields + `}}`, always(sent(stored[i]))},
			messageStep{call: "1s"})
	}
	list := func(is ...int) string {
		var messages []string
		for _, i := range is {
			messages = append(messages, stored[i])
		}
		return strings.Join(messages, ",")
	}
	history := func(is ...int) string { return `200 {"messages":[` + list(is...) + `],"success":true}` }
	messages := func(offset int, is ...int) string {
		return fmt.Sprintf(`200 {"messages":[%s],"count":%d,"offset":%d,"total":5,"success":true}`, list(is...), len(is), offset)
	}
	notAllowedValue := "must be equal to one of the allowed values"
	all, shown := history(4, 3, 2, 1, 0), history(4, 3, 1, 0)
	missing4 := invalidParams(missingProperty("roomId"), missingProperty("username"), noMatchInOneOf)
	missing8 := invalidParams7(missingProperty("roomId"), missingProperty("username"), noMatchInOneOf)
	steps = append(steps, []messageStep{
		{`alice im.history ?roomId=dm`, perGeneration{all, shown}},
		{`bob dm.history ?roomId=dm&showThreadMessages=true`, always(all)},
		{`alice im.history ?roomId=dm&showThreadMessages=false`, always(shown)},
		{`alice im.history ?roomId=dm&showThreadMessages=1`, perGeneration{all, invalidParams(notAllowedValue), "", invalidParams7(notAllowedValue)}},

		// The bounds are exclusive by default.
		{`alice im.history ?roomId=dm&oldest=` + at(1) + `&latest=` + at(4), perGeneration{history(3, 2), history(3)}},
		{`alice im.history ?roomId=dm&inclusive=true&oldest=` + at(1) + `&latest=` + at(4), perGeneration{history(4, 3, 2, 1), history(4, 3, 1)}},
		{`alice im.history ?roomId=dm&inclusive=false&oldest=` + at(3), perGeneration{history(4, 3), history(4)}},
		{`alice im.history ?roomId=dm&latest=2000-01-01T00:00:02%2B00:00`, always(history(1, 0))},
		{`alice im.history ?roomId=dm&oldest=2000-01-02`, always(history())},
		{`alice im.history ?roomId=dm&latest=x`, always(history())},
		{`alice im.history ?roomId=dm&oldest=x`, perGeneration{all, shown}},
		{`alice im.history ?roomId=dm&oldest=`, perGeneration{all, invalidParams("must NOT have fewer than 1 characters"), "", invalidParams7("must NOT have fewer than 1 characters")}},

		{`alice im.history ?roomId=dm&count=2&showThreadMessages=true`, always(history(4, 3))},
		{`alice im.history ?roomId=dm&count=2&offset=1&showThreadMessages=true`, always(history(3, 2))},
		{`alice im.history ?roomId=dm&count=0&offset=3&showThreadMessages=true`, always(history(1, 0))},
		{`alice im.history ?roomId=dm&offset=9`, always(history())},
		{`alice im.history ?roomId=dm&count=x`, perGeneration{all, invalidParams("must be number"), "", invalidParams7("must be number")}},

		{`carol im.history ?roomId=dm`, perGeneration{roomNotFound3, forbidden}},
		{`alice im.history ?roomId=404`, always(invalidChannel)},
		{`alice im.history ?roomId=GENERAL`, always(invalidChannel)},
		{`alice im.history ?username=bob`, perGeneration{all, invalidParams(missingProperty("roomId")), "", invalidParams7(missingProperty("roomId"))}},
		{`alice im.history ?`, perGeneration{paramNotProvided3, invalidParams(missingProperty("roomId")), "", invalidParams7(missingProperty("roomId"))}},
		{`none im.history ?`, perGeneration{unauthorized, "", unauthorized7, ""}},

		{`alice im.messages ?roomId=dm`, always(messages(0, 4, 3, 2, 1, 0))},
		{`alice dm.messages ?username=bob&count=2&offset=1`, always(messages(1, 3, 2))},
		{`alice im.messages ?roomId=dm&count=2&sort=` + url.QueryEscape(`{"ts":1}`), always(messages(0, 0, 1))},
		{`alice im.messages ?roomId=dm&count=2&sort=` + url.QueryEscape(`{"ts":-1}`), always(messages(0, 4, 3))},
		{`carol im.messages ?roomId=dm`, perGeneration{roomNotFound3, forbidden}},
		{`alice im.messages ?roomId=404`, always(invalidChannel)},
		{`alice im.messages ?`, perGeneration{paramNotProvided3, missing4, "", missing8}},
	}...)
	testMessageSteps(t, nil, steps)
}

// Without a count, a page has a limited size.
func TestRocketChatPageSize(t *testing.T) {
	for _, g := range generations {
		s := newRocketChat(t, chatdmtest.Generation(g))
		for range 101 {
			call(t, s, `alice chat.postMessage {"channel":"@bob","text":"x"}`)
		}
		want := []int{20, 101, 50, 100, 101}
		if g != chatdmtest.RocketChatOld && g != chatdmtest.RocketChat3 {
			want = []int{50, 100, 50, 100, 101}
		}
		for i, request := range []string{"im.history ?", "im.history ?count=500&", "im.messages ?", "im.messages ?count=500&", "im.messages ?count=0&"} {
			if got := strings.Count(call(t, s, "alice "+request+"roomId=u_aliceu_bob"), `"msg":`); got != want[i] {
				t.Errorf("%s %s: got %d messages, want %d", g, request, got, want[i])
			}
		}
	}
}

// A reply belongs to the thread and the room of its parent.
func TestRocketChatThread(t *testing.T) {
	testMessageSteps(t, nil, []messageStep{
		{`alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"x"}}`, always(sent(storedMessage("m1", "dm", "x", "")))},
		{`alice chat.sendMessage {"message":{"_id":"m2","rid":"dm","msg":"x","tmid":"m1"}}`, always(sent(storedMessage("m2", "dm", "x", `"tmid":"m1",`)))},
		{`alice chat.sendMessage {"message":{"_id":"m3","rid":"GENERAL","msg":"x","tmid":"m2"}}`, always(sent(storedMessage("m3", "dm", "x", `"tmid":"m1",`)))},
		{`alice chat.sendMessage {"message":{"_id":"m4","rid":"dm","msg":"x","tmid":"m0"}}`, perGeneration{failed("Cannot read property 'tmid' of undefined"), sent(storedMessage("m4", "dm", "x", `"tmid":"m0",`))}},
		{`alice chat.getMessage ?msgId=m3`, always(sent(storedMessage("m3", "dm", "x", `"tmid":"m1",`)))},
	})
}

func TestRocketChatUsersInfo(t *testing.T) {
	const notFound = `400 {"success":false,"error":"User not found."}`
	user := func(name, kind, active, private string, all bool) string {
		return fmt.Sprintf(`200 {"user":{"_id":"u_%s","username":%[1]q,"name":%[1]q,"type":%q,"status":"offline","active":%s,%s"utcOffset":0,"canViewAllInfo":%t},"success":true}`, name, kind, active, private, all)
	}
	const email = `"emails":[{"address":"zoe@example.com","verified":false}],`
	zoe, zoeSelf := user("zoe", "user", "true", "", false), user("zoe", "user", "true", `"roles":["user"],`+email, true)
	missing := []string{missingProperty("userId"), missingProperty("username"), "must match a schema in anyOf"}
	missing7 := slices.Insert(slices.Clone(missing), 2, missingProperty("importId"))
	missing8 := slices.Insert(slices.Clone(missing7), 3, missingProperty("email"), missingProperty("freeSwitchExtension"))
	both := func(violations []string) []string {
		violations = slices.Clone(violations)
		violations[0], violations[1] = additionalProperties, additionalProperties
		return violations
	}
	invalidFilter := `400 {"success":false,"error":"[invalid-filter]","errorType":"invalid-filter"}`
	steps := []messageStep{
		{`alice users.info ?username=zoe`, always(zoe)},
		{`alice users.info ?userId=u_zoe`, always(zoe)},
		{`zoe users.info ?username=zoe`, always(zoeSelf)},
		{`admin users.info ?userId=u_zoe`, always(zoeSelf)},
		{`alice users.info ?username=gone`, always(user("gone", "user", "false", "", false))},
		{`alice users.info ?username=robot`, always(user("robot", "bot", "true", "", false))},
		{`admin users.info ?username=robot`, always(user("robot", "bot", "true", `"roles":["admin","bot"],`, true))},
		{`alice users.info ?username=ZOE`, always(notFound)},
		{`alice users.info ?userId=nobody`, always(notFound)},
		{`alice users.info ?username=`, perGeneration{invalidFilter, notFound, failed("Invalid search query."), ""}},
		{`alice users.info ?`, perGeneration{invalidFilter, invalidParams(missing...), invalidParams(missing7...), invalidParams7(missing8...)}},
		{`alice users.info ?username=zoe&userId=u_zoe`, perGeneration{zoe, invalidParams(both(missing)...), invalidParams(both(missing7)...), invalidParams7(both(missing8)...)}},
		{`admin users.info ?email=Zoe%40example.com`, perGeneration{invalidFilter, invalidParams(missing...), invalidParams(missing7...), zoeSelf}},
		{`zoe users.info ?email=zoe%40example.com`, perGeneration{invalidFilter, invalidParams(missing...), invalidParams(missing7...), zoeSelf}},
		{`alice users.info ?email=zoe%40example.com`, perGeneration{invalidFilter, invalidParams(missing...), invalidParams(missing7...), notFound}},
		{`none users.info ?username=zoe`, perGeneration{unauthorized, "", unauthorized7, ""}},
	}
	for _, g := range generations {
		s := newRocketChat(t, chatdmtest.Generation(g))
		s.AddUser(chatdmtest.RocketChatUser{ID: "u_zoe", Username: "zoe", Email: "zoe@example.com", AuthToken: "tok-zoe"})
		s.AddUser(chatdmtest.RocketChatUser{ID: "u_gone", Username: "gone", Deactivated: true})
		s.AddUser(chatdmtest.RocketChatUser{ID: "u_robot", Username: "robot", Bot: true, Admin: true})
		for _, step := range steps {
			want := step.want.of(g)
			if g == chatdmtest.RocketChatOld { // only version 4.7 has this error
				want = strings.Replace(want, invalidFilter, notFound, 1)
			}
			checkBody(t, string(g)+" "+step.call, call(t, s, step.call), want)
		}
	}
}

// Deactivating a user revokes all tokens. The user's DM is read-only until the user
// is active again.
func TestRocketChatDeactivated(t *testing.T) {
	s := newRocketChat(t)
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "dm", Type: "d", Members: []string{"u_alice", "u_bob"}})
	bob := chatdmtest.RocketChatUser{ID: "u_bob", Username: "bob", Password: "pw-bob", AuthToken: "tok-bob"}
	const loggedOut = `401 {"status":"error","error":403,"message":"You've been logged out by the server. Please log in again."}`
	call(t, s, `none login {"user":"bob","password":"pw-bob"}`)
	bob.Deactivated = true
	s.AddUser(bob)
	checkBody(t, "token", call(t, s, `bob me ?`), unauthorized7)
	checkBody(t, "resume", call(t, s, `none login {"resume":"chatdmtest-login-1"}`), loggedOut)
	checkBody(t, "login", call(t, s, `none login {"user":"bob","password":"pw-bob"}`),
		`401 {"status":"error","error":"error-user-is-not-activated","details":{"function":"Accounts.validateLoginAttempt"},"message":"User is not activated"}`)
	checkBody(t, "DM", call(t, s, `alice chat.sendMessage {"message":{"rid":"dm","msg":"x"}}`), failed("You can't send messages because the room is readonly."))
	bob.Deactivated = false
	s.AddUser(bob)
	checkBody(t, "resume", call(t, s, `none login {"resume":"chatdmtest-login-1"}`), loggedOut)
	if got := call(t, s, `alice chat.sendMessage {"message":{"rid":"dm","msg":"x"}}`); !strings.HasPrefix(got, "200 ") {
		t.Errorf("after reactivation: got %s, want status 200", got)
	}
}

// If the response of chat.sendMessage is lost, the message exists. The same request
// then fails as a duplicate, or with the error of the database.
func TestRocketChatSendMessageFaults(t *testing.T) {
	s := newRocketChat(t)
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "dm", Type: "d", Members: []string{"u_alice", "u_bob"}})
	const request = `alice chat.sendMessage {"message":{"_id":"m1","rid":"dm","msg":"x"}}`
	s.Fail("chat.sendMessage", 1, chatdmtest.Fault{Cut: chatdmtest.InBody, Apply: true})
	s.Fail("chat.sendMessage", 1, chatdmtest.Fault{Code: "E11000"})
	resp, err := s.Client().Do(newRocketChatRequest(t, s, "alice", "POST", "chat.sendMessage", "application/json", strings.SplitN(request, " ", 3)[2]))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("got a complete response, want a read error")
	}
	checkBody(t, "at the same moment", call(t, s, request),
		failed(`E11000 duplicate key error collection: rocketchat.rocketchat_message index: _id_ dup key: { _id: \"m1\" }`))
	checkBody(t, "afterwards", call(t, s, request), duplicate.of(chatdmtest.RocketChat8))
	if got := s.Messages("dm"); len(got) != 1 {
		t.Errorf("got Messages %+v, want one", got)
	}
}
