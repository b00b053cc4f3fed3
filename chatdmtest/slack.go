package chatdmtest

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// The tokens of a new [Slack] workspace. Both have all scopes.
const (
	BotToken  = "xoxb-chatdmtest-bot"  // belongs to BotUser
	UserToken = "xoxp-chatdmtest-user" // belongs to AdminUser
)

// The IDs of the users of a new [Slack] workspace. Alice to Heidi are eight active
// members. A group DM with them and a token owner has the maximum size that Slack
// allows. The name of Alice is "alice", and so on. A new [RocketChat] server uses
// the same IDs for Alice to Heidi.
const (
	BotUser   = "UBOT"   // a bot, owner of BotToken
	AdminUser = "UADMIN" // a person, owner of UserToken

	Alice = "U0ALICE01"
	Bob   = "U0BOB0001"
	Carol = "U0CAROL01"
	Dave  = "U0DAVE001"
	Erin  = "U0ERIN001"
	Frank = "U0FRANK01"
	Grace = "U0GRACE01"
	Heidi = "U0HEIDI01"

	DisabledUser = "U0DISABLED" // a person with a disabled account
	HiddenUser   = "U0HIDDEN01" // a person whom no other user can see
	OtherBot     = "U0OTHERBOT" // a bot, which BotToken cannot message
)

