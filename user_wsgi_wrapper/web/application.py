"""The WSGI application: who is asking, what for, and the one table of what there is to ask for."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import Map, Rule
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from user_wsgi_wrapper.emperor_hook import json_log, spinup
from user_wsgi_wrapper.emperor_hook.configuration_files import CONFIG_VARIABLE, ROOT_VARIABLE
from user_wsgi_wrapper.emperor_hook.registry import RegistryDownError
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.web import guard, pages
from user_wsgi_wrapper.web.hosting import SHOWN, Hosting, NotYoursError
from user_wsgi_wrapper.web.live_tail import LiveTails
from user_wsgi_wrapper.web.metrics import Metrics
from user_wsgi_wrapper.web.reloads import Reloads
from user_wsgi_wrapper.web.sessions import Sessions
from user_wsgi_wrapper.web.site_views import SiteViews, Visit
from user_wsgi_wrapper.web.throttle import Throttle
from user_wsgi_wrapper.web.tokens import METRICS, OPERATOR, Token, TokenBook

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_MOST = 512 * 1024  # bytes of a request's body
_WRONG = "This token isn't known here, or it was revoked."
_ROUTES = Map(
    [
        Rule("/", endpoint="sites", methods=["GET"]),
        Rule("/login", endpoint="login_form", methods=["GET"]),
        Rule("/login", endpoint="login", methods=["POST"]),
        Rule("/logout", endpoint="logout", methods=["POST"]),
        Rule("/assets/<name>", endpoint="asset", methods=["GET"]),
        Rule("/metrics", endpoint="metrics", methods=["GET"]),
        Rule("/sites/<domain>", endpoint="overview", methods=["GET"]),
        Rule("/sites/<domain>/reload", endpoint="reload", methods=["POST"]),
        Rule("/sites/<domain>/reload", endpoint="reload_outcome", methods=["GET"]),
        Rule("/sites/<domain>/logs", endpoint="logs", methods=["GET"]),
        Rule("/sites/<domain>/logs/stream", endpoint="stream", methods=["GET"]),
        Rule("/sites/<domain>/errors", endpoint="failures", methods=["GET"]),
        Rule("/sites/<domain>/settings", endpoint="settings", methods=["GET"]),
        Rule("/sites/<domain>/settings", endpoint="change", methods=["POST"]),
    ],
    merge_slashes=False,
    strict_slashes=False,
)
log = logging.getLogger("user_wsgi_wrapper.web")


class Application:
    """The pages over one machine. `options` are the command line's global ones, for what runs as a command."""

    def __init__(self, machine: Machine, options: tuple[str, ...]) -> None:
        self._host = machine.config.web.host
        self._hosting = Hosting(machine)
        self._tokens = TokenBook(machine.layout)
        self._sessions = Sessions()
        self._throttle = Throttle()
        self._views = SiteViews(self._hosting, Reloads(options), LiveTails(machine.config.web.streams))
        self._metrics = Metrics(machine)
        self._open: dict[str, Callable[..., Response]] = {
            "login_form": lambda request: pages.render("login.html", {"error": ""}),
            "login": self._login,
            "asset": self._asset,
            "metrics": self._show_metrics,
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        request = Request(environ)
        request.max_content_length = request.max_form_memory_size = _MOST
        return guard.protect(self._respond(request))(environ, start_response)

    def _respond(self, request: Request) -> Response:
        try:
            if not guard.is_our_host(request, self._host):
                return _problem(421, "Another name", "These pages have another host name.")
            endpoint, arguments = _ROUTES.bind_to_environ(request.environ).match()
            if request.method == "POST" and not guard.is_from_here(request):
                return _problem(403, "Not from here", "This was sent by another site's page. Nothing was done.")
            if endpoint in self._open:
                return self._open[endpoint](request, **arguments)
            return self._respond_inside(request, endpoint, arguments)
        except NotYoursError:
            return _problem(404, "No such page", "There is no such page, or it isn't yours to see.")
        except RequestEntityTooLarge:
            return _problem(413, "Too long", f"A form may have {_MOST // 1024} KiB. Nothing was done.")
        except HTTPException as error:
            return _problem(error.code or 400, error.name, "There is nothing here to see or to do.")
        except RegistryDownError as error:
            log.error("the registry is down", extra={"error": str(error)})
            return _problem(503, "Not available just now", "The list of sites can't be read. Try again soon.")
        except Exception:
            log.exception("a page failed", extra={"path": request.path})
            return _problem(500, "This page failed", "The operator finds the reason in the log.")

    def _respond_inside(self, request: Request, endpoint: str, arguments: Mapping[str, Any]) -> Response:
        visit = self._visit(request)
        if visit is None:
            is_page = request.method == "GET" and endpoint not in ("stream", "reload_outcome")
            return redirect("/login", 303) if is_page else _problem(401, "Logged out", "Log in first.")
        if request.method == "POST" and not guard.has_csrf_word(request, visit.session):
            return _problem(403, "An old form", "This form is of another login. Nothing was done; open it again.")
        if endpoint == "logout":
            return self._logout(visit)
        if endpoint == "sites":
            return self._sites(visit)
        site = self._hosting.site(visit.token, arguments["domain"])
        answer: Callable[..., Response] = getattr(self._views, endpoint)
        return answer(visit, site)

    def _visit(self, request: Request) -> Visit | None:
        session = self._sessions.find(request.cookies.get(guard.cookie_name(request)))
        if session is None:
            return None

        def token_now() -> Token | None:
            found = self._sessions.find(session.key, touch=False)
            return None if found is None else self._tokens.named(found.token_name, found.token_digest)

        token = token_now()
        return None if token is None else Visit(request, session, token, token_now)

    def _login(self, request: Request) -> Response:
        address = request.remote_addr or "-"
        wait = self._throttle.wait(address)
        if wait > 0:
            minutes = int(wait // 60) + 1
            text = f"Too many wrong tokens came from your address. Try again in {minutes} minutes."
            response = pages.render("login.html", {"error": text}, 429)
            response.headers["Retry-After"] = str(int(wait) + 1)
            return response
        token = self._tokens.find(request.form.get("token", "").strip())
        if token is None or token.kind == METRICS:
            self._throttle.failed(address)
            log.warning("a wrong token", extra={"address": address})
            return pages.render("login.html", {"error": _WRONG}, 401)
        log.info("login", extra={"address": address, "token": token.name})
        old = request.cookies.get(guard.cookie_name(request))
        if old:
            self._sessions.close(old)
        response = redirect("/", 303)
        guard.set_cookie(request, response, self._sessions.open(token))
        return response

    def _logout(self, visit: Visit) -> Response:
        self._sessions.close(visit.session.key)
        response = redirect("/login", 303)
        guard.drop_cookie(visit.request, response)
        return response

    def _sites(self, visit: Visit) -> Response:
        containing = visit.request.args.get("q", "")[:100]
        found, has_more = self._hosting.sites(visit.token, containing)
        rows = self._hosting.status(found)
        states: dict[str, int] = {}
        for row in rows:
            states[row.state] = states.get(row.state, 0) + 1
        values = {
            "rows": rows,
            "states": sorted(states.items()),
            "memory": sum(row.memory for row in rows),
            "has_more": has_more,
            "most": SHOWN,
            "containing": containing,
        }
        return pages.render("sites.html", values | visit.values)

    def _asset(self, request: Request, name: str) -> Response:
        response = pages.asset(name)
        if response is None:
            raise NotYoursError(name)
        return response

    def _show_metrics(self, request: Request) -> Response:
        """For tokens alone: whoever is on this machine, a tenant's code too, can ask from a loopback address."""
        address = request.remote_addr or "-"
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        token = (
            self._tokens.find(text.strip()) if kind.lower() == "bearer" and not self._throttle.wait(address) else None
        )
        if token is None or token.kind not in (METRICS, OPERATOR):
            if text:
                self._throttle.failed(address)
            response = Response("A token for metrics is needed.\n", 401, content_type="text/plain; charset=utf-8")
            response.headers["WWW-Authenticate"] = 'Bearer realm="metrics"'
            return response
        body, content_type = self._metrics.render()
        return Response(body, content_type=content_type)


def _problem(status: int, title: str, text: str) -> Response:
    return pages.render("problem.html", {"title": title, "text": text}, status)


def from_environment() -> Application:
    """The application as uWSGI loads it (`module = …:from_environment()`)."""
    json_log.begin(log)
    layout = Layout(Path(os.environ.get(ROOT_VARIABLE, "/")))
    chosen = os.environ.get(CONFIG_VARIABLE)
    options = ("--root", str(layout.root), *(("--config", chosen) if chosen else ()))
    return Application(spinup.open_machine(layout, Path(chosen) if chosen else None), options)
