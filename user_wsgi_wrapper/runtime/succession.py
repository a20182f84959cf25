"""Which of a site's workers serve, and which one makes room for a newer.

uWSGI's master starts one worker more when it is asked to (its cheaper subsystem with the algorithm `manual`, the
master-fifo's command `+`) and takes a worker that ends with exit code 15 for one that isn't needed. So new code is
loaded beside the old: the new worker, once it can serve, tells an older one to end with its requests done, and one
that can't serve leaves without having harmed anybody. What a worker is at stands in its black box, where the others
read it; they take turns by a lock.
"""

from __future__ import annotations

import os
from _struct import Struct
from time import monotonic, time_ns

from user_wsgi_wrapper.runtime import connection, late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GOOD, BROKEN, KEPT, LEAVING = 1, 2, 3, 4  # what a worker serves: its file, an error page, the kept version; nothing
_SERVING = (GOOD, BROKEN, KEPT)
# role, whether it was told to end, its pid, when its load began (ns), the file's inode, size and mtime (ns)
_PLACE = Struct("<B?2xIqQqq")
_AT = 320  # in the black box, where nothing else is
_RETIRED_AT = _AT + 1
_GO_CHEAP = 15  # uWSGI's exit code of a worker that isn't to be replaced: UWSGI_GO_CHEAP_CODE
_SIGHUP = 1  # how a worker of uWSGI is told to end gracefully
_QUIET = 1.0  # seconds
_NEVER = float("inf")


def wanted_workers(uwsgi: Any) -> int:
    """How many of the server's workers are to serve; what it has room for may be more."""
    cheaper = connection.option("cheaper") if is_manual() else None
    return int(cheaper) if cheaper is not None and cheaper.isdigit() else getattr(uwsgi, "numproc", 1)


def is_manual() -> bool:
    """Whether the server starts workers, beside those that always serve, when it is asked to and never by itself."""
    return connection.option("cheaper-algo") == "manual"


class Place:
    """What another worker is at: one of the roles, since when its load began (ns), of which state of the file."""

    __slots__ = ("began", "box", "file", "is_retired", "number", "pid", "role")

    def __init__(self, number: int, box: str, content: bytes) -> None:
        self.number = number
        self.box = box
        self.role, self.is_retired, self.pid, self.began, *file = _PLACE.unpack(content)
        self.file = tuple(file)


