"""Run a program beside tenants, who may stop it, trace it and have it say anything without end."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import privileges
from user_wsgi_wrapper.emperor_hook.deploys import harmless

_SAID = 4096  # bytes of its error output that are kept
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class ProgramError(Exception):
    """It failed; str() is the first that it said of that, harmless to a terminal."""


def run(argv: list[str | Path], patience: float | None = None) -> None:
    """Run it to its end, in a session and an environment of its own, with no terminal, open file or key of ours.

    Raises ProgramError, also if it isn't done within `patience` seconds: it is killed then. Nobody who holds on to
    its output can make this wait.
    """
    deadline = None if patience is None else time.monotonic() + patience
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        cwd="/",
        start_new_session=True,
        preexec_fn=privileges.give_up,  # safe: a command has but one thread
    ) as process:
        try:
            said = _listen(process, deadline)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise ProgramError(harmless(said.decode(errors="backslashreplace")).strip() or f"status {process.returncode}")


def _listen(process: subprocess.Popen[bytes], deadline: float | None) -> bytes:
    """The first of what it says until it has ended."""
    assert process.stderr is not None
    output, end = process.stderr.fileno(), os.pidfd_open(process.pid)
    poller, said = select.poll(), b""
    poller.register(output, select.POLLIN)
    poller.register(end, select.POLLIN)
    try:
        while True:
            ready = dict(poller.poll(None if deadline is None else max(deadline - time.monotonic(), 0) * 1000))
            if output in ready:
                block = os.read(output, 65536)
                said += block[: _SAID - len(said)]
                if not block:
                    poller.unregister(output)
            elif end in ready:  # and all that it said before was read
                return said
            if deadline is not None and time.monotonic() > deadline:
                raise ProgramError("it did not end in time")
    finally:
        os.close(end)
