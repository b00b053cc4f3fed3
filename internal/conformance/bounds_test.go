package conformance_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

const (
	// maxField and maxLine limit a text of an error and a log line, in bytes.
	maxField = 2 << 10
	maxLine  = 16 << 10
)

// distinctWords joins n different words with commas.
func distinctWords(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(",w" + strconv.Itoa(1_000_000+i))
	}
	return b.String()[1:]
}

// inJSON returns a comma-separated list as a JSON array.
func inJSON(words string) string { return `["` + strings.ReplaceAll(words, ",", `","`) + `"]` }

// errorBody returns a Responder of an error of a platform, with more members.
func errorBody(service, members string) wiretest.Responder {
	if service == "slack" {
		return wiretest.Respond(200, `{"ok":false,`+members+`}`)
	}
	return wiretest.Respond(400, `{"success":false,`+members+`}`)
}

// brokenBody returns a Responder whose body cannot be read.
func brokenBody(err error) wiretest.Responder {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(iotest.ErrReader(err))}, nil
	}
}

// errorFields are the members of an error response whose text the client shows.
// Each has one %s.
var errorFields = map[string][]string{
	"slack": {
		`"error":"%s"`, `"error":"invalid_arguments","response_metadata":{"messages":["%s"]}`, `"error":"user_not_found","warning":"%s"`,
		`"error":"user_not_found","response_metadata":{"warnings":["%s"]}`, `"error":"missing_scope","needed":"%s"`, `"error":"missing_scope","provided":"a,b,%s"`,
	},
	"rocketchat": {`"errorType":"%s"`, `"error":"it failed [%s]"`, `"error":"%s"`, `"message":"%s"`},
}

// TestErrorsAreBounded: a server cannot make the program log a megabyte.
func TestErrorsAreBounded(t *testing.T) {
	const size = 100_000
	long, many := strings.Repeat("a", size), inJSON(distinctWords(size/10))
	eachPausing(t, func(t *testing.T, m method) {
		failures := []wiretest.Responder{
			wiretest.Respond(302, "", "Location", "https://chat.example.org/"+long),
			wiretest.Respond(302, "", "Location", "https://"+long+".example/"),
			wiretest.Respond(403, "<html>"+long),
			wiretest.Respond(403, strings.Repeat(`"`, size)),
			wiretest.Respond(403, strings.Repeat("\x01", size)),
			wiretest.Respond(400, `{"ok":false,"success":false,"error":"x"}`, "X-Slack-Req-Id", long, "X-Request-Id", long),
			errorBody(m.service, `"error":`+strings.Repeat("4", size)),
			errorBody(m.service, `"error":"invalid_arguments","response_metadata":{"messages":`+many+`,"warnings":`+many+`}`),
			fail(errors.New(long)),
			brokenBody(errors.New(long)),
		}
		for _, text := range []string{long, distinctWords(size / 10), strings.Repeat("word ", size/5), strings.Repeat("💬", size/4), strings.Repeat(`\"`, size/2)} {
			for _, members := range errorFields[m.service] {
				failures = append(failures, errorBody(m.service, fmt.Sprintf(members, text)))
			}
		}
		for _, failure := range failures {
			checkBounds(t, m, once, failure)
		}
		checkBounds(t, m, fast, fail(errors.New(long)), failures[len(failures)-1]) // also logs a retry
	})
	for _, name := range []string{"chatdm.Client.Call", "rocketchat.Client.Call"} {
		checkBounds(t, methods[name], once, wiretest.Respond(200, `{"ok":true,"success":true,"ts":`+strings.Repeat("1", size)+`,"count":"`+long+`"}`))
	}
}

// checkBounds makes a call that fails, and checks the length of each text in
// its error and its log.
func checkBounds(t *testing.T, m method, retry chatdm.Option, responses ...wiretest.Responder) {
	t.Helper()
	var logged strings.Builder
	_, err := m.on(t, wiretest.NewScript(responses...), retry, logTo(&logged))(t.Context())
	e := wiretest.WantError(t, err)
	fields := reflect.ValueOf(*e)
	for i := range fields.NumField() {
		texts, name := []string{}, fields.Type().Field(i).Name
		switch field := fields.Field(i); field.Kind() {
		case reflect.String:
			texts = append(texts, field.String())
		case reflect.Slice:
			for j := range field.Len() {
				texts = append(texts, field.Index(j).String())
			}
		}
		for _, text := range texts {
			if len(text) > maxField {
				t.Errorf("%s: got a text of %d bytes, want at most %d", name, len(text), maxField)
			}
		}
		if n := len(strings.Join(texts, ",")); n > 4*maxField {
			t.Errorf("%s: got %d bytes, want at most %d", name, n, 4*maxField)
		}
	}
	if n := len(err.Error()); n > 2*maxField {
		t.Errorf("got an error text of %d bytes, want at most %d", n, 2*maxField)
	}
	if text := chatdm.ErrEffectUnknown.Error(); errors.Is(err, chatdm.ErrEffectUnknown) && !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %q in it", err, text)
	}
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("failed", "error", err)
	for line := range strings.Lines(logged.String()) {
		if len(line) > maxLine {
			t.Errorf("got a log line of %d bytes, want at most %d: %.100q…", len(line), maxLine, line)
		}
	}
}

