package rocketchat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/chatdm/chatdm"
)

// The codes of Rocket.Chat. They are sentinels for [errors.Is], and the text of a
// [chatdm.Error] says what its code means. A code without a constant works the
// same way: errors.Is(err, chatdm.Code("error-brand-new")).
const (
	// ErrUnauthorized is returned when the server does not accept the credentials:
	// a 401, or a rejected login.
	ErrUnauthorized chatdm.Code = "error-unauthorized"
	// ErrForbidden is returned for a 403 without another code, and for the error type
	// error-forbidden. From im.open and im.close (since version 4.8), it means
	// that the room does not exist or the caller is not a member of it. Before 4.8,
	// im.delete responded this way if the caller lacked view-room-administration.
	ErrForbidden chatdm.Code = "forbidden"
	// ErrInvalidParams is returned when the body violates the server's schema. Some
	// 7.x servers send error-invalid-params instead, which the client converts.
	ErrInvalidParams chatdm.Code = "invalid-params"
	// ErrInvalidChannel is returned when the room or user does not exist, or the
	// room is not a direct message.
	ErrInvalidChannel chatdm.Code = "invalid-channel"

	ErrNotAuthorized                chatdm.Code = "error-not-authorized"
	ErrNotAllowed                   chatdm.Code = "error-not-allowed"
	ErrInvalidUser                  chatdm.Code = "error-invalid-user"
	ErrInvalidRoom                  chatdm.Code = "error-invalid-room"
	ErrRoomNotFound                 chatdm.Code = "error-room-not-found"
	ErrRoomParamNotProvided         chatdm.Code = "error-room-param-not-provided"
	ErrCannotDeleteFederatedRoom    chatdm.Code = "error-cannot-delete-federated-room"
	ErrCannotDeleteTeamChannel      chatdm.Code = "error-cannot-delete-team-channel"
	ErrAppPreventedDeleting         chatdm.Code = "error-app-prevented-deleting"
	ErrAppPrevented                 chatdm.Code = "error-app-prevented"
	ErrDirectMessageMaxUserExceeded chatdm.Code = "error-direct-message-max-user-exceeded"
	ErrCreatorNotInRoom             chatdm.Code = "error-creator-not-in-room"
	ErrThisIsAPremiumFeature        chatdm.Code = "error-this-is-a-premium-feature"
	ErrTooManyRequests              chatdm.Code = "error-too-many-requests"
	// ErrInvalidFilter is returned by servers before 6.0 when users.info has no argument
	// that they know.
	ErrInvalidFilter chatdm.Code = "invalid-filter"

	// ErrRoomIsReadOnly is returned when the room is read-only, as a direct message is
	// after one of two members has been deactivated. Servers send a text, which the
	// client converts.
	ErrRoomIsReadOnly chatdm.Code = "room_is_read_only"
	// ErrRoomIsBlocked is returned when one of the two members has blocked the other.
	ErrRoomIsBlocked       chatdm.Code = "room_is_blocked"
	ErrRoomIsArchived      chatdm.Code = "room_is_archived"
	ErrABACRoomLocked      chatdm.Code = "error-abac-room-locked"
	ErrYouHaveBeenMuted    chatdm.Code = "You_have_been_muted"
	ErrActionNotAllowed    chatdm.Code = "error-action-not-allowed"
	ErrInvalidMessage      chatdm.Code = "error-invalid-message"
	ErrMessageSizeExceeded chatdm.Code = "error-message-size-exceeded"
	ErrMessageTSOutOfSync  chatdm.Code = "error-message-ts-out-of-sync"
	ErrRestrictedWorkspace chatdm.Code = "restricted-workspace"

	ErrTOTPRequired     chatdm.Code = "totp-required"
	ErrTOTPInvalid      chatdm.Code = "totp-invalid"
	ErrTOTPMaxAttempts  chatdm.Code = "totp-max-attempts"
	ErrTOTPUserNotFound chatdm.Code = "totp-user-not-found"
)

