package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Decode reads one JSON object into v, which starts empty. A field whose
// value has another type than v's stays zero, as documented types are not
// always the ones sent. The error is io.ErrUnexpectedEOF for an answer that
// was cut off.
func Decode(body []byte, v any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return errors.New("not a JSON object")
	}
	err := json.Unmarshal(body, v)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); err == nil || ok {
		return nil // Unmarshal has set all the other fields
	}
	// Unmarshal calls {"ok":tr an invalid character; only a Decoder tells that
	// it could have gone on.
	var whole json.RawMessage
	if cut := json.NewDecoder(bytes.NewReader(body)).Decode(&whole); errors.Is(cut, io.ErrUnexpectedEOF) {
		return cut
	}
	return err
}

const excerptRunes = 120

var unicodeEscape = regexp.MustCompile(`\\u[0-9a-fA-F]{4}`)

// Excerpt shows the beginning of an answer that is not what it should be, on
// one line and without credentials.
func (e *Engine) Excerpt(body []byte) string {
	// All of it before the cut, which could halve a credential, and without the
	// escapes that JSON may hide one behind.
	text := e.Line(unicodeEscape.ReplaceAllStringFunc(string(body), func(escape string) string {
		n, _ := strconv.ParseUint(escape[2:], 16, 16)
		return string(rune(n))
	}))
	if runes := []rune(text); len(runes) > excerptRunes {
		text = string(runes[:excerptRunes]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

// Line is somebody else's text without credentials, line breaks and control
// characters.
func (e *Engine) Line(text string) string {
	text = e.scrub(strings.ToValidUTF8(text, "\uFFFD"))
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
}

// Cause is err, or where its text shows a credential an error that does not:
// a transport of the caller's may put a whole request into its errors.
func (e *Engine) Cause(err error) error {
	text := err.Error()
	if clean := e.scrub(text); clean != text {
		return &cleaned{text: clean, is: func(target error) bool { return errors.Is(err, target) }}
	}
	return err
}

// cleaned stands for an error whose text must not be seen. It has no Unwrap,
// which would lead to that text.
type cleaned struct {
	text string
	is   func(error) bool
}

func (c *cleaned) Error() string        { return c.text }
func (c *cleaned) Is(target error) bool { return c.is(target) }

// leastSecret keeps the scrubber from tearing texts apart where a test's
// token is a word of two letters.
const leastSecret = 6

func newScrubber(secrets []string) func(string) string {
	var forms []string
	for _, s := range secrets {
		if len(s) < leastSecret {
			continue
		}
		inJSON, _ := json.Marshal(s)
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), string(inJSON[1 : len(inJSON)-1])} {
			if !slices.Contains(forms, form) {
				forms = append(forms, form)
			}
		}
	}
	return func(text string) string {
		for _, form := range forms { // a strings.Replacer would copy every text
			text = strings.ReplaceAll(text, form, "[redacted]")
		}
		return text
	}
}

// List splits what a server joins with commas, without credentials.
func (e *Engine) List(text string) []string {
	if text == "" {
		return nil
	}
	items := make([]string, 0, strings.Count(text, ",")+1)
	for more := true; more; {
		var item string
		item, text, more = strings.Cut(text, ",")
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, e.scrub(item))
		}
	}
	return items
}
