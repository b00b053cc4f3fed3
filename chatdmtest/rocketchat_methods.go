package chatdmtest

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// rocketChatRoom is a room and what its members have made of it.
type rocketChatRoom struct {
	RocketChatRoom
	open    map[string]bool // by member
	created time.Time
	posted  []rocketChatMessage
}

func newRocketChatRoom(room RocketChatRoom) *rocketChatRoom {
	room.Members = slices.Sorted(slices.Values(room.Members))
	return &rocketChatRoom{RocketChatRoom: room, open: make(map[string]bool), created: time.Now()}
}

func (v *rocketChatRoom) has(user string) bool { return slices.Contains(v.Members, user) }

// room finds a room by its id.
func (r *RocketChat) room(id string) *rocketChatRoom {
	return r.findRoom(func(v *rocketChatRoom) bool { return v.ID == id })
}

// direct finds the direct message of a sorted set of users.
func (r *RocketChat) direct(members []string) *rocketChatRoom {
	return r.findRoom(func(v *rocketChatRoom) bool { return v.Type == "d" && slices.Equal(v.Members, members) })
}

func (r *RocketChat) findRoom(match func(*rocketChatRoom) bool) *rocketChatRoom {
	if i := slices.IndexFunc(r.rooms, match); i >= 0 {
		return r.rooms[i]
	}
	return nil
}

func (r *RocketChat) userNamed(name string) (u RocketChatUser, known bool) {
	return r.findUser(func(u RocketChatUser) bool { return u.Username == name })
}

func (r *RocketChat) findUser(match func(RocketChatUser) bool) (u RocketChatUser, known bool) {
	for _, u := range r.users {
		if match(u) {
			return u, true
		}
	}
	return RocketChatUser{}, false
}

// text is a parameter, or "" where there is none that is a text.
func (c *rocketChatCall) text(name string) string {
	text, _ := asText(c.params[name])
	return text
}

// createDirect finds the direct message of the caller with others, or creates it,
// and opens it for the caller.
func (r *RocketChat) createDirect(c *rocketChatCall, usernames []string, excludeSelf bool) (*rocketChatRoom, *rocketChatError) {
	var members []string
	if !excludeSelf {
		members = append(members, c.caller.ID)
	}
	for _, name := range usernames {
		user, known := r.userNamed(name)
		switch {
		case !known:
			return nil, documented("error-invalid-user")
		case user.ID != c.caller.ID && !slices.Contains(members, user.ID):
			members = append(members, user.ID)
		}
	}
	if excludeSelf && len(members) < 2 {
		return nil, documented("error-invalid-user")
	}
	slices.Sort(members)

	room := r.direct(members)
	if !c.caller.can("create-d") {
		if room == nil {
			return nil, notAllowed(inCreate)
		}
		return room, nil
	}
	if len(members) > maxDirect {
		return nil, documented("error-direct-message-max-user-exceeded")
	}
	if room == nil {
		room = newRocketChatRoom(RocketChatRoom{ID: r.directID(members), Type: "d", Members: members})
		for _, id := range members {
			room.open[id] = len(members) > 2
		}
		r.rooms = append(r.rooms, room)
	}
	if room.has(c.caller.ID) {
		room.open[c.caller.ID] = true
	}
	return room, nil
}

// directID makes the id of a direct message. Servers draw those that are not for
// two users at random, of 17 letters and digits.
func (r *RocketChat) directID(members []string) string {
	if len(members) == 2 {
		return strings.Join(members, "")
	}
	for {
		r.created++
		if id := fmt.Sprintf("chatdmtestDM%05d", r.created); r.room(id) == nil {
			return id
		}
	}
}

