"""A worker's black box: a small file in memory that outlives the worker, whatever ends it, for the one that follows.

It says whether wsgi.py was being loaded and in which of the server's threads a request was in flight, and holds the
stack that faulthandler wrote while the process died. What the request was isn't written there: the server keeps that.
"""

from __future__ import annotations

import mmap
import os
import stat
from _struct import Struct
from _thread import get_ident

FOLDER = "/dev/shm"  # noqa: S108  the tenant's own in a chroot
CORES = 256  # threads of a worker that are told apart
LOADING, SERVING = 1, 2  # phases; 0 is that of a new file
_MAGIC = b"uww-box1"
# magic, pid, its parent's, phase, loads that ended in death one after the other, whether the last was out of time,
# the file's inode, size and mtime in ns, the kernel's OOM kills
_HEADER = Struct("<8s5I4xQqqQ")
_HEADER_AT = CORES
_IDENT = Struct("<Q")
_LOADER_AT = 504
_IDENTS_AT = 512
DUMP_AT = 4096
DUMP_SIZE = 61440
SIZE = DUMP_AT + DUMP_SIZE
_TAIL = 16384  # bytes of the server's log that are looked at
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Remains:
    """What a worker left. `in_flight` are the cores that were at a request, `idents` their threads' (0: unknown).

    `loader` is the ident of the thread that loaded wsgi.py, `file` the state in which that was (see file_state).
    `dump` is faulthandler's text, or the stack of a request that took too long; `dumped_at` is when it was written.
    """

    __slots__ = (
        "deaths", "dump", "dumped_at", "file", "idents", "in_flight", "loader", "oom_kills", "parent", "phase", "pid",
        "was_out_of_time",
    )  # fmt: skip

    def __init__(self, content: bytes, dumped_at: float = 0.0) -> None:
        _, self.pid, self.parent, self.phase, self.deaths, out_of_time, *file, self.oom_kills = _HEADER.unpack_from(
            content, _HEADER_AT
        )
        self.file = tuple(file)
        self.in_flight = tuple(core for core in range(CORES) if content[core])
        self.idents = tuple(_IDENT.unpack_from(content, _IDENTS_AT + 8 * core)[0] for core in self.in_flight)
        self.loader = _IDENT.unpack_from(content, _LOADER_AT)[0]
        self.dump = content[DUMP_AT:].partition(b"\0")[0].decode("utf-8", "backslashreplace")
        self.dumped_at = dumped_at
        # the second if the interpreter's lock was held, so that faulthandler had to end the worker
        self.was_out_of_time = bool(out_of_time) or (self.phase == LOADING and self.dump.startswith("Timeout"))


class BlackBox:
    """The box of the worker that runs. `flags` holds a byte for each core: whether a request is in flight there.

    `remains` are what the last worker left, None if nothing or nothing that can be read. `fd` is where faulthandler
    writes.
    """

    def __init__(self, fd: int) -> None:
        self.remains = _remains(fd)
        os.ftruncate(fd, SIZE)
        os.posix_fallocate(fd, 0, DUMP_AT)  # or a write to a full /dev/shm would be SIGBUS
        self.fd = fd
        self.flags = mmap.mmap(fd, DUMP_AT)
        self._inode = os.fstat(fd).st_ino
        self._deaths = 0
        self._oom_kills = 0

    def begin_load(self, file: tuple[int, int, int], deaths: int) -> None:
        """A new worker's: wsgi.py, of the state `file`, is being loaded; `deaths` loads of it ended in death."""
        self._deaths = deaths
        self._oom_kills = oom_kills()  # once: the kernel takes its time to say
        self.flags[:] = bytes(DUMP_AT)
        self.clear_dump()
        _IDENT.pack_into(self.flags, _LOADER_AT, get_ident())
        self._write(LOADING, file)

    def end_load(self) -> None:
        """It is loaded, or has failed by itself."""
        self._deaths = 0
        self._write(SERVING, (0, 0, 0))

    def out_of_time(self, file: tuple[int, int, int]) -> None:
        """The worker is ended because its load takes too long."""
        self._write(LOADING, file, True)

    def take_core(self, core: int, ident: int) -> None:
        """The thread `ident` serves `core` from now on."""
        if core < CORES:
            _IDENT.pack_into(self.flags, _IDENTS_AT + 8 * core, ident)

    def write_dump(self, text: str) -> None:
        """Keep a text in the place of faulthandler's."""
        self.clear_dump()
        if self.is_ours():
            os.pwrite(self.fd, text.encode("utf-8", "backslashreplace")[: DUMP_SIZE - 1], DUMP_AT)

    def clear_dump(self) -> None:
        """Have faulthandler write at the beginning of its place, which is made empty."""
        if not self.is_ours():
            return
        if os.pread(self.fd, 1, DUMP_AT) not in (b"", b"\0"):
            os.ftruncate(self.fd, DUMP_AT)
            os.ftruncate(self.fd, SIZE)
        os.lseek(self.fd, DUMP_AT, os.SEEK_SET)

    def is_ours(self) -> bool:
        """Whether the descriptor still leads to the box: the tenant's code may have closed it, and opened another."""
        try:
            return os.fstat(self.fd).st_ino == self._inode
        except OSError:
            return False

    def _write(self, phase: int, file: tuple[int, int, int], is_out_of_time: bool = False) -> None:
        _HEADER.pack_into(
            self.flags, _HEADER_AT, _MAGIC, os.getpid(), os.getppid(), phase, self._deaths, is_out_of_time, *file,
            self._oom_kills,
        )  # fmt: skip


def open_box(folder: str, name: str) -> BlackBox | None:
    """The box `name` in `folder`, made if it isn't there; None if it can't be had or isn't ours alone."""
    try:
        fd = os.open(os.path.join(folder, name), _NEW_FILE, 0o600)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1:
            return BlackBox(fd)
    except (OSError, ValueError):  # no room in the file system; mmap refuses
        pass
    os.close(fd)
    return None


def file_state(path: str) -> tuple[int, int, int]:
    """What tells one state of a file from another: its inode, size and mtime in ns; zeros if it isn't there."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def read_server_log() -> str:
    """The end of the log that the server writes, to which descriptor 1 leads; "" if that is no file."""
    try:
        fd = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        size = os.fstat(fd).st_size
        return os.pread(fd, _TAIL, max(size - _TAIL, 0)).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since the machine started; 0 if it doesn't say."""
    try:
        with open("/proc/vmstat", "rb", 0) as file:
            return int(file.read().partition(b"\noom_kill ")[2].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return 0


def _remains(fd: int) -> Remains | None:
    content = os.pread(fd, DUMP_AT, 0)
    found = os.fstat(fd)
    if found.st_size < SIZE or content[_HEADER_AT : _HEADER_AT + len(_MAGIC)] != _MAGIC:
        return None
    if os.pread(fd, 1, DUMP_AT) != b"\0":  # else there is none, and its room needn't be read
        content += os.pread(fd, DUMP_SIZE, DUMP_AT)
    return Remains(content, found.st_mtime)
