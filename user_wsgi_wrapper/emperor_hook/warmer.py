"""The warmer: the one process of initialize that is root. It brings up the sites that the HTTP side names.

A name is all that it takes from there. What the name stands for it looks up itself, in the registry and by the
lookup query, whose answers pass the naming law here as they do everywhere.

    python -m user_wsgi_wrapper.emperor_hook.warmer [--root DIR] [--config FILE]
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import json_log, service_account, spinup
from user_wsgi_wrapper.emperor_hook.cgroups import CgroupError
from user_wsgi_wrapper.emperor_hook.chroot import ChrootError
from user_wsgi_wrapper.emperor_hook.emperor import EmperorDownError
from user_wsgi_wrapper.emperor_hook.limit_watch import LimitWatch
from user_wsgi_wrapper.emperor_hook.locks import LockedError, locked
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError, RegistryDownError
from user_wsgi_wrapper.emperor_hook.shared_files import SharedFilesError
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.emperor_hook.token_bucket import TokenBucket
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome
from user_wsgi_wrapper.emperor_hook.warm_server import Bounds, WarmServer
from user_wsgi_wrapper.emperor_hook.warmups import WARMUPS_A_THREAD, Warmups
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError

_OUTCOMES: tuple[tuple[type[BaseException], Outcome], ...] = (
    (NoSuchSiteError, Outcome.NO_SITE),
    (RegistryDownError, Outcome.REGISTRY_DOWN),
    (EmperorDownError, Outcome.EMPEROR_DOWN),
    (spinup.NeverStartedError, Outcome.NEVER_STARTED),
    (BadValueError, Outcome.CANNOT_BUILD),
    (ChrootError, Outcome.CANNOT_BUILD),
    (CgroupError, Outcome.CANNOT_BUILD),
    (SharedFilesError, Outcome.CANNOT_BUILD),
)
_BACKLOG = 1024  # a crowd at as many cold sites
_FAILURES_TOLD = (10.0, 200.0)  # a second, and at once: who is asked for failing sites without end fills no disk

log = logging.getLogger("user_wsgi_wrapper.warmer")


def outcome_of(error: BaseException | None) -> tuple[Outcome, str]:
    """What the HTTP side is told of a warm-up's end; of an error that nobody foresaw, that there was one."""
    if error is None:
        return Outcome.UP, ""
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome, str(error)
    return Outcome.FAILED, "unforeseen; the warmer's log has it"


def warm_known(machine: Machine, domain: str) -> None:
    """Warm a domain; of a name that somebody made up nothing stays, not even a lock. Raises as spinup.warm does."""
    if not is_known(machine.layout, domain) and machine.registry.find(domain) is None:
        raise NoSuchSiteError(f"domain {domain}: there is no such site")
    spinup.warm(machine, domain)


def is_known(layout: Layout, domain: str) -> bool:
    """Whether the domain was added or served here: then it has a folder for its logs."""
    return layout.log_dir(domain).is_dir()


class _Told:
    """Warm-ups whose failures stand whole in the warmer's own log, at a bounded rate."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self._bucket = TokenBucket(*_FAILURES_TOLD)
        self._untold = 0

    def warm(self, domain: str) -> None:
        began = time.monotonic()
        try:
            warm_known(self._machine, domain)
        except NoSuchSiteError:
            raise
        except Exception as error:
            self._tell(domain, error, time.monotonic() - began)
            raise

    def _tell(self, domain: str, error: Exception, seconds: float) -> None:
        with self._lock:
            if not self._bucket.take():
                self._untold += 1
                return
            untold, self._untold = self._untold, 0
        more = {"untold": untold} if untold else {}
        unforeseen = outcome_of(error)[0] is Outcome.FAILED
        log.error(
            "warm-up failed",
            extra={"domain": domain, "error": str(error), "seconds": round(seconds, 3), **more},
            exc_info=unforeseen,
        )


def listen(path: Path, gid: int) -> socket.socket:
    """A listening socket of sequenced packets that root and the group can connect to; it takes the place of any."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.bind(str(new))  # nobody can connect until it listens
        os.chown(new, 0, gid)
        new.chmod(0o660)
        listener.listen(_BACKLOG)
        new.replace(path)
    except BaseException:
        listener.close()
        raise
    return listener


def run(machine: Machine) -> None:
    """Warm what is asked for until the process is killed, which is safe at any moment. Raises BadValueError."""
    uid, gid = service_account.find(machine.config.warm.user)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    at_most = WARMUPS_A_THREAD * machine.config.warm.threads
    spinup.get_ready(machine)
    machine.layout.run_dir.mkdir(parents=True, exist_ok=True)
    LimitWatch(machine.layout, machine.config.limits.log_size).start()
    WarmServer(
        listen(machine.layout.warmer_socket, gid),
        frozenset({0, uid}),
        Bounds(warmups=at_most),
        Warmups(_Told(machine).warm, at_most).join,
        outcome_of,
        lambda domain: is_known(machine.layout, domain),
        lambda line: log.warning("misbehaved", extra={"error": line}),
    ).serve_forever()


def main() -> int:
    """The program; its exit status, if it ever ends by itself."""
    parser = argparse.ArgumentParser("warmer", description="Bring up the sites that initialize's HTTP side names.")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="where every path begins")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the configuration")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback: there is nothing to clean up
    json_log.begin(log)
    layout = Layout(arguments.root.resolve())
    try:
        machine = spinup.open_machine(layout, arguments.config)
        with locked(layout, "warmer", "up", wait=False):
            run(machine)
    except LockedError:
        print(f"warmer: another one runs on {layout.root}", file=sys.stderr)
    except (BadValueError, OSError) as error:
        print(f"warmer: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
