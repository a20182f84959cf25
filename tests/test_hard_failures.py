"""Failures that are hard to write down, under real uWSGI: each one whole record, then the site serves on."""

import re
import subprocess

import pytest

from tests.bare_uwsgi import APPS, STAMP, BareUwsgi, wait_for

REQUEST_ID = "3f9c2a71d0b4e5f60718293a4b5c6d7e"
ID = REQUEST_ID[:12]
THREADS = pytest.mark.parametrize("threads", [1, 8])


def fail(server, path, **more):
    """The lines of the record of one failing request, which every line of the log must belong to."""
    before = len(server.log())
    answer = server.get(path, request_id=REQUEST_ID, **more)
    assert (answer.status, answer.headers["x-request-id"]) == (500, ID)
    written = server.log()[before:]
    lines = written.removesuffix("\n").split("\n")
    stamps = {STAMP.match(line).group() for line in lines}
    assert len(stamps) == 1
    lines = [STAMP.sub("", line, count=1) for line in lines]
    assert lines[0] == f"GET {path}: the application failed in its call"
    return lines[1:]


@pytest.fixture(scope="module", params=[1, 8])
def server(request):
    with BareUwsgi(APPS / "fails_oddly", request.param) as server:
        yield server
        assert server.get("/").body == b"fine"
        assert server.server_log.read_text().count("spawned uWSGI worker") == 1


def pythons_own(server, action):
    """What this very interpreter prints for the same failure."""
    code = f"import sys; sys.path[0] = {str(server.www)!r}; import wsgi\n"
    code += f"wsgi.application({{'PATH_INFO': {action!r}}}, None)"
    done = subprocess.run(["/usr/bin/python3", "-c", code], capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if 'File "<string>"' not in line]


@pytest.mark.parametrize("action", ["/group", "/chain", "/endless"])
def test_a_traceback_is_cpythons_own_text_with_causes_groups_and_notes(server, action):
    assert fail(server, action) == pythons_own(server, action)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/nul", [r"wsgi.Nested: a\x00b\ud800c\udcffd"]),
        ("/ansi", [r"wsgi.Nested: \x1b[2J\x1b[31mred\x1b]0;title\x07\x9b1m\rover"]),
        (
            "/forged",
            [
                "wsgi.Nested: one",
                "2012-08-24 10:11:12,345 [aaaaaaaaaaaa] GET /: the application failed in its call",
                r"\x0b\x0c\u2028end",
            ],
        ),
        ("/sqlite", [r"sqlite3.OperationalError: no such table: \x1b[31mtags\x1b[0m"]),
    ],
)
def test_no_message_forges_a_record_or_steers_a_terminal(server, path, shown):
    assert fail(server, path)[-len(shown) :] == shown
    assert server.records("aaaaaaaaaaaa") == []


def test_a_message_of_a_megabyte_stands_whole_in_one_record(server):
    assert fail(server, "/huge")[-1] == "wsgi.Nested: " + "x" * (1 << 20) + "END"
    lines = fail(server, "/huge_lines")
    assert lines[-10_001:] == ["wsgi.Nested: " + "y" * 99, *["z" * 99] * 10_000]


@THREADS
def test_a_request_that_eats_all_the_memory_is_one_record_and_the_worker_serves_on(threads):
    with BareUwsgi(APPS / "eats_memory", threads, more=["limit-as = 1024"]) as server:
        for path in ("/at_once", "/slowly", "/at_once"):
            assert fail(server, path)[-1] == "MemoryError"
        assert server.get("/").body == b"fine"
        assert server.server_log.read_text().count("spawned uWSGI worker") == 1


@THREADS
def test_an_exception_at_exit_is_one_record(threads):
    with BareUwsgi(APPS / "atexit_raises", threads) as server:
        assert server.get("/").status == 200
        server.reload()
        wait_for(lambda: "LookupError: at exit" in server.log(), "the record")
        lines = [
            line for line in server.records("-") if not line.startswith("child or C code: ")
        ]  # uWSGI's own words
        assert lines.pop(0) == "good bye,"
        assert lines[0].startswith("Exception ignored in atexit callback: <function good_bye at ")
        assert re.match(r'  File ".*/wsgi\.py", line 7, in good_bye', lines[2])
        assert (lines[1], lines[-1]) == ("Traceback (most recent call last):", "LookupError: at exit")
        assert all(STAMP.match(line) for line in server.log().splitlines())
