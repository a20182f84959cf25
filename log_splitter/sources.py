"""Where lines come from, and the plainest of them: standard input."""

from __future__ import annotations

import fcntl
import os
import select
import stat
from contextlib import suppress

BLOCK = 256 << 10  # bytes read at once: what comes of them stays in the processor's cache until it is written
MUCH = 2 << 20  # bytes: less isn't worth handing over to another thread, which costs two switches
_PIPE = 1 << 20  # bytes that a pipe holds, if we may choose
# An Apache that restarts gracefully ends us first and its workers, who still write, then; the pipe ends with them
_LINGER = 5.0
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ is new in Python 3.10


class Source:
    """A stream of lines in blocks."""

    linger = 0.0  # seconds that others may go on writing after we were told to end
    nap = 0.0  # seconds that lines may wait there, to come in larger blocks
    breath = 0.2  # seconds that reading waits for writing, which is done sooner if nobody competes with it
    portion = 512 << 10  # bytes: a batch isn't worth writing before, if there is more to read
    is_patient = False  # whether it waits as long as need be, with nobody behind it who would wait too

    def read(self, seconds: float, wake: int) -> bytes | None:
        """The next block; b"" if none comes in time or `wake` (a descriptor) becomes readable; None at the end."""
        raise NotImplementedError

    @property
    def resumes(self) -> bool:
        """Whether what is left unfinished at our end will be read again."""
        return False

    @property
    def behind(self) -> int:
        """Bytes that could be read and weren't yet, as far as that is known."""
        return 0

    def mark(self, unfinished: int) -> object:
        """How far it was read, less the last `unfinished` bytes."""
        return None

    def save(self, mark: object) -> None:
        """Everything up to a mark is written: never read it again. Raises OSError."""

    def close(self) -> None:
        """Leave nothing behind. Raises OSError."""


class StandardInput(Source):
    """A pipe, a file or whatever else descriptor 0 is."""

    nap = 0.01  # 6 MB/s through the smallest of pipes; what comes faster comes in large blocks anyway

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._waiting = Waiting(descriptor)
        kind = os.fstat(descriptor).st_mode
        self.is_patient = stat.S_ISREG(kind)
        if stat.S_ISFIFO(kind):
            self.linger = _LINGER
            self.portion = MUCH
            with suppress(OSError):  # not ours to enlarge: then it holds what it holds
                fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE)

    def read(self, seconds: float, wake: int) -> bytes | None:
        """As Source says. Raises OSError."""
        if self.is_patient or self._waiting.until(seconds, wake):
            return os.read(self._descriptor, BLOCK) or None
        return b""


class Waiting:
    """Waits for a descriptor, and for what wakes us meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self._wake = -1

    def until(self, seconds: float, wake: int) -> bool:
        """Whether there is something to read (or the end) after `seconds` at most."""
        if wake != self._wake:
            self._poll.register(wake, select.POLLIN)
            self._wake = wake
        ready = self._poll.poll(1000 * seconds)
        return self._descriptor in dict(ready)
