"""Whoever waits for a slow site holds no thread that another site needs."""

import threading
import time
from concurrent.futures import Future

from tests.live import wait_for
from user_wsgi_wrapper.emperor_hook.waiting_room import WaitingRoom


class Visitors:
    """Requests that wait in a room, each in a thread of its own."""

    def __init__(self, room):
        self.room, self.threads, self.answers = room, [], []

    def come(self, number, domain, warmup, patience=20.0):
        def visit():
            self.answers.append((domain, self.room.wait(domain, warmup, patience)))

        for _ in range(number):
            thread = threading.Thread(target=visit, daemon=True)
            thread.start()
            self.threads.append(thread)

    @property
    def waiting(self):
        return sum(thread.is_alive() for thread in self.threads)

    def wait_until(self, number):
        wait_for(lambda: self.waiting == number, f"{number} wait", 10)

    def end(self, *warmups):
        for warmup in warmups:
            warmup.set_result(None)
        self.wait_until(0)


def test_a_crowd_at_a_site_that_starts_as_usual_is_left_alone():
    """All wait, however many."""
    visitors, warmup = Visitors(WaitingRoom(8, usual=20.0)), Future()
    visitors.come(40, "one.test", warmup)
    time.sleep(0.2)
    assert visitors.waiting == 40
    visitors.end(warmup)
    assert visitors.answers == [("one.test", True)] * 40


def test_those_who_wait_for_a_slow_site_have_half_of_the_threads():
    """The rest go without, also those who come later, at once."""
    visitors, warmup = Visitors(WaitingRoom(8, usual=0.2)), Future()
    visitors.come(20, "slow.test", warmup)
    visitors.wait_until(4)
    visitors.come(10, "slow.test", warmup)
    visitors.wait_until(4)
    assert visitors.answers == [("slow.test", False)] * 26
    visitors.end(warmup)
    assert visitors.answers.count(("slow.test", True)) == 4


def test_the_site_that_most_wait_for_loses():
    """One who waits for another slow site keeps his place."""
    visitors, flooded, other = Visitors(WaitingRoom(8, usual=0.1)), Future(), Future()
    visitors.come(1, "other.test", other)
    time.sleep(0.2)
    visitors.come(30, "flooded.test", flooded)
    visitors.wait_until(4)
    assert {domain for domain, _ in visitors.answers} == {"flooded.test"}
    visitors.end(flooded, other)
    assert ("other.test", True) in visitors.answers


def test_a_crowd_of_sites_that_are_slow_together_is_left_alone_until_they_prove_hopeless():
    """A busy machine sends nobody away; sites that never came up don't hold their visitors' threads again."""
    room = WaitingRoom(8, usual=0.1)
    for waiting in (20, 4):
        visitors, warmups = Visitors(room), [Future() for _ in range(20)]
        for number, warmup in enumerate(warmups):
            visitors.come(1, f"site{number}.test", warmup)
        time.sleep(0.4)
        visitors.wait_until(waiting)
        for warmup in warmups:
            warmup.set_exception(LookupError("broken"))
        visitors.wait_until(0)


def test_a_site_that_came_up_is_slow_no_more():
    """And one whose start failed stays so: its next visitors wait among the slow from the start."""
    room = WaitingRoom(2, usual=0.1)
    for error, waits in ((None, 5), (LookupError("broken"), 1)):
        visitors, first, second = Visitors(room), Future(), Future()
        visitors.come(1, "one.test", first)
        time.sleep(0.3)
        if error:
            first.set_exception(error)
        else:
            first.set_result(None)
        visitors.wait_until(0)
        room._usual = 10.0
        visitors.come(5, "one.test", second)
        visitors.wait_until(waits)
        visitors.end(second)
        room._usual = 0.1


def test_who_would_wait_no_longer_than_usual_counts_too():
    """Browsers are shown a page after that time: a flood of them is as many threads held."""
    room, warmup = WaitingRoom(8, usual=0.5), Future()
    visitors = Visitors(room)
    visitors.come(1, "slow.test", warmup, patience=0.5)
    visitors.wait_until(0)
    visitors.come(30, "slow.test", warmup, patience=5.0)
    visitors.wait_until(4)
    visitors.end(warmup)


def test_nothing_stays_of_those_who_left():
    """Neither a seat nor a callback, whoever left and why."""
    room, warmup = WaitingRoom(4, usual=0.01), Future()
    visitors = Visitors(room)
    visitors.come(50, "slow.test", warmup, patience=0.3)
    visitors.wait_until(0)
    assert (room._taken, room._seats, warmup._waiters, warmup._done_callbacks) == (0, {}, [], [])
