// What the scripts that post to Slack have in common.

export const quiet = { debug() {}, info() {}, warn() {}, error() {}, setLevel() {}, getLevel() {}, setName() {} };

// printer returns functions that print a line of JSON for a step. The lines are the same
// in each run: the timestamps of messages are replaced by "ts1", "ts2", and so on.
export function printer() {
	const labels = new Map();
	function label(ts) {
		if (!labels.has(ts)) labels.set(ts, `ts${labels.size + 1}`);
		return labels.get(ts);
	}
	function print(step, seen) {
		console.log(JSON.stringify({ step, ...seen }, (key, value) => {
			if (["scopes", "acceptedScopes"].includes(key)) return undefined; // web-api adds them to each response
			if (["ts", "thread_ts", "latest_reply"].includes(key) && typeof value === "string") return label(value);
			return value;
		}));
	}
	// step prints the result of a call, or the error, and returns the result.
	async function step(name, call) {
		try {
			const result = await call();
			print(name, { result });
			return result;
		} catch (err) {
			print(name, { code: err.code ?? err.name, data: err.data, retryAfter: err.retryAfter });
		}
	}
	return { print, step };
}
