"""Times one peer in a process of its own: takes lines `CASE COUNT`, answers each with the nanoseconds of that round.

    python bench/in_process.py PEER

A server's part is played by a loop that calls the application, takes what it returns and closes it. What the loop
itself takes is in every row, that of the bare application too.
"""

from __future__ import annotations

import importlib
import io
import logging
import mmap
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench" / "apps")]

from bench import peers  # noqa: E402

OURS_UWSGI = "this project, under uWSGI"
OURS = "this project, under another server"
REPEATED = "this project, the same failure again and again"
DEPTH = 10  # frames of the traceback
KINDS = 100  # different failures, in turn: more than are remembered, so that each has a record of its own


def guarded(app: peers.Application, uwsgi: bool) -> peers.Application:
    """`app` under this project's guard, built as the entry builds it, without taking this process's streams."""
    from user_wsgi_wrapper.runtime import capture, connection, core

    guard = _guard(app)
    if not uwsgi:
        return guard.respond
    connection.UWSGI = types.SimpleNamespace(cores=1, opt={})
    assert capture.connection is connection
    return core.serving(guard, lambda _core: None, mmap.mmap(-1, 4096))


def _guard(app: peers.Application) -> Any:
    from user_wsgi_wrapper.runtime.capture import Capture, current_environ
    from user_wsgi_wrapper.runtime.error_log import ErrorLog
    from user_wsgi_wrapper.runtime.error_page import ErrorPage
    from user_wsgi_wrapper.runtime.streams import ErrorStream, Pending

    log = ErrorLog(f"{tempfile.mkdtemp(prefix='uww-bench-')}/error.log", "tenant.example")
    pending = Pending(log, current_environ)
    errors = ErrorStream(pending, "<wsgi.errors>", shared=True)
    return Capture(app, log, errors, pending, ErrorPage("/nonexistent"))


def application(peer: str, name: str) -> peers.Application:
    app: peers.Application = importlib.import_module(name).application
    if peer in (OURS, OURS_UWSGI):
        return guarded(app, peer == OURS_UWSGI)
    return peers.CAPTURING.get(peer, peers.bare)(app)


def requests(app: peers.Application) -> Callable[[int], int]:
    """A function that asks so often, and gives the nanoseconds that it took."""
    first: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper, "REQUEST_URI": "/", "QUERY_STRING": ""}
    setup_testing_defaults(first)
    first["wsgi.errors"] = io.TextIOWrapper(io.BytesIO())

    def write(_data: bytes) -> None:
        pass

    def start_response(
        _status: str, _headers: list[tuple[str, str]], _exc_info: Any = None
    ) -> Callable[[bytes], None]:
        return write

    def run(count: int) -> int:
        began = time.perf_counter_ns()
        for _ in range(count):
            result = app(first.copy(), start_response)
            if type(result) is not bytes:  # uWSGI does not iterate over these
                for _chunk in result:
                    pass
                if hasattr(result, "close"):
                    result.close()
        return time.perf_counter_ns() - began

    return run


def errors(peer: str) -> Callable[[int], int]:
    """A function that records so often an exception whose traceback has DEPTH frames."""
    record = _recorder(peer)

    def fail() -> None:
        raise LookupError("no such thing")

    def descend(depth: int, last: Callable[[], None]) -> None:
        if depth == 2:
            last()
        descend(depth - 1, last)

    # failures differ if their last frames' code does
    kinds = 1 if peer == REPEATED else KINDS
    fails = [types.FunctionType(fail.__code__.replace(), globals()) for _ in range(kinds)]

    def run(count: int) -> int:
        took = 0
        for number in range(count):
            try:
                descend(DEPTH, fails[number % kinds])
            except LookupError as error:
                began = time.perf_counter_ns()
                record(error)
                took += time.perf_counter_ns() - began
        return took

    return run


def _recorder(peer: str) -> Callable[[BaseException], object]:
    path = f"{tempfile.mkdtemp(prefix='uww-bench-')}/log"
    if peer in (OURS, REPEATED):
        environ = {"REQUEST_ID": "0" * 32, "REQUEST_METHOD": "GET", "PATH_INFO": "/"}
        guard = _guard(peers.bare)
        return lambda error: guard.record(error, environ, "its call")
    if peer == "sentry-sdk":
        peers.sentry(peers.bare)
        import sentry_sdk

        return sentry_sdk.capture_exception
    logger = logging.Logger("bench")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    if peer == "python-json-logger":
        from pythonjsonlogger.json import JsonFormatter

        handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    return lambda error: logger.error("GET /: the application failed", exc_info=error)


def main() -> None:
    """Serve the orders on standard input."""
    peer = sys.argv[1]
    ready: dict[str, Callable[[int], int]] = {}
    for line in sys.stdin:
        case, count = line.split()
        if case not in ready:
            ready[case] = errors(peer) if case == "error" else requests(application(peer, case))
            ready[case](max(int(count) // 10, 20))
        sys.__stdout__.write(f"{ready[case](int(count))}\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
