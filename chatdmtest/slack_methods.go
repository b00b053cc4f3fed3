package chatdmtest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// teamID is the id of the one workspace there is.
const teamID = "T0CHATDM1"

// maxOthers is how many people a group holds besides the one who opens it.
const maxOthers = 8

// A kind is a type of conversation, by its name in conversations.list.
type kind string

const (
	publicChannel  kind = "public_channel"
	privateChannel kind = "private_channel"
	mpim           kind = "mpim"
	im             kind = "im"
)

// kindScopes are the scopes that let a token change, or see, conversations of a
// kind. Any one of them will do.
var kindScopes = map[kind]struct{ write, read []string }{
	publicChannel:  {[]string{"channels:write", "channels:manage"}, []string{"channels:read"}},
	privateChannel: {[]string{"groups:write"}, []string{"groups:read"}},
	mpim:           {[]string{"mpim:write"}, []string{"mpim:read"}},
	im:             {[]string{"im:write"}, []string{"im:read"}},
}

var (
	writeScopes   = []string{"channels:write", "groups:write", "mpim:write", "im:write"}
	historyScopes = []string{"channels:history", "groups:history", "mpim:history", "im:history"}
	readScopes    = []string{"channels:read", "groups:read", "mpim:read", "im:read"}
	allScopes     = slices.Concat(writeScopes, []string{"channels:manage", "chat:write"}, readScopes, historyScopes)
)

func (t Token) granted() []string {
	if t.Scopes == nil {
		return allScopes
	}
	return t.Scopes
}

// lacks returns the alternatives if the token has none of them. A call that
// needs no scope has no alternatives.
func (t Token) lacks(alternatives []string) []string {
	if len(alternatives) == 0 || slices.ContainsFunc(alternatives, func(scope string) bool {
		return slices.Contains(t.granted(), scope)
	}) {
		return nil
	}
	return alternatives
}

// conversation is a direct message, a group of them, or a channel.
type conversation struct {
	id       string
	kind     kind
	name     string
	purpose  string // of a group
	creator  string
	members  []string
	archived bool
	created  time.Time
	updated  time.Time
	messages []*slackMessage // as posted
	latest   *slackMessage
	open     map[string]bool   // by member
	lastRead map[string]string // by member
	unread   map[string]int    // by member
}

func newConversation(id string, kind kind, creator string, members []string) *conversation {
	now := time.Now()
	return &conversation{
		id:       id,
		kind:     kind,
		creator:  creator,
		members:  slices.Clone(members),
		created:  now,
		updated:  now,
		open:     make(map[string]bool),
		lastRead: make(map[string]string),
		unread:   make(map[string]int),
	}
}

// direct reports whether the conversation is a direct message, to one or to many.
func (v *conversation) direct() bool { return v.kind == im || v.kind == mpim }

func (v *conversation) has(user string) bool { return slices.Contains(v.members, user) }

// setOpen opens or closes the conversation for a member and reports whether that
// changed anything.
func (v *conversation) setOpen(user string, open bool) (changed bool) {
	if v.open[user] == open {
		return false
	}
	v.open[user] = open
	v.updated = time.Now()
	return true
}

// object is the conversation as its member, or anyone who may see it, is shown it.
func (v *conversation) object(user string) any {
	lastRead := v.lastRead[user]
	if lastRead == "" {
		lastRead = "0000000000.000000"
	}
	reading := slackReading{
		LastRead:           lastRead,
		Latest:             v.latest,
		UnreadCount:        v.unread[user],
		UnreadCountDisplay: v.unread[user],
		IsOpen:             v.open[user],
	}
	if v.kind == im {
		other := user
		for _, member := range v.members {
			if member != user {
				other = member
			}
		}
		return slackIM{
			ID:           v.id,
			Created:      v.created.Unix(),
			IsIM:         true,
			User:         other,
			slackReading: reading,
			Updated:      v.updated.UnixMilli(),
		}
	}
	channel := slackChannel{
		ID:             v.id,
		Name:           v.name,
		NameNormalized: v.name,
		IsChannel:      true,
		IsMPIM:         v.kind == mpim,
		IsPrivate:      v.kind != publicChannel,
		IsArchived:     v.archived,
		IsMember:       v.has(user),
		PendingShared:  []string{},
		Created:        v.created.Unix(),
		Creator:        v.creator,
		Updated:        v.updated.UnixMilli(),
		NumMembers:     len(v.members),
		SharedTeamIDs:  []string{teamID},
	}
	if v.kind == mpim {
		channel.Members = v.members
		channel.slackReading = &reading
		channel.Purpose = slackText{Value: v.purpose, Creator: v.creator, LastSet: v.created.Unix()}
	} else {
		channel.PreviousNames = []string{}
	}
	return channel
}

