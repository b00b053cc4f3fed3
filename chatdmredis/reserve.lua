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
local id = ARGV[1] -- of the turn wanted; empty where only a refusal is reported
local calls, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local minute, window, grace = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local kept, recovery = tonumber(ARGV[7]), tonumber(ARGV[8])
local fresh = ARGV[9]              -- a name for the state, should there be none
local known = ARGV[10]             -- the state that this process was let pass by within the last window, or empty
local apart = ARGV[11] == '1'      -- it has paced calls without Redis within the last window
local refused = tonumber(ARGV[12]) -- for how long the server refuses; 0 for no refusal
local patience = tonumber(ARGV[13]) -- the longest wait that is of use; negative for any

local step = minute / calls
local function int(n) return string.format('%.0f', n) end

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local v = redis.call('HMGET', state, 'tat', 'until', 'slowed', 'gen', 'born', 'seen')
local tat, pause, slowed = tonumber(v[1]) or 0, tonumber(v[2]) or 0, tonumber(v[3]) or 0
local gen, born, seen = v[4], tonumber(v[5]) or now, tonumber(v[6]) or now

-- A clock that was set back leaves times that may take hours to come: begin anew.
if seen > now + window then
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

return { granted, math.ceil(at - now), math.ceil(tat - now), math.ceil(pause - now), gen }
