// The life of direct messages as Slack's own client lives it. Prints a line of
// JSON for each step; js_test.go knows what has to be in it.
import { WebClient, WebClientEvent } from "@slack/web-api";

const { url, token, narrowToken, alice, bob, disabled } = JSON.parse(process.argv[2]);

const options = {
	slackApiUrl: url,
	// What the server asks for is waited for. The client's own pause on top of
	// it, a second or two, is not.
	retryConfig: { retries: 5, minTimeout: 0, maxTimeout: 1 },
	logger: { debug() {}, info() {}, warn() {}, error() {}, setLevel() {}, getLevel() {}, setName() {} },
};
const slack = new WebClient(token, options);

// Times differ from run to run, so their types stand for them. The client adds a
// response_metadata to every answer, with the scopes in its header: one step shows
// those.
const times = ["created", "updated", "last_set"];
function print(step, seen, showScopes = false) {
	console.log(JSON.stringify({ step, ...seen }, (key, value) => {
		if (times.includes(key) && value) return typeof value;
		if (key === "scopes" || key === "acceptedScopes") return showScopes ? value.join() : undefined;
		return value;
	}));
}

async function step(name, call, showScopes) {
	try {
		print(name, { result: await call() }, showScopes);
	} catch (err) {
		print(name, { code: err.code, data: err.data, retryAfter: err.retryAfter, status: err.statusCode, body: err.body }, showScopes);
	}
}

await step("open", () => slack.conversations.open({ users: alice }));
await step("open again", () => slack.conversations.open({ users: alice }));
await step("open with return_im", () => slack.conversations.open({ users: alice, return_im: true }));
await step("open by channel", () => slack.conversations.open({ channel: "D000000001" }));
await step("open without creation", () => slack.conversations.open({ users: bob, prevent_creation: true }));
await step("open a group", () => slack.conversations.open({ users: `${alice},${bob}` }));
await step("open a group again", () => slack.conversations.open({ users: `${alice},${bob}`, return_im: true }));
await step("close", () => slack.conversations.close({ channel: "D000000001" }));
await step("close again", () => slack.conversations.close({ channel: "D000000001" }));
await step("close the group", () => slack.conversations.close({ channel: "C000000001" }));
await step("close the group again", () => slack.conversations.close({ channel: "C000000001" }));

await step("disabled user", () => slack.conversations.open({ users: disabled }));
await step("unknown channel", () => slack.conversations.close({ channel: "D404" }));
await step("no channel", () => slack.conversations.close({}));
await step("no users", () => slack.conversations.open({}));
await step("no scope", () => new WebClient(narrowToken, options).conversations.open({ users: alice }), true);
await step("unknown token", () => new WebClient("xoxb-unknown", options).conversations.open({ users: alice }));
await step("retired method", () => slack.apiCall("im.open", { user: alice }));
const hasty = new WebClient(token, { ...options, retryConfig: { retries: 0 } });
await step("server down", () => hasty.users.info({ user: alice }));

// Pages, followed by the client.
await slack.conversations.open({ users: bob });
let page = 0;
for await (const { channels, response_metadata } of slack.paginate("conversations.list", { types: "im,mpim", limit: 2 })) {
	page++;
	print(`page ${page}`, { ids: channels.map((c) => c.id), more: response_metadata.next_cursor !== "" });
}

// A limit that the client throws, and one that it waits for. The second is a
// call in a second, so it is called until two calls do meet in one.
const impatient = new WebClient(token, { ...options, rejectRateLimitedCalls: true });
await impatient.api.test();
await step("limited", () => impatient.api.test());

let waits = [];
slack.on(WebClientEvent.RATE_LIMITED, (seconds) => waits.push(seconds));
let last;
while (waits.length === 0) {
	last = await slack.auth.test();
}
print("waited", { waits, ok: last.ok, user_id: last.user_id });
