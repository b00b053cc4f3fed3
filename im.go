package chatdm

import (
	"context"

	"github.com/chatdm/chatdm/internal/engine"
	"github.com/chatdm/chatdm/internal/input"
)

// IMService provides the im.* methods, which Slack retired on 2021-02-24 in favor
// of conversations.*. If the server responds with [ErrMethodDeprecated],
// [ErrDeprecatedEndpoint], or [ErrUnknownMethod], the client falls back to the
// corresponding conversations.* method. From then on, it never calls an im.* method.
// Meta.Method or Error.Method is the method that responded, and Attempts counts the
// attempts of both methods. [WithStrictIM] turns the fallback off.
type IMService struct{ client *Client }

// IMOpenParams holds the arguments of [IMService.Open].
type IMOpenParams struct {
	User     string `url:"user"`                // ID of the other person
	ReturnIM bool   `url:"return_im,omitempty"` // request all fields of the channel
	// IncludeLocale requests the channel's Locale. It has no effect if Open falls
	// back to conversations.open, which has no such argument.
	IncludeLocale bool `url:"include_locale,omitempty"`
}

// Open opens the direct message with a user. AlreadyOpen reports whether it
// was already open. The call is idempotent. It needs the scope im:write.
//
// Typical errors are [ErrUserNotFound], [ErrUserNotVisible],
// [ErrUserDisabled], [ErrCannotDMBot], and [ErrMissingScope].
//
// Documented at https://api.slack.com/methods/im.open until 2021.
func (s *IMService) Open(ctx context.Context, params IMOpenParams) (*OpenResult, error) {
	result := new(OpenResult)
	fallback := openRequest(ConversationsOpenParams{Users: []string{params.User}, ReturnIM: params.ReturnIM}, result)
	r := fallback
	r.Method, r.fallback = "im.open", &fallback
	r.Body, r.invalid = input.Form{}.AddTrue("include_locale", params.IncludeLocale).AddTrue("return_im", params.ReturnIM).AddID("user", params.User).Encode()
	return result.fill(s.client.do(ctx, r))
}

// Close closes a direct message for the caller. The conversation leaves the
// sidebar, and its messages are kept. AlreadyClosed reports whether it was
// already closed. The call is idempotent. It needs the scope im:write.
//
// Typical errors are [ErrChannelNotFound], [ErrUserDoesNotOwnChannel], and
// [ErrMissingScope].
//
// Documented at https://api.slack.com/methods/im.close until 2021.
func (s *IMService) Close(ctx context.Context, channel string) (*CloseResult, error) {
	result := new(CloseResult)
	body, err := input.Form{}.AddID("channel", channel).Encode()
	fallback := request{
		Request: engine.Request{Method: "conversations.close", Body: body, Idempotent: true},
		invalid: err, meta: &result.Meta,
	}
	r := fallback
	r.Method, r.fallback = "im.close", &fallback
	return result.fill(s.client.do(ctx, r))
}
