"""A new version of the site: tried in a worker beside those that serve, and taken only if it works.

Under a vassal of ours alone (see `succession`). What makes a worker refuse its version is `preflight`: `import`, any
failure to load it; `compile`, that it can't be read or compiled; `off`, nothing.
"""

from __future__ import annotations

import atexit
import os
from time import monotonic, time, time_ns

from user_wsgi_wrapper.runtime import deploy_file, late
from user_wsgi_wrapper.runtime.black_box import file_state, read_server_log
from user_wsgi_wrapper.runtime.deploy_file import NOTHING
from user_wsgi_wrapper.runtime.loader import WsgiLoadError
from user_wsgi_wrapper.runtime.site_log import how_it_ends, moment
from user_wsgi_wrapper.runtime.succession import BROKEN, GOOD, KEPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from user_wsgi_wrapper.runtime.deploy_file import Deploys
    from user_wsgi_wrapper.runtime.settings import Settings
    from user_wsgi_wrapper.runtime.site_log import SiteLog
    from user_wsgi_wrapper.runtime.succession import Succession
    from user_wsgi_wrapper.runtime.worker import Worker

_GUARDED = {"import": None, "compile": ("read", "compile"), "off": ()}  # phases of WsgiLoadError; None: all
_LOOK_EVERY = 1.0  # seconds
_LONG = 5.0  # seconds that a worker which isn't stuck has noticed by that it is to make room
_PATIENCE = 2.5  # seconds that the master has to see a touch by itself
_RESPAWN = 29  # uWSGI's exit code of a worker that is to be replaced without a word: UWSGI_QUIET_CODE
_ROOTS = ("/var/www/", "/home/")  # the tenant's own folders in his chroot


