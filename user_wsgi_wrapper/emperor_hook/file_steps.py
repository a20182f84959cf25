"""Folders, links, devices and files of a plan: is one in place, put it in place, take it away.

Every function raises OSError as the kernel gave it, or ChrootError.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Union

from user_wsgi_wrapper.emperor_hook import mounts
from user_wsgi_wrapper.emperor_hook.bases import Bases, ChrootError, exists, is_directory, lstat
from user_wsgi_wrapper.emperor_hook.chroot_plan import Copy, Device, Directory, LogFile, Place, Symlink, TextFile
from user_wsgi_wrapper.emperor_hook.mount_steps import unmount_all

Made = Union[Symlink, Device, TextFile, Copy]
FileStep = Union[Directory, LogFile, Made]


def in_place(step: FileStep, bases: Bases) -> bool:
    """Whether the step is done, with owner, mode and content as it says."""
    if isinstance(step, Directory):
        with bases.open(step.place) as descriptor:
            return step.keep or _owned(step, os.fstat(descriptor))
    with bases.parent(step.place) as (folder, name):
        facts = lstat(folder, name)
        if isinstance(step, Symlink):
            return stat.S_ISLNK(facts.st_mode) and os.readlink(name, dir_fd=folder) == step.target
        if isinstance(step, LogFile):
            owned = (facts.st_uid, facts.st_gid) == (step.uid, step.gid)
            return owned and facts.st_mode == stat.S_IFREG | step.mode and facts.st_nlink == 1
        if isinstance(step, Device):
            number = os.makedev(step.major, step.minor)
            return _is_roots(facts, stat.S_IFCHR | 0o666) and facts.st_rdev == number
        if not _is_roots(facts, stat.S_IFREG | 0o644):
            return False
        if isinstance(step, TextFile):
            return _read(folder, name) == step.content.encode()
        theirs = step.source.stat()
        return (facts.st_size, facts.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)


def _owned(step: Directory, facts: os.stat_result) -> bool:
    return (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (step.uid, step.gid, step.mode)


def _is_roots(facts: os.stat_result, mode: int) -> bool:
    return (facts.st_uid, facts.st_gid, facts.st_mode) == (0, 0, mode)


def _read(folder: int, name: str) -> bytes:
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def ensure(step: FileStep, bases: Bases) -> None:
    """Put the step in place."""
    if isinstance(step, Directory):
        _ensure_directory(step, bases)
    elif isinstance(step, LogFile):
        _ensure_log_file(step, bases)
    elif not _is_made(step, bases):
        _make(step, bases)


def _is_made(step: Made, bases: Bases) -> bool:
    try:
        return in_place(step, bases)
    except FileNotFoundError:
        return False


def _ensure_directory(step: Directory, bases: Bases) -> None:
    with bases.parent(step.place) as (folder, name):
        if exists(folder, name):
            with bases.open(step.place, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                if not step.keep and not _owned(step, os.fstat(descriptor)):
                    _own(step, descriptor)
            return
        # Under another name until owner and mode are right: a folder that is found later is a finished one.
        temporary = _temporary(name)
        with contextlib.suppress(FileExistsError):  # left by a build that was killed
            os.mkdir(temporary, 0o700, dir_fd=folder)
        descriptor = mounts.open_beneath(folder, temporary, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _own(step, descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def _own(step: Directory, descriptor: int) -> None:
    os.fchown(descriptor, step.uid, step.gid)
    os.fchmod(descriptor, step.mode)


def _temporary(name: str) -> str:
    return f".{name}.new"


def _ensure_log_file(step: LogFile, bases: Bases) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with bases.parent(step.place) as (folder, name):
        descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise ChrootError(f"{step.place}: a log must be a plain file with one name")
        if (facts.st_uid, facts.st_gid) != (step.uid, step.gid):
            os.fchown(descriptor, step.uid, step.gid)
        os.fchmod(descriptor, step.mode)
    finally:
        os.close(descriptor)


def _make(step: Made, bases: Bases) -> None:
    with bases.parent(step.place) as (folder, name):
        if is_directory(folder, name):  # a mount point of an earlier version of the plan
            unmount_all(step.place, bases)
            os.rmdir(name, dir_fd=folder)
        temporary = _temporary(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        if isinstance(step, Symlink):
            os.symlink(step.target, temporary, dir_fd=folder)
        elif isinstance(step, Device):
            _make_device(step, folder, temporary)
        elif isinstance(step, TextFile):
            _write(folder, temporary, step.content.encode())
        else:
            theirs = step.source.stat()
            _write(folder, temporary, step.source.read_bytes(), theirs.st_mtime_ns)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def _make_device(step: Device, folder: int, name: str) -> None:
    if mounts.flags_of(folder) & mounts.Flags.NODEV:
        raise ChrootError(f"{step.place}: the file system there is mounted nodev, devices don't work on it")
    os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(step.major, step.minor), dir_fd=folder)
    os.chmod(name, 0o666, dir_fd=folder)  # noqa: S103 - the devices that everyone may use


def _write(folder: int, name: str, content: bytes, mtime_ns: int | None = None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(name, flags, 0o644, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(descriptor, 0o644)
        if mtime_ns is not None:
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))


def remove(place: Place, bases: Bases) -> None:
    """Take away the file or the empty folder at `place`, and what a killed build left of making it.

    Nothing beyond a mount point is touched (EXDEV). Raises OSError ENOTEMPTY for a folder that holds more.
    """
    with contextlib.suppress(FileNotFoundError), bases.parent(place, same_mount=True) as (folder, name):
        for leaf in (name, _temporary(name)):
            if is_directory(folder, leaf):
                os.rmdir(leaf, dir_fd=folder)
            elif exists(folder, leaf):
                os.unlink(leaf, dir_fd=folder)
