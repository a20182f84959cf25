"""A crowd before cold sites, and a flood of unknown domains.

    python bench/cold_crowd.py [--sites N] [--rounds N] [--flood-rounds N] [--raw FILE]

Run as root, with the tests' virtual environment and wrk. In the first table every site is asked at the same moment; a
site that initialize's log calls warm twice was warmed twice. In the others, known sites are asked at a steady pace,
then as fast as they answer, and then sites that were never seen, without and with 5,000 requests a second for domains
that nobody has, each for a name of its own; in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import environment
from bench.many_sites import ManySites
from bench.turns import table, turns
from tests.live import wait_for

SCRIPT = Path(__file__).with_name("paced.lua")
FLOOD = 5000  # requests a second
KNOWN = 8  # sites that go on while the flood is on
_SECONDS = 8
# whoever floods comes from many addresses: the stack takes 127.0.0.1 for a load balancer
_BEHIND_A_BALANCER = '[front]\nreal_ip_from = ["127.0.0.1/32"]\n'


def ask_all(many: ManySites, domains: Sequence[str], visitors: int) -> tuple[list[float], int]:
    """Ask all at the same moment; the seconds that each visitor waited, and how many weren't answered with 200."""
    gate = threading.Barrier(len(domains) * visitors)
    times: list[float] = []
    failed: list[str] = []

    def visit(domain: str) -> None:
        gate.wait()
        began = time.perf_counter()
        try:
            status = many.stack.request(domain).status
        except OSError as error:
            failed.append(f"{domain}: {error}")
            return
        times.append(time.perf_counter() - began)
        if status != 200:
            failed.append(f"{domain}: {status}")

    threads = [threading.Thread(target=visit, args=(domain,)) for domain in domains for _ in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("\n".join(failed[:5]), file=sys.stderr, end="\n" if failed else "")
    return times, len(failed)


def warmed(many: ManySites) -> Counter[str]:
    """How often initialize has warmed each domain so far."""
    lines = (many.stack.layout.own_logs_dir / "initialize.log").read_text().splitlines()
    entries = (json.loads(line) for line in lines if line.startswith("{"))
    return Counter(entry["domain"] for entry in entries if entry["message"] == "warm")


def crowd(count: int, rounds: int, visitors: int) -> dict[str, object]:
    """Every site never seen, then, round for round, every site cold but known; prints the table."""
    many = ManySites(count)
    rows: dict[str, tuple[list[float], int, int]] = {}
    try:
        many.start()
        domains = many.never_seen(count)
        for number in range(rounds + 1):
            print(f"crowd: round {number} of {rounds}", file=sys.stderr)
            if number:
                many.stack.command("cool", "--all")
                wait_for(lambda: not many.processes()["tenants"], "the sites have ended", patience=120)
            before = warmed(many)
            times, failed = ask_all(many, domains, visitors)
            twice = sum(times > 1 for times in (warmed(many) - before).values())
            name = "known, cold" if number else "never seen"
            kept = rows.get(name, ([], 0, 0))
            rows[name] = kept[0] + times, kept[1] + failed, kept[2] + twice
    finally:
        many.close()
    title = f"{count} sites at once" + (f", {visitors} visitors each" if visitors > 1 else "")
    print(f"| {title} | p50, ms | p99, ms | most, ms | failed | warmed twice |")
    print("|:---|" + " ---: |" * 5)
    for name, (times, failed, twice) in rows.items():
        cells = [f"{1000 * percentile(times, percent):,.0f}" for percent in (50, 99, 100)]
        print(f"| {name} | {' | '.join(cells)} | {failed} | {twice} |")
    print()
    return {name: {"seconds": times, "failed": bad, "twice": twice} for name, (times, bad, twice) in rows.items()}


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that so many percent of all don't exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


class Flood:
    """Known sites beside a flood; each measurement keeps what wrk said."""

    def __init__(self) -> None:
        self.many = ManySites(KNOWN + 200, configuration=_BEHIND_A_BALANCER)
        self.many.start()
        for domain in self.many.never_seen(KNOWN):
            self.many.ask(domain)
        self.answers: list[dict[str, float]] = []
        self.floods: list[dict[str, float]] = []

    def steady(self, flood: bool) -> dict[str, float]:
        """1,000 requests a second to the known sites, eight connections."""
        return self._measure(flood, lambda: self._wrk(8, 8, "site", KNOWN))

    def hard(self, flood: bool) -> dict[str, float]:
        """As fast as they answer, four connections."""
        return self._measure(flood, lambda: self._wrk(4, 0, "site", KNOWN))

    def cold(self, flood: bool) -> dict[str, float]:
        """The first visitors of sites that were never seen, one after another."""

        def ask() -> dict[str, float]:
            times = [self.many.first_request() for _ in range(10)]
            return {"p50": statistics.median(times), "most": max(times)}

        return self._measure(flood, ask)

    def _measure(self, flood: bool, ask: Callable[[], dict[str, float]]) -> dict[str, float]:
        if not flood:
            return ask()
        # its connections wait 20 ms after each answer
        process = self._start_wrk(FLOOD // 50, 20, f"nobody{len(self.floods)}", 0, _SECONDS + 4, "1")
        time.sleep(2)
        answer = ask()
        self.floods.append(_result(process))
        return answer

    def _wrk(self, connections: int, pause: int, host: str, hosts: int) -> dict[str, float]:
        return _result(self._start_wrk(connections, pause, host, hosts, _SECONDS, "0"))

    def _start_wrk(
        self, connections: int, pause: int, host: str, hosts: int, seconds: int, spread: str
    ) -> subprocess.Popen[str]:
        words = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(SCRIPT)]
        url = f"http://127.0.0.1:{self.many.stack.port}/"
        return subprocess.Popen(
            ["wrk", *words, url, "--", str(pause), host, str(hosts), spread], stdout=subprocess.PIPE, text=True
        )

    def log_bytes(self) -> int:
        """What the stack's own logs hold by now."""
        return sum(path.stat().st_size for path in self.many.stack.layout.own_logs_dir.iterdir())


def _result(process: subprocess.Popen[str]) -> dict[str, float]:
    output, _ = process.communicate(timeout=120)
    return dict(json.loads(output.splitlines()[-1]))


def flood(rounds: int) -> dict[str, object]:
    """Prints the tables of known sites with and without the flood."""
    kept: dict[str, list[dict[str, float]]] = {}
    run = Flood()
    try:

        def row(title: str, measure: Callable[[bool], dict[str, float]], flooded: bool, field: str) -> float:
            answer = measure(flooded)
            kept.setdefault(f"{title}, {'flood' if flooded else 'quiet'}", []).append(answer)
            return answer[field]

        for title, measure, field, unit, factor in (
            ("steady", run.steady, "p50", "p50, ms", 1000.0),
            ("as fast as can be", run.hard, "requests", "requests a second", 1 / _SECONDS),
            ("first requests", run.cold, "p50", "p50, ms", 1000.0),
        ):
            rows = {
                name: lambda t=title, m=measure, f=field, x=factor, on=on: x * row(t, m, on, f)  # type: ignore[misc]
                for name, on in (("quiet", False), ("flood", True))
            }
            values = turns(rows, rounds, title)
            print(table(title, unit, values, "quiet", 2))
            for name in rows:
                told = kept[f"{title}, {name}"]
                tail = {key: statistics.median(one[key] for one in told) for key in ("p99", "most") if key in told[0]}
                print(f"{name}: " + ", ".join(f"{key} {1000 * value:.1f} ms" for key, value in tail.items()))
            print()
        rate = statistics.median(one["requests"] / one["seconds"] for one in run.floods)
        seconds = sum(one["seconds"] for one in run.floods)
        locks = sum(1 for _ in run.many.stack.layout.locks_dir.iterdir())
        print(f"the flood: {rate:,.0f} requests a second for {seconds:.0f} s")
        print(f"left by all this: {run.log_bytes() / 2**20:.1f} MiB of logs of the stack's, {locks} lock files")
    finally:
        run.many.close()
    return {"known": kept, "floods": run.floods}


def main() -> int:
    """Measure, print the tables, keep the raw numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=100, metavar="N", help="cold sites asked at once (100)")
    parser.add_argument("--visitors", type=int, default=1, metavar="N", help="of each site (1)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of the crowd (5); 0 for none")
    parser.add_argument("--flood-rounds", type=int, default=5, metavar="N", help="of the flood (5); 0 for none")
    parser.add_argument("--raw", type=Path, metavar="FILE", help="write every single value there, as JSON")
    arguments = parser.parse_args()
    document: dict[str, object] = {"machine": environment.machine(), "versions": environment.servers()}
    if arguments.rounds:
        document["crowd"] = crowd(arguments.sites, arguments.rounds, arguments.visitors)
    if arguments.flood_rounds:
        document["flood"] = flood(arguments.flood_rounds)
    print(environment.where())
    if arguments.raw is not None:
        arguments.raw.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
