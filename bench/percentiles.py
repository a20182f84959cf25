"""How long visitors wait, at each percentile: this project beside five other ways to host, cold and warm, in one run.

    python bench/percentiles.py [--rounds N] [--domains N,N,…] [--requests N] [--only NAME]… [--raw FILE] [--render]

Run as root, with the tests' virtual environment (tests/run makes var/venv), on a machine that does nothing else; it
takes some 20 minutes. Every server hosts the same application of three lines on loopback, with one process of one
thread a site; ab asks for the percentiles, a new connection each request, wrk for the throughput, over four
connections that are kept. The servers take turns; nothing of one runs while another is measured. All that is made
lies under one folder in /tmp (a database's in one beside it), which is removed, as all processes and mounts are,
whatever happens.

--render makes the tables and the plots of bench/README.md from the raw file, without measuring if --rounds is 0.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import environment, percentile_tables
from bench.servers import SERVERS
from bench.servers.server import Server
from bench.servers.site import make_sites
from bench.visit import Effort, visit

RAW = Path(__file__).with_suffix(".json")


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """All rounds; what was measured so far is written after each server, so that an interrupted run isn't lost."""
    chosen = [kind for kind in SERVERS if not arguments.only or any(name in kind.name for name in arguments.only)]
    effort = Effort(arguments.requests, arguments.seconds, arguments.firsts)
    result: dict[str, object] = {
        "machine": environment.machine(), "versions": _versions(), "effort": dataclasses.asdict(effort), "visits": []
    }  # fmt: skip
    root = Path(tempfile.mkdtemp(prefix="uww-percentiles-"))
    root.chmod(0o755)
    servers: list[Server] = []
    try:
        sites = make_sites(root / "sites", max(arguments.domains))
        for kind in chosen:
            folder = root / kind.__name__
            folder.mkdir()
            servers.append(kind(folder))
        for number in range(arguments.rounds):
            first = number % len(servers)
            for domains in arguments.domains:
                for server in servers[first:] + servers[:first]:
                    began = time.monotonic()
                    seen = visit(server, sites[:domains], effort)
                    result["visits"].append({"round": number, **dataclasses.asdict(seen)})
                    took = time.monotonic() - began
                    print(
                        f"round {number + 1} of {arguments.rounds}, {domains} domains, {server.name}: {took:.1f} s,"
                        f" {seen.asked / seen.asking:,.0f} requests/s, {seen.failed} failed",
                        file=sys.stderr,
                    )
                    arguments.raw.write_text(json.dumps(result, indent=None) + "\n")
    finally:
        for server in servers:
            _quietly(server.stop)
            _quietly(server.close)
        shutil.rmtree(root, ignore_errors=True)
    return result


def _quietly(end: object) -> None:
    """One that can't be ended must not keep the others."""
    try:
        end()
    except Exception as error:
        print(f"{error!r}", file=sys.stderr)


def _versions() -> dict[str, str]:
    """Of all that takes part."""
    asked = {
        "apache2": ["/usr/sbin/apache2", "-v"], "nginx": ["/usr/sbin/nginx", "-v"], "ab": ["ab", "-V"],
        "wrk": ["wrk", "-v"],
        "mariadb": ["/usr/sbin/mariadbd", "--version"], "uwsgi": ["/usr/bin/uwsgi", "--version"],
        "python": [environment.PYTHON, "-VV"], "gunicorn": [sys.executable, "-m", "gunicorn", "--version"],
        "this project": ["git", "-C", str(environment.ROOT), "rev-parse", "HEAD"],
    }  # fmt: skip
    packages = ("libapache2-mod-fcgid", "libapache2-mod-passenger", "libapache2-mod-wsgi-py3")
    asked |= {name: ["dpkg-query", "-W", "-f", "${Version}", name] for name in packages}
    outputs = {name: subprocess.run(command, capture_output=True, text=True) for name, command in asked.items()}
    return {name: (done.stdout + done.stderr).strip().splitlines()[0] for name, done in outputs.items()}


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = "; ".join(kind.name for kind in SERVERS)
    add = parser.add_argument
    add("--rounds", type=int, default=3, metavar="N", help="how often everything is measured (3)")
    add("--domains", type=_numbers, default=[1, 20, 200], metavar="N,N,…", help="how many sites there are (1,20,200)")
    add("--requests", type=int, default=4000, metavar="N", help="warm requests of ab, over all sites (4000)")
    add("--seconds", type=int, default=4, metavar="S", help="how long wrk asks (4)")
    add("--firsts", type=int, default=5, metavar="N", help="first requests in each cold state, at least (5)")
    add(
        "--only", action="append", metavar="NAME", help=f"a server whose name contains this; may be repeated. {names}"
    )
    add("--raw", type=Path, default=RAW, metavar="FILE", help="every number, as JSON (bench/percentiles.json)")
    add("--render", action="store_true", help="write the tables into bench/README.md and the plots into bench/plots")
    add(
        "--quick", action="store_true", help="2 domains, 100 requests, 1 s, one round: whether it works, not how well"
    )
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.rounds, arguments.domains, arguments.requests = 1, [2], 100
        arguments.seconds, arguments.firsts = 1, 1
    if arguments.only and not any(name in kind.name for name in arguments.only for kind in SERVERS):
        parser.error(f"--only {arguments.only[0]}: the names are {names}")
    if arguments.rounds < 0 or min(arguments.domains) < 1 or max(arguments.domains) > 999:
        parser.error("--rounds takes a number from 0 on, --domains numbers from 1 to 999")
    return arguments


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> int:
    """Measure, print the tables, keep the raw numbers."""
    arguments = parse()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    raw = measure(arguments) if arguments.rounds else json.loads(arguments.raw.read_text())
    if arguments.render:
        percentile_tables.render(raw)
    else:
        print(percentile_tables.text(raw))
    return 0


if __name__ == "__main__":
    sys.exit(main())
