"""Bring one site from cold to serving, and back.

The order is what makes a kill at any point harmless: the chroot is built before the vassal stands, the vassal
before anyone waits for it, and only a site whose worker has answered gets the link that nginx looks for. Every
step finds what an earlier try left and completes it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import (
    cgroups,
    chroot,
    emperor,
    limits,
    nginx,
    probe,
    server_log,
    shared_files,
    tally,
    vassal,
)
from user_wsgi_wrapper.emperor_hook import config as configuration
from user_wsgi_wrapper.emperor_hook.config import Config
from user_wsgi_wrapper.emperor_hook.locks import locked
from user_wsgi_wrapper.emperor_hook.registry import (
    Identity,
    NoSuchSiteError,
    Registry,
    RegistryDownError,
    open_registry,
)
from user_wsgi_wrapper.emperor_hook.shared_files import SharedFilesError
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site

_LOOK_AGAIN = 0.0005  # seconds between two looks at a socket that must appear, which takes one millisecond
_KICK_AGAIN = 0.5
_NOWHERE = "example.invalid"  # no domain, RFC 2606 section 2
# In a crowd of cold sites a few are built at a time: the first ones start while the others' turn comes, instead of
# all being late together.
_building = threading.BoundedSemaphore(3)
EMPEROR_PATIENCE = 5.0  # seconds that the Emperor has to bind a vassal's socket; it needs about one millisecond


class NeverStartedError(Exception):
    """No worker of the site answered in time: its import hangs, or kills the worker."""


@dataclass(frozen=True)
class Machine:
    """What every operation on sites needs to know."""

    layout: Layout
    config: Config
    registry: Registry


def open_machine(layout: Layout, chosen: Path | None) -> Machine:
    """The machine by its configuration, `chosen` or the layout's own. Connects to nothing. Raises BadValueError."""
    config = configuration.load(layout, chosen)
    return Machine(layout, config, open_registry(config, layout))


def is_awake(layout: Layout, domain: str) -> bool:
    """Whether the site has been woken and somebody listens for it. Wakes it if it went idle."""
    return layout.awake_mark(domain).exists() and probe.listens(layout.socket(domain))


def get_ready(machine: Machine) -> None:
    """Do beforehand what the first site to be warmed would wait for. What fails now is told when a site is warmed."""
    with contextlib.suppress(SharedFilesError):
        shared_files.refresh(machine.layout)
    vassal.render(Site(_NOWHERE, "nobody"), Identity("nobody", 65534, 65534), machine.layout)
    with contextlib.suppress(RegistryDownError, BadValueError):
        machine.registry.find_with_identity(_NOWHERE)


def warm(machine: Machine, domain: str) -> None:
    """Bring `domain` up and let nginx find it; returns once a worker of it has answered.

    Raises NoSuchSiteError, RegistryDownError, BadValueError, ChrootError, CgroupError, SharedFilesError,
    EmperorDownError or NeverStartedError.
    """
    began = time.monotonic()
    give_up_at = began + machine.config.warm.give_up_after
    with locked(machine.layout, "domain", domain):
        if is_awake(machine.layout, domain):
            return
        found = machine.registry.find_with_identity(domain)
        if found is None:
            raise NoSuchSiteError(f"domain {domain}: there is no such site")
        # whoever holds the user's lock for long must not hold up others' sites
        with locked(machine.layout, "user", found[0].username), _building:
            _prepare(machine, *found)
    if not probe.ping(machine.layout.socket(domain), give_up_at - time.monotonic()):
        server_log.say(
            machine.layout,
            domain,
            "throttled",
            "no process of it could serve; it is tried again when asked for",
        )
        tally.add_cold_start(machine.layout, time.monotonic() - began, failed=True)
        raise NeverStartedError(f"{domain}: no worker answered within {machine.config.warm.give_up_after:g} s")
    machine.layout.awake_mark(domain).touch()
    tally.add_cold_start(machine.layout, time.monotonic() - began)


def _prepare(machine: Machine, site: Site, identity: Identity) -> None:
    """All that stands on the disk, and the Emperor's socket. The caller holds the domain's lock and the user's."""
    layout = machine.layout
    text = _vassal(machine, site, identity)
    shared_files.refresh(layout)
    build_chroot(machine, site, identity)
    vassal.write(layout, site.domain, text)
    _wait_for_the_emperor(layout, site.domain)


def _vassal(machine: Machine, site: Site, identity: Identity) -> str:
    """The text of the site's vassal, once its control groups are there with its limits."""
    vassal_text(machine, site, identity, {})  # what can't be carried leaves no group
    bounds = limits.of(site, machine.config.limits)
    groups = cgroups.make(machine.layout, site.domain, bounds, machine.config.limits.cgroups)
    return vassal_text(machine, site, identity, groups)


def vassal_text(machine: Machine, site: Site, identity: Identity, groups: Mapping[str, Path]) -> str:
    """The text of a vassal that enters these control groups, by controller. Raises BadValueError."""
    entrances = {name: cgroups.entrance(group) for name, group in groups.items()}
    return vassal.render(site, identity, machine.layout, limits.of(site, machine.config.limits), entrances)


def build_chroot(machine: Machine, site: Site, identity: Identity) -> None:
    """The tenant's chroot with this site's log folder in it. The caller holds the user's lock."""
    front_uid, _ = nginx.account(machine.config.front.user)
    plan = chroot.plan(machine.layout, identity, (site.domain,), chroot.host_facts(), front_uid)
    chroot.build(plan)


def _wait_for_the_emperor(layout: Layout, domain: str) -> None:
    path = layout.socket(domain)
    deadline = time.monotonic() + EMPEROR_PATIENCE
    while time.monotonic() < deadline:
        emperor.kick(layout, patience=deadline - time.monotonic())  # one that was killed is soon there again
        kick_again_at = time.monotonic() + _KICK_AGAIN
        while time.monotonic() < kick_again_at:
            if probe.listens(path):
                return
            time.sleep(_LOOK_AGAIN)
    raise emperor.EmperorDownError(f"the Emperor did not take up {layout.vassal(domain)}")


def cool(layout: Layout, domain: str) -> bool:
    """Make a site cold: its next request warms it afresh. False if it was cold. Its processes end soon after."""
    was_warm = vassal.exists(layout, domain)
    layout.awake_mark(domain).unlink(missing_ok=True)
    vassal.remove(layout, domain)
    if was_warm:
        with contextlib.suppress(emperor.EmperorDownError):  # one that starts later finds no vassal
            emperor.kick(layout, patience=0.0)
    return was_warm


def rewrite(machine: Machine, site: Site) -> bool:
    """Give a warm site its changed settings; False if it is cold and will get them when it wakes."""
    with locked(machine.layout, "domain", site.domain):
        if not vassal.exists(machine.layout, site.domain):
            return False
        identity = machine.registry.identity(site.username)
        vassal.write(machine.layout, site.domain, _vassal(machine, site, identity))
        emperor.kick(machine.layout)
        return True
