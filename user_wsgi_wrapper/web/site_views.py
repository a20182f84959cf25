"""The pages of one site."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import deploys, tail
from user_wsgi_wrapper.emperor_hook.chroot import ChrootError
from user_wsgi_wrapper.emperor_hook.emperor import EmperorDownError
from user_wsgi_wrapper.emperor_hook.registry import NoSuchSiteError
from user_wsgi_wrapper.site import BadValueError, Site
from user_wsgi_wrapper.web import chart, pages, site_form
from user_wsgi_wrapper.web.failures import Group
from user_wsgi_wrapper.web.hosting import Hosting, NotYoursError
from user_wsgi_wrapper.web.live_tail import AT_FIRST, LINES, LiveTails, TooManyError, shown
from user_wsgi_wrapper.web.log_file import lines_within
from user_wsgi_wrapper.web.reloads import Outcome, Reloads
from user_wsgi_wrapper.web.sessions import Session
from user_wsgi_wrapper.web.tokens import OPERATOR, Token
from user_wsgi_wrapper.web.traffic import DAY, HOUR, Span

_SHOWN_FAILURES = 100


@dataclass(frozen=True)
class Visit:
    """A request of somebody who is logged in. `token_now` gives the token of his login, None once that has ended."""

    request: Request
    session: Session
    token: Token
    token_now: Callable[[], Token | None]

    def may_still_see(self, site: Site) -> bool:
        """Whether he is logged in yet, with a token that allows the site."""
        token = self.token_now()
        return token is not None and token.allows(site)

    @property
    def values(self) -> dict[str, object]:
        """What every page's template needs."""
        return {"session": self.session, "token": self.token, "is_operator": self.token.kind == OPERATOR}


class SiteViews:
    """Each method answers for one site, which the visitor's token allows."""

    def __init__(self, hosting: Hosting, reloads: Reloads, tails: LiveTails) -> None:
        self._hosting = hosting
        self._reloads = reloads
        self._tails = tails

    def overview(self, visit: Visit, site: Site) -> Response:
        """State, reload, charts."""
        charts = self._hosting.charts(site)
        (status,) = self._hosting.status([site])
        values = {
            "site": site,
            "status": status,
            "refused": self._refusal(site),
            "outcome": _outcome(self._reloads.last(site.domain, site.username)),
            "spans": [_drawn("Last 24 hours", "hour", charts.day), _drawn("Last 30 days", "day", charts.month)],
            "width": chart.WIDTH,
            "is_whole": charts.is_whole,
        }
        return pages.render("overview.html", values | visit.values)

    def _refusal(self, site: Site) -> str:
        machine = self._hosting.machine
        uid = machine.registry.identity(site.username).uid
        return deploys.read(machine.layout, site.username, site.domain, uid).reason

    def reload(self, visit: Visit, site: Site) -> Response:
        """Begin a reload; the overview shows what becomes of it."""
        self._reloads.start(site.domain, site.username)
        return redirect(f"/sites/{site.domain}#reload", 303)

    def reload_outcome(self, visit: Visit, site: Site) -> Response:
        """What became of it, as JSON, for the page's script to look at again."""
        outcome = _outcome(self._reloads.last(site.domain, site.username)) or {"state": "none"}
        return Response(json.dumps(outcome), content_type="application/json")

    def logs(self, visit: Visit, site: Site) -> Response:
        """The end of one of the three logs; the page's script goes on from there."""
        kind = _kind(visit.request)
        try:
            path = self._hosting.log(site, kind)
            lines = [shown(line) for line in tail.last_lines(path, lines_within(path, LINES, AT_FIRST))]
        except OSError:
            lines = []
        values = {"site": site, "kind": kind, "kinds": ("error", "access", "server"), "lines": lines}
        return pages.render("logs.html", values | visit.values)

    def stream(self, visit: Visit, site: Site) -> Response:
        """One of the logs as it grows, as server-sent events."""
        kind = _kind(visit.request)
        path = self._hosting.log(site, kind)
        try:
            events = self._tails.start(visit.token.name, path, lambda: visit.may_still_see(site))
        except TooManyError:
            return Response("Too many live tails are open.\n", 503, {"Retry-After": "10"}, content_type="text/plain")
        response = Response(events, content_type="text/event-stream; charset=utf-8")
        response.headers["X-Accel-Buffering"] = "no"
        return response

    def failures(self, visit: Visit, site: Site) -> Response:
        """Failures by place."""
        groups, is_whole = self._hosting.failures(site)
        values = {
            "site": site,
            "groups": [_harmless(one) for one in groups[:_SHOWN_FAILURES]],
            "more": max(len(groups) - _SHOWN_FAILURES, 0),
            "is_whole": is_whole,
        }
        return pages.render("failures.html", values | visit.values)

    def settings(self, visit: Visit, site: Site) -> Response:
        """The form of the settings."""
        said = "The settings were changed." if visit.request.args.get("changed") == "1" else ""
        return self._form(visit, site, site_form.show(site), said=said)

    def change(self, visit: Visit, site: Site) -> Response:
        """Take the form's settings up, or show it again with what is wrong."""
        form = site_form.read(visit.request.form)
        if form.made_of != site_form.fingerprint(site):
            error = (
                "The settings were changed by somebody else meanwhile. Nothing was saved; look at them and try again."
            )
            return self._form(visit, site, site_form.show(site), 409, error)
        try:
            self._hosting.change(site_form.apply(site, form, is_operator=visit.token.kind == OPERATOR))
        except BadValueError as error:
            return self._form(visit, site, form, 422, str(error))
        except (NoSuchSiteError, ChrootError, EmperorDownError) as error:
            return self._form(visit, site, form, 409, str(error))
        return redirect(f"/sites/{site.domain}/settings?changed=1", 303)

    def _form(
        self,
        visit: Visit,
        site: Site,
        form: site_form.SettingsForm,
        status: int = 200,
        error: str = "",
        said: str = "",
    ) -> Response:
        values = {"site": site, "form": form, "error": error, "said": said}
        return pages.render("settings.html", values | visit.values, status)


_KINDS = ("requests", "refused", "failed")


_LENGTHS = {"hour": HOUR, "day": DAY}


def _drawn(title: str, length: str, spans: tuple[Span, ...]) -> dict[str, object]:
    """One period: its three charts, and the rows of its table, the newest first."""
    seconds = _LENGTHS[length]
    rows = [(chart.name(one.start, seconds), one.requests, one.refused, one.failed) for one in reversed(spans)]
    charts = [(kind, chart.draw(spans, seconds, kind)) for kind in _KINDS]
    return {"title": title, "length": length, "charts": charts, "rows": rows}


def _harmless(group: Group) -> Group:
    """Without what steers a page's text, such as marks that turn its direction: a tenant writes what he likes."""
    what, place, example = (deploys.harmless(text) for text in (group.what, group.place, group.example))
    return replace(group, what=what, place=place, example=example)


def _kind(request: Request) -> str:
    kind = request.args.get("kind", "error")
    if kind not in inside.LOG_KINDS:
        raise NotYoursError(kind)
    return kind


def _outcome(outcome: Outcome | None) -> dict[str, object] | None:
    if outcome is None:
        return None
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(outcome.began))
    return {"state": outcome.state, "text": outcome.text, "when": when}
