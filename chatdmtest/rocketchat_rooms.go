package chatdmtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// rocketChatRoom is a room with its state. Its Members are sorted.
type rocketChatRoom struct {
	RocketChatRoom
	open     map[string]bool // by user ID of the member
	created  time.Time
	messages []*rocketChatMessage // oldest first
}

func newRocketChatRoom(room RocketChatRoom) *rocketChatRoom {
	room.Members = slices.Sorted(slices.Values(room.Members))
	room.Muted = slices.Clone(room.Muted)
	return &rocketChatRoom{RocketChatRoom: room, open: make(map[string]bool), created: time.Now()}
}

func (room *rocketChatRoom) isDM() bool { return room.Type == "d" }

func (room *rocketChatRoom) hasMember(userID string) bool {
	return slices.Contains(room.Members, userID)
}

// findRoom returns the first room for which match reports true, or nil.
func (r *RocketChat) findRoom(match func(*rocketChatRoom) bool) *rocketChatRoom {
	if i := slices.IndexFunc(r.rooms, match); i >= 0 {
		return r.rooms[i]
	}
	return nil
}

func (r *RocketChat) roomByID(id string) *rocketChatRoom {
	return r.findRoom(func(room *rocketChatRoom) bool { return room.ID == id })
}

// dmWithMembers returns the DM whose members are exactly the given users, or nil.
// The user IDs must be sorted.
func (r *RocketChat) dmWithMembers(members []string) *rocketChatRoom {
	return r.findRoom(func(room *rocketChatRoom) bool { return room.isDM() && slices.Equal(room.Members, members) })
}

// findUser returns a user for whom match reports true.
func (r *RocketChat) findUser(match func(RocketChatUser) bool) (u RocketChatUser, known bool) {
	for _, u := range r.users {
		if match(u) {
			return u, true
		}
	}
	return RocketChatUser{}, false
}

func (r *RocketChat) userByUsername(username string) (u RocketChatUser, known bool) {
	return r.findUser(func(u RocketChatUser) bool { return strings.EqualFold(u.Username, username) })
}

// userByIDOrUsername returns the user with an ID or a username, which must have the
// same case.
func (r *RocketChat) userByIDOrUsername(value string) (u RocketChatUser, known bool) {
	if u, known := r.users[value]; known {
		return u, true
	}
	return r.findUser(func(u RocketChatUser) bool { return u.Username == value })
}

// createDM returns the DM of the given users and, unless excludeSelf is set, the
// caller. It creates the DM if it does not exist, and opens it for the caller.
func (r *RocketChat) createDM(caller RocketChatUser, usernames []string, excludeSelf bool) (*rocketChatRoom, *rocketChatError) {
	var members []string
	if !excludeSelf {
		members = append(members, caller.ID)
	}
	for _, username := range usernames {
		user, known := r.userByUsername(username)
		switch {
		case !known:
			return nil, newRocketChatError("error-invalid-user")
		case user.ID != caller.ID && !slices.Contains(members, user.ID):
			members = append(members, user.ID)
		}
	}
	if excludeSelf && len(members) < 2 {
		return nil, newRocketChatError("error-invalid-user")
	}
	slices.Sort(members)

	room := r.dmWithMembers(members)
	if !caller.hasPermission("create-d") {
		if room == nil {
			return nil, notAllowedError(createDetails)
		}
		return room, nil
	}
	if len(members) > maxDMMembers {
		return nil, newRocketChatError("error-direct-message-max-user-exceeded")
	}
	if room == nil {
		room = newRocketChatRoom(RocketChatRoom{ID: r.newDMID(members), Type: "d", Members: members})
		for _, id := range members {
			room.open[id] = len(members) > 2
		}
		r.rooms = append(r.rooms, room)
	}
	if room.hasMember(caller.ID) {
		room.open[caller.ID] = true
	}
	return room, nil
}

