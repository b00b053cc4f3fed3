package chatdmtest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// teamID is the ID of the workspace.
const teamID = "T0CHATDM1"

// A conversationType is a value of the types argument of conversations.list.
type conversationType string

const (
	publicChannel  conversationType = "public_channel"
	privateChannel conversationType = "private_channel"
	groupDM        conversationType = "mpim"
	dm             conversationType = "im"
)

// conversation is a DM, a group DM, or a channel.
type conversation struct {
	id               string
	conversationType conversationType
	name             string
	purpose          string // group DMs only
	creator          string
	members          []string
	archived         bool
	created          time.Time
	updated          time.Time
	messages         []*slackMessage   // oldest first
	open             map[string]bool   // by user ID of the member
	lastRead         map[string]string // message timestamp, by user ID of the member
	unread           map[string]int    // number of messages, by user ID of the member
}

func newConversation(id string, t conversationType, creator string, members []string) *conversation {
	now := time.Now()
	return &conversation{
		id:               id,
		conversationType: t,
		creator:          creator,
		members:          slices.Clone(members),
		created:          now,
		updated:          now,
		open:             make(map[string]bool),
		lastRead:         make(map[string]string),
		unread:           make(map[string]int),
	}
}

// isDirect reports whether conv is a DM or a group DM.
func (conv *conversation) isDirect() bool {
	return conv.conversationType == dm || conv.conversationType == groupDM
}

func (conv *conversation) hasMember(userID string) bool {
	return slices.Contains(conv.members, userID)
}

// setOpen opens or closes the conversation for a member. It reports whether the
// state changed.
func (conv *conversation) setOpen(userID string, open bool) (changed bool) {
	if conv.open[userID] == open {
		return false
	}
	conv.open[userID] = open
	conv.updated = time.Now()
	return true
}

// post adds a message and opens the conversation for all members.
func (conv *conversation) post(m *slackMessage, now time.Time) {
	conv.messages = append(conv.messages, m)
	conv.updated = now
	for _, member := range conv.members {
		conv.setOpen(member, true)
		if member == m.User {
			conv.lastRead[member], conv.unread[member] = m.TS, 0
		} else {
			conv.unread[member]++
		}
	}
}

// latest returns the newest message in the history, or nil if there is none.
func (conv *conversation) latest() *slackMessage {
	for _, m := range slices.Backward(conv.messages) {
		if m.inHistory() {
			return m.withoutPayload()
		}
	}
	return nil
}

// message returns the message with the given timestamp, or nil if there is none.
func (conv *conversation) message(ts string) *slackMessage {
	posted, _ := parseTimestamp(ts)
	i, found := slices.BinarySearchFunc(conv.messages, posted, func(m *slackMessage, posted int64) int { return cmp.Compare(m.posted, posted) })
	if !found || conv.messages[i].TS != ts {
		return nil
	}
	return conv.messages[i]
}

// dmPartner returns the other member of a DM. In a user's DM with themselves, it
// returns that user.
func (conv *conversation) dmPartner(userID string) string {
	for _, member := range conv.members {
		if member != userID {
			return member
		}
	}
	return userID
}

// membersKey returns a map key for a set of members, regardless of their order.
func membersKey(members []string) string {
	return strings.Join(slices.Sorted(slices.Values(members)), ",")
}

// visibleConversation returns the conversation with the given ID, or nil if it
// does not exist or the caller cannot see it. Everyone can see public channels.
func (s *Slack) visibleConversation(req *slackRequest, id string) *conversation {
	conv := s.conversationsByID[id]
	if conv == nil || conv.conversationType != publicChannel && !conv.hasMember(req.caller.ID) {
		return nil
	}
	return conv
}

// directConversation returns the DM or group DM between the caller and others. If
// it does not exist and create is set, directConversation creates it.
func (s *Slack) directConversation(req *slackRequest, others []string, create bool) (conv *conversation, code string) {
	members := []string{req.caller.ID}
	names := []string{req.caller.Name}
	for _, id := range others {
		user, known := s.users[id]
		switch {
		case !known:
			return nil, "user_not_found"
		case req.caller.Bot && user.Bot:
			return nil, "cannot_dm_bot"
		case id == req.caller.ID:
			continue
		case user.Disabled:
			return nil, "user_disabled"
		case user.Hidden:
			return nil, "user_not_visible"
		}
		members = append(members, id)
		names = append(names, user.Name)
	}
	key := membersKey(members)
	if conv := s.directConversations[key]; conv != nil {
		return conv, ""
	}
	if !create {
		return nil, "channel_not_found"
	}

	if len(members) > 2 {
		conv = newConversation(s.newConversationID("C"), groupDM, req.caller.ID, members)
		conv.name = "mpdm-" + strings.Join(names, "--") + "-1"
		conv.purpose = "Group messaging with: @" + strings.Join(names, " @")
	} else {
		conv = newConversation(s.newConversationID("D"), dm, req.caller.ID, members)
	}
	s.conversationsByID[conv.id], s.directConversations[key] = conv, conv
	s.conversations = append(s.conversations, conv)
	return conv, ""
}

// newConversationID returns the prefix with the first unused number.
func (s *Slack) newConversationID(prefix string) string {
	for n := 1; ; n++ {
		if id := fmt.Sprintf("%s%09d", prefix, n); s.conversationsByID[id] == nil {
			return id
		}
	}
}
