package rocketchat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// ChatService provides the chat.* endpoints for messages.
type ChatService struct{ client *Client }

// Message is a message in a room.
type Message struct {
	ID       string
	RoomID   string
	Text     string // as stored: the server and its apps can change what was sent
	ThreadID string // ID of the message that started the thread, or empty
	UserID   string // of the sender
	Username string // of the sender
	Time     time.Time
	Edited   time.Time // zero if the message was never edited
}

// ChatSendMessageParams holds the arguments of [ChatService.SendMessage].
type ChatSendMessageParams struct {
	RoomID string // ID of the direct message or of another room
	// Text is required unless Attachments is set. By default, a server allows 5,000
	// characters.
	Text        string
	ThreadID    string // ID of the message to reply to; empty means none
	Attachments any    // marshaled to JSON, which must be an array; nil means none
	// Key, of 1 to 128 bytes, makes the server store at most one message per user, room,
	// and key. Calls with the same Key can be repeated, even concurrently; the first text
	// wins. The same Key of another user is a different key. If the message is deleted, for
	// example by a retention policy, a repeated call sends it again. Empty means that the
	// message has no key.
	Key string
}

// ChatSendMessageResult is the result of sending a message.
type ChatSendMessageResult struct {
	Message Message
	// NoOp reports whether nothing changed, and AlreadySent whether that is because
	// an earlier call with the same Key sent the message. Both are false if an attempt
	// of this call may have sent it; then Meta.LostAnswers is not 0.
	NoOp, AlreadySent bool
	Meta              chatdm.Meta // its Method is chat.getMessage if the client had to look for the message
}

// MessageResult is the result of getting a message.
type MessageResult struct {
	Message Message
	Meta    chatdm.Meta
}

// SendMessage sends a message to a room. The caller needs to be a member of the
// room.
//
// The call is not idempotent unless the message has a Key. Without a Key, the error
// matches [chatdm.ErrEffectUnknown] if the response is lost. With a Key, the client
// retries the call, and then calls chat.getMessage if it does not know whether the
// message was sent. The error matches [chatdm.ErrEffectUnknown] only if a response was
// lost and the message is not there, if chat.getMessage fails, or if ctx ends first. It
// is always safe to repeat a call with the same Key.
//
// Servers report many failures as a 400 without a code, some of them after they have
// stored the message. Such an error is of [chatdm.KindUnavailable], and without a Key it
// also matches [chatdm.ErrEffectUnknown].
//
// Typical errors are [ErrRoomIsBlocked], [ErrRoomIsReadOnly] if the other person is
// deactivated, [ErrInvalidRoom], [ErrMessageSizeExceeded], [ErrActionNotAllowed] for @all
// and @here, and [ErrAppPrevented], which needs a Key. [ErrNotAllowed] is of
// [chatdm.KindUnreachable]: the caller is not a member of the room, or the room is
// encrypted. [ErrInvalidUser] is of [chatdm.KindPermissionDenied]: the caller has no
// username. The error is of [chatdm.KindUnexpectedResponse] if the ID that belongs to
// the Key is in use by another user or in another room.
//
// Documented at https://developer.rocket.chat/apidocs/send-message.
func (s *ChatService) SendMessage(ctx context.Context, params ChatSendMessageParams) (*ChatSendMessageResult, error) {
	var body struct {
		Message struct {
			ID          string          `json:"_id,omitempty"`
			RoomID      string          `json:"rid"`
			Text        string          `json:"msg"`
			ThreadID    string          `json:"tmid,omitempty"`
			Attachments json.RawMessage `json:"attachments,omitempty"`
		} `json:"message"`
	}
	attachments, err := params.attachments()
	if invalid := params.check(attachments); err == nil {
		err = invalid
	}
	m := &body.Message
	m.RoomID, m.Text, m.ThreadID, m.Attachments = params.RoomID, params.Text, params.ThreadID, attachments
	keyed, userID := params.Key != "", ""
	if keyed && err == nil {
		if userID, err = s.client.engine.Owner(ctx, "chat.sendMessage"); err != nil {
			return nil, err
		}
		m.ID = messageID(userID, params.RoomID, params.Key)
	}

	result := new(ChatSendMessageResult)
	r := request{
		Request: engine.Request{Method: "chat.sendMessage", Verb: http.MethodPost, Idempotent: keyed},
		params:  &body, invalid: err, decode: decodeMessage(&result.Message),
		verify: func(*response) *engine.Failure {
			return required(result.Message.ID != "" && (!keyed || result.Message.ID == m.ID))
		},
		refine: func(status int, f *engine.Failure) { refineSend(status, f, keyed) },
	}
	resolved := false
	if keyed {
		r.Resolve = func(ctx context.Context, sent *engine.Response, f *engine.Failure) *engine.Failure {
			f = s.resolve(ctx, result, Message{ID: m.ID, RoomID: m.RoomID, UserID: userID}, sent, f)
			resolved = f == nil
			return f
		}
	}
	resp, err := do(ctx, s.client.engine, r)
	if err != nil {
		return nil, err
	}
	if !resolved {
		result.Meta = resp.meta
	}
	return result, nil
}

