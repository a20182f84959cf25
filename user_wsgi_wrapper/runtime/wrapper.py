"""Put the runtime together around one site: settings, error log, streams, the tenant's application, the guard."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`
import atexit
import faulthandler
import io
import os
import sys
import threading

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.runtime import connection
from user_wsgi_wrapper.runtime.capture import Capture, current_environ
from user_wsgi_wrapper.runtime.core import serving
from user_wsgi_wrapper.runtime.error_log import ErrorLog
from user_wsgi_wrapper.runtime.error_page import ErrorPage
from user_wsgi_wrapper.runtime.failure import format_exception
from user_wsgi_wrapper.runtime.loader import WsgiLoadError, load
from user_wsgi_wrapper.runtime.streams import ErrorStream, Pending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Any

DEFAULT_DOMAIN = "localhost"
_FAULTS = (_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGABRT)


class Settings:
    """What the vassal says of the site: one value for each SITE_ variable. `static` is (URL, folder) pairs."""

    __slots__ = ("check_static", "debug", "domain", "error_log", "error_page", "log_format", "static", "wsgi_file")

    def __init__(
        self,
        domain: str = DEFAULT_DOMAIN,
        wsgi_file: str = inside.WSGI_FILE,
        error_log: str | None = None,
        log_format: str = "text",
        static: tuple[tuple[str, str], ...] = (),
        check_static: str | None = None,
        error_page: str = inside.ERROR_PAGE,
        debug: bool = False,
    ) -> None:
        self.domain = domain
        self.wsgi_file = wsgi_file
        self.error_log = inside.log_file(domain, "error") if error_log is None else error_log
        self.log_format = log_format
        self.static = static
        self.check_static = check_static
        self.error_page = error_page
        self.debug = debug

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Settings from environment variables; what is unset or empty has the default of `inside`."""
        return cls(
            domain=environ.get("SITE_DOMAIN") or DEFAULT_DOMAIN,
            wsgi_file=environ.get("SITE_WSGI_FILE") or inside.WSGI_FILE,
            error_log=environ.get("SITE_ERROR_LOG") or None,
            log_format="json" if environ.get("SITE_LOG_FORMAT") == "json" else "text",
            static=parse_static(environ.get("SITE_STATIC", f"{inside.STATIC_URL}={inside.STATIC_DIR}")),
            check_static=environ.get("SITE_CHECK_STATIC") or None,
            error_page=environ.get("SITE_ERROR_PAGE") or inside.ERROR_PAGE,
            debug=environ.get("SITE_DEBUG") == "1",
        )


def parse_static(text: str) -> tuple[tuple[str, str], ...]:
    """The pairs of `URL=DIR:URL=DIR`; what is no pair is left out, the vassal's values were checked before."""
    pairs = (item.partition("=") for item in text.split(":"))
    return tuple((url, folder) for url, separator, folder in pairs if separator and url and folder)


def build_application(settings: Settings) -> Callable[..., Any]:
    """The site's WSGI application, which answers whatever the tenant's file does.

    Once called, descriptor 2, sys.stderr and the hooks for uncaught exceptions lead to the site's error log.
    During the load they do, and from the first request on; between the two descriptor 2 is the server's again,
    because uWSGI then writes that the application is ready.
    """
    server = os.dup(2)  # close-on-exec, PEP 446
    log = ErrorLog(settings.error_log, settings.domain, settings.log_format, server)
    pending = Pending(log, current_environ)
    errors = _take_streams(pending)
    _take_hooks(log)
    faulthandler.enable(log.fd)
    log.take_stderr()
    app = _load(settings.wsgi_file, log)
    app = _with_static(app, settings)
    log.release_stderr(server)
    page = ErrorPage(settings.error_page, settings.debug)

    def prepare() -> None:
        log.take_stderr()
        _unblock_faults()

    capture = Capture(app, log, errors, pending, page, prepare)
    return capture.respond if connection.UWSGI is None else serving(capture, prepare)


def _unblock_faults() -> None:
    """Let faulthandler see this thread's faults: uWSGI 2.0.21 blocks all signals in its threads but the first."""
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _FAULTS)


def _take_streams(pending: Pending) -> ErrorStream:
    if _writes_to_stderr(sys.stdout):
        # uWSGI lets sys.stdout write to descriptor 2.
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(  # type: ignore[misc]
            io.FileIO(1, "w", closefd=False), "utf-8", "backslashreplace", line_buffering=True
        )
    sys.stderr = sys.__stderr__ = ErrorStream(pending, "<stderr>")  # type: ignore[assignment, misc]
    atexit.register(pending.flush_all)
    return ErrorStream(pending, "<wsgi.errors>", shared=True)


def _writes_to_stderr(stream: Any) -> bool:
    try:
        return bool(stream.fileno() == 2)
    except (OSError, ValueError, AttributeError):
        return False


def _take_hooks(log: ErrorLog) -> None:
    """Make one record of an exception that nobody caught: in a thread, in `__del__`, in a callback of the server."""

    def uncaught(_type: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        log.record("an exception was not caught", current_environ(), "ERROR", format_exception(error))

    def thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            name = args.thread.name if args.thread is not None else "?"
            log.record(f"the thread {name} died", current_environ(), "ERROR", format_exception(args.exc_value))

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        what = args.err_msg or "Exception ignored in"
        if args.exc_value is not None:
            log.record(
                f"{what}: {_safe_repr(args.object)}", current_environ(), "ERROR", format_exception(args.exc_value)
            )

    sys.excepthook = uncaught
    threading.excepthook = thread
    sys.unraisablehook = unraisable


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:
        return f"<{type(value).__name__} object, repr() failed>"


def _load(path: str, log: ErrorLog) -> Callable[..., Any]:
    try:
        return load(path)
    except WsgiLoadError as error:
        cause = format_exception(error.__cause__) if error.__cause__ is not None else ""
        log.record(f"the site could not be loaded: {error}", None, "ERROR", cause)
        _mark_broken(log.domain)
        return _broken(error.path, error.phase, error.message)


def _broken(path: str, phase: str, message: str) -> Callable[..., Any]:
    """An application in place of the one that could not be loaded. A touch of the file makes a new process try."""

    def application(_environ: dict[str, Any], _start_response: Callable[..., Any]) -> Any:
        raise WsgiLoadError(path, phase, message)

    return application


def _mark_broken(domain: str) -> None:
    set_name = getattr(connection.UWSGI, "setprocname", None)
    if set_name is not None:
        set_name(f"{domain} broken")


def _with_static(app: Callable[..., Any], settings: Settings) -> Callable[..., Any]:
    """The application behind the site's static files.

    uWSGI serves those itself, but a worker of it that finds a mapping's folder missing at its first request never
    looks for that folder again (its check-static does): so that folder's URL is looked for here. For folders that are
    there no request pays.
    """
    check_static = None if _has_option("check-static") else settings.check_static
    mappings = settings.static
    if _has_option("static-map"):
        mappings = tuple(pair for pair in mappings if not os.path.exists(pair[1]))
    if not mappings and check_static is None:
        return app
    from user_wsgi_wrapper.runtime.static import StaticFiles

    serve = StaticFiles(mappings, check_static).serve

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        found = serve(environ, start_response)
        return app(environ, start_response) if found is None else found

    return application


def _has_option(name: str) -> bool:
    options = getattr(connection.UWSGI, "opt", {})
    return name in options or name.encode() in options
