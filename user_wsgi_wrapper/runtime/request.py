"""What the log and the error page say of a request: its id, its method, its path. Pure."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ID_LENGTH = 12
NO_REQUEST = "-"
_HEX = "0123456789abcdef"


def request_id(environ: dict[str, Any] | None) -> str:
    """The first 12 hex digits of the front's REQUEST_ID, or `-` outside a request.

    The key has no HTTP_ prefix, so no visitor can set it. If it is missing or malformed an id is made here
    and kept in the environ: making one costs more than everything else that a request needs, so only the
    requests that are written about pay for it.
    """
    if environ is None:
        return NO_REQUEST
    value = environ.get("REQUEST_ID")
    if not isinstance(value, str) or not ID_LENGTH <= len(value) <= 64 or value.strip(_HEX):
        value = environ["REQUEST_ID"] = os.urandom(16).hex()
    return value[:ID_LENGTH]


def method(environ: dict[str, Any] | None) -> str | None:
    """The request method, printable; None outside a request."""
    return None if environ is None else _printable(environ.get("REQUEST_METHOD", "?"))


def path(environ: dict[str, Any] | None) -> str | None:
    """The path without its query, which may carry secrets; decoded and printable; None outside a request."""
    if environ is None:
        return None
    return _printable(f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}" or "/")


def _printable(value: object) -> str:
    # WSGI strings carry bytes as latin-1 (PEP 3333, "Unicode Issues").
    text = str(value)
    try:
        text = text.encode("latin-1").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        pass
    return text if text.isprintable() else repr(text)[1:-1]
