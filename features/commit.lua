-- Write a partition's state and watermarks in one atomic step, if the writer still owns the partition and the store
-- is where the writer left it. Returns 1 if done, 0 if owned by another writer, -1 if the store has lost writes.
-- KEYS[1] meta hash, KEYS[2..] state keys (all in one slot by their hash tag)
-- ARGV[1] epoch, ARGV[2] time to live in seconds, ARGV[3] a watermark's field (or ''), ARGV[4] its value before (or ''),
-- ARGV[5] number m of meta arguments, ARGV[6 .. 5+m] meta fields and values, then one blob per state key
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return 0
end
local m = tonumber(ARGV[5])
if ARGV[3] ~= '' then
  local stands = redis.call('HGET', KEYS[1], ARGV[3]) or ''
  if stands ~= ARGV[4] then
    for i = 6, 5 + m, 2 do
      if ARGV[i] == ARGV[3] and ARGV[i + 1] == stands then
        return 1 -- this step was already done; only the response was lost
      end
    end
    return -1
  end
end
if m > 0 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 6, 5 + m))
end
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], ARGV[4 + m + i], 'EX', ARGV[2])
end
return 1
