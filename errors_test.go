package chatdm_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jarcoal/httpmock"

	"github.com/chatdm/chatdm"
)

// documented are the codes that Slack documents, method by method.
func documented(t testing.TB) map[string][]chatdm.Code {
	return chatdm.Documented(t, "testdata/slack/documented_errors.json")
}

// sentinels are the Err constants of the package.
func sentinels(t testing.TB) map[chatdm.Code]string { return chatdm.Constants(t, "errors.go") }

// TestSentinelNames: a constant is called Err and its code in CamelCase.
func TestSentinelNames(t *testing.T) {
	odd := map[chatdm.Code]string{
		"accesslimited": "ErrAccessLimited", "ratelimited": "ErrRateLimited", "cannot_dm_bot": "ErrCannotDMBot",
		"ekm_access_denied": "ErrEKMAccessDenied", "invalid_json": "ErrInvalidJSON", "json_not_object": "ErrJSONNotObject",
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
			t.Errorf("the constant of %s is %s, want %s", code, name, want)
		}
	}
}

// TestDocumentedErrors serves every documented code of every method, as a mock
// and over real HTTP, and looks for its sentinel.
func TestDocumentedErrors(t *testing.T) {
	names := sentinels(t)
	once := chatdm.WithRetry(chatdm.RetryPolicy{MaxAttempts: 1})
	for method, codes := range documented(t) {
		if methods[method] == nil {
			t.Errorf("%s has no call in methods, in wire_test.go", method)
			continue
		}
		for _, code := range codes {
			t.Run(method+"/"+string(code), func(t *testing.T) {
				t.Parallel()
				if names[code] == "" {
					t.Fatal("the documented code has no sentinel")
				}
				if code.Kind() == chatdm.KindUnknown {
					t.Fatal("the documented code is not in the catalogue")
				}
				body := fmt.Sprintf(`{"ok":false,"error":%q}`, code)
				check := func(t *testing.T, client *chatdm.Client) {
					t.Helper()
					_, err := methods[method](t.Context(), client)
					e := wantError(t, err, code, code.Kind())
					want := &chatdm.Error{
						Service: "slack", Method: method, Code: code, Kind: code.Kind(),
						StatusCode: 200, RequestID: "req-1", Attempts: 1,
					}
					if diff := cmp.Diff(want, e); diff != "" {
						t.Errorf("error (-want +got):\n%s", diff)
					}
					for _, part := range []string{"slack " + method, string(code), "status 200", "request req-1", "1 attempt"} {
						if !strings.Contains(err.Error(), part) {
							t.Errorf("the text %q lacks %q", err, part)
						}
					}
				}

				transport := httpmock.NewMockTransport()
				transport.RegisterResponder("POST", "https://slack.com/api/"+method, answer(200, body, "X-Slack-Req-Id", "req-1"))
				check(t, newClient(t, transport, once, chatdm.WithStrictIM()))

				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("X-Slack-Req-Id", "req-1")
					fmt.Fprint(w, body)
				}))
				defer server.Close()
				check(t, newClient(t, server.Client().Transport, once, chatdm.WithStrictIM(), chatdm.WithBaseURL(server.URL)))
			})
		}
	}
}