// TestCutNeverSplitsACredential puts the credential across the positions where
// the client cuts a text, and looks for its beginning in the error.
func TestCutNeverSplitsACredential(t *testing.T) {
	everyByte := func(format string) func(string) string {
		return func(s string) string {
			var b strings.Builder
			for _, c := range []byte(s) {
				fmt.Fprintf(&b, format, c)
			}
			return b.String()
		}
	}
	plain := func(s string) string { return s }
	spellings := []func(string) string{plain, url.QueryEscape, everyByte("%%%02X"), everyByte(`\u%04x`), everyByte(`\u%04X`)}
	visible := func(text string) bool {
		// Quoting doubles the backslashes, so compare without them.
		unslashed := func(text string) string { return strings.ToLower(strings.ReplaceAll(text, `\`, "")) }
		for _, spell := range spellings {
			if strings.Contains(unslashed(text), unslashed(spell(secretToken[:6]))) {
				return true
			}
		}
		return false
	}
	eachPausing(t, func(t *testing.T, m method) {
		// check puts the credential after so much filling that a cut leaves the
		// beginning of it.
		check := func(about, fill string, spell func(string) string, cuts []int, respond func(text string) wiretest.Responder) {
			for _, cut := range cuts {
				for _, n := range []int{6, 7, 20, len(secretToken)} {
					before := strings.Repeat(fill, cut-len(spell(secretToken[:n])))
					_, err := m.on(t, wiretest.NewScript(respond(before+spell(secretToken))), once)(t.Context())
					e := wiretest.WantError(t, err)
					if text := fmt.Sprintf("%s\n%+v\n%v", err, *e, e.LogValue()); visible(text) {
						t.Errorf("%s: got %s after %d times %q, want no part of the credential in it", about, text, len(before)/len(fill), fill)
					}
				}
			}
		}
		for about, respond := range map[string]func(string) wiretest.Responder{
			"text":      func(text string) wiretest.Responder { return wiretest.Respond(403, text+strings.Repeat(" more", 300)) },
			"JSON":      func(text string) wiretest.Responder { return wiretest.Respond(200, `{"x":"`+text+`"}`) },
			"truncated": func(text string) wiretest.Responder { return wiretest.Respond(200, `x"`+text) },
		} {
			for _, spell := range spellings {
				check(about, "x", spell, []int{240, 1920}, respond)
				check(about, " ", spell, []int{240, 1920}, respond) // the client removes spaces after the first cut
			}
			for _, fill := range []string{"x", "é", `\u0078`, "\x01", "%78"} {
				check(about, fill, plain, []int{100, 118, 120}, respond)
			}
		}
		fields := map[string]func(string) wiretest.Responder{
			"redirect": func(text string) wiretest.Responder {
				return wiretest.Respond(302, "", "Location", "https://chat.example.org/"+url.PathEscape(text))
			},
			"transport": func(text string) wiretest.Responder { return fail(errors.New(text)) },
			"request ID": func(text string) wiretest.Responder {
				return wiretest.Respond(400, `{"ok":false,"success":false,"error":"x"}`, "X-Slack-Req-Id", text, "X-Request-Id", text)
			},
		}
		for _, members := range errorFields[m.service] {
			fields[members] = func(text string) wiretest.Responder {
				quoted, _ := json.Marshal(text)
				return errorBody(m.service, strings.Replace(members, `%s`, strings.Trim(string(quoted), `"`), 1))
			}
		}
		for about, respond := range fields {
			check(about, "x", plain, []int{200, 1000, 3200, 16_000}, respond)
			check(about, " ", plain, []int{200, 3200}, respond)
		}
	})
}

// TestWarningsAreBounded: the client keeps the first distinct warnings and
// messages.
func TestWarningsAreBounded(t *testing.T) {
	const most = 20
	m := methods["chatdm.ConversationsService.Open"]
	words := distinctWords(20_000)
	long := strings.Repeat("a", 100_000)
	for _, tt := range []struct {
		members string
		remarks string // "" if the test does not care
	}{
		{`"warning":"` + words + `","response_metadata":{"warnings":` + inJSON(words) + `,"messages":` + inJSON(words) + `}`, ""},
		{`"warning":"` + long + `","response_metadata":{"warnings":["` + long + `"],"messages":["` + long + `"]}`, ""},
		{`"warning":"` + strings.Repeat(" ,", 500) + `missing_charset"`, "[missing_charset] []"},
		{`"warning":"` + strings.Repeat("missing_charset,", 10_000) + `"`, "[missing_charset] []"},
		{`"warning":"b,a, b,a","response_metadata":{"warnings":["a","c","b"],"messages":["m","m"]}`, "[b a c] [m m]"},
		{`"response_metadata":{"warnings":[1,"a",null,{},["b"],""],"messages":[7,"m",true,"n"]}`, "[a] [m n]"},
		{`"response_metadata":{"warnings":"a","messages":{"m":"n"}}`, "[] []"},
	} {
		res, err := m.on(t, wiretest.NewScript(wiretest.Respond(200, `{"ok":true,"channel":{"id":"D1"},`+tt.members+`}`)))(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		meta, _ := meta(res)
		if len(meta.Warnings) > most || len(meta.Messages) > most || len(fmt.Sprint(meta)) > 4*maxField {
			t.Errorf("%.50s: got %d warnings and %d messages, want at most %d short ones", tt.members, len(meta.Warnings), len(meta.Messages), most)
		}
		if got := fmt.Sprint(meta.Warnings, meta.Messages); tt.remarks != "" && got != tt.remarks {
			t.Errorf("%.50s: got warnings and messages %s, want %s", tt.members, got, tt.remarks)
		}
	}
	t.Run("flags after many others", func(t *testing.T) {
		body := `{"ok":true,"channel":{"id":"D1"},"warning":"` + distinctWords(1000) + `","response_metadata":{"warnings":["no_op","already_open"]}}`
		res, err := m.on(t, wiretest.NewScript(wiretest.Respond(200, body)))(t.Context())
		if open, ok := res.(*chatdm.OpenResult); err != nil || !ok || !open.NoOp || !open.AlreadyOpen {
			t.Errorf("got %.100v, %v, want NoOp and AlreadyOpen", res, err)
		}
	})
}
