-- Lets a call pass, or says how long it has to wait. Also records pauses.
--
-- A call has one or two limits: that of its conversation, if there is one, comes first,
-- and then that of its method. A call passes only if both allow it.
--
-- Times are in microseconds on the clock of Redis. Durations are in microseconds.
--
-- KEYS: for each limit
--   a hash:
--     tat         theoretical arrival time (GCRA): when the token bucket is full again
--     pause       when the pause after a 429 ends
--     limited_at  when the last 429 was reported
--     generation  a unique ID of this state; a new ID means that calls were lost
--     since       when this generation began
--     seen        when this script last ran
--     blocked     since when only the pause or the window has delayed calls, or 0
--     limited_key, limited_until  of a method: the conversation that last got a 429, and
--                 when its pause ends
--   a sorted set of the calls in the last window: IDs, and when they passed
--   a sorted set of the waiting processes: IDs, in the order of the queue
--   a sorted set of the same IDs: when each process loses its place unless it asks again
--
-- Returns an array:
--   1  1: the call passes; 2: it has to wait, and its process has a place in the queue;
--      0: it would have to wait for longer than max_caller_wait
--   2  the wait
--   3  the number of the limit that the call waits for
--   4  the current time
--   5  the time until the process must ask again to keep its place
--   and for each limit:
--   6  the time until a call may pass if no process is ahead of it
--   7  the time until the token bucket is full
--   8  the time until the pause ends
--   9  the generation
-- The durations in it are from 0 to max_wait.

local max_pause, max_wait = 3600 * 1000000, 365 * 86400 * 1000000
local common, each = 12, 5 -- the numbers of arguments

-- number returns text as a number, or nil if it is not a number from least to
-- most. NaN fails both comparisons.
local function number(text, least, most)
	local n = tonumber(text)
	if n and n >= least and n <= most then return n end
end
local function integer(n) return string.format('%.0f', n) end

local call_id = ARGV[1] -- empty: let no call pass
local process_id = ARGV[2]
local leave = ARGV[3] == '1' -- the process gives up its places
local minute = number(ARGV[4], 1, max_wait)
local window = number(ARGV[5], 1, max_wait)
local check_interval = number(ARGV[6], 1, max_wait) -- the longest time until a waiting process asks again
local lateness = number(ARGV[7], 0, max_wait) -- how late it may be before it loses its place
local reduced_limit = number(ARGV[8], 0, 1) -- fraction of the limit that remains after a 429
local recovery = number(ARGV[9], 1, max_wait) -- how long the full limit takes to return
local new_generation = ARGV[10]
local max_caller_wait = number(ARGV[11], -1, max_wait) -- -1: no maximum
local jumped = ARGV[12] == '1' -- the clock has jumped forward during the known generation

local limits = {}
local valid_arguments = minute and window and check_interval and lateness and reduced_limit and recovery and max_caller_wait
for i = 1, #KEYS / 4 do
	local k, a = (i - 1) * 4, common + (i - 1) * each
	local l = {
		state = KEYS[k + 1], calls = KEYS[k + 2], queue = KEYS[k + 3], due = KEYS[k + 4],
		per_minute = number(ARGV[a + 1], 1, 1000000),
		known_generation = ARGV[a + 3], -- of the caller's last call in this window, or empty
		passed_locally = ARGV[a + 4] == '1', -- the process let calls pass without Redis in this window
		retry_after = number(ARGV[a + 5], -math.huge, math.huge), -- of a 429 to report, or 0
	}
	l.burst = number(ARGV[a + 2], 1, l.per_minute or 0)
	valid_arguments = valid_arguments and l.burst and l.retry_after
	limits[i] = l
end
if not valid_arguments or #limits == 0 or #ARGV ~= common + each * #limits then
	return redis.error_reply('ERR chatdmredis: an argument is not a number or is out of range')
end

if leave then
	for _, l in ipairs(limits) do
		redis.call('ZREM', l.queue, process_id)
		redis.call('ZREM', l.due, process_id)
	end
	return {}
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- newest returns the highest score in a sorted set, or nil.
local function newest(key) return redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2] end