// TestKinds holds the classes that users rely on.
func TestKinds(t *testing.T) {
	kinds := map[chatdm.Kind][]chatdm.Code{
		chatdm.KindUnauthenticated: {chatdm.ErrNotAuthed, chatdm.ErrInvalidAuth, chatdm.ErrAccountInactive, chatdm.ErrTokenRevoked,
			chatdm.ErrTokenExpired, chatdm.ErrTwoFactorSetupRequired},
		chatdm.KindPermissionDenied: {chatdm.ErrMissingScope, chatdm.ErrNoPermission, chatdm.ErrNotPermitted, chatdm.ErrAccessDenied,
			chatdm.ErrAccessLimited, chatdm.ErrNotAllowedTokenType,
			chatdm.ErrEKMAccessDenied, chatdm.ErrTeamAccessNotGranted, chatdm.ErrIsBot},
		chatdm.KindNotFound: {chatdm.ErrChannelNotFound, chatdm.ErrUserNotFound},
		chatdm.KindInvalidRequest: {chatdm.ErrInvalidArguments, chatdm.ErrMissingArgument, chatdm.ErrInvalidArgName,
			chatdm.ErrInvalidArrayArg, chatdm.ErrInvalidCharset, chatdm.ErrInvalidFormData, chatdm.ErrInvalidPostType,
			chatdm.ErrInvalidJSON, chatdm.ErrInvalidCursor, chatdm.ErrInvalidLimit, chatdm.ErrInvalidTypes, chatdm.ErrMissingPostType,
			chatdm.ErrJSONNotObject, chatdm.ErrUsersListNotSupplied, chatdm.ErrNotEnoughUsers, chatdm.ErrTooManyUsers},
		chatdm.KindUnsupported: {chatdm.ErrMethodDeprecated, chatdm.ErrDeprecatedEndpoint, chatdm.ErrUnknownMethod,
			chatdm.ErrEnterpriseIsRestricted, chatdm.ErrUpgradeRequired},
		chatdm.KindUnreachable: {chatdm.ErrUserDisabled, chatdm.ErrUserNotVisible, chatdm.ErrCannotDMBot, chatdm.ErrInvalidUserCombination,
			chatdm.ErrUserDoesNotOwnChannel, chatdm.ErrMethodNotSupportedForChannelType, chatdm.ErrIsArchived, chatdm.ErrNotInChannel,
			chatdm.ErrMessagesTabDisabled},
		chatdm.KindRateLimited: {chatdm.ErrRateLimited},
		chatdm.KindUnavailable: {chatdm.ErrFatalError, chatdm.ErrInternalError, chatdm.ErrServiceUnavailable, chatdm.ErrRequestTimeout,
			chatdm.ErrTeamAddedToOrg, chatdm.ErrOrgLoginRequired, chatdm.ErrExternalChannelMigrating},
		chatdm.KindUnknown: {"brand_new", ""},
	}
	seen := map[chatdm.Code]bool{}
	for kind, codes := range kinds {
		for _, code := range codes {
			seen[code] = true
			if code.Kind() != kind {
				t.Errorf("%s is %s, want %s", code, code.Kind(), kind)
			}
		}
	}
	for code, name := range sentinels(t) {
		if !seen[code] {
			t.Errorf("%s (%s) is in no row of this test", name, code.Kind())
		}
	}
}

func TestErrorIs(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("wrapped: %w", &chatdm.Error{Code: chatdm.ErrUserNotFound, Kind: chatdm.KindNotFound, Err: cause})
	for _, target := range []error{chatdm.ErrUserNotFound, chatdm.KindNotFound, cause} {
		if !errors.Is(err, target) {
			t.Errorf("errors.Is(err, %q) is false", target)
		}
	}
	for _, target := range []error{chatdm.ErrChannelNotFound, chatdm.KindUnknown, chatdm.Code("user_not_foun"), errors.New("user_not_found")} {
		if errors.Is(err, target) {
			t.Errorf("errors.Is(err, %q) is true", target)
		}
	}
	if errors.Is(&chatdm.Error{Kind: chatdm.KindUnavailable}, chatdm.Code("")) {
		t.Error("an error without a code matches the empty code")
	}
}

