package chatdm

import (
	"cmp"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/chatdm/chatdm/internal/engine"
)

// Error is the error of every call that fails, on every platform and whatever
// went wrong. Ask it with [errors.Is] for a [Code], for a [Kind], or for the
// cause, or take it whole with [errors.As] or errors.AsType:
//
//	switch {
//	case errors.Is(err, chatdm.ErrUserDisabled): // exactly this answer
//	case errors.Is(err, chatdm.KindRateLimited): // anything of this class
//	case errors.Is(err, context.Canceled): // the cause
//	}
//
// No field of it, and nothing that it prints, holds a credential, not even
// where the server has echoed one.
type Error struct {
	// Service is "slack" or "rocketchat".
	Service string
	// Method is the API method that failed, "conversations.open" where
	// IM.Open fell back to it; the name of the constructor for an error of one.
	Method string
	// Code is what the server said, and a sentinel where there is one for it: a
	// 429 is ErrRateLimited (rocketchat.ErrTooManyRequests) whatever its body
	// says. A code that nobody has documented is kept. It is empty where the
	// server gave none, and where the client itself refused the call; the Kind is
	// always set.
	Code Code
	// Kind is what to do about it; never empty.
	Kind Kind
	// Message is the server's own text, on one line, where it sent any.
	Message string
	// StatusCode is the HTTP status, 0 where there was no response.
	StatusCode int
	// RequestID names the request in the vendor's logs (X-Slack-Req-Id), where
	// the response had one.
	RequestID string
	// RetryAfter is how long the server asked to wait before the next call of
	// this method, 0 where it did not say. With a call that was not sent because
	// of an earlier refusal it is what is left of that wait.
	RetryAfter time.Duration
	// Needed and Provided are the scopes of a missing_scope, as Slack lists them:
	// those that the method can need, and those that the token has. Which of
	// several is needed depends on the conversation: im:write for one user,
	// mpim:write for a group.
	Needed, Provided []string
	// Warnings and Messages are what the response said beside the error.
	Warnings []Warning
	Messages []string
	// Attempts counts the HTTP requests of the call, retries and those that found
	// no connection included; 0 where none was tried.
	Attempts int
	// Err is the cause: what was wrong with the input or the answer, an error of
	// the network, of the limiter or of the context. Nil where the code says all.
	// It matches context.DeadlineExceeded also where the call failed at once
	// because a wait would have passed the deadline.
	Err error
}

// Error says on one line what a person on call needs: service, method, code,
// what that means, the scopes, the cause, the status, the request id and the
// number of attempts.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Service, e.Method)
	b.WriteString(cmp.Or(short(string(e.Code)), string(e.Kind)))
	if meaning := cmp.Or(catalogue[e.Code].meaning, e.Kind.meaning()); meaning != "" {
		b.WriteString(": " + meaning)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %q", short(e.Message))
	}
	var details []string
	if len(e.Needed) > 0 {
		details = append(details, "needed "+short(strings.Join(e.Needed, ",")))
	}
	if len(e.Provided) > 0 {
		details = append(details, "provided "+short(strings.Join(e.Provided, ",")))
	}
	if e.RetryAfter > 0 {
		details = append(details, "retry after "+e.RetryAfter.Round(10*time.Millisecond).String())
	}
	if e.StatusCode != 0 {
		details = append(details, fmt.Sprint("status ", e.StatusCode))
	}
	if e.RequestID != "" {
		details = append(details, "request "+short(e.RequestID))
	}
	switch {
	case e.Attempts > 1:
		details = append(details, fmt.Sprint(e.Attempts, " attempts"))
	case e.Attempts == 1:
		details = append(details, "1 attempt")
	case e.Kind != KindInvalidRequest: // of which it goes without saying
		details = append(details, "nothing sent")
	}
	if details != nil {
		b.WriteString(" (" + strings.Join(details, "; ") + ")")
	}
	return strings.Map(oneLine, b.String())
}

