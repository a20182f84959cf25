"""Advice for a Django that refuses the site's own domain: it answers 400 and, unless in debug, says so nowhere."""

from __future__ import annotations

import re
import sys

from user_wsgi_wrapper.runtime.origin import kinds, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def advise(error: BaseException) -> str:
    """What to do about a DisallowedHost that left Django, of code of the tenant's around it."""
    if "django.core.exceptions.DisallowedHost" not in kinds(error):
        return ""
    match = re.match(r"Invalid HTTP_HOST header: '([^']*)'\. You may need to add '([^']*)' to", text_of(error))
    return advise_host(match[2]) if match and _is_refused(match[2]) else ""


def refused(asked: Any) -> str:
    """The host that Django refused, of a request of its own (a WSGIRequest) that it answered with 400; or nothing."""
    names = asked.__dict__
    # Hosts are looked at before URLs: a request that came as far as a view was refused for something else.
    if names.get("resolver_match", names) is not None:
        return ""
    header = "HTTP_HOST"
    if settings().get("USE_X_FORWARDED_HOST") and "HTTP_X_FORWARDED_HOST" in names["META"]:
        header = "HTTP_X_FORWARDED_HOST"
    host = re.sub(r":\d+$", "", str(names["META"].get(header, "")).lower()).rstrip(".")
    return host if re.fullmatch(r"[a-z0-9.-]+", host) and _is_refused(host) else ""


def settings() -> dict[str, Any]:
    """Django's settings as they are loaded, read past the properties of their classes."""
    lazy = sys.modules["django.conf"].__dict__["settings"]
    found: dict[str, Any] = object.__getattribute__(lazy.__dict__["_wrapped"], "__dict__")
    return found


def _is_refused(host: str) -> bool:
    names = settings()
    allowed = names.get("ALLOWED_HOSTS")
    if not isinstance(allowed, (list, tuple)) or not all(type(pattern) is str for pattern in allowed):
        return False
    if names.get("DEBUG") is not False and not allowed:
        return False  # localhost is allowed then
    return not any(_allows(pattern.lower(), host) for pattern in allowed)


def _allows(pattern: str, host: str) -> bool:
    if pattern.startswith("."):
        return host.endswith(pattern) or host == pattern[1:]
    return pattern in ("*", host)


def advise_host(host: str) -> str:
    """What to do about a host that Django refuses."""
    module = sys.modules.get(str(settings().get("SETTINGS_MODULE")))
    path = getattr(module, "__dict__", {}).get("__file__")
    return f"add {host!r} to ALLOWED_HOSTS" + (f" in {path}" if type(path) is str else "")
