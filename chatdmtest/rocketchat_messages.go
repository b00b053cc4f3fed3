package chatdmtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// defaultMaxMessageSize is the maximum length of a text on a new server.
const defaultMaxMessageSize = 5000

// maxPageSize is the maximum value of the parameter count on a new server.
const maxPageSize = 100

// deletedMessage is a message that was deleted from a room that still exists.
type deletedMessage struct {
	id, roomID string
	deleted    time.Time
}

// store adds a message to a room and opens the room for all members. It sets the
// message's room, author, and times, and its ID unless there is one.
func (r *RocketChat) store(room *rocketChatRoom, author RocketChatUser, m *rocketChatMessage) {
	for m.ID == "" {
		r.messageCount++
		if id := fmt.Sprintf("chatdmtestMsg%04d", r.messageCount); r.messages[id] == nil {
			m.ID = id
		}
	}
	if r.rewrite != nil {
		m.Text = r.rewrite(m.Text)
	}
	m.RoomID = room.ID
	m.User = rocketChatAuthor{ID: author.ID, Username: author.Username, Name: author.Name}
	m.Mentions, m.Channels = []string{}, []string{}
	m.posted = time.Now()
	m.Timestamp = rocketChatTime(m.posted)
	m.UpdatedAt = m.Timestamp
	r.messages[m.ID] = m
	room.messages = append(room.messages, m)
	for _, member := range room.Members {
		room.open[member] = true
	}
}

// deleteMessage deletes a message, and reports whether it existed.
func (r *RocketChat) deleteMessage(id string) bool {
	m := r.messages[id]
	if m == nil {
		return false
	}
	delete(r.messages, id)
	room := r.roomByID(m.RoomID)
	room.messages = slices.DeleteFunc(room.messages, func(other *rocketChatMessage) bool { return other == m })
	r.deleted = append(r.deleted, deletedMessage{id: id, roomID: room.ID, deleted: time.Now()})
	return true
}

// canRead reports whether a user can read a room. All users can read channels.
func (room *rocketChatRoom) canRead(userID string) bool {
	return room.Type == "c" || room.hasMember(userID)
}

// sendError returns the error for a user who cannot send messages to a room, or nil.
func (r *RocketChat) sendError(room *rocketChatRoom, sender RocketChatUser) *rocketChatError {
	switch {
	case room == nil:
		return errUnknownRoom
	case !room.canRead(sender.ID):
		return errNoRoomAccess
	case room.Blocked:
		return errRoomBlocked
	case r.isReadOnly(room) && !sender.hasPermission("post-readonly"):
		return errRoomReadOnly
	case slices.Contains(room.Muted, sender.ID):
		return errMuted
	}
	return nil
}

// isReadOnly reports whether a room is read-only. A DM of two users is read-only if
// one of them is deactivated.
func (r *RocketChat) isReadOnly(room *rocketChatRoom) bool {
	deactivated := func(id string) bool { return r.users[id].Deactivated }
	return room.ReadOnly || room.isDM() && len(room.Members) == 2 && slices.ContainsFunc(room.Members, deactivated)
}

// newMessage returns the message that the parameters describe, without its text.
func newMessage(params rocketChatParams) *rocketChatMessage {
	threadShown, _ := coerceBool(params["tshow"])
	return &rocketChatMessage{
		ThreadID:     params.text("tmid"),
		ThreadShown:  threadShown,
		Alias:        params.text("alias"),
		Emoji:        params.text("emoji"),
		Avatar:       params.text("avatar"),
		Attachments:  params["attachments"],
		Blocks:       params["blocks"],
		CustomFields: params["customFields"],
	}
}

// contentError returns the error for a message that the sender cannot send to any
// room, or nil.
func (r *RocketChat) contentError(m *rocketChatMessage, sender RocketChatUser) *rocketChatError {
	switch {
	case (m.Alias != "" || m.Avatar != "") && !sender.hasPermission("message-impersonate"):
		return errNoImpersonation
	case m.CustomFields != nil && r.generationAtLeast(RocketChat4):
		return errNoCustomFields
	}
	return nil
}

