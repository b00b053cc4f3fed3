package chatdmtest

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// The IDs and tokens of two users of a new [RocketChat] server: an admin with the
// username "admin", and an ordinary member with the username "member". The other
// users have no token until they log in.
const (
	RocketChatAdminID     = "chatdmtestAdmin01"
	RocketChatAdminToken  = "chatdmtest-admin-token"
	RocketChatMemberID    = "chatdmtestMember1"
	RocketChatMemberToken = "chatdmtest-member-token"
)

// RocketChatPassword is the password of every user of a new [RocketChat] server.
const RocketChatPassword = "chatdmtest-password"

// A RocketChatGeneration is a range of Rocket.Chat versions that behave alike. Use
// [Generation] to select one.
type RocketChatGeneration string

// The generations of Rocket.Chat, oldest first.
const (
	// RocketChatOld behaves like RocketChat3, but has no im.delete endpoint. The
	// response to im.delete is the HTML page of the web application, with status
	// 200.
	RocketChatOld RocketChatGeneration = "before 3.18"

	// RocketChat3 requires the permission view-room-administration for im.delete.
	// Without it, the response is 403. im.open, im.close, im.history, and
	// im.messages accept a roomId or a username, as im.delete does. Unknown
	// parameters are ignored.
	RocketChat3 RocketChatGeneration = "3.18-4.7"

	// RocketChat4 checks the parameters of im.create, im.delete, im.history,
	// im.messages, chat.delete, and users.info against a schema. Members with the
	// permission delete-d can use im.delete. If the caller of im.open, im.close,
	// im.history, or im.messages is not a member of the room, the response is 403.
	// RocketChat4 behaves like version 6.14.
	RocketChat4 RocketChatGeneration = "4.8-6.x"

	// RocketChat7 has a different router: the response to a wrong HTTP method is
	// 404, and a 401 has a success field. RocketChat7 checks the bodies of im.create
	// and im.delete before the token. It also checks the body of chat.sendMessage
	// against a schema, after the token. It behaves like the last 7.x versions.
	RocketChat7 RocketChatGeneration = "7.x"

	// RocketChat8 checks the token before the parameters. It also checks the
	// parameters of im.open, im.close, chat.getMessage, and chat.getDeletedMessages
	// against a schema. chat.sendMessage rejects an empty text and removes NUL
	// characters.
	RocketChat8 RocketChatGeneration = "8.x"
)

var rocketChatGenerations = []RocketChatGeneration{RocketChatOld, RocketChat3, RocketChat4, RocketChat7, RocketChat8}

