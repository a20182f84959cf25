"""What visitors notice of reloads: `wrk` through the whole stack, left alone and while wsgi.py is saved.

    python bench/reload.py [--seconds N] [--saves N] [--raw FILE]

Run as root, with the tests' virtual environment. The rows are measured one after the other, on a site with one
process and on one with two; the last of each changes the environment instead (`site set`). Times are only good for
comparing the rows of one run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import wrk
from bench.environment import machine
from tests.live import LiveStack, wait_for

APPLICATION = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"version {version}"]
"""


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0 if no request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20, help="how long each row is measured (default: 20)")
    parser.add_argument("--saves", type=int, default=10, help="saves in that time (default: 10)")
    parser.add_argument("--raw", type=Path, help="write the figures there as JSON")
    arguments = parser.parse_args(argv)
    stack = LiveStack(Path(tempfile.mkdtemp(prefix="reload-")))
    stack.start()
    try:
        rows = [row for processes in (1, 2) for row in measure(stack, processes, arguments.seconds, arguments.saves)]
    finally:
        stack.close()
    print_table(rows)
    if arguments.raw:
        arguments.raw.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return 1 if any(row["failed"] for row in rows) else 0


def measure(stack: LiveStack, processes: int, seconds: int, saves: int) -> list[dict[str, object]]:
    """The three rows of one site."""
    domain, user = f"p{processes}.test", f"P{processes}"
    stack.site(domain, user, APPLICATION.format(version=0), "--processes", str(processes))
    stack.request(domain)

    def save(number: int) -> None:
        stack.write(user, "wsgi.py", APPLICATION.format(version=number))

    def change(number: int) -> None:
        stack.command("site", "set", domain, "--env", f"NUMBER={number}")

    rows = []
    for what, act in (("left alone", None), ("saved", save), ("changed by site set", change)):
        print(f"{processes} process(es), {what}", file=sys.stderr, flush=True)
        row = {"processes": processes, "what": what, **under_load(stack, domain, seconds, saves, act)}
        rows.append(row)
        if act is save:
            wait_for(lambda: stack.request(domain).text == f"version {saves}", "the last version serves")
    return rows


def under_load(
    stack: LiveStack, domain: str, seconds: int, times: int, act: Callable[[int], None] | None
) -> dict[str, float]:
    """Latencies in ms and failures while `act` is called so many times, evenly spread."""
    over = threading.Event()

    def acts() -> None:
        for number in range(1, times + 1):
            if act is None or over.wait(seconds / (times + 2)):
                return
            act(number)

    thread = threading.Thread(target=acts)
    thread.start()
    try:
        done = wrk.run(stack.port, [domain], seconds, connections=4)
    finally:
        over.set()
        thread.join()
    time.sleep(3)  # what was begun comes to its end before the next row
    median, p99, longest = done.latencies
    rate = done.requests / done.seconds
    return {"rate": rate, "median": median, "p99": p99, "longest": longest, "failed": done.failed}


def print_table(rows: list[dict[str, object]]) -> None:
    """As it stands in README.md beside this file."""
    print("| processes | | requests/s | median ms | p99 ms | longest ms | failed |")
    print("| ---: | :--- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        print(
            f"| {row['processes']} | {row['what']} | {row['rate']:,.0f} | {row['median']:.2f} | {row['p99']:.2f} "
            f"| {row['longest']:.0f} | {row['failed']} |"
        )


if __name__ == "__main__":
    sys.exit(main())
