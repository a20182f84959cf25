"""Files as a site's processes see them, its chroot being built or not: walked name by name, each on a descriptor.

No link is ever followed by the kernel, so whoever walks can't be led out: a link's target is read and walked in its
turn, beginning at the tenant's own root.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import mounts
from user_wsgi_wrapper.layout import Layout

MAX_LINKS = 40  # as the kernel, path_resolution(7)
_KINDS = {stat.S_IFDIR: "folder", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
_NAMED = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Step:
    """What stands at one name on the way. `kind` is folder, file, link or special, `target` is a link's."""

    path: str
    kind: str
    uid: int
    gid: int
    mode: int
    target: str = ""


@dataclass(frozen=True)
class Trace:
    """Where a path leads. `real` is the path with its links followed, empty if it leads nowhere: `error` is the errno
    then and `obstacle` the path at which it happened. `readable` is whether this process may read what is there.
    """

    asked: str
    steps: tuple[Step, ...]
    real: str = ""
    readable: bool = False
    error: int = 0
    obstacle: str = ""

    @property
    def last(self) -> Step | None:
        """What stands at the end, or as far as it got."""
        return self.steps[-1] if self.steps else None


def from_dict(fields: dict[str, Any]) -> Trace:
    """A trace that was taken apart by dataclasses.asdict, on its way between two processes."""
    return Trace(**{**fields, "steps": tuple(Step(**step) for step in fields["steps"])})


class Files:
    """The tenant's tree: `places` are open folders by the path at which he sees them; a context manager."""

    def __init__(self, places: dict[str, int]) -> None:
        self._places = places

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._places.values():
            os.close(descriptor)

    def trace(self, path: str) -> Trace:
        """Follow an absolute path with the rights of this process; one that ends in a slash must be a folder."""
        walk = _Walk(self._places, path)
        try:
            return walk.run()
        finally:
            walk.close()

    def read(self, path: str, most: int) -> bytes:
        """The first `most` bytes of a regular file, its links followed; raises OSError."""
        walk = _Walk(self._places, path)
        try:
            found = walk.run()
            if not found.real or found.last is None or found.last.kind != "file":
                raise OSError(found.error or errno.EINVAL, os.strerror(found.error or errno.EINVAL), path)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            descriptor = os.open(found.real.rpartition("/")[2], flags, dir_fd=walk.folder)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise OSError(errno.EINVAL, "not a regular file", path)
                return file.read(most)
        finally:
            walk.close()


class _Walk:
    """One walk: `_here` are the names from the root to where it stands, `_opened` their folders (-1: none)."""

    def __init__(self, places: dict[str, int], path: str) -> None:
        self._places = places
        self._asked = path
        self._here: list[str] = []
        self._opened: list[int] = []
        self._ahead = [name for name in reversed(path.split("/")) if name]
        self._steps: list[Step] = []
        self._links = 0
        self.folder = -1

    def close(self) -> None:
        for descriptor in self._opened:
            if descriptor >= 0 and descriptor not in self._places.values():
                os.close(descriptor)

    def run(self) -> Trace:
        self._opened.append(self._places.get("/", -1))
        self._note("/", self._opened[0])
        try:
            while self._ahead:
                name = self._ahead.pop()
                if name in (".", ".."):
                    self._stay(name)
                    if name == "..":
                        self._back()
                elif self._go(name):
                    return self._arrived()
        except OSError as error:
            return Trace(
                self._asked, tuple(self._steps), error=error.errno or 0, obstacle=os.fsdecode(error.filename or "")
            )
        return Trace(self._asked, tuple(self._steps), self._path(), readable=True)

    def _path(self, *more: str) -> str:
        return "/" + "/".join([*self._here, *more])

    def _stay(self, name: str) -> None:
        """A dot is looked up, too, so the folder must be one that may be entered."""
        if self._opened[-1] >= 0:
            try:
                os.stat(".", dir_fd=self._opened[-1])
            except OSError as error:
                raise OSError(error.errno, error.strerror, self._path(name)) from None

    def _back(self) -> None:
        if self._here:
            self._here.pop()
            descriptor = self._opened.pop()
            if descriptor >= 0 and descriptor not in self._places.values():
                os.close(descriptor)

    def _go(self, name: str) -> bool:
        """One name further; true if what stands there is no folder and no link."""
        path = self._path(name)
        if path in self._places:
            self._enter(name, self._places[path])
            return False
        if any(place.startswith(f"{path}/") for place in self._places):  # a folder of the chroot's that isn't built
            self._enter(name, -1)
            return False
        self.folder = self._opened[-1]
        if self.folder < 0:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        try:
            facts = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        if stat.S_ISLNK(facts.st_mode):
            self._follow(name, path, facts)
        elif stat.S_ISDIR(facts.st_mode):
            self._enter(name, os.open(name, mounts.FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.folder))
        else:
            self._steps.append(_step(path, facts))
            self._here.append(name)
            self._opened.append(-1)
            return True
        return False

    def _enter(self, name: str, descriptor: int) -> None:
        self._here.append(name)
        self._opened.append(descriptor)
        self._note(self._path(), descriptor)

    def _note(self, path: str, descriptor: int) -> None:
        if descriptor >= 0:
            self._steps.append(_step(path, os.fstat(descriptor)))

    def _follow(self, name: str, path: str, facts: os.stat_result) -> None:
        target = os.readlink(name, dir_fd=self.folder)
        self._steps.append(_step(path, facts, target))
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        while target.startswith("/") and self._here:
            self._back()
        self._ahead += [part for part in reversed(target.split("/")) if part]

    def _arrived(self) -> Trace:
        steps, path = tuple(self._steps), self._path()
        if self._ahead or self._asked.endswith("/"):
            return Trace(self._asked, steps, error=errno.ENOTDIR, obstacle=path)
        name = self._here[-1]
        return Trace(self._asked, steps, path, os.access(name, os.R_OK, dir_fd=self.folder))


def _step(path: str, facts: os.stat_result, target: str = "") -> Step:
    kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "special")
    return Step(path, kind, facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode), target)


def is_built(layout: Layout, username: str) -> bool:
    """Whether the tenant's chroot stands: his files are mounted in it."""
    chroot = layout.chroot(username)
    return any(mount.target == f"{chroot}{inside.WWW}" for mount in mounts.mounted_beneath(chroot))


def open_files(layout: Layout, username: str) -> Files:
    """The tenant's tree: his chroot if that is built, else what it would show, as far as it is there already."""
    places: dict[str, int] = {}
    for path, base, beneath in _places(layout, username):
        with contextlib.suppress(OSError):
            folder = os.open(base, mounts.FOLDER | os.O_CLOEXEC)
            try:
                places[path] = mounts.open_beneath(folder, beneath)
            finally:
                os.close(folder)
    return Files(places)


def _places(layout: Layout, username: str) -> Iterator[tuple[str, str, str]]:
    """The path that the tenant sees, a folder of the operator's, and the place beneath that."""
    if is_built(layout, username):
        yield "/", str(layout.chroots_dir), username
        return
    storage = str(layout.storage_dir)
    yield inside.WWW, storage, f"{username}/var/www"
    yield inside.home(username), storage, f"{username}/home"
    yield "/tmp", storage, f"{username}/tmp"  # noqa: S108  the tenant's own
    yield "/usr", "/", "usr"
    for name in ("bin", "lib", "lib64"):
        yield f"/{name}", "/usr", name
