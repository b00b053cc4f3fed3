package chatdmtest

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/chatdm/chatdm"
)

// The client ID and the client secret of the app of a [Slack] workspace. The methods
// oauth.v2.access and oauth.v2.exchange need them.
const (
	ClientID     = "1000000001.2000000002"
	ClientSecret = "chatdmtest-client-secret"
)

// teamName is the name of the workspace.
const teamName = "chatdmtest"

const (
	defaultTokenLifetime = 12 * time.Hour
	defaultRefreshGrace  = time.Minute
	maxActiveTokens      = 2 // expiring access tokens of an installation
)

// slackOAuth is the state of token rotation. A [Slack] guards it with its stateMu.
type slackOAuth struct {
	lifetime      time.Duration                 // of new access tokens
	grace         time.Duration                 // after the first use of a refresh token
	installations map[string]*slackInstallation // by user ID
	refreshTokens map[string]*slackRefreshToken // by value; has no revoked tokens
	pairs         int                           // for the next pair of tokens
}

func newSlackOAuth() slackOAuth {
	return slackOAuth{
		lifetime:      defaultTokenLifetime,
		grace:         defaultRefreshGrace,
		installations: make(map[string]*slackInstallation),
		refreshTokens: make(map[string]*slackRefreshToken),
	}
}

// slackInstallation is the installation of the app for a bot or a person.
type slackInstallation struct {
	user      string
	scopes    []string            // nil means all scopes
	access    []*slackAccessToken // expiring, oldest first; may include some that are not active
	longLived []*slackAccessToken // exchanged; the next refresh revokes them
	newest    chatdm.Tokens       // issued last
	refreshes int
}

type slackRefreshToken struct {
	installation *slackInstallation
	usableUntil  time.Time // zero until the first use
}

func (t *slackRefreshToken) usable(now time.Time) bool {
	return t.usableUntil.IsZero() || now.Before(t.usableUntil)
}

// slackAccessToken is a Token and what only the server knows about it.
type slackAccessToken struct {
	Token
	expiry    time.Time // zero if the token does not expire
	exchanged bool      // with oauth.v2.exchange
}

func (t *slackAccessToken) stateAt(now time.Time) TokenState {
	if t.State == Active && !t.expiry.IsZero() && !now.Before(t.expiry) {
		return Expired
	}
	return t.State
}

// InstallRotating installs the app for a user and returns the tokens: a bot token if the
// user is a bot, and otherwise a user token. The access token expires; see
// SetTokenLifetime. Without scopes, the tokens have all scopes.
//
// If the app is already installed for the user, this is a reinstallation. It revokes the
// earlier rotating tokens of the user.
func (s *Slack) InstallRotating(user string, scopes ...string) chatdm.Tokens {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	installation := s.installation(user)
	s.revokeInstallation(installation)
	installation.scopes = slices.Clone(scopes)
	s.issueTokens(installation)
	return installation.newest
}

// SetTokenLifetime sets the lifetime of the access tokens that the workspace issues from
// now on. The default is 12 hours, as on Slack. If lifetime is not positive, new access
// tokens have already expired.
func (s *Slack) SetTokenLifetime(lifetime time.Duration) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.oauth.lifetime = max(lifetime, 0)
}

// SetRefreshGrace sets how long a refresh token still works after its first use. The
// default is one minute. Slack does not document this time. If grace is not positive, a
// refresh token works only once. SetRefreshGrace does not affect tokens that have already
// been used.
func (s *Slack) SetRefreshGrace(grace time.Duration) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.oauth.grace = max(grace, 0)
}

// RevokeTokens revokes all tokens of a user, as uninstalling the app does. API calls then
// fail with account_inactive if the user is a bot, and otherwise with token_revoked. A
// refresh fails with invalid_refresh_token. RevokeTokens does not affect tokens that are
// added later.
func (s *Slack) RevokeTokens(user string) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	state := Revoked
	if s.users[user].Bot {
		state = Inactive
	}
	for _, token := range s.tokens {
		if token.User == user {
			token.State = state
		}
	}
	if installation := s.oauth.installations[user]; installation != nil {
		s.revokeInstallation(installation)
	}
}

// Refreshes returns how many times the tokens of a user have been refreshed. It counts
// every refresh that took effect, even if the response was lost.
func (s *Slack) Refreshes(user string) int {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	if installation := s.oauth.installations[user]; installation != nil {
		return installation.refreshes
	}
	return 0
}

