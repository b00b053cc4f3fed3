package rocketchat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/internal/wiretest"
	"github.com/chatdm/chatdm/rocketchat"
)

const (
	send = "chat.sendMessage"
	get  = "chat.getMessage"
)

// endpoints is a transport that gives the responses of each endpoint in order,
// repeats the last one, and records the endpoints. It fails the test if an endpoint has
// no response.
type endpoints struct {
	t         *testing.T
	mu        sync.Mutex
	responses map[string][]wiretest.Responder
	called    []string
	queries   []string
}

func newEndpoints(t *testing.T, responses map[string][]wiretest.Responder) *endpoints {
	t.Helper()
	return &endpoints{t: t, responses: responses}
}

func (e *endpoints) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		_, _ = io.Copy(io.Discard, req.Body)
	}
	name := path.Base(req.URL.Path)
	e.mu.Lock()
	e.called, e.queries = append(e.called, name), append(e.queries, req.URL.RawQuery)
	responses := e.responses[name]
	if len(responses) == 0 {
		e.t.Errorf("got a call of %s, want none", name)
		responses = []wiretest.Responder{wiretest.Respond(404, "")}
	}
	if len(responses) > 1 {
		e.responses[name] = responses[1:]
	}
	e.mu.Unlock()
	return responses[0](req)
}

// storedMessage returns a response with a message.
func storedMessage(id, room, user string) wiretest.Responder {
	return wiretest.Respond(200, fmt.Sprintf(
		`{"success":true,"message":{"_id":%q,"rid":%q,"msg":"stored","ts":"2026-11-21T09:25:00.000Z","u":{"_id":%q,"username":"x"}}}`, id, room, user))
}

func lost(*http.Request) (*http.Response, error) { return nil, errors.New("connection reset") }

