package chatdm_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/jarcoal/httpmock"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/internal/wiretest"
)

// documented returns the codes that Slack documents, by method.
func documented(t testing.TB) map[string][]chatdm.Code {
	return chatdm.Documented(t, "testdata/slack/documented_errors.json")
}

// sentinels returns the Err constants of the package.
func sentinels(t testing.TB) map[chatdm.Code]string { return chatdm.Constants(t, "errors.go") }

// TestSentinelNames: a constant is called Err and its code in CamelCase.
func TestSentinelNames(t *testing.T) {
	odd := map[chatdm.Code]string{
		"accesslimited": "ErrAccessLimited", "ratelimited": "ErrRateLimited", "cannot_dm_bot": "ErrCannotDMBot",
		"ekm_access_denied": "ErrEKMAccessDenied", "invalid_json": "ErrInvalidJSON", "json_not_object": "ErrJSONNotObject",
		"invalid_ts_oldest": "ErrInvalidTSOldest", "invalid_ts_latest": "ErrInvalidTSLatest",
		"invalid_client_id": "ErrInvalidClientID", "bad_redirect_uri": "ErrBadRedirectURI", "pkce_not_allowed": "ErrPKCENotAllowed",
		"oauth_authorization_url_mismatch": "ErrOAuthAuthorizationURLMismatch",
	}
	for code, name := range sentinels(t) {
		want := "Err"
		for part := range strings.SplitSeq(string(code), "_") {
			want += strings.ToUpper(part[:1]) + part[1:]
		}
		if odd[code] != "" {
			want = odd[code]
		}
		if name != want {
			t.Errorf("%s: got %s, want %s", code, name, want)
		}
	}
}

// TestDocumentedErrors: every documented code of every method becomes its sentinel, with a
// mock and over real HTTP.
func TestDocumentedErrors(t *testing.T) {
	names := sentinels(t)
	doubtful := []chatdm.Code{chatdm.ErrFatalError, chatdm.ErrInternalError, chatdm.ErrServiceUnavailable, chatdm.ErrRequestTimeout,
		chatdm.ErrDuplicateMessageNotFound, chatdm.ErrDuplicateChannelNotFound}
	for method, codes := range documented(t) {
		if methods[method] == nil {
			t.Errorf("got no call of %s in methods, want one", method)
			continue
		}
		for _, common := range []chatdm.Code{
			chatdm.ErrNotAuthed, chatdm.ErrInvalidAuth, chatdm.ErrAccountInactive, chatdm.ErrTokenRevoked, chatdm.ErrMissingScope, chatdm.ErrRateLimited,
			chatdm.ErrRequestTimeout, chatdm.ErrServiceUnavailable, chatdm.ErrFatalError, chatdm.ErrInternalError,
		} {
			if !slices.Contains(codes, common) {
				t.Errorf("documented_errors.json: got no %s of %s, which every method returns", common, method)
			}
		}
		for _, code := range codes {
			t.Run(method+"/"+string(code), func(t *testing.T) {
				t.Parallel()
				body := fmt.Sprintf(`{"ok":false,"error":%q}`, code)
				if code.Kind() == chatdm.KindUnknown {
					t.Fatal("got a documented code that is not in the catalogue")
				}
				if code == "rate_limited" {
					code = chatdm.ErrRateLimited
				}
				if names[code] == "" {
					t.Fatal("got no sentinel, want one for each documented code")
				}
				check := func(t *testing.T, client *chatdm.Client) {
					t.Helper()
					_, err := methods[method](t.Context(), client)
					e := wantError(t, err, code, code.Kind())
					want := &chatdm.Error{
						Service: "slack", Method: method, Code: code, Kind: code.Kind(),
						StatusCode: 200, RequestID: "req-1", Attempts: 1,
					}
					if method == "chat.postMessage" && slices.Contains(doubtful, code) {
						want.Err = chatdm.ErrEffectUnknown
					}
					if diff := cmp.Diff(*want, *e, cmpopts.EquateErrors()); diff != "" {
						t.Errorf("error (-want +got):\n%s", diff)
					}
					for _, part := range []string{"slack " + method, string(code), "status 200", "request req-1", "1 attempt"} {
						if !strings.Contains(err.Error(), part) {
							t.Errorf("got text %q, want %q in it", err, part)
						}
					}
				}

				transport := httpmock.NewMockTransport()
				transport.RegisterResponder("POST", "https://slack.com/api/"+method, answer(200, body, "X-Slack-Req-Id", "req-1"))
				check(t, newClient(t, transport, once, chatdm.WithStrictIM()))

				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("X-Slack-Req-Id", "req-1")
					_, _ = io.WriteString(w, body)
				}))
				defer server.Close()
				check(t, newClient(t, server.Client().Transport, once, chatdm.WithStrictIM(), chatdm.WithBaseURL(server.URL)))
			})
		}
	}
}

