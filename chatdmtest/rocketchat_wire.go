package chatdmtest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// rocketChatError is a refusal. Servers make its text of the reason and the code.
type rocketChatError struct {
	status  int    // 0: that of the endpoint's errors, which have an errorType
	code    string // "": there is only the reason
	reason  string
	bare    bool // the code stays out of the text
	details *rocketChatDetails
}

// rocketChatDetails says which function of the server refused, or how it wants a
// second factor.
type rocketChatDetails struct {
	Method           string   `json:"method"`
	CodeGenerated    *bool    `json:"codeGenerated,omitempty"`
	AvailableMethods []string `json:"availableMethods,omitempty"`
}

func (e *rocketChatError) text() string {
	switch {
	case e.code == "" || e.bare:
		return e.reason
	case e.reason == "":
		return "[" + e.code + "]"
	default:
		return e.reason + " [" + e.code + "]"
	}
}

// maxDirect is how many users a direct message holds, unless an admin has changed it.
const maxDirect = 8

var (
	unauthorized = &rocketChatError{status: http.StatusUnauthorized, reason: "You must be logged in to do this."}
	forbidden    = &rocketChatError{status: http.StatusForbidden, reason: "unauthorized"}

	inCreate = &rocketChatDetails{Method: "createDirectMessage"}
	inErase  = &rocketChatDetails{Method: "eraseRoom"}
	byTOTP   = &rocketChatDetails{Method: "totp", CodeGenerated: new(false), AvailableMethods: []string{"totp"}}
)

// rocketChatErrors are the errors that have more than a code.
var rocketChatErrors = map[string]rocketChatError{
	"error-app-prevented":                {reason: "A Rocket.Chat App prevented the room creation."},
	"error-app-prevented-deleting":       {reason: "A Rocket.Chat App prevented the room erasing."},
	"error-cannot-delete-federated-room": {reason: "Cannot delete federated room", details: inErase},
	"error-cannot-delete-team-channel":   {reason: "Cannot delete a team channel", details: inErase},
	"error-creator-not-in-room":          {reason: "The creator user must be part of the direct room"},
	"error-direct-message-max-user-exceeded": {
		reason:  fmt.Sprintf("You cannot add more than %d users, including yourself to a direct message", maxDirect),
		details: &rocketChatDetails{Method: "createDirectRoom"},
	},
	"error-invalid-room":  {reason: "Invalid room", details: inErase},
	"error-invalid-user":  {reason: "Invalid user", details: inCreate},
	"error-not-allowed":   {reason: "Not allowed"},
	"totp-invalid":        {reason: "TOTP Invalid", details: byTOTP},
	"totp-max-attempts":   {reason: "TOTP Maximun Failed Attempts Reached", details: byTOTP}, // sic
	"totp-required":       {reason: "TOTP Required", details: byTOTP},
	"totp-user-not-found": {reason: "TOTP User not found"},
}

// documented is the error of a code, with what goes with it.
func documented(code string) *rocketChatError {
	e := rocketChatErrors[code]
	e.code = code
	return &e
}

func notAllowed(in *rocketChatDetails) *rocketChatError {
	e := documented("error-not-allowed")
	e.details = in
	return e
}

func tooManyRequests(wait time.Duration) *rocketChatError {
	return &rocketChatError{
		status: http.StatusTooManyRequests,
		code:   "error-too-many-requests",
		reason: fmt.Sprintf("Error, too many requests. Please slow down. You must wait %d seconds before trying this endpoint again.", seconds(wait)),
	}
}

func (r *RocketChat) paramNotProvided() *rocketChatError {
	params := `"roomId"`
	if !r.since(RocketChat4) {
		params = `"roomId" or "username"`
	}
	return &rocketChatError{code: "error-room-param-not-provided", reason: "Body param " + params + " is required"}
}

func (r *RocketChat) roomNotFound(method string) *rocketChatError {
	params := `"roomId"`
	switch {
	case !r.since(RocketChat4) && strings.HasSuffix(method, ".create"):
		params = `"username" or "usernames"`
	case !r.since(RocketChat4):
		params = `"roomId" or "username"`
	}
	return &rocketChatError{code: "error-room-not-found", reason: "The required " + params + " param provided does not match any direct message"}
}

