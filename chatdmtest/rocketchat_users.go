package chatdmtest

import (
	"cmp"
	"strings"
)

func (r *RocketChat) me(req *rocketChatRequest) (any, *rocketChatError) {
	profile := req.caller.profile()
	profile.Success = true
	return profile, nil
}

func (u RocketChatUser) profile() rocketChatProfile {
	return rocketChatProfile{ID: u.ID, Username: u.Username, Name: u.Name, Emails: u.emails()}
}

func (u RocketChatUser) emails() []rocketChatEmail {
	if u.Email == "" {
		return nil
	}
	return []rocketChatEmail{{Address: u.Email}}
}

// roles returns the roles of the user, as on a new server.
func (u RocketChatUser) roles() []string {
	var roles []string
	if u.Admin {
		roles = append(roles, "admin")
	}
	if u.Bot {
		roles = append(roles, "bot")
	}
	if roles == nil {
		roles = []string{"user"}
	}
	return roles
}

// usersInfo returns the profile of a user. Only that user and callers with a
// permission see all of it.
func (r *RocketChat) usersInfo(req *rocketChatRequest) (any, *rocketChatError) {
	user, known, apiErr := r.userToShow(req)
	if apiErr != nil {
		return nil, apiErr
	}
	if !known {
		return nil, &rocketChatError{reason: "User not found."}
	}
	info := rocketChatUserInfo{
		ID:             user.ID,
		Username:       user.Username,
		Name:           user.Name,
		Type:           "user",
		Status:         "offline",
		Active:         !user.Deactivated,
		CanViewAllInfo: user.ID == req.caller.ID || req.caller.hasPermission("view-full-other-user-info"),
	}
	if user.Bot {
		info.Type = "bot"
	}
	if info.CanViewAllInfo {
		info.Roles, info.Emails = user.roles(), user.emails()
	}
	return rocketChatUserInfoResponse{User: info, Success: true}, nil
}

// userToShow returns the user whom the parameters of users.info name.
func (r *RocketChat) userToShow(req *rocketChatRequest) (u RocketChatUser, known bool, apiErr *rocketChatError) {
	value := cmp.Or(req.stringParam("userId"), req.stringParam("username"))
	email := req.stringParam("email")
	switch {
	case value != "":
		u, known = r.userByIDOrUsername(value)
	case r.generationAtLeast(RocketChat8) && email != "":
		u, known = r.findUser(func(u RocketChatUser) bool { return strings.EqualFold(u.Email, email) })
		known = known && (u.ID == req.caller.ID || req.caller.hasPermission("view-full-other-user-info"))
	case r.generationAtLeast(RocketChat7):
		apiErr = &rocketChatError{reason: "Invalid search query."}
	case r.generation == RocketChat3:
		apiErr = newRocketChatError("invalid-filter")
	}
	return u, known, apiErr
}
