"""The HTTP face of warm(): nginx asks here when nobody listens for a site.

The answer is X-Accel-Redirect to the location @awake, which has nginx send the visitor's own request to the site,
method, URI and body as they came; or a page that says why not.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pythonjsonlogger.json import JsonFormatter
from werkzeug.wrappers import Request, Response

from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook import pages, spinup
from user_wsgi_wrapper.emperor_hook.cgroups import CgroupError
from user_wsgi_wrapper.emperor_hook.chroot import ChrootError
from user_wsgi_wrapper.emperor_hook.configuration_files import CONFIG_VARIABLE, ROOT_VARIABLE
from user_wsgi_wrapper.emperor_hook.emperor import EmperorDownError
from user_wsgi_wrapper.emperor_hook.limit_watch import LimitWatch
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError, RegistryDownError, open_registry
from user_wsgi_wrapper.emperor_hook.shared_files import SharedFilesError
from user_wsgi_wrapper.emperor_hook.waiting_room import WaitingRoom
from user_wsgi_wrapper.emperor_hook.warmups import Warmups
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, parse_domain

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_PAGES: tuple[tuple[type[BaseException], pages.Page], ...] = (
    (NoSuchSiteError, pages.NO_SITE),
    (RegistryDownError, pages.UNAVAILABLE),
    (EmperorDownError, pages.UNAVAILABLE),
    (spinup.NeverStartedError, pages.NEVER_STARTED),
    (BadValueError, pages.CANNOT_BUILD),
    (ChrootError, pages.CANNOT_BUILD),
    (CgroupError, pages.CANNOT_BUILD),
    (SharedFilesError, pages.CANNOT_BUILD),
)
_SAFE_TO_REPEAT = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110 section 9.2.1

# Sites that never come up keep their warm-ups for a minute, though nobody waits for them: hundreds may hang.
_WARMUPS_A_THREAD = 8
_MARGIN = 5.0  # seconds, for what a warm-up does beside waiting for a worker

log = logging.getLogger("user_wsgi_wrapper.initialize")


def page_for(error: BaseException) -> pages.Page:
    """The page that answers for an error of warm(); UNAVAILABLE for one that nobody foresaw."""
    return next((page for kind, page in _PAGES if isinstance(error, kind)), pages.UNAVAILABLE)


class Initialize:
    """The WSGI application. `warm` brings one domain up or raises; each runs once, however many wait."""

    def __init__(self, warm: Callable[[str], None], warm_config: configuration.Warm) -> None:
        self._warm = warm
        self._config = warm_config
        self._warmups = Warmups(self._warm_and_log, _WARMUPS_A_THREAD * warm_config.threads)
        self._room = WaitingRoom(warm_config.threads, warm_config.page_after)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer nginx (PEP 3333). REQUEST_ID, SITE_STATUS and SITE_CONNECT_TIME are nginx's parameters."""
        return self._respond(environ)(environ, start_response)

    def _respond(self, environ: WSGIEnvironment) -> Response:
        request = Request(environ)
        request_id = str(environ.get("REQUEST_ID", ""))[:12] or "-"
        try:
            domain = parse_domain(request.path.rpartition("/")[2])
        except BadValueError:
            return pages.answer(pages.NO_SITE, request.accept_mimetypes, request_id)
        page = self._page(domain, request, environ)
        if page is None:
            return Response(headers={"X-Accel-Redirect": "@awake", "X-Site-Known": "1"})
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
        except NoSuchSiteError:
            log.info("unknown domain", extra={"domain": domain})
            raise
        except Exception as error:
            foreseen = any(isinstance(error, kind) for kind, _ in _PAGES)
            log.error(
                "warm-up failed",
                extra={"domain": domain, "error": str(error), "seconds": round(time.monotonic() - began, 3)},
                exc_info=not foreseen,
            )
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
    """The application as uWSGI loads it (`module = …:from_environment()`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter("{asctime}{levelname}{message}", style="{", rename_fields={"asctime": "timestamp"})
    )
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    layout = Layout(Path(os.environ.get(ROOT_VARIABLE, "/")))
    chosen = os.environ.get(CONFIG_VARIABLE)
    config = configuration.load(layout, Path(chosen) if chosen else None)
    machine = spinup.Machine(layout, config, open_registry(config, layout))
    spinup.get_ready(machine)
    LimitWatch(layout, config.limits.log_size).start()
    return Initialize(lambda domain: warm_known(machine, domain), config.warm)


def warm_known(machine: spinup.Machine, domain: str) -> None:
    """Warm a domain; of a name that somebody made up nothing stays, not even a lock. Raises as spinup.warm does."""
    is_stranger = not machine.layout.log_dir(domain).is_dir()
    if is_stranger and machine.registry.find(domain) is None:
        raise NoSuchSiteError(f"domain {domain}: there is no such site")
    spinup.warm(machine, domain)
