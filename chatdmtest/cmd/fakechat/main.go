// Fakechat serves the fake Slack and Rocket.Chat servers of package chatdmtest on
// fixed ports, for programs in any language.
//
//	go run github.com/chatdm/chatdm/chatdmtest/cmd/fakechat
//
// It prints the base URLs, tokens, and users. A third port serves a live page, which
// shows conversations, messages, and requests as they arrive, and a control API,
// which makes requests fail and sets rate limits:
//
//	curl -d method=chat.postMessage -d code=ratelimited http://127.0.0.1:7300/fake/fail
//
// fakechat -help lists the flags and the parameters of the control API.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

const usage = `Usage: fakechat [flags]

fakechat serves a fake Slack and a fake Rocket.Chat server until it gets SIGINT or
SIGTERM. It keeps everything in memory. A port can be 0 to use any free port.

  -slack ADDR        address of Slack (default 127.0.0.1:7301)
  -rocketchat ADDR   address of Rocket.Chat (default 127.0.0.1:7302)
  -page ADDR         address of the page and the control API (default 127.0.0.1:7300)
  -generation G      versions of Rocket.Chat to imitate: 8.x (default), 7.x, 4.8-6.x,
                     3.18-4.7, or "before 3.18"
  -retired-im        retire im.open and im.close, as slack.com has done
  -tls               serve Slack and Rocket.Chat over HTTPS with a new self-signed
                     certificate; the page stays on HTTP
  -cert FILE         write the certificate to FILE, for clients to trust; needs -tls
  -host NAMES        additional names of this machine, separated by commas, for the
                     certificate and for the Host header of requests to the page

`

// apiHelp describes the control API. The page shows it, too.
var apiHelp = strings.NewReplacer(
	"{slack user}", fieldNames(new(chatdmtest.User)), "{rocketchat user}", fieldNames(new(chatdmtest.RocketChatUser)),
	"{token}", fieldNames(new(chatdmtest.Token)),
	"{slack channel}", fieldNames(new(chatdmtest.Channel)), "{rocketchat room}", fieldNames(new(chatdmtest.RocketChatRoom)),
).Replace(`The control API takes a form or a JSON object. Each parameter is optional unless
marked with *. The platform is slack (default) or rocketchat.

POST /fake/fail      make the next requests fail
  platform, method   API method; without it, any method
  times              number of requests (default 1); -1 means until cleared
  code               error code, such as ratelimited
  status             HTTP status, 200 to 599
  header             "Name: value"; repeat it for several fields
  body               body of the response
  delay              wait before the response, such as 10s or 500ms
  stall, cut         stop sending at "before header", "in header", or "in body"; stall
                     keeps the connection open, cut closes it
  apply              true: the call takes effect although it fails
  apply_after        the call takes effect this much later, such as 10s

POST /fake/limit     set the rate limit of a method
  platform, method*
  calls*             calls in each window; 0 removes the limit
  window             such as 30s (default 1m)

POST /fake/clear     remove what you set, on both platforms or on one
  platform
  what               faults, limits, or requests; repeat it for several (default all)

POST /fake/reset     start again with the initial users and no conversations
  platform           (default both)

POST /fake/user      add or replace a user
  platform, id*
  slack              {slack user}
  rocketchat         {rocketchat user}
POST /fake/token     add or replace a Slack token; both value and user are needed
  slack              {token}
POST /fake/channel   add or replace a Slack channel or Rocket.Chat room
  platform, id*
  slack              {slack channel}
  rocketchat         {rocketchat room}

GET /fake/state      conversations, messages, pending faults, and limits
  platform           (default both)
GET /fake/requests   the last 1,000 requests to each platform, oldest first, without
                     headers and credentials
  platform           (default both)
  method
GET /fake/events     server-sent events with each change, as the page uses them

A duration is a value such as 10s or 500ms. To send a list, repeat the parameter or
separate the values with commas. The response to an invalid request has status 400
and a text that says what is wrong.
`)

