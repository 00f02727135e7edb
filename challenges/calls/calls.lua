-- Puts a call check's new value in place of the old one, if it and its account's pointer are still what they were read
-- as; else changes nothing and gives 0. In the same step it enters or leaves the queues of its shard.
-- KEYS: check, the account's pointer to its latest check, open, out
-- ARGV: old and new value, time to live in ms, pointer's old value ('keep' to leave it alone), call id,
--       score in open ('' takes it out), score in out ('' none)
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
if ARGV[4] ~= 'keep' then
  if (redis.call('GET', KEYS[2]) or '') ~= ARGV[4] then
    return 0
  end
  redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[3])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if ARGV[6] == '' then
  redis.call('ZREM', KEYS[3], ARGV[5])
else
  redis.call('ZADD', KEYS[3], ARGV[6], ARGV[5])
end
if ARGV[7] ~= '' then
  redis.call('ZADD', KEYS[4], ARGV[7], ARGV[5])
end
return 1
