"""Which site, mapping and file a URL resolves to, what was tried and why each missed: what `explain` says.

It follows a GET through the front's rules, the registry, uWSGI's static files and the wrapper, and changes nothing.
The tenant's places are looked at with the tenant's ids.
"""

from __future__ import annotations

import dataclasses
import errno
import os
from dataclasses import dataclass
from typing import Any

from user_wsgi_wrapper.emperor_hook import as_tenant, front_path, processes, static_rules, tenant_files
from user_wsgi_wrapper.emperor_hook.registry import Identity
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.emperor_hook.static_rules import Decision, Try
from user_wsgi_wrapper.emperor_hook.tenant_files import Step, Trace
from user_wsgi_wrapper.site import Site


@dataclass(frozen=True)
class Explanation:
    """What becomes of a URL.

    `verdict` is refused (by the front), no site, file, application or broken (the application can't be loaded);
    `status` is the answer's if that is known; `file` is the static file or the application's. `advice` says what to
    do about what stands in the way.
    """

    url: str
    verdict: str
    status: int | None
    because: str
    domain: str | None = None
    username: str | None = None
    uid: int | None = None
    path: str | None = None
    file: str | None = None
    place: str | None = None
    state: str | None = None
    tries: tuple[Try, ...] = ()
    advice: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether a file or the application answers, with nothing in the way."""
        return self.verdict in ("file", "application") and not self.advice


def explain(machine: Machine, url: str) -> Explanation:
    """Follow the URL. Raises BadValueError for what is no URL, RegistryDownError, and AskError."""
    asked = front_path.split(url)
    path = front_path.normalize(asked.path)
    if path is None:
        because = "the front refuses the path: a broken escape, a NUL, or more dots than folders"
        return Explanation(url, "refused", 400, because)
    shown = os.fsdecode(path)
    domain = front_path.domain_of(asked.host, machine.layout.longest_domain)
    if domain is None:
        because = f"{asked.host} can be no site's name on this machine, so the front answers by itself"
        return Explanation(url, "no site", 404, because, path=shown)
    if front_path.is_secret(path):
        because = "the front answers so for names that hold histories, settings or keys, whatever is there"
        return Explanation(url, "refused", 404, because, domain=domain, path=shown)
    site = machine.registry.find(domain)
    if site is None:
        because = f"no site was added under {domain}, and no lookup query knows it"
        return Explanation(
            url, "no site", 404, because, domain=domain, path=shown, advice="site add, or mend the name"
        )
    identity = machine.registry.known_identity(site.username)
    if identity is None:
        because = f"{site.username} was never served here and has no files: the first request makes the folders"
        return Explanation(
            url, "broken", 500, because, domain, site.username, path=shown, advice="put the files there"
        )
    return _of_site(machine, site, identity, url, shown)


def _of_site(machine: Machine, site: Site, identity: Identity, url: str, path: str) -> Explanation:
    with tenant_files.open_files(machine.layout, site.username) as files:

        def look() -> dict[str, Any]:
            decision = static_rules.decide(site, path, files.trace)
            return dataclasses.asdict(decision) | {"code": dataclasses.asdict(files.trace(site.wsgi_file))}

        answer = as_tenant.ask(identity, look)
    code = tenant_files.from_dict(answer.pop("code"))
    decision = _decision(answer)
    titles = processes.by_title()
    state = processes.status(machine.layout, site, identity.uid, titles).state
    base = Explanation(
        url, "file", 200, "", site.domain, site.username, identity.uid, path, decision.file, decision.place, state,
        decision.tries,
    )  # fmt: skip
    if decision.file is None:
        return _application(base, site, code, state)
    return dataclasses.replace(base, because=f"uWSGI sends the file by {decision.place}")


def _application(base: Explanation, site: Site, code: Trace, state: str) -> Explanation:
    base = dataclasses.replace(base, verdict="application", status=None, file=site.wsgi_file)
    tries = (*base.tries, Try(f"application {site.wsgi_file}", "asked" if code.readable else _unloadable(code), code))
    base = dataclasses.replace(base, tries=tries)
    in_the_way = [one for one in base.tries[:-1] if one.is_obstacle]
    advice = f"{in_the_way[0].place}: {in_the_way[0].outcome}" if in_the_way else ""
    if "broken deploy" in state:
        because = "the application answers, an earlier version of it: the file's last one was refused"
        return dataclasses.replace(base, because=because, advice=f"logs {site.domain} has the reason")
    if state == "broken":
        because = "the application could not be loaded: visitors get the error page"
        return dataclasses.replace(
            base, verdict="broken", status=500, because=because, advice=f"logs {site.domain} has the reason"
        )
    if not (code.real and code.readable) and state in ("cold", "idle"):
        because = "the application can't be loaded when it is asked for: visitors will get the error page"
        return dataclasses.replace(base, verdict="broken", status=500, because=because, advice=_unloadable(code))
    return dataclasses.replace(base, because="no static file is in the way: the application answers", advice=advice)


def _unloadable(code: Trace) -> str:
    if code.error == errno.EACCES:
        return f"{os.path.dirname(code.obstacle)} may not be entered by the tenant"  # noqa: PTH120
    if not code.real:
        return f"there is no {code.obstacle or code.asked}"
    if code.last is not None and code.last.kind != "file":
        return f"{code.real} is no file but a {code.last.kind}"
    return f"{code.real} may not be read by the tenant"


def _decision(answer: dict[str, Any]) -> Decision:
    tries = tuple(
        Try(one["place"], one["outcome"], one["trace"] and tenant_files.from_dict(one["trace"]), one["is_obstacle"])
        for one in answer["tries"]
    )
    return Decision(answer["file"], answer["place"], tries)


def lines(found: Explanation) -> list[str]:
    """The explanation as a person reads it."""
    text = [found.url]
    for name in ("domain", "username", "path", "state"):
        value = getattr(found, name)
        if value is not None:
            more = f" (uid {found.uid})" if name == "username" else ""
            text.append(f"  {'user' if name == 'username' else name:<9} {value}{more}")
    for one in found.tries:
        text.append(f"  {'tried' if one.outcome not in ('sent', 'asked') else 'found':<9} {one.place}: {one.outcome}")
        if one.trace is not None and (one.is_obstacle or not one.trace.readable or one.outcome == "sent"):
            text += [f"              {_step_line(step)}" for step in one.trace.steps]
    status = f" ({found.status})" if found.status is not None else ""
    text.append(f"  {'answer':<9} {found.verdict}{status}: {found.because or found.file}")
    if found.advice:
        text.append(f"  {'to do':<9} {found.advice}")
    return text


def _step_line(step: Step) -> str:
    link = f" -> {step.target}" if step.target else ""
    return f"{step.mode:04o} {step.uid:>6} {step.gid:>6} {step.kind:<7} {step.path}{link}"
