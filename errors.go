package chatdm

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/chatdm/chatdm/internal/engine"
)

// Error describes a failed call on either platform. It matches its [Code] and
// exactly one [Kind]:
//
//	switch {
//	case errors.Is(err, chatdm.ErrEffectUnknown): // find out what happened
//	case errors.Is(err, chatdm.KindRateLimited): // try again later
//	case errors.Is(err, chatdm.ErrUserDisabled): // this code only
//	}
//
// To read the fields, use [errors.AsType]. No field contains a credential, even
// if the server sent it back, and long messages from the server are truncated.
type Error struct {
	Service string // "slack" or "rocketchat"
	Method  string // the API method: "conversations.open" if IM.Open fell back to it, "NewClient" for the constructor
	// Code is the server's error code, or empty if it sent none. A 429 always has the
	// code [ErrRateLimited] (on Rocket.Chat, rocketchat.ErrTooManyRequests). A call that
	// the client or the limiter held back has none, so check for [KindRateLimited].
	Code       Code
	Kind       Kind   // what to do about the error; never empty
	Message    string // the server's text on one line
	StatusCode int    // the HTTP status, or 0 if there was no response
	RequestID  string // identifies the request in the vendor's logs (X-Slack-Req-Id)
	// RetryAfter is how long to wait before the next call: what the server requested,
	// or what remains of a pause or of a limiter's wait. 0 means unknown.
	RetryAfter time.Duration
	// Needed and Provided are set for [ErrMissingScope]. Needed lists the scopes that
	// the method can require, such as im:write for one user and mpim:write for a
	// group. Provided lists the scopes of the token.
	Needed, Provided []string
	Warnings         []Warning // see [Meta]
	Messages         []string  // see [Meta]
	Attempts         int       // including attempts that could not connect; 0 if there was no attempt
	// Err is the cause: an error from the network, the limiter, the credential source,
	// or the context, or what is wrong with the arguments or the response. It is nil if the code alone
	// explains the failure. If the previous attempt failed with a different error, Err
	// mentions it. Err matches context.DeadlineExceeded if the deadline has passed, or if
	// the call failed immediately because a wait would have exceeded the deadline.
	Err error
}

// Error returns the code (or the kind, if there is no code), its meaning, the cause,
// and details such as the status and the number of attempts, on one line.
func (e *Error) Error() string {
	short := func(text string) string { return engine.Shorten(text, engine.MaxText) }
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Service, e.Method)
	b.WriteString(cmp.Or(short(string(e.Code)), string(e.Kind)))
	if meaning := cmp.Or(e.Code.Meaning(), kindMeanings[e.Kind]); meaning != "" {
		b.WriteString(": " + meaning)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Message != "" {
		fmt.Fprintf(&b, ": %q", short(e.Message))
	}
	var details []string
	detail := func(ok bool, format string, args ...any) {
		if ok {
			details = append(details, fmt.Sprintf(format, args...))
		}
	}
	detail(len(e.Needed) > 0, "needed %s", short(strings.Join(e.Needed, ",")))
	detail(len(e.Provided) > 0, "provided %s", short(strings.Join(e.Provided, ",")))
	detail(e.RetryAfter > 0, "retry after %v", e.RetryAfter.Round(10*time.Millisecond))
	detail(e.StatusCode != 0, "status %d", e.StatusCode)
	detail(e.RequestID != "", "request %s", short(e.RequestID))
	detail(e.Attempts == 0 && e.Kind != KindInvalidRequest, "nothing sent")
	detail(e.Attempts == 1, "1 attempt")
	detail(e.Attempts > 1, "%d attempts", e.Attempts)
	if details != nil {
		b.WriteString(" (" + strings.Join(details, "; ") + ")")
	}
	return strings.Map(oneLine, b.String())
}

// oneLine replaces a line break or another control character with a space.
func oneLine(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// Is reports whether target is the error's [Code] or its [Kind].
func (e *Error) Is(target error) bool {
	return target == error(e.Kind) || e.Code != "" && target == error(e.Code)
}

// Unwrap returns the cause, or nil. It hides any [Code] or [Kind] that the cause
// matches, because an error has exactly one kind.
func (e *Error) Unwrap() error {
	if errors.As(e.Err, new(*Error)) || errors.As(e.Err, new(Kind)) || errors.As(e.Err, new(Code)) {
		return plainCause{e.Err}
	}
	return e.Err
}

// plainCause is a cause that matches no code and no kind.
type plainCause struct{ error }

func (c plainCause) Is(target error) bool {
	switch target.(type) {
	case Code, Kind:
		return false
	}
	return errors.Is(c.error, target)
}

// LogValue returns a group of the fields that are set, without Provided, Warnings,
// and Messages. The key of Err is "cause".
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("service", e.Service), slog.String("method", e.Method),
		slog.String("kind", string(e.Kind)), slog.Int("attempts", e.Attempts),
	}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, engine.Shorten(strings.Map(oneLine, value), 1000)))
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
		add("cause", e.Err.Error())
	}
	return slog.GroupValue(attrs...)
}