class Succession:
    """The place of one worker among those of its site, of which `wanted` are to serve.

    `boxes` is the beginning of the black boxes' paths, a worker's number follows; `flags` is this worker's own box,
    `fifo` the master's.
    """

    def __init__(self, uwsgi: Any, boxes: str, flags: Any, fifo: str, wanted: int) -> None:
        self._uwsgi = uwsgi
        self._boxes = boxes
        self._flags = flags
        self._fifo = fifo
        self._wanted = wanted
        self._began = time_ns()
        self._turn = -1
        self._signal_at = 0.0
        self.replaced = 0  # the pid of the worker that made room for this one

    def is_needed(self) -> bool:
        """Whether fewer workers than wanted can serve without this one."""
        return len(self._serving()) < self._wanted

    def is_superfluous(self, file: tuple[int, int, int]) -> bool:
        """Whether enough workers serve that very state of the file."""
        serving = self._serving()
        return len(serving) >= self._wanted and all((place.role, place.file) == (GOOD, file) for place in serving)

    def is_first(self) -> bool:
        """Whether no worker of a lower number serves."""
        mine = self._uwsgi.worker_id()
        return all(place.number > mine for place in self._serving())

    def take_turn(self) -> None:
        """Wait until no other worker tries a new version; the turn is over with `end_turn`, or with the process."""
        self._turn = self._lock("turn")

    def end_turn(self) -> None:
        """Let the next one try."""
        if self._turn >= 0:
            os.close(self._turn)
            self._turn = -1

    def someone_serves_well(self) -> bool:
        """Whether another worker serves a version that works."""
        return any(place.role != BROKEN for place in self._serving())

    def settle(self, role: int, file: tuple[int, int, int]) -> bool:
        """Take the place of one that serves; False, and none is taken, if there are enough without this worker.

        Where there are enough, an older worker of another version is told to end. A worker with the kept version
        never takes the place of one that serves.
        """
        lock = self._lock("settling")
        try:
            serving = self._serving()
            older = [place for place in serving if place.file != file and place.began < self._began]
            if len(serving) >= self._wanted and (role == KEPT or not older):
                self._write(LEAVING, file)
                return False
            self._write(role, file)
            if len(serving) >= self._wanted:
                oldest = min(older, key=lambda place: place.began)
                self._retire(oldest)
                self.ask_for(len(older) - 1)
            return True
        finally:
            if lock >= 0:
                os.close(lock)

    def ask_for(self, count: int) -> None:
        """Have the master start `count` workers more, as far as there is room for them."""
        if count < 1:
            return
        try:
            fd = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return  # the master is at another command, and makes its fifo anew; who asks again will be heard
        try:
            os.write(fd, b"+" * count)
        except OSError:
            pass
        finally:
            os.close(fd)

    def make_room(self) -> bool:
        """End this process with its requests done, if a newer one has told it to; False if none has.

        Called again and again until then. SIGHUP, uWSGI's own way, costs the visitor whose connection is accepted and
        not yet read from. So it is raised by the thread that serves, while it runs Python: in its next request, which
        is its last then. If there is none for a while, that thread waits for one, and is told there. A worker of many
        threads is told at once: its first thread waits for the others there, and must not hold what they wait for.
        """
        if not self._flags[_RETIRED_AT]:
            return False
        if not self._signal_at and self._uwsgi.cores == 1:
            self._signal_at = monotonic() + _QUIET
            ctypes = late.load("ctypes")
            hang_up = ctypes.cast(ctypes.CDLL(None)["raise"], ctypes.c_void_p)
            ctypes.pythonapi.Py_AddPendingCall(hang_up, ctypes.c_void_p(_SIGHUP))
        elif monotonic() >= self._signal_at:
            self._signal_at = _NEVER
            os.kill(os.getpid(), _SIGHUP)
        return True

    def end_the_replaced(self) -> None:
        """The worker that was to make room long ago may not be able to: it is told by a signal."""
        pid, self.replaced = self.replaced, 0
        if pid and any(worker["pid"] == pid for worker in self._uwsgi.workers()):
            try:
                os.kill(pid, _SIGHUP)
            except ProcessLookupError:
                pass  # in this very moment it has ended

    def leave(self) -> None:
        """End this process, which serves nothing, without another in its place."""
        os._exit(_GO_CHEAP)

    def end_for_good_if_retired(self) -> None:
        """At the interpreter's end: a worker that made room is not replaced by the master.

        The exit code is given when all else is done, also what the interpreter does after this function.
        """
        if not self._flags[_RETIRED_AT]:
            return
        try:
            ctypes = late.load("ctypes")
            libc = ctypes.CDLL(None)
            at_exit = libc["__cxa_atexit"]
            # what is registered last is called first: C's buffers are written, then the process ends
            at_exit(ctypes.cast(libc["_exit"], ctypes.c_void_p), ctypes.c_void_p(_GO_CHEAP), None)
            at_exit(ctypes.cast(libc["fflush"], ctypes.c_void_p), None, None)
        except BaseException:
            os._exit(_GO_CHEAP)

    def _serving(self) -> list[Place]:
        """The other workers that serve and go on doing so."""
        mine = self._uwsgi.worker_id()
        found = []
        for number, worker in enumerate(self._uwsgi.workers(), 1):
            if number == mine or not worker["pid"] or worker["status"] in (b"cheap", "cheap"):
                continue
            place = _read(number, f"{self._boxes}{number}")
            if place is not None and place.pid == worker["pid"] and place.role in _SERVING and not place.is_retired:
                found.append(place)
        return found

    def _write(self, role: int, file: tuple[int, int, int]) -> None:
        _PLACE.pack_into(self._flags, _AT, role, False, os.getpid(), self._began, *file)

    def _retire(self, place: Place) -> None:
        self.replaced = place.pid
        fd = os.open(place.box, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            os.pwrite(fd, b"\1", _RETIRED_AT)
        finally:
            os.close(fd)

    def _lock(self, name: str) -> int:
        """A descriptor that holds the lock while it is open; -1 if it can't be had, and nobody takes turns."""
        try:
            fd = os.open(f"{self._boxes}.{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return -1
        try:
            os.lockf(fd, os.F_LOCK, 0)
        except OSError:
            pass
        return fd


def _read(number: int, box: str) -> Place | None:
    try:
        fd = os.open(box, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        content = os.pread(fd, _PLACE.size, _AT)
    finally:
        os.close(fd)
    return Place(number, box, content) if len(content) == _PLACE.size else None
