-- Answers {epoch, offset of the newest message, messages after the known position}.
-- KEYS head, log
-- ARGV epoch if a new one is needed, ms kept, known epoch or '', known offset, most messages, 'replica'?, run of Redis
-- A replica's position is one that existed: if the order ends before it, Redis has lost data, and a new order begins.
-- So it does when Redis was restarted: it may have come back without its last messages, and been overtaken since.
local head = redis.call('HMGET', KEYS[1], 'epoch', 'offset', 'run')
local epoch, offset = head[1], tonumber(head[2] or '0')
local known = tonumber(ARGV[4])
local went_back = ARGV[6] == 'replica' and epoch == ARGV[3] and offset < known
if not epoch or head[3] ~= ARGV[7] or went_back then
  epoch, offset = ARGV[1], 0
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'offset', 0, 'run', ARGV[7])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if epoch ~= ARGV[3] then
  known = 0
end
local messages = {}
if ARGV[3] ~= '' and known < offset then
  messages = redis.call('XRANGE', KEYS[2], string.format('%d-0', known + 1), '+', 'COUNT', ARGV[5])
end
return {epoch, offset, messages}
