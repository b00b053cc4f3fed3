package engine

import (
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
)

// The maximum lengths of texts, in characters, and of lists, in items.
const (
	MaxText    = 200
	maxExcerpt = 120
	maxCause   = 1000
	maxItems   = 100
	redacted   = "[redacted]"
	minSecret  = 6 // in bytes; "x" would match any text
)

// Line returns text on one line, without credentials or control characters,
// shortened to 200 characters.
func (e *Engine) Line(text string) string { return e.line(text, MaxText) }

// Lines calls Line for each text, in place. It keeps at most 100 nonempty lines.
func (e *Engine) Lines(texts []string) []string { return lines(texts, e.Line) }

func lines(texts []string, line func(string) string) []string {
	kept := texts[:0]
	for _, text := range texts {
		if text = line(text); text != "" && len(kept) < maxItems {
			kept = append(kept, text)
		}
	}
	return kept
}

// List splits a comma-separated text into lines.
func (e *Engine) List(text string) []string {
	if text == "" {
		return nil
	}
	head := text[:min(len(text), maxItems*MaxText)]
	head = e.scrub(head, len(head) < len(text))
	line := e.Line
	if plain(head) { // the usual case
		line = func(text string) string { return Shorten(text, MaxText) }
	}
	return lines(strings.Split(head, ","), line)
}

// plain reports whether a text consists of printable ASCII without spaces.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Excerpt returns the beginning of a response, quoted, without credentials.
func (e *Engine) Excerpt(body []byte) string {
	head := string(body[:min(len(body), 16*maxExcerpt)])
	if strings.ContainsAny(head, `\%`) {
		// JSON and URLs can contain escaped credentials, and the cut can split an
		// escape sequence.
		head = escape.ReplaceAllStringFunc(brokenEscape.ReplaceAllString(head, ""), unescape)
	}
	return strconv.Quote(e.line(e.scrub(head, true), maxExcerpt))
}

var (
	escape       = regexp.MustCompile(`\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}|\\["\\/]`)
	brokenEscape = regexp.MustCompile(`(\\(u[0-9a-fA-F]{0,3})?|%[0-9a-fA-F]?)$`)
)

func unescape(s string) string {
	if s[0] == '%' {
		text, _ := url.PathUnescape(s)
		return text
	}
	text, _ := strconv.Unquote(`"` + strings.Replace(s, `\/`, "/", 1) + `"`)
	return text
}

func (e *Engine) line(text string, limit int) string {
	if len(text) <= limit && plain(text) {
		return e.scrub(text, false) // the usual case, without an allocation
	}
	head := text[:min(len(text), 16*limit)]
	head = e.scrub(strings.ToValidUTF8(head, "\uFFFD"), len(head) < len(text))
	head = strings.Join(strings.FieldsFunc(head, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	return Shorten(head, limit)
}

// Shorten cuts text after limit characters and marks the cut with an ellipsis.
func Shorten(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for i := range text {
		if limit == 0 {
			return text[:i] + "…"
		}
		limit--
	}
	return text
}

// Code returns an unknown error code in a form that is safe to show. For a confidential
// call, it returns "" unless the text looks like a code, because it could be a token.
func (e *Engine) Code(code string, confidential bool) string {
	if confidential && !codePattern.MatchString(code) {
		return ""
	}
	return e.Line(code)
}

var codePattern = regexp.MustCompile(`^[a-z]{1,32}([_-][a-z]{1,32}){0,7}$`)

// Cause returns err, or an error with a redacted and shortened text if necessary:
// a transport may include a whole request in its errors.
func (e *Engine) Cause(err error) error {
	text := err.Error()
	head := text[:min(len(text), 16*maxCause)]
	if safe := Shorten(e.scrub(head, len(head) < len(text)), maxCause); safe != text || e.leaks(err) {
		return newSafeError(safe, err)
	}
	return err
}

// leaks reports whether an error in the chain of err contains a credential.
func (e *Engine) leaks(err error) bool {
	if err == nil || e.scrub(err.Error(), false) != err.Error() {
		return err != nil
	}
	switch err := err.(type) { //nolint:errorlint // it walks the chain
	case interface{ Unwrap() error }:
		return e.leaks(err.Unwrap())
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), e.leaks)
	}
	return false
}

