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

// newRocketChat starts a server with the users and rooms of the samples. The user
// alice has the id u_alice, the password pw-alice and the token tok-alice; guest
// has no permissions.
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

// ask makes a request as a user of newRocketChat, or as none.
func ask(t *testing.T, s *chatdmtest.RocketChat, as, verb, path, contentType, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), verb, s.URL+"/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if as != "none" {
		r.Header.Set("X-User-Id", "u_"+as)
		r.Header.Set("X-Auth-Token", "tok-"+as)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// say posts JSON and returns the status and the body of the answer.
func say(t *testing.T, s *chatdmtest.RocketChat, as, endpoint, body string) string {
	t.Helper()
	a := send(t, s, ask(t, s, as, "POST", endpoint, "application/json", body))
	return fmt.Sprint(a.status, " ", a.body)
}

// A turn is one call of a session: "alice im.open {}", and the answer.
type turn struct{ call, want string }

func converse(t *testing.T, s *chatdmtest.RocketChat, turns []turn) {
	t.Helper()
	for i, turn := range turns {
		part := strings.SplitN(turn.call, " ", 3)
		checkBody(t, fmt.Sprintf("turn %d: %s", i+1, turn.call), say(t, s, part[0], part[1], part[2]), turn.want)
	}
}

// Answers of many turns.
const (
	done        = `200 {"success":true}`
	noChannel   = `400 {"success":false,"error":"[invalid-channel]","errorType":"invalid-channel"}`
	forbidden   = `403 {"success":false,"error":"unauthorized"}`
	loggedOut   = `401 {"status":"error","message":"You must be logged in to do this."}`
	loggedOut7  = `401 {"success":false,"error":"You must be logged in to do this.","status":"error","message":"You must be logged in to do this."}`
	noParam     = `400 {"success":false,"error":"Body param \"roomId\" is required [error-room-param-not-provided]","errorType":"error-room-param-not-provided"}`
	noParam3    = `400 {"success":false,"error":"Body param \"roomId\" or \"username\" is required [error-room-param-not-provided]","errorType":"error-room-param-not-provided"}`
	noRoom3     = `400 {"success":false,"error":"The required \"roomId\" or \"username\" param provided does not match any direct message [error-room-not-found]","errorType":"error-room-not-found"}`
	noUsers3    = `400 {"success":false,"error":"The required \"username\" or \"usernames\" param provided does not match any direct message [error-room-not-found]","errorType":"error-room-not-found"}`
	invalidUser = `400 {"success":false,"error":"Invalid user [error-invalid-user]","errorType":"error-invalid-user","details":{"method":"createDirectMessage"}}`
	notAllowed  = `400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}`
	noDelete    = `400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed","details":{"method":"eraseRoom"}}`
	noCreate    = `400 {"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed","details":{"method":"createDirectMessage"}}`
	page        = "200 <!DOCTYPE html>\n<html><head><title>Rocket.Chat</title></head><body></body></html>\n"
)

// invalid is a body that no schema allows, as RocketChat4 says it.
func invalid(faults ...string) string {
	return `400 {"success":false,"error":"` + strings.Join(faults, `\n `) + ` [invalid-params]","errorType":"invalid-params"}`
}

// invalid7 is that as the router of later servers says it.
func invalid7(faults ...string) string {
	return strings.Replace(invalid(faults...), " [invalid-params]", "", 1)
}

func required(name string) string { return "must have required property '" + name + "'" }

const (
	additional = "must NOT have additional properties"
	oneOf      = "must match exactly one schema in oneOf"
)

func room(id, usernames string) string {
	return `200 {"room":{"t":"d","rid":"` + id + `","usernames":` + usernames + `,"_id":"` + id + `"},"success":true}`
}

// A sample is a call and its answer, as they were captured from the code of 6.14.
// Ids that were random, and the headers of budgets, have been normalised.
type sample struct {
	as, endpoint, body string
	want               answer
}

var sampleCall = regexp.MustCompile(`^POST (\S+) (.*) \(as (\w+)\)$`)

func readSample(t *testing.T, name string) sample {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "rocketchat", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in := bufio.NewReader(file)
	line, _ := in.ReadString('\n')
	m := sampleCall.FindStringSubmatch(strings.TrimSpace(line))
	if m == nil {
		t.Fatalf("%s: no call", name)
	}
	in.ReadString('\n')
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return sample{as: m[3], endpoint: m[1], body: m[2], want: answer{resp.StatusCode, resp.Header, strings.TrimSpace(string(body))}}
}

