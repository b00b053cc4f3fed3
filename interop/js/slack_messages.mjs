// Posts, reads, and looks up with Slack's own client. Prints a line of JSON for each
// step; js_messages_test.go contains the expected lines.
import { WebClient } from "@slack/web-api";
import { printer, quiet } from "./print.mjs";

const { url, token, alice, bob } = JSON.parse(process.argv[2]);
const slack = new WebClient(token, { slackApiUrl: url, logger: quiet });
const { print, step } = printer();

await step("identity", () => slack.auth.test());

const posted = await step("post", () => slack.chat.postMessage({ channel: alice, text: "The build is green." }));
const channel = posted.channel;
const blocks = [
	{ type: "section", block_id: "build", text: { type: "mrkdwn", text: "*green*" } },
	{ type: "divider" },
];
const metadata = { event_type: "build_done", event_payload: { build: 7, branch: "main", steps: ["test", "lint"] } };
const marked = await step("post blocks and metadata", () => slack.chat.postMessage({ channel, text: "Green", blocks, metadata }));
await step("post Markdown", () => slack.chat.postMessage({ channel, markdown_text: "**bold**" }));
await step("post metadata with a dot", () =>
	slack.chat.postMessage({ channel, text: "dot", metadata: { ...metadata, event_type: "build.done" } }));
await step("reply", () => slack.chat.postMessage({ channel, text: "reply", thread_ts: posted.ts }));
await step("broadcast", () => slack.chat.postMessage({ channel, text: "broadcast", thread_ts: posted.ts, reply_broadcast: true }));

const one = { channel, oldest: marked.ts, latest: marked.ts, inclusive: true };
await step("history", () => slack.conversations.history({ ...one, include_all_metadata: true }));
await step("history without metadata", () => slack.conversations.history(one));
await step("history of nothing", () => slack.conversations.history({ ...one, inclusive: false }));
await step("replies", () => slack.conversations.replies({ channel, ts: posted.ts }));

async function pages(name, method, options) {
	const seen = [];
	for await (const page of slack.paginate(method, options)) {
		seen.push(page.messages.map((m) => m.text));
	}
	print(name, { pages: seen });
}
await pages("pages of the history", "conversations.history", { channel, limit: 2 });
await pages("pages of a range", "conversations.history", { channel, oldest: posted.ts, limit: 3 });
await pages("pages of the thread", "conversations.replies", { channel, ts: posted.ts, limit: 2 });

const texts = [
	"R&D <b> 1 > 0",
	"R&amp;D",
	"<@U0ALICE01> <!here>",
	"See https://example.com/?a=1&b=2.",
	"Ask a@example.com or example.com",
	"Done 🎉 👍🏽",
	"日本語",
];
const rewritten = [];
for (const text of texts) {
	const { channel, ts, message } = await slack.chat.postMessage({ channel: bob, text });
	const { messages } = await slack.conversations.history({ channel, oldest: ts, latest: ts, inclusive: true });
	rewritten.push(message.text === messages[0].text ? message.text : [message.text, messages[0].text]);
}
print("rewritten", { texts: rewritten });
const long = await step("long text", async () => {
	const { ok, channel, ts, response_metadata } = await slack.chat.postMessage({ channel: bob, text: "a".repeat(40_001) });
	return { ok, channel, ts, warnings: response_metadata.warnings };
});
await step("parts of the long text", async () => {
	const { messages } = await slack.conversations.history({ channel: long.channel, oldest: long.ts, inclusive: true });
	return messages.map((m) => m.text.length);
});

await step("user by email", () => slack.users.lookupByEmail({ email: "alice@example.com" }));
await step("user by ID", () => slack.users.info({ user: alice }));
await step("unknown email", () => slack.users.lookupByEmail({ email: "nobody@example.com" }));
await step("unknown user", () => slack.users.info({ user: "U404" }));

await step("nothing to post", () => slack.chat.postMessage({ channel }));
await step("too many blocks", () => slack.chat.postMessage({ channel, blocks: Array(51).fill({ type: "divider" }) }));
await step("invalid metadata", () => slack.chat.postMessage({ channel, text: "Hi", metadata: { event_type: "a" } }));
await step("post to an unknown channel", () => slack.chat.postMessage({ channel: "D404", text: "Hi" }));
await step("history of a user", () => slack.conversations.history({ channel: alice }));
await step("replies to an unknown message", () => slack.conversations.replies({ channel, ts: "1000000000.000001" }));
await step("invalid cursor", () => slack.conversations.history({ channel, cursor: "page2" }));
