package chatdm_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/chatdm/chatdm"
)

var exampleTokens = chatdm.Tokens{
	AccessToken: "xoxe.xoxb-1-secret", RefreshToken: "xoxe-1-secret",
	Expiry: time.Date(2026, time.November, 21, 9, 30, 0, 0, time.UTC),
}

func ExampleTokens_String() {
	fmt.Println(exampleTokens.String())
	// Output: chatdm.Tokens(expiry 2026-11-21T09:30:00Z, secrets [redacted])
}

func ExampleTokens_GoString() {
	fmt.Println(exampleTokens.GoString())
	// Output: chatdm.Tokens(expiry 2026-11-21T09:30:00Z, secrets [redacted])
}

func ExampleTokens_Format() {
	fmt.Printf("%v\n%+v\n%q\n", exampleTokens, exampleTokens, []chatdm.Tokens{exampleTokens})
	// Output:
	// chatdm.Tokens(expiry 2026-11-21T09:30:00Z, secrets [redacted])
	// chatdm.Tokens(expiry 2026-11-21T09:30:00Z, secrets [redacted])
	// [chatdm.Tokens(expiry 2026-11-21T09:30:00Z, secrets [redacted])]
}

func ExampleTokens_LogValue() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	logger.Info("refreshed", "tokens", exampleTokens)
	// Output: level=INFO msg=refreshed tokens="chatdm.Tokens(expiry 2026-11-21T09:30:00Z, secrets [redacted])"
}

// withoutTime removes the time from a log line.
func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func ExampleTokens_MarshalJSON() {
	_, err := json.Marshal(map[string]any{"tokens": exampleTokens})
	fmt.Println(err)
	// Output: json: error calling MarshalJSON for type chatdm.Tokens: chatdm.Tokens: cannot be encoded as JSON because they contain secrets; use MarshalBinary and UnmarshalBinary
}

func ExampleTokens_UnmarshalJSON() {
	var tokens chatdm.Tokens
	fmt.Println(json.Unmarshal([]byte(`{"AccessToken":"xoxb-1"}`), &tokens))
	// Output: chatdm.Tokens: cannot be encoded as JSON because they contain secrets; use MarshalBinary and UnmarshalBinary
}

func ExampleTokens_MarshalBinary() {
	data, err := exampleTokens.MarshalBinary()
	if err != nil {
		fmt.Println(err)
		return
	}
	var tokens chatdm.Tokens
	err = tokens.UnmarshalBinary(data)
	fmt.Println(tokens == exampleTokens, err)
	// Output: true <nil>
}

func ExampleTokens_UnmarshalBinary() {
	var tokens chatdm.Tokens
	fmt.Println(tokens.UnmarshalBinary([]byte("xoxb-1")))
	// Output: chatdm.Tokens: the data is not from MarshalBinary
}

var exampleApp = chatdm.OAuthApp{ClientID: "1234567890.1234567890", ClientSecret: "secret"}

func ExampleOAuthApp_String() {
	fmt.Println(exampleApp.String())
	// Output: chatdm.OAuthApp(client ID "1234567890.1234567890", secret [redacted])
}

func ExampleOAuthApp_GoString() {
	fmt.Println(exampleApp.GoString())
	// Output: chatdm.OAuthApp(client ID "1234567890.1234567890", secret [redacted])
}

func ExampleOAuthApp_Format() {
	fmt.Printf("%+v\n", exampleApp)
	// Output: chatdm.OAuthApp(client ID "1234567890.1234567890", secret [redacted])
}

func ExampleOAuthApp_LogValue() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	logger.Info("starting", "app", exampleApp)
	// Output: level=INFO msg=starting app="chatdm.OAuthApp(client ID \"1234567890.1234567890\", secret [redacted])"
}

func ExampleOAuthApp_MarshalJSON() {
	_, err := json.Marshal(exampleApp)
	fmt.Println(err)
	// Output: json: error calling MarshalJSON for type chatdm.OAuthApp: chatdm.OAuthApp: cannot be encoded as JSON because it contains a secret; store ClientSecret as a string
}
