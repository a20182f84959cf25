"""What a vassal's master runs at its start (uWSGI's `shared-pyimport`), before there is a worker.

It waits until the site's control group holds it, and sees to it that a worker's end is seen at once: by itself it
looks once a second. A visitor who comes while an idle site ends would wait for that, and so would those of a site
whose worker has died.

No module is imported but what is built into the interpreter: the tenant's folder is on sys.path.
"""

import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`
import posix
import sys
from time import monotonic, sleep

_UWSGI = sys.modules.get("uwsgi")
_PATIENCE = 5.0  # seconds that the kernel has to move a process to its group; it takes twenty milliseconds
_LOOK_AGAIN = 0.0005


def _woken(_number: int, _frame: object) -> None:
    """The system call in which the master waits is over: that was all."""


def _become_worker() -> None:
    """In a worker, before any code of the tenant's: what is the master's alone is put away."""
    del _UWSGI.become_worker  # type: ignore[union-attr]
    if _signal.getsignal(_signal.SIGCHLD) is _woken:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)


def _is_in(group: bytes) -> bool:
    """Whether this process's group of version 2 is the one whose path ends so, cgroups(7)."""
    descriptor = posix.open("/proc/self/cgroup", posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        lines = posix.read(descriptor, 1 << 16).splitlines()
    finally:
        posix.close(descriptor)
    return any(line.startswith(b"0::") and line.endswith(group) for line in lines)


def _enter(group: bytes) -> None:
    """Return once the group holds this process, as was asked for while it was root's; end it if that doesn't come."""
    why = b"it did not come to be in it"
    try:
        deadline = monotonic() + _PATIENCE
        while not _is_in(group):
            if monotonic() > deadline:
                raise TimeoutError
            sleep(_LOOK_AGAIN)
    except BaseException as error:  # uWSGI would print it, and go on
        if not isinstance(error, TimeoutError):
            why = repr(error).encode(errors="replace")
        posix.write(2, b"the site doesn't start without its control group " + group + b": " + why + b"\n")
        posix._exit(1)


if b"SITE_CONTROL_GROUP" in posix.environ:
    _enter(posix.environ[b"SITE_CONTROL_GROUP"])
if _UWSGI is not None:
    _signal.signal(_signal.SIGCHLD, _woken)
    _UWSGI.become_worker = _become_worker  # type: ignore[attr-defined]
