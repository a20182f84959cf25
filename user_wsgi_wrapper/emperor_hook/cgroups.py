"""A control group for each site, which bounds all its processes together: cgroups(7), version 1, 2, or both at once.

The group is made before the vassal that enters it, while that is still root; one that can't enter doesn't start. A
tenant sees no cgroup file system, and could write to none.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import signal
import zlib
from dataclasses import dataclass
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import mounts
from user_wsgi_wrapper.emperor_hook.limits import Limits
from user_wsgi_wrapper.layout import Layout

CONTROLLERS = ("cpu", "memory", "pids")
PERIOD = 100_000  # microseconds: a quota of processor time is dealt out ten times a second
_UNLIMITED = {1: "-1", 2: "max"}
_PREFIX = "site-"  # no file of the kernel's begins so: a domain could be called `cgroup.procs`
_ROUNDS = 100

log = logging.getLogger("user_wsgi_wrapper.warmer.cgroups")


class CgroupError(Exception):
    """A site's limits can't be set; str() is one line fit to print."""


@dataclass(frozen=True)
class Hierarchy:
    """One mounted hierarchy of control groups, and those of CONTROLLERS that it has."""

    folder: Path
    version: int
    controllers: frozenset[str]


def parse_mounts(mountinfo: bytes) -> tuple[Hierarchy, ...]:
    """The hierarchies of /proc/self/mountinfo (proc(5)); version 2's is taken to have what is left of CONTROLLERS."""
    first, second = [], []
    left = set(CONTROLLERS)
    # all others' lines, thousands on a host of many chroots, aren't taken apart
    for mount in mounts.parse(b"\n".join(line for line in mountinfo.split(b"\n") if b" - cgroup" in line)):
        if mount.kind == "cgroup2":
            second.append(Path(mount.target))
        found = left & mount.super_options
        if mount.kind == "cgroup" and found:
            first.append(Hierarchy(Path(mount.target), 1, frozenset(found)))
            left -= found
    if second and left:
        return *first, Hierarchy(second[0], 2, frozenset(left))
    return tuple(first)


@functools.cache
def mounted() -> tuple[Hierarchy, ...]:
    """The machine's hierarchies, with what each really has. Read once: they are as the machine was booted."""
    found = []
    for one in parse_mounts(Path("/proc/self/mountinfo").read_bytes()):
        if one.version == 2:
            with contextlib.suppress(OSError):
                there = one.controllers.intersection((one.folder / "cgroup.controllers").read_text().split())
                found.append(Hierarchy(one.folder, 2, there))
        else:
            found.append(one)
    return tuple(one for one in found if one.controllers)


