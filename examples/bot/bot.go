package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
)

const (
	maxBody = 64 << 10 // a command has about one kilobyte
	// A request passes the signature's check for five minutes, ten where the
	// clocks differ: as many commands as may come in that time are remembered.
	maxSeen = 10_000
	// An outcome is posted in this time, in three tries; Slack takes five, within
	// 30 minutes.
	postTime  = 10 * time.Second
	postTries = 3

	accepted = "One moment…" // is answered at once
)

// settings are what a bot is made of. The numbers have defaults.
type settings struct {
	token, secret, apiURL, hooksURL string

	workers, queue int
	timeout        time.Duration // of the work on one command
	grace          time.Duration // for what was accepted when the bot is to stop
	retry          chatdm.RetryPolicy
}

// bot answers slash commands at once, and works on them afterwards.
type bot struct {
	set     settings
	client  *chatdm.Client
	hooks   *url.URL
	poster  *http.Client
	log     *slog.Logger
	metrics *metrics

	queue              chan command
	workers            sync.WaitGroup
	calls, posts       context.Context // of the work on all commands: they end some time after the bot is to stop
	endCalls, endPosts context.CancelFunc

	mu       sync.Mutex
	stopping bool
	seen     map[string]bool // the trigger ids of accepted commands
	order    []string        // the same, as a ring
	count    int             // of them, since the start
}

// command is a slash command, and what it asks for.
type command struct {
	slack.SlashCommand
	close bool
	users []string // to open a conversation with
	text  string   // to say there
}

