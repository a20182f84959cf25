"""One warm-up a domain, however many requests wait for it; and few at a time, so that the first are soon there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext

from user_wsgi_wrapper.emperor_hook.turnstile import Turnstile

# A start takes a processor for some tens of milliseconds. A hundred that share two of them are all late together, and
# later than one after the other; so few begin while others are at it. Who takes longer than usual holds up nobody.
_AT_ONCE = 2 * len(os.sched_getaffinity(0))
_USUAL = 0.3  # seconds
PATIENCE = 60.0  # seconds that a turn may be away; at the worst it is the pool's size over _AT_ONCE times _USUAL
# Sites that never come up keep their warm-ups for a minute, though nobody waits for them: hundreds may hang.
WARMUPS_A_THREAD = 8


class Warmups:
    """Runs `warm(domain)` in a bounded pool of threads; who asks while one runs joins it."""

    def __init__(self, warm: Callable[[str], None], workers: int, *, in_turn: bool = True) -> None:
        """Not `in_turn` if somebody else sees to it that few begin at a time."""
        self._warm = warm
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="warm-up")
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}
        self._starting = Turnstile(_AT_ONCE) if in_turn else None

    def join(self, domain: str) -> Future[None]:
        """The warm-up of `domain` that runs now, begun if there is none. Its result is None or its error."""
        with self._lock:
            future = self._running.get(domain)
            if future is None:
                future = self._running[domain] = self._pool.submit(self._run, domain)
            return future

    def _run(self, domain: str) -> None:
        try:
            with self._starting.turn(PATIENCE, at_most=_USUAL) if self._starting else nullcontext():
                self._warm(domain)
        finally:
            with self._lock:
                del self._running[domain]

    def close(self) -> None:
        """Begin no more; those that run go on to their end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
