package chatdmtest

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// The limits of a text in UTF-16 code units, before it is rewritten. Slack documents
// maxTextLength, but not the unit. It does not document that it splits a text into
// several messages; users have observed splits at about 4,000 characters.
const (
	maxTextLength = 40_000
	maxPartLength = 4_000
)

// splitText splits a text into the texts of several messages. It first discards what is
// beyond maxTextLength.
func splitText(text string) (parts []string, truncated bool) {
	text, rest := cutText(text, maxTextLength)
	for {
		part, tail := cutText(text, maxPartLength)
		parts = append(parts, part)
		if tail == "" {
			return parts, rest != ""
		}
		text = tail
	}
}

// cutText cuts a text after n UTF-16 code units, or before the character, escape, or
// control sequence that this would split.
func cutText(text string, n int) (head, tail string) {
	end := len(text)
	for i, r := range text {
		if n -= utf16.RuneLen(r); n < 0 {
			end = i
			break
		}
	}
	if end == len(text) {
		return text, ""
	}
	if i := strings.LastIndexAny(text[:end], "&<"); i > 0 && i+max(escapeLength(text[i:]), controlLength(text[i:])) > end {
		end = i
	}
	return text[:end], text[end:]
}

// rewriteText changes a text as Slack does before it stores a message:
//
//   - It escapes &, <, and >, unless they are part of an escape or a control sequence.
//   - It marks URLs, host names in a few top-level domains, and email addresses as links.
//   - It replaces a few Unicode emoji with their short names.
//
// Rewriting a rewritten text does not change it.
func rewriteText(text string) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	var rewritten strings.Builder
	boundary := true // a link can start here
	for text != "" {
		n, replacement := 0, ""
		switch text[0] {
		case '&':
			if n = escapeLength(text); n > 0 {
				replacement = text[:n]
			} else {
				n, replacement = 1, "&amp;"
			}
		case '<':
			if n = controlLength(text); n > 0 {
				replacement = escapeAmpersands(text[:n])
			} else {
				n, replacement = 1, "&lt;"
			}
		case '>':
			n, replacement = 1, "&gt;"
		default:
			if boundary {
				n, replacement = linkAt(text)
			}
			if n == 0 {
				n, replacement = emojiAt(text)
			}
		}
		boundary = true
		if n == 0 {
			var r rune
			r, n = utf8.DecodeRuneInString(text)
			replacement = text[:n]
			boundary = !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("._-+%@:/", r)
		}
		rewritten.WriteString(replacement)
		text = text[n:]
	}
	return rewritten.String()
}

// escapeLength returns the length of the escape with which text starts, or 0 if there
// is none.
func escapeLength(text string) int {
	for _, escape := range []string{"&amp;", "&lt;", "&gt;"} {
		if strings.HasPrefix(text, escape) {
			return len(escape)
		}
	}
	return 0
}

// controlSequence matches a mention such as <@U1>, <#C1|name>, or <!here>, or a link
// such as <https://example.com|label>.
var controlSequence = regexp.MustCompile(`^<(?:[@#!][^\s<>|]|https?://[^\s<>|]|mailto:[^\s<>|]|tel:[^\s<>|])[^<>\n]*>`)

// controlLength returns the length of the control sequence with which text starts, or 0
// if there is none.
func controlLength(text string) int {
	if !strings.HasPrefix(text, "<") {
		return 0
	}
	return len(controlSequence.FindString(text))
}

// escapeAmpersands escapes each & that is not part of an escape.
func escapeAmpersands(text string) string {
	var escaped strings.Builder
	for i := range len(text) {
		escaped.WriteByte(text[i])
		if text[i] == '&' && escapeLength(text[i:]) == 0 {
			escaped.WriteString("amp;")
		}
	}
	return escaped.String()
}

// linkAt returns the length of the URL, email address, or host name with which text
// starts, and the control sequence for it. The length is 0 if there is none.
func linkAt(text string) (n int, link string) {
	if url := urlAt(text); url != "" {
		return len(url), "<" + escapeAmpersands(url) + ">"
	}
	if address := emailAt(text); address != "" {
		return len(address), "<mailto:" + address + "|" + address + ">"
	}
	if host := hostAt(text); host != "" {
		escaped := escapeAmpersands(host)
		return len(host), "<http://" + escaped + "|" + escaped + ">"
	}
	return 0, ""
}

