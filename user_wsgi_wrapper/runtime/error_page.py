"""The page that a visitor sees when the application fails: HTML, JSON when that is preferred, or the tenant's own."""

from __future__ import annotations

import os
import stat
from time import monotonic

from user_wsgi_wrapper.runtime import late

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STATUS = "500 Internal Server Error"
PLACEHOLDER = b"{{request_id}}"  # in the tenant's own page: replaced by the request's id
OWN_PAGE_LIMIT = 1 << 18  # bytes

KEPT_FOR = 0.1  # seconds for which the tenant's page is taken to be as it was: a crash loop asks for it all the time

_BEFORE_ID = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Something went wrong</title>
<style>
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto; padding: 0 1rem }
code, pre { background: rgba(128, 128, 128, .15); padding: .2em .4em }
pre { overflow: auto; padding: 1em }
</style>
</head>
<body>
<h1>Something went wrong</h1>
<p>This site could not answer your request. If it is yours, its error log has the reason.</p>
<p>Request: <code>"""
_AFTER_ID = "</code></p>\n"
_END = "</body>\n</html>\n"


class ErrorPage:
    """Makes the answer of status 500. `own_page` is the path of the tenant's page, which need not exist.

    With `debug` the page shows the record's traceback (`shows_detail`).
    """

    def __init__(self, own_page: str, debug: bool = False) -> None:
        self._own_page = own_page
        self._own = b""
        self._read_at = float("-inf")
        self.shows_detail = debug
        self._dumps = _json_dumps() if debug else None

    def render(
        self, environ: dict[str, Any], request_id: str, detail: str
    ) -> tuple[list[tuple[str, str]], list[bytes]]:
        """The headers and the body of the answer; `detail` is the failure's text, shown only with debug.

        The headers carry the request's id as X-Request-ID. The body of an answer to HEAD is empty.
        """
        if not self.shows_detail:
            detail = ""
        if prefers_json(environ.get("HTTP_ACCEPT", "")):
            kind, body = "application/json", self._json(request_id, detail)
        else:
            kind, body = "text/html; charset=utf-8", self._html(request_id, detail)
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Request-ID", request_id),
        ]
        return headers, [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]

    def _html(self, request_id: str, detail: str) -> bytes:
        if not detail:
            own = self._read_own()
            if own:
                return own.replace(PLACEHOLDER, request_id.encode())
        shown = f"<pre>{_escape(detail)}</pre>\n" if detail else ""
        return f"{_BEFORE_ID}{request_id}{_AFTER_ID}{shown}{_END}".encode("utf-8", "backslashreplace")

    def _read_own(self) -> bytes:
        now = monotonic()
        if now - self._read_at > KEPT_FOR:
            self._own = _read_small(self._own_page)
            self._read_at = now
        return self._own

    def _json(self, request_id: str, detail: str) -> bytes:
        text = f'{{"status": 500, "title": "Internal Server Error", "request_id": "{request_id}"'
        if self._dumps is not None and detail:
            text += f', "detail": {self._dumps(detail)}'
        return (text + "}\n").encode()


def prefers_json(accept: str) -> bool:
    """Whether an Accept header (RFC 9110 section 12.5.1) names JSON and weighs it above HTML."""
    if "json" not in accept:
        return False
    json = html = 0.0
    for item in accept.split(","):
        kind, _, parameters = item.strip().lower().partition(";")
        kind = kind.strip()
        if kind == "application/json" or kind.endswith("+json"):
            json = max(json, _quality(parameters))
        elif kind in ("text/html", "application/xhtml+xml"):
            html = max(html, _quality(parameters))
    return json > html


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


def _read_small(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError):
        return b""
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > OWN_PAGE_LIMIT:
            return b""
        return os.read(fd, OWN_PAGE_LIMIT)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _json_dumps() -> Callable[[object], str]:
    dumps: Callable[[object], str] = late.load("json").dumps  # for sites in debug alone
    return dumps
