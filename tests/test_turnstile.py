"""So many at once, in the order in which they came, and nobody is forgotten."""

import threading
import time

import pytest

from tests.inside import Inside
from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook.turnstile import Turnstile


def test_no_more_are_in_at_once_than_there_are_places():
    """Whoever comes, and whatever ends their turn."""
    turnstile, inside, done = Turnstile(3), Inside(), []

    def work():
        for _ in range(50):
            try:
                with turnstile.turn(20):
                    with inside:
                        time.sleep(0)
                    raise LookupError
            except LookupError:
                done.append(1)

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(done), inside.most) == (1000, 3)


def test_who_came_first_goes_first():
    """Also before the one who has just left and asks again."""
    turnstile, order = Turnstile(1), []

    def work(name):
        with turnstile.turn(10):
            order.append(name)

    with turnstile.turn(10):
        threads = []
        for name in range(10):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            wait_for(lambda: len(turnstile._waiting) == len(threads), "it waits", 10)
    with turnstile.turn(10):
        assert order == list(range(10))
    for thread in threads:
        thread.join(10)


def test_patience_ends_and_leaves_no_trace():
    """Who gave up isn't given a place any more, and none is lost."""
    turnstile = Turnstile(1)
    with turnstile.turn(10):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"no turn came within 0\.05 s"), turnstile.turn(0.05):
            pass
        assert 0.05 <= time.monotonic() - began < 5
        assert not turnstile._waiting
    with turnstile.turn(0.05):
        pass


def test_a_place_that_is_given_as_patience_ends_is_not_lost():
    """Thousands of turns whose patience is as long as the turn before them: the place is there in the end."""
    turnstile = Turnstile(1)

    def work():
        for _ in range(300):
            try:
                with turnstile.turn(0.0005):
                    time.sleep(0.0005)
            except TimeoutError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (turnstile._free, len(turnstile._waiting)) == (1, 0)


def test_a_place_held_for_too_long_goes_to_the_next_one():
    """Its holder is not stopped, and gives it back no second time."""
    turnstile = Turnstile(1)
    with turnstile.turn(10, at_most=0.05):
        with turnstile.turn(10):
            pass
        assert turnstile._free == 1
    assert turnstile._free == 1
    with turnstile.turn(10, at_most=20):
        assert turnstile._free == 0
    assert turnstile._free == 1
