package chatdmtest_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/chatdm/chatdm/chatdmtest"
)

var generations = []chatdmtest.RocketChatGeneration{
	chatdmtest.RocketChatOld,
	chatdmtest.RocketChat3,
	chatdmtest.RocketChat4,
	chatdmtest.RocketChat7,
	chatdmtest.RocketChat8,
}

// newRocketChat starts a server with the users and rooms of the recordings. The user
// alice has the ID u_alice, the password pw-alice, and the token tok-alice. The other
// users have corresponding values. The user guest has no permissions.
func newRocketChat(t *testing.T, opts ...chatdmtest.Option) *chatdmtest.RocketChat {
	t.Helper()
	s := chatdmtest.NewRocketChat(opts...)
	t.Cleanup(s.Close)
	for _, name := range []string{"admin", "alice", "bob", "carol", "guest"} {
		u := chatdmtest.RocketChatUser{ID: "u_" + name, Username: name, Password: "pw-" + name, AuthToken: "tok-" + name, Admin: name == "admin"}
		if name == "guest" {
			u.Permissions = []string{}
		}
		s.AddUser(u)
	}
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "GENERAL", Name: "general", Members: []string{"u_alice"}})
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "fedroom", Type: "d", Members: []string{"u_remote", "u_bob", "u_admin"}, Federated: true})
	return s
}

