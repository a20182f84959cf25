"""Reload a site as its tenant would, and see what comes of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from user_wsgi_wrapper.emperor_hook import deploys, probe, processes, program, vassal
from user_wsgi_wrapper.emperor_hook.registry import Identity
from user_wsgi_wrapper.emperor_hook.spinup import Machine
from user_wsgi_wrapper.site import Site

# uWSGI sees a modification time only if it is later by a whole second
_TOUCH = """\
now=$(date +%s) && was=$(stat --format %Y -- "$1") || exit
[ "$was" -lt "$now" ] || now=$((was + 1))
exec touch --no-create --date "@$now" -- "$1"
"""
_TOUCH_PATIENCE = 10.0  # seconds
_LOOK_AGAIN = 0.02  # seconds
_LAST_REQUESTS = 10.0  # seconds that the processes before have; who takes longer is at a long request, and his last
_SLOW = 3.0  # seconds after which it is said that the outcome is waited for


class ReloadError(Exception):
    """The site could not be reloaded; str() is fit to print, with the traceback if there is one."""


def reload(machine: Machine, site: Site, say: Callable[[str], None]) -> float | None:
    """Touch the site's wsgi.py, wake the site if it sleeps, and wait until its new version serves, and it alone.

    Gives the seconds that this took; None for a cold site, which loads what is there when it is asked for.
    `say` is told that it takes long. Raises ReloadError if the file can't be touched, if its code is refused or
    broken, or if there is no outcome within the time that a load may take.
    """
    if not vassal.exists(machine.layout, site.domain):
        return None
    identity = machine.registry.identity(site.username)
    before = processes.workers_of_site(site.domain, identity.uid)
    told = deploys.read(machine.layout, site.username, site.domain, identity.uid)
    began, clock = time.time_ns(), time.monotonic()
    _touch(machine, site, identity)
    probe.ping(machine.layout.socket(site.domain), _SLOW)  # a site that sleeps loads what it finds
    is_told = False
    while True:
        found = deploys.read(machine.layout, site.username, site.domain, identity.uid)
        if found.bad is not None and _is_new(found.bad, told.bad, began):
            raise ReloadError(_bad_news(site, found))
        if found.good is not None and _is_new(found.good, told.good, began):
            _wait_for_the_end_of(before)
            return time.monotonic() - clock
        waited = time.monotonic() - clock
        if waited > vassal.HARAKIRI + _SLOW:
            raise ReloadError(f"{site.domain}: no outcome within {waited:.0f} s; its server log may tell why")
        if waited > _SLOW and not is_told:
            is_told = True
            say(f"{site.domain}: waiting for {site.wsgi_file} to be loaded")
        time.sleep(_LOOK_AGAIN)


def _is_new(version: deploys.Version, before: deploys.Version | None, began: int) -> bool:
    """Whether it was decided on since `began`; also if the clock was set back since the one before was."""
    was_set_back = before is not None and before.at > began
    return version != before and (version.at >= began or was_set_back)


def _wait_for_the_end_of(workers: list[psutil.Process]) -> None:
    deadline = time.monotonic() + _LAST_REQUESTS
    while any(worker.is_running() for worker in workers) and time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN)


def _bad_news(site: Site, found: deploys.Deploys) -> str:
    consequence = (
        "the version before it goes on serving" if found.verdict == "refused" else "visitors get the error page"
    )
    return f"{site.domain}: {found.verdict}, {consequence}\n{found.reason}"


def _touch(machine: Machine, site: Site, identity: Identity) -> None:
    """The touch is made by the tenant's own uid inside his own root: root's hands stay out of his folders."""
    chroot = machine.layout.chroot(site.username)
    ids = f"--userspec={identity.uid}:{identity.gid}"
    shell = ("/usr/bin/sh", "-c", _TOUCH, "touch", site.wsgi_file)
    try:
        program.run(["/usr/sbin/chroot", ids, "--groups=", chroot, *shell], _TOUCH_PATIENCE)
    except program.ProgramError as error:
        raise ReloadError(f"{site.domain}: {site.wsgi_file} could not be touched: {error}") from None