// ErrEffectUnknown is returned when a call that is not idempotent may have taken effect:
// the response was lost, was truncated, was not from the API, or could not be decoded; the
// server failed; or the context ended during the attempt. Find out what happened before
// you repeat the call. Only [ChatService.PostMessage], [Client.Call], [Rotator.Exchange],
// and, on Rocket.Chat, Call, SendMessage, Delete, Login, and Resume are not idempotent. On
// Rocket.Chat, an HTML page with status 200 is [KindUnsupported] instead, because a server
// that lacks the endpoint responds that way.
var ErrEffectUnknown = engine.ErrEffectUnknown

// Warning is a warning that Slack sends about a request, even if the call succeeds.
type Warning string

// The documented warnings about charsets, which the client's own requests never cause.
const (
	WarningMissingCharset     Warning = "missing_charset"
	WarningSuperfluousCharset Warning = "superfluous_charset"
)

// WarningKeyNotStored means that Slack posted a message without its Key, for example
// because the app's manifest declares a schema for its metadata. A search cannot find the
// message. The warning comes from the client.
const WarningKeyNotStored Warning = "key_not_stored"

// Kind says what to do about an error. Each kind is a sentinel for [errors.Is],
// and an error has exactly one. Check for [ErrEffectUnknown] first. The constants
// from [KindInvalidRequest] to [KindUnknown] are the only kinds.
type Kind string

const (
	// KindInvalidRequest means that the arguments are invalid. In most cases, the
	// client sent nothing. Fix the program.
	KindInvalidRequest Kind = engine.InvalidRequest
	// KindUnauthenticated means that the credential is wrong, expired, or revoked.
	// No call will succeed without a new one. Alert the operator.
	KindUnauthenticated Kind = "unauthenticated"
	// KindPermissionDenied means that the credential does not allow the call: it
	// lacks a scope, or the workspace restricts it. Alert the operator. If the code
	// is missing_scope, Needed lists the scopes.
	KindPermissionDenied Kind = "permission_denied"
	// KindNotFound means that the user or the conversation does not exist, or is not
	// visible to the caller. Remove it from your list.
	KindNotFound Kind = "not_found"
	// KindUnreachable means that the caller cannot message this person or
	// conversation but can message others: the account is deactivated or belongs
	// to a bot, the conversation is archived, or the caller is not a member of it.
	// Remove it from your list.
	KindUnreachable Kind = "unreachable"
	// KindUnsupported means that the server does not offer the method: Slack has
	// retired it, the server is too old, or the license does not include it. Use
	// another method.
	KindUnsupported Kind = "unsupported"
	// KindRateLimited means that the call exceeds a rate limit. Try again after
	// RetryAfter. If that is 0, the necessary wait is unknown.
	KindRateLimited Kind = engine.RateLimited
	// KindUnavailable means that the server, the network, the limiter, or the
	// credential source failed, or the server's certificate is invalid. Try again later.
	KindUnavailable Kind = engine.Unavailable
	// KindUnexpectedResponse means that the response is not valid for the API: not
	// JSON, truncated, too large, a redirect, or a success that lacks required data.
	// Check the base URL and proxies, or report a bug.
	KindUnexpectedResponse Kind = engine.UnexpectedResponse
	// KindCanceled means that the caller's context ended before the server responded.
	// If it ended during the wait after an error response, the kind is that of the response.
	KindCanceled Kind = engine.Canceled
	// KindUnknown means that the server's error has no code, or one that this version
	// does not define. Look at Code and Message, and report it.
	KindUnknown Kind = "unknown"
)

// Error returns the kind as a string, such as "not_found".
func (k Kind) Error() string { return string(k) }

