package chatdmtest

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// maxOtherUsers is the maximum number of users in a group DM besides the one who
// opens it.
const maxOtherUsers = 8

func (s *Slack) imOpen(req *slackRequest) slackResponse {
	user, ok := req.args["user"]
	if !ok {
		return missingArgumentError("user")
	}
	conv, code := s.directConversation(req, []string{user}, true)
	if code != "" {
		return slackResponse{Error: code}
	}
	return openConversation(req, conv)
}

func (s *Slack) imClose(req *slackRequest) slackResponse {
	id, ok := req.args["channel"]
	if !ok {
		return missingArgumentError("channel")
	}
	conv := s.conversationsByID[id]
	if conv == nil || conv.conversationType != dm {
		return slackResponse{Error: "channel_not_found"}
	}
	return closeConversation(req, conv)
}

func (s *Slack) conversationsOpen(req *slackRequest) slackResponse {
	id, ok := req.args["channel"]
	if id == "" && req.args["users"] != "" {
		return s.openWithUsers(req)
	}
	if !ok {
		return slackResponse{Error: "users_list_not_supplied"}
	}
	conv := s.visibleConversation(req, id)
	switch {
	case conv == nil:
		return slackResponse{Error: "channel_not_found"}
	case !conv.isDirect():
		return slackResponse{Error: "method_not_supported_for_channel_type"}
	}
	return openConversation(req, conv)
}

func (s *Slack) openWithUsers(req *slackRequest) slackResponse {
	others := req.otherUsers()
	switch {
	case len(others) == 0:
		return slackResponse{Error: "not_enough_users"}
	case len(others) > maxOtherUsers:
		return slackResponse{Error: "too_many_users"}
	}
	conv, code := s.directConversation(req, others, !req.boolArg("prevent_creation"))
	if code != "" {
		return slackResponse{Error: code}
	}
	return openConversation(req, conv)
}

// otherUsers returns the users argument as a list without duplicates. The list
// does not contain the caller, unless the caller is the only user in it.
func (req *slackRequest) otherUsers() []string {
	var users, others []string
	for id := range strings.SplitSeq(req.args["users"], ",") {
		id = strings.TrimSpace(id)
		if id == "" || slices.Contains(users, id) {
			continue
		}
		users = append(users, id)
		if id != req.caller.ID {
			others = append(others, id)
		}
	}
	if len(others) == 0 {
		return users
	}
	return others
}

// openConversation opens conv for the caller.
func openConversation(req *slackRequest, conv *conversation) slackResponse {
	noOp := !conv.setOpen(req.caller.ID, true) && conv.conversationType == dm
	resp := slackResponse{NoOp: noOp, AlreadyOpen: noOp, Channel: slackConversationID{conv.id}}
	if req.boolArg("return_im") {
		resp.Channel = conv.object(req.caller.ID)
	}
	if object, ok := resp.Channel.(slackDM); ok && req.method == "im.open" {
		resp.Channel = object.forIMOpen(req.boolArg("include_locale"))
	}
	return resp
}

func (s *Slack) conversationsClose(req *slackRequest) slackResponse {
	id, ok := req.args["channel"]
	if !ok {
		return missingArgumentError("channel")
	}
	conv := s.conversationsByID[id]
	if conv == nil || conv.conversationType == privateChannel && !conv.hasMember(req.caller.ID) {
		return slackResponse{Error: "channel_not_found"}
	}
	if !conv.isDirect() {
		return slackResponse{Error: "method_not_supported_for_channel_type"}
	}
	return closeConversation(req, conv)
}

// closeConversation closes conv for the caller.
func closeConversation(req *slackRequest, conv *conversation) slackResponse {
	if !conv.hasMember(req.caller.ID) {
		return slackResponse{Error: "user_does_not_own_channel"}
	}
	noOp := !conv.setOpen(req.caller.ID, false)
	return slackResponse{NoOp: noOp, AlreadyClosed: noOp}
}

func (s *Slack) conversationsList(req *slackRequest) slackResponse {
	types := req.conversationTypes()
	for _, t := range types {
		if _, known := scopesByType[t]; !known {
			return slackResponse{Error: "invalid_types"}
		}
	}
	limit, ok := req.limitArg(100, 1000)
	if !ok {
		return slackResponse{Error: "invalid_limit"}
	}
	remaining := s.conversations
	if cursor := req.args["cursor"]; cursor != "" {
		start := slices.Index(s.conversations, s.conversationsByID[decodeCursor(cursor)])
		if start < 0 {
			return slackResponse{Error: "invalid_cursor"}
		}
		remaining = s.conversations[start:]
	}

	resp := slackResponse{Channels: []any{}, Metadata: &slackMetadata{NextCursor: new("")}}
	pageSize := 0 // including archived conversations, which are filtered after the page is full
	for _, conv := range remaining {
		if !slices.Contains(types, conv.conversationType) || s.visibleConversation(req, conv.id) == nil {
			continue
		}
		if pageSize == limit {
			resp.Metadata.NextCursor = new(encodeCursor(conv.id))
			break
		}
		pageSize++
		if conv.archived && req.boolArg("exclude_archived") {
			continue
		}
		object := conv.object(req.caller.ID)
		if conv.conversationType == dm {
			object = conv.listedDM(req.caller.ID, s.users)
		}
		resp.Channels = append(resp.Channels, object)
	}
	return resp
}

// conversationTypes returns the types argument of conversations.list as a list.
// The list may contain unknown types.
func (req *slackRequest) conversationTypes() []conversationType {
	if req.args["types"] == "" {
		return []conversationType{publicChannel}
	}
	var types []conversationType
	for name := range strings.SplitSeq(req.args["types"], ",") {
		types = append(types, conversationType(strings.TrimSpace(name)))
	}
	return types
}

// A cursor contains the ID of the first conversation on the next page.
const cursorPrefix = "conversation:"

func encodeCursor(id string) string {
	return base64.StdEncoding.EncodeToString([]byte(cursorPrefix + id))
}

// decodeCursor returns the ID in a cursor, or "" if the cursor is invalid.
func decodeCursor(cursor string) string {
	text, err := base64.StdEncoding.DecodeString(cursor)
	id, ok := strings.CutPrefix(string(text), cursorPrefix)
	if err != nil || !ok {
		return ""
	}
	return id
}

func (s *Slack) authTest(req *slackRequest) slackResponse {
	identity := &slackIdentity{
		URL:    "https://chatdmtest.slack.com/",
		Team:   teamName,
		User:   req.caller.Name,
		TeamID: teamID,
		UserID: req.caller.ID,
	}
	if req.caller.Bot {
		identity.BotID = appObjectID("B", req.caller.ID)
	}
	return slackResponse{slackIdentity: identity}
}

func (s *Slack) apiTest(req *slackRequest) slackResponse {
	delete(req.args, "token")
	return slackResponse{Error: req.args["error"], Args: req.args}
}

// boolArg returns a boolean argument. A value that is not a boolean counts as false.
func (req *slackRequest) boolArg(name string) bool {
	value, err := strconv.ParseBool(req.args[name])
	return err == nil && value
}

// limitArg returns the limit argument. It returns false if the limit is not a number
// from 1 to maxLimit.
func (req *slackRequest) limitArg(defaultLimit, maxLimit int) (limit int, ok bool) {
	text := req.args["limit"]
	if text == "" {
		return defaultLimit, true
	}
	limit, err := strconv.Atoi(text)
	return limit, err == nil && 1 <= limit && limit <= maxLimit
}