// The shapes of answers. Servers send their fields in this order.
type (
	rocketChatOK struct {
		Success bool `json:"success"`
	}

	rocketChatAuthor struct {
		ID       string `json:"_id"`
		Username string `json:"username"`
	}

	rocketChatMessage struct {
		ID  string           `json:"_id"`
		RID string           `json:"rid"`
		Msg string           `json:"msg"`
		TS  string           `json:"ts"`
		U   rocketChatAuthor `json:"u"`
	}

	rocketChatPosted struct {
		TS      int64             `json:"ts"` // milliseconds
		Channel string            `json:"channel"`
		Message rocketChatMessage `json:"message"`
		Success bool              `json:"success"`
	}

	rocketChatHistory struct {
		Messages []rocketChatMessage `json:"messages"`
		Success  bool                `json:"success"`
	}

	rocketChatFailure struct {
		Success   bool               `json:"success"`
		Error     string             `json:"error"`
		ErrorType string             `json:"errorType,omitempty"`
		Details   *rocketChatDetails `json:"details,omitempty"`
	}

	rocketChatLoggedOut struct {
		Success *bool  `json:"success,omitempty"`
		Error   string `json:"error,omitempty"`
		Status  string `json:"status"`
		Message string `json:"message"`
	}

	rocketChatLoginFailure struct {
		Status  string             `json:"status"`
		Error   any                `json:"error"`
		Details *rocketChatDetails `json:"details,omitempty"`
		Message string             `json:"message"`
	}

	rocketChatData struct {
		Status  string `json:"status"`
		Data    any    `json:"data"`
		Success bool   `json:"success,omitempty"`
	}

	rocketChatSession struct {
		UserID    string       `json:"userId"`
		AuthToken string       `json:"authToken"`
		Me        rocketChatMe `json:"me"`
	}

	rocketChatNote struct {
		Message string `json:"message"`
	}

	rocketChatMe struct {
		ID       string            `json:"_id"`
		Username string            `json:"username"`
		Name     string            `json:"name"`
		Emails   []rocketChatEmail `json:"emails,omitempty"`
		Success  bool              `json:"success,omitempty"`
	}

	rocketChatEmail struct {
		Address  string `json:"address"`
		Verified bool   `json:"verified"`
	}

	rocketChatCreated struct {
		Room    rocketChatRef `json:"room"`
		Success bool          `json:"success"`
	}

	rocketChatRef struct {
		T         string   `json:"t"`
		RID       string   `json:"rid"`
		Usernames []string `json:"usernames,omitempty"`
		ID        string   `json:"_id"`
	}

	rocketChatPage struct {
		IMs     []rocketChatIM `json:"ims"`
		Offset  int            `json:"offset"`
		Count   int            `json:"count"`
		Total   int            `json:"total"`
		Success bool           `json:"success"`
	}

	rocketChatIM struct {
		ID         string   `json:"_id"`
		T          string   `json:"t"`
		Usernames  []string `json:"usernames"`
		UsersCount int      `json:"usersCount"`
		Messages   int      `json:"msgs"`
		Created    string   `json:"ts"`
		UIDs       []string `json:"uids"`
	}
)

// refusal makes an answer of an error, in the shape of its endpoint and status.
func (r *RocketChat) refusal(method string, e *rocketChatError) answer {
	switch {
	case e.status == http.StatusUnauthorized:
		body := rocketChatLoggedOut{Status: "error", Message: e.reason}
		if r.since(RocketChat7) {
			body.Success, body.Error = new(false), e.reason
		}
		return rocketChatAnswer(e.status, body)
	case e.status != 0:
		return rocketChatAnswer(e.status, rocketChatFailure{Error: e.text()})
	case method == "login":
		body := rocketChatLoginFailure{Status: "error", Error: e.code, Details: e.details, Message: cmp.Or(e.reason, e.text())}
		if number, err := strconv.Atoi(e.code); err == nil {
			body.Error = number // as the accounts package counts its errors
		}
		return rocketChatAnswer(http.StatusUnauthorized, body)
	default:
		return rocketChatAnswer(http.StatusBadRequest, rocketChatFailure{Error: e.text(), ErrorType: e.code, Details: e.details})
	}
}

func rocketChatAnswer(status int, body any) answer {
	return answer{
		status: status,
		header: http.Header{
			"Cache-Control":                {"no-store"},
			"Pragma":                       {"no-cache"},
			"Content-Type":                 {"application/json"},
			"Access-Control-Allow-Origin":  {"*"},
			"Access-Control-Allow-Headers": {"Origin, X-Requested-With, Content-Type, Accept, X-User-Id, X-Auth-Token"},
		},
		body: marshal(body),
	}
}

