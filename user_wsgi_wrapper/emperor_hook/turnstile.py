"""A bounded number of threads at once, and who came first goes first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Turnstile:
    """Lets `places` threads in at once. A place that is given back goes to who has waited longest.

    A semaphore gives it to whoever happens to ask, which is mostly the thread that has just left.
    """

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()
        self._free = places
        self._waiting: deque[threading.Lock] = deque()

    @contextmanager
    def turn(self, timeout: float, at_most: float | None = None) -> Iterator[None]:
        """Hold a place. Raises TimeoutError if none comes free within so many seconds.

        After `at_most` seconds the place goes to the next one, though its holder is still at work.
        """
        self._enter(timeout)
        leave = _Once(self._leave)
        early = None if at_most is None else threading.Timer(at_most, leave)
        if early is not None:
            early.daemon = True
            early.start()
        try:
            yield
        finally:
            if early is not None:
                early.cancel()
            leave()

    def _enter(self, timeout: float) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            gate = threading.Lock()
            gate.acquire()
            self._waiting.append(gate)
        if gate.acquire(timeout=timeout):
            return
        with self._lock:
            if gate in self._waiting:
                self._waiting.remove(gate)
                raise TimeoutError(f"no turn came within {timeout:g} s")
        # the place was given in the very moment in which the patience ended: it is ours

    def _leave(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class _Once:
    """A call that is made by whoever comes first, and by nobody else."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._calls = [call]

    def __call__(self) -> None:
        try:
            call = self._calls.pop()  # of several threads one gets it
        except IndexError:
            return
        call()
