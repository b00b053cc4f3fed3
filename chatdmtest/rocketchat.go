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

// Two users of a new [RocketChat] have a token: an admin and a member without
// further rights, named "admin" and "member".
const (
	RocketChatAdminID     = "chatdmtestAdmin01"
	RocketChatAdminToken  = "chatdmtest-admin-token"
	RocketChatMemberID    = "chatdmtestMember1"
	RocketChatMemberToken = "chatdmtest-member-token"
)

// RocketChatPassword is the password of every user of a new [RocketChat].
const RocketChatPassword = "chatdmtest-password"

// A RocketChatGeneration is a range of versions that answer alike.
type RocketChatGeneration string

// The generations, from the oldest to the newest.
const (
	// RocketChatOld is RocketChat3 without an endpoint im.delete: its place is
	// taken by the web application, which is a page of HTML with status 200.
	RocketChatOld RocketChatGeneration = "before 3.18"

	// RocketChat3 lets only view-room-administration delete, and answers 403
	// without it. It takes roomId or username in im.open and im.close too, and
	// does not look for keys that it does not know.
	RocketChat3 RocketChatGeneration = "3.18-4.7"

	// RocketChat4 checks the bodies of im.create and im.delete against a schema,
	// lets members delete who have delete-d, and answers im.open and im.close
	// with 403 where it denies access. It behaves like 6.14.
	RocketChat4 RocketChatGeneration = "4.8-6.x"

	// RocketChat7 has another router: a wrong verb is a 404, a 401 has a success
	// field, and a body is checked before anything else. It behaves like the last
	// releases of 7.
	RocketChat7 RocketChatGeneration = "7.x"

	// RocketChat8 checks the token before the body, and the bodies of im.open and
	// im.close against a schema.
	RocketChat8 RocketChatGeneration = "8.x"
)

var rocketChatGenerations = []RocketChatGeneration{RocketChatOld, RocketChat3, RocketChat4, RocketChat7, RocketChat8}

// Generation sets which generation of servers a [RocketChat] is. Without it, it
// is RocketChat8. It panics if there is no such generation.
func Generation(g RocketChatGeneration) Option {
	if !slices.Contains(rocketChatGenerations, g) {
		panic(fmt.Sprintf("chatdmtest: no generation %q of Rocket.Chat", g))
	}
	return func(c *config) { c.generation = g }
}

