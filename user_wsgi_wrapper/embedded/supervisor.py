"""The supervisor: keeps the workers at work, replaces them when their file is saved, says what they died of."""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Callable

from user_wsgi_wrapper.embedded import crew, messages, orphans, stamp
from user_wsgi_wrapper.embedded.crew import Underway, Worker
from user_wsgi_wrapper.embedded.plan import Plan
from user_wsgi_wrapper.embedded.terminal import Terminal
from user_wsgi_wrapper.embedded.worker import MERCY
from user_wsgi_wrapper.runtime.error_log import ErrorLog

_TICK = 0.1  # seconds between two looks at the application's file and at the error log
_LONGEST_PAUSE = 5.0  # seconds before a file whose loading ends the process is tried again
_FIRST_PAUSE = 0.25
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HASTE = 0.5  # seconds that a worker which is done with its requests gets for its own end


class Supervisor:
    """Runs the workers of one plan on one listening socket; it never runs the application's code itself."""

    def __init__(self, plan: Plan, listener: socket.socket, terminal: Terminal, log: ErrorLog) -> None:
        self._plan = plan
        self._listener = listener
        self._terminal = terminal
        self._log = log
        self._workers: dict[int, Worker] = {}
        self._seen: stamp.Stamp = None
        self._stops = 0
        self._pause = 0.0
        self._not_before = 0.0
        self._selector = selectors.DefaultSelector()

    def run(self, when_up: Callable[[], None]) -> None:
        """Serve until SIGINT, SIGTERM or SIGHUP; a second one doesn't wait for requests. No process is left."""
        signals = self._take_signals()
        orphans.adopt()
        try:
            self._seen = stamp.settle(self._plan.wsgi_file)
            when_up()
            while not self._stops or self._workers:
                self._turn(signals)
        finally:
            orphans.end_all()
            self._terminal.catch_up()

    def _turn(self, signals: socket.socket) -> None:
        if not self._stops:
            self._fill_up()
        for key, _events in self._selector.select(_TICK):
            if key.data is None:
                self._take(signals.recv(4096))
        for one in list(self._workers.values()):
            self._listen(one)
        self._bury()
        self._kill_overdue()
        if not self._stops and stamp.read(self._plan.wsgi_file) != self._seen:
            self._reload()
        self._terminal.catch_up()

    def _take_signals(self) -> socket.socket:
        """The end of a pipe that brings the numbers of the signals that come."""
        ours, its = socket.socketpair()
        for end in (ours, its):
            end.setblocking(False)
        signal.set_wakeup_fd(its.detach(), warn_on_full_buffer=False)
        for number in (*_STOPPING, signal.SIGCHLD):
            signal.signal(number, lambda _number, _frame: None)
        self._selector.register(ours, selectors.EVENT_READ)
        return ours

    def _take(self, numbers: bytes) -> None:
        for number in numbers:
            if number in _STOPPING:
                self._stops += 1
                for one in self._workers.values():
                    if self._stops == 1:
                        one.retire()
                    else:
                        one.kill()

    def _fill_up(self) -> None:
        missing = self._plan.processes - sum(one.retired is None for one in self._workers.values())
        if missing <= 0 or time.monotonic() < self._not_before:
            return
        for _ in range(missing):
            one = crew.start(self._plan, self._seen, self._listener)
            self._workers[one.pid] = one
            self._selector.register(one.channel, selectors.EVENT_READ, one)

    def _listen(self, one: Worker) -> None:
        for kind, *parts in one.listen():
            if kind == messages.END:
                self._terminal.access(parts[1])
            elif kind == messages.CHANGED:
                one.retire()
            elif one.channel in self._selector.get_map():  # it would be reported as readable for ever
                self._selector.unregister(one.channel)
        if one.ready and one.retired is None:
            self._pause = 0.0

    def _reload(self) -> None:
        self._seen = stamp.settle(self._plan.wsgi_file)
        self._pause = self._not_before = 0.0
        self._terminal.say(f"Reloading: {self._plan.wsgi_file} was saved.")
        for one in self._workers.values():
            one.retire()

    def _bury(self) -> None:
        for one in crew.take_ended(self._workers):
            self._listen(one)  # what it said last
            if one.channel in self._selector.get_map():
                self._selector.unregister(one.channel)
            one.channel.close()
            if one.retired is None:
                self._report(one)
                if not one.ready:
                    self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
                    self._not_before = time.monotonic() + self._pause

    def _report(self, one: Worker) -> None:
        """One record for each request that the worker was at, or one that belongs to none."""
        what = f"the worker process {one.pid} {crew.cause(one.process.returncode)}"
        if not one.ready:
            self._log.record(f"{what} while it loaded {self._plan.wsgi_file}", None, "ERROR")
        elif not one.requests:
            self._log.record(f"{what}; it was at no request", None, "ERROR")
        for request in one.requests.values():
            others = len(one.requests) - 1
            among = f", one of {others + 1} that it was at" if others else ""
            self._log.record(
                f"{request.method} {request.path}: {what} in this request{among}, {_age(request)} after it began",
                _environ(request),
                "ERROR",
            )

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        for one in self._workers.values():
            if one.retired is None or one.killed or now - one.retired < MERCY + _HASTE:
                continue
            for request in one.requests.values():
                self._log.record(
                    f"{request.method} {request.path}: the worker process {one.pid} was told to end, "
                    f"and was ended in this request, {_age(request)} after it began",
                    _environ(request),
                )
            one.kill()


def _environ(request: Underway) -> dict[str, str]:
    return {"REQUEST_ID": request.request_id, "REQUEST_METHOD": request.method, "PATH_INFO": request.path}


def _age(request: Underway) -> str:
    return f"{time.monotonic() - request.began:.1f} s"
