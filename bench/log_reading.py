"""`logs` beside tail(1) and grep(1) over an error log of gigabytes: whole commands, the start of Python included."""

from __future__ import annotations

import argparse
import functools
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.environment import machine
from bench.turns import turns
from user_wsgi_wrapper.layout import Layout

DOMAIN = "log.test"
LINE = "%s,%03d [%012x] GET /page: the application failed in a line that is as long as they are in practice, %d\n"
FIRST = 1_700_000_000  # seconds since the epoch; a hundred lines are written each second


def make_log(path: Path, size: int) -> int:
    """An error log of `size` bytes; gives the number of its lines."""
    lines = 0
    with path.open("wb") as file:
        while file.tell() < size:
            block = []
            for number in range(lines, lines + 10_000):
                record = number // 4  # each of four lines
                moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(FIRST + record // 25))
                block.append(LINE % (moment, record % 25 * 40, record, number))
            file.write("".join(block).encode())
            lines += 10_000
    return lines


def seconds(command: list[str], expected: int) -> float:
    """How long a command takes that must give so many lines."""
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    took = time.perf_counter() - began
    if done.stdout.count(b"\n") != expected:
        raise SystemExit(f"{command}: {done.stdout.count(bytes([10]))} lines in place of {expected}")
    return took


def main() -> int:
    """One table on standard output, every number into the raw file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=2048, metavar="N", help="the log's size (default: 2048)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single number there, as JSON")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="uww-bench-", dir="/var/tmp"))
    try:
        ours = [sys.executable, "-m", "user_wsgi_wrapper", "--root", str(root)]
        subprocess.run([*ours, "site", "add", DOMAIN, "--user", "Log"], check=True, stdout=subprocess.DEVNULL)
        path = Layout(root).log_file(DOMAIN, "error")
        lines = make_log(path, options.mib << 20)
        logs, log = [*ours, "logs", DOMAIN], str(path)
        wanted = f"{lines // 8:012x}"
        last = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(FIRST + lines // 100 - 60))
        newer = 6000
        commands = {
            "tail -n 50": (["tail", "-n", "50", log], 50),
            "logs -n 50": ([*logs, "-n", "50"], 50),
            "logs --since, the last minute": ([*logs, "--since", last], newer),
            "grep ID": (["grep", "-F", f"[{wanted}]", log], 4),
            "logs --request ID": ([*logs, "--request", wanted, "--kind", "error"], 4),
            "grep PATTERN": (["grep", "-E", "practice, 4242$", log], 1),
            "logs --grep PATTERN": ([*logs, "--grep", "practice, 4242$"], 4),
        }
        rows = {name: functools.partial(seconds, *command) for name, command in commands.items()}
        found = turns(rows, options.rounds, f"{lines} lines")
    finally:
        shutil.rmtree(root)
    print("| command | seconds | least - most |\n| :--- | ---: | ---: |")
    for name, taken in found.items():
        print(f"| `{name}` | {statistics.median(taken):.3f} | {min(taken):.3f} - {max(taken):.3f} |")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    print(f"\n{options.mib} MiB, {lines:,} lines, {options.rounds} rounds; no command took more than {memory} MiB.")
    if options.raw:
        options.raw.write_text(json.dumps({**machine(), "lines": lines, "seconds": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