// Slack is a fake Slack workspace with a Web API. Use [NewSlack] to start one.
// A Slack is safe for concurrent use by multiple goroutines.
//
// # Methods
//
// Slack implements these methods:
//
//   - im.open and im.close
//   - conversations.open, conversations.close, and conversations.list
//   - conversations.history and conversations.replies
//   - chat.postMessage
//   - users.info and users.lookupByEmail
//   - auth.test, auth.revoke, and api.test
//   - oauth.v2.access with the grant type refresh_token, and oauth.v2.exchange
//
// Any other method fails with unknown_method.
//
// A request can be a GET, or a POST with a form or JSON. im.open does not accept
// JSON. A POST can also have arguments in its query, but arguments in the body take
// precedence. The server ignores a token in the query. oauth.v2.access and
// oauth.v2.exchange accept only a form in the body.
//
// Slack checks a request in this order:
//
//  1. faults
//  2. the rate limit
//  3. the HTTP method and the name of the API method
//  4. the format of the request
//  5. the token
//  6. whether the method is retired
//  7. the scopes
//  8. the arguments
//
// The rate limit for each conversation is checked with the arguments. See Limit.
//
// # Conversations
//
// A set of users has only one DM or group DM, regardless of who opens it. A
// conversation is open or closed for each member separately. A message opens it for
// all members.
//
// If a call opens a DM that is already open, or closes a conversation that is already
// closed, the response has the no_op flag. If a call opens a group DM that is already
// open, the response has no flag. The first member of a group DM is the user who
// opened it first. The others follow in the order of that request.
//
// As on Slack, conversations.list applies exclude_archived after it has filled a
// page. A page can therefore be short or empty even if more pages follow.
//
// # Messages
//
// chat.postMessage accepts text, blocks, attachments, markdown_text, metadata,
// thread_ts, and reply_broadcast. It rejects as_user, which only classic apps can use,
// and ignores other arguments. Blocks, attachments, and metadata are JSON: an array or
// object in a JSON body, or its text in any body. If the channel is a user ID, the message
// goes to the caller's DM with that user.
//
// The timestamp of a message is the time of the post. If the workspace already has a
// message with that timestamp, it is one microsecond later than the newest message.
//
// The server stores the text as Slack does:
//
//   - Text over 40,000 characters is cut, with the warning message_truncated.
//   - Text over 4,000 characters is split into several messages, unless there are
//     blocks. The response describes only the first one. Only that one has the
//     attachments and the metadata. Users have observed the split, but Slack documents
//     neither it nor which message has the metadata.
//   - The characters &, <, and > are escaped, except in &amp;, &lt;, &gt;, mentions such
//     as <@U1>, <#C1>, and <!here>, and links such as <https://example.com|label>.
//   - URLs, email addresses, and host names become links: <https://x.y>,
//     <mailto:a@x.com|a@x.com>, and <http://x.com|x.com>. A host name without a scheme
//     becomes a link only in the domains app, co, com, de, dev, edu, gov, io, net, org,
//     and uk.
//   - Some emoji become short names, such as :tada: and :wave::skin-tone-2:. They are
//     ☕ ⚠ ✅ ✨ ❌ ❤ 🎂 🎉 🐛 👀 👋 👍 👎 👏 💯 🔥 😀 😂 😄 😢 🙂 🙏 🚀.
//
// These limits count the UTF-16 code units of the text as sent.
//
// conversations.history returns the newest messages first. It does not return replies
// in threads, except those with reply_broadcast. Both it and conversations.replies
// support oldest, latest, inclusive, limit, cursor, and include_all_metadata. Without
// include_all_metadata, the metadata of a message has only its event_type. The event
// type must not contain a dot; otherwise, chat.postMessage silently drops the metadata.
//
// # Token rotation
//
// InstallRotating installs the app of the workspace, and returns an access token that
// expires and a refresh token. RevokeTokens uninstalls it. The app has the credentials
// [ClientID] and [ClientSecret]. Expired tokens fail with token_expired, and revoked ones
// with token_revoked.
//
//   - oauth.v2.access issues new tokens for a refresh token. The client sends the
//     credentials of the app either with HTTP Basic or in the form. It needs no token. A
//     refresh does not affect the current access token.
//   - A refresh token still works for one minute after its first use. Each use issues new
//     tokens. After that minute, it fails with invalid_refresh_token. SetRefreshGrace
//     changes this time.
//   - An access token expires after 12 hours. SetTokenLifetime changes this time.
//   - An installation has at most two active access tokens. A refresh that issues a third
//     one revokes the oldest.
//   - oauth.v2.exchange issues rotating tokens for a token that does not expire, such as
//     [BotToken], but only once. The next refresh revokes the old token.
//   - auth.revoke revokes only the token with which it is called: an access token or a
//     refresh token. With test=1, it revokes nothing. If it revokes a token that has been
//     exchanged, it revokes the whole installation.
//
// Use Refreshes and NewestTokens to check what a program did with its tokens.
//
// # Undocumented cases
//
// Slack's documentation does not cover these cases. The fake workspace behaves as
// follows:
//
//   - conversations.open: if both users and channel are set, users is ignored.
//   - conversations.open with prevent_creation: the error is channel_not_found if
//     the conversation does not exist. Otherwise, the conversation is opened.
//   - conversations.open: the error is not_enough_users if users contains only
//     commas.
//   - conversations.list returns open and closed DMs in the order in which they
//     were created. As in Slack's examples, group DMs have is_open and DMs do not.
//   - chat.postMessage to the ID of a disabled user: the message is posted if the DM
//     exists. Otherwise, the error is channel_not_found.
//   - chat.postMessage: the error is invalid_thread_ts if thread_ts is not a timestamp.
//     If no message has that timestamp, the message is posted, but it is not in the
//     history. If it is the timestamp of a reply, the message joins that reply's thread.
//   - chat.postMessage: the error is invalid_attachments if attachments is not a list of
//     objects, msg_blocks_too_long or attachment_payload_limit_exceeded above 100,000
//     bytes of JSON, and metadata_too_large above 16,384 bytes.
//   - conversations.replies: the first page starts with the parent, even if oldest or
//     latest excludes it. The parent counts toward the limit. Later pages have only
//     replies. If ts is the timestamp of a reply, the response has only that reply.
//   - conversations.history and conversations.replies: a timestamp has at most six
//     decimals, and may have none. If the limit is out of range, the error is
//     invalid_limit.
//   - users.lookupByEmail ignores case. It does not find hidden users.
//   - oauth.v2.access: the error is invalid_client_id if there are no credentials, and
//     bad_client_secret if they are both in the form and in the Authorization header. It is
//     invalid_code without a grant_type, and account_inactive if the user is disabled.
//   - oauth.v2.exchange: the error is invalid_token for a rotating token, and
//     authorization_not_found for one that is revoked or whose user is disabled. If the user
//     already has rotating tokens, the new ones belong to the same installation.
//   - An empty body has no arguments, but an empty multipart body is rejected with
//     invalid_form_data. A text/plain body is parsed as a form.
//   - An argument name can be at most 100 bytes long.
//
// # Differences from real Slack
//
//   - Blocks and attachments are stored as sent. The server checks only
//     that there are at most 50, that each has a type, and that the text of a
//     section has at most 3,000 characters.
//   - Markdown in markdown_text is not translated.
//   - A message without text has an empty text, even if it has blocks.
//   - Messages have no bot_profile, edits, reactions, or link previews. Only messages by
//     a bot have a bot_id and an app_id. A broadcast reply has no root.
//   - The channel of chat.postMessage cannot be a name. The arguments username,
//     icon_url, icon_emoji, parse, and link_names have no effect.
//   - conversations.history returns a message as soon as it is posted. Slack can take
//     longer.
//   - A user has no color, images, status, admin flags, or time of the last update.
//   - The app has no OAuth pages and issues no codes. Its tokens are predictable. A bot and
//     each person have separate installations.
//   - There are no rate limits until you call Limit.
type Slack struct {
	// URL is the root of the API, such as "http://127.0.0.1:1234/api". It has no
	// trailing slash. The URL of a method is URL + "/" + its name.
	URL string

	server

	stateMu             sync.Mutex // guards the fields below
	imRetired           bool
	users               map[string]User              // by ID
	tokens              map[string]*slackAccessToken // by value
	oauth               slackOAuth
	conversations       []*conversation          // in order of creation
	conversationsByID   map[string]*conversation // the same conversations
	directConversations map[string]*conversation // DMs and group DMs by membersKey
	droppedMetadata     map[string]bool          // by event type
	historyPageSize     int                      // not positive means no limit
	responseCount       int                      // for the next request ID
	lastPosted          int64                    // timestamp of the newest message in microseconds
}

