// Bot is a Slack bot to start from. Its slash command opens direct messages:
//
//	/dm @alice              opens one between the bot and Alice, and says hello
//	/dm @alice @bob Lunch?  opens a group message, and says that
//	/dm close               closes the one in which it is typed
//
// Without settings it runs on a Slack of its own, plays a short conversation
// with itself, and ends. To run it for a workspace:
//
//	SLACK_TOKEN=xoxb-… SLACK_SIGNING_SECRET=… go run ./examples/bot -listen :8080
//
// It serves POST /slack/commands, GET /metrics and GET /healthz in plain HTTP.
// Put a proxy in front that has a certificate, and lets nothing but
// /slack/commands in from outside.
//
// # Slack's side
//
// At https://api.slack.com/apps, in an app of yours:
//   - Slash Commands: create /dm with the Request URL
//     https://your.host/slack/commands, and tick "Escape channels, users, and
//     links sent to your app": without that, nobody knows whom @alice means.
//   - OAuth & Permissions: the bot token has the scopes commands, im:write,
//     mpim:write and chat:write. Install the app; the token is SLACK_TOKEN.
//   - Basic Information: the signing secret is SLACK_SIGNING_SECRET.
//
// SLACK_API_URL names another root of the API than https://slack.com/api, and
// SLACK_HOOKS_URL another place for response URLs than https://hooks.slack.com.
//
// What Slack asks of a command is documented at
// https://docs.slack.dev/interactivity/implementing-slash-commands, the
// signature at https://docs.slack.dev/authentication/verifying-requests-from-slack.
//
// # Your own bot
//
// Keep the order of things: a request is verified before anything in it is
// believed, its trigger_id is remembered when it is queued, so that a second
// delivery is not worked on, it is answered before the work begins, and the
// user hears of the outcome by way of the response_url. Keep the one function
// that makes a sentence of an error, and the tests, which need no Slack.
//
// Queue and memory are this process's. A bot of several processes, or one that
// must not forget what it has accepted, keeps both outside.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `Usage: bot [-listen ADDRESS]     serves the slash command, on 127.0.0.1:8080 by default
       bot                       without SLACK_TOKEN: shows it on a Slack of its own

The settings are SLACK_TOKEN (with the scopes commands, im:write, mpim:write and
chat:write), SLACK_SIGNING_SECRET, SLACK_API_URL and SLACK_HOOKS_URL. The log goes
to standard error. The first SIGINT or SIGTERM lets the bot finish what it has
accepted, the second ends it.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that the second signal ends the process
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bot:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("bot", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	listen := flags.String("listen", "127.0.0.1:8080", "")
	err := flags.Parse(args)
	token, secret := env("SLACK_TOKEN"), strings.TrimSpace(env("SLACK_SIGNING_SECRET"))
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return nil
	case err != nil:
		return fmt.Errorf("%w; -help says more", err)
	case flags.NArg() > 0:
		return fmt.Errorf("%q is no flag; -help says more", flags.Arg(0))
	case token == "" && secret == "" && flags.NFlag() == 0:
		return demo(ctx, stdout, stderr)
	case token == "":
		return errors.New("SLACK_TOKEN is not set; without any setting, the demonstration runs")
	case secret == "":
		return errors.New("SLACK_TOKEN is set, but SLACK_SIGNING_SECRET is not")
	}
	b, err := newBot(settings{
		token: token, secret: secret, apiURL: cmp.Or(env("SLACK_API_URL"), "https://slack.com/api"),
		hooksURL: cmp.Or(env("SLACK_HOOKS_URL"), "https://hooks.slack.com"),
	}, slog.New(slog.NewJSONHandler(stderr, nil)))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	return b.serve(ctx, listener)
}

// serve answers until ctx ends, and then finishes what was accepted.
func (b *bot) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: b.handler(), ErrorLog: slog.NewLogLogger(b.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 3 * time.Second, ReadTimeout: 3 * time.Second, // Slack waits no longer
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	b.start()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	b.log.Info("listening", "address", listener.Addr().String())
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		b.log.Info("stopping", "queued", len(b.queue))
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(last) != nil {
			server.Close() // a client that is slow to send or to read
		}
	}
	b.finish()
	b.log.Info("stopped")
	return err
}