// oneLine takes the line breaks out of the texts of causes, which other
// people's code may have written.
func oneLine(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// short cuts a text of the server's that is too long for a line.
func short(text string) string {
	const limit = 200
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return text
}

// Is reports whether target is the error's [Code] or its [Kind].
func (e *Error) Is(target error) bool {
	switch target := target.(type) {
	case Code:
		return target != "" && target == e.Code
	case Kind:
		return target == e.Kind
	}
	return false
}

// Unwrap returns the cause, nil where there is none.
func (e *Error) Unwrap() error { return e.Err }

// LogValue makes a structured log line of the error, with a key for each field
// that is set.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("service", e.Service), slog.String("method", e.Method),
		slog.String("kind", string(e.Kind)), slog.Int("attempts", e.Attempts),
	}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("code", string(e.Code))
	add("message", e.Message)
	add("request_id", e.RequestID)
	add("needed", strings.Join(e.Needed, ","))
	if e.StatusCode != 0 {
		attrs = append(attrs, slog.Int("status", e.StatusCode))
	}
	if e.RetryAfter > 0 {
		attrs = append(attrs, slog.Duration("retry_after", e.RetryAfter))
	}
	if e.Err != nil {
		add("cause", strings.Map(oneLine, e.Err.Error()))
	}
	return slog.GroupValue(attrs...)
}

// ErrEffectUnknown is in the chain of an error whose call was sent and may
// have had its effect, and which was not repeated because that could do harm:
// [Client.Call], and the deletion of a room and a login on Rocket.Chat. So it is
// where the answer was lost or cut off, where the server or a proxy failed (any
// 5xx without a code that is known), where a success is none of the API's or does
// not fit the result, and where the context ended meanwhile. HTML with a 200 is
// [KindUnsupported] on Rocket.Chat, and not this: a server without the endpoint
// answers so. Find out what became of the call before
// you make it again.
var ErrEffectUnknown = engine.ErrEffectUnknown

// Warning is a remark that came with an answer. The call did what it says.
type Warning string

// The documented warnings. The client causes neither of them.
const (
	WarningMissingCharset     Warning = "missing_charset"
	WarningSuperfluousCharset Warning = "superfluous_charset"
)

// Kind is a class of errors: what to do about them. Each is a sentinel for
// [errors.Is].
type Kind string

const (
	// KindInvalidRequest is input that was refused, mostly before anything was
	// sent. Sending it again changes nothing: mend the caller.
	KindInvalidRequest Kind = engine.InvalidRequest
	// KindUnauthenticated is a credential that the server refuses: it is wrong,
	// expired or revoked. No call will work until there is a new one.
	KindUnauthenticated Kind = "unauthenticated"
	// KindPermissionDenied is a credential that may not do this: a missing scope,
	// a restriction of the workspace, somebody else's conversation. Tell whoever
	// installed the app; with missing_scope, Needed lists the scopes.
	KindPermissionDenied Kind = "permission_denied"
	// KindNotFound is a user or a conversation that does not exist for the caller.
	// Take it off the list.
	KindNotFound Kind = "not_found"
	// KindUnreachable means that the caller cannot message this person or
	// conversation but can message others: the account is deactivated or belongs
	// to a bot, the conversation is archived, or the caller is not a member of it.
	// Remove the target from your list.
	KindUnreachable Kind = "unreachable"
	// KindUnsupported means that the server does not offer the method, because
	// Slack has retired it, the server is too old, or the license excludes it.
	// Call another method.
	KindUnsupported Kind = "unsupported"
	// KindRateLimited is a call that came too soon. Come back after RetryAfter, or
	// when you think fit where the server did not say and it is zero.
	KindRateLimited Kind = engine.RateLimited
	// KindUnavailable is a fault on their side or of the network that will pass.
	// The retries, of calls that are repeated, are used up: come back later. Of
	// others ask for [ErrEffectUnknown] first.
	KindUnavailable Kind = engine.Unavailable
	// KindUnexpectedResponse is an answer that is not of the API: not JSON, cut
	// off, too large, a redirect, or a success without what it should bring. Look
	// at the base URL and at proxies, or report it.
	KindUnexpectedResponse Kind = engine.UnexpectedResponse
	// KindCanceled is a call that the caller's context ended while no answer of
	// the server was at hand. It may have had its effect; of a call that is not
	// harmless twice, [ErrEffectUnknown] tells.
	KindCanceled Kind = engine.Canceled
	// KindUnknown is an error code that is not in the catalogue. Look at Code and
	// Message, and report it.
	KindUnknown Kind = "unknown"
)

