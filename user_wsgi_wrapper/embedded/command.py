"""The command `serve`: from its values on the command line to its exit status."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.embedded.plan import HOST, Plan, ServeError, make
from user_wsgi_wrapper.embedded.supervisor import Supervisor
from user_wsgi_wrapper.embedded.terminal import Terminal
from user_wsgi_wrapper.runtime.error_log import ErrorLog
from user_wsgi_wrapper.runtime.settings import DEFAULT_DOMAIN

DONE, FAILED = 0, 1
_BACKLOG = 128


def serve(arguments: Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; what keeps it from beginning is one line on standard error."""
    try:
        with _error_log(arguments.log) as error_log:
            plan = make(arguments.wsgi_file, arguments.port, arguments.static, error_log, arguments.processes)
            with _listen(plan.port) as listener:
                _run(plan, listener, arguments.log is not None)
    except (ServeError, OSError) as error:
        print(f"user-wsgi-wrapper: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return DONE  # before anything was served
    return DONE


def _run(plan: Plan, listener: socket.socket, keeps_log: bool) -> None:
    terminal = Terminal(plan.error_log, os.environ)
    log = ErrorLog(plan.error_log, DEFAULT_DOMAIN, "json" if os.environ.get("SITE_LOG_FORMAT") == "json" else "text")

    def announce() -> None:
        terminal.say(f"Serving {plan.wsgi_file} on http://localhost:{plan.port}/")
        terminal.say(f"  {plan.static}/ is shown under {inside.STATIC_URL}/")
        if keeps_log:
            terminal.say(f"  errors are written to {plan.error_log} too")
        terminal.say("Saving or touching the file reloads it. Ctrl-C ends it.")

    try:
        Supervisor(plan, listener, terminal, log).run(announce)
    finally:
        terminal.close()
        log.close()


@contextlib.contextmanager
def _error_log(path: str | None) -> Iterator[str]:
    """The path of the error log: the one that was asked for, or a file that ends with us."""
    if path is not None:
        yield path
        return
    fd, path = tempfile.mkstemp(prefix="user-wsgi-wrapper-", suffix=".error.log")
    os.close(fd)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            Path(path).unlink()


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ServeError(f"port {port}: another program is using it; choose one with --port") from None
        raise ServeError(f"port {port}: {error.strerror}") from None
    return listener
