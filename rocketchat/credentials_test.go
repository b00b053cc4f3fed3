package rocketchat_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/chatdm/chatdm/rocketchat"
)

const storedToken = "rc-STORED_token-0123456789"

var stored = rocketchat.Credentials{UserID: "u1", AuthToken: storedToken}

// nestedCredentials are values that hold credentials.
func nestedCredentials() map[string]any {
	type account struct {
		Name  string
		Creds rocketchat.Credentials
	}
	type embedded struct{ rocketchat.Credentials }
	return map[string]any{
		"itself":              stored,
		"pointer":             &stored,
		"slice":               []rocketchat.Credentials{stored, stored},
		"slice of pointers":   []*rocketchat.Credentials{&stored},
		"map of any":          map[string]any{"alice": stored, "bob": &stored},
		"map key":             map[rocketchat.Credentials]int{stored: 1},
		"struct":              account{"alice", stored},
		"pointer to a struct": &account{"alice", stored},
		"embedded":            embedded{stored},
		"map of slices":       map[string][]account{"a": {{"alice", stored}}},
		"wrapped in an error": fmt.Errorf("cannot use %v, %+v, %#v, %q, %s", stored, stored, stored, stored, stored),
	}
}

func checkToken(t *testing.T, where, text string) {
	t.Helper()
	for _, form := range []string{"%s", "%x", "%X"} {
		if strings.Contains(text, fmt.Sprintf(form, "STORED")) {
			t.Errorf("%s: got %.200q, want no token in it", where, text)
		}
	}
}

// TestCredentialsAreRedacted: no verb of fmt and no handler of slog shows the
// token, wherever a program keeps its credentials. (%w is for errors. For other
// values, fmt ignores their methods, and go vet reports it.)
func TestCredentialsAreRedacted(t *testing.T) {
	checkToken(t, "GoString", stored.GoString()) // fmt calls Format instead
	for name, v := range nestedCredentials() {
		t.Run(name, func(t *testing.T) {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%+s", "%q", "%#q", "%x", "% x", "%X", "%d", "%t", "%c", "%U", "%e", "%T", "%o", "%b", "%10v", "%-40.3v", "%!"} {
				checkToken(t, verb, fmt.Sprintf(verb, v))
			}
			checkToken(t, "Sprint", fmt.Sprint(v))
			var log bytes.Buffer
			options := &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}
			for _, handler := range []slog.Handler{slog.NewTextHandler(&log, options), slog.NewJSONHandler(&log, options)} {
				logger := slog.New(handler)
				logger.Info("a value", "v", v)
				logger.Info("a group", slog.Group("g", "v", v))
				logger.With("v", v).WithGroup("h").Info("an attribute", slog.Any("w", v))
				logger.Info("formatted " + fmt.Sprint(v))
			}
			checkToken(t, "slog", log.String())
		})
	}
}

// TestCredentialsRefuseJSON: slog uses encoding/json for nested values, so
// json.Marshal fails and says what to use instead.
func TestCredentialsRefuseJSON(t *testing.T) {
	for name, v := range nestedCredentials() {
		if name == "wrapped in an error" {
			continue
		}
		data, err := json.Marshal(v)
		if _, ok := errors.AsType[*json.UnsupportedTypeError](err); err == nil || !ok && !strings.Contains(err.Error(), "MarshalBinary") {
			t.Errorf("%s: got %d bytes of JSON, %v, want an error that names MarshalBinary", name, len(data), err)
		}
		checkToken(t, name, fmt.Sprint(err, string(data)))
	}
	for _, text := range []string{`{"userId":"u1","authToken":"` + storedToken + `"}`, `{"UserID":"u1","AuthToken":"` + storedToken + `"}`, `"` + storedToken + `"`, `{}`} {
		var creds []rocketchat.Credentials
		err := json.Unmarshal([]byte("["+text+"]"), &creds)
		if err == nil || creds[0] != (rocketchat.Credentials{}) {
			t.Errorf("%s: got %v, %v, want an error", text, creds, err)
		}
		checkToken(t, text[:2], fmt.Sprint(err))
	}
}

// TestCredentialsRoundTrip marshals credentials and unmarshals them again.
func TestCredentialsRoundTrip(t *testing.T) {
	for name, want := range map[string]rocketchat.Credentials{
		"plain":         stored,
		"white space":   {UserID: " u\n1\t", AuthToken: "\r\na token "},
		"quotes":        {UserID: `"u\1"`, AuthToken: `{"a":"b"},\u0041`},
		"invalid UTF-8": {UserID: "\xff\xfe\x00", AuthToken: "\xc3💬\u2028"},
		"HTML":          {UserID: "<u&1>", AuthToken: "a=b&c=%25"},
		"long":          {UserID: strings.Repeat("u", 70_000), AuthToken: strings.Repeat("t", 256)},
	} {
		data, err := want.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		got := rocketchat.Credentials{UserID: "another", AuthToken: "another"}
		err = got.UnmarshalBinary(data)
		clear(data) // the caller may reuse it
		if err != nil || got != want {
			t.Errorf("%s: got user %.100q, token %.100q, %v, want the same credentials", name, got.UserID, got.AuthToken, err)
		}
		type account struct{ Creds rocketchat.Credentials }
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(account{want}); err != nil {
			t.Fatal(err)
		}
		var back account
		if err := gob.NewDecoder(&b).Decode(&back); err != nil || back.Creds != want {
			t.Errorf("%s: got user %.100q, token %.100q, %v from gob, want the same credentials", name, back.Creds.UserID, back.Creds.AuthToken, err)
		}
	}
}

// TestUnmarshalBinaryRejects: UnmarshalBinary accepts only what MarshalBinary
// wrote. Its error shows no data, and the receiver keeps its value.
func TestUnmarshalBinaryRejects(t *testing.T) {
	data, err := stored.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	bad := [][]byte{
		nil, {}, []byte("garbage STORED garbage STORED"), make([]byte, 64), bytes.Repeat([]byte{0xff}, 64), []byte(storedToken),
		[]byte(`{"STORED":"STORED"}`), []byte(`{}`), []byte(`null`),
		append(bytes.Clone(data), 0), append(bytes.Clone(data), " STORED"...), append(bytes.Clone(data), '\n'), append(bytes.Clone(data), data...),
		append([]byte{0}, data...), data[1:],
	}
	for n := range data {
		bad = append(bad, data[:n])
	}
	for _, data := range bad {
		before := rocketchat.Credentials{UserID: "before", AuthToken: "before"}
		creds := before
		err := creds.UnmarshalBinary(data)
		if err == nil || creds != before {
			t.Errorf("%q: got %v, want an error and the credentials as they were", data, err)
		}
		checkToken(t, "the error", fmt.Sprintf("%v %+v %#v %q", err, err, err, err))
	}
}
