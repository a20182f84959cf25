"""A way to the folders of the root that nginx's workers and initialize's HTTP side can walk.

The root may lie where only root may pass, such as in root's home folder, or be closed itself. Nothing there is
opened up for that: the folders that they need are shown, by bind mounts, under a folder of /run as well, and they are
given the paths through it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from user_wsgi_wrapper.emperor_hook import mounts
from user_wsgi_wrapper.layout import Layout

_DOORS = Path("/run")


def is_passable(folder: Path, uid: int, gid: int) -> bool:
    """Whether the account may search `folder` and all folders above it."""
    return uid == 0 or all(_may_search(step.stat(), uid, gid) for step in (folder, *folder.parents))


def _may_search(status: os.stat_result, uid: int, gid: int) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _shown(layout: Layout) -> tuple[Path, ...]:
    """What nginx's configuration names, and in the last one the warmer's socket."""
    return layout.sockets_dir, layout.user_logs_dir, layout.own_logs_dir, layout.run_dir


def _door(layout: Layout) -> Path:
    return _DOORS / f"user-wsgi-wrapper-{hashlib.sha256(os.fsencode(layout.root)).hexdigest()[:8]}"


def open_door(layout: Layout, *accounts: tuple[int, int]) -> Layout:
    """The layout itself if all accounts can walk to its folders, else the same one seen through a door in /run.

    An account is a uid and a gid. The folders are made if they aren't there. What anybody may do in them is for their
    own modes to say.
    """
    close_door(layout)
    for folder in _shown(layout):
        folder.mkdir(parents=True, exist_ok=True)
    if all(is_passable(folder.parent, *account) for folder in _shown(layout) for account in accounts):
        return layout
    beyond = Layout(_door(layout))
    for folder, target in zip(_shown(layout), _shown(beyond), strict=True):
        _make_passable(target, beyond.root)
        _show(folder, target)
    return beyond


def _make_passable(folder: Path, base: Path) -> None:
    """Make `folder` and what is missing above it, down from `base`, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in (folder, *folder.parents):
        if step.is_relative_to(base):
            step.chmod(0o755)


def _show(folder: Path, target: Path) -> None:
    source = os.open(folder, mounts.FOLDER | os.O_CLOEXEC)
    try:
        place = os.open(target, mounts.FOLDER | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            mounts.bind(source, place, flags=mounts.Flags.NOSUID | mounts.Flags.NODEV)
        finally:
            os.close(place)
    finally:
        os.close(source)


def close_door(layout: Layout) -> None:
    """Take the door away, also one that a killed stack left. Only empty folders are ever removed."""
    door = _door(layout)
    for mount in reversed(mounts.mounted_beneath(_DOORS)):
        if Path(mount.target).is_relative_to(door):
            mounts.unmount(Path(mount.target))
    for folder, _, _ in os.walk(door, topdown=False):
        os.rmdir(folder)  # noqa: PTH106 - the pair of os.walk
