package chatdmtest

import "slices"

// scopesByType lists the scopes with which a token can open and close (write), list
// (read), or read the messages of (history) a type of conversation. Any one of them is
// enough.
var scopesByType = map[conversationType]struct{ write, read, history []string }{
	publicChannel:  {[]string{"channels:write", "channels:manage"}, []string{"channels:read"}, []string{"channels:history"}},
	privateChannel: {[]string{"groups:write"}, []string{"groups:read"}, []string{"groups:history"}},
	groupDM:        {[]string{"mpim:write"}, []string{"mpim:read"}, []string{"mpim:history"}},
	dm:             {[]string{"im:write"}, []string{"im:read"}, []string{"im:history"}},
}

// emailScope is the scope for the email addresses of users.
const emailScope = "users:read.email"

var (
	writeScopes   = []string{"channels:write", "groups:write", "mpim:write", "im:write"}
	historyScopes = []string{"channels:history", "groups:history", "mpim:history", "im:history"}
	readScopes    = []string{"channels:read", "groups:read", "mpim:read", "im:read"}
	userScopes    = []string{"users:read", emailScope}
	allScopes     = slices.Concat(writeScopes, []string{"channels:manage", "chat:write"}, readScopes, historyScopes, userScopes)
)

func (t Token) grantedScopes() []string {
	if t.Scopes == nil {
		return allScopes
	}
	return t.Scopes
}

// missingScopes returns alternatives if the token has none of them, and nil if it
// has one or if no scope is needed.
func (t Token) missingScopes(alternatives []string) []string {
	if len(alternatives) == 0 || slices.ContainsFunc(alternatives, func(scope string) bool {
		return slices.Contains(t.grantedScopes(), scope)
	}) {
		return nil
	}
	return alternatives
}

// missingOpenScopes returns the scopes that the token lacks for
// conversations.open. The needed scope depends on the number of users, but Slack
// reports all scopes that the method accepts.
func (s *Slack) missingOpenScopes(req *slackRequest) []string {
	alternatives := writeScopes
	if id := req.args["channel"]; id != "" {
		if conv := s.visibleConversation(req, id); conv != nil {
			alternatives = scopesByType[conv.conversationType].write
		}
	} else if n := len(req.otherUsers()); n > 1 {
		alternatives = scopesByType[groupDM].write
	} else if n == 1 {
		alternatives = scopesByType[dm].write
	}
	if req.token.missingScopes(alternatives) == nil {
		return nil
	}
	return writeScopes
}

// missingCloseScopes returns the scopes that the token lacks for
// conversations.close.
func (s *Slack) missingCloseScopes(req *slackRequest) []string {
	if conv := s.conversationsByID[req.args["channel"]]; conv != nil {
		return req.token.missingScopes(scopesByType[conv.conversationType].write)
	}
	return req.token.missingScopes(writeScopes)
}

// missingListScopes returns the scopes that the token lacks for
// conversations.list. It needs one scope for each requested type.
func (s *Slack) missingListScopes(req *slackRequest) []string {
	var missing []string
	for _, t := range req.conversationTypes() {
		missing = append(missing, req.token.missingScopes(scopesByType[t].read)...)
	}
	return missing
}

// missingHistoryScopes returns the scopes that the token lacks for
// conversations.history and conversations.replies.
func (s *Slack) missingHistoryScopes(req *slackRequest) []string {
	if conv := s.visibleConversation(req, req.args["channel"]); conv != nil {
		return req.token.missingScopes(scopesByType[conv.conversationType].history)
	}
	return req.token.missingScopes(historyScopes)
}
