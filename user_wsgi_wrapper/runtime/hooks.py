"""The interpreter's hooks for exceptions that nobody caught: in a thread, in `__del__`, in a callback."""

from __future__ import annotations

import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any

    from user_wsgi_wrapper.runtime.records import Records
    from user_wsgi_wrapper.runtime.streams import Pending


def take(records: Records, pending: Pending, current_environ: Callable[[], dict[str, Any] | None]) -> None:
    """Make one record of each, behind what its thread has written before."""

    def record(error: BaseException, message: str) -> None:
        pending.flush()
        records.write_or_count(error, current_environ(), message)

    def uncaught(_type: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
        record(error, "an exception was not caught")

    def thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            record(args.exc_value, f"the thread {args.thread.name if args.thread is not None else '?'} died")

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        if args.exc_value is not None:
            record(args.exc_value, f"{args.err_msg or 'Exception ignored in'}: {_safe_repr(args.object)}")

    sys.excepthook = uncaught
    threading.excepthook = thread
    sys.unraisablehook = unraisable


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except BaseException:
        return f"<{type(value).__name__} object, repr() failed>"
