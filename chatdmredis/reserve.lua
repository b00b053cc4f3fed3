-- Reserves a slot for a call, or checks a reserved slot. Also records a pause.
--
-- Times are in microseconds on the clock of Redis. Durations are in microseconds.
--
-- KEYS[1] is a hash:
--   tat         theoretical arrival time (GCRA): when the token bucket is full again
--   pause       when the pause after a 429 ends
--   limited_at  when the last 429 was reported
--   generation  a unique ID of this state; a new ID means that it was lost
--   since       when this state was created
--   seen        when this script last ran
-- KEYS[2] is a sorted set of the slots in the last window and of reserved slots.
-- The members are slot IDs, and the scores are times.
--
-- Returns an array:
--   1  1 if a slot is reserved, or 0
--   2  time until the slot, or until the earliest slot if none is reserved
--   3  time until the token bucket is full
--   4  time until the pause ends
--   5  the generation
-- The durations in it are from 0 to max_wait.

local state, slots = KEYS[1], KEYS[2]
local max_pause, max_wait = 3600 * 1000000, 365 * 86400 * 1000000

-- number returns text as a number, or nil if it is not a number from least to
-- most. NaN fails both comparisons.
local function number(text, least, most)
	local n = tonumber(text)
	if n and n >= least and n <= most then return n end
end

local slot_id = ARGV[1] -- empty: reserve nothing
local calls = number(ARGV[2], 1, 1000000) -- per minute
local burst = number(ARGV[3], 1, calls or 0)
local minute = number(ARGV[4], 1, max_wait)
local window = number(ARGV[5], 1, max_wait)
local grace = number(ARGV[6], 0, max_wait) -- how long a slot stays usable
local reduced_limit = number(ARGV[7], 0, 1) -- fraction of the limit that remains after a 429
local recovery = number(ARGV[8], 1, max_wait) -- how long the full limit takes to return
local new_generation = ARGV[9] -- used if there is no state
local known_generation = ARGV[10] -- of the caller's last call in this window, or empty
local passed_locally = ARGV[11] == '1' -- the caller passed calls without Redis in this window
local retry_after = number(ARGV[12], -math.huge, math.huge) -- of a 429 to report, or 0
local max_caller_wait = number(ARGV[13], -1, max_wait) -- reserve no later slot; -1: no maximum
if not (calls and burst and minute and window and grace and reduced_limit and recovery and retry_after and max_caller_wait) then
	return redis.error_reply('ERR chatdmredis: an argument is not a number or is out of range')
end
retry_after = math.max(0, math.min(retry_after, max_pause))

local interval = minute / calls
local function integer(n) return string.format('%.0f', n) end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local fields = redis.call('HMGET', state, 'tat', 'pause', 'limited_at', 'generation', 'since', 'seen')
local generation, valid = fields[4], true

-- stored returns a time from Redis, or 0 if there is none. This script never stores
-- a time after most, so a later time is invalid.
local function stored(text, most)
	if not text then return 0 end
	local n = number(text, 0, most)
	if not n then valid = false end
	return n or 0
end
local tat = stored(fields[1], now + max_wait)
local pause = stored(fields[2], now + window + max_pause)
local limited_at = stored(fields[3], now + window)
local since = fields[5] and stored(fields[5], now + window) or now
stored(fields[6], now + window)
stored(redis.call('ZREVRANGE', slots, 0, 0, 'WITHSCORES')[2], now + max_wait)

-- Start over if the clock was set back, or if another program changed the state.
-- Otherwise, the times in it could block all calls for hours.
if not valid then
	redis.call('DEL', state, slots)
	tat, pause, limited_at, generation, since = 0, 0, 0, false, now
end
if not generation then generation = new_generation end

-- Redis has lost earlier calls. In time t, the bucket let at most
-- burst + t / interval calls pass. If the new bucket starts empty and with a delay
-- of burst intervals, the sum stays within the limit of one window.
if known_generation ~= '' and known_generation ~= generation then
	tat = math.max(tat, since + 2 * burst * interval)
end
-- The local calls were paced, but they are not in the sorted set. Do not allow a
-- burst in addition to them.
if passed_locally then tat = math.max(tat, now + burst * interval) end

redis.call('ZREMRANGEBYSCORE', slots, '-inf', '(' .. integer(now - window))

if retry_after > 0 then
	pause = math.max(pause, now + retry_after)
	limited_at = now
end

local slot, reserved = now, 0
if slot_id ~= '' then
	local existing = tonumber(redis.call('ZSCORE', slots, slot_id) or nil)
	-- Discard a slot that was not used in time or that fell into a pause.
	if existing and existing <= now and (pause > now or existing + grace < now) then
		redis.call('ZREM', slots, slot_id)
		tat = tat - interval
		existing = nil
	end
	if existing then
		slot, reserved = existing, 1
	else
		local limit = calls -- per window
		if limited_at > 0 then
			local recovered = math.min(1, (now - limited_at) / recovery)
			limit = math.max(1, math.floor(calls * (reduced_limit + (1 - reduced_limit) * recovered)))
		end
		-- token is when the bucket has a token. Slots are assigned in order.
		local newest = tonumber(redis.call('ZREVRANGE', slots, 0, 0, 'WITHSCORES')[2] or 0)
		local token = math.max(now, newest, tat - (burst - 1) * interval)
		slot = math.max(token, pause)
		-- If the window is full, wait until the oldest of its calls leaves it.
		local oldest = redis.call('ZREVRANGE', slots, limit - 1, limit - 1, 'WITHSCORES')[2]
		if oldest then slot = math.max(slot, tonumber(oldest) + window) end
		if slot - now > max_wait then
			return redis.error_reply('ERR chatdmredis: the wait for a slot would exceed a year')
		end
		if max_caller_wait < 0 or slot - now <= max_caller_wait then
			redis.call('ZADD', slots, integer(slot), slot_id)
			-- While a pause or a full window delays the call, the bucket does not refill.
			-- Otherwise each window would start with a burst and end with a gap.
			tat = math.max(tat, now) + slot - token
			tat = math.max(tat, slot) + interval
			reserved = 1
		end
	end
end

redis.call('HSET', state, 'tat', integer(tat), 'pause', integer(pause), 'limited_at', integer(limited_at),
	'generation', generation, 'since', integer(since), 'seen', integer(now))
-- The state is not needed after all slots have left the window and the limit has recovered.
local ttl = integer((math.max(slot, pause, tat, now) - now + window + recovery) / 1000)
redis.call('PEXPIRE', state, ttl)
redis.call('PEXPIRE', slots, ttl)

local function remaining(t) return math.max(0, math.min(math.ceil(t - now), max_wait)) end
return { reserved, remaining(slot), remaining(tat), remaining(pause), generation }
