"""When a log's line was written, and for which request: what each kind of line says of that. Pure.

Times are seconds since the epoch. An access line's has no fraction; it counts as the end of its second, for it is
written when its request is done.
"""

from __future__ import annotations

import calendar
import functools
import json
import re
import time
from typing import NamedTuple

ID_LENGTH = 12  # hex digits of a request's id that the logs have
NO_REQUEST = "-"
_TEXT = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) \[([0-9a-f]{12}|-)\] ")
_DATE = re.compile(rb"\[(\d\d)/([A-Z][a-z][a-z])/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)\]")
_DATE_WITHIN = 4096  # bytes; a user's name, which stands before it, is as long as a header may be
_ID_AT_THE_END = re.compile(rb" ([0-9a-f]{12})[0-9a-f]{0,52}\n?$")
_MONTHS = {name.encode(): number for number, name in enumerate(calendar.month_abbr)}
_END_OF_SECOND = 0.9995


class Stamp(NamedTuple):
    """What a line says of itself. Lines with one `prefix` are one record; None: the line is one alone."""

    time: float
    request_id: str
    prefix: bytes | None = None


def parse(kind: str, line: bytes) -> Stamp | None:
    """The stamp of a line of the log `kind`, one of inside.LOG_KINDS; None for a line without: one gone on with."""
    if kind == "access":
        return _of_access(line)
    found = _TEXT.match(line)
    if found is not None:
        # the server log's lines are records each, and uWSGI's stamps have whole seconds
        prefix = found[0] if kind == "error" else None
        return _stamp(_local(found[1]), int(found[2]) / 1000, found[3].decode(), prefix)
    return _of_json(line) if line.startswith(b"{") else None


def _of_json(line: bytes) -> Stamp | None:
    try:
        fields = json.loads(line)
        text, request_id = fields["timestamp"], fields["request_id"]
        return _stamp(_local(text[:19].encode()), int(text[20:23]) / 1000, str(request_id))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _of_access(line: bytes) -> Stamp | None:
    found = _DATE.search(line, 0, _DATE_WITHIN)
    if found is None:
        return None
    last = _ID_AT_THE_END.search(line, max(len(line) - 80, 0))
    return _stamp(_with_offset(found[0]), _END_OF_SECOND, last[1].decode() if last else NO_REQUEST)


def _stamp(moment: float | None, fraction: float, request_id: str, prefix: bytes | None = None) -> Stamp | None:
    return None if moment is None else Stamp(moment + fraction, request_id, prefix)


@functools.lru_cache(1024)
def _local(text: bytes) -> float | None:
    """`2012-08-24 10:11:12`, local time; None if there is no such time."""
    try:
        parts = [int(part) for part in re.split(rb"[- :]", text)]
        year, month, day, hour, minute, second = parts
        if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 62):
            return None
        return time.mktime((year, month, day, hour, minute, second, 0, 0, -1))
    except (ValueError, OverflowError):
        return None


@functools.lru_cache(1024)
def _with_offset(text: bytes) -> float | None:
    """`[24/Aug/2012:10:11:12 +0200]`, as nginx's $time_local has it."""
    found = _DATE.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    try:
        utc = calendar.timegm((int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second)))
    except (ValueError, OverflowError):
        return None
    east = 3600 * int(hours) + 60 * int(minutes)
    return float(utc - east if sign == b"+" else utc + east)
