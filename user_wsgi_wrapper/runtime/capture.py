"""Between the server and the tenant's application: whatever the application does, one record and one answer.

PEP 3333 is checked where breaking it would otherwise end in an empty page or an injected header. A request costs
one small object; everything dear happens on the way of a failure only. Nothing that escapes may reach uWSGI: it
would log it once more, answer nothing, or end the worker.
"""

from __future__ import annotations

import errno
import sys
import threading

from user_wsgi_wrapper.runtime import connection, disconnect, request
from user_wsgi_wrapper.runtime.error_page import STATUS
from user_wsgi_wrapper.runtime.exchange import Exchange
from user_wsgi_wrapper.runtime.failure import describe, free_memory
from user_wsgi_wrapper.runtime.pep3333 import check_chunk
from user_wsgi_wrapper.runtime.records import Records
from user_wsgi_wrapper.runtime.result import close_quietly, is_file, is_text, is_upgrade, not_iterable, not_started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType
    from typing import Any

    from user_wsgi_wrapper.runtime.error_log import ErrorLog
    from user_wsgi_wrapper.runtime.error_page import ErrorPage
    from user_wsgi_wrapper.runtime.streams import ErrorStream, Pending

IN_CALL = "its call"
IN_BODY = "its response's iteration"
IN_CLOSE = "its response's close()"
GAVE = "the response's iterable gave"


class CutShortError(ConnectionResetError):
    """Has a server other than uWSGI drop the connection: the response's head is out and its rest won't come."""


def current_environ() -> dict[str, Any] | None:
    """The environ of the request that the calling code serves, None outside requests.

    It is looked up in the callers' frames: a request pays nothing for it, other threads' code is never taken for
    a request's, and greenlets that share a thread are told apart.
    """
    return request_of(sys._getframe(1))


def request_of(frame: FrameType | None) -> dict[str, Any] | None:
    """The environ of the request that a frame, of this thread or of another, works for; None for none."""
    while frame is not None:
        if frame.f_code.co_name in _GUARDS and frame.f_code.co_filename in GUARDED_FILES:
            environ: dict[str, Any] | None = frame.f_locals.get("environ")
            return environ
        frame = frame.f_back
    return None


GUARDED_FILES = {current_environ.__code__.co_filename}
_GUARDS = frozenset(("respond", "__iter__", "iterate", "close"))


class Body:
    """An application's iterable under guard; close() of the application's is called exactly once."""

    __slots__ = ("_capture", "_environ", "_exchange", "_result")

    def __init__(
        self, capture: Capture, result: Iterable[bytes], environ: dict[str, Any], exchange: Exchange
    ) -> None:
        self._capture = capture
        self._result: Iterable[bytes] | None = result
        self._environ = environ
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        environ = self._environ  # by this name current_environ finds it
        exchange = self._exchange
        if self._result is None:
            return
        try:
            for chunk in self._result:
                if type(chunk) is not bytes:
                    check_chunk(chunk, GAVE)
                if not exchange.sent:
                    if not chunk:
                        continue  # uWSGI sends the headers even for an empty chunk, PEP 3333 says to wait
                    if exchange.writer is None:
                        raise not_started()
                    exchange.sent = True
                yield chunk
            if exchange.writer is None and not is_upgrade(environ):
                raise not_started()
        except BaseException as error:
            if disconnect.is_hung_up(error):
                raise
            answer = self._capture.fail(error, environ, exchange, IN_BODY)
        else:
            return
        # Outside the handler: the exception, its frames and all that they hold are gone before the next chunk.
        yield from answer

    def close(self) -> None:
        """Close the application's iterable, if that wasn't done yet; never raises for what it does."""
        environ = self._environ
        result, self._result = self._result, None
        if result is not None:
            self._capture.close(result, environ)


