"""What to answer to a request for a file: pure, from the request's headers and what the file is (RFC 9110)."""

from __future__ import annotations

import time

TYPE_CHECKING = False  # typing costs milliseconds in every worker
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ENCODINGS = ("br", "gzip")  # that a compressed sibling may have, the better first
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LAST_SECOND = 253402300799  # of the year 9999: an HTTP date has four digits for the year
_HUGE = 10**18  # stands for every number with more digits, which Python may refuse to convert


class Reply:
    """A decided answer: after the head come `length` bytes of the file from `start` on. Never changed once made."""

    __slots__ = ("headers", "length", "start", "status")

    def __init__(self, status: str, headers: list[tuple[str, str]], start: int = 0, length: int = 0) -> None:
        self.status = status
        self.headers = headers
        self.start = start
        self.length = length


def decide(
    environ: Mapping[str, Any],
    size: int,
    mtime_ns: int,
    content_type: str,
    encoding: str = "",
    varies: bool = False,
) -> Reply:
    """The reply to a GET or HEAD for a file of `size` bytes that was last changed at `mtime_ns`.

    `encoding` is the content coding that the file's bytes have ("" for none), `varies` says that there are others
    to choose from. The order of the conditions is that of RFC 9110 section 13.2.2.
    """
    modified = time.gmtime(min(max(mtime_ns // 1_000_000_000, 0), _LAST_SECOND))
    date = http_date(modified)
    tag = f'"{mtime_ns:x}-{size:x}{encoding and "-" + encoding}"'
    headers = [("ETag", tag), ("Last-Modified", date)]
    if varies:
        headers.append(("Vary", "Accept-Encoding"))
    condition = _condition(environ, tag, tuple(modified[:6]))
    if condition == 304:
        return Reply("304 Not Modified", headers)
    if condition == 412:
        return Reply("412 Precondition Failed", [*headers, ("Content-Type", "text/plain"), ("Content-Length", "0")])
    headers += [("Content-Type", content_type), ("Accept-Ranges", "bytes")]
    span = _wanted_span(environ, size, tag, date)
    if span is None:
        if encoding:
            headers.append(("Content-Encoding", encoding))
        headers.append(("Content-Length", str(size)))
        return Reply("200 OK", headers, 0, size)
    start, length = span
    if not length:
        headers += [("Content-Range", f"bytes */{size}"), ("Content-Length", "0")]
        return Reply("416 Range Not Satisfiable", headers)
    if encoding:
        headers.append(("Content-Encoding", encoding))
    headers += [("Content-Range", f"bytes {start}-{start + length - 1}/{size}"), ("Content-Length", str(length))]
    return Reply("206 Partial Content", headers, start, length)


def _condition(environ: Mapping[str, Any], tag: str, modified: tuple[int, ...]) -> int:
    """304 or 412 if a conditional header says so, else 200."""
    tags = environ.get("HTTP_IF_MATCH")
    if tags is not None:
        if not _has_tag(tags, tag, weak=False):
            return 412
    elif "HTTP_IF_UNMODIFIED_SINCE" in environ:
        date = parse_date(environ["HTTP_IF_UNMODIFIED_SINCE"])
        if date is not None and modified > date:
            return 412
    tags = environ.get("HTTP_IF_NONE_MATCH")
    if tags is not None:
        return 304 if _has_tag(tags, tag, weak=True) else 200
    if "HTTP_IF_MODIFIED_SINCE" in environ:
        date = parse_date(environ["HTTP_IF_MODIFIED_SINCE"])
        if date is not None and modified <= date:
            return 304
    return 200


def _has_tag(header: str, tag: str, weak: bool) -> bool:
    """Whether a list of entity tags names `tag`; a weak one counts only if `weak` (RFC 9110 section 8.8.3.2).

    Ours has neither comma nor quote inside, so no piece of another, cut at its commas, can equal it.
    """
    for item in header.split(","):
        item = item.strip(" \t")
        if item in (tag, "*") or (weak and item.startswith("W/") and item[2:] == tag):
            return True
    return False


def _wanted_span(environ: Mapping[str, Any], size: int, tag: str, date: str) -> tuple[int, int] | None:
    if environ["REQUEST_METHOD"] != "GET" or "HTTP_RANGE" not in environ:
        return None
    validator = environ.get("HTTP_IF_RANGE")
    if validator is not None:
        validator = validator.strip(" \t")
        # the strong comparison alone, and a date must be the very one (RFC 9110 section 13.1.5)
        if validator != tag and validator != date:
            return None
    return parse_range(environ["HTTP_RANGE"], size)


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """The start and length in bytes of the one range that a Range header asks for (RFC 9110 section 14.1.2).

    Length 0 means that no byte of it is there. None, the whole file, if the header is not valid, has another unit
    or several ranges, which a server may ignore.
    """
    unit, _, text = header.partition("=")
    first, dash, last = text.strip(" \t").partition("-")
    if unit.strip(" \t").lower() != "bytes" or not dash:
        return None
    if not first:
        suffix = _number(last)
        if suffix is None or (suffix and not size):  # an empty file's last bytes are the whole of it
            return None
        return max(size - suffix, 0), min(suffix, size)
    start, end = _number(first), _number(last) if last else _HUGE
    if start is None or end is None or end < start:
        return None
    return start, max(min(end + 1, size) - start, 0)


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    text = text.lstrip("0") or "0"
    return int(text) if len(text) <= 18 else _HUGE


def http_date(moment: time.struct_time) -> str:
    """A date as HTTP writes it (RFC 9110 section 5.6.7); strftime would use the tenant's locale."""
    year, month, day, hour, minute, second, weekday = moment[:7]
    return f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"


def parse_date(text: str) -> tuple[int, ...] | None:
    """Year, month, day, hour, minute and second of an HTTP date in any of its three forms; None if it is none."""
    parts = text.replace("-", " ").replace(",", " ").split()
    if len(parts) == 6 and parts[5] == "GMT":
        day, month, year, clock = parts[1:5]
    elif len(parts) == 5:
        month, day, clock, year = parts[1:5]
    else:
        return None
    numbers = [_number(number) for number in (year, day, *clock.split(":"))]
    if len(numbers) != 5 or None in numbers or month not in _MONTHS:
        return None
    full_year, day_of_month, hour, minute, second = (number or 0 for number in numbers)
    if len(year) == 2:  # RFC 850
        full_year += 1900 if full_year >= 70 else 2000
    return full_year, _MONTHS.index(month) + 1, day_of_month, hour, minute, second


def accepted_encodings(header: str) -> list[str]:
    """Which of br and gzip an Accept-Encoding header takes, the one it likes best first (RFC 9110 section 12.5.3)."""
    weights: dict[str, float] = {}
    for item in header.lower().split(","):
        coding, _, parameter = item.partition(";")
        key, _, value = parameter.partition("=")
        try:
            weights[coding.strip()] = float(value) if key.strip() == "q" else 1.0
        except ValueError:
            weights[coding.strip()] = 0.0
    rest, least = weights.get("*", 0.0), weights.get("identity", 0.0)
    likings = [(weights.get(encoding, rest), encoding) for encoding in ENCODINGS]
    likings.sort(key=lambda pair: -pair[0])
    return [encoding for weight, encoding in likings if weight > 0 and weight >= least]