def contents(hierarchy: Hierarchy, limits: Limits) -> list[tuple[str, str]]:
    """The files of a group and what is to stand in them, in this order."""
    none = _UNLIMITED[hierarchy.version]
    memory = str(limits.memory << 20) if limits.memory else none
    quota = str(limits.cpu * PERIOD // 100) if limits.cpu else none
    is_first = hierarchy.version == 1
    files: dict[str, list[tuple[str, str]]] = {
        "pids": [("pids.max", str(limits.tasks or "max"))],
        "memory": [("memory.limit_in_bytes" if is_first else "memory.max", memory)],
        "cpu": [("cpu.cfs_quota_us", quota)] if is_first else [("cpu.max", f"{quota} {PERIOD}")],
    }
    # who may take no more memory mustn't take the machine's swap space instead
    files["memory"].append(("memory.memsw.limit_in_bytes", memory) if is_first else ("memory.swap.max", "0"))
    return [pair for name in CONTROLLERS if name in hierarchy.controllers for pair in files[name]]


def make(layout: Layout, domain: str, limits: Limits, policy: str = "auto") -> dict[str, Path]:
    """Make the site's groups, or give them changed limits; gives each controller's group.

    `policy` is the configuration's limits.cgroups. Raises CgroupError where it is `required` and a controller is
    missing, and where the site holds more memory already than it is to have.
    """
    groups: dict[str, Path] = {}
    failures: list[str] = []
    for hierarchy in mounted() if policy != "off" else ():
        group = _top(hierarchy, layout) / f"{_PREFIX}{domain}"
        try:
            _make_folder(hierarchy, group)
            _fill(group, contents(hierarchy, limits))
        except OSError as error:
            if error.errno == errno.EBUSY and group.is_dir():
                raise CgroupError(f"{error.filename}: the site holds more memory than it is to have") from None
            failures.append(f"{error.filename}: {error.strerror}")
            continue
        groups.update(dict.fromkeys(hierarchy.controllers, group))
    missing = [name for name in CONTROLLERS if name not in groups]
    if missing and policy != "off":
        _tell(", ".join(missing), "; ".join(failures) or "no hierarchy has it", policy)
    return groups


@functools.cache
def _tell(missing: str, why: str, policy: str) -> None:
    text = f"no control groups for {missing}: {why}"
    if policy == "required":
        raise CgroupError(text)  # an exception is not cached
    log.warning("%s; sites are served without those limits", text)


def _top(hierarchy: Hierarchy, layout: Layout) -> Path:
    root = str(layout.root)
    return hierarchy.folder / (
        "user_wsgi_wrapper" if root == "/" else f"user_wsgi_wrapper-{zlib.crc32(root.encode()):08x}"
    )


def _make_folder(hierarchy: Hierarchy, group: Path) -> None:
    if group.is_dir():
        return
    if hierarchy.version == 2:
        _enable(hierarchy.folder, hierarchy.controllers)
    group.parent.mkdir(exist_ok=True)
    if hierarchy.version == 2:
        _enable(group.parent, hierarchy.controllers)
    group.mkdir(exist_ok=True)


def _enable(folder: Path, controllers: frozenset[str]) -> None:
    file = folder / "cgroup.subtree_control"
    missing = controllers.difference(file.read_text().split())
    if missing:
        _write(file, " ".join(f"+{name}" for name in sorted(missing)))


def _fill(group: Path, files: list[tuple[str, str]]) -> None:
    """Version 1's two limits of memory must never cross: what can't be written at first is written once more."""
    again = []
    for name, text in files:
        try:
            _write(group / name, text)
        except FileNotFoundError:
            if "swap" not in name and "memsw" not in name:
                raise
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            again.append((name, text))
    for name, text in again:
        _write(group / name, text)


def _write(file: Path, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        error.filename = str(file)
        raise
    finally:
        os.close(descriptor)


def entrance(group: Path) -> Path:
    """The file that a process without threads enters a group by, when it writes 0 there.

    Version 1's `tasks` is for one thread, and takes 0.1 ms. `cgroup.procs`, which is all that version 2 has, holds
    the writer up until every processor has been through a quiet state (RCU): 3 to 20 ms.
    """
    return next(file for file in (group / "tasks", group / "cgroup.procs") if file.exists())


def group_of(layout: Layout, domain: str) -> dict[str, Path]:
    """Each controller's group of a site, as far as they are there."""
    found = {}
    for hierarchy in mounted():
        group = _top(hierarchy, layout) / f"{_PREFIX}{domain}"
        if group.is_dir():
            found.update(dict.fromkeys(hierarchy.controllers, group))
    return found


def kill(layout: Layout, domain: str) -> None:
    """End whatever is left in the site's groups, however fast it multiplies: nothing leaves a group by forking."""
    for group in set(group_of(layout, domain).values()):
        with contextlib.suppress(OSError):
            if (group / "cgroup.kill").exists():
                _write(group / "cgroup.kill", "1")
            for _ in range(_ROUNDS):
                if not _kill_once(group):
                    break


def _kill_once(group: Path) -> int:
    """Stop all and then kill them: a place that a dead one leaves would be taken by a new one."""
    descriptors = []
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            descriptors.append((pid, os.pidfd_open(int(pid))))
    there = set((group / "cgroup.procs").read_text().split())  # a number may have become another's meanwhile
    try:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid, descriptor in descriptors:
                with contextlib.suppress(ProcessLookupError):
                    if pid in there:
                        signal.pidfd_send_signal(descriptor, number)
    finally:
        for _, descriptor in descriptors:
            os.close(descriptor)
    return len(descriptors)


def remove(layout: Layout, domain: str) -> None:
    """Take the site's groups away, except where a process is left in them."""
    for hierarchy in mounted():
        with contextlib.suppress(OSError):
            (_top(hierarchy, layout) / f"{_PREFIX}{domain}").rmdir()


def remove_all(layout: Layout) -> None:
    """Take all groups away in which no process is left."""
    for hierarchy in mounted():
        top = _top(hierarchy, layout)
        for group in [*top.glob(f"{_PREFIX}*"), top]:
            with contextlib.suppress(OSError):
                group.rmdir()
