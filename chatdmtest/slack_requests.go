package chatdmtest

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// slackRequest is an apiRequest whose format has been checked.
type slackRequest struct {
	method      string
	httpRequest *http.Request
	args        map[string]string // has no entry for an absent argument
	token       Token             // zero if the method does not need one
	caller      User              // the owner of token
}

// slackMethod describes an API method.
type slackMethod struct {
	run         func(*Slack, *slackRequest) slackResponse
	rejectsJSON bool
	formOnly    bool     // ignores the query
	nestedJSON  bool     // accepts arrays and objects in JSON
	public      bool     // needs no token
	scopes      []string // any one of them is enough, unless missingScopes is set

	// missingScopes returns the scopes that the token lacks. It is nil if they do not
	// depend on the arguments.
	missingScopes func(*Slack, *slackRequest) []string
}

var slackMethods = map[string]slackMethod{
	"api.test":              {run: (*Slack).apiTest, nestedJSON: true, public: true},
	"auth.revoke":           {run: (*Slack).authRevoke},
	"auth.test":             {run: (*Slack).authTest},
	"chat.postMessage":      {run: (*Slack).chatPostMessage, nestedJSON: true, scopes: []string{"chat:write"}},
	"conversations.close":   {run: (*Slack).conversationsClose, scopes: writeScopes, missingScopes: (*Slack).missingCloseScopes},
	"conversations.history": {run: (*Slack).conversationsHistory, scopes: historyScopes, missingScopes: (*Slack).missingHistoryScopes},
	"conversations.list":    {run: (*Slack).conversationsList, scopes: readScopes, missingScopes: (*Slack).missingListScopes},
	"conversations.open":    {run: (*Slack).conversationsOpen, scopes: writeScopes, missingScopes: (*Slack).missingOpenScopes},
	"conversations.replies": {run: (*Slack).conversationsReplies, scopes: historyScopes, missingScopes: (*Slack).missingHistoryScopes},
	"im.close":              {run: (*Slack).imClose, scopes: []string{"im:write"}},
	"im.open":               {run: (*Slack).imOpen, scopes: []string{"im:write"}, rejectsJSON: true},
	"oauth.v2.access":       {run: (*Slack).oauthAccess, public: true, rejectsJSON: true, formOnly: true},
	"oauth.v2.exchange":     {run: (*Slack).oauthExchange, public: true, rejectsJSON: true, formOnly: true},
	"users.info":            {run: (*Slack).usersInfo, scopes: []string{"users:read"}},
	"users.lookupByEmail":   {run: (*Slack).usersLookupByEmail, scopes: []string{emailScope}},
}

// imReplacements maps the methods that Slack has retired to the methods that
// replace them.
var imReplacements = map[string]string{
	"im.open":  "conversations.open",
	"im.close": "conversations.close",
}

// respond implements platform.
func (s *Slack) respond(req apiRequest) response {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	if wait := s.countCall(req.method).wait; wait > 0 {
		return s.encode(rateLimitedError(wait), nil)
	}
	if req.httpRequest.Method != http.MethodGet && req.httpRequest.Method != http.MethodPost {
		resp := plainTextResponse(http.StatusMethodNotAllowed)
		resp.header.Set("Allow", "GET, POST")
		return resp
	}
	method, known := slackMethods[req.method]
	if !known {
		return s.encode(slackResponse{Error: "unknown_method", ReqMethod: req.method}, nil)
	}

	args, warnings, code := readArgs(req, method)
	if code != "" {
		return s.encode(slackResponse{Error: code}, warnings)
	}
	slackReq := &slackRequest{method: req.method, httpRequest: req.httpRequest, args: args}
	if method.public {
		return s.encode(method.run(s, slackReq), warnings)
	}
	if code := s.authenticate(slackReq, req.httpRequest.Header); code != "" {
		return s.encode(slackResponse{Error: code}, warnings)
	}

	resp := s.encode(s.authorizeAndRun(method, slackReq), warnings)
	resp.header.Set("X-OAuth-Scopes", strings.Join(slackReq.token.grantedScopes(), ","))
	resp.header.Set("X-Accepted-OAuth-Scopes", strings.Join(method.scopes, ","))
	return resp
}

// authenticate sets the token and the caller of a request. It returns an error code
// if the token is missing or invalid.
func (s *Slack) authenticate(req *slackRequest, header http.Header) (code string) {
	value := req.args["token"]
	if scheme, credential, ok := strings.Cut(header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		value = strings.TrimSpace(credential)
	}
	delete(req.args, "token")
	if value == "" {
		return "not_authed"
	}
	token := s.tokens[value]
	if token == nil && req.method == "auth.revoke" {
		token = s.refreshTokenAsAccessToken(value)
	}
	if token == nil {
		return "invalid_auth"
	}
	switch token.stateAt(time.Now()) {
	case Revoked:
		return "token_revoked"
	case Expired:
		return "token_expired"
	case Inactive:
		return "account_inactive"
	}
	owner, known := s.users[token.User]
	if !known || owner.Disabled {
		return "account_inactive"
	}
	req.token, req.caller = token.Token, owner
	return ""
}

// authorizeAndRun runs the method if it is not retired and the token has the
// scopes for it.
func (s *Slack) authorizeAndRun(method slackMethod, req *slackRequest) slackResponse {
	if s.imRetired && imReplacements[req.method] != "" {
		return methodDeprecatedError(req.method)
	}
	var missing []string
	if method.missingScopes != nil {
		missing = method.missingScopes(s, req)
	} else {
		missing = req.token.missingScopes(method.scopes)
	}
	if missing != nil {
		return missingScopeError(missing, req.token.grantedScopes())
	}
	return method.run(s, req)
}

// errorResponse implements platform.
func (s *Slack) errorResponse(req apiRequest, code string) response {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	resp := slackResponse{Error: cmp.Or(code, "internal_error")}
	switch {
	case code == "missing_scope":
		resp = missingScopeError(slackMethods[req.method].scopes, []string{"identify"})
	case code == "unknown_method":
		resp.ReqMethod = req.method
	case code == "method_deprecated" && imReplacements[req.method] != "":
		resp = methodDeprecatedError(req.method)
	}
	return s.encode(resp, nil)
}

// encode returns the HTTP response for resp. The warnings are about the format of
// the request.
func (s *Slack) encode(resp slackResponse, warnings []string) response {
	resp.OK = resp.Error == ""
	for _, warning := range warnings {
		resp.warn(warning)
	}
	s.responseCount++
	encoded := response{
		status: http.StatusOK,
		header: http.Header{
			"Content-Type":   {"application/json; charset=utf-8"},
			"X-Slack-Req-Id": {fmt.Sprintf("%032x", s.responseCount)},
		},
		body: mustMarshal(resp.body()),
	}
	if resp.retryAfter > 0 {
		encoded.status = http.StatusTooManyRequests
		encoded.header.Set("Retry-After", strconv.FormatInt(ceilSeconds(resp.retryAfter), 10))
	}
	return encoded
}