// attachments returns the attachments as a JSON array, or nil if there are none.
func (p *ChatSendMessageParams) attachments() (json.RawMessage, error) {
	data, err := json.Marshal(p.Attachments)
	switch {
	case err != nil:
		return nil, fmt.Errorf("attachments: %w", err)
	case string(data) == "null", string(data) == "[]":
		return nil, nil
	case !bytes.HasPrefix(data, []byte("[")):
		return nil, fmt.Errorf("attachments: got %T, want a value that is marshaled to a JSON array", p.Attachments)
	}
	return data, nil
}

// check returns an error that says why the message cannot be sent.
func (p *ChatSendMessageParams) check(attachments json.RawMessage) error {
	if err := input.CheckID("roomId", p.RoomID); err != nil {
		return err
	}
	switch {
	case p.Text == "" && attachments == nil:
		return errors.New("text: must not be empty unless attachments is set")
	case !utf8.ValidString(p.Text):
		return errors.New("text: must be valid UTF-8")
	case len(p.Key) > 128:
		return fmt.Errorf("key: got %d bytes, want at most 128", len(p.Key))
	case p.ThreadID != "":
		return input.CheckID("threadId", p.ThreadID)
	}
	return nil
}

// messageID returns the message ID that belongs to a key: 128 bits of a hash, as 22
// base62 digits. The server keeps message IDs unique among all users and rooms, so
// the hash covers those too. A change to this function would break keys across
// versions.
func messageID(userID, roomID, key string) string {
	hash := sha256.New()
	for _, part := range []string{"chatdm message ID, version 1", userID, roomID, key} {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	digits := new(big.Int).SetBytes(hash.Sum(nil)[:16]).Text(62)
	return strings.Repeat("0", 22-len(digits)) + digits
}

// noCode marks a failure whose response is a 400 without a known code.
// chat.sendMessage responds this way if the ID is in use, if an app prevents the
// message, and if anything else fails, even after the server has stored the message.
type noCode struct{}

// refineSend is the refine function of chat.sendMessage.
func refineSend(status int, f *engine.Failure, keyed bool) {
	switch code := chatdm.Code(f.Code); {
	case status != http.StatusBadRequest:
	case code == ErrNotAllowed: // in this room
		f.Kind = string(chatdm.KindUnreachable)
	case code == ErrInvalidUser: // the caller, not the recipient
		f.Kind = string(chatdm.KindPermissionDenied)
	case code == "":
		f.Kind, f.Effect, f.Details = engine.Unavailable, engine.Unreadable, noCode{}
	case keyed && !isKnownCode(code):
		f.Effect, f.Details = engine.Unreadable, noCode{}
	}
}

// resolve looks for the message with a key after a call that may have sent it. It
// returns nil and fills the result if the message is there, or the final failure.
func (s *ChatService) resolve(ctx context.Context, result *ChatSendMessageResult, want Message, sent *engine.Response, f *engine.Failure) *engine.Failure {
	lost := sent.LostAnswers
	_, responded := f.Details.(noCode)
	if responded {
		lost-- // the engine counts the last attempt, whose response was not lost
	}
	found, err := s.get(ctx, want.ID, sent.Attempts)
	if err == nil {
		sent.Attempts = found.Meta.Attempts
	}
	e, _ := errors.AsType[*chatdm.Error](err)
	if e != nil {
		sent.Attempts = e.Attempts
	}
	switch {
	case err == nil && found.Message.UserID == want.UserID && found.Message.RoomID == want.RoomID:
		result.Message, result.Meta = found.Message, found.Meta
		result.Meta.LostAnswers = lost
		result.NoOp, result.AlreadySent = lost == 0, lost == 0
		return nil
	case err == nil, e.Code == ErrNotAllowed:
		return &engine.Failure{
			Kind: engine.UnexpectedResponse,
			Err:  fmt.Errorf("the ID %s, which belongs to the key, is in use by a message of another user or in another room", want.ID),
		}
	case e.Kind != chatdm.KindNotFound || e.Code != "":
		cause := s.client.engine.Cause(fmt.Errorf("cannot find out whether the message was sent: %v", err)) //nolint:errorlint // an error has one kind
		if ctxErr := ctx.Err(); ctxErr != nil {
			cause = fmt.Errorf("cannot find out whether the message was sent: %w", ctxErr)
		}
		return f.WithCause(cause)
	case lost == 0 && responded && saysUndefined(f.Message): // not a duplicate, because there is no such message
		return &engine.Failure{Kind: string(ErrAppPrevented.Kind()), Code: string(ErrAppPrevented), Message: f.Message, Effect: engine.Final}
	case lost == 0 && responded && !saysDuplicateKey(f.Message):
		final := *f
		final.Effect = engine.Final
		return &final
	}
	return f.WithCause(errors.New("the message was not there yet; it is safe to repeat the call with the same key"))
}

// saysUndefined reports whether the text is that of a server that has stored
// nothing, because the ID is in use or an app prevents the message. Its wording
// depends on the server's JavaScript engine.
func saysUndefined(text string) bool {
	return strings.HasPrefix(text, "Cannot read propert") && strings.Contains(text, "'starred'")
}

// saysDuplicateKey reports whether the text says that another request was storing
// a message with the same ID.
func saysDuplicateKey(text string) bool { return strings.HasPrefix(text, "E11000 ") }

// GetMessage gets a message by its ID. The call is idempotent. The caller needs
// access to the room of the message.
//
// Typical errors are [chatdm.KindNotFound] if the message does not exist or was
// deleted, and [ErrNotAllowed].
//
// Documented at https://developer.rocket.chat/apidocs/get-message.
func (s *ChatService) GetMessage(ctx context.Context, messageID string) (*MessageResult, error) {
	return s.get(ctx, messageID, 0)
}

func (s *ChatService) get(ctx context.Context, messageID string, earlierAttempts int) (*MessageResult, error) {
	result := new(MessageResult)
	resp, err := do(ctx, s.client.engine, request{
		Request: engine.Request{Method: "chat.getMessage", Verb: http.MethodGet, Idempotent: true, EarlierAttempts: int32(earlierAttempts)},
		params:  url.Values{"msgId": {messageID}}, invalid: input.CheckID("messageId", messageID),
		decode: decodeMessage(&result.Message),
		verify: func(*response) *engine.Failure { return required(result.Message.ID == messageID) },
		refine: func(status int, f *engine.Failure) {
			if status == http.StatusBadRequest && f.Code == "" && f.Message == "" {
				f.Kind, f.Err = string(chatdm.KindNotFound), errors.New("the message does not exist")
			}
		},
	})
	if err != nil {
		return nil, err
	}
	result.Meta = resp.meta
	return result, nil
}

// decodeMessage returns a function that decodes a response with a message.
func decodeMessage(m *Message) func(*engine.Response) (response, error) {
	return func(raw *engine.Response) (response, error) {
		var body struct {
			response
			Message messageOrText `json:"message"`
		}
		err := raw.Decode(&body)
		*m, body.response.Message = body.Message.message(), body.Message.text
		return body.response, err
	}
}

// messageOrText is the "message" field of a response: an object, or the text of an
// error.
type messageOrText struct {
	wireMessage
	text scalar
}

func (m *messageOrText) UnmarshalJSON(data []byte) error {
	if data[0] != '{' {
		return m.text.UnmarshalJSON(data)
	}
	_ = json.Unmarshal(data, &m.wireMessage) // a field of the wrong type stays zero
	return nil
}

// wireMessage is a message as the server sends it.
type wireMessage struct {
	ID       string `json:"_id"`
	RoomID   string `json:"rid"`
	Text     string `json:"msg"`
	ThreadID string `json:"tmid"`
	User     struct {
		ID       string `json:"_id"`
		Username string `json:"username"`
	} `json:"u"`
	Time   timestamp `json:"ts"`
	Edited timestamp `json:"editedAt"`
}

func (m *wireMessage) message() Message {
	return Message{
		ID: m.ID, RoomID: m.RoomID, Text: m.Text, ThreadID: m.ThreadID,
		UserID: m.User.ID, Username: m.User.Username, Time: time.Time(m.Time), Edited: time.Time(m.Edited),
	}
}

// timestamp is a time in JSON, in the format of JavaScript. It is zero for
// anything else.
type timestamp time.Time

func (t *timestamp) UnmarshalJSON(data []byte) error {
	var text string
	_ = json.Unmarshal(data, &text)
	if parsed, err := time.Parse(time.RFC3339, text); err == nil {
		*t = timestamp(parsed.UTC())
	}
	return nil
}
