"""One log file: opened with care, read from its end, and followed through rotation."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

_BLOCK = 64 * 1024
# A tenant can make his log a line of any length, at no cost to him: what is held of a log has bounds, in bytes.
MOST = 32 * 1024 * 1024  # of the last lines together
LONGEST = 4 * 1024 * 1024  # of a line; a longer one comes in pieces
LOOK_AGAIN = 0.1  # seconds
_LATE = 15.0  # seconds that a rotated file is read on: nginx's processes need ten to notice, each for itself
_LEASED = "its owner holds a lease on it (fcntl(2), F_SETLEASE)"


def open_log(path: Path, patience: float = 0.0) -> BinaryIO:
    """A log for reading; the folder is root's, the file may be its tenant's. Raises OSError, also for what is no log.

    No link is followed, no FIFO's writer waited for. Who holds a lease on the file is told by the kernel to let go
    of it, and made to after `fs.lease-break-time`: that is waited for, `patience` seconds at most.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise OSError(errno.EAGAIN, _LEASED, str(path)) from None
            time.sleep(LOOK_AGAIN)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def last_lines(path: Path, count: int) -> list[bytes]:
    """The last `count` lines of a file, read from its end, 32 MiB at most. Raises OSError."""
    with open_log(path) as file:
        return _last_lines(file, count, file.seek(0, os.SEEK_END))


def _last_lines(file: BinaryIO, count: int, end: int) -> list[bytes]:
    held, lines = 0, []
    for line in islice(lines_backwards(file, end), count):
        lines.append(line)
        held += len(line)
        if held >= MOST:
            break
    return lines[::-1]


def lines_backwards(file: BinaryIO, end: int) -> Iterator[bytes]:
    """The lines that stand before the offset `end`, the last one first.

    Only a newline ends a line: a progress bar's carriage returns are inside one.
    """
    pieces: list[bytes] = []  # of the line whose beginning isn't found yet, the last one first
    held, position = 0, end
    while position > 0:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        first, *others = file.read(step).split(b"\n")
        if others:
            *whole, begun = others
            line = b"".join([begun, *reversed(pieces)])
            if line:
                yield line
            for line in reversed(whole):
                yield line + b"\n"
            pieces, held = [first + b"\n"], len(first)
        else:
            pieces.append(first)
            held += len(first)
        if held >= LONGEST:
            yield b"".join(reversed(pieces))
            pieces, held = [], 0
    if pieces:
        yield b"".join(reversed(pieces))


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """The lines from where the file stands to its end."""
    return iter(partial(file.readline, LONGEST), b"")


class Follower:
    """A log from now on, whatever rotates it. `file` is the one that is open, `begin` where it is gone on from there:
    behind the last whole line that was there. Raises OSError for what is no log.
    """

    def __init__(self, path: Path, patience: float = 0.0) -> None:
        self._path = path
        self.file = open_log(path, patience)
        end = self.file.seek(0, os.SEEK_END)
        last = next(lines_backwards(self.file, end), b"\n")
        self.begin = end if last.endswith(b"\n") else end - len(last)
        self.file.seek(self.begin)
        self._rest = b""
        self._before: BinaryIO | None = None  # the file that was rotated away
        self._is_over_at = 0.0  # when nobody writes to that any more

    def close(self) -> None:
        """Let go of the files."""
        self.file.close()
        self._leave_the_one_before()

    def _leave_the_one_before(self) -> None:
        if self._before is not None:
            self._before.close()
            self._before = None

    def read(self) -> Iterator[bytes]:
        """The lines that have come since the last time; a line is given once its newline is there.

        Raises OSError for what is no log and takes the log's place.
        """
        while True:
            if self._before is not None:
                yield from lines_of(self._before)  # of a writer that hasn't noticed yet
                if time.monotonic() >= self._is_over_at:
                    self._leave_the_one_before()
            moved = _was_moved(self._path, self.file)
            for block in lines_of(self.file):  # to the end of what is there, also of a file that was moved away
                self._rest += block
                if self._rest.endswith(b"\n") or len(self._rest) >= LONGEST:
                    line, self._rest = self._rest, b""
                    yield line
            if not moved or not self._open_the_next():
                return
            if self._rest:  # nothing of the next file belongs to it
                line, self._rest = self._rest + b"\n", b""
                yield line

    def _open_the_next(self) -> bool:
        try:
            file = open_log(self._path)
        except (BlockingIOError, FileNotFoundError):
            return False  # leased, or moved once more in this very moment: the next look will do it
        self._leave_the_one_before()
        self._before, self.file = self.file, file
        self._is_over_at = time.monotonic() + _LATE
        if os.path.sameopenfile(self._before.fileno(), file.fileno()):  # it was cut
            self._leave_the_one_before()
        return True


def follow(path: Path, count: int, wanted: Callable[[bytes], bool], stop: Callable[[], bool]) -> Iterator[bytes]:
    """The last `count` lines, then each line as it comes, until `stop()`; a rotated file is opened anew."""
    follower = Follower(path)
    try:
        yield from filter(wanted, _last_lines(follower.file, count, follower.begin))
        follower.file.seek(follower.begin)
        while not stop():
            yield from filter(wanted, follower.read())
            time.sleep(LOOK_AGAIN)
    finally:
        follower.close()


def _was_moved(path: Path, file: BinaryIO) -> bool:
    """Whether another file has taken the place of `file`, or `file` was cut.

    One that is still empty hasn't: whoever writes to the old one hasn't been told yet (logrotate's `create`).
    """
    here = os.fstat(file.fileno())
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    if (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
        return there.st_size < file.tell()
    return there.st_size > 0 or not stat.S_ISREG(there.st_mode)