// NewestTokens returns the rotating tokens that the workspace issued last for a user. It
// reports whether the refresh token works. Compare them with the tokens that the program
// under test has stored, to check that it has not lost the newest ones.
func (s *Slack) NewestTokens(user string) (tokens chatdm.Tokens, refreshable bool) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	installation := s.oauth.installations[user]
	if installation == nil {
		return chatdm.Tokens{}, false
	}
	refresh := s.oauth.refreshTokens[installation.newest.RefreshToken]
	return installation.newest, refresh != nil && refresh.usable(time.Now())
}

// installation returns the installation of a user. If there is none, it adds one without
// tokens.
func (s *Slack) installation(user string) *slackInstallation {
	installation := s.oauth.installations[user]
	if installation == nil {
		installation = &slackInstallation{user: user}
		s.oauth.installations[user] = installation
	}
	return installation
}

// revokeInstallation revokes the refresh tokens of an installation and its access tokens.
func (s *Slack) revokeInstallation(i *slackInstallation) {
	revokeAccessTokens(slices.Concat(i.access, i.longLived))
	i.access, i.longLived = nil, nil
	maps.DeleteFunc(s.oauth.refreshTokens, func(_ string, t *slackRefreshToken) bool { return t.installation == i })
}

// revokeAccessTokens revokes the tokens that do not have another state.
func revokeAccessTokens(tokens []*slackAccessToken) {
	for _, token := range tokens {
		if token.State == Active {
			token.State = Revoked
		}
	}
}

// issueTokens issues a pair of tokens for an installation. If it then has too many active
// access tokens, issueTokens revokes the oldest.
func (s *Slack) issueTokens(i *slackInstallation) {
	now := time.Now()
	s.oauth.pairs++
	kind := "p"
	if s.users[i.user].Bot {
		kind = "b"
	}
	i.newest = chatdm.Tokens{
		AccessToken:  fmt.Sprintf("xoxe.xox%s-1-chatdmtest-%d", kind, s.oauth.pairs),
		RefreshToken: fmt.Sprintf("xoxe-1-chatdmtest-%d", s.oauth.pairs),
		Expiry:       now.Add(s.oauth.lifetime),
	}
	access := &slackAccessToken{
		Token:  Token{Value: i.newest.AccessToken, User: i.user, Scopes: i.scopes},
		expiry: i.newest.Expiry,
	}
	s.tokens[access.Value] = access
	s.oauth.refreshTokens[i.newest.RefreshToken] = &slackRefreshToken{installation: i}

	i.access = slices.DeleteFunc(i.access, func(t *slackAccessToken) bool { return t.stateAt(now) != Active })
	i.access = append(i.access, access)
	if extra := len(i.access) - maxActiveTokens; extra > 0 {
		revokeAccessTokens(i.access[:extra])
		i.access = i.access[extra:]
	}
}

// oauthAccess implements oauth.v2.access.
func (s *Slack) oauthAccess(req *slackRequest) slackResponse {
	if code := checkClient(req, true); code != "" {
		return slackResponse{Error: code}
	}
	switch req.args["grant_type"] {
	case "", "authorization_code":
		return slackResponse{Error: "invalid_code"} // the workspace issues no codes
	case "refresh_token":
	default:
		return slackResponse{Error: "invalid_grant_type"}
	}
	now := time.Now()
	refresh := s.oauth.refreshTokens[req.args["refresh_token"]]
	if refresh == nil || !refresh.usable(now) {
		return slackResponse{Error: "invalid_refresh_token"}
	}
	installation := refresh.installation
	if user, known := s.users[installation.user]; !known || user.Disabled {
		return slackResponse{Error: "account_inactive"}
	}
	if refresh.usableUntil.IsZero() {
		refresh.usableUntil = now.Add(s.oauth.grace)
	}
	revokeAccessTokens(installation.longLived)
	installation.longLived = nil
	s.issueTokens(installation)
	installation.refreshes++
	return s.grantResponse(installation)
}

// oauthExchange implements oauth.v2.exchange.
func (s *Slack) oauthExchange(req *slackRequest) slackResponse {
	if code := checkClient(req, false); code != "" {
		return slackResponse{Error: code}
	}
	value, ok := req.args["token"]
	if !ok {
		return missingArgumentError("token")
	}
	token := s.tokens[value]
	switch {
	case token == nil || !token.expiry.IsZero():
		return slackResponse{Error: "invalid_token"}
	case token.exchanged:
		return slackResponse{Error: "token_already_exchanged"}
	case token.State != Active:
		return slackResponse{Error: "authorization_not_found"}
	}
	if user, known := s.users[token.User]; !known || user.Disabled {
		return slackResponse{Error: "authorization_not_found"}
	}
	token.exchanged = true
	installation := s.installation(token.User)
	installation.scopes = token.Scopes
	installation.longLived = append(installation.longLived, token)
	s.issueTokens(installation)
	return s.grantResponse(installation)
}

