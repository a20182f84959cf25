"""Whatever way Python has of writing to stderr ends in the error log: whole lines, each under its own request."""

import re

import pytest

from tests.bare_uwsgi import APPS, STAMP, BareUwsgi, wait_for

REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]


@pytest.fixture(scope="module", params=[1, 8])
def server(request):
    with BareUwsgi(APPS / "logs", request.param) as server:
        yield server
        assert all(STAMP.match(line) for line in server.log().splitlines())


def test_print_errors_warnings_and_logging_handlers_made_before_and_after(server):
    assert server.get("/", request_id=REQUEST_ID).status == 200
    assert server.records("-")[0] == "at import"
    lines = server.records(ID)
    assert [re.sub(r"^/.*wsgi.py:\d+", "wsgi.py", line) for line in lines if not line.startswith(" ")] == [
        "by a handler made at import", "print", "errors", "by the last resort",
        "ERROR in configured: by one made in a request", "ERROR in other: by one that names its stream",
        "ERROR in configured: after shutdown", "wsgi.py: UserWarning: a warning",
        "wsgi.py: UserWarning: another, captured", "",
        "bytes to the büffer", "by the stream's other name",
    ]  # fmt: skip


def test_a_background_thread_is_named_and_its_traceback_can_be_pasted(server):
    assert server.get("/background").status == 200
    wait_for(lambda: "unfinished" in server.log(), "the thread's last line")
    lines = server.records("-")
    lines = lines[lines.index("thread mailer: one line") + 1 :]
    assert lines[:4] == [
        "thread mailer:",
        "ERROR in configured: three",
        "lines",
        "Traceback (most recent call last):",
    ]
    assert re.fullmatch(r'  File ".*/wsgi\.py", line \d+, in background', lines[4])
    assert lines[lines.index("KeyError: 'key'") + 1] == "thread mailer: unfinished"


def test_partial_lines_of_many_threads_never_mix(server):
    assert server.get("/many").status == 200
    for number in range(8):
        name = f"worker-{number}"
        lines = [line for line in server.records("-") if line.startswith(f"thread {name}: ")]
        assert lines == [f"thread {name}: {name} {part}" for part in range(20)]
