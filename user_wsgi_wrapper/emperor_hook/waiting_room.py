"""Where requests wait for their sites to start, each holding one of initialize's threads.

A site that starts in the usual time holds its visitors' threads for that long only. One that doesn't, because it
hangs or because somebody means harm, could hold them all, and no other site would wake. So those who wait for slow
sites have no more than half of the threads: over that, who has waited longest for the site that most wait for goes
without. A crowd of sites that are slow together, because the machine is, is left alone: few wait for each of them,
and they come up.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for

_REMEMBERED = 10_000  # slow sites


class WaitingRoom:
    """Waits for warm-ups on behalf of requests, of which `threads` can wait at once.

    A site is slow once somebody has waited `usual` seconds for it, until it comes up; hopeless, if it didn't.
    """

    def __init__(self, threads: int, usual: float) -> None:
        self._most = max(1, threads // 2)
        self._share = max(1, threads // 16)  # that a site's visitors may keep, unless it is hopeless
        self._usual = usual
        self._lock = threading.Lock()
        self._slow: OrderedDict[str, bool] = OrderedDict()  # whether it is hopeless
        self._seats: dict[str, deque[Future[None]]] = {}  # a seat is done when its request has to go
        self._taken = 0

    def wait(self, domain: str, warmup: Future[None], patience: float) -> bool:
        """Whether the warm-up of `domain` was done before the patience ended or the thread was needed for others."""
        give_up_at = time.monotonic() + patience
        if domain in self._slow or warmup not in wait_for([warmup], min(self._usual, patience)).done:
            self._wait_for_a_slow_one(domain, warmup, give_up_at)
        if not warmup.done():
            return False
        with self._lock:
            if warmup.exception() is None:
                self._slow.pop(domain, None)
            elif domain in self._slow:
                self._slow[domain] = True
        return True

    def _wait_for_a_slow_one(self, domain: str, warmup: Future[None], give_up_at: float) -> None:
        seat: Future[None] = Future()
        with self._lock:
            self._slow.setdefault(domain, False)
            if len(self._slow) > _REMEMBERED:
                self._slow.popitem(last=False)
            self._seats.setdefault(domain, deque()).append(seat)
            self._taken += 1
            while self._taken > self._most and self._send_one_away():
                pass
        wait_for([warmup, seat], max(give_up_at - time.monotonic(), 0), FIRST_COMPLETED)
        with self._lock:
            if not seat.done():
                self._clear(domain, seat)

    def _send_one_away(self) -> bool:
        candidates = [one for one in self._seats if len(self._seats[one]) > self._share or self._slow.get(one)]
        if not candidates:
            return False
        domain = max(candidates, key=lambda one: len(self._seats[one]))
        seat = self._seats[domain][0]
        self._clear(domain, seat)
        seat.set_result(None)
        return True

    def _clear(self, domain: str, seat: Future[None]) -> None:
        self._seats[domain].remove(seat)
        if not self._seats[domain]:
            del self._seats[domain]
        self._taken -= 1
