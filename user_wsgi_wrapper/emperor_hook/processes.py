"""A site's living processes, and what state they show it to be in."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psutil

from user_wsgi_wrapper.emperor_hook import deploys, process_files, vassal
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

# How the title of a worker ends whose wsgi.py failed to load; the runtime sees to that.
_BROKEN = " broken"


@dataclass(frozen=True)
class Status:
    """How a site is. `memory` is in bytes; `state` is cold (never asked for), idle (asleep), running, broken
    (visitors get the error page) or broken deploy (the last version of the code was refused, an earlier one serves).
    """

    domain: str
    username: str
    state: str
    pids: tuple[int, ...]
    memory: int


def by_title() -> dict[str, list[psutil.Process]]:
    """All processes by the first word of their title, which is the domain in a vassal's processes."""
    titles: dict[str, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        titles.setdefault(_title(process).partition(" ")[0], []).append(process)
    return titles


def uids() -> set[int]:
    """The real uids of all living processes."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.add(int(process.uids().real))
    return found


def of_site(domain: str, uid: int, titles: dict[str, list[psutil.Process]] | None = None) -> list[psutil.Process]:
    """The vassal's processes: those that carry the domain as their title and run as the tenant.

    A tenant can give his own processes any title; the uid makes that nobody else's matter.
    """
    candidates = (by_title() if titles is None else titles).get(domain, [])
    return [process for process in candidates if _runs_as(process, uid)]


def workers_of_site(domain: str, uid: int) -> list[psutil.Process]:
    """Those of the vassal's processes that its master has started."""
    own = of_site(domain, uid)
    pids = {process.pid for process in own}
    return [process for process in own if _parent(process) in pids]


def _parent(process: psutil.Process) -> int:
    try:
        return int(process.ppid())
    except psutil.Error:
        return 0


def _runs_as(process: psutil.Process, uid: int) -> bool:
    try:
        return bool(process.uids().real == uid)
    except psutil.Error:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return process_files.command_line(process.pid)
    except OSError:
        return ""


def status(layout: Layout, site: Site, uid: int, titles: dict[str, list[psutil.Process]]) -> Status:
    """The site's state, from its vassal and from its processes among `titles`, as by_title gives them."""
    own = of_site(site.domain, uid, titles)
    return Status(
        site.domain,
        site.username,
        _state(layout, site, uid, own),
        tuple(sorted(process.pid for process in own)),
        sum(_memory(process) for process in own),
    )


def _state(layout: Layout, site: Site, uid: int, own: list[psutil.Process]) -> str:
    if not vassal.exists(layout, site.domain):
        return "cold"
    if any(_title(process).endswith(_BROKEN) for process in own):
        return "broken"
    if deploys.read(layout, site.username, site.domain, uid).verdict == "refused":
        return "broken deploy" if own else "idle, broken deploy"
    return "running" if own else "idle"


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
