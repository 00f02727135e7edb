-- Puts an account's new value in place of the old one, if it is still that; else changes nothing and gives 0.
-- KEYS: account. ARGV: old and new value
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
