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
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/slack-go/slack"

	"github.com/chatdm/chatdm"
)

const (
	maxBody  = 64 << 10 // a command has about one kilobyte
	maxUsers = 8        // of a group message, besides the bot
	// maxSeen must exceed the number of commands that arrive while a signature is
	// valid: five minutes, or ten if the clocks differ.
	maxSeen = 10_000
	// The bot tries to post an outcome for at most postTimeout. Slack accepts five
	// posts to a response_url within 30 minutes.
	postTimeout  = 10 * time.Second
	postAttempts = 3
	// When the bot stops, it exports the rest of its telemetry for at most exportTimeout.
	exportTimeout = 5 * time.Second

	accepted = "One moment…" // the immediate response to a command
)

// settings configure a bot. The zero value of a number means its default.
type settings struct {
	credentials
	secret, apiURL, hooksURL string

	workers, queue int           // for each of the two kinds of commands
	timeout        time.Duration // for one command
	settle         time.Duration // see chatdm.WithSettleTime
	grace          time.Duration // for accepted commands when the bot stops
	retry          chatdm.RetryPolicy
	otlp           bool // whether to export to a collector
}

// bot responds to slash commands immediately, and runs them afterwards.
type bot struct {
	set       settings
	client    *chatdm.Client
	hooks     *url.URL
	poster    *http.Client
	log       *slog.Logger
	metrics   *metrics
	telemetry *telemetry

	rejected atomic.Bool // whether Slack rejects the credential
	// Opening and closing have separate rate limits. With one queue, commands that wait
	// for one limit would delay the others.
	opens, closes      chan command
	workers            sync.WaitGroup
	calls, posts       context.Context // for all calls and all posts; they end after the grace period
	endCalls, endPosts context.CancelFunc

	mu       sync.Mutex
	stopping bool
	seen     map[string]bool // the trigger IDs of accepted commands
	order    []string        // the same IDs in a ring buffer, to find the oldest
	count    int             // of accepted commands since the start
}

// command is a parsed slash command.
type command struct {
	slack.SlashCommand
	close bool
	users []string // the members of the conversation to open
	text  string   // of the message to post there
}

func newBot(ctx context.Context, set settings, log *slog.Logger) (*bot, error) {
	set.workers, set.queue = cmp.Or(set.workers, 4), cmp.Or(set.queue, 100)
	set.timeout, set.grace = cmp.Or(set.timeout, 30*time.Second), cmp.Or(set.grace, 10*time.Second)
	b := &bot{set: set, log: log, opens: make(chan command, set.queue), closes: make(chan command, set.queue), seen: make(map[string]bool), order: make([]string, maxSeen)}
	b.metrics = newMetrics(func() float64 { return float64(b.queued()) }, b.rejected.Load)
	b.calls, b.endCalls = context.WithCancel(context.Background())
	b.posts, b.endPosts = context.WithCancel(context.Background())
	b.poster = &http.Client{
		Transport: http.DefaultTransport.(*http.Transport).Clone(), Timeout: postTimeout / 2,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var err error
	if b.hooks, err = url.Parse(set.hooksURL); err != nil || b.hooks.Host == "" {
		return nil, errors.New("SLACK_HOOKS_URL: must be a URL with a host")
	}
	if b.telemetry, err = newTelemetry(b.calls, b.metrics.Registry, set.otlp, log); err != nil {
		return nil, err
	}
	b.client, err = set.newClient(ctx, chatdm.WithBaseURL(set.apiURL), chatdm.WithLogger(log), chatdm.WithRetry(set.retry),
		chatdm.WithLimiter(chatdm.NewTierLimiter()), chatdm.WithTimeout(10*time.Second), chatdm.WithSettleTime(cmp.Or(set.settle, 90*time.Second)),
		chatdm.WithObserver(b.telemetry.observer))
	return b, err
}

func (b *bot) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /slack/commands", b.serveCommand)
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", b.serveHealth)
	return mux
}

// serveCommand responds to a slash command. It never waits for a call, because Slack
// expects a response within three seconds. Only the user who typed the command sees
// the response.
func (b *bot) serveCommand(w http.ResponseWriter, r *http.Request) {
	c, status, err := b.read(w, r)
	if err != nil {
		b.metrics.commands.WithLabelValues("rejected").Inc()
		b.log.Warn("request rejected", "status", status, "reason", fmt.Sprintf("%.100v", err))
		http.Error(w, http.StatusText(status), status)
		return
	}
	if text := b.accept(c); text != "" { // Slack shows nothing for an empty response
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(map[string]string{"response_type": slack.ResponseTypeEphemeral, "text": text})
	}
}

