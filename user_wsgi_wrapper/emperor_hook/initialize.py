"""The HTTP face of warming: nginx asks here when nobody listens for a site.

The answer is X-Accel-Redirect to the location @awake, which has nginx send the visitor's own request to the site,
method, URI and body as they came; or a page that says why not. It has no rights and knows no site: what there is, and
all that root has to do for it, is the warmer's.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from werkzeug.wrappers import Request, Response

from user_wsgi_wrapper.emperor_hook import initialize_environment, json_log, pages, privileges, warmups
from user_wsgi_wrapper.emperor_hook.waiting_room import WaitingRoom
from user_wsgi_wrapper.emperor_hook.warm_client import NotWarmError, WarmClient
from user_wsgi_wrapper.emperor_hook.warm_protocol import Outcome
from user_wsgi_wrapper.site import BadValueError, parse_domain

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_PAGES: Mapping[Outcome | None, pages.Page] = {
    Outcome.NO_SITE: pages.NO_SITE,
    Outcome.NEVER_STARTED: pages.NEVER_STARTED,
    Outcome.CANNOT_BUILD: pages.CANNOT_BUILD,
}
_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1
_MARGIN = 5.0  # seconds, for what a warm-up does beside waiting for a worker

# What the warmer may take beyond a start's own time: its turn, its locks, the Emperor's socket.
_WARMER_MARGIN = warmups.PATIENCE + 15.0

log = logging.getLogger("user_wsgi_wrapper.initialize")


def page_for(error: BaseException) -> pages.Page:
    """The page that answers for an error of warm(); UNAVAILABLE for one that nobody foresaw."""
    outcome = error.outcome if isinstance(error, NotWarmError) else None
    return _PAGES.get(outcome, pages.UNAVAILABLE)


class WarmSettings(Protocol):
    """The part of the configuration that the HTTP side needs: [warm]."""

    @property
    def page_after(self) -> float:
        """Seconds until a waiting visitor gets the waiting page."""

    @property
    def give_up_after(self) -> float:
        """Seconds until a warm-up is a failure."""

    @property
    def threads(self) -> int:
        """Requests that are answered at once."""


class Initialize:
    """The WSGI application. `warm` brings one domain up or raises; each runs once, however many wait."""

    def __init__(self, warm: Callable[[str], None], warm_config: WarmSettings) -> None:
        self._warm = warm
        self._config = warm_config
        # whose turn it is to start is for the warmer to see
        at_most = warmups.WARMUPS_A_THREAD * warm_config.threads
        self._warmups = warmups.Warmups(self._warm_and_log, at_most, in_turn=False)
        self._room = WaitingRoom(warm_config.threads, warm_config.page_after)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer nginx (PEP 3333). REQUEST_ID, SITE_STATUS and SITE_CONNECT_TIME are nginx's parameters."""
        return self._respond(environ)(environ, start_response)

    def _respond(self, environ: WSGIEnvironment) -> Response:
        request = Request(environ)
        request_id = str(environ.get("REQUEST_ID", ""))[:12] or "-"
        try:
            # nginx gives it in ASCII; the law's part for other names would load code, which may be out of reach now
            domain = parse_domain(request.path.rpartition("/")[2].encode("ascii").decode())
        except (BadValueError, UnicodeEncodeError):
            return pages.answer(pages.NO_SITE, request.accept_mimetypes, request_id)
        page = self._page(domain, request, environ)
        if page is None:
            response = Response(headers={"X-Accel-Redirect": "@awake", "X-Site-Known": "1"})
            del response.headers["Content-Type"]  # nginx would give its charset to the site's own answer
            return response
        response = pages.answer(page, request.accept_mimetypes, request_id)
        if page is not pages.NO_SITE:
            response.headers["X-Site-Known"] = "1"
        return response

    def _page(self, domain: str, request: Request, environ: WSGIEnvironment) -> pages.Page | None:
        """None once the site is up; else the page that says why not."""
        failure = _failure_of_the_site(str(environ.get("SITE_STATUS", "")), str(environ.get("SITE_CONNECT_TIME", "")))
        if failure is not None:
            return failure
        # a person gets a page that looks again by itself; a program, and what can't be repeated, waits for the end
        is_shown = request.method in _SAFE_TO_REPEAT and _asks_for_a_page(request)
        patience = self._config.page_after if is_shown else self._config.give_up_after + _MARGIN
        warmup = self._warmups.join(domain)
        if not self._room.wait(domain, warmup, patience):
            return pages.WAKING if is_shown else pages.WAKING_UNSEEN
        error = warmup.exception()  # whatever it is, the visitor gets an answer; _warm_and_log told it
        return None if error is None else page_for(error)

    def _warm_and_log(self, domain: str) -> None:
        began = time.monotonic()
        try:
            self._warm(domain)
        except NotWarmError as error:
            if error.outcome is Outcome.NO_SITE:
                log.info("unknown domain", extra={"domain": domain})
            else:
                seconds = round(time.monotonic() - began, 3)
                log.error("warm-up failed", extra={"domain": domain, "error": str(error), "seconds": seconds})
            raise
        except Exception:
            log.exception("warm-up failed", extra={"domain": domain})
            raise
        log.info("warm", extra={"domain": domain, "seconds": round(time.monotonic() - began, 3)})


def _asks_for_a_page(request: Request) -> bool:
    """Whether the Accept header names HTML, as a browser's does when a person follows a link."""
    return any(kind == "text/html" for kind, _ in request.accept_mimetypes)


def _failure_of_the_site(status: str, connect_time: str) -> pages.Page | None:
    """What nginx's first try tells: the page to show, or None if the request never reached the site.

    `status` and `connect_time` are nginx's $upstream_status and $upstream_connect_time. A colon says that the
    request was sent here before; a connect time that is a number, that the site may have begun to work on it.
    """
    reached_it = connect_time not in ("", "-")
    if ":" not in status and not reached_it:
        return None
    return pages.TOO_SLOW if status.endswith("504") else pages.BROKE_OFF


def from_environment() -> Initialize:
    """The application as uWSGI loads it (`module = …:from_environment()`), as root and before it answers anyone.

    Gives all rights up in the end; raises OSError, so that uWSGI ends, if one was left.
    """
    json_log.begin(log)
    settings = initialize_environment.read(os.environ)
    client = WarmClient(settings.warmer, settings.give_up_after + _WARMER_MARGIN)
    application = Initialize(client.warm, settings)
    privileges.drop_to(settings.uid, settings.gid)
    return application