// RocketChat is a Rocket.Chat server behind its REST API. Make one with
// [NewRocketChat]. Everything is safe for concurrent use.
//
// # Endpoints
//
// It knows im.create, im.open, im.close and im.delete under /api/v1/; login and
// logout; and, so that a bot can say something and generic calls have something
// to reach, chat.postMessage with a roomId or a channel and a text, and im.history,
// im.list and me, which are GETs. Every im.* is a dm.* as well. A body is a JSON object, or a
// form. X-Auth-Token and X-User-Id say who calls.
//
// A request is checked in this order: scripted faults, path and verb, that the
// body is JSON (which RocketChat7 and RocketChat8 do not mind: theirs is empty
// then), the token, the budget set by Limit, the body, the rights. RocketChat7
// checks the body before the token, and RocketChat8 before the budget, so that
// invalid bodies do not count.
//
// # State
//
// A set of users has one direct message, whoever creates it. For two users its id
// is that of both users, sorted and joined; otherwise the ids are numbered. It is
// open or closed for each member: to create it opens it for the caller, and a new
// one is open for the others if they are more than one.
//
// im.delete takes the id or username of a user in either parameter, and the id of
// a room only after that. Where the caller has no direct message with that user,
// one is created to be deleted. It never says that there was none.
//
// A user's rights are permissions: create-d to create, delete-d to delete,
// view-room-administration to delete where one is not a member, and
// api-bypass-rate-limit. Members have the first, admins all.
//
// # Budgets
//
// No endpoint is limited until Limit is called. Servers come with 10 calls in
// 60 seconds for every endpoint:
//
//	chat.Limit("im.delete", 10, time.Minute)
//
// im.delete and dm.delete have budgets of their own. Callers with
// api-bypass-rate-limit, which are the admins, do not count. To all others, an
// answer of a limited endpoint says in X-RateLimit-Limit, X-RateLimit-Remaining
// and X-RateLimit-Reset, which is in milliseconds since 1970, what is left; a 401
// does not. There is no Retry-After.
//
// # Faults
//
// A Code of a [Fault] becomes an answer of status 400 with that errorType, and
// with the text and the details that servers send with it. These have more than
// a code, and no errorType:
//   - "unauthorized" is the 401 of the generation;
//   - "forbidden" is the 403, whose text is "unauthorized";
//   - "error-unauthorized" is the 403 for users without a username;
//   - "error-too-many-requests" is the 429, with a minute to wait.
//
// login sends any other Code with status 401, in its own shape. None of them comes
// with the headers of a budget.
//
// # Choices
//
// Where nothing is documented, or was only read in the source of a server, this
// one does what follows.
//   - What RocketChat7 and RocketChat8 answer has been read, not seen on a server.
//   - The answer to a 401 or 403 comes at once; RocketChat4 and older take up to
//     a second for it.
//   - Each call counts once. Older servers count two for a path that has an alias.
//   - Budgets work in all generations, though releases of 7 forgot to apply them.
//   - im.create refuses unknown usernames, also as RocketChat8. It reads a repeated
//     username once. With excludeSelf, less than two others are invalid.
//   - Usernames are compared exactly, emails without regard to case.
//   - A caller without create-d is told t, rid and _id of an existing room, and
//     not the usernames.
//   - im.close of an unknown room is "not subscribed", as since 6.4, in all of
//     RocketChat4.
//   - A number in place of a text is read as text where there is no schema, too.
//   - A value with a leading "#" is an invalid-channel, whatever it names.
//   - A federated room can be deleted in RocketChat3: nothing was federated yet.
//   - A 401 of login has no success field in any generation.
//   - A path outside /api/v1/ is a 404 in plain text; servers have their web
//     application there.
//   - A request's body above one mebibyte is HTTP 413.
type RocketChat struct {
	// URL is the base of the server, without a slash at its end:
	// "http://127.0.0.1:1234". An endpoint is at URL + "/api/v1/" + its name.
	URL string

	server

	generation RocketChatGeneration

	stateMu  sync.Mutex // guards what follows
	users    map[string]RocketChatUser
	tokens   map[string]string // the ids of the users who have logged in
	rooms    []*rocketChatRoom // as created
	logins   int               // makes tokens
	created  int               // makes ids of rooms
	messages int               // makes ids of messages
}

// A RocketChatUser is someone who can be written to, and who can call the API
// with a token: AuthToken, or one that login gave them.
type RocketChatUser struct {
	ID       string // "rbAXPnMktTFbNpwtJ"
	Username string // "alice"; "" is ID
	Name     string // "Alice Liddell"; "" is Username
	Email    string

	Password string // login refuses everybody who has none
	TOTP     string // the code that login wants besides; "" if it wants none

	AuthToken   string   // a login or personal access token; "" if there is none
	Admin       bool     // has the role admin
	Permissions []string // nil: those of a member, or of an admin; empty: none
}

// A RocketChatRoom is a channel or a direct message that a test begins with.
type RocketChatRoom struct {
	ID        string
	Type      string   // "c" channel, "p" private group, "d" direct message; "" is "c"
	Name      string   // of a channel or group
	Members   []string // ids of users; the room is open for all of them
	Federated bool     // im.delete is error-cannot-delete-federated-room
}

// NewRocketChat starts a server with the users among the package's constants: an
// admin, a member, and the eight people from [Alice] to [Heidi], whose usernames
// are their names in lower case. There are no rooms. Close it in the end. Like
// httptest.NewServer, it panics if it cannot listen on the loopback interface; and
// if an option is for another platform.
func NewRocketChat(opts ...Option) *RocketChat {
	c := newConfig(opts)
	if c.retiredIM {
		panic("chatdmtest: RetiredIM is an option of NewSlack, not of NewRocketChat")
	}
	r := &RocketChat{
		generation: cmp.Or(c.generation, RocketChat8),
		users:      make(map[string]RocketChatUser),
		tokens:     make(map[string]string),
	}
	for _, u := range []RocketChatUser{
		{ID: RocketChatAdminID, Username: "admin", AuthToken: RocketChatAdminToken, Admin: true},
		{ID: RocketChatMemberID, Username: "member", AuthToken: RocketChatMemberToken},
		{ID: Alice, Username: "alice"},
		{ID: Bob, Username: "bob"},
		{ID: Carol, Username: "carol"},
		{ID: Dave, Username: "dave"},
		{ID: Erin, Username: "erin"},
		{ID: Frank, Username: "frank"},
		{ID: Grace, Username: "grace"},
		{ID: Heidi, Username: "heidi"},
	} {
		u.Password = RocketChatPassword
		r.AddUser(u)
	}
	r.URL = r.start(r, "/api/v1/", c)
	return r
}

