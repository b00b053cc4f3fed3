package chatdmtest_test

import (
	"context"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// A request has a number, the error code of its response, its fault, and its end.
func TestRequestOutcome(t *testing.T) {
	slow := chatdmtest.Fault{Delay: 3 * time.Second}
	down := chatdmtest.Fault{Status: 503, Header: http.Header{"Retry-After": {"1"}}}
	cut := chatdmtest.Fault{Cut: chatdmtest.BeforeHeader}
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory(), chatdmtest.KeepRequests(6))
		call := func(f *chatdmtest.Fault, body string) {
			if f != nil {
				s.Fail("im.open", 1, *f)
			}
			resp, err := s.Client().Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, body))
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			synctest.Wait()
		}
		call(nil, "user=forgotten")
		s.ResetRequests()
		call(nil, "user=U0ALICE01")
		call(nil, "user=U404")
		call(&slow, "user=U0ALICE01")
		call(&down, "user=U0ALICE01")
		call(&cut, "user=U0ALICE01")
		type outcome struct {
			Number, Status int
			Code           string
			Fault          *chatdmtest.Fault
			Duration       time.Duration
		}
		want := []outcome{
			{2, 200, "", nil, 0},
			{3, 200, "user_not_found", nil, 0},
			{4, 200, "", &slow, 3 * time.Second},
			{5, 503, "", &down, 0},
			{6, 0, "", &cut, 0},
		}
		var got []outcome
		for _, r := range s.Requests() {
			got = append(got, outcome{r.Number, r.Status, r.Code, r.Fault, r.End.Sub(r.Time)})
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		s.Requests()[3].Fault.Header.Set("Retry-After", "changed") // a copy
		if got := s.Requests()[3].Fault.Header.Get("Retry-After"); got != "1" {
			t.Errorf("got header %q after changing a copy, want 1", got)
		}
	})
}

// End is zero while a request runs, and is set if the client gives up.
func TestRequestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		s.Fail("", 1, chatdmtest.Fault{Stall: chatdmtest.InBody})
		ctx, cancel := context.WithCancel(t.Context())
		r := newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0ALICE01").WithContext(ctx)
		resp, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if r := s.Requests()[0]; !r.End.IsZero() {
			t.Errorf("got End %v during the stall, want zero", r.End)
		}
		cancel()
		resp.Body.Close()
		synctest.Wait()
		if r := s.Requests()[0]; r.End.Sub(r.Time) != 5*time.Second || r.Status != 0 {
			t.Errorf("got %v and status %d after the stall, want 5s and 0", r.End.Sub(r.Time), r.Status)
		}
	})
}

func TestRocketChatRequestCode(t *testing.T) {
	s := newRocketChat(t)
	for _, tt := range []struct{ method, body, want string }{
		{"im.create", `{"username":"nobody"}`, "error-invalid-user"},
		{"im.create", `{"username":"alice"}`, ""},
		{"chat.postMessage", `{"channel":"@alice","text":"{\"error\":\"in a text\"}"}`, ""},
		{"im.create", `{}`, "invalid-params"},
		{"login", `{"user":"nobody","password":"x"}`, "Unauthorized"},
		{"login", `{"user":"alice","password":"x"}`, "403"},
	} {
		r, err := http.NewRequest("POST", s.URL+"/api/v1/"+tt.method, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-User-Id", chatdmtest.RocketChatMemberID)
		r.Header.Set("X-Auth-Token", chatdmtest.RocketChatMemberToken)
		got := send(t, s, r)
		requests := s.Requests()
		if code := requests[len(requests)-1].Code; code != tt.want {
			t.Errorf("%s %s: got Code %q, want %q; the response was %s", tt.method, tt.body, code, tt.want, got.body)
		}
	}
}

// Changed returns the same channel until something changes.
func TestChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		isClosed := func(changed <-chan struct{}) bool {
			select {
			case <-changed:
				return true
			default:
				return false
			}
		}
		for _, tt := range []struct {
			name string
			do   func()
			want bool
		}{
			{"nothing", func() {}, false},
			{"Requests", func() { s.Requests() }, false},
			{"Fail", func() { s.Fail("x", 1, chatdmtest.Fault{}) }, true},
			{"ClearFaults", s.ClearFaults, true},
			{"Limit", func() { s.Limit("x", 1, time.Hour) }, true},
			{"a request", func() { postForm(t, s, "im.open", "user=U0ALICE01") }, true},
			{"ResetRequests", s.ResetRequests, true},
			{"Close", s.Close, true},
		} {
			changed := s.Changed()
			if s.Changed() != changed || isClosed(changed) {
				t.Errorf("%s: got another or a closed channel before it, want the same one", tt.name)
			}
			tt.do()
			if got := isClosed(changed); got != tt.want {
				t.Errorf("%s: got closed %t, want %t", tt.name, got, tt.want)
			}
		}
	})
}

