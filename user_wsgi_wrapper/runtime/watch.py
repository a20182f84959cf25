"""A thread of the worker's that looks after what no request's own thread can see: time.

While wsgi.py loads it tells of a load that takes long, and ends the worker over one that doesn't end. Afterwards it
looks once for a second save within the second of the first, which uWSGI can't see. From then on it keeps the stack of
any request that the server is about to kill, for the worker that follows to tell of. Whatever holds the interpreter's
lock meanwhile, faulthandler's own thread writes the stacks in its place.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from _thread import allocate_lock, get_ident
from time import monotonic, sleep, time

from user_wsgi_wrapper.runtime import connection, quiet_thread
from user_wsgi_wrapper.runtime.advice import advise_running
from user_wsgi_wrapper.runtime.black_box import file_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from user_wsgi_wrapper.runtime.black_box import BlackBox

SLOW_LOAD = 20.0  # seconds after which a load is told of
_SIGHUP = 1
_LOOK_EVERY = 10.0  # seconds, or a tenth of harakiri
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Watch:
    """Watches over one worker, which loads `wsgi_file` in the state `file` (see file_state).

    `tell(message, trace, advice)` writes a record outside requests. `load_limit` is how long the file may take, in
    seconds, None for as long as it likes; `harakiri` is the server's option, in seconds, 0 for none.
    `find_request(frame)` gives the environ of the request that a frame serves.
    """

    def __init__(
        self,
        wsgi_file: str,
        file: tuple[int, int, int],
        tell: Callable[[str, str, str], None],
        find_request: Callable[[FrameType | None], dict[str, Any] | None],
        box: BlackBox | None,
        load_limit: float | None,
        harakiri: int,
    ) -> None:
        self._path = wsgi_file
        self._tell = tell
        self._find_request = find_request
        self._box = box
        self._load_limit = load_limit
        self._harakiri = harakiri
        self._loader = get_ident()
        self._loading = allocate_lock()
        self._seen: dict[int, tuple[int, float]] = {}
        self._file = file

    def start(self) -> None:
        """Begin, in the thread that is about to load the file. Without a thread the site goes unwatched."""
        self._loading.acquire()
        if self._box is not None and self._load_limit is not None:
            faulthandler.dump_traceback_later(self._load_limit + 2, exit=True, file=self._box.fd)
        quiet_thread.start(self._run)

    def loaded(self) -> None:
        """The file is loaded, or has failed by itself."""
        faulthandler.cancel_dump_traceback_later()
        self._loading.release()

    def _run(self) -> None:
        self._watch_load()
        if connection.UWSGI is not None:
            self._watch_file()
            if self._harakiri and self._box is not None:
                self._watch_requests(self._box)

    def _watch_load(self) -> None:
        limit = self._load_limit
        first = SLOW_LOAD if limit is None else min(SLOW_LOAD, limit)
        if self._loading.acquire(timeout=first):
            return
        if limit is None or limit > first:
            self._tell(f"the site is still being loaded after {first:.0f} s; {self._path} stands at", *self._stand())
        if self._loading.acquire(timeout=-1 if limit is None else limit - first):
            return
        if self._box is not None:
            self._box.out_of_time(self._file)
            self._box.write_dump(_dump_of({self._loader: sys._current_frames()[self._loader]}))
        os._exit(1)

    def _stand(self) -> tuple[str, str]:
        """The stack of the load, and what may be done about it."""
        frame = sys._current_frames().get(self._loader)
        if frame is None:
            return "", ""
        stack = "Stack (most recent call last):\n" + format_stack(frame)
        return stack, advise_running(list(traceback.walk_stack(frame))[::-1], self._path)

    def _watch_file(self) -> None:
        """Have this worker replaced if the file was saved again within the second of the save that it has loaded.

        uWSGI compares whole seconds, so it doesn't see the second save. A file that wasn't there counts too: it may
        be back with the time it had before.
        """
        saved = self._file[2] // 1_000_000_000
        sleep(min(max(saved + 1.1 - time(), 0.0), 3.0))
        found = file_state(self._path)
        if found != self._file and (not self._file[2] or found[2] // 1_000_000_000 <= saved):
            os.kill(os.getpid(), _SIGHUP)  # as the master does to a worker when it sees a touch

    def _watch_requests(self, box: BlackBox) -> None:
        margin = min(1.0, self._harakiri / 4)
        looked = monotonic()
        while True:
            now = monotonic()
            frames = sys._current_frames()
            due = self._note_requests(frames, looked, now)
            late = {ident: frames[ident] for ident, killed_at in due.items() if killed_at - margin <= now}
            if late:
                box.write_dump(_dump_of(late))
            else:
                box.clear_dump()
            ahead = [killed_at - margin - now for ident, killed_at in due.items() if ident not in late]
            pause = min([min(_LOOK_EVERY, self._harakiri / 10), *ahead])
            if not late and box.is_ours():
                # should something hold the interpreter's lock until this request is killed
                faulthandler.dump_traceback_later(pause + margin / 2, file=box.fd)
            del frames, late
            looked = now
            sleep(pause)

    def _note_requests(self, frames: dict[int, FrameType], looked: float, now: float) -> dict[int, float]:
        """When each thread's request will be killed at the earliest, by thread.

        A request that wasn't there at the last look, at `looked`, began after it.
        """
        seen = {}
        for ident, frame in frames.items():
            environ = self._find_request(frame)
            if environ is not None:
                before = self._seen.get(ident)
                seen[ident] = before if before is not None and before[0] == id(environ) else (id(environ), looked)
        self._seen = seen
        return {ident: began + self._harakiri for ident, (_, began) in seen.items()}


def format_stack(frame: FrameType) -> str:
    """The stack of a frame as CPython prints one, without the frames of this package and of the import system."""
    stack = traceback.StackSummary.extract(traceback.walk_stack(frame))
    stack.reverse()
    shown = [one for one in stack if not one.filename.startswith((_OURS, "<frozen importlib"))]
    return "".join(traceback.format_list(shown)).rstrip("\n")


def _dump_of(frames: dict[int, FrameType]) -> str:
    """Stacks in the form of faulthandler's dump, but with their source lines and the most recent call last."""
    return "\n\n".join(
        f"Thread 0x{ident:016x} (most recent call last):\n{format_stack(frame)}" for ident, frame in frames.items()
    )
