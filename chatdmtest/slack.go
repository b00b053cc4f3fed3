package chatdmtest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The tokens of a new [Slack] workspace. Both have every scope.
const (
	BotToken  = "xoxb-chatdmtest-bot"  // of BotUser
	UserToken = "xoxp-chatdmtest-user" // of AdminUser
)

// The ids of the users of a new [Slack] workspace. The eight people from Alice
// to Heidi are active members: with one of the two token owners they fill the
// largest group that Slack opens. Their names are theirs in lower case, such as
// "alice".
const (
	BotUser   = "UBOT"   // a bot, the owner of BotToken
	AdminUser = "UADMIN" // a person, the owner of UserToken

	Alice = "U0ALICE01"
	Bob   = "U0BOB0001"
	Carol = "U0CAROL01"
	Dave  = "U0DAVE001"
	Erin  = "U0ERIN001"
	Frank = "U0FRANK01"
	Grace = "U0GRACE01"
	Heidi = "U0HEIDI01"

	DisabledUser = "U0DISABLED" // a person whose account was disabled
	HiddenUser   = "U0HIDDEN01" // a person whom nobody else may see
	OtherBot     = "U0OTHERBOT" // a bot that BotToken cannot message
)

// Slack is a workspace of Slack behind its Web API. Make one with [NewSlack].
// Everything is safe for concurrent use.
//
// # Methods
//
// It knows im.open, im.close, conversations.open, conversations.close and
// conversations.list; and, so that a bot can say something and generic calls
// have something to reach, auth.test, api.test, a chat.postMessage that needs
// a channel and a text, and a conversations.history of one page, the newest
// messages first. Others are an unknown_method. A method takes a POST with
// a form, or with JSON (all but im.open), or a GET; arguments in the query of a
// POST count where its body has none of that name. A token in the query never
// counts.
//
// A request is checked in this order: scripted faults, the budget set by Limit,
// the name of the method, the request's form, the token, the retirement of im.*,
// the scopes, the arguments.
//
// # State
//
// A set of people has one conversation, whoever opens it. It is open or closed
// for each of them apart; a message opens it for all. Opening an open 1:1
// conversation, and closing a closed one of any kind, is a no_op; opening an open
// group carries no flag. A group keeps the order of people in which it was first
// opened, behind the caller who did.
//
// A page of conversations.list is filtered by exclude_archived when it is full, as
// Slack's are: it may come short, or empty, and others follow.
//
// # Choices
//
// Where nothing is documented, this server does what follows.
//   - conversations.open with both users and channel uses channel.
//   - With prevent_creation and no conversation yet, it is channel_not_found;
//     with one, the conversation is opened.
//   - A users argument that holds nothing but commas is not_enough_users.
//   - conversations.list gives the caller's direct messages whether open or
//     closed, in the order of their creation. As in Slack's own examples, groups
//     have is_open there, and 1:1 conversations have not.
//   - A body without a byte has no arguments, whatever its type, except for
//     multipart, which is invalid_form_data. A text/plain body is read as a form.
//   - An argument's name is too long above 100 bytes.
//   - A request's body above one mebibyte is HTTP 413.
type Slack struct {
	// URL is the root of the API, without a slash at its end:
	// "http://127.0.0.1:1234/api". A method is at URL + "/" + its name.
	URL string

	server

	stateMu   sync.Mutex // guards what follows
	retired   bool
	users     map[string]User
	tokens    map[string]Token
	byID      map[string]*conversation
	byMembers map[string]*conversation // the direct messages
	order     []*conversation          // all, as created
	replies   int                      // makes request ids
	messages  int                      // makes timestamps
}

// A User is a member of a workspace.
type User struct {
	ID       string // "U0ALICE01"
	Name     string // "alice"; "" is ID in lower case
	Disabled bool   // to message them is user_disabled; their tokens are account_inactive
	Bot      bool   // a bot's token cannot open a conversation with them: cannot_dm_bot
	Hidden   bool   // others who message them get user_not_visible
}

// A TokenState says whether a token is good for anything.
type TokenState string

// The states of a token, and the error that each one gives.
const (
	Active   TokenState = ""
	Revoked  TokenState = "revoked"  // token_revoked
	Expired  TokenState = "expired"  // token_expired
	Inactive TokenState = "inactive" // account_inactive
)

// A Token lets a user call the API.
type Token struct {
	Value  string     // "xoxb-…"
	User   string     // the id of its owner; a token of nobody is account_inactive
	Scopes []string   // nil: every scope; empty: none
	State  TokenState // zero: Active
}

