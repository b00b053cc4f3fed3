-- One step of a limiter: report a refusal, and get or confirm a turn.
--
-- All times are microseconds of Redis's own clock, all spans microseconds.
-- KEYS[1] is a hash:
--   tat     when the bucket would be full again, were nobody to come (GCRA)
--   until   the server refuses calls until then
--   slowed  when the last refusal came
--   gen     a random name of this state, for its loss to be noticed
--   born    when the state began
--   seen    the clock at the last step
-- KEYS[2] is a sorted set of turns by time, those of the last window and those
-- to come; the members are the ids that the processes gave them.

local state, log = KEYS[1], KEYS[2]
local max_pause, max_wait = 3600 * 1000000, 365 * 86400 * 1000000

-- number returns text as a number, or nil if it is not one between least and
-- most. NaN fails both comparisons.
local function number(text, least, most)
	local n = tonumber(text)
	if n and n >= least and n <= most then return n end
end

local id = ARGV[1] -- of the turn wanted; empty where only a refusal is reported
local calls = number(ARGV[2], 1, 1000000)
local burst = number(ARGV[3], 1, calls or 0)
local minute, window, grace = number(ARGV[4], 1, max_wait), number(ARGV[5], 1, max_wait), number(ARGV[6], 0, max_wait)
local kept, recovery = number(ARGV[7], 0, 1), number(ARGV[8], 1, max_wait)
local fresh = ARGV[9]              -- a name for the state, should there be none
local known = ARGV[10]             -- the state that this process was let pass by within the last window, or empty
local apart = ARGV[11] == '1'      -- it has paced calls without Redis within the last window
local refused = number(ARGV[12], -math.huge, math.huge) -- for how long the server refuses; 0 for no refusal
local patience = number(ARGV[13], -1, max_wait) -- the longest wait that is of use; negative for any
if not (calls and burst and minute and window and grace and kept and recovery and refused and patience) then
	return redis.error_reply('ERR an argument of the script is not a number or out of range')
end
refused = math.max(0, math.min(refused, max_pause))

local step = minute / calls
local function int(n) return string.format('%.0f', n) end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local v = redis.call('HMGET', state, 'tat', 'until', 'slowed', 'gen', 'born', 'seen')
local gen, valid = v[4], true

-- stored returns a time that Redis holds, or 0 if it holds none. A time after
-- most cannot come from this script.
local function stored(text, most)
	if not text then return 0 end
	local n = number(text, 0, most)
	if not n then valid = false end
	return n or 0
end
local tat = stored(v[1], now + max_wait)
local pause = stored(v[2], now + window + max_pause)
local slowed = stored(v[3], now + window)
local born = v[5] and stored(v[5], now + window) or now
stored(v[6], now + window) -- of the last step
stored(redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2], now + max_wait)

-- A clock that was set back, or somebody else, leaves times that may take hours
-- to come: begin anew.
if not valid then
	redis.call('DEL', state, log)
	tat, pause, slowed, gen, born = 0, 0, 0, false, now
end
if not gen then gen = fresh end

-- The state of the calls before is lost. The bucket let at most burst + x/step
-- calls pass in the time x before; one that begins empty, and burst steps late,
-- keeps the sum below what one window may have.
if known ~= '' and known ~= gen then tat = math.max(tat, born + 2 * burst * step) end
-- Those calls were paced, but are not in the log: no burst on top of them.
if apart then tat = math.max(tat, now + burst * step) end

redis.call('ZREMRANGEBYSCORE', log, '-inf', '(' .. int(now - window))

if refused > 0 then
	pause = math.max(pause, now + refused)
	slowed = now
end

local at, granted = now, 0
if id ~= '' then
	local mine = tonumber(redis.call('ZSCORE', log, id) or nil)
	-- A turn that came during a refusal, or a while ago, is void.
	if mine and mine <= now and (pause > now or mine + grace < now) then
		redis.call('ZREM', log, id)
		tat = tat - step
		mine = nil
	end
	if mine then
		at, granted = mine, 1
	else
		local allowed = calls
		if slowed > 0 then
			local won = math.min(1, (now - slowed) / recovery)
			allowed = math.max(1, math.floor(calls * (kept + (1 - kept) * won)))
		end
		-- When the bucket has a token: first come, first served.
		local before = tonumber(redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')[2] or 0)
		local free = math.max(now, before, tat - (burst - 1) * step)
		at = math.max(free, pause)
		-- The call that leaves the window last of as many as are allowed in it.
		local last = redis.call('ZREVRANGE', log, allowed - 1, allowed - 1, 'WITHSCORES')[2]
		if last then at = math.max(at, tonumber(last) + window) end
		if at - now > max_wait then
			return redis.error_reply('ERR the wait for a turn is more than a year')
		end
		if patience < 0 or at - now <= patience then
			redis.call('ZADD', log, int(at), id)
			-- While something else holds the call back, the bucket stands still: else
			-- there would be a burst in every minute, and a gap before it.
			tat = math.max(tat, now) + at - free
			tat = math.max(tat, at) + step
			granted = 1
		end
	end
end

redis.call('HSET', state, 'tat', int(tat), 'until', int(pause), 'slowed', int(slowed),
	'gen', gen, 'born', int(born), 'seen', int(now))
-- Nothing here matters once every turn has left the window and the pace is won back.
local ttl = int((math.max(at, pause, tat, now) - now + window + recovery) / 1000)
redis.call('PEXPIRE', state, ttl)
redis.call('PEXPIRE', log, ttl)

local function remaining(time) return math.max(0, math.min(math.ceil(time - now), max_wait)) end
return { granted, remaining(at), remaining(tat), remaining(pause), gen }
