"""The table of media types that vassals read: the host's, without what no web site shows.

uWSGI puts each entry at the end of a list that it walks from its head. The 1,545 of Debian's file are 3 ms of each
start of a site; of half as many a quarter of the time is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

HOST = Path("/etc/mime.types")
FRONT = Path("/etc/nginx/mime.types")
# of single vendors' programs, or of chemistry; but not archives and Android's packages, which are offered everywhere
_RARE = re.compile(r"application/(?:vnd|prs)\.(?!android\.|rar$)|chemical/")
_FRONTS = re.compile(r"^\s*([\w.+-]+/[\w.+-]+)\s+([^;{}]+);", re.MULTILINE)


def shortened(host: str, front: str) -> str:
    """What of `host`, written as /etc/mime.types is, may be asked for, and what nginx's own table knows beside it."""
    wanted = {name: found[1] for found in _FRONTS.finditer(front) for name in found[2].split()}
    kept: dict[str, str] = {}
    for kind, name in _entries(host):
        if name in wanted or not _RARE.match(kind):
            kept.setdefault(name, kind)
    return "".join(f"{kind}\t{name}\n" for name, kind in (wanted | kept).items())


def _entries(table: str) -> Iterator[tuple[str, str]]:
    for line in table.splitlines():
        kind, *names = line.partition("#")[0].split() or [""]
        yield from ((kind, name) for name in names)


def state() -> str:
    """A comment that tells which files a table was made of."""
    return "# made of " + ", ".join(f"{path} {_time(path)}" for path in (HOST, FRONT)) + "\n"


def render() -> str:
    """The table for vassals, with its state() at its head. Without the host's files there is nothing in it."""
    return state() + shortened(*(_read(path) for path in (HOST, FRONT)))


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
