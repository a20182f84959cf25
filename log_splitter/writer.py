"""A thread that writes batches, and another in its place when a file system keeps it waiting.

write(2) to a regular file can't be told not to wait: on a disk or a server that hangs it doesn't return. So whoever
reads never writes. When one write has lasted for `patience` seconds, its log is set aside with the thread that
waits for it, and a new thread goes on with the next log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from queue import SimpleQueue

from log_splitter.batch import Groups
from log_splitter.counters import STALLED, Counters
from log_splitter.log_file import Outcome
from log_splitter.splitter import Splitter
from log_splitter.target import Target, Write

_MAX_WAITING = 32  # threads that wait for their file systems
_LOOK = 0.05  # seconds between two looks at how a write gets on


class Writer:
    """Writes one batch at a time. All methods are for one thread, the one that reads.

    `say` takes a one-line message, `patience` is in seconds. One that `is_patient` needs no threads: its source waits
    as long as need be.
    """

    def __init__(
        self,
        splitter: Splitter,
        counters: Counters,
        say: Callable[[str], None],
        patience: float,
        is_patient: bool = False,
    ) -> None:
        self._splitter = splitter
        self._counters = counters
        self._say = say
        self._patience = patience
        self._jobs: SimpleQueue[Callable[[int], None] | None] = SimpleQueue()
        self._idle = threading.Lock()  # held while a job is under way
        self._turn = threading.Lock()  # guards what says whose turn it is: _ticket, _current and _returned
        self._ticket = 0  # the thread at work
        self._steps = 0  # writes begun
        self._current: tuple[Target, list[bytes]] | None = None  # the write that may not return
        self._writes: Iterator[Write] = iter(())
        self._strays: list[bytes] = []  # lines that turned out to be the catch-all's
        self._returned: list[tuple[Target, list[bytes], int | Outcome]] = []
        self._stuck: dict[Target, list[bytes]] = {}  # writes that threads set aside wait for
        self._seen = (0, 0.0)  # the step last seen, and since when
        self._is_patient = is_patient
        if not is_patient:
            self._start()

    # -- the thread that reads

    def submit(self, groups: Groups) -> None:
        """Begin to write a batch. Waits for the one before."""
        self._begin(lambda ticket: self._write_all(groups, ticket))

    def reopen(self) -> None:
        """Have every log opened anew."""
        self._begin(lambda ticket: self._splitter.reopen())

    def wait(self, seconds: float) -> bool:
        """Whether no batch is under way, after that time at most."""
        if self._is_patient:
            return True
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            if self._idle.acquire(timeout=min(left, _LOOK)):
                self._idle.release()
                return True
            self._watch()
            if not left:
                return False

    @property
    def is_overwhelmed(self) -> bool:
        """Whether as many writes as there may be threads for don't return, and another one doesn't either."""
        if len(self._stuck) < _MAX_WAITING:
            return False
        step, since = self._seen
        return step == self._steps and self._idle.locked() and time.monotonic() - since > self._patience

    @property
    def stuck_lines(self) -> int:
        """Lines of writes that haven't returned and were left to themselves."""
        return sum(map(len, self._stuck.values()))

    def close(self, seconds: float) -> None:
        """End, with that much time for writes that haven't returned; what is held then is counted as dropped."""
        if self.is_overwhelmed:
            current = self._current
            left = sum(len(texts) for _, _, texts in self._writes)
            self._counters.drop(STALLED, self.stuck_lines + left + (len(current[1]) if current else 0))
            self._splitter.held.give_up()
            return
        deadline = time.monotonic() + seconds
        self.submit({})
        while not self.wait(_LOOK) or (self._stuck and time.monotonic() < deadline):
            if self.wait(0):
                time.sleep(_LOOK)
                self.submit({})
        self._counters.drop(STALLED, self.stuck_lines)
        self._splitter.held.give_up()
        self._jobs.put(None)

    def _begin(self, job: Callable[[int], None]) -> None:
        if self._is_patient:
            job(self._ticket)
            return
        while not self._idle.acquire(timeout=_LOOK):
            self._watch()
        self._seen = (self._steps, time.monotonic())
        self._jobs.put(job)

    def _start(self) -> None:
        threading.Thread(target=self._work, args=(self._ticket,), daemon=True).start()

    def _watch(self) -> None:
        """Set aside the write under way if it has lasted too long, and have a new thread go on."""
        now = time.monotonic()
        with self._turn:
            step, since = self._seen
            if step != self._steps:
                self._seen = (self._steps, now)
                return
            if self._current is None or now - since < self._patience or len(self._stuck) >= _MAX_WAITING:
                return
            target, texts = self._current
            self._current = None
            target.stuck = True
            self._stuck[target] = texts
            self._ticket += 1
        self._counters.stalls += 1
        self._splitter.held.add(target, [])
        self._say(f"log of {target}: a write has taken {self._patience:g} s and is left to itself")
        self._start()
        self._jobs.put(self._go_on)

    # -- the thread that writes

    def _work(self, ticket: int) -> None:
        while (job := self._jobs.get()) is not None:
            job(ticket)
            if self._ticket != ticket:
                return
            self._idle.release()

    def _write_all(self, groups: Groups, ticket: int) -> None:
        self._writes = chain(self._come_back(), self._splitter.deal(groups), self._splitter.news())
        self._go_on(ticket)

    def _come_back(self) -> list[Write]:
        """What was held for logs whose writes have returned."""
        with self._turn:
            returned, self._returned = self._returned, []
        writes: list[Write] = []
        for target, texts, outcome in returned:
            del self._stuck[target]
            target.stuck = False
            self._strays += self._splitter.settle(target, texts, outcome)
            held = self._splitter.held.release(target)
            if held:
                writes.append((target, None, held))
        return writes

    def _go_on(self, ticket: int) -> None:
        if not self._write_each(ticket):
            return
        while self._strays:
            strays, self._strays = self._strays, []
            self._writes = iter([(self._splitter.catch_all, None, strays)])
            if not self._write_each(ticket):
                return

    def _write_each(self, ticket: int) -> bool:
        """Write what is left to be written; whether it is still this thread's turn then."""
        splitter = self._splitter
        deliver = splitter.deliver if self._is_patient else partial(self._deliver_watched, ticket)
        count = splitter.count
        now = time.monotonic()
        for known, raw, texts in self._writes:
            target = known if known is not None else splitter.target(raw or b"")
            if target.is_unknown and raw is not None:
                self._strays += splitter.whole(raw, texts)
                continue
            if target.stuck:
                splitter.held.add(target, texts)
                continue
            outcome = deliver(target, texts, now)
            if outcome.__class__ is int:
                count(target, texts, outcome)
                texts.clear()  # while they are in the processor's cache
            elif outcome is None:
                return False
            else:
                self._strays += splitter.settle(target, texts, outcome)
        return True

    def _deliver_watched(self, ticket: int, target: Target, texts: list[bytes], now: float) -> int | Outcome | None:
        """A write that may not return; None if it was another thread's turn when it did."""
        self._steps += 1
        self._current = target, texts
        outcome = self._splitter.deliver(target, texts, now)
        with self._turn:
            if self._ticket != ticket:
                self._returned.append((target, texts, outcome))
                return None
            self._current = None
        return outcome
