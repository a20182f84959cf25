"""What the front makes of a URL before any site sees it: the host and the path, as nginx reads them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from user_wsgi_wrapper.emperor_hook.nginx import SECRETS
from user_wsgi_wrapper.site import BadValueError, parse_domain, shorten

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_SECRET = re.compile(rb"/\.(?:%s)" % "|".join(SECRETS).encode(), re.IGNORECASE)
# What a browser sends of a path as it is, RFC 3986 section 3.3, and the escapes that are there already.
_KEPT = "/%:@!$&'()*+,;=-._~[]|^`{}\"<>\\"


@dataclass(frozen=True)
class Asked:
    """A URL's host as it was written and its path as a browser sends it (RFC 9112 section 3.2.1)."""

    host: str
    path: bytes


def split(url: str) -> Asked:
    """The parts of `http://HOST[:PORT]/PATH`, the scheme being optional; raises BadValueError for what is none."""
    try:
        parts: SplitResult = urlsplit(url if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", url) else f"http://{url}")
        host = parts.hostname or ""
        _ = parts.port
    except ValueError as error:
        raise BadValueError(f"URL {shorten(url)}: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise BadValueError(f"URL {shorten(url)}: http or https is needed, not {shorten(parts.scheme)}")
    if not host:
        raise BadValueError(f"URL {shorten(url)}: there is no host in it")
    if any(character <= " " or character == "\x7f" for character in parts.path):
        raise BadValueError(f"URL {shorten(url)}: a path holds no spaces or control characters, write them as %20")
    return Asked(host, quote(parts.path or "/", safe=_KEPT).encode("ascii"))


def domain_of(host: str, longest: int) -> str | None:
    """The domain that the front takes a host for, as nginx.host_regex says; None if it can be no site's."""
    try:
        domain = parse_domain(host)
    except BadValueError:
        return None
    return domain if len(domain) <= longest else None


def normalize(path: bytes) -> bytes | None:
    """nginx's $document_uri: escapes resolved, slashes merged, dots followed. None: a 400.

    That is ngx_http_parse_complex_uri with merge_slashes: an escaped slash or dot counts as one.
    """
    decoded = _decode(path)
    if decoded is None or b"\0" in decoded or not decoded.startswith(b"/"):
        return None
    names: list[bytes] = []
    parts = decoded.split(b"/")[1:]
    for name in parts:
        if name == b"..":
            if not names:
                return None
            names.pop()
        elif name not in (b"", b"."):
            names.append(name)
    ends_in_folder = parts[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(names) + (b"/" if names and ends_in_folder else b"")


def _decode(path: bytes) -> bytes | None:
    if any(match[1] is None for match in _ESCAPE.finditer(path)):
        return None
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), path)


def is_secret(path: bytes) -> bool:
    """Whether the front answers 404 for a normalized path, whatever the site has there."""
    return _SECRET.search(path) is not None
