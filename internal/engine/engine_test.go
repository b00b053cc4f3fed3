package engine

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzHints(f *testing.F) {
	for _, seed := range []string{"", "0", "30", "-5", "1.5", "1.2.3", "9300000000", "Inf", "NaN", "soon", "Sat, 01 Jan 2000 00:00:40 GMT", "946684840000"} {
		f.Add(seed, "Sat, 01 Jan 2000 00:00:00 GMT")
		f.Add(seed, "")
	}
	f.Fuzz(func(t *testing.T, value, date string) {
		h := http.Header{"Retry-After": {value}, "X-Ratelimit-Reset": {value}, "Date": {date}}
		for name, hint := range map[string]time.Duration{"RetryAfter": RetryAfter(h), "ResetAfter": ResetAfter(h)} {
			if hint < 0 {
				t.Errorf("%s of %q is %v", name, value, hint)
			}
			v := Verdict{Outcome: Refused, Hint: hint}
			if wait := (RetryPolicy{}).withDefaults().wait(1, v); wait < hint || wait < time.Second && hint == 0 {
				t.Errorf("the wait for a hint of %v is %v", hint, wait)
			}
		}
	})
}

// TestWaitDoesNotOverflow: no policy and no attempt makes a wait negative or
// longer than MaxWait.
func TestWaitDoesNotOverflow(t *testing.T) {
	for _, policy := range []RetryPolicy{
		{}, {BaseWait: 1, MaxWait: 1}, {BaseWait: time.Hour, MaxWait: time.Second}, {BaseWait: math.MaxInt64/2 + 1, MaxWait: math.MaxInt64 - 1},
	} {
		p := policy.withDefaults()
		for attempt := 1; attempt < 200; attempt++ {
			if wait := p.wait(attempt, Verdict{Outcome: Unknown}); wait < 0 || wait > p.MaxWait {
				t.Fatalf("%+v: the wait after attempt %d is %v", p, attempt, wait)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "null", "{}", `{"ok":true}`, `{"ok":tr`, `{"ok":"x","n":1.5}`, `{"ok":true}x`, "[1]", `<html>`, "\ufeff{}", `{"ok":true,"ok":false}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var v struct {
			OK bool
			N  int
			S  []string
			M  *struct{ X string }
		}
		err := Decode(body, &v)
		var object map[string]json.RawMessage
		whole := json.Unmarshal(body, &object)
		switch {
		case err == nil && (whole != nil || object == nil):
			t.Errorf("%q was accepted, and is no JSON object: %v", body, whole)
		case err != nil && whole == nil && object != nil:
			t.Errorf("%q was refused, and is a JSON object: %v", body, err)
		case errors.Is(err, io.ErrUnexpectedEOF) && json.Valid(body):
			t.Errorf("%q is called cut off, and is whole", body)
		}
	})
}

func FuzzTexts(f *testing.F) {
	const secret = "xoxb-1234-geheim/+="
	for _, seed := range []string{"", "x", secret, url.QueryEscape(secret), `xoxb\u002d1234-geheim\u002f+=`, strings.Repeat("é", 119) + secret, "\xff\x00\u2028" + secret} {
		f.Add(seed, "after")
	}
	e := &Engine{scrub: newScrubber([]string{secret, "", "short"})}
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, text := range []string{e.Line(before + secret + after), e.Excerpt([]byte(before + secret + after)), e.Cause(errors.New(before + secret + after)).Error()} {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows the secret", text)
			}
		}
		line := e.Line(before)
		if strings.ContainsAny(line, "\r\n\x00") || !utf8.ValidString(line) {
			t.Errorf("Line(%q) = %q", before, line)
		}
		if excerpt := e.Excerpt([]byte(before)); len(excerpt) > 20*excerptRunes {
			t.Errorf("an excerpt of %d bytes", len(excerpt))
		}
	})
}

func FuzzBaseURL(f *testing.F) {
	for _, seed := range []string{
		"https://slack.com/api", "http://localhost:1", "http://[::1]/x", "https://u:p@h/", "https://h?x", "https://h#", "https:///x",
		"https://h/../x", "https://h/%2f", "http://127.0.0.1.evil.example", "https://h/\x00", "HTTPS://H", "https://h:99999",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parseBase(raw, false)
		if err != nil {
			if raw != "" && len(raw) > 8 && strings.Contains(err.Error(), raw) {
				t.Errorf("the error shows the URL: %v", err)
			}
			return
		}
		again, err := url.Parse(u.String())
		switch {
		case err != nil:
			t.Errorf("%q became %q, which is no URL: %v", raw, u, err)
		case again.User != nil || again.RawQuery != "" || again.Fragment != "" || again.Host == "":
			t.Errorf("%q became %q", raw, u)
		case again.Scheme == "http" && !loopback(again.Hostname()):
			t.Errorf("%q is plain http to %s", raw, again.Hostname())
		case strings.HasSuffix(again.Path, "/") || slices.Contains(strings.Split(again.Path, "/"), ".."):
			t.Errorf("%q has the path %q", raw, again.Path)
		}
	})
}

func FuzzCheckID(f *testing.F) {
	for _, seed := range []string{"", "U1", "U1,U2", "U 1", "U\u200b1", "\xff", "é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if CheckID("id", id) == nil && (id == "" || strings.ContainsAny(id, " ,\t\r\n\x00") || !utf8.ValidString(id)) {
			t.Errorf("%q was accepted", id)
		}
		if err := CheckCredential("token", id); err == nil {
			if _, err := http.NewRequest("GET", "https://example.org/", nil); err != nil || strings.ContainsAny(id, " \r\n\x00") || id == "" {
				t.Errorf("%q was accepted as a credential", id)
			}
		} else if len(id) > 3 && strings.Contains(err.Error(), id) && !strings.Contains("token: holds white space, a control character or a character outside ASCII", id) {
			t.Errorf("the error shows the credential: %v", err)
		}
	})
}
