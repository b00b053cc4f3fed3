package chatdm

import (
	"cmp"
	"log/slog"
	"net/http"
	"time"

	"github.com/chatdm/chatdm/internal/engine"
)

// Option configures a client of either platform. The order of options does not
// matter, but if an option is repeated, the last one wins. A nil Option is
// ignored. If a value is invalid, the constructor returns an *[Error] of
// [KindInvalidRequest] that names the option.
type Option func(*engine.Config)

// WithBaseURL sets the URL of the API. The default is https://slack.com/api. Use
// https://slack-gov.com/api for GovSlack, or the URL of a fake server or a proxy.
// A trailing slash is ignored. The URL must not have a user, a query, or a
// fragment, and it must use https unless the host is loopback; see
// [WithInsecureHTTP]. On Rocket.Chat, the URL is an argument of the constructor.
func WithBaseURL(url string) Option {
	return func(c *engine.Config) { c.BaseURL = url }
}

// WithHTTPClient sets the http.Client that provides the Transport and the Jar. It is not
// modified. If its Timeout is positive, it replaces the default of [WithTimeout]. If client or
// its Transport is nil, requests use a shared transport with no limit on idle connections.
func WithHTTPClient(client *http.Client) Option {
	return func(c *engine.Config) { c.HTTPClient = client }
}

// WithTokenSource sets where the client gets its token, for example a [Rotator]. The token
// argument of [NewClient] must then be empty. If the server rejects a token as expired or
// revoked and source is a [TokenRefresher], the client refreshes the token and retries the
// call, once per call and even if the call is not idempotent, because the server checks the
// token before it does anything. If source is nil, the option has no effect. Package
// rocketchat has WithCredentialSource instead.
func WithTokenSource(source TokenSource) Option {
	return func(c *engine.Config) {
		switch refresher, ok := source.(TokenRefresher); {
		case source == nil:
			c.Source = nil
		case ok:
			c.Source = &tokenRefresher{&tokenSource{source: source}, refresher}
		default:
			c.Source = &tokenSource{source: source}
		}
	}
}

// WithUserAgent sets the User-Agent header. The default is the name, version, and URL
// of this package. An empty agent has no effect.
func WithUserAgent(agent string) Option {
	return func(c *engine.Config) { c.UserAgent = cmp.Or(agent, c.UserAgent) }
}

// WithHeader adds a header, for example Cookie, to every request. If a name is
// repeated, the last value wins. Headers that the client sets itself, such as
// Authorization, are invalid.
func WithHeader(name, value string) Option {
	return func(c *engine.Config) {
		if c.Header == nil {
			c.Header = make(http.Header)
		}
		c.Header.Set(name, value)
	}
}

// WithTimeout sets the timeout of one attempt, which includes reading the response.
// The default is 30 seconds, and 0 means no limit. A timeout is handled like a lost
// connection. To limit a whole call, use a context with a deadline.
func WithTimeout(d time.Duration) Option {
	return func(c *engine.Config) { c.Timeout = &d }
}

// RetryPolicy sets the number of attempts and the waits between them. If a
// field is 0, its default applies. Negative values are invalid.
type RetryPolicy struct {
	// MaxAttempts includes the first attempt. The default is 4; 1 turns off retries.
	MaxAttempts int
	// BaseWait and MaxWait determine the wait after attempt n: a random time between
	// 50% and 100% of min(MaxWait, BaseWait·2ⁿ⁻¹), but at least what the server
	// requested. The defaults are 500 milliseconds and 10 seconds.
	BaseWait, MaxWait time.Duration
	// MaxRetryAfter is the longest wait that the client accepts from a server. If the
	// server requests more, the call fails immediately. The default is one minute.
	MaxRetryAfter time.Duration
}

// WithRetry sets the retry policy. It does not change which calls the client
// retries; see the package documentation.
func WithRetry(policy RetryPolicy) Option {
	return func(c *engine.Config) { c.Retry = engine.RetryPolicy(policy) }
}

// WithLimiter sets a [Limiter]. The client calls its Wait method before every
// attempt, and its Limited method after every 429. If l is nil, the client has no
// limiter, which is the default.
func WithLimiter(l Limiter) Option {
	return func(c *engine.Config) {
		c.Limiter = nil
		if l != nil {
			c.Limiter = engineLimiter{l}
		}
	}
}

// WithLogger makes the client log one line per call, at level Debug if it succeeds
// and Warn if it fails, and at level Info one line per retry and one per wait of more than a
// second. It does not log calls with invalid arguments. If logger is nil, which is the
// default, it logs nothing. No line contains a credential or an argument, but the line for
// a failed call can quote the server's error text or the beginning of an unexpected
// response. The attributes are:
//
//   - for a call: service, method, attempts, duration, and either status and
//     request_id or the group error, which is [Error.LogValue]
//   - for a retry: service, method, attempt, wait, and the group error with kind,
//     code, status, request_id, and cause
//   - for a wait: service, method, reason, which is a [WaitReason], and wait, unless its
//     length is not known
func WithLogger(logger *slog.Logger) Option {
	return func(c *engine.Config) {
		c.Logger, c.LogObserver = logger, nil
		if logger != nil {
			c.LogObserver = &engineObserver{&logObserver{logger}}
		}
	}
}

// WithObserver sets an [Observer], for example that of module
// github.com/chatdm/chatdm/chatdmotel. It does not replace the logger. If o is nil, which is
// the default, the client has no observer, and observing costs nothing.
func WithObserver(o Observer) Option {
	return func(c *engine.Config) {
		c.Observer = nil
		if o != nil {
			c.Observer = &engineObserver{o}
		}
	}
}

// WithMaxResponseBytes limits the size of a response after decompression. A larger
// one causes an error of [KindUnexpectedResponse]. The default is 4 MiB, because a
// page of channels can exceed 1 MiB. Values below 1 are invalid.
func WithMaxResponseBytes(n int64) Option {
	return func(c *engine.Config) { c.MaxResponseBytes = n }
}

// WithInsecureHTTP allows plain http to a host that is not loopback. Anyone on the
// network path can then read the credentials.
func WithInsecureHTTP() Option {
	return func(c *engine.Config) { c.InsecureHTTP = true }
}

// WithStrictIM stops [IMService] from falling back to conversations.*. If Slack
// has retired the method, the call fails with [ErrMethodDeprecated] or a similar
// code. Package rocketchat rejects this option.
func WithStrictIM() Option {
	return func(c *engine.Config) { c.StrictIM = true }
}

// WithSettleTime sets how long a message with a key can take to appear after its response
// was lost; see [ChatPostMessageParams]. The default is [DefaultSettleTime]. Slack does not
// document how long it takes: an attempt can still be in flight, and the history can lag
// behind. With 0, the client searches only once. Negative values are invalid. The option
// has no effect on Rocket.Chat, which rejects a second message with the same key.
func WithSettleTime(d time.Duration) Option {
	return func(c *engine.Config) { c.SettleTime = d }
}

// DefaultSettleTime is the default of [WithSettleTime].
const DefaultSettleTime = engine.DefaultSettleTime