// A User is a member of a [Slack] workspace.
type User struct {
	ID       string // such as "U0ALICE01"
	Name     string // such as "alice"; if empty, the ID in lower case
	Disabled bool   // opening a conversation with the user fails with user_disabled; the user's tokens fail with account_inactive
	Bot      bool   // if another bot opens a conversation with the user, the call fails with cannot_dm_bot
	Hidden   bool   // if anyone else opens a conversation with the user or calls users.info, the call fails with user_not_visible

	Email           string // if empty, Name + "@example.com"; a Bot has none by default
	RealName        string // such as "Alice"; if empty, Name with a capital first letter
	DisplayName     string // if empty, Name
	TZ              string // such as "Europe/Berlin"; if empty, "Etc/UTC"
	Restricted      bool   // a multi-channel guest
	UltraRestricted bool   // a single-channel guest; such a guest is also restricted
	Stranger        bool   // a member of another workspace
}

// A TokenState is the state of a [Token].
type TokenState string

// The states of a [Token], and the error that each of them causes.
const (
	Active   TokenState = ""         // no error
	Revoked  TokenState = "revoked"  // token_revoked
	Expired  TokenState = "expired"  // token_expired
	Inactive TokenState = "inactive" // account_inactive
)

// A Token authorizes API calls by a [User].
type Token struct {
	Value  string     // such as "xoxb-chatdmtest-bot"
	User   string     // ID of the owner; if no such user exists, the error is account_inactive
	Scopes []string   // nil means all scopes; empty means none
	State  TokenState // the zero value is Active
}

// A Channel is a public or private channel in a [Slack] workspace. Add one to test
// how a program lists channels, or what it does if it mistakes a channel for a DM.
type Channel struct {
	ID       string
	Name     string
	Private  bool // only Members can see the channel
	Archived bool
	Members  []string // user IDs
}

// A Message is a message in a conversation.
type Message struct {
	User     string // ID of the author
	Text     string // as the server stores it
	ID       string // on Slack, the timestamp, such as "1700000000.000001"; on Rocket.Chat, the _id
	ThreadID string // ID of the parent; empty unless the message is a reply
	Metadata string // Slack only: JSON, such as {"event_type":"greeting","event_payload":{}}; empty if there is none
}

