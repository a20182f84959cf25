"""Lines from a unix datagram socket, as nginx's syslog logging sends them."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
from contextlib import suppress
from pathlib import Path

from log_splitter.counters import Counters
from log_splitter.sources import BLOCK, Source, Waiting

_RECEIVE_BUFFER = 8 << 20
_SO_RCVBUFFORCE = 33
_NAP = 0.002
_BREATH = 0.005  # what doesn't fit into the queue meanwhile is lost
_LONG_QUEUE = 512  # messages: 250,000 a second fit into a nap
_QUEUE = Path("/proc/sys/net/unix/max_dgram_qlen")
_MESSAGES = 512  # received at once
_LONGEST_MESSAGE = 256 << 10
# RFC 3164 section 4: priority, time, host (which nginx can leave out), tag
_HEADER = re.compile(
    rb"<\d{1,3}>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d (?:[^\s:]\S* )?[A-Za-z0-9_./-]{1,32}(?:\[\d+\])?: ?"
)


class Datagrams(Source):
    """A unix datagram socket; one message, less its header, is one line.

    Whoever may write to it may write to every log, so it is made with `mode` and `owner` (uid, gid; None: as it is).
    """

    def __init__(
        self,
        path: str | Path,
        counters: Counters,
        mode: int = 0o660,
        owner: tuple[int | None, int | None] = (None, None),
    ) -> None:
        self.path = Path(path)
        self._counters = counters
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._buffer = bytearray(_LONGEST_MESSAGE)
        try:
            self._bind(mode, owner)
        except BaseException:
            self._socket.close()
            raise
        self.breath = _BREATH
        self.nap = _NAP if _queue() >= _LONG_QUEUE else 0.0
        self._identity = self.path.lstat().st_ino
        self._waiting = Waiting(self._socket.fileno())

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
        if not self._waiting.until(seconds, wake):
            return b""
        receive, buffer = self._socket.recv_into, self._buffer
        lines: list[bytes] = []
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

    def close(self) -> None:
        """Close it and take its name away, if that is still its own."""
        self._socket.close()
        with suppress(OSError):
            if self.path.lstat().st_ino == self._identity:
                self.path.unlink()


def _queue() -> int:
    """How many messages wait in a socket that is made now; what comes then is lost (unix(7))."""
    try:
        return int(_QUEUE.read_text())
    except (OSError, ValueError):
        return 0