// Error returns the kind's name.
func (k Kind) Error() string { return string(k) }

// meaning is empty for KindInvalidRequest, where the cause says it all.
func (k Kind) meaning() string {
	switch k {
	case KindUnauthenticated:
		return "the credential is not accepted"
	case KindPermissionDenied:
		return "the credential may not do this"
	case KindNotFound:
		return "there is no such user or conversation"
	case KindUnreachable:
		return "the caller cannot message this person or conversation"
	case KindUnsupported:
		return "the server does not support this"
	case KindRateLimited:
		return "too many calls"
	case KindUnavailable:
		return "the service, the network or the limiter is in trouble"
	case KindUnexpectedResponse:
		return "the answer is not what the API promises"
	case KindCanceled:
		return "the caller's context ended the call"
	case KindUnknown:
		return "a code that this version does not know"
	}
	return ""
}

// Code is an error code of a server. The constants are sentinels for
// [errors.Is]; a code that nobody has documented works the same way:
// errors.Is(err, chatdm.Code("brand_new")).
type Code string

// Error returns the code as the server spells it.
func (c Code) Error() string { return string(c) }

// Kind returns the class of the code, [KindUnknown] for one that is not in the
// catalogue.
func (c Code) Kind() Kind { return cmp.Or(catalogue[c].kind, KindUnknown) }

