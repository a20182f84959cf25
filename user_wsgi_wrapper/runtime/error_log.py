"""The tenant's error log: whole stamped records, one `os.write` each, to a file that may be rotated at any time.

A record of the text format is one or more lines, each behind the same stamp:
`2012-08-24 10:11:12,345 [3f9c2a71d0b4] the text`. A record of the JSON format is one object on one line.
The file is opened with O_APPEND, so that the records of many processes never mix (write(2)). No registered
`logging` logger is used: the tenant configures and disables those as he likes.
"""

from __future__ import annotations

import os
import threading
import time

from user_wsgi_wrapper.runtime import late, request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from user_wsgi_wrapper.runtime.allowance import Allowance

KEPT_BYTES = 256 * 1024  # of records that wait while the file can't be written
_LOST = "records were lost before this one: this log could not be written, or there was no memory left"
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

# Everything that moves a cursor, rings, clears a screen or ends a line somewhere: C0 but the tab and the
# newline, DEL, C1 (0x9b is CSI, 0x85 a line end) and the two Unicode line ends.
_ESCAPES = {code: f"\\x{code:02x}" for code in [*range(32), *range(127, 160)] if chr(code) not in "\t\n"}
_ESCAPES[0x0D] = "\\r"
_ESCAPES[0x2028] = "\\u2028"
_ESCAPES[0x2029] = "\\u2029"


