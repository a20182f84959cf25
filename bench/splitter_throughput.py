"""Lines dealt out to a file a key: this project beside what people use, in turns, in one run.

    python bench/splitter_throughput.py [--rounds N] [--keys N,…] [--disk DIR] [--syslog-ng DIR] [--raw FILE]

Run as root, with a virtual environment that has this project installed. Lines have about 200 bytes; keys are Zipf
distributed. Peers that are missing are left out and named. Times are good for comparing the rows of one run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import splitter_peers as peers
from bench.splitter_peers import Cost, Job

AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
    "curl/7.88.1",
    "Mozilla/5.0 (compatible; Googlebot/2.1)",
)
SLOW = {
    "gawk": 100,
    "mawk": 10_000,
    "mawk, from a pipe": 10_000,
    "mawk, json": 10_000,
}  # a peer isn't asked for more keys than that in every round, only in the first
LONGEST = {"gawk": 1_000}  # nor for more than that at all: it takes minutes


def make_lines(work: Path, keys: int, count: int) -> dict[str, int]:
    """Write the input in every format, a file each; the bytes that must come out of it, by format."""
    source = random.Random(1)
    firsts, lasts = ("www", "app", "shop"), ("org", "com")
    names = [f"{source.choice(firsts)}.site{n}.example.{source.choice(lasts)}" for n in range(keys)]
    weights = list(itertools.accumulate(1 / (n + 1) for n in range(keys)))
    sizes = dict.fromkeys(("pipe", "vhost", "json"), 0)
    with ExitStack() as stack:
        files = {form: stack.enter_context((work / form).open("w")) for form in sizes}
        for n, name in enumerate(source.choices(names, cum_weights=weights, k=count)):
            address, page, status = f"10.{n % 256}.{n // 256 % 256}.7", f"/page/{n}", (200, 200, 304, 404)[n % 4]
            text = (
                f'{address} - - [24/Aug/2012:10:11:12 +0000] "GET {page} HTTP/1.1" {status} {n % 50_000} "-" '
                f'"{AGENTS[n % 3]}" response-time=0.{n % 1000:03d} {n:012x}\n'
            )
            whole = (
                f'{{"host": "{name}", "addr": "{address}", "request": "GET {page}", "status": {status}, '
                f'"bytes": {n % 50_000}, "agent": "{AGENTS[n % 3]}", "request_time": "0.{n % 1000:03d}"}}\n'
            )
            files["pipe"].write(f"{name}|{text}")
            files["vhost"].write(f"{name} {text}")
            files["json"].write(whole)
            sizes["pipe"] += len(text)
            sizes["json"] += len(whole)
    return sizes


def rows(syslog_ng: Path | None) -> dict[str, Callable[[Job], Cost]]:
    """What is measured, by name."""
    found: dict[str, Callable[[Job], Cost]] = {
        "this project": peers.ours(),
        "this project, --flush-interval 1": peers.ours("--flush-interval", "1"),
        "this project, --statistics": peers.ours("--statistics"),
        "this project, --max-open 256": peers.ours("--max-open", "256"),
        "this project, from a pipe": peers.ours_from_a_pipe,
        "this project, json": peers.ours_json,
        "C, the ideal": peers.ideal,
        "cat": peers.cat,
        "mawk": peers.awk("mawk"),
        "mawk, from a pipe": peers.awk("mawk", is_piped=True),
        "mawk, json": peers.awk("mawk", is_json=True),
        "gawk": peers.awk("gawk"),
    }
    if peers.SPLIT_LOGFILE.exists():
        found["split-logfile"] = peers.split_logfile
    if Path("/usr/sbin/rsyslogd").exists():
        found["rsyslog"] = peers.rsyslog
    if syslog_ng:
        found["syslog-ng"] = peers.syslog_ng(syslog_ng)
    for name in ("split-logfile", "rsyslog", "syslog-ng"):
        if name not in found:
            print(f"left out: {name}, which isn't there", file=sys.stderr)
    return found


def run(row: Callable[[Job], Cost], job: Job, expected: int | None) -> Cost:
    """One measurement into an empty folder; what was written must be all of it, unless nothing is expected."""
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir()
    cost = row(job)
    size = sum(path.stat().st_size for path in job.folder.glob("*.log"))
    if expected is not None and size != expected:
        raise SystemExit(f"{job.keys} keys: {size} bytes were written of {expected}")
    shutil.rmtree(job.folder)
    return cost


def main() -> int:
    """Measure, print the tables, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each row is measured (5)")
    parser.add_argument("--lines", type=int, default=1_000_000, metavar="N", help="(1000000)")
    parser.add_argument("--keys", default="10,1000,10000", metavar="N,…", help="(10,1000,10000)")
    parser.add_argument(
        "--disk", type=Path, default=Path("/var/tmp"), metavar="DIR", help="a folder that is no tmpfs"
    )
    parser.add_argument("--syslog-ng", type=Path, metavar="DIR", help="syslog-ng-core's package, unpacked there")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose names hold this")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single number there, as JSON")
    options = parser.parse_args()
    peers.allow_files(20_000)
    work = Path(tempfile.mkdtemp(prefix="uww-bench-", dir="/dev/shm"))
    folders = {"tmpfs": work / "out", "disk": Path(tempfile.mkdtemp(prefix="uww-bench-", dir=options.disk)) / "out"}
    counts = [int(word) for word in options.keys.split(",")]
    found: dict[str, dict[str, list[Cost]]] = {}
    try:
        for keys in counts:
            sizes = make_lines(work, keys, options.lines)
            for where, folder in folders.items():
                job = Job(work / "pipe", work / "vhost", work / "json", folder, work, keys, sizes["pipe"])
                found[f"{where}, {keys} keys"] = measure(rows(options.syslog_ng), job, sizes["json"], options)
                report(found, options.lines)
    finally:
        shutil.rmtree(work)
        shutil.rmtree(folders["disk"].parent, ignore_errors=True)
    if options.raw:
        raw = {
            column: {name: [vars(cost) for cost in costs] for name, costs in table.items()}
            for column, table in found.items()
        }
        machine = {"kernel": platform.release(), "python": platform.python_version(), "lines": options.lines}
        options.raw.write_text(json.dumps({**machine, "columns": raw}, indent=1) + "\n")
    return 0


