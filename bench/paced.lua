-- wrk's script for requests at a pace of their own: each connection waits so many milliseconds after each answer.
-- Arguments: milliseconds; the host's beginning; of how many hosts (0: a new name each time); 1: from made-up addresses

local count, worker, threads = 0, 0, 0

function setup(thread)
   threads = threads + 1
   thread:set("worker", threads)
end

function init(arguments)
   pause = tonumber(arguments[1])
   host = arguments[2]
   hosts = tonumber(arguments[3])
   many_addresses = arguments[4] == "1"
end

function request()
   count = count + 1
   local name = hosts > 0 and string.format("%s%06d.test", host, count % hosts)
                or string.format("%s-%d-%d.test", host, worker, count)
   local headers = { Host = name, Accept = "text/html" }
   if many_addresses then
      headers["X-Forwarded-For"] = string.format("10.%d.%d.%d", math.random(0, 255), math.random(0, 255), math.random(1, 254))
   end
   return wrk.format("GET", "/", headers)
end

function delay()
   return pause
end

function done(summary, latency, requests)
   io.write(string.format(
      '{"requests": %d, "seconds": %f, "p50": %f, "p90": %f, "p99": %f, "most": %f, "failed": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(90) / 1e6,
      latency:percentile(99) / 1e6, latency.max / 1e6,
      summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
