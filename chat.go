package chatdm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// ChatService provides chat.postMessage.
type ChatService struct{ client *Client }

// ChatPostMessageParams holds the arguments of [ChatService.PostMessage].
type ChatPostMessageParams struct {
	// Channel is the ID of a conversation. Without Key, it can also be the ID of a
	// user, which stands for the direct message with that user.
	Channel string
	// Text is required unless Blocks or Attachments is set. Escape &, <, and > as &amp;,
	// &lt;, and &gt;, because Slack reads <…> as a link or a mention. Slack may split a
	// text of more than 4,000 characters into several messages.
	Text           string
	Blocks         any       // marshaled to a JSON array; nil means none
	Attachments    any       // marshaled to a JSON array; nil means none
	ThreadTS       Timestamp // the message to reply to; empty means none
	ReplyBroadcast bool      // also show the reply in the conversation; needs ThreadTS
	// UnfurlLinks and UnfurlMedia turn previews on or off. Nil means Slack's default.
	UnfurlLinks, UnfurlMedia *bool
	Metadata                 *MessageMetadata // cannot be combined with Key; nil means none

	// Key makes PostMessage post at most one message with this key in the conversation.
	// It is 1 to 128 bytes long. Empty means that the message has no key.
	//
	// Only Slack knows whether it posted a message, and a search cannot prove that it
	// did not: it misses a message that was deleted, that appears after the settle time
	// (see [WithSettleTime]), or whose metadata Slack dropped ([WarningKeyNotStored]).
	// Only one goroutine or process may use a key at a time. If another process used it,
	// wait for the settle time after that process has ended. After a success, a call with
	// the same Key but without Since posts again.
	Key string
	// Since is the start of the first run that may have posted this message. It makes
	// PostMessage search for the message first, from one minute before Since. If the
	// message is missing, PostMessage posts it, but waits first until the settle time has
	// passed since the client was created, so create the client after the earlier run has
	// ended. The zero Time means that there was no earlier run. Since needs Key. If the
	// outcome of a message is unknown, the same Client does not need Since: for a day, it
	// searches for the message before it posts it again.
	Since time.Time
}

// MessageMetadata is data that an app attaches to a message. All apps and members of
// the workspace can read it.
type MessageMetadata struct {
	EventType    string `json:"event_type"`    // letters, digits, and underscores
	EventPayload any    `json:"event_payload"` // marshaled to a JSON object
}

// ChatPostMessageResult is the result of posting a message.
type ChatPostMessageResult struct {
	Channel string    // ID of the conversation
	TS      Timestamp // identifies the message in the conversation
	Message Message   // as Slack stored it
	// NoOp and AlreadyPosted report whether an earlier call had already posted the
	// message, so this one posted nothing.
	NoOp, AlreadyPosted bool
	// Meta is that of the last search if a search found the message. LostAnswers is
	// then at least 1 if this call posted the message.
	Meta Meta
}

// PostMessage posts a message. It needs the scope chat:write.
//
// The call is not idempotent. If the response is lost, the error matches
// [ErrEffectUnknown]. But if the message has a Key, PostMessage searches for it in
// conversations.history, or in conversations.replies if ThreadTS is set, at increasing
// intervals until the settle time has passed. If the search finds the message,
// PostMessage returns it. If not, or if the context ends first, the error matches
// ErrEffectUnknown. To find out later, repeat the call with the same Key and, after a
// restart, with Since. PostMessage itself never posts a message twice.
//
// A search needs the scope im:history (for other conversations: mpim:history,
// channels:history, or groups:history). It matches the key and the caller, but never the
// text, which Slack rewrites. The first search of a Client also calls auth.test.
//
// Slack limits the messages in each conversation, and in the workspace. A 429 pauses
// only the conversation for all goroutines that use the client. If another conversation
// gets a 429 during that pause, the method pauses.
//
// Typical errors are [ErrChannelNotFound], [ErrIsArchived], [ErrNotInChannel],
// [ErrMessagesTabDisabled], [ErrRateLimited], and [ErrMissingScope].
//
// Documented at https://docs.slack.dev/reference/methods/chat.postMessage.
func (s *ChatService) PostMessage(ctx context.Context, params ChatPostMessageParams) (*ChatPostMessageResult, error) {
	result := new(ChatPostMessageResult)
	body, err := params.encode()
	r := request{
		Request: engine.Request{Method: "chat.postMessage", Conversation: params.Channel, Body: body},
		invalid: err, meta: &result.Meta,
		decode: func(raw *engine.Response) (response, error) {
			var resp struct {
				response
				Channel string    `json:"channel"`
				TS      Timestamp `json:"ts"`
				Message Message   `json:"message"`
			}
			err := raw.Decode(&resp)
			if err == nil && resp.OK && resp.TS == "" {
				err = errors.New("a success without a timestamp")
			}
			result.Channel, result.TS, result.Message = resp.Channel, resp.TS, resp.Message
			return resp.response, err
		},
	}
	if err == nil && params.Key != "" {
		return s.client.postOnce(ctx, &params, r, result)
	}
	if _, err := s.client.do(ctx, r); err != nil {
		return nil, err
	}
	return result, nil
}

