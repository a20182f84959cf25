"""Failures that repeat: the first ones are told whole, the others counted, so that a crash loop stays cheap.

Two failures are the same if their exceptions have the same types and came through the same places of the code; the
message may differ. What they may add to the log is bounded by a budget of bytes, never by a length of one record.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from time import monotonic

from user_wsgi_wrapper.runtime import request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RATE = 30_000  # bytes a second that failures may add to the log before they are counted, all workers together
BURST = 100_000  # bytes that may come at once after a quiet time
KINDS = 64  # different failures that are remembered; the one told longest ago makes room
SUMMARY_EVERY = 1.0  # seconds
_FRAMES = 100  # of a traceback that are compared: two deep recursions are the same if they begin the same
_CHAIN = 10  # exceptions of a chain that are compared
_SHOWN = ("REQUEST_ID", "REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO")  # what a record shows of a request


class _Kind:
    """One failure that was told before, under `told_id`. `count` are those since `since` that had no record."""

    __slots__ = ("count", "last", "since", "text", "told_id")

    def __init__(self, text: str, told_id: str) -> None:
        self.text = text
        self.told_id = told_id
        self.count = 0
        self.since = 0.0
        self.last: dict[str, Any] | None = None

    def add(self, environ: dict[str, Any] | None, now: float) -> None:
        """Count one more. The environ itself isn't kept: nothing may live on through it."""
        if not self.count:
            self.since = now
        self.count += 1
        self.last = None if environ is None else {name: environ[name] for name in _SHOWN if name in environ}

    def take(self, now: float) -> tuple[str, dict[str, Any] | None]:
        """The summary of what was counted, which then begins anew."""
        times = "once" if self.count == 1 else f"{self.count} times"
        text = f"failed as [{self.told_id}] did, {times} within {max(now - self.since, 0.1):.1f} s: {self.text}"
        self.count = 0
        if self.last is not None:
            text = f"{request.method(self.last)} {request.path(self.last)}: {text}"
        return text, self.last


class Repetitions:
    """Decides which failures have a record of their own.

    `write(text, environ)` takes one line about those that had none, when the owner calls `flush`. `processes` is how
    many write to the same log.
    """

    def __init__(
        self,
        write: Callable[[str, dict[str, Any] | None], object],
        processes: int = 1,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._write = write
        self._rate, self._burst = RATE / processes, BURST / processes
        self._clock = clock
        self._left, self._filled_at = self._burst, clock()
        self._kinds: dict[int, _Kind] = {}
        self._renew_lock()
        os.register_at_fork(after_in_child=self._forget)

    def is_counted(self, error: BaseException, environ: dict[str, Any] | None) -> bool:
        """Count the failure, if one like it was told and the budget is used up; else say that it is to be told.

        Once its kind is counted it stays so until the next summary, however the budget recovers meanwhile.
        """
        key = fingerprint(error)
        now = self._clock()
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None or (not kind.count and self._budget(now) > 0):
                return False
            kind.add(environ, now)
        return True

    def told(self, error: BaseException, environ: dict[str, Any] | None, text: str, size: int) -> None:
        """The failure has its record, of `size` bytes; `text` names it on one line."""
        key = fingerprint(error)
        now = self._clock()
        with self._lock:
            self._left = self._budget(now) - size
            self._kinds[key] = (
                self._kinds.pop(key) if key in self._kinds else _Kind(text, request.request_id(environ))
            )
            oldest = self._kinds.pop(next(iter(self._kinds))) if len(self._kinds) > KINDS else None
            left = oldest.take(now) if oldest is not None and oldest.count else None
        if left is not None:
            self._write(*left)

    def flush(self, age: float = 0.0) -> bool:
        """Write a summary of each kind whose count began `age` seconds ago or before; whether there was any."""
        now = self._clock()
        with self._lock:
            ready = [one.take(now) for one in self._kinds.values() if one.count and now - one.since >= age]
        for line in ready:
            self._write(*line)
        return bool(ready)

    def _budget(self, now: float) -> float:
        self._left = min(self._left + (now - self._filled_at) * self._rate, self._burst)
        self._filled_at = now
        return self._left

    def _renew_lock(self) -> None:
        self._lock = allocate_lock()

    def _forget(self) -> None:
        self._renew_lock()  # another thread may have held it while the process forked
        self._kinds.clear()  # the parent tells of those


def fingerprint(error: BaseException) -> int:
    """A number that two exceptions share if their types, causes and tracebacks are the same.

    Of a traceback it has where in its code each frame stands, and whose code the last one is. To ask each frame for
    its code costs twice as much, and tells no more failures apart that a program has at a time.
    """
    parts = []
    link: BaseException | None = error
    for _ in range(_CHAIN):
        if link is None:
            break
        parts.append(id(type(link)))
        last = trace = link.__traceback__
        end = len(parts) + _FRAMES
        while trace is not None and len(parts) < end:
            parts.append(trace.tb_lasti)
            last = trace
            trace = trace.tb_next
        parts.append(id(last.tb_frame.f_code) if last is not None else 0)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return hash(tuple(parts))
