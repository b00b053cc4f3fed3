package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

//go:embed page.html
var page []byte

// contentSecurityPolicy allows only the style and the script in the page, and
// requests to the control API.
var contentSecurityPolicy = fmt.Sprintf("default-src 'none'; style-src %s; script-src %s; img-src data:; connect-src 'self'; "+
	"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
	inlineHash("style"), inlineHash("script"))

// inlineHash returns the hash of the content of an element of the page.
func inlineHash(element string) string {
	content := regexp.MustCompile(`(?s)<` + element + `>(.*)</` + element + `>`).FindSubmatch(page)
	sum := sha256.Sum256(content[1])
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// control serves the page and the control API.
type control struct {
	http.Handler
	platforms []*platform
	hosts     []string // names for the Host header, in addition to the usual ones

	streamTimeout time.Duration // for sending one event

	mu      sync.Mutex    // guards the fields below
	changed chan struct{} // closed at the next change that the fakes do not report
	streams int           // open streams of events
	view    *view         // the last one
}

func newControl(hosts []string, platforms ...*platform) *control {
	c := &control{platforms: platforms, hosts: hosts, streamTimeout: 10 * time.Second, changed: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.page)
	mux.HandleFunc("GET /fake/state", respond(c.state))
	mux.HandleFunc("GET /fake/requests", respond(c.requests))
	mux.HandleFunc("GET /fake/events", c.events)
	mux.HandleFunc("POST /fake/fail", respond(c.fail))
	mux.HandleFunc("POST /fake/limit", respond(c.limit))
	mux.HandleFunc("POST /fake/clear", respond(c.clear))
	mux.HandleFunc("POST /fake/reset", respond(c.reset))
	mux.HandleFunc("POST /fake/user", respond(c.user))
	mux.HandleFunc("POST /fake/token", respond(c.token))
	mux.HandleFunc("POST /fake/channel", respond(c.channel))
	c.Handler = c.protect(http.NewCrossOriginProtection().Handler(mux))
	return c
}

// protect sets the security headers, and rejects requests with a foreign Host. Such
// a request can come from a website that has pointed its own name at this machine.
func (c *control) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", contentSecurityPolicy)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Referrer-Policy", "no-referrer")
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		w.Header().Set("Cache-Control", "no-store")
		if !c.isOwnHost(r.Host) {
			http.Error(w, fmt.Sprintf("Host: got %q, want an IP address, localhost, or a name without a dot; allow others with -host", r.Host), http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwnHost reports whether a Host header names this machine. A website can only use
// a name with a dot.
func (c *control) isOwnHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(strings.ToLower(name), "[]")
	return name != "" && (!strings.Contains(name, ".") || net.ParseIP(name) != nil ||
		strings.HasSuffix(name, ".localhost") || slices.ContainsFunc(c.hosts, func(h string) bool { return strings.EqualFold(h, name) }))
}

func (c *control) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(page)
}

// statusError is an error with a status other than 400.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// respond returns a handler that encodes what f returns as JSON. An error becomes
// a response with status 400 and a text.
func respond(f func(*parameters) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := readParameters(r)
		var result any
		if err == nil {
			result, err = f(p)
		}
		if err != nil {
			status := http.StatusBadRequest
			if e, ok := errors.AsType[*statusError](err); ok {
				status = e.status
			}
			http.Error(w, err.Error(), status)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		encoder := json.NewEncoder(redactor{w})
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(result) // fails only if the client has disconnected
	}
}

// platform returns the platform in the parameters. The default is Slack.
func (c *control) platform(p *parameters) *platform {
	if p.oneOf("platform", c.platforms[0].key, c.platforms[1].key) == c.platforms[1].key {
		return c.platforms[1]
	}
	return c.platforms[0]
}

// selected returns the platforms in the parameters. The default is both.
func (c *control) selected(p *parameters) []*platform {
	one := c.platform(p)
	if p.values.Get("platform") == "" {
		return c.platforms
	}
	return []*platform{one}
}

// notify reports a change that the fakes do not report.
func (c *control) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *control) fail(p *parameters) (any, error) {
	platform := c.platform(p)
	method := p.text("method")
	times := p.number("times", 1)
	if times == 0 || times < -1 {
		p.fail("times", p.text("times"), "1 or more, or -1 for all requests until the fault is cleared")
	}
	var f chatdmtest.Fault
	p.fields(&f)
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		p.fail("status", p.text("status"), "200 to 599")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	if len(faultFields(f)) == 0 {
		return nil, errors.New("got no fault, want at least one of code, status, header, body, delay, stall, or cut")
	}
	platform.current().Fail(method, times, f)
	return map[string]any{"faults": pendingFaults(platform)}, nil
}

