"""Lines from a file that is written to: what is there, what is added, through rotation, and from where we stopped."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from log_splitter import checkpoint
from log_splitter.checkpoint import HEAD, Place
from log_splitter.sources import BLOCK, MUCH, Source

_LOOK_AGAIN = 0.02  # seconds
_QUIET = 1.0  # seconds without a line, until the writer is believed to be at the new file
_LATE = 600.0  # seconds that a rotated file is looked at: Apache's graceful restart lets old workers end in peace
_SAVE = 0.05  # seconds between two checkpoints


class Followed(Source):
    """A file that is followed; a Source. `say` takes a one-line message.

    Raises OSError or BadValueError if the checkpoint can't be read.
    """

    nap = 0.02
    portion = MUCH

    def __init__(self, path: str | Path, saved: str | Path, say: Callable[[str], None]) -> None:
        self.path = Path(path)
        self._saved = Path(saved)
        self._say = say
        self._descriptor = -1
        self._place = Place(0, 0, b"", 0)
        self._ahead: list[tuple[Path, int]] = []
        self._ends_line = True
        self._quiet_since = 0.0
        self._mark: Place | None = None
        self._saved_at = 0.0
        self._late: _Late | None = None
        place = checkpoint.load(self._saved)
        if place is not None:
            self._ahead = checkpoint.files_from(self.path, place)
            if not self._ahead:
                say(f"{path}: the file of the checkpoint is gone; what was not read of it is missing")
            if place.late is not None:
                self._find_late(place.late)

    # -- Source

    @property
    def resumes(self) -> bool:
        """What isn't finished is read again by the next of us."""
        return True

    @property
    def behind(self) -> int:
        """Bytes that are there and not yet read."""
        if self._descriptor < 0:
            return 0
        return max(0, os.fstat(self._descriptor).st_size - self._place.offset)

    def read(self, seconds: float, wake: int) -> bytes | None:
        """As Source says; never the end. Raises OSError."""
        block = self._read_some()
        if block:
            return block
        select.select([wake], [], [], min(seconds, _LOOK_AGAIN))
        return b""

    def mark(self, unfinished: int) -> object:
        """The place of the first byte that isn't in a finished line."""
        return self._here(unfinished)

    def _here(self, unfinished: int = 0) -> Place:
        place = self._place
        late = self._late.place if self._late is not None else None
        return Place(place.device, place.inode, place.head, max(0, place.offset - unfinished), late)

    def save(self, mark: object) -> None:
        """Keep a mark in the checkpoint. Raises OSError."""
        if isinstance(mark, Place) and mark.inode:
            self._mark = mark
            if time.monotonic() - self._saved_at > _SAVE:
                self._write()

    def close(self) -> None:
        """Keep the last mark. Raises OSError."""
        self._write()
        for descriptor in (self._descriptor, self._late.descriptor if self._late else -1):
            if descriptor >= 0:
                os.close(descriptor)

    def _write(self) -> None:
        if self._mark is not None:
            checkpoint.save(self._saved, self._mark)
            self._saved_at = time.monotonic()
            self._mark = None

    # -- the files

    def _read_some(self) -> bytes:
        if self._descriptor < 0 and not self._open_next():
            return b""
        block = os.read(self._descriptor, BLOCK)
        place = self._place
        if block and place.offset and self._was_rewritten():
            os.lseek(self._descriptor, place.offset, os.SEEK_SET)
            block = b""
        if block:
            self._quiet_since = 0.0
            head = place.head if len(place.head) >= HEAD else os.pread(self._descriptor, HEAD, 0)
            self._place = Place(place.device, place.inode, head, place.offset + len(block))
            self._ends_line = block.endswith(b"\n")
            return block
        return self._read_late() or self._turn()

    def _was_rewritten(self) -> bool:
        """Whether what was read isn't there any more: the file was truncated, and perhaps written to again."""
        head = self._place.head
        return os.pread(self._descriptor, len(head), 0) != head

    def _turn(self) -> bytes:
        """At the end of a file: go on to the next one, if there is one."""
        here = os.fstat(self._descriptor)
        truncated = here.st_size < self._place.offset or self._was_rewritten()
        # on the last way to the new file: only when something was written there, or the checkpoint would be lost
        if not truncated and len(self._ahead) <= 1 and not self._has_successor(here):
            return b""
        if not truncated and not self._ahead and not self._is_quiet():
            return b""
        if not self._ends_line:  # its writer is gone: nothing of the next file belongs to that line
            self._ends_line = True
            return b"\n"
        if not self._ahead:
            self._ahead = checkpoint.files_from(self.path, self._here())
            if truncated and not self._ahead:
                self._ahead = [(self.path, 0)]
            self._drop_what_was_read(truncated)
        self._keep_late(truncated)
        self._open_next()
        return b""

    def _drop_what_was_read(self, truncated: bool) -> None:
        if not truncated and self._ahead:
            del self._ahead[0]
        if not self._ahead:
            self._ahead = [(self.path, 0)]

    def _has_successor(self, here: os.stat_result) -> bool:
        """Whether another file has taken its name, and something was written to that."""
        try:
            there = self.path.stat()
        except OSError:
            return False
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) and there.st_size > 0

    def _is_quiet(self) -> bool:
        now = time.monotonic()
        if not self._quiet_since:
            self._quiet_since = now
        return now - self._quiet_since >= _QUIET

    def _open_next(self) -> bool:
        path, offset = self._ahead.pop(0) if self._ahead else (self.path, 0)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            os.close(descriptor)
            self._say(f"{path}: not a regular file")
            return False
        os.lseek(descriptor, offset, os.SEEK_SET)
        self._descriptor = descriptor
        head = os.pread(descriptor, HEAD, 0) if offset else b""
        self._place = Place(info.st_dev, info.st_ino, head, offset)
        self._quiet_since = 0.0
        self._ends_line = True
        return True

    # -- what comes late

    def _keep_late(self, truncated: bool) -> None:
        if self._late is not None:
            os.close(self._late.descriptor)
            self._late = None
        if truncated:
            os.close(self._descriptor)
        else:
            self._late = _Late(self._descriptor, self._place)
        self._descriptor = -1

    def _find_late(self, place: Place) -> None:
        """Go on with the file before, which may have got lines while we were away."""
        path = checkpoint.rotated(self.path, place)
        if path is None:
            return
        with suppress(FileNotFoundError):  # rotated once more, or away
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            os.lseek(descriptor, place.offset, os.SEEK_SET)
            self._late = _Late(descriptor, place)

    def _read_late(self) -> bytes:
        """Whole lines that were added to the file before this one."""
        if self._late is None or not self._ends_line:
            return b""
        block = self._late.read()
        if not block and self._late.is_over:
            os.close(self._late.descriptor)
            self._late = None
        return block


class _Late:
    """The file before the one that is read, as long as somebody may still write to it."""

    __slots__ = ("_until", "descriptor", "place")

    def __init__(self, descriptor: int, place: Place) -> None:
        self.descriptor = descriptor
        self.place = Place(place.device, place.inode, place.head, os.lseek(descriptor, 0, os.SEEK_CUR))
        self._until = time.monotonic() + _LATE

    @property
    def is_over(self) -> bool:
        return time.monotonic() > self._until

    def read(self) -> bytes:
        """Whole lines. Raises OSError."""
        place = self.place
        block = os.pread(self.descriptor, BLOCK, place.offset)
        whole = block.rfind(b"\n") + 1
        self.place = Place(place.device, place.inode, place.head, place.offset + whole)
        return block[:whole]
