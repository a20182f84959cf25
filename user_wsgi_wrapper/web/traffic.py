"""Requests and failures by the hour, of access lines in the combined format."""

from __future__ import annotations

import calendar
import re
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

HOUR, DAY = 3600, 86400
# the time to the hour, the zone, and the class of the status
_LINE = re.compile(
    rb"^\S+ \S+ \S+ \[([0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9]{2}):[0-9:]{5} ([+-][0-9]{4})\] "
    rb'"[^"\n]*" ([1-5])[0-9]{2} ',
    re.MULTILINE,
)
_MOST_HOURS = 24 * 400  # of one file: a log whose clock ran wild


@dataclass(frozen=True)
class Span:
    """One bar: its beginning in seconds since the epoch, requests, and of those the ones of 4xx and of 5xx."""

    start: int
    requests: int
    refused: int
    failed: int


class Traffic:
    """Counts one file's lines; what isn't an access line is passed over."""

    def __init__(self) -> None:
        self._hours: dict[int, Counter[bytes]] = {}

    def feed(self, block: bytes) -> None:
        """Count a block of whole lines."""
        for (hour, zone, status), number in Counter(_LINE.findall(block)).items():
            start = _start(hour, zone)
            if start is not None and (start in self._hours or len(self._hours) < _MOST_HOURS):
                self._hours.setdefault(start, Counter())[status] += number

    def between(self, start: int, end: int) -> Counter[bytes]:
        """The requests by the first digit of their status, of the hours that begin within."""
        total: Counter[bytes] = Counter()
        for hour, counts in self._hours.items():
            if start <= hour < end:
                total.update(counts)
        return total


def _start(hour: bytes, zone: bytes) -> int | None:
    """When the hour began, in UTC; one of a zone of half hours is put to the whole hour in which it began."""
    try:
        local = calendar.timegm(time.strptime(hour.decode("ascii"), "%d/%b/%Y:%H"))
    except ValueError:
        return None
    offset = (int(zone[1:3]) * 60 + int(zone[3:5])) * 60
    return (local - (offset if zone[:1] == b"+" else -offset)) // HOUR * HOUR


def spans(traffic: Iterable[Traffic], now: float, length: int, number: int) -> tuple[Span, ...]:
    """The last `number` spans of `length` seconds in UTC, the current one included, the oldest first."""
    parts = tuple(traffic)
    last = int(now) // length * length
    found = []
    for start in range(last - (number - 1) * length, last + length, length):
        total: Counter[bytes] = Counter()
        for part in parts:
            total.update(part.between(start, start + length))
        found.append(Span(start, sum(total.values()), total[b"4"], total[b"5"]))
    return tuple(found)