// Slack's codes: every one that is documented for im.open, im.close,
// conversations.open and conversations.close or is common to all methods,
// those of conversations.list, and cannot_dm_bot, which Slack sends without
// having documented it. What each means is part of the error's text, and in
// the list of docs/errors.md.
//
// Documented at https://docs.slack.dev/reference/methods.
const (
	// About users and conversations.

	ErrChannelNotFound                  Code = "channel_not_found"
	ErrUserDoesNotOwnChannel            Code = "user_does_not_own_channel"
	ErrUserNotFound                     Code = "user_not_found"
	ErrUserNotVisible                   Code = "user_not_visible"
	ErrUserDisabled                     Code = "user_disabled"
	ErrUsersListNotSupplied             Code = "users_list_not_supplied"
	ErrNotEnoughUsers                   Code = "not_enough_users"
	ErrTooManyUsers                     Code = "too_many_users"
	ErrInvalidUserCombination           Code = "invalid_user_combination"
	ErrCannotDMBot                      Code = "cannot_dm_bot"
	ErrMethodNotSupportedForChannelType Code = "method_not_supported_for_channel_type"
	ErrIsArchived                       Code = "is_archived"
	ErrNotInChannel                     Code = "not_in_channel"
	ErrMessagesTabDisabled              Code = "messages_tab_disabled"
	ErrNotPermitted                     Code = "not_permitted"
	ErrExternalChannelMigrating         Code = "external_channel_migrating"

	// About the token, and what it may do.

	ErrMissingScope           Code = "missing_scope"
	ErrNotAuthed              Code = "not_authed"
	ErrInvalidAuth            Code = "invalid_auth"
	ErrAccountInactive        Code = "account_inactive"
	ErrTokenRevoked           Code = "token_revoked"
	ErrTokenExpired           Code = "token_expired"
	ErrNoPermission           Code = "no_permission"
	ErrNotAllowedTokenType    Code = "not_allowed_token_type"
	ErrAccessDenied           Code = "access_denied"
	ErrAccessLimited          Code = "accesslimited"
	ErrEKMAccessDenied        Code = "ekm_access_denied"
	ErrEnterpriseIsRestricted Code = "enterprise_is_restricted"
	ErrTeamAccessNotGranted   Code = "team_access_not_granted"
	ErrOrgLoginRequired       Code = "org_login_required"
	ErrTeamAddedToOrg         Code = "team_added_to_org"
	ErrTwoFactorSetupRequired Code = "two_factor_setup_required"
	ErrIsBot                  Code = "is_bot"

	// Of methods that are retired or unknown.

	ErrMethodDeprecated   Code = "method_deprecated"
	ErrDeprecatedEndpoint Code = "deprecated_endpoint"
	ErrUnknownMethod      Code = "unknown_method"
	ErrUpgradeRequired    Code = "upgrade_required"

	// About the request, which this package builds; Call can bring them about.

	ErrInvalidArguments Code = "invalid_arguments"
	ErrMissingArgument  Code = "missing_argument"
	ErrInvalidArgName   Code = "invalid_arg_name"
	ErrInvalidArrayArg  Code = "invalid_array_arg"
	ErrInvalidCharset   Code = "invalid_charset"
	ErrInvalidFormData  Code = "invalid_form_data"
	ErrInvalidPostType  Code = "invalid_post_type"
	ErrMissingPostType  Code = "missing_post_type"
	ErrInvalidJSON      Code = "invalid_json"
	ErrJSONNotObject    Code = "json_not_object"
	ErrInvalidCursor    Code = "invalid_cursor"
	ErrInvalidLimit     Code = "invalid_limit"
	ErrInvalidTypes     Code = "invalid_types"

	// What will pass.

	ErrRateLimited        Code = "ratelimited"
	ErrRequestTimeout     Code = "request_timeout"
	ErrServiceUnavailable Code = "service_unavailable"
	ErrFatalError         Code = "fatal_error"
	ErrInternalError      Code = "internal_error"
)

// entry is what the SDK knows about a code.
type entry struct {
	kind    Kind
	meaning string // in our words, for the error's text and the documentation
	outcome engine.Outcome
}

