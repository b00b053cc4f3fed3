package chatdmtest_test

import (
	"net/url"

	"github.com/chatdm/chatdm/chatdmtest"
)

func ExampleSlack_RetireIM() {
	slack := chatdmtest.NewSlack()
	defer slack.Close()

	bob := url.Values{"user": {chatdmtest.Bob}}
	call(slack, chatdmtest.BotToken, "im.open", bob)
	slack.RetireIM(true)
	call(slack, chatdmtest.BotToken, "im.open", bob)
	// Output:
	// 200 {"ok":true,"channel":{"id":"D000000001"}}
	// 200 {"ok":false,"error":"method_deprecated","response_metadata":{"messages":["[ERROR] This method is retired and can no longer be used. Please use conversations.open instead. Learn more: https://api.slack.com/changelog/2020-01-deprecating-antecedents-to-the-conversations-api"]}}
}
