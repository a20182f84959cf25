"""A site that never comes up, and a crowd that waits for it: initialize goes on waking the others."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.conftest import live_stack
from tests.live import LiveStack

GOOD = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""
PAGE_AFTER, GIVE_UP_AFTER = 2.0, 40.0


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """A stack that gives a hanging site 40 seconds."""
    with live_stack(f"[warm]\npage_after = {PAGE_AFTER}\ngive_up_after = {GIVE_UP_AFTER}\n") as live:
        yield live


def test_a_crowd_at_a_site_that_hangs_keeps_no_other_from_waking(stack: LiveStack) -> None:
    """Three hundred browsers and programs that would all wait for it: another site is there within seconds."""
    stack.site("hangs.test", "Hanger", "import time\ntime.sleep(3600)\n")
    for number in range(3):
        stack.site(f"quick{number}.test", "Quick", GOOD)
    program = b"POST /%d HTTP/1.1\r\nHost: hangs.test\r\nContent-Length: 1\r\n\r\nx"
    browser = b"GET /%d HTTP/1.1\r\nHost: hangs.test\r\nAccept: text/html\r\n\r\n"
    with contextlib.ExitStack() as crowd:
        for number in range(300):
            visitor = crowd.enter_context(socket.create_connection(("127.0.0.1", stack.port), timeout=20))
            visitor.sendall((program, browser)[number % 2] % number)
        took = []
        for number in range(3):
            began = time.monotonic()
            assert stack.request(f"quick{number}.test", timeout=30).status == 200
            took.append(time.monotonic() - began)
        print("seconds until others' cold sites answered:", *(f"{one:.2f}" for one in took))
        assert took[0] < PAGE_AFTER + 4
        assert max(took[1:]) < 4
