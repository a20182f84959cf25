"""The rules of the advice, the certain ones first, and which exception of a chain they are asked about."""

from __future__ import annotations

import time

from user_wsgi_wrapper.runtime import (
    callable_name,
    database_file,
    django_setup,
    file_access,
    missing_module,
    own_server,
    refused_host,
    shadow,
    source_fault,
)
from user_wsgi_wrapper.runtime.loader import WsgiLoadError
from user_wsgi_wrapper.runtime.origin import file_of, places, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

AGAIN = 1.0  # seconds for which the same failure's advice holds: some look at many files, and crashes come in floods
_DEPTH = 8
_last: tuple[Any, float, str] = (None, 0.0, "")
# Exceptions of these packages wrap the one that tells the reason.
_WRAPPERS = ("django.", "sqlalchemy.", "flask.", "werkzeug.", "jinja2.")


def said_of(error: BaseException, wsgi_file: str) -> str:
    """What the first rule says that knows the exception, or one of those that it wraps."""
    global _last
    key = (type(error), text_of(error)[:200], [(file_of(place), place[1]) for place in places(error)[-3:]])
    now = time.monotonic()
    if _last[0] == key and now - _last[1] < AGAIN:
        return _last[2]
    said = next(filter(None, (apply(one, wsgi_file) for one in _chain(error))), "")
    _last = (key, now, said)
    return said


def said_of_running(frame: FrameType | None, wsgi_file: str) -> str:
    """What the rules know of a load that is still running, and stands at `frame`."""
    stack: list[tuple[FrameType, int]] = []
    while frame is not None:
        stack.append((frame, frame.f_lineno))
        frame = frame.f_back
    return own_server.advise_places(stack[::-1], wsgi_file)


def apply(error: BaseException, wsgi_file: str) -> str:
    """What the first rule says that knows the exception; its cause is looked at separately."""
    if isinstance(error, WsgiLoadError):
        return callable_name.advise(wsgi_file) if error.phase == "name" and error.__cause__ is None else ""
    return (
        own_server.advise(error, wsgi_file)
        or source_fault.advise(error, wsgi_file)
        or shadow.advise(error)
        or django_setup.advise(error, wsgi_file)
        or missing_module.advise(error, wsgi_file)
        or refused_host.advise(error)
        or database_file.advise(error, wsgi_file)
        or file_access.advise(error, wsgi_file)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it merely wraps: of what the tenant's own code caught nothing is said."""
    for _ in range(_DEPTH):
        yield error
        inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        is_wrapper = isinstance(error, WsgiLoadError) or str(type(error).__module__).startswith(_WRAPPERS)
        if inner is None or not is_wrapper:
            return
        error = inner
