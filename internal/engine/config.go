package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config holds the settings of a client. New validates it.
type Config struct {
	BaseURL          string
	defaultBase      string
	HTTPClient       *http.Client
	UserAgent        string
	Header           http.Header
	Timeout          *time.Duration
	Retry            RetryPolicy
	Limiter          Limiter
	Source           CredentialSource // nil if the credential does not change
	Logger           *slog.Logger     // for credential sources
	Observer         Observer         // nil if there is none
	LogObserver      Observer         // of WithLogger; nil if there is none
	MaxResponseBytes int64
	InsecureHTTP     bool
	StrictIM         bool                                  // Slack only
	SettleTime       time.Duration                         // Slack only
	TOTP             string                                // Rocket.Chat's Login only
	TOTPFunc         func(context.Context) (string, error) // Rocket.Chat's LoginSource only
}

// RetryPolicy has the same fields as the root package's RetryPolicy.
type RetryPolicy struct {
	MaxAttempts   int
	BaseWait      time.Duration
	MaxWait       time.Duration
	MaxRetryAfter time.Duration
}

// Limiter is the root package's Limiter, except that Wait returns a *Failure
// instead of an error of KindRateLimited.
type Limiter interface {
	Wait(ctx context.Context, key string) error
	Limited(ctx context.Context, key string, retryAfter time.Duration)
}

// Observer is the root package's Observer, without its types.
type Observer interface {
	CallStart(ctx context.Context, c CallInfo) context.Context
	CallEnd(ctx context.Context, c CallInfo, end CallEnd)
	AttemptStart(ctx context.Context, a AttemptInfo) context.Context
	AttemptEnd(ctx context.Context, a AttemptInfo, end AttemptEnd)
	WaitStart(ctx context.Context, w WaitInfo) context.Context
	WaitEnd(ctx context.Context, w WaitInfo, end WaitEnd)
}

// These types have the same fields as those of the root package.
type (
	// CallInfo identifies a call.
	CallInfo struct{ Service, Method string }
	// CallEnd is the outcome of a call.
	CallEnd struct {
		Attempts, StatusCode int
		RequestID            string
		Duration             time.Duration
		Err                  error
	}
	// AttemptInfo identifies an attempt.
	AttemptInfo struct {
		CallInfo
		Attempt         int
		HTTPMethod, URL string
	}
	// AttemptEnd is the outcome of an attempt.
	AttemptEnd struct {
		StatusCode            int
		RequestID, Code, Kind string
		Duration              time.Duration
		Err                   error
	}
	// WaitInfo describes a wait.
	WaitInfo struct {
		CallInfo
		Reason   string
		Duration time.Duration
		Attempt  int        // the number of the failed attempt that the client is about to retry, or 0
		Failed   AttemptEnd // its outcome
	}
	// WaitEnd is the outcome of a wait.
	WaitEnd struct {
		Duration time.Duration
		Err      error
	}
)

// The reasons for a wait.
const (
	WaitBackoff = "backoff"
	WaitPause   = "server_pause"
	WaitLimiter = "limiter"
	WaitRefresh = "token_refresh"
	WaitSettle  = "settle"
)

// observers report to several observers. Each gets the context of the one before it.
type observers []Observer

func (all observers) CallStart(ctx context.Context, c CallInfo) context.Context {
	for _, o := range all {
		ctx = o.CallStart(ctx, c) //nolint:fatcontext // one context per observer
	}
	return ctx
}

func (all observers) CallEnd(ctx context.Context, c CallInfo, end CallEnd) {
	for _, o := range all {
		o.CallEnd(ctx, c, end)
	}
}

func (all observers) AttemptStart(ctx context.Context, a AttemptInfo) context.Context {
	for _, o := range all {
		ctx = o.AttemptStart(ctx, a) //nolint:fatcontext // see above
	}
	return ctx
}

func (all observers) AttemptEnd(ctx context.Context, a AttemptInfo, end AttemptEnd) {
	for _, o := range all {
		o.AttemptEnd(ctx, a, end)
	}
}

func (all observers) WaitStart(ctx context.Context, w WaitInfo) context.Context {
	for _, o := range all {
		ctx = o.WaitStart(ctx, w) //nolint:fatcontext // see above
	}
	return ctx
}