func (c *control) limit(p *parameters) (any, error) {
	platform := c.platform(p)
	l := limit{method: p.required("method", "an API method such as chat.postMessage"), window: p.duration("window", time.Minute)}
	p.required("calls", "a number of calls, or 0 to remove the limit")
	l.calls = p.number("calls", 0)
	if l.calls < 0 {
		p.fail("calls", p.text("calls"), "0 or more")
	}
	if l.window == 0 && len(p.errs) == 0 {
		p.fail("window", p.text("window"), "more than 0")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	platform.setLimit(l)
	return map[string]any{"limits": limits(platform)}, nil
}

func (c *control) clear(p *parameters) (any, error) {
	platforms := c.selected(p)
	all := []string{"faults", "limits", "requests"}
	what := p.list("what")
	for _, name := range what {
		if !slices.Contains(all, name) {
			p.fail("what", name, join(all))
		}
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	if len(what) == 0 {
		what = all
	}
	for _, platform := range platforms {
		for _, name := range what {
			switch name {
			case "faults":
				platform.current().ClearFaults()
			case "limits":
				for _, l := range platform.currentLimits() {
					platform.setLimit(limit{method: l.method})
				}
			case "requests":
				platform.current().ResetRequests()
			}
		}
	}
	return map[string]any{"cleared": what}, nil
}

func (c *control) reset(p *parameters) (any, error) {
	platforms := c.selected(p)
	if err := p.err(); err != nil {
		return nil, err
	}
	reset := make([]string, 0, len(platforms))
	for _, platform := range platforms {
		platform.reset()
		reset = append(reset, platform.key)
	}
	c.notify()
	return map[string]any{"reset": reset}, nil
}

func (c *control) user(p *parameters) (any, error) {
	p.required("id", "a user ID such as U012AB3CD")
	switch f := c.platform(p).current().(type) {
	case *chatdmtest.Slack:
		var u chatdmtest.User
		return added(c, p, "id", &u, func() { f.AddUser(u) })
	case *chatdmtest.RocketChat:
		var u chatdmtest.RocketChatUser
		return added(c, p, "id", &u, func() { f.AddUser(u) })
	}
	return nil, nil
}

func (c *control) token(p *parameters) (any, error) {
	p.required("value", "a token such as xoxb-test")
	p.required("user", "the ID of the owner")
	f, ok := c.platform(p).current().(*chatdmtest.Slack)
	if !ok {
		return nil, errors.New(`platform: got "rocketchat", want slack; on Rocket.Chat, set auth_token of a user`)
	}
	var t chatdmtest.Token
	return added(c, p, "user", &t, func() { f.AddToken(t) })
}

func (c *control) channel(p *parameters) (any, error) {
	p.required("id", "the ID of a channel or room")
	switch f := c.platform(p).current().(type) {
	case *chatdmtest.Slack:
		var channel chatdmtest.Channel
		return added(c, p, "id", &channel, func() { f.AddChannel(channel) })
	case *chatdmtest.RocketChat:
		var room chatdmtest.RocketChatRoom
		p.oneOf("type", "c", "p", "d")
		return added(c, p, "id", &room, func() { f.AddRoom(room) })
	}
	return nil, nil
}

// added sets the fields of v from the parameters, and calls add. The response contains
// the value of the parameter id.
func added(c *control, p *parameters, id string, v any, add func()) (any, error) {
	p.fields(v)
	if err := p.err(); err != nil {
		return nil, err
	}
	add()
	c.notify()
	return map[string]any{"added": p.values.Get(id)}, nil
}

func (c *control) state(p *parameters) (any, error) {
	platforms := c.selected(p)
	if err := p.err(); err != nil {
		return nil, err
	}
	state := make(map[string]any)
	for _, platform := range platforms {
		state[platform.key] = struct {
			URL           string         `json:"url"`
			RequestCount  int            `json:"request_count"`
			Faults        []pendingFault `json:"faults"`
			Limits        []limitState   `json:"limits"`
			Conversations []conversation `json:"conversations"`
		}{platform.url, platform.current().RequestCount(), pendingFaults(platform), limits(platform), conversations(platform, -1)}
	}
	return state, nil
}

func (c *control) requests(p *parameters) (any, error) {
	platforms := c.selected(p)
	method := p.text("method")
	if err := p.err(); err != nil {
		return nil, err
	}
	requests := []request{}
	for _, platform := range platforms {
		for _, r := range platform.current().Requests() {
			if method == "" || r.Method == method {
				requests = append(requests, newRequest(platform, r))
			}
		}
	}
	slices.SortStableFunc(requests, func(a, b request) int { return a.Time.Compare(b.Time) })
	return map[string]any{"requests": requests}, nil
}
