"""A log that lines may go to, and what is held for those whose writes don't return."""

from __future__ import annotations

from log_splitter.counters import STALLED, Counters
from log_splitter.log_file import LogFile

_MOST = 256 << 10  # bytes held for one log
_MOST_IN_ALL = 16 << 20
_LINE_COST = 100  # bytes of memory that a line takes besides its own

# A log, if known already; what stood for its key, None if that needs no second look; lines.
Write = tuple["Target | None", "bytes | None", list[bytes]]


class Target:
    """A log that lines may go to.

    `is_unknown` is the catch-all, `counts` whether its lines are visitors'. While it is `stuck`, a thread waits for
    its file system, and alone touches `log`.
    """

    __slots__ = ("counts", "held", "held_size", "is_unknown", "key", "log", "parts", "stuck")

    def __init__(self, key: bytes, parts: tuple[bytes, ...], is_unknown: bool = False, counts: bool = True) -> None:
        self.key = key
        self.parts = parts
        self.is_unknown = is_unknown
        self.counts = counts
        self.log: LogFile | None = None
        self.stuck = False
        self.held: list[bytes] | None = None
        self.held_size = 0

    def __str__(self) -> str:
        return "the catch-all" if self.is_unknown else self.key.decode()

    def close(self) -> int:
        """Close its log, if it is open; how many lines went to a file that was deleted since it was looked at."""
        log, self.log = self.log, None
        if log is None:
            return 0
        lost = log.since if log.since and log.is_unlinked() else 0
        log.close()
        return lost


class Held:
    """Lines for logs whose writes don't return, as many as there is room for; the others are counted as dropped."""

    def __init__(self, counters: Counters) -> None:
        self.targets: dict[Target, None] = {}
        self._size = 0
        self._counters = counters

    def add(self, target: Target, texts: list[bytes]) -> None:
        """Hold lines for a stuck log."""
        self.targets[target] = None
        size = sum(map(len, texts)) + _LINE_COST * len(texts)
        if target.held_size + size > _MOST or self._size + size > _MOST_IN_ALL:
            self._counters.drop(STALLED, len(texts))
            return
        target.held = [*(target.held or ()), *texts]
        target.held_size += size
        self._size += size

    def release(self, target: Target) -> list[bytes]:
        """The lines held for a log, which aren't any more."""
        texts, target.held = target.held or [], None
        self._size -= target.held_size
        target.held_size = 0
        self.targets.pop(target, None)
        return texts

    def give_up(self) -> None:
        """Count all that is held as dropped."""
        for target in list(self.targets):
            self._counters.drop(STALLED, len(self.release(target)))

    @property
    def lines(self) -> int:
        """How many there are."""
        return sum(len(target.held or ()) for target in self.targets)
