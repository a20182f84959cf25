"""Threads of our own in the tenant's process: no signal is delivered to them, and no one is waited for at the end."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`
from _thread import start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def start(function: Callable[[], None]) -> bool:
    """Run `function` in a thread; False if the process can't have one more.

    A server's signal handlers expect to run in its own threads, and the server blocks signals in all but the first.
    """

    def run() -> None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        function()

    try:
        start_new_thread(run, ())
    except RuntimeError:
        return False
    return True