func hang(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// TestSendWithKey drives a message with a key through every outcome.
func TestSendWithKey(t *testing.T) {
	respond := wiretest.Respond
	rejected := func(text string) wiretest.Responder {
		return respond(400, fmt.Sprintf(`{"success":false,"error":%q}`, text))
	}
	var (
		ours      = storedMessage(standupID, standup.RoomID, credentials.UserID)
		absent    = respond(400, `{"success":false}`)
		duplicate = rejected("Cannot read property 'starred' of undefined")
		newer     = rejected("Cannot read properties of undefined (reading 'starred')")
		race      = rejected("E11000 duplicate key error collection: rocketchat.rocketchat_message index: _id_ dup key")
		failed    = rejected("MongoNetworkError: connection 7 closed")
		unnamed   = respond(400, `{"success":false,"error":"What is this [error-brand-new]","errorType":"error-brand-new"}`)
		readOnly  = rejected("You can't send messages because the room is readonly.")
		limited   = respond(429, "", "Retry-After", "2")
		denied    = respond(400, `{"success":false,"error":"Not allowed [error-not-allowed]","errorType":"error-not-allowed"}`)
		dial      = func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
		}
	)
	type (
		responders = []wiretest.Responder
		success    struct {
			noOp     bool
			lost     int
			attempts int
		}
	)
	four := []string{send, send, send, send}
	for _, tt := range []struct {
		name      string
		send, get responders
		want      []string // the endpoints that were called
		success   *success
		kind      chatdm.Kind // of the error
		code      chatdm.Code
		unknown   bool
		text      string
	}{
		{name: "sent", send: responders{ours}, want: []string{send}, success: &success{attempts: 1}},
		{name: "limited, then sent", send: responders{limited, ours}, want: []string{send, send}, success: &success{attempts: 2}},
		{name: "never sent, then sent", send: responders{dial, ours}, want: []string{send, send}, success: &success{attempts: 2}},
		{name: "lost, then sent", send: responders{lost, ours}, want: []string{send, send}, success: &success{lost: 1, attempts: 2}},

		{name: "sent by an earlier run", send: responders{duplicate}, get: responders{ours}, want: []string{send, get}, success: &success{noOp: true, attempts: 2}},
		{name: "sent by an earlier run, 7.0", send: responders{newer}, get: responders{ours}, want: []string{send, get}, success: &success{noOp: true, attempts: 2}},
		{name: "sent by another process", send: responders{race}, get: responders{ours}, want: []string{send, get}, success: &success{noOp: true, attempts: 2}},
		{name: "limited, then a duplicate", send: responders{limited, newer}, get: responders{ours}, want: []string{send, send, get}, success: &success{noOp: true, attempts: 3}},
		{name: "another text", send: responders{failed}, get: responders{ours}, want: []string{send, get}, success: &success{noOp: true, attempts: 2}},
		{name: "no text", send: responders{absent}, get: responders{ours}, want: []string{send, get}, success: &success{noOp: true, attempts: 2}},
		{name: "unknown code", send: responders{unnamed}, get: responders{ours}, want: []string{send, get}, success: &success{noOp: true, attempts: 2}},

		{name: "lost, then a duplicate", send: responders{lost, newer}, get: responders{ours}, want: []string{send, send, get}, success: &success{lost: 1, attempts: 3}},
		{name: "all lost", send: responders{lost}, get: responders{ours}, want: append(four, get), success: &success{lost: 4, attempts: 5}},
		{name: "all fail", send: responders{respond(503, "")}, get: responders{ours}, want: append(four, get), success: &success{lost: 4, attempts: 5}},
		{name: "a gateway fails", send: responders{respond(524, "<html>")}, get: responders{ours}, want: []string{send, get}, success: &success{lost: 1, attempts: 2}},
		{name: "lost, then refused", send: responders{lost, readOnly}, get: responders{ours}, want: []string{send, send, get}, success: &success{lost: 1, attempts: 3}},
		{name: "lost, then limited for long", send: responders{lost, respond(429, "", "Retry-After", "1000")}, get: responders{ours}, want: []string{send, send, get}, success: &success{lost: 1, attempts: 3}},
		{name: "another ID", send: responders{storedMessage("other", standup.RoomID, credentials.UserID)}, get: responders{ours}, want: []string{send, get}, success: &success{lost: 1, attempts: 2}},
		{name: "success without a message", send: responders{respond(200, `{"success":true}`)}, get: responders{ours}, want: []string{send, get}, success: &success{lost: 1, attempts: 2}},
		{name: "look-up fails once", send: responders{newer}, get: responders{respond(503, ""), ours}, want: []string{send, get, get}, success: &success{noOp: true, attempts: 3}},

		{name: "refused", send: responders{readOnly}, want: []string{send}, kind: chatdm.KindUnreachable, code: rocketchat.ErrRoomIsReadOnly},
		{name: "limited for long", send: responders{respond(429, "", "Retry-After", "1000")}, want: []string{send}, kind: chatdm.KindRateLimited, code: rocketchat.ErrTooManyRequests},
		{name: "never sent", send: responders{dial}, want: four, kind: chatdm.KindUnavailable},
		{name: "prevented", send: responders{duplicate}, get: responders{absent}, want: []string{send, get}, kind: rocketchat.ErrAppPrevented.Kind(), code: rocketchat.ErrAppPrevented, text: "'starred'"},
		{name: "limited, then prevented", send: responders{limited, newer}, get: responders{absent}, want: []string{send, send, get}, kind: rocketchat.ErrAppPrevented.Kind(), code: rocketchat.ErrAppPrevented},
		{name: "failed", send: responders{failed}, get: responders{absent}, want: []string{send, get}, kind: chatdm.KindUnavailable, text: "MongoNetworkError"},
		{name: "failed with an unknown code", send: responders{unnamed}, get: responders{absent}, want: []string{send, get}, kind: chatdm.KindUnknown, code: "error-brand-new"},

		{name: "ID in use by another user", send: responders{newer}, get: responders{storedMessage(standupID, standup.RoomID, "u_eve")}, want: []string{send, get}, kind: chatdm.KindUnexpectedResponse, text: "in use"},
		{name: "ID in use in another room", send: responders{newer}, get: responders{storedMessage(standupID, "elsewhere", credentials.UserID)}, want: []string{send, get}, kind: chatdm.KindUnexpectedResponse, text: "in use"},
		{name: "ID in use in a hidden room", send: responders{newer}, get: responders{denied}, want: []string{send, get}, kind: chatdm.KindUnexpectedResponse, text: "in use"},
		{name: "lost, and the ID is in use", send: responders{lost, newer}, get: responders{denied}, want: []string{send, send, get}, kind: chatdm.KindUnexpectedResponse, text: standupID},

		{name: "all lost, and absent", send: responders{lost}, get: responders{absent}, want: append(four, get), kind: chatdm.KindUnavailable, unknown: true, text: "connection reset; the message was not there yet"},
		{name: "lost, then refused, and absent", send: responders{lost, readOnly}, get: responders{absent}, want: []string{send, send, get}, kind: chatdm.KindUnreachable, code: rocketchat.ErrRoomIsReadOnly, unknown: true, text: "not there yet"},
		{name: "lost, then a duplicate, and absent", send: responders{lost, newer}, get: responders{absent}, want: []string{send, send, get}, kind: chatdm.KindUnavailable, unknown: true, text: "not there yet"},
		{name: "race, and absent", send: responders{race}, get: responders{absent}, want: []string{send, get}, kind: chatdm.KindUnavailable, unknown: true, text: "not there yet"},
		{name: "look-up fails", send: responders{newer}, get: responders{lost}, want: append([]string{send}, get, get, get, get), kind: chatdm.KindUnavailable, unknown: true, text: "cannot find out whether the message was sent: rocketchat chat.getMessage: unavailable"},
		{name: "look-up without a valid token", send: responders{respond(524, "")}, get: responders{respond(401, `{"status":"error","message":"You must be logged in"}`)}, want: []string{send, get}, kind: chatdm.KindUnavailable, unknown: true, text: "error-unauthorized"},
		{name: "look-up of another ID", send: responders{newer}, get: responders{storedMessage("other", standup.RoomID, credentials.UserID)}, want: []string{send, get}, kind: chatdm.KindUnavailable, unknown: true, text: "lacks required data"},
		{name: "look-up with a code for absent", send: responders{newer}, get: responders{respond(400, `{"success":false,"errorType":"error-invalid-room"}`)}, want: []string{send, get}, kind: chatdm.KindUnavailable, unknown: true, text: "error-invalid-room"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoints(t, map[string][]wiretest.Responder{send: tt.send, get: tt.get})
				res, err := newClient(t, e).Chat.SendMessage(t.Context(), standup)
				if diff := cmp.Diff(tt.want, e.called); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
				if tt.success != nil {
					if err != nil {
						t.Fatal(err)
					}
					wantMeta := chatdm.Meta{Method: tt.want[len(tt.want)-1], StatusCode: 200, Attempts: tt.success.attempts, LostAnswers: tt.success.lost}
					if diff := cmp.Diff(wantMeta, res.Meta); diff != "" {
						t.Errorf("meta (-want +got):\n%s", diff)
					}
					if res.NoOp != tt.success.noOp || res.AlreadySent != tt.success.noOp || res.Message.ID != standupID || res.Message.Text != "stored" {
						t.Errorf("got %+v, want the stored message and no-op %t", res, tt.success.noOp)
					}
					return
				}
				failure := wantError(t, err, tt.kind)
				if res != nil || failure.Method != send || failure.Code != tt.code || failure.Attempts != len(tt.want) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v, %v, want an error of %s with code %q, %d attempts, and %q", res, err, send, tt.code, len(tt.want), tt.text)
				}
				if unknown := errors.Is(err, chatdm.ErrEffectUnknown); unknown != tt.unknown || errors.Is(err, rocketchat.ErrUnauthorized) || errors.Is(err, rocketchat.ErrInvalidRoom) {
					t.Errorf("got %v, want ErrEffectUnknown %t and no error of the look-up", err, tt.unknown)
				}
			})
		})
	}
}

