package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/chatdm/chatdm/chatdmtest"
)

// maxBodySize is the maximum size of a request body in bytes.
const maxBodySize = 1 << 20

// parameters are the parameters of a request to the control API.
type parameters struct {
	values url.Values
	known  []string // the names that were asked for
	errs   []error
}

// readParameters returns the parameters in the query and in the body.
func readParameters(r *http.Request) (*parameters, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBodySize))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("body: want at most %d bytes", maxBodySize)}
	}
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	var form url.Values
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case len(body) == 0:
	case mediaType == "application/json":
		form, err = readJSON(body)
	case mediaType == "application/x-www-form-urlencoded":
		form, err = url.ParseQuery(string(body))
	default:
		return nil, &statusError{http.StatusUnsupportedMediaType,
			fmt.Sprintf("Content-Type: got %q, want application/x-www-form-urlencoded or application/json", r.Header.Get("Content-Type"))}
	}
	if err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	for name, v := range form {
		values[name] = append(values[name], v...)
	}
	return &parameters{values: values}, nil
}

// readJSON returns the members of a JSON object as a form. The value of a member can
// be a scalar, a list of scalars, or, for a header, an object.
func readJSON(body []byte) (url.Values, error) {
	var object map[string]any
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return nil, errors.New("want a JSON object such as {\"method\": \"chat.postMessage\", \"times\": 1}")
	}
	form := url.Values{}
	for name, value := range object {
		switch value := value.(type) {
		case []any:
			form[name] = []string{} // an empty list is a value
			for _, element := range value {
				text, err := scalar(name, element)
				if err != nil {
					return nil, err
				}
				form.Add(name, text)
			}
		case map[string]any:
			if name != "header" {
				return nil, fmt.Errorf("%s: got an object, want a string, a number, true, false, or a list", name)
			}
			for field, element := range value {
				text, err := scalar(name+": "+field, element)
				if err != nil {
					return nil, err
				}
				form.Add(name, field+": "+text)
			}
		case nil:
		default:
			text, err := scalar(name, value)
			if err != nil {
				return nil, err
			}
			form.Add(name, text)
		}
	}
	return form, nil
}

func scalar(name string, value any) (string, error) {
	switch value := value.(type) {
	case string:
		return value, nil
	case bool:
		return strconv.FormatBool(value), nil
	case float64:
		return strconv.FormatFloat(value, 'f', -1, 64), nil
	default:
		return "", fmt.Errorf("%s: got %T, want a string, a number, true, or false", name, value)
	}
}

func (p *parameters) fail(name, got, want string) {
	p.errs = append(p.errs, fmt.Errorf("%s: got %q, want %s", name, got, want))
}

// ask makes name a known parameter.
func (p *parameters) ask(name string) {
	if !slices.Contains(p.known, name) {
		p.known = append(p.known, name)
	}
}

// list returns all values of a parameter, which can be separated by commas.
func (p *parameters) list(name string) []string {
	p.ask(name)
	var list []string
	for _, value := range p.values[name] {
		for element := range strings.SplitSeq(value, ",") {
			if element = strings.TrimSpace(element); element != "" {
				list = append(list, element)
			}
		}
	}
	return list
}