// kindMeanings explains an error without a known code. The cause of a
// KindInvalidRequest needs no explanation.
var kindMeanings = map[Kind]string{
	KindUnauthenticated:    "the server does not accept the credential",
	KindPermissionDenied:   "the credential does not allow this",
	KindNotFound:           "the user or conversation does not exist",
	KindUnreachable:        "the caller cannot message this person or conversation",
	KindUnsupported:        "the server does not support this",
	KindRateLimited:        "too many calls",
	KindUnavailable:        "the server, the network, the limiter, or the credential source failed",
	KindUnexpectedResponse: "the response is not valid for this API",
	KindCanceled:           "the caller's context ended",
	KindUnknown:            "this version does not recognize the error",
}

// Code is a server's error code. The constants are sentinels for [errors.Is]. A
// code without a constant works the same way:
// errors.Is(err, chatdm.Code("brand_new")).
type Code string

// Error returns the code as a string, such as "user_not_found".
func (c Code) Error() string { return string(c) }

// Kind returns the kind of the code, or [KindUnknown] if the code is not one of
// the constants.
func (c Code) Kind() Kind { return cmp.Or(catalogue[c.canonical()].kind, KindUnknown) }

// Meaning returns a short explanation of the code, such as "the user's account is
// deactivated", or an empty string if the code is not one of the constants.
func (c Code) Meaning() string { return catalogue[c.canonical()].meaning }

// canonical returns the constant for a code that Slack spells in two ways.
func (c Code) canonical() Code {
	if c == "rate_limited" {
		return ErrRateLimited
	}
	return c
}

