"""The bounds of the web pages: logins end, guesses are counted, reloads and live tails are few, memory is little."""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from tests.live import wait_for
from user_wsgi_wrapper.layout import Layout
from user_wsgi_wrapper.site import Site
from user_wsgi_wrapper.web import live_tail, reloads, sessions, throttle, tokens
from user_wsgi_wrapper.web.live_tail import LiveTails
from user_wsgi_wrapper.web.sessions import Sessions
from user_wsgi_wrapper.web.throttle import Throttle
from user_wsgi_wrapper.web.tokens import OPERATOR, TENANT, Token, TokenBook, TokenError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_login_ends_when_it_is_idle_and_at_last() -> None:
    clock = Clock()
    logins = Sessions(clock)
    key = logins.open(Token("a", OPERATOR, "d", "today")).key
    began = clock.now
    while clock.now + sessions.IDLE - 1 < began + sessions.LONGEST:
        clock.now += sessions.IDLE - 1
        assert logins.find(key) is not None
    clock.now = began + sessions.LONGEST + 1
    assert logins.find(key) is None
    key = logins.open(Token("a", OPERATOR, "d", "today")).key
    clock.now += sessions.IDLE - 1
    assert logins.find(key, touch=False) is not None, "a live tail is no visit"
    clock.now += 2
    assert logins.find(key) is None


def test_logins_are_of_a_bounded_number() -> None:
    logins = Sessions(Clock())
    first = logins.open(Token("other", TENANT, "other", "today")).key
    keys = [logins.open(Token("a", OPERATOR, "d", "today")).key for _ in range(50)]
    assert [logins.find(key) is not None for key in keys] == [False] * 30 + [True] * 20
    assert logins.find(first) is not None, "one token's logins end no other's"


def test_guesses_are_counted_by_address_and_forgotten() -> None:
    clock = Clock()
    gate = Throttle(clock)
    for number in range(throttle.FAILURES):
        assert gate.wait("2001:db8::1") == 0
        gate.failed(f"2001:db8::{number}")  # one network of 64 bits is one guesser
    assert gate.wait("2001:db8::ffff") == throttle.WINDOW
    assert gate.wait("2001:db8:0:1::1") == gate.wait("192.0.2.1") == 0
    clock.now += throttle.WINDOW
    assert gate.wait("2001:db8::1") == 0
    for number in range(throttle.FAILURES):
        gate.failed(("192.0.2.9", "::ffff:192.0.2.9")[number % 2])
    assert gate.wait("192.0.2.9") > 0
    for number in range(30_000):
        gate.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(gate._failures) <= 20_000


def test_a_token_allows_what_it_is_for() -> None:
    site = Site("a.test", "Alice")
    assert Token("o", OPERATOR, "", "").allows(site)
    assert Token("u", TENANT, "", "", "Alice").allows(site)
    assert Token("s", TENANT, "", "", None, (("a.test", "Alice"),)).allows(site)
    for other in (
        Token("m", tokens.METRICS, "", ""),
        Token("u", TENANT, "", "", "alice"),
        Token("n", TENANT, "", ""),
        Token("s", TENANT, "", "", None, (("a.test", "Bob"), ("b.test", "Alice"))),
        Token("x", "unheard of", "", "", "Alice"),
    ):
        assert not other.allows(site), other


def test_a_file_of_tokens_that_is_broken_lets_nobody_in(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    text = tokens.add(layout, "a", OPERATOR)
    book = TokenBook(layout)
    found = book.find(text)
    assert found is not None
    assert book.find(text[:-1]) is book.find("") is book.find(text * 100) is None
    good = layout.web_tokens.read_text()
    for bad in (
        "",
        "{}x",
        '{"a": 1}',
        "[1]",
        "[{}]",
        good.replace("operator", "root"),
        good.replace('"name"', '"n"'),
    ):
        layout.web_tokens.write_text(bad)
        with pytest.raises(TokenError):
            TokenBook(layout).find(text)
    layout.web_tokens.unlink()
    assert book.named("a", found.digest) is None, "who was in is out"


def test_one_users_hanging_reloads_leave_others_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def run(command: tuple[str, ...], **_more: object) -> subprocess.CompletedProcess[bytes]:
        assert go_on.wait(30)
        return subprocess.CompletedProcess(command, 0, b"reloaded \x1b[2J", b"")

    monkeypatch.setattr(reloads.subprocess, "run", run)
    mine = reloads.Reloads(("--root", "/x"))
    states = [mine.start(f"{number}.test", "Alice").state for number in range(4)]
    assert states == ["running", "running", "refused", "refused"]
    assert mine.start("0.test", "Alice").state == "running", "the one that is under way"
    assert mine.start("his.test", "Bob").state == "running"
    go_on.set()
    begun = [("0.test", "Alice"), ("1.test", "Alice"), ("his.test", "Bob")]
    wait_for(lambda: all(mine.last(*one).state == "done" for one in begun), "all are done")
    assert "\x1b" not in mine.last("0.test", "Alice").text
    assert mine.last("0.test", "Bob") is None, "the next owner isn't told"
    assert mine.start("3.test", "Alice").state == "running"


def test_a_log_of_endless_lines_costs_a_live_tail_little(tmp_path: Path) -> None:
    """Neither what it begins with nor what waits for a reader who reads nothing."""
    log = tmp_path / "x.log"
    with log.open("wb") as file:
        for _ in range(30):
            file.write(b"x" * (3 << 20) + b"\n")
        file.write(b"the last\n")
    tails = LiveTails(1)
    tracemalloc.start()
    try:
        events = tails.start("me", log, lambda: True)
        read = b"".join(itertools.islice(events, 2))
        with log.open("ab") as file:
            for _ in range(20):
                file.write(b"y" * (1 << 20) + b"\n")
            file.write(b"end\n")
        deadline = time.monotonic() + 30
        while b"end\n" not in read:
            read += next(events)
            assert time.monotonic() < deadline
        peak = tracemalloc.get_traced_memory()[1]
        events.close()
    finally:
        tracemalloc.stop()
    assert b"data: the last\n" in read
    assert peak < 16 << 20, peak
    with pytest.raises(live_tail.TooManyError):
        for _ in range(2):
            tails.start("me", log, lambda: True)