// Every sample, played to every generation. RocketChat4 answers as captured, the
// others where they are not known to differ.
func TestRocketChatSamples(t *testing.T) {
	type answers map[chatdmtest.RocketChatGeneration]string
	const old, v3, v7, v8 = chatdmtest.RocketChatOld, chatdmtest.RocketChat3, chatdmtest.RocketChat7, chatdmtest.RocketChat8
	everywhereOld := func(want string) answers { return answers{old: page, v3: want} }
	tests := []struct {
		name   string
		after  string // samples that have been played before
		differ answers
	}{
		{"401-no-headers", "", answers{old: page, v7: loggedOut7, v8: loggedOut7}},
		{"close-again", "create close-ok", answers{
			old: `400 {"success":false,"error":"The direct message room, undefined, is already closed to the sender"}`,
			v3:  `400 {"success":false,"error":"The direct message room, undefined, is already closed to the sender"}`,
		}},
		{"close-missing", "", answers{old: noParam3, v3: noParam3, v8: invalid7(required("roomId"))}},
		{"close-nonmember", "create", answers{old: noRoom3, v3: noRoom3}},
		{"close-ok", "create", nil},
		{"close-unknown", "", answers{old: noChannel, v3: noChannel}},
		{"create", "", nil},
		{"create-excludeself", "", nil},
		{"create-max", "", nil},
		{"create-no-params", "", answers{old: noUsers3, v3: noUsers3,
			v7: invalid7(required("usernames"), required("username"), oneOf), v8: invalid7(required("usernames"), required("username"), oneOf)}},
		{"create-no-permission", "", nil},
		{"create-self", "", nil},
		{"create-unknown-user", "", nil},
		{"create-usernames", "", nil},
		{"delete-again", "create delete-ok-roomid", answers{old: page}},
		{"delete-both", "", answers{old: page, v3: noChannel, v7: invalid7(additional, additional, oneOf), v8: invalid7(additional, additional, oneOf)}},
		{"delete-by-non-member", "create", everywhereOld(forbidden)},
		{"delete-by-username", "", answers{old: page}},
		{"delete-channel", "", answers{old: page}},
		{"delete-channel-id", "", answers{old: page}},
		{"delete-empty", "", answers{old: page, v3: noParam3,
			v7: invalid7(required("roomId"), required("username"), oneOf), v8: invalid7(required("roomId"), required("username"), oneOf)}},
		{"delete-federated", "", everywhereOld(done)},
		{"delete-invalid-json", "", answers{old: page,
			v7: invalid7(required("roomId"), required("username"), oneOf), v8: invalid7(required("roomId"), required("username"), oneOf)}},
		{"delete-ok-roomid", "create", answers{old: page}},
		{"delete-unknown", "", answers{old: page}},
		{"delete-with-user-id-as-roomid", "", answers{old: page}},
		{"delete-without-permission", "create", everywhereOld(forbidden)},
		{"login-bad", "", nil},
		{"login-ok", "", answers{
			v7: `200 {"status":"success","data":{"userId":"u_alice","authToken":"chatdmtest-login-1","me":{"_id":"u_alice","username":"alice","name":"alice"}},"success":true}`,
			v8: `200 {"status":"success","data":{"userId":"u_alice","authToken":"chatdmtest-login-1","me":{"_id":"u_alice","username":"alice","name":"alice"}},"success":true}`,
		}},
		{"login-unknown", "", nil},
		{"open-channel", "", answers{old: noChannel, v3: noChannel}},
		{"open-missing", "", answers{old: noParam3, v3: noParam3, v8: invalid7(required("roomId"))}},
		{"open-nonmember", "create", answers{old: noRoom3, v3: noRoom3}},
		{"open-ok", "create", nil},
		{"open-unknown", "", answers{old: noChannel, v3: noChannel}},
	}

	files, err := os.ReadDir(filepath.Join("testdata", "rocketchat"))
	if err != nil || len(files) != len(tests) {
		t.Errorf("%d samples, %v, but %d tests", len(files), err, len(tests))
	}
	for _, tt := range tests {
		for _, g := range generations {
			t.Run(tt.name+" "+string(g), func(t *testing.T) {
				s := newRocketChat(t, chatdmtest.Generation(g))
				for name := range strings.FieldsSeq(tt.after) {
					before := readSample(t, name)
					say(t, s, before.as, before.endpoint, before.body)
				}
				call := readSample(t, tt.name)
				got := send(t, s, ask(t, s, call.as, "POST", call.endpoint, "application/json", call.body))
				want := fmt.Sprint(call.want.status, " ", call.want.body)
				if other, differs := tt.differ[g]; differs {
					want = other
				} else {
					maps.DeleteFunc(call.want.header, func(name string, _ []string) bool { return name == "Content-Length" })
					maps.DeleteFunc(got.header, func(name string, _ []string) bool { return name == "Content-Length" || name == "Date" })
					if diff := gocmp.Diff(call.want.header, got.header); diff != "" {
						t.Errorf("header (-want +got):\n%s", diff)
					}
				}
				checkBody(t, call.body, strings.TrimSpace(fmt.Sprint(got.status, " ", got.body)), strings.TrimSpace(want))
			})
		}
	}
}

