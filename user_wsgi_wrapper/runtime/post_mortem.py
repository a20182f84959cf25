"""Who killed the worker: what one that is gone left in its black box, told in records of the requests it was at."""

from __future__ import annotations

import os
import re

from user_wsgi_wrapper.runtime import request
from user_wsgi_wrapper.runtime.black_box import LOADING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from user_wsgi_wrapper.runtime.black_box import Remains

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
    10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU",
    25: "SIGXFSZ", 31: "SIGSYS",
}  # fmt: skip
_STOPS = (1, 2, 15)  # signals by which a server ends its workers
_TIMEOUT = re.compile(r"Timeout \((\d+):(\d+):([\d.]+)")
_THREAD = re.compile(r"^(?:Current thread|Thread) 0x([0-9a-f]+).*\(most recent call (first|last)\):$", re.M)


class Finding:
    """One record to be written: `environ` holds what a record shows of its request, None if it belongs to none."""

    __slots__ = ("environ", "message", "trace")

    def __init__(self, environ: dict[str, Any] | None, message: str, trace: str) -> None:
        self.environ = environ
        self.message = message
        self.trace = trace


def examine(
    remains: Remains, ending: Ending, requests: Mapping[int, dict[str, str]], wsgi_file: str, now: float
) -> list[Finding]:
    """The records of a worker's end; none if nobody has lost anything by it.

    `requests` is what is known of those in flight, by core; `now` is in seconds since the epoch.
    """
    dump = Dump(remains.dump)
    if remains.phase == LOADING:
        message = f"the site could not be loaded: {wsgi_file}: running it ended the worker: {ending.text}"
        return [] if ending.is_meant else [Finding(None, message, dump.stack(dump.current or remains.loader))]
    if not remains.in_flight and not ending.is_meant:
        return [
            Finding(None, f"the worker ended while it served no request: {ending.text}", dump.stack(dump.current))
        ]
    findings = []
    for core, ident in zip(remains.in_flight, remains.idents):
        environ: dict[str, Any] = dict(requests.get(core, ()))
        what = f"{request.method(environ)} {request.path(environ)}: " if environ else ""
        after = _in_flight(environ, remains.dumped_at if dump.current else now)
        elsewhere = "; the fault was in another thread" if dump.current and dump.current != ident else ""
        message = f"{what}the worker died while it served this request{after}: {ending.text}{elsewhere}"
        findings.append(Finding(environ or None, message, dump.stack(ident)))
    return findings


def _in_flight(environ: Mapping[str, str], ended: float) -> str:
    try:
        seconds = ended - float(environ.get("HTTP_X_REQUEST_START", "").removeprefix("t="))
    except ValueError:
        return ""
    return f", after {max(seconds, 0.0):.1f} s" if -60 < seconds < 1e6 else ""


class Ending:
    """How a process ended, as a phrase. `is_meant`: its server wanted it so, and no request was lost by it."""

    __slots__ = ("is_meant", "text")

    def __init__(self, text: str, is_meant: bool = False) -> None:
        self.text = text
        self.is_meant = is_meant


def how_it_ended(remains: Remains, log: str, parent: int, kills: int, limits: Mapping[str, float]) -> Ending:
    """What the server's log, of which `log` is the end, and the box say of the worker's end.

    `parent` is this process's, `kills` how many the kernel has killed for want of memory, `limits` the server's
    options harakiri and worker-reload-mercy and `load`, the time that a load may take, all in seconds.
    """
    pid = remains.pid
    if remains.was_out_of_time:
        return Ending(f"it was not done after the {limits['load']:g} s that it may take")
    if f"(pid: {pid}) is taking too much time to die...NO MERCY" in log:
        mercy = limits["worker-reload-mercy"]
        return Ending(f"it was still at it {mercy} s after the worker was told to end, for a reload or a stop")
    # by the server, or, as the first request after a load, by faulthandler: see Watch.start
    was_last_call = bool(remains.in_flight) and _timeout(remains.dump) > limits["harakiri"] / 2 > 0
    if was_last_call or re.search(rf"HARAKIRI ON WORKER \d+ \(pid: {pid},", log):
        return Ending(f"it took longer than the {limits['harakiri']} s that a request may (harakiri)")
    found = re.search(rf"worker \d+ \(pid: {pid}\) \w+,? killed by signal (\d+)", log)
    if found:
        number = int(found[1])
        memory = ", as the kernel ran out of memory" if number == 9 and kills > remains.oom_kills else ""
        name = f" ({_SIGNALS[number]})" if number in _SIGNALS else ""
        return Ending(f"killed by signal {number}{name}{memory}", number in _STOPS and not remains.in_flight)
    if parent != remains.parent:
        return Ending("the server was stopped or killed", not remains.in_flight)
    is_missed = remains.phase == LOADING or bool(remains.in_flight) or f"(pid: {pid}) died :(" in log
    return Ending("it ended itself, by os._exit() or by exit() in C code", not is_missed)


def _timeout(dump: str) -> float:
    """The seconds after which faulthandler has written it, as it says; 0 if it was for another reason."""
    found = _TIMEOUT.match(dump)
    return 0 if found is None else 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])


class Dump:
    """The stacks in a dump of faulthandler's, by their threads' idents. `current` had the fault, 0 for none."""

    __slots__ = ("current", "reason", "stacks")

    def __init__(self, text: str) -> None:
        self.stacks: dict[int, tuple[str, list[str]]] = {}
        self.current = 0
        heads = list(_THREAD.finditer(text))
        reason = (text[: heads[0].start()] if heads else text).strip()
        self.reason = "" if reason.startswith("Timeout") else reason
        for head, following in zip(heads, [*heads[1:], None]):
            lines = text[head.end() + 1 : None if following is None else following.start()].split("\n")
            count = next((number for number, line in enumerate(lines) if not line.startswith("  ")), len(lines))
            ident = int(head[1], 16)
            self.stacks[ident] = (head[2], lines[:count])  # of several dumps the last
            if head[0].startswith("Current"):
                self.current = ident

    def stack(self, ident: int) -> str:
        """A thread's stack as text, without this package's own frames; "" if it isn't there."""
        if ident not in self.stacks:
            return self.reason
        order, frames = self.stacks[ident]
        kept = "\n".join(_without_ours(frames))
        reason = f"{self.reason}\n" if self.current == ident and self.reason else ""
        return f"{reason}Stack (most recent call {order}):\n{kept}"


def _without_ours(lines: list[str]) -> list[str]:
    kept = []
    is_ours = False
    for line in lines:
        if line.startswith("  File "):
            is_ours = line.startswith(f'  File "{_OURS}')
        if not is_ours:
            kept.append(line)
    return kept
