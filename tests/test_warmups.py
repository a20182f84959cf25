"""One warm-up a domain at a time, each waiter its outcome."""

import threading

import pytest

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook.warmups import Warmups


class Warm:
    """Counts its calls and ends when it is told to."""

    def __init__(self):
        self.calls, self.gate, self.error = [], threading.Event(), None

    def __call__(self, domain):
        self.calls.append(domain)
        assert self.gate.wait(10)
        if self.error:
            raise self.error


@pytest.fixture
def warm():
    made = Warm()
    yield made
    made.gate.set()


@pytest.fixture
def warmups(warm):
    made = Warmups(warm, 4)
    yield made
    warm.gate.set()
    made.close()


def test_who_asks_while_one_runs_joins_it(warm, warmups):
    """The very same future, and one call."""
    futures = {warmups.join("one.test") for _ in range(20)}
    assert len(futures) == 1
    warm.gate.set()
    assert futures.pop().result(10) is None
    assert warm.calls == ["one.test"]


def test_another_domain_is_not_waited_for(warm, warmups):
    """Both run at the same time."""
    futures = [warmups.join(domain) for domain in ("one.test", "two.test")]
    wait_for(lambda: sorted(warm.calls) == ["one.test", "two.test"], "both run", 10)
    warm.gate.set()
    assert [future.result(10) for future in futures] == [None, None]


def test_everyone_who_waits_gets_the_error(warm, warmups):
    """And who asks afterwards gets a new try."""
    warm.error = LookupError("no such thing")
    first, second = warmups.join("one.test"), warmups.join("one.test")
    warm.gate.set()
    for future in (first, second):
        assert isinstance(future.exception(10), LookupError)
    warm.error = None
    assert warmups.join("one.test").result(10) is None
    assert warm.calls == ["one.test", "one.test"]


def test_no_more_run_at_once_than_there_are_workers(warm, warmups):
    """The rest wait their turn, and come to it."""
    futures = [warmups.join(f"site{number}.test") for number in range(9)]
    wait_for(lambda: len(warm.calls) == 4, "four run", 10)
    assert not any(future.done() for future in futures)
    warm.gate.set()
    for future in futures:
        future.result(10)
    assert len(warm.calls) == 9


def test_a_domain_that_was_warmed_a_thousand_times_leaves_nothing(warm, warmups):
    """Neither a thread nor an entry for each."""
    warm.gate.set()
    others = set(threading.enumerate())
    for number in range(1000):
        warmups.join(f"site{number}.test").result(10)
    assert warmups._running == {}
    assert len(set(threading.enumerate()) - others) <= 4
