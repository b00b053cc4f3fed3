package chatdmtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of a message.
const (
	maxBlocks            = 50
	maxSectionTextLength = 3000 // characters
	maxAttachments       = 100

	// Slack does not document these limits. They are in bytes of JSON.
	maxBlocksSize      = 100_000
	maxAttachmentsSize = 100_000
	maxMetadataSize    = 16_384
)

func (s *Slack) chatPostMessage(req *slackRequest) slackResponse {
	id, ok := req.args["channel"]
	if !ok {
		return missingArgumentError("channel")
	}
	conv, code := s.conversationToPost(req, id)
	if code != "" {
		return slackResponse{Error: code}
	}
	if wait := s.countCallIn(req.method, conv.id).wait; wait > 0 {
		return rateLimitedError(wait)
	}
	if conv.archived {
		return slackResponse{Error: "is_archived"}
	}
	m, resp := s.readMessage(req, conv)
	if resp.Error != "" {
		return resp
	}

	texts := []string{m.Text}
	if m.Blocks == nil { // otherwise, text is only the fallback
		var truncated bool
		if texts, truncated = splitText(m.Text); truncated {
			resp.warn("message_truncated")
		}
	}
	for i, text := range texts {
		part := *m
		if i > 0 {
			part.Attachments, part.Metadata = nil, nil
		}
		part.Text = rewriteText(text)
		s.post(conv, &part)
		if i == 0 { // observed, not documented: the response has only one timestamp
			resp.Channel, resp.TS, resp.Message = conv.id, part.TS, &part
		}
	}
	return resp
}

// conversationToPost returns the conversation for chat.postMessage. If id is a user ID,
// it opens a DM with that user.
func (s *Slack) conversationToPost(req *slackRequest, id string) (conv *conversation, code string) {
	if _, isUser := s.users[id]; !isUser || s.conversationsByID[id] != nil {
		return s.joinedConversation(req, id)
	}
	conv, code = s.directConversation(req, []string{id}, true)
	if code == "user_disabled" { // observed: an existing DM still accepts messages
		conv = s.directConversations[membersKey([]string{req.caller.ID, id})]
	}
	if conv == nil {
		return nil, "channel_not_found"
	}
	return conv, ""
}

// joinedConversation returns the conversation with the given ID if the caller is a
// member of it.
func (s *Slack) joinedConversation(req *slackRequest, id string) (conv *conversation, code string) {
	conv = s.visibleConversation(req, id)
	switch {
	case conv == nil:
		return nil, "channel_not_found"
	case !conv.hasMember(req.caller.ID):
		return nil, "not_in_channel"
	}
	return conv, ""
}

// readMessage returns the message in the arguments of chat.postMessage, with its text
// unchanged. The response has an error if the arguments are invalid, and otherwise may
// have warnings.
func (s *Slack) readMessage(req *slackRequest, conv *conversation) (m *slackMessage, resp slackResponse) {
	m = &slackMessage{Type: "message", User: req.caller.ID, Text: req.args["text"], Team: teamID}
	if req.caller.Bot {
		m.BotID, m.AppID = appObjectID("B", req.caller.ID), appObjectID("A", req.caller.ID)
	}
	if req.boolArg("as_user") { // only classic apps can use it
		return nil, slackResponse{Error: "as_user_not_supported"}
	}

	if m.Blocks, resp = readBlocks(req.args["blocks"]); resp.Error != "" {
		return nil, resp
	}
	var code string
	if m.Attachments, code = readAttachments(req.args["attachments"]); code != "" {
		return nil, slackResponse{Error: code}
	}
	if markdown := req.args["markdown_text"]; markdown != "" {
		if m.Text != "" || m.Blocks != nil {
			return nil, slackResponse{Error: "markdown_text_conflict"}
		}
		m.Text = markdown
	}
	if m.Text == "" && m.Blocks == nil && m.Attachments == nil {
		return nil, slackResponse{Error: "no_text"}
	}

	if m.Metadata, code = readMessageMetadata(req.args["metadata"]); code != "" {
		return nil, slackResponse{Error: code}
	}
	if m.Metadata != nil {
		switch {
		case strings.Contains(m.Metadata.EventType, "."): // observed: dropped without a warning
			m.Metadata = nil
		case s.droppedMetadata[m.Metadata.EventType]:
			m.Metadata = nil
			resp.warn("invalid_metadata_schema")
			resp.Metadata.Messages = []string{"[WARN] The metadata does not match the schema of its event_type and was dropped."}
		}
	}

	if ts := req.args["thread_ts"]; ts != "" {
		if _, ok := parseTimestamp(ts); !ok || !strings.Contains(ts, ".") {
			return nil, slackResponse{Error: "invalid_thread_ts", Metadata: &slackMetadata{
				Messages: []string{"[ERROR] " + ts + " is not a valid thread_ts"},
			}}
		}
		m.ThreadTS = ts
		if parent := conv.message(ts); parent != nil && parent.isReply() {
			m.ThreadTS = parent.ThreadTS
		}
		if req.boolArg("reply_broadcast") {
			m.Subtype = "thread_broadcast"
		}
	}
	return m, resp
}

