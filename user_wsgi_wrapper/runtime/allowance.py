"""How many bytes a second a log takes: a token bucket (RFC 2697's, of one rate), and a count of what it refused.

It bounds what a flood costs the disk that everybody's logs are on. What is refused is counted, and told of in one
line as soon as there is room again.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BURST = 40  # seconds' worth that may come at once after a quiet time


class Allowance:
    """`rate` is in bytes a second, of this process alone; `dropped` counts the bytes refused and not told of."""

    def __init__(self, rate: float, clock: Callable[[], float] = monotonic) -> None:
        self.dropped = 0
        self._rate = rate
        self._clock = clock
        self._left = rate * BURST
        self._filled_at = clock()

    def takes(self, size: int) -> bool:
        """Whether a record of `size` bytes may be written: one is never refused for its length alone.

        Once one was refused, all are until there is room for a second's worth, so that a flood shows up as a piece of
        it each second, whole, with one line before it.
        """
        if not self.has_room(size):
            return False
        self._left -= size
        return True

    def has_room(self, size: int) -> bool:
        """Whether it may, asked before it is rendered; one that may not is counted."""
        if self._has_room():
            return True
        self.dropped += size
        return False

    def excuse(self) -> str:
        """A line that says how much was refused since the last one, once there is room for it; else ""."""
        if not self.dropped or not self._has_room():
            return ""
        dropped, self.dropped = self.dropped, 0
        return f"{dropped} bytes were dropped before this line: they came faster than this log takes them (log-rate)"

    def _has_room(self) -> bool:
        now = self._clock()
        self._left = min(self._left + (now - self._filled_at) * self._rate, self._rate * BURST)
        self._filled_at = now
        return self._left >= self._rate if self.dropped else self._left > 0
