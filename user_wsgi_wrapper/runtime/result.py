"""What an application returned: what kind of result it is, and what is wrong with one that is none."""

from __future__ import annotations

from _io import _IOBase, _TextIOBase  # an isinstance with io's own is dear: those are ABCs

from user_wsgi_wrapper.runtime import connection
from user_wsgi_wrapper.runtime.failure import ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def is_text(result: Any) -> bool:
    """Whether it gives text, which PEP 3333 doesn't allow."""
    return isinstance(result, (str, _TextIOBase))


def is_file(result: Any, environ: dict[str, Any]) -> bool:
    """Whether the server may send it as a file."""
    if isinstance(result, _IOBase):
        return True
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type):
        return isinstance(result, wrapper)
    # uWSGI's wrapper gives back what it was given, which needs a read() and nothing else.
    return wrapper is not None and hasattr(result, "read")


def is_upgrade(environ: dict[str, Any]) -> bool:
    """Whether uwsgi.websocket_handshake() has sent the head of the answer itself."""
    return connection.UWSGI is not None and "HTTP_SEC_WEBSOCKET_KEY" in environ


def not_started() -> ResponseError:
    """What is wrong with a body before any head."""
    return ResponseError("start_response was not called; PEP 3333: before the first byte of the body it has to be")


def close_quietly(result: Any) -> None:
    """Call its close(), if it has one, whatever that does."""
    close = getattr(result, "close", None)
    if close is not None:
        try:
            close()
        except Exception:  # noqa: S110  the answer is a failure already, and it has its record
            pass


def not_iterable(result: object) -> ResponseError:
    """What is wrong with a result that isn't of bytes."""
    return ResponseError(f"the application returned {name_of(result)}; PEP 3333: an iterable of bytes is needed")


def name_of(result: object) -> str:
    """What a message calls it."""
    return "None" if result is None else f"an object of type {type(result).__name__}"
