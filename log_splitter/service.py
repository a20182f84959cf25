"""The loop: read, sort in, hand over to the writer, do what signals ask for."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from log_splitter.batch import Batch
from log_splitter.counters import STALLED, Counters
from log_splitter.errors import BadValueError
from log_splitter.sources import Source
from log_splitter.splitter import Splitter
from log_splitter.writer import Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from log_splitter.known import Known

_MUCH = 4 << 20  # bytes that a batch has grown by until it is looked at for keys with many lines
_PER_KEY = 8 << 10  # bytes for each key that make a write worth its while
_SOME = 16 << 10  # a block smaller than that says that lines are trickling in
_TICK = 1.0  # seconds between two looks at `known`
_LONGEST_PAUSE = 10.0  # seconds that SIGUSR2 stops writing for
_DRAIN = 1.0  # seconds for what is in the pipe when we are told to end
_GLANCE = 0.01  # seconds between two looks at the writer when it lags
_BREATH = 0.2  # seconds that reading waits for writing
_GRACE = 2.0  # seconds for writes that haven't returned, at the end
_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


class Pace:
    """`flush_interval`: seconds from a line's arrival until it can be read. `memory`: bytes that a batch may take."""

    __slots__ = ("flush_interval", "memory")

    def __init__(self, flush_interval: float = 0.1, memory: int = 64 << 20) -> None:
        self.flush_interval = flush_interval
        self.memory = memory


class _Flush:
    """A batch that the writer is at: when its first line came, and how far the source was read."""

    __slots__ = ("mark", "started")

    def __init__(self, started: float | None, mark: object) -> None:
        self.started = started
        self.mark = mark


