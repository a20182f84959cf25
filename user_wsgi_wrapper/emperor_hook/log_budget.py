"""A bound on what a domain's logs take together: the oldest rotated files beyond it are deleted.

The folder is root's, the files may be their tenant's: nothing of them is opened here.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import server_log
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, parse_domain

MIB = 1 << 20
_ROTATED = re.compile(rf"\.(?:{'|'.join(inside.LOG_KINDS)})\.log\.([1-9][0-9]{{0,5}})(?:\.gz)?")


@dataclass(frozen=True)
class File:
    """A file of a domain's log folder; `size` is in bytes: what it takes, or what reading it costs, if that is more.

    `age` counts how often it was rotated, 0 for one that may be written to, or is no log.
    """

    name: str
    size: int
    age: int = 0


@dataclass(frozen=True)
class Trimmed:
    """What was deleted: how many files of a domain, of how many bytes."""

    domain: str
    files: int
    size: int


def surplus(files: Iterable[File], budget: int) -> list[File]:
    """Which files must go so that the others take at most `budget` bytes. Pure.

    What is beyond the budget by itself goes first, then the oldest. What is written to stays, however large it is.
    """
    there = list(files)
    kept = sum(file.size for file in there)
    gone = []
    rotated = (file for file in there if file.age)
    for file in sorted(rotated, key=lambda file: (file.size <= budget, -file.age, -file.size, file.name)):
        if kept <= budget:
            break
        gone.append(file)
        kept -= file.size
    return gone


def trim(layout: Layout, domain: str, budget: int) -> Trimmed | None:
    """Delete the surplus of a domain's logs, and say so in its server log; None if there is none. Raises OSError."""
    folder = os.open(layout.log_dir(domain), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        gone = surplus(_files(folder, domain), budget)
        for file in gone:
            os.unlink(file.name, dir_fd=folder)
    finally:
        os.close(folder)
    if not gone:
        return None
    size = sum(file.size for file in gone)
    text = f"{len(gone)} rotated logs, {size / MIB:.1f} MiB, were deleted: the logs may take {budget / MIB:g} MiB"
    server_log.say(layout, domain, "trimmed", text)
    return Trimmed(domain, len(gone), size)


def _files(folder: int, domain: str) -> Iterator[File]:
    for name in os.listdir(folder):
        try:
            facts = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if stat.S_ISREG(facts.st_mode):
            rotated = _ROTATED.fullmatch(name.removeprefix(domain))
            age = int(rotated[1]) if rotated and name.startswith(domain) else 0
            yield File(name, max(facts.st_size, 512 * facts.st_blocks), age)


def domains(layout: Layout) -> list[str]:
    """The domains that have a log folder, in order."""
    found = []
    try:
        names = sorted(entry.name for entry in layout.user_logs_dir.iterdir())
    except FileNotFoundError:
        return []
    for name in names:
        try:
            if parse_domain(name) == name and (layout.user_logs_dir / name).is_dir():
                found.append(name)
        except BadValueError:
            continue
    return found
