package chatdmtest

import "strings"

func (r *RocketChat) imCreate(req *rocketChatRequest) (any, *rocketChatError) {
	excludeSelf, _ := coerceBool(req.params["excludeSelf"])
	var usernames []string
	switch _, hasUsername := req.params["username"]; {
	case hasUsername && (r.generationAtLeast(RocketChat4) || req.stringParam("username") != ""):
		usernames = []string{req.stringParam("username")}
	case !r.generationAtLeast(RocketChat4) && req.stringParam("usernames") == "":
		return nil, r.roomNotFoundError("im.create")
	default:
		for username := range strings.SplitSeq(req.stringParam("usernames"), ",") {
			usernames = append(usernames, strings.TrimSpace(username))
		}
	}
	room, apiErr := r.createDM(req.caller, usernames, excludeSelf)
	if apiErr != nil {
		return nil, apiErr
	}
	created := rocketChatCreatedRoom{Type: "d", RoomID: room.ID, ID: room.ID}
	if req.caller.hasPermission("create-d") {
		created.Usernames = r.usernames(room)
	}
	return rocketChatCreateResponse{Room: created, Success: true}, nil
}

// imDelete deletes a DM for all of its members.
func (r *RocketChat) imDelete(req *rocketChatRequest) (any, *rocketChatError) {
	canViewRooms := req.caller.hasPermission("view-room-administration")
	if !r.generationAtLeast(RocketChat4) && !canViewRooms {
		return nil, errForbidden
	}
	room, apiErr := r.dmFromParams(req)
	switch {
	case apiErr != nil:
		return nil, apiErr
	case !room.hasMember(req.caller.ID) && !canViewRooms:
		return nil, notAllowedError(nil)
	case room.Federated && r.generationAtLeast(RocketChat4):
		return nil, newRocketChatError("error-cannot-delete-federated-room")
	case !req.caller.hasPermission("delete-d"):
		return nil, notAllowedError(deleteDetails)
	}
	r.removeRoom(room)
	return rocketChatSuccessResponse{Success: true}, nil
}

func (r *RocketChat) imOpen(req *rocketChatRequest) (any, *rocketChatError) {
	if req.stringParam("roomId") == "" && r.generationAtLeast(RocketChat4) && !r.generationAtLeast(RocketChat8) {
		return nil, r.paramNotProvidedError()
	}
	room, apiErr := r.dmOfCaller(req, errForbidden)
	if apiErr != nil {
		return nil, apiErr
	}
	room.open[req.caller.ID] = true
	return rocketChatSuccessResponse{Success: true}, nil
}

// imClose hides a DM from the caller.
func (r *RocketChat) imClose(req *rocketChatRequest) (any, *rocketChatError) {
	if req.stringParam("roomId") == "" && r.generationAtLeast(RocketChat4) {
		return nil, r.paramNotProvidedError()
	}
	room, apiErr := r.dmOfCaller(req, errNotSubscribed)
	if apiErr != nil {
		return nil, apiErr
	}
	if !room.open[req.caller.ID] {
		roomName := ""
		if !r.generationAtLeast(RocketChat4) {
			roomName = " undefined," // old servers read a name that is not in the body
		}
		return nil, &rocketChatError{reason: "The direct message room," + roomName + " is already closed to the sender"}
	}
	room.open[req.caller.ID] = false
	return rocketChatSuccessResponse{Success: true}, nil
}

// imList lists the caller's open and closed DMs.
func (r *RocketChat) imList(req *rocketChatRequest) (any, *rocketChatError) {
	page := rocketChatListResponse{IMs: []rocketChatListedRoom{}, Offset: req.countParam("offset", 0), Success: true}
	count := req.countParam("count", 50)
	for _, room := range r.rooms {
		if !room.isDM() || !room.hasMember(req.caller.ID) {
			continue
		}
		page.Total++
		if page.Total > page.Offset && (count == 0 || len(page.IMs) < count) {
			page.IMs = append(page.IMs, rocketChatListedRoom{
				ID:           room.ID,
				Type:         room.Type,
				Usernames:    r.usernames(room),
				UsersCount:   len(room.Members),
				MessageCount: len(room.messages),
				Created:      rocketChatTime(room.created),
				UserIDs:      room.Members,
			})
		}
	}
	page.Count = len(page.IMs)
	return page, nil
}