func (all observers) WaitEnd(ctx context.Context, w WaitInfo, end WaitEnd) {
	for _, o := range all {
		o.WaitEnd(ctx, w, end)
	}
}

// Credential authenticates attempts. It is always used as a pointer, because fmt does
// not print what a nested pointer points to.
type Credential struct {
	Owner     string // the user, if the platform needs to know it
	Secret    string
	header    [2]headerField
	spellings []string // of Secret
}

type headerField struct {
	name   string // in canonical form, or empty
	values []string
}

// NewCredential returns a Credential that sets at most two header fields. The header
// alternates names and values.
func NewCredential(owner, secret string, header ...string) *Credential {
	c := &Credential{Owner: owner, Secret: secret, spellings: appendSpellings(nil, secret)}
	for i := 0; i < len(header); i += 2 {
		c.header[i/2] = headerField{header[i], header[i+1 : i+2 : i+2]}
	}
	return c
}

// set sets the header fields. A nil Credential has none.
func (c *Credential) set(header http.Header) {
	if c == nil {
		return
	}
	for _, field := range c.header {
		if field.name != "" {
			header[field.name] = field.values
		}
	}
}

// CredentialSource supplies the credential of each attempt. If it returns a *Failure, the
// call fails with that.
type CredentialSource interface {
	Credential(ctx context.Context) (*Credential, error)
}

// CredentialRefresher is a CredentialSource that can replace a credential that the server
// rejected.
type CredentialRefresher interface {
	CredentialSource
	// CanRefresh reports whether to call Refresh after an error code.
	CanRefresh(code string) bool
	// Refresh returns another credential. If it returns nil and a nil error, the call keeps
	// its failure.
	Refresh(ctx context.Context, stale *Credential, code string) (*Credential, error)
}

// NewConfig applies options to the default configuration. It ignores nil options.
func NewConfig[Option ~func(*Config)](baseURL string, opts []Option) Config {
	cfg := Config{BaseURL: baseURL, defaultBase: baseURL, MaxResponseBytes: 4 << 20, SettleTime: DefaultSettleTime}
	for _, opt := range opts {
		if opt != nil {
			opt(&cfg)
		}
	}
	cfg.UserAgent = cmp.Or(cfg.UserAgent, defaultUserAgent)
	return cfg
}

const defaultUserAgent = "chatdm/" + Version + " (+https://github.com/chatdm/chatdm)"

// header returns the header of each request, without credentials. Clients without settings
// for it share one.
func (cfg *Config) header(contentType string) *http.Header {
	if cfg.UserAgent == defaultUserAgent && len(cfg.Header) == 0 {
		if shared, ok := sharedHeaders.Load(contentType); ok {
			return shared.(*http.Header)
		}
	}
	header := http.Header{"Accept": {"application/json"}, "Content-Type": {contentType}, "User-Agent": {cfg.UserAgent}}
	maps.Copy(header, cfg.Header)
	if cfg.UserAgent == defaultUserAgent && len(cfg.Header) == 0 {
		sharedHeaders.Store(contentType, &header)
	}
	return &header
}

var sharedHeaders sync.Map // from a content type to a *http.Header

// DefaultSettleTime is the default of Config.SettleTime.
const DefaultSettleTime = 90 * time.Second

// Version is the version in the User-Agent header.
const Version = "0.1.0"

func (p RetryPolicy) withDefaults() RetryPolicy {
	return RetryPolicy{
		MaxAttempts:   cmp.Or(p.MaxAttempts, 4),
		BaseWait:      cmp.Or(p.BaseWait, 500*time.Millisecond),
		MaxWait:       cmp.Or(p.MaxWait, 10*time.Second),
		MaxRetryAfter: cmp.Or(p.MaxRetryAfter, time.Minute),
	}
}

func (cfg *Config) attemptTimeout() time.Duration {
	if cfg.Timeout != nil {
		return *cfg.Timeout
	}
	return cmp.Or(max(0, cmp.Or(cfg.HTTPClient, new(http.Client)).Timeout), 30*time.Second)
}

