package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chatdm/chatdm/chatdmtest"
)

// The types below are the JSON of the control API.
type (
	pendingFault struct {
		Method string         `json:"method"`
		Times  int            `json:"times"`
		Fault  map[string]any `json:"fault"`
	}

	limitState struct {
		Method string `json:"method"`
		Calls  int    `json:"calls"`
		Window string `json:"window"`
	}

	conversation struct {
		ID           string    `json:"id"`
		Type         string    `json:"type"`
		Name         string    `json:"name"`
		Members      []member  `json:"members"`
		MessageCount int       `json:"message_count"`
		Messages     []message `json:"messages"` // each has the fields of a chatdmtest.Message, name, and time
	}

	member struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Open bool   `json:"open"`
	}

	message map[string]any

	request struct {
		Platform   string            `json:"platform"`
		Number     int               `json:"number"`
		Method     string            `json:"method"`
		HTTPMethod string            `json:"http_method"`
		Path       string            `json:"path"`
		Args       map[string]string `json:"args"` // without credentials
		Time       time.Time         `json:"time"`
		Ended      bool              `json:"ended"`
		DurationMS float64           `json:"duration_ms"`
		Status     int               `json:"status"`
		Code       string            `json:"code"`
		Fault      map[string]any    `json:"fault"` // null if nothing failed
	}
)

func pendingFaults(p *platform) []pendingFault {
	faults := []pendingFault{}
	for _, f := range p.current().PendingFaults() {
		faults = append(faults, pendingFault{f.Method, f.Times, faultFields(f.Fault)})
	}
	return faults
}

func limits(p *platform) []limitState {
	limits := []limitState{}
	for _, l := range p.currentLimits() {
		limits = append(limits, limitState{l.method, l.calls, l.window.String()})
	}
	return limits
}

// conversations returns all conversations, each with its last messages. A negative
// number means all messages.
func conversations(p *platform, lastMessages int) []conversation {
	list := []conversation{}
	for _, conv := range p.current().Conversations() {
		c := conversation{ID: conv.ID, Type: conv.Type, Name: conv.Name, Members: []member{}, MessageCount: len(conv.Messages), Messages: []message{}}
		names := make(map[string]string)
		for _, m := range conv.Members {
			c.Members = append(c.Members, member(m))
			names[m.ID] = m.Name
		}
		messages := conv.Messages
		if lastMessages >= 0 {
			messages = messages[max(0, len(messages)-lastMessages):]
		}
		for _, m := range messages {
			shown := fieldsOf(m.Message)
			shown["name"], shown["time"] = cmp.Or(names[m.User], m.User), m.Time
			c.Messages = append(c.Messages, shown)
		}
		list = append(list, c)
	}
	return list
}

func newRequest(p *platform, r chatdmtest.Request) request {
	shown := request{
		Platform: p.key, Number: r.Number, Method: r.Method, HTTPMethod: r.HTTPMethod, Path: r.Path,
		Args: arguments(r), Time: r.Time, Ended: !r.End.IsZero(), Status: r.Status, Code: r.Code,
	}
	if shown.Ended {
		shown.DurationMS = float64(r.End.Sub(r.Time).Microseconds()) / 1000
	}
	if r.Fault != nil {
		shown.Fault = faultFields(*r.Fault)
	}
	return shown
}

// maxArgumentLength is how many bytes of an argument are shown.
const maxArgumentLength = 2000

// secretName matches the names of arguments that hold credentials.
var secretName = regexp.MustCompile(`(?i)token|secret|password|resume|auth|^code$|totp`)

// arguments returns the arguments in the query and the body of a request, without
// credentials. It leaves out a body that is neither a form nor a JSON object.
func arguments(r chatdmtest.Request) map[string]string {
	args := make(map[string]string)
	add := func(name, value string) {
		if secretName.MatchString(name) {
			value = "(hidden)"
		}
		if len(value) > maxArgumentLength {
			value = strings.ToValidUTF8(value[:maxArgumentLength], "") + "…"
		}
		args[name] = value
	}
	addForm := func(form url.Values) {
		for name, values := range form {
			add(name, strings.Join(values, ","))
		}
	}
	if query, err := url.ParseQuery(r.RawQuery); err == nil {
		addForm(query)
	}
	switch mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType {
	case "application/x-www-form-urlencoded", "text/plain":
		if form, err := url.ParseQuery(string(r.Body)); err == nil && utf8.Valid(r.Body) {
			addForm(form)
		}
	case "application/json":
		var object map[string]json.RawMessage
		if json.Unmarshal(r.Body, &object) == nil {
			for name, value := range object {
				var text string
				if json.Unmarshal(value, &text) != nil {
					text = hideSecrets(value)
				}
				add(name, text)
			}
		}
	}
	return args
}