// NewSlack starts a fake Slack workspace. Its tokens are [BotToken] and [UserToken].
// The constants [BotUser] to [OtherBot] hold the IDs of its users. It has no
// conversations. The caller should call Close when finished.
//
// NewSlack panics if it cannot listen on the loopback interface, or if an option
// applies only to Rocket.Chat.
func NewSlack(opts ...Option) *Slack {
	c := newConfig(opts)
	if c.generation != "" {
		panic("chatdmtest: NewSlack does not support the Generation option; use NewRocketChat")
	}
	s := &Slack{
		imRetired:           c.imRetired,
		historyPageSize:     c.pageSize,
		droppedMetadata:     make(map[string]bool),
		users:               make(map[string]User),
		tokens:              make(map[string]*slackAccessToken),
		oauth:               newSlackOAuth(),
		conversationsByID:   make(map[string]*conversation),
		directConversations: make(map[string]*conversation),
	}
	for _, u := range []User{
		{ID: BotUser, Name: "chatdmtest", Bot: true},
		{ID: AdminUser, Name: "admin"},
		{ID: Alice, Name: "alice"},
		{ID: Bob, Name: "bob"},
		{ID: Carol, Name: "carol"},
		{ID: Dave, Name: "dave"},
		{ID: Erin, Name: "erin"},
		{ID: Frank, Name: "frank"},
		{ID: Grace, Name: "grace"},
		{ID: Heidi, Name: "heidi"},
		{ID: DisabledUser, Name: "disabled", Disabled: true},
		{ID: HiddenUser, Name: "hidden", Hidden: true},
		{ID: OtherBot, Name: "otherbot", Bot: true},
	} {
		s.AddUser(u)
	}
	s.AddToken(Token{Value: BotToken, User: BotUser})
	s.AddToken(Token{Value: UserToken, User: AdminUser})
	s.URL = s.start(s, "/api/", c) + "/api"
	return s
}

// AddUser adds a user, or replaces the user with the same ID. It does not change
// the user's conversations.
func (s *Slack) AddUser(u User) {
	u.Name = cmp.Or(u.Name, strings.ToLower(u.ID))
	if !u.Bot {
		u.Email = cmp.Or(u.Email, u.Name+"@example.com")
	}
	if u.RealName == "" && u.Name != "" {
		first, n := utf8.DecodeRuneInString(u.Name)
		u.RealName = string(unicode.ToUpper(first)) + u.Name[n:]
	}
	u.DisplayName = cmp.Or(u.DisplayName, u.Name)
	u.TZ = cmp.Or(u.TZ, "Etc/UTC")
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.users[u.ID] = u
}

// AddToken adds a token, or replaces the token with the same Value.
func (s *Slack) AddToken(t Token) {
	t.Scopes = slices.Clone(t.Scopes)
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.tokens[t.Value] = &slackAccessToken{Token: t}
}

// AddChannel adds a channel, or replaces the conversation with the same ID. A
// replacement keeps its position in conversations.list.
func (s *Slack) AddChannel(c Channel) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	channelType := publicChannel
	if c.Private {
		channelType = privateChannel
	}
	added := newConversation(c.ID, channelType, "", c.Members)
	added.name, added.archived = c.Name, c.Archived
	if old := s.conversationsByID[c.ID]; old != nil {
		if old.isDirect() {
			delete(s.directConversations, membersKey(old.members))
		}
		s.conversations[slices.Index(s.conversations, old)] = added
	} else {
		s.conversations = append(s.conversations, added)
	}
	s.conversationsByID[c.ID] = added
}

// Messages returns the messages in a conversation, oldest first. It returns nil if
// the conversation has no messages or does not exist. Use it to check that a
// message was posted exactly once, even if a response was lost.
func (s *Slack) Messages(channel string) []Message {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	var messages []Message
	if conv := s.conversationsByID[channel]; conv != nil {
		for _, m := range conv.messages {
			messages = append(messages, m.exported())
		}
	}
	return messages
}

// DropMetadata makes the workspace drop the metadata with the given event type from
// every message that is posted later. The message is posted, and the response has a
// warning. Slack does so if the manifest of an app declares a schema for the event type
// and the metadata does not match it.
func (s *Slack) DropMetadata(eventType string) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.droppedMetadata[eventType] = true
}

// RetireIM retires im.open and im.close if retired is true, and restores them if
// it is false. See [RetiredIM].
func (s *Slack) RetireIM(retired bool) {
	s.stateMu.Lock()
	defer s.stateMu.Unlock()
	s.imRetired = retired
}
