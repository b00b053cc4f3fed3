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
	"strings"
)

// maxArgNameLength is the maximum length of an argument name, in bytes. Slack's
// documentation says only that "very long names" are rejected.
const maxArgNameLength = 100

// readArgs returns the arguments of a request, or an error code if its format is
// invalid. In both cases, it also returns the warnings about the format.
func readArgs(req apiRequest, method slackMethod) (args map[string]string, warnings []string, code string) {
	args = lastValues(req.httpRequest.URL.Query())
	delete(args, "token") // Slack ignores a token in the query
	if method.formOnly {
		clear(args)
	}
	if req.httpRequest.Method == http.MethodPost {
		var body map[string]string
		body, warnings, code = readBody(req, method)
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

// readBody returns the arguments in the body of a POST.
func readBody(req apiRequest, method slackMethod) (args map[string]string, warnings []string, code string) {
	if req.readErr != nil {
		return nil, nil, "request_timeout"
	}
	contentType := req.httpRequest.Header.Get("Content-Type")
	if contentType == "" {
		if len(req.body) > 0 {
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
		if mediaType == "application/json" && method.rejectsJSON {
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
		args, code = readMultipart(req.body, params["boundary"])
	case "application/json":
		body := req.body
		if latin1 {
			body = latin1ToUTF8(body)
		}
		args, code = readJSON(body, method.nestedJSON)
	default:
		args, code = readForm(req.body)
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
	form, err := multipart.NewReader(bytes.NewReader(body), boundary).ReadForm(maxBodySize)
	if err != nil {
		return nil, "invalid_form_data"
	}
	form.RemoveAll()
	return lastValues(form.Value), ""
}

// lastValues returns the last value of each argument. PHP handles repeated arguments
// in the same way.
func lastValues(form map[string][]string) map[string]string {
	args := make(map[string]string, len(form))
	for name, values := range form {
		args[name] = values[len(values)-1]
	}
	return args
}

// readJSON returns the arguments in a JSON object. It skips null, decodes strings,
// and keeps the JSON of other values. It rejects arrays unless nested is set.
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
			_ = json.Unmarshal(value, &text) // cannot fail: value is a valid JSON string
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

// latin1ToUTF8 converts text from ISO-8859-1, where each byte is a code point.
func latin1ToUTF8(text []byte) []byte {
	var utf8 bytes.Buffer
	for _, b := range text {
		utf8.WriteRune(rune(b))
	}
	return utf8.Bytes()
}

// checkArgName returns an error code if the name of an argument is invalid.
func checkArgName(name string) (code string) {
	if i := strings.IndexByte(name, '['); i > 0 && strings.HasSuffix(name, "]") {
		return "invalid_array_arg" // PHP parses "users[0]" as an array
	}
	if name == "" || len(name) > maxArgNameLength {
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