def measure(
    table: dict[str, Callable[[Job], Cost]], job: Job, json_size: int, options: argparse.Namespace
) -> dict[str, list[Cost]]:
    """Every row in every round, in turns; the slow ones in the first alone."""
    costs: dict[str, list[Cost]] = {}
    for number in range(options.rounds):
        for name, row in table.items():
            if options.only not in name or job.keys > LONGEST.get(name, 1 << 30):
                continue
            if number and job.keys >= SLOW.get(name, 1 << 30):
                continue
            print(f"{job.folder.parent}: {job.keys} keys, round {number + 1}: {name}", file=sys.stderr)
            expected = None if name == "cat" else json_size if name.endswith("json") else job.size
            try:
                costs.setdefault(name, []).append(run(row, job, expected))
            except RuntimeError as error:
                print(f"{name}: {error}", file=sys.stderr)
    return costs


def report(found: dict[str, dict[str, list[Cost]]], lines: int) -> None:
    """The last column's table on standard output."""
    column, table = list(found.items())[-1]
    unit = statistics.median(cost.cpu for cost in table.get("C, the ideal", []) or [Cost(1.0, 1.0, 1.0)])
    print(f"\n{column:34}{'lines/s':>12}{'CPU s':>9}{'x ideal':>9}{'MiB':>7}")
    for name, costs in table.items():
        wall, cpu = (statistics.median(getattr(cost, field) for cost in costs) for field in ("wall", "cpu"))
        memory = max(cost.memory for cost in costs)
        print(f"{name:34}{lines / wall:12,.0f}{cpu:9.3f}{cpu / unit:9.2f}{memory:7.0f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
