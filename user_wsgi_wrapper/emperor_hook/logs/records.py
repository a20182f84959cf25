"""Lines grouped into records, records chosen, and the records of several logs merged by their times. Pure.

Everything here is a generator over what is given, in one of two directions: from the oldest on, or from the newest
back. A record that is longer than tail.LONGEST comes in pieces.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from user_wsgi_wrapper.emperor_hook.logs.stamps import Stamp, parse
from user_wsgi_wrapper.emperor_hook.tail import LONGEST, MOST


class Record(NamedTuple):
    """Lines of the log `kind` that were written together, at `time` (seconds since the epoch).

    Where no line says when, `time` is None, and `request_id` is `-`.
    """

    kind: str
    time: float | None
    request_id: str
    lines: tuple[bytes, ...]


@dataclass(frozen=True)
class Wanted:
    """Which records are: of a request, with a line that the pattern is found in, not before a time; None for any."""

    request_id: str | None = None
    pattern: re.Pattern[bytes] | None = None
    since: float | None = None

    @property
    def is_everything(self) -> bool:
        """Whether no record is left out."""
        return self == Wanted()

    def has(self, record: Record) -> bool:
        """Whether the record is one of them. One without a time isn't, if a time is asked for."""
        if self.since is not None and (record.time is None or record.time < self.since):
            return False
        if self.request_id is not None and not record.request_id.startswith(self.request_id):
            return False
        return self.pattern is None or any(self.pattern.search(line.rstrip(b"\n")) for line in record.lines)


def grouped(kind: str, lines: Iterable[bytes | None]) -> Iterator[Record]:
    """The records that lines, the oldest first, are of. A line without a stamp goes on with the one before it.

    None among the lines says that some are left out there.
    """
    stamp: Stamp | None = None
    held: list[bytes] = []
    size = 0
    for line in lines:
        found = parse(kind, line) if line is not None else None
        is_next = line is None or (found is not None and not _is_one(stamp, found))
        if held and (is_next or size >= LONGEST):
            yield _record(kind, stamp, held)
            held, size = [], 0
        if is_next:
            stamp = found
        if line is not None:
            held.append(line)
            size += len(line)
    if held:
        yield _record(kind, stamp, held)


def grouped_backwards(kind: str, lines: Iterable[bytes]) -> Iterator[Record]:
    """The same of lines that come the newest first."""
    stamp: Stamp | None = None  # of the record whose beginning isn't found yet
    held: list[bytes] = []
    loose: list[bytes] = []  # lines that came after, each without a stamp
    size = 0
    for line in lines:
        found = parse(kind, line)
        if found is None:
            loose.append(line)
        elif _is_one(stamp, found):
            held += [*loose, line]
            loose = []
        else:
            if held:
                yield _record(kind, stamp, held[::-1])
            stamp, held, loose, size = found, [*loose, line], [], 0
        size += len(line)
        if size >= LONGEST:
            yield _record(kind, stamp, [*held, *loose][::-1])
            stamp, held, loose, size = None, [], [], 0
    if held:
        yield _record(kind, stamp, held[::-1])
    if loose:
        yield _record(kind, None, loose[::-1])


def _is_one(stamp: Stamp | None, found: Stamp) -> bool:
    return stamp is not None and found.prefix is not None and stamp.prefix == found.prefix


def _record(kind: str, stamp: Stamp | None, lines: list[bytes]) -> Record:
    if stamp is None:
        return Record(kind, None, "-", tuple(lines))
    return Record(kind, stamp.time, stamp.request_id, tuple(lines))


def merged(streams: Iterable[Iterable[Record]]) -> Iterator[Record]:
    """The records of several logs, the oldest first. Those of one log stay in its order, whatever their times."""
    for _, record in heapq.merge(*(_in_order(stream) for stream in streams), key=lambda pair: pair[0]):
        yield record


def merged_backwards(streams: Iterable[Iterable[Record]]) -> Iterator[Record]:
    """The same of records that come the newest first."""
    for _, record in heapq.merge(*(_in_order(stream, -1) for stream in streams), key=lambda pair: pair[0]):
        yield record


def _in_order(stream: Iterable[Record], sign: int = 1) -> Iterator[tuple[float, Record]]:
    latest = float("-inf")
    for record in stream:
        if record.time is not None:
            latest = max(latest, sign * record.time)
        yield latest, record


def last(records: Iterable[Record], count: int, wanted: Wanted) -> list[Record]:
    """The last `count` lines that are wanted, in order, of records that come the newest first; 32 MiB at most.

    No record is asked for that nobody needs.
    """
    chosen: list[Record] = []
    size, left = 0, count
    if not left:
        return []
    for record in records:
        if wanted.since is not None and record.time is not None and record.time < wanted.since:
            break  # whatever comes is older
        if not wanted.has(record):
            continue
        lines = record.lines[-left:]
        chosen.append(Record(record.kind, record.time, record.request_id, lines))
        left -= len(lines)
        size += sum(map(len, lines))
        if not left or size >= MOST:
            break
    return chosen[::-1]
