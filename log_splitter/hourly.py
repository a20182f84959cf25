"""What a key's visitors did in an hour, in one line of JSON: requests, bytes, status classes, response times.

Requests are counted exactly, which costs nothing. The rest is read from the lines: from every one of them up to a
rate that takes about a hundredth of a core, above it from every n-th, which stands for n. `measured` says how many.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Iterator

_RATE = 5_000  # lines a second that are read
_MOST_KEYS = 65_536
_STEP = math.log(1.05)  # response times are kept to within 2.5 %
# what stands behind the request in the combined format; quotes within it are escaped by both servers
_COMBINED = re.compile(rb'(?<!\\)" ([1-5])\d\d (\d+|-)[ \n]')
_TIME = re.compile(rb"\bresponse-time=(\d+(?:\.\d+)?)(us|ms)?")
_UNITS = {b"us": 1e-6, b"ms": 1e-3, b"": 1.0}
_JSON_STATUS = re.compile(rb'"status": ?"?([1-5])\d\d\b')
_JSON_BYTES = re.compile(rb'"(?:body_bytes_sent|bytes_sent|bytes)": ?"?(\d+)')
_JSON_TIME = re.compile(rb'"(?:request_time|response_time|response-time)": ?"?(\d+(?:\.\d+)?)')


class _Sums:
    __slots__ = ("bytes", "classes", "measured", "requests", "times")

    def __init__(self) -> None:
        self.requests = 0
        self.measured = 0
        self.bytes = 0
        self.classes = [0] * 6
        self.times: dict[int, int] = {}


class Hourly:
    """Sums by key for the hour that runs. `clock` gives seconds since 1970."""

    def __init__(self, is_json: bool = False, clock: Callable[[], float] = time.time) -> None:
        self._read = _read_json if is_json else _read_combined
        self._clock = clock
        self._hour = self._now()
        self._sums: dict[bytes, _Sums] = {}
        self._tokens = float(_RATE)
        self._filled = time.monotonic()

    def _now(self) -> int:
        return int(self._clock() // 3600)

    def add(self, key: bytes, texts: list[bytes]) -> None:
        """Take in lines of a key."""
        sums = self._sums.get(key)
        if sums is None:
            if len(self._sums) >= _MOST_KEYS:
                return
            sums = self._sums[key] = _Sums()
        sums.requests += len(texts)
        step = self._step(len(texts))
        for text in texts[::step] if step else ():
            self._measure(sums, text, step)

    def _step(self, lines: int) -> int:
        """Of how many lines to read one; 0 for none at all."""
        now = time.monotonic()
        self._tokens = min(_RATE, self._tokens + _RATE * (now - self._filled))
        self._filled = now
        if self._tokens < 1:
            return 0
        step = math.ceil(lines / self._tokens)
        self._tokens -= math.ceil(lines / step)
        return step

    def _measure(self, sums: _Sums, text: bytes, weight: int) -> None:
        found = self._read(text)
        if found is None:
            return
        status, size, seconds = found
        sums.measured += 1
        sums.classes[status] += weight
        sums.bytes += size * weight
        if seconds is not None:
            index = round(math.log(seconds) / _STEP) if seconds >= 0.001 else -1_000
            sums.times[index] = sums.times.get(index, 0) + weight

    @property
    def is_over(self) -> bool:
        """Whether an hour has ended whose sums weren't taken."""
        return self._now() != self._hour

    def take(self) -> Iterator[tuple[bytes, bytes]]:
        """A line for each key, and begin anew."""
        start = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(3600 * self._hour))
        sums, self._sums = self._sums, {}
        self._hour = self._now()
        for key, value in sums.items():
            yield key, json.dumps(_as_object(key, start, value)).encode() + b"\n"


def _as_object(key: bytes, start: str, sums: _Sums) -> dict[str, object]:
    return {
        "hour": start,
        "key": key.decode(),
        "requests": sums.requests,
        "measured": sums.measured,
        "bytes": sums.bytes,
        "status": {f"{number}xx": count for number, count in enumerate(sums.classes) if count},
        "p50": _percentile(sums.times, 0.50),
        "p95": _percentile(sums.times, 0.95),
    }


def _percentile(times: dict[int, int], part: float) -> float | None:
    left = part * sum(times.values())
    for index in sorted(times):
        left -= times[index]
        if left <= 0:
            return round(math.exp(index * _STEP), 4) if index > -1_000 else 0.0
    return None


Found = tuple[int, int, "float | None"]


def _read_combined(text: bytes) -> Found | None:
    found = _COMBINED.search(text)
    if found is None:
        return None
    times = _TIME.findall(text, found.end())  # a visitor may have one in the browser's name; the server's is the last
    size = 0 if found[2] == b"-" else int(found[2][:15])
    seconds = float(times[-1][0][:20]) * _UNITS[times[-1][1]] if times else None
    return int(found[1]), size, seconds


def _read_json(text: bytes) -> Found | None:
    status, size, seconds = (part.search(text) for part in (_JSON_STATUS, _JSON_BYTES, _JSON_TIME))
    if status is None:
        return None
    return int(status[1]), int(size[1][:15]) if size else 0, float(seconds[1][:20]) if seconds else None