func memberKey(members []string) string {
	return strings.Join(slices.Sorted(slices.Values(members)), ",")
}

// visible finds a conversation by id, unless it is a private channel or a direct
// message of others.
func (s *Slack) visible(c *slackCall, id string) *conversation {
	v := s.byID[id]
	if v == nil || v.kind != publicChannel && !v.has(c.caller.ID) {
		return nil
	}
	return v
}

// others is the list of users to open a conversation with: without the caller,
// unless nobody else is named.
func (c *slackCall) others(list string) []string {
	var named, others []string
	for id := range strings.SplitSeq(list, ",") {
		id = strings.TrimSpace(id)
		if id == "" || slices.Contains(named, id) {
			continue
		}
		named = append(named, id)
		if id != c.caller.ID {
			others = append(others, id)
		}
	}
	if len(others) == 0 {
		return named
	}
	return others
}

// with finds the direct message between the caller and others, or creates it.
func (s *Slack) with(c *slackCall, others []string, create bool) (v *conversation, code string) {
	members := []string{c.caller.ID}
	names := []string{c.caller.Name}
	for _, id := range others {
		user, known := s.users[id]
		switch {
		case !known:
			return nil, "user_not_found"
		case c.caller.Bot && user.Bot:
			return nil, "cannot_dm_bot"
		case id == c.caller.ID:
			continue
		case user.Disabled:
			return nil, "user_disabled"
		case user.Hidden:
			return nil, "user_not_visible"
		}
		members = append(members, id)
		names = append(names, user.Name)
	}
	key := memberKey(members)
	if v := s.byMembers[key]; v != nil {
		return v, ""
	}
	if !create {
		return nil, "channel_not_found"
	}

	if len(members) > 2 {
		v = newConversation(s.nextID("C"), mpim, c.caller.ID, members)
		v.name = "mpdm-" + strings.Join(names, "--") + "-1"
		v.purpose = "Group messaging with: @" + strings.Join(names, " @")
	} else {
		v = newConversation(s.nextID("D"), im, c.caller.ID, members)
	}
	s.byID[v.id], s.byMembers[key] = v, v
	s.order = append(s.order, v)
	return v, ""
}

// nextID numbers conversations by the letter that their ids begin with.
func (s *Slack) nextID(letter string) string {
	for n := 1; ; n++ {
		if id := fmt.Sprintf("%s%09d", letter, n); s.byID[id] == nil {
			return id
		}
	}
}

func (s *Slack) imOpen(c *slackCall) slackReply {
	user, given := c.args["user"]
	if !given {
		return missingArgument("user")
	}
	v, code := s.with(c, []string{user}, true)
	if code != "" {
		return slackReply{Error: code}
	}
	return opened(c, v)
}

func (s *Slack) conversationsOpen(c *slackCall) slackReply {
	id, byID := c.args["channel"]
	if id == "" && c.args["users"] != "" {
		return s.openUsers(c)
	}
	if !byID {
		return slackReply{Error: "users_list_not_supplied"}
	}
	v := s.visible(c, id)
	switch {
	case v == nil:
		return slackReply{Error: "channel_not_found"}
	case !v.direct():
		return slackReply{Error: "method_not_supported_for_channel_type"}
	}
	return opened(c, v)
}

