package chatdmtest

import "strings"

// slackReply is an answer on the wire. What a method does not use is left out.
type slackReply struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`

	*slackScopes
	ReqMethod string `json:"req_method,omitempty"`

	NoOp          bool `json:"no_op,omitempty"`
	AlreadyOpen   bool `json:"already_open,omitempty"`
	AlreadyClosed bool `json:"already_closed,omitempty"`

	Channel        any               `json:"channel,omitempty"` // an object, or the id from chat.postMessage
	Channels       []any             `json:"channels,omitzero"` // of conversations.list; empty is not absent
	TS             string            `json:"ts,omitempty"`      // of chat.postMessage
	Message        *slackMessage     `json:"message,omitempty"` // of chat.postMessage
	Messages       []*slackMessage   `json:"messages,omitzero"` // of conversations.history; empty is not absent
	HasMore        bool              `json:"has_more,omitempty"`
	*slackIdentity                   // of auth.test
	Args           map[string]string `json:"args,omitempty"` // of api.test

	Warning  string         `json:"warning,omitempty"`
	Metadata *slackMetadata `json:"response_metadata,omitempty"`
}

type slackScopes struct {
	Needed   string `json:"needed"`
	Provided string `json:"provided"`
}

type slackIdentity struct {
	URL    string `json:"url"`
	Team   string `json:"team"`
	User   string `json:"user"`
	TeamID string `json:"team_id"`
	UserID string `json:"user_id"`
	BotID  string `json:"bot_id,omitempty"`
}

type slackMetadata struct {
	NextCursor *string  `json:"next_cursor,omitempty"`
	Warnings   []string `json:"warnings,omitempty"`
	Messages   []string `json:"messages,omitempty"`
}

type slackMessage struct {
	Type string `json:"type"`
	User string `json:"user"`
	Text string `json:"text"`
	TS   string `json:"ts"`
}

// slackRef is a conversation that nobody asked the details of.
type slackRef struct {
	ID string `json:"id"`
}

// slackReading is how far one member has got in a direct message.
type slackReading struct {
	LastRead           string        `json:"last_read"`
	Latest             *slackMessage `json:"latest"`
	UnreadCount        int           `json:"unread_count"`
	UnreadCountDisplay int           `json:"unread_count_display"`
	IsOpen             bool          `json:"is_open"`
	Priority           float64       `json:"priority"`
}

type slackIM struct {
	ID          string `json:"id"`
	Created     int64  `json:"created"` // seconds
	IsArchived  bool   `json:"is_archived"`
	IsIM        bool   `json:"is_im"`
	IsOrgShared bool   `json:"is_org_shared"`
	User        string `json:"user"`
	slackReading
	Updated int64  `json:"updated"` // milliseconds
	Locale  string `json:"locale,omitempty"`
}

// slackListed is a 1:1 in conversations.list, which does not tell how far the
// caller has got in it, nor whether it is open.
type slackListed struct {
	ID            string  `json:"id"`
	Created       int64   `json:"created"` // seconds
	IsArchived    bool    `json:"is_archived"`
	IsIM          bool    `json:"is_im"`
	IsOrgShared   bool    `json:"is_org_shared"`
	User          string  `json:"user"`
	IsUserDeleted bool    `json:"is_user_deleted"`
	Updated       int64   `json:"updated"` // milliseconds
	Priority      float64 `json:"priority"`
}

// slackChannel is every conversation but a 1:1. Groups have a slackReading and
// their Members, channels have PreviousNames.
type slackChannel struct {
	ID                 string   `json:"id"`
	Name               string   `json:"name"`
	NameNormalized     string   `json:"name_normalized"`
	PreviousNames      []string `json:"previous_names,omitzero"` // empty is not absent
	IsChannel          bool     `json:"is_channel"`
	IsGroup            bool     `json:"is_group"`
	IsIM               bool     `json:"is_im"`
	IsMPIM             bool     `json:"is_mpim"`
	IsPrivate          bool     `json:"is_private"`
	IsArchived         bool     `json:"is_archived"`
	IsGeneral          bool     `json:"is_general"`
	IsMember           bool     `json:"is_member"`
	IsShared           bool     `json:"is_shared"`
	IsOrgShared        bool     `json:"is_org_shared"`
	IsExtShared        bool     `json:"is_ext_shared"`
	IsPendingExtShared bool     `json:"is_pending_ext_shared"`
	PendingShared      []string `json:"pending_shared"`
	Unlinked           int      `json:"unlinked"`
	Created            int64    `json:"created"` // seconds
	Creator            string   `json:"creator"`
	Updated            int64    `json:"updated"` // milliseconds
	Members            []string `json:"members,omitempty"`
	NumMembers         int      `json:"num_members"`
	SharedTeamIDs      []string `json:"shared_team_ids"`
	*slackReading
	Topic   slackText `json:"topic"`
	Purpose slackText `json:"purpose"`
}

type slackText struct {
	Value   string `json:"value"`
	Creator string `json:"creator"`
	LastSet int64  `json:"last_set"`
}

func missingScope(needed, provided []string) slackReply {
	return slackReply{Error: "missing_scope", slackScopes: &slackScopes{
		Needed:   strings.Join(needed, ","),
		Provided: strings.Join(provided, ","),
	}}
}

func missingArgument(name string) slackReply {
	return slackReply{Error: "invalid_arguments", Metadata: &slackMetadata{
		Messages: []string{"[ERROR] missing required field: " + name},
	}}
}

// successors are the methods to call in place of those that Slack has retired.
var successors = map[string]string{
	"im.open":  "conversations.open",
	"im.close": "conversations.close",
}

func retired(method string) slackReply {
	return slackReply{Error: "method_deprecated", Metadata: &slackMetadata{
		Messages: []string{"[ERROR] This method is retired and can no longer be used. Please use " + successors[method] +
			" instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"},
	}}
}
