"""What a vassal's master runs at its start (uWSGI's `shared-pyimport`), so that it sees a worker's end at once.

By itself it looks once a second. A visitor who comes while an idle site ends would wait for that, and so would those
of a site whose worker has died.

No module is imported but what is built into the interpreter: the tenant's folder is on sys.path.
"""

import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`

import uwsgi  # type: ignore[import-untyped]


def _woken(_number: int, _frame: object) -> None:
    """The system call in which the master waits is over: that was all."""


def _become_worker() -> None:
    """In a worker, before any code of the tenant's: what is the master's alone is put away."""
    del uwsgi.become_worker
    if _signal.getsignal(_signal.SIGCHLD) is _woken:
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)


_signal.signal(_signal.SIGCHLD, _woken)
uwsgi.become_worker = _become_worker
