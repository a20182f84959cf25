"""Whose an access line is: pure, on bytes.

A key is the name of a domain as site.parse_domain gives it; what isn't one is told by None.
"""

from __future__ import annotations

import json
import re

_LABEL = rb"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# A part of the law that needs no second look: the last label begins with a letter, so this is no address.
_PLAIN = re.compile(rb"(?:" + _LABEL + rb"\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
# control characters inside strings are let through: json_key says why
_DECODE = json.JSONDecoder(strict=False).raw_decode
_JSON_SPACE = " \t\n\r"
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


def canonical_host(word: bytes) -> bytes | None:
    """`key` or `key:port`: the canonical key, or None."""
    host, colon, port = word.partition(b":")
    return canonical(host) if not colon or (port.isdigit() and len(port) <= 5) else None


def json_key(line: bytes, field: str) -> bytes:
    """What stands for the key in a JSON object (RFC 8259): its `field`, not yet looked at; empty if there is none.

    Read as latin-1: nginx passes the bytes of a request on as they are, and no visitor may keep a line out of a
    domain's log by sending some that are no UTF-8.
    """
    text = line.decode("latin-1").strip(_JSON_SPACE)
    try:
        value, end = _DECODE(text)
    except (ValueError, RecursionError):
        return b""
    key = value.get(field) if isinstance(value, dict) and end == len(text) else None
    return key.encode("latin-1", "replace") if isinstance(key, str) else b""