// read verifies the signature of a request and returns its command, or an HTTP
// status and an error.
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
	_, _ = verifier.Write(body) // never fails
	if err := verifier.Ensure(); err != nil {
		return c, http.StatusUnauthorized, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if c.SlashCommand, err = slack.SlashCommandParse(r); err != nil {
		return c, http.StatusBadRequest, err
	}
	// The parser accepts any body, and Slack signs other requests too. If the secret
	// leaks, the bot still must not post to any host but Slack's.
	to, err := url.Parse(c.ResponseURL)
	switch {
	case c.Command == "" || c.UserID == "" || c.TriggerID == "":
		return c, http.StatusBadRequest, errors.New("not a slash command")
	case err != nil || to.Scheme != b.hooks.Scheme || to.Host != b.hooks.Host || to.User != nil:
		return c, http.StatusBadRequest, errors.New("the response_url is not a URL of SLACK_HOOKS_URL")
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
	c.text = strings.ReplaceAll(text, "<!", "&lt;!") // so that the bot never notifies @channel
}

// accept queues a command and returns the immediate response. It ignores a command
// that was accepted before.
func (b *bot) accept(c command) string {
	if !c.close && c.users == nil {
		b.metrics.commands.WithLabelValues("help").Inc()
		return help(c)
	}
	if len(c.users) > maxUsers {
		b.metrics.commands.WithLabelValues("too_many_people").Inc()
		return fmt.Sprintf("You named %d people, but a group message can have at most %d besides me.", len(c.users), maxUsers)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen[c.TriggerID] {
		b.metrics.commands.WithLabelValues("duplicate").Inc()
		return "" // the first delivery gets the outcome
	}
	if b.stopping {
		b.metrics.commands.WithLabelValues("stopping").Inc()
		return "I am restarting. Please try again in a minute."
	}
	queue := b.opens
	if c.close {
		queue = b.closes
	}
	select {
	case queue <- c:
	default: // not remembered, so a second delivery is accepted
		b.metrics.commands.WithLabelValues("busy").Inc()
		return "I am too busy right now. Please try again in a minute."
	}
	oldest := &b.order[b.count%maxSeen]
	delete(b.seen, *oldest)
	b.seen[c.TriggerID], *oldest = true, c.TriggerID
	b.count++
	return accepted
}

func help(c command) string {
	text := "`" + c.Command + " @alice [text]` opens a direct message between me and Alice, and posts the text or a greeting there.\n" +
		"`" + c.Command + " @alice @bob [text]` does the same for a group message with up to eight people.\n" +
		"`" + c.Command + " close` closes the direct message or group message in which you type it, for me, if I am a member."
	if strings.HasPrefix(c.text, "@") {
		text += "\nI cannot tell who that is. My operator must enable \"Escape channels, users, and links\" for this command in the settings of the app."
	}
	return text
}

// start starts the workers.
func (b *bot) start() {
	for _, queue := range []chan command{b.opens, b.closes} {
		for range b.set.workers {
			b.workers.Go(func() {
				for c := range queue {
					b.metrics.working.Inc()
					b.handle(c)
					b.metrics.working.Dec()
				}
			})
		}
	}
}

// queued returns the number of commands that wait for a worker.
func (b *bot) queued() int { return len(b.opens) + len(b.closes) }

// finish waits until the workers have run all accepted commands. After the grace
// period, it cancels their calls.
func (b *bot) finish() {
	b.mu.Lock()
	b.stopping = true
	close(b.opens)
	close(b.closes)
	b.mu.Unlock()
	defer time.AfterFunc(b.set.grace, b.endCalls).Stop()
	defer time.AfterFunc(b.set.grace+postTimeout, b.endPosts).Stop()
	b.workers.Wait()
	b.endCalls()
	b.endPosts()
	b.poster.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), exportTimeout)
	defer cancel()
	if err := b.telemetry.shutdown(ctx); err != nil {
		b.log.Warn("telemetry", "error", err)
	}
}

// handle runs a command and posts its outcome.
func (b *bot) handle(c command) {
	ctx, cancel := context.WithTimeout(b.calls, b.set.timeout)
	defer cancel()
	ctx, span := b.telemetry.tracer.Start(ctx, "command") // the parent of the spans of calls
	defer span.End()
	start := time.Now()
	run := b.open
	if c.close {
		run = b.close
	}
	result, text, err := run(ctx, c)
	b.checkCredential(err)
	log, level := b.log, slog.LevelInfo
	if err != nil {
		var reason string
		reason, level = explain(err, c.close)
		result, text = outcome(err), text+reason
		log = log.With("error", err) // logs its code, request ID, and needed scopes
	}
	b.metrics.commands.WithLabelValues(result).Inc()
	// The log does not contain the text of the message.
	log.Log(ctx, level, "command", "team", c.TeamID, "user", c.UserID, "channel", c.ChannelID, "close", c.close,
		"people", len(c.users), "outcome", result, "took", time.Since(start))
	b.post(c.ResponseURL, text)
}

