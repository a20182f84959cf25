"""The files of one log: the one that is written to, and those before it, rotated and perhaps compressed.

The folder is root's, the files may be their tenant's: each is opened by tail.open_log, read in bounded memory, and
what can't be read is told of and left out.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from user_wsgi_wrapper.emperor_hook import tail
from user_wsgi_wrapper.emperor_hook.logs import records, skim, stamps
from user_wsgi_wrapper.emperor_hook.logs.records import Record, Wanted
from user_wsgi_wrapper.emperor_hook.logs.unpack import Unpacked, UnpackError

_MOST_UNPACKED = 4 * 1024**3  # bytes of one compressed file: a tenant can make one that has no end
_BLOCK = 1 << 20  # bytes that are read at once
_CLOSE_ENOUGH = 256 * 1024  # bytes that may be read in vain before a time is reached
# logrotate's names: numbered, the newest lowest, or dated (`dateext`)
_NUMBERED = re.compile(r"\.([1-9][0-9]{0,5})(\.gz)?")
_DATED = re.compile(r"-([0-9]{8,14})(\.gz)?")


def rotated(path: Path) -> list[Path]:
    """The files that were rotated away from `path`, the newest first."""
    found = []
    for other in path.parent.iterdir():
        if other.name.startswith(path.name):
            rest = other.name[len(path.name) :]
            numbered, dated = _NUMBERED.fullmatch(rest), _DATED.fullmatch(rest)
            if numbered:
                found.append(((0, int(numbered[1])), other))
            elif dated:
                found.append(((1, -int(dated[1].ljust(14, "0"))), other))
    return [other for _, other in sorted(found)]


class Source:
    """The log `kind` at `path`, as it is when this is made: what is rotated later isn't read twice.

    `follower` goes on where this ends, if it is given. `say` is told what can't be read. Raises OSError if the log
    itself can't be opened.
    """

    def __init__(
        self, kind: str, path: Path, say: Callable[[str], None], follower: tail.Follower | None, patience: float
    ) -> None:
        self.kind = kind
        self._path = path
        self._say = say
        self._follower = follower
        self._live = follower.file if follower is not None else tail.open_log(path, patience)
        self._end = follower.begin if follower is not None else self._live.seek(0, os.SEEK_END)
        self._older: list[tuple[Path, BinaryIO]] | None = None

    def close(self) -> None:
        """Let go of the files, but for the follower's."""
        if self._follower is None:
            self._live.close()
        for _, file in self._older or ():
            file.close()

    def backwards(self, wanted: Wanted) -> Iterator[Record]:
        """The records, the newest first. No file is opened before something of it is asked for."""
        yield from records.grouped_backwards(self.kind, tail.lines_backwards(self._live, self._end))
        for path, file in self._open_older():
            if path.suffix != ".gz":
                end = file.seek(0, os.SEEK_END)
                yield from records.grouped_backwards(self.kind, tail.lines_backwards(file, end))
            else:
                yield from self._end_of_packed(path, file, wanted)

    def forwards(self, wanted: Wanted) -> Iterator[Record]:
        """The records that are wanted, the oldest first."""
        for path, file in reversed(self._open_older()):
            if path.suffix == ".gz":
                yield from self._wanted(_unpacked(file), None, wanted, path)
            else:
                yield from self._wanted(file, file.seek(0, os.SEEK_END), wanted, path)
        yield from self._wanted(self._live, self._end, wanted, self._path)

    def _wanted(self, file: BinaryIO, end: int | None, wanted: Wanted, path: Path) -> Iterator[Record]:
        """Of one file up to the offset `end`; of a stream, for which that is None, to its end."""
        if end is not None:
            file.seek(0 if wanted.since is None else _offset_of(self.kind, file, end, wanted.since))
        may_match = skim.test_for(wanted)
        lines: Iterator[bytes | None]
        if may_match is None:
            lines = self._until_damaged(_lines(file, end), path)
        else:
            lines = skim.lines(skim.areas(self._until_damaged(_blocks(file, end), path)), may_match)
        yield from filter(wanted.has, records.grouped(self.kind, lines))

    def _until_damaged(self, parts: Iterator[bytes], path: Path) -> Iterator[bytes]:
        try:
            yield from parts
        except UnpackError as error:
            self._say(f"{path}: {error}; the rest is left out")

    def _open_older(self) -> list[tuple[Path, BinaryIO]]:
        """All at once: if they are rotated later, their descriptors stay what they are."""
        if self._older is None:
            seen = {_identity(self._live)}
            self._older = []
            for path in rotated(self._path):
                try:
                    file = tail.open_log(path)
                except FileNotFoundError:
                    continue  # rotated in this very moment; it comes under its next name
                except OSError as error:
                    self._say(f"{path}: {error.strerror}; it is left out")
                    continue
                if _identity(file) in seen:
                    file.close()
                    continue
                seen.add(_identity(file))
                self._older.append((path, file))
        return self._older

    def _end_of_packed(self, path: Path, file: BinaryIO, wanted: Wanted) -> Iterator[Record]:
        """The last records of a file that can be read from its beginning alone."""
        held: list[Record] = []
        size = 0
        lines = self._until_damaged(tail.lines_of(_unpacked(file)), path)
        for record in records.grouped(self.kind, lines):
            if wanted.has(record):
                held.append(record)
                size += sum(map(len, record.lines))
                if size > 2 * tail.MOST:
                    size = _drop_the_first(held, tail.MOST)
        yield from reversed(held)


