package chatdmtest

import (
	"cmp"
	"slices"
	"sync"
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
	// Without it, the response is 403. im.open and im.close accept a roomId or a
	// username, as im.delete does. Unknown fields in a body are ignored.
	RocketChat3 RocketChatGeneration = "3.18-4.7"

	// RocketChat4 checks the bodies of im.create and im.delete against a schema.
	// Members with the permission delete-d can use im.delete. If the caller of
	// im.open or im.close is not a member of the room, the response is 403.
	// RocketChat4 behaves like version 6.14.
	RocketChat4 RocketChatGeneration = "4.8-6.x"

	// RocketChat7 has a different router: the response to a wrong HTTP method is
	// 404, and a 401 has a success field. RocketChat7 checks the body before the
	// token. It behaves like the last 7.x versions.
	RocketChat7 RocketChatGeneration = "7.x"

	// RocketChat8 checks the token before the body. It also checks the bodies of
	// im.open and im.close against a schema.
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
//   - GET im.list and im.history
//   - POST chat.postMessage with text, and with roomId or channel
//   - POST login and logout
//   - GET me
//
// Each im.* endpoint has the alias dm.*. A body is a JSON object or a form. The
// headers X-User-Id and X-Auth-Token identify the caller.
//
// RocketChat checks a request in this order:
//
//  1. faults
//  2. the path and the HTTP method
//  3. whether the body can be parsed, except in RocketChat7 and RocketChat8, which
//     treat a body that cannot be parsed as empty
//  4. the token
//  5. the rate limit
//  6. the schema of the body
//  7. the permissions and the values in the body
//
// RocketChat7 checks the schema before the token. RocketChat8 checks it before the
// rate limit. In both generations, requests that violate the schema do not count
// toward the rate limit.
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
// im.delete creates one and deletes it, with the same response.
//
// # Permissions
//
//   - create-d: use im.create
//   - delete-d: use im.delete
//   - view-room-administration: use im.delete for rooms of other users
//   - api-bypass-rate-limit: make calls that do not count toward the rate limit
//
// By default, members have create-d, and admins have all four.
//
// # Rate limits
//
// There are no rate limits until you call Limit. The default of a real server is 10
// calls per endpoint in 60 seconds. To imitate it, set the limit of each endpoint:
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
// These codes have a different status and no errorType:
//
//   - "unauthorized": the 401 of the generation
//   - "forbidden": a 403 with the text "unauthorized"
//   - "error-unauthorized": the 403 for users without a username
//   - "error-too-many-requests": a 429 with a wait of one minute
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
//   - Usernames are case-sensitive. Email addresses are not.
//   - Endpoints without a schema also accept a number or boolean in place of a string.
//   - A roomId or username that starts with "#" is rejected with invalid-channel.
//   - RocketChat3 can delete federated rooms, because it predates federation.
//   - A 401 from login has no success field in any generation.
//
// # Differences from real servers
//
//   - RocketChat7 and RocketChat8 are based on the source code of Rocket.Chat, not
//     on recorded responses.
//   - A 401 or 403 is sent immediately. Real servers before 7.0 delay it by up to a
//     second.
//   - Each call counts once toward the rate limit. Old servers count a call to an
//     endpoint with an alias twice.
//   - Rate limits work in all generations. Some versions of 7.x do not apply them.
//   - In RocketChat4, im.close responds to an unknown room with "The user is not
//     subscribed to the room". Real servers before 6.4 respond differently.
//   - chat.postMessage posts only text, and only to DMs.
//   - im.history supports only the parameters roomId and count.
//   - The response to a path outside /api/v1/ is a 404 in plain text. Real servers
//     send their web application.
type RocketChat struct {
	// URL is the base URL of the server, such as "http://127.0.0.1:1234". It has
	// no trailing slash. The URL of an endpoint is URL + "/api/v1/" + its name.
	URL string

	server

	generation RocketChatGeneration

	stateMu      sync.Mutex                // guards the fields below
	users        map[string]RocketChatUser // by ID
	loginTokens  map[string]string         // from token to user ID; does not include AuthTokens
	rooms        []*rocketChatRoom         // in order of creation
	loginCount   int                       // for the next login token
	roomCount    int                       // for the next room ID
	messageCount int                       // for the next message ID
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

	AuthToken   string   // login token or personal access token; if empty, the user must log in
	Admin       bool     // whether the user has the role admin
	Permissions []string // nil means the defaults for an admin or a member; empty means none
}

// A RocketChatRoom is a channel, private group, or DM on a [RocketChat] server.
type RocketChatRoom struct {
	ID        string
	Type      string   // "c" for a channel, "p" for a private group, "d" for a DM; if empty, "c"
	Name      string   // channels and groups only
	Members   []string // user IDs; the room is open for all of them
	Federated bool     // im.delete fails with error-cannot-delete-federated-room
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
		generation:  cmp.Or(c.generation, RocketChat8),
		users:       make(map[string]RocketChatUser),
		loginTokens: make(map[string]string),
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
// the same Username. It does not change rooms, and tokens that login has issued
// for the ID stay valid.
func (r *RocketChat) AddUser(u RocketChatUser) {
	u.Username = cmp.Or(u.Username, u.ID)
	u.Name = cmp.Or(u.Name, u.Username)
	u.Permissions = slices.Clone(u.Permissions)
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	if old, known := r.userByUsername(u.Username); known {
		delete(r.users, old.ID)
	}
	r.users[u.ID] = u
}

// AddRoom adds a room, or replaces the room with the same ID. Members can include
// IDs that are not users of the server.
func (r *RocketChat) AddRoom(room RocketChatRoom) {
	room.Type = cmp.Or(room.Type, "c")
	added := newRocketChatRoom(room)
	for _, id := range added.Members {
		added.open[id] = true
	}
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	if old := r.roomByID(room.ID); old != nil {
		r.rooms[slices.Index(r.rooms, old)] = added
	} else {
		r.rooms = append(r.rooms, added)
	}
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
			messages = append(messages, m.message())
		}
	}
	return messages
}
