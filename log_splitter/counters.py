"""What was done, and what couldn't be: counted, so that nothing is lost in silence."""

from __future__ import annotations

import errno
import json

# Why lines were dropped.
FULL = "full"  # no space, or the owner's quota is used up
MISSING = "missing"  # the folder is gone
REFUSED = "refused"  # something else lies where the log should be
UNLINKED = "unlinked"  # the log was deleted while it was written to
STALLED = "stalled"  # a write to it hasn't returned, and no more can be held for it
FAILED = "failed"  # any other error

_CAUSES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), FULL),
    errno.ENOENT: MISSING,
    **dict.fromkeys((errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR, errno.EINVAL, errno.EMLINK), REFUSED),
}


def cause_of(error: OSError) -> str:
    """The name under which lines that this error cost are counted."""
    return _CAUSES.get(error.errno or 0, FAILED)


class Counters:
    """Sums since the start. Lines that came in are those written, those dropped and those still held."""

    def __init__(self) -> None:
        self.bytes_read = 0
        self.written_lines = 0
        self.written_bytes = 0
        self.unknown_lines = 0  # of those written: to the catch-all
        self.cut_lines = 0  # longer than a line may be; the first part was kept
        self.cut_bytes = 0
        self.headerless_messages = 0  # datagrams without an RFC 3164 header
        self.dropped: dict[str, int] = {}
        self.writes = 0
        self.opened = 0
        self.reopened = 0  # of those opened: since the file was rotated or deleted
        self.evicted = 0  # closed to make room for another
        self.stalls = 0
        self.flushes = 0
        self.longest_lag = 0.0  # seconds from a read to the end of the flush that wrote it
        self.keys_open = 0
        self.lines_held = 0
        self.bytes_behind = 0  # of a followed file

    def drop(self, cause: str, lines: int) -> None:
        """Count lines that could not be kept."""
        if lines:
            self.dropped[cause] = self.dropped.get(cause, 0) + lines

    def as_json(self) -> str:
        """One line, an object with a member a counter (RFC 8259)."""
        values = {**vars(self), "longest_lag": round(self.longest_lag, 4)}
        return json.dumps(values)

    def as_text(self) -> str:
        """One line for people."""
        words = [f"{self.written_lines} lines, {self.written_bytes} bytes written"]
        words += [f"{lines} dropped ({cause})" for cause, lines in sorted(self.dropped.items())]
        words += [f"{value} {name.replace('_', ' ')}" for name, value in self._rest() if value]
        return ", ".join(words)

    def _rest(self) -> list[tuple[str, float]]:
        shown = {"written_lines", "written_bytes", "dropped", "longest_lag", "bytes_read"}
        rest = [(name, value) for name, value in vars(self).items() if name not in shown]
        return [*rest, ("s longest lag", round(self.longest_lag, 3))]
