"""Failures that repeat are told first and counted then; nothing is lost from the count, nothing is kept alive."""

import gc
import re
import threading
import time
import weakref

import pytest

from tests.bare_uwsgi import APPS, BareUwsgi, wait_for
from user_wsgi_wrapper.runtime.repetition import BURST, KINDS, RATE, Repetitions, fingerprint

ENVIRON = {"REQUEST_ID": "3f9c2a71d0b4e5f6", "REQUEST_METHOD": "GET", "PATH_INFO": "/boom"}


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Loop:
    """A crash loop against a log of its own and a clock that stands until it is moved."""

    def __init__(self, processes=1):
        self.clock = Clock()
        self.lines = []
        self.told = 0
        self.repetitions = Repetitions(
            lambda text, environ: self.lines.append((text, environ)), processes, self.clock
        )

    def fail(self, error, environ=ENVIRON, size=2000):
        if self.repetitions.is_counted(error, environ):
            return False
        self.repetitions.told(error, environ, f"{type(error).__name__}: {error}", size)
        self.told += 1
        return True


@pytest.fixture
def loop():
    return Loop()


def caught(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


def divide(by):
    return 1 / by


def look_up(key):
    return {}[key]


def chained():
    try:
        divide(0)
    except ZeroDivisionError as error:
        raise ValueError from error


def recurse(depth):
    return recurse(depth - 1) if depth else divide(0)


def test_a_fingerprint_is_of_types_and_places_and_not_of_messages():
    assert fingerprint(caught(look_up, "a")) == fingerprint(caught(look_up, "b"))
    prints = [
        fingerprint(caught(*one)) for one in [(divide, 0), (look_up, "a"), (chained,), (divide, "0"), (recurse, 1)]
    ]
    assert len(set(prints)) == len(prints)


def test_a_deep_recursion_has_one_fingerprint_wherever_it_ends():
    assert fingerprint(caught(recurse, 500)) == fingerprint(caught(recurse, 501))


def test_a_chain_that_bites_its_own_tail_comes_to_an_end():
    error = caught(divide, 0)
    error.__cause__ = other = ValueError()
    other.__cause__ = error
    assert fingerprint(error) == fingerprint(error)


def test_a_steady_trickle_of_failures_is_told_each_time(loop):
    for _ in range(500):
        assert loop.fail(caught(divide, 0), size=2500)
        loop.clock.now += 0.1
    assert loop.lines == []


def test_a_loop_is_told_first_and_counted_then_and_every_failure_is_in_one_of_both(loop):
    for _ in range(50_000):
        loop.fail(caught(divide, 0))
        loop.clock.now += 0.0001
        if loop.clock.now % 1 < 0.0001:
            loop.repetitions.flush()
    loop.repetitions.flush()
    counted = sum(int(text.split(" did, ")[1].split(" times")[0]) for text, _ in loop.lines)
    assert loop.told + counted == 50_000
    assert loop.told * 2000 <= BURST + 5 * RATE + 2 * 2000
    assert 4 <= len(loop.lines) <= 7


def test_a_summary_names_the_record_that_was_whole_and_the_last_request(loop):
    loop.fail(caught(look_up, "first"), size=BURST)
    for name in ("second", "third"):
        assert not loop.fail(
            caught(look_up, name), {**ENVIRON, "REQUEST_ID": "aaaaaaaaaaaa", "PATH_INFO": f"/{name}"}
        )
    loop.clock.now += 1.5
    loop.repetitions.flush()
    [(text, environ)] = loop.lines
    assert text == "GET /third: failed as [3f9c2a71d0b4] did, 2 times within 1.5 s: KeyError: 'first'"
    assert environ["REQUEST_ID"] == "aaaaaaaaaaaa"


def test_another_failure_in_the_midst_of_a_loop_is_told(loop):
    loop.fail(caught(divide, 0), size=10 * BURST)
    assert not loop.fail(caught(divide, 0))
    assert loop.fail(caught(look_up, "a"))


def test_a_kind_stays_counted_until_its_summary(loop):
    loop.fail(caught(divide, 0), size=BURST)
    assert not loop.fail(caught(divide, 0))
    loop.clock.now += 10
    assert not loop.fail(caught(divide, 0))
    loop.repetitions.flush()
    assert loop.fail(caught(divide, 0))


def test_what_is_remembered_is_bounded_and_a_count_that_goes_is_told(loop):
    def of_kind(number):
        space = {}
        exec(compile("\n" * number + "def fail(): raise KeyError", "wsgi.py", "exec"), space)
        return space["fail"]

    failing = [of_kind(number) for number in range(KINDS + 1)]
    loop.fail(caught(failing[0]), size=BURST)
    assert not loop.fail(caught(failing[0]))
    for one in failing[1:]:
        assert loop.fail(caught(one))
    assert len(loop.repetitions._kinds) == KINDS
    assert [text for text, _ in loop.lines] == [
        "GET /boom: failed as [3f9c2a71d0b4] did, once within 0.1 s: KeyError: "
    ]


def test_no_environ_and_no_exception_is_kept_alive(loop):
    class Held:
        pass

    held = Held()
    error = caught(divide, 0)
    error.held = held
    loop.fail(error, size=BURST)
    loop.fail(error, {**ENVIRON, "held": held})
    watch = weakref.ref(held)
    del error, held
    gc.collect()
    assert watch() is None


def test_many_processes_share_one_budget():
    loop = Loop(processes=4)
    while loop.fail(caught(divide, 0)):
        pass
    assert loop.told == BURST // 4 // 2000 or loop.told == BURST // 4 // 2000 + 1


def test_a_summary_waits_until_its_count_is_old_enough(loop):
    loop.fail(caught(divide, 0), size=BURST)
    assert not loop.fail(caught(divide, 0))
    assert not loop.repetitions.flush(1.0)
    loop.clock.now += 1.0
    assert loop.repetitions.flush(1.0)
    assert not loop.repetitions.flush()
    assert len(loop.lines) == 1


def test_threads_count_together(loop):
    error = caught(divide, 0)
    loop.fail(error, size=2 * BURST)

    def fail():
        for _ in range(2000):
            loop.repetitions.is_counted(error, ENVIRON)

    threads = [threading.Thread(target=fail) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.repetitions.flush()
    assert "16000 times" in loop.lines[-1][0]


@pytest.mark.parametrize("threads", [1, 8])
def test_a_crash_loop_under_the_server_is_answered_told_and_counted(threads):
    """Each visitor has the page with its id; the log has every failure, whole or in a count, and stays small."""
    began = time.monotonic()
    with BareUwsgi(APPS / "raises", threads) as server:

        def ask():
            for _ in range(1000):
                answer = server.get("/boom")
                assert (answer.status, len(answer.headers["x-request-id"])) == (500, 12)

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()

        def all_told():
            log = server.log()
            counted = sum(int(number or 1) for number in re.findall(r"did, (?:once|(\d+) times) within", log))
            return log.count("GET /boom: the application failed in its call") + counted == 4000

        wait_for(all_told, "all failures in the log")
        assert len(server.log()) < BURST + (time.monotonic() - began) * (RATE + 1000) + 10_000