// The limits of a message with a key.
const (
	maxKeyLength = 128  // bytes
	maxKeyedText = 4000 // UTF-16 code units; Slack does not say how it counts
)

// encode returns the form, or an error that says why the message cannot be sent.
func (p *ChatPostMessageParams) encode() ([]byte, error) {
	form := input.Form{}.AddJSON("attachments", '[', p.Attachments).AddJSON("blocks", '[', p.Blocks)
	if content, _ := form.Encode(); content == nil && p.Text == "" {
		form = form.Fail(errors.New("text: must not be empty unless blocks or attachments is set"))
	}
	form = form.AddID("channel", p.Channel)
	switch metadata := p.Metadata; {
	case p.Key != "":
		form = form.Fail(p.checkKey()).AddJSON("metadata", '{', keyMetadata(p.Key))
	case !p.Since.IsZero():
		form = form.Fail(errors.New("since: must not be set without a key"))
	case metadata != nil && (metadata.EventType == "" || strings.Contains(metadata.EventType, ".")):
		// Slack would drop the metadata and report a success.
		form = form.Fail(fmt.Errorf("metadata: got event type %.100q, want a name without dots", metadata.EventType))
	default:
		form = form.AddJSON("metadata", '{', metadata)
	}
	if p.ReplyBroadcast && p.ThreadTS == "" {
		form = form.Fail(errors.New("reply_broadcast: must not be set without thread_ts"))
	}
	form = form.AddTrue("reply_broadcast", p.ReplyBroadcast).AddText("text", p.Text)
	form = form.Fail(checkTimestamp("thread_ts", p.ThreadTS)).AddText("thread_ts", string(p.ThreadTS))
	return form.AddBool("unfurl_links", p.UnfurlLinks).AddBool("unfurl_media", p.UnfurlMedia).Encode()
}

func (p *ChatPostMessageParams) checkKey() error {
	switch length := len(utf16.Encode([]rune(p.Text))); {
	case len(p.Key) > maxKeyLength:
		return fmt.Errorf("key: got %d bytes, want at most %d", len(p.Key), maxKeyLength)
	case p.Metadata != nil:
		return errors.New("metadata: must not be set together with a key, which is sent as metadata")
	case length > maxKeyedText:
		return fmt.Errorf("text: got %d characters, want at most %d, because Slack splits a longer text and one key cannot identify several messages", length, maxKeyedText)
	case strings.HasPrefix(p.Channel, "U"), strings.HasPrefix(p.Channel, "W"):
		return fmt.Errorf("channel: got the user ID %.100q, want the ID of a conversation, because the client may have to search it; see Conversations.Open", p.Channel)
	}
	return nil
}

// keyEventType marks the metadata of a message with a key. Slack drops metadata whose
// event type contains a dot.
const keyEventType = "chatdm_message_key"

