-- Publishes a message once for each key: the next offset, the log, the wake-up. Answers "epoch offset".
-- KEYS head, log, key   ARGV channel, text, epoch if a new one is needed, entries kept, ms kept, ms a key is kept
local done = redis.call('GET', KEYS[3])
if done then
  return done
end
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if not epoch then
  epoch = ARGV[3]
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
local offset = string.format('%d', redis.call('HINCRBY', KEYS[1], 'offset', 1))
local position = epoch .. ' ' .. offset
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], offset .. '-0', 'text', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('SET', KEYS[3], position, 'PX', ARGV[6])
redis.call('PUBLISH', ARGV[1], position .. ' ' .. ARGV[2])
return position
