package chatdmtest

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"
)

// slackResponse is the body of a response. Fields that a method does not use are
// omitted.
type slackResponse struct {
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`

	retryAfter time.Duration // if positive, the response is a 429

	Errors []string `json:"errors,omitempty"` // from chat.postMessage
	*slackScopeError
	ReqMethod string `json:"req_method,omitempty"`

	grant   *slackGrant // from oauth.v2.access and oauth.v2.exchange
	Revoked *bool       `json:"revoked,omitempty"` // from auth.revoke

	NoOp          bool `json:"no_op,omitempty"`
	AlreadyOpen   bool `json:"already_open,omitempty"`
	AlreadyClosed bool `json:"already_closed,omitempty"`

	Channel        any               `json:"channel,omitempty"` // an object; from chat.postMessage, an ID
	Channels       []any             `json:"channels,omitzero"` // from conversations.list; nil is omitted, empty is not
	TS             string            `json:"ts,omitempty"`      // from chat.postMessage
	Message        *slackMessage     `json:"message,omitempty"` // from chat.postMessage
	Messages       []*slackMessage   `json:"messages,omitzero"` // from conversations.history and conversations.replies; nil is omitted, empty is not
	HasMore        *bool             `json:"has_more,omitempty"`
	*slackIdentity                   // from auth.test and, with only User, from users.info and users.lookupByEmail
	Args           map[string]string `json:"args,omitempty"` // from api.test

	Warning  string         `json:"warning,omitempty"`
	Metadata *slackMetadata `json:"response_metadata,omitempty"`
}

type slackScopeError struct {
	Needed   string `json:"needed"`
	Provided string `json:"provided"`
}

type slackIdentity struct {
	URL    string `json:"url,omitempty"`
	Team   string `json:"team,omitempty"`
	User   any    `json:"user"` // a name or a slackUser
	TeamID string `json:"team_id,omitempty"`
	UserID string `json:"user_id,omitempty"`
	BotID  string `json:"bot_id,omitempty"`
}

type slackMetadata struct {
	NextCursor *string  `json:"next_cursor,omitempty"`
	Warnings   []string `json:"warnings,omitempty"`
	Messages   []string `json:"messages,omitempty"`
}

// warn adds a warning.
func (resp *slackResponse) warn(code string) {
	if resp.Metadata == nil {
		resp.Metadata = new(slackMetadata)
	}
	resp.Metadata.Warnings = append(resp.Metadata.Warnings, code)
	resp.Warning = strings.Join(resp.Metadata.Warnings, ",")
}

// slackMessage is a message. It is kept as chat.postMessage returns it.
type slackMessage struct {
	Type         string `json:"type"`
	Subtype      string `json:"subtype,omitempty"`
	User         string `json:"user"`
	Text         string `json:"text"`
	TS           string `json:"ts"`
	BotID        string `json:"bot_id,omitempty"`
	AppID        string `json:"app_id,omitempty"`
	Team         string `json:"team"`
	ThreadTS     string `json:"thread_ts,omitempty"` // of the parent; in a parent that has replies, its own TS
	ParentUserID string `json:"parent_user_id,omitempty"`
	*slackThread
	Blocks      json.RawMessage       `json:"blocks,omitempty"`
	Attachments json.RawMessage       `json:"attachments,omitempty"`
	Metadata    *slackMessageMetadata `json:"metadata,omitempty"`

	posted int64 // TS in microseconds
}

// slackThread describes the replies to a message.
type slackThread struct {
	ReplyCount      int      `json:"reply_count"`
	ReplyUsersCount int      `json:"reply_users_count"`
	LatestReply     string   `json:"latest_reply"`
	ReplyUsers      []string `json:"reply_users"`
}

type slackMessageMetadata struct {
	EventType    string          `json:"event_type"`
	EventPayload json.RawMessage `json:"event_payload,omitempty"`
}

// slackUser is a user. A deleted user lacks the fields that can be omitted.
type slackUser struct {
	ID                string       `json:"id"`
	TeamID            string       `json:"team_id"`
	Name              string       `json:"name"`
	Deleted           bool         `json:"deleted"`
	RealName          string       `json:"real_name,omitempty"`
	TZ                string       `json:"tz,omitempty"`
	TZOffset          *int         `json:"tz_offset,omitempty"` // seconds
	Profile           slackProfile `json:"profile"`
	IsRestricted      *bool        `json:"is_restricted,omitempty"`
	IsUltraRestricted *bool        `json:"is_ultra_restricted,omitempty"`
	IsBot             bool         `json:"is_bot"`
	IsStranger        bool         `json:"is_stranger,omitempty"`
	IsAppUser         bool         `json:"is_app_user"`
	Locale            string       `json:"locale,omitempty"`
}

type slackProfile struct {
	RealName              string `json:"real_name"`
	RealNameNormalized    string `json:"real_name_normalized"`
	DisplayName           string `json:"display_name"`
	DisplayNameNormalized string `json:"display_name_normalized"`
	Email                 string `json:"email,omitempty"`
	BotID                 string `json:"bot_id,omitempty"`
	APIAppID              string `json:"api_app_id,omitempty"`
	Team                  string `json:"team"`
}

// slackConversationID is a conversation without details.
type slackConversationID struct {
	ID string `json:"id"`
}

// slackReadState describes how far one member has read a conversation.
type slackReadState struct {
	LastRead           string        `json:"last_read"`
	Latest             *slackMessage `json:"latest"`
	UnreadCount        int           `json:"unread_count"`
	UnreadCountDisplay int           `json:"unread_count_display"`
	IsOpen             bool          `json:"is_open"`
	Priority           float64       `json:"priority"`
}

type slackDM struct {
	ID          string `json:"id"`
	Created     int64  `json:"created"` // seconds
	IsArchived  bool   `json:"is_archived"`
	IsIM        bool   `json:"is_im"`
	IsOrgShared bool   `json:"is_org_shared"`
	User        string `json:"user"`
	slackReadState
	Updated int64 `json:"updated"` // milliseconds
}

// slackIM is a DM in the response of im.open. Its fields are those of Slack's
// documentation, in the same order.
type slackIM struct {
	ID                 string        `json:"id"`
	IsIM               bool          `json:"is_im"`
	User               string        `json:"user"`
	Created            int64         `json:"created"` // seconds
	LastRead           string        `json:"last_read"`
	Latest             *slackMessage `json:"latest"`
	UnreadCount        int           `json:"unread_count"`
	UnreadCountDisplay int           `json:"unread_count_display"`
	IsOpen             bool          `json:"is_open"`
	Locale             string        `json:"locale,omitempty"`
}

// forIMOpen returns the DM as im.open does.
func (dm slackDM) forIMOpen(withLocale bool) slackIM {
	im := slackIM{
		ID: dm.ID, IsIM: dm.IsIM, User: dm.User, Created: dm.Created, LastRead: dm.LastRead, Latest: dm.Latest,
		UnreadCount: dm.UnreadCount, UnreadCountDisplay: dm.UnreadCountDisplay, IsOpen: dm.IsOpen,
	}
	if withLocale {
		im.Locale = "en-US"
	}
	return im
}

// slackListedDM is a DM in conversations.list. It has neither a slackReadState
// nor a locale.
type slackListedDM struct {
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

// slackChannel is a group DM or a channel. Only group DMs have a slackReadState and
// Members. Only channels have PreviousNames.
type slackChannel struct {
	ID                 string   `json:"id"`
	Name               string   `json:"name"`
	NameNormalized     string   `json:"name_normalized"`
	PreviousNames      []string `json:"previous_names,omitzero"` // nil is omitted, empty is not
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
	*slackReadState
	Topic   slackTopic `json:"topic"`
	Purpose slackTopic `json:"purpose"`
}

type slackTopic struct {
	Value   string `json:"value"`
	Creator string `json:"creator"`
	LastSet int64  `json:"last_set"`
}

// object returns the object that the API returns to a user for conv.
func (conv *conversation) object(userID string) any {
	readState := slackReadState{
		LastRead:           cmp.Or(conv.lastRead[userID], "0000000000.000000"),
		Latest:             conv.latest(),
		UnreadCount:        conv.unread[userID],
		UnreadCountDisplay: conv.unread[userID],
		IsOpen:             conv.open[userID],
	}
	if conv.conversationType == dm {
		return slackDM{
			ID:             conv.id,
			Created:        conv.created.Unix(),
			IsIM:           true,
			User:           conv.dmPartner(userID),
			slackReadState: readState,
			Updated:        conv.updated.UnixMilli(),
		}
	}
	channel := slackChannel{
		ID:             conv.id,
		Name:           conv.name,
		NameNormalized: conv.name,
		IsChannel:      true,
		IsMPIM:         conv.conversationType == groupDM,
		IsPrivate:      conv.conversationType != publicChannel,
		IsArchived:     conv.archived,
		IsMember:       conv.hasMember(userID),
		PendingShared:  []string{},
		Created:        conv.created.Unix(),
		Creator:        conv.creator,
		Updated:        conv.updated.UnixMilli(),
		NumMembers:     len(conv.members),
		SharedTeamIDs:  []string{teamID},
	}
	if conv.conversationType == groupDM {
		channel.Members = conv.members
		channel.slackReadState = &readState
		channel.Purpose = slackTopic{Value: conv.purpose, Creator: conv.creator, LastSet: conv.created.Unix()}
	} else {
		channel.PreviousNames = []string{}
	}
	return channel
}

// listedDM returns the object that conversations.list returns to a user for a DM.
func (conv *conversation) listedDM(userID string, users map[string]User) slackListedDM {
	partner := conv.dmPartner(userID)
	return slackListedDM{
		ID:            conv.id,
		Created:       conv.created.Unix(),
		IsIM:          true,
		User:          partner,
		IsUserDeleted: users[partner].Disabled,
		Updated:       conv.updated.UnixMilli(),
	}
}

func missingScopeError(needed, provided []string) slackResponse {
	return slackResponse{Error: "missing_scope", slackScopeError: &slackScopeError{
		Needed:   strings.Join(needed, ","),
		Provided: strings.Join(provided, ","),
	}}
}

func rateLimitedError(wait time.Duration) slackResponse {
	return slackResponse{Error: "ratelimited", retryAfter: wait}
}

func missingArgumentError(name string) slackResponse {
	return slackResponse{Error: "invalid_arguments", Metadata: &slackMetadata{
		Messages: []string{"[ERROR] missing required field: " + name},
	}}
}

func methodDeprecatedError(method string) slackResponse {
	return slackResponse{Error: "method_deprecated", Metadata: &slackMetadata{
		Messages: []string{"[ERROR] This method is retired and can no longer be used. Please use " + imReplacements[method] +
			" instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"},
	}}
}
