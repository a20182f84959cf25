"""Which save of a file this is: two saves differ in their stamps, however soon one follows the other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Optional

# Device, inode, size, and the times of the last change of the content and of the inode in ns; None: there is no file.
Stamp = Optional[tuple[int, ...]]
SETTLING = 0.05  # seconds; times on a disk advance in ticks of up to 10 ms, so that two saves may share one


def read(path: str) -> Stamp:
    """The stamp of the file that is there now."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def settle(path: str) -> Stamp:
    """The stamp of the file, once its last save is old enough that no later one can have the same.

    Whoever writes a file in several steps has then most likely done so, too.
    """
    deadline = time.monotonic() + 10 * SETTLING
    while True:
        stamp = read(path)
        age = SETTLING if stamp is None else time.time() - stamp[4] / 1e9
        # A time in the future is another machine's clock: waiting for it would not end.
        if not 0 <= age < SETTLING or time.monotonic() > deadline:
            return stamp
        time.sleep(SETTLING - age)