// The server notifies before the end of a request, too.
func TestChangedDuringDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlack(t, chatdmtest.InMemory())
		s.Fail("", 1, chatdmtest.Fault{Delay: time.Hour, Apply: true})
		go s.Client().Do(newSlackRequest(t, s, chatdmtest.BotToken, "im.open", formType, "user=U0ALICE01"))
		synctest.Wait()
		if n, conversations := s.RequestCount(), s.Conversations(); n != 1 || len(conversations) != 1 || !s.Requests()[0].End.IsZero() {
			t.Errorf("got %d requests and %+v during the delay, want one of each", n, conversations)
		}
		ended := s.Changed()
		start := time.Now()
		<-ended
		if waited := time.Since(start); waited != time.Hour || s.Requests()[0].Status != 200 {
			t.Errorf("got %+v after %v, want status 200 after an hour", s.Requests()[0], waited)
		}
	})
}

func TestPendingFaults(t *testing.T) {
	s := newSlack(t)
	header := http.Header{"Retry-After": {"1"}}
	s.Fail("im.open", 2, chatdmtest.Fault{Code: "fatal_error", Header: header})
	s.Fail("", -1, chatdmtest.Fault{Status: 503})
	s.Fail("im.close", 0, chatdmtest.Fault{})
	postForm(t, s, "im.open", "")
	postForm(t, s, "im.close", "")
	want := []chatdmtest.PendingFault{
		{Method: "im.open", Times: 1, Fault: chatdmtest.Fault{Code: "fatal_error", Header: header}},
		{Method: "", Times: -1, Fault: chatdmtest.Fault{Status: 503}},
	}
	got := s.PendingFaults()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	got[0].Fault.Header.Set("Retry-After", "changed")
	if got := s.PendingFaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v after changing a copy, want %+v", got, want)
	}
	s.ClearFaults()
	if got := s.PendingFaults(); len(got) != 0 {
		t.Errorf("got %+v after ClearFaults, want none", got)
	}
}

func TestSlackConversations(t *testing.T) {
	s := newSlack(t)
	if got := s.Conversations(); got == nil || len(got) != 0 {
		t.Errorf("got %+v, want an empty list", got)
	}
	s.AddChannel(chatdmtest.Channel{ID: "C1", Name: "general", Private: true, Members: []string{chatdmtest.Bob, "U404"}})
	before := time.Now().Truncate(time.Second)
	postForm(t, s, "conversations.open", "users="+chatdmtest.Alice)
	postForm(t, s, "chat.postMessage", "channel=D000000001&text=one")
	postForm(t, s, "chat.postMessage", "channel=D000000001&text=two")
	postForm(t, s, "conversations.open", "users="+chatdmtest.Alice+","+chatdmtest.Bob)
	got := s.Conversations()
	for i := range got {
		for j, m := range got[i].Messages {
			if m.Time.Before(before) || m.Time.After(time.Now()) {
				t.Errorf("got Time %v, want now", m.Time)
			}
			got[i].Messages[j].Time = time.Time{}
		}
	}
	messages := s.Messages("D000000001")
	want := []chatdmtest.Conversation{
		{ID: "C1", Type: "private_channel", Name: "general", Members: []chatdmtest.Member{{ID: chatdmtest.Bob, Name: "bob"}, {ID: "U404", Name: "U404"}}},
		{
			ID: "D000000001", Type: "im",
			Members:  []chatdmtest.Member{{ID: chatdmtest.BotUser, Name: "chatdmtest", Open: true}, {ID: chatdmtest.Alice, Name: "alice", Open: true}},
			Messages: []chatdmtest.PostedMessage{{Message: messages[0]}, {Message: messages[1]}},
		},
		{
			ID: "C000000001", Type: "mpim", Name: "mpdm-chatdmtest--alice--bob-1",
			Members: []chatdmtest.Member{{ID: chatdmtest.BotUser, Name: "chatdmtest", Open: true}, {ID: chatdmtest.Alice, Name: "alice"}, {ID: chatdmtest.Bob, Name: "bob"}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRocketChatConversations(t *testing.T) {
	s := chatdmtest.NewRocketChat()
	defer s.Close()
	s.AddRoom(chatdmtest.RocketChatRoom{ID: "GENERAL", Name: "general", Members: []string{"nobody"}})
	before := time.Now().Truncate(time.Millisecond)
	r, err := http.NewRequest("POST", s.URL+"/api/v1/chat.postMessage", strings.NewReader("channel=@alice&text=hi"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", formType)
	r.Header.Set("X-User-Id", chatdmtest.RocketChatMemberID)
	r.Header.Set("X-Auth-Token", chatdmtest.RocketChatMemberToken)
	send(t, s, r)
	got := s.Conversations()
	if len(got) != 2 || len(got[1].Messages) != 1 {
		t.Fatalf("got %+v, want two conversations and one message", got)
	}
	if posted := got[1].Messages[0].Time; posted.Before(before) || posted.After(time.Now()) {
		t.Errorf("got Time %v, want now", posted)
	}
	got[1].Messages[0].Time = time.Time{}
	id := chatdmtest.Alice + chatdmtest.RocketChatMemberID
	want := []chatdmtest.Conversation{
		{ID: "GENERAL", Type: "c", Name: "general", Members: []chatdmtest.Member{{ID: "nobody", Name: "nobody", Open: true}}},
		{
			ID: id, Type: "d",
			Members:  []chatdmtest.Member{{ID: chatdmtest.Alice, Name: "alice", Open: true}, {ID: chatdmtest.RocketChatMemberID, Name: "member", Open: true}},
			Messages: []chatdmtest.PostedMessage{{Message: s.Messages(id)[0]}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
