package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/chatdm/chatdm"
	"github.com/chatdm/chatdm/chatdmtest"
)

func env(settings map[string]string) func(string) string {
	return func(name string) string { return settings[name] }
}

// asProgram is an environment variable that makes the test binary run main.
const asProgram = "LIFECYCLE_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestExitCode checks the exit code and the error text of the program.
func TestExitCode(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asProgram+"=1", "SLACK_TOKEN=xoxb-1", "SLACK_USER=")
	_, err := cmd.Output()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 || !strings.Contains(string(exit.Stderr), "lifecycle: SLACK_TOKEN is set, but SLACK_USER,") {
		t.Errorf("got %v, want exit code 1 and an error that names SLACK_USER", err)
	}
}

func TestFake(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), nil, env(nil), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A fake Slack listens on http://127.0.0.1:",
		"> POST /api/conversations.open  return_im=true&users=U0ALICE01\n",
		`{"ok":true,"no_op":true,"already_open":true,"channel":{"id":"D000000001"}}`,
		"Channel D000000001. Already open: false.",
		"Channel D000000001. Already open: true.",
		"Found D000000001 with U0ALICE01.",
		"Already closed: false.",
		`{"ok":true,"no_op":true,"already_closed":true}`,
		"user_disabled: the user's account is deactivated",
		"The client called conversations.open instead: channel D000000002, 2 requests in total.",
		"429 Too Many Requests, Retry-After: 2\n",
		"Already closed: true. Attempts: 2, in 2s.",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), chatdmtest.BotToken) {
		t.Error("the output shows the token")
	}
}

// TestReal runs the steps for slack.com, and checks that the direct message is as it
// was before.
func TestReal(t *testing.T) {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	settings := map[string]string{
		"SLACK_TOKEN": chatdmtest.UserToken, "SLACK_USER": chatdmtest.Bob, "SLACK_API_URL": slack.URL,
	}
	var out strings.Builder
	if err := run(t.Context(), nil, env(settings), &out); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "as it was before") {
		t.Errorf("a closed direct message was opened:\n%s", out.String())
	}

	client, err := chatdm.NewClient(chatdmtest.UserToken, chatdm.WithBaseURL(slack.URL))
	if err != nil {
		t.Fatal(err)
	}
	carol := chatdm.ConversationsOpenParams{Users: []string{chatdmtest.Carol}}
	if _, err := client.Conversations.Open(t.Context(), carol); err != nil {
		t.Fatal(err)
	}
	settings["SLACK_USER"] = chatdmtest.Carol
	if err := run(t.Context(), nil, env(settings), &out); err != nil {
		t.Fatal(err)
	}
	if res, err := client.Conversations.Open(t.Context(), carol); err != nil || !res.AlreadyOpen {
		t.Errorf("an open direct message was left closed: %+v, %v", res, err)
	}

	settings["SLACK_USER"] = chatdmtest.DisabledUser
	if err := run(t.Context(), nil, env(settings), &out); err == nil || !strings.Contains(err.Error(), "user_disabled") {
		t.Errorf("disabled user: got %v, want user_disabled", err)
	}
	settings["SLACK_TOKEN"] = "xoxb-wrong"
	if err := run(t.Context(), nil, env(settings), &out); err == nil || !strings.Contains(err.Error(), "invalid_auth") {
		t.Errorf("wrong token: got %v, want invalid_auth", err)
	}
}

func TestSettings(t *testing.T) {
	tests := []struct {
		args     []string
		settings map[string]string
		want     string
	}{
		{[]string{"--help"}, nil, "got argument"},
		{nil, map[string]string{"SLACK_TOKEN": "xoxb-1"}, "SLACK_USER"},
		{nil, map[string]string{"SLACK_USER": "U1"}, "SLACK_TOKEN"},
		{nil, map[string]string{"SLACK_TOKEN": "xoxb 1", "SLACK_USER": "U1"}, "token"},
		{nil, map[string]string{"SLACK_TOKEN": "xoxb-1", "SLACK_USER": "U1", "SLACK_API_URL": "slack.com"}, "WithBaseURL"},
		{nil, map[string]string{"SLACK_TOKEN": "xoxb-1", "SLACK_USER": "U 1", "SLACK_API_URL": "http://127.0.0.1:1"}, "users"},
	}
	for _, tt := range tests {
		var out strings.Builder
		err := run(t.Context(), tt.args, env(tt.settings), &out)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v %v: got %v, want one line with %q", tt.args, tt.settings, err, tt.want)
		}
	}
}
