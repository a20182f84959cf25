"""What the pages know and do of sites, for one token: never of a site that it doesn't allow."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from user_wsgi_wrapper.emperor_hook import processes, sites
from user_wsgi_wrapper.emperor_hook.processes import Status
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.site import BadValueError, Site, parse_domain
from user_wsgi_wrapper.web.failures import Failures, Group, together
from user_wsgi_wrapper.web.rotated_log import RotatedLog
from user_wsgi_wrapper.web.tokens import Token
from user_wsgi_wrapper.web.traffic import DAY, HOUR, Span, Traffic, spans

SHOWN = 200  # sites of one page
_COUNTED = 200  # sites whose counts are kept
_FRESH = 1.0  # seconds that one look at all processes is good for
T = TypeVar("T")


class NotYoursError(Exception):
    """There is no such site, or the token isn't for it: who asks can't tell which."""


@dataclass(frozen=True)
class Charts:
    """Requests of the last 24 hours and the last 30 days (UTC); not `is_whole` while the log is still being read."""

    day: tuple[Span, ...]
    month: tuple[Span, ...]
    is_whole: bool


_Bars = tuple[tuple[Span, ...], tuple[Span, ...]]


def _bars(parts: tuple[Traffic, ...]) -> _Bars:
    now = time.time()
    return spans(parts, now, HOUR, 24), spans(parts, now, DAY, 30)


class Hosting:
    """The machine's sites. Methods raise RegistryDownError, and NotYoursError for what the token isn't for."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._lock = threading.Lock()
        self._traffic: OrderedDict[str, RotatedLog[Traffic, _Bars]] = OrderedDict()
        self._failures: OrderedDict[str, RotatedLog[Failures, list[Group]]] = OrderedDict()
        self._titles: tuple[float, dict[str, list[psutil.Process]]] = (float("-inf"), {})

    def site(self, token: Token, text: str) -> Site:
        """The site of a domain."""
        try:
            found = self.machine.registry.find(parse_domain(text))
        except BadValueError:
            found = None
        if found is None or not token.allows(found):
            raise NotYoursError(text)
        return found

    def sites(self, token: Token, containing: str = "") -> tuple[list[Site], bool]:
        """The first SHOWN of its sites whose domain or user has that text in it, and whether there are more."""
        wanted = containing.strip().lower()
        matching = (site for site in self._all(token) if wanted in site.domain or wanted in site.username.lower())
        found = list(itertools.islice(matching, SHOWN + 1))
        return found[:SHOWN], len(found) > SHOWN

    def _all(self, token: Token) -> Iterator[Site]:
        registry = self.machine.registry
        if token.username is not None:
            return (site for site in registry.sites_of(token.username) if token.allows(site))
        if token.sites:
            found = (registry.find(domain) for domain, _ in token.sites)
            return (site for site in found if site is not None and token.allows(site))
        return (site for site in registry.sites() if token.allows(site))

    def status(self, chosen: list[Site]) -> list[Status]:
        """How they are."""
        known = {one.username: one.uid for one in self.machine.registry.identities()}
        titles = self._processes()
        return [processes.status(self.machine.layout, site, known.get(site.username, -1), titles) for site in chosen]

    def _processes(self) -> dict[str, list[psutil.Process]]:
        with self._lock:
            when, titles = self._titles
            if time.monotonic() - when > _FRESH:
                titles = processes.by_title()
                self._titles = time.monotonic(), titles
            return titles

    def change(self, site: Site) -> bool:
        """Replace its settings, as `site set` does: True if it is warm and takes them up. Raises as sites.change."""
        return sites.change(self.machine, site)

    def log(self, site: Site, kind: str) -> Path:
        """The path of one of its logs."""
        return self.machine.layout.log_file(site.domain, kind)

    def charts(self, site: Site) -> Charts:
        """Its traffic."""
        path = self.log(site, "access")
        (day, month), is_whole = self._kept(
            self._traffic, site.domain, lambda: RotatedLog(path, Traffic, _bars)
        ).count()
        return Charts(day, month, is_whole)

    def failures(self, site: Site) -> tuple[list[Group], bool]:
        """Its failures by place; not whole while the log is still being read."""
        log = self._kept(self._failures, site.domain, lambda: RotatedLog(self.log(site, "error"), Failures, together))
        return log.count()

    def _kept(self, kept: OrderedDict[str, T], domain: str, make: Callable[[], T]) -> T:
        with self._lock:
            log = kept.pop(domain, None) or make()
            kept[domain] = log
            if len(kept) > _COUNTED:
                kept.popitem(last=False)
            return log