// usernames are those of a room's members, ordered by their names.
func (r *RocketChat) usernames(room *rocketChatRoom) []string {
	var users []RocketChatUser
	for _, id := range room.Members {
		if user, known := r.users[id]; known {
			users = append(users, user)
		}
	}
	slices.SortFunc(users, func(a, b RocketChatUser) int {
		return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	names := make([]string, len(users))
	for i, user := range users {
		names[i] = user.Username
	}
	return names
}

// find is how servers read a roomId or username: as a user, then as a room.
func (r *RocketChat) find(c *rocketChatCall, value string) (*rocketChatRoom, *rocketChatError) {
	if strings.HasPrefix(value, "#") { // the name of a channel
		return nil, documented("invalid-channel")
	}
	value = strings.TrimPrefix(value, "@")
	user, known := r.users[value]
	if !known {
		user, known = r.userNamed(value)
	}
	if known {
		members := slices.Compact(slices.Sorted(slices.Values([]string{c.caller.ID, user.ID})))
		if room := r.direct(members); room != nil {
			return room, nil
		}
		return r.createDirect(c, []string{user.Username}, false)
	}
	room := r.room(value)
	if room == nil || room.Type != "d" {
		return nil, documented("invalid-channel")
	}
	return room, nil
}

// target is the room that a call names by roomId or username, as one may in
// im.delete and, in RocketChat3, in im.open and im.close.
func (r *RocketChat) target(c *rocketChatCall) (*rocketChatRoom, *rocketChatError) {
	roomID, username := c.text("roomId"), c.text("username")
	if r.since(RocketChat4) { // the schema has seen to it that there is one
		return r.find(c, cmp.Or(roomID, username))
	}
	value := cmp.Or(strings.TrimSpace(username), strings.TrimSpace(roomID))
	if value == "" {
		return nil, r.paramNotProvided()
	}
	return r.find(c, value)
}

func (r *RocketChat) imCreate(c *rocketChatCall) (any, *rocketChatError) {
	excludeSelf, _ := asFlag(c.params["excludeSelf"])
	var usernames []string
	switch _, one := c.params["username"]; {
	case one && (r.since(RocketChat4) || c.text("username") != ""):
		usernames = []string{c.text("username")}
	case !r.since(RocketChat4) && c.text("usernames") == "":
		return nil, r.roomNotFound("im.create")
	default:
		for name := range strings.SplitSeq(c.text("usernames"), ",") {
			usernames = append(usernames, strings.TrimSpace(name))
		}
	}
	room, refused := r.createDirect(c, usernames, excludeSelf)
	if refused != nil {
		return nil, refused
	}
	ref := rocketChatRef{T: "d", RID: room.ID, ID: room.ID}
	if c.caller.can("create-d") {
		ref.Usernames = r.usernames(room)
	}
	return rocketChatCreated{Room: ref, Success: true}, nil
}

// imDelete deletes a direct message for all of its members.
func (r *RocketChat) imDelete(c *rocketChatCall) (any, *rocketChatError) {
	administrates := c.caller.can("view-room-administration")
	if !r.since(RocketChat4) && !administrates {
		return nil, forbidden
	}
	room, refused := r.target(c)
	switch {
	case refused != nil:
		return nil, refused
	case !room.has(c.caller.ID) && !administrates:
		return nil, notAllowed(nil)
	case room.Federated && r.since(RocketChat4):
		return nil, documented("error-cannot-delete-federated-room")
	case !c.caller.can("delete-d"):
		return nil, notAllowed(inErase)
	}
	r.rooms = slices.DeleteFunc(r.rooms, func(v *rocketChatRoom) bool { return v == room })
	return rocketChatOK{Success: true}, nil
}

func (r *RocketChat) imOpen(c *rocketChatCall) (any, *rocketChatError) {
	if c.text("roomId") == "" && r.since(RocketChat4) && !r.since(RocketChat8) {
		return nil, r.paramNotProvided()
	}
	room, refused := r.accessible(c, forbidden)
	if refused != nil {
		return nil, refused
	}
	room.open[c.caller.ID] = true
	return rocketChatOK{Success: true}, nil
}

// imClose hides a direct message from the caller.
func (r *RocketChat) imClose(c *rocketChatCall) (any, *rocketChatError) {
	if c.text("roomId") == "" && r.since(RocketChat4) {
		return nil, r.paramNotProvided()
	}
	room, refused := r.accessible(c, &rocketChatError{reason: "The user is not subscribed to the room"})
	if refused != nil {
		return nil, refused
	}
	if !room.open[c.caller.ID] {
		name := "" // of the room, which older servers expect in the body
		if !r.since(RocketChat4) {
			name = " undefined,"
		}
		return nil, &rocketChatError{reason: "The direct message room," + name + " is already closed to the sender"}
	}
	room.open[c.caller.ID] = false
	return rocketChatOK{Success: true}, nil
}

// accessible is the direct message that the caller wants to open or close. Since
// RocketChat4, the endpoints differ in what they say where there is no room.
func (r *RocketChat) accessible(c *rocketChatCall, noRoom *rocketChatError) (*rocketChatRoom, *rocketChatError) {
	if !r.since(RocketChat4) {
		room, refused := r.target(c)
		if refused == nil && !room.has(c.caller.ID) {
			refused = r.roomNotFound("")
		}
		return room, refused
	}
	room := r.room(c.text("roomId"))
	switch {
	case room == nil:
		return nil, noRoom
	case !room.has(c.caller.ID):
		return nil, forbidden
	case room.Type != "d":
		return nil, documented("invalid-channel")
	}
	return room, nil
}

// postMessage posts to a room by its id, or to "@username".
func (r *RocketChat) postMessage(c *rocketChatCall) (any, *rocketChatError) {
	room, refused := r.find(c, cmp.Or(c.text("roomId"), c.text("channel")))
	if refused != nil {
		return nil, refused
	}
	if !room.has(c.caller.ID) {
		return nil, &rocketChatError{code: "error-not-allowed", reason: "Not allowed"}
	}
	r.messages++
	now := time.Now().UTC()
	m := rocketChatMessage{
		ID: fmt.Sprintf("chatdmtestMsg%04d", r.messages), RID: room.ID, Msg: c.text("text"),
		TS: now.Format("2006-01-02T15:04:05.000Z"), U: rocketChatAuthor{c.caller.ID, c.caller.Username},
	}
	room.posted = append(room.posted, m)
	for _, member := range room.Members {
		room.open[member] = true
	}
	return rocketChatPosted{TS: now.UnixMilli(), Channel: room.ID, Message: m, Success: true}, nil
}

// imHistory gives the newest messages of a direct message.
func (r *RocketChat) imHistory(c *rocketChatCall) (any, *rocketChatError) {
	query := c.http.URL.Query()
	room := r.room(query.Get("roomId"))
	if room == nil || room.Type != "d" || !room.has(c.caller.ID) {
		return nil, documented("invalid-channel")
	}
	page := rocketChatHistory{Messages: []rocketChatMessage{}, Success: true}
	for _, m := range slices.Backward(room.posted) {
		if len(page.Messages) < number(query, "count", 20) {
			page.Messages = append(page.Messages, m)
		}
	}
	return page, nil
}

// imList lists the caller's direct messages, open and closed.
func (r *RocketChat) imList(c *rocketChatCall) (any, *rocketChatError) {
	page := rocketChatPage{IMs: []rocketChatIM{}, Success: true}
	query := c.http.URL.Query()
	page.Offset = number(query, "offset", 0)
	count := number(query, "count", 50)
	for _, room := range r.rooms {
		if room.Type != "d" || !room.has(c.caller.ID) {
			continue
		}
		page.Total++
		if page.Total > page.Offset && (count == 0 || len(page.IMs) < count) {
			page.IMs = append(page.IMs, rocketChatIM{
				ID:         room.ID,
				T:          room.Type,
				Usernames:  r.usernames(room),
				UsersCount: len(room.Members),
				Created:    room.created.UTC().Format("2006-01-02T15:04:05.000Z"),
				UIDs:       room.Members,
			})
		}
	}
	page.Count = len(page.IMs)
	return page, nil
}

// number reads a number in a query that is not negative.
func number(query url.Values, name string, otherwise int) int {
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < 0 {
		return otherwise
	}
	return n
}

func (r *RocketChat) me(c *rocketChatCall) (any, *rocketChatError) {
	me := c.caller.me()
	me.Success = true
	return me, nil
}

func (u RocketChatUser) me() rocketChatMe {
	me := rocketChatMe{ID: u.ID, Username: u.Username, Name: u.Name}
	if u.Email != "" {
		me.Emails = []rocketChatEmail{{Address: u.Email}}
	}
	return me
}

// Errors of login that come from the accounts package of the framework.
var (
	unrecognizedLogin = &rocketChatError{code: "400", reason: "Unrecognized options for login request"}
	unknownLogin      = &rocketChatError{code: "Unauthorized", reason: "Unauthorized"}
	noPassword        = &rocketChatError{code: "403", reason: "User has no password set"}
	wrongPassword     = &rocketChatError{code: "403", reason: "Incorrect password"}
	endedLogin        = &rocketChatError{code: "403", reason: "You've been logged out by the server. Please log in again."}
)

func (r *RocketChat) login(c *rocketChatCall) (any, *rocketChatError) {
	if token, resume := c.params["resume"].(string); resume {
		user, known := r.findUser(func(u RocketChatUser) bool { return r.holds(u, token) })
		if !known {
			return nil, endedLogin
		}
		return r.session(user, token), nil
	}

	selects := loginSelector(c.params)
	password, given := c.params["password"]
	if selects == nil || !given || password == nil {
		return nil, unrecognizedLogin
	}
	user, known := r.findUser(selects)
	switch {
	case !known:
		return nil, unknownLogin
	case user.Password == "":
		return nil, noPassword
	case password != user.Password:
		return nil, wrongPassword
	}
	if user.TOTP != "" {
		code := cmp.Or(c.text("code"), c.http.Header.Get("X-2fa-Code"))
		switch {
		case code == "":
			return nil, documented("totp-required")
		case code != user.TOTP:
			return nil, documented("totp-invalid")
		}
	}
	r.logins++
	token := fmt.Sprintf("chatdmtest-login-%d", r.logins)
	r.tokens[token] = user.ID
	return r.session(user, token), nil
}

// loginSelector tells who wants to log in: by user, which is a username, an email
// or an object of either, by username or by email. It is nil where nobody is named,
// and where there are parameters that a login by password does not have.
func loginSelector(params map[string]any) func(RocketChatUser) bool {
	for name := range params {
		if !slices.Contains([]string{"user", "username", "email", "password", "code"}, name) {
			return nil
		}
	}
	named := params
	switch user := params["user"].(type) {
	case string:
		named = map[string]any{"username": user}
		if strings.Contains(user, "@") {
			named = map[string]any{"email": user}
		}
	case map[string]any:
		named = user
	}
	username, byUsername := named["username"].(string)
	email, byEmail := named["email"].(string)
	switch {
	case byUsername:
		return func(u RocketChatUser) bool { return u.Username == username }
	case byEmail:
		return func(u RocketChatUser) bool { return u.Email != "" && strings.EqualFold(u.Email, email) }
	}
	return nil
}

func (r *RocketChat) session(u RocketChatUser, token string) rocketChatData {
	return rocketChatData{
		Status:  "success",
		Data:    rocketChatSession{UserID: u.ID, AuthToken: token, Me: u.me()},
		Success: r.since(RocketChat7),
	}
}

// logout ends the life of the token that the call came with.
func (r *RocketChat) logout(c *rocketChatCall) (any, *rocketChatError) {
	token := c.http.Header.Get("X-Auth-Token")
	delete(r.tokens, token)
	if user := c.caller; user.AuthToken == token {
		user.AuthToken = ""
		r.users[user.ID] = user
	}
	return rocketChatData{
		Status:  "success",
		Data:    rocketChatNote{Message: "You've been logged out!"},
		Success: r.since(RocketChat7),
	}, nil
}
