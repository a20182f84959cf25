"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_if_changed(path: Path, text: str, mode: int = 0o644) -> bool:
    """Make `path` hold `text`; True if it didn't before. A reader sees the old file or the new one.

    The temporary name ends in .tmp, which the Emperor's scan leaves alone.
    """
    data = text.encode()
    try:
        if path.read_bytes() == data:
            return False
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(data)
    os.replace(temporary, path)  # noqa: PTH105 - the pair with os.open above
    return True


def link_if_changed(path: Path, target: Path) -> bool:
    """Make `path` a symbolic link to `target`; True if it wasn't before. Never absent in between."""
    try:
        if os.readlink(path) == str(target):  # noqa: PTH115
            return False
    except OSError:
        pass
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)  # noqa: PTH105
    return True
