package chatdmtest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// rocketChatSchema describes the parameters of an endpoint. They must match one of
// the alternatives.
type rocketChatSchema struct {
	alternatives []rocketChatObject
	mismatch     string // the last violation if there are several alternatives and none matches
}

// rocketChatObject describes a JSON object.
type rocketChatObject struct {
	properties []rocketChatProperty
	open       bool                 // allows other properties
	since      RocketChatGeneration // the first generation that has this alternative; empty means all
}

// rocketChatProperty describes a property of a rocketChatObject.
type rocketChatProperty struct {
	name     string
	kind     rocketChatKind // zero means a string
	required bool
	nonEmpty bool              // a string must have at least one character
	nullable bool              // null is valid; strings and booleans are valid if they are null anyway
	enum     []string          // the valid strings; empty means all
	object   *rocketChatObject // describes an object; nil allows any object
}

type rocketChatKind int

const (
	stringKind rocketChatKind = iota
	dateKind                  // a string with a date and time
	booleanKind
	numberKind
	objectKind
	stringsKind // an array of strings
	objectsKind // an array of objects
)

const (
	oneOfMismatch = "must match exactly one schema in oneOf"
	anyOfMismatch = "must match a schema in anyOf"
)

var (
	roomIDProperty   = rocketChatProperty{name: "roomId", required: true}
	usernameProperty = rocketChatProperty{name: "username", required: true}
)

// The schemas of endpoints.
var (
	createSchema = rocketChatSchema{mismatch: oneOfMismatch, alternatives: []rocketChatObject{
		{properties: []rocketChatProperty{{name: "usernames", required: true}, {name: "excludeSelf", kind: booleanKind}}},
		{properties: []rocketChatProperty{usernameProperty, {name: "excludeSelf", kind: booleanKind}}},
	}}
	deleteSchema = rocketChatSchema{mismatch: oneOfMismatch, alternatives: []rocketChatObject{
		{properties: []rocketChatProperty{roomIDProperty}},
		{properties: []rocketChatProperty{usernameProperty}},
	}}
	roomSchema    = objectSchema(roomIDProperty)
	historySchema = objectSchema(
		rocketChatProperty{name: "roomId", required: true, nonEmpty: true},
		rocketChatProperty{name: "latest", nonEmpty: true},
		rocketChatProperty{name: "showThreadMessages", enum: []string{"false", "true"}},
		rocketChatProperty{name: "oldest", nonEmpty: true},
		rocketChatProperty{name: "inclusive", enum: []string{"false", "true"}},
		rocketChatProperty{name: "unreads", enum: []string{"true", "false"}},
		rocketChatProperty{name: "count", kind: numberKind},
		rocketChatProperty{name: "offset", kind: numberKind},
		rocketChatProperty{name: "sort"},
	)
	messagesSchema = rocketChatSchema{mismatch: oneOfMismatch, alternatives: []rocketChatObject{
		{properties: append([]rocketChatProperty{roomIDProperty}, messagesOptions...)},
		{properties: append([]rocketChatProperty{usernameProperty}, messagesOptions...)},
	}}
	messagesOptions = []rocketChatProperty{{name: "query"}, {name: "fields"}, {name: "sort"}, {name: "count"}, {name: "offset"}}

	sendMessageSchema = objectSchema(
		rocketChatProperty{name: "message", kind: objectKind, required: true, object: &rocketChatObject{open: true, properties: []rocketChatProperty{
			{name: "_id"},
			{name: "rid"},
			{name: "tmid"},
			{name: "msg"},
			{name: "alias"},
			{name: "emoji"},
			{name: "tshow", kind: booleanKind},
			{name: "avatar"},
			{name: "attachments", kind: objectsKind, nullable: true},
			{name: "blocks", kind: objectsKind, nullable: true},
			{name: "customFields", kind: objectKind, nullable: true},
		}}},
		rocketChatProperty{name: "previewUrls", kind: stringsKind, nullable: true},
	)
	getMessageSchema    = objectSchema(rocketChatProperty{name: "msgId", required: true, nonEmpty: true})
	deleteMessageSchema = objectSchema(
		rocketChatProperty{name: "msgId", required: true},
		rocketChatProperty{name: "roomId", required: true},
		rocketChatProperty{name: "asUser", kind: booleanKind},
	)
	deletedMessagesSchema = objectSchema(
		rocketChatProperty{name: "roomId", required: true, nonEmpty: true},
		rocketChatProperty{name: "since", kind: dateKind, required: true, nonEmpty: true},
		rocketChatProperty{name: "count", kind: numberKind},
		rocketChatProperty{name: "offset", kind: numberKind},
		rocketChatProperty{name: "sort"},
	)
	userInfoSchema = rocketChatSchema{mismatch: anyOfMismatch, alternatives: []rocketChatObject{
		userInfoAlternative("userId", ""),
		userInfoAlternative("username", ""),
		userInfoAlternative("importId", RocketChat7),
		userInfoAlternative("email", RocketChat8),
		userInfoAlternative("freeSwitchExtension", RocketChat8),
	}}
)

