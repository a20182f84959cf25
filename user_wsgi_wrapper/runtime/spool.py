"""Descriptor 2: what child processes and C code write there, on its way into the error log.

They write to a file of this process, a spool, which is read as it grows; each line goes into the log stamped. Not a
pipe: C code that holds the interpreter's lock while it writes more than a pipe takes would wait for ever for a reader
in its own process, the last words of a process that aborts would die with it, and children that outlive it would get
SIGPIPE; a process that only reads would be one more for each worker. A file takes everything at once, from anybody;
what a killed process leaves there is read by the next one that starts.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from _thread import allocate_lock

from user_wsgi_wrapper.runtime.error_log import identity
from user_wsgi_wrapper.runtime.spool_file import SpoolFile, close_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from user_wsgi_wrapper.runtime.error_log import ErrorLog

# what uWSGI says in a worker: behind its own stamp (log-date), or in the one line that every reload brings
_STAMP_END = b",000 [-] - "
_STAMP_DATE = b"0000-00-00 00:00:00"
_RELOAD = b"Gracefully killing worker "
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
ROUNDS = 16  # pieces of a file that are moved at a time: who writes faster than this reads must not hold it for ever
PIECE = 16 << 10  # bytes, more than all but a flood's
MOST = 64 << 20  # bytes that may wait in a file; with more all of them are dropped, for the sake of the disk
LABEL = "child or C code"  # stands before each line: a descriptor doesn't tell which of the two wrote it


class Spool:
    """The spools that this process reads: its own, and those of dead processes of the same log.

    `fd` is where descriptor 2 leads, -1 while there is none. `server` is a descriptor of what
    descriptor 2 led to before, `temporary` the folder for the spools.
    """

    def __init__(self, log: ErrorLog, server: int, temporary: str) -> None:
        self.fd = -1
        self._server = server
        self._servers_identity = identity(server)
        self._log = log
        self._path = f"{temporary}/.stderr-{os.geteuid()}{os.path.abspath(log.path).replace('/', '-')[-200:]}"
        self._pid = 0
        self._identity: tuple[int, int] | None = None
        self._has_stderr = False
        self._files: list[SpoolFile] = []
        self._busy = allocate_lock()
        os.register_at_fork(after_in_child=self._disown)

    def recognize_server(self) -> None:
        """The server's log was rotated, and the descriptor opened anew."""
        self._servers_identity = identity(self._server)

    def take_stderr(self) -> bool:
        """Point descriptor 2 at the spool, or at the log itself if there is none; True if the spool is a new one.

        Once alone, until it was released: the tenant may have closed it, and the number may be his database's by now.
        """
        before = self.fd
        if not self.begin():
            self._log.take_stderr()
        elif not self._has_stderr:
            self._has_stderr = True
            os.dup2(self.fd, 2)
        return self.fd != before

    def release_stderr(self) -> None:
        """Point descriptor 2 back at the server's log, unless the tenant has taken either number for himself."""
        is_there = identity(self._server) == self._servers_identity
        if not self._has_stderr:
            if is_there:
                self._log.release_stderr(self._server)
            return
        self._has_stderr = False
        if is_there and identity(2) == self._identity:
            os.dup2(self._server, 2)

    def begin(self) -> bool:
        """Make this process's spool and take over those of dead ones; False if there is no place for it.

        A second call does nothing, unless the process was forked meanwhile.
        """
        if self._pid:
            return self.fd >= 0
        self._forget()
        pid = self._pid = os.getpid()
        try:
            _make_private(self._path)
            self._adopt(pid)
            path = f"{self._path}/{pid}"
            self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # Held by whoever has inherited the descriptor: as long as one of them lives, the file is written to.
            fcntl.flock(self.fd, fcntl.LOCK_SH)
            self._identity = identity(self.fd)
            self._files.append(SpoolFile(path))
        except OSError:
            self._forget()
            return False
        self._log.before = self.drain
        self.drain()
        return True

    def drain(self) -> bool:
        """Write the whole lines that have come since the last time into the log; True if there were any.

        An unfinished one is taken for whole if nobody has gone on with it for a second. Never waits, never raises.
        """
        if not self._pid or not self._busy.acquire(False):
            return False
        found = False
        try:
            if self._log.is_stuck:
                self._log.append(b"")
            for file in self._files[:]:
                found = self._drain(file) or found
        except Exception:  # noqa: S110  out of memory: the next look will do it
            pass
        finally:
            self._busy.release()
        return found

    def _drain(self, file: SpoolFile) -> bool:
        found = False
        try:
            for _ in range(ROUNDS):
                if not self._move(file, file.peek()):
                    break
                found = True
            self._shed(file)
            if not found and file.is_adopted and file.has_no_writer():
                self._finish(file)
        except Exception:  # noqa: S110  a disk that fails: what is there stays there for the next look
            pass
        return found

    def end(self) -> None:
        """Write what is left; the spool goes, unless a child still has it. Descriptor 2 must lead elsewhere."""
        if not self._pid or self.fd < 0:
            return
        close_own(self.fd, self._identity)
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

    def _shed(self, file: SpoolFile) -> None:
        if self._log.allowance is not None:
            self._log.allowance.dropped += file.shed(MOST)

    def _move(self, file: SpoolFile, data: bytes) -> bool:
        if data and not self._log.is_stuck:
            rest = self._without_servers(data)
            for piece in pieces(rest) if rest else ():
                if self._log.allowance is None or self._log.allowance.has_room(len(piece)):
                    text = piece.decode("utf-8", "surrogateescape")
                    self._log.append(self._log.render(text, None, label=LABEL))
            file.consume(len(data))
            return True
        return False

    def _without_servers(self, data: bytes) -> bytes:
        """The lines that aren't the server's own: those go where the server's log is."""
        if _STAMP_END not in data and _RELOAD not in data:
            return data
        *lines, rest = data.split(b"\n")
        lines = [*(line + b"\n" for line in lines), rest]
        servers = b"".join(line for line in lines if is_servers(line))
        if servers and identity(self._server) == self._servers_identity:
            os.write(self._server, servers)
        return b"".join(line for line in lines if not is_servers(line))

    def _finish(self, file: SpoolFile) -> None:
        while self._move(file, file.peek(rest=True)):
            pass
        if not file.peek(rest=True):
            self._files.remove(file)
            file.remove()

    def _adopt(self, pid: int) -> None:
        """Read on where dead processes ended: their names are theirs no longer, so that only one can do it."""
        for number, name in enumerate(os.listdir(self._path)):
            owner = int(name.partition(".")[0]) if name.partition(".")[0].isdigit() else 0
            if owner == pid or (owner and not _lives(owner)):
                adopted = f"{self._path}/{pid}.{number}.{time.time_ns()}"
                try:
                    os.rename(f"{self._path}/{name}", adopted)
                    self._files.append(SpoolFile(adopted, adopted=True))
                except OSError:
                    continue  # another process was faster

    def _disown(self) -> None:
        self._pid = 0  # what is open is the parent's to read

    def _forget(self) -> None:
        close_own(self.fd, self._identity)
        for file in self._files:
            file.close()
        self.fd = -1
        self._identity = None
        self._has_stderr = False
        self._files = []
        self._busy = allocate_lock()


def pieces(data: bytes) -> list[bytes]:
    """A flood in parts of whole lines: stamped, each grows several times as long, so each is asked for by itself."""
    if len(data) <= PIECE:
        return [data]
    found = []
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + PIECE) + 1 or data.find(b"\n", start) + 1 or len(data)
        found.append(data[start:end])
        start = end
    return found


def is_servers(line: bytes) -> bool:
    """Whether a line that came by descriptor 2 is uWSGI's own."""
    date = len(_STAMP_DATE)
    if line.startswith(_STAMP_END, date):
        return line[:date].translate(_ZEROS) == _STAMP_DATE
    number, space, _ = line[len(_RELOAD) :].partition(b" ")
    return line.startswith(_RELOAD) and number.isdigit() and bool(space)


def _make_private(path: str) -> None:
    """Make a folder that nobody else can write to. Raises OSError if it is another's."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if found.st_uid != os.geteuid() or found.st_mode & 0o170077 != stat.S_IFDIR:
            raise PermissionError(path) from None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
