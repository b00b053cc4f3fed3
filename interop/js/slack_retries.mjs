// Posts one message with Slack's own client, and prints what the client reports.
import { WebClient } from "@slack/web-api";
import { printer, quiet } from "./print.mjs";

const { url, token, channel, options } = JSON.parse(process.argv[2]);
const slack = new WebClient(token, { slackApiUrl: url, logger: quiet, ...options });
await printer().step("post", async () => {
	const { ok } = await slack.chat.postMessage({ channel, text: "Hi" });
	return { ok };
});