// The codes that Slack documents for the methods of this package, and a few that it does
// not document, such as cannot_dm_bot. The text of an [Error] says what its code means.
//
// Documented at https://docs.slack.dev/reference/methods.
const (
	// Users and conversations.
	ErrChannelNotFound                  Code = "channel_not_found"
	ErrUserDoesNotOwnChannel            Code = "user_does_not_own_channel"
	ErrUserNotFound                     Code = "user_not_found"
	ErrUsersNotFound                    Code = "users_not_found"
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

	// Messages.
	ErrNoText                               Code = "no_text"
	ErrMsgTooLong                           Code = "msg_too_long"
	ErrMsgTooLarge                          Code = "msg_too_large"
	ErrMsgBlocksTooLong                     Code = "msg_blocks_too_long"
	ErrMarkdownTextConflict                 Code = "markdown_text_conflict"
	ErrInvalidBlocks                        Code = "invalid_blocks"
	ErrInvalidBlocksFormat                  Code = "invalid_blocks_format"
	ErrInvalidAttachments                   Code = "invalid_attachments"
	ErrTooManyAttachments                   Code = "too_many_attachments"
	ErrAttachmentPayloadLimitExceeded       Code = "attachment_payload_limit_exceeded"
	ErrTooManyContactCards                  Code = "too_many_contact_cards"
	ErrMissingFileData                      Code = "missing_file_data"
	ErrInvalidMetadataFormat                Code = "invalid_metadata_format"
	ErrInvalidMetadataSchema                Code = "invalid_metadata_schema"
	ErrMetadataTooLarge                     Code = "metadata_too_large"
	ErrMetadataMustBeSentFromApp            Code = "metadata_must_be_sent_from_app"
	ErrAsUserNotSupported                   Code = "as_user_not_supported"
	ErrTeamNotFound                         Code = "team_not_found"
	ErrThreadNotFound                       Code = "thread_not_found"
	ErrCannotReplyToMessage                 Code = "cannot_reply_to_message"
	ErrRestrictedAction                     Code = "restricted_action"
	ErrRestrictedActionReadOnlyChannel      Code = "restricted_action_read_only_channel"
	ErrRestrictedActionThreadOnlyChannel    Code = "restricted_action_thread_only_channel"
	ErrRestrictedActionNonThreadableChannel Code = "restricted_action_non_threadable_channel"
	ErrRestrictedActionThreadLocked         Code = "restricted_action_thread_locked"
	ErrChannelIsLimitedAccess               Code = "channel_is_limited_access"
	ErrAppAccessRestricted                  Code = "app_access_restricted"
	ErrSendOnBehalfNotAllowed               Code = "send_on_behalf_not_allowed"
	ErrSlackConnectCanvasSharingBlocked     Code = "slack_connect_canvas_sharing_blocked"
	ErrSlackConnectFileLinkSharingBlocked   Code = "slack_connect_file_link_sharing_blocked"
	ErrSlackConnectListsSharingBlocked      Code = "slack_connect_lists_sharing_blocked"
	ErrMessageLimitExceeded                 Code = "message_limit_exceeded"
	ErrDraftNotFound                        Code = "draft_not_found"
	ErrDraftAlreadySent                     Code = "draft_already_sent"
	ErrDraftAlreadyDeleted                  Code = "draft_already_deleted"
	ErrDraftHasConflict                     Code = "draft_has_conflict"
	ErrDuplicateMessageNotFound             Code = "duplicate_message_not_found"
	ErrDuplicateChannelNotFound             Code = "duplicate_channel_not_found"
	ErrListRecordCommentFetchFailed         Code = "list_record_comment_fetch_failed"

	// The token and what it allows.
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

	// Token rotation.
	ErrInvalidRefreshToken            Code = "invalid_refresh_token"
	ErrInvalidClientID                Code = "invalid_client_id"
	ErrBadClientSecret                Code = "bad_client_secret"
	ErrInvalidGrantType               Code = "invalid_grant_type"
	ErrInvalidCode                    Code = "invalid_code"
	ErrInvalidCodeVerifier            Code = "invalid_code_verifier"
	ErrBadRedirectURI                 Code = "bad_redirect_uri"
	ErrNoScopes                       Code = "no_scopes"
	ErrPKCENotAllowed                 Code = "pkce_not_allowed"
	ErrPreviewFeatureNotAvailable     Code = "preview_feature_not_available"
	ErrOAuthAuthorizationURLMismatch  Code = "oauth_authorization_url_mismatch"
	ErrCannotInstallAnOrgInstalledApp Code = "cannot_install_an_org_installed_app"
	ErrUserEmailUnverified            Code = "user_email_unverified"
	ErrAuthorizationNotFound          Code = "authorization_not_found"
	ErrInvalidToken                   Code = "invalid_token"
	ErrTokenAlreadyExchanged          Code = "token_already_exchanged"
	ErrTokenRotationNotEnabled        Code = "token_rotation_not_enabled"

	// Methods that do not exist or no longer exist.
	ErrMethodDeprecated   Code = "method_deprecated"
	ErrDeprecatedEndpoint Code = "deprecated_endpoint"
	ErrUnknownMethod      Code = "unknown_method"
	ErrUpgradeRequired    Code = "upgrade_required"

	// The request. Only Call should cause these.
	ErrInvalidArguments          Code = "invalid_arguments"
	ErrMissingArgument           Code = "missing_argument"
	ErrInvalidArgName            Code = "invalid_arg_name"
	ErrInvalidArrayArg           Code = "invalid_array_arg"
	ErrInvalidCharset            Code = "invalid_charset"
	ErrInvalidFormData           Code = "invalid_form_data"
	ErrInvalidPostType           Code = "invalid_post_type"
	ErrMissingPostType           Code = "missing_post_type"
	ErrInvalidJSON               Code = "invalid_json"
	ErrJSONNotObject             Code = "json_not_object"
	ErrInvalidCursor             Code = "invalid_cursor"
	ErrInvalidLimit              Code = "invalid_limit"
	ErrInvalidTypes              Code = "invalid_types"
	ErrInvalidTSOldest           Code = "invalid_ts_oldest"
	ErrInvalidTSLatest           Code = "invalid_ts_latest"
	ErrInvalidMetadataFilterKeys Code = "invalid_metadata_filter_keys"

	// Temporary failures.
	ErrRateLimited        Code = "ratelimited"
	ErrRequestTimeout     Code = "request_timeout"
	ErrServiceUnavailable Code = "service_unavailable"
	ErrFatalError         Code = "fatal_error"
	ErrInternalError      Code = "internal_error"
)

// entry describes an error code.
type entry struct {
	kind    Kind
	meaning string        // for error texts and the documentation
	effect  engine.Effect // the zero value is engine.Final
}

