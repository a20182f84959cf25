"""What this repository is, as it comes: nginx, initialize, the Emperor, a chroot a tenant."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from bench.servers.server import Server, wait_for
from bench.servers.site import FIRST_UID, Site
from tests.live import LiveStack

IDLE = 20  # seconds until a site's processes end; as short as the measurements between allow
BURIAL = 2  # seconds; a request within the one in which the Emperor learns of an end waits for it, see README.md
COLD, ASLEEP = "cold", "asleep"


class ThisProject(Server):
    """A site of a tenant of its own each, with the defaults but for the time until it sleeps."""

    name = "this project"
    colds = ("chroot unmounted", COLD, ASLEEP)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.stack = LiveStack(folder)
        # LiveStack has a hundred accounts, for as many tests; here are more tenants
        self._uids = range(FIRST_UID + 10_000, FIRST_UID + 11_000)
        self.stack.uids = self._uids
        self.stack.layout.config_file.write_text(f"[ids]\nfirst = {self._uids[0]}\nlast = {self._uids[-1]}\n")
        self._added: set[str] = set()

    def prepare(self, sites: Sequence[Site]) -> None:
        with ThreadPoolExecutor(2) as two:
            list(two.map(self._add, [site for site in sites if site.domain not in self._added]))

    def start(self, sites: Sequence[Site]) -> None:
        self._sites = sites
        self.stack.start()
        self.port = self.stack.port

    def stop(self) -> None:
        if self.stack.process is not None:
            self.stack.stop()

    def close(self) -> None:
        """Fails if anything is left."""
        self.stack.close()

    def processes(self) -> list[psutil.Process]:
        if self.stack.process is None:
            return []
        head = psutil.Process(self.stack.process.pid)
        return [head, *head.children(recursive=True)]

    def is_a_sites(self, process: psutil.Process) -> bool:
        return process.uids().real in self._uids

    def access_log(self, site: Site) -> Path:
        return self.stack.layout.log_file(site.domain, "access")

    def cool(self, kind: str) -> None:
        if kind == COLD:
            self.stack.command("cool", "--all")
        elif kind != ASLEEP:
            super().cool(kind)
        wait_for(lambda: not self.alive(of_sites=True), f"every site is {kind}")
        if kind == ASLEEP:
            time.sleep(BURIAL)

    def _add(self, site: Site) -> None:
        self.stack.site(site.domain, f"User{site.uid}", site.code, "--idle", str(IDLE))
        self._added.add(site.domain)
