-- Makes wrk print what came of a run as one line of JSON.
function done(summary, latency, requests)
  local errors = summary.errors
  local faults = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format('{"requests": %d, "seconds": %.6f, "received": %d, "faults": %d, "p99": %.3f}',
    summary.requests, summary.duration / 1e6, summary.bytes, faults, latency:percentile(99) / 1e3))
end