// newRocketChatRequest returns a request from the user with the given name. If the
// name is "none", the request has no token.
func newRocketChatRequest(t *testing.T, s *chatdmtest.RocketChat, username, httpMethod, path, contentType, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), httpMethod, s.URL+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if username != "none" {
		r.Header.Set("X-User-Id", "u_"+username)
		r.Header.Set("X-Auth-Token", "tok-"+username)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// postJSON posts JSON and returns the status and body of the response.
func postJSON(t *testing.T, s *chatdmtest.RocketChat, username, endpoint, body string) string {
	t.Helper()
	return statusAndBody(send(t, s, newRocketChatRequest(t, s, username, "POST", endpoint, "application/json", body)))
}

func statusAndBody(resp httpResponse) string { return fmt.Sprint(resp.status, " ", resp.body) }

// rocketChatStep is a call to a server that keeps state between calls. The field call
// consists of a username, an endpoint, and a body: "alice im.open {}".
type rocketChatStep struct{ call, want string }

func runRocketChatSteps(t *testing.T, s *chatdmtest.RocketChat, steps []rocketChatStep) {
	t.Helper()
	for i, step := range steps {
		part := strings.SplitN(step.call, " ", 3)
		checkBody(t, fmt.Sprintf("step %d: %s", i+1, step.call), postJSON(t, s, part[0], part[1], part[2]), step.want)
	}
}

// The status and body of responses. Names that end in 7 are for RocketChat7 and
// later. Names that end in 3 are for RocketChat3 and earlier.
const (
	success           = `200 {"success":true}`
	invalidChannel    = `400 {"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}`
	forbidden         = `403 {"success":false,"error":"unauthorized"}`
	unauthorized      = `401 {"status":"error","message":"You must be logged in to do this."}`
	unauthorized7     = `401 {"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}`
	paramNotProvided  = `400 {"success":false,"error":"Body param \"roomId\" is required [error-room-param-not-provided]","errorType":"error-room-param-not-provided"}`
	paramNotProvided3 = `400 {"success":false,"error":"Body param \"roomId\" or \"username\" is required [error-room-param-not-provided]","errorType":"error-room-param-not-provided"}`
	roomNotFound3     = `400 {"success":false,"error":"The required \"roomId\" or \"username\" param provided does not match any direct message [error-room-not-found]","errorType":"error-room-not-found"}`
	usersNotFound3    = `400 {"success":false,"error":"The required \"username\" or \"usernames\" param provided does not match any direct message [error-room-not-found]","errorType":"error-room-not-found"}`
	invalidUser       = `400 {"success":false,"error":"Invalid user [error-invalid-user]","errorType":"error-invalid-user","details":{"method":"createDirectMessage"}}`
	notAllowed        = `400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}`
	deleteNotAllowed  = `400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed","details":{"method":"eraseRoom"}}`
	createNotAllowed  = `400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed","details":{"method":"createDirectMessage"}}`
	alreadyClosed     = `400 {"success":false,"error":"The direct message room, is already closed to the sender"}`
	alreadyClosed3    = `400 {"success":false,"error":"The direct message room, undefined, is already closed to the sender"}`
	notSubscribed     = `400 {"success":false,"error":"The user is not subscribed to the room"}`
	webAppPage        = "200 <!DOCTYPE html>\n<html><head><title>Rocket.Chat</title></head><body></body></html>\n"
)

// invalidParams returns the RocketChat4 response to a body that violates the schema.
func invalidParams(violations ...string) string {
	return `400 {"success":false,"error":"` + strings.Join(violations, `\n `) + ` [invalid-params]","errorType":"invalid-params"}`
}

// invalidParams7 is invalidParams for RocketChat7 and later.
func invalidParams7(violations ...string) string {
	return strings.Replace(invalidParams(violations...), " [invalid-params]", "", 1)
}

func missingProperty(name string) string { return "must have required property '" + name + "'" }

const (
	additionalProperties = "must NOT have additional properties"
	noMatchInOneOf       = "must match exactly one schema in oneOf"
)

// The schema violations of an empty object.
var (
	missingCreateParams = []string{missingProperty("usernames"), missingProperty("username"), noMatchInOneOf}
	missingDeleteParams = []string{missingProperty("roomId"), missingProperty("username"), noMatchInOneOf}
)

func createdRoom(id, usernames string) string {
	return `200 {"room":{"t":"d","rid":"` + id + `","usernames":` + usernames + `,"_id":"` + id + `"},"success":true}`
}

// recording is a request and response that were recorded with the code of Rocket.Chat
// 6.14. Random IDs and rate limit headers have been replaced.
type recording struct {
	username, endpoint, body string
	want                     httpResponse
}

var recordedCall = regexp.MustCompile(`^POST (\S+) (.*) \(as (\w+)\)$`)

func readRecording(t *testing.T, name string) recording {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "rocketchat", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	line, _ := reader.ReadString('\n')
	m := recordedCall.FindStringSubmatch(strings.TrimSpace(line))
	if m == nil {
		t.Fatalf("%s: got first line %q, want POST endpoint body (as user)", name, line)
	}
	reader.ReadString('\n')
	resp, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	return recording{username: m[3], endpoint: m[1], body: m[2], want: readResponse(t, resp)}
}

// RocketChat4 sends the recorded responses. The other generations do too, except for
// the listed differences.
func TestRocketChatRecordings(t *testing.T) {
	type responses map[chatdmtest.RocketChatGeneration]string
	const old, v3, v7, v8 = chatdmtest.RocketChatOld, chatdmtest.RocketChat3, chatdmtest.RocketChat7, chatdmtest.RocketChat8
	oldAnd3 := func(want string) responses { return responses{old: webAppPage, v3: want} }
	tests := []struct {
		name   string
		before string // recordings whose requests are sent first
		differ responses
	}{
		{"401-no-headers", "", responses{old: webAppPage, v7: unauthorized7, v8: unauthorized7}},
		{"close-again", "create close-ok", responses{old: alreadyClosed3, v3: alreadyClosed3}},
		{"close-missing", "", responses{old: paramNotProvided3, v3: paramNotProvided3, v8: invalidParams7(missingProperty("roomId"))}},
		{"close-nonmember", "create", responses{old: roomNotFound3, v3: roomNotFound3}},
		{"close-ok", "create", nil},
		{"close-unknown", "", responses{old: invalidChannel, v3: invalidChannel}},
		{"create", "", nil},
		{"create-excludeself", "", nil},
		{"create-max", "", nil},
		{"create-no-params", "", responses{old: usersNotFound3, v3: usersNotFound3,
			v7: invalidParams7(missingCreateParams...), v8: invalidParams7(missingCreateParams...)}},
		{"create-no-permission", "", nil},
		{"create-self", "", nil},
		{"create-unknown-user", "", nil},
		{"create-usernames", "", nil},
		{"delete-again", "create delete-ok-roomid", responses{old: webAppPage}},
		{"delete-both", "", responses{old: webAppPage, v3: invalidChannel, v7: invalidParams7(additionalProperties, additionalProperties, noMatchInOneOf), v8: invalidParams7(additionalProperties, additionalProperties, noMatchInOneOf)}},
		{"delete-by-non-member", "create", oldAnd3(forbidden)},
		{"delete-by-username", "", responses{old: webAppPage}},
		{"delete-channel", "", responses{old: webAppPage}},
		{"delete-channel-id", "", responses{old: webAppPage}},
		{"delete-empty", "", responses{old: webAppPage, v3: paramNotProvided3,
			v7: invalidParams7(missingDeleteParams...), v8: invalidParams7(missingDeleteParams...)}},
		{"delete-federated", "", oldAnd3(success)},
		{"delete-invalid-json", "", responses{old: webAppPage,
			v7: invalidParams7(missingDeleteParams...), v8: invalidParams7(missingDeleteParams...)}},
		{"delete-ok-roomid", "create", responses{old: webAppPage}},
		{"delete-unknown", "", responses{old: webAppPage}},
		{"delete-with-user-id-as-roomid", "", responses{old: webAppPage}},
		{"delete-without-permission", "create", oldAnd3(forbidden)},
		{"login-bad", "", nil},
		{"login-ok", "", responses{
			v7: `200 {"status":"success","data":{"userId":"u_alice","authToken":"chatdmtest-login-1","me":{"_id":"u_alice","username":"alice","name":"alice"}},"success":true}`,
			v8: `200 {"status":"success","data":{"userId":"u_alice","authToken":"chatdmtest-login-1","me":{"_id":"u_alice","username":"alice","name":"alice"}},"success":true}`,
		}},
		{"login-unknown", "", nil},
		{"open-channel", "", responses{old: invalidChannel, v3: invalidChannel}},
		{"open-missing", "", responses{old: paramNotProvided3, v3: paramNotProvided3, v8: invalidParams7(missingProperty("roomId"))}},
		{"open-nonmember", "create", responses{old: roomNotFound3, v3: roomNotFound3}},
		{"open-ok", "create", nil},
		{"open-unknown", "", responses{old: invalidChannel, v3: invalidChannel}},
	}

	files, err := os.ReadDir(filepath.Join("testdata", "rocketchat"))
	if err != nil || len(files) != len(tests) {
		t.Errorf("got %d recordings, error %v, want %d", len(files), err, len(tests))
	}
	for _, tt := range tests {
		for _, g := range generations {
			t.Run(tt.name+" "+string(g), func(t *testing.T) {
				s := newRocketChat(t, chatdmtest.Generation(g))
				for name := range strings.FieldsSeq(tt.before) {
					earlier := readRecording(t, name)
					postJSON(t, s, earlier.username, earlier.endpoint, earlier.body)
				}
				recorded := readRecording(t, tt.name)
				got := send(t, s, newRocketChatRequest(t, s, recorded.username, "POST", recorded.endpoint, "application/json", recorded.body))
				want := fmt.Sprint(recorded.want.status, " ", recorded.want.body)
				if other, differs := tt.differ[g]; differs {
					want = other
				} else {
					maps.DeleteFunc(recorded.want.header, func(name string, _ []string) bool { return name == "Content-Length" })
					maps.DeleteFunc(got.header, func(name string, _ []string) bool { return name == "Content-Length" || name == "Date" })
					if diff := gocmp.Diff(recorded.want.header, got.header); diff != "" {
						t.Errorf("header (-want +got):\n%s", diff)
					}
				}
				checkBody(t, recorded.body, strings.TrimSpace(statusAndBody(got)), strings.TrimSpace(want))
			})
		}
	}
}

func TestRocketChatRooms(t *testing.T) {
	runRocketChatSteps(t, newRocketChat(t), []rocketChatStep{
		// Each set of users has one DM, whoever creates it.
		{`admin im.create {"username":"bob"}`, createdRoom("u_adminu_bob", `["admin","bob"]`)},
		{`bob dm.create {"username":"admin"}`, createdRoom("u_adminu_bob", `["admin","bob"]`)},
		{`admin im.create {"usernames":"Bob, ALICE"}`, createdRoom("chatdmtestDM00001", `["admin","alice","bob"]`)},
		{`alice im.create {"usernames":"admin,bob,bob,alice"}`, createdRoom("chatdmtestDM00001", `["admin","alice","bob"]`)},
		{`alice im.create {"username":"alice"}`, createdRoom("chatdmtestDM00002", `["alice"]`)},
		{`alice im.create {"usernames":"alice","excludeSelf":false}`, createdRoom("chatdmtestDM00002", `["alice"]`)},
		{`alice im.create {"usernames":"bob,carol","excludeSelf":"true"}`, createdRoom("u_bobu_carol", `["bob","carol"]`)},
		{`alice im.open {"roomId":"u_bobu_carol"}`, forbidden},

		// im.create opens a DM for the caller. A new DM with more members opens for all.
		{`admin im.create {"username":"carol"}`, createdRoom("u_adminu_carol", `["admin","carol"]`)},
		{`carol im.close {"roomId":"u_adminu_carol"}`, alreadyClosed},
		{`carol im.open {"roomId":"u_adminu_carol"}`, success},
		{`carol im.open {"roomId":"u_adminu_carol"}`, success},
		{`carol im.close {"roomId":"u_adminu_carol"}`, success},
		{`carol dm.close {"roomId":"u_adminu_carol"}`, alreadyClosed},
		{`carol im.create {"username":"admin"}`, createdRoom("u_adminu_carol", `["admin","carol"]`)},
		{`carol dm.close {"roomId":"u_adminu_carol"}`, success},
		{`admin im.close {"roomId":"u_adminu_carol"}`, success},
		{`bob im.close {"roomId":"chatdmtestDM00001"}`, success},

		// im.delete deletes the DM for all members, whether it is named by ID or username.
		{`admin im.delete {"roomId":"u_adminu_carol"}`, success},
		{`carol im.open {"roomId":"u_adminu_carol"}`, forbidden},
		{`carol im.close {"roomId":"u_adminu_carol"}`, notSubscribed},
		{`admin im.delete {"roomId":"u_adminu_carol"}`, invalidChannel},
		{`admin im.delete {"roomId":"@u_bob"}`, success},
		{`admin im.open {"roomId":"u_adminu_bob"}`, forbidden},
		{`admin im.create {"username":"bob"}`, createdRoom("u_adminu_bob", `["admin","bob"]`)},
		{`admin im.delete {"username":"@bob"}`, success},
		{`admin im.open {"roomId":"u_adminu_bob"}`, forbidden},
		{`admin im.delete {"username":"u_adminu_bob"}`, invalidChannel},
		{`admin im.delete {"username":"chatdmtestDM00001"}`, success},
		{`admin im.delete {"username":"chatdmtestDM00001"}`, invalidChannel},
		{`admin im.delete {"username":"admin"}`, success},

		// These bodies match the schema, but name no DM.
		{`admin im.delete {"roomId":""}`, invalidChannel},
		{`admin im.delete {"username":null}`, invalidChannel},
		{`admin im.delete {"roomId":5}`, invalidChannel},
		{`admin im.delete {"roomId":true}`, invalidChannel},
		{`admin im.delete {"username":"nobody"}`, invalidChannel},
		{`admin im.delete {"roomId":"GENERAL"}`, invalidChannel},
		{`alice im.open {"roomId":"GENERAL"}`, invalidChannel},
		{`alice im.close {"roomId":"GENERAL"}`, invalidChannel},
		{`alice im.open {"roomId":""}`, forbidden},
		{`alice im.close {"roomId":""}`, paramNotProvided},
		{`alice im.create {"usernames":""}`, invalidUser},
		{`alice im.create {"username":"bob","excludeSelf":true}`, invalidUser},
		{`alice im.create {"username":"alice","excludeSelf":true}`, invalidUser},
	})
}

func TestRocketChatMaxUsers(t *testing.T) {
	s := newRocketChat(t)
	runRocketChatSteps(t, s, []rocketChatStep{
		{`guest im.create {"usernames":"alice,bob,carol,dave,erin,frank,grace,heidi"}`, createNotAllowed},
		{`admin im.create {"usernames":"alice,bob,carol,dave,erin,frank,grace,heidi","excludeSelf":true}`,
			createdRoom("chatdmtestDM00001", `["alice","bob","carol","dave","erin","frank","grace","heidi"]`)},
		{`admin im.create {"usernames":"alice,bob,carol,dave,erin,frank,grace,heidi"}`,
			`400 {"success":false,"error":"You cannot add more than 8 users, including yourself to a direct message [error-direct-message-max-user-exceeded]",` +
				`"errorType":"error-direct-message-max-user-exceeded","details":{"method":"createDirectRoom"}}`},
	})
}

// Each missing permission has its own error. Many of them differ in RocketChat3.
func TestRocketChatPermissions(t *testing.T) {
	for _, g := range generations[1:] {
		t.Run(string(g), func(t *testing.T) {
			s := newRocketChat(t, chatdmtest.Generation(g))
			for _, u := range []struct {
				name        string
				permissions []string
			}{
				{"eraser", []string{"create-d", "delete-d"}},
				{"viewer", []string{"view-room-administration"}},
				{"viewer2", []string{"view-room-administration", "delete-d"}},
			} {
				s.AddUser(chatdmtest.RocketChatUser{ID: "u_" + u.name, Username: u.name, AuthToken: "tok-" + u.name, Permissions: u.permissions})
			}
			byGeneration := func(v3, later string) string {
				if g == chatdmtest.RocketChat3 {
					return v3
				}
				return later
			}
			runRocketChatSteps(t, s, []rocketChatStep{
				{`alice im.create {"username":"guest"}`, createdRoom("u_aliceu_guest", `["alice","guest"]`)},
				{`guest im.create {"username":"alice"}`, `200 {"room":{"t":"d","rid":"u_aliceu_guest","_id":"u_aliceu_guest"},"success":true}`},
				{`guest im.close {"roomId":"u_aliceu_guest"}`, byGeneration(alreadyClosed3, alreadyClosed)},
				{`guest im.create {"username":"bob"}`, createNotAllowed},
				{`guest im.delete {"username":"bob"}`, byGeneration(forbidden, createNotAllowed)},

				{`alice im.delete {"roomId":"u_aliceu_guest"}`, byGeneration(forbidden, deleteNotAllowed)},
				{`eraser im.delete {"roomId":"u_aliceu_guest"}`, byGeneration(forbidden, notAllowed)},
				{`viewer im.delete {"roomId":"u_aliceu_guest"}`, deleteNotAllowed},
				{`viewer2 im.delete {"roomId":"u_aliceu_guest"}`, success},
				{`viewer2 im.delete {"username":"alice"}`, createNotAllowed},
				{`eraser im.create {"username":"alice"}`, createdRoom("u_aliceu_eraser", `["alice","eraser"]`)},
				{`eraser im.delete {"roomId":"u_aliceu_eraser"}`, byGeneration(forbidden, success)},
				{`eraser im.delete {"username":"alice"}`, byGeneration(forbidden, success)},
				{`admin im.open {"roomId":"u_aliceu_guest"}`, byGeneration(invalidChannel, forbidden)},
			})
		})
	}
}

// RocketChat3 does not check bodies against a schema.
func TestRocketChat3Params(t *testing.T) {
	runRocketChatSteps(t, newRocketChat(t, chatdmtest.Generation(chatdmtest.RocketChat3)), []rocketChatStep{
		{`alice im.open {"username":"bob","extra":1}`, success},
		{`alice im.close {"roomId":"bob"}`, success},
		{`admin im.delete {"roomId":"fedroom","username":" carol "}`, success},
		{`admin im.delete {"roomId":" ","username":null}`, paramNotProvided3},
		{`admin im.delete []`, paramNotProvided3},
		{`admin im.delete {"roomId":{}}`, paramNotProvided3},
		{`guest im.open {"username":"bob"}`, createNotAllowed},
		{`alice im.create {"usernames":"bob","extra":1}`, createdRoom("u_aliceu_bob", `["alice","bob"]`)},
		{`alice im.create {"username":"","usernames":"bob"}`, createdRoom("u_aliceu_bob", `["alice","bob"]`)},
	})
}

func TestRocketChatSchema(t *testing.T) {
	s := newRocketChat(t, chatdmtest.Generation(chatdmtest.RocketChat4))
	runRocketChatSteps(t, s, []rocketChatStep{
		{`admin im.delete {"roomId":"a","x":1}`, invalidParams(additionalProperties, missingProperty("username"), noMatchInOneOf)},
		{`admin im.delete {"x":1}`, invalidParams(missingDeleteParams...)},
		{`admin im.delete {"username":{}}`, invalidParams(missingProperty("roomId"), "must be string", noMatchInOneOf)},
		{`admin im.delete {"roomId":[]}`, invalidParams("must be string", missingProperty("username"), noMatchInOneOf)},
		{`admin im.delete []`, invalidParams("must be object", "must be object", noMatchInOneOf)},
		{`admin im.create {"username":"a","usernames":"b"}`, invalidParams(additionalProperties, additionalProperties, noMatchInOneOf)},
		{`admin im.create {"usernames":["bob"]}`, invalidParams("must be string", missingProperty("username"), noMatchInOneOf)},
		{`admin im.create {"username":"bob","excludeSelf":"yes"}`, invalidParams(missingProperty("usernames"), "must be boolean", noMatchInOneOf)},
		{`admin im.create {"username":"bob","excludeSelf":null}`, createdRoom("u_adminu_bob", `["admin","bob"]`)},
		{`admin im.open {"roomId":"u_adminu_bob","x":1}`, success},
		{`admin im.open []`, paramNotProvided},
	})
	runRocketChatSteps(t, newRocketChat(t), []rocketChatStep{
		{`admin im.delete {"roomId":"a","x":1}`, invalidParams7(additionalProperties, missingProperty("username"), noMatchInOneOf)},
		{`admin im.close {"roomId":"a","userId":"b"}`, invalidParams7(additionalProperties)},
		{`admin im.open {"roomId":{}}`, invalidParams7("must be string")},
	})
}

// The Content-Type determines how a body is parsed.
func TestRocketChatBody(t *testing.T) {
	for _, tt := range []struct{ name, contentType, body, v4, v8 string }{
		{"JSON", "application/json; charset=utf-8", `{"username":"bob"}`, success, success},
		{"form", formType, "username=bob", success, success},
		{"invalid form", formType, "username=%", "400 Bad Request\n", invalidParams7(missingDeleteParams...)},
		{"no content type", "", `{"username":"bob"}`, invalidParams(missingDeleteParams...), invalidParams7(missingDeleteParams...)},
		{"text", "text/plain", `{"username":"bob"}`, invalidParams(missingDeleteParams...), invalidParams7(missingDeleteParams...)},
		{"empty", "application/json", "", invalidParams(missingDeleteParams...), invalidParams7(missingDeleteParams...)},
		{"truncated", "application/json", `{"username":"bob"`, "400 Bad Request\n", invalidParams7(missingDeleteParams...)},
		{"not an object", "application/json", `"bob"`, "400 Bad Request\n", invalidParams7(missingDeleteParams...)},
		{"null", "application/json", `null`, "400 Bad Request\n", invalidParams7(missingDeleteParams...)},
	} {
		for g, want := range map[chatdmtest.RocketChatGeneration]string{chatdmtest.RocketChat4: tt.v4, chatdmtest.RocketChat8: tt.v8} {
			s := newRocketChat(t, chatdmtest.Generation(g))
			resp := send(t, s, newRocketChatRequest(t, s, "admin", "POST", "im.delete", tt.contentType, tt.body))
			checkBody(t, tt.name+" "+string(g), statusAndBody(resp), want)
		}
	}
}

// If both the token and the body are invalid, the error shows which one the server
// checks first.
func TestRocketChatCheckOrder(t *testing.T) {
	missing7 := invalidParams7(missingDeleteParams...)
	for g, want := range map[chatdmtest.RocketChatGeneration]struct{ invalidBody, malformedBody string }{
		chatdmtest.RocketChat3: {unauthorized, "400 Bad Request\n"},
		chatdmtest.RocketChat4: {unauthorized, "400 Bad Request\n"},
		chatdmtest.RocketChat7: {missing7, missing7},
		chatdmtest.RocketChat8: {unauthorized7, unauthorized7},
	} {
		s := newRocketChat(t, chatdmtest.Generation(g))
		s.Limit("im.delete", 2, time.Hour)
		s.AddUser(chatdmtest.RocketChatUser{ID: "u_eraser", AuthToken: "tok-eraser", Permissions: []string{"delete-d", "view-room-administration"}})
		checkBody(t, string(g), postJSON(t, s, "none", "im.delete", "{}"), want.invalidBody)
		checkBody(t, string(g), postJSON(t, s, "nobody", "im.delete", "{}"), want.invalidBody)
		checkBody(t, string(g), postJSON(t, s, "none", "im.delete", "{"), want.malformedBody)

		// Requests with an invalid body count toward the rate limit only before RocketChat7.
		resp := send(t, s, newRocketChatRequest(t, s, "eraser", "POST", "im.delete", "application/json", "{}"))
		wantRemaining := ""
		if g == chatdmtest.RocketChat3 || g == chatdmtest.RocketChat4 {
			wantRemaining = "1"
		}
		if got := resp.header.Get("X-RateLimit-Remaining"); got != wantRemaining {
			t.Errorf("%s: got X-RateLimit-Remaining %q, want %q", g, got, wantRemaining)
		}
	}
}

func TestRocketChatTokens(t *testing.T) {
	s := newRocketChat(t)
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_tokenless", Username: "tokenless"})
	for _, tt := range []struct {
		name, user, token string
		ok                bool
	}{
		{"ID and token", "u_alice", "tok-alice", true},
		{"no token", "u_tokenless", "", false},
		{"no ID", "", "tok-alice", false},
		{"neither", "", "", false},
		{"token of another user", "u_bob", "tok-alice", false},
		{"unknown user", "u_nobody", "tok-alice", false},
		{"unknown token", "", "tok-nobody", false},
	} {
		r := newRocketChatRequest(t, s, "none", "GET", "im.list", "", "")
		r.Header.Set("X-User-Id", tt.user)
		r.Header.Set("X-Auth-Token", tt.token)
		if got := send(t, s, r); (got.status == 200) != tt.ok || !tt.ok && statusAndBody(got) != unauthorized7 {
			t.Errorf("%s: got %s, want success %t", tt.name, statusAndBody(got), tt.ok)
		}
	}
}

func TestRocketChatRoutes(t *testing.T) {
	const noEndpoint = `{"status":"error","message":"API endpoint does not exist"}`
	for _, tt := range []struct {
		httpMethod, path string
		v4, v8           string
		allow            string // v4 only
	}{
		{"GET", "im.delete", "405 " + noEndpoint, "404 404 Not Found", "POST, OPTIONS"},
		{"HEAD", "im.delete", "405 ", "404 ", "POST, OPTIONS"},
		{"PUT", "logout", "405 " + noEndpoint, "404 404 Not Found", "GET, POST, OPTIONS"},
		{"POST", "im.list", "405 " + noEndpoint, "404 404 Not Found", "GET, OPTIONS"},
		{"HEAD", "im.list", "405 ", "200 ", "GET, OPTIONS"},
		{"POST", "im.erase", webAppPage, "404 404 Not Found", ""},
		{"GET", "", webAppPage, "404 404 Not Found", ""},
		{"POST", "dm.login", webAppPage, "404 404 Not Found", ""},
	} {
		for g, want := range map[chatdmtest.RocketChatGeneration]string{chatdmtest.RocketChat4: tt.v4, chatdmtest.RocketChat8: tt.v8} {
			s := newRocketChat(t, chatdmtest.Generation(g))
			resp := send(t, s, newRocketChatRequest(t, s, "admin", tt.httpMethod, tt.path, "", ""))
			checkBody(t, fmt.Sprint(tt.httpMethod, " ", tt.path, " ", g), statusAndBody(resp), want)
			if got := resp.header.Get("Allow"); g == chatdmtest.RocketChat4 && got != tt.allow {
				t.Errorf("%s %s: got Allow %q, want %q", tt.httpMethod, tt.path, got, tt.allow)
			}
			if method := s.Requests()[0].Method; method != tt.path {
				t.Errorf("got logged method %q, want %q", method, tt.path)
			}
		}
	}
	s := newRocketChat(t)
	r := newRocketChatRequest(t, s, "admin", "POST", "im.delete", "", "")
	r.URL.Path = "/im.delete"
	if got := send(t, s, r); got.status != 404 || s.Requests()[0].Method != "" {
		t.Errorf("outside the API: got status %d, logged method %q, want 404 and none", got.status, s.Requests()[0].Method)
	}
}

func TestRocketChatLogin(t *testing.T) {
	const (
		me            = `{"_id":"u_zoe","username":"zoe","name":"Zoe Z.","emails":[{"address":"zoe@example.com","verified":false}]}`
		unrecognized  = `401 {"status":"error","error":400,"message":"Unrecognized options for login request"}`
		wrongPassword = `401 {"status":"error","error":403,"message":"Incorrect password"}`
		loggedOut     = `401 {"status":"error","error":403,"message":"You've been logged out by the server. Please log in again."}`
		unknownUser   = `401 {"status":"error","error":"Unauthorized","message":"Unauthorized"}`
		totpDetails   = `"details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}`
	)
	loginSuccess := func(token string) string {
		return `200 {"status":"success","data":{"userId":"u_zoe","authToken":"` + token + `","me":` + me + `},"success":true}`
	}
	s := newRocketChat(t)
	zoe := chatdmtest.RocketChatUser{ID: "u_zoe", Username: "zoe", Name: "Zoe Z.", Email: "zoe@example.com", Password: "secret", AuthToken: "tok-zoe"}
	s.AddUser(zoe)
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_robot", Username: "robot"})
	runRocketChatSteps(t, s, []rocketChatStep{
		{`none login {"user":"zoe","password":"secret"}`, loginSuccess("chatdmtest-login-1")},
		{`none login {"user":"Zoe@example.com","password":"secret"}`, loginSuccess("chatdmtest-login-2")},
		{`none login {"user":{"username":"ZOE"},"password":"secret"}`, loginSuccess("chatdmtest-login-3")},
		{`none login {"user":{"email":"zoe@example.com"},"password":"secret"}`, loginSuccess("chatdmtest-login-4")},
		{`none login {"username":"zoe","password":"secret","code":"1"}`, loginSuccess("chatdmtest-login-5")},
		{`none login {"email":"zoe@example.com","password":"secret"}`, loginSuccess("chatdmtest-login-6")},
		{`none login {"resume":"chatdmtest-login-3"}`, loginSuccess("chatdmtest-login-3")},
		{`none login {"resume":"tok-zoe"}`, loginSuccess("tok-zoe")},

		{`none login {"resume":""}`, loggedOut},
		{`none login {"resume":"chatdmtest-login-9"}`, loggedOut},
		{`none login {"user":"zoe","password":"wrong"}`, wrongPassword},
		{`none login {"user":"zoe","password":{"digest":"00"}}`, wrongPassword},
		{`none login {"user":"nobody","password":"secret"}`, unknownUser},
		{`none login {"user":"nobody@example.com","password":"secret"}`, unknownUser},
		{`none login {"email":"","password":"secret"}`, unknownUser},
		{`none login {"user":"robot","password":""}`, `401 {"status":"error","error":403,"message":"User has no password set"}`},
		{`none login {"user":"zoe"}`, unrecognized},
		{`none login {"password":"secret"}`, unrecognized},
		{`none login {"user":{},"password":"secret"}`, unrecognized},
		{`none login {"user":"zoe","password":"secret","remember":true}`, unrecognized},
		{`none login {`, unrecognized},
	})

	zoe.TOTP = "123456"
	s.AddUser(zoe)
	runRocketChatSteps(t, s, []rocketChatStep{
		{`none login {"user":"zoe","password":"wrong"}`, wrongPassword},
		{`none login {"user":"zoe","password":"secret"}`, `401 {"status":"error","error":"totp-required",` + totpDetails + `,"message":"TOTP Required"}`},
		{`none login {"user":"zoe","password":"secret","code":"1"}`, `401 {"status":"error","error":"totp-invalid",` + totpDetails + `,"message":"TOTP Invalid"}`},
		{`none login {"user":"zoe","password":"secret","code":123456}`, loginSuccess("chatdmtest-login-7")},
		{`none login {"resume":"chatdmtest-login-3"}`, loginSuccess("chatdmtest-login-3")},
	})
	r := newRocketChatRequest(t, s, "none", "POST", "login", formType, "user=zoe&password=secret")
	r.Header.Set("x-2fa-code", "123456")
	checkBody(t, "two-factor code in a header", send(t, s, r).body, strings.TrimPrefix(loginSuccess("chatdmtest-login-8"), "200 "))

	// logout revokes only the token of the request.
	sendWithToken := func(token, httpMethod, endpoint string) string {
		r := newRocketChatRequest(t, s, "none", httpMethod, endpoint, "", "")
		r.Header.Set("X-User-Id", "u_zoe")
		r.Header.Set("X-Auth-Token", token)
		return send(t, s, r).body
	}
	for token, httpMethod := range map[string]string{"chatdmtest-login-2": "GET", "tok-zoe": "POST"} {
		checkBody(t, "me", sendWithToken(token, "GET", "me"), strings.TrimSuffix(me, "}")+`,"success":true}`)
		checkBody(t, "logout", sendWithToken(token, httpMethod, "logout"), `{"status":"success","data":{"message":"You've been logged out!"}}`)
		checkBody(t, "after logout", "401 "+sendWithToken(token, "GET", "me"), unauthorized7)
	}
	checkBody(t, "other token", sendWithToken("chatdmtest-login-1", "GET", "me"), strings.TrimSuffix(me, "}")+`,"success":true}`)
}

func TestRocketChatIMList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRocketChat(t, chatdmtest.InMemory())
		for _, name := range []string{"bob", "carol", "alice"} {
			postJSON(t, s, "alice", "im.create", `{"username":"`+name+`"}`)
		}
		postJSON(t, s, "alice", "im.close", `{"roomId":"u_aliceu_bob"}`)
		entry := func(id, usernames string, count int, userIDs string) string {
			return fmt.Sprintf(`{"_id":%q,"t":"d","usernames":[%s],"usersCount":%d,"msgs":0,"ts":"2000-01-01T00:00:00.000Z","uids":[%s]}`, id, usernames, count, userIDs)
		}
		entries := []string{
			entry("u_aliceu_bob", `"alice","bob"`, 2, `"u_alice","u_bob"`),
			entry("u_aliceu_carol", `"alice","carol"`, 2, `"u_alice","u_carol"`),
			entry("chatdmtestDM00001", `"alice"`, 1, `"u_alice"`),
		}
		for _, tt := range []struct {
			query    string
			from, to int
		}{
			{"", 0, 3},
			{"?count=2", 0, 2},
			{"?count=2&offset=2", 2, 3},
			{"?count=0&offset=1", 1, 3},
			{"?count=-1&offset=x", 0, 3},
			{"?offset=7", 7, 7},
		} {
			resp := send(t, s, newRocketChatRequest(t, s, "alice", "GET", "im.list"+tt.query, "", ""))
			var ims []string
			if tt.from < len(entries) {
				ims = entries[tt.from:tt.to]
			}
			checkBody(t, tt.query, resp.body, fmt.Sprintf(`{"ims":[%s],"offset":%d,"count":%d,"total":3,"success":true}`, strings.Join(ims, ","), tt.from, len(ims)))
		}
	})
}

func TestRocketChatLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRocketChat(t, chatdmtest.InMemory(), chatdmtest.Generation(chatdmtest.RocketChat4))
		s.Limit("im.open", 2, time.Minute)
		postFederatedRoom := func(username, endpoint, wantHeader, want string) {
			t.Helper()
			resp := send(t, s, newRocketChatRequest(t, s, username, "POST", endpoint, "application/json", `{"roomId":"fedroom"}`))
			header := strings.Join(slices.Concat(resp.header["X-Ratelimit-Limit"], resp.header["X-Ratelimit-Remaining"], resp.header["X-Ratelimit-Reset"], resp.header["Retry-After"]), " ")
			if header != wantHeader {
				t.Errorf("got rate limit headers %q, want %q", header, wantHeader)
			}
			checkBody(t, username, statusAndBody(resp), want)
		}
		tooManyRequests := func(seconds int) string {
			return fmt.Sprintf(`429 {"success":false,"error":"Error, too many requests. Please slow down. You must wait %d seconds before trying this endpoint again. [error-too-many-requests]"}`, seconds)
		}
		time.Sleep(time.Hour)
		reset := strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10)
		postFederatedRoom("bob", "im.open", "2 1 "+reset, success)
		postFederatedRoom("admin", "im.open", "", success)
		postFederatedRoom("none", "im.open", "", unauthorized)
		postFederatedRoom("bob", "dm.open", "", success)
		time.Sleep(10500 * time.Millisecond)
		postFederatedRoom("carol", "im.open", "2 0 "+reset, forbidden)
		postFederatedRoom("bob", "im.open", "2 0 "+reset, tooManyRequests(50))
		postFederatedRoom("bob", "im.open", "2 0 "+reset, tooManyRequests(50))
		postFederatedRoom("admin", "im.open", "", success)
		time.Sleep(49500 * time.Millisecond)
		reset = strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10)
		postFederatedRoom("bob", "im.open", "2 1 "+reset, success)

		s.Limit("login", 1, time.Minute)
		runRocketChatSteps(t, s, []rocketChatStep{
			{`none login {}`, `401 {"status":"error","error":400,"message":"Unrecognized options for login request"}`},
			{`none login {}`, tooManyRequests(60)},
		})
	})
}

