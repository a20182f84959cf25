"""How far a file was read: which file it was, so that it is known again under another name, and the place in it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from log_splitter.errors import BadValueError, shorten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD = 256  # bytes of a file's beginning that tell it from one that took its inode
_COMPRESSED = (".gz", ".xz", ".bz2", ".zst")


class Place:
    """A place in a file: `head` is how the file begins, `offset` is in bytes.

    `late` is a place in the file before, which some may still write to.
    """

    __slots__ = ("device", "head", "inode", "late", "offset")

    def __init__(self, device: int, inode: int, head: bytes, offset: int, late: Place | None = None) -> None:
        self.device = device
        self.inode = inode
        self.head = head
        self.offset = offset
        self.late = late

    def is_in(self, path: Path) -> bool:
        """Whether it is a place in the file that lies there, whatever its inode: a copy is as good."""
        try:
            with path.open("rb") as file:
                return os.fstat(file.fileno()).st_size >= self.offset and file.read(len(self.head)) == self.head
        except OSError:
            return False

    def is_same_inode(self, path: Path) -> bool:
        """Whether the very file lies there."""
        try:
            info = path.stat()
        except OSError:
            return False
        return (info.st_dev, info.st_ino) == (self.device, self.inode)


def load(path: Path) -> Place | None:
    """The place that was saved, None if none was. Raises OSError, or BadValueError for what is no checkpoint."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(text)
        place = _parse(value, _parse(value["late"]) if value.get("late") else None)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadValueError(f"checkpoint {path}: {shorten(text)} is none") from None
    for one in (place, place.late):
        if one is not None and one.offset < 0:
            raise BadValueError(f"checkpoint {path}: offset {one.offset} is negative")
    return place


def _parse(value: dict[str, Any], late: Place | None = None) -> Place:
    head = bytes.fromhex(value["head"])
    return Place(int(value["device"]), int(value["inode"]), head, int(value["offset"]), late)


def _render(place: Place) -> dict[str, object]:
    return {"device": place.device, "inode": place.inode, "head": place.head.hex(), "offset": place.offset}


def save(path: Path, place: Place) -> None:
    """Keep a place; a kill leaves the one before or this one. Raises OSError."""
    value = _render(place)
    if place.late is not None:
        value["late"] = _render(place.late)
    temporary = path.with_name(path.name + ".tmp")
    with suppress(FileNotFoundError):
        temporary.unlink()
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(json.dumps(value).encode() + b"\n")
    temporary.replace(path)


def files_from(path: Path, place: Place) -> list[tuple[Path, int]]:
    """What is to be read from a place on: files and offsets, oldest first, `path` last.

    Empty if the file of the place can't be found any more.
    """
    if place.is_same_inode(path) and place.is_in(path):
        return [(path, place.offset)]
    others = [other for _, other in sorted(_rotated(path))]
    # renamed (logrotate's create): the very file. Else a copy (copytruncate): the newest one that begins alike
    places = [other for other in others if place.is_same_inode(other) and place.is_in(other)]
    places = places or [other for other in reversed(others) if place.head and place.is_in(other)][:1]
    if not places:
        return []
    # the file before may be the one last written to
    later = [
        other
        for other in others[others.index(places[0]) + 1 :]
        if place.late is None or not place.late.is_same_inode(other)
    ]
    return [(places[0], place.offset), *((other, 0) for other in later), (path, 0)]


def rotated(path: Path, place: Place) -> Path | None:
    """The rotated file that a place is in, under whatever name; None if there is none."""
    return next((other for _, other in _rotated(path) if place.is_same_inode(other) and place.is_in(other)), None)


def _rotated(path: Path) -> Iterator[tuple[int, Path]]:
    """The files beside `path` that look like it, rotated (`access.log.1`), and when they were last written to."""
    for other in path.parent.iterdir():
        rest = other.name[len(path.name) :]
        looks_rotated = other.name.startswith(path.name) and rest[:1] in (".", "-") and rest[1:2].isdigit()
        if looks_rotated and other.suffix not in _COMPRESSED:
            with suppress(OSError):  # rotated once more meanwhile
                info = other.stat()
                if stat.S_ISREG(info.st_mode):
                    yield info.st_mtime_ns, other
