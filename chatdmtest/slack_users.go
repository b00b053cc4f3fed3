package chatdmtest

import (
	"maps"
	"slices"
	"strings"
	"time"
)

func (s *Slack) usersInfo(req *slackRequest) slackResponse {
	id, ok := req.args["user"]
	if !ok {
		return missingArgumentError("user")
	}
	user, known := s.users[id]
	switch {
	case !known:
		return slackResponse{Error: "user_not_found"}
	case user.Hidden && id != req.caller.ID:
		return slackResponse{Error: "user_not_visible"}
	}
	return userResponse(req, user)
}

func (s *Slack) usersLookupByEmail(req *slackRequest) slackResponse {
	email, ok := req.args["email"]
	if !ok {
		return missingArgumentError("email")
	}
	for _, id := range slices.Sorted(maps.Keys(s.users)) {
		user := s.users[id]
		visible := !user.Disabled && (!user.Hidden || id == req.caller.ID)
		if visible && user.Email != "" && strings.EqualFold(user.Email, email) {
			return userResponse(req, user)
		}
	}
	return slackResponse{Error: "users_not_found"}
}

// userResponse returns the response that contains u as the caller sees it.
func userResponse(req *slackRequest, u User) slackResponse {
	object := slackUser{
		ID:      u.ID,
		TeamID:  teamID,
		Name:    u.Name,
		Deleted: u.Disabled,
		Profile: slackProfile{
			RealName:              u.RealName,
			RealNameNormalized:    u.RealName,
			DisplayName:           u.DisplayName,
			DisplayNameNormalized: u.DisplayName,
			Team:                  teamID,
		},
		IsBot:      u.Bot,
		IsStranger: u.Stranger,
	}
	if req.token.missingScopes([]string{emailScope}) == nil {
		object.Profile.Email = u.Email
	}
	if u.Bot {
		object.Profile.BotID, object.Profile.APIAppID = appObjectID("B", u.ID), appObjectID("A", u.ID)
	}
	if !u.Disabled {
		object.RealName, object.TZ, object.TZOffset = u.RealName, u.TZ, new(zoneOffset(u.TZ))
		object.IsRestricted, object.IsUltraRestricted = new(u.Restricted || u.UltraRestricted), new(u.UltraRestricted)
	}
	if req.boolArg("include_locale") {
		object.Locale = "en-US"
	}
	return slackResponse{slackIdentity: &slackIdentity{User: object}}
}

// zoneOffset returns the current offset of a time zone in seconds, or 0 if the time zone
// is unknown.
func zoneOffset(name string) int {
	location, err := time.LoadLocation(name)
	if err != nil {
		return 0
	}
	_, offset := time.Now().In(location).Zone()
	return offset
}