class Service:
    """Runs until the source ends or SIGTERM comes.

    SIGHUP: open every log anew. SIGUSR1: report. SIGUSR2: write nothing for ten seconds, or until SIGHUP.
    `say` takes a one-line message, `report` is called for the counters, `every_second` about that often.
    """

    def __init__(
        self,
        source: Source,
        batch: Batch,
        splitter: Splitter,
        writer: Writer,
        counters: Counters,
        pace: Pace,
        known: Known | None,
        say: Callable[[str], None],
        report: Callable[[], None],
        every_second: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._batch = batch
        self._splitter = splitter
        self._writer = writer
        self._counters = counters
        self._pace = pace
        self._known = known
        self._say = say
        self._report = report
        self._every_second = every_second
        self._asked: set[int] = set()
        self._paused_until = 0.0
        self._next_tick = 0.0
        self._due = 0.7 * pace.flush_interval  # the rest is for the writing
        self._nap = min(0.1 * pace.flush_interval, source.nap)
        self._under_way: _Flush | None = None
        self._look_at = _MUCH

    def run(self) -> None:
        """Read to the end, or until told to end; everything that was read is written then. Raises OSError."""
        wake, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        heard = signal.set_wakeup_fd(ring, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            self._read_all(wake)
            self._finish()
        finally:
            signal.set_wakeup_fd(heard)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(wake)
            os.close(ring)

    def _ask(self, number: int, frame: object) -> None:
        self._asked.add(number)

    # -- reading

    def _read_all(self, wake: int) -> None:
        batch, read = self._batch, self._source.read
        while True:
            block = read(self._patience(), wake)
            if block is None:
                return
            now = time.monotonic()
            if block:
                batch.feed(block, now)
            if self._asked and self._obey(wake):
                self._drain(wake)
                return
            if now >= self._next_tick:
                self._tick(now)
            if self._under_way is not None:
                self._look_after(0.0)
            if self._is_due(now):
                self._flush()
            elif batch.size >= self._look_at:
                self._flush_largest()
            elif block and len(block) < _SOME and self._nap:
                # let some more come, rather than wake for every line
                select.select([wake], [], [], self._nap)

    def _patience(self) -> float:
        now = time.monotonic()
        until = self._next_tick
        if self._batch.started is not None:
            until = min(until, max(self._batch.started + self._due, self._paused_until))
        if self._under_way is not None:  # whatever is due has to wait for it
            until = min(self._next_tick, now + _GLANCE)
        return max(0.0, until - now)

    def _is_due(self, now: float) -> bool:
        """Whether to write: lines have waited long enough, or there are so many that it is worth the calls."""
        batch = self._batch
        if batch.started is None:
            return False
        if now < self._paused_until:
            return batch.memory > self._pace.memory
        if now - batch.started >= self._due:
            return True
        worth_it = batch.size >= max(self._source.portion, _PER_KEY * len(batch.groups))
        return worth_it or batch.memory > self._pace.memory

    def _drain(self, wake: int) -> None:
        """Read what is there, and from a pipe what its writers still have to say."""
        if self._source.resumes:
            return
        began = time.monotonic()
        while (now := time.monotonic()) - began < max(_DRAIN, self._source.linger):
            left = self._source.linger - (now - began)
            block = self._source.read(max(0.0, min(left, self._due)), wake)
            if block is None or (not block and left <= 0) or self._asked:
                return
            if block:
                self._batch.feed(block, time.monotonic())
            self._look_after(0.0)
            if self._is_due(time.monotonic()):
                self._flush()

    # -- writing

    def _flush(self) -> None:
        """Hand the batch to the writer, unless that is busy and there is still room to read on."""
        if self._under_way is not None and self._batch.memory <= self._pace.memory:
            return
        self._await_writer()
        if (
            self._under_way is not None
        ):  # one disk for all of them, and it hangs: better lose lines than block servers
            self._counters.drop(STALLED, sum(map(len, self._batch.take().values())))
            return
        self._look_at = _MUCH
        mark = self._source.mark(self._batch.unfinished)
        self._under_way = _Flush(self._batch.started, mark)
        self._writer.submit(self._batch.take())
        self._look_after(self._source.breath)

    def _flush_largest(self) -> None:
        if self._under_way is None and time.monotonic() >= self._paused_until:
            self._under_way = _Flush(None, None)
            self._writer.submit(self._batch.take_largest())
            self._look_after(self._source.breath)
        self._look_at = self._batch.size + _MUCH

    def _look_after(self, seconds: float) -> None:
        """Note that the batch under way is written, if it is within that time."""
        flush = self._under_way
        if flush is None or not self._writer.wait(seconds):
            return
        self._under_way = None
        self._counters.flushes += 1
        if flush.started is not None:
            lag = time.monotonic() - flush.started
            self._counters.longest_lag = max(self._counters.longest_lag, lag)
        if not self._writer.stuck_lines:  # else a kill would lose what is held
            try:
                self._source.save(flush.mark)
            except OSError as error:
                self._say(f"the checkpoint could not be written: {error}")

    def _finish(self) -> None:
        if not self._source.resumes:
            self._batch.finish()
        self._flush_rest()
        self._splitter.is_ending = True
        self._writer.close(_GRACE)
        self._splitter.close()

    def _flush_rest(self) -> None:
        self._await_writer()
        self._flush()
        self._await_writer()

    def _await_writer(self) -> None:
        """Wait for the batch under way, unless that is hopeless."""
        while self._under_way is not None and not self._writer.is_overwhelmed:
            self._look_after(_BREATH)

    # -- what is asked of it

    def _obey(self, wake: int) -> bool:
        """Do what signals asked for; whether one of them asked to end."""
        with suppress(BlockingIOError):
            os.read(wake, 4096)
        asked, self._asked = self._asked, set()
        if signal.SIGUSR2 in asked:
            self._flush_rest()
            self._paused_until = time.monotonic() + _LONGEST_PAUSE
        if signal.SIGHUP in asked:
            self._paused_until = 0.0
            self._await_writer()
            if self._under_way is None:
                self._writer.reopen()  # what was read goes to the new files
        if signal.SIGUSR1 in asked:
            self._report()
        return bool({signal.SIGTERM, signal.SIGINT} & asked)

    def _tick(self, now: float) -> None:
        self._next_tick = now + _TICK
        if self._every_second is not None:
            self._every_second()
        if (self._writer.stuck_lines or self._splitter.has_news) and self._under_way is None:
            self._flush()
        if self._known is None:
            return
        try:
            if self._known.refresh():
                self._flush_rest()
                self._splitter.known = self._known.keys
                self._splitter.forget()
        except (OSError, BadValueError) as error:
            self._say(f"{error}: the keys known before stay")