// hideSecrets returns JSON without the members of objects that hold credentials.
func hideSecrets(value json.RawMessage) string {
	var decoded any
	if json.Unmarshal(value, &decoded) != nil {
		return ""
	}
	var hide func(any)
	hide = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, element := range v {
				if secretName.MatchString(name) {
					v[name] = "(hidden)"
				} else {
					hide(element)
				}
			}
		case []any:
			for _, element := range v {
				hide(element)
			}
		}
	}
	hide(decoded)
	text, _ := json.Marshal(decoded) // cannot fail: it was JSON
	return string(text)
}

// token matches the tokens of both platforms, wherever they are.
var token = regexp.MustCompile(`(?:xox[a-z](?:\.xox[a-z])?|xapp)-[\w-]+|` +
	regexp.QuoteMeta(chatdmtest.RocketChatMemberToken) + "|" + regexp.QuoteMeta(chatdmtest.RocketChatAdminToken) + "|" +
	regexp.QuoteMeta(chatdmtest.RocketChatPassword) + `|chatdmtest-login-\d+`)

func redact(text []byte) []byte { return token.ReplaceAll(text, []byte("(hidden)")) }

// redactor removes tokens from what is written to it. Each call of Write must have a
// complete text.
type redactor struct{ io.Writer }

func (r redactor) Write(text []byte) (int, error) {
	_, err := r.Writer.Write(redact(text))
	return len(text), err
}

// A view is what the page shows. Its size is limited.
type view struct {
	changed []<-chan struct{}          // one is closed when the view is outdated
	items   map[string]json.RawMessage // by a unique key
}

// The limits of a view, for each platform.
const (
	maxShownRequests      = 200
	maxShownConversations = 200
	maxShownMessages      = 100 // in a conversation
)

// currentView returns a view of the current state. The streams share it.
func (c *control) currentView() *view {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := []<-chan struct{}{c.changed}
	for _, p := range c.platforms {
		changed = append(changed, p.current().Changed()) // before reading the state
	}
	if c.view != nil && slices.Equal(c.view.changed, changed) {
		return c.view
	}
	v := &view{changed: changed, items: make(map[string]json.RawMessage)}
	v.add("help", map[string]any{"kind": "help", "text": apiHelp})
	for i, p := range c.platforms {
		v.addPlatform(p, i)
	}
	c.view = v
	return v
}

func (v *view) addPlatform(p *platform, order int) {
	fake := p.current()
	v.add(p.key, map[string]any{
		"kind": "platform", "platform": p.key, "order": order, "name": p.name, "url": p.url, "version": p.version, "self": p.self,
		"faults": pendingFaults(p), "limits": limits(p), "request_count": fake.RequestCount(),
	})
	conversations := conversations(p, maxShownMessages)
	first := max(0, len(conversations)-maxShownConversations)
	for i, conv := range conversations[first:] {
		v.add(p.key+" conversation "+conv.ID, struct {
			Kind     string `json:"kind"`
			Platform string `json:"platform"`
			Order    int    `json:"order"`
			conversation
		}{"conversation", p.key, first + i, conv})
	}
	requests := fake.Requests()
	for _, r := range requests[max(0, len(requests)-maxShownRequests):] {
		shown := newRequest(p, r)
		v.add(fmt.Sprint(p.key, " request ", shown.Number), struct {
			Kind string `json:"kind"`
			request
		}{"request", shown})
	}
}

func (v *view) add(key string, value any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // cannot fail: all types can be encoded
	v.items[key] = bytes.TrimSuffix(redact(b.Bytes()), []byte("\n"))
}

// An update is an event. It changes the items that a page has.
type update struct {
	Reset  bool                       `json:"reset,omitempty"` // remove all items first
	Set    map[string]json.RawMessage `json:"set,omitempty"`
	Delete []string                   `json:"delete,omitempty"`
}

func (u update) isEmpty() bool { return !u.Reset && len(u.Set) == 0 && len(u.Delete) == 0 }

// since returns the update from an older view, which can be nil.
func (v *view) since(old *view) update {
	if old == nil {
		return update{Reset: true, Set: v.items}
	}
	u := update{Set: make(map[string]json.RawMessage)}
	for key, value := range v.items {
		if !bytes.Equal(value, old.items[key]) {
			u.Set[key] = value
		}
	}
	for key := range maps.Keys(old.items) {
		if _, kept := v.items[key]; !kept {
			u.Delete = append(u.Delete, key)
		}
	}
	slices.Sort(u.Delete)
	return u
}
