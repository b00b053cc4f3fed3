package chatdmtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// login issues a token for a password, or confirms the token in the parameter
// resume.
func (r *RocketChat) login(req *rocketChatRequest) (any, *rocketChatError) {
	if token, ok := req.params["resume"].(string); ok {
		user, known := r.findUser(func(u RocketChatUser) bool { return r.ownsToken(u, token) })
		if !known {
			return nil, errLoggedOut
		}
		return r.loginResponse(user, token), nil
	}

	matchesUser := loginMatcher(req.params)
	password := req.params["password"]
	if matchesUser == nil || password == nil {
		return nil, errUnrecognizedLogin
	}
	user, known := r.findUser(matchesUser)
	switch {
	case !known:
		return nil, errUnknownLogin
	case user.Password == "":
		return nil, errNoPassword
	case password != user.Password:
		return nil, errWrongPassword
	case user.Deactivated:
		return nil, errDeactivated
	}
	if user.TOTP != "" {
		code := cmp.Or(req.stringParam("code"), req.httpRequest.Header.Get("X-2fa-Code"))
		switch {
		case code == "":
			return nil, newRocketChatError("totp-required")
		case code != user.TOTP:
			return nil, newRocketChatError("totp-invalid")
		}
	}
	r.loginCount++
	token := fmt.Sprintf("chatdmtest-login-%d", r.loginCount)
	r.loginTokens[token] = loginToken{userID: user.ID, issued: time.Now()}
	return r.loginResponse(user, token), nil
}

// loginMatcher returns a function that reports whether a user is the one who logs
// in. The request parameter user is a username, an email address, or an object with
// one of them. A request can have the parameter username or email instead of user.
// loginMatcher returns nil if none of these is set, or if there are unknown
// parameters.
func loginMatcher(params map[string]any) func(RocketChatUser) bool {
	for name := range params {
		if !slices.Contains([]string{"user", "username", "email", "password", "code"}, name) {
			return nil
		}
	}
	identity := params
	switch user := params["user"].(type) {
	case string:
		identity = map[string]any{"username": user}
		if strings.Contains(user, "@") {
			identity = map[string]any{"email": user}
		}
	case map[string]any:
		identity = user
	}
	username, hasUsername := identity["username"].(string)
	email, hasEmail := identity["email"].(string)
	switch {
	case hasUsername:
		return func(u RocketChatUser) bool { return strings.EqualFold(u.Username, username) }
	case hasEmail:
		return func(u RocketChatUser) bool { return u.Email != "" && strings.EqualFold(u.Email, email) }
	}
	return nil
}

func (r *RocketChat) loginResponse(u RocketChatUser, token string) rocketChatDataResponse {
	return rocketChatDataResponse{
		Status:  "success",
		Data:    rocketChatLoginData{UserID: u.ID, AuthToken: token, Me: u.profile()},
		Success: r.generationAtLeast(RocketChat7),
	}
}

// logout revokes the token of the request.
func (r *RocketChat) logout(req *rocketChatRequest) (any, *rocketChatError) {
	token := req.httpRequest.Header.Get("X-Auth-Token")
	delete(r.loginTokens, token)
	if user := req.caller; user.AuthToken == token {
		user.AuthToken = ""
		r.users[user.ID] = user
	}
	return rocketChatDataResponse{
		Status: "success",
		Data:   rocketChatLogoutData{Message: "You've been logged out!"},
	}, nil
}
