"""One process of the stack: how it is started, and ended for good."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import privileges

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Service:
    """A program that the stack keeps running. `stop_signal` asks it to end, within `patience` seconds."""

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    patience: float = 10.0


def _before_exec() -> None:
    # prctl(2): when the stack is killed outright, its services must not go on serving half of it
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    privileges.give_up()


def become_subreaper() -> None:
    """Have processes whose parents end become our children (prctl(2)), so that none is lost sight of."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def start(service: Service) -> subprocess.Popen[bytes]:
    """Start it in a session of its own, so that Ctrl-C reaches the stack alone; output goes to its log."""
    service.log.parent.mkdir(parents=True, exist_ok=True)
    with service.log.open("ab") as log:
        return subprocess.Popen(
            service.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", **service.environment},
            cwd="/",
            start_new_session=True,
            preexec_fn=_before_exec,  # safe: the stack has but one thread
        )


def ask_to_stop(service: Service, process: subprocess.Popen[bytes]) -> None:
    """Send its stop signal, if it lives."""
    if process.poll() is None:
        process.send_signal(service.stop_signal)


def wait_stopped(
    service: Service, process: subprocess.Popen[bytes], is_idle: Callable[[], bool] = lambda: False
) -> None:
    """Wait for its end; kill its whole session when its patience is over, or as soon as it `is_idle`."""
    deadline = time.monotonic() + service.patience
    while process.poll() is None:
        if time.monotonic() > deadline or is_idle():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
        time.sleep(0.02)


def tail(service: Service, lines: int = 10) -> str:
    """The last lines of its log, for an error message."""
    try:
        return "\n".join(service.log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""
