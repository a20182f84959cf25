"""Whatever way Python has of writing to stderr ends in the error log: whole lines, each under its own request."""

import json
import re

import pytest

from tests.bare_uwsgi import APPS, STAMP, BareUwsgi, packet, wait_for
from user_wsgi_wrapper.runtime.error_log import encode, harmless

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


PATHS = [
    "/list", "/list_of_text", "/chunks", "/nothing", "/empty", "/text", "/fails_first", "/fails_later",
    "/no_iterator", "/sleeps", "/generator", "/file", "/list/unstarted", "/chunks/unstarted", "/nothing/unstarted",
]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 8])
def test_whatever_is_returned_and_whoever_goes_away_it_is_closed_exactly_once(threads):
    with BareUwsgi(APPS / "closes_all", threads) as server:
        ids = {}
        for path in PATHS:
            for way in ("GET", "HEAD", "gone"):
                ids[path, way] = f"{len(ids):012x}"
                if way == "gone":
                    with server.connect() as connection:
                        connection.sendall(packet(path, request_id=ids[path, way] + "0" * 20))
                else:
                    server.get(path, way, request_id=ids[path, way] + "0" * 20, timeout=2)
        server.get("/list", request_id="f" * 32)  # with one thread, all others are done by then
        # a generator that was never begun has nothing to clean up (PEP 342)
        begun = [known for (path, way), known in ids.items() if (path, way) != ("/generator", "gone")]
        for known in begun:
            wait_for(lambda known=known: f"closed {known}\n" in server.log(), f"close() of {known}")
        assert {known: server.log().count(f"closed {known}\n") for known in begun} == dict.fromkeys(begun, 1)
        # what goes to the server untouched is closed by it, outside of the request
        assert server.records(ids["/chunks", "GET"]) == [f"closed {ids['/chunks', 'GET']}"]
        assert server.records(ids["/list", "GET"]) == [f"closed {ids['/list', 'GET']}"]


def test_json_records_say_the_same_as_text():
    def lines_of(settings, case, paths, last):
        with BareUwsgi(APPS / case, more=settings) as server:
            for number, path in enumerate(paths):
                server.get(path, request_id=f"{number:x}" * 32)
            wait_for(lambda: re.search(last, server.log()), "the last line")
            return server.log().replace(str(server.www), "WWW")

    for case, paths, last in (
        ("logs", ["/", "/background"], "mailer: unfinished|unfinished.*mailer"),
        ("fails_oddly", ["/group", "/nul", "/forged", "/endless"], "its own cause"),
        ("descriptor_2", ["/in_order", "/nasty"], r"\\xff|\\udcff"),
    ):
        text = [STAMP.sub(r"[\1] ", line, count=1) for line in lines_of([], case, paths, last).splitlines()]
        found = []
        for line in lines_of(["env = SITE_LOG_FORMAT=json"], case, paths, last).splitlines():
            record = json.loads(line)
            whole = record["message"] + (f"\n{record['exc_info']}" if record["exc_info"] else "")
            thread = record["thread"]
            if thread == "child or C code":
                whole = f"{thread}: " + whole.replace("\n", f"\n{thread}: ")
            elif record["request_id"] == "-" and not thread.startswith(("Main", "uWSGI")):
                whole = f"thread {thread}:{chr(10) if chr(10) in whole else ' '}{whole}"
            found += [f"[{record['request_id']}] {shown}" for shown in harmless(whole).split("\n")]
        assert [re.sub("0x[0-9a-f]+", "0x", encode(line).decode()) for line in found] == [
            re.sub("0x[0-9a-f]+", "0x", line) for line in text
        ]
