"""A rate with a burst: so much a second in the long run, and some at once after a calm."""

from __future__ import annotations

import time
from collections.abc import Callable


class TokenBucket:
    """Fills by `rate` tokens a second up to `burst`, which it starts with. For one thread, or under a lock."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._filled_at = burst, clock()

    def take(self) -> bool:
        """Whether there was a token, which is gone now."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
