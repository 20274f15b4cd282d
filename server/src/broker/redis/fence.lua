-- Takes a publisher's fence for a new connection: from now on only what has the new pass is published.
-- Answers the lineage: the known one if the fence still held it, or else the new one, for Redis has lost data since.
-- KEYS fence   ARGV known lineage or '', new lineage, token, ms kept
local held = redis.call('GET', KEYS[1]) or ''
local lineage = string.match(held, '^%S+')
if lineage ~= ARGV[1] then
  lineage = ARGV[2]
end
redis.call('SET', KEYS[1], lineage .. ' ' .. ARGV[3], 'PX', ARGV[4])
return lineage