// post gives m a timestamp and adds it to the conversation.
func (s *Slack) post(conv *conversation, m *slackMessage) {
	now := time.Now()
	s.lastPosted = max(s.lastPosted+1, now.UnixMicro())
	m.posted = s.lastPosted
	m.TS = formatTimestamp(m.posted)
	if m.ThreadTS != "" {
		if parent := conv.message(m.ThreadTS); parent != nil {
			parent.addReply(m)
			m.ParentUserID = parent.User
		}
	}
	conv.post(m, now)
}

// isReply reports whether m is a reply in a thread.
func (m *slackMessage) isReply() bool { return m.ThreadTS != "" && m.ThreadTS != m.TS }

// inHistory reports whether conversations.history returns m.
func (m *slackMessage) inHistory() bool { return !m.isReply() || m.Subtype == "thread_broadcast" }

// addReply updates the description of the thread of which m is the parent.
func (m *slackMessage) addReply(reply *slackMessage) {
	m.ThreadTS = m.TS
	if m.slackThread == nil {
		m.slackThread = new(slackThread)
	}
	m.ReplyCount++
	m.LatestReply = reply.TS
	if !slices.Contains(m.ReplyUsers, reply.User) {
		m.ReplyUsers = append(m.ReplyUsers, reply.User)
		m.ReplyUsersCount++
	}
}

// withoutPayload returns m as Slack returns it without include_all_metadata.
func (m *slackMessage) withoutPayload() *slackMessage {
	if m.Metadata == nil {
		return m
	}
	stripped := *m
	stripped.Metadata = &slackMessageMetadata{EventType: m.Metadata.EventType}
	return &stripped
}

// readBlocks returns the blocks argument, or nil if there are no blocks. It checks only
// what all types of blocks have in common, and the length of a section's text.
func readBlocks(text string) (blocks json.RawMessage, resp slackResponse) {
	if text == "" {
		return nil, slackResponse{}
	}
	var elements []json.RawMessage
	switch err := json.Unmarshal([]byte(text), &elements); {
	case err != nil:
		return nil, slackResponse{Error: "invalid_blocks_format"}
	case len(elements) == 0:
		return nil, slackResponse{}
	case len(text) > maxBlocksSize:
		return nil, slackResponse{Error: "msg_blocks_too_long"}
	case len(elements) > maxBlocks:
		return nil, invalidBlocksError(fmt.Sprintf("no more than %d items allowed [json-pointer:/blocks]", maxBlocks))
	}
	var problems []string
	for i, element := range elements {
		var block struct {
			Type string          `json:"type"`
			Text json.RawMessage `json:"text"` // an object only in some types
		}
		if json.Unmarshal(element, &block) != nil || block.Type == "" {
			problems = append(problems, fmt.Sprintf("missing required field: type [json-pointer:/blocks/%d]", i))
			continue
		}
		var section struct {
			Text string `json:"text"`
		}
		if block.Type == "section" && len(block.Text) > 0 && json.Unmarshal(block.Text, &section) == nil &&
			utf8.RuneCountInString(section.Text) > maxSectionTextLength {
			problems = append(problems, fmt.Sprintf("must be less than %d characters [json-pointer:/blocks/%d/text/text]", maxSectionTextLength+1, i))
		}
	}
	if problems != nil {
		return nil, invalidBlocksError(problems...)
	}
	return compactJSON(text), slackResponse{}
}

