"""What is counted of a log and of those it was rotated to, each line once, however often somebody asks.

A file is known by its first bytes, not by its name or inode: rotation renames and compresses it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Generic, Protocol, TypeVar

from user_wsgi_wrapper.emperor_hook.tail import open_log

_HEAD = 160  # bytes by which a file is known: an access line has its time and its request's id in them
_BLOCK = 1 << 20
_LONGEST = 4 << 20  # of a line; of a longer one a part is counted, if at all
_OLD = re.compile(r"\.([0-9]{1,4})(\.gz)?")
_FILES = 64
# Counting is work for a processor. One log at a time, or many readers would hold up each other and all else.
_turn = threading.Lock()


class Summary(Protocol):
    """What is counted of one file."""

    def feed(self, block: bytes) -> None:
        """Count a block of whole lines."""


S = TypeVar("S", bound=Summary)
R = TypeVar("R")


@dataclass
class _Part(Generic[S]):
    summary: S
    offset: int = 0  # decompressed bytes that were counted
    finished: tuple[int, int, int] | None = None  # inode, size and mtime of the file whose end was reached


class RotatedLog(Generic[S, R]):
    """Counts one log.

    `make` gives an empty summary, `use` what is to be known of the summaries, the newest file's first. Files
    that are unchanged for `horizon` seconds don't matter any more.
    """

    def __init__(
        self, path: Path, make: Callable[[], S], use: Callable[[tuple[S, ...]], R], horizon: float = 32 * 86400
    ) -> None:
        self._path = path
        self._make = make
        self._use = use
        self._horizon = horizon
        self._mine = threading.Lock()
        self._last = use(()), False
        self._parts: dict[bytes, _Part[S]] = {}

    def count(self, seconds: float = 2.0) -> tuple[R, bool]:
        """Go on counting for that long at most; what isn't counted then is left for the next time.

        Gives what is known then, and whether it is of the whole log. Who asks while another counts this log isn't
        kept waiting, nor for long by those who count others: he gets what was known before.
        """
        if not self._mine.acquire(blocking=False):
            return self._last
        try:
            if _turn.acquire(timeout=2 * seconds + 1):
                try:
                    self._last = self._count(seconds)
                finally:
                    _turn.release()
            return self._last
        finally:
            self._mine.release()

    def _count(self, seconds: float) -> tuple[R, bool]:
        deadline = time.monotonic() + seconds
        seen: dict[bytes, _Part[S]] = {}
        is_whole = True
        for path, is_compressed in self._files():
            try:
                is_whole = self._count_file(path, is_compressed, seen, deadline) and is_whole
            except (OSError, EOFError, zlib.error):
                continue  # it was rotated just now, isn't a log, or ends in the middle
        self._parts = seen
        return self._use(tuple(part.summary for part in seen.values())), is_whole

    def _files(self) -> Iterator[tuple[Path, bool]]:
        found = []
        try:
            names = os.listdir(self._path.parent)  # noqa: PTH208
        except OSError:
            return
        for name in names:
            match = _OLD.fullmatch(name.removeprefix(self._path.name))
            if name.startswith(self._path.name) and match is not None:
                found.append((int(match[1]), name, match[2] is not None))
        yield self._path, False
        for _, name, is_compressed in sorted(found)[:_FILES]:
            yield self._path.with_name(name), is_compressed

    def _count_file(self, path: Path, is_compressed: bool, seen: dict[bytes, _Part[S]], deadline: float) -> bool:
        """Whether its end was reached."""
        with open_log(path) as plain:
            facts = os.fstat(plain.fileno())
            if time.time() - facts.st_mtime > self._horizon:
                return True
            file: IO[bytes] = gzip.GzipFile(fileobj=plain) if is_compressed else plain  # type: ignore[assignment]
            head = file.read(_HEAD)
            key = hashlib.sha256(head).digest()
            part = self._parts.get(key) if len(head) == _HEAD else None
            if key in seen:
                return True  # it is being copied or compressed just now
            if part is None or (not is_compressed and facts.st_size < part.offset):
                part = _Part(self._make())
            seen[key] = part
            now = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if part.finished == now:
                return True
            if not _feed(file, part, deadline):
                return False
            part.finished = now
            return True


def _feed(file: IO[bytes], part: _Part[S], deadline: float) -> bool:
    file.seek(part.offset)
    rest = b""
    while True:
        block = file.read(_BLOCK)
        if not block:
            return True
        whole, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            part.summary.feed(whole + newline)
            part.offset += len(whole) + 1
        elif len(rest) > _LONGEST:
            part.offset += len(rest)
            rest = b""
        if time.monotonic() > deadline:
            return False
