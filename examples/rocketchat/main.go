// Rocketchat takes a direct message on Rocket.Chat through its life cycle. It creates
// a direct message, opens it, closes it twice, and deletes it twice. For each step,
// it prints the requests, the responses, and the result of the call.
//
// Without configuration, it runs on a fake server. With ROCKETCHAT_URL,
// ROCKETCHAT_USER_ID, and ROCKETCHAT_AUTH_TOKEN, it runs on a real one. There, it
// uses the direct message between that user and ROCKETCHAT_USERNAME (by default
// rocket.cat, the bot that every server has). It permanently deletes that direct
// message with all its content. The user needs the permission delete-d.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
	"github.com/chatdm/chatdm/examples/internal/show"
	"github.com/chatdm/chatdm/rocketchat"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "rocketchat:", err)
		os.Exit(1)
	}
}

var settings = []string{"ROCKETCHAT_URL", "ROCKETCHAT_USER_ID", "ROCKETCHAT_AUTH_TOKEN"}

// run chooses between a fake server and a real one.
func run(ctx context.Context, args []string, env func(string) string, out io.Writer) error {
	if len(args) > 0 {
		return fmt.Errorf("got argument %q, want none; set %v instead", args[0], settings)
	}
	var set, missing string
	for _, name := range settings {
		if env(name) == "" {
			missing = name
		} else {
			set = name
		}
	}
	switch {
	case set == "":
		server := chatdmtest.NewRocketChat()
		defer server.Close()
		fmt.Fprintf(out, "A fake Rocket.Chat listens on %s.\n", server.URL)
		return lifecycle(ctx, server.URL, rocketchat.Credentials{
			UserID: chatdmtest.RocketChatAdminID, AuthToken: chatdmtest.RocketChatAdminToken,
		}, "alice", out)
	case missing != "":
		return fmt.Errorf("%s is set, but %s is not", set, missing)
	}
	return lifecycle(ctx, env("ROCKETCHAT_URL"), rocketchat.Credentials{
		UserID: env("ROCKETCHAT_USER_ID"), AuthToken: env("ROCKETCHAT_AUTH_TOKEN"),
	}, cmp.Or(env("ROCKETCHAT_USERNAME"), "rocket.cat"), out)
}

// lifecycle creates, opens, closes, and deletes a direct message.
func lifecycle(ctx context.Context, url string, creds rocketchat.Credentials, username string, out io.Writer) error {
	show := show.New(out)
	client, err := rocketchat.NewClient(url, creds, chatdm.WithHTTPClient(show.HTTPClient()))
	if err != nil {
		return err
	}

	show.Step("Create the direct message with " + username)
	created, err := client.IM.Create(ctx, rocketchat.IMCreateParams{Usernames: []string{username}})
	if err != nil {
		return err
	}
	room := created.Room.ID
	show.Say("Room %s with %v.", room, created.Room.Usernames)

	show.Step("Open it")
	if _, err := client.IM.Open(ctx, room); err != nil {
		return err
	}
	for _, title := range []string{"Close it", "Close it again: the server responds with 400, but the call succeeds"} {
		show.Step(title)
		closed, err := client.IM.Close(ctx, room)
		if err != nil {
			return err
		}
		show.Say("Already closed: %t.", closed.AlreadyClosed)
	}

	show.Step("Delete it permanently, for all members")
	if _, err := client.IM.Delete(ctx, rocketchat.RoomID(room)); err != nil {
		return err
	}
	show.Say("Deleted.")

	show.Step("Delete it again")
	_, err = client.IM.Delete(ctx, rocketchat.RoomID(room))
	if !errors.Is(err, chatdm.KindNotFound) {
		return fmt.Errorf("got %w, want chatdm.KindNotFound", err)
	}
	show.Say("errors.Is(err, chatdm.KindNotFound): %v", err)
	return nil
}
