"""Looking up a domain among a million, in PostgreSQL, MariaDB and SQLite.

    python bench/registry_scale.py [--domains N] [--backends A,B] [--raw FILE]

Run as root, with the tests' virtual environment and both servers' packages; the servers are started for it, on unix
sockets. A look-up is what a cold site costs: Registry.find through the pool, nine of ten for a domain that is there.
"One thread" and "64 threads, all the time" ask again as soon as they have their answer; "64 threads, 100/s" is what
a machine does at which many cold sites are asked for. "add" is a new site of a new tenant. Percentiles are medians
of ten successive parts.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import environment
from tests.databases import BACKENDS
from tests.many_domains import domain, fill, username
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook.registry import Registry, RegistryDownError, open_registry
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

_THREADS = 64
_PACE = 100  # look-ups a second, of all threads together
_COUNTS = {"one thread": 10_000, "64 threads, 100/s": 2_000, "64 threads, all the time": 20_000, "add": 200}
Measure = Callable[[Registry, int], list[float]]


def look_up(registry: Registry, domains: int) -> float:
    """Seconds of one look-up; infinite if there was no answer."""
    number = random.randrange(domains)
    is_there = random.random() < 0.9
    name = domain(number) if is_there else f"nobody{number}.example"
    began = time.perf_counter()
    try:
        found = registry.find(name)
    except RegistryDownError as error:
        print(error, file=sys.stderr)
        return math.inf
    took = time.perf_counter() - began
    assert (found is not None) == is_there
    return took


def one_thread(registry: Registry, domains: int) -> list[float]:
    return [look_up(registry, domains) for _ in range(_COUNTS["one thread"])]


def many_threads(registry: Registry, domains: int, count: int, pace: float) -> list[float]:
    """Look-ups of 64 threads, at `pace` a second of all together, or one after the other if it is 0."""
    times: list[float] = []

    def work() -> None:
        own = random.Random()
        due = time.perf_counter()
        for _ in range(count // _THREADS):
            if pace:
                due += own.expovariate(pace / _THREADS)
                time.sleep(max(0.0, due - time.perf_counter()))
            times.append(look_up(registry, domains))

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def add(registry: Registry, domains: int) -> list[float]:
    times = []
    for number in range(domains, domains + _COUNTS["add"]):
        site = Site(domain(number), username(number))
        began = time.perf_counter()
        registry.add(site)
        times.append(time.perf_counter() - began)
    return times


MEASURES: dict[str, Measure] = {
    "one thread": one_thread,
    "64 threads, 100/s": lambda registry, domains: many_threads(
        registry, domains, _COUNTS["64 threads, 100/s"], _PACE
    ),
    "64 threads, all the time": lambda registry, domains: many_threads(
        registry, domains, _COUNTS["64 threads, all the time"], 0
    ),
    "add": add,
}


def measure(backend: str, sizes: Sequence[int]) -> dict[str, dict[str, list[float]]]:
    """Seconds of each look-up, by the number of domains and the way of asking."""
    found: dict[str, dict[str, list[float]]] = {}
    with BACKENDS[backend]() as server, tempfile.TemporaryDirectory() as root:
        layout = Layout(Path(root))
        for domains in sizes:
            document = f'[registry]\nurl = "{server.new_url()}"\n[ids]\nlast = 5000000\n'.encode()
            config = configuration.parse(document, default_url=None)  # type: ignore[arg-type]
            began = time.monotonic()
            fill(config, layout, domains, max(1, domains // 10))
            print(f"{backend}: {domains} domains in {time.monotonic() - began:.0f} s", file=sys.stderr)
            registry = open_registry(config, layout)
            for _ in range(200):  # connections, caches
                look_up(registry, domains)
            found[f"{domains:,}"] = {name: take(registry, domains) for name, take in MEASURES.items()}
            registry.close()
    return found


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all don't exceed."""
    return sorted(values)[max(0, -int(-len(values) * percent // 100) - 1)]


def row(times: Sequence[float]) -> str:
    """The table's cells: medians of ten successive parts, so that a disturbance of one part doesn't count."""
    answered = [took for took in times if took < math.inf]
    size = max(1, len(answered) // 10)
    parts = [answered[start : start + size] for start in range(0, size * 10, size)]
    medians = [statistics.median(percentile(part, percent) for part in parts) for percent in (50, 99)]
    cells = [f"{1000 * value:.2f}" for value in (*medians, max(answered))]
    return f"{' | '.join(cells)} | {len(times) - len(answered)}"


def main() -> int:
    """Measure, print the table, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", default="1000,1000000", metavar="N,N", help="how many domains (1000,1000000)")
    parser.add_argument("--backends", default=",".join(BACKENDS), metavar="A,B", help="which databases (all three)")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single time there, as JSON")
    arguments = parser.parse_args()
    load = environment.machine()
    sizes = [int(size) for size in arguments.domains.split(",")]
    results = {backend: measure(backend, sizes) for backend in arguments.backends.split(",")}
    print("| milliseconds | domains | | p50 | p99 | most | no answer |\n|:---| ---: |:---|" + " ---: |" * 4)
    for backend, by_size in results.items():
        for size, by_name in by_size.items():
            for name, times in by_name.items():
                print(f"| {backend} | {size} | {name} | {row(times)} |")
    print(environment.where())
    if arguments.raw is not None:
        document = {"machine": load, "versions": environment.servers(), "seconds": results}
        arguments.raw.write_text(json.dumps(document) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
