"""Reading the end of a log, and following it through rotation."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

_BLOCK = 64 * 1024
# A tenant can make his log a line of any length, at no cost to him: what is held of a log has bounds, in bytes.
_MOST = 32 * 1024 * 1024  # of the last lines together
_LONGEST = 4 * 1024 * 1024  # of a line; a longer one comes in pieces
_LOOK_AGAIN = 0.1  # seconds


def last_lines(path: Path, count: int) -> list[bytes]:
    """The last `count` lines of a file, read from its end, 32 MiB at most. Raises OSError."""
    with _open(path) as file:
        return _last_lines(file, count, file.seek(0, os.SEEK_END))


def _last_lines(file: BinaryIO, count: int, end: int) -> list[bytes]:
    """Of what stands before `end`. Only a newline ends a line: a progress bar's carriage returns are inside one."""
    blocks: list[bytes] = []
    position, newlines = end, 0
    while position > max(end - _MOST, 0) and newlines <= count:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        blocks.append(file.read(step))
        newlines += blocks[-1].count(b"\n")
    lines = b"".join(reversed(blocks)).split(b"\n")
    whole = [line + b"\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]
    return whole[-count:] if count else []


def with_request(path: Path, request_id: str) -> Iterator[bytes]:
    """The lines that carry a request's id: `[id]` of the error log's stamp, or the id at a line's end."""
    wanted = request_id.encode()
    with _open(path) as file:
        yield from (line for line in _lines(file) if wanted in line)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    return iter(partial(file.readline, _LONGEST), b"")


def follow(path: Path, count: int, wanted: Callable[[bytes], bool], stop: Callable[[], bool]) -> Iterator[bytes]:
    """The last `count` lines, then each line as it comes, until `stop()`; a rotated file is opened anew.

    A line is given once its newline is there. Raises OSError for what is no log, also if it takes a log's place.
    """
    file = _open(path)
    try:
        end = file.seek(0, os.SEEK_END)
        lines = _last_lines(file, count, end)
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        yield from filter(wanted, lines)
        file.seek(end)
        while not stop():
            moved = _was_moved(path, file)
            for block in _lines(file):  # to the end of what is there, also of a file that was moved away
                rest += block
                if rest.endswith(b"\n") or len(rest) >= _LONGEST:
                    line, rest = rest, b""
                    if wanted(line):
                        yield line
            if not moved:
                time.sleep(_LOOK_AGAIN)
                continue
            file.close()
            file = _open(path)
            if rest:  # its writer is gone: nothing of the next file belongs to it
                line, rest = rest + b"\n", b""
                if wanted(line):
                    yield line
    finally:
        file.close()


def _open(path: Path) -> BinaryIO:
    # The folder is root's, the file may be its tenant's: never wait for the writer of a FIFO
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


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


def collect(lines: Iterator[bytes], count: int | None) -> list[bytes]:
    """All lines, or the last `count` of them."""
    return list(lines) if count is None else list(deque(lines, maxlen=count))
