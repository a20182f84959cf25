"""A log's rate: a burst passes, a flood is cut to its rate, and every byte that is missing is counted once."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from user_wsgi_wrapper.runtime import spool
from user_wsgi_wrapper.runtime.allowance import BURST, Allowance
from user_wsgi_wrapper.runtime.error_log import ErrorLog


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 5000)), max_size=200), st.integers(10, 1000))
def test_never_more_than_the_rate_and_nothing_uncounted(steps, rate):
    """But for the burst, and for the one record that is at the edge."""
    clock = Clock()
    allowance = Allowance(rate, clock)
    written, counted, asked = 0, 0, 0
    for pause, size in steps:
        clock.now += pause
        asked += size
        written += size if allowance.takes(size) else 0
        counted += int(re.findall("^[0-9]+", allowance.excuse() or "0")[0])
    assert written <= rate * (BURST + clock.now) + 5000
    assert written + counted + allowance.dropped == asked


def test_after_a_flood_it_is_told_once(tmp_path):
    """In the log itself, before what comes next, whether or not anything does."""
    clock = Clock()
    log = ErrorLog(str(tmp_path / "log"), "a.test")
    log.allowance = Allowance(1000, clock)
    for _ in range(100):
        log.record("x" * 1000)
    written = (tmp_path / "log").read_text()
    assert "dropped" not in written
    assert 40_000 <= len(written) <= 43_000
    log.tell_dropped()
    assert (tmp_path / "log").read_text() == written, "there is no room yet"
    clock.now += 5
    log.tell_dropped()
    log.record("after")
    log.close()
    one, two = (tmp_path / "log").read_text()[len(written) :].splitlines()
    assert re.search(r"\] [0-9]{5} bytes were dropped before this line: .*\(log-rate\)$", one)
    assert two.endswith("] after")


def test_a_flood_is_parted_at_line_ends():
    """All of it is there, in order, and no line is torn."""
    data = b"".join(b"%d\n" % number * (number % 7) for number in range(20_000)) + b"l" * 50_000 + b"\nend"
    parts = spool.pieces(data)
    assert b"".join(parts) == data
    assert all(part.endswith(b"\n") for part in parts[:-1])
    assert spool.pieces(b"short\nend") == [b"short\nend"]
