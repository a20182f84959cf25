"""What a site's logs tell of its latest trouble: the server log's last codes, the error log's last failure."""

from __future__ import annotations

import re

from user_wsgi_wrapper.emperor_hook import tail
from user_wsgi_wrapper.layout import Layout

_SEARCHED = 2000  # lines from the end of a log
_LONGEST = 2000  # characters of a line that are shown
_CODE = re.compile(rb"[0-9-]{10} [0-9:]{8},[0-9]{3} \[-\] site [a-z]+: ")
_STAMP = re.compile(rb"([0-9-]{10} [0-9:]{8},[0-9]{3} \[[^\]\n]{1,64}\]) ")


def last_codes(layout: Layout, domain: str, count: int = 5) -> list[str]:
    """The last lines `site CODE: …` of the server log; none, if it can't be read."""
    lines = [line for line in _end(layout, domain, "server") if _CODE.match(line)]
    return [_text(line) for line in lines[-count:]]


def last_record(layout: Layout, domain: str) -> list[str]:
    """The last record of the error log that tells of a failure, its lines having one stamp; of JSON, its line."""
    lines = _end(layout, domain, "error")
    stamps = [found[1] if (found := _STAMP.match(line)) else None for line in lines]
    start = next((at for at in reversed(range(len(lines))) if _is_failure(lines[at])), None)
    if start is None:
        return []
    if stamps[start] is None:
        return [_text(lines[start])]
    return [_text(line) for line, stamp in zip(lines, stamps, strict=True) if stamp == stamps[start]]


def _is_failure(line: bytes) -> bool:
    return b"Traceback (most recent call last)" in line or b"could not be loaded" in line


def _end(layout: Layout, domain: str, kind: str) -> list[bytes]:
    try:
        return tail.last_lines(layout.log_file(domain, kind), _SEARCHED)
    except OSError:
        return []


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace").rstrip("\n")[:_LONGEST]
