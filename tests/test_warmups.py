"""One warm-up a domain at a time, each waiter its outcome."""

import threading
import time

import pytest

from tests.inside import Inside
from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook import warmups as module
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


def test_those_that_take_long_hold_up_nobody():
    """A few begin at once, but however many hang, the next ones' turn comes."""
    gate, begun = threading.Event(), []

    def warm(domain):
        begun.append(domain)
        if domain.startswith("hangs"):
            assert gate.wait(20)

    warmups = Warmups(warm, 40)
    hanging = [warmups.join(f"hangs{number}.test") for number in range(30)]
    assert warmups.join("quick.test").result(20) is None
    wait_for(lambda: len(begun) == 31, "all have begun", 20)
    gate.set()
    for future in hanging:
        future.result(10)
    warmups.close()


def test_in_a_crowd_the_first_are_soon_there(monkeypatch):
    """Few begin at a time, in the order in which they came."""
    monkeypatch.setattr(module, "_USUAL", 20.0)
    inside, ended = Inside(), []

    def warm(domain):
        with inside:
            time.sleep(0.005)
        ended.append(domain)

    warmups = Warmups(warm, 40)
    for future in [warmups.join(f"site{number}.test") for number in range(40)]:
        future.result(10)
    warmups.close()
    assert inside.most <= module._AT_ONCE
    assert set(ended[:10]) <= {f"site{number}.test" for number in range(30)}


def test_a_domain_that_was_warmed_a_thousand_times_leaves_nothing(warm, warmups):
    """Neither a thread nor an entry for each."""
    warm.gate.set()
    others = set(threading.enumerate())
    for number in range(1000):
        warmups.join(f"site{number}.test").result(10)
    assert warmups._running == {}
    wait_for(lambda: len(set(threading.enumerate()) - others) <= 4, "no thread is left", 10)