func TestRocketChatState(t *testing.T) {
	converse(t, newRocketChat(t), []turn{
		// One direct message for each set of users, whoever creates it.
		{`admin im.create {"username":"bob"}`, room("u_adminu_bob", `["admin","bob"]`)},
		{`bob dm.create {"username":"admin"}`, room("u_adminu_bob", `["admin","bob"]`)},
		{`admin im.create {"usernames":"bob, alice"}`, room("chatdmtestDM00001", `["admin","alice","bob"]`)},
		{`alice im.create {"usernames":"admin,bob,bob,alice"}`, room("chatdmtestDM00001", `["admin","alice","bob"]`)},
		{`alice im.create {"username":"alice"}`, room("chatdmtestDM00002", `["alice"]`)},
		{`alice im.create {"usernames":"alice","excludeSelf":false}`, room("chatdmtestDM00002", `["alice"]`)},
		{`alice im.create {"usernames":"bob,carol","excludeSelf":"true"}`, room("u_bobu_carol", `["bob","carol"]`)},
		{`alice im.open {"roomId":"u_bobu_carol"}`, forbidden},

		// It opens for who creates it, and for the others of a group.
		{`admin im.create {"username":"carol"}`, room("u_adminu_carol", `["admin","carol"]`)},
		{`carol im.close {"roomId":"u_adminu_carol"}`, closedAlready},
		{`carol im.open {"roomId":"u_adminu_carol"}`, done},
		{`carol im.open {"roomId":"u_adminu_carol"}`, done},
		{`carol im.close {"roomId":"u_adminu_carol"}`, done},
		{`carol dm.close {"roomId":"u_adminu_carol"}`, closedAlready},
		{`carol im.create {"username":"admin"}`, room("u_adminu_carol", `["admin","carol"]`)},
		{`carol dm.close {"roomId":"u_adminu_carol"}`, done},
		{`admin im.close {"roomId":"u_adminu_carol"}`, done},
		{`bob im.close {"roomId":"chatdmtestDM00001"}`, done},

		// A delete is for all members, by whichever name.
		{`admin im.delete {"roomId":"u_adminu_carol"}`, done},
		{`carol im.open {"roomId":"u_adminu_carol"}`, forbidden},
		{`carol im.close {"roomId":"u_adminu_carol"}`, notSubscribed},
		{`admin im.delete {"roomId":"u_adminu_carol"}`, noChannel},
		{`admin im.delete {"roomId":"@u_bob"}`, done},
		{`admin im.open {"roomId":"u_adminu_bob"}`, forbidden},
		{`admin im.create {"username":"bob"}`, room("u_adminu_bob", `["admin","bob"]`)},
		{`admin im.delete {"username":"@bob"}`, done},
		{`admin im.open {"roomId":"u_adminu_bob"}`, forbidden},
		{`admin im.delete {"username":"u_adminu_bob"}`, noChannel},
		{`admin im.delete {"username":"chatdmtestDM00001"}`, done},
		{`admin im.delete {"username":"chatdmtestDM00001"}`, noChannel},
		{`admin im.delete {"username":"admin"}`, done},

		// What passes the schema, and what does not exist.
		{`admin im.delete {"roomId":""}`, noChannel},
		{`admin im.delete {"username":null}`, noChannel},
		{`admin im.delete {"roomId":5}`, noChannel},
		{`admin im.delete {"roomId":true}`, noChannel},
		{`admin im.delete {"username":"nobody"}`, noChannel},
		{`admin im.delete {"roomId":"GENERAL"}`, noChannel},
		{`alice im.open {"roomId":"GENERAL"}`, noChannel},
		{`alice im.close {"roomId":"GENERAL"}`, noChannel},
		{`alice im.open {"roomId":""}`, forbidden},
		{`alice im.close {"roomId":""}`, noParam},
		{`alice im.create {"usernames":""}`, invalidUser},
		{`alice im.create {"username":"bob","excludeSelf":true}`, invalidUser},
		{`alice im.create {"username":"alice","excludeSelf":true}`, invalidUser},
	})
}

const (
	closedAlready = `400 {"success":false,"error":"The direct message room, is already closed to the sender"}`
	notSubscribed = `400 {"success":false,"error":"The user is not subscribed to the room"}`
)

func TestRocketChatMaxUsers(t *testing.T) {
	s := newRocketChat(t)
	converse(t, s, []turn{
		{`guest im.create {"usernames":"alice,bob,carol,dave,erin,frank,grace,heidi"}`, noCreate},
		{`admin im.create {"usernames":"alice,bob,carol,dave,erin,frank,grace,heidi","excludeSelf":true}`,
			room("chatdmtestDM00001", `["alice","bob","carol","dave","erin","frank","grace","heidi"]`)},
		{`admin im.create {"usernames":"alice,bob,carol,dave,erin,frank,grace,heidi"}`,
			`400 {"success":false,"error":"You cannot add more than 8 users, including yourself to a direct message [error-direct-message-max-user-exceeded]",` +
				`"errorType":"error-direct-message-max-user-exceeded","details":{"method":"createDirectRoom"}}`},
	})
}

// Each permission has its own refusal, and its lack another one in RocketChat3.
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
			was := func(v3, later string) string {
				if g == chatdmtest.RocketChat3 {
					return v3
				}
				return later
			}
			converse(t, s, []turn{
				{`alice im.create {"username":"guest"}`, room("u_aliceu_guest", `["alice","guest"]`)},
				{`guest im.create {"username":"alice"}`, `200 {"room":{"t":"d","rid":"u_aliceu_guest","_id":"u_aliceu_guest"},"success":true}`},
				{`guest im.close {"roomId":"u_aliceu_guest"}`, was(`400 {"success":false,"error":"The direct message room, undefined, is already closed to the sender"}`, closedAlready)},
				{`guest im.create {"username":"bob"}`, noCreate},
				{`guest im.delete {"username":"bob"}`, was(forbidden, noCreate)},

				{`alice im.delete {"roomId":"u_aliceu_guest"}`, was(forbidden, noDelete)},
				{`eraser im.delete {"roomId":"u_aliceu_guest"}`, was(forbidden, notAllowed)},
				{`viewer im.delete {"roomId":"u_aliceu_guest"}`, noDelete},
				{`viewer2 im.delete {"roomId":"u_aliceu_guest"}`, done},
				{`viewer2 im.delete {"username":"alice"}`, noCreate},
				{`eraser im.create {"username":"alice"}`, room("u_aliceu_eraser", `["alice","eraser"]`)},
				{`eraser im.delete {"roomId":"u_aliceu_eraser"}`, was(forbidden, done)},
				{`eraser im.delete {"username":"alice"}`, was(forbidden, done)},
				{`admin im.open {"roomId":"u_aliceu_guest"}`, was(noChannel, forbidden)},
			})
		})
	}
}

