"""Locks between processes: one for each domain's warm-up, one for each tenant's chroot."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from user_wsgi_wrapper.layout import Layout


class LockedError(Exception):
    """Somebody else holds the lock and the caller didn't want to wait."""


@contextmanager
def locked(layout: Layout, kind: str, name: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock `kind`-`name`; with wait=False raise LockedError if it's taken.

    flock(2) on a file of its own: the kernel frees it when its holder dies, however it dies.
    """
    layout.locks_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = layout.locks_dir / f"{kind}-{name}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LockedError(f"{path} is held by another process") from None
        yield
    finally:
        os.close(descriptor)