def encode(text: str) -> bytes:
    """Text as valid UTF-8: undecodable bytes and lone surrogates become visible escapes, never an error."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    try:
        # bytes that were decoded one by one may be a character together, and that may be a control character
        return harmless(text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")).encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def harmless(text: str) -> str:
    """Text without control characters, which are written as escapes; tabs and newlines stay, CRLF is a newline."""
    if text.isprintable():
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return text.translate(_ESCAPES)


class ErrorLog:
    """Appends records to the file at `path`; reopens it when it was renamed, removed or replaced.

    `log_format` is `text` or `json`. `fallback` is a descriptor that takes the records while the file can't
    be opened. Nothing here ever raises for what the disk does: records that can't be written wait, up to
    KEPT_BYTES, and are written when writing works again, behind a count of those lost.
    """

    def __init__(self, path: str, domain: str, log_format: str = "text", fallback: int = 2) -> None:
        self.path = path
        self.domain = domain
        self._dumps = _json_dumps() if log_format == "json" else None
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._lost = 0
        self._retrying = threading.Lock()
        self._second = -1
        self._stamp = ""
        self._is_gone = False  # deleted, and can't be made again
        self._is_stderr = False
        self._stderr: tuple[int, int] | None = None  # what descriptor 2 was pointed at
        # Called before each record: has what belongs before it written first.
        self.before: Callable[[], object] | None = None
        self.allowance: Allowance | None = None  # what this process may write; None for no bound
        # The number of this descriptor never changes: faulthandler is given it once.
        self.fd = os.dup(fallback)
        self._identity: tuple[int, int] | None = None
        self._follow()

    def record(
        self,
        message: str,
        environ: dict[str, Any] | None = None,
        level: str = "INFO",
        traceback: str = "",
        advice: str = "",
        thread: str = "",
    ) -> int:
        """Append one record; returns its size in bytes. `environ` is its request's, None outside requests.

        `advice` is one line that says what to do: the last one, or a JSON record's field of that name. `thread` is
        the name of the background thread that wrote it, if one did.
        """
        try:
            if self.before is not None:
                self.before()
            data = self.render(message, environ, level, traceback, advice, thread)
            self.append(data)
        except Exception:
            self._lost += 1  # out of memory, or out of stack: the request goes on
            return 0
        return len(data)

    def take_stderr(self) -> None:
        """Point descriptor 2 at the log, once, until it is released."""
        if not self._is_stderr:
            self._is_stderr = True
            self._point_stderr(self.fd)

    def release_stderr(self, original: int) -> None:
        """Point descriptor 2 back at `original`, unless something else has taken it."""
        if self._is_stderr and identity(2) == self._stderr:
            self._point_stderr(original)
        self._is_stderr = False

    def close(self) -> None:
        """Close the descriptor; the log is of no use afterwards."""
        os.close(self.fd)

    def render(
        self,
        message: str,
        environ: dict[str, Any] | None,
        level: str = "INFO",
        traceback: str = "",
        advice: str = "",
        thread: str = "",
        label: str = "",
    ) -> bytes:
        """A record's bytes, as `append` takes them. `label` stands before each of its lines.

        A thread's name stands before the first alone, so that a traceback can be copied as it is.
        """
        now = time.time()
        if message.endswith("\n"):
            message = message[:-1]  # one alone: blank lines before it are the writer's
        if self._dumps is not None:
            fields = self._fields(now, message, environ, level, traceback, thread or label)
            return encode(self._dumps({**fields, "advice": advice} if advice else fields) + "\n")
        if traceback:
            message = f"{message}\n{traceback}"
        if advice:
            message = f"{message}\nAdvice: {advice}"
        prefix = f"{self._local(now)},{int(now * 1000) % 1000:03d} [{request.request_id(environ)}] "
        if thread:
            message = f"thread {thread}:{chr(10) if chr(10) in message else ' '}{message}"
        if label:
            prefix = f"{prefix}{label}: "
        return encode(f"{prefix}{harmless(message).replace(chr(10), chr(10) + prefix)}\n")

    def _fields(
        self, now: float, message: str, environ: dict[str, Any] | None, level: str, traceback: str, thread: str
    ) -> dict[str, object]:
        return {
            "timestamp": f"{self._local(now)},{int(now * 1000) % 1000:03d}",
            "level": level,
            "message": message,
            "request_id": request.request_id(environ),
            "domain": self.domain,
            "pid": os.getpid(),
            "thread": thread or threading.current_thread().name,
            "exc_info": traceback or None,
            "method": request.method(environ),
            "path": request.path(environ),
        }

    def _local(self, now: float) -> str:
        second = int(now)
        if second != self._second:
            # The text first: another thread that sees the new second must see its text too.
            self._stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._second = second
        return self._stamp

    def append(self, data: bytes) -> None:
        """Write rendered records, or keep them for later; none at all tries again what is kept."""
        if self.allowance is None or not data or self.allowance.takes(len(data)):
            self.tell_dropped()
            self._append(data)

    def _append(self, data: bytes) -> None:
        self._follow()
        if self._kept or self._lost:
            self._retry()
        rest = data if self._kept else self._put(data)
        if rest:
            self._keep(rest)

    def tell_dropped(self) -> None:
        """Say how much the allowance refused, once there is room again."""
        if self.allowance is not None and (text := self.allowance.excuse()):
            self._append(self.render(text, None, "ERROR"))

    @property
    def is_stuck(self) -> bool:
        """Whether records wait because the file can't be written."""
        return bool(self._kept)

    def _put(self, data: bytes) -> bytes:
        """Write; gives back what could not be written (the disk is full, a limit is reached)."""
        try:
            while data and not self._is_gone:
                data = data[os.write(self.fd, data) :]  # a second round is for a disk that took half a record
        except OSError:
            pass
        return data

    def _keep(self, data: bytes) -> None:
        self._kept.append(data)
        self._kept_bytes += len(data)
        while self._kept_bytes > KEPT_BYTES and self._kept:
            self._kept_bytes -= len(self._kept.pop(0))
            self._lost += 1

    def _retry(self) -> None:
        # A writer that comes while another one retries keeps its record: nobody ever waits for a disk.
        if not self._retrying.acquire(blocking=False):
            return
        try:
            while self._kept:
                data = self._kept[0]
                rest = self._put(data)
                if rest:
                    self._kept[0] = rest
                    self._kept_bytes -= len(data) - len(rest)
                    return
                self._kept_bytes -= len(self._kept.pop(0))
            lost = self._lost
            if lost:
                self._lost = 0
                rest = self._put(self.render(f"{lost} {_LOST}", None, "ERROR"))
                if rest:
                    self._kept.append(rest)
                    self._kept_bytes += len(rest)
        finally:
            self._retrying.release()

    def _follow(self) -> None:
        """Open the file anew if the path leads to another one than our descriptor does."""
        try:
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == self._identity and self._is_ours():
                return
        except OSError:
            pass
        try:
            fd = os.open(self.path, _FLAGS, 0o640)
        except OSError:
            # What is open stays in use, unless nobody will ever read it.
            self._is_gone = self._is_ours() and not os.fstat(self.fd).st_nlink
            return
        self._is_gone = False
        try:
            os.set_blocking(fd, True)  # it was for a FIFO without a reader only
            if self._identity is None or self._is_ours():
                os.dup2(fd, self.fd, inheritable=False)
            else:
                # The tenant's code closed it, and the number may be one of his files by now.
                fd, self.fd = -1, fd
            self._identity = identity(self.fd)
            if self._is_stderr and identity(2) == self._stderr:
                self._point_stderr(self.fd)
        finally:
            if fd >= 0:
                os.close(fd)

    def _point_stderr(self, fd: int) -> None:
        try:
            os.dup2(fd, 2)
        except OSError:
            pass
        self._stderr = identity(2)

    def _is_ours(self) -> bool:
        return self._identity is not None and identity(self.fd) == self._identity


def identity(fd: int) -> tuple[int, int] | None:
    """The file that a descriptor leads to, None if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _json_dumps() -> Callable[[object], str]:
    dumps: Callable[[object], str] = late.load("json").dumps  # 3 ms and 0.6 MiB that only JSON logs cost
    return dumps