// TestSendLookUp: the client looks for the message by the ID that it has sent.
func TestSendLookUp(t *testing.T) {
	e := newEndpoints(t, map[string][]wiretest.Responder{
		send: {wiretest.Respond(524, "")}, get: {storedMessage(standupID, standup.RoomID, credentials.UserID)},
	})
	if _, err := newClient(t, e).Chat.SendMessage(t.Context(), standup); err != nil || e.queries[1] != "msgId="+standupID {
		t.Errorf("got queries %q, %v, want the ID %s", e.queries, err, standupID)
	}
}

// TestSendWithKeyContext: if the context ends before the outcome is known, the call
// ends immediately.
func TestSendWithKeyContext(t *testing.T) {
	ours := storedMessage(standupID, standup.RoomID, credentials.UserID)
	limited := wiretest.Respond(429, "", "Retry-After", "2")
	for name, tt := range map[string]struct {
		send, get wiretest.Responder
		deadline  time.Duration
		kind      chatdm.Kind
		want      []string
	}{
		"while sending":        {hang, ours, time.Second, chatdm.KindCanceled, []string{send}},
		"while looking":        {wiretest.Respond(524, ""), hang, time.Second, chatdm.KindUnavailable, []string{send, get}},
		"between two look-ups": {wiretest.Respond(524, ""), limited, time.Second, chatdm.KindUnavailable, []string{send, get}},
		"while a duplicate came": {func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return wiretest.Respond(400, `{"success":false,"error":"x"}`)(req)
		}, ours, time.Second, chatdm.KindUnavailable, []string{send}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoints(t, map[string][]wiretest.Responder{send: {tt.send}, get: {tt.get}})
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				start := time.Now()
				res, err := newClient(t, e).Chat.SendMessage(ctx, standup)
				wantError(t, err, tt.kind, chatdm.ErrEffectUnknown)
				if took := time.Since(start); res != nil || took > tt.deadline {
					t.Errorf("got %v, %v after %v, want an error after %v", res, err, took, tt.deadline)
				}
				if ctx.Err() != nil && name != "while a duplicate came" && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want it to match context.DeadlineExceeded", err)
				}
				if diff := cmp.Diff(tt.want, e.called); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestSendWithoutKey: without a key, the client looks for nothing. A 400 without a known
// code may come after the server has stored the message.
func TestSendWithoutKey(t *testing.T) {
	unkeyed := standup
	unkeyed.Key = ""
	for body, want := range map[string]struct {
		kind    chatdm.Kind
		unknown bool
	}{
		`{"success":false,"error":"MongoNetworkError"}`:                                            {chatdm.KindUnavailable, true},
		`{"success":false}`:                                                                        {chatdm.KindUnavailable, true},
		`{"success":false,"error":"Cannot read property 'starred' of undefined"}`:                  {chatdm.KindUnavailable, true},
		`{"success":false,"error":"What is this [error-brand-new]","errorType":"error-brand-new"}`: {chatdm.KindUnknown, false},
		`{"success":false,"error":"You can't send messages because the room is readonly."}`:        {chatdm.KindUnreachable, false},
		`{"success":false,"error":"Too fast [error-too-many-requests]"}`:                           {chatdm.KindRateLimited, false},
		`<html>Bad Request`: {chatdm.KindUnexpectedResponse, false},
	} {
		e := newEndpoints(t, map[string][]wiretest.Responder{send: {wiretest.Respond(400, body)}})
		_, err := newClient(t, e, once).Chat.SendMessage(t.Context(), unkeyed)
		wantError(t, err, want.kind)
		if errors.Is(err, chatdm.ErrEffectUnknown) != want.unknown || len(e.called) != 1 {
			t.Errorf("%s: got %v after %q, want ErrEffectUnknown %t after 1 call", body, err, e.called, want.unknown)
		}
	}
}

// TestMessageIDs: the ID depends on the user, the room, and the key, and on nothing
// else. These IDs were computed by another program.
func TestMessageIDs(t *testing.T) {
	ids := map[string]string{}
	for _, tt := range []struct{ user, room, key, want string }{
		{"aobEdbYhXfu5hkeqG", "u_botu_alice", "standup/2026-11-21", standupID},
		{"aobEdbYhXfu5hkeqG", "u_botu_alice", "standup/2026-11-22", "0q2fRfyRrV9AR5cEajjsZC"},
		{"aobEdbYhXfu5hkeqG", "u_botu_bob", "standup/2026-11-21", "63iGpbut6Ym94XS44O8rJo"},
		{"u_eve", "u_botu_alice", "standup/2026-11-21", "0vXq9oBxgVeFo6wv7w2dtZ"},
		{"u1", "1:r", "k", "2sr4rn9uLFs6RYCWxqNYMZ"},
		{"u", "1", "1:r1:k", "7vukdDuMSJEODiJCtnHV1b"},
		{"u1", "r", "1:k", "5zsxDEhhShYUJ4KO0gtICv"},
		{"u1", "r1", ":k", "7m4kKLqyoDEurhUeTtL9gG"},
		{"u1", "r1", "\x00\xff", "0SQ4nRHiDZ3WuMJ7d32gLl"},
		{"u1", "r1", strings.Repeat("k", 128), "3UhDSEyRRfr7tAiYNM7K4z"},
		{"u1", "r1", "k13", "0PUSua3B1ZEaUnssYhEjiL"}, // with a leading zero
	} {
		s := newScript(lost)
		client, err := rocketchat.NewClient(serverURL, rocketchat.Credentials{UserID: tt.user, AuthToken: "t"}, options(s, once)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"one", "two"} {
			_, _ = client.Chat.SendMessage(t.Context(), rocketchat.ChatSendMessageParams{RoomID: tt.room, Text: text, Key: tt.key})
			_, body, _ := strings.Cut(s.Requests[0], "\n\n")
			s.Requests = nil
			var sent struct {
				Message struct {
					ID string `json:"_id"`
				}
			}
			if err := json.Unmarshal([]byte(body), &sent); err != nil || sent.Message.ID != tt.want || len(tt.want) != 22 {
				t.Errorf("%+v: got ID %q, %v, want %q", tt, sent.Message.ID, err, tt.want)
			}
		}
		if other := ids[tt.want]; other != "" {
			t.Errorf("%+v: got the ID of %s, want another one", tt, other)
		}
		ids[tt.want] = fmt.Sprint(tt)
	}
}

// TestSendConcurrently: concurrent calls with one key send one message, in every
// generation of the server and also if responses are lost.
func TestSendConcurrently(t *testing.T) {
	for _, g := range generations {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			server := chatdmtest.NewRocketChat(chatdmtest.Generation(g))
			defer server.Close()
			server.AddRoom(chatdmtest.RocketChatRoom{ID: "room1", Type: "d", Members: []string{chatdmtest.RocketChatMemberID, chatdmtest.Alice}})
			server.Fail(send, 3, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
			server.Fail(send, 2, chatdmtest.Fault{Code: "E11000", Apply: true})
			const callers = 20
			results := make([]*rocketchat.ChatSendMessageResult, callers)
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					client, err := rocketchat.NewClient(server.URL, member, chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: time.Millisecond}))
					if err != nil {
						t.Error(err)
						return
					}
					results[i], err = client.Chat.SendMessage(t.Context(), rocketchat.ChatSendMessageParams{RoomID: "room1", Text: fmt.Sprint("from ", i), Key: "k"})
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			messages := server.Messages("room1")
			if len(messages) != 1 {
				t.Fatalf("got %d messages, want 1", len(messages))
			}
			changes := 0
			for _, res := range results {
				if res == nil || res.Message.ID != messages[0].ID || res.Message.Text != messages[0].Text || res.NoOp != res.AlreadySent {
					t.Errorf("got %+v, want message %+v", res, messages[0])
				} else if !res.NoOp && res.Meta.LostAnswers == 0 {
					changes++
				}
			}
			if changes > 1 {
				t.Errorf("got %d calls that claim to have sent the message, want at most 1", changes)
			}
		})
	}
}

