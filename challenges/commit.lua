-- Puts new values in place of a challenge and its account, if both are still what they were read as; else changes
-- nothing and gives 0. In the same step the challenge enters or leaves the queues of its shard.
-- KEYS: challenge, account, open, notify, out
-- ARGV: challenge's old and new value, its time to live in ms, account's old and new value, challenge id,
--       score in open and in notify ('' takes it out, 'keep' changes nothing), stage to publish ('' none), its score
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] or (redis.call('GET', KEYS[2]) or '') ~= ARGV[4] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if ARGV[5] ~= ARGV[4] then
  redis.call('SET', KEYS[2], ARGV[5])
end
for place, score in ipairs({ARGV[7], ARGV[8]}) do
  local queue = KEYS[2 + place]
  if score == '' then
    redis.call('ZREM', queue, ARGV[6])
  elseif score ~= 'keep' then
    redis.call('ZADD', queue, score, ARGV[6])
  end
end
if ARGV[9] ~= '' then
  redis.call('ZADD', KEYS[5], ARGV[10], ARGV[9] .. ':' .. ARGV[6])
end
return 1
