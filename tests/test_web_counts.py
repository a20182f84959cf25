"""What the web pages count of logs: every line once, through rotation and compression, in bounded time and memory."""

from __future__ import annotations

import calendar
import gzip
import json
import os
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from user_wsgi_wrapper.web import chart
from user_wsgi_wrapper.web.failures import Failures, Group, together
from user_wsgi_wrapper.web.rotated_log import RotatedLog
from user_wsgi_wrapper.web.traffic import DAY, HOUR, Span, Traffic, spans

NOW = calendar.timegm((2026, 11, 25, 12, 30, 0))


def line(when: float, status: int, key: int, zone: str = "+0000", request: str = "GET / HTTP/1.1") -> str:
    stamp = time.strftime("%d/%b/%Y:%H:%M:%S", time.gmtime(when))
    return (
        f'192.0.2.1 - - [{stamp} {zone}] "{request}" {status} 9 "-" "a [b] \\x22c" response-time=0.001 {key:012x}\n'
    )


def days(parts: tuple[Traffic, ...]) -> tuple[Span, ...]:
    return spans(parts, NOW, DAY, 30)


def total(log: RotatedLog[Traffic, tuple[Span, ...]]) -> tuple[int, int, bool]:
    """Requests and failures of the last 30 days, and whether that is all."""
    found, is_whole = log.count()
    return sum(one.requests for one in found), sum(one.failed for one in found), is_whole


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "x.access.log"
    path.write_text("".join(line(NOW - 60, 200, key) for key in range(10)))
    return path


def add(path: Path, *lines: str) -> None:
    with path.open("a") as file:
        file.writelines(lines)


def rotate(path: Path) -> None:
    """As logrotate does: .1 plain, from .2 on compressed."""
    for number in range(9, 1, -1):
        old = path.with_name(f"{path.name}.{number}.gz")
        if old.exists():
            old.rename(path.with_name(f"{path.name}.{number + 1}.gz"))
    first = path.with_name(f"{path.name}.1")
    if first.exists():
        first.with_name(f"{path.name}.2.gz").write_bytes(gzip.compress(first.read_bytes()))
        first.unlink()
    path.rename(first)
    path.touch()


def test_every_line_counts_once_however_often_it_is_rotated(log: Path) -> None:
    counted = RotatedLog(log, Traffic, days)
    expected = 10
    assert total(counted) == (expected, 0, True)
    for turn in range(1, 5):
        add(log, line(NOW - 30, 500, 1000 * turn), line(NOW - 30, 200, 1000 * turn + 1))
        rotate(log)
        add(log, *(line(NOW - 20, 200, 1000 * turn + 10 + key) for key in range(3)))
        expected += 5
        assert total(counted) == (expected, turn, True)
        assert total(counted) == (expected, turn, True)
    assert total(RotatedLog(log, Traffic, days)) == (expected, 4, True), "as who counts for the first time"


def test_a_line_counts_when_it_is_whole(log: Path) -> None:
    counted = RotatedLog(log, Traffic, days)
    last = line(NOW - 10, 502, 77)
    add(log, last[:60])
    assert total(counted) == (10, 0, True)
    add(log, last[60:])
    assert total(counted) == (11, 1, True)


def test_a_log_that_was_emptied_or_made_anew_is_another_one(log: Path) -> None:
    counted = RotatedLog(log, Traffic, days)
    total(counted)
    log.write_text(line(NOW - 10, 200, 99))
    assert total(counted) == (1, 0, True)
    inode = log.stat().st_ino
    log.write_text("".join(line(NOW - 10, 200, 100 + key) for key in range(30)))
    assert log.stat().st_ino == inode
    assert total(counted) == (30, 0, True), "longer than before, in the same inode"


