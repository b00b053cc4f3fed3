package engine

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-querystring/query"
)

// CheckCredential refuses what cannot travel in a header. The error names the
// field and never shows the value.
func CheckCredential(field, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s: empty", field)
	case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return fmt.Errorf("%s: holds white space, a control character or a character outside ASCII", field)
	}
	return nil
}

// CheckID refuses what can be no id. What an id begins with tells nothing of
// what it names, so that it is not looked at.
func CheckID(field, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s: empty", field)
	case !utf8.ValidString(id) || strings.ContainsFunc(id, notIDChar):
		return fmt.Errorf("%s: %.100q holds white space, a comma or a control character", field, id)
	}
	return nil
}

// CheckIDs is CheckID for a list that may be empty.
func CheckIDs(field string, ids []string) error {
	for i, id := range ids {
		if CheckID(field, id) != nil {
			return CheckID(fmt.Sprintf("%s[%d]", field, i), id)
		}
	}
	return nil
}

func notIDChar(r rune) bool { return r == ',' || unicode.IsSpace(r) || !unicode.IsGraphic(r) }

// CheckResult refuses what an answer cannot be decoded into, unless it is nil.
func CheckResult(result any) error {
	if result == nil {
		return nil
	}
	if v := reflect.ValueOf(result); v.Kind() != reflect.Pointer || v.IsNil() {
		return fmt.Errorf("result: %T is not a pointer to decode into", result)
	}
	return nil
}

// Form encodes params, which is nil, url.Values or a struct, for a body or a
// query. A credential is in neither.
func Form(params any) ([]byte, error) {
	form, ok := params.(url.Values)
	if !ok {
		var err error
		if form, err = query.Values(params); err != nil {
			return nil, fmt.Errorf("params: %w", err)
		}
	}
	if form.Has("token") {
		return nil, errors.New("params: the argument token would put a credential where it can be seen")
	}
	return []byte(form.Encode()), nil
}
