"""Domains that nobody has, asked for by the thousand: who really is there doesn't notice, and no log grows for it."""

from __future__ import annotations

import threading

import pytest

from tests.front_machine import Machine
from tests.live import LiveStack, wait_for
from user_wsgi_wrapper.emperor_hook.config import Front

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
ONE = 101  # requests of one address that come through at once: the burst and the first
ALL = 401
FLOOD = 400


@pytest.fixture
def machine():
    """One whose strangers' lines are empty."""
    made = Machine(lambda port: Front(listen=(f"127.0.0.1:{port}",)))
    yield made
    made.close()


def no_site_lines(machine: Machine) -> int:
    return (machine.layout.own_logs_dir / "nginx.no-site.access.log").read_text().count("\n")


def flood(machine: Machine, host: str, source: str = "127.0.0.1") -> list[int]:
    """The statuses of very many requests, each for a name of its own."""
    return [machine.ask(host.format(number), source=source).status for number in range(FLOOD)]


def test_invented_domains_are_asked_about_at_a_bounded_rate(machine):
    """The first hundred of an address are; of the rest, initialize and the logs hear little."""
    statuses = flood(machine, "nobody{}.test")
    assert set(statuses) == {404, 503}
    assert statuses[:ONE] == [404] * ONE
    asked = statuses.count(404)
    assert asked < FLOOD / 2
    assert len(machine.warmed) == asked
    wait_for(lambda: no_site_lines(machine) >= asked, "the lines of those")
    assert no_site_lines(machine) == asked
    assert (machine.layout.own_logs_dir / "nginx.error.log").read_text() == ""
    answer = machine.ask("nobody.test")
    assert (answer.status, answer.getheader("Retry-After")) == (503, "5")


def test_another_address_does_not_stand_in_that_line(machine):
    """Whoever floods is held up himself."""
    flood(machine, "nobody{}.test")
    assert machine.ask("nobody.test").status == 503
    assert machine.ask("nobody.test", source="127.0.0.9").status == 404


def test_all_addresses_together_are_bounded_too(machine):
    """However many take part."""
    statuses = [status for last in range(2, 8) for status in flood(machine, f"of{last}-{{}}.test", f"127.0.0.{last}")]
    assert ALL <= statuses.count(404) < ALL + FLOOD
    assert len(machine.warmed) == statuses.count(404)
    assert machine.ask("nobody.test", source="127.0.0.20").status == 503


def test_a_site_that_is_known_never_stands_in_line(machine, name="known.test"):
    """Warm or cold, and from the very address that floods."""
    machine.site("warm.test", lambda variables, body: OK)
    machine.known(name)
    machine.to_wake[name] = lambda variables, body: OK
    assert 503 in flood(machine, "nobody{}.test")
    assert machine.ask("warm.test").status == 200
    assert machine.ask(name).body == b"hello"


def test_a_post_to_a_site_never_served_here_is_not_lost_to_the_line(machine):
    """A domain of somebody else's tables has no folder yet: its first request comes whole through the line."""
    site: list[bytes] = []
    machine.to_wake["first.test"] = lambda variables, body: (site.append(body), OK)[1]
    assert machine.ask("first.test", "/", "POST", b"x" * 100_000).body == b"hello"
    assert site == [b"x" * 100_000]


def test_names_that_are_none_are_answered_alike_and_logged_at_a_bounded_rate(machine):
    """404 each time; a scanner of addresses fills no disk."""
    statuses = flood(machine, "192.0.2.{}")
    assert set(statuses) == {404}
    wait_for(lambda: no_site_lines(machine) >= ONE, "the lines of the first")
    assert ONE <= no_site_lines(machine) < FLOOD / 2
    assert (machine.layout.own_logs_dir / "nginx.error.log").read_text() == ""


def test_under_a_flood_known_sites_wake_and_serve(stack: LiveStack) -> None:
    """The whole stack: cold sites answer, warm ones too, and nothing is left of the names."""
    code = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'served']\n"
    for number in range(4):
        stack.site(f"site{number}.test", f"User{number}", code)
    assert stack.request("site0.test").text == "served"
    enough, statuses = threading.Event(), []

    def invent(worker: int) -> None:
        number = 0
        while not enough.is_set():
            number += 1
            statuses.append(stack.request(f"nobody{worker}-{number}.test").status)

    threads = [threading.Thread(target=invent, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: 503 in statuses, "the flood has begun")
        for number in range(4):
            assert stack.request(f"site{number}.test").text == "served"
    finally:
        enough.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {404, 503}
    assert sorted(path.name for path in stack.layout.locks_dir.glob("domain-*")) == [
        f"domain-site{number}.test.lock" for number in range(4)
    ]
    told = (stack.layout.own_logs_dir / "initialize.log").read_text()
    assert told.count("unknown domain") == statuses.count(404)
