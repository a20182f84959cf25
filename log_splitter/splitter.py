"""Every key's own log, written through a bounded number of open files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from log_splitter.batch import Batch, Groups
from log_splitter.counters import MISSING, REFUSED, UNLINKED, Counters, cause_of
from log_splitter.log_file import Outcome, is_still, open_log
from log_splitter.placement import Placement
from log_splitter.target import Held, Target, Write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from log_splitter.hourly import Hourly

LOOK_AGAIN = 1.0  # seconds between two looks at whether a log was rotated
_MAX_RAW = 300  # bytes of a spelling that is worth remembering
_MAX_TARGETS = 32_768  # spellings remembered


class Splitter:
    """Deals lines out to logs below a folder.

    `deliver` is the one part that waits for the file system; all others are fast, and called by one thread at a time.
    `say` takes a one-line message.
    """

    def __init__(
        self,
        directory: str,
        placement: Placement,
        batch: Batch,
        counters: Counters,
        say: Callable[[str], None],
        max_open: int = 1024,
    ) -> None:
        self.root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.known: frozenset[bytes] | None = None
        self._placement = placement
        self._batch = batch
        self._counters = counters
        self._say = say
        self._max_open = max_open
        self.catch_all = Target(b"", placement.catch_all_parts, is_unknown=True)
        self._targets: dict[bytes, Target] = {}  # by spelling
        self._canonical: dict[bytes, Target] = {}  # by key
        self._open: dict[Target, None] = {}  # least recently used first
        self.held = Held(counters)
        self._is_crowded = False
        self.is_ending = False
        self.hourly: Hourly | None = None

    # -- whose a line is

    def target(self, raw: bytes) -> Target:
        """The log for what stood for a key."""
        found = self._targets.get(raw)
        if found is not None:
            return found
        if len(raw) > _MAX_RAW or raw.endswith(b"\n"):  # a line without a key
            return self.catch_all
        if len(self._targets) >= _MAX_TARGETS:
            self.forget()
        found = self._targets[raw] = self._find(self._batch.key(raw))
        return found

    def _find(self, key: bytes | None) -> Target:
        if key is None or (self.known is not None and key not in self.known):
            return self.catch_all
        target = self._canonical.get(key)
        if target is None:
            parts = self._placement.parts(key)
            if parts is None:
                return self.catch_all
            target = self._canonical[key] = Target(key, parts)
        return target

    def forget(self) -> None:
        """Ask anew for every spelling whose it is, since `known` has changed or too many are remembered."""
        self._targets.clear()
        self._canonical = {
            target.key: target for target in (*self._open, *self.held.targets) if not target.is_unknown
        }

    def deal(self, groups: Groups) -> Iterator[Write]:
        """A batch's lines, each group with the log it goes to, if that is remembered."""
        if self.hourly is not None:
            self.hourly.begin(sum(map(len, groups.values())))
        # C all the way: several threads may take from it, one after the other
        return zip(map(self._targets.get, groups), groups, groups.values())

    def whole(self, raw: bytes, texts: list[bytes]) -> list[bytes]:
        """The lines as they came in, for the catch-all."""
        return self._batch.whole(raw, texts)

    @property
    def has_news(self) -> bool:
        """Whether there is something to write though no line has come."""
        return self.hourly is not None and (self.is_ending or self.hourly.is_over)

    def news(self) -> Iterator[Write]:
        """The statistics of an hour that is over, or of what there is of it when we end."""
        if self.hourly is not None and self.has_news:
            for key, text in self.hourly.take():
                parts = self._placement.parts(key, b".hourly.json")
                if parts is not None:
                    yield Target(key, parts, counts=False), None, [text]

    # -- one log

    def deliver(self, target: Target, texts: list[bytes], now: float) -> int | Outcome:
        """Append lines to a log, which is opened first if it isn't or was rotated. May wait for the file system.

        Gives the bytes that were written if there is nothing else to tell.
        """
        log = target.log
        if log is None or now - log.looked > LOOK_AGAIN:
            return self._deliver_anew(target, texts, now)
        log.since += len(texts)
        return log.append(b"".join(texts))

    def _deliver_anew(self, target: Target, texts: list[bytes], now: float) -> Outcome:
        unlinked, had = 0, target.log is not None
        if target.log is not None:
            if is_still(target.log, self.root, target.parts):
                target.log.looked, target.log.since = now, 0
            else:
                unlinked = target.close()
        opened = target.log is None
        if target.log is None:
            try:
                target.log = open_log(self.root, target.parts, self._placement, now)
            except OSError as error:
                return Outcome(0, error, unlinked=unlinked)
        target.log.since += len(texts)
        done = target.log.append(b"".join(texts))
        kept, problem = (done, None) if isinstance(done, int) else (done.kept, done.error)
        return Outcome(kept, problem, opened, opened and had, unlinked)

    def settle(self, target: Target, texts: list[bytes], outcome: int | Outcome) -> list[bytes]:
        """Count an outcome and bound the open files. Lines that belong into the catch-all are given back."""
        if isinstance(outcome, int):
            self.count(target, texts, outcome)
            return []
        if not target.counts:
            if target.log is not None:
                target.log.close()
            if outcome.error is not None:
                self._say(f"statistics of {target}: {outcome.error.strerror or outcome.error}")
            return []
        self._open.pop(target, None)
        if target.log is not None:
            self._open[target] = None
        counters = self._counters
        if outcome.unlinked:
            counters.drop(UNLINKED, outcome.unlinked)
        counters.opened += outcome.opened
        counters.reopened += outcome.reopened
        if 4 * len(self._open) > 3 * self._max_open or self._is_crowded:
            self._evict()
        if outcome.error is not None:
            return self._settle_error(target, texts, outcome, outcome.error)
        self.count(target, texts, outcome.kept)
        return []

    def count(self, target: Target, texts: list[bytes], size: int) -> None:
        """Count lines that were written, `size` bytes of them."""
        counters = self._counters
        counters.writes += 1
        counters.written_lines += len(texts)
        counters.written_bytes += size
        if self._is_crowded:
            self._open[target] = self._open.pop(target, None)
        if target.is_unknown:
            counters.unknown_lines += len(texts)
        elif self.hourly is not None:
            self.hourly.add(target.key, texts)

    def _settle_error(self, target: Target, texts: list[bytes], outcome: Outcome, error: OSError) -> list[bytes]:
        written = b"".join(texts)[: outcome.kept].count(b"\n")
        if written:
            self.count(target, texts[:written], outcome.kept)
        lost = texts[written:]
        cause = cause_of(error)
        if cause == MISSING and not target.is_unknown and not self._placement.make_folders and target.log is None:
            return self._batch.whole(target.key, lost)  # no folder: not a tenant's, or no longer
        self._counters.drop(cause, len(lost))
        what = "something else lies in its place" if cause == REFUSED else cause
        self._say(f"log of {target}: {what}: {error.strerror or error}: {len(lost)} lines dropped")
        return []

    def _evict(self) -> None:
        # the order is kept only when it will be needed
        self._is_crowded = 4 * len(self._open) > 3 * self._max_open
        while len(self._open) > self._max_open:
            oldest = next(iter(self._open))
            del self._open[oldest]
            if not oldest.stuck:
                self._counters.drop(UNLINKED, oldest.close())
                self._counters.evicted += 1

    # -- all logs

    def reopen(self) -> None:
        """Close every log that isn't stuck, so that the next write opens it anew."""
        for target in list(self._open):
            if not target.stuck:
                self._counters.drop(UNLINKED, target.close())
                self._counters.reopened += 1
                del self._open[target]

    def fill_in(self) -> None:
        """Bring the counters of what is there now up to date."""
        self._counters.keys_open = len(self._open)
        self._counters.lines_held = self.held.lines

    def close(self) -> None:
        """Close everything that isn't stuck."""
        for target in self._open:
            if not target.stuck:
                self._counters.drop(UNLINKED, target.close())
        self._open.clear()
        os.close(self.root)