// catalogue describes the error codes of both platforms: their kinds, their
// meanings, and whether the client retries.
var catalogue = map[Code]entry{
	ErrChannelNotFound:                  {kind: KindNotFound, meaning: "the conversation does not exist, or is not visible to the caller"},
	ErrUserDoesNotOwnChannel:            {kind: KindUnreachable, meaning: "the caller is not a member of this direct message"},
	ErrUserNotFound:                     {kind: KindNotFound, meaning: "the user does not exist, or is not visible to the caller"},
	ErrUserNotVisible:                   {kind: KindUnreachable, meaning: "the caller's account is restricted and cannot see this user"},
	ErrUserDisabled:                     {kind: KindUnreachable, meaning: "the user's account is deactivated"},
	ErrUsersListNotSupplied:             {kind: KindInvalidRequest, meaning: "neither users nor a channel was given"},
	ErrNotEnoughUsers:                   {kind: KindInvalidRequest, meaning: "a group message needs more users"},
	ErrTooManyUsers:                     {kind: KindInvalidRequest, meaning: "a group message can have at most eight other users"},
	ErrInvalidUserCombination:           {kind: KindUnreachable, meaning: "users from other organizations must already share a channel"},
	ErrCannotDMBot:                      {kind: KindUnreachable, meaning: "a bot cannot open a direct message with another bot"},
	ErrMethodNotSupportedForChannelType: {kind: KindUnreachable, meaning: "the method does not work on this type of conversation"},
	ErrIsArchived:                       {kind: KindUnreachable, meaning: "the conversation is archived"},
	ErrNotInChannel:                     {kind: KindUnreachable, meaning: "the caller is not a member of the conversation"},
	ErrMessagesTabDisabled:              {kind: KindUnreachable, meaning: "the app's Messages tab is turned off, so nobody can have a direct message with it"},
	ErrNotPermitted:                     {kind: KindPermissionDenied, meaning: "the workspace does not allow this"},
	ErrExternalChannelMigrating:         {kind: KindUnavailable, meaning: "the shared channel is migrating; try again later"},
	ErrMissingScope:                     {kind: KindPermissionDenied, meaning: "the token lacks a required scope; add it and reinstall the app"},
	ErrNotAuthed:                        {kind: KindUnauthenticated, meaning: "the server received no token"},
	ErrInvalidAuth:                      {kind: KindUnauthenticated, meaning: "the token is invalid, or is not allowed from this IP address", effect: engine.Expired},
	ErrAccountInactive:                  {kind: KindUnauthenticated, meaning: "the token's user or workspace was deleted", effect: engine.Expired},
	ErrTokenRevoked:                     {kind: KindUnauthenticated, meaning: "the token was revoked, or the app was removed", effect: engine.Expired},
	ErrTokenExpired:                     {kind: KindUnauthenticated, meaning: "the token has expired; refresh it", effect: engine.Expired},
	ErrNoPermission:                     {kind: KindPermissionDenied, meaning: "the token lacks a permission, or the app is not in the conversation"},
	ErrNotAllowedTokenType:              {kind: KindPermissionDenied, meaning: "the method does not accept this type of token"},
	ErrAccessDenied:                     {kind: KindPermissionDenied, meaning: "the caller cannot access something that the request names"},
	ErrAccessLimited:                    {kind: KindPermissionDenied, meaning: "the method is not available from this network"},
	ErrEKMAccessDenied:                  {kind: KindPermissionDenied, meaning: "administrators have suspended posting"},
	ErrEnterpriseIsRestricted:           {kind: KindUnsupported, meaning: "the method is not available to Enterprise organizations"},
	ErrTeamAccessNotGranted:             {kind: KindPermissionDenied, meaning: "the organization's token has no access to this workspace"},
	ErrOrgLoginRequired:                 {kind: KindUnavailable, meaning: "the workspace is unavailable while it migrates to an Enterprise organization"},
	ErrTeamAddedToOrg:                   {kind: KindUnavailable, meaning: "calls may fail while the workspace migrates to an Enterprise organization"},
	ErrTwoFactorSetupRequired:           {kind: KindUnauthenticated, meaning: "the user must first set up two-factor authentication"},
	ErrIsBot:                            {kind: KindPermissionDenied, meaning: "a legacy bot cannot call the method"},
	ErrMethodDeprecated:                 {kind: KindUnsupported, meaning: "Slack has retired the method"},
	ErrDeprecatedEndpoint:               {kind: KindUnsupported, meaning: "Slack has retired the endpoint"},
	ErrUnknownMethod:                    {kind: KindUnsupported, meaning: "the method does not exist"},
	ErrInvalidArguments:                 {kind: KindInvalidRequest, meaning: "an argument is missing or invalid"},
	ErrMissingArgument:                  {kind: KindInvalidRequest, meaning: "a required argument is missing"},
	ErrInvalidArgName:                   {kind: KindInvalidRequest, meaning: "the name of an argument is too long or contains characters other than letters, digits, and _"},
	ErrInvalidArrayArg:                  {kind: KindInvalidRequest, meaning: "an argument was sent as an array, like users[0]"},
	ErrInvalidCharset:                   {kind: KindInvalidRequest, meaning: "the charset is neither utf-8 nor iso-8859-1"},
	ErrInvalidFormData:                  {kind: KindInvalidRequest, meaning: "the form is missing or malformed"},
	ErrInvalidPostType:                  {kind: KindInvalidRequest, meaning: "the method does not accept this Content-Type"},
	ErrMissingPostType:                  {kind: KindInvalidRequest, meaning: "the request has a body but no Content-Type"},
	ErrInvalidJSON:                      {kind: KindInvalidRequest, meaning: "the JSON body is malformed"},
	ErrJSONNotObject:                    {kind: KindInvalidRequest, meaning: "the JSON body is not an object"},
	ErrInvalidCursor:                    {kind: KindInvalidRequest, meaning: "the cursor does not come from an earlier page, or has expired"},
	ErrInvalidLimit:                     {kind: KindInvalidRequest, meaning: "the page size is out of range"},
	ErrInvalidTypes:                     {kind: KindInvalidRequest, meaning: "a conversation type is unknown, or the token cannot list it"},
	ErrUpgradeRequired:                  {kind: KindUnsupported, meaning: "the server requires a newer version of the API or the client"},
	ErrRateLimited:                      {kind: KindRateLimited, meaning: "too many calls to this method in this workspace", effect: engine.Rejected},
	ErrRequestTimeout:                   {kind: KindUnavailable, meaning: "the request body is missing or truncated", effect: engine.EffectUnknown},
	ErrServiceUnavailable:               {kind: KindUnavailable, meaning: "the service is temporarily unavailable", effect: engine.EffectUnknown},
	ErrFatalError:                       {kind: KindUnavailable, meaning: "the server failed; part of the call may have taken effect", effect: engine.EffectUnknown},
	ErrInternalError:                    {kind: KindUnavailable, meaning: "the server failed; part of the call may have taken effect", effect: engine.EffectUnknown},

	ErrInvalidRefreshToken:                  {kind: KindUnauthenticated, meaning: "the refresh token was used or revoked; install the app again"},
	ErrInvalidClientID:                      {kind: KindUnauthenticated, meaning: "no app has this client ID"},
	ErrBadClientSecret:                      {kind: KindUnauthenticated, meaning: "the client secret is wrong"},
	ErrInvalidGrantType:                     {kind: KindInvalidRequest, meaning: "the grant type is unknown"},
	ErrInvalidCode:                          {kind: KindInvalidRequest, meaning: "the code is wrong, was used, or has expired"},
	ErrInvalidCodeVerifier:                  {kind: KindInvalidRequest, meaning: "the PKCE code verifier is wrong"},
	ErrBadRedirectURI:                       {kind: KindInvalidRequest, meaning: "the redirect URI differs from that of the installation"},
	ErrNoScopes:                             {kind: KindInvalidRequest, meaning: "the installation requests no scopes"},
	ErrPKCENotAllowed:                       {kind: KindUnsupported, meaning: "the app does not use PKCE"},
	ErrPreviewFeatureNotAvailable:           {kind: KindUnsupported, meaning: "the feature is not available to this app"},
	ErrOAuthAuthorizationURLMismatch:        {kind: KindUnsupported, meaning: "the installation began at another authorization URL"},
	ErrCannotInstallAnOrgInstalledApp:       {kind: KindPermissionDenied, meaning: "the app is already installed for the whole organization"},
	ErrUserEmailUnverified:                  {kind: KindPermissionDenied, meaning: "the user's email address is not verified"},
	ErrAuthorizationNotFound:                {kind: KindUnauthenticated, meaning: "the app is not installed"},
	ErrInvalidToken:                         {kind: KindInvalidRequest, meaning: "the token cannot be exchanged"},
	ErrTokenAlreadyExchanged:                {kind: KindInvalidRequest, meaning: "the token was already exchanged"},
	ErrTokenRotationNotEnabled:              {kind: KindUnsupported, meaning: "token rotation is turned off for the app"},
	ErrUsersNotFound:                        {kind: KindNotFound, meaning: "no active account that the caller can see has this address"},
	ErrThreadNotFound:                       {kind: KindNotFound, meaning: "the thread does not exist"},
	ErrNoText:                               {kind: KindInvalidRequest, meaning: "the message has no content"},
	ErrMsgTooLong:                           {kind: KindInvalidRequest, meaning: "the text is too long"},
	ErrMsgTooLarge:                          {kind: KindInvalidRequest, meaning: "the message is too large"},
	ErrMsgBlocksTooLong:                     {kind: KindInvalidRequest, meaning: "the blocks are too long"},
	ErrMarkdownTextConflict:                 {kind: KindInvalidRequest, meaning: "markdown_text cannot be combined with text or blocks"},
	ErrInvalidBlocks:                        {kind: KindInvalidRequest, meaning: "the blocks are invalid; the messages say where"},
	ErrInvalidBlocksFormat:                  {kind: KindInvalidRequest, meaning: "blocks is not a JSON array of blocks"},
	ErrInvalidAttachments:                   {kind: KindInvalidRequest, meaning: "attachments is not a JSON array of attachments"},
	ErrTooManyAttachments:                   {kind: KindInvalidRequest, meaning: "a message can have at most 100 attachments"},
	ErrAttachmentPayloadLimitExceeded:       {kind: KindInvalidRequest, meaning: "the attachments are too large"},
	ErrTooManyContactCards:                  {kind: KindInvalidRequest, meaning: "a message can have at most 10 contact cards"},
	ErrMissingFileData:                      {kind: KindInvalidRequest, meaning: "the data of a shared file is incomplete"},
	ErrInvalidMetadataFormat:                {kind: KindInvalidRequest, meaning: "the metadata is not valid JSON"},
	ErrInvalidMetadataSchema:                {kind: KindInvalidRequest, meaning: "the metadata is not an object with event_type and event_payload"},
	ErrMetadataTooLarge:                     {kind: KindInvalidRequest, meaning: "the metadata is too large"},
	ErrMetadataMustBeSentFromApp:            {kind: KindUnsupported, meaning: "only the token of an app can send metadata"},
	ErrAsUserNotSupported:                   {kind: KindUnsupported, meaning: "only classic apps can use as_user"},
	ErrTeamNotFound:                         {kind: KindInvalidRequest, meaning: "an organization's token needs the ID of a channel, not its name"},
	ErrCannotReplyToMessage:                 {kind: KindInvalidRequest, meaning: "this type of message cannot have replies"},
	ErrRestrictedAction:                     {kind: KindPermissionDenied, meaning: "the workspace does not allow the caller to post"},
	ErrRestrictedActionReadOnlyChannel:      {kind: KindUnreachable, meaning: "the caller cannot post in this read-only conversation"},
	ErrRestrictedActionThreadOnlyChannel:    {kind: KindUnreachable, meaning: "the caller can only reply in threads of this conversation"},
	ErrRestrictedActionNonThreadableChannel: {kind: KindUnreachable, meaning: "this conversation has no threads"},
	ErrRestrictedActionThreadLocked:         {kind: KindUnreachable, meaning: "the thread is locked"},
	ErrChannelIsLimitedAccess:               {kind: KindPermissionDenied, meaning: "the caller has only limited access to the conversation"},
	ErrAppAccessRestricted:                  {kind: KindPermissionDenied, meaning: "the user may not use this app"},
	ErrSendOnBehalfNotAllowed:               {kind: KindPermissionDenied, meaning: "the app may not post on behalf of this user"},
	ErrSlackConnectCanvasSharingBlocked:     {kind: KindPermissionDenied, meaning: "an administrator does not allow links to canvases in Slack Connect"},
	ErrSlackConnectFileLinkSharingBlocked:   {kind: KindPermissionDenied, meaning: "an administrator does not allow links to files in Slack Connect"},
	ErrSlackConnectListsSharingBlocked:      {kind: KindPermissionDenied, meaning: "an administrator does not allow links to lists in Slack Connect"},
	ErrMessageLimitExceeded:                 {kind: KindRateLimited, meaning: "the workspace has used up its messages"},
	ErrDraftNotFound:                        {kind: KindInvalidRequest, meaning: "the draft does not exist"},
	ErrDraftAlreadySent:                     {kind: KindInvalidRequest, meaning: "the draft was already sent"},
	ErrDraftAlreadyDeleted:                  {kind: KindInvalidRequest, meaning: "the draft was deleted"},
	ErrDraftHasConflict:                     {kind: KindInvalidRequest, meaning: "the draft has changed"},
	ErrDuplicateMessageNotFound:             {kind: KindUnavailable, meaning: "the server took the message for a duplicate, but did not find the original", effect: engine.EffectUnknown},
	ErrDuplicateChannelNotFound:             {kind: KindUnavailable, meaning: "the server took the message for a duplicate, but did not find its conversation", effect: engine.EffectUnknown},
	ErrListRecordCommentFetchFailed:         {kind: KindUnavailable, meaning: "the server could not read the comments of a list", effect: engine.EffectUnknown},
	ErrInvalidTSOldest:                      {kind: KindInvalidRequest, meaning: "oldest is not a timestamp"},
	ErrInvalidTSLatest:                      {kind: KindInvalidRequest, meaning: "latest is not a timestamp"},
	ErrInvalidMetadataFilterKeys:            {kind: KindInvalidRequest, meaning: "the list of metadata keys is invalid"},

	// The codes of Rocket.Chat. Their constants are in package rocketchat.
	"error-unauthorized":                     {kind: KindUnauthenticated, meaning: "the server does not accept the user ID and token, or the password"},
	"forbidden":                              {kind: KindPermissionDenied, meaning: "the user has no access to the room, or it does not exist"},
	"invalid-params":                         {kind: KindInvalidRequest, meaning: "the body violates the server's schema"},
	"invalid-channel":                        {kind: KindNotFound, meaning: "the room or user does not exist, or the room is not a direct message"},
	"error-not-authorized":                   {kind: KindPermissionDenied, meaning: "the user lacks a required permission"},
	"error-not-allowed":                      {kind: KindPermissionDenied, meaning: "the user lacks a required permission, or is not a member of the room"},
	"error-invalid-user":                     {kind: KindNotFound, meaning: "the user does not exist, or cannot have direct messages"},
	"error-invalid-room":                     {kind: KindNotFound, meaning: "the room no longer exists"},
	"error-room-not-found":                   {kind: KindNotFound, meaning: "the user has no such direct message"},
	"error-room-param-not-provided":          {kind: KindInvalidRequest, meaning: "no room was given"},
	"error-cannot-delete-federated-room":     {kind: KindUnreachable, meaning: "a federated room cannot be deleted"},
	"error-cannot-delete-team-channel":       {kind: KindUnreachable, meaning: "the main room of a team cannot be deleted"},
	"error-app-prevented-deleting":           {kind: KindPermissionDenied, meaning: "an app on the server prevented the deletion"},
	"error-app-prevented":                    {kind: KindPermissionDenied, meaning: "an app on the server prevented the call"},
	"error-direct-message-max-user-exceeded": {kind: KindInvalidRequest, meaning: "too many users for a direct message"},
	"error-creator-not-in-room":              {kind: KindInvalidRequest, meaning: "the caller must be a member of the new room"},
	"error-this-is-a-premium-feature":        {kind: KindUnsupported, meaning: "the server's license does not include this"},
	"invalid-filter":                         {kind: KindInvalidRequest, meaning: "the arguments select no user"},
	"room_is_read_only":                      {kind: KindUnreachable, meaning: "the room is read-only, as a direct message is if the other person is deactivated"},
	"room_is_blocked":                        {kind: KindUnreachable, meaning: "one of the two people has blocked the other"},
	"room_is_archived":                       {kind: KindUnreachable, meaning: "the room is archived"},
	"error-abac-room-locked":                 {kind: KindUnreachable, meaning: "access rules have locked the room"},
	"You_have_been_muted":                    {kind: KindUnreachable, meaning: "the user is muted in the room"},
	"error-action-not-allowed":               {kind: KindPermissionDenied, meaning: "the user lacks the permission for the action, such as to mention all members"},
	"error-invalid-message":                  {kind: KindInvalidRequest, meaning: "the message is empty"},
	"error-message-size-exceeded":            {kind: KindInvalidRequest, meaning: "the text is longer than the server allows"},
	"error-message-ts-out-of-sync":           {kind: KindInvalidRequest, meaning: "the time of the message differs from the server's clock"},
	"restricted-workspace":                   {kind: KindUnsupported, meaning: "the server's license does not allow messages"},
	"error-too-many-requests":                {kind: KindRateLimited, meaning: "too many calls to this endpoint from this IP address", effect: engine.Rejected},
	"totp-required":                          {kind: KindUnauthenticated, meaning: "a two-factor code is required"},
	"totp-invalid":                           {kind: KindUnauthenticated, meaning: "the two-factor code is wrong or has expired"},
	"totp-max-attempts":                      {kind: KindUnauthenticated, meaning: "too many wrong two-factor codes"},
	"totp-user-not-found":                    {kind: KindUnauthenticated, meaning: "the user of the two-factor code does not exist"},
}