func invalidBlocksError(problems ...string) slackResponse {
	resp := slackResponse{Error: "invalid_blocks", Errors: problems, Metadata: new(slackMetadata)}
	for _, problem := range problems {
		resp.Metadata.Messages = append(resp.Metadata.Messages, "[ERROR] "+problem)
	}
	return resp
}

// readAttachments returns the attachments argument, or nil if there are no attachments.
func readAttachments(text string) (attachments json.RawMessage, code string) {
	if text == "" {
		return nil, ""
	}
	var elements []map[string]json.RawMessage
	switch err := json.Unmarshal([]byte(text), &elements); {
	case err != nil || slices.ContainsFunc(elements, func(e map[string]json.RawMessage) bool { return e == nil }):
		return nil, "invalid_attachments" // observed; the documentation has no code for it
	case len(elements) == 0:
		return nil, ""
	case len(elements) > maxAttachments:
		return nil, "too_many_attachments"
	case len(text) > maxAttachmentsSize:
		return nil, "attachment_payload_limit_exceeded"
	}
	return compactJSON(text), ""
}

// readMessageMetadata returns the metadata argument, or nil if there is none.
func readMessageMetadata(text string) (metadata *slackMessageMetadata, code string) {
	if text == "" {
		return nil, ""
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &fields); err != nil || fields == nil {
		return nil, "invalid_metadata_format"
	}
	metadata = new(slackMessageMetadata)
	err := json.Unmarshal([]byte(text), metadata)
	if err != nil || metadata.EventType == "" || !bytes.HasPrefix(metadata.EventPayload, []byte("{")) {
		return nil, "invalid_metadata_schema"
	}
	if len(mustMarshal(metadata)) > maxMetadataSize {
		return nil, "metadata_too_large"
	}
	return metadata, ""
}

// compactJSON removes insignificant space from valid JSON.
func compactJSON(text string) json.RawMessage {
	var compact bytes.Buffer
	_ = json.Compact(&compact, []byte(text)) // cannot fail: text is valid JSON
	return compact.Bytes()
}

// conversationsHistory returns a page of messages that are not replies, newest first.
func (s *Slack) conversationsHistory(req *slackRequest) slackResponse {
	id, ok := req.args["channel"]
	if !ok {
		return missingArgumentError("channel")
	}
	page, code := s.readPage(req, 100, 999)
	if code != "" {
		return slackResponse{Error: code}
	}
	conv, code := s.joinedConversation(req, id)
	if code != "" {
		return slackResponse{Error: code}
	}
	for _, m := range slices.Backward(conv.messages) {
		pastCursor := page.cursor != 0 && m.posted > page.cursor
		if m.inHistory() && !pastCursor && page.includes(m) && !page.add(m) {
			break
		}
	}
	return page.response()
}

// conversationsReplies returns a page of a thread, oldest first. It starts with the
// parent.
func (s *Slack) conversationsReplies(req *slackRequest) slackResponse {
	for _, name := range []string{"channel", "ts"} {
		if _, ok := req.args[name]; !ok {
			return missingArgumentError(name)
		}
	}
	page, code := s.readPage(req, 1000, 1000)
	if code != "" {
		return slackResponse{Error: code}
	}
	conv, code := s.joinedConversation(req, req.args["channel"])
	if code != "" {
		return slackResponse{Error: "channel_not_found"} // not_in_channel is not documented for this method
	}
	first := conv.message(req.args["ts"])
	if first == nil {
		return slackResponse{Error: "thread_not_found"}
	}
	if page.cursor == 0 {
		page.add(first)
	}
	for _, m := range conv.messages {
		isReply := m.isReply() && m.ThreadTS == first.TS
		if isReply && m.posted >= page.cursor && page.includes(m) && !page.add(m) {
			break
		}
	}
	return page.response()
}

// messagePage is a page of conversations.history or conversations.replies. Its
// timestamps are in microseconds.
type messagePage struct {
	oldest, latest int64 // inclusive
	cursor         int64 // timestamp of the first message of this page; 0 means the first page
	limit          int
	allMetadata    bool

	messages []*slackMessage
	next     int64 // cursor of the next page; 0 means that there is none
}

