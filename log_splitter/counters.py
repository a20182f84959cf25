"""What was done, and what couldn't be: counted, so that nothing is lost in silence."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass, field

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


@dataclass
class Counters:
    """Sums since the start. Lines that came in are those written, those dropped and those still held."""

    bytes_read: int = 0
    written_lines: int = 0
    written_bytes: int = 0
    unknown_lines: int = 0  # of those written: to the catch-all
    cut_lines: int = 0  # longer than a line may be; the first part was kept
    cut_bytes: int = 0
    headerless_messages: int = 0  # datagrams without an RFC 3164 header
    dropped: dict[str, int] = field(default_factory=dict)
    writes: int = 0
    opened: int = 0
    reopened: int = 0  # of those opened: since the file was rotated or deleted
    evicted: int = 0  # closed to make room for another
    stalls: int = 0
    flushes: int = 0
    longest_lag: float = 0.0  # seconds from a read to the end of the flush that wrote it
    keys_open: int = 0
    lines_held: int = 0
    bytes_behind: int = 0  # of a followed file

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
