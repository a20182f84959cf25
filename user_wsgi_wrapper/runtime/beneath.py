"""Files below a folder, and nothing else: found by walking down on opened descriptors, one name at a time.

So nothing outside the folder can be reached, whatever its links say and whoever renames things meanwhile.
"""

from __future__ import annotations

import errno
import io
import os
import stat

TYPE_CHECKING = False  # typing costs milliseconds in every worker
if TYPE_CHECKING:
    from collections.abc import Sequence

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK: should a FIFO take the file's place at the last moment, opening it must not wait for a writer
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_MAX_LINKS = 40  # as the kernel, path_resolution(7)
# what a path leads to isn't there, may not be seen, or became something else meanwhile (EINVAL: a link that is none)
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM}
_ABSENT |= {errno.ENXIO, errno.EINVAL}
# never shown, whatever an operator allows: names that begin so hold histories, settings and keys
_SECRET = (b".git", b".env", b".hg", b".svn", b".ht", b".ssh", b".netrc", b".pgpass")


def split(rest: str, dotfiles: bool = False) -> list[bytes] | None:
    """The names in a path that begins with a slash; None if it isn't such a path or one of them may not be shown."""
    if not rest.startswith("/") or "\0" in rest:
        return None
    try:
        names = [name for name in rest.encode("latin-1").split(b"/") if name]
    except UnicodeEncodeError:
        return None
    return names if all(_may_show(name, dotfiles) for name in names) else None


def _may_show(name: bytes, dotfiles: bool) -> bool:
    if not name.startswith(b".") or name == b".well-known":
        return True
    return dotfiles and name not in (b".", b"..") and not name.lower().startswith(_SECRET)


def find(root: bytes, names: Sequence[bytes], dotfiles: bool = False) -> tuple[int, bytes] | None:
    """The regular file that `names` lead to below `root`: its folder (a descriptor, yours to close) and its name.

    Symbolic links are followed only within `root`, and only if the link belongs to the owner of what it leads to
    (Apache's SymLinksIfOwnerMatch). None if there is no such file.
    """
    walk = _Walk(root, names, dotfiles)
    try:
        return walk.run()
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    finally:
        for descriptor in walk.opened:
            os.close(descriptor)


class _Walk:
    """One walk down: `opened` are the folders from the root to where it stands, `ahead` what it still has to go, the
    next one last; a number in it is the owner that a link asks of what the names before it led to.
    """

    __slots__ = ("ahead", "dotfiles", "links", "opened", "root")

    def __init__(self, root: bytes, names: Sequence[bytes], dotfiles: bool) -> None:
        self.root = root
        self.dotfiles = dotfiles
        self.links = 0
        self.opened: list[int] = []
        self.ahead: list[bytes | int] = list(reversed(names))

    def run(self) -> tuple[int, bytes] | None:
        self.opened.append(os.open(self.root, _FOLDER))
        while self.ahead:
            name = self.ahead.pop()
            if isinstance(name, int):
                if os.fstat(self.opened[-1]).st_uid != name:
                    return None
            elif name == b"..":  # only a link's target has it
                os.close(self.opened.pop())
                if not self.opened:
                    return None
            elif not _may_show(name, self.dotfiles):
                return None
            else:
                info = os.stat(name, dir_fd=self.opened[-1], follow_symlinks=False)
                if stat.S_ISREG(info.st_mode):
                    return self._arrive(name, info.st_uid)
                if stat.S_ISDIR(info.st_mode):
                    self.opened.append(os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self.opened[-1]))
                elif not (stat.S_ISLNK(info.st_mode) and self._follow(name, info.st_uid)):
                    return None
        return None

    def _arrive(self, name: bytes, owner: int) -> tuple[int, bytes] | None:
        for wanted in self.ahead:
            if not isinstance(wanted, int) or wanted != owner:
                return None
        return self.opened.pop(), name

    def _follow(self, name: bytes, owner: int) -> bool:
        self.links += 1
        target = _beneath(self.root, os.readlink(name, dir_fd=self.opened[-1]))
        if target is None or self.links > _MAX_LINKS:
            return False
        if target.startswith(b"/"):
            while len(self.opened) > 1:
                os.close(self.opened.pop())
        self.ahead.append(owner)
        self.ahead.extend(part for part in reversed(target.split(b"/")) if part not in (b"", b"."))
        return True


def _beneath(root: bytes, target: bytes) -> bytes | None:
    """A link's target with the root's own path taken off an absolute one; None if that isn't below the root."""
    if not target.startswith(b"/"):
        return target
    for prefix in (root, os.path.realpath(root)):
        if target.startswith(prefix.rstrip(b"/") + b"/"):
            return target[len(prefix.rstrip(b"/")) :]
    return None


def open_regular(folder: int, name: bytes) -> tuple[io.FileIO, os.stat_result] | None:
    """A regular file and what it is, from the opened descriptor itself; None if it can't be read or is none."""
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    info = os.fstat(descriptor)
    if stat.S_ISREG(info.st_mode):
        return io.FileIO(descriptor), info
    os.close(descriptor)
    return None
