package chatdm

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
)

// Option sets one thing of a client. The options of this package serve the
// clients of both platforms; their order never matters, except that the last
// of two of the same kind wins. A nil Option is skipped. What an option is
// given is checked by the constructor, which returns an *[Error] of
// [KindInvalidRequest] that names the option.
type Option func(*engine.Config)

// WithBaseURL sets where the API lives, https://slack.com/api by default:
// https://slack-gov.com/api for GovSlack, the URL of a test server, or of a
// proxy. A trailing slash is of no matter. The URL has no user, query or
// fragment, and is https unless its host is loopback; see [WithInsecureHTTP].
func WithBaseURL(url string) Option {
	return func(c *engine.Config) { c.BaseURL = url }
}

// WithHTTPClient sends the requests with the Transport and the Jar of client,
// which is copied and never changed; its idle connections are never closed.
// No redirect is followed, whatever its CheckRedirect says. Its Timeout, where
// above zero, bounds one attempt, unless [WithTimeout] does. Nil means the
// default: a transport that all clients share and that keeps as many idle
// connections as there were calls at once.
func WithHTTPClient(client *http.Client) Option {
	return func(c *engine.Config) { c.HTTPClient = client }
}

// WithUserAgent sets the User-Agent of every request. Empty means the default,
// the name and version of this package.
func WithUserAgent(agent string) Option {
	return func(c *engine.Config) {
		if agent != "" {
			c.UserAgent = agent
		}
	}
}

// WithHeader sends a header with every request, Cookie for example. Several
// options add up; of two with the same name the last wins. Headers that the
// client sets itself (Authorization, Content-Type, …) are refused.
func WithHeader(name, value string) Option {
	return func(c *engine.Config) {
		if c.Header == nil {
			c.Header = make(http.Header)
		}
		c.Header.Set(name, value)
	}
}

// WithTimeout bounds one attempt from the first byte sent to the last byte
// read, 30 seconds by default. Zero means no bound, a negative value is
// refused. An attempt that is cut off is [KindUnavailable] and is repeated
// where the call may be; to bound a whole call, waits included, give it a
// context with a deadline.
func WithTimeout(d time.Duration) Option {
	return func(c *engine.Config) { c.Timeout = &d }
}

// RetryPolicy says how often a call is tried and how long it waits between
// the attempts. Zero fields keep their defaults; negative ones are refused.
type RetryPolicy struct {
	// MaxAttempts counts all requests of a call, the first one included: 4 by
	// default, 1 for no retries.
	MaxAttempts int
	// BaseWait and MaxWait bound the wait after attempt n, which is random
	// between half of and the whole of min(MaxWait, BaseWait·2ⁿ⁻¹), and never
	// less than the server asked for: 500 milliseconds and 10 seconds by default.
	BaseWait, MaxWait time.Duration
	// MaxRetryAfter is the longest wait that a server may ask for, one minute by
	// default. Where it asks for more, the call fails at once, with RetryAfter
	// set on its error.
	MaxRetryAfter time.Duration
}

// WithRetry sets the retry policy. What is retried is fixed: what never
// reached the server and what it refused for its rate, for every call; what
// may have had its effect, for those calls only that may be repeated without
// harm.
func WithRetry(policy RetryPolicy) Option {
	return func(c *engine.Config) { c.Retry = engine.RetryPolicy(policy) }
}

// WithLimiter asks a [Limiter] before every attempt and tells it of every
// refusal. Nil means none, which is the default.
func WithLimiter(l Limiter) Option {
	return func(c *engine.Config) {
		c.Limiter = nil
		if l != nil {
			c.Limiter = limiter{l}
		}
	}
}

// WithLogger writes one line for each call, at level Debug where it succeeded
// and Warn where it failed, and one at Info for each retry. A call has service,
// method, attempts, duration, and status and request_id or the group error; a
// retry has the attempt that failed, the wait, and error. The group is that of
// [Error.LogValue], with kind, code, status and request_id. A call of [IMService]
// that falls back has a line for either method. No line holds a credential, a
// parameter or an answer. Nil means no logging, which is the default.
func WithLogger(logger *slog.Logger) Option {
	return func(c *engine.Config) { c.Logger = logger }
}

// WithMaxResponseBytes bounds what is read of one answer, after
// decompression: 4 MiB by default, as a page of 1,000 channels can pass 1 MiB.
// A longer answer is [KindUnexpectedResponse]. Memory grows with the answer,
// not with the bound.
func WithMaxResponseBytes(n int64) Option {
	return func(c *engine.Config) { c.MaxResponseBytes = n }
}

// WithInsecureHTTP allows plain http to a host that is not loopback. The
// credentials and the answers are then open to everybody on the way.
func WithInsecureHTTP() Option {
	return func(c *engine.Config) { c.InsecureHTTP = true }
}

// WithStrictIM keeps [IMService] from calling the conversations.* twin of a
// method that Slack has retired: the call fails with [ErrMethodDeprecated], or
// whatever the server said. It is refused by clients other than Slack's.
func WithStrictIM() Option {
	return func(c *engine.Config) { c.StrictIM = true }
}
