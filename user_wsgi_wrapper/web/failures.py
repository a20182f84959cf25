"""Failures of an error log, grouped by the place in the code that they come from.

Two records are of one group if their exceptions are of one type and were raised at one place; records without a
traceback, if they say the same of whatever request. Failures that the wrapper only counted are added to their group.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

_STAMPED = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8},[0-9]{3}) \[([0-9a-f]{12}|-)\] ?(.*)")
_FRAME = re.compile(r'  File "(.*)", line ([0-9]+)(?:, in (.*))?')
_OF_A_REQUEST = re.compile(r"[A-Z]{1,20} (/\S*|\*): (.*)")
_COUNTED = re.compile(r"failed as \[([0-9a-f]{12}|-)\] did, (once|([0-9]{1,9}) times) within [0-9.]+ s: (.*)")
_TRACEBACK = "Traceback (most recent call last):"
_NO_FAILURES = ("the client went away",)
_GROUPS = 100  # of a file; the one that was seen last the longest ago makes room
_EXAMPLE = 4000  # characters
_LINES = 200  # of a record
_REMEMBERED = 1000  # requests whose failures later ones may be counted by


@dataclass(frozen=True)
class Group:
    """Failures of one place. `first` and `last` are their log's stamps; `example` is the newest one that was told."""

    what: str
    place: str
    count: int
    first: str
    last: str
    example: str
    request_id: str

    def merged(self, other: Group) -> Group:
        """Both together."""
        newer = self if self.last >= other.last else other
        example = newer if newer.example else (other if newer is self else self)
        return replace(
            newer,
            count=self.count + other.count,
            first=min(self.first, other.first),
            example=example.example,
            request_id=example.request_id,
        )


class Failures:
    """Groups one file's records, of the text format or of JSON."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}
        self._told: dict[str, tuple[str, str]] = {}
        self._stamp = ("", "")
        self._lines: list[str] = []

    def feed(self, block: bytes) -> None:
        """Group a block of whole lines."""
        for line in block.split(b"\n"):
            if line.startswith(b"{"):
                self._close()
                self._json(line)
                continue
            match = _STAMPED.match(line)
            if match is None:
                continue
            stamp = (match[1].decode(), match[2].decode())
            if stamp != self._stamp:
                self._close()
                self._stamp = stamp
            if len(self._lines) < _LINES:
                self._lines.append(match[3][:_EXAMPLE].decode("utf-8", "replace"))
            else:  # the end tells what it was
                self._lines[_LINES // 2 :] = [
                    *self._lines[_LINES // 2 + 1 :],
                    match[3][:_EXAMPLE].decode("utf-8", "replace"),
                ]

    def groups(self) -> dict[tuple[str, str], Group]:
        """The groups so far; the last record is taken for whole."""
        self._close()
        return dict(self._groups)

    def _close(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._add(*self._stamp, lines, is_failure=False)
        self._stamp = ("", "")

    def _json(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            stamp, request_id = str(record["timestamp"])[:40], str(record.get("request_id") or "-")[:12]
            lines = f"{record['message']}\n{record.get('exc_info') or ''}".rstrip("\n").split("\n")
            is_failure = record.get("level") in ("ERROR", "CRITICAL")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return
        self._add(stamp, request_id, [one[:_EXAMPLE] for one in lines[:_LINES]], is_failure)

    def _add(self, stamp: str, request_id: str, lines: list[str], is_failure: bool) -> None:
        of_a_request = _OF_A_REQUEST.match(lines[0])
        said = of_a_request[2] if of_a_request else lines[0]
        counted = _COUNTED.fullmatch(said)
        if counted is not None:
            what, place = self._told.get(counted[1], (counted[4][:200], ""))
            self._put(Group(what, place, int(counted[3] or 1), stamp, stamp, "", request_id))
            return
        key = _key(lines)
        if key is None:
            if not (of_a_request or is_failure) or said.startswith(_NO_FAILURES):
                return
            key = (said[:200], "")
        example = "\n".join(lines)[:_EXAMPLE]
        self._put(Group(key[0], key[1], 1, stamp, stamp, example, request_id))
        self._told.pop(request_id, None)
        self._told[request_id] = key
        if len(self._told) > _REMEMBERED:
            del self._told[next(iter(self._told))]

    def _put(self, new: Group) -> None:
        key = new.what, new.place
        known = self._groups.get(key)
        self._groups[key] = new if known is None else known.merged(new)
        if len(self._groups) > _GROUPS:
            del self._groups[min(self._groups, key=lambda one: self._groups[one].last)]


def _key(lines: list[str]) -> tuple[str, str] | None:
    """The exception's type and where it was raised, of the last traceback in a record."""
    if _TRACEBACK not in lines:
        return None
    begin = len(lines) - 1 - lines[::-1].index(_TRACEBACK)
    place = ""
    for line in lines[begin + 1 :]:
        frame = _FRAME.match(line)
        if frame is not None:
            place = f"{frame[1]}:{frame[2]}" + (f" in {frame[3]}" if frame[3] else "")
        elif line and not line.startswith(" "):
            return line.partition(":")[0][:200], place[:400]
    return None


def together(parts: Iterable[Failures]) -> list[Group]:
    """The groups of all files, the one that was seen last first."""
    merged: dict[tuple[str, str], Group] = {}
    for part in parts:
        for key, group in part.groups().items():
            known = merged.get(key)
            merged[key] = group if known is None else known.merged(group)
    return sorted(merged.values(), key=lambda group: group.last, reverse=True)
