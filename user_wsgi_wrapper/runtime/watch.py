"""A thread of the worker's that looks after what no request's own thread can see: time.

While wsgi.py loads it tells of a load that takes long, and ends the worker over one that doesn't end. Afterwards it
looks once for a second save within the second of the first, which uWSGI can't see. All the time it does the chores.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from _thread import allocate_lock, get_ident
from time import monotonic, sleep, time

from user_wsgi_wrapper.runtime import connection, quiet_thread
from user_wsgi_wrapper.runtime.advice import advise_running
from user_wsgi_wrapper.runtime.black_box import file_state
from user_wsgi_wrapper.runtime.failure import format_stack
from user_wsgi_wrapper.runtime.request_watch import RequestWatch, dump_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from user_wsgi_wrapper.runtime.black_box import BlackBox

SLOW_LOAD = 20.0  # seconds after which a load is told of
_SHORTEST, _LONGEST = 0.05, 1.0  # seconds between two rounds of the chores, doubled while there is nothing to do
_LOAD_MARGIN = 2.0  # seconds beyond its limit after which a load is ended that lets nobody see to it
_SIGHUP = 1


class Watch:
    """Watches over one worker, which loads `wsgi_file` in the state `file` (see file_state).

    `tell(message, trace, advice)` writes a record outside requests. `load_limit` is how long the file may take, in
    seconds, None for as long as it likes; `harakiri` is the server's option, in seconds, 0 for none;
    `find_request` is as RequestWatch has it. `chores` is called again and again, and says whether there were any.
    `watches_file` says whether a second save is looked for.
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
        chores: Callable[[], bool],
    ) -> None:
        self._path = wsgi_file
        self._file = file
        self._tell = tell
        self._box = box
        self._load_limit = load_limit
        self._requests = None
        if harakiri and box is not None:
            self._requests = RequestWatch(box, harakiri, find_request, monotonic())
        self._chores = chores
        self.watches_file = connection.UWSGI is not None
        self._delay = _SHORTEST
        self._pid = 0
        self._loader = get_ident()
        self._loading = allocate_lock()
        self._serves_both = False  # whether the timer of the load is good for a first request too

    def start(self) -> None:
        """Begin, in the thread that is about to load the file. Without a thread the site goes unwatched."""
        self._loading.acquire()
        if self._box is not None and self._load_limit is not None:
            # should something hold the interpreter's lock for ever
            limit = self._load_limit + _LOAD_MARGIN
            self._serves_both = self._requests is not None and self._requests.last_call <= limit
            self._end_after(min(limit, self._requests.last_call) if self._requests is not None else limit)
        self._pid = os.getpid()
        if not quiet_thread.start(self._run):
            self._serves_both = False

    def resume(self) -> None:
        """Go on in a process that was forked from the one that began; in that itself nothing is done."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            quiet_thread.start(self._keep_house)

    def loaded(self) -> None:
        """The file is loaded, or has failed by itself."""
        if self._serves_both:
            pass  # to take another timer would have the first visitor wait 0.3 ms; the thread does it
        elif self._requests is not None:
            # the first request may hold the interpreter's lock before the thread has its turn
            self._requests.arm(0.0)
        elif self._box is not None:
            faulthandler.cancel_dump_traceback_later()
        self._loading.release()

    def _run(self) -> None:
        self._watch_load(monotonic())
        sleep(_SHORTEST)  # the thread that was loading has the first request to answer
        if self._serves_both and self._requests is not None:
            self._requests.arm(0.0)
        if self.watches_file:
            self._watch_file()
        self._keep_house()

    def _keep_house(self) -> None:
        look_at = monotonic()
        while True:
            pause = self._do_chores()
            if self._requests is not None:
                now = monotonic()
                if now >= look_at:
                    look_at = now + self._requests.look(now)
                pause = min(pause, look_at - now)
            sleep(pause)

    def _do_chores(self) -> float:
        """One round; gives the seconds until the next."""
        self._delay = _SHORTEST if self._chores() else min(2 * self._delay, _LONGEST)
        return self._delay

    def _watch_load(self, began: float) -> None:
        is_told = False
        pause = _SHORTEST  # a load that is quick is not disturbed
        while not self._loading.acquire(timeout=pause):
            pause = self._do_chores()
            took = monotonic() - began
            if self._serves_both and self._load_limit is not None:
                self._serves_both = False
                self._end_after(self._load_limit + _LOAD_MARGIN - took)
            if self._load_limit is not None and took >= self._load_limit:
                self._give_up()
            if took >= SLOW_LOAD and not is_told:
                is_told = True
                message = f"the site is still being loaded after {took:.0f} s; {self._path} stands at"
                self._tell(message, *self._stand())

    def _end_after(self, seconds: float) -> None:
        if self._box is not None:
            try:
                faulthandler.dump_traceback_later(seconds, exit=True, file=self._box.fd)
            except RuntimeError:
                pass  # the site has all the threads that it may

    def _give_up(self) -> None:
        if self._box is not None:
            self._box.out_of_time(self._file)
            self._box.write_dump(dump_of({self._loader: sys._current_frames()[self._loader]}))
        os._exit(1)

    def _stand(self) -> tuple[str, str]:
        """The stack of the load, and what may be done about it."""
        frame = sys._current_frames().get(self._loader)
        if frame is None:
            return "", ""
        stack = "Stack (most recent call last):\n" + format_stack(frame)
        return stack, advise_running(frame, self._path)

    def _watch_file(self) -> None:
        """Have this worker replaced if the file was saved again within the second of the save that it has loaded.

        uWSGI compares whole seconds, so it doesn't see the second save. A file that wasn't there counts too: it may
        be back with the time it had before.
        """
        saved = self._file[2] // 1_000_000_000
        over = monotonic() + min(max(saved + 1.1 - time(), 0.0), 3.0)
        while monotonic() < over:
            sleep(min(self._do_chores(), max(over - monotonic(), 0.0)))
        found = file_state(self._path)
        if found != self._file and (not self._file[2] or found[2] // 1_000_000_000 <= saved):
            os.kill(os.getpid(), _SIGHUP)  # as the master does to a worker when it sees a touch
