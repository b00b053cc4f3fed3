package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// eventReader reads server-sent events.
type eventReader struct {
	t     *testing.T
	body  io.ReadCloser
	lines *bufio.Reader
	items map[string]map[string]any // what a page would have
}

func openEvents(t *testing.T, p *program) *eventReader {
	t.Helper()
	resp, err := http.Get(p.page + "/fake/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "text/event-stream" {
		t.Fatalf("got status %d and type %s, want 200 and text/event-stream", resp.StatusCode, got)
	}
	return &eventReader{t: t, body: resp.Body, lines: bufio.NewReader(resp.Body), items: make(map[string]map[string]any)}
}

// next reads an event and applies it to the items.
func (e *eventReader) next() update {
	e.t.Helper()
	for {
		line, err := e.lines.ReadString('\n')
		if err != nil {
			e.t.Fatal(err)
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		var u update
		if err := json.Unmarshal([]byte(data), &u); err != nil {
			e.t.Fatal(err)
		}
		if u.Reset {
			clear(e.items)
		}
		for _, key := range u.Delete {
			delete(e.items, key)
		}
		for key, value := range u.Set {
			var item map[string]any
			if err := json.Unmarshal(value, &item); err != nil {
				e.t.Fatal(err)
			}
			e.items[key] = item
		}
		return u
	}
}

// until reads events until condition is true.
func (e *eventReader) until(condition func() bool) {
	e.t.Helper()
	for !condition() {
		e.next()
	}
}

func (e *eventReader) keys() []string {
	var keys []string
	for key := range e.items {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func TestEvents(t *testing.T) {
	p := start(t)
	e := openEvents(t, p)
	if u := e.next(); !u.Reset || fmt.Sprint(e.keys()) != "[help rocketchat slack]" {
		t.Errorf("got %v, want a reset to the initial items", e.keys())
	}
	if got := e.items["help"]["text"]; got != apiHelp {
		t.Errorf("got help %q, want %q", got, apiHelp)
	}

	// A request, a conversation, and a message appear.
	p.call("conversations.open", "users=U0ALICE01")
	p.call("chat.postMessage", "channel=D000000001&text=hi+"+chatdmtest.BotToken)
	const conv, opened, posted = "slack conversation D000000001", "slack request 1", "slack request 2"
	e.until(func() bool { return e.items[posted]["ended"] == true && e.items[conv]["message_count"] == 1.0 })
	if got := e.items[conv]["messages"].([]any)[0].(map[string]any); got["text"] != "hi (hidden)" || got["name"] != "chatdmtest" {
		t.Errorf("got %v, want hi from chatdmtest, without the token", got)
	}
	if got := e.items[opened]; got["method"] != "conversations.open" || got["status"] != 200.0 || got["platform"] != "slack" {
		t.Errorf("got %v, want the first request", got)
	}

	// An update has only what has changed.
	p.fake("fail", "code=fatal_error")
	if u := e.next(); u.Reset || len(u.Set) != 1 || u.Set["slack"] == nil || u.Delete != nil {
		t.Errorf("got %v, want only the faults of Slack", u)
	}
	p.fake("limit", "platform=rocketchat&method=me&calls=1")
	if u := e.next(); u.Reset || len(u.Set) != 1 || u.Set["rocketchat"] == nil {
		t.Errorf("got %v, want only the limits of Rocket.Chat", u)
	}
	p.fake("user", "id=U0ALICE01&name=alicia")
	if u := e.next(); len(u.Set) != 1 || !strings.Contains(string(u.Set[conv]), `"name":"alicia"`) {
		t.Errorf("got %v, want the conversation with a new name", u)
	}

	// A delayed request is there before its response.
	p.fake("clear", "what=faults")
	p.fake("fail", "method=api.test&delay=1h")
	waiting := make(chan string, 1)
	go func() { waiting <- p.call("api.test", "") }()
	e.until(func() bool { return e.items["slack request 3"] != nil })
	if got := e.items["slack request 3"]; got["ended"] != false || got["status"] != 0.0 {
		t.Errorf("got %v, want a request that has not ended", got)
	}

	// A reset removes everything, and aborts that request. Another client gets the
	// current state.
	p.fake("reset", "platform=slack")
	e.until(func() bool { return fmt.Sprint(e.keys()) == "[help rocketchat slack]" })
	check(t, "delayed request", <-waiting, "no response")
	other := openEvents(t, p)
	other.next()
	got, _ := json.Marshal(other.items)
	want, _ := json.Marshal(e.items)
	check(t, "items of a new client", string(got), string(want))
}

// Many changes at once become few events, and the view has a limited size.
func TestEventsUnderLoad(t *testing.T) {
	c := newTestControl(t)
	slack := c.platforms[0]
	call := func(method, body string) {
		r := httptest.NewRequest("POST", "/api/"+method, strings.NewReader(body))
		r.Header.Set("Content-Type", form)
		r.Header.Set("Authorization", "Bearer "+chatdmtest.BotToken)
		slack.ServeHTTP(httptest.NewRecorder(), r)
	}
	call("conversations.open", "users=U0ALICE01")
	before := c.currentView()
	for i := range 1000 {
		call("chat.postMessage", fmt.Sprintf("channel=D000000001&text=%d", i))
	}
	for i := range 300 {
		slack.current().(*chatdmtest.Slack).AddChannel(chatdmtest.Channel{ID: fmt.Sprint("C", i)})
	}
	v := c.currentView()
	if v == before || c.currentView() != v {
		t.Error("want a new view after a change, and the same one without a change")
	}
	if want := 3 + maxShownRequests + maxShownConversations; len(v.items) != want {
		t.Errorf("got %d items, want %d", len(v.items), want)
	}
	if u := v.since(v); !u.isEmpty() {
		t.Errorf("got %v, want no difference", u)
	}
	if c := conversations(slack, maxShownMessages)[0]; len(c.Messages) != maxShownMessages || c.MessageCount != 1000 || c.Messages[99]["text"] != "999" {
		t.Errorf("got %d of %d messages, want the last %d of 1000", len(c.Messages), c.MessageCount, maxShownMessages)
	}
}

func newTestControl(t *testing.T) *control {
	c := newControl(nil,
		newPlatform("slack", "Slack", "", func() fake { return chatdmtest.NewSlack(chatdmtest.InMemory()) }),
		newPlatform("rocketchat", "Rocket.Chat", "", func() fake { return chatdmtest.NewRocketChat(chatdmtest.InMemory()) }))
	t.Cleanup(func() {
		for _, p := range c.platforms {
			p.current().Close()
		}
	})
	return c
}

// A client that does not read is disconnected, and does not block the fakes.
func TestSlowReader(t *testing.T) {
	c := newTestControl(t)
	c.streamTimeout = 20 * time.Millisecond
	client, server := net.Pipe() // has no buffer
	defer client.Close()
	listener := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.conns <- server
	s := &http.Server{Handler: c}
	var serving sync.WaitGroup
	serving.Go(func() { s.Serve(listener) })
	defer serving.Wait()
	defer s.Close()

	fmt.Fprint(client, "GET /fake/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
	begin := time.Now()
	for c.openStreams() == 0 {
		time.Sleep(time.Millisecond)
	}
	for c.openStreams() == 1 {
		c.platforms[0].current().Fail("", 1, chatdmtest.Fault{Code: "x"}) // never waits for the client
		time.Sleep(time.Millisecond)
	}
	if took := time.Since(begin); took < c.streamTimeout {
		t.Errorf("the stream ended after %v, want at least %v", took, c.streamTimeout)
	}
}

func (c *control) openStreams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streams
}

// oneConn is a listener for the connections in a channel.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { close(l.closed); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

func TestMaxStreams(t *testing.T) {
	p := start(t)
	var readers []*eventReader
	for range maxStreams {
		e := openEvents(t, p)
		e.next()
		readers = append(readers, e)
	}
	check(t, "one too many", p.send("GET", p.page+"/fake/events", "", ""), "503 got 20 open streams of events, want fewer: close a page")
	readers[0].body.Close()
	for range 1000 {
		resp, err := http.Get(p.page + "/fake/events")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == 200 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("got no stream after another one was closed")
}
