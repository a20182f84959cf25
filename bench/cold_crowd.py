"""A crowd before cold sites, and a flood of unknown domains.

    python bench/cold_crowd.py [--sites N] [--rounds N] [--flood-rounds N] [--raw FILE]

Run as root, with the tests' virtual environment and wrk. In the first table every site is asked at the same moment; a
site that initialize's log calls warm twice was warmed twice. In the others, known sites are asked at a steady pace,
then as fast as they answer, and then sites that were never seen, without and with 5,000 requests a second for domains
that nobody has, each for a name of its own; in turns. The flood of a bare nginx, which says 404 and no more, shows
what of it is but two processors being shared with a flood and its client.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import environment, flood
from bench.many_sites import ManySites
from tests.live import wait_for


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
        document["flood"] = flood.measure(arguments.flood_rounds)
    print(environment.where())
    if arguments.raw is not None:
        arguments.raw.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
