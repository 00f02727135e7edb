-- Write a partition's state and watermarks in one atomic step, if the writer still owns the partition.
-- KEYS[1] meta hash, KEYS[2..] state keys (all in one slot by their hash tag)
-- ARGV[1] epoch, ARGV[2] time to live in seconds, ARGV[3] number m of meta arguments,
-- ARGV[4 .. 3+m] meta fields and values, then one blob per state key
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return 0
end
local m = tonumber(ARGV[3])
if m > 0 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 4, 3 + m))
end
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], ARGV[2 + m + i], 'EX', ARGV[2])
end
return 1
