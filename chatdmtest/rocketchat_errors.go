package chatdmtest

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxDMMembers is how many users a DM can have. It is Rocket.Chat's default, which
// admins can change.
const maxDMMembers = 8

// rocketChatError is an error that an endpoint returns. Its text consists of the
// reason and the code.
type rocketChatError struct {
	status   int    // 0 means 401 for login, and 400 for other endpoints
	code     string // may be empty
	reason   string
	omitCode bool // from the text
	details  *rocketChatErrorDetails
}

func (e *rocketChatError) text() string {
	switch {
	case e.code == "" || e.omitCode:
		return e.reason
	case e.reason == "":
		return "[" + e.code + "]"
	default:
		return e.reason + " [" + e.code + "]"
	}
}

var (
	createDetails = &rocketChatErrorDetails{Method: "createDirectMessage"}
	deleteDetails = &rocketChatErrorDetails{Method: "eraseRoom"}
	sendDetails   = &rocketChatErrorDetails{Method: "sendMessage"}
	totpDetails   = &rocketChatErrorDetails{Method: "totp", CodeGenerated: new(false), AvailableMethods: []string{"totp"}}
)

var (
	errUnauthorized  = &rocketChatError{status: http.StatusUnauthorized, reason: "You must be logged in to do this."}
	errForbidden     = &rocketChatError{status: http.StatusForbidden, reason: "unauthorized"}
	errNotSubscribed = &rocketChatError{reason: "The user is not subscribed to the room"}
)

// The errors of chat.sendMessage and chat.postMessage that have no code.
var (
	errUnknownRoom     = &rocketChatError{reason: "error-invalid-room"}
	errNoRoomAccess    = &rocketChatError{reason: "error-not-allowed"}
	errRoomBlocked     = &rocketChatError{reason: "room_is_blocked"}
	errRoomReadOnly    = &rocketChatError{reason: "You can't send messages because the room is readonly."}
	errMuted           = &rocketChatError{reason: "You_have_been_muted"}
	errNoImpersonation = &rocketChatError{reason: "Not enough permission"}
	errNoCustomFields  = &rocketChatError{reason: "Custom fields not enabled"}
	errNoRoomID        = &rocketChatError{reason: "The 'rid' property on the message object is missing."}
	errSystemMessage   = &rocketChatError{reason: "Cannot send system messages using 'chat.sendMessage'"}
	errTextTooLong     = &rocketChatError{reason: "error-message-size-exceeded"} // chat.postMessage only
	errNothingPosted   = &rocketChatError{reason: "unknown-error"}               // chat.postMessage only
)

// errNoMessage is the error of chat.getMessage for an unknown message. It has no
// text.
var errNoMessage = &rocketChatError{}

// The errors of login. They come from the accounts package of Meteor, the framework
// that Rocket.Chat uses.
var (
	errUnrecognizedLogin = &rocketChatError{code: "400", reason: "Unrecognized options for login request"}
	errUnknownLogin      = &rocketChatError{code: "Unauthorized", reason: "Unauthorized"}
	errNoPassword        = &rocketChatError{code: "403", reason: "User has no password set"}
	errWrongPassword     = &rocketChatError{code: "403", reason: "Incorrect password"}
	errDeactivated       = &rocketChatError{code: "error-user-is-not-activated", reason: "User is not activated", details: &rocketChatErrorDetails{Function: "Accounts.validateLoginAttempt"}}
	errLoggedOut         = &rocketChatError{code: "403", reason: "You've been logged out by the server. Please log in again."}
)

// rocketChatErrors maps error codes to the reasons and details that servers send
// with them.
var rocketChatErrors = map[string]rocketChatError{
	"error-action-not-allowed":           {reason: "Not allowed", details: &rocketChatErrorDetails{Method: "deleteMessage", Action: "Delete_message"}},
	"error-app-prevented":                {reason: "A Rocket.Chat App prevented the room creation."},
	"error-app-prevented-deleting":       {reason: "A Rocket.Chat App prevented the room erasing."},
	"error-cannot-delete-federated-room": {reason: "Cannot delete federated room", details: deleteDetails},
	"error-cannot-delete-team-channel":   {reason: "Cannot delete a team channel", details: deleteDetails},
	"error-creator-not-in-room":          {reason: "The creator user must be part of the direct room"},
	"error-direct-message-max-user-exceeded": {
		reason:  fmt.Sprintf("You cannot add more than %d users, including yourself to a direct message", maxDMMembers),
		details: &rocketChatErrorDetails{Method: "createDirectRoom"},
	},
	"error-invalid-message":       {reason: "Message cannot be empty", details: sendDetails},
	"error-invalid-room":          {reason: "Invalid room", details: deleteDetails},
	"error-invalid-user":          {reason: "Invalid user", details: createDetails},
	"error-message-size-exceeded": {reason: "Message size exceeds Message_MaxAllowedSize", details: sendDetails},
	"error-not-allowed":           {reason: "Not allowed"},
	"totp-invalid":                {reason: "TOTP Invalid", details: totpDetails},
	"totp-max-attempts":           {reason: "TOTP Maximun Failed Attempts Reached", details: totpDetails}, // Rocket.Chat's typo
	"totp-required":               {reason: "TOTP Required", details: totpDetails},
	"totp-user-not-found":         {reason: "TOTP User not found"},
}

// newRocketChatError returns the error with the given code, and with the reason and
// details from rocketChatErrors.
func newRocketChatError(code string) *rocketChatError {
	e := rocketChatErrors[code]
	e.code = code
	return &e
}

