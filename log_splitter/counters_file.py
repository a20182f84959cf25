"""The counters in a file, for whoever watches this machine: always a whole one, a few seconds old."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False  # typing costs milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = 5.0  # seconds


class CountersFile:
    """Writes what `text` gives, one JSON object, to `path`, which should lie in memory: a disk may hang.

    What goes wrong is said, by `say`, and stops nothing.
    """

    def __init__(self, path: str, text: Callable[[], str], say: Callable[[str], None]) -> None:
        self._path = path
        self._text = text
        self._say = say
        self._next = 0.0
        self._written = ""

    def refresh(self, *, at_once: bool = False) -> None:
        """Write it, if it is time to and it has changed."""
        now = time.monotonic()
        if now < self._next and not at_once:
            return
        self._next = now + EVERY
        text = self._text()
        if text == self._written:
            return
        temporary = f"{self._path}.{os.getpid()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o644)
            try:
                os.write(descriptor, text.encode() + b"\n")
            finally:
                os.close(descriptor)
            os.replace(temporary, self._path)  # noqa: PTH105 - pathlib costs milliseconds
            self._written = text
        except OSError as error:
            self._say(f"the counters could not be written: {error}")