def _unpacked(file: BinaryIO) -> BinaryIO:
    return io.BufferedReader(Unpacked(file, _MOST_UNPACKED), _BLOCK)


def _drop_the_first(held: list[Record], most: int) -> int:
    """Keep the last records, of `most` bytes together; gives their size."""
    size = count = 0
    for record in reversed(held):
        size += sum(map(len, record.lines))
        count += 1
        if size >= most:
            break
    del held[:-count]
    return size


def _lines(file: BinaryIO, end: int | None) -> Iterator[bytes]:
    """The lines from where the file stands up to the offset `end`."""
    left = sys.maxsize if end is None else end - file.tell()
    for line in tail.lines_of(file):
        yield line[:left]
        left -= len(line)
        if left <= 0:
            return


def _blocks(file: BinaryIO, end: int | None) -> Iterator[bytes]:
    """The same as blocks of any size."""
    left = sys.maxsize if end is None else end - file.tell()
    # what was unpacked before a damage is given, unlike by read()
    while left > 0 and (block := file.read1(min(left, _BLOCK))):  # type: ignore[attr-defined]
        yield block
        left -= len(block)


def _offset_of(kind: str, file: BinaryIO, end: int, since: float) -> int:
    """The beginning of a line before which all were written before `since`; the log's times only grow."""
    low, high = 0, end
    while high - low > _CLOSE_ENOUGH:
        middle = (low + high) // 2
        moment = _first_time(kind, file, middle, high)
        if moment is None or moment >= since:
            high = middle
        else:
            low = middle
    if low:
        file.seek(low)
        low += len(file.readline(tail.LONGEST))
    return low


def _first_time(kind: str, file: BinaryIO, begin: int, end: int) -> float | None:
    file.seek(begin)
    position = begin + len(file.readline(tail.LONGEST))
    for line in tail.lines_of(file):
        if position >= end or position - begin > tail.LONGEST:
            return None
        stamp = stamps.parse(kind, line)
        if stamp is not None:
            return stamp.time
        position += len(line)
    return None


def _identity(file: BinaryIO) -> tuple[int, int]:
    facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino


@contextlib.contextmanager
def closing_all(sources: list[Source]) -> Iterator[list[Source]]:
    """The sources, closed in the end."""
    try:
        yield sources
    finally:
        for source in sources:
            source.close()