// readPage returns an empty page for the arguments of a request.
func (s *Slack) readPage(req *slackRequest, defaultLimit, maxLimit int) (page *messagePage, code string) {
	page = &messagePage{latest: 1<<63 - 1, messages: []*slackMessage{}, allMetadata: req.boolArg("include_all_metadata")}
	exclusive := int64(1)
	if req.boolArg("inclusive") {
		exclusive = 0
	}
	if text := req.args["oldest"]; text != "" {
		oldest, ok := parseTimestamp(text)
		if !ok {
			return nil, "invalid_ts_oldest"
		}
		page.oldest = oldest + exclusive
	}
	if text := req.args["latest"]; text != "" {
		latest, ok := parseTimestamp(text)
		if !ok {
			return nil, "invalid_ts_latest"
		}
		page.latest = latest - exclusive
	}
	var ok bool
	if page.limit, ok = req.limitArg(defaultLimit, maxLimit); !ok {
		return nil, "invalid_limit"
	}
	if s.historyPageSize > 0 {
		page.limit = min(page.limit, s.historyPageSize)
	}
	if text := req.args["cursor"]; text != "" {
		if page.cursor = decodeMessageCursor(text); page.cursor == 0 {
			return nil, "invalid_cursor"
		}
	}
	return page, ""
}

// includes reports whether m is between oldest and latest.
func (page *messagePage) includes(m *slackMessage) bool {
	return page.oldest <= m.posted && m.posted <= page.latest
}

// add adds m to the page. If the page is full, add sets the cursor and returns false.
func (page *messagePage) add(m *slackMessage) (added bool) {
	if len(page.messages) == page.limit {
		page.next = m.posted
		return false
	}
	if !page.allMetadata {
		m = m.withoutPayload()
	}
	page.messages = append(page.messages, m)
	return true
}

func (page *messagePage) response() slackResponse {
	resp := slackResponse{Messages: page.messages, HasMore: new(page.next != 0)}
	if page.next != 0 {
		resp.Metadata = &slackMetadata{NextCursor: new(encodeMessageCursor(page.next))}
	}
	return resp
}

// As on Slack, a cursor contains the timestamp of the first message on the next page.
const messageCursorPrefix = "next_ts:"

func encodeMessageCursor(posted int64) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s%d", messageCursorPrefix, posted))
}

// decodeMessageCursor returns the timestamp in a cursor, or 0 if the cursor is invalid.
func decodeMessageCursor(cursor string) int64 {
	text, err := base64.StdEncoding.DecodeString(cursor)
	number, ok := strings.CutPrefix(string(text), messageCursorPrefix)
	posted, parseErr := strconv.ParseInt(number, 10, 64)
	if err != nil || !ok || parseErr != nil || posted < 0 {
		return 0
	}
	return posted
}

// parseTimestamp parses a timestamp such as "1503435956.000247" or "0". The result is in
// microseconds.
func parseTimestamp(text string) (micros int64, ok bool) {
	const maxDigits, decimals = 12, 6
	seconds, fraction, _ := strings.Cut(text, ".")
	if seconds == "" || len(seconds) > maxDigits || len(fraction) > decimals {
		return 0, false
	}
	n, err := strconv.ParseUint(seconds+fraction+strings.Repeat("0", decimals-len(fraction)), 10, 63)
	return int64(n), err == nil
}

func formatTimestamp(micros int64) string {
	return fmt.Sprintf("%d.%06d", micros/1e6, micros%1e6)
}

// exported returns m as the Messages method returns it.
func (m *slackMessage) exported() Message {
	message := Message{User: m.User, Text: m.Text, ID: m.TS}
	if m.isReply() {
		message.ThreadID = m.ThreadTS
	}
	if m.Metadata != nil {
		message.Metadata = string(mustMarshal(m.Metadata))
	}
	return message
}

// appObjectID returns the ID of a bot user's bot ("B") or app ("A"). As on Slack, the
// prefix precedes at least eight capital letters and digits.
func appObjectID(prefix, userID string) string {
	const minLength = 8
	suffix := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' {
			return r
		}
		return -1
	}, strings.ToUpper(strings.TrimPrefix(userID, "U")))
	return prefix + strings.Repeat("0", max(0, minLength-len(suffix))) + suffix
}
