"""One log that is written to: opened so that nothing planted in its place is followed, appended to in whole lines."""

from __future__ import annotations

import errno
import os
import stat

from log_splitter.placement import Placement

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: neither a FIFO without a reader nor somebody's lease (fcntl(2)) may hold us up
_LOG = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def bare(error: OSError) -> OSError:
    """An error without its traceback: that leads to frames which hold the error, a cycle never collected here."""
    error.__context__ = None
    return error.with_traceback(None)


class Outcome:
    """What became of a write that was more than an append to an open log, or less.

    `kept` is in bytes of whole lines, as half a line was taken back; `unlinked` are lines of earlier writes that are
    gone with a deleted file.
    """

    __slots__ = ("error", "kept", "opened", "reopened", "unlinked")

    def __init__(
        self,
        kept: int,
        error: OSError | None = None,
        opened: bool = False,
        reopened: bool = False,
        unlinked: int = 0,
    ) -> None:
        self.kept = kept
        self.error = bare(error) if error is not None else None
        self.opened = opened
        self.reopened = reopened
        self.unlinked = unlinked


class LogFile:
    """An open log. Only one thread uses it at a time.

    `looked` is when it was last seen to be the file of its name (seconds, monotonic), `since` the lines appended
    from then on.
    """

    __slots__ = ("descriptor", "identity", "looked", "since", "torn")

    def __init__(self, descriptor: int, info: os.stat_result, now: float) -> None:
        self.descriptor = descriptor
        self.identity = (info.st_dev, info.st_ino)
        self.looked = now
        self.since = 0
        self.torn = False

    def append(self, data: bytes) -> int | Outcome:
        """Append whole lines; how many bytes. An Outcome says what kept some of them from it."""
        if self.torn:
            data = b"\n" + data
        try:
            written = os.write(self.descriptor, data)
        except OSError as error:
            return Outcome(0, error)
        if written == len(data) and not self.torn:
            return written
        self.torn = False
        return self._append_rest(data, written)

    def _append_rest(self, data: bytes, written: int) -> int | Outcome:
        try:
            while written < len(data):
                written += os.write(self.descriptor, data[written:])
        except OSError as error:
            whole = data.rfind(b"\n", 0, written) + 1
            if whole < written:
                self._take_back(written - whole)
            return Outcome(whole, error)
        return written

    def _take_back(self, size: int) -> None:
        end = os.lseek(self.descriptor, 0, os.SEEK_CUR)
        if os.fstat(self.descriptor).st_size == end:  # nobody else has appended since
            os.ftruncate(self.descriptor, end - size)
        else:
            self.torn = True

    def is_unlinked(self) -> bool:
        """Whether nobody can see any more what was written here."""
        return os.fstat(self.descriptor).st_nlink == 0

    def close(self) -> None:
        """Close it; whatever the file system has to say about earlier writes comes too late."""
        try:  # noqa: SIM105 - suppress takes as long as the rest, for each of ten thousand
            os.close(self.descriptor)
        except OSError:
            pass


def open_log(root: int, parts: tuple[bytes, ...], placement: Placement, now: float) -> LogFile:
    """Open a log below the folder `root` (a descriptor), made if need be. Raises OSError.

    The process's umask must be 0. No link is followed, and what is no regular file or has a second name is refused
    (EINVAL, EMLINK).
    """
    folder = root
    try:
        for name in parts[:-1]:
            inner = _open_folder(folder, name, placement)
            if folder != root:
                os.close(folder)
            folder = inner
        descriptor = _open_file(folder, parts[-1], placement)
    finally:
        if folder != root:
            os.close(folder)
    info = os.fstat(descriptor)
    if stat.S_ISREG(info.st_mode) and info.st_nlink == 1:
        return LogFile(descriptor, info, now)
    os.close(descriptor)
    if stat.S_ISREG(info.st_mode) and info.st_nlink > 1:
        raise OSError(errno.EMLINK, "has a second name (a hard link)")
    raise OSError(errno.EINVAL, "not a regular file")


def _open_folder(folder: int, name: bytes, placement: Placement) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not placement.make_folders:
            raise
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
    except FileExistsError:
        return os.open(name, _FOLDER, dir_fd=folder)
    # not by name: whoever may write to the folder could have put another in its place
    made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    _adorn(made, placement.folder_mode, placement.owner)
    return made


def _open_file(folder: int, name: bytes, placement: Placement) -> int:
    if placement.owner == (None, None) and not placement.as_folder:
        return os.open(name, _LOG | os.O_CREAT, placement.mode, dir_fd=folder)
    try:
        return os.open(name, _LOG, dir_fd=folder)
    except FileNotFoundError:
        pass
    try:
        descriptor = os.open(name, _LOG | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
    except FileExistsError:  # logrotate was faster
        return os.open(name, _LOG, dir_fd=folder)
    owner = placement.owner
    try:
        if placement.as_folder:
            info = os.stat(".", dir_fd=folder)
            owner = info.st_uid, info.st_gid
        _adorn(descriptor, placement.mode, owner)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _adorn(descriptor: int, mode: int, owner: tuple[int | None, int | None]) -> None:
    if owner != (None, None):
        os.fchown(descriptor, *(-1 if number is None else number for number in owner))
    os.fchmod(descriptor, mode)


def is_still(log: LogFile, root: int, parts: tuple[bytes, ...]) -> bool:
    """Whether the log's name still leads to it."""
    try:
        info = os.stat(b"/".join(parts), dir_fd=root, follow_symlinks=False)
    except OSError:
        return False
    return (info.st_dev, info.st_ino) == log.identity
