"""A way to the root that nginx's workers can walk.

The root may lie where only root may pass, such as in root's home folder. Nothing there is opened up for that: the
root is shown, by a bind mount, at a folder of /run as well, and nginx is given the paths through it.
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
    return all(_may_search(step.stat(), uid, gid) for step in (folder, *folder.parents))


def _may_search(status: os.stat_result, uid: int, gid: int) -> bool:
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _door(layout: Layout) -> Path:
    return _DOORS / f"user-wsgi-wrapper-{hashlib.sha256(os.fsencode(layout.root)).hexdigest()[:8]}"


def open_door(layout: Layout, uid: int, gid: int) -> Layout:
    """The layout itself if the account can walk to its root, else the same one seen through a door in /run."""
    close_door(layout)
    if is_passable(layout.root, uid, gid):
        return layout
    door = _door(layout)
    door.mkdir(exist_ok=True)
    source = os.open(layout.root, mounts.FOLDER | os.O_CLOEXEC)
    target = os.open(door, mounts.FOLDER | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        mounts.bind(source, target, flags=mounts.Flags.NOSUID | mounts.Flags.NODEV)
    finally:
        os.close(source)
        os.close(target)
    return Layout(door)


def close_door(layout: Layout) -> None:
    """Take the door away, also one that a killed stack left."""
    door = _door(layout)
    while _is_mounted(door):
        mounts.unmount(door)
    if door.is_dir():
        door.rmdir()


def _is_mounted(door: Path) -> bool:
    # os.path.ismount can't tell a bind mount of the same file system
    return any(mount.target == os.path.realpath(door) for mount in mounts.mounted_beneath(door.parent.resolve()))