// fieldNames returns the names of the parameters for a struct, in lines for apiHelp.
func fieldNames(v any) string {
	var p parameters
	p.fields(v)
	var b strings.Builder
	width := 0
	for i, name := range p.known {
		if width += len(name) + 2; width > 65 {
			b.WriteString("\n" + strings.Repeat(" ", 21))
			width = len(name) + 2
		}
		b.WriteString(name)
		if i < len(p.known)-1 {
			b.WriteString(", ")
		}
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "fakechat:", err)
	if _, ok := errors.AsType[usageError](err); ok {
		os.Exit(2)
	}
	os.Exit(1)
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func usageErrorf(format string, args ...any) error {
	return usageError{fmt.Errorf(format+"; -help shows the usage", args...)}
}

// keptRequests is how many requests each fake keeps. Each update of the page copies them.
const keptRequests = 1000

// options are the values of the flags.
type options struct {
	slack, rocketchat, page string
	generation              string
	retiredIM, tls          bool
	cert                    string
	hosts                   []string
}

func parseFlags(args []string) (o options, err error) {
	flags := flag.NewFlagSet("fakechat", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&o.slack, "slack", "127.0.0.1:7301", "")
	flags.StringVar(&o.rocketchat, "rocketchat", "127.0.0.1:7302", "")
	flags.StringVar(&o.page, "page", "127.0.0.1:7300", "")
	flags.StringVar(&o.generation, "generation", string(chatdmtest.RocketChat8), "")
	flags.BoolVar(&o.retiredIM, "retired-im", false, "")
	flags.BoolVar(&o.tls, "tls", false, "")
	flags.StringVar(&o.cert, "cert", "", "")
	hosts := flags.String("host", "", "")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, usageErrorf("%w", err)
	}
	if flags.NArg() > 0 {
		return o, usageErrorf("unexpected argument %q", flags.Arg(0))
	}
	generations := []chatdmtest.RocketChatGeneration{chatdmtest.RocketChat8, chatdmtest.RocketChat7,
		chatdmtest.RocketChat4, chatdmtest.RocketChat3, chatdmtest.RocketChatOld}
	if !slices.Contains(generations, chatdmtest.RocketChatGeneration(o.generation)) {
		return o, usageErrorf("-generation: got %q, want one of %q", o.generation, generations)
	}
	if o.cert != "" && !o.tls {
		return o, usageErrorf("-cert: needs -tls")
	}
	for _, addr := range []struct{ flag, value string }{{"slack", o.slack}, {"rocketchat", o.rocketchat}, {"page", o.page}} {
		if _, _, err := net.SplitHostPort(addr.value); err != nil {
			return o, usageErrorf("-%s: got %q, want an address such as 127.0.0.1:7300", addr.flag, addr.value)
		}
	}
	for name := range strings.SplitSeq(*hosts, ",") {
		if name = strings.TrimSpace(name); name != "" {
			o.hosts = append(o.hosts, name)
		}
	}
	return o, nil
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage, apiHelp)
		return nil
	}
	if err != nil {
		return err
	}

	var listeners []net.Listener
	defer func() {
		for _, listener := range listeners {
			listener.Close()
		}
	}()
	for _, addr := range []struct{ flag, value string }{{"slack", o.slack}, {"rocketchat", o.rocketchat}, {"page", o.page}} {
		listener, err := listen(ctx, addr.flag, addr.value)
		if err != nil {
			return err
		}
		listeners = append(listeners, listener)
		if ip := listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
			fmt.Fprintf(stderr, "fakechat: -%s: anyone who can reach %s can use it\n", addr.flag, listener.Addr())
		}
	}

	scheme := "http"
	var certificate *tls.Certificate
	if o.tls {
		scheme = "https"
		if certificate, err = newCertificate(certificateHosts(o)); err != nil {
			return err
		}
		if o.cert != "" {
			if err := writeCertificate(o.cert, certificate); err != nil {
				return fmt.Errorf("-cert: %w", err)
			}
		}
	}

	slack := newPlatform("slack", "Slack", scheme+"://"+reachable(listeners[0])+"/api", func() fake {
		opts := []chatdmtest.Option{chatdmtest.InMemory(), chatdmtest.KeepRequests(keptRequests)}
		if o.retiredIM {
			opts = append(opts, chatdmtest.RetiredIM())
		}
		return chatdmtest.NewSlack(opts...)
	})
	rocketchat := newPlatform("rocketchat", "Rocket.Chat", scheme+"://"+reachable(listeners[1]), func() fake {
		return chatdmtest.NewRocketChat(chatdmtest.InMemory(), chatdmtest.KeepRequests(keptRequests),
			chatdmtest.Generation(chatdmtest.RocketChatGeneration(o.generation)))
	})
	slack.self = []string{chatdmtest.BotUser, chatdmtest.AdminUser}
	rocketchat.self = []string{chatdmtest.RocketChatMemberID, chatdmtest.RocketChatAdminID}
	rocketchat.version = o.generation
	c := newControl(o.hosts, slack, rocketchat)

	announce(stdout, c, "http://"+reachable(listeners[2]), certificate)
	err = serve(ctx, c, listeners, certificate, log.New(stderr, "fakechat: ", 0))
	if err == nil {
		fmt.Fprintln(stdout, "fakechat has stopped.")
	}
	return err
}