// wrongVerb is the answer of the older router where a path has other verbs.
func wrongVerb(verb string) answer {
	a := rocketChatAnswer(http.StatusMethodNotAllowed, rocketChatLoggedOut{Status: "error", Message: "API endpoint does not exist"})
	a.header.Set("Allow", verb+", OPTIONS")
	return a
}

// webApp is what the older router leaves unknown paths to.
func webApp() answer {
	return answer{
		status: http.StatusOK,
		header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		body:   []byte("<!DOCTYPE html>\n<html><head><title>Rocket.Chat</title></head><body></body></html>\n"),
	}
}

// routerNotFound is what the newer router says to unknown paths and verbs.
func routerNotFound() answer {
	a := plainAnswer(http.StatusNotFound)
	a.body = []byte("404 Not Found")
	return a
}

func malformedBody() answer {
	return answer{
		status: http.StatusBadRequest,
		header: http.Header{
			"Content-Type":           {"text/html; charset=utf-8"},
			"X-Content-Type-Options": {"nosniff"},
		},
		body: []byte("Bad Request\n"),
	}
}

// readParams reads the parameters in a body: an object, or an array by mistake. A
// body of another type than JSON or a form has none. What is not JSON is not ok,
// and has none either.
func readParams(c call) (body any, ok bool) {
	params := make(map[string]any)
	mediaType, _, err := mime.ParseMediaType(c.http.Header.Get("Content-Type"))
	if err != nil || len(c.body) == 0 {
		return params, true
	}
	switch mediaType {
	case "application/x-www-form-urlencoded":
		form, code := readForm(c.body)
		for name, value := range form {
			params[name] = value
		}
		return params, code == ""
	case "application/json":
		if err := json.Unmarshal(c.body, &body); err != nil {
			return params, false
		}
		switch body.(type) {
		case map[string]any, []any:
			return body, true
		}
		return params, false
	}
	return params, true
}

// rocketChatShape is a body that a schema allows: an object of one text and, where
// it has a flag, a boolean of that name.
type rocketChatShape struct{ text, flag string }

var (
	createShapes = []rocketChatShape{{text: "usernames", flag: "excludeSelf"}, {text: "username", flag: "excludeSelf"}}
	deleteShapes = []rocketChatShape{{text: "roomId"}, {text: "username"}}
	roomShapes   = []rocketChatShape{{text: "roomId"}}
)

// validate checks a body against a schema, in the words of the validator that
// servers use. Its coercion lets null, booleans and numbers pass for a text.
func (r *RocketChat) validate(schema []rocketChatShape, body any) *rocketChatError {
	var faults []string
	for _, shape := range schema {
		if fault := shape.mismatch(body); fault != "" {
			faults = append(faults, fault)
		}
	}
	if len(faults) < len(schema) || len(schema) == 0 {
		return nil
	}
	if len(schema) > 1 {
		faults = append(faults, "must match exactly one schema in oneOf")
	}
	return &rocketChatError{code: "invalid-params", reason: strings.Join(faults, "\n "), bare: r.since(RocketChat7)}
}

// mismatch is the first thing that is wrong with a body.
func (s rocketChatShape) mismatch(body any) string {
	object, ok := body.(map[string]any)
	if !ok {
		return "must be object"
	}
	if _, given := object[s.text]; !given {
		return "must have required property '" + s.text + "'"
	}
	for name := range object {
		if name != s.text && (name != s.flag || name == "") {
			return "must NOT have additional properties"
		}
	}
	if _, ok := asText(object[s.text]); !ok {
		return "must be string"
	}
	if _, ok := asFlag(object[s.flag]); !ok {
		return "must be boolean"
	}
	return ""
}

// asText reads a value of JSON as a text.
func asText(value any) (text string, ok bool) {
	switch value := value.(type) {
	case nil:
		return "", true
	case string:
		return value, true
	case bool:
		return strconv.FormatBool(value), true
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), true
	}
	return "", false
}

// asFlag reads a value of JSON as a boolean.
func asFlag(value any) (flag, ok bool) {
	switch value {
	case nil, false, "false", 0.0:
		return false, true
	case true, "true", 1.0:
		return true, true
	}
	return false, false
}
