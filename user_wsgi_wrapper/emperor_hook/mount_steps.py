"""Mounts of a plan: is one in place, put it in place, take away whatever is mounted somewhere.

Every function raises OSError as the kernel gave it, or ChrootError.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Union

from user_wsgi_wrapper.emperor_hook import mounts
from user_wsgi_wrapper.emperor_hook.bases import Bases, ChrootError, exists, is_directory
from user_wsgi_wrapper.emperor_hook.chroot_plan import Bind, Filesystem, Place

MountStep = Union[Bind, Filesystem]


def in_place(step: MountStep, bases: Bases) -> bool:
    """Whether the right mount stands there with the right flags.

    Told by the descriptor alone: reading /proc/self/mountinfo takes 25 ms on a host with a thousand chroots.
    """
    with bases.open(step.place) as target:
        if isinstance(step, Filesystem):
            return _is_own(step, target) and mounts.flags_of(target) == step.flags
        with _source(step, bases) as source:
            return _shows(source, target) and mounts.flags_of(target) == step.flags | mounts.flags_of(source)


@contextlib.contextmanager
def _source(step: Bind, bases: Bases) -> Iterator[int]:
    if isinstance(step.source, Place):
        with bases.open(step.source) as descriptor:
            yield descriptor
        return
    descriptor = os.open(step.source, mounts.FOLDER | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _shows(source: int, target: int) -> bool:
    return os.path.samestat(os.fstat(source), os.fstat(target))


def _is_own(step: Filesystem, target: int) -> bool:
    """A file system of the right kind, and not the host's own one shown here."""
    if mounts.magic_of(target) != mounts.MAGIC[step.kind]:
        return False
    # A proc of our own has a device number of its own (Linux 5.8), the host's under /proc has another.
    return step.kind != "proc" or os.fstat(target).st_dev != Path("/proc").stat().st_dev


def ensure(step: MountStep, bases: Bases) -> None:
    """Put the mount in place: another one there is taken away, the right one gets its flags and options set anew."""
    if isinstance(step, Filesystem):
        fits = partial(_is_own, step)
        _mount(step.place, bases, fits, partial(_make_filesystem, step), step.flags)
        with bases.open(step.place) as target:
            mounts.reconfigure(target, step.options)
        return
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(_source(step, bases))
        except OSError as error:
            raise ChrootError(f"{step.place}: {step.source}, which it is to show: {error.strerror}") from error
        flags = step.flags | mounts.flags_of(source)
        make = partial(mounts.bind, source, flags=flags, recursive=step.recursive)
        _mount(step.place, bases, partial(_shows, source), make, flags)


def _make_filesystem(step: Filesystem, target: int) -> None:
    mounts.new_filesystem(step.kind, step.options, target, flags=step.flags)


def _mount(
    place: Place, bases: Bases, fits: Callable[[int], bool], make: Callable[[int], None], flags: mounts.Flags
) -> None:
    if is_mount(place, bases):
        with bases.open(place) as target:
            if fits(target):
                mounts.set_flags(target, flags)
                return
        unmount_all(place, bases)
    with _mount_point(place, bases) as target:
        make(target)


def is_mount(place: Place, bases: Bases) -> bool:
    """Whether anything is mounted right at `place`. Raises OSError, FileNotFoundError if its parent is missing."""
    with bases.parent(place) as (folder, name):
        try:
            os.close(mounts.open_beneath(folder, name, os.O_PATH, same_mount=True))
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.ENOENT, errno.ELOOP):
                raise
            return error.errno == errno.EXDEV
        return False


@contextlib.contextmanager
def _mount_point(place: Place, bases: Bases) -> Iterator[int]:
    with bases.parent(place) as (folder, name):
        if not is_directory(folder, name):
            if exists(folder, name):
                os.unlink(name, dir_fd=folder)
            os.mkdir(name, 0o755, dir_fd=folder)
        target = mounts.open_beneath(folder, name, same_mount=True)
    try:
        yield target
    finally:
        os.close(target)


def unmount_all(place: Place, bases: Bases) -> None:
    """Take away every mount that stands at `place`, one upon another."""
    path = Path(os.path.realpath(place.base), place.path)
    while is_mount(place, bases):
        mounts.unmount(path)
