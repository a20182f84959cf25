"""What an operator does to a site: add it, change it, remove it. Nothing is half-done by bad input."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from user_wsgi_wrapper import site as law
from user_wsgi_wrapper.emperor_hook import cgroups, chroot, nginx, processes, spinup, vassal
from user_wsgi_wrapper.emperor_hook.locks import locked
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site

_END_PATIENCE = 10.0  # seconds that a removed site's processes have to end


class SiteError(Exception):
    """The operation can't be done; str() is one line fit to print."""


def add(machine: Machine, site: Site) -> None:
    """Register a site and make its tenant's folders; it wakes on its first request.

    Raises BadValueError, SiteExistsError or RegistryDownError, with nothing changed.
    """
    law.check(site)
    machine.layout.socket(site.domain)
    _refuse_what_a_vassal_cannot_carry(machine, site)
    machine.registry.add(site)
    front_uid, _ = nginx.account(machine.config.front.user)
    plan = chroot.plan(
        machine.layout, machine.registry.identity(site.username), (site.domain,), chroot.host_facts(), front_uid
    )
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


def remove(machine: Machine, domain: str, *, purge: bool) -> None:
    """Forget a site and end its processes; with `purge` its logs too, and its tenant's files if this was his last.

    Raises NoSuchSiteError or RegistryDownError with nothing changed.
    """
    layout, registry = machine.layout, machine.registry
    site = registry.get(domain)
    identity = registry.identity(site.username)
    registry.remove(domain)
    last = not any(registry.sites_of(site.username))
    with locked(layout, "domain", domain), locked(layout, "user", site.username):
        spinup.cool(layout, domain)
        if not _have_ended(domain, identity.uid):
            cgroups.kill(layout, domain)
        if not _have_ended(domain, identity.uid):
            raise SiteError(f"{domain}: its processes did not end within {_END_PATIENCE:g} s; try `reap`")
        cgroups.remove(layout, domain)
        if last:
            chroot.tear_down(layout, site.username)
        else:
            chroot.remove_log_mount(layout, site.username, domain)
    if purge:
        _delete(layout.log_dir(domain))
    if purge and last:
        _delete(layout.storage(site.username))
        registry.forget_user(site.username)


def _have_ended(domain: str, uid: int) -> bool:
    deadline = time.monotonic() + _END_PATIENCE
    while processes.of_site(domain, uid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _delete(folder: Path) -> None:
    """Delete a folder that root owns, tenants' files in it and all. shutil's is proof against planted links."""
    if not shutil.rmtree.avoids_symlink_attacks:
        raise SiteError(f"{folder} is not deleted: this Python can't do it safely")
    if folder.exists():
        shutil.rmtree(folder)
