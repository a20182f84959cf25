"""Put the runtime together around one site: settings, error log, streams, the tenant's application, the guard."""

from __future__ import annotations

import atexit
import io
import os
import sys

from user_wsgi_wrapper.runtime import connection, hooks, late, succession
from user_wsgi_wrapper.runtime.advice import advise
from user_wsgi_wrapper.runtime.allowance import Allowance
from user_wsgi_wrapper.runtime.capture import Capture, current_environ, request_of
from user_wsgi_wrapper.runtime.core import serving
from user_wsgi_wrapper.runtime.deploy import Deploy
from user_wsgi_wrapper.runtime.error_log import ErrorLog
from user_wsgi_wrapper.runtime.error_page import ErrorPage
from user_wsgi_wrapper.runtime.exchange import Exchange
from user_wsgi_wrapper.runtime.failure import format_exception
from user_wsgi_wrapper.runtime.loader import WsgiLoadError
from user_wsgi_wrapper.runtime.records import Records
from user_wsgi_wrapper.runtime.repetition import SUMMARY_EVERY
from user_wsgi_wrapper.runtime.server_log import ServerLog
from user_wsgi_wrapper.runtime.settings import Settings
from user_wsgi_wrapper.runtime.site_log import SiteLog
from user_wsgi_wrapper.runtime.spool import Spool
from user_wsgi_wrapper.runtime.streams import ErrorStream, Pending
from user_wsgi_wrapper.runtime.worker import Worker