-- load reads the state of a limit, and brings it up to date.
local function load(l)
	local valid = true
	-- stored returns a time from Redis, or 0 if there is none. This script never stores
	-- a time after most, so a later time is invalid.
	local function stored(text, most)
		if not text then return 0 end
		local n = number(text, 0, most)
		if not n then valid = false end
		return n or 0
	end
	local fields = redis.call('HMGET', l.state, 'tat', 'pause', 'limited_at', 'generation', 'since', 'seen',
		'blocked', 'limited_key', 'limited_until')
	l.tat = stored(fields[1], now + max_wait)
	l.pause = stored(fields[2], now + window + max_pause)
	l.limited_at = stored(fields[3], now + window)
	l.generation = fields[4]
	l.since = fields[5] and stored(fields[5], now + window) or now
	stored(fields[6], now + window)
	l.blocked = stored(fields[7], now + max_wait)
	l.limited_key, l.limited_until = fields[8], stored(fields[9], now + window + max_pause)
	stored(newest(l.calls), now + window)
	stored(newest(l.due), now + window + check_interval + lateness)
	-- Start over if the clock was set back, or if another program changed the state.
	-- Otherwise, the times in it could block all calls for hours.
	if not valid then
		redis.call('DEL', l.state, l.calls, l.queue, l.due)
		l.tat, l.pause, l.limited_at, l.generation, l.since, l.blocked, l.limited_key, l.limited_until = 0, 0, 0, false, now, 0, false, 0
	end
	if l.generation and l.generation == l.known_generation and jumped then
		l.generation, l.since = false, now -- the window holds fewer calls than were made in the last minute
	end
	if not l.generation then l.generation = new_generation end

	l.interval = minute / l.per_minute
	-- Redis has lost earlier calls. In time t, the bucket let at most
	-- burst + t / interval calls pass. If the new bucket starts empty and with a delay
	-- of burst intervals, the sum stays within the limit of one window.
	if l.known_generation ~= '' and l.known_generation ~= l.generation then
		l.tat = math.max(l.tat, l.since + 2 * l.burst * l.interval)
	end
	-- The local calls were paced, but they are not in the sorted set. Do not allow a
	-- burst in addition to them.
	if l.passed_locally then l.tat = math.max(l.tat, now + l.burst * l.interval) end

	redis.call('ZREMRANGEBYSCORE', l.calls, '-inf', '(' .. integer(now - window))
	-- A process that did not ask again in time is dead or stalled.
	for _, id in ipairs(redis.call('ZRANGEBYSCORE', l.due, '-inf', '(' .. integer(now))) do
		redis.call('ZREM', l.due, id)
		redis.call('ZREM', l.queue, id)
	end
	local waiting = redis.call('ZCARD', l.queue)
	if waiting ~= redis.call('ZCARD', l.due) then -- Redis has evicted one of the keys
		redis.call('DEL', l.queue, l.due)
		waiting = 0
	end
	l.ahead = redis.call('ZRANK', l.queue, process_id) or waiting

	-- While a pause or a full window delays the waiting calls, the bucket does not refill.
	-- Otherwise each window would start with a burst and end with a gap.
	if waiting > 0 and l.blocked > 0 and l.blocked < now then
		l.tat = math.max(l.tat, l.blocked) + now - l.blocked
	end
	if waiting == 0 or l.blocked < now then l.blocked = 0 end

	l.retry_after = math.max(0, math.min(l.retry_after, max_pause))
	if l.retry_after > 0 then
		l.pause = math.max(l.pause, now + l.retry_after)
		l.limited_at = now
	end
end
for _, l in ipairs(limits) do load(l) end

-- A 429 does not say which limit the call exceeded. If another conversation is paused
-- too, the limit is probably that of the method.
local conversation, method = limits[1], limits[2]
if method and conversation.retry_after > 0 then
	if method.limited_key ~= conversation.state and method.limited_until > now then
		method.pause = math.max(method.pause, now + conversation.retry_after)
		method.limited_at = now
	end
	method.limited_key, method.limited_until = conversation.state, now + conversation.retry_after
end