// RocketChat is a fake Rocket.Chat server with a REST API. Use [NewRocketChat] to
// start one. A RocketChat is safe for concurrent use by multiple goroutines.
//
// # Endpoints
//
// RocketChat implements these endpoints under /api/v1/:
//
//   - POST im.create, im.open, im.close, and im.delete
//   - GET im.list, im.history, and im.messages
//   - POST chat.sendMessage
//   - POST chat.postMessage with roomId or channel
//   - GET chat.getMessage and chat.getDeletedMessages
//   - POST chat.delete
//   - GET users.info with userId or username, and in RocketChat8 with email
//   - POST login
//   - GET and POST logout
//   - GET me
//
// Each im.* endpoint has the alias dm.*. The parameters of a GET are in its query.
// The body of a POST is a JSON object or a form. The headers X-User-Id and
// X-Auth-Token identify the caller.
//
// RocketChat checks a request in this order:
//
//  1. faults
//  2. the path and the HTTP method
//  3. whether the body can be parsed, except in RocketChat7 and RocketChat8, which
//     treat a body that cannot be parsed as empty
//  4. the token
//  5. the rate limit
//  6. the schema of the parameters
//  7. the permissions and the values of the parameters
//
// RocketChat7 checks the schemas of im.create and im.delete before the token.
// RocketChat8 checks all schemas before the rate limit. Requests that violate a
// schema do not count toward the rate limit in these cases.
//
// # Rooms
//
// A set of users has only one DM, regardless of who creates it. The ID of a DM
// between two users consists of their user IDs, sorted and without a separator.
// Other DMs have numbered IDs.
//
// A DM is open or closed for each member separately. im.create opens it for the
// caller. If im.create creates a DM with more than two members, it opens the DM for
// all of them. A message opens a DM for all members.
//
// In im.delete, roomId and username each accept a user ID, a username, or a room ID.
// im.delete looks for a user first. If the caller has no DM with that user,
// im.delete creates one and deletes it, with the same response. im.history,
// im.messages, and chat.postMessage find and create DMs in the same way.
//
// # Messages
//
// chat.sendMessage stores the _id that the client chooses. If there already is a
// message with this ID in any room, the server keeps that message, stores nothing,
// and responds with status 400 and the text of a JavaScript error. PreventMessages
// makes it respond in the same way to other messages. After chat.delete or im.delete,
// the ID of a deleted message is free again.
//
// A real server responds differently if it receives two requests with the same ID at
// the same moment. To imitate it, make the second request fail:
//
//	chat.Fail("chat.sendMessage", 1, chatdmtest.Fault{Code: "E11000"})
//
// chat.sendMessage stores a text as it is, except that RocketChat8 removes NUL
// characters. chat.postMessage removes white space at both ends. RewriteMessages
// changes the texts of later messages.
//
// A message with a tmid is a reply in a thread. im.history shows replies unless
// showThreadMessages is "false". Since RocketChat4, it hides them unless
// showThreadMessages is "true".
//
// # Tokens
//
// A token from login expires after 90 days. SetLoginExpiration changes this time.
// RevokeLoginTokens revokes the tokens of a user at once. The AuthToken of a user is
// a personal access token: it does not expire. logout revokes the token with which it
// is called, even if that is an AuthToken. Requests with expired and revoked tokens
// get a 401, and so does login with such a token in the parameter resume.
//
// # Permissions
//
//   - create-d: use im.create
//   - delete-d: use im.delete
//   - view-room-administration: use im.delete for rooms of other users
//   - api-bypass-rate-limit: make calls that do not count toward the rate limit
//   - post-readonly: send messages to read-only rooms
//   - message-impersonate: send messages with an alias or avatar
//   - delete-own-message and force-delete-message: use chat.delete for the caller's
//     messages and for all messages
//   - view-full-other-user-info: see the roles and email addresses of other users
//
// By default, members have create-d and delete-own-message. Bots have create-d,
// message-impersonate, and api-bypass-rate-limit. Admins have all of them except
// message-impersonate.
//
// # Rate limits
//
// There are no rate limits until you call Limit. The default of a real server is 10
// calls per endpoint in 60 seconds. The newest 8.x versions instead allow 5 calls
// of chat.sendMessage per second. To imitate a default, set the limit of each endpoint:
//
//	chat.Limit("im.delete", 10, time.Minute)
//
// im.delete and dm.delete have separate limits, and separate faults. Responses from
// a limited endpoint have the headers X-RateLimit-Limit, X-RateLimit-Remaining, and
// X-RateLimit-Reset, which is in milliseconds since 1970. These headers are missing
// from a 401, and from a response to a caller with api-bypass-rate-limit. There is
// no Retry-After header.
//
// # Error codes in faults
//
// The server sends the Code of a [Fault] as the errorType of a response with status
// 400. The response has the text and details that a real server sends for this code.
// The responses for these codes have no errorType:
//
//   - "unauthorized": the 401 of the generation
//   - "forbidden": a 403 with the text "unauthorized"
//   - "error-unauthorized": the 403 for users without a username
//   - "error-too-many-requests": a 429 with a wait of one minute
//   - "E11000": a 400 with the text of the database for a duplicate _id
//
// For any other Code, login responds with status 401 and its own error format. None
// of these responses has rate limit headers.
//
// # Undocumented cases
//
// Rocket.Chat's documentation does not cover these cases. The fake server behaves as
// follows:
//
//   - im.create rejects unknown usernames in all generations. It ignores
//     duplicates. With excludeSelf, it needs at least two other users.
//   - If a caller without create-d calls im.create for an existing room, the
//     response has t, rid, and _id, but no usernames.
//   - im.create and login ignore the case of usernames, and login and users.info
//     that of email addresses. Everywhere else, the case of a username matters.
//   - Endpoints without a schema also accept a number or boolean in place of a
//     string. Before RocketChat7, chat.sendMessage does not.
//   - If the parameter latest of im.history is not a valid date, im.history returns
//     no messages. It ignores an invalid oldest. Before RocketChat4, it ignores the
//     value of inclusive: the parameter has an effect even if it is "false".
//   - The count of im.history is 20 by default before RocketChat4, and 50 since then.
//   - users.info without a user fails with invalid-filter in RocketChat3. In
//     RocketChatOld, it fails as for an unknown user.
//   - chat.sendMessage ignores a ts within one minute of the server's clock.
//   - A roomId or username that starts with "#" is rejected with invalid-channel.
//   - RocketChat3 can delete federated rooms, because it predates federation.
//   - A 401 from login has no success field in any generation.
//
// # Differences from real servers
//
//   - RocketChat7 and RocketChat8 are based on the source code of Rocket.Chat, not
//     on recorded responses.
//   - A login token expires at the exact time. Real servers accept it until they
//     delete expired tokens, every 10 minutes.
//   - A 401 or 403 is sent immediately. Real servers before 7.0 delay it by up to a
//     second.
//   - Each call counts once toward the rate limit. Old servers count a call to an
//     endpoint with an alias twice.
//   - Rate limits work in all generations. Some versions of 7.x do not apply them.
//   - In RocketChat4, im.close responds to an unknown room with "The user is not
//     subscribed to the room". Real servers before 6.4 respond differently.
//   - chat.sendMessage rejects any t except "e2e" since RocketChat4, and stores only
//     the fields of a message that its schema lists. It does not check attachments
//     and blocks before RocketChat7, and rejects all customFields since RocketChat4.
//   - Before RocketChat4, chat.sendMessage counts any text between two colons as one
//     character, even if it is not the name of an emoji.
//   - chat.postMessage posts only to one DM, and does not check a schema.
//   - The mentions and channels of a message are always empty, and it has no urls and
//     no md.
//   - chat.delete always removes the message, even if a thread has replies to it.
//   - im.history ignores unreads. im.messages sorts only by ts, and ignores query and
//     fields.
//   - im.list, unlike im.messages, accepts a count greater than 100.
//   - users.info ignores importId, freeSwitchExtension, includeUserRooms, and fields.
//   - The response to a path outside /api/v1/ is a 404 in plain text. Real servers
//     send their web application.
type RocketChat struct {
	// URL is the base URL of the server, such as "http://127.0.0.1:1234". It has
	// no trailing slash. The URL of an endpoint is URL + "/api/v1/" + its name.
	URL string

	server

	generation RocketChatGeneration

	stateMu      sync.Mutex                    // guards the fields below
	users        map[string]RocketChatUser     // by ID
	loginTokens  map[string]loginToken         // by value; does not include AuthTokens
	rooms        []*rocketChatRoom             // in order of creation
	messages     map[string]*rocketChatMessage // by ID, in all rooms
	deleted      []deletedMessage              // in order of deletion
	loginCount   int                           // for the next login token
	roomCount    int                           // for the next room ID
	messageCount int                           // for the next message ID

	loginExpiration time.Duration // see SetLoginExpiration; not positive means that tokens do not expire

	maxMessageSize int                                    // see SetMaxMessageSize
	prevent        func(roomID, userID, text string) bool // see PreventMessages; may be nil
	rewrite        func(text string) string               // see RewriteMessages; may be nil
}

