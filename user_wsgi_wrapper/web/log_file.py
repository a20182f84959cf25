"""How much of a log is shown."""

from __future__ import annotations

import os
from pathlib import Path

from user_wsgi_wrapper.emperor_hook.tail import open_log


def lines_within(path: Path, most: int, size: int) -> int:
    """How many lines lie within the last `size` bytes, `most` at most: of lines of megabytes, few are shown."""
    with open_log(path) as file:
        start = max(file.seek(0, os.SEEK_END) - size, 0)
        file.seek(start)
        ends = file.read(size).count(b"\n")
    return min(ends if start == 0 else max(ends - 1, 0), most)
