package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReturnedBy(t *testing.T) {
	documented := map[string][]string{
		"im.open":             {"everywhere", "im", "most", "some"},
		"im.close":            {"everywhere", "im", "most"},
		"conversations.open":  {"everywhere", "most", "some"},
		"conversations.close": {"everywhere", "most"},
		"chat.postMessage":    {"everywhere", "most"},
		"users.info":          {"everywhere"},
	}
	for code, want := range map[string]string{
		"everywhere":    "all methods",
		"im":            "im.*",
		"most":          "all methods except users.info",
		"some":          "conversations.open, im.open",
		"cannot_dm_bot": "chat.postMessage, conversations.open, im.open",
	} {
		if got, err := returnedBy(code, documented); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", code, got, err, want)
		}
	}
	if got, err := returnedBy("nowhere", documented); err == nil {
		t.Errorf("got %q, want an error for a code that no method returns", got)
	}
}

// TestSource violates one rule at a time in a copy of the source.
func TestSource(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{old: "", new: "", want: ""},
		{old: "The call is idempotent. ", want: "IMService.Open: the doc comment must say"},
		{old: "Documented at", new: "See", want: "IMService.Open: the doc comment must say"},
		{old: "KindNotFound means that", new: "KindNotFound tells that", want: "the doc comment of KindNotFound must begin with"},
		{old: `meaning: "no such user"`, new: `meaning: ""`, want: "user_not_found: invalid catalogue entry"},
		{old: "retry: always", new: "retry: engine.Sometimes", want: "ratelimited: invalid catalogue entry"},
		{old: `ErrRateLimited: {`, new: `"other": {`, want: "ErrRateLimited: not in the catalogue"},
	} {
		root := t.TempDir()
		always := retries[0].field
		source := strings.ReplaceAll(strings.Replace(fixture, c.old, c.new, 1), "always", always)
		for name, text := range map[string]string{
			"go.mod":                                "module example.org/chatdm\n\ngo 1.26.0\n",
			"chatdm.go":                             source,
			"engine/engine.go":                      "package engine\n\ntype Retry int\n\nconst (\n\t" + strings.TrimPrefix(always, "engine.") + " Retry = iota + 1\n\tSometimes\n)\n",
			"rocketchat/rocketchat.go":              "package rocketchat\n",
			"testdata/slack/documented_errors.json": `{"im.open": ["user_not_found", "ratelimited"]}`,
			"testdata/rocketchat/documented_errors.json": `{}`,
			"docs/errors.md": "",
		} {
			name = filepath.Join(root, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		err := run(root, root)
		if c.want != "" {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q for %q: got error %v, want %q", c.new, c.old, err, c.want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"errors.md":  "### KindNotFound\n\n| code | meaning | returned by |\n|---|---|---|\n| `user_not_found`<br>`chatdm.ErrUserNotFound` | no such user | all methods |\n",
			"methods.md": "| [im.open](https://example.org/im.open) | `client.IM.Open` | im:write | `NoOp` | 100 | yes |\n",
		} {
			if got, err := os.ReadFile(filepath.Join(root, "docs", name)); err != nil || !strings.Contains(string(got), want) {
				t.Errorf("%s: got %v\n%s\nwant a page with\n%s", name, err, got, want)
			}
		}
	}
}

const fixture = `package chatdm

import (
	"context"

	"example.org/chatdm/engine"
)

type Kind string

const (
	// KindNotFound means that there is no such user.
	KindNotFound Kind = "not_found"
	// KindRateLimited is a call that came too soon.
	KindRateLimited Kind = "rate_limited"
)

type Code string

const (
	ErrUserNotFound Code = "user_not_found"
	ErrRateLimited  Code = "ratelimited"
)

type entry struct {
	kind    Kind
	meaning string
	retry   engine.Retry
}

var catalogue = map[Code]entry{
	ErrUserNotFound: {kind: KindNotFound, meaning: "no such user"},
	ErrRateLimited: {kind: KindRateLimited, meaning: "too many calls", retry: always},
}

type IMService struct{}

type OpenResult struct{ NoOp bool }

// Open opens a conversation. The call is idempotent. It needs the scope im:write.
//
// Documented at https://example.org/im.open.
func (s *IMService) Open(ctx context.Context, user string) (*OpenResult, error) { return nil, nil }
`
