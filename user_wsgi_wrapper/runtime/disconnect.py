"""Whether an exception only says that the client is gone: none of the application's doing, so no failure of it.

Every server tells it in its own words, and frameworks raise classes of their own for it, which is all found out
after the fact: a request that goes well pays nothing.
"""

from __future__ import annotations

from user_wsgi_wrapper.runtime import connection
from user_wsgi_wrapper.runtime.exchange import Exchange

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

READING = "while its request was read"
WRITING = "while it was answered"
_UWSGI = ("error during read", "timeout during read")
_MOD_WSGI = {"Apache/mod_wsgi request data read error": READING, "Apache/mod_wsgi client connection": WRITING}
_CHAIN = 5  # exceptions that are looked at


def when(error: BaseException, environ: dict[str, Any]) -> str:
    """READING or WRITING if the client went away then, else the empty text."""
    if not isinstance(error, OSError):
        return ""
    text = str(error.args[0] if error.args else "")
    if connection.UWSGI is not None:
        # frameworks keep the text in classes of their own
        return READING if text.startswith(_UWSGI) and text.endswith("on wsgi.input") else ""
    for start, moment in _MOD_WSGI.items():
        if text.startswith(start):
            return moment
    body = environ.get("wsgi.input")
    bodies = (body, getattr(body, "raw", None))
    for one in _chain(error):
        if isinstance(one, OSError):
            for function, owner in _calls(one):
                if owner is not None and any(owner is each for each in bodies):
                    return READING
                if function is Exchange.__call__.__code__:
                    return WRITING
    return ""


def is_hung_up(error: BaseException) -> bool:
    """Whether the server goes no further because the client is gone: it is raised at our own yield."""
    return type(error) is GeneratorExit and error.__traceback__ is not None and not error.__traceback__.tb_next


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    for _ in range(_CHAIN):
        if one is None:
            return
        yield one
        one = one.__cause__ or one.__context__


def _calls(error: BaseException) -> Iterator[tuple[Any, Any]]:
    """The functions that the exception came through, each its code and its `self`."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_frame.f_locals.get("self")
        trace = trace.tb_next