// keyMetadata identifies a message by its key. It contains a hash of the key, because all
// apps in the workspace can read it.
func keyMetadata(key string) *MessageMetadata {
	hash := sha256.Sum256([]byte("chatdm message key\x00" + key))
	return &MessageMetadata{EventType: keyEventType, EventPayload: map[string]any{"key": hex.EncodeToString(hash[:16])}}
}

// hasKey reports whether the metadata is that of a message with this key.
func (m *MessageMetadata) hasKey(key string) bool {
	if m == nil || m.EventType != keyEventType {
		return false
	}
	payload, ok := m.EventPayload.(map[string]any)
	return ok && payload["key"] == keyMetadata(key).EventPayload.(map[string]any)["key"]
}

// postOnce posts a message with a key. If the response is lost, it searches for the
// message.
func (c *Client) postOnce(ctx context.Context, p *ChatPostMessageParams, r request, result *ChatPostMessageResult) (*ChatPostMessageResult, error) {
	earlier := c.lost.get(p)
	if since := earliest(p.Since, earlier.start); !since.IsZero() {
		found, err := c.findEarlier(ctx, p, since, result)
		if err != nil {
			return nil, err
		}
		if found {
			c.lost.remove(p)
			return result, nil
		}
	}
	start := time.Now()
	var lost time.Time
	r.Resolve = func(ctx context.Context, resp *engine.Response, f *engine.Failure) *engine.Failure {
		lost = time.Now()
		err := c.findLost(ctx, p, start, lost, result)
		if err != nil {
			return f.WithCause(err)
		}
		result.Meta.LostAnswers = resp.LostAnswers
		result.Meta.Attempts += resp.Attempts
		return nil
	}
	_, err := c.do(ctx, r)
	if err != nil {
		if errors.Is(err, ErrEffectUnknown) {
			if lost.IsZero() {
				lost = time.Now()
			}
			c.lost.add(p, lostMessage{start: earliest(earlier.start, start), until: lost.Add(c.settleTime)})
		}
		return nil, err
	}
	c.lost.remove(p)
	if !result.Message.Metadata.hasKey(p.Key) {
		result.Meta.Warnings = append(result.Meta.Warnings, WarningKeyNotStored)
	}
	return result, nil
}

// findEarlier searches for the message of an earlier call. If the message is missing, it
// waits until no attempt of that call can still be in flight, and searches again.
func (c *Client) findEarlier(ctx context.Context, p *ChatPostMessageParams, since time.Time, result *ChatPostMessageResult) (found bool, err error) {
	since = earliest(since, time.Now())
	for {
		found, err := c.find(ctx, p, since, result)
		if found {
			result.NoOp, result.AlreadyPosted = true, true
		}
		wait := time.Until(c.lost.get(p).until)
		if !p.Since.IsZero() {
			wait = max(wait, time.Until(c.created.Add(c.settleTime)))
		}
		if found || err != nil || wait <= 0 {
			return found, err
		}
		if err := c.engine.Sleep(ctx, "chat.postMessage", engine.WaitSettle, wait); err != nil {
			kind := engine.Unavailable
			if ctx.Err() != nil {
				kind = engine.Canceled
			}
			return false, c.engine.NewError(engine.Outcome{Method: "chat.postMessage", Failure: engine.Failure{
				Kind: kind, RetryAfter: wait, Err: fmt.Errorf("posted nothing, because an earlier attempt may still take effect: %w", err),
			}})
		}
	}
}

// findLost searches for the message at increasing intervals until the settle time has
// passed. It returns nil if it found the message, or an error that says what it searched.
func (c *Client) findLost(ctx context.Context, p *ChatPostMessageParams, start, lost time.Time, result *ChatPostMessageResult) error {
	end := lost.Add(c.settleTime)
	var searches int
	var last error
	for wait := firstSearch; ; wait *= 2 {
		if err := c.engine.Sleep(ctx, "chat.postMessage", engine.WaitSettle, min(wait, time.Until(end))); err != nil {
			last = err
			break
		}
		found, err := c.find(ctx, p, start, result)
		if found {
			return nil
		}
		searches++
		last = err
		if err != nil && !isTemporary(err) || !time.Now().Before(end) {
			break
		}
	}
	plural, method := "es", p.searchMethod()
	if searches == 1 {
		plural = ""
	}
	text := fmt.Sprintf("did not find the message in %s since %s (%d search%s in %v)", method,
		start.Add(-margin).UTC().Format(time.RFC3339), searches, plural, time.Since(lost).Round(time.Millisecond))
	if searches == 0 {
		text = "did not search " + method
	}
	switch {
	case last == nil:
		return errors.New(text)
	case errors.As(last, new(*Error)): // an error has one kind, that of the lost response
		return fmt.Errorf("%s; the last search failed: %v", text, last) //nolint:errorlint // see above
	}
	return fmt.Errorf("%s; stopped: %w", text, last)
}

