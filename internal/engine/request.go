package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Request is one call of an API method.
type Request struct {
	Method          string // the API method, such as "conversations.open", and its path below the base URL
	Verb            string // the HTTP method
	Conversation    string // set if the server limits the calls per conversation, too
	Body            []byte // the query if Verb is GET; nil means none
	Idempotent      bool   // the client may repeat the call if its effect is unknown
	Confidential    bool   // the response can contain credentials, so no error may show any part of it
	EarlierAttempts int32  // attempts that the caller already made with another method
	// Classify decodes a response and returns nil if it is a success. It must not
	// retain the body, which the engine reuses.
	Classify func(*Response) *Failure
	// Resolve finds out what happened if the call has failed but an attempt may have
	// taken effect. It returns nil if that attempt succeeded, or the final failure. It
	// gets the counters of the call and its last failure. If Resolve is nil, the effect
	// stays unknown.
	Resolve func(context.Context, *Response, *Failure) *Failure
}

// Response is the response to one attempt.
type Response struct {
	Status      int
	Header      http.Header
	Body        []byte // complete; only valid in Classify
	RequestID   string
	Attempts    int // of the call so far
	LostAnswers int // earlier attempts that may have taken effect
}

// space is white space in JSON.
const space = " \t\r\n"

// Decode decodes the JSON object in the body into v, which must be zero. If a
// value has the wrong type, its field stays zero, because vendors do not always
// send the types they document. If the body is truncated, the error is
// io.ErrUnexpectedEOF.
func (r *Response) Decode(v any) error {
	if !bytes.HasPrefix(bytes.TrimLeft(r.Body, space), []byte("{")) {
		return errors.New("not a JSON object")
	}
	err := json.Unmarshal(r.Body, v)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); err == nil || ok {
		return nil // Unmarshal has set all other fields
	}
	// At the end of the body, Unmarshal scans a space, so it reports {"ok":tr as an
	// invalid character.
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && syntax.Offset == int64(len(r.Body)) &&
		(strings.HasPrefix(err.Error(), "unexpected end") || strings.HasPrefix(err.Error(), "invalid character ' '") && !bytes.HasSuffix(r.Body, []byte(" "))) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// maxElements is ten times the largest page that Slack documents.
const maxElements = 10_000

// DecodePage is like Decode, but first checks that no value in the JSON object has
// more than maxElements elements, because an element of a few bytes can need a lot of memory.
func (r *Response) DecodePage(v any) error {
	if bytes.Count(r.Body, []byte(",")) < maxElements {
		return r.Decode(v) // the usual case
	}
	depth, commas := 0, 0
	for i := 0; i < len(r.Body); i++ {
		switch r.Body[i] {
		case '"':
			for i++; i < len(r.Body) && r.Body[i] != '"'; i++ {
				if r.Body[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			if depth == 2 {
				commas = 0
			}
		case '}', ']':
			depth--
		case ',':
			if depth == 2 {
				commas++
			}
			if commas >= maxElements {
				return fmt.Errorf("the page has more than %d elements", maxElements)
			}
		}
	}
	return r.Decode(v)
}

// Strings is a JSON array of strings. Only the first maxElements are decoded.
type Strings []string

// UnmarshalJSON ignores a value that is not an array. An element of the wrong type
// is empty.
func (a *Strings) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, _ := dec.Token(); start != json.Delim('[') {
		return nil
	}
	for dec.More() && len(*a) < maxElements {
		var text string
		_ = dec.Decode(&text)
		*a = append(*a, text)
	}
	return nil
}

// The kinds of failure that the engine itself distinguishes.
const (
	InvalidRequest     = "invalid_request"
	Unauthenticated    = "unauthenticated"
	RateLimited        = "rate_limited"
	Unavailable        = "unavailable"
	UnexpectedResponse = "unexpected_response"
	Canceled           = "canceled"
)

// Failure says why an attempt failed, or why there was no further attempt.
type Failure struct {
	Kind       string
	Code       string        // the server's error code, safe to show
	Message    string        // the server's text, unmodified
	Err        error         // the cause; nil if the code alone explains the failure
	RetryAfter time.Duration // the wait that the server requested; 0 if it requested none
	Quote      string        // what the response said, to append to Err unless the call is confidential
	Details    any           // data for the platform's NewError
	Effect
	status   int           // the status of the response
	backoff  time.Duration // the wait before the next attempt
	previous *Failure      // the failure of the previous attempt
}

// Effect says what a failed attempt may have done. It alone decides whether
// the client retries.
type Effect struct {
	Retry   Retry
	Unknown bool // the attempt may have taken effect
}

// Retry says which calls the client retries after a failure.
type Retry int

// The values of Retry.
const (
	Never Retry = iota
	IfIdempotent
	Always
	AfterRefresh // all calls, once, if the credential can be refreshed
)

// The retry contract: every failure of an attempt has one of these effects.
var (
	// A failed DNS lookup, a failed dial, an interrupted TLS handshake.
	NeverSent = Effect{Retry: Always}
	// A 429 or a rate limit code. The client first waits as long as the server requested.
	Rejected = Effect{Retry: Always}
	// An expired credential, which the server checks before it does anything.
	Expired = Effect{Retry: AfterRefresh}
	// A lost connection, the timeout of an attempt, a 500, 502, 503, or 504, a
	// truncated response, or a code like internal_error.
	EffectUnknown = Effect{Retry: IfIdempotent, Unknown: true}
	// A response that is not from the API, although the call may have succeeded. A
	// retry would get the same response.
	Unreadable = Effect{Retry: Never, Unknown: true}
	// Any other response, or a certificate that fails verification.
	Final = Effect{Retry: Never}
)

// EffectForStatus returns the effect of an attempt whose response is not from the API.
func EffectForStatus(status int) Effect {
	switch {
	case slices.Contains([]int{500, 502, 503, 504}, status):
		return EffectUnknown
	case status < 300, status >= 500, status == http.StatusRequestTimeout:
		return Unreadable
	}
	return Final
}

// Error describes the failure. The errors of later attempts include this text.
func (f *Failure) Error() string {
	text := cmp.Or(f.Code, f.Kind)
	if f.Code == "" && f.status != 0 {
		text = fmt.Sprintf("%s (status %d)", text, f.status)
	}
	if f.Err != nil {
		text += ": " + f.Err.Error()
	}
	return text
}

// SourceFailure returns the failure of a call whose credential source failed with the root
// package's Error. Method and cause come from that error; cause may be nil.
func SourceFailure(kind, code string, retryAfter time.Duration, method string, cause error) *Failure {
	err := errors.New("credential source: " + method + " failed")
	if cause != nil {
		err = fmt.Errorf("credential source: %s: %w", method, cause)
	}
	return &Failure{Kind: kind, Code: code, RetryAfter: retryAfter, Err: err}
}

// WithCause returns a copy of f with an additional cause.
func (f *Failure) WithCause(cause error) *Failure {
	next := *f
	if next.Err = cause; f.Err != nil {
		next.Err = fmt.Errorf("%w; %w", f.Err, cause)
	}
	return &next
}

// Outcome describes a failed call for NewError.
type Outcome struct {
	Method    string
	Failure          // of the last attempt, or the reason why there was no further attempt
	Status    int    // the status of the response, or 0
	RequestID string // of the response
	Attempts  int
}

// ErrEffectUnknown is the sentinel of the root package.
var ErrEffectUnknown = errors.New("the call may have taken effect")
