"""What a vassal's master runs at its start (uWSGI's `shared-pyimport`), so that it sees a worker's end at once.

By itself it looks once a second. A visitor who comes while an idle site ends would wait for that, and so would those
of a site whose worker has died.

No module is imported but what is built into the interpreter: the tenant's folder is on sys.path.
"""

import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`
import sys

_UWSGI = sys.modules.get("uwsgi")


def _woken(_number: int, _frame: object) -> None:
    """The system call in which the master waits is over: that was all."""


def _become_worker() -> None:
    """In a worker, before any code of the tenant's: what is the master's alone is put away."""
    del _UWSGI.become_worker  # type: ignore[union-attr]
    if _signal.getsignal(_signal.SIGCHLD) is _woken:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)


if _UWSGI is not None:
    _signal.signal(_signal.SIGCHLD, _woken)
    _UWSGI.become_worker = _become_worker  # type: ignore[attr-defined]
