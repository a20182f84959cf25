"""The long form of the splitter's tests: minutes of kills, stops and rotations, and what was lost by them, counted.

    python bench/splitter_soak.py [--seconds N]

Prints a line an experiment; exit status 1 if one lost what it must not lose.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.live import wait_for
from tests.splitting import Splitting, numbers

KEYS = 20


def lines(start: int, count: int) -> bytes:
    return b"".join(b"k%d.com|%d some text of a line\n" % (n % KEYS, n) for n in range(start, start + count))


def read(splitting: Splitting) -> list[int]:
    return sorted(numbers(*(splitting.log(f"k{n}.com") for n in range(KEYS))))


def killed_while_following(folder: Path, seconds: float) -> str:
    """SIGKILL at random moments: nothing is missing, and doubled is at most what one interval brought."""
    source = (folder / "access.log").open("ab", buffering=0)
    deadline, count, kills, doubled, before = time.monotonic() + seconds, 0, 0, [], 0
    while time.monotonic() < deadline:
        with Splitting(folder / "logs", "--follow", str(folder / "access.log")) as splitting:
            until = time.monotonic() + 0.2 + random.random()
            while time.monotonic() < until:
                source.write(lines(count, 100))
                count += 100
                time.sleep(0.01)
            splitting.process.kill()
            splitting.process.wait()
            kills += 1
        found = read(splitting)
        doubled.append(len(found) - len(set(found)) - before)
        before += doubled[-1]
    with Splitting(folder / "logs", "--follow", str(folder / "access.log")) as splitting:
        wait_for(lambda: len(set(read(splitting))) == count, "every line")
        splitting.terminate()
    found = read(splitting)
    assert set(found) == set(range(count)), "lines are missing"
    return (
        f"{kills} kills, {count} lines, none missing, {len(found) - count} twice (at most {max(doubled)} by one kill)"
    )


def stopped(folder: Path, seconds: float, whom: str) -> str:
    """SIGSTOP of one side: all lines arrive, memory is bounded."""
    with Splitting(folder / "logs") as splitting:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(200_000)], stdout=splitting.pipe)
        victim = splitting.process if whom == "reader" else writer
        time.sleep(0.3)
        victim.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        victim.send_signal(signal.SIGCONT)
        writer.wait()
        memory = psutil.Process(splitting.process.pid).memory_info().rss >> 20
        counters = splitting.end()
    assert read(splitting) == list(range(200_000)), "lines are missing"
    return f"{whom} stopped for {seconds:g} s: {counters['written_lines']} lines, none missing, {memory} MiB"


WRITER = f"""
import os, sys
for n in range(int(sys.argv[1])):
    os.write(1, b"k%d.com|%d some text of a line\\n" % (n % {KEYS}, n))
"""


def idle_cost(folder: Path, rate: int, seconds: float) -> str:
    """What a trickle costs: lines written one by one."""
    with Splitting(folder / "logs") as splitting:
        splitting.write(b"a.com|x\n")
        splitting.wait_until_read("a.com", b"x\n")
        before = sum(psutil.Process(splitting.process.pid).cpu_times()[:2])
        began = time.monotonic()
        for n in range(int(rate * seconds)):
            os.write(splitting.pipe, b"k%d.com|%d some text\n" % (n % KEYS, n))
            time.sleep(max(0.0, began + (n + 1) / rate - time.monotonic()))
        used = sum(psutil.Process(splitting.process.pid).cpu_times()[:2]) - before
        counters = splitting.end()
    share = 100 * used / seconds
    return f"{rate} lines a second: {share:.2f} % of a core, longest lag {counters['longest_lag']} s"


def main() -> int:
    """Run every experiment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, metavar="N", help="how long each takes (30)")
    seconds = parser.parse_args().seconds
    experiments = {
        "killed": lambda folder: killed_while_following(folder, seconds),
        "stopped reader": lambda folder: stopped(folder, seconds, "reader"),
        "stopped writer": lambda folder: stopped(folder, seconds, "writer"),
        "a line a second": lambda folder: idle_cost(folder, 1, seconds),
        "a trickle": lambda folder: idle_cost(folder, 50, seconds),
        "a stream": lambda folder: idle_cost(folder, 2000, seconds),
    }
    failed = 0
    for name, experiment in experiments.items():
        with tempfile.TemporaryDirectory(prefix="uww-soak-") as folder:
            try:
                print(f"{name}: {experiment(Path(folder))}", flush=True)
            except AssertionError as error:
                print(f"{name}: FAILED: {error}", flush=True)
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
