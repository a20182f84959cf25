"""Tenants' chroots: built from a plan, completed after a kill, taken down without a trace.

Callers hold the tenant's lock. `plan` is pure; `build` does what of it is missing.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from user_wsgi_wrapper import inside
from user_wsgi_wrapper.emperor_hook import file_steps, mount_steps, mounts
from user_wsgi_wrapper.emperor_hook.bases import Bases, ChrootError
from user_wsgi_wrapper.emperor_hook.chroot_plan import (
    COPIES,
    ETC_FOLDERS,
    LINKS,
    Bind,
    Directory,
    Filesystem,
    HostFacts,
    Identity,
    LogFile,
    Place,
    Plan,
    Step,
    log_mount,
    plan,
    removable,
)
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import BadValueError, parse_domain, parse_username

__all__ = [
    "ChrootError",
    "HostFacts",
    "Identity",
    "Plan",
    "build",
    "host_facts",
    "missing",
    "mounted_chroots",
    "plan",
    "remove_log_mount",
    "tear_down",
    "tear_down_all",
]

_REASONS = {
    errno.ELOOP: "a symbolic link stands where a folder is needed",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.ENOTEMPTY: "it holds something that no plan put there, so it is left",
}


def host_facts(root: Path = Path("/")) -> HostFacts:
    """What this host has of that which chroots mirror. It changes with the host's packages: ask anew each time."""
    links, folders = [], []
    for name in LINKS:
        try:
            links.append((name, os.readlink(root / name)))  # noqa: PTH115 - the text of the link as it is
        except FileNotFoundError:
            continue
        except OSError:  # EINVAL: no link, so /usr isn't merged here
            folders.append(name)
    zone = _zone(root / "etc/localtime")
    copies = tuple(
        name for name in COPIES if (zone is None or name != "localtime") and (root / "etc" / name).is_file()
    )
    etc_folders = tuple(name for name in ETC_FOLDERS if (root / "etc" / name).is_dir())
    return HostFacts(tuple(links), tuple(folders), copies, etc_folders, zone)


def _zone(localtime: Path) -> str | None:
    """The target of /etc/localtime if it is a link to what chroots have: programs read the zone's name off it."""
    try:
        target = os.readlink(localtime)  # noqa: PTH115
    except OSError:
        return None
    return target if target.startswith("/usr/") else None


def build(plan: Plan) -> None:
    """Put every step of the plan in place; what is in place stays. Raises ChrootError.

    If anything is missing, the mounts that are there get their flags and options set anew: whatever was killed
    while it made them is completed.
    """
    with Bases() as bases:
        if not all(_in_place(step, bases) for step in plan.steps):
            for step in plan.steps:
                with _naming(step.place):
                    _ensure(step, bases)


def missing(plan: Plan) -> list[Place]:
    """The places of the plan's folders, logs and mounts that aren't as they should be; nothing is changed."""
    lasting = [step for step in plan.steps if isinstance(step, (Bind, Filesystem, Directory, LogFile))]
    with Bases() as bases:
        return [step.place for step in lasting if not _in_place(step, bases)]


def _in_place(step: Step, bases: Bases) -> bool:
    try:
        if isinstance(step, (Bind, Filesystem)):
            return mount_steps.in_place(step, bases)
        return file_steps.in_place(step, bases)
    except OSError:
        return False  # missing or in the way; if it can't be mended, putting it in place says why


def _ensure(step: Step, bases: Bases) -> None:
    if isinstance(step, (Bind, Filesystem)):
        mount_steps.ensure(step, bases)
    else:
        file_steps.ensure(step, bases)


@contextlib.contextmanager
def _naming(place: Place) -> Iterator[None]:
    """Turn an OSError about a place into a ChrootError."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror)
        about = f" ({error.filename})" if error.filename and not str(place).endswith(str(error.filename)) else ""
        raise ChrootError(f"{place}: {reason}{about}") from error


def tear_down(layout: Layout, username: str) -> None:
    """Take away the tenant's chroot: every mount in it, then the files and folders that a plan makes, no others.

    His storage and logs stay. Raises ChrootError, once no mount is left, if the chroot holds something else.
    """
    parse_username(username)
    if not layout.chroots_dir.is_dir():
        return
    place = Place(layout.chroots_dir, username)
    with Bases() as bases, _naming(place):
        _unmount_beneath(_real(place))
        for made in removable(layout, username, _log_folders(layout, username, bases)):
            with _naming(made):
                file_steps.remove(made, bases)


def _real(place: Place) -> Path:
    return Path(os.path.realpath(place.base), place.path)


def _unmount_beneath(folder: Path) -> None:
    # What lies beneath a mount goes with it, so only paths of root's folders are walked. Stacked mounts and
    # those that someone adds meanwhile show up in the next round.
    while listed := mounts.mounted_beneath(folder):
        for target in mounts.outermost(listed):
            mounts.unmount(Path(target))


def _log_folders(layout: Layout, username: str, bases: Bases) -> list[str]:
    folder = Place(layout.chroots_dir, f"{username}{inside.LOG_DIR}")
    try:
        with bases.open(folder, os.O_RDONLY | os.O_DIRECTORY, same_mount=True) as descriptor:
            return os.listdir(descriptor)  # noqa: PTH208 - pathlib knows no descriptors
    except FileNotFoundError:
        return []


def remove_log_mount(layout: Layout, username: str, domain: str) -> None:
    """Take a domain's log folder out of its tenant's chroot, his other domains go on. Raises ChrootError."""
    place = log_mount(layout, parse_username(username), parse_domain(domain))
    with Bases() as bases, _naming(place):
        with contextlib.suppress(FileNotFoundError):
            mount_steps.unmount_all(place, bases)
        file_steps.remove(place, bases)


def mounted_chroots(layout: Layout) -> list[str]:
    """The names of the users whose chroots have mounts, sorted."""
    folder = Path(os.path.realpath(layout.chroots_dir))
    return sorted({Path(mount.target).relative_to(folder).parts[0] for mount in mounts.mounted_beneath(folder)})


def tear_down_all(layout: Layout) -> None:
    """Take away every chroot that has mounts. One that fails leaves no other standing. Raises ChrootError."""
    failures = []
    usernames = mounted_chroots(layout)
    # All mounts at once: asking the kernel for its mounts again for each of a thousand chroots takes a minute.
    with contextlib.suppress(OSError):
        _unmount_beneath(Path(os.path.realpath(layout.chroots_dir)))
    for username in usernames:
        try:
            tear_down(layout, username)
        except (ChrootError, BadValueError) as error:
            failures.append(str(error))
    if failures:
        raise ChrootError("; ".join(failures))
