package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// Why an answer has a member that Slack's sample has not.
const (
	inCaptures = "newer captures of slack.com have it, and so have the official SDKs"
	inObject   = "documented for the conversation object of a group"
	ofDetails  = "documented for the 1:1 conversation of a conversations.open with return_im, and a choice of chatdmtest here"
)

// Why a member has another value than in Slack's sample.
const (
	ownValue = "it is of the conversation, not of the situation"
	newGroup = "groups are channels by now; the sample's is of 2017"
)

// direct are the members of a 1:1 conversation with values of their own.
var direct = map[string]string{
	"channel.id":      ownValue,
	"channel.created": ownValue,
	"channel.user":    ownValue,
}

// directExtra are the members that the answer with return_im has on top.
var directExtra = map[string]string{
	"channel.is_archived": inCaptures,
	"channel.updated":     inCaptures,
}

// listOwn and listExtra are the same for conversations.list.
var (
	listOwn = map[string]string{
		"channels.id":                   ownValue,
		"channels.name":                 ownValue,
		"channels.name_normalized":      ownValue,
		"channels.created":              ownValue,
		"channels.creator":              ownValue,
		"channels.updated":              ownValue,
		"channels.user":                 ownValue,
		"channels.topic.value":          "empty in newer captures",
		"channels.topic.creator":        "empty in newer captures",
		"channels.topic.last_set":       "zero in newer captures",
		"channels.purpose.value":        ownValue,
		"channels.purpose.creator":      ownValue,
		"channels.purpose.last_set":     ownValue,
		"channels.is_channel":           newGroup,
		"channels.is_group":             newGroup,
		"response_metadata.next_cursor": "opaque",
	}
	listExtra = map[string]string{
		"channels.members":              inObject,
		"channels.num_members":          inObject,
		"channels.shared_team_ids":      inObject,
		"channels.is_archived":          inCaptures,
		"channels.updated":              inCaptures,
		"channels.last_read":            ofDetails,
		"channels.latest":               ofDetails,
		"channels.unread_count":         ofDetails,
		"channels.unread_count_display": ofDetails,
	}
)

// TestSlackSamples brings chatdmtest into the situation of each answer that Slack
// documents, and compares member by member.
func TestSlackSamples(t *testing.T) {
	const alice = "users=" + chatdmtest.Alice
	tests := []struct {
		sample    string
		channelOf string // a sample to take the channel from instead
		before    []string
		call      string // the method and its form
		token     string // "" is that of the bot
		own       map[string]string
		extra     map[string]string
	}{
		{sample: "conversations.open.success", call: "conversations.open?" + alice, own: direct},
		{sample: "conversations.open.success_with_return_im", before: []string{"conversations.open?" + alice},
			call: "conversations.open?return_im=true&" + alice, own: direct, extra: directExtra},
		{sample: "conversations.open.success", channelOf: "conversations.open.success_with_return_im",
			call: "conversations.open?return_im=true&" + alice, own: direct, extra: directExtra},
		{sample: "conversations.open.success_with_return_im", channelOf: "conversations.open.success",
			before: []string{"conversations.open?" + alice}, call: "conversations.open?" + alice, own: direct},
		{sample: "conversations.open.success_with_return_im", channelOf: "conversations.open.success",
			before: []string{"conversations.open?" + alice}, call: "conversations.open?channel=D000000001", own: direct},
		{sample: "conversations.open.error", call: "conversations.open?channel=D404"},

		{sample: "conversations.close.success", before: []string{"conversations.open?" + alice}, call: "conversations.close?channel=D000000001"},
		{sample: "conversations.close.success_but_no_op", before: []string{"conversations.open?" + alice, "conversations.close?channel=D000000001"},
			call: "conversations.close?channel=D000000001"},
		{sample: "conversations.close.error", call: "conversations.close?channel=D404"},

		{sample: "im.open.success", call: "im.open?user=" + chatdmtest.Alice, own: direct},
		{sample: "im.open.error", call: "im.open?user=" + chatdmtest.Alice, token: "xoxb-unknown"},
		{sample: "im.close.success", before: []string{"im.open?user=" + chatdmtest.Alice}, call: "im.close?channel=D000000001"},
		{sample: "im.close.success_but_no_op", before: []string{"im.open?user=" + chatdmtest.Alice, "im.close?channel=D000000001"},
			call: "im.close?channel=D000000001"},

		{sample: "conversations.list.mixed", before: []string{
			"conversations.open?" + alice + "," + chatdmtest.Bob,
			"conversations.open?" + alice,
			"conversations.open?users=" + chatdmtest.Bob,
			"conversations.open?users=" + chatdmtest.Carol, // for the next page
		}, call: "conversations.list?types=im,mpim&limit=3", own: listOwn, extra: listExtra},
	}
	for _, test := range tests {
		t.Run(test.sample, func(t *testing.T) {
			server := chatdmtest.NewSlack()
			t.Cleanup(server.Close)
			for _, call := range test.before {
				if got := slackAnswer(t, server, chatdmtest.BotToken, call); got["ok"] != true {
					t.Fatalf("%s: %v", call, got)
				}
			}
			want := slackSample(t, test.sample)
			if test.channelOf != "" {
				want["channel"] = slackSample(t, test.channelOf)["channel"]
			}
			token := test.token
			if token == "" {
				token = chatdmtest.BotToken
			}
			c := comparison{own: test.own, extra: test.extra, used: make(map[string]bool)}
			c.compare("", slackAnswer(t, server, token, test.call), want)
			for path := range test.extra {
				if !c.used[path] {
					c.faults = append(c.faults, path+": listed as extra, and absent")
				}
			}
			for _, fault := range slices.Sorted(slices.Values(c.faults)) {
				t.Error(fault)
			}
		})
	}
}

