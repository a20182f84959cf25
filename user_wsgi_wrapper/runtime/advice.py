"""One line that says what to do about an exception, for the mistakes that everybody makes once.

A false hint is worse than none: each rule verifies what it says, in the frames, on the disk or in sys.modules, and is
silent otherwise. No rule imports anything or runs code of the tenant's but an exception's __str__.
"""

from __future__ import annotations

import time

from user_wsgi_wrapper.runtime.loader import WsgiLoadError
from user_wsgi_wrapper.runtime.origin import file_of, places, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

LIMIT = 1500  # characters
AGAIN = 1.0  # seconds for which the same failure's advice holds: some look at many files, and crashes come in floods
_DEPTH = 8
_last: tuple[Any, float, str] = (None, 0.0, "")
# Exceptions of these packages wrap the one that tells the reason.
_WRAPPERS = ("django.", "sqlalchemy.", "flask.", "werkzeug.", "jinja2.")


def advise(error: BaseException, wsgi_file: str) -> str:
    """What to do about an exception, on one line; empty if nothing certain can be said. Never raises.

    `wsgi_file` is the path of the site's WSGI file. Called when a failure is recorded, while its frames are there.
    """
    global _last
    try:
        key = (type(error), text_of(error)[:200], [(file_of(place), place[1]) for place in places(error)[-3:]])
        now = time.monotonic()
        if _last[0] == key and now - _last[1] < AGAIN:
            return _last[2]
        from user_wsgi_wrapper.runtime import rules

        said = next(filter(None, (rules.apply(one, wsgi_file) for one in _chain(error))), "")
        said = " ".join(said.split())[:LIMIT]
        _last = (key, now, said)
    except BaseException:
        return ""  # the failure has its record; what is missing is a hint
    return said


def advise_running(stack: list[tuple[FrameType, int]], wsgi_file: str) -> str:
    """The same for a load that doesn't come to its end: `stack` are its frames and lines, the outermost first."""
    try:
        from user_wsgi_wrapper.runtime import rules

        return " ".join(rules.apply_to_running(stack, wsgi_file).split())[:LIMIT]
    except BaseException:
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that it merely wraps: of what the tenant's own code caught nothing is said."""
    for _ in range(_DEPTH):
        yield error
        inner = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        is_wrapper = isinstance(error, WsgiLoadError) or str(type(error).__module__).startswith(_WRAPPERS)
        if inner is None or not is_wrapper:
            return
        error = inner
