package chatdmtest

import (
	"bytes"
	"encoding/json"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxArgName is where an argument's name becomes "very long", which is all that
// Slack says about it.
const maxArgName = 100

// readArgs reads the arguments of a request, or says what is wrong with its
// form. The warnings hold in both cases.
func readArgs(c call, method slackMethod) (args map[string]string, warnings []string, code string) {
	args = make(map[string]string)
	for name, values := range c.http.URL.Query() {
		if name != "token" { // for which Slack never looks there
			args[name] = values[len(values)-1]
		}
	}
	if c.http.Method == http.MethodPost {
		var body map[string]string
		body, warnings, code = readBody(c, method)
		if code != "" {
			return nil, warnings, code
		}
		maps.Copy(args, body)
	}
	for _, name := range slices.Sorted(maps.Keys(args)) {
		if code := checkArgName(name); code != "" {
			return nil, warnings, code
		}
	}
	return args, warnings, ""
}

// readBody reads the arguments in the body of a POST.
func readBody(c call, method slackMethod) (args map[string]string, warnings []string, code string) {
	if c.err != nil {
		return nil, nil, "request_timeout"
	}
	contentType := c.http.Header.Get("Content-Type")
	if contentType == "" {
		if len(c.body) > 0 {
			return nil, nil, "missing_post_type"
		}
		return nil, nil, ""
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, nil, "invalid_post_type"
	}

	charset, hasCharset := params["charset"]
	switch mediaType {
	case "application/x-www-form-urlencoded", "multipart/form-data":
		if hasCharset {
			warnings = []string{"superfluous_charset"}
		}
	case "application/json", "text/plain":
		if mediaType == "application/json" && method.noJSON {
			return nil, nil, "invalid_post_type"
		}
		if !hasCharset {
			warnings = []string{"missing_charset"}
		}
	default:
		return nil, nil, "invalid_post_type"
	}
	latin1 := strings.EqualFold(charset, "iso-8859-1")
	if hasCharset && !latin1 && !strings.EqualFold(charset, "utf-8") {
		return nil, warnings, "invalid_charset"
	}

	switch mediaType {
	case "multipart/form-data":
		args, code = readMultipart(c.body, params["boundary"])
	case "application/json":
		body := c.body
		if latin1 {
			body = fromLatin1(body)
		}
		args, code = readJSON(body, method.nested)
	default:
		args, code = readForm(c.body)
	}
	return args, warnings, code
}

func readForm(body []byte) (args map[string]string, code string) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, "invalid_form_data"
	}
	return lastValues(form), ""
}

func readMultipart(body []byte, boundary string) (args map[string]string, code string) {
	form, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(maxBody)
	if err != nil {
		return nil, "invalid_form_data"
	}
	form.RemoveAll()
	return lastValues(form.Value), ""
}

// lastValues settles repeated arguments the way PHP does.
func lastValues(form map[string][]string) map[string]string {
	args := make(map[string]string, len(form))
	for name, values := range form {
		args[name] = values[len(values)-1]
	}
	return args
}

// readJSON reads arguments from a JSON object. A null is an absent argument;
// numbers, booleans and, where they are allowed, nested values keep their JSON.
func readJSON(body []byte, nested bool) (args map[string]string, code string) {
	args = make(map[string]string)
	if len(body) == 0 {
		return args, ""
	}
	if !json.Valid(body) {
		return nil, "invalid_json"
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return nil, "json_not_object"
	}
	for name, value := range object {
		switch value[0] {
		case 'n':
			continue
		case '"':
			var text string
			_ = json.Unmarshal(value, &text) // cannot fail: it is valid, and a string
			args[name] = text
		case '[':
			if !nested {
				return nil, "invalid_array_arg"
			}
			args[name] = string(value)
		default:
			args[name] = string(value)
		}
	}
	return args, ""
}

// fromLatin1 gives the UTF-8 of text in ISO-8859-1, whose bytes are code points.
func fromLatin1(text []byte) []byte {
	var utf8 bytes.Buffer
	for _, b := range text {
		utf8.WriteRune(rune(b))
	}
	return utf8.Bytes()
}

// checkArgName says what is wrong with the name of an argument.
func checkArgName(name string) (code string) {
	if i := strings.IndexByte(name, '['); i > 0 && strings.HasSuffix(name, "]") {
		return "invalid_array_arg" // PHP makes an array of "users[0]"
	}
	if name == "" || len(name) > maxArgName {
		return "invalid_arg_name"
	}
	for _, r := range name {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_':
		default:
			return "invalid_arg_name"
		}
	}
	return ""
}

// flag reads a boolean argument. What is no boolean is false.
func (c *slackCall) flag(name string) bool {
	set, err := strconv.ParseBool(c.args[name])
	return err == nil && set
}
