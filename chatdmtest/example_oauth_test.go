package chatdmtest_test

import (
	"fmt"
	"net/url"
	"time"

	"github.com/chatdm/chatdm/chatdmtest"
)

// refreshArgs returns the arguments with which oauth.v2.access refreshes tokens.
func refreshArgs(refreshToken string) url.Values {
	return url.Values{
		"client_id":     {chatdmtest.ClientID},
		"client_secret": {chatdmtest.ClientSecret},
		"grant_type":    {"refresh_token"},
		"refresh_token": {refreshToken},
	}
}

func ExampleSlack_InstallRotating() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	tokens := slack.InstallRotating(chatdmtest.BotUser, "im:write", "chat:write")

	callSlack(slack, tokens.AccessToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	callSlack(slack, "", "oauth.v2.access", refreshArgs(tokens.RefreshToken))
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":true,"access_token":"xoxe.xoxb-1-chatdmtest-2","expires_in":43200,"refresh_token":"xoxe-1-chatdmtest-2","token_type":"bot","scope":"im:write,chat:write","bot_user_id":"UBOT","app_id":"A00000BOT","team":{"name":"chatdmtest","id":"T0CHATDM1"},"enterprise":null,"is_enterprise_install":false}
}

// The tokens have expired as soon as they are issued.
func ExampleSlack_SetTokenLifetime() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.SetTokenLifetime(0)
	tokens := slack.InstallRotating(chatdmtest.BotUser)

	callSlack(slack, tokens.AccessToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	// Output: 200 {"ok":false,"error":"token_expired"}
}

// The response to the first refresh is lost. The second one is too late.
func ExampleSlack_SetRefreshGrace() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	slack.SetRefreshGrace(0)
	tokens := slack.InstallRotating(chatdmtest.BotUser)
	slack.Fail("oauth.v2.access", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})

	callSlack(slack, "", "oauth.v2.access", refreshArgs(tokens.RefreshToken))
	callSlack(slack, "", "oauth.v2.access", refreshArgs(tokens.RefreshToken))
	// Output:
	// no response
	// 200 {"ok":false,"error":"invalid_refresh_token"}
}

func ExampleSlack_RevokeTokens() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	tokens := slack.InstallRotating(chatdmtest.BotUser)
	slack.RevokeTokens(chatdmtest.BotUser)

	callSlack(slack, tokens.AccessToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	callSlack(slack, chatdmtest.BotToken, "im.open", url.Values{"user": {chatdmtest.Bob}})
	callSlack(slack, "", "oauth.v2.access", refreshArgs(tokens.RefreshToken))
	// Output:
	// 200 {"ok":false,"error":"account_inactive"}
	// 200 {"ok":false,"error":"account_inactive"}
	// 200 {"ok":false,"error":"invalid_refresh_token"}
}

// The first refresh takes effect, but its response is lost. The retry issues new tokens.
func ExampleSlack_Refreshes() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	tokens := slack.InstallRotating(chatdmtest.BotUser, "im:write")
	slack.Fail("oauth.v2.access", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})

	callSlack(slack, "", "oauth.v2.access", refreshArgs(tokens.RefreshToken))
	callSlack(slack, "", "oauth.v2.access", refreshArgs(tokens.RefreshToken))
	fmt.Println(slack.Refreshes(chatdmtest.BotUser), "refreshes")
	// Output:
	// no response
	// 200 {"ok":true,"access_token":"xoxe.xoxb-1-chatdmtest-3","expires_in":43200,"refresh_token":"xoxe-1-chatdmtest-3","token_type":"bot","scope":"im:write","bot_user_id":"UBOT","app_id":"A00000BOT","team":{"name":"chatdmtest","id":"T0CHATDM1"},"enterprise":null,"is_enterprise_install":false}
	// 2 refreshes
}

// The refresh takes effect, but its response is lost. The program that sent it still has
// the old tokens.
func ExampleSlack_NewestTokens() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()
	stored := slack.InstallRotating(chatdmtest.BotUser)
	slack.Fail("oauth.v2.access", 1, chatdmtest.Fault{Cut: chatdmtest.BeforeHeader, Apply: true})
	callSlack(slack, "", "oauth.v2.access", refreshArgs(stored.RefreshToken))

	newest, refreshable := slack.NewestTokens(chatdmtest.BotUser)
	fmt.Println("stored:", stored.RefreshToken)
	fmt.Println("newest:", newest.RefreshToken, refreshable, time.Until(newest.Expiry).Round(time.Minute))
	// Output:
	// no response
	// stored: xoxe-1-chatdmtest-1
	// newest: xoxe-1-chatdmtest-2 true 12h0m0s
}
