// Bot is a Slack bot to start from. Its slash command opens direct messages:
//
//	/dm @alice              opens one between the bot and Alice, and posts a greeting
//	/dm @alice @bob Lunch?  opens a group message, and posts that text
//	/dm close               closes the conversation in which it is typed
//
// Without configuration, it runs a demo on a fake Slack. To run it for a workspace:
//
//	SLACK_TOKEN=xoxb-… SLACK_SIGNING_SECRET=… go run ./examples/bot -listen :8080
//
// It serves POST /slack/commands, GET /metrics, and GET /healthz over plain HTTP.
// Put a TLS proxy in front of it that exposes only /slack/commands.
//
// # Set up Slack
//
// Create an app at https://api.slack.com/apps from examples/slack-manifest.yaml:
//   - Slash Commands: create /dm with the Request URL
//     https://your.host/slack/commands, and enable "Escape channels, users, and
//     links sent to your app". Without it, the bot cannot tell who @alice is.
//   - Install App: the Bot User OAuth Token is SLACK_TOKEN.
//   - Basic Information: the signing secret is SLACK_SIGNING_SECRET.
//
// SLACK_API_URL replaces https://slack.com/api, and SLACK_HOOKS_URL replaces
// https://hooks.slack.com, the host of response URLs.
//
// Slack documents slash commands at
// https://docs.slack.dev/interactivity/implementing-slash-commands and signatures
// at https://docs.slack.dev/authentication/verifying-requests-from-slack.
//
// # Rotate the token
//
// A rotating token expires after twelve hours, and the bot refreshes it. Enable token
// rotation for the app, which cannot be undone, and also set these variables:
//   - SLACK_CLIENT_ID and SLACK_CLIENT_SECRET, from Basic Information
//   - SLACK_TOKEN_FILE, a file in a directory that the bot can write to; see
//     chatdm.FileTokenStore
//
// If the file does not exist, the bot exchanges SLACK_TOKEN for rotating tokens once, and
// stores them there. From then on, it ignores SLACK_TOKEN, which soon stops working.
//
// # Watch it
//
// If Slack rejects the credential, for example because someone removed the app, the bot
// logs one line at level ERROR, sets the metric dmbot_credential_rejected to 1, and says so
// at /healthz. The status of /healthz remains 200, because a restart would not help. Install
// the app again, replace SLACK_TOKEN or the tokens in the file, and restart the bot.
//
// # Traces and metrics
//
// GET /metrics serves the metrics of the bot and of package chatdmotel in Prometheus's
// format; docs/observability.md has a dashboard for them. If
// OTEL_EXPORTER_OTLP_ENDPOINT is set, the bot also sends metrics and spans to that collector
// over HTTP, and accepts the other standard variables OTEL_EXPORTER_OTLP_….
//
// # Make it yours
//
// Keep the order of the steps: verify the request, remember its trigger_id when you
// queue it (so that a second delivery does nothing), respond, run the command, and
// post the outcome to the response_url. Keep the function explain, which is the only
// one that interprets errors, and the tests, which need no real Slack.
//
// The queue and the trigger IDs are in memory. Store them elsewhere if the bot runs
// in several processes, or if a restart must not lose commands.
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

const usage = `Usage: bot [-listen ADDRESS]     serve the slash command, by default on 127.0.0.1:8080
       bot                       without SLACK_TOKEN: run a demo on a fake Slack

Set SLACK_TOKEN (with the scopes commands, chat:write, im:write, im:history,
mpim:write, and mpim:history) and SLACK_SIGNING_SECRET. For tokens that rotate, also
set SLACK_CLIENT_ID, SLACK_CLIENT_SECRET, and SLACK_TOKEN_FILE. If the file does not
exist, the bot exchanges SLACK_TOKEN and creates it. SLACK_API_URL and SLACK_HOOKS_URL
replace Slack's URLs. The log goes to standard error. After the first SIGINT or
SIGTERM, the bot finishes the commands that it has accepted. The second ends it.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process
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
	creds, credsErr := readCredentials(env)
	secret := strings.TrimSpace(env("SLACK_SIGNING_SECRET"))
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return nil
	case err != nil:
		return fmt.Errorf("%w; -help shows the usage", err)
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; -help shows the usage", flags.Arg(0))
	case creds == credentials{} && secret == "" && flags.NFlag() == 0:
		return demo(ctx, stdout, stderr)
	case credsErr != nil:
		return credsErr
	case creds.token == "" && creds.file == "":
		return errors.New("SLACK_TOKEN is not set; to run the demo, omit all configuration")
	case secret == "":
		return errors.New("SLACK_SIGNING_SECRET is not set")
	}
	b, err := newBot(ctx, settings{
		credentials: creds, secret: secret, apiURL: cmp.Or(env("SLACK_API_URL"), "https://slack.com/api"),
		hooksURL: cmp.Or(env("SLACK_HOOKS_URL"), "https://hooks.slack.com"), otlp: env("OTEL_EXPORTER_OTLP_ENDPOINT") != "",
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

// serve serves HTTP until ctx ends, and then finishes the accepted commands.
func (b *bot) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: b.handler(), ErrorLog: slog.NewLogLogger(b.log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 3 * time.Second, ReadTimeout: 3 * time.Second, // Slack waits no longer than that
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	b.start()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	b.log.Info("listening", "address", listener.Addr().String())
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		b.log.Info("stopping", "queued", b.queued())
		shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(shutdown) != nil {
			server.Close() // a client sends or reads too slowly
		}
	}
	b.finish()
	b.log.Info("stopped")
	return err
}
