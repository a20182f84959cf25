"""Where lines come from: a pipe or a file on standard input, or a socket that nginx's syslog logging writes to."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from log_splitter.counters import Counters

BLOCK = 128 << 10  # bytes read at once: what comes of them stays in the processor's cache until it is written
_PIPE = 1 << 20  # bytes that a pipe holds, if we may choose
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ is new in Python 3.10
_RECEIVE_BUFFER = 8 << 20
_SO_RCVBUFFORCE = 33
_MESSAGES = 512  # received at once
_LONGEST_MESSAGE = 256 << 10
# RFC 3164 section 4: priority, time, host (which nginx can leave out), tag
_HEADER = re.compile(
    rb"<\d{1,3}>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:[^\s:]\S* )?[A-Za-z0-9_./-]{1,32}(?:\[\d+\])?: ?"
)


class Source(Protocol):
    """A stream of lines in blocks."""

    def read(self, seconds: float, wake: int) -> bytes | None:
        """The next block; b"" if none comes in time or `wake` (a descriptor) becomes readable; None at the end."""

    @property
    def resumes(self) -> bool:
        """Whether what is left unfinished at our end will be read again."""

    def mark(self, unfinished: int) -> object:
        """How far it was read, less the last `unfinished` bytes."""

    def save(self, mark: object) -> None:
        """Everything up to a mark is written: never read it again. Raises OSError."""

    def close(self) -> None:
        """Leave nothing behind."""


class StandardInput:
    """A pipe, a file or whatever else descriptor 0 is."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._poll = Waiting(descriptor)
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            with suppress(OSError):  # not ours to enlarge: then it holds what it holds
                fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE)

    def read(self, seconds: float, wake: int) -> bytes | None:
        """As Source says. Raises OSError."""
        if not self._poll.until(seconds, wake):
            return b""
        return os.read(self._descriptor, BLOCK) or None

    @property
    def resumes(self) -> bool:
        """What was read is gone from there."""
        return False

    def mark(self, unfinished: int) -> object:
        """Nothing to remember."""
        return None

    def save(self, mark: object) -> None:
        """Nothing to remember."""

    def close(self) -> None:
        """Nothing to do."""


class Datagrams:
    """A unix datagram socket; one message, less its header, is one line.

    Whoever may write to it may write to every log, so it is made with `mode` and `owner` (uid, gid; None: as it is).
    """

    def __init__(
        self, path: Path, counters: Counters, mode: int = 0o660, owner: tuple[int | None, int | None] = (None, None)
    ) -> None:
        self.path = path
        self._counters = counters
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._buffer = bytearray(_LONGEST_MESSAGE)
        try:
            self._bind(mode, owner)
        except BaseException:
            self._socket.close()
            raise
        self._identity = path.lstat().st_ino
        self._poll = Waiting(self._socket.fileno())

    def _bind(self, mode: int, owner: tuple[int | None, int | None]) -> None:
        with suppress(FileNotFoundError):
            self._remove_dead()
        mask = os.umask(0o177)
        try:
            self._socket.bind(str(self.path))
        finally:
            os.umask(mask)
        if owner != (None, None):
            os.chown(self.path, *(-1 if number is None else number for number in owner), follow_symlinks=False)
        self.path.chmod(mode)
        self._socket.setblocking(False)
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, option, _RECEIVE_BUFFER)
                break

    def _remove_dead(self) -> None:
        """Take away a socket that nobody reads from any more, and nothing else."""
        if not stat.S_ISSOCK(self.path.lstat().st_mode):
            raise OSError(errno.EEXIST, "something that is no socket lies there", str(self.path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(str(self.path))
            except ConnectionRefusedError:
                self.path.unlink()
                return
        raise OSError(errno.EADDRINUSE, "somebody reads from it already", str(self.path))

    def read(self, seconds: float, wake: int) -> bytes | None:
        """As Source says; never the end."""
        if not self._poll.until(seconds, wake):
            return b""
        receive, buffer = self._socket.recv_into, self._buffer
        lines = []
        size = 0
        try:
            while len(lines) < _MESSAGES and size < BLOCK:
                length = receive(buffer)
                size += length
                lines.append(self._line(bytes(memoryview(buffer)[:length])))
        except BlockingIOError:
            pass
        return b"".join(lines)

    def _line(self, message: bytes) -> bytes:
        header = _HEADER.match(message)
        if header is None:
            self._counters.headerless_messages += 1
        text = message[header.end() if header else 0 :].rstrip(b"\n")
        # one message is one line, whatever it holds
        return text.replace(b"\n", rb"\x0a") + b"\n"

    @property
    def resumes(self) -> bool:
        """What was read is gone from there."""
        return False

    def mark(self, unfinished: int) -> object:
        """Nothing to remember."""
        return None

    def save(self, mark: object) -> None:
        """Nothing to remember."""

    def close(self) -> None:
        """Close it and take its name away, if that is still its own."""
        self._socket.close()
        with suppress(OSError):
            if self.path.lstat().st_ino == self._identity:
                self.path.unlink()


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
        return any(descriptor == self._descriptor for descriptor, _ in ready)
