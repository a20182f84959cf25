"""What a crash loop costs: requests a second while every one of them fails, beside the same site while it is healthy.

    python bench/crash_loop.py [--rounds N] [--seconds S] [--raw FILE]

Real uWSGI with one worker, asked over HTTP by wrk, in turns, in one run. The failing page raises ten frames deep. The
rows `raises, catches` do the same work and answer by themselves: what raising costs without us.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.bare_uwsgi import BareUwsgi
from tests.live import free_port

APPLICATION = """\
PAGE = b"x" * 700  # about as long as the error page


def deep(frames):
    return deep(frames - 1) if frames else 1 / 0


def application(environ, start_response):
    if environ["PATH_INFO"] == "/raises":
        deep(9)
    if environ["PATH_INFO"] == "/catches":
        try:
            deep(9)
        except ZeroDivisionError:
            pass
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(PAGE)))])
    return [PAGE]
"""
ROWS = {"healthy": "/", "raises, catches": "/catches", "raises": "/raises"}


def rate(port: int, path: str, seconds: float) -> float:
    """Requests a second that wrk gets answered."""
    command = ["wrk", "-t1", "-c4", f"-d{seconds:g}s", f"http://127.0.0.1:{port}{path}"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def main() -> int:
    """Measure, print the table, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="how often each row is measured (7)")
    parser.add_argument("--seconds", type=float, default=3, metavar="S", help="how long each time (3)")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single rate there, as JSON")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="uww-bench-"))
    (folder / "wsgi.py").write_text(APPLICATION)
    rates: dict[str, list[float]] = {name: [] for name in ROWS}
    grown: list[float] = []
    port = free_port()
    with BareUwsgi(folder, more=[f"http-socket=127.0.0.1:{port}"]) as server:
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr)
            for name, path in ROWS.items():
                before = len(server.log())
                rates[name].append(rate(port, path, arguments.seconds))
                if path == "/raises":
                    grown.append((len(server.log()) - before) / arguments.seconds)
    shutil.rmtree(folder)
    report(rates, grown, arguments.raw)
    return 0


def report(rates: dict[str, list[float]], grown: list[float], raw: Path | None) -> None:
    """The table on standard output; the raw numbers and the machine in `raw`."""
    healthy = statistics.median(rates["healthy"])
    print(f"{'requests a second':24}{'median':>9}{'least':>9}{'most':>9}{'ratio':>8}")
    for name, measured in rates.items():
        median = statistics.median(measured)
        print(f"{name:24}{median:9.0f}{min(measured):9.0f}{max(measured):9.0f}{median / healthy:8.2f}")
    print(f"the log grew by {statistics.median(grown) / 1000:.0f} KB/s (at most {max(grown) / 1000:.0f})")
    load = os.getloadavg()[0]
    print(f"{len(grown)} rounds; Linux {platform.release()}, {platform.machine()}, load at the end {load:.1f}")
    if raw is not None:
        document = {"kernel": platform.release(), "load": load, "rates": rates, "bytes a second": grown}
        raw.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
