"""Failures that a framework catches and answers itself: what its answer and its signals say of them."""

from __future__ import annotations

import sys
import time

from user_wsgi_wrapper.runtime import late, request
from user_wsgi_wrapper.runtime.advice import advise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from user_wsgi_wrapper.runtime.error_log import ErrorLog
    from user_wsgi_wrapper.runtime.records import Records

_CALLERS = 20  # middleware around the framework
_HOSTS = 16  # that are told of
_AGAIN = 1.0  # seconds until the same advice is written again
_ERROR = 40  # logging.ERROR


class Caught:
    """Writes a record with the advice where a framework has caught the exception. Nothing here ever raises.

    `environ` gives that of the request which the calling code serves.
    """

    def __init__(
        self, log: ErrorLog, records: Records, environ: Callable[[], dict[str, Any] | None], wsgi_file: str
    ) -> None:
        self._log = log
        self._records = records
        self._environ = environ
        self._wsgi_file = wsgi_file
        self._hosts: set[str] = set()
        self._last: tuple[str, float] = ("", 0.0)

    def answered(self, status: str, exc_info: Any) -> None:
        """Called in the frames of start_response, for an answer of status 400 or 500."""
        try:
            if status.startswith("400"):
                self._refused(sys._getframe(1))
                return
            error = exc_info[1] if exc_info else _caught_by_flask(sys._getframe(1))
            if isinstance(error, BaseException):
                self._record("the application answered 500", advise(error, self._wsgi_file))
        except BaseException:  # noqa: S110  the framework's answer goes out
            pass

    def connect(self) -> None:
        """Hear of the exceptions that Django catches, if it is loaded, by its signal for them."""
        try:
            signals = sys.modules.get("django.core.signals")
            if signals is not None:
                signals.got_request_exception.connect(self._caught_by_django, weak=False)
        except BaseException:  # noqa: S110  then this Django is another one than we know
            pass

    def _caught_by_django(self, **_more: object) -> None:
        try:
            error = sys.exc_info()[1]
            if error is None:
                return
            message = "the application failed, Django answers 500"
            if _is_logged():
                self._record(message, advise(error, self._wsgi_file))
            else:
                # Django's default logging tells nobody of a failure, unless in debug or if a mail can be sent.
                environ = self._environ()
                self._records.write_or_count(error, environ, _of(environ, message))
        except BaseException:  # noqa: S110
            pass

    def _record(self, message: str, advice: str) -> None:
        now = time.monotonic()
        last, when = self._last
        if advice and (advice != last or now - when >= _AGAIN):
            self._last = (advice, now)
            self._write(message, advice, "ERROR")

    def _refused(self, frame: FrameType | None) -> None:
        frame = _frame(frame, "django.core.handlers.wsgi", "request")
        if frame is None:
            return
        refused_host = late.load("user_wsgi_wrapper.runtime.refused_host")
        host = refused_host.refused(frame.f_locals["request"])
        if host and host not in self._hosts and len(self._hosts) < _HOSTS:
            self._hosts.add(host)
            self._write(
                f"Django answered 400, it refuses the host {host!r}", refused_host.advise_host(host), "WARNING"
            )

    def _write(self, message: str, advice: str, level: str) -> None:
        environ = self._environ()
        self._log.record(_of(environ, message), environ, level, "", advice)


def _of(environ: dict[str, Any] | None, message: str) -> str:
    return f"{request.method(environ)} {request.path(environ)}: {message}"


def _caught_by_flask(frame: FrameType | None) -> object:
    frame = _frame(frame, "flask.app", "error")
    return None if frame is None else frame.f_locals["error"]


def _frame(frame: FrameType | None, module: str, local: str) -> FrameType | None:
    """The nearest of the calling frames that is a function of the module with such a variable."""
    for _ in range(_CALLERS):
        if frame is None or (frame.f_globals.get("__name__") == module and local in frame.f_locals):
            return frame
        frame = frame.f_back
    return None


def _is_logged() -> bool:
    """Whether some handler of the tenant's logging writes down what Django's logger is told of such an exception."""
    logger = sys.modules["logging"].getLogger("django.request")
    handlers = []
    if not logger.isEnabledFor(_ERROR):
        return False
    while logger is not None:
        handlers += logger.handlers
        logger = logger.parent if logger.propagate else None
    return not handlers or any(_writes(handler) for handler in handlers)  # without any, logging itself writes it


def _writes(handler: Any) -> bool:
    if handler.level > _ERROR or type(handler).__name__ in ("AdminEmailHandler", "NullHandler"):
        return False
    return all(each.filter(None) for each in handler.filters if type(each).__name__ == "RequireDebugTrue")