// TestKinds holds the kinds that users rely on.
func TestKinds(t *testing.T) {
	kinds := map[chatdm.Kind][]chatdm.Code{
		chatdm.KindUnauthenticated: {chatdm.ErrNotAuthed, chatdm.ErrInvalidAuth, chatdm.ErrAccountInactive, chatdm.ErrTokenRevoked,
			chatdm.ErrTokenExpired, chatdm.ErrTwoFactorSetupRequired, chatdm.ErrInvalidRefreshToken, chatdm.ErrInvalidClientID,
			chatdm.ErrBadClientSecret, chatdm.ErrAuthorizationNotFound},
		chatdm.KindPermissionDenied: {chatdm.ErrMissingScope, chatdm.ErrNoPermission, chatdm.ErrNotPermitted, chatdm.ErrAccessDenied,
			chatdm.ErrAccessLimited, chatdm.ErrNotAllowedTokenType,
			chatdm.ErrEKMAccessDenied, chatdm.ErrTeamAccessNotGranted, chatdm.ErrIsBot, chatdm.ErrRestrictedAction, chatdm.ErrChannelIsLimitedAccess,
			chatdm.ErrAppAccessRestricted, chatdm.ErrSendOnBehalfNotAllowed, chatdm.ErrSlackConnectCanvasSharingBlocked,
			chatdm.ErrSlackConnectFileLinkSharingBlocked, chatdm.ErrSlackConnectListsSharingBlocked,
			chatdm.ErrCannotInstallAnOrgInstalledApp, chatdm.ErrUserEmailUnverified},
		chatdm.KindNotFound: {chatdm.ErrChannelNotFound, chatdm.ErrUserNotFound, chatdm.ErrUsersNotFound, chatdm.ErrThreadNotFound},
		chatdm.KindInvalidRequest: {chatdm.ErrInvalidArguments, chatdm.ErrMissingArgument, chatdm.ErrInvalidArgName,
			chatdm.ErrInvalidArrayArg, chatdm.ErrInvalidCharset, chatdm.ErrInvalidFormData, chatdm.ErrInvalidPostType,
			chatdm.ErrInvalidJSON, chatdm.ErrInvalidCursor, chatdm.ErrInvalidLimit, chatdm.ErrInvalidTypes, chatdm.ErrMissingPostType,
			chatdm.ErrJSONNotObject, chatdm.ErrUsersListNotSupplied, chatdm.ErrNotEnoughUsers, chatdm.ErrTooManyUsers,
			chatdm.ErrNoText, chatdm.ErrMsgTooLong, chatdm.ErrMsgTooLarge, chatdm.ErrMsgBlocksTooLong, chatdm.ErrMarkdownTextConflict,
			chatdm.ErrInvalidBlocks, chatdm.ErrInvalidBlocksFormat, chatdm.ErrInvalidAttachments, chatdm.ErrTooManyAttachments,
			chatdm.ErrAttachmentPayloadLimitExceeded, chatdm.ErrTooManyContactCards, chatdm.ErrMissingFileData, chatdm.ErrInvalidMetadataFormat,
			chatdm.ErrInvalidMetadataSchema, chatdm.ErrMetadataTooLarge, chatdm.ErrTeamNotFound, chatdm.ErrCannotReplyToMessage,
			chatdm.ErrDraftNotFound, chatdm.ErrDraftAlreadySent, chatdm.ErrDraftAlreadyDeleted, chatdm.ErrDraftHasConflict,
			chatdm.ErrInvalidTSOldest, chatdm.ErrInvalidTSLatest, chatdm.ErrInvalidMetadataFilterKeys,
			chatdm.ErrInvalidGrantType, chatdm.ErrInvalidCode, chatdm.ErrInvalidCodeVerifier, chatdm.ErrBadRedirectURI, chatdm.ErrNoScopes,
			chatdm.ErrInvalidToken, chatdm.ErrTokenAlreadyExchanged},
		chatdm.KindUnsupported: {chatdm.ErrMethodDeprecated, chatdm.ErrDeprecatedEndpoint, chatdm.ErrUnknownMethod,
			chatdm.ErrEnterpriseIsRestricted, chatdm.ErrUpgradeRequired, chatdm.ErrMetadataMustBeSentFromApp, chatdm.ErrAsUserNotSupported,
			chatdm.ErrPKCENotAllowed, chatdm.ErrPreviewFeatureNotAvailable, chatdm.ErrOAuthAuthorizationURLMismatch, chatdm.ErrTokenRotationNotEnabled},
		chatdm.KindUnreachable: {chatdm.ErrUserDisabled, chatdm.ErrUserNotVisible, chatdm.ErrCannotDMBot, chatdm.ErrInvalidUserCombination,
			chatdm.ErrUserDoesNotOwnChannel, chatdm.ErrMethodNotSupportedForChannelType, chatdm.ErrIsArchived, chatdm.ErrNotInChannel,
			chatdm.ErrMessagesTabDisabled, chatdm.ErrRestrictedActionReadOnlyChannel, chatdm.ErrRestrictedActionThreadOnlyChannel,
			chatdm.ErrRestrictedActionNonThreadableChannel, chatdm.ErrRestrictedActionThreadLocked},
		chatdm.KindRateLimited: {chatdm.ErrRateLimited, "rate_limited", chatdm.ErrMessageLimitExceeded},
		chatdm.KindUnavailable: {chatdm.ErrFatalError, chatdm.ErrInternalError, chatdm.ErrServiceUnavailable, chatdm.ErrRequestTimeout,
			chatdm.ErrTeamAddedToOrg, chatdm.ErrOrgLoginRequired, chatdm.ErrExternalChannelMigrating,
			chatdm.ErrDuplicateMessageNotFound, chatdm.ErrDuplicateChannelNotFound, chatdm.ErrListRecordCommentFetchFailed},
		chatdm.KindUnknown: {"brand_new", ""},
	}
	seen := map[chatdm.Code]bool{}
	for kind, codes := range kinds {
		for _, code := range codes {
			seen[code] = true
			if code.Kind() != kind {
				t.Errorf("%s: got %s, want %s", code, code.Kind(), kind)
			}
		}
	}
	for code, name := range sentinels(t) {
		if !seen[code] {
			t.Errorf("got %s (%s) in no row, want each code in one", name, code.Kind())
		}
	}
}