// AddUser adds a user, or replaces those with that ID and that Username. Rooms,
// and what login has given to that ID, stay.
func (r *RocketChat) AddUser(u RocketChatUser) {
	u.Username = cmp.Or(u.Username, u.ID)
	u.Name = cmp.Or(u.Name, u.Username)
	u.Permissions = slices.Clone(u.Permissions)
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	if namesake, taken := r.userNamed(u.Username); taken {
		delete(r.users, namesake.ID)
	}
	r.users[u.ID] = u
}

// AddRoom adds a room, or replaces the one with that ID.
func (r *RocketChat) AddRoom(room RocketChatRoom) {
	room.Type = cmp.Or(room.Type, "c")
	added := newRocketChatRoom(room)
	for _, id := range added.Members {
		added.open[id] = true
	}
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	if old := r.room(room.ID); old != nil {
		r.rooms[slices.Index(r.rooms, old)] = added
	} else {
		r.rooms = append(r.rooms, added)
	}
}

// Messages returns what was posted in a room, the oldest first; nil where nothing
// was, and where there is no such room.
func (r *RocketChat) Messages(roomID string) []Message {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	var posted []Message
	if room := r.room(roomID); room != nil {
		for _, m := range room.posted {
			posted = append(posted, Message{User: m.U.ID, Text: m.Msg, ID: m.ID})
		}
	}
	return posted
}

// since reports whether the server is of a generation or newer.
func (r *RocketChat) since(g RocketChatGeneration) bool {
	return slices.Index(rocketChatGenerations, r.generation) >= slices.Index(rocketChatGenerations, g)
}

// rocketChatCall is a call whose path, token and body are in order.
type rocketChatCall struct {
	http   *http.Request
	params map[string]any // of the body, as JSON has them
	caller RocketChatUser // nobody where no token is needed
}

// rocketChatEndpoint is what the server knows of an endpoint.
type rocketChatEndpoint struct {
	verb    string
	public  bool // needs no token
	run     func(*RocketChat, *rocketChatCall) (any, *rocketChatError)
	schema  []rocketChatShape    // of the body: one of them; none is no schema
	checked RocketChatGeneration // the first with that schema
}

var rocketChatEndpoints = map[string]rocketChatEndpoint{
	"im.create":        {verb: "POST", run: (*RocketChat).imCreate, schema: createShapes, checked: RocketChat4},
	"im.open":          {verb: "POST", run: (*RocketChat).imOpen, schema: roomShapes, checked: RocketChat8},
	"im.close":         {verb: "POST", run: (*RocketChat).imClose, schema: roomShapes, checked: RocketChat8},
	"im.delete":        {verb: "POST", run: (*RocketChat).imDelete, schema: deleteShapes, checked: RocketChat4},
	"im.history":       {verb: "GET", run: (*RocketChat).imHistory},
	"im.list":          {verb: "GET", run: (*RocketChat).imList},
	"chat.postMessage": {verb: "POST", run: (*RocketChat).postMessage},
	"login":            {verb: "POST", run: (*RocketChat).login, public: true},
	"logout":           {verb: "POST", run: (*RocketChat).logout},
	"me":               {verb: "GET", run: (*RocketChat).me},
}

// endpoint finds an endpoint by either of its names.
func (r *RocketChat) endpoint(name string) (e rocketChatEndpoint, known bool) {
	if rest, alias := strings.CutPrefix(name, "dm."); alias {
		name = "im." + rest
	}
	if name == "im.delete" && r.generation == RocketChatOld {
		return rocketChatEndpoint{}, false
	}
	e, known = rocketChatEndpoints[name]
	return e, known
}

