package chatdm

import (
	"context"

	"github.com/chatdm/chatdm/internal/engine"
)

// IMService has the methods that Slack retired on 2021-02-24 in favour of
// conversations.*. Where the server answers that they are gone (with
// [ErrMethodDeprecated], [ErrDeprecatedEndpoint] or [ErrUnknownMethod]) the
// client sends the call to the conversations.* method instead, and from then
// on does so at once. The Method of the result or of the error names the
// method that answered, Attempts counts the requests to both. [WithStrictIM]
// turns this off.
type IMService struct{ client *Client }

// IMOpenParams are the arguments of [IMService.Open].
type IMOpenParams struct {
	// User is the id of the other person.
	User string `url:"user"`
	// ReturnIM asks for the whole channel; without it only its ID is set.
	ReturnIM bool `url:"return_im,omitempty"`
	// IncludeLocale asks for the channel's Locale. conversations.open has no
	// such argument: where Open falls back to it, this is dropped.
	IncludeLocale bool `url:"include_locale,omitempty"`
}

// Open opens the direct message with one user, and says with AlreadyOpen where
// it was open before. It is safe to repeat, and is repeated when an answer is
// lost. It needs the scope im:write.
//
// Errors to expect are [ErrUserNotFound], [ErrUserNotVisible],
// [ErrUserDisabled], [ErrCannotDMBot] and [ErrMissingScope].
//
// Documented at https://api.slack.com/methods/im.open until 2021.
func (s *IMService) Open(ctx context.Context, params IMOpenParams) (*OpenResult, error) {
	res := new(OpenResult)
	twin := res.call(ConversationsOpenParams{Users: []string{params.User}, ReturnIM: params.ReturnIM})
	c := twin
	c.Method, c.Body, c.invalid, c.twin = "im.open", params.form(), engine.CheckID("user", params.User), &twin
	return res.of(s.client.do(ctx, c))
}

// form is what go-querystring makes of the params, without its reflection.
func (p IMOpenParams) form() form {
	return form(nil).flag("include_locale", p.IncludeLocale).flag("return_im", p.ReturnIM).add("user", p.User)
}

// Close closes a direct message for the caller: it leaves the sidebar, and
// nothing of it is lost. AlreadyClosed says where it was closed before. It is
// safe to repeat, and is repeated when an answer is lost. It needs the scope
// im:write.
//
// Errors to expect are [ErrChannelNotFound], [ErrUserDoesNotOwnChannel] and
// [ErrMissingScope].
//
// Documented at https://api.slack.com/methods/im.close until 2021.
func (s *IMService) Close(ctx context.Context, channel string) (*CloseResult, error) {
	res := new(CloseResult)
	twin := res.call(channel)
	c := twin
	c.Method, c.twin = "im.close", &twin
	return res.of(s.client.do(ctx, c))
}
