module github.com/chatdm/chatdm/bench

go 1.26.0

require (
	github.com/chatdm/chatdm v0.0.0
	github.com/slack-go/slack v0.34.0
)

require (
	github.com/google/go-querystring v1.2.0 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	github.com/hashicorp/go-cleanhttp v0.5.2 // indirect
	github.com/hashicorp/go-retryablehttp v0.7.8 // indirect
)

// go mod tidy does not read go.work, and what is measured is this very version.
replace github.com/chatdm/chatdm => ../
