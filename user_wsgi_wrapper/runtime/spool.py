"""Descriptor 2: what child processes and C code write there, on its way into the error log.

They write to a file of this process, a spool, which is read as it grows; each line goes into the log stamped. Not a
pipe: C code that holds the interpreter's lock while it writes more than a pipe takes would wait for ever for a reader
in its own process, the last words of a process that aborts would die with it, and children that outlive it would get
SIGPIPE. A reader of its own would cost more memory than a worker. A file takes everything at once, from anybody; what
a killed process leaves there is read by the next one that starts.

What was read is overwritten with zeros, so that whoever goes on with a dead process's spool knows where to begin.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from _thread import allocate_lock, stack_size, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from user_wsgi_wrapper.runtime.error_log import ErrorLog

LABEL = "child or C code"  # stands before each line: a descriptor doesn't tell which of the two wrote it
CHUNK = 1 << 20  # bytes read at once, and room for a line that doesn't end
PATIENCE = 1.0  # seconds until a line that isn't finished is written as it is
_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two looks, doubled while nothing comes
_PAGE = mmap.PAGESIZE
_STACK = 256 * 1024


class Spool:
    """The spools that this process reads: its own, and those of dead processes of the same log.

    `fd` is where descriptor 2 and faulthandler may lead, -1 while there is none.
    """

    def __init__(self, log: ErrorLog, temporary: str = "/tmp") -> None:  # noqa: S108  the tenant's own, in a chroot
        self.fd = -1
        self._log = log
        self._path = f"{temporary}/.stderr-{os.geteuid()}{os.path.abspath(log.path).replace('/', '-')[-200:]}"
        self._folder = -1
        self._pid = 0
        self._files: list[_File] = []
        self._busy = allocate_lock()

    def take_stderr(self) -> bool:
        """Point descriptor 2 at the spool, or at the log itself if there is none; True if the spool is a new one."""
        before = self.fd
        if not self.begin():
            self._log.take_stderr()
            return False
        os.dup2(self.fd, 2)
        return self.fd != before

    def begin(self) -> bool:
        """Make this process's spool and take over those of dead ones; False if there is no place for it.

        A second call does nothing, unless the process was forked meanwhile.
        """
        pid = os.getpid()
        if self._pid == pid:
            return self.fd >= 0
        self._forget()
        self._pid = pid
        try:
            self._folder = _private_folder(self._path)
            self._adopt(pid)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self.fd = os.open(str(pid), flags, 0o600, dir_fd=self._folder)
            # Held by whoever has inherited the descriptor: as long as one of them lives, the file is written to.
            fcntl.flock(self.fd, fcntl.LOCK_SH)
            self._files.append(_File(self._folder, str(pid)))
        except OSError:
            self._forget()
            return False
        self._log.before = self.drain
        self.drain()
        return True

    def drain(self) -> bool:
        """Write the whole lines that have come since the last time into the log; True if there were any.

        An unfinished one is taken for whole if nobody has gone on with it for PATIENCE seconds. Never waits, never
        raises.
        """
        if self._pid != os.getpid() or not self._busy.acquire(False):
            return False
        found = False
        try:
            if self._log.is_stuck:
                self._log.append(b"")
            for file in self._files[:]:
                while self._move(file, file.peek()):
                    found = True
                if not found and file.is_adopted and file.has_no_writer():
                    self._finish(file)
        except Exception:  # noqa: S110  out of memory, a disk that fails: what is there stays there for the next look
            pass
        finally:
            self._busy.release()
        return found

    def watch(self) -> None:
        """Look for new lines from a thread of its own, once a second or more often while they come."""
        size = stack_size(_STACK)
        try:
            start_new_thread(self._look, ())
        except RuntimeError:
            pass  # no more threads: they are written together with the next record
        finally:
            stack_size(size)

    def end(self) -> None:
        """Write what is left; the spool goes, unless a child still has it. Descriptor 2 must lead elsewhere."""
        if self._pid != os.getpid() or self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        self.drain()
        with self._busy:
            for file in self._files[:]:
                if file.has_no_writer():
                    self._finish(file)
        self._forget()
        try:
            os.rmdir(self._path)
        except OSError:
            pass

    def _look(self) -> None:
        pid, delay = self._pid, _SHORTEST
        while self._pid == pid and self.fd >= 0:
            time.sleep(delay)
            delay = _SHORTEST if self.drain() else min(2 * delay, _LONGEST)

    def _move(self, file: _File, data: bytes) -> bool:
        if data and not self._log.is_stuck:
            text = data.decode("utf-8", "surrogateescape")
            self._log.append(self._log.render(text, None, label=LABEL))
            file.consume(len(data))
            return True
        return False

    def _finish(self, file: _File) -> None:
        while self._move(file, file.peek(rest=True)):
            pass
        if not file.peek(rest=True):
            self._files.remove(file)
            file.remove()

    def _adopt(self, pid: int) -> None:
        """Read on where dead processes ended: their names are theirs no longer, so that only one can do it."""
        for number, name in enumerate(os.listdir(self._folder)):
            owner = int(name.partition(".")[0]) if name.partition(".")[0].isdigit() else 0
            if owner == pid or (owner and not _lives(owner)):
                adopted = f"{pid}.{number}.{time.time_ns()}"
                try:
                    os.rename(name, adopted, src_dir_fd=self._folder, dst_dir_fd=self._folder)
                    self._files.append(_File(self._folder, adopted))
                except OSError:
                    continue  # another process was faster

    def _forget(self) -> None:
        for fd in (self.fd, self._folder, *(file.fd for file in self._files)):
            if fd >= 0:
                os.close(fd)
        self.fd = self._folder = -1
        self._files = []
        self._busy = allocate_lock()


class _File:
    """One spool, read from its start to its growing end."""

    def __init__(self, folder: int, name: str) -> None:
        self.fd = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
        self.is_adopted = "." in name
        self._folder, self._name = folder, name
        self._position = 0
        self._punched = 0
        self._size = 0
        self._since = 0.0
        if self.is_adopted:
            try:
                self._position = self._punched = os.lseek(self.fd, 0, os.SEEK_DATA) & -_PAGE
            except OSError:
                pass  # nothing but a hole, or nothing at all

    def peek(self, rest: bool = False) -> bytes:
        """The whole lines behind the position, at most CHUNK bytes; with `rest` an unfinished one too."""
        size = os.lseek(self.fd, 0, os.SEEK_END)
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

    def _read(self) -> bytes:
        if self._position and os.pread(self.fd, 1, self._position - 1) != b"\0":
            # Somebody opened /dev/stderr to write, which cuts a file off: what is there now is all new.
            self._position = self._punched = 0
        data = os.pread(self.fd, CHUNK, self._position)
        while self.is_adopted and data[:1] == b"\0":
            self._position += len(data) - len(data.lstrip(b"\0"))
            data = os.pread(self.fd, CHUNK, self._position)
        return data

    def consume(self, count: int) -> None:
        """Go on behind bytes that are in the log; their room on the disk is given back a CHUNK at a time."""
        os.pwrite(self.fd, bytes(count), self._position)
        self._position += count
        end = self._position & -_PAGE
        if end - self._punched >= CHUNK:
            try:
                with mmap.mmap(self.fd, end - self._punched, offset=self._punched) as pages:
                    pages.madvise(mmap.MADV_REMOVE)
            except (OSError, ValueError):
                pass  # this file system can't; or the file was cut off
            self._punched = end

    def has_no_writer(self) -> bool:
        """Whether every process that inherited the descriptor is gone."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def remove(self) -> None:
        """Delete and close it."""
        try:
            os.unlink(self._name, dir_fd=self._folder)
        except OSError:
            pass
        os.close(self.fd)


def _private_folder(path: str) -> int:
    """A descriptor of a folder that nobody else can write to. Raises OSError if it is another's."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        os.close(fd)
        raise PermissionError(path)
    return fd


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
