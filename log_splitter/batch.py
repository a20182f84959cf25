"""Blocks of bytes in, whole lines by key out.

This is the path that every line takes, so it is made of what CPython does in C: `BytesIO` finds the lines (half the
time of `bytes.split`, as it uses memchr(3)), one `partition` a line finds the key, one list a key gathers the texts.
What a key is worth is asked once a batch, not once a line.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from io import BytesIO

from log_splitter import line
from log_splitter.counters import Counters

MAX_LINE = 1 << 20  # bytes kept of a line
_LINE_COST = 100  # bytes of memory that a line takes besides its own
_KEY_COST = 400
_WEIGH = 1 << 20  # bytes read between two looks at how much memory that is
_MANY = 48  # lines of a key that are worth a write of their own
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")

Groups = dict[bytes, list[bytes]]


class Batch:
    """Lines read and not yet written.

    `groups` maps what stood for a key in the stream (not yet looked at; `b""` if there was nothing) to the texts of
    its lines, each with its newline. `started` is when the first block came (seconds, monotonic), None if none has.
    """

    escape = rb"\x%02x"  # as Apache and nginx write it

    def __init__(self, counters: Counters) -> None:
        self.groups: Groups = defaultdict(list)
        self.size = 0
        self.started: float | None = None
        self.unfinished = 0  # bytes read of a line whose newline hasn't come
        self._counters = counters
        self._tail = b""
        self._skipped = 0
        self._weight = 0
        self._weigh_at = _WEIGH

    def feed(self, block: bytes, now: float) -> None:
        """Take in what was read, at least one byte, as it came: lines may be cut anywhere."""
        if self.started is None:
            self.started = now
        self.size += len(block)
        self._counters.bytes_read += len(block)
        end = block.rfind(b"\n") + 1
        self.unfinished = len(block) - end + (0 if end else self.unfinished)
        # a visitor must not steer the terminal of whoever reads the log; servers escape these themselves
        if b"\x1b" in block or b"\0" in block:
            block = _CONTROL.sub(lambda found: self.escape % ord(found[0]), block)
        if not end:
            self._grow(block)
            return
        lines = BytesIO(block)
        if self._tail:
            self._grow(lines.readline())
            self._group((self._end_line(),))
        last = self._group(lines)
        if last:
            self._tail = last

    def finish(self) -> None:
        """The stream has ended: what came of a last line becomes one."""
        self.unfinished = 0
        if self._tail:
            self._group((self._end_line(),))

    def take(self) -> Groups:
        """Hand all whole lines over, and begin anew."""
        groups, self.groups = self.groups, defaultdict(list)
        self.size, self.started = 0, None
        self._weight, self._weigh_at = 0, _WEIGH
        return groups

    def take_largest(self) -> Groups:
        """Hand over the lines of keys that have many, while they are in the processor's cache; the others stay."""
        before = sum(map(len, self.groups.values()))
        largest = {raw: texts for raw, texts in self.groups.items() if len(texts) >= _MANY}
        for raw in largest:
            del self.groups[raw]
        self.size -= self.size * sum(map(len, largest.values())) // max(1, before)
        self._weight, self._weigh_at = 0, 0
        return largest

    @property
    def memory(self) -> int:
        """About how many bytes of memory the batch takes; one MiB of input may not be counted yet."""
        if self.size >= self._weigh_at:
            lines = sum(map(len, self.groups.values()))
            self._weight = self.size + _LINE_COST * lines + _KEY_COST * len(self.groups)
            self._weigh_at = self.size + _WEIGH
        return self._weight

    def whole(self, raw: bytes, texts: Iterable[bytes]) -> list[bytes]:
        """The lines as they came."""
        raise NotImplementedError

    def key(self, raw: bytes) -> bytes | None:
        """The canonical key that `raw` stands for, or None."""
        return line.canonical(raw)

    def _group(self, lines: Iterable[bytes]) -> bytes:
        """Sort lines in. The last one, if it has no newline, is given back instead."""
        raise NotImplementedError

    def _grow(self, piece: bytes) -> None:
        self._tail += piece
        if len(self._tail) > MAX_LINE:
            self._skipped += len(self._tail) - MAX_LINE
            self._tail = self._tail[:MAX_LINE]

    def _end_line(self) -> bytes:
        text, self._tail = self._tail.rstrip(b"\n") + b"\n", b""
        if self._skipped:
            self._counters.cut_lines += 1
            self._counters.cut_bytes += self._skipped
            self._skipped = 0
        return text


class SeparatedBatch(Batch):
    """Lines that begin with the key and a separator: `pipe` and `vhost`. The key is taken off."""

    def __init__(self, counters: Counters, separator: bytes, key: Callable[[bytes], bytes | None]) -> None:
        super().__init__(counters)
        self._separator = separator
        self._key = key

    def key(self, raw: bytes) -> bytes | None:
        """The canonical key that `raw` stands for, or None."""
        return self._key(raw)

    def whole(self, raw: bytes, texts: Iterable[bytes]) -> list[bytes]:
        """The lines as they came. One without a separator was taken for a key as a whole, newline and all."""
        start = raw if raw.endswith(b"\n") else raw + self._separator
        return [start + text for text in texts]

    def _group(self, lines: Iterable[bytes]) -> bytes:
        groups, separator = self.groups, self._separator
        raw, found, text = b"", b"", b"\n"
        for whole in lines:
            raw, found, text = whole.partition(separator)
            groups[raw].append(text)
        if text.endswith(b"\n") or (not text and raw.endswith(b"\n")):
            return b""
        groups[raw].pop()
        if not groups[raw]:
            del groups[raw]
        return raw + found + text


class JsonBatch(Batch):
    """JSON objects, one a line; the key is a field's value. A line is kept as it is."""

    escape = rb"\u00%02x"  # RFC 8259 section 7

    def __init__(self, counters: Counters, field: str) -> None:
        super().__init__(counters)
        self._field = field

    def whole(self, raw: bytes, texts: Iterable[bytes]) -> list[bytes]:
        """The lines as they came."""
        return list(texts)

    def _group(self, lines: Iterable[bytes]) -> bytes:
        groups, field, key = self.groups, self._field, line.json_key
        for text in lines:
            if not text.endswith(b"\n"):
                return text
            groups[key(text, field)].append(text)
        return b""


def make_batch(form: str, field: str, counters: Counters) -> Batch:
    """The batch for a format's name."""
    if form == "json":
        return JsonBatch(counters, field)
    if form == "vhost":
        return SeparatedBatch(counters, b" ", line.canonical_host)
    return SeparatedBatch(counters, b"|", line.canonical)


FORMATS = ("pipe", "vhost", "json")