-- plan sets l.slot, when the limit allows the call, and l.least, when it would allow it if
-- no process were ahead.
local function plan(l)
	local limit = l.per_minute -- per window
	if l.limited_at > 0 then
		local recovered = math.min(1, (now - l.limited_at) / recovery)
		limit = math.max(1, math.floor(limit * (reduced_limit + (1 - reduced_limit) * recovered)))
	end
	-- token returns when the bucket has more tokens than there are calls ahead, if each of
	-- these calls takes its token as soon as possible.
	local function token(ahead)
		local base = l.tat
		if ahead >= l.burst then base = math.max(base, now) end
		return math.max(now, base + (ahead - l.burst + 1) * l.interval)
	end
	-- resume returns when the pause is over and the window has room.
	local function resume(ahead)
		local rank = math.max(0, limit - 1 - ahead)
		local oldest = redis.call('ZREVRANGE', l.calls, rank, rank, 'WITHSCORES')[2]
		return math.max(l.pause, oldest and tonumber(oldest) + window or 0)
	end
	local first, resumed = token(0), resume(0)
	l.least = math.max(first, resumed)
	if resumed > first and l.blocked == 0 then l.blocked = first end
	local own = token(l.ahead)
	if own > first then own = own + l.least - first end
	l.slot = math.max(own, resume(l.ahead))
end

local status, wait, waiting_for, again = 0, 0, 0, 0
local last = limits[#limits]
if call_id ~= '' then
	-- If the caller did not get the last result, it asks again for the same call.
	local passed = tonumber(redis.call('ZSCORE', last.calls, call_id) or nil)
	if passed then
		local paused = last.pause > now or limits[1].pause > now
		if passed >= now - lateness and not paused and not jumped then
			status = 1
		else
			for _, l in ipairs(limits) do
				if redis.call('ZREM', l.calls, call_id) == 1 then l.tat = l.tat - l.interval end
			end
		end
	end
	for _, l in ipairs(limits) do plan(l) end
	if status == 0 then
		status = 1
		for i, l in ipairs(limits) do
			if l.slot > now then
				status, waiting_for, wait = 2, i, l.slot - now
				break
			end
			if i < #limits then -- it waits for the next limit, if at all
				redis.call('ZREM', l.queue, process_id)
				redis.call('ZREM', l.due, process_id)
			end
		end
		if wait > max_wait then
			return redis.error_reply('ERR chatdmredis: the wait would exceed a year')
		end
		if status == 1 then
			for _, l in ipairs(limits) do
				redis.call('ZADD', l.calls, integer(now), call_id)
				l.tat = math.max(l.tat, now) + l.interval
				redis.call('ZREM', l.queue, process_id)
				redis.call('ZREM', l.due, process_id)
			end
			for _, l in ipairs(limits) do plan(l) end -- for the caller's next call
		elseif max_caller_wait >= 0 and wait > max_caller_wait then
			status = 0
		else
			local l = limits[waiting_for]
			if not redis.call('ZSCORE', l.queue, process_id) then
				redis.call('ZADD', l.queue, integer(math.max(now, (newest(l.queue) or 0) + 1)), process_id)
			end
			-- If a process is late, ask again when it loses its place.
			redis.call('ZREM', l.due, process_id)
			local late = redis.call('ZREVRANGEBYSCORE', l.due, integer(now + lateness), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
			again = math.min(wait, late and late - now + 1000 or check_interval)
			redis.call('ZADD', l.due, integer(now + again + lateness), process_id)
			local ttl = integer((check_interval + 2 * lateness) / 1000 + 1000)
			redis.call('PEXPIRE', l.queue, ttl)
			redis.call('PEXPIRE', l.due, ttl)
		end
	end
end

local function remaining(t) return math.max(0, math.min(math.ceil((t or now) - now), max_wait)) end
local result = { status, math.ceil(wait), waiting_for, now, math.ceil(again) }
for _, l in ipairs(limits) do
	redis.call('HSET', l.state, 'tat', integer(l.tat), 'pause', integer(l.pause), 'limited_at', integer(l.limited_at),
		'generation', l.generation, 'since', integer(l.since), 'seen', integer(now), 'blocked', integer(l.blocked))
	if l.limited_key then
		redis.call('HSET', l.state, 'limited_key', l.limited_key, 'limited_until', integer(l.limited_until))
	end
	-- The state is not needed after all calls have left the window and the limit has recovered.
	local needed = math.max(now, l.tat, l.pause, l.limited_until)
	if l.limited_at > 0 then needed = math.max(needed, l.limited_at + recovery) end
	local ttl = integer((needed - now + window + check_interval) / 1000)
	redis.call('PEXPIRE', l.state, ttl)
	redis.call('PEXPIRE', l.calls, ttl)
	for _, value in ipairs({ remaining(l.least), remaining(l.tat), remaining(l.pause), l.generation }) do
		result[#result + 1] = value
	end
end
return result
