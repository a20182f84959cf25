"""A log that its tenant may have put anything in place of."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_log(path: Path) -> BinaryIO:
    """Open a plain file for reading, no link followed and no FIFO waited for. Raises OSError for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def lines_within(path: Path, most: int, size: int) -> int:
    """How many lines lie within the last `size` bytes, `most` at most: of lines of megabytes, few are shown."""
    with open_log(path) as file:
        start = max(file.seek(0, os.SEEK_END) - size, 0)
        file.seek(start)
        ends = file.read(size).count(b"\n")
    return min(ends if start == 0 else max(ends - 1, 0), most)
