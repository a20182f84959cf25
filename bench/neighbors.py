"""What a site's visitors notice of a neighbor who takes all that he can get.

    python bench/neighbors.py [--rounds N] [--seconds S] [--raw FILE]

Run as root, with the tests' virtual environment. One site is asked about 150 times a second, over four connections,
alone and beside each offender, in turns; the offenders' limits are those that a site has by itself, and in the rows
"without limits" none. Each offender is a site and a tenant of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import environment
from bench.turns import turns
from tests.live import LiveStack

SCRIPT = Path(__file__).with_name("paced.lua")
VICTIM = "victim000000.test"
APPLICATION = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"good"]
"""
OFFENDER = Path(__file__).with_name("apps") / "offender.py"
# what the offender's requests ask for, and how many of them are under way
OFFENCES = {
    "fork": 1, "take_memory": 1, "burn": 1, "open_files": 1, "log": 1, "write_stderr": 1, "dawdle": 150, "endless": 4
}  # fmt: skip
UNLIMITED = "[limits]\ncgroups = 'off'\ntasks_max = 0\nmemory_max = 0\nopen_files = 0\nlog_rate = 0\nlog_size = 0\n"
Answer = dict[str, float]


class Street:
    """A stack with the victim and an offender for each offence."""

    def __init__(self, name: str, configuration: str, offences: list[str]) -> None:
        self.stack = LiveStack(Path(tempfile.mkdtemp(prefix="uww-bench-")), configuration)
        self.stack.root.chmod(0o755)
        self.name = name
        self.offences = offences
        self.stack.start()
        self.stack.site(VICTIM, "Victim", APPLICATION, "--idle", "3600")
        self.stack.request(VICTIM)
        for offence in offences:
            domain = _domain(offence)
            self.stack.site(domain, offence.replace("_", ""), OFFENDER.read_text(), "--idle", "3600")
            self.stack.request(domain)

    def rows(self, seconds: int) -> dict[str, Callable[[], Answer]]:
        """The measurements, by what they are called."""
        beside = {f"{offence}{self.name}": partial(self.beside, offence, seconds) for offence in self.offences}
        return {f"alone{self.name}": partial(self.ask, seconds), **beside}

    def ask(self, seconds: int) -> Answer:
        """The victim's latencies, in seconds."""
        words = ["-t1", "-c4", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)]
        command = ["wrk", *words, f"http://127.0.0.1:{self.stack.port}/", "--", "25", "victim", "1", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def beside(self, offence: str, seconds: int) -> Answer:
        """The same while the offender is at it."""
        with self._offending(offence, seconds + 2):
            time.sleep(1)
            return self.ask(seconds)

    @contextlib.contextmanager
    def _offending(self, offence: str, seconds: int) -> Iterator[None]:
        if offence == "silent":
            with self._held(2000, "GET / HTTP/1.1\r\nHost: silent.test\r\nX-Slow: "):
                yield
            return
        over = time.monotonic() + seconds
        readers = [
            threading.Thread(target=self._offend, args=(offence, over)) for _ in range(min(OFFENCES[offence], 4))
        ]
        for reader in readers:
            reader.start()
        text = f"GET /{offence}?{seconds} HTTP/1.1\r\nHost: {_domain(offence)}\r\n\r\n"
        with self._held(OFFENCES[offence] - len(readers), text):
            yield
        for reader in readers:
            reader.join()

    def _offend(self, offence: str, over: float) -> None:
        """One request, and another one if that was the end of its worker."""
        while (left := over - time.monotonic()) > 0.5:
            command = ["curl", "-so", "/dev/null", "-H", f"Host: {_domain(offence)}", "--max-time", str(left + 5)]
            subprocess.run([*command, f"http://127.0.0.1:{self.stack.port}/{offence}?{left:.1f}"], check=False)

    @contextlib.contextmanager
    def _held(self, count: int, text: str) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                connection = stack.enter_context(socket.create_connection(("127.0.0.1", self.stack.port), 10))
                connection.sendall(text.encode())
            yield


def _domain(offence: str) -> str:
    return f"{offence.replace('_', '-')}.test"


def report(kept: dict[str, list[Answer]]) -> None:
    """Markdown: medians of the latencies, and their ratios to those of the victim alone in the same round."""
    print("| beside the site | p50, ms | p99, ms | p99, least - most | p99, ratio | requests | failed |")
    print("| :--- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, answers in kept.items():
        alone = kept["alone, without limits" if name.endswith(", without limits") else "alone"]
        p50, p99 = ([1000 * one[field] for one in answers] for field in ("p50", "p99"))
        ratio = statistics.median(one["p99"] / other["p99"] for one, other in zip(answers, alone))
        counts = " | ".join(f"{sum(one[field] for one in answers):,.0f}" for field in ("requests", "failed"))
        print(
            f"| {name} | {statistics.median(p50):.2f} | {statistics.median(p99):.2f} "
            f"| {min(p99):.2f} - {max(p99):.2f} "
            f"| {ratio:.2f} | {counts} |"
        )
    print()
    print(environment.where())


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each row is measured (5)")
    parser.add_argument("--seconds", type=int, default=5, metavar="S", help="how long each time (5)")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single answer there, as JSON")
    arguments = parser.parse_args()
    kept: dict[str, list[Answer]] = {}

    def row(name: str, measure: Callable[[], Answer]) -> float:
        answer = measure()
        kept.setdefault(name, []).append(answer)
        return answer["p99"]

    with contextlib.ExitStack() as stack:
        rows: dict[str, Callable[[], Answer]] = {}
        for street in (
            Street("", "", [*OFFENCES]),
            Street(", without limits", UNLIMITED, ["fork", "take_memory", "burn", "write_stderr"]),
        ):
            stack.callback(street.stack.close)
            rows |= street.rows(arguments.seconds)
            if not street.name:
                rows["silent"] = partial(street.beside, "silent", arguments.seconds)
        turns({name: partial(row, name, measure) for name, measure in rows.items()}, arguments.rounds, "neighbors")
        kept = {name: kept[name] for name in rows}
        report(kept)
    if arguments.raw is not None:
        arguments.raw.write_text(json.dumps({"where": environment.where(), "answers": kept}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
