"""The one record of each failure: its message, traceback and advice; or a count, if it is one of very many."""

from __future__ import annotations

from user_wsgi_wrapper.runtime import disconnect, request
from user_wsgi_wrapper.runtime.advice import advise
from user_wsgi_wrapper.runtime.failure import ResponseError, describe, format_exception
from user_wsgi_wrapper.runtime.loader import WsgiLoadError
from user_wsgi_wrapper.runtime.repetition import Repetitions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from user_wsgi_wrapper.runtime.error_log import ErrorLog


class Records:
    """Writes failures to the log. `wsgi_file` is the site's, for the advice; `processes` are how many write there."""

    def __init__(self, log: ErrorLog, wsgi_file: str = "", processes: int = 1) -> None:
        self._log = log
        self._wsgi_file = wsgi_file
        self._repetitions = Repetitions(lambda text, environ: log.record(text, environ, "ERROR"), processes)
        self.is_counted = self._repetitions.is_counted
        self.flush = self._repetitions.flush

    def write(
        self,
        error: BaseException,
        environ: dict[str, Any] | None,
        message: str,
        *,
        level: str = "ERROR",
        has_trace: bool = True,
        advice: str | None = None,
    ) -> str:
        """Write the record, which the caller has seen not to be one that is only counted; returns its text.

        `advice` is looked for unless it is given.
        """
        trace = format_exception(error) if has_trace else ""
        if advice is None:
            advice = advise(error, self._wsgi_file) if trace else ""
        size = self._log.record(message, environ, level, trace, advice)
        self._repetitions.told(error, environ, describe(error), size)
        return "\n".join(filter(None, (message, trace, advice and f"Advice: {advice}")))

    def tell(self, error: BaseException, environ: dict[str, Any], where: str) -> str:
        """Write the record of a request's failure, in the application's `where`; returns its text.

        That of a site that isn't loaded ends with the load's advice, which stands in the log once.
        """
        what = f"{request.method(environ)} {request.path(environ)}"
        if isinstance(error, WsgiLoadError):
            message = f"{what}: the site could not be loaded: {error}"
            text = self.write(error, environ, message, has_trace=False)
            return f"{text}\nAdvice: {error.advice}" if error.advice else text
        left = disconnect.when(error, environ)
        if left:
            message = f"{what}: the client went away {left}"
            return self.write(error, environ, message, level="INFO", has_trace=False)
        reason = str(error) if isinstance(error, ResponseError) else f"the application failed in {where}"
        return self.write(error, environ, f"{what}: {reason}")

    def write_or_count(self, error: BaseException, environ: dict[str, Any] | None, message: str) -> None:
        """Write the record, or count it if it repeats."""
        if not self.is_counted(error, environ):
            self.write(error, environ, message)
