"""The runtime does the same under every WSGI server as under uWSGI; each is the real one.

`from user_wsgi_wrapper.user_wsgi_wrapper import application` is all that they are told.
"""

import re

import pytest

from tests.bare_uwsgi import APPS, wait_for
from tests.wsgi_servers import SERVERS, WsgiServer, chunks_end, request

BIG = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(scope="module", params=SERVERS)
def server(request):
    with WsgiServer(request.param, APPS / "other_servers") as running:
        running.name = request.param
        (running.www / "static").mkdir()
        (running.www / "static" / "a.txt").write_text("0123456789")
        (running.www / "static" / "big.bin").write_bytes(BIG)
        wait_for(lambda: running.get().status == 200, "the first page")
        yield running


@pytest.fixture(autouse=True)
def new_lines(server):
    """The lines that the log gets in a test, without stamps; beforehand it is as long as it is."""
    before = len(server.log())
    return lambda: [re.sub(r"^\S+ \S+ \[\S+\] ", "", line) for line in server.log()[before:].splitlines()]


def pid(server):
    return int(server.get().body.split()[1])


def test_a_good_page_is_the_applications_and_unlogged(server, new_lines):
    answer = server.get()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/plain")
    assert re.fullmatch(rb"pid \d+", answer.body)
    assert new_lines() == []


def test_a_failure_before_the_first_byte_is_the_error_page_and_one_record(server, new_lines):
    answer = server.get("/raises", Accept="application/json")
    made = answer.headers["x-request-id"]
    assert (answer.status, answer.headers["content-type"]) == (500, "application/json")
    assert f'"request_id": "{made}"'.encode() in answer.body
    assert "set-cookie" not in answer.headers
    lines = server.records(made)
    assert (lines[0], lines[-1]) == (
        "GET /raises: the application failed in its call",
        "LookupError: before the first byte",
    )
    assert new_lines() == lines
    assert not re.search(r'File "[^"]*/runtime/', "".join(lines))


@pytest.mark.parametrize("path", ["/half", "/half_of_a_length", "/half_written"])
def test_a_failure_after_the_first_byte_never_looks_like_a_whole_answer(server, new_lines, path):
    answer = server.get(path)
    assert b"half" in answer.raw
    assert b"500" not in answer.raw
    if "content-length" in answer.headers:
        assert len(answer.body) < int(answer.headers["content-length"])
    elif server.name in ("mod_wsgi", "mod_wsgi subinterpreter"):
        # Apache ends the chunks of whatever its daemon process sent, also if that was killed: nothing can be done.
        assert chunks_end(answer.raw)
    else:
        assert answer.headers["transfer-encoding"] == "chunked"
        assert not chunks_end(answer.raw)
    # waitress writes to standard error, too, that it was told to end the response
    lines = wait_for(new_lines, "the record")
    assert sum(line.startswith("GET ") for line in lines) == lines.count("LookupError: after the first byte") == 1


def test_what_is_printed_stands_in_the_log_under_the_requests_id(server, new_lines):
    answer = server.get("/prints")
    # under mod_wsgi descriptor 2 is Apache's own log too
    lines = [line for line in new_lines() if not line.startswith("child or C code: [")]
    assert server.records(answer.body.decode()) == ["to stderr", "to wsgi.errors"] == lines


def test_a_static_file_comes_whole_in_part_and_not_again(server, new_lines):
    answer = server.get("/static/a.txt")
    assert (answer.status, answer.body) == (200, b"0123456789")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    part = server.get("/static/a.txt", Range="bytes=2-4")
    assert (part.status, part.headers["content-range"], part.body) == (206, "bytes 2-4/10", b"234")
    known = server.get("/static/a.txt", If_None_Match=answer.headers["etag"])
    assert (known.status, known.body) == (304, b"")
    head = server.get("/static/a.txt", "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, "10", b"")
    assert server.get("/static/big.bin").body == BIG
    assert server.get("/static/big.bin", Range="bytes=-300000").body == BIG[-300000:]
    assert new_lines() == []


def test_a_file_of_the_applications_comes_whole(server, new_lines):
    answer = server.get("/file")
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(BIG)))
    assert answer.body == BIG
    assert new_lines() == []


@pytest.mark.parametrize("path", ["/endless", "/writes"])
def test_a_client_that_goes_away_while_it_is_answered_is_at_most_one_line(server, new_lines, path):
    with server.connect() as connection:
        connection.sendall(request(path))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    if path == "/endless":
        wait_for(lambda: "closed" in new_lines(), "close()")
    else:
        wait_for(lambda: new_lines() or pid(server), "the end of it")
    pid(server)
    told = [line for line in new_lines() if line != "closed"]
    assert len(told) <= 1
    gone = rf"GET {path}: the client went away while it was answered|.*Client disconnected while serving {path}"
    assert all(re.fullmatch(gone, line) for line in told), told
    assert new_lines().count("closed") == (path == "/endless")


def test_a_client_that_goes_away_while_it_sends_is_at_most_one_line(server, new_lines):
    with server.connect() as connection:
        connection.sendall(request("/reads", "POST", 1000) + b"some")
    assert server.get("/reads", "POST", b"whole").body == b"5"
    assert pid(server)
    told = [line for line in new_lines() if "/reads" in line]  # what came before may be told of late
    assert told in ([], ["POST /reads: the client went away while its request was read"])


def test_sys_exit_ends_a_request_and_not_the_worker(server, new_lines):
    before = pid(server)
    assert [server.get("/exits").status for _ in range(3)] == [500, 500, 500]
    assert pid(server) == before
    assert new_lines().count("SystemExit: 3") == 3


@pytest.mark.parametrize("path", ["/whole", "/half_of_a_length"])
def test_close_is_called_once(server, new_lines, path):
    assert server.get(path).body in (b"onetwosix", b"half")
    wait_for(lambda: "closed" in new_lines(), "close()")
    pid(server)
    assert new_lines().count("closed") == 1
