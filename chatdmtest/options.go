package chatdmtest

import (
	"fmt"
	"slices"
)

// An Option configures a fake server. A nil Option is ignored.
type Option func(*config)

type config struct {
	inMemory     bool
	keptRequests int                  // negative means all
	imRetired    bool                 // Slack only
	pageSize     int                  // Slack only; of history and replies; not positive means no limit
	generation   RocketChatGeneration // Rocket.Chat only; empty means the newest
}

func newConfig(opts []Option) config {
	c := config{keptRequests: defaultKeptRequests}
	for _, opt := range opts {
		if opt != nil {
			opt(&c)
		}
	}
	return c
}

// InMemory starts the server without a network socket, so that it works in a
// [testing/synctest] bubble. Client and server still speak HTTP/1.1, but over
// [net.Pipe].
//
// Only clients that the server's Client method returns can reach the server. They
// connect to it regardless of the host in the URL. The server's URL has port 0, so
// any other client fails to connect to it: "dial tcp 127.0.0.1:0: connect: connection
// refused".
func InMemory() Option {
	return func(c *config) { c.inMemory = true }
}

// KeepRequests sets how many requests the server keeps for its Requests method.
// The default is 10,000. Beyond that, each new request replaces the oldest one. If n
// is 0, the server keeps no requests.
//
// If n is negative, the server keeps all requests until ResetRequests is called.
// A request takes about 1 KB of memory plus the size of its body.
func KeepRequests(n int) Option {
	return func(c *config) { c.keptRequests = n }
}

// RetiredIM starts a [Slack] server that has retired im.open and im.close. It
// responds to them with method_deprecated, as slack.com has done since 2021-02-24.
func RetiredIM() Option {
	return func(c *config) { c.imRetired = true }
}

// HistoryPageSize starts a [Slack] server on which a page of conversations.history or
// conversations.replies has at most n messages, regardless of the limit argument. If n
// is not positive, only the limit argument counts, as by default.
//
// Slack limits some apps that are sold outside its Marketplace to 15 messages per page
// and one request per minute. To imitate this, use HistoryPageSize(15) and
//
//	slack.Limit("conversations.history", 1, time.Minute)
//	slack.Limit("conversations.replies", 1, time.Minute)
func HistoryPageSize(n int) Option {
	return func(c *config) { c.pageSize = n }
}

// Generation sets which versions of Rocket.Chat a [RocketChat] server imitates.
// The default is RocketChat8. Generation panics if g is not one of the constants
// of this package.
func Generation(g RocketChatGeneration) Option {
	if !slices.Contains(rocketChatGenerations, g) {
		panic(fmt.Sprintf("chatdmtest: unknown Rocket.Chat generation %q, want one of %q", g, rocketChatGenerations))
	}
	return func(c *config) { c.generation = g }
}
