"""Werkzeug's handling of one connection, made to be what a hosted site's requests meet."""

from __future__ import annotations

import io
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from werkzeug.serving import WSGIRequestHandler
from werkzeug.wsgi import LimitedStream

from user_wsgi_wrapper.embedded import access_line, messages
from user_wsgi_wrapper.runtime import request as words
from user_wsgi_wrapper.runtime.capture import CutShortError

if TYPE_CHECKING:
    from typing import BinaryIO

_GONE = 499  # nginx's word for a client that closed the connection before it was answered
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close that sends a reset, socket(7)


class Handler(WSGIRequestHandler):
    """One connection, which carries one request. Its beginning and its end are told to the supervisor."""

    protocol_version = "HTTP/1.1"
    server: Any  # the Server, which names this class

    def setup(self) -> None:
        """Count what goes out."""
        super().setup()
        self.wfile: Any = _Counted(self.wfile)
        self._status = 0
        self._head = 0  # bytes before the body

    def handle_one_request(self) -> None:
        """Serve it; then its access line is due, also if it was no HTTP."""
        self._began = time.monotonic()
        self._id = os.urandom(16).hex()
        super().handle_one_request()
        if self._status:
            self._tell_end()

    def parse_request(self) -> bool:
        """The clock starts when the request's first line is here: a browser opens connections in advance."""
        self._began = time.monotonic()
        self.server.busy(self.request)
        return bool(super().parse_request())

    def run_wsgi(self) -> None:
        """Call the application."""
        self._status = _GONE
        super().run_wsgi()

    def make_environ(self) -> dict[str, Any]:
        """Werkzeug's, with the request's id, and a body that ends where it ends (PEP 3333 asks servers for that)."""
        environ: dict[str, Any] = super().make_environ()
        environ["REQUEST_ID"] = self._id
        what = str(words.method(environ)), str(words.path(environ))
        messages.send(self.server.channel, messages.BEGIN, self._id, *what)
        if "wsgi.input_terminated" not in environ:
            length = environ.get("CONTENT_LENGTH", "")
            limit = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0
            environ["wsgi.input"] = io.BufferedReader(_Input(self.rfile, limit))  # type: ignore[arg-type]
        return environ

    def connection_dropped(self, error: BaseException, environ: dict[str, Any] | None = None) -> None:
        """A response that the runtime cuts short ends in a reset: what has no length must not look whole."""
        if isinstance(error, CutShortError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """The status is known from here on."""
        if str(code)[:1] != "1":
            self._status = int(code)

    def end_headers(self) -> None:
        """What follows is the body."""
        super().end_headers()
        self._head = self.wfile.count

    def log(self, type: str, message: str, *args: object) -> None:
        """The access line says it."""

    def _tell_end(self) -> None:
        headers = getattr(self, "headers", None)
        line = access_line.render(
            self.address_string(),
            time.localtime(),
            getattr(self, "requestline", ""),
            self._status,
            max(self.wfile.count - self._head, 0),
            "" if headers is None else headers.get("Referer", ""),
            "" if headers is None else headers.get("User-Agent", ""),
            max(self.wfile.last - self._began, 0.0),
            self._id,
        )
        messages.send(self.server.channel, messages.END, self._id, line)


class _Counted:
    """A file that is written to, with the `count` of bytes and the time of the `last` write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0
        self.last = 0.0

    def write(self, data: bytes) -> int:
        """As the file's."""
        written = self._file.write(data)
        self.count += len(data)
        self.last = time.monotonic()
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Input(LimitedStream):
    """The request's body. If the client is gone before its end, that is told as uWSGI tells it, by an OSError."""

    def on_disconnect(self, error: Exception | None = None) -> None:
        """Raises ConnectionResetError."""
        raise ConnectionResetError("the client went away while its request was read") from error