def test_what_is_unchanged_is_not_read_again(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate(log)
    rotate(log)
    add(log, *(line(NOW, 200, key) for key in range(3)))
    counted = RotatedLog(log, Traffic, days)
    assert total(counted)[0] == 13

    def feed(self: Traffic, block: bytes) -> None:
        raise AssertionError("it was read again")

    monkeypatch.setattr(Traffic, "feed", feed)
    assert total(counted)[0] == 13


def test_counting_goes_on_where_its_time_was_up(log: Path) -> None:
    with log.open("w") as file:
        file.writelines(line(NOW - 60, 200, key) for key in range(60_000))
    counted = RotatedLog(log, Traffic, lambda parts: days(parts)[-1].requests)
    looks = [counted.count(seconds=0.0)]
    while not looks[-1][1]:
        looks.append(counted.count(seconds=0.0))
        assert len(looks) < 20
    assert len(looks) > 3
    assert looks[-1][0] == 60_000
    assert [number for number, _ in looks] == sorted(number for number, _ in looks)


def test_who_asks_while_another_counts_is_not_kept_waiting(log: Path) -> None:
    """Or one tenant with a long log and many windows would have all threads of the pages."""
    may_go_on, began = threading.Event(), threading.Event()

    class Slow(Traffic):
        def feed(self, block: bytes) -> None:
            began.set()
            assert may_go_on.wait(30)
            super().feed(block)

    counted = RotatedLog(log, Slow, days)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(total, counted)
        assert began.wait(30)
        try:
            assert total(counted) == (0, 0, False)
            other = RotatedLog(log, Traffic, days).count(seconds=0.0)  # its turn doesn't come within a second
            assert other[1] is False
        finally:
            may_go_on.set()
        assert first.result(30) == (10, 0, True)
    assert total(counted) == (10, 0, True)


def test_links_fifos_and_broken_archives_hold_nobody(log: Path) -> None:
    secret = log.parent / "secret"
    secret.write_text(line(NOW, 200, 1))
    log.with_name(f"{log.name}.1").symlink_to(secret)
    os.mkfifo(log.with_name(f"{log.name}.3"))
    log.with_name(f"{log.name}.2.gz").write_bytes(gzip.compress(log.read_bytes() * 100)[:-20])
    log.with_name(f"{log.name}.4.gz").write_bytes(b"no archive")
    log.with_name(f"{log.name}.passwd").write_text(line(NOW, 200, 1))
    assert total(RotatedLog(log, Traffic, days))[0] >= 10
    log.unlink()
    os.mkfifo(log)
    assert total(RotatedLog(log, Traffic, days))[2] is True


def test_a_line_without_an_end_costs_no_memory(log: Path) -> None:
    with log.open("ab") as file:
        file.truncate(64 << 20)
    add(log, "\n", line(NOW, 200, 12))
    counted = RotatedLog(log, Traffic, days)
    tracemalloc.start()
    assert total(counted) == (11, 0, True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20


def test_hours_are_utc_whatever_the_zone_and_nonsense_is_passed_over() -> None:
    traffic = Traffic()
    here = NOW // HOUR * HOUR + 60
    traffic.feed(
        "".join(
            (
                line(here + 2 * HOUR, 200, 1, "+0200"),
                line(here - 5 * HOUR, 404, 2, "-0500"),
                line(here, 500, 3, request='GET /\\x22] \\x22 HTTP/1.1" 200 9'.replace('" 200 9', "")),
                line(here, 600, 4),
                "nonsense\n",
                '1 - - [99/Xyz/2026:99:00:00 +0000] "GET /" 200 9 "-"\n',
                '1 - - [25/Nov/2026:12:00:00 +0000] "GET / \n',
            )
        ).encode()
    )
    (hour,) = spans([traffic], NOW, HOUR, 1)
    assert (hour.requests, hour.refused, hour.failed) == (3, 1, 1)


def test_a_chart_has_a_bar_for_each_span_and_none_for_nothing() -> None:
    traffic = Traffic()
    traffic.feed("".join(line(NOW - number * HOUR, 200, number) for number in (0, 0, 3)).encode())
    drawn = chart.draw(spans([traffic], NOW, HOUR, 24), HOUR, "requests")
    assert [bar.height > 0 for bar in drawn.bars] == [False] * 20 + [True, False, False, True]
    assert (drawn.most, drawn.total) == (2, 3)
    assert all(bar.x + bar.width <= chart.WIDTH and bar.y + bar.height <= drawn.height + 0.01 for bar in drawn.bars)
    assert chart.draw(spans([], NOW, DAY, 30), DAY, "failed").most == 0


# -- failures


def record(stamp: str, key: str, *lines: str) -> str:
    return "".join(f"2026-11-25 {stamp},000 [{key}] {one}\n" for one in lines)


TRACE = (
    "Traceback (most recent call last):",
    '  File "/var/www/wsgi.py", line 5, in application',
    "    return shop.buy()",
    '  File "/home/A/shop.py", line 9, in buy',
    "    1 / 0",
    "    ~~^~~",
)
ZERO = ("GET /buy: the application failed in its call", *TRACE, "ZeroDivisionError: division by zero")


def grouped(*records: str) -> dict[str, Group]:
    parts = []
    for text in records:
        parts.append(Failures())
        parts[-1].feed(text.encode())
    return {f"{one.what} {one.place}".strip(): one for one in together(parts)}


def test_one_place_is_one_group_over_all_files() -> None:
    old = record("10:00:00", "0" * 12, *ZERO)
    new = record("11:00:00", "1" * 12, "printed") + record("11:00:01", "2" * 12, *ZERO[:1], *ZERO[1:])
    (group,) = grouped(new, old).values()
    assert (group.what, group.place) == ("ZeroDivisionError", "/home/A/shop.py:9 in buy")
    assert (group.count, group.first[11:19], group.last[11:19]) == (2, "10:00:00", "11:00:01")
    assert (group.example, group.request_id) == ("\n".join(ZERO), "2" * 12)


def test_failures_that_the_wrapper_counted_are_in_the_count() -> None:
    text = record("10:00:00", "a" * 12, *ZERO)
    text += record(
        "10:00:01",
        "b" * 12,
        f"GET /x: failed as [{'a' * 12}] did, 4711 times within 1.0 s: ZeroDivisionError: division by zero",
    )
    text += record(
        "10:00:02", "c" * 12, f"failed as [{'a' * 12}] did, once within 0.1 s: ZeroDivisionError: division by zero"
    )
    (group,) = grouped(text).values()
    assert group.count == 4713
    assert group.example.startswith("GET /buy")


def test_the_last_exception_of_a_chain_counts_and_records_without_traceback_too() -> None:
    second = ("Traceback (most recent call last):", '  File "/var/www/wsgi.py", line 7, in application', "    x")
    between = ("", "During handling of the above exception, another exception occurred:", "")
    chain = (*ZERO, *between, *second, "NameError: name 'x'")
    text = record("10:00:00", "a" * 12, *chain)
    text += record("10:00:01", "b" * 12, "GET /a: the worker died while it served this request: it crashed")
    text += record("10:00:02", "c" * 12, "POST /b: the worker died while it served this request: it crashed")
    text += record("10:00:03", "d" * 12, "GET /c: the client went away while the response was sent")
    text += record("10:00:04", "-", "just printed: no failure", "two lines of it")
    found = grouped(text)
    assert {name: one.count for name, one in found.items()} == {
        "NameError /var/www/wsgi.py:7 in application": 1,
        "the worker died while it served this request: it crashed": 2,
    }


def test_json_records_are_grouped_alike() -> None:
    fields = {"timestamp": "2026-11-25 10:00:00,000", "level": "ERROR", "request_id": "a" * 12}
    text = json.dumps({**fields, "message": ZERO[0], "exc_info": "\n".join(ZERO[1:])}) + "\n"
    text += json.dumps({**fields, "level": "INFO", "message": "printed"}) + "\n"
    text += '{"no": "record"}\n{broken\n[]\n' + "{" * 5000 + "\n"
    (group,) = grouped(text).values()
    assert (group.what, group.place, group.count) == ("ZeroDivisionError", "/home/A/shop.py:9 in buy", 1)


def test_a_tenant_who_invents_failures_costs_bounded_memory() -> None:
    part = Failures()
    for number in range(3000):
        part.feed(record("10:00:00", f"{number:012x}", "GET /: x", TRACE[0], f"E{number}: {'y' * 5000}").encode())
    endless = record(
        "11:00:00",
        "f" * 12,
        "GET /: x",
        TRACE[0],
        *(f'  File "/x{n}", line 1, in f' for n in range(5000)),
        "Deep: end",
    )
    part.feed(endless.encode())
    groups = together([part])
    assert len(groups) <= 100
    assert (groups[0].what, groups[0].place) == ("Deep", "/x4999:1 in f")
    assert max(len(group.example) for group in groups) <= 4000
