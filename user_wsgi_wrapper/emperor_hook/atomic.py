"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_if_changed(path: Path, text: str, mode: int = 0o644, later_than: int | None = None) -> bool:
    """Make `path` hold `text`; True if it didn't before. A reader sees the old file or the new one.

    The new one is dated after the second `later_than`, if that is given: in the future, if need be.
    """
    data = text.encode()
    try:
        if path.read_bytes() == data:
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacement(path) as temporary:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            if later_than is not None and int(os.fstat(descriptor).st_mtime) <= later_than:
                os.utime(descriptor, (later_than + 1,) * 2)
    return True


def link_if_changed(path: Path, target: Path) -> bool:
    """Make `path` a symbolic link to `target`; True if it wasn't before. Never absent in between."""
    try:
        if os.readlink(path) == str(target):  # noqa: PTH115
            return False
    except OSError:
        pass
    with _replacement(path) as temporary:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
    return True


@contextmanager
def _replacement(path: Path) -> Iterator[Path]:
    """A name beside `path` for this thread alone, to make what takes its place; nothing stays if that fails.

    The name ends in .tmp, which the Emperor's scan leaves alone.
    """
    temporary = path.with_name(f"{path.name}.{threading.get_native_id()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - the pair of the os.open above
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
