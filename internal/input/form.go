package input

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-querystring/query"
)

// Form validates and encodes the arguments of a typed method, which adds them in
// alphabetical order. Unlike go-querystring, it does not need reflection, which is
// slow. The zero value is an empty form.
type Form struct {
	body []byte
	err  error
}

// Add appends an argument.
func (f Form) Add(name, value string) Form {
	value = url.QueryEscape(value)
	if f.body == nil {
		f.body = make([]byte, 0, len(name)+1+len(value)) // often the only argument
	} else if len(f.body) > 0 {
		f.body = append(f.body, '&')
	}
	f.body = append(append(append(f.body, name...), '='), value...)
	return f
}

// AddTrue appends an argument with the value "true" if set is true.
func (f Form) AddTrue(name string, set bool) Form {
	if !set {
		return f
	}
	if f.body == nil {
		f.body = make([]byte, 0, 32) // another argument follows
	}
	return f.Add(name, "true")
}

// AddBool appends an argument unless value is nil.
func (f Form) AddBool(name string, value *bool) Form {
	if value == nil {
		return f
	}
	return f.Add(name, strconv.FormatBool(*value))
}

// AddInt appends an argument unless value is 0.
func (f Form) AddInt(name string, value int) Form {
	if value == 0 {
		return f
	}
	return f.Add(name, strconv.Itoa(value))
}

// AddText appends an argument unless value is empty.
func (f Form) AddText(name, value string) Form {
	if value == "" {
		return f
	}
	return f.Add(name, value)
}

// AddJSON appends v as JSON, unless that is null. A value that is not an array if
// start is '[', or not an object if start is '{', is an error.
func (f Form) AddJSON(name string, start byte, v any) Form {
	if v == nil {
		return f
	}
	encoded, err := json.Marshal(v)
	switch {
	case err != nil:
		return f.Fail(fmt.Errorf("%s: %w", name, err))
	case string(encoded) == "null":
		return f
	case encoded[0] != start:
		return f.Fail(fmt.Errorf("%s: got %T, want a value that is marshaled to a JSON %s", name, v, map[byte]string{'[': "array", '{': "object"}[start]))
	}
	return f.Add(name, string(encoded))
}

// AddID checks and appends an ID.
func (f Form) AddID(name, id string) Form {
	return f.Fail(CheckID(name, id)).Add(name, id)
}

// Fail records why the form cannot be sent. It ignores nil and all errors after
// the first.
func (f Form) Fail(err error) Form {
	f.err = cmp.Or(f.err, err)
	return f
}

// Encode returns the encoded form, or an error that says why it cannot be sent.
func (f Form) Encode() ([]byte, error) { return f.body, f.err }

// Params encodes the arguments of any method: nil, a url.Values, a map with
// string keys, or a struct for go-querystring. It encodes a nested value as JSON
// if go-querystring would print it as Go syntax. An argument named token is an
// error, because credentials in forms and queries end up in logs.
func Params(params any) Form {
	form, err := values(params)
	if err != nil {
		return Form{err: fmt.Errorf("params: %w", err)}
	}
	if form.Has("token") {
		return Form{err: errors.New("params: token is not allowed; the client sends its token in a header")}
	}
	return Form{body: []byte(form.Encode())}
}

func values(params any) (url.Values, error) {
	if form, ok := params.(url.Values); ok {
		return form, nil
	}
	v := indirect(reflect.ValueOf(params))
	if v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String {
		form := make(url.Values, v.Len())
		for name, value := range v.Seq2() {
			if err := set(form, name.String(), value); err != nil {
				return nil, err
			}
		}
		return form, nil
	}
	// go-querystring would not return from a cycle.
	_, err := json.Marshal(params)
	if e, ok := errors.AsType[*json.UnsupportedValueError](err); ok && strings.HasPrefix(e.Str, "encountered a cycle") {
		return nil, err
	}
	form, err := query.Values(params)
	if err == nil && v.Kind() == reflect.Struct {
		err = setNested(form, v)
	}
	return form, err
}