// A Channel is a public or private channel: no direct message, but something
// that calls for direct messages can meet by mistake, and that can be listed.
type Channel struct {
	ID       string
	Name     string
	Private  bool // visible to its Members only
	Archived bool
	Members  []string // ids of users
}

// RetiredIM starts a [Slack] server on which im.* are retired, as they are on
// slack.com since 2021-02-24: their answer is method_deprecated.
func RetiredIM() Option {
	return func(c *config) { c.retiredIM = true }
}

// NewSlack starts a server with a new workspace: the users and tokens among the
// package's constants, and no conversations. Close it in the end. Like
// httptest.NewServer, it panics if it cannot listen on the loopback interface; and
// if an option is for another platform.
func NewSlack(opts ...Option) *Slack {
	c := newConfig(opts)
	if c.generation != "" {
		panic("chatdmtest: Generation is an option of NewRocketChat, not of NewSlack")
	}
	s := &Slack{
		retired:   c.retiredIM,
		users:     make(map[string]User),
		tokens:    make(map[string]Token),
		byID:      make(map[string]*conversation),
		byMembers: make(map[string]*conversation),
	}
	for _, u := range []User{
		{ID: BotUser, Name: "chatdmtest", Bot: true},
		{ID: AdminUser, Name: "admin"},
		{ID: Alice, Name: "alice"},
		{ID: Bob, Name: "bob"},
		{ID: Carol, Name: "carol"},
		{ID: Dave, Name: "dave"},
		{ID: Erin, Name: "erin"},
		{ID: Frank, Name: "frank"},
		{ID: Grace, Name: "grace"},
		{ID: Heidi, Name: "heidi"},
		{ID: DisabledUser, Name: "disabled", Disabled: true},
		{ID: HiddenUser, Name: "hidden", Hidden: true},
		{ID: OtherBot, Name: "otherbot", Bot: true},
	} {
		s.AddUser(u)
	}
	s.AddToken(Token{Value: BotToken, User: BotUser})
	s.AddToken(Token{Value: UserToken, User: AdminUser})
	s.URL = s.start(s, "/api/", c) + "/api"
	return s
}

// AddUser adds a user, or replaces the one with that ID. Conversations stay.
func (s *Slack) AddUser(u User) {
	u.Name = cmp.Or(u.Name, strings.ToLower(u.ID))
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.users[u.ID] = u
}

// AddToken adds a token, or replaces the one with that Value.
func (s *Slack) AddToken(t Token) {
	t.Scopes = slices.Clone(t.Scopes)
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.tokens[t.Value] = t
}

// AddChannel adds a channel, or replaces the conversation with that ID in its
// place in the list.
func (s *Slack) AddChannel(c Channel) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	kind := publicChannel
	if c.Private {
		kind = privateChannel
	}
	conv := newConversation(c.ID, kind, "", c.Members)
	conv.name, conv.archived = c.Name, c.Archived
	if old := s.byID[c.ID]; old != nil {
		if old.direct() {
			delete(s.byMembers, memberKey(old.members))
		}
		s.order[slices.Index(s.order, old)] = conv
	} else {
		s.order = append(s.order, conv)
	}
	s.byID[c.ID] = conv
}

// A Message is what chat.postMessage has posted.
type Message struct {
	User string // the id of its author
	Text string
	ID   string // on Slack its timestamp, "1700000000.000001"; on Rocket.Chat its _id
}

// Messages returns what was posted in a conversation, the oldest first; nil where
// nothing was, and where there is no such conversation. A test finds out by it
// that a greeting whose answer was lost is there once.
func (s *Slack) Messages(channel string) []Message {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	var posted []Message
	if v := s.byID[channel]; v != nil {
		for _, m := range v.messages {
			posted = append(posted, Message{User: m.User, Text: m.Text, ID: m.TS})
		}
	}
	return posted
}

// RetireIM retires im.*, or brings them back, while the server runs. See [RetiredIM].
func (s *Slack) RetireIM(retired bool) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.retired = retired
}

// slackCall is a call whose form, token and scopes are in order.
type slackCall struct {
	method string
	args   map[string]string // an absent argument has no entry
	token  Token
	caller User
}

// slackMethod is what the server knows of a method.
type slackMethod struct {
	run     func(*Slack, *slackCall) slackReply
	noJSON  bool
	nested  bool     // takes arrays and objects in JSON
	public  bool     // needs no token
	accepts []string // scopes: any of them will do, unless lacks knows better
	lacks   func(*Slack, *slackCall) []string
}