// chatSendMessage stores a message, unless its ID is already in use.
func (r *RocketChat) chatSendMessage(req *rocketChatRequest) (any, *rocketChatError) {
	switch req.params["message"] {
	case nil, "", false, 0.0:
		return nil, &rocketChatError{code: "error-invalid-params", reason: `The "message" parameter must be provided.`}
	}
	object, _ := req.params["message"].(map[string]any)
	params := rocketChatParams(object)
	m := newMessage(params)
	m.ID, m.Text = params.text("_id"), params.text("msg")
	if r.generationAtLeast(RocketChat8) {
		m.Text = strings.ReplaceAll(m.Text, "\x00", "")
	}
	if apiErr := r.checkBeforeRoom(params, m); apiErr != nil {
		return nil, apiErr
	}

	roomID := params["rid"]
	if m.ThreadID != "" {
		parent := r.messages[m.ThreadID]
		switch {
		case parent == nil && !r.generationAtLeast(RocketChat4):
			return nil, &rocketChatError{reason: "Cannot read property 'tmid' of undefined"}
		case parent != nil: // a reply to a reply belongs to the same thread
			m.ThreadID, roomID = cmp.Or(parent.ThreadID, m.ThreadID), parent.RoomID
		}
	}
	switch roomID {
	case nil, "", false, 0.0:
		return nil, errNoRoomID
	}
	if !r.generationAtLeast(RocketChat7) {
		if _, ok := roomID.(string); !ok {
			return nil, matchError(roomID, "")
		}
	}
	id, _ := coerceString(roomID)
	room := r.roomByID(id)
	if apiErr := r.sendError(room, req.caller); apiErr != nil {
		return nil, apiErr
	}
	if !r.generationAtLeast(RocketChat7) {
		for _, name := range []string{"_id", "msg", "alias", "emoji", "tmid"} {
			if _, ok := params[name].(string); !ok && params[name] != nil {
				return nil, matchError(params[name], name)
			}
		}
	}
	if apiErr := r.contentError(m, req.caller); apiErr != nil {
		return nil, apiErr
	}
	if r.prevents(room, req.caller, m) || r.messages[m.ID] != nil {
		return nil, r.undefinedMessageError()
	}
	r.store(room, req.caller, m)
	return rocketChatMessageResponse{Message: m, Success: true}, nil
}

// checkBeforeRoom makes the checks of chat.sendMessage that come before those of
// the room.
func (r *RocketChat) checkBeforeRoom(params rocketChatParams, m *rocketChatMessage) *rocketChatError {
	messageType := params.text("t")
	switch {
	case r.generationAtLeast(RocketChat4) && messageType != "" && messageType != "e2e":
		return errSystemMessage
	case m.ThreadShown && m.ThreadID == "":
		return &rocketChatError{code: "invalid-params", reason: "tshow provided but missing tmid", details: sendDetails}
	case !timestampInSync(params["ts"]):
		return &rocketChatError{code: "error-message-ts-out-of-sync", reason: "Message timestamp is out of sync", details: &rocketChatErrorDetails{
			Method:      "sendMessage",
			MessageTime: params["ts"],
			ServerTime:  time.Now().UnixMilli(),
		}}
	case r.generationAtLeast(RocketChat8) && strings.TrimSpace(m.Text) == "" && isEmptyList(m.Attachments) && isEmptyList(m.Blocks):
		return newRocketChatError("error-invalid-message")
	case r.textLength(m.Text) > r.maxMessageSize:
		return newRocketChatError("error-message-size-exceeded")
	}
	return nil
}

func isEmptyList(value any) bool {
	list, _ := value.([]any)
	return len(list) == 0
}

// timestampInSync reports whether a timestamp from a client differs from the
// server's clock by at most one minute. Real servers ignore an invalid timestamp.
func timestampInSync(value any) bool {
	var t time.Time
	switch value := value.(type) {
	case float64:
		t = time.UnixMilli(int64(value))
	case string:
		t = parseRocketChatTime(value)
	}
	return t.IsZero() || time.Since(t).Abs() <= time.Minute
}

var emojiShortname = regexp.MustCompile(`:\w+:`)

// textLength returns the length of a text: in UTF-16 code units, as in JavaScript,
// or before RocketChat4 in characters, where an emoji shortname is one character.
func (r *RocketChat) textLength(text string) int {
	if !r.generationAtLeast(RocketChat4) {
		return utf8.RuneCountInString(emojiShortname.ReplaceAllLiteralString(text, " "))
	}
	return len(utf16.Encode([]rune(text)))
}

// prevents reports whether the function that PreventMessages has set rejects a
// message.
func (r *RocketChat) prevents(room *rocketChatRoom, sender RocketChatUser, m *rocketChatMessage) bool {
	return r.prevent != nil && r.prevent(room.ID, sender.ID, m.Text)
}

