"""What a visitor sees while a site wakes, or when it can't: a small page, or JSON for who asks for it."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from string import Template

from werkzeug.datastructures import MIMEAccept
from werkzeug.wrappers import Response

REFRESH = 2  # seconds between two looks of the waiting page


@dataclass(frozen=True)
class Page:
    """One kind of answer. `retry_after` is in seconds; `refresh` makes a browser look again by itself."""

    status: int
    title: str
    text: str
    retry_after: int | None = None
    refresh: bool = False


NO_SITE = Page(404, "No site here", "There is no site under this name.")
WAKING = Page(
    503, "Waking up", "This site is starting. The page looks again by itself.", retry_after=REFRESH, refresh=True
)
WAKING_UNSEEN = Page(
    503, "Waking up", "This site is starting. Your request was not carried out; please send it again.", retry_after=5
)
UNAVAILABLE = Page(503, "Not available just now", "Please try again in a few seconds.", retry_after=5)
NEVER_STARTED = Page(500, "This site does not start", "Its owner finds the reason in the site's logs.")
CANNOT_BUILD = Page(500, "This site can't be started", "The operator of this server finds the reason in the log.")
BROKE_OFF = Page(502, "No answer from this site", "It broke off while it worked on this request.")
TOO_SLOW = Page(504, "No answer from this site", "It took too long over this request.")

_HTML = Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">$refresh
<title>$title</title><style>
:root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem}
h1{font-size:1.4rem}small{opacity:.7}</style></head>
<body><h1>$title</h1><p>$text</p><p><small>Request <code>$request_id</code></small></p></body></html>
"""
)


def answer(page: Page, accept: MIMEAccept, request_id: str) -> Response:
    """The HTTP response that shows `page`; JSON if the Accept header prefers it (RFC 9110 section 12.5.1)."""
    kind = accept.best_match(["text/html", "application/json"], default="text/html")
    response = Response(_body(page, kind, request_id), page.status, content_type=f"{kind}; charset=utf-8")
    response.headers["X-Request-ID"] = request_id
    response.headers["Cache-Control"] = "no-store"
    if page.retry_after is not None:
        response.headers["Retry-After"] = str(page.retry_after)
    return response


def _body(page: Page, kind: str, request_id: str) -> str:
    if kind == "application/json":
        return json.dumps({"status": page.status, "title": page.title, "detail": page.text, "request_id": request_id})
    return _HTML.substitute(
        title=html.escape(page.title),
        text=html.escape(page.text),
        request_id=html.escape(request_id),
        refresh=f'<meta http-equiv="refresh" content="{REFRESH}">' if page.refresh else "",
    )
