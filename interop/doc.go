// Package interop has only tests: clients by other people talk to the servers of
// package chatdmtest, and its answers are held against those that Slack documents.
// It is a module of its own, so that those clients stay out of the SDK's go.mod.
//
// The clients in the folder js want node and, once, "npm ci" there. Without them
// their tests are skipped, except where the environment has CI=true.
//
// Headless Chromium uses the live page of chatdmtest/cmd/fakechat. Without the program
// chromium, these tests are skipped, too.
//
// Rocket.Chat's client depends on two packages of TypeScript types, which its code
// never loads, and one of which npm cannot install: it asks for a dependency in a
// notation of yarn's. In js, the empty package no-typings stands in for both.
package interop
