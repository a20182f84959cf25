"""ApacheBench: run it, read what it says.

Its CSV (`-e`) has the milliseconds within which so many percent of the requests were served, 0 to 100, to the
microsecond, where its report has whole milliseconds. Row `i` of `n` requests is number `(n * i + 50) // 100` of them
in order, counted from 0; where that is beyond the last one (below 50 requests) ab prints what its memory holds.
"""

from __future__ import annotations

import csv
import re
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROWS = (50, 66, 75, 80, 90, 95, 98, 99, 100)  # those that ab itself prints
_TIMEOUT = 120  # seconds that a request may take, and a run more


@dataclass(frozen=True)
class Served:
    """What one ab measured: requests, those that failed, and milliseconds in order.

    Up to 100 requests these are all of them; of more, those at 0, 1, … 100 percent.
    """

    requests: int
    failed: int
    milliseconds: tuple[float, ...]


class NotAbError(ValueError):
    """What was to be read isn't ab's output; str() says which part."""


def read(report: str, table: str) -> Served:
    """From what ab prints and the CSV it writes. Raises NotAbError."""
    rows = list(csv.reader(table.splitlines()))
    if not rows or rows[0] != ["Percentage served", "Time in ms"]:
        raise NotAbError("the CSV has another head than ab's")
    percent = {int(row): float(milliseconds) for row, milliseconds in rows[1:]}
    if list(percent) != list(range(101)):
        raise NotAbError("the CSV's rows aren't 0 to 100")
    complete = _number(report, r"Complete requests:\s+(\d+)")
    # "Non-2xx" has no line when there are none
    failed = _number(report, r"Failed requests:\s+(\d+)") + _number(report, r"Non-2xx responses:\s+(\d+)", 0)
    places = {(complete * row + 50) // 100: value for row, value in percent.items() if row < 100}
    times = [places[place] for place in range(complete)] if complete <= 100 else [*percent.values()]
    times[-1] = percent[100]
    return Served(complete, failed, tuple(times))


def run(port: int, domain: str, requests: int, concurrency: int = 1) -> Served:
    """Ask one domain, a connection each request, as ab does unless it is told to keep them."""
    with tempfile.TemporaryDirectory(prefix="uww-ab-") as folder:
        table = Path(folder) / "csv"
        done = subprocess.run(
            [
                "ab", "-q", "-l", "-r", "-n", str(requests), "-c", str(concurrency), "-s", str(_TIMEOUT),
                "-H", f"Host: {domain}", "-e", str(table), f"http://127.0.0.1:{port}/",
            ],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"ab of {domain} ended with {done.returncode}: {done.stderr[-500:]}")
        return read(done.stdout, table.read_text())


def percentiles(milliseconds: Iterable[float]) -> list[float]:
    """ROWS over what `Served.milliseconds` of several runs with as many requests each are together."""
    ordered = sorted(milliseconds)
    return [ordered[min(len(ordered) * row // 100, len(ordered) - 1)] for row in ROWS]


def _number(text: str, pattern: str, otherwise: int | None = None) -> int:
    found = re.search(pattern, text, re.MULTILINE)
    if found:
        return int(found[1])
    if otherwise is None:
        raise NotAbError(f"the report has nothing like {pattern}")
    return otherwise
