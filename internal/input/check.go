// Package input validates what callers pass to the clients and encodes it.
package input

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"
)

// CheckCredential returns an error if value is empty or cannot be sent in a header.
// The error does not contain the value.
func CheckCredential(field, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s: must not be empty", field)
	case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return fmt.Errorf("%s: must contain only printable ASCII characters and no spaces", field)
	}
	return nil
}

// CheckID returns an error if id cannot be an ID. It does not check the prefix.
func CheckID(field, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s: must not be empty", field)
	case !utf8.ValidString(id) || strings.ContainsFunc(id, notInID):
		return fmt.Errorf("%s: %.100q must not contain white space, commas, or unprintable characters", field, id)
	}
	return nil
}

// CheckIDs calls [CheckID] for each element of ids, which may be empty.
func CheckIDs(field string, ids []string) error {
	for i, id := range ids {
		if CheckID(field, id) != nil {
			return CheckID(fmt.Sprintf("%s[%d]", field, i), id)
		}
	}
	return nil
}

func notInID(r rune) bool { return r == ',' || unicode.IsSpace(r) || !unicode.IsGraphic(r) }

// CheckResult returns an error unless result is nil or a non-nil pointer.
func CheckResult(result any) error {
	if result == nil {
		return nil
	}
	if v := reflect.ValueOf(result); v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("result: got %T, want a non-nil pointer", result)
	}
	return nil
}