func objectSchema(properties ...rocketChatProperty) rocketChatSchema {
	return rocketChatSchema{alternatives: []rocketChatObject{{properties: properties}}}
}

func userInfoAlternative(name string, since RocketChatGeneration) rocketChatObject {
	return rocketChatObject{since: since, properties: []rocketChatProperty{{name: name, required: true}, {name: "includeUserRooms"}, {name: "fields"}}}
}

// validate checks the parameters of an endpoint against its schema. The error text
// is the same as that of Ajv, the validator that Rocket.Chat uses. Like Ajv with type
// coercion, validate accepts null, booleans, and numbers as strings.
func (r *RocketChat) validate(e rocketChatEndpoint, params any) *rocketChatError {
	var violations []string
	for _, object := range e.schema.alternatives {
		if object.since != "" && !r.generationAtLeast(object.since) {
			continue
		}
		violation := object.violation(params)
		if violation == "" {
			return nil
		}
		violations = append(violations, violation)
	}
	if len(violations) == 0 {
		return nil
	}
	if len(violations) > 1 {
		violations = append(violations, e.schema.mismatch)
	}
	return &rocketChatError{
		code:     "invalid-params",
		reason:   strings.Join(violations, "\n "),
		omitCode: r.routerValidates(e),
	}
}

// violation returns the first violation of the description, or "" if value matches it.
func (o rocketChatObject) violation(value any) string {
	object, ok := value.(map[string]any)
	if !ok {
		return "must be object"
	}
	for _, property := range o.properties {
		if _, ok := object[property.name]; property.required && !ok {
			return "must have required property '" + property.name + "'"
		}
	}
	for name := range object {
		if !o.open && !slices.ContainsFunc(o.properties, func(p rocketChatProperty) bool { return p.name == name }) {
			return "must NOT have additional properties"
		}
	}
	for _, property := range o.properties {
		if value, ok := object[property.name]; ok {
			if violation := property.violation(value); violation != "" {
				return violation
			}
		}
	}
	return ""
}

func (p rocketChatProperty) violation(value any) string {
	if value == nil && p.nullable {
		return ""
	}
	switch p.kind {
	case booleanKind:
		if _, ok := coerceBool(value); !ok {
			return "must be boolean"
		}
	case numberKind:
		s, ok := coerceString(value)
		if _, err := strconv.ParseFloat(s, 64); !ok || err != nil && value != nil {
			return "must be number"
		}
	case objectKind:
		object := rocketChatObject{open: true}
		if p.object != nil {
			object = *p.object
		}
		return object.violation(value)
	case stringsKind, objectsKind:
		return p.arrayViolation(value)
	default:
		return p.stringViolation(value)
	}
	return ""
}

func (p rocketChatProperty) arrayViolation(value any) string {
	items, ok := value.([]any)
	if !ok {
		return "must be array"
	}
	item := rocketChatProperty{kind: objectKind}
	if p.kind == stringsKind {
		item.kind = stringKind
	}
	for _, value := range items {
		if violation := item.violation(value); violation != "" {
			return violation
		}
	}
	return ""
}

func (p rocketChatProperty) stringViolation(value any) string {
	s, ok := coerceString(value)
	switch {
	case !ok:
		return "must be string"
	case p.nonEmpty && s == "":
		return "must NOT have fewer than 1 characters"
	case len(p.enum) > 0 && !slices.Contains(p.enum, s):
		return "must be equal to one of the allowed values"
	}
	if _, err := time.Parse(time.RFC3339, s); p.kind == dateKind && err != nil {
		return `must match format "iso-date-time"`
	}
	return ""
}

// coerceString converts a decoded JSON value to a string. It returns false for
// arrays and objects.
func coerceString(value any) (s string, ok bool) {
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

// coerceBool converts a decoded JSON value to a boolean. It returns false if the
// value does not represent one.
func coerceBool(value any) (b, ok bool) {
	switch value {
	case nil, false, "false", 0.0:
		return false, true
	case true, "true", 1.0:
		return true, true
	}
	return false, false
}