// respond implements platform.
func (r *RocketChat) respond(c call) answer {
	e, missed := r.route(c)
	if missed != nil {
		return *missed
	}
	body, ok := readParams(c)
	if !ok && !r.since(RocketChat7) {
		return malformedBody()
	}

	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	caller, authenticated := r.authenticate(c)
	var refused *rocketChatError
	if r.since(e.checked) {
		refused = r.validate(e.schema, body)
	}
	switch {
	case refused != nil && r.generation == RocketChat7:
		return r.refusal(c.method, refused)
	case !authenticated && !e.public:
		return r.refusal(c.method, unauthorized)
	case refused != nil && r.generation == RocketChat8:
		return r.refusal(c.method, refused)
	}

	var q quota
	if !caller.can("api-bypass-rate-limit") {
		q = r.spend(c.method)
	}
	if q.wait > 0 {
		refused = tooManyRequests(q.wait)
	}
	var reply any
	if refused == nil {
		params, _ := body.(map[string]any)
		reply, refused = e.run(r, &rocketChatCall{http: c.http, params: params, caller: caller})
	}
	a := rocketChatAnswer(http.StatusOK, reply)
	if refused != nil {
		a = r.refusal(c.method, refused)
	}
	if q.calls > 0 {
		a.header.Set("X-RateLimit-Limit", strconv.Itoa(q.calls))
		a.header.Set("X-RateLimit-Remaining", strconv.Itoa(q.left))
		a.header.Set("X-RateLimit-Reset", strconv.FormatInt(q.end.UnixMilli(), 10))
	}
	return a
}

// route finds the endpoint of a request, or what the server has in its place.
func (r *RocketChat) route(c call) (e rocketChatEndpoint, missed *answer) {
	e, known := r.endpoint(c.method)
	verb := c.http.Method
	if r.since(RocketChat7) {
		if verb == http.MethodHead {
			verb = http.MethodGet // its router does the same
		}
		if !known || verb != e.verb {
			return e, new(routerNotFound())
		}
		return e, nil
	}
	switch {
	case !known:
		return e, new(webApp())
	case verb != e.verb:
		return e, new(wrongVerb(e.verb))
	}
	return e, nil
}

// authenticate finds the user whose id and token a request carries.
func (r *RocketChat) authenticate(c call) (u RocketChatUser, ok bool) {
	u, known := r.users[c.http.Header.Get("X-User-Id")]
	if !known || !r.holds(u, c.http.Header.Get("X-Auth-Token")) {
		return RocketChatUser{}, false
	}
	return u, true
}

// holds reports whether a token is a user's.
func (r *RocketChat) holds(u RocketChatUser, token string) bool {
	owner, issued := r.tokens[token]
	return issued && owner == u.ID || token != "" && token == u.AuthToken
}

var (
	memberPermissions = []string{"create-d"}
	adminPermissions  = []string{"create-d", "delete-d", "view-room-administration", "api-bypass-rate-limit"}
)

// can reports whether the user has a permission. Nobody has any.
func (u RocketChatUser) can(permission string) bool {
	switch {
	case u.ID == "":
		return false
	case u.Permissions != nil:
		return slices.Contains(u.Permissions, permission)
	case u.Admin:
		return slices.Contains(adminPermissions, permission)
	default:
		return slices.Contains(memberPermissions, permission)
	}
}

// refuse implements platform: an answer that nothing but a script is behind.
func (r *RocketChat) refuse(c call, code string) answer {
	return r.refusal(c.method, r.scripted(c.method, code))
}

// scripted is the error that servers make of a code.
func (r *RocketChat) scripted(method, code string) *rocketChatError {
	switch code {
	case "":
		return &rocketChatError{reason: "Internal server error"}
	case "unauthorized":
		return unauthorized
	case "forbidden":
		return forbidden
	case "error-unauthorized":
		return &rocketChatError{status: http.StatusForbidden, code: code, reason: "Users must have a username"}
	case "error-too-many-requests":
		return tooManyRequests(time.Minute)
	case "error-room-param-not-provided":
		return r.paramNotProvided()
	case "error-room-not-found":
		return r.roomNotFound(method)
	case "invalid-params", "error-invalid-params":
		e, _ := r.endpoint(method)
		if invalid := r.validate(e.schema, map[string]any{}); invalid != nil {
			invalid.code = code
			return invalid
		}
	}
	return documented(code)
}
