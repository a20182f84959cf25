"""What stands between a visitor and the pages: hosts, origins, cookies, and the headers of every answer."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

from user_wsgi_wrapper.web.sessions import LONGEST, Session

_HERE = ("localhost", "127.0.0.1")  # who was told a port, and asks on this machine
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with none at all, browsers say `Origin: null` of a form
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def is_our_host(request: Request, host: str | None) -> bool:
    """Whether it was sent to the pages' own name: else another name was made to lead here (DNS rebinding)."""
    name = request.host.rpartition(":")[0] if ":" in request.host else request.host
    return name == host or name in _HERE


def is_from_here(request: Request) -> bool:
    """Whether a request that changes something comes from one of our own pages, as far as a browser tells.

    Browsers send Origin with every POST (Fetch, section 3.2); what isn't one can't be made to send anything.
    """
    origin = request.headers.get("Origin")
    if origin is not None:
        return urlsplit(origin).netloc == request.host
    return request.headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"


def has_csrf_word(request: Request, session: Session) -> bool:
    """Whether a form was sent with the word that only our own pages know."""
    return secrets.compare_digest(request.form.get("csrf", "").encode(), session.csrf.encode())


def cookie_name(request: Request) -> str:
    """Over HTTPS one that no other host and no unencrypted answer can set (RFC 6265bis, section 4.1.3.2)."""
    return "__Host-session" if request.scheme == "https" else "session"


def set_cookie(request: Request, response: Response, session: Session) -> None:
    """Give the browser its login."""
    response.set_cookie(
        cookie_name(request),
        session.key,
        max_age=int(LONGEST),
        path="/",
        secure=request.scheme == "https",
        httponly=True,
        samesite="Strict",
    )


def drop_cookie(request: Request, response: Response) -> None:
    """Take it away again."""
    is_secure = request.scheme == "https"
    response.delete_cookie(cookie_name(request), path="/", secure=is_secure, httponly=True, samesite="Strict")


def protect(response: Response) -> Response:
    """The headers that every answer has."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    return response
