"""What an access line costs when nginx writes it itself, and when a log-splitter does.

    python bench/splitter_nginx.py [--rounds N] [--seconds S] [--raw FILE]

Run as root, with a virtual environment that has this project installed, nginx and wrk. One nginx worker answers 204
to requests for a thousand hosts; what `access_log off` costs is taken off the other rows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
FORMAT = (
    'log_format line \'$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent" response-time=$request_time $request_id\';'
    'log_format keyed \'$host|$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent '
    '"$http_referer" "$http_user_agent" response-time=$request_time $request_id\';'
)
CONF = """\
daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1; user root;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 10000000;
    {formats}
    server {{ listen 127.0.0.1:{port}; {log} return 204; }}
}}
"""
ROWS = {
    "access_log off": "access_log off;",
    "one file for all": "access_log {folder}/all.log line;",
    "a file a host": "access_log {folder}/logs/$host.log line;",
    "a file a host, open_log_file_cache": (
        "open_log_file_cache max=2000 valid=60s; access_log {folder}/logs/$host.log line;"
    ),
    "log-splitter, socket": "access_log syslog:server=unix:{folder}/socket,tag=nginx,nohostname keyed;",
    "log-splitter, one file followed": "access_log {folder}/all.log keyed buffer=64k flush=1s;",
}
WRK = """
local n = 0
request = function()
  n = n + 1
  local host = "site" .. math.floor(1000 ^ math.random()) .. ".example.org"
  return wrk.format("GET", "/page/" .. n, { Host = host })
end
"""


@dataclass(frozen=True)
class Cost:
    """Requests a second; nginx's and the splitter's seconds of processor a million requests; missing lines."""

    rate: float
    nginx: float
    splitter: float
    missing: int


def processor(pid: int) -> float:
    """Seconds of processor that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within a minute: {what}")
        time.sleep(0.02)


def start_splitter(name: str, folder: Path) -> subprocess.Popen[bytes] | None:
    if not name.startswith("log-splitter"):
        return None
    source = ["--listen", f"unix:{folder}/socket"] if "socket" in name else ["--follow", f"{folder}/all.log"]
    program = str(Path(sys.executable).with_name("log-splitter"))
    options = ["--directory", str(folder / "logs"), "--name", "{key}.log", *source]
    process = subprocess.Popen([program, *options], stderr=subprocess.DEVNULL)
    if "socket" in name:
        until((folder / "socket").exists, "the socket")
    return process


def lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (folder / "logs").glob("*.log"))


def measure(name: str, seconds: int) -> Cost:
    """One row, once."""
    folder = Path(tempfile.mkdtemp(prefix="uww-bench-", dir="/dev/shm"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        (folder / "logs").mkdir()
        (folder / "wrk.lua").write_text(WRK)
        port = free_port()
        log = ROWS[name].format(folder=folder)
        (folder / "conf").write_text(CONF.format(folder=folder, port=port, log=log, formats=FORMAT))
        splitter = start_splitter(name, folder)
        nginx = subprocess.Popen(["/usr/sbin/nginx", "-e", folder / "errors", "-c", folder / "conf"])
        stack.callback(lambda: (nginx.terminate(), nginx.wait()))
        until((folder / "pid").exists, "nginx")
        worker = int(Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children").read_text().split()[0])
        command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", folder / "wrk.lua", f"http://127.0.0.1:{port}/"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        requests = int(re.search(r"(\d+) requests in", text)[1])
        time.sleep(2.0)  # what is still buffered
        spent = processor(worker)
        taken = processor(splitter.pid) if splitter else 0.0
        if splitter:
            splitter.terminate()
            splitter.wait()
        missing = requests - lines(folder) if "file a host" in name or splitter else 0
        return Cost(requests / seconds, 1e6 * spent / requests, 1e6 * taken / requests, missing)


def main() -> int:
    """Measure, print the table, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each row is measured (3)")
    parser.add_argument("--seconds", type=int, default=4, metavar="S", help="how long (4)")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single number there, as JSON")
    options = parser.parse_args()
    for path, value in (("net/unix/max_dgram_qlen", "16384"), ("net/core/wmem_default", "16777216")):
        Path("/proc/sys", path).write_text(value)
    found: dict[str, list[Cost]] = {name: [] for name in ROWS}
    for number in range(options.rounds):
        for name, costs in found.items():
            print(f"round {number + 1}: {name}", file=sys.stderr)
            costs.append(measure(name, options.seconds))
    print(
        f"{'CPU s a million requests':36}{'requests/s':>12}{'nginx':>8}{'splitter':>10}{'the line':>10}{'missing':>9}"
    )
    unit = statistics.median(cost.nginx for cost in found["access_log off"])
    for name, costs in found.items():
        rate, nginx, splitter = (
            statistics.median(getattr(cost, field) for cost in costs) for field in ("rate", "nginx", "splitter")
        )
        missing = max(cost.missing for cost in costs)
        print(f"{name:36}{rate:12,.0f}{nginx:8.2f}{splitter:10.2f}{nginx + splitter - unit:10.2f}{missing:9}")
    if options.raw:
        raw = {name: [vars(cost) for cost in costs] for name, costs in found.items()}
        options.raw.write_text(json.dumps(raw, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