// RocketChat3 has no schemas.
func TestRocketChat3Params(t *testing.T) {
	converse(t, newRocketChat(t, chatdmtest.Generation(chatdmtest.RocketChat3)), []turn{
		{`alice im.open {"username":"bob","extra":1}`, done},
		{`alice im.close {"roomId":"bob"}`, done},
		{`admin im.delete {"roomId":"fedroom","username":" carol "}`, done},
		{`admin im.delete {"roomId":" ","username":null}`, noParam3},
		{`admin im.delete []`, noParam3},
		{`admin im.delete {"roomId":{}}`, noParam3},
		{`guest im.open {"username":"bob"}`, noCreate},
		{`alice im.create {"usernames":"bob","extra":1}`, room("u_aliceu_bob", `["alice","bob"]`)},
		{`alice im.create {"username":"","usernames":"bob"}`, room("u_aliceu_bob", `["alice","bob"]`)},
	})
}

func TestRocketChatSchema(t *testing.T) {
	s := newRocketChat(t, chatdmtest.Generation(chatdmtest.RocketChat4))
	converse(t, s, []turn{
		{`admin im.delete {"roomId":"a","x":1}`, invalid(additional, required("username"), oneOf)},
		{`admin im.delete {"x":1}`, invalid(required("roomId"), required("username"), oneOf)},
		{`admin im.delete {"username":{}}`, invalid(required("roomId"), "must be string", oneOf)},
		{`admin im.delete {"roomId":[]}`, invalid("must be string", required("username"), oneOf)},
		{`admin im.delete []`, invalid("must be object", "must be object", oneOf)},
		{`admin im.create {"username":"a","usernames":"b"}`, invalid(additional, additional, oneOf)},
		{`admin im.create {"usernames":["bob"]}`, invalid("must be string", required("username"), oneOf)},
		{`admin im.create {"username":"bob","excludeSelf":"yes"}`, invalid(required("usernames"), "must be boolean", oneOf)},
		{`admin im.create {"username":"bob","excludeSelf":null}`, room("u_adminu_bob", `["admin","bob"]`)},
		{`admin im.open {"roomId":"u_adminu_bob","x":1}`, done},
		{`admin im.open []`, noParam},
	})
	converse(t, newRocketChat(t), []turn{
		{`admin im.delete {"roomId":"a","x":1}`, invalid7(additional, required("username"), oneOf)},
		{`admin im.close {"roomId":"a","userId":"b"}`, invalid7(additional)},
		{`admin im.open {"roomId":{}}`, invalid7("must be string")},
	})
}

// How a body is read: by its Content-Type.
func TestRocketChatBody(t *testing.T) {
	missing := []string{required("roomId"), required("username"), oneOf}
	for _, tt := range []struct{ name, contentType, body, v4, v8 string }{
		{"JSON", "application/json; charset=utf-8", `{"username":"bob"}`, done, done},
		{"form", form, "username=bob", done, done},
		{"bad form", form, "username=%", "400 Bad Request\n", invalid7(missing...)},
		{"no type", "", `{"username":"bob"}`, invalid(missing...), invalid7(missing...)},
		{"text", "text/plain", `{"username":"bob"}`, invalid(missing...), invalid7(missing...)},
		{"nothing", "application/json", "", invalid(missing...), invalid7(missing...)},
		{"cut", "application/json", `{"username":"bob"`, "400 Bad Request\n", invalid7(missing...)},
		{"no object", "application/json", `"bob"`, "400 Bad Request\n", invalid7(missing...)},
		{"null", "application/json", `null`, "400 Bad Request\n", invalid7(missing...)},
	} {
		for g, want := range map[chatdmtest.RocketChatGeneration]string{chatdmtest.RocketChat4: tt.v4, chatdmtest.RocketChat8: tt.v8} {
			s := newRocketChat(t, chatdmtest.Generation(g))
			a := send(t, s, ask(t, s, "admin", "POST", "im.delete", tt.contentType, tt.body))
			checkBody(t, tt.name+" "+string(g), fmt.Sprint(a.status, " ", a.body), want)
		}
	}
}