// A RocketChatUser is a user of a [RocketChat] server. The user can call the API
// with AuthToken or with a token from login.
type RocketChatUser struct {
	ID       string // such as "rbAXPnMktTFbNpwtJ"
	Username string // such as "alice"; if empty, the ID
	Name     string // such as "Alice Liddell"; if empty, the Username
	Email    string

	Password string // if empty, login fails
	TOTP     string // two-factor code that login requires; if empty, login requires none

	AuthToken   string   // personal access token, which does not expire; if empty, the user must log in
	Admin       bool     // whether the user has the role admin
	Bot         bool     // whether the user has the role and the type bot
	Permissions []string // nil means the defaults for an admin, a bot, or a member; empty means none

	// Deactivated makes the user inactive. The user cannot log in and has no
	// tokens. Only users with the permission post-readonly can send messages to
	// the user's DM.
	Deactivated bool
}

// A RocketChatRoom is a channel, private group, or DM on a [RocketChat] server.
type RocketChatRoom struct {
	ID        string
	Type      string   // "c" for a channel, "p" for a private group, "d" for a DM; if empty, "c"
	Name      string   // channels and groups only
	Members   []string // user IDs; the room is open for all of them
	Federated bool     // im.delete fails with error-cannot-delete-federated-room
	ReadOnly  bool     // only users with the permission post-readonly can send messages
	Blocked   bool     // one member of the DM has blocked the other, so neither can send messages
	Muted     []string // IDs of users who cannot send messages
}

