"""Reading the end of a log, and following it through rotation."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 64 * 1024


def last_lines(path: Path, count: int) -> list[bytes]:
    """The last `count` lines of a file, read from its end. Raises OSError."""
    with _open(path) as file:
        return _last_lines(file, count)


def _last_lines(file: BinaryIO, count: int) -> list[bytes]:
    position = file.seek(0, os.SEEK_END)
    text = b""
    while position > 0 and text.count(b"\n") <= count:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        text = file.read(step) + text
    return text.splitlines(keepends=True)[-count:] if count else []


def with_request(path: Path, request_id: str) -> Iterator[bytes]:
    """The lines that carry a request's id: `[id]` of the error log's stamp, or the id at a line's end."""
    wanted = request_id.encode()
    with _open(path) as file:
        yield from (line for line in file if wanted in line)


def follow(path: Path, count: int, wanted: Callable[[bytes], bool], stop: Callable[[], bool]) -> Iterator[bytes]:
    """The last `count` lines, then each line as it comes, until `stop()`; a rotated file is opened anew."""
    file = _open(path)
    try:
        yield from filter(wanted, _last_lines(file, count))
        file.seek(0, os.SEEK_END)
        rest = b""
        while not stop():
            block = file.readline()
            if block:
                rest += block
                if rest.endswith(b"\n"):
                    if wanted(rest):
                        yield rest
                    rest = b""
                continue
            if _was_rotated(path, file):
                file.close()
                file = _open(path)
                continue
            time.sleep(0.1)
    finally:
        file.close()


def _open(path: Path) -> BinaryIO:
    # The folder is root's, the file may be its tenant's: never wait for the writer of a FIFO
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def _was_rotated(path: Path, file: BinaryIO) -> bool:
    here = os.fstat(file.fileno())
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev) or there.st_size < file.tell()


def collect(lines: Iterator[bytes], count: int | None) -> list[bytes]:
    """All lines, or the last `count` of them."""
    return list(lines) if count is None else list(deque(lines, maxlen=count))