// A wrong token together with a wrong body tells in which order they are checked.
func TestRocketChatOrder(t *testing.T) {
	missing := invalid7(required("roomId"), required("username"), oneOf)
	for g, want := range map[chatdmtest.RocketChatGeneration]struct{ both, malformed string }{
		chatdmtest.RocketChat3: {loggedOut, "400 Bad Request\n"},
		chatdmtest.RocketChat4: {loggedOut, "400 Bad Request\n"},
		chatdmtest.RocketChat7: {missing, missing},
		chatdmtest.RocketChat8: {loggedOut7, loggedOut7},
	} {
		s := newRocketChat(t, chatdmtest.Generation(g))
		s.Limit("im.delete", 2, time.Hour)
		s.AddUser(chatdmtest.RocketChatUser{ID: "u_eraser", AuthToken: "tok-eraser", Permissions: []string{"delete-d", "view-room-administration"}})
		checkBody(t, string(g), say(t, s, "none", "im.delete", "{}"), want.both)
		checkBody(t, string(g), say(t, s, "nobody", "im.delete", "{}"), want.both)
		checkBody(t, string(g), say(t, s, "none", "im.delete", "{"), want.malformed)

		// Whether an invalid body counts.
		left := func() string {
			a := send(t, s, ask(t, s, "eraser", "POST", "im.delete", "application/json", "{}"))
			return a.header.Get("X-RateLimit-Remaining")
		}
		wantLeft := ""
		if g == chatdmtest.RocketChat3 || g == chatdmtest.RocketChat4 {
			wantLeft = "1"
		}
		if got := left(); got != wantLeft {
			t.Errorf("%s: %q calls left, want %q", g, got, wantLeft)
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
		{"both", "u_alice", "tok-alice", true},
		{"no token", "u_tokenless", "", false},
		{"no id", "", "tok-alice", false},
		{"neither", "", "", false},
		{"of another", "u_bob", "tok-alice", false},
		{"unknown user", "u_nobody", "tok-alice", false},
		{"unknown token", "", "tok-nobody", false},
	} {
		r := ask(t, s, "none", "GET", "im.list", "", "")
		r.Header.Set("X-User-Id", tt.user)
		r.Header.Set("X-Auth-Token", tt.token)
		if got := send(t, s, r); (got.status == 200) != tt.ok || !tt.ok && fmt.Sprint(got.status, " ", got.body) != loggedOut7 {
			t.Errorf("%s: %d %s", tt.name, got.status, got.body)
		}
	}
}

func TestRocketChatRoutes(t *testing.T) {
	const wrong = `{"status":"error","message":"API endpoint does not exist"}`
	for _, tt := range []struct {
		verb, path string
		v4, v8     string
		allow      string // of v4
	}{
		{"GET", "im.delete", "405 " + wrong, "404 404 Not Found", "POST, OPTIONS"},
		{"HEAD", "im.delete", "405 ", "404 ", "POST, OPTIONS"},
		{"POST", "im.list", "405 " + wrong, "404 404 Not Found", "GET, OPTIONS"},
		{"HEAD", "im.list", "405 ", "200 ", "GET, OPTIONS"},
		{"POST", "im.erase", page, "404 404 Not Found", ""},
		{"GET", "", page, "404 404 Not Found", ""},
		{"POST", "dm.login", page, "404 404 Not Found", ""},
	} {
		for g, want := range map[chatdmtest.RocketChatGeneration]string{chatdmtest.RocketChat4: tt.v4, chatdmtest.RocketChat8: tt.v8} {
			s := newRocketChat(t, chatdmtest.Generation(g))
			a := send(t, s, ask(t, s, "admin", tt.verb, tt.path, "", ""))
			checkBody(t, fmt.Sprint(tt.verb, " ", tt.path, " ", g), fmt.Sprint(a.status, " ", a.body), want)
			if got := a.header.Get("Allow"); g == chatdmtest.RocketChat4 && got != tt.allow {
				t.Errorf("%s %s: Allow %q, want %q", tt.verb, tt.path, got, tt.allow)
			}
			if method := s.Requests()[0].Method; method != tt.path {
				t.Errorf("logged as %q", method)
			}
		}
	}
	s := newRocketChat(t)
	r := ask(t, s, "admin", "POST", "im.delete", "", "")
	r.URL.Path = "/im.delete"
	if got := send(t, s, r); got.status != 404 || s.Requests()[0].Method != "" {
		t.Errorf("outside the API: %d, logged as %q", got.status, s.Requests()[0].Method)
	}
}

func TestRocketChatLogin(t *testing.T) {
	const (
		me           = `{"_id":"u_zoe","username":"zoe","name":"Zoe Z.","emails":[{"address":"zoe@example.com","verified":false}]}`
		unrecognized = `401 {"status":"error","error":400,"message":"Unrecognized options for login request"}`
		wrong        = `401 {"status":"error","error":403,"message":"Incorrect password"}`
		ended        = `401 {"status":"error","error":403,"message":"You've been logged out by the server. Please log in again."}`
		unknown      = `401 {"status":"error","error":"Unauthorized","message":"Unauthorized"}`
		totp         = `"details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}`
	)
	session := func(token string) string {
		return `200 {"status":"success","data":{"userId":"u_zoe","authToken":"` + token + `","me":` + me + `},"success":true}`
	}
	s := newRocketChat(t)
	zoe := chatdmtest.RocketChatUser{ID: "u_zoe", Username: "zoe", Name: "Zoe Z.", Email: "zoe@example.com", Password: "secret", AuthToken: "tok-zoe"}
	s.AddUser(zoe)
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_robot", Username: "robot"})
	converse(t, s, []turn{
		{`none login {"user":"zoe","password":"secret"}`, session("chatdmtest-login-1")},
		{`none login {"user":"Zoe@example.com","password":"secret"}`, session("chatdmtest-login-2")},
		{`none login {"user":{"username":"zoe"},"password":"secret"}`, session("chatdmtest-login-3")},
		{`none login {"user":{"email":"zoe@example.com"},"password":"secret"}`, session("chatdmtest-login-4")},
		{`none login {"username":"zoe","password":"secret","code":"1"}`, session("chatdmtest-login-5")},
		{`none login {"email":"zoe@example.com","password":"secret"}`, session("chatdmtest-login-6")},
		{`none login {"resume":"chatdmtest-login-3"}`, session("chatdmtest-login-3")},
		{`none login {"resume":"tok-zoe"}`, session("tok-zoe")},

		{`none login {"resume":""}`, ended},
		{`none login {"resume":"chatdmtest-login-9"}`, ended},
		{`none login {"user":"zoe","password":"wrong"}`, wrong},
		{`none login {"user":"zoe","password":{"digest":"00"}}`, wrong},
		{`none login {"user":"nobody","password":"secret"}`, unknown},
		{`none login {"user":"nobody@example.com","password":"secret"}`, unknown},
		{`none login {"email":"","password":"secret"}`, unknown},
		{`none login {"user":"robot","password":""}`, `401 {"status":"error","error":403,"message":"User has no password set"}`},
		{`none login {"user":"zoe"}`, unrecognized},
		{`none login {"password":"secret"}`, unrecognized},
		{`none login {"user":{},"password":"secret"}`, unrecognized},
		{`none login {"user":"zoe","password":"secret","remember":true}`, unrecognized},
		{`none login {`, unrecognized},
	})

	zoe.TOTP = "123456"
	s.AddUser(zoe)
	converse(t, s, []turn{
		{`none login {"user":"zoe","password":"wrong"}`, wrong},
		{`none login {"user":"zoe","password":"secret"}`, `401 {"status":"error","error":"totp-required",` + totp + `,"message":"TOTP Required"}`},
		{`none login {"user":"zoe","password":"secret","code":"1"}`, `401 {"status":"error","error":"totp-invalid",` + totp + `,"message":"TOTP Invalid"}`},
		{`none login {"user":"zoe","password":"secret","code":123456}`, session("chatdmtest-login-7")},
		{`none login {"resume":"chatdmtest-login-3"}`, session("chatdmtest-login-3")},
	})
	r := ask(t, s, "none", "POST", "login", form, "user=zoe&password=secret")
	r.Header.Set("x-2fa-code", "123456")
	checkBody(t, "code in a header", send(t, s, r).body, strings.TrimPrefix(session("chatdmtest-login-8"), "200 "))

	// A login's token is good until logout, and others stay.
	as := func(token, verb, endpoint string) string {
		r := ask(t, s, "none", verb, endpoint, "", "")
		r.Header.Set("X-User-Id", "u_zoe")
		r.Header.Set("X-Auth-Token", token)
		return send(t, s, r).body
	}
	for _, token := range []string{"chatdmtest-login-2", "tok-zoe"} {
		checkBody(t, "me", as(token, "GET", "me"), strings.TrimSuffix(me, "}")+`,"success":true}`)
		checkBody(t, "logout", as(token, "POST", "logout"), `{"status":"success","data":{"message":"You've been logged out!"},"success":true}`)
		checkBody(t, "gone", "401 "+as(token, "GET", "me"), loggedOut7)
	}
	checkBody(t, "another", as("chatdmtest-login-1", "GET", "me"), strings.TrimSuffix(me, "}")+`,"success":true}`)
}

func TestRocketChatList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRocketChat(t, chatdmtest.InMemory())
		for _, name := range []string{"bob", "carol", "alice"} {
			say(t, s, "alice", "im.create", `{"username":"`+name+`"}`)
		}
		say(t, s, "alice", "im.close", `{"roomId":"u_aliceu_bob"}`)
		entry := func(id, usernames string, count int, uids string) string {
			return fmt.Sprintf(`{"_id":%q,"t":"d","usernames":[%s],"usersCount":%d,"msgs":0,"ts":"2000-01-01T00:00:00.000Z","uids":[%s]}`, id, usernames, count, uids)
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
			a := send(t, s, ask(t, s, "alice", "GET", "im.list"+tt.query, "", ""))
			var ims []string
			if tt.from < len(entries) {
				ims = entries[tt.from:tt.to]
			}
			checkBody(t, tt.query, a.body, fmt.Sprintf(`{"ims":[%s],"offset":%d,"count":%d,"total":3,"success":true}`, strings.Join(ims, ","), tt.from, len(ims)))
		}
	})
}

func TestRocketChatLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRocketChat(t, chatdmtest.InMemory(), chatdmtest.Generation(chatdmtest.RocketChat4))
		s.Limit("im.open", 2, time.Minute)
		call := func(as, endpoint, wantHeader, want string) {
			t.Helper()
			a := send(t, s, ask(t, s, as, "POST", endpoint, "application/json", `{"roomId":"fedroom"}`))
			header := strings.Join(slices.Concat(a.header["X-Ratelimit-Limit"], a.header["X-Ratelimit-Remaining"], a.header["X-Ratelimit-Reset"], a.header["Retry-After"]), " ")
			if header != wantHeader {
				t.Errorf("header %q, want %q", header, wantHeader)
			}
			checkBody(t, as, fmt.Sprint(a.status, " ", a.body), want)
		}
		slow := func(seconds int) string {
			return fmt.Sprintf(`429 {"success":false,"error":"Error, too many requests. Please slow down. You must wait %d seconds before trying this endpoint again. [error-too-many-requests]"}`, seconds)
		}
		time.Sleep(time.Hour)
		reset := strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10)
		call("bob", "im.open", "2 1 "+reset, done)
		call("admin", "im.open", "", done)
		call("none", "im.open", "", loggedOut)
		call("bob", "dm.open", "", done)
		time.Sleep(10500 * time.Millisecond)
		call("carol", "im.open", "2 0 "+reset, forbidden)
		call("bob", "im.open", "2 0 "+reset, slow(50))
		call("bob", "im.open", "2 0 "+reset, slow(50))
		call("admin", "im.open", "", done)
		time.Sleep(49500 * time.Millisecond)
		reset = strconv.FormatInt(time.Now().Add(time.Minute).UnixMilli(), 10)
		call("bob", "im.open", "2 1 "+reset, done)

		s.Limit("login", 1, time.Minute)
		converse(t, s, []turn{
			{`none login {}`, `401 {"status":"error","error":400,"message":"Unrecognized options for login request"}`},
			{`none login {}`, slow(60)},
		})
	})
}