func newBot(set settings, log *slog.Logger) (*bot, error) {
	set.workers, set.queue = cmp.Or(set.workers, 4), cmp.Or(set.queue, 100)
	set.timeout, set.grace = cmp.Or(set.timeout, 30*time.Second), cmp.Or(set.grace, 10*time.Second)
	b := &bot{set: set, log: log, queue: make(chan command, set.queue), seen: make(map[string]bool), order: make([]string, maxSeen)}
	b.metrics = newMetrics(func() float64 { return float64(len(b.queue)) })
	b.calls, b.endCalls = context.WithCancel(context.Background())
	b.posts, b.endPosts = context.WithCancel(context.Background())
	b.poster = &http.Client{
		Transport: http.DefaultTransport.(*http.Transport).Clone(), Timeout: postTime / 2,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var err error
	if b.hooks, err = url.Parse(set.hooksURL); err != nil || b.hooks.Host == "" {
		return nil, errors.New("SLACK_HOOKS_URL: not the URL of a host")
	}
	b.client, err = chatdm.NewClient(set.token, chatdm.WithBaseURL(set.apiURL), chatdm.WithLogger(log), chatdm.WithRetry(set.retry),
		chatdm.WithLimiter(chatdm.NewTierLimiter()), chatdm.WithTimeout(10*time.Second))
	return b, err
}

func (b *bot) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /slack/commands", b.serveCommand)
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

// serveCommand answers within Slack's three seconds, because it waits for
// nothing: the text that it sends is for the eyes of the user who typed.
func (b *bot) serveCommand(w http.ResponseWriter, r *http.Request) {
	c, status, err := b.read(w, r)
	if err != nil {
		b.metrics.commands.WithLabelValues("refused").Inc()
		b.log.Warn("request refused", "status", status, "reason", fmt.Sprintf("%.100v", err))
		http.Error(w, http.StatusText(status), status)
		return
	}
	if text := b.accept(c); text != "" { // to an empty answer, Slack shows nothing
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(map[string]string{"response_type": slack.ResponseTypeEphemeral, "text": text})
	}
}

// read returns the command in a request that Slack has signed, and what HTTP
// status an error has.
func (b *bot) read(w http.ResponseWriter, r *http.Request) (c command, status int, err error) {
	verifier, err := slack.NewSecretsVerifier(r.Header, b.set.secret)
	if err != nil {
		return c, http.StatusUnauthorized, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return c, http.StatusRequestEntityTooLarge, err
	} else if err != nil {
		return c, http.StatusBadRequest, err
	}
	_, _ = verifier.Write(body) // to a hash
	if err := verifier.Ensure(); err != nil {
		return c, http.StatusUnauthorized, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if c.SlashCommand, err = slack.SlashCommandParse(r); err != nil {
		return c, http.StatusBadRequest, err
	}
	// The parser takes any body, and then finds nothing in it: what else Slack
	// sends to an app has the same signature. And who learns of the secret must
	// not have the bot post to any host.
	to, err := url.Parse(c.ResponseURL)
	switch {
	case c.Command == "" || c.UserID == "" || c.TriggerID == "":
		return c, http.StatusBadRequest, errors.New("not the form of a slash command")
	case err != nil || to.Scheme != b.hooks.Scheme || to.Host != b.hooks.Host || to.User != nil:
		return c, http.StatusBadRequest, errors.New("the response_url is not Slack's")
	}
	c.parse()
	return c, http.StatusOK, nil
}

// mention is how Slack escapes @alice: <@U012AB3CD>, or <@U012AB3CD|alice>.
var mention = regexp.MustCompile(`^<@([UW][A-Z0-9]+)(?:\|[^<>]*)?>[\s\pZ,]*`)

func (c *command) parse() {
	text := strings.TrimSpace(c.Text)
	for m := mention.FindStringSubmatch(text); m != nil; m = mention.FindStringSubmatch(text) {
		if !slices.Contains(c.users, m[1]) {
			c.users = append(c.users, m[1])
		}
		text = text[len(m[0]):]
	}
	c.close = c.users == nil && strings.EqualFold(text, "close")
	c.text = strings.ReplaceAll(text, "<!", "&lt;!") // nobody has the bot call @channel
}

// accept queues a command, unless it was accepted before, and returns what to
// tell the user at once.
func (b *bot) accept(c command) string {
	if !c.close && c.users == nil {
		b.metrics.commands.WithLabelValues("help").Inc()
		return help(c)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[c.TriggerID] {
		b.metrics.commands.WithLabelValues("duplicate").Inc()
		return "" // the first one is being answered, or was
	}
	if b.stopping {
		b.metrics.commands.WithLabelValues("stopping").Inc()
		return "I am being restarted. Please try again in a minute."
	}
	select {
	case b.queue <- c:
	default: // not remembered, so that the same command may come again
		b.metrics.commands.WithLabelValues("busy").Inc()
		return "I have too much to do at the moment. Please try again in a minute."
	}
	oldest := &b.order[b.count%maxSeen]
	delete(b.seen, *oldest)
	b.seen[c.TriggerID], *oldest = true, c.TriggerID
	b.count++
	return accepted
}

func help(c command) string {
	text := "`" + c.Command + " @alice [text]` opens a direct message between me and Alice, and says hello there, or the text.\n" +
		"`" + c.Command + " @alice @bob [text]` does it with a group, of up to eight people.\n" +
		"`" + c.Command + " close` closes, for me, the direct message or group message in which you type it, if I am in it."
	if strings.HasPrefix(c.text, "@") {
		text += "\nI cannot tell who that is. Whoever set me up finds the option \"Escape channels, users, and links\" in Slack's settings of the command."
	}
	return text
}

// start lets the workers begin, and finish lets them end: when they have done
// all that was accepted, or some time after the grace.
func (b *bot) start() {
	for range b.set.workers {
		b.workers.Go(func() {
			for c := range b.queue {
				b.metrics.working.Inc()
				b.work(c)
				b.metrics.working.Dec()
			}
		})
	}
}

func (b *bot) finish() {
	b.mu.Lock()
	b.stopping = true
	close(b.queue)
	b.mu.Unlock()
	defer time.AfterFunc(b.set.grace, b.endCalls).Stop()
	defer time.AfterFunc(b.set.grace+postTime, b.endPosts).Stop()
	b.workers.Wait()
	b.endCalls()
	b.endPosts()
	b.poster.CloseIdleConnections()
}

// work does what a command asks for, and posts the outcome.
func (b *bot) work(c command) {
	ctx, cancel := context.WithTimeout(b.calls, b.set.timeout)
	defer cancel()
	start := time.Now()
	do := b.open
	if c.close {
		do = b.close
	}
	did, text, err := do(ctx, c)
	log, level := b.log, slog.LevelInfo
	if err != nil {
		meaning, severity := sentence(err)
		did, text, level = outcome(err), text+meaning, severity
		log = log.With("error", err) // with its code, its request id, and the scopes that it needed
	}
	b.metrics.commands.WithLabelValues(did).Inc()
	// What people write to each other is no matter for a log.
	log.Log(ctx, level, "command", "team", c.TeamID, "user", c.UserID, "channel", c.ChannelID, "close", c.close,
		"people", len(c.users), "outcome", did, "took", time.Since(start))
	b.post(c.ResponseURL, text)
}

// open opens the conversation and posts the greeting. Whatever it returns with
// an error precedes the sentence about that.
func (b *bot) open(ctx context.Context, c command) (did, text string, err error) {
	start := time.Now()
	opened, err := b.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: c.users})
	if err != nil {
		b.metrics.failed(start, err)
		return "", "", err
	}
	b.metrics.succeeded(start, opened.Meta)

	greeting := "Hello. <@" + c.UserID + "> asked me to open this conversation."
	if c.text != "" {
		greeting = "<@" + c.UserID + "> asked me to say: " + c.text
	}
	start = time.Now()
	meta, err := b.client.Call(ctx, "chat.postMessage", url.Values{"channel": {opened.Channel.ID}, "text": {greeting}}, nil)
	if err != nil {
		b.metrics.failed(start, err)
		return "", "The conversation is open, but something went wrong with the greeting. ", err
	}
	b.metrics.succeeded(start, *meta)
	with := "<@" + strings.Join(c.users, ">, <@") + ">"
	// After a lost answer, it may be this very call that opened it.
	if opened.AlreadyOpen && opened.Meta.LostAnswers == 0 {
		return "already_open", "The conversation with " + with + " was open already. I posted the greeting.", nil
	}
	return "opened", "The conversation with " + with + " is open. I posted the greeting.", nil
}

// close closes the conversation that the command was typed in. It stays open
// for its other members: each closes it for themselves.
func (b *bot) close(ctx context.Context, c command) (did, text string, err error) {
	start := time.Now()
	closed, err := b.client.Conversations.Close(ctx, c.ChannelID)
	if err != nil {
		b.metrics.failed(start, err)
		return "", "", err
	}
	b.metrics.succeeded(start, closed.Meta)
	if closed.AlreadyClosed && closed.Meta.LostAnswers == 0 {
		return "already_closed", "This conversation was closed already.", nil
	}
	return "closed", "This conversation is closed for me, until the next message in it.", nil
}

// sentence says to the user what an error means, and how much it matters to
// who runs the bot. An effect that nobody knows of, and what is about the
// people or the conversation, comes before the kinds.
func sentence(err error) (text string, level slog.Level) {
	level = slog.LevelWarn
	e, _ := errors.AsType[*chatdm.Error](err)
	switch {
	case errors.Is(err, chatdm.ErrEffectUnknown):
		text = "Slack's answer was lost, so it may or may not be there. Please look before you ask again."
	case errors.Is(err, chatdm.ErrUserNotFound):
		text = "Slack knows no such person here."
	case errors.Is(err, chatdm.ErrUserDisabled):
		text = "An account among these is deactivated."
	case errors.Is(err, chatdm.ErrUserNotVisible):
		text = "I may not see everybody among these people."
	case errors.Is(err, chatdm.ErrCannotDMBot):
		text = "Slack does not let me write to other bots."
	case errors.Is(err, chatdm.ErrInvalidUserCombination):
		text = "People of other organizations must share a channel with each other first."
	case errors.Is(err, chatdm.ErrChannelNotFound), errors.Is(err, chatdm.ErrUserDoesNotOwnChannel):
		text = "I am not in this conversation, so I cannot close it."
	case errors.Is(err, chatdm.ErrMethodNotSupportedForChannelType):
		text = "This is a channel. I can close direct messages and group messages only."
	case errors.Is(err, chatdm.KindRateLimited):
		wait := cmp.Or(e.RetryAfter, time.Minute) + time.Second - 1
		text = fmt.Sprintf("Slack wants me to slow down. Please try again in %d seconds.", wait/time.Second)
	case errors.Is(err, chatdm.KindUnavailable):
		text = "Slack does not answer me properly. Please try again in a few minutes."
	case errors.Is(err, chatdm.KindCanceled):
		text = "I ran out of time. Please try again."
	case errors.Is(err, chatdm.KindInvalidRequest) && e.Err != nil: // the client's own word, before anything was sent
		text = "That will not do: " + e.Err.Error() + "."
	case errors.Is(err, chatdm.KindUnauthenticated), errors.Is(err, chatdm.KindPermissionDenied):
		text, level = "Slack does not let me do that. Whoever runs me finds the reason in my log.", slog.LevelError
	default:
		text, level = "Something went wrong that I was not made for. Whoever runs me finds it in my log.", slog.LevelError
	}
	return text, level
}

// post sends the outcome to a response_url. A try whose answer is lost is
// repeated: to read it twice is better than not at all. The context is not that
// of the calls, as the user is to hear that these were ended, too.
func (b *bot) post(to, text string) {
	ctx, cancel := context.WithTimeout(b.posts, postTime)
	defer cancel()
	message := &slack.WebhookMessage{Text: text, ResponseType: slack.ResponseTypeEphemeral}
	err := slack.PostWebhookCustomHTTPContext(ctx, to, b.poster, message)
	for try := 1; try < postTries && err != nil; try++ {
		if status, ok := errors.AsType[slack.StatusCodeError](err); ok && !status.Retryable() {
			break
		}
		select {
		case <-time.After(time.Second):
			err = slack.PostWebhookCustomHTTPContext(ctx, to, b.poster, message)
		case <-ctx.Done():
		}
	}
	if err == nil {
		b.metrics.replies.WithLabelValues("ok").Inc()
		return
	}
	// Who has the URL can post with it, and it is in the text of a url.Error.
	if hidden, ok := errors.AsType[*url.Error](err); ok {
		err = hidden.Err
	}
	b.metrics.replies.WithLabelValues("failed").Inc()
	b.log.Error("the outcome did not reach the user", "reason", err.Error())
}
