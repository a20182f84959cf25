"""Advice for a Django that refuses the site's own domain: it answers 400 and, unless in debug, says so nowhere."""

from __future__ import annotations

import re
import sys

from user_wsgi_wrapper.runtime import request
from user_wsgi_wrapper.runtime.origin import kinds, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from user_wsgi_wrapper.runtime.error_log import ErrorLog

_CALLERS = 20  # middleware around Django's handler
_HOSTS = 16  # that are told of


def advise(error: BaseException) -> str:
    """What to do about a DisallowedHost that left Django, of code of the tenant's around it."""
    if "django.core.exceptions.DisallowedHost" not in kinds(error):
        return ""
    match = re.match(r"Invalid HTTP_HOST header: '([^']*)'\. You may need to add '([^']*)' to", text_of(error))
    return _advise(match[2]) if match and _is_refused(match[2]) else ""


class Watch:
    """Records, once for each host, that Django refused a request for its host."""

    def __init__(self, log: ErrorLog, environ: Callable[[], dict[str, Any] | None]) -> None:
        self._log = log
        self._environ = environ
        self._told: set[str] = set()

    def bad_request(self) -> None:
        """Called, in the frames of start_response, for an answer of status 400. Never raises."""
        try:
            host = _refused(sys._getframe(1))
            if host and host not in self._told and len(self._told) < _HOSTS:
                self._told.add(host)
                environ = self._environ()
                what = f"{request.method(environ)} {request.path(environ)}"
                self._log.record(
                    f"{what}: Django answered 400, it refuses the host {host!r}",
                    environ,
                    "WARNING",
                    advice=_advise(host),
                )
        except Exception:  # noqa: S110  Django's answer goes out
            pass


def _refused(frame: FrameType | None) -> str:
    """The host of the request that Django answers in the calling frames, if it is the host that it refused."""
    for _ in range(_CALLERS):
        if frame is None:
            return ""
        if frame.f_globals.get("__name__") == "django.core.handlers.wsgi" and "request" in frame.f_locals:
            break
        frame = frame.f_back
    else:
        return ""
    asked = frame.f_locals["request"].__dict__
    # Hosts are looked at before URLs: a request that came as far as a view was refused for something else.
    if asked.get("resolver_match", asked) is not None:
        return ""
    meta = asked["META"]
    name = "HTTP_HOST"
    if _settings().get("USE_X_FORWARDED_HOST") and "HTTP_X_FORWARDED_HOST" in meta:
        name = "HTTP_X_FORWARDED_HOST"
    host = re.sub(r":\d+$", "", str(meta.get(name, "")).lower()).rstrip(".")
    return host if re.fullmatch(r"[a-z0-9.-]+", host) and _is_refused(host) else ""


def _settings() -> dict[str, Any]:
    """Django's settings as they are loaded, read past the properties of their classes."""
    lazy = sys.modules["django.conf"].__dict__["settings"]
    found: dict[str, Any] = object.__getattribute__(lazy.__dict__["_wrapped"], "__dict__")
    return found


def _is_refused(host: str) -> bool:
    settings = _settings()
    allowed = settings.get("ALLOWED_HOSTS")
    if not isinstance(allowed, (list, tuple)) or not all(type(pattern) is str for pattern in allowed):
        return False
    if settings.get("DEBUG") is not False and not allowed:
        return False  # localhost is allowed then
    return not any(_allows(pattern.lower(), host) for pattern in allowed)


def _allows(pattern: str, host: str) -> bool:
    if pattern.startswith("."):
        return host.endswith(pattern) or host == pattern[1:]
    return pattern in ("*", host)


def _advise(host: str) -> str:
    module = sys.modules.get(str(_settings().get("SETTINGS_MODULE")))
    path = getattr(module, "__dict__", {}).get("__file__")
    return f"add {host!r} to ALLOWED_HOSTS" + (f" in {path}" if type(path) is str else "")
