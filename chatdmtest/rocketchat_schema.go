package chatdmtest

import (
	"strconv"
	"strings"
)

// rocketChatBodySchema describes an object with a required string property and an
// optional boolean property.
type rocketChatBodySchema struct {
	stringProperty  string
	booleanProperty string // empty means that there is none
}

// The schemas of endpoints. A body must match one of the alternatives.
var (
	createSchema = []rocketChatBodySchema{
		{stringProperty: "usernames", booleanProperty: "excludeSelf"},
		{stringProperty: "username", booleanProperty: "excludeSelf"},
	}
	deleteSchema = []rocketChatBodySchema{{stringProperty: "roomId"}, {stringProperty: "username"}}
	roomSchema   = []rocketChatBodySchema{{stringProperty: "roomId"}}
)

// validate checks a body against the alternatives of a schema. The error text is the
// same as that of Ajv, the validator that Rocket.Chat uses. Like Ajv with type
// coercion, validate accepts null, booleans, and numbers as strings.
func (r *RocketChat) validate(alternatives []rocketChatBodySchema, body any) *rocketChatError {
	var violations []string
	for _, schema := range alternatives {
		if violation := schema.violation(body); violation != "" {
			violations = append(violations, violation)
		}
	}
	if len(violations) < len(alternatives) || len(alternatives) == 0 {
		return nil
	}
	if len(alternatives) > 1 {
		violations = append(violations, "must match exactly one schema in oneOf")
	}
	return &rocketChatError{
		code:     "invalid-params",
		reason:   strings.Join(violations, "\n "),
		omitCode: r.generationAtLeast(RocketChat7),
	}
}

// violation returns the first violation of the schema, or "" if body matches it.
func (s rocketChatBodySchema) violation(body any) string {
	object, ok := body.(map[string]any)
	if !ok {
		return "must be object"
	}
	if _, ok := object[s.stringProperty]; !ok {
		return "must have required property '" + s.stringProperty + "'"
	}
	for name := range object {
		if name != s.stringProperty && (name != s.booleanProperty || name == "") {
			return "must NOT have additional properties"
		}
	}
	if _, ok := coerceString(object[s.stringProperty]); !ok {
		return "must be string"
	}
	if _, ok := coerceBool(object[s.booleanProperty]); !ok {
		return "must be boolean"
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
