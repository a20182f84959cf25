"""What stands in a site's way: `check DOMAIN`. Everything is looked at, nothing is changed, and nobody is woken."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import (
    cgroups,
    chroot,
    deploys,
    emperor_report,
    nginx,
    site_places,
    spinup,
    vassal,
)
from user_wsgi_wrapper.emperor_hook.as_tenant import AskError
from user_wsgi_wrapper.emperor_hook.checkup import Finding
from user_wsgi_wrapper.emperor_hook.registry import Identity, RegistryDownError
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.emperor_hook.unix_ids import HostAccounts
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site

_NAMED = 3  # places that are listed of those that are missing


def examine(machine: Machine, domain: str) -> Iterator[Finding]:
    """What was looked at, in the order in which a request comes to need it."""
    yield from _services(machine.layout)
    try:
        site = machine.registry.find(domain)
        identity = None if site is None else machine.registry.known_identity(site.username)
    except RegistryDownError as error:
        yield Finding("the registry answers", False, str(error))
        return
    except BadValueError as error:
        yield Finding(f"the registry has a lawful site under {domain}", False, str(error))
        return
    if site is None:
        yield Finding(f"there is a site under {domain}", False, f"site add {domain} --user NAME")
        return
    if identity is None:
        made = f"{site.username} was never served here: {domain}'s first request gives him a uid and folders"
        yield Finding(made, True)
        return
    yield Finding(f"{domain} is a site of {site.username} (uid {identity.uid})", True)
    yield from _of_site(machine, site, identity)


def _of_site(machine: Machine, site: Site, identity: Identity) -> Iterator[Finding]:
    yield _account(identity)
    yield from _space(machine.layout, site)
    yield from _chroot(machine, site, identity)
    try:
        yield from site_places.examine(machine.layout, site, identity)
    except AskError as error:
        yield Finding("the tenant's files can be looked at", False, str(error))
    yield from _vassal(machine, site, identity)
    yield from _deploys(machine.layout, site, identity)


def _services(layout: Layout) -> Iterator[Finding]:
    yield Finding(
        "the Emperor runs",
        emperor_report.read(layout) is not None,
        "start it: `up`, or the service user-wsgi-wrapper-emperor; its log is in " + str(layout.own_logs_dir),
    )
    listening = emperor_report.listens(layout.initialize_socket)
    advice = "start it: `up`, or the service user-wsgi-wrapper-initialize"
    yield Finding("initialize listens, which wakes cold sites", listening, advice)


def _account(identity: Identity) -> Finding:
    account = HostAccounts().find(identity.username)
    what = f"no account of this machine is at odds with uid {identity.uid}"
    good = account is None or account.uid == identity.uid
    advice = f"the account {identity.username} has uid {account.uid if account else ''}: the files that it makes are "
    return Finding(what, good, advice + f"not the site's; give them to uid {identity.uid} or rename the account")


def _space(layout: Layout, site: Site) -> Iterator[Finding]:
    for what, path in (("files", layout.storage(site.username)), ("logs", layout.log_dir(site.domain))):
        if path.is_dir():
            facts = os.statvfs(path)
            full = facts.f_bavail == 0 or (facts.f_files > 0 and facts.f_favail == 0)
            yield Finding(
                f"there is room for the tenant's {what}", not full, f"make room on the file system of {path}"
            )


def _chroot(machine: Machine, site: Site, identity: Identity) -> Iterator[Finding]:
    what = f"the chroot {machine.layout.chroot(site.username)} is whole"
    if not vassal.exists(machine.layout, site.domain):
        yield Finding(f"{site.domain} is cold: its next request builds what is missing of the chroot", True)
        return
    try:
        front_uid, _ = nginx.account(machine.config.front.user)
        plan = chroot.plan(machine.layout, identity, (site.domain,), chroot.host_facts(), front_uid)
        missing = chroot.missing(plan)
    except (BadValueError, chroot.ChrootError) as error:
        yield Finding(what, False, str(error))
        return
    named = ", ".join(str(place) for place in missing[:_NAMED]) + (", …" if len(missing) > _NAMED else "")
    yield Finding(what, not missing, f"not as they should be: {named}; `cool {site.domain}` has them made anew")


def _vassal(machine: Machine, site: Site, identity: Identity) -> Iterator[Finding]:
    layout, path = machine.layout, machine.layout.vassal(site.domain)
    try:
        wanted = spinup.vassal_text(machine, site, identity, _groups(machine, site))
    except BadValueError as error:
        yield Finding("its settings can be written into a vassal", False, f"{error}; change it with site set")
        return
    if not vassal.exists(layout, site.domain):
        return
    yield Finding(
        f"{path} is what the settings make of it",
        path.read_text(errors="replace") == wanted,
        f"it was edited, or made by another version: `cool {site.domain}` has it written anew",
    )
    yield from _warmth(layout, site)


def _groups(machine: Machine, site: Site) -> dict[str, Path]:
    """The control groups that the site was to enter when it was warmed."""
    return {} if machine.config.limits.cgroups == "off" else cgroups.group_of(machine.layout, site.domain)


def _warmth(layout: Layout, site: Site) -> Iterator[Finding]:
    """Of a site that was asked for: whether the Emperor holds its socket, and whether a worker ever answered."""
    yield Finding(
        f"the Emperor listens at {layout.socket(site.domain)} for it",
        emperor_report.listens(layout.socket(site.domain)),
        f"`cool {site.domain}`; if that doesn't help, the Emperor's log says why",
    )
    yield Finding(
        "a worker has answered since the site was last built",
        layout.awake_mark(site.domain).exists(),
        f"none could serve: `logs {site.domain}` and `logs {site.domain} --kind server` say why",
    )
    report = emperor_report.read(layout)
    state = None if report is None else report.of(site.domain)
    if state is not None:
        advice = f"its server ends as soon as it is started: `logs {site.domain} --kind server` has uWSGI's reason"
        yield Finding("the Emperor doesn't hold its start back", not state.is_held_back, advice)


def _deploys(layout: Layout, site: Site, identity: Identity) -> Iterator[Finding]:
    found = deploys.read(layout, site.username, site.domain, identity.uid)
    reason = found.reason.strip().splitlines()
    about = f" ({reason[0][:300]})" if reason else ""
    yield Finding(
        "the last version of its code could be loaded",
        found.bad is None,
        (
            "visitors get the error page"
            if found.verdict == "broken"
            else "refused; the version before it goes on serving"
        )
        + f"{about}: mend the code and touch {site.wsgi_file}",
    )