func (s *Slack) openUsers(c *slackCall) slackReply {
	others := c.others(c.args["users"])
	switch {
	case len(others) == 0:
		return slackReply{Error: "not_enough_users"}
	case len(others) > maxOthers:
		return slackReply{Error: "too_many_users"}
	}
	v, code := s.with(c, others, !c.flag("prevent_creation"))
	if code != "" {
		return slackReply{Error: code}
	}
	return opened(c, v)
}

func opened(c *slackCall, v *conversation) slackReply {
	already := !v.setOpen(c.caller.ID, true) && v.kind == im
	reply := slackReply{NoOp: already, AlreadyOpen: already, Channel: slackRef{v.id}}
	if c.flag("return_im") {
		reply.Channel = v.object(c.caller.ID)
	}
	if object, full := reply.Channel.(slackIM); full && c.method == "im.open" && c.flag("include_locale") {
		object.Locale = "en-US"
		reply.Channel = object
	}
	return reply
}

func (s *Slack) imClose(c *slackCall) slackReply {
	id, given := c.args["channel"]
	if !given {
		return missingArgument("channel")
	}
	v := s.byID[id]
	if v == nil || v.kind != im {
		return slackReply{Error: "channel_not_found"}
	}
	return closed(c, v)
}

func (s *Slack) conversationsClose(c *slackCall) slackReply {
	id, given := c.args["channel"]
	if !given {
		return missingArgument("channel")
	}
	v := s.byID[id]
	if v == nil || v.kind == privateChannel && !v.has(c.caller.ID) {
		return slackReply{Error: "channel_not_found"}
	}
	if !v.direct() {
		return slackReply{Error: "method_not_supported_for_channel_type"}
	}
	return closed(c, v)
}

func closed(c *slackCall, v *conversation) slackReply {
	if !v.has(c.caller.ID) {
		return slackReply{Error: "user_does_not_own_channel"}
	}
	already := !v.setOpen(c.caller.ID, false)
	return slackReply{NoOp: already, AlreadyClosed: already}
}

// openLacks says which scopes conversations.open wants. For users, that depends
// on how many there are; a missing one is reported as all that the method knows.
func (s *Slack) openLacks(c *slackCall) []string {
	alternatives := writeScopes
	if id := c.args["channel"]; id != "" {
		if v := s.visible(c, id); v != nil {
			alternatives = kindScopes[v.kind].write
		}
	} else if n := len(c.others(c.args["users"])); n > 0 {
		alternatives = kindScopes[im].write
		if n > 1 {
			alternatives = kindScopes[mpim].write
		}
	}
	if c.token.lacks(alternatives) == nil {
		return nil
	}
	return writeScopes
}

func (s *Slack) closeLacks(c *slackCall) []string {
	if v := s.byID[c.args["channel"]]; v != nil {
		return c.token.lacks(kindScopes[v.kind].write)
	}
	return c.token.lacks(writeScopes)
}

func (s *Slack) listLacks(c *slackCall) []string {
	var lacking []string
	for _, k := range c.kinds() {
		lacking = append(lacking, c.token.lacks(kindScopes[k].read)...)
	}
	return lacking
}

// kinds are those that conversations.list was asked for, unknown ones included.
func (c *slackCall) kinds() []kind {
	if c.args["types"] == "" {
		return []kind{publicChannel}
	}
	var kinds []kind
	for name := range strings.SplitSeq(c.args["types"], ",") {
		kinds = append(kinds, kind(strings.TrimSpace(name)))
	}
	return kinds
}