func TestErrorIs(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("wrapped: %w", &chatdm.Error{Code: chatdm.ErrUserNotFound, Kind: chatdm.KindNotFound, Err: cause})
	for _, target := range []error{chatdm.ErrUserNotFound, chatdm.KindNotFound, cause} {
		if !errors.Is(err, target) {
			t.Errorf("errors.Is(err, %q): got false, want true", target)
		}
	}
	for _, target := range []error{chatdm.ErrChannelNotFound, chatdm.KindUnknown, chatdm.Code("user_not_foun"), errors.New("user_not_found")} {
		if errors.Is(err, target) {
			t.Errorf("errors.Is(err, %q): got true, want false", target)
		}
	}
	if errors.Is(&chatdm.Error{Kind: chatdm.KindUnavailable}, chatdm.Code("")) {
		t.Error("got an error without a code that matches the empty code")
	}
	for _, err := range []error{uncomparable{cause}, errors.Join(uncomparable{cause}, chatdm.KindNotFound), uncomparable{chatdm.ErrUserNotFound}} {
		err = &chatdm.Error{Kind: chatdm.KindUnavailable, Err: err}
		if errors.Is(err, uncomparable{cause}) || errors.Is(err, chatdm.KindNotFound) || errors.Is(err, chatdm.ErrUserNotFound) { // errors.Is cannot compare them, and must not panic
			t.Errorf("got %v, want it to match neither an uncomparable error nor its cause's kind", err)
		}
	}
}

