"""The terminal's share: the error log's lines on standard error as they come, access lines on standard output."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from user_wsgi_wrapper.embedded import paint

STDOUT, STDERR = 1, 2
_BLOCK = 1 << 16


class Terminal:
    """Shows what is appended to the error log at `path` from now on, and whatever else is said.

    The log may be renamed, removed or emptied meanwhile.
    """

    def __init__(self, path: str, environ: Mapping[str, str]) -> None:
        self._path = path
        self._colors = {fd: paint.wants_color(os.isatty(fd), environ) for fd in (STDOUT, STDERR)}
        self._unfinished = b""
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)

    def close(self) -> None:
        """Show what there is, also a line without an end, and let go of the log."""
        self.catch_up()
        if self._unfinished:
            self._show_errors(self._unfinished + b"\n")
        os.close(self._fd)

    def catch_up(self) -> None:
        """Show the lines that the log has got since the last time."""
        self._read_rest()
        try:
            there, ours = Path(self._path).stat(), os.fstat(self._fd)
        except OSError:
            return  # it was removed, and nothing has been written since
        if (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            with contextlib.suppress(OSError):
                new = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
                self._read_rest()
                os.dup2(new, self._fd, inheritable=False)
                os.close(new)
                self._read_rest()
        elif ours.st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._read_rest()

    def access(self, line: str) -> None:
        """Show an access line, behind what the error log got before."""
        self.catch_up()
        self.say(paint.access_line(line) if self._colors[STDOUT] else line)

    def say(self, text: str) -> None:
        """A line on standard output."""
        _write(STDOUT, text.encode("utf-8", "backslashreplace") + b"\n")

    def _read_rest(self) -> None:
        while True:
            block = os.read(self._fd, _BLOCK)
            if not block:
                return
            lines, newline, rest = (self._unfinished + block).rpartition(b"\n")
            self._unfinished = rest
            if newline:
                self._show_errors(lines + newline)

    def _show_errors(self, lines: bytes) -> None:
        if self._colors[STDERR]:
            text = lines.decode("utf-8", "backslashreplace")
            lines = "\n".join(map(paint.error_line, text.split("\n"))).encode()
        _write(STDERR, lines)


def _write(fd: int, data: bytes) -> None:
    """Write it all. A reader that is gone is no reason to stop serving."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(fd, data) :]