func (s *Slack) conversationsList(c *slackCall) slackReply {
	kinds := c.kinds()
	for _, k := range kinds {
		if _, known := kindScopes[k]; !known {
			return slackReply{Error: "invalid_types"}
		}
	}
	limit := 100
	if text := c.args["limit"]; text != "" {
		var err error
		limit, err = strconv.Atoi(text)
		if err != nil || limit < 1 || limit > 1000 {
			return slackReply{Error: "invalid_limit"}
		}
	}
	from := s.order
	if cursor := c.args["cursor"]; cursor != "" {
		at := slices.Index(s.order, s.byID[fromCursor(cursor)])
		if at < 0 {
			return slackReply{Error: "invalid_cursor"}
		}
		from = s.order[at:]
	}

	reply := slackReply{Channels: []any{}, Metadata: &slackMetadata{NextCursor: new("")}}
	onPage := 0
	for _, v := range from {
		if !slices.Contains(kinds, v.kind) || s.visible(c, v.id) == nil {
			continue
		}
		if onPage == limit {
			reply.Metadata.NextCursor = new(toCursor(v.id))
			break
		}
		onPage++
		if v.archived && c.flag("exclude_archived") {
			continue // which leaves a gap: the page is filtered when it is full
		}
		object := v.object(c.caller.ID)
		if direct, ok := object.(slackIM); ok {
			object = slackListed{
				ID: direct.ID, Created: direct.Created, IsIM: true, User: direct.User,
				IsUserDeleted: s.users[direct.User].Disabled, Updated: direct.Updated,
			}
		}
		reply.Channels = append(reply.Channels, object)
	}
	return reply
}

// A cursor names the conversation that the next page begins with.
const cursorPrefix = "conversation:"

func toCursor(id string) string {
	return base64.StdEncoding.EncodeToString([]byte(cursorPrefix + id))
}

// fromCursor returns the id in a cursor, or "" if it is none.
func fromCursor(cursor string) string {
	text, err := base64.StdEncoding.DecodeString(cursor)
	id, ok := strings.CutPrefix(string(text), cursorPrefix)
	if err != nil || !ok {
		return ""
	}
	return id
}

func (s *Slack) authTest(c *slackCall) slackReply {
	identity := &slackIdentity{
		URL:    "https://chatdmtest.slack.com/",
		Team:   "chatdmtest",
		User:   c.caller.Name,
		TeamID: teamID,
		UserID: c.caller.ID,
	}
	if c.caller.Bot {
		identity.BotID = "B" + strings.TrimPrefix(c.caller.ID, "U")
	}
	return slackReply{slackIdentity: identity}
}

func (s *Slack) apiTest(c *slackCall) slackReply {
	delete(c.args, "token")
	return slackReply{Error: c.args["error"], Args: c.args}
}

// conversationsHistory gives the newest messages, as many as the limit says.
func (s *Slack) conversationsHistory(c *slackCall) slackReply {
	id, given := c.args["channel"]
	if !given {
		return missingArgument("channel")
	}
	limit := 100
	if text := c.args["limit"]; text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > 999 {
			return slackReply{Error: "invalid_limit"}
		}
	}
	v := s.visible(c, id)
	switch {
	case v == nil:
		return slackReply{Error: "channel_not_found"}
	case !v.has(c.caller.ID):
		return slackReply{Error: "not_in_channel"}
	}
	newest := v.messages[max(0, len(v.messages)-limit):]
	reply := slackReply{Messages: make([]*slackMessage, 0, len(newest)), HasMore: len(newest) < len(v.messages)}
	for _, m := range slices.Backward(newest) {
		reply.Messages = append(reply.Messages, m)
	}
	return reply
}

func (s *Slack) postMessage(c *slackCall) slackReply {
	id, given := c.args["channel"]
	if !given {
		return missingArgument("channel")
	}
	v := s.visible(c, id)
	switch {
	case v == nil:
		return slackReply{Error: "channel_not_found"}
	case !v.has(c.caller.ID):
		return slackReply{Error: "not_in_channel"}
	case v.archived:
		return slackReply{Error: "is_archived"}
	case c.args["text"] == "":
		return slackReply{Error: "no_text"}
	}

	s.messages++
	now := time.Now()
	m := &slackMessage{
		Type: "message",
		User: c.caller.ID,
		Text: c.args["text"],
		TS:   fmt.Sprintf("%d.%06d", now.Unix(), s.messages), // counted, not timed: unique
	}
	v.latest, v.updated = m, now
	v.messages = append(v.messages, m)
	for _, member := range v.members {
		v.setOpen(member, true)
		if member == c.caller.ID {
			v.lastRead[member], v.unread[member] = m.TS, 0
		} else {
			v.unread[member]++
		}
	}
	return slackReply{Channel: v.id, TS: m.TS, Message: m}
}