class Capture:
    """A WSGI application, `respond`, that calls `app` and answers in its place when it fails.

    `prepare` is called once in each of the server's threads, with its core's number, before that thread's first
    request; `leave`, if one is set, with the environ of each request whose response was iterated, at its end.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        log: ErrorLog,
        errors: ErrorStream,
        pending: Pending,
        page: ErrorPage,
        prepare: Callable[[int], None] | None = None,
        records: Records | None = None,
    ) -> None:
        self.app = self._app = app
        self._log = log
        self.errors = errors
        self._page = page
        self._records = records or Records(log)
        self.leave: Callable[[dict[str, Any]], None] | None = None
        self.pending = pending
        if prepare is not None:
            self._app = self._preparing(prepare, app)

    def respond(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request (PEP 3333's application side). Raises nothing under uWSGI."""
        environ["wsgi.errors"] = self.errors
        exchange = Exchange(start_response)
        try:
            result = self._app(environ, exchange.start)
            kind = type(result)
            if (kind is list or kind is tuple) and exchange.writer is not None:
                for chunk in result:
                    if type(chunk) is not bytes:
                        check_chunk(chunk, "the response holds")
            else:
                result = self.guard(result, environ, exchange)
        except BaseException as error:
            result = self.fail(error, environ, exchange, IN_CALL)
        if self.pending.parts:
            self.pending.flush()
        return result  # type: ignore[no-any-return]

    def fail(self, error: BaseException, environ: dict[str, Any], exchange: Exchange, where: str) -> Iterable[bytes]:
        """Record an exception once and answer: the error page, or the connection cut if bytes are out.

        Servers other than uWSGI cut it for the CutShortError that the answer raises when it is iterated.
        Raises KeyboardInterrupt there as it is.
        """
        if _is_interrupt(error):
            raise error
        detail = self.record(error, environ, where)
        if not exchange.sent:
            headers, body = self._page.render(environ, request.request_id(environ), detail)
            try:
                exchange.restart(STATUS, headers, (type(error), error, error.__traceback__))
                return body
            except Exception as refused:
                # The application has sent something past us, by a call of the server's own.
                self._log.record(f"the error page could not be sent: {describe(refused)}", environ, "ERROR")
                exchange.headers = []
        elif disconnect.when(error, environ) == disconnect.WRITING:
            return []  # nobody is left to be told
        return self._cut(exchange)

    def close(self, result: Any, environ: dict[str, Any]) -> None:
        """Close what the application returned and end the request. Raises KeyboardInterrupt, but not under uWSGI."""
        try:
            close = getattr(result, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            self.record(error, environ, IN_CLOSE)
            if _is_interrupt(error):
                raise
        if self.pending.parts:
            self.pending.flush()
        if self.leave is not None:
            self.leave(environ)

    def record(self, error: BaseException, environ: dict[str, Any], where: str) -> str:
        """Write the record of an exception; returns its text, "" if it is only counted.

        That of a site that isn't loaded ends with the load's advice, which stands once in the log.
        """
        if isinstance(error, MemoryError):
            free_memory(error)  # else there is none to write with
        if self.pending.parts:
            self.pending.flush()  # what the application wrote before it failed stands before the failure
        if not self._page.shows_detail and self._records.is_counted(error, environ):
            return ""
        return self._records.tell(error, environ, where)

    def _preparing(self, prepare: Callable[[int], None], app: Callable[..., Any]) -> Callable[..., Any]:
        threads = getattr(connection.UWSGI, "cores", 1)
        prepared = set()

        def first(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
            core = environ.get("uwsgi.core", 0)
            if core not in prepared:
                prepare(core)
                prepared.add(core)
                if len(prepared) >= threads:
                    self._app = app  # it removes itself: later requests don't pay for the question
            return app(environ, start)

        return first

    def guard(self, result: Any, environ: dict[str, Any], exchange: Exchange) -> Any:
        """What the server may have of a result that is no plain list or tuple. Raises ResponseError.

        Files go through untouched: servers know by their identity that they may use sendfile(2).
        """
        if is_text(result):
            close_quietly(result)
            raise not_iterable(result)
        is_plain = isinstance(result, (bytes, list, tuple)) and not hasattr(result, "close")
        if is_plain or is_file(result, environ):
            if exchange.writer is None and not is_upgrade(environ):
                close_quietly(result)
                raise not_started()
            if isinstance(result, bytes):
                return [result]
            if isinstance(result, (list, tuple)):
                for chunk in result:
                    check_chunk(chunk, "the response holds")
            return result
        if not hasattr(type(result), "__iter__") and not hasattr(type(result), "__getitem__"):
            close_quietly(result)  # a coroutine that is never closed is a warning more
            raise not_iterable(result)
        return Body(self, result, environ, exchange)

    def _cut(self, exchange: Exchange) -> Iterable[bytes]:
        if connection.UWSGI is None:
            return _cut_short()
        connection.cut(exchange.has_length())
        return []


def _cut_short() -> Iterator[bytes]:
    # Not raised in the application's call: there mod_wsgi would add a page of its own to what is out.
    yield from ()
    raise CutShortError(errno.ECONNRESET, "the response is cut short: the application failed")


def _is_interrupt(error: BaseException) -> bool:
    # Ctrl-C on a server that runs in a terminal; under uWSGI, and in other threads, it can only be the tenant's own.
    return (
        isinstance(error, KeyboardInterrupt)
        and connection.UWSGI is None
        and threading.current_thread() is threading.main_thread()
    )
