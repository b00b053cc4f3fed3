package rocketchat

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/chatdm/chatdm"
)

// Rocket.Chat's codes, as sentinels for errors.Is. Each has its kind and its
// meaning in the catalogue of package chatdm. Codes that are not here stay
// usable: errors.Is(err, chatdm.Code("error-brand-new")).
const (
	// ErrUnauthorized is every form of "You must be logged in", a Login that was
	// refused, and a user who has not chosen a username yet.
	ErrUnauthorized chatdm.Code = "error-unauthorized"
	// ErrForbidden is a 403 without a code: "unauthorized" or "forbidden". From
	// version 4.8 on, im.open and im.close say so of a room that the caller is no
	// member of, and im.open of one that does not exist; before it, im.delete says
	// so of any room where the permission view-room-administration is missing.
	ErrForbidden chatdm.Code = "forbidden"
	// ErrInvalidParams is a body that the server's schema refuses; some 7.x
	// servers spell it error-invalid-params, which comes back as this one too.
	ErrInvalidParams chatdm.Code = "invalid-params"
	// ErrInvalidChannel is an unknown room or user, or a room that is no direct
	// message.
	ErrInvalidChannel chatdm.Code = "invalid-channel"

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
	ErrTOTPRequired                 chatdm.Code = "totp-required"
	ErrTOTPInvalid                  chatdm.Code = "totp-invalid"
	ErrTOTPMaxAttempts              chatdm.Code = "totp-max-attempts"
	ErrTOTPUserNotFound             chatdm.Code = "totp-user-not-found"
)

// report is what an answer says of a failure. Any of its members may be absent
// or of another type: an error can be the number 403.
type report struct {
	Error     json.RawMessage `json:"error"`
	ErrorType json.RawMessage `json:"errorType"`
	Message   json.RawMessage `json:"message"`
}

// text is the server's own text.
func (r *report) text() string {
	if text := scalar(r.Message); text != "" {
		return text
	}
	return scalar(r.Error)
}

// scalar is a JSON string or number as text, and empty for anything else.
func scalar(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var number json.Number
	if json.Unmarshal(raw, &number) == nil {
		return number.String()
	}
	return ""
}

// trailingCode is how Meteor puts a code into a text: "Not allowed [error-not-allowed]".
var trailingCode = regexp.MustCompile(`\[([^\[\]]+)\]\s*$`)

// spellings are other names of a sentinel.
var spellings = map[chatdm.Code]chatdm.Code{
	"error-invalid-params": ErrInvalidParams,
	// im.close of a room that the caller has no subscription to, from 6.4 on;
	// older servers have a code for it.
	"The user is not subscribed to the room": ErrRoomNotFound,
}

// code is what an answer that is no success says, "" where it does not.
func (r *report) code(status int) chatdm.Code {
	said := chatdm.Code(scalar(r.ErrorType))
	text := scalar(r.Error)
	if said == "" {
		for _, text := range []string{text, scalar(r.Message)} {
			if m := trailingCode.FindStringSubmatch(text); m != nil {
				said = chatdm.Code(m[1])
				break
			}
		}
	}
	if said == "" && (known(chatdm.Code(text)) || spellings[chatdm.Code(text)] != "") {
		said = chatdm.Code(text) // a text that is a code, or stands for one
	}
	if sentinel, ok := spellings[said]; ok {
		said = sentinel
	}
	if said != "" {
		return said
	}
	switch status {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrForbidden
	}
	return ""
}

func known(code chatdm.Code) bool { return code.Kind() != chatdm.KindUnknown }

// alreadyClosed tells of the 400 that im.close answers to a second call, in the
// wording of all versions.
func (r *report) alreadyClosed() bool {
	text := scalar(r.Error)
	return strings.HasPrefix(text, "The direct message room,") && strings.Contains(text, "already closed")
}