// listen listens on the address in a flag.
func listen(ctx context.Context, flagName, addr string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	const wsaEADDRINUSE = syscall.Errno(10048) // on Windows
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaEADDRINUSE) {
		return nil, fmt.Errorf("-%s: the address %s is in use; choose another one, or port 0", flagName, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("-%s: %w", flagName, err)
	}
	return listener, nil
}

// reachable returns the host and port at which this machine reaches listener.
func reachable(listener net.Listener) string {
	addr := listener.Addr().(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", addr.Port)
	}
	return addr.String()
}

// serve serves both fakes and the page until ctx ends or a server fails.
func serve(ctx context.Context, c *control, listeners []net.Listener, certificate *tls.Certificate, errorLog *log.Logger) error {
	ctx, cancel := context.WithCancel(ctx) // ends the streams of events
	defer cancel()
	handlers := []http.Handler{c.platforms[0], c.platforms[1], c}
	served := make(chan error, len(handlers))
	var servers []*http.Server
	var running sync.WaitGroup
	for i, handler := range handlers {
		server := &http.Server{
			Handler: handler, ErrorLog: errorLog, ReadHeaderTimeout: 10 * time.Second,
			BaseContext: func(net.Listener) context.Context { return ctx },
			Protocols:   new(http.Protocols),
		}
		server.Protocols.SetHTTP1(true) // a fault cannot cut an HTTP/2 response
		servers = append(servers, server)
		listener := listeners[i]
		if certificate != nil && handler != c {
			listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12})
		}
		running.Go(func() { served <- server.Serve(listener) })
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	cancel()
	for _, p := range c.platforms {
		p.current().Close() // aborts delayed and stalled responses
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	for _, server := range servers {
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	}
	running.Wait()
	return err
}

// announce prints how to reach the servers.
func announce(w io.Writer, c *control, page string, certificate *tls.Certificate) {
	slack, rocketchat := c.platforms[0], c.platforms[1]
	fmt.Fprintf(w, "Slack        %s\n", slack.url)
	fmt.Fprintf(w, "  token      %s (bot %s)\n", chatdmtest.BotToken, chatdmtest.BotUser)
	fmt.Fprintf(w, "  token      %s (user %s)\n", chatdmtest.UserToken, chatdmtest.AdminUser)
	fmt.Fprintf(w, "Rocket.Chat  %s (version %s)\n", rocketchat.url, rocketchat.version)
	fmt.Fprintf(w, "  token      %s (user %s)\n", chatdmtest.RocketChatMemberToken, chatdmtest.RocketChatMemberID)
	fmt.Fprintf(w, "  token      %s (admin %s)\n", chatdmtest.RocketChatAdminToken, chatdmtest.RocketChatAdminID)
	fmt.Fprintf(w, "  password   %s, for every user\n", chatdmtest.RocketChatPassword)
	fmt.Fprintf(w, "Users        %s\n", strings.Join([]string{
		"alice " + chatdmtest.Alice, "bob " + chatdmtest.Bob, "carol " + chatdmtest.Carol, "dave " + chatdmtest.Dave,
	}, ", "))
	fmt.Fprintf(w, "             %s\n", strings.Join([]string{
		"erin " + chatdmtest.Erin, "frank " + chatdmtest.Frank, "grace " + chatdmtest.Grace, "heidi " + chatdmtest.Heidi,
	}, ", "))
	fmt.Fprintf(w, "  Slack only disabled %s, hidden %s, otherbot %s\n", chatdmtest.DisabledUser, chatdmtest.HiddenUser, chatdmtest.OtherBot)
	if certificate != nil {
		fmt.Fprintf(w, "Certificate  SHA-256 %s\n", fingerprint(certificate))
	}
	fmt.Fprintf(w, "Page         %s\n", page)
}
