"""A machine with many sites, most of them never asked for, and what its stack takes."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from bench.asking import timed
from tests.live import LiveStack
from user_wsgi_wrapper.emperor_hook import config, sites
from user_wsgi_wrapper.emperor_hook.registry import open_registry
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.site import Site

APPLICATION = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
"""
_IDS = 20_000  # uids of one machine
_SERVICES = {"emperor.ini": "emperor", "initialize.ini": "initialize", "nginx.conf": "nginx"}


class ManySites:
    """A root of its own with a stack that serves `registered` sites, each of a tenant of its own.

    `registry` is the text of the configuration's section of that name; `idle` the seconds after which a site sleeps.
    """

    def __init__(self, registered: int, idle: int = 3600, configuration: str = "") -> None:
        root = Path(tempfile.mkdtemp(prefix="uww-many-"))
        root.chmod(0o755)
        self.stack = LiveStack(root)
        first = random.randrange(10_000_000, 1_000_000_000, _IDS)
        self.stack.uids = range(first, first + _IDS)
        self.stack.layout.config_file.write_text(
            f"[ids]\nfirst = {first}\nlast = {self.stack.uids[-1]}\n[sites]\nidle = {idle}\n{configuration}"
        )
        self.registered = 0
        self._asked_for = 0
        self._register(registered)

    def _register(self, count: int) -> None:
        """As `site add` does, without a new interpreter for each."""
        layout = self.stack.layout
        settings = config.load(layout, None)
        machine = Machine(layout, settings, open_registry(settings, layout))
        for number in range(count):
            if number % 1000 == 999:
                print(f"  {number + 1} of {count} sites registered", file=sys.stderr)
            sites.add(machine, Site(*self.name(number), idle=settings.sites.idle))
        machine.registry.close()
        self.registered = count

    @staticmethod
    def name(number: int) -> tuple[str, str]:
        """The domain and the user name of a site."""
        return f"site{number:06}.test", f"User{number:06}"

    def start(self) -> float:
        """Start the stack with every site cold; the seconds until it says that it serves."""
        began = time.perf_counter()
        self.stack.start()
        return time.perf_counter() - began

    def add_one(self) -> float:
        """`site add` by the command line; the seconds that it took."""
        domain, user = self.name(self.registered)
        self.registered += 1
        began = time.perf_counter()
        self.stack.command("site", "add", domain, "--user", user)
        return time.perf_counter() - began

    def never_seen(self, count: int) -> list[str]:
        """The domains of that many sites that were never asked for, with their applications in place."""
        names = [self.name(self._asked_for + number) for number in range(count)]
        self._asked_for += count
        for _, user in names:
            self.stack.write(user, "wsgi.py", APPLICATION)
        return [domain for domain, _ in names]

    def first_request(self) -> float:
        """The seconds that the first visitor of a site waits."""
        return self.ask(self.never_seen(1)[0])

    def ask(self, domain: str) -> float:
        """The seconds of one request; SystemExit unless it is answered with 200."""
        return timed(self.stack, domain)

    def processes(self) -> dict[str, list[psutil.Process]]:
        """The stack's processes by service: up, emperor, initialize and nginx; and the tenants'."""
        assert self.stack.process is not None
        up = psutil.Process(self.stack.process.pid)
        found: dict[str, list[psutil.Process]] = {"up": [up], "tenants": []}
        for child in up.children():
            words = " ".join(child.cmdline())
            service = next((name for mark, name in _SERVICES.items() if mark in words), "initialize")
            for one in (child, *child.children(recursive=True)):
                with suppress(psutil.Error):
                    is_tenant = service == "emperor" and one.uids().real != 0
                    found.setdefault("tenants" if is_tenant else service, []).append(one)
        return found

    def close(self) -> None:
        """Stop the stack and delete everything."""
        self.stack.close()


def processor_seconds(processes: Iterable[psutil.Process]) -> float:
    """What they have used up so far, with the kernel's nanoseconds (/proc/PID/task/TID/schedstat)."""
    return sum(_nanoseconds(process.pid) for process in processes) / 1e9


def _nanoseconds(pid: int) -> int:
    return sum(int(path.read_text().split()[0]) for path in _existing(Path(f"/proc/{pid}/task").glob("*/schedstat")))


def _existing(paths: Iterator[Path]) -> Iterator[Path]:
    with suppress(OSError):
        yield from paths


def proportional_mib(processes: Iterable[psutil.Process]) -> float:
    """Their proportional set sizes, in MiB: a page that several processes share counts in parts."""
    total = 0
    for process in processes:
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 2**20
