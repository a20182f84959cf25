"""Threads of our own in the tenant's process: no signal is delivered to them, and no one is waited for at the end."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # without the enumerations of `signal`
from _thread import stack_size, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STACK = 256 * 1024  # bytes: a site with a memory limit has to pay for it


def start(function: Callable[[], None]) -> bool:
    """Run `function` in a thread; False if the process can't have one more.

    A server's signal handlers expect to run in its own threads, and the server blocks signals in all but the first.
    """

    def run() -> None:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        function()

    size = stack_size(STACK)
    try:
        start_new_thread(run, ())
    except RuntimeError:
        return False
    finally:
        stack_size(size)
    return True
