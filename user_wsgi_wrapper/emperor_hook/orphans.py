"""Tenants' processes that no living Emperor owns any more: who they are and how that is told.

A process is known by its pid and its create time together, as pids are reused.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from user_wsgi_wrapper.emperor_hook import process_files
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, parse_domain

RUNNING, ZOMBIE = "running", "zombie"
_STEPS = 1000  # of a walk up to an Emperor; a family that changes faster than it can be read counts as owned
_COMMAND = 200  # characters shown


class Identity(Protocol):
    """The unix side of a tenant."""

    @property
    def username(self) -> str:
        """The tenant's name, case kept."""

    @property
    def uid(self) -> int:
        """The uid that the tenant's processes run as."""


@dataclass(frozen=True)
class Orphan:
    """A tenant's process with no living Emperor above it.

    `create_time` is psutil's (seconds since the epoch), `status` running or zombie, `domain` the site that it served
    if that can be told, `command` its command line made printable, `parent_pid` who collects it when it is dead.
    """

    pid: int
    create_time: float
    uid: int
    username: str
    domain: str | None
    command: str
    status: str
    parent_pid: int

    def __str__(self) -> str:
        where = f" {self.domain}" if self.domain else ""
        fault = f", not collected by its parent {self.parent_pid}" if self.status == ZOMBIE else ""
        return f"{self.pid} {self.username}{where}: {self.command or '?'} ({self.status}{fault})"


def emperor_pids(layout: Layout) -> frozenset[int]:
    """The pid in the Emperor's pid file if a living uWSGI has it that runs this layout's Emperor; else none."""
    try:
        process = psutil.Process(int(layout.emperor_pidfile.read_text()))
        # a tenant can run a uWSGI under this very pid, once the Emperor is dead
        found = _is_emperor(process) and any(_is_emperor_of(layout, process, word) for word in process.cmdline())
    except (OSError, ValueError, OverflowError, psutil.Error):
        return frozenset()
    return frozenset({process.pid}) if found else frozenset()


def _is_uwsgi(process: psutil.Process) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE and process_files.program(process.pid).startswith("uwsgi")


def _is_emperor_of(layout: Layout, process: psutil.Process, word: str) -> bool:
    """Whether a word of the command line is the folder of the vassals, or a configuration file that names it."""
    vassals = str(layout.vassals_dir)
    if word.partition("=")[2] == vassals or word == vassals:
        return True
    file = Path(process.cwd()) / word.rpartition("=")[2]
    if file.suffix not in (".ini", ".xml", ".yml", ".yaml", ".json"):
        return False
    try:
        return file == layout.run_dir / "emperor.ini" or vassals in file.read_text(errors="replace")
    except OSError:
        return False


def find_orphans(
    identities: Iterable[Identity],
    emperor_pids: frozenset[int],
    layout: Layout,
    login_uids: frozenset[int] | None = None,
) -> list[Orphan]:
    """Every process that runs as one of `identities` and has no living Emperor among its ancestors.

    An Emperor is one of `emperor_pids`, if it is alive, or any uWSGI that root runs: one of another root's, or one
    whose pid file got lost, is left its vassals all the same. `login_uids` are uids that a person may log in with;
    their processes count only if their root folder is a chroot of this layout. None: those in the machine's password
    database. Processes of uid 0, also by setuid, never count.
    """
    usernames = {identity.uid: identity.username for identity in identities if identity.uid != 0}
    logins = _logins(usernames) if login_uids is None else login_uids
    family = _Family(emperor_pids)
    orphans = []
    for pid in psutil.pids():
        # it may end at any moment
        with suppress(psutil.Error, OSError):
            process = psutil.Process(pid)
            uid = tenant_uid(process)
            if uid not in usernames or (uid in logins and not _is_in_chroot(pid, layout)) or family.owns(process):
                continue
            orphans.append(_describe(process, uid, usernames[uid]))
    return orphans


def _logins(uids: Iterable[int]) -> frozenset[int]:
    known = {entry.pw_uid for entry in pwd.getpwall()}
    return frozenset(uid for uid in uids if uid in known or _has_account(uid))


def _has_account(uid: int) -> bool:
    """Asked one by one too: a directory service may not list its accounts."""
    try:
        pwd.getpwuid(uid)
    except (KeyError, OverflowError):
        return False
    return True


def tenant_uid(process: psutil.Process) -> int:
    """The uid that the process runs as, 0 as soon as one of its three is root's."""
    uids = process.uids()
    return 0 if 0 in (uids.real, uids.effective, uids.saved) else int(uids.real)


def _is_in_chroot(pid: int, layout: Layout) -> bool:
    root = Path(f"/proc/{pid}/root").readlink()
    return layout.chroots_dir.resolve() in root.parents


class _Family:
    """Who descends from an Emperor."""

    def __init__(self, emperors: Iterable[int]) -> None:
        self._owned = set(emperors)  # a dead one is nobody's parent: the kernel gives orphans another

    def owns(self, process: psutil.Process) -> bool:
        """Whether an Emperor is among its ancestors. Raises psutil.NoSuchProcess if the process ends."""
        walked: set[int] = set()
        child = process
        for _ in range(_STEPS):
            try:
                parent_pid = child.ppid()
                if parent_pid in self._owned:
                    self._owned |= walked
                    return True
                if parent_pid <= 1:
                    return parent_pid == 1 and _is_emperor(psutil.Process(1))
                parent = psutil.Process(parent_pid)
                if parent.create_time() > child.create_time():
                    raise psutil.NoSuchProcess(parent_pid)  # the parent ended and its pid is another's
                if _is_emperor(parent):
                    self._owned |= walked | {parent_pid}
                    return True
            except psutil.NoSuchProcess:
                # somebody on the way ended and his children have got another parent: from the start
                child = psutil.Process(process.pid)
                if child != process:
                    raise
                walked.clear()
            else:
                walked.add(parent_pid)
                child = parent
        return True


def _is_emperor(process: psutil.Process) -> bool:
    return process.uids().real == 0 and _is_uwsgi(process)


def _describe(process: psutil.Process, uid: int, username: str) -> Orphan:
    status = ZOMBIE if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else RUNNING
    command = process_files.command_line(process.pid) if status == RUNNING else ""
    command = command or process_files.name(process.pid)
    return Orphan(
        pid=process.pid,
        create_time=process.create_time(),
        uid=uid,
        username=username,
        domain=_domain(process, command) if status == RUNNING else None,
        command="".join(character if character.isprintable() else "?" for character in command[:_COMMAND]),
        status=status,
        parent_pid=process.ppid(),
    )


def _domain(process: psutil.Process, title: str) -> str | None:
    """What the vassal told its children; uWSGI's own processes carry the domain as the first word of their title."""
    with suppress(psutil.Error, OSError):
        told = process_files.variable(process.pid, "SITE_DOMAIN")
        with suppress(BadValueError):
            return parse_domain(told)
        if _is_uwsgi(process):
            with suppress(BadValueError):
                return parse_domain(title.partition(" ")[0])
    return None