__all__ = ["Settings", "build_application"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def build_application(settings: Settings, path: list[str] | None = None) -> Callable[..., Any]:
    """The site's WSGI application, which answers whatever the tenant's file does.

    `path` is what sys.path is to be for the tenant's code; until that is loaded only standard modules are found.

    Once called, sys.stderr and the hooks for uncaught exceptions lead to the site's error log, and so does descriptor
    2 during the load and from the first request on; between the two it is the server's again, because uWSGI then
    writes that the application is ready.
    """
    server = os.dup(2)  # close-on-exec, PEP 446
    log = ErrorLog(settings.error_log, settings.domain, settings.log_format, server)
    server_log = ServerLog(connection.option("logto2"), server, connection.option("master-fifo"))
    server_log.look()
    spool = Spool(log, server, settings.temporary)
    pending = Pending(log, current_environ)
    errors = _take_streams(pending)
    wanted = succession.wanted_workers(connection.UWSGI)
    if settings.log_rate:
        log.allowance = Allowance(settings.log_rate * 1024 / wanted)
    records = Records(log, settings.wsgi_file, wanted)
    hooks.take(records, pending, current_environ)
    page = ErrorPage(settings.error_page, settings.debug)
    with_static = _static(settings)

    def do_chores() -> bool:
        if server_log.look():
            spool.recognize_server()
        is_busy = deploy is not None and deploy.look()
        log.tell_dropped()
        return records.flush(SUMMARY_EVERY) or spool.drain() or is_busy

    site_log = SiteLog(server)
    worker = Worker(log, settings, request_of, do_chores, site_log)
    deploy = _deploy(settings, worker, wanted, site_log, log)
    spool.take_stderr()
    atexit.register(_end, pending, records, spool, deploy)
    if path is not None:
        sys.path[:] = path
    app = with_static(_load(worker if deploy is None else deploy, log))
    spool.release_stderr()
    _hear_of_caught(log, records, settings.wsgi_file)

    def prepare(core: int) -> None:
        spool.take_stderr()
        worker.take_core(core)

    capture = Capture(app, log, errors, pending, page, prepare, records)
    return capture.respond if connection.UWSGI is None else serving(capture, prepare, worker.flags)


def _hear_of_caught(log: ErrorLog, records: Records, wsgi_file: str) -> None:
    """Have what a framework catches told of; what does that is loaded with the first answer of 400 or 500."""
    made: list[Any] = []

    def caught() -> Any:
        if not made:
            module = late.load("user_wsgi_wrapper.runtime.caught")
            made.append(module.Caught(log, records, current_environ, wsgi_file))
        return made[0]

    def answered(status: str, exc_info: Any) -> None:
        try:
            caught().answered(status, exc_info)
        except BaseException:  # noqa: S110  the framework's answer goes out
            pass

    if "django.core.signals" in sys.modules:
        caught().connect()
    Exchange.answered = answered


def _deploy(settings: Settings, worker: Worker, wanted: int, site_log: SiteLog, log: ErrorLog) -> Deploy | None:
    """What looks after the site's versions; None where the server can't start one worker more than the `wanted`."""
    fifo = connection.option("master-fifo")
    if not settings.keep_folder or fifo is None or not succession.is_manual():
        return None
    if worker.box is None:
        log.record(
            f"{settings.box_folder} can't be written to: new code is not taken up, and a worker's death not told of",
            level="ERROR",
            advice=f"make room in {settings.box_folder}, then have the site sleep or its operator restart it",
        )
        return None
    worker.leave_saves_alone()
    boxes = f"{settings.box_folder}/{log.domain}.worker"
    place = succession.Succession(connection.UWSGI, boxes, worker.box.flags, fifo, wanted)

    def report(error: WsgiLoadError, addition: str) -> str:
        return _report(error, log, addition)

    return Deploy(settings, worker, place, site_log, report)


def _end(pending: Pending, records: Records, spool: Spool, deploy: Deploy | None) -> None:
    pending.flush_all()
    records.flush()
    spool.release_stderr()
    spool.end()
    if deploy is not None:
        deploy.end()


def _take_streams(pending: Pending) -> ErrorStream:
    if _writes_to_stderr(sys.stdout):
        # uWSGI lets sys.stdout write to descriptor 2.
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(  # type: ignore[misc]
            io.FileIO(1, "w", closefd=False), "utf-8", "backslashreplace", line_buffering=True
        )
    before = sys.stderr
    sys.stderr = sys.__stderr__ = ErrorStream(pending, "<stderr>")  # type: ignore[assignment, misc]
    _redirect_handlers(before)
    return ErrorStream(pending, "<wsgi.errors>", shared=True)


def _redirect_handlers(before: Any) -> None:
    """Have the handlers that the server made already (gunicorn's, say) write to the new sys.stderr."""
    logging = sys.modules.get("logging")
    for reference in list(getattr(logging, "_handlerList", ())):
        handler = reference()
        if before is not None and getattr(handler, "stream", None) is before:
            handler.setStream(sys.stderr)


def _writes_to_stderr(stream: Any) -> bool:
    try:
        return bool(stream.fileno() == 2)
    except (OSError, ValueError, AttributeError):
        return False


def _load(worker: Worker | Deploy, log: ErrorLog) -> Callable[..., Any]:
    try:
        return worker.load()
    except WsgiLoadError as error:
        if not error.is_reported:
            _report(error, log)
        _mark_broken(log.domain)
        return _broken(error.path, error.phase, error.message, error.advice)


def _report(error: WsgiLoadError, log: ErrorLog, addition: str = "") -> str:
    """Write the record of a load that failed; returns its text. One that ended the worker has its own already."""
    error.is_reported = True
    cause = format_exception(error.__cause__) if error.__cause__ is not None else ""
    error.advice = advise(error, error.path)
    message = f"the site could not be loaded: {error}" + (f"; {addition}" if addition else "")
    if error.phase != "death" or addition:
        log.record(message, None, "ERROR", cause, error.advice)
    return "\n".join(filter(None, (message, cause, error.advice and f"Advice: {error.advice}")))


def _broken(path: str, phase: str, message: str, advice: str) -> Callable[..., Any]:
    """An application in place of the one that could not be loaded. A touch of the file makes a new process try."""

    def application(_environ: dict[str, Any], _start_response: Callable[..., Any]) -> Any:
        error = WsgiLoadError(path, phase, message)
        error.advice = advice
        raise error

    return application


def _mark_broken(domain: str) -> None:
    set_name = getattr(connection.UWSGI, "setprocname", None)
    if set_name is not None:
        set_name(f"{domain} broken")


def _static(settings: Settings) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Puts an application behind the site's static files.

    uWSGI serves those itself, but a worker of it that finds a mapping's folder missing at its first request never
    looks for that folder again (its check-static does): so that folder's URL is looked for here. For folders that are
    there no request pays.
    """
    check_static = None if connection.option("check-static") is not None else settings.check_static
    mappings = settings.static
    if connection.option("static-map") is not None:
        mappings = tuple(pair for pair in mappings if not os.path.exists(pair[1]))
    if not mappings and check_static is None:
        return lambda app: app
    files = late.load("user_wsgi_wrapper.runtime.static").StaticFiles
    serve = files(
        mappings,
        check_static,
        index=settings.static_index,
        dotfiles=settings.static_dotfiles,
        code=settings.wsgi_file,
    ).serve

    def put_behind(app: Callable[..., Any]) -> Callable[..., Any]:
        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
            found = serve(environ, start_response)
            return app(environ, start_response) if found is None else found

        return application

    return put_behind