// text returns the value of a parameter, or "".
func (p *parameters) text(name string) string {
	p.ask(name)
	values := p.values[name]
	if len(values) > 1 {
		p.errs = append(p.errs, fmt.Errorf("%s: got %d values, want one", name, len(values)))
	}
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// required is like text, but reports an error if there is no value.
func (p *parameters) required(name, example string) string {
	value := p.text(name)
	if value == "" {
		p.errs = append(p.errs, fmt.Errorf("%s: got none, want %s", name, example))
	}
	return value
}

func (p *parameters) number(name string, defaultValue int) int {
	text := p.text(name)
	if text == "" {
		return defaultValue
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		p.fail(name, text, "a number")
	}
	return n
}

func (p *parameters) duration(name string, defaultValue time.Duration) time.Duration {
	text := p.text(name)
	if text == "" {
		return defaultValue
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		p.fail(name, text, "a duration such as 10s or 500ms")
	}
	return d
}

// oneOf returns the value of a parameter, which must be in want, or "".
func (p *parameters) oneOf(name string, want ...string) string {
	text := p.text(name)
	if text != "" && !slices.Contains(want, text) {
		p.fail(name, text, join(want))
	}
	return text
}

// fields sets the fields of the struct to which v points from the parameters of the
// same names. ApplyAfter is set from apply_after, for example.
func (p *parameters) fields(v any) {
	s := reflect.ValueOf(v).Elem()
	for i := range s.NumField() {
		name := snakeCase(s.Type().Field(i).Name)
		switch field := s.Field(i).Addr().Interface().(type) {
		case *string:
			*field = p.text(name)
		case *int:
			*field = p.number(name, 0)
		case *bool:
			*field = p.oneOf(name, "true", "false") == "true"
		case *time.Duration:
			*field = p.duration(name, 0)
		case *[]string:
			if list := p.list(name); p.values.Has(name) {
				*field = append([]string{}, list...) // not nil: an empty list of scopes means none
			}
		case *chatdmtest.Point:
			*field = chatdmtest.Point(p.oneOf(name, string(chatdmtest.BeforeHeader), string(chatdmtest.InHeader), string(chatdmtest.InBody)))
		case *chatdmtest.TokenState:
			*field = chatdmtest.TokenState(p.oneOf(name, string(chatdmtest.Revoked), string(chatdmtest.Expired), string(chatdmtest.Inactive)))
		case *http.Header:
			*field = p.header(name)
		}
	}
}

func (p *parameters) header(name string) http.Header {
	p.ask(name)
	var header http.Header
	for _, line := range p.values[name] {
		for line := range strings.Lines(line) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			field, value, ok := strings.Cut(line, ":")
			if !ok || !isToken(field) {
				p.fail(name, line, `a field such as "Retry-After: 30"`)
				continue
			}
			if header == nil {
				header = http.Header{}
			}
			header.Add(field, strings.TrimSpace(value))
		}
	}
	return header
}

// isToken reports whether name can be the name of a header field.
func isToken(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// err returns the first error. A parameter that nothing asked for is an error.
func (p *parameters) err() error {
	if len(p.errs) > 0 {
		return p.errs[0]
	}
	for _, name := range slices.Sorted(maps.Keys(p.values)) {
		if !slices.Contains(p.known, name) {
			return fmt.Errorf("unknown parameter %q, want %s", name, join(p.known))
		}
	}
	return nil
}

// faultFields returns the fields of f that are not zero, by the names of their
// parameters.
func faultFields(f chatdmtest.Fault) map[string]any {
	fields := fieldsOf(f)
	maps.DeleteFunc(fields, func(_ string, value any) bool { return reflect.ValueOf(value).IsZero() })
	for name, value := range fields {
		if d, ok := value.(time.Duration); ok {
			fields[name] = d.String()
		}
	}
	return fields
}

// fieldsOf returns the fields of a struct by the names of their parameters.
func fieldsOf(v any) map[string]any {
	fields := make(map[string]any)
	s := reflect.ValueOf(v)
	for i := range s.NumField() {
		fields[snakeCase(s.Type().Field(i).Name)] = s.Field(i).Interface()
	}
	return fields
}

// snakeCase returns apply_after for ApplyAfter, and id for ID.
func snakeCase(name string) string {
	var b strings.Builder
	var previous rune
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(previous) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
		previous = r
	}
	return b.String()
}

// join returns "a, b, or c".
func join(names []string) string {
	switch n := len(names); n {
	case 0:
		return "none"
	case 1:
		return names[0]
	case 2:
		return names[0] + " or " + names[1]
	default:
		return strings.Join(names[:n-1], ", ") + ", or " + names[n-1]
	}
}