// FuzzMessage decodes any message: a success has the ID that the call asked for, and
// its times are in UTC.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		`{"_id":"m1","rid":"r1","msg":"x","ts":"2026-11-21T09:25:00.125Z","u":{"_id":"u","username":"v"},"editedAt":"2026-11-21T10:25:00+01:00"}`,
		`{"_id":"m1","ts":{"$date":1795227046515},"editedAt":1795227046515}`, `{"_id":"m1","ts":"0000-01-01T00:00:00Z","u":[]}`, `{"_id":7}`, `"text"`, `[]`, `7`, `null`, `{"_id":"m1","ts":"soon","msg":null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		res, err := newClient(t, newScript(wiretest.Respond(200, `{"success":true,"message":`+message+`}`)), once).Chat.GetMessage(t.Context(), "m1")
		if err != nil {
			wantError(t, err)
			return
		}
		if res.Message.ID != "m1" || res.Message.Time.Location() != time.UTC || res.Message.Edited.Location() != time.UTC {
			t.Errorf("%s: got %+v, want ID m1 and times in UTC", message, res.Message)
		}
	})
}

// TestSendGenerations sends messages to every generation of the server, and wants the
// same sentinel from all.
func TestSendGenerations(t *testing.T) {
	eve := rocketchat.Credentials{UserID: "eve1", AuthToken: "token-of-eve"}
	long := strings.Repeat("x", 5001)
	for _, g := range generations {
		t.Run(string(g), func(t *testing.T) {
			t.Parallel()
			server := chatdmtest.NewRocketChat(chatdmtest.Generation(g))
			defer server.Close()
			server.AddUser(chatdmtest.RocketChatUser{ID: eve.UserID, Username: "eve", AuthToken: eve.AuthToken})
			server.AddUser(chatdmtest.RocketChatUser{ID: "gone1", Username: "gone", Deactivated: true})
			for id, change := range map[string]func(*chatdmtest.RocketChatRoom){
				"open1": func(*chatdmtest.RocketChatRoom) {}, "open2": func(*chatdmtest.RocketChatRoom) {},
				"blocked":  func(r *chatdmtest.RocketChatRoom) { r.Blocked = true },
				"readonly": func(r *chatdmtest.RocketChatRoom) { r.ReadOnly = true },
				"muted":    func(r *chatdmtest.RocketChatRoom) { r.Muted = []string{member.UserID} },
				"gone":     func(r *chatdmtest.RocketChatRoom) { r.Members[1] = "gone1" },
				"foreign":  func(r *chatdmtest.RocketChatRoom) { r.Members = []string{chatdmtest.Alice, chatdmtest.Bob} },
			} {
				room := chatdmtest.RocketChatRoom{ID: id, Type: "d", Members: []string{member.UserID, chatdmtest.Alice}}
				change(&room)
				server.AddRoom(room)
			}
			server.PreventMessages(func(_, _, text string) bool { return strings.Contains(text, "casino") })
			fast := chatdm.WithRetry(chatdm.RetryPolicy{BaseWait: 1})
			sendAs := func(creds rocketchat.Credentials, params rocketchat.ChatSendMessageParams) (*rocketchat.ChatSendMessageResult, error) {
				client, err := rocketchat.NewClient(server.URL, creds, fast)
				if err != nil {
					t.Fatal(err)
				}
				return client.Chat.SendMessage(t.Context(), params)
			}
			for _, tt := range []struct {
				room, text string
				want       error
				kind       chatdm.Kind
			}{
				{"blocked", "x", rocketchat.ErrRoomIsBlocked, chatdm.KindUnreachable},
				{"readonly", "x", rocketchat.ErrRoomIsReadOnly, chatdm.KindUnreachable},
				{"gone", "x", rocketchat.ErrRoomIsReadOnly, chatdm.KindUnreachable},
				{"muted", "x", rocketchat.ErrYouHaveBeenMuted, chatdm.KindUnreachable},
				{"foreign", "x", rocketchat.ErrNotAllowed, chatdm.KindUnreachable},
				{"nowhere", "x", rocketchat.ErrInvalidRoom, chatdm.KindNotFound},
				{"open1", long, rocketchat.ErrMessageSizeExceeded, chatdm.KindInvalidRequest},
			} {
				for _, key := range []string{"", "k1"} {
					res, err := sendAs(member, rocketchat.ChatSendMessageParams{RoomID: tt.room, Text: tt.text, Key: key})
					if e := wantError(t, err, tt.want, tt.kind); res != nil || e.Attempts != 1 || errors.Is(err, chatdm.ErrEffectUnknown) {
						t.Errorf("%s: got %+v, %v, want a definite error after 1 attempt", tt.room, res, err)
					}
				}
			}

			// A message that an app prevents has no known outcome without a key.
			spam := rocketchat.ChatSendMessageParams{RoomID: "open1", Text: "casino"}
			_, err := sendAs(member, spam)
			wantError(t, err, chatdm.ErrEffectUnknown, chatdm.KindUnavailable)
			spam.Key = "spam"
			_, err = sendAs(member, spam)
			if wantError(t, err, rocketchat.ErrAppPrevented); errors.Is(err, chatdm.ErrEffectUnknown) {
				t.Errorf("got %v, want a definite error", err)
			}

			// The same key sends again only in another room or as another user.
			channel := chatdmtest.RocketChatRoom{ID: "channel1", Members: []string{member.UserID}}
			server.AddRoom(channel)
			for i, tt := range []struct {
				as         rocketchat.Credentials
				room, text string
				noOp       bool
				fault      chatdmtest.Fault
			}{
				{member, "open1", "first", false, chatdmtest.Fault{}},
				{member, "open1", "second", true, chatdmtest.Fault{}},
				{member, "open2", "first", false, chatdmtest.Fault{}},
				{member, "channel1", "first", false, chatdmtest.Fault{Cut: chatdmtest.InBody, Apply: true}},
				{member, "channel1", "second", true, chatdmtest.Fault{}},
				{eve, "channel1", "first", false, chatdmtest.Fault{Status: 503}},
				{eve, "channel1", "second", true, chatdmtest.Fault{}},
			} {
				if tt.fault.Cut != "" || tt.fault.Status != 0 {
					server.Fail(send, 1, tt.fault)
				}
				res, err := sendAs(tt.as, rocketchat.ChatSendMessageParams{RoomID: tt.room, Text: tt.text, Key: "k"})
				if err != nil {
					t.Fatal(err)
				}
				if m := res.Message; m.Text != "first" || m.RoomID != tt.room || m.UserID != tt.as.UserID || m.Time.IsZero() || res.NoOp != tt.noOp || res.AlreadySent != tt.noOp {
					t.Errorf("call %d: got %+v, want the first text and no-op %t", i, res, tt.noOp)
				}
			}
			for room, want := range map[string]int{"open1": 1, "open2": 1, "channel1": 2} {
				if n := len(server.Messages(room)); n != want {
					t.Errorf("%s: got %d messages, want %d", room, n, want)
				}
			}

			// Once the message is deleted, the key is free again.
			res, err := sendAs(member, rocketchat.ChatSendMessageParams{RoomID: "open2", Text: "second", Key: "k"})
			if err != nil || !res.NoOp || !server.DeleteMessage(res.Message.ID) {
				t.Fatalf("got %+v, %v, want the first message", res, err)
			}
			res, err = sendAs(member, rocketchat.ChatSendMessageParams{RoomID: "open2", Text: "second", Key: "k"})
			if err != nil || res.NoOp || res.Message.Text != "second" {
				t.Errorf("got %+v, %v, want a new message", res, err)
			}
		})
	}
}