type uncomparable []error

func (uncomparable) Error() string     { return "several" }
func (u uncomparable) Unwrap() []error { return u }

func TestErrorText(t *testing.T) {
	tests := []struct {
		err  chatdm.Error
		want string
	}{
		{chatdm.Error{Service: "slack", Method: "NewClient", Kind: chatdm.KindInvalidRequest, Err: errors.New("token: empty")},
			"slack NewClient: invalid_request: token: empty"},
		{chatdm.Error{Service: "slack", Method: "conversations.open", Code: chatdm.ErrMissingScope, Kind: chatdm.KindPermissionDenied,
			Needed: []string{"im:write", "mpim:write"}, Provided: []string{"identify"}, StatusCode: 200, RequestID: "7f3", Attempts: 1},
			"slack conversations.open: missing_scope: the token lacks a required scope; add it and reinstall the app " +
				"(needed im:write,mpim:write; provided identify; status 200; request 7f3; 1 attempt)"},
		{chatdm.Error{Service: "slack", Method: "im.open", Kind: chatdm.KindUnavailable, Err: errors.New("dial tcp:\nconnection refused"), Attempts: 4},
			"slack im.open: unavailable: the server, the network, the limiter, or the credential source failed: dial tcp: connection refused (4 attempts)"},
		{chatdm.Error{Service: "slack", Method: "im.open", Kind: chatdm.KindRateLimited, RetryAfter: 90*time.Second + 4*time.Millisecond},
			"slack im.open: rate_limited: too many calls (retry after 1m30s; nothing sent)"},
		{chatdm.Error{Service: "slack", Method: "x.y", Code: "brand_new", Kind: chatdm.KindUnknown, Message: strings.Repeat("é", 300), StatusCode: 200, Attempts: 1},
			`slack x.y: brand_new: this version does not recognize the error: "` + strings.Repeat("é", 200) + `…" (status 200; 1 attempt)`},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
	for _, kind := range []chatdm.Kind{
		chatdm.KindUnauthenticated, chatdm.KindPermissionDenied, chatdm.KindNotFound, chatdm.KindUnreachable, chatdm.KindUnsupported,
		chatdm.KindRateLimited, chatdm.KindUnavailable, chatdm.KindUnexpectedResponse, chatdm.KindCanceled, chatdm.KindUnknown,
	} {
		text := (&chatdm.Error{Service: "slack", Method: "m", Kind: kind}).Error()
		if !strings.HasPrefix(text, "slack m: "+string(kind)+": ") {
			t.Errorf("got text %q, want an explanation of %s", text, kind)
		}
	}
	for code := range sentinels(t) {
		text := (&chatdm.Error{Service: "slack", Method: "m", Code: code, Kind: code.Kind()}).Error()
		if !strings.HasPrefix(text, "slack m: "+string(code)+": ") {
			t.Errorf("got text %q, want an explanation of %s", text, code)
		}
	}
}

func TestErrorLogValue(t *testing.T) {
	err := &chatdm.Error{
		Service: "slack", Method: "im.open", Code: chatdm.ErrMissingScope, Kind: chatdm.KindPermissionDenied, Message: "text",
		StatusCode: 200, RequestID: "r1", RetryAfter: time.Second, Needed: []string{"im:write"}, Attempts: 2, Err: errors.New("a\nb"),
	}
	got := map[string]string{}
	for _, attr := range err.LogValue().Group() {
		got[attr.Key] = attr.Value.String()
	}
	want := map[string]string{
		"service": "slack", "method": "im.open", "code": "missing_scope", "kind": "permission_denied", "message": "text",
		"status": "200", "request_id": "r1", "retry_after": "1s", "needed": "im:write", "attempts": "2", "cause": "a b",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var _ slog.LogValuer = err
}

// TestRetiredMethods: im.* falls back to conversations.*, once for both.
func TestRetiredMethods(t *testing.T) {
	sent := func(s *wiretest.Script) (methods []string) {
		for _, request := range s.Requests {
			line, _, _ := strings.Cut(request, " HTTP/1.1")
			methods = append(methods, strings.TrimPrefix(line, "POST /api/"))
		}
		return methods
	}
	for _, code := range []chatdm.Code{chatdm.ErrMethodDeprecated, chatdm.ErrDeprecatedEndpoint, chatdm.ErrUnknownMethod} {
		t.Run(string(code), func(t *testing.T) {
			s := newScript(coded(string(code)), ok)
			client := newClient(t, s)
			res, err := client.IM.Open(t.Context(), chatdm.IMOpenParams{User: "U1", ReturnIM: true, IncludeLocale: true})
			if err != nil {
				t.Fatal(err)
			}
			if res.Meta.Method != "conversations.open" || res.Meta.Attempts != 2 || res.Channel.ID != "D1" {
				t.Errorf("got %+v, want conversations.open with 2 attempts", res.Meta)
			}
			if !strings.HasSuffix(s.Requests[1], "\n\nreturn_im=true&users=U1") {
				t.Errorf("got %q, want the arguments of conversations.open", s.Requests[1])
			}
			closed, err := client.IM.Close(t.Context(), "D1")
			if err != nil {
				t.Fatal(err)
			}
			if closed.Meta.Method != "conversations.close" || closed.Meta.Attempts != 1 {
				t.Errorf("got %+v, want conversations.close with 1 attempt", closed.Meta)
			}
			if diff := cmp.Diff([]string{"im.open", "conversations.open", "conversations.close"}, sent(s)); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}

			strict := newScript(coded(string(code)))
			_, err = newClient(t, strict, chatdm.WithStrictIM()).IM.Close(t.Context(), "D1")
			if e := wantError(t, err, code, chatdm.KindUnsupported); e.Method != "im.close" || strict.Sent() != 1 {
				t.Errorf("got %v after %d requests, want im.close after 1", err, strict.Sent())
			}
		})
	}
	t.Run("conversations.open fails", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(answer(503, ""), coded("method_deprecated"), coded("user_disabled"))
			_, err := newClient(t, s).IM.Open(t.Context(), chatdm.IMOpenParams{User: "U1"})
			if e := wantError(t, err, chatdm.ErrUserDisabled); e.Method != "conversations.open" || e.Attempts != 3 {
				t.Errorf("got %+v, want conversations.open with 3 attempts", e)
			}
		})
	})
	t.Run("the context ends between the two", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newScript(func(req *http.Request) (*http.Response, error) {
			defer cancel()
			return coded("method_deprecated")(req)
		})
		_, err := newClient(t, s).IM.Close(ctx, "D1")
		if e := wantError(t, err, chatdm.KindCanceled, context.Canceled); e.Attempts != 1 || s.Sent() != 1 {
			t.Errorf("got %+v after %d requests, want 1", e, s.Sent())
		}
	})
	t.Run("other errors do not count", func(t *testing.T) {
		s := newScript(coded("user_not_found"))
		client := newClient(t, s)
		for range 2 {
			_, err := client.IM.Open(t.Context(), chatdm.IMOpenParams{User: "U1"})
			wantError(t, err, chatdm.ErrUserNotFound)
		}
		if diff := cmp.Diff([]string{"im.open", "im.open"}, sent(s)); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}
