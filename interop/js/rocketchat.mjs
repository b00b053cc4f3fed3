// The life of direct messages as Rocket.Chat's own client lives it. Prints a line
// of JSON for each step; js_test.go knows what has to be in it.
import client from "@rocket.chat/api-client"; // CommonJS

const { url, password, username, totp, admin } = JSON.parse(process.argv[2]);

const member = new client.RestClient({ baseUrl: url });
const administrator = new client.RestClient({
	baseUrl: url,
	credentials: { "X-User-Id": admin.id, "X-Auth-Token": admin.token },
});

function print(step, seen) {
	console.log(JSON.stringify({ step, ...seen }, (key, value) => {
		if (key === "ts") return typeof value; // a time differs from run to run
		if (typeof value === "string") return value.replace(/wait \d+ seconds/, "wait N seconds");
		return value;
	}));
}

// The client rejects with the fetch Response itself, unless it cannot read a
// good one.
async function step(name, call) {
	try {
		print(name, { result: await call() });
	} catch (err) {
		if (!(err instanceof Response)) {
			print(name, { thrown: err.name });
			return;
		}
		const text = await err.text();
		const json = err.headers.get("content-type") === "application/json";
		print(name, { status: err.status, body: json ? JSON.parse(text) : text });
	}
}

const post = (rest, path, params) => () => rest.post(`/v1/${path}`, params);

await step("without login", () => member.get("/v1/me"));
await step("wrong password", post(member, "login", { user: username, password: "wrong" }));
await step("unknown user", post(member, "login", { user: "nobody", password }));
// The client answers a challenge itself only where it is a 400, not login's 401.
await step("login wants a code", post(member, "login", { user: username, password }));
await step("wrong code", post(member, "login", { user: username, password, code: "000000" }));
await step("login", async () => {
	const answer = await member.post("/v1/login", { user: username, password, code: totp });
	member.setCredentials({ "X-User-Id": answer.data.userId, "X-Auth-Token": answer.data.authToken });
	return answer;
});
await step("me", () => member.get("/v1/me"));

// A call that wants the code again: the client asks its handler, and repeats.
const challenges = [];
member.handleTwoFactorChallenge(async (challenge) => {
	challenges.push(challenge);
	return totp;
});
await step("second factor", async () => {
	const { total } = await member.get("/v1/dm.list");
	return { total, challenges };
});

let room = "";
await step("create", async () => {
	const answer = await member.post("/v1/im.create", { username: "alice" });
	room = answer.room.rid;
	return answer;
});
await step("create again", post(member, "im.create", { username: "alice" }));
await step("create a group", post(member, "im.create", { usernames: "alice,bob" }));
await step("create with nobody", post(member, "im.create", { username: "nobody" }));
await step("create with both", post(member, "im.create", { username: "alice", usernames: "bob" }));
await step("open", post(member, "im.open", { roomId: room }));
await step("open again", post(member, "im.open", { roomId: room }));
await step("open unknown", post(member, "im.open", { roomId: "unknown" }));
await step("close", post(member, "im.close", { roomId: room }));
await step("close again", post(member, "im.close", { roomId: room }));
await step("close unknown", post(member, "im.close", { roomId: "unknown" }));
await step("list", () => member.get("/v1/im.list", { count: 1, offset: 0 }));
await step("limited", () => member.get("/v1/im.list"));

await step("delete as a member", post(member, "im.delete", { roomId: room }));
await step("delete", post(administrator, "im.delete", { roomId: room }));
await step("delete again", post(administrator, "im.delete", { roomId: room }));
await step("delete nothing", post(administrator, "im.delete", {}));
await step("logout", post(member, "logout"));
await step("after logout", () => member.get("/v1/me"));
