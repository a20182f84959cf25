"""The worker processes: which requests each is at, whether it was told to end, how it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from user_wsgi_wrapper.embedded import messages, stamp, worker
from user_wsgi_wrapper.embedded.plan import Plan


@dataclass(frozen=True)
class Underway:
    """A request that a worker is at; `began` is on the monotonic clock."""

    request_id: str
    method: str
    path: str
    began: float


@dataclass
class Worker:
    """One process. `retired` is when it was told to end (monotonic), None as long as it wasn't."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    ready: bool = False
    retired: float | None = None
    killed: bool = False
    requests: dict[str, Underway] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self.process.pid

    def listen(self) -> Iterator[list[str]]:
        """Take its messages in; gives those on to which there is more to do: END, CHANGED and SILENT."""
        for message in messages.receive(self.channel):
            kind, *parts = message
            if kind == messages.READY:
                self.ready = True
            elif kind == messages.BEGIN:
                self.requests[parts[0]] = Underway(parts[0], parts[1], parts[2], time.monotonic())
            elif kind == messages.END:
                self.requests.pop(parts[0], None)
                yield message
            else:
                yield message

    def retire(self) -> None:
        """Tell it to end, once its requests have."""
        if self.retired is None:
            self.retired = time.monotonic()
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.killed = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # Popen's own methods would wait for the process if it has ended, and take_ended would never hear of it.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)


def start(plan: Plan, seen: stamp.Stamp, listener: socket.socket) -> Worker:
    """Start a worker that loads the save of the application's file that has this stamp. Raises OSError."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fds = listener.fileno(), its.fileno()
    # A Ctrl-C that comes before the worker is prepared for it waits until it is.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(worker.command(plan, seen, *fds), pass_fds=fds)
    except OSError:
        ours.close()
        raise
    finally:
        its.close()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return Worker(process, ours)


def take_ended(workers: dict[int, Worker]) -> Iterator[Worker]:
    """Take the workers that have ended out of `workers`, their last messages still to be read.

    The children of others that came to us (see orphans) are waited for too, so that no zombie stays.
    """
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in workers:
            one = workers.pop(pid)
            one.process.returncode = os.waitstatus_to_exitcode(status)
            yield one


def cause(returncode: int) -> str:
    """How a process ended, in words: it was killed by a signal, or exited."""
    if returncode >= 0:
        return f"exited with status {returncode}"
    try:
        return f"was killed by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"was killed by signal {-returncode}"