// isTemporary reports whether the next attempt may succeed after this error.
func isTemporary(err error) bool {
	return errors.Is(err, KindUnavailable) || errors.Is(err, KindRateLimited) || errors.Is(err, KindUnexpectedResponse)
}

const (
	// firstSearch is the wait before the first search for a lost message. A message can
	// appear in the history with a delay.
	firstSearch = 2 * time.Second
	// margin widens the time range of a search, because clocks differ.
	margin = time.Minute
)

// find searches for a message of the caller with the key, from one minute before start to
// one minute after now. If it finds several, the oldest one counts.
func (c *Client) find(ctx context.Context, p *ChatPostMessageParams, start time.Time, result *ChatPostMessageResult) (found bool, err error) {
	self, err := c.identify(ctx)
	if err != nil {
		return false, err
	}
	search := historyRequest{ConversationsHistoryParams: ConversationsHistoryParams{
		Channel: p.Channel, Inclusive: true, Limit: 200, IncludeMetadata: true,
		Oldest: NewTimestamp(start.Add(self.clockOffset - margin)), Latest: NewTimestamp(time.Now().Add(self.clockOffset + margin)),
	}, replies: p.ThreadTS != "", thread: p.ThreadTS}
	meta := new(Meta)
	for m, err := range c.history(ctx, search, meta) {
		if err != nil {
			return false, err
		}
		ours := m.User == self.UserID || m.BotID != "" && m.BotID == self.BotID
		if ours && m.Metadata.hasKey(p.Key) && (!found || m.TS < result.TS) {
			found, result.Channel, result.TS, result.Message = true, p.Channel, m.TS, m
		}
	}
	result.Meta = *meta
	return found, nil
}

func (p *ChatPostMessageParams) searchMethod() string {
	if p.ThreadTS != "" {
		return "conversations.replies"
	}
	return "conversations.history"
}

// identify returns the owner of the token. It asks the server only once.
func (c *Client) identify(ctx context.Context) (*identity, error) {
	if self := c.self.Load(); self != nil {
		return self, nil
	}
	self, err := c.authTest(ctx)
	if err == nil {
		c.self.Store(self)
	}
	return self, err
}

// lostMessage is a message with a key whose outcome is unknown.
type lostMessage struct {
	start time.Time // of the first attempt
	until time.Time // when the last attempt can no longer take effect
}

// lostMessages holds the lost messages of the last day.
type lostMessages struct {
	mu    sync.Mutex
	byKey map[messageKey]lostMessage
}

type messageKey struct {
	channel, key string
	thread       Timestamp
}

func (p *ChatPostMessageParams) messageKey() messageKey {
	return messageKey{p.Channel, p.Key, p.ThreadTS}
}

// get returns the zero lostMessage if the message is not lost.
func (l *lostMessages) get(p *ChatPostMessageParams) lostMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byKey[p.messageKey()]
}

func (l *lostMessages) add(p *ChatPostMessageParams, m lostMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey == nil {
		l.byKey = make(map[messageKey]lostMessage)
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	maps.DeleteFunc(l.byKey, func(_ messageKey, m lostMessage) bool { return m.until.Before(yesterday) })
	l.byKey[p.messageKey()] = m
}

func (l *lostMessages) remove(p *ChatPostMessageParams) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byKey, p.messageKey())
}

// earliest returns the earlier of two times. The zero Time does not count.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
