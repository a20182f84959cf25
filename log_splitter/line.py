"""One access line in, its key and its text out: pure, on bytes.

A key is the name of a domain as site.parse_domain gives it; what isn't one is told by None, and the text is then the
whole line, so that a catch-all file keeps what there is to know. A newline at a line's end is left where it is.
"""

from __future__ import annotations

import json
import re

_LABEL = rb"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A part of the law that needs no second look: the last label begins with a letter, so this is no address.
_PLAIN = re.compile(rb"(?:" + _LABEL + rb"\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_MAX_DOMAIN = 253  # as site.MAX_DOMAIN
_MAX_KEY = _MAX_DOMAIN + 1  # with a trailing dot; longer ones aren't even looked at


def canonical(key: bytes) -> bytes | None:
    """A domain's one spelling (lower case, no trailing dot), or None if it is no domain."""
    if len(key) > _MAX_KEY:
        return None
    key = key.lower()
    if len(key) <= _MAX_DOMAIN and _PLAIN.fullmatch(key):
        return key
    if not key.isascii():
        return None
    from user_wsgi_wrapper import site  # 15 ms that few streams have to pay

    try:
        return site.parse_domain(key.decode("ascii")).encode("ascii")
    except site.BadValueError:
        return None


def parse_pipe(line: bytes) -> tuple[bytes | None, bytes]:
    """`key|text`: the key stands before the first bar."""
    key, bar, text = line.partition(b"|")
    name = canonical(key) if bar else None
    return (name, text) if name is not None else (None, line)


def parse_vhost(line: bytes) -> tuple[bytes | None, bytes]:
    """`key text` or `key:port text`: Apache's %v, or Debian's vhost_combined, stands first."""
    word, space, text = line.partition(b" ")
    name = canonical_host(word) if space else None
    return (name, text) if name is not None else (None, line)


def canonical_host(word: bytes) -> bytes | None:
    """`key` or `key:port`: the canonical key, or None."""
    host, colon, port = word.partition(b":")
    return canonical(host) if not colon or (port.isdigit() and len(port) <= 5) else None


def parse_json(line: bytes, field: str) -> tuple[bytes | None, bytes]:
    """A JSON object (RFC 8259) whose `field` is the key; the text is the whole line.

    Read as latin-1: nginx passes the bytes of a request on as they are, and no visitor may keep a line out of a
    domain's log by sending some that are no UTF-8.
    """
    try:
        # control characters inside strings are let through for the same reason
        value = json.loads(line.decode("latin-1"), strict=False)
    except (ValueError, RecursionError):
        return None, line
    key = value.get(field) if isinstance(value, dict) else None
    return (canonical(key.encode("latin-1", "replace")) if isinstance(key, str) else None), line
