"""The folders of the operator's that all work for chroots starts from, opened once.

Root works next to folders that tenants write in. So a path is walked once, beneath an open folder, and no symlink
in it is followed; whatever is changed is changed through a descriptor, or by name in a folder of root's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import mounts
from user_wsgi_wrapper.emperor_hook.chroot_plan import Place


class ChrootError(Exception):
    """A chroot can't be built or taken down; str() is one line fit to print."""


class Bases:
    """The open folders that places lie under; a context manager."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}

    def __enter__(self) -> Bases:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def __getitem__(self, base: Path) -> int:
        """A descriptor of the folder `base`, which is made if it's missing. Only root may write in it."""
        if base not in self._open:
            try:
                descriptor = os.open(base, mounts.FOLDER | os.O_CLOEXEC)
            except FileNotFoundError:
                base.mkdir(parents=True, exist_ok=True)
                base.chmod(0o755)  # whatever the umask
                descriptor = os.open(base, mounts.FOLDER | os.O_CLOEXEC)
            self._open[base] = descriptor
            facts = os.fstat(descriptor)
            if facts.st_uid != 0 or facts.st_mode & 0o022:
                raise ChrootError(f"{base}: it must belong to root, and nobody else may write in it")
        return self._open[base]

    @contextlib.contextmanager
    def open(self, place: Place, flags: int = mounts.FOLDER, same_mount: bool = False) -> Iterator[int]:
        """A descriptor of what stands at `place`, symlinks refused."""
        descriptor = mounts.open_beneath(self[place.base], place.path, flags, same_mount)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def parent(self, place: Place, same_mount: bool = False) -> Iterator[tuple[int, str]]:
        """A descriptor of the folder that holds `place`, and the name in it."""
        folder, _, name = place.path.rpartition("/")
        with self.open(Place(place.base, folder or "."), same_mount=same_mount) as descriptor:
            yield descriptor, name


def lstat(folder: int, name: str) -> os.stat_result:
    """What stands at a name in an open folder, a symlink itself. Raises OSError."""
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def exists(folder: int, name: str) -> bool:
    """Whether anything stands at a name in an open folder, a dangling symlink too."""
    try:
        lstat(folder, name)
    except FileNotFoundError:
        return False
    return True


def is_directory(folder: int, name: str) -> bool:
    """Whether a folder stands at a name in an open folder; a symlink to one is none."""
    try:
        return stat.S_ISDIR(lstat(folder, name).st_mode)
    except FileNotFoundError:
        return False