func notAllowedError(details *rocketChatErrorDetails) *rocketChatError {
	e := newRocketChatError("error-not-allowed")
	e.details = details
	return e
}

func tooManyRequestsError(wait time.Duration) *rocketChatError {
	return &rocketChatError{
		status: http.StatusTooManyRequests,
		code:   "error-too-many-requests",
		reason: fmt.Sprintf("Error, too many requests. Please slow down. You must wait %d seconds before trying this endpoint again.", ceilSeconds(wait)),
	}
}

func (r *RocketChat) paramNotProvidedError() *rocketChatError {
	params := `"roomId"`
	if !r.generationAtLeast(RocketChat4) {
		params = `"roomId" or "username"`
	}
	return &rocketChatError{code: "error-room-param-not-provided", reason: "Body param " + params + " is required"}
}

func (r *RocketChat) roomNotFoundError(method string) *rocketChatError {
	params := `"roomId"`
	switch {
	case !r.generationAtLeast(RocketChat4) && strings.HasSuffix(method, ".create"):
		params = `"username" or "usernames"`
	case !r.generationAtLeast(RocketChat4):
		params = `"roomId" or "username"`
	}
	return &rocketChatError{code: "error-room-not-found", reason: "The required " + params + " param provided does not match any direct message"}
}

// undefinedMessageError returns the JavaScript error of a server that has stored no
// message, and then reads one. The text depends on the version of Node.js.
func (r *RocketChat) undefinedMessageError() *rocketChatError {
	if r.generationAtLeast(RocketChat7) {
		return &rocketChatError{reason: "Cannot read properties of undefined (reading 'starred')"}
	}
	return &rocketChatError{reason: "Cannot read property 'starred' of undefined"}
}

// duplicateKeyError returns the error of MongoDB for a message whose ID is already
// in use.
func duplicateKeyError(messageID string) *rocketChatError {
	return &rocketChatError{reason: fmt.Sprintf("E11000 duplicate key error collection: rocketchat.rocketchat_message index: _id_ dup key: { _id: %q }", messageID)}
}

// errorForCode returns the error for the Code of a Fault. An empty code means an
// internal error.
func (r *RocketChat) errorForCode(req apiRequest, code string) *rocketChatError {
	method := req.method
	switch code {
	case "":
		return &rocketChatError{reason: "Internal server error"}
	case "unauthorized":
		return errUnauthorized
	case "forbidden":
		return errForbidden
	case "error-unauthorized":
		return &rocketChatError{status: http.StatusForbidden, code: code, reason: "Users must have a username"}
	case "error-too-many-requests":
		return tooManyRequestsError(time.Minute)
	case "E11000":
		params, _ := readParams(req)
		body, _ := params.(map[string]any)
		message, _ := body["message"].(map[string]any)
		return duplicateKeyError(rocketChatParams(message).text("_id"))
	case "error-room-param-not-provided":
		return r.paramNotProvidedError()
	case "error-room-not-found":
		return r.roomNotFoundError(method)
	case "invalid-params", "error-invalid-params":
		e, _ := r.endpoint(method)
		if schemaErr := r.validate(e, map[string]any{}); schemaErr != nil {
			schemaErr.code = code
			return schemaErr
		}
	}
	return newRocketChatError(code)
}

// encodeError returns the response for an error. Its format depends on the status
// and the method.
func (r *RocketChat) encodeError(method string, e *rocketChatError) response {
	switch {
	case e.status == http.StatusUnauthorized:
		body := rocketChatStatusResponse{Status: "error", Message: e.reason}
		if r.generationAtLeast(RocketChat7) {
			body.Success, body.Error = new(false), e.reason
		}
		return rocketChatResponse(e.status, body)
	case e.status != 0:
		return rocketChatResponse(e.status, rocketChatErrorResponse{Error: e.text()})
	case method == "login":
		body := rocketChatLoginErrorResponse{Status: "error", Error: e.code, Details: e.details, Message: cmp.Or(e.reason, e.text())}
		if number, err := strconv.Atoi(e.code); err == nil {
			body.Error = number // Meteor's own codes are JSON numbers
		}
		return rocketChatResponse(http.StatusUnauthorized, body)
	default:
		return rocketChatResponse(http.StatusBadRequest, rocketChatErrorResponse{Error: e.text(), ErrorType: e.code, Details: e.details})
	}
}

// methodNotAllowedResponse returns the response of servers before 7.0 to a wrong
// HTTP method.
func methodNotAllowedResponse(allowed string) response {
	resp := rocketChatResponse(http.StatusMethodNotAllowed, rocketChatStatusResponse{Status: "error", Message: "API endpoint does not exist"})
	resp.header.Set("Allow", allowed+", OPTIONS")
	return resp
}

// webAppResponse returns the response of servers before 7.0 to an unknown path.
func webAppResponse() response {
	return response{
		status: http.StatusOK,
		header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		body:   []byte("<!DOCTYPE html>\n<html><head><title>Rocket.Chat</title></head><body></body></html>\n"),
	}
}

// notFoundResponse returns the response of servers since 7.0 to an unknown path or a
// wrong HTTP method.
func notFoundResponse() response {
	resp := plainTextResponse(http.StatusNotFound)
	resp.body = []byte("404 Not Found")
	return resp
}

// badRequestResponse returns the response of servers before 7.0 to a body that they
// cannot parse.
func badRequestResponse() response {
	return response{
		status: http.StatusBadRequest,
		header: http.Header{
			"Content-Type":           {"text/html; charset=utf-8"},
			"X-Content-Type-Options": {"nosniff"},
		},
		body: []byte("Bad Request\n"),
	}
}
