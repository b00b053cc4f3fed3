package main

import (
	"strings"
	"testing"

	"github.com/chatdm/chatdm/chatdmtest"
)

func env(settings map[string]string) func(string) string {
	return func(name string) string { return settings[name] }
}

func TestFake(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), nil, env(nil), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A fake Rocket.Chat listens on http://127.0.0.1:",
		`> POST /api/v1/im.create  {"username":"alice"}`,
		"> POST /api/v1/im.open  ",
		"Already closed: false.",
		"Already closed: true.",
		`> POST /api/v1/im.delete  {"roomId":"U0ALICE01chatdmtestAdmin01"}`,
		"Deleted.",
		"errors.Is(err, chatdm.KindNotFound): rocketchat im.delete: invalid-channel: the room or user does not exist",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), chatdmtest.RocketChatAdminToken) {
		t.Error("the output shows the token")
	}
}

// TestReal runs the steps for a real server.
func TestReal(t *testing.T) {
	server := chatdmtest.NewRocketChat(chatdmtest.Generation(chatdmtest.RocketChat4))
	defer server.Close()
	settings := map[string]string{
		"ROCKETCHAT_URL":        server.URL + "/api/v1/",
		"ROCKETCHAT_USER_ID":    chatdmtest.RocketChatAdminID,
		"ROCKETCHAT_AUTH_TOKEN": chatdmtest.RocketChatAdminToken,
	}
	var out strings.Builder
	if err := run(t.Context(), nil, env(settings), &out); err == nil || !strings.Contains(err.Error(), "error-invalid-user") {
		t.Errorf("without rocket.cat: got %v, want error-invalid-user", err)
	}
	server.AddUser(chatdmtest.RocketChatUser{ID: "rocket.cat"})
	for _, name := range []string{"", "bob"} {
		settings["ROCKETCHAT_USERNAME"] = name
		if err := run(t.Context(), nil, env(settings), &out); err != nil {
			t.Error(err)
		}
	}
	delete(settings, "ROCKETCHAT_USERNAME")
	settings["ROCKETCHAT_AUTH_TOKEN"] = "wrong-token"
	if err := run(t.Context(), nil, env(settings), &out); err == nil || !strings.Contains(err.Error(), "error-unauthorized") {
		t.Errorf("wrong token: got %v, want error-unauthorized", err)
	}
	for _, name := range []string{"ROCKETCHAT_URL", "ROCKETCHAT_USER_ID", "ROCKETCHAT_AUTH_TOKEN"} {
		value := settings[name]
		delete(settings, name)
		if err := run(t.Context(), nil, env(settings), &out); err == nil || !strings.Contains(err.Error(), name+" is not") {
			t.Errorf("without %s: got %v", name, err)
		}
		settings[name] = value
	}
	if err := run(t.Context(), []string{"-h"}, env(settings), &out); err == nil || !strings.Contains(err.Error(), "got argument") {
		t.Errorf("with an argument: got %v", err)
	}
}