// NewRocketChat starts a fake Rocket.Chat server. Its users are an admin, a member,
// and [Alice] to [Heidi]. The constants of this package hold their IDs. The username
// of Alice is "alice", and so on. The server has no rooms. The caller should call
// Close when finished.
//
// NewRocketChat panics if it cannot listen on the loopback interface, or if an
// option applies only to Slack.
func NewRocketChat(opts ...Option) *RocketChat {
	c := newConfig(opts)
	if c.imRetired {
		panic("chatdmtest: NewRocketChat does not support the RetiredIM option; use NewSlack")
	}
	r := &RocketChat{
		generation:     cmp.Or(c.generation, RocketChat8),
		users:          make(map[string]RocketChatUser),
		loginTokens:    make(map[string]loginToken),
		messages:       make(map[string]*rocketChatMessage),
		maxMessageSize: defaultMaxMessageSize,

		loginExpiration: defaultLoginExpiration,
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

// AddUser adds a user. It replaces the user with the same ID and the user with
// the same Username, which it compares without regard to case. It does not change
// rooms. Tokens that login has issued for the ID stay valid, unless u is deactivated.
func (r *RocketChat) AddUser(u RocketChatUser) {
	u.Username = cmp.Or(u.Username, u.ID)
	u.Name = cmp.Or(u.Name, u.Username)
	u.Permissions = slices.Clone(u.Permissions)
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	if old, known := r.userByUsername(u.Username); known {
		delete(r.users, old.ID)
	}
	if u.Deactivated {
		r.revokeLoginTokens(u.ID)
	}
	r.users[u.ID] = u
}

// AddRoom adds a room, or replaces the room with the same ID and its messages.
// Members can include IDs that are not users of the server.
func (r *RocketChat) AddRoom(room RocketChatRoom) {
	room.Type = cmp.Or(room.Type, "c")
	added := newRocketChatRoom(room)
	for _, id := range added.Members {
		added.open[id] = true
	}
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	i := len(r.rooms)
	if old := r.roomByID(room.ID); old != nil {
		i = slices.Index(r.rooms, old)
		r.removeRoom(old)
	}
	r.rooms = slices.Insert(r.rooms, i, added)
}

// SetMaxMessageSize sets the maximum length of the text of a message. The default
// is 5000, as on real servers. Before RocketChat7, it applies only to
// chat.sendMessage.
func (r *RocketChat) SetMaxMessageSize(n int) {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.maxMessageSize = n
}

// PreventMessages makes the server call f for each message that a client sends. If
// f returns true, the server does not store the message, as if a Rocket.Chat app had
// prevented it. The response of chat.sendMessage is then the same as for a duplicate.
// If f is nil, the server stores all messages.
//
// The function f must not call methods of r.
func (r *RocketChat) PreventMessages(f func(roomID, userID, text string) bool) {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.prevent = f
}

// RewriteMessages makes the server store f(text) instead of the text of each new
// message, as a bad-words filter or a Rocket.Chat app does. If f is nil, the server
// stores the text itself.
//
// The function f must not call methods of r.
func (r *RocketChat) RewriteMessages(f func(text string) string) {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.rewrite = f
}

// DeleteMessage deletes the message with the given ID, as chat.delete does. It
// reports whether the message existed. Afterwards, a client can send a message with
// this ID again.
func (r *RocketChat) DeleteMessage(id string) bool {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	return r.deleteMessage(id)
}

// Messages returns the messages in a room, oldest first. It returns nil if the
// room has no messages or does not exist. Use it to check that a message was
// posted exactly once, even if a response was lost.
func (r *RocketChat) Messages(roomID string) []Message {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	var messages []Message
	if room := r.roomByID(roomID); room != nil {
		for _, m := range room.messages {
			messages = append(messages, m.exported())
		}
	}
	return messages
}
