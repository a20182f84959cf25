"""The text streams that stand in for sys.stderr and wsgi.errors: whole lines of one thread, stamped by the log.

A write that holds one or more whole lines becomes one record. An unfinished line waits, apart for each thread,
for its end, for a flush, for the end of the request or of the thread. uWSGI and CPython write tracebacks in
fragments; so do many threads of one application.
"""

from __future__ import annotations

import io
import os
import threading
from _thread import get_ident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from user_wsgi_wrapper.runtime.error_log import ErrorLog

LINE_LIMIT = 1 << 20  # characters of an unfinished line, so that a program that never ends one can't eat the memory


class Pending:
    """The unfinished lines of all threads, shared by the streams that write to one log.

    `parts` maps a thread's ident to the fragments of its line; it is empty nearly always, which is all that
    a request has to ask at its end.

    Threads other than the one that made this object are named in what they write outside requests.
    """

    def __init__(self, log: ErrorLog, current_environ: Callable[[], dict[str, Any] | None]) -> None:
        self.parts: dict[int, list[str]] = {}
        self._sizes: dict[int, int] = {}
        self._log = log
        self._current_environ = current_environ
        self._ends = threading.local()
        self._home = get_ident()
        # A child process inherits the lines that its parent hasn't finished; only the parent may write them.
        os.register_at_fork(after_in_child=self.parts.clear)

    def add(self, text: str) -> None:
        """Take text of the calling thread: its whole lines are one record, the rest waits."""
        head, newline, tail = text.rpartition("\n")
        ident = get_ident()
        if newline:
            parts = self.parts.pop(ident, None)
            if parts:
                self._sizes.pop(ident, None)
                head = "".join(parts) + head
            self._record(head + newline, ident)
        if tail:
            self._wait(ident, tail)

    def flush(self, ident: int | None = None, name: str = "") -> None:
        """Write the unfinished line of a thread, by default the calling one; `name` is that of one that has ended."""
        if ident is None:
            ident = get_ident()
        parts = self.parts.pop(ident, None)
        self._sizes.pop(ident, None)
        if parts:
            # A line that was begun with a carriage return is a progress bar's: nothing to go back over here.
            text = "".join(parts).strip("\r")
            if text:
                self._record(text, ident, name)

    def flush_all(self) -> None:
        """Write the unfinished lines of all threads: the process ends."""
        for ident in list(self.parts):
            self.flush(ident)

    def _record(self, text: str, ident: int, name: str = "") -> None:
        environ = self._current_environ()
        in_background = environ is None and ident != self._home
        self._log.record(text, environ, thread=(name or threading.current_thread().name) if in_background else "")

    def _wait(self, ident: int, tail: str) -> None:
        if not hasattr(self._ends, "watch"):
            self._ends.watch = _ThreadEnd(self, ident)
        self.parts.setdefault(ident, []).append(tail)
        size = self._sizes[ident] = self._sizes.get(ident, 0) + len(tail)
        if size > LINE_LIMIT:
            self.flush(ident)


class _ThreadEnd:
    """Dies with the thread in whose local storage it lies, and then writes the line that the thread left."""

    def __init__(self, pending: Pending, ident: int) -> None:
        self._pending = pending
        self._ident = ident
        self._name = threading.current_thread().name  # afterwards nobody knows it any more

    def __del__(self) -> None:
        self._pending.flush(self._ident, self._name)


class ErrorStream(io.TextIOBase):
    """A writable text file over the log, as sys.stderr is one over descriptor 2.

    With `shared`, close() does nothing: wsgi.errors belongs to the server (PEP 3333, "Input and Error Streams")
    and to every other request.
    """

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    write_through = False
    mode = "w"

    def __init__(self, pending: Pending, name: str, shared: bool = False) -> None:
        super().__init__()
        self.name = name
        self.buffer = _ByteStream(pending, name, shared)
        self._pending = pending
        self._shared = shared
        self._is_detached = False

    def write(self, text: str, /) -> int:
        """Take text; returns the number of characters. Raises TypeError for bytes, ValueError once closed."""
        if type(text) is not str:
            if not isinstance(text, str):
                raise TypeError(f"write() argument must be str, not {type(text).__name__}")
            text = str.__str__(text)  # a subclass, markupsafe's for one, may change what it is joined with
        self._check_open()
        self._pending.add(text)
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:  # type: ignore[override]
        """Take all lines as one write, so that they are one record."""
        self._check_open()
        taken: list[str] = []
        try:
            for line in lines:
                if not isinstance(line, str):
                    raise TypeError(f"write() argument must be str, not {type(line).__name__}")
                taken.append(line)
        finally:
            self.write("".join(taken))  # what came before one that fails is written

    def flush(self) -> None:
        """Write the calling thread's unfinished line. Raises ValueError once closed."""
        self._check_open()
        if self._pending.parts:
            self._pending.flush()

    def close(self) -> None:
        """Flush; then the stream takes nothing any more, unless it is shared."""
        if self._shared:
            self.flush()
        elif not self._is_detached:
            super().close()
            self.buffer.close()

    def detach(self) -> io.BufferedIOBase:  # type: ignore[override]
        """The stream's `buffer`; the stream itself, unless it is shared, takes nothing any more."""
        self.flush()
        self._is_detached = not self._shared
        return self.buffer

    def fileno(self) -> int:
        """Descriptor 2, which leads to the same log."""
        self._check_open()
        return 2

    def writable(self) -> bool:
        """True."""
        self._check_open()
        return True

    def reconfigure(self, **_settings: object) -> None:
        """Accepted as io.TextIOWrapper does and without effect: the log is UTF-8, line by line."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name!r} encoding={self.encoding!r}>"

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        if self._is_detached:
            raise ValueError("underlying buffer has been detached")


class _ByteStream(io.BufferedIOBase):
    """The stream's `buffer`: takes bytes-like objects. That it is closed closes neither the log nor the stream."""

    def __init__(self, pending: Pending, name: str, shared: bool) -> None:
        super().__init__()
        self.name = name
        self._pending = pending
        self._shared = shared

    @property
    def raw(self) -> _ByteStream:
        """Itself: there is no layer below."""
        return self

    def write(self, data: Any, /) -> int:
        """Take bytes; returns their number. Raises TypeError for text, ValueError once closed."""
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        if self.closed:
            raise ValueError("write to closed file")
        data = memoryview(data).tobytes()
        # A character cut in two by two writes grows together again when the line is encoded.
        self._pending.add(data.decode("utf-8", "surrogateescape"))
        return len(data)

    def flush(self) -> None:
        """Write the calling thread's unfinished line."""
        if not self.closed and self._pending.parts:
            self._pending.flush()

    def close(self) -> None:
        """Flush; then it takes nothing any more, unless it is shared."""
        if self._shared:
            self.flush()
        else:
            super().close()

    def fileno(self) -> int:
        """Descriptor 2."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        return 2

    def writable(self) -> bool:
        """True."""
        return True
