"""wrk: as many requests as a few connections bring about, over one domain or over many in turns."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# every request is made before the first is sent: the script costs the client the same whatever it asks
_SCRIPT = """\
local domains = {{ {domains} }}
local requests, count, next = {{}}, #domains, 0
init = function(args)
    for i, domain in ipairs(domains) do requests[i] = wrk.format("GET", "/", {{ ["Host"] = domain }}) end
end
request = function()
    next = next % count + 1
    return requests[next]
end
done = function(summary, latency, all)
    local errors = summary.errors
    io.write(string.format("BENCH %d %d %d\\n", summary.requests, summary.duration,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
    io.write(string.format("LATENCY %d %d %d\\n", latency:percentile(50), latency:percentile(99), latency.max))
end
"""


@dataclass(frozen=True)
class Throughput:
    """Requests that were answered, in so many seconds, and how many weren't or not with 2xx or 3xx.

    `latencies` are the median, the 99th percentile and the longest, in milliseconds.
    """

    requests: int
    seconds: float
    failed: int
    latencies: tuple[float, ...] = ()


class NotWrkError(ValueError):
    """What was to be read isn't the output of wrk with the script of this module."""


def read(output: str) -> Throughput:
    """From what wrk prints. Raises NotWrkError."""
    found = re.search(r"^BENCH (\d+) (\d+) (\d+)$", output, re.MULTILINE)
    if not found:
        raise NotWrkError(f"no result in {output[-300:]!r}")
    requests, microseconds, failed = map(int, found.groups())
    latencies = re.search(r"^LATENCY (\d+) (\d+) (\d+)$", output, re.MULTILINE)
    found_ms = tuple(int(number) / 1000 for number in latencies.groups()) if latencies else ()
    return Throughput(requests, microseconds / 1e6, failed, found_ms)


def run(port: int, domains: Sequence[str], seconds: int, connections: int) -> Throughput:
    """Ask for so many seconds over connections that are kept, as wrk does."""
    with tempfile.TemporaryDirectory(prefix="uww-wrk-") as folder:
        script = Path(folder) / "script.lua"
        script.write_text(_SCRIPT.format(domains=", ".join(f'"{domain}"' for domain in domains)))
        done = subprocess.run(
            [
                "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
                "--timeout", "30s", "--script", str(script), f"http://127.0.0.1:{port}/",
            ],
            capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"wrk ended with {done.returncode}: {done.stderr[-500:]}")
    return read(done.stdout)
