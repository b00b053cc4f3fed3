// Package interop has only tests: clients by other people call the fake servers of
// package chatdmtest. It is a separate module, so that these clients do not become
// dependencies of the SDK.
//
//   - Slack: slack-go, and for Node @slack/web-api and @slack/bolt
//   - Rocket.Chat: the REST part of Rocket.Chat.Go.SDK, and for Node
//     @rocket.chat/api-client
//
// The clients for Node are in the folder js. They need Node, and "npm ci" in that folder.
// Without them, their tests are skipped, unless the environment has CI=true.
//
// Headless Chromium uses the live page of chatdmtest/cmd/fakechat. Without the program
// chromium, these tests are skipped, too.
//
// @rocket.chat/api-client depends on two packages of TypeScript types, which its code
// never loads. npm cannot install one of them, because it declares a dependency in the
// syntax of yarn. The empty package no-typings replaces both. The older @rocket.chat/sdk
// is not here, because it depends on a DDP library that is only on GitHub.
package interop
