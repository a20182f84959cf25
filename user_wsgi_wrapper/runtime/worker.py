"""One worker's life: what the one before it left, the load under watch, and what it leaves itself."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`
import faulthandler
import os
from _thread import get_ident
from time import time

from user_wsgi_wrapper.runtime import connection, late
from user_wsgi_wrapper.runtime.black_box import (
    CORES,
    LOADING,
    SERVING,
    file_state,
    oom_kills,
    open_box,
    read_server_log,
)
from user_wsgi_wrapper.runtime.loader import WsgiLoadError, load
from user_wsgi_wrapper.runtime.watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from user_wsgi_wrapper.runtime.black_box import BlackBox, Remains
    from user_wsgi_wrapper.runtime.error_log import ErrorLog
    from user_wsgi_wrapper.runtime.settings import Settings
    from user_wsgi_wrapper.runtime.site_log import SiteLog

_FAULTS = (_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGABRT)
# uWSGI's own handlers write a page of machine addresses, and then end the worker as if by exit(1)
_SERVER_S_FAULTS = (_signal.SIGSEGV, _signal.SIGFPE)
_DEATHS = 2  # loads of one and the same file that may end in the worker's death before it isn't tried any more


class Worker:
    """The process that serves. `flags` has a byte for each of its cores, to be set while a request is in flight;
    `file` is the state of wsgi.py as it began, `number` uWSGI's of the worker, 0 elsewhere; `box` the black box.

    Under uWSGI they lie in the worker's black box, which the next worker opens; elsewhere nobody would, and of more
    cores than a box tells apart nobody learns which were at a request. Once made it has told of the last worker's
    end, and the interpreter writes its own where the next one finds it. `find_request` and `chores` are as Watch has
    them; in the site's log stands what ended the last worker.
    """

    def __init__(
        self,
        log: ErrorLog,
        settings: Settings,
        find_request: Callable[[FrameType | None], dict[str, Any] | None],
        chores: Callable[[], bool],
        site_log: SiteLog | None = None,
    ) -> None:
        become_worker = getattr(connection.UWSGI, "become_worker", None)  # see master
        if become_worker is not None:
            become_worker()
        self._log = log
        self._site_log = site_log
        self._path = settings.wsgi_file
        self.file = file_state(settings.wsgi_file)
        self.number = 0 if connection.UWSGI is None else connection.UWSGI.worker_id()
        self._harakiri = _seconds("harakiri")
        self._load_limit = settings.load_limit or self._harakiri or None
        self._deaths = 0
        self._refusal = ""
        self.box: BlackBox | None = None
        if connection.UWSGI is not None:
            self.box = open_box(settings.box_folder, f"{log.domain}.worker{self.number}")
        cores = getattr(connection.UWSGI, "cores", 1)
        self.flags: Any = bytearray(cores) if self.box is None or cores > CORES else self.box.flags
        if self.box is not None and self.box.remains is not None:
            self._tell_of(self.box.remains)
        self._hear_of_faults()
        limit = self._load_limit if connection.UWSGI is not None else None
        self._watch = Watch(self._path, self.file, self._tell, find_request, self.box, limit, self._harakiri, chores)

    def _hear_of_faults(self) -> None:
        if connection.UWSGI is not None:
            for number in _SERVER_S_FAULTS:
                _signal.signal(number, _signal.SIG_DFL)
        faulthandler.enable(self._log.fd if self.box is None else self.box.fd)
        # a fault of a child process is none of the worker's
        os.register_at_fork(after_in_child=lambda: faulthandler.enable(self._log.fd))

    def _tell_of(self, remains: Remains) -> None:
        log = read_server_log()
        if remains.phase == SERVING and not remains.in_flight and f"(pid: {remains.pid}) " not in log:
            return  # as most end: the server has nothing to say of what became of it
        limits = {
            "harakiri": self._harakiri,
            "worker-reload-mercy": _seconds("worker-reload-mercy"),
            "load": self._load_limit or 0,
        }
        post_mortem = late.load("user_wsgi_wrapper.runtime.post_mortem")
        server_memory = late.load("user_wsgi_wrapper.runtime.server_memory")
        ending = post_mortem.how_it_ended(remains, log, os.getppid(), oom_kills(), limits)
        requests = server_memory.last_requests(connection.UWSGI, remains.in_flight) if remains.in_flight else {}
        for found in post_mortem.examine(remains, ending, requests, self._path, time()):
            self._log.record(found.message, found.environ, "ERROR", found.trace)
        if self._site_log is not None and not ending.is_meant:
            self._site_log.say("killed", f"worker {self.number} (pid {remains.pid}): {ending.text}")
        is_retry = remains.parent == os.getppid() and remains.file == self.file
        if remains.phase == LOADING and is_retry and not ending.is_meant:
            self._deaths = remains.deaths + 1
            if self._deaths >= _DEATHS or remains.was_out_of_time:
                self._refusal = f"running it ended the worker: {ending.text}"

    def load(self, source: bytes | None = None) -> Callable[..., Any]:
        """The file's application. Raises WsgiLoadError, also where loading this file ended the last workers.

        `source` is run in place of what the file holds, if it is given.
        """
        if self.box is not None:
            self.box.begin_load(self.file, self._deaths)
        self._watch.start()
        try:
            if self._refusal and source is None:
                raise WsgiLoadError(self._path, "death", self._refusal)
            return load(self._path, source)
        finally:
            self._watch.loaded()
            if self.box is not None:
                self.box.end_load()

    def leave_saves_alone(self) -> None:
        """Someone else looks after saves of the file that the server doesn't see."""
        self._watch.watches_file = False

    def take_core(self, core: int) -> None:
        """The calling thread, which may be of another process than the load's, serves `core` from now on."""
        # uWSGI 2.0.21 blocks all signals in its threads but the first: faulthandler must see this thread's faults
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, _FAULTS)
        self._watch.resume()
        if self.box is not None:
            self.box.take_core(core, get_ident())

    def _tell(self, message: str, trace: str, advice: str) -> None:
        self._log.record(message, None, "ERROR", trace, advice)


def _seconds(option: str) -> int:
    try:
        return int(connection.option(option) or 0)
    except ValueError:
        return 0