func TestRocketChatFault(t *testing.T) {
	missing := []string{required("roomId"), required("username"), oneOf}
	failure := func(text, code, details string) string {
		return `400 {"success":false,"error":"` + text + `","errorType":"` + code + `"` + details + `}`
	}
	tests := []struct {
		endpoint, code string
		v3, v4, v8     string // "" is the same as the one before
	}{
		{"im.delete", "error-app-prevented-deleting", failure("A Rocket.Chat App prevented the room erasing. [error-app-prevented-deleting]", "error-app-prevented-deleting", ""), "", ""},
		{"im.create", "error-app-prevented", failure("A Rocket.Chat App prevented the room creation. [error-app-prevented]", "error-app-prevented", ""), "", ""},
		{"im.delete", "error-cannot-delete-federated-room", failure("Cannot delete federated room [error-cannot-delete-federated-room]", "error-cannot-delete-federated-room", `,"details":{"method":"eraseRoom"}`), "", ""},
		{"im.delete", "invalid-channel", noChannel, "", ""},
		{"im.delete", "error-not-allowed", notAllowed, "", ""},
		{"im.create", "error-invalid-user", invalidUser, "", ""},
		{"im.delete", "never-heard-of", failure("[never-heard-of]", "never-heard-of", ""), "", ""},
		{"im.delete", "invalid-params", invalid(missing...), "", invalid7(missing...)},
		{"dm.delete", "error-invalid-params", strings.ReplaceAll(invalid(missing...), "invalid-params", "error-invalid-params"), "", strings.ReplaceAll(invalid7(missing...), "invalid-params", "error-invalid-params")},
		{"no.such", "invalid-params", failure("[invalid-params]", "invalid-params", ""), "", ""},
		{"im.open", "error-room-param-not-provided", noParam3, noParam, ""},
		{"im.open", "error-room-not-found", noRoom3, strings.Replace(noRoom3, ` or \"username\"`, "", 1), ""},
		{"im.create", "error-room-not-found", noUsers3, strings.Replace(noUsers3, `\"username\" or \"usernames\"`, `\"roomId\"`, 1), ""},
		{"im.delete", "unauthorized", loggedOut, "", loggedOut7},
		{"login", "unauthorized", loggedOut, "", loggedOut7},
		{"im.delete", "forbidden", forbidden, "", ""},
		{"me", "error-unauthorized", `403 {"success":false,"error":"Users must have a username [error-unauthorized]"}`, "", ""},
		{"im.delete", "error-too-many-requests", `429 {"success":false,"error":"Error, too many requests. Please slow down. You must wait 60 seconds before trying this endpoint again. [error-too-many-requests]"}`, "", ""},
		{"me", "totp-required", failure("TOTP Required [totp-required]", "totp-required", `,"details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]}`), "", ""},
		{"login", "totp-max-attempts", `401 {"status":"error","error":"totp-max-attempts","details":{"method":"totp","codeGenerated":false,"availableMethods":["totp"]},"message":"TOTP Maximun Failed Attempts Reached"}`, "", ""},
		{"login", "never-heard-of", `401 {"status":"error","error":"never-heard-of","message":"[never-heard-of]"}`, "", ""},
	}
	for _, tt := range tests {
		want := ""
		for _, answer := range []struct {
			of   chatdmtest.RocketChatGeneration
			body string
		}{
			{chatdmtest.RocketChat3, tt.v3},
			{chatdmtest.RocketChat4, tt.v4},
			{chatdmtest.RocketChat8, tt.v8},
		} {
			want = cmp.Or(answer.body, want)
			s := newRocketChat(t, chatdmtest.Generation(answer.of))
			s.Fail(tt.endpoint, 1, chatdmtest.Fault{Code: tt.code})
			checkBody(t, fmt.Sprint(tt.endpoint, " ", tt.code, " ", answer.of), say(t, s, "admin", tt.endpoint, "{}"), want)
		}
	}
}