// The documented 429 has no body; one of slack.com's own has been captured with
// the JSON that chatdmtest sends.
func TestSlackSample429(t *testing.T) {
	status, header, _ := strings.Cut(string(readSample(t, "429.http")), "\n")
	synctest.Test(t, func(t *testing.T) {
		server := chatdmtest.NewSlack(chatdmtest.InMemory())
		defer server.Close()
		server.Limit("conversations.open", 1, 30*time.Second)
		post(t, server, chatdmtest.BotToken, "conversations.open?users="+chatdmtest.Alice)
		response, body := post(t, server, chatdmtest.BotToken, "conversations.open?users="+chatdmtest.Alice)

		if got := response.Proto + " " + response.Status; got != strings.TrimSpace(status) {
			t.Errorf("status line %q, want %q", got, status)
		}
		if got := "Retry-After: " + response.Header.Get("Retry-After"); got != strings.TrimSpace(header) {
			t.Errorf("header %q, want %q", got, strings.TrimSpace(header))
		}
		if got, want := string(body), `{"ok":false,"error":"ratelimited"}`; got != want {
			t.Errorf("body %s, want %s", got, want)
		}
	})
}

// post sends a call, which is written as "method?form".
func post(t *testing.T, server *chatdmtest.Slack, token, call string) (*http.Response, []byte) {
	t.Helper()
	method, form, _ := strings.Cut(call, "?")
	if _, err := url.ParseQuery(form); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/"+method, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

func slackAnswer(t *testing.T, server *chatdmtest.Slack, token, call string) map[string]any {
	t.Helper()
	response, body := post(t, server, token, call)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", call, response.Status)
	}
	return object(t, body)
}

func slackSample(t *testing.T, name string) map[string]any {
	t.Helper()
	return object(t, readSample(t, name+".json"))
}

func readSample(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "slack", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func object(t *testing.T, data []byte) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// comparison holds an answer against a sample. Its maps are from the path of a
// member, without the places in arrays, to the reason for what is allowed.
type comparison struct {
	own    map[string]string // another value of the same type
	extra  map[string]string // not in the sample
	used   map[string]bool   // of extra
	faults []string
}

func (c *comparison) fault(path, format string, args ...any) {
	c.faults = append(c.faults, path+": "+fmt.Sprintf(format, args...))
}

func (c *comparison) compare(path string, got, want any) {
	if reflect.TypeOf(got) != reflect.TypeOf(want) {
		c.fault(path, "a %T, want a %T", got, want)
		return
	}
	switch want := want.(type) {
	case map[string]any:
		c.compareObjects(path, got.(map[string]any), want)
	case []any:
		got := got.([]any)
		if len(got) != len(want) {
			c.fault(path, "%d elements, want %d", len(got), len(want))
			return
		}
		for i := range want {
			c.compare(path, got[i], want[i])
		}
	default:
		if got != want && c.own[path] == "" {
			c.fault(path, "%v, want %v", got, want)
		}
	}
}

func (c *comparison) compareObjects(path string, got, want map[string]any) {
	for name, value := range want {
		member := join(path, name)
		if _, ok := got[name]; !ok {
			c.fault(member, "missing")
			continue
		}
		c.compare(member, got[name], value)
	}
	for name := range got {
		member := join(path, name)
		if _, ok := want[name]; ok {
			continue
		}
		if c.extra[member] == "" {
			c.fault(member, "not in the sample")
		}
		c.used[member] = true
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
