"""One site's vassal file: rendered, written, removed.

uWSGI reads a vassal as root and expands `%x`, `$(VAR)`, `@(file)` and `%(option)` in it; `@(exec://…)` runs
a command. `carry` is the one way a value gets into the file.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import templates
from user_wsgi_wrapper.emperor_hook.atomic import write_if_changed
from user_wsgi_wrapper.emperor_hook.limits import Limits
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, Site, shorten

HARAKIRI = 300  # seconds; a request that takes longer is ended, or it would hold its worker for ever
# The stamp that uWSGI puts before each of its lines: an error-log line's, as far as strftime goes.
LOG_DATE = "%Y-%m-%d %H:%M:%S,000 [-]"
_EXPANDED = ("$(", "@(", "%(")


class Identity(Protocol):
    """The unix side of a tenant."""

    @property
    def username(self) -> str:
        """The tenant's name, case kept."""

    @property
    def uid(self) -> int:
        """The uid that the tenant's processes run as."""

    @property
    def gid(self) -> int:
        """The gid that no other tenant has."""


def carry(value: object) -> str:
    """A value as it must be written in uWSGI's ini format to be read back byte for byte.

    Raises BadValueError for what the format can't carry: line ends and control characters, surrounding
    white space, and the openings of uWSGI's own expansions.
    """
    text = str(value)
    if any(character < " " or character == "\x7f" for character in text):
        raise BadValueError(f"value {shorten(text)}: control characters are not allowed")
    if text != text.strip(" "):
        raise BadValueError(f"value {shorten(text)}: it must not begin or end with a space")
    for opening in _EXPANDED:
        if opening in text:
            raise BadValueError(f"value {shorten(text)}: {opening!r} is not allowed, uWSGI would expand it")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadValueError(f"value {shorten(text)}: it is not valid text") from None
    return text.replace("%", "%%")


@functools.cache
def _last_capability() -> int:
    """The highest capability that this kernel knows, capabilities(7)."""
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def render(
    site: Site,
    identity: Identity,
    layout: Layout,
    limits: Limits | None = None,
    entrances: Mapping[str, Path] | None = None,
) -> str:
    """The text of the site's vassal; `entrances` are the files by which it enters its control groups, by controller.

    Raises BadValueError if a value can't be carried safely.
    """
    entrances = entrances or {}
    return templates.fill(
        "vassal.ini.template",
        carry,
        site=site,
        identity=identity,
        chroot=layout.chroot(site.username),
        capabilities=range(_last_capability() + 1),
        home=inside.home(site.username),
        server_log=inside.log_file(site.domain, "server"),
        keep_folder=inside.keep_folder(site.username, site.domain),
        master=inside.MASTER,
        mime_types=inside.MIME_TYPES,
        fifo=inside.fifo(site.domain),
        error_log=inside.log_file(site.domain, "error"),
        shows_code=shows_code(site),
        static=":".join(f"{url}={folder}" for url, folder in site.static),
        harakiri=HARAKIRI,
        limits=limits or Limits(),
        **_entrances(set(entrances.values())),
        counts_tasks="pids" in entrances,
        log_date=LOG_DATE,
    )


def _entrances(files: set[Path]) -> dict[str, object]:
    """What the vassal has to know of the files by which it enters its groups, see cgroups.entrance.

    The kernel holds up who writes to version 2's, of which there is one: a shell does it meanwhile, and the master
    waits, before there is a worker, until it is in the group that the end of /proc/self/cgroup's line names.
    """
    slow = [file for file in files if file.name == "cgroup.procs"]
    return {
        "entrances": sorted(files.difference(slow)),
        "slow_entrance": shlex.quote(str(slow[0])) if slow else None,
        "slow_group": "/" + "/".join(slow[0].parent.parts[-2:]) if slow else None,
    }


def shows_code(site: Site) -> bool:
    """Whether the site's code lies in a folder whose files are shown to visitors."""
    folders = [folder for _, folder in site.static] + ([] if site.check_static is None else [site.check_static])
    return any(site.wsgi_file.startswith(f"{folder.rstrip('/')}/") for folder in folders)


def write(layout: Layout, domain: str, text: str) -> bool:
    """Give the Emperor this vassal; True if it differs from the one it had.

    The Emperor compares modification times in whole seconds: a second change within one second is dated later.
    """
    path = layout.vassal(domain)
    before = int(path.stat().st_mtime) if path.exists() else None
    return write_if_changed(path, text, mode=0o600, later_than=before)


def remove(layout: Layout, domain: str) -> None:
    """Take the vassal away, if it is there; the Emperor ends its processes at its next scan."""
    layout.vassal(domain).unlink(missing_ok=True)


def exists(layout: Layout, domain: str) -> bool:
    """Whether the site is warm: its Emperor holds a socket for it."""
    return layout.vassal(domain).exists()


def warm_domains(layout: Layout) -> list[str]:
    """The domains that have a vassal, in order."""
    try:
        return sorted(path.stem for path in layout.vassals_dir.iterdir() if path.suffix == ".ini")
    except FileNotFoundError:
        return []
