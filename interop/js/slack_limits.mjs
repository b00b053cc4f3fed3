// Gets 429s with Slack's own client. Prints a line of JSON for each step;
// js_messages_test.go contains the expected lines.
import { setTimeout } from "node:timers/promises";
import { WebClient, WebClientEvent } from "@slack/web-api";
import { printer, quiet } from "./print.mjs";

const { url, token, alice, bob, carol, dave } = JSON.parse(process.argv[2]);
const options = { slackApiUrl: url, logger: quiet, retryConfig: { minTimeout: 0, maxTimeout: 1 } };
const { print, step } = printer();
const post = (slack, channel) => async () => (await slack.chat.postMessage({ channel, text: "Hi" })).ok;

// By default, the client waits as long as Slack requests. Meanwhile, it sends nothing, not
// even to other conversations.
const waiting = new WebClient(token, options);
const other = new Promise((resolve) => {
	waiting.once(WebClientEvent.RATE_LIMITED, async (seconds) => {
		await setTimeout(0); // the client emits the event just before it pauses
		const call = waiting.chat.postMessage({ channel: bob, text: "Hi" });
		resolve({ seconds, after: await Promise.race([call.then(() => "sent"), setTimeout(seconds * 500, "held")]) });
		await call;
	});
});
await step("wait", post(waiting, alice));
print("other conversation meanwhile", await other);

const rejecting = new WebClient(token, { ...options, rejectRateLimitedCalls: true });
await step("first", post(rejecting, carol));
await step("second", post(rejecting, carol));
await step("other conversation", post(rejecting, dave));