var slackMethods = map[string]slackMethod{
	"api.test":              {run: (*Slack).apiTest, nested: true, public: true},
	"auth.test":             {run: (*Slack).authTest},
	"chat.postMessage":      {run: (*Slack).postMessage, nested: true, accepts: []string{"chat:write"}},
	"conversations.close":   {run: (*Slack).conversationsClose, accepts: writeScopes, lacks: (*Slack).closeLacks},
	"conversations.history": {run: (*Slack).conversationsHistory, accepts: historyScopes},
	"conversations.list":    {run: (*Slack).conversationsList, accepts: readScopes, lacks: (*Slack).listLacks},
	"conversations.open":    {run: (*Slack).conversationsOpen, accepts: writeScopes, lacks: (*Slack).openLacks},
	"im.close":              {run: (*Slack).imClose, accepts: []string{"im:write"}},
	"im.open":               {run: (*Slack).imOpen, accepts: []string{"im:write"}, noJSON: true},
}

// respond implements platform.
func (s *Slack) respond(c call) answer {
	if wait := s.spend(c.method).wait; wait > 0 {
		return s.throttle(wait)
	}
	if c.http.Method != http.MethodGet && c.http.Method != http.MethodPost {
		a := plainAnswer(http.StatusMethodNotAllowed)
		a.header.Set("Allow", "GET, POST")
		return a
	}
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	method, known := slackMethods[c.method]
	if !known {
		return s.encode(slackReply{Error: "unknown_method", ReqMethod: c.method}, nil)
	}

	args, warnings, code := readArgs(c, method)
	if code != "" {
		return s.encode(slackReply{Error: code}, warnings)
	}
	sc := &slackCall{method: c.method, args: args}
	if method.public {
		return s.encode(method.run(s, sc), warnings)
	}
	if code := s.authenticate(c, sc); code != "" {
		return s.encode(slackReply{Error: code}, warnings)
	}

	a := s.encode(s.authorized(sc, method), warnings)
	a.header.Set("X-OAuth-Scopes", strings.Join(sc.token.granted(), ","))
	a.header.Set("X-Accepted-OAuth-Scopes", strings.Join(method.accepts, ","))
	return a
}

// authenticate finds the token of a request and its owner.
func (s *Slack) authenticate(c call, sc *slackCall) (code string) {
	value := sc.args["token"]
	if scheme, credential, ok := strings.Cut(c.http.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		value = strings.TrimSpace(credential)
	}
	delete(sc.args, "token")
	if value == "" {
		return "not_authed"
	}
	token, known := s.tokens[value]
	if !known {
		return "invalid_auth"
	}
	switch token.State {
	case Revoked:
		return "token_revoked"
	case Expired:
		return "token_expired"
	case Inactive:
		return "account_inactive"
	}
	owner, known := s.users[token.User]
	if !known || owner.Disabled {
		return "account_inactive"
	}
	sc.token, sc.caller = token, owner
	return ""
}

// authorized runs a method for a caller who is known.
func (s *Slack) authorized(sc *slackCall, method slackMethod) slackReply {
	if s.retired && successors[sc.method] != "" {
		return retired(sc.method)
	}
	var lacking []string
	if method.lacks != nil {
		lacking = method.lacks(s, sc)
	} else {
		lacking = sc.token.lacks(method.accepts)
	}
	if lacking != nil {
		return missingScope(lacking, sc.token.granted())
	}
	return method.run(s, sc)
}

// refuse implements platform: an answer that nothing but a script is behind.
func (s *Slack) refuse(c call, code string) answer {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	reply := slackReply{Error: cmp.Or(code, "internal_error")}
	switch {
	case code == "missing_scope":
		reply = missingScope(slackMethods[c.method].accepts, []string{"identify"})
	case code == "unknown_method":
		reply.ReqMethod = c.method
	case code == "method_deprecated" && successors[c.method] != "":
		reply = retired(c.method)
	}
	return s.encode(reply, nil)
}

// throttle is the answer while the budget is spent for that long.
func (s *Slack) throttle(wait time.Duration) answer {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	a := s.encode(slackReply{Error: "ratelimited"}, nil)
	a.status = http.StatusTooManyRequests
	a.header.Set("Retry-After", strconv.FormatInt(seconds(wait), 10))
	return a
}

// encode makes an answer of a reply and the warnings about its request.
func (s *Slack) encode(reply slackReply, warnings []string) answer {
	reply.OK = reply.Error == ""
	if len(warnings) > 0 {
		reply.Warning = strings.Join(warnings, ",")
		if reply.Metadata == nil {
			reply.Metadata = new(slackMetadata)
		}
		reply.Metadata.Warnings = warnings
	}
	s.replies++
	return answer{
		status: http.StatusOK,
		header: http.Header{
			"Content-Type":   {"application/json; charset=utf-8"},
			"X-Slack-Req-Id": {fmt.Sprintf("%032x", s.replies)},
		},
		body: marshal(reply),
	}
}