// matchError returns the error of Meteor for a value that must be a string. The
// field can be empty.
func matchError(value any, field string) *rocketChatError {
	kind := "object"
	switch value.(type) {
	case float64:
		kind = "number"
	case bool:
		kind = "boolean"
	}
	reason := "Match error: Expected string, got " + kind
	if field != "" {
		reason += " in field " + field
	}
	return &rocketChatError{reason: reason}
}

// chatPostMessage posts to the DM that roomId or channel names.
func (r *RocketChat) chatPostMessage(req *rocketChatRequest) (any, *rocketChatError) {
	m := newMessage(req.params)
	m.Text = req.stringParam("text")
	if r.generationAtLeast(RocketChat7) && r.textLength(m.Text) > r.maxMessageSize {
		return nil, errTextTooLong
	}
	m.Text = strings.TrimSpace(m.Text)
	room, apiErr := r.findOrCreateDM(req.caller, cmp.Or(req.stringParam("roomId"), req.stringParam("channel")))
	if apiErr == nil {
		apiErr = r.sendError(room, req.caller)
	}
	if apiErr == nil {
		apiErr = r.contentError(m, req.caller)
	}
	switch {
	case apiErr != nil:
		return nil, apiErr
	case r.prevents(room, req.caller, m) && r.generationAtLeast(RocketChat8):
		return nil, errNothingPosted
	case r.prevents(room, req.caller, m):
		return nil, r.undefinedMessageError()
	}
	r.store(room, req.caller, m)
	return rocketChatPostMessageResponse{Timestamp: m.posted.UnixMilli(), Channel: room.ID, Message: m, Success: true}, nil
}

func (r *RocketChat) chatGetMessage(req *rocketChatRequest) (any, *rocketChatError) {
	id := req.stringParam("msgId")
	if id == "" {
		return nil, &rocketChatError{reason: `The "msgId" query parameter must be provided.`}
	}
	m := r.messages[id]
	switch {
	case m == nil:
		return nil, errNoMessage
	case !r.roomByID(m.RoomID).canRead(req.caller.ID):
		return nil, notAllowedError(&rocketChatErrorDetails{Method: "getSingleMessage"})
	}
	return rocketChatMessageResponse{Message: m, Success: true}, nil
}

func (r *RocketChat) chatDelete(req *rocketChatRequest) (any, *rocketChatError) {
	for _, name := range []string{"msgId", "roomId"} {
		if _, ok := req.params[name]; !ok && !r.generationAtLeast(RocketChat4) {
			return nil, &rocketChatError{reason: "Match error: Missing key '" + name + "'"}
		}
	}
	id := req.stringParam("msgId")
	asUser, _ := coerceBool(req.params["asUser"])
	m := r.messages[id]
	isOwn := m != nil && m.User.ID == req.caller.ID
	canForce := req.caller.hasPermission("force-delete-message")
	switch {
	case m == nil:
		return nil, &rocketChatError{reason: `No message found with the id of "` + id + `".`}
	case req.stringParam("roomId") != m.RoomID:
		return nil, &rocketChatError{reason: "The room id provided does not match where the message is from."}
	case asUser && !isOwn && !canForce:
		return nil, &rocketChatError{reason: `Unauthorized. You must have the permission "force-delete-message" to delete other's message as them.`}
	case !canForce && !(isOwn && req.caller.hasPermission("delete-own-message")):
		return nil, newRocketChatError("error-action-not-allowed")
	}
	r.deleteMessage(id)
	deleted := rocketChatDeleteMessageResponse{
		ID:        m.ID,
		Timestamp: time.Now().UnixMilli(),
		Message:   rocketChatDeletedMessage{ID: m.ID, RoomID: m.RoomID, User: m.User},
		Success:   true,
	}
	if r.generationAtLeast(RocketChat4) {
		deleted.Timestamp = strconv.FormatInt(time.Now().UnixMilli(), 10)
	}
	return deleted, nil
}

