package chatdmtest

import (
	"maps"
	"time"
)

// defaultLoginExpiration is Rocket.Chat's default, which admins can change.
const defaultLoginExpiration = 90 * 24 * time.Hour

// loginToken is a token from login.
type loginToken struct {
	userID string
	issued time.Time
}

// SetLoginExpiration sets how long a token from login works. The default is 90 days, as
// on real servers. It also applies to tokens that login has already issued. If d is not
// positive, tokens do not expire.
func (r *RocketChat) SetLoginExpiration(d time.Duration) {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.loginExpiration = d
}

// RevokeLoginTokens revokes all tokens that login has issued for a user, as a real server
// does when the user's password changes. It does not revoke the user's AuthToken.
func (r *RocketChat) RevokeLoginTokens(userID string) {
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.revokeLoginTokens(userID)
}

// revokeLoginTokens is RevokeLoginTokens for a caller that holds r.stateMu.
func (r *RocketChat) revokeLoginTokens(userID string) {
	maps.DeleteFunc(r.loginTokens, func(_ string, t loginToken) bool { return t.userID == userID })
}

// ownsLoginToken reports whether login issued the token for a user, and the token has not
// expired.
func (r *RocketChat) ownsLoginToken(u RocketChatUser, value string) bool {
	token, issued := r.loginTokens[value]
	expired := r.loginExpiration > 0 && time.Since(token.issued) >= r.loginExpiration
	return issued && token.userID == u.ID && !expired
}
