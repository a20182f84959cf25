"""One request's start_response and write(), checked against PEP 3333 on their way to the server."""

from __future__ import annotations

from user_wsgi_wrapper.runtime import connection
from user_wsgi_wrapper.runtime.failure import ResponseError
from user_wsgi_wrapper.runtime.pep3333 import KNOWN_NAMES, KNOWN_STATUSES, check_chunk, check_headers, check_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar


class Exchange:
    """One request's start_response: what the application called, and whether bytes are out.

    `start` is given to the application; calling the object itself is PEP 3333's write(). `writer` is None until
    the application has called start.
    """

    __slots__ = ("headers", "sent", "server", "writer")

    # Called with a status of 400 or 500 and exc_info: a framework may have caught what it tells nobody.
    answered: ClassVar[Callable[[str, Any], None] | None] = None

    def __init__(self, server: Callable[..., Any]) -> None:
        self.server = server
        self.writer: Callable[[bytes], object] | None = None
        self.sent = False

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Callable[[bytes], None]:
        """PEP 3333's start_response, passed on to the server once both values are checked.

        Raises ResponseError for a broken rule; with `exc_info` and bytes out already, that exception.
        """
        if self.writer is not None:
            return self._start_again(status, headers, exc_info)
        # What was checked before passes by one look into a set; every other value has the whole check.
        try:
            sound = status in KNOWN_STATUSES and type(headers) is list
            if sound:
                for name, value in headers:
                    if name not in KNOWN_NAMES or not value.isprintable() or not value.isascii():
                        sound = False
                        break
        except (TypeError, ValueError, AttributeError):
            sound = False
        if not sound:
            status = check_status(status)
            check_headers(headers)
            if status.startswith(("400 ", "500 ")) and Exchange.answered is not None:
                Exchange.answered(status, exc_info)
        self.headers = headers
        self.writer = self.server(status, headers) or _refuse_write
        return self

    def restart(self, status: str, headers: list[tuple[str, str]], exc_info: Any) -> None:
        """Give the server a status and headers, in place of those it has not sent yet."""
        # uWSGI takes new ones as long as they are unsent, and fails if it is given exc_info.
        if self.writer is None or connection.UWSGI is not None:
            self.writer = self.server(status, headers) or _refuse_write
        else:
            _forget_headers(self.server)
            self.writer = self.server(status, headers, exc_info) or _refuse_write
        self.headers = headers

    def __call__(self, data: bytes, /) -> None:
        """PEP 3333's write callable. Raises ResponseError for anything but bytes."""
        if type(data) is not bytes:
            check_chunk(data, "write() was given")
        if data:
            self.sent = True
            self.writer(data)  # type: ignore[misc]

    def _start_again(self, status: str, headers: list[tuple[str, str]], exc_info: Any) -> Callable[[bytes], None]:
        if not exc_info:
            raise ResponseError("start_response was called twice; PEP 3333: again only with exc_info")
        if self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        status = check_status(status)
        check_headers(headers)
        self.restart(status, headers, exc_info)
        return self

    def has_length(self) -> bool:
        """Whether the headers that are out announce the body's length."""
        return any(str(name).lower() == "content-length" for name, _value in self.headers)


def _forget_headers(start_response: Callable[..., Any]) -> None:
    """Have gunicorn replace the headers that it was given first, as PEP 3333 says: it keeps them and adds the new."""
    response = getattr(start_response, "__self__", None)
    if type(response).__module__.startswith("gunicorn."):
        kept = getattr(response, "headers", None)
        if isinstance(kept, list):
            kept.clear()


def _refuse_write(_data: bytes) -> None:
    raise ResponseError("this server's start_response gives no write(); PEP 3333 has it only for old code")