// chatGetDeletedMessages lists messages that were deleted from a room. As on real
// servers, the caller does not need access to the room.
func (r *RocketChat) chatGetDeletedMessages(req *rocketChatRequest) (any, *rocketChatError) {
	roomID, since := req.stringParam("roomId"), req.stringParam("since")
	start := parseRocketChatTime(since)
	switch {
	case roomID == "":
		return nil, newRocketChatError(`The required "roomId" query param is missing.`)
	case since == "":
		return nil, newRocketChatError(`The required "since" query param is missing.`)
	case start.IsZero():
		return nil, newRocketChatError(`The "since" query parameter must be a valid date.`)
	}
	ids := []rocketChatMessageID{}
	for _, m := range r.deleted {
		if m.roomID == roomID && m.deleted.UnixMilli() > start.UnixMilli() {
			ids = append(ids, rocketChatMessageID{ID: m.id})
		}
	}
	offset := req.countParam("offset", 0)
	page := pageOf(ids, offset, req.pageSize())
	return rocketChatDeletedMessagesResponse{Messages: page, Count: len(page), Offset: offset, Total: len(ids), Success: true}, nil
}

// imHistory returns messages in a DM between two times, newest first.
func (r *RocketChat) imHistory(req *rocketChatRequest) (any, *rocketChatError) {
	room, apiErr := r.dmToRead(req)
	if apiErr != nil {
		return nil, apiErr
	}
	inclusive := req.stringParam("inclusive") == "true"
	showReplies := req.stringParam("showThreadMessages") == "true"
	count := req.pageSize()
	if !r.generationAtLeast(RocketChat4) {
		inclusive = req.stringParam("inclusive") != ""
		showReplies = req.stringParam("showThreadMessages") != "false"
		count = req.countParam("count", 20)
	}
	isAfter := boundCheck(req.stringParam("oldest"), inclusive, 1)
	isBefore := boundCheck(req.stringParam("latest"), inclusive, -1)
	messages := []*rocketChatMessage{}
	for _, m := range slices.Backward(room.messages) {
		isHiddenReply := m.ThreadID != "" && !m.ThreadShown && !showReplies
		if !isHiddenReply && isAfter(m.posted) && isBefore(m.posted) {
			messages = append(messages, m)
		}
	}
	return rocketChatHistoryResponse{Messages: pageOf(messages, req.countParam("offset", 0), count), Success: true}, nil
}

// boundCheck returns a function that reports whether a time is on one side of a
// bound: after it if sign is 1, or before it if sign is -1. Without a bound, the
// function always returns true. For an invalid date, real servers ask the database
// for the year 1970.
func boundCheck(bound string, inclusive bool, sign int) func(time.Time) bool {
	if bound == "" {
		return func(time.Time) bool { return true }
	}
	limit := int64(0)
	if t := parseRocketChatTime(bound); !t.IsZero() {
		limit = t.UnixMilli()
	}
	return func(t time.Time) bool {
		order := cmp.Compare(t.UnixMilli(), limit) * sign
		return order > 0 || inclusive && order == 0
	}
}

// imMessages returns the messages in a DM, newest first by default.
func (r *RocketChat) imMessages(req *rocketChatRequest) (any, *rocketChatError) {
	room, apiErr := r.dmToRead(req)
	if apiErr != nil {
		return nil, apiErr
	}
	messages := slices.Clone(room.messages)
	var sort struct{ TS float64 }
	if err := json.Unmarshal([]byte(req.stringParam("sort")), &sort); err != nil || sort.TS <= 0 {
		slices.Reverse(messages)
	}
	offset := req.countParam("offset", 0)
	page := pageOf(messages, offset, req.pageSize())
	return rocketChatMessagesResponse{Messages: page, Count: len(page), Offset: offset, Total: len(messages), Success: true}, nil
}

// countParam returns a parameter that must be a nonnegative number. If it is not,
// countParam returns the default.
func (req *rocketChatRequest) countParam(name string, defaultValue int) int {
	n, err := strconv.Atoi(req.stringParam(name))
	if err != nil || n < 0 {
		return defaultValue
	}
	return n
}

// pageSize returns the parameter count.
func (req *rocketChatRequest) pageSize() int {
	return min(req.countParam("count", 50), maxPageSize)
}

// pageOf returns at most count items, starting at offset. If count is 0, it returns
// all that follow.
func pageOf[T any](items []T, offset, count int) []T {
	items = items[min(offset, len(items)):]
	if count > 0 {
		items = items[:min(count, len(items))]
	}
	return append([]T{}, items...)
}

// parseRocketChatTime parses a date as JavaScript does in common cases. It returns
// the zero time if the date is invalid.
func parseRocketChatTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02", "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}