// open opens the conversation and posts the greeting. With an error, text is the
// start of the outcome, and explain returns the rest.
func (b *bot) open(ctx context.Context, c command) (result, text string, err error) {
	opened, err := b.client.Conversations.Open(ctx, chatdm.ConversationsOpenParams{Users: c.users})
	if err != nil {
		return "", "", err
	}
	greeting := "Hello. <@" + c.UserID + "> asked me to open this conversation."
	if c.text != "" {
		greeting = "<@" + c.UserID + "> asked me to say: " + c.text
	}
	// With a key, the client finds out what happened if the response is lost.
	params := chatdm.ChatPostMessageParams{Channel: opened.Channel.ID, Text: greeting, Key: c.TriggerID}
	if _, err := b.client.Chat.PostMessage(ctx, params); err != nil {
		return "", "The conversation is open, but there was a problem with the greeting. ", err
	}
	conversation := "The conversation with <@" + strings.Join(c.users, ">, <@") + ">"
	// If a response was lost, this call itself may have opened the conversation.
	if opened.AlreadyOpen && opened.Meta.LostAnswers == 0 {
		return "already_open", conversation + " was already open. I posted the greeting.", nil
	}
	return "opened", conversation + " is open. I posted the greeting.", nil
}

// close closes the conversation in which the command was typed, but only for the
// bot: each member closes it for themselves.
func (b *bot) close(ctx context.Context, c command) (result, text string, err error) {
	closed, err := b.client.Conversations.Close(ctx, c.ChannelID)
	if err != nil {
		return "", "", err
	}
	if closed.AlreadyClosed && closed.Meta.LostAnswers == 0 {
		return "already_closed", "This conversation was already closed.", nil
	}
	return "closed", "I closed this conversation on my side. The next message opens it again.", nil
}

// explain returns what a failed call means for the user, and the log level for the
// operator. It decides by the kind of the error alone; the log has the code.
func explain(err error, closing bool) (text string, level slog.Level) {
	switch {
	case errors.Is(err, chatdm.ErrEffectUnknown): // check what happened
		return "Slack's response was lost, so please check what happened before you ask again.", slog.LevelWarn
	case errors.Is(err, chatdm.KindNotFound), errors.Is(err, chatdm.KindUnreachable): // drop the target
		if closing {
			return "I can close only direct messages and group messages that I am in.", slog.LevelWarn
		}
		return "I cannot message everyone you named: an account may be unknown, deactivated, hidden from me, or a bot.", slog.LevelWarn
	case errors.Is(err, chatdm.KindInvalidRequest): // only the text is the user's own
		return "I cannot post this text. Slack allows at most 4,000 characters.", slog.LevelWarn
	case errors.Is(err, chatdm.KindRateLimited): // try again later
		e, _ := errors.AsType[*chatdm.Error](err)
		wait := cmp.Or(e.RetryAfter, time.Minute) // Slack may not say
		seconds := (wait + time.Second - 1) / time.Second
		return fmt.Sprintf("Slack wants me to slow down. Please try again in %d seconds.", seconds), slog.LevelWarn
	case errors.Is(err, chatdm.KindUnavailable):
		return "Slack is not working properly. Please try again in a few minutes.", slog.LevelWarn
	case errors.Is(err, chatdm.KindCanceled): // the bot's own context ended
		return "I ran out of time. Please try again.", slog.LevelWarn
	case errors.Is(err, chatdm.KindUnauthenticated): // checkCredential alerts the operator, once
		return "Slack does not allow me to do that. My operator can find the reason in my log.", slog.LevelWarn
	case errors.Is(err, chatdm.KindPermissionDenied): // alert the operator
		return "Slack does not allow me to do that. My operator can find the reason in my log.", slog.LevelError
	default: // a bug
		return "Something went wrong that I did not expect. My operator can find it in my log.", slog.LevelError
	}
}

// post posts the outcome to a response_url. It retries even if the response is
// lost, because reading the outcome twice is better than never. It has its own
// context, so that users also learn that their calls were canceled.
func (b *bot) post(to, text string) {
	ctx, cancel := context.WithTimeout(b.posts, postTimeout)
	defer cancel()
	message := &slack.WebhookMessage{Text: text, ResponseType: slack.ResponseTypeEphemeral}
	err := slack.PostWebhookCustomHTTPContext(ctx, to, b.poster, message)
	for attempt := 1; attempt < postAttempts && err != nil; attempt++ {
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
	// The URL is a secret, because anyone can post with it. Keep it out of the log.
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		err = urlErr.Err
	}
	b.metrics.replies.WithLabelValues("failed").Inc()
	b.log.Error("outcome not delivered", "reason", err.Error())
}
