"""The server's own log, to which its descriptors and the tenant's standard output lead, through rotation.

uWSGI opens it once, in its master, and each worker inherits what was open then. The master can be told to open it
anew (the master-fifo's command `l`); of its workers each has to do that itself.
"""

from __future__ import annotations

import os
from time import monotonic

from user_wsgi_wrapper.runtime.error_log import identity

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW
_LOOK_EVERY = 1.0  # seconds
_STDOUT, _STDERR = 1, 2


class ServerLog:
    """Keeps descriptor 1, `fd`, and 2 where it is the same as `fd`, leading to the file at `path`.

    `path` is None where the server has no such log; `fifo` is its master's, if it has one. Whoever has taken one of
    the numbers for himself keeps it.
    """

    def __init__(self, path: str | None, fd: int, fifo: str | None) -> None:
        self._path = path
        self._fifo = fifo
        self._fd = fd
        self._identities = {number: identity(number) for number in (_STDOUT, fd)}
        self._look_at = 0.0

    def look(self) -> bool:
        """Open the log anew if it was rotated; True if it was. Never raises, never waits."""
        now = monotonic()
        if self._path is None or now < self._look_at:
            return False
        self._look_at = now + _LOOK_EVERY
        try:
            found = os.stat(self._path)
            if set(self._identities.values()) == {(found.st_dev, found.st_ino)}:
                return False
            new = os.open(self._path, _FLAGS)
        except OSError:
            return False  # in this very moment; or the tenant's other process holds a lease
        try:
            os.set_blocking(new, True)
            self._point_to(new)
        except OSError:
            pass
        finally:
            os.close(new)
        return True

    def _point_to(self, new: int) -> None:
        there, servers = identity(new), self._identities[self._fd]
        if servers != there:
            if identity(_STDERR) == servers:
                os.dup2(new, _STDERR)
            self._tell_the_master()
        for number, before in self._identities.items():
            if before != there and identity(number) == before:
                os.dup2(new, number, inheritable=number == _STDOUT)
            self._identities[number] = there

    def _tell_the_master(self) -> None:
        if self._fifo is None:
            return
        fd = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, b"l")
        finally:
            os.close(fd)
