"""A log's lines as they come, as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import tail
from user_wsgi_wrapper.emperor_hook.deploys import harmless
from user_wsgi_wrapper.web.log_file import lines_within

LINES = 200  # shown at the beginning
AT_FIRST = 1 << 20  # bytes that these may be together
OF_A_TOKEN = 6  # at a time
_LONGEST = 15 * 60.0  # seconds; the browser connects again
_BEAT = 10.0  # seconds of silence after which a comment shows whether the reader is still there
_LOOK_AGAIN = 0.5  # seconds between two looks whether the reader is still logged in
_WIDEST = 4000  # bytes of a line
_BATCH = 500  # lines of one event
_AHEAD = 2000  # lines that wait for a slow reader, while the log's reader waits


class TooManyError(Exception):
    """So many live tails are open that no more can be."""


class LiveTails:
    """Bounds how many there are: `most` of all, OF_A_TOKEN of one token."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()

    def start(self, owner: str, path: Path, is_allowed: Callable[[], bool]) -> Iterator[bytes]:
        """The events, until `is_allowed` says no. Raises TooManyError, before anything is opened."""
        with self._lock:
            if self._open.total() >= self._most or self._open[owner] >= OF_A_TOKEN:
                raise TooManyError
            self._open[owner] += 1
        return _Events(_events(path, is_allowed), lambda: self._end(owner))

    def _end(self, owner: str) -> None:
        with self._lock:
            self._open[owner] -= 1
            self._open += Counter()  # forgets who has none


class _Events(Iterator[bytes]):
    """The events with a close() that PEP 3333 promises to call, also if none was ever asked for."""

    def __init__(self, events: Iterator[bytes], end: Callable[[], None]) -> None:
        self._events = events
        self._end = end
        self._is_open = True

    def __next__(self) -> bytes:
        return next(self._events)

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._events.close()  # type: ignore[attr-defined]
            self._end()


def _events(path: Path, is_allowed: Callable[[], bool]) -> Iterator[bytes]:
    ended = threading.Event()
    lines: queue.Queue[str] = queue.Queue(_AHEAD)
    pump = threading.Thread(target=_pump, args=(path, lines, ended), daemon=True, name="live tail")
    pump.start()
    began = beat = time.monotonic()
    try:
        yield b"retry: 2000\nevent: begin\ndata:\n\n"
        while is_allowed() and time.monotonic() - began < _LONGEST:
            batch = _take(lines)
            if batch:
                yield "".join(f"data: {line}\n" for line in batch).encode() + b"\n"
            elif not pump.is_alive():
                yield b"event: gone\ndata:\n\n"
                return
            elif time.monotonic() - beat < _BEAT:
                continue
            else:
                yield b":\n\n"
            beat = time.monotonic()
        if not is_allowed():
            yield b"event: over\ndata:\n\n"
    finally:
        ended.set()


def _pump(path: Path, lines: queue.Queue[str], ended: threading.Event) -> None:
    with contextlib.suppress(OSError):
        first = lines_within(path, LINES, AT_FIRST)
        for line in tail.follow(path, first, lambda _: True, ended.is_set):
            text = shown(line)
            while not ended.is_set():
                with contextlib.suppress(queue.Full):
                    lines.put(text, timeout=_LOOK_AGAIN)
                    break


def _take(lines: queue.Queue[str]) -> list[str]:
    batch: list[str] = []
    with contextlib.suppress(queue.Empty):
        batch.append(lines.get(timeout=_LOOK_AGAIN))
        while len(batch) < _BATCH:
            batch.append(lines.get_nowait())
    return batch


def shown(line: bytes) -> str:
    """A line as a page shows it: on one line, without what steers anything, cut where it is too wide."""
    whole = line.rstrip(b"\r\n")
    text = harmless(whole[:_WIDEST].decode(errors="backslashreplace")).replace("\n", "\\n")
    return text if len(whole) <= _WIDEST else f"{text} … ({len(whole) - _WIDEST} bytes more)"
