package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config is what the options of both clients set. Nothing is checked before
// New, so that the order of the options never matters.
type Config struct {
	BaseURL          string
	HTTPClient       *http.Client
	UserAgent        string
	Header           http.Header
	Timeout          *time.Duration
	Retry            RetryPolicy
	Limiter          Limiter
	Logger           *slog.Logger
	MaxResponseBytes int64
	InsecureHTTP     bool
	StrictIM         bool   // Slack only
	TOTP             string // Rocket.Chat's Login only
}

// RetryPolicy is the root package's, field by field.
type RetryPolicy struct {
	MaxAttempts   int
	BaseWait      time.Duration
	MaxWait       time.Duration
	MaxRetryAfter time.Duration
}

// Limiter is the root package's.
type Limiter interface {
	Wait(ctx context.Context, key string) error
	Limited(ctx context.Context, key string, retryAfter time.Duration)
}

// DefaultConfig is a Config without options.
func DefaultConfig() Config {
	return Config{
		UserAgent:        "chatdm/" + Version + " (+https://github.com/chatdm/chatdm)",
		MaxResponseBytes: 4 << 20,
	}
}

// Version is the release that the User-Agent names.
const Version = "0.1.0"

const defaultTimeout = 30 * time.Second

func (p RetryPolicy) withDefaults() RetryPolicy {
	if p.MaxAttempts == 0 {
		p.MaxAttempts = 4
	}
	if p.BaseWait == 0 {
		p.BaseWait = 500 * time.Millisecond
	}
	if p.MaxWait == 0 {
		p.MaxWait = 10 * time.Second
	}
	if p.MaxRetryAfter == 0 {
		p.MaxRetryAfter = time.Minute
	}
	return p
}

func (cfg *Config) attemptTimeout() time.Duration {
	switch {
	case cfg.Timeout != nil:
		return *cfg.Timeout
	case cfg.HTTPClient != nil && cfg.HTTPClient.Timeout > 0:
		return cfg.HTTPClient.Timeout
	}
	return defaultTimeout
}

// validate checks every setting and returns the parsed base URL. The error
// starts with the name of the setting at fault.
func (cfg *Config) validate(urlName string) (*url.URL, error) {
	switch p := cfg.Retry; {
	case cfg.Timeout != nil && *cfg.Timeout < 0:
		return nil, errors.New("WithTimeout: negative")
	case cfg.MaxResponseBytes <= 0 || cfg.MaxResponseBytes == math.MaxInt64:
		return nil, errors.New("WithMaxResponseBytes: not a number of bytes above zero")
	case p.MaxAttempts < 0 || p.BaseWait < 0 || p.MaxWait < 0 || p.MaxRetryAfter < 0:
		return nil, errors.New("WithRetry: a field of the RetryPolicy is negative")
	case !printable(cfg.UserAgent):
		return nil, errors.New("WithUserAgent: holds a control character")
	}
	for name, values := range cfg.Header {
		if err := checkHeader(name, values); err != nil {
			return nil, fmt.Errorf("WithHeader: %w", err)
		}
	}
	base, err := parseBase(cfg.BaseURL, cfg.InsecureHTTP)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", urlName, err)
	}
	return base, nil
}

// ownHeaders are set by the engine, by net/http, or by an option of their own.
var ownHeaders = []string{
	"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Length",
	"Content-Type", "Host", "Transfer-Encoding", "Upgrade", "User-Agent", "X-Auth-Token", "X-User-Id",
}

// checkHeader never prints a value: it may be a cookie.
func checkHeader(name string, values []string) error {
	if name == "" || strings.ContainsFunc(name, notTokenChar) {
		return fmt.Errorf("%q is not a header's name", name)
	}
	if slices.Contains(ownHeaders, name) {
		return fmt.Errorf("%s is the client's own", name)
	}
	if slices.ContainsFunc(values, func(v string) bool { return !printable(v) }) {
		return fmt.Errorf("the value of %s holds a control character", name)
	}
	return nil
}

// notTokenChar tells what RFC 9110 keeps out of a header's name.
func notTokenChar(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// parseBase never prints the URL: it may hold a password.
func parseBase(raw string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("needs to start with https:// or http://")
	case u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("has no host")
	case u.User != nil:
		return nil, errors.New("holds a user name or password")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("holds a query")
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return nil, errors.New("holds a fragment")
	case u.RawPath != "":
		return nil, errors.New("holds an escaped slash")
	case slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." }):
		return nil, errors.New("holds a . or .. segment")
	case u.Scheme == "http" && !insecure && !loopback(u.Hostname()):
		return nil, errors.New("plain http would show the credentials to the network; use https, or WithInsecureHTTP")
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// defaultTransport is shared by all clients that bring no transport, as they
// mostly talk to the same host. net/http keeps two idle connections for a
// host; this one keeps as many as there were calls at once.
func defaultTransport() http.RoundTripper {
	std, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return http.DefaultTransport // replaced by the program, to see all of its traffic
	}
	sharedOnce.Do(func() {
		shared = std.Clone()
		shared.MaxIdleConns = 0
		shared.MaxIdleConnsPerHost = math.MaxInt32
	})
	return shared
}

var (
	sharedOnce sync.Once
	shared     *http.Transport
)