// checkClient returns an error code if the request does not have the credentials of the
// app. If acceptsBasic is set, they can be in the Authorization header instead of the form.
func checkClient(req *slackRequest, acceptsBasic bool) (code string) {
	id, hasID := req.args["client_id"]
	secret, hasSecret := req.args["client_secret"]
	if basicID, basicSecret, ok := req.httpRequest.BasicAuth(); ok && acceptsBasic {
		if hasID || hasSecret {
			return "bad_client_secret"
		}
		// RFC 6749 form-encodes both. An invalid encoding decodes to "".
		id, _ = url.QueryUnescape(basicID)
		secret, _ = url.QueryUnescape(basicSecret)
	}
	switch {
	case id != ClientID:
		return "invalid_client_id"
	case secret != ClientSecret:
		return "bad_client_secret"
	}
	return ""
}

// authRevoke implements auth.revoke.
func (s *Slack) authRevoke(req *slackRequest) slackResponse {
	if req.boolArg("test") {
		return slackResponse{Revoked: new(false)}
	}
	value := req.token.Value
	if _, isRefresh := s.oauth.refreshTokens[value]; isRefresh {
		delete(s.oauth.refreshTokens, value)
		return slackResponse{Revoked: new(true)}
	}
	token := s.tokens[value]
	token.State = Revoked
	if token.exchanged { // it was revoked before the first refresh, which ends the installation
		s.revokeInstallation(s.oauth.installations[token.User])
	}
	return slackResponse{Revoked: new(true)}
}

// refreshTokenAsAccessToken returns a usable refresh token in the form of an access token,
// because auth.revoke accepts both. If there is none, it returns nil.
func (s *Slack) refreshTokenAsAccessToken(value string) *slackAccessToken {
	refresh := s.oauth.refreshTokens[value]
	if refresh == nil || !refresh.usable(time.Now()) {
		return nil
	}
	return &slackAccessToken{Token: Token{Value: value, User: refresh.installation.user, Scopes: refresh.installation.scopes}}
}

// slackGrant is the body of a response that contains tokens.
type slackGrant struct {
	OK                  bool           `json:"ok"`
	AccessToken         string         `json:"access_token"`
	ExpiresIn           int64          `json:"expires_in"` // seconds
	RefreshToken        string         `json:"refresh_token"`
	TokenType           string         `json:"token_type"`
	Scope               string         `json:"scope"`
	BotUserID           string         `json:"bot_user_id,omitempty"`
	UserID              string         `json:"user_id,omitempty"`
	AppID               string         `json:"app_id"`
	Team                slackTeam      `json:"team"`
	Enterprise          *slackTeam     `json:"enterprise"`
	IsEnterpriseInstall bool           `json:"is_enterprise_install"`
	Warning             string         `json:"warning,omitempty"`
	Metadata            *slackMetadata `json:"response_metadata,omitempty"`
}

type slackTeam struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// grantResponse returns the response that contains the newest tokens of an installation.
func (s *Slack) grantResponse(i *slackInstallation) slackResponse {
	grant := &slackGrant{
		AccessToken:  i.newest.AccessToken,
		ExpiresIn:    ceilSeconds(s.oauth.lifetime),
		RefreshToken: i.newest.RefreshToken,
		TokenType:    "user",
		Scope:        strings.Join(Token{Scopes: i.scopes}.grantedScopes(), ","),
		AppID:        appObjectID("A", BotUser),
		Team:         slackTeam{Name: teamName, ID: teamID},
	}
	if s.users[i.user].Bot {
		grant.TokenType, grant.BotUserID, grant.AppID = "bot", i.user, appObjectID("A", i.user)
	} else {
		grant.UserID = i.user
	}
	return slackResponse{grant: grant}
}

// body returns what the server sends for resp.
func (resp *slackResponse) body() any {
	if resp.grant == nil {
		return resp
	}
	grant := *resp.grant
	grant.OK, grant.Warning, grant.Metadata = resp.OK, resp.Warning, resp.Metadata
	return grant
}
