"""The end of a site's processes, and of all of a tenant's: politely at first, for certain then."""

from __future__ import annotations

import contextlib
import time

import psutil

from user_wsgi_wrapper.emperor_hook import cgroups, processes, reaper
from user_wsgi_wrapper.emperor_hook.unix_ids import Identity
from user_wsgi_wrapper.layout import Layout

_LOOK_AGAIN = 0.02  # seconds
_PATIENCE = 10.0  # seconds that a removed site's processes have to end by themselves, requests done
_KILL_PATIENCE = 5.0  # seconds in which those that wear its title are killed as fast as they come


class SiteError(Exception):
    """What was asked for can't be done to the site; str() is one line fit to print."""


def end_site(layout: Layout, domain: str, uid: int) -> None:
    """Wait until the Emperor has ended a cold site's processes; kill what takes longer, and all else in its groups.

    Raises SiteError if some that wear the site's title are there nevertheless: new ones come all the time.
    """
    deadline = time.monotonic() + _PATIENCE
    while left := processes.of_site(domain, uid):
        late = time.monotonic() - deadline
        if late > _KILL_PATIENCE:
            raise SiteError(f"{domain}: processes that bear its title don't end; try `reap`, then this again")
        if late > 0:
            cgroups.kill(layout, domain)
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
        time.sleep(_LOOK_AGAIN)
    cgroups.kill(layout, domain)
    cgroups.remove(layout, domain)


def end_tenant(layout: Layout, identity: Identity) -> None:
    """End whatever a tenant who has no site any more has left running in his chroot. Raises SiteError if some stays.

    His uid may be another's one day.
    """
    living = reaper.emperor_pids(layout)
    reaper.reap_all((identity,), living, layout, grace=1.0)
    left = [orphan for orphan in reaper.find_orphans((identity,), living, layout) if orphan.status == reaper.RUNNING]
    if left:
        raise SiteError(f"user {identity.username}: a process of his can't be ended: {left[0]}")
