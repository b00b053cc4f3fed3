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
				t.Errorf("%s of %q: got %v, want at least 0", name, value, hint)
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
			if wait := p.backoff(attempt); wait < 0 || wait > p.MaxWait {
				t.Fatalf("%+v: got wait %v after attempt %d, want 0 to MaxWait", p, wait, attempt)
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
		err := (&Response{Body: body}).Decode(&v)
		var object map[string]json.RawMessage
		whole := json.Unmarshal(body, &object)
		switch {
		case err == nil && (whole != nil || object == nil):
			t.Errorf("%q: got a success, want an error, because it is not a JSON object: %v", body, whole)
		case err != nil && whole == nil && object != nil:
			t.Errorf("%q: got %v, want a success, because it is a JSON object", body, err)
		case errors.Is(err, io.ErrUnexpectedEOF) && json.Valid(body):
			t.Errorf("%q: got %v, want another error, because it is complete", body, err)
		}
	})
}

func FuzzTexts(f *testing.F) {
	const secret = "xoxb-1234-hidden/+="
	for _, seed := range []string{"", "x", secret, url.QueryEscape(secret), `xoxb\u002d1234-hidden\u002f+=`, strings.Repeat("é", 119) + secret, "\xff\x00\u2028" + secret} {
		f.Add(seed, "after")
	}
	e := &Engine{settings: &settings{fixed: newSecrets(secret, "", "short")}}
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, text := range []string{e.Line(before + secret + after), e.Excerpt([]byte(before + secret + after)), e.Cause(errors.New(before + secret + after)).Error()} {
			if strings.Contains(text, secret) {
				t.Errorf("got %q, want no secret in it", text)
			}
		}
		line := e.Line(before)
		if strings.ContainsAny(line, "\r\n\x00") || !utf8.ValidString(line) {
			t.Errorf("Line(%q): got %q, want one line of UTF-8", before, line)
		}
		if excerpt := e.Excerpt([]byte(before)); len(excerpt) > 20*maxExcerpt {
			t.Errorf("Excerpt: got %d bytes, want at most %d", len(excerpt), 20*maxExcerpt)
		}
	})
}

// TestTexts: a text that the client cuts does not end with the beginning of a secret,
// and a text that it does not cut may.
func TestTexts(t *testing.T) {
	secret := strings.Repeat("0123456789", 20)
	e := &Engine{settings: &settings{fixed: newSecrets(secret, "sixsix", "fives")}}
	line := func(text string) []string { return []string{e.Line(text)} }
	cause := func(text string) []string { return []string{e.Cause(errors.New(text)).Error()} }
	for name, tt := range map[string]struct {
		got  []string
		want string
	}{
		"short secrets":   {line("sixsix fives"), redacted + " fives"},
		"line":            {line("é " + secret[:8]), "é " + secret[:8]},
		"control and é":   {line("\u0085\u2028é"), "é"},
		"invalid UTF-8":   {line("\xff"), "\uFFFD"},
		"list":            {e.List("a,, b c," + secret[:8]), "a,b c," + secret[:8]},
		"list, cut":       {e.List(strings.Repeat(",", maxItems*MaxText-8) + secret), redacted},
		"list, too long":  {e.List(strings.Repeat("a,", maxItems+1)), strings.Repeat("a,", maxItems-1) + "a"},
		"cause":           {cause("x " + secret[:8]), "x " + secret[:8]},
		"cause, cut":      {cause("x" + strings.Repeat(secret, 80) + secret), "x" + strings.Repeat(redacted, 80)},
		"cause, too long": {cause(strings.Repeat("é", maxCause+1)), strings.Repeat("é", maxCause) + "…"},
		"cause, longest":  {cause(strings.Repeat("é", maxCause)), strings.Repeat("é", maxCause)},
	} {
		if got := strings.Join(tt.got, ","); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if err := errTooLarge; e.Cause(err) != err {
		t.Errorf("got %T for a harmless error, want the error itself", e.Cause(err))
	}
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
				t.Errorf("got error %v, want one that does not show the URL", err)
			}
			return
		}
		again, err := url.Parse(u.String())
		switch {
		case err != nil:
			t.Errorf("%q: got %q, want a URL: %v", raw, u, err)
		case again.User != nil || again.RawQuery != "" || again.Fragment != "" || again.Host == "":
			t.Errorf("%q: got %q, want a host and no user, query, or fragment", raw, u)
		case again.Scheme == "http" && !loopback(again.Hostname()):
			t.Errorf("%q: got plain http to %s, want an error", raw, again.Hostname())
		case strings.HasSuffix(again.Path, "/") || slices.Contains(strings.Split(again.Path, "/"), ".."):
			t.Errorf("%q: got path %q, want no trailing slash and no ..", raw, again.Path)
		}
	})
}
