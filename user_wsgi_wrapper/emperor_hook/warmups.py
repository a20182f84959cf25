"""One warm-up a domain, however many requests wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Warmups:
    """Runs `warm(domain)` in a bounded pool of threads; who asks while one runs joins it."""

    def __init__(self, warm: Callable[[str], None], workers: int) -> None:
        self._warm = warm
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="warm-up")
        self._lock = threading.Lock()
        self._running: dict[str, Future[None]] = {}

    def join(self, domain: str) -> Future[None]:
        """The warm-up of `domain` that runs now, begun if there is none. Its result is None or its error."""
        with self._lock:
            future = self._running.get(domain)
            if future is None:
                future = self._running[domain] = self._pool.submit(self._run, domain)
            return future

    def _run(self, domain: str) -> None:
        try:
            self._warm(domain)
        finally:
            with self._lock:
                del self._running[domain]

    def close(self) -> None:
        """Begin no more; those that run go on to their end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
