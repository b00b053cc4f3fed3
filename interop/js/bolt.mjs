// A bot on Slack's framework Bolt. Events come from this script, and calls go to the fake
// server. Prints a line of JSON for each step; js_messages_test.go contains the expected
// lines.
import bolt from "@slack/bolt"; // CommonJS
import { printer, quiet } from "./print.mjs";

const { url, token, team, alice } = JSON.parse(process.argv[2]);
const { print, step } = printer();

// A Receiver passes events to the app, as Bolt's HTTP and Socket Mode receivers do.
const receiver = {
	init(app) {
		this.app = app;
	},
	async start() {},
	async stop() {},
	async deliver(event) {
		let acks = 0;
		const body = { type: "event_callback", team_id: team, event: { type: "message", channel_type: "im", ...event } };
		await this.app.processEvent({ body, ack: async () => void acks++ });
		return acks;
	},
};
const app = new bolt.App({ token, receiver, clientOptions: { slackApiUrl: url }, logger: quiet });

let calls = 0;
app.message(/^deploy/, async ({ message, say, client, context }) => {
	calls++;
	const { botUserId, botId, teamId } = context;
	print("context", { botUserId, botId, teamId });
	const { user } = await client.users.info({ user: message.user });
	const parent = await step("say", () => say({
		text: `Hello ${user.profile.display_name}, R&D is ready 🎉`,
		metadata: { event_type: "deploy", event_payload: { build: 7 } },
	}));
	await step("say in the thread", () => say({ text: "Step 1", thread_ts: parent.ts }));
	await step("say text", () => say("Bye"));
	await step("history", () => client.conversations.history({ channel: message.channel, include_all_metadata: true }));
	await step("replies", () => client.conversations.replies({ channel: message.channel, ts: parent.ts }));
});
app.message(/^lost/, async ({ say, client, message }) => {
	await step("say, response lost", async () => (await say("lost")).ok);
	const { messages } = await client.conversations.history({ channel: message.channel });
	print("lost", { posted: messages.filter((m) => m.text === "lost").length });
});
app.error(async ({ code, data }) => print("error", { code, data }));

const { channel } = await app.client.conversations.open({ users: alice });
const dm = channel.id;
print("deliver", { acks: await receiver.deliver({ channel: dm, user: alice, text: "deploy main", ts: "1000000000.000001" }) });

// Bolt ignores the bot's own messages: it knows their user from auth.test.
const own = await app.client.chat.postMessage({ channel: dm, text: "deploy again" });
await receiver.deliver({ ...own.message, channel: dm });
print("own message", { calls });

await receiver.deliver({ channel: dm, user: alice, text: "lost", ts: "1000000000.000002" });

app.event("message", async ({ say }) => say("Hi"));
await receiver.deliver({ channel: "D404", user: alice, text: "hi", ts: "1000000000.000003" });
