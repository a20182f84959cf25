"""A worker: a process of its own that loads the application's file once and serves it until it is told to end."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from user_wsgi_wrapper.embedded import messages, stamp
from user_wsgi_wrapper.embedded.plan import Plan
from user_wsgi_wrapper.embedded.server import Server
from user_wsgi_wrapper.runtime.wrapper import build_application

MERCY = 5.0  # seconds that requests which have begun may take to end
# What the new interpreter runs. None of its modules may come from the folder that it happens to be started in, and
# the package's own folder comes last, so that its neighbors stand in for nothing.
PROGRAM = """\
import sys
sys.path[:] = [entry for entry in sys.path if entry] + [sys.argv[1]]
from user_wsgi_wrapper.embedded.worker import main
main(*sys.argv[2:])
"""


def command(plan: Plan, seen: stamp.Stamp, listener: int, channel: int) -> list[str]:
    """The command line of a worker. `listener` and `channel` are descriptors that it inherits."""
    where = str(Path(__file__).absolute().parents[2])
    return [sys.executable, "-c", PROGRAM, where, plan.to_json(), repr(seen), str(listener), str(channel)]


def main(plan_text: str, seen: str, listener: str, channel: str) -> None:
    """The worker's life. Returns when it was told to end and has done so."""
    plan = Plan.from_json(plan_text)
    to_supervisor = socket.socket(fileno=int(channel))
    with socket.socket(fileno=int(listener)) as listening:
        server = Server(listening, to_supervisor, _not_loaded, plan.processes == 1)
    # Ctrl-C reaches every process of the terminal; the supervisor sees to it that requests end. No SIG_IGN: programs
    # that the application starts would inherit it.
    signal.signal(signal.SIGINT, _ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_supervisor, args=(to_supervisor,), name="supervisor", daemon=True).start()
    server.app = _load(plan)
    signals = _signal_pipe()
    messages.send(to_supervisor, messages.READY)
    if server.serve_until(signals, lambda: repr(stamp.read(plan.wsgi_file)) != seen):
        messages.send(to_supervisor, messages.CHANGED)
    server.server_close()
    server.finish(MERCY)


def _load(plan: Plan) -> Any:
    """The application, loaded where a hosted one is: in its own folder, which comes first on sys.path."""
    os.environ.update(plan.environment())
    settings = plan.settings(os.environ)
    os.chdir(plan.folder)
    sys.path.insert(0, plan.folder)
    sys.argv[:] = [plan.wsgi_file]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # what it prints is seen at once, wherever it goes
    return build_application(settings)


def _signal_pipe() -> int:
    """A descriptor that brings the numbers of the signals that come, SIGTERM's among them.

    It is written to as soon as one comes. A handler would have to wait for the interpreter, which may be about to
    sleep until the next connection.
    """
    ours, its = os.pipe()
    for end in (ours, its):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(its, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, _ignore)
    return ours


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Let the pipe tell it."""


def _not_loaded(_environ: dict[str, Any], _start_response: Any) -> Any:
    raise RuntimeError("the application is not loaded yet")


def _end_with_supervisor(channel: socket.socket) -> None:
    """Nothing ever comes from the supervisor but its end."""
    with contextlib.suppress(OSError):
        channel.recv(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2 * MERCY)
    os._exit(1)
