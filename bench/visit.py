"""What is measured of one server over so many domains: cold, warm, throughput, CPU, memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench import ab, wrk
from bench.servers.server import Server
from bench.servers.site import Site, check

VISITORS = 4  # requests under way at once


@dataclass(frozen=True)
class Effort:
    """How much is measured: warm requests in all, seconds of wrk, first requests of each kind at least."""

    requests: int
    seconds: int
    firsts: int


@dataclass
class Visit:
    """Milliseconds of requests, KiB of memory, seconds. `cold` holds a list for each of the server's states."""

    server: str
    domains: int
    load: float = 0.0  # of the machine just before
    start: float = 0.0
    cold: dict[str, list[float]] = field(default_factory=dict)
    warm: list[float] = field(default_factory=list)
    requests: int = 0
    failed: int = 0
    memory_of_sites: float = 0.0
    memory: float = 0.0
    asked: int = 0
    asking: float = 0.0
    cpu: float = 0.0


def visit(server: Server, sites: Sequence[Site], effort: Effort) -> Visit:
    """Start the server, measure everything, stop it whatever happens."""
    seen = Visit(server.name, len(sites), load=psutil.getloadavg()[0])
    try:
        server.prepare(sites)
        began = time.monotonic()
        server.start(sites)
        seen.start = time.monotonic() - began
        _cold(server, sites, effort, seen, server.colds[:-1] if len(server.colds) > 1 else server.colds)
        for site in sites:
            check(server.port, site)
        _warm(server, sites, effort, seen)
        seen.memory_of_sites, seen.memory = _proportional(server.alive(of_sites=True)), _proportional(server.alive())
        _throughput(server, sites, effort, seen)
        if len(server.colds) > 1:  # the last state is the one that sites fall into by themselves
            _cold(server, sites, effort, seen, server.colds[-1:], begun=False)
    finally:
        server.stop()
    return seen


def _cold(
    server: Server, sites: Sequence[Site], effort: Effort, seen: Visit, kinds: Sequence[str], begun: bool = True
) -> None:
    """The first request to each site, one after the other; `begun`: the server has just started."""
    for kind in kinds:
        times = seen.cold.setdefault(kind, [])
        # the last kind takes its time to come about: once is enough
        enough = effort.firsts if begun else 1
        while len(times) < enough:
            if not begun or times or kind != kinds[0]:
                server.cool(kind)
            for site in sites:
                served = ab.run(server.port, site.domain, 1)
                times.append(served.milliseconds[-1])
                seen.failed += served.failed
                seen.requests += 1


def _warm(server: Server, sites: Sequence[Site], effort: Effort, seen: Visit) -> None:
    """As many visitors at once as ever: on one site all of them, on several one each, site after site."""
    each = max(1, effort.requests // len(sites))
    at_once = min(VISITORS, len(sites))
    with ThreadPoolExecutor(at_once) as visitors:
        runs = visitors.map(lambda site: ab.run(server.port, site.domain, each, VISITORS // at_once), sites)
        for served in runs:
            seen.warm += served.milliseconds
            seen.requests += served.requests
            seen.failed += served.failed


def _throughput(server: Server, sites: Sequence[Site], effort: Effort, seen: Visit) -> None:
    before = _cpu(server)
    done = wrk.run(server.port, [site.domain for site in sites], effort.seconds, VISITORS)
    seen.cpu = _cpu(server) - before
    seen.asked, seen.asking = done.requests, done.seconds
    seen.requests += done.requests
    seen.failed += done.failed


def _cpu(server: Server) -> float:
    """Seconds, user and system, of all processes and of their children that have ended."""
    seconds = 0.0
    for process in server.alive():
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def _proportional(processes: Sequence[psutil.Process]) -> float:
    """KiB: each process's own, and its share of what it shares with others (proc(5), smaps_rollup, Pss)."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return float(total)