func TestRocketChatFault(t *testing.T) {
	errorWithType := func(text, code, details string) string {
		return `400 {"success":false,"error":"` + text + `","errorType":"` + code + `"` + details + `}`
	}
	tests := []struct {
		endpoint, code string
		v3, v4, v8     string // empty means the same as in the previous generation
	}{
		{"im.delete", "error-app-prevented-deleting", errorWithType("A Rocket.Chat App prevented the room erasing. [error-app-prevented-deleting]", "error-app-prevented-deleting", ""), "", ""},
		{"im.create", "error-app-prevented", errorWithType("A Rocket.Chat App prevented the room creation. [error-app-prevented]", "error-app-prevented", ""), "", ""},
		{"im.delete", "error-cannot-delete-federated-room", errorWithType("Cannot delete federated room [error-cannot-delete-federated-room]", "error-cannot-delete-federated-room", `,"details":{"method":"eraseRoom"}`), "", ""},
		{"im.delete", "invalid-channel", invalidChannel, "", ""},
		{"im.delete", "error-not-allowed", notAllowed, "", ""},
		{"im.create", "error-invalid-user", invalidUser, "", ""},
		{"im.delete", "never-heard-of", errorWithType("[never-heard-of]", "never-heard-of", ""), "", ""},
		{"im.delete", "invalid-params", invalidParams(missingDeleteParams...), "", invalidParams7(missingDeleteParams...)},
		{"dm.delete", "error-invalid-params", strings.ReplaceAll(invalidParams(missingDeleteParams...), "invalid-params", "error-invalid-params"), "", strings.ReplaceAll(invalidParams7(missingDeleteParams...), "invalid-params", "error-invalid-params")},
		{"no.such", "invalid-params", errorWithType("[invalid-params]", "invalid-params", ""), "", ""},
		{"im.open", "error-room-param-not-provided", paramNotProvided3, paramNotProvided, ""},
		{"im.open", "error-room-not-found", roomNotFound3, strings.Replace(roomNotFound3, ` or \"username\"`, "", 1), ""},
		{"im.create", "error-room-not-found", usersNotFound3, strings.Replace(usersNotFound3, `\"username\" or \"usernames\"`, `\"roomId\"`, 1), ""},
		{"im.delete", "unauthorized", unauthorized, "", unauthorized7},
		{"login", "unauthorized", unauthorized, "", unauthorized7},
		{"im.delete", "forbidden", forbidden, "", ""},
		{"me", "error-unauthorized", `403 {"success":false,"error":"Users must have a username [error-unauthorized]"}`, "", ""},
		{"im.delete", "error-too-many-requests", `429 {"success":false,"error":"Error, too many requests. Please slow down. You must wait 60 seconds before trying this endpoint again. [error-too-many-requests]"}`, "", ""},
		{"me", "totp-required", errorWithType("TOTP Required [totp-required]", "totp-required", `,"details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}`), "", ""},
		{"login", "totp-max-attempts", `401 {"status":"error","error":"totp-max-attempts","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]},"message":"TOTP Maximun Failed Attempts Reached"}`, "", ""},
		{"login", "never-heard-of", `401 {"status":"error","error":"never-heard-of","message":"[never-heard-of]"}`, "", ""},
	}
	for _, tt := range tests {
		want := ""
		for _, tc := range []struct {
			generation chatdmtest.RocketChatGeneration
			want       string
		}{
			{chatdmtest.RocketChat3, tt.v3},
			{chatdmtest.RocketChat4, tt.v4},
			{chatdmtest.RocketChat8, tt.v8},
		} {
			want = cmp.Or(tc.want, want)
			s := newRocketChat(t, chatdmtest.Generation(tc.generation))
			s.Fail(tt.endpoint, 1, chatdmtest.Fault{Code: tt.code})
			checkBody(t, fmt.Sprint(tt.endpoint, " ", tt.code, " ", tc.generation), postJSON(t, s, "admin", tt.endpoint, "{}"), want)
		}
	}
}