// catalogue is the one place that knows the codes: it classifies them, explains
// them, decides whether a call is repeated, and is what their table in the
// documentation is made from. Where outcome is not set the answer is definite.
var catalogue = map[Code]entry{
	ErrChannelNotFound:                  {kind: KindNotFound, meaning: "no conversation with this id exists for the caller"},
	ErrUserDoesNotOwnChannel:            {kind: KindUnreachable, meaning: "the caller is not a member of this direct message"},
	ErrUserNotFound:                     {kind: KindNotFound, meaning: "no user with this id exists for the caller"},
	ErrUserNotVisible:                   {kind: KindUnreachable, meaning: "the caller is restricted and may not see this user"},
	ErrUserDisabled:                     {kind: KindUnreachable, meaning: "the user's account is deactivated"},
	ErrUsersListNotSupplied:             {kind: KindInvalidRequest, meaning: "neither users nor a channel were named"},
	ErrNotEnoughUsers:                   {kind: KindInvalidRequest, meaning: "too few users for a group message"},
	ErrTooManyUsers:                     {kind: KindInvalidRequest, meaning: "a group message holds at most eight users beside the caller"},
	ErrInvalidUserCombination:           {kind: KindUnreachable, meaning: "people of other organizations must already share a channel with each other"},
	ErrCannotDMBot:                      {kind: KindUnreachable, meaning: "a bot cannot open a direct message with another bot"},
	ErrMethodNotSupportedForChannelType: {kind: KindUnreachable, meaning: "the method does not work on this type of conversation"},
	ErrIsArchived:                       {kind: KindUnreachable, meaning: "the conversation is archived"},
	ErrNotInChannel:                     {kind: KindUnreachable, meaning: "the caller is not a member of the conversation"},
	ErrMessagesTabDisabled:              {kind: KindUnreachable, meaning: "the app's Messages tab is turned off, so nobody can have a direct message with it"},
	ErrNotPermitted:                     {kind: KindPermissionDenied, meaning: "the workspace does not allow this"},
	ErrExternalChannelMigrating:         {kind: KindUnavailable, meaning: "the shared channel is being moved; it works again when that is done"},
	ErrMissingScope:                     {kind: KindPermissionDenied, meaning: "the token lacks a scope; add one and install the app again"},
	ErrNotAuthed:                        {kind: KindUnauthenticated, meaning: "no token reached the server"},
	ErrInvalidAuth:                      {kind: KindUnauthenticated, meaning: "the token is wrong, or this IP address may not use it"},
	ErrAccountInactive:                  {kind: KindUnauthenticated, meaning: "the token's user or workspace is gone"},
	ErrTokenRevoked:                     {kind: KindUnauthenticated, meaning: "the token was revoked, or the app removed"},
	ErrTokenExpired:                     {kind: KindUnauthenticated, meaning: "the token has expired; refresh it"},
	ErrNoPermission:                     {kind: KindPermissionDenied, meaning: "the token lacks a permission, or the app is not in the conversation"},
	ErrNotAllowedTokenType:              {kind: KindPermissionDenied, meaning: "this type of token cannot call the method"},
	ErrAccessDenied:                     {kind: KindPermissionDenied, meaning: "the caller may not use something that the request names"},
	ErrAccessLimited:                    {kind: KindPermissionDenied, meaning: "the method is not available from this network"},
	ErrEKMAccessDenied:                  {kind: KindPermissionDenied, meaning: "the organization's administrators have suspended posting"},
	ErrEnterpriseIsRestricted:           {kind: KindUnsupported, meaning: "the method cannot be called from an enterprise organization"},
	ErrTeamAccessNotGranted:             {kind: KindPermissionDenied, meaning: "the organization's token was not given this workspace"},
	ErrOrgLoginRequired:                 {kind: KindUnavailable, meaning: "the workspace is moving to an enterprise organization and is away until that is done"},
	ErrTeamAddedToOrg:                   {kind: KindUnavailable, meaning: "the workspace is moving to an enterprise organization and fails now and then until that is done"},
	ErrTwoFactorSetupRequired:           {kind: KindUnauthenticated, meaning: "the user must set up two-factor authentication first"},
	ErrIsBot:                            {kind: KindPermissionDenied, meaning: "a legacy bot cannot call the method"},
	ErrMethodDeprecated:                 {kind: KindUnsupported, meaning: "the method is retired"},
	ErrDeprecatedEndpoint:               {kind: KindUnsupported, meaning: "the endpoint is retired"},
	ErrUnknownMethod:                    {kind: KindUnsupported, meaning: "the server has no such method"},
	ErrInvalidArguments:                 {kind: KindInvalidRequest, meaning: "an argument is missing or wrong"},
	ErrMissingArgument:                  {kind: KindInvalidRequest, meaning: "a required argument is missing"},
	ErrInvalidArgName:                   {kind: KindInvalidRequest, meaning: "an argument's name is too long or has characters other than letters, digits and _"},
	ErrInvalidArrayArg:                  {kind: KindInvalidRequest, meaning: "an argument was sent as an array, like users[0]"},
	ErrInvalidCharset:                   {kind: KindInvalidRequest, meaning: "the charset is neither utf-8 nor iso-8859-1"},
	ErrInvalidFormData:                  {kind: KindInvalidRequest, meaning: "the form is missing or malformed"},
	ErrInvalidPostType:                  {kind: KindInvalidRequest, meaning: "the method does not take this Content-Type"},
	ErrMissingPostType:                  {kind: KindInvalidRequest, meaning: "the body came without a Content-Type"},
	ErrInvalidJSON:                      {kind: KindInvalidRequest, meaning: "the JSON body is malformed"},
	ErrJSONNotObject:                    {kind: KindInvalidRequest, meaning: "the JSON body is not an object"},
	ErrInvalidCursor:                    {kind: KindInvalidRequest, meaning: "the cursor is not of an earlier page, or is too old"},
	ErrInvalidLimit:                     {kind: KindInvalidRequest, meaning: "the page size is out of range"},
	ErrInvalidTypes:                     {kind: KindInvalidRequest, meaning: "a type of conversation is unknown, or the token may not list it"},
	ErrUpgradeRequired:                  {kind: KindUnsupported, meaning: "the server wants a newer version of the API or the client"},
	ErrRateLimited:                      {kind: KindRateLimited, meaning: "too many calls of this method in this workspace", outcome: engine.Refused},
	ErrRequestTimeout:                   {kind: KindUnavailable, meaning: "the request's body did not arrive whole", outcome: engine.Unknown},
	ErrServiceUnavailable:               {kind: KindUnavailable, meaning: "the service is down for a while", outcome: engine.Unknown},
	ErrFatalError:                       {kind: KindUnavailable, meaning: "the server broke off; a part may have been done", outcome: engine.Unknown},
	ErrInternalError:                    {kind: KindUnavailable, meaning: "the server failed; a part may have been done", outcome: engine.Unknown},

	// Rocket.Chat's, whose constants are in package rocketchat.
	"error-unauthorized":                     {kind: KindUnauthenticated, meaning: "the user id and token, or the password, are not accepted"},
	"forbidden":                              {kind: KindPermissionDenied, meaning: "the user may not do this with this room, or there is no such room"},
	"invalid-params":                         {kind: KindInvalidRequest, meaning: "the server's schema refuses the body"},
	"invalid-channel":                        {kind: KindNotFound, meaning: "no such room or user, or the room is no direct message"},
	"error-not-allowed":                      {kind: KindPermissionDenied, meaning: "the user lacks a permission for this, or is not a member of the room"},
	"error-invalid-user":                     {kind: KindNotFound, meaning: "no such user, or not one to make a direct message with"},
	"error-invalid-room":                     {kind: KindNotFound, meaning: "the room is gone"},
	"error-room-not-found":                   {kind: KindNotFound, meaning: "the user has no such direct message"},
	"error-room-param-not-provided":          {kind: KindInvalidRequest, meaning: "no room was named"},
	"error-cannot-delete-federated-room":     {kind: KindUnreachable, meaning: "a room that other servers share cannot be deleted"},
	"error-cannot-delete-team-channel":       {kind: KindUnreachable, meaning: "the main room of a team cannot be deleted"},
	"error-app-prevented-deleting":           {kind: KindPermissionDenied, meaning: "an app on the server has forbidden the deletion"},
	"error-app-prevented":                    {kind: KindPermissionDenied, meaning: "an app on the server has forbidden it"},
	"error-direct-message-max-user-exceeded": {kind: KindInvalidRequest, meaning: "too many users for a direct message"},
	"error-creator-not-in-room":              {kind: KindInvalidRequest, meaning: "the caller must be in the room that they create"},
	"error-this-is-a-premium-feature":        {kind: KindUnsupported, meaning: "the server's licence does not include this"},
	"error-too-many-requests":                {kind: KindRateLimited, meaning: "too many calls of this endpoint from this address", outcome: engine.Refused},
	"totp-required":                          {kind: KindUnauthenticated, meaning: "a code of the second factor is needed"},
	"totp-invalid":                           {kind: KindUnauthenticated, meaning: "the code of the second factor is wrong or too old"},
	"totp-max-attempts":                      {kind: KindUnauthenticated, meaning: "too many wrong codes of the second factor"},
	"totp-user-not-found":                    {kind: KindUnauthenticated, meaning: "the second factor belongs to no user"},
}
