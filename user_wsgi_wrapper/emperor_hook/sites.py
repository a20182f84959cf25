"""What an operator does to a site: add it, change it, remove it. Nothing is half-done by bad input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from user_wsgi_wrapper import site as law
from user_wsgi_wrapper.emperor_hook import chroot, ending, nginx, program, spinup, vassal
from user_wsgi_wrapper.emperor_hook.ending import SiteError
from user_wsgi_wrapper.emperor_hook.locks import locked
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

__all__ = ["SiteError", "add", "add_all", "change", "check", "remove"]


def add(machine: Machine, site: Site) -> None:
    """Register a site and make its tenant's folders; it wakes on its first request.

    Raises BadValueError, SiteExistsError or RegistryDownError, with nothing changed.
    """
    check(machine, site)
    with locked(machine.layout, "user", site.username):  # not while his last site is being purged
        machine.registry.add(site)
        _make_folders(machine, site)


def add_all(machine: Machine, added: Sequence[Site]) -> None:
    """Register sites, all of them or none, and make their tenants' folders. Raises as `add` does, or ChrootError."""
    for site in added:
        check(machine, site)
    machine.registry.add_all(added)
    try:
        for site in added:
            with locked(machine.layout, "user", site.username):
                _make_folders(machine, site)
    except BaseException:
        for site in added:
            machine.registry.remove(site.domain)
        raise


def check(machine: Machine, site: Site) -> None:
    """Raises BadValueError for a site that can't be added here, whatever sites there are."""
    law.check(site)
    machine.layout.socket(site.domain)
    nginx.account(machine.config.front.user)
    _refuse_what_a_vassal_cannot_carry(machine, site)


def _make_folders(machine: Machine, site: Site) -> None:
    front_uid, _ = nginx.account(machine.config.front.user)
    identity = machine.registry.identity(site.username)
    plan = chroot.plan(machine.layout, identity, (site.domain,), chroot.host_facts(), front_uid)
    chroot.build(_on_disk_only(plan, machine.layout))


def _on_disk_only(plan: chroot.Plan, layout: Layout) -> chroot.Plan:
    """The tenant's folders and logs, so that files can be put there before the first request; no chroot yet."""
    kept = (layout.storage_dir, layout.user_logs_dir)
    return replace(plan, steps=tuple(step for step in plan.steps if step.place.base in kept))


def _refuse_what_a_vassal_cannot_carry(machine: Machine, site: Site) -> None:
    """Render with a stand-in for the tenant's ids: they aren't allocated for a site that is then refused."""
    vassal.render(site, _StandIn(site.username), machine.layout)


class _StandIn:
    uid = gid = 65534

    def __init__(self, username: str) -> None:
        self.username = username


def change(machine: Machine, site: Site) -> bool:
    """Replace a site's settings; True if it is warm and its Emperor was told. Raises as `add` does."""
    law.check(site)
    _refuse_what_a_vassal_cannot_carry(machine, site)
    machine.registry.replace(site)
    return spinup.rewrite(machine, site)


def remove(machine: Machine, domain: str, *, purge: bool) -> bool:
    """End a site's processes and forget it; with `purge` its logs too, and its tenant's files if this was his last.

    Says whether it was: never where a lookup query may know others of his, which would lose their files.
    It is forgotten when all else is done: whatever stops this half-way, a kill or an error, it can be done again.
    Raises NoSuchSiteError or RegistryDownError with nothing changed; SiteError if its processes or files stay.
    """
    layout, registry = machine.layout, machine.registry
    site = registry.get(domain)
    identity = registry.identity(site.username)
    with locked(layout, "domain", domain), locked(layout, "user", site.username):
        last = not registry.has_lookup and all(one.domain == domain for one in registry.sites_of(site.username))
        spinup.cool(layout, domain)
        ending.end_site(layout, domain, identity.uid)
        if last:
            ending.end_tenant(layout, identity)  # while it can be told by his root folder that they are his
            chroot.tear_down(layout, site.username)
        else:
            chroot.remove_log_mount(layout, site.username, domain)
        if purge:
            _delete(layout.log_dir(domain))
        if purge and last:
            _delete(layout.storage(site.username))
        registry.remove(domain)
        if purge and last:
            registry.forget_user(site.username)
    return last


def _delete(folder: Path) -> None:
    """Delete a folder in one of root's, tenants' files in it and all, whatever links and depths they have made.

    rm(1) holds one folder open at a time and follows no link; shutil's rmtree ends at a thousand folders in another.
    """
    try:
        program.run(["/usr/bin/rm", "-rf", "--one-file-system", "--", folder])
    except program.ProgramError as error:
        raise SiteError(f"{folder} is not deleted: {error}") from None
