"""What a site may take of its machine: the site's own limits, the configuration's where it has none. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from user_wsgi_wrapper.emperor_hook.config import LimitDefaults
from user_wsgi_wrapper.site import Site

_MASTER = 4  # uWSGI's master, its threads, and what its hooks run for a moment
_BESIDE = 3  # threads of a worker beside those that serve: the wrapper's, uWSGI's


@dataclass(frozen=True)
class Limits:
    """Units as in Site, but `tasks` counts all processes and threads; 0 for no limit."""

    tasks: int = 0
    memory: int = 0
    cpu: int = 0
    open_files: int = 0
    log_rate: int = 0


def of(site: Site, defaults: LimitDefaults) -> Limits:
    """The limits of a site."""
    tasks = defaults.tasks_max if site.tasks_max is None else site.tasks_max
    return Limits(
        tasks=tasks and tasks + serving(site),
        memory=defaults.memory_max * site.processes if site.memory_max is None else site.memory_max,
        cpu=defaults.cpu_quota if site.cpu_quota is None else site.cpu_quota,
        open_files=defaults.open_files if site.open_files is None else site.open_files,
        log_rate=defaults.log_rate if site.log_rate is None else site.log_rate,
    )


def serving(site: Site) -> int:
    """The processes and threads that a site has by itself, two generations of its workers among them."""
    return _MASTER + (2 * site.processes + 2) * (site.threads + _BESIDE)
