-- lua_threads.lua - threads that compute, then answer line by line.
--
--   lua lua_threads.lua LAPS

local cqueues = require 'cqueues'
local thread = require 'cqueues.thread'
local loop = cqueues.new()
local sum, answers = 0, 0

-- Runs in a state of its own, so it may use nothing of the above.
local function worker(con, k, laps)
    local s = tonumber(k)
    for i = 1, tonumber(laps) do s = (s * 31 + i) % 1000003 end
    con:write(tostring(s), '\n')
    con:flush()
    for line in con:lines() do
        con:write(tostring(math.tointeger(line) * 2), '\n')
        con:flush()
    end
end

for k = 1, 16 do
    loop:wrap(function()
        local t, con = thread.start(worker, tostring(k), arg[1])
        local value = tonumber(con:read('*l'))
        sum = sum + value
        for i = 1, 50 do
            con:write(tostring(i), '\n')
            con:flush()
            value = tonumber(con:read('*l'))
            answers = answers + value
        end
        con:shutdown('w')
        cqueues.poll(t) -- join takes a thread that ends meanwhile for a killed one
        local ok, why = t:join()
        assert(ok and not why)
    end)
end
assert(loop:loop())
print('sum', sum, 'answers', answers)
