-- What wrk sends for the benchmark, and what it says of it at the end, in one line of name=value.
-- Arguments: the status that every answer must have, the request's target, and, for targets with
-- {id} and {n} in them, a file of click IDs and a word that no other run has. Where BENCH_PORTS names
-- ports of 127.0.0.1, the first thread loads the first of them, and so on. Where BENCH_RATE is a number,
-- a thread sends as many requests a second, at even distances, as long as its connections can take them.

local threads = {}
local ports = {}
for port in (os.getenv("BENCH_PORTS") or ""):gmatch("%d+") do
  ports[#ports + 1] = port
end

local interval = 1e6 / (tonumber(os.getenv("BENCH_RATE")) or math.huge) -- microseconds
if interval > 0 then
  local ffi = require("ffi")
  ffi.cdef("typedef struct { long s, us; } capture_time; int gettimeofday(capture_time *now, void *zone);")
  local now, due = ffi.new("capture_time"), nil
  -- A request is due an interval after the one before; wrk asks how many milliseconds to wait until then.
  function delay()
    ffi.C.gettimeofday(now, nil)
    local us = tonumber(now.s) * 1e6 + tonumber(now.us)
    due = math.max(due or us, us - 1e5) + interval -- what was missed for longer is not made up for
    return math.max(0, math.floor((due - us) / 1000))
  end
end

function setup(thread)
  if #ports > 0 then
    thread.addr = wrk.lookup("127.0.0.1", ports[#threads % #ports + 1])[1]
  end
  thread:set("number", #threads)
  table.insert(threads, thread)
end

-- pieces cuts the target at its placeholders, so that a request is put together without a search.
local function pieces(target)
  local before, between, after = target:match("^(.*){id}(.*){n}(.*)$")
  return "GET " .. before, between, after
end

function init(args)
  expected, wrong, first = tonumber(args[1]), 0, 0
  if not args[3] then
    wrk.path = args[2]
    return
  end
  local ids = {}
  for id in io.lines(args[3]) do
    ids[#ids + 1] = id
  end
  local before, between, after = pieces(args[2])
  between = between .. args[4] .. "-" .. number .. "-"
  local rest = after .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nUser-Agent: " .. wrk.headers["User-Agent"] .. "\r\n\r\n"
  -- Each thread begins elsewhere among the click IDs.
  local n, at = 0, math.floor(number * 7919) % #ids
  request = function()
    n = n + 1
    at = at % #ids + 1
    return before .. ids[at] .. between .. n .. rest
  end
end

function response(status)
  if status ~= expected then
    if wrong == 0 then first = status end
    wrong = wrong + 1
  end
end

function done(summary, latency)
  local wrong, first = 0, 0
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("wrong")
    if first == 0 then first = thread:get("first") end
  end
  local e = summary.errors
  io.write(string.format(
    "BENCH requests=%d duration_us=%d p50_us=%d p99_us=%d p999_us=%d wrong=%d first_wrong=%d errors=%d timeouts=%d\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    wrong, first, e.connect + e.read + e.write, e.timeout))
end
