package chatdmtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"
)

// changes tells waiting goroutines that something has changed.
type changes struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next change; nil if nobody waits
}

func (c *changes) wait() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = make(chan struct{})
	}
	return c.next
}

func (c *changes) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		close(c.next)
		c.next = nil
	}
}

// watchedPlatform notifies changes after each API method that runs.
type watchedPlatform struct {
	platform
	changes *changes
}

func (p watchedPlatform) respond(req apiRequest) response {
	defer p.changes.notify()
	return p.platform.respond(req)
}

// Changed returns a channel that the server closes at the next change: when a
// request arrives or ends, when an API method has run, and when Fail, ClearFaults,
// Limit, ResetRequests, or Close is called. Until then, Changed returns the same
// channel. The server never waits for the goroutines that use it.
//
// To wait for a condition, call Changed before you check the condition. This loop
// waits for three requests:
//
//	for {
//		changed := slack.Changed()
//		if slack.RequestCount() >= 3 {
//			break
//		}
//		<-changed
//	}
func (s *server) Changed() <-chan struct{} { return s.changes.wait() }

// A PendingFault is a [Fault] that the server will apply to the next requests.
type PendingFault struct {
	Method string // API method; empty means any
	Times  int    // number of requests; negative means until ClearFaults is called
	Fault  Fault
}

// PendingFaults returns the faults that Fail has added and that the server has not
// yet used up, in the order in which they were added.
func (s *server) PendingFaults() []PendingFault {
	s.mu.Lock()
	defer s.mu.Unlock()
	pending := make([]PendingFault, 0, len(s.faults))
	for _, f := range s.faults {
		fault := f.fault
		fault.Header = fault.Header.Clone()
		pending = append(pending, PendingFault{Method: f.method, Times: f.remaining, Fault: fault})
	}
	return pending
}

// endRequest records the end of a request, unless it is already recorded. If the
// server is about to send the complete response, resp is that response. Otherwise,
// it is nil.
func (s *server) endRequest(logged *Request, resp *response) {
	s.mu.Lock()
	ended := !logged.End.IsZero()
	if !ended {
		logged.End = time.Now()
		if resp != nil {
			logged.Status, logged.Code = resp.status, errorCode(resp.body)
		}
	}
	s.mu.Unlock()
	if !ended {
		s.changes.notify()
	}
}

// errorCode returns the error code in the body of a response, or "" if there is
// none. Some errors of Rocket.Chat have a text instead of a code.
func errorCode(body []byte) string {
	if !bytes.Contains(body, []byte(`"error`)) { // avoids decoding most responses
		return ""
	}
	var failure struct {
		OK        bool
		Error     any
		ErrorType string
	}
	if json.Unmarshal(body, &failure) != nil || failure.OK {
		return ""
	}
	switch code := failure.Error.(type) {
	case float64: // from login
		return strconv.FormatFloat(code, 'f', -1, 64)
	case string:
		if failure.ErrorType == "" && !strings.Contains(code, " ") {
			return code
		}
	}
	return failure.ErrorType
}

// A Conversation is a DM, a group DM, or a channel of a [Slack] workspace, or a room
// of a [RocketChat] server.
type Conversation struct {
	ID       string
	Type     string // on Slack, "im", "mpim", "public_channel", or "private_channel"; on Rocket.Chat, "d", "c", or "p"
	Name     string // empty for a DM
	Members  []Member
	Messages []PostedMessage // oldest first
}

// A Member is a user in a [Conversation].
type Member struct {
	ID   string
	Name string // such as "alice"; if the server does not know the user, the ID
	Open bool   // whether the conversation is open for the user
}

// A PostedMessage is a [Message] with the time at which it was posted.
type PostedMessage struct {
	Message
	Time time.Time
}

// exported returns m as Messages returns it.
func (m rocketChatMessage) exported() Message {
	return Message{User: m.User.ID, Text: m.Text, ID: m.ID, ThreadID: m.ThreadID}
}

// Conversations returns all conversations with their members and messages, in the
// order in which they were created.
func (s *Slack) Conversations() []Conversation {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	conversations := make([]Conversation, 0, len(s.conversations))
	for _, conv := range s.conversations {
		c := Conversation{ID: conv.id, Type: string(conv.conversationType), Name: conv.name}
		for _, id := range conv.members {
			c.Members = append(c.Members, Member{ID: id, Name: cmp.Or(s.users[id].Name, id), Open: conv.open[id]})
		}
		for _, m := range conv.messages {
			c.Messages = append(c.Messages, PostedMessage{Message: m.exported(), Time: slackTime(m.TS)})
		}
		conversations = append(conversations, c)
	}
	return conversations
}

// slackTime returns the time in the timestamp of a message, in whole seconds.
func slackTime(ts string) time.Time {
	seconds, _, _ := strings.Cut(ts, ".")
	n, _ := strconv.ParseInt(seconds, 10, 64) // cannot fail: the server made it
	return time.Unix(n, 0)
}

// Conversations returns all rooms with their members and messages, in the order in
// which they were created. The members are sorted by ID.
func (r *RocketChat) Conversations() []Conversation {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	conversations := make([]Conversation, 0, len(r.rooms))
	for _, room := range r.rooms {
		c := Conversation{ID: room.ID, Type: room.Type, Name: room.Name}
		for _, id := range room.Members {
			c.Members = append(c.Members, Member{ID: id, Name: cmp.Or(r.users[id].Username, id), Open: room.open[id]})
		}
		for _, m := range room.messages {
			posted, _ := time.Parse(time.RFC3339, m.Timestamp) // cannot fail: the server made it
			c.Messages = append(c.Messages, PostedMessage{Message: m.exported(), Time: posted})
		}
		conversations = append(conversations, c)
	}
	return conversations
}