// newDMID returns the ID for a new DM. The ID for two users consists of their IDs.
// On real servers, other IDs are 17 random letters and digits.
func (r *RocketChat) newDMID(members []string) string {
	if len(members) == 2 {
		return strings.Join(members, "")
	}
	for {
		r.roomCount++
		if id := fmt.Sprintf("chatdmtestDM%05d", r.roomCount); r.roomByID(id) == nil {
			return id
		}
	}
}

// usernames returns the usernames of a room's members, sorted by Name.
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
	usernames := make([]string, len(users))
	for i, user := range users {
		usernames[i] = user.Username
	}
	return usernames
}

// findOrCreateDM returns the DM for the value of roomId or username. As on real
// servers, the value can be the ID of a user, a username, or the ID of a DM, in
// this order. If the value names a user, findOrCreateDM creates the DM if necessary.
func (r *RocketChat) findOrCreateDM(caller RocketChatUser, value string) (*rocketChatRoom, *rocketChatError) {
	if strings.HasPrefix(value, "#") { // the name of a channel
		return nil, newRocketChatError("invalid-channel")
	}
	value = strings.TrimPrefix(value, "@")
	if user, known := r.userByIDOrUsername(value); known {
		members := slices.Compact(slices.Sorted(slices.Values([]string{caller.ID, user.ID})))
		if room := r.dmWithMembers(members); room != nil {
			return room, nil
		}
		return r.createDM(caller, []string{user.Username}, false)
	}
	room := r.roomByID(value)
	if room == nil || !room.isDM() {
		return nil, newRocketChatError("invalid-channel")
	}
	return room, nil
}

// removeRoom removes a room and its messages.
func (r *RocketChat) removeRoom(room *rocketChatRoom) {
	r.rooms = slices.DeleteFunc(r.rooms, func(other *rocketChatRoom) bool { return other == room })
	for _, m := range room.messages {
		delete(r.messages, m.ID)
	}
}

// dmFromParams returns the DM that roomId or username names. im.delete uses it in
// all generations, other endpoints only before RocketChat4.
func (r *RocketChat) dmFromParams(req *rocketChatRequest) (*rocketChatRoom, *rocketChatError) {
	roomID, username := req.stringParam("roomId"), req.stringParam("username")
	if r.generationAtLeast(RocketChat4) { // the schema requires one of them
		return r.findOrCreateDM(req.caller, cmp.Or(roomID, username))
	}
	value := cmp.Or(strings.TrimSpace(username), strings.TrimSpace(roomID))
	if value == "" {
		return nil, r.paramNotProvidedError()
	}
	return r.findOrCreateDM(req.caller, value)
}

// dmToRead returns the DM for im.history or im.messages, or an error if the caller
// is not a member of it.
func (r *RocketChat) dmToRead(req *rocketChatRequest) (*rocketChatRoom, *rocketChatError) {
	if !r.generationAtLeast(RocketChat4) {
		return r.dmOfCaller(req, nil)
	}
	room, apiErr := r.dmFromParams(req)
	if apiErr == nil && !room.hasMember(req.caller.ID) {
		apiErr = errForbidden
	}
	return room, apiErr
}

// dmOfCaller returns the DM for im.open or im.close, or an error if the caller is not
// a member of it. Since RocketChat4, the error for an unknown room depends on the
// endpoint.
func (r *RocketChat) dmOfCaller(req *rocketChatRequest, unknownRoomError *rocketChatError) (*rocketChatRoom, *rocketChatError) {
	if !r.generationAtLeast(RocketChat4) {
		room, apiErr := r.dmFromParams(req)
		if apiErr == nil && !room.hasMember(req.caller.ID) {
			apiErr = r.roomNotFoundError("")
		}
		return room, apiErr
	}
	room := r.roomByID(req.stringParam("roomId"))
	switch {
	case room == nil:
		return nil, unknownRoomError
	case !room.hasMember(req.caller.ID):
		return nil, errForbidden
	case !room.isDM():
		return nil, newRocketChatError("invalid-channel")
	}
	return room, nil
}
