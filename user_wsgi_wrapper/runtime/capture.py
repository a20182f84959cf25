"""Between the server and the tenant's application: whatever the application does, one record and one answer.

PEP 3333 is checked where breaking it would otherwise end in an empty page or an injected header. A request costs
one small object; everything dear happens on the way of a failure only. Nothing that escapes may reach uWSGI: it
would log it once more, answer nothing, or end the worker.
"""

from __future__ import annotations

import sys
from _io import _IOBase, _TextIOBase  # an isinstance with io's own is dear: ABCs

from user_wsgi_wrapper.runtime import connection, request
from user_wsgi_wrapper.runtime.error_page import STATUS
from user_wsgi_wrapper.runtime.exchange import Exchange
from user_wsgi_wrapper.runtime.failure import ResponseError, describe, format_exception
from user_wsgi_wrapper.runtime.loader import WsgiLoadError
from user_wsgi_wrapper.runtime.pep3333 import check_chunk

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
    frame: FrameType | None = sys._getframe(1)
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
            if is_hung_up(error):
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

    `prepare` is called once in each of the server's threads, before that thread's first request.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        log: ErrorLog,
        errors: ErrorStream,
        pending: Pending,
        page: ErrorPage,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.app = self._app = app
        self._log = log
        self.errors = errors
        self._page = page
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

    def fail(self, error: BaseException, environ: dict[str, Any], exchange: Exchange, where: str) -> list[bytes]:
        """Record an exception once and answer: the error page, or the connection cut if bytes are out.

        Raises CutShortError on servers other than uWSGI to have them cut it, and KeyboardInterrupt there as it is.
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

    def record(self, error: BaseException, environ: dict[str, Any], where: str) -> str:
        """Write the record of an exception; returns its text."""
        if self.pending.parts:
            self.pending.flush()  # what the application wrote before it failed stands before the failure
        what = f"{request.method(environ)} {request.path(environ)}"
        if isinstance(error, WsgiLoadError):
            message, trace = f"{what}: the site could not be loaded: {error}", ""
        elif _is_disconnect(error):
            message, trace = f"{what}: the client went away while its request was read", ""
        elif isinstance(error, ResponseError):
            message, trace = f"{what}: {error}", format_exception(error)
        else:
            message, trace = f"{what}: the application failed in {where}", format_exception(error)
        self._log.record(message, environ, "INFO" if _is_disconnect(error) else "ERROR", trace)
        return f"{message}\n{trace}" if trace else message

    def _preparing(self, prepare: Callable[[], None], app: Callable[..., Any]) -> Callable[..., Any]:
        threads = getattr(connection.UWSGI, "cores", 1)
        prepared = set()

        def first(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
            core = environ.get("uwsgi.core", 0)
            if core not in prepared:
                prepare()
                prepared.add(core)
                if len(prepared) >= threads:
                    self._app = app  # it removes itself: later requests don't pay for the question
            return app(environ, start)

        return first

    def guard(self, result: Any, environ: dict[str, Any], exchange: Exchange) -> Any:
        """What the server may have of a result that is no plain list or tuple. Raises ResponseError.

        Files go through untouched: servers know by their identity that they may use sendfile(2).
        """
        if isinstance(result, (str, _TextIOBase)):
            _close_quietly(result)
            raise ResponseError(f"the application returned {_name(result)}; PEP 3333: an iterable of bytes is needed")
        if isinstance(result, (bytes, list, tuple)) or _is_file(result, environ):
            if exchange.writer is None and not is_upgrade(environ):
                _close_quietly(result)
                raise not_started()
            if isinstance(result, bytes):
                return [result]
            if isinstance(result, (list, tuple)):
                for chunk in result:
                    check_chunk(chunk, "the response holds")
            return result
        if not hasattr(type(result), "__iter__") and not hasattr(type(result), "__getitem__"):
            _close_quietly(result)  # a coroutine that is never closed is a warning more
            raise ResponseError(f"the application returned {_name(result)}; PEP 3333: an iterable of bytes is needed")
        return Body(self, result, environ, exchange)

    def _cut(self, exchange: Exchange) -> list[bytes]:
        if connection.UWSGI is None:
            raise CutShortError("the response is cut short: the application failed")
        connection.cut(exchange.has_length())
        return []


def not_started() -> ResponseError:
    """What is wrong with a body before any head."""
    return ResponseError("start_response was not called; PEP 3333: before the first byte of the body it has to be")


def is_hung_up(error: BaseException) -> bool:
    """Whether the server goes no further because the client is gone: it is raised at our own yield."""
    return type(error) is GeneratorExit and error.__traceback__ is not None and not error.__traceback__.tb_next


def is_upgrade(environ: dict[str, Any]) -> bool:
    """Whether uwsgi.websocket_handshake() has sent the head of the answer itself."""
    return connection.UWSGI is not None and "HTTP_SEC_WEBSOCKET_KEY" in environ


def _is_interrupt(error: BaseException) -> bool:
    # Ctrl-C on a server that runs in a terminal; under uWSGI it can only be the tenant's own.
    return isinstance(error, KeyboardInterrupt) and connection.UWSGI is None


def _is_disconnect(error: BaseException) -> bool:
    """Whether uWSGI could not read the request's body; frameworks keep the text in classes of their own."""
    return (
        isinstance(error, OSError)
        and connection.UWSGI is not None
        and str(error.args[0] if error.args else "").startswith(("error during read", "timeout during read"))
        and str(error.args[0]).endswith("on wsgi.input")
    )


def _is_file(result: Any, environ: dict[str, Any]) -> bool:
    if isinstance(result, _IOBase):
        return True
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return isinstance(result, wrapper)
    # uWSGI's wrapper gives back what it was given, which needs a read() and nothing else.
    return wrapper is not None and hasattr(result, "read")


def _close_quietly(result: Any) -> None:
    close = getattr(result, "close", None)
    if close is not None:
        try:
            close()
        except Exception:  # noqa: S110  the answer is a failure already, and it has its record
            pass


def _name(result: object) -> str:
    return "None" if result is None else f"an object of type {type(result).__name__}"
