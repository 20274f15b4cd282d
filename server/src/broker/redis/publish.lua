-- Publishes a message once for each key: the next offset, the log, the wake-up. Answers "epoch offset", or "fenced"
-- (and does nothing) if the connection is no longer the publisher's newest, or Redis has lost its data since.
-- KEYS head, log, key, fence
-- ARGV channel, text, epoch if a new one is needed, entries kept, ms kept, ms key and head are kept, run of Redis, pass
if redis.call('GET', KEYS[4]) ~= ARGV[8] then
  return 'fenced'
end
local done = redis.call('GET', KEYS[3])
if done then
  return done
end
local head = redis.call('HMGET', KEYS[1], 'epoch', 'run')
local epoch = head[1]
if not epoch or head[2] ~= ARGV[7] then
  epoch = ARGV[3]
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', ARGV[7])
end
local offset = string.format('%d', redis.call('HINCRBY', KEYS[1], 'offset', 1))
local position = epoch .. ' ' .. offset
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], offset .. '-0', 'text', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('SET', KEYS[3], position, 'PX', ARGV[6])
redis.call('PUBLISH', ARGV[1], position .. ' ' .. ARGV[2])
return position