// validate returns the parsed base URL, or an error that names the setting.
func (cfg *Config) validate(urlName string) (*url.URL, error) {
	switch p := cfg.Retry; {
	case cfg.Timeout != nil && *cfg.Timeout < 0:
		return nil, errors.New("WithTimeout: must not be negative")
	case cfg.SettleTime < 0:
		return nil, errors.New("WithSettleTime: must not be negative")
	case cfg.MaxResponseBytes <= 0:
		return nil, errors.New("WithMaxResponseBytes: must be positive")
	case p.MaxAttempts < 0 || p.BaseWait < 0 || p.MaxWait < 0 || p.MaxRetryAfter < 0:
		return nil, errors.New("WithRetry: no field may be negative")
	case !printable(cfg.UserAgent):
		return nil, errors.New("WithUserAgent: must not contain control characters")
	}
	for name, values := range cfg.Header {
		if err := checkHeader(name, values); err != nil {
			return nil, fmt.Errorf("WithHeader: %w", err)
		}
	}
	if shared, ok := defaultBases.Load(cfg.BaseURL); ok {
		return shared.(*url.URL), nil
	}
	base, err := parseBase(cfg.BaseURL, cfg.InsecureHTTP)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", urlName, err)
	}
	if cfg.BaseURL == cfg.defaultBase {
		defaultBases.Store(cfg.BaseURL, base)
	}
	return base, nil
}

// defaultBases holds the parsed base URLs of the platforms that have a default, so that
// most clients share one. A *url.URL is never modified.
var defaultBases sync.Map

// reservedHeaders are set by the client, net/http, or another option. net/http
// retries a POST that has an idempotency key.
var reservedHeaders = []string{
	"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Length",
	"Content-Type", "Host", "Idempotency-Key", "Transfer-Encoding", "Upgrade", "User-Agent", "X-Auth-Token", "X-Idempotency-Key", "X-User-Id",
}

// checkHeader validates a header. Its errors omit the value, which may be a secret.
func checkHeader(name string, values []string) error {
	if name == "" || strings.ContainsFunc(name, notInHeaderName) {
		return fmt.Errorf("%q is not a valid header name", name)
	}
	if slices.Contains(reservedHeaders, name) {
		return fmt.Errorf("%s is reserved for the client", name)
	}
	if slices.ContainsFunc(values, func(v string) bool { return !printable(v) }) {
		return fmt.Errorf("the value of %s must not contain control characters", name)
	}
	return nil
}

// notInHeaderName reports whether RFC 9110 excludes r from header names.
func notInHeaderName(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// parseBase parses a base URL. Its errors omit the URL, which may contain a password.
func parseBase(raw string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("must be a valid URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must start with https:// or http://")
	case u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("must have a host")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return nil, errors.New("must not contain a username, a password, a query, or a fragment")
	case u.RawPath != "" || slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }):
		return nil, errors.New("must not contain an escaped slash, or a . or .. segment")
	case u.Scheme == "http" && !insecure && !loopback(u.Hostname()):
		return nil, errors.New("plain http would expose the credentials; use https or WithInsecureHTTP")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

var secretHeader = regexp.MustCompile(`(?i)cookie|auth|token|secret|key|code|password|session`)

// headerSecrets returns the secrets among the caller's headers.
func (cfg *Config) headerSecrets() []string {
	var secrets []string
	for name, lines := range cfg.Header {
		if !secretHeader.MatchString(name) {
			continue
		}
		for _, line := range lines {
			secrets = append(secrets, line)
			for pair := range strings.SplitSeq(line, ";") { // of a Cookie
				_, value, _ := strings.Cut(pair, "=")
				secrets = append(secrets, strings.Trim(value, ` "`))
			}
		}
	}
	return secrets
}

func loopback(host string) bool {
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// defaultTransport returns the transport for clients without one.
func defaultTransport() http.RoundTripper {
	if _, ok := http.DefaultTransport.(*http.Transport); !ok {
		return http.DefaultTransport // the program has replaced it, probably to observe all traffic
	}
	return sharedTransport()
}

// sharedTransport keeps all idle connections. net/http keeps only two per host, so
// most concurrent calls would open a new connection.
var sharedTransport = sync.OnceValue(func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, math.MaxInt32
	return t
})
