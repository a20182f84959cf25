"""What many sites cost the stack: 10, 100, 1,000 and 10,000 registered, of which a few are live.

    python bench/scale.py [--sizes N,N,…] [--live N] [--rounds N] [--raw FILE]

Run as root, with the tests' virtual environment. Each size has a root, a stack and tenants of its own; the sizes are
measured in turns. "Live" sites have a worker that has answered; all others were never asked for. Each column that is
to stay level is followed by its growth: the ratio to the first row with as many live sites.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import environment
from bench.many_sites import ManySites, processor_seconds, proportional_mib

COLUMNS = {
    "start": ("start, ms", 1000),
    "add": ("site add, ms", 1000),
    "first": ("first request, ms", 1000),
    "idle": ("Emperor, CPU ms a minute", 1000),
    "emperor": ("Emperor, MiB", 1),
    "initialize": ("initialize, MiB", 1),
    "nginx": ("nginx, MiB", 1),
    "up": ("up, MiB", 1),
    "tenant": ("a live site, MiB", 1),
}
Values = dict[str, list[float]]
_ADDS = _FIRST_REQUESTS = 5  # in each round


def measure(many: ManySites, live: int, seconds: float, values: Values) -> None:
    """One round: from the start of the stack to its end."""
    values["start"].append(many.start())
    try:
        for domain in many.never_seen(live - _FIRST_REQUESTS):
            many.ask(domain)
        values["first"] += [many.first_request() for _ in range(_FIRST_REQUESTS)]
        values["add"] += [many.add_one() for _ in range(_ADDS)]
        time.sleep(2)  # the last scan that was asked for is over
        processes = many.processes()
        before, began = processor_seconds(processes["emperor"]), time.monotonic()
        time.sleep(seconds)
        used = processor_seconds(processes["emperor"]) - before
        values["idle"].append(60 * used / (time.monotonic() - began))
        for name in ("emperor", "initialize", "nginx", "up"):
            values[name].append(proportional_mib(processes[name]))
        values["tenant"].append(proportional_mib(processes["tenants"]) / live)
    finally:
        many.stack.stop()


def table(results: Mapping[tuple[int, int], Values]) -> str:
    """Markdown: a row a size, medians, and each one's ratio to the first row with as many live sites."""
    head = ["registered", "live", *(title for title, _ in COLUMNS.values())]
    lines = [f"| {' | '.join(head)} |", f"|{' ---: |' * len(head)}"]
    for (registered, live), values in results.items():
        base = next(other for (_, as_many), other in results.items() if as_many == live)
        cells = [_cell(values[name], base[name], factor) for name, (_, factor) in COLUMNS.items()]
        lines.append(f"| {registered:,} | {live} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(values: Sequence[float], base: Sequence[float], factor: float) -> str:
    median, first = statistics.median(values), statistics.median(base)
    return f"{median * factor:,.1f}" + ("" if values is base else f" (x{median / first:.2f})")


def main() -> int:
    """Measure, print the table, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,100,1000,10000", metavar="N,N", help="registered sites")
    parser.add_argument("--live", type=int, default=200, metavar="N", help="live sites, if so many are there (200)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each size is measured (3)")
    parser.add_argument("--idle", type=float, default=20.0, metavar="S", help="seconds of idleness measured (20)")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single value there, as JSON")
    arguments = parser.parse_args()
    load = environment.machine()
    machines: dict[tuple[int, int], ManySites] = {}
    results: dict[tuple[int, int], Values] = {}
    try:
        for size in map(int, arguments.sizes.split(",")):
            live = min(size, arguments.live)
            print(f"{size} sites", file=sys.stderr)
            # what is asked for in a round stays known: each round takes others
            machines[size, live] = ManySites(size + (arguments.rounds - 1) * live)
            results[size, live] = {name: [] for name in COLUMNS}
        for number in range(arguments.rounds):
            for key, many in machines.items():
                print(
                    f"round {number + 1} of {arguments.rounds}: {key[0]} registered, {key[1]} live", file=sys.stderr
                )
                measure(many, key[1], arguments.idle, results[key])
    finally:
        for many in machines.values():
            many.close()
    print(table(results))
    print(f"{arguments.rounds} rounds; {environment.where()}")
    if arguments.raw is not None:
        document = {
            "machine": load,
            "load afterwards": environment.machine()["load"],
            "versions": environment.servers(),
            "results": [{"registered": size, "live": live, **values} for (size, live), values in results.items()],
        }
        arguments.raw.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
