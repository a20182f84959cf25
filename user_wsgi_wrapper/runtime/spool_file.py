"""One file of a spool: lines read from its start to its growing end, never twice, whoever writes and whoever reads.

What was read is overwritten with zeros, so that whoever goes on with a dead process's file knows where to begin.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time

from user_wsgi_wrapper.runtime.error_log import identity

CHUNK = 1 << 20  # bytes read at once, and room for a line that doesn't end
PATIENCE = 1.0  # seconds until a line that isn't finished is written as it is


class SpoolFile:
    """The file at `path`; with `adopted` a dead process's, whose first bytes may have been read.

    Before anything is done by its descriptor, that is looked at: the tenant's code may have closed it, as daemons
    close all, and the number may belong to one of his files by now.
    """

    def __init__(self, path: str, adopted: bool = False) -> None:
        self.is_adopted = adopted
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._identity = identity(self._fd)
        self._position = 0
        self._punched = 0
        self._size = 0
        self._since = 0.0
        if adopted:
            try:
                self._position = self._punched = os.lseek(self._fd, 0, os.SEEK_DATA) & -mmap.PAGESIZE
            except OSError:
                pass  # nothing but a hole, or nothing at all

    def peek(self, rest: bool = False) -> bytes:
        """The whole lines behind the position, at most CHUNK bytes; with `rest` an unfinished one too."""
        size = self._measure()
        if size == self._position:
            return b""
        data = self._read()
        if not data:
            return b""
        end = data.rfind(b"\n") + 1
        if end or rest or len(data) == CHUNK:
            return data[: end or len(data)]
        now = time.monotonic()
        if size != self._size:
            self._size, self._since = size, now
        return data if now - self._since >= PATIENCE else b""

    def consume(self, count: int) -> None:
        """Go on behind bytes that are in the log; their room on the disk is given back a CHUNK at a time."""
        os.pwrite(self._fd, bytes(count), self._position)
        self._position += count
        end = self._position & -mmap.PAGESIZE
        if end - self._punched >= CHUNK:
            try:
                with mmap.mmap(self._fd, end - self._punched, offset=self._punched) as pages:
                    pages.madvise(mmap.MADV_REMOVE)
            except (OSError, ValueError):
                pass  # this file system can't; or the file was cut off
            self._punched = end

    def shed(self, most: int) -> int:
        """Drop everything that waits, if it is more than `most` bytes; gives how much."""
        behind = self._measure() - self._position
        if behind <= most:
            return 0
        os.ftruncate(self._fd, 0)
        self._position = self._punched = self._size = 0
        return behind

    def has_no_writer(self) -> bool:
        """Whether every process that inherited the descriptor is gone."""
        try:
            self._measure()
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def remove(self) -> None:
        """Delete and close it."""
        try:
            os.unlink(self._path)
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        """Close it, if the descriptor is still its own."""
        close_own(self._fd, self._identity)

    def _measure(self) -> int:
        """Its size in bytes. Raises OSError if there is no way to it any more."""
        for _ in range(2):
            try:
                found = os.fstat(self._fd)
                if (found.st_dev, found.st_ino) == self._identity:
                    return found.st_size
            except OSError:
                pass
            self._fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        raise FileNotFoundError(self._path)

    def _read(self) -> bytes:
        if self._position and os.pread(self._fd, 1, self._position - 1) != b"\0":
            # Somebody opened /dev/stderr to write, which cuts a file off: what is there now is all new.
            self._position = self._punched = 0
        data = os.pread(self._fd, CHUNK, self._position)
        while self.is_adopted and data[:1] == b"\0":
            self._position += len(data) - len(data.lstrip(b"\0"))
            data = os.pread(self._fd, CHUNK, self._position)
        return data


def close_own(fd: int, known: tuple[int, int] | None) -> None:
    """Close a descriptor, unless it is another file's by now."""
    if fd >= 0 and identity(fd) == known:
        os.close(fd)