func urlAt(text string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if !strings.HasPrefix(text, scheme) {
			continue
		}
		if url := text[:urlLength(text)]; len(url) > len(scheme) {
			return url
		}
	}
	return ""
}

// urlLength returns the length of the URL or path with which text starts. It does not
// include punctuation at the end.
func urlLength(text string) int {
	end := strings.IndexFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`<>|"`, r) })
	if end < 0 {
		end = len(text)
	}
	for _, escape := range []string{"&lt;", "&gt;"} {
		if i := strings.Index(text[:end], escape); i >= 0 {
			end = i
		}
	}
	for end > 0 && strings.IndexByte(".,;:!?)'*_~`", text[end-1]) >= 0 && !strings.HasSuffix(text[:end], "&amp;") {
		end--
	}
	return end
}

var emailAddress = regexp.MustCompile(`^[A-Za-z0-9._%+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}`)

func emailAt(text string) string {
	address := emailAddress.FindString(text)
	if startsWithNameCharacter(text[len(address):]) {
		return ""
	}
	return address
}

// topLevelDomains are the domains in which a host name without a scheme becomes a link.
var topLevelDomains = map[string]bool{
	"app": true, "co": true, "com": true, "de": true, "dev": true, "edu": true, "gov": true,
	"io": true, "net": true, "org": true, "uk": true,
}

// hostAt returns the host name with which text starts, with its port and path.
func hostAt(text string) string {
	isHostCharacter := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-'
	}
	end := strings.IndexFunc(text, func(r rune) bool { return !isHostCharacter(r) })
	if end < 0 {
		end = len(text)
	}
	end = len(strings.TrimRight(text[:end], "."))
	labels := strings.Split(text[:end], ".")
	if len(labels) < 2 || !topLevelDomains[strings.ToLower(labels[len(labels)-1])] || startsWithNameCharacter(text[end:]) {
		return ""
	}
	for _, label := range labels {
		if label == "" || label[0] == '-' {
			return ""
		}
	}
	end += len(port.FindString(text[end:]))
	if strings.HasPrefix(text[end:], "/") {
		end += urlLength(text[end:])
	}
	return text[:end]
}

var port = regexp.MustCompile(`^:[0-9]{1,5}\b`)

// startsWithNameCharacter reports whether text starts with a character that would
// belong to the host name or the email address before it.
func startsWithNameCharacter(text string) bool {
	r, n := utf8.DecodeRuneInString(text)
	return n > 0 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-@%+", r))
}

// shortNames maps emoji to their short names. Slack knows all emoji of Unicode.
var shortNames = map[rune]string{
	'☕': "coffee", '⚠': "warning", '✅': "white_check_mark", '✨': "sparkles", '❌': "x", '❤': "heart",
	'🎂': "birthday", '🎉': "tada", '🐛': "bug", '👀': "eyes", '👋': "wave", '👍': "+1", '👎': "-1",
	'👏': "clap", '💯': "100", '🔥': "fire", '😀': "grinning", '😂': "joy", '😄': "smile", '😢': "cry",
	'🙂': "slightly_smiling_face", '🙏': "pray", '🚀': "rocket",
}

const (
	emojiStyle    = '\uFE0F' // variation selector: show the character before it as an emoji
	firstSkinTone = '\U0001F3FB'
	lastSkinTone  = '\U0001F3FF'
)

// emojiAt returns the length of the emoji with which text starts, and its short name.
// The length is 0 if there is none.
func emojiAt(text string) (n int, shortName string) {
	r, n := utf8.DecodeRuneInString(text)
	name := shortNames[r]
	if name == "" {
		return 0, ""
	}
	shortName = ":" + name + ":"
	switch r, size := utf8.DecodeRuneInString(text[n:]); {
	case r == emojiStyle:
		n += size
	case firstSkinTone <= r && r <= lastSkinTone:
		n += size
		shortName += ":skin-tone-" + string('2'+r-firstSkinTone) + ":"
	}
	return n, shortName
}