// report has the fields of a response that describe a failure.
type report struct {
	Error     scalar `json:"error"`
	ErrorType scalar `json:"errorType"`
	Message   scalar `json:"message"`
}

// scalar is a JSON string or number as text: error can be the number 403. It is
// empty for anything else.
type scalar string

func (s *scalar) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		if bytes.IndexByte(data, '\\') < 0 && utf8.Valid(data) {
			*s = scalar(data[1 : len(data)-1]) // the usual case
			return nil
		}
		return json.Unmarshal(data, (*string)(s))
	}
	if data[0] == '-' || '0' <= data[0] && data[0] <= '9' {
		*s = scalar(data)
	}
	return nil
}

// text returns the server's text.
func (r *report) text() string { return string(cmp.Or(r.Message, r.Error)) }

// trailingCode returns the code that Meteor appends to a text, or "":
// "Not allowed [error-not-allowed]".
func trailingCode(text scalar) chatdm.Code {
	text = scalar(strings.TrimRight(string(text), " \t\r\n"))
	open := strings.LastIndexByte(string(text), '[')
	if open < 0 || !strings.HasSuffix(string(text), "]") || strings.IndexByte(string(text[open:]), ']') != len(text)-open-1 {
		return ""
	}
	return chatdm.Code(text[open+1 : len(text)-1])
}

// aliases maps what some servers send instead of a sentinel's code to that code.
var aliases = map[chatdm.Code]chatdm.Code{
	"error-invalid-params": ErrInvalidParams,
	"error-forbidden":      ErrForbidden,
	// Since 6.4, im.close sends this if the caller has no subscription to the room.
	// Older servers send the code.
	"The user is not subscribed to the room": ErrRoomNotFound,

	// chat.sendMessage sends these texts instead of a code.
	"You can't send messages because the room is readonly.": ErrRoomIsReadOnly,
	"Not enough permission":                                 ErrNotAuthorized,
	"The 'rid' property on the message object is missing.":  ErrInvalidParams,
	"Cannot send system messages using 'chat.sendMessage'":  ErrInvalidParams,
	"Custom fields not enabled":                             ErrInvalidParams,
	"Invalid custom fields":                                 ErrInvalidParams,
	"Invalid custom fields config":                          ErrInvalidParams,

	"The \"msgId\" query parameter must be provided.": ErrInvalidParams, // chat.getMessage
	"User not found.":       ErrInvalidUser,   // users.info
	"Invalid search query.": ErrInvalidParams, // users.info
}

// matchError is how a text of Meteor begins if an argument has the wrong type.
const matchError = "Match error: "

// code returns the code of a failed call's response, or "". Servers also use
// error-unauthorized when they accept the credentials but deny permission.
func (r *report) code(status int, login bool) chatdm.Code {
	code, text := chatdm.Code(r.ErrorType), chatdm.Code(r.Error)
	if code == "" {
		code = cmp.Or(trailingCode(r.Error), trailingCode(r.Message))
	}
	if code == "" && (isKnownCode(text) || aliases[text] != "") {
		code = text // the text is a code, or replaces one
	}
	if sentinel, ok := aliases[code]; ok {
		code = sentinel
	}
	if code == "" && strings.HasPrefix(string(r.Error), matchError) {
		code = ErrInvalidParams
	}
	switch {
	case status == http.StatusUnauthorized && code == "":
		return ErrUnauthorized
	case status == http.StatusForbidden && code == "", status != http.StatusUnauthorized && code == ErrUnauthorized && !login:
		return ErrForbidden
	}
	return code
}

func isKnownCode(code chatdm.Code) bool { return code.Kind() != chatdm.KindUnknown }

// saysAlreadyClosed reports whether the text says that the room is already closed.
// The wording depends on the server version.
func (r *report) saysAlreadyClosed() bool {
	text := string(r.Error)
	return strings.HasPrefix(text, "The direct message room,") && strings.Contains(text, "already closed")
}