func TestErrorText(t *testing.T) {
	tests := []struct {
		err  chatdm.Error
		want string
	}{
		{chatdm.Error{Service: "slack", Method: "NewClient", Kind: chatdm.KindInvalidRequest, Err: errors.New("token: empty")},
			"slack NewClient: invalid_request: token: empty"},
		{chatdm.Error{Service: "slack", Method: "conversations.open", Code: chatdm.ErrMissingScope, Kind: chatdm.KindPermissionDenied,
			Needed: []string{"im:write", "mpim:write"}, Provided: []string{"identify"}, StatusCode: 200, RequestID: "7f3", Attempts: 1},
			"slack conversations.open: missing_scope: the token lacks a scope; add one and install the app again " +
				"(needed im:write,mpim:write; provided identify; status 200; request 7f3; 1 attempt)"},
		{chatdm.Error{Service: "slack", Method: "im.open", Kind: chatdm.KindUnavailable, Err: errors.New("dial tcp:\nconnection refused"), Attempts: 4},
			"slack im.open: unavailable: the service, the network or the limiter is in trouble: dial tcp: connection refused (4 attempts)"},
		{chatdm.Error{Service: "slack", Method: "im.open", Kind: chatdm.KindRateLimited, RetryAfter: 90 * time.Second},
			"slack im.open: rate_limited: too many calls (retry after 1m30s; nothing sent)"},
		{chatdm.Error{Service: "slack", Method: "x.y", Code: "brand_new", Kind: chatdm.KindUnknown, Message: strings.Repeat("é", 300), StatusCode: 200, Attempts: 1},
			`slack x.y: brand_new: a code that this version does not know: "` + strings.Repeat("é", 200) + `…" (status 200; 1 attempt)`},
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
			t.Errorf("%s is not explained: %q", kind, text)
		}
	}
	for code := range sentinels(t) {
		text := (&chatdm.Error{Service: "slack", Method: "m", Code: code, Kind: code.Kind()}).Error()
		if !strings.HasPrefix(text, "slack m: "+string(code)+": ") {
			t.Errorf("%s is not explained: %q", code, text)
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

// TestRetiredMethods: im.* falls back to its twin, once for both.
func TestRetiredMethods(t *testing.T) {
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
			closed, err := client.IM.Close(t.Context(), "D1")
			if err != nil {
				t.Fatal(err)
			}
			if closed.Meta.Method != "conversations.close" || closed.Meta.Attempts != 1 {
				t.Errorf("got %+v, want conversations.close at once", closed.Meta)
			}
			want := []string{"im.open", "conversations.open", "conversations.close"}
			if diff := cmp.Diff(want, s.methods); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}

			strict := newScript(coded(string(code)))
			_, err = newClient(t, strict, chatdm.WithStrictIM()).IM.Close(t.Context(), "D1")
			if e := wantError(t, err, code, chatdm.KindUnsupported); e.Method != "im.close" || strict.sent() != 1 {
				t.Errorf("strict: %d requests, %v", strict.sent(), err)
			}
		})
	}
	t.Run("the wire of the twin", func(t *testing.T) {
		var got string
		transport := httpmock.NewMockTransport()
		transport.RegisterResponder("POST", "https://slack.com/api/im.open", coded("method_deprecated"))
		transport.RegisterResponder("POST", "https://slack.com/api/conversations.open", func(req *http.Request) (*http.Response, error) {
			got = dump(req)
			return ok(req)
		})
		_, err := newClient(t, transport).IM.Open(t.Context(), chatdm.IMOpenParams{User: "U1", ReturnIM: true, IncludeLocale: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, form, _ := strings.Cut(got, "\n\n"); form != "return_im=true&users=U1" {
			t.Errorf("form %q", form)
		}
	})
	t.Run("the error of the twin", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(answer(503, ""), coded("method_deprecated"), coded("user_disabled"))
			_, err := newClient(t, s).IM.Open(t.Context(), chatdm.IMOpenParams{User: "U1"})
			if e := wantError(t, err, chatdm.ErrUserDisabled); e.Method != "conversations.open" || e.Attempts != 3 {
				t.Errorf("got %+v, want conversations.open and 3 attempts", e)
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
		if e := wantError(t, err, chatdm.KindCanceled, context.Canceled); e.Attempts != 1 || s.sent() != 1 {
			t.Errorf("got %+v after %d requests, want 1", e, s.sent())
		}
	})
	t.Run("another error does not count", func(t *testing.T) {
		s := newScript(coded("user_not_found"))
		client := newClient(t, s)
		for range 2 {
			_, err := client.IM.Open(t.Context(), chatdm.IMOpenParams{User: "U1"})
			if e := wantError(t, err, chatdm.ErrUserNotFound); e.Method != "im.open" {
				t.Errorf("method %s, want im.open", e.Method)
			}
		}
	})
}
