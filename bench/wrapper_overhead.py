"""What the wrapper costs: a request, a static file, a start, an error; beside the same under each named peer.

    python bench/wrapper_overhead.py [--rounds N] [--only PART]... [--raw FILE]

One run, in turns. Needs Debian's uwsgi and valgrind; the peers are installed into an environment of their own. The
tables go to standard output as Markdown, all raw numbers to --raw.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import environment, in_process, instructions, peers
from bench.starting import Starts, installed
from bench.turns import Child, table, turns
from bench.worker import ENTRY, Worker, request

APPS = Path(__file__).resolve().with_name("apps")
BIG = 10_000_000  # bytes
COUNTED = (  # application, requests, threads
    ("empty", 3000, 1), ("empty", 3000, 4), ("generator", 3000, 1), ("flask_hello", 1000, 1), ("send_file", 100, 1)
)  # fmt: skip
Values = dict[str, list[float]]


class Bench:
    """The parts, each a method that gives its rows by the title of its table."""

    def __init__(self, rounds: int, folder: Path) -> None:
        self.rounds = rounds
        self.folder = folder
        self.python = environment.peers_python()
        self.files = folder / "www" / "static"
        self.files.mkdir(parents=True)
        (self.files / "small.txt").write_bytes(b"x" * 1024)
        (self.files / "big.bin").write_bytes(os.urandom(BIG))
        self.environ = {"PYTHONPATH": environment.site_packages(), "BENCH_FILE": str(self.files / "big.bin")}

    def instructions(self) -> dict[str, Values]:
        """User instructions a request under real uWSGI, bare and wrapped."""
        found: dict[str, Values] = {}
        for name, count, threads in COUNTED:
            rows: Values = {"bare": [], "this project": []}
            for heap in instructions.HEAPS:
                for row, taken in rows.items():
                    print(f"instructions: {name}, {row}, heap {heap}", file=sys.stderr)
                    environ = {**self.environ, "HEAP": str(heap)}
                    taken.append(
                        instructions.a_request(
                            APPS / f"{name}.py", row != "bare", requests=count, environ=environ, threads=threads
                        )
                    )
            found[f"{name}, {threads} thread{'s' * (threads > 1)}"] = rows
        return found

    def peers(self) -> dict[str, Values]:
        """User instructions of the empty application under each peer, under real uWSGI."""
        rows: Values = {}
        for name in ("bare", "this project", *peers.CAPTURING):
            print(f"peers: {name}", file=sys.stderr)
            ours = name == "this project"
            environ = {**self.environ, "BENCH_APP": "empty", "BENCH_PEER": name}
            app = APPS / ("empty.py" if ours else "peer.py")
            close = name in ("bare", "this project", "Paste ErrorMiddleware")
            rows[name] = [
                instructions.a_request(
                    app, ours, requests=3000 if close else 300, environ={**environ, "HEAP": str(heap)}
                )
                for heap in (instructions.HEAPS if close else (0,))
            ]
        return {"empty": rows}

    def times(self) -> dict[str, Values]:
        """Nanoseconds a request in process."""
        names = ["bare", in_process.OURS_UWSGI, in_process.OURS, *peers.CAPTURING]
        return {case: self._in_turns(names, case, 20_000 if case != "flask_hello" else 2000)
                for case in ("empty", "generator", "flask_hello")}  # fmt: skip

    def error(self) -> dict[str, Values]:
        """Nanoseconds of one record with a traceback."""
        names = ["logging.FileHandler", in_process.OURS, "python-json-logger", "sentry-sdk", in_process.REPEATED]
        return {f"a record with {in_process.DEPTH} frames": self._in_turns(names, "error", 1000)}

    def _in_turns(self, names: list[str], case: str, count: int) -> Values:
        children = {name: Child(self.python, name) for name in names}
        try:
            once = {name: child.measure(case, 100) for name, child in children.items()}
            counts = {name: max(50, min(count, int(3e8 / took))) for name, took in once.items()}

            def measure(name: str) -> Callable[[], float]:
                return lambda: children[name].measure(case, counts[name])

            return turns({name: measure(name) for name in names}, self.rounds, case)
        finally:
            for child in children.values():
                child.close()

    def static(self) -> dict[str, Values]:
        """Static files under real uWSGI: microseconds of a request, its client and the kernel included."""
        workers = {name: self._static_worker(name) for name in ("uWSGI check-static", *peers.STATIC)}
        found: dict[str, Values] = {}
        try:
            for worker in workers.values():
                worker.__enter__()
            for case, (path, size, count) in self._static_cases().items():
                data = request(path)
                for worker in workers.values():
                    worker.wait()
                    answer = worker.ask(data)
                    worker.check(answer)
                    if len(answer.partition(b"\r\n\r\n")[2]) != size:
                        raise SystemExit(f"{path}: not the file: {answer[:300]!r}")

                def measure(worker: Worker, data: bytes, count: int) -> Callable[[], float]:
                    return lambda: worker.microseconds(data, count)

                rows = {name: measure(worker, data, count) for name, worker in workers.items()}
                found[f"microseconds, {case}"] = turns(rows, 3 * self.rounds, case)
        finally:
            for worker in workers.values():
                worker.__exit__()
        return found

    def static_instructions(self) -> dict[str, Values]:
        """The same requests' user instructions."""
        found: dict[str, Values] = {}
        for case, (path, _size, count) in self._static_cases().items():
            found[f"instructions, {case}"] = rows = {}
            for name in ("uWSGI check-static", *peers.STATIC):
                print(f"static instructions: {case}, {name}", file=sys.stderr)
                options, environ = self._static_settings(name)
                rows[name] = [
                    instructions.a_request(
                        APPS / "peer.py", False, request(path), min(count, 300), options=options, environ=environ,
                        mapped=False,
                    )
                ]  # fmt: skip
        return found

    def _static_cases(self) -> dict[str, tuple[str, int, int]]:
        return {"a miss": ("/static/none.txt", 2, 1000), "1 KB": ("/static/small.txt", 1024, 1000),
                "10 MB": ("/static/big.bin", BIG, 20)}  # fmt: skip

    def _static_settings(self, name: str) -> tuple[list[str], dict[str, str]]:
        environ = {**self.environ, "BENCH_APP": "empty", "BENCH_PEER": name, "BENCH_STATIC": str(self.files)}
        return [f"check-static = {self.files.parent}"] if name.startswith("uWSGI") else [], environ

    def _static_worker(self, name: str) -> Worker:
        options, environ = self._static_settings(name)
        return Worker(APPS / "peer.py", False, options=options, environ=environ, mapped=False)

    def send_file(self) -> dict[str, Values]:
        """Microseconds of a 10 MB file by wsgi.file_wrapper, its client and the kernel included."""
        with (
            Worker(APPS / "send_file.py", False, environ=self.environ) as bare,
            Worker(APPS / "send_file.py", True, environ=self.environ) as ours,
        ):
            for worker in (bare, ours):
                worker.wait()
            rows = {
                "bare": lambda: bare.microseconds(request(), 20),
                "this project": lambda: ours.microseconds(request(), 20),
            }
            return {"send_file 10 MB": turns(rows, 3 * self.rounds, "send_file")}

    def starts(self) -> dict[str, Values]:
        """Milliseconds from exec to the first 200, and an idle worker's memory."""
        rows = {
            "bare": Starts(None),
            "this project": Starts(installed(self.folder / "host")),
            "this project, from a checkout": Starts(ENTRY),
        }
        milliseconds = turns({name: row.milliseconds for name, row in rows.items()}, 3 * self.rounds, "start")
        return {
            "milliseconds to the first 200": milliseconds,
            "KiB private": {name: row.private for name, row in rows.items()},
            "KiB proportional": {name: row.proportional for name, row in rows.items()},
        }


PARTS = (
    "instructions", "peers", "times", "send_file", "static", "static_instructions", "starts", "error"
)  # fmt: skip


def main() -> int:
    """Measure, print the tables, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="how often each time is measured (7)")
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", help=f"one of {', '.join(PARTS)}")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single number there, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="uww-bench-") as folder:
        bench = Bench(arguments.rounds, Path(folder))
        before = environment.machine()
        # Client and server on one processor: on two, the scheduler's mood doubles a short request's time.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        found = {part: getattr(bench, part)() for part in arguments.only or PARTS}
    for part, tables in found.items():
        print(f"### {part.replace('_', ' ')}\n")
        for title, values in tables.items():
            few = statistics.median(next(iter(values.values()))) < 1000
            print(table(title, "median", values, next(iter(values)), 1 if few else 0))
    if arguments.raw is not None:
        state = {"versions": environment.versions(), "before": before, "after": environment.machine()}
        arguments.raw.write_text(json.dumps({**state, "numbers": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
