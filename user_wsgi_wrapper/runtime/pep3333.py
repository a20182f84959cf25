"""The rules of PEP 3333 for what an application hands to its server; each check raises ResponseError or passes."""

from __future__ import annotations

from user_wsgi_wrapper.runtime.failure import ResponseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # noqa: S105  RFC 9110 5.6.2
_CONTROLS = frozenset(
    chr(code) for code in [*range(9), *range(10, 32), 127]
)  # RFC 9110 section 5.5; a tab is allowed
_KNOWN_LIMIT = 512

# Header names and statuses that have passed their check: once is enough for each.
KNOWN_NAMES: set[str] = set()
KNOWN_STATUSES: set[str] = set()


def check_status(status: Any) -> str:
    """The status as servers take it: `200 OK`; a lone `200`, which uWSGI completes, gets its space."""
    if not isinstance(status, str):
        raise ResponseError(f"the status {shorten(status)} is not a str (PEP 3333)")
    if not (len(status) >= 3 and status[:3].isascii() and status[:3].isdigit() and status[3:4] in ("", " ")):
        raise ResponseError(f"the status {shorten(status)} is not of the form '200 OK' (PEP 3333)")
    _check_text("the status", status)
    if len(status) == 3:
        return f"{status} "
    # Of these two Exchange wants to hear each time.
    if len(KNOWN_STATUSES) < _KNOWN_LIMIT and not status.startswith(("400 ", "500 ")):
        KNOWN_STATUSES.add(status)
    return status


def check_headers(headers: Any) -> None:
    """The headers are a list of (name, value) tuples of str without control characters."""
    if not isinstance(headers, list):
        raise ResponseError(f"the headers are of type {type(headers).__name__}, a list is needed (PEP 3333)")
    for header in headers:
        if not (isinstance(header, tuple) and len(header) == 2):
            raise ResponseError(f"the header {shorten(header)} is not a tuple (name, value) (PEP 3333)")
        name, value = header
        if not (isinstance(name, str) and isinstance(value, str)):
            raise ResponseError(f"the header {shorten(header)} is not of two str (PEP 3333)")
        if not name or name.strip(_TOKEN):
            raise ResponseError(f"the header name {shorten(name)} is no token (RFC 9110 section 5.1)")
        _check_text(f"the header {name}'s value", value)
        if len(KNOWN_NAMES) < _KNOWN_LIMIT:
            KNOWN_NAMES.add(name)


def check_chunk(chunk: Any, source: str) -> None:
    """A piece of the body is bytes; `source` says where it came from."""
    if not isinstance(chunk, bytes):
        kind = "None" if chunk is None else f"an object of type {type(chunk).__name__}"
        hint = " (.encode() makes bytes of text)" if isinstance(chunk, str) else ""
        raise ResponseError(f"{source} {kind}; PEP 3333: bytes are needed{hint}")


def shorten(value: object) -> str:
    """A value's repr, at most 80 characters of it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _check_text(what: str, text: str) -> None:
    if not _CONTROLS.isdisjoint(text):
        raise ResponseError(f"{what} {shorten(text)} holds a control character (PEP 3333)")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise ResponseError(f"{what} {shorten(text)} can't be encoded in latin-1 (PEP 3333)") from None
