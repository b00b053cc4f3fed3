// Sends, reads, and looks up with Rocket.Chat's own client. Prints a line of JSON for
// each step; js_messages_test.go contains the expected lines.
import { setTimeout } from "node:timers/promises";
import client from "@rocket.chat/api-client"; // CommonJS

const { url, username, password, alice } = JSON.parse(process.argv[2]);
const rest = new client.RestClient({ baseUrl: url });

function print(step, seen) {
	console.log(JSON.stringify({ step, ...seen }, (key, value) => {
		if (["ts", "_updatedAt"].includes(key)) return typeof value; // differs from run to run
		if (typeof value === "string") return value.replace(/wait \d+ seconds/, "wait N seconds");
		return value;
	}));
}

// The client rejects with a Response, or with the error of fetch.
async function step(name, call) {
	try {
		const result = await call();
		print(name, { result });
		return result;
	} catch (err) {
		print(name, err instanceof Response ? { status: err.status, body: await err.json() } : { thrown: err.name });
	}
}

async function login() {
	const { data } = await rest.post("/v1/login", { user: username, password });
	rest.setCredentials({ "X-User-Id": data.userId, "X-Auth-Token": data.authToken });
	return data.userId;
}
await step("login", login);
const { room } = await step("create", () => rest.post("/v1/im.create", { username: "alice" }));
const roomId = room._id;

const send = (message) => () => rest.post("/v1/chat.sendMessage", { message });
const get = (msgId) => () => rest.get("/v1/chat.getMessage", { msgId });
const texts = (params) => async () => (await rest.get("/v1/im.history", { roomId, ...params })).messages.map((m) => m.msg);
// The server keeps times in milliseconds.
const nextMillisecond = async (after) => {
	while (Date.now() <= Date.parse(after)) await setTimeout(1);
};

const first = await step("send", send({ _id: "message1", rid: roomId, msg: " R&D <b> https://example.com 🎉 " }));
await step("send again", send({ _id: "message1", rid: roomId, msg: "other text" }));
await step("get", get("message1"));
await step("get an unknown message", get("unknown"));
await nextMillisecond(first.message.ts);
const second = await step("post", () => rest.post("/v1/chat.postMessage", { roomId, text: " posted " }));
await nextMillisecond(second.message.ts);
await step("reply", send({ _id: "reply1", rid: roomId, msg: "reply", tmid: "message1" }));
await step("post to a user", async () => {
	const { channel, message } = await rest.post("/v1/chat.postMessage", { channel: "@bob", text: "Hi Bob" });
	return { channel, text: message.msg };
});

// The response is lost. The client does not retry, so ask whether the message is there.
await step("send, response lost", send({ _id: "lost1", rid: roomId, msg: "lost" }));
await step("look for it", async () => (await get("lost1")()).message.msg);
await step("send it again", send({ _id: "lost1", rid: roomId, msg: "lost" }));

await step("history", texts({}));
await step("history with threads", texts({ showThreadMessages: true }));
await step("history, two messages", texts({ count: 2 }));
await step("history, the next two", texts({ count: 2, offset: 2 }));
const range = { oldest: first.message.ts, latest: second.message.ts };
await step("history, exclusive", texts(range));
await step("history, inclusive", texts({ ...range, inclusive: true }));
await step("history of an unknown room", texts({ roomId: "unknown" }));

await step("send to an unknown room", send({ rid: "unknown", msg: "Hi" }));
await step("send without a room", send({ msg: "Hi" }));
await step("send a long text", send({ rid: roomId, msg: "a".repeat(5001) }));
await step("post a long text", async () =>
	(await rest.post("/v1/chat.postMessage", { roomId, text: "a".repeat(5001) })).message.msg.length);
await step("send an empty text", send({ rid: roomId, msg: "" }));
await step("send no message", () => rest.post("/v1/chat.sendMessage", {}));

const info = (params) => () => rest.get("/v1/users.info", params);
await step("user by name", info({ username: "alice" }));
await step("user by ID", async () => (await info({ userId: alice })()).user.username);
await step("user by own email", info({ email: "careful@example.com" }));
await step("unknown user", info({ username: "nobody" }));
await step("user without parameters", info({}));

await step("logout", () => rest.post("/v1/logout"));
await step("get after logout", get("message1"));