// The answer to a delete gets lost: a repetition finds nothing.
func TestRocketChatLostAnswer(t *testing.T) {
	s := newRocketChat(t)
	say(t, s, "admin", "im.create", `{"username":"bob"}`)
	s.Fail("im.delete", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	s.Fail("im.delete", 1, chatdmtest.Fault{Cut: chatdmtest.InBody})
	r := ask(t, s, "admin", "POST", "im.delete", "application/json", `{"roomId":"u_adminu_bob"}`)
	if resp, err := s.Client().Do(r); err == nil {
		resp.Body.Close()
		t.Error("answered")
	}
	resp, err := s.Client().Do(ask(t, s, "admin", "POST", "im.delete", "application/json", `{"roomId":"u_adminu_bob"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil || !strings.HasPrefix(string(body), `{"success":false,`) {
		t.Errorf("%d %s, %v", resp.StatusCode, body, err)
	}
	checkBody(t, "again", say(t, s, "admin", "im.delete", `{"roomId":"u_adminu_bob"}`), noChannel)
}

// What a new server has without a test's help.
func TestRocketChatDefaults(t *testing.T) {
	s := chatdmtest.NewRocketChat(nil)
	defer s.Close()
	create := func(id, token string) string {
		r := ask(t, s, "none", "POST", "im.create", "application/json", `{"usernames":"alice,bob,carol,dave,erin,frank,grace"}`)
		r.Header.Set("X-User-Id", id)
		r.Header.Set("X-Auth-Token", token)
		return send(t, s, r).body
	}
	checkBody(t, "member", create(chatdmtest.RocketChatMemberID, chatdmtest.RocketChatMemberToken),
		strings.TrimPrefix(room("chatdmtestDM00001", `["alice","bob","carol","dave","erin","frank","grace","member"]`), "200 "))
	checkBody(t, "admin", create(chatdmtest.RocketChatAdminID, chatdmtest.RocketChatAdminToken),
		strings.TrimPrefix(room("chatdmtestDM00002", `["admin","alice","bob","carol","dave","erin","frank","grace"]`), "200 "))
	checkBody(t, "login", say(t, s, "none", "login", `{"user":"heidi","password":"`+chatdmtest.RocketChatPassword+`"}`),
		`200 {"status":"success","data":{"userId":"U0HEIDI01","authToken":"chatdmtest-login-1","me":{"_id":"U0HEIDI01","username":"heidi","name":"heidi"}},"success":true}`)
}

func TestRocketChatAdd(t *testing.T) {
	s := newRocketChat(t)
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "GENERAL", Type: "d", Members: []string{"u_carol", "u_bob", "u_gone"}})
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "chatdmtestDM00001", Type: "p", Members: []string{"u_bob"}})
	converse(t, s, []turn{
		{`bob im.close {"roomId":"GENERAL"}`, done},
		{`bob im.open {"roomId":"chatdmtestDM00001"}`, noChannel},
		{`bob im.create {"username":"bob"}`, room("chatdmtestDM00002", `["bob"]`)},
	})
	a := send(t, s, ask(t, s, "carol", "GET", "im.list", "", ""))
	if !strings.Contains(a.body, `"_id":"GENERAL","t":"d","usernames":["bob","carol"],"usersCount":3,`) {
		t.Errorf("a room with a user who is gone: %s", a.body)
	}
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_bob", Username: "robert", AuthToken: "tok-bob"})
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_carol2", Username: "carol"})
	s.AddUser(chatdmtest.RocketChatUser{ID: "u_zoe", AuthToken: "tok-zoe"})
	converse(t, s, []turn{
		{`bob im.open {"roomId":"GENERAL"}`, done},
		{`bob im.create {"username":"bob"}`, invalidUser},
		{`bob im.create {"username":"u_zoe"}`, room("u_bobu_zoe", `["robert","u_zoe"]`)},
		{`bob im.create {"username":"carol"}`, room("u_bobu_carol2", `["carol","robert"]`)},
		{`carol im.create {"username":"alice"}`, loggedOut7},
	})
}

func TestOptionPanics(t *testing.T) {
	for want, start := range map[string]func(){
		"chatdmtest: RetiredIM is an option of NewSlack, not of NewRocketChat":  func() { chatdmtest.NewRocketChat(chatdmtest.RetiredIM()) },
		"chatdmtest: Generation is an option of NewRocketChat, not of NewSlack": func() { chatdmtest.NewSlack(nil, chatdmtest.Generation(chatdmtest.RocketChat8)) },
		`chatdmtest: no generation "9.x" of Rocket.Chat`:                        func() { chatdmtest.Generation("9.x") },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panic %v, want %s", got, want)
				}
			}()
			start()
		}()
	}
	chatdmtest.NewSlack(nil).Close()
}

// Everything at once, for the race detector.
func TestRocketChatConcurrent(t *testing.T) {
	s := newRocketChat(t)
	var callers sync.WaitGroup
	for i := range 16 {
		callers.Go(func() {
			as := []string{"admin", "alice"}[i%2]
			for j := range 10 {
				say(t, s, as, "im.create", `{"username":"bob"}`)
				say(t, s, as, "im.delete", `{"username":"bob"}`)
				say(t, s, "none", "login", `{"user":"alice","password":"pw-alice"}`)
				s.Limit("im.open", j, time.Minute)
				s.AddUser(chatdmtest.RocketChatUser{ID: fmt.Sprint("u", i)})
				s.AddRoom(chatdmtest.RocketChatRoom{ID: fmt.Sprint("r", i)})
				s.Requests()
			}
		})
	}
	callers.Wait()
	if n := len(s.Requests()); n != 16*10*3 {
		t.Errorf("logged %d requests", n)
	}
}