// setNested replaces what go-querystring wrote to form for the nested fields of a
// struct. It returns an error for a field that has a json tag but no url tag,
// which go-querystring would send under its Go name.
func setNested(form url.Values, params reflect.Value) error {
	for i := range params.NumField() {
		field, value := params.Type().Field(i), params.Field(i)
		tag, hasURL := field.Tag.Lookup("url")
		name, options, _ := strings.Cut(tag, ",")
		jsonName, hasJSON := field.Tag.Lookup("json")
		switch embedded := indirect(value); {
		case name == "-":
		case field.Anonymous && name == "" && embedded.Kind() == reflect.Struct:
			if err := setNested(form, embedded); err != nil {
				return err
			}
		case !field.IsExported():
		case !hasURL && hasJSON && jsonName != "-":
			return fmt.Errorf("field %s has a json tag but no url tag; its argument would be named %[1]s", field.Name)
		case nested(value):
			name = cmp.Or(name, field.Name)
			for key := range form { // go-querystring names the fields of a nested struct a[b]
				if key == name || strings.HasPrefix(key, name+"[") {
					form.Del(key)
				}
			}
			if slices.Contains(strings.Split(options, ","), "omitempty") && isEmpty(value) {
				continue
			}
			if err := set(form, name, value); err != nil {
				return err
			}
		}
	}
	return nil
}

// set leaves out nil and encodes everything else as JSON, which prints booleans
// and numbers as Slack expects. A string that is not nested is not quoted.
func set(form url.Values, name string, v reflect.Value) error {
	v = indirect(v)
	if !v.IsValid() || (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.IsNil() {
		return nil
	}
	if encoder, ok := reflect.TypeAssert[query.Encoder](v); ok {
		return encoder.EncodeValues(name, &form)
	}
	encoded, err := json.Marshal(v.Interface())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	text := string(encoded)
	if raw, ok := reflect.TypeAssert[json.RawMessage](v); ok {
		text = string(raw)
	} else if encoded[0] == '"' {
		_ = json.Unmarshal(encoded, &text)
	}
	form.Set(name, text)
	return nil
}

// indirect follows at most 64 pointers and interfaces. The result is invalid if one
// of them is nil.
func indirect(v reflect.Value) reflect.Value {
	for depth := 0; (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) && depth < 64; depth++ {
		if v.Type().Implements(encoderType) && !v.IsNil() {
			return v
		}
		v = v.Elem()
	}
	return v
}

// isEmpty reports whether omitempty applies to a nested value.
func isEmpty(v reflect.Value) bool {
	zeroable, ok := reflect.TypeAssert[interface{ IsZero() bool }](v)
	return v.IsZero() || ok && zeroable.IsZero() || (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.Len() == 0
}

var encoderType, timeType = reflect.TypeFor[query.Encoder](), reflect.TypeFor[time.Time]()

// nested reports whether go-querystring would print the field v as Go syntax, or
// spread it over several arguments.
func nested(v reflect.Value) bool {
	if v.Type().Implements(encoderType) || v.Type() == timeType {
		return false
	}
	switch v.Kind() {
	case reflect.Pointer:
		return !v.IsNil() && nested(v.Elem())
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if isGoSyntax(v.Index(i)) {
				return true
			}
		}
		return v.Len() > 0 && v.Type() == reflect.TypeFor[json.RawMessage]()
	case reflect.Struct, reflect.Interface:
		return true
	}
	return isGoSyntax(v)
}

// isGoSyntax reports whether fmt prints v as Go syntax.
func isGoSyntax(v reflect.Value) bool {
	if v.Kind() == reflect.Interface {
		if v = v.Elem(); !v.IsValid() || v.Type() == timeType || v.Kind() == reflect.Pointer {
			return true // <nil>, the long form of a time, or an address
		}
	}
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if !v.IsValid() || v.Type().Implements(reflect.TypeFor[fmt.Stringer]()) || v.Type().Implements(reflect.TypeFor[error]()) {
		return false // time.Time, for example
	}
	return slices.Contains([]reflect.Kind{reflect.Struct, reflect.Map, reflect.Slice, reflect.Array, reflect.Func, reflect.Chan}, v.Kind())
}
