package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/chatdm/chatdm"
)

// credentials authenticate the bot to Slack: either a token that does not expire, or
// rotating tokens in a file.
type credentials struct {
	token string // does not expire; if the file has no tokens, it is exchanged for them
	file  string // for rotating tokens, or empty
	app   chatdm.OAuthApp
}

// readCredentials reads the credentials from environment variables.
func readCredentials(env func(string) string) (credentials, error) {
	c := credentials{
		token: env("SLACK_TOKEN"), file: env("SLACK_TOKEN_FILE"),
		app: chatdm.OAuthApp{ClientID: env("SLACK_CLIENT_ID"), ClientSecret: env("SLACK_CLIENT_SECRET")},
	}
	rotating := c.file != ""
	if (c.app.ClientID != "") != rotating || (c.app.ClientSecret != "") != rotating {
		return c, errors.New("SLACK_CLIENT_ID, SLACK_CLIENT_SECRET, and SLACK_TOKEN_FILE must be set together, or not at all")
	}
	return c, nil
}

// newClient returns a client that uses the credentials. It contacts Slack only to exchange
// the token.
func (c credentials) newClient(ctx context.Context, opts ...chatdm.Option) (*chatdm.Client, error) {
	if c.file == "" {
		return chatdm.NewClient(c.token, opts...)
	}
	store := chatdm.NewFileTokenStore(c.file)
	rotator, err := chatdm.NewRotator(c.app, store, opts...)
	if err != nil {
		return nil, err
	}
	if c.token != "" { // Exchange does nothing if the file has tokens
		if err := rotator.Exchange(ctx, c.token); err != nil {
			return nil, fmt.Errorf("SLACK_TOKEN cannot be exchanged for rotating tokens: %w", err)
		}
	}
	tokens, err := store.Load(ctx)
	if err != nil {
		return nil, err
	}
	if tokens.AccessToken == "" {
		return nil, errors.New("SLACK_TOKEN_FILE has no tokens; set SLACK_TOKEN too, to exchange it once")
	}
	return chatdm.NewClient("", append(opts, chatdm.WithTokenSource(rotator))...)
}

// checkCredential takes the result of a command. It alerts the operator when Slack begins to
// reject the credential, but not again for each command that fails.
func (b *bot) checkCredential(err error) {
	rejected := errors.Is(err, chatdm.KindUnauthenticated)
	if err != nil && !rejected || b.rejected.Swap(rejected) == rejected {
		return
	}
	if rejected {
		b.log.Error("Slack rejects the credential: all commands fail until you replace it", "error", err)
	} else {
		b.log.Info("Slack accepts the credential again")
	}
}

// serveHealth says whether Slack rejects the credential. The status is always 200, because
// a restart would not help.
func (b *bot) serveHealth(w http.ResponseWriter, _ *http.Request) {
	text := "ok\n"
	if b.rejected.Load() {
		text = "Slack rejects the credential\n"
	}
	_, _ = io.WriteString(w, text)
}