// safeError replaces an error whose text must not be shown. It keeps the error only
// in a closure, because errors.Unwrap and fmt would show that text.
type safeError struct {
	text string
	is   func(error) bool
}

// newSafeError returns an error that matches the same targets as err, except for
// the root package's kinds and codes, which are strings.
func newSafeError(text string, err error) error {
	return &safeError{text, func(target error) bool {
		return reflect.TypeOf(target).Kind() != reflect.String && errors.Is(err, target)
	}}
}

func (s *safeError) Error() string        { return s.text }
func (s *safeError) Is(target error) bool { return s.is(target) }

// scrub replaces all secrets in a text. If the text was cut, it also replaces the
// beginning of a secret at its end.
func (e *Engine) scrub(text string, cut bool) string {
	if e.credential != nil {
		text = scrub(text, e.credential.spellings, cut)
	}
	return e.recent.Load().scrub(e.fixed.scrub(text, cut), cut)
}

// Redact hides a secret in all texts until several newer ones have replaced it.
func (e *Engine) Redact(secret string) {
	if e.recent.Load() == nil {
		e.recent.CompareAndSwap(nil, newSecrets())
	}
	e.recent.Load().add(secret)
}

// secrets are texts that must not be shown. Use it as a pointer, because fmt does not
// print what a nested pointer points to. A nil *secrets has none.
type secrets struct {
	spellings atomic.Pointer[[]string] // of all secrets
	mu        sync.Mutex
	recent    []string
}

func newSecrets(values ...string) *secrets {
	s := new(secrets)
	s.set(values)
	return s
}

func (s *secrets) set(values []string) {
	var spellings []string
	for _, secret := range values {
		spellings = appendSpellings(spellings, secret)
	}
	s.spellings.Store(&spellings)
}

// maxRecent is enough for the calls that are in flight while a credential is replaced.
const maxRecent = 8

// add adds a secret and forgets all but the last few.
func (s *secrets) add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if secret == "" || slices.Contains(s.recent, secret) {
		return
	}
	s.recent = append(s.recent, secret)
	s.recent = s.recent[max(0, len(s.recent)-maxRecent):]
	s.set(s.recent)
}

// appendSpellings appends the ways in which a secret can appear in a text.
func appendSpellings(spellings []string, secret string) []string {
	if len(secret) >= minSecret && !strings.ContainsFunc(secret, mayBeEscaped) {
		return append(spellings, secret)
	}
	unescaped, _ := url.PathUnescape(secret) // a cookie may be escaped
	for _, s := range []string{secret, unescaped} {
		inJSON, _ := json.Marshal(s)
		for _, s := range []string{s, url.QueryEscape(s), url.PathEscape(s), strings.Trim(string(inJSON), `"`), strings.Trim(strconv.Quote(s), `"`)} {
			if len(s) >= minSecret && !slices.Contains(spellings, s) {
				spellings = append(spellings, s)
			}
		}
	}
	return spellings
}

// mayBeEscaped reports whether JSON or a URL can contain r in another form.
func mayBeEscaped(r rune) bool {
	return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9' && r < 'A' || r > 'Z' && r < 'a' || r > 'z')
}

func (s *secrets) scrub(text string, cut bool) string {
	if s == nil {
		return text
	}
	return scrub(text, *s.spellings.Load(), cut)
}

// scrub replaces all spellings of secrets in a text.
func scrub(text string, spellings []string, cut bool) string {
	for _, s := range spellings { // a strings.Replacer would always copy the text
		text = strings.ReplaceAll(text, s, redacted)
	}
	if !cut {
		return text
	}
	for _, s := range spellings {
		for n := min(len(s), len(text)); n >= minSecret; n-- {
			if strings.HasSuffix(text, s[:n]) {
				return text[:len(text)-n] + redacted
			}
		}
	}
	return text
}