class Deploy:
    """One worker's part in the site's versions. `report(error, addition)` writes the record of a failed load and
    returns its text.
    """

    def __init__(
        self,
        settings: Settings,
        worker: Worker,
        succession: Succession,
        site_log: SiteLog,
        report: Callable[[WsgiLoadError, str], str],
    ) -> None:
        self._folder = settings.keep_folder or ""
        self._path = settings.wsgi_file
        self._phases = _GUARDED.get(settings.preflight)
        self._worker = worker
        self._succession = succession
        self._log = site_log
        self._report = report
        self._file = worker.file
        self._served = worker.file
        self._began = time()
        self._is_to_be_kept = False
        self._settled = self._looked = self._patience = self._ask_at = 0.0
        self._seen = self._refused = NOTHING
        self._is_leaving = self._is_cleared = False
        self._who = f"worker {worker.number} (pid {os.getpid()})"

    def load(self) -> Callable[..., Any]:
        """The application to serve. Raises WsgiLoadError where the error page is to be served; its record is written.

        Doesn't return where this worker isn't to serve: the process ends.
        """
        if not self._succession.is_needed():
            self._succession.take_turn()  # what another finds out about this version needn't be found out again
        if self._succession.is_superfluous(self._file):
            self._leave()
        deploys = deploy_file.read(self._folder)
        if self._file == deploys.refused != NOTHING and self._phases != ():
            if not self._succession.is_needed():
                self._leave()
            source = self._restore()
            if source is not None:
                return self._load_kept(source)
        try:
            app = self._worker.load()
        except WsgiLoadError as error:
            self._fail(error, deploys)
            raise
        self._settle(GOOD, self._file)
        self._note_good(deploys)
        self._is_to_be_kept = True
        return app

    def look(self) -> bool:
        """In the worker's own thread: make room for a newer worker; keep the version that works; have a newer one
        loaded. Gives whether it is to be called again soon. While the worker itself loads there is nothing to do.

        The master sees a touch by itself, but not one within the second of the last, one dated back, or one that
        comes while no worker more can be started.
        """
        if not self._settled:
            return False
        if self._is_to_be_kept:
            self._is_to_be_kept = False
            self._keep()
        if self._succession.make_room():
            return True
        now = monotonic()
        if now - self._looked < _LOOK_EVERY:
            return False
        self._looked = now
        found = file_state(self._path)
        if not found[2] or found in (self._served, self._refused):
            self._seen = NOTHING
        elif found != self._seen:
            self._seen, self._patience, self._ask_at = found, _PATIENCE, now + _PATIENCE
        elif now >= self._ask_at:
            self._patience *= 2  # it was heard, but there is no room yet; or nobody can note what came of it
            self._ask_at = now + self._patience
            if deploy_file.read(self._folder).refused == found:
                self._refused = found
            else:
                self._succession.ask_for(1)
        if now >= self._settled + _LONG:
            self._succession.end_the_replaced()
        return False

    def end(self) -> None:
        """The interpreter ends."""
        if self._is_leaving:
            return
        if self._succession.is_first():
            code = how_it_ends(read_server_log())
            if code:
                self._log.say(code, f"{self._who} ends" + (", no request for a while" if code == "idle" else ""))
        self._succession.end_for_good_if_retired()

    def _restore(self) -> bytes | None:
        """The kept version's source, if there is one; what it imports is the kept version's then."""
        kept = late.load("user_wsgi_wrapper.runtime.kept")
        version = kept.version(self._folder)
        if version is None:
            return None
        try:
            source: bytes = kept.restore(self._folder)
        except OSError:
            self._is_cleared = True  # by somebody who left the list of what was there
            return None
        self._served, self._refused = version, self._file
        return source

    def _load_kept(self, source: bytes) -> Callable[..., Any]:
        try:
            app = self._worker.load(source)
        except WsgiLoadError as error:
            self._report(error, f"this was the kept version, of {moment(self._served[2])}")
            self._settle(BROKEN, self._file)
            raise
        self._settle(KEPT, self._served)
        return app

    def _fail(self, error: WsgiLoadError, deploys: Deploys) -> None:
        """Returns where there is nothing better than the error page."""
        if self._phases is None or error.phase in self._phases:
            if not self._succession.is_needed() and self._succession.someone_serves_well():
                since = f", as it has since {moment(deploys.since)}" if deploys.since else ""
                self._refuse(error, deploys, f"the version of {moment(deploys.good[2])} goes on serving{since}")
                self._leave()
            version = late.load("user_wsgi_wrapper.runtime.kept").version(self._folder)
            if (
                version is not None
                and not self._is_cleared
                and self._refuse(error, deploys, f"the kept version of {moment(version[2])} is served instead")
            ):
                self._end(_RESPAWN)
        if not error.is_reported:
            self._note_bad(deploys, self._report(error, ""), is_served=True)
        self._settle(BROKEN, self._file)

    def _refuse(self, error: WsgiLoadError, deploys: Deploys, addition: str) -> bool:
        """Whether the refusal is noted: if it isn't, the next worker would try that version again."""
        is_noted = self._note_bad(deploys, self._report(error, addition), is_served=False)
        self._log.say("refused", f"{self._name(self._file)}: {error.message}; {addition}")
        return is_noted

    def _settle(self, role: int, file: tuple[int, int, int]) -> None:
        if not self._succession.settle(role, file):
            self._leave()
        self._succession.end_turn()
        self._settled = monotonic()
        replaced = self._succession.replaced
        what = {GOOD: "serves", KEPT: "serves the kept version of", BROKEN: "serves the error page for"}[role]
        code = {GOOD: "reloaded" if replaced else "started", KEPT: "kept", BROKEN: "broken"}[role]
        room = f"; pid {replaced} ends when its requests are done" if replaced else ""
        self._log.say(code, f"{self._who} {what} {self._name(file)}{room}")

    def _name(self, file: tuple[int, int, int]) -> str:
        return f"{self._path} of {moment(file[2])}" if file[2] else self._path

    def _note_good(self, deploys: Deploys) -> None:
        if deploys.good == self._file and deploys.bad == NOTHING:
            return
        if deploys.good != self._file:
            deploys.good, deploys.since = self._file, time_ns()
        deploys.bad, deploys.reason = NOTHING, ""
        self._write(deploys)

    def _note_bad(self, deploys: Deploys, reason: str, is_served: bool) -> bool:
        deploys.bad, deploys.bad_at, deploys.reason, deploys.is_served = self._file, time_ns(), reason, is_served
        return self._write(deploys)

    def _write(self, deploys: Deploys) -> bool:
        try:
            deploy_file.write(self._folder, deploys)
        except OSError as error:
            self._log.say("unkept", f"{self._folder} can't be written: {error.strerror}")
            return False
        return True

    def _keep(self) -> None:
        try:
            kept = late.load("user_wsgi_wrapper.runtime.kept")
            roots = (*_ROOTS, f"{os.path.dirname(os.path.abspath(self._path))}/")
            kept.save(self._folder, self._path, self._file, roots, self._began)
        except OSError as error:
            self._log.say("unkept", f"the version could not be kept: {error.strerror}")
        except ImportError:
            pass  # no descriptor or no memory left: the next start tries again

    def _leave(self) -> None:
        self._end(0)

    def _end(self, code: int) -> None:
        self._is_leaving = True
        atexit._run_exitfuncs()
        if code:
            os._exit(code)
        self._succession.leave()
