"""Lines that sites' logs have got since the first look, and what the server logs tell in them."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook.tail import open_log
from user_wsgi_wrapper.layout import Layout

EVENTS = ("started", "reloaded", "refused", "kept", "unkept", "broken", "killed", "throttled", "idle", "stopped")
_EVENT = re.compile(rb"^[0-9]{4}-[0-9 :,-]{18} \[-\] site ([a-z]{4,9}): ", re.MULTILINE)
_LOST = re.compile(rb"^[0-9]{4}-[0-9 :,-]{18} \[-\] ([0-9]{1,9}) records were lost before this one: ", re.MULTILINE)
_BLOCK = 1 << 20
_MOST = 64 << 20  # bytes of a log at one look; the rest is left for the next
_SITES = 20_000  # whose logs are looked at


class LogLines:
    """Sums. Only what a log has got is read, each byte once, also over one rotation between two looks."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._seen: dict[Path, tuple[int, int]] = {}  # inode, offset
        self._has_looked = False
        self.lines: Counter[str] = Counter(dict.fromkeys(inside.LOG_KINDS, 0))
        self.events: Counter[str] = Counter(dict.fromkeys(EVENTS, 0))
        self.lost = 0

    def look(self, domains: Iterable[str]) -> None:
        """Count what has come since the last look; at the first look, nothing: logs may be old."""
        places = [(self._layout.log_file(domain, kind), kind) for domain in domains for kind in inside.LOG_KINDS]
        for path, kind in places[: _SITES * len(inside.LOG_KINDS)]:
            with contextlib.suppress(OSError):
                self._look_at(path, kind)
        for gone in self._seen.keys() - {path for path, _ in places}:
            del self._seen[gone]
        self._has_looked = True

    def _look_at(self, path: Path, kind: str) -> None:
        inode, offset = self._seen.get(path, (0, 0))
        facts = path.lstat()
        if not self._has_looked and path not in self._seen:
            self._seen[path] = (facts.st_ino, facts.st_size)
            return
        if inode == facts.st_ino and facts.st_size == offset:
            return
        if inode not in (0, facts.st_ino):
            self._finish(path.with_name(f"{path.name}.1"), kind, inode, offset)
            offset = 0
        with open_log(path) as file:
            now = os.fstat(file.fileno())
            self._seen[path] = (now.st_ino, self._read(file, kind, offset if now.st_size >= offset else 0))

    def _finish(self, path: Path, kind: str, inode: int, offset: int) -> None:
        """The rest of a log that was renamed."""
        with contextlib.suppress(OSError), open_log(path) as file:
            if os.fstat(file.fileno()).st_ino == inode:
                self._read(file, kind, offset)

    def _read(self, file: BinaryIO, kind: str, offset: int) -> int:
        """Count whole lines from there on; where that ended."""
        file.seek(offset)
        end = offset + _MOST
        rest = b""
        while offset < end:
            block = file.read(_BLOCK)
            if not block:
                break
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if not newline and len(rest) < 4 * _BLOCK:
                continue
            whole, rest = (whole + newline, rest) if newline else (rest, b"")
            offset += len(whole)
            self._count(whole, kind)
        return offset

    def _count(self, block: bytes, kind: str) -> None:
        self.lines[kind] += block.count(b"\n")
        if kind == "server":
            told = Counter(word.decode("ascii") for word in _EVENT.findall(block))
            self.events.update({name: number for name, number in told.items() if name in EVENTS})
        elif kind == "error":
            self.lost += sum(map(int, _LOST.findall(block)))