// If the response to im.delete is lost, a retry does not find the room.
func TestRocketChatLostResponse(t *testing.T) {
	s := newRocketChat(t)
	postJSON(t, s, "admin", "im.create", `{"username":"bob"}`)
	s.Fail("im.delete", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	s.Fail("im.delete", 1, chatdmtest.Fault{Cut: chatdmtest.InBody})
	r := newRocketChatRequest(t, s, "admin", "POST", "im.delete", "application/json", `{"roomId":"u_adminu_bob"}`)
	if resp, err := s.Client().Do(r); err == nil {
		resp.Body.Close()
		t.Error("BeforeHeader: got a response, want an error")
	}
	resp, err := s.Client().Do(newRocketChatRequest(t, s, "admin", "POST", "im.delete", "application/json", `{"roomId":"u_adminu_bob"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil || !strings.HasPrefix(string(body), `{"success":false,`) {
		t.Errorf("InBody: got %d %s, %v, want half of an error and a read error", resp.StatusCode, body, err)
	}
	checkBody(t, "retry", postJSON(t, s, "admin", "im.delete", `{"roomId":"u_adminu_bob"}`), invalidChannel)
}

// A new server has users with tokens and passwords.
func TestRocketChatDefaults(t *testing.T) {
	s := chatdmtest.NewRocketChat(nil)
	defer s.Close()
	create := func(id, token string) string {
		r := newRocketChatRequest(t, s, "none", "POST", "im.create", "application/json", `{"usernames":"alice,bob,carol,dave,erin,frank,grace"}`)
		r.Header.Set("X-User-Id", id)
		r.Header.Set("X-Auth-Token", token)
		return send(t, s, r).body
	}
	checkBody(t, "member", create(chatdmtest.RocketChatMemberID, chatdmtest.RocketChatMemberToken),
		strings.TrimPrefix(createdRoom("chatdmtestDM00001", `["alice","bob","carol","dave","erin","frank","grace","member"]`), "200 "))
	checkBody(t, "admin", create(chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken),
		strings.TrimPrefix(createdRoom("chatdmtestDM00002", `["admin","alice","bob","carol","dave","erin","frank","grace"]`), "200 "))
	checkBody(t, "login", postJSON(t, s, "none", "login", `{"user":"heidi","password":"`+chatdmtest.RocketChatPassword+`"}`),
		`200 {"status":"success","data":{"userId":"U0HEIDI01","authToken":"chatdmtest-login-1","me":{"_id":"U0HEIDI01","username":"heidi","name":"heidi"}},"success":true}`)
}

func TestRocketChatReplace(t *testing.T) {
	s := newRocketChat(t)
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "GENERAL", Type: "d", Members: []string{"u_carol", "u_bob", "u_gone"}})
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "chatdmtestDM00001", Type: "p", Members: []string{"u_bob"}})
	runRocketChatSteps(t, s, []rocketChatStep{
		{`bob im.close {"roomId":"GENERAL"}`, success},
		{`bob im.open {"roomId":"chatdmtestDM00001"}`, invalidChannel},
		{`bob im.create {"username":"bob"}`, createdRoom("chatdmtestDM00002", `["bob"]`)},
	})
	resp := send(t, s, newRocketChatRequest(t, s, "carol", "GET", "im.list", "", ""))
	if !strings.Contains(resp.body, `"_id":"GENERAL","t":"d","usernames":["bob","carol"],"usersCount":3,`) {
		t.Errorf("DM with an unknown member: got %s, want it in the list", resp.body)
	}
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_bob", Username: "robert", AuthToken: "tok-bob"})
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_carol2", Username: "Carol"})
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_zoe", AuthToken: "tok-zoe"})
	runRocketChatSteps(t, s, []rocketChatStep{
		{`bob im.open {"roomId":"GENERAL"}`, success},
		{`bob im.create {"username":"bob"}`, invalidUser},
		{`bob im.create {"username":"u_zoe"}`, createdRoom("u_bobu_zoe", `["robert","u_zoe"]`)},
		{`bob im.create {"username":"carol"}`, createdRoom("u_bobu_carol2", `["Carol","robert"]`)},
		{`carol im.create {"username":"alice"}`, unauthorized7},
	})
}

func TestOptionPanics(t *testing.T) {
	for want, start := range map[string]func(){
		"chatdmtest: NewRocketChat does not support the RetiredIM option; use NewSlack":                                  func() { chatdmtest.NewRocketChat(chatdmtest.RetiredIM()) },
		"chatdmtest: NewSlack does not support the Generation option; use NewRocketChat":                                 func() { chatdmtest.NewSlack(nil, chatdmtest.Generation(chatdmtest.RocketChat8)) },
		`chatdmtest: unknown Rocket.Chat generation "9.x", want one of ["before 3.18" "3.18-4.7" "4.8-6.x" "7.x" "8.x"]`: func() { chatdmtest.Generation("9.x") },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("got panic %v, want %s", got, want)
				}
			}()
			start()
		}()
	}
	chatdmtest.NewSlack(nil).Close()
}

// Run this test with -race to find data races.
func TestRocketChatConcurrency(t *testing.T) {
	s := newRocketChat(t)
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			username := []string{"admin", "alice"}[i%2]
			for j := range 10 {
				postJSON(t, s, username, "im.create", `{"username":"bob"}`)
				postJSON(t, s, username, "im.delete", `{"username":"bob"}`)
				postJSON(t, s, "none", "login", `{"user":"alice","password":"pw-alice"}`)
				s.Limit("im.open", j, time.Minute)
				s.AddUser(chatdmtest.RocketChatUser{ID: fmt.Sprint("u", i)})
				s.AddRoom(chatdmtest.RocketChatRoom{ID: fmt.Sprint("r", i)})
				s.Requests()
			}
		})
	}
	callers.Wait()
	if n := len(s.Requests()); n != 16*10*3 {
		t.Errorf("got %d requests, want %d", n, 16*10*3)
	}
}
