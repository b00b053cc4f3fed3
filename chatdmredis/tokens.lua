-- Loads and updates the tokens of a TokenStore. Each update has a random ID, which is
-- unique even if Redis loses data, unlike a counter.
--
-- KEYS[1] is a hash that does not expire:
--   tokens  the result of Tokens.MarshalBinary
--   writer  the ID of the update that stored the tokens
--   holder  the fence: the ID of the update that last took the lock, until it ends
-- KEYS[2] is the lock, a string that expires: the ID of the update that holds it.
-- KEYS[3] exists for a minute after this update has stored its tokens.
--
-- ARGV[1] is the operation, and ARGV[2] the ID of the update:
--   load                    returns the tokens or nil
--   lock ID ttl             returns {1, tokens, writer}, or {0} if another update holds the lock
--   renew ID ttl            returns 1, or 0 if the lock is lost
--   store ID writer tokens  stores the tokens and unlocks; returns 1, or 0 if another update
--                           has taken the lock or has stored tokens. The argument writer is
--                           what lock returned, or empty. If the response was lost, the
--                           operation can be repeated, even if others have stored tokens since.
--   unlock ID               returns 1

local data, lock, stored = KEYS[1], KEYS[2], KEYS[3]
local operation, id = ARGV[1], ARGV[2]

local kind = redis.call('TYPE', data).ok
if kind ~= 'hash' and kind ~= 'none' then return redis.error_reply('CORRUPT ' .. kind) end

if operation == 'load' then return redis.call('HGET', data, 'tokens') end

local fields = redis.call('HMGET', data, 'tokens', 'writer', 'holder')
local tokens, writer, holder = fields[1], fields[2], fields[3]
local locked_by = redis.call('GET', lock)

local function take_lock()
	redis.call('HSET', data, 'holder', id)
	redis.call('SET', lock, id, 'PX', ARGV[3])
end

local function unlock()
	if holder == id then redis.call('HDEL', data, 'holder') end
	if locked_by == id then redis.call('DEL', lock) end
	return 1
end

if operation == 'lock' then
	-- If the response was lost, the Redis client repeats the operation.
	if locked_by and locked_by ~= id then return { 0 } end
	take_lock()
	return { 1, tokens, writer }
elseif operation == 'renew' then
	-- The lock has expired, but no other update has taken it.
	if not locked_by and holder == id then locked_by = id end
	if locked_by ~= id then return 0 end
	take_lock()
	return 1
elseif operation == 'store' then
	if redis.call('EXISTS', stored) == 0 then
		-- After Redis has lost its data, there is no holder and no writer, so the tokens are
		-- stored, unless another update has begun since then.
		if (holder and holder ~= id) or (writer and writer ~= ARGV[3]) then return 0 end
		redis.call('HSET', data, 'tokens', ARGV[4], 'writer', id)
		redis.call('SET', stored, 1, 'PX', 60000)
	end
	return unlock()
elseif operation == 'unlock' then
	return unlock()
end
return redis.error_reply('ERR chatdmredis: unknown operation')
