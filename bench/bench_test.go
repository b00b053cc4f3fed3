package bench

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
)

const openFull = `{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D069C7QFK","created":1460147748,"is_im":true,"is_org_shared":false,"user":"U069C7QF3","last_read":"0000000000.000000","latest":null,"unread_count":0,"unread_count_display":0,"is_open":true,"priority":0}}`

type transport struct{ body string }

type body struct{ strings.Reader }

func (body) Close() error { return nil }

var header = http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Slack-Req-Id": {"abc"}, "X-Oauth-Scopes": {"im:write,mpim:write"}, "X-Accepted-Oauth-Scopes": {"im:write"}}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		var b [256]byte
		for {
			_, err := req.Body.Read(b[:])
			if err != nil {
				break
			}
		}
		req.Body.Close()
	}
	r := &body{}
	r.Reset(t.body)
	return &http.Response{StatusCode: 200, Header: header, Body: r, ContentLength: int64(len(t.body)), Request: req}, nil
}

type floorChannel struct {
	ID                 string  `json:"id"`
	Created            int64   `json:"created"`
	IsIM               bool    `json:"is_im"`
	IsOrgShared        bool    `json:"is_org_shared"`
	User               string  `json:"user"`
	LastRead           string  `json:"last_read"`
	Latest             *string `json:"latest"`
	UnreadCount        int     `json:"unread_count"`
	UnreadCountDisplay int     `json:"unread_count_display"`
	IsOpen             bool    `json:"is_open"`
	Priority           float64 `json:"priority"`
}

func floor(ctx context.Context, c *http.Client, method string, form url.Values) (*floorChannel, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "https://slack.com/api/"+method, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer xoxb-1")
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	var out struct {
		OK, NoOp, AlreadyOpen, AlreadyClosed bool
		Error                                string
		Channel                              *floorChannel
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, err
	}
	if !out.OK {
		return nil, errors.New(out.Error)
	}
	return out.Channel, nil
}

func BenchmarkOpen(b *testing.B) {
	t := &transport{openFull}
	ctx := context.Background()
	b.Run("floor", func(b *testing.B) {
		c := &http.Client{Transport: t}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := floor(ctx, c, "conversations.open", url.Values{"users": {"U069C7QF3"}, "return_im": {"true"}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("slack-go", func(b *testing.B) {
		c := slack.New("xoxb-1", slack.OptionHTTPClient(&http.Client{Transport: t}))
		b.ReportAllocs()
		for b.Loop() {
			if _, _, _, err := c.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{"U069C7QF3"}, ReturnIM: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("chatdm", func(b *testing.B) {
		c, _ := chatdm.NewClient("xoxb-1", chatdm.WithHTTPClient(&http.Client{Transport: t}))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: []string{"U069C7QF3"}, ReturnIM: true}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkClose(b *testing.B) {
	t := &transport{`{"ok":true}`}
	ctx := context.Background()
	b.Run("floor", func(b *testing.B) {
		c := &http.Client{Transport: t}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := floor(ctx, c, "conversations.close", url.Values{"channel": {"D069C7QFK"}}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("slack-go", func(b *testing.B) {
		c := slack.New("xoxb-1", slack.OptionHTTPClient(&http.Client{Transport: t}))
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := c.CloseConversationContext(ctx, "D069C7QFK"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("chatdm", func(b *testing.B) {
		c, _ := chatdm.NewClient("xoxb-1", chatdm.WithHTTPClient(&http.Client{Transport: t}))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Conversations.Close(ctx, "D069C7QFK"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
