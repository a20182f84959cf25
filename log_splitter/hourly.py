"""What a key's visitors did in an hour, in one line of JSON: requests, bytes, status classes, response times.

Requests are counted exactly, which costs next to nothing. The rest is read from the lines: from every one of them up
to a rate that takes less than a hundredth of a core, above it from every n-th, of all keys, which stands for n.
`measured` says how many were read; what none was read for is null.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator

_RATE = 2_500  # lines a second that are read
_BURST = 500  # lines read at once, after as much time without
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
    __slots__ = ("bytes", "classes", "measured", "times")

    def __init__(self) -> None:
        self.measured = 0
        self.bytes = 0
        self.classes = [0] * 6
        self.times: dict[int, int] = {}

    def add(self, weight: int, status: int, size: int, seconds: float | None) -> None:
        self.measured += 1
        self.classes[status] += weight
        self.bytes += size * weight
        if seconds is not None:
            index = round(math.log(seconds) / _STEP) if seconds >= 0.001 else -1_000
            self.times[index] = self.times.get(index, 0) + weight


class Hourly:
    """Sums by key for the hour that runs. `clock` gives seconds since 1970."""

    def __init__(self, is_json: bool = False, clock: Callable[[], float] = time.time) -> None:
        self._read = _read_json if is_json else _read_combined
        self._clock = clock
        self._hour = self._now()
        self._requests: dict[bytes, int] = {}
        self._sums: dict[bytes, _Sums] = {}  # of keys with a line that was read
        self._tokens = float(_BURST)
        self._filled = time.monotonic()
        self._step = 1  # of how many lines one is read
        self._skip = 0  # lines until the next one that is

    def _now(self) -> int:
        return int(self._clock() // 3600)

    def begin(self, lines: int) -> None:
        """So many lines will come now, of all keys: decide how many of them are read."""
        now = time.monotonic()
        self._tokens = min(_BURST, self._tokens + _RATE * (now - self._filled))
        self._filled = now
        self._step = math.ceil(lines / max(1.0, self._tokens)) or 1
        self._tokens -= lines / self._step
        self._skip %= self._step

    def add(self, key: bytes, texts: list[bytes]) -> None:
        """Take in lines of a key."""
        requests = self._requests
        lines = len(texts)
        try:
            requests[key] += lines
        except KeyError:
            if len(requests) >= _MOST_KEYS:
                return
            requests[key] = lines
        # counted through all keys, so that a key with few lines has the same chance for each as one with many
        if self._skip < lines:
            self._measure(key, texts)
        else:
            self._skip -= lines

    def _measure(self, key: bytes, texts: list[bytes]) -> None:
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = _Sums()
        step = self._step
        chosen = range(self._skip, len(texts), step)
        for index in chosen:
            found = self._read(texts[index])
            if found is not None:
                sums.add(step, *found)
        self._skip = chosen[-1] + step - len(texts)

    @property
    def is_over(self) -> bool:
        """Whether an hour has ended whose sums weren't taken."""
        return self._now() != self._hour

    def take(self) -> Iterator[tuple[bytes, bytes]]:
        """A line for each key, and begin anew."""
        start = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(3600 * self._hour))
        requests, self._requests = self._requests, {}
        sums, self._sums = self._sums, {}
        self._hour = self._now()
        for key, count in requests.items():
            # a key needs no escaping: it is a domain's canonical name
            head = f'{{"hour": "{start}", "key": "{key.decode()}", "requests": {count}, '
            found = sums.get(key)
            yield key, (head + (_tail(found) if found is not None and found.measured else _NOTHING)).encode()


_NOTHING = '"measured": 0, "bytes": null, "status": {}, "p50": null, "p95": null}\n'


def _tail(sums: _Sums) -> str:
    status = ", ".join(f'"{number}xx": {count}' for number, count in enumerate(sums.classes) if count)
    p50, p95 = (_percentile(sums.times, part) for part in (0.50, 0.95))
    sizes = f'"measured": {sums.measured}, "bytes": {sums.bytes}'
    return f'{sizes}, "status": {{{status}}}, "p50": {p50}, "p95": {p95}}}\n'


def _percentile(times: dict[int, int], part: float) -> str:
    left = part * sum(times.values())
    for index in sorted(times):
        left -= times[index]
        if left <= 0:
            return repr(round(math.exp(index * _STEP), 4) if index > -1_000 else 0.0)
    return "null"


Found = tuple[int, int, "float | None"]


def _read_combined(text: bytes) -> Found | None:
    start = text.find(b'" ')  # by far the fastest way to the end of nearly every request
    if start < 0:
        return None
    found = _COMBINED.match(text, start) or _COMBINED.search(text, start)
    if found is None:
        return None
    # a visitor may have one in the browser's name; the server's is the last
    times = _TIME.match(text, max(text.rfind(b"response-time="), found.end()))
    size = 0 if found[2] == b"-" else int(found[2][:15])
    seconds = float(times[1][:20]) * _UNITS[times[2] or b""] if times is not None else None
    return int(found[1]), size, seconds


def _read_json(text: bytes) -> Found | None:
    status, size, seconds = (part.search(text) for part in (_JSON_STATUS, _JSON_BYTES, _JSON_TIME))
    if status is None:
        return None
    return int(status[1]), int(size[1][:15]) if size else 0, float(seconds[1][:20]) if seconds else None
